/**
 * Rpc: the RPC edge of a node, over Connect, gRPC and gRPC-Web.
 *
 *     takes(request)          is it an RPC? by its path, else by its content type
 *       guard.ts              Host and Origin, as on HTTP, before a byte of a body is read
 *       router of Connect     protocol, codec, compression, deadline -> a message
 *         rpc_request.ts      message -> request of Api
 *         rpc_service.ts      ask the node
 *         rpc_answer.ts       answer of Api -> message
 *       rpc_error.ts          QuorateError -> code and ErrorDetail
 *     rpc_body.ts             the bounds of a body: bytes of a message, of all bodies, time
 *     rpc_refuse.ts           what no handler sees: unknown RPCs, wrong content types, guards
 *
 * Invariants
 * 1. A message is at most `readMaxBytes`, and all bodies under way together are bounded.
 * 2. A body that does not arrive in time is refused; a stream may pause between its messages as long.
 * 3. Whatever fails leaves in the form of the protocol that the client speaks.
 *
 * Effects: the node's, through `Api`; the sockets behind the requests; timers, through the clock.
 * Source: the protocol references of Connect, gRPC and gRPC-Web.
 *
 * @module
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Http2ServerRequest, Http2ServerResponse } from "node:http2";
import { type ConnectRouter, createConnectRouter } from "@connectrpc/connect";
import type { UniversalHandler, UniversalServerRequest } from "@connectrpc/connect/protocol";
import {
  universalRequestFromNodeRequest,
  universalResponseToNodeResponse,
} from "@connectrpc/connect-node";
import type { Budget } from "./admission.ts";
import type { Api } from "./api.ts";
import { AssertionError } from "./assert.ts";
import type { Clock, Random, Report } from "./capability.ts";
import { QuorateError } from "./errors.ts";
import { bodiesOf, type HttpSettings, RequestIds, trafficOf } from "./exchange.ts";
import { Health } from "./gen/grpc/health/v1/health_pb.ts";
import { ServerReflection as ReflectionV1 } from "./gen/grpc/reflection/v1/reflection_pb.ts";
import { ServerReflection as ReflectionV1Alpha } from "./gen/grpc/reflection/v1alpha/reflection_pb.ts";
import { KVStore } from "./gen/kv/kv_pb.ts";
import { KvService } from "./gen/quorate/v1/kv_pb.ts";
import { corsHeaders, type Guarded, Guards } from "./guard.ts";
import { methodNotAllowed } from "./problem.ts";
import { acceptCompression, BoundedBody, checkDeclared, readMaxBytes } from "./rpc_body.ts";
import { linkPath } from "./rpc_frames.ts";
import { createHealth } from "./rpc_health.ts";
import { type BodyBegun, grpcTimeoutMs, HotCalls } from "./rpc_hot.ts";
import { type AcceptPeer, PeerEdge } from "./rpc_peer.ts";
import { createReflection } from "./rpc_reflection.ts";
import { formOf, headerOf, refusalReply, requestIdHeader, sendRefusal } from "./rpc_refuse.ts";
import { keepByteOrderMarks } from "./rpc_request.ts";
import { createServices, hotCalls, type Services } from "./rpc_service.ts";
import type { Traffic } from "./traffic.ts";

export type RpcRequest = IncomingMessage | Http2ServerRequest;
export type RpcResponse = ServerResponse | Http2ServerResponse;

export interface RpcParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly report: Report;
  /** Takes streams of other nodes; undefined: there is no such service. */
  readonly accept?: AcceptPeer | undefined;
  /** The stream on which this answer goes out has proven to be of another node. */
  readonly onProven?: (response: RpcResponse) => void;
  /** False sends every call through the router; for tests that compare the two ways. */
  readonly hotPath?: boolean;
}

export interface RpcEdge {
  /** Whether a request is for this edge. */
  takes(request: RpcRequest): boolean;
  /** Answers one request; never throws. */
  handle(request: RpcRequest, response: RpcResponse): void;
  /** Refuses a request, whoever it is for, in the form that its client reads. */
  refuse(request: RpcRequest, response: RpcResponse, failure: QuorateError): void;
  /** The health service says NOT_SERVING from now on, and its streams end. */
  drain(): void;
  /** Streams of other nodes end. */
  endPeers(): void;
}

/** Answers are never compressed: values are stored as they came, and often are compressed already. */
const compressMinBytes = 0xffff_ffff;
/**
 * As on HTTP: a mistyped `value` must not store nothing, nor a mistyped `ttlSeconds` store for ever.
 * The library's own choice is to ignore what it does not know.
 */
const jsonOptions = { ignoreUnknownFields: false };
const requestIdPattern = /^[\x20-\x7e]{1,64}$/;
/** The longest delay that a timer takes (25 days); it runs longer ones at once. */
const timerDelayMsMax = 2 ** 31 - 1;

/** The RPC edge over a node. */
export function createRpc(api: Api, settings: HttpSettings & RpcParts): RpcEdge {
  keepByteOrderMarks();
  const { clock } = settings;
  const health = createHealth(
    api,
    clock,
    [KvService, KVStore].map(({ typeName }) => typeName),
  );
  const router = createConnectRouter({
    readMaxBytes,
    compressMinBytes,
    acceptCompression,
    jsonOptions,
  });
  const traffic = trafficOf(settings);
  const services = createServices(api, { ...settings, traffic });
  register(router, services);
  router.service(Health, health.implementation);
  const peers = settings.accept === undefined ? undefined : new PeerEdge(settings.accept);
  const hot = new HotCalls(
    { ...settings, budget: bodiesOf(settings) },
    settings.hotPath === false ? [] : hotCalls(services),
  );
  const edge = new Edge(settings, { handlers: router.handlers, hot, peers, traffic });
  return {
    takes: (request) => edge.takes(request),
    handle: (request, response) => edge.handle(request, response),
    refuse: (request, response, failure) => edge.refuse(request, response, failure),
    drain: () => health.drain(),
    endPeers: () => peers?.close(),
  };
}

function register(router: ConnectRouter, { kvService, kvStore }: Services): void {
  const reflect = createReflection(
    [KvService, KVStore, Health, ReflectionV1, ReflectionV1Alpha].map(({ file }) => file),
  );
  router.service(KvService, kvService);
  router.service(KVStore, kvStore);
  router.service(ReflectionV1, { serverReflectionInfo: reflect });
  router.service(ReflectionV1Alpha, { serverReflectionInfo: reflect });
}

interface EdgeParts {
  readonly handlers: readonly UniversalHandler[];
  readonly hot: HotCalls;
  readonly peers: PeerEdge | undefined;
  readonly traffic: Traffic;
}

/** A request that the router answers. */
interface Asked {
  readonly request: RpcRequest;
  readonly response: RpcResponse;
  readonly requestId: string;
  readonly begun?: BodyBegun;
}

class Edge {
  readonly #settings: HttpSettings & RpcParts;
  readonly #hot: HotCalls;
  readonly #peers: PeerEdge | undefined;
  readonly #handlers: ReadonlyMap<string, UniversalHandler>;
  /** For example `/kv.KVStore/`. */
  readonly #prefixes: ReadonlySet<string>;
  readonly #ids: RequestIds;
  readonly #bodies: Budget;
  readonly #guards: Guards;
  readonly #traffic: Traffic;

  constructor(settings: HttpSettings & RpcParts, { handlers, hot, peers, traffic }: EdgeParts) {
    this.#settings = settings;
    this.#hot = hot;
    this.#peers = peers;
    this.#handlers = new Map(handlers.map((handler) => [handler.requestPath, handler]));
    const paths = handlers.map(({ requestPath }) => requestPath);
    if (peers !== undefined) paths.push(linkPath);
    this.#prefixes = new Set(paths.map((path) => path.slice(0, path.lastIndexOf("/") + 1)));
    this.#ids = new RequestIds(settings.random);
    this.#bodies = bodiesOf(settings);
    this.#guards = new Guards(settings);
    this.#traffic = traffic;
  }

  takes(request: RpcRequest): boolean {
    const path = pathOf(request);
    return this.#isOurs(path) || /^application\/(?:grpc|connect\+)/i.test(typeOf(request));
  }

  handle(request: RpcRequest, response: RpcResponse): void {
    const requestId = this.#begin(request, response);
    try {
      const guarded = guardedOf(request);
      this.#guards.check(guarded);
      this.#addCors(guarded, response);
      const path = pathOf(request);
      const handler = this.#handlers.get(path);
      const peers = path === linkPath ? this.#peers : undefined;
      if (handler === undefined && peers === undefined) throw unknownRpc(path);
      if (request.method === "OPTIONS") this.#sendOptions(request, response);
      else if (handler === undefined) this.#link(peers, request, response, requestId);
      else {
        checkAsked(handler, request, path);
        checkDeclared(headerOf(request, "content-length"));
        this.#answer(handler, request, response, requestId);
      }
    } catch (failure) {
      if (failure instanceof AssertionError) throw failure;
      this.#send(request, response, QuorateError.from(failure), requestId);
    }
  }

  refuse(request: RpcRequest, response: RpcResponse, failure: QuorateError): void {
    this.#send(request, response, failure, this.#begin(request, response));
  }

  #isOurs(path: string): boolean {
    return this.#handlers.has(path) || this.#prefixes.has(path.slice(0, path.indexOf("/", 1) + 1));
  }

  /** The request's id, which every answer has. */
  #begin(request: RpcRequest, response: RpcResponse): string {
    const given = headerOf(request, requestIdHeader);
    const requestId =
      given !== undefined && requestIdPattern.test(given) ? given : this.#ids.next();
    response.setHeader(requestIdHeader, requestId);
    return requestId;
  }

  #addCors(guarded: Guarded, response: RpcResponse): void {
    const headers = corsHeaders(this.#settings, guarded);
    for (let index = 0; index < headers.length; index += 2) {
      response.setHeader(headers[index] ?? "", headers[index + 1] ?? "");
    }
  }

  #sendOptions(request: RpcRequest, response: RpcResponse): void {
    request.resume();
    response.writeHead(204, { allow: "GET, POST, OPTIONS", "cache-control": "no-store" });
    response.end();
  }

  #send(
    request: RpcRequest,
    response: RpcResponse,
    failure: QuorateError,
    requestId: string,
  ): void {
    const form = formOf(request, this.#isOurs(pathOf(request)));
    this.#traffic.cell(form === "http" ? "http" : "rpc", "other").refuse(failure.status);
    this.#traffic.fail(failure.slug, failure.outcome);
    sendRefusal(request, response, refusalReply(failure, form, requestId));
  }

  #link(
    peers: PeerEdge | undefined,
    request: RpcRequest,
    response: RpcResponse,
    requestId: string,
  ): void {
    peers?.handle({
      request,
      response: response as Http2ServerResponse,
      requestId,
      onProven: () => this.#settings.onProven?.(response),
    });
  }

  #answer(
    handler: UniversalHandler,
    request: RpcRequest,
    response: RpcResponse,
    requestId: string,
  ): void {
    const call = this.#hot.find(request, handler.requestPath);
    if (call === undefined) void this.#run(handler, { request, response, requestId });
    else {
      this.#hot.handle(call, request, response as Http2ServerResponse, requestId, (begun) => {
        void this.#run(handler, { request, response, requestId, begun });
      });
    }
  }

  async #run(handler: UniversalHandler, asked: Asked): Promise<void> {
    const { request, response, requestId, begun } = asked;
    const { methodKind } = handler.method;
    const body = new BoundedBody({
      ...this.#settings,
      budget: this.#bodies,
      isStream: methodKind === "bidi_streaming" || methodKind === "client_streaming",
      isFramed: formOf(request, true) !== "connect",
      requestId,
    });
    try {
      // The library needs one, for a URL of which only the query is read; HTTP/1.0 may have none.
      if (request.httpVersionMajor < 2) request.headers.host ??= "localhost";
      const universal = universalRequestFromNodeRequest(request, response, undefined, undefined);
      universal.header.set(requestIdHeader, requestId);
      boundDeadline(universal.header);
      const source = bodyFrom(universal.body as AsyncIterable<Uint8Array>, begun);
      const answer = await handler({
        ...universal,
        body: body.over(source),
      } as UniversalServerRequest);
      body.end();
      // A body that was not read to its end would keep the next request of the connection waiting.
      if (!body.isStream) request.resume();
      await universalResponseToNodeResponse(answer, response);
    } catch (failure) {
      // The client is gone, or its stream was reset: what it should have heard has no reader.
      this.#settings.report.count("rpc_answers_cut");
      if (!response.writableEnded) response.destroy(failure instanceof Error ? failure : undefined);
    } finally {
      body.end();
    }
  }
}

/** The library gives a deadline to a timer as it is: one that is too long for it would end a stream at once. */
function boundDeadline(header: Headers): void {
  const grpcMs = grpcTimeoutMs(header.get("grpc-timeout")) ?? 0;
  if (grpcMs > timerDelayMsMax)
    header.set("grpc-timeout", `${Math.floor(timerDelayMsMax / 1000)}S`);
  const connect = header.get("connect-timeout-ms") ?? "";
  if (/^\d{1,10}$/.test(connect) && Number(connect) > timerDelayMsMax) {
    header.set("connect-timeout-ms", String(timerDelayMsMax));
  }
}

/** A body of which something was read before. */
async function* joined(
  { pieces, isEnded }: BodyBegun,
  rest: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  yield* pieces;
  if (!isEnded) yield* rest;
}

function bodyFrom(
  rest: AsyncIterable<Uint8Array>,
  begun: BodyBegun | undefined,
): AsyncIterable<Uint8Array> {
  return begun === undefined ? rest : joined(begun, rest);
}

/** Wrong methods and content types get words, where the router would send an empty answer. */
function checkAsked(handler: UniversalHandler, request: RpcRequest, path: string): void {
  const method = request.method ?? "";
  if (!handler.allowedMethods.includes(method)) {
    throw methodNotAllowed(method, path, [...handler.allowedMethods, "OPTIONS"].join(", "));
  }
  const type = typeOf(request);
  if (method === "GET") {
    checkEncoding(request, path);
    return;
  }
  // The router takes the base64 form of gRPC-Web for its own, and cannot read it.
  const isText = type.toLowerCase().startsWith("application/grpc-web-text");
  if (!isText && handler.supportedContentType(type)) return;
  throw new QuorateError(
    "unsupported-media-type",
    `${path} does not take the content type '${type.slice(0, 80)}'.`,
    {
      outcome: "none",
      hint: "Use application/json or application/proto (Connect), application/grpc or application/grpc-web.",
    },
  );
}

/** A GET names its codec in the query. */
function checkEncoding({ url }: RpcRequest, path: string): void {
  const query = url?.slice(path.length + 1) ?? "";
  const encoding = new URLSearchParams(query).get("encoding");
  if (encoding === "json" || encoding === "proto") return;
  throw new QuorateError(
    "unsupported-media-type",
    `${path} by GET needs encoding=json or encoding=proto in its query.`,
    { hint: `For example ${path}?encoding=json&message=%7B%7D, or a POST.` },
  );
}

function unknownRpc(path: string): QuorateError {
  return new QuorateError("no-such-route", `This node has no RPC ${path.slice(0, 256)}.`, {
    outcome: "none",
    hint: "gRPC reflection lists every service, and GET /openapi.json every HTTP route.",
  });
}

function typeOf(request: RpcRequest): string {
  return headerOf(request, "content-type") ?? "";
}

function pathOf(request: RpcRequest): string {
  const url = request.url ?? "";
  const end = url.indexOf("?");
  return end === -1 ? url : url.slice(0, end);
}

function guardedOf(request: RpcRequest): Guarded {
  const { headers, httpVersion } = request;
  const host = headers[":authority"] ?? headers.host;
  return {
    method: request.method ?? "",
    // HTTP/1.1 must name a host; an empty one is refused.
    host: typeof host === "string" ? host : httpVersion === "1.0" ? undefined : "",
    header: (name) => headerOf(request, name),
  };
}
