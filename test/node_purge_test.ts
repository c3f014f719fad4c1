/**
 * What is left of deleted namespaces: their records go at every member, their numbers when all have told so,
 * and what comes late for one of them is not taken.
 */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { SimDisk } from "../sim/disk.ts";
import { SimRandom } from "../sim/random.ts";
import { utf8Bytes } from "../src/bytes.ts";
import { silentReport } from "../src/capability.ts";
import { Cluster } from "../src/cluster.ts";
import type { Hlc } from "../src/hlc.ts";
import { NodePurge } from "../src/node_purge.ts";
import { Ring } from "../src/ring.ts";
import type { EncodedWrite } from "../src/store.ts";
import { Store } from "../src/store.ts";
import { MemoryTableDisk } from "../src/table_memory.ts";
import { droppedMax, type Topology } from "../src/topology.ts";
import { withMove } from "../src/topology_move.ts";
import { withNamespace, withoutDropped, withoutNamespace } from "../src/topology_namespaces.ts";
import { genesis, genesisOf } from "../src/topology_steps.ts";
import { openStore, partitions } from "./repair_harness.ts";
import { rejectsSlug } from "./samples.ts";
import { smallSettings } from "./store_harness.ts";
import { Town } from "./town.ts";

const test = suite("node purge");

async function epochOf(town: Town, index: number): Promise<number> {
  return (await town.done(town.at(index).info())).epoch;
}

async function keysOf(town: Town, index: number): Promise<number> {
  return (await town.done(town.at(index).info())).keys;
}

test("T8: the number of a deleted namespace leaves the topology when every member has told that its records are gone", async () => {
  const town = new Town(3);
  await town.startAll();
  await town.done(town.at(0).putNamespace("a", {}));
  for (let key = 0; key < 20; key += 1) await town.put(0, `k${key}`, "v", { namespace: "a" });
  await town.pass(40_000);
  const before = await epochOf(town, 0);
  town.kill(2);
  await town.done(town.at(0).deleteNamespace("a"));
  await town.pass(90_000);
  assert.is(await epochOf(town, 0), before + 1, "one that is away has told nothing");
  await town.start(2, undefined);
  await town.until(() => town.isReady(2));
  await town.pass(90_000);
  for (const index of [0, 1, 2]) {
    assert.is(await epochOf(town, index), before + 2);
    assert.is(await keysOf(town, index), 0);
  }
  await town.done(town.at(1).putNamespace("a", {}));
  await town.put(1, "k1", "new", { namespace: "a" });
  assert.is(await town.get(2, "k2", { namespace: "a" }), undefined);
  assert.is(await town.get(2, "k1", { namespace: "a" }), "new");
  await town.close();
});

test("T8: a write that comes when its namespace is deleted, and its records are gone, is not taken", async () => {
  const town = new Town(3);
  await town.startAll();
  await town.done(town.at(0).putNamespace("a", {}));
  await town.put(0, "k", "v", { namespace: "a" });
  let letGo: () => void = () => {};
  const late = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  const { writeEncoded } = Store.prototype;
  let held = 0;
  Store.prototype.writeEncoded = async function held3(write: EncodedWrite) {
    if (write.namespaceNumber === 1) {
      held += 1;
      await late;
    }
    return writeEncoded.call(this, write);
  };
  try {
    const put = town.put(1, "late", "v", { namespace: "a", timeoutMs: 3000 }).catch(() => "failed");
    await town.until(() => held === 3);
    await town.done(town.at(0).deleteNamespace("a"));
    await town.pass(5000);
    letGo();
    assert.is(await put, "failed");
    await town.pass(90_000);
  } finally {
    Store.prototype.writeEncoded = writeEncoded;
  }
  for (const index of [0, 1, 2]) assert.is(await keysOf(town, index), 0, `node ${index + 1}`);
  await town.close();
});

test("T8: what a copy of an older folder brings back of a namespace whose number is gone is removed", async () => {
  const [clusterId, nodeId, storeId] = ["c", "a", "b"].map((digit) => digit.repeat(32)) as [
    string,
    string,
    string,
  ];
  const clock = new SimClock();
  const made = withNamespace(genesis(clusterId, 4, { nodeId, storeId, name: "n1" }), "a", {});
  let present = made as Topology;
  const store = await Store.open({
    ...{ clock, disk: new SimDisk(), report: silentReport, random: new SimRandom(1) },
    ...{ ring: new Ring(clusterId, 4), settings: smallSettings },
    table: await new MemoryTableDisk().open(),
    isDeleted: (number) => number === 1 && present !== made,
    owner: {
      ...{ storeId, clusterId, storeIdBytes: new Uint8Array(16).fill(1) },
      ...{ origin: 1n, sequence: 0, needsLog: false, isOnlyCopy: false },
      renewOrigin: async () => 1n,
      trusted: async () => {},
    },
  });
  const write = (name: string) =>
    store.write({
      ...{ namespaceNumber: 1, key: utf8Bytes(name), durability: "fsync" },
      record: {
        version: { hlc: 1n as Hlc, origin: 1n },
        ...{ tombstone: false, contentType: "text/plain", meta: [], value: utf8Bytes(name) },
      },
    });
  for (let key = 0; key < 20; key += 1) await write(`k${key}`);
  assert.equal(store.namespaceNumbers(), [1]);
  let proposed = 0;
  const purge = new NodePurge({
    ...{ clock, report: silentReport, store, ownNodeId: nodeId },
    topology: () => present,
    purgedAt: () => 0,
    propose: async () => {
      proposed += 1;
    },
  });
  purge.follow();
  assert.equal(store.namespaceNumbers(), [1], "it is there");
  // It hears at once of a document in which the number is gone already.
  present = withoutDropped(withoutNamespace(present, "a") as Topology, [1]) as Topology;
  purge.follow();
  for (let turn = 0; turn < 50; turn += 1) await clock.advance(100);
  assert.is(store.tally().keys, 0);
  assert.equal(store.namespaceNumbers(), []);
  assert.equal(purge.load, { purged: present.epoch });
  assert.is(proposed, 0, "nothing is left to be taken out");
  await rejectsSlug("namespace-not-found", write("late"));
  await purge.close();
  await store.close();
});

test("T8: a namespace that is deleted while replicas move, and where they were, leaves nothing anywhere", async () => {
  const town = new Town(4);
  await town.startAll();
  await town.done(town.at(0).putNamespace("a", {}));
  for (let key = 0; key < 30; key += 1) {
    await town.put(0, `k${key}`, "v", { namespace: "a", w: "all" });
    await town.put(0, `k${key}`, "v", { w: "all" });
  }
  const { moves } = town.at(0);
  assert.ok(moves !== undefined);
  const { id } = await town.done(moves.plan({ drain: ["n4"] }));
  await town.done(moves.apply(id));
  await town.until(() => (moves.moves().move?.phase ?? 0) >= 1);
  await town.done(town.at(1).deleteNamespace("a"));
  await town.until(() => moves.moves().move === undefined, 120);
  const { epoch } = moves.moves();
  await town.until(() => moves.moves().epoch === epoch + 1, 120);
  const held = await Promise.all([0, 1, 2, 3].map((index) => keysOf(town, index)));
  assert.equal(held, [30, 30, 30, 0]);
  await town.pass(60_000);
  assert.is(moves.moves().epoch, epoch + 1, "nothing else changes");
  await town.close();
});

test("a node that is closed leaves without waiting for what it proposes to be agreed on", async () => {
  const town = new Town(3);
  await town.startAll();
  await town.done(town.at(0).putNamespace("a", {}));
  await town.done(town.at(0).deleteNamespace("a"));
  await town.pass(20_000);
  town.kill(1);
  town.kill(2);
  // The number is to be taken out now, and nobody answers.
  await town.pass(16_000);
  const { leave } = Cluster.prototype;
  let isLeaving = false;
  Cluster.prototype.leave = function told(timeoutMs) {
    isLeaving = true;
    return leave.call(this, timeoutMs);
  };
  try {
    const closing = town.at(0).close();
    await town.pass(1000);
    assert.ok(isLeaving);
    await town.done(closing);
  } finally {
    Cluster.prototype.leave = leave;
  }
});

test("T8: while replicas move no number is taken out, unless half of the room for them is used", async () => {
  const clock = new SimClock();
  const store = await openStore(clock);
  const ids = [1, 2, 3].map((digit) => ({
    ...{ nodeId: `${digit}`.repeat(32), storeId: `${digit}`.padStart(32, "a"), name: `n${digit}` },
  }));
  const founded = genesisOf(ids, { expect: 3, partitions });
  const made = withNamespace(founded, "a", {}) as Topology;
  const still = withoutNamespace(made, "a") as Topology;
  const [first] = ids as [(typeof ids)[number]];
  const sites = [{ nodeId: first.nodeId, zone: "default", weight: 50 }];
  const moving = withMove(still, { join: [], leave: [], replace: [], sites }) as Topology;
  assert.ok(moving.move !== undefined);
  const full = { ...moving, dropped: Array.from({ length: droppedMax / 2 }, (_, at) => at + 1) };
  for (const [present, after] of [
    [still, 1],
    [moving, 0],
    [full, 1],
  ] as const) {
    let proposed = 0;
    const purge = new NodePurge({
      ...{ clock, report: silentReport, store, ownNodeId: present.voters[0] ?? "" },
      topology: () => present,
      purgedAt: () => present.epoch,
      propose: async () => {
        proposed = 1;
      },
    });
    purge.follow();
    for (let turn = 0; turn < 400; turn += 1) await clock.advance(100);
    assert.is(proposed, after);
    await purge.close();
  }
  await store.close();
});

test.run();
