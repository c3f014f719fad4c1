/**
 * Store index: the memtables, the table and the summaries as one readable whole.
 *
 *     lookup:   active memtable -> frozen memtable -> table
 *     apply:    active memtable, and the partition's summary
 *     freeze:   active becomes frozen while a checkpoint writes it; thaw: it is in the table
 *
 * Invariants
 * 1. A summary says what a walk over memtables and table would find, unless its partition is in
 *    `unsummed` (a record that it counts turned out damaged, or the partition is being counted again).
 * 2. At no instant is an entry in neither a memtable nor the table.
 * 3. A record is handed out only when its checksum, key included, is good.
 *
 * Effects: reads the Table. Source: docs/storage.md, "A write" and "Opening"; rule D6.
 *
 * @module
 */

import { assert } from "./assert.ts";
import { compare } from "./bytes.ts";
import {
  add,
  copySummary,
  type Digest,
  differingSizes,
  digestOf,
  type Element,
  emptySummary,
  remove,
  type Summary,
} from "./digest.ts";
import { QuorateError } from "./errors.ts";
import {
  isIntact,
  isTombstone,
  recordExpiresAtMs,
  recordValueBytes,
  recordVersion,
} from "./record.ts";
import type { Place, Ring } from "./ring.ts";
import {
  parseTableKey,
  storedKeyBytesMax,
  tableKey,
  tableKeyHeaderBytes,
  tablePartition,
} from "./store_entry.ts";
import { type MemoryEntry, Memtable } from "./store_memtable.ts";
import type { Table } from "./table.ts";
import { pairNumber, replicasMax } from "./topology.ts";
import type { Version } from "./version.ts";

/** A key with its place in the ring and in the table. */
export interface Spot {
  readonly namespaceNumber: number;
  readonly key: Uint8Array;
  readonly place: Place;
  readonly tableKey: Uint8Array;
}

/** What is held under a key. */
export type Held =
  | { readonly kind: "absent" }
  /** The bytes may be a view that the next call on the table overwrites. */
  | { readonly kind: "record"; readonly record: Uint8Array; readonly sequence: number }
  /** There are bytes, and they are not what was written for this key. */
  | { readonly kind: "damaged" };

/** What a checkpoint writes: it does not change any more. */
export interface Frozen {
  readonly memtable: Memtable;
  /** The last sequence in it. */
  readonly sequence: number;
  readonly summaries: ReadonlyMap<number, Summary>;
  /** Those of them that count a record which can no longer be read. */
  readonly unsummed: ReadonlySet<number>;
}

/** What of a partition is no longer lost. */
export interface Healing {
  readonly ns: readonly number[];
  /** `damagesOf` when the filling began. */
  readonly damages: number;
  readonly isWhole: boolean;
}

/** A walk that counts a partition again: all up to a key of the table is in its summary. */
export interface Recount {
  readonly summary: Summary;
  /** Whether the sums that were kept could be gone by when it began. */
  readonly wasSummed: boolean;
  upTo: Uint8Array | undefined;
}

/** 0: what the store keeps for itself, and namespaces that are not known. */
export const everyN: readonly number[] = Array.from({ length: replicasMax + 1 }, (_, n) => n);

export const absent: Held = { kind: "absent" };

export class StoreIndex {
  readonly ring: Ring;
  readonly table: Table;
  /** The n of a namespace; 0: not known. */
  readonly nOf: (namespaceNumber: number) => number;
  /** By partition. */
  readonly summaries: Summary[];
  /** Partitions whose summary counts a record that can no longer be read. */
  readonly unsummed = new Set<number>();
  /** Partitions in which a missing record cannot be told from a lost one. */
  readonly damaged = new Set<number>();
  /** Of these: where the namespaces of one n have got again what was lost; by `pairNumber`. */
  readonly healed = new Set<number>();
  /** Partitions that have, or are about to get, a summary in the table. */
  readonly written = new Set<number>();
  /** Partitions whose summary has to be written although no record of theirs changed. */
  readonly #resummed = new Set<number>();
  /** Partitions that are counted again, and how far: what changes up to there is counted too. */
  readonly #recounts = new Map<number, Recount>();
  /** How often something was found to be lost, by partition. */
  readonly #damages = new Map<number, number>();
  #active = new Memtable();
  #frozen: Memtable | undefined;
  /** Partitions whose summary is on its way into the table. */
  #underWay: ReadonlySet<number> = new Set();

  constructor(ring: Ring, table: Table, nOf: (namespaceNumber: number) => number = () => 0) {
    this.ring = ring;
    this.table = table;
    this.nOf = nOf;
    this.summaries = Array.from({ length: ring.partitions }, emptySummary);
  }

  get active(): Memtable {
    return this.#active;
  }

  get frozen(): Memtable | undefined {
    return this.#frozen;
  }

  spot(namespaceNumber: number, key: Uint8Array): Spot {
    const place = this.ring.place(namespaceNumber, key);
    return {
      namespaceNumber,
      key,
      place,
      tableKey: tableKey(place.partition, namespaceNumber, key),
    };
  }

  lookup(spot: Spot): Held {
    const inMemory = this.lookupMemory(spot);
    if (inMemory !== undefined) return inMemory;
    const { namespaceNumber, key } = spot;
    const bytes = this.#tableGet(spot.tableKey);
    if (bytes === "damaged") return { kind: "damaged" };
    if (bytes === undefined) return absent;
    if (!isIntact(bytes, namespaceNumber, key)) return { kind: "damaged" };
    return { kind: "record", record: bytes, sequence: 0 };
  }

  /** What the memtables say of a key; undefined when they say nothing. */
  lookupMemory({ tableKey, place }: Spot): Held | undefined {
    const { hashHigh } = place;
    const entry = this.#active.get(tableKey, hashHigh) ?? this.#frozen?.get(tableKey, hashHigh);
    if (entry === undefined) return undefined;
    const { record, sequence } = entry;
    return record === undefined ? absent : { kind: "record", record, sequence };
  }

  /** A table that meets a damaged page on the way to a key has the key no better than a damaged record. */
  #tableGet(key: Uint8Array): Uint8Array | undefined | "damaged" {
    try {
      return this.table.get(key);
    } catch (error) {
      if (error instanceof QuorateError && error.slug === "corruption") return "damaged";
      throw error;
    }
  }

  /**
   * Something of a partition is lost: of the namespaces of these n, which are not healed any more. What
   * was whole of the others stays so. Whether that was not known.
   */
  damage(partition: number, ns: readonly number[] = everyN): boolean {
    let isNew = !this.damaged.has(partition);
    if (isNew) for (const n of everyN) this.healed.add(pairNumber(partition, n));
    this.damaged.add(partition);
    for (const n of ns) if (this.healed.delete(pairNumber(partition, n))) isNew = true;
    this.#damages.set(partition, this.damagesOf(partition) + 1);
    return isNew;
  }

  /**
   * The namespaces of these n have again what the partition had lost; `isWhole`: so has all of it. False,
   * and nothing is changed, where more was found to be lost than `damages` times.
   */
  heal(partition: number, { ns, damages, isWhole }: Healing): boolean {
    if (this.damagesOf(partition) !== damages) return false;
    for (const n of ns) this.healed.add(pairNumber(partition, n));
    if (!isWhole) return true;
    this.damaged.delete(partition);
    for (const n of everyN) this.healed.delete(pairNumber(partition, n));
    return true;
  }

  /** How often `damage` was called of a partition: what is healed goes by it. */
  damagesOf(partition: number): number {
    return this.#damages.get(partition) ?? 0;
  }

  /** Whether something may be missing of the namespaces of one n. */
  isDamaged(partition: number, n: number): boolean {
    return this.damaged.has(partition) && !this.healed.has(pairNumber(partition, n));
  }

  /** From now on a summary is made of what a walk finds, beside the one that is kept. */
  beginRecount(partition: number): Recount {
    const wasSummed = !this.unsummed.has(partition);
    const recount = { summary: emptySummary(), wasSummed, upTo: undefined };
    this.#recounts.set(partition, recount);
    // A checkpoint that is begun before its end says that its sums are not to be gone by.
    this.unsummed.add(partition);
    return recount;
  }

  /**
   * Where the walk has come to its end, its summary is the partition's. Answers each n of which it found other
   * records than were written: nothing tells of that any more when the sums are those of what is left.
   */
  endRecount(partition: number, isWhole: boolean): readonly number[] {
    const recount = this.#recounts.get(partition);
    this.#recounts.delete(partition);
    if (recount === undefined || !isWhole) return [];
    const { summary, wasSummed } = recount;
    const differing = wasSummed
      ? differingSizes(this.summaries[partition] as Summary, summary)
      : [];
    this.summaries[partition] = summary;
    this.unsummed.delete(partition);
    this.#resummed.add(partition);
    return differing;
  }

  /** Makes `entry` the last change of the key; `before` is what `lookup` has just answered. */
  apply(spot: Spot, entry: MemoryEntry, before: Held): void {
    const { partition } = spot.place;
    const summary = this.summaries[partition] as Summary;
    // Only its first record asks for it: a topology may have many namespaces.
    const n = summary.tallies.get(spot.namespaceNumber)?.n ?? this.nOf(spot.namespaceNumber);
    const recount = this.#recounts.get(partition);
    const { upTo } = recount ?? {};
    const isCounted = upTo !== undefined && compare(spot.tableKey, upTo) <= 0;
    const summaries = isCounted && recount !== undefined ? [summary, recount.summary] : [summary];
    for (const each of summaries) {
      if (before.kind === "record") remove(each, elementOf(spot, before.record, n));
      if (entry.record !== undefined) add(each, elementOf(spot, entry.record, n));
    }
    if (before.kind === "damaged") this.unsummed.add(partition);
    this.#active.set(spot.tableKey, spot.place.hashHigh, entry);
  }

  /** Begins a new active memtable; the one before is the checkpoint's until `thaw`. */
  freeze(sequence: number): Frozen {
    assert(this.#frozen === undefined, "store: one checkpoint at a time");
    const memtable = this.#active;
    memtable.freeze();
    this.#frozen = memtable;
    this.#active = new Memtable();
    const summaries = new Map<number, Summary>();
    for (const partition of [...memtable.partitions, ...this.#resummed]) {
      const summary = this.summaries[partition];
      // A damaged key that is to go may name a partition that there is none of.
      if (summary !== undefined) summaries.set(partition, copySummary(summary));
    }
    for (const partition of summaries.keys()) this.written.add(partition);
    this.#underWay = new Set(summaries.keys());
    this.#resummed.clear();
    return { memtable, sequence, summaries, unsummed: new Set(this.unsummed) };
  }

  /** Takes a summary that a walk over the table gave; false while a memtable has changes to it. */
  resum(partition: number, summary: Summary): boolean {
    const memtables = [this.#active, this.#frozen];
    if (memtables.some((memtable) => memtable?.hasPartition(partition))) return false;
    this.summaries[partition] = summary;
    this.unsummed.delete(partition);
    this.#resummed.add(partition);
    return true;
  }

  /** Takes an entry that no summary counts out of the table, with the next checkpoint. */
  drop(tableKey: Uint8Array): void {
    this.#active.set(tableKey, this.#hashOf(tableKey), { record: undefined, sequence: 0 });
  }

  /** Whether a lookup of the key that the bytes name comes to them: else they are damaged. */
  isInPlace(tableKey: Uint8Array): boolean {
    return this.#placeOf(tableKey)?.partition === tablePartition(tableKey);
  }

  /** The hash with which a lookup of the key comes; any, where the bytes are no key at all. */
  #hashOf(tableKey: Uint8Array): number {
    return this.#placeOf(tableKey)?.hashHigh ?? 0;
  }

  #placeOf(tableKey: Uint8Array): Place | undefined {
    const keyBytes = tableKey.length - tableKeyHeaderBytes;
    if (keyBytes < 1 || keyBytes > storedKeyBytesMax) return undefined;
    const { namespaceNumber, key } = parseTableKey(tableKey);
    return this.ring.place(namespaceNumber, key);
  }

  /** The frozen memtable is in the table, visible and durable. */
  thaw(): void {
    this.#frozen = undefined;
    this.#underWay = new Set();
  }

  /** Whether a checkpoint is to bring the partition's summary, so that the table may have an older one, or none. */
  isSummaryDue(partition: number): boolean {
    return this.#resummed.has(partition) || this.#underWay.has(partition);
  }

  /** What is held of a partition for the namespaces of one n, synced or not. */
  digest(partition: number, n: number): Digest {
    return digestOf(this.summaries[partition] as Summary, n);
  }

  /** The namespaces of clients of which a record is here, deleted ones included. */
  namespaceNumbers(): readonly number[] {
    return [...new Set(this.summaries.flatMap(({ tallies }) => [...tallies.keys()]))];
  }

  /** Live records and the bytes of their values, of one namespace or of all. */
  tally(namespaceNumber?: number): { readonly keys: number; readonly bytes: number } {
    let keys = 0;
    let bytes = 0;
    for (const { tallies } of this.summaries) {
      for (const [number, tally] of tallies) {
        if (namespaceNumber !== undefined && number !== namespaceNumber) continue;
        keys += tally.keys;
        bytes += tally.bytes;
      }
    }
    return { keys, bytes };
  }
}

/** What a record adds to the summary of its partition; `n` is its namespace's. */
export function elementOf(
  spot: Omit<Spot, "tableKey" | "key">,
  record: Uint8Array,
  n: number,
): Element {
  return {
    namespaceNumber: spot.namespaceNumber,
    n,
    segment: spot.place.segment,
    keyHash: spot.place.hash,
    version: recordVersion(record),
    tombstone: isTombstone(record),
    isMortal: recordExpiresAtMs(record) !== undefined,
    valueBytes: recordValueBytes(record),
  };
}

export function heldVersion(held: Held): Version | undefined {
  return held.kind === "record" ? recordVersion(held.record) : undefined;
}
