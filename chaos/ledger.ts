/**
 * Ledger: everything that clients asked and were told, judged by the simulator's checkers.
 *
 * A run may last for hours, and the checkers look at every list with every key. So the history has
 * chapters, each with keys of its own. A chapter is judged when it is over; of the older ones only
 * the writes are kept, for the reads at the end.
 *
 * Invariants
 * 1. No key is in two chapters.
 * 2. Every acknowledged write is kept until the end.
 *
 * Effects: none.
 *
 * @module
 */

import { checkHistory, type Violation } from "../sim/check.ts";
import type { Operation } from "../sim/history.ts";
import { failureName, isAcknowledged, type Recorder } from "./client.ts";

const keysOfChapter = 60;
const operationsOfChapterMax = 20_000;

export class Chapter implements Recorder {
  readonly prefix: string;
  readonly keys: readonly string[];
  history: Operation[] = [];
  isJudged = false;

  constructor(number: number) {
    this.prefix = `chaos/c${number}/`;
    this.keys = Array.from({ length: keysOfChapter }, (_, index) => `${this.prefix}k${index}`);
  }

  /** The versions that were acknowledged, by key; or only those that a quorum read has to see. */
  acknowledged(which: "all" | "strict" = "all"): ReadonlyMap<string, readonly string[]> {
    const versions = new Map<string, string[]>();
    for (const operation of this.history) {
      const { told, key, needed, replicas } = operation;
      if (!isAcknowledged(operation) || told.kind !== "written") continue;
      if (which === "strict" && 2 * needed <= replicas) continue;
      const before = versions.get(key);
      if (before === undefined) versions.set(key, [told.version]);
      else before.push(told.version);
    }
    return versions;
  }
}

export class Ledger {
  readonly chapters: Chapter[] = [new Chapter(1)];
  readonly final: Recorder = { history: [] };
  readonly #failures = new Map<string, number>();
  readonly #found: Violation[] = [];
  #acknowledged = 0;
  #requests = 0;

  /** Where the next request belongs. */
  get current(): Chapter {
    const last = this.chapters.at(-1) as Chapter;
    if (last.history.length < operationsOfChapterMax) return last;
    // What the one before has under way was over long ago: another chapter has passed since.
    const before = this.chapters.at(-2);
    if (before !== undefined) this.#judge(before);
    const next = new Chapter(this.chapters.length + 1);
    this.chapters.push(next);
    return next;
  }

  get acknowledgedCount(): number {
    return this.#acknowledged;
  }

  get requestCount(): number {
    return this.#requests;
  }

  /** What failed, by kind and outcome, and how often. */
  get failures(): ReadonlyMap<string, number> {
    return this.#failures;
  }

  /** Counts an operation that is over. */
  count(operation: Operation): void {
    this.#requests += 1;
    if (isAcknowledged(operation)) this.#acknowledged += 1;
    const name = failureName(operation);
    if (name !== undefined) this.#failures.set(name, (this.#failures.get(name) ?? 0) + 1);
  }

  /** After the last read: everything that breaks a promise, and how many writes are readable. */
  judge(): { readonly violations: readonly Violation[]; readonly readable: number } {
    for (const chapter of this.chapters) this.#judge(chapter);
    const writes = this.chapters.flatMap(({ history }) => history);
    const { history: final } = this.final;
    const found = [...this.#found, ...checkHistory([...writes, ...final], final)];
    // What the judgement of a chapter has found may be found again among its writes.
    const violations = new Map(found.map((violation) => [violation.detail, violation]));
    return { violations: [...violations.values()], readable: this.#readable(final) };
  }

  #judge(chapter: Chapter): void {
    if (chapter.isJudged) return;
    chapter.isJudged = true;
    this.#found.push(...checkHistory(chapter.history));
    chapter.history = chapter.history.filter(({ kind }) => kind === "put" || kind === "delete");
  }

  #readable(final: readonly Operation[]): number {
    const held = new Map(final.map((read) => [read.key, heldBy(read)]));
    let count = 0;
    for (const chapter of this.chapters) {
      for (const [key, versions] of chapter.acknowledged()) {
        count += readableOf(versions, held.get(key));
      }
    }
    return count;
  }
}

/** How many of these writes a read shows: that one is there, or a newer one. */
export function readableOf(versions: readonly string[], held: string | undefined): number {
  if (held === undefined) return 0;
  return versions.filter((version) => version <= held).length;
}

/** The version that a read has seen, of a value or a delete; undefined: none, or no answer. */
export function heldBy({ told }: Operation): string | undefined {
  if (told.kind === "found") return told.version;
  return told.kind === "absent" ? told.named : undefined;
}
