/** One read in the orders of answers that a cluster gives only by chance: each answer is given by hand. */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { utf8Bytes } from "../src/bytes.ts";
import { silentReport } from "../src/capability.ts";
import type { ClusterPorts, Replied } from "../src/coordinator_ports.ts";
import { ClusterReads } from "../src/coordinator_read.ts";
import { Deadlines } from "../src/deadlines.ts";
import { type Hlc, hlcAt } from "../src/hlc.ts";
import type { ReadReply, ReadRequest } from "../src/quorum_message.ts";
import { encodeRecord, recordBytes, type StoredRecord } from "../src/record.ts";

const test = suite("coordinator read");
const key = utf8Bytes("k");

function recordOf(stamp: bigint): Uint8Array {
  const record: StoredRecord = {
    version: { hlc: stamp as Hlc, origin: 1n },
    ...{ tombstone: false, contentType: "text/plain", meta: [], value: utf8Bytes(`${stamp}`) },
  };
  const bytes = new Uint8Array(recordBytes(record));
  encodeRecord(record, { namespaceNumber: 0, key }, bytes, 0);
  return bytes;
}

function foundOf(stamp: bigint, { wants }: ReadRequest): ReadReply {
  const found = { kind: "found", version: { hlc: stamp as Hlc, origin: 1n } } as const;
  const record = wants === "record" ? { record: recordOf(stamp) } : {};
  return { ...found, tombstone: false, ...record };
}

test("T2: a refusal of the epoch that came before the answer is not waited for when the holder fails after it", async () => {
  const clock = new SimClock();
  const nodes = ["n1", "n2", "n3", "n4", "n5"].map((name) => ({
    nodeId: name,
    storeId: name,
    name,
  }));
  let epoch = 1;
  let tellLearned = (): void => {};
  let failHolder = (): void => {};
  const answer = (nodeId: string, request: ReadRequest): ReadReply | Promise<ReadReply> => {
    if (nodeId === "n3" && request.epoch === 1) {
      return { kind: "refused", reason: "epoch", detail: "old", document: {} };
    }
    if (nodeId !== "n2") return foundOf(7n, request);
    if (request.wants === "version") return foundOf(8n, request);
    return new Promise((_, reject) => {
      failHolder = () => reject(new Error("it is gone"));
    });
  };
  const read = async (nodeId: string, request: ReadRequest): Promise<Replied<ReadReply>> => {
    const reply = await answer(nodeId, request);
    const facts = {
      boot: 1,
      epoch,
      syncedSequence: 1,
      clockHlc: hlcAt(clock.nowMs()),
      counts: true,
    };
    return { ...reply, from: { nodeId, storeId: nodeId, ...facts } };
  };
  const never = () => Promise.reject(new Error("not asked"));
  const ports: ClusterPorts = {
    ...{ clock, report: silentReport, deadlines: new Deadlines(clock), nodeId: "n1" },
    mint: { mint: never, mintAbove: never, nowMs: () => clock.nowMs() },
    local: { write: never, read: (request) => read("n1", request), coverStamp: () => undefined },
    peers: { write: never, read, isUp: () => true },
    hints: { keep: never, suspect: () => {} },
    place: () => ({ epoch, partition: 0, replicas: nodes }),
    learn: () =>
      new Promise((resolve) => {
        tellLearned = resolve;
      }),
  };
  const turns = async (): Promise<void> => {
    for (let turn = 0; turn < 100; turn += 1) await undefined;
  };
  const level = { needed: 3, replicas: 5, consistency: "quorum", word: "quorum" } as const;
  const job = { ...{ namespaceNumber: 0, key, n: 5, level }, durability: "fsync" } as const;
  let value: string | undefined;
  const result = new ClusterReads(ports).run({ ...job, timeoutMs: 60_000, requestId: "t" });
  result.then(
    ({ record }) => {
      value = Buffer.from(record?.value ?? []).toString();
    },
    () => {},
  );
  await turns();
  // n4 is asked beside those that are late, and what n2 has is asked for.
  for (let step = 0; step < 20; step += 1) {
    await clock.advance(100);
    await turns();
  }
  epoch = 2;
  tellLearned();
  await turns();
  failHolder();
  for (let step = 0; step < 50 && value === undefined; step += 1) {
    await clock.advance(100);
    await turns();
    tellLearned();
  }
  assert.is(value, "7");
});

test("R2: where one answer overrules several, others are asked in their place at once", async () => {
  const clock = new SimClock();
  const nodes = ["n1", "n2", "n3", "n4", "n5"].map((name) => ({
    nodeId: name,
    storeId: name,
    name,
  }));
  const asked: string[] = [];
  const read = async (nodeId: string, request: ReadRequest): Promise<Replied<ReadReply>> => {
    asked.push(nodeId);
    if (asked.length > 2) for (let turn = 0; turn < 50; turn += 1) await undefined;
    const reply: ReadReply =
      asked.length <= 2
        ? foundOf(7n, request)
        : { kind: "nothing", watermark: hlcAt(clock.nowMs()) };
    const facts = { boot: 1, epoch: 1, syncedSequence: 1, clockHlc: hlcAt(clock.nowMs()) };
    return { ...reply, from: { nodeId, storeId: nodeId, ...facts, counts: true } };
  };
  const never = () => Promise.reject(new Error("not asked"));
  const reads = new ClusterReads({
    ...{ clock, report: silentReport, deadlines: new Deadlines(clock), nodeId: "n1" },
    mint: { mint: never, mintAbove: never, nowMs: () => clock.nowMs() },
    local: { write: never, read: (request) => read("n1", request), coverStamp: () => undefined },
    peers: { write: never, read, isUp: () => true },
    hints: { keep: never, suspect: () => {} },
    place: () => ({ epoch: 1, partition: 0, replicas: nodes }),
    learn: never,
  });
  const level = { needed: 3, replicas: 5, consistency: "quorum", word: "quorum" } as const;
  const job = { ...{ namespaceNumber: 0, key, n: 5, level }, durability: "fsync" } as const;
  let replies = 0;
  void reads.run({ ...job, timeoutMs: 60_000, requestId: "t" }).then((result) => {
    assert.is(result.record, undefined);
    ({ replies } = result);
  });
  // No time passes.
  for (let turn = 0; turn < 500; turn += 1) await undefined;
  assert.equal([asked.length, replies], [5, 3]);
});

test.run();
