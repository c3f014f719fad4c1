/**
 * Node fills: how a replica without data gets it back, by itself.
 *
 * A store that was rolled back, and a partition in which something was lost, have no data: they take
 * writes, count for nothing, and answer no read. For each such partition:
 *
 *     who has data?     n-m+1 of the other replicas, or it waits and says so
 *     one watermark     the highest that any of them has: they adopt it, then this one, durably, and what
 *                       they promise (G2)
 *     count again       what is damaged goes, and the sums are those of what is there
 *     compare           with each of them: what they have and this one lacks comes, and what is below the
 *                       watermark and they lack, or have an older version of, goes
 *     confirm           they still have data, and all are still at that watermark
 *     sync, mark        from now on it counts; but no round confirms that began before (G2)
 *
 * Of n-m+1 replicas one has what any quorum of the others took. Below the watermark all that have data
 * hold the same, so what is there and they lack was deleted, by a tombstone that nobody has any more.
 *
 * Invariants
 * 1. A partition counts again only after all of these steps, in this order, with the replicas and the
 *    namespaces of the begin.
 * 2. No source knows a newer topology than this node: a namespace could be missed that it has forgotten
 *    with the rest.
 * 3. A copy believes only replicas that have data, at its watermark, at the moment of each answer (G6).
 * 4. One partition is filled at a time, no faster than `bytesPerSecond`; one that cannot be filled holds up no other.
 *
 * Effects: Clock, Report; the store and the peers.
 * Source: rules I4, G2, G6, T8, D2, D5; promises P5, P9.
 *
 * @module
 */

import type { Clock, Report } from "./capability.ts";
import { QuorateError } from "./errors.ts";
import type { Hlc } from "./hlc.ts";
import { quorumSources } from "./level.ts";
import type { Losses } from "./losses.ts";
import { PeerSide, StoreSide } from "./node_repair_sides.ts";
import { type NodeWatermarks, ownN } from "./node_watermarks.ts";
import type { Peers } from "./peers.ts";
import { compareDigests, type Pair } from "./repair_digest.ts";
import { RepairPace } from "./repair_pace.ts";
import { RepairPeer } from "./repair_peer.ts";
import type { Store } from "./store.ts";
import {
  isIn,
  leftOf,
  type Member,
  numbersOf,
  replicasMax,
  replicasOf,
  sizesInUse,
  type Topology,
  writeSetsOf,
} from "./topology.ts";
import { highest, type ReplicaState } from "./watermark.ts";

export interface NodeFillsParts {
  readonly clock: Clock;
  readonly report: Report;
  readonly store: Store;
  readonly losses: Losses;
  readonly fences: NodeWatermarks;
  readonly topology: () => Topology;
  readonly ownNodeId: string;
  readonly peers: Pick<Peers, "request">;
  readonly isUp: (nodeId: string) => boolean;
  /** What a member has told in this run; epoch 0: nothing yet. */
  readonly newsOf: (nodeId: string) => { readonly epoch: number; readonly isUp: boolean };
  /** How fast is copied, in bytes a second. */
  readonly bytesPerSecond: number;
}

/** A partition without data, and why it was not filled yet. */
export interface OpenFill extends Pair {
  readonly why: string;
  /** Nobody else has it: an operator has to decide. */
  readonly isOnlyCopy: boolean;
}

export interface FillStatus {
  /** Whether the store was rolled back: its vote stays void. */
  readonly isRolledBack: boolean;
  /** Partitions without data, for each n. */
  readonly open: readonly OpenFill[];
  /** Partitions that were filled since the start. */
  readonly filled: number;
}

const tickMs = 250;
const retryMs = 1000;
/** How long what was filled may wait to be kept, and to count. */
const keepMs = 500;
const none = 0n as Hlc;
const unreadable =
  "Start this node again: a table that cannot be read is set aside by the third start, unless a namespace has n = 1.";

/** One of those who have data, and what it said when the copy began. */
interface Source {
  readonly member: Member;
  /** Asked whether it has data. */
  readonly side: PeerSide;
  readonly state: ReplicaState;
}

export class NodeFills {
  readonly #parts: NodeFillsParts;
  readonly #patient: RepairPeer;
  readonly #pace: RepairPace;
  /** Why a pair was not filled when it was last tried, and when it is tried again. */
  readonly #tried = new Map<string, { readonly why: string; readonly againMs: number }>();
  #filled = 0;
  #cancel: () => void = () => {};
  #running: Promise<void> | undefined;
  #isClosed = false;

  constructor(parts: NodeFillsParts) {
    this.#parts = parts;
    this.#patient = new RepairPeer(parts.clock, parts.peers, { mustCount: true });
    this.#pace = new RepairPace(parts.clock, parts.bytesPerSecond);
  }

  begin(): void {
    this.#cancel = this.#parts.clock.after(tickMs, () => {
      if (this.#isClosed) return;
      this.#running = this.#round().finally(() => {
        this.#running = undefined;
        if (!this.#isClosed) this.begin();
      });
    });
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancel();
    this.#pace.end();
    await this.#running;
  }

  /** Whether this node has what it should have of a partition. */
  hasData(partition: number, n: number): boolean {
    const { losses, store } = this.#parts;
    if (!losses.hasData(partition, n)) return false;
    if (!store.isDamaged(partition, n)) return true;
    // The only copy: what is found is served, and what is not is told as lost.
    return this.#isOnlyCopy({ partition, n });
  }

  /** Not while it comes to a set of one: another one is read, and has what is lost here. */
  #isOnlyCopy({ partition, n }: Pair): boolean {
    const { topology, ownNodeId } = this.#parts;
    const replicas = replicasOf(topology(), partition, n);
    return replicas.length === 1 && isIn(replicas, ownNodeId);
  }

  status(): FillStatus {
    const open = this.#open().map((pair) => {
      const why = this.#tried.get(nameOf(pair))?.why ?? "it waits for its turn";
      return { ...pair, why, isOnlyCopy: this.#isOnlyCopy(pair) };
    });
    return { isRolledBack: this.#parts.losses.isLost, open, filled: this.#filled };
  }

  /** The pairs that this node holds, and that have no data. */
  #open(): readonly Pair[] {
    const { losses, store, topology } = this.#parts;
    if (!losses.isLost && store.damagedPartitions.length === 0) return [];
    const present = topology();
    const open: Pair[] = [];
    for (let partition = 0; partition < present.partitions; partition += 1) {
      for (const n of sizesInUse(present)) {
        if (this.hasData(partition, n)) continue;
        if (this.#holds(partition, n)) open.push({ partition, n });
      }
    }
    return open;
  }

  /** Also as one of those that a lost set has left: until others have copied it, it is nowhere else. */
  #holds(partition: number, n: number): boolean {
    const { topology, ownNodeId } = this.#parts;
    const present = topology();
    const sets = [...writeSetsOf(present, partition, n), leftOf(present, partition, n)];
    return sets.some((set) => isIn(set, ownNodeId));
  }

  async #round(): Promise<void> {
    const { clock, losses, report, store } = this.#parts;
    // What it lacks would be pulled into the reserve of its disk.
    if (store.isDiskLow) return;
    let filled: Pair[] = [];
    let keptMs = clock.monotonicMs();
    const keep = async (): Promise<void> => {
      if (filled.length > 0) await losses.fill(filled);
      filled = [];
      keptMs = clock.monotonicMs();
      await this.#fillUnused();
    };
    try {
      await this.#tidy();
      for (const pair of this.#open()) {
        if (this.#isClosed) break;
        if (clock.monotonicMs() < (this.#tried.get(nameOf(pair))?.againMs ?? 0)) continue;
        if (!(await this.#fillOne(pair))) continue;
        filled.push(pair);
        if (clock.monotonicMs() - keptMs >= keepMs) await keep();
      }
      await keep();
    } catch (error) {
      const why = QuorateError.from(error).detail;
      report.log("warn", "What was lost could not be filled: it is tried again.", { why });
    }
  }

  /**
   * Of an n that no namespace has nothing is lost, and one that comes later begins with nothing (T8): where every
   * other member has told that it knows no newer topology. A few of them, by which this node was filled for one n,
   * may have missed a namespace of another n as it has.
   */
  async #fillUnused(): Promise<void> {
    const { losses, topology } = this.#parts;
    const present = topology();
    if (!losses.hasFilled || !this.#isNewest(present)) return;
    const used = sizesInUse(present);
    const unused: Pair[] = [];
    for (let partition = 0; partition < present.partitions; partition += 1) {
      for (let n = 1; n <= replicasMax; n += 1) {
        if (!used.includes(n) && !losses.hasData(partition, n)) unused.push({ partition, n });
      }
    }
    if (unused.length > 0) await losses.fill(unused);
  }

  #isNewest({ epoch, members }: Topology): boolean {
    const { newsOf, ownNodeId } = this.#parts;
    return members.every(({ nodeId }) => {
      if (nodeId === ownNodeId) return true;
      const told = newsOf(nodeId);
      return told.isUp && told.epoch > 0 && told.epoch <= epoch;
    });
  }

  /** What is damaged for no n that could be filled: its mark goes, or that of what the store keeps there for itself. */
  async #tidy(): Promise<void> {
    const { clock, store, report, topology } = this.#parts;
    for (const partition of store.damagedPartitions) {
      const held = sizesInUse(topology()).filter((n) => this.#holds(partition, n));
      const open = held.filter((n) => store.isDamaged(partition, n));
      // It is filled, or stays so for the only copy; only what the store keeps there itself may be written again.
      if (open.some((n) => !this.#isOnlyCopy({ partition, n }))) continue;
      if (open.length > 0 && !store.isDamaged(partition, ownN)) continue;
      const name = nameOf({ partition, n: ownN });
      if (clock.monotonicMs() < (this.#tried.get(name)?.againMs ?? 0)) continue;
      try {
        if (!(await this.#tidyOne(partition, held.length === 0))) return;
        this.#tried.delete(name);
      } catch (error) {
        const why = QuorateError.from(error).detail;
        report.log("debug", "A partition that is not held cannot be counted.", { partition, why });
        this.#tried.set(name, { why, againMs: clock.monotonicMs() + retryMs });
      }
    }
  }

  /** False: the node is stopping. */
  async #tidyOne(partition: number, mustCount: boolean): Promise<boolean> {
    const { store, fences } = this.#parts;
    const damages = store.damagesOf(partition);
    // What it holds was counted again when it was filled.
    if (!mustCount) await fences.keepAgain(partition);
    else if (!(await this.#recounted(partition))) return false;
    this.#heal(partition, [ownN], damages);
    return true;
  }

  /** What is damaged goes, the sums are those of what is there, and what the store keeps there itself is whole. */
  async #recounted(partition: number): Promise<boolean> {
    const { store, fences } = this.#parts;
    const spend = (bytes: number): Promise<void> => this.#pace.spend(bytes);
    if (!(await store.recount(partition, { spend, mayGoOn: () => !this.#isClosed }))) return false;
    await fences.keepAgain(partition);
    return true;
  }

  /** Takes the mark of a damage away for these n; false: there was another one meanwhile. */
  #heal(partition: number, ns: readonly number[], damages: number): boolean {
    const { store, topology } = this.#parts;
    const isWhole = sizesInUse(topology())
      .filter((n) => !ns.includes(n) && this.#holds(partition, n))
      .every((n) => !store.isDamaged(partition, n));
    return store.heal(partition, { ns, damages, isWhole });
  }

  /** Whether the pair has been filled; why not is kept. */
  async #fillOne(pair: Pair): Promise<boolean> {
    const { clock, report } = this.#parts;
    let why: string | undefined;
    try {
      why = await this.#fill(pair);
    } catch (error) {
      const { slug, detail } = QuorateError.from(error);
      why = slug === "corruption" ? `${detail} ${unreadable}` : detail;
    }
    if (why === undefined) {
      this.#tried.delete(nameOf(pair));
      this.#filled += 1;
      report.count("partitions_filled");
      report.sometimes("fill: a partition has data again");
      return true;
    }
    report.log("debug", "A partition without data is not filled yet.", { ...pair, why });
    this.#tried.set(nameOf(pair), { why, againMs: clock.monotonicMs() + retryMs });
    return false;
  }

  /** I4, G6. Undefined: it has data; else why it has none yet. */
  async #fill(pair: Pair): Promise<string | undefined> {
    const { store, fences, topology, report } = this.#parts;
    const { partition, n } = pair;
    const present = topology();
    const found = await this.#sourcesOf(pair, present);
    if (typeof found === "string") return found;
    const damages = store.damagesOf(partition);
    const watermark = found.reduce(
      (most, { state }) => highest(most, state.watermark),
      fences.of(partition, n).watermark,
    );
    const isAt = await this.#areAt(pair, found, watermark);
    if (!isAt) return "another replica did not come to the highest watermark";
    // Before any record is taken: what is below it enters from these sources alone.
    if (watermark > none) await fences.adopt(partition, n, watermark);
    // Of a round that was given up: it may be this one that has to lead another.
    const promise = found.reduce((most, { state }) => highest(most, state.promise), none);
    if (promise > fences.kept(partition, n).promise) await fences.promise(partition, n, promise);
    if (store.isDamaged(partition) && !(await this.#recounted(partition))) {
      return "the node is stopping";
    }
    for (const source of found) {
      if (!(await this.#compareAll(pair, present, source))) return "a comparison was broken off";
    }
    if (!(await this.#areAt(pair, found, none))) {
      report.sometimes("fill: begun again");
      return "another replica has lost its data, or goes by another watermark now";
    }
    // G6: under another watermark, or another topology, it begins again.
    if (fences.of(partition, n).watermark !== watermark) return "its own watermark has risen";
    if (topology().changed[partition] !== present.changed[partition]) return "its replicas moved";
    await this.#sync();
    // A round may have compared it before the loss, and be about to give to these what it alone had.
    fences.lapse(partition, n);
    if (!store.isDamaged(partition)) return undefined;
    // With what the store keeps there itself, which was written again: else each start took it for forgotten.
    const isHealed = this.#heal(partition, [n, ownN], damages);
    return isHealed ? undefined : "more was found to be damaged meanwhile";
  }

  /** n-m+1 of the other replicas that have data; or why there are not so many. */
  async #sourcesOf(pair: Pair, present: Topology): Promise<readonly Source[] | string> {
    const { ownNodeId, report, isUp } = this.#parts;
    const replicas = replicasOf(present, pair.partition, pair.n);
    const others = replicas.filter(({ nodeId }) => nodeId !== ownNodeId);
    const needed = this.sourcesNeeded(replicas.length);
    if (others.length < needed) {
      return "nobody else has what it had: start it with --accept-data-loss to take what is left for all";
    }
    const sources: Source[] = [];
    const without: string[] = [];
    for (const member of others) {
      if (sources.length === needed) break;
      const side = this.#sideOf(member, pair, present, false);
      const state = isUp(member.nodeId)
        ? await side.state(pair, none, none).catch((error) => whyNoState(member, error))
        : whyNoState(member);
      if (typeof state === "string") without.push(state);
      else if (state.counts) sources.push({ member, side, state });
      else without.push(`${member.name} has none`);
    }
    if (sources.length === needed) return sources;
    report.sometimes("fill: too few have data");
    return (
      `${sources.length} of ${needed} other replicas that are needed have data: ${without.join(", ")}; ` +
      "if they stay so, start it with --accept-data-loss to take what is left for all"
    );
  }

  /** n-m+1: one of them has what any quorum took. */
  sourcesNeeded(replicas: number): number {
    return quorumSources(replicas);
  }

  /** Whether all of them have data still, in the same stores, at a watermark; none: at that of this node. */
  async #areAt(pair: Pair, sources: readonly Source[], adopt: Hlc): Promise<boolean> {
    const { partition, n } = pair;
    const wanted = adopt > none ? adopt : this.#parts.fences.of(partition, n).watermark;
    for (const { side, state } of sources) {
      const now = await side.state(pair, adopt, none);
      const isSame = now.storeId === state.storeId && now.watermark === wanted;
      if (!now.counts || !isSame) return false;
    }
    return true;
  }

  /** `mustBeSure`: no word is believed of one that has no data. */
  #sideOf({ nodeId }: Member, { n }: Pair, begun: Topology, mustBeSure: boolean): PeerSide {
    const { store, fences, topology } = this.#parts;
    const peers = mustBeSure ? this.#patient : this.#parts.peers;
    return new PeerSide({ peers, store, fences, nodeId, n, begun, topology, mustBeSure });
  }

  /** Compares all namespaces of one n with a source; whether it came to the end. */
  async #compareAll(pair: Pair, topology: Topology, { member }: Source): Promise<boolean> {
    const { clock, report, store, fences } = this.#parts;
    const { n } = pair;
    const { isWhole } = await compareDigests(
      {
        ...{ clock, report, settleMs: 0 },
        // It may have lost tombstones: what is below their watermark, and they lack, goes.
        store: new StoreSide({ store, fences, n, counts: () => false }),
        mayGoOn: () => !this.#isClosed,
        spend: (bytes) => this.#pace.spend(bytes),
      },
      this.#sideOf(member, pair, topology, true),
      pair,
      numbersOf(topology, n),
    );
    return isWhole;
  }

  /** Before it counts, what it has taken is durable. */
  #sync(): Promise<void> {
    const { store } = this.#parts;
    return store.whenSynced(store.lastSequence);
  }
}

function whyNoState({ name }: Member, error?: unknown): string {
  if (error === undefined) return `${name} is not reached`;
  const { slug, detail } = QuorateError.from(error);
  return slug === "contention" ? `${name}: ${detail}` : `${name} is not reached`;
}

function nameOf({ partition, n }: Pair): string {
  return `${partition} ${n}`;
}
