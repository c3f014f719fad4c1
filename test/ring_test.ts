/** Where keys fall: in bounds, evenly, and for ever in the same place. */

import * as fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { utf8Bytes } from "../src/bytes.ts";
import { xxh64 } from "../src/hash.ts";
import { isPartitionCount, partitionsMax, Ring, segmentsPerPartition } from "../src/ring.ts";
import { anyKey, runs } from "./samples.ts";

const test = suite("ring");
const clusterId = "0123456789abcdef0123456789abcdef";
const counts = Array.from({ length: 11 }, (_, bits) => 2 ** bits);

test("isPartitionCount() takes the powers of two up to 1,024", () => {
  for (let count = -2; count < 2 * partitionsMax + 2; count += 1) {
    assert.is(isPartitionCount(count), counts.includes(count), `${count}`);
  }
  for (const count of [0.5, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
    assert.is(isPartitionCount(count), false);
  }
});

test("Ring: a place is within its bounds, and the partition's and segment's bits do not overlap", () => {
  const property = fc.property(
    anyKey,
    fc.nat(2 ** 32 - 1),
    fc.constantFrom(...counts),
    (key, number, count) => {
      const { partition, segment, hash } = new Ring(clusterId, count).place(number, key);
      const bits = BigInt(Math.log2(count));
      assert.is(BigInt(partition), bits === 0n ? 0n : hash >> (64n - bits));
      assert.is(BigInt(segment), (hash >> (54n - bits)) & 1023n);
      assert.ok(partition >= 0 && partition < count);
      assert.ok(segment >= 0 && segment < segmentsPerPartition);
    },
  );
  fc.assert(property, runs(500));
});

test("Ring: the same cluster, namespace and key give the same place; another of them another hash", () => {
  const property = fc.property(anyKey, anyKey, fc.nat(2 ** 32 - 2), (key, other, number) => {
    const ring = new Ring(clusterId, 256);
    const place = ring.place(number, key);
    ring.place(number + 1, other);
    assert.equal(ring.place(number, key.slice()), place, "whatever was asked in between");
    assert.equal(new Ring(clusterId, 256).place(number, key), place);
    assert.is.not(ring.place(number + 1, key).hash, place.hash);
    assert.is.not(new Ring("f".repeat(32), 256).place(number, key).hash, place.hash);
    // Doubling the partitions halves each: a key never moves anywhere else.
    assert.is(new Ring(clusterId, 512).place(number, key).partition >> 1, place.partition);
  });
  fc.assert(property, runs(200));
  // A golden place: it must never change, or no key would be found again.
  const { partition, segment, hash } = new Ring(clusterId, 256).place(0, utf8Bytes("hello"));
  const bytes = Uint8Array.of(0, 0, 0, 0, ...utf8Bytes("hello"));
  assert.is(hash, xxh64(bytes, 0x0123456789abcdefn));
  assert.is(partition, Number(hash >> 56n));
  assert.is(segment, Number((hash >> 46n) & 1023n));
});

test("Ring: an array into which another key was written has the place of that key", () => {
  const ring = new Ring(clusterId, 256);
  const key = utf8Bytes("users/1");
  ring.place(1, key);
  key[6] = 0x32;
  const { partition, segment, hash } = ring.place(1, key);
  const fresh = new Ring(clusterId, 256).place(1, utf8Bytes("users/2"));
  assert.equal([partition, segment, hash], [fresh.partition, fresh.segment, fresh.hash]);
});

test("Ring: keys that differ in little are spread evenly over partitions and segments", () => {
  const ring = new Ring(clusterId, 256);
  const total = 100_000;
  const partitions = new Float64Array(256);
  const segments = new Float64Array(segmentsPerPartition);
  for (let number = 0; number < total; number += 1) {
    const { partition, segment } = ring.place(0, utf8Bytes(`user/${number}`));
    partitions[partition] = (partitions[partition] as number) + 1;
    segments[segment] = (segments[segment] as number) + 1;
  }
  // Chi-squared has its mean at the degrees of freedom d, and a deviation of sqrt(2 d).
  for (const held of [partitions, segments]) {
    const mean = total / held.length;
    const chi = held.reduce((sum, count) => sum + (count - mean) ** 2 / mean, 0);
    const freedom = held.length - 1;
    assert.ok(Math.abs(chi - freedom) < 6 * Math.sqrt(2 * freedom), `chi-squared ${chi}`);
  }
});

test("Ring: one partition holds every key, and `all` names each partition once", () => {
  const ring = new Ring(clusterId, 1);
  for (let number = 0; number < 100; number += 1) {
    assert.is(ring.place(0, utf8Bytes(`${number}`)).partition, 0);
  }
  assert.equal(ring.all(), [0]);
  assert.equal(new Ring(clusterId, 4).all(), [0, 1, 2, 3]);
  for (const [id, count] of [
    [clusterId, 3],
    [clusterId, 0],
    ["", 4],
    [clusterId.toUpperCase(), 4],
  ] as const) {
    assert.throws(() => new Ring(id, count));
  }
});

test.run();
