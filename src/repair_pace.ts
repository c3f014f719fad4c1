/**
 * RepairPace: how much all comparisons of a node may read and move, in bytes a second.
 *
 * Invariants
 * 1. Over any time that is longer than the largest piece takes, no more than the rate is spent.
 * 2. What was not spent is not saved up.
 * 3. After `end` nobody waits: whoever spends is closed.
 *
 * Effects: Clock.
 *
 * @module
 */

import type { Clock } from "./capability.ts";
import { Pauses } from "./pauses.ts";

export class RepairPace {
  readonly #clock: Clock;
  readonly #bytesPerSecond: number;
  readonly #pauses: Pauses;
  /** When what was spent is within the rate. */
  #freeAtMs = 0;

  constructor(clock: Clock, bytesPerSecond: number) {
    this.#clock = clock;
    this.#bytesPerSecond = bytesPerSecond;
    this.#pauses = new Pauses(clock);
  }

  /** Resolves when so many bytes more are within the rate. */
  async spend(bytes: number): Promise<void> {
    const nowMs = this.#clock.monotonicMs();
    this.#freeAtMs = Math.max(nowMs, this.#freeAtMs) + (bytes / this.#bytesPerSecond) * 1000;
    const waitMs = this.#freeAtMs - nowMs;
    // A pause of less than a timer can tell is made up for by a later one.
    if (waitMs < 1) return;
    await this.#pauses.wait(waitMs);
  }

  end(): void {
    this.#pauses.end();
  }
}
