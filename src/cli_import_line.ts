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

import { utf8OrUndefined } from "./bytes.ts";
import type { BatchPut } from "./client.ts";
import { bytesIn, type Fields, isObject, parseObject, textIn } from "./client_fetch.ts";
import { QuorateError } from "./errors.ts";

export interface ImportLine {
  readonly number: number;
  readonly put: BatchPut;
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

/** Parses line `number`; whether it has expired is judged at `nowMs`. */
export function parseLine(bytes: Uint8Array, number: number, nowMs: number): ParsedLine {
  const text = utf8OrUndefined(bytes);
  if (text === undefined) return failed("The line is not valid UTF-8.");
  if (text.trim() === "") return { kind: "nothing" };
  const fields = parseObject(number === 1 ? text.replace(/^\ufeff/, "") : text);
  if (fields === undefined) return failed("The line is not a JSON object.");
  if (fields.end === true) return { kind: "nothing" };
  if (isObject(fields.error)) return failed("The line is the error of a list that is incomplete.");
  return parseFields(fields, number, nowMs);
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
  if (contentType !== undefined && typeof contentType !== "string") {
    return failed("The field 'contentType' is not a text.");
  }
  const ttl = ttlOf(fields, nowMs);
  if (typeof ttl === "string") return failed(ttl);
  if (ttl !== undefined && ttl < 1) return { kind: "expired" };
  const put: BatchPut = {
    kind: "put",
    key,
    value,
    contentType,
    ...(Object.keys(meta).length === 0 ? {} : { meta }),
    ttlSeconds: ttl,
  };
  return { kind: "put", line: { number, put, keyName: Buffer.from(key).toString("latin1") } };
}

/** The bytes of `name` or `name64`, or what is wrong. */
function exactlyOne(fields: Fields, name: string): Uint8Array | string {
  const given = [fields[name], fields[`${name}64`]].filter((field) => field !== undefined);
  if (given.length !== 1) return `Exactly one of '${name}' and '${name}64' is needed.`;
  if (/\p{Surrogate}/u.test(textIn(fields, name) ?? "")) {
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

/** Seconds to live, from `ttl` or `expiresAt`; below 1 when it is over. */
function ttlOf(fields: Fields, nowMs: number): number | undefined | string {
  const { ttl, expiresAt } = fields;
  if (ttl !== undefined && expiresAt !== undefined) return "Both 'ttl' and 'expiresAt' are given.";
  if (ttl !== undefined) {
    return Number.isInteger(ttl) && Number(ttl) >= 1 ? Number(ttl) : "'ttl' is not whole seconds.";
  }
  if (expiresAt === undefined) return undefined;
  const ms = typeof expiresAt === "string" ? Date.parse(expiresAt) : Number.NaN;
  return Number.isNaN(ms) ? "'expiresAt' is not a time." : Math.ceil((ms - nowMs) / 1000);
}

function failed(detail: string): ParsedLine {
  const error = new QuorateError("invalid-request", detail, { outcome: "none" });
  return { kind: "error", error };
}
