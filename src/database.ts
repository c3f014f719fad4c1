/**
 * Database: a node inside the application's own process, with keys and values as it likes them.
 *
 * Strings stand for their UTF-8. What a client over HTTP has checked by the server is checked here,
 * since there is none.
 *
 * Invariants
 * 1. A call that rejects with `invalid-…` has changed nothing.
 * 2. Bytes handed in are copied before the call gives way to others; bytes handed out are the caller's.
 *
 * Effects: those of the node behind it.
 *
 * @module
 */

import {
  type Api,
  type Consistency,
  contentTypeBytesMax,
  contentTypeDefault,
  contentTypePattern,
  type Durability,
  defaultNamespace,
  keyBytesMax,
  listLimitDefault,
  listLimitMax,
  type Meta,
  metaBytesMax,
  metaNamePattern,
  metaTextPattern,
  type Replicas,
  timeoutMsMax,
  ttlSecondsMax,
} from "./api.ts";
import { checkKey } from "./api_limit.ts";
import type { Random } from "./capability.ts";
import { QuorateError } from "./errors.ts";
import type { QuorateNode } from "./node.ts";
import * as kinds from "./option_kinds.ts";
import { versionText } from "./version.ts";

/** A key or value: bytes, or text that stands for its UTF-8. */
export type Bytes = string | Uint8Array;

/** What any request may say; what is left out comes from the namespace's policy. */
export interface RequestChoices {
  /** Default `default`. */
  readonly namespace?: string | undefined;
  readonly consistency?: Consistency | undefined;
  /** How many replicas a read asks: 1 or more, `quorum` or `all`; instead of `consistency`. */
  readonly r?: Replicas | undefined;
  /** How many replicas a write waits for; instead of `consistency`. */
  readonly w?: Replicas | undefined;
  /** 1 to 60,000; default 5,000. */
  readonly timeoutMs?: number | undefined;
}

export interface DeleteChoices extends RequestChoices {
  /** Whether the call waits for the sync (`fsync`, the default) or not (`memory`). */
  readonly durability?: Durability | undefined;
}

export interface PutChoices extends DeleteChoices {
  /** Seconds until the key expires: 1 to 315,360,000. */
  readonly ttlSeconds?: number | undefined;
  /** Default `application/octet-stream`; at most 256 printable ASCII characters. */
  readonly contentType?: string | undefined;
  /** Names in lower case, values printable ASCII, 2 KiB in all. */
  readonly meta?: Readonly<Record<string, string>> | undefined;
}

export interface ListChoices extends RequestChoices {
  readonly prefix?: Bytes | undefined;
  /** Inclusive. */
  readonly start?: Bytes | undefined;
  /** Exclusive. */
  readonly end?: Bytes | undefined;
  /** 1 to 1,000; default 100. */
  readonly limit?: number | undefined;
  /** `next` of the page before, with the same prefix and direction. */
  readonly cursor?: string | undefined;
  readonly reverse?: boolean | undefined;
  /** Whether items carry their values. */
  readonly values?: boolean | undefined;
}

/** What a write was given. */
export interface Written {
  /** `<hlc, 16 hex>-<origin, 16 hex>`; the greater one is the newer one. */
  readonly version: string;
  readonly durability: Durability;
  readonly expiresAtMs: number | undefined;
  /** So many replicas had it when the write was acknowledged, of `replicas`. */
  readonly acks: number;
  readonly replicas: number;
}

/** A record as it is stored. */
export interface DatabaseRecord {
  readonly value: Uint8Array;
  readonly contentType: string;
  readonly meta: Readonly<Record<string, string>>;
  readonly version: string;
  readonly expiresAtMs: number | undefined;
  /** The value as text; bytes that are not UTF-8 become U+FFFD. */
  text(): string;
  /** The value as parsed JSON. Throws a SyntaxError when it is none. */
  json(): unknown;
}

export interface DatabaseItem {
  readonly key: Uint8Array;
  readonly version: string;
  /** The length of the value. */
  readonly bytes: number;
  readonly contentType: string;
  readonly expiresAtMs: number | undefined;
  /** Present when values were asked for. */
  readonly value: Uint8Array | undefined;
}

export interface DatabasePage {
  readonly items: readonly DatabaseItem[];
  /** Undefined on the last page. */
  readonly next: string | undefined;
}

const requestKinds: kinds.KindsOf<RequestChoices> = {
  namespace: kinds.text,
  consistency: kinds.consistency,
  r: kinds.replicas,
  w: kinds.replicas,
  timeoutMs: kinds.whole(1, timeoutMsMax),
};

const deleteKinds: kinds.KindsOf<DeleteChoices> = {
  ...requestKinds,
  durability: kinds.durability,
};

const putKinds: kinds.KindsOf<PutChoices> = {
  ...deleteKinds,
  ttlSeconds: kinds.whole(1, ttlSecondsMax),
  contentType: {
    what: `1 to ${contentTypeBytesMax} printable ASCII characters without spaces at its ends`,
    fits: (value) =>
      typeof value === "string" &&
      value.length <= contentTypeBytesMax &&
      contentTypePattern.test(value),
  },
  meta: kinds.texts,
};

const listKinds: kinds.KindsOf<ListChoices> = {
  ...requestKinds,
  prefix: kinds.textOrBytes,
  start: kinds.textOrBytes,
  end: kinds.textOrBytes,
  limit: kinds.whole(1, listLimitMax),
  cursor: kinds.cursor,
  reverse: kinds.flag,
  values: kinds.flag,
};

/** What each call takes. */
const tables = {
  put: { call: "put()", kinds: putKinds },
  get: { call: "get()", kinds: requestKinds },
  delete: { call: "delete()", kinds: deleteKinds },
  list: { call: "list()", kinds: listKinds },
} as const satisfies Readonly<Record<string, kinds.OptionTable>>;

/** An open data folder. */
export class Database {
  readonly #node: QuorateNode;
  readonly #random: Random;

  readonly #close: () => Promise<void>;

  constructor(node: QuorateNode, random: Random, close = () => node.close()) {
    this.#node = node;
    this.#random = random;
    this.#close = close;
  }

  /**
   * The node itself: everything that the edges of a server may ask. Nothing is copied here: bytes that it
   * answers may be the store's own, and whoever changes them has damaged a record.
   */
  get api(): Api {
    return this.#node;
  }

  /** Settles, never rejects, when the store has ended by itself, with the reason. */
  get ended(): Promise<QuorateError> {
    return this.#node.ended;
  }

  /**
   * Stores a value under a key; resolves when it is on disk.
   *
   * @throws `invalid-key`, `key-too-long`, `value-too-large`, `invalid-request`,
   * `namespace-not-found`, `disk-full`, `overloaded`, `read-only`, `timeout`
   */
  async put(key: Bytes, value: Bytes, choices: PutChoices = {}): Promise<Written> {
    kinds.checkOptions(tables.put, choices);
    const { durability, ttlSeconds, contentType = contentTypeDefault, meta = {} } = choices;
    const answer = await this.#node.put({
      ...this.#options(choices),
      key: keyBytes(key),
      value: ownBytes("value", value),
      contentType,
      meta: metaOf(meta),
      ...(durability === undefined ? {} : { durability }),
      ...(ttlSeconds === undefined ? {} : { ttlSeconds }),
    });
    return writtenOf(answer);
  }

  /** The record under a key; undefined when there is none. @throws `corruption`, `timeout` */
  async get(key: Bytes, choices: RequestChoices = {}): Promise<DatabaseRecord | undefined> {
    kinds.checkOptions(tables.get, choices);
    const { record } = await this.#node.get({ ...this.#options(choices), key: keyBytes(key) });
    if (record === undefined) return undefined;
    const { version, contentType, meta, expiresAtMs } = record;
    // A large memtable must not stay alive for one small value that somebody keeps.
    const value = record.value.slice();
    const text = (): string => new TextDecoder("utf-8", { ignoreBOM: true }).decode(value);
    return {
      value,
      contentType,
      meta: Object.fromEntries(meta),
      version: versionText(version),
      expiresAtMs,
      text,
      json: () => JSON.parse(text()),
    };
  }

  /** Deletes a key, also one that is not there; resolves when that is on disk. */
  async delete(key: Bytes, choices: DeleteChoices = {}): Promise<Written> {
    kinds.checkOptions(tables.delete, choices);
    const { durability } = choices;
    const answer = await this.#node.delete({
      ...this.#options(choices),
      key: keyBytes(key),
      ...(durability === undefined ? {} : { durability }),
    });
    return writtenOf(answer);
  }

  /** A page of keys in bytewise order. @throws `invalid-request` for a cursor of another list */
  async list(choices: ListChoices = {}): Promise<DatabasePage> {
    kinds.checkOptions(tables.list, choices);
    const { prefix, start, end, limit = listLimitDefault, cursor, reverse, values } = choices;
    const { items, next } = await this.#node.list({
      ...this.#options(choices),
      limit,
      reverse: reverse === true,
      values: values === true,
      ...(prefix === undefined ? {} : { prefix: boundBytes("prefix", prefix) }),
      ...(start === undefined ? {} : { start: boundBytes("start", start) }),
      ...(end === undefined ? {} : { end: boundBytes("end", end) }),
      ...(cursor === undefined ? {} : { cursor }),
    });
    const shown = items.map((item) => ({
      // The store's own key: one that the caller changes would be another key in its order.
      key: item.key.slice(),
      version: versionText(item.version),
      bytes: item.bytes,
      contentType: item.contentType,
      expiresAtMs: item.expiresAtMs,
      value: item.value?.slice(),
    }));
    return { items: shown, next };
  }

  /** Waits for what is under way, brings everything into the table, releases the folder. Idempotent. */
  close(): Promise<void> {
    return this.#close();
  }

  #options({ namespace = defaultNamespace, consistency, r, w, timeoutMs }: RequestChoices): {
    namespace: string;
    requestId: string;
    consistency?: Consistency;
    r?: Replicas;
    w?: Replicas;
    timeoutMs?: number;
  } {
    return {
      namespace,
      requestId: this.#random.u32().toString(16).padStart(8, "0"),
      ...(consistency === undefined ? {} : { consistency }),
      ...(r === undefined ? {} : { r }),
      ...(w === undefined ? {} : { w }),
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    };
  }
}

function writtenOf(answer: Awaited<ReturnType<Api["put"]>>): Written {
  const { version, durability, expiresAtMs, replies, replicas } = answer;
  return { version: versionText(version), durability, expiresAtMs, acks: replies, replicas };
}

function keyBytes(key: Bytes): Uint8Array {
  const bytes = ownBytes("key", key);
  checkKey(bytes, { outcome: "none" });
  return bytes;
}

/** A prefix or an end of a range: it may be empty. */
function boundBytes(name: "prefix" | "start" | "end", bound: Bytes): Uint8Array {
  const bytes = ownBytes(name, bound);
  if (bytes.length > keyBytesMax)
    throw invalid(`A prefix or bound has at most ${keyBytesMax} bytes.`);
  return bytes;
}

/** The bytes of a text, or a copy: `slice` of a Buffer would give another view of the caller's. */
function ownBytes(name: kinds.BytesName, given: Bytes): Uint8Array {
  const bytes = kinds.bytesOf(name, given);
  return bytes === given ? new Uint8Array(bytes) : bytes;
}

function metaOf(meta: Readonly<Record<string, string>>): Meta {
  const pairs = Object.entries(meta);
  let bytes = 0;
  for (const [name, value] of pairs) {
    bytes += name.length + (value?.length ?? 0);
    const fits =
      typeof value === "string" && metaNamePattern.test(name) && metaTextPattern.test(value);
    if (!fits) {
      throw invalid(
        `The metadata '${name}' has to have a lower-case header name and a printable ASCII value.`,
      );
    }
  }
  if (bytes > metaBytesMax)
    throw invalid(`The metadata has ${bytes} bytes; ${metaBytesMax} are allowed.`);
  return pairs.sort(([a], [b]) => (a < b ? -1 : 1));
}

function invalid(detail: string): QuorateError {
  return new QuorateError("invalid-request", detail, { outcome: "none" });
}
