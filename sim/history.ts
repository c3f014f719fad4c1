/**
 * History: what clients asked of the cluster, what they were told, and in which order.
 *
 * The checkers know nothing else. Order is told by ticks: an operation that ended at a lower tick
 * than another began was over before it. Versions are kept as text, which sorts as they do.
 *
 * Effects: none (types, and a list).
 *
 * @module
 */

import type { Consistency, Durability } from "../src/api.ts";
import type { Outcome, Slug } from "../src/errors.ts";

export type OperationKind = "put" | "get" | "delete" | "list" | "count";

/** What a client was told. */
export type Told =
  /** The node died, or the world ended, before there was an answer. */
  | { readonly kind: "nothing" }
  | { readonly kind: "failed"; readonly slug: Slug; readonly outcome: Outcome | undefined }
  | { readonly kind: "written"; readonly version: string; readonly expiresAtMs?: number }
  | {
      readonly kind: "found";
      readonly version: string;
      readonly value: string;
      /** How long it was. */
      readonly bytes?: number;
      readonly expiresAtMs?: number;
    }
  /** There is no such key; the highest version that any replica named, of a delete it must be. */
  | { readonly kind: "absent"; readonly named: string | undefined }
  | {
      readonly kind: "listed";
      readonly items: readonly ListedKey[];
      readonly isWhole: boolean;
    }
  | { readonly kind: "counted"; readonly keys: number };

/** What a list is of, and in which direction. */
export interface KeyRange {
  readonly start?: string;
  /** Exclusive. */
  readonly end?: string;
  readonly isReverse: boolean;
}

export interface ListedKey {
  readonly key: string;
  readonly version: string;
  readonly expiresAtMs?: number;
}

/** What the machines' clocks said while an operation was under way. */
export interface Clocks {
  /** No earlier than this was it on the node that was asked. */
  leastMs: number;
  /** No later than this had it been on any node, ever. */
  mostMs: number;
}

export interface Operation {
  readonly number: number;
  readonly client: string;
  readonly kind: OperationKind;
  /** Of a list or a count: empty. */
  readonly key: string;
  /** Of a list; undefined: all keys, in their order. */
  readonly range?: KeyRange;
  /** Of a put: what no other write has. */
  readonly value: string | undefined;
  /** Of a put: how long the value is that it gives. */
  readonly bytes?: number;
  readonly level: Consistency;
  /** Of a write: what was asked for. */
  readonly durability: Durability;
  /** Of a put: how long it is to live; undefined: for ever. */
  readonly ttlMs: number | undefined;
  /** Replicas that had to answer, and how many there are. */
  readonly needed: number;
  readonly replicas: number;
  /** Replicas moved meanwhile, or may have: of weak levels less is promised then (L1). */
  readonly isMoving?: true;
  readonly node: string;
  readonly begun: number;
  ended: number | undefined;
  readonly clocks: Clocks;
  told: Told;
  /** It was answered after its deadline, by a node that could have done so before. */
  isLate?: true;
}

export type History = readonly Operation[];

/** What the checkers know of the world, beside what clients were told. */
export interface Circumstances {
  /** Ticks at which a process died, or lost its power: what was in memory alone may be gone. */
  readonly deaths: readonly number[];
  /** Ticks at which a disk lost what was on it, or part of that. */
  readonly losses: readonly number[];
  /** Whether no two clocks were ever further apart than the guard (R3). */
  readonly areClocksClose: boolean;
}

/** Nobody died, and all clocks are right. */
export const calm: Circumstances = { deaths: [], losses: [], areClocksClose: true };

/** One line, for a report. */
export function operationText(operation: Operation): string {
  const { number, client, kind, key, value, level, node, begun, ended } = operation;
  const { durability, ttlMs, range } = operation;
  const what = `#${number} ${client} ${kind} ${key}${value === undefined ? "" : ` = ${value}`}`;
  const life = ttlMs === undefined ? "" : ` for ${ttlMs} ms`;
  const of = range === undefined ? "" : ` from ${range.start ?? ""} to ${range.end ?? ""}`;
  const way = range?.isReverse === true ? " backwards" : "";
  const how = `${of}${way}${life} at ${level}${durability === "memory" ? ", in memory" : ""}`;
  return `${what}${how} through ${node} [${begun}, ${ended ?? "…"}]: ${toldText(operation.told)}`;
}

function toldText(told: Told): string {
  switch (told.kind) {
    case "nothing":
      return "no answer";
    case "failed":
      return `failed, ${told.slug}, outcome ${told.outcome ?? "-"}`;
    case "written":
      return `written as ${told.version}${expiryText(told.expiresAtMs)}`;
    case "found":
      return `${told.value} of ${told.version}${expiryText(told.expiresAtMs)}`;
    case "absent":
      return `nothing (named: ${told.named ?? "nothing"})`;
    case "listed":
      return `${told.items.length} keys${told.isWhole ? "" : ", more to come"}`;
    case "counted":
      return `${told.keys} keys`;
  }
}

function expiryText(expiresAtMs: number | undefined): string {
  return expiresAtMs === undefined ? "" : `, until ${expiresAtMs}`;
}
