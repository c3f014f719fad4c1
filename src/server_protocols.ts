/**
 * Server protocols: node:http and node:http2 as parsers of connections that somebody else accepted.
 *
 * Both are servers that never listen: connections are given to them. What they would do by
 * themselves that differs between runtimes (deadlines, empty refusals, a keep-alive of their own) is
 * switched off, and done in `server_connection.ts`, the same for all.
 *
 * Effects: none of its own. Source: RFC 9112, RFC 9113; CVE-2023-44487 (rapid reset).
 *
 * @module
 */

import * as http from "node:http";
import * as http2 from "node:http2";
import type { Duplex } from "node:stream";
import { valueBytesMaxLimit } from "./api.ts";
import type { QuorateError } from "./errors.ts";
import { methodNotAllowed } from "./problem.ts";
import type { RpcRequest, RpcResponse } from "./rpc.ts";
import { headBytesMax, type ServerLimits } from "./server_limits.ts";
import { parserError } from "./server_problem.ts";

export type OnRequest = (request: RpcRequest, response: RpcResponse) => void;

/** What a client may send on one stream before it is taken in; more cannot be in memory unread. */
const streamWindowBytes = 256 * 1024;
const settingsEntriesMax = 32;
const sessionMegabytesMax = 16;

export interface Http1Events {
  readonly onRequest: OnRequest;
  /** Bytes that are no request, on a connection. */
  readonly onBroken: (socket: Duplex, failure: QuorateError) => void;
}

export function createHttp1({ onRequest, onBroken }: Http1Events): http.Server {
  const server = http.createServer(
    {
      maxHeaderSize: headBytesMax,
      // The HTTP edge refuses a missing Host itself, with a problem document.
      requireHostHeader: false,
      keepAliveTimeout: 0,
      headersTimeout: 0,
      requestTimeout: 0,
    },
    onRequest,
  );
  // Headers past a count would be dropped without a word; their bytes are bounded anyway.
  server.maxHeadersCount = 0;
  // A client that closes its half after a request still gets its answer.
  Object.assign(server, { httpAllowHalfOpen: true });
  // Deno ends a connection after each answer of a server that does not listen.
  Object.defineProperty(server, "listening", { value: true });
  server.on("clientError", (error: { code?: unknown }, socket) => {
    onBroken(socket, parserError(error));
  });
  server.on("checkContinue", (request: http.IncomingMessage, response: http.ServerResponse) => {
    // A body that will be refused for its length is not asked for.
    const declared = Number(request.headers["content-length"] ?? 0);
    if (declared <= valueBytesMaxLimit) response.writeContinue();
    onRequest(request, response);
  });
  // An expectation that nobody knows is not met, and does no harm.
  server.on("checkExpectation", onRequest);
  server.on("connect", (request: http.IncomingMessage, socket: Duplex) => {
    onBroken(
      socket,
      methodNotAllowed("CONNECT", request.url ?? "", "GET, HEAD, PUT, POST, DELETE"),
    );
  });
  return server;
}

export interface Http2Events {
  readonly onRequest: OnRequest;
  readonly onSession: (session: http2.ServerHttp2Session) => void;
}

export function createHttp2(
  limits: ServerLimits,
  { onRequest, onSession }: Http2Events,
): http2.Http2Server {
  const server = http2.createServer(
    {
      maxSessionMemory: sessionMegabytesMax,
      maxSettings: settingsEntriesMax,
      settings: {
        enablePush: false,
        maxConcurrentStreams: limits.streamsMax,
        maxHeaderListSize: headBytesMax,
        initialWindowSize: streamWindowBytes,
      },
    },
    onRequest,
  );
  // These two node:http2 would refuse by itself, with an empty answer.
  server.on("checkExpectation", onRequest);
  server.on("connect", onRequest);
  server.on("session", onSession);
  // A broken session ends itself, with a GOAWAY that says why.
  server.on("sessionError", () => {});
  // Without this, node:http2 would close a session that has been still for two minutes.
  server.setTimeout(0);
  return server;
}

/**
 * Whether an HTTP/1.1 request has more than one Host line (RFC 9112 section 3.2). A proxy may have
 * gone by the other one, and `request.headers` has the first alone: only the raw lines tell.
 */
export function hasTwoHosts(request: RpcRequest): boolean {
  if (request.httpVersionMajor >= 2) return false;
  const { rawHeaders } = request;
  let count = 0;
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index];
    if (name?.length === 4 && name.toLowerCase() === "host") count += 1;
  }
  return count > 1;
}
