/**
 * Store recover: from what lies in a folder to an index that can be trusted, or a refusal that says why.
 *
 * The table is read first: how far it reaches, as a whole and in each partition, with their
 * summaries. Then the log is replayed above that. Then the two are held against each other and
 * against what the folder's identity remembers: what is missing in between is either known to be
 * lost, by partition, or any partition may lack it. Then all are marked, and filled from others; where
 * here is the only copy the start is refused.
 *
 * Invariants
 * 1. A change is applied once: sequences below what its partition reaches are skipped.
 * 2. Nothing is served from a folder that lost acknowledged writes without a mark, unless its
 *    operator has accepted that.
 *
 * Effects: Disk (through the log), Table, Report. Source: rules D2, D5, D6, I4.
 *
 * @module
 */

import { successor } from "./bytes.ts";
import type { Disk, Report } from "./capability.ts";
import { add, emptySummary, type Summary, sameSummary } from "./digest.ts";
import { QuorateError } from "./errors.ts";
import type { Hlc } from "./hlc.ts";
import { isIntact } from "./record.ts";
import type { Ring } from "./ring.ts";
import {
  type Change,
  parseChange,
  parseTableKey,
  partitionRange,
  storedKeyBytesMax,
  tableKeyHeaderBytes,
} from "./store_entry.ts";
import { absent, elementOf, type Held, StoreIndex } from "./store_index.ts";
import {
  decodeMeta,
  decodePartitionMeta,
  metaKey,
  partitionMetaKey,
  type TableMeta,
  tableFormat,
} from "./store_meta.ts";
import type { Table } from "./table.ts";
import { type Recovery, recoverWal } from "./wal_open.ts";

const walkChunkBytes = 1024 * 1024;

export interface RecoverOptions {
  readonly disk: Disk;
  readonly report: Report;
  readonly table: Table;
  readonly ring: Ring;
  /** The n of a namespace; 0: not known. */
  readonly nOf?: ((namespaceNumber: number) => number) | undefined;
  readonly clusterId: string;
  /** 32 hex digits. */
  readonly storeId: string;
  readonly storeIdBytes: Uint8Array;
  /** The least that the log and the table must reach together. */
  readonly sequence: number;
  /** Whether a log has to be there. */
  readonly needsLog: boolean;
  readonly acceptDataLoss: boolean;
  /** Whether nobody else has it: then a loss is not started with unless it is accepted. */
  readonly isOnlyCopy: boolean;
}

export interface Recovered {
  readonly index: StoreIndex;
  readonly wal: Recovery;
  /** What the table says of itself. */
  readonly meta: TableMeta;
  /** No change was given a higher sequence. Above the log's last one when its end was lost. */
  readonly highest: number;
  /** Marks or summaries are others, or a loss was accepted: durable before anything is served. */
  readonly marksChanged: boolean;
  /** What is lost, or was cut, may have held the highest ceiling of the clock (V1). */
  readonly isCeilingLost: boolean;
}

/** @throws `wrong-data-folder`, and `corruption` when acknowledged writes are missing */
export async function recover(options: RecoverOptions): Promise<Recovered> {
  const { table, ring, nOf, acceptDataLoss } = options;
  const index = new StoreIndex(ring, table, nOf);
  const meta = readMeta(options);
  for (const partition of meta.damaged) index.damaged.add(partition);
  for (const one of meta.healed) index.healed.add(one);
  for (const partition of meta.written) index.written.add(partition);
  const { reached, empty, isRecounted } = readPartitions(options, index, meta.sequence);
  const lostInTable = index.damaged.size;
  const unreadable = acceptDataLoss ? takeTableAsFinal(options, index) : [];
  const wal = await replay(options, index, { meta, reached, empty });
  refuseUnread(options, wal);
  const highest = Math.max(wal.last, options.sequence, ...reached);
  const isShort = refuseLoss(options, meta, wal, highest);
  for (const said of wal.missing) {
    options.report.log("error", said, { hint: "What it held is lost; all partitions are marked." });
    for (const partition of index.summaries.keys()) index.damage(partition);
  }
  if (isShort && !acceptDataLoss) {
    for (const partition of index.summaries.keys()) index.damage(partition);
  }
  for (const { first, last, partitions } of wal.lost) {
    options.report.sometimes("store: acknowledged writes are lost");
    options.report.log("error", "Acknowledged writes are missing from the log.", {
      sequences: `${first} to ${last}`,
      partitions: partitions === undefined ? "any" : partitions,
      hint: "Keys of these partitions that are not found answer 500 corruption; --accept-data-loss takes the loss as final.",
    });
    for (const partition of partitions ?? index.summaries.keys()) index.damage(partition);
  }
  const isAccepted = acceptDataLoss && (index.damaged.size > 0 || lostInTable > 0 || isShort);
  if (isAccepted) {
    options.report.log("warn", "The loss of data was accepted: what is not found is not there.", {
      partitions: [...index.damaged],
    });
    index.damaged.clear();
    index.healed.clear();
    for (const partition of unreadable) index.damage(partition);
  }
  const before = new Set(meta.damaged);
  const marksChanged =
    isAccepted ||
    isRecounted ||
    before.size !== index.damaged.size ||
    meta.healed.length !== index.healed.size ||
    [...index.damaged].some((one) => !before.has(one));
  const isMetaLost = meta.ceiling === 0n && table.get(metaKey) !== undefined;
  const isLogWhole = wal.torn === undefined && wal.lost.length + wal.missing.length === 0;
  const isCeilingLost = isMetaLost || isShort || !isLogWhole;
  return { index, wal, meta, highest, marksChanged, isCeilingLost };
}

/**
 * What the damaged partitions of the table still hold is from now on all that they hold: counted
 * again, without the records that are damaged. Otherwise the next scrub would find the same loss.
 * Answers the partitions that cannot be walked: these stay damaged.
 */
function takeTableAsFinal({ report }: RecoverOptions, index: StoreIndex): number[] {
  return [...index.damaged].filter((partition) => {
    try {
      const { summary, damaged } = sumPartition(index, partition);
      index.resum(partition, summary);
      for (const key of damaged) index.drop(key);
      return false;
    } catch (error) {
      if (!(error instanceof QuorateError) || error.slug !== "corruption") throw error;
      report.log("error", "A damaged partition cannot be counted again: it stays damaged.", {
        partition,
        error,
      });
      return true;
    }
  });
}

function readMeta(options: RecoverOptions): TableMeta {
  const { table, storeId, clusterId } = options;
  const bytes = table.get(metaKey);
  const fresh = { format: tableFormat, storeId, clusterId, sequence: 0, ceiling: 0n as Hlc };
  if (bytes === undefined) return { ...fresh, damaged: [], healed: [], written: [] };
  const meta = decodeMeta(bytes.slice());
  if (meta === undefined) {
    // Without it nobody knows how far the table reaches; the log alone may still have everything.
    options.report.log("error", "The table's own description is damaged; the log is replayed.");
    return { ...fresh, damaged: [...options.ring.all()], healed: [], written: [] };
  }
  if (meta.format !== tableFormat || meta.storeId !== storeId || meta.clusterId !== clusterId) {
    throw new QuorateError(
      "wrong-data-folder",
      meta.format === tableFormat
        ? "The table in the data folder was written by another store."
        : `The table has format ${meta.format}, and this version of the program reads format ${tableFormat}.`,
      { hint: "Files of two data folders were mixed, or the program is older than its data." },
    );
  }
  return meta;
}

/** What the table says of itself and of its partitions. */
interface Reached {
  readonly meta: TableMeta;
  /** By partition: the sequence that it reaches. */
  readonly reached: readonly number[];
  /** Partitions that were walked and hold nothing. */
  readonly empty: ReadonlySet<number>;
  /** Summaries of an older format were counted again. */
  readonly isRecounted: boolean;
}

/** Reads every partition's summary. */
function readPartitions(
  options: RecoverOptions,
  index: StoreIndex,
  whole: number,
): Omit<Reached, "meta"> {
  const { table, report } = options;
  const empty = new Set<number>();
  let isRecounted = false;
  const reached = index.summaries.map((_, partition) => {
    const bytes = table.get(partitionMetaKey(partition));
    const meta = bytes === undefined ? undefined : decodePartitionMeta(bytes.slice());
    if (bytes !== undefined) index.written.add(partition);
    if (meta !== undefined) {
      if (meta.isUnsummed) index.unsummed.add(partition);
      index.summaries[partition] = meta.summary;
      if (!meta.summary.isSplit) {
        isRecounted = true;
        splitSums(options, index, partition);
      }
      return Math.max(whole, meta.sequence);
    }
    const { summary, damaged, count } = sumPartition(index, partition);
    index.summaries[partition] = summary;
    const isEmpty = summary.records + damaged.length === 0;
    // Of what a store keeps for itself the summary says nothing.
    if (count === 0) empty.add(partition);
    if (isEmpty && !index.written.has(partition)) return whole;
    report.log("error", "A partition's summary is damaged or missing; it was counted again.", {
      partition,
      records: summary.records,
    });
    index.damage(partition);
    return whole;
  });
  return { reached, empty, isRecounted };
}

/**
 * Counts a partition again whose sums are of format 1, which did not part them by n. As a scrub does,
 * it compares what it finds with what was committed, and marks the partition where they differ.
 */
function splitSums({ report }: RecoverOptions, index: StoreIndex, partition: number): void {
  const before = index.summaries[partition] as Summary;
  const isUnsummed = index.unsummed.has(partition);
  const { summary, damaged } = sumPartition(index, partition);
  index.resum(partition, summary);
  if (damaged.length === 0 && (isUnsummed || sameSummary(summary, before))) return;
  index.damage(partition);
  report.log("error", "A partition holds other records than were written.", {
    partition,
    records: summary.records,
    damaged: damaged.length,
  });
}

/** Sums what a partition of the table really holds; the table's keys of what is damaged in it. */
function sumPartition(
  index: StoreIndex,
  partition: number,
): { readonly summary: Summary; readonly damaged: readonly Uint8Array[]; readonly count: number } {
  const summary = emptySummary();
  let count = 0;
  const damaged: Uint8Array[] = [];
  let { start } = partitionRange(partition);
  const { end } = partitionRange(partition);
  for (;;) {
    const entries = index.table.range({ start, end, limit: 10_000, bytesMax: walkChunkBytes });
    const last = entries.at(-1);
    if (last === undefined) return { summary, damaged, count };
    count += entries.length;
    for (const { key, value } of entries) {
      if (!addRecord(summary, index, partition, { key, value })) damaged.push(key);
    }
    start = successor(last.key);
  }
}

/** Adds a table's entry to a summary; false when its record is damaged or in the wrong partition. */
export function addRecord(
  summary: Summary,
  { ring, nOf }: Pick<StoreIndex, "ring" | "nOf">,
  partition: number,
  { key: tableKey, value: record }: { readonly key: Uint8Array; readonly value: Uint8Array },
): boolean {
  if (tableKey.length <= tableKeyHeaderBytes) return false;
  const { namespaceNumber, key } = parseTableKey(tableKey);
  if (key.length > storedKeyBytesMax || !isIntact(record, namespaceNumber, key)) return false;
  const place = ring.place(namespaceNumber, key);
  if (place.partition !== partition) return false;
  const n = summary.tallies.get(namespaceNumber)?.n ?? nOf(namespaceNumber);
  add(summary, elementOf({ namespaceNumber, place }, record, n));
  return true;
}

async function replay(
  options: RecoverOptions,
  index: StoreIndex,
  { meta, reached, empty }: Omit<Reached, "isRecounted">,
): Promise<Recovery> {
  const { disk, report, storeIdBytes, isOnlyCopy } = options;
  return recoverWal({
    disk,
    report,
    storeId: storeIdBytes,
    checkpointSequence: meta.sequence,
    apply: ({ partition, payload }, sequence) => {
      if (sequence <= (reached[partition] ?? 0)) return;
      const change = parseChange(payload);
      const before = change && applyChange(index, empty, change, sequence);
      if (before === undefined) {
        report.log("error", "An entry of the log is damaged although its batch is whole.", {
          sequence,
          partition,
        });
        index.damage(partition);
      }
      // It was marked when the change was made, and the mark may not have come to the table.
      if (before?.kind === "damaged" && !isOnlyCopy) index.damage(partition);
    },
  });
}

/** What the key held before; undefined when the change cannot be one that this store wrote. */
function applyChange(
  index: StoreIndex,
  empty: ReadonlySet<number>,
  change: Change,
  sequence: number,
): Held | undefined {
  const { namespaceNumber, key, record } = change;
  if (record !== undefined && !isIntact(record, namespaceNumber, key)) return undefined;
  const spot = index.spot(namespaceNumber, key);
  // Nothing is in the table yet where a partition of it is empty: only the memtable can have more.
  const before = empty.has(spot.place.partition)
    ? (index.lookupMemory(spot) ?? absent)
    : index.lookup(spot);
  index.apply(spot, { record, sequence }, before);
  return before;
}

/**
 * What is cut because the disk cannot read it may have been acknowledged, and the fault may pass. Where this is
 * the only copy it is not given up unasked.
 */
function refuseUnread({ acceptDataLoss, isOnlyCopy }: RecoverOptions, { unread }: Recovery): void {
  const [first] = unread;
  if (first === undefined || acceptDataLoss || !isOnlyCopy) return;
  throw new QuorateError(
    "corruption",
    `The disk cannot read ${unread.length} blocks at the end of the log, from byte ${first.offset} of '${first.name}': what they hold may have been acknowledged.`,
    {
      hint: "Start it again, or on a copy of the folder: the fault may pass. To go on without what cannot be read, start with --accept-data-loss.",
    },
  );
}

/**
 * Whether the log does not go on where the table ends, or both end too early (D5). Where this is the only
 * copy that is refused, unless it was accepted; otherwise the others have what is lost (I4).
 */
function refuseLoss(
  { report, acceptDataLoss, needsLog, isOnlyCopy }: RecoverOptions,
  meta: TableMeta,
  wal: Recovery,
  highest: number,
): boolean {
  const first = wal.first ?? wal.last + 1;
  const gap = first > meta.sequence + 1 ? [meta.sequence + 1, first - 1] : undefined;
  const short = wal.last < highest ? [wal.last + 1, highest] : undefined;
  const missing = gap ?? short;
  const isGone = needsLog && wal.segments.length === 0;
  if (missing === undefined && !isGone) return false;
  const lost =
    missing === undefined
      ? `the changes after ${highest}, if there were any, are lost`
      : `the changes ${missing[0]} to ${missing[1]}, which were acknowledged, are lost`;
  const said = `The table has everything up to sequence ${meta.sequence}, and the log ${
    wal.first === undefined ? "has nothing" : `goes from ${wal.first} to ${wal.last}`
  }: ${lost}.`;
  if (acceptDataLoss) {
    report.log("error", said, { accepted: true });
    return true;
  }
  if (!isOnlyCopy) {
    report.sometimes("store: opened with a loss");
    report.log("error", said, { hint: "All partitions are marked; the other replicas fill them." });
    return true;
  }
  throw new QuorateError("corruption", said, {
    hint: "Restore the missing files (wal/*.wal or table.lmdb) from a copy. To go on with what can still be read, which is the rest of the keys as they were, start with --accept-data-loss.",
  });
}
