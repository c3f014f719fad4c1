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
import {
  drawList,
  missedShare,
  type Trouble,
  type TroubleKind,
  type TroubleScope,
} from "./trouble_list.ts";

/** What befalls a member in every change; `habits` tells of each, and imports this, as places know of focuses. */
export type Habit = "behind" | "partial" | "unaware" | "late" | "away" | "shrink";

export interface Focus {
  /** Which moment is common in it, for the page and for who asks for one that there is not. */
  readonly meaning: string;
  readonly knobs: (drawn: Knobs) => Knobs;
  readonly troubles: (chance: Chance, scope: TroubleScope) => readonly Trouble[];
  /** Members come and go in it. */
  readonly moves?: "many";
  /** What befalls members in every change. */
  readonly habit?: Habit;
}

/** A copy is taken, put back, and filled within so long. */
const copyGapMs = 8000;
/** A link that is cut ends within so long, and is there again before the next is cut. */
const cutLastsMs = 9000;
const cutGapMs = 12_000;
const cuts: readonly TroubleKind[] = ["cut pair", "one way", "isolate"];

/** A late answer comes before a newer request. */
const overtaking = { leastMs: 15, mostMs: 300, slowShare: 0.1, slowFactor: 5 };

export const focuses = {
  "one key": {
    meaning: "all write and read one key, and late answers come before newer requests",
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
  restarts: {
    meaning: "nodes are restarted in order and cut off, and hints alone bring what was missed",
    knobs: byHintsAlone,
    troubles: (chance, size) => {
      const kinds: readonly TroubleKind[] = ["restart", "cut pair", "isolate"];
      return drawList(chance, { ...size, kinds, gapMs: 500, lastsMsMax: 3000 });
    },
  },
  "closes of those cut off": {
    meaning: "a node is closed while another has not answered what it has just written",
    knobs: (drawn) => {
      const world = byHintsAlone(drawn);
      const patience = { timeoutMsMin: 5000, timeoutMsMax: 8000, readBackShare: 0 };
      const workload = { ...world.workload, ...patience, keys: 400 };
      // Nor do watermarks rise, for which all is compared.
      return { ...world, workload, watermarkPeriodMs: repairNeverMs };
    },
    troubles: (chance, size) => drawCutCloses(chance, size),
  },
  "partial writes": {
    meaning: "writes reach one replica alone, are read there, and come to the others late",
    knobs: (drawn) => {
      const world = calm(drawn, 3);
      const shares = {
        putShare: 0.3,
        deleteShare: 0.2,
        listShare: 0.15,
        weakShare: 0,
        allShare: 0,
      };
      return {
        ...world,
        ...{ repairPeriodMs: repairNeverMs, hintAgeMaxMs: undefined, hintBytesMax: undefined },
        hintBytesPerSecond: 400,
        network: { ...world.network, leastMs: 0.2, mostMs: 1, slowShare: 0 },
        workload: {
          ...world.workload,
          ...{ ...shares, memoryShare: 0, ttlShare: 0, valueBytesMax: 20 },
          ...{ clients: 6, keys: 40, pauseMsMax: 50, timeoutMsMin: 200, timeoutMsMax: 400 },
        },
      };
    },
    // What is on a wire comes late, unless the stream ends before.
    troubles: (chance, size) => {
      const kinds: readonly TroubleKind[] = ["isolate", "reset", "reset"];
      return drawList(chance, { ...size, kinds, gapMs: 300, lastsMsMax: 3000 });
    },
  },
  power: {
    meaning: "syncs are slow, reads come while they last, and the power goes again and again",
    knobs: (drawn) => {
      const world = calm(drawn, 3);
      const shares = { putShare: 0.4, deleteShare: 0.05, listShare: 0, weakShare: 0, allShare: 0 };
      return {
        ...world,
        disk: { ...world.disk, syncMs: 40, slowShare: 0.01, slowFactor: 10 },
        network: { ...world.network, leastMs: 0.2, mostMs: 1, slowShare: 0 },
        workload: {
          ...world.workload,
          ...{ ...shares, readBackShare: 0, memoryShare: 0, ttlShare: 0 },
          ...{ clients: 6, keys: 2, hotShare: 0.5, pauseMsMax: 20 },
        },
      };
    },
    troubles: (chance, size) => {
      const kinds: readonly TroubleKind[] = ["power loss of all", "power loss in a sync"];
      return drawList(chance, { ...size, kinds, gapMs: 1000, lastsMsMax: 1000 });
    },
  },
  deletes: {
    meaning: "writes are under way below a watermark that is about to rise",
    // Through a slow node that holds only some of the keys, while the others raise watermarks ahead of the
    // clocks, and quickly: what is under way when a round begins comes after it.
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
  "old copies": {
    meaning: "a disk is put back to before a delete that has been dropped since",
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
    troubles: (chance, size) => drawCopies(chance, size, () => chance.between(missedShare, 1)),
  },
  "old votes": {
    meaning:
      "a disk is put back to before its vote, while one that has missed it proposes something else",
    knobs: (drawn) => {
      const world = calm(drawn, 3);
      return { ...world, ...{ changeGapMs: 300, safetyMs: 25_000, partitions: 1 } };
    },
    troubles: (chance, size) => drawCopies(chance, size, () => chance.between(0, missedShare)),
  },
  namespaces: {
    meaning: "namespaces are made, written in and deleted, while nodes are restarted and cut off",
    knobs: (drawn) => {
      const world = calm(drawn, 3);
      return { ...world, changeGapMs: 100, workload: { ...world.workload, clients: 2 } };
    },
    troubles: (chance, size) =>
      drawList(chance, {
        ...size,
        kinds: ["restart", "cut pair", "isolate"],
        gapMs: 500,
        lastsMsMax: 3000,
      }),
  },
  moves: {
    meaning: "replicas move, while halves of the cluster do not hear of it",
    moves: "many",
    knobs: (drawn) => moving(drawn),
    troubles: (chance, size) =>
      drawList(chance, { ...size, kinds: ["split", "isolate"], gapMs: 2500, lastsMsMax: 8000 }),
  },
  "copies of those behind": {
    meaning: "a copy begins when one of those that hold a partition has missed something",
    ...habitual("behind"),
    knobs: (drawn) => {
      const world = moving(drawn, 4);
      const timeouts = { timeoutMsMin: 200, timeoutMsMax: 600 };
      const workload = { ...world.workload, ...timeouts, clients: 8, keys: 200, pauseMsMax: 100 };
      // It is not called down for as long as it misses what is written.
      return { ...world, workload, hintBytesPerSecond: 400, gossipPeriodMs: 500 };
    },
  },
  "moves unheard of": {
    meaning: "one that has held a partition does not hear that it has moved",
    ...habitual("unaware"),
    knobs: (drawn) => {
      const world = moving(drawn);
      const workload = { ...world.workload, keys: 20, timeoutMsMin: 200, timeoutMsMax: 600 };
      // With one replica a single one that goes by what it knew is enough.
      return { ...world, workload, n: 1, partitions: 8 };
    },
  },
  "writes between copy and read": {
    meaning: "who has copied a partition misses what is written until it is read there",
    ...habitual("partial"),
    knobs: (drawn) => {
      const world = moving(drawn, 4);
      const haste = { timeoutMsMin: 100, timeoutMsMax: 300, readBackShare: 0 };
      const workload = { ...world.workload, ...haste, clients: 8, keys: 10, pauseMsMax: 20 };
      return { ...world, workload, n: 1, partitions: 4 };
    },
  },
  "requests from before a move": {
    meaning: "what was asked of one that has held a partition comes when it has moved",
    ...habitual("late"),
    knobs: (drawn) => {
      const world = moving(drawn);
      const patience = { timeoutMsMin: 5000, timeoutMsMax: 8000 };
      const workload = { ...world.workload, ...patience, clients: 10, keys: 20 };
      return { ...world, workload, n: 1, partitions: 8 };
    },
  },
  "moves of those away": {
    meaning: "a member is gone while what it holds is moved away, deleted, and given back",
    ...habitual("away"),
    knobs: (drawn) => ({ ...moving(drawn), watermarkPeriodMs: 300, partitions: 2 }),
  },
  "writes of those away": {
    meaning: "the same, and what clients write through it meanwhile is nowhere else",
    ...habitual("away"),
    knobs: (drawn) => {
      const world = moving(drawn);
      const workload = { ...world.workload, weakShare: 0.4 };
      return { ...world, workload, watermarkPeriodMs: 300, partitions: 2 };
    },
  },
  "sets that shrink": {
    meaning: "two of five leave, when two of those that stay have missed something",
    ...habitual("shrink"),
    knobs: (drawn) => {
      const world = moving(drawn);
      const timeouts = { timeoutMsMin: 200, timeoutMsMax: 600 };
      const workload = { ...world.workload, ...timeouts, clients: 8, keys: 100, pauseMsMax: 100 };
      // They are not called down for as long as they miss what is written.
      return { ...world, workload, n: 5, hintBytesPerSecond: 400, gossipPeriodMs: 500 };
    },
  },
  "moves of one alone": {
    meaning:
      "what one alone has taken, who cannot be reached by the others that hold it, is moved away",
    moves: "many",
    knobs: (drawn) => {
      const world = moving(drawn);
      const workload = { ...world.workload, weakShare: 0.4, keys: 20, deleteShare: 0 };
      return { ...world, workload, hintAgeMaxMs: 1500 };
    },
    troubles: (chance, size) =>
      drawList(chance, { ...size, kinds: ["cut pair"], gapMs: 1000, lastsMsMax: 12_000 }),
  },
} as const satisfies Readonly<Record<string, Focus>>;

export type FocusName = keyof typeof focuses;

/** Nodes whose members stay, with three replicas of every key, and clocks as right as they have to be. */
function calm(drawn: Knobs, nodes: number): Knobs {
  const none = Array.from({ length: nodes }, () => 0);
  return {
    ...drawn,
    ...{ nodes, n: 3, spares: 0, memberGapMs: undefined, gossipPeriodMs: 1000 },
    ...{ changeGapMs: undefined, earlierStarts: none, backAtStart: none },
    clocks: none.map(() => ({ aheadMs: 0, drift: 0 })),
    workload: { ...drawn.workload, batchShare: 0, pageKeys: 1000 },
  };
}

/** Three nodes that nobody compares, and hints that are kept until they are delivered. */
function byHintsAlone(drawn: Knobs): Knobs {
  const world = calm(drawn, 3);
  const shares = { putShare: 0.35, deleteShare: 0.2, listShare: 0.1, weakShare: 0.2 };
  return {
    ...world,
    ...{ repairPeriodMs: repairNeverMs, hintAgeMaxMs: undefined, hintBytesMax: undefined },
    workload: {
      ...world.workload,
      ...{ ...shares, allShare: 0, memoryShare: 0, ttlShare: 0 },
      ...{ clients: 6, keys: 40, pauseMsMax: 50 },
    },
  };
}

function deleting({ workload }: Knobs): Knobs["workload"] {
  return {
    ...workload,
    ...{ putShare: 0.2, deleteShare: 0.2, listShare: 0, weakShare: 0, allShare: 0 },
    ...{ clients: 6, keys: 30, hotShare: 0, pauseMsMax: 100, readBackShare: 0.2 },
    ...{ memoryShare: 0, ttlShare: 0 },
  };
}

/** Members change by a habit, and nothing else goes wrong. */
function habitual(habit: Habit): Pick<Focus, "moves" | "habit" | "troubles"> {
  return { moves: "many", habit, troubles: () => [] };
}

/** Five nodes whose members change all the time; hints come slowly, and no turn of repair. */
function moving(drawn: Knobs, nodes = 5): Knobs {
  const world = calm(drawn, nodes);
  return {
    ...world,
    ...{ memberGapMs: 300, spares: 1, gossipPeriodMs: 200, safetyMs: 20_000 },
    ...{ repairPeriodMs: repairNeverMs, hintBytesPerSecond: 300, hintBytesMax: undefined },
    ...{ watermarkPeriodMs: 1000, requestMsMax: -450, linkQueueBytes: undefined, partitions: 4 },
    ...{ hintAgeMaxMs: undefined, peerRequestsMax: undefined },
    network: { ...world.network, leastMs: 0.2, mostMs: 1, slowShare: 0.01, slowFactor: 5 },
    workload: {
      ...world.workload,
      ...{ clients: 5, keys: 60, hotShare: 0, pauseMsMax: 60, readBackShare: 0.1 },
      ...{ putShare: 0.35, deleteShare: 0.15, listShare: 0, weakShare: 0, allShare: 0 },
      ...{
        memoryShare: 0,
        ttlShare: 0,
        valueBytesMax: 200,
        timeoutMsMin: 2000,
        timeoutMsMax: 6000,
      },
    },
  };
}

/** One copy after another. */
function drawCopies(
  chance: Chance,
  { nodes, safetyMs }: TroubleScope,
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

/** One node cannot reach another for so long that its link ends, and is closed at the beginning of that. */
function drawCutCloses(chance: Chance, { nodes, safetyMs }: TroubleScope): readonly Trouble[] {
  const troubles: Trouble[] = [];
  for (let atMs = 1000; atMs < safetyMs; atMs += cutGapMs) {
    const one = chance.below(nodes);
    const other = (one + 1 + chance.below(nodes - 1)) % nodes;
    const [both, much] = [{ one, other }, 0];
    troubles.push({ ...both, much, kind: "cut pair", atMs, lastsMs: cutLastsMs });
    const closedAtMs = atMs + chance.whole(100, 600);
    troubles.push({ ...both, much, kind: "restart", atMs: closedAtMs, lastsMs: 100 });
  }
  return troubles;
}
