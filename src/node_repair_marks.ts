/**
 * NodeRepairMarks: partitions whose replicas differ in something that nobody keeps any more.
 *
 * Such a mark is made when a hint is dropped (H2), or when a read meets a record that a watermark overrules
 * (R2), and goes when the partition was compared with the store that it is for. It is durable, like a record.
 *
 *     mark  key: store id 16 | partition u16 | n u8      in a namespace of the store's own
 *
 * Invariants
 * 1. A mark goes only after a comparison that began after it was made last came to its end.
 * 2. One for which the disk has no room is kept in memory, and tried again.
 * 3. `add` answers true for what is on disk alone, however often it is made while a write of it is under way.
 *
 * Effects: Report; the store. Source: rule H2.
 *
 * @module
 */

import { isCount, isFields, isId, nonsense } from "./agreed.ts";
import { concat, emptyBytes, fromHex, toHex } from "./bytes.ts";
import type { Report } from "./capability.ts";
import { QuorateError } from "./errors.ts";
import type { Store } from "./store.ts";
import { ownNamespaces, writeOwn } from "./store_own.ts";
import { piecesOf } from "./store_pieces.ts";

export interface Mark {
  readonly storeId: string;
  readonly partition: number;
  readonly n: number;
}

const markNamespace = ownNamespaces.repairMarks;
const marksPiece = 256;
const markBytes = 19;

export class RepairMarks {
  readonly #store: Store;
  readonly #report: Report;
  readonly #marks = new Map<string, Mark>();
  /** Marks that are in memory alone: the disk had no room for them. */
  readonly #unkept = new Set<string>();
  /** Marks that are on their way to the disk. */
  readonly #keeping = new Map<string, Promise<boolean>>();
  /** Marks that were made again since their comparison began. */
  readonly #renewed = new Set<string>();

  constructor(store: Store, report: Report) {
    this.#store = store;
    this.#report = report;
    for (const { mark, isDamaged } of storedMarks(store)) {
      this.#marks.set(nameOf(mark), mark);
      // Its key tells all of it: it is written anew.
      if (isDamaged) this.#unkept.add(nameOf(mark));
    }
  }

  get count(): number {
    return this.#marks.size;
  }

  all(): readonly Mark[] {
    return [...this.#marks.values()];
  }

  /** Whether it is on disk; where there is no room it is kept in memory, and tried again. Never rejects. */
  add(mark: Mark): Promise<boolean> {
    // What a damaged key has told.
    if (mark.partition >= this.#store.partitions) return Promise.resolve(true);
    const name = nameOf(mark);
    if (this.#marks.has(name)) {
      this.#renewed.add(name);
      return this.#keeping.get(name) ?? Promise.resolve(!this.#unkept.has(name));
    }
    this.#marks.set(name, { ...mark });
    const keeping = this.#keep(mark).then(
      () => true,
      (error: unknown) => {
        this.#unkept.add(name);
        const why = QuorateError.from(error).detail;
        const { partition } = mark;
        this.#report.log("warn", "A mark for repair is not on disk yet.", { partition, why });
        return false;
      },
    );
    this.#keeping.set(name, keeping);
    return keeping.finally(() => {
      // One that was ended and made again meanwhile is on its way by a write of its own.
      if (this.#keeping.get(name) === keeping) this.#keeping.delete(name);
    });
  }

  /** As `add`, for another node that forgets it then: durable when it resolves. @throws what the store does */
  async take(mark: Mark): Promise<void> {
    const name = nameOf(mark);
    if (this.#marks.has(name)) this.#renewed.add(name);
    else this.#marks.set(name, mark);
    this.#unkept.add(name);
    await this.#keepAgain(name);
  }

  /** Tries again what found no room. @throws what the store does */
  async keepRest(): Promise<void> {
    for (const name of [...this.#unkept]) await this.#keepAgain(name);
  }

  async #keepAgain(name: string): Promise<void> {
    const mark = this.#marks.get(name);
    if (mark !== undefined) await this.#keep(mark);
    // One that was ended and made again meanwhile may have found no room.
    if (this.#marks.get(name) === mark) this.#unkept.delete(name);
  }

  /** What it stands for is compared from now on. */
  begin(mark: Mark): void {
    this.#renewed.delete(nameOf(mark));
  }

  /** The comparison came to its end: the mark goes, unless something else was missed meanwhile. */
  async end(mark: Mark): Promise<void> {
    const name = nameOf(mark);
    if (this.#renewed.has(name)) return;
    this.#marks.delete(name);
    const store = this.#store;
    const kept = { reverse: false, limit: 1, prefix: markKey(mark) };
    // Looked up in one turn: one that is made again from now on stays.
    const all = Array.from({ length: store.partitions }, (_, partition) => partition);
    await store.forget(
      all.flatMap((partition) => store.scan(partition, markNamespace, kept).items),
    );
  }

  /** Durable when it resolves. @throws what the store does */
  #keep(mark: Mark): Promise<void> {
    const own = { namespaceNumber: markNamespace, key: markKey(mark), value: emptyBytes };
    return writeOwn(this.#store, own);
  }
}

/** @throws `invalid-request` */
export function parseMark(raw: unknown): Mark {
  const { storeId, partition, n } = isFields(raw) ? raw : {};
  const isNear = isCount(partition) && partition < 2 ** 16 && isCount(n) && n > 0 && n < 2 ** 8;
  if (isId(storeId) && isNear) return { storeId, partition, n };
  throw nonsense("a mark for repair");
}

function nameOf({ storeId, partition, n }: Mark): string {
  return `${storeId} ${partition} ${n}`;
}

function markKey({ storeId, partition, n }: Mark): Uint8Array {
  const id = fromHex(storeId) ?? emptyBytes;
  return concat([id, Uint8Array.of(partition >> 8, partition & 0xff, n)]);
}

function storedMarks(
  store: Store,
): readonly { readonly mark: Mark; readonly isDamaged: boolean }[] {
  const marks: { readonly mark: Mark; readonly isDamaged: boolean }[] = [];
  for (let partition = 0; partition < store.partitions; partition += 1) {
    const range = { partition, namespaceNumber: markNamespace, limit: marksPiece };
    for (const { key, record } of [...piecesOf(store, range)].flat()) {
      if (key.length !== markBytes) continue;
      const mark = {
        storeId: toHex(key.subarray(0, 16)),
        partition: ((key[16] as number) << 8) | (key[17] as number),
        n: key[18] as number,
      };
      // A damaged key may tell of a partition that there is none of.
      if (mark.partition >= store.partitions) continue;
      marks.push({ mark, isDamaged: record === undefined });
    }
  }
  return marks;
}
