/**
 * Node running: a node whose store is open, and what it answers.
 *
 * It has no protocol of its own: requests about keys go to the coordinator, lists to the listing,
 * changes of the topology to whoever decides on them.
 *
 * Invariants
 * 1. A close waits for what is under way, here and of other nodes, then for the checkpoint, then gives
 *    the folder back.
 * 2. `clean` is written only after everything acknowledged is in the table.
 *
 * Effects: those of its parts.
 *
 * @module
 */

import type {
  Api,
  ClusterAnswer,
  ExplainAnswer,
  GetRequest,
  HintsAnswer,
  KeyPlace,
  Namespace,
  NamespacePolicy,
  NodeInfo,
  ProtocolAnswer,
  ReadyCheck,
  RepairAnswer,
  RepairRequest,
  RequestOptions,
  RingAnswer,
  WriteAnswer,
} from "./api.ts";
import { runBatch } from "./batch.ts";
import type { Cluster } from "./cluster.ts";
import { Coordinator } from "./coordinator.ts";
import { ClusterScan } from "./coordinator_scan.ts";
import type { Document } from "./document.ts";
import { QuorateError } from "./errors.ts";
import { whenNoHints } from "./handoff_wait.ts";
import type { Identity } from "./identity.ts";
import { Listing } from "./listing.ts";
import type { LoneWatermarks } from "./node_alone.ts";
import { readmission } from "./node_loss.ts";
import { isHeldElsewhere, programOf } from "./node_open.ts";
import {
  leaveMsMax,
  type NodeOptions,
  type PeerLink,
  type Queue,
  type QuorateNode,
} from "./node_options.ts";
import { NodePlans } from "./node_plans.ts";
import { NodePurge } from "./node_purge.ts";
import { repairAnswer } from "./node_repair_answer.ts";
import type { NodeReplicas } from "./node_replicas.ts";
import type { Ring } from "./ring.ts";
import type { Store } from "./store.ts";
import { droppedMax, type Topology } from "./topology.ts";
import { getN, keyPlace, ringAnswer } from "./topology_answer.ts";
import { withNamespace, withoutNamespace } from "./topology_namespaces.ts";
import {
  clusterAnswer,
  hintsAnswer,
  hintsTold,
  loadOf,
  protocolAnswer,
} from "./topology_status.ts";
import { noFence } from "./watermark.ts";

/** A node that goes delivers hints for so long at most. */
const hintsMsMax = 5000;
/** After so long everybody has told of a mark that was handed on. */
const markHandedMsMax = 3000;

export interface RunningParts {
  readonly options: NodeOptions;
  readonly identity: Identity;
  readonly document: Document;
  readonly ring: Ring;
  readonly store: Store;
  readonly unlock: () => Promise<void>;
  /** What it is among others; undefined: it is alone, and always will be. */
  readonly among?: { readonly cluster: Cluster; readonly replicas: NodeReplicas } | undefined;
  /** What it does where it is alone. */
  readonly alone?: Pick<LoneWatermarks, "promiseOf" | "close"> | undefined;
}

export class RunningNode implements QuorateNode {
  readonly name: string;
  readonly ended: Promise<QuorateError>;
  readonly get: Api["get"];
  readonly put: Api["put"];
  readonly delete: Api["delete"];
  readonly list: Api["list"];
  readonly count: Api["count"];
  readonly batch: Api["batch"];
  readonly moves: Api["moves"];
  readonly #parts: RunningParts;
  readonly #coordinator: Coordinator;
  readonly #startedAtMs: number;
  #isDraining = false;
  #underWayCount = 0;
  #tellIdle: () => void = () => {};
  readonly #purge: NodePurge;
  #closed: Promise<void> | undefined;
  #farewell: Promise<void> | undefined;

  constructor(parts: RunningParts) {
    const { options, identity, document, store } = parts;
    const { clock } = options;
    this.#parts = parts;
    this.#startedAtMs = clock.nowMs();
    this.name = identity.name;
    this.ended = store.ended;
    const topology = (): Topology => document.present;
    const { among, alone } = parts;
    const promises = among?.replicas ?? alone;
    const coordinator = new Coordinator({
      clock,
      nodeName: identity.name,
      replica: store,
      topology,
      promiseOf: (partition, n) => promises?.promiseOf(partition, n) ?? noFence.promise,
      ...(among === undefined ? {} : { cluster: among.replicas.coordinatorPorts }),
    });
    const listing = new Listing({
      clock,
      store,
      requests: coordinator,
      ...(among === undefined
        ? {}
        : {
            spread: (request) => {
              const job = coordinator.scanJob(request);
              return job === undefined ? undefined : new ClusterScan(among.replicas.scanPorts, job);
            },
          }),
    });
    const requests: Pick<Api, "get" | "put" | "delete" | "namespace"> = {
      namespace: (name) => coordinator.namespace(name),
      get: (request) => coordinator.get(request),
      put: (request) => this.#written(() => coordinator.put(request)),
      delete: (request) => this.#written(() => coordinator.delete(request)),
    };
    this.#coordinator = coordinator;
    this.moves =
      among === undefined
        ? undefined
        : new NodePlans({
            topology,
            ownNodeId: identity.nodeId,
            cluster: among.cluster,
            moves: among.replicas.moves,
            ownLoss: () => {
              const { lacking, isRolledBack } = among.replicas.lossFacts;
              return { lacking, rolledBack: isRolledBack ? 1 : 0 };
            },
            ownBytes: () => store.tally().bytes,
          });
    this.get = this.#counted(requests.get);
    this.put = this.#counted(requests.put);
    this.delete = this.#counted(requests.delete);
    this.list = this.#counted((request) => listing.list(request));
    this.count = this.#counted((request) => listing.count(request));
    this.batch = this.#counted((request) => runBatch({ clock, requests }, request));
    this.#purge =
      among?.replicas.purge ??
      new NodePurge({
        ...{ clock, report: options.report, store, topology, ownNodeId: identity.nodeId },
        purgedAt: () => 0,
        propose: (step) => document.change(step),
      });
    this.purgeDropped();
  }

  /** Begins to remove the records of namespaces that the topology calls deleted. */
  purgeDropped(): void {
    this.#purge.follow();
  }

  explain(request: GetRequest): Promise<ExplainAnswer> {
    const { partition } = this.place(request.namespace, request.key);
    return this.#underWay(() => this.#coordinator.explain(request, partition));
  }

  namespaces(): readonly Namespace[] {
    return this.#parts.document.present.namespaces;
  }

  namespace(name: string): Namespace {
    return this.#coordinator.namespace(name);
  }

  putNamespace(
    name: string,
    policy: Partial<NamespacePolicy>,
    whenNew?: Partial<NamespacePolicy>,
  ): Promise<Namespace> {
    return this.#underWay(async () => {
      const next = await this.#change((present) => withNamespace(present, name, policy, whenNew));
      // Not the present document: somebody else may have deleted it meanwhile.
      return next.namespaces.find((namespace) => namespace.name === name) as Namespace;
    });
  }

  deleteNamespace(name: string): Promise<void> {
    return this.#underWay(async () => {
      await this.#change((present) => withoutNamespace(present, name));
      this.purgeDropped();
    });
  }

  /** Alone, a node decides by itself; among others, they agree (T1). */
  #change(step: (present: Topology) => Topology | undefined): Promise<Topology> {
    const { among, document } = this.#parts;
    return among === undefined ? document.change(step) : among.cluster.agreement.change(step);
  }

  /** A write, unless a node is joining, for which writes wait (T7). */
  async #written(run: () => Promise<WriteAnswer>): Promise<WriteAnswer> {
    const { among, document, options } = this.#parts;
    // With others, the replica counts what it takes.
    const isAlone = among !== undefined && document.present.members.length === 1;
    const written = await (isAlone ? among.replicas.counted(run) : run());
    options.report.count("write_acknowledgements", written.replies);
    return written;
  }

  replicas(key: Uint8Array, count: number): readonly string[] {
    const { document, ring } = this.#parts;
    return getN(document.present, ring, 0, { key, count });
  }

  ring(): RingAnswer {
    return ringAnswer(this.#parts.document.present);
  }

  place(namespace: string, key: Uint8Array): KeyPlace {
    const { document, ring } = this.#parts;
    return keyPlace(document.present, ring, this.namespace(namespace), key);
  }

  async cluster(): Promise<ClusterAnswer> {
    const { options, identity, document, store, among } = this.#parts;
    const lost = among?.replicas.lossFacts;
    const load = loadOf({ ...store.tally(), disk: await options.disk.space(), hints: 0, ...lost });
    return clusterAnswer(document.present, {
      self: { nodeId: identity.nodeId, load },
      views: among?.cluster.view() ?? [],
      protocol: this.protocol(),
      hints: this.hints(),
    });
  }

  protocol(): ProtocolAnswer {
    const { among, document, options } = this.#parts;
    return (
      among?.cluster.protocol.answer() ??
      protocolAnswer(document.present, () => programOf(options.settings))
    );
  }

  /** A node that is alone has nobody to keep a write for. */
  hints(): HintsAnswer {
    const { options, document, among } = this.#parts;
    const tallies = among?.replicas.hints() ?? [];
    const marks = among?.replicas.repair.markCount ?? 0;
    const kept = { tallies, marks };
    return hintsAnswer(document.present.members, this.name, kept, options.clock.nowMs());
  }

  peerLinks(): readonly PeerLink[] {
    const { document, among } = this.#parts;
    const names = new Map(document.present.members.map(({ nodeId, name }) => [nodeId, name]));
    const links = among?.cluster.peers.status() ?? [];
    const queues = new Map(links.map(({ nodeId, queueBytes }) => [nodeId, queueBytes]));
    return (among?.cluster.view() ?? []).map(({ nodeId, phi }) => ({
      peer: names.get(nodeId) ?? nodeId,
      phi,
      queueBytes: queues.get(nodeId) ?? 0,
    }));
  }

  async whenNoHints(timeoutMs: number): Promise<HintsAnswer> {
    const { options, among } = this.#parts;
    const { clock } = options;
    let markedMs: number | undefined;
    const left = async (): Promise<number> => {
      if (this.#isDraining) throw new QuorateError("draining", "The node is shutting down.");
      const own = this.hints();
      const told = hintsTold(among?.cluster.view() ?? []);
      const marks = own.marks + told.marks;
      const nowMs = clock.monotonicMs();
      if (marks > 0) markedMs = nowMs;
      // One that was handed on is told of by its new keeper with the next heartbeat. What the others hold is known
      // here by heartbeats alone, so it is waited for these; `quorate hints wait` asks all, and looks once more.
      const mayBeHandedOn = markedMs !== undefined && nowMs - markedMs < markHandedMsMax;
      return own.count + told.count + Math.max(marks, mayBeHandedOn ? 1 : 0);
    };
    await whenNoHints({ clock, left }, timeoutMs);
    return this.hints();
  }

  /** A node that is alone has nobody to compare with. */
  repair(): RepairAnswer {
    const { document, among } = this.#parts;
    const { members } = document.present;
    const periodMs = among?.replicas.repairPeriodMs ?? 0;
    const wallMs = this.#parts.options.clock.nowMs();
    const facts = { node: this.name, periodMs, members, wallMs };
    return repairAnswer(facts, among?.replicas.repair.status(), among?.replicas.fills);
  }

  runRepair({ partition, namespace }: RepairRequest): number {
    const n = namespace === undefined ? undefined : this.namespace(namespace).policy.n;
    const { among, document } = this.#parts;
    if (partition !== undefined && partition >= document.present.partitions) {
      throw new QuorateError("invalid-request", `There is no partition ${partition}.`, {
        outcome: "none",
        hint: `This cluster has ${document.present.partitions}, numbered from 0.`,
      });
    }
    const isWanted = (visit: { readonly partition: number; readonly n: number }): boolean =>
      (partition === undefined || visit.partition === partition) &&
      (n === undefined || visit.n === n);
    return among?.replicas.repair.ask(isWanted) ?? 0;
  }

  queues(): readonly Queue[] {
    const { document, store, among } = this.#parts;
    return [
      { name: "memtable", ...store.memtable },
      { name: "deleted namespaces", held: document.present.dropped.length, max: droppedMax },
      ...(among?.replicas.queues() ?? []),
    ];
  }

  async info(): Promise<NodeInfo> {
    const { options, identity, document, store } = this.#parts;
    const { clusterId, epoch, partitions } = document.present;
    return {
      node: identity.name,
      version: options.settings.version,
      runtime: options.settings.runtime,
      clusterId,
      nodeId: identity.nodeId,
      storeId: identity.storeId,
      boot: identity.boot,
      epoch,
      partitions,
      startedAtMs: this.#startedAtMs,
      ...store.tally(),
      disk: await options.disk.space(),
      damagedPartitions: store.damagedPartitions,
    };
  }

  /** It serves from the first moment. */
  async started(): Promise<void> {}

  readiness(): readonly ReadyCheck[] {
    const { store } = this.#parts;
    const failure = store.failure;
    const damaged = store.damagedPartitions.length;
    return [
      failure === undefined
        ? { name: "store", ok: true }
        : { name: "store", ok: false, detail: failure.detail },
      // Reads and deletes go on: a full disk is told, and takes nothing out of service.
      store.isDiskLow
        ? { name: "disk", ok: true, detail: "nearly full: writes that grow are refused" }
        : { name: "disk", ok: true },
      damaged > 0
        ? {
            name: "data",
            ok: true,
            detail: `${damaged} partitions have lost records${this.#filling}`,
          }
        : { name: "data", ok: true },
      ...this.#clusterChecks(),
      this.#isDraining
        ? { name: "serving", ok: false, detail: "shutting down" }
        : { name: "serving", ok: true },
    ];
  }

  #clusterChecks(): readonly ReadyCheck[] {
    const { among } = this.#parts;
    if (among === undefined) return [];
    const { replicas, cluster } = among;
    if (cluster.hasLeft) {
      const detail =
        "it is no member of the cluster any more, and can be stopped; to be taken in again it needs an empty data folder";
      return [{ name: "replica", ok: false, detail }];
    }
    const { isRolledBack, open } = replicas.fills;
    const vote = `its store was rolled back: its vote is void until it is replaced${open.length > 0 ? ", once it has filled" : ""}: ${readmission(this.name)}`;
    const votes = isRolledBack ? [{ name: "vote", ok: true, detail: vote }] : [];
    if (isRolledBack && open.length > 0) {
      const detail = `the store was rolled back: ${open.length} partitions have no data yet${this.#filling}`;
      // What nobody else has waits for an operator; the rest of the node is of use meanwhile.
      const ok = replicas.isWhole && open.every(({ isOnlyCopy }) => isOnlyCopy);
      return [{ name: "replica", ok, detail }, ...votes];
    }
    const isWhole = replicas.isWhole;
    const detail = replicas.standings.isAsked
      ? "waits for another replica, which has to tell what it remembers of this store"
      : "compares what it holds with the other replicas";
    return [{ name: "replica", ok: isWhole, ...(isWhole ? {} : { detail }) }, ...votes];
  }

  /** Why what has no data has none yet. */
  get #filling(): string {
    const [first] = this.#parts.among?.replicas.fills.open ?? [];
    return first === undefined ? "" : `: ${first.why}`;
  }

  drain(): void {
    this.#isDraining = true;
  }

  async leave(timeoutMs: number): Promise<void> {
    const { among } = this.#parts;
    if (among === undefined) return;
    this.#farewell ??= this.#bringHints(among.replicas, Math.min(timeoutMs, hintsMsMax));
    await this.#farewell;
    await among.cluster.leave(timeoutMs);
  }

  /** What others have missed, and this node keeps, they get while it is still there. */
  async #bringHints({ handoff }: NodeReplicas, timeoutMs: number): Promise<void> {
    if (this.#underWayCount === 0) await this.#coordinator.settle();
    await handoff.deliverNow(timeoutMs);
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.drain();
    const { identity, document, store, unlock } = this.#parts;
    if (this.#underWayCount > 0) {
      await new Promise<void>((resolve) => {
        this.#tellIdle = resolve;
      });
    }
    this.#purge.end();
    const { among } = this.#parts;
    try {
      // The others are not cut off from what they have asked, nor ask a store that is going.
      await this.leave(leaveMsMax);
      // What was not answered by all is kept as hints before the store goes (H1).
      await this.#coordinator.settle();
      await this.#parts.alone?.close();
      // Among others the replicas close theirs.
      if (among === undefined) await this.#purge.close();
      await among?.replicas.close();
      await among?.cluster.close();
      await store.close();
      const isDamaged = store.damagedPartitions.length > 0 && isHeldElsewhere(document.present);
      if (store.isInTable) await identity.end(store.lastSequence, !isDamaged);
    } finally {
      await unlock();
    }
  }

  #counted<Request extends RequestOptions, Result>(
    run: (request: Request) => Promise<Result>,
  ): (request: Request) => Promise<Result> {
    return (request) => this.#underWay(() => run(request));
  }

  /** Counts what is under way, so that a close waits for it; refuses it once the node is closed. */
  #underWay<Result>(run: () => Promise<Result>): Promise<Result> {
    if (this.#parts.among?.cluster.hasLeft === true) {
      const detail = `Node '${this.name}' is no member of the cluster any more.`;
      const hint = "Ask another node. This one can be stopped.";
      return Promise.reject(new QuorateError("draining", detail, { outcome: "none", hint }));
    }
    if (this.#closed !== undefined) {
      const detail = `Node '${this.name}' is closed.`;
      return Promise.reject(new QuorateError("draining", detail, { outcome: "none" }));
    }
    this.#underWayCount += 1;
    const running = run();
    running.then(this.#onDone, this.#onDone);
    return running;
  }

  readonly #onDone = (): void => {
    this.#underWayCount -= 1;
    if (this.#underWayCount === 0) this.#tellIdle();
  };
}
