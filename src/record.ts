/**
 * Record: what is stored under a key, and its bytes.
 *
 * One encoding serves the WAL, the table and the wire, so that a record is checked with the same
 * checksum wherever it lies. The checksum covers the namespace number and the key as well: a whole
 * record that turns up under another key is as damaged as a flipped bit. A tombstone is a record
 * with a flag; an expiry is an absolute time inside the record, so that all replicas agree on it.
 *
 *     0 format u8 | 1 flags u8 | 2 crc32 u32 | 6 hlc u64 | 14 origin u64
 *     22 [expiresAtMs u64] [contentType: u16 length, bytes] [meta: u16 length, bytes] value
 *
 * The parts in brackets are there when their flag is set. All numbers are big-endian.
 *
 * Invariants
 * 1. `decodeRecord(encodeRecord(x))` equals x, and the encoding of a record is unique.
 * 2. Bytes that `isIntact` accepts were encoded for this namespace and key (but for one chance in 2^32).
 * 3. Parsing reads no byte outside the record, whatever the bytes say.
 *
 * Effects: none. Source: promise P8; rule G1.
 *
 * @module
 */

import {
  contentTypeBytesMax,
  contentTypeDefault,
  keyBytesMax,
  type Meta,
  metaBytesMax,
} from "./api.ts";
import { assert } from "./assert.ts";
import { QuorateError } from "./errors.ts";
import { crc32 } from "./hash.ts";
import type { Hlc } from "./hlc.ts";
import { formats } from "./protocol.ts";
import type { Version } from "./version.ts";

/** The format number that this program writes. */
export const recordFormat: number = formats.record;
export const recordHeaderBytes = 22;
/** So many bytes tell a record's version, flags and expiry. */
export const recordHeadBytes: number = recordHeaderBytes + 8;

const flagTombstone = 1;
const flagExpiry = 2;
const flagContentType = 4;
const flagMeta = 8;
const flagsKnown = flagTombstone | flagExpiry | flagContentType | flagMeta;

export interface StoredRecord {
  readonly version: Version;
  readonly tombstone: boolean;
  readonly expiresAtMs?: number;
  readonly contentType: string;
  readonly meta: Meta;
  readonly value: Uint8Array;
}

/** The bytes that `encodeRecord` would take. */
export function recordBytes(record: StoredRecord): number {
  return (
    recordHeaderBytes +
    (record.expiresAtMs === undefined ? 0 : 8) +
    (record.contentType === contentTypeDefault ? 0 : 2 + record.contentType.length) +
    (record.meta.length === 0 ? 0 : 2 + metaBytes(record.meta)) +
    record.value.length
  );
}

/** Writes a record for `namespaceNumber` and `key` into `target` at `offset`; answers its length. */
export function encodeRecord(
  record: StoredRecord,
  at: { readonly namespaceNumber: number; readonly key: Uint8Array },
  target: Uint8Array,
  offset: number,
): number {
  const view = new DataView(target.buffer, target.byteOffset, target.byteLength);
  let flags = record.tombstone ? flagTombstone : 0;
  view.setBigUint64(offset + 6, record.version.hlc);
  view.setBigUint64(offset + 14, record.version.origin);
  let end = offset + recordHeaderBytes;
  if (record.expiresAtMs !== undefined) {
    flags |= flagExpiry;
    view.setBigUint64(end, BigInt(record.expiresAtMs));
    end += 8;
  }
  if (record.contentType !== contentTypeDefault) {
    assert(record.contentType.length <= contentTypeBytesMax, "record: the content type is bounded");
    flags |= flagContentType;
    end = writeText(view, target, end, record.contentType);
  }
  if (record.meta.length > 0) {
    assert(
      metaBytes(record.meta) <= metaBytesMax + 3 * metaBytesMax,
      "record: the meta is bounded",
    );
    flags |= flagMeta;
    end = writeMeta(view, target, end, record.meta);
  }
  target.set(record.value, end);
  end += record.value.length;
  target[offset] = recordFormat;
  target[offset + 1] = flags;
  view.setUint32(offset + 2, checksum(target.subarray(offset, end), at.namespaceNumber, at.key));
  return end - offset;
}

/** Whether the bytes are a record that was written for this namespace and key. */
export function isIntact(bytes: Uint8Array, namespaceNumber: number, key: Uint8Array): boolean {
  if (bytes.length < recordHeaderBytes) return false;
  const stored =
    (((bytes[2] as number) << 24) |
      ((bytes[3] as number) << 16) |
      ((bytes[4] as number) << 8) |
      (bytes[5] as number)) >>>
    0;
  return stored === checksum(bytes, namespaceNumber, key);
}

/** The version of an intact record. */
export function recordVersion(bytes: Uint8Array): Version {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return { hlc: view.getBigUint64(6) as Hlc, origin: view.getBigUint64(14) };
}

export function isTombstone(bytes: Uint8Array): boolean {
  return ((bytes[1] as number) & flagTombstone) !== 0;
}

/** When an intact record expires, in ms since 1970; undefined when it does not. */
export function recordExpiresAtMs(bytes: Uint8Array): number | undefined {
  if (((bytes[1] as number) & flagExpiry) === 0) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Number(view.getBigUint64(recordHeaderBytes));
}

/** The length of an intact record's value. */
export function recordValueBytes(bytes: Uint8Array): number {
  const flags = bytes[1] as number;
  let offset = recordHeaderBytes;
  if ((flags & flagExpiry) !== 0) offset += 8;
  if ((flags & flagContentType) !== 0) offset += 2 + lengthAt(bytes, offset);
  if ((flags & flagMeta) !== 0) offset += 2 + lengthAt(bytes, offset);
  return bytes.length - offset;
}

/**
 * The record in intact bytes; its value is a view of them.
 *
 * @throws QuorateError `wrong-data-folder` for a format that this program cannot read, `corruption`
 * for bytes whose parts do not fit (which an intact record of a known format never has).
 */
export function decodeRecord(bytes: Uint8Array): StoredRecord {
  if (bytes.length < recordHeaderBytes) throw misfit();
  const flags = bytes[1] as number;
  if (bytes[0] !== recordFormat || (flags & ~flagsKnown) !== 0) {
    throw new QuorateError(
      "wrong-data-folder",
      `A record has format ${bytes[0]} with flags ${flags}, and this version of the program reads format ${recordFormat}.`,
      { hint: "Use the version of Quorate that wrote this data, or a newer one." },
    );
  }
  if ((flags & flagExpiry) !== 0 && bytes.length < recordHeaderBytes + 8) throw misfit();
  const expiresAtMs = recordExpiresAtMs(bytes);
  let offset = recordHeaderBytes + (expiresAtMs === undefined ? 0 : 8);
  let contentType = contentTypeDefault;
  if ((flags & flagContentType) !== 0) {
    const length = lengthAt(bytes, offset);
    contentType = asciiText(bytes, offset + 2, length);
    offset += 2 + length;
  }
  let meta: Meta = [];
  if ((flags & flagMeta) !== 0) {
    const length = lengthAt(bytes, offset);
    meta = readMeta(bytes.subarray(offset + 2, offset + 2 + length));
    offset += 2 + length;
  }
  if (offset > bytes.length) throw misfit();
  return {
    version: recordVersion(bytes),
    tombstone: (flags & flagTombstone) !== 0,
    ...(expiresAtMs === undefined ? {} : { expiresAtMs }),
    contentType,
    meta,
    value: bytes.subarray(offset),
  };
}

const prefixBytes = 8;
const prefix = new Uint8Array(prefixBytes + keyBytesMax);

/** Of the namespace, format and flags, the key, and all that follows the checksum's own field. */
function checksum(bytes: Uint8Array, namespaceNumber: number, key: Uint8Array): number {
  prefix[0] = namespaceNumber >>> 24;
  prefix[1] = namespaceNumber >>> 16;
  prefix[2] = namespaceNumber >>> 8;
  prefix[3] = namespaceNumber;
  prefix[4] = bytes[0] as number;
  prefix[5] = bytes[1] as number;
  prefix[6] = key.length >>> 8;
  prefix[7] = key.length;
  let sum: number;
  if (key.length <= keyBytesMax) {
    // In one piece: a call costs more than copying a key.
    prefix.set(key, prefixBytes);
    sum = crc32(prefix.subarray(0, prefixBytes + key.length));
  } else {
    // What the store keeps for itself, or a damaged table has.
    sum = crc32(key, crc32(prefix.subarray(0, prefixBytes)));
  }
  return crc32(bytes.subarray(6), sum);
}

function metaBytes(meta: Meta): number {
  let total = 0;
  for (const [name, value] of meta) total += 4 + name.length + value.length;
  return total;
}

function writeText(view: DataView, target: Uint8Array, offset: number, text: string): number {
  view.setUint16(offset, text.length);
  for (let index = 0; index < text.length; index += 1) {
    target[offset + 2 + index] = text.charCodeAt(index);
  }
  return offset + 2 + text.length;
}

function writeMeta(view: DataView, target: Uint8Array, offset: number, meta: Meta): number {
  view.setUint16(offset, metaBytes(meta));
  let end = offset + 2;
  for (const [name, value] of meta) {
    end = writeText(view, target, end, name);
    end = writeText(view, target, end, value);
  }
  return end;
}

function readMeta(bytes: Uint8Array): Meta {
  const meta: (readonly [string, string])[] = [];
  let offset = 0;
  while (offset < bytes.length) {
    const nameLength = lengthAt(bytes, offset);
    const name = asciiText(bytes, offset + 2, nameLength);
    offset += 2 + nameLength;
    const valueLength = lengthAt(bytes, offset);
    meta.push([name, asciiText(bytes, offset + 2, valueLength)]);
    offset += 2 + valueLength;
  }
  return meta;
}

function lengthAt(bytes: Uint8Array, offset: number): number {
  if (offset + 2 > bytes.length) throw misfit();
  return ((bytes[offset] as number) << 8) | (bytes[offset + 1] as number);
}

function asciiText(bytes: Uint8Array, offset: number, length: number): string {
  if (offset + length > bytes.length) throw misfit();
  let text = "";
  for (let index = 0; index < length; index += 1) {
    text += String.fromCharCode(bytes[offset + index] as number);
  }
  return text;
}

function misfit(): QuorateError {
  return new QuorateError("corruption", "A record's parts are longer than the record.");
}
