/**
 * Config: where the value of every setting comes from, and whether the values fit together.
 *
 * A value is taken from the first of: a flag, an environment variable, the config file, the default.
 * Its source is kept beside it, so that `config show` and every error can name it. Nothing given is
 * ever ignored: an unknown key or variable is an error that names the nearest known one, because a
 * mistyped setting that is passed over shows itself months later. Only a number of replicas gives way
 * to a consistency that was given nearer: `--consistency all` is meant, whatever `QUORATE_R` says.
 *
 * Invariants
 * 1. `resolveConfig` gives every field of `Config` a value that its kind allows, and a source.
 *
 * Effects: none; flags, variables and the parsed file are arguments.
 *
 * @module
 */

import type { Kind } from "./config_kinds.ts";
import {
  type Config,
  dashed,
  type Scope,
  settingNames,
  settings,
  variableOf,
} from "./config_table.ts";
import { QuorateError } from "./errors.ts";

export { isLoopback, validate } from "./config_rules.ts";

/** What was given, before anything is known about it. */
export interface ConfigInputs {
  /** By flag name without dashes. A repeated flag is an array. */
  readonly flags: Readonly<Record<string, GivenFlag>>;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** The config file's top level, as a TOML parser gives it. */
  readonly file?: { readonly path: string; readonly values: Readonly<Record<string, unknown>> };
}

export type GivenFlag = string | boolean | readonly string[] | undefined;

/** Where a value came from. */
export type Source =
  | { readonly kind: "flag"; readonly flag: string }
  | { readonly kind: "environment"; readonly variable: string }
  | { readonly kind: "file"; readonly path: string; readonly key: string }
  | { readonly kind: "default" };

export interface Resolved {
  readonly config: Config;
  readonly sources: { readonly [K in keyof Config]: Source };
}

/** The command whose settings are wanted; the others keep their defaults. */
export type Wanted = Exclude<Scope, "both"> | "all";

/** Finds every setting's value and source. Throws `invalid-config` for the first wrong one. */
export function resolveConfig(inputs: ConfigInputs, wanted: Wanted): Resolved {
  refuseUnknownNames(inputs);
  const config: Record<string, unknown> = {};
  const sources: Record<string, Source> = {};
  for (const name of settingNames) {
    const { scope } = settings[name];
    const given =
      wanted === "all" || scope === "both" || scope === wanted ? givenFor(name, inputs) : undefined;
    config[name] = given === undefined ? settings[name].default : parseGiven(name, given);
    sources[name] = given?.source ?? { kind: "default" };
  }
  // A node goes by them before the consistency: one that was given nearer has to stand above them.
  for (const name of ["r", "w"]) {
    if (rankOf(sources["consistency"]) <= rankOf(sources[name])) continue;
    config[name] = undefined;
    sources[name] = { kind: "default" };
  }
  // The loop gave each name of `settings`, which are Config's fields, a value of its kind.
  return { config: config as unknown as Config, sources: sources as Resolved["sources"] };
}

/** Where a value came from, in words: `--port`, `QUORATE_PORT`, `port in quorate.toml`, `default`. */
export function sourceText(source: Source): string {
  if (source.kind === "flag") return dashed(source.flag);
  if (source.kind === "environment") return source.variable;
  if (source.kind === "file") return `${source.key} in ${source.path}`;
  return "default";
}

/** The higher, the nearer to whoever gives the command. */
function rankOf(source: Source | undefined): number {
  const kinds: readonly Source["kind"][] = ["default", "file", "environment", "flag"];
  return source === undefined ? 0 : kinds.indexOf(source.kind);
}

/** The value of a setting as text; undefined where it has none. */
export function valueText(name: keyof Config, value: unknown): string | undefined {
  if (value === undefined) return undefined;
  if (settings[name].secret === true) return hiddenText;
  return (settings[name].kind as Kind<unknown>).show(value);
}

/** The nearest of `names` to a mistyped one; undefined when none is near. */
export function nearestName(given: string, names: readonly string[]): string | undefined {
  let nearest: string | undefined;
  let nearestDistance = Math.min(3, Math.floor(given.length / 2)) + 1;
  for (const name of names) {
    const distance = editDistance(given.toLowerCase(), name.toLowerCase());
    if (distance < nearestDistance) {
      nearest = name;
      nearestDistance = distance;
    }
  }
  return nearest;
}

/** What stands for a secret that is set. */
export const hiddenText = "(hidden)";

interface Given {
  readonly source: Source;
  readonly value: unknown;
}

function givenFor(name: keyof Config, inputs: ConfigInputs): Given | undefined {
  const { flag } = settings[name];
  const flagValue = inputs.flags[flag];
  if (flagValue !== undefined) return { source: { kind: "flag", flag }, value: flagValue };
  const variable = variableOf(flag);
  const variableValue = inputs.environment[variable];
  // A variable set to nothing is how shells and compose files say "not set".
  if (variableValue !== undefined && variableValue !== "") {
    return { source: { kind: "environment", variable }, value: variableValue };
  }
  const fileValue = inputs.file?.values[flag];
  if (inputs.file !== undefined && fileValue !== undefined) {
    return { source: { kind: "file", path: inputs.file.path, key: flag }, value: fileValue };
  }
  return undefined;
}

function parseGiven(name: keyof Config, given: Given): unknown {
  const setting = settings[name];
  const where = sourceText(given.source);
  const text = textOf(given.value);
  const parsed = text === undefined ? { error: "is not a single value" } : setting.kind.parse(text);
  if ("value" in parsed) return parsed.value;
  const isHidden = text === undefined || setting.secret === true;
  const shown = isHidden ? "its value" : `'${text}'`;
  const linked =
    given.source.kind === "environment" && text?.startsWith("tcp://") === true
      ? " Kubernetes sets this variable for a service named quorate: set enableServiceLinks: false."
      : "";
  throw invalid(`${where}: ${shown} ${parsed.error}.`, `Give ${setting.kind.allowed}.${linked}`);
}

/** A flag, variable or TOML value as the one text that kinds parse; undefined for a table or date. */
function textOf(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  if (typeof value === "number" || typeof value === "boolean" || typeof value === "bigint") {
    return String(value);
  }
  if (!Array.isArray(value)) return undefined;
  const parts = value.map(textOf);
  return parts.includes(undefined) ? undefined : parts.join(",");
}

function refuseUnknownNames({ environment, file }: ConfigInputs): void {
  const flags = settingNames.map((name) => settings[name].flag);
  const variables = flags.map(variableOf);
  for (const [variable, value] of Object.entries(environment)) {
    if (!variable.startsWith("QUORATE_") || variables.includes(variable)) continue;
    if (isOthersVariable(variable, value)) continue;
    throw invalid(
      `There is no setting for the environment variable ${variable}.`,
      `${suggestion(variable, variables)} 'quorate config show' lists all of them.`,
    );
  }
  if (file === undefined) return;
  const keys = settingNames
    .filter((name) => settings[name].outsideFile !== true)
    .map((name) => settings[name].flag);
  for (const key of Object.keys(file.values)) {
    if (keys.includes(key)) continue;
    throw invalid(
      `There is no setting '${key}' for the config file ${file.path}.`,
      `${suggestion(key, keys)} 'quorate config show' lists all of them.`,
    );
  }
}

/** Variables that Kubernetes sets for a service named `quorate…`, and those of our own tests. */
function isOthersVariable(variable: string, value: string | undefined): boolean {
  if (variable.startsWith("QUORATE_TEST_") || value?.startsWith("tcp://") === true) return true;
  return /_SERVICE_(HOST|PORT)(_|$)|_PORT_\d+_(TCP|UDP)(_|$)/.test(variable);
}

function suggestion(given: string, names: readonly string[]): string {
  const nearest = nearestName(given, names);
  return nearest === undefined ? "Remove it." : `Did you mean ${nearest}?`;
}

function invalid(detail: string, hint: string): QuorateError {
  return new QuorateError("invalid-config", detail, { hint });
}

/** Levenshtein's distance, and 1 for two neighbouring letters swapped (`prot` for `port`). */
function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row += 1) {
    const next = [row];
    for (let column = 1; column <= b.length; column += 1) {
      const same = a[row - 1] === b[column - 1] ? 0 : 1;
      const swapped = a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      next[column] = Math.min(
        at(last, column) + 1,
        at(next, column - 1) + 1,
        at(last, column - 1) + same,
        swapped && row > 1 && column > 1 ? at(before, column - 2) + 1 : Number.POSITIVE_INFINITY,
      );
    }
    before = last;
    last = next;
  }
  return at(last, b.length);
}

function at(row: readonly number[], column: number): number {
  return row[column] ?? Number.POSITIVE_INFINITY;
}
