/**
 * Repair: two sides in memory, compared, and what each has afterwards.
 */
import * as fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { compare, utf8Bytes } from "../src/bytes.ts";
import { silentReport } from "../src/capability.ts";
import { allSegments, hasSegment, segmentBits } from "../src/digest.ts";
import type { Hlc } from "../src/hlc.ts";
import {
  compareRange,
  type HeldPage,
  type KeyRecord,
  type RepairSide,
  type Walk,
} from "../src/repair.ts";
import { RepairPace } from "../src/repair_pace.ts";
import type { Version } from "../src/version.ts";

const test = suite("repair");
const range = { namespaceNumber: 0, partition: 0 };
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** Records that are nothing but their version; the newest one of a key stays. */
class Side implements RepairSide {
  readonly held = new Map<string, number>();
  taken = 0;
  pageLimit = 3;

  constructor(held: Iterable<readonly [string, number]> = []) {
    for (const [key, stamp] of held) this.held.set(key, stamp);
  }

  async walk(_range: unknown, { after, limit, segments }: Walk): Promise<HeldPage> {
    const all = [...this.held.entries()]
      .map(([key, stamp]) => ({ key: utf8Bytes(key), version: versionOf(stamp) }))
      .sort((a, b) => compare(a.key, b.key))
      .filter(({ key }) => after === undefined || compare(key, after) > 0);
    const looked = all.slice(0, Math.min(limit, this.pageLimit));
    const items = looked.filter(({ key }) => hasSegment(segments, segmentOf(key)));
    return { items, last: looked.length < all.length ? looked.at(-1)?.key : undefined };
  }

  async read(_range: unknown, keys: readonly Uint8Array[]): Promise<KeyRecord[]> {
    return keys.flatMap((key) => {
      const stamp = this.held.get(text(key));
      return stamp === undefined ? [] : [{ key, record: utf8Bytes(String(stamp)) }];
    });
  }

  async take(_range: unknown, records: readonly KeyRecord[]): Promise<void> {
    for (const { key, record } of records) {
      this.taken += 1;
      const stamp = Number(text(record));
      if (stamp > (this.held.get(text(key)) ?? -1)) this.held.set(text(key), stamp);
    }
  }
}

/** The first letter tells the segment. */
function segmentOf(key: Uint8Array): number {
  return (key[0] as number) % 4;
}

function versionOf(stamp: number): Version {
  return { hlc: BigInt(stamp) as Hlc, origin: 1n };
}

function run(store: Side, peer: Side, mayGoOn = () => true, segments = allSegments) {
  const options = { report: silentReport, spend: async () => {} };
  return compareRange({ ...options, store, mayGoOn }, peer, range, segments);
}

test("repair-pulls-and-pushes", async () => {
  const store = new Side([
    ["a", 1],
    ["b", 3],
    ["d", 2],
    ["e", 1],
  ]);
  const peer = new Side([
    ["a", 1],
    ["b", 2],
    ["c", 7],
    ["e", 4],
  ]);
  const result = await run(store, peer);
  assert.equal(result, { keys: 5, pushed: 2, pulled: 2, isWhole: true });
  const both = [
    ["a", 1],
    ["b", 3],
    ["c", 7],
    ["d", 2],
    ["e", 4],
  ];
  assert.equal([...store.held].sort(), both);
  assert.equal([...peer.held].sort(), both);
});

test("what is equal is not moved", async () => {
  const keys = Array.from({ length: 20 }, (_, index) => [`k${index}`, index] as const);
  const [store, peer] = [new Side(keys), new Side(keys)];
  assert.is((await run(store, peer)).isWhole, true);
  assert.equal([store.taken, peer.taken], [0, 0]);
});

test("a comparison that may not go on says that it did not come to its end", async () => {
  const store = new Side(Array.from({ length: 20 }, (_, index) => [`k${index}`, 1] as const));
  let rounds = 0;
  const result = await run(store, new Side(), () => {
    rounds += 1;
    return rounds < 3;
  });
  assert.not.ok(result.isWhole);
  assert.ok(result.pushed < 20);
});

test("G1: of some segments only their keys are moved, however far apart they lie", async () => {
  const keys = "abcdefghijklmnopqrstuvwxyz".split("").map((letter) => [letter, 1] as const);
  const [store, peer] = [new Side(keys), new Side()];
  const result = await run(store, peer, undefined, segmentBits([1]));
  const expected = keys.filter(([letter]) => segmentOf(utf8Bytes(letter)) === 1);
  assert.equal([...peer.held], expected);
  assert.equal(result, { keys: 7, pushed: 7, pulled: 0, isWhole: true });
});

test("all that is moved is within the rate, what is in the last page too", async () => {
  const keys = Array.from({ length: 300 }, (_, index) => [`k${index}`, 1000 + index] as const);
  const [store, peer] = [new Side(keys), new Side()];
  for (const side of [store, peer]) side.pageLimit = 1000;
  const spent: number[] = [];
  const options = { report: silentReport, store, mayGoOn: () => true };
  const spend = async (bytes: number): Promise<void> => void spent.push(bytes);
  await compareRange({ ...options, spend }, peer, range);
  const moved = keys.reduce((sum, [key, stamp]) => sum + key.length + String(stamp).length, 0);
  assert.ok(spent.reduce((sum, bytes) => sum + bytes, 0) >= moved);
  assert.ok(spent.length > 4, "some at a time, not a page of large records at once");
});

test("a rate is kept over all that is spent, whoever spends it", async () => {
  const clock = new SimClock();
  const pace = new RepairPace(clock, 1000);
  const ended: number[] = [];
  const beganMs = clock.monotonicMs();
  for (const bytes of [500, 500, 1000]) {
    void pace.spend(bytes).then(() => ended.push(Math.round(clock.monotonicMs() - beganMs)));
  }
  await clock.advance(5000);
  assert.equal(ended, [500, 1000, 2000]);
  void pace.spend(1000).then(() => ended.push(Math.round(clock.monotonicMs() - beganMs)));
  await clock.advance(2000);
  assert.equal(ended.at(-1), 6000, "an idle time is not saved up");
});

test("who waits for a rate is let go when that ends, and nobody waits after it", async () => {
  const clock = new SimClock();
  const pace = new RepairPace(clock, 1);
  const ended: number[] = [];
  const waiting = [1000, 2000].map((bytes) => pace.spend(bytes).then(() => ended.push(bytes)));
  await clock.advance(500);
  assert.equal(ended, []);
  pace.end();
  await Promise.all(waiting);
  await pace.spend(1_000_000);
  assert.equal(ended, [1000, 2000]);
});

test("after a comparison both sides have the newest of everything that either had", async () => {
  const held = fc.dictionary(
    fc.string({ minLength: 1, maxLength: 3 }),
    fc.integer({ min: 0, max: 9 }),
    { maxKeys: 25 },
  );
  await fc.assert(
    fc.asyncProperty(held, held, fc.integer({ min: 1, max: 8 }), async (a, b, pageLimit) => {
      const store = new Side(Object.entries(a));
      const peer = new Side(Object.entries(b));
      store.pageLimit = pageLimit;
      peer.pageLimit = 9 - pageLimit;
      assert.ok((await run(store, peer)).isWhole);
      const newest = new Map<string, number>(Object.entries(a));
      for (const [key, stamp] of Object.entries(b)) {
        newest.set(key, Math.max(stamp, newest.get(key) ?? -1));
      }
      assert.equal(new Map([...store.held].sort()), new Map([...newest].sort()));
      assert.equal(new Map([...peer.held].sort()), new Map([...newest].sort()));
    }),
    { numRuns: 200 },
  );
});

test.run();
