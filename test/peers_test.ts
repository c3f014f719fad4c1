/**
 * Peers: nodes that talk over a network in memory, on a clock that a test moves.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { SimRandom } from "../sim/random.ts";
import { silentReport } from "../src/capability.ts";
import { QuorateError } from "../src/errors.ts";
import { type Hello, handshakeMsMax, parseThird, provenFrame } from "../src/handshake.ts";
import type { Hlc } from "../src/hlc.ts";
import type { PeerReply, PeerRequest } from "../src/message.ts";
import { Peers } from "../src/peers.ts";
import { type MemberProgram, programOfOne } from "../src/protocol.ts";
import type { WriteRequest } from "../src/quorum_message.ts";
import { MemoryNetwork } from "./network_harness.ts";
import { rejectsSlug } from "./samples.ts";

const test = suite("peers");
const clusterId = "c0".repeat(16);
const facts = { epoch: 3, syncedSequence: 7, clockHlc: 5n as Hlc, counts: true };

interface Given {
  readonly secret?: string;
  readonly clusterId?: string | undefined;
  readonly whyNot?: (other: Hello) => string | undefined;
  readonly queueBytesMax?: number;
  readonly boot?: number;
  readonly start?: string;
  readonly program?: MemberProgram;
  /** Where it listens, and says that it is reached. */
  readonly address?: string;
}

const later: MemberProgram = { version: "2.0.0", lowest: 2, highest: 3, formats: {} };

function helloOf(letter: string, own: string | undefined) {
  const id = letter.repeat(32);
  const told = { clusterId: own, nodeId: id, storeId: id, boot: 1, start: "first", epoch: 3 };
  return { ...told, name: letter, addresses: [`${letter}:1`] };
}

class Node {
  readonly address: string;
  readonly nodeId: string;
  readonly peers: Peers;
  readonly met: Hello[] = [];
  readonly heard: PeerRequest[] = [];
  readonly said: { readonly line: string; readonly why?: unknown }[] = [];
  answer: (request: PeerRequest) => Promise<PeerReply> = async (request) =>
    request.kind === "cold" ? { kind: "said", body: { echo: request.body } } : { kind: "took" };

  constructor(
    world: { clock: SimClock; network: MemoryNetwork },
    letter: string,
    given: Given = {},
  ) {
    this.address = given.address ?? `${letter}:1`;
    this.nodeId = letter.repeat(32);
    const own = "clusterId" in given ? given.clusterId : clusterId;
    this.peers = new Peers({
      clock: world.clock,
      random: new SimRandom(letter.charCodeAt(0)),
      report: { ...silentReport, log: (_, line, fields) => this.said.push({ line, ...fields }) },
      network: world.network.from(this.address),
      secret: given.secret ?? "",
      limits: { queueBytesMax: given.queueBytesMax ?? 64 * 1024 * 1024 },
      ports: {
        hello: () => ({
          ...helloOf(letter, own),
          addresses: [this.address],
          boot: given.boot ?? 1,
          start: given.start ?? "first",
          protocol: given.program?.lowest ?? 1,
          program: given.program ?? programOfOne(1),
        }),
        whyNot: given.whyNot ?? (() => undefined),
        remembers: ({ storeId }) => (storeId === "a".repeat(32) ? 42 : 0),
        onMet: (other) => this.met.push(other),
        onFacts: () => {},
        handle: async (request) => {
          this.heard.push(request);
          return { facts, reply: await this.answer(request) };
        },
        facts: () => facts,
      },
    });
    world.network.listen(this.address, this.peers);
  }
}

const newWorld = () => {
  const clock = new SimClock();
  return { clock, network: new MemoryNetwork(clock) };
};

function write(bytes: number, key = "k"): WriteRequest {
  return {
    kind: "write",
    epoch: 3,
    namespaceNumber: 0,
    n: 3,
    key: new TextEncoder().encode(key),
    record: new Uint8Array(bytes).fill(7),
    durability: "fsync",
    source: "client",
    requestId: "r",
  };
}

async function linked(given: Given = {}, otherGiven: Given = given) {
  const world = newWorld();
  const a = new Node(world, "a", given);
  const b = new Node(world, "b", otherGiven);
  a.peers.setMembers([a, b].map(({ nodeId, address }) => ({ nodeId, addresses: [address] })));
  await pass(world.clock, 1000);
  return { ...world, a, b };
}

/** Passes time, and lets everything that is set in motion come to its end. */
async function pass(clock: SimClock, ms: number): Promise<void> {
  for (let step = 0; step < 20; step += 1) {
    for (let turn = 0; turn < 400; turn += 1) await undefined;
    await clock.advance(ms / 20);
  }
}

/** What a promise becomes while time passes. */
async function settled<Value>(clock: SimClock, work: Promise<Value>, ms = 0): Promise<Value> {
  work.catch(() => {});
  await pass(clock, ms);
  return work;
}

test("a request reaches the member and its reply comes back, with who replied and what it knows", async () => {
  const { clock, a, b } = await linked();
  const reply = await settled(clock, a.peers.request(b.nodeId, write(256), 1000));
  assert.equal(reply, {
    kind: "took",
    from: { nodeId: b.nodeId, storeId: b.nodeId, boot: 1, ...facts },
  });
  assert.equal(b.heard, [write(256)]);
  assert.is(a.met[0]?.remembers, 42);
});

test("requests of one turn travel in one frame", async () => {
  const { clock, network, a, b } = await linked();
  const before = network.frames;
  const all = Array.from({ length: 100 }, (_, index) =>
    a.peers.request(b.nodeId, write(256, `k${index}`), 1000),
  );
  await settled(clock, Promise.all(all));
  assert.is(b.heard.length, 100);
  assert.ok(network.frames - before <= 4, `${network.frames - before} frames`);
});

test("a large value does not hold up a small one behind it, and arrives whole", async () => {
  const { clock, a, b } = await linked();
  const order: string[] = [];
  b.answer = async (request) => {
    order.push(request.kind === "write" ? new TextDecoder().decode(request.key) : "?");
    return { kind: "took" };
  };
  const large = a.peers.request(b.nodeId, write(5_000_000, "large"), 1000);
  const small = a.peers.request(b.nodeId, write(10, "small"), 1000);
  await settled(clock, Promise.all([large, small]), 10);
  assert.equal(order, ["small", "large"]);
  const heard = b.heard.find((request) => request.kind === "write" && request.record.length > 100);
  assert.equal(heard, write(5_000_000, "large"));
});

for (const [name, count, bytes] of [
  ["400 values of 100 kB", 400, 100_000],
  ["three values of 31 MiB", 3, 31 * 1024 * 1024],
] as const) {
  test(`${name} at once do not cost the stream: the other end puts them all together`, async () => {
    const { clock, a, b } = await linked();
    const all = Array.from({ length: count }, (_, index) =>
      a.peers.request(b.nodeId, write(bytes, `k${index}`), 60_000),
    );
    await settled(clock, Promise.all(all), 100);
    assert.is(b.heard.length, count);
    assert.is(a.met.length, 1);
  });
}

const small = { queueBytesMax: 1024 * 1024 };
for (const [name, count, bytes, given] of [
  ["a value that is larger than all that may wait", 1, 3_000_000, small],
  ["more values than may wait at the other end", 40, 100_000, {}],
] as const) {
  test(`${name} does not cost the stream`, async () => {
    const { clock, a, b } = await linked(given, small);
    const all = Array.from({ length: count }, (_, index) =>
      a.peers.request(b.nodeId, write(bytes, `k${index}`), 60_000),
    );
    await settled(clock, Promise.all(all), 100);
    assert.is(b.heard.length, count);
    assert.is(a.met.length, 1);
  });
}

test("a full queue refuses at once, with outcome none", async () => {
  const { clock, network, a, b } = await linked({ queueBytesMax: 100_000 });
  const first = a.peers.request(b.nodeId, write(1_000_000), 1000);
  first.catch(() => {});
  let failure: unknown;
  await a.peers.request(b.nodeId, write(10), 1000).catch((error: unknown) => {
    failure = error;
  });
  assert.instance(failure, QuorateError);
  assert.equal(
    [(failure as QuorateError).slug, (failure as QuorateError).outcome],
    ["overloaded", "none"],
  );
  network.unlisten(b.address);
  await pass(clock, 10);
  a.peers.close();
});

test("what was sent on a stream that is cut fails at once as unknown, and the link comes back", async () => {
  const { clock, network, a, b } = await linked();
  b.answer = () => new Promise(() => {});
  const lost = a.peers.request(b.nodeId, write(1), 60_000);
  lost.catch(() => {});
  await pass(clock, 1);
  network.cut(a.address, b.address);
  let failure: unknown;
  await lost.catch((error: unknown) => {
    failure = error;
  });
  assert.is((failure as QuorateError).outcome, "unknown");
  await rejectsSlug("not-ready", a.peers.request(b.nodeId, write(1), 1000));
  await pass(clock, 3000);
  network.heal();
  b.answer = async () => ({ kind: "took" });
  await pass(clock, 10_000);
  assert.is((await settled(clock, a.peers.request(b.nodeId, write(1), 1000))).kind, "took");
});

test("while a link is down no request has an error of its own made, and traced", async () => {
  const { clock, network, a, b } = await linked();
  network.cut(a.address, b.address);
  await pass(clock, 1);
  const why = async () =>
    a.peers.request(b.nodeId, write(1), 1000).catch((error: unknown) => error);
  const [first, second] = [await why(), await why()];
  assert.is((first as QuorateError).slug, "not-ready");
  assert.is(first, second);
});

test("a node that was away for long and dials is dialled at once", async () => {
  const { clock, network, a, b } = await linked();
  const members = [a, b].map(({ nodeId, address }) => ({ nodeId, addresses: [address] }));
  network.unlisten(b.address);
  // The pauses have grown to seconds; the last attempt is just over, and failed.
  await pass(clock, 60_000);
  network.listen(b.address, b.peers);
  b.peers.setMembers(members);
  await pass(clock, 20);
  assert.ok(b.peers.isOpen(a.nodeId));
  assert.ok(a.peers.isOpen(b.nodeId));
});

/** Takes connections, and says nothing: a machine that is gone, until TCP gives it up. */
function listenSilently(network: MemoryNetwork, address: string): { readonly count: number } {
  const dialled = { count: 0 };
  network.listen(address, {
    accept: () => {
      dialled.count += 1;
      const source = { next: () => new Promise<undefined>(() => {}) };
      return { source, sink: { onFrame: () => {}, onEnd: () => {} } };
    },
  });
  return dialled;
}

/** Passes time until somebody has just begun to dial an address where nobody answers. */
async function passToDial(clock: SimClock, dialled: { readonly count: number }): Promise<void> {
  const { count } = dialled;
  for (let step = 0; step < 1000 && dialled.count === count; step += 1) await pass(clock, 20);
  assert.is(dialled.count, count + 1);
}

test("a node that dials while an attempt to reach it hangs is dialled as soon as that is over", async () => {
  const { clock, network, a, b } = await linked();
  network.unlisten(b.address);
  const dialled = listenSilently(network, b.address);
  // The pauses have grown to seconds.
  await pass(clock, 60_000);
  await passToDial(clock, dialled);
  network.listen(b.address, b.peers);
  b.peers.setMembers([{ nodeId: a.nodeId, addresses: [a.address] }]);
  await pass(clock, handshakeMsMax + 200);
  assert.ok(b.peers.isOpen(a.nodeId));
  assert.ok(a.peers.isOpen(b.nodeId));
});

test("a node that is elsewhere now is reached there at once, also while an attempt to the old place hangs", async () => {
  const { clock, network, a, b } = await linked();
  network.unlisten(b.address);
  const dialled = listenSilently(network, b.address);
  network.listen("b:2", b.peers);
  await passToDial(clock, dialled);
  a.peers.reach(b.nodeId, ["b:2"]);
  await pass(clock, 20);
  assert.ok(a.peers.isOpen(b.nodeId));
});

test("a later start that dials from elsewhere is reached there, also where the link to the old place looks open", async () => {
  const { clock, network, a, b } = await linked();
  network.vanish(b.address);
  listenSilently(network, b.address);
  const again = new Node({ clock, network }, "b", { boot: 2, start: "second", address: "b:2" });
  again.peers.setMembers([{ nodeId: a.nodeId, addresses: [a.address] }]);
  await pass(clock, 100);
  const reply = await settled(clock, a.peers.request(b.nodeId, write(1), 1000), 20);
  assert.equal([reply.kind, reply.from.boot], ["took", 2]);
});

test("a member of which the topology tells another place is reached there", async () => {
  const { clock, network, a, b } = await linked();
  network.unlisten(b.address);
  network.listen("b:2", b.peers);
  await pass(clock, 3000);
  assert.not.ok(a.peers.isOpen(b.nodeId));
  a.peers.setMembers([{ nodeId: b.nodeId, addresses: ["b:2"] }]);
  await pass(clock, 100);
  assert.ok(a.peers.isOpen(b.nodeId));
});

test("I2: what an earlier start says on a stream that it has is not heard once a later one has come", async () => {
  let boot = 0;
  const whyNot = (other: Hello): string | undefined => {
    if (other.boot < boot) return "a later start is known";
    boot = other.boot;
    return undefined;
  };
  const { clock, network, a, b } = await linked({ whyNot }, {});
  b.peers.setMembers([{ nodeId: a.nodeId, addresses: [a.address] }]);
  await pass(clock, 100);
  const copy = new Node({ clock, network }, "b", { boot: 2, start: "second", address: "b:2" });
  copy.peers.setMembers([{ nodeId: a.nodeId, addresses: [a.address] }]);
  await pass(clock, 100);
  await rejectsSlug("not-ready", settled(clock, b.peers.request(a.nodeId, write(1), 1000), 1000));
  assert.equal(a.heard, []);
  assert.is((await settled(clock, copy.peers.request(a.nodeId, write(1), 1000))).kind, "took");
});

/** Both have a link to the other. */
async function linkedBoth() {
  const world = await linked();
  const { a, b, clock } = world;
  const members = [a, b].map(({ nodeId, address }) => ({ nodeId, addresses: [address] }));
  b.peers.setMembers(members);
  await pass(clock, 100);
  return { ...world, members };
}

test("links that are cut each time as soon as they are open are dialled after pauses that grow", async () => {
  const { clock, network, a, b, members } = await linkedBoth();
  let dialled = 0;
  for (const { address, peers } of [a, b]) {
    network.unlisten(address);
    network.listen(address, {
      accept: (stream) => {
        dialled += 1;
        // As what is between them may do, or who cannot read what it is sent first.
        const proven = (): void => void clock.after(20, () => stream.close());
        return peers.accept({ ...stream, proven });
      },
    });
  }
  b.peers.setMembers(members);
  for (let seconds = 0; seconds < 60; seconds += 1) await pass(clock, 1000);
  assert.ok(dialled > 16 && dialled < 80, `they were dialled ${dialled} times in a minute`);
  assert.ok(a.met.length > 8 && b.met.length > 8, "and they opened");
});

for (const [name, boot, start] of [
  ["a higher boot", 2, "second"],
  ["the boot of before, because it has not counted this start yet", 1, "second"],
] as const) {
  test(`I2: a link that looks open ends when its node dials with ${name}, and is dialled again at once`, async () => {
    const { clock, network, a, b, members } = await linkedBoth();
    b.answer = () => new Promise(() => {});
    const lost = a.peers.request(b.nodeId, write(1), 60_000);
    lost.catch(() => {});
    await pass(clock, 1);
    network.vanish(b.address);
    const again = new Node({ clock, network }, "b", { boot, start });
    await pass(clock, 1000);
    assert.ok(a.peers.isOpen(b.nodeId), "nobody has told it");
    again.peers.setMembers(members);
    await pass(clock, 20);
    assert.is((await rejectsSlug("unreachable", lost)).outcome, "unknown");
    const reply = await settled(clock, a.peers.request(b.nodeId, write(1), 1000), 20);
    assert.equal([reply.kind, reply.from.boot], ["took", boot]);
    assert.is(again.heard.length, 1);
  });
}

for (const [name, given] of [
  ["the same start", {}],
  ["the same start, which it has counted meanwhile", { boot: 2 }],
  ["an earlier boot", { boot: 0, start: "zeroth" }],
] as const) {
  test(`a link stays when its node dials with ${name}`, async () => {
    const { clock, network, a, b } = await linkedBoth();
    const answered = a.peers.request(b.nodeId, write(1), 1000);
    new Node({ clock, network }, "b", given).peers.setMembers([
      { nodeId: a.nodeId, addresses: [a.address] },
    ]);
    await settled(clock, answered, 100);
    assert.is(a.met.length, 1, "it was not dialled again");
  });
}

test("a node that leaves cuts nothing: what it was asked is answered, and what comes later was never sent", async () => {
  const { clock, a, b } = await linkedBoth();
  let answer: (reply: PeerReply) => void = () => {};
  b.answer = (request) =>
    request.kind === "cold"
      ? Promise.resolve({ kind: "said", body: 1 })
      : new Promise((resolve) => {
          answer = resolve;
        });
  const underWay = a.peers.request(b.nodeId, write(1), 60_000);
  let isLeft = false;
  const left = b.peers.leave(5000).then(() => {
    isLeft = true;
  });
  await pass(clock, 100);
  assert.not.ok(a.peers.isOpen(b.nodeId));
  const late = await rejectsSlug("not-ready", a.peers.request(b.nodeId, write(1), 1000));
  assert.equal([late.outcome, late.detail], ["none", "No link: it is stopping."]);
  assert.ok(b.peers.isOpen(a.nodeId), "it still asks what it has to");
  assert.is(await settled(clock, b.peers.ask(a.nodeId, "x", 1, 1000)).then(() => "said"), "said");
  assert.not.ok(isLeft, "it waits for what is under way");
  answer({ kind: "took" });
  assert.is((await settled(clock, underWay, 10)).kind, "took");
  await settled(clock, left, 10);
  await pass(clock, 1000);
  b.peers.close();
  assert.match(a.peers.status()[0]?.why ?? "", "it is stopping");
  assert.is(b.heard.length, 1);
});

test("what was on its way when a node began to leave is answered as well", async () => {
  const { clock, a, b } = await linkedBoth();
  const left = b.peers.leave(5000);
  const asked = Array.from({ length: 50 }, () => a.peers.request(b.nodeId, write(1), 60_000));
  const replies = await settled(clock, Promise.all(asked), 100);
  assert.ok(replies.every(({ kind }) => kind === "took"));
  await settled(clock, left, 100);
});

test("who is started again after it has left is reached at once", async () => {
  const { clock, network, a, b, members } = await linkedBoth();
  await settled(clock, b.peers.leave(5000), 100);
  b.peers.close();
  network.unlisten(b.address);
  await pass(clock, 60_000);
  const again = new Node({ clock, network }, "b", { start: "second" });
  again.peers.setMembers(members);
  await pass(clock, 20);
  assert.is((await settled(clock, a.peers.request(b.nodeId, write(1), 1000))).kind, "took");
});

test("a node that cannot tell another that it leaves refuses it, and waits for what is under way alone", async () => {
  const { clock, a, b } = await linked();
  let answer: (reply: PeerReply) => void = () => {};
  b.answer = () =>
    new Promise((resolve) => {
      answer = resolve;
    });
  const underWay = a.peers.request(b.nodeId, write(1), 60_000);
  await pass(clock, 1);
  let isLeft = false;
  const left = b.peers.leave(60_000).then(() => {
    isLeft = true;
  });
  await pass(clock, 100);
  const refused = await settled(clock, a.peers.request(b.nodeId, write(1), 1000), 10);
  assert.equal(
    [refused.kind, refused.kind === "refused" && refused.reason],
    ["refused", "not-ready"],
  );
  const cold = settled(clock, a.peers.ask(b.nodeId, "x", 1, 1000), 10);
  assert.is((await rejectsSlug("not-ready", cold)).outcome, "none");
  assert.not.ok(isLeft);
  answer({ kind: "took" });
  assert.is((await settled(clock, underWay, 10)).kind, "took");
  await settled(clock, left, 10);
});

test("a node does not wait for the others longer than it was told to", async () => {
  const { clock, a, b } = await linkedBoth();
  b.answer = () => new Promise(() => {});
  const lost = a.peers.request(b.nodeId, write(1), 60_000);
  lost.catch(() => {});
  await pass(clock, 1);
  await settled(clock, b.peers.leave(3000), 3000);
  b.peers.close();
  await pass(clock, 10);
  assert.is((await rejectsSlug("unreachable", lost)).outcome, "unknown");
});

test("two nodes that leave at the same time do not wait for each other", async () => {
  const { clock, a, b } = await linkedBoth();
  await settled(clock, Promise.all([a.peers.leave(60_000), b.peers.leave(60_000)]), 100);
  a.peers.close();
  b.peers.close();
});

test("a request without an answer ends at its deadline, and a late answer troubles nobody", async () => {
  const { clock, a, b } = await linked();
  let answer: (reply: PeerReply) => void = () => {};
  b.answer = () =>
    new Promise((resolve) => {
      answer = resolve;
    });
  const late = a.peers.request(b.nodeId, write(1), 500);
  late.catch(() => {});
  await pass(clock, 600);
  await rejectsSlug("timeout", late);
  answer({ kind: "took" });
  await pass(clock, 10);
  b.answer = async () => ({ kind: "nothing" });
  assert.is((await settled(clock, a.peers.request(b.nodeId, write(1), 500))).kind, "nothing");
});

test("requests that have nearly the same time left share a timer", async () => {
  const { clock, a, b } = await linked();
  b.answer = () => new Promise(() => {});
  const before = clock.timerCount;
  const waiting = Array.from({ length: 100 }, (_, index) =>
    a.peers.request(b.nodeId, write(1), 4999 - index * 0.37),
  );
  assert.ok(clock.timerCount <= before + 2, `${clock.timerCount - before} timers`);
  const ends = Promise.allSettled(waiting);
  await pass(clock, 5200);
  for (const { status } of await ends) assert.is(status, "rejected");
});

for (const [name, given, other, why] of [
  ["another secret", { secret: "one" }, { secret: "two" }, "secret"],
  ["no secret where there is one", { secret: "" }, { secret: "two" }, "secret"],
  ["another cluster", {}, { clusterId: "d0".repeat(16) }, "belongs to the cluster"],
  [
    "a node that is not to be talked to",
    { whyNot: () => "it was replaced" },
    {},
    "it was replaced",
  ],
  ["a node that refuses this one", {}, { whyNot: () => "it was replaced" }, "it was replaced"],
  ["an earlier program, seen by a later one", { program: later }, {}, "upgrade 'b' first"],
  ["a later program, seen by an earlier one", {}, { program: later }, "upgrade 'a' first"],
] as const) {
  test(`${name}: no link, and the reason is known`, async () => {
    const { clock, a, b } = await linked(given, other);
    await pass(clock, 2000);
    assert.not.ok(a.peers.isOpen(b.nodeId));
    assert.match(a.peers.status()[0]?.why ?? "", why);
    await rejectsSlug("not-ready", a.peers.request(b.nodeId, write(1), 1000));
    assert.equal(b.heard, []);
    const said = a.said.filter(({ line }) => line.startsWith("No link"));
    assert.is(said.length, 1, "it is said once");
    assert.match(String(said[0]?.why), why);
  });
}

test("two that speak versions in common use the highest, and each knows what the other runs", async () => {
  const own = { ...later, lowest: 1 };
  const { a, b } = await linked({ program: own }, { program: { ...own, highest: 2 } });
  assert.is(a.peers.protocolWith(b.nodeId), 2);
  assert.equal(a.peers.programOf(b.nodeId), { ...own, highest: 2 });
  assert.is(a.peers.protocolWith("f".repeat(32)), undefined, "there is no such member");
});

test("what the first program tells and looks at: the number 1, in the field `protocol`", () => {
  const program = { ...later, lowest: 1 };
  const hello = { ...helloOf("a", clusterId), protocol: 1, program };
  const nonces = { dialing: new Uint8Array(16), accepting: new Uint8Array(16) };
  const frame = provenFrame("", "dial", nonces, hello);
  // After the proof, as the first program reads it: other fields are none of its business.
  const words = JSON.parse(new TextDecoder().decode(frame.subarray(32)));
  assert.is(words.protocol, 1);
  const own = { ...helloOf("b", clusterId), protocol: 1, program };
  const { program: _, ...first } = hello;
  const told = parseThird(
    "",
    nonces,
    provenFrame("", "dial", nonces, first as unknown as Hello),
    own,
  );
  assert.equal(typeof told === "string" ? told : told.program, programOfOne(1));
  const none = provenFrame("", "dial", nonces, { ...hello, protocol: 0 });
  assert.match(String(parseThird("", nonces, none, own)), /does not tell which versions/);
});

test("the same secret on both sides: they talk", async () => {
  const { a, b } = await linked({ secret: "one" });
  assert.ok(a.peers.isOpen(b.nodeId));
});

test("a node that is elsewhere now is reached there", async () => {
  const { clock, network, a, b } = await linked();
  network.unlisten(b.address);
  network.listen("b:2", b.peers);
  await pass(clock, 3000);
  assert.not.ok(a.peers.isOpen(b.nodeId));
  a.peers.reach(b.nodeId, ["b:2"]);
  await pass(clock, 100);
  assert.ok(a.peers.isOpen(b.nodeId));
});

test("whoever is at an address answers a question, also without a cluster; its failure is told", async () => {
  const world = newWorld();
  const a = new Node(world, "a", { clusterId: undefined });
  const b = new Node(world, "b", { clusterId: undefined });
  const asked = a.peers.askAt(b.address, "founding", { x: [1] }, 2000);
  assert.equal(await settled(world.clock, asked, 500), { echo: { x: [1] } });
  b.answer = async () => {
    throw new QuorateError("contention", "Another was quicker.");
  };
  await rejectsSlug(
    "contention",
    settled(world.clock, a.peers.askAt(b.address, "x", 1, 2000), 500),
  );
  await rejectsSlug("not-ready", settled(world.clock, a.peers.askAt("z:1", "x", 1, 2000), 3000));
});

test("whoever is asked at an address again and again is told of once in the log, until it is another", async () => {
  const world = newWorld();
  const a = new Node(world, "a", { clusterId: undefined });
  let there = new Node(world, "b");
  const ask = async (): Promise<void> => {
    const answer = a.peers.askAt(there.address, "x", {}, 1000);
    await pass(world.clock, 1000);
    await answer;
  };
  for (let time = 0; time < 5; time += 1) await ask();
  const linked = () => a.said.filter(({ line }) => line.startsWith("Linked to"));
  assert.is(linked().length, 1);

  there.peers.close();
  there = new Node(world, "b", { boot: 2, start: "second" });
  await pass(world.clock, 1000);
  for (let time = 0; time < 5; time += 1) await ask();
  assert.is(linked().length, 2);
});

test("a node's own address is no other node", async () => {
  const world = newWorld();
  const a = new Node(world, "a");
  let failure: unknown;
  const asked = a.peers.askAt(a.address, "x", 1, 1000).catch((error: unknown) => {
    failure = error;
  });
  await pass(world.clock, 2000);
  await asked;
  assert.match(String(failure), "it is this node itself");
});

test("frames that make no sense end their stream and nothing else", async () => {
  const { clock, network, a, b } = await linked();
  let isEnded = false;
  const frames = [new Uint8Array(5), new Uint8Array(100_000)];
  network.from("z:1").dial(
    b.address,
    {
      next: () => {
        const frame = frames.shift();
        return frame === undefined ? new Promise(() => {}) : Promise.resolve(frame);
      },
    },
    {
      onFrame: () => {},
      onEnd: () => {
        isEnded = true;
      },
    },
  );
  await pass(clock, 2000);
  assert.ok(isEnded);
  assert.is((await settled(clock, a.peers.request(b.nodeId, write(1), 1000))).kind, "took");
});

test.run();
