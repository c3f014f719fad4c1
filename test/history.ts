/**
 * History: what clients of a cluster did and were told, and whether that can be.
 *
 * Every key has one writer, which writes one value after the other, so that the truth of a key is the
 * list of its writes. Moments are counted, not measured: what ended before something began is earlier.
 *
 *     write 1  |----| ok
 *     write 2          |-----| partial        may be seen from its begin on, or never
 *     write 3                   |---| none    may never be seen
 *     read a              |---|               sees 1 or 2
 *     read b                         |--|     the same, but not 1 when `a` saw 2
 *
 * Invariants of what it is given, each broken one an error that names the key:
 * 1. A strict read that began after a strict write was acknowledged sees that one or a later one (P2).
 * 2. A strict read sees nothing older than what an earlier strict read saw (P3).
 * 3. Nobody ever sees what was never written, or a write that was told to have outcome `none` (P7).
 *
 * @module
 */

import type { Outcome } from "../src/errors.ts";

export type Told = "ok" | Outcome;

export interface Write {
  readonly key: string;
  /** 1 for the first one of its key. */
  readonly number: number;
  readonly kind: "put" | "delete";
  readonly begun: number;
  ended: number;
  told: Told | undefined;
  wasSeen: boolean;
}

export interface Read {
  readonly key: string;
  readonly begun: number;
  /** Nothing older than this number may be seen. */
  readonly least: number;
}

interface Known {
  readonly writes: Write[];
  /** The last number that was acknowledged, or else surely seen. */
  least: number;
}

export class History {
  readonly #keys = new Map<string, Known>();
  #moment = 0;
  acknowledgedCount = 0;
  readCount = 0;

  get keys(): readonly string[] {
    return [...this.#keys.keys()];
  }

  beginWrite(key: string, kind: Write["kind"]): Write {
    const known = this.#known(key);
    const number = known.writes.length + 1;
    const begun = this.#tick();
    const ended = Number.POSITIVE_INFINITY;
    const write: Write = { key, number, kind, begun, ended, told: undefined, wasSeen: false };
    known.writes.push(write);
    return write;
  }

  /** @throws when what was seen already is told not to be */
  endWrite(write: Write, told: Told): void {
    write.ended = this.#tick();
    write.told = told;
    if (told === "ok") {
      this.acknowledgedCount += 1;
      const known = this.#known(write.key);
      known.least = Math.max(known.least, write.number);
    }
    if (told === "none" && write.wasSeen) {
      throw new Error(`'${write.key}': write ${write.number} was seen, and told to be none`);
    }
  }

  beginRead(key: string): Read {
    return { key, begun: this.#tick(), least: this.#known(key).least };
  }

  /** What a strict read saw; undefined: no such key. @throws when that cannot be */
  endRead({ key, least }: Read, seen: string | undefined): void {
    this.#tick();
    this.readCount += 1;
    const known = this.#known(key);
    const fits = known.writes.filter((write) => write.number >= least && isSeen(write, seen));
    const isFirst = least === 0 && seen === undefined;
    const possible = fits.filter(({ told }) => told !== "none");
    if (possible.length === 0 && !isFirst) {
      throw new Error(`'${key}' holds ${seen ?? "nothing"}, but ${shown(known.writes, least)}`);
    }
    if (isFirst) return;
    // Several deletes look alike: only of the oldest of them is it sure that nothing older is left.
    known.least = Math.max(known.least, Math.min(...possible.map(({ number }) => number)));
    if (possible.length === 1) for (const write of possible) write.wasSeen = true;
  }

  #known(key: string): Known {
    const known = this.#keys.get(key) ?? { writes: [], least: 0 };
    this.#keys.set(key, known);
    return known;
  }

  #tick(): number {
    this.#moment += 1;
    return this.#moment;
  }
}

export function valueText({ key, number }: Pick<Write, "key" | "number">): string {
  return `${key}#${number}`;
}

function isSeen(write: Write, seen: string | undefined): boolean {
  return write.kind === "put" ? seen === valueText(write) : seen === undefined;
}

function shown(writes: readonly Write[], least: number): string {
  const told = writes
    .filter(({ number }) => number >= least)
    .map(({ number, kind, told }) => `${kind} ${number} (${told ?? "under way"})`);
  return `it may hold ${told.join(", ") || "nothing"}`;
}
