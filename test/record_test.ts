/**
 * Laws of the record's encoding: what was written is read, for this namespace and key alone, and no
 * bytes at all make the parser read outside of them or fail in another way than it says.
 */

import * as fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { contentTypeDefault } from "../src/api.ts";
import { QuorateError } from "../src/errors.ts";
import { crc32 } from "../src/hash.ts";
import type { Hlc } from "../src/hlc.ts";
import {
  decodeRecord,
  encodeRecord,
  isIntact,
  isTombstone,
  recordBytes,
  recordExpiresAtMs,
  recordFormat,
  recordHeaderBytes,
  recordValueBytes,
  recordVersion,
  type StoredRecord,
} from "../src/record.ts";
import { anyKey, bytesUpTo, runs, throwsSlug } from "./samples.ts";

const test = suite("record");

interface At {
  readonly namespaceNumber: number;
  readonly key: Uint8Array;
}

const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const ascii = (length: number) =>
  fc.string({ unit: fc.constantFrom(...'az09 ~!-"\\;=/'), maxLength: length });
const anyAt: fc.Arbitrary<At> = fc.record({
  namespaceNumber: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
  key: anyKey,
});
const anyRecord: fc.Arbitrary<StoredRecord> = fc
  .record(
    {
      hlc: u64,
      origin: u64,
      tombstone: fc.boolean(),
      expiresAtMs: fc.integer({ min: 0, max: 2 ** 48 }),
      contentType: fc.oneof(fc.constant(contentTypeDefault), ascii(256)),
      meta: fc.array(fc.tuple(ascii(20), ascii(40)), { maxLength: 5 }),
      value: bytesUpTo(300),
    },
    { requiredKeys: ["hlc", "origin", "tombstone", "contentType", "meta", "value"] },
  )
  .map(({ hlc, origin, ...rest }) => ({ ...rest, version: { hlc: hlc as Hlc, origin } }));

function encoded(record: StoredRecord, at: At): Uint8Array {
  const target = new Uint8Array(recordBytes(record));
  assert.is(encodeRecord(record, at, target, 0), target.length);
  return target;
}

function plain(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (_, part) =>
      typeof part === "bigint" ? `${part}n` : part instanceof Uint8Array ? [...part] : part,
    ),
  );
}

test("decodeRecord(encodeRecord(x)) equals x, and the short readers agree with it", () => {
  const property = fc.property(anyRecord, anyAt, (record, at) => {
    const bytes = encoded(record, at);
    assert.ok(isIntact(bytes, at.namespaceNumber, at.key));
    assert.equal(plain(decodeRecord(bytes)), plain(record));
    assert.equal(recordVersion(bytes), record.version);
    assert.is(isTombstone(bytes), record.tombstone);
    assert.is(recordExpiresAtMs(bytes), record.expiresAtMs);
    assert.is(recordValueBytes(bytes), record.value.length);
  });
  fc.assert(property, runs(500));
});

test("encodeRecord() writes its own bytes only, wherever it begins, and the same ones each time", () => {
  const property = fc.property(anyRecord, anyAt, fc.nat(50), (record, at, offset) => {
    const alone = encoded(record, at);
    const target = new Uint8Array(offset + alone.length + 20).fill(0xee);
    assert.is(encodeRecord(record, at, target, offset), alone.length);
    assert.equal([...target.subarray(offset, offset + alone.length)], [...alone]);
    assert.ok(target.subarray(0, offset).every((byte) => byte === 0xee));
    assert.ok(target.subarray(offset + alone.length).every((byte) => byte === 0xee));
  });
  fc.assert(property, runs(300));
});

test("different records have different bytes", () => {
  const property = fc.property(anyRecord, anyRecord, anyAt, (one, other, at) => {
    const same = JSON.stringify(plain(one)) === JSON.stringify(plain(other));
    assert.is(Buffer.compare(encoded(one, at), encoded(other, at)) === 0, same);
  });
  fc.assert(property, runs(300));
  // Where a part ends and the next begins is in the bytes: nothing can be moved across.
  const base = { version: { hlc: 1n as Hlc, origin: 2n }, tombstone: false };
  const at = { namespaceNumber: 0, key: Uint8Array.of(1) };
  const variants = [
    { ...base, contentType: "ab", meta: [], value: Uint8Array.of(0x63) },
    { ...base, contentType: "a", meta: [], value: Uint8Array.of(0x62, 0x63) },
    { ...base, contentType: "", meta: [], value: Uint8Array.of(0x61, 0x62, 0x63) },
    {
      ...base,
      contentType: contentTypeDefault,
      meta: [["a", "bc"]] as const,
      value: new Uint8Array(0),
    },
    {
      ...base,
      contentType: contentTypeDefault,
      meta: [["ab", "c"]] as const,
      value: new Uint8Array(0),
    },
    { ...base, contentType: contentTypeDefault, meta: [], value: Uint8Array.of(0, 2, 0x61, 0x62) },
  ];
  const texts = variants.map((record) => Buffer.from(encoded(record, at)).toString("hex"));
  assert.is(new Set(texts).size, variants.length);
});

test("P8: every single flipped bit is found, and every burst of up to 32 bits", () => {
  const property = fc.property(anyRecord, anyAt, fc.nat(), (record, at, chance) => {
    const bytes = encoded(record, at);
    for (let bit = 0; bit < bytes.length * 8; bit += 1) {
      flip(bytes, bit);
      assert.not.ok(isIntact(bytes, at.namespaceNumber, at.key), `bit ${bit}`);
      flip(bytes, bit);
    }
    // A burst within what the checksum covers; across its own field it is any other damage.
    const first = recordHeaderBytes * 8 + (chance % Math.max(1, (bytes.length - 26) * 8));
    if (first + 32 > bytes.length * 8) return;
    for (let bit = first; bit < first + 32; bit += 1) {
      if (bit === first || (chance >> (bit - first)) & 1) flip(bytes, bit);
    }
    assert.not.ok(isIntact(bytes, at.namespaceNumber, at.key));
  });
  fc.assert(property, runs(60));
});

function flip(bytes: Uint8Array, bit: number): void {
  bytes[bit >> 3] = (bytes[bit >> 3] as number) ^ (1 << (bit & 7));
}

test("P8: a whole record under another key or namespace is damaged, and so is a cut or a longer one", () => {
  const property = fc.property(anyRecord, anyAt, anyAt, (record, at, other) => {
    const bytes = encoded(record, at);
    const isSame =
      at.namespaceNumber === other.namespaceNumber && Buffer.compare(at.key, other.key) === 0;
    assert.is(isIntact(bytes, other.namespaceNumber, other.key), isSame);
    assert.is(
      isIntact(bytes, at.namespaceNumber, other.key),
      Buffer.compare(at.key, other.key) === 0,
    );
    const { key, namespaceNumber } = at;
    assert.not.ok(isIntact(bytes, namespaceNumber ^ 1, key));
    assert.not.ok(isIntact(bytes, namespaceNumber, Uint8Array.of(...key, 0)));
    assert.not.ok(isIntact(bytes.subarray(0, bytes.length - 1), namespaceNumber, key));
    assert.not.ok(isIntact(Uint8Array.of(...bytes, 0), namespaceNumber, key));
    for (const length of [0, 1, recordHeaderBytes - 1]) {
      assert.not.ok(isIntact(bytes.subarray(0, length), namespaceNumber, key));
    }
  });
  fc.assert(property, runs(300));
});

test("a key's bytes cannot pass for the record's: where it ends is in the checksum", () => {
  const record: StoredRecord = {
    version: { hlc: 0x6161616161616161n as Hlc, origin: 0x6161616161616161n },
    tombstone: false,
    contentType: contentTypeDefault,
    meta: [],
    value: new Uint8Array(40).fill(0x61),
  };
  const long = { namespaceNumber: 0, key: new Uint8Array(10).fill(0x61) };
  const short = { namespaceNumber: 0, key: new Uint8Array(9).fill(0x61) };
  const bytes = encoded(record, long);
  assert.not.ok(isIntact(Uint8Array.of(...bytes, 0x61), 0, short.key));
});

/** Bytes that look like a record from far: its format, any flags, any lengths. */
const anyDamaged: fc.Arbitrary<Uint8Array> = fc.oneof(
  bytesUpTo(80),
  bytesUpTo(80).map((bytes) => {
    if (bytes.length > 0) bytes[0] = recordFormat;
    return bytes;
  }),
  fc.tuple(fc.integer({ min: 0, max: 15 }), bytesUpTo(80)).map(([flags, bytes]) => {
    return Uint8Array.of(recordFormat, flags, ...bytes);
  }),
  fc
    .tuple(anyRecord, anyAt, fc.nat(), fc.nat(255), fc.nat(400))
    .map(([record, at, place, byte, length]) => {
      const bytes = encoded(record, at);
      bytes[place % bytes.length] = byte;
      return bytes.slice(0, length);
    }),
);

test("decodeRecord() of any bytes reads none outside, and throws a QuorateError or nothing", () => {
  const property = fc.property(anyDamaged, fc.nat(40), (bytes, before) => {
    const results = [0x00, 0xff].map((around) => {
      // The record lies within other bytes: were one of them read, the two answers would differ.
      const room = new Uint8Array(before + bytes.length + 70_000).fill(around);
      room.set(bytes, before);
      const view = room.subarray(before, before + bytes.length);
      try {
        return JSON.stringify(plain(decodeRecord(view)));
      } catch (error) {
        assert.instance(error, QuorateError, String(error));
        const { slug } = error as QuorateError;
        assert.ok(slug === "corruption" || slug === "wrong-data-folder", slug);
        return slug;
      }
    });
    assert.is(results[0], results[1]);
  });
  fc.assert(property, runs(1500));
});

test("corrupt-length-allocates-nothing: a length that exceeds its record is refused as it is", () => {
  const record: StoredRecord = {
    version: { hlc: 1n as Hlc, origin: 1n },
    tombstone: false,
    contentType: "text/plain",
    meta: [["a", "b"]],
    value: Uint8Array.of(1),
  };
  const at = { namespaceNumber: 1, key: Uint8Array.of(1) };
  const bytes = encoded(record, at);
  const metaAt = recordHeaderBytes + 2 + "text/plain".length;
  for (const lengthAt of [recordHeaderBytes, metaAt, metaAt + 2, metaAt + 5]) {
    const damaged = bytes.slice();
    damaged[lengthAt] = 0xff;
    damaged[lengthAt + 1] = 0xff;
    // A whole checksum over a nonsense length: only the bound stands between it and the parser.
    throwsSlug("corruption", () => decodeRecord(damaged), `length at ${lengthAt}`);
  }
});

test("a record of a newer format, or with flags that are not known, is refused by name", () => {
  const record: StoredRecord = {
    version: { hlc: 1n as Hlc, origin: 1n },
    tombstone: false,
    contentType: contentTypeDefault,
    meta: [],
    value: Uint8Array.of(1),
  };
  const bytes = encoded(record, { namespaceNumber: 1, key: Uint8Array.of(1) });
  for (const [at, byte] of [
    [0, recordFormat + 1],
    [1, 16],
    [1, 128],
  ] as const) {
    const newer = bytes.slice();
    newer[at] = byte;
    throwsSlug("wrong-data-folder", () => decodeRecord(newer));
  }
});

test("the bytes of a record are those of the format's description", () => {
  const record: StoredRecord = {
    version: { hlc: 0x0102030405060708n as Hlc, origin: 0x1112131415161718n },
    tombstone: true,
    expiresAtMs: 0x0a0b0c,
    contentType: "t",
    meta: [["k", "v"]],
    value: Uint8Array.of(0xaa),
  };
  const at = { namespaceNumber: 0x01020304, key: Uint8Array.of(0x6b) };
  const bytes = encoded(record, at);
  const parts = [
    "010f", // format, flags
    "cccccccc", // checksum
    "0102030405060708",
    "1112131415161718",
    "00000000000a0b0c",
    "000174",
    "000600016b000176",
    "aa",
  ];
  const sum = crc32(
    Buffer.concat([
      Buffer.from("01020304010f00016b", "hex"),
      Buffer.from(parts.slice(2).join(""), "hex"),
    ]),
  );
  parts[1] = sum.toString(16).padStart(8, "0");
  assert.is(Buffer.from(bytes).toString("hex"), parts.join(""));
});

test.run();
