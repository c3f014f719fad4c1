/**
 * Mutations: rules of the protocol, each left out or turned round, which the simulator has to notice.
 *
 * A check that nothing has ever failed proves little. So each rule that can be switched off without
 * touching the program is: methods of its classes are replaced for the time of a run, or its disk
 * and table lie to it. The program itself knows nothing of this. `npm run sim:mutations` runs seeds
 * with each of them until a promise breaks, and prints how many that took.
 *
 * Invariants
 * 1. What was replaced is put back when the run ends.
 * 2. A mutation uses no chance: the run stays decided by its seed.
 *
 * Effects: the prototypes of the program's classes, while a mutated run lasts.
 *
 * @module
 */

import type { GetAnswer } from "../src/api.ts";
import { Coordinator } from "../src/coordinator.ts";
import { Deadlines } from "../src/deadlines.ts";
import { HybridClock, hlcAt, hlcNext } from "../src/hlc.ts";
import { WriteQuorum } from "../src/quorum.ts";
import { ReadQuorum } from "../src/quorum_read.ts";
import { isTombstone, recordFormat, recordHeaderBytes, type StoredRecord } from "../src/record.ts";
import { Proposer } from "../src/register.ts";
import { RegisterStore } from "../src/register_store.ts";
import { Remembered } from "../src/remembered.ts";
import { Replica } from "../src/replica.ts";
import { type Standing, Standings } from "../src/standing.ts";
import { Store } from "../src/store.ts";
import { StoreIndex } from "../src/store_index.ts";
import { Mint } from "../src/store_mint.ts";
import { Wal } from "../src/wal.ts";
import {
  all,
  bound,
  boundFile,
  boundTable,
  getter,
  type Mutation,
  method,
  withoutSync,
} from "./mutation.ts";
import { documentMutations } from "./mutations_documents.ts";
import { fillMutations } from "./mutations_fill.ts";
import { hintMutations } from "./mutations_hints.ts";
import { lifeMutations } from "./mutations_life.ts";
import { moveMutations } from "./mutations_moves.ts";
import { protocolMutations } from "./mutations_protocol.ts";
import { repairMutations } from "./mutations_repair.ts";
import { watermarkMutations } from "./mutations_watermark.ts";

const isLog = (path: string): boolean => path.startsWith("wal/");

function isDelete(value: Uint8Array | undefined): boolean {
  if (value === undefined || value.length < recordHeaderBytes) return false;
  return value[0] === recordFormat && isTombstone(value);
}

/** Writes go to the log as one that nobody compares with what is there. */
let isBlind = false;

/** What a ballot proposes. */
const proposed = new WeakMap<object, unknown>();

export const mutations: readonly Mutation[] = [
  ...fillMutations,
  ...hintMutations,
  ...lifeMutations,
  ...protocolMutations,
  ...documentMutations,
  ...repairMutations,
  ...watermarkMutations,
  ...moveMutations,
  {
    name: "the log is not synced",
    rule: "W1, D1: durable before answered",
    disk: withoutSync(isLog),
  },
  {
    name: "what the node says of itself is not synced",
    rule: "I1, I2",
    disk: withoutSync((path) => !isLog(path)),
  },
  {
    name: "folders are not synced",
    rule: "D1: a new file's name is durable before it counts",
    disk: (disk) => ({ ...bound(disk), syncFolder: async () => {} }),
  },
  {
    name: "a sync that failed is taken for one that did not",
    rule: "D4",
    disk: (disk) => ({
      ...bound(disk),
      open: async (path, mode) => {
        const file = await disk.open(path, mode);
        const sync = (): Promise<void> => file.sync().catch(() => {});
        return {
          ...boundFile(file),
          sync,
          writeSynced: async (source, position) => {
            await file.write(source, position);
            await sync();
          },
        };
      },
    }),
  },
  {
    name: "the table is not flushed before the log is released",
    rule: "D5",
    table: (table) => ({ ...boundTable(table), flushed: async () => {} }),
  },
  {
    name: "the log is released before the table has it",
    rule: "D5",
    begin: method(
      Wal,
      "append",
      (old) =>
        function (entry) {
          const appended = old.call(this, entry);
          if (appended.sequence > 8) this.release(appended.sequence - 4);
          return appended;
        },
    ),
  },
  {
    name: "a checkpoint leaves deletes out",
    rule: "G4: nothing but a watermark removes a tombstone",
    table: (table) => ({
      ...boundTable(table),
      commit: (changes) =>
        table.commit(
          changes.map((change) =>
            isDelete(change.value) ? { key: change.key, value: undefined } : change,
          ),
        ),
    }),
  },
  {
    name: "an entry counts as durable when it was written",
    rule: "W2",
    begin: method(
      Wal,
      "append",
      (old) =>
        function (entry) {
          const { sequence, synced } = old.call(this, entry);
          synced.catch(() => {});
          return { sequence, synced: Promise.resolve() };
        },
    ),
  },
  {
    name: "writes are acknowledged from memory",
    rule: "W2",
    begin: method(
      Replica,
      "write",
      (old) =>
        function (request, isOwn) {
          return old.call(this, { ...request, durability: "memory" }, isOwn);
        },
    ),
  },
  {
    name: "reads name what is not synced",
    rule: "W2",
    focus: "power",
    begin: method(
      Replica,
      "read",
      (old) =>
        function (request) {
          return old.call(this, { ...request, durability: "memory" });
        },
    ),
  },
  {
    name: "the last to arrive wins",
    rule: "W1: the highest version wins",
    begin: all(
      method(
        Store,
        "writeEncoded",
        (old) =>
          function (write) {
            isBlind = true;
            try {
              return old.call(this, write);
            } finally {
              isBlind = false;
            }
          },
      ),
      method(
        StoreIndex,
        "lookup",
        (old) =>
          function (spot) {
            return isBlind ? { kind: "absent" } : old.call(this, spot);
          },
      ),
    ),
  },
  {
    name: "superseded counts as took",
    rule: "W3",
    begin: method(
      WriteQuorum,
      "step",
      (old) =>
        function (replica, round, reply, counts) {
          const took = reply.kind === "superseded" ? { kind: "took" } : reply;
          return old.call(this, replica, round, took, counts);
        },
    ),
  },
  {
    name: "a hint counts as an acknowledgement",
    rule: "H1",
    begin: method(
      WriteQuorum,
      "step",
      (old) =>
        function (replica, round, reply, counts) {
          if (reply.kind !== "lost") return old.call(this, replica, round, reply, counts);
          return old.call(this, replica, round, { kind: "took" }, true);
        },
    ),
  },
  {
    name: "the first acknowledgement is enough",
    rule: "W3",
    begin: method(
      WriteQuorum,
      "step",
      (old) =>
        function (replica, round, reply, counts) {
          const decision = old.call(this, replica, round, reply, counts);
          if (reply.kind !== "took" || decision.kind !== "wait") return decision;
          return { kind: "done", acks: 1 };
        },
    ),
  },
  {
    name: "a late took of the first version counts for the second",
    rule: "W3",
    focus: "one key",
    begin: method(
      WriteQuorum,
      "step",
      (old) =>
        function (replica, round, reply, counts) {
          const isLate = this.isSecond && round < this.round && reply.kind === "took";
          return old.call(this, replica, isLate ? this.round : round, reply, counts);
        },
    ),
  },
  {
    name: "the second version is not above the first",
    rule: "W3",
    begin: method(
      Mint,
      "mintAbove",
      () =>
        function () {
          return Promise.resolve(this.mint());
        },
    ),
  },
  {
    name: "a version above one of the future is minted under the store's own origin",
    rule: "V3",
    begin: method(
      Mint,
      "mintAbove",
      (old) =>
        async function (version) {
          const minted = await old.call(this, version);
          if (minted.hlc !== hlcNext(version.hlc)) return minted;
          return { hlc: minted.hlc, origin: 1n };
        },
    ),
  },
  {
    name: "versions are the wall clock's",
    rule: "V1",
    begin: method(HybridClock, "tick", () => (nowMs) => hlcAt(nowMs)),
  },
  {
    name: "replicas without data count for writes",
    rule: "I4",
    focus: "old votes",
    begin: method(
      WriteQuorum,
      "step",
      (old) =>
        function (replica, round, reply) {
          return old.call(this, replica, round, reply, true);
        },
    ),
  },
  {
    name: "replicas without data count for reads",
    rule: "R4",
    begin: method(
      ReadQuorum,
      "step",
      (old) =>
        function (replica, reply, _counts, clock) {
          return old.call(this, replica, reply, true, clock);
        },
    ),
  },
  {
    name: "a read answers from the first reply",
    rule: "R1",
    begin: method(
      ReadQuorum,
      "step",
      (old) =>
        function (replica, reply, counts, clock) {
          const decision = old.call(this, replica, reply, counts, clock);
          if (!counts || decision.kind === "answer") return decision;
          const first = { behind: [], writeBack: 0, replies: 1 };
          if (reply.kind === "nothing") {
            return { ...first, kind: "answer", found: undefined, holders: [] };
          }
          if (reply.kind !== "found") return decision;
          return { ...first, kind: "answer", found: reply, holders: [replica] };
        },
    ),
  },
  {
    name: "nothing is written back before an answer",
    rule: "R1",
    begin: getter(
      ReadQuorum,
      "decision",
      (old) =>
        function () {
          const decision = old.call(this);
          return decision.kind === "answer" ? { ...decision, writeBack: 0 } : decision;
        },
    ),
  },
  {
    name: "a delete is no answer",
    rule: "R2",
    begin: method(
      ReadQuorum,
      "step",
      (old) =>
        function (replica, reply, counts, clock) {
          const isDeleted = reply.kind === "found" && reply.tombstone;
          return old.call(this, replica, isDeleted ? { kind: "nothing" } : reply, counts, clock);
        },
    ),
  },
  {
    name: "what was sent is said to have done nothing",
    rule: "W5, P7",
    begin: getter(
      WriteQuorum,
      "outcome",
      (old) =>
        function () {
          return old.call(this) === "unknown" ? "none" : old.call(this);
        },
    ),
  },
  {
    name: "a partial write is said to have done nothing",
    rule: "W5, P7",
    begin: getter(
      WriteQuorum,
      "outcome",
      (old) =>
        function () {
          return old.call(this) === "partial" ? "none" : old.call(this);
        },
    ),
  },
  {
    name: "no answer is taken for not sent",
    rule: "P7",
    begin: method(
      WriteQuorum,
      "step",
      (old) =>
        function (replica, round, reply, counts) {
          const unsent = reply.kind === "lost" ? { ...reply, mayHold: false } : reply;
          return old.call(this, replica, round, unsent, counts);
        },
    ),
  },
  {
    name: "the deadline is a success",
    rule: "W5",
    begin: method(WriteQuorum, "expire", () => () => ({ kind: "done", acks: 0 })),
  },
  {
    name: "a replica answers before others have told what they remember",
    rule: "I3",
    focus: "old votes",
    begin: wholeAlready("asked"),
  },
  {
    name: "a replica whose log was cut counts at once",
    rule: "D3",
    begin: wholeAlready("told"),
  },
  {
    name: "a store that was rolled back counts",
    rule: "I3, P9",
    focus: "old votes",
    begin: method(
      Standings,
      "tell",
      (old) =>
        function (nodeId) {
          return old.call(this, nodeId, 0);
        },
    ),
  },
  {
    name: "a store is told what was heard of it since its start",
    rule: "I3",
    begin: method(
      Remembered,
      "meet",
      (old) =>
        function (storeId, life) {
          old.call(this, storeId, life);
          return this.of(storeId);
        },
    ),
  },
  {
    name: "what is not synced yet is told as synced",
    rule: "I3",
    begin: getter(
      Wal,
      "syncedSequence",
      () =>
        function () {
          return this.lastSequence;
        },
    ),
  },
  {
    name: "one voter chooses a document",
    rule: "T1",
    begin: method(
      Proposer,
      "step",
      (old) =>
        function (voter, reply) {
          const decision = old.call(this, voter, reply);
          if (decision.kind === "ask") proposed.set(this, decision.request.value);
          if (decision.kind !== "wait" || reply.kind !== "accepted") return decision;
          return { kind: "chosen", value: proposed.get(this) };
        },
    ),
  },
  {
    name: "a proposer takes no notice of what was accepted before",
    rule: "T1",
    begin: method(
      Proposer,
      "step",
      (old) =>
        function (voter, reply) {
          const told = reply.kind === "promised" ? { ...reply, accepted: undefined } : reply;
          return old.call(this, voter, told);
        },
    ),
  },
  {
    name: "a voter accepts what it promised not to",
    rule: "T1",
    begin: method(
      RegisterStore,
      "answer",
      (old) =>
        async function (instance, request, present) {
          const reply = await old.call(this, instance, request, present);
          if (reply.kind !== "nack" || request.kind !== "accept") return reply;
          return { kind: "accepted", ballot: request.ballot };
        },
    ),
  },
  {
    name: "a list asks one replica",
    rule: "L1, R2",
    begin: method(
      Coordinator,
      "scanJob",
      (old) =>
        function (request) {
          const job = old.call(this, request);
          if (job === undefined) return undefined;
          const { word: _, ...rest } = job;
          return { ...rest, needed: 1 };
        },
    ),
  },
  {
    name: "lists and counts take a delete for a key",
    rule: "P4: what is deleted is not there",
    begin: method(
      Coordinator,
      "isLive",
      (old) =>
        function (record: StoredRecord) {
          return record.tombstone || old.call(this, record);
        },
    ),
  },
  {
    name: "a request has twice its time",
    rule: "a client has its answer by its deadline",
    begin: method(
      Deadlines,
      "start",
      (old) =>
        function (timeoutMs: number, onLate) {
          return old.call(this, 2 * timeoutMs, onLate);
        },
    ),
  },
  {
    name: "what is read ends after sixteen bytes",
    rule: "P8: what is read was written",
    begin: method(
      Coordinator,
      "get",
      (old) =>
        async function (request) {
          const answer: GetAnswer = await old.call(this, request);
          const { record } = answer;
          if (record === undefined) return answer;
          return { ...answer, record: { ...record, value: record.value.subarray(0, 16) } };
        },
    ),
  },
];

/** Replicas count as whole that are in this standing. */
function wholeAlready(early: Standing): NonNullable<Mutation["begin"]> {
  return method(
    Standings,
    "of",
    (old) =>
      function (partition) {
        const standing = old.call(this, partition);
        return standing === early ? "whole" : standing;
      },
  );
}
