/**
 * Mutations of how replicas move.
 *
 * Effects: the prototypes of the program's classes, while a mutation is on.
 *
 * @module
 */

import { type Holding, Holdings } from "../src/holdings.ts";
import { NodeMoves } from "../src/node_moves.ts";
import { TopologyView } from "../src/node_view.ts";
import { WatermarkRounds } from "../src/node_watermark_rounds.ts";
import { ReadQuorum } from "../src/quorum_read.ts";
import type { Topology } from "../src/topology.ts";
import type { Knobs } from "./knobs.ts";
import { all, getter, type Mutation, method } from "./mutation.ts";

/** Nobody moves anything in the other runs. */
const suits = ({ memberGapMs, nodes }: Knobs): boolean => memberGapMs !== undefined && nodes >= 3;

/** The oldest join under which a node has held each pair of partition and n since its start. */
const firstJoins = new WeakMap<Holdings, Map<string, number>>();

function joinsOf(holdings: Holdings): Map<string, number> {
  const joins = firstJoins.get(holdings) ?? new Map<string, number>();
  firstJoins.set(holdings, joins);
  return joins;
}

function pairOf({ partition, n }: Holding): string {
  return `${partition} ${n}`;
}

export const moveMutations: readonly Mutation[] = [
  {
    name: "a write in a move needs the set that is read alone",
    rule: "T3: a write needs its quorum in the old set and in the new one",
    suits,
    begin: method(
      TopologyView,
      "place",
      (old) =>
        function (...of) {
          const { other: _, ...place } = old.call(this, ...of);
          return place;
        },
    ),
  },
  {
    name: "a version is written back to the set that is read alone",
    rule: "T3: and so does a write-back",
    focus: "writes between copy and read",
    begin: getter(
      ReadQuorum,
      "decision",
      (old) =>
        function () {
          const decision = old.call(this);
          return decision.kind === "answer" ? { ...decision, writeBackOther: 0 } : decision;
        },
    ),
  },
  {
    name: "a request of an older topology is answered",
    rule: "T2: a replica refuses what is older than the partition's last change",
    focus: "requests from before a move",
    begin: method(TopologyView, "changedAt", () => () => 0),
  },
  {
    name: "a copy reads one replica alone",
    rule: "T5: it reads n-m+1 of the old replicas, and merges",
    focus: "copies of those behind",
    begin: method(NodeMoves, "othersNeeded", () => (_, isSource: boolean) => (isSource ? 0 : 1)),
  },
  {
    name: "who stays in a set that shrinks copies nothing",
    rule: "T5: so few may stay that the quorum of the new set misses what was taken",
    focus: "sets that shrink",
    begin: method(
      NodeMoves,
      "othersNeeded",
      (old) =>
        function (replicas: number, isSource: boolean) {
          return isSource ? 0 : old.call(this, replicas, isSource);
        },
    ),
  },
  {
    name: "reads move before the copy came to its end",
    rule: "T5: reads move only when every joining replica has durably finished",
    suits,
    begin: method(Holdings, "isFilled", () => () => true),
  },
  {
    name: "a phase begins before enough replicas know the one before",
    rule: "T4: at least m of each affected set know it",
    focus: "moves unheard of",
    begin: method(
      NodeMoves,
      "waitsFor",
      (old) =>
        function (topology: Topology, newsOf) {
          const all = (nodeId: string) => ({ ...newsOf(nodeId), epoch: topology.epoch });
          return old.call(this, topology, all);
        },
    ),
  },
  {
    name: "what is not held any more is dropped at once",
    rule: "T6: only after it is covered by the new replicas",
    focus: "writes of those away",
    begin: method(NodeMoves, "isCovered", () => () => Promise.resolve(true)),
  },
  {
    name: "what an older join has left counts as copied",
    rule: "T6: data kept under another join is no data",
    focus: "moves of those away",
    begin: all(
      method(
        Holdings,
        "isKept",
        () =>
          function (holding: Holding) {
            const seen = joinsOf(this);
            const pair = pairOf(holding);
            seen.set(pair, Math.min(holding.join, seen.get(pair) ?? holding.join));
            return true;
          },
      ),
      method(
        Holdings,
        "isFilled",
        (old) =>
          function (holding: Holding) {
            const first = joinsOf(this).get(pairOf(holding)) ?? holding.join;
            return first < holding.join || old.call(this, holding);
          },
      ),
      // A watermark that waits for it would keep every delete until it has given on what it held.
      method(WatermarkRounds, "formerOf", () => () => undefined),
    ),
  },
  {
    name: "a watermark rises over what one may have that holds the partition no more",
    rule: "G4, P1: until it has told that it has given it on",
    focus: "writes of those away",
    begin: method(WatermarkRounds, "formerOf", () => () => undefined),
  },
];
