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
import * as admin from "./http_admin.ts";
import * as batch from "./http_batch.ts";
import * as kv from "./http_kv.ts";
import * as list from "./http_list.ts";
import type { Content, Route } from "./openapi.ts";
import { problemPage } from "./problem.ts";
import { bodies, parameters } from "./schemas.ts";

const version = z.string().regex(/^[0-9a-f]{16}-[0-9a-f]{16}$/);
const key = { key: z.string().optional(), key64: z.string().optional() };
const value = { value: z.string().optional(), value64: z.string().optional() };
const expiresAt = z.iso.datetime().optional();
const meta = z.record(z.string(), z.string()).optional();

/** The JSON that is answered. */
export const answers = {
  list: z
    .strictObject({
      namespace: z.string(),
      items: z.array(
        z.strictObject({
          ...key,
          version,
          bytes: z.int(),
          contentType: z.string(),
          expiresAt,
          ...value,
        }),
      ),
      next: z.string().optional(),
    })
    .openapi("List"),
  count: z.strictObject({ keys: z.int(), bytes: z.int(), exact: z.boolean() }).openapi("Count"),
  batch: z
    .strictObject({
      results: z.array(
        z.strictObject({
          op: z.enum(["get", "put", "delete"]),
          ...key,
          status: z.int(),
          version: version.optional(),
          contentType: z.string().optional(),
          meta,
          expiresAt,
          ...value,
          error: z.record(z.string(), z.unknown()).optional(),
        }),
      ),
    })
    .openapi("BatchResults"),
  namespace: z
    .strictObject({
      name: z.string(),
      number: z.int(),
      n: z.int(),
      r: z.union([z.int(), z.enum(["quorum", "all"])]),
      w: z.union([z.int(), z.enum(["quorum", "all"])]),
      resolve: z.enum(["lww", "siblings"]),
      ttl: z.int().optional(),
      maxValue: z.int(),
      durability: z.enum(["fsync", "memory"]),
    })
    .openapi("Namespace"),
  info: z
    .strictObject({
      node: z.string(),
      version: z.string(),
      runtime: z.string(),
      clusterId: z.string(),
      nodeId: z.string(),
      storeId: z.string(),
      boot: z.int(),
      epoch: z.int(),
      partitions: z.int(),
      startedAt: z.iso.datetime(),
      keys: z.int(),
      bytes: z.int(),
      disk: z.strictObject({ freeBytes: z.number(), totalBytes: z.number() }),
      damagedPartitions: z.array(z.int()),
    })
    .openapi("Info"),
  written: z
    .strictObject({
      ok: z.literal(true),
      ...key,
      version,
      acks: z.int(),
      replicas: z.int(),
      consistency: z.string(),
      durability: z.enum(["fsync", "memory"]),
      node: z.string(),
      expiresAt,
    })
    .openapi("Written"),
  found: z
    .strictObject({
      ...key,
      ...value,
      found: z.literal(true),
      version,
      contentType: z.string(),
      meta,
      expiresAt,
    })
    .openapi("Found"),
  health: z.strictObject({ node: z.string(), keys: z.int(), status: z.string() }).openapi("Health"),
} as const;

const anyBytes: Content = { "*/*": { schema: z.string().openapi({ format: "binary" }) } };
const text: Content = { "text/plain": { schema: z.string() } };
const json = (schema: z.ZodType): Content => ({ "application/json": { schema } });
/** The original routes take their JSON under any content type. */
const anyJson = (schema: z.ZodType): Content => ({ "*/*": { schema } });

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
  },
  {
    method: "head",
    run: kv.getKey,
    summary: "Read a key's headers",
    query: parameters.getKey,
    status: 200,
    answer: "The headers of the GET, its Content-Length included.",
  },
  {
    method: "put",
    run: kv.putKey,
    summary: "Write a key",
    query: parameters.putKey,
    body: anyBytes,
    status: 204,
    answer: "Written.",
  },
  {
    method: "delete",
    run: kv.deleteKey,
    summary: "Delete a key",
    query: parameters.deleteKey,
    status: 204,
    answer: "Deleted, or not there.",
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
    // The body is only needed without ?key=, which OpenAPI cannot say.
    status: 200,
    answer: "Deleted, or not there.",
    content: json(answers.written),
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
    path: "/livez",
    run: admin.getLive,
    summary: "Whether the process answers",
    query: parameters.none,
    status: 200,
    answer: "It does.",
    content: text,
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
  },
];

/** Every route but `/openapi.json`, which is made of them. */
export const routes: readonly Route[] = [
  ...keyPaths.flatMap((path) => keyRoutes.map((route) => ({ ...route, path }))),
  ...manyRoutes,
  ...namespaceRoutes,
  ...seedRoutes,
  ...nodeRoutes,
];
