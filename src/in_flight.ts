/**
 * InFlight: what is under way, by numbers that ascend.
 *
 *     5, 6 and 12 in a ring of eight places:   [ ] [ ] [ ] [ ] [12] [5] [6] [ ]
 *     the next number is 15, because the places of 13 and 14 are taken
 *
 * A Map does the same, but one that takes and gives back thousands of entries a second makes itself a new table
 * every few hundred of them. A table that was old enough when it was left keeps what was in it alive until
 * the next full collection, however young that is, and all that hangs on it: of what a node threw away
 * under load, most was that. The places here stay, and one that is given back holds nothing. How many values
 * there may be at once is for whoever adds them to say: there is always room for one more.
 *
 * Invariants
 * 1. A number names one value: it comes again when the 2^32 - 1 others have had their turn, and never while
 *    in use.
 * 2. At least half of the places are free.
 *
 * Effects: none. Source: docs/performance.md, for what tables that make themselves anew had cost.
 *
 * @module
 */

/** A power of two, as every later number of places. */
const placesAtFirst = 64;

/** Values by numbers that it gives them, until each is given back. */
export class InFlight<Value> {
  #values: (Value | undefined)[] = new Array(placesAtFirst).fill(undefined);
  #numbers = new Uint32Array(placesAtFirst);
  #last: number;
  #size = 0;

  /** Numbers begin after `last`. */
  constructor(last = 0) {
    this.#last = last;
  }

  get size(): number {
    return this.#size;
  }

  /** Takes a value; answers its number. */
  add(value: Value): number {
    if (2 * this.#size >= this.#values.length) this.#grow();
    const mask = this.#values.length - 1;
    // What stays long is passed over: it would else make a ring of all that came after it.
    do this.#last = (this.#last + 1) >>> 0;
    while (this.#values[this.#last & mask] !== undefined);
    this.#values[this.#last & mask] = value;
    this.#numbers[this.#last & mask] = this.#last;
    this.#size += 1;
    return this.#last;
  }

  /** Gives back the value of a number; undefined when there is none. */
  take(number: number): Value | undefined {
    const place = number & (this.#values.length - 1);
    const value = this.#values[place];
    if (value === undefined || this.#numbers[place] !== number) return undefined;
    this.#values[place] = undefined;
    this.#size -= 1;
    return value;
  }

  /** All values, in the order of their numbers. */
  values(): Value[] {
    return this.#inUse().map((place) => this.#values[place] as Value);
  }

  /** The places in use, in the order of their numbers, also where these have begun anew. */
  #inUse(): number[] {
    const age = (place: number): number => (this.#last - (this.#numbers[place] as number)) >>> 0;
    return [...this.#values.keys()]
      .filter((place) => this.#values[place] !== undefined)
      .sort((a, b) => age(b) - age(a));
  }

  #grow(): void {
    const [values, numbers] = [this.#values, this.#numbers];
    const length = 2 * values.length;
    this.#values = new Array(length).fill(undefined);
    this.#numbers = new Uint32Array(length);
    for (const [place, value] of values.entries()) {
      if (value === undefined) continue;
      const number = numbers[place] as number;
      this.#values[number & (length - 1)] = value;
      this.#numbers[number & (length - 1)] = number;
    }
  }
}
