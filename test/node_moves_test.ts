/** Nodes that come and go while the others hold data: whole nodes, one phase after another. */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { SimDisk } from "../sim/disk.ts";
import type { MovesApi, PlanRequest } from "../src/api.ts";
import { utf8Bytes } from "../src/bytes.ts";
import { silentReport } from "../src/capability.ts";
import { QuorateError } from "../src/errors.ts";
import type { Hlc } from "../src/hlc.ts";
import { Holdings } from "../src/holdings.ts";
import { NodeMoves, type NodeMovesParts } from "../src/node_moves.ts";
import { NodeWatermarks } from "../src/node_watermarks.ts";
import { Store } from "../src/store.ts";
import type { ScanItem } from "../src/store_scan.ts";
import { MemoryTableDisk } from "../src/table_memory.ts";
import { replicasOf, type Topology } from "../src/topology.ts";
import { joins, type MemberNews, whyNotAdvance } from "../src/topology_advance.ts";
import { withMove, withNextPhase } from "../src/topology_move.ts";
import { withNamespace } from "../src/topology_namespaces.ts";
import { genesisOf } from "../src/topology_steps.ts";
import { openStore, partitions } from "./repair_harness.ts";
import { rejectsSlug } from "./samples.ts";
import { type Place, Town } from "./town.ts";

const test = suite("node moves");

test("T3: a node joins a cluster that holds data, under writes, and none of them fails or is lost", async () => {
  const town = new Town(4);
  for (const place of town.places) place.autoJoin = true;
  for (const index of [0, 1, 2]) {
    await town.start(
      index,
      3,
      town.places.slice(0, 3).map(({ address }) => address),
    );
  }
  await town.until(() => [0, 1, 2].every((index) => town.isReady(index)));
  for (let index = 0; index < 40; index += 1) await town.put(index % 3, `k${index}`, "before");
  await town.start(3, undefined);
  const isOver = (): boolean => {
    const { epoch, members } = town.at(0).ring();
    return members.length === 4 && epoch >= 6;
  };
  let written = 0;
  while (!isOver() && written < 2000) {
    await town.put(written % 3, `w${written % 50}`, `v${written}`);
    written += 1;
    await town.pass(20);
  }
  assert.ok(isOver(), `the move is over after ${written} writes`);
  await town.until(() => town.isReady(3));
  for (let index = 0; index < 40; index += 1) {
    assert.is(await town.get(3, `k${index}`, { consistency: "all" }), "before");
  }
  await town.close();
});

function names(town: Town, index: number): string {
  return town
    .at(index)
    .ring()
    .members.map(({ node }) => node)
    .sort()
    .join();
}

function moves(town: Town, index: number): MovesApi {
  const found = town.at(index).moves;
  assert.ok(found !== undefined);
  return found as MovesApi;
}

async function change(town: Town, index: number, request: PlanRequest): Promise<void> {
  const { id } = await town.done(moves(town, index).plan(request));
  await town.done(moves(town, index).apply(id));
}

function isStill(town: Town, indexes: readonly number[]): boolean {
  return indexes.every((index) => moves(town, index).moves().move === undefined);
}

test("T3, T6: from three nodes to four and back, all are read, and who left says that it has", async () => {
  const town = await Town.ofThree(4);
  for (let index = 0; index < 60; index += 1) await town.put(index % 3, `k${index}`, "v");
  await town.start(3, undefined);
  await town.until(() => moves(town, 1).moves().waiting.length === 1);
  await change(town, 1, { join: ["n4"] });
  await town.until(() => names(town, 0) === "n1,n2,n3,n4" && isStill(town, [0, 1, 2]));
  await town.until(() => town.isReady(3));
  const held = town
    .at(0)
    .ring()
    .members.map(({ replicaCount }) => replicaCount);
  assert.ok(held.every((count) => count > 0));
  for (let index = 0; index < 60; index += 1) {
    assert.is(await town.get(3, `k${index}`, { consistency: "all" }), "v");
  }
  await change(town, 3, { leave: ["n1"] });
  await town.until(() => names(town, 1) === "n2,n3,n4" && isStill(town, [1, 2, 3]));
  await town.until(() => !town.isReady(0));
  const info = await town.at(0).info();
  assert.is(info.keys, 0, "it dropped all that it held");
  await rejectsSlug("draining", town.put(0, "k", "late"));
  for (let index = 0; index < 60; index += 1) {
    assert.is(await town.get(1, `k${index}`, { consistency: "all" }), "v");
  }
  await town.close();
});

test("I1: a wiped node comes back under its name, waits, and takes the place of the one that was lost", async () => {
  const town = await Town.ofThree(3);
  for (let index = 0; index < 30; index += 1) await town.put(index % 3, `k${index}`, "v");
  town.kill(2);
  const place = town.places[2] as Place;
  place.disk = new SimDisk();
  place.table = new MemoryTableDisk({});
  await town.start(2, undefined);
  await town.until(() => moves(town, 0).moves().waiting.length === 1, 120);
  assert.is(town.isReady(2), false);
  // Under a member's name it cannot join.
  assert.is(moves(town, 0).moves().next, "quorate cluster plan --replace n3");
  const waits = town
    .at(2)
    .readiness()
    .find(({ name }) => name === "cluster");
  assert.match(waits?.detail ?? "", "quorate cluster plan --replace n3");
  await change(town, 0, { replace: [{ node: "n3", by: "n3" }] });
  await town.until(() => town.isReady(2) && isStill(town, [0, 1, 2]), 120);
  for (let index = 0; index < 30; index += 1) {
    assert.is(await town.get(2, `k${index}`, { consistency: "all" }), "v");
  }
  await town.close();
});

test("I1: who waits under the name of a member says what takes it in, also once that member has left", async () => {
  const town = await Town.ofThree(3);
  await town.put(0, "k", "v");
  await loseDisks(town, [2]);
  const waits = (): string =>
    town
      .at(2)
      .readiness()
      .find(({ name }) => name === "cluster")?.detail ?? "it serves";
  await town.until(() => waits().includes("quorate cluster plan --replace n3"));
  await change(town, 0, { leave: ["n3"] });
  await town.until(() => isStill(town, [0, 1]));
  await town.until(() => waits().includes("quorate cluster plan --join n3"));
  assert.not.match(waits(), "--replace");
  const refused = await rejectsSlug("not-ready", town.get(2, "k"));
  assert.match(refused.facts.hint ?? "", "quorate cluster plan --join n3");
  await change(town, 0, { join: ["n3"] });
  await town.until(() => town.isReady(2));
  assert.is(await town.get(2, "k"), "v");
  await town.close();
});

test("H1: what was kept for a disk that was replaced comes to all who hold it, though one of another partition is not reached", async () => {
  const town = new Town(5);
  await town.startAll();
  town.kill(2);
  const keys = Array.from({ length: 40 }, (_, index) => `k${index}`);
  const holders = (key: string): string =>
    town
      .at(0)
      .place("default", utf8Bytes(key))
      .replicas.map(({ node }) => node)
      .join();
  const missed = keys.filter((key) => holders(key).includes("n3"));
  const blocked = missed.filter((key) => holders(key).includes("n4"));
  assert.ok(blocked.length > 0 && blocked.length < missed.length, `${blocked.length}`);
  for (const key of keys) await town.put(0, key, "v");
  await town.until(() => town.at(0).hints().count === missed.length);
  // Who keeps them does not reach n4; the others do, so that the move comes to its end.
  const [near, far] = [0, 3].map((index) => (town.places[index] as Place).address) as [
    string,
    string,
  ];
  town.network.cut(near, far);
  town.network.cut(far, near);
  const place = town.places[2] as Place;
  place.disk = new SimDisk();
  place.table = new MemoryTableDisk({});
  await town.start(2, undefined);
  await town.until(() => moves(town, 0).moves().waiting.length === 1, 120);
  await change(town, 0, { replace: [{ node: "n3", by: "n3" }] });
  await town.until(() => isStill(town, [0, 1, 2]), 120);
  await town.until(() => town.at(0).hints().count === blocked.length, 60);
  town.network.heal();
  await town.until(() => town.at(0).hints().count === 0, 120);
  await town.close();
});

test("a node that joins copies nothing into the reserve of its disk, and goes on once there is room", async () => {
  const town = await Town.ofThree(4);
  for (let index = 0; index < 30; index += 1) await town.put(index % 3, `k${index}`, "v");
  const place = town.places[3] as Place;
  place.diskReserveBytes = 1 << 24;
  place.disk.fill(1 << 23);
  await town.start(3, undefined);
  await town.until(() => moves(town, 0).moves().waiting.length === 1);
  await change(town, 0, { join: ["n4"] });
  await town.pass(60_000);
  const { move } = moves(town, 0).moves();
  assert.is(move?.phase, 2);
  assert.is(move?.copies.find(({ node }) => node === "n4")?.done, 0);
  place.disk.fill(1 << 28);
  await town.until(() => town.isReady(3) && isStill(town, [0, 1, 2]), 120);
  assert.is(await town.get(3, "k7", { consistency: "all" }), "v");
  await town.close();
});

test("T5: who joins has what a majority took, also where one of the old replicas lacks all of it", async () => {
  const town = new Town(4);
  const behind = town.places[2] as Place;
  behind.diskReserveBytes = 1 << 24;
  for (const place of town.places) place.limits = { hintBytesPerSecond: 1 };
  const addresses = town.places.slice(0, 3).map(({ address }) => address);
  for (const index of [0, 1, 2]) await town.start(index, 3, addresses);
  await town.until(() => [0, 1, 2].every((index) => town.isReady(index)));
  // It is up, and read, and takes no write; and its hints come slowly.
  behind.disk.fill(1 << 23);
  await town.pass(5000);
  const keys = Array.from({ length: 40 }, (_, index) => `k${index}`);
  for (const [index, key] of keys.entries()) await town.put(index % 2, key, "v");
  assert.ok((await town.at(2).info()).keys < keys.length / 2, "it lacks most of them");
  await town.start(3, undefined);
  await town.until(() => moves(town, 0).moves().waiting.length === 1);
  await change(town, 0, { join: ["n4"] });
  // Before those who leave a partition give what is lacking.
  await town.until(() => (moves(town, 0).moves().move?.phase ?? 0) >= 3, 120);
  let held = 0;
  for (const key of keys) {
    const request = { namespace: "default", requestId: "t", key: utf8Bytes(key) };
    const { replicas } = await town.done(town.at(0).explain(request));
    const joined = replicas.find(({ node }) => node === "n4");
    if (joined === undefined) continue;
    assert.is(joined.status, "found", key);
    held += 1;
  }
  assert.ok(held > 0, "it has joined some of the sets");
  behind.disk.fill(1 << 28);
  await town.until(() => isStill(town, [0, 1, 2]), 120);
  // Their hints are as slow as before: none of them waits for these.
  await town.close();
});

for (const leave of [["n1", "n2"], ["n2"]]) {
  test(`T5: who stays where ${leave.join(" and ")} of three leave has what a majority took, before it is read`, async () => {
    const town = new Town(3);
    const behind = town.places[2] as Place;
    behind.diskReserveBytes = 1 << 24;
    for (const place of town.places) place.limits = { hintBytesPerSecond: 1 };
    await town.startAll();
    behind.disk.fill(1 << 23);
    await town.pass(5000);
    const keys = Array.from({ length: 40 }, (_, index) => `k${index}`);
    for (const [index, key] of keys.entries()) await town.put(index % 2, key, "v");
    assert.ok((await town.at(2).info()).keys < keys.length / 2, "it lacks most of them");
    behind.disk.fill(1 << 28);
    await town.pass(5000);
    await change(town, 0, { leave });
    await town.until(() => (moves(town, 2).moves().move?.phase ?? 0) >= 3, 120);
    assert.is((await town.at(2).info()).keys, keys.length);
    await town.until(() => names(town, 2) === (leave.length === 2 ? "n3" : "n1,n3"), 120);
    await town.close();
  });
}

test("T3: a move is taken back while it copies, and nothing of it is left", async () => {
  const town = await Town.ofThree(4);
  for (let index = 0; index < 30; index += 1) await town.put(index % 3, `k${index}`, "v");
  await town.start(3, undefined);
  await town.until(() => moves(town, 0).moves().waiting.length === 1);
  const before = town.at(0).ring();
  await change(town, 0, { join: ["n4"] });
  await town.done(moves(town, 2).revert());
  await town.until(() => isStill(town, [0, 1, 2]));
  assert.equal(town.at(0).ring().members, before.members);
  for (let index = 0; index < 30; index += 1) assert.is(await town.get(1, `k${index}`), "v");
  await town.close();
});

test("T3: a move is taken back while all that could propose that copy, and have long to go", async () => {
  const town = new Town(4);
  for (const place of town.places) place.limits = { moveBytesPerSecond: 100 };
  await town.startAll();
  const value = "v".repeat(1000);
  for (let index = 0; index < 40; index += 1) await town.put(0, `k${index}`, value);
  await town.pass(2000);
  town.kill(3);
  await change(town, 0, { leave: ["n4"] });
  const copiers = (): number =>
    moves(town, 0)
      .moves()
      .move?.copies.filter(({ done, all }) => done < all).length ?? 0;
  await town.until(() => moves(town, 0).moves().move?.phase === 2 && copiers() === 3);
  await town.pass(5000);
  await town.done(moves(town, 0).revert());
  await town.until(() => isStill(town, [0, 1, 2]), 30);
  assert.is(names(town, 0), "n1,n2,n3,n4");
  for (let index = 0; index < 40; index += 1) assert.is(await town.get(1, `k${index}`), value);
  await town.close();
});

test("T4: a move in the middle of which a disk is lost can be taken back, and the disk replaced", async () => {
  const town = await Town.ofThree(4);
  await town.done(town.at(0).putNamespace("single", { n: 1 }));
  for (let index = 0; index < 30; index += 1) await town.put(index % 3, `k${index}`, "v");
  await town.start(3, undefined);
  await town.until(() => moves(town, 0).moves().waiting.length === 1);
  town.kill(2);
  await change(town, 0, { join: ["n4"] });
  await town.pass(60_000);
  // What it alone held of the namespace with n = 1 is on its way to n4, and nobody else can answer for it.
  assert.match(moves(town, 0).moves().move?.waitsFor ?? "", /n3 to take notice/);
  const place = town.places[2] as Place;
  place.disk = new SimDisk();
  place.table = new MemoryTableDisk({});
  await town.done(moves(town, 1).revert());
  await town.until(() => isStill(town, [0, 1]));
  await town.start(2, undefined);
  await town.until(
    () =>
      moves(town, 0)
        .moves()
        .waiting.some(({ node }) => node === "n3"),
    120,
  );
  await change(town, 0, { replace: [{ node: "n3", by: "n3" }], acceptDataLoss: true });
  await town.until(() => town.isReady(2) && isStill(town, [0, 1, 2]), 120);
  for (let index = 0; index < 30; index += 1) assert.is(await town.get(1, `k${index}`), "v");
  await town.close();
});

test("T1: a member that is to vote alone at the end, and is away, keeps the others from leaving, until it is back", async () => {
  const town = await Town.ofThree(3);
  for (let index = 0; index < 30; index += 1) await town.put(index % 3, `k${index}`, "v");
  // Of two members the first one in the topology votes alone.
  const [away, stays, leaves] = town
    .at(0)
    .ring()
    .members.map(({ node }) => node) as [string, string, string];
  const at = town.places.findIndex(({ name }) => name === stays);
  // It holds nothing any more, and is stopped. It is a member all the same.
  await change(town, at, { drain: [away] });
  await town.until(() => isStill(town, [0, 1, 2]));
  town.kill(town.places.findIndex(({ name }) => name === away));
  await change(town, at, { leave: [leaves] });
  await town.pass(60_000);
  const { move } = moves(town, at).moves();
  assert.is(move?.phase, 0);
  assert.match(
    move?.waitsFor ?? "",
    `voters that there will be has to be up, with a vote that counts: not ${away}`,
  );
  // In phase 4 there would be no way back, and no other topology without that vote.
  await town.done(moves(town, at).revert());
  await town.until(() => isStill(town, [at]));
  await change(town, at, { leave: [leaves, away] });
  await town.until(() => names(town, at) === stays && isStill(town, [at]));
  for (let index = 0; index < 30; index += 1) assert.is(await town.get(at, `k${index}`), "v");
  await town.close();
});

/** Their disks are lost, and they wait with empty ones. */
async function loseDisks(town: Town, indexes: readonly number[], reserveBytes = 0): Promise<void> {
  for (const index of indexes) {
    town.kill(index);
    const place = town.places[index] as Place;
    place.disk = new SimDisk();
    place.table = new MemoryTableDisk({});
    if (reserveBytes > 0) {
      place.diskReserveBytes = reserveBytes;
      place.disk.fill(reserveBytes / 2);
    }
    await town.start(index, undefined);
  }
  const other = town.places.findIndex((_, index) => !indexes.includes(index));
  await town.until(() => moves(town, other).moves().waiting.length === indexes.length, 120);
}

test("T5: where a set is lost and what is left of it leaves, that is copied before it goes, under writes", async () => {
  const town = new Town(4);
  await town.startAll();
  await town.done(town.at(0).putNamespace("pair", { n: 2 }));
  const keys = Array.from({ length: 40 }, (_, index) => `k${index}`);
  for (const key of keys) await town.put(0, key, "v", { namespace: "pair", w: "all" });
  await loseDisks(town, [0]);
  const replace = [{ node: "n1", by: "n1" }];
  await change(town, 2, { replace, leave: ["n2"], acceptDataLoss: true });
  await town.until(() => moves(town, 2).moves().move?.phase === 1);
  // What comes meanwhile is newer than what those have that are left, to whom no write goes any more.
  for (const key of keys.slice(0, 20)) {
    await town.put(2, key, "w", { namespace: "pair", timeoutMs: 500 }).catch(() => {});
  }
  await town.until(() => isStill(town, [2, 3]) && town.isReady(0), 120);
  assert.is(names(town, 2), "n1,n3,n4");
  for (const [index, key] of keys.entries()) {
    const found = await town.get(2, key, { namespace: "pair", consistency: "all" });
    assert.is(found, index < 20 ? "w" : "v", key);
  }
  await town.close();
});

test("I4: who comes in the place of a set that is lost counts for nothing until it has copied what is left", async () => {
  const town = new Town(5);
  await town.startAll();
  const keys = Array.from({ length: 40 }, (_, index) => `k${index}`);
  for (const key of keys) await town.put(0, key, "v", { w: "all" });
  // They copy nothing into the reserve of their disks.
  await loseDisks(town, [0, 1], 1 << 24);
  const replace = ["n1", "n2"].map((node) => ({ node, by: node }));
  await change(town, 2, { replace, acceptDataLoss: true });
  const isCopying = (): boolean => moves(town, 2).moves().move?.phase === 2;
  let open = 0;
  for (let round = 0; round < 10 || !isCopying(); round += 1) {
    await town.pass(1000);
    open = 0;
    for (const key of keys) {
      for (const index of town.isReady(0) ? [0, 1, 2, 3, 4] : [2, 3, 4]) {
        const value = await town.get(index, key, { timeoutMs: 500 }).catch((error) => {
          open += 1;
          return QuorateError.from(error).slug;
        });
        assert.is.not(value, undefined, `${key} is not found by n${index + 1}`);
      }
    }
  }
  assert.ok(open > 0, "two of the replicas of some keys are lost");
  for (const index of [0, 1]) town.places[index]?.disk.fill(1 << 28);
  await town.until(() => isStill(town, [2, 3, 4]), 120);
  for (const key of keys) assert.is(await town.get(3, key, { consistency: "all" }), "v", key);
  await town.close();
});

test("T6: nothing is copied beside what an older join has left, or it would go with that", async () => {
  const town = new Town(4);
  await town.startAll();
  const keys = Array.from({ length: 40 }, (_, index) => `k${index}`);
  const held = keys.filter((key) =>
    town
      .at(0)
      .place("default", utf8Bytes(key))
      .replicas.some(({ node }) => node === "n4"),
  );
  for (const key of keys) await town.put(0, key, "v", { w: "all" });
  const { isCovered } = NodeMoves.prototype;
  // The others can be read, and take nothing of what n4 has left.
  NodeMoves.prototype.isCovered = async () => false;
  try {
    await change(town, 0, { drain: ["n4"] });
    await town.until(() => moves(town, 0).moves().move?.phase === 4);
    town.kill(3);
    await town.until(() => isStill(town, [0, 1, 2]), 120);
    await town.start(3, undefined);
    await town.until(() => town.isReady(3));
    await change(town, 0, { weight: [{ node: "n4", weight: 100 }] });
    await town.pass(30_000);
    assert.is(moves(town, 0).moves().move?.phase, 2);
  } finally {
    NodeMoves.prototype.isCovered = isCovered;
  }
  await town.until(() => isStill(town, [0, 1, 2, 3]), 120);
  for (const key of held) {
    const request = { namespace: "default", requestId: "t", key: utf8Bytes(key) };
    const { replicas } = await town.done(town.at(0).explain(request));
    assert.is(replicas.find(({ node }) => node === "n4")?.status, "found", key);
  }
  await town.close();
});

for (const isGivenBack of [false, true]) {
  const how = isGivenBack ? "away and back" : "away";
  test(`P1, G4: what a member took that does not hear that it was moved ${how} is not lost`, async () => {
    const town = new Town(4);
    for (const place of town.places) {
      place.limits = { repairPeriodMs: 2000, watermarkPeriodMs: 1000, requestMsMax: 1000 };
    }
    await town.startAll();
    const keys = Array.from({ length: 40 }, (_, index) => `k${index}`);
    const replicasOf = (key: string) => town.at(0).place("default", utf8Bytes(key));
    const held = keys.filter((key) => replicasOf(key).replicas.some(({ node }) => node === "n4"));
    for (const key of keys) await town.put(0, key, "before", { w: "all" });
    const addresses = town.places.slice(0, 3).map(({ address }) => address);
    for (const address of addresses) town.network.cut("10.0.0.4:80", address);
    for (const key of held) await town.put(3, key, "alone", { w: 1 });
    await change(town, 0, { drain: ["n4"] });
    await town.until(() => isStill(town, [0, 1, 2]), 120);
    // Something in each partition waits for a watermark.
    for (const key of keys) {
      const request = { namespace: "default", requestId: "t", key: utf8Bytes(`${key}-gone`) };
      await town.done(town.at(0).delete(request));
    }
    await town.pass(20_000);
    const heldBack = [0, 1, 2].flatMap((index) => town.at(index).repair().heldBack);
    assert.ok(heldBack.some(({ why }) => why.startsWith("n4 held the partition before")));
    if (isGivenBack) await change(town, 0, { weight: [{ node: "n4", weight: 100 }] });
    town.network.heal();
    await town.until(() => town.isReady(3) && isStill(town, [0, 1, 2, 3]), 120);
    const isCleared = (): boolean =>
      [0, 1, 2, 3].every((index) => town.at(index).repair().heldBack.length === 0);
    await town.until(isCleared, 120);
    await town.pass(5000);
    for (const key of held) assert.is(await town.get(0, key, { consistency: "all" }), "alone", key);
    await town.close();
  });
}

test("a plan made for another epoch is refused, and one of two operators wins", async () => {
  const town = await Town.ofThree(3);
  const { id: first } = await town.done(moves(town, 0).plan({ drain: ["n1"] }));
  const { id: second } = await town.done(moves(town, 1).plan({ drain: ["n2"] }));
  const both = await town.done(
    Promise.allSettled([moves(town, 0).apply(first), moves(town, 1).apply(second)]),
  );
  assert.is(both.filter(({ status }) => status === "fulfilled").length, 1);
  const lost = both.find((one) => one.status === "rejected") as PromiseRejectedResult;
  assert.is(QuorateError.from(lost.reason).slug, "contention");
  await town.until(() => isStill(town, [0, 1, 2]));
  await rejectsSlug("invalid-request", town.done(moves(town, 2).apply(first)));
  await town.close();
});

test("T7: from one node to two and back, under writes", async () => {
  const town = new Town(2);
  await town.start(0, undefined, []);
  await town.until(() => town.isReady(0));
  for (let index = 0; index < 20; index += 1) await town.put(0, `k${index}`, "v");
  await town.start(1, undefined, [(town.places[0] as Place).address]);
  await town.until(() => moves(town, 0).moves().waiting.length === 1);
  await change(town, 0, { join: ["n2"] });
  let written = 0;
  while (!isStill(town, [0]) && written < 2000) {
    await town.put(0, `w${written % 20}`, `v${written}`);
    written += 1;
    await town.pass(20);
  }
  await town.until(() => town.isReady(1));
  await change(town, 1, { leave: ["n1"] });
  await town.until(() => names(town, 1) === "n2");
  for (let index = 0; index < 20; index += 1) assert.is(await town.get(1, `k${index}`), "v");
  await town.close();
});

test("a member that was away while all whom it knew left hears of those that are there now", async () => {
  const town = new Town(7);
  const founders = town.places.slice(0, 4).map(({ address }) => address);
  for (const index of [0, 1, 2, 3]) await town.start(index, 4, founders);
  await town.until(() => [0, 1, 2, 3].every((index) => town.isReady(index)));
  await change(town, 0, { drain: ["n4"] });
  await town.put(0, "k", "v");
  await town.until(() => isStill(town, [0, 1, 2, 3]));
  town.kill(3);
  for (const index of [4, 5, 6]) await town.start(index, undefined, founders);
  await town.until(() => moves(town, 0).moves().waiting.length === 3);
  await change(town, 0, { join: ["n5", "n6", "n7"], leave: ["n1", "n2", "n3"] });
  await town.until(() => town.isReady(4) && names(town, 4) === "n4,n5,n6,n7", 120);
  for (const index of [0, 1, 2]) town.kill(index);
  await town.start(3, undefined, founders);
  await town.until(() => town.isReady(3), 120);
  assert.is(names(town, 3), "n4,n5,n6,n7");
  assert.is(await town.get(3, "k"), "v");
  await town.close();
});

test("T5: who copies nothing yet has not told that it did, before a namespace comes of which it joins a set", () => {
  const ids = [1, 2, 3, 4, 5].map((number) => `${number}`.repeat(32));
  const five = genesisOf(
    ids.map((nodeId, index) => ({
      nodeId,
      storeId: `a${index}`.repeat(16),
      name: `n${index + 1}`,
    })),
    { expect: 5, partitions: 4 },
  );
  const founded = withNamespace(five, "wide", { n: 5 }) as Topology;
  const sites = [{ nodeId: ids[0] as string, zone: "default", weight: 0 }];
  const begun = withMove(founded, { join: [], leave: [], replace: [], sites }) as Topology;
  // A namespace whose sets are other ones than those of all that there were.
  let state = withNamespace(begun, "four", { n: 4 }) as Topology;
  const isJoining = (topology: Topology, nodeId: string): boolean =>
    (topology.move?.rows ?? []).some((row) => joins(topology, row, nodeId));
  const late = ids.filter((nodeId) => !isJoining(begun, nodeId) && isJoining(state, nodeId));
  assert.is(late.length, 1);
  const [ownNodeId] = late as [string];
  const parts = { clock: new SimClock(), topology: () => begun, ownNodeId, bytesPerSecond: 1 };
  const { load } = new NodeMoves(parts as unknown as NodeMovesParts);
  while (state.move?.phase !== 2) {
    state = withNextPhase(state, state.move as NonNullable<Topology["move"]>) as Topology;
  }
  // It has not heard of the namespace, nor of phase 2; the others have, and are enough.
  const newsOf = (nodeId: string): MemberNews =>
    nodeId === ownNodeId
      ? { epoch: begun.epoch, filled: load["moveFilled"] ?? 0, dropped: 0, isUp: true }
      : { epoch: state.epoch, filled: begun.epoch, dropped: 0, isUp: true };
  assert.match(whyNotAdvance(state, newsOf) ?? "it goes on", /copies what it will hold/);
});

test("T6: what there was no room to remove is removed later, before it is told that all is dropped", async () => {
  const town = new Town(4);
  await town.startAll();
  for (let index = 0; index < 80; index += 1) await town.put(0, `k${index}`, "v", { w: "all" });
  const { forget } = Store.prototype;
  let partly = 0;
  // As where the log has room for some of them: these are gone, and the rest is not told of.
  Store.prototype.forget = function half<Item extends ScanItem>(items: readonly Item[]) {
    if (items.length > 1) partly += 1;
    const some = items.slice(0, Math.ceil(items.length / 2));
    return forget.call(this, some) as Promise<readonly Item[]>;
  };
  try {
    await change(town, 0, { drain: ["n4"] });
    await town.until(() => isStill(town, [0, 1, 2, 3]), 120);
  } finally {
    Store.prototype.forget = forget;
  }
  assert.ok(partly > 0);
  assert.is((await town.at(3).info()).keys, 0);
  await town.close();
});

/** Which partitions a node offers that holds what is not its own, while each answer comes with another document. */
async function offeredUnder(next: (present: Topology) => Topology): Promise<{
  readonly asked: readonly number[];
  readonly strange: readonly number[];
}> {
  const clock = new SimClock();
  const store = await openStore(clock);
  const ids = [1, 2, 3, 4, 5, 6, 7, 8].map((digit) => ({
    ...{ nodeId: `${digit}`.repeat(32), storeId: `${digit}`.padStart(32, "a"), name: `n${digit}` },
  }));
  let topology = genesisOf(ids, { expect: 8, partitions });
  const strange = Array.from({ length: partitions }, (_, partition) => partition).filter(
    (partition) => replicasOf(topology, partition, 3).every(({ name }) => name !== "n1"),
  );
  assert.ok(strange.length > 1);
  for (let index = 0; index < 40; index += 1) {
    const record = {
      ...{ version: { hlc: 1n as Hlc, origin: 1n }, tombstone: false, meta: [] },
      ...{ contentType: "text/plain", value: utf8Bytes("v") },
    };
    const key = utf8Bytes(`k${index}`);
    await store.write({ namespaceNumber: 0, key, record, durability: "fsync" });
  }
  const asked: number[] = [];
  const moves = new NodeMoves({
    ...{ clock, store, fences: new NodeWatermarks(store), ownNodeId: ids[0]?.nodeId ?? "" },
    ...{ report: silentReport, topology: () => topology },
    holdings: await Holdings.open(new SimDisk(), topology.epoch),
    peers: {
      request: async (_, request) => {
        assert.ok(request.kind === "digest");
        asked.push(request.partition);
        topology = next({ ...topology, epoch: topology.epoch + 1 });
        throw new QuorateError("unreachable", "It is not reached.");
      },
    },
    ...{ isUp: () => true, isVoid: () => false, propose: async () => {}, bytesPerSecond: 2 ** 30 },
    ...{ counts: () => true, hasData: () => true },
    newsOf: () => ({ epoch: 1, filled: 0, dropped: 0, isUp: true }),
  });
  moves.begin();
  while (asked.length < 9) await clock.advance(50);
  await moves.close();
  await store.close();
  return { asked, strange };
}

test("T6: where others hold a partition by a newer topology it offers nothing more, and begins again", async () => {
  const { asked, strange } = await offeredUnder((present) => ({
    ...present,
    changed: present.changed.map(() => present.epoch),
  }));
  assert.equal([...new Set(asked)], strange.slice(0, 1));
});

test("T6: a topology that changes something else breaks nothing off", async () => {
  const { asked, strange } = await offeredUnder((present) => present);
  assert.ok(strange.length > 1);
  assert.ok(asked.includes(strange[1] ?? -1), "it went on");
});

test.run();
