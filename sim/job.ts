/**
 * Job: the process that `jobs` begins, and what it is asked to do.
 *
 * Effects: those of the runs; its messages.
 *
 * @module
 */

import { readOptions, type SimChoices } from "./choices.ts";
import { hunt } from "./hunt.ts";
import { serveJob } from "./jobs.ts";
import type { WorkloadKind } from "./knobs.ts";
import { runSeed } from "./outcome.ts";
import type { SeedRange } from "./seed_range.ts";
import { runSubset } from "./subset.ts";

/** The run of a seed, with the options as they were written: a mutation is code, which no message can hold. */
export interface SeedTask {
  readonly kind: "seed";
  readonly seed: number;
  readonly choices: SimChoices;
}

/** The hunt for the mutation of that name. */
export interface HuntTask {
  readonly kind: "hunt";
  readonly name: string;
  readonly range: SeedRange;
}

/** A workload under the troubles of these names. */
export interface SubsetTask {
  readonly kind: "subset";
  readonly workload: WorkloadKind;
  readonly names: readonly string[];
  readonly range: SeedRange;
}

/** Async, so that options which cannot be read are told like all that a task throws. */
async function perform(
  task: SeedTask | HuntTask | SubsetTask,
  print: (line: string) => void,
): Promise<unknown> {
  switch (task.kind) {
    case "seed":
      return runSeed(task.seed, readOptions(task.choices), print);
    case "hunt":
      return hunt(task.name, task.range);
    case "subset":
      return runSubset(task.workload, task.names, task.range, print);
  }
}

serveJob(perform);
