/**
 * Subsets main: two plain workloads under every subset of four kinds of trouble.
 *
 *     npm run sim:subsets -- [--seeds 20] [--seed 1]
 *
 * A register that is read and written, and sets that only grow, both at quorum; clocks that jump and stop,
 * partitions, members that come and go, and connections and processes that end: all 16 subsets of these. It is how
 * Garage is tested with Jepsen. Subsets run side by side, one for each processor. The last line is
 * `N passed, N failed`.
 *
 * Effects: the command's arguments, stdout, the exit code, processes.
 *
 * @module
 */

import { parseArgs } from "node:util";
import type { SubsetTask } from "./job.ts";
import { jobsDefault, runJobs } from "./jobs.ts";
import type { WorkloadKind } from "./knobs.ts";
import { parseSeedRange, seedRangeUsage } from "./seed_range.ts";
import { troubleNames } from "./subset.ts";

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
  await runJobs<SubsetTask, readonly number[]>({
    jobs: jobsDefault,
    tasks: workloads.flatMap((workload) =>
      subsets(troubleNames).map((names) => ({ kind: "subset" as const, workload, names, range })),
    ),
    onLine: console.log,
    onAnswer: (seeds, { workload, names }) => {
      const told = seeds.length === 0 ? "ok" : `FAIL: seeds ${seeds.join(", ")}`;
      console.log(`${workload.padEnd(8)}  ${(names.join(" ") || "nothing").padEnd(46)}  ${told}`);
      failed += seeds.length;
      passed += range.count - seeds.length;
    },
  });
  console.log(`${passed} passed, ${failed} failed`);
  return failed === 0 && passed > 0 ? 0 : 1;
}

function subsets(names: readonly string[]): (readonly string[])[] {
  return Array.from({ length: 2 ** names.length }, (_, mask) =>
    names.filter((_, at) => (mask & (1 << at)) !== 0),
  );
}

process.exitCode = await main();
