/**
 * NodeWatermarkRounds: when this node leads a round for a partition, and when it drops what one allows.
 *
 * The first replica of a partition leads its rounds. There is one when something waits for it: deletes
 * and mortal records, or a promise whose round was given up and that keeps hints from being taken.
 *
 *     something droppable, or promise > watermark
 *       -> nothing moves? -> all who held it before have given it on? -> all replicas up?
 *       -> round, once in a period
 *     watermark > what was dropped up to           -> drop
 *
 * Invariants
 * 1. One round or one walk that drops is under way at a time.
 * 2. A partition whose replicas are not all there, or that cannot be read, holds up no other one.
 * 3. Who has waited longest is next, and rounds and walks take turns: also where all of them take longer than
 *    the period, each partition has its turn.
 * 4. No round begins while a member may still have what it took before the partition moved away from it.
 *
 * Effects: Clock, Report; the store and the peers. Source: rules G2 to G5; promise P1.
 *
 * @module
 */

import type { Clock, Report } from "./capability.ts";
import { QuorateError } from "./errors.ts";
import { type Hlc, hlcWallMs } from "./hlc.ts";
import { PeerSide } from "./node_repair_sides.ts";
import { dropBelow } from "./node_watermark_drop.ts";
import { type RoundReplica, WatermarkRound } from "./node_watermark_round.ts";
import type { NodeWatermarks } from "./node_watermarks.ts";
import type { Peers } from "./peers.ts";
import type { Pair } from "./repair_digest.ts";
import type { Visit } from "./repair_schedule.ts";
import type { Store } from "./store.ts";
import {
  isIn,
  type Member,
  numbersOf,
  otherRowOf,
  replicasOf,
  sizesInUse,
  type Topology,
} from "./topology.ts";

export interface WatermarkRoundsParts {
  readonly clock: Clock;
  readonly report: Report;
  readonly store: Store;
  readonly fences: NodeWatermarks;
  readonly topology: () => Topology;
  readonly self: { readonly nodeId: string; readonly storeId: string; readonly name: string };
  /** Whether this node knows what it should hold of the partition. */
  readonly counts: (partition: number, n: number) => boolean;
  readonly peers: Pick<Peers, "request">;
  readonly isUp: (nodeId: string) => boolean;
  /** The newest document by which a member has told that nothing is left there that is not its own; 0: none. */
  readonly clearedAt: (nodeId: string) => number;
  /** Compares now, with every difference looked at; whether it came to its end. */
  readonly compare: (visit: Visit) => Promise<boolean>;
  readonly spend: (bytes: number) => Promise<void>;
  readonly limits: {
    readonly periodMs: number;
    /** The longest deadline of a request (G3). */
    readonly lagMs: number;
  };
}

/** How far the watermarks of the partitions are that hold something to be dropped. */
export interface WatermarkStatus {
  readonly pairs: number;
  /** Of these, those that never had one. */
  readonly never: number;
  /** The least of the others; undefined: there are none. */
  readonly oldest: Hlc | undefined;
  /** Partitions that this node leads, and why their last round did not raise the watermark. */
  readonly heldBack: readonly (Pair & { readonly why: string })[];
}

interface Entry {
  readonly pair: Pair;
  replicas: readonly Member[];
  /** Not before this. */
  dueMs: number;
  droppedUpTo: Hlc;
  /** No walk begins before this: the last one failed. */
  dropAgainMs: number;
  /** When the first record is over that the last walk left, and how many with an end it left. */
  nextOverMs: number;
  mortal: number;
  why: string | undefined;
}

const retryMsMax = 60_000;
/** A record that was replaced by one with an earlier end is not waited for longer. */
const lookAgainMs = 24 * 3_600_000;
/** The epoch of founding: nobody held the partition before. */
const firstEpoch = 1;

export class WatermarkRounds {
  readonly #parts: WatermarkRoundsParts;
  readonly #entries = new Map<string, Entry>();
  #followed: Topology | undefined;
  #running: Promise<void> | undefined;
  #isRoundNext = false;
  #isClosed = false;

  constructor(parts: WatermarkRoundsParts) {
    this.#parts = parts;
  }

  /** Begins what is due, if nothing is under way. */
  tick(): void {
    if (this.#running !== undefined || this.#isClosed) return;
    this.#follow();
    const run = this.#isRoundNext
      ? (this.#dueRound() ?? this.#dueDrop())
      : (this.#dueDrop() ?? this.#dueRound());
    if (run === undefined) return;
    this.#isRoundNext = !this.#isRoundNext;
    this.#running = run()
      .catch((error: unknown) => {
        const why = QuorateError.from(error).detail;
        this.#parts.report.log("debug", "A walk below a watermark was broken off.", { why });
      })
      .finally(() => {
        this.#running = undefined;
      });
  }

  status(): WatermarkStatus {
    this.#follow();
    const { fences } = this.#parts;
    const heldBack: (Pair & { readonly why: string })[] = [];
    let pairs = 0;
    let never = 0;
    let oldest: Hlc | undefined;
    for (const entry of this.#entries.values()) {
      const { pair } = entry;
      const { partition, n } = pair;
      if (!this.#isWaiting(entry)) continue;
      pairs += 1;
      const { watermark } = fences.of(partition, n);
      if (watermark === 0n) never += 1;
      else if (oldest === undefined || watermark < oldest) oldest = watermark;
      const why = this.#whyHeldBack(entry);
      if (why !== undefined) heldBack.push({ ...pair, why });
    }
    return { pairs, never, oldest, heldBack };
  }

  /** Whose rounds another one leads is held back as well where that one is away, and then nobody else says so. */
  #whyHeldBack({ replicas: [leader], why }: Entry): string | undefined {
    if (leader === undefined || leader.nodeId === this.#parts.self.nodeId) return why;
    return this.isThere(leader) ? undefined : `${leader.name} is not reached`;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#running;
  }

  /** The pairs that this node holds in the present topology. */
  #follow(): void {
    const { topology, self, clock, limits } = this.#parts;
    const present = topology();
    if (this.#followed === present) return;
    this.#followed = present;
    const names = new Set<string>();
    for (const n of sizesInUse(present)) {
      for (let partition = 0; partition < present.partitions; partition += 1) {
        const replicas = replicasOf(present, partition, n);
        if (!replicas.some(({ nodeId }) => nodeId === self.nodeId)) continue;
        const name = `${partition} ${n}`;
        names.add(name);
        const before = this.#entries.get(name);
        // What is under way for it goes on, and is noted in it.
        if (before !== undefined) before.replicas = replicas;
        else {
          this.#entries.set(name, {
            ...{ pair: { partition, n }, replicas },
            dueMs: clock.monotonicMs() + limits.periodMs,
            droppedUpTo: 0n as Hlc,
            ...{ dropAgainMs: 0, nextOverMs: 0, mortal: 0 },
            why: undefined,
          });
        }
      }
    }
    for (const name of this.#entries.keys()) if (!names.has(name)) this.#entries.delete(name);
  }

  /** Whether there are tombstones, or records of which one is over; new ones of these may be. */
  #isWaiting({ pair, nextOverMs, mortal: before }: Entry): boolean {
    const { store } = this.#parts;
    const { deleted, mortal } = store.droppable(pair.partition, pair.n);
    if (deleted > 0) return true;
    return mortal > 0 && (mortal > before || store.mint.nowMs() >= nextOverMs);
  }

  #dueDrop(): (() => Promise<void>) | undefined {
    const { clock, fences } = this.#parts;
    let first: Entry | undefined;
    for (const entry of this.#entries.values()) {
      if (first !== undefined && entry.droppedUpTo >= first.droppedUpTo) continue;
      if (clock.monotonicMs() < entry.dropAgainMs) continue;
      const { partition, n } = entry.pair;
      const { watermark } = fences.kept(partition, n);
      if (watermark > entry.droppedUpTo && this.#isWaiting(entry)) first = entry;
    }
    if (first === undefined) return undefined;
    const entry = first;
    return () => this.#drop(entry, fences.kept(entry.pair.partition, entry.pair.n).watermark);
  }

  async #drop(entry: Entry, watermark: Hlc): Promise<void> {
    const { clock, store, topology, spend, report } = this.#parts;
    const { partition, n } = entry.pair;
    entry.dropAgainMs = clock.monotonicMs() + this.#retryMs;
    const dropped = await dropBelow({
      ...{ store, partition, watermark, spend },
      namespaces: numbersOf(topology(), n),
      mayGoOn: () => !this.#isClosed,
    });
    if (dropped === undefined) return;
    entry.dropAgainMs = 0;
    entry.droppedUpTo = watermark;
    entry.nextOverMs = Math.min(dropped.nextOverMs, store.mint.nowMs() + lookAgainMs);
    entry.mortal = store.droppable(partition, n).mortal;
    report.count("tombstones_dropped", dropped.count);
    if (dropped.count > 0) report.sometimes("watermark: dropped");
  }

  #dueRound(): (() => Promise<void>) | undefined {
    const { clock, store, fences, self, topology } = this.#parts;
    // What the other replicas have would be pulled into the reserve of the disk.
    if (store.isDiskLow) return undefined;
    let first: Entry | undefined;
    for (const entry of this.#entries.values()) {
      if (first !== undefined && entry.dueMs >= first.dueMs) continue;
      const { partition, n } = entry.pair;
      if (entry.replicas[0]?.nodeId !== self.nodeId || clock.monotonicMs() < entry.dueMs) continue;
      const { promise, watermark } = fences.of(partition, n);
      if (!this.#isWaiting(entry) && promise === watermark) continue;
      // G4: who comes and who goes would have to take part.
      if (otherRowOf(topology(), partition) !== undefined) {
        entry.why = "its replicas are moving";
        continue;
      }
      // G4: whoever held it before the last move may have taken what nobody else has.
      const former = this.formerOf(entry.pair, entry.replicas);
      if (former !== undefined) {
        entry.why = whyFormer(former);
        continue;
      }
      const away = this.othersOf(entry.replicas).find((other) => !this.isThere(other));
      // G4: one that is missing holds it back.
      if (away !== undefined) entry.why = `${away.name} is not reached`;
      else first = entry;
    }
    if (first === undefined) return undefined;
    const entry = first;
    return () => this.#raise(entry);
  }

  async #raise(entry: Entry): Promise<void> {
    const { clock, report, store, topology, peers, fences, limits, compare } = this.#parts;
    const { pair } = entry;
    const begun = topology();
    const { partition } = pair;
    const mayGoOn = (): boolean =>
      !this.#isClosed && topology().changed[partition] === begun.changed[partition];
    const nodeIds = new Map<RoundReplica, string>();
    const others = this.othersOf(entry.replicas).map(({ nodeId, name }) => {
      const side = new PeerSide({ peers, store, fences, nodeId, n: pair.n, begun, topology });
      const replica: RoundReplica = {
        name,
        ask: (adopt, promise) => side.state(pair, adopt, promise),
      };
      nodeIds.set(replica, nodeId);
      return replica;
    });
    const round = new WatermarkRound({
      ...{ report, others, mayGoOn, lagMs: limits.lagMs },
      own: this.#own(pair),
      compare: (other) => compare({ ...pair, nodeId: nodeIds.get(other) ?? "" }),
    });
    const result = await round.run().catch((error: unknown) => {
      return { why: QuorateError.from(error).detail };
    });
    const isRaised = "raised" in result;
    entry.why = isRaised ? undefined : result.why;
    const waitMs = isRaised ? limits.periodMs : this.#retryMs;
    entry.dueMs = clock.monotonicMs() + waitMs;
  }

  get #retryMs(): number {
    return Math.min(this.#parts.limits.periodMs, retryMsMax);
  }

  /** All others take part, whether they are there or not (G4). */
  othersOf(replicas: readonly Member[]): readonly Member[] {
    return replicas.filter(({ nodeId }) => nodeId !== this.#parts.self.nodeId);
  }

  /** A member that may still hold what it took before the partition moved away; undefined: none. */
  formerOf({ partition }: Pair, replicas: readonly Member[]): Member | undefined {
    const { topology, clearedAt } = this.#parts;
    const { members, changed } = topology();
    const since = changed[partition] ?? firstEpoch;
    if (since === firstEpoch) return undefined;
    return members.find(({ nodeId }) => !isIn(replicas, nodeId) && clearedAt(nodeId) < since);
  }

  /** Whether a node can be asked. */
  isThere({ nodeId }: Member): boolean {
    return this.#parts.isUp(nodeId);
  }

  #own(pair: Pair): RoundReplica {
    const { store, fences, self, counts } = this.#parts;
    const { partition, n } = pair;
    return {
      name: self.name,
      ask: async (adopt, promise) => {
        const kept = fences.kept(partition, n);
        if (adopt > kept.watermark) await fences.adopt(partition, n, adopt);
        if (promise > kept.promise) await fences.promise(partition, n, promise);
        await store.whenSynced(store.lastSequence);
        return {
          ...fences.kept(partition, n),
          storeId: self.storeId,
          // The round ends with the process.
          boot: 0,
          counts: counts(partition, n) && !store.isDamaged(partition, n),
          clockMs: store.mint.nowMs(),
        };
      },
    };
  }
}

function whyFormer({ name }: Member): string {
  return `${name} held the partition before and has not handed on what it took: start it, or remove it if it is gone for good`;
}

/** The age of a watermark, by a clock. */
export function watermarkAgeMs(watermark: Hlc, nowMs: number): number {
  return Math.max(0, nowMs - hlcWallMs(watermark));
}
