/**
 * WAL: where a write becomes durable.
 *
 * One writer appends batches to the active segment. Entries that arrive while a batch is being
 * written and synced go out together in the next one (group commit: one write, one fdatasync), and
 * everyone who waits on them shares one promise. The next segment is made ready off the request path,
 * of one that is not needed any more if there is any (`wal_segment`).
 *
 *     append a b        append c d e
 *        |  write [a b] sync  |  write [c d e] sync |
 *                          a b durable           c d e durable
 *
 * Invariants
 * 1. Sequences ascend by one; a batch is written only when all before it is synced.
 * 2. `synced` resolves only after an fdatasync that came after the write of the whole batch.
 * 3. After a failed write or sync nothing is written or synced again, and every wait rejects (D4).
 * 4. An entry is taken only when there is room for it in bytes that are already on the disk, so
 *    that a full disk is told before anything is written.
 *
 * Effects: Disk, Clock, Random, Report. Source: rules D1 to D5, V1; DeWitt et al.,
 * "Implementation Techniques for Main Memory Database Systems" (1984), section 5, for group commit;
 * Rebello et al., "Can Applications Recover from fsync Failures?" (2020).
 *
 * @module
 */

import { assert } from "./assert.ts";
import type { Clock, Disk, Random, Report } from "./capability.ts";
import { systemErrorCode } from "./capability.ts";
import { QuorateError } from "./errors.ts";
import {
  alignUp,
  batchBodyBytesMax,
  batchBytes,
  batchHeaderBytes,
  blockBytes,
  countThatFits,
  encodeBatch,
  encodeSegmentHeader,
  entryBytes,
  type WalEntry,
} from "./wal_format.ts";
import {
  type ActiveSegment,
  activate,
  createSegment,
  noSpace,
  type PreparedSegment,
  requireSpace,
  type SegmentFile,
  zeroFile,
} from "./wal_segment.ts";

export const segmentBytesDefault = 64 * 1024 * 1024;
/** The first segment after an opening is short: opening does not wait for 64 MiB of zeros. */
const starterBytesMax = 1024 * 1024;
/** The next segment is made ready when the active one is used up to a sixteenth. */
const prepareAtFraction = 1 / 16;
const markDelayMs = 100;
const prepareRetryMs = 1000;
/** How many segments a write waits for, when others take their room. */
const roomTriesMax = 16;

export interface WalOptions {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly random: Random;
  readonly report: Report;
  /** 16 bytes. */
  readonly storeId: Uint8Array;
  readonly segmentBytes: number;
  /** The clock's ceiling that the next batch makes durable (V1). */
  readonly ceiling: () => bigint;
  /** Called once when a write or sync has failed. */
  readonly onEnd: (error: QuorateError) => void;
}

/** What recovery hands to the writer. */
export interface WalStart {
  readonly nextSequence: number;
  /** The index of the next segment. */
  readonly nextIndex: number;
  readonly segments: readonly SegmentFile[];
  /** Entries that were found above every mark: they are written again before they are believed. */
  readonly tail: readonly WalEntry[];
}

interface Flush {
  readonly promise: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: QuorateError) => void;
}

/** The writer of the log. */
export class Wal {
  readonly #options: WalOptions;
  #active: ActiveSegment;
  #next: PreparedSegment | undefined;
  #preparing: Promise<boolean> | undefined;
  #prepareFailedAtMs = Number.NEGATIVE_INFINITY;
  #retired: SegmentFile[] = [];
  #trimming: Promise<void> | undefined;
  #segments: SegmentFile[];
  #lastSequence: number;
  #syncedSequence: number;
  #syncedCeiling = 0n;
  #queue: WalEntry[] = [];
  /** What the queued entries would take if each went out alone. */
  #queuedRoom = 0;
  #flush = newFlush();
  /** Resolves with the batches that are being written. */
  #underWay: Promise<void> = Promise.resolve();
  /** A batch is due although no entry is queued. */
  #forced = false;
  #running: Promise<void> | undefined;
  #lastWasMark = true;
  #cancelMark = () => {};
  #ended: QuorateError | undefined;
  #closed = false;
  #buffer = new Uint8Array(alignUp(64 * 1024));

  private constructor(options: WalOptions, start: WalStart, active: ActiveSegment) {
    this.#options = options;
    this.#active = active;
    this.#segments = [...start.segments];
    this.#lastSequence = start.nextSequence - 1;
    this.#syncedSequence = start.nextSequence - 1 - start.tail.length;
  }

  /**
   * Begins a new segment after what recovery believed. The tail that no mark covers is written and
   * synced again before anything else (D4); otherwise a mark is, which makes a ceiling durable.
   */
  static async begin(options: WalOptions, start: WalStart): Promise<Wal> {
    const tailBytes = start.tail.reduce((sum, entry) => sum + entryBytes(entry.payload.length), 0);
    const starterBytes = Math.min(options.segmentBytes, starterBytesMax);
    const bytesMin = blockBytes + batchBytes(tailBytes);
    const bytes = Math.max(alignUp(starterBytes), bytesMin);
    const prepared = await createSegment(options, start.nextIndex, bytes).catch((error) => {
      // On a full disk what there is can still be read, and deletes and a checkpoint make room.
      if (systemErrorCode(error) !== "ENOSPC") throw error;
      options.report.sometimes("wal: begun on a full disk");
      return createSegment(options, start.nextIndex, bytesMin, { isTried: true });
    });
    const firstSequence = start.nextSequence - start.tail.length;
    const wal = new Wal(options, start, activate(options.random, prepared));
    await wal.#writeBatch([...start.tail], firstSequence);
    if (wal.#ended === undefined) return wal;
    await wal.close();
    throw wal.#ended;
  }

  /** The highest sequence given. */
  get lastSequence(): number {
    return this.#lastSequence;
  }

  /** Everything up to here is durable. */
  get syncedSequence(): number {
    return this.#syncedSequence;
  }

  /** The ceiling that is durable, and stays so: that of the newest batch. */
  get syncedCeiling(): bigint {
    return this.#syncedCeiling;
  }

  get ended(): QuorateError | undefined {
    return this.#ended;
  }

  /** Segments that are full and hold something that was not released. */
  get fullSegmentCount(): number {
    return this.#segments.length;
  }

  /**
   * Whether an entry can be taken now. A vital one (a delete, a repair) may use the last of the
   * room; a growing one leaves some for these.
   */
  hasRoom(payloadBytes: number, vital: boolean): boolean {
    const kept = vital ? 0 : Math.min(256 * 1024, this.#options.segmentBytes / 8);
    const needed = this.#queuedRoom + batchBytes(entryBytes(payloadBytes)) + kept;
    return needed <= this.#freeBytes();
  }

  /**
   * Waits until the entry fits, with a segment that is made ready for it or for others. Others may be
   * quicker to take the room: the caller asks `hasRoom` once more.
   *
   * @throws `disk-full` when there is no space for a segment, `overloaded`
   */
  async makeRoom(payloadBytes: number, vital: boolean): Promise<void> {
    for (let attempt = 0; attempt < roomTriesMax; attempt += 1) {
      if (this.#ended !== undefined || this.#closed) throw this.#refusal();
      const bytes = blockBytes + this.#queuedRoom + 2 * batchBytes(entryBytes(payloadBytes));
      const isReady = await this.#prepare(
        Math.max(alignUp(bytes) + 256 * 1024, this.#options.segmentBytes),
      );
      if (this.#ended !== undefined) throw this.#refusal();
      if (this.hasRoom(payloadBytes, vital)) return;
      if (!isReady) throw noSpace();
    }
    throw new QuorateError(
      "overloaded",
      "More bytes wait to be written to the log than a segment holds.",
      { outcome: "none", retryAfterSeconds: 1, hint: "Repeat the request a little later." },
    );
  }

  /**
   * Takes an entry into the next batch. The caller has made sure of the room. `synced` is shared by
   * the batch; it rejects with outcome `unknown` when the batch could not be made durable.
   */
  append(entry: WalEntry): { readonly sequence: number; readonly synced: Promise<void> } {
    if (this.#ended !== undefined || this.#closed) throw this.#refusal();
    this.#lastSequence += 1;
    this.#queue.push(entry);
    this.#queuedRoom += batchBytes(entryBytes(entry.payload.length));
    this.#run();
    return { sequence: this.#lastSequence, synced: this.#flush.promise };
  }

  /** Resolves when everything given so far is durable, and a new ceiling with it. */
  async flush(): Promise<void> {
    while (!this.hasRoom(0, true)) await this.makeRoom(0, true);
    if (this.#ended !== undefined || this.#closed) throw this.#refusal();
    this.#forced = true;
    this.#run();
    await this.#flush.promise;
  }

  /** Resolves when the entry with this sequence is durable. */
  whenSynced(sequence: number): Promise<void> {
    if (sequence <= this.#syncedSequence) return Promise.resolve();
    if (this.#ended !== undefined) return Promise.reject(this.#lost());
    const firstQueued = this.#lastSequence - this.#queue.length + 1;
    // What is being written now resolves before the queue's own flush: wait on the later of both.
    return sequence >= firstQueued ? this.#flush.promise : this.#underWay;
  }

  /**
   * Segments that hold nothing above `sequence` are not needed any more (D5 is the caller's). The last one stays
   * while the active one may still be blank: a log without any batch cannot be told from one that is gone (D2).
   */
  release(sequence: number): void {
    const kept = this.#active.isBegun ? 0 : 1;
    while (this.#segments.length > kept) {
      const oldest = this.#segments[0] as SegmentFile;
      if (oldest.lastSequence > sequence) break;
      this.#segments.shift();
      this.#retired.push(oldest);
      this.#options.report.sometimes("wal: segment retired");
    }
    this.#trim();
  }

  /** Writes what is queued and a last mark, then closes the files. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#cancelMark();
    if (this.#ended === undefined && (!this.#lastWasMark || this.#queue.length > 0)) {
      await this.flush().catch(() => {});
      // The batch that carried the last entries is not a mark: one more says that it was synced.
      if (this.#ended === undefined && !this.#lastWasMark) await this.flush().catch(() => {});
    }
    this.#closed = true;
    await this.#running;
    await this.#preparing;
    await this.#trimming;
    // All that counts is synced: a failing close loses nothing.
    await this.#active.file.close().catch(() => {});
    await this.#next?.file.close().catch(() => {});
  }

  #freeBytes(): number {
    return this.#next === undefined
      ? this.#active.bytes - Math.max(blockBytes, this.#active.offset)
      : this.#next.bytes - blockBytes;
  }

  #run(): void {
    if (this.#running !== undefined) return;
    this.#cancelMark();
    // What is ready in this turn goes out in one batch.
    this.#running = new Promise((resolve) => {
      this.#options.clock.soon(() => {
        this.#drain().then(resolve);
      });
    });
  }

  async #drain(): Promise<void> {
    while ((this.#queue.length > 0 || this.#forced) && this.#ended === undefined) {
      const flush = this.#flush;
      this.#flush = newFlush();
      this.#underWay = flush.promise;
      this.#forced = false;
      const queue = this.#queue;
      this.#queue = [];
      await this.#writeAll(queue);
      if (this.#ended !== undefined) flush.reject(this.#lost());
      else flush.resolve();
      if (this.#queue.length > 0) await this.#turn();
    }
    this.#running = undefined;
    if (this.#ended !== undefined) this.#flush.reject(this.#lost());
    else if (this.#queue.length > 0 || this.#forced) this.#run();
    else this.#markLater();
  }

  /** Lets what became ready while a batch was synced join the next one. */
  #turn(): Promise<void> {
    return new Promise((resolve) => this.#options.clock.soon(resolve));
  }

  /** Writes the entries in as many batches as they need; none at all gives a mark. */
  async #writeAll(entries: readonly WalEntry[]): Promise<void> {
    let taken = 0;
    while (this.#ended === undefined) {
      const count = countThatFits(entries, taken, this.#bodyRoom());
      if (count === 0 && (taken < entries.length || this.#bodyRoom() < 0)) {
        await this.#roll();
        continue;
      }
      const part = entries.slice(taken, taken + count);
      // A mark was not queued; like the others it takes room before the segment's offset shows it.
      if (part.length === 0) this.#queuedRoom += batchBytes(0);
      await this.#writeBatch(part, this.#syncedSequence + 1);
      if (part.length === 0) this.#queuedRoom -= batchBytes(0);
      for (const entry of part) this.#queuedRoom -= batchBytes(entryBytes(entry.payload.length));
      taken += count;
      if (taken === entries.length) return;
    }
  }

  /** The largest body for which the active segment has room; below zero when not even a mark fits. */
  #bodyRoom(): number {
    const { bytes, offset } = this.#active;
    return bytes - (offset === 0 ? blockBytes : offset) - batchHeaderBytes;
  }

  async #writeBatch(entries: readonly WalEntry[], firstSequence: number): Promise<void> {
    const { clock, report } = this.#options;
    const active = this.#active;
    const bodyBytes = entries.reduce((sum, entry) => sum + entryBytes(entry.payload.length), 0);
    // A new segment's header goes out with its first batch, in one write.
    const begins = active.offset === 0;
    const batchAt = begins ? blockBytes : 0;
    const bytes = batchAt + batchBytes(bodyBytes);
    assert(active.offset + bytes <= active.bytes, "wal: a batch fits bytes that are on the disk");
    if (this.#buffer.length < bytes) this.#buffer = new Uint8Array(bytes);
    const { storeId } = this.#options;
    const { index, salt } = active;
    if (begins) {
      const header = { index, salt, firstSequence, storeId, bytes: active.bytes };
      encodeSegmentHeader(header, this.#buffer);
    }
    const ceiling = this.#options.ceiling();
    const syncedSequence = firstSequence - 1;
    encodeBatch(entries, { salt, firstSequence, syncedSequence, ceiling }, this.#buffer, batchAt);
    const beganMs = clock.monotonicMs();
    const offset = active.offset;
    // At once: what is being written is no room for those who ask meanwhile.
    active.offset += bytes;
    try {
      await active.file.writeSynced(this.#buffer.subarray(0, bytes), offset);
    } catch (error) {
      this.#end(error);
      return;
    }
    report.observe("wal_sync_ms", clock.monotonicMs() - beganMs);
    report.observe("wal_batch_entries", entries.length);
    report.observe("wal_batch_bytes", bytes);
    active.isBegun = true;
    this.#syncedSequence = firstSequence + entries.length - 1;
    // Not the highest one: the batch that carried it may be in a segment that is released.
    this.#syncedCeiling = ceiling;
    this.#lastWasMark = entries.length === 0;
    if (this.#buffer.length > batchBodyBytesMax * 2) this.#buffer = new Uint8Array(64 * 1024);
    if (active.offset > active.bytes * prepareAtFraction) this.#prepareInBackground();
  }

  /** Goes on in the next segment. */
  async #roll(): Promise<void> {
    if (this.#next === undefined) await this.#prepare(this.#options.segmentBytes);
    const next = this.#next;
    if (next === undefined) {
      this.#end(new Error("ENOSPC: no segment could be made ready"));
      return;
    }
    const { index, name, file } = this.#active;
    this.#segments.push({ index, name, lastSequence: this.#syncedSequence });
    this.#next = undefined;
    this.#active = activate(this.#options.random, next);
    this.#options.report.sometimes("wal: segment rolled");
    // All of it is synced: a failing close loses nothing.
    await file.close().catch(() => {});
  }

  #prepareInBackground(): void {
    if (this.#next !== undefined || this.#preparing !== undefined) return;
    if (this.#options.clock.monotonicMs() < this.#prepareFailedAtMs + prepareRetryMs) return;
    void this.#prepare(this.#options.segmentBytes);
  }

  /**
   * Makes the next segment ready, of at least `bytes` unless another call is at it already: two at
   * once would make the same file, the second one over the first. False when there was no space.
   */
  #prepare(bytes: number): Promise<boolean> {
    this.#preparing ??= this.#prepareOne(bytes).finally(() => {
      this.#preparing = undefined;
    });
    return this.#preparing;
  }

  async #prepareOne(bytes: number): Promise<boolean> {
    const { clock, report } = this.#options;
    const ready = this.#next;
    if (ready !== undefined && ready.bytes >= bytes) return true;
    try {
      if (ready !== undefined) await this.#extend(ready, bytes);
      else await this.#create(bytes);
      return true;
    } catch (error) {
      this.#prepareFailedAtMs = clock.monotonicMs();
      report.sometimes("wal: no space for a segment");
      report.log("warn", "No segment of the write-ahead log could be made ready.", {
        why: error instanceof Error ? error.message : String(error),
        hint: "Free space on the node's disk; writes resume by themselves.",
      });
      return false;
    }
  }

  async #extend(ready: PreparedSegment, bytes: number): Promise<void> {
    // By a handle of its own: the writer may begin the segment meanwhile, and even be done with it.
    const file = await this.#options.disk.open(ready.name, "write");
    try {
      await requireSpace(this.#options.disk, bytes - ready.bytes);
      await zeroFile(this.#options, file, ready.bytes, bytes);
    } finally {
      await file.close();
    }
    if (this.#next === ready) this.#next = { ...ready, bytes };
  }

  /** Made of a segment that is not needed any more, where there is one; on a full disk of one that is long enough. */
  async #create(bytes: number): Promise<void> {
    for (;;) {
      const retired = this.#retired.shift();
      try {
        this.#next = await createSegment(this.#options, this.#active.index + 1, bytes, {
          retired,
        });
        return;
      } catch (error) {
        // One that was too short is gone, and its space is free.
        if (retired === undefined || systemErrorCode(error) !== "ENOSPC") throw error;
      }
    }
  }

  /**
   * One spare is enough; what else is retired goes, the oldest first. Not only when another segment is made:
   * starts that write little make none, and each of them leaves one.
   */
  #trim(): void {
    this.#trimming ??= this.#removeRetired().finally(() => {
      this.#trimming = undefined;
    });
  }

  async #removeRetired(): Promise<void> {
    while (this.#retired.length > 1 && this.#ended === undefined) {
      const oldest = this.#retired.shift() as SegmentFile;
      // One that stays is retired by the next start again.
      await this.#options.disk.remove(oldest.name).catch(() => {});
    }
  }

  #markLater(): void {
    if (this.#lastWasMark || this.#closed || this.#ended !== undefined) return;
    this.#cancelMark = this.#options.clock.after(markDelayMs, () => {
      if (this.#closed || this.#running !== undefined || this.#ended !== undefined) return;
      // The last room is for entries: a mark is a help, not a duty.
      if (this.#freeBytes() < 4 * blockBytes) return;
      this.flush().catch(() => {});
    });
  }

  #end(error: unknown): void {
    const why = error instanceof Error ? error.message : String(error);
    const code = systemErrorCode(error) ?? "unknown";
    this.#ended = new QuorateError(
      "read-only",
      `Writing to the write-ahead log '${this.#active.name}' failed (${code}): ${why}`,
      {
        hint: "Check the disk, then start the node again: it reads back what the disk has kept.",
        cause: error,
      },
    );
    this.#options.report.sometimes("wal: write or sync failed");
    this.#options.onEnd(this.#ended);
  }

  /** For an entry that was taken: it may be on the disk or not. */
  #lost(): QuorateError {
    const ended = this.#ended as QuorateError;
    return new QuorateError("read-only", ended.detail, { ...ended.facts, outcome: "unknown" });
  }

  /** For an entry that was not taken. */
  #refusal(): QuorateError {
    if (this.#ended === undefined) {
      return new QuorateError("draining", "The store is closed.", { outcome: "none" });
    }
    const { detail, facts } = this.#ended;
    return new QuorateError("read-only", detail, { ...facts, outcome: "none" });
  }
}

function newFlush(): Flush {
  let resolve: () => void = () => {};
  let reject: (error: QuorateError) => void = () => {};
  const promise = new Promise<void>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  // Nobody may be waiting (durability=memory, marks): that is not an unhandled rejection.
  promise.catch(() => {});
  return { promise, resolve, reject };
}
