/**
 * Histogram: how many observations fell below each of a few bounds.
 *
 * A latency's mean hides what hurts; its distribution is kept in a dozen numbers instead. Observing
 * adds to one number of an array that was made beforehand, so it can be done for every request. The
 * counts are kept apart for each bucket and summed up when somebody reads them, as Prometheus wants.
 *
 *     bounds      1      2      5          observe(3) adds one to the third
 *     counts   n<=1  1<n<=2  2<n<=5  n>5
 *
 * Invariants
 * 1. Bounds ascend.
 * 2. `count` is the sum of all buckets, the last one (above every bound) included.
 *
 * Effects: none. Source: Prometheus, "Histograms and summaries".
 *
 * @module
 */

import { assert } from "./assert.ts";

/** Seconds, from what a read of memory takes to what a timeout allows. */
export const latencyBounds: readonly number[] = [
  0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5,
  10, 60,
];
/** Counts, and sizes in bytes as well: 1, 2, 4 … 1,048,576. */
export const countBounds: readonly number[] = Array.from({ length: 21 }, (_, power) => 2 ** power);

export class Histogram {
  readonly bounds: readonly number[];
  readonly #counts: Float64Array;
  #sum = 0;

  constructor(bounds: readonly number[]) {
    assert(isAscending(bounds), "histogram: bounds ascend");
    this.bounds = bounds;
    this.#counts = new Float64Array(bounds.length + 1);
  }

  observe(value: number): void {
    const { bounds } = this;
    let index = 0;
    while (index < bounds.length && value > (bounds[index] as number)) index += 1;
    this.#counts[index] = (this.#counts[index] as number) + 1;
    this.#sum += value;
  }

  get sum(): number {
    return this.#sum;
  }

  get count(): number {
    return this.#counts.reduce((sum, count) => sum + count, 0);
  }

  /** For each bound, how many observations were at or below it. */
  cumulative(): readonly number[] {
    let sum = 0;
    return this.bounds.map((_, index) => {
      sum += this.#counts[index] as number;
      return sum;
    });
  }
}

function isAscending(bounds: readonly number[]): boolean {
  return bounds.every((bound, index) => index === 0 || bound > (bounds[index - 1] as number));
}
