/**
 * Guard: who may talk to this node from a browser.
 *
 * Any web page that a developer opens can send requests to a port on their machine. Two checks stop
 * it, before a body is read. A page of another origin is refused unless the operator lists it. And
 * on a loopback bind the Host must be one of the node's names, because a page can point a name of
 * its own at 127.0.0.1 and so become "the same origin" (DNS rebinding).
 *
 * Invariants
 * 1. CORS headers are given to a listed origin only.
 * 2. OPTIONS changes nothing and is never refused for its origin: without CORS headers the browser
 *    refuses by itself.
 *
 * Effects: none. Source: Fetch standard, "HTTP-CORS protocol"; W3C Fetch Metadata.
 *
 * @module
 */

import { QuorateError } from "./errors.ts";
import { type HttpSettings, invalidRequest } from "./exchange.ts";
import { printable } from "./target.ts";

/** What the guard looks at: smaller than a Source, so that RPC can ask too. */
export interface Guarded {
  readonly method: string;
  readonly host: string | undefined;
  header(name: string): string | undefined;
}

const loopbackNames: readonly string[] = ["localhost", "127.0.0.1", "[::1]"];
const hostPattern = /^(?:[a-z0-9._~-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?$/i;

/** The guards of one edge. */
export class Guards {
  readonly #settings: HttpSettings;
  /** The Host that was looked at last, and was one of the node's: nearly all requests have it. */
  #lastHost: string | undefined;

  constructor(settings: HttpSettings) {
    this.#settings = settings;
  }

  /** Throws `misdirected-request`, `forbidden`, or `invalid-request` for a Host that is none. */
  check(request: Guarded): void {
    const { host } = request;
    if (host === undefined || host !== this.#lastHost) {
      checkHost(this.#settings, host);
      this.#lastHost = host;
    }
    if (request.method !== "OPTIONS") checkOrigin(this.#settings, request);
  }
}

/** The CORS headers of a reply: none unless `--cors-origin` is used. */
export function corsHeaders(settings: HttpSettings, request: Guarded): string[] {
  if (settings.corsOrigins.length === 0) return [];
  const origin = request.header("origin");
  // Caches must not hand one origin's answer to another, so the reply varies in any case.
  if (origin === undefined || !settings.corsOrigins.includes(origin)) return ["Vary", "Origin"];
  const headers = [
    "Vary",
    "Origin",
    "Access-Control-Allow-Origin",
    origin,
    "Access-Control-Expose-Headers",
    "*",
  ];
  if (request.method !== "OPTIONS") return headers;
  headers.push("Access-Control-Allow-Methods", "GET, HEAD, PUT, POST, DELETE");
  headers.push("Access-Control-Max-Age", "600");
  const wanted = request.header("access-control-request-headers");
  if (wanted !== undefined) headers.push("Access-Control-Allow-Headers", wanted);
  return headers;
}

function checkHost(settings: HttpSettings, host: string | undefined): void {
  // HTTP/1.0 has no Host, and a browser always sends one: nothing to guard against.
  if (host === undefined) return;
  // The pattern takes ports and addresses with numbers that are too large.
  if (!hostPattern.test(host) || !URL.canParse(`http://${host}`)) {
    throw invalidRequest(
      `The Host '${printable(host)}' is not a host.`,
      "Send a name or an address, with its port.",
    );
  }
  if (!settings.loopback) return;
  const whole = host.toLowerCase();
  const name = whole.replace(/:\d+$/, "");
  if (loopbackNames.includes(name)) return;
  const names = settings.advertisedNames.map(asHost);
  if (names.includes(name) || names.includes(whole)) return;
  throw new QuorateError(
    "misdirected-request",
    `This node listens on loopback and is not called '${printable(host)}'.`,
    {
      outcome: "none",
      hint: "Use localhost, 127.0.0.1 or [::1], or start the node with an advertised name.",
    },
  );
}

/** As a Host says it: an address of IPv6 in brackets. */
function asHost(name: string): string {
  const text = name.toLowerCase();
  return text.startsWith("[") || !/:.*:/.test(text) ? text : `[${text}]`;
}

function checkOrigin(settings: HttpSettings, request: Guarded): void {
  const origin = request.header("origin");
  const site = request.header("sec-fetch-site");
  if (origin === undefined && site !== "cross-site") return;
  if (origin !== undefined) {
    if (settings.corsOrigins.includes(origin)) return;
    if (site !== "cross-site" && isOwn(origin, request.host)) return;
  }
  throw new QuorateError(
    "forbidden",
    origin === undefined
      ? "The request comes from a page of another site."
      : `The request comes from a page of ${printable(origin)}, which is not allowed here.`,
    { outcome: "none", hint: "Start the node with --cors-origin to allow a page's origin." },
  );
}

function isOwn(origin: string, host: string | undefined): boolean {
  if (host === undefined) return false;
  const own = host.toLowerCase();
  const given = origin.toLowerCase();
  // TLS may end in front of the node, so either scheme can be its own.
  return given === `http://${own}` || given === `https://${own}`;
}
