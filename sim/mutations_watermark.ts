/**
 * Mutations of watermarks: when all replicas are taken to hold the same, and what is dropped then.
 *
 * Effects: the prototypes of the program's classes, while a mutation is on.
 *
 * @module
 */

import { hlcAt } from "../src/hlc.ts";
import { PeerSide } from "../src/node_repair_sides.ts";
import { WatermarkRound } from "../src/node_watermark_round.ts";
import { WatermarkRounds } from "../src/node_watermark_rounds.ts";
import { NodeWatermarks } from "../src/node_watermarks.ts";
import { ReadQuorum } from "../src/quorum_read.ts";
import type { KeyRecord } from "../src/repair.ts";
import { Replica } from "../src/replica.ts";
import { all, type Mutation, method } from "./mutation.ts";

const beyondAll = 2n ** 63n;

export const watermarkMutations: readonly Mutation[] = [
  {
    name: "a watermark does without a replica that is missing",
    rule: "G4: a missing one holds T back",
    begin: method(
      WatermarkRounds,
      "othersOf",
      (old) =>
        function (replicas) {
          return old.call(this, replicas).filter((other: unknown) => this.isThere(other));
        },
    ),
  },
  {
    name: "a tombstone is dropped by the wall clock alone",
    rule: "G4, P4: nothing but the watermark removes a tombstone",
    begin: method(
      NodeWatermarks,
      "kept",
      () =>
        function (partition, n) {
          const watermark = hlcAt(this.store.mint.nowMs() - 100);
          return { ...this.of(partition, n), watermark };
        },
    ),
  },
  {
    name: "replicas compare before they promise",
    rule: "G2: comparing before fencing loses a delete that is under way",
    focus: "deletes",
    begin: all(
      method(
        WatermarkRound,
        "fence",
        () =>
          function () {
            return this.ask(0n, 0n);
          },
      ),
      method(
        WatermarkRound,
        "confirm",
        () =>
          function ({ adopt, stamp }) {
            return this.ask(adopt, stamp);
          },
      ),
    ),
  },
  {
    name: "a pull takes what a replica with a lower watermark holds",
    rule: "G6",
    focus: "old copies",
    begin: method(
      PeerSide,
      "read",
      (old) =>
        async function (range, keys) {
          const records: readonly KeyRecord[] = await old.call(this, range, keys);
          return records.map((record) => ({ ...record, under: beyondAll }));
        },
    ),
  },
  {
    name: "a replica that may have lost something goes by the watermark all the same",
    rule: "G6: it discards what it holds below, and fills again",
    focus: "old copies",
    begin: method(Replica, "isSure", () => () => true),
  },
  {
    name: "a read takes no notice of watermarks",
    rule: "R2",
    begin: method(
      ReadQuorum,
      "step",
      (old) =>
        function (replica, reply, counts, clock) {
          const { watermark: _watermark, ...rest } = reply;
          return old.call(this, replica, rest, counts, clock);
        },
    ),
  },
];
