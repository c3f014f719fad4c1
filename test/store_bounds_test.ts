/**
 * What a store may take while it works: log on the disk, memory, and the event loop's time.
 */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { utf8Bytes } from "../src/bytes.ts";
import type { QuorateError } from "../src/errors.ts";
import type { NodeSettings, QuorateNode } from "../src/node.ts";
import { newWorld, openIn, requestId, type World } from "./store_harness.ts";

const test = suite("store_bounds");
const common = { namespace: "default", requestId };

async function put(node: QuorateNode, key: string): Promise<void> {
  await node.put({
    ...common,
    key: utf8Bytes(key),
    value: utf8Bytes(""),
    contentType: "text/plain",
    meta: [],
  });
}

function logBytes({ disk }: World): number {
  const segments = disk.files().filter((path) => path.endsWith(".wal"));
  return segments.reduce((sum, path) => sum + disk.bytesOf(path).length, 0);
}

/** Room in memory for far more than the test writes. */
const roomy: Partial<NodeSettings> = { memtableBytesMax: 64 * 1024 * 1024 };
const segmentBytes = 64 * 1024;

test("the log stays within a few segments, however little of each block small writes fill", async () => {
  const world = newWorld();
  const node = await openIn(world, roomy);
  for (let number = 0; number < 600; number += 1) {
    await put(node, "k");
    if (number % 50 === 49) await world.clock.advance(1);
  }
  assert.ok(logBytes(world) <= 10 * segmentBytes, `${logBytes(world) / segmentBytes} segments`);
  await node.close();
});

test("deletes on a full disk are taken up to a bound, then told `overloaded`, and go on when there is room", async () => {
  const world = newWorld();
  const node = await openIn(world, { memtableBytesMax: 16 * 1024, segmentBytes: 4 * 1024 * 1024 });
  // Each second one attempt: there is room after about 3000 of them.
  for (let commit = 1; commit <= 3000; commit += 1) {
    world.table.failCommit(commit, { code: "ENOSPC" });
  }
  let taken = 0;
  let refused: QuorateError | undefined;
  while (taken < 1000 && refused === undefined) {
    let isSettled = false;
    const key = utf8Bytes(`k${taken}`);
    node
      .delete({ ...common, key, timeoutMs: 60_000 })
      .then(
        () => {
          taken += 1;
        },
        (error: QuorateError) => {
          refused = error;
        },
      )
      .finally(() => {
        isSettled = true;
      });
    while (!isSettled) await world.clock.advance(100);
  }
  assert.ok(taken >= 100, `${taken} were taken`);
  assert.is(refused?.slug, "overloaded", `${taken} were taken`);
  assert.is(refused?.outcome, "none");
  await world.clock.advance(3_100_000);
  await node.delete({ ...common, key: utf8Bytes("after") });
  assert.ok(node.readiness().every(({ detail }) => detail === undefined));
  const closing = node.close();
  await world.clock.advance(5000);
  await closing;
});

test.run();
