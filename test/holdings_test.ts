/** What is held under which join, durably. */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimDisk } from "../sim/disk.ts";
import { Holdings } from "../src/holdings.ts";
import { Slots } from "../src/slots.ts";
import { rejectsSlug } from "./samples.ts";

const test = suite("holdings");
const seven = { partition: 7, n: 3, join: 31 };

test("T6: up to the first document everything is held; of a newer join only what was kept", async () => {
  const holdings = await Holdings.open(new SimDisk(), 12);
  assert.is(holdings.isKept({ ...seven, join: 12 }), true);
  assert.is(holdings.isKept({ ...seven, join: 1 }), true);
  assert.is(holdings.isKept(seven), false);
  await holdings.keep([seven]);
  assert.is(holdings.isKept(seven), true);
  for (const other of [
    { ...seven, n: 2 },
    { ...seven, partition: 8 },
    { ...seven, join: 30 },
    { ...seven, join: 32 },
  ]) {
    assert.is(holdings.isKept(other), false, JSON.stringify(other));
  }
});

test("T5: what was kept and filled is so after a power loss, and the first document stays the first", async () => {
  const disk = new SimDisk();
  const first = await Holdings.open(disk, 12);
  await Promise.all([first.keep([seven, { ...seven, n: 1 }]), first.fill([seven])]);
  const again = await Holdings.open(disk.crash("durable"), 40);
  assert.equal([again.isKept(seven), again.isFilled(seven)], [true, true]);
  assert.equal(
    [again.isKept({ ...seven, n: 1 }), again.isFilled({ ...seven, n: 1 })],
    [true, false],
  );
  assert.is(again.isKept({ ...seven, join: 35 }), false);
  assert.is(again.isFilled({ ...seven, join: 35 }), false);
});

test("a later join takes the place of the one before", async () => {
  const holdings = await Holdings.open(new SimDisk(), 1);
  await holdings.keep([seven]);
  await holdings.keep([{ ...seven, join: 50 }]);
  assert.is(holdings.isKept(seven), false);
  assert.is(holdings.isKept({ ...seven, join: 50 }), true);
});

test("T6: an older join that is kept late does not take the place of a newer one, whose data it would make none", async () => {
  const holdings = await Holdings.open(new SimDisk(), 1);
  const newer = { ...seven, join: 50 };
  await Promise.all([holdings.keep([newer]), holdings.fill([newer])]);
  await Promise.all([holdings.keep([seven]), holdings.fill([seven])]);
  assert.equal([holdings.isKept(newer), holdings.isFilled(newer)], [true, true]);
  assert.equal([holdings.isKept(seven), holdings.isFilled(seven)], [false, false]);
});

test("what cannot be read is refused, and not taken for nothing", async () => {
  for (const wrong of [{ format: 2 }, { format: 1, since: 1, kept: [[7, [1]]], filled: [] }]) {
    const disk = new SimDisk();
    await (await Slots.open(disk, "holdings")).write(wrong);
    await rejectsSlug("wrong-data-folder", Holdings.open(disk, 1));
  }
});

test.run();
