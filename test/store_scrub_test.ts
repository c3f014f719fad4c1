/**
 * The scrub on its own: a table and its index in memory, and a clock that is moved by hand.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { equal, latin1, utf8Bytes } from "../src/bytes.ts";
import { silentReport } from "../src/capability.ts";
import type { Hlc } from "../src/hlc.ts";
import { encodeRecord, recordBytes, type StoredRecord } from "../src/record.ts";
import { Ring } from "../src/ring.ts";
import { writeCheckpoint } from "../src/store_checkpoint.ts";
import { StoreIndex } from "../src/store_index.ts";
import { metaKey, tableFormat } from "../src/store_meta.ts";
import { busyRoundEveryMs, Scrub } from "../src/store_scrub.ts";
import type { Table } from "../src/table.ts";
import { MemoryTableDisk } from "../src/table_memory.ts";
import type { Origin } from "../src/version.ts";

const test = suite("store_scrub");
const clusterId = "00".repeat(16);
/** One byte a millisecond: the walk stands still until the clock is moved. */
const bytesPerSecond = 1000;

interface Stand {
  readonly clock: SimClock;
  readonly index: StoreIndex;
  readonly damaged: string[];
  readonly counts: { clean: number };
  put(key: string, stamp: number): void;
  /** Brings what was put into the table. */
  checkpoint(): Promise<void>;
  scrub(onClean?: () => Promise<void>): Scrub;
}

async function stand(change: (table: Table) => Table = (table) => table): Promise<Stand> {
  const clock = new SimClock();
  const table = change(await new MemoryTableDisk().open());
  const index = new StoreIndex(new Ring(clusterId, 1), table);
  const damaged: string[] = [];
  const counts = { clean: 0 };
  let sequence = 0;
  return {
    clock,
    index,
    damaged,
    counts,
    put(name, stamp) {
      const key = utf8Bytes(name);
      const record: StoredRecord = {
        version: { hlc: BigInt(stamp) as Hlc, origin: 1n as Origin },
        tombstone: false,
        value: utf8Bytes(`${name} ${stamp}`),
        contentType: "text/plain",
        meta: [],
      };
      const bytes = new Uint8Array(recordBytes(record));
      encodeRecord(record, { namespaceNumber: 1, key }, bytes, 0);
      const spot = index.spot(1, key);
      sequence += 1;
      index.apply(spot, { record: bytes, sequence }, index.lookup(spot));
    },
    async checkpoint() {
      const frozen = index.freeze(sequence);
      const meta = { format: tableFormat, storeId: "", clusterId, sequence, ceiling: 0n as Hlc };
      await writeCheckpoint({
        table,
        clock,
        frozen,
        meta: { ...meta, damaged: [], healed: [], written: [0] },
      });
      index.thaw();
    },
    scrub: (onClean) =>
      new Scrub({
        index,
        clock,
        report: silentReport,
        bytesPerSecond,
        onDamage: (partition, why) => damaged.push(`${partition}: ${why}`),
        onSummed: () => {},
        onClean: () => {
          counts.clean += 1;
          return onClean?.();
        },
      }),
  };
}

test("scrub: a walk is not compared with a summary that was committed in the middle of it", async () => {
  const { clock, index, damaged, counts, put, checkpoint, scrub } = await stand();
  put("a", 1);
  put("b", 1);
  await checkpoint();
  const walker = scrub();
  await clock.advance(1);
  put("a", 2);
  put("c", 2);
  await checkpoint();
  await clock.advance(60_000);
  assert.equal(damaged, []);
  assert.is(counts.clean, 1, "it walked again, and compared that walk");
  assert.is(index.summaries[0]?.records, 3);
  await walker.stop();
});

test("scrub: a partition whose first checkpoint is under way is not damaged for the summary it lacks", async () => {
  let isHeld = true;
  let release = (): void => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const { clock, damaged, counts, put, checkpoint, scrub } = await stand((table) => ({
    get: (key) => table.get(key),
    range: (range) => table.range(range),
    async commit(changes) {
      if (isHeld) await held;
      await table.commit(changes);
    },
    flushed: () => table.flushed(),
    fileBytes: () => table.fileBytes(),
    close: () => table.close(),
  }));
  put("a", 1);
  const checkpointed = checkpoint();
  const walker = scrub();
  await clock.advance(60_000);
  assert.equal(damaged, []);
  assert.is(counts.clean, 0, "nor is it called clean");
  isHeld = false;
  release();
  await checkpointed;
  await clock.advance(busyRoundEveryMs + 60_000);
  assert.equal(damaged, []);
  assert.is(counts.clean, 1);
  await walker.stop();
});

test("scrub: a partition that lost its records and its summary together is damaged", async () => {
  const { clock, index, damaged, put, checkpoint, scrub, counts } = await stand();
  put("a", 1);
  await checkpoint();
  // As when a page with the last records of a partition and its summary is another one.
  const everything = { start: Uint8Array.of(0), end: Uint8Array.of(0xff, 0xff, 2) };
  const entries = index.table.range({ ...everything, limit: 100, bytesMax: 2 ** 30 });
  assert.is(entries.length, 3, "a record, the table's description, a summary");
  const lost = entries.filter(({ key }) => !equal(key, metaKey));
  await index.table.commit(lost.map(({ key }) => ({ key, value: undefined })));
  const walker = scrub();
  await clock.advance(60_000);
  assert.equal(damaged, ["0: its summary is damaged or missing"]);
  assert.is(counts.clean, 0);
  await walker.stop();
});

test("scrub: a record that a walk meets and a look-up does not find is damage", async () => {
  const { clock, damaged, put, checkpoint, scrub } = await stand((table) => ({
    // As when a branch page leads to the wrong leaf.
    get: (key) => (latin1(key).endsWith("b") ? undefined : table.get(key)),
    range: (range) => table.range(range),
    commit: (changes) => table.commit(changes),
    flushed: () => table.flushed(),
    fileBytes: () => table.fileBytes(),
    close: () => table.close(),
  }));
  put("a", 1);
  put("b", 1);
  await checkpoint();
  const walker = scrub();
  await clock.advance(60_000);
  assert.equal(damaged, ["0: 1 of its records are damaged or cannot be found"]);
  await walker.stop();
});

test("scrub: a table that cannot be read is damage, and the walk goes on", async () => {
  const { clock, damaged, put, checkpoint, scrub, counts } = await stand((table) => ({
    get: (key) => table.get(key),
    range: () => {
      throw new Error("MDB_CORRUPTED: Located page was wrong type");
    },
    commit: (changes) => table.commit(changes),
    flushed: () => table.flushed(),
    fileBytes: () => table.fileBytes(),
    close: () => table.close(),
  }));
  put("a", 1);
  await checkpoint();
  const walker = scrub();
  await clock.advance(60_000);
  assert.equal(damaged, ["0: it cannot be read: MDB_CORRUPTED: Located page was wrong type"]);
  assert.is(counts.clean, 0);
  await walker.stop();
});

test("scrub: it has stopped only when what it set in motion is done: the folder may be given back then", async () => {
  const { clock, counts, scrub } = await stand();
  let tell: () => void = () => {};
  const kept = new Promise<void>((resolve) => {
    tell = resolve;
  });
  const walker = scrub(() => kept);
  while (counts.clean === 0) await undefined;
  let isStopped = false;
  const stopped = walker.stop().then(() => {
    isStopped = true;
  });
  await clock.advance(1000);
  for (let turn = 0; turn < 100; turn += 1) await undefined;
  assert.is(isStopped, false);
  tell();
  await stopped;
});

test.run();
