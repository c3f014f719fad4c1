/**
 * Mutations of what becomes of a namespace that is deleted.
 *
 * Effects: the classes of the program, while a mutation is on.
 *
 * @module
 */

import { Agreement } from "../src/agreement.ts";
import { NodePurge } from "../src/node_purge.ts";
import { Store } from "../src/store.ts";
import type { Topology } from "../src/topology.ts";
import type { Knobs } from "./knobs.ts";
import { type Mutation, method, opening } from "./mutation.ts";

const suits = ({ changeGapMs }: Knobs): boolean => changeGapMs !== undefined;

type Step = (present: Topology) => Topology | undefined;

export const documentMutations: readonly Mutation[] = [
  {
    name: "that there is nothing to change is told by what a node knows",
    rule: "T1: the newest document tells it",
    focus: "namespaces",
    begin: method(
      Agreement,
      "change",
      (old) =>
        async function (step: Step) {
          let isSame = false;
          const { document } = await this.propose((present: Topology) => {
            isSame = step(present) === undefined;
            return undefined;
          });
          return isSame ? document : old.call(this, step);
        },
    ),
  },
  {
    name: "what a deleted namespace has left is never removed",
    rule: "T8: its number is forgotten when nothing is left under it",
    suits,
    begin: method(NodePurge, "follow", () => () => {}),
  },
  {
    name: "a store takes what is for a deleted namespace",
    rule: "T8: a number is never used again",
    focus: "namespaces",
    begin: opening(Store, (options) => ({ ...options, isDeleted: () => false })),
  },
];
