/**
 * Log: what the parts of a node report, as lines and as numbers.
 *
 * Lines go to the standard error: JSON for programs, or one readable line each for people. Counters
 * and observations are kept in memory, where metrics read them. A sink must never hold up the node,
 * so lines are written behind its back, and dropped (and counted) when nobody reads them.
 *
 * The writer is our own: that of pino tries a failed write again without end when the process
 * leaves, so that a log on a full disk would keep a node from stopping.
 *
 * Invariants
 * 1. A report never throws and never waits.
 * 2. What waits to be written is bounded by `waitingBytesMax`.
 * 3. One write is under way at most, so that lines keep their order.
 *
 * Effects: writes to a file descriptor.
 *
 * @module
 */

import * as fs from "node:fs";
import pino from "pino";
import { type LogLevel, type Report, systemErrorCode } from "./capability.ts";
import { QuorateError } from "./errors.ts";

/** Lines that wait to be written; more are dropped. */
const waitingBytesMax = 1024 * 1024;
/** A reader that is behind (a full pipe) is tried again so often. */
const retryMs = 50;
/** How long `flush` waits for a reader that takes nothing. */
const flushMsDefault = 1000;

export interface LogOptions {
  readonly level: LogLevel;
  readonly format: "text" | "json";
  /** Whether text lines are coloured. */
  readonly colour: boolean;
  /** In every JSON line. */
  readonly node?: string;
  /** The file descriptor; default 2, the standard error. */
  readonly descriptor?: number;
  /** How long `flush` waits at most; default 1,000. */
  readonly flushMs?: number;
}

/** The sum and number of what was observed under a name. */
export interface Observed {
  readonly count: number;
  readonly sum: number;
  readonly max: number;
}

export interface LogReport extends Report {
  counters(): ReadonlyMap<string, number>;
  observations(): ReadonlyMap<string, Observed>;
  /** The rare paths that were taken. */
  marks(): ReadonlyMap<string, number>;
  /** Resolves when what waits is written, has failed, or has had its time; never rejects. */
  flush(): Promise<void>;
}

/** A `Report` that logs and counts. */
export function createReport(options: LogOptions): LogReport {
  const counters = new Map<string, number>();
  const observations = new Map<string, Observed>();
  const marks = new Map<string, number>();
  const add = (map: Map<string, number>, name: string, by: number): void => {
    map.set(name, (map.get(name) ?? 0) + by);
  };
  const writer = new LineWriter(options.descriptor ?? 2, (lines) => {
    add(counters, "log_lines_lost", lines);
  });
  const logger = pino(
    {
      level: options.level,
      base: options.node === undefined ? null : { node: options.node },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    options.format === "json"
      ? writer
      : { write: (line) => writer.write(textLine(line, options.colour)) },
  );
  return {
    log(level, message, fields) {
      logger[level](fields === undefined ? {} : plainFields(fields), message);
    },
    count: (name, by = 1) => add(counters, name, by),
    observe(name, value) {
      const { count, sum, max } = observations.get(name) ?? { count: 0, sum: 0, max: value };
      observations.set(name, { count: count + 1, sum: sum + value, max: Math.max(max, value) });
    },
    sometimes: (name) => add(marks, name, 1),
    counters: () => counters,
    observations: () => observations,
    marks: () => marks,
    flush: () => writer.flush(options.flushMs ?? flushMsDefault),
  };
}

/** Fields that JSON can hold: errors with what they know, big numbers as text. */
function plainFields(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const plain: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(fields)) plain[name] = plainValue(value);
  return plain;
}

function plainValue(value: unknown): unknown {
  if (typeof value === "bigint") return value.toString();
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  if (value instanceof QuorateError) {
    const { slug, detail, outcome, hint } = value;
    return { slug, detail, outcome, hint, cause: plainCause(value.cause) };
  }
  if (value instanceof Error) {
    return { name: value.name, message: value.message, stack: value.stack };
  }
  return value;
}

function plainCause(cause: unknown): string | undefined {
  if (cause === undefined) return undefined;
  return cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
}

const levelColours: Readonly<Record<string, number>> = { debug: 2, warn: 33, error: 31 };

/** `12:03:04.123 warn  The disk is nearly full. freeBytes=1024` */
export function textLine(json: string, colour: boolean): string {
  const { level, time, msg, ...fields } = JSON.parse(json) as Record<string, unknown>;
  const label = String(level).padEnd(5);
  const code = levelColours[String(level)];
  const shownLabel = colour && code !== undefined ? `\u001b[${code}m${label}\u001b[0m` : label;
  let line = `${String(time).slice(11, 23)} ${shownLabel} ${shown(String(msg))}`;
  for (const [name, value] of Object.entries(fields)) {
    if (name === "node" || value === undefined) continue;
    const isPlain = typeof value === "string" && /^[^\s\p{Cc}]+$/u.test(value);
    line += ` ${name}=${isPlain ? value : shown(JSON.stringify(value))}`;
  }
  return `${line}\n`;
}

/** With what a terminal would obey, or what would be a line of its own, made visible. */
function shown(text: string): string {
  return text.replace(/\p{Cc}/gu, (letter) => {
    return `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}

/** Lines on their way to a file descriptor. */
class LineWriter implements pino.DestinationStream {
  readonly #descriptor: number;
  readonly #onLost: (lines: number) => void;
  #waiting: string[] = [];
  #waitingBytes = 0;
  #isWriting = false;
  #wakers: (() => void)[] = [];

  constructor(descriptor: number, onLost: (lines: number) => void) {
    this.#descriptor = descriptor;
    this.#onLost = onLost;
  }

  write(line: string): void {
    const bytes = Buffer.byteLength(line);
    if (this.#waitingBytes + bytes > waitingBytesMax) {
      this.#onLost(1);
      return;
    }
    this.#waiting.push(line);
    this.#waitingBytes += bytes;
    if (!this.#isWriting) this.#writeNext();
  }

  async flush(timeoutMs: number): Promise<void> {
    if (!this.#isWriting) return;
    await new Promise<void>((wake) => {
      const timer = setTimeout(wake, timeoutMs);
      this.#wakers.push(() => {
        clearTimeout(timer);
        wake();
      });
    });
  }

  /** Everything that waits goes out in one write. */
  #writeNext(): void {
    const lines = this.#waiting;
    if (lines.length === 0) {
      this.#isWriting = false;
      for (const wake of this.#wakers.splice(0)) wake();
      return;
    }
    this.#isWriting = true;
    this.#waiting = [];
    this.#writeRest(Buffer.from(lines.join("")), lines.length);
  }

  #writeRest(rest: Buffer, lines: number): void {
    fs.write(this.#descriptor, rest, (error, written) => {
      const code = systemErrorCode(error);
      if (code === "EAGAIN" || code === "EBUSY") {
        // The timer does not keep the process: a reader that is stuck must not either.
        setTimeout(() => this.#writeRest(rest, lines), retryMs).unref();
        return;
      }
      if (error === null && written > 0 && written < rest.length) {
        this.#waitingBytes -= written;
        this.#writeRest(rest.subarray(written), lines);
        return;
      }
      // A reader that went away ends no node: its lines are lost.
      if (error !== null || written === 0) this.#onLost(lines);
      this.#waitingBytes -= rest.length;
      this.#writeNext();
    });
  }
}
