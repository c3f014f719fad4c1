/**
 * NodeRepairSides: the two sides of a comparison: this node's store, and another node.
 *
 * Invariants
 * 1. A record is handed on only when its checksum was good a moment before (G1); one that is damaged
 *    is left out, as if it were absent, and the other side's takes its place.
 * 2. What the watermark allows to be dropped is no part of a comparison (G5). Below it a side takes
 *    records only in a pull of its own, from one that is as far (G6).
 * 3. No answer is believed of a node that knows a newer topology than this one, or one by which the other
 *    replicas or namespaces are to be compared than when it began: something would be left out.
 *
 * Effects: the store and the peers. Source: rules G1, G5, G6; promise P8.
 *
 * @module
 */

import { emptyBytes, equal, successor } from "./bytes.ts";
import { digestBytes, hasSegment } from "./digest.ts";
import { QuorateError } from "./errors.ts";
import { type Hlc, hlcWallMs } from "./hlc.ts";
import type { PeerRequest } from "./message.ts";
import { headOf } from "./node_watermark_drop.ts";
import type { Peers } from "./peers.ts";
import type { DigestReply, DigestRequest, ReplyFrom } from "./quorum_message.ts";
import { isIntact, recordVersion } from "./record.ts";
import type { HeldPage, KeyRecord, Range, Walk } from "./repair.ts";
import type { DigestSide, OwnSide, Pair, Sums } from "./repair_digest.ts";
import type { ReplicaFences } from "./replica.ts";
import type { Store } from "./store.ts";
import { parseTableKey } from "./store_entry.ts";
import { isSamePair, type Topology } from "./topology.ts";
import { isDroppable, type ReplicaState } from "./watermark.ts";

const askMs = 5000;
const none = 0n as Hlc;

/** What both sides of an exchange have in common. */
export interface SideParts {
  readonly store: Store;
  readonly fences: ReplicaFences;
  readonly n: number;
}

export interface StoreSideParts extends SideParts {
  /** Whether this node knows what it should hold of the partition. */
  readonly counts: (partition: number) => boolean;
}

/** This node's side. */
export class StoreSide implements OwnSide {
  readonly store: Store;
  readonly #fences: ReplicaFences;
  readonly #n: number;
  readonly #counts: (partition: number) => boolean;

  constructor({ store, fences, n, counts }: StoreSideParts) {
    this.store = store;
    this.#counts = counts;
    this.#fences = fences;
    this.#n = n;
  }

  async digest(
    { partition, n }: Pair,
    wants: "state" | "total" | "sums",
    adopt: Hlc,
  ): Promise<Sums> {
    const isSure = this.#counts(partition) && !this.store.isDamaged(partition, n);
    if (isSure && adopt > this.#watermark(partition)) await this.#fences.adopt(partition, n, adopt);
    // Told to others only by one that can have lost no tombstone.
    const watermark = isSure ? this.#watermark(partition) : none;
    if (wants === "state") return { watermark, total: 0n };
    return { watermark, ...(await this.store.digest(partition, n)) };
  }

  async walk(
    { namespaceNumber, partition }: Range,
    { after, limit, segments, isDiscarding }: Walk,
  ): Promise<HeldPage> {
    const { store } = this;
    const from =
      after === undefined
        ? undefined
        : successor(store.tableKey(partition, namespaceNumber, after));
    const piece = { prefix: emptyBytes, from, reverse: false, limit };
    const { items, more, last } = store.scan(partition, namespaceNumber, piece);
    const watermark = this.#watermark(partition);
    const nowMs = store.mint.nowMs();
    const whole = items.flatMap(({ key, record }) => {
      if (record === undefined) return [];
      if (!hasSegment(segments, store.segmentOf(namespaceNumber, key))) return [];
      const head = headOf(record);
      // It is dropped soon, as the other side's is, or was (G5).
      const isGone = !isDiscarding && isDroppable(head, watermark, nowMs);
      return isGone ? [] : [{ key, version: head.version }];
    });
    return { items: whole, last: more && last !== undefined ? keyIn(last) : undefined };
  }

  async read({ namespaceNumber }: Range, keys: readonly Uint8Array[]): Promise<KeyRecord[]> {
    const found: KeyRecord[] = [];
    const options = { wants: "record", durability: "fsync" } as const;
    for (const key of keys) {
      try {
        const record = await this.store.getEncoded(namespaceNumber, key, options);
        if (record !== undefined) found.push({ key, record });
      } catch (error) {
        // Damaged since the walk, or gone from a partition that has lost records.
        if (QuorateError.from(error).slug !== "corruption") throw error;
      }
    }
    return found;
  }

  async discard(
    { namespaceNumber, partition }: Range,
    keys: readonly Uint8Array[],
    below: Hlc,
  ): Promise<void> {
    for (const prefix of keys) {
      const piece = { prefix, reverse: false, limit: 1 };
      const { items } = this.store.scan(partition, namespaceNumber, piece);
      await this.store.forget(
        items.filter(
          ({ key, record }) =>
            equal(key, prefix) && record !== undefined && recordVersion(record).hlc < below,
        ),
      );
    }
  }

  /** A partition that has lost records stays marked, and may lack what nobody told of. */
  async filled({ partition, n }: Pair, watermark: Hlc): Promise<void> {
    if (!this.store.isDamaged(partition, n)) await this.#fences.adopt(partition, n, watermark);
  }

  /** What this side has asked the other one for. */
  async take({ namespaceNumber, partition }: Range, records: readonly KeyRecord[]): Promise<void> {
    const common = { namespaceNumber, durability: "fsync", isVital: true } as const;
    await Promise.all(
      records.map(async ({ key, record, under = 0n }) => {
        let isLate = false;
        // G6: below its watermark it takes what a replica has that is at least as far, as of now.
        const allow = (): void => {
          const watermark = this.#watermark(partition);
          isLate = recordVersion(record).hlc < watermark && under < watermark;
          if (isLate) throw notNow("a watermark that is lower");
        };
        try {
          await this.store.writeEncoded({ ...common, key, record, allow });
        } catch (error) {
          if (!isLate) throw error;
        }
      }),
    );
  }

  #watermark(partition: number): Hlc {
    return this.#fences.of(partition, this.#n).watermark;
  }
}

export interface PeerSideParts extends SideParts {
  readonly peers: Pick<Peers, "request">;
  readonly nodeId: string;
  /** By which the comparison was begun: its namespaces are those that are compared. */
  readonly begun: Topology;
  readonly topology: () => Topology;
  /** Whether one that has lost records is no use: what it lacks would be taken for absent (T5). */
  readonly mustBeSure?: boolean;
}

/** Another node's side. */
export class PeerSide implements DigestSide {
  readonly store: Store;
  readonly #parts: PeerSideParts;
  readonly #common: { readonly n: number; readonly requestId: string };
  /** That of the newest document by which it was found to be still the same. */
  #epoch: number;

  constructor(parts: PeerSideParts) {
    this.#parts = parts;
    this.store = parts.store;
    this.#common = { n: parts.n, requestId: "repair" };
    this.#epoch = parts.begun.epoch;
  }

  async digest(pair: Pair, wants: "state" | "total" | "sums", adopt: Hlc): Promise<Sums> {
    const { watermark, total, sums } = await this.#digest(pair, { wants, adopt, promise: none });
    if (wants === "sums" && sums?.length !== digestBytes) throw notNow("sums of another length");
    return { watermark, total, sums };
  }

  /**
   * As a replica in a round, or one that is filled from: adopts, promises, and tells its state.
   * @throws `contention` where it knows a newer topology
   */
  async state(pair: Pair, adopt: Hlc, promise: Hlc): Promise<ReplicaState> {
    const reply = await this.#digest(pair, { wants: "state", adopt, promise });
    const { from, isDamaged, promise: promised, watermark } = reply;
    const counts = from.counts && !isDamaged;
    const clockMs = hlcWallMs(from.clockHlc);
    const { storeId, boot } = from;
    return { storeId, boot, counts, clockMs, promise: promised, watermark };
  }

  async walk(range: Range, { after, limit, segments, isDiscarding }: Walk): Promise<HeldPage> {
    const { namespaceNumber, partition } = range;
    const { store } = this;
    const from =
      after === undefined
        ? {}
        : { from: successor(store.tableKey(partition, namespaceNumber, after)) };
    const options = { prefix: emptyBytes, reverse: false, limit, segments };
    const reply = await this.#request({
      kind: "scan",
      ...{ epoch: this.#epoch, ...this.#common },
      ...range,
      ...options,
      ...from,
    });
    if (reply.kind !== "page") throw notNow(reply.kind);
    // It may have found by this very walk that a record is damaged, and has left that out.
    if (isDiscarding && !reply.from.counts) throw notNow("lost records");
    const { entries, more, last } = reply;
    const watermark = this.#watermark(partition);
    const nowMs = store.mint.nowMs();
    return {
      items: entries
        .filter((entry) => !isDroppable(entry, watermark, nowMs))
        .map(({ key, version }) => ({ key: key.slice(), version })),
      last: more && last !== undefined ? keyIn(last).slice() : undefined,
    };
  }

  async read({ namespaceNumber }: Range, keys: readonly Uint8Array[]): Promise<KeyRecord[]> {
    const read = { namespaceNumber, wants: "record", durability: "fsync", coverMs: 0 } as const;
    const common = { epoch: this.#epoch, ...this.#common };
    const replies = await Promise.all(
      keys.map((key) => this.#request({ kind: "read", ...common, ...read, key })),
    );
    const found: KeyRecord[] = [];
    for (const [index, reply] of replies.entries()) {
      const key = keys[index] as Uint8Array;
      if (reply.kind === "nothing") continue;
      if (reply.kind !== "found" || reply.record === undefined) throw notNow(reply.kind);
      // G1: what a wire or a disk damaged is taken from nobody.
      if (!isIntact(reply.record, namespaceNumber, key)) throw notNow("damaged bytes");
      found.push({ key, record: reply.record, under: reply.watermark });
    }
    return found;
  }

  /** What is below the watermark is not pushed: whoever lacks it asks for it (G6). */
  async take({ namespaceNumber, partition }: Range, records: readonly KeyRecord[]): Promise<void> {
    const write = { namespaceNumber, durability: "fsync", source: "repair" } as const;
    const watermark = this.#watermark(partition);
    const common = { epoch: this.#epoch, ...this.#common };
    const replies = await Promise.all(
      records
        .filter(({ record }) => recordVersion(record).hlc >= watermark)
        .map(({ key, record }) =>
          this.#request({ kind: "write", ...common, ...write, key, record }),
        ),
    );
    for (const { kind } of replies) {
      // `later`: its watermark has risen meanwhile.
      if (kind !== "took" && kind !== "superseded" && kind !== "later") throw notNow(kind);
    }
  }

  async #digest(
    pair: Pair,
    asked: Pick<DigestRequest, "wants" | "adopt" | "promise">,
  ): Promise<Extract<DigestReply, { kind: "sums" }> & { readonly from: ReplyFrom }> {
    const common = { epoch: this.#epoch, ...this.#common };
    const { partition } = pair;
    const reply = await this.#request({ kind: "digest", ...common, partition, ...asked });
    if (reply.kind !== "sums") throw notNow(reply.kind);
    if (reply.from.epoch > this.#epoch) this.#goOnUnder(reply.from.epoch, pair);
    if (this.#parts.mustBeSure === true && reply.isDamaged) throw notNow("lost records");
    return reply;
  }

  /**
   * It may hold records of a namespace that is not among those that are compared: they would be left out, as
   * if all were equal. An address, a policy, or what moves elsewhere breaks off nothing.
   */
  #goOnUnder(epoch: number, pair: Pair): void {
    const { begun, topology } = this.#parts;
    const present = topology();
    if (epoch > present.epoch) {
      const detail = `it knows a newer topology (epoch ${epoch}), which this node hears of in a moment`;
      throw new QuorateError("contention", detail);
    }
    if (!isSamePair(begun, present, pair)) {
      const detail = "the namespaces or the replicas are not those any more with which it began";
      throw new QuorateError("contention", detail);
    }
    this.#epoch = present.epoch;
  }

  #request(request: PeerRequest): ReturnType<Peers["request"]> {
    return this.#parts.peers.request(this.#parts.nodeId, request, askMs);
  }

  #watermark(partition: number): Hlc {
    return this.#parts.fences.of(partition, this.#parts.n).watermark;
  }
}

/** The key in a table's key. */
function keyIn(tableKey: Uint8Array): Uint8Array {
  return parseTableKey(tableKey).key;
}

function notNow(kind: string): QuorateError {
  return new QuorateError("not-ready", `A node answered a comparison with '${kind}'.`, {});
}
