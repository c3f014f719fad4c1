/**
 * A loss that was accepted stays accepted: no scrub, read, list or later start finds it again.
 *
 * What is lost: a record's bytes, a record as a whole, the summary that counts them, or a part of the
 * log or the table. Each is met on a whole node that is opened with `acceptDataLoss`, and then
 * without it.
 */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { utf8Bytes } from "../src/bytes.ts";
import type { QuorateNode } from "../src/node.ts";
import { Ring } from "../src/ring.ts";
import { tableKey } from "../src/store_entry.ts";
import { partitionMetaKey } from "../src/store_meta.ts";
import { rejectsSlug } from "./samples.ts";
import { newWorld, openIn, read, requestId, type World } from "./store_harness.ts";

const test = suite("store_loss");
const common = { namespace: "default", requestId };

async function put(node: QuorateNode, key: string, value: string): Promise<void> {
  const bytes = utf8Bytes(value);
  await node.put({
    ...common,
    key: utf8Bytes(key),
    value: bytes,
    contentType: "text/plain",
    meta: [],
  });
}

async function keysOf(node: QuorateNode): Promise<string[]> {
  const { items } = await node.list({ ...common, limit: 1000 });
  return items.map(({ key }) => Buffer.from(key).toString());
}

const names = Array.from({ length: 30 }, (_, number) => `k${number}`).sort();

/** A folder in order, whose table holds all of `names`, and the ring that they lie in. */
async function filled(): Promise<{ readonly world: World; readonly ring: Ring }> {
  const world = newWorld({ seed: 4 });
  const node = await openIn(world);
  for (const name of names) await put(node, name, `value of ${name}`);
  const { clusterId, partitions } = await node.info();
  await node.close();
  return { world, ring: new Ring(clusterId, partitions) };
}

type Loss = "flipped" | "vanished" | "summary";

/** Changes the table behind the node's back. */
async function lose(world: World, ring: Ring, loss: Loss): Promise<void> {
  const { partition } = ring.place(0, utf8Bytes("k7"));
  const ofRecord = tableKey(partition, 0, utf8Bytes("k7"));
  const key = loss === "summary" ? partitionMetaKey(partition) : ofRecord;
  const table = await world.table.open();
  const bytes = table.get(key)?.slice() as Uint8Array;
  bytes[bytes.length - 1] = (bytes[bytes.length - 1] as number) ^ 1;
  await table.commit([{ key, value: loss === "vanished" ? undefined : bytes }]);
  await table.flushed();
  await table.close();
}

test("acceptDataLoss is final: no later scrub, read or start does find the same loss again", async () => {
  for (const loss of ["flipped", "vanished", "summary"] as const) {
    const { world, ring } = await filled();
    await lose(world, ring, loss);
    const scrubbed = await openIn(world, { scrubBytesPerSecond: 100_000 });
    await world.clock.advance(30_000);
    assert.is((await scrubbed.info()).damagedPartitions.length, 1, `${loss} was found`);
    await scrubbed.close();
    const left = names.filter((name) => loss === "summary" || name !== "k7");
    for (const acceptDataLoss of [true, false]) {
      const what = `${loss}, ${acceptDataLoss ? "accepted" : "at the start after that"}`;
      const node = await openIn(world, { acceptDataLoss, scrubBytesPerSecond: 100_000 });
      await world.clock.advance(30_000);
      assert.is((await read(node, "k7")) !== undefined, loss === "summary", what);
      assert.equal((await node.info()).damagedPartitions, [], what);
      assert.equal(await keysOf(node), left, what);
      assert.is((await node.count(common)).keys, left.length, what);
      await put(node, "k7", "again");
      assert.is(Buffer.from((await read(node, "k7")) as Uint8Array).toString(), "again", what);
      await node.delete({ ...common, key: utf8Bytes("k7") });
      if (loss === "summary") await put(node, "k7", "value of k7");
      await node.close();
    }
  }
});

test("acceptDataLoss is final: a kill right after the start does not bring the refusal back", async () => {
  const world = newWorld({ seed: 5 });
  const node = await openIn(world);
  // So many that the log's first segments are not needed any more.
  for (let round = 0; round < 12; round += 1) {
    for (const name of names) await put(node, name, `value ${round} of ${name}`.padEnd(400));
  }
  const withoutTable = newWorld({ seed: 6, nowMs: world.clock.nowMs(), disk: world.disk.kill() });
  await rejectsSlug("corruption", openIn(withoutTable));
  const accepted = await openIn(withoutTable, {
    acceptDataLoss: true,
    memtableBytesMax: 1024 * 1024,
  });
  const keys = await keysOf(accepted);
  withoutTable.table.kill();
  const after = newWorld({
    seed: 7,
    nowMs: world.clock.nowMs() + 1000,
    disk: withoutTable.disk.kill(),
    image: withoutTable.table.image,
  });
  const next = await openIn(after);
  assert.equal(await keysOf(next), keys);
  await next.close();
});

test.run();
