/**
 * Processes: starts programs, bounds them, and leaves none behind.
 *
 * @module
 */

import { type ChildProcess, spawn } from "node:child_process";

export interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly bytes: Buffer;
  readonly err: string;
  /** It was stopped because its time was over. */
  readonly late: boolean;
}

export interface RunOptions {
  readonly folder?: string;
  readonly environment?: Readonly<Record<string, string>>;
  readonly input?: string | Uint8Array;
  readonly limitMs?: number;
}

const runLimitMs = 30_000;
const errCharactersMax = 65_536;

const alive = new Set<ChildProcess>();

/** Ends, at once, every process that is still running. */
export function endAll(): void {
  for (const child of alive) child.kill("SIGKILL");
}

/** Runs a program to its end; a program that is not there is an error that says so. */
export function run(
  command: string,
  words: readonly string[],
  { folder, environment, input, limitMs = runLimitMs }: RunOptions = {},
): Promise<Ran> {
  return new Promise((fulfil, reject) => {
    const child = start(command, words, folder, environment);
    const out: Buffer[] = [];
    let err = "";
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      child.kill("SIGKILL");
    }, limitMs);
    child.stdout?.on("data", (chunk: Buffer) => out.push(chunk));
    child.stderr?.on("data", (chunk: Buffer) => {
      err = `${err}${chunk}`.slice(-errCharactersMax);
    });
    child.on("error", (error) => {
      clearTimeout(timer);
      reject(new Error(`cannot run ${command}: ${error.message}`));
    });
    child.on("close", (code) => {
      clearTimeout(timer);
      const bytes = Buffer.concat(out);
      fulfil({ code, out: bytes.toString("utf8"), bytes, err, late });
    });
    // A program that does not read its input is no error of ours.
    child.stdin?.on("error", () => {});
    child.stdin?.end(input);
  });
}

function start(
  command: string,
  words: readonly string[],
  folder: string | undefined,
  environment: Readonly<Record<string, string>> = {},
): ChildProcess {
  const child = spawn(command, words, {
    cwd: folder,
    env: { ...process.env, NO_COLOR: "1", ...environment },
    stdio: ["pipe", "pipe", "pipe"],
  });
  endWithRun(child);
  return child;
}

/** Has a process end with this one at the latest. */
export function endWithRun(child: ChildProcess): void {
  alive.add(child);
  child.on("exit", () => alive.delete(child));
  child.on("error", () => alive.delete(child));
}

const listeningPattern = /^listening on http:\/\/127\.0\.0\.1:(\d+)$/m;
const startLimitMs = 30_000;
const stopLimitMs = 30_000;

/** A `quorate serve` of its own. */
export class ServerProcess {
  readonly port: number;
  readonly #child: ChildProcess;
  readonly #exited: Promise<number | null>;
  readonly #log: () => string;

  private constructor(
    port: number,
    child: ChildProcess,
    exited: Promise<number | null>,
    log: () => string,
  ) {
    this.port = port;
    this.#child = child;
    this.#exited = exited;
    this.#log = log;
  }

  /** Waits for the line with the port; what the program said instead is the error. */
  static start(
    command: string,
    words: readonly string[],
    options: Pick<RunOptions, "folder" | "environment"> = {},
  ): Promise<ServerProcess> {
    return new Promise((fulfil, reject) => {
      const child = start(command, words, options.folder, options.environment);
      let out = "";
      let err = "";
      const log = () => `${out}${err}`.trim();
      const exited = new Promise<number | null>((settle) => {
        child.on("exit", (code) => settle(code));
      });
      const fail = (why: string) => {
        clearTimeout(timer);
        child.kill("SIGKILL");
        reject(new Error(`the server ${why}:\n${log().slice(-2000)}`));
      };
      const timer = setTimeout(() => fail(`said no port in ${startLimitMs} ms`), startLimitMs);
      child.on("error", (error) => fail(`cannot be started: ${error.message}`));
      const onEarlyExit = (code: number | null, signal: string | null) =>
        fail(`ended with ${code ?? signal}`);
      child.on("exit", onEarlyExit);
      child.stderr?.on("data", (chunk: Buffer) => {
        err = `${err}${chunk}`.slice(-errCharactersMax);
      });
      child.stdout?.on("data", (chunk: Buffer) => {
        out = `${out}${chunk}`.slice(-errCharactersMax);
        const port = out.match(listeningPattern)?.[1];
        if (port === undefined) return;
        clearTimeout(timer);
        child.off("exit", onEarlyExit);
        fulfil(new ServerProcess(Number(port), child, exited, log));
      });
    });
  }

  get origin(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get log(): string {
    return this.#log();
  }

  get hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** The exit code, or the signal that ended it. */
  get end(): string {
    return String(this.#child.signalCode ?? this.#child.exitCode ?? "running");
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** The exit code; rejects when it runs on for too long. */
  async exited(limitMs: number = stopLimitMs): Promise<number | null> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        reject(new Error(`the server still ran after ${limitMs} ms:\n${this.log.slice(-1500)}`));
      }, limitMs);
    });
    try {
      return await Promise.race([this.#exited, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Stops it in order; answers its exit code. */
  stop(): Promise<number | null> {
    this.signal("SIGTERM");
    return this.exited();
  }

  /** As a power cut would, as far as the process is concerned. */
  async kill(): Promise<void> {
    this.signal("SIGKILL");
    await this.exited();
  }
}
