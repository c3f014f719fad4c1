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

import { compare, fromLatin1, latin1 } from "./bytes.ts";
import { isIntact } from "./record.ts";
import { parseTableKey } from "./store_entry.ts";
import type { StoreIndex } from "./store_index.ts";
import type { Memtable } from "./store_memtable.ts";

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
  readonly name: string;
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
    name: latin1(key),
    record: value,
    sequence: 0,
  }));
  // The table's piece ends at its last key: the memtables count up to there only.
  const names = [latin1(start), latin1(end)] as const;
  const frozen = index.frozen === undefined ? [] : sources(index.frozen, names, range);
  const active = sources(index.active, names, range);
  const merged = mergeNewest([active, frozen, tableSources], reverse);
  const bounds = [
    boundOf(active, active.length < limit),
    boundOf(frozen, frozen.length < limit),
    boundOf(tableSources, tableIsDone),
  ].flatMap((bound) => (bound === undefined ? [] : [bound]));
  const within = merged.filter(({ name }) =>
    bounds.every((bound) => (reverse ? name >= bound : name <= bound)),
  );
  const taken = within.slice(0, limit);
  const last = taken.at(-1);
  return {
    items: taken.flatMap(asItem),
    more: bounds.length > 0 || within.length > taken.length,
    last: last === undefined ? undefined : fromLatin1(last.name),
  };
}

function tableReached(
  entries: readonly { readonly key: Uint8Array; readonly value: Uint8Array }[],
) {
  return entries.reduce((sum, { key, value }) => sum + key.length + value.length, 0);
}

function sources(
  memtable: Memtable,
  [start, end]: readonly [string, string],
  { reverse, limit }: ScanRange,
): Source[] {
  return memtable
    .range(start, end, reverse, limit)
    .map(([name, { record, sequence }]) => ({ name, record, sequence }));
}

/** How far a source was read; undefined when it was read to its end. */
function boundOf(read: readonly Source[], isDone: boolean): string | undefined {
  return isDone ? undefined : read.at(-1)?.name;
}

/** Merges sorted lists; of equal names the one from the earliest list stays. */
function mergeNewest(lists: readonly (readonly Source[])[], reverse: boolean): Source[] {
  const at = lists.map(() => 0);
  const merged: Source[] = [];
  for (;;) {
    let next: Source | undefined;
    for (let list = 0; list < lists.length; list += 1) {
      const candidate = lists[list]?.[at[list] as number];
      if (candidate === undefined) continue;
      const isBefore =
        next === undefined || (reverse ? candidate.name > next.name : candidate.name < next.name);
      if (isBefore) next = candidate;
    }
    if (next === undefined) return merged;
    merged.push(next);
    for (let list = 0; list < lists.length; list += 1) {
      if (lists[list]?.[at[list] as number]?.name === next.name)
        at[list] = (at[list] as number) + 1;
    }
  }
}

/** Forgotten keys are not there. */
function asItem({ name, record, sequence }: Source): ScanItem[] {
  if (record === undefined) return [];
  const tableKey = fromLatin1(name);
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
