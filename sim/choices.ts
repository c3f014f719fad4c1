/**
 * Choices: what the simulator's command is asked to do, read from the options as they were written.
 *
 * Effects: the real clock, for which day it is; the file of a schedule.
 *
 * @module
 */

import { readFileSync } from "node:fs";
import { type FocusName, focuses } from "./focus.ts";
import { jobsDefault } from "./jobs.ts";
import type { Mutation } from "./mutation.ts";
import { mutations } from "./mutations.ts";
import { parseSchedule, type Schedule } from "./schedule.ts";
import type { SimulateOptions } from "./simulate.ts";
import { type Trouble, type TroubleKind, troubleKinds } from "./trouble_list.ts";

/** Instead of a list of troubles. */
export const noTroubles = "none";
const nightlySeedsADay = 100_000;
const dayMs = 86_400_000;

/** What was asked for, by the names of `simOptions`, as it was written. */
export type SimChoices = Readonly<Record<string, string | boolean | undefined>>;

/** Every option, without dashes; those without a form are switches. `quorate sim --help` has the meanings. */
export const simOptions: readonly (readonly [name: string, form: string | undefined])[] = [
  ["seeds", "<count>"],
  ["seed", "<number>"],
  ["time", "<time>"],
  ["jobs", "<count>"],
  ["fault", "<kinds>"],
  ["moves", "<many|none>"],
  ["focus", "<name>"],
  ["mutation", "<name>"],
  ["schedule", "<file>"],
  ["replay", undefined],
  ["hashes", undefined],
  ["no-shrink", undefined],
  ["paths", undefined],
  ["nightly", undefined],
];

/** A choice that cannot be meant. */
export class SimUsage extends Error {}

export interface Options {
  readonly first: number;
  readonly count: number;
  readonly timeMs: number;
  /** How many seeds run side by side, each in a process of its own. */
  readonly jobs: number;
  readonly only: readonly TroubleKind[] | undefined;
  /** Whether members come and go; undefined: as the seed has it. */
  readonly moves: "many" | "none" | undefined;
  /** A world in which one kind of moment is common. */
  readonly focus: FocusName | undefined;
  /** A rule that is broken on purpose. */
  readonly mutation: Mutation | undefined;
  /** These troubles, instead of those that the seed draws. */
  readonly troubles: readonly Trouble[] | undefined;
  readonly isReplay: boolean;
  /** Prints each seed's hash and nothing else. */
  readonly isHashed: boolean;
  readonly mayShrink: boolean;
  /** Tells every rare path, and how often it was met. */
  readonly tellsPaths: boolean;
  /** Fails where one was never met. */
  readonly needsPaths: boolean;
}

/** What all runs have in common. */
export function worldOf({
  only,
  moves,
  focus,
  mutation,
  troubles,
}: Options): Omit<SimulateOptions, "seed"> {
  return {
    ...(moves === undefined ? {} : { moves }),
    ...(focus === undefined ? {} : { focus }),
    ...(troubles === undefined ? {} : { troubles }),
    ...(only === undefined ? {} : { only }),
    ...(mutation === undefined ? {} : { mutation }),
  };
}

/** @throws SimUsage */
export function readOptions(choices: SimChoices): Options {
  const given = (name: string): string | undefined => {
    const text = choices[name];
    return typeof text === "string" ? text : undefined;
  };
  const isNightly = choices["nightly"] === true;
  const time = given("time") ?? (isNightly ? "1h" : undefined);
  const [fault, file] = ["fault", "schedule"].map(given);
  const beside = ["seed", "seeds", "fault", "mutation"].find((name) => given(name) !== undefined);
  if (file !== undefined && beside !== undefined) {
    return usage(`--schedule says by itself what is run: leave out --${beside}.`);
  }
  const [focus, moves] = [focusOf(given("focus")), movesOf(given("moves"))];
  if (focus !== undefined && (fault !== undefined || moves !== undefined)) {
    return usage("--focus draws its own troubles and members: leave out --fault and --moves.");
  }
  const isReplay = choices["replay"] === true;
  if (isReplay && given("seeds") !== undefined) {
    return usage("--replay runs one seed, that of --seed: leave out --seeds.");
  }
  if (isReplay && choices["hashes"] === true) {
    return usage("--replay tells the hash of its run as well: leave out --hashes.");
  }
  const jobs = given("jobs");
  if (isReplay && jobs !== undefined) {
    return usage("--replay runs one seed, and tells it as it goes: leave out --jobs.");
  }
  const schedule = file === undefined ? undefined : scheduleIn(file);
  const seed = schedule === undefined ? given("seed") : String(schedule.seed);
  const seeds = schedule === undefined ? given("seeds") : "1";
  const mutation = schedule === undefined ? given("mutation") : schedule.mutation;
  const firstDefault = isNightly ? Math.floor(Date.now() / dayMs) * nightlySeedsADay : 1;
  return {
    first: seed === undefined ? firstDefault : wholeOf(seed, "--seed"),
    count: seeds === undefined ? countDefault(time) : countOf(seeds, "--seeds"),
    timeMs: time === undefined ? Number.POSITIVE_INFINITY : durationOf(time),
    jobs: jobs === undefined ? jobsDefault : countOf(jobs, "--jobs"),
    only: fault === undefined ? undefined : kindsOf(fault),
    moves,
    focus,
    mutation: mutation === undefined ? undefined : mutationOf(mutation),
    troubles: schedule?.troubles,
    isReplay,
    isHashed: choices["hashes"] === true,
    mayShrink: choices["no-shrink"] !== true,
    tellsPaths: choices["paths"] === true || isNightly,
    needsPaths: isNightly,
  };
}

function scheduleIn(file: string): Schedule {
  try {
    return parseSchedule(readFileSync(file, "utf8"));
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return usage(`--schedule takes a file with a schedule, and '${file}' has none: ${why}.`);
  }
}

function countDefault(time: string | undefined): number {
  return time === undefined ? 100 : Number.MAX_SAFE_INTEGER;
}

function wholeOf(text: string, flag: string): number {
  const number = Number(text);
  if (Number.isSafeInteger(number) && number >= 0) return number;
  return usage(`${flag} is a whole number, not '${text}'.`);
}

function countOf(text: string, flag: string): number {
  const count = wholeOf(text, flag);
  return count > 0 ? count : usage(`${flag} 0 would run nothing, and so say nothing.`);
}

function durationOf(text: string): number {
  const match = /^(\d+)(ms|s|m|h)$/.exec(text);
  const factor = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[match?.[2] ?? ""];
  if (match === null || factor === undefined) {
    return usage(`--time is a duration such as 30s or 10m, not '${text}'.`);
  }
  return Number(match[1]) * factor;
}

function movesOf(text: string | undefined): Options["moves"] {
  if (text === undefined || text === "many" || text === "none") return text;
  return usage(`--moves takes many or none, not '${text}'.`);
}

function focusOf(text: string | undefined): FocusName | undefined {
  if (text === undefined) return undefined;
  const names = Object.keys(focuses) as FocusName[];
  const meant = names.find((name) => name === text);
  const meanings = names.map((name) => `\n  ${name}: ${focuses[name].meaning}`);
  return meant ?? usage(`--focus takes no '${text}', but one of:${meanings.join("")}`);
}

function kindsOf(text: string): TroubleKind[] {
  if (text === noTroubles) return [];
  return text.split(",").map((name) => {
    const kind = troubleKinds.find((each) => each === name.trim());
    return (
      kind ?? usage(`--fault takes none, or some of: ${troubleKinds.join(", ")}; not '${name}'.`)
    );
  });
}

function mutationOf(text: string): Mutation {
  const meant = mutations.find(({ name }) => name === text);
  const rules = mutations.map(({ name, rule }) => `\n  ${name}: ${rule}`);
  return meant ?? usage(`--mutation takes no '${text}', but one of:${rules.join("")}`);
}

function usage(detail: string): never {
  throw new SimUsage(detail);
}
