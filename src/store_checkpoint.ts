/**
 * Store checkpoint: brings a frozen memtable into the table.
 *
 * The memtable goes over in bounded commits, whole partitions at a time: a partition's records, its
 * summary and the sequence that it now reaches are in one commit. Then one commit says that the
 * table reaches the sequence as a whole; a second one says it again, because LMDB keeps two meta
 * pages in turn, and opens silently at the older one when the newer is damaged. Only after both is the
 * log free to forget (D5).
 *
 *     commit [p 0..3] commit [p 4..9] … commit [reaches S] commit [reaches S]   release the log up to S
 *        |---- crash: S not reached: the log is replayed, but for partitions that reach it ---|
 *
 * Invariants
 * 1. After every commit, a partition's summary in the table sums the table's records of it.
 * 2. When it resolves, two flushed commits say that the table reaches the frozen sequence.
 *
 * Effects: Table. Source: rules D5, D6.
 *
 * @module
 */

import type { Clock } from "./capability.ts";
import { tablePartition } from "./store_entry.ts";
import type { Frozen } from "./store_index.ts";
import type { TableMeta } from "./store_meta.ts";
import { encodeMeta, encodePartitionMeta, metaKey, partitionMetaKey } from "./store_meta.ts";
import type { Table, TableChange } from "./table.ts";

/** A commit is made when so many bytes are ready: queueing more would hold up requests. */
const commitBytesMax = 256 * 1024;

export interface CheckpointOptions {
  readonly table: Table;
  readonly clock: Clock;
  readonly frozen: Frozen;
  /** What the table says of itself when it is done; its sequence is the frozen one. */
  readonly meta: TableMeta;
}

/** Writes everything. After a rejection the same frozen memtable can be given again. */
export async function writeCheckpoint(options: CheckpointOptions): Promise<void> {
  const { table, clock, frozen, meta } = options;
  let changes: TableChange[] = [];
  let bytes = 0;
  let partition = -1;
  const unwritten = new Map(frozen.summaries);
  const finishPartition = (): void => {
    const summary = unwritten.get(partition);
    if (summary === undefined) return;
    unwritten.delete(partition);
    const isUnsummed = frozen.unsummed.has(partition);
    const value = encodePartitionMeta({ sequence: frozen.sequence, summary, isUnsummed });
    changes.push({ key: partitionMetaKey(partition), value });
    bytes += value.length;
  };
  for (const { tableKey, record } of frozen.memtable.entries()) {
    const own = tablePartition(tableKey);
    if (own !== partition) {
      finishPartition();
      partition = own;
      if (bytes >= commitBytesMax) {
        await commitAndYield(table, clock, changes);
        changes = [];
        bytes = 0;
      }
    }
    changes.push({ key: tableKey, value: record });
    bytes += tableKey.length + (record?.length ?? 0);
  }
  finishPartition();
  // Summaries that were counted again, without a changed record.
  for (partition of [...unwritten.keys()]) finishPartition();
  await commitAndYield(table, clock, changes);
  await writeMeta(table, meta);
}

/** Says twice, durably, what the table is and how far it reaches (D5). */
export async function writeMeta(table: Table, meta: TableMeta): Promise<void> {
  for (const round of [1, 2]) {
    await table.commit([{ key: metaKey, value: encodeMeta(meta, round) }]);
    await table.flushed();
  }
}

async function commitAndYield(
  table: Table,
  clock: Clock,
  changes: readonly TableChange[],
): Promise<void> {
  await table.commit(changes);
  // Requests that became ready meanwhile go first.
  await new Promise<void>((resolve) => clock.soon(resolve));
}
