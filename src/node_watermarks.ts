/**
 * NodeWatermarks: what this store has promised, and up to where it agrees with the others, durably.
 *
 *     key: partition u16 | n u8      value: promise u64 | watermark u64      in a namespace of the store's own
 *
 * The ring gives that record a place like any other: mostly in another partition than the one it is about.
 * Where that one has lost something the promise may be lost, so this one has no data either: filling it
 * begins with the highest watermark of the others.
 *
 * Invariants
 * 1. What is refused by a promise is refused from the moment of the call; the promise is durable when
 *    the call resolves.
 * 2. What is on the disk never goes back: writes of one partition come one after the other.
 * 3. What was filled tells no promise of before: a round that is under way may have compared what was lost, and
 *    what it gave to the others is not all here. It refuses by that promise all the same.
 * 4. Where a promise may be forgotten, the store is marked as damaged for that pair.
 *
 * Effects: the store. Source: rules G2, G5, I4; promise P4.
 *
 * @module
 */

import type { Hlc } from "./hlc.ts";
import { decodeRecord } from "./record.ts";
import type { Pair } from "./repair_digest.ts";
import type { Store } from "./store.ts";
import { ownNamespaces, writeOwn } from "./store_own.ts";
import { piecesOf } from "./store_pieces.ts";
import { pairNumber, pairOf } from "./topology.ts";
import { adopted, type Fence, noFence, promised } from "./watermark.ts";

export const watermarkNamespace: number = ownNamespaces.watermarks;
const pieceCount = 256;
const keyBytes = 3;
/** What a store keeps for itself is of no namespace, and has the n of none. */
export const ownN = 0;
const valueBytes = 16;

export class NodeWatermarks {
  readonly store: Store;
  readonly #fences = new Map<number, Fence>();
  /** By pair: the last write, which the next one waits for. */
  readonly #writes = new Map<number, Promise<void>>();
  /** What is on the disk. */
  readonly #kept = new Map<number, Fence>();
  /** Pairs that were filled since they promised. */
  readonly #lapsed = new Set<number>();

  /** `sizes`: each n in use, where others have what this store has. */
  constructor(store: Store, sizes: readonly number[] = []) {
    this.store = store;
    for (const { partition, n, fence } of storedFences(store)) {
      this.#fences.set(pairNumber(partition, n), fence);
      this.#kept.set(pairNumber(partition, n), fence);
    }
    this.#markForgotten(sizes);
  }

  of(partition: number, n: number): Fence {
    return this.#fences.get(pairNumber(partition, n)) ?? noFence;
  }

  /** Partitions of which something was promised: a delete may be gone without a trace. */
  get count(): number {
    return this.#fences.size;
  }

  /** What is on the disk: what a later start goes by. Of what has lapsed the watermark alone. */
  kept(partition: number, n: number): Fence {
    const id = pairNumber(partition, n);
    const kept = this.#kept.get(id) ?? noFence;
    return this.#lapsed.has(id) ? { ...kept, promise: kept.watermark } : kept;
  }

  /** It was filled: it stands by no round that has begun (G2); the next promise is told again. */
  lapse(partition: number, n: number): void {
    this.#lapsed.add(pairNumber(partition, n));
  }

  /** From now on nothing below `stamp` is taken of coordinators; durable when it resolves. */
  promise(partition: number, n: number, stamp: Hlc): Promise<void> {
    this.#lapsed.delete(pairNumber(partition, n));
    return this.#raise(partition, n, promised(this.of(partition, n), stamp));
  }

  /** All replicas are known to hold the same below `stamp`; durable when it resolves. */
  adopt(partition: number, n: number, stamp: Hlc): Promise<void> {
    return this.#raise(partition, n, adopted(this.of(partition, n), stamp));
  }

  /** What lies in a partition that has lost something is written again, before it counts as whole. */
  async keepAgain(home: number): Promise<void> {
    const lying = [...this.#fences.keys()].filter((id) => homeOf(this.store, pairOf(id)) === home);
    for (const id of lying) this.#kept.delete(id);
    await Promise.all(
      lying.map((id) => {
        const { partition, n } = pairOf(id);
        return this.#raise(partition, n, this.of(partition, n));
      }),
    );
  }

  /** Only where own records may be lost: so a mark made here brings about no other one. */
  #markForgotten(sizes: readonly number[]): void {
    const { store } = this;
    const lossy = new Set(store.damagedPartitions.filter((one) => store.isDamaged(one, ownN)));
    if (lossy.size === 0) return;
    for (let partition = 0; partition < store.partitions; partition += 1) {
      // One that is there may be older than the last one.
      const lost = sizes.filter((n) => n > 1 && lossy.has(homeOf(store, { partition, n })));
      if (lost.length > 0) store.markLost(partition, lost, "a promise of it may be lost");
    }
  }

  async #raise(partition: number, n: number, fence: Fence): Promise<void> {
    const id = pairNumber(partition, n);
    this.#fences.set(id, fence);
    const before = this.#writes.get(id) ?? Promise.resolve();
    const writing = before.catch(() => {}).then(() => this.#keep(partition, n));
    this.#writes.set(id, writing);
    try {
      await writing;
    } finally {
      if (this.#writes.get(id) === writing) this.#writes.delete(id);
    }
  }

  async #keep(partition: number, n: number): Promise<void> {
    const id = pairNumber(partition, n);
    const kept = this.#kept.get(id) ?? noFence;
    const fence = this.of(partition, n);
    if (kept.promise >= fence.promise && kept.watermark >= fence.watermark) return;
    const key = keyOf({ partition, n });
    const value = encodeFence(fence);
    await writeOwn(this.store, { namespaceNumber: watermarkNamespace, key, value });
    this.#kept.set(id, fence);
  }
}

function keyOf({ partition, n }: Pair): Uint8Array {
  return Uint8Array.of(partition >> 8, partition & 0xff, n);
}

/** The partition in which the record of a pair lies. */
function homeOf(store: Store, pair: Pair): number {
  return store.partitionOf(watermarkNamespace, keyOf(pair));
}

function encodeFence({ promise, watermark }: Fence): Uint8Array {
  const value = new Uint8Array(valueBytes);
  const view = new DataView(value.buffer);
  view.setBigUint64(0, promise);
  view.setBigUint64(8, watermark);
  return value;
}

/** The pair and fence in a record of the namespace; undefined for what is none. */
export function decodeFence(
  key: Uint8Array,
  record: Uint8Array,
): { readonly partition: number; readonly n: number; readonly fence: Fence } | undefined {
  if (key.length !== keyBytes) return undefined;
  const { value } = decodeRecord(record);
  if (value.length !== valueBytes) return undefined;
  const view = new DataView(value.buffer, value.byteOffset, valueBytes);
  const fence = {
    promise: view.getBigUint64(0) as Hlc,
    watermark: view.getBigUint64(8) as Hlc,
  };
  return { partition: ((key[0] as number) << 8) | (key[1] as number), n: key[2] as number, fence };
}

function* storedFences(store: Store) {
  for (let partition = 0; partition < store.partitions; partition += 1) {
    const range = { partition, namespaceNumber: watermarkNamespace, limit: pieceCount };
    for (const { key, record } of [...piecesOf(store, range)].flat()) {
      const one = record === undefined ? undefined : decodeFence(key, record);
      if (one !== undefined) yield one;
    }
  }
}
