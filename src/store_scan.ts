/**
 * Store scan: the records of a namespace in one partition, in order, memtables and table as one.
 *
 * Nothing stays open between two calls: each reads a piece from a given key on, and the caller goes
 * on after the last key that it got. So a scan is no snapshot, but a key that is there throughout is
 * met exactly once.
 *
 * Invariants
 * 1. Items come in the keys' order (downwards if asked), each key once, the newest change of each.
 * 2. A damaged record is an item without a record, never left out.
 *
 * Effects: reads the Table.
 *
 * @module
 */

import { compare } from "./bytes.ts";
import { isIntact } from "./record.ts";
import { parseTableKey } from "./store_entry.ts";
import type { StoreIndex } from "./store_index.ts";

/** The table is read in pieces of so many bytes. */
const tablePieceBytes = 256 * 1024;

export interface ScanRange {
  /** Table keys: start inclusive, end exclusive. */
  readonly start: Uint8Array;
  readonly end: Uint8Array;
  readonly reverse: boolean;
  /** At least 1. */
  readonly limit: number;
}

export interface ScanItem {
  readonly tableKey: Uint8Array;
  readonly namespaceNumber: number;
  readonly key: Uint8Array;
  /** The encoded record, intact; undefined when it is damaged. */
  readonly record: Uint8Array | undefined;
  /** 0 when it is in the table. */
  readonly sequence: number;
}

interface Source {
  readonly tableKey: Uint8Array;
  readonly record: Uint8Array | undefined;
  readonly sequence: number;
}

/**
 * Up to `limit` items. `more` is false when the range holds no more than these; otherwise the scan
 * goes on after the last table key that was looked at.
 */
export function scan(
  index: StoreIndex,
  range: ScanRange,
): { readonly items: ScanItem[]; readonly more: boolean; readonly last: Uint8Array | undefined } {
  const { start, end, reverse, limit } = range;
  const bytesMax = tablePieceBytes;
  const fromTable = index.table.range({ start, end, reverse, limit, bytesMax });
  const tableIsDone = fromTable.length < limit && tableReached(fromTable) < bytesMax;
  const tableSources = fromTable.map(({ key, value }) => ({
    tableKey: key,
    record: value,
    sequence: 0,
  }));
  // The table's piece ends at its last key: the memtables count up to there only.
  const frozen = index.frozen?.range(start, end, reverse, limit) ?? [];
  const active = index.active.range(start, end, reverse, limit);
  const merged = mergeNewest([active, frozen, tableSources], reverse);
  const bounds = [
    boundOf(active, active.length < limit),
    boundOf(frozen, frozen.length < limit),
    boundOf(tableSources, tableIsDone),
  ].flatMap((bound) => (bound === undefined ? [] : [bound]));
  const within = merged.filter(({ tableKey }) =>
    bounds.every((bound) => compare(tableKey, bound) * (reverse ? -1 : 1) <= 0),
  );
  const taken = within.slice(0, limit);
  const last = taken.at(-1);
  return {
    items: taken.flatMap(asItem),
    more: bounds.length > 0 || within.length > taken.length,
    last: last?.tableKey,
  };
}

function tableReached(
  entries: readonly { readonly key: Uint8Array; readonly value: Uint8Array }[],
) {
  return entries.reduce((sum, { key, value }) => sum + key.length + value.length, 0);
}

/** How far a source was read; undefined when it was read to its end. */
function boundOf(read: readonly Source[], isDone: boolean): Uint8Array | undefined {
  return isDone ? undefined : read.at(-1)?.tableKey;
}

/** Merges sorted lists; of equal keys the one from the earliest list stays. */
function mergeNewest(lists: readonly (readonly Source[])[], reverse: boolean): Source[] {
  const at = lists.map(() => 0);
  const merged: Source[] = [];
  for (;;) {
    let next: Source | undefined;
    for (let list = 0; list < lists.length; list += 1) {
      const candidate = lists[list]?.[at[list] as number];
      if (candidate === undefined) continue;
      const order = next === undefined ? -1 : compare(candidate.tableKey, next.tableKey);
      if (next === undefined || (reverse ? order > 0 : order < 0)) next = candidate;
    }
    if (next === undefined) return merged;
    merged.push(next);
    for (let list = 0; list < lists.length; list += 1) {
      const candidate = lists[list]?.[at[list] as number];
      if (candidate !== undefined && compare(candidate.tableKey, next.tableKey) === 0)
        at[list] = (at[list] as number) + 1;
    }
  }
}

/** Forgotten keys are not there. */
function asItem({ tableKey, record, sequence }: Source): ScanItem[] {
  if (record === undefined) return [];
  const { namespaceNumber, key } = parseTableKey(tableKey);
  // What lies in a memtable was checked or made by this process.
  const isWhole = sequence > 0 || isIntact(record, namespaceNumber, key);
  return [{ tableKey, namespaceNumber, key, record: isWhole ? record : undefined, sequence }];
}

/** Whether keys are in the order in which a scan gives them: for asserts and tests. */
export function isInOrder(items: readonly ScanItem[], reverse: boolean): boolean {
  return items.every((item, at) => {
    const before = items[at - 1];
    return before === undefined || compare(before.tableKey, item.tableKey) === (reverse ? 1 : -1);
  });
}
