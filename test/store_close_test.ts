/**
 * A store that closes: what is known of damage is kept, and the table is closed also when the files of
 * the log are not closed in order.
 */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { utf8Bytes } from "../src/bytes.ts";
import { type Disk, silentReport } from "../src/capability.ts";
import { openNode, type QuorateNode } from "../src/node.ts";
import { Ring } from "../src/ring.ts";
import { tableKey } from "../src/store_entry.ts";
import { rejectsSlug } from "./samples.ts";
import { newWorld, openIn, requestId, smallSettings, type World } from "./store_harness.ts";

const test = suite("store_close");
const common = { namespace: "default", requestId };

function put(node: QuorateNode, key: string, value = "v"): Promise<unknown> {
  const request = { ...common, key: utf8Bytes(key), value: utf8Bytes(value) };
  return node.put({ ...request, contentType: "text/plain", meta: [] });
}

/** Damages the record of `k` in the table of a closed node; answers its partition. */
async function damaged(world: World, node: QuorateNode): Promise<number> {
  const { clusterId, partitions } = await node.info();
  await node.close();
  const { partition } = new Ring(clusterId, partitions).place(0, utf8Bytes("k"));
  const key = tableKey(partition, 0, utf8Bytes("k"));
  const table = await world.table.open();
  const bytes = table.get(key)?.slice() as Uint8Array;
  bytes[bytes.length - 1] = 0;
  await table.commit([{ key, value: bytes }]);
  await table.flushed();
  await table.close();
  return partition;
}

test("damage that a read has met just before the close is known at the next start", async () => {
  for (const commits of [0, 1]) {
    const world = newWorld();
    const first = await openIn(world);
    await put(first, "k");
    const partition = await damaged(world, first);
    const node = await openIn(world);
    // With a checkpoint under way the mark has to wait for the next one.
    const before = world.table.commitCount;
    const writes = commits === 0 ? [] : [put(node, "big", "x".repeat(9000))];
    await Promise.all(writes);
    while (world.table.commitCount < before + commits) await undefined;
    await rejectsSlug("corruption", node.get({ ...common, key: utf8Bytes("k") }));
    await node.close();
    const next = await openIn(world);
    assert.equal((await next.info()).damagedPartitions, [partition], `${commits} commits`);
    await next.close();
  }
});

test("damage that a list has met marks its partition, as a read's does", async () => {
  const world = newWorld();
  const first = await openIn(world);
  await put(first, "k");
  const partition = await damaged(world, first);
  const node = await openIn(world);
  await rejectsSlug("corruption", node.list(common));
  assert.equal((await node.info()).damagedPartitions, [partition]);
  await node.close();
});

interface Handles {
  readonly disk: Disk;
  /** Files that are open. */
  readonly open: Set<string>;
  /** Every file that is closed says that it could not be. */
  isFailing: boolean;
}

/** The disk of a world, whose open files are known. */
function handlesOf({ disk }: World): Handles {
  const open = new Set<string>();
  let number = 0;
  const handles: Handles = {
    isFailing: false,
    open,
    disk: {
      open: async (path, mode) => {
        const file = await disk.open(path, mode);
        number += 1;
        const name = `${path} ${number}`;
        open.add(name);
        return {
          read: (target, position) => file.read(target, position),
          write: (source, position) => file.write(source, position),
          writeSynced: (source, position) => file.writeSynced(source, position),
          sync: () => file.sync(),
          size: () => file.size(),
          close: async () => {
            open.delete(name);
            await file.close();
            if (handles.isFailing) throw Object.assign(new Error("EIO: close"), { code: "EIO" });
          },
        };
      },
      list: (folder) => disk.list(folder),
      rename: (source, target) => disk.rename(source, target),
      remove: (path) => disk.remove(path),
      makeFolder: (folder) => disk.makeFolder(folder),
      syncFolder: (folder) => disk.syncFolder(folder),
      space: () => disk.space(),
      lock: () => disk.lock(),
    },
  };
  return handles;
}

test("a log's file that cannot be closed keeps neither the table open nor the folder locked", async () => {
  const world = newWorld();
  const handles = handlesOf(world);
  const node = await openOn(world, handles);
  await put(node, "k");
  handles.isFailing = true;
  await node.close().catch(() => {});
  assert.equal([...handles.open], []);
  // A table that is open, as a folder that is locked, would refuse.
  const next = await openIn(world);
  assert.is((await next.info()).keys, 1);
  await next.close();
});

test("a start that fails, at whichever call of the disk, leaves no file open", async () => {
  const calls = await callsOfAStart();
  for (let call = 1; call <= calls; call += 1) {
    const world = await used();
    const handles = handlesOf(world);
    world.disk.failCall(call, { code: "EIO" });
    const node = await openOn(world, handles).catch(() => undefined);
    await node?.close();
    assert.equal([...handles.open], [], `call ${call} of ${calls}`);
  }
});

/** A folder that a killed process has left behind. */
async function used(): Promise<World> {
  const world = newWorld();
  const node = await openIn(world);
  await put(node, "k");
  world.table.kill();
  const { image } = world.table;
  return newWorld({ seed: 2, nowMs: world.clock.nowMs(), disk: world.disk.kill(), image });
}

async function callsOfAStart(): Promise<number> {
  const world = await used();
  const node = await openIn(world);
  const { callCount } = world.disk;
  await node.close();
  assert.ok(callCount > 20, `${callCount} calls`);
  return callCount;
}

function openOn(world: World, { disk }: Handles): Promise<QuorateNode> {
  const { clock, random, table } = world;
  return openNode({
    clock,
    random,
    disk,
    report: silentReport,
    openTable: () => table.open(),
    settings: smallSettings,
  });
}

test.run();
