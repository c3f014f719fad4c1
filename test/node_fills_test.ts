/**
 * Node fills: a store without data beside two that have it, which answer as replicas do: what is asked of
 * whom, in which order, and what may go wrong in between.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { SimDisk } from "../sim/disk.ts";
import { utf8Bytes } from "../src/bytes.ts";
import { silentReport } from "../src/capability.ts";
import { QuorateError } from "../src/errors.ts";
import { type Hlc, hlcWallMs } from "../src/hlc.ts";
import { Holdings } from "../src/holdings.ts";
import { Losses } from "../src/losses.ts";
import type { PeerRequest } from "../src/message.ts";
import { NodeFills } from "../src/node_fills.ts";
import { NodeMoves } from "../src/node_moves.ts";
import { WatermarkRound } from "../src/node_watermark_round.ts";
import { NodeWatermarks } from "../src/node_watermarks.ts";
import type { DigestReply, ReplyFrom } from "../src/quorum_message.ts";
import { decodeRecord, encodeRecord, recordBytes, type StoredRecord } from "../src/record.ts";
import { Replica } from "../src/replica.ts";
import { Ring } from "../src/ring.ts";
import type { Store } from "../src/store.ts";
import { MemoryTableDisk } from "../src/table_memory.ts";
import {
  leftOf,
  replicasOf,
  type Topology,
  type TopologyMove,
  writeSetsOf,
} from "../src/topology.ts";
import { withMove, withNextPhase } from "../src/topology_move.ts";
import { withNamespace, withoutNamespace } from "../src/topology_namespaces.ts";
import { genesisOf } from "../src/topology_steps.ts";
import { openStore, partitions } from "./repair_harness.ts";

const test = suite("node fills");
const ring = new Ring("c".repeat(32), partitions);
const ids = ["1", "2", "3", "4"].map((digit) => ({
  ...{ nodeId: digit.repeat(32), storeId: digit.repeat(31).padStart(32, "a"), name: `n${digit}` },
}));
type Ids = (typeof ids)[number];
const own = ids[0]?.nodeId ?? "";

async function write(store: Store, key: string, stamp: number, namespaceNumber = 0): Promise<void> {
  await store.write({
    ...{ namespaceNumber, key: utf8Bytes(key), durability: "fsync" },
    record: {
      version: { hlc: BigInt(stamp) as Hlc, origin: 1n },
      ...{ tombstone: false, contentType: "text/plain", meta: [], value: utf8Bytes(key) },
    },
  });
}

async function remove(store: Store, key: string, stamp: number): Promise<void> {
  await store.write({
    ...{ namespaceNumber: 0, key: utf8Bytes(key), durability: "fsync" },
    record: {
      version: { hlc: BigInt(stamp) as Hlc, origin: 1n },
      ...{ tombstone: true, contentType: "", meta: [], value: new Uint8Array(0) },
    },
  });
}

function held(store: Store): string[] {
  const piece = { prefix: utf8Bytes(""), reverse: false, limit: 1000 };
  return Array.from({ length: partitions }, (_, partition) =>
    store.scan(partition, 0, piece).items.map(({ key, record }) => {
      const { version } = decodeRecord(record as Uint8Array);
      return `${Buffer.from(key).toString()} ${version.hlc}`;
    }),
  )
    .flat()
    .sort();
}

/** One other node: its store, and what it answers. */
async function other(clock: SimClock, number: number, epoch = 1) {
  const store = await openStore(clock, number);
  const fences = new NodeWatermarks(store);
  const state = { hasData: true, isUp: true, epoch };
  const { nodeId } = ids[number - 1] ?? { nodeId: "" };
  const parts = { clock, store, fences, number, epoch: () => state.epoch };
  const replica = replicaOf({ ...parts, counts: () => state.hasData });
  return { store, fences, state, replica, nodeId };
}

/** What a node answers for its store. */
function replicaOf(parts: {
  readonly clock: SimClock;
  readonly store: Store;
  readonly fences: NodeWatermarks;
  readonly number: number;
  readonly epoch?: () => number;
  readonly counts: () => boolean;
}): Replica {
  const { clock, store, fences, number, epoch = () => 1, counts } = parts;
  const { nodeId, storeId } = ids[number - 1] ?? { nodeId: "", storeId: "" };
  return new Replica({
    ...{ clock, store, fences, report: silentReport, self: { nodeId, storeId, boot: 1 } },
    topology: () => ({
      epoch: epoch(),
      partitionOf: (namespace, key) => ring.place(namespace, key).partition,
      changedAt: () => 1,
      isReplica: () => true,
      document: () => ({}),
    }),
    learn: async () => {},
    notReady: () => undefined,
    counts,
    sequenceBase: () => 0,
  });
}

/** What a replica tells of itself in a round. */
function stateOf(reply: Extract<DigestReply, { kind: "sums" }> & { readonly from: ReplyFrom }) {
  const { from, isDamaged, promise, watermark } = reply;
  const { storeId, boot } = from;
  const clockMs = hlcWallMs(from.clockHlc);
  return { storeId, boot, promise, watermark, clockMs, counts: from.counts && !isDamaged };
}

async function stand(
  topology = genesisOf(ids.slice(0, 3), { expect: 3, partitions }),
  world = { disk: new SimDisk(), table: new MemoryTableDisk() },
) {
  const clock = new SimClock();
  const store = await openStore(clock, 1, world);
  const fences = new NodeWatermarks(store);
  const losses = await Losses.open(new SimDisk());
  await losses.recognise(1000);
  const others = [await other(clock, 2), await other(clock, 3)] as const;
  const known = { topology };
  const hooks = {
    before: async (_nodeId: string, _request: PeerRequest): Promise<void> => {},
    /** When the answer is on its way. */
    after: async (_request: PeerRequest): Promise<void> => {},
  };
  const fills = new NodeFills({
    ...{ clock, store, losses, fences, report: silentReport, ownNodeId: own },
    topology: () => known.topology,
    peers: {
      request: async (nodeId, request) => {
        await hooks.before(nodeId, request);
        const { replica } = others.find((one) => one.nodeId === nodeId) ?? others[0];
        if (request.kind === "digest") return replica.digest(request);
        if (request.kind === "scan") return replica.scan(request);
        if (request.kind === "read") {
          const reply = await replica.read(request);
          await hooks.after(request);
          return reply;
        }
        assert.is(request.kind, "write");
        return replica.write(request as Extract<PeerRequest, { kind: "write" }>);
      },
    },
    isUp: (nodeId) => others.some((one) => one.nodeId === nodeId && one.state.isUp),
    newsOf: (nodeId) => {
      const state = others.find((one) => one.nodeId === nodeId)?.state;
      return { epoch: state?.epoch ?? 0, isUp: state?.isUp === true };
    },
    bytesPerSecond: 2 ** 30,
  });
  const isWhole = (): boolean =>
    Array.from({ length: partitions }, (_, partition) => fills.hasData(partition, 3)).every(
      (has) => has,
    );
  const pass = async (ms: number): Promise<void> => {
    for (let step = 0; step < ms / 50; step += 1) await clock.advance(50);
  };
  const close = async (): Promise<void> => {
    const closing = fills.close();
    await pass(500);
    await closing;
    for (const one of [store, ...others.map((each) => each.store)]) await one.close();
  };
  return { clock, store, fences, losses, others, fills, hooks, known, isWhole, pass, close };
}

/** All partitions of a store and of its fences are at a watermark. */
async function raise(fences: NodeWatermarks, stamp: number): Promise<void> {
  for (let partition = 0; partition < partitions; partition += 1) {
    await fences.adopt(partition, 3, BigInt(stamp) as Hlc);
  }
}

test("I4: it gets what any of n-m+1 others has, and counts then; what it alone has they get", async () => {
  const { store, others, fills, isWhole, pass, close } = await stand();
  const [second, third] = others;
  await write(second.store, "a", 10);
  await write(third.store, "b", 11);
  await write(store, "c", 12);
  assert.not.ok(isWhole());
  fills.begin();
  await pass(2000);
  assert.ok(isWhole(), JSON.stringify(fills.status()));
  assert.equal(held(store), ["a 10", "b 11", "c 12"]);
  await close();
});

test("I4: with one other that has data it waits, and says for whom and what can be done", async () => {
  const { others, fills, isWhole, pass, close } = await stand();
  const [second, third] = others;
  await write(second.store, "a", 10);
  third.state.hasData = false;
  fills.begin();
  await pass(3000);
  assert.not.ok(isWhole());
  const [open] = fills.status().open;
  assert.match(open?.why ?? "", /1 of 2 other replicas .* n3 has none.*--accept-data-loss/);
  third.state.isUp = false;
  await pass(3000);
  assert.match(fills.status().open[0]?.why ?? "", "n3 is not reached");
  Object.assign(third.state, { hasData: true, isUp: true });
  await pass(3000);
  assert.ok(isWhole());
  await close();
});

test("G6: all are at the highest watermark before a record is taken, and what was deleted below it goes", async () => {
  const { store, fences, others, fills, hooks, isWhole, pass, close } = await stand();
  const [second, third] = others;
  await raise(second.fences, 40);
  await raise(third.fences, 50);
  for (const one of others) await write(one.store, "kept", 20);
  await write(store, "deleted since", 30);
  await write(store, "new", 60);
  const early: string[] = [];
  hooks.before = async (_, request) => {
    if (request.kind !== "read") return;
    const { partition } = ring.place(0, request.key);
    const marks = [fences, second.fences].map((each) => each.of(partition, 3).watermark);
    if (marks.some((mark) => mark !== 50n)) early.push(Buffer.from(request.key).toString());
  };
  fills.begin();
  await pass(3000);
  assert.ok(isWhole());
  assert.equal(early, []);
  assert.equal(held(store), ["kept 20", "new 60"]);
  assert.is(fences.kept(2, 3).watermark, 50n);
  await close();
});

test("G2: it promises what its sources have: who leads the rounds has to know that one was given up", async () => {
  const { store, others, fills, isWhole, pass, close } = await stand();
  const [second] = others;
  for (let partition = 0; partition < partitions; partition += 1) {
    await second.fences.promise(partition, 3, 70n as Hlc);
  }
  for (const one of others) await raise(one.fences, 50);
  fills.begin();
  await pass(3000);
  assert.ok(isWhole());
  const kept = new NodeWatermarks(store).kept(0, 3);
  assert.equal(kept, { promise: 70n, watermark: 50n }, "for a later start, too");
  await close();
});

test("G2: one that lost something and was filled in the middle of a round does not confirm it", async () => {
  const { clock, store, fences, others, fills, pass, close } = await stand();
  const [second, third] = others;
  const pair = { partition: 0, n: 3 };
  fills.begin();
  await pass(3000);
  const first = replicaOf({ clock, store, fences, number: 1, counts: () => fills.hasData(0, 3) });
  const asked = (replica: Replica, name: string) => ({
    name,
    ask: async (adopt: Hlc, promise: Hlc) => {
      const request = { ...pair, kind: "digest", wants: "state", adopt, promise } as const;
      const reply = await replica.digest({ ...request, epoch: 1, requestId: "round" });
      assert.is(reply.kind, "sums");
      return stateOf(reply as Extract<typeof reply, { kind: "sums" }>);
    },
  });
  const round = async (isFilled: boolean) => {
    let count = 0;
    const running = new WatermarkRound({
      ...{ report: silentReport, lagMs: 0, mayGoOn: () => true },
      own: asked(second.replica, "n2"),
      others: [asked(first, "n1"), asked(third.replica, "n3")],
      compare: async () => {
        count += 1;
        // It was compared twice: what the leader has of it alone the third one gets only now.
        if (count !== 4 || !isFilled) return true;
        store.markLost(0, [3], "a record is gone");
        await pass(3000);
        assert.ok(fills.hasData(0, 3), "others had what it lacks");
        return true;
      },
    }).run();
    await pass(5000);
    return running;
  };
  assert.equal(await round(true), { why: "a replica does not stand by its promise any more" });
  assert.ok("raised" in (await round(false)), "the next one does what this one could not");
  await close();
});

test("G6: what it took below the watermark that the others never had gives way to what they hold", async () => {
  const { store, others, fills, isWhole, pass, close } = await stand();
  for (const one of others) {
    await raise(one.fences, 50);
    for (const key of ["written", "deleted"]) await write(one.store, key, 20);
    await remove(one.store, "both deleted", 22);
  }
  // Hints of writes that came to nobody else, which it took when its promises were forgotten.
  await write(store, "written", 30);
  await remove(store, "deleted", 31);
  await remove(store, "both deleted", 22);
  fills.begin();
  await pass(3000);
  assert.ok(isWhole());
  assert.equal(
    held(store).filter((line) => !line.startsWith("both")),
    ["deleted 20", "written 20"],
  );
  await close();
});

test("G6: a record that was asked for under an older watermark is dropped when it comes late", async () => {
  const { store, fences, others, fills, hooks, isWhole, pass, close } = await stand();
  const [second] = others;
  for (const one of others) await raise(one.fences, 40);
  await write(second.store, "late", 30);
  const { partition } = ring.place(0, utf8Bytes("late"));
  const piece = { prefix: utf8Bytes(""), reverse: false, limit: 10 };
  let isDeleted = false;
  const seen: string[] = [];
  hooks.before = async () => {
    seen.push(...held(store));
  };
  hooks.after = async () => {
    if (isDeleted) return;
    isDeleted = true;
    // It is deleted, all come to know that, and all drop it.
    for (const each of [fences, ...others.map((one) => one.fences)]) await raise(each, 50);
    await second.store.forget(second.store.scan(partition, 0, piece).items);
  };
  fills.begin();
  await pass(4000);
  assert.ok(isDeleted && isWhole());
  assert.equal([seen, held(store)], [[], []]);
  await close();
});

test("I4: a source that loses its data in the middle is one with which it begins again", async () => {
  const { others, fills, hooks, isWhole, pass, close } = await stand();
  const [second] = others;
  await write(second.store, "a", 10);
  let asked = 0;
  hooks.before = async (nodeId, request) => {
    if (request.kind !== "digest" || request.wants !== "state" || nodeId !== second.nodeId) return;
    asked += 1;
    // The last question of a partition: whether it still has data.
    second.state.hasData = asked % 3 !== 0 || asked >= 9;
  };
  fills.begin();
  while (asked < 8) await pass(50);
  assert.is(fills.status().filled, 0, "the first ones begin again");
  await pass(4000);
  assert.ok(isWhole() && asked > 9);
  await close();
});

test("I4: it does not count before what it took is synced", async () => {
  const { store, others, fills, losses, hooks, pass, close } = await stand();
  const [second, third] = others;
  await write(second.store, "a", 10);
  const { partition } = ring.place(0, utf8Bytes("a"));
  const whenSynced = store.whenSynced.bind(store);
  let confirmed = 0;
  let release = (): void => {};
  hooks.before = async (nodeId, request) => {
    if (request.kind !== "digest" || request.partition !== partition) return;
    if (request.wants !== "state" || nodeId !== third.nodeId) return;
    confirmed += 1;
    // The third of them confirms: what is waited for from now on is the sync before it counts.
    if (confirmed !== 3) return;
    store.whenSynced = () =>
      new Promise((resolve) => {
        release = resolve;
      });
  };
  fills.begin();
  await pass(2000);
  assert.is(confirmed, 3);
  assert.not.ok(losses.hasData(partition, 3));
  store.whenSynced = whenSynced;
  release();
  await pass(2000);
  assert.ok(losses.hasData(partition, 3));
  await close();
});

/** The partitions that the node holds for namespaces of an n, and those that it does not. */
function heldOf(topology: Topology, n: number): readonly [number[], number[]] {
  const all = Array.from({ length: partitions }, (_, partition) => partition);
  const isHeld = (partition: number): boolean =>
    replicasOf(topology, partition, n).some(({ nodeId }) => nodeId === own);
  return [all.filter(isHeld), all.filter((partition) => !isHeld(partition))];
}

test("I4: a damaged partition that it does not hold, and that cannot be counted again, holds up no other", async () => {
  const topology = genesisOf(ids, { expect: 4, partitions });
  const [, [strange = -1]] = heldOf(topology, 3);
  const { store, fills, losses, pass, close } = await stand(topology);
  const recount = store.recount.bind(store);
  store.recount = (partition, options) => {
    if (partition === strange) throw new QuorateError("corruption", "A page cannot be read.");
    return recount(partition, options);
  };
  store.markLost(strange, [3], "a test");
  assert.equal(store.damagedPartitions, [strange]);
  fills.begin();
  await pass(3000);
  const filled = Array.from(ring.all()).filter((partition) => losses.hasData(partition, 3));
  assert.ok(filled.length > 0, JSON.stringify(fills.status()));
  await close();
});

test("I4: what is lost for an n that it does not hold is no loss of its own, and its mark goes", async () => {
  const before = genesisOf(ids.slice(0, 3), { expect: 3, partitions });
  // The others answer under the epoch of the first document.
  const topology = { ...(withNamespace(before, "two", { n: 2 }) ?? before), epoch: before.epoch };
  const [, [strange = -1]] = heldOf(topology, 2);
  for (const lost of [[2], [2, 3]]) {
    const { store, fills, losses, isWhole, pass, close } = await stand(topology);
    await losses.accept(partitions);
    store.markLost(strange, lost, "a test");
    fills.begin();
    await pass(3000);
    assert.ok(isWhole(), JSON.stringify(fills.status()));
    assert.equal(store.damagedPartitions, [], `${lost}`);
    await close();
  }
});

// For the second one the partition had been filled before.
for (const lost of [
  [0, 1, 3],
  [0, 1],
]) {
  test(`I4: a promise whose partition stays damaged for an n of one copy (${lost}) is forgotten once, and not at each start`, async () => {
    const before = genesisOf(ids.slice(0, 3), { expect: 3, partitions });
    const single = withNamespace(before, "single", { n: 1, r: 1, w: 1 }) ?? before;
    const topology = { ...single, epoch: before.epoch };
    const world = { disk: new SimDisk(), table: new MemoryTableDisk() };
    const { clock, store, fences, losses, fills, isWhole, pass, close } = await stand(
      topology,
      world,
    );
    await losses.accept(partitions);
    await raise(fences, 40);
    const [firsts] = heldOf(topology, 1);
    // Where it has the only copy for n = 1: that never heals.
    for (const home of firsts) store.markLost(home, lost, "a test");
    fills.begin();
    await pass(3000);
    assert.ok(firsts.length > 0 && isWhole(), JSON.stringify(fills.status()));
    await close();
    const again = await openStore(clock, 1, world);
    assert.equal(again.damagedPartitions, firsts);
    const kept = new NodeWatermarks(again, [1, 3]);
    const open = Array.from(ring.all()).filter((partition) => again.isDamaged(partition, 3));
    assert.equal(open, []);
    assert.is(kept.of(firsts[0] ?? 0, 3).watermark, 40n);
    await again.close();
  });
}

test("I4, T5: what is lost of a set of one before it is read here is filled from the one that is read", async () => {
  const [me, ...olds] = ids.slice(0, 3) as [Ids, ...Ids[]];
  const founded = genesisOf(olds, { expect: 2, partitions });
  const single = withNamespace(founded, "single", { n: 1, r: 1, w: 1 }) as Topology;
  let topology = withMove(single, {
    ...{ join: [me], leave: [], replace: [], sites: [], isLossAccepted: false },
  }) as Topology;
  while (topology.move?.phase !== 2) {
    topology = withNextPhase(topology, topology.move as TopologyMove) as Topology;
  }
  const { store, fills, losses, others, pass, close } = await stand({ ...topology, epoch: 1 });
  await losses.accept(partitions);
  const coming = Array.from(ring.all()).filter((partition) =>
    writeSetsOf(topology, partition, 1)
      .flat()
      .some(({ nodeId }) => nodeId === own),
  );
  assert.ok(coming.length > 0);
  for (let index = 0; index < 40; index += 1) {
    for (const other of others) await write(other.store, `k${index}`, 10 + index, 1);
  }
  for (const partition of coming) store.markLost(partition, [1], "a test");
  for (const partition of coming)
    assert.not(fills.hasData(partition, 1), "it is no copy, nor the only one");
  fills.begin();
  await pass(3000);
  const piece = { prefix: utf8Bytes(""), reverse: false, limit: 100 };
  for (const partition of coming) {
    assert.ok(fills.hasData(partition, 1) && !store.isDamaged(partition, 1));
    const [here, there] = [store, others[0].store].map(
      (one) => one.scan(partition, 1, piece).items,
    );
    assert.is(here?.length, there?.length);
    assert.ok((here?.length ?? 0) > 0);
  }
  await close();
});

test("I4: what is damaged of the last that is left of a lost set stays so: it is copied from here alone", async () => {
  const founded = genesisOf(ids, { expect: 4, partitions });
  const pair = { ...(withNamespace(founded, "pair", { n: 2 }) as Topology), epoch: 1 };
  const [, gone] = ids;
  const by = { nodeId: "5".repeat(32), storeId: "5".repeat(32), name: "n5" };
  const lost = gone?.nodeId ?? "";
  const begun = withMove(pair, {
    ...{ join: [by], leave: [lost, own], sites: [], isLossAccepted: true },
    replace: [{ nodeId: lost, by: by.nodeId }],
  }) as Topology;
  const { move } = begun;
  assert.ok(move !== undefined);
  const topology = withNextPhase(begun, move as NonNullable<typeof move>) as Topology;
  const left = Array.from(ring.all()).filter((partition) =>
    leftOf(topology, partition, 2).some(({ nodeId }) => nodeId === own),
  );
  assert.ok(left.length > 0);
  const { store, fills, losses, pass, close } = await stand(topology);
  await losses.accept(partitions);
  for (const partition of left) store.markLost(partition, [2], "a test");
  fills.begin();
  await pass(3000);
  // An operator decides: those who copy it would take what is left of it for all.
  for (const partition of left) assert.not.ok(fills.hasData(partition, 2), `${partition}`);
  const waiting = fills.status().open.map(({ partition, n }) => `${partition} ${n}`);
  for (const partition of left) assert.ok(waiting.includes(`${partition} 2`), waiting.join());
  await close();
});

/** The first node joins the sets of two others, which are read, and of one that is not reached. */
async function joining(after: (nodeId: string, request: PeerRequest) => Promise<void>) {
  const clock = new SimClock();
  const gone = { nodeId: "4".repeat(32), storeId: "4".repeat(32), name: "n4" };
  const founded = genesisOf([...ids.slice(1, 3), gone], { expect: 3, partitions });
  const [joins] = ids as [(typeof ids)[number]];
  const change = { join: [joins], leave: [gone.nodeId], replace: [], sites: [] };
  let topology = withMove(founded, change) as Topology;
  while (topology.move?.phase !== 2) {
    const { move } = topology;
    assert.ok(move !== undefined);
    topology = withNextPhase(topology, move as NonNullable<typeof move>) as Topology;
  }
  const { epoch } = topology;
  const me = await other(clock, 1, epoch);
  const others = [await other(clock, 2, epoch), await other(clock, 3, epoch)] as const;
  const moves = new NodeMoves({
    ...{ clock, report: silentReport, store: me.store, fences: me.fences, ownNodeId: own },
    holdings: await Holdings.open(new SimDisk(), epoch),
    topology: () => topology,
    isVoid: () => false,
    peers: {
      request: async (nodeId, request) => {
        const { replica } = others.find((one) => one.nodeId === nodeId) ?? others[0];
        assert.ok(request.kind === "digest" || request.kind === "scan" || request.kind === "read");
        const reply = await (request.kind === "digest"
          ? replica.digest(request)
          : request.kind === "scan"
            ? replica.scan(request)
            : replica.read(request as Extract<PeerRequest, { kind: "read" }>));
        await after(nodeId, request);
        return reply;
      },
    },
    isUp: (nodeId) => nodeId !== gone.nodeId,
    newsOf: () => ({ epoch: 1, filled: 0, dropped: 0, isUp: true }),
    propose: async () => {},
    counts: () => true,
    hasData: () => me.state.hasData,
    bytesPerSecond: 2 ** 30,
  });
  const pass = async (ms: number): Promise<void> => {
    for (let step = 0; step < ms / 50; step += 1) await clock.advance(50);
  };
  const isFilled = (): boolean => moves.load["moveFilled"] === topology.move?.begun;
  const close = async (): Promise<void> => {
    const closing = moves.close();
    await pass(500);
    await closing;
    for (const one of [me, ...others]) await one.store.close();
  };
  return { me, others, moves, pass, isFilled, close };
}

test("G6: who joins a set is at the watermark of those that it copies before it takes any of it: no old hint comes after", async () => {
  const key = utf8Bytes("late");
  const { partition } = ring.place(0, key);
  const record: StoredRecord = {
    version: { hlc: 30n as Hlc, origin: 1n },
    ...{ tombstone: false, contentType: "text/plain", meta: [], value: key },
  };
  const bytes = new Uint8Array(recordBytes(record));
  encodeRecord(record, { namespaceNumber: 0, key }, bytes, 0);
  let said: string | undefined;
  const { me, others, moves, pass, isFilled, close } = await joining(async (nodeId, request) => {
    if (nodeId !== ids[2]?.nodeId) return;
    if (request.kind !== "scan" || request.partition !== partition || said !== undefined) return;
    // What was kept for one that left comes to all who are written, when both sides were just looked at.
    const hint = { kind: "write", epoch: 1, namespaceNumber: 0, n: 3, key, record: bytes } as const;
    const how = { durability: "fsync", source: "hint", requestId: "hint" } as const;
    said = (await me.replica.write({ ...hint, ...how })).kind;
  });
  // It was deleted, and all have dropped that; one has not heard of it yet.
  await raise(others[1].fences, 50);
  for (let index = 0; index < 40; index += 1) {
    for (const { store } of others) await write(store, `k${index}`, 60 + index);
  }
  moves.begin();
  await pass(4000);
  assert.ok(isFilled());
  assert.is(said, "covered");
  assert.equal(held(me.store), held(others[0].store));
  await close();
});

test("G2: who joins a set promises what its sources have: who leads the rounds has to know that one was given up", async () => {
  const { me, others, moves, pass, isFilled, close } = await joining(async () => {});
  for (let partition = 0; partition < partitions; partition += 1) {
    for (const { fences } of others) await fences.promise(partition, 3, 70n as Hlc);
  }
  moves.begin();
  await pass(4000);
  assert.ok(isFilled());
  assert.equal(me.fences.kept(0, 3), { promise: 70n, watermark: 0n });
  await close();
});

test("G6: who joins a set again and was at a higher watermark before gets what is below that, too", async () => {
  const { me, others, moves, pass, isFilled, close } = await joining(async () => {});
  await raise(me.fences, 50);
  for (let index = 0; index < 40; index += 1) {
    for (const { store } of others) await write(store, `k${index}`, 1 + index);
  }
  moves.begin();
  await pass(4000);
  assert.ok(isFilled());
  assert.equal(held(me.store), held(others[0].store));
  await close();
});

test("I4, T5: who joins a set and was rolled back once has copied when it has data there, not before", async () => {
  const { me, others, moves, pass, isFilled, close } = await joining(async () => {});
  me.state.hasData = false;
  for (let index = 0; index < 20; index += 1) {
    for (const { store } of others) await write(store, `k${index}`, 10 + index);
  }
  moves.begin();
  await pass(4000);
  assert.not(isFilled(), "reads would move to one that counts for nothing");
  me.state.hasData = true;
  await pass(4000);
  assert.ok(isFilled());
  assert.equal(held(me.store), held(others[0].store));
  // While others copy, which may take hours: of a set of one nobody else is read then.
  me.state.hasData = false;
  assert.not(isFilled(), "it has lost some of it since");
  me.state.hasData = true;
  assert.ok(isFilled());
  await close();
});

test("I4: a topology that changes something else all the time breaks off no copy", async () => {
  const { store, others, fills, hooks, known, isWhole, pass, close } = await stand();
  const [second] = others;
  for (let index = 0; index < 20; index += 1) await write(second.store, `k${index}`, 10 + index);
  hooks.before = async () => {
    const { epoch, namespaces, partitions: count } = known.topology;
    const changed = Array.from({ length: count }, () => 1);
    known.topology = { ...known.topology, epoch: epoch + 1, changed, namespaces: [...namespaces] };
    for (const { state } of others) state.epoch = epoch + 1;
  };
  fills.begin();
  await pass(2000);
  assert.ok(isWhole(), JSON.stringify(fills.status()));
  assert.is(held(store).length, 20);
  await close();
});

/** A document with a change; each time another one. */
const changes: readonly [string, (topology: Topology) => Topology][] = [
  ["a namespace of this n", (before) => withNamespace(before, "made since", {}) ?? before],
  [
    "its replicas",
    (before) => ({ ...before, changed: before.changed.map(() => before.epoch + 1) }),
  ],
];

for (const [what, change] of changes) {
  test(`I4: a topology that changes ${what} in the middle is one with which it begins again`, async () => {
    const { others, fills, hooks, known, isWhole, pass, close } = await stand();
    const asked: number[] = [];
    hooks.before = async (_, request) => {
      if (request.kind !== "digest") return;
      asked.push(request.partition);
      if (asked.length !== 4) return;
      known.topology = { ...change(known.topology), epoch: known.topology.epoch + 1 };
      for (const { state } of others) state.epoch = known.topology.epoch;
    };
    fills.begin();
    while (asked.length < 4) await pass(50);
    const broken = fills.status().open.find(({ partition }) => partition === asked[3]);
    assert.match(broken?.why ?? "", "not those any more");
    await pass(3000);
    assert.ok(isWhole());
    await close();
  });
}

test("I4: by a topology that is older than that of the others nothing is filled: it may lack a namespace", async () => {
  const { store, others, fills, known, isWhole, pass, close } = await stand();
  const { topology } = known;
  const single = withNamespace(topology, "single", { n: 1, r: 1, w: 1 }) ?? topology;
  const next = withNamespace(single, "made since", {}) ?? topology;
  for (const one of others) {
    one.state.epoch = next.epoch;
    await write(one.store, "a", 10, 2);
  }
  fills.begin();
  await pass(3000);
  assert.is(fills.status().filled, 0);
  assert.not.ok(isWhole());
  const [open] = fills.status().open;
  assert.match(open?.why ?? "", /n2: it knows a newer topology \(epoch 3\), which this node hears/);
  known.topology = next;
  await pass(4000);
  assert.ok(isWhole());
  assert.is(store.tally(2).keys, 1);
  await close();
});

test("I4: of an n that no namespace has nothing is lost: one that comes later counts where it begins", async () => {
  const founded = genesisOf(ids.slice(0, 3), { expect: 3, partitions });
  const alone = withNamespace(founded, "alone", { n: 1 }) as Topology;
  const { fills, known, losses, others, isWhole, pass, close } = await stand(alone);
  for (const { state } of others) state.epoch = alone.epoch;
  const lacking = (n: number): number =>
    Array.from({ length: partitions }, (_, partition) => partition).filter(
      (partition) => !fills.hasData(partition, n),
    ).length;
  fills.begin();
  await pass(3000);
  assert.ok(isWhole());
  // Of n = 2, which no namespace had, nothing can be lost; of n = 1 what 'alone' had here may be.
  assert.is(lacking(2), 0);
  assert.ok(lacking(1) > 0, "what only this node had of 'alone' nobody else has");
  known.topology = withoutNamespace(alone, "alone") as Topology;
  await pass(3000);
  assert.is(lacking(1), 0);
  // After another loss it is not known any more which namespaces there were.
  await losses.recognise(2000);
  assert.is(lacking(2), partitions);
  await close();
});

test("I4: while a member may know a newer topology, one of an n that none has here may have been lost", async () => {
  const founded = genesisOf(ids.slice(0, 3), { expect: 3, partitions });
  // What has n = 2 is filled by one other, which may know as little as this node.
  const topology = { ...(withNamespace(founded, "two", { n: 2 }) as Topology), epoch: 1 };
  const { fills, others, pass, close } = await stand(topology);
  const [, third] = others;
  const lacking = (): number =>
    Array.from({ length: partitions }, (_, partition) => partition).filter(
      (partition) => !fills.hasData(partition, 5),
    ).length;
  // It and this node had taken writes of a namespace with n = 5, of which the second has not heard.
  for (const state of [
    { isUp: false, epoch: 1 },
    { isUp: true, epoch: 0 },
    { isUp: true, epoch: 2 },
  ]) {
    Object.assign(third.state, state);
    if (state.epoch === 1) fills.begin();
    await pass(3000);
    assert.ok(fills.status().filled > 0);
    assert.is(lacking(), partitions, JSON.stringify(state));
  }
  third.state.epoch = 1;
  await pass(3000);
  assert.is(lacking(), 0);
  await close();
});

test.run();
