/**
 * T9: nodes that begin a cluster together through an exchange in memory, every way in which they
 * cannot, and power losses while they do.
 */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { SimDisk } from "../sim/disk.ts";
import { SimRandom } from "../sim/random.ts";
import { type AgreedDocument, isFields } from "../src/agreed.ts";
import { silentReport } from "../src/capability.ts";
import { QuorateError } from "../src/errors.ts";
import { type Found, Founding, foundingTopic } from "../src/founding.ts";
import type { Candidate, FoundingSettings } from "../src/founding_message.ts";
import { idOf, TestExchange } from "./exchange_harness.ts";
import { isLong } from "./samples.ts";

const test = suite("founding");

const rules = {
  parse(raw: unknown): AgreedDocument {
    if (!isFields(raw) || !Array.isArray(raw["members"])) {
      throw new QuorateError("invalid-request", "It is no document.");
    }
    return raw as unknown as AgreedDocument;
  },
  genesisOf(nodes: readonly Candidate[], { expect, clusterId }: FoundingSettings): AgreedDocument {
    assert.is(nodes.length, expect);
    const members = [...nodes].sort((a, b) => (a.nodeId < b.nodeId ? -1 : 1));
    if (new Set(members.map(({ name }) => name)).size < members.length) {
      throw new QuorateError("invalid-request", "Two nodes have one name.", {
        hint: "Rename one.",
      });
    }
    const voters = members.map(({ nodeId }) => nodeId);
    const computed = members
      .map(({ storeId }) => storeId.slice(-2))
      .join("")
      .padStart(32, "a");
    return { clusterId: clusterId ?? computed, epoch: 1, members, voters };
  },
};

interface TestNode {
  founding: Founding<AgreedDocument>;
  readonly disk: SimDisk;
  present: AgreedDocument | undefined;
  found: Found<AgreedDocument> | undefined;
  failure: unknown;
  readonly said: string[];
  isEnded: boolean;
}

interface Start {
  readonly expect?: number | undefined;
  readonly peers?: readonly number[];
  readonly partitions?: number;
  readonly clusterId?: string;
  readonly name?: string;
  readonly address?: string;
  /** How peers are named: `3`, or `host:3` as node 3 names itself. */
  readonly named?: "" | "host:";
  readonly disk?: SimDisk;
  readonly present?: AgreedDocument;
}

/** Node 3 is at the address "3". */
class World {
  readonly clock = new SimClock();
  readonly exchange: TestExchange;
  readonly nodes = new Map<number, TestNode>();
  readonly asked: string[] = [];
  readonly answers: unknown[] = [];

  constructor(seed = 1) {
    this.exchange = new TestExchange(this.clock, new SimRandom(seed));
  }

  async start(index: number, options: Start = {}): Promise<TestNode> {
    const { peers = [0, 1, 2], partitions = 256, disk = new SimDisk() } = options;
    const expect = "expect" in options ? options.expect : 3;
    const node: TestNode = {
      founding: undefined as never,
      disk,
      present: options.present,
      found: undefined,
      failure: undefined,
      said: [],
      isEnded: false,
    };
    node.founding = await Founding.open<AgreedDocument>({
      self: {
        nodeId: idOf(index),
        storeId: idOf(16 + index),
        name: options.name ?? `n${index}`,
        addresses: [options.address ?? `host:${index}`],
      },
      settings: { expect, partitions, clusterId: options.clusterId },
      peers: peers.map((peer) => `${options.named ?? ""}${peer}`),
      rules,
      ask: (address, topic, body) => this.ask(index, address, topic, body),
      present: () => node.present,
      adopt: async (document) => {
        node.present = document;
        disk.note("adopted");
      },
      clock: this.exchange.clockOf(idOf(index)),
      disk,
      report: {
        ...silentReport,
        log: (level, text) => void (level === "warn" && node.said.push(text)),
      },
    });
    this.exchange.attach(idOf(index), async (topic, body) => {
      assert.is(topic, foundingTopic);
      const answer = node.founding.handle(body);
      this.answers.push(answer);
      return answer;
    });
    this.nodes.set(index, node);
    node.founding
      .run(() => node.isEnded)
      .then(
        (found) => {
          node.found = found;
        },
        (error: unknown) => {
          node.failure = error;
        },
      );
    return node;
  }

  /** As a link would: an answer that does not come ends as an error. */
  ask(from: number, address: string, topic: string, body: unknown): Promise<unknown> {
    this.asked.push(`${from} ${address}`);
    return new Promise((resolve, reject) => {
      const cancel = this.clock.after(500, () => reject(new QuorateError("timeout", "No answer.")));
      this.exchange
        .ask(idOf(from), idOf(Number(address.replace("host:", ""))), topic, body)
        .then(resolve, reject)
        .finally(cancel);
    });
  }

  stop(index: number): void {
    const node = this.nodes.get(index);
    if (node !== undefined) node.isEnded = true;
    this.exchange.attach(idOf(index), undefined);
  }

  async says(index: number, expected: RegExp): Promise<void> {
    await this.clock.advance(12_000);
    const node = this.nodes.get(index) as TestNode;
    assert.is(node.failure, undefined);
    assert.is(node.present, undefined, "no document was adopted");
    assert.match(node.founding.waitingFor, expected);
    assert.match(node.said.at(-1) ?? "nothing was said", expected);
  }
}

test("Founding: a document is told where it is another one, and once by one who asks in brief", async () => {
  const world = new World();
  for (const index of [0, 1, 2]) await world.start(index);
  await world.clock.advance(5000);
  const told = (answer: unknown): unknown => {
    const { document, promised } = answer as Record<string, unknown>;
    return document ?? promised;
  };
  const documents = world.answers.map(told).filter((one) => one !== null);
  assert.ok(documents.length > 0);
  assert.ok(
    documents.every((one) => one === "same"),
    "each computes the same document, and is told no more than that",
  );
  const founding = world.nodes.get(0)?.founding;
  for (const question of [{}, undefined, { holds: "another" }, { holds: 7 }]) {
    assert.equal(told(founding?.handle(question)), world.nodes.get(0)?.present);
  }
});

test("Founding: one who comes when the others have promised is told of it by one of them", async () => {
  const world = new World();
  const late = await world.start(2, { peers: [2] });
  for (const index of [0, 1]) await world.start(index);
  await world.clock.advance(3000);
  const one = world.nodes.get(0) as TestNode;
  const { promised } = one.founding.handle({}) as Record<string, unknown>;
  assert.ok(isFields(promised), "those two have promised");
  const brief = one.founding.handle({ isBrief: true }) as Record<string, unknown>;
  assert.is(brief["promised"], null);
  assert.type(brief["fingerprint"], "string");
  world.stop(2);
  await world.clock.advance(2000);
  const again = await world.start(2, { disk: late.disk });
  await world.clock.advance(5000);
  assert.is(again.found?.kind, "member", again.founding.waitingFor);
  const whole = world.answers.filter((answer) => {
    const { document, promised: other } = answer as Record<string, unknown>;
    return isFields(document) || isFields(other);
  });
  assert.is(whole.length, 1, `${whole.length} answers had a whole document`);
});

test("Founding: T9: E nodes with the same peers, their own address among them, found one cluster", async () => {
  const world = new World();
  const nodes = [
    await world.start(0),
    await world.start(1),
    await world.start(2, { peers: [0, 1] }),
  ];
  await world.clock.advance(5000);
  for (const node of nodes) {
    assert.is(node.found?.kind, "member", node.founding.waitingFor);
    assert.equal(node.present, nodes[0]?.present);
  }
  assert.is(nodes[0]?.present?.members.length, 3);
});

test("Founding: T9: too few wait, name who is here and who does not answer, every 10 s", async () => {
  const world = new World();
  const node = await world.start(0);
  await world.start(1);
  await world.says(
    0,
    /expect is 3, and 2 nodes are here: n0, n1\. No answer came from 2 \([^)]+\)\./,
  );
  assert.is(node.said.length, 1);
  await world.clock.advance(20_000);
  assert.is(node.said.length, 3);
  await world.start(2);
  await world.clock.advance(5000);
  assert.is(node.found?.kind, "member");
});

test("Founding: T9: nothing is chosen while one of them has not promised", async () => {
  const world = new World();
  await world.start(0);
  await world.start(1);
  const slow = await world.start(2);
  slow.isEnded = true;
  world.exchange.attach(idOf(2), async () => ({
    ...(slow.founding.handle({}) as Record<string, unknown>),
    promised: null,
  }));
  await world.says(0, /waiting for the promise of n2\./);
  await world.says(1, /waiting for the promise of n2\./);
});

test("Founding: T9: a node that meets another promise than its own does not go on, and says why", async () => {
  const world = new World();
  const lone = await world.start(0);
  await world.start(1);
  await world.start(2);
  await world.clock.advance(20);
  for (const index of [1, 2]) (world.nodes.get(index) as TestNode).isEnded = true;
  world.exchange.attach(idOf(1), async () => {
    const answer = world.nodes.get(1)?.founding.handle({}) as Record<string, unknown>;
    const promised = answer["promised"] as AgreedDocument | null;
    return { ...answer, promised: promised === null ? null : { ...promised, voters: [] } };
  });
  await world.says(0, /n1 has promised another first topology than this node/);
  assert.is(lone.found, undefined);
});

test("Founding: T9: too few peers in the list are named as that", async () => {
  const world = new World();
  await world.start(0, { peers: [1] });
  await world.start(1, { peers: [0] });
  await world.says(0, /2 nodes are here: n0, n1\. All peers have answered: --peers names too few/);
});

test("Founding: T9: too many are an error that names them", async () => {
  const world = new World();
  for (const index of [0, 1, 2]) await world.start(index, { expect: 2 });
  await world.says(0, /expect is 2, and 3 nodes are here: n0, n1, n2\. That is 1 too many/);
});

test("Founding: T9: different settings are an error that names them and where they are", async () => {
  const world = new World();
  await world.start(0);
  await world.start(1, { partitions: 64 });
  await world.start(2, { expect: 5 });
  await world.says(
    0,
    /n1 has --partitions 64, and this node 256; n2 has --bootstrap-expect 5, and this node 3/,
  );
  const other = new World();
  await other.start(0, { clusterId: "f".repeat(32) });
  await other.start(1, { expect: undefined });
  await other.start(2);
  await other.says(0, /n1 has --bootstrap-expect none, and this node 3; n1 has --cluster-id none/);
});

test("Founding: T9: what makes a first document impossible is said", async () => {
  const world = new World();
  for (const index of [0, 1, 2]) await world.start(index, { name: index === 0 ? "a" : "b" });
  await world.says(0, /Two nodes have one name\. Rename one\./);
});

test("Founding: T9: without --bootstrap-expect a node whose peers are all empty waits", async () => {
  const world = new World();
  const node = await world.start(0, { expect: undefined });
  await world.start(1, { expect: undefined });
  await world.says(
    0,
    /none of the peers \(0, 1, 2\) has answered as one of a cluster\. No answer came from 2 \([^)]+\)\. Start/,
  );
  await world.start(2, { expect: undefined });
  await world.says(0, /none of the peers \(0, 1, 2\) belongs to a cluster\. Start/);
  world.stop(0);
  await world.clock.advance(2000);
  assert.is(node.found, undefined);
});

function documentOf(indexes: readonly number[]): AgreedDocument {
  const members = indexes.map((index) => ({
    nodeId: idOf(index),
    storeId: idOf(16 + index),
    name: `n${index}`,
    addresses: [`host:${index}`],
  }));
  return { clusterId: "b".repeat(32), epoch: 7, members, voters: [idOf(0)] };
}

test("Founding: T9: a peer that belongs to a cluster ends it: the named are members, the others join", async () => {
  const world = new World();
  await world.start(0, { present: documentOf([0, 1]) });
  const named = await world.start(1);
  const other = await world.start(2, { expect: undefined });
  await world.clock.advance(3000);
  assert.is(named.found?.kind, "member");
  assert.is(named.present?.epoch, 7);
  assert.is(other.found?.kind, "join");
  assert.is(other.found?.kind === "join" && other.found.address, "0");
  assert.is(other.present, undefined);
});

test("Founding: T9: a known node with another store is not taken for the member", async () => {
  const world = new World();
  const document = documentOf([0, 1]);
  const members = document.members.map((one) => ({ ...one, storeId: idOf(99) }));
  await world.start(0, { present: { ...document, members } });
  const node = await world.start(1);
  await world.clock.advance(3000);
  assert.is(node.found?.kind, "join", "where it will be refused (I1)");
});

test("Founding: a node with another --cluster-id does not enter, and says why", async () => {
  const world = new World();
  await world.start(0, { present: documentOf([0, 1]) });
  await world.start(1, { clusterId: "e".repeat(32) });
  await world.says(1, /belongs to the cluster b+, and this node was started with --cluster-id e+/);
});

test("Founding: a node that promised to found one cluster enters no other, and promises no other", async () => {
  const world = new World();
  const disk = new SimDisk();
  await world.start(0);
  await world.start(1, { disk });
  await world.start(2);
  // So long that all have promised, and so short that nobody knows it.
  world.exchange.delayMsMax = 0;
  await world.clock.advance(20);
  for (const index of [0, 1, 2]) world.stop(index);
  await world.clock.advance(2000);
  assert.ok(disk.files().includes("founding.a"), "it has promised");
  const kept = disk.crash("all");
  const cluster = new World();
  await cluster.start(0, { present: documentOf([0, 1]) });
  await cluster.start(1, { disk: kept });
  await cluster.says(1, /this node has promised to found/);
  cluster.stop(1);
  const others = new World();
  await others.start(1, { disk: kept, expect: 2, peers: [4] });
  await others.start(4, { expect: 2, peers: [1] });
  await others.says(1, /has promised to found the cluster \w+ with n0, n1, n2, and reaches n1, n4/);
});

test("Founding: a node does not ask itself, which nobody would answer", async () => {
  const world = new World();
  for (const index of [0, 1, 2]) await world.start(index, { named: "host:" });
  await world.clock.advance(5000);
  for (const index of [0, 1, 2]) assert.is(world.nodes.get(index)?.found?.kind, "member");
  assert.not.ok(world.asked.includes("1 host:1"));
  assert.ok(world.asked.includes("1 host:2"));
});

test("Founding: a node whose address changed after the promises keeps to what was promised", async () => {
  const world = new World();
  const node = await world.start(0);
  await world.start(1);
  await world.start(2);
  world.exchange.delayMsMax = 0;
  await world.clock.advance(20);
  assert.is(node.found, undefined, "they have promised, and do not know of each other's yet");
  for (const index of [0, 1, 2]) world.stop(index);
  await world.clock.advance(2000);
  const again: TestNode[] = [];
  for (const index of [0, 1, 2]) {
    const disk = world.nodes.get(index)?.disk.crash("all") as SimDisk;
    again.push(await world.start(index, { disk, address: `elsewhere:${index}` }));
  }
  await world.clock.advance(5000);
  for (const one of again) assert.is(one.found?.kind, "member", one.founding.waitingFor);
});

test("Founding: T9: with losses, and power losses at any time, all found the same cluster in the end", async () => {
  for (let seed = 0; seed < (isLong ? 200 : 15); seed += 1) {
    const world = new World(seed);
    const random = new SimRandom(seed);
    world.exchange.lossPercent = random.below(40);
    for (const index of [0, 1, 2]) await world.start(index);
    for (let crash = 0; crash < 4; crash += 1) {
      await world.clock.advance(random.below(2500));
      const index = random.below(3);
      const before = world.nodes.get(index) as TestNode;
      world.stop(index);
      // What was adopted is durable by its own means; what was promised is on this disk.
      const present = before.present;
      const disk = before.disk.crash(random);
      await world.start(index, present === undefined ? { disk } : { disk, present });
    }
    world.exchange.heal();
    await world.clock.advance(10_000);
    const documents = [...world.nodes.values()].map(({ present }) => JSON.stringify(present));
    assert.ok(documents[0] !== undefined, `seed ${seed}: founded`);
    assert.equal(new Set(documents).size, 1, `seed ${seed}`);
  }
});

test.run();
