/**
 * Client: a Quorate node over HTTP, from Node, Bun, Deno or a web page.
 *
 * Only `fetch` is used, and no part of the server, so that it loads in a few milliseconds and runs in
 * a browser. Keys are bytes; a string is its UTF-8. How a key travels says `client_target`.
 *
 * Invariants
 * 1. The key that arrives is the key that was given, byte for byte.
 * 2. Whatever fails is a `QuorateError` with the node's slug; a failed write says its `outcome`.
 * 3. Nothing is sent twice by itself: whoever calls knows best whether to repeat.
 *
 * Effects: the network, through `fetch`.
 *
 * @module
 */

import {
  defaultNamespace,
  listLimitMax,
  type MovesAnswer,
  type NamespacePolicy,
  type PlanAnswer,
  type PlanRequest,
  timeoutMsDefault,
} from "./api.ts";
import {
  type ClusterInfo,
  clusterInfo,
  type ExplainInfo,
  explainInfo,
  type HintsInfo,
  hintsInfo,
  type RepairInfo,
  repairInfo,
} from "./client_cluster.ts";
import {
  type Fetch,
  type FetchAnswer,
  type Fields,
  runtimeFetch,
  send,
  textIn,
} from "./client_fetch.ts";
import { movesInfo, planInfo } from "./client_moves.ts";
import {
  type ClientOptions,
  type CountChoices,
  checkOperations,
  type Key,
  type ListChoices,
  type PutChoices,
  type ReadChoices,
  type RequestChoices,
  tables,
  type WriteChoices,
} from "./client_options.ts";
import {
  type BatchOperation,
  type BatchResult,
  batchBody,
  batchResults,
  bytesField,
  type ClientRecord,
  type ListEntry,
  listEntry,
  malformed,
  type NamespaceInfo,
  type NodeInfo,
  namespaceBody,
  namespaceOf,
  nodeInfo,
  objectsIn,
  type RingInfo,
  recordOf,
  ringInfo,
  told,
  valueHeaders,
  type WriteResult,
  writeResult,
} from "./client_shapes.ts";
import { streamedEntries } from "./client_stream.ts";
import {
  keyTarget,
  listQuery,
  namespacePath,
  type Query,
  queryText,
  rangeQuery,
  type Target,
} from "./client_target.ts";
import { QuorateError } from "./errors.ts";
import { bytesOf, checkOptions, copyOptions } from "./option_kinds.ts";

export type {
  ClusterInfo,
  ExplainedReplica,
  ExplainInfo,
  FeatureInfo,
  HintsInfo,
  HintTargetInfo,
  MemberInfo,
  RepairInfo,
} from "./client_cluster.ts";
export type { Fetch } from "./client_fetch.ts";
export type {
  ClientOptions,
  CountChoices,
  Key,
  ListChoices,
  PutChoices,
  ReadChoices,
  RequestChoices,
  WriteChoices,
} from "./client_options.ts";
export type {
  BatchOperation,
  BatchPut,
  BatchResult,
  KeyPlaceInfo,
  ListEntry,
  NamespaceInfo,
  NodeInfo,
  ReplicaInfo,
  RingInfo,
  RingMemberInfo,
  WriteResult,
} from "./client_shapes.ts";
export { ClientRecord } from "./client_shapes.ts";
export { QuorateError } from "./errors.ts";

export interface ListPage {
  readonly entries: readonly ListEntry[];
  /** Undefined on the last page. */
  readonly next: string | undefined;
}

export interface Count {
  readonly keys: number;
  readonly bytes: number;
  /** False for a number from counters. */
  readonly exact: boolean;
}

const urlDefault = "http://127.0.0.1:8080";
/**
 * What changes the topology. A node asks the voters for 10 s (`agreement`), and then says who has to come
 * back and whether anything was begun; whoever hangs up before that knows neither.
 */
const topologyTimeoutMsDefault = 15_000;
const moveOpenHint =
  "It may have begun, or begin yet. Look before it is asked for again: 'quorate cluster status' or GET /v1/cluster/plan.";
const namespaceOpenHint =
  "It may have taken place, or take place yet: GET /v1/namespaces tells. Asking for the same again is safe.";
/** Values that `export` asks for in one batch, by count and by bytes. */
const exportGroupMax = 500;
const exportGroupBytesMax = 4 * 1024 * 1024;

/**
 * A client of one node. Any node of a cluster serves any request.
 *
 * @example
 * ```ts
 * import { QuorateClient } from "quorate/client";
 *
 * const client = new QuorateClient({ url: "http://127.0.0.1:8080" });
 * await client.put("users/1", '{"name":"Ada"}', { contentType: "application/json" });
 * const record = await client.get("users/1");
 * console.log(record?.json());
 * ```
 */
export class QuorateClient {
  readonly #options: ClientOptions;
  readonly #base: string;
  readonly #fetch: Fetch;

  /** @throws `invalid-request` */
  constructor(options: ClientOptions = {}) {
    checkOptions(tables.client, options);
    const own = copyOptions(tables.client, options);
    this.#options = { ...own, headers: { ...own.headers } };
    this.#base = (options.url ?? urlDefault).replace(/\/+$/, "");
    this.#fetch = options.fetch ?? runtimeFetch;
  }

  /** The record of a key; undefined when there is none. */
  async get(key: Key, choices: ReadChoices = {}): Promise<ClientRecord | undefined> {
    checkOptions(tables.get, choices);
    // The record has it as well, and the caller may use the array again.
    const asked = new Uint8Array(bytesOf("key", key));
    try {
      const answer = await this.#ask("GET", keyTarget(asked), choices);
      return recordOf(asked, answer.headers, await answer.bytes());
    } catch (error) {
      if (error instanceof QuorateError && error.slug === "key-not-found") return undefined;
      throw error;
    }
  }

  /** Writes a key. Resolves when the replicas that the request asks for have it. */
  async put(key: Key, value: string | Uint8Array, choices: PutChoices = {}): Promise<WriteResult> {
    checkOptions(tables.put, choices);
    const isText = typeof value === "string";
    const typeDefault = isText ? "text/plain; charset=utf-8" : "application/octet-stream";
    const headers = valueHeaders(choices.contentType ?? typeDefault, choices.meta ?? {});
    const query = { ttl: choices.ttlSeconds };
    const body = bytesOf("value", value);
    const sent = { writes: true, headers, query, body };
    const answer = await this.#ask("PUT", keyTarget(bytesOf("key", key)), choices, sent);
    await answer.bytes();
    return told(() => writeResult(answer.headers));
  }

  /** Deletes a key, whether it is there or not. */
  async delete(key: Key, choices: WriteChoices = {}): Promise<WriteResult> {
    checkOptions(tables.delete, choices);
    const target = keyTarget(bytesOf("key", key));
    const answer = await this.#ask("DELETE", target, choices, { writes: true });
    await answer.bytes();
    return told(() => writeResult(answer.headers));
  }

  /** One page of keys in bytewise order. */
  async listPage(choices: ListChoices = {}): Promise<ListPage> {
    checkOptions(tables.list, choices);
    const answer = await this.#ask("GET", { route: "keys" }, choices, {
      query: listQuery(choices),
    });
    const body = await answer.json();
    return { entries: objectsIn(body, "items").map(listEntry), next: textIn(body, "next") };
  }

  /**
   * All keys in bytewise order, asked for page by page. It is not a snapshot: a key that is there
   * throughout comes exactly once.
   */
  list(choices: ListChoices = {}): AsyncGenerator<ListEntry, void, void> {
    return this.#list(copyOptions(tables.list, choices));
  }

  async *#list(choices: ListChoices): AsyncGenerator<ListEntry, void, void> {
    checkOptions(tables.list, choices);
    let cursor = choices.cursor;
    do {
      const page = await this.listPage({ ...choices, cursor });
      yield* page.entries;
      cursor = page.next;
    } while (cursor !== undefined);
  }

  /**
   * The same as one NDJSON stream, which is faster for many keys. Throws when the stream ends
   * without its end line: then it is incomplete.
   */
  stream(choices: ListChoices = {}): AsyncGenerator<ListEntry, void, void> {
    return this.#stream(copyOptions(tables.list, choices));
  }

  async *#stream(choices: ListChoices): AsyncGenerator<ListEntry, void, void> {
    checkOptions(tables.list, choices);
    const sent = { query: listQuery(choices), headers: { Accept: "application/x-ndjson" } };
    const answer = await this.#ask("GET", { route: "keys" }, choices, sent);
    yield* streamedEntries(answer);
  }

  /** Every record whole, with value and metadata, in bytewise order. */
  export(choices: ListChoices = {}): AsyncGenerator<ClientRecord, void, void> {
    return this.#export(copyOptions(tables.list, choices));
  }

  async *#export(choices: ListChoices): AsyncGenerator<ClientRecord, void, void> {
    checkOptions(tables.list, choices);
    const pages = { pageSize: listLimitMax, ...choices, values: false };
    let group: Uint8Array[] = [];
    let groupBytes = 0;
    for await (const entry of this.list(pages)) {
      const isFull = groupBytes + entry.bytes > exportGroupBytesMax && group.length > 0;
      if (isFull || group.length === exportGroupMax) {
        yield* this.#records(group, choices);
        group = [];
        groupBytes = 0;
      }
      group.push(entry.key);
      groupBytes += entry.bytes;
    }
    if (group.length > 0) yield* this.#records(group, choices);
  }

  /** How many keys there are, and the bytes of their values. */
  async count(choices: CountChoices = {}): Promise<Count> {
    checkOptions(tables.count, choices);
    const query = rangeQuery("prefix", choices.prefix);
    const body = await (await this.#ask("GET", { route: "count" }, choices, { query })).json();
    const { keys, bytes, exact } = body;
    if (typeof keys !== "number" || typeof bytes !== "number") malformed("a count without numbers");
    return { keys, bytes, exact: exact === true };
  }

  /**
   * Up to 1,000 operations in one request, not atomic. A result for each, in order; operations on
   * one key run in the order given.
   */
  async batch(
    operations: readonly BatchOperation[],
    choices: ReadChoices & WriteChoices = {},
  ): Promise<readonly BatchResult[]> {
    checkOptions(tables.batch, choices);
    checkOperations(operations);
    // By the time of the answer the caller may have emptied the array for the next batch.
    const asked = operations.map(({ kind }) => kind);
    const sent = {
      writes: operations.some((operation) => operation.kind !== "get"),
      headers: { "Content-Type": "application/json" },
      body: batchBody(operations),
    };
    const answer = await this.#ask("POST", { route: "batch" }, choices, sent);
    const body = await answer.json();
    const results = () => batchResults(asked, body);
    return sent.writes ? told(results) : results();
  }

  async namespaces(choices: RequestChoices = {}): Promise<readonly NamespaceInfo[]> {
    const body = await (await this.#call("GET", "/v1/namespaces", choices)).json();
    return objectsIn(body, "namespaces").map(namespaceOf);
  }

  /** Makes a namespace, or changes its policy; what is left out keeps its value. */
  async putNamespace(
    name: string,
    policy: Partial<NamespacePolicy> = {},
    choices: RequestChoices = {},
  ): Promise<NamespaceInfo> {
    checkOptions(tables.policy, policy);
    const sent = {
      writes: true,
      openHint: namespaceOpenHint,
      timeoutMsDefault: topologyTimeoutMsDefault,
      headers: { "Content-Type": "application/json" },
      body: namespaceBody(policy),
    };
    const body = await (await this.#call("PUT", namespacePath(name), choices, sent)).json();
    return told(() => namespaceOf(body));
  }

  /** Deletes a namespace and every key in it, whether it is there or not. */
  async deleteNamespace(name: string, choices: RequestChoices = {}): Promise<void> {
    const sent = {
      writes: true,
      openHint: namespaceOpenHint,
      timeoutMsDefault: topologyTimeoutMsDefault,
    };
    const answer = await this.#call("DELETE", namespacePath(name), choices, sent);
    await answer.bytes();
    // It says nothing else, and any server might say that.
    if (!answer.headers.has("quorate-request-id")) told(() => malformed("no Quorate-Request-Id"));
  }

  /** What the node says about itself. */
  async info(choices: RequestChoices = {}): Promise<NodeInfo> {
    return nodeInfo(await (await this.#call("GET", "/v1/info", choices)).json());
  }

  /** The members and what each holds; with a key, also where that lives. */
  async ring(key?: Key, choices: RequestChoices = {}): Promise<RingInfo> {
    checkOptions(tables.request, choices);
    const namespace = choices.namespace ?? this.#options.namespace;
    const query = key === undefined ? {} : { ...bytesField("key", bytesOf("key", key)), namespace };
    return ringInfo(await (await this.#call("GET", "/v1/ring", choices, { query })).json());
  }

  /** The members as the node sees them: who is alive, and what each holds. */
  async cluster(choices: RequestChoices = {}): Promise<ClusterInfo> {
    return clusterInfo(await (await this.#call("GET", "/v1/cluster", choices)).json());
  }

  /** What other members, weights or zones would move; changes nothing. */
  async plan(request: PlanRequest, choices: RequestChoices = {}): Promise<PlanAnswer> {
    return planInfo(await this.#post("/v1/cluster/plan", request, choices, false));
  }

  /** Begins what a plan of this node says. */
  async applyPlan(id: string, choices: RequestChoices = {}): Promise<MovesAnswer> {
    const body = await this.#post("/v1/cluster/apply", { id }, choices);
    return told(() => movesInfo(body));
  }

  /** Takes back what is under way. */
  async revertMove(choices: RequestChoices = {}): Promise<MovesAnswer> {
    const body = await this.#post("/v1/cluster/revert", {}, choices);
    return told(() => movesInfo(body));
  }

  /** What moves, how far it is, and who waits to join. */
  async moves(choices: RequestChoices = {}): Promise<MovesAnswer> {
    return movesInfo(await (await this.#call("GET", "/v1/cluster/plan", choices)).json());
  }

  async #post(
    path: string,
    body: unknown,
    choices: RequestChoices,
    writes = true,
  ): Promise<Fields> {
    const sent = {
      writes,
      openHint: moveOpenHint,
      timeoutMsDefault: topologyTimeoutMsDefault,
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    };
    return (await this.#call("POST", path, choices, sent)).json();
  }

  /** The writes that the node keeps for others. */
  async hints(choices: RequestChoices = {}): Promise<HintsInfo> {
    return hintsInfo(await (await this.#call("GET", "/v1/hints", choices)).json());
  }

  /** How far the node has compared its partitions with the other replicas. */
  async repair(choices: RequestChoices = {}): Promise<RepairInfo> {
    return repairInfo(await (await this.#call("GET", "/v1/repair", choices)).json());
  }

  /** Has the node compare now: all, one partition, or the namespaces with the n of `namespace`. */
  async runRepair(
    what: { readonly partition?: number; readonly namespace?: string } = {},
    choices: RequestChoices = {},
  ): Promise<{ readonly node: string; readonly pairs: number }> {
    const answer = await this.#call("POST", "/v1/repair", choices, { query: { ...what } });
    const body = await answer.json();
    const { pairs } = body;
    if (typeof pairs !== "number") malformed("no number of pairs");
    return { node: textIn(body, "node") ?? "", pairs };
  }

  /** Where a key lives, and what each of its replicas holds now. */
  async explain(key: Key, choices: RequestChoices = {}): Promise<ExplainInfo> {
    checkOptions(tables.request, choices);
    const { tail = "", query } = keyTarget(bytesOf("key", key));
    const namespace = choices.namespace ?? this.#options.namespace ?? defaultNamespace;
    const path = `/v1/explain/${encodeURIComponent(namespace)}${tail}`;
    const timeoutMs = choices.timeoutMs ?? this.#options.timeoutMs ?? timeoutMsDefault;
    const headers = { "Quorate-Timeout": `${timeoutMs}ms` };
    const answer = await this.#call("GET", path, choices, {
      headers,
      ...(query === undefined ? {} : { query }),
    });
    return explainInfo(await answer.json());
  }

  async *#records(
    keys: readonly Uint8Array[],
    choices: ReadChoices,
  ): AsyncGenerator<ClientRecord, void, void> {
    const gets = keys.map((key) => ({ kind: "get", key }) as const);
    const { namespace, timeoutMs, consistency, r, signal } = choices;
    const read = { namespace, timeoutMs, consistency, r, signal };
    for (const result of await this.batch(gets, read)) {
      if (result.kind === "error") throw result.error;
      // Deleted since it was listed: then it is not in the export.
      if (result.kind === "get" && result.record !== undefined) yield result.record;
    }
  }

  /** A request with no choices but those that any has. */
  #call(
    method: string,
    path: string,
    choices: RequestChoices,
    sent: Sent = {},
  ): Promise<FetchAnswer> {
    checkOptions(tables.request, choices);
    return this.#send(method, path, choices, sent);
  }

  /** A request about a namespace: with the levels that the route takes. */
  #ask(
    method: string,
    target: Target,
    choices: ReadChoices & WriteChoices,
    sent: Sent = {},
  ): Promise<FetchAnswer> {
    const own = this.#options;
    const { writes = false } = sent;
    const namespace = encodeURIComponent(choices.namespace ?? own.namespace ?? defaultNamespace);
    const timeoutMs = choices.timeoutMs ?? own.timeoutMs;
    // Batches take both; a single read takes no w, and the node refuses what a route does not take.
    const reads = !writes || target.route === "batch";
    // A node goes by r and w before the consistency: the request's own has to stand above the client's.
    const level = choices.consistency === undefined ? own : {};
    const query = {
      ...target.query,
      ...sent.query,
      consistency: choices.consistency ?? own.consistency,
      timeout: timeoutMs === undefined ? undefined : `${timeoutMs}ms`,
      r: reads ? (choices.r ?? level.r) : undefined,
      w: writes ? (choices.w ?? level.w) : undefined,
      durability: writes ? (choices.durability ?? own.durability) : undefined,
    };
    const path = `/v1/${target.route}/${namespace}${target.tail ?? ""}`;
    return this.#send(method, path, choices, { ...sent, query });
  }

  #send(
    method: string,
    path: string,
    choices: RequestChoices,
    sent: Sent = {},
  ): Promise<FetchAnswer> {
    return send(this.#fetch, {
      method,
      url: `${this.#base}${path}${queryText(sent.query)}`,
      headers: joinHeaders(this.#options.headers, sent.headers),
      ...(sent.body === undefined ? {} : { body: sent.body }),
      timeoutMs:
        choices.timeoutMs ?? this.#options.timeoutMs ?? sent.timeoutMsDefault ?? timeoutMsDefault,
      writes: sent.writes ?? false,
      openHint: sent.openHint,
      signal: choices.signal ?? this.#options.signal,
    });
  }
}

/** The client's headers and a call's, of which the call's count: fetch would join two of one name into one text. */
function joinHeaders(
  own: Readonly<Record<string, string>> = {},
  sent: Readonly<Record<string, string>> = {},
): Readonly<Record<string, string>> {
  const names = new Set(Object.keys(sent).map((name) => name.toLowerCase()));
  const others = Object.entries(own).filter(([name]) => !names.has(name.toLowerCase()));
  return { ...Object.fromEntries(others), ...sent };
}

interface Sent {
  readonly writes?: boolean;
  /** What to do when its answer was lost. */
  readonly openHint?: string;
  /** Where neither the call nor the client says how long. */
  readonly timeoutMsDefault?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly query?: Query;
  readonly body?: Uint8Array | string;
}
