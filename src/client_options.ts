/**
 * Client options: what each call of the client takes, as types and as checks.
 *
 * The node checks what reaches it. What never would (an option of another name, a value that a URL
 * or JSON says differently) is checked here, before anything is sent.
 *
 * Effects: none.
 *
 * @module
 */

import {
  type Consistency,
  type Durability,
  listLimitMax,
  type Replicas,
  timeoutMsMax,
  ttlSecondsMax,
} from "./api.ts";
import type { Fetch } from "./client_fetch.ts";
import type { BatchOperation } from "./client_shapes.ts";
import * as kinds from "./option_kinds.ts";

/** A key as bytes, or as text. */
export type Key = string | Uint8Array;

/** What any request may say. What is left out is the client's own choice, else the namespace's. */
export interface RequestChoices {
  readonly namespace?: string | undefined;
  /** 1 to 60,000; default 5,000, and 15,000 for what changes the topology or a namespace. */
  readonly timeoutMs?: number | undefined;
  readonly consistency?: Consistency | undefined;
  /** Cancels the request; its reason is thrown. A write may have taken place. */
  readonly signal?: AbortSignal | undefined;
}

export interface ReadChoices extends RequestChoices {
  readonly r?: Replicas | undefined;
}

export interface WriteChoices extends RequestChoices {
  readonly w?: Replicas | undefined;
  readonly durability?: Durability | undefined;
}

export interface PutChoices extends WriteChoices {
  /** Seconds until the key expires. */
  readonly ttlSeconds?: number | undefined;
  /** Default `text/plain; charset=utf-8` for a string, else `application/octet-stream`. */
  readonly contentType?: string | undefined;
  /** Names in lower case, values printable ASCII, 2 KiB in all. */
  readonly meta?: Readonly<Record<string, string>> | undefined;
}

export interface ListChoices extends ReadChoices {
  readonly prefix?: Key | undefined;
  /** Inclusive. */
  readonly start?: Key | undefined;
  /** Exclusive. */
  readonly end?: Key | undefined;
  readonly reverse?: boolean | undefined;
  /** Whether entries carry their values. */
  readonly values?: boolean | undefined;
  /** Entries in one page, 1 to 1,000. */
  readonly pageSize?: number | undefined;
  /** `next` of a page with the same prefix and direction. */
  readonly cursor?: string | undefined;
}

export interface CountChoices extends ReadChoices {
  readonly prefix?: Key | undefined;
}

export interface ClientOptions extends ReadChoices, WriteChoices {
  /** `http` or `https` and a host, also in a web page. Default `http://127.0.0.1:8080`. */
  readonly url?: string | undefined;
  /** Sent with every request. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Default the runtime's own. */
  readonly fetch?: Fetch | undefined;
}

const requestKinds: kinds.KindsOf<RequestChoices> = {
  namespace: kinds.namespace,
  timeoutMs: kinds.whole(1, timeoutMsMax),
  consistency: kinds.consistency,
  signal: {
    what: "an AbortSignal",
    fits: (value) =>
      typeof value === "object" &&
      value !== null &&
      "aborted" in value &&
      "addEventListener" in value,
  },
};

const readKinds: kinds.KindsOf<ReadChoices> = { ...requestKinds, r: kinds.replicas };

const { durability } = kinds;
const writeKinds: kinds.KindsOf<WriteChoices> = { ...requestKinds, w: kinds.replicas, durability };

const ttlSeconds = kinds.whole(1, ttlSecondsMax);
const valueKinds = { ttlSeconds, contentType: kinds.text, meta: kinds.texts };
const putKinds: kinds.KindsOf<PutChoices> = { ...writeKinds, ...valueKinds };

const listKinds: kinds.KindsOf<ListChoices> = {
  ...readKinds,
  prefix: kinds.textOrBytes,
  start: kinds.textOrBytes,
  end: kinds.textOrBytes,
  reverse: kinds.flag,
  values: kinds.flag,
  pageSize: kinds.whole(1, listLimitMax),
  cursor: kinds.cursor,
};

const countKinds: kinds.KindsOf<CountChoices> = { ...readKinds, prefix: kinds.textOrBytes };

const clientKinds: kinds.KindsOf<ClientOptions> = {
  url: { what: "an http or https URL, for example http://127.0.0.1:8080", fits: isHttpUrl },
  headers: kinds.texts,
  fetch: { what: "a function", fits: (value) => typeof value === "function" },
  ...readKinds,
  ...writeKinds,
};

const policyKinds = {
  n: kinds.whole(1, Number.MAX_SAFE_INTEGER),
  r: kinds.replicas,
  w: kinds.replicas,
  resolve: kinds.oneOf(["lww", "siblings"]),
  ttlSeconds,
  valueBytesMax: kinds.whole(1, Number.MAX_SAFE_INTEGER),
  durability,
};

/** What each call takes. */
export const tables = {
  client: { call: "QuorateClient", kinds: clientKinds },
  get: { call: "get()", kinds: readKinds },
  put: { call: "put()", kinds: putKinds },
  delete: { call: "delete()", kinds: writeKinds },
  list: { call: "a list", kinds: listKinds },
  count: { call: "count()", kinds: countKinds },
  batch: { call: "batch()", kinds: { ...readKinds, ...writeKinds } },
  policy: { call: "the policy of a namespace", kinds: policyKinds },
  request: { call: "this call", kinds: requestKinds },
} as const satisfies Readonly<Record<string, kinds.OptionTable>>;

const keyed = { kind: kinds.text, key: kinds.textOrBytes };
const operationTables: Readonly<Record<BatchOperation["kind"], kinds.OptionTable>> = {
  get: { call: "a get of a batch", kinds: keyed },
  put: {
    call: "a put of a batch",
    kinds: { ...keyed, value: kinds.textOrBytes, ...valueKinds },
  },
  delete: { call: "a delete of a batch", kinds: keyed },
};

const operationTable: kinds.OptionTable = {
  call: "an operation of a batch",
  kinds: { kind: kinds.oneOf(Object.keys(operationTables)) },
};

const nameTable: kinds.OptionTable = {
  call: "this call",
  kinds: { namespace: kinds.namespace },
};

/** @throws `invalid-request` for a name that no namespace can have */
export function checkNamespace(namespace: string): void {
  // Undefined would pass for an option that is left out.
  kinds.checkOptions(nameTable, { namespace: namespace ?? null });
}

/** @throws `invalid-request` for an operation that says what it cannot */
export function checkOperations(operations: readonly BatchOperation[]): void {
  for (const operation of operations) {
    const kind: unknown = operation?.kind;
    if (!isOperationKind(kind)) kinds.checkOptions(operationTable, { kind: kind ?? null });
    else kinds.checkOptions(operationTables[kind], operation);
  }
}

function isOperationKind(kind: unknown): kind is BatchOperation["kind"] {
  return typeof kind === "string" && Object.hasOwn(operationTables, kind);
}

function isHttpUrl(value: unknown): boolean {
  return typeof value === "string" && /^https?:\/\/[^\s?#]+$/.test(value) && URL.canParse(value);
}
