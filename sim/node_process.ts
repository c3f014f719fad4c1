/**
 * SimProcess: one life of a node: its clock, and whether it runs, stands still or is dead.
 *
 * Every event of a node belongs to the process that it was made in. A dead process does nothing any
 * more; one that stands still (a long collection of garbage, SIGSTOP) does later what it would have
 * done. Its clocks are a machine's: the monotonic one runs a little too fast or too slow, and the
 * wall clock stands where the machine's was set, jumps, and may stop.
 *
 * Invariants
 * 1. The monotonic time never goes back, and a timer never runs early by it.
 * 2. Neither clock stands still because the process does.
 *
 * Effects: none.
 *
 * @module
 */

import type { Clock } from "../src/capability.ts";
import type { EventOwner, Scheduler } from "./scheduler.ts";

/** A machine's clock: it outlives the processes on it. */
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
  /** How often it was set, or stopped. */
  touched = 0;

  constructor(scheduler: Scheduler, startMs: number, drift: number) {
    this.#scheduler = scheduler;
    this.drift = drift;
    this.#offsetMs = startMs;
  }

  /** How far it has ever been ahead: between two settings it goes one way, so their ends are enough. */
  ahead(): { readonly leastMs: number; readonly mostMs: number } {
    const aheadMs = this.nowMs() - this.#scheduler.nowMs;
    this.#aheadLeastMs = Math.min(this.#aheadLeastMs, aheadMs);
    this.#aheadMostMs = Math.max(this.#aheadMostMs, aheadMs);
    return { leastMs: this.#aheadLeastMs, mostMs: this.#aheadMostMs };
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

export class SimProcess implements EventOwner, Clock {
  readonly #scheduler: Scheduler;
  readonly #wall: WallClock;
  readonly #startedMs: number;
  readonly #deaths = new Set<() => void>();
  #isDead = false;
  #stalledUntilMs = 0;

  constructor(scheduler: Scheduler, wall: WallClock) {
    this.#scheduler = scheduler;
    this.#wall = wall;
    this.#startedMs = wall.ranMs;
  }

  get isDead(): boolean {
    return this.#isDead;
  }

  get stalledUntilMs(): number {
    return this.#stalledUntilMs;
  }

  kill(): void {
    this.#isDead = true;
    for (const tell of this.#deaths) tell();
    this.#deaths.clear();
  }

  /** Calls `tell` when it dies; the answer takes that back. */
  onDeath(tell: () => void): () => void {
    this.#deaths.add(tell);
    return () => this.#deaths.delete(tell);
  }

  /** It does nothing for so long. */
  stall(forMs: number): void {
    this.#stalledUntilMs = Math.max(this.#stalledUntilMs, this.#scheduler.nowMs + forMs);
  }

  nowMs(): number {
    return this.#wall.nowMs();
  }

  monotonicMs(): number {
    return this.#wall.ranMs - this.#startedMs;
  }

  after(delayMs: number, run: () => void): () => void {
    return this.#scheduler.after(delayMs / (1 + this.#wall.drift), run, this);
  }

  soon(run: () => void): void {
    this.#scheduler.after(0, run, this);
  }
}

/** What a process answers; rejects when it dies before. */
export function answerOf<Answer>(life: SimProcess, ask: () => Promise<Answer>): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const forget = life.onDeath(() => reject(new Error("the node died")));
    ask().then(resolve, reject).finally(forget);
  });
}
