/**
 * Pauses: times of waiting that are all over at once when whoever waits is closed.
 *
 * A rate of some kilobytes a second makes one large record wait for minutes; a node that stops does
 * not wait that long.
 *
 * Invariants
 * 1. After `end` no wait is under way, and none takes any time.
 *
 * Effects: Clock.
 *
 * @module
 */

import type { Clock } from "./capability.ts";

export class Pauses {
  readonly #clock: Clock;
  readonly #underWay = new Set<() => void>();
  #isEnded = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Resolves after so many milliseconds, or at the end. */
  wait(ms: number): Promise<void> {
    if (this.#isEnded) return Promise.resolve();
    return new Promise((resolve) => {
      const over = (): void => {
        cancel();
        this.#underWay.delete(over);
        resolve();
      };
      const cancel = this.#clock.after(ms, over);
      this.#underWay.add(over);
    });
  }

  end(): void {
    this.#isEnded = true;
    for (const over of [...this.#underWay]) over();
  }
}
