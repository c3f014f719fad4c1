/**
 * The memtable against a sorted model: changes, lookups and ranges in any mixture, with hashes that
 * are good, all alike, or somewhere between, since only then keys share a slot.
 */

import * as fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { compare, latin1 } from "../src/bytes.ts";
import { crc32 } from "../src/hash.ts";
import { tableKey } from "../src/store_entry.ts";
import { type KeyedEntry, Memtable } from "../src/store_memtable.ts";
import { anyKey, runs } from "./samples.ts";

const test = suite("store_memtable");

const anyTableKey = fc
  .record({ partition: fc.constantFrom(0, 1, 2, 255, 256, 1023), key: anyKey })
  .map(({ partition, key }) => tableKey(partition, 1, key));
/** Whole partitions, pieces of one, and what reaches over several. */
const anyBound = fc.oneof(
  anyTableKey,
  anyTableKey.map((key) => key.slice(0, 2)),
  fc.constant(new Uint8Array(0)),
  fc.constant(Uint8Array.of(4, 0)),
);

type Step =
  | { readonly kind: "set"; readonly key: Uint8Array; readonly bytes: number | undefined }
  | {
      readonly kind: "range";
      readonly bounds: readonly [Uint8Array, Uint8Array];
      readonly reverse: boolean;
      readonly limit: number;
    };

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("set" as const),
      key: anyTableKey,
      bytes: fc.option(fc.nat(50), { nil: undefined }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("range" as const),
      bounds: fc.tuple(anyBound, anyBound),
      reverse: fc.boolean(),
      limit: fc.integer({ min: 1, max: 10 }),
    }),
  },
);

interface Modelled {
  readonly record: Uint8Array | undefined;
  readonly sequence: number;
}

class Pair {
  readonly memtable = new Memtable();
  readonly model = new Map<string, Modelled>();
  readonly #hashBits: number;
  /** What all records took. */
  #recordBytes = 0;

  constructor(hashBits: number) {
    this.#hashBits = hashBits;
  }

  hash(key: Uint8Array): number {
    return this.#hashBits === 0 ? 0xffff_ffff : crc32(key) >>> (32 - this.#hashBits);
  }

  set(key: Uint8Array, record: Uint8Array | undefined, sequence: number): void {
    this.memtable.set(key, this.hash(key), { record, sequence });
    this.model.set(latin1(key), { record, sequence });
    this.#recordBytes += record?.length ?? 0;
  }

  get names(): string[] {
    return [...this.model.keys()].sort((a, b) => (a < b ? -1 : 1));
  }

  checkRange([one, other]: readonly [Uint8Array, Uint8Array], reverse: boolean, limit: number) {
    const [start, end] = compare(one, other) < 0 ? [one, other] : [other, one];
    const names = this.names.filter((name) => name >= latin1(start) && name < latin1(end));
    const expected = (reverse ? names.reverse() : names).slice(0, limit);
    this.#same(this.memtable.range(start, end, reverse, limit), expected);
  }

  checkAll(): void {
    const { memtable, model, names } = this;
    this.#same([...memtable.entries()], names);
    for (const name of names) {
      const key = Uint8Array.from(name, (letter) => letter.charCodeAt(0));
      assert.equal(memtable.get(key, this.hash(key)), model.get(name));
    }
    assert.is(memtable.count, names.length);
    // A value that was written over still lies in its buffer until the whole memtable goes.
    const keyBytes = names.reduce((sum, name) => sum + 96 + name.length, 0);
    assert.is(memtable.bytes, this.#recordBytes + keyBytes);
    const partitions = new Set(names.map((name) => name.charCodeAt(0) * 256 + name.charCodeAt(1)));
    assert.equal(new Set(memtable.partitions), partitions);
    for (const partition of [0, 1, 2, 3, 255, 256, 1023]) {
      assert.is(memtable.hasPartition(partition), partitions.has(partition));
    }
  }

  #same(found: readonly KeyedEntry[], names: readonly string[]): void {
    assert.equal(
      found.map(({ tableKey: key, record, sequence }) => [latin1(key), { record, sequence }]),
      names.map((name) => [name, this.model.get(name)]),
    );
  }
}

test("Memtable equals a sorted model, however its keys' hashes fall", () => {
  const property = fc.property(
    fc.array(anyStep, { maxLength: 300, size: "max" }),
    fc.constantFrom(0, 3, 32),
    (steps, hashBits) => {
      const pair = new Pair(hashBits);
      // Records are views of one buffer, as in the log, with some of their own between.
      const shared = new ArrayBuffer(64);
      for (const [at, step] of steps.entries()) {
        if (step.kind === "range") pair.checkRange(step.bounds, step.reverse, step.limit);
        else if (step.bytes === undefined) pair.set(step.key, undefined, at);
        else {
          const isOwn = at % 4 === 0;
          const record = isOwn
            ? new Uint8Array(step.bytes).fill(at)
            : new Uint8Array(shared, at % 14, step.bytes);
          pair.set(step.key, record, at);
        }
      }
      pair.checkAll();
    },
  );
  fc.assert(property, runs(200));
});

test("Memtable keeps thousands of keys apart, with scans between and keys of the greatest length", () => {
  const pair = new Pair(32);
  const record = new Uint8Array(1);
  for (let at = 0; at < 5_000; at += 1) {
    // In no order, in three partitions; every 16th key has all the bytes that a table's key may have.
    const scattered = (at * 2_654_435_761) >>> 0;
    const key = new Uint8Array(at % 16 === 0 ? 1_024 : 9).fill(7);
    new DataView(key.buffer).setUint32(0, scattered);
    pair.set(tableKey(scattered % 3, 1, key), record, at);
    if (at % 1_000 === 999) {
      const everything = [new Uint8Array(0), Uint8Array.of(4, 0)] as const;
      pair.checkRange(everything, false, 10_000);
      pair.checkRange(everything, true, 7);
    }
  }
  pair.checkAll();
});

test("Memtable does not keep the bytes of the key that it was given", () => {
  const memtable = new Memtable();
  const key = tableKey(1, 2, Uint8Array.of(3));
  memtable.set(key, 5, { record: undefined, sequence: 1 });
  key.fill(0);
  assert.is(memtable.get(tableKey(1, 2, Uint8Array.of(3)), 5)?.sequence, 1);
  assert.is(memtable.get(key, 5), undefined);
});

test("Memtable: a frozen one refuses every change, and can still be put in order", () => {
  const memtable = new Memtable();
  const keys = [Uint8Array.of(2), Uint8Array.of(1)].map((key) => tableKey(0, 1, key));
  for (const key of keys) memtable.set(key, 0, { record: undefined, sequence: 1 });
  memtable.freeze();
  assert.throws(() => memtable.set(tableKey(0, 1, key3), 0, { record: undefined, sequence: 1 }));
  const found = [...memtable.entries()].map(({ tableKey: key }) => key);
  assert.equal(found.map(latin1), keys.reverse().map(latin1));
});

const key3 = Uint8Array.of(3);

test.run();
