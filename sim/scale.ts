/**
 * Scale: what it costs to be many: a large idle cluster of real nodes in the simulated world.
 *
 * The nodes have the settings that they have by default; a machine loses its power, and comes back. What
 * is measured is what the protocol decides: rounds, messages and bytes. The time that a program needs to
 * compute is not in it.
 *
 * Invariants
 * 1. The same seed gives the same figures.
 *
 * Effects: those of the guard.
 *
 * @module
 */

import type { Network } from "../src/capability.ts";
import type { QuorateNode } from "../src/node.ts";
import { place } from "../src/placement.ts";
import { Chance } from "./chance.ts";
import { drive } from "./guard.ts";
import { drawKnobs, type Knobs } from "./knobs.ts";
import { SimNetwork } from "./network.ts";
import { Place } from "./place.ts";
import { type EventOwner, Scheduler } from "./scheduler.ts";
import { type Share, Traffic } from "./traffic.ts";

export interface ScaleOptions {
  readonly seed: number;
  readonly nodes: number;
  readonly partitions: number;
  /** How long the idle cluster is listened to, in ms. */
  readonly idleMs: number;
}

/** When the first, the middle one and the last of the others knew, in ms. */
export interface Spread {
  readonly firstMs: number;
  readonly medianMs: number;
  readonly lastMs: number;
}

export interface Scale {
  readonly nodes: number;
  readonly partitions: number;
  /** By topic: what a node sends in a second, in bytes and messages. */
  readonly perSecond: ReadonlyMap<string, Share>;
  readonly documentBytes: number;
  /** From the loss of power until others call the node down. */
  readonly down: Spread;
  /** From its next start until others call it alive. */
  readonly alive: Spread;
}

/** One of the two copies of the topology on a disk. */
const documentFile = "topology.a";
const pollMs = 100;
const waitMsMax = 300_000;
const settleMs = 30_000;

/** A network in one building: half a millisecond each way. */
function knobsOf({ nodes, partitions }: ScaleOptions): Knobs {
  const drawn = drawKnobs(new Chance(1));
  return {
    ...drawn,
    nodes,
    partitions,
    n: 3,
    segmentBytes: 64 * 1024,
    memtableBytesMax: 128 * 1024,
    linkQueueBytes: undefined,
    hintBytesMax: undefined,
    hintAgeMaxMs: undefined,
    peerRequestsMax: undefined,
    hintBytesPerSecond: 8 * 1024 * 1024,
    repairPeriodMs: 600_000,
    repairPartitionsMax: 2,
    repairBytesPerSecond: 16 * 1024 * 1024,
    watermarkPeriodMs: 3_600_000,
    requestMsMax: 60_000,
    gossipPeriodMs: 1000,
    clocks: [],
    disk: { callMs: 0.05, syncMs: 1, slowShare: 0, slowFactor: 1 },
    network: {
      leastMs: 0.4,
      mostMs: 0.6,
      slowShare: 0,
      slowFactor: 1,
      bytesPerMs: 125_000,
      windowBytes: 1024 * 1024,
      pingPeriodMs: 5000,
      answerMsMax: 5000,
    },
  };
}

class HeardNetwork extends SimNetwork {
  readonly traffic = new Traffic();

  override from(address: string, owner: EventOwner): Network {
    return this.traffic.heard(super.from(address, owner));
  }
}

/**
 * Of all replicas at n = 3, the share that moves when one more node joins; and an even share, which it is to hold.
 */
export function joinShare(nodes: number, partitions: number): { moved: number; even: number } {
  const members = Array.from({ length: nodes + 1 }, (_, index) => ({
    nodeId: index.toString(16).padStart(32, "0"),
    zone: "default",
    host: `host${index}`,
    weight: 100,
  }));
  const depth = 3;
  const idsOf = (rows: readonly (readonly number[])[]): string[][] =>
    rows.map((row) => row.map((member) => members[member]?.nodeId ?? ""));
  const before = idsOf(place({ members: members.slice(0, -1), partitions, depth, before: [] }));
  const after = idsOf(place({ members, partitions, depth, before }));
  const replicas = partitions * depth;
  const isNew = (member: string, partition: number): boolean =>
    before[partition]?.includes(member) === false;
  const moved = after.reduce(
    (sum, row, partition) => sum + row.filter((member) => isNew(member, partition)).length,
    0,
  );
  return { moved: moved / replicas, even: 1 / (nodes + 1) };
}

/** Runs it; it takes the whole process, as `simulate` does. @throws Error when the cluster does not come to be */
export async function measureScale(options: ScaleOptions): Promise<Scale> {
  const world = new ScaleWorld(options);
  let scale: Scale | undefined;
  let failure: unknown;
  const running = world.measure().then(
    (measured) => {
      scale = measured;
    },
    (error: unknown) => {
      failure = error;
    },
  );
  await drive(world.scheduler, () => scale !== undefined || failure !== undefined);
  await running;
  if (scale === undefined) throw failure;
  return scale;
}

class ScaleWorld {
  readonly scheduler = new Scheduler();
  readonly #options: ScaleOptions;
  readonly #network: HeardNetwork;
  readonly #places: readonly Place[];

  constructor(options: ScaleOptions) {
    const { scheduler } = this;
    const { nodes } = options;
    const chance = new Chance(options.seed);
    const knobs = knobsOf(options);
    const network = new HeardNetwork(scheduler, chance.fork(), knobs.network);
    const addresses = Array.from({ length: nodes }, (_, index) => addressOf(index));
    this.#options = options;
    this.#network = network;
    this.#places = addresses.map(
      (_, index) =>
        new Place({
          scheduler,
          network,
          chance: chance.fork(),
          knobs,
          index,
          addresses,
          founders: nodes,
          mutation: undefined,
          onSometimes: () => {},
          onDeath: () => {},
          onLoss: () => {},
          onLeft: () => {},
          onFinding: (detail) => {
            throw new Error(detail);
          },
        }),
    );
  }

  async measure(): Promise<Scale> {
    const { nodes, partitions, idleMs } = this.#options;
    const { scheduler } = this;
    const { traffic } = this.#network;
    for (const place of this.#places) place.start();
    await this.#allServe();
    await scheduler.sleep(settleMs);
    traffic.clear();
    await scheduler.sleep(idleMs);
    const seconds = (idleMs / 1000) * nodes;
    const perSecond = new Map(
      [...traffic.shares].map(([topic, { bytes, messages }]) => [
        topic,
        { bytes: bytes / seconds, messages: messages / seconds },
      ]),
    );
    const [gone, ...others] = this.#places.toReversed() as [Place, ...Place[]];
    gone.powerLoss();
    const down = await this.#spread(others, gone.name, "down");
    await scheduler.sleep(settleMs);
    gone.start();
    const alive = await this.#spread(others, gone.name, "alive");
    const documentBytes = gone.disk.bytesOf(documentFile).length;
    return { nodes, partitions, perSecond, documentBytes, down, alive };
  }

  async #allServe(): Promise<void> {
    const { scheduler } = this;
    const begunMs = scheduler.nowMs;
    while (!this.#places.every(({ isReady }) => isReady)) {
      if (scheduler.nowMs - begunMs > waitMsMax) throw new Error("Not all nodes serve in time.");
      await scheduler.sleep(pollMs);
    }
  }

  async #spread(others: readonly Place[], name: string, state: "down" | "alive"): Promise<Spread> {
    const { scheduler } = this;
    const begunMs = scheduler.nowMs;
    const knownMs: number[] = [];
    let left = others;
    while (left.length > 0) {
      if (scheduler.nowMs - begunMs > waitMsMax) throw new Error(`Not all call ${name} ${state}.`);
      await scheduler.sleep(pollMs);
      const states = await Promise.all(left.map(({ node }) => stateOf(node, name)));
      left = left.filter((_, at) => states[at] !== state);
      while (knownMs.length < others.length - left.length) knownMs.push(scheduler.nowMs - begunMs);
    }
    const [firstMs = 0] = knownMs;
    return {
      firstMs,
      medianMs: knownMs[knownMs.length >> 1] ?? 0,
      lastMs: knownMs.at(-1) ?? 0,
    };
  }
}

async function stateOf(node: QuorateNode | undefined, name: string): Promise<string | undefined> {
  const answer = await node?.cluster();
  return answer?.members.find(({ node: member }) => member === name)?.state;
}

function addressOf(index: number): string {
  return `10.0.${index >> 8}.${index & 255}:80`;
}
