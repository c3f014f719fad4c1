/**
 * Store space: foresees a full disk.
 *
 * The free space is looked at every second. Below the reserve, writes that grow the data are refused
 * while there is still room for deletes, checkpoints and what is under way; above it they go on.
 *
 * Effects: Clock, Disk, Report. Source: docs/storage.md, "A disk that fails or fills up".
 *
 * @module
 */

import { type Clock, type Disk, knownSpace, type Report } from "./capability.ts";

const pollMs = 1000;

export interface SpaceOptions {
  readonly clock: Clock;
  readonly disk: Disk;
  readonly report: Report;
  /** 0: never low. */
  readonly reserveBytes: number;
}

export class SpaceWatch {
  readonly #options: SpaceOptions;
  #isLow = false;
  #isStopped = false;
  #cancel: () => void = () => {};

  constructor(options: SpaceOptions) {
    this.#options = options;
  }

  /** Whether less than the reserve was free when it was last looked at. */
  get isLow(): boolean {
    return this.#isLow;
  }

  /** Looks now, and from then on every second. */
  async start(): Promise<void> {
    await this.#look();
    if (this.#isStopped) return;
    this.#cancel = this.#options.clock.after(pollMs, () => void this.start());
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancel();
  }

  async #look(): Promise<void> {
    const { disk, report, reserveBytes } = this.#options;
    if (reserveBytes === 0) return;
    const space = await knownSpace(disk);
    if (space === undefined) return;
    const isLow = space.freeBytes < reserveBytes;
    if (isLow === this.#isLow) return;
    this.#isLow = isLow;
    const { freeBytes } = space;
    report.sometimes(isLow ? "store: disk low" : "store: disk has room again");
    if (isLow) report.log("warn", "The disk is nearly full.", { freeBytes, reserveBytes });
    else report.log("info", "The disk has room again.", { freeBytes, reserveBytes });
  }
}
