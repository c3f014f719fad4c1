/**
 * Main: the simulator's command line.
 *
 *     npm run sim -- [--seeds 100] [--seed 1] [--time 10m] [--fault kill,isolate]
 *                    [--mutation NAME] [--replay] [--hashes] [--no-shrink] [--paths] [--nightly]
 *
 * Effects: the command's arguments, stdout, the exit code.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { runSim, SimUsage, simOptions } from "./command.ts";

const options = Object.fromEntries(
  simOptions.map(([name, form]) => [
    name,
    { type: form === undefined ? ("boolean" as const) : ("string" as const) },
  ]),
);

try {
  const { values } = parseArgs({ args: process.argv.slice(2), options });
  process.exitCode = await runSim(values as Record<string, string | boolean>, console.log);
} catch (error) {
  if (!(error instanceof SimUsage)) throw error;
  console.error(error.message);
  process.exitCode = 2;
}
