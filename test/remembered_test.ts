/**
 * Remembered: what a node that asks is told of its store, start after start.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { SimDisk } from "../sim/disk.ts";
import { type Life, Remembered } from "../src/remembered.ts";

const test = suite("remembered");

const store = "ab".repeat(16);
const life = (boot: number, start = `start ${boot}`): Life => ({ boot, start });

test("I3: a store is told what was heard before its present start, never what it took since", async () => {
  const remembered = await Remembered.open(new SimDisk(), new SimClock());
  assert.is(remembered.meet(store, life(1)), 0);
  remembered.note(store, life(1), 40);
  assert.is(remembered.meet(store, life(1)), 0);
  assert.is(remembered.meet(store, life(2)), 40);
  remembered.note(store, life(2), 55);
  assert.is(remembered.meet(store, life(2)), 40);
  assert.is(remembered.of(store), 55);
  assert.is(remembered.meet(store, life(3)), 55);
});

test("a start is one start, before and after its boot number was counted", async () => {
  const remembered = await Remembered.open(new SimDisk(), new SimClock());
  remembered.note(store, life(1), 40);
  assert.is(remembered.meet(store, life(1, "b")), 40);
  assert.is(remembered.meet(store, life(2, "b")), 40);
  remembered.note(store, life(1, "b"), 60);
  assert.is(remembered.meet(store, life(2, "b")), 40);
});

test("what an earlier start said and what comes late of it count as before the present one", async () => {
  const remembered = await Remembered.open(new SimDisk(), new SimClock());
  remembered.note(store, life(1), 40);
  remembered.meet(store, life(2));
  remembered.note(store, life(1), 48);
  assert.is(remembered.meet(store, life(2)), 48);
  remembered.meet(store, life(1));
  assert.is(remembered.meet(store, life(2)), 48);
});

test("another start of the same number, as of a copied folder, is told all that was heard", async () => {
  const remembered = await Remembered.open(new SimDisk(), new SimClock());
  remembered.meet(store, life(2, "b"));
  remembered.note(store, life(2, "b"), 70);
  assert.is(remembered.meet(store, life(2, "c")), 70);
});

test("what is remembered, and of which start, outlives the process", async () => {
  const disk = new SimDisk();
  const clock = new SimClock();
  const first = await Remembered.open(disk, clock);
  first.note(store, life(1), 40);
  first.meet(store, life(2));
  first.note(store, life(2), 55);
  await first.close();
  const second = await Remembered.open(disk.crash("durable"), clock);
  assert.is(second.of(store), 55);
  assert.is(second.meet(store, life(2)), 40);
  assert.is(second.meet(store, life(3)), 55);
});

test("I3: what the disk could not keep is kept later, although nothing new is heard of an idle store", async () => {
  const disk = new SimDisk();
  const clock = new SimClock();
  const first = await Remembered.open(disk, clock);
  first.note(store, life(1), 40);
  await clock.advance(2500);
  first.note(store, life(1), 52);
  disk.failNext("file.write", "remembered", { code: "ENOSPC" });
  for (let second = 0; second < 10; second += 1) {
    await clock.advance(1000);
    first.note(store, life(1), 52);
  }
  const second = await Remembered.open(disk.crash("durable"), clock);
  assert.is(second.of(store), 52);
});

test("a close that the disk fails does not try again", async () => {
  const disk = new SimDisk();
  const clock = new SimClock();
  const first = await Remembered.open(disk, clock);
  first.note(store, life(1), 40);
  disk.failNext("file.write", "remembered", { code: "ENOSPC" });
  await first.close();
  assert.is(clock.timerCount, 0);
});

test("a file without starts, of an older version, is all from before", async () => {
  const disk = new SimDisk();
  const { Slots } = await import("../src/slots.ts");
  const slots = await Slots.open(disk, "remembered");
  await slots.write({ sequences: { [store]: 30 } });
  const remembered = await Remembered.open(disk, new SimClock());
  assert.is(remembered.meet(store, life(4)), 30);
});

test("I3: a member's store is remembered, however many others were met that are none any more", async () => {
  const [disk, clock] = [new SimDisk(), new SimClock()];
  const other = (number: number): string => number.toString(16).padStart(32, "0");
  const late = "cd".repeat(16);
  const isMember = (storeId: string): boolean => storeId === store || storeId === late;
  const remembered = await Remembered.open(disk, clock, isMember);
  remembered.note(store, life(1), 40);
  // A node that waits, and is started again and again with an empty folder, is another store each time.
  for (let number = 0; number < 1500; number += 1) remembered.meet(other(number), life(1));
  remembered.meet(late, life(1));
  remembered.note(late, life(1), 70);
  await remembered.close();
  const again = await Remembered.open(disk.crash("durable"), clock, isMember);
  assert.equal([again.meet(store, life(2)), again.meet(late, life(2))], [40, 70]);
});

test.run();
