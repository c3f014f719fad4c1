/**
 * CoordinatorWrite: one write to all replicas of a key, until each has it or a hint is kept for it.
 *
 *     mint -> all replicas -> WriteQuorum -> again? mint above, all replicas -> answer the client
 *          -> the rest answers, or the time is over -> hints for who has not -> forgotten
 *
 * The client is answered as soon as the machine decides; the write goes on until every replica has
 * answered or its time is over, and is forgotten only when the hints are durable.
 *
 * Invariants
 * 1. At most two versions are minted, and each is sent to all replicas (W1, W3).
 * 2. A write is sent again under a newer topology at most `asksAgainMax` times, with the version that
 *    it has (T2, W5).
 * 3. `settle` resolves when nothing is under way that is not durable as a write or a hint (H1).
 *
 * Effects: Clock, Report; replicas, peers, hints and the mint through ports.
 * Source: rules W1 to W5, H1, T2; promise P7.
 *
 * @module
 */

import type { Durability } from "./api.ts";
import {
  type ClusterPorts,
  errorLines,
  type KeyPlace,
  lackingHint,
  lostOf,
  noteReply,
  otherSetOf,
  type ReplicaNode,
  type ReplicaNote,
  type Replied,
  rounded,
  writersOf,
} from "./coordinator_ports.ts";
import { type Outcome, QuorateError } from "./errors.ts";
import { InFlight } from "./in_flight.ts";
import { isEnough, type Level, neededOf } from "./level.ts";
import { type WriteDecision, WriteQuorum, type WriteQuorumOptions } from "./quorum.ts";
import type { Lost, WriteReply, WriteRequest } from "./quorum_message.ts";
import { decodeRecord, encodeRecord, recordBytes, type StoredRecord } from "./record.ts";
import type { Version } from "./version.ts";

export interface WriteJob {
  readonly namespaceNumber: number;
  readonly key: Uint8Array;
  /** The policy's n. */
  readonly n: number;
  readonly level: Level;
  readonly durability: Durability;
  readonly timeoutMs: number;
  readonly requestId: string;
  /** Whether an error says what happened, as an answer can. */
  readonly explains?: boolean | undefined;
  /** The record under a version that was minted for it. */
  readonly record: (version: Version) => StoredRecord;
}

export interface WriteResult {
  readonly record: StoredRecord;
  readonly acks: number;
  /** Whether they are a majority of each set that it needed its quorum in (L1, T3). */
  readonly isStrict: boolean;
  readonly epoch: number;
  /** What has happened so far: a JSON value. */
  readonly explain: () => unknown;
}

/**
 * How long a write that has failed waits for this node's own disk, whose answer makes `partial` or
 * `none` of `unknown`. More: certain with slower disks too, and later. Nobody else is waited for (W5).
 */
const ownAnswerMsMax = 250;

/** A move has four phases, so a slow write may meet the beginning of each. */
const asksAgainMax = 4;

/** The writes of one coordinator. */
export class ClusterWrites {
  readonly #ports: ClusterPorts;
  readonly #underWay = new InFlight<OneWrite>();
  #tellIdle: (() => void)[] = [];

  constructor(ports: ClusterPorts) {
    this.#ports = ports;
  }

  /** @throws `write-quorum-not-met`, `timeout`, `disk-full`, `overloaded`, `read-only` */
  run(job: WriteJob): Promise<WriteResult> {
    return new Promise((resolve, reject) => {
      const write = new OneWrite(this.#ports, job, { resolve, reject }, this.#onForgotten);
      write.number = this.#underWay.add(write);
      write.begin();
    });
  }

  /** Ends the waiting for answers: hints are kept for who has not given one. */
  async settle(): Promise<void> {
    for (const write of this.#underWay.values()) write.finish();
    if (this.#underWay.size === 0) return;
    await new Promise<void>((resolve) => {
      this.#tellIdle.push(resolve);
    });
  }

  readonly #onForgotten = (write: OneWrite): void => {
    this.#underWay.take(write.number);
    if (this.#underWay.size > 0) return;
    for (const tell of this.#tellIdle.splice(0)) tell();
  };
}

interface Client {
  readonly resolve: (result: WriteResult) => void;
  readonly reject: (error: QuorateError) => void;
}

class OneWrite {
  /** By which it is known among those under way. */
  number = 0;
  /** Nothing of it is left to do. */
  readonly #onForgotten: (write: OneWrite) => void;
  readonly #ports: ClusterPorts;
  readonly #job: WriteJob;
  readonly #client: Client;
  readonly #beganMs: number;
  readonly #cancelDeadline: () => void;
  #place: KeyPlace;
  #quorum: WriteQuorum;
  #record: StoredRecord | undefined;
  /** The same as bytes of its own. */
  #encoded: Uint8Array | undefined;
  #notes: ReplicaNote[] = [];
  #versions = 0;
  #asksAgain = 0;
  /** All who are sent it, by number. */
  #writers: readonly ReplicaNode[];
  /** Refusals of the epoch that wait for the newer document. */
  #postponed: (() => void)[] = [];
  #isAnswered = false;
  #isFinished = false;
  /** The end of the wait for the own disk; undefined: there was none. */
  #cancelOwnWait: (() => void) | undefined;

  constructor(
    ports: ClusterPorts,
    job: WriteJob,
    client: Client,
    onForgotten: (write: OneWrite) => void,
  ) {
    this.#onForgotten = onForgotten;
    this.#ports = ports;
    this.#job = job;
    this.#client = client;
    this.#beganMs = ports.clock.monotonicMs();
    this.#place = ports.place(job.namespaceNumber, job.key, job.n);
    this.#writers = writersOf(this.#place);
    this.#quorum = new WriteQuorum(this.#levels());
    this.#cancelDeadline = ports.deadlines.start(job.timeoutMs, () => this.finish());
  }

  begin(): void {
    const minted = this.#ports.mint.mint();
    if (!(minted instanceof Promise)) {
      this.#sendAll(minted, "client");
      return;
    }
    minted.then(
      (version) => {
        if (!this.#isFinished) this.#sendAll(version, "client");
      },
      (error) => this.#giveUp(error),
    );
  }

  /** The time is over: the client is told what is known, and hints are kept. */
  finish(): void {
    if (this.#isFinished) return;
    this.#isFinished = true;
    this.#cancelDeadline();
    if (!this.#isAnswered) this.#answer(this.#quorum.expire());
    this.#end();
  }

  #levels(): WriteQuorumOptions {
    const replicas = this.#writers.length;
    const other = otherSetOf(this.#place);
    if (other === undefined) return { replicas, ...this.#levelOf(replicas) };
    const read = this.#place.replicas.map((_, number) => number);
    const sets = [read, other].map((members) => ({ members, ...this.#levelOf(members.length) }));
    return { replicas, ...this.#levelOf(replicas), sets };
  }

  #levelOf(replicas: number): { readonly needed: number; readonly isStrict: boolean } {
    const needed = neededOf(this.#job.level, replicas);
    return { needed, isStrict: 2 * needed > replicas };
  }

  get #isStrict(): boolean {
    const { replicas, other } = this.#place;
    if (other !== undefined && !this.#levelOf(other.length).isStrict) return false;
    return this.#levelOf(replicas.length).isStrict;
  }

  /** How many have to take it: of the set that needs more, while there are two (T3). */
  get #needed(): number {
    const { replicas, other = replicas } = this.#place;
    return Math.max(this.#levelOf(replicas.length).needed, this.#levelOf(other.length).needed);
  }

  /**
   * P1: a number is meant as it stands. Where fewer replicas than that are left, nothing is sent to them:
   * those of before refuse the epoch, and what is known by then is the outcome.
   */
  #isEnough({ replicas }: KeyPlace): boolean {
    return isEnough(this.#job.level, replicas.length);
  }

  #move(place: KeyPlace): void {
    this.#place = place;
    this.#writers = writersOf(place);
  }

  #sendAll(version: Version, source: "client" | "client-again"): void {
    this.#versions += 1;
    this.#record = this.#job.record(version);
    this.#sendRecord(this.#record, source);
  }

  #sendRecord(record: StoredRecord, source: "client" | "client-again"): void {
    const { namespaceNumber, key, n, durability, requestId } = this.#job;
    const bytes = new Uint8Array(recordBytes(record));
    encodeRecord(record, { namespaceNumber, key }, bytes, 0);
    this.#encoded = bytes;
    const { epoch } = this.#place;
    const replicas = this.#writers;
    const request: WriteRequest = {
      kind: "write",
      epoch,
      namespaceNumber,
      n,
      key,
      record: bytes,
      durability,
      source,
      requestId,
    };
    this.#notes = replicas.map(({ name }) => ({ node: name, status: "asked" }));
    const { nodeId: own, local } = this.#ports;
    const { round } = this.#quorum;
    const sendOthers = (): void => {
      // Its stamp was waited for, and meanwhile the own copy or a newer document has begun another round.
      if (round !== this.#quorum.round) return;
      for (let replica = 0; replica < replicas.length; replica += 1) {
        const { nodeId } = replicas[replica] as ReplicaNode;
        if (nodeId !== own) this.#send(replica, round, nodeId, request);
      }
    };
    const giveUpOthers = (error: unknown): void => {
      // P7: they were not sent it, and will not be.
      const unsent = { ...lostOf(error), mayHold: false };
      for (const replica of replicas.keys()) {
        if (replica !== ownReplica) this.#quorum.step(replica, round, unsent, false);
      }
      this.#giveUp(error);
    };
    // The own copy first: its batch of the log carries the ceiling that the others wait for (V1).
    const ownReplica = replicas.findIndex(({ nodeId }) => nodeId === own);
    if (ownReplica !== -1) this.#send(ownReplica, round, own, request);
    const covered = local.coverStamp(record.version.hlc);
    if (covered === undefined) sendOthers();
    else covered.then(sendOthers, giveUpOthers);
  }

  #send(replica: number, round: number, nodeId: string, request: WriteRequest): void {
    const { clock, local, peers, nodeId: own } = this.#ports;
    const note = this.#notes[replica] as ReplicaNote;
    const sentMs = clock.monotonicMs();
    const timeoutMs = Math.max(1, this.#job.timeoutMs - (sentMs - this.#beganMs));
    const asked: Promise<Replied<WriteReply>> =
      nodeId === own ? local.write(request, true) : peers.write(nodeId, request, { timeoutMs });
    const told = (reply: WriteReply | Lost, counts: boolean): void => {
      // Below a majority one that lacks data counts as well (R4).
      noteReply(note, reply, counts || !this.#isStrict);
      note.tookMs = rounded(clock.monotonicMs() - sentMs);
      this.#step(replica, round, reply, counts);
    };
    asked.then(
      (reply) => told(reply, reply.from.counts),
      (error) => told(lostOf(error), false),
    );
  }

  #step(replica: number, round: number, reply: WriteReply | Lost, counts: boolean): void {
    const isPresent = round === this.#quorum.round;
    if (reply.kind === "refused" && reply.reason === "epoch" && isPresent && this.#mayAskAgain) {
      this.#learn(reply.document, () => this.#tell(replica, round, reply, counts));
      return;
    }
    this.#tell(replica, round, reply, counts);
  }

  #tell(replica: number, round: number, reply: WriteReply | Lost, counts: boolean): void {
    const decision = this.#quorum.step(replica, round, reply, counts);
    if (decision.kind === "again") this.#mintAgain(decision.above);
    if (!this.#isAnswered && (decision.kind === "done" || decision.kind === "failed")) {
      this.#decided(decision);
    }
    if (this.#isAnswered && this.#quorum.isComplete) this.finish();
  }

  #decided(decision: WriteDecision): void {
    if (decision.kind === "done") {
      this.#answer(decision);
      return;
    }
    // What other links say in this very turn makes the outcome certain more often.
    this.#ports.clock.soon(() => {
      if (this.#isOwnAwaited) this.#waitForOwn(decision);
      else this.#fail(decision);
    });
  }

  #fail(decision: WriteDecision): void {
    if (!this.#isAnswered) this.#answer(decision);
    if (this.#quorum.isComplete) this.finish();
  }

  /** Whether the outcome hangs on this node's own disk, which has not answered yet. */
  get #isOwnAwaited(): boolean {
    if (this.#isAnswered || this.#quorum.outcome !== "unknown") return false;
    const own = this.#writers.findIndex(({ nodeId }) => nodeId === this.#ports.nodeId);
    return this.#notes[own]?.status === "asked";
  }

  /** P7: what the own disk says is known in a moment; then, or after `ownAnswerMsMax`, the answer. */
  #waitForOwn(decision: WriteDecision): void {
    const { deadlines } = this.#ports;
    this.#cancelOwnWait ??= deadlines.start(ownAnswerMsMax, () => this.#fail(decision));
  }

  /** W3: once more, above all that was named. */
  #mintAgain(above: Version): void {
    this.#ports.report.sometimes("coordinator: second version");
    this.#ports.mint.mintAbove(above).then(
      (version) => {
        if (this.#isFinished) return;
        const place = this.#placeNow();
        const isMoved = place.epoch !== this.#place.epoch && this.#isEnough(place);
        if (isMoved) this.#move(place);
        this.#quorum.second(isMoved ? this.#levels() : undefined);
        this.#sendAll(version, "client-again");
      },
      (error) => this.#giveUp(error),
    );
  }

  get #mayAskAgain(): boolean {
    return this.#asksAgain < asksAgainMax && !this.#isAnswered && !this.#isFinished;
  }

  /** T2: takes the newer document, and sends the version that it has under that. */
  #learn(document: unknown, tell: () => void): void {
    // Several refuse it at once: none of them is told to the machine before it is clear what next.
    this.#postponed.push(tell);
    if (this.#postponed.length > 1) return;
    const after = (): void => {
      const record = this.#record;
      const place = this.#placeNow();
      const { decision, isMinting } = this.#quorum;
      const isWaiting = this.#mayAskAgain && decision.kind === "wait" && !isMinting;
      const isNewer = place.epoch > this.#place.epoch && this.#isEnough(place);
      if (isWaiting && record !== undefined && isNewer) {
        this.#ports.report.sometimes("coordinator: asked again under a newer epoch");
        this.#asksAgain += 1;
        this.#move(place);
        this.#quorum.restart(this.#levels());
        this.#sendRecord(record, this.#quorum.isSecond ? "client-again" : "client");
      }
      const postponed = this.#postponed;
      this.#postponed = [];
      for (const each of postponed) each();
    };
    this.#ports.learn(document).then(after, after);
  }

  #placeNow(): KeyPlace {
    const { namespaceNumber, key, n } = this.#job;
    return this.#ports.place(namespaceNumber, key, n);
  }

  /** Nothing was sent, or nothing more can be: the mint's store has ended. */
  #giveUp(error: unknown): void {
    if (this.#isFinished) return;
    this.#isFinished = true;
    this.#cancelDeadline();
    // H1: its last word, by which hints are kept.
    this.#quorum.expire();
    const outcome = this.#versions === 0 ? "none" : this.#quorum.outcome;
    const { slug, detail, facts } = QuorateError.from(error);
    if (!this.#isAnswered) {
      this.#isAnswered = true;
      this.#client.reject(new QuorateError(slug, detail, { ...facts, outcome }));
    }
    this.#end();
  }

  #answer(decision: WriteDecision): void {
    this.#isAnswered = true;
    this.#cancelOwnWait?.();
    const record = this.#record;
    if (decision.kind === "done" && record !== undefined) {
      const { acks } = decision;
      const facts = { record, acks, isStrict: this.#isStrict, epoch: this.#place.epoch };
      this.#client.resolve({ ...facts, explain: () => this.#explain() });
      return;
    }
    // Nothing at all was sent while the version was still being minted.
    const outcome = this.#versions === 0 ? "none" : this.#quorum.outcome;
    this.#client.reject(this.#error(decision, outcome));
  }

  #error(decision: WriteDecision, outcome: Outcome): QuorateError {
    const needed = this.#needed;
    const { acks } = this.#quorum;
    const slug = decision.kind === "failed" ? decision.slug : "write-quorum-not-met";
    const tookMs = Math.round(this.#ports.clock.monotonicMs() - this.#beganMs);
    const lacking = lackingHint(this.#notes);
    const hint = hintsOf[outcome];
    return new QuorateError(
      slug,
      `${acks} of ${needed} replicas acknowledged the write in ${tookMs} ms.`,
      {
        outcome,
        needed,
        acks,
        replicas: errorLines(this.#notes),
        key: this.#job.key,
        epoch: this.#place.epoch,
        hint: lacking === undefined ? hint : `${hint} ${lacking}`,
        ...(this.#job.explains === true ? { explain: this.#explain() } : {}),
        ...(outcome === "none" ? { retryAfterSeconds: 1 } : {}),
      },
    );
  }

  #explain(): unknown {
    // Those that have answered, and not so that it may be forgotten; the others still may.
    const hinted = this.#quorum.hints
      .map((replica) => this.#notes[replica])
      .filter((note) => note !== undefined && note.status !== "asked")
      .map((note) => note?.node);
    return {
      replicas: this.#notes.map((note) => ({ ...note })),
      versions: this.#versions,
      hints: hinted,
      tookMs: rounded(this.#ports.clock.monotonicMs() - this.#beganMs),
    };
  }

  /** H1: hints for every replica that has not durably answered the last version. */
  #end(): void {
    const { hints } = this.#quorum;
    const bytes = this.#encoded;
    if (hints.length === 0 || bytes === undefined) this.#onForgotten(this);
    // Not the value that was given: its client has an answer, and may have used the array again.
    else void this.#keepHints(decodeRecord(bytes), hints).then(() => this.#onForgotten(this));
  }

  async #keepHints(record: StoredRecord, hinted: readonly number[]): Promise<void> {
    const { report, hints, nodeId } = this.#ports;
    const { namespaceNumber, key, n, requestId } = this.#job;
    const { partition } = this.#place;
    const replicas = this.#writers;
    const keeping: Promise<void>[] = [];
    for (const replica of hinted) {
      const target = replicas[replica];
      if (target === undefined) continue;
      const { storeId } = target;
      report.sometimes(
        target.nodeId === nodeId ? "coordinator: hint to itself" : "coordinator: hint",
      );
      keeping.push(hints.keep({ storeId, partition, n, namespaceNumber, key, record }));
    }
    for (const kept of await Promise.allSettled(keeping)) {
      if (kept.status === "fulfilled") continue;
      const why = QuorateError.from(kept.reason).detail;
      report.log("warn", "A hint could not be kept: repair has to find the difference.", {
        requestId,
        partition,
        why,
      });
    }
  }
}

const hintsOf: Readonly<Record<Outcome, string>> = {
  none: "Nothing was written. Repeat the request, or ask for fewer replicas.",
  partial: "Some replicas have it, and it may complete later. Repeating the request is safe.",
  unknown: "It may have been written, now or later. Repeating the request is safe.",
};
