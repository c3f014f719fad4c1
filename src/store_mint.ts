/**
 * Store mint: new versions, each above all before it, also after a crash.
 *
 * A stamp is below a ceiling that is durable before the stamp is used. The ceiling travels in the
 * header of every batch of the log, so a synced write carries the ceiling for its own stamp with it
 * and needs no second sync; a write that does not wait for its sync waits where its stamp is not yet
 * below a synced ceiling.
 *
 * Invariants
 * 1. `ceiling()` is above every stamp of the present origin. (Under an older one none is minted again, so a
 *    stamp of that may stand above it.)
 * 2. Before a stamp is minted, the clock is at most half the guard ahead of the wall clock; where it
 *    was further, a new origin was made durable and the clock began again at the wall clock.
 *
 * Effects: Clock, Random, and the folder's identity through a port. Source: rules V1 to V3, R3.
 *
 * @module
 */

import type { Clock, Random } from "./capability.ts";
import {
  ceilingAheadMs,
  ceilingFor,
  guardMs,
  type Hlc,
  HybridClock,
  hlcAt,
  hlcNext,
  hlcWallMs,
  needsNewOrigin,
} from "./hlc.ts";
import type { Origin, Version } from "./version.ts";

export interface MintOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly origin: Origin;
  /** The highest ceiling that was durable: stamps begin above it. */
  readonly floor: Hlc;
  /** Draws a new origin and makes it durable. */
  readonly renewOrigin: () => Promise<Origin>;
}

/** The one that mints for a store. */
export class Mint {
  readonly #options: MintOptions;
  #hlc: HybridClock;
  #origin: Origin;
  #renewing: Promise<void> | undefined;
  /** The latest time by which expiry was, or may have been, judged. */
  #judgedMs: number;
  /** What other nodes' clocks said an expiry is over by; the ceiling covers it. */
  #observedMs = 0;

  constructor(options: MintOptions) {
    this.#options = options;
    this.#hlc = new HybridClock(options.floor);
    this.#origin = options.origin;
    this.#judgedMs = hlcWallMs(options.floor);
  }

  /** A new version, above every stamp minted or observed. */
  mint(): Version | Promise<Version> {
    const nowMs = this.#options.clock.nowMs();
    if (needsNewOrigin(this.#hlc.last, nowMs)) return this.settle().then(() => this.mint());
    return { hlc: this.#hlc.tick(nowMs), origin: this.#origin };
  }

  /**
   * A new version above `version` (W3); one that this clock may not follow gets an origin used once
   * (V3). It may not follow one that is more than half the guard ahead: it would then begin again at
   * the wall clock (V1), below the version, and the write would be lost.
   */
  async mintAbove(version: Version): Promise<Version> {
    await this.settle();
    const nowMs = this.#options.clock.nowMs();
    if (!needsNewOrigin(version.hlc, nowMs) && this.#hlc.observe(version.hlc, nowMs)) {
      return { hlc: this.#hlc.tick(nowMs), origin: this.#origin };
    }
    const origin = new DataView(this.#options.random.bytes(8).buffer).getBigUint64(0);
    return { hlc: hlcNext(version.hlc), origin };
  }

  /** Takes a new origin: what was minted under the old one is not all known any more (I3). */
  async renew(): Promise<void> {
    this.#renewing ??= this.#renew();
    await this.#renewing;
  }

  /** Takes a new origin when the clock runs too far ahead of the wall clock (V1). */
  async settle(): Promise<void> {
    while (needsNewOrigin(this.#hlc.last, this.#options.clock.nowMs())) {
      this.#renewing ??= this.#renew();
      await this.#renewing;
    }
  }

  /** What the log makes durable with its next batch. */
  ceiling(): Hlc {
    const nowMs = this.#options.clock.nowMs();
    const usual = ceilingFor(nowMs);
    let last: Hlc = this.#hlc.last;
    if (this.#observedMs > nowMs + ceilingAheadMs && this.#observedMs <= nowMs + guardMs) {
      const observed = hlcAt(this.#observedMs);
      if (observed > last) last = observed;
    }
    return usual > last ? usual : hlcNext(last);
  }

  /** Expiry is judged by no earlier time from now on, unless that is ahead by more than the guard (R3). */
  observeMs(judgedMs: number): void {
    const nowMs = this.#options.clock.nowMs();
    if (judgedMs <= nowMs || judgedMs > nowMs + guardMs) return;
    this.#observedMs = Math.max(this.#observedMs, judgedMs);
    this.#judgedMs = Math.max(this.#judgedMs, judgedMs);
  }

  /**
   * The time by which expiry is judged, in ms: never behind a stamp of this store, nor behind a time
   * at which something was called expired, unless the wall clock was set back by more than the guard
   * (R3). A new origin begins at the wall clock; this goes on where it was.
   */
  nowMs(): number {
    const nowMs = this.#options.clock.nowMs();
    // The stamps too: a node that mints nothing would else go by them until the wall clock is there.
    const soonMs = nowMs + guardMs + ceilingAheadMs;
    const stampMs = hlcWallMs(this.#hlc.last);
    const judgedMs = this.#judgedMs <= soonMs ? Math.max(nowMs, this.#judgedMs) : nowMs;
    this.#judgedMs = stampMs <= soonMs ? Math.max(judgedMs, stampMs) : judgedMs;
    return this.#judgedMs;
  }

  async #renew(): Promise<void> {
    try {
      this.#origin = await this.#options.renewOrigin();
      this.#hlc = new HybridClock(0n as Hlc);
    } finally {
      this.#renewing = undefined;
    }
  }
}
