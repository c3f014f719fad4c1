/**
 * Server problem: what is said to bytes that were no request.
 *
 * node:http refuses some requests by itself, before anybody has a response to answer with: a head
 * that is too large or that is not HTTP. The words are written to the socket as they are.
 *
 * Effects: none. Source: RFC 9110 section 15.5; RFC 9457.
 *
 * @module
 */

import { QuorateError } from "./errors.ts";
import { problemReply } from "./problem.ts";
import { headBytesMax } from "./server_limits.ts";

const reasons: Readonly<Record<number, string>> = {
  400: "Bad Request",
  405: "Method Not Allowed",
  408: "Request Timeout",
  431: "Request Header Fields Too Large",
  503: "Service Unavailable",
};

/** A whole HTTP/1.1 answer, after which the connection is closed. */
export function rawProblem(failure: QuorateError, requestId: string): string {
  const reply = problemReply(failure, { requestId });
  const lines = [`HTTP/1.1 ${reply.status} ${reasons[reply.status] ?? "Error"}`];
  for (let index = 0; index < reply.headers.length; index += 2) {
    lines.push(`${reply.headers[index]}: ${reply.headers[index + 1]}`);
  }
  lines.push(`Quorate-Request-Id: ${requestId}`, "Connection: close", "", "");
  return lines.join("\r\n") + Buffer.from(reply.body as Uint8Array).toString("utf8");
}

/** What the parser of node:http says, as one of ours. */
export function parserError(error: { readonly code?: unknown }): QuorateError {
  const code = typeof error.code === "string" ? error.code : "";
  if (code === "HPE_HEADER_OVERFLOW") {
    const said = `The head of the request has more than ${headBytesMax} bytes.`;
    return new QuorateError("headers-too-large", said, { outcome: "none", limit: headBytesMax });
  }
  const what = code.startsWith("HPE_") ? code.slice(4).toLowerCase().replaceAll("_", " ") : code;
  return new QuorateError(
    "invalid-request",
    `What arrived is not a request of HTTP/1.1${what === "" ? "" : ` (${what})`}.`,
    {
      outcome: "none",
      hint: "Send HTTP/1.1, or HTTP/2 with prior knowledge; this port has no TLS.",
    },
  );
}

export function headersTimedOut(timeoutMs: number): QuorateError {
  return new QuorateError(
    "request-timeout",
    `The head of the request was not complete after ${timeoutMs} ms.`,
    { outcome: "none", hint: "Send the whole head at once." },
  );
}

export function drainingError(): QuorateError {
  return new QuorateError("draining", "The node is shutting down and takes no new requests.", {
    outcome: "none",
    retryAfterSeconds: 1,
    hint: "Send it to another node, or again when this one is back.",
  });
}

export function overloadedError(requests: number): QuorateError {
  return new QuorateError("overloaded", `${requests} requests are under way already.`, {
    outcome: "none",
    retryAfterSeconds: 1,
    hint: "Wait for Retry-After and send it again.",
  });
}
