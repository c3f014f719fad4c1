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

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  Code,
  type ConnectError,
  type HandlerContext,
  type ServiceImpl,
} from "@connectrpc/connect";
import * as api from "./api.ts";
import { AssertionError, assert } from "./assert.ts";
import { utf8OrUndefined } from "./bytes.ts";
import type { Clock } from "./capability.ts";
import { QuorateError } from "./errors.ts";
import * as kv from "./gen/kv/kv_pb.ts";
import * as proto from "./gen/quorate/v1/kv_pb.ts";
import {
  countMessage,
  deleteMessage,
  getMessage,
  infoMessage,
  listMessage,
  namespaceMessage,
  putMessage,
  resultMessage,
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
  parseWriteBody,
  textBytes,
} from "./rpc_request.ts";

/** The most replicas that GetN names. */
const getNMax = 1024;
/** What text written over kv.KVStore is. */
const textContentType = "text/plain; charset=utf-8";

type Kind = "read" | "write";

/** Binds the services to a node; `clock` is only used to end the process on a broken invariant. */
export interface Services {
  readonly kvService: ServiceImpl<typeof proto.KvService>;
  readonly kvStore: ServiceImpl<typeof kv.KVStore>;
}

export function createServices(node: api.Api, clock: Clock): Services {
  return { kvService: kvService(node, clock), kvStore: kvStore(node, clock) };
}

/** A handler whose failures leave in the protocol's form. */
function method<In, Out>(
  clock: Clock,
  run: (message: In, facts: CallFacts) => Promise<Out>,
): (message: In, context: HandlerContext) => Promise<Out> {
  return async (message, context) => {
    const requestId = context.requestHeader.get(requestIdHeader) ?? "";
    try {
      return await run(message, { requestId, timeoutMs: context.timeoutMs() });
    } catch (failure) {
      // Connect would turn it into an answer; outside of its promises it reaches the process.
      if (failure instanceof AssertionError) {
        clock.soon(() => {
          throw failure;
        });
      }
      throw connectError(failure, requestId);
    }
  };
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

function kvService(node: api.Api, clock: Clock): Services["kvService"] {
  return {
    get: method(clock, async (message: proto.GetRequest, facts) => {
      const request = {
        ...parsed("read", () => parseOptions(message, facts)),
        key: parsed("read", () => parseKey(message.key)),
      };
      const answer = await node.get(request);
      if (answer.record === undefined) throw absent(request.namespace, request.key);
      return getMessage(answer);
    }),
    put: method(clock, async (message: proto.PutRequest, facts) => {
      const request = parsed("write", () => parsePut(node, message, facts));
      return putMessage(await node.put(request));
    }),
    delete: method(clock, async (message: proto.DeleteRequest, facts) => {
      const request = parsed("write", () => ({
        ...parseOptions(message, facts),
        key: parseKey(message.key),
      }));
      return deleteMessage(await node.delete(request));
    }),
    list: method(clock, async (message: proto.ListRequest, facts) =>
      listMessage(await node.list(parseList(message, facts))),
    ),
    count: method(clock, async (message: proto.CountRequest, facts) =>
      countMessage(await node.count(parseCount(message, facts))),
    ),
    batch: method(clock, (message: proto.BatchRequest, facts) => batch(node, message, facts)),
    ...namespaceMethods(node, clock),
    info: method(clock, async (_: proto.InfoRequest) => infoMessage(await node.info())),
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

function namespaceMethods(node: api.Api, clock: Clock): NamespaceMethods {
  return {
    getNamespace: method(clock, async ({ name }: proto.GetNamespaceRequest) => {
      const namespace = namespaceMessage(node.namespace(parseNamespace(name)));
      return create(proto.GetNamespaceResponseSchema, { namespace });
    }),
    listNamespaces: method(clock, async (_: proto.ListNamespacesRequest) => {
      const namespaces = node.namespaces().map(namespaceMessage);
      return create(proto.ListNamespacesResponseSchema, { namespaces });
    }),
    putNamespace: method(clock, async (message: proto.PutNamespaceRequest) => {
      const name = parsed("write", () => parseNamespace(message.name));
      const policy = parsed("write", () => parsePolicy(message.policy));
      const namespace = namespaceMessage(await node.putNamespace(name, policy));
      return create(proto.PutNamespaceResponseSchema, { namespace });
    }),
    deleteNamespace: method(clock, async ({ name }: proto.DeleteNamespaceRequest) => {
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
    return resultMessage(operationKey(operation), result, facts.requestId);
  });
  return create(proto.BatchResponseSchema, { results: all });
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

function kvStore(node: api.Api, clock: Clock): Services["kvStore"] {
  return {
    get: method(clock, async (message: kv.GetRequest, facts) => {
      const { record } = await node.get(parsed("read", () => textKey(message, facts)));
      if (record === undefined) return create(kv.GetResponseSchema, { found: false });
      const value = utf8OrUndefined(record.value);
      if (value === undefined) throw notText(record.value.length, facts.requestId);
      return create(kv.GetResponseSchema, { value, found: true });
    }),
    put: method(clock, async (message: kv.PutRequest, facts) => {
      const request = parsed("write", () => {
        const { policy } = node.namespace(api.defaultNamespace);
        const value = textBytes(message.value, "value");
        const body = { value, contentType: textContentType, meta: [] };
        return { ...textKey(message, facts), ...parseWriteBody(body, policy.valueBytesMax) };
      });
      await node.put(request);
      return create(kv.PutResponseSchema);
    }),
    delete: method(clock, async (message: kv.DeleteRequest, facts) => {
      await node.delete(parsed("write", () => textKey(message, facts)));
      return create(kv.DeleteResponseSchema);
    }),
    getN: method(clock, async (message: kv.GetNRequest, facts) => {
      const { key } = parsed("read", () => textKey(message, facts));
      return create(kv.GetNResponseSchema, getN(node, key, message.n));
    }),
    health: method(clock, async (_: kv.HealthRequest) => {
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
