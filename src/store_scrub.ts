/**
 * Store scrub: reads the whole table in the background and compares it with what should be there.
 *
 * LMDB's pages carry no checksums: damage can make keys vanish without an error. So every partition
 * is walked, every record's checksum computed, and the sum over all of them compared with the
 * summary that was committed with them. A partition in which a record is damaged, or the sums
 * differ, is marked: "nothing found" is no answer there any more.
 *
 * Invariants
 * 1. A walk is compared only with the summary that was in the table throughout: a checkpoint that
 *    touches the partition meanwhile makes the walk begin again.
 * 2. It reads at most the bytes a second that it was given, in small pieces.
 *
 * Effects: Clock, Table, Report. Source: rule D6; promise P8.
 *
 * @module
 */

import type { Clock, Report } from "./capability.ts";
import { emptySummary, type Summary, sameSummary } from "./digest.ts";
import { partitionRange } from "./store_entry.ts";
import type { StoreIndex } from "./store_index.ts";
import { decodePartitionMeta, partitionMetaKey } from "./store_meta.ts";
import { addRecord, after } from "./store_recover.ts";

const pieceBytes = 128 * 1024;
const pieceEntriesMax = 2000;
/** A partition that changes so often during its walk is left for the next round. */
const walksMax = 3;
/** The rest between two rounds, once a round has found nothing. */
const roundEveryMs = 24 * 3600 * 1000;

export interface ScrubOptions {
  readonly index: StoreIndex;
  readonly clock: Clock;
  readonly report: Report;
  /** Above 0. */
  readonly bytesPerSecond: number;
  /** How often a checkpoint has touched the partition. */
  readonly generation: (partition: number) => number;
  /** A partition turned out damaged. */
  readonly onDamage: (partition: number, why: string) => void;
  /** The walk gave a partition's true summary, where the live one could not be kept. */
  readonly onSummed: (partition: number, generation: number, summary: Summary) => void;
  /** A whole round found nothing wrong. */
  readonly onClean: () => void;
}

/** The walker. */
export class Scrub {
  readonly #options: ScrubOptions;
  #isStopped = false;
  #cancel: () => void = () => {};
  #wake: () => void = () => {};
  /** Settles when the walker has stopped. */
  readonly done: Promise<void>;

  constructor(options: ScrubOptions) {
    this.#options = options;
    this.done = this.#run();
  }

  /** Stops after the piece under way. */
  stop(): Promise<void> {
    this.#isStopped = true;
    this.#cancel();
    this.#wake();
    return this.done;
  }

  async #run(): Promise<void> {
    const { index, onClean, report } = this.#options;
    while (!this.#isStopped) {
      let isClean = true;
      for (const partition of index.ring.all()) {
        if (this.#isStopped) return;
        if (!(await this.#check(partition))) isClean = false;
      }
      if (this.#isStopped) return;
      report.count("scrub_rounds");
      if (isClean) onClean();
      await this.#pause(roundEveryMs);
    }
  }

  /** Walks one partition; false when it is damaged or could not be judged. */
  async #check(partition: number): Promise<boolean> {
    const { generation, index } = this.#options;
    for (let walk = 0; walk < walksMax && !this.#isStopped; walk += 1) {
      const began = generation(partition);
      const seen = await this.#walk(partition);
      if (generation(partition) !== began) continue;
      return this.#judge(partition, began, seen, index.unsummed.has(partition));
    }
    return false;
  }

  async #walk(partition: number): Promise<{ summary: Summary; damagedCount: number }> {
    const { index, bytesPerSecond } = this.#options;
    const summary = emptySummary();
    let damagedCount = 0;
    let { start } = partitionRange(partition);
    const { end } = partitionRange(partition);
    while (!this.#isStopped) {
      const piece = { start, end, limit: pieceEntriesMax, bytesMax: pieceBytes };
      const entries = index.table.range(piece);
      const last = entries.at(-1);
      if (last === undefined) break;
      let bytes = 0;
      for (const { key, value } of entries) {
        bytes += key.length + value.length;
        if (!addRecord(summary, index.ring, partition, key, value)) damagedCount += 1;
      }
      start = after(last.key);
      await this.#pause((bytes / bytesPerSecond) * 1000);
    }
    return { summary, damagedCount };
  }

  #judge(
    partition: number,
    generation: number,
    { summary, damagedCount }: { summary: Summary; damagedCount: number },
    isUnsummed: boolean,
  ): boolean {
    const { index, onDamage, onSummed } = this.#options;
    if (this.#isStopped) return false;
    const bytes = index.table.get(partitionMetaKey(partition));
    const meta = bytes === undefined ? undefined : decodePartitionMeta(bytes.slice());
    const expected = bytes === undefined ? emptySummary() : meta?.summary;
    if (damagedCount > 0) {
      onDamage(partition, `${damagedCount} of its records are damaged`);
      return false;
    }
    if (isUnsummed || expected === undefined) onSummed(partition, generation, summary);
    if (expected === undefined) {
      onDamage(partition, "its summary is damaged");
      return false;
    }
    if (!isUnsummed && !sameSummary(summary, expected)) {
      onDamage(
        partition,
        `it holds ${summary.records} records, and ${expected.records} were written`,
      );
      return false;
    }
    return true;
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
      this.#cancel = this.#options.clock.after(ms, resolve);
      if (this.#isStopped) resolve();
    });
  }
}
