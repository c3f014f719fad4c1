/**
 * Digest: what a partition holds, summed so that two copies can be compared.
 *
 * Each partition keeps 1,024 segment sums: the sum mod 2^64 of a hash of (key, version, deleted) of
 * all its records. A sum can be changed by one record without reading the others, does not depend
 * on the order, and unlike XOR does not hide a record that is there twice. Beside it stand the
 * counters from which `/v1/count` answers. The whole is a `Summary`; it is committed together with
 * the records that it sums. What a store keeps for itself (`ownNamespaceMin`) is in none of them.
 *
 * Invariants
 * 1. `add` and `remove` of the same element cancel out.
 * 2. The sums of equal sets of (key, version, deleted) are equal; of different ones they differ but
 *    for one chance in 2^64.
 * 3. `decodeSummary(encodeSummary(x))` equals x; damaged bytes are refused.
 *
 * Effects: none. Source: design section "Repair"; Bellare and Micciancio, "A New Paradigm for
 * Collision-Free Hashing" (1997), for sums against XOR.
 *
 * @module
 */

import { ownNamespaceMin } from "./api.ts";
import { crc32, xxh64 } from "./hash.ts";
import { segmentsPerPartition } from "./ring.ts";
import type { Version } from "./version.ts";

/** Live records of one namespace in one partition. */
export interface Tally {
  keys: number;
  /** Of the values. */
  bytes: number;
}

/** Sums and counters of one partition. */
export interface Summary {
  /** Two words a segment: the low 32 bits, then the high ones. */
  readonly sums: Uint32Array;
  /** All records, tombstones included. */
  records: number;
  /** By the namespace's number. */
  readonly tallies: Map<number, Tally>;
}

/** What one record adds to its partition's summary. */
export interface Element {
  readonly namespaceNumber: number;
  readonly segment: number;
  /** XXH64 of the namespace number and key, as the ring computes it. */
  readonly keyHash: bigint;
  readonly version: Version;
  readonly tombstone: boolean;
  readonly valueBytes: number;
}

const summaryFormat = 1;
const summaryHeaderBytes = 16;
const tallyBytes = 20;

export function emptySummary(): Summary {
  return { sums: new Uint32Array(segmentsPerPartition * 2), records: 0, tallies: new Map() };
}

export function copySummary(summary: Summary): Summary {
  const tallies = new Map<number, Tally>();
  for (const [number, tally] of summary.tallies) tallies.set(number, { ...tally });
  return { sums: summary.sums.slice(), records: summary.records, tallies };
}

export function add(summary: Summary, element: Element): void {
  if (element.namespaceNumber >= ownNamespaceMin) return;
  const hash = elementHash(element);
  const at = element.segment * 2;
  const low = (summary.sums[at] as number) + hash.low;
  summary.sums[at] = low;
  summary.sums[at + 1] = (summary.sums[at + 1] as number) + hash.high + (low > 0xffffffff ? 1 : 0);
  summary.records += 1;
  count(summary, element, 1);
}

export function remove(summary: Summary, element: Element): void {
  if (element.namespaceNumber >= ownNamespaceMin) return;
  const hash = elementHash(element);
  const at = element.segment * 2;
  const low = (summary.sums[at] as number) - hash.low;
  summary.sums[at] = low;
  summary.sums[at + 1] = (summary.sums[at + 1] as number) - hash.high - (low < 0 ? 1 : 0);
  summary.records -= 1;
  count(summary, element, -1);
}

/** Whether two summaries say that the same is held. */
export function sameSummary(a: Summary, b: Summary): boolean {
  if (a.records !== b.records) return false;
  for (let index = 0; index < a.sums.length; index += 1) {
    if (a.sums[index] !== b.sums[index]) return false;
  }
  return true;
}

export function encodeSummary(summary: Summary): Uint8Array {
  const tallies = [...summary.tallies].sort(([a], [b]) => a - b);
  const sumsAt = summaryHeaderBytes + tallies.length * tallyBytes;
  const bytes = new Uint8Array(sumsAt + summary.sums.length * 4);
  const view = new DataView(bytes.buffer);
  view.setUint16(4, summaryFormat);
  view.setUint16(6, tallies.length);
  view.setBigUint64(8, BigInt(summary.records));
  let offset = summaryHeaderBytes;
  for (const [number, tally] of tallies) {
    view.setUint32(offset, number);
    view.setBigUint64(offset + 4, BigInt(tally.keys));
    view.setBigUint64(offset + 12, BigInt(tally.bytes));
    offset += tallyBytes;
  }
  for (const word of summary.sums) {
    view.setUint32(offset, word);
    offset += 4;
  }
  view.setUint32(0, crc32(bytes.subarray(4)));
  return bytes;
}

/** Undefined for bytes that are damaged or of another format. */
export function decodeSummary(bytes: Uint8Array): Summary | undefined {
  if (bytes.length < summaryHeaderBytes) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(0) !== crc32(bytes.subarray(4))) return undefined;
  const tallies = view.getUint16(6);
  const sumsAt = summaryHeaderBytes + tallies * tallyBytes;
  if (view.getUint16(4) !== summaryFormat) return undefined;
  if (bytes.length !== sumsAt + segmentsPerPartition * 8) return undefined;
  const summary = emptySummary();
  summary.records = Number(view.getBigUint64(8));
  for (let index = 0; index < tallies; index += 1) {
    const offset = summaryHeaderBytes + index * tallyBytes;
    summary.tallies.set(view.getUint32(offset), {
      keys: Number(view.getBigUint64(offset + 4)),
      bytes: Number(view.getBigUint64(offset + 12)),
    });
  }
  for (let index = 0; index < summary.sums.length; index += 1) {
    summary.sums[index] = view.getUint32(sumsAt + index * 4);
  }
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

function count(summary: Summary, element: Element, sign: 1 | -1): void {
  if (element.tombstone) return;
  let tally = summary.tallies.get(element.namespaceNumber);
  if (tally === undefined) {
    tally = { keys: 0, bytes: 0 };
    summary.tallies.set(element.namespaceNumber, tally);
  }
  tally.keys += sign;
  tally.bytes += sign * element.valueBytes;
}
