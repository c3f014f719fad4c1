/**
 * Client shapes: what the client gives and takes, and its form on the wire.
 *
 * Records come as raw bytes with headers (one key) or as JSON (batches, lists). Either way they
 * become the same types here: bytes are `Uint8Array`, times are milliseconds, versions are text.
 *
 * Invariants
 * 1. Text that is not valid UTF-8 travels as base64url (`key64`, `value64`), never changed.
 * 2. An answer that lacks what it must have is an error, never a record with holes.
 *
 * Effects: none.
 *
 * @module
 */

import { type Durability, metaNamePattern, metaTextPattern, type NamespacePolicy } from "./api.ts";
import { toBase64url, utf8OrUndefined } from "./bytes.ts";
import { bytesIn, errorOfProblem, type Fields, isObject, keyIn, textIn } from "./client_fetch.ts";
import { QuorateError } from "./errors.ts";
import { type BytesName, bytesOf } from "./option_kinds.ts";

/** A record as it is stored. */
export class ClientRecord {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly contentType: string;
  readonly meta: Readonly<Record<string, string>>;
  /** The version: `<hlc, 16 hex>-<origin, 16 hex>`; the greater one is the newer one. */
  readonly version: string;
  readonly expiresAtMs: number | undefined;

  constructor(fields: Omit<ClientRecord, "text" | "json">) {
    this.key = fields.key;
    this.value = fields.value;
    this.contentType = fields.contentType;
    this.meta = fields.meta;
    this.version = fields.version;
    this.expiresAtMs = fields.expiresAtMs;
  }

  /** The value as text; bytes that are not UTF-8 become U+FFFD. */
  text(): string {
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(this.value);
  }

  /** The value as parsed JSON. Throws a SyntaxError when it is none. */
  json(): unknown {
    return JSON.parse(this.text());
  }
}

export interface WriteResult {
  /** Undefined for a delete over HTTP, which names none. */
  readonly version: string | undefined;
  /** The replicas that acknowledged, and how many there are for the key. */
  readonly acks: number;
  readonly replicas: number;
  /** What was used; `eventual` when w is at or below half of n. */
  readonly consistency: string;
  /** How durable it was when it was acknowledged. */
  readonly durability: string;
  /** The node that coordinated. */
  readonly node: string;
  readonly expiresAtMs: number | undefined;
}

export interface ListEntry {
  readonly key: Uint8Array;
  readonly version: string;
  /** The length of the value. */
  readonly bytes: number;
  readonly contentType: string;
  readonly expiresAtMs: number | undefined;
  /** Present when values were asked for. */
  readonly value: Uint8Array | undefined;
}

export type BatchOperation =
  | { readonly kind: "get"; readonly key: string | Uint8Array }
  | BatchPut
  | { readonly kind: "delete"; readonly key: string | Uint8Array };

export interface BatchPut {
  readonly kind: "put";
  readonly key: string | Uint8Array;
  readonly value: string | Uint8Array;
  readonly contentType?: string | undefined;
  readonly meta?: Readonly<Record<string, string>> | undefined;
  readonly ttlSeconds?: number | undefined;
}

/** `get` without a record: there is no such key. */
export type BatchResult =
  | { readonly kind: "get"; readonly record: ClientRecord | undefined }
  | { readonly kind: "put" | "delete"; readonly version: string }
  | { readonly kind: "error"; readonly error: QuorateError };

export interface NamespaceInfo {
  readonly name: string;
  readonly policy: NamespacePolicy;
}

/** A node, and where it is. */
export interface ReplicaInfo {
  /** Its name. */
  readonly node: string;
  readonly nodeId: string;
  readonly zone: string;
  /** `host:port` for traffic between nodes. */
  readonly addresses: readonly string[];
  /** Where clients reach it, when it says so. */
  readonly clientUrl?: string;
}

export interface RingMemberInfo extends ReplicaInfo {
  readonly host: string;
  readonly weight: number;
  readonly voter: boolean;
  /** Partitions of which it is the first replica, and of which it is any. */
  readonly primaries: number;
  readonly replicas: number;
  /** Its part of all replicas, 0 to 1. */
  readonly share: number;
}

/** Where a key lives: its replicas in order. */
export interface KeyPlaceInfo {
  readonly namespace: string;
  readonly partition: number;
  readonly n: number;
  readonly replicas: readonly ReplicaInfo[];
}

export interface RingInfo {
  readonly clusterId: string;
  readonly epoch: number;
  readonly partitions: number;
  readonly members: readonly RingMemberInfo[];
  /** Of the key that was asked for. */
  readonly place?: KeyPlaceInfo;
}

export interface NodeInfo {
  readonly node: string;
  readonly version: string;
  readonly runtime: string;
  readonly clusterId: string;
  readonly nodeId: string;
  readonly storeId: string;
  readonly epoch: number;
  readonly partitions: number;
  readonly startedAtMs: number;
  readonly keys: number;
  readonly bytes: number;
}

/** A record from the headers and body of a GET. */
export function recordOf(key: Uint8Array, headers: Headers, value: Uint8Array): ClientRecord {
  const meta: [name: string, text: string][] = [];
  for (const [name, text] of headers) {
    if (name.startsWith(metaPrefix)) meta.push([name.slice(metaPrefix.length), text]);
  }
  return new ClientRecord({
    key,
    value,
    contentType: headers.get("content-type") ?? "application/octet-stream",
    // Not by assignment: that loses the name `__proto__`.
    meta: Object.fromEntries(meta),
    version: versionIn(headers) ?? malformed("a record without an ETag"),
    expiresAtMs: msOf(headers.get("quorate-expires")),
  });
}

export function writeResult(headers: Headers): WriteResult {
  const acknowledged = /^(\d+)\/(\d+)$/.exec(headers.get("quorate-acks") ?? "");
  const [, acks, replicas] = acknowledged ?? malformed("a write that nobody acknowledged");
  return {
    version: versionIn(headers),
    acks: Number(acks),
    replicas: Number(replicas),
    consistency: headers.get("quorate-consistency") ?? "",
    durability: headers.get("quorate-durability") ?? "",
    node: headers.get("quorate-node") ?? "",
    expiresAtMs: msOf(headers.get("quorate-expires")),
  };
}

export function listEntry(item: Fields): ListEntry {
  return {
    key: keyIn(item) ?? malformed("an item without a key"),
    version: textIn(item, "version") ?? malformed("an item without a version"),
    bytes: Number(item.bytes),
    contentType: textIn(item, "contentType") ?? "application/octet-stream",
    expiresAtMs: msOf(item.expiresAt),
    value: bytesIn(item, "value"),
  };
}

/** The JSON of a batch. */
export function batchBody(operations: readonly BatchOperation[]): string {
  const ops = operations.map((operation) => {
    const key = bytesField("key", operation.key);
    if (operation.kind !== "put") return { [operation.kind]: key };
    const { value, contentType, meta, ttlSeconds } = operation;
    return { put: { ...key, ...valueField(value), contentType, meta, ttl: ttlSeconds } };
  });
  return JSON.stringify({ ops });
}

/** The results of operations of these kinds, in order. */
export function batchResults(
  asked: readonly BatchOperation["kind"][],
  body: Fields,
): readonly BatchResult[] {
  const results = Array.isArray(body.results) ? body.results : [];
  if (results.length !== asked.length) malformed("a batch with too few results");
  return asked.map((kind, index) => {
    const result: unknown = results[index];
    return isObject(result) ? batchResult(kind, result) : malformed("a result that is no object");
  });
}

function batchResult(kind: BatchOperation["kind"], result: Fields): BatchResult {
  if (isObject(result.error)) {
    const error = errorOfProblem(result.error) ?? malformed("an error that is no problem");
    if (kind === "get" && error.slug === "key-not-found") return { kind, record: undefined };
    return { kind: "error", error };
  }
  const version = textIn(result, "version") ?? malformed("a result without a version");
  if (kind !== "get") return { kind, version };
  const record = new ClientRecord({
    key: keyIn(result) ?? malformed("a result without a key"),
    value: bytesIn(result, "value") ?? malformed("a result without a value"),
    contentType: textIn(result, "contentType") ?? "application/octet-stream",
    meta: metaOf(result.meta),
    version,
    expiresAtMs: msOf(result.expiresAt),
  });
  return { kind, record };
}

/** `{key}` where the bytes are text, else `{key64}`; the same for values. */
export function bytesField(name: BytesName, given: string | Uint8Array): Record<string, string> {
  const bytes = bytesOf(name, given);
  const text = utf8OrUndefined(bytes);
  return text === undefined ? { [`${name}64`]: toBase64url(bytes) } : { [name]: text };
}

/** The same for a value, but as base64url where JSON would take six bytes for one (`\u0000`). */
function valueField(given: string | Uint8Array): Record<string, string> {
  const bytes = bytesOf("value", given);
  const field = bytesField("value", bytes);
  const hasCostly = /[^\P{Cc}\n\r\t]/u.test(field["value"] ?? "");
  return hasCostly ? { value64: toBase64url(bytes) } : field;
}

/** The headers that carry a value's content type and metadata, checked as fetch would not say. */
export function valueHeaders(
  contentType: string,
  meta: Readonly<Record<string, string>>,
): Record<string, string> {
  const headers: Record<string, string> = { "Content-Type": contentType };
  for (const [name, text] of Object.entries(meta)) {
    if (!metaNamePattern.test(name)) {
      throw badHeader(`The name '${name}' of metadata is not a lower-case header name.`);
    }
    headers[`Quorate-Meta-${name}`] = text;
  }
  for (const [name, text] of Object.entries(headers)) {
    // A space at either end would be cut off on the way.
    if (!metaTextPattern.test(text)) {
      throw badHeader(`${name} is not printable ASCII without spaces at its ends.`);
    }
  }
  return headers;
}

/** A policy under the names of the wire. */
export function namespaceBody(policy: Partial<NamespacePolicy>): string {
  const { n, r, w, resolve, ttlSeconds, valueBytesMax, durability } = policy;
  return JSON.stringify({ n, r, w, resolve, ttl: ttlSeconds, maxValue: valueBytesMax, durability });
}

export function namespaceOf(body: Fields): NamespaceInfo {
  const { n, r, w, ttl, maxValue } = body;
  return {
    name: textIn(body, "name") ?? malformed("a namespace without a name"),
    policy: {
      n: Number(n),
      r: replicasOf(r),
      w: replicasOf(w),
      resolve: body.resolve === "siblings" ? "siblings" : "lww",
      ...(typeof ttl === "number" ? { ttlSeconds: ttl } : {}),
      valueBytesMax: Number(maxValue),
      durability: (textIn(body, "durability") ?? "fsync") as Durability,
    },
  };
}

export function nodeInfo(body: Fields): NodeInfo {
  const text = (name: string): string => textIn(body, name) ?? malformed(`no ${name}`);
  return {
    node: text("node"),
    version: text("version"),
    runtime: text("runtime"),
    clusterId: text("clusterId"),
    nodeId: text("nodeId"),
    storeId: text("storeId"),
    epoch: Number(body.epoch),
    partitions: Number(body.partitions),
    startedAtMs: msOf(body.startedAt) ?? malformed("no startedAt"),
    keys: Number(body.keys),
    bytes: Number(body.bytes),
  };
}

export function ringInfo(body: Fields): RingInfo {
  const { members, place } = body;
  if (!Array.isArray(members)) return malformed("no members");
  return {
    clusterId: textIn(body, "clusterId") ?? malformed("no clusterId"),
    epoch: Number(body.epoch),
    partitions: Number(body.partitions),
    members: members.filter(isObject).map((member) => ({
      ...replicaInfo(member),
      host: textIn(member, "host") ?? "",
      weight: Number(member.weight),
      voter: member.voter === true,
      primaries: Number(member.primaries),
      replicas: Number(member.replicas),
      share: Number(member.share),
    })),
    ...(isObject(place) ? { place: keyPlace(place) } : {}),
  };
}

function keyPlace(place: Fields): KeyPlaceInfo {
  const replicas = Array.isArray(place.replicas) ? place.replicas : malformed("no replicas");
  return {
    namespace: textIn(place, "namespace") ?? malformed("no namespace"),
    partition: Number(place.partition),
    n: Number(place.n),
    replicas: replicas.filter(isObject).map(replicaInfo),
  };
}

/** A node, and where it is. */
export function replicaInfo(given: Fields): ReplicaInfo {
  const addresses = Array.isArray(given.addresses) ? given.addresses : [];
  const clientUrl = textIn(given, "clientUrl");
  return {
    node: textIn(given, "node") ?? malformed("a member without a name"),
    nodeId: textIn(given, "nodeId") ?? malformed("a member without an id"),
    zone: textIn(given, "zone") ?? "",
    addresses: addresses.filter((address) => typeof address === "string"),
    ...(clientUrl === undefined ? {} : { clientUrl }),
  };
}

const metaPrefix = "quorate-meta-";

function badHeader(detail: string): QuorateError {
  return new QuorateError("invalid-request", detail, {
    hint: "Encode other text, for example as base64url, or put it into the value.",
    outcome: "none",
  });
}

function metaOf(given: unknown): Readonly<Record<string, string>> {
  if (!isObject(given)) return {};
  const pairs = Object.entries(given).filter(
    (pair): pair is [string, string] => typeof pair[1] === "string",
  );
  return Object.fromEntries(pairs);
}

function replicasOf(given: unknown): NamespacePolicy["r"] {
  return given === "quorum" || given === "all" ? given : Number(given);
}

/** The version in an ETag; a proxy that compresses makes a strong one weak (`W/`). */
function versionIn(headers: Headers): string | undefined {
  return /^(?:W\/)?"([0-9a-f]{16}-[0-9a-f]{16})"$/.exec(headers.get("etag") ?? "")?.[1];
}

/** A time on the wire in ms since 1970; undefined when it is none. */
export function msOf(time: unknown): number | undefined {
  const ms = typeof time === "string" ? Date.parse(time) : Number.NaN;
  return Number.isNaN(ms) ? undefined : ms;
}

/** The objects of a list that has to be there. */
export function objectsIn(fields: Fields, name: string): readonly Fields[] {
  const list = fields[name];
  return Array.isArray(list) && list.every(isObject) ? list : malformed(`no ${name}`);
}

/** The texts of a list; none where there is no list. */
export function textsIn(raw: unknown): readonly string[] {
  return Array.isArray(raw) ? raw.filter((text) => typeof text === "string") : [];
}

/** What a write was told. @throws with outcome `unknown` where the answer lacks what it must have (P7) */
export function told<Result>(read: () => Result): Result {
  try {
    return read();
  } catch (error) {
    const { slug, detail, facts } = QuorateError.from(error);
    throw new QuorateError(slug, detail, { ...facts, outcome: "unknown" });
  }
}

/** Throws: the answer lacks what it must have. */
export function malformed(what: string): never {
  throw new QuorateError("unreachable", `The answer is not that of a Quorate node: ${what}.`, {
    hint: "Check the URL, and that client and node have versions that fit.",
  });
}
