/**
 * Deadlines: each wait ends once, as its work does or at its time, and one timer does for many.
 */
import * as fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { Deadlines } from "../src/deadlines.ts";

const test = suite("deadlines");

test("within() settles as its work does, when that is in time", async () => {
  const deadlines = new Deadlines(new SimClock());
  const late = () => new Error("late");
  assert.is(await deadlines.within(100, Promise.resolve("done"), late), "done");
  let failure: unknown;
  const failing = Promise.reject(new Error("work"));
  await deadlines.within(100, failing, late).catch((error: unknown) => {
    failure = error;
  });
  assert.match(String(failure), "work");
});

test("within() rejects at its time, not before, when its work goes on", async () => {
  const clock = new SimClock();
  let failure: unknown;
  const never = new Promise<never>(() => {});
  void new Deadlines(clock)
    .within(100, never, () => new Error("late"))
    .catch((error: unknown) => {
      failure = error;
    });
  await clock.advance(99);
  assert.is(failure, undefined);
  await clock.advance(1);
  assert.match(String(failure), "late");
});

test("a thousand waits of one length share one timer", () => {
  const clock = new SimClock();
  const deadlines = new Deadlines(clock);
  for (let count = 0; count < 1000; count += 1) deadlines.start(5000, () => {});
  assert.is(clock.timerCount, 1);
});

test("a wait that begins from another's end is not lost", async () => {
  const clock = new SimClock();
  const deadlines = new Deadlines(clock);
  let ends = 0;
  const again = (): void => {
    ends += 1;
    if (ends < 5) deadlines.start(10, again);
  };
  deadlines.start(10, again);
  await clock.advance(50);
  assert.is(ends, 5);
});

test("every wait that was not finished ends once and exactly at its time, whatever the others do", async () => {
  const waits = fc.array(
    fc.record({
      beginMs: fc.integer({ min: 0, max: 50 }),
      timeoutMs: fc.constantFrom(5, 20, 21),
      finishAfterMs: fc.option(fc.integer({ min: 0, max: 30 }), { nil: undefined }),
    }),
    { maxLength: 40 },
  );
  await fc.assert(
    fc.asyncProperty(waits, async (given) => {
      const clock = new SimClock();
      const deadlines = new Deadlines(clock);
      const ends: number[][] = given.map(() => []);
      for (const [index, { beginMs, timeoutMs, finishAfterMs }] of given.entries()) {
        clock.after(beginMs, () => {
          const finish = deadlines.start(timeoutMs, () => ends[index]?.push(clock.monotonicMs()));
          if (finishAfterMs !== undefined) clock.after(finishAfterMs, finish);
        });
      }
      await clock.advance(200);
      for (const [index, { beginMs, timeoutMs, finishAfterMs }] of given.entries()) {
        // At the very same time either may be first.
        if (finishAfterMs === timeoutMs) continue;
        const isLate = finishAfterMs === undefined || finishAfterMs > timeoutMs;
        assert.equal(ends[index], isLate ? [beginMs + timeoutMs] : []);
      }
      assert.is(clock.timerCount, 0);
    }),
    { numRuns: 100 },
  );
});

test.run();
