/**
 * SimProcess: one life of a node: whether it runs, stands still or is dead, and the clock that it has.
 *
 * Every event of a node belongs to the process that it was made in. A dead process does nothing any
 * more; one that stands still (a long collection of garbage, SIGSTOP) does later what it would have
 * done. Its clock is the machine's (`wall_clock`), by which its timers run too fast or too slow.
 *
 * Invariants
 * 1. The monotonic time never goes back, and a timer never runs early by it.
 * 2. Time does not stand still because the process does.
 *
 * Effects: none.
 *
 * @module
 */

import type { Clock } from "../src/capability.ts";
import type { EventOwner, Scheduler } from "./scheduler.ts";
import type { WallClock } from "./wall_clock.ts";

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
