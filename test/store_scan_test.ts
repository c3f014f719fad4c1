/**
 * Scans and lists against a sorted model: whatever lies in the memtable, the frozen one and the
 * table, in every mixture and direction, with limits of any size, every key comes once and in order.
 */

import * as fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { contentTypeDefault } from "../src/api.ts";
import { compare, latin1, startsWith, successor } from "../src/bytes.ts";
import { emptySummary, sameSummary } from "../src/digest.ts";
import type { Hlc } from "../src/hlc.ts";
import { decodeRecord, type StoredRecord } from "../src/record.ts";
import { Ring } from "../src/ring.ts";
import { type Found, type ScanPlan, type ScanSource, scanAll } from "../src/scan.ts";
import { Slab } from "../src/slab.ts";
import { writeCheckpoint } from "../src/store_checkpoint.ts";
import {
  encodeForget,
  encodePut,
  partitionRange,
  prefixRange,
  tableKey,
} from "../src/store_entry.ts";
import { StoreIndex } from "../src/store_index.ts";
import { addRecord } from "../src/store_recover.ts";
import { isInOrder, type ScanItem, scan } from "../src/store_scan.ts";
import type { Table } from "../src/table.ts";
import { MemoryTableDisk } from "../src/table_memory.ts";
import { anyKey, rejectsSlug, runs } from "./samples.ts";

const test = suite("store_scan");
const clusterId = "0123456789abcdef0123456789abcdef";

type Step =
  | { readonly kind: "put" | "delete" | "forget"; readonly key: Uint8Array; readonly bytes: number }
  | { readonly kind: "freeze" }
  | { readonly kind: "checkpoint" };

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      kind: fc.constantFrom("put" as const, "put" as const, "delete" as const, "forget" as const),
      key: anyKey,
      bytes: fc.oneof(
        { weight: 20, arbitrary: fc.nat(20) },
        { weight: 1, arbitrary: fc.constant(140_000) },
      ),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom({ kind: "freeze" as const }, { kind: "checkpoint" as const }),
  },
);
const anySteps = fc.array(anyStep, { maxLength: 60, size: "max" });

/** An index with two namespaces, and beside it what it should hold. */
class Home {
  readonly index: StoreIndex;
  readonly table: Table;
  /** By namespace: the key's name and the number of its last write; deletes are there too. */
  readonly models = [new Map<string, StoredRecord>(), new Map<string, StoredRecord>()] as const;
  readonly #slab = new Slab();
  #sequence = 0;

  private constructor(table: Table, partitions: number) {
    this.table = table;
    this.index = new StoreIndex(new Ring(clusterId, partitions), table);
  }

  static async open(partitions: number): Promise<Home> {
    return new Home(await new MemoryTableDisk().open(), partitions);
  }

  change(
    kind: "put" | "delete" | "forget",
    namespaceNumber: 0 | 1,
    key: Uint8Array,
    bytes: number,
  ) {
    this.#sequence += 1;
    const spot = this.index.spot(namespaceNumber, key);
    const held = this.index.lookup(spot);
    const model = this.models[namespaceNumber];
    if (kind === "forget") {
      const { record } = encodeForget(this.#slab, namespaceNumber, key);
      this.index.apply(spot, { record, sequence: this.#sequence }, held);
      model.delete(latin1(key));
      return;
    }
    const stored: StoredRecord = {
      version: { hlc: BigInt(this.#sequence) as Hlc, origin: 1n },
      tombstone: kind === "delete",
      contentType: contentTypeDefault,
      meta: [],
      value: new Uint8Array(kind === "delete" ? 0 : bytes).fill(this.#sequence),
    };
    const { record } = encodePut(this.#slab, namespaceNumber, key, stored);
    this.index.apply(spot, { record, sequence: this.#sequence }, held);
    model.set(latin1(key), stored);
  }

  /** Freezes what is active; it lies between memtable and table until the next checkpoint. */
  async freeze(): Promise<void> {
    await this.checkpoint();
    this.#frozen = this.index.freeze(this.#sequence);
  }

  async checkpoint(): Promise<void> {
    this.#frozen ??= this.index.freeze(this.#sequence);
    const meta = {
      format: 1,
      storeId: "",
      clusterId,
      sequence: this.#frozen.sequence,
      ceiling: 0n as Hlc,
      damaged: [],
      healed: [],
      written: [],
    };
    const { table } = this;
    await writeCheckpoint({ table, clock: new SimClock(), frozen: this.#frozen, meta });
    this.index.thaw();
    this.#frozen = undefined;
  }

  #frozen: ReturnType<StoreIndex["freeze"]> | undefined;

  async run(steps: readonly Step[]): Promise<void> {
    for (const [at, step] of steps.entries()) {
      if (step.kind === "freeze") await this.freeze();
      else if (step.kind === "checkpoint") await this.checkpoint();
      else this.change(step.kind, at % 5 === 0 ? 1 : 0, step.key, step.bytes);
    }
  }

  /** What a scan of a partition should give, in order. */
  expected(partition: number, namespaceNumber: 0 | 1, prefix: Uint8Array): string[] {
    return [...this.models[namespaceNumber].keys()]
      .filter((name) => {
        const key = Uint8Array.from(name, (letter) => letter.charCodeAt(0));
        const { place } = this.index.spot(namespaceNumber, key);
        return place.partition === partition && startsWith(key, prefix);
      })
      .sort((a, b) => (a < b ? -1 : 1));
  }
}

/** All pieces of a range, each of `limit` items, put together. */
function scanned(
  index: StoreIndex,
  bounds: { readonly start: Uint8Array; readonly end: Uint8Array },
  reverse: boolean,
  limit: number,
): ScanItem[] {
  let { start, end } = bounds;
  const items: ScanItem[] = [];
  for (let pieces = 0; ; pieces += 1) {
    assert.ok(pieces < 5000, "a scan comes to its end");
    const piece = scan(index, { start, end, reverse, limit });
    assert.ok(piece.items.length <= limit);
    items.push(...piece.items);
    if (!piece.more) return items;
    assert.ok(piece.last !== undefined, "where there is more, it goes on from somewhere");
    if (reverse) end = piece.last as Uint8Array;
    else start = successor(piece.last as Uint8Array);
  }
}

test("store_scan.scan() equals a sorted model, for any mixture, prefix, direction and limit", async () => {
  const property = fc.asyncProperty(
    anySteps,
    fc.oneof(
      fc.constant(new Uint8Array(0)),
      anyKey.map((key) => key.slice(0, 1)),
    ),
    fc.boolean(),
    fc.integer({ min: 1, max: 9 }),
    async (steps, prefix, reverse, limit) => {
      const home = await Home.open(2);
      await home.run(steps);
      for (const namespaceNumber of [0, 1] as const) {
        for (const partition of [0, 1]) {
          const bounds = prefixRange(partition, namespaceNumber, prefix);
          const items = scanned(home.index, bounds, reverse, limit);
          assert.ok(isInOrder(items, reverse));
          const expected = home.expected(partition, namespaceNumber, prefix);
          const names = items.map(({ key }) => latin1(key));
          assert.equal(names, reverse ? expected.reverse() : expected);
          for (const { key, record, namespaceNumber: own } of items) {
            assert.is(own, namespaceNumber);
            const { version } = decodeRecord(record as Uint8Array);
            assert.equal(version, home.models[namespaceNumber].get(latin1(key))?.version);
          }
        }
      }
    },
  );
  await fc.assert(property, runs(150));
});

test("store_index: a summary sums what a walk finds, after every checkpoint", async () => {
  const property = fc.asyncProperty(anySteps, async (steps) => {
    const home = await Home.open(2);
    await home.run(steps);
    await home.checkpoint();
    await home.checkpoint();
    let keys = 0;
    let bytes = 0;
    for (const model of home.models) {
      for (const { tombstone, value } of model.values()) {
        if (tombstone) continue;
        keys += 1;
        bytes += value.length;
      }
    }
    assert.equal(home.index.tally(), { keys, bytes });
    for (const partition of home.index.ring.all()) {
      const summary = emptySummary();
      const all = { ...partitionRange(partition), limit: 10_000, bytesMax: 2 ** 30 };
      for (const { key, value } of home.table.range(all)) {
        assert.ok(addRecord(summary, home.index, partition, { key, value }));
      }
      assert.ok(sameSummary(summary, home.index.summaries[partition] as typeof summary));
    }
  });
  await fc.assert(property, runs(60));
});

test("a damaged record is an item without a record, never left out", async () => {
  const home = await Home.open(1);
  const keys = ["a", "b", "c"].map((text) => Uint8Array.of(text.charCodeAt(0)));
  for (const key of keys) home.change("put", 0, key, 10);
  await home.checkpoint();
  const name = tableKey(0, 0, keys[1] as Uint8Array);
  const record = home.table.get(name)?.slice() as Uint8Array;
  record[12] = (record[12] as number) ^ 4;
  await home.table.commit([{ key: name, value: record }]);
  const items = scanned(home.index, prefixRange(0, 0, new Uint8Array(0)), false, 2);
  assert.equal(
    items.map(({ record: held }) => held !== undefined),
    [true, false, true],
  );
  assert.is(home.index.lookup(home.index.spot(0, keys[1] as Uint8Array)).kind, "damaged");
});

const plan: Omit<ScanPlan, "prefix"> = {
  namespaceNumber: 0,
  reverse: false,
  pieceCount: 2,
  isLive: (record) => !record.tombstone,
};

function sourceOf(index: StoreIndex, damaged: ReadonlySet<number> = new Set()) {
  return {
    partitions: index.ring.partitions,
    tableKey,
    scan: (
      partition: number,
      namespaceNumber: number,
      range: {
        readonly prefix: Uint8Array;
        readonly from?: Uint8Array | undefined;
        readonly to?: Uint8Array | undefined;
        readonly reverse: boolean;
        readonly limit: number;
      },
    ) => {
      const { start, end } = prefixRange(partition, namespaceNumber, range.prefix);
      const { from = start, to = end, reverse, limit } = range;
      const bounds = {
        start: compare(from, start) > 0 ? from : start,
        end: compare(to, end) < 0 ? to : end,
      };
      const found = scan(index, { ...bounds, reverse, limit });
      return { ...found, isDamaged: damaged.has(partition) };
    },
  };
}

/** The same, whose answers come later, those of some partitions later than others. */
function farFrom(near: ScanSource, readsAtOnce: number): ScanSource {
  return {
    ...near,
    readsAtOnce,
    scan: async (partition, namespaceNumber, piece) => {
      for (let turn = (partition * 7) % 5; turn > 0; turn -= 1) await undefined;
      return near.scan(partition, namespaceNumber, piece);
    },
  };
}

async function allOf(source: ScanSource, asked: ScanPlan): Promise<Found[]> {
  const found: Found[] = [];
  for await (const one of scanAll(source, asked, new SimClock())) found.push(one);
  return found;
}

test("scan.scanAll() merges the partitions: the live keys of the range in order, each once", async () => {
  const anyBound = fc.option(anyKey, { nil: undefined });
  const property = fc.asyncProperty(
    anySteps,
    fc.record({
      prefix: fc.oneof(
        fc.constant(new Uint8Array(0)),
        anyKey.map((key) => key.slice(0, 1)),
      ),
      start: anyBound,
      end: anyBound,
      reverse: fc.boolean(),
      pieceCount: fc.integer({ min: 1, max: 5 }),
    }),
    fc.constantFrom(1, 4, 64),
    fc.constantFrom(undefined, 1, 3, 100),
    async (steps, asked, partitions, readsAtOnce) => {
      const home = await Home.open(partitions);
      await home.run(steps);
      const { prefix, start, end, reverse } = asked;
      const near = sourceOf(home.index);
      const source = readsAtOnce === undefined ? near : farFrom(near, readsAtOnce);
      const found = await allOf(source, { ...plan, ...asked });
      const keys = [...home.models[0]]
        .filter(([, { tombstone }]) => !tombstone)
        .map(([name]) => Uint8Array.from(name, (letter) => letter.charCodeAt(0)))
        .filter((key) => startsWith(key, prefix))
        .filter((key) => start === undefined || compare(key, start) >= 0)
        .filter((key) => end === undefined || compare(key, end) < 0)
        .sort(compare);
      const expected = (reverse ? keys.reverse() : keys).map(latin1);
      assert.equal(
        found.map(({ name }) => name),
        expected,
      );
      for (const { name, valueBytes, record } of found) {
        assert.is(valueBytes, home.models[0].get(name)?.value.length);
        assert.is(record.value.length, 0, "no value is kept while a page is made");
      }
    },
  );
  await fc.assert(property, runs(120));
});

test("scan.scanAll() says corruption for a partition that lost records, rather than leave keys out", async () => {
  const home = await Home.open(4);
  home.change("put", 0, Uint8Array.of(1), 1);
  const source = sourceOf(home.index, new Set([2]));
  await rejectsSlug("corruption", allOf(source, { ...plan, prefix: new Uint8Array(0) }));
});

test("scan.scanAll() reads no further partitions side by side once one of them has failed", async () => {
  const home = await Home.open(64);
  const near = sourceOf(home.index);
  let reads = 0;
  const source = farFrom(
    {
      ...near,
      scan: (partition, namespaceNumber, piece) => {
        reads += 1;
        if (partition === 5) throw new Error("no replica answers");
        return near.scan(partition, namespaceNumber, piece);
      },
    },
    4,
  );
  await allOf(source, { ...plan, prefix: new Uint8Array(0) }).then(
    () => assert.unreachable(),
    ({ message }: Error) => assert.is(message, "no replica answers"),
  );
  for (let turn = 0; turn < 1000; turn += 1) await undefined;
  assert.ok(reads < 16, `${reads} partitions were read`);
});

test.run();
