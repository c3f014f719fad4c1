/**
 * Server problem: what the port itself says, to bytes that are no request, to whom it does not serve,
 * and to whoever starts it where it cannot listen.
 *
 * node:http refuses some requests by itself, before anybody has a response to answer with: a head
 * that is too large or that is not HTTP. For these the whole answer is made here, as bytes.
 *
 * Effects: none. Source: RFC 9110 section 15.5; RFC 9457.
 *
 * @module
 */

import { systemErrorCode } from "./capability.ts";
import { QuorateError } from "./errors.ts";
import { statusReasons } from "./http_wire.ts";
import { problemReply } from "./problem.ts";
import { headBytesMax } from "./server_limits.ts";

/** A whole HTTP/1.1 answer, after which the connection is closed. */
export function rawProblem(failure: QuorateError, requestId: string): string {
  const reply = problemReply(failure, { requestId });
  const lines = [`HTTP/1.1 ${reply.status} ${statusReasons[reply.status] ?? "Error"}`];
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

export function twoHostsError(): QuorateError {
  return new QuorateError("invalid-request", "The request has more than one Host header.", {
    outcome: "none",
    hint: "Send one Host header, with the name and port that the request is for.",
  });
}

export function drainingError(): QuorateError {
  return new QuorateError("draining", "The node is shutting down and takes no new requests.", {
    outcome: "none",
    retryAfterSeconds: 1,
    hint: "Send it to another node, or again when this one is back.",
  });
}

/** On the port of the nodes. */
export function notForClients(): QuorateError {
  return new QuorateError("no-such-route", "This port is for the nodes of the cluster alone.", {
    outcome: "none",
    hint: "Send it to the node's --port.",
  });
}

/** On the port of the clients, where the nodes have one of their own. */
export function notForPeers(port: number): QuorateError {
  return new QuorateError(
    "forbidden",
    `This port is for clients; the nodes of the cluster have one of their own, --gossip-port ${port}.`,
    { outcome: "none", hint: "Name that port in --peers." },
  );
}

/** At the start, for a host that other machines can reach. */
export function needsInsecure(host: string): QuorateError {
  return new QuorateError(
    "invalid-config",
    `Other machines can reach ${host}, and this version has no TLS and no login: whoever reaches the port could read and change everything.`,
    {
      hint: "Listen on 127.0.0.1, or say `insecure` (--insecure) where a firewall or a proxy with TLS and login stands in front.",
    },
  );
}

const listenErrors: Readonly<Record<string, readonly [why: string, hint: string]>> = {
  EADDRINUSE: [
    "another program listens there",
    "Stop it, or choose another port (0 takes any free one).",
  ],
  EACCES: ["the system does not allow it", "Choose a port above 1023."],
  EADDRNOTAVAIL: ["this machine has no such address", "Choose another host."],
  ENOTFOUND: ["the name does not resolve", "Choose another host."],
};

export function cannotListen(error: Error, host: string, port: number): QuorateError {
  const code = systemErrorCode(error) ?? "";
  const [why, hint] = listenErrors[code] ?? [error.message, "Choose another host or port."];
  const detail = `Cannot listen on ${host} port ${port}: ${why}.`;
  return new QuorateError("invalid-config", detail, { hint, cause: error });
}
