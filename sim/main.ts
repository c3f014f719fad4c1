/**
 * Main: the simulator's command line.
 *
 *     npm run sim -- [--seeds 100] [--seed 1] [--time 10m] [--jobs 2] [--fault kill,isolate] [--moves many]
 *                    [--focus NAME] [--mutation NAME] [--schedule FILE] [--replay] [--hashes]
 *                    [--no-shrink] [--paths] [--nightly]
 *
 * Effects: the command's arguments, stdout, stderr, the exit code; those of `command`.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { type SimChoices, SimUsage, simOptions } from "./choices.ts";
import { runSim } from "./command.ts";

const options = Object.fromEntries(
  simOptions.map(([name, form]) => [
    name,
    { type: form === undefined ? ("boolean" as const) : ("string" as const) },
  ]),
);

/** The arguments by name. @throws SimUsage */
function choicesOf(args: string[]): SimChoices {
  try {
    return parseArgs({ args, options }).values as SimChoices;
  } catch (error) {
    const names = simOptions.map(
      ([name, form]) => `--${name}${form === undefined ? "" : ` ${form}`}`,
    );
    const why = error instanceof Error ? error.message : String(error);
    throw new SimUsage(`${why}\nThe options are: ${names.join(", ")}.`);
  }
}

try {
  process.exitCode = await runSim(choicesOf(process.argv.slice(2)), console.log);
} catch (error) {
  if (!(error instanceof SimUsage)) throw error;
  console.error(error.message);
  process.exitCode = 2;
}
