/** What a store keeps for its node is as durable when the clock was set back as at any other time. */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { SimDisk } from "../sim/disk.ts";
import { hlcAt } from "../src/hlc.ts";
import { markVote } from "../src/node_vote.ts";
import { NodeWatermarks } from "../src/node_watermarks.ts";
import { MemoryTableDisk } from "../src/table_memory.ts";
import { openStore } from "./repair_harness.ts";

const test = suite("store own");
const hourMs = 3_600_000;

test("G2: a promise and a watermark are there after a start, though the clock was set back before them", async () => {
  const clock = new SimClock();
  const world = { disk: new SimDisk(), table: new MemoryTableDisk() };
  const nowMs = clock.nowMs();
  let store = await openStore(clock, 1, world);
  let fences = new NodeWatermarks(store);
  // This clock alone is ahead: T is the lowest of all.
  clock.setNowMs(nowMs + hourMs);
  await fences.adopt(3, 3, hlcAt(nowMs - 2000));
  clock.setNowMs(nowMs + 1000);
  await fences.promise(3, 3, hlcAt(nowMs - 1000));
  await fences.adopt(3, 3, hlcAt(nowMs - 1500));
  await fences.promise(2, 3, hlcAt(nowMs - 1000));
  const kept = [fences.kept(3, 3), fences.kept(2, 3)];
  await store.close();
  store = await openStore(clock, 1, world);
  fences = new NodeWatermarks(store);
  assert.equal([fences.of(3, 3), fences.of(2, 3)], kept);
  assert.equal(fences.of(3, 3), { promise: hlcAt(nowMs - 1000), watermark: hlcAt(nowMs - 1500) });
  await store.close();
});

test("I3: each vote raises the sequence, though the clock was set back since the one before", async () => {
  const clock = new SimClock();
  const store = await openStore(clock);
  const nowMs = clock.nowMs();
  clock.setNowMs(nowMs + hourMs);
  await markVote(store);
  clock.setNowMs(nowMs);
  for (let votes = 0; votes < 3; votes += 1) {
    const before = store.syncedSequence;
    await markVote(store);
    assert.ok(store.syncedSequence > before);
  }
  await store.close();
});

test.run();
