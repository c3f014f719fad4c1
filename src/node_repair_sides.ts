/**
 * NodeRepairSides: the two sides of a comparison: this node's store, and another node.
 *
 * Invariants
 * 1. A record is handed on only when its checksum was good a moment before (G1); one that is damaged
 *    is left out, as if it were absent, and the other side's takes its place.
 *
 * Effects: the store and the peers. Source: rule G1; promise P8.
 *
 * @module
 */

import { emptyBytes, successor } from "./bytes.ts";
import { digestBytes, hasSegment } from "./digest.ts";
import { QuorateError } from "./errors.ts";
import type { Peers } from "./peers.ts";
import { isIntact, recordVersion } from "./record.ts";
import type { HeldPage, KeyRecord, Range, Walk } from "./repair.ts";
import type { DigestSide, Pair, Sums } from "./repair_digest.ts";
import type { Store } from "./store.ts";
import { parseTableKey } from "./store_entry.ts";

const askMs = 5000;

/** This node's side. */
export class StoreSide implements DigestSide {
  readonly store: Store;

  constructor(store: Store) {
    this.store = store;
  }

  async digest({ partition, n }: Pair): Promise<Sums> {
    return this.store.digest(partition, n);
  }

  async walk(
    { namespaceNumber, partition }: Range,
    { after, limit, segments }: Walk,
  ): Promise<HeldPage> {
    const store = this.store;
    const from =
      after === undefined
        ? undefined
        : successor(store.tableKey(partition, namespaceNumber, after));
    const piece = { prefix: emptyBytes, from, reverse: false, limit };
    const { items, more, last } = store.scan(partition, namespaceNumber, piece);
    const whole = items.flatMap(({ key, record }) => {
      if (record === undefined) return [];
      if (!hasSegment(segments, store.segmentOf(namespaceNumber, key))) return [];
      return [{ key, version: recordVersion(record) }];
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

  async take({ namespaceNumber }: Range, records: readonly KeyRecord[]): Promise<void> {
    await Promise.all(
      records.map(({ key, record }) =>
        this.store.writeEncoded({
          namespaceNumber,
          key,
          record,
          durability: "fsync",
          isVital: true,
        }),
      ),
    );
  }
}

/** Another node's side. */
export class PeerSide implements DigestSide {
  readonly #peers: Pick<Peers, "request">;
  readonly store: Store;
  readonly #nodeId: string;
  readonly #common: { readonly epoch: number; readonly n: number; readonly requestId: string };

  constructor(
    { peers, store }: { readonly peers: Pick<Peers, "request">; readonly store: Store },
    { nodeId, n, epoch }: { readonly nodeId: string; readonly n: number; readonly epoch: number },
  ) {
    this.#peers = peers;
    this.store = store;
    this.#nodeId = nodeId;
    this.#common = { epoch, n, requestId: "repair" };
  }

  async digest({ partition }: Pair, wants: "total" | "sums"): Promise<Sums> {
    const request = { kind: "digest", ...this.#common, partition, wants } as const;
    const reply = await this.#peers.request(this.#nodeId, request, askMs);
    if (reply.kind !== "sums") throw notNow(reply.kind);
    const { total, sums } = reply;
    if (wants === "sums" && sums?.length !== digestBytes) throw notNow("sums of another length");
    return { total, sums };
  }

  async walk(range: Range, { after, limit, segments }: Walk): Promise<HeldPage> {
    const { namespaceNumber, partition } = range;
    const from =
      after === undefined
        ? {}
        : { from: successor(this.store.tableKey(partition, namespaceNumber, after)) };
    const options = { prefix: emptyBytes, reverse: false, limit, segments };
    const reply = await this.#peers.request(
      this.#nodeId,
      { kind: "scan", ...this.#common, ...range, ...options, ...from },
      askMs,
    );
    if (reply.kind !== "page") throw notNow(reply.kind);
    const { entries, more, last } = reply;
    return {
      items: entries.map(({ key, version }) => ({ key: key.slice(), version })),
      last: more && last !== undefined ? keyIn(last).slice() : undefined,
    };
  }

  async read({ namespaceNumber }: Range, keys: readonly Uint8Array[]): Promise<KeyRecord[]> {
    const read = { namespaceNumber, wants: "record", durability: "fsync", coverMs: 0 } as const;
    const replies = await Promise.all(
      keys.map((key) =>
        this.#peers.request(this.#nodeId, { kind: "read", ...this.#common, ...read, key }, askMs),
      ),
    );
    const found: KeyRecord[] = [];
    for (const [index, reply] of replies.entries()) {
      const key = keys[index] as Uint8Array;
      if (reply.kind === "nothing") continue;
      if (reply.kind !== "found" || reply.record === undefined) throw notNow(reply.kind);
      // G1: what a wire or a disk damaged is taken from nobody.
      if (!isIntact(reply.record, namespaceNumber, key)) throw notNow("damaged bytes");
      found.push({ key, record: reply.record });
    }
    return found;
  }

  async take({ namespaceNumber }: Range, records: readonly KeyRecord[]): Promise<void> {
    const write = { namespaceNumber, durability: "fsync", source: "repair" } as const;
    const replies = await Promise.all(
      records.map((record) =>
        this.#peers.request(
          this.#nodeId,
          { kind: "write", ...this.#common, ...write, ...record },
          askMs,
        ),
      ),
    );
    for (const { kind } of replies) {
      if (kind !== "took" && kind !== "superseded" && kind !== "covered") throw notNow(kind);
    }
  }
}

/** The key in a table's key. */
function keyIn(tableKey: Uint8Array): Uint8Array {
  return parseTableKey(tableKey).key;
}

function notNow(kind: string): QuorateError {
  return new QuorateError("not-ready", `A node answered a comparison with '${kind}'.`, {});
}
