/**
 * Openapi: the routes of a node as an OpenAPI 3.1 document.
 *
 * The document is built from the very table that the routes are served from and from the schemas
 * that check their requests. A route with a key in its path cannot be written as OpenAPI's router
 * sees paths, so routes are registered as documentation only and matched by `http.ts`.
 *
 * Invariants
 * 1. Every served route is in the document and every route of the document is served.
 *
 * Effects: none. Source: OpenAPI Specification 3.1.
 *
 * @module
 */

import { OpenAPIHono, z } from "@hono/zod-openapi";
import { namespacePattern } from "./api.ts";
import { slugTable } from "./errors.ts";
import type { Operation } from "./exchange.ts";
import {
  commonHeaders,
  type HeaderName,
  type HeaderSet,
  headerMeanings,
  problemHeaders,
} from "./http_headers.ts";

export type Method = "get" | "head" | "put" | "post" | "delete";

/** What a body may be. */
export type Content = Readonly<Record<string, { readonly schema: z.ZodType }>>;

/** One route: how it is served and how it is described. */
export interface Route {
  readonly method: Method;
  /** With `{namespace}`, `{key}` (which takes the rest of the path) or `{slug}`. */
  readonly path: string;
  readonly run: Operation;
  readonly summary: string;
  readonly query: z.ZodObject;
  readonly body?: Content;
  readonly status: number;
  readonly answer: string;
  readonly content?: Content;
  /** Beside those of every answer. */
  readonly headers?: HeaderSet;
  /** Answers that are neither that one nor a problem alone, by status. */
  readonly others?: Readonly<Record<number, Described>>;
}

interface Described {
  readonly answer: string;
  readonly content?: Content;
  readonly headers?: HeaderSet;
}

const problemSchema = z
  .object({
    type: z.string().openapi({ example: "/problems/key-not-found" }),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    hint: z.string(),
    requestId: z.string(),
    outcome: z.enum(["none", "partial", "unknown"]).optional(),
    needed: z.int().optional(),
    acks: z.int().optional(),
    replicas: z
      .array(z.object({ node: z.string(), status: z.string(), reason: z.string().optional() }))
      .optional(),
    limit: z.int().optional(),
    epoch: z.int().optional(),
    key: z.string().optional(),
    key64: z.string().optional(),
    namespace: z.string().optional(),
  })
  .openapi("Problem", { description: "RFC 9457 problem details." });

/** What every failure answers. */
export const problemContent: Content = { "application/problem+json": { schema: problemSchema } };

const pathParameters: Readonly<Record<string, z.ZodType>> = {
  namespace: z.string().regex(namespacePattern),
  key: z.string().openapi({ description: "The key: the rest of the path, '/' included." }),
  slug: z.enum(Object.keys(slugTable) as [string, ...string[]]),
};

/** The document for a table of routes. */
export function openApiDocument(
  routes: readonly Route[],
  version: string,
): Readonly<Record<string, unknown>> {
  const registry = new OpenAPIHono();
  for (const route of routes) registry.openAPIRegistry.registerPath(describe(route));
  const document = registry.getOpenAPI31Document({
    openapi: "3.1.0",
    info: {
      title: "Quorate",
      version,
      description: "A replicated key-value store. Every error is application/problem+json.",
      license: { name: "MIT", url: "https://spdx.org/licenses/MIT" },
    },
  });
  return { ...document };
}

function describe(route: Route) {
  const names = [...route.path.matchAll(/\{(\w+)\}/g)].map((match) => match[1] ?? "");
  const shape = Object.fromEntries(names.map((name) => [name, pathParameters[name] ?? z.string()]));
  return {
    method: route.method,
    path: route.path,
    summary: route.summary,
    operationId: operationId(route),
    request: {
      ...(names.length === 0 ? {} : { params: z.object(shape) }),
      ...(Object.keys(route.query.shape).length === 0 ? {} : { query: route.query }),
      ...(route.body === undefined ? {} : { body: { content: route.body, required: true } }),
    },
    responses: {
      [route.status]: response(route),
      ...Object.fromEntries(
        Object.entries(route.others ?? {}).map(([status, other]) => [status, response(other)]),
      ),
      default: response({
        answer: "A problem.",
        content: problemContent,
        headers: problemHeaders,
      }),
    },
  };
}

function response({ answer, content, headers = {} }: Described) {
  const all = Object.entries({ ...commonHeaders, ...headers });
  return {
    description: answer,
    headers: Object.fromEntries(
      all.map(([name, when]) => [
        name,
        {
          description: headerMeanings[name as HeaderName],
          required: when === "always",
          schema: { type: "string" as const },
        },
      ]),
    ),
    ...(content === undefined ? {} : { content }),
  };
}

/** For example `get_v1_kv_namespace_key`. */
function operationId(route: Route): string {
  return `${route.method}${route.path.replaceAll(/[^A-Za-z0-9]+/g, "_")}`.replace(/_+$/, "");
}
