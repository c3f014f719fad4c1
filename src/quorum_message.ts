/**
 * QuorumMessage: what a coordinator asks of a replica about one key, and what it is answered.
 *
 * These are the types that the machines, the coordinator and the replica share. The bytes between
 * nodes are the codec's business; this node's own replica is asked with the same words and no bytes.
 *
 * Invariants
 * 1. A reply other than `refused` names only what is synced, unless the request asked for `memory` (W2).
 * 2. `refused` says that nothing was written, unless it says `mayHold`.
 *
 * Effects: none (types only). Source: rules W1, W2, R4, I3, I4, T2, V2.
 *
 * @module
 */

import type { Durability } from "./api.ts";
import type { Hlc } from "./hlc.ts";
import type { Version } from "./version.ts";

/** Who answers, and what it knows: on every reply. */
export interface ReplyFrom {
  readonly nodeId: string;
  readonly storeId: string;
  readonly boot: number;
  readonly epoch: number;
  /** The store's highest synced sequence (I3). */
  readonly syncedSequence: number;
  /** The time by which it judges expiry (R3). */
  readonly clockHlc: Hlc;
  /** False when it cannot know what it should hold: its answers count for nothing (I4, R4). */
  readonly counts: boolean;
}

export type RefusalReason =
  /** The stamp is further ahead of its clock than the guard (V2). */
  | "clock-skew"
  /** The request is older than the last change of the partition (T2); `document` is newer. */
  | "epoch"
  | "not-replica"
  | "not-ready"
  | "overloaded"
  | "disk-full"
  | "read-only"
  /** What it holds, or what it was sent, is damaged. */
  | "corruption"
  /** Its store ended in the middle, or it met an error of its own. */
  | "failed";

export interface Refused {
  readonly kind: "refused";
  readonly reason: RefusalReason;
  readonly detail: string;
  /** The newer topology document, as it is handed on. */
  readonly document?: unknown;
  /** The write may be there all the same: its store ended, or the epoch went on, in the middle of it. */
  readonly mayHold?: boolean;
}

/**
 * Why a record is sent. A client's first write is refused when its stamp is ahead of the replica's
 * clock (V2); `client-again`, its second, may lie above a stamp of the future (V3).
 */
export type WriteSource = "client" | "client-again" | "hint" | "write-back" | "repair";

export interface WriteRequest {
  readonly kind: "write";
  readonly epoch: number;
  readonly namespaceNumber: number;
  readonly n: number;
  readonly key: Uint8Array;
  /** Bytes by `record`. */
  readonly record: Uint8Array;
  readonly durability: Durability;
  readonly source: WriteSource;
  readonly requestId: string;
}

export type WriteReply =
  | { readonly kind: "took" }
  | { readonly kind: "superseded"; readonly version: Version }
  /** A hint, or what else is sent a second time, that lies below the watermark (H3). */
  | { readonly kind: "covered" }
  /** Below a promise or a watermark (G2): the stamp above which it takes writes. */
  | { readonly kind: "later"; readonly stamp: Hlc }
  | Refused;

export interface ReadRequest {
  readonly kind: "read";
  readonly epoch: number;
  readonly namespaceNumber: number;
  readonly n: number;
  readonly key: Uint8Array;
  readonly wants: "record" | "version";
  readonly durability: Durability;
  /** Makes the replica's clock durably at least so late before it answers (R3); 0: not asked. */
  readonly coverMs: number;
  readonly requestId: string;
}

export type ReadReply =
  | {
      readonly kind: "found";
      readonly version: Version;
      readonly tombstone: boolean;
      readonly expiresAtMs?: number;
      /** Bytes by `record`, when they were asked for. */
      readonly record?: Uint8Array;
      /** Its watermark, where it has one (R2). */
      readonly watermark?: Hlc;
    }
  | { readonly kind: "nothing"; readonly watermark?: Hlc }
  | Refused;

/** One piece of a partition's keys, in the order of their table keys. */
export interface ScanRequest {
  readonly kind: "scan";
  readonly epoch: number;
  readonly partition: number;
  readonly namespaceNumber: number;
  readonly n: number;
  readonly prefix: Uint8Array;
  /** Table keys: from inclusive, to exclusive. */
  readonly from?: Uint8Array | undefined;
  readonly to?: Uint8Array | undefined;
  readonly reverse: boolean;
  readonly limit: number;
  /**
   * Only keys of these segments of the partition's digest, a bit for each: repair compares them. Where
   * records were lost it is told what is left: an absence says nothing there.
   */
  readonly segments?: Uint8Array | undefined;
  readonly requestId: string;
}

/** What a list says of a key; tombstones and expired records among them. */
export interface ScanEntry {
  readonly tableKey: Uint8Array;
  readonly key: Uint8Array;
  readonly version: Version;
  readonly tombstone: boolean;
  readonly expiresAtMs?: number;
  readonly contentType: string;
  readonly valueBytes: number;
}

export type ScanReply =
  | {
      readonly kind: "page";
      readonly entries: readonly ScanEntry[];
      /** Whether there is something past `last`; all up to that is in `entries`. */
      readonly more: boolean;
      readonly last: Uint8Array | undefined;
    }
  | Refused;

/**
 * What a replica holds of a partition for the namespaces of one n, as sums (`digest`), and up to where
 * it agrees with the others (`watermark`). In this order: adopt, promise, sync, sum, answer.
 */
export interface DigestRequest {
  readonly kind: "digest";
  readonly epoch: number;
  readonly partition: number;
  readonly n: number;
  readonly wants: "state" | "total" | "sums";
  /** A watermark that all replicas have reached: the replica adopts it first (G5); 0n: none. */
  readonly adopt: Hlc;
  /** It promises to take nothing below from coordinators (G2); 0n: it is asked for no promise. */
  readonly promise: Hlc;
  readonly requestId: string;
}

export type DigestReply =
  | {
      readonly kind: "sums";
      readonly promise: Hlc;
      readonly watermark: Hlc;
      /** Whether records of the partition are known to be lost. */
      readonly isDamaged: boolean;
      /** 0n where the state alone was asked for. */
      readonly total: bigint;
      readonly sums?: Uint8Array | undefined;
    }
  | Refused;

/** What became of a request of which no reply came: it may have arrived, or it certainly did not. */
export interface Lost {
  readonly kind: "lost";
  readonly mayHold: boolean;
  readonly detail: string;
}
