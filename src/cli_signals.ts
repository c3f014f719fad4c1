/**
 * Cli signals: when a process that goes on for ever is told to stop.
 *
 * The first word is meant in order, the second at once. A process that was started with a channel
 * to its parent (as `child_process.fork` makes one) also stops when that is closed: the parent has
 * ended, be it by `kill -9`, and nobody is left who would stop this one. `npm start` has no such channel:
 * it runs a shell, and the shell this process. A signal to npm ends the shell, which passes nothing on,
 * so that what npm has started looks whether its parent is still the same.
 *
 * Invariants
 * 1. `first` settles before `second`, and each at most once.
 * 2. A parent that ends never makes a stop that is under way stop at once.
 *
 * Effects: the process: signals, the channel to the parent, who the parent is.
 *
 * @module
 */

import type { LogLevel } from "./capability.ts";

/**
 * A terminal sends Ctrl-C to every process of the foreground, and `npm start` passes its own on to
 * its child, which so gets one key press twice. Nobody presses a key twice this fast.
 */
const sameSignalMs = 250;

const parentPollMs = 500;

/** Not SIGHUP: a handler would undo `nohup`. */
const signals = ["SIGTERM", "SIGINT"] as const;

export class StopSignals {
  readonly first: Promise<void>;
  readonly second: Promise<void>;
  #tellFirst: () => void = () => {};
  #tellSecond: () => void = () => {};
  #firstMs: number | undefined;
  readonly #say: (level: LogLevel, line: string) => void;
  readonly #onSignal = (signal: NodeJS.Signals): void => this.#take(signal);
  readonly #parentPoll: NodeJS.Timeout | undefined;
  readonly #onDisconnect = (): void => this.#begin("The parent process has ended: stopping.");

  /** `endsWithParent`: also without a channel to it. */
  constructor(say: (level: LogLevel, line: string) => void, endsWithParent = false) {
    this.#say = say;
    this.first = new Promise((settle) => {
      this.#tellFirst = settle;
    });
    this.second = new Promise((settle) => {
      this.#tellSecond = settle;
    });
    for (const signal of signals) process.on(signal, this.#onSignal);
    const parent = process.ppid;
    if (endsWithParent) {
      this.#parentPoll = setInterval(() => {
        if (process.ppid !== parent) this.#onDisconnect();
      }, parentPollMs).unref();
    }
    // Without a channel there is no `send`; one that was closed before anybody listened leaves it.
    const hasChannel = typeof process.send === "function";
    if (process.connected === true) process.on("disconnect", this.#onDisconnect);
    else if (hasChannel && process.connected === false) this.#onDisconnect();
  }

  end(): void {
    for (const signal of signals) process.off(signal, this.#onSignal);
    process.off("disconnect", this.#onDisconnect);
    clearInterval(this.#parentPoll);
  }

  #begin(line: string): void {
    if (this.#firstMs !== undefined) return;
    this.#firstMs = performance.now();
    this.#say("info", line);
    this.#tellFirst();
  }

  #take(signal: NodeJS.Signals): void {
    if (this.#firstMs === undefined) this.#begin(`${signal}: stopping.`);
    else if (performance.now() - this.#firstMs >= sameSignalMs) {
      this.#say("warn", `${signal} again: stopping at once.`);
      this.#tellSecond();
    }
  }
}
