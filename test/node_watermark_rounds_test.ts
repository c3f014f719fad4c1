/** Which partition's watermark is raised next, and which is looked through for what it allows to be dropped. */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { utf8Bytes } from "../src/bytes.ts";
import { silentReport } from "../src/capability.ts";
import { QuorateError } from "../src/errors.ts";
import { hlcAt } from "../src/hlc.ts";
import { WatermarkRounds } from "../src/node_watermark_rounds.ts";
import { NodeWatermarks } from "../src/node_watermarks.ts";
import { genesisOf } from "../src/topology_steps.ts";
import { openStore, partitions } from "./repair_harness.ts";

const test = suite("node watermark rounds");
const self = { nodeId: "1".repeat(32), storeId: "1".repeat(31).padStart(32, "a"), name: "n1" };

/** A node that is alone, with deletes in each partition. */
async function stand(deletedMs = 0, spend = async (): Promise<void> => {}) {
  const clock = new SimClock();
  const store = await openStore(clock);
  const state = { topology: genesisOf([self], { expect: 1, partitions }) };
  const fences = new NodeWatermarks(store);
  for (let index = 0; index < 40; index += 1) {
    const version = { hlc: hlcAt(clock.nowMs() + deletedMs), origin: 1n };
    const record = { version, tombstone: true, contentType: "", meta: [], value: utf8Bytes("") };
    const key = Uint8Array.of(index);
    await store.write({ namespaceNumber: 0, key, record, durability: "fsync" });
  }
  const rounds = new WatermarkRounds({
    ...{ clock, report: silentReport, store, fences, topology: () => state.topology, self },
    counts: () => true,
    peers: { request: () => Promise.reject(new Error("It is alone.")) },
    isUp: () => false,
    clearedAt: () => 0,
    compare: async () => true,
    spend,
    limits: { periodMs: 1000, lagMs: 0 },
  });
  const close = async (): Promise<void> => {
    const closing = rounds.close();
    await clock.advance(5000);
    await closing;
    await store.close();
  };
  return { clock, store, fences, state, rounds, close };
}

for (const isChanging of [false, true]) {
  const when = isChanging ? ", the topology changes all the time, and somebody looks" : "";
  test(`P4: where looking through the partitions takes longer than the period${when}, each has its turn`, async () => {
    // Of a clock that is far ahead: something waits in every partition, whatever is dropped.
    const aheadMs = 24 * 3_600_000;
    // A piece of a partition, and half of the period is gone.
    const spend = () => new Promise<void>((resolve) => void clock.after(600, resolve));
    const { clock, fences, state, rounds, close } = await stand(aheadMs, spend);
    for (let step = 0; step < 300; step += 1) {
      const { topology } = state;
      if (isChanging) state.topology = { ...topology, epoch: topology.epoch + 1 };
      rounds.tick();
      rounds.status();
      await clock.advance(50);
    }
    const watermarks = [0, 1, 2, 3].map((partition) => fences.of(partition, 3).watermark);
    assert.ok(
      watermarks.every((one) => one > hlcAt(clock.nowMs() - 10_000)),
      watermarks.join(),
    );
    await close();
  });
}

test("P4: a partition that cannot be read holds up no other", async () => {
  const { clock, store, rounds, fences, close } = await stand();
  const { scan } = store;
  store.scan = (partition, ...rest) => {
    if (partition === 0) throw new QuorateError("corruption", "A page is damaged.");
    return scan.call(store, partition, ...rest);
  };
  for (let step = 0; step < 300; step += 1) {
    rounds.tick();
    await clock.advance(50);
  }
  const left = [0, 1, 2, 3].map((partition) => store.droppable(partition, 3).deleted > 0);
  assert.equal(left, [true, false, false, false]);
  assert.ok(fences.of(3, 3).watermark > 0n);
  await close();
});

test.run();
