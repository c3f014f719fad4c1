/**
 * Node moves: what a node does while replicas move: copies what it comes to hold, drops what it does not
 * hold any more, and asks for the next phase when its time has come.
 *
 *     phase 1   what an older join has left here goes as in phase 4, before anything is taken
 *     phase 2   come to one watermark with each of n-m+1 of the old replicas, then pull what it has; told to
 *               the others when all of it is synced. Who stays in a set that becomes smaller is one of
 *               these itself
 *     phase 4   push to the new replicas what they lack, then remove it, a piece at a time
 *
 * Every member looks again and again what there is to do, and goes on where it was: nothing depends on
 * who asked for the move, or on whether that node is still there. The voters propose the next phase.
 *
 * Invariants
 * 1. A copy counts only sources that count, and that know the move (T5).
 * 2. What is dropped was compared with the new replicas, and with m of them to the end, or with all of which
 *    no disk was lost (T6).
 * 3. One range is copied at a time, and no faster than `bytesPerSecond`.
 * 4. Nothing is taken for a partition under a join before what an older one has left is removed (T6).
 * 5. The others are told up to which document nothing is here that is not this node's: until then no
 *    watermark rises over what it may still give to them (G4).
 * 6. Who comes in the place of a set that is lost lacks data until it has copied what is left of that (I4).
 *
 * Effects: Clock, Report; the store, the disk and the peers.
 * Source: rules T3 to T6, T8, I4, G1, G2, G4, G6, R4.
 *
 * @module
 */

import { emptyBytes } from "./bytes.ts";
import type { Clock, Report } from "./capability.ts";
import { QuorateError } from "./errors.ts";
import type { Hlc } from "./hlc.ts";
import type { Holding, Holdings } from "./holdings.ts";
import { majority, quorumSources } from "./level.ts";
import { PeerSide, StoreSide } from "./node_repair_sides.ts";
import type { NodeWatermarks } from "./node_watermarks.ts";
import type { Peers } from "./peers.ts";
import { compareDigests, type OwnSide } from "./repair_digest.ts";
import { RepairPace } from "./repair_pace.ts";
import { RepairPeer } from "./repair_peer.ts";
import type { Store } from "./store.ts";
import { removeAll } from "./store_pieces.ts";
import {
  isIn,
  isSamePair,
  joinedAt,
  leftOf,
  type Member,
  type MovingRow,
  movedSetsOf,
  notLost,
  numbersOf,
  pairNumber,
  replicasMax,
  replicasOf,
  sizesInUse,
  type Topology,
  writeSetsOf,
} from "./topology.ts";
import {
  copies,
  hasToCopy,
  type MemberNews,
  type NewsOf,
  whyNotAdvance,
} from "./topology_advance.ts";
import { withNextPhase } from "./topology_move.ts";
import { noFence } from "./watermark.ts";

export interface NodeMovesParts {
  readonly clock: Clock;
  readonly report: Report;
  readonly store: Store;
  readonly holdings: Holdings;
  readonly fences: NodeWatermarks;
  readonly topology: () => Topology;
  readonly ownNodeId: string;
  readonly peers: Pick<Peers, "request">;
  readonly isUp: (nodeId: string) => boolean;
  /** What another member has told of itself. */
  readonly newsOf: (nodeId: string) => MemberNews;
  /** Whether this node's vote does not count any more (I3). */
  readonly isVoid: () => boolean;
  readonly propose: (step: (present: Topology) => Topology | undefined) => Promise<unknown>;
  /** Whether this node knows what it should hold of the partition. */
  readonly counts: (partition: number, n: number) => boolean;
  /** Whether nothing that it should have of the partition was lost, or that is filled (I4). */
  readonly hasData: (partition: number, n: number) => boolean;
  /** How fast is copied, in bytes a second. */
  readonly bytesPerSecond: number;
}

/** What this node has to copy of a partition; `stays`: it is one of the old replicas too. */
interface Copy {
  readonly row: MovingRow;
  readonly holding: Holding;
  readonly stays: boolean;
}

const tickMs = 250;
/** How far the copy is, is kept so often: a start goes on from there. */
const keepMs = 500;

export class NodeMoves {
  readonly #parts: NodeMovesParts;
  readonly #patient: RepairPeer;
  readonly #pace: RepairPace;
  /** When this node joined each set that was asked for, under one topology; undefined: it did not. */
  #joins: {
    readonly topology: Topology | undefined;
    readonly byPair: Map<number, number | undefined>;
  } = { topology: undefined, byPair: new Map() };
  #cancel: () => void = () => {};
  #cancelLook: () => void = () => {};
  #running: Promise<void> | undefined;
  #proposing: Promise<unknown> | undefined;
  #isClosed = false;
  /** The move of which all was copied, and that after which all was dropped. */
  #filled = 0;
  /** What this node stays in, and has got what it lacked of for the move of this epoch. */
  #merged = { begun: 0, pairs: new Set<number>() };
  #dropped = 0;
  /** The newest document by which nothing was left here that is not this node's. */
  #cleared = 0;
  /** The document for which nothing is left to be done. */
  #settled: Topology | undefined;
  /** Looks at which the next phase could have begun: the voters try one after another. */
  #dueCount = 0;
  #removing: Promise<unknown> = Promise.resolve();
  /** A document is about to come: what is being removed may be wanted again. */
  #preparing = 0;
  /** Partitions of the copy that are done, and all of them, for who looks. */
  #progress = { done: 0, all: 0 };

  constructor(parts: NodeMovesParts) {
    this.#parts = parts;
    this.#patient = new RepairPeer(parts.clock, parts.peers, { mustCount: true });
    this.#pace = new RepairPace(parts.clock, parts.bytesPerSecond);
  }

  begin(): void {
    this.#lookLater();
    this.#tickLater();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancel();
    this.#cancelLook();
    this.#pace.end();
    await this.#running;
    await this.#proposing;
  }

  get bytesPerSecond(): number {
    return this.#parts.bytesPerSecond;
  }

  /** What the others are told of it. */
  get load(): Readonly<Record<string, number>> {
    const { topology, ownNodeId } = this.#parts;
    const { move } = topology();
    const moveCleared = this.#cleared;
    if (move === undefined) return { moveCleared };
    const { done, all } = this.#progress;
    // Not before it copies: a namespace that comes until then may have sets that this node joins (T8).
    const hasNone = move.phase >= 2 && !this.#hasToCopy(topology(), ownNodeId);
    const isDone = (this.#filled === move.begun && this.#hasCopied(topology())) || hasNone;
    return {
      moveCleared,
      moveFilled: isDone ? move.begun : 0,
      moveDropped: this.#dropped === move.begun ? move.begun : 0,
      moveDone: done,
      moveAll: all,
    };
  }

  /** What the others hear of this member, as it is now. */
  get ownNews(): MemberNews {
    const { topology, isVoid } = this.#parts;
    const { moveFilled: filled = 0, moveDropped: dropped = 0 } = this.load;
    return { epoch: topology().epoch, filled, dropped, isUp: true, isVoid: isVoid() };
  }

  /** Why nothing of a partition may be taken yet: what an older join has left is still there (T6). */
  notReady(partition: number, n: number): string | undefined {
    const join = this.#joinOf(partition, n);
    if (join === undefined || this.#parts.holdings.isKept({ partition, n, join })) return undefined;
    return "it removes what it held of the partition before";
  }

  /** The join of this node under the present topology; every request asks for it. */
  #joinOf(partition: number, n: number): number | undefined {
    const { topology, ownNodeId } = this.#parts;
    const present = topology();
    if (this.#joins.topology !== present) this.#joins = { topology: present, byPair: new Map() };
    const { byPair } = this.#joins;
    const at = pairNumber(partition, n);
    if (!byPair.has(at)) byPair.set(at, joinedAt(present, partition, n, ownNodeId));
    return byPair.get(at);
  }

  /**
   * I4: whether what is left of a set that is lost has yet to be copied here. Nobody else reads or writes there, so
   * who comes in its place cannot know before what was written, and what that superseded.
   */
  lacks(partition: number, n: number): boolean {
    const { topology, ownNodeId, holdings } = this.#parts;
    const present = topology();
    if (present.move === undefined || present.move.phase >= 3) return false;
    const left = leftOf(present, partition, n);
    if (left.length === 0 || isIn(left, ownNodeId)) return false;
    const join = joinedAt(present, partition, n, ownNodeId);
    return join !== undefined && !holdings.isFilled({ partition, n, join });
  }

  /** Before a document becomes the present one: makes room for what it brings to this node. */
  async prepare(next: Topology): Promise<void> {
    const { topology, ownNodeId } = this.#parts;
    this.#preparing += 1;
    try {
      await this.#removing;
      const present = topology();
      const news = this.#unkept(next).filter(
        // Where it is a replica by the present document, that one's data is not to be touched; what an
        // older join has left has to be given to the others first, for which there is time later.
        ({ partition, n }) =>
          joinedAt(present, partition, n, ownNodeId) === undefined &&
          !this.#holdsAny(next, partition, n),
      );
      await this.#empty(next, news);
    } finally {
      this.#preparing -= 1;
    }
  }

  /** What is here of a namespace now may be removed until a document comes; false: not to the end. */
  async #removeUnlessWanted(partition: number, namespaceNumber: number): Promise<boolean> {
    if (this.#preparing > 0) return false;
    const removing = this.#remove(partition, namespaceNumber, () => this.#preparing === 0);
    this.#removing = removing.catch(() => {});
    if (await removing) this.#parts.report.sometimes("move: dropped");
    return this.#preparing === 0;
  }

  /** Beside what is copied or dropped, which may take hours: a move that is taken back does not wait for that. */
  #lookLater(): void {
    this.#cancelLook = this.#parts.clock.after(tickMs, () => {
      if (this.#isClosed) return;
      this.#advance(this.#parts.topology());
      this.#lookLater();
    });
  }

  #tickLater(): void {
    this.#cancel = this.#parts.clock.after(tickMs, () => {
      if (this.#isClosed) return;
      this.#running = this.#round()
        .catch((error: unknown) => {
          const why = QuorateError.from(error).detail;
          this.#parts.report.log("debug", "A part of a move was broken off.", { why });
        })
        .finally(() => {
          if (!this.#isClosed) this.#tickLater();
        });
    });
  }

  async #round(): Promise<void> {
    const topology = this.#parts.topology();
    if (topology === this.#settled) return;
    const isEmptied = await this.#empty(topology, this.#unkept(topology));
    const { move } = topology;
    if (move?.phase === 2 && !move.isReverting) await this.#fillAll(topology);
    const isDropped = await this.#dropAll(topology);
    // What was found in the middle of another document has to be looked at again.
    if (topology !== this.#parts.topology()) return;
    if (isDropped && isEmptied) this.#cleared = topology.epoch;
    if (isDropped && move?.phase === 4) this.#dropped = move.begun;
    const isFilled = move === undefined || move.phase !== 2 || this.#filled === move.begun;
    if (isDropped && isEmptied && isFilled) this.#settled = topology;
  }

  /** T4: any voter that sees that it may proposes the next phase; one that fails tries again. */
  #advance(topology: Topology): void {
    const { move } = topology;
    const { ownNodeId, newsOf, report } = this.#parts;
    const place = topology.voters.indexOf(ownNodeId);
    if (move === undefined || place === -1 || this.#proposing !== undefined) return;
    const own = this.ownNews;
    const why = this.waitsFor(topology, (nodeId) => (nodeId === ownNodeId ? own : newsOf(nodeId)));
    if (why !== undefined) {
      this.#dueCount = 0;
      return;
    }
    this.#dueCount += 1;
    // The first voter at once; the others where it does not come to it.
    if (this.#dueCount <= 2 * place) return;
    report.sometimes(move.isReverting ? "move: a step back" : "move: the next phase");
    this.#proposing = this.#parts
      .propose((present) => withNextPhase(present, move))
      .catch((error: unknown) => {
        const detail = QuorateError.from(error).detail;
        report.log("debug", "The next phase of the move was not agreed on.", { why: detail });
      })
      .finally(() => {
        this.#proposing = undefined;
        this.#dueCount = 0;
      });
  }

  /** T4. */
  waitsFor(topology: Topology, newsOf: NewsOf): string | undefined {
    return whyNotAdvance(topology, newsOf);
  }

  /** What this node holds by a document, and not yet under its join. */
  #unkept(topology: Topology): Holding[] {
    const { ownNodeId, holdings } = this.#parts;
    const found: Holding[] = [];
    for (let partition = 0; partition < topology.partitions; partition += 1) {
      // For every n: a namespace of another one may be made at any time.
      for (let n = 1; n <= replicasMax; n += 1) {
        const join = joinedAt(topology, partition, n, ownNodeId);
        if (join === undefined || holdings.isKept({ partition, n, join })) continue;
        found.push({ partition, n, join });
      }
    }
    return found;
  }

  /**
   * T6: data kept under another join is no data, but what was taken under it and nobody else has is not
   * lost either; where nobody is left who could take it, an operator has given up what they had. False: not
   * all of it could be given to the others yet.
   */
  async #empty(topology: Topology, found: readonly Holding[]): Promise<boolean> {
    const { holdings, report } = this.#parts;
    const kept: Holding[] = [];
    for (const holding of found) {
      const { partition, n } = holding;
      const holdsAny = this.#holdsAny(topology, partition, n);
      // The round begins again under the present document; who prepares the next one has nothing to give.
      if (holdsAny && topology !== this.#parts.topology()) break;
      if (holdsAny && !(await this.isCovered(topology, partition, n))) continue;
      for (const { number, policy } of topology.namespaces) {
        if (policy.n !== n || !(await this.#remove(partition, number))) continue;
        report.sometimes("move: what an older join had left was removed");
      }
      kept.push(holding);
    }
    if (kept.length > 0 && !this.#isClosed) await holdings.keep(kept);
    return kept.length === found.length;
  }

  #hasToCopy(topology: Topology, nodeId: string): boolean {
    return topology.move?.rows.some((row) => copies(topology, row, nodeId)) === true;
  }

  /** Whether nothing was lost again of what it has copied: it may be read here alone soon (I4, T5). */
  #hasCopied(topology: Topology): boolean {
    const { hasData, ownNodeId } = this.#parts;
    const rows = topology.move?.rows ?? [];
    return sizesInUse(topology).every((n) =>
      rows.every((row) => {
        return !hasToCopy(movedSetsOf(topology, row, n), ownNodeId) || hasData(row.partition, n);
      }),
    );
  }

  async #fillAll(topology: Topology): Promise<void> {
    const { hasData, holdings, ownNodeId, report } = this.#parts;
    const open: Copy[] = [];
    let all = 0;
    const begunAt = topology.move?.begun ?? 0;
    if (this.#merged.begun !== begunAt) this.#merged = { begun: begunAt, pairs: new Set() };
    const merged = this.#merged.pairs;
    for (const row of topology.move?.rows ?? []) {
      for (const n of sizesInUse(topology)) {
        const sets = movedSetsOf(topology, row, n);
        if (!hasToCopy(sets, ownNodeId)) continue;
        const { partition } = row;
        const join = joinedAt(topology, partition, n, ownNodeId) ?? 0;
        const holding = { partition, n, join };
        const stays = isIn(sets.old, ownNodeId);
        all += 1;
        const isDone = stays ? merged.has(pairNumber(partition, n)) : holdings.isFilled(holding);
        if (!isDone) open.push({ row, holding, stays });
      }
    }
    this.#progress = { done: all - open.length, all };
    const { clock } = this.#parts;
    let filled: Holding[] = [];
    let keptMs = clock.monotonicMs();
    // Beside what an older join has left nothing is copied: it would be removed with that (T6). And what was lost
    // is filled first: when the others are read no more, there may be nobody to fill it from (I4).
    const begun = open.filter(
      ({ holding }) => holdings.isKept(holding) && hasData(holding.partition, holding.n),
    );
    for (const copy of begun) {
      const isWhole = !this.#isClosed && (await this.#fill(topology, copy));
      const { holding, stays } = copy;
      if (isWhole && stays) merged.add(pairNumber(holding.partition, holding.n));
      else if (isWhole) filled.push(holding);
      const isDue = clock.monotonicMs() - keptMs >= keepMs;
      if (filled.length > 0 && (isDue || !isWhole)) {
        await holdings.fill(filled);
        keptMs = clock.monotonicMs();
        filled = [];
      }
      if (!isWhole) return;
      this.#progress = { done: this.#progress.done + 1, all };
    }
    if (filled.length > 0) await holdings.fill(filled);
    if (begun.length < open.length) return;
    // One that came meanwhile may have a namespace of another n.
    if (topology !== this.#parts.topology()) return;
    if (all > 0) report.sometimes("move: copied");
    this.#filled = topology.move?.begun ?? 0;
  }

  /** T5: merges what n-m+1 of the old replicas hold; false: too few of them can be read now. */
  async #fill(topology: Topology, { row, holding, stays }: Copy): Promise<boolean> {
    const { ownNodeId, counts, store } = this.#parts;
    const { partition, n } = holding;
    const { old } = movedSetsOf(topology, row, n);
    const left = notLost(topology, old).filter(({ nodeId }) => nodeId !== ownNodeId);
    // Who stays is a source of its own, where it knows what it should hold.
    const isSource = stays && counts(partition, n);
    let needed = Math.min(this.othersNeeded(old.length, isSource), left.length);
    // What it copies would go into the reserve of its disk.
    if (needed > 0 && store.isDiskLow) return false;
    for (const source of this.#upFirst(left)) {
      if (needed === 0) break;
      if (await this.#compareAll(topology, { partition, n }, source, { isSource })) needed -= 1;
      else this.#parts.report.sometimes("move: a source failed");
    }
    return needed === 0;
  }

  /** n-m+1, itself included where it is a source: one of them has what any quorum of the old replicas took. */
  othersNeeded(replicas: number, isSource: boolean): number {
    return quorumSources(replicas) - (isSource ? 1 : 0);
  }

  /** Whether nothing is left here that is not this node's. */
  async #dropAll(topology: Topology): Promise<boolean> {
    const { ownNodeId } = this.#parts;
    if (!isIn(topology.members, ownNodeId)) return true;
    let isDone = true;
    for (let partition = 0; partition < topology.partitions; partition += 1) {
      for (const n of sizesInUse(topology)) {
        // Where another document has others hold it, the round begins again under that.
        if (!this.#isStill(topology, { partition, n })) return false;
        const sets = writeSetsOf(topology, partition, n);
        if (sets.some((set) => isIn(set, ownNodeId))) continue;
        // Those who come in the place of a set that is lost copy it from here first.
        if (isIn(leftOf(topology, partition, n), ownNodeId)) continue;
        if (!this.#holdsAny(topology, partition, n)) continue;
        if (!(await this.#drop(topology, partition, n))) isDone = false;
      }
    }
    return isDone;
  }

  /** A document that changes something else breaks nothing off: else policies that change often would, each time. */
  #isStill(topology: Topology, pair: Pick<Holding, "partition" | "n">): boolean {
    const present = this.#parts.topology();
    return present === topology || isSamePair(topology, present, pair);
  }

  #holdsAny({ namespaces }: Topology, partition: number, n: number): boolean {
    const piece = { prefix: emptyBytes, reverse: false, limit: 1 };
    return namespaces.some(({ number, policy }) => {
      if (policy.n !== n) return false;
      const { items, more } = this.#parts.store.scan(partition, number, piece);
      return items.length > 0 || more;
    });
  }

  /** What is covered goes. */
  async #drop(topology: Topology, partition: number, n: number): Promise<boolean> {
    if (!(await this.isCovered(topology, partition, n))) return false;
    for (const { number, policy } of topology.namespaces) {
      if (policy.n !== n) continue;
      // Under another document it may be this node's again.
      if (!this.#isStill(topology, { partition, n })) return false;
      if (!(await this.#removeUnlessWanted(partition, number))) return false;
    }
    return true;
  }

  /** T6: the new replicas have got what they lacked. */
  async isCovered(topology: Topology, partition: number, n: number): Promise<boolean> {
    const replicas = replicasOf(topology, partition, n);
    const targets = this.#upFirst(notLost(topology, replicas));
    let covered = 0;
    for (const target of targets) {
      if (await this.#compareAll(topology, { partition, n }, target, { own: keepsNothing }))
        covered += 1;
    }
    return covered >= Math.min(majority(replicas.length), targets.length);
  }

  /** Removes what is there of a namespace; whether there was anything. */
  #remove(
    partition: number,
    namespaceNumber: number,
    mayGoOn: () => boolean = () => true,
  ): Promise<boolean> {
    const isOver = (): boolean => this.#isClosed || !mayGoOn();
    return removeAll(this.#parts.store, { partition, namespaceNumber }, isOver);
  }

  /** Compares all namespaces of one n with another replica's; whether it came to the end. */
  async #compareAll(
    topology: Topology,
    pair: Pick<Holding, "partition" | "n">,
    { nodeId }: Member,
    how: { readonly own?: (side: OwnSide) => OwnSide; readonly isSource?: boolean },
  ): Promise<boolean> {
    const { own, isSource = false } = how;
    const { clock, report, store, fences } = this.#parts;
    const { partition, n } = pair;
    // Who joins cannot know yet what it should hold: it goes by the other's watermark (G6).
    const side = new StoreSide({ store, fences, n, counts: () => isSource });
    const documents = { begun: topology, topology: this.#parts.topology };
    const common = { store, fences, nodeId, n, ...documents, mustBeSure: true };
    const peer = new PeerSide({ peers: this.#patient, ...common });
    try {
      const watermark = own === undefined ? await this.#meet(pair, peer) : undefined;
      const { isWhole } = await compareDigests(
        {
          ...{ clock, report, store: own?.(side) ?? side, settleMs: 0 },
          mayGoOn: () => !this.#isClosed,
          spend: (bytes) => this.#pace.spend(bytes),
        },
        peer,
        pair,
        numbersOf(topology, n),
      );
      // Under another watermark it begins again.
      const now = fences.of(partition, n).watermark;
      return isWhole && now === (watermark ?? now);
    } catch (error) {
      const why = QuorateError.from(error).detail;
      report.log("debug", "A copy was broken off.", { partition, nodeId, why });
      return false;
    }
  }

  /**
   * G6: both are at one watermark before anything is copied. Below a lower one here an old hint could bring
   * back what was deleted; from one with a lower one nothing below this node's is taken.
   */
  async #meet(pair: Pick<Holding, "partition" | "n">, source: PeerSide): Promise<Hlc> {
    const { fences } = this.#parts;
    const own = fences.of(pair.partition, pair.n).watermark;
    const { watermark, promise } = await source.state(pair, own, noFence.promise);
    if (watermark < own) throw new QuorateError("not-ready", "The source has a lower watermark.");
    if (watermark > noFence.watermark) await fences.adopt(pair.partition, pair.n, watermark);
    // Of a round that was given up: it may be this one that has to lead another (G2).
    if (promise > fences.kept(pair.partition, pair.n).promise) {
      await fences.promise(pair.partition, pair.n, promise);
    }
    return watermark;
  }

  #upFirst(members: readonly Member[]): readonly Member[] {
    const { isUp, ownNodeId } = this.#parts;
    const others = members.filter(({ nodeId }) => nodeId !== ownNodeId);
    return [
      ...others.filter(({ nodeId }) => isUp(nodeId)),
      ...others.filter(({ nodeId }) => !isUp(nodeId)),
    ];
  }
}

/** The own side of a drop: what is newer elsewhere need not come here any more. */
function keepsNothing(side: OwnSide): OwnSide {
  return {
    digest: (pair, wants, adopt) => side.digest(pair, wants, adopt),
    walk: (range, walk) => side.walk(range, walk),
    read: (range, keys) => side.read(range, keys),
    take: async () => {},
    discard: async () => {},
    filled: async () => {},
  };
}
