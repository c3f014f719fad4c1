/**
 * Cli output: data as a table, JSON, YAML or raw.
 *
 * A table is for eyes and is only the default on a terminal; the other forms are for programs and
 * never change with the width of a window. Keys and values are bytes: where they are not text, JSON
 * and YAML name them `key64` and `value64` as the API does.
 *
 * Effects: none, but for `Io.write`.
 *
 * @module
 */

import { toBase64url, utf8OrUndefined } from "./bytes.ts";
import type { Io } from "./cli_io.ts";
import type { ClientRecord, ListEntry } from "./client.ts";
import type { Config, OutputFormat } from "./config_table.ts";

/** The form to print in: what was asked for, else `onTerminal` or `elsewhere`. */
export function formatOf(
  { output }: Config,
  io: Io,
  onTerminal: OutputFormat,
  elsewhere: OutputFormat,
): OutputFormat {
  return output ?? (io.outputIsTerminal ? onTerminal : elsewhere);
}

/** A value that JSON can hold, as JSON or YAML. */
export function documentText(format: "json" | "yaml", value: unknown): string {
  return format === "json" ? `${JSON.stringify(value, null, 2)}\n` : yamlText(value);
}

/** Rows under a head, in columns; a number of spaces between them and no lines. */
export async function tableText(
  head: readonly string[],
  rows: readonly (readonly string[])[],
): Promise<string> {
  const { default: Table } = await import("cli-table3");
  const table = new Table({
    head: [...head],
    chars: noLines,
    style: { "padding-left": 0, "padding-right": 2, head: [], border: [] },
  });
  table.push(...rows.map((row) => [...row]));
  return `${table.toString().replace(/ +$/gm, "")}\n`;
}

/** One record's fields, a line each. */
export async function fieldsText(fields: Readonly<Record<string, unknown>>): Promise<string> {
  const rows = Object.entries(fields).map(([name, value]) => [
    name,
    typeof value === "string" ? shown(value) : JSON.stringify(value),
  ]);
  return tableText(["field", "value"], rows);
}

/** Fields in the form asked for; raw prints `raw`. */
export async function printFields(
  io: Io,
  format: OutputFormat,
  fields: Readonly<Record<string, unknown>>,
  raw: string,
): Promise<void> {
  if (format === "raw") await io.write(raw);
  else if (format === "table") await io.write(await fieldsText(fields));
  else await io.write(documentText(format, fields));
}

/** A record as the API's JSON has it. */
export function recordFields(record: ClientRecord): Readonly<Record<string, unknown>> {
  const { key, value, contentType, meta, version, expiresAtMs } = record;
  return {
    ...bytesField("key", key),
    ...bytesField("value", value),
    contentType,
    ...(Object.keys(meta).length === 0 ? {} : { meta }),
    version,
    ...expiresField(expiresAtMs),
  };
}

export function entryFields(entry: ListEntry): Readonly<Record<string, unknown>> {
  const { key, value, version, bytes, contentType, expiresAtMs } = entry;
  return {
    ...bytesField("key", key),
    version,
    bytes,
    contentType,
    ...expiresField(expiresAtMs),
    ...(value === undefined ? {} : bytesField("value", value)),
  };
}

export function expiresField(ms: number | undefined): { readonly expiresAt?: string } {
  return ms === undefined ? {} : { expiresAt: new Date(ms).toISOString() };
}

export function bytesField(name: string, bytes: Uint8Array): Readonly<Record<string, string>> {
  const text = utf8OrUndefined(bytes);
  return text === undefined ? { [`${name}64`]: toBase64url(bytes) } : { [name]: text };
}

/** A key for people: itself, or escaped where a terminal would obey it. */
export function keyText(key: Uint8Array): string {
  const text = utf8OrUndefined(key);
  return text === undefined ? `key64:${toBase64url(key)}` : shown(text);
}

/** Text on one line, with what a terminal would obey made visible. */
export function shown(text: string): string {
  return hasControls(text) ? JSON.stringify(text) : text;
}

export function hasControls(text: string): boolean {
  return /\p{Cc}/u.test(text);
}

/** 1536 as `1.5 KiB`. */
export function sizeText(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : 1;
  return `${value.toFixed(digits)} ${units[unit]}`;
}

/** 90,000 ms as `1.5 min`. */
export function ageText(ms: number): string {
  const units = [
    ["s", 1000],
    ["min", 60_000],
    ["h", 3_600_000],
    ["d", 86_400_000],
  ] as const;
  const [unit, size] = units.findLast(([, least]) => ms >= least) ?? units[0];
  return `${(ms / size).toFixed(1)} ${unit}`;
}

const noLines = {
  top: "",
  "top-mid": "",
  "top-left": "",
  "top-right": "",
  bottom: "",
  "bottom-mid": "",
  "bottom-left": "",
  "bottom-right": "",
  left: "",
  "left-mid": "",
  mid: "",
  "mid-mid": "",
  right: "",
  "right-mid": "",
  middle: "",
};

/** Names that some reader takes for a truth or for nothing. */
const namesRead = /^(?:y|n|yes|no|on|off|true|false|null)$/i;

/** What JSON leaves as it is, and readers of YAML 1.1 refuse or take for the end of a line. */
const refusedInText = /[\u007f-\u009f\u2028\u2029\ufeff\ufffe\uffff]/g;

/** YAML 1.2 in the subset that everything reads: block style, strings quoted as in JSON. */
export function yamlText(value: unknown, indent = ""): string {
  if (Array.isArray(value)) {
    if (value.length === 0) return `${indent}[]\n`;
    return value.map((item) => `${indent}- ${yamlText(item, `${indent}  `).trimStart()}`).join("");
  }
  if (typeof value === "object" && value !== null) {
    const entries = Object.entries(value).filter(([, field]) => field !== undefined);
    if (entries.length === 0) return `${indent}{}\n`;
    return entries
      .map(([name, field]) => {
        const key =
          /^[A-Za-z][\w-]*$/.test(name) && !namesRead.test(name) ? name : scalarText(name);
        const isNested = typeof field === "object" && field !== null;
        const isEmpty = isNested && Object.keys(field).length === 0;
        if (!isNested || isEmpty) return `${indent}${key}: ${yamlText(field).trimStart()}`;
        return `${indent}${key}:\n${yamlText(field, `${indent}  `)}`;
      })
      .join("");
  }
  return `${indent}${scalarText(value ?? null)}\n`;
}

function scalarText(value: unknown): string {
  return JSON.stringify(value).replace(refusedInText, (letter) => {
    return `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}
