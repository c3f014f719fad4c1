/**
 * Sums: what the runs of a command came to, all together.
 *
 * Effects: the real clock, for how long they took.
 *
 * @module
 */

import type { Outcome } from "./outcome.ts";

const realNow = performance.now.bind(performance);

/** What all runs came to. */
export class Sums {
  /** Seeds that broke no promise. */
  passed = 0;
  /** Seeds that broke one, and what else the command counts as a failure. */
  failed = 0;
  readonly #beganMs = realNow();
  readonly #sometimes = new Map<string, number>();
  #simulatedMs = 0;
  #moves = 0;
  #events = 0;
  #operations = 0;
  #acknowledged = 0;
  readonly #fullest = new Map<string, number>();
  readonly #troubles = new Map<string, number>();

  /** How often each rare path was met. */
  get met(): ReadonlyMap<string, number> {
    return this.#sometimes;
  }

  get #tookMs(): number {
    return realNow() - this.#beganMs;
  }

  /** Counts failures that are no seed's. */
  fail(count: number): void {
    this.failed += count;
  }

  add(outcome: Outcome): void {
    if (outcome.isPassed) this.passed += 1;
    else this.failed += 1;
    this.#simulatedMs += outcome.simulatedMs;
    this.#moves += outcome.moves;
    this.#events += outcome.events;
    this.#operations += outcome.operations;
    this.#acknowledged += outcome.acknowledged;
    for (const [name, share] of Object.entries(outcome.fullest)) {
      this.#fullest.set(name, Math.max(this.#fullest.get(name) ?? 0, Math.round(share * 100)));
    }
    for (const [name, count] of Object.entries(outcome.sometimes))
      addTo(this.#sometimes, name, count);
    for (const kind of outcome.troubles) addTo(this.#troubles, kind, 1);
  }

  /** How far it is, in a line. */
  get line(): string {
    const seconds = this.#tookMs / 1000;
    const seeds = this.passed + this.failed;
    const rate = (seeds / seconds).toFixed(1);
    const hours = (this.#simulatedMs / 3_600_000).toFixed(2);
    const ratio = Math.round(this.#simulatedMs / this.#tookMs);
    return `${seeds} seeds, ${this.failed} failed, ${rate} a second; ${hours} h simulated, ${ratio} times real time`;
  }

  /** What is told when all have run. */
  get lines(): readonly string[] {
    const rate = Math.round(this.#events / this.#tookMs);
    return [
      this.line,
      `${this.#events} events (${rate} a ms), ${this.#operations} requests, ${this.#acknowledged} writes acknowledged, ${this.#moves} changes of members`,
      `troubles: ${listed(this.#troubles)}`,
      `rare paths: ${listed(this.#sometimes)}`,
      `fullest, in percent of the bound: ${listed(this.#fullest)}`,
    ];
  }
}

function addTo(counts: Map<string, number>, name: string, by: number): void {
  counts.set(name, (counts.get(name) ?? 0) + by);
}

function listed(counts: ReadonlyMap<string, number>): string {
  const names = [...counts.keys()].sort();
  return names.map((name) => `${name} ${counts.get(name)}`).join(", ");
}
