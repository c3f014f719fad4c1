/**
 * Seed range: which seeds a command of the simulator runs, one after another.
 *
 * Effects: none.
 *
 * @module
 */

export interface SeedRange {
  readonly first: number;
  readonly count: number;
}

/** What `--seed` and `--seeds` say; undefined: one of them is no whole number above 0. */
export function parseSeedRange({
  seed,
  seeds,
}: {
  readonly seed: string;
  readonly seeds: string;
}): SeedRange | undefined {
  const [first, count] = [Number(seed), Number(seeds)];
  const isMeant = [first, count].every((value) => Number.isSafeInteger(value) && value > 0);
  return isMeant ? { first, count } : undefined;
}

/** What is told where they say nothing that can be run. */
export const seedRangeUsage = "--seeds and --seed take a whole number above 0.";
