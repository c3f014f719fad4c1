import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import type { QuorateError } from "../src/errors.ts";
import { whenNoHints } from "../src/handoff_wait.ts";

const test = suite("handoff wait");

/** Passes time, once what is under way has come to rest; and lets what came of it be heard. */
async function pass(clock: SimClock, ms: number): Promise<void> {
  await new Promise(setImmediate);
  await clock.advance(ms);
  await new Promise(setImmediate);
}

/** How a wait has ended so far. */
function watch(wait: Promise<void>): { ended: string; error: QuorateError | undefined } {
  const seen: { ended: string; error: QuorateError | undefined } = {
    ended: "no",
    error: undefined,
  };
  wait.then(
    () => {
      seen.ended = "done";
    },
    (error: QuorateError) => {
      seen.ended = error.slug ?? String(error);
      seen.error = error;
    },
  );
  return seen;
}

test("whenNoHints() looks again until one look finds none", async () => {
  const clock = new SimClock();
  const left = [3, 2, 0];
  const seen = watch(whenNoHints({ clock, left: async () => left.shift() ?? 9 }, 60_000));
  await pass(clock, 50);
  assert.is(seen.ended, "no");
  await pass(clock, 1000);
  assert.is(seen.ended, "done");
  assert.equal(left, [], "and no more looks than that");
  assert.is(clock.timerCount, 0, "no timer is left");
});

test("whenNoHints() ends with timeout at its deadline, and says how many were left", async () => {
  const clock = new SimClock();
  const seen = watch(whenNoHints({ clock, left: async () => 4 }, 2000));
  await pass(clock, 1999);
  assert.is(seen.ended, "no");
  await pass(clock, 1);
  assert.is(seen.ended, "timeout");
  assert.match(seen.error?.message ?? "", "4 hints and marks were left after 2000 ms");
  assert.is(clock.timerCount, 0);
});

test("whenNoHints() ends at its deadline while a look has no answer", async () => {
  const clock = new SimClock();
  const seen = watch(whenNoHints({ clock, left: () => new Promise(() => {}) }, 2000));
  await pass(clock, 2000);
  assert.is(seen.ended, "timeout");
  assert.match(seen.error?.message ?? "", "not known");
});

test("whenNoHints() fails when a look fails", async () => {
  const clock = new SimClock();
  const broken = Object.assign(new Error("broken"), { slug: "broken" });
  const seen = watch(whenNoHints({ clock, left: () => Promise.reject(broken) }, 2000));
  await pass(clock, 1);
  assert.is(seen.ended, "broken");
  assert.is(clock.timerCount, 0);
});

test.run();
