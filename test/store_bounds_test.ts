/**
 * What a store may take while it works: log on the disk, memory, and the event loop's time.
 */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { SimDisk } from "../sim/disk.ts";
import { SimRandom } from "../sim/random.ts";
import { utf8Bytes } from "../src/bytes.ts";
import { silentReport } from "../src/capability.ts";
import type { QuorateError } from "../src/errors.ts";
import { hlcAt } from "../src/hlc.ts";
import type { NodeSettings, QuorateNode } from "../src/node.ts";
import { Ring } from "../src/ring.ts";
import { Store } from "../src/store.ts";
import { MemoryTableDisk } from "../src/table_memory.ts";
import { after } from "./node_harness.ts";
import { newWorld, openIn, requestId, smallSettings, type World } from "./store_harness.ts";

const test = suite("store_bounds");
const common = { namespace: "default", requestId };
const storeId = "0".repeat(32);

async function put(node: QuorateNode, key: string): Promise<void> {
  await node.put({
    ...common,
    key: utf8Bytes(key),
    value: utf8Bytes(""),
    contentType: "text/plain",
    meta: [],
  });
}

function logBytes({ disk }: World): number {
  const segments = disk.files().filter((path) => path.endsWith(".wal"));
  return segments.reduce((sum, path) => sum + disk.bytesOf(path).length, 0);
}

const draft = { tombstone: false, contentType: "", meta: [] } as const;

/** Room in memory for far more than the test writes. */
const roomy: Partial<NodeSettings> = { memtableBytesMax: 64 * 1024 * 1024 };
const segmentBytes = 64 * 1024;

test("the log stays within a few segments, however little of each block small writes fill", async () => {
  const world = newWorld();
  const node = await openIn(world, roomy);
  for (let number = 0; number < 600; number += 1) {
    await put(node, "k");
    if (number % 50 === 49) await world.clock.advance(1);
  }
  assert.ok(logBytes(world) <= 10 * segmentBytes, `${logBytes(world) / segmentBytes} segments`);
  await node.close();
});

for (const end of ["close", "kill"] as const) {
  test(`starts that each end by a ${end}, with nothing or little written, leave no more of the log than a few segments`, async () => {
    let world = newWorld();
    for (let start = 0; start < 60; start += 1) {
      const node = await openIn(world);
      if (start % 20 > 10) await put(node, `k${start}`);
      await world.clock.advance(1000);
      if (end === "close") await node.close();
      else world = after(world, end);
    }
    const segments = world.disk.files().filter((path) => path.endsWith(".wal"));
    assert.ok(segments.length <= 10, `${segments.length} segments`);
  });
}

test("a torn batch that was cut holds up no segment: there is no checkpoint after the other", async () => {
  let world = newWorld();
  const first = await openIn(world);
  await put(first, "k");
  await world.clock.advance(1000);
  await Promise.all(Array.from({ length: 50 }, (_, number) => put(first, `k${number}`)));
  world = after(world, "kill");
  const path = world.disk.files().find((name) => name.endsWith(".wal")) as string;
  const bytes = world.disk.bytesOf(path);
  // The end of the body of the newest batch.
  world.disk.flip(path, bytes.findLastIndex((byte) => byte !== 0) - 3);
  for (let start = 0; start < 6; start += 1) {
    const node = await openIn(world);
    await world.clock.advance(1000);
    const before = world.table.commitCount;
    await world.clock.advance(10_000);
    for (let turn = 0; turn < 10_000; turn += 1) await undefined;
    const commits = world.table.commitCount - before;
    assert.ok(commits <= 10, `${commits} commits while nothing was written`);
    world = after(world, "kill");
    void node;
  }
});

/** A store by itself, whose log is small. */
async function storeOn(disk: SimDisk, clock: SimClock): Promise<Store> {
  return Store.open({
    ...{ clock, disk, random: new SimRandom(1), report: silentReport },
    table: await new MemoryTableDisk().open(),
    ring: new Ring(storeId, 1),
    settings: { ...smallSettings, ...roomy },
    owner: {
      ...{ storeId, clusterId: storeId, storeIdBytes: new Uint8Array(16).fill(1), origin: 1n },
      ...{ sequence: 0, needsLog: false, renewOrigin: async () => 1n, trusted: async () => {} },
    },
  });
}

test("the log of a node that holds nothing, and only covers the stamps that it gives, has a bound as well", async () => {
  const clock = new SimClock();
  const disk = new SimDisk({ isRecorded: false });
  const store = await storeOn(disk, clock);
  for (let number = 0; number < 600; number += 1) {
    await clock.advance(1000);
    await store.coverStamp((await store.mint.mint()).hlc);
  }
  await clock.advance(1000);
  const segments = disk.files().filter((path) => path.endsWith(".wal"));
  assert.ok(segments.length <= 10, `${segments.length} segments`);
  await store.close();
});

test("deletes on a full disk are taken up to a bound, then told `overloaded`, and go on when there is room", async () => {
  const world = newWorld();
  const node = await openIn(world, { memtableBytesMax: 16 * 1024, segmentBytes: 4 * 1024 * 1024 });
  // Each second one attempt: there is room after about 3000 of them.
  for (let commit = 1; commit <= 3000; commit += 1) {
    world.table.failCommit(commit, { code: "ENOSPC" });
  }
  let taken = 0;
  let refused: QuorateError | undefined;
  while (taken < 1000 && refused === undefined) {
    let isSettled = false;
    const key = utf8Bytes(`k${taken}`);
    node
      .delete({ ...common, key, timeoutMs: 60_000 })
      .then(
        () => {
          taken += 1;
        },
        (error: QuorateError) => {
          refused = error;
        },
      )
      .finally(() => {
        isSettled = true;
      });
    while (!isSettled) await world.clock.advance(100);
  }
  assert.ok(taken >= 100, `${taken} were taken`);
  assert.is(refused?.slug, "overloaded", `${taken} were taken`);
  assert.is(refused?.outcome, "none");
  await world.clock.advance(3_100_000);
  await node.delete({ ...common, key: utf8Bytes("after") });
  assert.ok(node.readiness().every(({ detail }) => detail === undefined));
  const closing = node.close();
  await world.clock.advance(5000);
  await closing;
});

test("a write for which others are quicker again and again is refused after some seconds, and no later taken", async () => {
  const clock = new SimClock();
  // A commit takes 200 ms, and brings room for two writes.
  let isSlow = false;
  const pause = (): Promise<void> =>
    new Promise((resolve) => (isSlow ? void clock.after(200, resolve) : resolve()));
  const store = await Store.open({
    ...{ clock, disk: new SimDisk(), random: new SimRandom(1), report: silentReport },
    table: await new MemoryTableDisk({ pause }).open(),
    ring: new Ring(storeId, 1),
    settings: { ...smallSettings, memtableBytesMax: 2048 },
    owner: {
      ...{ storeId, clusterId: storeId, storeIdBytes: new Uint8Array(16).fill(1), origin: 1n },
      ...{ sequence: 0, needsLog: false, renewOrigin: async () => 1n, trusted: async () => {} },
    },
  });
  isSlow = true;
  const tookMs: number[] = [];
  const refusedMs: number[] = [];
  for (let number = 0; number < 200; number += 1) {
    const version = { hlc: hlcAt(1000 + number), origin: 1n };
    const record = { version, ...draft, value: new Uint8Array(1000) };
    const write = { namespaceNumber: 1, key: utf8Bytes(`k${number}`), record } as const;
    store.write({ ...write, durability: "memory" }).then(
      () => tookMs.push(clock.monotonicMs()),
      (error: QuorateError) => {
        assert.is(error.slug, "overloaded");
        refusedMs.push(clock.monotonicMs());
      },
    );
  }
  for (let step = 0; step < 200; step += 1) await clock.advance(50);
  assert.is(tookMs.length + refusedMs.length, 200);
  assert.ok(tookMs.length > 10 && refusedMs.length > 10, `${tookMs.length} were taken`);
  assert.ok(Math.max(...tookMs, ...refusedMs) <= 5500, `${Math.max(...tookMs, ...refusedMs)} ms`);
});

/** To remove it takes a kilobyte of the log. */
function longKey(number: number): Uint8Array {
  return utf8Bytes(String(number).padStart(1000, "k"));
}

test("what is removed before the log has no more room is told, although the rest stays", async () => {
  const clock = new SimClock();
  const disk = new SimDisk();
  const store = await storeOn(disk, clock);
  disk.totalBytes = 4 * segmentBytes;
  let refused: QuorateError | undefined;
  for (let number = 0; refused === undefined; number += 1) {
    const plain = { tombstone: false, contentType: "text/plain", meta: [] };
    const version = await store.mint.mint();
    const write = {
      ...{ namespaceNumber: 0, key: longKey(number), isVital: true, durability: "fsync" as const },
      record: { ...plain, version, value: new Uint8Array(20_000) },
    };
    const writing = store.write(write).catch((error: QuorateError) => {
      refused = error;
    });
    await clock.advance(5000);
    await writing;
  }
  const piece = { prefix: new Uint8Array(0), reverse: false, limit: 1000 };
  const { items } = store.scan(0, 0, piece);
  const forgetting = store.forget(items);
  await clock.advance(60_000);
  const gone = await forgetting;
  assert.ok(gone.length > 0 && gone.length < items.length, `${gone.length} of ${items.length}`);
  assert.is(store.scan(0, 0, piece).items.length, items.length - gone.length);
  disk.totalBytes = 64 * segmentBytes;
  await store.close();
});

test.run();
