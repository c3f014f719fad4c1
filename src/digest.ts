/**
 * Digest: what a partition holds, summed so that two copies can be compared.
 *
 * Each partition keeps 1,024 segment sums for each n in use, because namespaces of the same n have the
 * same replicas: the sum mod 2^64 of a hash of (key, version, deleted) of all records of these
 * namespaces. A sum can be changed by one record without reading the others, does not depend
 * on the order, and unlike XOR does not hide a record that is there twice. Beside them stand the
 * counters from which `/v1/count` answers, and under which n a namespace is summed. The whole is a
 * `Summary`; it is committed together with the records that it sums. What a store keeps for itself
 * (`ownNamespaceMin`) is in none of them.
 *
 *     format 2   0 crc32 u32 | 4 format u16 | 6 tallies u16 | 8 records u64
 *                a tally:  0 namespace u32 | 4 n u32 | 8 keys u64 | 16 bytes u64 | 24 deleted u32 | 28 mortal u32
 *                the sums: 0 n u32 | 4 sums u64 x 1,024; for each n in use
 *     format 1   a tally without n; one row of sums over all namespaces, without its n
 *
 * Invariants
 * 1. `add` and `remove` of the same element cancel out. A namespace stays under the n that it had in
 *    this partition at its first record, also when it was deleted and nobody knows its n any more.
 * 2. The sums of equal sets of (key, version, deleted) are equal; of different ones they differ but
 *    for one chance in 2^64.
 * 3. `decodeSummary(encodeSummary(x))` equals x; damaged bytes are refused.
 *
 * Effects: none. Source: docs/cluster.md, "What is compared, and when"; Bellare and Micciancio,
 * "A New Paradigm for Collision-Free Hashing" (1997), for sums against XOR.
 *
 * @module
 */

import { ownNamespaceMin } from "./api.ts";
import { assert } from "./assert.ts";
import { crc32, xxh64 } from "./hash.ts";
import { segmentsPerPartition } from "./ring.ts";
import type { Version } from "./version.ts";

/** Live records of one namespace in one partition. */
export interface Tally {
  /** The n under which it is summed; 0: it was not known. */
  readonly n: number;
  keys: number;
  /** Of the values. */
  bytes: number;
  /** Tombstones, */
  deleted: number;
  /** and live records that will be over: what a watermark allows to be dropped. */
  mortal: number;
}

/** Sums and counters of one partition. */
export interface Summary {
  /** By n, those in use. Two words a segment: the low 32 bits, then the high ones. */
  readonly sums: (Uint32Array | undefined)[];
  /** False: read in format 1, all namespaces are in the row of n = 0, whatever their n is. */
  readonly isSplit: boolean;
  /** All records, tombstones included. */
  records: number;
  /** By the namespace's number. */
  readonly tallies: Map<number, Tally>;
}

/** What one record adds to its partition's summary. */
export interface Element {
  readonly namespaceNumber: number;
  /** The n of the namespace, 0 where it is not known; its first record decides. */
  readonly n: number;
  readonly segment: number;
  /** XXH64 of the namespace number and key, as the ring computes it. */
  readonly keyHash: bigint;
  readonly version: Version;
  readonly tombstone: boolean;
  /** Whether it lives for a time only. */
  readonly isMortal: boolean;
  readonly valueBytes: number;
}

/** What two replicas of a partition compare, for the namespaces of one n. */
export interface Digest {
  /** One hash over all sums. */
  readonly total: bigint;
  /** The sums in 1,024 x 8 bytes, big-endian. */
  readonly sums: Uint8Array;
}

const summaryFormat = 2;
const unsplitFormat = 1;
const summaryHeaderBytes = 16;
const tallyBytes = 32;
const unsplitTallyBytes = 20;
export const digestBytes: number = segmentsPerPartition * 8;
const rowBytes = 4 + digestBytes;
/** No namespace has a larger n. */
const nMax = 255;

export function emptySummary(): Summary {
  return { sums: [], isSplit: true, records: 0, tallies: new Map() };
}

export function copySummary(summary: Summary): Summary {
  const tallies = new Map<number, Tally>();
  for (const [number, tally] of summary.tallies) tallies.set(number, { ...tally });
  const sums = summary.sums.map((row) => row?.slice());
  return { sums, isSplit: summary.isSplit, records: summary.records, tallies };
}

export function add(summary: Summary, element: Element): void {
  if (element.namespaceNumber >= ownNamespaceMin) return;
  const hash = elementHash(element);
  const sums = rowOf(summary, count(summary, element, 1));
  const at = element.segment * 2;
  const low = (sums[at] as number) + hash.low;
  sums[at] = low;
  sums[at + 1] = (sums[at + 1] as number) + hash.high + (low > 0xffffffff ? 1 : 0);
  summary.records += 1;
}

export function remove(summary: Summary, element: Element): void {
  if (element.namespaceNumber >= ownNamespaceMin) return;
  const hash = elementHash(element);
  const sums = rowOf(summary, count(summary, element, -1));
  const at = element.segment * 2;
  const low = (sums[at] as number) - hash.low;
  sums[at] = low;
  sums[at + 1] = (sums[at + 1] as number) - hash.high - (low < 0 ? 1 : 0);
  summary.records -= 1;
}

function rowOf({ sums }: Summary, n: number): Uint32Array {
  let row = sums[n];
  if (row === undefined) {
    row = new Uint32Array(segmentsPerPartition * 2);
    sums[n] = row;
  }
  return row;
}

/** Whether two summaries say that the same is held, under whichever n it is summed. */
export function sameSummary(a: Summary, b: Summary): boolean {
  if (a.records !== b.records) return false;
  const [one, other] = [overAll(a), overAll(b)];
  return one.every((sum, segment) => sum === other[segment]);
}

/**
 * Each n of which two summaries of one partition count other records. One with a namespace that they sum under
 * two n, as it was deleted or not known then, is not judged.
 */
export function differingSizes(a: Summary, b: Summary): readonly number[] {
  const unjudged = new Set<number>();
  for (const [number, { n }] of a.tallies) {
    const other = b.tallies.get(number)?.n ?? n;
    if (other !== n) unjudged.add(n).add(other);
  }
  const sizes = [...new Set([...a.sums.keys(), ...b.sums.keys()])];
  return sizes.filter((n) => !unjudged.has(n) && digestOf(a, n).total !== digestOf(b, n).total);
}

/** The sums over all namespaces: sums of sums. */
function overAll({ sums }: Summary): BigUint64Array {
  const all = new BigUint64Array(segmentsPerPartition);
  for (const row of sums) {
    if (row === undefined) continue;
    for (let segment = 0; segment < segmentsPerPartition; segment += 1) {
      const at = segment * 2;
      const sum = (BigInt(row[at + 1] as number) << 32n) + BigInt(row[at] as number);
      all[segment] = (all[segment] as bigint) + sum;
    }
  }
  return all;
}

/** What is compared of a partition for the namespaces of one n. */
export function digestOf({ sums }: Summary, n: number): Digest {
  const bytes = new Uint8Array(digestBytes);
  const row = sums[n];
  if (row !== undefined) writeRow(row, new DataView(bytes.buffer), 0);
  return { total: xxh64(bytes), sums: bytes };
}

/** How many records of the namespaces of one n a watermark may allow to be dropped, now or later. */
export function droppable(
  { tallies }: Summary,
  n: number,
): { readonly deleted: number; readonly mortal: number } {
  const sum = { deleted: 0, mortal: 0 };
  for (const tally of tallies.values()) {
    if (tally.n !== n) continue;
    sum.deleted += tally.deleted;
    sum.mortal += tally.mortal;
  }
  return sum;
}

/** The segments in which two digests differ. */
export function differingSegments(a: Uint8Array, b: Uint8Array): Set<number> {
  const differing = new Set<number>();
  for (let at = 0; at < digestBytes; at += 1) {
    if (a[at] !== b[at]) differing.add(at >> 3);
  }
  return differing;
}

/** A bit for each segment. */
export function segmentBits(segments: Iterable<number>): Uint8Array {
  const bits = new Uint8Array(segmentsPerPartition / 8);
  for (const segment of segments)
    bits[segment >> 3] = (bits[segment >> 3] ?? 0) | (1 << (segment & 7));
  return bits;
}

export function hasSegment(bits: Uint8Array, segment: number): boolean {
  return ((bits[segment >> 3] ?? 0) & (1 << (segment & 7))) !== 0;
}

export const allSegments: Uint8Array = new Uint8Array(segmentsPerPartition / 8).fill(0xff);

export function encodeSummary(summary: Summary): Uint8Array {
  assert(summary.isSplit, "digest: sums of format 1 are counted again before they are written");
  const tallies = [...summary.tallies].sort(([a], [b]) => a - b);
  const rows = [...summary.sums.entries()].filter(([, row]) => row !== undefined);
  const sumsAt = summaryHeaderBytes + tallies.length * tallyBytes;
  const bytes = new Uint8Array(sumsAt + rows.length * rowBytes);
  const view = new DataView(bytes.buffer);
  view.setUint16(4, summaryFormat);
  view.setUint16(6, tallies.length);
  view.setBigUint64(8, BigInt(summary.records));
  let offset = summaryHeaderBytes;
  for (const [number, { n, keys, bytes: valueBytes, deleted, mortal }] of tallies) {
    view.setUint32(offset, number);
    view.setUint32(offset + 4, n);
    view.setBigUint64(offset + 8, BigInt(keys));
    view.setBigUint64(offset + 16, BigInt(valueBytes));
    view.setUint32(offset + 24, deleted);
    view.setUint32(offset + 28, mortal);
    offset += tallyBytes;
  }
  for (const [n, row] of rows) {
    view.setUint32(offset, n);
    writeRow(row as Uint32Array, view, offset + 4);
    offset += rowBytes;
  }
  view.setUint32(0, crc32(bytes.subarray(4)));
  return bytes;
}

/** The high words first, as numbers of 64 bits are written. */
function writeRow(row: Uint32Array, view: DataView, offset: number): void {
  for (let at = 0; at < row.length; at += 2) {
    view.setUint32(offset + at * 4, row[at + 1] as number);
    view.setUint32(offset + at * 4 + 4, row[at] as number);
  }
}

/** Undefined for bytes that are damaged or of another format. */
export function decodeSummary(bytes: Uint8Array): Summary | undefined {
  if (bytes.length < summaryHeaderBytes) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(0) !== crc32(bytes.subarray(4))) return undefined;
  const format = view.getUint16(4);
  if (format === unsplitFormat) return decodeUnsplit(view);
  if (format !== summaryFormat) return undefined;
  const summary = emptySummary();
  summary.records = Number(view.getBigUint64(8));
  let offset = summaryHeaderBytes;
  for (let left = view.getUint16(6); left > 0; left -= 1) {
    if (offset + tallyBytes > bytes.length) return undefined;
    summary.tallies.set(view.getUint32(offset), {
      n: view.getUint32(offset + 4),
      keys: Number(view.getBigUint64(offset + 8)),
      bytes: Number(view.getBigUint64(offset + 16)),
      deleted: view.getUint32(offset + 24),
      mortal: view.getUint32(offset + 28),
    });
    offset += tallyBytes;
  }
  for (; offset < bytes.length; offset += rowBytes) {
    if (offset + rowBytes > bytes.length || view.getUint32(offset) > nMax) return undefined;
    const row = rowOf(summary, view.getUint32(offset));
    for (let at = 0; at < row.length; at += 2) {
      row[at + 1] = view.getUint32(offset + 4 + at * 4);
      row[at] = view.getUint32(offset + 8 + at * 4);
    }
  }
  return summary;
}

/** Format 1: one row over all namespaces, the low word of each sum first. */
function decodeUnsplit(view: DataView): Summary | undefined {
  const count = view.getUint16(6);
  const sumsAt = summaryHeaderBytes + count * unsplitTallyBytes;
  if (view.byteLength !== sumsAt + digestBytes) return undefined;
  const records = Number(view.getBigUint64(8));
  const summary: Summary = { ...emptySummary(), isSplit: false, records };
  for (let index = 0; index < count; index += 1) {
    const offset = summaryHeaderBytes + index * unsplitTallyBytes;
    summary.tallies.set(view.getUint32(offset), {
      n: 0,
      keys: Number(view.getBigUint64(offset + 4)),
      bytes: Number(view.getBigUint64(offset + 12)),
      ...{ deleted: 0, mortal: 0 },
    });
  }
  const row = rowOf(summary, 0);
  for (let at = 0; at < row.length; at += 1) row[at] = view.getUint32(sumsAt + at * 4);
  return summary;
}

const elementScratch = new Uint8Array(25);
const elementView = new DataView(elementScratch.buffer);

function elementHash(element: Element): { readonly low: number; readonly high: number } {
  elementView.setBigUint64(0, element.keyHash);
  elementView.setBigUint64(8, element.version.hlc);
  elementView.setBigUint64(16, element.version.origin);
  elementScratch[24] = element.tombstone ? 1 : 0;
  const hash = xxh64(elementScratch);
  return { low: Number(hash & 0xffffffffn), high: Number(hash >> 32n) };
}

/** Counts an element in or out; answers the n under which its namespace is summed. */
function count(summary: Summary, element: Element, sign: 1 | -1): number {
  let tally = summary.tallies.get(element.namespaceNumber);
  if (tally === undefined) {
    tally = { n: element.n, keys: 0, bytes: 0, deleted: 0, mortal: 0 };
    summary.tallies.set(element.namespaceNumber, tally);
  }
  if (element.tombstone) tally.deleted += sign;
  else {
    if (element.isMortal) tally.mortal += sign;
    tally.keys += sign;
    tally.bytes += sign * element.valueBytes;
  }
  // Namespaces come and go without end. (In format 1 the row goes by the first record's n for ever.)
  const isEmpty = tally.keys === 0 && tally.deleted === 0;
  if (isEmpty && summary.isSplit) summary.tallies.delete(element.namespaceNumber);
  return tally.n;
}
