/**
 * Node cluster: a node that is among others, from its start until it serves.
 *
 * It can be reached from the first moment, because those who found a cluster, or vote, have to be. It
 * answers clients when it has come to a document, its store is open, and its start is registered.
 *
 *     lock -> identity -> links -> document? (found, join) -> table -> store -> registered -> serves
 *
 * Invariants
 * 1. Until it serves, everything that a client asks is refused with `not-ready` and what it waits for.
 * 2. What ends the start ends the node, with the reason.
 *
 * Effects: composes those of its parts. Source: rules T9, T10, I1, I2.
 *
 * @module
 */

import {
  type Api,
  type HintsAnswer,
  type KeyPlace,
  type Namespace,
  type NodeInfo,
  type ProtocolAnswer,
  type ReadyCheck,
  type RepairAnswer,
  type RepairRequest,
  type RingAnswer,
  timeoutMsMax,
} from "./api.ts";
import { toHex } from "./bytes.ts";
import { Cluster } from "./cluster.ts";
import { Document } from "./document.ts";
import { QuorateError } from "./errors.ts";
import { Identity } from "./identity.ts";
import {
  approachTable,
  checkDocument,
  checkPartitions,
  checkProtocol,
  missingTopology,
  openNodeStore,
  openNodeTable,
  programOf,
  tellOfOthers,
} from "./node_open.ts";
import {
  leaveMsMax,
  type NodeClusterOptions,
  type NodeOptions,
  type PeerAccept,
  type PeerLink,
  type Queue,
  type QuorateNode,
} from "./node_options.ts";
import { NodeReplicas } from "./node_replicas.ts";
import { RunningNode } from "./node_running.ts";
import { partitionsDefault, Ring } from "./ring.ts";
import type { Store } from "./store.ts";
import type { Table } from "./table.ts";
import { protocolOf, type Topology } from "./topology.ts";
import { genesis } from "./topology_steps.ts";

const hintBytesMaxDefault = 1024 * 1024 * 1024;
const hintAgeMaxMsDefault = 3 * 60 * 60 * 1000;
const hintBytesPerSecondDefault = 8 * 1024 * 1024;
const repairPeriodMsDefault = 10 * 60 * 1000;
const repairPartitionsMaxDefault = 2;
/** So many periods of repair lie between two rounds of a watermark. */
const watermarkPeriods = 6;
const repairBytesPerSecondDefault = 16 * 1024 * 1024;

/** Opens a node of a cluster: it is reachable when this resolves, and serves when it is ready. */
export async function openClusterNode(
  options: NodeOptions,
  cluster: NodeClusterOptions,
  unlock: () => Promise<void>,
): Promise<QuorateNode> {
  try {
    const { disk, random, settings } = options;
    const identity = await Identity.open(disk, random, settings.name);
    const program = programOf(settings);
    checkProtocol(identity.protocol, program);
    let document = await Document.find(disk);
    if (document === undefined && identity.boot > 0) throw missingTopology();
    if (document !== undefined) {
      checkDocument(document.present, identity, settings.partitions);
      checkProtocol(protocolOf(document.present), program);
    }
    const { peers, expect } = cluster.settings;
    if (document === undefined && peers.length === 0 && expect === undefined) {
      const first = clusterOfOne(options, cluster, identity);
      await identity.pledge(protocolOf(first));
      document = await Document.create(disk, first);
    }
    const node = await StartingNode.open({ options, cluster, identity, document, unlock });
    // One that waits for nobody serves at once, or says why it cannot.
    if (document?.present.members.length === 1) await node.started();
    return node;
  } catch (error) {
    await unlock().catch(() => {});
    throw error;
  }
}

interface StartingParts {
  readonly options: NodeOptions;
  readonly cluster: NodeClusterOptions;
  readonly identity: Identity;
  readonly document: Document | undefined;
  readonly unlock: () => Promise<void>;
}

class StartingNode implements QuorateNode {
  readonly name: string;
  readonly ended: Promise<QuorateError>;
  readonly accept: PeerAccept;
  readonly #parts: StartingParts;
  #document: Document | undefined;
  #cluster: Cluster | undefined;
  #running: RunningNode | undefined;
  #replicas: NodeReplicas | undefined;
  #isServing = false;
  #tellEnded: (error: QuorateError) => void = () => {};
  #failure: QuorateError | undefined;
  #starting: Promise<void> = Promise.resolve();
  #isDraining = false;
  #closed: Promise<void> | undefined;
  // Requests go to the running node without a step in between, once there is one.
  get: Api["get"] = () => this.#refuse();
  put: Api["put"] = () => this.#refuse();
  delete: Api["delete"] = () => this.#refuse();
  list: Api["list"] = () => this.#refuse();
  count: Api["count"] = () => this.#refuse();
  batch: Api["batch"] = () => this.#refuse();
  explain: Api["explain"] = () => this.#refuse();
  cluster: Api["cluster"] = () => this.#refuse();
  whenNoHints: Api["whenNoHints"] = () => this.#refuse();
  moves: Api["moves"] = {
    plan: () => this.#refuse(),
    apply: () => this.#refuse(),
    revert: () => this.#refuse(),
    moves: () => this.#served().moves?.moves() ?? { epoch: 0, waiting: [], next: "" },
  };
  putNamespace: Api["putNamespace"] = () => this.#refuse();
  deleteNamespace: Api["deleteNamespace"] = () => this.#refuse();

  private constructor(parts: StartingParts) {
    this.#parts = parts;
    this.#document = parts.document;
    this.name = parts.identity.name;
    this.ended = new Promise((settle) => {
      this.#tellEnded = settle;
    });
    this.accept = (stream) => this.#ownCluster.peers.accept(stream);
  }

  static async open(parts: StartingParts): Promise<StartingNode> {
    const node = new StartingNode(parts);
    const { options, cluster, identity } = parts;
    const { clock, random, disk, report, settings } = options;
    const { nodeId, storeId, name } = identity;
    node.#cluster = await Cluster.open({
      clock,
      random,
      disk,
      report,
      network: cluster.network,
      settings: cluster.settings,
      partitions: settings.partitions ?? partitionsDefault,
      self: { nodeId, storeId, name },
      boot: () => identity.boot,
      program: programOf(settings),
      pledge: (protocol) => identity.pledge(protocol),
      document: () => node.#document,
      checkJoin: (topology) => checkPartitions(topology, settings.partitions),
      create: async (topology) => {
        await identity.pledge(protocolOf(topology));
        node.#document = await Document.create(disk, topology);
      },
      onDocument: () => node.#running?.purgeDropped(),
      onOutdated: (error) => node.#end(error),
    });
    node.#starting = node.#start().catch((error: unknown) => {
      node.#end(QuorateError.from(error));
    });
    return node;
  }

  /** Resolves when the node serves. @throws why it cannot */
  async started(): Promise<void> {
    await this.#starting;
    if (this.#failure === undefined) return;
    await this.#running?.close().catch(() => {});
    throw this.#failure;
  }

  get #ownCluster(): Cluster {
    if (this.#cluster !== undefined) return this.#cluster;
    throw new QuorateError("not-ready", "The node is starting.", { outcome: "none" });
  }

  async #start(): Promise<void> {
    const cluster = this.#ownCluster;
    if (!(await cluster.enter())) return;
    const document = this.#document;
    if (document === undefined || this.#closed !== undefined) return;
    const replicas = await this.#openStore(document);
    await cluster.begin(replicas.serving);
    replicas.begin();
    this.#serve();
  }

  /** Opens what the document says, and makes the running node of it. */
  async #openStore(document: Document): Promise<NodeReplicas> {
    const { options, identity, unlock } = this.#parts;
    const cluster = this.#ownCluster;
    checkDocument(document.present, identity, options.settings.partitions);
    const { clusterId, partitions } = document.present;
    const ring = new Ring(clusterId, partitions);
    await approachTable(options, identity, document.present);
    let table: Table | undefined;
    let store: Store | undefined;
    try {
      table = await openNodeTable(options, identity, document.present);
      store = await openNodeStore(options, identity, { document, ring, table });
      await identity.begin(store.lastSequence);
      const replicas = await this.#openReplicas(document, ring, store);
      const among = { cluster, replicas };
      this.#running = new RunningNode({ options, identity, document, ring, store, unlock, among });
      this.#replicas = replicas;
    } catch (error) {
      await (store ?? table)?.close().catch(() => {});
      throw tellOfOthers(error, document.present);
    }
    // From here on the running node owns the store, and its end is this one's.
    void this.#running.ended.then((error) => this.#end(error));
    if (this.#isDraining) this.#running.drain();
    return this.#replicas;
  }

  #openReplicas(document: Document, ring: Ring, store: Store): Promise<NodeReplicas> {
    const { options, cluster, identity } = this.#parts;
    const { clock, random, report, disk } = options;
    return NodeReplicas.open({
      ...{ clock, random, report, disk, identity, document, ring, store },
      cluster: this.#ownCluster,
      limits: {
        hintBytesMax: cluster.hintBytesMax ?? hintBytesMaxDefault,
        hintAgeMaxMs: cluster.hintAgeMaxMs ?? hintAgeMaxMsDefault,
        hintBytesPerSecond: cluster.hintBytesPerSecond ?? hintBytesPerSecondDefault,
        moveBytesPerSecond: cluster.moveBytesPerSecond,
      },
      repair: {
        periodMs: cluster.repairPeriodMs ?? repairPeriodMsDefault,
        // A round, and what it allows to be dropped, costs a walk over the partition.
        watermarkPeriodMs:
          cluster.watermarkPeriodMs ??
          watermarkPeriods * (cluster.repairPeriodMs ?? repairPeriodMsDefault),
        partitionsMax: cluster.repairPartitionsMax ?? repairPartitionsMaxDefault,
        bytesPerSecond: cluster.repairBytesPerSecond ?? repairBytesPerSecondDefault,
        lagMs: cluster.requestMsMax ?? timeoutMsMax,
      },
      budgets: cluster.budgets,
      acceptDataLoss: options.settings.acceptDataLoss === true,
    });
  }

  #serve(): void {
    const running = this.#running;
    if (running === undefined || this.#closed !== undefined) return;
    this.get = (request) => running.get(request);
    this.put = (request) => running.put(request);
    this.delete = (request) => running.delete(request);
    this.list = (request) => running.list(request);
    this.count = (request) => running.count(request);
    this.batch = (request) => running.batch(request);
    this.explain = (request) => running.explain(request);
    this.cluster = () => running.cluster();
    this.whenNoHints = (timeoutMs) => running.whenNoHints(timeoutMs);
    this.moves = running.moves;
    this.putNamespace = (...asked) => running.putNamespace(...asked);
    this.deleteNamespace = (name) => running.deleteNamespace(name);
    this.#isServing = true;
    this.#parts.options.report.log("info", "The node serves.", {});
  }

  namespaces(): readonly Namespace[] {
    return this.#served().namespaces();
  }

  namespace(name: string): Namespace {
    return this.#served().namespace(name);
  }

  replicas(key: Uint8Array, count: number): readonly string[] {
    return this.#served().replicas(key, count);
  }

  ring(): RingAnswer {
    return this.#served().ring();
  }

  place(namespace: string, key: Uint8Array): KeyPlace {
    return this.#served().place(namespace, key);
  }

  protocol(): ProtocolAnswer {
    return this.#served().protocol();
  }

  hints(): HintsAnswer {
    return this.#served().hints();
  }

  repair(): RepairAnswer {
    return this.#served().repair();
  }

  runRepair(request: RepairRequest): number {
    return this.#served().runRepair(request);
  }

  peerLinks(): readonly PeerLink[] {
    return this.#isServing ? (this.#running?.peerLinks() ?? []) : [];
  }

  async info(): Promise<NodeInfo> {
    if (this.#running !== undefined) return this.#running.info();
    const { options, identity } = this.#parts;
    const { version, runtime, partitions } = options.settings;
    const present = this.#document?.present;
    return {
      node: identity.name,
      version,
      runtime,
      clusterId: present?.clusterId ?? "",
      nodeId: identity.nodeId,
      storeId: identity.storeId,
      boot: identity.boot,
      epoch: present?.epoch ?? 0,
      partitions: present?.partitions ?? partitions ?? partitionsDefault,
      startedAtMs: options.clock.nowMs(),
      keys: 0,
      bytes: 0,
      disk: await options.disk.space(),
      damagedPartitions: [],
    };
  }

  queues(): readonly Queue[] {
    return this.#running?.queues() ?? [];
  }

  readiness(): readonly ReadyCheck[] {
    const checks = this.#running?.readiness() ?? [];
    if (this.#isServing && this.#failure === undefined) {
      return [...checks, { name: "cluster", ok: true }];
    }
    return [...checks, { name: "cluster", ok: false, detail: this.#waitingFor }];
  }

  drain(): void {
    this.#isDraining = true;
    this.#running?.drain();
  }

  async leave(timeoutMs: number): Promise<void> {
    // One that serves brings the others what they have missed first.
    await (this.#isServing ? this.#running : this.#cluster)?.leave(timeoutMs);
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.drain();
    // A running node closes the cluster when what is under way has ended.
    if (this.#isServing) await this.#running?.close();
    else {
      await this.leave(leaveMsMax);
      await this.#cluster?.close();
    }
    await this.#starting;
    if (this.#running === undefined) await this.#parts.unlock();
    else await this.#running.close();
  }

  #end(error: QuorateError): void {
    if (this.#failure !== undefined || this.#closed !== undefined) return;
    this.#failure = error;
    this.#tellEnded(error);
  }

  #served(): RunningNode {
    if (this.#isServing && this.#running !== undefined) return this.#running;
    throw this.#notReady();
  }

  #refuse(): Promise<never> {
    return Promise.reject(this.#notReady());
  }

  get #waitingFor(): string {
    return this.#failure?.detail ?? this.#cluster?.waitingFor ?? "The node is starting.";
  }

  get #hint(): string {
    const takingIn = this.#cluster?.takingIn;
    return takingIn === undefined
      ? "Ask another node, or this one again in a moment; /readyz?verbose says what it waits for."
      : `Ask another node, and have this one taken in: ${takingIn}, at a member; /readyz?verbose says what it waits for.`;
  }

  #notReady(): QuorateError {
    const { name } = this;
    if (this.#closed !== undefined) {
      return new QuorateError("draining", `Node '${name}' is closed.`, { outcome: "none" });
    }
    return new QuorateError("not-ready", `Node '${name}' does not serve yet. ${this.#waitingFor}`, {
      outcome: "none",
      retryAfterSeconds: 1,
      hint: this.#hint,
    });
  }
}

/** The first document of a node that names no others (T10). */
function clusterOfOne(
  { random, report, settings }: NodeOptions,
  cluster: NodeClusterOptions,
  { nodeId, storeId, name }: Identity,
): Topology {
  const clusterId = toHex(random.bytes(16));
  report.log("warn", "No cluster was named: this node makes a cluster of one.", { clusterId });
  const { addresses, clientUrl, zone, host, weight } = cluster.settings;
  return genesis(clusterId, settings.partitions ?? partitionsDefault, {
    ...{ nodeId, storeId, name, addresses, program: programOf(settings) },
    ...(clientUrl === undefined ? {} : { clientUrl }),
    ...(zone === undefined ? {} : { zone }),
    ...(host === undefined ? {} : { host }),
    ...(weight === undefined ? {} : { weight }),
  });
}
