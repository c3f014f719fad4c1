/**
 * NodeWatermarkDrop: removes what a watermark allows: tombstones, and what has been over for a guard.
 *
 * Invariants
 * 1. Only what lies below a watermark that is on this node's disk is removed.
 * 2. What was written since it was seen stays.
 *
 * Effects: the store, time through a port. Source: rule G5.
 *
 * @module
 */

import type { Hlc } from "./hlc.ts";
import { isTombstone, recordExpiresAtMs, recordVersion } from "./record.ts";
import type { Store } from "./store.ts";
import { piecesOf } from "./store_pieces.ts";
import { isDroppable } from "./watermark.ts";

const pieceCount = 512;

export interface DropOptions {
  readonly store: Store;
  readonly partition: number;
  /** Their numbers: those with the n of the watermark. */
  readonly namespaces: readonly number[];
  readonly watermark: Hlc;
  readonly spend: (bytes: number) => Promise<void>;
  readonly mayGoOn: () => boolean;
}

export interface Dropped {
  /** How many records it removed. */
  readonly count: number;
  /** When the first of the records that stay is over; infinity: none of them has an end. */
  readonly nextOverMs: number;
}

/** Undefined when it was broken off. */
export async function dropBelow(options: DropOptions): Promise<Dropped | undefined> {
  const { store, partition, namespaces, watermark, spend, mayGoOn } = options;
  let count = 0;
  let nextOverMs = Number.POSITIVE_INFINITY;
  for (const namespaceNumber of namespaces) {
    for (const items of piecesOf(store, { partition, namespaceNumber, limit: pieceCount })) {
      const nowMs = store.mint.nowMs();
      const old = items.filter(
        ({ record }) => record !== undefined && isDroppable(headOf(record), watermark, nowMs),
      );
      const gone = new Set(old);
      for (const item of items) {
        if (item.record === undefined || gone.has(item)) continue;
        const overMs = recordExpiresAtMs(item.record) ?? Number.POSITIVE_INFINITY;
        nextOverMs = Math.min(nextOverMs, overMs);
      }
      if (old.length > 0) count += (await store.forget(old)).length;
      await spend(items.reduce((sum, { record }) => sum + (record?.length ?? 0), 0));
      if (!mayGoOn()) return undefined;
    }
  }
  return { count, nextOverMs };
}

/** What decides whether a record may be dropped. */
export function headOf(record: Uint8Array) {
  return {
    version: recordVersion(record),
    tombstone: isTombstone(record),
    expiresAtMs: recordExpiresAtMs(record),
  };
}
