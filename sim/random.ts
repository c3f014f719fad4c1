/**
 * SimRandom: chance that a seed decides.
 *
 * Invariants
 * 1. The same seed gives the same numbers, on every runtime.
 *
 * Effects: none. Source: Blackman and Vigna, "Scrambled Linear Pseudorandom Number Generators"
 * (2021), xoshiro128**; seeded by SplitMix32, so that near seeds give unlike sequences.
 *
 * @module
 */

import type { Random } from "../src/capability.ts";

export class SimRandom implements Random {
  readonly #state: Uint32Array;

  constructor(seed: number) {
    this.#state = new Uint32Array(4);
    let mixed = seed >>> 0;
    for (let index = 0; index < 4; index += 1) {
      mixed = (mixed + 0x9e3779b9) >>> 0;
      let word = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad);
      word = Math.imul(word ^ (word >>> 15), 0x735a2d97);
      this.#state[index] = word ^ (word >>> 15);
    }
    // The one state from which it would never move; no seed is known to lead there.
    if (this.#state.every((word) => word === 0)) this.#state[0] = 1;
  }

  u32(): number {
    const [a, b, c, d] = this.#state as unknown as [number, number, number, number];
    const result = Math.imul(rotated(Math.imul(b, 5), 7), 9) >>> 0;
    const shifted = b << 9;
    const nextC = c ^ a;
    const nextD = d ^ b;
    this.#state[1] = b ^ nextC;
    this.#state[0] = a ^ nextD;
    this.#state[2] = nextC ^ shifted;
    this.#state[3] = rotated(nextD, 11);
    return result;
  }

  bytes(length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    for (let index = 0; index < length; index += 4) {
      const word = this.u32();
      for (let part = 0; part < 4 && index + part < length; part += 1) {
        bytes[index + part] = word >>> (8 * part);
      }
    }
    return bytes;
  }

  /** A whole number, 0 to `count` - 1. */
  below(count: number): number {
    return Math.floor((this.u32() / 2 ** 32) * count);
  }
}

function rotated(word: number, by: number): number {
  return (word << by) | (word >>> (32 - by));
}
