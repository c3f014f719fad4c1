/** Pauses: waits that are over in their time, or all at once at the end. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { Pauses } from "../src/pauses.ts";

const test = suite("pauses");

/** The waits that are over, in order. */
function stand(...waits: readonly number[]): {
  readonly clock: SimClock;
  readonly pauses: Pauses;
  readonly over: number[];
} {
  const clock = new SimClock();
  const pauses = new Pauses(clock);
  const over: number[] = [];
  for (const ms of waits) void pauses.wait(ms).then(() => over.push(ms));
  return { clock, pauses, over };
}

test("Pauses: each wait is over in its time", async () => {
  const { clock, over } = stand(20, 10);
  await clock.advance(10);
  assert.equal(over, [10]);
  await clock.advance(10);
  assert.equal(over, [10, 20]);
});

test("Pauses: end() lets all go that wait", async () => {
  const { clock, pauses, over } = stand(60_000, 10);
  pauses.end();
  await clock.advance(0);
  assert.equal(over, [60_000, 10]);
  await clock.advance(60_000);
  assert.equal(over, [60_000, 10], "each goes once");
});

test("Pauses: after end() a wait takes no time", async () => {
  const { clock, pauses } = stand();
  pauses.end();
  await pauses.wait(60_000);
  assert.is(clock.monotonicMs(), new SimClock().monotonicMs());
});

test.run();
