/**
 * A folder that an older version has written: it is read, and what is written next is of this version.
 *
 * The older folder is made from one of this version: the summaries in its table are put back into
 * the bytes of format 1.
 */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { utf8Bytes } from "../src/bytes.ts";
import { digestOf } from "../src/digest.ts";
import { crc32 } from "../src/hash.ts";
import { Ring } from "../src/ring.ts";
import { tableKey } from "../src/store_entry.ts";
import { decodePartitionMeta, partitionMetaKey } from "../src/store_meta.ts";
import { newWorld, openIn, read, requestId, smallSettings, type World } from "./store_harness.ts";
import { encodeUnsplit } from "./summary_format1.ts";

const test = suite("store_upgrade");
const partitions = smallSettings.partitions as number;
const names = Array.from({ length: 40 }, (_, number) => `k${number}`);

/** A folder with two namespaces of another n each, closed, with its summaries in format 1. */
async function older(): Promise<{
  readonly world: World;
  readonly clusterId: string;
  readonly before: readonly bigint[];
}> {
  const world = newWorld({ seed: 5 });
  const node = await openIn(world);
  await node.putNamespace("single", { n: 1 });
  for (const name of names) {
    for (const namespace of ["default", "single"]) {
      const value = utf8Bytes(`value of ${name}`);
      const common = { namespace, requestId, key: utf8Bytes(name) };
      await node.put({ ...common, value, contentType: "text/plain", meta: [] });
    }
  }
  await node.delete({ namespace: "default", requestId, key: utf8Bytes("k3") });
  const { clusterId } = await node.info();
  await node.close();
  const before = await digests(world);
  const table = await world.table.open();
  for (let partition = 0; partition < partitions; partition += 1) {
    const key = partitionMetaKey(partition);
    const bytes = table.get(key);
    if (bytes === undefined) continue;
    await table.commit([{ key, value: toFormat1(bytes.slice()) }]);
  }
  await table.flushed();
  await table.close();
  return { world, clusterId, before };
}

function toFormat1(bytes: Uint8Array): Uint8Array {
  const meta = decodePartitionMeta(bytes);
  assert.ok(meta);
  const summary = encodeUnsplit(meta.summary);
  const older = new Uint8Array(12 + summary.length);
  older.set(bytes.subarray(0, 12));
  older.set(summary, 12);
  new DataView(older.buffer).setUint32(0, crc32(older.subarray(4, 16)));
  assert.not(decodePartitionMeta(older)?.summary.isSplit);
  return older;
}

/** By partition and n: what the table says. */
async function digests(world: World): Promise<readonly bigint[]> {
  const table = await world.table.open();
  const found = Array.from({ length: partitions }, (_, partition) => {
    const bytes = table.get(partitionMetaKey(partition))?.slice();
    const meta = bytes === undefined ? undefined : decodePartitionMeta(bytes);
    assert.ok(meta?.summary.isSplit, `partition ${partition} is of this version's format`);
    return [0, 1, 3].map((n) => digestOf(meta.summary, n).total);
  });
  await table.close();
  return found.flat();
}

test("sums of format 1 are counted again, parted by n, as if they had been so from the beginning", async () => {
  const { world, before } = await older();
  const node = await openIn(world);
  for (const namespace of ["default", "single"]) {
    const { keys } = await node.count({ namespace, requestId });
    assert.is(keys, namespace === "default" ? names.length - 1 : names.length);
  }
  assert.equal((await node.info()).damagedPartitions, []);
  assert.equal(await read(node, "k7"), utf8Bytes("value of k7"));
  await node.close();
  assert.equal(await digests(world), before);
  assert.ok(new Set(before).size > partitions, "the namespaces are apart");
});

test("what was lost of a folder of format 1 is found when its sums are counted again", async () => {
  const { world, clusterId } = await older();
  const { partition } = new Ring(clusterId, partitions).place(0, utf8Bytes("k7"));
  const table = await world.table.open();
  await table.commit([{ key: tableKey(partition, 0, utf8Bytes("k7")), value: undefined }]);
  await table.flushed();
  await table.close();
  const node = await openIn(world);
  assert.equal((await node.info()).damagedPartitions, [partition]);
  await node.close();
});

test.run();
