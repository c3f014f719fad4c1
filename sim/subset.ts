/**
 * Subset: a plain workload under some of four kinds of trouble.
 *
 * Effects: those of the runs.
 *
 * @module
 */

import type { WorkloadKind } from "./knobs.ts";
import type { SeedRange } from "./seed_range.ts";
import { type SimulateOptions, simulate } from "./simulate.ts";
import type { TroubleKind } from "./trouble_list.ts";

const kinds: Readonly<Record<string, readonly TroubleKind[]>> = {
  clock: ["clock jump", "clock stop"],
  partition: ["isolate", "split", "cut pair", "one way"],
  reconfiguration: [],
  disconnect: ["reset", "kill", "restart"],
};

/** All there are. */
export const troubleNames: readonly string[] = Object.keys(kinds);

/** Runs the seeds, and answers with those that broke a promise, each of which is told. */
export async function runSubset(
  workload: WorkloadKind,
  names: readonly string[],
  { count, first }: SeedRange,
  print: (line: string) => void,
): Promise<readonly number[]> {
  const only = names.flatMap((name) => {
    const meant = kinds[name];
    if (meant === undefined) throw new Error(`subset: there is no trouble '${name}'.`);
    return meant;
  });
  const moves = names.includes("reconfiguration") ? "many" : "none";
  const broken: number[] = [];
  for (let seed = first; seed < first + count; seed += 1) {
    const options: SimulateOptions = { seed, only, moves, workload };
    const [violation] = (await simulate(options)).violations;
    if (violation === undefined) continue;
    print(`${JSON.stringify(options)}: [${violation.promise}] ${violation.detail}`);
    broken.push(seed);
  }
  return broken;
}
