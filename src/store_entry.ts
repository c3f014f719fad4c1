/**
 * Store entry: the bytes of one change in the log, and of a key in the table.
 *
 * A change is either a record put under a key, or a key forgotten (its record removed for good, as
 * when its namespace was deleted). The table's keys begin with the partition, so that a partition is
 * one contiguous range, in which a namespace is one again.
 *
 *     log       0 kind u8 | 1 namespace u32 | 5 key length u16 | 7 key | record
 *     table     0 partition u16 | 2 namespace u32 | 6 key
 *
 * Invariants
 * 1. `parseChange(encodePut(x))` equals x; bytes that do not fit give undefined.
 * 2. The bytes that a change hands out are never written to again.
 *
 * Effects: none.
 *
 * @module
 */

import { keyBytesMax } from "./api.ts";
import { emptyBytes, prefixEnd } from "./bytes.ts";
import { encodeRecord, recordBytes, type StoredRecord } from "./record.ts";
import type { Slab } from "./slab.ts";

/** What a store keeps for itself about a key is under the key, with its own words before it. */
export const storedKeyBytesMax: number = keyBytesMax + 64;

const kindPut = 1;
const kindForget = 2;
const changeHeaderBytes = 7;
export const tableKeyHeaderBytes = 6;

/** One change of one key, as it stands in the log. */
export interface Change {
  readonly namespaceNumber: number;
  readonly key: Uint8Array;
  /** The encoded record; undefined when the key is forgotten. */
  readonly record: Uint8Array | undefined;
}

/** What goes into the log, and the record within it. */
export interface EncodedChange {
  readonly payload: Uint8Array;
  readonly record: Uint8Array | undefined;
}

/** The bytes that a put takes in the log. */
export function putBytes(key: Uint8Array, record: StoredRecord): number {
  return changeHeaderBytes + key.length + recordBytes(record);
}

export function forgetBytes(key: Uint8Array): number {
  return changeHeaderBytes + key.length;
}

export function encodePut(
  slab: Slab,
  namespaceNumber: number,
  key: Uint8Array,
  record: StoredRecord,
): EncodedChange {
  const payload = slab.take(putBytes(key, record));
  writeHeader(payload, kindPut, namespaceNumber, key);
  const at = changeHeaderBytes + key.length;
  encodeRecord(record, { namespaceNumber, key }, payload, at);
  return { payload, record: payload.subarray(at) };
}

/** The same for a record that is encoded already. */
export function encodePutBytes(
  slab: Slab,
  namespaceNumber: number,
  key: Uint8Array,
  record: Uint8Array,
): EncodedChange {
  const at = changeHeaderBytes + key.length;
  const payload = slab.take(at + record.length);
  writeHeader(payload, kindPut, namespaceNumber, key);
  payload.set(record, at);
  return { payload, record: payload.subarray(at) };
}

export function encodeForget(slab: Slab, namespaceNumber: number, key: Uint8Array): EncodedChange {
  const payload = slab.take(forgetBytes(key));
  writeHeader(payload, kindForget, namespaceNumber, key);
  return { payload, record: undefined };
}

/** The change in a payload of the log; undefined for bytes that are none. */
export function parseChange(payload: Uint8Array): Change | undefined {
  if (payload.length < changeHeaderBytes) return undefined;
  const kind = payload[0];
  const keyBytes = ((payload[5] as number) << 8) | (payload[6] as number);
  const end = changeHeaderBytes + keyBytes;
  if (keyBytes === 0 || keyBytes > storedKeyBytesMax || end > payload.length) return undefined;
  if (kind !== kindPut && kind !== kindForget) return undefined;
  return {
    namespaceNumber: numberAt(payload, 1),
    key: payload.subarray(changeHeaderBytes, end),
    record: kind === kindPut ? payload.subarray(end) : undefined,
  };
}

/** Four bytes as a number; a view for them would cost more than the rest of a change. */
function numberAt(bytes: Uint8Array, at: number): number {
  const [a, b, c, d] = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]] as number[];
  return (
    (((a as number) << 24) | ((b as number) << 16) | ((c as number) << 8) | (d as number)) >>> 0
  );
}

/** Writes a table's key into `target`; answers its length. */
function writeTableKey(
  target: Uint8Array,
  partition: number,
  namespaceNumber: number,
  key: Uint8Array,
): number {
  target[0] = partition >>> 8;
  target[1] = partition;
  target[2] = namespaceNumber >>> 24;
  target[3] = namespaceNumber >>> 16;
  target[4] = namespaceNumber >>> 8;
  target[5] = namespaceNumber;
  target.set(key, tableKeyHeaderBytes);
  return tableKeyHeaderBytes + key.length;
}

export function tableKey(partition: number, namespaceNumber: number, key: Uint8Array): Uint8Array {
  const target = new Uint8Array(tableKeyHeaderBytes + key.length);
  writeTableKey(target, partition, namespaceNumber, key);
  return target;
}

/** The partition that a table's key, or the bound of a range of them, begins with. */
export function tablePartition(bytes: Uint8Array): number {
  return ((bytes[0] ?? 0) << 8) | (bytes[1] ?? 0);
}

/** The namespace and key in a table's key; in damaged bytes that are too short an empty key, which nobody has. */
export function parseTableKey(bytes: Uint8Array): Pick<Change, "namespaceNumber" | "key"> {
  if (bytes.length < tableKeyHeaderBytes) return { namespaceNumber: 0, key: emptyBytes };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return { namespaceNumber: view.getUint32(2), key: bytes.subarray(tableKeyHeaderBytes) };
}

/** All keys of a partition: start inclusive, end exclusive. */
export function partitionRange(partition: number): { start: Uint8Array; end: Uint8Array } {
  const start = Uint8Array.of(partition >>> 8, partition);
  return { start, end: Uint8Array.of((partition + 1) >>> 8, partition + 1) };
}

/** All keys of a namespace in a partition that begin with `prefix`. */
export function prefixRange(
  partition: number,
  namespaceNumber: number,
  prefix: Uint8Array,
): { start: Uint8Array; end: Uint8Array } {
  const start = tableKey(partition, namespaceNumber, prefix);
  // A partition is below 0xFFFF, so there is always something above.
  return { start, end: prefixEnd(start) as Uint8Array };
}

function writeHeader(
  payload: Uint8Array,
  kind: number,
  namespaceNumber: number,
  key: Uint8Array,
): void {
  payload[0] = kind;
  payload[1] = namespaceNumber >>> 24;
  payload[2] = namespaceNumber >>> 16;
  payload[3] = namespaceNumber >>> 8;
  payload[4] = namespaceNumber;
  payload[5] = key.length >>> 8;
  payload[6] = key.length;
  payload.set(key, changeHeaderBytes);
}
