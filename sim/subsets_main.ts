/**
 * Subsets main: two plain workloads under every subset of four kinds of trouble.
 *
 *     npm run sim:subsets -- [--seeds 20] [--seed 1]
 *
 * A register that is read and written, and sets that only grow, both at quorum; clocks that jump and stop,
 * partitions, members that come and go, and connections and processes that end: all 16 subsets of these. It is how
 * Garage is tested with Jepsen. The last line is `N passed, N failed`.
 *
 * Effects: the command's arguments, stdout, the exit code.
 *
 * @module
 */

import { parseArgs } from "node:util";
import type { WorkloadKind } from "./knobs.ts";
import { parseSeedRange, type SeedRange, seedRangeUsage } from "./seed_range.ts";
import { type SimulateOptions, simulate } from "./simulate.ts";
import type { TroubleKind } from "./trouble_list.ts";

const kinds: Readonly<Record<string, readonly TroubleKind[]>> = {
  clock: ["clock jump", "clock stop"],
  partition: ["isolate", "split", "cut pair", "one way"],
  reconfiguration: [],
  disconnect: ["reset", "kill", "restart"],
};
const workloads: readonly WorkloadKind[] = ["register", "sets"];

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: { seeds: { type: "string", default: "20" }, seed: { type: "string", default: "1" } },
  });
  const range = parseSeedRange(values);
  if (range === undefined) {
    console.error(seedRangeUsage);
    return 2;
  }
  let passed = 0;
  let failed = 0;
  for (const workload of workloads) {
    for (const names of subsets(Object.keys(kinds))) {
      const bad = await failing(workload, names, range);
      const told = bad.length === 0 ? "ok" : `FAIL: seeds ${bad.join(", ")}`;
      console.log(`${workload.padEnd(8)}  ${(names.join(" ") || "nothing").padEnd(46)}  ${told}`);
      failed += bad.length;
      passed += range.count - bad.length;
    }
  }
  console.log(`${passed} passed, ${failed} failed`);
  return failed === 0 && passed > 0 ? 0 : 1;
}

/** The seeds of those that broke a promise, which is told. */
async function failing(
  workload: WorkloadKind,
  names: readonly string[],
  { count, first }: SeedRange,
): Promise<readonly number[]> {
  const only = names.flatMap((name) => kinds[name] ?? []);
  const moves = names.includes("reconfiguration") ? "many" : "none";
  const bad: number[] = [];
  for (let seed = first; seed < first + count; seed += 1) {
    const options: SimulateOptions = { seed, only, moves, workload };
    const [violation] = (await simulate(options)).violations;
    if (violation === undefined) continue;
    bad.push(seed);
    console.log(`${JSON.stringify(options)}: [${violation.promise}] ${violation.detail}`);
  }
  return bad;
}

function subsets(names: readonly string[]): (readonly string[])[] {
  return Array.from({ length: 2 ** names.length }, (_, mask) =>
    names.filter((_, at) => (mask & (1 << at)) !== 0),
  );
}

process.exitCode = await main();
