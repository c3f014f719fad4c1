/**
 * Scheduler: the one queue of everything that happens in a simulated world, on virtual time.
 *
 * An event is a function with a time. Promises are real: after each event the world runs on until no
 * microtask is left, and only then is the next event taken. So there is one order of all that
 * happens, which the seed alone decides, and a hash over it tells whether two runs were the same.
 *
 *     take the earliest event -> time is its time -> run it -> its promises settle -> the next
 *
 * An event may belong to a process. Those of one that is dead are dropped, and those of one that
 * stands still wait until it goes on, in the order of their times.
 *
 * Invariants
 * 1. Time never goes back; events of the same time run in the order of their making.
 * 2. Nothing runs for a dead process.
 *
 * Effects: none; the turns of the real event loop come from whoever drives it.
 *
 * @module
 */

import { assert } from "../src/assert.ts";

/** To whom an event belongs. */
export interface EventOwner {
  readonly isDead: boolean;
  /** Until then it does nothing; in the past: it runs. */
  readonly stalledUntilMs: number;
}

interface Event {
  atMs: number;
  order: number;
  readonly run: () => void;
  readonly owner: EventOwner | undefined;
  isCancelled: boolean;
}

/** Time goes in steps of a power of two. */
const stepsPerMs = 1024;

export class Scheduler {
  #nowMs = 0;
  #order = 0;
  #steps = 0;
  readonly #heap: Event[] = [];
  #low = 0x811c9dc5;
  #high = 0x9e3779b9;
  /** Told of every line of the trace, when somebody wants to read it. */
  onTrace: ((line: string) => void) | undefined;

  /** Milliseconds since the world began, with a fraction. */
  get nowMs(): number {
    return this.#nowMs;
  }

  /** How many events have run. */
  get steps(): number {
    return this.#steps;
  }

  /** A number that is larger each time: what happened before what. */
  tick(): number {
    this.#order += 1;
    return this.#order;
  }

  after(delayMs: number, run: () => void, owner?: EventOwner): () => void {
    // In steps that add up without an error: a timer is never early, and one set again moves on.
    const atMs = this.#nowMs + (delayMs > 0 ? Math.ceil(delayMs * stepsPerMs) / stepsPerMs : 0);
    const event: Event = { atMs, order: this.tick(), run, owner, isCancelled: false };
    push(this.#heap, event);
    return () => {
      event.isCancelled = true;
    };
  }

  /** A promise that time settles. */
  sleep(delayMs: number, owner?: EventOwner): Promise<void> {
    return new Promise((resolve) => {
      this.after(delayMs, resolve, owner);
    });
  }

  /** Runs one event; its promises settle before the next call. False when there was none. */
  step(): boolean {
    for (;;) {
      const event = pop(this.#heap);
      if (event === undefined) return false;
      const { owner } = event;
      if (event.isCancelled || owner?.isDead === true) continue;
      assert(event.atMs >= this.#nowMs, "scheduler: time goes forward");
      if (owner !== undefined && owner.stalledUntilMs > event.atMs) {
        event.atMs = owner.stalledUntilMs;
        event.order = this.tick();
        push(this.#heap, event);
        continue;
      }
      this.#nowMs = event.atMs;
      this.#steps += 1;
      this.#mix(event.atMs * stepsPerMs);
      event.run();
      return true;
    }
  }

  /** A line of the trace: what happened, in the words of whoever did it. */
  trace(line: string): void {
    for (let index = 0; index < line.length; index += 1) this.#mix(line.charCodeAt(index));
    this.onTrace?.(`${this.#nowMs.toFixed(3).padStart(12)}  ${line}`);
  }

  /** Equal for two runs in which the same things happened in the same order. */
  get hash(): string {
    const hex = (word: number): string => (word >>> 0).toString(16).padStart(8, "0");
    return `${hex(this.#high)}${hex(this.#low)}`;
  }

  /** FNV-1a on two words, with the larger part of a number mixed in. */
  #mix(number: number): void {
    const low = number | 0;
    const high = Math.floor(number / 2 ** 32) | 0;
    this.#low = Math.imul(this.#low ^ low, 0x01000193);
    this.#high = Math.imul(this.#high ^ high ^ (this.#low >>> 15), 0x85ebca6b);
  }
}

function isBefore(a: Event, b: Event): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

/** A binary heap (Knuth, 5.2.3). */
function push(heap: Event[], event: Event): void {
  let at = heap.length;
  heap.push(event);
  while (at > 0) {
    const parent = (at - 1) >> 1;
    const above = heap[parent] as Event;
    if (!isBefore(event, above)) break;
    heap[at] = above;
    at = parent;
  }
  heap[at] = event;
}

function pop(heap: Event[]): Event | undefined {
  const first = heap[0];
  const last = heap.pop();
  if (first === undefined || last === undefined || heap.length === 0) return first;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    const right = heap[child + 1];
    if (right !== undefined && isBefore(right, heap[child] as Event)) child += 1;
    const below = heap[child] as Event;
    if (!isBefore(below, last)) break;
    heap[at] = below;
    at = child;
  }
  heap[at] = last;
  return first;
}
