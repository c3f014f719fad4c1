/**
 * Command: the simulator as a command, for `npm run sim` and for `quorate sim`.
 *
 * Seeds are run, as many at a time as there are jobs, from `seed` on, until there have been `seeds` of them or
 * the time is over, and told in their order. One that breaks a promise is told with the command that runs it again
 * (`failure`). The last line is `N passed, N failed`.
 *
 * A nightly run takes its seeds from the date, so that no two nights try the same, and fails when a rare
 * path was never met that can be.
 *
 * Effects: the real clock, to know when its time is over; processes.
 *
 * @module
 */

import { type Options, readOptions, type SimChoices, worldOf } from "./choices.ts";
import { violationLines } from "./failure.ts";
import type { SeedTask } from "./job.ts";
import { runJobs } from "./jobs.ts";
import { type Outcome, runSeed } from "./outcome.ts";
import { pathLines, unmetPaths } from "./rare_paths.ts";
import { simulate } from "./simulate.ts";
import { Sums } from "./sums.ts";
import { troubleText } from "./trouble_list.ts";

export { SimUsage } from "./choices.ts";

const tellEveryMs = 10_000;
const realNow = performance.now.bind(performance);

type Print = (line: string) => void;

/** Runs seeds and answers the exit code. @throws SimUsage */
export async function runSim(choices: SimChoices, print: Print): Promise<number> {
  const options = readOptions(choices);
  if (options.isReplay) return replay(options, print);
  if (options.isHashed) {
    let code = 0;
    await runSeeds(options, choices, print, ({ seed, hash, isPassed }) => {
      print(`${seed} ${hash}`);
      if (!isPassed) code = 1;
    });
    return code;
  }
  const sums = new Sums();
  let toldMs = realNow();
  await runSeeds(options, choices, print, (outcome) => {
    sums.add(outcome);
    if (realNow() - toldMs < tellEveryMs) return;
    toldMs = realNow();
    print(sums.line);
  });
  for (const line of sums.lines) print(line);
  if (options.tellsPaths) for (const line of pathLines(sums.met)) print(line);
  const unmet = options.needsPaths ? unmetPaths(sums.met) : [];
  for (const path of unmet) print(`FAIL: no seed met '${path}'`);
  sums.fail(unmet.length);
  print(`${sums.passed} passed, ${sums.failed} failed`);
  return sums.failed === 0 ? 0 : 1;
}

async function replay(options: Options, print: Print): Promise<number> {
  const run = await simulate({ seed: options.first, ...worldOf(options), onTrace: print });
  print(JSON.stringify(run.knobs));
  for (const trouble of run.troubles) print(troubleText(trouble));
  for (const line of violationLines(run)) print(line);
  print(`hash ${run.hash}, ${run.events} events, ${Math.round(run.simulatedMs)} ms simulated`);
  return run.violations.length === 0 ? 0 : 1;
}

/** Runs the seeds that are asked for, in this process where one is enough, and tells of each in their order. */
async function runSeeds(
  options: Options,
  choices: SimChoices,
  print: Print,
  onOutcome: (outcome: Outcome) => void,
): Promise<void> {
  const jobs = Math.min(options.jobs, options.count);
  if (jobs === 1) {
    for (const seed of seedsOf(options)) onOutcome(await runSeed(seed, options, print));
    return;
  }
  await runJobs<SeedTask, Outcome>({
    jobs,
    tasks: tasksOf(options, choices),
    onLine: print,
    onAnswer: onOutcome,
  });
}

function* tasksOf(options: Options, choices: SimChoices): Iterable<SeedTask> {
  for (const seed of seedsOf(options)) yield { kind: "seed", seed, choices };
}

/** From the first one on, as many as there is time for, and at least that one. */
function* seedsOf({ first, count, timeMs }: Options): Iterable<number> {
  const endMs = realNow() + timeMs;
  for (let index = 0; index < count; index += 1) {
    yield first + index;
    if (realNow() >= endMs) return;
  }
}
