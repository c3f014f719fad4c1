/**
 * Shrink: the fewest troubles with which a seed still breaks the same promise.
 *
 * Leaves out halves, then quarters, down to single troubles, and keeps what still fails (Zeller and
 * Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002). Every try is a whole run.
 *
 * Invariants
 * 1. The answer breaks a promise that the given run broke.
 *
 * Effects: those of a run.
 *
 * @module
 */

import { type Run, type SimulateOptions, simulate } from "./simulate.ts";
import type { Trouble } from "./trouble_list.ts";

const triesMax = 120;

export async function shrink(
  failed: Run,
  options: Omit<SimulateOptions, "seed"> = {},
): Promise<Run> {
  const promises = new Set(failed.violations.map(({ promise }) => promise));
  let best = failed;
  let triesLeft = triesMax;
  const fails = async (troubles: readonly Trouble[]): Promise<boolean> => {
    triesLeft -= 1;
    const run = await simulate({ ...options, seed: failed.seed, troubles });
    if (!run.violations.some(({ promise }) => promises.has(promise))) return false;
    best = run;
    return true;
  };
  for (let size = Math.ceil(best.troubles.length / 2); size >= 1; ) {
    let hasShrunk = false;
    for (let start = 0; start < best.troubles.length && triesLeft > 0; ) {
      const left = [...best.troubles.slice(0, start), ...best.troubles.slice(start + size)];
      if (await fails(left)) hasShrunk = true;
      else start += size;
    }
    if (triesLeft <= 0) break;
    if (size === 1 && !hasShrunk) break;
    if (size > 1) size = Math.ceil(size / 2);
  }
  return best;
}
