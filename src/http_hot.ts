/**
 * HttpHot: node:http and HTTP/2 requests as sources, and replies written straight to them.
 *
 * A Request, a router and a Response for every GET would cost more than the GET. So the routes that
 * carry nearly all traffic (one key, all four methods, and `GET /get`) are recognised by a prefix of
 * the raw target and run without Hono, headers go out as one flat list, and a body in one `end`.
 * What is written, and how, is the same for both ways.
 *
 * A request that is refused before its body was read is the delicate case. Answering and closing at
 * once would reset the connection while the client still sends, and the reset can overtake the
 * answer. So the answer is sent whole, then a bounded rest of the body is taken in and dropped, and
 * only then the connection is closed.
 *
 * Invariants
 * 1. A body counts as complete only when its end arrived, and its declared length with it.
 * 2. Nothing is read from a client, and nothing written to one, without a bound in bytes or time.
 *
 * Effects: the sockets behind the requests; timers, through the clock.
 * Source: RFC 9112 section 9.6; RFC 9113 section 8.1.
 *
 * @module
 */

import { AssertionError } from "./assert.ts";
import type { Clock } from "./capability.ts";
import {
  BodyBuffer,
  type BodyLimit,
  bodyCutShort,
  bodyTimedOut,
  type HttpContext,
  type Operation,
  type Reply,
  type ReplyStream,
  type Source,
} from "./exchange.ts";
import { seedGet } from "./http_batch.ts";
import { deleteKey, getKey, putKey } from "./http_kv.ts";

type HeaderValues = Readonly<Record<string, string | string[] | undefined>>;

type HeaderObject = Record<string, number | string | string[] | undefined>;

/** What is used of an IncomingMessage or an Http2ServerRequest. */
export interface NodeRequest {
  readonly method?: string | undefined;
  readonly url?: string | undefined;
  readonly httpVersion: string;
  readonly httpVersionMajor: number;
  readonly headers: HeaderValues;
  readonly aborted: boolean;
  on(event: "data", listener: (chunk: Uint8Array) => void): unknown;
  on(event: "end" | "aborted" | "close" | "error", listener: () => void): unknown;
  off(event: "data", listener: (chunk: Uint8Array) => void): unknown;
  off(event: "end" | "aborted" | "close" | "error", listener: () => void): unknown;
  pause(): unknown;
  resume(): unknown;
}

/** What is used of a ServerResponse or an Http2ServerResponse. */
export interface NodeResponse {
  readonly destroyed?: boolean;
  readonly writableEnded: boolean;
  readonly stream?: { close(code: number): void } | undefined;
  writeHead(status: number, headers: string[] | HeaderObject | undefined): unknown;
  flushHeaders?(): void;
  write(chunk: Uint8Array | string, written: () => void): boolean;
  end(): unknown;
  end(chunk: Uint8Array): unknown;
  end(chunk: string, encoding: "latin1"): unknown;
  destroy(error?: Error): unknown;
  on(event: "close" | "error", listener: () => void): unknown;
}

/** How much of a refused body is taken in and dropped before the connection is closed. */
const lingerBytesMax = 4 * 1024 * 1024;
const lingerMs = 1000;
/** An unread body of at most so much, by its declared length, does not end the connection. */
const smallBodyBytesMax = 64 * 1024;
/** Up to so many bytes a body is joined with its header. */
const joinedBytesMax = 16 * 1024;
/** So much of a stream is given to the system at once. */
const partBytes = 64 * 1024;
const http2NoError = 0;

export class NodeSource implements Source {
  readonly method: string;
  readonly target: string;
  readonly request: NodeRequest;
  #isRead = false;
  #isGivenUp = false;

  constructor(request: NodeRequest) {
    this.request = request;
    this.method = request.method ?? "GET";
    this.target = request.url ?? "/";
  }

  get isHttp1(): boolean {
    return this.request.httpVersionMajor < 2;
  }

  get host(): string | undefined {
    const { headers, httpVersion } = this.request;
    const host = headers[":authority"] ?? headers["host"];
    if (typeof host === "string") return host;
    // HTTP/1.1 must name a host; not every runtime insists, and an empty one is refused.
    return httpVersion === "1.0" ? undefined : "";
  }

  header(name: string): string | undefined {
    const value = this.request.headers[name];
    return typeof value === "string" || value === undefined ? value : value.join(", ");
  }

  headerNames(): Iterable<string> {
    return Object.keys(this.request.headers);
  }

  /** Whether more of the body may come than one would read just to keep the connection. */
  get leavesBody(): boolean {
    if (this.#isRead) return false;
    if (this.#isGivenUp) return true;
    const declared = this.header("content-length");
    if (declared !== undefined) return Number(declared) > (this.isHttp1 ? smallBodyBytesMax : 0);
    if (this.isHttp1) return this.header("transfer-encoding") !== undefined;
    return this.method !== "GET" && this.method !== "HEAD";
  }

  readBody(limit: BodyLimit, clock: Clock): Promise<Uint8Array> {
    const { request } = this;
    const declared = this.header("content-length");
    return new Promise((resolve, reject) => {
      const buffer = new BodyBuffer(limit, declared);
      const stop = () => {
        cancelTimer();
        request.off("data", onData);
        request.off("end", onEnd);
        request.off("aborted", onCut);
        request.off("close", onCut);
      };
      const fail = (error: unknown) => {
        stop();
        this.#isGivenUp = true;
        request.pause();
        reject(error);
      };
      const onCut = () => fail(bodyCutShort(buffer.bytes));
      const onData = (chunk: Uint8Array) => {
        try {
          buffer.add(chunk);
        } catch (error) {
          fail(error);
        }
      };
      const onEnd = () => {
        // A reset HTTP/2 stream ends as if its body were whole, but it is marked.
        const isShort = declared !== undefined && Number(declared) !== buffer.bytes;
        if (request.aborted || isShort) return onCut();
        stop();
        this.#isRead = true;
        resolve(buffer.take());
      };
      const cancelTimer = clock.after(limit.timeoutMs, () =>
        fail(bodyTimedOut(limit.timeoutMs, buffer.bytes)),
      );
      request.on("error", ignore);
      request.on("aborted", onCut);
      request.on("close", onCut);
      request.on("end", onEnd);
      request.on("data", onData);
    });
  }
}

const kvPath = "/v1/kv/";
const slash = 47;
const questionMark = 63;

/** The operation of a request that needs no router; undefined for all others. */
export function hotOperation(source: Source): Operation | undefined {
  const { method, target } = source;
  if (target.startsWith(kvPath)) {
    const first = target.charCodeAt(kvPath.length);
    // Without a namespace it is no such route, which the router says.
    if (!(first > 0) || first === slash || first === questionMark) return undefined;
    if (method === "GET" || method === "HEAD") return getKey;
    if (method === "PUT") return putKey;
    return method === "DELETE" ? deleteKey : undefined;
  }
  if (target.startsWith("/get?") && (method === "GET" || method === "HEAD")) return seedGet;
  return undefined;
}

/** Writes a reply; resolves when nothing more is to be done for this request. */
export function sendReply(
  context: HttpContext,
  source: NodeSource,
  response: NodeResponse,
  reply: Reply,
): Promise<void> | undefined {
  // The client is gone; there is nobody to tell.
  if (response.destroyed || response.writableEnded || source.request.aborted) return undefined;
  const { headers, body } = reply;
  const leavesBody = source.leavesBody;
  if (source.isHttp1) {
    if (leavesBody) headers.push("Connection", "close");
    response.writeHead(reply.status, headers);
  } else {
    response.writeHead(reply.status, headerObject(headers));
  }
  if (body !== undefined && !(body instanceof Uint8Array)) {
    return sendStream(context, response, body);
  }
  if (leavesBody && source.isHttp1) return sendAndLinger(context.clock, source, response, body);
  if (body === undefined || source.method === "HEAD") response.end();
  else endWith(source, response, body);
  return leavesBody ? lingerOnStream(context.clock, source, response) : undefined;
}

/**
 * Drops a bounded rest of the request, then resets the stream if it has not ended. The answer is
 * whole by then, but a reset that comes with it is an error for curl, which shows no answer.
 */
async function lingerOnStream(
  clock: Clock,
  source: NodeSource,
  response: NodeResponse,
): Promise<void> {
  response.on("error", ignore);
  const isWhole = await dropRest(clock, source.request);
  // A stream that both sides have ended closes by itself; a reset could still overtake the answer.
  if (!isWhole) response.stream?.close(http2NoError);
}

/**
 * Ends a reply with a whole body. node:http joins a header with a string and writes both at once,
 * but writes bytes apart from it; for a small body the copy is far cheaper than the second write.
 */
function endWith(source: NodeSource, response: NodeResponse, body: Uint8Array): void {
  if (!source.isHttp1 || body.length > joinedBytesMax) response.end(body);
  else {
    const bytes = Buffer.from(body.buffer, body.byteOffset, body.length);
    response.end(bytes.toString("latin1"), "latin1");
  }
}

/** Sends a whole answer, drops a bounded rest of the request, then closes. */
async function sendAndLinger(
  clock: Clock,
  source: NodeSource,
  response: NodeResponse,
  body: Uint8Array | undefined,
): Promise<void> {
  response.on("error", ignore);
  if (body === undefined || source.method === "HEAD") response.flushHeaders?.();
  else response.write(body, ignore);
  await dropRest(clock, source.request);
  response.end();
}

/** Resolves when the request's body has ended (true), or enough of it was dropped (false). */
function dropRest(clock: Clock, request: NodeRequest): Promise<boolean> {
  return new Promise((resolve) => {
    let bytes = 0;
    const cancelTimer = clock.after(lingerMs, () => resolve(false));
    const done = (isWhole: boolean) => {
      cancelTimer();
      resolve(isWhole);
    };
    request.on("error", ignore);
    request.on("end", () => done(true));
    request.on("close", () => done(true));
    request.on("data", (chunk) => {
      bytes += chunk.length;
      if (bytes > lingerBytesMax) {
        request.pause();
        done(false);
      }
    });
    request.resume();
  });
}

/** Writes piece by piece, the next when the one before was taken; a failure cuts the connection. */
async function sendStream(
  context: HttpContext,
  response: NodeResponse,
  pieces: ReplyStream,
): Promise<void> {
  // Asked of the event: an answer of HTTP/2 does not tell that it was destroyed.
  let isGone = false;
  let onGone = ignore;
  response.on("error", ignore);
  response.on("close", () => {
    isGone = true;
    onGone();
  });
  const write = (part: Uint8Array) =>
    new Promise<boolean>((resolve) => {
      if (isGone || response.destroyed) return resolve(false);
      const cancelTimer = context.clock.after(context.settings.bodyTimeoutMs, () => resolve(false));
      const settle = (isTaken: boolean) => {
        cancelTimer();
        resolve(isTaken);
      };
      onGone = () => settle(false);
      response.write(part, () => settle(!response.destroyed));
    });
  try {
    for await (const piece of pieces) {
      for (const part of partsOf(piece)) {
        // A client that is gone, or takes nothing for long, gets no more pages read for it.
        if (!(await write(part))) return cut(response);
      }
    }
  } catch (error) {
    // The pieces have said why; without their end the client knows that they are not all.
    cut(response);
    if (error instanceof AssertionError) throw error;
    return;
  }
  response.end();
}

/** A page may have megabytes; a client that takes it slowly is there as long as it takes a part. */
function* partsOf(piece: string): Generator<Uint8Array, void, void> {
  const bytes = Buffer.from(piece);
  for (let start = 0; start < bytes.length; start += partBytes) {
    yield bytes.subarray(start, start + partBytes);
  }
}

/** Ends a reply so that it cannot be taken for a whole one. */
function cut(response: NodeResponse): void {
  // With an error an HTTP/2 stream is reset on every runtime; some end it politely without one.
  response.destroy(new Error("The reply was cut off."));
}

/** HTTP/2 takes its headers as an object; no name comes twice. */
function headerObject(headers: readonly string[]): Record<string, string> {
  const object: Record<string, string> = {};
  for (let index = 0; index < headers.length; index += 2) {
    const name = (headers[index] ?? "").toLowerCase();
    const value = headers[index + 1] ?? "";
    object[name] = name in object ? `${object[name]}, ${value}` : value;
  }
  return object;
}

function ignore(): void {}
