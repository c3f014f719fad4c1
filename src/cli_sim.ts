/**
 * Cli sim: `sim`, whole clusters of the real node on virtual time, from seeds.
 *
 * The simulator is no part of the program: nothing else imports it, and this file does so only when
 * the command runs.
 *
 * Effects: those of the simulator.
 *
 * @module
 */

import type { Invocation } from "./cli_commands.ts";
import type { Io } from "./cli_io.ts";
import { QuorateError } from "./errors.ts";

/** `quorate sim`. */
export async function sim({ options }: Invocation, io: Io): Promise<number> {
  const { runSim, SimUsage } = await import("../sim/command.ts");
  try {
    const choices = options as Readonly<Record<string, string | boolean | undefined>>;
    return await runSim(choices, (line) => void io.write(`${line}\n`));
  } catch (error) {
    if (!(error instanceof SimUsage)) throw error;
    throw new QuorateError("invalid-config", error.message, {
      hint: "See quorate sim --help.",
    });
  }
}
