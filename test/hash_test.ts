/** The two hashes on which places, sums and checksums rest, against published values. */

import * as fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { utf8Bytes } from "../src/bytes.ts";
import { crc32, xxh64 } from "../src/hash.ts";
import { runs } from "./samples.ts";

const test = suite("hash");

test("xxh64() gives the values of the algorithm's own description", () => {
  // From the reference implementation's sanity checks and its users' published vectors.
  const vectors: readonly (readonly [text: string, seed: bigint, hash: bigint])[] = [
    ["", 0n, 0xef46db3751d8e999n],
    ["a", 0n, 0xd24ec4f1a98c6e5bn],
    ["abc", 0n, 0x44bc2cf5ad770999n],
    ["Nobody inspects the spammish repetition", 0n, 0xfbcea83c8a378bf1n],
    ["xxhash", 0n, 0x32dd38952c4bc720n],
    ["xxhash", 20141025n, 0xb559b98d844e0635n],
  ];
  for (const [text, seed, hash] of vectors) assert.is(xxh64(utf8Bytes(text), seed), hash, text);
});

test("crc32() gives the check value of its catalogue entry, also in parts", () => {
  assert.is(crc32(utf8Bytes("123456789")), 0xcbf43926);
  assert.is(crc32(new Uint8Array(0)), 0);
  const property = fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(100), (bytes, cut) => {
    const parts = crc32(bytes.subarray(cut), crc32(bytes.subarray(0, cut)));
    assert.is(parts, crc32(bytes));
  });
  fc.assert(property, runs(100));
});

test.run();
