/**
 * Remembered: how far the stores of other nodes had come, so that one that was rolled back is told.
 *
 * Every reply of a node tells its store's synced sequence. The highest is kept, durably a moment
 * later: what a crash forgets is what was heard in that moment. A node that asks is told what was
 * heard before its present start: of what it took since then it has lost nothing, although one that
 * could not be reached when it started tells it late.
 *
 *     heard 40, 52 | another start is met: 52 is from before it | heard 53, 61     asked: 52
 *
 * Invariants
 * 1. The sequence kept for a store never goes down, and neither does the one from before its start.
 * 2. A member's store is never forgotten for another's: whoever waits to be taken in is heard of too, and is
 *    another store at each start with an empty folder.
 *
 * Effects: Clock, Disk. Source: rule I3.
 *
 * @module
 */

import { isCount, isFields, isId } from "./agreed.ts";
import type { Clock, Disk } from "./capability.ts";
import { Slots } from "./slots.ts";

const slotName = "remembered";
const keepMs = 2000;
/** More stores than members ever were at once: those that are no members' are forgotten first. */
const storesMax = 1000;

/** One run of a node's process. */
export interface Life {
  readonly boot: number;
  /** Drawn by the process; empty: it does not say. */
  readonly start: string;
}

interface Known {
  readonly life: Life;
  /** The highest sequence of the store. */
  readonly sequence: number;
  /** The same, of what was heard before this life was. */
  readonly before: number;
}

const unknownLife: Life = { boot: 0, start: "" };

export class Remembered {
  readonly #slots: Slots;
  readonly #clock: Clock;
  readonly #isMember: (storeId: string) => boolean;
  readonly #stores: Map<string, Known>;
  #isDue = false;
  #isClosed = false;
  #cancel: () => void = () => {};
  #writing: Promise<void> = Promise.resolve();

  private constructor(
    slots: Slots,
    clock: Clock,
    isMember: (storeId: string) => boolean,
    stores: Map<string, Known>,
  ) {
    this.#slots = slots;
    this.#clock = clock;
    this.#isMember = isMember;
    this.#stores = stores;
  }

  static async open(
    disk: Disk,
    clock: Clock,
    isMember: (storeId: string) => boolean = () => true,
  ): Promise<Remembered> {
    const slots = await Slots.open(disk, slotName);
    if (slots.found !== undefined) await slots.settle();
    const found = isFields(slots.found) ? slots.found : {};
    const sequences = isFields(found["sequences"]) ? found["sequences"] : {};
    const lives = isFields(found["lives"]) ? found["lives"] : {};
    const stores = new Map<string, Known>();
    for (const [storeId, sequence] of Object.entries(sequences)) {
      if (!isId(storeId) || !isCount(sequence)) continue;
      stores.set(storeId, readKnown(sequence, lives[storeId]));
    }
    return new Remembered(slots, clock, isMember, stores);
  }

  /** The highest synced sequence of a store that was heard of; 0: none. */
  of(storeId: string): number {
    return this.#stores.get(storeId)?.sequence ?? 0;
  }

  /** A start of a store's node has introduced itself: what was heard of the store before it; 0: nothing. */
  meet(storeId: string, life: Life): number {
    const known = this.#stores.get(storeId);
    if (known === undefined) {
      this.#set(storeId, { life, sequence: 0, before: 0 });
      return 0;
    }
    if (isSame(known.life, life)) return known.before;
    const { sequence } = known;
    // The words of an earlier start may come late.
    if (life.boot >= known.life.boot) this.#set(storeId, { life, sequence, before: sequence });
    return sequence;
  }

  note(storeId: string, life: Life, heard: number): void {
    const known = this.#stores.get(storeId) ?? { life, sequence: 0, before: 0 };
    const sequence = Math.max(known.sequence, heard);
    // A reply of an earlier start, after the present one was met.
    const before = isSame(known.life, life) ? known.before : Math.max(known.before, heard);
    if (sequence === known.sequence && before === known.before) return;
    this.#set(storeId, { life: known.life, sequence, before });
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancel();
    if (this.#isDue) this.#keep();
    await this.#writing;
  }

  #set(storeId: string, known: Known): void {
    if (!this.#stores.has(storeId) && !this.#makeRoom()) return;
    this.#stores.set(storeId, known);
    this.#keepLater();
  }

  #keepLater(): void {
    if (this.#isDue || this.#isClosed) return;
    this.#isDue = true;
    this.#cancel = this.#clock.after(keepMs, () => this.#keep());
  }

  /** Where there is none, the first one that is no member's goes. */
  #makeRoom(): boolean {
    if (this.#stores.size < storesMax) return true;
    for (const storeId of this.#stores.keys()) {
      if (!this.#isMember(storeId)) return this.#stores.delete(storeId);
    }
    return false;
  }

  #keep(): void {
    this.#isDue = false;
    const stores = [...this.#stores];
    const sequences = Object.fromEntries(stores.map(([id, { sequence }]) => [id, sequence]));
    const lives = Object.fromEntries(
      stores.map(([id, { life, before }]) => [id, { ...life, before }]),
    );
    // Of a store that is idle nothing new is heard: what could not be kept now is kept later.
    this.#writing = this.#writing.then(() =>
      this.#slots.write({ sequences, lives }).catch(() => this.#keepLater()),
    );
  }
}

/** Not by the boot number: a process counts its start after it was first heard of. */
function isSame(one: Life, other: Life): boolean {
  return one.start === "" ? sameBoot(one, other) : one.start === other.start;
}

/** An older version of the program does not say more. */
function sameBoot(one: Life, other: Life): boolean {
  return other.start === "" && one.boot === other.boot;
}

/** An older version of the program kept no lives: all of it is from before the next. */
function readKnown(sequence: number, raw: unknown): Known {
  const { boot, start, before } = isFields(raw) ? raw : {};
  if (isCount(boot) && typeof start === "string" && isCount(before)) {
    return { life: { boot, start }, sequence, before };
  }
  return { life: unknownLife, sequence, before: sequence };
}
