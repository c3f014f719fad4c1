/**
 * Cli import: writes the lines of an NDJSON file, in batches, some of them under way at once.
 *
 * A file may be larger than memory and the node may go away in the middle. So lines stream, what is
 * under way is bounded, a node that is busy or away for a moment is asked again, and an import that
 * stops says from which line to go on. To go on too early is harmless: a line that is written twice
 * has the same result.
 *
 * Invariants
 * 1. Lines with the same key are written in the order of the file, so the last one wins.
 * 2. All lines before the one that an error names to go on from are stored.
 * 3. The exit code says that nothing was written only when no line can have been.
 *
 * Effects: the network through the client, a file, timers.
 *
 * @module
 */

import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { flagsOf, shellText } from "./cli_again.ts";
import type { Invocation } from "./cli_commands.ts";
import { clientOf, unreadable } from "./cli_data.ts";
import { type ImportLine, parseLine, putAt } from "./cli_import_line.ts";
import { type Io, printError } from "./cli_io.ts";
import { printFields } from "./cli_output.ts";
import { Progress } from "./cli_progress.ts";
import type { BatchPut, QuorateClient } from "./client.ts";
import { exitCode, QuorateError, type Slug } from "./errors.ts";
import { grouped } from "./figures.ts";

const batchLinesMax = 200;
const batchBytesMax = 1024 * 1024;
const concurrencyDefault = 4;
/** A value of 32 MiB as JSON at worst. */
const lineBytesMax = 256 * 1024 * 1024;
/** A batch has at most 16 MiB, and JSON at most doubles what is not base64url. */
const batchedValueBytesMax = 6 * 1024 * 1024;
const attemptsMax = 8;
const backoffMs = 100;
const backoffMsMax = 5000;

/** What may be better in a moment. */
const passing: readonly Slug[] = [
  "overloaded",
  "rate-limited",
  "unreachable",
  "timeout",
  "not-ready",
  "draining",
  "write-quorum-not-met",
  "quorum-unavailable",
  "request-timeout",
];

/** `quorate import [FILE]`. */
export async function importRecords(invocation: Invocation, io: Io): Promise<number> {
  const { config, options, arguments: words } = invocation;
  const path = words[0] === undefined || words[0] === "-" ? undefined : words[0];
  const source = await sourceOf(path, io);
  const progress = new Progress(io, "keys");
  const importer = new Importer(clientOf(config), {
    concurrency: Number(options["concurrency"] ?? concurrencyDefault),
    onProgress: (stored, bytes) =>
      progress.update(stored, source.bytes === undefined ? undefined : bytes / source.bytes),
  });
  const firstLine = Number(options["from-line"] ?? 1);
  try {
    for await (const line of linesOf(source.input, path)) {
      if (line.number >= firstLine) await importer.take(line);
      if (importer.hasFailed) break;
    }
    await importer.finish();
  } catch (error) {
    // When reading failed, what was read is stored first: the line to go on from counts on it.
    await importer.settle();
    progress.clear();
    const nextLine = Math.max(firstLine, importer.nextLine);
    const words = shellText([...flagsOf(invocation), path ?? "-"]);
    const code = printError(io, stopped(importer.failure ?? error, nextLine, path, words));
    // The other codes say that nothing was written, which is so of the line alone.
    return importer.mayHaveStored && code !== exitCode.outcomeUnknown ? exitCode.failed : code;
  }
  progress.clear();
  const { stored, expired } = importer;
  const left = expired === 0 ? "" : `, ${grouped(expired)} left out because they had expired`;
  io.note(`Imported ${progress.rateText(stored)}${left}.`);
  const { output } = config;
  if (output !== undefined) await printFields(io, output, { stored, expired }, `${stored}\n`);
  return exitCode.done;
}

interface Source {
  readonly input: AsyncIterable<Uint8Array>;
  /** Undefined where nobody knows. */
  readonly bytes: number | undefined;
}

async function sourceOf(path: string | undefined, io: Io): Promise<Source> {
  if (path === undefined) return { input: io.input, bytes: undefined };
  try {
    const { size } = await stat(path);
    return { input: createReadStream(path), bytes: size };
  } catch (error) {
    throw unreadable(path, error);
  }
}

interface RawLine {
  /** From 1. */
  readonly number: number;
  readonly bytes: Uint8Array;
}

async function* linesOf(
  input: AsyncIterable<Uint8Array>,
  path: string | undefined,
): AsyncGenerator<RawLine, void, void> {
  let rest: Uint8Array[] = [];
  let restBytes = 0;
  let number = 0;
  const lineEnd = 0x0a;
  try {
    for await (const chunk of input) {
      let start = 0;
      for (let end = chunk.indexOf(lineEnd); end >= 0; end = chunk.indexOf(lineEnd, start)) {
        const bytes = Buffer.concat([...rest, chunk.subarray(start, end)]);
        rest = [];
        restBytes = 0;
        start = end + 1;
        number += 1;
        yield { number, bytes };
      }
      restBytes += chunk.length - start;
      if (restBytes > lineBytesMax) {
        throw new QuorateError("invalid-request", `Line ${number + 1} is longer than 256 MiB.`, {
          hint: "The file has to be NDJSON: one JSON object a line.",
        });
      }
      rest.push(chunk.subarray(start));
    }
  } catch (error) {
    throw error instanceof QuorateError ? error : unreadable(path ?? "standard input", error);
  }
  const bytes = Buffer.concat(rest);
  if (bytes.length > 0) yield { number: number + 1, bytes };
}

interface ImporterOptions {
  readonly concurrency: number;
  readonly onProgress: (stored: number, bytes: number) => void;
}

interface Batch {
  readonly lines: ImportLine[];
  bytes: number;
}

/** Gathers lines into batches and keeps a bounded number of them under way. */
class Importer {
  readonly #client: QuorateClient;
  readonly #options: ImporterOptions;
  readonly #underWay = new Map<Batch, Promise<void>>();
  /** The keys of the batches under way: a line with one of them waits. */
  readonly #keys = new Set<string>();
  #batch: Batch = { lines: [], bytes: 0 };
  #failure: { readonly line: number; readonly error: unknown } | undefined;
  #bytesDone = 0;
  #lineTaken = 0;
  stored = 0;
  expired = 0;
  /** Whether any line is stored, or may be: also one behind the line to go on from. */
  mayHaveStored = false;

  constructor(client: QuorateClient, options: ImporterOptions) {
    this.#client = client;
    this.#options = options;
  }

  get hasFailed(): boolean {
    return this.#failure !== undefined;
  }

  get failure(): unknown {
    return this.#failure?.error;
  }

  /** The first line that may not be stored, once everything has settled. */
  get nextLine(): number {
    return this.#failure?.line ?? this.#lineTaken + 1;
  }

  /** Takes a line, and waits while enough is under way. */
  async take(raw: RawLine): Promise<void> {
    const line = this.#parse(raw);
    this.#lineTaken = raw.number;
    if (line === undefined) return;
    // A large line goes alone: with others before it, the request could be too large.
    if (this.#batch.bytes + raw.bytes.length > batchBytesMax) await this.#sendWithin();
    // After that: what was just sent may have the same key.
    if (this.#keys.has(line.keyName)) await this.#drain();
    this.#batch.lines.push(line);
    this.#batch.bytes += raw.bytes.length;
    if (this.#batch.lines.length === batchLinesMax) await this.#sendWithin();
  }

  /** Waits for everything; throws what failed. */
  async finish(): Promise<void> {
    await this.#drain();
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  /** Waits for everything. */
  async settle(): Promise<void> {
    await this.#drain();
  }

  #parse(raw: RawLine): ImportLine | undefined {
    const parsed = parseLine(raw.bytes, raw.number, Date.now());
    if (parsed.kind === "put") return parsed.line;
    if (parsed.kind === "expired") this.expired += 1;
    if (parsed.kind === "error") this.#fail(raw.number, parsed.error);
    return undefined;
  }

  async #drain(): Promise<void> {
    // Also after a failure at a later line: what stands before that line is promised to be stored.
    const first = this.#batch.lines[0]?.number ?? 0;
    if (this.#failure === undefined || first < this.#failure.line) this.#send();
    await Promise.all(this.#underWay.values());
  }

  /** Sends the batch, and waits until there is room for another one. */
  async #sendWithin(): Promise<void> {
    this.#send();
    while (this.#underWay.size >= this.#options.concurrency) {
      await Promise.race(this.#underWay.values());
    }
  }

  #send(): void {
    const batch = this.#batch;
    this.#batch = { lines: [], bytes: 0 };
    if (batch.lines.length === 0) return;
    for (const { keyName } of batch.lines) this.#keys.add(keyName);
    const done = this.#store(batch).finally(() => {
      this.#underWay.delete(batch);
      for (const { keyName } of batch.lines) this.#keys.delete(keyName);
    });
    this.#underWay.set(batch, done);
  }

  /** Stores a batch, again and again while what fails may pass. Never rejects. */
  async #store(batch: Batch): Promise<void> {
    let left: readonly ImportLine[] = batch.lines;
    for (let attempt = 1; ; attempt += 1) {
      const failed = await this.#attempt(left);
      const storedNow = failed === undefined ? left.length : failed.index;
      this.stored += storedNow;
      if (failed === undefined) break;
      // What follows is sent again too: a later line of the same key must stay the later one.
      left = left.slice(failed.index);
      const mayPass = isPassing(failed.error) && !this.#neverReached(failed.error);
      if (!mayPass || attempt === attemptsMax) {
        this.#fail(left[0]?.number ?? 0, failed.error);
        return;
      }
      await pause(waitMs(attempt, failed.error));
    }
    this.#bytesDone += batch.bytes;
    this.#options.onProgress(this.stored, this.#bytesDone);
  }

  /** One request; answers the first line that failed. */
  async #attempt(
    lines: readonly ImportLine[],
  ): Promise<{ readonly index: number; readonly error: unknown } | undefined> {
    try {
      // At each attempt anew: what waited to be sent again has less time left.
      const nowMs = Date.now();
      const puts: readonly BatchPut[] = lines.map((line) => putAt(line, nowMs));
      const [only] = puts;
      if (only !== undefined && puts.length === 1 && only.value.length > batchedValueBytesMax) {
        const { key, value, meta, ttlSeconds } = only;
        await this.#client.put(key, value, { meta, ttlSeconds, contentType: typeOf(only) });
        this.mayHaveStored = true;
        return undefined;
      }
      const results = await this.#client.batch(puts);
      for (const result of results) this.#note(result.kind === "error" ? result.error : undefined);
      const index = results.findIndex((result) => result.kind === "error");
      const result = results[index];
      return result?.kind === "error" ? { index, error: result.error } : undefined;
    } catch (error) {
      this.#note(error);
      return { index: 0, error };
    }
  }

  /** What became of a line: undefined when it was stored. */
  #note(error: unknown): void {
    const isNothing = error instanceof QuorateError && (error.outcome ?? "none") === "none";
    if (!isNothing) this.mayHaveStored = true;
  }

  /** Nobody is there, and nobody was: then waiting for them to come back is no help. */
  #neverReached(error: unknown): boolean {
    if (this.stored > 0 || !(error instanceof QuorateError)) return false;
    return error.slug === "unreachable" && error.outcome === "none";
  }

  /** The earliest line that failed is the one to go on from. */
  #fail(line: number, error: unknown): void {
    if (this.#failure === undefined || line < this.#failure.line) this.#failure = { line, error };
  }
}

/** What the node stores in a batch when no type is named, which a PUT of ours would not. */
function typeOf({ contentType }: BatchPut): string {
  return contentType ?? "application/octet-stream";
}

function isPassing(error: unknown): boolean {
  return error instanceof QuorateError && passing.includes(error.slug);
}

function waitMs(attempt: number, error: unknown): number {
  const asked = error instanceof QuorateError ? (error.facts.retryAfterSeconds ?? 0) * 1000 : 0;
  return Math.max(asked, Math.min(backoffMsMax, backoffMs * 2 ** (attempt - 1)));
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** The error of an import that stopped, with the line to go on from. */
function stopped(error: unknown, line: number, path: string | undefined, words: string): unknown {
  if (!(error instanceof QuorateError)) return error;
  return new QuorateError(
    error.slug,
    `Line ${grouped(line)} of ${path ?? "the standard input"}: ${error.detail}`,
    {
      ...error.facts,
      hint: `All lines before it are stored. When it is put right, go on with: quorate import --from-line ${line} ${words}`,
    },
  );
}
