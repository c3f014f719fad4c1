/**
 * CliProcess: `quorate` in a process of its own: as it is built, which starts in a fifth of the time, or
 * from its sources where these are newer than the build (`npm test` builds first).
 *
 * @module
 */

import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { isBuilt } from "../deploy/built.mjs";

export const root: string = fileURLToPath(new URL("..", import.meta.url));
const cliWords: readonly string[] = isBuilt(root)
  ? [join(root, "dist/src/cli.js")]
  : ["--import", "tsx", join(root, "src/cli.ts")];

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A process that was started, with what it has said so far. */
export class Running {
  readonly process: ChildProcess;
  readonly ended: Promise<Ended>;
  out = "";
  err = "";
  readonly #watchers = new Set<() => void>();

  constructor(command: string, words: readonly string[], options: RunningOptions = {}) {
    this.process = spawn(command, [...words], {
      cwd: options.cwd ?? root,
      env: { ...ownEnvironment(), ...options.environment },
      stdio: ["ignore", "pipe", "pipe"],
      detached: options.detached === true,
    });
    this.process.stdout?.setEncoding("utf8").on("data", (text: string) => {
      this.out += text;
      for (const watch of this.#watchers) watch();
    });
    this.process.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.err += text;
      for (const watch of this.#watchers) watch();
    });
    this.ended = new Promise((settle, reject) => {
      this.process.on("error", reject);
      this.process.on("close", (code, signal) => settle({ code, signal }));
    });
  }

  /** The first match in what it says, when it comes; rejects when the process ends without it. */
  said(pattern: RegExp): Promise<RegExpExecArray> {
    return new Promise((settle, reject) => {
      const watch = (): void => {
        const match = pattern.exec(this.out) ?? pattern.exec(this.err);
        if (match === null) return;
        this.#watchers.delete(watch);
        settle(match);
      };
      this.#watchers.add(watch);
      this.ended.then(({ code }) => {
        reject(new Error(`ended with ${code} and never said ${pattern}:\n${this.out}${this.err}`));
      }, reject);
      watch();
    });
  }

  /** The URL of the line that a server prints when it listens. */
  async listening(): Promise<string> {
    return (await this.said(/^listening on (http:\S+)$/m))[1] ?? "";
  }

  /** Sends a signal and waits for the end. */
  async end(signal: NodeJS.Signals): Promise<Ended> {
    this.process.kill(signal);
    return this.ended;
  }
}

/** The program takes every QUORATE_ variable for a setting: not the runner's, and no developer's. */
function ownEnvironment(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith("QUORATE_"));
  return Object.fromEntries(kept);
}

export interface RunningOptions {
  readonly cwd?: string;
  readonly environment?: Readonly<Record<string, string>>;
  /** In a process group of its own. */
  readonly detached?: boolean;
}

/** Starts `quorate` with some words. */
export function startCli(words: readonly string[], options: RunningOptions = {}): Running {
  return new Running(process.execPath, [...cliWords, ...words], options);
}

/** Starts `quorate serve` on a free port; it is killed, if it still runs, when `use` is done. */
export async function withServe(
  folder: string,
  words: readonly string[],
  use: (server: Running, url: string) => Promise<void>,
  options: RunningOptions = {},
): Promise<void> {
  const base = [
    "serve",
    "--port",
    "0",
    "--data-dir",
    folder,
    "--scrub-rate",
    "0",
    "--segment-bytes",
    "2MiB",
  ];
  const server = startCli([...base, ...words], options);
  try {
    await use(server, await server.listening());
  } finally {
    await server.end("SIGKILL");
  }
}
