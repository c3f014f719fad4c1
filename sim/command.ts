/**
 * Command: the simulator as a command, for `npm run sim` and for `quorate sim`.
 *
 * Seeds are run one after another, from `seed` on, until there have been `seeds` of them or the time
 * is over. One that breaks a promise is run once more with its trace, shortened, and told with the
 * command that runs it again; its schedule is told as JSON, which a file gives back to `schedule`. The last line is `N passed, N failed`.
 *
 * A nightly run takes its seeds from the date, so that no two nights try the same, and fails when a rare
 * path was never met that can be.
 *
 * Effects: the real clock, to know when its time is over, and which day it is; the file of a schedule.
 *
 * @module
 */

import { readFileSync } from "node:fs";
import { type FocusName, focuses } from "./focus.ts";
import type { Mutation } from "./mutation.ts";
import { mutations } from "./mutations.ts";
import { pathLines, unmetPaths } from "./rare_paths.ts";
import { parseSchedule, type Schedule, scheduleText } from "./schedule.ts";
import { shrink } from "./shrink.ts";
import { type Run, type SimulateOptions, simulate } from "./simulate.ts";
import { type Trouble, type TroubleKind, troubleKinds, troubleText } from "./trouble_list.ts";

const traceLinesMax = 40;
const tellEveryMs = 10_000;
const stackLinesMax = 3;
/** Instead of a list of troubles. */
const noTroubles = "none";
const realNow = performance.now.bind(performance);
const nightlySeedsADay = 100_000;
const dayMs = 86_400_000;

/** What was asked for, as it was written; `simOptions` has the meanings. */
export type SimChoices = Readonly<Record<string, string | boolean | undefined>>;

/** Every option, without dashes; those without a form are switches. */
export const simOptions: readonly (readonly [name: string, form: string | undefined])[] = [
  ["seeds", "<count>"],
  ["seed", "<number>"],
  ["time", "<time>"],
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

type Print = (line: string) => void;

interface Options {
  readonly first: number;
  readonly count: number;
  readonly timeMs: number;
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

/** Runs seeds and answers the exit code. @throws SimUsage */
export async function runSim(choices: SimChoices, print: Print): Promise<number> {
  const options = readOptions(choices);
  if (options.isReplay) {
    const run = await simulate({ seed: options.first, ...worldOf(options), onTrace: print });
    tellKnobs(run, print);
    tellViolations(run, print);
    print(`hash ${run.hash}, ${run.events} events, ${Math.round(run.simulatedMs)} ms simulated`);
    return run.violations.length === 0 ? 0 : 1;
  }
  if (options.isHashed) return tellHashes(options, print);
  // A run throws thousands of errors that are part of it, and to trace each of them far takes its time.
  Error.stackTraceLimit = stackLinesMax;
  const sums = new Sums();
  let toldMs = realNow();
  for (let index = 0; index < options.count; index += 1) {
    const seed = options.first + index;
    const run = await simulate({ seed, ...worldOf(options) });
    sums.add(run);
    if (run.violations.length > 0) await tellFailure(run, options, print);
    if (sums.passedMs >= options.timeMs) break;
    if (realNow() - toldMs >= tellEveryMs) {
      toldMs = realNow();
      print(sums.line);
    }
  }
  sums.tell(print);
  if (options.tellsPaths) for (const line of pathLines(sums.met)) print(line);
  const unmet = options.needsPaths ? unmetPaths(sums.met) : [];
  for (const path of unmet) print(`FAIL: no seed met '${path}'`);
  sums.failed += unmet.length;
  print(`${sums.passed} passed, ${sums.failed} failed`);
  return sums.failed === 0 ? 0 : 1;
}

async function tellHashes(options: Options, print: Print): Promise<number> {
  const endMs = realNow() + options.timeMs;
  let code = 0;
  for (let index = 0; index < options.count; index += 1) {
    const seed = options.first + index;
    const { hash, violations } = await simulate({ seed, ...worldOf(options) });
    print(`${seed} ${hash}`);
    if (violations.length > 0) code = 1;
    if (realNow() >= endMs) break;
  }
  return code;
}

/** What all runs came to. */
class Sums {
  readonly #beganMs = realNow();
  readonly #sometimes = new Map<string, number>();
  passed = 0;
  failed = 0;
  #simulatedMs = 0;
  #moves = 0;
  #events = 0;
  #operations = 0;
  #acknowledged = 0;
  readonly #fullest = new Map<string, number>();
  readonly #troubles = new Map<string, number>();

  /** How often each rare path was met. */
  get met(): ReadonlyMap<string, number> {
    return this.#sometimes;
  }

  get passedMs(): number {
    return realNow() - this.#beganMs;
  }

  add(run: Run): void {
    if (run.violations.length === 0) this.passed += 1;
    else this.failed += 1;
    this.#simulatedMs += run.simulatedMs;
    this.#moves += run.moves;
    this.#events += run.events;
    this.#operations += run.history.length;
    this.#acknowledged += run.history.filter(({ told }) => told.kind === "written").length;
    for (const [name, share] of run.fullest) {
      this.#fullest.set(name, Math.max(this.#fullest.get(name) ?? 0, Math.round(share * 100)));
    }
    for (const [name, count] of run.sometimes) addTo(this.#sometimes, name, count);
    for (const { kind } of run.troubles) addTo(this.#troubles, kind, 1);
  }

  get line(): string {
    const seconds = this.passedMs / 1000;
    const seeds = this.passed + this.failed;
    const rate = (seeds / seconds).toFixed(1);
    const hours = (this.#simulatedMs / 3_600_000).toFixed(2);
    const ratio = Math.round(this.#simulatedMs / this.passedMs);
    return `${seeds} seeds, ${this.failed} failed, ${rate} a second; ${hours} h simulated, ${ratio} times real time`;
  }

  tell(print: Print): void {
    print(this.line);
    const { passedMs } = this;
    print(
      `${this.#events} events (${Math.round(this.#events / passedMs)} a ms), ${this.#operations} requests, ${this.#acknowledged} writes acknowledged, ${this.#moves} changes of members`,
    );
    print(`troubles: ${listed(this.#troubles)}`);
    print(`rare paths: ${listed(this.#sometimes)}`);
    print(`fullest, in percent of the bound: ${listed(this.#fullest)}`);
  }
}

async function tellFailure(run: Run, options: Options, print: Print): Promise<void> {
  const { seed } = run;
  print(`\nseed ${seed} breaks a promise:`);
  tellViolations(run, print);
  const shortest = options.mayShrink ? await shrink(run, worldOf(options)) : run;
  print("troubles:");
  for (const trouble of shortest.troubles) print(`  ${troubleText(trouble)}`);
  const lines: string[] = [];
  const last = await simulate({
    seed,
    ...worldOf(options),
    troubles: shortest.troubles,
    onTrace: (line) => void lines.push(line),
  });
  if (shortest !== run) tellViolations(last, print);
  print("what came before:");
  for (const line of linesBefore(lines, last)) print(`  ${line}`);
  const { only, mutation } = options;
  const fault = only === undefined ? "" : ` --fault "${only.join(",") || noTroubles}"`;
  const focus = options.focus === undefined ? "" : ` --focus "${options.focus}"`;
  const world = (options.moves === undefined ? "" : ` --moves ${options.moves}`) + focus;
  const broken = mutation === undefined ? "" : ` --mutation "${mutation.name}"`;
  // With the troubles of a file the seed alone is another run: those that it draws.
  if (options.troubles === undefined) {
    print(`again: npm run sim -- --seed ${seed}${fault}${world}${broken} --replay`);
  }
  print(
    `with these troubles alone: npm run sim -- --schedule FILE${world} --replay, and in the file:`,
  );
  const { troubles } = shortest;
  print(`${scheduleText({ seed, mutation: mutation?.name, troubles })}\n`);
}

/** The lines up to the operation that broke the promise; else the last ones. */
function linesBefore(lines: readonly string[], { violations }: Run): readonly string[] {
  const numbers = violations[0]?.detail.match(/^ {4}#\d+ /gm) ?? [];
  const number = numbers.at(-1)?.trim();
  const at = lines.findIndex((line) => number !== undefined && line.includes(` ${number} `));
  const end = at === -1 ? lines.length : at + 1;
  return lines.slice(Math.max(0, end - traceLinesMax), end);
}

function tellViolations({ violations }: Run, print: Print): void {
  for (const { promise, detail } of violations.slice(0, 5)) print(`  [${promise}] ${detail}`);
}

function tellKnobs({ knobs, troubles }: Run, print: Print): void {
  print(JSON.stringify(knobs));
  for (const trouble of troubles) print(troubleText(trouble));
}

function addTo(counts: Map<string, number>, name: string, by: number): void {
  counts.set(name, (counts.get(name) ?? 0) + by);
}

function listed(counts: ReadonlyMap<string, number>): string {
  const names = [...counts.keys()].sort();
  return names.map((name) => `${name} ${counts.get(name)}`).join(", ");
}

/** What all runs have in common. */
function worldOf({
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

function readOptions(choices: SimChoices): Options {
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
  const schedule = file === undefined ? undefined : scheduleIn(file);
  const seed = schedule === undefined ? given("seed") : String(schedule.seed);
  const seeds = schedule === undefined ? given("seeds") : "1";
  const mutation = schedule === undefined ? given("mutation") : schedule.mutation;
  const firstDefault = isNightly ? Math.floor(Date.now() / dayMs) * nightlySeedsADay : 1;
  return {
    first: seed === undefined ? firstDefault : wholeOf(seed, "--seed"),
    count: seeds === undefined ? countDefault(time) : countOf(seeds),
    timeMs: time === undefined ? Number.POSITIVE_INFINITY : durationOf(time),
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

function countOf(text: string): number {
  const count = wholeOf(text, "--seeds");
  return count > 0 ? count : usage("--seeds 0 would run nothing, and so say nothing.");
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
