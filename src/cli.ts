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
 * 2. A reader that goes away (`quorate list | head`) ends a command quietly, but never a server.
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
const isServer = words.find((word) => !word.startsWith("-")) === "serve";

// A pipe whose reader has gone is no failure of a data command: what it wanted, it has. A server's
// output is only a log, and a server that ended because nobody reads it would be a bad joke.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (isServer) return;
    if (error.code === "EPIPE") process.exit(exitCode.done);
    process.exit(stream === process.stdout ? printLostOutput(io, error) : exitCode.failed);
  });
}
process.on("uncaughtException", (error) => {
  // For example a broken invariant: going on would be worse than stopping (see `assert`).
  process.exit(printError(io, error));
});

const code = await runCli(words, io);
// What was written may still be in a pipe's buffer; the process ends when it has left.
process.stdout.write("", () => process.stderr.write("", () => process.exit(code)));
