/** Checkpoints that cannot be written: what a store does that is no longer able to. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { silentReport } from "../src/capability.ts";
import type { Hlc } from "../src/hlc.ts";
import { Ring } from "../src/ring.ts";
import { Checkpointer } from "../src/store_checkpointer.ts";
import { StoreIndex } from "../src/store_index.ts";
import { tableFormat } from "../src/store_meta.ts";
import { MemoryTableDisk, type TableFault } from "../src/table_memory.ts";

const test = suite("store_checkpointer");
const clusterId = "00".repeat(16);

interface Stand {
  readonly clock: SimClock;
  readonly checkpoints: Checkpointer;
  readonly index: StoreIndex;
  readonly failures: unknown[];
}

async function stand(fault?: TableFault): Promise<Stand> {
  const clock = new SimClock();
  const disk = new MemoryTableDisk();
  const table = await disk.open();
  if (fault !== undefined) disk.failCommit(1, fault);
  const index = new StoreIndex(new Ring(clusterId, 1), table);
  const failures: unknown[] = [];
  const wal = {
    lastSequence: 0,
    fullSegmentCount: 0,
    whenSynced: async () => {},
    release: () => {},
  };
  const checkpoints = new Checkpointer({
    ...{ clock, report: silentReport, table, index, wal, memtableBytesMax: 1024 },
    metaAt: (sequence) => ({
      ...{ format: tableFormat, storeId: clusterId, clusterId, sequence },
      ...{ ceiling: 0n as Hlc, damaged: [], healed: [], written: [] },
    }),
    onFailure: (error) => {
      failures.push(error);
      checkpoints.stop();
    },
  });
  return { clock, checkpoints, index, failures };
}

test("damage that is found after a checkpoint has failed is marked, and begins no other checkpoint", async () => {
  const { checkpoints, index, failures } = await stand({ code: "EIO", leaves: "nothing" });
  checkpoints.mark();
  await checkpoints.makeRoom();
  assert.is(failures.length, 1);
  assert.ok(index.frozen !== undefined, "what it should have written is still frozen");
  checkpoints.mark();
  await checkpoints.makeRoom();
  assert.is(failures.length, 1);
});

test("what is marked while the log is being closed begins no checkpoint", async () => {
  const { checkpoints, index } = await stand();
  checkpoints.stop();
  await checkpoints.end();
  checkpoints.mark();
  assert.is(index.frozen, undefined, "nothing was frozen, so nothing is written");
});

/** Begins a checkpoint as soon as whoever is called now has to wait for anything. */
function writeAtOnce({ checkpoints }: Stand): void {
  void Promise.resolve().then(() => checkpoints.makeRoom());
}

test("a write that waits for room begins no checkpoint after the last", async () => {
  const here = await stand();
  here.checkpoints.stop();
  writeAtOnce(here);
  await here.checkpoints.end();
  assert.is(here.index.frozen, undefined, "the table may be closed");
});

test.run();
