/**
 * Store open: what a store is made of, and how what was found becomes what it goes on with.
 *
 * Recovery says what the folder holds. Before a request is served its findings are durable: marks of
 * damage and sequences that will not be used again in the table, the unmarked tail of the log in a
 * new, synced segment, and with it a ceiling for the clock.
 *
 * Effects: Clock, Random, Disk, Table, Report. Source: rules D4, D5, V1.
 *
 * @module
 */

import type { Clock, Disk, Random, Report } from "./capability.ts";
import type { QuorateError } from "./errors.ts";
import type { Hlc } from "./hlc.ts";
import type { Ring } from "./ring.ts";
import { writeCheckpoint, writeMeta } from "./store_checkpoint.ts";
import type { StoreIndex } from "./store_index.ts";
import { metaKey, type TableMeta, tableFormat } from "./store_meta.ts";
import { Mint } from "./store_mint.ts";
import { type Recovered, recover } from "./store_recover.ts";
import type { Table } from "./table.ts";
import type { Origin } from "./version.ts";
import { segmentBytesDefault, Wal } from "./wal.ts";
import { eraseUnread, removeBlank } from "./wal_open.ts";
import { walFolder } from "./wal_segment.ts";

const memtableBytesDefault = 16 * 1024 * 1024;
const diskReserveBytesDefault = 256 * 1024 * 1024;
const scrubBytesPerSecondDefault = 8 * 1024 * 1024;

export interface StoreSettings {
  readonly segmentBytes?: number | undefined;
  readonly memtableBytesMax?: number | undefined;
  readonly diskReserveBytes?: number | undefined;
  /** 0 switches the scrub off. */
  readonly scrubBytesPerSecond?: number | undefined;
  readonly acceptDataLoss?: boolean | undefined;
}

/** What the folder's identity knows and keeps for the store. */
export interface StoreOwner {
  /** 32 hex digits each. */
  readonly storeId: string;
  readonly clusterId: string;
  readonly storeIdBytes: Uint8Array;
  readonly origin: Origin;
  /** The least that the log and the table must reach. */
  readonly sequence: number;
  /** The folder was served from, and not closed in order: its log cannot be empty. */
  readonly needsLog: boolean;
  /** Whether nobody else has what is in the folder. */
  readonly isOnlyCopy?: boolean;
  /** An earlier start has cut the end of the log, and it was not compared since (D3). */
  readonly wasCut?: boolean;
  /** The end of the log is cut; durable when it resolves. Where nobody else has it there is nothing to compare. */
  readonly cut?: () => Promise<void>;
  readonly renewOrigin: () => Promise<Origin>;
  readonly trusted: () => Promise<void>;
}

export interface StoreOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly disk: Disk;
  readonly report: Report;
  readonly table: Table;
  readonly ring: Ring;
  /** The n of a namespace, so that its records are summed with those of its like; 0: not known. */
  readonly nOf?: ((namespaceNumber: number) => number) | undefined;
  /** Whether a namespace is gone for good: nothing is taken for it any more (T8). */
  readonly isDeleted?: ((namespaceNumber: number) => boolean) | undefined;
  readonly owner: StoreOwner;
  readonly settings: StoreSettings;
}

export interface Limits {
  readonly segmentBytes: number;
  readonly memtableBytesMax: number;
  readonly diskReserveBytes: number;
  readonly scrubBytesPerSecond: number;
}

export interface StoreParts {
  readonly wal: Wal;
  readonly mint: Mint;
  /** Called when the log ends; set by the store. */
  tellEnd: (error: QuorateError) => void;
}

/** Reads the folder. @throws `corruption`, `wrong-data-folder` */
export async function recoverStore(options: StoreOptions): Promise<Recovered> {
  const { disk, owner, settings, ring, nOf, table, report } = options;
  await disk.makeFolder(walFolder);
  return recover({
    disk,
    report,
    table,
    ring,
    nOf,
    clusterId: owner.clusterId,
    storeId: owner.storeId,
    storeIdBytes: owner.storeIdBytes,
    sequence: owner.sequence,
    needsLog: owner.needsLog,
    acceptDataLoss: settings.acceptDataLoss === true,
    isOnlyCopy: owner.isOnlyCopy !== false,
  });
}

/** What recovery found becomes durable, and the log goes on after it. */
export async function beginStore(
  options: StoreOptions,
  limits: Limits,
  recovered: Recovered,
): Promise<StoreParts> {
  const { clock, random, disk, report, table, owner } = options;
  const { wal, meta, index, highest } = recovered;
  const floor = (wal.ceiling > meta.ceiling ? wal.ceiling : meta.ceiling) as Hlc;
  const { renewOrigin } = owner;
  // A ceiling that nobody knows any more bounds nothing: under the same origin a version could come again.
  const origin = recovered.isCeilingLost ? await renewOrigin() : owner.origin;
  const mint = new Mint({ clock, random, origin, floor, renewOrigin });
  await mint.settle();
  const mustCheckpoint = recovered.marksChanged || highest > wal.last;
  if (mustCheckpoint) {
    // A tail that no mark covers may be in the page cache alone: where it is gone before all of it is in the
    // table, a partition that reached it would tell of a loss (D4).
    const frozen = index.freeze(wal.tail.length > 0 ? wal.synced : highest);
    const next = metaOf(options, highest, mint.ceiling(), index);
    await writeCheckpoint({ table, clock, frozen, meta: next });
    index.thaw();
  } else if (table.get(metaKey) === undefined) {
    await writeMeta(table, metaOf(options, 0, mint.ceiling(), index));
  }
  // A log that goes on behind it hides the cut from the next start.
  if (wal.torn !== undefined && owner.isOnlyCopy === false) await owner.cut?.();
  await eraseUnread(disk, wal.unread);
  // Not before the marks are durable: they may tell of a segment that is gone.
  await removeBlank(disk, wal.blank);
  // The table's file may be new: its name has to be durable before the log forgets anything.
  await disk.syncFolder("");
  // The log may end in its very first write, before there is a store to tell of it.
  const ending: Pick<StoreParts, "tellEnd"> = { tellEnd: () => {} };
  const parts: StoreParts = Object.assign(ending, {
    mint,
    wal: await Wal.begin(
      {
        disk,
        clock,
        random,
        report,
        storeId: owner.storeIdBytes,
        segmentBytes: limits.segmentBytes,
        ceiling: () => mint.ceiling(),
        onEnd: (error) => ending.tellEnd(error),
      },
      {
        nextSequence: highest + 1,
        nextIndex: wal.nextIndex,
        segments: wal.segments,
        tail: mustCheckpoint ? [] : wal.tail,
      },
    ),
  });
  if (mustCheckpoint) parts.wal.release(highest);
  return parts;
}

export function metaOf(
  { owner }: StoreOptions,
  sequence: number,
  ceiling: Hlc,
  index: StoreIndex,
): TableMeta {
  const { storeId, clusterId } = owner;
  const damaged = [...index.damaged].sort((a, b) => a - b);
  const healed = [...index.healed].sort((a, b) => a - b);
  const written = [...index.written];
  return { format: tableFormat, storeId, clusterId, sequence, ceiling, damaged, healed, written };
}

export function limitsOf(settings: StoreSettings): Limits {
  return {
    segmentBytes: settings.segmentBytes ?? segmentBytesDefault,
    memtableBytesMax: settings.memtableBytesMax ?? memtableBytesDefault,
    diskReserveBytes: settings.diskReserveBytes ?? diskReserveBytesDefault,
    scrubBytesPerSecond: settings.scrubBytesPerSecond ?? scrubBytesPerSecondDefault,
  };
}
