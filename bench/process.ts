/**
 * Process: the programs that a benchmark starts, and their certain end.
 *
 * A peer listens on loopback, works in a folder of its own and is stopped by whoever started it.
 * While another peer is measured it is frozen (SIGSTOP): it keeps its data and its warm code, and
 * takes no processor time with what it does in the background.
 *
 * Invariants
 * 1. No process outlives the benchmark, however it ends (SIGKILL of the benchmark itself excepted).
 * 2. A process that ends by itself before it is ready fails the start, with the last of its output.
 *
 * Effects: processes, ports of loopback.
 *
 * @module
 */

import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { stripVTControlCharacters } from "node:util";

const outputCharactersMax = 64 * 1024;
const outputShownMax = 800;
const readyTimeoutMs = 60_000;
const stopTimeoutMs = 30_000;
const untilMsMax = 600_000;
/** Of /proc, on every architecture of Linux. */
const ticksPerSecond = 100;

const running = new Set<ChildProcess>();

process.on("exit", killAll);
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => process.exit(130));
}

function killAll(): void {
  for (const child of running) child.kill("SIGKILL");
}

export interface ProgramOptions {
  readonly command: string;
  readonly arguments: readonly string[];
  readonly folder?: string;
  readonly environment?: Readonly<Record<string, string>>;
}

export interface Ended {
  readonly code: number | null;
  readonly output: string;
}

/** A program that serves until it is stopped. */
export class Program {
  readonly pid: number;
  readonly startedMs: number = performance.now();
  readonly #child: ChildProcess;
  readonly #command: string;
  readonly #ended: Promise<number | null>;
  #output = "";
  #onOutput: () => void = () => {};
  #frozen = false;

  constructor(options: ProgramOptions) {
    this.#command = options.command;
    this.#child = spawn(options.command, options.arguments, {
      stdio: ["ignore", "pipe", "pipe"],
      cwd: options.folder,
      env: { ...process.env, ...options.environment },
    });
    const child = this.#child;
    this.pid = child.pid ?? 0;
    running.add(child);
    const keep = (chunk: Buffer): void => {
      this.#output = (this.#output + chunk.toString("utf8")).slice(-outputCharactersMax);
      this.#onOutput();
    };
    child.stdout?.on("data", keep);
    child.stderr?.on("data", keep);
    this.#ended = new Promise((fulfil) => {
      child.on("error", (error) => {
        this.#output += String(error);
        running.delete(child);
        fulfil(null);
      });
      child.on("close", (code) => {
        running.delete(child);
        fulfil(code);
      });
    });
  }

  /** What it has used of the processors, in microseconds (utime and stime). */
  get cpuUs(): number {
    const stat = readFileSync(`/proc/${this.pid}/stat`, "utf8");
    // The second field is the program's name, which may hold blanks.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const ticks = Number(fields[11]) + Number(fields[12]);
    if (!Number.isInteger(ticks)) throw new Error("the kernel does not tell utime and stime");
    return (ticks * 1e6) / ticksPerSecond;
  }

  /** What it printed last, for an error. */
  get said(): string {
    return stripVTControlCharacters(this.#output).trim().slice(-outputShownMax);
  }

  /** Waits for a line of the output; answers the match. */
  async says(pattern: RegExp): Promise<RegExpExecArray> {
    const matched = new Promise<RegExpExecArray>((fulfil) => {
      this.#onOutput = () => {
        const match = pattern.exec(this.#output);
        if (match !== null) fulfil(match);
      };
      this.#onOutput();
    });
    return this.#beforeEnd(matched, `never said ${pattern}`);
  }

  /** Asks until the answer is yes. */
  async answers(ask: () => Promise<boolean>): Promise<void> {
    let ended = false;
    const asking = async (): Promise<void> => {
      while (!ended && !(await ask().catch(() => false))) await pause(50);
    };
    await this.#beforeEnd(asking(), "never answered").finally(() => {
      ended = true;
    });
  }

  async #beforeEnd<T>(event: Promise<T>, otherwise: string): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<string>((fulfil) => {
      timer = setTimeout(() => fulfil(otherwise), readyTimeoutMs);
    });
    const ended = this.#ended.then((code) => `ended by itself (exit code ${code})`);
    const first = await Promise.race([event.then((value) => ({ value })), late, ended]);
    clearTimeout(timer);
    if (typeof first !== "string") return first.value;
    await this.kill();
    throw new Error(`${this.#command} ${first}:\n${this.said}`);
  }

  freeze(): void {
    if (this.#frozen) return;
    this.#frozen = true;
    this.#child.kill("SIGSTOP");
  }

  thaw(): void {
    if (!this.#frozen) return;
    this.#frozen = false;
    this.#child.kill("SIGCONT");
  }

  /** Asks it to stop, and waits; answers its exit code. */
  async stop(): Promise<number | null> {
    this.thaw();
    this.#child.kill("SIGTERM");
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), stopTimeoutMs);
    const code = await this.#ended;
    clearTimeout(timer);
    return code;
  }

  /** Ends it in the middle of whatever it does. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#ended;
  }
}

/** Runs a program to its end. */
export async function runToEnd(options: ProgramOptions, timeoutMs: number): Promise<Ended> {
  const { command } = options;
  const child = spawn(command, options.arguments, {
    stdio: ["ignore", "pipe", "pipe"],
    cwd: options.folder,
    env: { ...process.env, ...options.environment },
  });
  running.add(child);
  let output = "";
  const keep = (chunk: Buffer): void => {
    output = (output + chunk.toString("utf8")).slice(-outputCharactersMax);
  };
  child.stdout.on("data", keep);
  child.stderr.on("data", keep);
  const timer = setTimeout(() => {
    output += `\n${command} was not done after ${timeoutMs / 1000} s`;
    child.kill("SIGKILL");
  }, timeoutMs);
  return new Promise((fulfil) => {
    const done = (code: number | null): void => {
      clearTimeout(timer);
      running.delete(child);
      fulfil({ code, output });
    };
    child.on("error", (error) => {
      output += String(error);
      done(null);
    });
    child.on("close", done);
  });
}

export function pause(ms: number): Promise<void> {
  return new Promise((fulfil) => setTimeout(fulfil, ms));
}

/** Resolves when it is so. @throws Error when it is not within ten minutes */
export async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  const endMs = performance.now() + untilMsMax;
  while (!(await isSo())) {
    if (performance.now() > endMs) throw new Error(`not so within ${untilMsMax} ms: ${what}`);
    await pause(100);
  }
}
