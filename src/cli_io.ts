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
import { exitCode, type Outcome, QuorateError, slugTable } from "./errors.ts";

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

export type Style = "red" | "yellow" | "green" | "blue" | "magenta" | "cyan" | "bold" | "dim";

const codes: Readonly<Record<Style, number>> = {
  bold: 1,
  dim: 2,
  red: 31,
  green: 32,
  yellow: 33,
  blue: 34,
  magenta: 35,
  cyan: 36,
};

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

const known: Readonly<Record<Outcome, string>> = {
  none: "nothing was written",
  partial: "some replicas have it",
  unknown: "it may have taken place",
};

/** Prints an error as `error`, `why` and `hint`, and answers the exit code. */
export function printError(io: Io, error: unknown): number {
  if (!(error instanceof QuorateError)) return printFault(io, error);
  const { facts, slug } = error;
  const lines = [
    `${io.paint("red", "error:")} ${error.title} (${slug})`,
    `${io.paint("bold", "why:")}   ${printable(error.detail)}`,
  ];
  for (const { node, status, reason } of facts.replicas ?? []) {
    lines.push(printable(`       ${node}: ${status}${reason === undefined ? "" : ` (${reason})`}`));
  }
  // Of wrong usage it goes without saying that nothing was written.
  if (error.outcome !== undefined && error.exitCode !== exitCode.usage) {
    lines.push(`${io.paint("bold", "write:")} ${error.outcome}: ${known[error.outcome]}`);
  }
  lines.push(`${io.paint("bold", "hint:")}  ${printable(error.hint ?? slugTable[slug].about)}`);
  if (facts.requestId !== undefined) lines.push(io.paint("dim", `request ${facts.requestId}`));
  noteWhole(io, lines);
  return error.exitCode;
}

/** Wrong use of the command line: exit code 2, and nothing was sent. */
export function printUsage(io: Io, why: string, hint: string): number {
  noteWhole(io, [
    `${io.paint("red", "error:")} Wrong usage`,
    `${io.paint("bold", "why:")}   ${printable(why)}`,
    `${io.paint("bold", "hint:")}  ${printable(hint)}`,
  ]);
  return exitCode.usage;
}

/** Of a standard output that takes nothing more, as on a full disk; answers the exit code. */
export function printLostOutput(io: Io, error: Error): number {
  noteWhole(io, [
    `${io.paint("red", "error:")} The output could not be written`,
    `${io.paint("bold", "why:")}   ${printable(error.message)}`,
    `${io.paint("bold", "hint:")}  What is there of it is not all. Make room, or print it elsewhere, and repeat it.`,
  ]);
  return exitCode.failed;
}

function printFault(io: Io, error: unknown): number {
  const said = error instanceof Error ? error.message : String(error);
  const what =
    error instanceof AssertionError
      ? "An invariant of the program is broken"
      : "The program met an error of its own";
  noteWhole(io, [
    `${io.paint("red", "error:")} ${what}`,
    `${io.paint("bold", "why:")}   ${printable(said)}`,
    `${io.paint("bold", "hint:")}  Please report it with the lines below.`,
    ...(error instanceof Error ? [error.stack ?? ""] : []),
  ]);
  return exitCode.failed;
}

/** In one write: the log goes to the same place, and its lines would come between those of the error. */
function noteWhole(io: Io, lines: readonly string[]): void {
  io.note(lines.join("\n"));
}

/** Text from elsewhere, with what a terminal would obey made visible. */
export function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not get through.
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, (letter) => {
    const code = letter.charCodeAt(0).toString(16).padStart(4, "0");
    return `\\u${code}`;
  });
}
