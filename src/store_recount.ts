/**
 * Store recount: what a partition really holds, counted again while it changes.
 *
 * Where records were lost without a word the sums count them still, and would tell another replica that
 * they are there. A walk over memtables and table gives the true ones. What changes behind the walk is
 * counted as it changes (`StoreIndex.apply`), and what is damaged is removed: it has no version, so no
 * other replica's record would be compared with it.
 *
 *     a  b  c | d  e         c changes: now, in both sums       e changes: the walk will meet it
 *             ^ upTo
 *
 * Invariants
 * 1. When it resolves with true, the partition's sums are those of what it holds.
 * 2. What was written since the walk met it damaged stays.
 * 3. What is removed, or found to be gone, is told as lost for its n: a partition may be counted again for one n
 *    alone, and its sums were all that told of a loss of another. Of what is removed before that.
 *
 * Effects: the index, and the store through a port. Source: rules D6, I4.
 *
 * @module
 */

import { successor } from "./bytes.ts";
import { partitionRange } from "./store_entry.ts";
import { everyN, type StoreIndex } from "./store_index.ts";
import { ownNamespaces } from "./store_own.ts";
import { addRecord } from "./store_recover.ts";
import { type ScanItem, scan } from "./store_scan.ts";

const pieceCount = 500;
/** Of these the key tells enough: who keeps them deals with damaged ones, and counts them. */
const tellingKeys: ReadonlySet<number> = new Set([ownNamespaces.hints, ownNamespaces.repairMarks]);

export interface RecountOptions {
  /** Removes records for good, where they are still what the scan found. */
  readonly forget: (items: readonly ScanItem[]) => Promise<unknown>;
  /** Something of the namespaces of these n is lost, which may be known. */
  readonly onLost: (ns: readonly number[]) => void;
  /** Resolves when so many bytes more may be read. */
  readonly spend: (bytes: number) => Promise<void>;
  readonly mayGoOn: () => boolean;
}

/** False: `mayGoOn` said no, and the sums are as they were. @throws what the table and `forget` do */
export async function recount(
  index: StoreIndex,
  partition: number,
  { forget, onLost, spend, mayGoOn }: RecountOptions,
): Promise<boolean> {
  const walk = index.beginRecount(partition);
  let isWhole = false;
  try {
    let { start } = partitionRange(partition);
    const { end } = partitionRange(partition);
    for (;;) {
      if (!mayGoOn()) return false;
      const { items, more, last } = scan(index, { start, end, reverse: false, limit: pieceCount });
      const damaged = items.filter(({ tableKey: key, record: value }) => {
        return value === undefined || !addRecord(walk.summary, index, partition, { key, value });
      });
      // In the turn of the scan: what changes from here on is counted as it changes.
      walk.upTo = more ? last : end;
      // A key that does not belong where it lies is damaged too, and tells nothing.
      const gone = damaged.filter(({ namespaceNumber, tableKey }) => {
        return !tellingKeys.has(namespaceNumber) || !index.isInPlace(tableKey);
      });
      if (gone.length > 0) {
        onLost([...new Set(gone.flatMap((item) => sizesOf(index, item)))]);
        await forget(gone);
      }
      await spend(items.reduce((sum, { record }) => sum + (record?.length ?? 0), 0));
      if (!more || last === undefined) break;
      start = successor(last);
    }
    isWhole = true;
    return true;
  } finally {
    const differing = index.endRecount(partition, isWhole);
    if (differing.length > 0) onLost(differing);
  }
}

/** Of which n a damaged record was: nobody knows where its key is damaged too. */
function sizesOf(index: StoreIndex, { tableKey, namespaceNumber }: ScanItem): readonly number[] {
  return index.isInPlace(tableKey) ? [index.nOf(namespaceNumber)] : everyN;
}
