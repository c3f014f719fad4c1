/**
 * StorePieces: all that a namespace has in one partition, a piece at a time, for who may wait in between.
 *
 * Invariants
 * 1. What was there from the first piece to the last is in one of them; what was written or forgotten
 *    meanwhile may be or not.
 * 2. What `removeAll` leaves, when it was not broken off, came behind its last walk.
 *
 * Effects: the store, through a port.
 *
 * @module
 */

import { emptyBytes, successor } from "./bytes.ts";

/** What is needed of the store. */
export interface PieceStore<Item> {
  scan(
    partition: number,
    namespaceNumber: number,
    piece: {
      readonly prefix: Uint8Array;
      readonly from?: Uint8Array | undefined;
      readonly reverse: boolean;
      readonly limit: number;
    },
  ): {
    readonly items: readonly Item[];
    readonly more: boolean;
    readonly last?: Uint8Array | undefined;
  };
}

export interface PieceRange {
  readonly partition: number;
  readonly namespaceNumber: number;
  /** Default: all keys. */
  readonly prefix?: Uint8Array;
  /** How many keys a piece looks at. */
  readonly limit: number;
}

/** Each piece's items; a piece of forgotten keys alone has none. */
export function* piecesOf<Item>(
  store: PieceStore<Item>,
  { partition, namespaceNumber, prefix = emptyBytes, limit }: PieceRange,
): Generator<readonly Item[]> {
  let from: Uint8Array | undefined;
  // A piece may hold nothing but keys that are forgotten already: `more` alone tells the end.
  for (let more = true; more; ) {
    const found = store.scan(partition, namespaceNumber, { prefix, from, reverse: false, limit });
    yield found.items;
    more = found.more && found.last !== undefined;
    if (found.last !== undefined) from = successor(found.last);
  }
}

/** What is needed to remove what was found; answers what is gone of it. */
export interface RemovingStore<Item> extends PieceStore<Item> {
  forget(items: readonly Item[]): Promise<readonly Item[]>;
}

/** So many keys are removed at a time. */
const removedCount = 500;

/**
 * Removes all that a namespace has in a partition, until `isOver` says so; whether there was anything.
 * @throws what the store does, where there is no room for the first of a piece
 */
export async function removeAll<Item>(
  store: RemovingStore<Item>,
  { partition, namespaceNumber }: Pick<PieceRange, "partition" | "namespaceNumber">,
  isOver: () => boolean,
): Promise<boolean> {
  let found = false;
  // Where there was no room for all of a piece, the rest of it is still there: from the begin again.
  for (let isPartly = true; isPartly; ) {
    isPartly = false;
    if (isOver()) return found;
    for (const items of piecesOf(store, { partition, namespaceNumber, limit: removedCount })) {
      if (items.length > 0) {
        const gone = await store.forget(items);
        found = true;
        if (gone.length < items.length) isPartly = true;
      }
      if (isOver()) return found;
    }
  }
  return found;
}
