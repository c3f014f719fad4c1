/**
 * Memtable: what is in the log and not yet in the table, in order.
 *
 * An ordered map from the table's keys to the last change of each. Keys are kept as strings of one
 * character a byte, whose order is the bytes'; records stay outside of the JavaScript heap.
 *
 * Invariants
 * 1. `bytes` is what all records that were set take, overwritten ones included (they stand in the
 *    log, and share buffers with those that were not), and an overhead for each key.
 * 2. After `freeze` nothing changes any more.
 *
 * Effects: none. Source: O'Neil et al., "The Log-Structured Merge-Tree" (1996), component C0.
 *
 * @module
 */

import { assert } from "./assert.ts";
import { OrderedMap } from "./ordered.ts";

/** What an entry takes beside its key and record: the tree's share, two objects, a view. */
const entryOverheadBytes = 256;

export interface MemoryEntry {
  /** The encoded record; undefined when the key is forgotten. */
  readonly record: Uint8Array | undefined;
  readonly sequence: number;
}

/** A table's key as a string, with its entry. */
export type NamedEntry = readonly [name: string, entry: MemoryEntry];

export class Memtable {
  readonly #tree = new OrderedMap<string, MemoryEntry>(undefined, compareNames);
  readonly #partitions = new Set<number>();
  #bytes = 0;
  #isFrozen = false;

  get bytes(): number {
    return this.#bytes;
  }

  get count(): number {
    return this.#tree.size;
  }

  /** The partitions that have entries. */
  get partitions(): ReadonlySet<number> {
    return this.#partitions;
  }

  get(name: string): MemoryEntry | undefined {
    return this.#tree.get(name);
  }

  /** Sets the last change of a key. */
  set(name: string, partition: number, entry: MemoryEntry): void {
    assert(!this.#isFrozen, "memtable: a frozen one does not change");
    const isNew = this.#tree.set(name, entry);
    this.#partitions.add(partition);
    this.#bytes += entry.record?.length ?? 0;
    if (isNew) this.#bytes += entryOverheadBytes + name.length;
  }

  freeze(): void {
    this.#isFrozen = true;
  }

  /** All entries in order. */
  entries(): IterableIterator<NamedEntry> {
    return this.#tree.entries() as IterableIterator<NamedEntry>;
  }

  /** At most `limit` entries from `start` (inclusive) to `end` (exclusive), downwards if asked. */
  range(start: string, end: string, reverse: boolean, limit: number): NamedEntry[] {
    const found: NamedEntry[] = [];
    const pairs = reverse ? this.#tree.entriesReversed(end) : this.#tree.entries(start);
    for (const [name, entry] of pairs as Iterable<NamedEntry>) {
      if (reverse ? name < start : name >= end) break;
      if (name === end) continue;
      found.push([name, entry]);
      if (found.length >= limit) break;
    }
    return found;
  }
}

function compareNames(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
