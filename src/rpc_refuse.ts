/**
 * Rpc refuse: how a request is refused before any handler has it, in the form its client reads.
 *
 * A gRPC client reads trailers, a gRPC-Web client reads headers, a Connect client reads JSON, and
 * whoever speaks none of these reads a problem document. All four say the same: the code, the text
 * and the ErrorDetail of one `QuorateError`.
 *
 * Invariants
 * 1. A refusal has a whole body, and nothing of the request's body is held for it.
 * 2. An HTTP/1.1 connection is only closed with the answer where no body may still be coming:
 *    closing while a client sends resets the connection, and the reset can overtake the answer.
 *
 * Effects: writes to the response that it is given.
 * Source: the protocol references of Connect and gRPC ("trailers-only"); RFC 9112 section 9.6.
 *
 * @module
 */

import {
  codeToHttpStatus,
  createEndStreamSerialization,
  endStreamFlag,
  errorToJsonBytes,
} from "@connectrpc/connect/protocol-connect";
import { setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import { emptyBytes } from "./bytes.ts";
import type { QuorateError } from "./errors.ts";
import type { Reply } from "./exchange.ts";
import { problemReply } from "./problem.ts";
import { connectError } from "./rpc_error.ts";

/** The header in which a request's id comes and goes. */
export const requestIdHeader = "quorate-request-id";

/** What is used of a request, be it of node:http or of HTTP/2. */
export interface RefusedRequest {
  readonly method?: string | undefined;
  readonly url?: string | undefined;
  readonly httpVersionMajor: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  resume(): unknown;
}

/** What is used of a response. */
export interface RefusingResponse {
  statusCode: number;
  setHeader(name: string, value: string): unknown;
  writeHead(status: number, headers: Record<string, string>): unknown;
  end(): unknown;
  end(body: Uint8Array): unknown;
}

/** The protocol that a request speaks; `http` when it is none of the RPC protocols. */
export type Form = "grpc" | "grpc-web" | "connect" | "connect-stream" | "http";

/** A header's one value. */
export function headerOf(request: RefusedRequest, name: string): string | undefined {
  const value = request.headers[name];
  return typeof value === "string" || value === undefined ? value : value.join(", ");
}

/** `isKnownPath`: the path is one of our RPCs, so that plain JSON means Connect. */
export function formOf(request: RefusedRequest, isKnownPath: boolean): Form {
  // Its letters count the same in either case (RFC 9110 section 8.3.1).
  const type = headerOf(request, "content-type")?.toLowerCase() ?? "";
  if (type.startsWith("application/grpc-web")) return "grpc-web";
  if (type.startsWith("application/grpc")) return "grpc";
  if (type.startsWith("application/connect+")) return "connect-stream";
  if (type.startsWith("application/proto")) return "connect";
  if (headerOf(request, "connect-protocol-version") !== undefined) return "connect";
  return isKnownPath && (type.startsWith("application/json") || request.method === "GET")
    ? "connect"
    : "http";
}

/** The refusal as `form` says it. */
export function refusalReply(failure: QuorateError, form: Form, requestId: string): Reply {
  if (form === "http") {
    const reply = problemReply(failure, { requestId });
    reply.headers.push(requestIdHeader, requestId);
    return reply;
  }
  const error = connectError(failure, requestId);
  const headers = new Headers({ [requestIdHeader]: requestId });
  switch (form) {
    case "grpc":
    case "grpc-web": {
      headers.set("content-type", form === "grpc" ? "application/grpc" : "application/grpc-web");
      return { status: 200, headers: listOf(setTrailerStatus(headers, error)), body: emptyBytes };
    }
    case "connect-stream": {
      headers.set("content-type", "application/connect+json");
      const end = createEndStreamSerialization(undefined).serialize({
        metadata: new Headers(),
        error,
      });
      return { status: 200, headers: listOf(headers), body: envelope(endStreamFlag, end) };
    }
    default: {
      error.metadata.forEach((value, name) => {
        headers.set(name, value);
      });
      headers.set("content-type", "application/json");
      const status = codeToHttpStatus(error.code);
      return { status, headers: listOf(headers), body: errorToJsonBytes(error, undefined) };
    }
  }
}

/** Sends a whole answer to a request of which nothing more is wanted. */
export function sendRefusal(
  request: RefusedRequest,
  response: RefusingResponse,
  reply: Reply,
): void {
  const headers: Record<string, string> = {};
  for (let index = 0; index < reply.headers.length; index += 2) {
    headers[(reply.headers[index] ?? "").toLowerCase()] = reply.headers[index + 1] ?? "";
  }
  const body = reply.body instanceof Uint8Array ? reply.body : emptyBytes;
  headers["content-length"] = String(body.length);
  // What the client still sends is dropped; without this its connection could not be used again.
  request.resume();
  if (body.length === 0) {
    endWithHead(response, reply.status, headers);
    return;
  }
  response.writeHead(reply.status, headers);
  response.end(request.method === "HEAD" ? emptyBytes : body);
}

/**
 * Sends a head that ends its stream. gRPC clients take it for trailers only then: after a head of
 * its own, an empty DATA frame at the end is an answer without a status.
 */
function endWithHead(
  response: RefusingResponse,
  status: number,
  headers: Readonly<Record<string, string>>,
): void {
  response.statusCode = status;
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
  response.end();
}

function listOf(headers: Headers): string[] {
  const list: string[] = [];
  headers.forEach((value, name) => {
    list.push(name, value);
  });
  return list;
}

/** A message in the framing of streams: flags, length, bytes. */
function envelope(flags: number, bytes: Uint8Array): Uint8Array {
  const framed = new Uint8Array(5 + bytes.length);
  framed[0] = flags;
  new DataView(framed.buffer).setUint32(1, bytes.length);
  framed.set(bytes, 5);
  return framed;
}
