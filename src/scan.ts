/**
 * Scan: the keys of a whole namespace in order, out of partitions that each have their own order.
 *
 * A hash spreads the keys, so a page of a list is a merge over all partitions: each gives its next
 * few keys, a heap finds the smallest, and a partition that runs out gives more. Nothing stays open
 * between pages; the next one begins after the last key.
 *
 *     p0: a d g …   p1: b c h …   p2: e f i …      heap -> a b c d e f …
 *
 * Invariants
 * 1. Keys come out in bytewise order (downwards if asked), each once.
 * 2. A key that is there throughout is met exactly once, whatever is written meanwhile.
 * 3. Only what a list shows is kept of a record while the page is made, never its value.
 * 4. Others pass after a bounded amount of work, also where nothing that is met is live.
 *
 * Effects: Clock (to let requests pass), and the scan of a store, or of replicas, through a port.
 * Source: Knuth, "The Art of Computer Programming", volume 3, section 5.4.1, for the merge.
 *
 * @module
 */

import { latin1, successor } from "./bytes.ts";
import type { Clock } from "./capability.ts";
import { QuorateError } from "./errors.ts";
import { decodeRecord, type StoredRecord } from "./record.ts";

/** A piece of a partition's keys. */
export interface ScannedPiece {
  readonly items: readonly {
    readonly key: Uint8Array;
    /** Undefined: it is damaged, or `shown` has what a list says of it. */
    readonly record: Uint8Array | undefined;
    readonly sequence: number;
    readonly shown?: Shown;
  }[];
  readonly more: boolean;
  readonly last: Uint8Array | undefined;
  readonly isDamaged: boolean;
}

/** A record without its value. */
export type Shown = Omit<StoredRecord, "value" | "meta"> & { readonly valueBytes: number };

/** Which piece is wanted. */
export interface ScanPiece {
  readonly prefix: Uint8Array;
  /** Table keys that narrow it: from inclusive, to exclusive. */
  readonly from?: Uint8Array | undefined;
  readonly to?: Uint8Array | undefined;
  readonly reverse: boolean;
  readonly limit: number;
}

/** What is needed of a store, or of the replicas of all partitions. */
export interface ScanSource {
  readonly partitions: number;
  /** So many partitions are read side by side, where reading one is mostly waiting; undefined: one. */
  readonly readsAtOnce?: number;
  /** Whether a piece was read from fewer than a majority of its replicas; undefined: none was. */
  readonly isWeak?: boolean;
  scan(
    partition: number,
    namespaceNumber: number,
    piece: ScanPiece,
  ): ScannedPiece | Promise<ScannedPiece>;
  /** The table's key of a key in a partition. */
  tableKey(partition: number, namespaceNumber: number, key: Uint8Array): Uint8Array;
}

export interface ScanPlan {
  readonly namespaceNumber: number;
  readonly prefix: Uint8Array;
  /** Inclusive. */
  readonly start?: Uint8Array | undefined;
  /** Exclusive. */
  readonly end?: Uint8Array | undefined;
  readonly reverse: boolean;
  /** How many keys each partition gives at a time. */
  readonly pieceCount: number;
  /** Whether a record is shown. */
  readonly isLive: (record: StoredRecord) => boolean;
  /** Asked whenever others have passed: whether nobody waits for the rest any more. */
  readonly isOver?: () => boolean;
}

/** A live key and what a list says of it. */
export interface Found {
  readonly key: Uint8Array;
  /** The key as text of one character a byte. */
  readonly name: string;
  /** Its value is empty: see invariant 3. */
  readonly record: StoredRecord;
  readonly valueBytes: number;
  /** 0 when the change is in the table. */
  readonly sequence: number;
}

/** Work before other requests may pass: a record is 1, and a piece of a partition so many more. */
const workBetweenTurns = 2048;
const pieceWork = 64;
/** A piece in which nothing was live makes the next one twice as large, up to this. */
const pieceCountMax = 512;
const noValue = new Uint8Array(0);

/** One partition's keys, read piece by piece. */
class PartitionCursor {
  readonly #source: ScanSource;
  readonly #plan: ScanPlan;
  readonly #partition: number;
  #from: Uint8Array | undefined;
  #to: Uint8Array | undefined;
  #ready: Found[] = [];
  #at = 0;
  #isDone = false;
  #pieceCount: number;

  constructor(source: ScanSource, plan: ScanPlan, partition: number) {
    this.#source = source;
    this.#plan = plan;
    this.#pieceCount = plan.pieceCount;
    this.#partition = partition;
    const { namespaceNumber, start, end } = plan;
    if (start !== undefined) this.#from = source.tableKey(partition, namespaceNumber, start);
    if (end !== undefined) this.#to = source.tableKey(partition, namespaceNumber, end);
  }

  /** Whether a piece has to be read before `head` says anything. */
  get needsPiece(): boolean {
    return this.#at >= this.#ready.length && !this.#isDone;
  }

  /** The next key, without taking it; undefined at the end. */
  get head(): Found | undefined {
    return this.#ready[this.#at];
  }

  take(): void {
    this.#at += 1;
  }

  /** Reads a piece; answers how many records were met in it. */
  read(): number | Promise<number> {
    const { namespaceNumber, prefix, reverse } = this.#plan;
    const limit = this.#pieceCount;
    const piece = { prefix, from: this.#from, to: this.#to, reverse, limit };
    const found = this.#source.scan(this.#partition, namespaceNumber, piece);
    if (found instanceof Promise) return found.then((scanned) => this.#take(scanned));
    return this.#take(found);
  }

  #take(found: ScannedPiece): number {
    const { reverse, isLive } = this.#plan;
    const limit = this.#pieceCount;
    if (found.isDamaged) throw damagedPartition(this.#partition);
    this.#ready = [];
    this.#at = 0;
    for (const { key, record, sequence, shown: listed } of found.items) {
      if (listed !== undefined) {
        const whole = { ...listed, meta: [], value: noValue };
        const { valueBytes } = listed;
        if (isLive(whole))
          this.#ready.push({ key, name: latin1(key), record: whole, valueBytes, sequence });
        continue;
      }
      if (record === undefined) throw damagedPartition(this.#partition);
      const decoded = decodeRecord(record);
      if (!isLive(decoded)) continue;
      const valueBytes = decoded.value.length;
      const shown = { ...decoded, value: noValue };
      this.#ready.push({ key, name: latin1(key), record: shown, valueBytes, sequence });
    }
    this.#isDone = !found.more;
    if (this.#ready.length === 0) {
      this.#pieceCount = Math.max(limit, Math.min(2 * limit, pieceCountMax));
    }
    if (found.last !== undefined) {
      if (reverse) this.#to = found.last;
      else this.#from = successor(found.last);
    }
    return found.items.length;
  }
}

/** Live keys in order; ends when the consumer stops or there are no more. */
export async function* scanAll(
  source: ScanSource,
  plan: ScanPlan,
  clock: Clock,
): AsyncGenerator<Found, void, void> {
  const heap = new Heap(plan.reverse);
  let work = 0;
  /** The next key of a partition; false when nobody waits for it any more. */
  const nextOf = async (cursor: PartitionCursor): Promise<Found | undefined | false> => {
    while (cursor.needsPiece) {
      const read = cursor.read();
      const met = read instanceof Promise ? await read : read;
      // Only now: `work += await` would write over what others have done meanwhile.
      work += pieceWork + met;
      if (work < workBetweenTurns) continue;
      work = 0;
      await turn(clock);
      if (plan.isOver?.() === true) return false;
    }
    return cursor.head;
  };
  let partition = 0;
  let isOver = false;
  /** The first keys of the partitions that nobody reads yet, one after the other. */
  const readFirst = async (): Promise<void> => {
    while (partition < source.partitions && !isOver) {
      const cursor = new PartitionCursor(source, plan, partition);
      partition += 1;
      const head = await nextOf(cursor);
      if (head === false) isOver = true;
      else if (head !== undefined) heap.push({ head, cursor });
    }
  };
  const readers = Array.from({ length: source.readsAtOnce ?? 1 }, readFirst);
  await Promise.all(readers).catch((error: unknown) => {
    // The others read no further.
    isOver = true;
    throw error;
  });
  if (isOver) return;
  for (let leader = heap.top; leader !== undefined; leader = heap.top) {
    yield leader.head;
    leader.cursor.take();
    const { cursor } = leader;
    const head = cursor.needsPiece ? await nextOf(cursor) : cursor.head;
    if (head === false) return;
    if (head === undefined) heap.pop();
    else heap.replaceTop({ head, cursor });
  }
}

/** Lets what is ready pass. */
export function turn(clock: Clock): Promise<void> {
  return new Promise((resolve) => clock.soon(resolve));
}

function damagedPartition(partition: number): QuorateError {
  return new QuorateError(
    "corruption",
    `Partition ${partition} has lost records, and this is its only copy: a list or count would leave them out.`,
    {
      hint: "Read single keys, restore a copy of the data folder, or take the loss as final: start with --accept-data-loss.",
    },
  );
}

interface Leader {
  readonly head: Found;
  readonly cursor: PartitionCursor;
}

/** A binary heap of partitions by their next key. */
class Heap {
  readonly #isReverse: boolean;
  readonly #nodes: Leader[] = [];

  constructor(isReverse: boolean) {
    this.#isReverse = isReverse;
  }

  get top(): Leader | undefined {
    return this.#nodes[0];
  }

  push(leader: Leader): void {
    let at = this.#nodes.length;
    this.#nodes.push(leader);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#isBefore(at, parent)) return;
      this.#swap(at, parent);
      at = parent;
    }
  }

  pop(): void {
    const last = this.#nodes.pop();
    if (last !== undefined && this.#nodes.length > 0) this.replaceTop(last);
  }

  replaceTop(leader: Leader): void {
    this.#nodes[0] = leader;
    let at = 0;
    for (;;) {
      const left = 2 * at + 1;
      let first = at;
      if (left < this.#nodes.length && this.#isBefore(left, first)) first = left;
      if (left + 1 < this.#nodes.length && this.#isBefore(left + 1, first)) first = left + 1;
      if (first === at) return;
      this.#swap(at, first);
      at = first;
    }
  }

  #isBefore(a: number, b: number): boolean {
    const one = (this.#nodes[a] as Leader).head.name;
    const other = (this.#nodes[b] as Leader).head.name;
    return this.#isReverse ? one > other : one < other;
  }

  #swap(a: number, b: number): void {
    const kept = this.#nodes[a] as Leader;
    this.#nodes[a] = this.#nodes[b] as Leader;
    this.#nodes[b] = kept;
  }
}
