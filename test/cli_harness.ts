/**
 * CliHarness: the command line inside the test's own process, against the HTTP edge over a fake node.
 *
 * @module
 */

import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import type { Io } from "../src/cli_io.ts";
import { runCli } from "../src/cli_main.ts";
import { Edge, type EdgeOptions } from "./http_harness.ts";

export interface Ran {
  readonly code: number;
  /** The standard output as bytes, and as text. */
  readonly bytes: Uint8Array;
  readonly out: string;
  readonly err: string;
}

export interface Around {
  readonly environment?: Readonly<Record<string, string>>;
  /** The standard input. */
  readonly input?:
    | string
    | Uint8Array
    | readonly (string | Uint8Array)[]
    | AsyncIterable<string | Uint8Array>;
  /** Both streams are a terminal of so many columns. */
  readonly columns?: number;
}

/** Runs one command line. */
export async function quorate(words: readonly string[], around: Around = {}): Promise<Ran> {
  const out: Uint8Array[] = [];
  let err = "";
  const { columns, environment = {}, input = "" } = around;
  const pieces = typeof input === "string" || input instanceof Uint8Array ? [input] : input;
  const io: Io = {
    environment,
    input: (async function* () {
      for await (const piece of pieces) yield Buffer.from(piece);
    })(),
    columns,
    outputIsTerminal: columns !== undefined,
    errorIsTerminal: columns !== undefined,
    write: async (data) => {
      out.push(Buffer.from(data));
    },
    note(line) {
      err += `${line}\n`;
    },
    draw(text) {
      err += text;
    },
    paint: (_, text) => text,
  };
  const code = await runCli(words, io);
  const bytes = Buffer.concat(out);
  return { code, bytes: new Uint8Array(bytes), out: bytes.toString("utf8"), err };
}

/** A node to talk to: `ask` runs a command against it. */
export interface Stand {
  readonly edge: Edge;
  ask(...words: readonly string[]): Promise<Ran>;
  askWith(around: Around, ...words: readonly string[]): Promise<Ran>;
}

export async function withStand(
  run: (stand: Stand) => Promise<void>,
  options: EdgeOptions = {},
): Promise<void> {
  const edge = await Edge.open(options);
  const url = { QUORATE_URL: `http://${edge.authority}` };
  const askWith: Stand["askWith"] = (around, ...words) =>
    quorate(words, { ...around, environment: { ...url, ...around.environment } });
  try {
    await run({ edge, askWith, ask: (...words) => askWith({}, ...words) });
  } finally {
    await edge.close();
  }
}

/** A folder of its own, which is removed in the end. */
export async function withFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "quorate-cli-"));
  try {
    await run(folder);
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}
