/**
 * Outcome: what the run of a seed came to, as plain data, which a process can tell another.
 *
 * Effects: those of the run; how far errors of this process are traced.
 *
 * @module
 */

import { type Options, worldOf } from "./choices.ts";
import { failureLines } from "./failure.ts";
import { simulate } from "./simulate.ts";
import type { TroubleKind } from "./trouble_list.ts";

/** A run throws thousands of errors that are part of it, and to trace each of them far takes its time. */
const stackLinesMax = 3;

type Counts = Readonly<Record<string, number>>;

export interface Outcome {
  readonly seed: number;
  readonly isPassed: boolean;
  readonly hash: string;
  readonly simulatedMs: number;
  readonly events: number;
  readonly operations: number;
  readonly acknowledged: number;
  /** Changes of the members that were begun. */
  readonly moves: number;
  /** How often each rare path was taken. */
  readonly sometimes: Counts;
  /** The most that was held of each thing that is bounded, as a share of its bound. */
  readonly fullest: Counts;
  /** One for each time that something went wrong in the world. */
  readonly troubles: readonly TroubleKind[];
  /** What is told of the promise that it broke; empty: it broke none, or hashes alone were asked for. */
  readonly told: readonly string[];
}

/** Runs a seed; one that breaks a promise is run again until it is short enough to be told. */
export async function runSeed(seed: number, options: Options): Promise<Outcome> {
  Error.stackTraceLimit = stackLinesMax;
  const run = await simulate({ seed, ...worldOf(options) });
  const isPassed = run.violations.length === 0;
  return {
    seed,
    isPassed,
    hash: run.hash,
    simulatedMs: run.simulatedMs,
    events: run.events,
    operations: run.history.length,
    acknowledged: run.history.filter(({ told }) => told.kind === "written").length,
    moves: run.moves,
    sometimes: Object.fromEntries(run.sometimes),
    fullest: Object.fromEntries(run.fullest),
    troubles: run.troubles.map(({ kind }) => kind),
    told: isPassed || options.isHashed ? [] : await failureLines(run, options),
  };
}
