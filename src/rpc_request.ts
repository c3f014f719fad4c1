/**
 * Rpc request: protobuf messages to the requests of `Api`.
 *
 * What arrives is parsed here, once: a length, a name or a number that is not allowed becomes a
 * `QuorateError` that names it, so that the node behind can believe what it is given.
 *
 * Invariants
 * 1. A request that leaves here is valid by the types and limits of `api.ts`.
 * 2. Bytes are never decoded as text on the way; the text fields of kv.KVStore come back the same
 *    or are refused (a byte order mark is kept, half of a surrogate pair is an error).
 *
 * Effects: none, but `keepByteOrderMarks` sets how protobuf decodes text in this process.
 *
 * @module
 */

import { configureTextEncoding } from "@bufbuild/protobuf/wire";
import * as api from "./api.ts";
import { checkKey, valueTooLarge } from "./api_limit.ts";
import { unreachable } from "./assert.ts";
import { isWellFormed, utf8Bytes } from "./bytes.ts";
import { QuorateError } from "./errors.ts";
import * as proto from "./gen/quorate/v1/kv_pb.ts";

/** What every handler knows about its request, apart from the message. */
export interface CallFacts {
  readonly requestId: string;
  /** What is left of the client's deadline; undefined when it gave none. */
  readonly timeoutMs: number | undefined;
}

/** More replicas than a namespace can have; the node knows the real number. */
const replicasMax = 1024;

const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const looseUtf8 = new TextDecoder("utf-8", { ignoreBOM: true });
const encoder = new TextEncoder();

/**
 * Protobuf's own text decoder drops a leading byte order mark: the key "\ufeffa" would become the
 * key "a". This one keeps it.
 */
export function keepByteOrderMarks(): void {
  configureTextEncoding({
    encodeUtf8: (text) => encoder.encode(text),
    decodeUtf8: (bytes, strict) => (strict ? strictUtf8 : looseUtf8).decode(bytes),
    checkUtf8: isWellFormed,
  });
}

/** The bytes of a text field; refuses what UTF-8 cannot hold. */
export function textBytes(text: string, field: string): Uint8Array {
  if (!isWellFormed(text)) {
    throw new QuorateError("invalid-request", `${field} holds half of a surrogate pair.`, {
      hint: "Send text that is valid Unicode, or bytes over quorate.v1.KvService.",
    });
  }
  return utf8Bytes(text);
}

export function parseKey(key: Uint8Array): Uint8Array {
  checkKey(key);
  return key;
}

export function parseNamespace(name: string): string {
  if (api.namespacePattern.test(name)) return name;
  const shown = JSON.stringify(name.slice(0, 80));
  throw new QuorateError("invalid-request", `${shown} cannot be the name of a namespace.`, {
    hint: "A name has 1 to 64 characters of a-z, 0-9, '-' and '_'.",
  });
}

/** The namespace and the options of a request. */
export function parseOptions(
  request: { readonly namespace: string; readonly options?: proto.RequestOptions | undefined },
  facts: CallFacts,
): api.RequestOptions {
  const { options } = request;
  const consistency = parseConsistency(options?.consistency);
  const durability = parseDurability(options?.durability);
  const r = parseReplicas(options?.r, "r");
  const w = parseReplicas(options?.w, "w");
  const timeoutMs = parseTimeoutMs(facts.timeoutMs);
  return {
    namespace: request.namespace === "" ? api.defaultNamespace : parseNamespace(request.namespace),
    requestId: facts.requestId,
    ...(consistency !== undefined && { consistency }),
    ...(durability !== undefined && { durability }),
    ...(r !== undefined && { r }),
    ...(w !== undefined && { w }),
    ...(timeoutMs !== undefined && { timeoutMs }),
    ...(options?.explain === true && { explain: true }),
  };
}

/** A client may give itself longer than we take; one whose time is over is told so at once. */
/** The deadline of a call, within bounds. */
export function parseTimeoutMs(timeoutMs: number | undefined): number | undefined {
  if (timeoutMs === undefined) return undefined;
  if (timeoutMs <= 0) {
    throw new QuorateError("timeout", "The deadline was over before the request was begun.", {
      outcome: "none",
      hint: "Give it more time.",
    });
  }
  return Math.min(Math.max(1, Math.floor(timeoutMs)), api.timeoutMsMax);
}

function notAllowed(field: string, value: unknown, allowed: string): QuorateError {
  return new QuorateError("invalid-request", `${field} cannot be ${String(value)}.`, {
    hint: `Allowed: ${allowed}.`,
  });
}

function parseConsistency(value: proto.Consistency | undefined): api.Consistency | undefined {
  switch (value) {
    case undefined:
    case proto.Consistency.UNSPECIFIED:
      return undefined;
    case proto.Consistency.ONE:
      return "one";
    case proto.Consistency.QUORUM:
      return "quorum";
    case proto.Consistency.ALL:
      return "all";
    default:
      throw notAllowed("consistency", value, "ONE, QUORUM, ALL");
  }
}

function parseDurability(value: proto.Durability | undefined): api.Durability | undefined {
  switch (value) {
    case undefined:
    case proto.Durability.UNSPECIFIED:
      return undefined;
    case proto.Durability.FSYNC:
      return "fsync";
    case proto.Durability.MEMORY:
      return "memory";
    default:
      throw notAllowed("durability", value, "FSYNC, MEMORY");
  }
}

function parseReplicas(value: proto.Replicas | undefined, field: string): api.Replicas | undefined {
  const choice = value?.replicas;
  if (choice === undefined || choice.case === undefined) return undefined;
  if (choice.case === "count") {
    if (choice.value >= 1 && choice.value <= replicasMax) return choice.value;
    throw new QuorateError("invalid-quorum", `${field} cannot be ${choice.value}.`, {
      hint: "Ask for 1 up to the n of the namespace.",
    });
  }
  if (choice.value === proto.Consistency.QUORUM) return "quorum";
  if (choice.value === proto.Consistency.ALL) return "all";
  throw notAllowed(`${field}.level`, choice.value, "QUORUM, ALL");
}

/** What a write brings, beside its key. */
interface WriteBody {
  readonly value: Uint8Array;
  readonly contentType: string;
  readonly meta: api.Meta;
  readonly ttlSeconds?: number;
}

export function parseWriteBody(
  source: {
    readonly value: Uint8Array;
    readonly contentType: string;
    readonly meta: readonly proto.MetaEntry[];
    readonly ttlSeconds?: number | undefined;
  },
  valueBytesMax: number,
): WriteBody {
  if (source.value.length > valueBytesMax) {
    throw valueTooLarge(source.value.length, valueBytesMax);
  }
  const ttlSeconds = parseTtl(source.ttlSeconds);
  return {
    value: source.value,
    contentType: parseContentType(source.contentType),
    meta: parseMeta(source.meta),
    ...(ttlSeconds !== undefined && { ttlSeconds }),
  };
}

function parseTtl(ttlSeconds: number | undefined): number | undefined {
  if (ttlSeconds === undefined) return undefined;
  if (ttlSeconds >= 1 && ttlSeconds <= api.ttlSecondsMax) return ttlSeconds;
  throw notAllowed("ttl_seconds", ttlSeconds, `1 to ${api.ttlSecondsMax}`);
}

function parseContentType(contentType: string): string {
  if (contentType === "") return api.contentTypeDefault;
  if (api.contentTypePattern.test(contentType) && contentType.length <= api.contentTypeBytesMax) {
    return contentType;
  }
  throw new QuorateError("invalid-request", "The content type is too long or not ASCII.", {
    hint: `It may have ${api.contentTypeBytesMax} printable ASCII characters, without spaces around.`,
  });
}

function parseMeta(entries: readonly proto.MetaEntry[]): api.Meta {
  let length = 0;
  const names = new Set<string>();
  for (const { name, value } of entries) {
    if (!api.metaNamePattern.test(name) || !api.metaTextPattern.test(value)) {
      const shown = JSON.stringify(name.slice(0, 80));
      throw new QuorateError("invalid-request", `The metadata entry ${shown} is not valid.`, {
        hint: "Names are lower-case HTTP tokens; values are printable ASCII without spaces around.",
      });
    }
    if (names.has(name)) throw notAllowed("meta", `given "${name}" twice`, "each name once");
    names.add(name);
    length += name.length + value.length;
  }
  if (length > api.metaBytesMax) {
    const said = `The metadata has ${length} bytes; ${api.metaBytesMax} are allowed.`;
    throw new QuorateError("invalid-request", said, { limit: api.metaBytesMax });
  }
  return entries.map(({ name, value }) => [name, value] as const);
}

export function parseList(request: proto.ListRequest, facts: CallFacts): api.ListRequest {
  const { limit } = request;
  if (limit > api.listLimitMax) throw notAllowed("limit", limit, `1 to ${api.listLimitMax}`);
  return {
    ...parseOptions(request, facts),
    ...(request.prefix.length > 0 && { prefix: parseBound(request.prefix, "prefix") }),
    ...(request.start !== undefined && { start: parseBound(request.start, "start") }),
    ...(request.end !== undefined && { end: parseBound(request.end, "end") }),
    ...(limit > 0 && { limit }),
    ...(request.cursor !== "" && { cursor: request.cursor }),
    ...(request.reverse && { reverse: true }),
    ...(request.values && { values: true }),
  };
}

/** A bound is at most as long as a key and one byte: the byte makes "just after this key". */
function parseBound(bound: Uint8Array, field: string): Uint8Array {
  if (bound.length <= api.keyBytesMax + 1) return bound;
  const said = `${field} has ${bound.length} bytes; ${api.keyBytesMax + 1} are allowed.`;
  throw new QuorateError("key-too-long", said, { limit: api.keyBytesMax + 1 });
}

export function parseCount(request: proto.CountRequest, facts: CallFacts): api.CountRequest {
  return {
    ...parseOptions(request, facts),
    ...(request.prefix.length > 0 && { prefix: parseBound(request.prefix, "prefix") }),
  };
}

/** One operation of a batch. */
export function parseOperation(
  message: proto.BatchOperation,
  valueBytesMax: number,
): api.BatchOperation {
  const { operation } = message;
  switch (operation.case) {
    case "get":
      return { kind: "get", key: parseKey(operation.value.key) };
    case "put":
      return {
        kind: "put",
        key: parseKey(operation.value.key),
        ...parseWriteBody(operation.value, valueBytesMax),
      };
    case "delete":
      return { kind: "delete", key: parseKey(operation.value.key) };
    case undefined:
      throw notAllowed("operation", "empty", "get, put, delete");
    default:
      return unreachable(operation);
  }
}

export function parsePolicy(
  policy: proto.NamespacePolicy | undefined,
): Partial<api.NamespacePolicy> {
  if (policy === undefined) return {};
  const { n, valueBytesMax } = policy;
  if (n !== undefined && (n < 1 || n > replicasMax)) throw notAllowed("n", n, "a number from 1");
  if (valueBytesMax !== undefined && valueBytesMax > api.valueBytesMaxLimit) {
    throw notAllowed("value_bytes_max", valueBytesMax, `up to ${api.valueBytesMaxLimit}`);
  }
  const r = parseReplicas(policy.r, "r");
  const w = parseReplicas(policy.w, "w");
  const resolve = parseResolve(policy.resolve);
  const durability = parseDurability(policy.durability);
  const ttlSeconds = parseTtl(policy.ttlSeconds);
  return {
    ...(n !== undefined && { n }),
    ...(r !== undefined && { r }),
    ...(w !== undefined && { w }),
    ...(resolve !== undefined && { resolve }),
    ...(ttlSeconds !== undefined && { ttlSeconds }),
    ...(valueBytesMax !== undefined && { valueBytesMax }),
    ...(durability !== undefined && { durability }),
  };
}

function parseResolve(value: proto.Resolve): api.Resolve | undefined {
  switch (value) {
    case proto.Resolve.UNSPECIFIED:
      return undefined;
    case proto.Resolve.LWW:
      return "lww";
    case proto.Resolve.SIBLINGS:
      return "siblings";
    default:
      throw notAllowed("resolve", value, "LWW, SIBLINGS");
  }
}
