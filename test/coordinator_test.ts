/**
 * The coordinator on a whole node whose clock goes where the test sends it: an acknowledged write is
 * what the next read finds, and its version is above all before it, however the wall clock jumps.
 */

import * as fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { SimDisk } from "../sim/disk.ts";
import { utf8Bytes } from "../src/bytes.ts";
import { silentReport } from "../src/capability.ts";
import { Coordinator } from "../src/coordinator.ts";
import type { Replied } from "../src/coordinator_ports.ts";
import { guardMs, hlcAt, hlcWallMs } from "../src/hlc.ts";
import type { QuorateNode } from "../src/node.ts";
import type { WriteReply } from "../src/quorum_message.ts";
import type { StoredRecord } from "../src/record.ts";
import type { Written } from "../src/store.ts";
import { genesis, memberOf } from "../src/topology_steps.ts";
import { compareVersions, type Version } from "../src/version.ts";
import { noFence } from "../src/watermark.ts";
import { rejectsSlug, runs } from "./samples.ts";
import { newWorld, openIn, requestId, type World } from "./store_harness.ts";

const test = suite("coordinator");
const hourMs = 3_600_000;
const common = { namespace: "default", requestId };
const plain = { ...common, contentType: "text/plain", meta: [] } as const;

async function put(node: QuorateNode, key: string, value: string): Promise<Version> {
  const answer = await node.put({ ...plain, key: utf8Bytes(key), value: utf8Bytes(value) });
  return answer.version;
}

async function get(node: QuorateNode, key: string): Promise<string | undefined> {
  const { record } = await node.get({ ...common, key: utf8Bytes(key) });
  return record === undefined ? undefined : Buffer.from(record.value).toString();
}

function jump(world: World, byMs: number): void {
  world.clock.setNowMs(world.clock.nowMs() + byMs);
}

test("V1, V3: a put after the wall clock was set back, by any time, is read back and its version is higher", async () => {
  const jumps = [1, 100, 199, 200, 249, 250, 251, 300, 400, 499, 500, 501, 600, 5000, hourMs];
  for (const jumpMs of jumps) {
    const world = newWorld();
    const node = await openIn(world);
    const before = await put(node, "k", "before");
    jump(world, -jumpMs);
    const after = await put(node, "k", "after");
    assert.is(await get(node, "k"), "after", `set back by ${jumpMs} ms`);
    assert.is(compareVersions(after, before), 1, `set back by ${jumpMs} ms`);
    await node.close();
  }
});

test("V1, V3: clocks that jump either way, also between starts, hide no write and never turn versions back", async () => {
  const anyJump = fc.oneof(
    { weight: 3, arbitrary: fc.integer({ min: -2 * guardMs, max: 2 * guardMs }) },
    { weight: 1, arbitrary: fc.integer({ min: -hourMs, max: hourMs }) },
  );
  const anyStep = fc.record({
    jumpMs: anyJump,
    key: fc.constantFrom("a", "b"),
    kind: fc.constantFrom("put", "put", "delete", "restart", "idle"),
  });
  const property = fc.asyncProperty(
    fc.array(anyStep, { minLength: 1, maxLength: 12 }),
    async (steps) => {
      const world = newWorld();
      let node = await openIn(world);
      const held = new Map<string, { value: string | undefined; version: Version }>();
      for (const [number, { jumpMs, key, kind }] of steps.entries()) {
        jump(world, jumpMs);
        if (kind === "restart") {
          await node.close();
          node = await openIn(world);
        } else if (kind === "idle") await world.clock.advance(300);
        else {
          const value = kind === "put" ? `${number}` : undefined;
          const version =
            value === undefined
              ? (await node.delete({ ...common, key: utf8Bytes(key) })).version
              : await put(node, key, value);
          const before = held.get(key);
          assert.ok(before === undefined || compareVersions(version, before.version) > 0);
          held.set(key, { value, version });
        }
        for (const [name, { value }] of held) assert.is(await get(node, name), value);
      }
      await node.close();
    },
  );
  await fc.assert(property, runs(150));
});

/** Lets everything that waits for no timer happen. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 50; turn += 1) await undefined;
}

interface Offered {
  readonly record: StoredRecord;
  readonly admit: () => void;
}

/** A replica in memory whose mint gives what the test wants, and which notes every write. */
class FakeReplica {
  readonly written: StoredRecord[] = [];
  readonly covered: number[] = [];
  held: StoredRecord | undefined;
  nowMs = 1_000_000;
  readonly mint = {
    mint: async (): Promise<Version> => ({ hlc: hlcAt(this.nowMs), origin: 1n }),
    mintAbove: async ({ hlc }: Version): Promise<Version> => ({
      hlc: hlcAt(hlcWallMs(hlc) + 1),
      origin: 2n,
    }),
    nowMs: (): number => this.nowMs,
  };

  async get(): Promise<StoredRecord | undefined> {
    return this.held;
  }

  async write({ record }: Offered): Promise<Written> {
    this.written.push(record);
    if (this.held !== undefined && compareVersions(this.held.version, record.version) > 0) {
      return { kind: "superseded", version: this.held.version } as const;
    }
    this.held = record;
    return { kind: "took" } as const;
  }

  async coverExpiry(expiresAtMs: number): Promise<void> {
    this.covered.push(expiresAtMs);
  }
}

function coordinatorOf(
  replica: FakeReplica,
  clock: SimClock = new SimClock(replica.nowMs),
): Coordinator {
  const member = { nodeId: "1".repeat(32), storeId: "2".repeat(32), name: "n1" };
  const topology = genesis("3".repeat(32), 4, member);
  return new Coordinator({
    clock,
    nodeName: "n1",
    replica,
    topology: () => topology,
    promiseOf: () => noFence.promise,
  });
}

test("W3: a superseded write is minted once more above what was there, and not a third time", async () => {
  const replica = new FakeReplica();
  const coordinator = coordinatorOf(replica);
  const request = { ...plain, key: utf8Bytes("k"), value: utf8Bytes("v"), ttlSeconds: 10 };
  await coordinator.put(request);
  assert.is(replica.written.length, 1);
  replica.nowMs -= 5000;
  const before = (replica.held as StoredRecord).version;
  const answer = await coordinator.put(request);
  assert.is(replica.written.length, 3);
  assert.is(compareVersions(answer.version, before), 1);
  assert.equal((replica.held as StoredRecord).version, answer.version);
  // The stamp is ahead of the clock by what there was; the time to live is not.
  assert.ok(hlcWallMs(answer.version.hlc) >= replica.nowMs + 5000);
  assert.is(answer.expiresAtMs, replica.nowMs + 10_000);
  // A replica that meanwhile got something newer still: that write counts, nobody mints again.
  replica.mint.mintAbove = async () => ({ hlc: hlcAt(1), origin: 3n });
  replica.nowMs -= 5000;
  await coordinator.put(request);
  assert.is(replica.written.length, 5);
});

test("W4: a write whose client was told that it is late is neither taken nor minted again", async () => {
  const replica = new FakeReplica();
  const clock = new SimClock(replica.nowMs);
  const coordinator = coordinatorOf(replica, clock);
  let goOn: () => void = () => {};
  const offered: ("took" | "late")[] = [];
  replica.write = async ({ admit }) => {
    await new Promise<void>((resolve) => {
      goOn = resolve;
    });
    try {
      admit();
      offered.push("took");
    } catch {
      offered.push("late");
    }
    return { kind: "superseded", version: { hlc: hlcAt(replica.nowMs + 1), origin: 2n } };
  };
  const request = { ...plain, key: utf8Bytes("k"), value: utf8Bytes("v"), timeoutMs: 1000 };
  const late = rejectsSlug("timeout", coordinator.put(request));
  for (let turn = 0; turn < 20; turn += 1) await undefined;
  await clock.advance(1000);
  await late;
  goOn();
  for (let turn = 0; turn < 20; turn += 1) await undefined;
  assert.equal(offered, ["late"]);
});

test("W4, T2: a write that waited alone, and goes to others that have come, has what is left of its time", async () => {
  const replica = new FakeReplica();
  const clock = new SimClock(replica.nowMs);
  const ids = ["1", "2"].map((digit) => digit.repeat(32));
  const [first, second] = ids.map((id) => memberOf({ nodeId: id, storeId: id, name: id }));
  assert.ok(first !== undefined && second !== undefined);
  let topology = genesis("c".repeat(32), 4, first);
  let goOn: () => void = () => {};
  replica.write = async ({ admit }) => {
    await new Promise<void>((resolve) => {
      goOn = resolve;
    });
    admit();
    return { kind: "took" };
  };
  const patience: number[] = [];
  const answers: (() => void)[] = [];
  const superseded = async (): Promise<Replied<WriteReply>> => {
    await new Promise<void>((resolve) => {
      answers.push(resolve);
    });
    const from = { nodeId: ids[1] ?? "", storeId: "s", boot: 1, epoch: 2, syncedSequence: 1 };
    const version = { hlc: hlcAt(replica.nowMs + 1), origin: 9n };
    return { kind: "superseded", version, from: { ...from, clockHlc: version.hlc, counts: true } };
  };
  let minted = 0;
  const { mintAbove } = replica.mint;
  replica.mint.mintAbove = (version) => {
    minted += 1;
    return mintAbove(version);
  };
  const never = () => Promise.reject(new Error("not asked"));
  const coordinator = new Coordinator({
    ...{ clock, nodeName: "n1", replica, topology: () => topology },
    promiseOf: () => noFence.promise,
    cluster: {
      ...{ report: silentReport, nodeId: first.nodeId, learn: never },
      local: { write: superseded, read: never, coverStamp: () => undefined },
      peers: {
        write: (_, __, { timeoutMs }) => {
          patience.push(timeoutMs);
          return superseded();
        },
        ...{ read: never, isUp: () => true },
      },
      hints: { keep: async () => {}, suspect: () => {} },
      place: () => ({ epoch: 2, partition: 0, replicas: [first, second] }),
    },
  });
  const request = { ...plain, key: utf8Bytes("k"), value: utf8Bytes("v"), timeoutMs: 1000 };
  const late = rejectsSlug("timeout", coordinator.put(request));
  await turns();
  await clock.advance(600);
  const rows = topology.replicas.map(() => [0, 1]);
  topology = { ...topology, epoch: 2, members: [first, second], replicas: rows };
  goOn();
  await turns();
  assert.equal(patience, [400]);
  await clock.advance(400);
  assert.is((await late).outcome, "unknown");
  for (const answer of answers) answer();
  await turns();
  assert.is(minted, 0, "its client has been answered");
});

test("P7: a write for which no version can be minted has outcome `none`, the first as the second", async () => {
  const replica = new FakeReplica();
  const coordinator = coordinatorOf(replica);
  const request = { ...plain, key: utf8Bytes("k"), value: utf8Bytes("v") };
  await coordinator.put(request);
  const held = replica.held;
  replica.mint.mintAbove = () => Promise.reject(new Error("the disk"));
  replica.nowMs -= 5000;
  assert.is((await rejectsSlug("internal", coordinator.put(request))).outcome, "none");
  replica.mint.mint = replica.mint.mintAbove as () => Promise<Version>;
  assert.is((await rejectsSlug("internal", coordinator.put(request))).outcome, "none");
  assert.is(replica.held, held);
});

test("P7: a write that has no answer at its deadline is `unknown`, a read just late", async () => {
  let gate: Promise<void> = Promise.resolve();
  const disk = new SimDisk({ pause: () => gate });
  const world = newWorld({ disk });
  const node = await openIn(world);
  await put(node, "k", "before");
  let open: () => void = () => {};
  gate = new Promise((resolve) => {
    open = resolve;
  });
  const late = put(node, "k", "stuck");
  // It is in the memtable, and a read must not name it before it is synced (W2).
  for (let turn = 0; turn < 20; turn += 1) await undefined;
  const read = node.get({ ...common, key: utf8Bytes("k"), timeoutMs: 50 });
  const memory = node.put({
    ...plain,
    key: utf8Bytes("m"),
    value: utf8Bytes("v"),
    durability: "memory",
  });
  const lateError = rejectsSlug("timeout", late);
  const readError = rejectsSlug("timeout", read);
  await memory;
  await world.clock.advance(4999);
  assert.is((await readError).outcome, undefined);
  await world.clock.advance(1);
  assert.is((await lateError).outcome, "unknown");
  open();
  gate = Promise.resolve();
  await world.clock.advance(10);
  assert.is(await get(node, "k"), "stuck", "the write took place all the same");
  await node.close();
});

test("R3: an expired record is no such key once the clock's ceiling covers its expiry", async () => {
  const replica = new FakeReplica();
  const coordinator = coordinatorOf(replica);
  const key = utf8Bytes("k");
  const { expiresAtMs } = await coordinator.put({
    ...plain,
    key,
    value: utf8Bytes("v"),
    ttlSeconds: 1,
  });
  replica.nowMs += 999;
  assert.is((await coordinator.get({ ...common, key })).record?.expiresAtMs, expiresAtMs);
  assert.equal(replica.covered, []);
  replica.nowMs += 1;
  assert.is((await coordinator.get({ ...common, key })).record, undefined);
  assert.equal(replica.covered, [expiresAtMs]);
});

test("R3: reads of what is over share a timer, whatever fraction of their time is left", async () => {
  const replica = new FakeReplica();
  const clock = new SimClock(replica.nowMs);
  const coordinator = coordinatorOf(replica, clock);
  const key = utf8Bytes("k");
  await coordinator.put({ ...plain, key, value: utf8Bytes("v"), ttlSeconds: 1 });
  await clock.advance(5000);
  replica.nowMs += 1000;
  const monotonicMs = clock.monotonicMs.bind(clock);
  let asked = 0;
  clock.monotonicMs = () => {
    asked += 1;
    return monotonicMs() + (asked * asked) / 1e6;
  };
  for (let read = 0; read < 50; read += 1) await coordinator.get({ ...common, key });
  assert.ok(clock.timerCount <= 2, `${clock.timerCount} timers`);
});

test("a put without ttl clears the one before, a delete leaves a tombstone without one", async () => {
  const replica = new FakeReplica();
  const coordinator = coordinatorOf(replica);
  const request = { ...plain, key: utf8Bytes("k"), value: utf8Bytes("v") };
  await coordinator.put({ ...request, ttlSeconds: 1 });
  replica.nowMs += 1;
  await coordinator.put(request);
  assert.is(replica.held?.expiresAtMs, undefined);
  replica.nowMs += 1;
  const deleted = await coordinator.delete({ ...common, key: utf8Bytes("k") });
  assert.is(deleted.expiresAtMs, undefined);
  assert.is(replica.held?.tombstone, true);
  assert.is(replica.held?.value.length, 0);
});

test("what cannot be is refused with outcome `none` before anything is written", async () => {
  const replica = new FakeReplica();
  const coordinator = coordinatorOf(replica);
  const request = { ...plain, key: utf8Bytes("k"), value: utf8Bytes("v") };
  const large = { ...request, value: new Uint8Array(1024 * 1024 + 1) };
  const tooLarge = await rejectsSlug("value-too-large", coordinator.put(large));
  assert.is(tooLarge.facts.limit, 1024 * 1024);
  const errors = [
    tooLarge,
    await rejectsSlug("namespace-not-found", coordinator.put({ ...request, namespace: "none" })),
    await rejectsSlug("invalid-quorum", coordinator.put({ ...request, w: 4 })),
    await rejectsSlug("quorum-unavailable", coordinator.put({ ...request, w: 2 })),
    await rejectsSlug("quorum-unavailable", coordinator.delete({ ...request, w: 3 })),
  ];
  for (const error of errors) assert.is(error.outcome, "none", error.slug);
  assert.is(replica.written.length, 0);
  await coordinator.put({ ...request, value: new Uint8Array(1024 * 1024) });
  assert.is(replica.written.length, 1);
});

test("a ttl counts from the write, also over a record whose stamp lies far in the future", async () => {
  const world = newWorld();
  const node = await openIn(world);
  const startMs = world.clock.nowMs();
  jump(world, 24 * hourMs);
  await put(node, "k", "of tomorrow");
  jump(world, -24 * hourMs);
  const key = utf8Bytes("k");
  const { expiresAtMs } = await node.put({ ...plain, key, value: utf8Bytes("v"), ttlSeconds: 10 });
  assert.ok((expiresAtMs ?? 0) >= startMs + 10_000, `${expiresAtMs}`);
  assert.ok((expiresAtMs ?? 0) <= startMs + 10_000 + guardMs, `${expiresAtMs}`);
  assert.is(await get(node, "k"), "v");
  await world.clock.advance(10_000 + guardMs);
  assert.is(await get(node, "k"), undefined);
  await node.close();
});

test("R3: once a clock that was far ahead is set back, nothing is over by the stamps that it made", async () => {
  const world = newWorld();
  const node = await openIn(world);
  const key = utf8Bytes("k");
  await node.put({ ...plain, key, value: utf8Bytes("v"), ttlSeconds: 10 });
  jump(world, 24 * hourMs);
  await put(node, "other", "of tomorrow");
  jump(world, -24 * hourMs);
  // It mints nothing, so that its last stamp stays where it is.
  assert.is(await get(node, "k"), "v");
  await world.clock.advance(10_001);
  assert.is(await get(node, "k"), undefined);
  await node.close();
});

test("R3: what was called expired stays so, when the clock is set back by up to the guard, over a new origin and a crash", async () => {
  for (const backMs of [40, 100, 200, 300, 499]) {
    const world = newWorld();
    const node = await openIn(world);
    const key = utf8Bytes("k");
    await node.put({ ...plain, key, value: utf8Bytes("v"), ttlSeconds: 1 });
    await world.clock.advance(1001);
    assert.is(await get(node, "k"), undefined);
    world.table.crash({ keep: "flushed" });
    const { image } = world.table;
    const nowMs = world.clock.nowMs() - backMs;
    const disk = world.disk.crash("durable");
    const next = newWorld({ seed: 2, nowMs, disk, image });
    const after = await openIn(next);
    assert.is(await get(after, "k"), undefined, `after a crash, set back by ${backMs} ms`);
    await next.clock.advance(backMs);
    await put(after, "other", "v");
    assert.is(await get(after, "k"), undefined);
    jump(next, -backMs);
    // The mint begins again at the wall clock, with a new origin.
    await put(after, "other", "again");
    assert.is(await get(after, "k"), undefined, `while it runs, set back by ${backMs} ms`);
    await after.close();
  }
});

test.run();
