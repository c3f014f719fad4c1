/**
 * Hash: XXH64 places and compares keys, CRC-32 guards bytes, SHA-256 makes the
 * fingerprint of a document, HMAC-SHA256 proves a secret.
 *
 * XXH64 (seeded) spreads keys over the ring and sums records in digests; it is fast and its values
 * are the same on every runtime. CRC-32 finds every burst of up to 32 damaged bits and all but one
 * in four thousand million of the rest; it is what the WAL and the records carry.
 *
 * Effects: none (the first import compiles a small WebAssembly module).
 * Source: Collet, "xxHash fast digest algorithm", version 0.1.1; RFC 1952 section 8 for CRC-32;
 * FIPS 180-4 for SHA-256; RFC 2104 for HMAC.
 *
 * @module
 */

import { createHash, createHmac } from "node:crypto";
import { crc32 as zlibCrc32 } from "node:zlib";
import xxhash from "xxhash-wasm";

const { h64Raw } = await xxhash();

/** XXH64 as an unsigned 64-bit number. */
export function xxh64(bytes: Uint8Array, seed = 0n): bigint {
  return h64Raw(bytes, seed);
}

/** SHA-256 (FIPS 180-4): 32 bytes. */
export function sha256(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHash("sha256").update(bytes).digest());
}

/** HMAC-SHA256 (RFC 2104): 32 bytes that only who knows `secret` can make of `bytes`. */
export function hmacSha256(secret: string, bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHmac("sha256", secret).update(bytes).digest());
}

/** Below this length the way into native code costs more than the sum. */
const nativeBytesMin = 48;

/** CRC-32 of `bytes`, going on from `before` when it is given. */
export function crc32(bytes: Uint8Array, before = 0): number {
  if (bytes.length >= nativeBytesMin) return zlibCrc32(bytes, before);
  let sum = ~before;
  for (let index = 0; index < bytes.length; index += 1) {
    sum = (sum >>> 8) ^ (crcTable[(sum ^ (bytes[index] as number)) & 0xff] as number);
  }
  return ~sum >>> 0;
}

/** The sum of each single byte (RFC 1952 section 8). */
const crcTable = Int32Array.from({ length: 256 }, (_, byte) => {
  let sum = byte;
  for (let bit = 0; bit < 8; bit += 1) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0);
  return sum;
});
