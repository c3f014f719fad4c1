/**
 * Mutations of filling: when a replica that has lost its data counts again.
 *
 * Effects: the prototypes of the program's classes, while a mutation is on.
 *
 * @module
 */

import { Losses } from "../src/losses.ts";
import { NodeFills } from "../src/node_fills.ts";
import { StoreSide } from "../src/node_repair_sides.ts";
import { Standings } from "../src/standing.ts";
import { all, type Mutation, method } from "./mutation.ts";

/** What was really filled, by what is kept of it. */
const filled = new WeakMap<object, Set<string>>();

export const fillMutations: readonly Mutation[] = [
  {
    name: "a replica is filled from one other alone",
    rule: "I4: n-m+1 of them, one of which has what any quorum took",
    focus: "old votes",
    begin: method(NodeFills, "sourcesNeeded", () => () => 1),
  },
  {
    name: "a replica counts before it is filled",
    rule: "I4, R4",
    focus: "old votes",
    begin: method(NodeFills, "hasData", () => () => true),
  },
  {
    name: "a replica is never filled",
    rule: "I4, P5",
    begin: method(NodeFills, "begin", () => () => {}),
  },
  {
    name: "a replica is kept as filled before it is",
    rule: "I4: it has synced that before it counts, after a crash too",
    focus: "old votes",
    begin: all(
      method(
        Losses,
        "recognise",
        (old) =>
          async function (heard) {
            await old.call(this, heard);
            filled.set(this, new Set());
            await this.accept(1024);
          },
      ),
      method(
        Losses,
        "fill",
        (old) =>
          function (pairs: readonly { readonly partition: number; readonly n: number }[]) {
            const known = filled.get(this);
            // The acceptance itself fills all, in the folder alone.
            if (pairs.length < 1024) {
              for (const { partition, n } of pairs) known?.add(`${partition} ${n}`);
            }
            return old.call(this, pairs);
          },
      ),
      method(
        Losses,
        "hasData",
        (old) =>
          function (partition, n) {
            const known = filled.get(this);
            if (known !== undefined && !known.has(`${partition} ${n}`)) return false;
            return old.call(this, partition, n);
          },
      ),
    ),
  },
  {
    name: "what was deleted below the watermark stays at who is filled",
    rule: "G6: it discards what it holds below",
    focus: "old copies",
    begin: method(StoreSide, "discard", () => async () => {}),
  },
  {
    name: "a store that was rolled back votes once it is filled",
    rule: "I3: its vote is void until it is replaced",
    focus: "old votes",
    begin: method(Standings, "whyNoVote", () => () => undefined),
  },
];
