/**
 * Store checkpointer: when the memtable goes into the table, and what happens when it cannot.
 *
 * One checkpoint at a time, in the background: it begins when the memtable is full, when the log has
 * many full segments, when a mark of damage waits, and when somebody asks for it. One for which the
 * disk has no space is tried again every second; any other failure ends the store.
 *
 *     due -> freeze -> log synced up to here -> writeCheckpoint -> thaw -> release the log
 *                                                  ^     | no space
 *                                                  +-----+
 *
 * Invariants
 * 1. Nothing reaches the table before the log has it durably.
 * 2. The log is released up to what a checkpoint that came to its end has written, no further (D5).
 * 3. The memtable of a checkpoint that was given up stays frozen: reads find it, the log has it.
 * 4. After `end` the table is not written to.
 *
 * Effects: Clock, Report, Table and the log. Source: rule D5.
 *
 * @module
 */

import { assert } from "./assert.ts";
import type { Clock, Report } from "./capability.ts";
import type { QuorateError } from "./errors.ts";
import { writeCheckpoint } from "./store_checkpoint.ts";
import { isNoSpace, tableFailure } from "./store_error.ts";
import type { Frozen, StoreIndex } from "./store_index.ts";
import type { TableMeta } from "./store_meta.ts";
import type { Table } from "./table.ts";
import type { Wal } from "./wal.ts";

/** How long a write waits for a full memtable before it is refused. */
const memtableWaitMs = 1000;
const retryMs = 1000;
/** So many full segments of the log call for a checkpoint: small writes fill blocks, not the memtable. */
const segmentsMax = 4;

interface CheckpointerParts {
  readonly clock: Clock;
  readonly report: Report;
  readonly table: Table;
  readonly index: StoreIndex;
  readonly wal: Pick<Wal, "lastSequence" | "fullSegmentCount" | "whenSynced" | "release">;
  /** A memtable of so many bytes is full. */
  readonly memtableBytesMax: number;
  /** What the table says of itself when it has everything up to a sequence. */
  readonly metaAt: (sequence: number) => TableMeta;
  /** The table failed, and not for want of space. */
  readonly onFailure: (error: QuorateError) => void;
}

/** The checkpoints of one store. */
export class Checkpointer {
  readonly #parts: CheckpointerParts;
  /** A mark of damage waits for a checkpoint. */
  #isMarkPending = false;
  #isTableFull = false;
  #underWay: Promise<void> | undefined;
  #isStopped = false;
  #isEnded = false;

  constructor(parts: CheckpointerParts) {
    this.#parts = parts;
  }

  /** The last attempt to write to the table failed for want of space. */
  get isTableFull(): boolean {
    return this.#isTableFull;
  }

  /** Begins a checkpoint when the memtable or the log calls for one. */
  beginIfDue(): void {
    if (this.#underWay === undefined && this.#isDue) void this.begin();
  }

  /** Freezes the memtable and writes it, unless one was given up; never rejects. */
  begin(): Promise<void> {
    assert(this.#underWay === undefined, "store: one checkpoint at a time");
    // Invariant 4: the table may be closed. Invariant 3: it has failed, or the store closes on a full disk.
    if (this.#isEnded || this.#parts.index.frozen !== undefined) return Promise.resolve();
    this.#isMarkPending = false;
    this.#underWay = this.#run().finally(() => {
      this.#underWay = undefined;
      if ((this.#isMarkPending || this.#isDue) && !this.#isStopped) void this.begin();
    });
    return this.#underWay;
  }

  /** Makes a mark of damage durable: with a new checkpoint, as one that is under way may be past that. */
  mark(): void {
    this.#isMarkPending = true;
    if (this.#underWay === undefined) void this.begin();
  }

  /** Brings everything that was taken before into the table. */
  async all(): Promise<void> {
    // Inline, here and below: the caller of a helper goes on a turn later, in which another one may begin.
    while (this.#underWay !== undefined) await this.#underWay;
    const { active } = this.#parts.index;
    if (active.count > 0 || this.#isMarkPending) await this.begin();
  }

  /** Resolves when none is under way, and none will be: the table may be closed. */
  async end(): Promise<void> {
    while (this.#underWay !== undefined) await this.#underWay;
    // What is marked from here on is found again as it was found now, as after a crash.
    this.#isEnded = true;
  }

  /** Waits for the one that is under way or is begun now, but not for long. */
  async makeRoom(): Promise<void> {
    let cancel: () => void = () => {};
    const late = new Promise<void>((resolve) => {
      cancel = this.#parts.clock.after(memtableWaitMs, resolve);
    });
    await Promise.race([this.#underWay ?? this.begin(), late]);
    cancel();
  }

  /** From now on none begins by itself, and one without space is given up. */
  stop(): void {
    this.#isStopped = true;
  }

  get #isDue(): boolean {
    const { index, wal, memtableBytesMax } = this.#parts;
    return index.active.bytes >= memtableBytesMax || wal.fullSegmentCount >= segmentsMax;
  }

  async #run(): Promise<void> {
    const { clock, report, index, wal } = this.#parts;
    const frozen = index.freeze(wal.lastSequence);
    const beganMs = clock.monotonicMs();
    // Invariant 1: so the log's sequences never lag behind the table's.
    try {
      await wal.whenSynced(frozen.sequence);
    } catch {
      return;
    }
    while (!(await this.#write(frozen))) {
      if (this.#isStopped) return;
      await new Promise<void>((resolve) => clock.after(retryMs, resolve));
    }
    index.thaw();
    wal.release(frozen.sequence);
    report.sometimes("store: checkpoint");
    report.observe("checkpoint_ms", clock.monotonicMs() - beganMs);
    report.observe("checkpoint_entries", frozen.memtable.count);
  }

  /** False when it should be tried again: the disk is full. Any other failure ends the store. */
  async #write(frozen: Frozen): Promise<boolean> {
    const { clock, report, table, metaAt, onFailure } = this.#parts;
    try {
      await writeCheckpoint({ table, clock, frozen, meta: metaAt(frozen.sequence) });
      this.#isTableFull = false;
      return true;
    } catch (error) {
      if (!isNoSpace(error)) {
        onFailure(tableFailure(error));
        return false;
      }
      report.sometimes("store: no space for a checkpoint");
      if (!this.#isTableFull) report.log("warn", "The disk is full: no checkpoint was possible.");
      this.#isTableFull = true;
      return false;
    }
  }
}
