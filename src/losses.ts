/**
 * Losses: that this store was rolled back, and what of it has data again since.
 *
 * A store that was rolled back knows nothing of what it had acknowledged: none of its partitions has data
 * until it was filled from others (I4). Which ones were is kept, so that a start goes on where the last
 * one ended. What it had forgotten of votes and promises nobody can give back: that it was rolled back
 * stays, until another store takes its place.
 *
 * The sequence by which others remember it goes on above what they had heard before: `base` is added to
 * its own. Else a second loss would hide behind the first, until the own sequence had grown past that.
 *
 *     heard of it 1000 | rolled back to 500 | base 1000: 1501, 1502, ... | rolled back to 600: tells 1600
 *
 * Invariants
 * 1. `recognise` and `fill` are durable when they resolve, before anyone relies on them.
 * 2. `base` never goes down.
 *
 * Effects: Disk. Source: rules I3, I4; promise P9.
 *
 * @module
 */

import { isCount, isFields } from "./agreed.ts";
import type { Disk } from "./capability.ts";
import { Slots } from "./slots.ts";
import { pairNumber, replicasMax } from "./topology.ts";

const slotName = "lost";

/** A partition as namespaces of one n see it. */
interface Pair {
  readonly partition: number;
  readonly n: number;
}

interface Loss {
  /** What others had heard of the store when it was found. */
  readonly base: number;
  /** Pairs by `pairNumber`. */
  readonly filled: ReadonlySet<number>;
}

export class Losses {
  readonly #slots: Slots;
  #loss: Loss | undefined;
  #last: Promise<unknown> = Promise.resolve();

  private constructor(slots: Slots, loss: Loss | undefined) {
    this.#slots = slots;
    this.#loss = loss;
  }

  static async open(disk: Disk): Promise<Losses> {
    const slots = await Slots.open(disk, slotName);
    if (slots.found === undefined) return new Losses(slots, undefined);
    await slots.settle();
    return new Losses(slots, read(slots.found));
  }

  /** Whether the store was ever rolled back. */
  get isLost(): boolean {
    return this.#loss !== undefined;
  }

  /** Whether something has data again, by others or by an operator's word, since the store was rolled back. */
  get hasFilled(): boolean {
    return this.#loss !== undefined && this.#loss.filled.size > 0;
  }

  /** What is added to its own sequence when others are told of it; 0: nothing. */
  get base(): number {
    return this.#loss?.base ?? 0;
  }

  /** Whether a partition has data, as far as a roll back is concerned. */
  hasData(partition: number, n: number): boolean {
    return this.#loss === undefined || this.#loss.filled.has(pairNumber(partition, n));
  }

  /** The store was rolled back, once more perhaps: nothing of it has data. `heard`: how far others know it. */
  recognise(heard: number): Promise<void> {
    return this.#change((loss) => ({ base: Math.max(loss?.base ?? 0, heard), filled: new Set() }));
  }

  /** Others had heard more of the store that was rolled back than the one that told first. */
  hear(heard: number): Promise<void> {
    return this.#change((loss) =>
      loss === undefined || heard <= loss.base ? undefined : { ...loss, base: heard },
    );
  }

  /** What the other replicas have is here, and is synced. */
  fill(pairs: readonly Pair[]): Promise<void> {
    return this.#change((loss) => {
      if (loss === undefined) return undefined;
      const names = pairs.map(({ partition, n }) => pairNumber(partition, n));
      return { ...loss, filled: new Set([...loss.filled, ...names]) };
    });
  }

  /** An operator takes what is here for all that there is, for each of so many partitions. */
  accept(partitions: number): Promise<void> {
    return this.fill(
      Array.from({ length: partitions * replicasMax }, (_, at) => ({
        partition: Math.floor(at / replicasMax),
        n: (at % replicasMax) + 1,
      })),
    );
  }

  /** `step` answers undefined where nothing has to change. */
  #change(step: (loss: Loss | undefined) => Loss | undefined): Promise<void> {
    const turn = this.#last.then(async () => {
      const next = step(this.#loss);
      if (next === undefined) return;
      await this.#slots.write({ base: next.base, filled: [...next.filled] });
      this.#loss = next;
    });
    this.#last = turn.catch(() => {});
    return turn;
  }
}

/** An older version of the program kept what a node had remembered, and filled nothing. */
function read(found: unknown): Loss {
  const raw = isFields(found) ? found : {};
  const { base, remembered, filled } = raw;
  const names = Array.isArray(filled) ? filled.filter(isCount) : [];
  const heard = isCount(base) ? base : isCount(remembered) ? remembered : 0;
  return { base: heard, filled: new Set(names) };
}
