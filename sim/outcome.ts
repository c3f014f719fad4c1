/**
 * Outcome: what the run of a seed came to, as plain data, which a process can tell another.
 *
 * Effects: those of the run; how far errors of this process are traced.
 *
 * @module
 */

import { type Options, worldOf } from "./choices.ts";
import { tellFailure } from "./failure.ts";
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
}

/** Runs a seed, and tells of the promise that it breaks, unless hashes alone are asked for. */
export async function runSeed(
  seed: number,
  options: Options,
  print: (line: string) => void,
): Promise<Outcome> {
  Error.stackTraceLimit = stackLinesMax;
  const run = await simulate({ seed, ...worldOf(options) });
  const isPassed = run.violations.length === 0;
  if (!isPassed && !options.isHashed) await tellFailure(run, options, print);
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
  };
}
