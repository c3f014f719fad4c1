/**
 * Cli io: the terminal, or whatever stands in its place.
 *
 * Data goes to the standard output and nothing else does, so that a pipe never finds a message in
 * it; messages, progress and errors go to the standard error. Whether each of them is a terminal is
 * asked apart: colour for the one says nothing about the other.
 *
 * Invariants
 * 1. `write` waits while the reader is slow, so that an export never piles up in memory.
 * 2. There is no colour without a terminal, nor with NO_COLOR.
 *
 * Effects: the standard streams.
 *
 * @module
 */

import { AssertionError } from "./assert.ts";
import { exitCode, QuorateError, slugTable } from "./errors.ts";

export interface Io {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly input: AsyncIterable<Uint8Array>;
  /** Columns of the terminal on the standard error; undefined without one. */
  readonly columns: number | undefined;
  readonly outputIsTerminal: boolean;
  readonly errorIsTerminal: boolean;
  /** Data, to the standard output. */
  write(data: string | Uint8Array): Promise<void>;
  /** A line, to the standard error. */
  note(line: string): void;
  /** Text as it is, to the standard error. */
  draw(text: string): void;
  /** Text in a colour, where the standard error shows colours. */
  paint(style: Style, text: string): string;
}

export type Style = "red" | "yellow" | "green" | "bold" | "dim";

const codes: Readonly<Record<Style, number>> = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33 };

/** The process's own streams. */
export function processIo(): Io {
  const { stdin, stdout, stderr, env } = process;
  const noColour = env["NO_COLOR"] !== undefined && env["NO_COLOR"] !== "";
  const hasColour = stderr.isTTY === true && !noColour && env["TERM"] !== "dumb";
  return {
    environment: env,
    input: stdin,
    columns: stderr.isTTY === true ? stderr.columns : undefined,
    outputIsTerminal: stdout.isTTY === true,
    errorIsTerminal: stderr.isTTY === true,
    write: (data) =>
      new Promise((resolve) => {
        // A failed write is told by the stream's error event, which ends the program.
        stdout.write(data, () => resolve());
      }),
    note(line) {
      stderr.write(`${line}\n`);
    },
    draw(text) {
      stderr.write(text);
    },
    paint: (style, text) => (hasColour ? `\u001b[${codes[style]}m${text}\u001b[0m` : text),
  };
}

/** Prints an error as `error`, `why` and `hint`, and answers the exit code. */
export function printError(io: Io, error: unknown): number {
  if (!(error instanceof QuorateError)) return printFault(io, error);
  const { facts, slug } = error;
  io.note(`${io.paint("red", "error:")} ${error.title} (${slug})`);
  io.note(`${io.paint("bold", "why:")}   ${printable(error.detail)}`);
  for (const { node, status, reason } of facts.replicas ?? []) {
    io.note(printable(`       ${node}: ${status}${reason === undefined ? "" : ` (${reason})`}`));
  }
  if (error.outcome !== undefined && error.outcome !== "none") {
    const known = error.outcome === "partial" ? "some replicas have it" : "it may have taken place";
    io.note(`${io.paint("bold", "write:")} ${error.outcome}: ${known}`);
  }
  io.note(`${io.paint("bold", "hint:")}  ${printable(error.hint ?? slugTable[slug].about)}`);
  if (facts.requestId !== undefined) io.note(io.paint("dim", `request ${facts.requestId}`));
  return error.exitCode;
}

/** Wrong use of the command line: exit code 2, and nothing was sent. */
export function printUsage(io: Io, why: string, hint: string): number {
  io.note(`${io.paint("red", "error:")} Wrong usage`);
  io.note(`${io.paint("bold", "why:")}   ${printable(why)}`);
  io.note(`${io.paint("bold", "hint:")}  ${printable(hint)}`);
  return exitCode.usage;
}

function printFault(io: Io, error: unknown): number {
  const said = error instanceof Error ? error.message : String(error);
  const what =
    error instanceof AssertionError
      ? "An invariant of the program is broken"
      : "The program met an error of its own";
  io.note(`${io.paint("red", "error:")} ${what}`);
  io.note(`${io.paint("bold", "why:")}   ${printable(said)}`);
  io.note(`${io.paint("bold", "hint:")}  Please report it with the lines below.`);
  if (error instanceof Error) io.note(error.stack ?? "");
  return exitCode.failed;
}

/** Text from elsewhere, with what a terminal would obey made visible. */
export function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not get through.
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, (letter) => {
    const code = letter.charCodeAt(0).toString(16).padStart(4, "0");
    return `\\u${code}`;
  });
}
