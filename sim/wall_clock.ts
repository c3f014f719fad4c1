/**
 * WallClock: the clock of a machine, which outlives the processes on it.
 *
 * It runs a little too fast or too slow, stands where it was set, jumps, and may stop; in the end it is
 * kept right. How far it has ever been from the world's own time is remembered: what is over by no clock
 * that there ever was, no node may call over (R3).
 *
 * Invariants
 * 1. `ranMs` never goes back, whatever the clock shows.
 *
 * Effects: none.
 *
 * @module
 */

import type { Scheduler } from "./scheduler.ts";

export class WallClock {
  readonly #scheduler: Scheduler;
  /** How much faster than the world it runs: 0.01 is one percent. */
  readonly drift: number;
  #offsetMs: number;
  #stoppedMs: number | undefined;
  /** Where it begins, once it is kept right. */
  #rightFromMs: number | undefined;
  /** How far it was ahead of the world's own time when that was looked at: least and most. */
  #aheadLeastMs = Number.POSITIVE_INFINITY;
  #aheadMostMs = Number.NEGATIVE_INFINITY;
  #latestMs = Number.NEGATIVE_INFINITY;
  /** How often it was set, or stopped. */
  touched = 0;

  constructor(scheduler: Scheduler, startMs: number, drift: number) {
    this.#scheduler = scheduler;
    this.drift = drift;
    this.#offsetMs = startMs;
  }

  /** How far it has ever been ahead: between two settings it goes one way, so their ends are enough. */
  ahead(): { readonly leastMs: number; readonly mostMs: number } {
    const nowMs = this.nowMs();
    const aheadMs = nowMs - this.#scheduler.nowMs;
    this.#latestMs = Math.max(this.#latestMs, nowMs);
    this.#aheadLeastMs = Math.min(this.#aheadLeastMs, aheadMs);
    this.#aheadMostMs = Math.max(this.#aheadMostMs, aheadMs);
    return { leastMs: this.#aheadLeastMs, mostMs: this.#aheadMostMs };
  }

  /** The latest that it has ever shown: what was over by that may have been dropped, wherever it was set since. */
  get latestMs(): number {
    this.ahead();
    return this.#latestMs;
  }

  get ranMs(): number {
    return this.#scheduler.nowMs * (1 + this.drift);
  }

  nowMs(): number {
    if (this.#rightFromMs !== undefined)
      return Math.floor(this.#rightFromMs + this.#scheduler.nowMs);
    return Math.floor(this.#stoppedMs ?? this.ranMs + this.#offsetMs);
  }

  /** From now on it shows the world's own time, and drifts no more. */
  correct(startMs: number): void {
    this.ahead();
    this.#rightFromMs = startMs;
    this.touched += 1;
    this.ahead();
  }

  /** Moves it so far from the world's own time. */
  set(aheadMs: number, startMs: number): void {
    this.ahead();
    this.#stoppedMs = undefined;
    this.#offsetMs = startMs + this.#scheduler.nowMs + aheadMs - this.ranMs;
    this.touched += 1;
    this.ahead();
  }

  stop(): void {
    this.#stoppedMs = this.nowMs();
    this.touched += 1;
    this.ahead();
  }
}
