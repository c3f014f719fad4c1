/**
 * One whole node on a simulated disk: what it keeps over every kind of end, whose folder it takes, its
 * namespaces, and keys that expire.
 */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimDisk } from "../sim/disk.ts";
import { utf8Bytes } from "../src/bytes.ts";
import type { NodeSettings, QuorateNode } from "../src/node.ts";
import { after, common, ends, get, keysOf, put, remove, reopened } from "./node_harness.ts";
import { isLong, rejectsSlug } from "./samples.ts";
import { newWorld, openIn, type World } from "./store_harness.ts";

const test = suite("node");

test("single-node-accepts-writes: alone and new, it takes a write at every level and reads it back", async () => {
  const node = await openIn(newWorld());
  assert.is(node.name, "n1");
  for (const consistency of ["one", "quorum", "all"] as const) {
    const key = utf8Bytes(consistency);
    const value = utf8Bytes("v");
    const request = { ...common, consistency, key };
    const written = await node.put({ ...request, value, contentType: "text/plain", meta: [] });
    assert.is(written.durability, "fsync");
    assert.is(written.replicas, 1);
    assert.is(written.consistency, consistency);
    const answer = await node.get(request);
    assert.equal(answer.record?.version, written.version);
    assert.is(answer.replies, 1);
  }
  const { keys, bytes, boot, epoch } = await node.info();
  assert.equal({ keys, bytes, boot, epoch }, { keys: 3, bytes: 3, boot: 1, epoch: 1 });
  await node.close();
});

test("restart-after-delete-stays-deleted: whichever way it ended, and however often", async () => {
  for (const end of ends) {
    for (const isCheckpointed of [false, true]) {
      let world = newWorld();
      let node = await openIn(world);
      await put(node, "k", "before");
      await put(node, "other", "kept");
      // The put is in the table and its delete in the log alone, or both in the log.
      if (isCheckpointed) ({ world, node } = await reopened(world, node, "close"));
      await remove(node, "k");
      for (let start = 0; start < 3; start += 1) {
        ({ world, node } = await reopened(world, node, end));
        const what = `${end}, start ${start}, ${isCheckpointed}`;
        assert.is(await get(node, "k"), undefined, what);
        assert.equal(await keysOf(node), ["other"], what);
        await put(node, "more", `${start}`);
        await remove(node, "more");
      }
      await node.close();
    }
  }
});

test("what a put said is what a get says, over a restart, empty and binary values too", async () => {
  for (const end of ends) {
    let world = newWorld();
    let node = await openIn(world);
    const every = Uint8Array.from({ length: 256 }, (_, byte) => byte);
    const meta = [["a", "1"]] as const;
    await put(node, "every", every, { contentType: "application/x-every", meta });
    await put(node, "empty", "", { contentType: "" });
    ({ world, node } = await reopened(world, node, end));
    const { record } = await node.get({ ...common, key: utf8Bytes("every") });
    assert.equal([...(record?.value ?? [])], [...every]);
    assert.is(record?.contentType, "application/x-every");
    assert.equal(record?.meta, meta);
    assert.is(await get(node, "empty"), "");
    assert.equal(await keysOf(node), ["empty", "every"]);
    const { keys, bytes } = await node.count(common);
    assert.equal({ keys, bytes }, { keys: 2, bytes: 256 });
    await node.close();
  }
});

test("the name of a folder's node stays, and another one is refused", async () => {
  const world = newWorld();
  const node = await openIn(world, { name: "ada" });
  assert.is(node.name, "ada");
  assert.equal(node.replicas(utf8Bytes("k"), 3), ["ada"]);
  const { members, epoch, partitions } = node.ring();
  assert.equal(
    members.map(({ node: name, isVoter, firstCount, share }) => [name, isVoter, firstCount, share]),
    [["ada", true, partitions, 1]],
  );
  assert.is(epoch, 1);
  const { partition, n, replicas } = node.place("default", utf8Bytes("k"));
  assert.equal([n, replicas.map(({ node: name }) => name)], [3, ["ada"]]);
  assert.ok(partition >= 0 && partition < partitions);
  assert.throws(() => node.place("none", utf8Bytes("k")), /no namespace 'none'/);
  const { voters, members: seen } = await node.cluster();
  assert.equal(voters, ["ada"]);
  assert.equal(
    seen.map(({ node: name, state, isSelf, keys, hints }) => [name, state, isSelf, keys, hints]),
    [["ada", "alive", true, 0, { count: 0, bytes: 0 }]],
  );
  assert.ok((seen[0]?.disk?.totalBytes ?? 0) > 0, "the disk is told");
  assert.equal(await node.whenNoHints(1000), {
    node: "ada",
    count: 0,
    bytes: 0,
    marks: 0,
    targets: [],
  });
  await node.close();
  const again = await openIn(world);
  assert.is(again.name, "ada");
  await again.close();
  const error = await rejectsSlug("wrong-data-folder", openIn(world, { name: "bob" }));
  assert.match(error.message, /'ada'.*'bob'/);
  await (await openIn(world, { name: "ada" })).close();
});

test("a name that could not stand in a header or a log is refused before anything is made", async () => {
  for (const name of ["", "a\nb", "x".repeat(65)]) {
    const world = newWorld();
    await rejectsSlug("invalid-config", openIn(world, { name }), JSON.stringify(name));
    await (await openIn(world, { name: "ada" })).close();
  }
});

test("the partitions are fixed at the first start, and have to be a power of two", async () => {
  for (const partitions of [0, 3, 2048, 1.5, -4]) {
    await rejectsSlug("invalid-config", openIn(newWorld(), { partitions }), `${partitions}`);
  }
  const world = newWorld();
  const node = await openIn(world, { partitions: 8 });
  await put(node, "k", "v");
  await node.close();
  await rejectsSlug("invalid-config", openIn(world, { partitions: 4 }));
  const { partitions: _, ...rest } = { partitions: undefined };
  const again = await openIn(world, { partitions: 8, ...rest });
  assert.is((await again.info()).partitions, 8);
  assert.is(await get(again, "k"), "v");
  await again.close();
});

test("data-folder-in-use: a folder has one node at a time, and a failed start gives it back", async () => {
  const world = newWorld();
  const node = await openIn(world, { name: "ada" });
  await rejectsSlug("data-folder-in-use", openIn(world));
  await put(node, "k", "v");
  await node.close();
  await rejectsSlug("wrong-data-folder", openIn(world, { name: "bob" }));
  const next = await openIn(world);
  assert.is(await get(next, "k"), "v");
  await next.close();
});

/** A node's folder with some data, closed. */
async function closedWorld(seed: number, settings: Partial<NodeSettings> = {}): Promise<World> {
  const world = newWorld({ seed });
  const node = await openIn(world, settings);
  await put(node, "k", `of ${seed}`);
  await node.close();
  return world;
}

test("wrong-data-folder: files of two folders are never mixed, and nothing is changed by the refusal", async () => {
  const one = await closedWorld(1);
  const other = await closedWorld(2);
  const mixes: Readonly<Record<string, readonly string[]>> = {
    identity: ["identity.a", "identity.b"],
    topology: ["topology.a", "topology.b"],
    "write-ahead log": other.disk.files().filter((path) => path.startsWith("wal/")),
    table: [],
  };
  for (const [what, paths] of Object.entries(mixes)) {
    const { disk } = one;
    const mixed = new SimDisk();
    await mixed.makeFolder("wal");
    for (const path of disk.files()) {
      if (what !== "write-ahead log" || !path.startsWith("wal/")) {
        mixed.replace(path, disk.bytesOf(path));
      }
    }
    for (const path of paths) mixed.replace(path, other.disk.bytesOf(path));
    const image = what === "table" ? other.table.image : one.table.image;
    const world = newWorld({ seed: 9, disk: mixed, image });
    // The identity counts the attempt; nothing else may be touched.
    const shown = (): unknown[] =>
      mixed
        .files()
        .filter((path) => !path.startsWith("identity."))
        .map((path) => [path, [...mixed.bytesOf(path)]]);
    const before = shown();
    await rejectsSlug("wrong-data-folder", openIn(world), what);
    assert.equal(shown(), before, what);
  }
});

test("wrong-data-folder: a folder that holds something else, or whose identity is gone, is not taken", async () => {
  const foreign = new SimDisk();
  foreign.replace("holiday.jpg", Uint8Array.of(1));
  const error = await rejectsSlug("wrong-data-folder", openIn(newWorld({ disk: foreign })));
  assert.match(error.message, /holiday\.jpg/);
  assert.equal(foreign.files(), ["holiday.jpg"]);
  const world = await closedWorld(1);
  const disk = world.disk.kill();
  await disk.remove("identity.a");
  await disk.remove("identity.b");
  await rejectsSlug("wrong-data-folder", openIn(newWorld({ disk, image: world.table.image })));
});

test("after an orderly close the table alone has everything; after any other end the log has to be there", async () => {
  for (const end of ends) {
    const world = newWorld();
    const node = await openIn(world);
    await put(node, "k", "v");
    if (end === "close") await node.close();
    const next = after(world, end === "power loss" ? end : "kill");
    for (const name of await next.disk.list("wal")) await next.disk.remove(`wal/${name}`);
    if (end !== "close") {
      await rejectsSlug("corruption", openIn(next), end);
      continue;
    }
    const again = await openIn(next);
    assert.is(await get(again, "k"), "v");
    await again.close();
  }
});

test("one damaged copy of the identity or the topology harms nothing, two are a refusal that keeps them", async () => {
  for (const name of ["identity", "topology"]) {
    for (const suffix of ["a", "b"]) {
      const world = await closedWorld(1);
      world.disk.flip(`${name}.${suffix}`, 30);
      const node = await openIn(world);
      assert.is(await get(node, "k"), "of 1");
      await node.close();
    }
    const world = await closedWorld(1);
    for (const suffix of ["a", "b"]) world.disk.flip(`${name}.${suffix}`, 30);
    const before = [...world.disk.bytesOf(`${name}.a`)];
    await rejectsSlug("corruption", openIn(world), name);
    assert.equal([...world.disk.bytesOf(`${name}.a`)], before);
  }
});

test("a namespace has keys and a policy of its own, and its deletion takes both", async () => {
  for (const end of ends) {
    let world = newWorld();
    let node = await openIn(world);
    await rejectsSlug("namespace-not-found", put(node, "k", "v", { namespace: "cars" }));
    const made = await node.putNamespace("cars", { valueBytesMax: 10, ttlSeconds: 60 });
    assert.is(made.number, 1);
    await put(node, "k", "default");
    const { expiresAtMs } = await put(node, "k", "cars", { namespace: "cars" });
    assert.ok((expiresAtMs ?? 0) >= world.clock.nowMs() + 60_000, "the namespace's ttl");
    await rejectsSlug("value-too-large", put(node, "l", "12345678901", { namespace: "cars" }));
    ({ world, node } = await reopened(world, node, end));
    assert.is(await get(node, "k"), "default");
    assert.is(await get(node, "k", "cars"), "cars");
    assert.is(node.namespace("cars").policy.valueBytesMax, 10);
    await node.deleteNamespace("cars");
    await node.deleteNamespace("cars");
    await rejectsSlug(
      "namespace-not-found",
      node.get({ ...common, namespace: "cars", key: utf8Bytes("k") }),
    );
    await world.clock.advance(1000);
    // Its number is not used again: what a late write might leave is nobody's (T8).
    assert.is((await node.putNamespace("cars", {})).number, 2);
    assert.is(await get(node, "k", "cars"), undefined);
    assert.equal(await keysOf(node, "cars"), []);
    ({ world, node } = await reopened(world, node, end));
    assert.equal(await keysOf(node, "cars"), []);
    assert.equal(await keysOf(node), ["k"]);
    assert.is((await node.info()).keys, 1);
    await node.close();
  }
});

test("a namespace with thousands of keys in one partition is removed to the last one", async () => {
  for (const memtableBytesMax of [8 * 1024, 64 * 1024 * 1024]) {
    const world = newWorld();
    const settings = { partitions: 1, memtableBytesMax };
    let node = await openIn(world, settings);
    await node.putNamespace("many", {});
    await put(node, "kept", "v");
    for (let from = 0; from < 1600; from += 200) {
      const keys = Array.from({ length: 200 }, (_, at) => `k${from + at}`);
      await Promise.all(keys.map((key) => put(node, key, "v", { namespace: "many" })));
    }
    if (memtableBytesMax > 8 * 1024) {
      await node.close();
      node = await openIn(world, settings);
    }
    await node.deleteNamespace("many");
    await purged(world, node);
    assert.is((await node.info()).keys, 1, `memtable of ${memtableBytesMax}`);
    await node.close();
    const again = await openIn(world, settings);
    assert.is((await again.info()).keys, 1);
    assert.is((await again.info()).epoch, 4, "and the topology does not name it any more");
    await again.close();
  }
});

/** Waits until a deleted namespace is gone from the topology: the third change after genesis. */
async function purged(world: World, node: QuorateNode): Promise<void> {
  for (let round = 0; round < 500 && (await node.info()).epoch < 4; round += 1) {
    await world.clock.advance(100);
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}

test("the removal of a deleted namespace goes on after a crash at any moment of it", async () => {
  for (let callsLeft = 1; callsLeft < (isLong ? 200 : 60); callsLeft += isLong ? 1 : 4) {
    const world = newWorld();
    const node = await openIn(world);
    await node.putNamespace("cars", {});
    await put(node, "kept", "v");
    for (let number = 0; number < 40; number += 1) {
      await put(node, `k${number}`, "x".repeat(300), { namespace: "cars" });
    }
    await node.deleteNamespace("cars");
    const { callCount } = world.disk;
    for (let turn = 0; turn < 20_000 && world.disk.callCount < callCount + callsLeft; turn += 1) {
      await undefined;
    }
    const next = after(world, callsLeft % 2 === 0 ? "kill" : "power loss");
    const again = await openIn(next);
    await purged(next, again);
    assert.is((await again.info()).keys, 1, `after ${callsLeft} calls`);
    assert.equal(await keysOf(again), ["kept"]);
    await again.close();
  }
});

test("a key lives as long as its ttl, as the store's clock goes", async () => {
  let world = newWorld();
  let node = await openIn(world);
  const { expiresAtMs } = await put(node, "short", "v", { ttlSeconds: 10 });
  await put(node, "long", "v", { ttlSeconds: 1000 });
  await put(node, "ever", "v");
  assert.is(expiresAtMs, world.clock.nowMs() + 10_000);
  await world.clock.advance(9_999);
  assert.is(await get(node, "short"), "v");
  assert.equal(await keysOf(node), ["ever", "long", "short"]);
  await world.clock.advance(1);
  assert.is(await get(node, "short"), undefined);
  assert.equal(await keysOf(node), ["ever", "long"]);
  assert.is((await node.count({ ...common, prefix: utf8Bytes("") })).keys, 2);
  // A clock that is set back does not bring it to life again in this process (R3).
  await put(node, "stamp", "v");
  world.clock.setNowMs(world.clock.nowMs() - 200);
  assert.is(await get(node, "short"), undefined);
  ({ world, node } = await reopened(world, node, "kill"));
  assert.is(await get(node, "short"), undefined);
  assert.is(await get(node, "long"), "v");
  await put(node, "long", "again");
  await world.clock.advance(2_000_000);
  assert.is(await get(node, "long"), "again", "a put without ttl clears it");
  await node.close();
});

test("close waits for what is under way, checkpoints once, and then every call is `draining`", async () => {
  const world = newWorld();
  const node = await openIn(world);
  const writes = Array.from({ length: 20 }, (_, number) => put(node, `k${number}`, "v"));
  node.drain();
  assert.ok(node.readiness().some(({ name, ok }) => name === "serving" && !ok));
  const closing = node.close();
  assert.is(node.close(), closing, "the same close");
  await Promise.all(writes);
  await closing;
  for (const late of [
    put(node, "k", "v"),
    node.list(common),
    node.putNamespace("late", {}),
    node.deleteNamespace("late"),
    node.batch({ ...common, operations: [] }),
  ]) {
    assert.is((await rejectsSlug("draining", late)).outcome, "none");
  }
  const again = await openIn(world);
  assert.is((await keysOf(again)).length, 20);
  assert.is((await again.info()).boot, 2);
  await again.close();
});

test("a batch runs the operations of one key in their order, and each has its own result", async () => {
  const node = await openIn(newWorld());
  const key = utf8Bytes("k");
  const value = (text: string) => ({ value: utf8Bytes(text), contentType: "text/plain", meta: [] });
  const results = await node.batch({
    ...common,
    operations: [
      { kind: "put", key, ...value("1") },
      { kind: "get", key },
      { kind: "put", key: utf8Bytes("huge"), ...value("x".repeat(1024 * 1024 + 1)) },
      { kind: "put", key, ...value("2") },
      { kind: "get", key },
      { kind: "delete", key },
      { kind: "get", key },
    ],
  });
  const shown = results.map((result) => {
    if (result.kind === "error") return "error";
    if (result.kind !== "get") return result.kind;
    const { record } = result.answer;
    return record === undefined ? "nothing" : Buffer.from(record.value).toString();
  });
  assert.equal(shown, ["put", "1", "error", "put", "2", "delete", "nothing"]);
  await rejectsSlug(
    "namespace-not-found",
    node.batch({ ...common, namespace: "x", operations: [] }),
  );
  await node.close();
});

test.run();
