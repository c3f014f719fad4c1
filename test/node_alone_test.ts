/** A node that is alone forgets deletes and what has been over, and nothing else. */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { utf8Bytes } from "../src/bytes.ts";
import { type Report, silentReport } from "../src/capability.ts";
import { hlcWallMs } from "../src/hlc.ts";
import { openNode } from "../src/node.ts";
import { compareVersions } from "../src/version.ts";
import { common, get, keysOf, put, remove } from "./node_harness.ts";
import { newWorld, openIn, smallSettings } from "./store_harness.ts";

const test = suite("node alone");

test("G5: a delete goes, and what has been over; what lives stays, and may come again", async () => {
  const world = newWorld();
  let dropped = 0;
  const report: Report = {
    ...silentReport,
    count: (name, by = 1) => {
      if (name === "tombstones_dropped") dropped += by;
    },
  };
  const { clock, random, disk, table } = world;
  const node = await openNode({
    ...{ clock, random, disk, report, settings: smallSettings },
    openTable: () => table.open(),
  });
  await put(node, "lives", "1");
  await put(node, "lives for long", "1", { ttlSeconds: 30 * 86_400 });
  await put(node, "goes", "1");
  await put(node, "is over", "1", { ttlSeconds: 5 });
  await remove(node, "goes");
  const pass = async (seconds: number): Promise<void> => {
    for (let step = 0; step < seconds / 30; step += 1) {
      await clock.advance(30_000);
      for (let turn = 0; turn < 50; turn += 1) await undefined;
    }
  };
  // The watermark stays a minute behind the clock: nothing is dropped by the clock alone.
  await pass(30);
  assert.is(dropped, 0);
  await pass(3 * 3600);
  assert.is(dropped, 2);
  assert.equal(await keysOf(node), ["lives", "lives for long"]);
  await put(node, "goes", "2");
  assert.is(await get(node, "goes"), "2");
  await node.close();
  const again = await openIn(world);
  assert.equal(await keysOf(again), ["goes", "lives", "lives for long"]);
  await again.close();
});

test("G2: a write after the clock was set back is above a delete that is gone, also after a start", async () => {
  const world = newWorld();
  let node = await openIn(world);
  await put(node, "k", "1");
  const { version: deleted } = await remove(node, "k");
  for (let step = 0; step < 200; step += 1) {
    await world.clock.advance(60_000);
    for (let turn = 0; turn < 50; turn += 1) await undefined;
  }
  assert.is(
    (await node.explain({ ...common, key: utf8Bytes("k") })).replicas[0]?.status,
    "nothing",
  );
  for (const isAgain of [false, true]) {
    if (isAgain) {
      await node.close();
      node = await openIn(world);
    }
    world.clock.setNowMs(hlcWallMs(deleted.hlc) - 3_600_000);
    const { version } = await put(node, "k", "2");
    assert.is(compareVersions(version, deleted), 1);
    assert.is(await get(node, "k"), "2");
    await remove(node, "k");
  }
  await node.close();
});

test.run();
