/**
 * HttpRoutes: the table of everything that is served over HTTP.
 *
 * One row is one method on one path: what runs, what it takes, what it answers. The router, the
 * Allow header of a 405, OPTIONS and the OpenAPI document are all read from here.
 *
 * Invariants
 * 1. What is not in the table is 404 `no-such-route`, or 405 where another method is.
 * 2. A HEAD is served wherever a GET is.
 *
 * Effects: none.
 *
 * @module
 */

import { z } from "@hono/zod-openapi";
import type { Operation } from "./exchange.ts";
import * as admin from "./http_admin.ts";
import { answers } from "./http_answers.ts";
import * as batch from "./http_batch.ts";
import * as cluster from "./http_cluster.ts";
import * as headers from "./http_headers.ts";
import * as kv from "./http_kv.ts";
import * as list from "./http_list.ts";
import * as moves from "./http_moves.ts";
import * as repair from "./http_repair.ts";
import * as ring from "./http_ring.ts";
import { type Content, problemContent, type Route } from "./openapi.ts";
import { problemPage } from "./problem.ts";
import { bodies, parameters } from "./schemas.ts";
import type { OperationName, Traffic, TrafficCell } from "./traffic.ts";

const anyBytes: Content = { "*/*": { schema: z.string().openapi({ format: "binary" }) } };
const text: Content = { "text/plain": { schema: z.string() } };
const json = (schema: z.ZodType): Content => ({ "application/json": { schema } });
/** The original routes take their JSON under any content type. */
const anyJson = (schema: z.ZodType): Content => ({ "*/*": { schema } });

/** A GET whose If-None-Match names the version that there is. */
const notModified = { answer: "Not modified.", headers: headers.notModifiedHeaders };

const keyPaths = ["/v1/kv/{namespace}/{key}", "/v1/kv/{namespace}"];

const keyRoutes: readonly Omit<Route, "path">[] = [
  {
    method: "get",
    run: kv.getKey,
    summary: "Read a key",
    query: parameters.getKey,
    status: 200,
    answer: "The bytes of the value, under the content type that they were written with.",
    content: anyBytes,
    headers: headers.getHeaders,
    others: { 304: notModified },
  },
  {
    method: "head",
    run: kv.getKey,
    summary: "Read a key's headers",
    query: parameters.getKey,
    status: 200,
    answer: "The headers of the GET, its Content-Length included.",
    headers: headers.getHeaders,
    others: { 304: notModified },
  },
  {
    method: "put",
    run: kv.putKey,
    summary: "Write a key",
    query: parameters.putKey,
    body: anyBytes,
    status: 204,
    answer: "Written.",
    headers: headers.putHeaders,
  },
  {
    method: "delete",
    run: kv.deleteKey,
    summary: "Delete a key",
    query: parameters.deleteKey,
    status: 204,
    answer: "Deleted, or not there.",
    headers: headers.deleteHeaders,
  },
];

const namespaceRoutes: readonly Route[] = [
  {
    method: "get",
    path: "/v1/namespaces",
    run: admin.listNamespaces,
    summary: "List the namespaces",
    query: parameters.none,
    status: 200,
    answer: "All namespaces with their policies.",
    content: json(z.strictObject({ namespaces: z.array(answers.namespace) })),
  },
  {
    method: "get",
    path: "/v1/namespaces/{namespace}",
    run: admin.getNamespace,
    summary: "Read a namespace's policy",
    query: parameters.none,
    status: 200,
    answer: "The policy.",
    content: json(answers.namespace),
  },
  {
    method: "put",
    path: "/v1/namespaces/{namespace}",
    run: admin.putNamespace,
    summary: "Make a namespace or change its policy",
    query: parameters.none,
    body: json(bodies.namespace),
    status: 200,
    answer: "The policy as it is now.",
    content: json(answers.namespace),
  },
  {
    method: "delete",
    path: "/v1/namespaces/{namespace}",
    run: admin.deleteNamespace,
    summary: "Delete a namespace and every key in it",
    query: parameters.none,
    status: 204,
    answer: "Deleted, or not there.",
  },
];

const manyRoutes: readonly Route[] = [
  {
    method: "get",
    path: "/v1/keys/{namespace}",
    run: list.listKeys,
    summary: "List keys",
    query: parameters.list,
    status: 200,
    answer: "A page, or with Accept: application/x-ndjson every item, one a line.",
    content: { ...json(answers.list), "application/x-ndjson": { schema: z.string() } },
    headers: headers.listHeaders,
  },
  {
    method: "get",
    path: "/v1/count/{namespace}",
    run: list.countKeys,
    summary: "Count keys",
    query: parameters.count,
    status: 200,
    answer: "The number of keys and the bytes of their values.",
    content: json(answers.count),
    headers: headers.manyHeaders,
  },
  {
    method: "post",
    path: "/v1/batch/{namespace}",
    run: batch.runBatch,
    summary: "Run up to 1,000 operations",
    query: parameters.batch,
    body: json(bodies.batch),
    status: 200,
    answer: "A result for each operation, in order.",
    content: json(answers.batch),
  },
];

function deleteRoute(method: "post" | "delete"): Route {
  return {
    method,
    path: "/delete",
    run: batch.seedDelete,
    summary: "Delete a key of the namespace 'default'",
    query: parameters.deleteKey,
    // The body is only needed without ?key=, which OpenAPI cannot say; with it, it names the same key.
    status: 200,
    answer: "Deleted, or not there.",
    content: json(answers.written),
    headers: headers.seedDeleteHeaders,
  };
}

const seedRoutes: readonly Route[] = [
  {
    method: "post",
    path: "/put",
    run: batch.seedPut,
    summary: "Write a key of the namespace 'default'",
    query: parameters.put,
    body: anyJson(bodies.put),
    status: 200,
    answer: "Written.",
    content: json(answers.written),
    headers: headers.seedPutHeaders,
  },
  {
    method: "get",
    path: "/get",
    run: batch.seedGet,
    summary: "Read a key of the namespace 'default'",
    query: parameters.getKey,
    status: 200,
    answer: "The value, as text or base64url.",
    content: json(answers.found),
    headers: headers.seedGetHeaders,
  },
  deleteRoute("post"),
  deleteRoute("delete"),
  {
    method: "get",
    path: "/health",
    run: admin.getHealth,
    summary: "Health in one line",
    query: parameters.none,
    status: 200,
    answer: "The node's name and its live records.",
    content: json(answers.health),
  },
];

const nodeRoutes: readonly Route[] = [
  {
    method: "get",
    path: "/v1/info",
    run: admin.getInfo,
    summary: "What this node is",
    query: parameters.none,
    status: 200,
    answer: "Identity, version and size.",
    content: json(answers.info),
  },
  {
    method: "get",
    path: "/v1/ring",
    run: ring.getRing,
    summary: "Who holds what, and where a key lives",
    query: parameters.ring,
    status: 200,
    answer: "The members with their shares; with a key its replicas in order.",
    content: json(answers.ring),
  },
  {
    method: "get",
    path: "/v1/cluster",
    run: cluster.getCluster,
    summary: "Who is alive, and what each member holds",
    query: parameters.none,
    status: 200,
    answer: "The members as this node sees them.",
    content: json(answers.cluster),
  },
  {
    method: "get",
    path: "/v1/cluster/plan",
    run: moves.getMoves,
    summary: "What moves, how far it is, and who waits to join",
    query: parameters.none,
    status: 200,
    answer: "The move that is under way, if there is one, as this node sees it.",
    content: json(answers.moves),
  },
  {
    method: "post",
    path: "/v1/cluster/plan",
    run: moves.makePlan,
    summary: "Plan other members, weights or zones; changes nothing",
    query: parameters.none,
    body: json(moves.moveBodies.plan),
    status: 200,
    answer: "What would move, and the id with which it is applied.",
    content: json(answers.plan),
  },
  {
    method: "post",
    path: "/v1/cluster/apply",
    run: moves.applyPlan,
    summary: "Carry out a plan that this node has made",
    query: parameters.none,
    body: json(moves.moveBodies.apply),
    status: 200,
    answer: "It has begun.",
    content: json(answers.moves),
  },
  {
    method: "post",
    path: "/v1/cluster/revert",
    run: moves.revertMove,
    summary: "Take back the move that is under way",
    query: parameters.none,
    status: 200,
    answer: "It goes back.",
    content: json(answers.moves),
  },
  {
    method: "get",
    path: "/v1/hints",
    run: cluster.getHints,
    summary: "What is kept for nodes that were away",
    query: parameters.hints,
    status: 200,
    answer: "What this node keeps; with 'wait', when none are left on any node that it hears of.",
    content: json(answers.hints),
  },
  {
    method: "get",
    path: "/v1/repair",
    run: repair.getRepair,
    summary: "How far this node's partitions were compared with the other replicas",
    query: parameters.none,
    status: 200,
    answer: "What runs, what is marked, and when what is left will have been compared.",
    content: json(answers.repair),
  },
  {
    method: "post",
    path: "/v1/repair",
    run: repair.runRepair,
    summary: "Compares partitions with the other replicas now",
    query: parameters.repair,
    status: 202,
    answer: "It is begun; so many pairs of a partition and another replica are due now.",
    content: json(answers.repairRun),
  },
  {
    method: "get",
    path: "/livez",
    run: admin.getLive,
    summary: "Whether the process answers",
    query: parameters.none,
    status: 200,
    answer: "It does.",
    content: text,
    headers: headers.textHeaders,
  },
  {
    method: "get",
    path: "/readyz",
    run: admin.getReady,
    summary: "Whether the node may be sent requests",
    query: parameters.ready,
    status: 200,
    answer: "It may.",
    content: text,
    headers: headers.textHeaders,
    others: {
      503: {
        answer: "It may not: a problem, or with 'verbose' a line for each check.",
        content: { ...problemContent, ...text },
        headers: { ...headers.problemHeaders, "X-Content-Type-Options": "sometimes" },
      },
    },
  },
  {
    method: "get",
    path: "/metrics",
    run: admin.getMetrics,
    summary: "Numbers for Prometheus",
    query: parameters.none,
    status: 200,
    answer: "The text format, version 0.0.4.",
    content: text,
    headers: headers.textHeaders,
  },
  {
    method: "get",
    path: "/problems/{slug}",
    run: (_context, exchange) => problemPage(exchange),
    summary: "What a kind of error means",
    query: parameters.none,
    status: 200,
    answer: "A page.",
    content: { ...text, "text/html": { schema: z.string() } },
    headers: headers.pageHeaders,
  },
];

/** Every route but `/openapi.json`, which is made of them. */
export const routes: readonly Route[] = [
  ...keyPaths.flatMap((path) => keyRoutes.map((route) => ({ ...route, path }))),
  ...["/v1/explain/{namespace}/{key}", "/v1/explain/{namespace}"].map(
    (path): Route => ({
      method: "get",
      path,
      run: cluster.explainKey,
      summary: "Where a key lives, and what each replica holds of it now",
      query: parameters.getKey,
      status: 200,
      answer: "A line for every replica: what it holds, or why it did not answer.",
      content: json(answers.explain),
    }),
  ),
  ...manyRoutes,
  ...namespaceRoutes,
  ...seedRoutes,
  ...nodeRoutes,
];

/** What is not named here (health, documents, errors of routing) counts as `other`. */
const operationNames: readonly (readonly [run: Operation, name: OperationName])[] = [
  [kv.getKey, "get"],
  [kv.putKey, "put"],
  [kv.deleteKey, "delete"],
  [list.listKeys, "list"],
  [list.countKeys, "count"],
  [batch.runBatch, "batch"],
  [batch.seedPut, "put"],
  [batch.seedGet, "get"],
  [batch.seedDelete, "delete"],
  [admin.listNamespaces, "namespace"],
  [admin.getNamespace, "namespace"],
  [admin.putNamespace, "namespace"],
  [admin.deleteNamespace, "namespace"],
  [admin.getInfo, "node"],
  [ring.getRing, "node"],
  [cluster.getCluster, "node"],
  [moves.getMoves, "node"],
  [moves.makePlan, "node"],
  [moves.applyPlan, "node"],
  [moves.revertMove, "node"],
  [cluster.getHints, "node"],
  [cluster.explainKey, "node"],
  [repair.getRepair, "node"],
  [repair.runRepair, "node"],
  [admin.getHealth, "node"],
  [admin.getLive, "node"],
  [admin.getReady, "node"],
  [admin.getMetrics, "node"],
];

/** The cell in which each operation's requests are counted. */
export function cellsOf(traffic: Traffic): ReadonlyMap<Operation, TrafficCell> {
  return new Map(operationNames.map(([run, name]) => [run, traffic.cell("http", name)]));
}
