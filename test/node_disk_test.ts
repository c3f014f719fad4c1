/**
 * One whole node whose disk loses power, fills up, fails or decays: nothing acknowledged is lost, what
 * is damaged is said and never served, and a full disk passes.
 */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimDisk } from "../sim/disk.ts";
import { SimRandom } from "../sim/random.ts";
import { utf8Bytes } from "../src/bytes.ts";
import { QuorateError } from "../src/errors.ts";
import type { QuorateNode } from "../src/node.ts";
import { Ring } from "../src/ring.ts";
import { tableKey } from "../src/store_entry.ts";
import { after, common, type ends, get, keysOf, put, remove, reopened } from "./node_harness.ts";
import { isLong, rejectsSlug } from "./samples.ts";
import { check, Ledger, newWorld, openIn, type World, work } from "./store_harness.ts";

const test = suite("node disk");

test("crash-between-snapshot-and-checkpoint-loses-nothing: a power loss after each of its commits", async () => {
  // Every state that the table had while a checkpoint was written, with the log as it was then.
  const world = newWorld({ noted: true });
  const ledger = new Ledger();
  const random = new SimRandom(5);
  const node = await openIn(world);
  await work(node, ledger, { random, count: 60, keys: 10, bytesMax: 900 });
  const { moment } = world.disk;
  await node.close();
  let states = 0;
  for (const state of world.disk.crashStates({
    random,
    chancesPerMoment: 1,
    statesMax: isLong ? 20_000 : 400,
  })) {
    const image = (state.notes.at(-1) as { readonly image: World["table"]["image"] } | undefined)
      ?.image;
    if (image === undefined || state.moment < moment) continue;
    for (let keep = 0; keep < image.possible.length; keep += 1) {
      const left = newWorld({
        seed: 3,
        nowMs: world.clock.nowMs() + 1000,
        disk: state.open(),
        image,
      });
      left.table.crash({ keep });
      const again = await openIn(left);
      await check(again, ledger, ledger.acknowledged, `${state.what}, table ${keep}`);
      await again.close();
      states += 1;
    }
  }
  assert.ok(states > 5, `${states} states`);
});

test("wal-and-memory-apply-in-the-same-order: a replay holds what the memory held", async () => {
  for (let seed = 1; seed <= (isLong ? 300 : 15); seed += 1) {
    const world = newWorld({ seed });
    const random = new SimRandom(seed);
    const node = await openIn(world, { memtableBytesMax: 1024 * 1024 });
    // Many at once on few keys: who comes last in memory has to come last in the log.
    const writes = Array.from({ length: 120 }, (_, number) => {
      const key = `k${random.below(3)}`;
      const durability = random.below(3) === 0 ? "memory" : "fsync";
      if (random.below(5) === 0) return remove(node, key);
      return put(node, key, `${number}`, { durability });
    });
    await Promise.all(writes);
    // What was written to memory alone is synced with what comes after it.
    await put(node, "last", "");
    const held = await shownRecords(node);
    const next = await openIn(after(world, "power loss"));
    assert.equal(await shownRecords(next), held, `seed ${seed}`);
    await next.close();
  }
});

async function shownRecords(node: QuorateNode): Promise<string[]> {
  const keys = ["k0", "k1", "k2", "last"];
  return Promise.all(
    keys.map(async (key) => {
      const { record } = await node.get({ ...common, key: utf8Bytes(key) });
      if (record === undefined) return `${key} nothing`;
      return `${key} ${record.version.hlc} ${record.version.origin} ${Buffer.from(record.value)}`;
    }),
  );
}

test("durability=memory is lost by a power loss, but not by a kill after it was written, nor by a close", async () => {
  const survives = async (end: (typeof ends)[number], isIdle: boolean): Promise<boolean> => {
    let gate: Promise<void> = Promise.resolve();
    let open: () => void = () => {};
    const world = newWorld({ disk: new SimDisk({ pause: () => gate }) });
    const node = await openIn(world);
    await put(node, "safe", "v");
    gate = new Promise((resolve) => {
      open = resolve;
    });
    const answer = await put(node, "k", "v", { durability: "memory" });
    assert.is(answer.durability, "memory", "the answer says which it was");
    // The batch is given to the disk, and its sync does not come.
    for (let turn = 0; turn < 100; turn += 1) await undefined;
    const left = end === "close" || isIdle ? undefined : after(world, end);
    gate = Promise.resolve();
    open();
    if (isIdle) await world.clock.advance(1000);
    const next = left === undefined ? (await reopened(world, node, end)).node : await openIn(left);
    assert.is(await get(next, "safe"), "v");
    const isThere = (await get(next, "k")) === "v";
    await next.close();
    return isThere;
  };
  assert.is(await survives("power loss", false), false);
  assert.is(await survives("kill", false), true);
  assert.is(await survives("close", false), true);
  assert.is(await survives("power loss", true), true, "it reaches the disk with the next batch");
});

/** Changes what lies in the table under a key, behind the node's back. */
async function damageTable(
  world: World,
  node: QuorateNode,
  key: string,
  change: (record: Uint8Array) => Uint8Array | undefined,
): Promise<number> {
  const { clusterId, partitions } = await node.info();
  const bytes = utf8Bytes(key);
  const { partition } = new Ring(clusterId, partitions).place(0, bytes);
  await node.close();
  const table = await world.table.open();
  const name = tableKey(partition, 0, bytes);
  const record = table.get(name)?.slice();
  assert.ok(record !== undefined, "the record is in the table");
  await table.commit([{ key: name, value: change(record as Uint8Array) }]);
  await table.flushed();
  await table.close();
  return partition;
}

function flipped(record: Uint8Array, bit: number): Uint8Array {
  const at = bit % (record.length * 8);
  record[at >> 3] = (record[at >> 3] as number) ^ (1 << (at & 7));
  return record;
}

test("bit-flip-is-reported-and-repaired: it is never served, by get, list or batch, and a new write repairs it", async () => {
  for (let bit = 0; bit < 8 * 60; bit += isLong ? 1 : 23) {
    const world = newWorld({ seed: bit + 1 });
    const node = await openIn(world);
    await put(node, "k", "a value that somebody relies on");
    await put(node, "whole", "v");
    const partition = await damageTable(world, node, "k", (record) => flipped(record, bit));
    const again = await openIn(world);
    const what = `bit ${bit}`;
    await rejectsSlug("corruption", again.get({ ...common, key: utf8Bytes("k") }), what);
    await rejectsSlug("corruption", again.list({ ...common, values: true }), what);
    const [result] = await again.batch({
      ...common,
      operations: [{ kind: "get", key: utf8Bytes("k") }],
    });
    assert.is(result?.kind, "error", what);
    assert.equal((await again.info()).damagedPartitions, [partition], what);
    assert.ok(
      again.readiness().some(({ detail }) => detail?.includes("1 partitions")),
      what,
    );
    assert.is(await get(again, "whole"), "v", what);
    await put(again, "k", "again");
    assert.is(await get(again, "k"), "again", what);
    await again.close();
    const last = await openIn(world);
    assert.is(await get(last, "k"), "again", what);
    await last.close();
  }
});

test("the scrub finds a damaged record and a vanished one, and marks their partitions for good", async () => {
  for (const kind of ["flipped", "vanished", "unharmed"] as const) {
    const world = newWorld({ seed: 4 });
    const node = await openIn(world);
    for (let number = 0; number < 30; number += 1) await put(node, `k${number}`, "x".repeat(200));
    const partition = await damageTable(world, node, "k7", (record) =>
      kind === "flipped" ? flipped(record, 700) : kind === "vanished" ? undefined : record,
    );
    const again = await openIn(world, { scrubBytesPerSecond: 4096 });
    assert.equal((await again.info()).damagedPartitions, [], "nothing is known at the start");
    await world.clock.advance(30_000);
    const expected = kind === "unharmed" ? [] : [partition];
    assert.equal((await again.info()).damagedPartitions, expected, kind);
    if (kind === "vanished") {
      await rejectsSlug("corruption", again.get({ ...common, key: utf8Bytes("k7") }));
      await rejectsSlug("corruption", again.list(common));
    }
    await again.close();
    const last = await openIn(world);
    assert.equal((await last.info()).damagedPartitions, expected, `${kind}: the mark is durable`);
    await last.close();
    const accepted = await openIn(world, { acceptDataLoss: true });
    assert.equal((await accepted.info()).damagedPartitions, []);
    await accepted.close();
  }
});

test("a write over a damaged record leaves no wrong count behind, also over a restart", async () => {
  const world = newWorld({ seed: 5 });
  const node = await openIn(world);
  await put(node, "k", "first");
  await put(node, "whole", "v");
  await damageTable(world, node, "k", (record) => flipped(record, 700));
  const again = await openIn(world);
  // Nobody has read the damaged record: the write alone meets it, and counts what it cannot take off.
  await put(again, "k", "again");
  assert.is((await again.info()).keys, 3);
  await again.close();
  const scrubbed = await openIn(world, { scrubBytesPerSecond: 4096 });
  await world.clock.advance(30_000);
  const { keys, bytes, damagedPartitions } = await scrubbed.info();
  assert.equal(damagedPartitions, [], "nothing is lost: the key was written again");
  assert.equal([keys, bytes], [2, 6]);
  await put(scrubbed, "k", "more");
  await scrubbed.close();
  const last = await openIn(world);
  assert.is((await last.info()).keys, 2, "what the scrub counted is kept");
  await last.close();
});

test("the scrub of a table that changes all the time finds nothing where nothing is", async () => {
  const world = newWorld({ seed: 6 });
  const ledger = new Ledger();
  const random = new SimRandom(6);
  const node = await openIn(world, { scrubBytesPerSecond: 200_000 });
  await work(node, ledger, {
    random,
    count: 400,
    keys: 20,
    bytesMax: 900,
    after: () => world.clock.advance(random.below(40)),
  });
  await world.clock.advance(48 * 3600 * 1000);
  assert.equal((await node.info()).damagedPartitions, []);
  await check(node, ledger, ledger.acknowledged, "after the scrub");
  await node.close();
});

test("a full disk: puts are told 507, deletes and reads go on, and it clears by itself", async () => {
  const reserve = 256 * 1024;
  const disk = new SimDisk();
  const world = newWorld({ disk });
  const node = await openIn(world, { diskReserveBytes: reserve });
  await put(node, "a", "v");
  await put(node, "b", "v");
  const { freeBytes } = await disk.space();
  disk.totalBytes -= freeBytes - reserve + 4096;
  await world.clock.advance(1000);
  const error = await rejectsSlug("disk-full", put(node, "c", "v"));
  assert.is(error.status, 507);
  assert.is(error.outcome, "none");
  assert.is(await get(node, "a"), "v");
  await remove(node, "a");
  assert.is(await get(node, "a"), undefined);
  assert.equal(await keysOf(node), ["b"]);
  assert.ok(
    node.readiness().every(({ ok }) => ok),
    "it stays in service",
  );
  assert.ok(node.readiness().some(({ detail }) => detail?.includes("nearly full")));
  disk.totalBytes += 1024 * 1024;
  await world.clock.advance(1000);
  await put(node, "c", "v");
  assert.equal(await keysOf(node), ["b", "c"]);
  await node.close();
});

test("a disk that does not say how large it is, is not taken for a full one", async () => {
  const disk = new SimDisk();
  disk.space = async () => ({ freeBytes: 0, totalBytes: 0 });
  const world = newWorld({ disk });
  const node = await openIn(world, { diskReserveBytes: 4096 });
  for (let number = 0; number < 100; number += 1) await put(node, `k${number}`, "v");
  await node.close();
});

test("a disk without a byte left: deletes go on in the segments of the log that a checkpoint frees", async () => {
  const disk = new SimDisk();
  const world = newWorld({ disk });
  // Small writes fill the log long before the memtable.
  const limits = { memtableBytesMax: 64 * 1024 * 1024, segmentBytes: 512 * 1024 };
  const node = await openIn(world, { ...limits, diskReserveBytes: 4096 });
  const keys = Array.from({ length: 300 }, (_, number) => `k${number}`);
  for (const key of keys) await put(node, key, "v");
  disk.fill(0);
  await world.clock.advance(1000);
  for (let round = 0; round < 3; round += 1) {
    for (const key of keys) {
      const removing = remove(node, key);
      removing.catch(() => {});
      await world.clock.advance(10);
      await removing;
    }
  }
  await rejectsSlug("disk-full", put(node, "k", "v"));
  assert.equal(await keysOf(node), []);
  disk.totalBytes += 1024 * 1024;
  await node.close();
});

test("a disk without a byte left: what is over is still read as nothing, which takes a mark in the log", async () => {
  const disk = new SimDisk();
  const world = newWorld({ disk });
  const limits = { memtableBytesMax: 64 * 1024 * 1024, segmentBytes: 512 * 1024 };
  const node = await openIn(world, { ...limits, diskReserveBytes: 4096 });
  for (let number = 0; number < 300; number += 1) {
    await put(node, `k${number}`, "v", { ttlSeconds: 10 + number });
  }
  disk.fill(0);
  for (let second = 0; second < 9 + 300; second += 1) {
    await world.clock.advance(1000);
    const reading = get(node, `k${second - 9}`);
    reading.catch(() => {});
    await world.clock.advance(1);
    assert.is(await reading, undefined);
  }
  disk.totalBytes += 1024 * 1024;
  await node.close();
});

test("a disk without a byte left, met by many writers at once, ends nothing and loses nothing", async () => {
  let refusedCount = 0;
  for (let seed = 1; seed <= (isLong ? 200 : 12); seed += 1) {
    const random = new SimRandom(seed);
    const disk = new SimDisk({ isRecorded: false });
    const world = newWorld({ seed, disk });
    const node = await openIn(world, { memtableBytesMax: 64 * 1024 });
    let ended = false;
    void node.ended.then(() => {
      ended = true;
    });
    const held = new Map<string, string>();
    for (let round = 0; round < 40; round += 1) {
      if (round % 8 === 2) {
        const { freeBytes } = await disk.space();
        disk.totalBytes -= freeBytes;
      }
      if (round % 8 === 7) disk.totalBytes += 8 * 64 * 1024;
      const keys = Array.from({ length: 1 + random.below(24) }, (_, at) => `${round}-${at}`);
      const values = keys.map((key) => key.padEnd(random.below(5000), "x"));
      const done = Promise.all(
        keys.map(async (key, at) => {
          const value = values[at] as string;
          try {
            await put(node, key, value);
            held.set(key, value);
          } catch (error) {
            const { slug, outcome } = error as { slug?: string; outcome?: string };
            assert.ok(["disk-full", "overloaded", "timeout"].includes(slug ?? ""), String(error));
            if (slug !== "timeout") assert.is(outcome, "none", slug);
            refusedCount += 1;
          }
        }),
      );
      for (let step = 0; step < 6; step += 1) await world.clock.advance(1000);
      await done;
      assert.is(ended, false, `seed ${seed}, round ${round}`);
    }
    disk.totalBytes = 2 ** 40;
    await world.clock.advance(5000);
    for (const [key, value] of held) assert.is(await get(node, key), value, `seed ${seed}`);
    const next = await openIn(after(world, "power loss"));
    for (const [key, value] of held) assert.is(await get(next, key), value, `seed ${seed}`);
    await next.close();
  }
  assert.ok(refusedCount > 0, "the disk was full now and then");
});

test("P7: a read that waits for a write whose sync fails has no outcome, the write's is unknown", async () => {
  const world = newWorld();
  const node = await openIn(world);
  await put(node, "k", "v");
  for (let turn = 0; turn < 3000; turn += 1) await undefined;
  world.disk.failCall(2, { code: "EIO" });
  const written = rejectsSlug("read-only", put(node, "k", "lost?"));
  const key = utf8Bytes("k");
  const reads: Record<string, () => Promise<unknown>> = {
    get: () => node.get({ ...common, key }),
    list: () => node.list({ ...common, values: true }),
    batch: async () => {
      const [only] = await node.batch({ ...common, operations: [{ kind: "get", key }] });
      if (only?.kind === "error") throw only.error;
    },
  };
  const failures: Promise<readonly [name: string, error: unknown]>[] = [];
  for (let turn = 0; turn < 100; turn += 1) {
    for (const [name, read] of Object.entries(reads)) {
      failures.push(
        read().then(
          () => [name, undefined],
          (error) => [name, error],
        ),
      );
    }
    await undefined;
  }
  assert.is((await written).outcome, "unknown");
  const waited = new Set<string>();
  for (const [name, error] of await Promise.all(failures)) {
    if (error === undefined) continue;
    assert.instance(error, QuorateError);
    const { slug, outcome } = error as QuorateError;
    assert.is(slug, "read-only");
    // Those that came after the failure are refused at once, with outcome `none`.
    assert.ok(outcome === undefined || outcome === "none", `${name} says ${outcome}`);
    if (outcome === undefined) waited.add(name);
  }
  assert.equal([...waited].sort(), Object.keys(reads).sort());
  await node.close();
});

test("a store whose log failed says so once, refuses from then on, and is not ready", async () => {
  const world = newWorld();
  const node = await openIn(world);
  await put(node, "k", "v");
  for (let turn = 0; turn < 3000; turn += 1) await undefined;
  world.disk.failCall(2, { code: "EIO" });
  const error = await rejectsSlug("read-only", put(node, "k", "lost?"));
  assert.is(error.outcome, "unknown");
  assert.is((await node.ended).slug, "read-only");
  assert.is((await rejectsSlug("read-only", put(node, "k", "v"))).outcome, "none");
  await rejectsSlug("read-only", node.get({ ...common, key: utf8Bytes("k") }));
  assert.ok(node.readiness().some(({ name, ok }) => name === "store" && !ok));
  await node.close();
  const next = await openIn(after(world, "power loss"));
  assert.ok(["v", "lost?"].includes((await get(next, "k")) ?? ""));
  await next.close();
});

test.run();
