/**
 * Store scrub: reads the whole table in the background and compares it with what should be there.
 *
 * LMDB's pages carry no checksums: damage can make keys vanish without an error. So every partition
 * is walked, every record looked up and its checksum computed, and the sum over all of them compared
 * with the summary that was committed with them. A partition in which a record is damaged, or the sums
 * differ, is marked: "nothing found" is no answer there any more.
 *
 * Invariants
 * 1. A walk is compared only with the summary that was in the table throughout, and where no newer one is
 *    due. A commit that changes the partition changes its summary's sequence too, and makes the walk begin
 *    again.
 * 2. It reads at most the bytes a second that it was given, in small pieces.
 *
 * Effects: Clock, Table, Report. Source: rule D6; promise P8.
 *
 * @module
 */

import { equal, successor } from "./bytes.ts";
import type { Clock, Report } from "./capability.ts";
import { emptySummary, type Summary, sameSummary } from "./digest.ts";
import { partitionRange } from "./store_entry.ts";
import type { StoreIndex } from "./store_index.ts";
import { decodePartitionMeta, partitionMetaKey } from "./store_meta.ts";
import { addRecord } from "./store_recover.ts";

const pieceBytes = 128 * 1024;
const pieceEntriesMax = 2000;
/** A partition that changes so often during its walk is left for the next round. */
const walksMax = 8;
/** The rest between two rounds. */
const roundEveryMs = 24 * 3600 * 1000;
/** The rest after a round in which some partition changed too often to be judged. */
export const busyRoundEveryMs: number = 60 * 1000;

/** What came of one partition; `busy` could not be judged. */
type Verdict = "clean" | "damaged" | "busy";

export interface ScrubOptions {
  readonly index: StoreIndex;
  readonly clock: Clock;
  readonly report: Report;
  /** Above 0. */
  readonly bytesPerSecond: number;
  /** A partition turned out damaged. */
  readonly onDamage: (partition: number, why: string) => void;
  /** The walk gave a partition's true summary, where the live one could not be kept. */
  readonly onSummed: (partition: number, summary: Summary) => void;
  /** A whole round found nothing wrong. Waited for, so that a stopped scrub has nothing under way. */
  readonly onClean: () => void | Promise<void>;
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
      const verdicts = new Set<Verdict>();
      for (const partition of index.ring.all()) {
        if (this.#isStopped) return;
        verdicts.add(await this.#check(partition));
      }
      if (this.#isStopped) return;
      report.count("scrub_rounds");
      if (!verdicts.has("damaged") && !verdicts.has("busy")) await onClean();
      await this.#pause(verdicts.has("busy") ? busyRoundEveryMs : roundEveryMs);
    }
  }

  /** Walks one partition and judges it. */
  async #check(partition: number): Promise<Verdict> {
    const { index, onDamage } = this.#options;
    try {
      for (let walk = 0; walk < walksMax && !this.#isStopped; walk += 1) {
        const before = this.#summaryBytes(partition);
        const seen = await this.#walk(partition);
        if (!isSame(before, this.#summaryBytes(partition))) continue;
        return this.#judge(partition, seen, before, index.unsummed.has(partition));
      }
      return "busy";
    } catch (error) {
      // LMDB found that a page is not what it should be, or its keys stand in no order.
      const why = error instanceof Error ? error.message : String(error);
      onDamage(partition, `it cannot be read: ${why}`);
      return "damaged";
    }
  }

  #summaryBytes(partition: number): Uint8Array | undefined {
    return this.#options.index.table.get(partitionMetaKey(partition))?.slice();
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
        const isSummed = addRecord(summary, index, partition, { key, value });
        // A walk goes from page to page, and may find what no way from the root leads to any more.
        if (!isSummed || !isSame(index.table.get(key), value)) damagedCount += 1;
      }
      start = successor(last.key);
      await this.#pause((bytes / bytesPerSecond) * 1000);
    }
    return { summary, damagedCount };
  }

  #judge(
    partition: number,
    { summary, damagedCount }: { summary: Summary; damagedCount: number },
    bytes: Uint8Array | undefined,
    isUnsummed: boolean,
  ): Verdict {
    const { index, onDamage, onSummed } = this.#options;
    if (this.#isStopped) return "busy";
    if (bytes === undefined && index.isSummaryDue(partition)) return "busy";
    const isNew = bytes === undefined && !index.written.has(partition);
    const expected = isNew ? emptySummary() : bytes && decodePartitionMeta(bytes)?.summary;
    if (damagedCount > 0) {
      onDamage(partition, `${damagedCount} of its records are damaged or cannot be found`);
      return "damaged";
    }
    if (isUnsummed || expected === undefined) onSummed(partition, summary);
    if (expected === undefined) {
      onDamage(partition, "its summary is damaged or missing");
      return "damaged";
    }
    if (isUnsummed || sameSummary(summary, expected)) return "clean";
    // Counted anew since, here or for a fill: the table has the sums of before, which were not true.
    if (index.isSummaryDue(partition)) return "busy";
    const counts = `${summary.records} records, and ${expected.records} were written`;
    const isOther = summary.records === expected.records;
    onDamage(
      partition,
      isOther ? "its records are not those that were written" : `it holds ${counts}`,
    );
    return "damaged";
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
      this.#cancel = this.#options.clock.after(ms, resolve);
      if (this.#isStopped) resolve();
    });
  }
}

function isSame(one: Uint8Array | undefined, other: Uint8Array | undefined): boolean {
  return one === undefined || other === undefined ? one === other : equal(one, other);
}
