/**
 * Schedule: a seed and the troubles of its run as JSON, so that a shortened run can be kept and run again.
 *
 *     {"seed":7,"troubles":[{"kind":"kill","atMs":1585,"lastsMs":6322,"one":1,"other":0,"much":0.5}]}
 *
 * Invariants
 * 1. `parseSchedule(scheduleText(x))` equals x.
 *
 * Effects: none.
 *
 * @module
 */

import { type Trouble, troubleKinds } from "./trouble_list.ts";

export interface Schedule {
  readonly seed: number;
  /** Of the rule that was broken on purpose. */
  readonly mutation?: string | undefined;
  readonly troubles: readonly Trouble[];
}

/** The schedule in one line. */
export function scheduleText({ seed, mutation, troubles }: Schedule): string {
  return JSON.stringify({ seed, ...(mutation === undefined ? {} : { mutation }), troubles });
}

/** @throws Error that says what is wrong with the text */
export function parseSchedule(text: string): Schedule {
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch (error) {
    throw new Error(`it is not JSON: ${error instanceof Error ? error.message : error}`);
  }
  const { seed, mutation, troubles } = fieldsOf(raw, "the schedule");
  if (mutation !== undefined && typeof mutation !== "string")
    throw new Error("'mutation' is a name");
  if (!Array.isArray(troubles)) throw new Error("'troubles' is a list");
  return {
    seed: numberOf(seed, "'seed'"),
    ...(mutation === undefined ? {} : { mutation }),
    troubles: troubles.map((trouble, index) => troubleOf(trouble, `trouble ${index + 1}`)),
  };
}

function troubleOf(raw: unknown, what: string): Trouble {
  const { kind, atMs, lastsMs, one, other, much } = fieldsOf(raw, what);
  const known = troubleKinds.find((each) => each === kind);
  if (known === undefined)
    throw new Error(`'kind' of ${what} is one of: ${troubleKinds.join(", ")}`);
  return {
    kind: known,
    atMs: numberOf(atMs, `'atMs' of ${what}`),
    lastsMs: numberOf(lastsMs, `'lastsMs' of ${what}`),
    one: numberOf(one, `'one' of ${what}`),
    other: numberOf(other, `'other' of ${what}`),
    much: numberOf(much, `'much' of ${what}`),
  };
}

function fieldsOf(raw: unknown, what: string): Readonly<Record<string, unknown>> {
  if (typeof raw === "object" && raw !== null && !Array.isArray(raw)) {
    return raw as Record<string, unknown>;
  }
  throw new Error(`${what} is an object`);
}

function numberOf(raw: unknown, name: string): number {
  if (typeof raw === "number" && raw >= 0) return raw;
  throw new Error(`${name} is a number from 0 on`);
}
