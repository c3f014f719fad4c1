/**
 * Linearizability: whether operations can have happened one after another, each at one moment between
 * its beginning and its end, and have answered what they did.
 *
 * The search of Wing and Gong, with what Lowe added: where the same operations were already put in an
 * order that left the same state, the search does not go on a second time. An operation without an
 * end may have happened at any time after its beginning, or never. Each object is asked by itself: a
 * whole history is linearizable when that of each object is.
 *
 * It is asked of the document on which a cluster agrees (T1), whose changes each take effect at one
 * moment. It is not asked of the keys: a write that was overtaken while it was under way counts as up
 * to two of the same value (W3), so `quorum` is not linearizable for concurrent writers of one key, and
 * does not promise to be (L2). What is promised of keys is in `check_order.ts`.
 *
 * Invariants
 * 1. `undefined` is answered exactly when there is such an order.
 * 2. A search ends: beyond `statesMax` states it throws, and never guesses.
 *
 * Effects: none.
 * Source: Wing and Gong, "Testing and verifying concurrent objects" (1993); Lowe, "Testing for
 * linearizability" (2017); Herlihy and Wing, "Linearizability: A Correctness Condition for Concurrent
 * Objects" (1990), theorem 1, for each object by itself.
 *
 * @module
 */

import { assert } from "../src/assert.ts";

/** What an object does with one operation at a time. */
export interface Model<State, Call> {
  readonly initial: State;
  /** The state after a call; undefined: it cannot have answered so in this state. */
  step(state: State, call: Call): State | undefined;
  /** Two states with the same text are the same. */
  text(state: State): string;
}

export interface Timed<Call> {
  readonly call: Call;
  readonly begun: number;
  /** Undefined: it was never answered. */
  readonly ended: number | undefined;
}

/** How far the best order came. */
export interface Unordered<Call> {
  /** The most that could be put in an order. */
  readonly ordered: readonly Timed<Call>[];
  /** Those that had an answer, and no place after them. */
  readonly left: readonly Timed<Call>[];
}

const statesMax = 1_000_000;

/** Undefined when there is an order; else how far the search came. */
export function findUnordered<State, Call>(
  model: Model<State, Call>,
  history: readonly Timed<Call>[],
): Unordered<Call> | undefined {
  // What was answered first: whatever never was is seldom needed.
  const operations = [...history].sort((a, b) => endOf(a) - endOf(b) || a.begun - b.begun);
  const seen = new Set<string>();
  const placed = new Array<boolean>(operations.length).fill(false);
  const order: number[] = [];
  let best: readonly number[] = [];
  const search = (state: State): boolean => {
    const first = operations.findIndex(({ ended }, index) => ended !== undefined && !placed[index]);
    if (first === -1) return true;
    // Whoever began after this had ended comes after it.
    const soonest = endOf(operations[first] as Timed<Call>);
    for (const [index, operation] of operations.entries()) {
      if (placed[index] || operation.begun > soonest) continue;
      const next = model.step(state, operation.call);
      if (next === undefined) continue;
      placed[index] = true;
      order.push(index);
      const mark = `${bitsOf(placed)} ${model.text(next)}`;
      if (!seen.has(mark)) {
        seen.add(mark);
        assert(seen.size <= statesMax, "linearizability: the search ends");
        if (order.length > best.length) best = [...order];
        if (search(next)) return true;
      }
      placed[index] = false;
      order.pop();
    }
    return false;
  };
  if (search(model.initial)) return undefined;
  const ordered = best.map((index) => operations[index] as Timed<Call>);
  const left = operations.filter((each) => each.ended !== undefined && !ordered.includes(each));
  return { ordered, left };
}

export type RegisterCall =
  | { readonly kind: "write"; readonly value: string }
  | { readonly kind: "read"; readonly value: string };

/** Holds the last value that was written. */
export function register(initial: string): Model<string, RegisterCall> {
  return {
    initial,
    step: (state, { kind, value }) => {
      if (kind === "write") return value;
      return state === value ? state : undefined;
    },
    text: (state) => state,
  };
}

/**
 * The calls of a register without the writes that were never answered, and whose value nobody has read:
 * there is an order without them where there is one with them, and dozens of them have no end of orders.
 */
export function withoutUnread(history: readonly Timed<RegisterCall>[]): Timed<RegisterCall>[] {
  const read = new Set(
    history.filter(({ call }) => call.kind === "read").map(({ call }) => call.value),
  );
  return history.filter(({ call, ended }) => ended !== undefined || read.has(call.value));
}

/** Gives out numbers, each once, one after another. */
export function numbers(first: number): Model<number, number> {
  return {
    initial: first,
    step: (state, given) => (given === state ? state + 1 : undefined),
    text: String,
  };
}

function endOf<Call>({ ended }: Timed<Call>): number {
  return ended ?? Number.POSITIVE_INFINITY;
}

function bitsOf(placed: readonly boolean[]): string {
  return placed.map((is) => (is ? "1" : "0")).join("");
}
