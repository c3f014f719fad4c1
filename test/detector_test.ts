/**
 * The formula against a table and against Math (whose last bits may differ, not its first twelve),
 * and the states through made-up arrivals.
 */

import * as fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Detector, detectorDefault, log10OnePlusExp, phiMax, phiOf } from "../src/detector.ts";
import { runs } from "./samples.ts";

const test = suite("detector");

/** A peer heard of once a second, `count` times; the last time is answered. */
function regular(detector: Detector, count: number, fromMs = 0): number {
  for (let beat = 1; beat <= count; beat += 1) detector.arrived(fromMs + beat * 1000);
  return fromMs + count * 1000;
}

test("log10OnePlusExp: agrees with a table and with Math to twelve digits", () => {
  const table: readonly (readonly [number, number])[] = [
    [0, 0.301029995663981],
    [1, 0.570342304184117],
    [-1, 0.136047822280865],
    [10, 4.342964535523933],
    [-10, 0.0000197164914143662],
    [100, 43.4294481903252],
  ];
  for (const [z, expected] of table) {
    assert.ok(Math.abs(log10OnePlusExp(z) - expected) < 1e-12 * Math.max(1, expected), `z ${z}`);
  }
  for (let z = -30; z <= 300; z += 0.37) {
    const expected =
      z > 0 ? (z + Math.log1p(Math.exp(-z))) / Math.LN10 : Math.log1p(Math.exp(z)) / Math.LN10;
    const error = Math.abs(log10OnePlusExp(z) - expected);
    assert.ok(error <= 1e-12 * Math.max(1e-3, expected), `z ${z}: off by ${error}`);
  }
});

test("phiOf: follows the normal tail: 0.3 at the mean, then as its table", () => {
  // -log10 of the upper tail of the normal distribution at 0, 1, 2 and 3 deviations.
  const tail: readonly (readonly [number, number])[] = [
    [0, 0.30103],
    [1, 0.79954],
    [2, 1.64302],
    [3, 2.8697],
  ];
  for (const [y, expected] of tail) {
    const phi = phiOf(1000 + 100 * y, 1000, 100);
    assert.ok(Math.abs(phi - expected) < 0.05, `${y} deviations: ${phi}, not ${expected}`);
  }
  assert.is(phiOf(1e9, 1000, 100), phiMax);
  assert.ok(phiOf(0, 1000, 1) < 1e-12);
});

test("phiOf: never falls as silence grows, and is never below 0 or above its limit", () => {
  const ms = fc.double({ min: 0, max: 1e7, noNaN: true });
  const law = fc.property(
    ms,
    ms,
    ms,
    fc.double({ min: 1, max: 1e5, noNaN: true }),
    (a, b, mean, deviation) => {
      const [less, more] = [Math.min(a, b), Math.max(a, b)];
      const [low, high] = [phiOf(less, mean, deviation), phiOf(more, mean, deviation)];
      assert.ok(low >= 0 && high <= phiMax && low <= high * (1 + 1e-12), `${low} then ${high}`);
    },
  );
  fc.assert(law, runs(300));
});

test("Detector: a regular peer is alive, a silent one suspect, then accused, never down by itself", () => {
  const detector = new Detector(detectorDefault, 0);
  const lastMs = regular(detector, 20);
  assert.is(detector.judge(lastMs + 1500).state, "alive");
  const suspect = detector.judge(lastMs + 2700);
  assert.is(suspect.state, "suspect");
  assert.not(suspect.isAccused);
  const accused = detector.judge(lastMs + 4000);
  assert.ok(accused.isAccused);
  assert.is(accused.state, "suspect");
  assert.is(detector.judge(lastMs + 60_000).state, "suspect");
  detector.confirm(lastMs + 60_000);
  assert.is(detector.judge(lastMs + 60_000).state, "down");
});

test("Detector: an irregular network is given more time than a regular one", () => {
  const steady = new Detector(detectorDefault, 0);
  const lastMs = regular(steady, 20);
  const uneven = new Detector(detectorDefault, 0);
  let nowMs = 0;
  for (let beat = 0; beat < 20; beat += 1) {
    nowMs += beat % 2 === 0 ? 200 : 1800;
    uneven.arrived(nowMs);
  }
  assert.is(nowMs, lastMs);
  assert.is(steady.judge(lastMs + 3000).state, "suspect");
  assert.is(uneven.judge(lastMs + 3000).state, "alive");
});

test("Detector: our own late event loop accuses nobody, and is forgotten at the next arrival", () => {
  const detector = new Detector(detectorDefault, 0);
  const lastMs = regular(detector, 20);
  detector.forgive(30_000);
  assert.is(detector.judge(lastMs + 30_500).state, "alive");
  detector.arrived(lastMs + 30_600);
  assert.is(detector.judge(lastMs + 30_600 + 4000).state, "suspect");
});

test("Detector: no confirmation of a peer that was heard of while others were asked", () => {
  const detector = new Detector(detectorDefault, 0);
  const lastMs = regular(detector, 20);
  assert.ok(detector.judge(lastMs + 5000).isAccused);
  detector.arrived(lastMs + 5100);
  detector.confirm(lastMs + 5200);
  assert.is(detector.judge(lastMs + 5200).state, "alive");
});

test("Detector: a peer that others reach stays suspect, and is accused again only later", () => {
  const detector = new Detector(detectorDefault, 0);
  const lastMs = regular(detector, 20);
  assert.ok(detector.judge(lastMs + 5000).isAccused);
  detector.vouched(lastMs + 5000);
  assert.equal(detector.judge(lastMs + 6000).isAccused, false);
  assert.is(detector.judge(lastMs + 6000).state, "suspect");
  assert.ok(detector.judge(lastMs + 7000).isAccused);
});

test("Detector: does not flap: one arrival does not clear a peer that was down, a row of them does", () => {
  const detector = new Detector(detectorDefault, 0);
  let nowMs = regular(detector, 20) + 60_000;
  detector.judge(nowMs);
  detector.confirm(nowMs);
  // It comes once in ten seconds: never alive.
  for (let time = 0; time < 10; time += 1) {
    nowMs += 10_000;
    detector.arrived(nowMs);
    assert.is(detector.judge(nowMs).state, "down", `after ${time + 1} arrivals`);
  }
  nowMs = regular(detector, 1, nowMs);
  assert.is(detector.judge(nowMs).state, "down");
  nowMs = regular(detector, 1, nowMs);
  assert.is(detector.judge(nowMs).state, "alive");
  // The minute of silence did not teach it patience.
  assert.is(detector.judge(nowMs + 4000).state, "suspect");
});

test("Detector: a peer that was started again is alive at once", () => {
  const detector = new Detector(detectorDefault, 0);
  const lastMs = regular(detector, 20);
  detector.judge(lastMs + 60_000);
  detector.confirm(lastMs + 60_000);
  detector.restarted(lastMs + 61_000);
  assert.is(detector.judge(lastMs + 61_000).state, "alive");
});

test.run();
