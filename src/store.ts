/**
 * Store: the records of one node: log, memtable and table as one.
 *
 * A write goes into the log and the memtable in the same turn, and is answered when the log is
 * synced. Reads look into the memtable, then the table. When the memtable is full, a checkpoint brings
 * it into the table in the background, and the log forgets.
 *
 *     write -> room? newer there? -> log + memtable (one turn) -> fdatasync -> took
 *     read  -> memtable -> frozen memtable -> table -> checksum -> synced? -> record
 *
 * Invariants
 * 1. The log and the memtable take changes in the same order: there is no await between the two.
 * 2. A version is named to anybody only when it is synced, unless the request asked for `memory` (W2).
 * 3. After the log or the table failed nothing is acknowledged any more.
 * 4. The active memtable takes changes up to twice `memtableBytesMax`, those that free space up to
 *    four times; the frozen one was active before.
 *
 * Effects: Clock, Random, Disk (through the log), Table, Report. Source: rules W1, W2, D1 to D6, V1.
 *
 * @module
 */

import type { Durability } from "./api.ts";
import { assert } from "./assert.ts";
import { compare } from "./bytes.ts";
import { QuorateError } from "./errors.ts";
import { hlcAt } from "./hlc.ts";
import { decodeRecord, type StoredRecord } from "./record.ts";
import { writeCheckpoint } from "./store_checkpoint.ts";
import {
  type EncodedChange,
  encodeForget,
  encodePut,
  forgetBytes,
  prefixRange,
  putBytes,
  Slab,
  tableKey,
} from "./store_entry.ts";
import { isNoSpace, lostPartition, overloaded, reserveUsed, tableFailure } from "./store_error.ts";
import { type Frozen, type Held, heldVersion, type Spot, type StoreIndex } from "./store_index.ts";
import type { TableMeta } from "./store_meta.ts";
import type { Mint } from "./store_mint.ts";
import {
  beginStore,
  type Limits,
  limitsOf,
  metaOf,
  recoverStore,
  type StoreOptions,
  type StoreParts,
} from "./store_open.ts";
import type { Recovered } from "./store_recover.ts";
import { type ScanItem, scan } from "./store_scan.ts";
import { Scrub } from "./store_scrub.ts";
import { SpaceWatch } from "./store_space.ts";
import { compareVersions, type Version } from "./version.ts";
import type { Wal } from "./wal.ts";

/** How long a write waits for a full memtable before it is refused. */
const memtableWaitMs = 1000;
const checkpointRetryMs = 1000;
/** What frees space (deletes, namespaces that go) has room in memory for longer than what grows. */
const memtableGrowingMax = 2;
const memtableVitalMax = 4;
/** So many full segments of the log call for a checkpoint: small writes fill blocks, not the memtable. */
const segmentsMax = 4;
const roomTriesMax = 4;

export interface Write {
  readonly namespaceNumber: number;
  readonly key: Uint8Array;
  readonly record: StoredRecord;
  readonly durability: Durability;
}

/** W1: the replica's answers to a write. */
export type Written =
  | { readonly kind: "took" }
  | { readonly kind: "superseded"; readonly version: Version };

/** The store of one node. */
export class Store {
  readonly mint: Mint;
  /** Settles, never rejects, when the store has ended by itself. */
  readonly ended: Promise<QuorateError>;
  readonly #options: StoreOptions;
  readonly #limits: Limits;
  readonly #index: StoreIndex;
  readonly #wal: Wal;
  readonly #slab = new Slab();
  readonly #space: SpaceWatch;
  /** A mark of damage waits for a checkpoint. */
  #isMarkPending = false;
  #tellEnded: (error: QuorateError) => void = () => {};
  #failure: QuorateError | undefined;
  #checkpointing: Promise<void> | undefined;
  /** The last attempt to write to the table failed for want of space. */
  #tableIsFull = false;
  #scrub: Scrub | undefined;
  #isClosed = false;

  private constructor(options: StoreOptions, limits: Limits, index: StoreIndex, parts: StoreParts) {
    this.#options = options;
    this.#limits = limits;
    this.#index = index;
    this.#wal = parts.wal;
    this.mint = parts.mint;
    const { clock, disk, report } = options;
    this.#space = new SpaceWatch({
      clock,
      disk,
      report,
      reserveBytes: limits.diskReserveBytes,
    });
    this.ended = new Promise((settle) => {
      this.#tellEnded = settle;
    });
    parts.tellEnd = (error) => this.#end(error);
  }

  /** Opens the store in its folder. @throws `corruption`, `wrong-data-folder`, `disk-full` */
  static async open(options: StoreOptions): Promise<Store> {
    const limits = limitsOf(options.settings);
    const recovered = await recoverStore(options);
    const parts = await beginStore(options, limits, recovered);
    const store = new Store(options, limits, recovered.index, parts);
    await store.#begin(recovered);
    return store;
  }

  get partitions(): number {
    return this.#index.ring.partitions;
  }

  /** The highest sequence given to a change. */
  get lastSequence(): number {
    return this.#wal.lastSequence;
  }

  /** Partitions in which a missing record cannot be told from a lost one. */
  get damagedPartitions(): readonly number[] {
    return [...this.#index.damaged].sort((a, b) => a - b);
  }

  get failure(): QuorateError | undefined {
    return this.#failure;
  }

  /** Whether writes that grow the data are refused for want of space. */
  get isDiskLow(): boolean {
    return this.#space.isLow || this.#tableIsFull;
  }

  /** Whether every change is in the table; true after an orderly close. */
  get isInTable(): boolean {
    const { active, frozen } = this.#index;
    return this.#failure === undefined && active.count === 0 && frozen === undefined;
  }

  tally(namespaceNumber?: number): { readonly keys: number; readonly bytes: number } {
    return this.#index.tally(namespaceNumber);
  }

  /**
   * The record under a key, tombstones and expired ones included; undefined when there is none.
   *
   * @throws `corruption` when it is damaged, or may be missing because something was lost
   */
  async get(
    namespaceNumber: number,
    key: Uint8Array,
    durability: Durability,
  ): Promise<StoredRecord | undefined> {
    this.#refuseEnded();
    const spot = this.#index.spot(namespaceNumber, key);
    const held = this.#index.lookup(spot);
    if (held.kind === "damaged") throw this.#damagedRecord(spot);
    if (held.kind === "absent") {
      if (this.#index.damaged.has(spot.place.partition)) throw lostPartition(spot);
      return undefined;
    }
    // The table's bytes are overwritten by its next call; a memtable's never change.
    const record = decodeRecord(held.sequence === 0 ? held.record.slice() : held.record);
    if (held.sequence > this.#wal.syncedSequence && durability !== "memory") {
      await this.#wal.whenSynced(held.sequence);
    }
    return record;
  }

  /** Takes a write unless something newer is there (W1). */
  async write(write: Write): Promise<Written> {
    const { namespaceNumber, key, record, durability } = write;
    const bytes = putBytes(key, record);
    let room = this.#makeRoom(bytes, record.tombstone);
    while (room !== undefined) {
      await room;
      // Another write may have been quicker to take it.
      room = this.#makeRoom(bytes, record.tombstone);
    }
    // From here to the append there is no await (invariant 1).
    this.#refuseEnded();
    const spot = this.#index.spot(namespaceNumber, key);
    const held = this.#index.lookup(spot);
    const present = heldVersion(held);
    if (held.kind === "record" && present !== undefined) {
      const order = compareVersions(present, record.version);
      if (order >= 0) return this.#passed(held, present, order === 0, durability);
    }
    const change = encodePut(this.#slab, namespaceNumber, key, record);
    const { synced, sequence } = this.#append(spot, change, held);
    if (durability === "fsync") await synced;
    else if (record.version.hlc >= this.#wal.syncedCeiling) await this.#wal.whenSynced(sequence);
    return { kind: "took" };
  }

  /** Removes a key's record for good, without a tombstone. Durable when it resolves. */
  async forget(items: readonly ScanItem[]): Promise<void> {
    let last: Promise<void> | undefined;
    for (const { namespaceNumber, key } of items) {
      let room = this.#makeRoom(forgetBytes(key), true);
      while (room !== undefined) {
        await room;
        room = this.#makeRoom(forgetBytes(key), true);
      }
      this.#refuseEnded();
      const spot = this.#index.spot(namespaceNumber, key);
      const change = encodeForget(this.#slab, namespaceNumber, key);
      last = this.#append(spot, change, this.#index.lookup(spot)).synced;
    }
    await last;
  }

  /** A piece of a namespace's keys in one partition; see `store_scan`. */
  scan(
    partition: number,
    namespaceNumber: number,
    range: ScanPiece,
  ): ReturnType<typeof scan> & { readonly isDamaged: boolean } {
    this.#refuseEnded();
    const { start, end } = prefixRange(partition, namespaceNumber, range.prefix);
    const { from = start, to = end, reverse, limit } = range;
    const found = scan(this.#index, {
      start: compare(from, start) > 0 ? from : start,
      end: compare(to, end) < 0 ? to : end,
      reverse,
      limit,
    });
    if (found.items.some(({ record }) => record === undefined)) {
      this.#markDamaged(partition, "a record's checksum is wrong");
    }
    return { ...found, isDamaged: this.#index.damaged.has(partition) };
  }

  /** The table's key of a key in a partition. */
  tableKey(partition: number, namespaceNumber: number, key: Uint8Array): Uint8Array {
    return tableKey(partition, namespaceNumber, key);
  }

  /** Resolves when everything up to `sequence` is durable. */
  whenSynced(sequence: number): Promise<void> {
    return this.#wal.whenSynced(sequence);
  }

  /** Before "expired at" is answered, the clock's ceiling has to be durably above it (R3). */
  async coverExpiry(expiresAtMs: number): Promise<void> {
    if (this.#wal.syncedCeiling <= hlcAt(expiresAtMs)) await this.#wal.flush();
  }

  /** Brings everything into the table. */
  async checkpoint(): Promise<void> {
    while (this.#checkpointing !== undefined) await this.#checkpointing;
    const { active, frozen } = this.#index;
    // One that was given up for want of space is still frozen: the log has it.
    if (frozen !== undefined) return;
    if (active.count > 0 || this.#isMarkPending) await this.#startCheckpoint();
  }

  /** Checkpoints and closes; the store's last sequence is durable. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#space.stop();
    await this.#scrub?.stop();
    if (this.#failure === undefined) await this.checkpoint().catch(() => {});
    while (this.#checkpointing !== undefined) await this.#checkpointing;
    try {
      await this.#wal.close();
    } finally {
      await this.#options.table.close();
    }
  }

  async #begin({ wal, highest, index }: Recovered): Promise<void> {
    const { report, owner } = this.#options;
    await this.#space.start();
    report.log("info", "The store is open.", {
      sequence: highest,
      replayed: wal.applied,
      keys: index.tally().keys,
    });
    if (index.active.bytes >= this.#limits.memtableBytesMax) void this.#startCheckpoint();
    if (this.#limits.scrubBytesPerSecond > 0) {
      this.#scrub = new Scrub({
        index,
        clock: this.#options.clock,
        report,
        bytesPerSecond: this.#limits.scrubBytesPerSecond,
        onDamage: (partition, why) => this.#markDamaged(partition, why),
        onSummed: (partition, summary) => index.resum(partition, summary),
        onClean: () => owner.trusted().catch(() => {}),
      });
    }
  }

  /** Undefined when a change can be taken at once; otherwise resolves when it can, or rejects. */
  #makeRoom(bytes: number, vital: boolean): Promise<void> | undefined {
    this.#refuseEnded();
    if (!vital && this.isDiskLow) throw reserveUsed(this.#limits.diskReserveBytes);
    if (!this.#isMemtableFull(vital) && this.#wal.hasRoom(bytes, vital)) return undefined;
    return this.#waitForRoom(bytes, vital);
  }

  async #waitForRoom(bytes: number, vital: boolean): Promise<void> {
    for (let attempt = 0; attempt < roomTriesMax; attempt += 1) {
      if (this.#isMemtableFull(vital)) await this.#awaitCheckpoint();
      if (!this.#wal.hasRoom(bytes, vital)) await this.#wal.makeRoom(bytes, vital);
      this.#refuseEnded();
      if (!this.#isMemtableFull(vital) && this.#wal.hasRoom(bytes, vital)) return;
    }
    throw overloaded("The log and the memtable are full of writes that wait for the disk.");
  }

  #isMemtableFull(vital: boolean): boolean {
    const times = vital ? memtableVitalMax : memtableGrowingMax;
    return this.#index.active.bytes >= times * this.#limits.memtableBytesMax;
  }

  /** Waits for the checkpoint under way, but not for long. */
  async #awaitCheckpoint(): Promise<void> {
    const { clock } = this.#options;
    let cancel: () => void = () => {};
    const late = new Promise<void>((resolve) => {
      cancel = clock.after(memtableWaitMs, resolve);
    });
    await Promise.race([this.#checkpointing ?? this.#startCheckpoint(), late]);
    cancel();
  }

  #append(
    spot: Spot,
    change: EncodedChange,
    held: Held,
  ): { readonly sequence: number; readonly synced: Promise<void> } {
    const { partition } = spot.place;
    const appended = this.#wal.append({ partition, payload: change.payload });
    const { sequence } = appended;
    this.#index.apply(spot, { record: change.record, sequence }, held);
    if (this.#checkpointing === undefined && this.#isCheckpointDue) void this.#startCheckpoint();
    return appended;
  }

  get #isCheckpointDue(): boolean {
    const { active } = this.#index;
    return (
      active.bytes >= this.#limits.memtableBytesMax || this.#wal.fullSegmentCount >= segmentsMax
    );
  }

  /** The answer when the same or something newer is there (W1, W2). */
  async #passed(
    held: Held,
    present: Version,
    isSame: boolean,
    durability: Durability,
  ): Promise<Written> {
    if (held.kind === "record" && durability === "fsync") {
      await this.#wal.whenSynced(held.sequence);
    }
    return isSame ? { kind: "took" } : { kind: "superseded", version: present };
  }

  /** Freezes the memtable and writes it; never rejects. */
  #startCheckpoint(): Promise<void> {
    assert(this.#checkpointing === undefined, "store: one checkpoint at a time");
    this.#isMarkPending = false;
    this.#checkpointing = this.#checkpointNow().finally(() => {
      this.#checkpointing = undefined;
      const isDue = this.#isMarkPending || this.#isCheckpointDue;
      if (isDue && this.#failure === undefined && !this.#isClosed) void this.#startCheckpoint();
    });
    return this.#checkpointing;
  }

  async #checkpointNow(): Promise<void> {
    const { clock, report } = this.#options;
    const frozen = this.#index.freeze(this.#wal.lastSequence);
    const beganMs = clock.monotonicMs();
    // Nothing reaches the table before the log has it: the log's sequences never lag behind.
    try {
      await this.#wal.whenSynced(frozen.sequence);
    } catch {
      return;
    }
    while (!(await this.#tryCheckpoint(frozen))) {
      if (this.#failure !== undefined || this.#isClosed) return;
      await new Promise<void>((resolve) => clock.after(checkpointRetryMs, resolve));
    }
    this.#index.thaw();
    this.#wal.release(frozen.sequence);
    report.sometimes("store: checkpoint");
    report.observe("checkpoint_ms", clock.monotonicMs() - beganMs);
    report.observe("checkpoint_entries", frozen.memtable.count);
  }

  /** False when it should be tried again: the disk is full. Any other failure ends the store. */
  async #tryCheckpoint(frozen: Frozen): Promise<boolean> {
    const { clock, report, table } = this.#options;
    try {
      await writeCheckpoint({ table, clock, frozen, meta: this.#metaAt(frozen.sequence) });
      this.#tableIsFull = false;
      return true;
    } catch (error) {
      if (isNoSpace(error)) {
        report.sometimes("store: no space for a checkpoint");
        if (!this.#tableIsFull) report.log("warn", "The disk is full: no checkpoint was possible.");
        this.#tableIsFull = true;
        return false;
      }
      this.#end(tableFailure(error));
      return false;
    }
  }

  #metaAt(sequence: number): TableMeta {
    return metaOf(this.#options, sequence, this.mint.ceiling(), this.#index);
  }

  #markDamaged(partition: number, why: string): void {
    if (this.#index.damaged.has(partition)) return;
    this.#index.damaged.add(partition);
    const { report } = this.#options;
    report.sometimes("store: partition damaged");
    report.log("error", `Partition ${partition} is damaged: ${why}.`, {
      partition,
      hint: "Keys of it that are not found answer 500 corruption. Restore a copy of the folder, or accept the loss with --accept-data-loss.",
    });
    // A checkpoint makes the mark durable; one that is under way may be past that.
    this.#isMarkPending = true;
    if (this.#checkpointing === undefined) void this.#startCheckpoint();
  }

  #damagedRecord(spot: Spot): QuorateError {
    this.#markDamaged(spot.place.partition, "a record's checksum is wrong");
    return new QuorateError(
      "corruption",
      "The record's checksum is wrong: its bytes are damaged.",
      {
        key: spot.key,
        hint: "Write the key again, or restore a copy of the data folder.",
      },
    );
  }

  #refuseEnded(): void {
    if (this.#failure !== undefined) {
      const { slug, detail, facts } = this.#failure;
      throw new QuorateError(slug, detail, { ...facts, outcome: "none" });
    }
  }

  #end(error: QuorateError): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#options.report.log("error", error.detail, { error });
    this.#space.stop();
    this.#tellEnded(error);
  }
}

export interface ScanPiece {
  readonly prefix: Uint8Array;
  /** Table keys that narrow it: from inclusive, to exclusive. */
  readonly from?: Uint8Array | undefined;
  readonly to?: Uint8Array | undefined;
  readonly reverse: boolean;
  readonly limit: number;
}
