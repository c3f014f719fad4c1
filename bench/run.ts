/**
 * Run: every benchmark, in one go.
 *
 *     npm run bench [-- --smoke] [--only put,get,cluster,open,memory,heal,move,profile] [--json FILE]
 *                   [--docs] [--rounds 5] [--seconds 5] [--folder DIR]
 *
 * It starts and stops every system itself, on loopback and in a temporary folder, and prints tables
 * in Markdown. docs/performance.md says how it measures and why. `--smoke` shows in a few minutes
 * that everything runs; its figures mean nothing. `--docs` puts the tables into that page. `--folder` says where the data goes: a disk, not
 * memory, or a synced write costs nothing.
 *
 * Invariants
 * 1. A figure is printed only when every answer behind it was a success and every write was found.
 * 2. The exit code is 0 when everything asked for was measured. What another program is needed for
 *    and cannot be measured without it is a failure, but not with `--smoke`. Whether a promise holds
 *    does not count: it depends on the machine.
 *
 * Effects: processes, files, stdout and stderr.
 *
 * @module
 */

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { measureCluster } from "./cluster.ts";
import { healPlan, measureHealing } from "./heal.ts";
import { describeMachine, findRuntimes, lacks, memoryFileSystem, root } from "./machine.ts";
import { measureMemory, memoryPlan } from "./memory.ts";
import { measureMoving, movePlan } from "./move.ts";
import { measureOpening, openingPlan } from "./opening.ts";
import { measureProfile } from "./profile.ts";
import { claimsOf, type Results, reportOf } from "./report.ts";
import { measureThroughput, type Throughput } from "./throughput.ts";

const groups = ["put", "get", "cluster", "open", "memory", "heal", "move", "profile"] as const;
type Group = (typeof groups)[number];

/** They make their own load. */
const withoutWrk: readonly Group[] = ["open", "heal", "move"];

const clusterKeysMax = 20_000;
const profilePlan = {
  full: { keys: 10_000, seconds: 8 },
  smoke: { keys: 1_000, seconds: 1 },
} as const;

interface Options {
  readonly smoke: boolean;
  readonly only: readonly Group[];
  readonly json: string | undefined;
  readonly docs: boolean;
  readonly rounds: number;
  readonly seconds: number;
  readonly folder: string;
}

process.exitCode = await main(readOptions());

function readOptions(): Options {
  const { values } = parseArgs({
    options: {
      smoke: { type: "boolean", default: false },
      only: { type: "string", default: groups.join(",") },
      json: { type: "string" },
      docs: { type: "boolean", default: false },
      rounds: { type: "string" },
      seconds: { type: "string" },
      folder: { type: "string", default: tmpdir() },
    },
  });
  const { smoke, docs } = values;
  if (smoke && docs)
    throw new Error("the figures of --smoke mean nothing: they are not for --docs");
  const only = values.only.split(",").map((name) => {
    const group = groups.find((one) => one === name);
    if (group === undefined) throw new Error(`--only knows ${groups.join(", ")}, not '${name}'`);
    return group;
  });
  return {
    smoke,
    only,
    json: values.json,
    docs,
    rounds: whole(values.rounds ?? (smoke ? "1" : "5"), "--rounds"),
    seconds: whole(values.seconds ?? (smoke ? "1" : "5"), "--seconds"),
    folder: resolve(values.folder),
  };
}

function whole(text: string, name: string): number {
  const value = Number(text);
  if (!(Number.isInteger(value) && value > 0)) {
    throw new Error(`${name} is a whole number above 0, not '${text}'`);
  }
  return value;
}

async function main(options: Options): Promise<number> {
  mkdirSync(options.folder, { recursive: true });
  const folder = mkdtempSync(join(options.folder, "quorate-bench-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
  const failures: string[] = [];
  const missing: string[] = [];
  const results = await measure(options, folder, failures, missing);
  process.stdout.write(`${reportOf(results)}\n`);
  if (options.json !== undefined) {
    const document = { ...results, claims: claimsOf(results), missing, failures };
    writeFileSync(options.json, `${JSON.stringify(document, undefined, 2)}\n`);
  }
  if (options.docs && failures.length + missing.length === 0) writeDocs(reportOf(results));
  for (const sentence of missing) process.stdout.write(`left out: ${sentence}\n`);
  for (const sentence of failures) process.stdout.write(`FAILED: ${sentence}\n`);
  return failures.length > 0 || (missing.length > 0 && !options.smoke) ? 1 : 0;
}

async function measure(
  options: Options,
  folder: string,
  failures: string[],
  missing: string[],
): Promise<Results> {
  const { smoke, rounds, seconds, only } = options;
  const size = smoke ? "smoke" : "full";
  const runtimes = findRuntimes(note);
  missing.push(...runtimes.missing);
  const machine = describeMachine(folder);
  if (machine.fileSystem === memoryFileSystem) {
    missing.push(`figures of synced writes: ${options.folder} is in memory; give --folder`);
  }
  const warmUpSeconds = smoke ? 0 : seconds;
  const plan = { rounds, seconds, warmUpSeconds, keys: smoke ? 1_000 : 100_000 };
  let results: Results = {
    ...{ date: new Date().toISOString().slice(0, 10), smoke, machine, main: runtimes.main, plan },
  };
  const journal = { note, fail: (sentence: string) => void failures.push(sentence) };
  const steps: Record<Group, (own: string) => Promise<Partial<Results>>> = {
    put: async (own) => ({ put: await measureThroughput("put", runtimes, plan, own, note) }),
    get: async (own) => ({ get: await measureThroughput("get", runtimes, plan, own, note) }),
    cluster: async (own) => {
      // Eight clusters have their turn at every level: one of these shows that all of them run. After
      // a turn all keys are read at quorum, which takes longer than the turn where there are many.
      const { keys } = plan;
      const clusterPlan = smoke
        ? { ...plan, levels: [64] }
        : { ...plan, keys: Math.min(keys, clusterKeysMax) };
      return { cluster: await measureCluster(runtimes, clusterPlan, own, note) };
    },
    open: async (own) => ({
      open: await measureOpening(runtimes, openingPlan[size], own, journal),
    }),
    memory: async (own) => ({
      memory: await measureMemory(runtimes, memoryPlan[size], own, journal),
    }),
    heal: async (own) => ({
      heal: await measureHealing(runtimes.main, healPlan[size], own, note),
    }),
    move: async (own) => ({
      move: await measureMoving(runtimes.main, movePlan[size], own, note),
    }),
    profile: async (own) => ({
      profile: await measureProfile(runtimes.main, profilePlan[size], own),
    }),
  };
  for (const group of only) {
    const lack = withoutWrk.includes(group) ? undefined : lacks("wrk");
    if (lack !== undefined) {
      missing.push(`${group}: ${lack}`);
      continue;
    }
    const own = join(folder, group);
    mkdirSync(own);
    note(`${group}: begins`);
    try {
      results = { ...results, ...(await steps[group](own)) };
    } catch (error) {
      failures.push(`${group}: ${(error as Error).message}`);
    }
    // The next group begins with the disk as empty as this one did.
    rmSync(own, { recursive: true, force: true });
  }
  tellThroughputs(results, failures, missing);
  return results;
}

/** What failed, and what was missing, in groups that compare several systems. */
function tellThroughputs(
  { put, get, cluster }: Results,
  failures: string[],
  missing: string[],
): void {
  const throughputs = [put, get, ...Object.values(cluster ?? {})];
  for (const { failures: failed, missing: absent } of throughputs.filter(
    (group): group is Throughput => group !== undefined,
  )) {
    failures.push(...failed);
    missing.push(...absent);
  }
}

/** Puts the report between the two marks of the page. */
function writeDocs(report: string): void {
  const page = join(root, "docs/performance.md");
  const text = readFileSync(page, "utf8");
  const [head, , tail] = text.split(/(?<=<!-- results: begin -->)|(?=<!-- results: end -->)/);
  if (head === undefined || tail === undefined) throw new Error(`${page} has lost its marks`);
  writeFileSync(page, `${head}\n\n${report}\n${tail}`);
}

function note(line: string): void {
  process.stderr.write(`${line}\n`);
}
