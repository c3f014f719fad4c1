/**
 * Namespaces that are made and deleted at the same moment, by several callers, and at a close: the
 * topology's changes run one after another, and each caller hears of its own.
 */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { utf8Bytes } from "../src/bytes.ts";
import type { QuorateNode } from "../src/node.ts";
import { newWorld, openIn, requestId, type World } from "./store_harness.ts";

const test = suite("namespace");

async function put(node: QuorateNode, namespace: string, key: string, bytes = 1): Promise<void> {
  const value = new Uint8Array(bytes);
  const request = { namespace, requestId, key: utf8Bytes(key), value };
  await node.put({ ...request, contentType: "text/plain", meta: [] });
}

/** Waits until all records of deleted namespaces are gone; answers how many keys are left. */
async function purged(world: World, node: QuorateNode): Promise<number> {
  for (let turn = 0; turn < 50; turn += 1) await world.clock.advance(100);
  return (await node.info()).keys;
}

test("a namespace that is deleted, made and deleted again at once leaves no record behind", async () => {
  const world = newWorld();
  const node = await openIn(world);
  await node.putNamespace("a", {});
  await put(node, "a", "first");
  const made = node.deleteNamespace("a").then(async () => {});
  const again = node.putNamespace("a", {});
  const last = node.deleteNamespace("a");
  await Promise.all([made, again, last]);
  await node.putNamespace("b", {});
  assert.is(await purged(world, node), 0);
  const { epoch } = await node.info();
  assert.is(await purged(world, node), 0);
  assert.is((await node.info()).epoch, epoch);
  await node.close();
  const next = await openIn(world);
  const before = (await next.info()).epoch;
  await purged(world, next);
  assert.is((await next.info()).epoch, before, "nothing was left to remove at the next start");
  await next.close();
});

test("the removal of a namespace that found no room goes on by itself when there is some", async () => {
  const world = newWorld();
  const node = await openIn(world);
  await node.putNamespace("a", {});
  for (let number = 0; number < 1500; number += 1) await put(node, "a", `k${number}`);
  // A checkpoint is tried once a second: the disk is full for four minutes.
  for (let commit = 1; commit <= 240; commit += 1) {
    world.table.failCommit(commit, { code: "ENOSPC" });
  }
  await node.deleteNamespace("a");
  await world.clock.advance(60_000);
  assert.ok((await node.info()).keys > 0, "not all of it had room");
  await world.clock.advance(400_000);
  assert.is((await node.info()).keys, 0);
  const { epoch } = await node.info();
  await node.close();
  const next = await openIn(world);
  assert.is(await purged(world, next), 0);
  assert.is((await next.info()).epoch, epoch, "nothing was left to remove at the next start");
  await next.close();
});

test("a put that waited for room while its namespace was deleted is refused with outcome `none`, and is not counted", async () => {
  const world = newWorld();
  let gate = Promise.resolve();
  const open = world.table.open.bind(world.table);
  world.table.open = async () => {
    const table = await open();
    const commit = table.commit.bind(table);
    table.commit = (changes) => gate.then(() => commit(changes));
    return table;
  };
  const node = await openIn(world);
  await node.putNamespace("a", {});
  let openGate = () => {};
  gate = new Promise((resolve) => {
    openGate = resolve;
  });
  // Room in memory for a third of them: the others wait.
  const puts = Array.from({ length: 50 }, (_, number) => put(node, "a", `k${number}`, 1000));
  const settled = Promise.allSettled(puts);
  await node.deleteNamespace("a");
  // Made again it is another one, and no place for what was meant for the first.
  await node.putNamespace("a", {});
  const { epoch } = await node.info();
  while ((await node.info()).epoch === epoch) await undefined;
  // What had been taken is removed, and nobody will look for more; only now there is room.
  openGate();
  assert.is(await purged(world, node), 0);
  const failures = (await settled).flatMap((result) =>
    result.status === "rejected" ? [result.reason] : [],
  );
  assert.ok(failures.length > 0, "some waited");
  for (const { slug, outcome } of failures) {
    assert.equal([slug, outcome], ["namespace-not-found", "none"]);
  }
  await node.close();
});

test("a close waits for namespaces that are being made, and only then gives the folder back", async () => {
  const world = newWorld();
  const node = await openIn(world);
  const names = Array.from({ length: 20 }, (_, number) => `made-${number}`);
  const made = Promise.all(names.map((name) => node.putNamespace(name, {})));
  await node.close();
  const calls = world.disk.callCount;
  await made;
  assert.is(world.disk.callCount, calls, "nothing was written after the close");
  const next = await openIn(world);
  for (const name of names) assert.is(next.namespace(name).name, name);
  await next.close();
});

test.run();
