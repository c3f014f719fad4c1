/**
 * Holdings: under which joins this node holds its partitions, and which of these it has filled.
 *
 * A member that left a set and comes back later must not take up what it held before: deletes that
 * everybody has forgotten since would be undone. So what is held is held under a join, the epoch at
 * which the document says that the member came into the set; under any other one it is removed first.
 * What was copied to the end is told likewise, so that a start goes on where the last one ended.
 *
 *     since 12       what has joined up to epoch 12 is held: it was so when this was first kept
 *     kept  7 -> 31  partition 7, for each n: held since the join of epoch 31
 *
 * Invariants
 * 1. `keep` and `fill` are durable when they resolve, before anyone relies on them.
 * 2. A join newer than `since` is held only after `keep` has said so.
 * 3. A join never takes the place of a newer one: who kept it may have begun before that came.
 *
 * Effects: Disk. Source: rules T5, T6.
 *
 * @module
 */

import type { Disk } from "./capability.ts";
import { QuorateError } from "./errors.ts";
import { Slots } from "./slots.ts";
import { replicasMax } from "./topology.ts";

const slotName = "holdings";
const holdingsFormat = 1;

/** A partition as namespaces of one n see it, and the epoch at which this node joined its set. */
export interface Holding {
  readonly partition: number;
  readonly n: number;
  readonly join: number;
}

/** For each partition, by n from 1: the epoch of a join; 0: none. */
type Joins = Map<number, readonly number[]>;

interface Kept {
  readonly since: number;
  readonly kept: Joins;
  readonly filled: Joins;
}

export class Holdings {
  readonly #slots: Slots;
  #now: Kept;
  #last: Promise<unknown> = Promise.resolve();

  private constructor(slots: Slots, now: Kept) {
    this.#slots = slots;
    this.#now = now;
  }

  /** Reads them; a folder without any holds what the document of now gives it. */
  static async open(disk: Disk, epoch: number): Promise<Holdings> {
    const slots = await Slots.open(disk, slotName);
    if (slots.found === undefined) {
      const first = { since: epoch, kept: new Map(), filled: new Map() };
      const holdings = new Holdings(slots, first);
      await slots.write(written(first));
      return holdings;
    }
    const now = read(slots.found);
    if (now === undefined) {
      throw new QuorateError(
        "wrong-data-folder",
        "What this node holds, and since when, is kept in a form that this version does not read.",
        { hint: "Use the version of Quorate that wrote it, or a newer one." },
      );
    }
    await slots.settle();
    return new Holdings(slots, now);
  }

  /** Whether what is there is held under this join. */
  isKept({ partition, n, join }: Holding): boolean {
    return join <= this.#now.since || this.#now.kept.get(partition)?.[n - 1] === join;
  }

  /** Whether the copy for this join came to its end. */
  isFilled({ partition, n, join }: Holding): boolean {
    return this.#now.filled.get(partition)?.[n - 1] === join;
  }

  /** Nothing of an older join is there any more. */
  keep(holdings: readonly Holding[]): Promise<void> {
    return this.#change((now) => ({ ...now, kept: withJoins(now.kept, holdings) }));
  }

  /** All that the old replicas had was copied, and is synced. */
  fill(holdings: readonly Holding[]): Promise<void> {
    return this.#change((now) => ({ ...now, filled: withJoins(now.filled, holdings) }));
  }

  #change(step: (now: Kept) => Kept): Promise<void> {
    const turn = this.#last.then(async () => {
      const next = step(this.#now);
      await this.#slots.write(written(next));
      this.#now = next;
    });
    this.#last = turn.catch(() => {});
    return turn;
  }
}

function withJoins(joins: Joins, holdings: readonly Holding[]): Joins {
  const next: Joins = new Map(joins);
  for (const { partition, n, join } of holdings) {
    const epochs = [...(next.get(partition) ?? new Array<number>(replicasMax).fill(0))];
    epochs[n - 1] = Math.max(join, epochs[n - 1] ?? 0);
    next.set(partition, epochs);
  }
  return next;
}

function written({ since, kept, filled }: Kept): unknown {
  return { format: holdingsFormat, since, kept: [...kept], filled: [...filled] };
}

function read(raw: unknown): Kept | undefined {
  if (typeof raw !== "object" || raw === null) return undefined;
  const { format, since, kept, filled } = raw as Record<string, unknown>;
  if (format !== holdingsFormat || !isEpoch(since)) return undefined;
  if (!isJoins(kept) || !isJoins(filled)) return undefined;
  return { since, kept: new Map(kept), filled: new Map(filled) };
}

function isJoins(raw: unknown): raw is [number, number[]][] {
  return (
    Array.isArray(raw) &&
    raw.every(
      (pair) =>
        Array.isArray(pair) &&
        isEpoch(pair[0]) &&
        Array.isArray(pair[1]) &&
        pair[1].length === replicasMax &&
        pair[1].every(isEpoch),
    )
  );
}

function isEpoch(raw: unknown): raw is number {
  return Number.isSafeInteger(raw) && (raw as number) >= 0;
}
