import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { type BatchOperation, batchBytesMax } from "../src/api.ts";
import { type BatchPort, runBatch } from "../src/batch.ts";
import { utf8Bytes } from "../src/bytes.ts";
import type { QuorateError } from "../src/errors.ts";
import { newWorld, openIn, requestId } from "./store_harness.ts";

const test = suite("batch");
const shared = { namespace: "default", requestId };

function get(key: string): BatchOperation {
  return { kind: "get", key: utf8Bytes(key) };
}

function put(key: string, value: Uint8Array): BatchOperation {
  return { kind: "put", key: utf8Bytes(key), value, contentType: "text/plain", meta: [] };
}

test("a batch that reads more than its limit answers the first values and says so for the rest", async () => {
  const world = newWorld();
  const node = await openIn(world, {
    memtableBytesMax: 8 * 1024 * 1024,
    segmentBytes: 8 * 1024 * 1024,
  });
  const value = new Uint8Array(1024 * 1024).fill(120);
  await node.put({ ...shared, key: utf8Bytes("big"), value, contentType: "text/plain", meta: [] });
  const results = await node.batch({
    ...shared,
    operations: Array.from({ length: 600 }, () => get("big")),
  });
  const read = results.filter((result) => result.kind === "get");
  assert.is(read.length, batchBytesMax / value.length);
  const refused = results.flatMap((result) => (result.kind === "error" ? [result.error] : []));
  assert.is(refused.length, 600 - read.length);
  assert.ok(refused.every((error) => (error as QuorateError).slug === "value-too-large"));
  await node.close();
});

test("operations of a batch on one key run in the order given", async () => {
  const node = await openIn(newWorld());
  const results = await node.batch({
    ...shared,
    operations: [
      get("k"),
      put("k", utf8Bytes("1")),
      get("k"),
      { kind: "delete", key: utf8Bytes("k") },
      get("k"),
      put("k", utf8Bytes("2")),
      get("k"),
    ],
  });
  const seen = results.flatMap((result) =>
    result.kind === "get" ? [new TextDecoder().decode(result.answer.record?.value)] : [],
  );
  assert.equal(seen, ["", "1", "", "2"]);
  await node.close();
});

test("an operation that begins after the batch's deadline is refused with outcome none", async () => {
  const world = newWorld();
  const node = await openIn(world);
  const batch = node.batch({
    ...shared,
    timeoutMs: 10,
    operations: [put("k", utf8Bytes("1")), put("k", utf8Bytes("2"))],
  });
  // The time is over while the first one is on its way to the disk.
  void world.clock.advance(20);
  const [, second] = await batch;
  if (second?.kind !== "error") throw new Error(`it was ${second?.kind}`);
  const { slug, outcome } = second.error as QuorateError;
  assert.equal([slug, outcome], ["timeout", "none"]);
  await node.close();
});

test("W2: what a batch reads is what stays, however durable its writes are asked to be", async () => {
  const asked: unknown[] = [];
  const note = (kind: string) => async (request: { readonly durability?: string }) => {
    asked.push([kind, request.durability]);
    throw new Error("nothing is kept here");
  };
  const requests = {
    ...{ namespace: () => ({}), get: note("get"), put: note("put"), delete: note("delete") },
  } as unknown as BatchPort;
  const operations: BatchOperation[] = [
    put("k", utf8Bytes("1")),
    get("k"),
    { kind: "delete", key: utf8Bytes("k") },
  ];
  const clock = new SimClock();
  await runBatch({ clock, requests }, { ...shared, durability: "memory", operations });
  assert.equal(asked, [
    ["put", "memory"],
    ["get", undefined],
    ["delete", "memory"],
  ]);
});

test("a long batch has so many operations under way and no more, and answers each in its place", async () => {
  let underWay = 0;
  let most = 0;
  const ends: (() => void)[] = [];
  const requests = {
    namespace: () => undefined,
    put: async ({ key }: { readonly key: Uint8Array }) => {
      underWay += 1;
      most = Math.max(most, underWay);
      await new Promise<void>((resolve) => ends.push(resolve));
      underWay -= 1;
      return { key };
    },
  } as unknown as BatchPort;
  const operations = Array.from({ length: 1000 }, (_, index) => put(`k${index}`, utf8Bytes("v")));
  const batch = runBatch({ clock: new SimClock(), requests }, { ...shared, operations });
  let ended = 0;
  // What was started last ends first.
  for (; ended < operations.length; ended += 1) {
    for (let turn = 0; turn < 20 && ends.length === 0; turn += 1) await undefined;
    (ends.pop() as () => void)();
    for (let turn = 0; turn < 20; turn += 1) await undefined;
  }
  const keys = (await batch).map((result) => {
    if (result.kind !== "put") throw new Error(`it was ${result.kind}`);
    return (result.answer as unknown as { readonly key: Uint8Array }).key;
  });
  assert.is(most, 128);
  assert.equal(
    keys,
    operations.map(({ key }) => key),
  );
});

test.run();
