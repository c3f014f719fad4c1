/**
 * Log: what the parts of a node report, as lines and as numbers.
 *
 * Lines go to the standard error: JSON for programs, or one readable line each for people. Counters
 * and observations are kept in memory, where metrics read them. A sink must never hold up the node,
 * so lines are written behind its back, and dropped (and counted) when nobody reads them.
 *
 * Invariants
 * 1. A report never throws and never waits.
 * 2. What waits to be written is bounded by `waitingBytesMax`.
 *
 * Effects: writes to a file descriptor.
 *
 * @module
 */

import pino from "pino";
import type { LogLevel, Report } from "./capability.ts";
import { QuorateError } from "./errors.ts";

/** Lines that wait to be written; more are dropped. */
const waitingBytesMax = 1024 * 1024;

export interface LogOptions {
  readonly level: LogLevel;
  readonly format: "text" | "json";
  /** Whether text lines are coloured. */
  readonly colour: boolean;
  /** In every JSON line. */
  readonly node?: string;
  /** The file descriptor; default 2, the standard error. */
  readonly descriptor?: number;
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
  /** Writes what waits, at once; for the moment before the process ends. */
  flush(): void;
}

/** A `Report` that logs and counts. */
export function createReport(options: LogOptions): LogReport {
  const destination = pino.destination({
    dest: options.descriptor ?? 2,
    sync: false,
    maxLength: waitingBytesMax,
  });
  const counters = new Map<string, number>();
  const observations = new Map<string, Observed>();
  const marks = new Map<string, number>();
  const add = (map: Map<string, number>, name: string, by: number): void => {
    map.set(name, (map.get(name) ?? 0) + by);
  };
  // A reader that went away ends no node: its lines are lost, as `drop` counts.
  destination.on("error", () => add(counters, "log_lines_failed", 1));
  destination.on("drop", () => add(counters, "log_lines_dropped", 1));
  const logger = pino(
    {
      level: options.level,
      base: options.node === undefined ? null : { node: options.node },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    options.format === "json" ? destination : textDestination(destination, options.colour),
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
    flush() {
      try {
        destination.flushSync();
      } catch {
        // The reader is gone, or the descriptor was never ready: nothing is left to do about it.
      }
    },
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

/** Turns pino's JSON lines into lines for people. */
function textDestination(
  destination: { write(line: string): unknown },
  colour: boolean,
): pino.DestinationStream {
  return {
    write(line) {
      destination.write(textLine(line, colour));
    },
  };
}

const levelColours: Readonly<Record<string, number>> = { debug: 2, warn: 33, error: 31 };

/** `12:03:04.123 warn  The disk is nearly full. freeBytes=1024` */
export function textLine(json: string, colour: boolean): string {
  const { level, time, msg, ...fields } = JSON.parse(json) as Record<string, unknown>;
  const label = String(level).padEnd(5);
  const code = levelColours[String(level)];
  const shownLabel = colour && code !== undefined ? `\u001b[${code}m${label}\u001b[0m` : label;
  let line = `${String(time).slice(11, 23)} ${shownLabel} ${String(msg)}`;
  for (const [name, value] of Object.entries(fields)) {
    if (name === "node" || value === undefined) continue;
    line += ` ${name}=${typeof value === "string" && /^\S+$/.test(value) ? value : JSON.stringify(value)}`;
  }
  return `${line}\n`;
}
