/**
 * Hash: XXH64 places and compares keys, CRC-32 guards bytes.
 *
 * XXH64 (seeded) spreads keys over the ring and sums records in digests; it is fast and its values
 * are the same on every runtime. CRC-32 finds every burst of up to 32 damaged bits and all but one
 * in four thousand million of the rest; it is what the WAL and the records carry.
 *
 * Effects: none (the first import compiles a small WebAssembly module).
 * Source: Collet, "xxHash fast digest algorithm", version 0.1.1; RFC 1952 section 8 for CRC-32.
 *
 * @module
 */

import { crc32 as zlibCrc32 } from "node:zlib";
import xxhash from "xxhash-wasm";

const { h64Raw } = await xxhash();

/** XXH64 as an unsigned 64-bit number. */
export function xxh64(bytes: Uint8Array, seed = 0n): bigint {
  return h64Raw(bytes, seed);
}

/** CRC-32 of `bytes`, going on from `before` when it is given. */
export function crc32(bytes: Uint8Array, before = 0): number {
  return zlibCrc32(bytes, before);
}
