/**
 * Replica: what this node answers for the partitions that it holds.
 *
 * A write or a read of another node, or of this node's own coordinator, climbs a ladder of guards;
 * then it is one call of the store. Many that arrive in one turn share a sync of the log without
 * being told to: the log's batches do that.
 *
 *     newer epoch? learn it first -> older than the last change? -> ours? -> intact? -> stamp ahead?
 *       -> below a promise? -> store -> the epoch still? -> answer
 *
 * Invariants
 * 1. What is refused before the store was not written; what is refused after
 *    the store took it says `mayHold`.
 * 2. A version is named only when it is synced, unless the request asked for `memory` (W2).
 * 3. `counts` is asked after the store has answered: what was lost meanwhile does not count.
 *
 * Effects: Clock, Report; the store, the topology and the state of repair through ports.
 * Source: rules W1, W2, T2, V2, G2, H3, I3, I4, R3, R4, D3.
 *
 * @module
 */

import type { Clock, Report } from "./capability.ts";
import { hasSegment } from "./digest.ts";
import { QuorateError } from "./errors.ts";
import { type Hlc, hlcAt, isBeyondGuard } from "./hlc.ts";
import type {
  DigestReply,
  DigestRequest,
  ReadReply,
  ReadRequest,
  RefusalReason,
  Refused,
  ReplyFrom,
  ScanEntry,
  ScanReply,
  ScanRequest,
  WriteReply,
  WriteRequest,
} from "./quorum_message.ts";
import {
  decodeRecord,
  isIntact,
  isTombstone,
  recordExpiresAtMs,
  recordHeaderBytes,
  recordVersion,
} from "./record.ts";
import type { Written } from "./store.ts";
import type { Fence } from "./watermark.ts";

/** What is needed of the store. */
export interface ReplicaStore {
  readonly mint: { nowMs(): number };
  readonly syncedSequence: number;
  writeEncoded(write: {
    readonly namespaceNumber: number;
    readonly key: Uint8Array;
    readonly record: Uint8Array;
    readonly durability: "fsync" | "memory";
    readonly isVital: boolean;
    /** Asked in the turn in which it is taken, where nothing newer is there: throws for what may not be. */
    readonly allow?: () => void;
  }): Promise<Written>;
  getEncoded(
    namespaceNumber: number,
    key: Uint8Array,
    options: { readonly wants: "record" | "head"; readonly durability: "fsync" | "memory" },
  ): Promise<Uint8Array | undefined>;
  coverExpiry(expiresAtMs: number): Promise<void>;
  scan(
    partition: number,
    namespaceNumber: number,
    piece: Pick<ScanRequest, "prefix" | "from" | "to" | "reverse" | "limit">,
  ): {
    readonly items: readonly {
      readonly tableKey: Uint8Array;
      readonly key: Uint8Array;
      readonly record: Uint8Array | undefined;
      readonly sequence: number;
    }[];
    readonly more: boolean;
    readonly last: Uint8Array | undefined;
    readonly isDamaged: boolean;
  };
  whenSynced(sequence: number): Promise<void>;
  digest(
    partition: number,
    n: number,
  ): Promise<{ readonly total: bigint; readonly sums: Uint8Array }>;
  segmentOf(namespaceNumber: number, key: Uint8Array): number;
  isDamaged(partition: number, n: number): boolean;
}

/** What is needed of the topology: the document that this node durably knows. */
export interface ReplicaTopology {
  readonly epoch: number;
  partitionOf(namespaceNumber: number, key: Uint8Array): number;
  /** The epoch of the partition's last change. */
  changedAt(partition: number): number;
  /** Whether this node is among the first n replicas of it that are read, or that are written (T3). */
  isReplica(partition: number, n: number, use: "read" | "write"): boolean;
  /** The document as it is handed on. */
  document(): unknown;
}

/** What the replica keeps of promises and watermarks (G2, G5). */
export interface ReplicaFences {
  of(partition: number, n: number): Fence;
  /** What of it is durable: what a later start goes by. */
  kept(partition: number, n: number): Fence;
  /** Durable when it resolves. */
  promise(partition: number, n: number, stamp: Hlc): Promise<void>;
  /** Durable when it resolves. */
  adopt(partition: number, n: number, stamp: Hlc): Promise<void>;
}

export interface ReplicaOptions {
  readonly clock: Clock;
  readonly report: Report;
  readonly store: ReplicaStore;
  readonly self: { readonly nodeId: string; readonly storeId: string; readonly boot: number };
  readonly topology: () => ReplicaTopology;
  /** Makes a document of at least this epoch durable here; rejects when it cannot be had. */
  readonly learn: (epoch: number) => Promise<void>;
  /** Why nothing of this partition may be taken or answered yet; undefined: it may (I3). */
  readonly notReady: (partition: number, n: number) => string | undefined;
  /** Whether this node can know what it should hold of the partition (I4, D3). */
  readonly counts: (partition: number, n: number) => boolean;
  /** What is added to the store's sequence where others are told of it (I3). */
  readonly sequenceBase: () => number;
  readonly fences: ReplicaFences;
}

/** The most keys in one piece of a scan. */
const scanLimitMax = 1024;

export type Replied<Reply> = Reply & { readonly from: ReplyFrom };

type Request = WriteRequest | ReadRequest;

export class Replica {
  readonly #options: ReplicaOptions;

  constructor(options: ReplicaOptions) {
    this.#options = options;
  }

  /** Takes a write; `isOwn`: its bytes were made by this process, and not by a wire. */
  async write(request: WriteRequest, isOwn = false): Promise<Replied<WriteReply>> {
    const { namespaceNumber, n, key } = request;
    const partition = this.#options.topology().partitionOf(namespaceNumber, key);
    let reply: WriteReply;
    try {
      reply = await this.#write(request, partition, isOwn);
    } catch (error) {
      reply = refusalOf(error);
    }
    if (reply.kind === "refused") this.#options.report.count(`replica_refused_${reply.reason}`);
    return { ...reply, from: this.from(partition, n) };
  }

  async read(request: ReadRequest): Promise<Replied<ReadReply>> {
    const { namespaceNumber, n, key } = request;
    const partition = this.#options.topology().partitionOf(namespaceNumber, key);
    let reply: ReadReply;
    try {
      reply = await this.#read(request, partition);
    } catch (error) {
      reply = refusalOf(error);
    }
    return { ...reply, from: this.from(partition, n) };
  }

  /** A piece of a partition's keys, as a list shows them. */
  async scan(request: ScanRequest): Promise<Replied<ScanReply>> {
    const { partition, n } = request;
    const reply = await this.#scan(request).catch(refusalOf);
    return { ...reply, from: this.from(partition, n) };
  }

  /** The sums over what it holds of a partition. */
  async digest(request: DigestRequest): Promise<Replied<DigestReply>> {
    const { partition, n } = request;
    const reply = await this.#digest(request).catch(refusalOf);
    return { ...reply, from: this.from(partition, n) };
  }

  /** What every reply about a partition says of this node. */
  from(partition: number, n: number): ReplyFrom {
    const { store, self, topology, counts, sequenceBase } = this.#options;
    return {
      nodeId: self.nodeId,
      storeId: self.storeId,
      boot: self.boot,
      epoch: topology().epoch,
      syncedSequence: sequenceBase() + store.syncedSequence,
      clockHlc: hlcAt(store.mint.nowMs()),
      counts: counts(partition, n),
    };
  }

  async #write(request: WriteRequest, partition: number, isOwn: boolean): Promise<WriteReply> {
    if (request.epoch > this.#options.topology().epoch) await this.#learn(request.epoch);
    const { store } = this.#options;
    const { namespaceNumber, key, record, durability, source } = request;
    const refused = this.#misplaced(request, partition, "write") ?? this.#unfit(request, isOwn);
    if (refused !== undefined) return refused;
    if (source === "hint" && this.#isCovered(request, partition)) return { kind: "covered" };
    // Repair, hints and deletes go on where the disk is nearly full.
    const isClient = source === "client" || source === "client-again";
    const isVital = !isClient || isTombstone(record);
    let fenced: WriteReply | undefined;
    // Not before: a promise may be made while it waits for room, and what is newer is told of first (W3).
    const allow = (): void => {
      fenced = this.#fenced(request, partition);
      if (fenced !== undefined) throw new QuorateError("not-ready", "It is below a promise.");
    };
    const write = { namespaceNumber, key, record, durability, isVital, allow };
    let written: WriteReply;
    try {
      written = await store.writeEncoded(write);
    } catch (error) {
      if (fenced === undefined) throw error;
      written = fenced;
    }
    // A second version above what it holds would be refused below the promise: it has to be above that.
    // For the second itself it stands that something newer is here: there is no third (W3).
    const { promise } = this.#options.fences.of(partition, request.n);
    const isPassed = written.kind === "superseded" && written.version.hlc < promise;
    if (isPassed && source === "client") written = { kind: "later", stamp: promise };
    // Under the topology of now, others may be the ones to ask (T2).
    const late = this.#misplaced(request, partition, "write");
    if (late === undefined) return written;
    return written.kind === "took" ? { ...late, mayHold: true } : late;
  }

  async #read(request: ReadRequest, partition: number): Promise<ReadReply> {
    if (request.epoch > this.#options.topology().epoch) await this.#learn(request.epoch);
    const { store } = this.#options;
    const { namespaceNumber, key, wants, durability, coverMs } = request;
    // A clock is made durable where the next reads may go to as well.
    const use = coverMs > 0 ? "write" : "read";
    const refused = this.#misplaced(request, partition, use);
    if (refused !== undefined) return refused;
    if (coverMs > 0) await store.coverExpiry(coverMs);
    const bytes = await store.getEncoded(namespaceNumber, key, {
      wants: wants === "record" ? "record" : "head",
      durability,
    });
    const late = this.#misplaced(request, partition, use);
    if (late !== undefined) return late;
    const watermark = this.#told(partition, request.n);
    const mark = watermark === 0n ? {} : { watermark };
    if (bytes === undefined) return { kind: "nothing", ...mark };
    const expiresAtMs = recordExpiresAtMs(bytes);
    return {
      kind: "found",
      version: recordVersion(bytes),
      tombstone: isTombstone(bytes),
      ...(expiresAtMs === undefined ? {} : { expiresAtMs }),
      ...(wants === "record" ? { record: bytes } : {}),
      ...mark,
    };
  }

  async #scan(request: ScanRequest): Promise<ScanReply> {
    if (request.epoch > this.#options.topology().epoch) await this.#learn(request.epoch);
    const { store } = this.#options;
    const { partition, namespaceNumber, prefix, from, to, reverse } = request;
    const refused = this.#misplaced(request, partition, "read");
    if (refused !== undefined) return refused;
    const limit = Math.min(request.limit, scanLimitMax);
    const found = store.scan(partition, namespaceNumber, { prefix, from, to, reverse, limit });
    const { segments } = request;
    // To a list an absence would be an answer; to repair it says nothing (G1).
    if (found.isDamaged && segments === undefined) {
      return refusal("corruption", `partition ${partition} has lost records`);
    }
    let sequence = 0;
    const entries: ScanEntry[] = [];
    for (const item of found.items) {
      if (item.record === undefined) continue;
      if (
        segments !== undefined &&
        !hasSegment(segments, store.segmentOf(namespaceNumber, item.key))
      )
        continue;
      sequence = Math.max(sequence, item.sequence);
      entries.push(entryOf(item.tableKey, item.key, item.record));
    }
    await store.whenSynced(sequence);
    const late = this.#misplaced(request, partition, "read");
    return late ?? { kind: "page", entries, more: found.more, last: found.last };
  }

  async #digest(request: DigestRequest): Promise<DigestReply> {
    if (request.epoch > this.#options.topology().epoch) await this.#learn(request.epoch);
    const { partition, n, wants, adopt, promise } = request;
    const refused = this.#misplaced(request, partition, "read");
    if (refused !== undefined) return refused;
    const { store, fences } = this.#options;
    // By what is durable: one that another request waits for, or has failed to keep, is not.
    const isHigher = adopt > fences.kept(partition, n).watermark;
    if (isHigher && this.isSure(partition, n)) await fences.adopt(partition, n, adopt);
    if (promise > fences.kept(partition, n).promise) await fences.promise(partition, n, promise);
    // What it has is synced too, and not only the promise (G2).
    const { total, sums } = await store.digest(partition, n);
    const late = this.#misplaced(request, partition, "read");
    if (late !== undefined) return late;
    return {
      kind: "sums",
      promise: fences.kept(partition, n).promise,
      watermark: this.#told(partition, n),
      isDamaged: store.isDamaged(partition, n),
      total: wants === "state" ? 0n : total,
      ...(wants === "sums" ? { sums } : {}),
    };
  }

  /** A request of a newer topology is answered under that (T2). */
  async #learn(epoch: number): Promise<void> {
    const { learn, topology, report } = this.#options;
    report.sometimes("replica: learned a newer epoch first");
    try {
      await learn(epoch);
    } catch (cause) {
      throw behind(epoch, topology().epoch, cause);
    }
    if (topology().epoch < epoch) throw behind(epoch, topology().epoch, undefined);
  }

  /** The guards that ask whether this node answers for the partition. */
  #misplaced(
    { epoch, n }: Pick<Request, "epoch" | "n">,
    partition: number,
    use: "read" | "write",
  ): Refused | undefined {
    const { report, notReady } = this.#options;
    const topology = this.#options.topology();
    const changed = topology.changedAt(partition);
    // Owner or not: the sender has to know who is (T2).
    if (epoch < changed) {
      report.sometimes("replica: epoch refused");
      const detail = `epoch ${epoch} is older than the partition's last change, ${changed}`;
      return { kind: "refused", reason: "epoch", detail, document: topology.document() };
    }
    if (!topology.isReplica(partition, n, use)) {
      return refusal(
        "not-replica",
        `partition ${partition} is not here in epoch ${topology.epoch}`,
      );
    }
    const why = notReady(partition, n);
    return why === undefined ? undefined : refusal("not-ready", why);
  }

  /** The guards that ask whether the record may be taken. */
  #unfit(request: WriteRequest, isOwn: boolean): Refused | undefined {
    const { clock, report } = this.#options;
    const { namespaceNumber, key, record, source } = request;
    if (!isOwn && !isIntact(record, namespaceNumber, key)) {
      report.log("error", "A record came with a wrong checksum: it was damaged on its way.", {
        requestId: request.requestId,
      });
      return refusal("corruption", "the record's checksum is wrong");
    }
    if (record.length < recordHeaderBytes) return refusal("corruption", "it is no record");
    // Else a wrong clock would push everybody's stamps ahead (V2). Only a first write is judged.
    const { hlc } = recordVersion(record);
    if (source === "client" && isBeyondGuard(hlc, clock.nowMs())) {
      report.sometimes("replica: clock skew refused");
      return refusal("clock-skew", "the stamp is further ahead of this node's clock than 500 ms");
    }
    return undefined;
  }

  /**
   * Whether it has lost nothing that it knows of. Else it may hold what a tombstone had deleted that it
   * has lost: it adopts no watermark by word alone, and what it holds below one is pulled by nobody (G6).
   */
  isSure(partition: number, n: number): boolean {
    return this.#options.counts(partition, n) && !this.#options.store.isDamaged(partition, n);
  }

  /**
   * The watermark by which the others may go; 0n: none. It need not be durable here, as a promise has to be
   * that is told: it is a fact about all replicas, whoever remembers it. Only what is dropped here goes by
   * what is kept.
   */
  #told(partition: number, n: number): Hlc {
    if (!this.isSure(partition, n)) return 0n as Hlc;
    return this.#options.fences.of(partition, n).watermark;
  }

  /** H3: below the watermark a hint is done with. */
  #isCovered({ n, record }: WriteRequest, partition: number): boolean {
    return recordVersion(record).hlc < this.#options.fences.of(partition, n).watermark;
  }

  /** Below a promise a write comes too late; it is told above what it has to be. */
  #fenced({ n, record, source }: WriteRequest, partition: number): WriteReply | undefined {
    // The promise is never below the watermark.
    const { promise, watermark } = this.#options.fences.of(partition, n);
    // What a replica holds may enter below a promise (G2), never below the watermark but by a pull (G6).
    const limit = source === "repair" || source === "write-back" ? watermark : promise;
    return recordVersion(record).hlc < limit ? { kind: "later", stamp: promise } : undefined;
  }
}

function entryOf(tableKey: Uint8Array, key: Uint8Array, record: Uint8Array): ScanEntry {
  const { version, tombstone, expiresAtMs, contentType, value } = decodeRecord(record);
  const entry = { tableKey, key, version, tombstone, contentType, valueBytes: value.length };
  return expiresAtMs === undefined ? entry : { ...entry, expiresAtMs };
}

function refusal(reason: RefusalReason, detail: string): Refused {
  return { kind: "refused", reason, detail };
}

function behind(epoch: number, own: number, cause: unknown): QuorateError {
  const detail = `The request is of epoch ${epoch}, and this node knows ${own}.`;
  return new QuorateError("not-ready", detail, { outcome: "none", cause });
}

const reasonsBySlug: Readonly<Partial<Record<string, RefusalReason>>> = {
  "not-ready": "not-ready",
  draining: "not-ready",
  overloaded: "overloaded",
  "disk-full": "disk-full",
  "read-only": "read-only",
  corruption: "corruption",
  // Nobody is a replica of what is deleted (T8).
  "namespace-not-found": "not-replica",
};

/** What a store's error is to the one who asked: only outcome `none` says that nothing was written. */
export function refusalOf(thrown: unknown): Refused {
  const { slug, detail, outcome } = QuorateError.from(thrown);
  const refused = refusal(reasonsBySlug[slug] ?? "failed", detail);
  return outcome === "none" ? refused : { ...refused, mayHold: true };
}
