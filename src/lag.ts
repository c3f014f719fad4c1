/**
 * Lag: how late the event loop is.
 *
 * A timer that is due and does not run shows that the loop is busy with something else, and every
 * request waits as long as the timer does. That is measured the same on every runtime.
 *
 * Effects: a timer, through the clock, which keeps no process alive.
 *
 * @module
 */

import type { Clock } from "./capability.ts";

/** Often enough to see an overload begin, seldom enough to cost nothing: 20 timers a second. */
export const lagPeriodMs = 50;

/** Tells `observe` how late each timer was, in milliseconds; the answer stops it. */
export function watchLag(clock: Clock, observe: (lateMs: number) => void): () => void {
  let cancel = (): void => {};
  const arm = (): void => {
    const dueMs = clock.monotonicMs() + lagPeriodMs;
    cancel = clock.after(lagPeriodMs, () => {
      observe(Math.max(0, clock.monotonicMs() - dueMs));
      arm();
    });
  };
  arm();
  return () => cancel();
}
