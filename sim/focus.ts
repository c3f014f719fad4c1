/**
 * Focus: worlds in which one kind of moment is common.
 *
 * What a seed draws is of every kind, so some moments come together in one run of thousands: a late
 * answer and a reader that overtakes a message, a copy that is put back just when a delete was dropped.
 * A focus keeps what the seed has drawn but for the knobs that make its moment, and draws troubles of its
 * own. Every promise holds in it as in any world; that a broken rule is noticed takes fewer seeds.
 *
 * Invariants
 * 1. The same seed and focus give the same world.
 *
 * Effects: none.
 *
 * @module
 */

import type { Chance } from "./chance.ts";
import { type Knobs, repairNeverMs } from "./knobs.ts";
import { drawList, type Trouble, type TroubleKind } from "./nemesis.ts";

export interface Focus {
  readonly knobs: (drawn: Knobs) => Knobs;
  readonly troubles: (chance: Chance, world: Size) => readonly Trouble[];
  /** Members come and go in it. */
  readonly moves?: "many";
}

/** What a list of troubles goes by. */
export interface Size {
  readonly nodes: number;
  readonly safetyMs: number;
}

/** A copy is taken, put back, and filled within so long. */
const copyGapMs = 8000;
/** So long lies between two absences of members. */
const awayGapMs = 8000;
const cuts: readonly TroubleKind[] = ["cut pair", "one way", "isolate"];

/** Nodes whose members stay, with three replicas of every key, and clocks as right as they have to be. */
function calm(drawn: Knobs, nodes: number): Knobs {
  const none = Array.from({ length: nodes }, () => 0);
  return {
    ...drawn,
    ...{ nodes, n: 3, spares: 0, memberGapMs: undefined, gossipPeriodMs: 1000 },
    ...{ changeGapMs: undefined, earlierStarts: none, backAtStart: none },
    clocks: none.map(() => ({ aheadMs: 0, drift: 0 })),
  };
}

const overtaking = { leastMs: 15, mostMs: 300, slowShare: 0.1, slowFactor: 5 };

export const focuses = {
  /** All write and read one key, through a network in which a late answer comes before a newer request. */
  "one key": {
    knobs: (drawn) => {
      const world = calm(drawn, 3);
      const shares = { putShare: 0.5, deleteShare: 0.05, listShare: 0, weakShare: 0, allShare: 0 };
      return {
        ...world,
        network: { ...world.network, ...overtaking },
        workload: {
          ...world.workload,
          ...{ ...shares, readBackShare: 0.4, memoryShare: 0, ttlShare: 0 },
          ...{ clients: 6, keys: 1, pauseMsMax: 20, timeoutMsMin: 1000, timeoutMsMax: 4000 },
        },
      };
    },
    troubles: (chance, size) =>
      drawList(chance, { ...size, kinds: cuts, gapMs: 400, lastsMsMax: 1500 }),
  },
  /**
   * Few keys are put and deleted through a slow node that holds only some of them, while the others raise
   * watermarks ahead of the clocks, and quickly: what is under way when a round begins comes after it.
   */
  deletes: {
    knobs: (drawn) => {
      const world = calm(drawn, 4);
      return {
        ...world,
        ...{ watermarkPeriodMs: 300, requestMsMax: -1500, repairPeriodMs: repairNeverMs },
        ...{ partitions: 4, safetyMs: 20_000 },
        network: { ...world.network, leastMs: 1, mostMs: 8, slowShare: 0, slowFactor: 1 },
        workload: {
          ...deleting(world),
          ...{ clients: 8, keys: 12, putShare: 0.15, deleteShare: 0.15, readBackShare: 0 },
          ...{ pauseMsMax: 20, timeoutMsMin: 1000, timeoutMsMax: 2000 },
        },
      };
    },
    troubles: (chance, { nodes, safetyMs }) => {
      const [one, lastsMs] = [chance.below(nodes), safetyMs];
      return [{ kind: "slow node", atMs: 0, lastsMs, one, other: one, much: 0.9 }];
    },
  },
  /** An old copy of a disk comes back after what it has was deleted, and the delete was dropped. */
  "old copies": {
    knobs: (drawn) => {
      const world = calm(drawn, 3);
      return {
        ...world,
        ...{ watermarkPeriodMs: 300, requestMsMax: -450, safetyMs: 25_000 },
        ...{ repairPeriodMs: 1000, partitions: 1 },
        workload: { ...deleting(world), weakShare: 0.2 },
      };
    },
    // All are there meanwhile, so that watermarks rise.
    troubles: (chance, size) => drawCopies(chance, size, () => chance.between(0.7, 1)),
  },
  /** An old copy of a disk comes back while one that has missed its vote proposes something else. */
  "old votes": {
    knobs: (drawn) => {
      const world = calm(drawn, 3);
      return { ...world, ...{ changeGapMs: 300, safetyMs: 25_000, partitions: 1 } };
    },
    troubles: (chance, size) => drawCopies(chance, size, () => chance.between(0, 0.7)),
  },
  /** Replicas move all the time, while halves of the cluster do not hear of it, and hints come slowly. */
  moves: {
    moves: "many",
    knobs: (drawn) => moving(drawn, {}),
    troubles: (chance, size) =>
      drawList(chance, { ...size, kinds: ["split", "isolate"], gapMs: 2500, lastsMsMax: 8000 }),
  },
  /** Members are away for long, while others take over what they hold, and give it back. */
  "moves of those away": {
    moves: "many",
    knobs: (drawn) => moving(drawn, { weakShare: 0.4, readBackShare: 0, keys: 20 }, 1500),
    troubles: (chance, { nodes, safetyMs }) => {
      const troubles: Trouble[] = [];
      for (let atMs = 1000; atMs < safetyMs; atMs += awayGapMs) {
        const [one, other] = [chance.below(nodes), chance.below(nodes)];
        const lastsMs = chance.whole(awayGapMs / 2, awayGapMs);
        troubles.push({ kind: "isolate", atMs, lastsMs, one, other, much: chance.fraction() });
      }
      return troubles;
    },
  },
} as const satisfies Readonly<Record<string, Focus>>;

export type FocusName = keyof typeof focuses;

function deleting({ workload }: Knobs): Knobs["workload"] {
  return {
    ...workload,
    ...{ putShare: 0.2, deleteShare: 0.2, listShare: 0, weakShare: 0, allShare: 0 },
    ...{ clients: 6, keys: 30, hotShare: 0, pauseMsMax: 100, readBackShare: 0.2 },
    ...{ memoryShare: 0, ttlShare: 0 },
  };
}

function moving(drawn: Knobs, changes: Partial<Knobs["workload"]>, hintAgeMaxMs?: number): Knobs {
  const world = calm(drawn, 5);
  return {
    ...world,
    ...{ memberGapMs: 300, spares: 1, gossipPeriodMs: 200, safetyMs: 20_000, hintAgeMaxMs },
    ...{ repairPeriodMs: repairNeverMs, hintBytesPerSecond: 300, hintBytesMax: undefined },
    ...{ watermarkPeriodMs: 1000, requestMsMax: -450, linkQueueBytes: undefined, partitions: 4 },
    network: { ...world.network, leastMs: 0.2, mostMs: 1, slowShare: 0.01, slowFactor: 5 },
    workload: {
      ...world.workload,
      ...{ clients: 5, keys: 60, hotShare: 0, pauseMsMax: 100, readBackShare: 0.1 },
      ...{ putShare: 0.35, deleteShare: 0.15, listShare: 0, weakShare: 0, allShare: 0 },
      ...{
        memoryShare: 0,
        ttlShare: 0,
        valueBytesMax: 200,
        timeoutMsMin: 3000,
        timeoutMsMax: 8000,
      },
      ...changes,
    },
  };
}

/** One copy after another. */
function drawCopies(
  chance: Chance,
  { nodes, safetyMs }: Size,
  much: () => number,
): readonly Trouble[] {
  const troubles: Trouble[] = [];
  for (let atMs = 1000; atMs < safetyMs; atMs += copyGapMs) {
    const one = chance.below(nodes);
    const other = (one + 1 + chance.below(nodes - 1)) % nodes;
    const lastsMs = chance.whole(200, 1500);
    troubles.push({ kind: "roll back", atMs, lastsMs, one, other, much: much() });
  }
  return troubles;
}
