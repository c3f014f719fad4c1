/**
 * Node repair: which partitions this node compares with which others, and when.
 *
 * After a start whose log was cut every partition is compared with its other replicas before its
 * reads count (D3). A partition for which a hint was dropped is compared with the store that the
 * hint was for (H2), or with all its other replicas where it was for this node's own; so is one of which
 * a read has met a record that a watermark overrules (R2). A node that is no replica of it hands such a
 * mark on to those that are. And every
 * partition is compared in turn with each of its other replicas, because nobody knows of all that a
 * replica may lack: a coordinator dies before it has kept a hint, a disk loses a page.
 *
 *     cut log -> all partitions      one after the other, beside the rest
 *     marks   -> marked partitions   first; in turn with the rest where that was broken off before
 *     turn    -> all partitions      once in a period (`repair_schedule`)
 *
 * Invariants
 * 1. At most `partitionsMax` partitions are compared at a time, beside those of a log that was cut.
 * 2. A partition that cannot be compared holds up no other one.
 *
 * Effects: Clock, Random, Report; the store and the peers. Source: rules D3, G1, H2, R2; promise P5.
 *
 * @module
 */

import { nonsense } from "./agreed.ts";
import type { Clock, Random, Report } from "./capability.ts";
import { QuorateError } from "./errors.ts";
import { type Mark, parseMark, RepairMarks } from "./node_repair_marks.ts";
import { PeerSide, StoreSide } from "./node_repair_sides.ts";
import { WatermarkRounds, type WatermarkStatus } from "./node_watermark_rounds.ts";
import type { NodeWatermarks } from "./node_watermarks.ts";
import type { Peers } from "./peers.ts";
import { compareDigests, type DigestResult } from "./repair_digest.ts";
import { RepairPace } from "./repair_pace.ts";
import { RepairPeer } from "./repair_peer.ts";
import { RepairSchedule, type ScheduleStatus, type Visit } from "./repair_schedule.ts";
import type { Standings } from "./standing.ts";
import type { Store } from "./store.ts";
import {
  isIn,
  type Member,
  numbersOf,
  replicasOf,
  sizesInUse,
  type Topology,
  writeSetsOf,
} from "./topology.ts";

export interface RepairLimits {
  /** Each partition is compared with each of its other replicas once in so long. */
  readonly periodMs: number;
  /** Partitions that are compared at a time. */
  readonly partitionsMax: number;
  /** How much all comparisons read and move, in bytes a second. */
  readonly bytesPerSecond: number;
  /** How often a partition's watermark is raised. */
  readonly watermarkPeriodMs: number;
  /** The longest deadline of a request: watermarks stay so far behind the clocks (G3). */
  readonly lagMs: number;
}

export interface RepairRoundsParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly report: Report;
  readonly store: Store;
  readonly standings: Standings;
  /** Every partition's answers count: what a cut end of the log may have held was compared (D3). */
  readonly whole: () => Promise<void>;
  readonly topology: () => Topology;
  readonly self: { readonly nodeId: string; readonly storeId: string; readonly name: string };
  readonly fences: NodeWatermarks;
  /** Whether this node has what it should have of a partition; without it others fill it (I4). */
  readonly hasData: (partition: number, n: number) => boolean;
  readonly peers: Pick<Peers, "request">;
  readonly isUp: (nodeId: string) => boolean;
  /** See `WatermarkRoundsParts`. */
  readonly clearedAt: (nodeId: string) => number;
  /** Tells a replica of a mark; resolves when it has it, durably. */
  readonly handOn: (nodeId: string, mark: Mark) => Promise<unknown>;
  readonly limits: RepairLimits;
}

/** Why a partition is compared. */
export type RepairReason = "scheduled" | "asked" | "marked" | "cut log" | "watermark";

/** A comparison that is under way. */
export interface RunningRepair extends Visit {
  readonly why: RepairReason;
  readonly beganMs: number;
}

export interface RepairStatus extends ScheduleStatus {
  readonly nowMs: number;
  readonly running: readonly RunningRepair[];
  readonly marks: readonly Mark[];
  /** Since the start. */
  readonly ended: RepairTotals;
  /** How long what is due takes, by what a comparison took so far; undefined: nobody knows yet. */
  readonly leftMs: number | undefined;
  readonly watermarks: WatermarkStatus;
}

export interface RepairTotals {
  /** Comparisons that came to their end, and those of them in which both had the same. */
  readonly whole: number;
  readonly agreed: number;
  /** Comparisons that were broken off. */
  readonly broken: number;
  /** Records. */
  readonly pushed: number;
  readonly pulled: number;
}

const tickMs = 250;
/** What a write that is under way may take to come to all replicas. */
const settleMs = 2000;
const retryMsMax = 60_000;
const markRetryMs = 5000;
/** How much the last comparison weighs in what one takes. */
const tookWeight = 0.1;

export class RepairRounds {
  readonly #parts: RepairRoundsParts;
  readonly #marks: RepairMarks;
  readonly #schedule: RepairSchedule;
  readonly #pace: RepairPace;
  readonly #patient: RepairPeer;
  readonly #watermarks: WatermarkRounds;
  readonly #running = new Map<RunningRepair, Promise<unknown>>();
  readonly #totals = { whole: 0, agreed: 0, broken: 0, pushed: 0, pulled: 0 };
  /** What a comparison takes, smoothed; undefined: none has ended yet. */
  #tookMs: number | undefined;
  #scheduled: Topology | undefined;
  #catchingUp: Promise<void> | undefined;
  #keepingMarks: Promise<void> | undefined;
  /** That all is whole is being written down, or is. */
  #tellingWhole: Promise<void> | undefined;
  /** Marks that are compared now. */
  readonly #marksUnderWay = new Set<Mark>();
  /** When those are tried again whose comparison was broken off. */
  readonly #markRetriesMs = new WeakMap<Mark, number>();
  #cancel: () => void = () => {};
  #isClosed = false;
  #isRetryNext = false;

  constructor(parts: RepairRoundsParts) {
    this.#parts = parts;
    const { store, report, clock, limits } = parts;
    const { periodMs, bytesPerSecond } = limits;
    this.#marks = new RepairMarks(store, report);
    this.#schedule = new RepairSchedule({ periodMs, retryMs: Math.min(periodMs, retryMsMax) });
    this.#pace = new RepairPace(clock, bytesPerSecond);
    this.#patient = new RepairPeer(clock, parts.peers, { mustCount: false });
    this.#watermarks = new WatermarkRounds({
      ...parts,
      limits: { periodMs: limits.watermarkPeriodMs, lagMs: limits.lagMs },
      counts: (partition, n) => this.#counts(partition, n),
      compare: (visit) => this.#compare(visit, "watermark"),
      spend: (bytes) => this.#pace.spend(bytes),
    });
  }

  begin(): void {
    this.#tickLater();
  }

  /** Whether every partition's answers count; asks each of them, so that they rise. */
  isWhole(): boolean {
    return this.#parts.standings.isWhole;
  }

  /** A partition's replicas differ in something that nobody keeps any more. Whether that is on disk. */
  mark(partition: number, n: number, storeId: string): Promise<boolean> {
    return this.#marks.add({ partition, n, storeId });
  }

  /** Compares pairs as soon as possible; answers how many there are. */
  ask(isWanted: (visit: Visit) => boolean): number {
    this.#follow();
    const count = this.#schedule.ask(isWanted);
    this.#fill();
    return count;
  }

  /** Marks that wait for their comparison to come to its end. */
  get markCount(): number {
    return this.#marks.count;
  }

  status(): RepairStatus {
    this.#follow();
    const nowMs = this.#parts.clock.monotonicMs();
    const schedule = this.#schedule.status(nowMs);
    const { partitionsMax } = this.#parts.limits;
    const waiting = schedule.due + this.markCount;
    return {
      ...schedule,
      nowMs,
      running: [...this.#running.keys()],
      marks: this.#marks.all(),
      ended: { ...this.#totals },
      watermarks: this.#watermarks.status(),
      leftMs: this.#tookMs === undefined ? undefined : (waiting * this.#tookMs) / partitionsMax,
    };
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancel();
    this.#pace.end();
    await this.#catchingUp;
    await this.#keepingMarks;
    await this.#tellingWhole;
    await this.#watermarks.close();
    while (this.#running.size > 0) await Promise.all(this.#running.values());
  }

  #tickLater(): void {
    this.#cancel = this.#parts.clock.after(tickMs, () => {
      if (this.#isClosed) return;
      this.#tick();
      this.#tickLater();
    });
  }

  #tick(): void {
    this.#keepingMarks ??= this.#marks
      .keepRest()
      .catch(() => {})
      .finally(() => {
        this.#keepingMarks = undefined;
      });
    if (this.isWhole()) {
      // What could not be written down is compared once more by the next start.
      this.#tellingWhole ??= this.#parts.whole().catch(() => {});
    } else {
      this.#catchingUp ??= this.#catchUp().finally(() => {
        this.#catchingUp = undefined;
      });
    }
    this.#fill();
    this.#watermarks.tick();
  }

  /** The pairs are those of the present topology. */
  #follow(): void {
    const { topology, self, clock, random } = this.#parts;
    const present = topology();
    if (this.#scheduled === present) return;
    this.#scheduled = present;
    const visits: Visit[] = [];
    for (const n of sizesInUse(present)) {
      for (let partition = 0; partition < present.partitions; partition += 1) {
        const nodes = replicasOf(present, partition, n).map(({ nodeId }) => nodeId);
        if (!nodes.includes(self.nodeId)) continue;
        for (const nodeId of nodes) {
          if (nodeId !== self.nodeId) visits.push({ partition, n, nodeId });
        }
      }
    }
    this.#schedule.set(visits, clock.monotonicMs(), random);
  }

  /** Begins what is due, as much as may be under way. */
  #fill(): void {
    const { limits } = this.#parts;
    this.#follow();
    for (const mark of this.#marks.all()) {
      if (this.#running.size >= limits.partitionsMax) return;
      if (!this.#markRetriesMs.has(mark)) this.#beginMarked(mark);
    }
    // However many cannot be compared, they must not keep the others waiting.
    while (!this.#isClosed && this.#running.size < limits.partitionsMax) {
      this.#isRetryNext = !this.#isRetryNext;
      const hasBegun = this.#isRetryNext
        ? this.#beginRetry() || this.#beginDue()
        : this.#beginDue() || this.#beginRetry();
      if (!hasBegun) return;
    }
  }

  /** The mark that waits longest of those whose comparison was broken off. */
  #beginRetry(): boolean {
    const nowMs = this.#parts.clock.monotonicMs();
    return this.#marks
      .all()
      .filter((mark) => this.#retryMsOf(mark) <= nowMs)
      .sort((one, other) => this.#retryMsOf(one) - this.#retryMsOf(other))
      .some((mark) => this.#beginMarked(mark));
  }

  #beginDue(): boolean {
    const { clock, isUp, hasData, store } = this.#parts;
    // What this node lacks would be pulled into the reserve of its disk.
    if (store.isDiskLow) return false;
    const isPossible = ({ nodeId, partition, n }: Visit): boolean =>
      isUp(nodeId) && hasData(partition, n);
    const next = this.#schedule.begin(clock.monotonicMs(), isPossible);
    if (next === undefined) return false;
    void this.#visit(next.visit, next.wasAsked ? "asked" : "scheduled");
    return true;
  }

  async #visit(visit: Visit, why: RepairReason): Promise<void> {
    const { clock } = this.#parts;
    const beganMs = clock.monotonicMs();
    const isWhole = await this.#compare(visit, why);
    this.#schedule.end(visit, beganMs, clock.monotonicMs(), isWhole);
    // What waits goes on at once, but for after a failure.
    if (isWhole && !this.#isClosed) this.#fill();
  }

  /** D3: what was cut may have been acknowledged: the others have it. */
  async #catchUp(): Promise<void> {
    const { standings, topology, isUp, report } = this.#parts;
    for (let partition = 0; partition < topology().partitions; partition += 1) {
      for (const nodeId of standings.toCompare(partition)) {
        if (this.#isClosed) return;
        if (!isUp(nodeId)) continue;
        if (await this.#compareAll(partition, nodeId)) standings.compare(partition, nodeId);
      }
    }
    if (this.isWhole()) report.sometimes("repair: caught up after a cut");
  }

  #counts(partition: number, n: number): boolean {
    const { standings, hasData } = this.#parts;
    return standings.counts(partition, n) && hasData(partition, n);
  }

  /** All namespaces that both hold of a partition. */
  async #compareAll(partition: number, nodeId: string): Promise<boolean> {
    this.#follow();
    const { topology, self } = this.#parts;
    for (const n of sizesInUse(topology())) {
      // One that is copied to compares what it has taken as well.
      const writers = writeSetsOf(topology(), partition, n).flat();
      const readers = replicasOf(topology(), partition, n);
      if (!isIn(writers, self.nodeId) || !isIn(readers, nodeId)) continue;
      if (!(await this.#compare({ partition, n, nodeId }, "cut log"))) return false;
    }
    return true;
  }

  /** Whether it could. */
  #beginMarked(mark: Mark): boolean {
    const { topology, isUp, hasData, store, self } = this.#parts;
    if (this.#marksUnderWay.has(mark)) return false;
    const { partition, n } = mark;
    const replicas = replicasOf(topology(), partition, n);
    const isMarked = ({ storeId }: Member): boolean => storeId === mark.storeId;
    const target = replicas.find(isMarked);
    // One that is copied to is no replica to compare with yet.
    if (target === undefined && writeSetsOf(topology(), partition, n).flat().some(isMarked))
      return false;
    if (!isIn(replicas, self.nodeId)) {
      return this.#handOn(
        mark,
        replicas.filter((replica) => replica !== target),
      );
    }
    if (!hasData(partition, n)) return false;
    const isOwn = target?.nodeId === self.nodeId;
    // What this node lacks would be pulled into the reserve of its disk.
    if (isOwn && store.isDiskLow) return false;
    // Where it is none any more, whoever holds the partition now may lack what was kept for it.
    const others = isOwn || target === undefined ? replicas : [target];
    const nodeIds = others.map(({ nodeId }) => nodeId).filter((nodeId) => nodeId !== self.nodeId);
    if (!nodeIds.every(isUp)) return false;
    this.#marksUnderWay.add(mark);
    void this.#repairMarked(mark, nodeIds).finally(() => this.#marksUnderWay.delete(mark));
    return true;
  }

  /**
   * Only a replica can compare. All others of the partition are told, for nobody knows here which of them has
   * what was missed; until all have the mark it stays here too. Answers whether all can be told now.
   */
  #handOn(mark: Mark, others: readonly Member[]): boolean {
    const { isUp, report, handOn } = this.#parts;
    if (!others.every(({ nodeId }) => isUp(nodeId))) return false;
    this.#marksUnderWay.add(mark);
    this.#marks.begin(mark);
    Promise.all(others.map(({ nodeId }) => handOn(nodeId, mark)))
      .then(() => this.#marks.end(mark))
      .then(
        () => report.sometimes("repair: mark handed on"),
        (error: unknown) => {
          this.#retryLater(mark);
          const why = QuorateError.from(error).detail;
          report.log("debug", "A mark for repair was not taken by all replicas.", { ...mark, why });
        },
      )
      .finally(() => this.#marksUnderWay.delete(mark));
    return true;
  }

  /**
   * Takes a mark of another node, which is no replica of the partition: durable when it resolves.
   *
   * @throws `invalid-request`, `contention` where this node is no replica either, and what the store does
   */
  async take(body: unknown): Promise<object> {
    const { self, topology } = this.#parts;
    const mark = parseMark(body);
    if (mark.partition >= topology().partitions) throw nonsense("a mark for repair");
    if (!isIn(replicasOf(topology(), mark.partition, mark.n), self.nodeId)) {
      throw new QuorateError(
        "contention",
        `It is no replica of partition ${mark.partition} here.`,
        {
          outcome: "none",
          hint: "Ask again when both have the same topology.",
        },
      );
    }
    await this.#marks.take(mark);
    return {};
  }

  #retryLater(mark: Mark): void {
    this.#markRetriesMs.set(mark, this.#parts.clock.monotonicMs() + markRetryMs);
  }

  /** Infinity: it was not broken off yet. */
  #retryMsOf(mark: Mark): number {
    return this.#markRetriesMs.get(mark) ?? Number.POSITIVE_INFINITY;
  }

  async #repairMarked(mark: Mark, nodeIds: readonly string[]): Promise<void> {
    const { partition, n } = mark;
    this.#marks.begin(mark);
    for (const nodeId of nodeIds) {
      if (await this.#compare({ partition, n, nodeId }, "marked")) continue;
      // One that cannot be compared must not keep the others waiting.
      this.#retryLater(mark);
      return;
    }
    await this.#marks.end(mark).catch(() => {});
    this.#parts.report.sometimes("repair: marked partition compared");
  }

  /** Compares one pair; whether it came to the end. Never rejects. */
  async #compare(visit: Visit, why: RepairReason): Promise<boolean> {
    const { clock, report } = this.#parts;
    const running: RunningRepair = { ...visit, why, beganMs: clock.monotonicMs() };
    const comparing = this.#exchange(visit, why).catch((error: unknown) => {
      const said = QuorateError.from(error).detail;
      report.log("debug", "A comparison was broken off.", { ...visit, why: said });
      return undefined;
    });
    this.#running.set(running, comparing);
    const result = await comparing;
    this.#running.delete(running);
    if (result?.isWhole !== true) {
      this.#totals.broken += 1;
      report.count("repair_broken");
      return false;
    }
    this.#count(result, clock.monotonicMs() - running.beganMs);
    return true;
  }

  #count({ segments, pushed, pulled }: DigestResult, tookMs: number): void {
    const { report } = this.#parts;
    this.#totals.whole += 1;
    if (segments === 0) this.#totals.agreed += 1;
    this.#totals.pushed += pushed;
    this.#totals.pulled += pulled;
    const before = this.#tookMs ?? tookMs;
    this.#tookMs = before + (tookMs - before) * tookWeight;
    report.count(segments === 0 ? "repair_agreed" : "repair_differed");
    report.count("repair_segments", segments);
    report.count("repair_pushed", pushed);
    report.count("repair_pulled", pulled);
  }

  async #exchange({ partition, n, nodeId }: Visit, why: RepairReason): Promise<DigestResult> {
    const { clock, report, topology, store, fences } = this.#parts;
    const begun = topology();
    return compareDigests(
      {
        clock,
        report,
        store: new StoreSide({
          ...{ store, fences, n },
          counts: (one) => this.#counts(one, n),
        }),
        mayGoOn: () => !this.#isClosed,
        spend: (bytes) => this.#pace.spend(bytes),
        // Where nobody knows that they differ, what does is most often a write under way: that is waited for.
        settleMs: why === "scheduled" || why === "asked" ? settleMs : 0,
      },
      new PeerSide({ peers: this.#patient, store, fences, nodeId, n, begun, topology }),
      { partition, n },
      numbersOf(begun, n),
    );
  }
}
