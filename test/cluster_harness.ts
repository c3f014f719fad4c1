/**
 * ClusterHarness: several replicas and coordinators on real stores, with a network between them that
 * the test cuts, slows and damages.
 *
 * Every node has its own clock, disk and table. All of them are replicas of every key; a test changes
 * the epoch, what counts and what is ready. Hints are collected, not delivered.
 *
 * @module
 */

import { SimClock } from "../sim/clock.ts";
import { SimDisk } from "../sim/disk.ts";
import { SimRandom } from "../sim/random.ts";
import type { GetAnswer, WriteAnswer } from "../src/api.ts";
import { utf8Bytes } from "../src/bytes.ts";
import { silentReport } from "../src/capability.ts";
import { Coordinator } from "../src/coordinator.ts";
import { Latencies } from "../src/coordinator_latency.ts";
import type { KeptHint, ReplicaNode, Replied } from "../src/coordinator_ports.ts";
import { ClusterScan } from "../src/coordinator_scan.ts";
import { Deadlines } from "../src/deadlines.ts";
import { QuorateError } from "../src/errors.ts";
import type { Hlc } from "../src/hlc.ts";
import { Listing } from "../src/listing.ts";
import type {
  ReadReply,
  ReadRequest,
  ScanReply,
  ScanRequest,
  WriteReply,
  WriteRequest,
} from "../src/quorum_message.ts";
import { encodeRecord, recordBytes, type StoredRecord } from "../src/record.ts";
import { Replica } from "../src/replica.ts";
import { Ring } from "../src/ring.ts";
import { Store } from "../src/store.ts";
import { MemoryTableDisk } from "../src/table_memory.ts";
import type { Topology } from "../src/topology.ts";
import { genesis, memberOf } from "../src/topology_steps.ts";
import { adopted, type Fence, noFence, promised } from "../src/watermark.ts";
import { requestId, smallSettings } from "./store_harness.ts";

const clusterId = "c".repeat(32);
const partitions = 4;

/** What the network does to a request: `ok`; no link; sent, and no answer ever; answered after so long. */
export type Link = "ok" | "no link" | "silent" | { readonly delayMs: number };

/** What a test may change of a node while it runs. */
export interface NodeState {
  epoch: number;
  /** The epoch of every partition's last change. */
  changedAt: number;
  counts: boolean;
  notReady: string | undefined;
  fence: Fence;
  /** Names of the replicas of every key. */
  replicas: readonly string[];
  /** Names of the members; all by default. */
  members?: readonly string[];
  /** While all keys move: the other set. */
  other?: readonly string[];
  isUp: boolean;
}

export class ClusterNode {
  readonly name: string;
  readonly nodeId: string;
  readonly storeId: string;
  readonly wall: SimClock;
  readonly state: NodeState;
  readonly hints: KeptHint[] = [];
  readonly asked: string[] = [];
  /** What the next writes wait for, instead of the own log. */
  readonly covering: Promise<void>[] = [];
  /** Stores whose partition is to be compared soon. */
  readonly suspected: string[] = [];
  readonly store: Store;
  readonly replica: Replica;
  readonly coordinator: Coordinator;
  readonly listing: Listing;

  constructor(cluster: Cluster, index: number, store: Store, wall: SimClock) {
    this.name = `n${index + 1}`;
    this.nodeId = `${index + 1}`.repeat(32);
    this.storeId = "abcdefgh".charAt(index).repeat(32);
    this.wall = wall;
    this.store = store;
    const { ring } = cluster;
    this.state = {
      epoch: 1,
      changedAt: 1,
      counts: true,
      notReady: undefined,
      fence: { promise: 0n as Hlc, watermark: 0n as Hlc },
      replicas: cluster.names,
      isUp: true,
    };
    const { state } = this;
    this.replica = new Replica({
      clock: wall,
      report: silentReport,
      store,
      self: { nodeId: this.nodeId, storeId: this.storeId, boot: 1 },
      topology: () => ({
        epoch: state.epoch,
        partitionOf: (namespaceNumber, key) => ring.place(namespaceNumber, key).partition,
        changedAt: () => state.changedAt,
        isReplica: (_, __, use) =>
          state.replicas.includes(this.name) ||
          (use === "write" && state.other?.includes(this.name) === true),
        document: () => ({ epoch: state.epoch, replicas: state.replicas }),
      }),
      learn: async (epoch) => {
        const newest = cluster.newest();
        if (newest.epoch < epoch) throw new Error("nobody has it");
        this.learn(newest);
      },
      notReady: () => state.notReady,
      counts: () => state.counts,
      sequenceBase: () => 0,
      fences: {
        of: () => state.fence,
        kept: () => state.fence,
        promise: async (_, __, stamp) => {
          state.fence = promised(state.fence, stamp);
        },
        adopt: async (_, __, stamp) => {
          state.fence = adopted(state.fence, stamp);
        },
      },
    });
    this.coordinator = new Coordinator({
      clock: wall,
      nodeName: this.name,
      replica: store,
      topology: () => cluster.topologyFor(state),
      promiseOf: () => noFence.promise,
      cluster: {
        report: silentReport,
        nodeId: this.nodeId,
        local: {
          write: (request, isOwn) => {
            this.asked.push(`${this.name} ${request.source}`);
            return this.replica.write(request, isOwn);
          },
          read: (request) => {
            this.asked.push(`${this.name} ${request.wants}`);
            return this.replica.read(request);
          },
          coverStamp: (stamp) => this.covering.shift() ?? store.coverStamp(stamp),
        },
        peers: {
          write: (nodeId, request) => cluster.carryWrite(this, nodeId, request),
          read: (nodeId, request) => cluster.carryRead(this, nodeId, request),
          isUp: (nodeId) => cluster.byId(nodeId).state.isUp,
        },
        hints: {
          keep: async (hint) => {
            this.hints.push(hint);
          },
          suspect: (_partition, _n, storeId) => {
            this.suspected.push(storeId);
          },
        },
        place: (namespaceNumber, key, n) => ({
          epoch: state.epoch,
          partition: ring.place(namespaceNumber, key).partition,
          replicas: state.replicas.slice(0, n).map((name): ReplicaNode => cluster.node(name)),
          ...(state.other === undefined
            ? {}
            : { other: state.other.slice(0, n).map((name): ReplicaNode => cluster.node(name)) }),
        }),
        learn: async (document) => {
          this.learn(document as { readonly epoch: number; readonly replicas: readonly string[] });
        },
      },
    });
    const { replica, coordinator } = this;
    const scanPorts = {
      clock: wall,
      deadlines: new Deadlines(wall),
      latencies: new Latencies(),
      nodeId: this.nodeId,
      partitions,
      tableKey: (partition: number, namespaceNumber: number, key: Uint8Array) =>
        store.tableKey(partition, namespaceNumber, key),
      replicasOf: (_: number, n: number) => ({
        epoch: state.epoch,
        replicas: state.replicas.slice(0, n).map((name): ReplicaNode => cluster.node(name)),
      }),
      local: { scan: (request: ScanRequest) => replica.scan(request) },
      peers: {
        scan: (nodeId: string, request: ScanRequest) => cluster.carryScan(this, nodeId, request),
        isUp: (nodeId: string) => cluster.byId(nodeId).state.isUp,
      },
      learn: async (document: unknown) => {
        this.learn(document as { readonly epoch: number; readonly replicas: readonly string[] });
      },
      observeMs: (judgedMs: number) => store.mint.observeMs(judgedMs),
    };
    this.listing = new Listing({
      clock: wall,
      store,
      requests: coordinator,
      spread: (request) => {
        const job = coordinator.scanJob(request);
        return job === undefined ? undefined : new ClusterScan(scanPorts, job);
      },
    });
  }

  async keys(options: object = {}): Promise<string[]> {
    const { items } = await this.listing.list({ namespace: "default", requestId, ...options });
    return items.map(({ key }) => Buffer.from(key).toString());
  }

  learn(document: { readonly epoch: number; readonly replicas: readonly string[] }): void {
    if (document.epoch <= this.state.epoch) return;
    this.state.epoch = document.epoch;
    this.state.changedAt = document.epoch;
    this.state.replicas = document.replicas;
  }

  put(key: string, value: string, options: object = {}): Promise<WriteAnswer> {
    return this.coordinator.put({
      namespace: "default",
      requestId,
      key: utf8Bytes(key),
      value: utf8Bytes(value),
      contentType: "text/plain",
      meta: [],
      ...options,
    });
  }

  delete(key: string, options: object = {}): Promise<WriteAnswer> {
    return this.coordinator.delete({
      namespace: "default",
      requestId,
      key: utf8Bytes(key),
      ...options,
    });
  }

  get(key: string, options: object = {}): Promise<GetAnswer> {
    return this.coordinator.get({
      namespace: "default",
      requestId,
      key: utf8Bytes(key),
      ...options,
    });
  }

  async value(key: string, options: object = {}): Promise<string | undefined> {
    const { record } = await this.get(key, options);
    return record === undefined ? undefined : Buffer.from(record.value).toString();
  }

  /** What its own store holds, without a coordinator. */
  async held(key: string): Promise<string | undefined> {
    const stored = await this.store.get(0, utf8Bytes(key), "fsync");
    if (stored === undefined) return undefined;
    return stored.tombstone ? "(deleted)" : Buffer.from(stored.value).toString();
  }

  /** Puts a record into its store alone. */
  async plant(key: string, record: StoredRecord): Promise<void> {
    const bytes = new Uint8Array(recordBytes(record));
    encodeRecord(record, { namespaceNumber: 0, key: utf8Bytes(key) }, bytes, 0);
    await this.store.writeEncoded({
      namespaceNumber: 0,
      key: utf8Bytes(key),
      record: bytes,
      durability: "fsync",
      isVital: false,
    });
  }
}

export class Cluster {
  readonly names: readonly string[];
  readonly ring = new Ring(clusterId, partitions);
  readonly nodes: ClusterNode[] = [];
  readonly #links = new Map<string, Link>();
  /** Turns a reply before it arrives. */
  damage: <Reply>(to: string, reply: Reply) => Reply = (_, reply) => reply;

  private constructor(count: number) {
    this.names = Array.from({ length: count }, (_, index) => `n${index + 1}`);
  }

  static async open(count: number, skewsMs: readonly number[] = []): Promise<Cluster> {
    const cluster = new Cluster(count);
    for (let index = 0; index < count; index += 1) {
      const wall = new SimClock(1_700_000_000_000 + (skewsMs[index] ?? 0));
      const store = await Store.open({
        clock: wall,
        random: new SimRandom(index + 1),
        disk: new SimDisk(),
        report: silentReport,
        table: await new MemoryTableDisk().open(),
        ring: cluster.ring,
        settings: smallSettings,
        owner: {
          storeId: "f".repeat(32),
          clusterId,
          storeIdBytes: new Uint8Array(16).fill(index + 1),
          origin: BigInt(index + 1),
          sequence: 0,
          needsLog: false,
          renewOrigin: async () => BigInt(wall.nowMs()) * 16n + BigInt(index),
          trusted: async () => {},
        },
      });
      cluster.nodes.push(new ClusterNode(cluster, index, store, wall));
    }
    return cluster;
  }

  async close(): Promise<void> {
    for (const { coordinator } of this.nodes) await coordinator.settle();
    for (const { store } of this.nodes) await store.close();
  }

  node(name: string): ClusterNode {
    return this.nodes[this.names.indexOf(name)] as ClusterNode;
  }

  byId(nodeId: string): ClusterNode {
    return this.nodes.find((node) => node.nodeId === nodeId) as ClusterNode;
  }

  newest(): { readonly epoch: number; readonly replicas: readonly string[] } {
    return this.nodes.map(({ state }) => state).sort((a, b) => b.epoch - a.epoch)[0] as NodeState;
  }

  /** What requests from one node to another meet; both ways share a word. */
  link(from: string, to: string, link: Link): void {
    this.#links.set(`${from} ${to}`, link);
  }

  /** Nobody reaches it, and it reaches nobody. */
  cut(name: string, link: Link = "no link"): void {
    for (const other of this.names) {
      this.link(name, other, link);
      this.link(other, name, link);
    }
  }

  heal(): void {
    this.#links.clear();
  }

  /** Time passes for all. */
  async advance(byMs: number): Promise<void> {
    for (const { wall } of this.nodes) await wall.advance(byMs);
  }

  topologyFor({ epoch, replicas, members: names = this.names }: NodeState): Topology {
    const members = names.map((name) => {
      const { nodeId, storeId } = this.node(name);
      return memberOf({ nodeId, storeId, name });
    });
    const one = genesis(clusterId, partitions, members[0] as (typeof members)[0]);
    const row = replicas.map((name) => names.indexOf(name));
    return { ...one, epoch, members, replicas: one.replicas.map(() => row) };
  }

  async carryScan(
    from: ClusterNode,
    nodeId: string,
    request: ScanRequest,
  ): Promise<Replied<ScanReply>> {
    const to = this.byId(nodeId);
    from.asked.push(`${to.name} scan`);
    return this.#carry(from, to, () => to.replica.scan(request));
  }

  async carryWrite(
    from: ClusterNode,
    nodeId: string,
    request: WriteRequest,
  ): Promise<Replied<WriteReply>> {
    const to = this.byId(nodeId);
    from.asked.push(`${to.name} ${request.source}`);
    return this.#carry(from, to, () =>
      to.replica.write({ ...request, record: request.record.slice() }),
    );
  }

  async carryRead(
    from: ClusterNode,
    nodeId: string,
    request: ReadRequest,
  ): Promise<Replied<ReadReply>> {
    const to = this.byId(nodeId);
    from.asked.push(`${to.name} ${request.wants}`);
    return this.#carry(from, to, () => to.replica.read(request));
  }

  async #carry<Reply>(
    from: ClusterNode,
    to: ClusterNode,
    run: () => Promise<Reply>,
  ): Promise<Reply> {
    const link = this.#links.get(`${from.name} ${to.name}`) ?? "ok";
    if (link === "no link") {
      throw new QuorateError("not-ready", `There is no link to ${to.name}.`, { outcome: "none" });
    }
    if (link === "silent") return new Promise(() => {});
    const reply = this.damage(to.name, await run());
    if (link === "ok") return reply;
    await new Promise<void>((resolve) => from.wall.after(link.delayMs, resolve));
    return reply;
  }
}
