/**
 * Rpc service: what `quorate.v1.KvService` and `kv.KVStore` do, in terms of `Api`.
 *
 * Each method parses its message, asks the node and writes the answer. The two services are two
 * tongues for one store: KvService has every operation with bytes, versions and namespaces;
 * KVStore is the original program's service, text only, in the namespace `default`.
 *
 * Invariants
 * 1. A write that is refused while it is parsed says outcome `none` (promise P7).
 * 2. Whatever is thrown leaves as a ConnectError with an ErrorDetail; an assertion ends the process.
 *
 * Effects: only those of `Api`. Source: promise P7; the client contract.
 *
 * @module
 */

import {
  create,
  type DescMessage,
  type DescMethodUnary,
  type MessageInitShape,
  type MessageShape,
} from "@bufbuild/protobuf";
import { Code, ConnectError, type HandlerContext, type ServiceImpl } from "@connectrpc/connect";
import * as api from "./api.ts";
import { AssertionError, assert } from "./assert.ts";
import { utf8OrUndefined } from "./bytes.ts";
import type { Clock, Report } from "./capability.ts";
import { QuorateError, slugTable } from "./errors.ts";
import { noteFailure } from "./exchange.ts";
import * as kv from "./gen/kv/kv_pb.ts";
import * as proto from "./gen/quorate/v1/kv_pb.ts";
import {
  clusterMessage,
  countMessage,
  deleteMessage,
  explainMessage,
  getMessage,
  hintsMessage,
  infoMessage,
  listMessage,
  namespaceMessage,
  putMessage,
  resultMessage,
  ringMessage,
} from "./rpc_answer.ts";
import { connectError } from "./rpc_error.ts";
import { requestIdHeader } from "./rpc_refuse.ts";
import {
  type CallFacts,
  parseCount,
  parseKey,
  parseList,
  parseNamespace,
  parseOperation,
  parseOptions,
  parsePolicy,
  parseTimeoutMs,
  parseWriteBody,
  textBytes,
} from "./rpc_request.ts";
import type { OperationName, Traffic } from "./traffic.ts";

/** The most replicas that GetN names. */
const getNMax = 1024;
/** What text written over kv.KVStore is. */
const textContentType = "text/plain; charset=utf-8";

type Kind = "read" | "write";

/** As HTTP has it. */
const statusDone = 200;

/** What every method needs beside the node. */
export interface ServiceTools {
  /** Only used to tell time, and to end the process on a broken invariant. */
  readonly clock: Clock;
  readonly report: Report;
  readonly traffic: Traffic;
  /** The limit of a namespace that is made without one. */
  readonly valueBytesMax: number;
  /** Whether each request is a line of the log, at the level debug. */
  readonly accessLog?: boolean;
}

/** The methods, of both services, that count as another operation than `other`. */
const operationNames: Readonly<Record<string, OperationName>> = {
  Get: "get",
  Put: "put",
  Delete: "delete",
  List: "list",
  Count: "count",
  Batch: "batch",
  GetNamespace: "namespace",
  ListNamespaces: "namespace",
  PutNamespace: "namespace",
  DeleteNamespace: "namespace",
  Info: "node",
  Ring: "node",
  Cluster: "node",
  Explain: "node",
  Hints: "node",
  Health: "node",
  GetN: "node",
};

/** The methods, of both services, that write. */
const writing: ReadonlySet<string> = new Set([
  "Put",
  "Delete",
  "Batch",
  "PutNamespace",
  "DeleteNamespace",
]);

/** Binds the services to a node. */
export interface Services {
  readonly kvService: ServiceImpl<typeof proto.KvService>;
  readonly kvStore: ServiceImpl<typeof kv.KVStore>;
}

export function createServices(node: api.Api, tools: ServiceTools): Services {
  return { kvService: kvService(node, tools), kvStore: kvStore(node, tools) };
}

/** A method as it is called without the router. */
export interface UnaryCall {
  readonly path: string;
  readonly method: DescMethodUnary;
  /** @throws ConnectError; an assertion passes */
  run(message: MessageShape<DescMessage>, facts: CallFacts): Promise<MessageShape<DescMessage>>;
}

/** The methods that carry nearly all traffic. */
export function hotCalls({ kvService, kvStore }: Services): UnaryCall[] {
  const { get, put, delete: remove } = proto.KvService.method;
  const store = kv.KVStore.method;
  return [
    callOf(get, kvService.get),
    callOf(put, kvService.put),
    callOf(remove, kvService.delete),
    callOf(store.get, kvStore.get),
    callOf(store.put, kvStore.put),
    callOf(store.delete, kvStore.delete),
  ];
}

function callOf<In extends DescMessage, Out extends DescMessage>(
  desc: DescMethodUnary<In, Out>,
  run: (message: MessageShape<In>, context: HandlerContext) => unknown,
): UnaryCall {
  return {
    path: `/${desc.parent.typeName}/${desc.name}`,
    method: desc,
    run: (message, { requestId, timeoutMs }) => {
      // All that `method` looks at.
      const context: CallContext = {
        method: desc,
        requestHeader: { get: (name) => (name === requestIdHeader ? requestId : null) },
        timeoutMs: () => timeoutMs,
      };
      const answer = run(message as MessageShape<In>, context as HandlerContext);
      return answer as Promise<MessageShape<DescMessage>>;
    },
  };
}

/** What a handler uses of the router's context. */
interface CallContext {
  readonly method: { readonly name: string };
  readonly requestHeader: Pick<Headers, "get">;
  timeoutMs(): number | undefined;
}

/** A handler whose failures leave in the protocol's form. */
function method<In, Out>(
  tools: ServiceTools,
  run: (message: In, facts: CallFacts) => Promise<Out>,
): (message: In, context: CallContext) => Promise<Out> {
  const { clock } = tools;
  return async (message, context) => {
    const requestId = context.requestHeader.get(requestIdHeader) ?? "";
    const startedMs = clock.monotonicMs();
    let status = statusDone;
    try {
      return await run(message, { requestId, timeoutMs: context.timeoutMs() });
    } catch (failure) {
      // Connect would turn it into an answer; outside of its promises it reaches the process.
      if (failure instanceof AssertionError) {
        clock.soon(() => {
          throw failure;
        });
      }
      const known = knownOf(failure, context.method);
      const error = connectError(known, requestId);
      status = noteFailed(tools, known, requestId);
      throw error;
    } finally {
      const tookMs = clock.monotonicMs() - startedMs;
      const { name } = context.method;
      tools.traffic.cell("rpc", operationNames[name] ?? "other").add(status, tookMs);
      if (tools.accessLog === true) {
        const fields = { requestId, edge: "rpc", method: name, status, tookMs };
        tools.report.log("debug", "Answered.", fields);
      }
    }
  };
}

/**
 * A failure as one of ours, but for what Connect says itself and a broken assert. One that nobody foresaw says
 * nothing about a write that was under way.
 */
function knownOf(failure: unknown, { name }: CallContext["method"]): unknown {
  if (failure instanceof ConnectError || failure instanceof AssertionError) return failure;
  return QuorateError.from(failure, writing.has(name) ? { outcome: "unknown" } : {});
}

/** Counts a failure, and logs one that nobody foresaw; answers its status, as HTTP would have it. */
function noteFailed(tools: ServiceTools, failure: unknown, requestId: string): number {
  // The one failure that is said in Connect's words alone is that a value is not text.
  if (failure instanceof ConnectError) return slugTable["invalid-request"].status;
  const error = QuorateError.from(failure);
  noteFailure(tools, { requestId }, error);
  return error.status;
}

/** Runs a parser; what it refuses was not written. */
function parsed<T>(kind: Kind, parse: () => T): T {
  try {
    return parse();
  } catch (failure) {
    if (kind === "read" || !(failure instanceof QuorateError)) throw failure;
    throw new QuorateError(failure.slug, failure.detail, { outcome: "none", ...failure.facts });
  }
}

function absent(namespace: string, key: Uint8Array): QuorateError {
  return new QuorateError("key-not-found", `There is no such key in '${namespace}'.`, {
    key,
    namespace,
  });
}

function kvService(node: api.Api, tools: ServiceTools): Services["kvService"] {
  return {
    get: method(tools, async (message: proto.GetRequest, facts) => {
      const request = {
        ...parsed("read", () => parseOptions(message, facts)),
        key: parsed("read", () => parseKey(message.key)),
      };
      const answer = await node.get(request);
      if (answer.record === undefined) throw absent(request.namespace, request.key);
      return getMessage(answer);
    }),
    put: method(tools, async (message: proto.PutRequest, facts) => {
      const request = parsed("write", () => parsePut(node, message, facts));
      return putMessage(await node.put(request));
    }),
    delete: method(tools, async (message: proto.DeleteRequest, facts) => {
      const request = parsed("write", () => ({
        ...parseOptions(message, facts),
        key: parseKey(message.key),
      }));
      return deleteMessage(await node.delete(request));
    }),
    list: method(tools, async (message: proto.ListRequest, facts) =>
      listMessage(await node.list(parseList(message, facts))),
    ),
    count: method(tools, async (message: proto.CountRequest, facts) =>
      countMessage(await node.count(parseCount(message, facts))),
    ),
    batch: method(tools, (message: proto.BatchRequest, facts) =>
      batch(node, tools, message, facts),
    ),
    ...namespaceMethods(node, tools),
    info: method(tools, async (_: proto.InfoRequest) => infoMessage(await node.info())),
    ring: method(tools, async ({ namespace, key }: proto.RingRequest) => {
      const name = parseNamespace(namespace === "" ? api.defaultNamespace : namespace);
      const place = key.length === 0 ? undefined : node.place(name, parseKey(key));
      return ringMessage(node.ring(), place);
    }),
    cluster: method(tools, async (_: proto.ClusterRequest) => clusterMessage(await node.cluster())),
    explain: method(tools, async (message: proto.ExplainRequest, facts) => {
      const request = { ...parseOptions(message, facts), key: parseKey(message.key) };
      return explainMessage(request.namespace, await node.explain(request));
    }),
    hints: method(tools, async ({ wait }: proto.HintsRequest, { timeoutMs }) => {
      if (!wait) return hintsMessage(node.hints());
      const limitMs = parsed("read", () => parseTimeoutMs(timeoutMs)) ?? api.timeoutMsDefault;
      return hintsMessage(await node.whenNoHints(limitMs));
    }),
  };
}

function parsePut(node: api.Api, message: proto.PutRequest, facts: CallFacts): api.PutRequest {
  const options = parseOptions(message, facts);
  const { policy } = node.namespace(options.namespace);
  const key = parseKey(message.key);
  return { ...options, key, ...parseWriteBody(message, policy.valueBytesMax) };
}

type NamespaceMethods = Pick<
  Services["kvService"],
  "getNamespace" | "listNamespaces" | "putNamespace" | "deleteNamespace"
>;

function namespaceMethods(node: api.Api, tools: ServiceTools): NamespaceMethods {
  const { valueBytesMax } = tools;
  return {
    getNamespace: method(tools, async ({ name }: proto.GetNamespaceRequest) => {
      const namespace = namespaceMessage(node.namespace(parseNamespace(name)));
      return create(proto.GetNamespaceResponseSchema, { namespace });
    }),
    listNamespaces: method(tools, async (_: proto.ListNamespacesRequest) => {
      const namespaces = node.namespaces().map(namespaceMessage);
      return create(proto.ListNamespacesResponseSchema, { namespaces });
    }),
    putNamespace: method(tools, async (message: proto.PutNamespaceRequest) => {
      const name = parsed("write", () => parseNamespace(message.name));
      const policy = parsed("write", () => parsePolicy(message.policy));
      const namespace = namespaceMessage(await node.putNamespace(name, policy, { valueBytesMax }));
      return create(proto.PutNamespaceResponseSchema, { namespace });
    }),
    deleteNamespace: method(tools, async ({ name }: proto.DeleteNamespaceRequest) => {
      await node.deleteNamespace(parsed("write", () => parseNamespace(name)));
      return create(proto.DeleteNamespaceResponseSchema);
    }),
  };
}

/**
 * A batch whose envelope is valid always has an answer: an operation that is not valid is answered
 * with its own error, and the rest go to the node, in their order.
 */
async function batch(
  node: api.Api,
  tools: ServiceTools,
  message: proto.BatchRequest,
  facts: CallFacts,
): Promise<proto.BatchResponse> {
  const options = parsed("write", () => parseOptions(message, facts));
  const { policy } = node.namespace(options.namespace);
  parsed("write", () => checkEnvelope(message));
  const results: (api.BatchResult | undefined)[] = [];
  const operations: api.BatchOperation[] = [];
  for (const operation of message.operations) {
    try {
      operations.push(parsed("write", () => parseOperation(operation, policy.valueBytesMax)));
      results.push(undefined);
    } catch (failure) {
      if (!(failure instanceof QuorateError)) throw failure;
      results.push({ kind: "error", error: failure });
    }
  }
  const answered = operations.length === 0 ? [] : await node.batch({ ...options, operations });
  assert(answered.length === operations.length, "rpc: each operation of a batch has one result");
  const rest = answered[Symbol.iterator]();
  const all = message.operations.map((operation, index) => {
    const result = results[index] ?? rest.next().value;
    assert(result !== undefined, "rpc: a result is left for each operation that was sent");
    const known = operation.operation.case === "get" ? result : withOutcome(result);
    if (known.kind === "error") noteFailed(tools, known.error, facts.requestId);
    return resultMessage(operationKey(operation), known, facts.requestId);
  });
  return create(proto.BatchResponseSchema, { results: all });
}

function withOutcome(result: api.BatchResult): api.BatchResult {
  if (result.kind !== "error") return result;
  return { kind: "error", error: QuorateError.from(result.error, { outcome: "unknown" }) };
}

const noKey = new Uint8Array(0);

function operationKey({ operation }: proto.BatchOperation): Uint8Array {
  return operation.case === undefined ? noKey : operation.value.key;
}

function checkEnvelope({ operations }: proto.BatchRequest): void {
  if (operations.length > api.batchOperationsMax) {
    const said = `The batch has ${operations.length} operations`;
    throw new QuorateError("invalid-request", `${said}; ${api.batchOperationsMax} are allowed.`, {
      hint: "Send it in parts.",
    });
  }
  let bytes = 0;
  for (const { operation } of operations) {
    if (operation.case !== undefined) bytes += operation.value.key.length;
    if (operation.case === "put") bytes += operation.value.value.length;
  }
  if (bytes > api.batchBytesMax) {
    const said = `The batch has ${bytes} bytes of keys and values`;
    throw new QuorateError("value-too-large", `${said}; ${api.batchBytesMax} are allowed.`, {
      limit: api.batchBytesMax,
      hint: "Send it in parts.",
    });
  }
}

function kvStore(node: api.Api, tools: ServiceTools): Services["kvStore"] {
  return {
    get: method(tools, async (message: kv.GetRequest, facts) => {
      const { record } = await node.get(parsed("read", () => textKey(message, facts)));
      if (record === undefined) return create(kv.GetResponseSchema, { found: false });
      const value = utf8OrUndefined(record.value);
      if (value === undefined) throw notText(record.value.length, facts.requestId);
      return create(kv.GetResponseSchema, { value, found: true });
    }),
    put: method(tools, async (message: kv.PutRequest, facts) => {
      const request = parsed("write", () => {
        const { policy } = node.namespace(api.defaultNamespace);
        const value = textBytes(message.value, "value");
        const body = { value, contentType: textContentType, meta: [] };
        return { ...textKey(message, facts), ...parseWriteBody(body, policy.valueBytesMax) };
      });
      await node.put(request);
      return create(kv.PutResponseSchema);
    }),
    delete: method(tools, async (message: kv.DeleteRequest, facts) => {
      await node.delete(parsed("write", () => textKey(message, facts)));
      return create(kv.DeleteResponseSchema);
    }),
    getN: method(tools, async (message: kv.GetNRequest, facts) => {
      const { key } = parsed("read", () => textKey(message, facts));
      return create(kv.GetNResponseSchema, getN(node, key, message.n));
    }),
    health: method(tools, async (_: kv.HealthRequest) => {
      const { node: nodeName, keys } = await node.info();
      return create(kv.HealthResponseSchema, { nodeName, keyCount: BigInt(keys) });
    }),
  };
}

function textKey(message: { readonly key: string }, facts: CallFacts): api.GetRequest {
  const options = parseOptions({ namespace: api.defaultNamespace }, facts);
  return { ...options, key: parseKey(textBytes(message.key, "key")) };
}

/** The original contract wants FAILED_PRECONDITION, which no slug of this meaning stands for. */
function notText(bytes: number, requestId: string): ConnectError {
  const failure = new QuorateError(
    "invalid-request",
    `The value (${bytes} bytes) is not valid UTF-8, and kv.KVStore can only carry text.`,
    { hint: "Read it with quorate.v1.KvService/Get or GET /v1/kv/default/<key>." },
  );
  return connectError(failure, requestId, Code.FailedPrecondition);
}

function getN(
  node: api.Api,
  key: Uint8Array,
  n: number,
): MessageInitShape<typeof kv.GetNResponseSchema> {
  if (n < 1 || n > getNMax) {
    throw new QuorateError("invalid-request", `n cannot be ${n}.`, {
      hint: `Ask for 1 to ${getNMax} nodes.`,
    });
  }
  return { nodes: [...node.replicas(key, n)] };
}
