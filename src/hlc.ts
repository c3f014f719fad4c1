/**
 * Hlc: a clock that never goes back and stays near the wall clock.
 *
 * A stamp is 64 bits: 48 of milliseconds since 1970 and 16 of a counter. Each tick is above every
 * stamp this store has minted or observed. Three things keep it honest. A **ceiling**, durable before any
 * stamp below it is used, makes sure that a restarted store begins above everything that it minted.
 * The **guard** keeps the clock from being dragged ahead by a stamp of somebody whose clock is
 * wrong. And when the ceiling is far ahead of the wall clock, because the wall clock was set back,
 * the store takes a new origin and begins at the wall clock again, so that it never waits.
 *
 * Invariants
 * 1. `tick` ascends strictly while the origin is the same.
 * 2. A stamp that `tick` gives is below `ceilingFor(nowMs)`; whoever uses it first makes that durable.
 * 3. `ceilingFor` is less than half the guard above the wall clock. (One that covers an expiry may be up to the
 *    guard above it, `store_mint`; a start that finds it so takes a new origin.)
 * 4. `observe` moves the clock at most the guard ahead of the wall clock.
 *
 * Effects: none; the wall clock is an argument. Source: rules V1, V2; Kulkarni et al. (2014),
 * section 3.
 *
 * @module
 */

import { assert } from "./assert.ts";

declare const hlcBrand: unique symbol;
/** A stamp: milliseconds since 1970 in the upper 48 bits, a counter in the lower 16. */
export type Hlc = bigint & { readonly [hlcBrand]: true };

/** How far ahead of the wall clock a stamp may be and still move this clock (V2). */
export const guardMs = 500;
/** How far ahead of the wall clock the ceiling is set: below half the guard (V1). */
export const ceilingAheadMs = 200;

const counterBits = 16n;
const wallMsMax = 2 ** 48 - 1;

/** The first stamp of a millisecond. */
export function hlcAt(wallMs: number): Hlc {
  assert(wallMs >= 0 && wallMs <= wallMsMax, "hlc: milliseconds fit 48 bits");
  return (BigInt(Math.floor(wallMs)) << counterBits) as Hlc;
}

/** The wall time of a stamp, in ms. */
export function hlcWallMs(hlc: Hlc): number {
  return Number(hlc >> counterBits);
}

export function hlcNext(hlc: Hlc): Hlc {
  return (hlc + 1n) as Hlc;
}

/** Whether a stamp is further ahead of the wall clock than the guard allows (V2). */
export function isBeyondGuard(hlc: Hlc, nowMs: number): boolean {
  return hlcWallMs(hlc) > nowMs + guardMs;
}

/** What must be durable before a stamp minted at `nowMs` is used. */
export function ceilingFor(nowMs: number): Hlc {
  return hlcAt(nowMs + ceilingAheadMs);
}

/** Whether the wall clock is so far behind `stamp` that the store takes a new origin (V1). */
export function needsNewOrigin(stamp: Hlc, nowMs: number): boolean {
  return hlcWallMs(stamp) > nowMs + guardMs / 2;
}

/** The clock of one store. */
export class HybridClock {
  #last: Hlc;

  /** Begins above `floor`: the highest ceiling of this origin, or zero for a new one. */
  constructor(floor: Hlc) {
    this.#last = floor;
  }

  /** The highest stamp minted or observed. */
  get last(): Hlc {
    return this.#last;
  }

  /** A new stamp, above all before it and not below the wall clock. */
  tick(nowMs: number): Hlc {
    const wall = hlcAt(nowMs);
    this.#last = wall > this.#last ? wall : hlcNext(this.#last);
    return this.#last;
  }

  /** Moves the clock up to a stamp met elsewhere; false when the guard forbids it. */
  observe(stamp: Hlc, nowMs: number): boolean {
    if (isBeyondGuard(stamp, nowMs)) return false;
    if (stamp > this.#last) this.#last = stamp;
    return true;
  }
}
