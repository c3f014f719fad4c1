/**
 * HttpAdmin: what an operator asks a node: namespaces, information, health.
 *
 * Liveness says that the process answers; readiness that it may be sent requests. They are apart
 * because an orchestrator kills what is not live and only passes by what is not ready.
 *
 * Effects: those of the node, through `Api`.
 *
 * @module
 */

import type { Namespace, NamespacePolicy } from "./api.ts";
import { utf8Bytes } from "./bytes.ts";
import { QuorateError } from "./errors.ts";
import {
  type Exchange,
  type HttpContext,
  jsonReply,
  privateNoCache,
  type Reply,
  textReply,
} from "./exchange.ts";
import { readJson } from "./http_batch.ts";
import { refuseConditions } from "./http_kv.ts";
import { noSuchRoute } from "./problem.ts";
import { bodies, parameters, parseBody, parseParameters } from "./schemas.ts";
import { parseNamespace } from "./target.ts";

const namespacesPath = "/v1/namespaces/";
const policyBody = { bytesMax: 16 * 1024, example: '{"n":3,"w":"quorum"}' };

/** `GET /v1/namespaces`. */
export function listNamespaces(context: HttpContext, exchange: Exchange): Reply {
  parseParameters(parameters.none, exchange);
  return jsonReply(200, { namespaces: context.api.namespaces().map(namespaceBody) });
}

/** `GET /v1/namespaces/{namespace}`. */
export function getNamespace(context: HttpContext, exchange: Exchange): Reply {
  const name = namespaceOf(exchange);
  return jsonReply(200, namespaceBody(context.api.namespace(name)));
}

/** `PUT /v1/namespaces/{namespace}`: makes it or changes its policy. */
export async function putNamespace(context: HttpContext, exchange: Exchange): Promise<Reply> {
  const name = namespaceOf(exchange);
  refuseConditions(exchange);
  const body = parseBody(bodies.namespace, await readJson(context, exchange, policyBody));
  const policy: Partial<NamespacePolicy> = {
    ...(body.n === undefined ? {} : { n: body.n }),
    ...(body.r === undefined ? {} : { r: body.r }),
    ...(body.w === undefined ? {} : { w: body.w }),
    ...(body.resolve === undefined ? {} : { resolve: body.resolve }),
    ...(body.ttl === undefined ? {} : { ttlSeconds: body.ttl }),
    ...(body.maxValue === undefined ? {} : { valueBytesMax: body.maxValue }),
    ...(body.durability === undefined ? {} : { durability: body.durability }),
  };
  // Not asked here whether it is new: another node may have made it a moment ago.
  const { valueBytesMax } = context.settings;
  exchange.sent = true;
  const namespace = await context.api.putNamespace(name, policy, { valueBytesMax });
  return jsonReply(200, namespaceBody(namespace));
}

/** `DELETE /v1/namespaces/{namespace}`: with every key in it; also when there is none. */
export async function deleteNamespace(context: HttpContext, exchange: Exchange): Promise<Reply> {
  const name = namespaceOf(exchange);
  refuseConditions(exchange);
  exchange.sent = true;
  await context.api.deleteNamespace(name);
  return { status: 204, headers: ["Cache-Control", privateNoCache] };
}

/** `GET /v1/info`. */
export async function getInfo(context: HttpContext, exchange: Exchange): Promise<Reply> {
  parseParameters(parameters.none, exchange);
  const { startedAtMs, ...info } = await context.api.info();
  return jsonReply(200, { ...info, startedAt: new Date(startedAtMs).toISOString() });
}

/** `GET /health`, as the original program answered it. */
export async function getHealth(context: HttpContext, exchange: Exchange): Promise<Reply> {
  parseParameters(parameters.none, exchange);
  const { node, keys } = await context.api.info();
  const isReady = context.api.readiness().every((check) => check.ok);
  return jsonReply(200, { node, keys, status: isReady ? "ok" : "not ready" });
}

/** `GET /livez`. */
export function getLive(_context: HttpContext, exchange: Exchange): Reply {
  parseParameters(parameters.none, exchange);
  return textReply(200, "ok\n");
}

/** `GET /readyz[?verbose]`. */
export function getReady(context: HttpContext, exchange: Exchange): Reply {
  const { verbose } = parseParameters(parameters.ready, exchange);
  const checks = context.api.readiness();
  const failed = checks.filter((check) => !check.ok);
  if (verbose === true) {
    const lines = checks.map((check) => {
      const detail = check.detail === undefined ? "" : `: ${check.detail}`;
      return check.ok ? `[+]${check.name} ok${detail}` : `[-]${check.name} failed${detail}`;
    });
    lines.push(failed.length === 0 ? "ready" : "not ready");
    return textReply(failed.length === 0 ? 200 : 503, `${lines.join("\n")}\n`);
  }
  if (failed.length === 0) return textReply(200, "ok\n");
  const names = failed.map((check) =>
    check.detail === undefined ? check.name : `${check.name} (${check.detail})`,
  );
  throw new QuorateError("not-ready", `The node waits for: ${names.join(", ")}.`, {
    hint: "GET /readyz?verbose lists every check.",
  });
}

/** `GET /metrics`, in the text format of Prometheus. */
export async function getMetrics(context: HttpContext, exchange: Exchange): Promise<Reply> {
  parseParameters(parameters.none, exchange);
  const { metrics } = context.settings;
  if (metrics === undefined) throw noSuchRoute(exchange.path);
  const body = utf8Bytes(await metrics.text());
  const headers = ["Content-Type", metrics.contentType, "Content-Length", String(body.length)];
  headers.push("Cache-Control", "no-store", "X-Content-Type-Options", "nosniff");
  return { status: 200, headers, body };
}

function namespaceOf(exchange: Exchange): string {
  const name = parseNamespace(exchange.path.slice(namespacesPath.length));
  exchange.namespace = name;
  parseParameters(parameters.none, exchange);
  return name;
}

/** A policy under the names of the client contract. */
function namespaceBody(namespace: Namespace): Readonly<Record<string, unknown>> {
  const { n, r, w, resolve, ttlSeconds, valueBytesMax, durability } = namespace.policy;
  return {
    name: namespace.name,
    number: namespace.number,
    n,
    r,
    w,
    resolve,
    ...(ttlSeconds === undefined ? {} : { ttl: ttlSeconds }),
    maxValue: valueBytesMax,
    durability,
  };
}
