/**
 * Lists among much that is not shown: items tell one version each, and thousands of tombstones neither
 * hold up other requests nor keep a list at work after its deadline.
 */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { utf8Bytes } from "../src/bytes.ts";
import { Coordinator } from "../src/coordinator.ts";
import { type Hlc, hlcAt } from "../src/hlc.ts";
import { Listing } from "../src/listing.ts";
import { encodeRecord, recordBytes, type StoredRecord } from "../src/record.ts";
import { type ScanSource, scanAll } from "../src/scan.ts";
import { tableKey } from "../src/store_entry.ts";
import { genesis } from "../src/topology_steps.ts";
import { noFence } from "../src/watermark.ts";
import { rejectsSlug } from "./samples.ts";
import { newWorld, openIn, requestId } from "./store_harness.ts";

const test = suite("listing_live");
const common = { namespace: "default", requestId };
const id = "00".repeat(16);

function record(stamp: Hlc, more: Partial<StoredRecord> = {}): StoredRecord {
  const version = { hlc: stamp, origin: 1n };
  const plain = { contentType: "text/plain", meta: [], value: utf8Bytes("v") };
  return { version, tombstone: false, ...plain, ...more };
}

function encoded(key: Uint8Array, stored: StoredRecord): Uint8Array {
  const bytes = new Uint8Array(recordBytes(stored));
  encodeRecord(stored, { namespaceNumber: 0, key }, bytes, 0);
  return bytes;
}

function nameOf(number: number): Uint8Array {
  return utf8Bytes(String(number).padStart(8, "0"));
}

/** One partition of tombstones and a live key at its end; counts the pieces that are read. */
function graveyard(tombstones: number): {
  readonly source: ScanSource;
  readonly reads: () => number;
} {
  let reads = 0;
  const source: ScanSource = {
    partitions: 1,
    tableKey,
    scan(_partition, _namespace, { from, limit }) {
      reads += 1;
      const head = 6;
      const first = from === undefined ? 0 : Number(Buffer.from(from.slice(head, head + 8)));
      const start = from !== undefined && from.length > head + 8 ? first + 1 : first;
      const count = Math.max(0, Math.min(limit, tombstones + 1 - start));
      const items = Array.from({ length: count }, (_, at) => {
        const key = nameOf(start + at);
        const tombstone = start + at < tombstones;
        return { key, record: encoded(key, record(1n as Hlc, { tombstone })), sequence: 0 };
      });
      const end = items.at(-1)?.key;
      const last = end === undefined ? undefined : tableKey(0, 0, end);
      return { items, more: start + count < tombstones + 1, last, isDamaged: false };
    },
  };
  return { source, reads: () => reads };
}

test("scan.scanAll() lets others pass between the pieces of a partition in which nothing is live", async () => {
  const clock = new SimClock();
  const { source, reads } = graveyard(20_000);
  const plan = { namespaceNumber: 0, prefix: new Uint8Array(0), reverse: false, pieceCount: 3 };
  let most = 0;
  let before = 0;
  let isDone = false;
  const watch = (): void => {
    most = Math.max(most, reads() - before);
    before = reads();
    if (!isDone) clock.soon(watch);
  };
  clock.soon(watch);
  const found: string[] = [];
  const isLive = ({ tombstone }: StoredRecord): boolean => !tombstone;
  for await (const { name } of scanAll(source, { ...plan, isLive }, clock)) found.push(name);
  isDone = true;
  watch();
  assert.equal(found, ["00020000"]);
  assert.ok(most <= 40, `${most} of ${reads()} pieces were read in one go`);
});

test("a list that missed its deadline reads no further", async () => {
  const clock = new SimClock();
  const { source, reads } = graveyard(200_000);
  const mint = {
    mint: () => Promise.reject(new Error("no write")),
    mintAbove: () => Promise.reject(new Error("no write")),
    nowMs: () => clock.nowMs(),
  };
  const replica = {
    mint,
    get: async () => undefined,
    write: () => Promise.reject(new Error("no write")),
    coverExpiry: async () => {},
  };
  const topology = genesis(id, 1, { nodeId: id, storeId: id, name: "n1" });
  const requests = new Coordinator({
    ...{ clock, nodeName: "n1", replica, topology: () => topology },
    promiseOf: () => noFence.promise,
  });
  const store = {
    ...source,
    tally: () => ({ keys: 0, bytes: 0 }),
    whenSynced: async () => {},
    coverExpiry: async () => {},
  };
  const listing = new Listing({ clock, store, requests });
  const late = rejectsSlug("timeout", listing.list({ ...common, limit: 1, timeoutMs: 1 }));
  await clock.advance(1);
  await late;
  const then = reads();
  for (let turn = 0; turn < 10_000; turn += 1) await undefined;
  assert.ok(reads() - then <= 40, `${reads() - then} more pieces were read`);
});

test("T2: a list or a count that began on a node alone asks those who have come for what moves to them", async () => {
  const clock = new SimClock();
  /** Two partitions of one key each. */
  const sourceOf = (onRead: (partition: number) => boolean): ScanSource => ({
    partitions: 2,
    tableKey,
    scan: (partition) => {
      const key = nameOf(partition);
      const item = { key, record: encoded(key, record(1n as Hlc)), sequence: 0 };
      const items = onRead(partition) ? [item] : [];
      return { items, more: false, last: tableKey(partition, 0, key), isDamaged: false };
    },
  });
  let isMoved = false;
  const store = {
    ...sourceOf(() => {
      const isHere = !isMoved;
      isMoved = true;
      return isHere;
    }),
    tally: () => ({ keys: 0, bytes: 0 }),
    whenSynced: async () => {},
    coverExpiry: async () => {},
  };
  const topology = genesis(id, 2, { nodeId: id, storeId: id, name: "n1" });
  const replica = {
    mint: {
      mint: () => Promise.reject(new Error("no write")),
      mintAbove: () => Promise.reject(new Error("no write")),
      nowMs: () => clock.nowMs(),
    },
    get: async () => undefined,
    write: () => Promise.reject(new Error("no write")),
    coverExpiry: async () => {},
  };
  const requests = new Coordinator({
    ...{ clock, nodeName: "n1", replica, topology: () => topology },
    promiseOf: () => noFence.promise,
  });
  const others = sourceOf(() => true);
  const spread = (): ScanSource | undefined => (isMoved ? others : undefined);
  const listing = new Listing({ clock, store, requests, spread });
  const { items } = await listing.list(common);
  assert.equal(
    items.map(({ key }) => key),
    [nameOf(0), nameOf(1)],
  );
  isMoved = false;
  const { keys } = await listing.count({ ...common, prefix: new Uint8Array(0) });
  assert.is(keys, 2);
});

test("an item with its value tells one version: nothing of the one that was there before", async () => {
  const clock = new SimClock();
  const key = utf8Bytes("k");
  const before = record(1n as Hlc, { expiresAtMs: clock.nowMs() + 1000, contentType: "text/old" });
  const now = record(hlcAt(5), { contentType: "text/new", value: utf8Bytes("new") });
  const source: ScanSource = {
    partitions: 1,
    tableKey,
    scan: () => ({
      items: [{ key, record: encoded(key, before), sequence: 0 }],
      more: false,
      last: tableKey(0, 0, key),
      isDamaged: false,
    }),
  };
  const topology = genesis(id, 1, { nodeId: id, storeId: id, name: "n1" });
  const replica = {
    mint: {
      mint: () => Promise.reject(new Error("no write")),
      mintAbove: () => Promise.reject(new Error("no write")),
      nowMs: () => clock.nowMs(),
    },
    get: async () => now,
    write: () => Promise.reject(new Error("no write")),
    coverExpiry: async () => {},
  };
  const requests = new Coordinator({
    ...{ clock, nodeName: "n1", replica, topology: () => topology },
    promiseOf: () => noFence.promise,
  });
  const store = {
    ...source,
    tally: () => ({ keys: 0, bytes: 0 }),
    whenSynced: async () => {},
    coverExpiry: async () => {},
  };
  const listing = new Listing({ clock, store, requests });
  const { items } = await listing.list({ ...common, values: true });
  const { version, value, contentType } = now;
  assert.equal(items, [{ key, version, bytes: value.length, contentType, value }]);
});

test("R3: what a list or a count has left out as expired is not there again after a crash", async () => {
  for (const kind of ["list", "count", "get"] as const) {
    const world = newWorld();
    const node = await openIn(world);
    const key = utf8Bytes("k");
    const written = { value: utf8Bytes("v"), contentType: "text/plain", meta: [] };
    await node.put({ ...common, ...written, key, ttlSeconds: 1 });
    await world.clock.advance(1001);
    const prefix = new Uint8Array(0);
    if (kind === "list") assert.equal((await node.list(common)).items, []);
    else if (kind === "count") assert.is((await node.count({ ...common, prefix })).keys, 0);
    else assert.is((await node.get({ ...common, key })).record, undefined);
    // The power fails, and the wall clock is a little behind afterwards.
    world.table.crash({ keep: "flushed" });
    const { image } = world.table;
    const disk = world.disk.crash("durable");
    const nowMs = world.clock.nowMs() - 40;
    const after = await openIn(newWorld({ seed: 2, nowMs, disk, image }));
    assert.is((await after.get({ ...common, key })).record, undefined, kind);
    assert.equal((await after.list(common)).items, [], kind);
    await after.close();
  }
});

test.run();
