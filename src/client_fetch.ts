/**
 * Client fetch: one request to a node, and what is known when it does not succeed.
 *
 * A failure of the connection is the hard case: a write may have arrived although nobody said so.
 * Only where the runtime proves that nothing was sent (the connection was refused, the name does not
 * resolve) is the outcome `none`; everywhere else a write's outcome is `unknown` (promise P7). On Bun and
 * Deno that is no proof once the node has answered something: a request whose kept connection is closed
 * before its answer they send once more by themselves, and tell how that ended.
 *
 * Invariants
 * 1. What is thrown is a `QuorateError`, or the reason of the caller's own signal.
 * 2. Every wait has an end: the time given to the node, and `graceMs` for its answer to arrive. While
 *    a body streams, the time counts anew from each piece.
 *
 * Effects: the network through `fetch`, timers.
 *
 * @module
 */

import { fromBase64url, utf8Bytes } from "./bytes.ts";
import {
  type ErrorFacts,
  isSlug,
  type Outcome,
  QuorateError,
  type ReplicaLine,
  type Slug,
} from "./errors.ts";

/** How much longer than the node a client waits: the node's own 504 says more than a cut. */
const graceMs = 1000;
const openHintDefault = "The write may have taken place. Repeating a PUT or DELETE is safe.";
const causesFollowedMax = 8;

export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

/** The runtime's own. */
export const runtimeFetch: Fetch = (url, init) => fetch(url, init);

export interface FetchRequest {
  readonly method: string;
  /** The whole URL. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | string;
  /** What the node may take. */
  readonly timeoutMs: number;
  /** Whether a lost answer leaves it open what happened. */
  readonly writes: boolean;
  /** What to do when it is open; the words for a key unless given. */
  readonly openHint?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A successful answer; its body is read through here, so that the deadline covers it. */
export interface FetchAnswer {
  readonly headers: Headers;
  bytes(): Promise<Uint8Array>;
  json(): Promise<Fields>;
  /** The body's pieces, in order. */
  pieces(): AsyncGenerator<Uint8Array, void, void>;
}

/** A JSON object of which nothing is known yet. */
export type Fields = Readonly<Record<string, unknown>>;

/** Sends one request. Throws the node's problem, `unreachable` or `timeout`. */
export async function send(fetch: Fetch, request: FetchRequest): Promise<FetchAnswer> {
  const deadline = new Deadline(request, fetch === runtimeFetch);
  try {
    const response = await fetch(request.url, {
      method: request.method,
      headers: request.headers,
      redirect: "error",
      signal: deadline.signal,
      // The types of the DOM allow no view on shared memory, which a key or value never is.
      ...(request.body === undefined ? {} : { body: request.body as BodyInit }),
    });
    if (sendsAgain) answered.add(originOf(request.url));
    if (!response.ok) throw await problemError(response, request);
    return answerOf(response, deadline, request);
  } catch (error) {
    deadline.end();
    throw deadline.explain(error);
  }
}

/** The time that a request may take, and why it ended. */
class Deadline {
  readonly #request: FetchRequest;
  readonly #isRuntimes: boolean;
  readonly #controller = new AbortController();
  readonly #onAbort: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isOver = false;

  constructor(request: FetchRequest, isRuntimes: boolean) {
    this.#request = request;
    this.#isRuntimes = isRuntimes;
    this.#onAbort = () => this.#controller.abort(request.signal?.reason);
    if (request.signal?.aborted === true) this.#onAbort();
    request.signal?.addEventListener("abort", this.#onAbort, { once: true });
    this.extend();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  extend(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#isOver = true;
      this.#controller.abort();
    }, this.#request.timeoutMs + graceMs);
  }

  pause(): void {
    clearTimeout(this.#timer);
  }

  end(): void {
    this.pause();
    this.#request.signal?.removeEventListener("abort", this.#onAbort);
  }

  /** The error for whatever ended the request. */
  explain(error: unknown): unknown {
    if (error instanceof QuorateError) return error;
    const { signal, timeoutMs, url, writes, openHint = openHintDefault } = this.#request;
    if (signal?.aborted === true) return signal.reason;
    // Another fetch may have sent what the runtime's refuses, such as a password in the URL (P7).
    if (this.#isRuntimes && !canBeSent(this.#request)) return notSent(error, this.#request);
    if (!this.#isOver) return connectionError(error, this.#request);
    return new QuorateError(
      "timeout",
      `${originOf(url)} did not answer within ${timeoutMs + graceMs} ms.`,
      {
        ...(writes ? { outcome: "unknown" as Outcome } : {}),
        hint: writes ? openHint : "Repeat it, with a longer timeout if needed (at most 60s).",
        cause: error,
      },
    );
  }
}

function answerOf(response: Response, deadline: Deadline, request: FetchRequest): FetchAnswer {
  const whole = async (): Promise<Uint8Array> => {
    try {
      return new Uint8Array(await response.arrayBuffer());
    } catch (error) {
      throw deadline.explain(error);
    } finally {
      deadline.end();
    }
  };
  return {
    headers: response.headers,
    bytes: whole,
    async json() {
      const text = new TextDecoder().decode(await whole());
      return parseObject(text) ?? notOurs(response, request);
    },
    pieces: () => piecesOf(response, deadline),
  };
}

async function* piecesOf(
  response: Response,
  deadline: Deadline,
): AsyncGenerator<Uint8Array, void, void> {
  const reader = response.body?.getReader();
  if (reader === undefined) return;
  let isDone = false;
  try {
    for (;;) {
      const read = await reader.read();
      isDone = read.done;
      if (read.done) return;
      // The time in which the caller uses the piece is not the node's.
      deadline.pause();
      yield read.value;
      deadline.extend();
    }
  } catch (error) {
    isDone = true;
    throw deadline.explain(error);
  } finally {
    deadline.end();
    // A caller that stops half-way must not leave the rest to arrive.
    if (!isDone) await reader.cancel().catch(() => {});
  }
}

/** A problem document as the error that the node threw. */
export function errorOfProblem(problem: Fields): QuorateError | undefined {
  const { type, detail } = problem;
  if (typeof type !== "string") return undefined;
  const slug = type.slice(type.lastIndexOf("/") + 1);
  const known: Slug = isSlug(slug) ? slug : "internal";
  const said = typeof detail === "string" ? detail : textIn(problem, "title");
  return new QuorateError(known, said ?? slug, factsOf(problem));
}

function factsOf(problem: Fields): ErrorFacts {
  const facts: Record<string, unknown> = {};
  for (const name of ["hint", "namespace", "requestId"]) {
    if (typeof problem[name] === "string") facts[name] = problem[name];
  }
  for (const name of ["needed", "acks", "epoch", "limit", "retryAfterSeconds"]) {
    if (typeof problem[name] === "number") facts[name] = problem[name];
  }
  const { outcome, replicas } = problem;
  if (outcome === "none" || outcome === "partial" || outcome === "unknown") facts.outcome = outcome;
  if (Array.isArray(replicas)) facts.replicas = replicas.filter(isReplicaLine);
  const key = keyIn(problem);
  if (key !== undefined) facts.key = key;
  return facts;
}

/** The bytes of `name` or `name64`; undefined where neither is there. */
export function bytesIn(fields: Fields, name: string): Uint8Array | undefined {
  const text = textIn(fields, name);
  if (text !== undefined) return utf8Bytes(text);
  const text64 = textIn(fields, `${name}64`);
  return text64 === undefined ? undefined : fromBase64url(text64);
}

export function keyIn(fields: Fields): Uint8Array | undefined {
  return bytesIn(fields, "key");
}

export function textIn(fields: Fields, name: string): string | undefined {
  const value = fields[name];
  return typeof value === "string" ? value : undefined;
}

/** The object of a JSON text; undefined when it is something else. */
export function parseObject(text: string): Fields | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

export function isObject(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

async function problemError(response: Response, request: FetchRequest): Promise<QuorateError> {
  const problem = parseObject(await response.text());
  if (problem === undefined) return notProblem(response, request);
  const seconds = Number(response.headers.get("retry-after") ?? Number.NaN);
  const { outcome, ...rest } = problem;
  const error = errorOfProblem({
    ...rest,
    // What a node says of any request that it has refused means nothing for a read.
    ...(request.writes ? { outcome } : {}),
    ...(Number.isFinite(seconds) ? { retryAfterSeconds: seconds } : {}),
  });
  return error ?? notProblem(response, request);
}

function notProblem(response: Response, { url, writes }: FetchRequest): QuorateError {
  return new QuorateError(
    "unreachable",
    `${originOf(url)} answered ${response.status} without a problem document.`,
    {
      ...(writes ? { outcome: "unknown" as Outcome } : {}),
      hint: "It is not a Quorate node, or a proxy in between answered. Check the URL.",
    },
  );
}

function notOurs(response: Response, request: FetchRequest): never {
  throw new QuorateError(
    "unreachable",
    `${originOf(request.url)} answered ${response.status}, but not with the JSON of a Quorate node.`,
    {
      ...(request.writes ? { outcome: "unknown" as Outcome } : {}),
      hint: "Check that the URL is that of a Quorate node.",
    },
  );
}

/** Whether it is a request at all for the runtime: its URL and headers come from the application. */
function canBeSent({ method, url, headers }: FetchRequest): boolean {
  try {
    new Request(url, { method, headers });
    return true;
  } catch {
    return false;
  }
}

function notSent(error: unknown, { writes }: FetchRequest): QuorateError {
  return new QuorateError("invalid-request", `The request cannot be sent: ${reasonOf(error)}.`, {
    ...(writes ? { outcome: "none" as Outcome } : {}),
    hint: "Correct the url or the headers of the client.",
    cause: error,
  });
}

function connectionError(
  error: unknown,
  { url, writes, openHint = openHintDefault }: FetchRequest,
): QuorateError {
  const isRefused = neverLeft(error);
  const wasSent = !isRefused || answered.has(originOf(url));
  const outcome: Outcome = wasSent ? "unknown" : "none";
  const detail = isRefused
    ? `No connection to ${originOf(url)}: ${reasonOf(error)}.`
    : `The connection to ${originOf(url)} was lost before the answer: ${reasonOf(error)}.`;
  return new QuorateError("unreachable", detail, {
    ...(writes ? { outcome } : {}),
    hint: wasSent && writes ? openHint : "Check that the node runs there ('quorate serve').",
    cause: error,
  });
}

/** Whether the runtime sends a request once more when the connection that it had kept was closed. */
const sendsAgain = "Bun" in globalThis || "Deno" in globalThis;

/** Where that may have happened: the origins that have answered, as many as the application has URLs. */
const answered = new Set<string>();

/** Codes with which Node and Bun say that a connection never was. */
const neverConnected: readonly string[] = [
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "UND_ERR_CONNECT_TIMEOUT",
  "ConnectionRefused",
  "FailedToOpenSocket",
];

/** Where the message is all there is: Deno's phase, and ports that fetch refuses to use. */
const neverConnectedPhrases: readonly string[] = [
  "client error (Connect)",
  "bad port",
  "Requests to port",
];

/** Whether the runtime proves that no byte of the request was sent. */
function neverLeft(error: unknown): boolean {
  for (const cause of causesOf(error)) {
    const { code, syscall, message } = cause as Fields;
    if (typeof code === "string" && neverConnected.includes(code)) return true;
    if (syscall === "connect" || syscall === "getaddrinfo") return true;
    if (typeof message !== "string") continue;
    if (neverConnectedPhrases.some((phrase) => message.includes(phrase))) return true;
  }
  return false;
}

function reasonOf(error: unknown): string {
  let reason = "";
  for (const cause of causesOf(error)) {
    const { message, code } = cause as Fields;
    if (typeof message === "string" && message !== "") reason = message;
    else if (typeof code === "string") reason = code;
  }
  return (reason === "" ? String(error) : reason).replace(/\.$/, "");
}

/** An error, what caused it, and what caused that; outermost first. */
function* causesOf(error: unknown): Generator<object, void, void> {
  let next: unknown = error;
  for (let count = 0; count < causesFollowedMax; count += 1) {
    if (typeof next !== "object" || next === null) return;
    yield next;
    const { cause, errors } = next as { cause?: unknown; errors?: unknown };
    // Several addresses were tried, each with an error of its own.
    next = Array.isArray(errors) && errors.length > 0 ? errors[0] : cause;
  }
}

function isReplicaLine(value: unknown): value is ReplicaLine {
  return isObject(value) && typeof value.node === "string" && typeof value.status === "string";
}

function originOf(url: string): string {
  return new URL(url).origin;
}
