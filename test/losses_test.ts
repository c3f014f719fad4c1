/** That a store was rolled back, and what of it has data again, durably. */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimDisk } from "../sim/disk.ts";
import { Losses } from "../src/losses.ts";
import { Slots } from "../src/slots.ts";

const test = suite("losses");

test("I4: a store that was never rolled back has data; one that was has what was filled since, after a power loss too", async () => {
  const disk = new SimDisk();
  const losses = await Losses.open(disk);
  assert.equal([losses.isLost, losses.hasData(7, 3), losses.base], [false, true, 0]);
  await losses.recognise(1000);
  await losses.fill([{ partition: 7, n: 3 }]);
  const again = await Losses.open(disk.crash("durable"));
  assert.equal([again.isLost, again.base], [true, 1000]);
  assert.equal(
    [again.hasData(7, 3), again.hasData(7, 2), again.hasData(8, 3)],
    [true, false, false],
  );
});

test("I3: a second roll back takes away what was filled, and what others know of it never goes down", async () => {
  const losses = await Losses.open(new SimDisk());
  await losses.recognise(1000);
  await losses.fill([{ partition: 7, n: 3 }]);
  await losses.hear(900);
  await losses.hear(1200);
  assert.equal([losses.hasData(7, 3), losses.base], [true, 1200]);
  await losses.recognise(1100);
  assert.equal([losses.hasData(7, 3), losses.base], [false, 1200]);
});

test("an operator takes what is there for all; of a store that was not rolled back nothing is kept", async () => {
  const disk = new SimDisk();
  const whole = await Losses.open(disk);
  await whole.accept(4);
  assert.equal(disk.files(), []);
  await whole.recognise(5);
  await whole.accept(4);
  assert.equal([whole.hasData(0, 1), whole.hasData(3, 9), whole.isLost], [true, true, true]);
});

test("a loss that an older version has kept is one of which nothing is filled", async () => {
  const disk = new SimDisk();
  const slots = await Slots.open(disk, "lost");
  await slots.write({ opened: 3, remembered: 40, nodeId: "a".repeat(32) });
  const losses = await Losses.open(disk);
  assert.equal([losses.isLost, losses.base, losses.hasData(0, 3)], [true, 40, false]);
});

test.run();
