/**
 * Check order: what a read of one key has to see, and what a write has to be above.
 *
 * A walk over the beginnings and ends of the operations of a key, in their order. What ends raises
 * the bounds: the least that whoever begins later has to see. Strict operations have one, and what all
 * replicas took is the bound of every read (L1).
 *
 * A list is a read of each key of its range, but no bound: nothing is written back for what it shows (R1).
 *
 * A write that asked for `memory` is a bound as well, until a process dies: it may have been one that
 * had it in memory alone. Whoever read it meanwhile made it durable first (W2), and what was read stays.
 *
 * A value that lives for a time is judged by the clocks that can have judged it: one that was over by
 * the clock of the node that was asked may not be read, and one that had not come to its end by any
 * clock that there ever was may not be called over. Once called over it stays so, while the clocks are
 * no further apart than the guard (R3).
 *
 * Invariants
 * 1. A bound never goes back, but for one in memory when somebody dies.
 *
 * Effects: none. Source: docs/simulator.md, "What is checked"; rules L1, W2, R1, R3.
 *
 * @module
 */

import type { Circumstances, History, Operation } from "./history.ts";
import { type Violation, violation } from "./violation.ts";

/** What must be visible at a moment: at least this version; or, of one that is gone, above it. */
interface Bound {
  readonly version: string;
  /** Why a value of this version may not be read any more. */
  readonly gone?: "deleted" | "expired";
  /** When it is over; infinity: never. */
  readonly expiresAtMs: number;
  readonly because: Operation;
}

type Bounds = { strict: Bound | undefined; all: Bound | undefined };

/** What an operation had to see when it began. */
interface Seen {
  readonly durable: Bounds;
  readonly inMemory: Bounds;
  readonly deaths: number;
}

type Moment =
  | { readonly tick: number; readonly kind: "begin" | "end"; readonly operation: Operation }
  | { readonly tick: number; readonly kind: "death" };

/** Stamps run ahead of the wall clocks by the guard at most (V1); so much more is only slack of the check. */
export const clockSlackMs = 1000;

/** P2, P3, P4, L1 and R3 of one key. */
export function checkOrder(
  operations: readonly Operation[],
  { deaths, areClocksClose }: Circumstances,
): Violation[] {
  const found: Violation[] = [];
  const begun = new Map<Operation, Seen>();
  const durable: Bounds = { strict: undefined, all: undefined };
  let inMemory: Bounds = { strict: undefined, all: undefined };
  let died = 0;
  for (const moment of momentsOf(operations, deaths)) {
    if (moment.kind === "death") {
      died += 1;
      inMemory = { strict: undefined, all: undefined };
      continue;
    }
    const { operation } = moment;
    if (moment.kind === "begin") {
      begun.set(operation, { durable: { ...durable }, inMemory: { ...inMemory }, deaths: died });
      continue;
    }
    const seen = begun.get(operation) as Seen;
    const isWhole = seen.deaths === died;
    const at = isWhole ? joined(seen.durable, seen.inMemory) : seen.durable;
    found.push(...checkOne(operation, at, operations));
    const next = boundAfter(operation, at.strict, areClocksClose);
    if (next === undefined) continue;
    const isInMemory = isWrite(operation) && operation.durability === "memory";
    if (!isInMemory) raise(durable, next, operation);
    else if (isWhole) raise(inMemory, next, operation);
  }
  return found;
}

function momentsOf(operations: readonly Operation[], deaths: readonly number[]): Moment[] {
  const moments: Moment[] = deaths.map((tick) => ({ tick, kind: "death" }));
  for (const operation of operations) {
    moments.push({ tick: operation.begun, kind: "begin", operation });
    if (operation.ended !== undefined) {
      moments.push({ tick: operation.ended, kind: "end", operation });
    }
  }
  return moments.sort((a, b) => a.tick - b.tick);
}

function checkOne(operation: Operation, at: Bounds, all: readonly Operation[]): Violation[] {
  const { told } = operation;
  const bound = isStrict(operation) ? at.strict : at.all;
  if (operation.kind === "get" || operation.kind === "list")
    return bound === undefined ? [] : checkRead(operation, bound, all);
  if (told.kind !== "written" || !isStrict(operation) || bound === undefined) return [];
  // Else the write would be hidden from the start.
  if (told.version > bound.version) return [];
  return [violation("P2", "a later write has an older version", bound.because, operation)];
}

function checkRead(read: Operation, bound: Bound, all: readonly Operation[]): Violation[] {
  const { told } = read;
  const { because, gone } = bound;
  if (told.kind === "found") {
    const { version } = told;
    if (version > bound.version || (version === bound.version && gone === undefined)) return [];
    if (!isStrict(read)) return [violation("L1", "a read misses what all took", because, read)];
    if (version === bound.version && gone === "expired") {
      return [violation("R3", "a value that was over is read again", because, read)];
    }
    if (because.kind === "delete" || gone !== undefined) {
      return [violation("P4", "a deleted value is read again", because, read)];
    }
    const promise = isWrite(because) ? "P2" : "P3";
    return [violation(promise, "a read returns an older version", because, read)];
  }
  if (told.kind !== "absent") return [];
  // What came too late to count is named too: above the bound, a value that lives on explains nothing.
  const isBeside = told.named !== undefined && told.named > bound.version && lives(told.named, all);
  const named = isBeside ? undefined : told.named;
  // Below a watermark a delete is named no more: that there was one is enough (R2, G5).
  const isDropped = gone !== undefined || mayBeGone(all, bound.version, read);
  if (named === undefined && isDropped) return [];
  // One that is deleted is named no more: the delete is.
  const isOlder =
    named === undefined || named < bound.version || (named === bound.version && gone === "deleted");
  if (isOlder) {
    if (!isStrict(read)) return [violation("L1", "a read misses what all took", because, read)];
    const promise = isWrite(because) ? "P2" : "P3";
    const what = "a read finds nothing, and no newer delete is named";
    return [violation(promise, what, because, read)];
  }
  // The value itself is named: it has to be over by some clock.
  const isValue = named === bound.version && because.kind !== "delete" && gone === undefined;
  if (!isValue || bound.expiresAtMs <= read.clocks.mostMs + clockSlackMs) return [];
  return [violation("R3", "a value that lives on is called over", because, read)];
}

/** Whether a version is known to be of a value that never ends. */
function lives(version: string, all: readonly Operation[]): boolean {
  return all.some(({ kind, ttlMs, told }) => {
    if (told.kind === "found") return told.version === version && told.expiresAtMs === undefined;
    const isWritten = told.kind === "written" && told.version === version;
    return kind === "put" && ttlMs === undefined && isWritten;
  });
}

/** Whether some write that is not older explains that nothing is found: a delete, or one that is over. */
export function mayBeGone(
  operations: readonly Operation[],
  version: string,
  read: Operation,
): boolean {
  const ended = read.ended ?? Number.POSITIVE_INFINITY;
  return operations.some(
    (write) =>
      (write.kind === "delete" || (write.kind === "put" && mayBeOver(write, read))) &&
      write.begun < ended &&
      (write.told.kind !== "written" || write.told.version >= version) &&
      !(write.told.kind === "failed" && write.told.outcome === "none"),
  );
}

/**
 * Whether some clock may have said, before an operation ended, that a value's life is over. Of a write that was
 * under way the version may have been seen that was overtaken, whose life began earlier.
 */
function mayBeOver({ ttlMs, clocks, told, ended }: Operation, read: Operation): boolean {
  if (ttlMs === undefined) return false;
  const then = read.clocks;
  const isOver = ended !== undefined && ended < read.begun;
  const exact = isOver && told.kind === "written" ? told.expiresAtMs : undefined;
  return (exact ?? clocks.leastMs + ttlMs) <= then.mostMs + clockSlackMs;
}

/** What has to be visible once an operation has ended; undefined: it says nothing of that. */
function boundAfter(
  operation: Operation,
  before: Bound | undefined,
  areClocksClose: boolean,
): Bound | undefined {
  const { told } = operation;
  // What was listed need not be on a quorum: nothing is written back for it.
  if (!isStrict(operation) || operation.kind === "list") return undefined;
  if (told.kind === "written" || told.kind === "found") {
    const expiresAtMs = told.expiresAtMs ?? Number.POSITIVE_INFINITY;
    return { version: told.version, expiresAtMs, because: operation };
  }
  if (told.kind !== "absent" || before === undefined || before.because.kind === "delete") {
    return undefined;
  }
  // A value that never ends: a delete that is newer explains that it is not there.
  if (before.expiresAtMs === Number.POSITIVE_INFINITY) {
    return { ...before, gone: "deleted", because: operation };
  }
  return areClocksClose
    ? { ...before, gone: before.gone ?? "expired", because: operation }
    : undefined;
}

function raise(bounds: Bounds, next: Bound, { told, needed, replicas, isMoving }: Operation): void {
  bounds.strict = higher(bounds.strict, next);
  if (told.kind === "written" && needed === replicas && isMoving !== true)
    bounds.all = higher(bounds.all, next);
}

function joined(one: Bounds, other: Bounds): Bounds {
  return { strict: highest(one.strict, other.strict), all: highest(one.all, other.all) };
}

function highest(one: Bound | undefined, other: Bound | undefined): Bound | undefined {
  return other === undefined ? one : higher(one, other);
}

/** The one that says more. */
function higher(one: Bound | undefined, other: Bound): Bound {
  if (one === undefined || other.version > one.version) return other;
  if (other.version < one.version) return one;
  return one.gone !== undefined ? one : other;
}

export function isStrict({ needed, replicas }: Operation): boolean {
  return 2 * needed > replicas;
}

export function isWrite({ kind }: Operation): boolean {
  return kind === "put" || kind === "delete";
}

/** Whether a client was told of a version by a majority of those that held its key. */
export function hadQuorum(history: History, version: string): boolean {
  return history.some((operation) => {
    const { told } = operation;
    const isOfOne = told.kind === "written" || told.kind === "found";
    return isOfOne && told.version === version && isStrict(operation);
  });
}
