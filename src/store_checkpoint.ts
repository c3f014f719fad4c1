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
 * Where a partition is marked as damaged that was not, one more commit before all others says so: a record
 * or a summary that was damaged may be written over by what follows, and nothing else tells of the loss.
 *
 * Invariants
 * 1. After every commit, a partition's summary in the table sums the table's records of it.
 * 2. When it resolves, two flushed commits say that the table reaches the frozen sequence.
 * 3. Nothing that tells of a loss leaves the table before the mark of that loss is in it.
 *
 * Effects: Table. Source: rules D5, D6.
 *
 * @module
 */

import type { Clock } from "./capability.ts";
import { tablePartition } from "./store_entry.ts";
import type { Frozen } from "./store_index.ts";
import type { TableMeta } from "./store_meta.ts";
import {
  decodeMeta,
  encodeMeta,
  encodePartitionMeta,
  metaKey,
  partitionMetaKey,
} from "./store_meta.ts";
import type { Table, TableChange } from "./table.ts";
import { pairOf } from "./topology.ts";

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
  await writeMarks(table, meta);
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

/** Marks what the table has no mark of yet (invariant 3); what was healed goes with the last commit. */
async function writeMarks(table: Table, { damaged, healed }: TableMeta): Promise<void> {
  const bytes = table.get(metaKey);
  // A table that says nothing of itself is replayed from the beginning, and marked again.
  const before = bytes === undefined ? undefined : decodeMeta(bytes.slice());
  if (before === undefined) return;
  const wasDamaged = new Set(before.damaged);
  const isHealed = new Set(healed);
  const stillHealed = before.healed.filter((one) => {
    return isHealed.has(one) || !damaged.includes(pairOf(one).partition);
  });
  const added = damaged.filter((partition) => !wasDamaged.has(partition));
  if (added.length === 0 && stillHealed.length === before.healed.length) return;
  const addedHealed = healed.filter((one) => added.includes(pairOf(one).partition));
  const marked = {
    ...before,
    damaged: [...before.damaged, ...added].sort((a, b) => a - b),
    healed: [...stillHealed, ...addedHealed].sort((a, b) => a - b),
  };
  await table.commit([{ key: metaKey, value: encodeMeta(marked, 0) }]);
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
