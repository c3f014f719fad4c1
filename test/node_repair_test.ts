/** Which ranges are compared, and what one that cannot be compared does to the others. */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { SimDisk } from "../sim/disk.ts";
import { SimRandom } from "../sim/random.ts";
import { silentReport } from "../src/capability.ts";
import { RepairRounds } from "../src/node_repair.ts";
import { Ring } from "../src/ring.ts";
import { Standings } from "../src/standing.ts";
import { Store } from "../src/store.ts";
import { MemoryTableDisk } from "../src/table_memory.ts";
import { genesisOf } from "../src/topology_steps.ts";
import { smallSettings } from "./store_harness.ts";

const test = suite("node repair");
const partitions = 4;
const clusterId = "c".repeat(32);
const [own, other] = ["1", "2"].map((digit) => ({
  nodeId: digit.repeat(32),
  storeId: digit.repeat(31).padStart(32, "a"),
  name: `n${digit}`,
})) as [MemberIds, MemberIds];

interface MemberIds {
  readonly nodeId: string;
  readonly storeId: string;
  readonly name: string;
}

async function openStore(clock: SimClock): Promise<Store> {
  return Store.open({
    clock,
    random: new SimRandom(1),
    disk: new SimDisk(),
    report: silentReport,
    table: await new MemoryTableDisk().open(),
    ring: new Ring(clusterId, partitions),
    settings: smallSettings,
    owner: {
      storeId: own.storeId,
      clusterId,
      storeIdBytes: new Uint8Array(16).fill(1),
      origin: 1n,
      sequence: 0,
      needsLog: false,
      renewOrigin: async () => 1n,
      trusted: async () => {},
    },
  });
}

const from = {
  nodeId: other.nodeId,
  storeId: other.storeId,
  boot: 1,
  epoch: 1,
  syncedSequence: 0,
  clockHlc: 0n,
  counts: true,
} as never;

test("D3: a partition that another node cannot compare keeps only itself from counting", async () => {
  const clock = new SimClock();
  const store = await openStore(clock);
  const topology = genesisOf([own, other], { expect: 2, partitions });
  const standings = new Standings({
    openedSequence: 0,
    wasCut: true,
    partitions,
    othersOf: () => [other.nodeId],
    isDown: () => false,
  });
  standings.tell(other.nodeId, 0);
  let damaged: number | undefined = 0;
  const rounds = new RepairRounds({
    clock,
    report: silentReport,
    store,
    standings,
    topology: () => topology,
    ownNodeId: own.nodeId,
    peers: {
      request: async (_, request) => {
        const partition = request.kind === "scan" ? request.partition : undefined;
        if (partition === damaged) {
          return { kind: "refused", reason: "corruption", detail: "it has lost records", from };
        }
        return { kind: "page", entries: [], more: false, last: undefined, from };
      },
    },
    isUp: () => true,
  });
  rounds.begin();
  await clock.advance(1000);
  const seen = Array.from({ length: partitions }, (_, partition) => standings.of(partition));
  assert.equal(seen, ["told", "whole", "whole", "whole"]);
  assert.not(rounds.isWhole());
  damaged = undefined;
  await clock.advance(1000);
  assert.ok(rounds.isWhole(), "it is tried again");
  await rounds.close();
  await store.close();
});

/** Rounds of a node whose log was whole, and the partitions that were walked with the other node. */
async function markedRounds(answer: () => Promise<void> = async () => {}) {
  const clock = new SimClock();
  const store = await openStore(clock);
  const topology = genesisOf([own, other], { expect: 2, partitions });
  const walked: number[] = [];
  const rounds = new RepairRounds({
    ...{ clock, report: silentReport, store, topology: () => topology, ownNodeId: own.nodeId },
    standings: new Standings({
      ...{ openedSequence: 0, wasCut: false, partitions, othersOf: () => [other.nodeId] },
      isDown: () => false,
    }),
    peers: {
      request: async (_, request) => {
        if (request.kind === "scan") walked.push(request.partition);
        await answer();
        return { kind: "page", entries: [], more: false, last: undefined, from };
      },
    },
    isUp: (nodeId) => nodeId === other.nodeId,
  });
  rounds.begin();
  return { clock, store, rounds, walked };
}

test("H2: a partition of which this node itself has missed a write is compared with the others, once", async () => {
  const { clock, store, rounds, walked } = await markedRounds();
  await clock.advance(1000);
  assert.equal(walked, []);
  rounds.mark(2, 3, own.storeId);
  await clock.advance(2000);
  assert.equal(walked, [2]);
  await rounds.close();
  await store.close();
});

test("H2: what is missed while its partition is compared is compared once more", async () => {
  let release = (): void => {};
  let isHeld = true;
  const { clock, store, rounds, walked } = await markedRounds(async () => {
    if (!isHeld) return;
    await new Promise<void>((resolve) => {
      release = resolve;
    });
  });
  rounds.mark(2, 3, other.storeId);
  await clock.advance(1000);
  assert.equal(walked, [2]);
  rounds.mark(2, 3, other.storeId);
  isHeld = false;
  release();
  await clock.advance(2000);
  assert.equal(walked, [2, 2]);
  await rounds.close();
  await store.close();
});

test.run();
