/**
 * Http: the HTTP edge of a node.
 *
 * Requests come in two ways and leave the same. `app` is a Hono application that serves the whole
 * table of routes to fetch-style requests. `handle` serves node:http and HTTP/2: the few routes that
 * carry nearly all traffic go straight to their operation, the rest through Hono. Either way an
 * operation turns an `Exchange` into a `Reply`, and `answer` alone surrounds it with the guards, the
 * errors and the headers that every reply has.
 *
 * Routing is by the raw request target. A URL class would resolve `..` and `%2E%2E` before any route
 * is chosen, and `/v1/kv/a/../b` would be the namespace `b`.
 *
 * Invariants
 * 1. Guards come before the operation, so before any byte of a body is read.
 * 2. Whatever is thrown becomes a problem, except a broken invariant, which ends the process.
 *
 * Effects: the node's, through `Api`; sockets, through what `handle` is given.
 *
 * @module
 */

import { Hono } from "hono";
import type { Api } from "./api.ts";
import { AssertionError } from "./assert.ts";
import type { Clock, Random, Report } from "./capability.ts";
import { QuorateError } from "./errors.ts";
import {
  bodiesOf,
  Exchange,
  type HttpContext,
  HttpDates,
  type HttpSettings,
  noteFailure,
  type Operation,
  type Reply,
  RequestIds,
  type Source,
  trafficOf,
} from "./exchange.ts";
import { corsHeaders, Guards } from "./guard.ts";
import { FetchSource, toResponse } from "./http_fetch.ts";
import {
  hotOperation,
  type NodeRequest,
  type NodeResponse,
  NodeSource,
  sendReply,
} from "./http_hot.ts";
import { cellsOf, routes } from "./http_routes.ts";
import { type Method, openApiDocument, type Route } from "./openapi.ts";
import { aboutOf, methodNotAllowed, noSuchRoute, problemReply } from "./problem.ts";
import { parameters, parseParameters } from "./schemas.ts";
import { splitTarget } from "./target.ts";

export type { HttpSettings } from "./exchange.ts";

/** The capabilities that the edge needs. */
export interface HttpParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly report: Report;
  /** False sends every request through Hono; for tests that compare the two ways. */
  readonly hotPath?: boolean;
}

/** What Hono's handlers are given: nothing for a fetch-style request. */
export interface HttpBindings {
  readonly source?: Source;
  /** The reply, for a request that has a source; its Response is then not looked at. */
  reply?: Reply;
}

type App = Hono<{ Bindings: HttpBindings }>;

export interface HttpEdge {
  readonly app: App;
  /** Answers one request; never throws but for a broken invariant. */
  handle(request: NodeRequest, response: NodeResponse): void;
  /** The reply of an operation; rejects only for a broken invariant. */
  run(source: Source, operation: Operation): Promise<Reply>;
}

/** The HTTP edge over a node. */
export function createHttp(api: Api, settings: HttpSettings & HttpParts): HttpEdge {
  const traffic = trafficOf(settings);
  const guards = new Guards(settings);
  const context: HttpContext = {
    api,
    settings,
    clock: settings.clock,
    report: settings.report,
    ids: new RequestIds(settings.random),
    dates: new HttpDates(),
    versionDates: new HttpDates(),
    bodies: bodiesOf(settings),
    guard: (request) => guards.check(request),
    traffic,
    cells: cellsOf(traffic),
    otherCell: traffic.cell("http", "other"),
  };
  const app = createApp(context);
  const useHotPath = settings.hotPath !== false;

  async function serve(request: NodeRequest, response: NodeResponse): Promise<void> {
    const source = new NodeSource(request);
    const operation = useHotPath ? hotOperation(source) : undefined;
    const reply =
      operation === undefined
        ? await throughHono(app, source)
        : await answer(context, new Exchange(source, context), operation);
    try {
      await sendReply(context, source, response, reply);
    } catch (error) {
      if (error instanceof AssertionError) throw error;
      // For example a stored content type that no header can carry. The target may hold a key.
      context.report.log("error", "A reply could not be written.", {
        requestId: requestIdIn(reply),
        method: source.method,
        error,
      });
      response.destroy();
    }
  }

  return {
    app,
    handle(request, response) {
      // A rejection is a broken invariant: left unhandled on purpose, it ends the process.
      void serve(request, response);
    },
    run: (source, operation) => answer(context, new Exchange(source, context), operation),
  };
}

function requestIdIn({ headers }: Reply): string | undefined {
  const index = headers.indexOf("Quorate-Request-Id");
  return index === -1 ? undefined : headers[index + 1];
}

/** The methods that Hono is asked with: it needs a Request, and only its method is ever read. */
const placeholders = new Map(
  ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"].map((method) => [
    method,
    new Request("http://quorate/", { method }),
  ]),
);
/** A method that fetch forbids or nobody knows has no route either, exactly as PATCH. */
const unknownMethod = "PATCH";

async function throughHono(app: App, source: Source): Promise<Reply> {
  const request = placeholders.get(source.method) ?? placeholders.get(unknownMethod);
  const bindings: HttpBindings = { source };
  await app.fetch(request as Request, bindings);
  return bindings.reply as Reply;
}

function createApp(context: HttpContext): App {
  const app: App = new Hono<{ Bindings: HttpBindings }>({
    strict: true,
    getPath: (request, options) => routingPath(sourceOf(request, options?.env)),
  });
  const all: readonly Route[] = [...routes, openApiRoute()];
  for (const route of all) {
    // Hono serves HEAD by the route of GET.
    if (route.method === "head") continue;
    app.on(route.method.toUpperCase(), honoPattern(route.path), handler(context, route.run));
  }
  for (const path of new Set(all.map((route) => route.path))) {
    const allow = allowOf(all.filter((route) => route.path === path).map((route) => route.method));
    app.all(honoPattern(path), handler(context, otherMethod(allow)));
  }
  app.notFound(handler(context, unknownRoute));
  app.onError((error) => {
    // Only a broken invariant gets here, and nobody may make an answer of it.
    throw error;
  });
  return app;
}

function handler(context: HttpContext, operation: Operation) {
  return async (c: { req: { raw: Request }; env: HttpBindings | undefined }): Promise<Response> => {
    const source = sourceOf(c.req.raw, c.env);
    const reply = await answer(context, new Exchange(source, context), operation);
    if (c.env?.source === undefined) return toResponse(reply);
    c.env.reply = reply;
    return new Response(null);
  };
}

/** Runs an operation between the guards and the headers that every reply has. */
export async function answer(
  context: HttpContext,
  exchange: Exchange,
  operation: Operation,
): Promise<Reply> {
  let reply: Reply;
  try {
    context.guard(guardedOf(exchange));
    exchange.checkRequestId();
    reply = await operation(context, exchange);
  } catch (thrown) {
    reply = failed(context, exchange, thrown);
  } finally {
    exchange.releaseBody(context);
  }
  const tookMs = context.clock.monotonicMs() - exchange.startedMs;
  (context.cells.get(operation) ?? context.otherCell).add(reply.status, tookMs);
  if (context.settings.accessLog === true) logAccess(context, exchange, reply.status, tookMs);
  reply.headers.push(
    "Date",
    context.dates.text(context.clock.nowMs()),
    "Quorate-Request-Id",
    exchange.requestId,
    "Server-Timing",
    `total;dur=${tookMs.toFixed(3)}`,
  );
  if (context.settings.corsOrigins.length > 0) {
    reply.headers.push(...corsHeaders(context.settings, exchange.source));
  }
  return reply;
}

/** One line a request. What was written or read is in none: keys and values are the clients'. */
function logAccess(
  { report }: HttpContext,
  { requestId, method, namespace }: Exchange,
  status: number,
  tookMs: number,
): void {
  const edge = "http";
  report.log("debug", "Answered.", { requestId, edge, method, namespace, status, tookMs });
}

function failed(context: HttpContext, exchange: Exchange, thrown: unknown): Reply {
  if (thrown instanceof AssertionError) throw thrown;
  // An error that nobody foresaw says nothing about a write that was already under way.
  const error = QuorateError.from(thrown, exchange.sent ? { outcome: "unknown" } : {});
  const about = aboutOf(exchange);
  noteFailure(context, exchange, error, error.outcome ?? about.outcome);
  return problemReply(error, about);
}

/** An absolute target's authority stands above the Host header (RFC 9112 section 3.2.2). */
function guardedOf(exchange: Exchange) {
  const { authority } = exchange.target;
  const { source } = exchange;
  if (authority === undefined) return source;
  return {
    method: source.method,
    host: authority,
    header: (name: string) => source.header(name),
  };
}

function otherMethod(allow: string): Operation {
  return (_context, exchange) => {
    if (exchange.method === "OPTIONS") {
      return { status: 204, headers: ["Allow", allow, "Cache-Control", "no-store"] };
    }
    throw methodNotAllowed(exchange.method, exchange.path, allow);
  };
}

const allMethods = "GET, HEAD, PUT, POST, DELETE, OPTIONS";

function unknownRoute(_context: HttpContext, exchange: Exchange): Reply {
  if (exchange.path === "*" && exchange.method === "OPTIONS") {
    return { status: 204, headers: ["Allow", allMethods, "Cache-Control", "no-store"] };
  }
  // It names a host and no path, and no host is reached through a node.
  if (exchange.method === "CONNECT") throw methodNotAllowed("CONNECT", exchange.path, allMethods);
  throw noSuchRoute(exchange.path);
}

/** For example `GET, HEAD, PUT, DELETE, OPTIONS`. */
function allowOf(methods: readonly Method[]): string {
  const names = new Set(methods.map((method) => method.toUpperCase()));
  if (names.has("GET")) names.add("HEAD");
  const order = ["GET", "HEAD", "PUT", "POST", "DELETE"];
  return [...order.filter((name) => names.has(name)), "OPTIONS"].join(", ");
}

/** A path of the table as Hono writes it; a key takes the rest, and may be empty. */
function honoPattern(path: string): string {
  return path.replaceAll("{key}", ":key{.*}").replaceAll(/\{(\w+)\}/g, ":$1");
}

function openApiRoute(): Route {
  let document: string | undefined;
  const route: Route = {
    method: "get",
    path: "/openapi.json",
    run: async (context, exchange) => {
      parseParameters(parameters.none, exchange);
      document ??= JSON.stringify(
        openApiDocument([...routes, route], (await context.api.info()).version),
      );
      const body = new TextEncoder().encode(document);
      const headers = ["Content-Type", "application/json", "Content-Length", String(body.length)];
      headers.push("Cache-Control", "no-cache");
      return { status: 200, headers, body };
    },
    summary: "This document",
    query: parameters.none,
    status: 200,
    answer: "OpenAPI 3.1.",
    content: { "application/json": { schema: parameters.none } },
  };
  return route;
}

function sourceOf(request: Request, bindings: unknown): Source {
  const source = (bindings as HttpBindings | undefined)?.source;
  return source ?? new FetchSource(request);
}

/** The raw path; a target that is none matches no route, and its exchange says why. */
function routingPath(source: Source): string {
  try {
    return splitTarget(source.target).path;
  } catch {
    return "*";
  }
}
