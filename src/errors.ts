/**
 * Errors: one class, and one table from what went wrong to how each edge says it.
 *
 * Every failure that a caller can meet is a `QuorateError`: a slug from a closed list, what is known
 * about the write (`outcome`), what happened and why with the real numbers (`detail`), and what to
 * do next (`hint`). Code decides on the slug, never on text. The table gives the HTTP status, the
 * Connect code, the exit code of the command line and the title of the `/problems/<slug>` page.
 *
 * Invariants
 * 1. `outcome` is only ever `none` when nothing was written and nothing will be (promise P7).
 * 2. `retryAfterSeconds` is only set with outcome `none`.
 * 3. `QuorateError.from` is the only way in which a foreign error becomes one of ours.
 *
 * Effects: none. Source: RFC 9457 (problem details); promise P7.
 *
 * @module
 */

/** What is known about a write that did not succeed. */
export type Outcome = "none" | "partial" | "unknown";

export interface SlugRow {
  /** The HTTP status. */
  readonly status: number;
  /** The Connect and gRPC code, by its name in lower case. */
  readonly connect: ConnectCode;
  /** The exit code of the command line. */
  readonly exit: number;
  /** One line: the title of the problem and of its page. */
  readonly title: string;
  /** What it means and what to do, for the problem's page; two or three sentences. */
  readonly about: string;
}

export type ConnectCode =
  | "invalid_argument"
  | "failed_precondition"
  | "unauthenticated"
  | "permission_denied"
  | "not_found"
  | "unimplemented"
  | "aborted"
  | "resource_exhausted"
  | "internal"
  | "data_loss"
  | "unavailable"
  | "deadline_exceeded";

/** Exit codes of the command line. */
export const exitCode = {
  done: 0,
  failed: 1,
  usage: 2,
  notFound: 3,
  notEnoughReplicas: 4,
  outcomeUnknown: 5,
} as const;

function row(
  status: number,
  connect: ConnectCode,
  exit: number,
  title: string,
  about: string,
): SlugRow {
  return { status, connect, exit, title, about };
}

const { failed, usage, notFound, notEnoughReplicas, outcomeUnknown } = exitCode;

/** The one table: slug -> HTTP status, Connect code, exit code, title, page. */
export const slugTable = {
  "invalid-request": row(
    400,
    "invalid_argument",
    usage,
    "The request is not valid",
    "A parameter, header or body has a form or a value that is not allowed. The detail names it and says what is allowed. Nothing was written.",
  ),
  "invalid-key": row(
    400,
    "invalid_argument",
    usage,
    "The key is not valid",
    "A key is 1 to 1,024 bytes. In a path it cannot hold a '.' or '..' segment, because clients and proxies remove these before they send. Any key at all can be given as ?key= (percent-encoded) or ?key64= (base64url without padding).",
  ),
  "invalid-quorum": row(
    400,
    "invalid_argument",
    usage,
    "The number of replicas asked for is not possible",
    "r and w count replicas: 1 up to the n of the namespace. Ask for at most n, or for 'quorum' or 'all'.",
  ),
  "conditional-needs-strong": row(
    400,
    "failed_precondition",
    usage,
    "Conditional writes need a strong namespace",
    "If-Match and If-None-Match on a write are only honoured where they cannot race. In this namespace they could, so the write was refused rather than checked in a way that can go wrong.",
  ),
  unauthenticated: row(
    401,
    "unauthenticated",
    failed,
    "Credentials are missing or wrong",
    "This node asks for credentials. Send a valid one.",
  ),
  forbidden: row(
    403,
    "permission_denied",
    failed,
    "This request is not allowed",
    "The request comes from a page of another origin, or its sender may not do this. A page's origin is allowed with --cors-origin.",
  ),
  "key-not-found": row(
    404,
    "not_found",
    notFound,
    "There is no such key",
    "The key was never written, was deleted, or has expired. The answer counts as many replicas as the request asked for.",
  ),
  "namespace-not-found": row(
    404,
    "not_found",
    notFound,
    "There is no such namespace",
    "Only the namespace 'default' exists from the start. Make another with PUT /v1/namespaces/<name>.",
  ),
  "no-such-route": row(
    404,
    "unimplemented",
    usage,
    "There is no such route",
    "The path is not one that this node serves. GET /openapi.json lists all of them.",
  ),
  "method-not-allowed": row(
    405,
    "unimplemented",
    usage,
    "The route does not take this method",
    "The Allow header of the answer lists the methods that this route takes.",
  ),
  "request-timeout": row(
    408,
    "deadline_exceeded",
    failed,
    "The request did not arrive in time",
    "The head or the body of a request has to arrive within a time limit. Nothing was written. Send it again, faster or in smaller pieces.",
  ),
  contention: row(
    409,
    "aborted",
    failed,
    "Another change came first",
    "Another request changed the same thing meanwhile. Read it again, decide again, and repeat the request.",
  ),
  "precondition-failed": row(
    412,
    "aborted",
    failed,
    "The precondition does not hold",
    "The key's version is not the one that the request names. The ETag header of the answer has the present one.",
  ),
  "value-too-large": row(
    413,
    "resource_exhausted",
    usage,
    "The value is too large",
    "The value or the body is larger than the limit in the answer. Raise the namespace's maxValue (at most 32 MiB) or store the value in pieces. Nothing was written.",
  ),
  "key-too-long": row(
    414,
    "invalid_argument",
    usage,
    "The key is too long",
    "A key has at most 1,024 bytes, counted after percent-decoding. Nothing was written.",
  ),
  "unsupported-media-type": row(
    415,
    "invalid_argument",
    usage,
    "The encoding of the body is not supported",
    "A value is stored as it is sent, so a Content-Encoding other than identity is refused. Send the bytes themselves.",
  ),
  "misdirected-request": row(
    421,
    "invalid_argument",
    failed,
    "The request was meant for another host",
    "A node that listens on loopback only answers to the names localhost, 127.0.0.1 and [::1], to its --host and to its advertised names, so that a web page cannot reach it under a name of its own.",
  ),
  "rate-limited": row(
    429,
    "resource_exhausted",
    failed,
    "Too many requests from this client",
    "Wait for the time in Retry-After, then go on more slowly. Nothing was written.",
  ),
  "headers-too-large": row(
    431,
    "invalid_argument",
    usage,
    "The request's headers are too large",
    "All headers together may have 16 KiB. User metadata (Quorate-Meta-*) may have 2 KiB of these.",
  ),
  internal: row(
    500,
    "internal",
    failed,
    "The node met an error of its own",
    "This is a fault in the program. The request id finds it in the node's log; please report it with that line.",
  ),
  corruption: row(
    500,
    "data_loss",
    failed,
    "Data on this node's disk is damaged",
    "Checksums found bytes that are not what was written. They are never served. With other replicas the node repairs itself; where it is the only copy, 'nothing found' cannot be told from 'lost' in the damaged range, and the log names that range.",
  ),
  "quorum-unavailable": row(
    503,
    "unavailable",
    notEnoughReplicas,
    "There are not enough replicas",
    "The request asks for more replicas than the cluster has for this key now. Ask for fewer, or bring nodes back. Nothing was written.",
  ),
  "write-quorum-not-met": row(
    503,
    "unavailable",
    outcomeUnknown,
    "Too few replicas acknowledged the write",
    "The outcome says what is known: 'none' means that nothing was written, 'partial' and 'unknown' that the write may be there now or appear later. Repeating a PUT or DELETE is always safe.",
  ),
  "read-quorum-not-met": row(
    503,
    "unavailable",
    notEnoughReplicas,
    "Too few replicas answered the read",
    "Fewer replicas than asked for answered in time. Repeat the request, or ask for a lower consistency.",
  ),
  overloaded: row(
    503,
    "unavailable",
    failed,
    "The node has more work than it can take",
    "The request was refused at once so that the accepted ones stay fast. Nothing was written. Wait for the time in Retry-After and repeat it.",
  ),
  draining: row(
    503,
    "unavailable",
    failed,
    "The node takes no requests any more",
    "It is shutting down, and finishes what it has accepted; or it is no member of its cluster any more, and can be stopped: the detail says which. Nothing was written. Send the request to another node, or repeat it when one that was shut down is back.",
  ),
  "not-ready": row(
    503,
    "unavailable",
    failed,
    "The node is not ready yet",
    "It is opening its data or looking for its cluster. GET /readyz?verbose says what it waits for.",
  ),
  "read-only": row(
    503,
    "unavailable",
    failed,
    "The node takes no writes at present",
    "Its store has ended after a failed write or sync, or an operator made it read-only. The log says which. Nothing of this request was written.",
  ),
  timeout: row(
    504,
    "deadline_exceeded",
    outcomeUnknown,
    "The time given for the request is over",
    "The outcome says whether a write may have taken place. Repeat the request, with a longer timeout if needed (at most 60s).",
  ),
  "disk-full": row(
    507,
    "resource_exhausted",
    failed,
    "The disk is full",
    "The node keeps a reserve for deletes, repair and checkpoints, and refuses writes that grow the data. Reads and deletes still work. It takes writes again by itself when there is space.",
  ),
  "data-folder-in-use": row(
    503,
    "unavailable",
    failed,
    "The data folder is in use",
    "Another process has this data folder open. One process serves a folder; stop the other one, or give this one a folder of its own.",
  ),
  "wrong-data-folder": row(
    503,
    "failed_precondition",
    failed,
    "The data folder belongs to another node or format",
    "The folder was made by another node, for another cluster, or by a version of the program that this one cannot read. It was not changed.",
  ),
  "invalid-config": row(
    400,
    "invalid_argument",
    usage,
    "A setting is not valid",
    "The detail names the setting, where it came from, and what is allowed. 'quorate config show' prints every setting and its source.",
  ),
  unreachable: row(
    503,
    "unavailable",
    failed,
    "No node could be reached",
    "The client could not connect, or the connection was cut. A write may have taken place when the outcome is 'unknown'; repeating a PUT or DELETE is always safe.",
  ),
} as const satisfies Record<string, SlugRow>;

export type Slug = keyof typeof slugTable;

/** The typed facts that go with some slugs. */
export interface ErrorFacts {
  readonly outcome?: Outcome;
  readonly hint?: string;
  readonly needed?: number;
  readonly acks?: number;
  /** One line a replica: who, what it said, why. */
  readonly replicas?: readonly ReplicaLine[];
  readonly key?: Uint8Array;
  readonly namespace?: string;
  readonly epoch?: number;
  /** Set by the client: what finds the request in the node's log. */
  readonly requestId?: string;
  /** For `value-too-large`, `key-too-long`, `headers-too-large`: the limit, in bytes. */
  readonly limit?: number;
  readonly retryAfterSeconds?: number;
  /** For `method-not-allowed`: the value of Allow. */
  readonly allow?: string;
  /** What happened, as a JSON value, where the request has asked for that. */
  readonly explain?: unknown;
  readonly cause?: unknown;
}

export interface ReplicaLine {
  readonly node: string;
  readonly status: string;
  readonly reason?: string;
}

/**
 * The one error of this program.
 *
 * @example
 * ```ts
 * import { QuorateError } from "quorate";
 * const error = new QuorateError("value-too-large", "The value has 1,048,577 bytes; 1,048,576 are allowed.", {
 *   outcome: "none",
 *   limit: 1_048_576,
 * });
 * if (error.status !== 413) throw new Error("unexpected");
 * ```
 */
export class QuorateError extends Error {
  override readonly name = "QuorateError";
  readonly slug: Slug;
  /** What happened and why, with the real numbers. */
  readonly detail: string;
  readonly facts: ErrorFacts;

  constructor(slug: Slug, detail: string, facts: ErrorFacts = {}) {
    super(`[${slug}] ${detail}`, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.slug = slug;
    this.detail = detail;
    this.facts = facts;
  }

  get status(): number {
    return slugTable[this.slug].status;
  }

  get title(): string {
    return slugTable[this.slug].title;
  }

  /** What is known about the write; undefined for reads and other requests. */
  get outcome(): Outcome | undefined {
    return this.facts.outcome;
  }

  get hint(): string | undefined {
    return this.facts.hint;
  }

  get exitCode(): number {
    // A write quorum that failed with outcome none wrote nothing: that is "not enough replicas".
    if (this.slug === "write-quorum-not-met" || this.slug === "timeout") {
      return this.outcome === "none" || this.outcome === undefined
        ? notEnoughReplicas
        : outcomeUnknown;
    }
    if (this.outcome === "unknown" || this.outcome === "partial") return outcomeUnknown;
    return slugTable[this.slug].exit;
  }

  /** One that says how a request went and is thrown by nobody: to trace its calls would cost more than the request. */
  static untraced(slug: Slug, detail: string, facts: ErrorFacts): QuorateError {
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    const error = new QuorateError(slug, detail, facts);
    Error.stackTraceLimit = stackTraceLimit;
    return error;
  }

  /** Any thrown thing as a QuorateError: ours as they are, the rest as `internal`. */
  static from(error: unknown, facts: ErrorFacts = {}): QuorateError {
    if (error instanceof QuorateError) return error;
    const said = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    return new QuorateError("internal", `An unexpected error ended the request: ${said}`, {
      hint: "Find the request id in the node's log, and report it with that line.",
      ...facts,
      cause: error,
    });
  }
}

export function isSlug(text: string): text is Slug {
  return Object.hasOwn(slugTable, text);
}
