/**
 * Detector: how likely it is, from the arrivals of its heartbeats, that a peer is gone.
 *
 * Phi-accrual: the intervals between arrivals are taken as normally distributed, and phi says how
 * unlikely the present silence is: at phi 8, one such silence in 10^8 comes from a peer that lives.
 *
 *     phi(t) = -log10 P(a heartbeat comes later than t after the last one)
 *     P      = 1 / (1 + e^z),  z = y (1.5976 + 0.070566 y^2),  y = (t - mean) / deviation
 *
 * The logistic form stands for the normal tail (error of P at most 0.00014; far out it is thinner
 * than the normal one, so phi grows a little faster). e^z and the logarithm are computed here from
 * + - * / alone, because those of Math differ between runtimes in their last bits.
 *
 * A detector accuses; it does not sentence: above `downPhi` a peer is `isAccused`, and becomes down
 * only when its caller has asked others and says so (`confirm`). A peer that was down is alive again
 * after several arrivals in a row, so that one that comes and goes does not flap.
 *
 * Invariants
 * 1. Phi does not fall while nothing arrives and nothing is forgiven, and is 0 to `phiMax`.
 * 2. Time in which our own event loop was late is no silence of the peer.
 * 3. Only `confirm` leads to down, and only arrivals (or a new start) lead out of it.
 *
 * Effects: none. Source: Hayashibara, Défago, Yared and Katayama, "The phi accrual failure detector"
 * (2004), sections 4.1 to 4.3; Bowling and others, "A logistic approximation to the cumulative
 * normal distribution" (2009), for the tail.
 *
 * @module
 */

import { assert } from "./assert.ts";

export type Liveness = "alive" | "suspect" | "down";

export interface DetectorSettings {
  /** How often a peer sends. The first intervals are taken as this; more load, faster detection. */
  readonly intervalMs: number;
  /** So many intervals are remembered. More: steadier; fewer: follows a changed network sooner. */
  readonly intervalsMax: number;
  /** The least deviation, so that a very regular peer is not accused of one late packet. */
  readonly deviationMinMs: number;
  /** Silence that is allowed beyond the mean, for pauses of the peer. Detection is later by it. */
  readonly pauseMs: number;
  /** From here on a peer is shown as suspect; who is asked, and in which order, stays as it is. */
  readonly suspectPhi: number;
  /** From here on it is accused, and down when nobody else reaches it either. */
  readonly downPhi: number;
  /** So many arrivals in a row make a peer that was down alive again. */
  readonly arrivalsToClear: number;
}

/** Silence of about 2.4 s is suspect, of about 3 s accused, at one heartbeat a second. */
export const detectorDefault: DetectorSettings = {
  intervalMs: 1000,
  intervalsMax: 100,
  deviationMinMs: 200,
  pauseMs: 1000,
  suspectPhi: 3,
  downPhi: 8,
  arrivalsToClear: 3,
};

/** Beyond this phi says nothing more. */
export const phiMax = 1000;

export interface Judgement {
  readonly phi: number;
  readonly state: Liveness;
  /** Others are to be asked now whether they reach it. */
  readonly isAccused: boolean;
}

interface Spread {
  readonly mean: number;
  readonly deviation: number;
}

/** What is known of one peer's heartbeats. */
export class Detector {
  readonly #settings: DetectorSettings;
  #intervals: number[] = [];
  /** Of the intervals; undefined since they changed. */
  #spread: Spread | undefined;
  #lastMs: number;
  /** Of the time since the last arrival: so much was our own delay. */
  #forgivenMs = 0;
  /** Others reached it: it is not accused before this. */
  #vouchedUntilMs = Number.NEGATIVE_INFINITY;
  #state: Liveness = "alive";
  #arrivalsSinceDown = 0;

  /** `nowMs` is a monotonic clock's, here and below. A peer begins alive, as if just heard of. */
  constructor(settings: DetectorSettings, nowMs: number) {
    assert(settings.suspectPhi <= settings.downPhi, "detector: suspicion comes before accusation");
    this.#settings = settings;
    this.#lastMs = nowMs;
  }

  get lastMs(): number {
    return this.#lastMs;
  }

  /** A heartbeat that was not known before has come. */
  arrived(nowMs: number): void {
    const intervalMs = Math.max(0, nowMs - this.#lastMs - this.#forgivenMs);
    // The silence of a node that was down is no interval: it would hide the next one for minutes.
    if (this.#state !== "down") {
      this.#intervals.push(intervalMs);
      if (this.#intervals.length > this.#settings.intervalsMax) this.#intervals.shift();
      this.#spread = undefined;
    } else {
      const isInARow = this.#arrivalsSinceDown > 0 && intervalMs <= this.#longestMs();
      this.#arrivalsSinceDown = isInARow ? this.#arrivalsSinceDown + 1 : 1;
    }
    this.#lastMs = Math.max(this.#lastMs, nowMs);
    this.#forgivenMs = 0;
    this.#vouchedUntilMs = Number.NEGATIVE_INFINITY;
    const isClear =
      this.#state !== "down" || this.#arrivalsSinceDown >= this.#settings.arrivalsToClear;
    if (isClear) this.#state = "alive";
  }

  /** Our own event loop was late by this: what arrived meanwhile could not be noticed. */
  forgive(lateMs: number): void {
    this.#forgivenMs += Math.max(0, lateMs);
  }

  /** The peer was started again: what it did before says nothing about it now. */
  restarted(nowMs: number): void {
    this.#intervals = [];
    this.#spread = undefined;
    this.#lastMs = Math.max(this.#lastMs, nowMs);
    this.#forgivenMs = 0;
    this.#state = "alive";
  }

  /** Somebody else reached the peer just now: it stays suspect, and is not accused for a while. */
  vouched(nowMs: number): void {
    this.#vouchedUntilMs = nowMs + 2 * this.#settings.intervalMs;
  }

  /** Nobody who was asked reaches the peer. Nothing changes when it was heard of meanwhile. */
  confirm(nowMs: number): void {
    if (!this.judge(nowMs).isAccused) return;
    this.#state = "down";
    this.#arrivalsSinceDown = 0;
  }

  /** The present state; a suspicion is remembered until the next arrival. */
  judge(nowMs: number): Judgement {
    const phi = this.#phi(nowMs);
    if (this.#state === "alive" && phi >= this.#settings.suspectPhi) this.#state = "suspect";
    const isAccused =
      this.#state === "suspect" && phi >= this.#settings.downPhi && nowMs >= this.#vouchedUntilMs;
    return { phi, state: this.#state, isAccused };
  }

  #phi(nowMs: number): number {
    const { mean, deviation } = this.#spreadNow();
    const silentMs = Math.max(0, nowMs - this.#lastMs - this.#forgivenMs);
    return phiOf(silentMs, mean + this.#settings.pauseMs, deviation);
  }

  #longestMs(): number {
    const { mean, deviation } = this.#spreadNow();
    return mean + this.#settings.pauseMs + 4 * deviation;
  }

  /** It is judged far more often than anything arrives. */
  #spreadNow(): Spread {
    this.#spread ??= spreadOf(this.#intervals, this.#settings);
    return this.#spread;
  }
}

/** Mean and deviation; while there are few intervals, two supposed ones stand beside them. */
function spreadOf(intervals: readonly number[], settings: DetectorSettings): Spread {
  const { intervalMs, deviationMinMs } = settings;
  // Their mean is the interval, their deviation a quarter of it.
  const supposed = intervals.length < 4 ? [intervalMs * 0.75, intervalMs * 1.25] : [];
  const all = [...supposed, ...intervals];
  const mean = all.reduce((sum, one) => sum + one, 0) / all.length;
  const variance = all.reduce((sum, one) => sum + (one - mean) * (one - mean), 0) / all.length;
  return { mean, deviation: Math.max(deviationMinMs, Math.sqrt(variance)) };
}

/** Phi of a silence, from the mean and the deviation of the intervals. */
export function phiOf(silentMs: number, meanMs: number, deviationMs: number): number {
  assert(deviationMs > 0, "detector: a deviation is above 0");
  const y = Math.max(-50, Math.min(50, (silentMs - meanMs) / deviationMs));
  return Math.min(phiMax, log10OnePlusExp(y * (1.5976 + 0.070566 * y * y)));
}

// biome-ignore lint/suspicious/noApproximativeNumericConstant: the core takes nothing of Math that is not exact.
const ln10 = 2.302585092994046;

/** log10(1 + e^z), to about 15 digits. */
export function log10OnePlusExp(z: number): number {
  // ln(1 + e^z) = z + ln(1 + e^-z): so e is only ever taken of what is not above 0.
  const small = lnOnePlus(expOfNegative(z > 0 ? -z : z));
  return (z > 0 ? z + small : small) / ln10;
}

/** e^x for x <= 0: by its series at x / 1024, then squared ten times. */
function expOfNegative(x: number): number {
  if (x < -700) return 0;
  const part = x / 1024;
  let term = 1;
  let sum = 1;
  for (let index = 1; index <= 14; index += 1) {
    term = (term * part) / index;
    sum += term;
  }
  for (let time = 0; time < 10; time += 1) sum *= sum;
  return sum;
}

/** ln(1 + u) for 0 <= u <= 1: 2 artanh(s) with s = u / (2 + u) <= 1/3, by its series. */
function lnOnePlus(u: number): number {
  const s = u / (2 + u);
  let power = s;
  let sum = 0;
  for (let odd = 1; odd <= 35; odd += 2) {
    sum += power / odd;
    power *= s * s;
  }
  return 2 * sum;
}
