/**
 * Message: what nodes say to each other, as values and as bytes.
 *
 * What is said thousands of times a second (writes, reads, their replies) has a binary form that is
 * written into one buffer and read as views of it. What is said now and then (gossip, agreement, a
 * search for members) is JSON under a topic. All numbers are big-endian.
 *
 *     request   0 kind u8 | 1 id u32 | 5 milliseconds left u32 | by kind ...
 *     reply     0 kind u8 | 1 id u32 | 5 epoch u48 | 11 synced sequence u48 | 17 clock u64
 *               25 counts u8 | by kind ...
 *
 * Invariants
 * 1. `decodeMessage(encodeMessage(x))` equals x, but for who sent it, which the link knows.
 * 2. Any bytes give a message or undefined; nothing is allocated beyond the length of the input.
 *
 * Effects: none. Source: docs/cluster.md, "A write" and "A read"; rules T2, I3, R3, R4 for what every reply
 * carries.
 *
 * @module
 */

import { isSlug, QuorateError } from "./errors.ts";
import type { Hlc } from "./hlc.ts";
import { ByteReader, type ByteWriter } from "./message_bytes.ts";
import type {
  DigestReply,
  DigestRequest,
  ReadReply,
  ReadRequest,
  RefusalReason,
  ReplyFrom,
  ScanEntry,
  ScanReply,
  ScanRequest,
  WriteReply,
  WriteRequest,
  WriteSource,
} from "./quorum_message.ts";
import type { Version } from "./version.ts";

export interface ColdRequest {
  readonly kind: "cold";
  readonly topic: string;
  /** A JSON value, for whoever has the topic to parse. */
  readonly body: unknown;
}

export type PeerRequest = WriteRequest | ReadRequest | ScanRequest | DigestRequest | ColdRequest;

export type ColdReply =
  | { readonly kind: "said"; readonly body: unknown }
  | {
      readonly kind: "failed";
      readonly slug: string;
      readonly detail: string;
      readonly hint?: string | undefined;
      readonly outcome?: string | undefined;
    };

export type PeerReply = WriteReply | ReadReply | ScanReply | DigestReply | ColdReply;

/** What the replying node says of itself; who it is, the link knows. */
export type ReplyFacts = Pick<ReplyFrom, "epoch" | "syncedSequence" | "clockHlc" | "counts">;

export type Message =
  | {
      readonly is: "request";
      readonly id: number;
      readonly timeoutMs: number;
      readonly request: PeerRequest;
    }
  | {
      readonly is: "reply";
      readonly id: number;
      readonly facts: ReplyFacts;
      readonly reply: PeerReply;
    };

const kinds = {
  write: 1,
  read: 2,
  scan: 3,
  cold: 4,
  digest: 5,
  took: 65,
  superseded: 66,
  covered: 67,
  later: 68,
  refused: 69,
  found: 70,
  nothing: 71,
  page: 72,
  said: 73,
  failed: 74,
  sums: 75,
} as const;

const noBytes = new Uint8Array(0);
const digestWants = ["state", "total", "sums"] as const;
const sources: readonly WriteSource[] = ["client", "client-again", "hint", "write-back", "repair"];

/** Appends a message's bytes. */
export function encodeMessage(message: Message, to: ByteWriter): void {
  if (message.is === "request") encodeRequest(message, to);
  else encodeReply(message, to);
}

function encodeRequest(
  { id, timeoutMs, request }: Extract<Message, { is: "request" }>,
  to: ByteWriter,
): void {
  to.u8(kinds[request.kind]);
  to.u32(id);
  to.u32(Math.min(0xffff_ffff, Math.max(0, Math.ceil(timeoutMs))));
  if (request.kind === "cold") {
    to.text(request.topic);
    to.json(request.body);
    return;
  }
  to.u48(request.epoch);
  to.u32(request.kind === "digest" ? 0 : request.namespaceNumber);
  to.u8(request.n);
  to.text(request.requestId);
  if (request.kind === "write") {
    to.u8((request.durability === "memory" ? 1 : 0) | (sources.indexOf(request.source) << 1));
    to.short(request.key);
    to.rest(request.record);
  } else if (request.kind === "read") {
    to.u8((request.durability === "memory" ? 1 : 0) | (request.wants === "version" ? 2 : 0));
    to.u48(request.coverMs);
    to.rest(request.key);
  } else if (request.kind === "digest") {
    to.u8(digestWants.indexOf(request.wants));
    to.u32(request.partition);
    to.u64(request.adopt);
    to.u64(request.promise);
  } else encodeScan(request, to);
}

function encodeScan(request: ScanRequest, to: ByteWriter): void {
  const { from, to: end, segments } = request;
  const bounds = (from === undefined ? 0 : 2) | (end === undefined ? 0 : 4);
  to.u8((request.reverse ? 1 : 0) | bounds | (segments === undefined ? 0 : 8));
  to.u32(request.partition);
  to.u32(request.limit);
  to.short(request.prefix);
  if (from !== undefined) to.short(from);
  if (end !== undefined) to.short(end);
  if (segments !== undefined) to.short(segments);
}

function encodeReply(
  { id, facts, reply }: Extract<Message, { is: "reply" }>,
  to: ByteWriter,
): void {
  to.u8(kinds[reply.kind]);
  to.u32(id);
  to.u48(facts.epoch);
  to.u48(facts.syncedSequence);
  to.u64(facts.clockHlc);
  to.u8(facts.counts ? 1 : 0);
  if (reply.kind === "superseded") encodeVersion(reply.version, to);
  else if (reply.kind === "later") to.u64(reply.stamp);
  else if (reply.kind === "refused") {
    const { reason, detail, document, mayHold } = reply;
    to.json({ reason, detail, document, mayHold });
  } else if (reply.kind === "found") encodeFound(reply, to);
  else if (reply.kind === "page") encodePage(reply, to);
  else if (reply.kind === "nothing") {
    if (reply.watermark !== undefined) to.u64(reply.watermark);
  } else if (reply.kind === "sums") {
    to.u8(reply.isDamaged ? 1 : 0);
    to.u64(reply.promise);
    to.u64(reply.watermark);
    to.u64(reply.total);
    to.rest(reply.sums ?? noBytes);
  } else if (reply.kind === "said") to.json(reply.body);
  else if (reply.kind === "failed") {
    const { slug, detail, hint, outcome } = reply;
    to.json({ slug, detail, hint, outcome });
  }
}

function encodeVersion({ hlc, origin }: Version, to: ByteWriter): void {
  to.u64(hlc);
  to.u64(origin);
}

function encodeFound(reply: Extract<ReadReply, { kind: "found" }>, to: ByteWriter): void {
  const { version, tombstone, expiresAtMs, record, watermark } = reply;
  const parts = (expiresAtMs === undefined ? 0 : 2) | (record === undefined ? 0 : 4);
  to.u8((tombstone ? 1 : 0) | parts | (watermark === undefined ? 0 : 8));
  encodeVersion(version, to);
  if (expiresAtMs !== undefined) to.u48(expiresAtMs);
  if (watermark !== undefined) to.u64(watermark);
  if (record !== undefined) to.rest(record);
}

function encodePage(reply: Extract<ScanReply, { kind: "page" }>, to: ByteWriter): void {
  const { entries, more, last } = reply;
  to.u8((more ? 1 : 0) | (last === undefined ? 0 : 2));
  if (last !== undefined) to.short(last);
  to.u32(entries.length);
  for (const entry of entries) {
    const { expiresAtMs } = entry;
    to.u8((entry.tombstone ? 1 : 0) | (expiresAtMs === undefined ? 0 : 2));
    to.short(entry.tableKey);
    to.short(entry.key);
    encodeVersion(entry.version, to);
    if (expiresAtMs !== undefined) to.u48(expiresAtMs);
    to.text(entry.contentType);
    to.u32(entry.valueBytes);
  }
}

/** The message in bytes, as views of them; undefined for bytes that are none. */
export function decodeMessage(bytes: Uint8Array): Message | undefined {
  const from = new ByteReader(bytes);
  const kind = from.u8();
  const id = from.u32();
  const message = kind < kinds.took ? decodeRequest(kind, id, from) : decodeReply(kind, id, from);
  return from.isBroken || message === undefined || !from.isAtEnd ? undefined : message;
}

function decodeRequest(kind: number, id: number, from: ByteReader): Message | undefined {
  const timeoutMs = from.u32();
  const request = kind === kinds.cold ? decodeCold(from) : decodeHot(kind, from);
  return request === undefined ? undefined : { is: "request", id, timeoutMs, request };
}

function decodeCold(from: ByteReader): PeerRequest {
  return { kind: "cold", topic: from.text(), body: from.json() };
}

function decodeHot(kind: number, from: ByteReader): PeerRequest | undefined {
  const epoch = from.u48();
  const namespaceNumber = from.u32();
  const n = from.u8();
  const requestId = from.text();
  const flags = from.u8();
  const common = { epoch, namespaceNumber, n, requestId };
  const durability = (flags & 1) !== 0 ? "memory" : "fsync";
  if (kind === kinds.write) {
    const source = sources[flags >> 1];
    const key = from.short();
    const record = from.rest();
    if (source === undefined) return undefined;
    return { kind: "write", ...common, durability, source, key, record };
  }
  if (kind === kinds.read) {
    const wants = (flags & 2) !== 0 ? "version" : "record";
    const coverMs = from.u48();
    return { kind: "read", ...common, durability, wants, coverMs, key: from.rest() };
  }
  if (kind !== kinds.scan && kind !== kinds.digest) return undefined;
  const partition = from.u32();
  if (kind === kinds.digest) {
    const wants = digestWants[flags];
    if (wants === undefined) return undefined;
    const stamps = { adopt: from.u64() as Hlc, promise: from.u64() as Hlc };
    return { kind: "digest", epoch, n, requestId, partition, wants, ...stamps };
  }
  const limit = from.u32();
  const prefix = from.short();
  const start = (flags & 2) !== 0 ? { from: from.short() } : {};
  const end = (flags & 4) !== 0 ? { to: from.short() } : {};
  const only = (flags & 8) !== 0 ? { segments: from.short() } : {};
  const reverse = (flags & 1) !== 0;
  return { kind: "scan", ...common, partition, limit, prefix, reverse, ...start, ...end, ...only };
}

function decodeReply(kind: number, id: number, from: ByteReader): Message | undefined {
  const facts: ReplyFacts = {
    epoch: from.u48(),
    syncedSequence: from.u48(),
    clockHlc: from.u64() as Hlc,
    counts: from.u8() === 1,
  };
  const reply = decodeAnswer(kind, from);
  return reply === undefined ? undefined : { is: "reply", id, facts, reply };
}

function decodeAnswer(kind: number, from: ByteReader): PeerReply | undefined {
  switch (kind) {
    case kinds.took:
      return { kind: "took" };
    case kinds.superseded:
      return { kind: "superseded", version: decodeVersion(from) };
    case kinds.covered:
      return { kind: "covered" };
    case kinds.later:
      return { kind: "later", stamp: from.u64() as Hlc };
    case kinds.refused:
      return decodeRefused(from);
    case kinds.found:
      return decodeFound(from);
    case kinds.nothing:
      return from.isAtEnd ? { kind: "nothing" } : { kind: "nothing", watermark: from.u64() as Hlc };
    case kinds.page:
      return decodePage(from);
    case kinds.sums:
      return decodeSums(from);
    case kinds.said:
      return { kind: "said", body: from.json() };
    case kinds.failed:
      return decodeFailed(from);
    default:
      return undefined;
  }
}

function decodeVersion(from: ByteReader): Version {
  return { hlc: from.u64() as Hlc, origin: from.u64() };
}

function decodeRefused(from: ByteReader): PeerReply | undefined {
  const { reason, detail, document, mayHold } = from.fields();
  if (typeof reason !== "string" || typeof detail !== "string") return undefined;
  return {
    kind: "refused",
    reason: reason as RefusalReason,
    detail,
    ...(document === undefined ? {} : { document }),
    ...(mayHold === true ? { mayHold } : {}),
  };
}

function decodeFailed(from: ByteReader): PeerReply | undefined {
  const { slug, detail, hint, outcome } = from.fields();
  if (typeof slug !== "string" || typeof detail !== "string") return undefined;
  return {
    kind: "failed",
    slug,
    detail,
    ...(typeof hint === "string" ? { hint } : {}),
    ...(typeof outcome === "string" ? { outcome } : {}),
  };
}

function decodeFound(from: ByteReader): PeerReply {
  const flags = from.u8();
  const version = decodeVersion(from);
  const expiry = (flags & 2) !== 0 ? { expiresAtMs: from.u48() } : {};
  const mark = (flags & 8) !== 0 ? { watermark: from.u64() as Hlc } : {};
  const record = (flags & 4) !== 0 ? { record: from.rest() } : {};
  return { kind: "found", version, tombstone: (flags & 1) !== 0, ...expiry, ...mark, ...record };
}

function decodeSums(from: ByteReader): PeerReply {
  const isDamaged = from.u8() === 1;
  const stamps = { promise: from.u64() as Hlc, watermark: from.u64() as Hlc };
  const told = { kind: "sums", isDamaged, ...stamps, total: from.u64() } as const;
  const sums = from.rest();
  return sums.length === 0 ? told : { ...told, sums };
}

/** The least that an entry of a page takes. */
const entryBytesMin = 26;

function decodePage(from: ByteReader): PeerReply | undefined {
  const flags = from.u8();
  const last = (flags & 2) !== 0 ? from.short() : undefined;
  const count = from.u32();
  // A count that the bytes cannot hold would allocate what nobody sent.
  if (count > from.left / entryBytesMin) return undefined;
  const entries: ScanEntry[] = [];
  for (let index = 0; index < count && !from.isBroken; index += 1) entries.push(decodeEntry(from));
  return { kind: "page", entries, more: (flags & 1) !== 0, last };
}

function decodeEntry(from: ByteReader): ScanEntry {
  const flags = from.u8();
  const tableKey = from.short();
  const key = from.short();
  const version = decodeVersion(from);
  const expiry = (flags & 2) !== 0 ? { expiresAtMs: from.u48() } : {};
  const contentType = from.text();
  const valueBytes = from.u32();
  const tombstone = (flags & 1) !== 0;
  return { tableKey, key, version, tombstone, ...expiry, contentType, valueBytes };
}

/** A failure of a cold request, as it travels. */
export function failureReply(thrown: unknown): ColdReply {
  const { slug, detail, hint, outcome } = QuorateError.from(thrown);
  return { kind: "failed", slug, detail, hint, ...(outcome === undefined ? {} : { outcome }) };
}

/** The failure that travelled. */
export function failureOf(reply: Extract<ColdReply, { kind: "failed" }>): QuorateError {
  const { slug, detail, hint, outcome } = reply;
  const known = isSlug(slug) ? slug : "internal";
  const isOutcome = outcome === "none" || outcome === "partial" || outcome === "unknown";
  return new QuorateError(known, detail, {
    ...(hint === undefined ? {} : { hint }),
    ...(isOutcome ? { outcome } : {}),
  });
}
