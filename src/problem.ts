/**
 * Problem: errors as HTTP says them, and the pages that explain them.
 *
 * Every failure leaves the node as `application/problem+json` (RFC 9457), built from a
 * `QuorateError` and from what the exchange knows: its request id, and the key and namespace it was
 * about. Its `type` is a path on the node itself, where a page says what the slug means.
 *
 * Invariants
 * 1. `Retry-After` goes only with an outcome of `none`, or where nothing could have been written.
 * 2. A failed write always names an outcome; before the node was asked it is `none` (P7).
 *
 * Effects: none. Source: RFC 9457; RFC 9110 section 10.2.3.
 *
 * @module
 */

import { toBase64url, utf8Bytes, utf8OrUndefined } from "./bytes.ts";
import { isSlug, type Outcome, QuorateError, type Slug, slugTable } from "./errors.ts";
import { type Exchange, listNames, type Reply, textReply } from "./exchange.ts";

/** A problem document; its fields are in the order in which a person reads them. */
export type Problem = Readonly<Record<string, unknown>>;

/** What an error is about, where the error itself does not say. */
export interface ProblemAbout {
  readonly requestId: string;
  readonly namespace?: string | undefined;
  readonly key?: Uint8Array | undefined;
  readonly outcome?: Outcome | undefined;
  /** Further members, for example `found` of the original routes. */
  readonly members?: Readonly<Record<string, unknown>>;
}

export function problemOf(error: QuorateError, about: ProblemAbout): Problem {
  const { facts } = error;
  const key = facts.key ?? about.key;
  const fields: Record<string, unknown> = {
    type: `/problems/${error.slug}`,
    title: error.title,
    status: error.status,
    detail: error.detail,
    hint: error.hint ?? slugTable[error.slug].about,
    requestId: about.requestId,
    outcome: facts.outcome ?? about.outcome,
    needed: facts.needed,
    acks: facts.acks,
    replicas: facts.replicas,
    limit: facts.limit,
    epoch: facts.epoch,
    namespace: facts.namespace ?? about.namespace,
    ...(key === undefined ? {} : keyField(key)),
    ...about.members,
  };
  for (const name of Object.keys(fields)) if (fields[name] === undefined) delete fields[name];
  return fields;
}

/** `{key}` where the bytes are text, else `{key64}`. */
export function keyField(key: Uint8Array): { key: string } | { key64: string } {
  const text = utf8OrUndefined(key);
  return text === undefined ? { key64: toBase64url(key) } : { key: text };
}

/** What an exchange knows for its problem. */
export function aboutOf(exchange: Exchange): ProblemAbout {
  return {
    requestId: exchange.requestId,
    namespace: exchange.namespace,
    key: exchange.key,
    outcome: exchange.writes && !exchange.sent ? "none" : undefined,
  };
}

/** The reply for an error; `headers` come first and are kept. */
export function problemReply(
  error: QuorateError,
  about: ProblemAbout,
  headers: string[] = [],
): Reply {
  const body = utf8Bytes(`${JSON.stringify(problemOf(error, about))}\n`);
  headers.push(
    "Content-Type",
    "application/problem+json",
    "Content-Length",
    String(body.length),
    "Cache-Control",
    "no-store",
  );
  const outcome = error.outcome ?? about.outcome;
  const { retryAfterSeconds, allow, explain } = error.facts;
  if (retryAfterSeconds !== undefined && (outcome === undefined || outcome === "none")) {
    headers.push("Retry-After", String(Math.max(1, Math.ceil(retryAfterSeconds))));
  }
  if (allow !== undefined) headers.push("Allow", allow);
  headers.push(...explainHeader(explain));
  return { status: error.status, headers, body };
}

/** Quorate-Explain, where a request has asked for what happened: also where it has failed. */
export function explainHeader(explain: unknown): readonly string[] {
  return explain === undefined ? [] : ["Quorate-Explain", asciiJson(explain)];
}

/** JSON that fits a header: everything beyond printable ASCII escaped. */
function asciiJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[^\x20-\x7e]/g,
    (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

export function noSuchRoute(path: string): QuorateError {
  return new QuorateError("no-such-route", `This node serves nothing at ${path.slice(0, 256)}.`, {
    hint: "GET /openapi.json lists every route.",
  });
}

export function methodNotAllowed(method: string, path: string, allow: string): QuorateError {
  return new QuorateError(
    "method-not-allowed",
    `${path.slice(0, 256)} does not take ${method.slice(0, 32)}.`,
    { allow, hint: `Use one of ${allow}.` },
  );
}

const problemsPath = "/problems/";

/** `GET /problems/<slug>`: a page for people, or plain text for a terminal. */
export function problemPage(exchange: Exchange): Reply {
  const slug = exchange.path.slice(problemsPath.length);
  if (!isSlug(slug)) throw noSuchRoute(exchange.path);
  const reply = listNames(exchange.header("accept"), "text/html")
    ? textReply(200, htmlPage(slug), "text/html")
    : textReply(200, plainPage(slug));
  reply.headers.push("Vary", "Accept");
  reply.headers.push("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'");
  return reply;
}

function facts(slug: Slug): string {
  const { status, connect, exit } = slugTable[slug];
  return `HTTP ${status}, Connect and gRPC ${connect}, exit code ${exit}`;
}

function plainPage(slug: Slug): string {
  const { title, about } = slugTable[slug];
  return `${slug}: ${title}\n(${facts(slug)})\n\n${about}\n`;
}

function htmlPage(slug: Slug): string {
  const { title, about } = slugTable[slug];
  const style = "body{font:1rem/1.5 system-ui;max-width:40rem;margin:3rem auto;padding:0 1rem}";
  return [
    '<!doctype html><html lang="en"><meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width">',
    `<title>${slug}</title><style>${style}</style>`,
    `<h1>${escapeHtml(title)}</h1><p><code>${slug}</code>: ${facts(slug)}</p>`,
    `<p>${escapeHtml(about)}</p></html>\n`,
  ].join("\n");
}

function escapeHtml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
