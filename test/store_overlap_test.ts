/**
 * A process that lost its folder while it stood still: what it had on its way reaches the log all the same, after
 * the next process has begun a segment of its own and given the same sequences to other writes.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { SimDisk } from "../sim/disk.ts";
import { SimRandom } from "../sim/random.ts";
import { utf8Bytes } from "../src/bytes.ts";
import { silentReport } from "../src/capability.ts";
import type { Hlc } from "../src/hlc.ts";
import { Ring } from "../src/ring.ts";
import { Store } from "../src/store.ts";
import { MemoryTableDisk } from "../src/table_memory.ts";
import { smallSettings } from "./store_harness.ts";

const test = suite("store overlap");
const storeId = "0".repeat(32);
/** So large that neither of the two makes another one ready. */
const settings = { ...smallSettings, segmentBytes: 4 * 1024 * 1024 };

async function open(disk: SimDisk, table: MemoryTableDisk): Promise<Store> {
  return Store.open({
    ...{ clock: new SimClock(), disk, random: new SimRandom(1), report: silentReport },
    ...{ table: await table.open(), ring: new Ring(storeId, 4), settings },
    owner: {
      ...{ storeId, clusterId: storeId, storeIdBytes: new Uint8Array(16).fill(1), origin: 1n },
      ...{ sequence: 0, needsLog: false, renewOrigin: async () => 1n, trusted: async () => {} },
    },
  });
}

async function write(store: Store, name: string, stamp: number): Promise<void> {
  await store.write({
    ...{ namespaceNumber: 1, key: utf8Bytes(name), durability: "fsync" },
    record: {
      version: { hlc: BigInt(stamp) as Hlc, origin: 1n },
      ...{ tombstone: false, contentType: "text/plain", meta: [], value: utf8Bytes(name) },
    },
  });
}

async function namesIn(store: Store, names: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  for (const name of names) {
    if ((await store.get(1, utf8Bytes(name), "fsync")) !== undefined) found.push(name);
  }
  return found;
}

test("P1: what comes late of a process before does not stand for what was acknowledged since", async () => {
  const disk = new SimDisk();
  const table = new MemoryTableDisk();
  const first = await open(disk, table);
  await write(first, "a", 1);
  const secondTable = new MemoryTableDisk({}, table.image);
  const second = await open(disk, secondTable);
  await write(first, "late", 2);
  await write(first, "later", 3);
  for (const [at, name] of ["b", "c", "d"].entries()) await write(second, name, 10 + at);
  const third = await open(disk.kill(), new MemoryTableDisk({}, secondTable.image));
  assert.equal(await namesIn(third, ["a", "b", "c", "d"]), ["a", "b", "c", "d"]);
  await third.close();
});

test.run();
