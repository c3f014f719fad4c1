/** Which ranges are compared, and what one that cannot be compared does to the others. */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { SimDisk } from "../sim/disk.ts";
import { SimRandom } from "../sim/random.ts";
import { equal, utf8Bytes } from "../src/bytes.ts";
import { silentReport } from "../src/capability.ts";
import { digestBytes } from "../src/digest.ts";
import { QuorateError } from "../src/errors.ts";
import { type Hlc, hlcAt } from "../src/hlc.ts";
import { RepairRounds } from "../src/node_repair.ts";
import { type Mark, RepairMarks } from "../src/node_repair_marks.ts";
import { TopologyView } from "../src/node_view.ts";
import { NodeWatermarks } from "../src/node_watermarks.ts";
import type { WriteRequest } from "../src/quorum_message.ts";
import { Replica } from "../src/replica.ts";
import { Ring } from "../src/ring.ts";
import { Standings } from "../src/standing.ts";
import type { Store } from "../src/store.ts";
import { MemoryTableDisk } from "../src/table_memory.ts";
import { genesisOf } from "../src/topology_steps.ts";
import { openStore, partitions } from "./repair_harness.ts";
import { rejectsSlug } from "./samples.ts";

const test = suite("node repair");
const [own, other] = ["1", "2"].map((digit) => ({
  nodeId: digit.repeat(32),
  storeId: digit.repeat(31).padStart(32, "a"),
  name: `n${digit}`,
})) as [MemberIds, MemberIds];

interface MemberIds {
  readonly nodeId: string;
  readonly storeId: string;
  readonly name: string;
}

const state0 = { promise: 0n as Hlc, watermark: 0n as Hlc, isDamaged: false };

/** No turn comes within these tests, unless they wait for it. */
const limits = {
  periodMs: 3_600_000,
  partitionsMax: 2,
  bytesPerSecond: 2 ** 30,
  lagMs: 1000,
  watermarkPeriodMs: 3_600_000,
};

const from = {
  nodeId: other.nodeId,
  storeId: other.storeId,
  boot: 1,
  epoch: 1,
  syncedSequence: 0,
  clockHlc: 0n,
  counts: true,
} as never;

test("D3: a partition that another node cannot compare keeps only itself from counting", async () => {
  const clock = new SimClock();
  const store = await openStore(clock);
  const topology = genesisOf([own, other], { expect: 2, partitions });
  const standings = new Standings({
    openedSequence: 0,
    wasCut: true,
    partitions,
    othersOf: () => [other.nodeId],
    isDown: () => false,
  });
  standings.tell(other.nodeId, 0);
  let damaged: number | undefined = 0;
  const { total } = await store.digest(0, 3);
  const rounds = new RepairRounds({
    clock,
    report: silentReport,
    store,
    standings,
    whole: async () => {},
    topology: () => topology,
    ...{ self: own, fences: new NodeWatermarks(store) },
    peers: {
      request: async (_, request) => {
        if (request.kind === "digest" && request.partition === damaged) {
          return { kind: "refused", reason: "failed", detail: "its disk has failed", from };
        }
        return { kind: "sums", total, ...state0, from };
      },
    },
    isUp: () => true,
    hasData: () => true,
    clearedAt: () => 0,
    handOn: async () => ({}),
    ...{ random: new SimRandom(1), limits },
  });
  rounds.begin();
  await clock.advance(1000);
  const seen = Array.from({ length: partitions }, (_, partition) => standings.of(partition));
  assert.equal(seen, ["told", "whole", "whole", "whole"]);
  assert.not(rounds.isWhole());
  damaged = undefined;
  await clock.advance(1000);
  assert.ok(rounds.isWhole(), "it is tried again");
  await rounds.close();
  await store.close();
});

test("G6, P8: after a cut nothing is forgotten because the other node has just found its own to be damaged", async () => {
  const clock = new SimClock();
  const world = { disk: new SimDisk(), table: new MemoryTableDisk() };
  const [store, before] = [await openStore(clock, 1), await openStore(clock, 2, world)];
  const place = (index: number) => {
    const key = utf8Bytes(`k${index}`);
    return { key, partition: store.partitionOf(0, key), segment: store.segmentOf(0, key) };
  };
  // Two keys of one segment: of these one was cut here, and the other is damaged there.
  const first = place(0);
  const isBeside = ({ partition, segment }: typeof first): boolean =>
    partition === first.partition && segment === first.segment;
  const second = Array.from({ length: 50_000 }, (_, index) => place(index + 1)).find(isBeside);
  assert.ok(second !== undefined);
  const { key: beside } = second as typeof first;
  const write = async (to: Store, key: Uint8Array): Promise<void> => {
    const version = { hlc: 20n as Hlc, origin: 1n };
    const record = { version, tombstone: false, contentType: "", meta: [], value: key };
    const writing = to.write({ namespaceNumber: 0, key, record, durability: "fsync" });
    await clock.advance(10);
    await writing;
  };
  await write(store, first.key);
  for (const key of [first.key, beside]) await write(before, key);
  await before.close();
  const damagedKey = store.tableKey(first.partition, 0, first.key);
  world.table.damage((entries) =>
    entries
      .filter(({ key }) => equal(key, damagedKey))
      .map(({ key, value }) => ({ key, value: value.map((byte) => byte ^ 1) })),
  );
  const there = await openStore(clock, 2, world);
  const theirs = new NodeWatermarks(there);
  const raising = theirs.adopt(first.partition, 3, 50n as Hlc);
  await clock.advance(10);
  await raising;
  const topology = genesisOf([own, other], { expect: 2, partitions });
  const replica = new Replica({
    ...{ clock, report: silentReport, store: there, fences: theirs, self: { ...other, boot: 1 } },
    topology: () => new TopologyView(topology, new Ring("c".repeat(32), partitions), other.nodeId),
    learn: async () => {},
    notReady: () => undefined,
    counts: (partition) => !there.isDamaged(partition),
    sequenceBase: () => 0,
  });
  const standings = new Standings({
    ...{ openedSequence: 0, wasCut: true, partitions, othersOf: () => [other.nodeId] },
    isDown: () => false,
  });
  standings.tell(other.nodeId, 0);
  const rounds = new RepairRounds({
    ...{ clock, report: silentReport, store, standings, topology: () => topology, self: own },
    fences: new NodeWatermarks(store),
    peers: {
      request: async (_, request) => {
        if (request.kind === "digest") return replica.digest(request);
        if (request.kind === "scan") return replica.scan(request);
        if (request.kind === "read") return replica.read(request);
        return replica.write(request as WriteRequest);
      },
    },
    ...{ isUp: () => true, hasData: () => true, clearedAt: () => 0, handOn: async () => ({}) },
    ...{ random: new SimRandom(1), limits },
    whole: async () => {},
  });
  rounds.begin();
  for (let step = 0; step < 60; step += 1) await clock.advance(50);
  assert.ok(there.isDamaged(first.partition), "it is found by the walk");
  assert.ok(store.head(0, first.key) !== undefined, "what is good here may be all that is left");
  await rounds.close();
  for (const one of [store, there]) await one.close();
});

/** Rounds of a node whose log was whole, and the partitions that were compared with the other node. */
async function markedRounds(answer: () => Promise<void> = async () => {}) {
  const clock = new SimClock();
  const store = await openStore(clock);
  const topology = genesisOf([own, other], { expect: 2, partitions });
  const walked: number[] = [];
  const { total } = await store.digest(0, 3);
  const state = { isUp: true };
  const rounds = new RepairRounds({
    ...{ clock, report: silentReport, store, topology: () => topology, self: own },
    fences: new NodeWatermarks(store),
    whole: async () => {},
    standings: new Standings({
      ...{ openedSequence: 0, wasCut: false, partitions, othersOf: () => [other.nodeId] },
      isDown: () => false,
    }),
    peers: {
      request: async (_, request) => {
        if (request.kind === "digest") walked.push(request.partition);
        await answer();
        return { kind: "sums", total, ...state0, from };
      },
    },
    isUp: (nodeId) => state.isUp && nodeId === other.nodeId,
    hasData: () => true,
    clearedAt: () => 0,
    handOn: async () => ({}),
    ...{ random: new SimRandom(1), limits },
  });
  rounds.begin();
  return { clock, store, rounds, walked, state };
}

test("H2: a partition of which this node itself has missed a write is compared with the others, once", async () => {
  const { clock, store, rounds, walked } = await markedRounds();
  await clock.advance(1000);
  assert.equal(walked, []);
  rounds.mark(2, 3, own.storeId);
  await clock.advance(2000);
  assert.equal(walked, [2]);
  await rounds.close();
  await store.close();
});

test("H2: what is missed while its partition is compared is compared once more", async () => {
  let release = (): void => {};
  let isHeld = true;
  const { clock, store, rounds, walked } = await markedRounds(async () => {
    if (!isHeld) return;
    await new Promise<void>((resolve) => {
      release = resolve;
    });
  });
  rounds.mark(2, 3, other.storeId);
  await clock.advance(1000);
  assert.equal(walked, [2]);
  rounds.mark(2, 3, other.storeId);
  isHeld = false;
  release();
  await clock.advance(2000);
  assert.equal(walked, [2, 2]);
  await rounds.close();
  await store.close();
});

test("H2: what was missed by one that holds the partition no more is compared with those who do", async () => {
  const { clock, store, rounds, walked } = await markedRounds();
  rounds.mark(2, 3, "f".repeat(32));
  await clock.advance(2000);
  assert.equal(walked, [2]);
  assert.equal(rounds.status().marks, []);
  await rounds.close();
  await store.close();
});

test("P5: marks whose comparison is refused again and again keep no other pair from its turn", async () => {
  const { clock, store, rounds, walked } = await markedRounds(async () => {
    if ([0, 1].includes(walked.at(-1) ?? -1)) throw new QuorateError("not-ready", "Not here.");
  });
  rounds.mark(0, 3, other.storeId);
  rounds.mark(1, 3, other.storeId);
  await clock.advance(1000);
  rounds.ask(() => true);
  await clock.advance(4000);
  assert.ok(
    [2, 3].every((partition) => walked.includes(partition)),
    walked.join(),
  );
  assert.is(rounds.status().marks.length, 2);
  await rounds.close();
  await store.close();
});

test("P5: more marks that are refused than can be tried in a while keep neither a pair nor another mark from its turn", async () => {
  const { clock, store, rounds, walked } = await markedRounds(async () => {
    if ([0, 1].includes(walked.at(-1) ?? -1)) throw new QuorateError("not-ready", "Not here.");
  });
  for (let index = 0; index < 100; index += 1) {
    rounds.mark(index % 2, 3, index.toString(16).padStart(32, "f"));
  }
  await clock.advance(10_000);
  rounds.ask(({ partition }) => partition === 2);
  rounds.mark(3, 3, other.storeId);
  await clock.advance(10_000);
  assert.ok(walked.includes(2), "what was asked for");
  assert.ok(walked.includes(3), "what is marked since");
  assert.is(rounds.markCount, 100);
  await rounds.close();
  await store.close();
});

test("a mark is durable: a later run of the node compares what it stands for", async () => {
  const { clock, store, rounds, state } = await markedRounds();
  state.isUp = false;
  rounds.mark(1, 3, other.storeId);
  await clock.advance(1000);
  assert.equal(rounds.status().marks, [{ partition: 1, n: 3, storeId: other.storeId }]);
  await rounds.close();
  const found = new RepairMarks(store, silentReport);
  assert.equal(found.all(), [{ partition: 1, n: 3, storeId: other.storeId }]);
  await found.end(found.all()[0] as Mark);
  assert.equal(new RepairMarks(store, silentReport).all(), []);
  await store.close();
});

test("a mark that another node hands on is durable when it is answered, and nonsense is refused", async () => {
  const { clock, store, rounds, state } = await markedRounds();
  state.isUp = false;
  const mark = { partition: 1, n: 3, storeId: other.storeId };
  let isTaken = false;
  const taking = rounds.take(mark).then(() => {
    isTaken = true;
  });
  while (!isTaken) await clock.advance(10);
  await taking;
  assert.equal(new RepairMarks(store, silentReport).all(), [mark]);
  for (const raw of [undefined, {}, { ...mark, n: 0 }, { ...mark, storeId: "x" }])
    await rejectsSlug("invalid-request", rounds.take(raw));
  await rounds.close();
  await store.close();
});

test("H2: a mark that is made again while a write of it is under way counts as durable when one of its own ends", async () => {
  const writes: (() => void)[] = [];
  const store = {
    partitions,
    mint: { mint: () => ({ hlc: 1n, origin: 1n }) },
    scan: () => ({ items: [], next: undefined }),
    forget: async () => [],
    write: () =>
      new Promise((resolve) => {
        writes.push(() => resolve({ kind: "took" }));
      }),
  };
  const turns = async (): Promise<void> => {
    for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
  };
  const marks = new RepairMarks(store as unknown as Store, silentReport);
  const mark = { partition: 1, n: 3, storeId: other.storeId };
  const first = marks.add(mark);
  marks.begin(mark);
  await marks.end(mark);
  const second = marks.add(mark);
  await turns();
  writes[0]?.();
  assert.is(await first, true);
  let isKept = false;
  const third = marks.add(mark).then((is) => {
    isKept = is;
  });
  await turns();
  assert.is(isKept, false, "the second write has not ended");
  writes[1]?.();
  await third;
  assert.equal([isKept, await second, writes.length], [true, true, 2]);
});

test("H2: a mark that found no room when it was made again is not taken for kept by a write of before", async () => {
  const mark = { partition: 1, n: 3, storeId: other.storeId };
  for (const again of [
    (marks: RepairMarks) => marks.keepRest(),
    (marks: RepairMarks) => marks.take(mark),
  ]) {
    const full = new QuorateError("disk-full", "There is no room.");
    const fates: Promise<unknown>[] = [Promise.reject(full)];
    let tell = (): void => {};
    fates.push(
      new Promise((resolve) => {
        tell = () => resolve({ kind: "took" });
      }),
    );
    const store = {
      partitions,
      mint: { mint: () => ({ hlc: 1n, origin: 1n }) },
      scan: () => ({ items: [], next: undefined }),
      forget: async () => [],
      write: () => fates.shift() ?? Promise.reject(full),
    };
    const marks = new RepairMarks(store as unknown as Store, silentReport);
    assert.is(await marks.add({ ...mark }), false);
    const keeping = again(marks);
    marks.begin(mark);
    await marks.end(mark);
    assert.is(await marks.add({ ...mark }), false);
    tell();
    await keeping;
    assert.is(await marks.add({ ...mark }), false, "the one that was kept has ended");
  }
});

test("P5: every partition is compared with the other replica once in a period, with no more at a time than allowed", async () => {
  let underWay = 0;
  let most = 0;
  const { clock, store, rounds, walked, state } = await markedRounds(async () => {
    underWay += 1;
    most = Math.max(most, underWay);
    await new Promise<void>((resolve) => clock.after(700, resolve));
    underWay -= 1;
  });
  assert.is(
    rounds.ask(() => true),
    partitions,
  );
  await clock.advance(5000);
  assert.equal([...walked].sort(), [0, 1, 2, 3]);
  assert.is(most, limits.partitionsMax);
  const { pairs, due, visited, running, ended } = rounds.status();
  assert.equal(
    [pairs, due, visited, running.length, ended.whole],
    [partitions, 0, partitions, 0, partitions],
  );
  state.isUp = false;
  rounds.ask(({ partition }) => partition === 3);
  await clock.advance(1000);
  assert.is(walked.length, partitions, "nobody is asked who is not there");
  assert.is(rounds.status().due, 1);
  state.isUp = true;
  await clock.advance(1000);
  assert.equal(walked.slice(partitions), [3]);
  await rounds.close();
  await store.close();
});

test("H2: a mark for a partition that there is none of, as a damaged key may tell, is left out and ends nothing", async () => {
  const { clock, store, rounds, walked } = await markedRounds();
  rounds.mark(partitions, 3, other.storeId);
  rounds.mark(0xffff, 3, own.storeId);
  await clock.advance(2000);
  rounds.mark(2, 3, other.storeId);
  await clock.advance(2000);
  assert.equal(walked, [2]);
  assert.is(rounds.markCount, 0);
  await rounds.close();
  await store.close();
});

test("G2, G4: a round goes by no topology that is older than a replica's: it may hold a namespace not known here", async () => {
  const clock = new SimClock();
  const store = await openStore(clock);
  const topology = genesisOf([own, other], { expect: 2, partitions });
  const fences = new NodeWatermarks(store);
  const state = { epoch: topology.epoch + 1, isCalm: true };
  let known = topology;
  const deleted = { tombstone: true, contentType: "", meta: [], value: new Uint8Array(0) };
  const led = Array.from({ length: partitions }, (_, partition) => partition).filter(
    (partition) => topology.members[topology.replicas[partition]?.[0] ?? 0]?.nodeId === own.nodeId,
  );
  const deleteAll = async (hlc: Hlc): Promise<void> => {
    for (let index = 0; index < 40; index += 1) {
      const record = { ...deleted, version: { hlc, origin: 1n } };
      const key = Uint8Array.of(index);
      const writing = store.write({ namespaceNumber: 0, key, record, durability: "fsync" });
      await clock.advance(10);
      await writing;
    }
  };
  await deleteAll(1n as Hlc);
  let promise = 0n;
  let watermark = 0n;
  const rounds = new RepairRounds({
    ...{ clock, report: silentReport, store, topology: () => known, self: own, fences },
    whole: async () => {},
    standings: new Standings({
      ...{ openedSequence: 0, wasCut: false, partitions, othersOf: () => [] },
      isDown: () => false,
    }),
    peers: {
      request: async (_, request) => {
        if (!state.isCalm) {
          state.epoch += 1;
          known = { ...topology, epoch: state.epoch };
        }
        const facts = {
          ...(from as object),
          ...{ epoch: state.epoch, clockHlc: hlcAt(clock.nowMs()) },
        } as never;
        if (request.kind === "scan") {
          return { kind: "page", entries: [], more: false, last: undefined, from: facts };
        }
        if (request.kind !== "digest") return { kind: "took", from: facts };
        if (request.promise > promise) promise = request.promise;
        if (request.adopt > watermark) watermark = request.adopt;
        // It holds something else, of a namespace that it alone knows.
        const told = { promise: promise as Hlc, watermark: watermark as Hlc, isDamaged: false };
        const sums = request.wants === "sums" ? { sums: new Uint8Array(digestBytes).fill(7) } : {};
        return { kind: "sums", total: 77n, ...sums, ...told, from: facts };
      },
    },
    isUp: () => true,
    hasData: () => true,
    clearedAt: () => 0,
    handOn: async () => ({}),
    ...{ random: new SimRandom(1), limits: { ...limits, watermarkPeriodMs: 1000 } },
  });
  rounds.begin();
  await clock.advance(20_000);
  const raised = (): number =>
    led.filter((partition) => fences.of(partition, 3).watermark > 0n).length;
  assert.ok(led.length > 0);
  assert.is(raised(), 0);
  state.epoch = topology.epoch;
  await clock.advance(200_000);
  assert.is(raised(), led.length, "as soon as both have the same topology");
  const before = watermark;
  state.isCalm = false;
  await deleteAll(hlcAt(clock.nowMs()));
  await clock.advance(200_000);
  assert.ok(watermark > before, "what changes elsewhere all the time holds up no round");
  await rounds.close();
  await store.close();
});

test.run();
