/**
 * Chance: a seed's numbers in the forms that a simulation asks for.
 *
 * Invariants
 * 1. Only + - * / are used: the same seed gives the same numbers to the last bit, on every runtime.
 *
 * Effects: none.
 *
 * @module
 */

import { assert } from "../src/assert.ts";
import { SimRandom } from "./random.ts";

export class Chance extends SimRandom {
  /** From 0 to below 1. */
  fraction(): number {
    return this.u32() / 2 ** 32;
  }

  /** Whether something happens that happens so often, 0 to 1. */
  happens(share: number): boolean {
    return this.fraction() < share;
  }

  between(least: number, most: number): number {
    return least + this.fraction() * (most - least);
  }

  /** A whole number between two, both included. */
  whole(least: number, most: number): number {
    return least + this.below(most - least + 1);
  }

  pick<Value>(values: readonly Value[]): Value {
    assert(values.length > 0, "chance: there is something to pick");
    return values[this.below(values.length)] as Value;
  }

  /** Often near the least, seldom near the most, with about as many in each decade. */
  skewed(least: number, most: number): number {
    const decades = [least];
    for (let at = least * 10; at < most; at *= 10) decades.push(at);
    const from = this.pick(decades);
    return this.between(from, Math.min(most, from * 10));
  }

  /** Another sequence, which what is drawn from this one later does not change. */
  fork(): Chance {
    return new Chance(this.u32());
  }
}
