#!/usr/bin/env node
/**
 * Cli: the program `quorate`.
 *
 * It hands the words of the command line to `cli_main`, which loads the one file that runs the
 * command, and ends the process with the exit code that comes back. Everything slow is loaded by
 * that one file, so that a data command starts in the time that Node itself takes, and a little.
 *
 * Invariants
 * 1. This file is the only one that ends the process.
 * 2. A reader that goes away (`quorate list | head`) ends a command quietly, but never a server, nor
 *    one that has to put something in order at its end.
 * 3. The exit code is what the command came to, whoever reads what it says about that.
 *
 * Effects: the process: arguments, streams, exit code.
 *
 * @module
 */

import { printError, printLostOutput, processIo } from "./cli_io.ts";
import { runCli } from "./cli_main.ts";
import { exitCode } from "./errors.ts";

const words = process.argv.slice(2);
const io = processIo();
const command = words.find((word) => !word.startsWith("-")) ?? "";
const isServer = command === "serve";
/** Nodes that they have started are stopped, keys that they have written are deleted. */
const hasMoreToDo = ["demo", "chaos", "bench"].includes(command);

// A pipe whose reader has gone is no failure of a data command: what it wanted, it has. A server's
// output is only a log, and a server that ended because nobody reads it would be a bad joke.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (isServer) return;
  if (error.code !== "EPIPE") process.exit(printLostOutput(io, error));
  if (!hasMoreToDo) process.exit(exitCode.done);
});
// Whoever does not read why a write failed still asks, by the exit code, whether it did.
process.stderr.on("error", () => {});
process.on("uncaughtException", (error) => {
  // For example a broken invariant: going on would be worse than stopping (see `assert`).
  process.exit(printError(io, error));
});

const code = await runCli(words, io);
// What was written may still be in a pipe's buffer; the process ends when it has left.
process.stdout.write("", () => process.stderr.write("", () => process.exit(code)));
