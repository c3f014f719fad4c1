/**
 * Node: one Quorate node, composed of its parts.
 *
 * It has no protocol of its own: it opens the folder, gives every part the capabilities and ports
 * that it needs, and closes them in the reverse order. It knows no edge, so that the simulator can
 * run it as it is.
 *
 *     lock the folder -> identity -> topology -> count the attempt -> table -> store -> serve
 *
 * Invariants
 * 1. Nothing in the folder is touched without its lock.
 * 2. A start that fails closes what it opened and releases the folder.
 * 3. `clean` is written only after everything acknowledged is in the table.
 *
 * Effects: composes those of its parts. Source: rules T10, I1, I2.
 *
 * @module
 */

import type {
  Api,
  Namespace,
  NamespacePolicy,
  NodeInfo,
  ReadyCheck,
  RequestOptions,
} from "./api.ts";
import { runBatch } from "./batch.ts";
import { emptyBytes, successor, toHex } from "./bytes.ts";
import { type Clock, type Disk, type Random, type Report, systemErrorCode } from "./capability.ts";
import { Coordinator } from "./coordinator.ts";
import { Document } from "./document.ts";
import { QuorateError } from "./errors.ts";
import { Identity } from "./identity.ts";
import { Listing } from "./listing.ts";
import { isPartitionCount, partitionsDefault, partitionsMax, Ring } from "./ring.ts";
import { Store } from "./store.ts";
import type { Table } from "./table.ts";
import {
  genesis,
  type Topology,
  withNamespace,
  withoutDropped,
  withoutNamespace,
} from "./topology.ts";

export interface NodeOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly disk: Disk;
  readonly report: Report;
  /** Opens the table in the data folder; called once, after the folder is locked. */
  readonly openTable: () => Promise<Table>;
  /**
   * Reads the whole table where it can do no harm, in another process: called before `openTable` when
   * the last starts did not end in order. Answers whether it is as it should be; rejects with
   * `corruption` when opening it would end this process.
   */
  readonly verifyTable?: () => Promise<boolean>;
  readonly settings: NodeSettings;
}

export interface NodeSettings {
  /** The node's name, 1 to 64 of a-z, 0-9, `-`, `_`, `.`; undefined: as at the first start, or `n1`. */
  readonly name?: string;
  /** A power of two up to 1,024; fixed at the first start. Default 256. */
  readonly partitions?: number;
  /** The version of the program, for `/v1/info`. */
  readonly version: string;
  /** For example `node 24.9.0`. */
  readonly runtime: string;
  /** A WAL segment's size. Default 64 MiB. */
  readonly segmentBytes?: number;
  /** A checkpoint begins when the memtable holds so much. Default 16 MiB. */
  readonly memtableBytesMax?: number;
  /** Below so much free space, growing writes are refused. Default 256 MiB. */
  readonly diskReserveBytes?: number;
  /** How fast the scrub reads, in bytes a second. Default 8 MiB; 0 switches it off. */
  readonly scrubBytesPerSecond?: number;
  /** Serves what can still be read of a damaged folder, where it would refuse to start. */
  readonly acceptDataLoss?: boolean;
}

/** A running node. */
export interface QuorateNode extends Api {
  readonly name: string;
  /** Settles (never rejects) when the store has ended by itself, with the reason. */
  readonly ended: Promise<QuorateError>;
  /** Not ready from now on; what is under way goes on. */
  drain(): void;
  /** Waits for what is under way, checkpoints, releases the folder. Idempotent. */
  close(): Promise<void>;
}

const noSpaceCodes: ReadonlySet<string> = new Set(["ENOSPC", "EDQUOT"]);
/** From this attempt on, with no orderly end in between, the table is not opened unseen (D6). */
const uncleanStartsMax = 3;
/** So many keys of a deleted namespace are removed at a time. */
const purgePieceCount = 500;
/** A removal that found no room goes on after so long. */
const purgeRetryMs = 60_000;

/** Opens a node on its data folder; rejects with a `QuorateError` that says why it cannot. */
export async function openNode(options: NodeOptions): Promise<QuorateNode> {
  try {
    return await openLocked(options);
  } catch (error) {
    if (!noSpaceCodes.has(systemErrorCode(error) ?? "")) throw error;
    throw new QuorateError("disk-full", "The disk has no room for what a start has to write.", {
      outcome: "none",
      hint: "Free some space (a few MiB will do) and start again; everything acknowledged is kept.",
      cause: error,
    });
  }
}

async function openLocked(options: NodeOptions): Promise<QuorateNode> {
  const unlock = await options.disk.lock();
  let table: Table | undefined;
  let store: Store | undefined;
  try {
    const identity = await Identity.open(options.disk, options.random, options.settings.name);
    const document = await openDocument(options, identity);
    const ring = new Ring(document.present.clusterId, document.present.partitions);
    await approachTable(options, identity);
    table = await options.openTable();
    store = await openStore(options, identity, document, { ring, table });
    await identity.begin(store.lastSequence);
    return new RunningNode({ options, identity, document, ring, store, unlock });
  } catch (error) {
    // The store closes its table; one that did not open left it to us.
    await (store ?? table)?.close().catch(() => {});
    await unlock();
    throw error;
  }
}

/** A damaged table can end the process: a start counts itself first, and looks after a few of these. */
async function approachTable(options: NodeOptions, identity: Identity): Promise<void> {
  await identity.attempt();
  const { uncleanStarts } = identity;
  if (uncleanStarts < uncleanStartsMax || options.verifyTable === undefined) return;
  options.report.log("warn", "The last starts did not end in order: the table is verified first.", {
    uncleanStarts,
  });
  if (await options.verifyTable()) await identity.trusted();
}

/** The topology of the folder; a node without one makes a cluster of one (T10). */
async function openDocument(options: NodeOptions, identity: Identity): Promise<Document> {
  const { disk, random, report, settings } = options;
  const { partitions } = settings;
  if (partitions !== undefined && !isPartitionCount(partitions)) {
    throw new QuorateError("invalid-config", `partitions is ${partitions}.`, {
      hint: `It is a power of two from 1 to ${partitionsMax}.`,
    });
  }
  const { nodeId, storeId, name } = identity;
  const document = await Document.open(disk, () => {
    if (identity.boot > 0) {
      throw new QuorateError(
        "corruption",
        "The data folder was in use before, and its topology (topology.a, topology.b) is missing.",
        { hint: "Restore these two files from a copy: without them no key can be found." },
      );
    }
    const clusterId = toHex(random.bytes(16));
    report.log("warn", "No cluster was named: this node makes a cluster of one.", { clusterId });
    return genesis(clusterId, partitions ?? partitionsDefault, { nodeId, storeId, name });
  });
  const { present } = document;
  if (!present.members.some((member) => member.storeId === storeId && member.nodeId === nodeId)) {
    throw new QuorateError(
      "wrong-data-folder",
      "The topology in the data folder names another store: files of two folders were mixed.",
      { hint: "Put back the folder as it was." },
    );
  }
  if (partitions !== undefined && partitions !== present.partitions) {
    throw new QuorateError(
      "invalid-config",
      `partitions is ${partitions}, and this cluster was made with ${present.partitions}.`,
      { hint: "The number is fixed when a cluster is made. Leave the setting out." },
    );
  }
  return document;
}

function openStore(
  options: NodeOptions,
  identity: Identity,
  document: Document,
  { ring, table }: { readonly ring: Ring; readonly table: Table },
): Promise<Store> {
  const { clock, random, disk, report, settings } = options;
  return Store.open({
    clock,
    random,
    disk,
    report,
    table,
    ring,
    settings,
    owner: {
      storeId: identity.storeId,
      clusterId: document.present.clusterId,
      storeIdBytes: identity.storeIdBytes,
      origin: identity.origin,
      sequence: identity.sequence,
      needsLog: identity.boot > 0 && !identity.clean,
      renewOrigin: () => identity.renewOrigin(random),
      trusted: () => identity.trusted(),
    },
  });
}

interface Parts {
  readonly options: NodeOptions;
  readonly identity: Identity;
  readonly document: Document;
  readonly ring: Ring;
  readonly store: Store;
  readonly unlock: () => Promise<void>;
}

class RunningNode implements QuorateNode {
  readonly name: string;
  readonly ended: Promise<QuorateError>;
  readonly get: Api["get"];
  readonly put: Api["put"];
  readonly delete: Api["delete"];
  readonly list: Api["list"];
  readonly count: Api["count"];
  readonly batch: Api["batch"];
  readonly #parts: Parts;
  readonly #coordinator: Coordinator;
  readonly #startedAtMs: number;
  #isDraining = false;
  #underWayCount = 0;
  #tellIdle: () => void = () => {};
  #purging: Promise<void> = Promise.resolve();
  #closed: Promise<void> | undefined;

  constructor(parts: Parts) {
    const { options, identity, document, store } = parts;
    const { clock } = options;
    this.#parts = parts;
    this.#startedAtMs = clock.nowMs();
    this.name = identity.name;
    this.ended = store.ended;
    const topology = (): Topology => document.present;
    const coordinator = new Coordinator({
      clock,
      nodeName: identity.name,
      replica: store,
      topology,
    });
    const listing = new Listing({ clock, store, requests: coordinator });
    this.#coordinator = coordinator;
    this.get = this.#counted((request) => coordinator.get(request));
    this.put = this.#counted((request) => coordinator.put(request));
    this.delete = this.#counted((request) => coordinator.delete(request));
    this.list = this.#counted((request) => listing.list(request));
    this.count = this.#counted((request) => listing.count(request));
    this.batch = this.#counted((request) => runBatch({ clock, requests: coordinator }, request));
    for (const number of document.present.dropped) this.#purgeLater(number);
  }

  namespaces(): readonly Namespace[] {
    return this.#parts.document.present.namespaces;
  }

  namespace(name: string): Namespace {
    return this.#coordinator.namespace(name);
  }

  putNamespace(name: string, policy: Partial<NamespacePolicy>): Promise<Namespace> {
    return this.#underWay(async () => {
      const { document } = this.#parts;
      const next = await document.change((present) => withNamespace(present, name, policy));
      // Not the present document: somebody else may have deleted it meanwhile.
      return next.namespaces.find((namespace) => namespace.name === name) as Namespace;
    });
  }

  deleteNamespace(name: string): Promise<void> {
    return this.#underWay(async () => {
      let gone: number | undefined;
      await this.#parts.document.change((present) => {
        const next = withoutNamespace(present, name);
        gone = next?.dropped.at(-1);
        return next;
      });
      if (gone !== undefined) this.#purgeLater(gone);
    });
  }

  replicas(_key: Uint8Array, count: number): readonly string[] {
    const { members } = this.#parts.document.present;
    return members.slice(0, count).map((member) => member.name);
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
        ? { name: "data", ok: true, detail: `${damaged} partitions have lost records` }
        : { name: "data", ok: true },
      this.#isDraining
        ? { name: "serving", ok: false, detail: "shutting down" }
        : { name: "serving", ok: true },
    ];
  }

  drain(): void {
    this.#isDraining = true;
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.drain();
    const { identity, store, unlock } = this.#parts;
    if (this.#underWayCount > 0) {
      await new Promise<void>((resolve) => {
        this.#tellIdle = resolve;
      });
    }
    await this.#purging;
    try {
      await store.close();
      if (store.isInTable) await identity.end(store.lastSequence);
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
  async #underWay<Result>(run: () => Promise<Result>): Promise<Result> {
    this.#refuseClosed();
    this.#underWayCount += 1;
    try {
      return await run();
    } finally {
      this.#underWayCount -= 1;
      if (this.#underWayCount === 0) this.#tellIdle();
    }
  }

  #refuseClosed(): void {
    if (this.#closed === undefined) return;
    throw new QuorateError("draining", `Node '${this.name}' is closed.`, { outcome: "none" });
  }

  /** Removes the records of a deleted namespace in the background; a start goes on with it. */
  #purgeLater(number: number): void {
    if (this.#closed !== undefined) return;
    this.#purging = this.#purging
      .then(() => this.#purge(number))
      .catch((error) => {
        const why = error instanceof Error ? error.message : String(error);
        const { options, store } = this.#parts;
        options.report.log("warn", "A deleted namespace is not wholly removed yet.", { why });
        if (this.#closed !== undefined || store.failure !== undefined) return;
        options.clock.after(purgeRetryMs, () => this.#purgeLater(number));
      });
  }

  async #purge(number: number): Promise<void> {
    const { document, store } = this.#parts;
    // A write that was under way at the deletion may still come in: until a walk finds nothing.
    while (await this.#purgeOnce(number)) this.#parts.options.report.sometimes("node: purged");
    if (this.#closed !== undefined || store.failure !== undefined) return;
    await document.change((present) => withoutDropped(present, number));
  }

  /** Whether something was found; gives up when the node closes. */
  async #purgeOnce(number: number): Promise<boolean> {
    const { ring, store } = this.#parts;
    let found = false;
    for (const partition of ring.all()) {
      // A piece may hold nothing but keys that are forgotten already: `more` alone tells the end.
      for (let from: Uint8Array | undefined, more = true; more; ) {
        if (this.#closed !== undefined) return false;
        const piece = { prefix: emptyBytes, from, reverse: false, limit: purgePieceCount };
        const scanned = store.scan(partition, number, piece);
        if (scanned.items.length > 0) {
          await store.forget(scanned.items);
          found = true;
        }
        more = scanned.more && scanned.last !== undefined;
        if (scanned.last !== undefined) from = successor(scanned.last);
      }
    }
    return found;
  }
}
