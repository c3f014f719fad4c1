/**
 * CoordinatorRepair: repairs that nobody waits for, so many at a time.
 *
 * What a read finds behind is brought up to date after the answer. Past the bound the difference is
 * left: to the next read of the key, or to a comparison of ranges.
 *
 * Invariants
 * 1. At most `repairsMax` are under way, those included that still fetch what they will send.
 *
 * Effects: Report.
 *
 * @module
 */

import type { Report } from "./capability.ts";

export const repairsMax = 256;

/** The repairs of one coordinator. */
export class ReadRepairs {
  readonly #report: Report;
  #count = 0;

  constructor(report: Report) {
    this.#report = report;
  }

  /** Begins one, whose failure nobody hears of; false when there are too many. */
  begin(run: () => Promise<unknown>): boolean {
    if (this.#count >= repairsMax) {
      this.#report.sometimes("coordinator: too many repairs");
      return false;
    }
    this.#count += 1;
    const done = (): void => {
      this.#count -= 1;
    };
    run().then(done, done);
    return true;
  }
}
