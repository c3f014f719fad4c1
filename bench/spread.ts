/**
 * Spread: one load on several servers at once, each by a generator of its own.
 *
 * A client of a cluster may ask any of its nodes, so the connections are shared out evenly. The
 * generators begin together and last as long as each other; their rates are added up.
 *
 * @module
 */

import { type Load, median, type Sample } from "./sample.ts";

/** Whole parts that differ by one at most: 64 in 3 is 22, 21, 21. */
export function shares(total: number, parts: number): number[] {
  return Array.from({ length: parts }, (_, part) => Math.floor((total + parts - 1 - part) / parts));
}

/** Runs a load in parts; the p99 is that of the slowest part. */
export async function spread(
  load: Load,
  parts: number,
  run: (part: Load, index: number) => Promise<Sample>,
): Promise<Sample> {
  const loads = shares(load.connections, parts).map((connections) => ({ ...load, connections }));
  const samples = await Promise.all(loads.map(run));
  const known = (name: "p50Ms" | "p99Ms") =>
    samples.map((sample) => sample[name]).filter((value) => value !== undefined);
  const [p50s, p99s] = [known("p50Ms"), known("p99Ms")];
  return {
    requests: samples.reduce((sum, { requests }) => sum + requests, 0),
    perSecond: samples.reduce((sum, { perSecond }) => sum + perSecond, 0),
    ...(p50s.length < parts ? {} : { p50Ms: median(p50s) }),
    ...(p99s.length < parts ? {} : { p99Ms: Math.max(...p99s) }),
  };
}

/** Where in the order of `keys` keys each of `parts` generators begins. */
export function beginnings(keys: number, parts: number): number[] {
  return Array.from({ length: parts }, (_, part) => Math.floor((part * keys) / parts));
}

/** How many keys were reached by generators that began there and made so many requests each. */
export function reached(
  keys: number,
  begun: readonly number[],
  requests: readonly number[],
): number {
  const isReached = new Uint8Array(keys);
  for (const [part, first] of begun.entries()) {
    const count = Math.min(keys, requests[part] ?? 0);
    for (let number = 1; number <= count; number += 1) isReached[(first + number) % keys] = 1;
  }
  return isReached.reduce((sum, one) => sum + one, 0);
}
