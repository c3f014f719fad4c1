/**
 * Memtable: what is in the log and not yet in the table.
 *
 * A hash table from the table's keys to the last change of each, for the reads and writes of single
 * keys, and beside it the order of each partition's keys, which is made when a scan or a checkpoint
 * asks for it: what was added since it asked last is sorted, and merged in. All of it lies in typed
 * arrays, a number for each entry and column, so that a full memtable is no work for the garbage
 * collector; keys and records stay outside of the JavaScript heap.
 *
 *     slots    hash -> number of the entry + 1        (open addressing, at most half full)
 *     columns  by number: hash, where its key and its record lie, sequence
 *     orders   by partition: numbers, the first of them in the keys' order
 *
 * Invariants
 * 1. `bytes` is what all records that were set take, overwritten ones included (they stand in the
 *    log, and share buffers with those that were not), and an overhead for each key.
 * 2. After `freeze` nothing changes any more but the orders, which only say how it is read.
 * 3. A key's bytes and number never change.
 *
 * Effects: none. Source: O'Neil et al., "The Log-Structured Merge-Tree" (1996), component C0.
 *
 * @module
 */

import { assert } from "./assert.ts";
import { compare } from "./bytes.ts";
import { tablePartition } from "./store_entry.ts";

/** What an entry takes beside its key and record: its columns and slots, which grow by doubling. */
const entryOverheadBytes = 96;
/** Keys are cut from buffers of 64 KiB, of which each holds many of the longest. */
const chunkBits = 16;
const chunkBytes = 1 << chunkBits;
const capacityFirst = 64;
/** The length of a record that is none: the key is forgotten. */
const forgottenLength = 0xffff_ffff;

export interface MemoryEntry {
  /** The encoded record; undefined when the key is forgotten. */
  readonly record: Uint8Array | undefined;
  readonly sequence: number;
}

export interface KeyedEntry extends MemoryEntry {
  /** Never written to. */
  readonly tableKey: Uint8Array;
}

/** What is known of each entry, by its number. */
interface Columns {
  readonly hashes: Uint32Array;
  /** The number of the chunk, and the offset in it. */
  readonly keyAts: Uint32Array;
  readonly keyLengths: Uint16Array;
  readonly buffers: Uint32Array;
  readonly recordAts: Uint32Array;
  readonly recordLengths: Uint32Array;
  readonly sequences: Float64Array;
}

/** The numbers of a partition's entries. */
interface Order {
  numbers: Uint32Array;
  count: number;
  /** The first so many are in the keys' order. */
  sorted: number;
}

export class Memtable {
  /** Numbers of entries, plus one; 0 is free. */
  #slots = new Uint32Array(capacityFirst * 2);
  #columns = columnsOf(capacityFirst);
  #count = 0;
  readonly #chunks: Uint8Array[] = [];
  #chunkUsed = chunkBytes;
  /** Where the records lie. */
  readonly #buffers: ArrayBufferLike[] = [];
  readonly #orders = new Map<number, Order>();
  #bytes = 0;
  #isFrozen = false;

  get bytes(): number {
    return this.#bytes;
  }

  get count(): number {
    return this.#count;
  }

  /** The partitions that have entries. */
  get partitions(): number[] {
    return [...this.#orders.keys()];
  }

  hasPartition(partition: number): boolean {
    return this.#orders.has(partition);
  }

  /** `hash` is any whole number of 32 bits that the key always comes with. */
  get(tableKey: Uint8Array, hash: number): MemoryEntry | undefined {
    const number = this.#find(tableKey, hash);
    return number < 0 ? undefined : this.#entry(number);
  }

  /** Sets the last change of a key, whose bytes are copied; the record's must not change. */
  set(tableKey: Uint8Array, hash: number, { record, sequence }: MemoryEntry): void {
    assert(!this.#isFrozen, "memtable: a frozen one does not change");
    const found = this.#find(tableKey, hash);
    const number = found < 0 ? this.#add(tableKey, hash) : found;
    const { buffers, recordAts, recordLengths, sequences } = this.#columns;
    sequences[number] = sequence;
    recordLengths[number] = record?.length ?? forgottenLength;
    if (record === undefined) return;
    buffers[number] = this.#bufferNumber(record.buffer);
    recordAts[number] = record.byteOffset;
    this.#bytes += record.length;
  }

  freeze(): void {
    this.#isFrozen = true;
  }

  /** All entries in order. */
  *entries(): IterableIterator<KeyedEntry> {
    for (const partition of this.partitions.sort(ascending)) {
      for (const number of this.#ordered(partition)) yield this.#keyed(number);
    }
  }

  /** At most `limit` entries from `start` (inclusive) to `end` (exclusive), downwards if asked. */
  range(start: Uint8Array, end: Uint8Array, reverse: boolean, limit: number): KeyedEntry[] {
    const [first, last] = [tablePartition(start), tablePartition(end)];
    const partitions = this.partitions
      .filter((partition) => partition >= first && partition <= last)
      .sort(ascending);
    if (reverse) partitions.reverse();
    const found: KeyedEntry[] = [];
    for (const partition of partitions) {
      const numbers = this.#ordered(partition);
      const from = this.#lowerBound(numbers, start);
      const to = this.#lowerBound(numbers, end);
      for (let at = from; at < to; at += 1) {
        if (found.length >= limit) return found;
        found.push(this.#keyed(numbers[reverse ? to - 1 - (at - from) : at] as number));
      }
    }
    return found;
  }

  /** The number of a key's entry; -1 when there is none. */
  #find(tableKey: Uint8Array, hash: number): number {
    const slots = this.#slots;
    const { hashes } = this.#columns;
    const mask = slots.length - 1;
    // At most half of the slots are taken: there is always a free one.
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const number = (slots[slot] as number) - 1;
      if (number < 0) return -1;
      if (hashes[number] === hash && this.#isKey(number, tableKey)) return number;
    }
  }

  #isKey(number: number, tableKey: Uint8Array): boolean {
    const { keyAts, keyLengths } = this.#columns;
    const { length } = tableKey;
    if (keyLengths[number] !== length) return false;
    const at = keyAts[number] as number;
    const chunk = this.#chunks[at >>> chunkBits] as Uint8Array;
    const offset = at & (chunkBytes - 1);
    // From the end: keys that differ at all mostly do so there.
    for (let index = length - 1; index >= 0; index -= 1) {
      if (chunk[offset + index] !== tableKey[index]) return false;
    }
    return true;
  }

  #add(tableKey: Uint8Array, hash: number): number {
    assert(tableKey.length >= 1, "memtable: a table's key is not empty");
    const number = this.#count;
    if (number === this.#columns.hashes.length) this.#grow();
    const { hashes, keyAts, keyLengths } = this.#columns;
    hashes[number] = hash;
    keyAts[number] = this.#keepKey(tableKey);
    keyLengths[number] = tableKey.length;
    this.#count += 1;
    claimSlot(this.#slots, hash, number);
    this.#append(tablePartition(tableKey), number);
    this.#bytes += entryOverheadBytes + tableKey.length;
    return number;
  }

  #grow(): void {
    const capacity = this.#count * 2;
    this.#columns = columnsOf(capacity, this.#columns);
    this.#slots = new Uint32Array(capacity * 2);
    const { hashes } = this.#columns;
    for (let number = 0; number < this.#count; number += 1) {
      claimSlot(this.#slots, hashes[number] as number, number);
    }
  }

  #keepKey(tableKey: Uint8Array): number {
    if (this.#chunkUsed + tableKey.length > chunkBytes) {
      this.#chunks.push(new Uint8Array(chunkBytes));
      this.#chunkUsed = 0;
    }
    const offset = this.#chunkUsed;
    const chunkNumber = this.#chunks.length - 1;
    (this.#chunks[chunkNumber] as Uint8Array).set(tableKey, offset);
    this.#chunkUsed += tableKey.length;
    return ((chunkNumber << chunkBits) | offset) >>> 0;
  }

  /** Records that follow each other mostly lie in one buffer: it is kept once. */
  #bufferNumber(buffer: ArrayBufferLike): number {
    const last = this.#buffers.length - 1;
    if (last >= 0 && this.#buffers[last] === buffer) return last;
    return this.#buffers.push(buffer) - 1;
  }

  #append(partition: number, number: number): void {
    let order = this.#orders.get(partition);
    if (order === undefined) {
      order = { numbers: new Uint32Array(8), count: 0, sorted: 0 };
      this.#orders.set(partition, order);
    }
    if (order.count === order.numbers.length) {
      const numbers = new Uint32Array(order.count * 2);
      numbers.set(order.numbers);
      order.numbers = numbers;
    }
    order.numbers[order.count] = number;
    order.count += 1;
  }

  /** The numbers of a partition's entries in the keys' order. */
  #ordered(partition: number): Uint32Array {
    const order = this.#orders.get(partition);
    if (order === undefined) return new Uint32Array(0);
    const { numbers, count } = order;
    const added = Array.from(numbers.subarray(order.sorted, count), (number) => ({
      number,
      key: this.#key(number),
    })).sort((a, b) => compare(a.key, b.key));
    // From the last one down, each with what lies above it moved to its place at once.
    let free = count;
    let left = order.sorted;
    for (let at = added.length - 1; at >= 0; at -= 1) {
      const { number, key } = added[at] as (typeof added)[number];
      const place = this.#lowerBound(numbers.subarray(0, left), key);
      free -= left - place;
      numbers.copyWithin(free, place, left);
      left = place;
      free -= 1;
      numbers[free] = number;
    }
    order.sorted = count;
    return numbers.subarray(0, count);
  }

  /** How many of the entries, which are in order, have a key below `key`. */
  #lowerBound(numbers: Uint32Array, key: Uint8Array): number {
    let low = 0;
    let high = numbers.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compare(this.#key(numbers[middle] as number), key) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #key(number: number): Uint8Array {
    const { keyAts, keyLengths } = this.#columns;
    const at = keyAts[number] as number;
    const offset = at & (chunkBytes - 1);
    const chunk = this.#chunks[at >>> chunkBits] as Uint8Array;
    return chunk.subarray(offset, offset + (keyLengths[number] as number));
  }

  #entry(number: number): MemoryEntry {
    const { buffers, recordAts, recordLengths, sequences } = this.#columns;
    const sequence = sequences[number] as number;
    const length = recordLengths[number] as number;
    if (length === forgottenLength) return { record: undefined, sequence };
    const buffer = this.#buffers[buffers[number] as number] as ArrayBufferLike;
    return { record: new Uint8Array(buffer, recordAts[number], length), sequence };
  }

  #keyed(number: number): KeyedEntry {
    const { record, sequence } = this.#entry(number);
    return { tableKey: this.#key(number), record, sequence };
  }
}

/** Puts an entry's number into the first free slot from its hash on. */
function claimSlot(slots: Uint32Array, hash: number, number: number): void {
  const mask = slots.length - 1;
  let slot = hash & mask;
  while (slots[slot] !== 0) slot = (slot + 1) & mask;
  slots[slot] = number + 1;
}

function columnsOf(capacity: number, before?: Columns): Columns {
  const columns: Columns = {
    hashes: new Uint32Array(capacity),
    keyAts: new Uint32Array(capacity),
    keyLengths: new Uint16Array(capacity),
    buffers: new Uint32Array(capacity),
    recordAts: new Uint32Array(capacity),
    recordLengths: new Uint32Array(capacity),
    sequences: new Float64Array(capacity),
  };
  if (before === undefined) return columns;
  columns.hashes.set(before.hashes);
  columns.keyAts.set(before.keyAts);
  columns.keyLengths.set(before.keyLengths);
  columns.buffers.set(before.buffers);
  columns.recordAts.set(before.recordAts);
  columns.recordLengths.set(before.recordLengths);
  columns.sequences.set(before.sequences);
  return columns;
}

function ascending(a: number, b: number): number {
  return a - b;
}
