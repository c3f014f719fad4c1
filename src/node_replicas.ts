/**
 * Node replicas: what a node holds and keeps for others: its replica, its hints, repair, moves and fills.
 *
 * It joins the store with the cluster: requests of other nodes go to the replica, writes that others
 * missed are kept and delivered, what this node may have missed is compared with theirs, and what it has
 * lost is filled from them. Until those who remember this store have told, nothing is answered (I3).
 *
 * Invariants
 * 1. A partition answers only in the standing that it has, judged when the answer is given.
 * 2. No write begins under an epoch that is sealed (T7).
 *
 * Effects: those of its parts. Source: rules W1, H1 to H3, I3, I4, D3, T2, T7.
 *
 * @module
 */

import type { Clock, Disk, Random, Report } from "./capability.ts";
import { type Cluster, markTopic } from "./cluster.ts";
import type { ServingPorts } from "./cluster_options.ts";
import { Latencies } from "./coordinator_latency.ts";
import type { ClusterPorts, LocalPort, PeerPort } from "./coordinator_ports.ts";
import type { ScanPorts } from "./coordinator_scan.ts";
import { Deadlines } from "./deadlines.ts";
import type { Document } from "./document.ts";
import { QuorateError } from "./errors.ts";
import { Handoff, type HintStatus } from "./handoff.ts";
import type { Hlc } from "./hlc.ts";
import { Holdings } from "./holdings.ts";
import type { Identity } from "./identity.ts";
import { Losses } from "./losses.ts";
import type { PeerReply, PeerRequest, ReplyFacts } from "./message.ts";
import { type FillStatus, NodeFills } from "./node_fills.ts";
import { NodeHints } from "./node_hints.ts";
import { NodeLoss } from "./node_loss.ts";
import { NodeMoves } from "./node_moves.ts";
import type { PeerBudgets, Queue } from "./node_options.ts";
import { NodePurge } from "./node_purge.ts";
import { type RepairLimits, RepairRounds } from "./node_repair.ts";
import { EpochSeal } from "./node_seal.ts";
import { TopologyView } from "./node_view.ts";
import { markVote } from "./node_vote.ts";
import { NodeWatermarks } from "./node_watermarks.ts";
import type { DigestReply, ReadReply, ReplyFrom, ScanReply, WriteReply } from "./quorum_message.ts";
import { Replica, type Replied, refusalOf } from "./replica.ts";
import type { Ring } from "./ring.ts";
import { Standings } from "./standing.ts";
import type { Store } from "./store.ts";
import { sizesInUse } from "./topology.ts";
import { type Load, loadOf } from "./topology_status.ts";

export interface ReplicasParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly report: Report;
  readonly disk: Disk;
  readonly identity: Identity;
  readonly document: Document;
  readonly ring: Ring;
  readonly store: Store;
  readonly cluster: Cluster;
  readonly limits: {
    readonly hintBytesMax: number;
    readonly hintAgeMaxMs: number;
    readonly hintBytesPerSecond: number;
    readonly moveBytesPerSecond?: number | undefined;
  };
  readonly repair: RepairLimits;
  readonly budgets?: PeerBudgets | undefined;
  /** What is here is taken for all that there is, where the store was rolled back. */
  readonly acceptDataLoss: boolean;
}

/** How long a peer that does not answer the handshake is waited for (I3). */
const handshakeWaitMs = 2000;
const handOnMsMax = 5000;
/** What a move takes of the disks and links of those that it copies from. */
const moveBytesPerSecond = 32 * 1024 * 1024;

/** What is in the folder beside the store. */
interface Kept {
  readonly seal: EpochSeal;
  readonly losses: Losses;
  readonly holdings: Holdings;
}

export class NodeReplicas {
  readonly replica: Replica;
  readonly handoff: Handoff;
  readonly standings: Standings;
  readonly #parts: ReplicasParts;
  readonly #repair: RepairRounds;
  readonly #fences: NodeWatermarks;
  readonly moves: NodeMoves;
  readonly purge: NodePurge;
  readonly #seal: EpochSeal;
  readonly #loss: NodeLoss;
  readonly #fills: NodeFills;
  readonly #scanTimes: Pick<ScanPorts, "clock" | "deadlines" | "latencies">;
  #view: TopologyView;
  /** As it was last looked at. */
  #space: { readonly freeBytes: number; readonly totalBytes: number } | undefined;

  private constructor(parts: ReplicasParts, kept: Kept) {
    const { clock, report, identity, document, store, cluster, ring, limits } = parts;
    this.#parts = parts;
    this.#seal = kept.seal;
    this.#scanTimes = { clock, deadlines: new Deadlines(clock), latencies: new Latencies() };
    this.#view = new TopologyView(document.present, ring, identity.nodeId);
    const { losses } = kept;
    this.#loss = new NodeLoss({ clock, report, losses, store, name: identity.name });
    this.standings = new Standings({
      openedSequence: losses.base + store.openedSequence,
      wasCut: store.wasCut,
      wasLost: losses.isLost,
      onLost: (heard) => this.#loss.found(heard),
      partitions: ring.partitions,
      othersOf: (partition) => this.#topology().othersOf(partition),
      othersByN: (partition) => this.#topology().othersByN(partition),
      isDown: (nodeId) =>
        !cluster.peers.isOpen(nodeId) && cluster.peers.seekingMs(nodeId) >= handshakeWaitMs,
    });
    const { nodeId, storeId, name, boot } = identity;
    const { present } = document;
    const isAlone = present.members.length === 1;
    this.#fences = new NodeWatermarks(store, isAlone ? [] : sizesInUse(present));
    this.replica = new Replica({
      clock,
      report,
      store,
      self: { nodeId, storeId, boot },
      topology: () => this.#topology(),
      learn: (epoch) => cluster.learnEpoch(epoch),
      notReady: (partition, n) => this.#notReady(partition, n),
      counts: (partition, n) => this.#counts(partition, n),
      sequenceBase: () => losses.base,
      fences: this.#fences,
    });
    const bytesPerSecond = limits.moveBytesPerSecond ?? moveBytesPerSecond;
    this.#fills = new NodeFills({
      ...{ clock, report, store, losses, bytesPerSecond },
      fences: this.#fences,
      topology: () => document.present,
      ownNodeId: nodeId,
      peers: cluster.peers,
      isUp: (other) => cluster.isUp(other),
      newsOf: (other) => cluster.newsOf(other),
    });
    this.#repair = new RepairRounds({
      clock,
      random: parts.random,
      report,
      store,
      standings: this.standings,
      whole: () => identity.compared(),
      topology: () => document.present,
      self: { nodeId, storeId, name },
      fences: this.#fences,
      hasData: (partition, n) => this.#hasData(partition, n),
      peers: cluster.peers,
      isUp: (other) => cluster.isUp(other),
      clearedAt: (other) => cluster.viewOf(other)?.load["moveCleared"] ?? 0,
      handOn: (other, mark) => cluster.peers.ask(other, markTopic, mark, handOnMsMax),
      limits: parts.repair,
    });
    this.moves = new NodeMoves({
      clock,
      report,
      store,
      holdings: kept.holdings,
      fences: this.#fences,
      topology: () => document.present,
      ownNodeId: nodeId,
      peers: cluster.peers,
      isUp: (other) => cluster.isUp(other),
      newsOf: (other) => cluster.newsOf(other),
      isVoid: () => this.standings.isLost,
      propose: (step) => cluster.agreement.propose(step),
      counts: (partition, n) => this.#counts(partition, n),
      hasData: (partition, n) => this.#hasData(partition, n),
      bytesPerSecond,
    });
    this.purge = new NodePurge({
      clock,
      report,
      store,
      topology: () => document.present,
      ownNodeId: nodeId,
      purgedAt: (other) => cluster.viewOf(other)?.load["purged"] ?? 0,
      propose: (step) => cluster.agreement.propose(step),
    });
    this.handoff = Handoff.open({
      clock,
      report,
      store,
      port: new NodeHints({
        report,
        self: { nodeId, storeId },
        topology: () => document.present,
        writers: (partition, n) => this.#topology().writers(partition, n),
        isUp: (other) => cluster.isUp(other),
        ask: (other, request, timeoutMs) => cluster.peers.request(other, request, timeoutMs),
        askOwn: (request) => this.counted(() => this.replica.write(request, true)),
        mark: (partition, n, other) => this.#repair.mark(partition, n, other),
      }),
      limits: {
        bytesMax: limits.hintBytesMax,
        ageMaxMs: limits.hintAgeMaxMs,
        bytesPerSecond: limits.hintBytesPerSecond,
      },
    });
  }

  static async open(parts: ReplicasParts): Promise<NodeReplicas> {
    const { clock, disk, cluster, document } = parts;
    const seal = await EpochSeal.open({
      clock,
      disk,
      isPresent: (epoch) => document.present.epoch === epoch,
      giveUp: (epoch) => void cluster.release(epoch),
    });
    const losses = await Losses.open(disk);
    if (parts.acceptDataLoss) await losses.accept(parts.ring.partitions);
    const holdings = await Holdings.open(disk, document.present.epoch);
    return new NodeReplicas(parts, { seal, losses, holdings });
  }

  /** Whether the present epoch takes no writes, because a node is joining (T7). */
  get isSealed(): boolean {
    return this.#seal.isSealed(this.#parts.document.present.epoch);
  }

  /** What the coordinator needs of the other parts. */
  get coordinatorPorts(): Omit<ClusterPorts, "clock" | "deadlines" | "mint"> {
    const { report, identity } = this.#parts;
    return {
      report,
      nodeId: identity.nodeId,
      local: this.#local,
      peers: this.#peerPort,
      hints: {
        keep: async (hint) => {
          await this.handoff.keep(hint);
        },
        suspect: (partition, n, storeId) => {
          // A mark of another node would go to all replicas, for each such read: there the turn finds it.
          if (!this.#topology().isReplica(partition, n, "read")) return;
          void this.#repair.mark(partition, n, storeId);
        },
      },
      place: (namespaceNumber, key, n) => this.#topology().place(namespaceNumber, key, n),
      learn: (document) => this.#learn(document),
    };
  }

  /** What lists and counts need. */
  get scanPorts(): ScanPorts {
    const { identity, ring, store } = this.#parts;
    return {
      ...this.#scanTimes,
      nodeId: identity.nodeId,
      partitions: ring.partitions,
      tableKey: (partition, number, key) => store.tableKey(partition, number, key),
      replicasOf: (partition, n) => this.#topology().replicasOf(partition, n),
      local: { scan: (request) => this.replica.scan(request) },
      peers: {
        scan: (nodeId, request, { timeoutMs }) =>
          this.#parts.cluster.peers.request(nodeId, request, timeoutMs).then(replyAs<ScanReply>),
        isUp: (nodeId) => this.#parts.cluster.isUp(nodeId),
      },
      learn: (document) => this.#learn(document),
      observeMs: (judgedMs) => store.mint.observeMs(judgedMs),
    };
  }

  /** What other nodes are answered. */
  get serving(): ServingPorts {
    const { store, clock } = this.#parts;
    return {
      answer: (request) => this.#answer(request),
      facts: () => this.replica.from(0, 1),
      told: (nodeId, remembered) => this.standings.tell(nodeId, remembered),
      // T7: whoever joins an empty cluster begins without a watermark, so there must be none.
      records: async () => store.recordCount + this.#fences.count,
      seal: (epoch) => this.#seal.seal(epoch),
      mark: (body) => this.#repair.take(body),
      prepare: (next) => this.moves.prepare(next),
      whyNoVote: () => {
        const { move } = this.#parts.document.present;
        return this.standings.whyNoVote(this.#otherMembers(), move?.joining);
      },
      voted: () => markVote(store),
      load: () => ({
        ...this.#load(),
        ...this.moves.load,
        ...this.purge.load,
        uptimeMs: Math.round(clock.monotonicMs()),
      }),
    };
  }

  #otherMembers(): readonly string[] {
    const { document, identity } = this.#parts;
    return document.present.members
      .map(({ nodeId }) => nodeId)
      .filter((nodeId) => nodeId !== identity.nodeId);
  }

  /** What the others are told in every heartbeat. */
  #load(): Load {
    const { store, disk } = this.#parts;
    // For the next one: a heartbeat does not wait for a disk.
    disk.space().then(
      (space) => {
        this.#space = space;
      },
      () => {},
    );
    const hints = this.hints().reduce((sum, { count }) => sum + count, 0);
    const { markCount: marks } = this.#repair;
    return loadOf({ ...store.tally(), disk: this.#space, hints, marks, ...this.lossFacts });
  }

  /** See `QuorateNode`. */
  queues(): readonly Queue[] {
    const { cluster, limits, budgets } = this.#parts;
    const { queueBytesMax } = cluster.peers;
    const links = cluster.peers.status().map(({ nodeId, queueBytes }) => ({
      ...{ name: `link ${nodeId}`, held: queueBytes, max: queueBytesMax },
    }));
    const hints = this.hints().map(({ storeId, bytes }) => ({
      ...{ name: `hints ${storeId}`, held: bytes, max: limits.hintBytesMax },
    }));
    const admitted = (["replication", "hint"] as const).flatMap((work): Queue[] => {
      const budget = budgets?.[work];
      if (budget === undefined) return [];
      const { requests, bytes, limits: most } = budget;
      return [
        { name: `${work} requests`, held: requests, max: most.requestsMax },
        { name: `${work} bytes`, held: bytes, max: most.bytesMax },
      ];
    });
    return [...links, ...hints, ...admitted];
  }

  hints(): readonly HintStatus[] {
    return this.handoff.status();
  }

  get repair(): Pick<RepairRounds, "status" | "ask" | "markCount"> {
    return this.#repair;
  }

  get repairPeriodMs(): number {
    return this.#parts.repair.periodMs;
  }

  /** A write of this node's own, counted so that a seal waits for it. */
  counted<Value>(run: () => Promise<Value>): Promise<Value> {
    return this.#seal.counted(this.#parts.document.present.epoch, run);
  }

  /** Below what this node takes no writes of clients (G2). */
  promiseOf(partition: number, n: number): Hlc {
    return this.#fences.of(partition, n).promise;
  }

  /** Whether this node's answers count for all that it holds, as far as it knows of no loss. */
  get isWhole(): boolean {
    return this.#repair.isWhole();
  }

  /** What of it has no data, and why. */
  get fills(): FillStatus {
    const status = this.#fills.status();
    if (!this.standings.isLost || status.isRolledBack) return status;
    // It was found a moment ago, and is not kept yet.
    const why = "that it was rolled back is being written down";
    return {
      ...status,
      isRolledBack: true,
      open: [{ partition: 0, n: 1, why, isOnlyCopy: false }],
    };
  }

  /** What the others are told of it. */
  get lossFacts(): { readonly lacking: number; readonly isRolledBack: boolean } {
    const { open, isRolledBack } = this.fills;
    return { lacking: open.length, isRolledBack };
  }

  #hasData(partition: number, n: number): boolean {
    return !this.#loss.isOpen && this.#fills.hasData(partition, n);
  }

  #counts(partition: number, n: number): boolean {
    const isWhole = this.standings.counts(partition, n) && this.#hasData(partition, n);
    return isWhole && !this.moves.lacks(partition, n);
  }

  /** A peer's state changed: what waits for it is tried. */
  wake(nodeId: string): void {
    const member = this.#parts.document.present.members.find((one) => one.nodeId === nodeId);
    if (member !== undefined) this.handoff.wake(member.storeId);
  }

  begin(): void {
    this.#repair.begin();
    this.moves.begin();
    this.#fills.begin();
  }

  async close(): Promise<void> {
    this.#seal.close();
    await this.#fills.close();
    await this.#loss.close();
    await this.#repair.close();
    await this.moves.close();
    await this.purge.close();
    await this.handoff.close();
  }

  #topology(): TopologyView {
    const { document, ring, identity } = this.#parts;
    if (this.#view.topology !== document.present) {
      this.#view = new TopologyView(document.present, ring, identity.nodeId);
    }
    return this.#view;
  }

  #notReady(partition: number, n: number): string | undefined {
    if (this.isSealed) return "a node is joining the cluster";
    const why = this.moves.notReady(partition, n);
    if (why !== undefined) return why;
    if (this.standings.of(partition) !== "asked") return undefined;
    return "it has started, and the other replicas have not told yet what they remember of it";
  }

  readonly #local: LocalPort = {
    write: (request, isOwn) => this.counted(() => this.replica.write(request, isOwn)),
    read: (request) => this.replica.read(request),
    coverStamp: (stamp) => this.#parts.store.coverStamp(stamp),
  };

  readonly #peerPort: PeerPort = {
    write: (nodeId, request, { timeoutMs }) =>
      this.#parts.cluster.peers.request(nodeId, request, timeoutMs).then(replyAs<WriteReply>),
    read: (nodeId, request, { timeoutMs }) =>
      this.#parts.cluster.peers.request(nodeId, request, timeoutMs).then(replyAs<ReadReply>),
    isUp: (nodeId) => this.#parts.cluster.isUp(nodeId),
  };

  async #answer(
    request: PeerRequest,
  ): Promise<{ readonly facts: ReplyFacts; readonly reply: PeerReply }> {
    const { budgets } = this.#parts;
    const bytes = request.kind === "write" ? request.record.length : 0;
    const budget = isCatchingUp(request) ? budgets?.hint : budgets?.replication;
    const refusal = budget?.admit(bytes);
    if (refusal !== undefined) return this.#overloaded(refusal.detail);
    try {
      // What it says of this node goes with it; the codec takes from both what the other has to know.
      const reply = await this.#ask(request);
      return { facts: reply.from, reply };
    } catch (error) {
      // In the words of a replica: whoever asks knows by them that nothing was written (P7).
      return { facts: this.replica.from(0, 1), reply: refusalOf(error) };
    } finally {
      budget?.leave(bytes);
    }
  }

  #overloaded(detail: string): { readonly facts: ReplyFacts; readonly reply: PeerReply } {
    this.#parts.report.count("peer_requests_refused");
    const facts = this.replica.from(0, 1);
    return { facts, reply: { kind: "refused", reason: "overloaded", detail } };
  }

  #ask(request: PeerRequest): Promise<Replied<WriteReply | ReadReply | ScanReply | DigestReply>> {
    switch (request.kind) {
      case "write":
        return this.counted(() => this.replica.write(request));
      case "read":
        return this.replica.read(request);
      case "scan":
        return this.replica.scan(request);
      case "digest":
        return this.replica.digest(request);
      default:
        throw new QuorateError("invalid-request", "The replica has no topics.", {});
    }
  }

  async #learn(document: unknown): Promise<void> {
    await this.#parts.cluster.agreement.learn(document);
  }
}

/** What a node sends to make up for what was missed, and nobody waits for. */
function isCatchingUp(request: PeerRequest): boolean {
  return request.kind === "write" && (request.source === "hint" || request.source === "repair");
}

/** A reply of the kind that was asked for; a node that answers otherwise runs something else. */
function replyAs<Reply>(reply: PeerReply & { readonly from: ReplyFrom }): Replied<Reply> {
  if (reply.kind === "said" || reply.kind === "failed") {
    throw new QuorateError("internal", "A node answered a request about a key with words.", {
      outcome: "unknown",
    });
  }
  return reply as unknown as Replied<Reply>;
}
