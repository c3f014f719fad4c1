/**
 * Cli main: from the words of a command line to an exit code.
 *
 * Effects: those of the command, through `Io` and what the command's own file uses.
 *
 * @module
 */

import type { Command } from "commander";
import { type Io, printError, printUsage } from "./cli_io.ts";
import { buildProgram, type Parsed } from "./cli_program.ts";
import { readClusterSecret, readSettings } from "./cli_settings.ts";
import { programVersion } from "./cli_version.ts";
import { nearestName, validate } from "./config.ts";
import { exitCode } from "./errors.ts";

/** Runs one command line; answers the exit code. */
export async function runCli(words: readonly string[], io: Io): Promise<number> {
  let code: number = exitCode.done;
  let help = "";
  const program = buildProgram({
    version: programVersion,
    write: (text) => {
      help += text;
    },
    run: async (parsed) => {
      code = await runCommand(parsed, io);
    },
  });
  try {
    await program.parseAsync(words, { from: "user" });
    return code;
  } catch (error) {
    const { code: reason, exitCode: wanted, message } = error as Partial<CommanderFault>;
    // An error from elsewhere may have a number there, as those of LMDB do.
    const isCommanders = typeof reason === "string" && reason.startsWith("commander.");
    if (!isCommanders) return printError(io, error);
    // Help and version that were asked for come as an error with exit code 0.
    if (wanted === 0) {
      await io.write(help);
      return exitCode.done;
    }
    if (reason === "commander.help") {
      io.note(helpOf(program, words));
      return exitCode.usage;
    }
    return printUsage(io, ...usageFault(program, words, message ?? ""));
  }
}

interface CommanderFault {
  readonly code: unknown;
  readonly exitCode: number;
  readonly message: string;
}

async function runCommand(parsed: Parsed, io: Io): Promise<number> {
  const { row, flags, options } = parsed;
  const wanted =
    row.name === "serve" ? "serve" : row.name === "config show" ? "all" : ("data" as const);
  const resolved = await readSettings({ flags, environment: io.environment, wanted });
  // Before anything is loaded: what a data command does not read, it need not check either.
  if (wanted !== "data") validate(resolved.config);
  // A file that cannot be used is told before the node begins anything.
  if (wanted === "serve") await readClusterSecret(resolved);
  const run = await row.load();
  return run({ ...resolved, arguments: parsed.arguments, options }, io);
}

/** What was wrong with the command line, and what to do. */
function usageFault(
  program: Command,
  words: readonly string[],
  message: string,
): readonly [why: string, hint: string] {
  const [first = "", ...rest] = message.replace(/^error: /, "").split("\n");
  const command = commandOf(program, words);
  const help = `quorate ${command === undefined ? "" : `${command} `}--help`;
  const why = `${first.charAt(0).toUpperCase()}${first.slice(1).replace(/\.$/, "")}.`;
  const suggested = /\(Did you mean (.*)\?\)/.exec(rest.join(" "))?.[1];
  if (suggested !== undefined) return [why, `Did you mean ${suggested}? See ${help}.`];
  const mistyped = /unknown command '(.*)'/.exec(first)?.[1];
  const names = program.commands.map((one) => one.name());
  const nearest = mistyped === undefined ? undefined : nearestName(mistyped, names);
  return [why, nearest === undefined ? `See ${help}.` : `Did you mean ${nearest}? See ${help}.`];
}

function commandOf(program: Command, words: readonly string[]): string | undefined {
  const [first, second] = words.filter((word) => !word.startsWith("-"));
  const command = program.commands.find((one) => one.name() === first);
  const nested = command?.commands.find((one) => one.name() === second);
  if (command === undefined) return undefined;
  return nested === undefined ? command.name() : `${command.name()} ${nested.name()}`;
}

function helpOf(program: Command, words: readonly string[]): string {
  const group = program.commands.find((one) => one.name() === words[0]);
  return (group ?? program).helpInformation();
}
