/** Laws of the small functions on byte strings. */

import * as fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as bytes from "../src/bytes.ts";
import { anyKey, bytesUpTo, runs } from "./samples.ts";

const test = suite("bytes");
const anyBytes = fc.oneof(anyKey, bytesUpTo(30));

test("compare() is the order of Buffer.compare, and equal() its zero", () => {
  const property = fc.property(anyBytes, anyBytes, (a, b) => {
    assert.is(bytes.compare(a, b), Buffer.compare(a, b));
    assert.is(bytes.equal(a, b), Buffer.compare(a, b) === 0);
    assert.is(bytes.equal(a, a.slice()), true);
  });
  fc.assert(property, runs(500));
});

test("latin1() has a character a byte, comes back the same, and sorts as the bytes do", () => {
  const property = fc.property(anyBytes, anyBytes, (a, b) => {
    const [one, other] = [bytes.latin1(a), bytes.latin1(b)];
    assert.is(one.length, a.length);
    assert.equal(bytes.fromLatin1(one), a);
    assert.is(one < other ? -1 : one > other ? 1 : 0, bytes.compare(a, b));
  });
  fc.assert(property, runs(300));
  for (const length of [4095, 4096, 4097, 200_000]) {
    const long = Uint8Array.from({ length }, (_, at) => at * 7);
    assert.ok(bytes.equal(bytes.fromLatin1(bytes.latin1(long)), long), `${length} bytes`);
  }
});

test("prefixEnd() is the first byte string after all that begin with the prefix", () => {
  const property = fc.property(anyBytes, anyBytes, (prefix, other) => {
    const end = bytes.prefixEnd(prefix);
    const begins = bytes.startsWith(other, prefix);
    assert.is(begins, Buffer.from(other).subarray(0, prefix.length).equals(prefix));
    const isInRange =
      bytes.compare(other, prefix) >= 0 && (end === undefined || bytes.compare(other, end) < 0);
    assert.is(isInRange, begins);
    assert.ok(bytes.startsWith(bytes.concat([prefix, other]), prefix));
  });
  fc.assert(property, runs(500));
  assert.is(bytes.prefixEnd(new Uint8Array(0)), undefined);
  assert.is(bytes.prefixEnd(Uint8Array.of(0xff, 0xff)), undefined);
  assert.equal(bytes.prefixEnd(Uint8Array.of(1, 0xff)), Uint8Array.of(2));
});

test("successor() is the next byte string: nothing lies between", () => {
  const property = fc.property(anyBytes, anyBytes, (a, b) => {
    const next = bytes.successor(a);
    assert.is(bytes.compare(a, next), -1);
    assert.not.ok(bytes.compare(a, b) < 0 && bytes.compare(b, next) < 0);
  });
  fc.assert(property, runs(300));
});

test("utf8OrUndefined() answers a text only when its bytes come back the same", () => {
  const property = fc.property(fc.oneof(anyBytes, fc.string().map(bytes.utf8Bytes)), (some) => {
    const text = bytes.utf8OrUndefined(some);
    assert.is(text === undefined, !isUtf8(some));
    if (text !== undefined) assert.equal([...bytes.utf8Bytes(text)], [...some]);
  });
  fc.assert(property, runs(500));
  assert.is(
    bytes.utf8OrUndefined(Uint8Array.of(0xef, 0xbb, 0xbf, 0x61)),
    "\ufeffa",
    "a BOM is kept",
  );
  for (const wrong of [
    [0xff],
    [0xc0, 0x80],
    [0xed, 0xa0, 0x80],
    [0xf4, 0x90, 0x80, 0x80],
    [0xe2, 0x82],
  ]) {
    assert.is(bytes.utf8OrUndefined(Uint8Array.from(wrong)), undefined);
  }
});

/** A second opinion: what decodes with replacement and has none but those that were there. */
function isUtf8(some: Uint8Array): boolean {
  return Buffer.from(Buffer.from(some).toString("utf8"), "utf8").equals(some);
}

test("hex and base64url are Buffer's, and their readers take one form only", () => {
  const property = fc.property(anyBytes, (some) => {
    assert.is(bytes.toHex(some), Buffer.from(some).toString("hex"));
    assert.is(bytes.toBase64url(some), Buffer.from(some).toString("base64url"));
    assert.equal(bytes.fromHex(bytes.toHex(some)), some);
    assert.equal(bytes.fromBase64url(bytes.toBase64url(some)), some);
  });
  fc.assert(property, runs(300));
  const texts = fc.property(fc.string({ maxLength: 8 }), (text) => {
    const fromHex = bytes.fromHex(text);
    assert.ok(fromHex === undefined || bytes.toHex(fromHex) === text);
    const from64 = bytes.fromBase64url(text);
    assert.ok(from64 === undefined || bytes.toBase64url(from64) === text);
  });
  fc.assert(texts, runs(500));
  for (const text of ["a", "AB", "0g", " 00"]) assert.is(bytes.fromHex(text), undefined, text);
  // Padding, another alphabet, an impossible length, spare bits that are not zero.
  for (const text of ["YQ==", "+/8A", "A", "AAAAA", "YR", "YWJ", "a b"]) {
    assert.is(bytes.fromBase64url(text), undefined, text);
  }
});

test("base64url of a large value takes no more memory than its letters", () => {
  const before = process.memoryUsage().heapUsed;
  const text = bytes.toBase64url(new Uint8Array(4 * 1024 * 1024).fill(201));
  const grownMiB = (process.memoryUsage().heapUsed - before) / (1024 * 1024);
  assert.is(text.length, Math.ceil((4 * 1024 * 1024 * 4) / 3));
  assert.ok(grownMiB < 32, `${grownMiB} MiB`);
});

test("hex64() has sixteen digits, and concat() puts parts together", () => {
  assert.is(bytes.hex64(0n), "0".repeat(16));
  assert.is(bytes.hex64(2n ** 64n - 1n), "f".repeat(16));
  assert.equal(bytes.concat([]), new Uint8Array(0));
  const property = fc.property(fc.array(anyBytes), (parts) => {
    assert.equal(
      [...bytes.concat(parts)],
      parts.flatMap((part) => [...part]),
    );
  });
  fc.assert(property, runs(100));
});

test.run();
