/**
 * SimClock: time that passes only when it is told to.
 *
 * Timers run in the order of their time, and in the order of their making at the same time. `soon`
 * needs no telling: it goes through the microtask queue, so that code under test can be awaited as
 * in a real process.
 *
 * Invariants
 * 1. The monotonic time never goes back; the wall clock goes where `nowMs` is set.
 * 2. A timer runs at its time, never before, and not at all once it was cancelled.
 *
 * Effects: none.
 *
 * @module
 */

import { assert } from "../src/assert.ts";
import type { Clock } from "../src/capability.ts";

/** So many turns of the microtask queue pass for "what is ready in this turn of the event loop". */
const turnsBeforeSoon = 8;
/** What a timer set in motion gets so many turns before time goes on. */
const turnsAfterTimer = 256;

interface Timer {
  readonly dueMs: number;
  readonly run: () => void;
}

export class SimClock implements Clock {
  /** The wall clock minus the monotonic one. */
  #offsetMs: number;
  #monotonicMs = 0;
  #timers: Timer[] = [];

  constructor(nowMs = 1_700_000_000_000) {
    this.#offsetMs = nowMs;
  }

  nowMs(): number {
    return Math.floor(this.#monotonicMs + this.#offsetMs);
  }

  /** Makes the wall clock jump; timers do not notice. */
  setNowMs(nowMs: number): void {
    this.#offsetMs = nowMs - this.#monotonicMs;
  }

  monotonicMs(): number {
    return this.#monotonicMs;
  }

  after(delayMs: number, run: () => void): () => void {
    const timer = { dueMs: this.#monotonicMs + Math.max(0, delayMs), run };
    const at = this.#timers.findIndex((other) => other.dueMs > timer.dueMs);
    this.#timers.splice(at === -1 ? this.#timers.length : at, 0, timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  soon(run: () => void): void {
    // An error in it must not vanish in a promise: it is thrown as from a real timer.
    void turns(turnsBeforeSoon).then(() => queueMicrotask(run));
  }

  /** How many timers wait. */
  get timerCount(): number {
    return this.#timers.length;
  }

  /** Passes time: every timer due in it runs, each followed by what it set in motion. */
  async advance(byMs: number): Promise<void> {
    assert(byMs >= 0, "clock: time goes forward");
    const endMs = this.#monotonicMs + byMs;
    for (let timer = this.#timers[0]; timer !== undefined; timer = this.#timers[0]) {
      if (timer.dueMs > endMs) break;
      this.#timers.shift();
      this.#monotonicMs = Math.max(this.#monotonicMs, timer.dueMs);
      timer.run();
      await turns(turnsAfterTimer);
    }
    this.#monotonicMs = Math.max(this.#monotonicMs, endMs);
  }
}

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn += 1) await undefined;
}
