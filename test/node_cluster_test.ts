/**
 * Node cluster: whole nodes on simulated disks, over a network in memory, on clocks that a test moves.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimDisk } from "../sim/disk.ts";
import { SimRandom } from "../sim/random.ts";
import { Admission, Budget } from "../src/admission.ts";
import { Agreement } from "../src/agreement.ts";
import { utf8Bytes } from "../src/bytes.ts";
import { silentReport } from "../src/capability.ts";
import { leftBehind } from "../src/cli_serve.ts";
import { QuorateError } from "../src/errors.ts";
import { createReport } from "../src/log.ts";
import { Metrics } from "../src/metrics.ts";
import { openNode, type QuorateNode } from "../src/node.ts";
import { EpochSeal } from "../src/node_seal.ts";
import { MemoryTableDisk } from "../src/table_memory.ts";
import { rejectsSlug } from "./samples.ts";
import { smallSettings } from "./store_harness.ts";
import { type Place, Town } from "./town.ts";

const test = suite("node cluster");

/** Another disk with the same files. */
async function copyOf(disk: SimDisk): Promise<SimDisk> {
  const copy = new SimDisk();
  for (const path of disk.files()) {
    const folder = path.includes("/") ? path.slice(0, path.lastIndexOf("/")) : "";
    if (folder !== "") await copy.makeFolder(folder);
    const file = await copy.open(path, "create");
    await file.write(disk.bytesOf(path), 0);
    await file.sync();
    await file.close();
    await copy.syncFolder(folder);
  }
  return copy;
}

test("three nodes found a cluster together, and each serves every key", async () => {
  const town = new Town(3);
  await town.startAll();
  const infos = await Promise.all(town.places.map(({ node }) => (node as QuorateNode).info()));
  assert.is(new Set(infos.map(({ clusterId }) => clusterId)).size, 1);
  for (let index = 0; index < 12; index += 1) {
    const written = await town.put(index % 3, `k${index}`, `v${index}`);
    assert.equal([written.replicas, written.replies >= 2], [3, true]);
  }
  for (let index = 0; index < 12; index += 1) {
    assert.is(await town.get((index + 1) % 3, `k${index}`), `v${index}`);
  }
  const { items } = await town.done(town.at(1).list({ namespace: "default", requestId: "t" }));
  assert.is(items.length, 12);
  await town.close();
});

test("P2: what was written while one of three was down is read through the others, and then through it", async () => {
  const town = new Town(3);
  await town.startAll();
  await town.put(0, "before", "1");
  town.kill(2);
  await town.pass(200);
  for (let index = 0; index < 20; index += 1) await town.put(index % 2, `k${index}`, "v");
  assert.is(await town.get(1, "k3"), "v");
  await town.start(2, 3);
  await town.until(() => town.isReady(2));
  for (let index = 0; index < 20; index += 1) assert.is(await town.get(2, `k${index}`), "v");
  await town.close();
});

for (const [whose, writers] of [
  ["of the others", [0, 1, 0, 1]],
  ["of its own clients", [2, 2, 0, 2]],
] as const) {
  test(`P7: an orderly stop cuts no request ${whose}; what comes after it is not sent`, async () => {
    const town = new Town(3);
    await town.startAll();
    const all = { w: "all" } as const;
    const writing = writers.map((index, number) =>
      town.at(index).put({
        ...{ namespace: "default", requestId: "t", key: utf8Bytes(`k${number}`) },
        ...{ value: utf8Bytes("v"), contentType: "text/plain", meta: [], ...all },
      }),
    );
    const closing = town.at(2).close();
    const written = await town.done(Promise.all(writing));
    assert.equal(
      written.map(({ replies }) => replies),
      [3, 3, 3, 3],
    );
    await town.done(closing);
    const late = await rejectsSlug("write-quorum-not-met", town.put(0, "late", "v", all));
    assert.is(late.outcome, "partial");
    const status = late.facts.replicas?.find(({ node }) => node === "n3")?.status;
    assert.is(status, "not reached");
    assert.is(town.at(0).hints().count, 1, "a hint for the write that came too late, and no other");
    await town.start(2, 3);
    await town.until(() => town.isReady(2));
    await town.until(() => town.at(0).hints().count === 0);
    assert.is(await town.get(2, "late", { r: 1 }), "v");
    await town.close();
  });
}

test("a node whose machine vanished and came back is reached at once, by links that still looked open", async () => {
  const town = new Town(3);
  await town.startAll();
  town.network.vanish((town.places[2] as Place).address);
  town.kill(2);
  await town.start(2, 3);
  await town.until(() => town.isReady(2));
  const written = await town.put(0, "k", "v", { w: "all", timeoutMs: 1000 });
  assert.is(written.replies, 3);
  await town.close();
});

test("slow-node-that-never-left-gets-hints: what one missed is delivered, without a read", async () => {
  const town = new Town(3);
  await town.startAll();
  const [a, c] = [town.places[0] as Place, town.places[2] as Place];
  const b = town.places[1] as Place;
  for (const other of [a, b]) {
    town.network.cut(other.address, c.address);
    town.network.cut(c.address, other.address);
  }
  for (let index = 0; index < 10; index += 1) await town.put(0, `k${index}`, "v");
  town.network.heal();
  await town.pass(20_000);
  town.kill(0);
  town.kill(1);
  for (let index = 0; index < 10; index += 1) {
    const read = { namespace: "default", requestId: "t", key: utf8Bytes(`k${index}`), r: 1 };
    const { record } = await town.done(town.at(2).get(read));
    assert.is(new TextDecoder().decode(record?.value), "v");
  }
});

test("a replica takes of other nodes what its budgets allow, and hints wait for theirs", async () => {
  const town = new Town(3);
  const narrow = town.places[2] as Place;
  const none = new Budget({ requestsMax: 0, bytesMax: 0 });
  const some = new Budget({ requestsMax: 100, bytesMax: 100_000 });
  narrow.budgets = { replication: none, hint: none };
  await town.startAll();
  for (let index = 0; index < 5; index += 1) await town.put(0, `k${index}`, "v");
  await rejectsSlug("write-quorum-not-met", town.put(0, "k", "v", { w: "all" }));
  await town.pass(10_000);
  assert.is(town.at(0).hints().count, 6, "hints wait as long as their budget has no room");
  narrow.budgets = { replication: none, hint: some };
  town.kill(2);
  await town.start(2, 3);
  await town.until(() => town.at(0).hints().count === 0);
  assert.equal([some.requests, some.bytes], [0, 0]);
  await rejectsSlug("write-quorum-not-met", town.put(0, "k", "v", { w: "all" }));
  await town.close();
});

test("H1: a node that is asked to leave brings what others have missed first, and tells them then", async () => {
  const town = new Town(3);
  const narrow = town.places[2] as Place;
  const limits = { requestsMax: 0, bytesMax: 0 };
  narrow.budgets = { replication: new Budget(limits), hint: new Budget(limits) };
  await town.startAll();
  for (let index = 0; index < 5; index += 1) await town.put(0, `k${index}`, "v");
  await town.pass(10_000);
  assert.is(town.at(0).hints().count, 5);
  Object.assign(limits, { requestsMax: 100, bytesMax: 100_000 });
  await town.done(town.at(0).leave(5000));
  assert.is(town.at(0).hints().count, 0);
  await town.close();
});

test("each node tells who lives and what is kept for whom, and a wait ends when that is delivered", async () => {
  const town = new Town(3);
  await town.startAll();
  await town.pass(3000);
  const statesAt = async (index: number) => {
    const { members } = await town.done(town.at(index).cluster());
    return Object.fromEntries(members.map(({ node, state }) => [node, state]));
  };
  for (const index of [0, 1, 2]) {
    assert.equal(await statesAt(index), { n1: "alive", n2: "alive", n3: "alive" });
  }
  for (let index = 0; index < 10; index += 1) await town.put(0, `k${index}`, "v", { w: "all" });
  await town.pass(2000);
  const { members, voters } = await town.done(town.at(1).cluster());
  assert.is(voters.length, 3);
  assert.equal(
    members.map(({ keys }) => keys),
    [10, 10, 10],
  );
  assert.ok(members.every(({ disk }) => (disk?.totalBytes ?? 0) > 0));
  const [a, b, away] = town.places as [Place, Place, Place];
  for (const other of [a, b]) {
    town.network.cut(other.address, away.address);
    town.network.cut(away.address, other.address);
  }
  await town.pass(30_000);
  assert.is((await statesAt(0)).n3, "down");
  for (let index = 0; index < 10; index += 1) await town.put(0, `k${index}`, "w");
  await town.pass(2000);
  const { count, targets } = town.at(0).hints();
  assert.is(count, 10);
  assert.equal(
    targets.map(({ node }) => node),
    ["n3"],
  );
  // The node that keeps none itself knows of those that another one keeps.
  assert.is(town.at(1).hints().count, 0);
  await rejectsSlug("timeout", town.done(town.at(1).whenNoHints(2000)));
  const waiting = town.at(1).whenNoHints(60_000);
  town.network.heal();
  assert.is((await town.done(waiting, 60)).count, 0);
  assert.is(town.at(0).hints().count, 0);
  await town.close();
});

test("old-hint-never-overwrites-newer", async () => {
  const town = new Town(3);
  await town.startAll();
  const [a, c] = [town.places[0] as Place, town.places[2] as Place];
  town.network.cut(a.address, c.address);
  town.network.cut(c.address, a.address);
  await town.put(0, "k", "old");
  await town.until(() => town.at(0).hints().count === 1);
  // The third is reached by the second alone, and has the newer one before the hint comes.
  await town.put(1, "k", "new", { w: "all" });
  town.network.heal();
  await town.until(() => town.at(0).hints().count === 0);
  for (const index of [0, 1, 2]) {
    for (const r of [1, "all"] as const) assert.is(await town.get(index, "k", { r }), "new");
  }
  await town.close();
});

test("suspect-node-keeps-its-ranges: silence changes neither the ring nor who is written to", async () => {
  const town = new Town(3);
  await town.startAll();
  const before = town.at(0).ring();
  const [a, b, away] = town.places as [Place, Place, Place];
  for (const other of [a, b]) {
    town.network.cut(other.address, away.address);
    town.network.cut(away.address, other.address);
  }
  const stateOfAway = async () => {
    const { members } = await town.done(town.at(0).cluster());
    return members.find(({ node }) => node === away.name)?.state;
  };
  const seen = new Set<string | undefined>();
  for (let step = 0; step < 60; step += 1) {
    await town.pass(500);
    seen.add(await stateOfAway());
    assert.equal(town.at(0).ring(), before);
  }
  assert.equal([...seen], ["alive", "suspect", "down"]);
  await town.put(1, "k", "v");
  await town.until(() => town.at(1).hints().count === 1);
  assert.equal(
    town
      .at(1)
      .hints()
      .targets.map(({ node }) => node),
    [away.name],
  );
  town.network.heal();
  await town.until(() => town.at(1).hints().count === 0);
  assert.equal(town.at(0).ring(), before);
  assert.is(await town.get(2, "k", { r: 1 }), "v");
  await town.close();
});

test("delete-while-replica-down-does-not-resurrect", async () => {
  const town = new Town(3);
  await town.startAll();
  await town.put(0, "k", "v", { w: "all" });
  town.kill(2);
  await town.done(town.at(0).delete({ namespace: "default", requestId: "t", key: utf8Bytes("k") }));
  await town.start(2, 3);
  await town.until(() => town.isReady(2));
  await town.pass(15_000);
  for (const index of [0, 1, 2]) assert.is(await town.get(index, "k", { r: "all" }), undefined);
  await town.close();
});

/** Nodes that compare, and drop what is deleted, within seconds. */
function quickTown(count = 3): Town {
  const town = new Town(count);
  for (const place of town.places) {
    place.limits = {
      ...{ hintAgeMaxMs: 3000, repairPeriodMs: 2000, watermarkPeriodMs: 1000, requestMsMax: 1000 },
    };
  }
  return town;
}

/** What each replica holds of a key, by the name of its node, in order. */
async function holdingsOf(town: Town, key: string): Promise<Readonly<Record<string, string>>> {
  const asked = { namespace: "default", key: utf8Bytes(key), requestId: "t", timeoutMs: 200 };
  const { replicas } = await town.done(town.at(0).explain(asked));
  const lines = replicas.map(({ node, status, tombstone, version }): [string, string] => [
    node,
    tombstone === true ? "deleted" : version === undefined ? status : `${version.hlc}`,
  ]);
  return Object.fromEntries(lines.sort(([one], [other]) => one.localeCompare(other)));
}

test("G4: where the replica that leads the rounds is away, the others say that it holds the watermark back", async () => {
  const town = quickTown();
  await town.startAll();
  const [led] = Array.from({ length: 100 }, (_, index) => `k${index}`).filter((key) => {
    return town.at(0).place("default", utf8Bytes(key)).replicas[0]?.node === "n3";
  });
  const key = utf8Bytes(led as string);
  await town.put(0, led as string, "old", { w: "all" });
  town.kill(2);
  await town.done(town.at(0).delete({ namespace: "default", requestId: "t", key }));
  await town.pass(20_000);
  const { partition } = town.at(0).place("default", key);
  for (const index of [0, 1]) {
    const { heldBack } = town.at(index).repair();
    assert.equal(heldBack, [{ partition, n: 3, why: "n3 is not reached" }], `n${index + 1}`);
  }
  await town.close();
});

test("delete-while-replica-down-does-not-resurrect: for longer than any hint is kept; then its tombstone goes (G4)", async () => {
  const town = quickTown();
  await town.startAll();
  const holdings = () => holdingsOf(town, "k");
  await town.put(0, "k", "old", { w: "all" });
  town.kill(2);
  await town.done(town.at(0).delete({ namespace: "default", requestId: "t", key: utf8Bytes("k") }));
  // The hint for it is dropped by age, and there could have been many rounds.
  await town.until(() => town.at(0).hints().count === 1);
  await town.until(() => town.at(0).hints().count === 0);
  await town.pass(20_000);
  const { n1, n2 } = await holdings();
  assert.equal([n1, n2], ["deleted", "deleted"], "who is away holds it back");
  const heldBack = [0, 1].flatMap((index) => town.at(index).repair().heldBack);
  const isLed = town.at(0).place("default", utf8Bytes("k")).replicas[0]?.node !== "n3";
  if (isLed) assert.ok(heldBack.some(({ why }) => why === "n3 is not reached"));
  await town.start(2, 3);
  await town.until(() => town.isReady(2));
  const nothing = { n1: "nothing", n2: "nothing", n3: "nothing" };
  for (let second = 0; second < 60; second += 1) {
    await town.pass(1000);
    assert.is(await town.get(second % 3, "k"), undefined);
    if (JSON.stringify(await holdings()) === JSON.stringify(nothing)) break;
  }
  assert.equal(await holdings(), nothing, "it is gone from all disks");
  for (const index of [0, 1, 2]) assert.is(await town.get(index, "k", { r: "all" }), undefined);
  await town.close();
});

test("H1: a node that is closed still tells for whom it keeps hints, and says so as it stops", async () => {
  const town = quickTown();
  await town.startAll();
  town.kill(2);
  await town.put(0, "k", "v");
  await town.until(() => town.at(0).hints().count > 0);
  const node = town.at(0);
  assert.is(leftBehind(town.at(1)), undefined);
  await town.close();
  assert.match(leftBehind(node) ?? "", /: 1 for n3\.$/);
});

test("P5: what no hint brings any more comes to all replicas, without a read", async () => {
  const town = quickTown();
  await town.startAll();
  await town.put(0, "k", "before", { w: "all" });
  town.kill(1);
  town.kill(2);
  await town.put(0, "k", "alone", { w: 1 });
  await town.until(() => town.at(0).hints().count > 0);
  await town.until(() => town.at(0).hints().count === 0);
  await town.start(1, 3);
  await town.start(2, 3);
  await town.until(() => [0, 1, 2].every((index) => town.isReady(index)));
  await town.pass(20_000);
  for (const index of [1, 2]) assert.is(await town.get(index, "k", { r: 1 }), "alone");
  assert.equal(new Set(Object.values(await holdingsOf(town, "k"))).size, 1);
  const { whole, markCount } = town.at(0).repair();
  assert.ok(whole > 0);
  assert.is(markCount, 0);
  await town.close();
});

test("P5: what a node that is no replica could not hand over is brought by the replicas, long before their turn", async () => {
  const town = new Town(5);
  for (const place of town.places)
    place.limits = { hintAgeMaxMs: 3000, repairPeriodMs: 3_600_000, watermarkPeriodMs: 3_600_000 };
  await town.startAll();
  const replicas = town
    .at(0)
    .place("default", utf8Bytes("k"))
    .replicas.map(({ node }) => node);
  const isReplica = (index: number): boolean => replicas.includes(`n${index + 1}`);
  const coordinator = [0, 1, 2, 3, 4].find((index) => !isReplica(index)) as number;
  const missing = [0, 1, 2, 3, 4].find(isReplica) as number;
  await town.put(coordinator, "k", "before", { w: "all" });
  town.kill(missing);
  await town.put(coordinator, "k", "after");
  await town.until(() => town.at(coordinator).hints().count > 0);
  await town.until(() => town.at(coordinator).hints().count === 0);
  assert.is(town.at(coordinator).repair().markCount, 1);
  await rejectsSlug("timeout", town.done(town.at(coordinator).whenNoHints(5000)));
  await town.start(missing, 5);
  await town.until(() => town.isReady(missing));
  // No hint is left; but only after this it has what they said.
  await town.done(town.at(coordinator).whenNoHints(120_000), 130);
  assert.is(await town.get(missing, "k", { r: 1 }), "after");
  assert.is(new Set(Object.values(await holdingsOf(town, "k"))).size, 1);
  await town.close();
});

test("all three killed at once: every acknowledged write is there after the restart", async () => {
  const town = new Town(3);
  await town.startAll();
  for (let index = 0; index < 30; index += 1) await town.put(index % 3, `k${index}`, `v${index}`);
  for (const index of [0, 1, 2]) town.kill(index);
  await town.pass(1000);
  for (const index of [0, 1, 2]) await town.start(index, 3);
  await town.until(() => [0, 1, 2].every((index) => town.isReady(index)));
  for (let index = 0; index < 30; index += 1) {
    assert.is(await town.get((index + 1) % 3, `k${index}`), `v${index}`);
  }
  await town.close();
});

test("T9: nodes that all come back on other addresses find one another through --peers", async () => {
  const town = new Town(3);
  await town.startAll();
  await town.put(0, "k", "v");
  for (const index of [0, 1, 2]) town.kill(index);
  for (const [index, place] of town.places.entries()) place.address = `10.0.1.${index + 1}:80`;
  const [first] = town.places;
  for (const index of [0, 1, 2]) await town.start(index, undefined, [first?.address ?? ""]);
  await town.until(() => [0, 1, 2].every((index) => town.isReady(index)), 120);
  assert.is(await town.get(2, "k", { consistency: "all" }), "v");
  await town.close();
});

for (const [name, count] of [
  ["four nodes", 4],
  ["five nodes, of which none alone reaches enough voters,", 5],
] as const) {
  test(`T9: ${name} that all come back on other addresses find one another through the one in --peers`, async () => {
    const town = new Town(count);
    await town.startAll();
    for (const index of town.places.keys()) town.kill(index);
    for (const [index, place] of town.places.entries()) place.address = `10.0.1.${index + 1}:80`;
    const peers = ["10.0.1.1:80"];
    for (const index of town.places.keys()) await town.start(index, undefined, peers);
    await town.until(() => town.places.every((_, index) => town.isReady(index)), 120);
    await town.close();
  });
}

test("a member that comes back on another address tells that again, where the topology could not be changed at once", async () => {
  const town = new Town(3);
  await town.startAll();
  town.kill(2);
  const place = town.places[2] as Place;
  place.address = "10.0.1.3:80";
  const { propose } = Agreement.prototype;
  // As where too few of the voters answer, or another change comes first.
  Agreement.prototype.propose = () => Promise.reject(new QuorateError("timeout", "not chosen"));
  try {
    await town.start(2, undefined);
    await town.until(() => town.isReady(2));
    await town.pass(2000);
  } finally {
    Agreement.prototype.propose = propose;
  }
  const told = (): readonly string[] =>
    town
      .at(0)
      .ring()
      .members.flatMap(({ addresses }) => addresses);
  await town.until(() => told().includes(place.address));
  await town.close();
});

test("a member that comes back under another host alone tells that too", async () => {
  const town = new Town(3);
  await town.startAll();
  const place = town.places[2] as Place;
  const { epoch } = town.at(0).ring();
  const hosts = (): readonly string[] =>
    town
      .at(0)
      .ring()
      .members.map(({ host }) => host)
      .sort();
  assert.equal(hosts(), ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
  for (const [host, told] of [
    ["rack-7", "rack-7"],
    [undefined, "10.0.0.3"],
  ] as const) {
    town.kill(2);
    place.host = host;
    await town.start(2, undefined);
    await town.until(() => hosts()[2] === told);
  }
  await town.pass(10_000);
  assert.is(town.at(0).ring().epoch, epoch + 2, "who has told it proposes nothing more");
  await town.close();
});

test("I4, P9: a node whose disk was rolled back fills by itself; its vote stays void, after another start too", async () => {
  const town = new Town(3);
  await town.startAll();
  for (let index = 0; index < 5; index += 1) await town.put(0, `k${index}`, "old", { w: "all" });
  const place = town.places[2] as Place;
  // The processes end in order, and a copy of the third one's folder is taken.
  await town.done(Promise.all(town.places.map(({ node }) => node?.close())));
  const copy = { disk: await copyOf(place.disk), image: place.table.image };
  for (const index of [0, 1, 2]) {
    town.network.unlisten((town.places[index] as Place).address);
    await town.start(index, 3);
  }
  await town.until(() => [0, 1, 2].every((index) => town.isReady(index)));
  for (let index = 0; index < 20; index += 1) await town.put(0, `k${index}`, "new", { w: "all" });
  await town.pass(5000);
  town.kill(2);
  // The log and the table of before; the rest of the folder as it is, or the start would be refused.
  for (const path of copy.disk.files()) {
    if (!path.startsWith("wal/")) copy.disk.replace(path, place.disk.bytesOf(path));
  }
  place.disk = copy.disk;
  place.table = new MemoryTableDisk({}, copy.image);
  const voteWhy = (): string =>
    place.node?.readiness().find(({ name }) => name === "vote")?.detail ?? "";
  await town.start(2, 3);
  await town.until(() => voteWhy() !== "");
  await town.until(() => town.isReady(2));
  for (let index = 0; index < 20; index += 1) assert.is(await town.get(2, `k${index}`), "new");
  assert.match(voteWhy(), "cluster plan --replace n3");
  for (let index = 0; index < 20; index += 1) {
    assert.is(await town.get(0, `k${index}`, { r: "all" }), "new");
  }
  // It counts: with one of the others away, strict writes go on.
  town.network.cut(town.places[1]?.address ?? "", town.places[0]?.address ?? "");
  town.network.cut(town.places[0]?.address ?? "", town.places[1]?.address ?? "");
  await town.put(0, "k0", "newer");
  town.network.heal();
  // Its vote is void: with one of the others away nothing can be chosen any more.
  const away = town.places[1] as Place;
  for (const other of [town.places[0] as Place, place]) {
    town.network.cut(away.address, other.address);
    town.network.cut(other.address, away.address);
  }
  await rejectsSlug("timeout", town.done(town.at(0).putNamespace("lost", {})));
  town.network.heal();
  await town.pass(10_000);
  // What it takes meanwhile brings its sequence past what the others remember.
  for (let index = 0; index < 60; index += 1) await town.put(0, `m${index}`, "new");
  await town.pass(5000);
  town.kill(2);
  await town.start(2, 3);
  await town.until(() => town.isReady(2));
  assert.match(voteWhy(), "its vote is void");
  await town.close();
});

test("I3: a node that nobody tells what is remembered of its store says that it waits for that, also where its vote does", async () => {
  const town = new Town(2);
  await town.startAll();
  await town.put(0, "k", "v");
  // Of two members the first one votes, alone. When it comes back, the other one does not.
  const index = town.at(0).ring().members[0]?.node === "n1" ? 0 : 1;
  for (const each of [0, 1]) town.kill(each);
  await town.start(index, undefined);
  await town.pass(10_000);
  const { ok, detail = "" } =
    town
      .at(index)
      .readiness()
      .find(({ name }) => name === "replica") ?? {};
  assert.is(ok, false);
  assert.match(
    detail,
    "waits for another replica, which has to tell what it remembers of this store",
  );
  const refused = await rejectsSlug("timeout", town.done(town.at(index).putNamespace("more", {})));
  const why =
    "This node does not vote: the other members have not told yet what they remember of its store.";
  assert.match(refused.detail, why);
  await town.start(1 - index, undefined);
  await town.until(() => town.isReady(index) && town.isReady(1 - index));
  await town.done(town.at(index).putNamespace("more", {}));
  await town.close();
});

/** From the batch that has `text` on, what a log holds of it is damaged: as if its end were torn. */
function tear(disk: SimDisk, text: string): void {
  const blockBytes = 4096;
  for (const path of disk.files().filter((one) => one.startsWith("wal/"))) {
    const bytes = disk.bytesOf(path);
    const found = Buffer.from(bytes).indexOf(text);
    if (found < 0) continue;
    const first = Math.floor(found / blockBytes);
    for (let block = first; block * blockBytes < bytes.length; block += 1) {
      const at = block * blockBytes;
      if (bytes.subarray(at, at + blockBytes).some((byte) => byte !== 0)) disk.flip(path, at + 9);
    }
  }
}

for (const end of ["kill", "close"] as const) {
  test(`D3: what a cut log may have held is compared, also when the start that cut it ended by a ${end} before it had`, async () => {
    const town = new Town(3);
    await town.startAll();
    const [cut, has, missed] = town.places as [Place, Place, Place];
    for (const other of [cut, has]) {
      town.network.cut(other.address, missed.address);
      town.network.cut(missed.address, other.address);
    }
    await town.put(0, "torn-key", "v");
    town.kill(0);
    tear(cut.disk, "torn-key");
    // The one that missed it reaches the one that was cut alone.
    town.network.heal();
    town.network.cut(has.address, missed.address);
    town.network.cut(missed.address, has.address);
    await town.start(0, 3);
    const isCut = (): boolean => cut.disk.files().some((path) => path.startsWith("aside/torn"));
    for (let turn = 0; turn < 5000 && !isCut(); turn += 1) await undefined;
    assert.ok(isCut(), "the end of the log was cut");
    await town.pass(20);
    assert.not(town.isReady(0));
    if (end === "kill") town.kill(0);
    else {
      await town.done(town.at(0).close());
      town.network.unlisten(cut.address);
    }
    await town.start(0, 3);
    let read: string | undefined | Error = new Error("not read");
    for (let step = 0; step < 600 && read instanceof Error; step += 1) {
      read = await town.get(2, "torn-key").catch((error: Error) => error);
      await town.pass(50);
    }
    assert.is(read, "v");
    await town.until(() => town.isReady(0));
    await town.close();
  });
}

test("I4: what a store that was rolled back held alone waits for an operator, who takes what is left for all", async () => {
  const town = new Town(3);
  await town.startAll();
  await town.done(town.at(0).putNamespace("alone", { n: 1 }));
  const more = { namespace: "alone" };
  for (let index = 0; index < 12; index += 1) await town.put(0, `k${index}`, "old", more);
  await town.pass(5000);
  const place = town.places[2] as Place;
  const copy = { disk: place.disk.copy(), image: place.table.image };
  for (let index = 0; index < 24; index += 1) await town.put(0, `k${index}`, "new", more);
  await town.pass(5000);
  town.kill(2);
  place.disk = copy.disk;
  place.table = new MemoryTableDisk({}, copy.image);
  await town.start(2, 3);
  // It serves: what it holds together with others it has filled.
  await town.until(() => town.isReady(2) && town.at(2).repair().rolledBack);
  await town.until(() =>
    town
      .at(2)
      .repair()
      .lacking.every(({ n }) => n === 1),
  );
  const { lacking } = town.at(2).repair();
  assert.ok(lacking.length > 0);
  assert.match(lacking[0]?.why ?? "", "--accept-data-loss");
  const keys = Array.from({ length: 24 }, (_, index) => `k${index}`).filter((key) =>
    town
      .at(2)
      .place("alone", utf8Bytes(key))
      .replicas.some(({ node }) => node === "n3"),
  );
  const [first] = keys as [string];
  await rejectsSlug("read-quorum-not-met", town.get(0, first, more));
  place.acceptDataLoss = true;
  town.kill(2);
  await town.start(2, 3);
  await town.until(() => town.isReady(2) && town.at(2).repair().lackingCount === 0);
  for (const key of keys) {
    const value = await town.get(0, key, more);
    assert.is(value, Number(key.slice(1)) < 12 ? "old" : undefined, key);
  }
  const vote = town
    .at(2)
    .readiness()
    .find(({ name }) => name === "vote");
  assert.match(vote?.detail ?? "", "its vote is void");
  await town.close();
});

test("D5, I4: a node whose table or log is gone starts all the same where others have its data, and fills", async () => {
  for (const gone of ["table", "log"] as const) {
    const town = new Town(3);
    await town.startAll();
    const place = town.places[2] as Place;
    for (let index = 0; index < 40; index += 1) {
      await town.put(index % 3, `k${index % 10}`, `v${index}`.padEnd(9000, "x"), { w: "all" });
    }
    await town.done(place.node?.close() ?? Promise.resolve());
    town.network.unlisten(place.address);
    if (gone === "table") place.table = new MemoryTableDisk({});
    else
      for (const path of place.disk.files())
        if (path.startsWith("wal/")) await place.disk.remove(path);
    for (let index = 40; index < 50; index += 1) {
      await town.put(index % 2, `k${index % 10}`, `v${index}`.padEnd(9000, "x"));
    }
    await town.start(2, 3);
    await town.until(() => town.isReady(2));
    await town.until(() => town.at(2).repair().lackingCount === 0);
    const { filled } = town.at(2).repair();
    assert.ok(filled > 0 || gone === "log", `${gone}: ${filled} were filled`);
    for (let index = 0; index < 10; index += 1) {
      const value = await town.get(2, `k${index}`, { r: "all" });
      assert.is(value, `v${index + 40}`.padEnd(9000, "x"), gone);
    }
    assert.equal((await town.at(2).info()).damagedPartitions, []);
    await town.close();
  }
});

test("I2: an old copy of a whole folder is refused", async () => {
  const town = new Town(3);
  await town.startAll();
  const place = town.places[2] as Place;
  await town.done(Promise.all(town.places.map(({ node }) => node?.close())));
  const copy = { disk: await copyOf(place.disk), image: place.table.image };
  const restart = async (index: number): Promise<QuorateNode> => {
    town.network.unlisten((town.places[index] as Place).address);
    return town.start(index, 3);
  };
  for (const index of [0, 1, 2]) await restart(index);
  await town.until(() => [0, 1, 2].every((index) => town.isReady(index)));
  town.kill(2);
  place.disk = copy.disk;
  place.table = new MemoryTableDisk({}, copy.image);
  const old = await restart(2);
  assert.is((await town.done(old.ended)).slug, "data-folder-in-use");
  await town.close();
});

test("P7: without a majority a write says what is known, and a read fails, both at once", async () => {
  const town = new Town(3);
  await town.startAll();
  town.kill(1);
  town.kill(2);
  await town.pass(100);
  const beganMs = town.clock.monotonicMs();
  let outcome: unknown;
  await town.put(0, "k", "v").catch((error: { outcome?: unknown }) => {
    outcome = error.outcome;
  });
  // Its own disk may not have answered yet when the others are known to be gone.
  assert.ok(outcome === "partial" || outcome === "unknown", String(outcome));
  await rejectsSlug("read-quorum-not-met", town.get(0, "k"));
  assert.ok(town.clock.monotonicMs() - beganMs < 2000);
});

test("a namespace made on one node is there on the others, and its number is the same", async () => {
  const town = new Town(3);
  await town.startAll();
  const made = await town.done(town.at(1).putNamespace("fast", { w: 1, r: 1 }));
  await town.until(() =>
    town.places.every(
      ({ node }) => node?.namespaces().some(({ name }) => name === "fast") === true,
    ),
  );
  assert.equal(town.at(2).namespace("fast"), made);
  await town.done(town.at(2).deleteNamespace("fast"));
  await town.until(() => town.places.every(({ node }) => node?.namespaces().length === 1));
  await town.close();
});

test("a fourth node joins an empty cluster, and waits where there are records until a plan admits it", async () => {
  const town = new Town(5);
  for (const index of [0, 1, 2]) {
    await town.start(
      index,
      3,
      town.places.slice(0, 3).map((one) => one.address),
    );
  }
  await town.until(() => [0, 1, 2].every((index) => town.isReady(index)));
  await town.start(3, undefined);
  await town.until(() => town.isReady(3));
  await town.until(() => town.at(0).ring().members.length === 4);
  await town.put(3, "k", "v");
  assert.is(await town.get(0, "k"), "v");
  const late = await town.start(4, undefined);
  const waits = (): string =>
    late.readiness().find(({ name }) => name === "cluster")?.detail ?? "it serves";
  await town.until(() => /holds \d+ records/.test(waits()));
  assert.match(waits(), /when a plan takes it in/);
  await town.pass(5000);
  assert.is(town.at(0).ring().members.length, 4);
  await town.close();
});

test("a node that is to enter one cluster alone enters no other that is found at the same addresses", async () => {
  const town = new Town(4);
  const founders = town.places.slice(0, 3).map(({ address }) => address);
  for (const place of town.places) place.clusterId = "c1".repeat(16);
  for (const index of [0, 1, 2]) await town.start(index, 3, founders);
  await town.until(() => [0, 1, 2].every((index) => town.isReady(index)));
  await town.put(0, "k", "v");
  const late = await town.start(3, undefined);
  const waits = (): string =>
    late.readiness().find(({ name }) => name === "cluster")?.detail ?? "it serves";
  await town.until(() => /holds \d+ records/.test(waits()));
  for (const index of [0, 1, 2]) {
    town.kill(index);
    const place = town.places[index] as Place;
    place.disk = new SimDisk();
    place.table = new MemoryTableDisk({});
    place.clusterId = "c2".repeat(16);
    await town.start(index, 3, founders);
  }
  await town.until(() => [0, 1, 2].every((index) => town.isReady(index)));
  await town.pass(90_000);
  assert.is(town.at(0).ring().members.length, 3);
  assert.match(waits(), /belongs to the cluster c2c2/);
  await town.close();
});

test("T7, P4: a cluster that has dropped all it had is not empty: who joins has to learn its watermarks", async () => {
  const town = quickTown(4);
  const founders = town.places.slice(0, 3).map(({ address }) => address);
  for (const index of [0, 1, 2]) await town.start(index, 3, founders);
  await town.until(() => [0, 1, 2].every((index) => town.isReady(index)));
  await town.put(0, "k", "v", { w: "all" });
  await town.done(town.at(0).delete({ namespace: "default", requestId: "t", key: utf8Bytes("k") }));
  let held: readonly string[] = [];
  for (let second = 0; second < 60; second += 1) {
    await town.pass(1000);
    held = Object.values(await holdingsOf(town, "k"));
    if (held.every((each) => each === "nothing")) break;
  }
  assert.equal(held, ["nothing", "nothing", "nothing"]);
  const late = await town.start(3, undefined, founders);
  const waits = (): string =>
    late.readiness().find(({ name }) => name === "cluster")?.detail ?? "it serves";
  await town.until(() => /holds \d+ records/.test(waits()));
  assert.is(town.at(0).ring().members.length, 3);
  await town.close();
});

test("T9: who has founded a cluster, and waits for its voters, says so, and not what it waited for before", async () => {
  const town = new Town(3);
  const { registerStart } = Agreement.prototype;
  let open: () => void = () => {};
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  Agreement.prototype.registerStart = async function late(...args) {
    await gate;
    return registerStart.apply(this, args);
  };
  try {
    for (const index of [0, 1, 2]) await town.start(index, 3);
    await town.pass(3000);
    const waits = town
      .at(0)
      .readiness()
      .find(({ name }) => name === "cluster")?.detail;
    assert.match(waits ?? "", "A majority of the voters has to register this start");
  } finally {
    Agreement.prototype.registerStart = registerStart;
    open();
  }
  await town.until(() => [0, 1, 2].every((index) => town.isReady(index)));
  await town.close();
});

test("T7: a cluster whose members all end while a node joins takes writes again, though that node is gone", async () => {
  const town = new Town(3);
  await town.startAll();
  const { epoch } = await town.at(0).info();
  for (const [index, place] of town.places.entries()) {
    town.kill(index);
    // As the one that admits a node has them do it, before it proposes the next epoch.
    const ports = { isPresent: () => false, giveUp: () => {} };
    const seal = await EpochSeal.open({ clock: town.clock, disk: place.disk, ...ports });
    await seal.seal(epoch);
  }
  for (const index of [0, 1, 2]) await town.start(index, 3);
  await town.until(() => [0, 1, 2].every((index) => town.isReady(index)));
  // P7: each of them has refused it.
  const refused = await rejectsSlug("write-quorum-not-met", town.put(0, "k", "v"));
  assert.is(refused.outcome, "none");
  assert.equal(
    refused.facts.replicas?.map(({ reason }) => reason?.includes("A node is joining")),
    [true, true, true],
  );
  assert.is(town.at(0).hints().count, 0);
  await town.pass(20_000);
  await town.put(0, "k", "v");
  assert.is(await town.get(1, "k"), "v");
  await town.close();
});

test("a node with another secret is no part of it, and says that it waits", async () => {
  const town = new Town(3);
  await town.startAll();
  const stranger = new Town(1, "other");
  const node = await openNode({
    clock: town.clock,
    random: new SimRandom(77),
    disk: new SimDisk(),
    report: silentReport,
    openTable: () => (stranger.places[0] as Place).table.open(),
    settings: { ...smallSettings, name: "x" },
    cluster: {
      network: town.network.from("10.0.0.9:80"),
      settings: { peers: ["10.0.0.1:80"], secret: "other", addresses: ["10.0.0.9:80"] },
    },
  });
  await town.pass(15_000);
  const checks = node.readiness();
  assert.ok(checks.some(({ ok, detail }) => !ok && detail?.includes("this cluster's secret")));
  const closing = node.close();
  await town.done(closing);
  await town.close();
});

test("/metrics of a node has a sample for each peer, and for each node that it keeps hints for", async () => {
  const town = new Town(3);
  await town.startAll();
  town.kill(2);
  await town.put(0, "k", "v");
  await town.until(() => town.at(0).hints().count === 1);
  const budget = { requestsMax: 10, bytesMax: 1000 };
  const metrics = new Metrics({
    log: createReport({ level: "error", format: "json", colour: false }),
    admission: new Admission({ client: budget, replication: budget, hint: budget, lagMsMax: 0 }),
    process: false,
  });
  metrics.watchNode(town.at(0));
  const text = await metrics.text();
  assert.match(text, /^quorate_hints\{target="n3"\} 1$/m);
  assert.match(text, /^quorate_hint_oldest_seconds\{target="n3"\} \d/m);
  for (const peer of ["n2", "n3"]) {
    assert.match(text, new RegExp(`^quorate_peer_phi\\{peer="${peer}"\\} \\d`, "m"));
    assert.match(text, new RegExp(`^quorate_link_queue_bytes\\{peer="${peer}"\\} \\d`, "m"));
  }
  assert.not.match(text, 'peer="n1"');
});

test.run();
