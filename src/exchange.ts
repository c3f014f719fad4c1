/**
 * Exchange: one HTTP request and its reply, whatever carries them.
 *
 * An operation is a plain function from an `Exchange` to a `Reply`. A `Source` hides whether the
 * request came as a fetch Request through Hono or straight from node:http, so both run the same
 * operations and a client cannot tell which one answered.
 *
 * Invariants
 * 1. A body is never held beyond its limit, and a declared length above it is refused unread.
 * 2. Until `sent` is set no replica has heard of a write: its failure has outcome `none` (P7).
 * 3. Header names and values of a reply lie in turn in one flat list, each name at most once.
 *
 * Effects: the clock and chance, through what `HttpContext` holds.
 *
 * @module
 */

import { Budget } from "./admission.ts";
import type { Api } from "./api.ts";
import { utf8Bytes } from "./bytes.ts";
import type { Clock, Random, Report } from "./capability.ts";
import { QuorateError } from "./errors.ts";
import { parseQuery, splitTarget, type Target } from "./target.ts";
import { Traffic, type TrafficCell } from "./traffic.ts";

export interface HttpSettings {
  /** The maxValue of a namespace that is made without one, in bytes. */
  readonly valueBytesMax: number;
  /** Origins of web pages that may use this node, exactly as browsers send them. */
  readonly corsOrigins: readonly string[];
  /** Bound to loopback: the Host header is then checked, so that no page reaches the node by DNS. */
  readonly loopback: boolean;
  /** Names, with or without a port, under which the node may also be addressed on loopback. */
  readonly advertisedNames: readonly string[];
  /** How long a body may take to arrive. Longer serves slow uploads; shorter frees stuck ones. */
  readonly bodyTimeoutMs: number;
  /** What clients have in flight, HTTP and RPC together; past its bytes, 503. Default 256 MiB. */
  readonly bodies?: Budget;
  /** Where requests are counted. */
  readonly traffic?: Traffic;
  /** What `GET /metrics` shows; without it there is no such route. */
  readonly metrics?: MetricsPage;
  /** Whether each request is a line of the log, at the level debug. */
  readonly accessLog?: boolean;
}

/** The numbers of the node as a scraper reads them. */
export interface MetricsPage {
  readonly contentType: string;
  text(): Promise<string>;
}

const bodyBytesMaxDefault = 256 * 1024 * 1024;

/** The budget of the settings, or one of its own. */
export function bodiesOf({ bodies }: HttpSettings): Budget {
  const requestsMax = Number.MAX_SAFE_INTEGER;
  return bodies ?? new Budget({ requestsMax, bytesMax: bodyBytesMaxDefault });
}

export function trafficOf({ traffic }: HttpSettings): Traffic {
  return traffic ?? new Traffic();
}

/** What every operation may use. */
export interface HttpContext {
  readonly api: Api;
  readonly settings: HttpSettings;
  readonly clock: Clock;
  readonly report: Report;
  readonly ids: RequestIds;
  readonly dates: HttpDates;
  /** The dates of versions: a second line of memory, so that the two do not displace each other. */
  readonly versionDates: HttpDates;
  readonly bodies: Budget;
  /** Who may ask, which is told before anything else; throws for the others. */
  readonly guard: (request: Pick<Source, "method" | "host" | "header">) => void;
  readonly traffic: Traffic;
  /** Where the requests of an operation are counted. */
  readonly cells: ReadonlyMap<Operation, TrafficCell>;
  readonly otherCell: TrafficCell;
}

/** How large a body may be. */
export interface BodyBound {
  readonly bytesMax: number;
  /** The error for a body of `bytes`, or of more than the bound where that is not known. */
  readonly tooLarge: (bytes: number | undefined) => QuorateError;
}

/** What a source keeps to while it reads a body. */
export interface BodyLimit extends BodyBound {
  readonly timeoutMs: number;
  /** Called before `bytes` more are held; throws `overloaded` when all requests hold too much. */
  readonly reserve: (bytes: number) => void;
}

/** Where a request comes from. */
export interface Source {
  readonly method: string;
  /** The request target as it came. */
  readonly target: string;
  /** Host, or `:authority` of HTTP/2. */
  readonly host: string | undefined;
  /** A header by its lower-case name; repeated ones joined by ", ". */
  header(name: string): string | undefined;
  /** All header names, in lower case. */
  headerNames(): Iterable<string>;
  /**
   * The whole body, at once where it is at hand; throws or rejects with the limit's error,
   * `request-timeout`, or when it was cut short.
   */
  readBody(limit: BodyLimit, clock: Clock): Uint8Array | Promise<Uint8Array>;
}

/** A body in pieces. When it throws, the connection is cut after what it yielded before. */
export type ReplyStream = AsyncGenerator<string, void, void>;

export interface Reply {
  readonly status: number;
  /** Names and values in turn. */
  readonly headers: string[];
  readonly body?: Uint8Array | ReplyStream;
}

export type Operation = (context: HttpContext, exchange: Exchange) => Promise<Reply> | Reply;

const requestIdPattern = /^[\x20-\x7e]{1,64}$/;
const readMethods: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"]);

/** One request on its way through an operation. */
export class Exchange {
  readonly source: Source;
  readonly requestId: string;
  readonly startedMs: number;
  /** Whether it may write, by its method; then errors say what is known of the outcome. */
  readonly writes: boolean;
  /** Whether the node was asked to write. */
  sent = false;
  namespace: string | undefined;
  key: Uint8Array | undefined;
  #target: Target | undefined;
  #parameters: Map<string, string> | undefined;
  #bodyBytes = 0;

  constructor(source: Source, context: HttpContext) {
    this.source = source;
    this.writes = !readMethods.has(source.method);
    this.startedMs = context.clock.monotonicMs();
    const given = source.header("quorate-request-id");
    this.requestId =
      given !== undefined && requestIdPattern.test(given) ? given : context.ids.next();
  }

  get method(): string {
    return this.source.method;
  }

  header(name: string): string | undefined {
    return this.source.header(name);
  }

  /** Throws `invalid-request` for a target that is none. */
  get target(): Target {
    this.#target ??= splitTarget(this.source.target);
    return this.#target;
  }

  get path(): string {
    return this.target.path;
  }

  /** The query's parameters, values as byte letters. */
  get parameters(): ReadonlyMap<string, string> {
    this.#parameters ??= parseQuery(this.target.query);
    return this.#parameters;
  }

  /** The whole body, within its bound, its time and what all requests together may hold. */
  readBody(context: HttpContext, bound: BodyBound): Uint8Array | Promise<Uint8Array> {
    const limit: BodyLimit = {
      ...bound,
      timeoutMs: context.settings.bodyTimeoutMs,
      reserve: (bytes) => {
        context.bodies.take(bytes);
        this.#bodyBytes += bytes;
      },
    };
    return this.source.readBody(limit, context.clock);
  }

  /** Gives back what `readBody` has taken; called once, when the operation is over. */
  releaseBody(context: HttpContext): void {
    context.bodies.give(this.#bodyBytes);
    this.#bodyBytes = 0;
  }

  /** Refuses a request id that was given and cannot be used. */
  checkRequestId(): void {
    const given = this.source.header("quorate-request-id");
    if (given === undefined || given === this.requestId) return;
    throw new QuorateError(
      "invalid-request",
      "The header Quorate-Request-Id has more than 64 characters, or ones that cannot be printed.",
      { hint: "Send up to 64 printable ASCII characters, or leave it out." },
    );
  }
}

/** Request ids: eight random digits of this process, then a count. */
export class RequestIds {
  readonly #prefix: string;
  #count = 0;

  constructor(random: Random) {
    this.#prefix = random.u32().toString(16).padStart(8, "0");
  }

  next(): string {
    this.#count += 1;
    return `${this.#prefix}-${this.#count.toString(36)}`;
  }
}

/** Dates as HTTP writes them; the last second is kept, because most requests fall into it. */
export class HttpDates {
  #second = -1;
  #text = "";

  text(ms: number): string {
    const second = Math.floor(ms / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#text = new Date(second * 1000).toUTCString();
    }
    return this.#text;
  }
}

/**
 * A piece of a body that is smaller costs more than what is in it: its own object, up to a hundred times
 * that for a body that comes byte by byte. Of larger ones that is next to nothing. `BodyBuffer`, which
 * keeps the pieces itself, copies small ones together, up to so much; `rpc_body`, whose pieces the RPC
 * library keeps, charges the budget for each.
 */
export const smallPieceBytesMax: number = 4 * 1024;

/** Gathers a body and stops at its limit. Its small pieces are put together: see `smallPieceBytesMax`. */
export class BodyBuffer {
  readonly #limit: BodyLimit;
  #chunks: Uint8Array[] = [];
  #bytes = 0;
  /** Where small pieces are copied to, and how much of it is in use: the last of the chunks. */
  #joined: Uint8Array | undefined;
  #joinedLength = 0;

  /** Throws the limit's error when the declared length is above it. */
  constructor(limit: BodyLimit, declared: string | undefined) {
    this.#limit = limit;
    if (declared === undefined) return;
    const bytes = Number(declared);
    if (bytes > limit.bytesMax) throw limit.tooLarge(bytes);
  }

  get bytes(): number {
    return this.#bytes;
  }

  add(chunk: Uint8Array): void {
    this.#bytes += chunk.length;
    if (this.#bytes > this.#limit.bytesMax) {
      this.#chunks = [];
      throw this.#limit.tooLarge(undefined);
    }
    this.#limit.reserve(chunk.length);
    const isSmall = chunk.length < smallPieceBytesMax && this.#chunks.length > 0;
    if (isSmall) this.#join(chunk);
    else {
      this.#joined = undefined;
      this.#chunks.push(chunk);
    }
  }

  #join(chunk: Uint8Array): void {
    if (this.#joined === undefined || this.#joinedLength + chunk.length > smallPieceBytesMax) {
      this.#joined = new Uint8Array(smallPieceBytesMax);
      this.#joinedLength = 0;
      this.#chunks.push(this.#joined);
    }
    this.#joined.set(chunk, this.#joinedLength);
    this.#joinedLength += chunk.length;
    this.#chunks[this.#chunks.length - 1] = this.#joined.subarray(0, this.#joinedLength);
  }

  /** The whole body, as a plain Uint8Array: a Buffer's `slice` would share memory. */
  take(): Uint8Array {
    const only = this.#chunks.length === 1 ? this.#chunks[0] : undefined;
    if (only !== undefined) return new Uint8Array(only.buffer, only.byteOffset, only.length);
    const whole = new Uint8Array(this.#bytes);
    let offset = 0;
    for (const chunk of this.#chunks) {
      whole.set(chunk, offset);
      offset += chunk.length;
    }
    this.#chunks = [];
    return whole;
  }
}

/** Counts a failure with what is known of its write, and logs one that nobody foresaw. */
export function noteFailure(
  { traffic, report }: Pick<HttpContext, "traffic" | "report">,
  { requestId, method }: { readonly requestId: string; readonly method?: string },
  error: QuorateError,
  outcome = error.outcome,
): void {
  traffic.fail(error.slug, outcome);
  if (error.slug !== "internal") return;
  const cause = error.cause instanceof Error ? error.cause.stack : undefined;
  report.log("error", error.detail, { requestId, ...(method && { method }), cause });
}

export function bodyTimedOut(timeoutMs: number, bytes: number): QuorateError {
  return new QuorateError(
    "request-timeout",
    `The body was not complete after ${timeoutMs} ms; ${bytes} bytes of it had arrived.`,
    { outcome: "none", hint: "Send it again, faster or in smaller pieces." },
  );
}

export function bodyCutShort(bytes: number): QuorateError {
  return new QuorateError(
    "invalid-request",
    `The connection ended before the body was complete; ${bytes} bytes of it had arrived.`,
    { outcome: "none", hint: "Send the whole body again." },
  );
}

export function invalidRequest(detail: string, hint: string): QuorateError {
  return new QuorateError("invalid-request", detail, { hint });
}

export const privateNoCache = "private, no-cache";

/** A JSON reply; `headers` come first and are kept. */
export function jsonReply(status: number, value: unknown, headers: string[] = []): Reply {
  const body = utf8Bytes(`${JSON.stringify(value)}\n`);
  headers.push(
    "Content-Type",
    "application/json",
    "Content-Length",
    String(body.length),
    "Cache-Control",
    privateNoCache,
  );
  return { status, headers, body };
}

export function textReply(status: number, text: string, contentType = "text/plain"): Reply {
  const body = utf8Bytes(text);
  const headers = [
    "Content-Type",
    `${contentType}; charset=utf-8`,
    "Content-Length",
    String(body.length),
    "Cache-Control",
    privateNoCache,
    "X-Content-Type-Options",
    "nosniff",
  ];
  return { status, headers, body };
}

/** Whether a list header (Accept, Content-Encoding) names `wanted`, parameters aside. */
export function listNames(header: string | undefined, wanted: string): boolean {
  if (header === undefined) return false;
  return header.split(",").some((part) => part.split(";")[0]?.trim().toLowerCase() === wanted);
}
