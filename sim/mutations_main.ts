/**
 * Mutations main: how many seeds it takes until each broken rule is noticed, and by what.
 *
 *     npm run sim:mutations -- [--seeds 400] [--seed 1] [--only "superseded counts"] [--details]
 *
 * `--only` takes a part of a rule's name, `--details` tells what was seen. The last line is `N passed, N failed`: a mutation that no seed noticed has failed.
 *
 * Effects: the command's arguments, stdout, the exit code.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { Chance } from "./chance.ts";
import { drawKnobs, type Knobs } from "./knobs.ts";
import type { Mutation } from "./mutation.ts";
import { mutations } from "./mutations.ts";
import { parseSeedRange, type SeedRange, seedRangeUsage } from "./seed_range.ts";
import { simulate } from "./simulate.ts";

interface Row {
  readonly mutation: Mutation;
  /** How many seeds it took; undefined: none of them noticed. */
  readonly seeds: number | undefined;
  readonly seed: number;
  readonly promise: string;
  readonly detail: string;
}

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
  const rows: Row[] = [];
  for (const mutation of meant) {
    const row = await hunt(mutation, range);
    rows.push(row);
    const took = row.seeds === undefined ? "not found" : `${row.seeds} seeds`;
    console.log(
      `${took.padStart(10)}  ${row.promise.padEnd(5)}  ${mutation.name}  (${mutation.rule})`,
    );
    if (row.seeds !== undefined) console.log(`${indent}again: ${commandOf(row)}`);
    if (values.details || row.seeds === undefined)
      console.log(`${indent}${row.detail.slice(0, 600)}`);
  }
  const found = rows.map(({ seeds }) => seeds).filter((seeds) => seeds !== undefined);
  found.sort((a, b) => a - b);
  console.log(`median ${found[found.length >> 1] ?? "-"} seeds`);
  console.log(`${found.length} passed, ${rows.length - found.length} failed`);
  return found.length === rows.length ? 0 : 1;
}

/** Runs the seed that noticed it once more: in another focus, or none, it is another world. */
function commandOf({ mutation: { name, focus }, seed }: Row): string {
  const world = focus === undefined ? "" : ` --focus "${focus}"`;
  return `npm run sim -- --seed ${seed}${world} --mutation "${name}" --replay`;
}

/** As the run of a seed draws them. */
function knobsOf(seed: number): Knobs {
  return drawKnobs(new Chance(seed).fork());
}

async function hunt(mutation: Mutation, { first, count }: SeedRange): Promise<Row> {
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
      return { mutation, seeds: undefined, seed, promise: "-", detail };
    }
    return { mutation, seeds: tried, seed, promise, detail };
  }
  return { mutation, seeds: undefined, seed: first, promise: "-", detail: "" };
}

process.exitCode = await main();
