/**
 * What a store has promised, and the loss of it: a promise lies in another partition than the one that it
 * is about, and who may have forgotten one has no data until it is filled, which takes the watermark first.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { SimDisk } from "../sim/disk.ts";
import { SimRandom } from "../sim/random.ts";
import { silentReport } from "../src/capability.ts";
import type { Hlc } from "../src/hlc.ts";
import { NodeWatermarks, watermarkNamespace } from "../src/node_watermarks.ts";
import { Ring } from "../src/ring.ts";
import { Store } from "../src/store.ts";
import { partitionMetaKey } from "../src/store_meta.ts";
import type { TableChange } from "../src/table.ts";
import { MemoryTableDisk } from "../src/table_memory.ts";
import { smallSettings } from "./store_harness.ts";

const test = suite("node watermarks");
const clusterId = "c".repeat(32);
const ring = new Ring(clusterId, 16);
const stamp = 50n as Hlc;
const sizes = [1, 3];

/** A pair, and the partition in which its promise lies: another one. */
const [partition, n] = [2, 3];
const home = ring.place(watermarkNamespace, Uint8Array.of(0, partition, n)).partition;

function stand() {
  const [disk, table, clock] = [new SimDisk(), new MemoryTableDisk(), new SimClock()];
  const open = async (): Promise<Store> =>
    Store.open({
      ...{ clock, disk, ring, report: silentReport, random: new SimRandom(1) },
      table: await table.open(),
      nOf: () => 3,
      settings: smallSettings,
      owner: {
        ...{ storeId: "a".repeat(32), clusterId, storeIdBytes: new Uint8Array(16).fill(1) },
        ...{ origin: 1n, sequence: 0, needsLog: false, isOnlyCopy: false },
        renewOrigin: async () => 1n,
        trusted: async () => {},
      },
    });
  return { table, open };
}

/** Promises, and closes; then the table is damaged. */
async function after(damage: (key: Uint8Array, value: Uint8Array) => TableChange[]) {
  const { table, open } = stand();
  const store = await open();
  await new NodeWatermarks(store, sizes).promise(partition, n, stamp);
  await store.close();
  const ofHome = partitionMetaKey(home);
  table.damage((entries) =>
    entries
      .filter(({ key }) => key[0] !== 0xff || `${key}` === `${ofHome}`)
      .flatMap(({ key, value }) => damage(key, value)),
  );
  return open;
}

test("the partition of a promise is another one", () => {
  assert.is.not(home, partition);
});

test("I4, G2: where a promise may be lost, its partition has no data for that n", async () => {
  const lost = await after((key) => [{ key, value: undefined }]);
  const spoiled = await after((key, value) =>
    key[0] === 0xff ? [] : [{ key, value: value.map((byte) => byte ^ 1) }],
  );
  for (const open of [lost, spoiled]) {
    const store = await open();
    const fences = new NodeWatermarks(store, sizes);
    assert.is(fences.of(partition, n).promise, 0n);
    assert.ok(store.isDamaged(partition, n));
    assert.not.ok(store.isDamaged(partition, 1), "of one replica there is nobody to promise to");
    const marked = store.damagedPartitions;
    await store.close();
    const again = await open();
    const later = new NodeWatermarks(again, sizes);
    assert.equal(again.damagedPartitions, marked, "it goes no further with every start");
    // It fills: the watermark first, then its records.
    await later.adopt(partition, n, stamp);
    await again.close();
  }
});

test("I4, G2: what is promised is written again where its record was lost while the node ran", async () => {
  const { open } = stand();
  const store = await open();
  const fences = new NodeWatermarks(store, sizes);
  await fences.promise(partition, n, stamp);
  const piece = { prefix: Uint8Array.of(), reverse: false, limit: 10 };
  await store.forget(store.scan(home, watermarkNamespace, piece).items);
  await fences.keepAgain(home);
  await store.close();
  const again = await open();
  assert.is(new NodeWatermarks(again, sizes).of(partition, n).promise, stamp);
  assert.equal(again.damagedPartitions, []);
  await again.close();
});

test.run();
