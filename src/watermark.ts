/**
 * Watermark: up to which time every replica of a partition holds the same, and what follows from it.
 *
 * A tombstone may go when no replica can bring back what it deleted: when all of them are known to have
 * had it. That is what a round finds out for a time T, in this order:
 *
 *     states    every replica counts, and says what its clock shows    -> T, in the past of all (G3)
 *     fence     every replica durably promises to take nothing below T but what a replica holds
 *     compare   one replica compares with each other one, twice: the first time it gets
 *               everything below T that any of them holds, the second time all get it from it
 *     confirm   every replica still stands by its promise, with the same store     -> watermark T
 *
 * Comparing before the fence would miss a delete that is under way to one of them.
 *
 *     ----- dropped if deleted ----- W ----- only what a replica holds ----- P ----- all writes ----> time
 *
 * Invariants
 * 1. Promise and watermark of a partition never go back; the promise is never below the watermark.
 * 2. A round raises the watermark only if every replica took part in it from its begin to its end (G4).
 * 3. The wall clock alone makes nothing droppable: what is above the watermark stays.
 *
 * Effects: none. Source: rules G2 to G6, H3, R2; promise P4.
 *
 * @module
 */

import { guardMs, type Hlc, hlcAt } from "./hlc.ts";
import type { Version } from "./version.ts";

/** Stamps below which a replica takes no writes of coordinators (G2); 0n: all are taken. */
export interface Fence {
  readonly promise: Hlc;
  readonly watermark: Hlc;
}

export const noFence: Fence = { promise: 0n as Hlc, watermark: 0n as Hlc };

/** The fence with a promise made. */
export function promised({ promise, watermark }: Fence, stamp: Hlc): Fence {
  return { promise: highest(promise, stamp), watermark };
}

/** The fence with a watermark reached: what is below it is promised too. */
export function adopted({ promise, watermark }: Fence, stamp: Hlc): Fence {
  return { promise: highest(promise, stamp), watermark: highest(watermark, stamp) };
}

/** What may be dropped below a watermark: it is told as nothing, whoever still has it (G5, R2). */
export function isDroppable(
  held: {
    readonly version: Version;
    readonly tombstone: boolean;
    readonly expiresAtMs?: number | undefined;
  },
  watermark: Hlc,
  nowMs: number,
): boolean {
  if (held.version.hlc >= watermark) return false;
  if (held.tombstone) return true;
  return held.expiresAtMs !== undefined && held.expiresAtMs + guardMs <= nowMs;
}

/** What a replica says of itself when a round begins, and when it ends. */
export interface ReplicaState extends Fence {
  readonly storeId: string;
  /** The start of its process: a later one may have lost something, and have got what others had till then. */
  readonly boot: number;
  /** Whether it knows what it should hold, and has lost nothing of the partition. */
  readonly counts: boolean;
  readonly clockMs: number;
}

export interface RoundPlan {
  /** T. */
  readonly stamp: Hlc;
  /** The highest watermark that any of them has: all adopt it before they compare (G5). */
  readonly adopt: Hlc;
}

/** T and what is adopted first; or why there is no round now. `lagMs`: the longest deadline of a request. */
export function planRound(
  states: readonly ReplicaState[],
  lagMs: number,
): RoundPlan | { readonly why: string } {
  if (states.some(({ counts }) => !counts)) return { why: "a replica does not count" };
  const lowestMs = states.reduce((least, { clockMs }) => Math.min(least, clockMs), 2 ** 48 - 1);
  // G3: no coordinator whose clock is in order is shut out.
  const stampMs = lowestMs - guardMs - lagMs;
  if (stampMs <= 0) return { why: "a clock stands before 1970" };
  // G2: what a promise refuses waits for a watermark above it, and clocks that were set back come to it late.
  const promise = states.reduce((most, state) => highest(most, state.promise), 0n as Hlc);
  const stamp = highest(hlcAt(stampMs), promise);
  const adopt = states.reduce((most, { watermark }) => highest(most, watermark), 0n as Hlc);
  if (stamp <= adopt) return { why: "the watermark is as late as the clocks allow" };
  return { stamp, adopt };
}

/** Whether all stand by a round to its end: the same stores in the same starts, each with its promise (G2). */
export function isConfirmed(
  before: readonly ReplicaState[],
  after: readonly ReplicaState[],
  { stamp }: RoundPlan,
): boolean {
  if (before.length !== after.length) return false;
  return after.every(
    ({ storeId, boot, counts, promise }, index) =>
      counts &&
      promise >= stamp &&
      storeId === before[index]?.storeId &&
      boot === before[index]?.boot,
  );
}

export function highest(one: Hlc, other: Hlc): Hlc {
  return one > other ? one : other;
}
