/**
 * Hunt: how many seeds it takes until a broken rule is noticed, and by what.
 *
 * Effects: those of the runs.
 *
 * @module
 */

import { Chance } from "./chance.ts";
import { drawKnobs, type Knobs } from "./knobs.ts";
import type { Mutation } from "./mutation.ts";
import { mutations } from "./mutations.ts";
import type { SeedRange } from "./seed_range.ts";
import { simulate } from "./simulate.ts";

/** What came of it, as plain data. */
export interface Hunted {
  /** How many seeds it took; undefined: none of them noticed. */
  readonly seeds: number | undefined;
  /** The one that noticed; the first one where none did. */
  readonly seed: number;
  /** What it broke; `-`: nothing that says anything of the rule. */
  readonly promise: string;
  readonly detail: string;
}

/** @throws Error where there is none */
export function mutationOf(name: string): Mutation {
  const meant = mutations.find((each) => each.name === name);
  if (meant === undefined) throw new Error(`hunt: there is no mutation '${name}'.`);
  return meant;
}

/** Runs seeds until one notices the mutation of that name. */
export async function hunt(name: string, { first, count }: SeedRange): Promise<Hunted> {
  const mutation = mutationOf(name);
  for (let tried = 1; tried <= count; tried += 1) {
    const seed = first + tried - 1;
    if (mutation.suits?.(knobsOf(seed)) === false) continue;
    const { focus } = mutation;
    const { violations } = await simulate({ seed, mutation, ...(focus && { focus }) });
    const [violation] = violations;
    if (violation === undefined) continue;
    const { promise, detail } = violation;
    // Not noticed: it made the program call what is not there, and so says nothing of the rule.
    if (/\b(Type|Reference)Error: /.test(detail)) {
      return { seeds: undefined, seed, promise: "-", detail };
    }
    return { seeds: tried, seed, promise, detail };
  }
  return { seeds: undefined, seed: first, promise: "-", detail: "" };
}

/** As the run of a seed draws them. */
function knobsOf(seed: number): Knobs {
  return drawKnobs(new Chance(seed).fork());
}
