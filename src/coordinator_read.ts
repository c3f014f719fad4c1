/**
 * CoordinatorRead: one read, from the replicas asked to the answer that may be given.
 *
 *     nearest r (value from the first, versions from the others) -> late? one more -> ReadQuorum
 *       -> value not here? fetch it -> too few hold it? write it back -> expired? cover that -> answer
 *
 * Invariants
 * 1. A strict read answers a version only when m replicas hold it or have passed it (R1).
 * 2. "Expired" is answered only when n-m+1 replicas durably have a clock of at least that time (R3).
 * 3. Repairs in the background are bounded (`coordinator_repair`), and never delay an answer.
 *
 * Effects: Clock, Report; replicas and peers through ports. Source: rules R1 to R4, T2, P7.
 *
 * @module
 */

import type { Durability } from "./api.ts";
import { ReadAsks } from "./coordinator_ask.ts";
import {
  type ClusterPorts,
  type KeyPlace,
  lostOf,
  noteReply,
  otherSetOf,
  type ReplicaNode,
  type ReplicaNote,
  type Replied,
  rounded,
  writersOf,
} from "./coordinator_ports.ts";
import { ReadNotes } from "./coordinator_read_notes.ts";
import { ReadRepairs } from "./coordinator_repair.ts";
import { acked, sendHeld } from "./coordinator_spread.ts";
import { QuorateError } from "./errors.ts";
import { hlcAt } from "./hlc.ts";
import { isEnough, type Level, neededOf } from "./level.ts";
import type { Lost, ReadReply, WriteReply } from "./quorum_message.ts";
import { clocksNeeded, type ReadDecision, ReadQuorum } from "./quorum_read.ts";
import { decodeRecord, type StoredRecord } from "./record.ts";
import { compareVersions } from "./version.ts";

/** A move has four phases, so a slow read may meet the beginning of each. */
const asksAgainMax = 4;
/** A repair that nobody waits for. */
const repairTimeoutMs = 5000;

export interface ReadJob {
  readonly namespaceNumber: number;
  readonly key: Uint8Array;
  readonly n: number;
  readonly level: Level;
  readonly durability: Durability;
  readonly timeoutMs: number;
  readonly requestId: string;
  /** Whether an error says what happened, as an answer can. */
  readonly explains?: boolean | undefined;
}

export interface ReadResult {
  /** Undefined: no such key, deleted, or expired. */
  readonly record: StoredRecord | undefined;
  readonly replies: number;
  /** Whether a majority was asked, of the replicas of that epoch (L1). */
  readonly isStrict: boolean;
  readonly epoch: number;
  /** What happened: a JSON value. */
  readonly explain: () => unknown;
}

type AnswerDecision = Extract<ReadDecision, { kind: "answer" }>;

/** What the reads of one coordinator share. */
interface Shared {
  readonly ports: ClusterPorts;
  readonly asks: ReadAsks;
  readonly repairs: ReadRepairs;
}

/** The reads of one coordinator. */
export class ClusterReads {
  readonly #shared: Shared;

  constructor(ports: ClusterPorts) {
    this.#shared = { ports, asks: new ReadAsks(ports), repairs: new ReadRepairs(ports.report) };
  }

  get ports(): ClusterPorts {
    return this.#shared.ports;
  }

  /** @throws `read-quorum-not-met`, `timeout` */
  run(job: ReadJob): Promise<ReadResult> {
    return new Promise((resolve, reject) => {
      new OneRead(this.#shared, job, { resolve, reject }).begin();
    });
  }
}

interface Client {
  readonly resolve: (result: ReadResult) => void;
  readonly reject: (error: QuorateError) => void;
}

class OneRead {
  readonly #shared: Shared;
  #job: ReadJob;
  readonly #client: Client;
  readonly #cancelDeadline: () => void;
  #cancelHedge: () => void = () => {};
  #place: KeyPlace;
  /** Those that are read, then those of the other set of a move. */
  #writers: readonly ReplicaNode[];
  #quorum: ReadQuorum;
  /** The replicas' numbers, the nearest first, those believed down last. */
  #order: readonly number[];
  readonly #notes: ReadNotes;
  /** Answers to what was sent under an older document are dropped. */
  #attempt = 0;
  #isLearning = false;
  /** A newer document, from whoever has refused this one's epoch. */
  #newer: unknown;
  /** What is told when a newer document was learned. */
  #postponed: (() => void)[] = [];
  /** The value is asked of one replica; of another when that one is late or has failed. */
  #wantsNow: "record" | "version" = "record";
  /** Answers are complete, and what has to be durable first is being made so. */
  #isSettling = false;
  #isOver = false;
  /** Replicas whose own record is damaged: they get a good one (P8). */
  readonly #damaged = new Set<number>();

  constructor(shared: Shared, job: ReadJob, client: Client) {
    this.#shared = shared;
    this.#job = job;
    this.#client = client;
    const { ports } = shared;
    this.#notes = new ReadNotes(job, ports.clock);
    this.#place = ports.place(job.namespaceNumber, job.key, job.n);
    this.#writers = writersOf(this.#place);
    this.#order = shared.asks.nearestFirst(this.#place.replicas);
    this.#quorum = this.#newQuorum();
    this.#notes.begin(this.#place);
    this.#cancelDeadline = ports.deadlines.start(job.timeoutMs, () => {
      this.#fail("timeout", `There was no answer within ${job.timeoutMs} ms.`);
    });
  }

  begin(): void {
    this.#askMore();
  }

  #newQuorum(): ReadQuorum {
    const replicas = this.#place.replicas.length;
    const needed = neededOf(this.#job.level, replicas);
    const other = otherSetOf(this.#place);
    const isStrict = this.#isStrict;
    return new ReadQuorum(
      { replicas, needed, isStrict, other },
      hlcAt(this.#shared.ports.mint.nowMs()),
    );
  }

  get #isStrict(): boolean {
    const replicas = this.#place.replicas.length;
    return 2 * neededOf(this.#job.level, replicas) > replicas;
  }

  /** Asks as many as r answers need; the first of all for the value. */
  #askMore(): void {
    let count = this.#quorum.toAsk;
    if (count === 0) return;
    for (const replica of this.#order) {
      if (count === 0) break;
      if (this.#quorum.hasAsked(replica)) continue;
      this.#ask(replica, this.#wantsNow);
      count -= 1;
    }
    this.#armHedge();
  }

  #armHedge(): void {
    this.#cancelHedge();
    const { ports, asks } = this.#shared;
    let waitMs = 0;
    const { replicas } = this.#place;
    for (let replica = 0; replica < replicas.length; replica += 1) {
      if (this.#notes.replicas[replica]?.status !== "asked") continue;
      waitMs = Math.max(waitMs, asks.hedgeMs(replicas[replica] as ReplicaNode));
    }
    const hasNext = this.#order.some((replica) => !this.#quorum.hasAsked(replica));
    if (waitMs === 0 || !hasNext) return;
    this.#cancelHedge = ports.deadlines.start(waitMs, () => this.#hedge());
  }

  #hedge(): void {
    if (this.#isOver || this.#isSettling) return;
    const next = this.#order.find((replica) => !this.#quorum.hasAsked(replica));
    if (next === undefined) return;
    this.#notes.hedges += 1;
    this.#shared.ports.report.sometimes("coordinator: hedged read");
    // The one that is late may be the one that was asked for the value.
    this.#ask(next, "record");
    this.#armHedge();
  }

  #ask(replica: number, wants: "record" | "version"): void {
    this.#wantsNow = "version";
    this.#quorum.ask(replica);
    const note = this.#notes.replicas[replica] as ReplicaNote;
    note.status = "asked";
    const attempt = this.#attempt;
    const sentMs = this.#shared.ports.clock.monotonicMs();
    const told = (reply: ReadReply | Lost, from: Replied<ReadReply>["from"] | undefined): void => {
      if (attempt !== this.#attempt || this.#isOver) return;
      const tookMs = this.#shared.ports.clock.monotonicMs() - sentMs;
      noteReply(note, reply, from?.counts);
      note.tookMs = rounded(tookMs);
      if (reply.kind === "refused" && reply.reason === "corruption") this.#damaged.add(replica);
      this.#told(replica, reply, from);
    };
    this.#request(replica, wants, 0).then(
      (reply) => told(reply, reply.from),
      (error) => told(lostOf(error), undefined),
    );
  }

  #request(
    replica: number,
    wants: "record" | "version",
    coverMs: number,
  ): Promise<Replied<ReadReply>> {
    const { epoch } = this.#place;
    const replicas = this.#writers;
    const question = { epoch, wants, coverMs, timeoutMs: this.#leftMs };
    const asked = this.#shared.asks.ask(this.#job, replicas[replica] as ReplicaNode, question);
    return asked.then((reply) => this.#noticed(reply));
  }

  #noticed<Reply extends ReadReply | WriteReply>(reply: Reply): Reply {
    if (reply.kind === "refused" && reply.reason === "epoch") this.#newer = reply.document;
    return reply;
  }

  get #leftMs(): number {
    return Math.max(1, this.#job.timeoutMs - this.#notes.tookMs);
  }

  #told(
    replica: number,
    reply: ReadReply | Lost,
    from: Replied<ReadReply>["from"] | undefined,
  ): void {
    const isOld = reply.kind === "refused" && reply.reason === "epoch";
    if (isOld && this.#attempt < asksAgainMax && !this.#isSettling) {
      this.#learn(reply.document, () => this.#step(replica, reply, from));
      return;
    }
    this.#step(replica, reply, from);
  }

  #step(
    replica: number,
    reply: ReadReply | Lost,
    from: Replied<ReadReply>["from"] | undefined,
  ): void {
    if (this.#isOver) return;
    const counts = from?.counts === true;
    const before = this.#quorum.replies;
    const decision = this.#quorum.step(replica, reply, counts, from?.clockHlc);
    // What is being settled takes no notice: it would begin again with each answer.
    if (this.#isSettling) return;
    if (decision.kind === "answer") {
      this.#cancelHedge();
      void this.#settle(decision);
    } else if (decision.kind === "failed" && !this.#isLearning) this.#failQuorum();
    else if (this.#quorum.replies <= before) {
      // It failed, does not count or overrules others: another is asked, for the value if that was the task.
      if (!this.#hasRecord) this.#wantsNow = "record";
      this.#askMore();
    }
  }

  get #hasRecord(): boolean {
    const { decision } = this.#quorum;
    return decision.kind === "answer" && decision.found?.record !== undefined;
  }

  /** T2: takes the newer document and asks again under that. */
  #learn(document: unknown, tell: () => void): void {
    this.#postponed.push(tell);
    if (this.#isLearning) return;
    this.#isLearning = true;
    const { ports } = this.#shared;
    const after = (): void => {
      this.#isLearning = false;
      const postponed = this.#postponed;
      this.#postponed = [];
      if (this.#isOver) return;
      const { namespaceNumber, key, n } = this.#job;
      const place = ports.place(namespaceNumber, key, n);
      const isNewer = place.epoch > this.#place.epoch;
      // What is being settled goes on without them; where that fails, nobody waits for their answers.
      if (this.#isSettling || !isNewer || !isEnough(this.#job.level, place.replicas.length)) {
        for (const each of postponed) each();
        return;
      }
      ports.report.sometimes("coordinator: asked again under a newer epoch");
      this.#attempt += 1;
      this.#newer = undefined;
      this.#place = place;
      this.#writers = writersOf(place);
      this.#order = this.#shared.asks.nearestFirst(place.replicas);
      this.#quorum = this.#newQuorum();
      this.#notes.begin(place);
      // They are known by their numbers, which are others' now.
      this.#damaged.clear();
      this.#wantsNow = "record";
      this.#askMore();
    };
    ports.learn(document).then(after, after);
  }

  /** Makes durable what has to be, then answers. */
  async #settle(decision: AnswerDecision): Promise<void> {
    this.#isSettling = true;
    try {
      const whole = isWhole(decision)
        ? { record: decision.found?.record, decided: decision }
        : await this.#withRecord(decision);
      if (this.#isOver) return;
      if (whole === undefined) {
        this.#isSettling = false;
        this.#wantsNow = "record";
        this.#askMore();
        return;
      }
      const { record, decided } = whole;
      const { found, overMs } = decided;
      if (found === undefined) {
        if (overMs !== undefined) await this.#coverExpiry(overMs);
        this.#finish(undefined, decided);
        return;
      }
      if (isWriteBack(decided) && record !== undefined) await this.#writeBack(decided, record);
      else if (record !== undefined) {
        this.#repairLater([...decided.behind, ...this.#damaged], record);
      } else this.#repairDeleteLater(decided);
      const { expiresAtMs, tombstone } = found;
      const isExpired = !tombstone && this.#quorum.isExpired(expiresAtMs);
      if (isExpired && expiresAtMs !== undefined) await this.#coverExpiry(expiresAtMs);
      if (tombstone || isExpired || record === undefined) this.#finish(undefined, decided);
      else this.#finish(decodeRecord(record), decided);
    } catch (error) {
      this.#unsettled(QuorateError.from(error));
    }
  }

  /** What had to be durable is not; under a newer topology others are to be asked (T2). */
  #unsettled(error: QuorateError): void {
    const isOld = this.#newer !== undefined && this.#attempt < asksAgainMax;
    if (this.#isOver || !isOld) {
      this.#over(error);
      return;
    }
    this.#isSettling = false;
    this.#learn(this.#newer, () => {
      // An answer that has come meanwhile is being settled, and tells the end.
      if (!this.#isSettling) this.#over(error);
    });
  }

  /**
   * Fetches the bytes from a holder where the answers told the version alone; undefined when no holder
   * gives them, and other replicas have to answer in place of those.
   */
  async #withRecord(
    decision: AnswerDecision,
  ): Promise<
    { readonly record: Uint8Array | undefined; readonly decided: AnswerDecision } | undefined
  > {
    let decided = decision;
    const failed = new Set<number>();
    for (;;) {
      const { found, holders } = decided;
      if (isWhole(decided)) return { record: found?.record, decided };
      const holder = holders.find((replica) => !failed.has(replica));
      if (this.#isOver) throw this.#quorumError();
      if (holder === undefined) {
        this.#shared.ports.report.sometimes("coordinator: a holder was gone");
        for (const replica of holders) this.#quorum.drop(replica);
        const { decision: without } = this.#quorum;
        if (without.kind === "failed") throw this.#quorumError();
        if (without.kind === "wait") return undefined;
        decided = without;
        continue;
      }
      this.#shared.ports.report.sometimes("coordinator: value fetched from a holder");
      const reply = await this.#request(holder, "record", 0).then(
        (told) => ({ told, from: told.from }),
        (error) => ({ told: lostOf(error), from: undefined }),
      );
      if (reply.told.kind !== "found" || reply.from?.counts !== true) failed.add(holder);
      // The explanation names what was decided by; what it said before it failed stands there too.
      else noteReply(this.#notes.replicas[holder] as ReplicaNote, reply.told);
      // Something newer may stand there by now: then that is the answer, on the same terms.
      const next = this.#quorum.step(
        holder,
        reply.told,
        reply.from?.counts === true,
        reply.from?.clockHlc,
      );
      if (next.kind === "answer") decided = next;
    }
  }

  /** R1: to all who are not known to hold it, until m do. */
  async #writeBack(decided: AnswerDecision, record: Uint8Array): Promise<void> {
    this.#keepKey();
    const { holders, writeBack, writeBackOther = 0 } = decided;
    const { report } = this.#shared.ports;
    report.sometimes("coordinator: write-back");
    if (writeBackOther > 0) report.sometimes("coordinator: write-back in a move");
    const replicas = this.#writers;
    const lacking = (set: readonly number[]): readonly number[] =>
      set.filter((one) => !holders.includes(one));
    const sets = [
      { needed: writeBack, of: lacking(this.#readers) },
      { needed: writeBackOther, of: lacking(otherSetOf(this.#place) ?? []) },
    ];
    const ask = async (replica: number): Promise<boolean> => {
      const reply = await this.#send(replica, record, "write-back", this.#leftMs);
      const isHeld = reply.kind === "took" || reply.kind === "superseded";
      if (isHeld) this.#notes.repaired.push((replicas[replica] as ReplicaNode).name);
      return isHeld && reply.from.counts;
    };
    await acked({ sets, ask, error: () => this.#quorumError() });
  }

  get #readers(): readonly number[] {
    return this.#place.replicas.map((_, replica) => replica);
  }

  /** R3: until n-m+1 replicas can never say again that it is not over. */
  async #coverExpiry(expiresAtMs: number): Promise<void> {
    const isStrict = this.#isStrict;
    const other = otherSetOf(this.#place) ?? [];
    const sets = [
      // Below a majority one is enough, of those that are read.
      { needed: isStrict ? clocksNeeded(this.#readers.length) : 1, of: this.#readers },
      { needed: isStrict && other.length > 0 ? clocksNeeded(other.length) : 0, of: other },
    ];
    const ask = async (replica: number): Promise<boolean> => {
      const reply = await this.#request(replica, "version", expiresAtMs);
      return reply.kind !== "refused" && reply.from.clockHlc >= hlcAt(expiresAtMs);
    };
    await acked({ sets, ask, error: () => this.#quorumError() });
  }

  #send(
    replica: number,
    record: Uint8Array,
    source: "write-back" | "repair",
    timeoutMs: number,
  ): Promise<Replied<WriteReply>> {
    const { epoch } = this.#place;
    const { nodeId } = this.#writers[replica] as ReplicaNode;
    const held = { record, source, epoch, timeoutMs };
    const sent = sendHeld(this.#shared.ports, this.#job, nodeId, held);
    return sent.then((reply) => this.#noticed(reply));
  }

  /** What nobody waits for: the others get the version that was answered. */
  #repairLater(behind: readonly number[], record: Uint8Array): void {
    if (behind.length === 0) return;
    this.#keepKey();
    const { repairs, ports } = this.#shared;
    const bytes = record.slice();
    for (const replica of behind) {
      const send = () => this.#send(replica, bytes, "repair", repairTimeoutMs);
      if (!repairs.begin(send)) return;
      ports.report.sometimes("coordinator: read repaired");
      this.#notes.repaired.push((this.#place.replicas[replica] as ReplicaNode).name);
    }
  }

  /** Of a delete the versions are enough for an answer; who is behind needs its bytes. */
  #repairDeleteLater({ found, behind, holders }: AnswerDecision): void {
    const needing = [...behind, ...this.#damaged];
    if (found === undefined || needing.length === 0) return;
    this.#keepKey();
    this.#shared.repairs.begin(async () => {
      for (const holder of holders) {
        const reply = await this.#request(holder, "record", 0).catch(lostOf);
        if (reply.kind !== "found" || reply.record === undefined) continue;
        if (compareVersions(reply.version, found.version) < 0) continue;
        this.#repairLater(needing, reply.record);
        return;
      }
    });
  }

  /** What is written goes on after the answer, when whoever asked may have the array for another key. */
  #keepKey(): void {
    this.#job = { ...this.#job, key: new Uint8Array(this.#job.key) };
  }

  #finish(record: StoredRecord | undefined, { replies }: AnswerDecision): void {
    if (this.#isOver) return;
    this.#end();
    const { epoch } = this.#place;
    this.#client.resolve({
      record,
      replies,
      isStrict: this.#isStrict,
      epoch,
      explain: () => this.#notes.explain(this.#quorum),
    });
  }

  #end(): void {
    const { hints, report } = this.#shared.ports;
    for (const replica of this.#quorum.overruled) {
      const { storeId } = this.#writers[replica] as ReplicaNode;
      report.sometimes("coordinator: a replica was overruled by a watermark");
      hints.suspect(this.#place.partition, this.#job.n, storeId);
    }
    this.#isOver = true;
    this.#cancelDeadline();
    this.#cancelHedge();
  }

  #over(error: QuorateError): void {
    if (this.#isOver) return;
    this.#end();
    this.#client.reject(error);
  }

  #fail(slug: "timeout" | "read-quorum-not-met", detail: string): void {
    this.#over(this.#notes.error(this.#quorum, slug, detail));
  }

  #failQuorum(): void {
    this.#unsettled(this.#quorumError());
  }

  #quorumError(): QuorateError {
    return this.#notes.quorumError(this.#quorum);
  }
}

/** Whether anybody has to take the version before it is answered (R1, T3). */
function isWriteBack({ writeBack, writeBackOther = 0 }: AnswerDecision): boolean {
  return writeBack > 0 || writeBackOther > 0;
}

/** Whether it has the bytes that it needs: of a delete that nobody has to take the version is enough. */
function isWhole(decided: AnswerDecision): boolean {
  const { found } = decided;
  if (found === undefined || found.record !== undefined) return true;
  return found.tombstone && !isWriteBack(decided);
}
