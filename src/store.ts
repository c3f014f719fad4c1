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
 * 4. The memtables have a bound: the active one that of `store_room`, and the frozen one was active before.
 *
 * Effects: Clock, Random, Disk (through the log), Table, Report. Source: rules W1, W2, D1 to D6, V1.
 *
 * @module
 */

import type { Durability } from "./api.ts";
import { compare } from "./bytes.ts";
import { type Digest, droppable, type Summary } from "./digest.ts";
import { QuorateError } from "./errors.ts";
import { type Hlc, hlcAt } from "./hlc.ts";
import { decodeRecord, recordHeadBytes, recordVersion, type StoredRecord } from "./record.ts";
import { Slab } from "./slab.ts";
import { Checkpointer } from "./store_checkpointer.ts";
import {
  type EncodedChange,
  encodeForget,
  encodePut,
  encodePutBytes,
  forgetBytes,
  prefixRange,
  putBytes,
  tableKey,
} from "./store_entry.ts";
import { failRead, lostPartition } from "./store_error.ts";
import { type Healing, type Held, heldVersion, type Spot, type StoreIndex } from "./store_index.ts";
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
import { type RecountOptions, recount } from "./store_recount.ts";
import type { Recovered } from "./store_recover.ts";
import { fullOfWaiting, Room } from "./store_room.ts";
import { type ScanItem, scan } from "./store_scan.ts";
import { Scrub } from "./store_scrub.ts";
import { SpaceWatch } from "./store_space.ts";
import { compareVersions, type Version } from "./version.ts";
import type { Wal } from "./wal.ts";

/**
 * A write that others were quicker than again and again is refused after so long. More: fewer refusals
 * where the table is slow, and writes that are taken longer after whoever sent them has given up.
 */
const roomWaitMsMax = 4000;
const damagedWhy = "a record's checksum is wrong";

export interface Write {
  readonly namespaceNumber: number;
  readonly key: Uint8Array;
  readonly record: StoredRecord;
  readonly durability: Durability;
  /** As in `EncodedWrite`; by default a delete is. */
  readonly isVital?: boolean;
  /** Asked when there is room, however long that took: throws for what is not wanted any more. */
  readonly admit?: () => void;
  /** As in `EncodedWrite`. */
  readonly allow?: Allow | undefined;
}

/** Asked in the turn in which it is taken, where nothing newer is there: throws for what may not be. */
export type Allow = (partition: number) => void;

export interface EncodedWrite {
  readonly namespaceNumber: number;
  readonly key: Uint8Array;
  /** Bytes by `record`, verified. */
  readonly record: Uint8Array;
  readonly durability: Durability;
  /** Goes on where writes that grow the data are refused for want of space. */
  readonly isVital: boolean;
  readonly allow?: Allow | undefined;
}

/** W1: the replica's answers to a write. */
export type Written =
  | { readonly kind: "took" }
  | { readonly kind: "superseded"; readonly version: Version };

/** What a write brings, in whichever form it came. */
interface Take {
  readonly version: Version;
  /** The most that the change takes in the log. */
  readonly bytes: number;
  readonly isVital: boolean;
  readonly admit?: (() => void) | undefined;
  readonly allow?: Allow | undefined;
  readonly encode: () => EncodedChange;
}

export interface ScanPiece {
  readonly prefix: Uint8Array;
  /** Table keys that narrow it: from inclusive, to exclusive. */
  readonly from?: Uint8Array | undefined;
  readonly to?: Uint8Array | undefined;
  readonly reverse: boolean;
  readonly limit: number;
}

/** The store of one node. */
export class Store {
  readonly mint: Mint;
  /** The highest sequence that was there at the opening. */
  readonly openedSequence: number;
  /** The end of the log was torn, and cut, by this start or by one whose cut was not compared since (D3). */
  readonly wasCut: boolean;
  /** Settles, never rejects, when the store has ended by itself. */
  readonly ended: Promise<QuorateError>;
  readonly #options: StoreOptions;
  readonly #limits: Limits;
  readonly #index: StoreIndex;
  readonly #wal: Wal;
  readonly #slab = new Slab();
  readonly #space: SpaceWatch;
  readonly #checkpoints: Checkpointer;
  readonly #room: Room;
  #tellEnded: (error: QuorateError) => void = () => {};
  #failure: QuorateError | undefined;
  #scrub: Scrub | undefined;
  #isClosed = false;

  private constructor(
    options: StoreOptions,
    limits: Limits,
    recovered: Recovered,
    parts: StoreParts,
  ) {
    this.#options = options;
    this.#limits = limits;
    this.#index = recovered.index;
    this.openedSequence = recovered.highest;
    this.wasCut = recovered.wal.torn !== undefined || options.owner.wasCut === true;
    this.#wal = parts.wal;
    this.mint = parts.mint;
    const { clock, disk, report, table } = options;
    const { memtableBytesMax, diskReserveBytes: reserveBytes } = limits;
    const { index } = recovered;
    this.#space = new SpaceWatch({ clock, disk, report, reserveBytes });
    this.#checkpoints = new Checkpointer({
      clock,
      report,
      table,
      index,
      wal: parts.wal,
      memtableBytesMax,
      metaAt: (sequence) => metaOf(options, sequence, parts.mint.ceiling(), index),
      onFailure: (error) => this.#end(error),
    });
    this.#room = new Room({
      ...{ index, wal: parts.wal, checkpoints: this.#checkpoints, space: this.#space },
      ...{ memtableBytesMax, diskReserveBytes: reserveBytes },
      refuseEnded: () => this.#refuseEnded(),
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
    const store = new Store(options, limits, recovered, parts);
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

  /** How often something of a partition was found to be lost since the start; `heal` goes by it. */
  damagesOf(partition: number): number {
    return this.#index.damagesOf(partition);
  }

  /** Everything up to this sequence is durable (I3). */
  get syncedSequence(): number {
    return this.#wal.syncedSequence;
  }

  /** All records, deleted ones too. */
  get recordCount(): number {
    return this.#index.summaries.reduce((sum, { records }) => sum + records, 0);
  }

  get failure(): QuorateError | undefined {
    return this.#failure;
  }

  /** Whether writes that grow the data are refused for want of space. */
  get isDiskLow(): boolean {
    return this.#room.isDiskLow;
  }

  /** Whether every change is in the table; true after an orderly close. */
  get isInTable(): boolean {
    const { active, frozen } = this.#index;
    return this.#failure === undefined && active.count === 0 && frozen === undefined;
  }

  /** What the changes hold that are not in the table yet, beside those that a checkpoint writes. */
  get memtable(): { readonly held: number; readonly max: number } {
    return this.#room.memtable;
  }

  tally(namespaceNumber?: number): { readonly keys: number; readonly bytes: number } {
    return this.#index.tally(namespaceNumber);
  }

  /**
   * The record under a key, tombstones and expired ones included; undefined when there is none. A
   * promise of it where it has to become durable first.
   *
   * @throws `corruption` when it is damaged, or may be missing because something was lost
   */
  get(
    namespaceNumber: number,
    key: Uint8Array,
    durability: Durability,
  ): StoredRecord | undefined | Promise<StoredRecord> {
    const held = this.#found(namespaceNumber, key);
    if (held === undefined) return undefined;
    // The table's bytes are overwritten by its next call; a memtable's never change.
    const record = decodeRecord(held.sequence === 0 ? held.record.slice() : held.record);
    const isDurable = held.sequence <= this.#wal.syncedSequence;
    if (isDurable || durability === "memory") return record;
    return this.whenSynced(held.sequence).then(() => record);
  }

  /** Takes a write unless something newer is there (W1). */
  write(write: Write): Promise<Written> {
    const { namespaceNumber, key, record } = write;
    return this.#take(write, {
      version: record.version,
      bytes: putBytes(key, record),
      isVital: write.isVital ?? record.tombstone,
      admit: write.admit,
      allow: write.allow,
      encode: () => encodePut(this.#slab, namespaceNumber, key, record),
    });
  }

  /**
   * The bytes of the record under a key, or, for `head`, no more of them than tell its version,
   * expiry and whether it is a tombstone. See `get`.
   */
  async getEncoded(
    namespaceNumber: number,
    key: Uint8Array,
    { wants, durability }: { readonly wants: "record" | "head"; readonly durability: Durability },
  ): Promise<Uint8Array | undefined> {
    const held = this.#found(namespaceNumber, key);
    if (held === undefined) return undefined;
    const bytes = wants === "head" ? held.record.subarray(0, recordHeadBytes) : held.record;
    const own = held.sequence === 0 ? bytes.slice() : bytes;
    if (durability !== "memory") await this.whenSynced(held.sequence);
    return own;
  }

  /** Takes an encoded record, whose checksum is good, unless something newer is there (W1). */
  writeEncoded(write: EncodedWrite): Promise<Written> {
    const { namespaceNumber, key, record, isVital, allow } = write;
    return this.#take(write, {
      version: recordVersion(record),
      bytes: forgetBytes(key) + record.length,
      isVital,
      allow,
      encode: () => encodePutBytes(this.#slab, namespaceNumber, key, record),
    });
  }

  /** What is under a key at this moment, synced or not, be it damaged (then without a version). */
  head(
    namespaceNumber: number,
    key: Uint8Array,
  ): { readonly bytes: number; readonly version: Version | undefined } | undefined {
    const held = this.#index.lookup(this.#index.spot(namespaceNumber, key));
    if (held.kind === "absent") return undefined;
    if (held.kind === "damaged") return { bytes: 0, version: undefined };
    return { bytes: held.record.length, version: recordVersion(held.record) };
  }

  /**
   * Removes records for good, without a tombstone, where they are still what the scan found. Durable
   * when it resolves, with those that it removed: fewer where there was no room for all. (What stands
   * under a damaged key goes with the next checkpoint: until then a crash brings it back.) @throws where
   * there was no room for the first
   */
  async forget<Item extends ScanItem>(items: readonly Item[]): Promise<readonly Item[]> {
    const forgotten: Item[] = [];
    let last: Promise<void> | undefined;
    for (const item of items) {
      const { namespaceNumber, key, record, tableKey: own } = item;
      // Damage to the key itself: no lookup comes to it, so a change of that key would change another's.
      if (!this.#index.isInPlace(own)) {
        this.#refuseEnded();
        this.#index.drop(own);
        this.#checkpoints.mark();
        forgotten.push(item);
        continue;
      }
      try {
        let room = this.#room.make(forgetBytes(key), true);
        while (room !== undefined) {
          await room;
          room = this.#room.make(forgetBytes(key), true);
        }
      } catch (error) {
        // Those before it are gone all the same, and whoever counts them has to hear of it.
        if (forgotten.length === 0) throw error;
        break;
      }
      this.#refuseEnded();
      const spot = this.#index.spot(namespaceNumber, key);
      const held = this.#index.lookup(spot);
      // Something newer was written since, over what was damaged too: that is for another scan to find.
      const isSame = record === undefined ? held.kind !== "record" : isSameVersion(held, record);
      if (!isSame) continue;
      const change = encodeForget(this.#slab, namespaceNumber, key);
      last = this.#append(spot, change, held).synced;
      forgotten.push(item);
    }
    await last;
    return forgotten;
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
      this.#markDamaged(partition, damagedWhy);
    }
    const isDamaged = this.#index.isDamaged(partition, this.#index.nOf(namespaceNumber));
    return { ...found, isDamaged };
  }

  /** What is held of a partition for the namespaces of one n; durable when it resolves. */
  async digest(partition: number, n: number): Promise<Digest> {
    this.#refuseEnded();
    const digest = this.#index.digest(partition, n);
    await this.whenSynced(this.#wal.lastSequence);
    return digest;
  }

  /** The namespaces of which something is here. */
  namespaceNumbers(): readonly number[] {
    return this.#index.namespaceNumbers();
  }

  /** How many records of a partition a watermark may allow to be dropped, now or later. */
  droppable(partition: number, n: number): { readonly deleted: number; readonly mortal: number } {
    return droppable(this.#index.summaries[partition] as Summary, n);
  }

  /** Whether something may be missing of a partition: of the namespaces of one n, or of any. */
  isDamaged(partition: number, n?: number): boolean {
    if (n === undefined) return this.#index.damaged.has(partition);
    return this.#index.isDamaged(partition, n);
  }

  /** Makes the sums of a partition true, and removes what is damaged in it; see `store_recount`. */
  async recount(
    partition: number,
    options: Omit<RecountOptions, "forget" | "onLost">,
  ): Promise<boolean> {
    this.#refuseEnded();
    const forget = (items: readonly ScanItem[]) => this.forget(items);
    const onLost = (ns: readonly number[]) => this.markLost(partition, ns, "records are lost");
    const isWhole = await recount(this.#index, partition, { ...options, forget, onLost });
    this.#checkpoints.mark();
    return isWhole;
  }

  /** I4. The mark goes durably with the next checkpoint: until then a crash brings it back. */
  heal(partition: number, healing: Healing): boolean {
    const isHealed = this.#index.heal(partition, healing);
    if (isHealed) this.#checkpoints.mark();
    return isHealed;
  }

  /** The segment of its partition's digest that a key is summed in. */
  segmentOf(namespaceNumber: number, key: Uint8Array): number {
    return this.#index.ring.place(namespaceNumber, key).segment;
  }

  partitionOf(namespaceNumber: number, key: Uint8Array): number {
    return this.#index.ring.place(namespaceNumber, key).partition;
  }

  /** Marks a partition for the namespaces of these n alone. */
  markLost(partition: number, ns: readonly number[], why: string): void {
    // What is known is no other loss: a filling that is under way is true to its end.
    if (ns.every((n) => this.#index.isDamaged(partition, n))) return;
    this.#markDamaged(partition, why, ns);
  }

  /** The table's key of a key in a partition. */
  tableKey(partition: number, namespaceNumber: number, key: Uint8Array): Uint8Array {
    return tableKey(partition, namespaceNumber, key);
  }

  /** Resolves when everything up to `sequence` is durable; for what reads. */
  whenSynced(sequence: number): Promise<void> {
    return this.#wal.whenSynced(sequence).catch(failRead);
  }

  /** Before "expired at" is answered, the clock's ceiling has to be durably above it (R3). */
  async coverExpiry(expiresAtMs: number): Promise<void> {
    this.mint.observeMs(expiresAtMs);
    if (this.#wal.syncedCeiling <= hlcAt(expiresAtMs)) await this.#coverNow().catch(failRead);
  }

  /**
   * Undefined when the ceiling is durably above a stamp of this store; else resolves when it is (V1). For a
   * stamp of an older origin it may resolve without that: none is minted under that one again.
   */
  coverStamp(stamp: Hlc): Promise<void> | undefined {
    return this.#wal.syncedCeiling > stamp ? undefined : this.#coverNow();
  }

  async #coverNow(): Promise<void> {
    await this.#room.inLog(() => this.#wal.flush());
    // Marks fill segments too: a node that holds nothing would never forget one.
    this.#checkpoints.beginIfDue();
  }

  /** Brings everything into the table. */
  checkpoint(): Promise<void> {
    return this.#checkpoints.all();
  }

  /** Checkpoints and closes; the store's last sequence is durable. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#space.stop();
    this.#checkpoints.stop();
    await this.#scrub?.stop();
    if (this.#failure === undefined) await this.checkpoint().catch(() => {});
    await this.#checkpoints.end();
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
    // Also of what starts have left that wrote little.
    this.#checkpoints.beginIfDue();
    if (this.#limits.scrubBytesPerSecond > 0) {
      this.#scrub = new Scrub({
        index,
        clock: this.#options.clock,
        report,
        bytesPerSecond: this.#limits.scrubBytesPerSecond,
        onDamage: (partition, why) => this.#markDamaged(partition, why),
        onSummed: (partition, summary) => {
          // Durably, or the next round would compare with the sums of before.
          if (index.resum(partition, summary)) this.#checkpoints.mark();
        },
        onClean: () => owner.trusted().catch(() => {}),
      });
    }
  }

  /** The record under a key, intact; undefined when there is none. @throws `corruption` */
  #found(
    namespaceNumber: number,
    key: Uint8Array,
  ): Extract<Held, { readonly kind: "record" }> | undefined {
    this.#refuseEnded();
    const spot = this.#index.spot(namespaceNumber, key);
    const held = this.#index.lookup(spot);
    if (held.kind === "record") return held;
    if (held.kind === "damaged") throw this.#damagedRecord(spot);
    const n = this.#index.nOf(namespaceNumber);
    if (this.#index.isDamaged(spot.place.partition, n)) throw lostPartition(spot);
    return undefined;
  }

  /** W1: into the log and the memtable, unless the same or something newer is there. */
  async #take(
    { namespaceNumber, key, durability }: Pick<Write, "namespaceNumber" | "key" | "durability">,
    { version, bytes, isVital, admit, allow, encode }: Take,
  ): Promise<Written> {
    let room = this.#room.make(bytes, isVital);
    const { clock } = this.#options;
    const endMs = room === undefined ? 0 : clock.monotonicMs() + roomWaitMsMax;
    while (room !== undefined) {
      await room;
      // Another write may have been quicker to take it.
      const isLate = clock.monotonicMs() >= endMs;
      if (isLate && !this.#room.isFor(bytes, isVital)) throw fullOfWaiting();
      room = this.#room.make(bytes, isVital);
    }
    // From here to the append there is no await (invariant 1).
    this.#refuseEnded();
    if (this.#options.isDeleted?.(namespaceNumber) === true) throw deletedNamespace();
    admit?.();
    const spot = this.#index.spot(namespaceNumber, key);
    const held = this.#index.lookup(spot);
    // It cannot know what the write should supersede (I4); where it is the only copy nobody can.
    const isShared = this.#options.owner.isOnlyCopy === false;
    if (held.kind === "damaged" && isShared) {
      this.#markDamaged(spot.place.partition, damagedWhy);
    }
    const present = heldVersion(held);
    if (present !== undefined) {
      const order = compareVersions(present, version);
      if (order >= 0) return this.#passed(held, present, order === 0, durability);
    }
    allow?.(spot.place.partition);
    const { synced, sequence } = this.#append(spot, encode(), held);
    if (durability === "fsync") await synced;
    else if (version.hlc >= this.#wal.syncedCeiling) await this.#wal.whenSynced(sequence);
    return { kind: "took" };
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
    this.#checkpoints.beginIfDue();
    return appended;
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

  /** Without `ns` for all that it holds. */
  #markDamaged(partition: number, why: string, ns?: readonly number[]): void {
    if (!this.#index.damage(partition, ns)) return;
    const { report } = this.#options;
    report.sometimes("store: partition damaged");
    report.log("error", `Partition ${partition} is damaged: ${why}.`, {
      partition,
      hint: "Where other replicas have it, it fills by itself. Where this is the only copy, keys that are not found answer 500 corruption: restore a copy of the folder, or accept the loss with --accept-data-loss.",
    });
    this.#checkpoints.mark();
  }

  #damagedRecord(spot: Spot): QuorateError {
    this.#markDamaged(spot.place.partition, damagedWhy);
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
    this.#checkpoints.stop();
    this.#tellEnded(error);
  }
}

/** Whoever asks has an older document (T8): it would never be removed. */
function deletedNamespace(): QuorateError {
  return new QuorateError("namespace-not-found", "The namespace was deleted.", { outcome: "none" });
}

function isSameVersion(held: Held, record: Uint8Array): boolean {
  const version = heldVersion(held);
  return version !== undefined && compareVersions(version, recordVersion(record)) === 0;
}
