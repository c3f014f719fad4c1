/**
 * WAL format: the bytes of a segment, and which of them can be believed.
 *
 * A segment begins with a block of 4 KiB that holds its header. Batches follow, each at a block
 * boundary, so that writing one never touches a block in which an older, synced batch lies. A batch is a header of
 * 256 bytes under its own CRC and a body under another. The header names the first sequence, the
 * sequence up to which everything was synced before this batch was written (a mark), the clock's
 * ceiling, and the partitions in the body, so that damage to the body can be told by partition.
 *
 *     segment  0 magic 8 | 8 crc32 | 12 format u32 | 16 index u64 | 24 salt u64 | 32 first sequence u64 | 40 store id 16
 *              56 bytes of the segment u64
 *     batch    0 magic 4 | 4 crc32 | 8 salt u64 | 16 first sequence u64 | 24 count u32 | 28 body bytes u32
 *              32 synced u64 | 40 ceiling u64 | 48 body crc32 | 64 partitions, a bit each, 128
 *     body     for each entry: u32 length | u16 partition | payload
 *
 * Invariants
 * 1. A batch of no entries is a mark: it only says what is synced.
 * 2. `parseBatchHeader` accepts a header only when its CRC and the segment's salt fit; lengths are
 *    bounded by the bytes that are there before anything is allocated.
 *
 * Effects: none. Source: rules D1, D2.
 *
 * @module
 */

import { assert } from "./assert.ts";
import { crc32 } from "./hash.ts";
import { formats } from "./protocol.ts";

export const blockBytes = 4096;
export const batchHeaderBytes = 256;
const entryHeaderBytes = 6;
const walFormat: number = formats.log;
/** The most that one batch carries, unless a single entry is larger. */
export const batchBodyBytesMax = 4 * 1024 * 1024;

const segmentMagic = 0x51554f52_57414c31n; // "QUORWAL1"
const batchMagic = 0x51424154; // "QBAT"
const storeIdEnd = 56;
const segmentHeaderUsed = 64;
const partitionBitsAt = 64;
const partitionBitsBytes = 128;

export interface SegmentHeader {
  readonly index: number;
  readonly salt: bigint;
  /** The sequence after everything that was believed when the segment was begun. */
  readonly firstSequence: number;
  /** 16 bytes. */
  readonly storeId: Uint8Array;
  /** What the whole segment has; all of it was on the disk before the segment was used. */
  readonly bytes: number;
}

export interface BatchHeader {
  readonly salt: bigint;
  readonly firstSequence: number;
  readonly count: number;
  readonly bodyBytes: number;
  /** Everything up to here was synced before this batch was written. */
  readonly syncedSequence: number;
  readonly ceiling: bigint;
  readonly bodyCrc: number;
}

export interface WalEntry {
  readonly partition: number;
  readonly payload: Uint8Array;
}

export function alignUp(bytes: number): number {
  return Math.ceil(bytes / blockBytes) * blockBytes;
}

/** What a batch with this body takes in the segment. */
export function batchBytes(bodyBytes: number): number {
  return alignUp(batchHeaderBytes + bodyBytes);
}

export function entryBytes(payloadBytes: number): number {
  return entryHeaderBytes + payloadBytes;
}

/** How many entries from `from` on make one batch: what has room, and one entry of any size. */
export function countThatFits(entries: readonly WalEntry[], from: number, room: number): number {
  let bytes = 0;
  let count = 0;
  for (let index = from; index < entries.length; index += 1) {
    bytes += entryBytes((entries[index] as WalEntry).payload.length);
    if (bytes > room || (count > 0 && bytes > batchBodyBytesMax)) break;
    count += 1;
  }
  return count;
}

export function encodeSegmentHeader(header: SegmentHeader, target: Uint8Array): void {
  assert(header.storeId.length === 16, "wal: a store id has 16 bytes");
  target.fill(0, 0, blockBytes);
  const view = new DataView(target.buffer, target.byteOffset, blockBytes);
  view.setBigUint64(0, segmentMagic);
  view.setUint32(12, walFormat);
  view.setBigUint64(16, BigInt(header.index));
  view.setBigUint64(24, header.salt);
  view.setBigUint64(32, BigInt(header.firstSequence));
  target.set(header.storeId, 40);
  view.setBigUint64(storeIdEnd, BigInt(header.bytes));
  view.setUint32(8, crc32(target.subarray(12, segmentHeaderUsed)));
}

/** Undefined when the block is not an intact segment header. */
export function parseSegmentHeader(bytes: Uint8Array): SegmentHeader | undefined {
  if (bytes.length < blockBytes) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getBigUint64(0) !== segmentMagic) return undefined;
  if (view.getUint32(8) !== crc32(bytes.subarray(12, segmentHeaderUsed))) return undefined;
  if (view.getUint32(12) !== walFormat) return undefined;
  return {
    index: Number(view.getBigUint64(16)),
    salt: view.getBigUint64(24),
    firstSequence: Number(view.getBigUint64(32)),
    storeId: bytes.slice(40, storeIdEnd),
    bytes: Number(view.getBigUint64(storeIdEnd)),
  };
}

/**
 * Writes a batch into `target` at `offset`, padded with zeros to the next block; answers the bytes
 * that it takes. `firstSequence` is the first entry's; for a mark it is the next one to be given.
 */
export function encodeBatch(
  entries: readonly WalEntry[],
  facts: Pick<BatchHeader, "salt" | "firstSequence" | "syncedSequence" | "ceiling">,
  target: Uint8Array,
  offset: number,
): number {
  const view = new DataView(target.buffer, target.byteOffset, target.byteLength);
  target.fill(0, offset, offset + batchHeaderBytes);
  const bodyAt = offset + batchHeaderBytes;
  let end = bodyAt;
  for (const { partition, payload } of entries) {
    view.setUint32(end, payload.length);
    view.setUint16(end + 4, partition);
    target.set(payload, end + entryHeaderBytes);
    end += entryHeaderBytes + payload.length;
    const bits = offset + partitionBitsAt + (partition >> 3);
    target[bits] = (target[bits] as number) | (1 << (partition & 7));
  }
  const whole = alignUp(end - offset);
  target.fill(0, end, offset + whole);
  view.setUint32(offset, batchMagic);
  view.setBigUint64(offset + 8, facts.salt);
  view.setBigUint64(offset + 16, BigInt(facts.firstSequence));
  view.setUint32(offset + 24, entries.length);
  view.setUint32(offset + 28, end - bodyAt);
  view.setBigUint64(offset + 32, BigInt(facts.syncedSequence));
  view.setBigUint64(offset + 40, facts.ceiling);
  view.setUint32(offset + 48, crc32(target.subarray(bodyAt, end)));
  view.setUint32(offset + 4, crc32(target.subarray(offset + 8, bodyAt)));
  return whole;
}

/**
 * The batch header at `offset`, or undefined when there is none that can be believed. With an
 * undefined `salt` any salt is taken: that is how a segment whose own header is damaged is read.
 */
export function parseBatchHeader(
  bytes: Uint8Array,
  offset: number,
  salt: bigint | undefined,
): BatchHeader | undefined {
  if (offset + batchHeaderBytes > bytes.length) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(offset) !== batchMagic) return undefined;
  const crc = crc32(bytes.subarray(offset + 8, offset + batchHeaderBytes));
  if (view.getUint32(offset + 4) !== crc) return undefined;
  const header = {
    salt: view.getBigUint64(offset + 8),
    firstSequence: Number(view.getBigUint64(offset + 16)),
    count: view.getUint32(offset + 24),
    bodyBytes: view.getUint32(offset + 28),
    syncedSequence: Number(view.getBigUint64(offset + 32)),
    ceiling: view.getBigUint64(offset + 40),
    bodyCrc: view.getUint32(offset + 48),
  };
  return salt !== undefined && header.salt !== salt ? undefined : header;
}

/** The partitions that an intact header at `offset` names. */
export function batchPartitions(bytes: Uint8Array, offset: number): number[] {
  const partitions: number[] = [];
  for (let partition = 0; partition < partitionBitsBytes * 8; partition += 1) {
    const byte = bytes[offset + partitionBitsAt + (partition >> 3)] as number;
    if ((byte & (1 << (partition & 7))) !== 0) partitions.push(partition);
  }
  return partitions;
}

/** The body of a batch whose header was believed; undefined when it is damaged. */
export function batchBody(
  bytes: Uint8Array,
  offset: number,
  header: BatchHeader,
): Uint8Array | undefined {
  const bodyAt = offset + batchHeaderBytes;
  const end = bodyAt + header.bodyBytes;
  if (end > bytes.length) return undefined;
  const body = bytes.subarray(bodyAt, end);
  if (crc32(body) !== header.bodyCrc) return undefined;
  return countEntries(body) === header.count ? body : undefined;
}

/** How many entries fill a body; undefined when it ends in the middle of one. */
function countEntries(body: Uint8Array): number | undefined {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  let count = 0;
  let at = 0;
  while (at < body.length) {
    if (at + entryHeaderBytes > body.length) return undefined;
    at += entryHeaderBytes + view.getUint32(at);
    count += 1;
  }
  return at === body.length ? count : undefined;
}

/** Gives the entries of a body that `batchBody` gave, or of a copy of it, one by one: views of it. */
export function visitEntries(
  body: Uint8Array,
  visit: (entry: WalEntry, index: number) => void,
): void {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  let index = 0;
  let at = 0;
  while (at < body.length) {
    const payloadAt = at + entryHeaderBytes;
    const end = payloadAt + view.getUint32(at);
    const payload = body.subarray(payloadAt, end);
    visit({ partition: view.getUint16(at + 4), payload }, index);
    index += 1;
    at = end;
  }
}

/** All entries of a body, as `visitEntries` gives them. */
export function bodyEntries(body: Uint8Array): WalEntry[] {
  const entries: WalEntry[] = [];
  visitEntries(body, (entry) => entries.push(entry));
  return entries;
}

/** So many words are looked at together: a branch for each would cost more than the reading. */
const zeroWords = 8;
const noWords = new Int32Array(0);

export function isZero(bytes: Uint8Array): boolean {
  // Four bytes at a time: an untouched 64 MiB segment is looked through at every opening.
  const words =
    bytes.byteOffset % 4 === 0 ? Math.floor(bytes.length / 4 / zeroWords) * zeroWords : 0;
  const view = words > 0 ? new Int32Array(bytes.buffer, bytes.byteOffset, words) : noWords;
  for (let index = 0; index < words; index += zeroWords) {
    const any =
      (view[index] as number) |
      (view[index + 1] as number) |
      (view[index + 2] as number) |
      (view[index + 3] as number) |
      (view[index + 4] as number) |
      (view[index + 5] as number) |
      (view[index + 6] as number) |
      (view[index + 7] as number);
    if (any !== 0) return false;
  }
  for (let index = words * 4; index < bytes.length; index += 1) {
    if (bytes[index] !== 0) return false;
  }
  return true;
}
