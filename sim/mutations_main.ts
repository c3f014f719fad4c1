/**
 * Mutations main: how many seeds it takes until each broken rule is noticed, and by what.
 *
 *     npm run sim:mutations -- [--seeds 400] [--seed 1] [--only "superseded counts"] [--details]
 *
 * `--only` takes a part of a rule's name, `--details` tells what was seen. Rules run side by side, one for each
 * processor. The last line is `N passed, N failed`: a mutation that no seed noticed has failed.
 *
 * Effects: the command's arguments, stdout, the exit code, processes.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { type Hunted, mutationOf } from "./hunt.ts";
import type { HuntTask } from "./job.ts";
import { jobsDefault, runJobs } from "./jobs.ts";
import type { Mutation } from "./mutation.ts";
import { mutations } from "./mutations.ts";
import { parseSeedRange, seedRangeUsage } from "./seed_range.ts";

const indent = " ".repeat(12);

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seeds: { type: "string", default: "400" },
      seed: { type: "string", default: "1" },
      only: { type: "string", default: "" },
      details: { type: "boolean", default: false },
    },
  });
  const range = parseSeedRange(values);
  if (range === undefined) {
    console.error(seedRangeUsage);
    return 2;
  }
  const meant = mutations.filter(({ name }) => name.includes(values.only));
  if (meant.length === 0) {
    const names = mutations.map(({ name }) => `\n  ${name}`).join("");
    console.error(
      `--only takes a part of a rule's name, and '${values.only}' is in none of:${names}`,
    );
    return 2;
  }
  const hunted: Hunted[] = [];
  await runJobs<HuntTask, Hunted>({
    jobs: jobsDefault,
    tasks: meant.map(({ name }) => ({ kind: "hunt", name, range })),
    onLine: console.log,
    onAnswer: (answer, { name }) => {
      const mutation = mutationOf(name);
      hunted.push(answer);
      const took = answer.seeds === undefined ? "not found" : `${answer.seeds} seeds`;
      console.log(
        `${took.padStart(10)}  ${answer.promise.padEnd(5)}  ${mutation.name}  (${mutation.rule})`,
      );
      if (answer.seeds !== undefined) console.log(`${indent}again: ${commandOf(mutation, answer)}`);
      if (values.details || answer.seeds === undefined)
        console.log(`${indent}${answer.detail.slice(0, 600)}`);
    },
  });
  const found = hunted.map(({ seeds }) => seeds).filter((seeds) => seeds !== undefined);
  found.sort((a, b) => a - b);
  console.log(`median ${found[found.length >> 1] ?? "-"} seeds`);
  console.log(`${found.length} passed, ${hunted.length - found.length} failed`);
  return found.length === hunted.length ? 0 : 1;
}

/** Runs the seed that noticed it once more: in another focus, or none, it is another world. */
function commandOf({ name, focus }: Mutation, { seed }: Hunted): string {
  const world = focus === undefined ? "" : ` --focus "${focus}"`;
  return `npm run sim -- --seed ${seed}${world} --mutation "${name}" --replay`;
}

process.exitCode = await main();
