/**
 * The replica's ladder of guards, on a real store: what each refuses, that nothing was written then,
 * and what the answers carry.
 */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { utf8Bytes } from "../src/bytes.ts";
import { silentReport } from "../src/capability.ts";
import { QuorateError } from "../src/errors.ts";
import { guardMs, type Hlc, hlcAt, hlcWallMs } from "../src/hlc.ts";
import { NodeWatermarks } from "../src/node_watermarks.ts";
import type {
  DigestRequest,
  ReadRequest,
  WriteRequest,
  WriteSource,
} from "../src/quorum_message.ts";
import { decodeRecord, encodeRecord, recordBytes, type StoredRecord } from "../src/record.ts";
import { Replica, refusalOf } from "../src/replica.ts";
import { noFence } from "../src/watermark.ts";
import { Cluster, type ClusterNode } from "./cluster_harness.ts";

const test = suite("replica");
const startMs = 1_700_000_000_000;
const key = utf8Bytes("k");

function writeOf(stampMs: number, more: Partial<WriteRequest> = {}): WriteRequest {
  const record: StoredRecord = {
    version: { hlc: hlcAt(stampMs), origin: 9n },
    tombstone: false,
    contentType: "text/plain",
    meta: [],
    value: utf8Bytes(`at ${stampMs}`),
  };
  const bytes = new Uint8Array(recordBytes(record));
  encodeRecord(record, { namespaceNumber: 0, key }, bytes, 0);
  return {
    kind: "write",
    epoch: 1,
    namespaceNumber: 0,
    n: 3,
    key,
    record: bytes,
    durability: "fsync",
    source: "client",
    requestId: "test",
    ...more,
  };
}

const readOf = (more: Partial<ReadRequest> = {}): ReadRequest => ({
  kind: "read",
  epoch: 1,
  namespaceNumber: 0,
  n: 3,
  key,
  wants: "record",
  durability: "fsync",
  coverMs: 0,
  requestId: "test",
  ...more,
});

async function one(): Promise<{ readonly cluster: Cluster; readonly node: ClusterNode }> {
  const cluster = await Cluster.open(3);
  return { cluster, node: cluster.node("n1") };
}

test("W1: took, again took for a resend, superseded by what is newer, and the read names the highest", async () => {
  const { cluster, node } = await one();
  const { replica } = node;
  assert.is((await replica.write(writeOf(startMs))).kind, "took");
  assert.is((await replica.write(writeOf(startMs))).kind, "took");
  assert.is((await replica.write(writeOf(startMs + 10))).kind, "took");
  const superseded = await replica.write(writeOf(startMs));
  assert.equal(superseded.kind === "superseded" && superseded.version, {
    hlc: hlcAt(startMs + 10),
    origin: 9n,
  });
  const found = await replica.read(readOf());
  if (found.kind !== "found" || found.record === undefined) throw new Error("it is there");
  assert.is(Buffer.from(decodeRecord(found.record).value).toString(), `at ${startMs + 10}`);
  const version = await replica.read(readOf({ wants: "version" }));
  assert.is(version.kind === "found" && version.record, undefined);
  assert.equal(version.kind === "found" && version.version, found.version);
  await cluster.close();
});

test("every answer says who gives it, what it has synced, and whether it counts", async () => {
  const { cluster, node } = await one();
  node.state.counts = false;
  const { from } = await node.replica.write(writeOf(startMs));
  assert.is(from.nodeId, node.nodeId);
  assert.is(from.storeId, node.storeId);
  assert.is(from.boot, 1);
  assert.is(from.epoch, 1);
  assert.is(from.counts, false);
  assert.is(from.syncedSequence, node.store.lastSequence);
  assert.ok(hlcWallMs(from.clockHlc) >= startMs);
  await cluster.close();
});

test("each guard refuses with its reason, and nothing is written", async () => {
  const flipped = writeOf(startMs);
  flipped.record[flipped.record.length - 1] = 0xff;
  type Row = readonly [reason: string, request: WriteRequest, change: (node: ClusterNode) => void];
  const table: readonly Row[] = [
    ["epoch", writeOf(startMs), (node) => node.learn({ epoch: 2, replicas: ["n1"] })],
    [
      "not-replica",
      writeOf(startMs),
      (node) => {
        node.state.replicas = ["n2", "n3"];
      },
    ],
    [
      "not-ready",
      writeOf(startMs),
      (node) => {
        node.state.notReady = "it waits for its peers";
      },
    ],
    ["not-ready", writeOf(startMs, { epoch: 9 }), () => {}],
    ["corruption", flipped, () => {}],
    ["corruption", writeOf(startMs, { record: new Uint8Array(3) }), () => {}],
    ["corruption", writeOf(startMs, { key: utf8Bytes("other") }), () => {}],
    ["clock-skew", writeOf(startMs + guardMs + 1), () => {}],
  ];
  for (const [reason, request, change] of table) {
    const { cluster, node } = await one();
    change(node);
    const reply = await node.replica.write(request);
    assert.is(reply.kind === "refused" && reply.reason, reason);
    assert.is(reply.kind === "refused" && reply.mayHold === true, false);
    assert.is(node.store.lastSequence, 0, reason);
    await cluster.close();
  }
});

test("T2: the refusal of an old epoch hands out the newer document, to reads as well", async () => {
  const { cluster, node } = await one();
  node.learn({ epoch: 2, replicas: ["n2", "n3"] });
  for (const reply of [
    await node.replica.write(writeOf(startMs)),
    await node.replica.read(readOf()),
  ]) {
    assert.is(reply.kind === "refused" && reply.reason, "epoch", "owner or not");
    assert.equal(reply.kind === "refused" && reply.document, {
      epoch: 2,
      replicas: ["n2", "n3"],
    });
  }
  await cluster.close();
});

test("T2: a replica behind the request's epoch takes the newer document first", async () => {
  const { cluster, node } = await one();
  cluster.node("n2").learn({ epoch: 2, replicas: ["n1", "n2", "n3"] });
  assert.is((await node.replica.write(writeOf(startMs, { epoch: 2 }))).kind, "took");
  assert.is(node.state.epoch, 2);
  await cluster.close();
});

test("T2: a change of the partition while a write is being synced is told, and that it may be there", async () => {
  const { cluster, node } = await one();
  const writing = node.replica.write(writeOf(startMs));
  node.learn({ epoch: 2, replicas: ["n2", "n3"] });
  const reply = await writing;
  assert.is(reply.kind === "refused" && reply.reason, "epoch");
  assert.is(reply.kind === "refused" && reply.mayHold, true);
  await cluster.close();
});

test("P7, T2: what was not taken is not told as if it may be there, when the partition changes meanwhile", async () => {
  for (const fence of [noFence, { promise: hlcAt(startMs + 200), watermark: 0n as Hlc }]) {
    const { cluster, node } = await one();
    await node.replica.write(writeOf(startMs + 100));
    node.state.fence = fence;
    const writing = node.replica.write(writeOf(startMs));
    node.learn({ epoch: 2, replicas: ["n2", "n3"] });
    const reply = await writing;
    assert.is(reply.kind === "refused" && reply.reason, "epoch");
    assert.is(reply.kind === "refused" && reply.mayHold === true, false);
    await cluster.close();
  }
});

test("T2: what is below a promise is told under the topology of now, after a wait for room", async () => {
  const { cluster, node } = await one();
  const { store } = node;
  const writeEncoded = store.writeEncoded.bind(store);
  store.writeEncoded = async (write) => {
    node.state.fence = { promise: hlcAt(startMs + 1), watermark: 0n as Hlc };
    node.learn({ epoch: 2, replicas: ["n2", "n3"] });
    return writeEncoded(write);
  };
  const reply = await node.replica.write(writeOf(startMs));
  assert.is(reply.kind === "refused" && reply.reason, "epoch");
  assert.is(reply.kind === "refused" && reply.mayHold === true, false);
  await cluster.close();
});

test("V2: only a client's first write is refused for its stamp; what is held elsewhere is stored", async () => {
  const sources: readonly WriteSource[] = ["client-again", "hint", "write-back", "repair"];
  for (const source of sources) {
    const { cluster, node } = await one();
    const reply = await node.replica.write(writeOf(startMs + 3_600_000, { source }));
    assert.is(reply.kind, "took", source);
    await cluster.close();
  }
  const { cluster, node } = await one();
  assert.is(
    (await node.replica.write(writeOf(startMs + guardMs))).kind,
    "took",
    "the guard itself",
  );
  await cluster.close();
});

test("G2, H3: below the watermark hints are covered and writes come later; below a promise held records enter", async () => {
  const fence = { promise: hlcAt(startMs + 200), watermark: hlcAt(startMs + 100) };
  const table: readonly (readonly [WriteSource, below: string, between: string])[] = [
    ["client", "later", "later"],
    ["client-again", "later", "later"],
    ["hint", "covered", "later"],
    ["write-back", "later", "took"],
    ["repair", "later", "took"],
  ];
  for (const [source, below, between] of table) {
    const { cluster, node } = await one();
    node.state.fence = fence;
    const low = await node.replica.write(writeOf(startMs, { source }));
    assert.is(low.kind, below, `${source} below the watermark`);
    if (low.kind === "later") assert.is(low.stamp, fence.promise);
    const middle = await node.replica.write(writeOf(startMs + 150, { source }));
    assert.is(middle.kind, between, `${source} below the promise`);
    assert.is((await node.replica.write(writeOf(startMs + 200, { source }))).kind, "took", source);
    await cluster.close();
  }
});

test("W3, G2: below a promise a write is told of what stands above it, or of the promise where that is higher", async () => {
  const fence = { promise: hlcAt(startMs + 200), watermark: 0n as Hlc };
  for (const [heldMs, expected] of [
    [startMs + 100, "later"],
    [startMs + 300, "superseded"],
  ] as const) {
    const { cluster, node } = await one();
    assert.is((await node.replica.write(writeOf(heldMs))).kind, "took");
    node.state.fence = fence;
    const reply = await node.replica.write(writeOf(startMs));
    assert.is(reply.kind, expected);
    if (reply.kind === "later") assert.is(reply.stamp, fence.promise);
    if (reply.kind === "superseded") assert.is(reply.version.hlc, hlcAt(heldMs));
    // What it holds already is no new write: a resend, or a hint of it, is done with.
    assert.is((await node.replica.write(writeOf(heldMs))).kind, "took", "a resend");
    const hint = await node.replica.write(writeOf(startMs, { source: "hint" }));
    assert.is(hint.kind, "superseded");
    // There is no third version: what is newer stands for the second one.
    const second = await node.replica.write(writeOf(startMs, { source: "client-again" }));
    assert.is(second.kind, "superseded");
    await cluster.close();
  }
});

test("G2: a promise that is made while a write waits for room holds for it", async () => {
  const { cluster, node } = await one();
  const { store } = node;
  const writeEncoded = store.writeEncoded.bind(store);
  store.writeEncoded = async (write) => {
    node.state.fence = { promise: hlcAt(startMs + 1), watermark: 0n as Hlc };
    return writeEncoded(write);
  };
  assert.is((await node.replica.write(writeOf(startMs))).kind, "later");
  assert.is((await node.replica.read(readOf())).kind, "nothing");
  await cluster.close();
});

const digestOf = (more: Partial<DigestRequest> = {}): DigestRequest => ({
  kind: "digest",
  ...{ epoch: 1, partition: 0, n: 3, wants: "total", requestId: "test" },
  ...{ adopt: 0n as Hlc, promise: 0n as Hlc },
  ...more,
});

test("G2, G5: a replica adopts and promises before it sums, and tells both", async () => {
  const { cluster, node } = await one();
  const adopt = hlcAt(startMs + 100);
  const promise = hlcAt(startMs + 200);
  const told = await node.replica.digest(digestOf({ adopt, promise }));
  if (told.kind !== "sums") throw new Error(told.kind);
  assert.equal([told.watermark, told.promise, told.isDamaged], [adopt, promise, false]);
  assert.is(told.sums, undefined);
  const again = await node.replica.digest(digestOf({ wants: "sums", promise: hlcAt(startMs) }));
  if (again.kind !== "sums") throw new Error(again.kind);
  assert.equal([again.promise, again.total], [promise, told.total], "neither goes back");
  assert.is(again.sums?.length, 8192);
  node.state.epoch = 3;
  node.state.changedAt = 3;
  assert.is((await node.replica.digest(digestOf())).kind, "refused", "T2");
  await cluster.close();
});

test("G2: a promise for which the disk had no room is told only when it is durable", async () => {
  const { cluster, node } = await one();
  const { store } = node;
  const fences = new NodeWatermarks(store);
  const { nodeId, storeId } = node;
  const replica = new Replica({
    ...{ clock: node.wall, store, fences, report: silentReport },
    self: { nodeId, storeId, boot: 1 },
    topology: () => ({
      ...{ epoch: 1, changedAt: () => 1, isReplica: () => true, document: () => ({}) },
      partitionOf: (namespace, keyBytes) => cluster.ring.place(namespace, keyBytes).partition,
    }),
    learn: async () => {},
    notReady: () => undefined,
    counts: () => true,
    sequenceBase: () => 0,
  });
  const write = store.write.bind(store);
  store.write = () => Promise.reject(new QuorateError("overloaded", "full", { outcome: "none" }));
  const asked = digestOf({ wants: "state", promise: hlcAt(startMs) });
  assert.is((await replica.digest(asked)).kind, "refused");
  const after = await replica.digest(digestOf({ wants: "state" }));
  assert.is(after.kind === "sums" && after.promise, 0n, "a round is not confirmed by it");
  store.write = write;
  // The lowest of the clocks was set back since.
  for (const stamp of [hlcAt(startMs - 1000), hlcAt(startMs)]) {
    const reply = await replica.digest(digestOf({ wants: "state", promise: stamp }));
    assert.is(reply.kind === "sums" && reply.promise >= stamp, true);
    assert.ok(new NodeWatermarks(store).of(0, 3).promise >= stamp, "it is there after a start");
  }
  await cluster.close();
});

test("R2: a read tells the watermark beside what it found, and beside nothing", async () => {
  const { cluster, node } = await one();
  assert.equal((await node.replica.read(readOf())).kind, "nothing");
  node.state.fence = { promise: hlcAt(startMs), watermark: hlcAt(startMs) };
  const nothing = await node.replica.read(readOf());
  assert.is(nothing.kind === "nothing" && nothing.watermark, hlcAt(startMs));
  assert.is((await node.replica.write(writeOf(startMs))).kind, "took");
  const found = await node.replica.read(readOf());
  assert.is(found.kind === "found" && found.watermark, hlcAt(startMs));
  await cluster.close();
});

test("R3: a read that covers a time makes the clock durably at least that, up to the guard", async () => {
  const { cluster, node } = await one();
  const { from } = await node.replica.read(readOf({ coverMs: startMs + 400 }));
  assert.ok(from.clockHlc >= hlcAt(startMs + 400));
  assert.is(node.store.coverStamp(hlcAt(startMs + 400)), undefined, "durably");
  const far = await node.replica.read(readOf({ coverMs: startMs + guardMs + 1 }));
  assert.ok(far.from.clockHlc < hlcAt(startMs + guardMs + 1));
  await cluster.close();
});

test("P7: only an error whose outcome is none says that nothing was written", () => {
  const full = new QuorateError("disk-full", "full", { outcome: "none" });
  assert.equal(refusalOf(full), { kind: "refused", reason: "disk-full", detail: "full" });
  const ended = new QuorateError("read-only", "the sync failed", { outcome: "unknown" });
  assert.is(refusalOf(ended).mayHold, true);
  assert.is(refusalOf(new Error("odd")).reason, "failed");
  assert.is(refusalOf(new Error("odd")).mayHold, true);
});

test("requests of one turn share the log's sync", async () => {
  const { cluster, node } = await one();
  const many = Array.from({ length: 50 }, (_, index) =>
    node.replica.write(writeOf(startMs + index, { source: "repair" })),
  );
  const replies = await Promise.all(many);
  assert.ok(replies.every(({ kind }) => kind === "took" || kind === "superseded"));
  assert.is(node.store.syncedSequence, node.store.lastSequence);
  await cluster.close();
});

test("what is read out of the table, after a checkpoint, is the same and stays so", async () => {
  const { cluster, node } = await one();
  await node.replica.write(writeOf(startMs));
  const before = await node.replica.read(readOf());
  await node.store.checkpoint();
  const after = await node.replica.read(readOf());
  const head = await node.replica.read(readOf({ wants: "version" }));
  assert.equal(after, before);
  // The table's buffer is used again by the next call: what was answered must not change.
  await node.replica.write(writeOf(startMs + 1));
  await node.store.checkpoint();
  await node.replica.read(readOf());
  assert.equal(after, before);
  assert.equal(head.kind === "found" && head.version, { hlc: hlcAt(startMs), origin: 9n });
  await cluster.close();
});

test.run();
