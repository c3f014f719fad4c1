/**
 * HttpKv: one key over HTTP: read, write, delete.
 *
 * Each operation parses the request completely, then asks the node once, then writes the answer
 * down. Nothing here waits between a check and the request to the node except for the body.
 *
 * Invariants
 * 1. Namespace, key, parameters and headers are checked before the first byte of a body is read.
 * 2. A conditional write is refused, never checked in a way that can race.
 * 3. The ETag is strong: the version of the record, in quotes.
 *
 * Effects: those of the node, through `Api`.
 * Source: RFC 9110 sections 8.8, 9.3, 13.
 *
 * @module
 */

import type {
  Answer,
  DeleteRequest,
  GetAnswer,
  GetRequest,
  LiveRecord,
  Meta,
  NamespacePolicy,
  PutRequest,
  RequestOptions,
  WriteAnswer,
} from "./api.ts";
import { contentTypeBytesMax, contentTypeDefault, metaBytesMax, metaNamePattern } from "./api.ts";
import { valueTooLarge } from "./api_limit.ts";
import { QuorateError } from "./errors.ts";
import {
  type BodyBound,
  type Exchange,
  type HttpContext,
  invalidRequest,
  privateNoCache,
  type Reply,
} from "./exchange.ts";
import { grouped } from "./figures.ts";
import { hlcWallMs } from "./hlc.ts";
import { aboutOf, explainHeader, problemReply } from "./problem.ts";
import { exactlyOne, optionHeaders, parameters, parseParameters } from "./schemas.ts";
import {
  parseKey64,
  parseNamespace,
  parsePathKey,
  parseQueryKey,
  printable,
  splitKeyPath,
} from "./target.ts";
import { type Version, versionText } from "./version.ts";

const kvPath = "/v1/kv/";
const metaPrefix = "quorate-meta-";
const printablePattern = /^[\x20-\x7e]*$/;
const formContentType = "application/x-www-form-urlencoded";

/** `GET` and `HEAD /v1/kv/{namespace}/{key}`. */
export async function getKey(context: HttpContext, exchange: Exchange): Promise<Reply> {
  const asked = parseKey(exchange);
  const options = hasParameters(exchange)
    ? readOptions(parseParameters(parameters.getKey, exchange))
    : noOptions;
  const request: GetRequest = { ...options, ...asked, requestId: exchange.requestId };
  const answer = await context.api.get(request);
  const headers = answerHeaders(answer, "Quorate-Replies");
  const { record } = answer;
  if (record === undefined) return keyNotFound(exchange, answer, headers);
  const etag = etagOf(record.version);
  headers.push("ETag", etag, "Last-Modified", lastModified(context, record.version));
  headers.push("Accept-Ranges", "none");
  if (record.expiresAtMs !== undefined) {
    headers.push("Quorate-Expires", new Date(record.expiresAtMs).toISOString());
  }
  if (isOtherVersion(exchange, etag)) {
    const error = new QuorateError("precondition-failed", `The key's version is ${etag}.`, {
      hint: "Read the key again and use the present ETag.",
    });
    return problemReply(error, aboutOf(exchange), headers);
  }
  headers.push("Cache-Control", privateNoCache);
  if (isNotModified(exchange, etag)) return { status: 304, headers };
  pushRepresentation(headers, record);
  return { status: 200, headers, body: record.value };
}

/** `PUT /v1/kv/{namespace}/{key}`. */
export async function putKey(context: HttpContext, exchange: Exchange): Promise<Reply> {
  const asked = parseKey(exchange);
  const parsed = hasParameters(exchange) ? parseParameters(parameters.putKey, exchange) : undefined;
  refuseConditions(exchange);
  refuseEncodings(exchange);
  const contentType = parseContentType(exchange.header("content-type"));
  const meta = parseMeta(exchange);
  const { policy } = context.api.namespace(asked.namespace);
  const body = exchange.readBody(context, valueBound(policy));
  // Mostly it is at hand, and to wait for it would cost a turn of the microtasks.
  const value = body instanceof Promise ? await body : body;
  const request: PutRequest = {
    ...(parsed === undefined ? noOptions : writeOptions(parsed)),
    ...asked,
    ...(parsed?.ttl === undefined ? {} : { ttlSeconds: parsed.ttl }),
    requestId: exchange.requestId,
    value,
    contentType,
    meta,
  };
  exchange.sent = true;
  return written(context, await context.api.put(request), true);
}

/** `DELETE /v1/kv/{namespace}/{key}`. */
export async function deleteKey(context: HttpContext, exchange: Exchange): Promise<Reply> {
  const asked = parseKey(exchange);
  const options = hasParameters(exchange)
    ? writeOptions(parseParameters(parameters.deleteKey, exchange))
    : noOptions;
  refuseConditions(exchange);
  const request: DeleteRequest = { ...options, ...asked, requestId: exchange.requestId };
  exchange.sent = true;
  return written(context, await context.api.delete(request), false);
}

/** The options of a read, from its checked parameters. */
export function readOptions(
  parsed: Readonly<{
    consistency?: RequestOptions["consistency"] | undefined;
    r?: RequestOptions["r"] | undefined;
    timeout?: number | undefined;
    explain?: boolean | undefined;
  }>,
): ParsedOptions {
  return {
    ...(parsed.consistency === undefined ? {} : { consistency: parsed.consistency }),
    ...(parsed.r === undefined ? {} : { r: parsed.r }),
    ...(parsed.timeout === undefined ? {} : { timeoutMs: parsed.timeout }),
    ...(parsed.explain === undefined ? {} : { explain: parsed.explain }),
  };
}

/** The options of a write, from its checked parameters. */
export function writeOptions(
  parsed: Parameters<typeof readOptions>[0] &
    Readonly<{
      w?: RequestOptions["w"] | undefined;
      durability?: RequestOptions["durability"] | undefined;
    }>,
): ParsedOptions {
  return {
    ...readOptions(parsed),
    ...(parsed.w === undefined ? {} : { w: parsed.w }),
    ...(parsed.durability === undefined ? {} : { durability: parsed.durability }),
  };
}

export type ParsedOptions = Omit<RequestOptions, "namespace" | "requestId">;

const noOptions: ParsedOptions = {};

/** Quorate-Replies or -Acks, -Consistency, -Node, -Epoch, and -Explain where asked for. */
export function answerHeaders(
  answer: Answer,
  counted: "Quorate-Replies" | "Quorate-Acks",
): string[] {
  const headers = [
    counted,
    `${answer.replies}/${answer.replicas}`,
    "Quorate-Consistency",
    answer.consistency,
    "Quorate-Node",
    answer.node,
    "Quorate-Epoch",
    String(answer.epoch),
  ];
  if (answer.explain !== undefined) headers.push(...explainHeader(answer.explain));
  return headers;
}

export function etagOf(version: Version): string {
  return `"${versionText(version)}"`;
}

/** The reply for a key that is not there: the problem, with what the read counted. */
export function keyNotFound(
  exchange: Exchange,
  answer: GetAnswer,
  headers: string[],
  members: Readonly<Record<string, unknown>> = {},
): Reply {
  const error = QuorateError.untraced(
    "key-not-found",
    `There is no such key in '${exchange.namespace}'; ${answer.replies} of ${answer.replicas} replicas answered.`,
    { hint: "It was never written, was deleted, or has expired.", epoch: answer.epoch },
  );
  return problemReply(error, { ...aboutOf(exchange), members }, headers);
}

function valueBound(policy: NamespacePolicy): BodyBound {
  const bytesMax = policy.valueBytesMax;
  return { bytesMax, tooLarge: (bytes) => valueTooLarge(bytes, bytesMax) };
}

/** The content type to store for a Content-Type header. */
export function parseContentType(header: string | undefined): string {
  if (header === undefined || header === "") return contentTypeDefault;
  if (header.length > contentTypeBytesMax || !printablePattern.test(header)) {
    throw invalidRequest(
      "The Content-Type has more than 256 characters, or ones that are not printable ASCII.",
      "Send a shorter one, or none.",
    );
  }
  const essence = header.split(";", 1)[0] ?? "";
  return essence.trim().toLowerCase() === formContentType ? contentTypeDefault : header;
}

/** Whether the meta of a record is within its limit, names and values together. */
export function checkMetaBytes(meta: Meta): void {
  let bytes = 0;
  for (const [name, value] of meta) bytes += name.length + value.length;
  if (bytes <= metaBytesMax) return;
  throw new QuorateError(
    "headers-too-large",
    `The user metadata has ${grouped(bytes)} bytes; 2,048 are allowed.`,
    { outcome: "none", limit: metaBytesMax, hint: "Put what is large into the value." },
  );
}

/** A body that is encoded or a part of a value is never what should be stored. */
export function refuseEncodings(exchange: Exchange): void {
  const encoding = exchange.header("content-encoding");
  if (encoding !== undefined && encoding.trim().toLowerCase() !== "identity") {
    throw new QuorateError(
      "unsupported-media-type",
      `The body has the Content-Encoding '${printable(encoding)}'; only identity is taken.`,
      { outcome: "none", hint: "Send the bytes themselves, without Content-Encoding." },
    );
  }
  // node:http takes the chunks apart and leaves what else was done to them as it is.
  const coding = exchange.header("transfer-encoding");
  if (coding !== undefined && coding.trim().toLowerCase() !== "chunked") {
    throw new QuorateError(
      "unsupported-media-type",
      `The body has the Transfer-Encoding '${printable(coding)}'; only chunked is taken.`,
      { outcome: "none", hint: "Send the bytes themselves, in chunks or with a Content-Length." },
    );
  }
  if (exchange.header("content-range") !== undefined) {
    throw invalidRequest(
      "A PUT with Content-Range would write a part of a value, which is not possible.",
      "Send the whole value without Content-Range.",
    );
  }
}

/** The namespace and key that a request names, in its path or its query. */
export function parseKey(
  exchange: Exchange,
  prefix: string = kvPath,
): { namespace: string; key: Uint8Array } {
  const { path, query } = exchange.target;
  const parts = splitKeyPath(path, prefix.length);
  const namespace = parseNamespace(parts.namespace);
  exchange.namespace = namespace;
  const key =
    query === undefined && parts.key !== undefined
      ? parsePathKey(parts.key)
      : keyOfForms(parts.key, exchange.parameters);
  exchange.key = key;
  return { namespace, key };
}

function keyOfForms(pathKey: string | undefined, given: ReadonlyMap<string, string>): Uint8Array {
  const queryKey = given.get("key");
  const key64 = given.get("key64");
  const form = exactlyOne("key", [
    pathKey === undefined ? undefined : () => parsePathKey(pathKey),
    queryKey === undefined ? undefined : () => parseQueryKey(queryKey),
    key64 === undefined ? undefined : () => parseKey64(key64),
  ]);
  return form();
}

const optionHeaderNames = Object.values(optionHeaders).map((name) => name.toLowerCase());

/** Whether anything but the key is asked for; most requests ask for nothing. */
function hasParameters(exchange: Exchange): boolean {
  if (exchange.target.query !== undefined) return true;
  for (const name of optionHeaderNames) if (exchange.header(name) !== undefined) return true;
  return false;
}

function pushRepresentation(headers: string[], record: LiveRecord): void {
  // Not every runtime refuses a line break in a header, and a record may be older than our checks.
  const { contentType } = record;
  const isSafe = contentType !== "" && printablePattern.test(contentType);
  headers.push(
    "Content-Type",
    isSafe ? contentType : contentTypeDefault,
    "Content-Length",
    String(record.value.length),
    "X-Content-Type-Options",
    "nosniff",
    "Content-Security-Policy",
    "sandbox",
  );
  for (const [name, value] of record.meta) {
    if (!metaNamePattern.test(name) || !printablePattern.test(value)) continue;
    headers.push(`Quorate-Meta-${name}`, value);
  }
}

/** Cut to the second, and never after the Date of the same reply. */
function lastModified(context: HttpContext, version: Version): string {
  return context.versionDates.text(Math.min(hlcWallMs(version.hlc), context.clock.nowMs()));
}

function written(context: HttpContext, answer: WriteAnswer, isPut: boolean): Reply {
  const headers = answerHeaders(answer, "Quorate-Acks");
  headers.push("Quorate-Durability", answer.durability, "Cache-Control", privateNoCache);
  if (!isPut) return { status: 204, headers };
  headers.push("ETag", etagOf(answer.version));
  headers.push("Last-Modified", lastModified(context, answer.version));
  if (answer.expiresAtMs !== undefined) {
    headers.push("Quorate-Expires", new Date(answer.expiresAtMs).toISOString());
  }
  return { status: 204, headers };
}

/** What a write is told that has a condition: passed over, it would write what its sender guards. */
export function refuseConditions(exchange: Exchange): void {
  for (const name of ["if-match", "if-none-match", "if-unmodified-since"]) {
    if (exchange.header(name) === undefined) continue;
    throw new QuorateError(
      "conditional-needs-strong",
      `The condition ${name} cannot be checked without a race, so the write was refused.`,
      { outcome: "none", hint: "Leave the condition out." },
    );
  }
}

function isNotModified(exchange: Exchange, etag: string): boolean {
  const condition = exchange.header("if-none-match");
  if (condition === undefined) return false;
  // A weak comparison: W/ in front of a tag makes no difference for If-None-Match.
  return condition.split(",").some((part) => {
    const tag = part.trim();
    return tag === "*" || tag === etag || tag === `W/${etag}`;
  });
}

/** Whether If-Match names another version; on a read this cannot race. */
function isOtherVersion(exchange: Exchange, etag: string): boolean {
  const condition = exchange.header("if-match");
  if (condition === undefined) return false;
  return !condition.split(",").some((part) => part.trim() === "*" || part.trim() === etag);
}

function parseMeta(exchange: Exchange): Meta {
  const meta: [string, string][] = [];
  for (const name of exchange.source.headerNames()) {
    if (!name.startsWith(metaPrefix)) continue;
    const value = exchange.header(name) ?? "";
    if (name.length === metaPrefix.length || !printablePattern.test(value)) {
      throw invalidRequest(
        `The header ${printable(name)} has no name after 'Quorate-Meta-', or a value that is not printable ASCII.`,
        "Name it, and encode other values, for example as base64url.",
      );
    }
    meta.push([name.slice(metaPrefix.length), value]);
  }
  if (meta.length > 0) checkMetaBytes(meta);
  return meta;
}
