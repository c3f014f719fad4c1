/**
 * Checks: what was asked of the program, and how it went.
 *
 * A group is one client, or one part of the contract, on one runtime. Its checks run one after the
 * other in this process, or in a process of another language that prints a line for each:
 *
 *     ok put and get
 *     not ok list by prefix: 3 items, expected 4
 *     done 2
 *
 * Invariants
 * 1. Every check ends: a limit of time is a failure, and names the check.
 * 2. A process whose `done` line is missing, or counts other lines than came, is a failure: a client
 *    that crashed half-way cannot pass with the checks that it had done.
 *
 * @module
 */

import type { Ran } from "./processes.ts";

export interface Check {
  readonly name: string;
  readonly run: () => Promise<void>;
  readonly limitMs?: number;
}

/** How one check went; `why` says what was wrong. */
export interface Outcome {
  readonly name: string;
  readonly why?: string;
}

const checkLimitMs = 30_000;
const whyCharactersMax = 1500;

export async function runChecks(checks: readonly Check[]): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for (const check of checks) outcomes.push(await runCheck(check));
  return outcomes;
}

export async function runCheck({ name, run, limitMs = checkLimitMs }: Check): Promise<Outcome> {
  try {
    await within(limitMs, run());
    return { name };
  } catch (error) {
    return { name, why: whyOf(error) };
  }
}

/** Rejects when `work` takes longer than `limitMs`. */
export async function within<T>(limitMs: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${limitMs} ms`)), limitMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

export function whyOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const at = error.stack?.split("\n").find((line) => /conformance\/[a-z_]+\.ts/.test(line));
  const place = at?.match(/conformance\/[a-z_]+\.ts:\d+/)?.[0];
  const said = error.message === "" ? error.name : error.message;
  return `${said}${place === undefined ? "" : ` (${place})`}`.slice(0, whyCharactersMax);
}

/** The outcomes that a process of another language printed. */
export function outcomesOf(ran: Ran): Outcome[] {
  const outcomes: Outcome[] = [];
  let done: number | undefined;
  for (const line of ran.out.split("\n")) {
    const passed = line.match(/^ok (.*)$/);
    const failed = line.match(/^not ok (.*?)(?:: (.*))?$/);
    if (passed) outcomes.push({ name: passed[1] ?? "" });
    else if (failed) outcomes.push({ name: failed[1] ?? "", why: failed[2] ?? "no reason given" });
    else done = line.match(/^done (\d+)$/) ? Number(line.slice(5)) : done;
  }
  if (done === outcomes.length && done > 0) return outcomes;
  const end = ran.late ? "was stopped at its time limit" : `ended with ${ran.code}`;
  const said = `${ran.out}\n${ran.err}`.trim().slice(-whyCharactersMax);
  const counted = `said done ${done ?? "never"} after ${outcomes.length} checks`;
  return [...outcomes, { name: "all checks run", why: `${end}, ${counted}:\n${said}` }];
}

/** Counts, and prints a line for each group. */
export class Scoreboard {
  passed = 0;
  failed = 0;
  readonly #print: (line: string) => void;

  constructor(print: (line: string) => void) {
    this.#print = print;
  }

  /** Runs a group; whatever it throws is its failure. */
  async group(runtime: string, client: string, collect: () => Promise<Outcome[]>): Promise<void> {
    const startMs = performance.now();
    let outcomes: Outcome[];
    try {
      outcomes = await collect();
      if (outcomes.length === 0) outcomes = [{ name: "some check ran", why: "none did" }];
    } catch (error) {
      outcomes = [{ name: "the group runs", why: whyOf(error) }];
    }
    const failures = outcomes.filter((outcome) => outcome.why !== undefined);
    this.passed += outcomes.length - failures.length;
    this.failed += failures.length;
    const head = `${runtime.padEnd(8)} ${client.padEnd(28)}`;
    const counts = `${outcomes.length - failures.length} passed, ${failures.length} failed`;
    const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
    this.#print(`${head} ${counts.padEnd(22)} ${seconds} s`);
    for (const { name, why } of failures) {
      this.#print(`    FAILED ${name}: ${(why ?? "").replaceAll("\n", "\n        ")}`);
    }
  }
}
