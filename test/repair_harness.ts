/**
 * RepairHarness: a store in memory for comparisons. Its namespaces 0 and 2 have n = 3, 1 has n = 1.
 *
 * @module
 */

import type { SimClock } from "../sim/clock.ts";
import { SimDisk } from "../sim/disk.ts";
import { SimRandom } from "../sim/random.ts";
import { silentReport } from "../src/capability.ts";
import { Ring } from "../src/ring.ts";
import { Store } from "../src/store.ts";
import { MemoryTableDisk } from "../src/table_memory.ts";
import { smallSettings } from "./store_harness.ts";

export const partitions = 4;
const clusterId = "c".repeat(32);

/** `number` tells one store of a cluster from another; with the same `world` it is opened again. */
export async function openStore(
  clock: SimClock,
  number = 1,
  world = { disk: new SimDisk(), table: new MemoryTableDisk() },
): Promise<Store> {
  return Store.open({
    clock,
    random: new SimRandom(number),
    disk: world.disk,
    report: silentReport,
    table: await world.table.open(),
    ring: new Ring(clusterId, partitions),
    nOf: (namespaceNumber) => (namespaceNumber === 1 ? 1 : 3),
    settings: smallSettings,
    owner: {
      storeId: `${number}`.repeat(31).padStart(32, "a"),
      clusterId,
      storeIdBytes: new Uint8Array(16).fill(number),
      origin: 1n,
      sequence: 0,
      needsLog: false,
      renewOrigin: async () => 1n,
      trusted: async () => {},
    },
  });
}
