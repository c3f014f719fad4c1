import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";

const test = suite("clock");

test("SimClock: timers run in the order of their time, at their time, and no earlier", async () => {
  const clock = new SimClock(1_000);
  const ran: string[] = [];
  const at = (name: string) => () =>
    void ran.push(`${name}@${clock.monotonicMs()}/${clock.nowMs()}`);
  clock.after(20, at("c"));
  clock.after(10, at("a"));
  clock.after(10, at("b"));
  clock.after(10.5, at("half"));
  await clock.advance(9);
  assert.equal(ran, []);
  await clock.advance(5);
  assert.equal(ran, ["a@10/1010", "b@10/1010", "half@10.5/1010"]);
  await clock.advance(100);
  assert.equal(ran.at(-1), "c@20/1020");
  assert.is(clock.monotonicMs(), 114);
  assert.is(clock.timerCount, 0);
});

test("SimClock: a cancelled timer never runs, also when another one cancels it in the same moment", async () => {
  const clock = new SimClock();
  let ran = 0;
  clock.after(5, () => (ran += 1))();
  let cancel = (): void => {};
  clock.after(6, () => cancel());
  cancel = clock.after(6, () => (ran += 1));
  await clock.advance(10);
  assert.is(ran, 0);
});

test("SimClock: what a timer sets in motion, new timers too, happens before time goes on", async () => {
  const clock = new SimClock();
  const seen: number[] = [];
  const tick = async (): Promise<void> => {
    await Promise.resolve();
    await new Promise<void>((resolve) => clock.soon(resolve));
    seen.push(clock.monotonicMs());
    clock.after(10, () => void tick());
  };
  clock.after(10, () => void tick());
  await clock.advance(35);
  assert.equal(seen, [10, 20, 30]);
});

test("SimClock: the wall clock jumps, the monotonic one and the timers do not", async () => {
  const clock = new SimClock(1_000_000);
  let firedAt = 0;
  clock.after(100, () => {
    firedAt = clock.nowMs();
  });
  clock.setNowMs(5_000);
  assert.is(clock.nowMs(), 5_000);
  assert.is(clock.monotonicMs(), 0);
  await clock.advance(100);
  assert.is(firedAt, 5_100);
});

test("SimClock: soon runs after what is ready, and in order", async () => {
  const clock = new SimClock();
  const ran: number[] = [];
  const done = new Promise<void>((resolve) => {
    clock.soon(() => ran.push(1));
    clock.soon(() => {
      ran.push(2);
      resolve();
    });
  });
  await Promise.resolve();
  ran.push(0);
  await done;
  assert.equal(ran, [0, 1, 2]);
});

test.run();
