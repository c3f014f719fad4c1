/**
 * Api: what the edges may ask of a node, and what it answers.
 *
 * HTTP, RPC and embedding speak different languages about the same operations. Each parses its own
 * into these requests and writes these answers in its own form; none of them knows how a node works,
 * and `node.ts` knows none of them. Failures are thrown as `QuorateError`, except that "no such key"
 * is an answer (`record` is undefined), because it is as common as success and an error costs more.
 *
 * Invariants
 * 1. Keys are 1 to 1,024 bytes and names of namespaces are valid when a request is made of them:
 *    the edges parse, the node asserts.
 * 2. An answer's bytes may be the store's own: neither the node nor whoever asked changes them.
 * 3. What a request holds does not change until it is answered, and may then be used again.
 *
 * Effects: none (types only).
 *
 * @module
 */

import type {
  ClusterAnswer,
  HintsAnswer,
  KeyPlace,
  RepairAnswer,
  RepairRequest,
  RingAnswer,
} from "./api_cluster.ts";
import type { MovesApi } from "./api_moves.ts";

export type {
  MoveProgress,
  MovesAnswer,
  MovesApi,
  PlanAnswer,
  PlanMember,
  PlanRequest,
} from "./api_moves.ts";

import type { Version } from "./version.ts";

export type {
  ClusterAnswer,
  ClusterMember,
  FeatureState,
  HintsAnswer,
  HintTarget,
  KeyPlace,
  MemberSpeech,
  MemberState,
  NodePlace,
  ProtocolAnswer,
  RepairAnswer,
  RepairMark,
  RepairRequest,
  RingAnswer,
  RingMember,
  RunningComparison,
} from "./api_cluster.ts";

export type Consistency = "one" | "quorum" | "all";
export type Durability = "fsync" | "memory";
/** How many replicas: a number from 1, or a word. */
export type Replicas = number | "quorum" | "all";
export type Resolve = "lww" | "siblings";

export const defaultNamespace = "default";
/** The name of a namespace. In the path of a URL any other is another path: `..` is the one above. */
export const namespacePattern: RegExp = /^[a-z0-9_-]{1,64}$/;
/** The same in words; follows "has to be". */
export const namespaceForm = "1 to 64 of a-z, 0-9, '-' and '_'";
export const keyBytesMax = 1024;
export const metaBytesMax = 2048;
/** A name of user metadata: the end of a header's name (RFC 9110, "token"), in lower case. */
export const metaNamePattern: RegExp = /^[a-z0-9!#$%&'*+.^_`|~-]+$/;
/** A text of user metadata: printable ASCII, without spaces at its ends, which a header would lose. */
export const metaTextPattern: RegExp = /^(?:[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)?$/;
export const contentTypeBytesMax = 256;
/** Printable ASCII, without spaces at its ends, which a header would lose. */
export const contentTypePattern: RegExp = /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/;
export const valueBytesMaxLimit = 32 * 1024 * 1024;
export const ttlSecondsMax = 315_360_000;
export const timeoutMsDefault = 5000;
export const timeoutMsMax = 60_000;
export const listLimitDefault = 100;
export const listLimitMax = 1000;
export const listPageBytesMax = 4 * 1024 * 1024;
export const batchOperationsMax = 1000;
export const batchBytesMax = 16 * 1024 * 1024;
export const contentTypeDefault = "application/octet-stream";

/** What every request may say; what is left out comes from the namespace's policy. */
export interface RequestOptions {
  readonly namespace: string;
  /** Up to 64 printable characters; in the log and in errors. */
  readonly requestId: string;
  readonly consistency?: Consistency;
  readonly r?: Replicas;
  readonly w?: Replicas;
  readonly durability?: Durability;
  /** 1 to 60,000. */
  readonly timeoutMs?: number;
  readonly explain?: boolean;
}

/** Names in lower case, values printable ASCII, at most 2,048 bytes in all. */
export type Meta = readonly (readonly [name: string, value: string])[];

/** A live record as a client sees it. */
export interface LiveRecord {
  readonly version: Version;
  readonly value: Uint8Array;
  readonly contentType: string;
  readonly meta: Meta;
  readonly expiresAtMs?: number;
}

/** What every answer about a key says. */
export interface Answer {
  /** The name of the node that coordinated. */
  readonly node: string;
  readonly epoch: number;
  /** What was used; `eventual` when w is at or below half of n. */
  readonly consistency: Consistency | "eventual";
  /** The replicas that counted towards the answer, and how many there are for the key. */
  readonly replies: number;
  readonly replicas: number;
  /** Present when `explain` was asked for: a JSON value. */
  readonly explain?: unknown;
}

export interface GetRequest extends RequestOptions {
  readonly key: Uint8Array;
}

export interface GetAnswer extends Answer {
  /** Undefined when there is no such key. */
  readonly record: LiveRecord | undefined;
}

export interface PutRequest extends RequestOptions {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly contentType: string;
  readonly meta: Meta;
  /** 1 to 315,360,000; absent clears it, unless the namespace has one. */
  readonly ttlSeconds?: number;
}

export interface DeleteRequest extends RequestOptions {
  readonly key: Uint8Array;
}

export interface WriteAnswer extends Answer {
  readonly version: Version;
  /** How durable it was when the answer was given. */
  readonly durability: Durability;
  readonly expiresAtMs?: number;
}

export interface ListRequest extends RequestOptions {
  readonly prefix?: Uint8Array;
  /** Inclusive. */
  readonly start?: Uint8Array;
  /** Exclusive. */
  readonly end?: Uint8Array;
  /** 1 to 1,000 from a client, default 100; an edge that streams may ask for more at a time. */
  readonly limit?: number;
  /** Opaque: `next` of the page before, for the same namespace, prefix and direction. */
  readonly cursor?: string;
  readonly reverse?: boolean;
  /** Whether items carry their values. */
  readonly values?: boolean;
}

export interface ListItem {
  readonly key: Uint8Array;
  readonly version: Version;
  /** The length of the value. */
  readonly bytes: number;
  readonly contentType: string;
  readonly expiresAtMs?: number;
  readonly value?: Uint8Array;
}

export interface ListAnswer extends Answer {
  readonly items: readonly ListItem[];
  /** The cursor of the next page; undefined on the last one. */
  readonly next?: string;
}

export interface CountRequest extends RequestOptions {
  readonly prefix?: Uint8Array;
}

export interface CountAnswer extends Answer {
  readonly keys: number;
  /** The bytes of all values. */
  readonly bytes: number;
  readonly exact: boolean;
}

export type BatchOperation =
  | { readonly kind: "get"; readonly key: Uint8Array }
  | {
      readonly kind: "put";
      readonly key: Uint8Array;
      readonly value: Uint8Array;
      readonly contentType: string;
      readonly meta: Meta;
      readonly ttlSeconds?: number;
    }
  | { readonly kind: "delete"; readonly key: Uint8Array };

export interface BatchRequest extends RequestOptions {
  /** At most 1,000, and 16 MiB of keys and values. */
  readonly operations: readonly BatchOperation[];
}

/** One result for each operation, in order. Operations on one key ran in the order given. */
export type BatchResult =
  | { readonly kind: "get"; readonly answer: GetAnswer }
  | { readonly kind: "put" | "delete"; readonly answer: WriteAnswer }
  | { readonly kind: "error"; readonly error: Error };

/** How a namespace keeps its keys. */
export interface NamespacePolicy {
  /** Replicas of each key. */
  readonly n: number;
  readonly r: Replicas;
  readonly w: Replicas;
  readonly resolve: Resolve;
  /** Seconds that a key lives when its write names no ttl; undefined: for ever. */
  readonly ttlSeconds?: number;
  /** The largest value, in bytes; at most 32 MiB. */
  readonly valueBytesMax: number;
  readonly durability: Durability;
}

/**
 * Numbers from here on are no namespaces of the cluster: under them a store keeps what is its own
 * (hints, marks), which replicas neither count nor compare.
 */
export const ownNamespaceMin = 0xffff_ff00;

export interface Namespace {
  readonly name: string;
  /** Its number in messages and on disk; never used again. */
  readonly number: number;
  readonly policy: NamespacePolicy;
}

export interface NodeInfo {
  readonly node: string;
  /** The version of the program. */
  readonly version: string;
  /** For example `node 24.9.0`. */
  readonly runtime: string;
  readonly clusterId: string;
  readonly nodeId: string;
  readonly storeId: string;
  readonly boot: number;
  readonly epoch: number;
  readonly partitions: number;
  readonly startedAtMs: number;
  /** Live records on this node, and the bytes of their values. */
  readonly keys: number;
  readonly bytes: number;
  readonly disk: { readonly freeBytes: number; readonly totalBytes: number };
  /** Partitions in which a missing record cannot be told from a lost one. */
  readonly damagedPartitions: readonly number[];
}

/** One line of `/readyz?verbose`. */
export interface ReadyCheck {
  readonly name: string;
  readonly ok: boolean;
  readonly detail?: string;
}

/** Everything that an edge may ask of a node. */
/** What one replica of a key says now. */
export interface ExplainedReplica {
  /** Its name. */
  readonly node: string;
  /** `found`, `nothing`, `refused`, `no answer` or `not reached`. */
  readonly status: string;
  readonly reason?: string;
  /** Of what it holds, be it a deleted key's. */
  readonly version?: Version;
  readonly tombstone?: boolean;
  readonly expiresAtMs?: number;
  /** Whether its answers count towards quorums; undefined when it did not answer. */
  readonly counts?: boolean;
  readonly up: boolean;
  readonly epoch?: number;
  readonly tookMs: number;
  /** All replicas held the same of what was written before this time, in ms since 1970. */
  readonly sameBeforeMs?: number;
}

export interface ExplainAnswer {
  readonly partition: number;
  readonly epoch: number;
  readonly n: number;
  readonly replicas: readonly ExplainedReplica[];
}

export interface Api {
  get(request: GetRequest): Promise<GetAnswer>;
  put(request: PutRequest): Promise<WriteAnswer>;
  delete(request: DeleteRequest): Promise<WriteAnswer>;
  list(request: ListRequest): Promise<ListAnswer>;
  count(request: CountRequest): Promise<CountAnswer>;
  batch(request: BatchRequest): Promise<readonly BatchResult[]>;
  /** Where a key lives, and what each replica holds of it now. */
  explain(request: GetRequest): Promise<ExplainAnswer>;
  namespaces(): readonly Namespace[];
  /** Throws `namespace-not-found`. */
  namespace(name: string): Namespace;
  /**
   * Makes it, or changes its policy; what is left out keeps its value. Where it is new that is the one
   * in `whenNew`, else the default: whether it is new is decided where the change is.
   */
  putNamespace(
    name: string,
    policy: Partial<NamespacePolicy>,
    whenNew?: Partial<NamespacePolicy>,
  ): Promise<Namespace>;
  /** Deletes it and every key in it. Idempotent; `default` cannot be deleted. */
  deleteNamespace(name: string): Promise<void>;
  /** The names of the first `count` replicas of a key in the default namespace. */
  replicas(key: Uint8Array, count: number): readonly string[];
  ring(): RingAnswer;
  /** Throws `namespace-not-found`. */
  place(namespace: string, key: Uint8Array): KeyPlace;
  /** The members, and what this node knows of each. */
  cluster(): Promise<ClusterAnswer>;
  /** Other members, weights and zones; undefined on a node that is alone and always will be. */
  readonly moves?: MovesApi | undefined;
  /** What this node keeps for others. */
  hints(): HintsAnswer;
  /**
   * Resolves when no hint is left on this node, nor on any other that it hears of; rejects with
   * `timeout` after 1 to 60,000 ms.
   */
  whenNoHints(timeoutMs: number): Promise<HintsAnswer>;
  /** How far this node's partitions were compared with the other replicas. */
  repair(): RepairAnswer;
  /** Compares as soon as possible; answers how many pairs that is. Throws `namespace-not-found`. */
  runRepair(request: RepairRequest): number;
  info(): Promise<NodeInfo>;
  readiness(): readonly ReadyCheck[];
}
