/**
 * Guard: the only door of the simulator to the real event loop, shut for everything else.
 *
 * A run needs real turns of the event loop, for one thing only: between two of them the runtime
 * settles all promises. While it lasts, every other way to real time and chance throws, so that a
 * run that is not decided by its seed alone fails, and says where.
 *
 * Invariants
 * 1. Between two events of a run, no microtask is left.
 * 2. What was replaced is put back when the run ends, however it ends.
 * 3. One run at a time in a process.
 * 4. Promises settle in the same order on every runtime.
 *
 * Effects: the real event loop; while a run lasts, the globals for time and chance, and `finally` of promises.
 *
 * @module
 */

import { assert } from "../src/assert.ts";
import type { Scheduler } from "./scheduler.ts";

const realSetImmediate = setImmediate;
/** So many events are planned at a time; promises settle after each of them. */
const eventsPerPlan = 128;

/** What was reached that no run may reach. */
export class ReachedReality extends Error {}

let isRunning = false;

/** Runs the world until `isOver` says so, or nothing is left to happen. */
export function drive(scheduler: Scheduler, isOver: () => boolean): Promise<void> {
  assert(!isRunning, "guard: one simulation at a time");
  isRunning = true;
  let firstFault: unknown;
  let hasFault = false;
  const onFault = (error: unknown): void => {
    if (!hasFault) firstFault = error;
    hasFault = true;
  };
  const open = shut(onFault);
  process.on("unhandledRejection", onFault);
  return new Promise<void>((resolve, reject) => {
    let isDone = false;
    const end = (): void => {
      if (isDone) return;
      isDone = true;
      // A rejection that nobody handles is told after this turn.
      realSetImmediate(() => {
        process.off("unhandledRejection", onFault);
        open();
        isRunning = false;
        if (hasFault) reject(firstFault);
        else resolve();
      });
    };
    const turn = (): void => {
      if (isDone) return;
      if (hasFault || isOver()) {
        end();
        return;
      }
      try {
        if (!scheduler.step()) end();
      } catch (error) {
        onFault(error);
        end();
      }
    };
    const plan = (): void => {
      if (isDone) return;
      for (let index = 0; index < eventsPerPlan; index += 1) realSetImmediate(turn);
      realSetImmediate(plan);
    };
    plan();
  });
}

/** Replaces the ways to time and chance; the answer puts them back. */
function shut(onFault: (error: unknown) => void): () => void {
  const undo: (() => void)[] = [];
  const replace = (target: object, name: string): void => {
    const before = Object.getOwnPropertyDescriptor(target, name);
    if (before?.configurable !== true) return;
    const value = (): never => {
      const error = new ReachedReality(`The simulated world reached the real ${name}.`);
      onFault(error);
      throw error;
    };
    const { enumerable = false } = before;
    Object.defineProperty(target, name, { configurable: true, enumerable, value, writable: true });
    undo.push(() => Object.defineProperty(target, name, before));
  };
  for (const name of ["setTimeout", "setInterval", "setImmediate", "fetch"]) {
    replace(globalThis, name);
  }
  replace(Date, "now");
  replace(performance, "now");
  replace(Math, "random");
  replace(crypto, "getRandomValues");
  replace(crypto, "randomUUID");
  // On some runtimes these two are their class's, and an object of its own hides them.
  for (const [target, name] of [
    [Object.getPrototypeOf(performance) as object, "now"],
    [Object.getPrototypeOf(crypto) as object, "getRandomValues"],
    [Object.getPrototypeOf(crypto) as object, "randomUUID"],
  ] as const) {
    replace(target, name);
  }
  const ownFinally = Promise.prototype.finally;
  Promise.prototype.finally = finallyByTheBook;
  undo.push(() => {
    Promise.prototype.finally = ownFinally;
  });
  return () => {
    for (const each of undo.reverse()) each();
  };
}

/**
 * As ECMA-262 has it (section 27.2.5.3). A runtime may take fewer turns for its own, as Bun does: then what becomes
 * ready in one event comes in another order than elsewhere, and the seed gives another run.
 */
function finallyByTheBook<Value>(this: Promise<Value>, run?: (() => void) | null): Promise<Value> {
  if (typeof run !== "function") return this.then();
  return this.then(
    (value) => Promise.resolve(run()).then(() => value),
    (reason) =>
      Promise.resolve(run()).then(() => {
        throw reason;
      }),
  );
}
