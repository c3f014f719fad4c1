/**
 * Cli import line: what one line of NDJSON asks to store.
 *
 * The lines of `quorate export` and of a list as NDJSON (`/v1/keys` with values) are both taken. A
 * field that nobody knows is an error, because a mistyped `ttl` would store for ever.
 *
 * Effects: none.
 *
 * @module
 */

import { ttlSecondsMax } from "./api.ts";
import { isWellFormed, utf8OrUndefined } from "./bytes.ts";
import type { BatchPut } from "./client.ts";
import { bytesIn, type Fields, isObject, parseObject, textIn } from "./client_fetch.ts";
import { QuorateError } from "./errors.ts";
import { grouped } from "./figures.ts";
import { checkShape } from "./json.ts";

export interface ImportLine {
  readonly number: number;
  /** Without the time to live of a line that says when it expires: see `putAt`. */
  readonly put: BatchPut;
  readonly expiresAtMs: number | undefined;
  /** The key's bytes, a character each. */
  readonly keyName: string;
}

export type ParsedLine =
  | { readonly kind: "put"; readonly line: ImportLine }
  | { readonly kind: "expired" }
  /** An empty line, or the end line of a list. */
  | { readonly kind: "nothing" }
  | { readonly kind: "error"; readonly error: QuorateError };

const fieldNames: readonly string[] = [
  "key",
  "key64",
  "value",
  "value64",
  "contentType",
  "meta",
  "ttl",
  "expiresAt",
  // What lists say besides; it cannot be stored.
  "version",
  "bytes",
];

/**
 * The put of a line that is sent at `nowMs`. The node takes whole seconds to live and counts them
 * from when it has the write. They are rounded up: a record is never over before its time, and at
 * most a second and the way to the node after it.
 */
export function putAt({ put, expiresAtMs }: ImportLine, nowMs: number): BatchPut {
  if (expiresAtMs === undefined) return put;
  return { ...put, ttlSeconds: Math.max(1, Math.ceil((expiresAtMs - nowMs) / 1000)) };
}

/** Parses line `number`; whether it has expired is judged at `nowMs`. */
export function parseLine(bytes: Uint8Array, number: number, nowMs: number): ParsedLine {
  const text = utf8OrUndefined(bytes);
  if (text === undefined) return failed("The line is not valid UTF-8.");
  if (text.trim() === "") return { kind: "nothing" };
  const fields = parseObject(number === 1 ? text.replace(/^\ufeff/, "") : text);
  if (fields === undefined) return failed("The line is not a JSON object.");
  const shape = shapeError(text);
  if (shape !== undefined) return { kind: "error", error: shape };
  if (fields.end === true && !isRecord(fields)) return { kind: "nothing" };
  if (isObject(fields.error)) return failed("The line is the error of a list that is incomplete.");
  return parseFields(fields, number, nowMs);
}

/** Whether it says what to store: such a line is not passed over, whatever else it says. */
function isRecord(fields: Fields): boolean {
  return fields.key !== undefined || fields.key64 !== undefined;
}

function parseFields(fields: Fields, number: number, nowMs: number): ParsedLine {
  const unknown = Object.keys(fields).find((name) => !fieldNames.includes(name));
  if (unknown !== undefined) return failed(`The field '${unknown}' is not known.`);
  const key = exactlyOne(fields, "key");
  const value = exactlyOne(fields, "value");
  if (typeof key === "string") return failed(key);
  if (typeof value === "string") return failed(value);
  const meta = metaOf(fields.meta);
  if (meta === undefined) return failed("The field 'meta' is not an object of texts.");
  const { contentType } = fields;
  if (contentType !== undefined && (typeof contentType !== "string" || contentType === "")) {
    return failed("The field 'contentType' is not a text, or is empty.");
  }
  const ttl = ttlOf(fields);
  if (typeof ttl === "string") return failed(ttl);
  const expiresAtMs = expiryOf(fields);
  if (typeof expiresAtMs === "string") return failed(expiresAtMs);
  if (expiresAtMs !== undefined && expiresAtMs <= nowMs) return { kind: "expired" };
  if (expiresAtMs !== undefined && expiresAtMs - nowMs > ttlSecondsMax * 1000) {
    return failed(`'expiresAt' is more than ${grouped(ttlSecondsMax)} seconds away.`);
  }
  const put: BatchPut = {
    kind: "put",
    key,
    value,
    contentType,
    ...(Object.keys(meta).length === 0 ? {} : { meta }),
    ttlSeconds: ttl,
  };
  const keyName = Buffer.from(key).toString("latin1");
  return { kind: "put", line: { number, put, expiresAtMs, keyName } };
}

/** The bytes of `name` or `name64`, or what is wrong. */
function exactlyOne(fields: Fields, name: string): Uint8Array | string {
  const given = [fields[name], fields[`${name}64`]].filter((field) => field !== undefined);
  if (given.length !== 1) return `Exactly one of '${name}' and '${name}64' is needed.`;
  if (!isWellFormed(textIn(fields, name) ?? "")) {
    return `The field '${name}' holds half of a surrogate pair; use '${name}64'.`;
  }
  return bytesIn(fields, name) ?? `The field '${name}' or '${name}64' is not valid text.`;
}

function metaOf(given: unknown): Readonly<Record<string, string>> | undefined {
  if (given === undefined) return {};
  if (!isObject(given)) return undefined;
  const isText = Object.values(given).every((value) => typeof value === "string");
  return isText ? (given as Readonly<Record<string, string>>) : undefined;
}

/** Seconds to live. */
function ttlOf({ ttl, expiresAt }: Fields): number | undefined | string {
  if (ttl === undefined) return undefined;
  if (expiresAt !== undefined) return "Both 'ttl' and 'expiresAt' are given.";
  const seconds = typeof ttl === "number" && Number.isInteger(ttl) ? ttl : 0;
  if (seconds >= 1 && seconds <= ttlSecondsMax) return seconds;
  return `'ttl' has to be whole seconds, at least 1 and at most ${grouped(ttlSecondsMax)}.`;
}

function expiryOf({ expiresAt }: Fields): number | undefined | string {
  if (expiresAt === undefined) return undefined;
  const ms = typeof expiresAt === "string" ? Date.parse(expiresAt) : Number.NaN;
  return Number.isNaN(ms) ? "'expiresAt' is not a time." : ms;
}

/** A field that is given twice: one of the two was meant, and we cannot know which. */
function shapeError(text: string): QuorateError | undefined {
  try {
    checkShape(text, "The line");
    return undefined;
  } catch (error) {
    return QuorateError.from(error);
  }
}

function failed(detail: string): ParsedLine {
  const error = new QuorateError("invalid-request", detail, { outcome: "none" });
  return { kind: "error", error };
}
