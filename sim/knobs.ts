/**
 * Knobs: everything about a run that its seed draws before it begins.
 *
 * Small sizes on purpose: segments that are full after a few writes and tables that are written out
 * all the time make rare paths common. Each run is a world of its own kind: a fast network or a slow
 * one, a few hot keys or many cold ones, patient clients or hasty ones.
 *
 * Invariants
 * 1. The same seed draws the same knobs.
 *
 * Effects: none.
 *
 * @module
 */

import type { Chance } from "./chance.ts";
import type { NetworkKnobs } from "./network.ts";

export interface DiskKnobs {
  readonly callMs: number;
  readonly syncMs: number;
  readonly slowShare: number;
  readonly slowFactor: number;
}

export interface WorkloadKnobs {
  readonly clients: number;
  readonly keys: number;
  /** How many of the requests go to the first key. */
  readonly hotShare: number;
  readonly pauseMsMax: number;
  readonly timeoutMsMin: number;
  readonly timeoutMsMax: number;
  readonly putShare: number;
  readonly deleteShare: number;
  readonly listShare: number;
  /** How many of the requests are batches. */
  readonly batchShare: number;
  /** How many keys a page of a list has. */
  readonly pageKeys: number;
  readonly weakShare: number;
  readonly allShare: number;
  /** How many of the writes their client reads back at once, some times, through whichever node. */
  readonly readBackShare: number;
  readonly valueBytesMax: number;
  /** How many of the writes ask for `memory`. */
  readonly memoryShare: number;
  /** How many of the puts are to live for a time, and for which. */
  readonly ttlShare: number;
  readonly ttlSeconds: readonly number[];
}

export interface Knobs {
  readonly nodes: number;
  /** The namespace's number of replicas. */
  readonly n: number;
  readonly partitions: number;
  readonly segmentBytes: number;
  readonly memtableBytesMax: number;
  readonly hintBytesPerSecond: number;
  readonly repairPeriodMs: number;
  readonly repairPartitionsMax: number;
  readonly repairBytesPerSecond: number;
  readonly watermarkPeriodMs: number;
  /**
   * What nodes take for the longest deadline of a request: watermarks come so close to the clocks, and
   * half a second. Below 0 they shut out coordinators whose clocks are in order: that costs them a second
   * version, and breaks nothing.
   */
  readonly requestMsMax: number;
  /** Bounds of a node that are seldom reached unless they are small; undefined: as in the real one. */
  readonly linkQueueBytes: number | undefined;
  readonly hintBytesMax: number | undefined;
  readonly hintAgeMaxMs: number | undefined;
  /** Requests of other nodes that a node takes on at once. */
  readonly peerRequestsMax: number | undefined;
  readonly network: NetworkKnobs;
  readonly disk: DiskKnobs;
  readonly workload: WorkloadKnobs;
  /** How far each wall clock is ahead at the start, and how much too fast it runs. */
  readonly clocks: readonly { readonly aheadMs: number; readonly drift: number }[];
  readonly safetyMs: number;
  /** How long lies between two rounds of changes to the document; undefined: there are none. */
  readonly changeGapMs: number | undefined;
  /** Nodes that may come later. */
  readonly spares: number;
  /** How long lies between two changes of the members; undefined: there are none. */
  readonly memberGapMs: number | undefined;
  /** How often nodes send heartbeats. */
  readonly gossipPeriodMs: number;
  /** By place: how many of its first starts are of a program that speaks version 1 of the protocol alone. */
  readonly earlierStarts: readonly number[];
  /** By place: the start at which it goes back to that program, should it still be let; 0: none. */
  readonly backAtStart: readonly number[];
}

/**
 * What Jepsen asks of a store, as Garage's own tests have it: a register, read and written at quorum; and sets to which
 * things are added, and that are listed.
 */
export type WorkloadKind = "register" | "sets";

const KiB = 1024;
/** No turn comes in a run: what hints and reads leave is there to be seen, until it is asked for. */
export const repairNeverMs = 24 * 3_600_000;
/** Many nodes take long to run. */
const largeShare = 0.04;
/** In some worlds nodes are upgraded, one by one, as they are started again. */
const upgradeShare = 0.12;

export function drawKnobs(chance: Chance): Knobs {
  const knobs = drawWorld(chance);
  const isUpgraded = chance.happens(upgradeShare);
  const starts = (): number => (isUpgraded ? chance.whole(0, 2) : 0);
  const earlierStarts = Array.from({ length: knobs.nodes }, starts);
  const backAtStart = earlierStarts.map((count) =>
    isUpgraded && chance.happens(0.5) ? count + chance.whole(2, 4) : 0,
  );
  return { ...knobs, earlierStarts, backAtStart };
}

function drawWorld(chance: Chance): Omit<Knobs, "earlierStarts" | "backAtStart"> {
  const nodes = chance.happens(largeShare)
    ? chance.whole(6, 9)
    : chance.pick([1, 2, 3, 3, 3, 3, 4, 5]);
  const skewMsMax = chance.pick([0, 5, 200, 2000]);
  const driftMax = chance.pick([0, 0, 0.0001, 0.01]);
  const knobs = {
    nodes,
    n: chance.pick([3, 3, 3, 3, chance.whole(1, 5), chance.whole(1, 2)]),
    partitions: chance.pick([1, 2, 4, 8]),
    segmentBytes: chance.pick([16, 32, 64, 256]) * KiB,
    memtableBytesMax: chance.pick([2, 8, 32, 128]) * KiB,
    hintBytesPerSecond: chance.pick([64 * KiB, 8 * KiB * KiB]),
    network: drawNetwork(chance),
    disk: {
      callMs: chance.pick([0.01, 0.1, 1]),
      syncMs: chance.pick([0.1, 1, 8, 40]),
      slowShare: chance.pick([0, 0.01]),
      slowFactor: chance.pick([10, 100]),
    },
    workload: drawWorkload(chance),
    clocks: Array.from({ length: nodes }, () => ({
      aheadMs: Math.floor(chance.between(-skewMsMax, skewMsMax)),
      drift: chance.between(-driftMax, driftMax),
    })),
    safetyMs: chance.whole(4_000, 25_000),
    changeGapMs: chance.pick([undefined, undefined, 300, 2000]),
    linkQueueBytes: chance.pick([undefined, undefined, undefined, 64 * KiB]),
    hintBytesMax: chance.pick([undefined, undefined, undefined, 2 * KiB, 32 * KiB]),
    peerRequestsMax: chance.pick([undefined, undefined, undefined, 4, 32]),
    repairPeriodMs: chance.pick([
      2000,
      10_000,
      30_000,
      ...new Array<number>(3).fill(repairNeverMs),
    ]),
    repairPartitionsMax: chance.pick([1, 2, 8]),
    repairBytesPerSecond: chance.pick([16 * KiB, 16 * KiB * KiB]),
    hintAgeMaxMs: chance.pick([undefined, undefined, undefined, 1500]),
    watermarkPeriodMs: chance.pick([300, 1000, 5000]),
    requestMsMax: chance.pick([-450, -450, 10, 200, 1000, 60_000]),
  };
  const memberGapMs = nodes > 5 ? undefined : chance.pick([undefined, undefined, 500, 2000]);
  const spares = memberGapMs === undefined ? 0 : chance.whole(0, 2);
  if (memberGapMs === undefined) return { ...knobs, memberGapMs, spares, gossipPeriodMs: 1000 };
  // Phases pass with the heartbeats: so that several moves have room in a run.
  const gossipPeriodMs = chance.pick([100, 300, 1000]);
  const safetyMs = knobs.safetyMs + 15_000;
  return { ...knobs, memberGapMs, spares, gossipPeriodMs, safetyMs };
}

function drawNetwork(chance: Chance): NetworkKnobs {
  const leastMs = chance.pick([0.05, 0.2, 1, 15]);
  return {
    leastMs,
    mostMs: leastMs * chance.pick([1.5, 4, 20]),
    slowShare: chance.pick([0, 0.01, 0.1]),
    slowFactor: chance.pick([5, 50]),
    bytesPerMs: chance.pick([10_000, 125_000]),
    windowBytes: chance.pick([64, 1024]) * KiB,
    pingPeriodMs: 5000,
    answerMsMax: 5000,
  };
}

function drawWorkload(chance: Chance): WorkloadKnobs {
  const timeoutMsMin = chance.pick([50, 200, 1000]);
  return {
    clients: chance.whole(2, 6),
    keys: chance.pick([1, 2, 5, 20, 60]),
    hotShare: chance.pick([0, 0.3, 0.8]),
    pauseMsMax: chance.pick([20, 100, 400]),
    timeoutMsMin,
    timeoutMsMax: timeoutMsMin * chance.pick([1, 4, 10]),
    putShare: chance.between(0.2, 0.6),
    deleteShare: chance.pick([0, 0.1, 0.3]),
    listShare: chance.pick([0, 0.03, 0.03, 0.15]),
    batchShare: chance.pick([0, 0, 0.05, 0.2]),
    pageKeys: chance.pick([1000, 1000, 7, 2]),
    weakShare: chance.pick([0, 0.2]),
    allShare: chance.pick([0, 0.1, 0.3]),
    readBackShare: chance.pick([0, 0.1, 0.4]),
    valueBytesMax: chance.pick([20, 200, 3000]),
    memoryShare: chance.pick([0, 0, 0.1, 0.5]),
    ttlShare: chance.pick([0, 0, 0.1, 0.5]),
    // The long ones outlive every clock that is set.
    ttlSeconds: chance.pick([[1], [1, 2, 5], [2, 86_400], [86_400]]),
  };
}

/** The workload of a kind; how hasty its clients are is left as it was drawn. */
export function workloadOf(drawn: WorkloadKnobs, kind: WorkloadKind | undefined): WorkloadKnobs {
  if (kind === undefined) return drawn;
  const plain = {
    ...drawn,
    ...{
      deleteShare: 0,
      weakShare: 0,
      allShare: 0,
      memoryShare: 0,
      ttlShare: 0,
      valueBytesMax: 20,
      batchShare: 0,
    },
  };
  if (kind === "register") return { ...plain, keys: 2, hotShare: 0.5, putShare: 0.5, listShare: 0 };
  return { ...plain, keys: 100, hotShare: 0, putShare: 0.7, listShare: 0.3 };
}
