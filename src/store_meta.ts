/**
 * Store meta: what the table says about itself, beside the records.
 *
 * One document for the whole table: whose it is, up to which sequence of the log it has everything,
 * the clock's ceiling, and the partitions in which something was lost. One entry for each partition:
 * the sequence that this partition reaches, which may be ahead of the table's while a checkpoint is
 * being written, and the summary of its records. A partition's entry is in the same commit as the
 * records that it counts.
 *
 *     partition     0 crc32 u32 | 4 sequence u64 | 12 summary
 *
 * Invariants
 * 1. What is damaged is told from what is absent.
 * 2. The keys stand after every record's: no partition has the number 0xFFFF.
 *
 * Effects: none. Source: rules D5, D6.
 *
 * @module
 */

import { emptyBytes, fromHex, hex64, toHex } from "./bytes.ts";
import { decodeChecked, encodeChecked } from "./checked_json.ts";
import { decodeSummary, encodeSummary, type Summary } from "./digest.ts";
import { crc32 } from "./hash.ts";
import type { Hlc } from "./hlc.ts";
import { formats } from "./protocol.ts";

export const tableFormat: number = formats.table;
export const metaKey: Uint8Array = Uint8Array.of(0xff, 0xff, 0);

export interface TableMeta {
  readonly format: number;
  readonly storeId: string;
  readonly clusterId: string;
  /** Every change up to here is in the table. */
  readonly sequence: number;
  readonly ceiling: Hlc;
  /** Partitions in which a missing record cannot be told from a lost one. */
  readonly damaged: readonly number[];
  /** What of these has been filled again for the namespaces of one n, by `pairNumber`. */
  readonly healed: readonly number[];
  /**
   * Partitions that have an entry of their own. A page that is lost can take a partition's last records and
   * its entry with it: without this it would look like a partition that never had any.
   */
  readonly written: readonly number[];
}

export interface PartitionMeta {
  /** Every change of this partition up to here is in the table. */
  readonly sequence: number;
  readonly summary: Summary;
  /** Whether the summary counts a record that could no longer be read, and that a later one replaced. */
  readonly isUnsummed: boolean;
}

/** Beside the sequence, which is far below it. */
const unsummedBit = 1n << 63n;
const summaryAt = 12;

export function partitionMetaKey(partition: number): Uint8Array {
  return Uint8Array.of(0xff, 0xff, 1, partition >>> 8, partition);
}

/** `round` makes two commits of the same facts differ, so that both are really written (D5). */
export function encodeMeta(meta: TableMeta, round: number): Uint8Array {
  const { ceiling, written } = meta;
  return encodeChecked({ ...meta, ceiling: hex64(ceiling), written: bitsOf(written), round });
}

/** As it is in JSON: `written` is hex digits, a bit for each partition. */
type RawMeta = Omit<TableMeta, "ceiling" | "written" | "healed"> & {
  readonly ceiling: string;
  readonly written?: string;
  readonly healed?: readonly number[];
};

/** Undefined when the bytes are damaged. */
export function decodeMeta(bytes: Uint8Array): TableMeta | undefined {
  const raw = decodeChecked(bytes) as RawMeta | undefined;
  if (raw === undefined || typeof raw.ceiling !== "string") return undefined;
  const { format, storeId, clusterId, sequence, damaged, healed = [] } = raw;
  const ceiling = BigInt(`0x${raw.ceiling}`) as Hlc;
  const written = numbersIn(fromHex(raw.written ?? "") ?? emptyBytes);
  return { format, storeId, clusterId, sequence, ceiling, damaged, healed, written };
}

export function encodePartitionMeta(meta: PartitionMeta): Uint8Array {
  const summary = encodeSummary(meta.summary);
  const bytes = new Uint8Array(summaryAt + summary.length);
  const view = new DataView(bytes.buffer);
  bytes.set(summary, summaryAt);
  view.setBigUint64(4, BigInt(meta.sequence) | (meta.isUnsummed ? unsummedBit : 0n));
  // The summary has a checksum of its own; this one ties the sequence to it.
  view.setUint32(0, crc32(bytes.subarray(4, summaryAt + 4)));
  return bytes;
}

/** Undefined when the bytes are damaged. */
export function decodePartitionMeta(bytes: Uint8Array): PartitionMeta | undefined {
  if (bytes.length < summaryAt + 4) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(0) !== crc32(bytes.subarray(4, summaryAt + 4))) return undefined;
  const summary = decodeSummary(bytes.subarray(summaryAt));
  if (summary === undefined) return undefined;
  const word = view.getBigUint64(4);
  const sequence = Number(word & ~unsummedBit);
  return { sequence, summary, isUnsummed: (word & unsummedBit) !== 0n };
}

/** Numbers as hex digits, the bit of the lowest first. */
function bitsOf(numbers: readonly number[]): string {
  const highest = numbers.reduce((most, number) => Math.max(most, number), -1);
  const bytes = new Uint8Array((highest >> 3) + 1);
  for (const number of numbers)
    bytes[number >> 3] = (bytes[number >> 3] ?? 0) | (1 << (number & 7));
  return toHex(bytes);
}

function numbersIn(bytes: Uint8Array): number[] {
  const numbers: number[] = [];
  for (let number = 0; number < bytes.length * 8; number += 1) {
    if (((bytes[number >> 3] ?? 0) & (1 << (number & 7))) !== 0) numbers.push(number);
  }
  return numbers;
}
