/**
 * Cli demo child: one node of a demo, in a process of its own.
 *
 * It is in a process group of its own, so that Ctrl-C of the terminal reaches the demo alone and each
 * node is told once. It has a channel to the demo, and nothing is ever sent over that: when the demo
 * ends, however it does, the channel is closed, and the node stops in order (see `cli_signals`).
 *
 * Invariants
 * 1. `ended` settles once, and never rejects: a program that cannot be started has ended, too.
 * 2. Every line that it says on its standard error is given to `onLine`, also the last one.
 *
 * Effects: starts a process, sends it signals.
 *
 * @module
 */

import { type ChildProcess, spawn } from "node:child_process";

export interface ChildOptions {
  readonly command: string;
  readonly words: readonly string[];
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** A line of its log. */
  readonly onLine: (line: string) => void;
}

/** How a process ended. */
export interface ChildEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** What it said last about why, or what kept it from starting. */
  readonly why: string | undefined;
}

/** The rest of a longer line is told as a line of its own. */
const lineLengthMax = 64 * 1024;

export class DemoChild {
  readonly pid: number | undefined;
  readonly ended: Promise<ChildEnd>;
  /** Settles when it listens; not at all when it ends before. */
  readonly listening: Promise<void>;
  readonly #process: ChildProcess;
  #why: string | undefined;
  #hasEnded = false;
  #wasTold = false;

  constructor({ command, words, environment, onLine }: ChildOptions) {
    const child = spawn(command, [...words], {
      detached: true,
      env: { ...environment },
      stdio: ["ignore", "pipe", "pipe", "ipc"],
    });
    this.#process = child;
    this.pid = child.pid;
    let tellListening: () => void = () => {};
    this.listening = new Promise((settle) => {
      tellListening = settle;
    });
    // What it prints there is for a person who started it alone.
    eachLine(child.stdout, (line) => {
      if (line.startsWith("listening on ")) tellListening();
    });
    eachLine(child.stderr, (line) => {
      this.#why = /^why: +(.*)$/.exec(line)?.[1] ?? this.#why;
      onLine(line);
    });
    this.ended = new Promise((settle) => {
      child.on("error", (error) => {
        // A signal that could not be sent comes here as well.
        if (child.pid !== undefined) return;
        this.#hasEnded = true;
        settle({ code: null, signal: null, why: error.message });
      });
      child.on("close", (code, signal) => {
        this.#hasEnded = true;
        settle({ code, signal, why: this.#why });
      });
    });
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** Tells it to stop in order; once. */
  stop(): void {
    if (this.#wasTold || this.#hasEnded) return;
    this.#wasTold = true;
    this.#process.kill("SIGTERM");
  }

  /** It is there, and does nothing until it is resumed. */
  pause(): void {
    if (!this.#hasEnded) this.#process.kill("SIGSTOP");
  }

  resume(): void {
    if (!this.#hasEnded) this.#process.kill("SIGCONT");
  }

  /** Ends it at once. */
  kill(): void {
    if (!this.#hasEnded) this.#process.kill("SIGKILL");
  }
}

function eachLine(stream: NodeJS.ReadableStream | null, take: (line: string) => void): void {
  let rest = "";
  stream?.setEncoding("utf8");
  stream?.on("data", (piece: string) => {
    const lines = (rest + piece).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) take(line);
    if (rest.length <= lineLengthMax) return;
    take(rest);
    rest = "";
  });
  stream?.on("end", () => {
    if (rest !== "") take(rest);
  });
}
