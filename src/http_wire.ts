/**
 * HttpWire: plain HTTP/1.1 requests for one key, read from a connection's bytes and answered in them.
 *
 * Nearly all traffic is one shape: a GET, PUT, HEAD or DELETE of a key that lies whole in one read,
 * with headers that mean nothing to the connection. Such a request is taken from the bytes here, and
 * its reply is one text to write. node:http does the same with a dozen objects and events around it,
 * which cost three times as much as everything else that a GET needs (docs/performance.md). Whatever
 * is not exactly this shape is not judged here: the connection goes to node:http with all its bytes.
 *
 *     GET /v1/kv/default/users/1 HTTP/1.1 CRLF
 *     Host: localhost:8080 CRLF ...            <- the block; mostly the same as the request's before
 *     CRLF
 *
 * Invariants
 * 1. A request that is taken is one that node:http would take, and it means the same there.
 * 2. Only bytes of whole requests are consumed, and the whole body is at hand.
 * 3. No header of a reply can hold a line break: what comes from outside was checked before.
 *
 * Effects: none. Source: RFC 9112 sections 2, 3, 5, 6 and 9.6.
 *
 * @module
 */

import { assert } from "./assert.ts";
import type { BodyLimit, Operation, Reply, Source } from "./exchange.ts";
import { hotOperation } from "./http_hot.ts";

/** A head beyond this is not taken. */
const wireHeadBytesMax = 8 * 1024;
/** A body beyond this is not taken: it seldom lies in one read. */
const wireBodyBytesMax = 56 * 1024;
/** Up to so many bytes a body is joined with its header in one text. */
const joinedBytesMax = 16 * 1024;

const headEnd = Uint8Array.of(13, 10, 13, 10);
const targetPattern = /^[\x21-\x7e]+$/;
/** Spaces are taken in one place each: with two beside each other it takes the square of their number. */
const linePattern =
  /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ ]*(?:([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)[ ]*)?$/;
const lengthPattern = /^(?:0|[1-9][0-9]{0,6})$/;
const versionSuffix = " HTTP/1.1";
/** These say how the connection or the body goes on, which is for node:http to follow. */
const connectionHeaders: ReadonlySet<string> = new Set([
  "transfer-encoding",
  "upgrade",
  "expect",
  "te",
  "trailer",
  "http2-settings",
  "keep-alive",
  "proxy-connection",
]);

/** The words behind a status, of those that a reply of one key or a refusal can have. */
export const statusReasons: Readonly<Record<number, string>> = {
  200: "OK",
  204: "No Content",
  304: "Not Modified",
  400: "Bad Request",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  408: "Request Timeout",
  412: "Precondition Failed",
  413: "Payload Too Large",
  414: "URI Too Long",
  415: "Unsupported Media Type",
  421: "Misdirected Request",
  429: "Too Many Requests",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  503: "Service Unavailable",
  504: "Gateway Timeout",
  507: "Insufficient Storage",
};

type HeaderMap = ReadonlyMap<string, string>;

/** What was read of one request. */
export interface WireRequest {
  readonly source: Source;
  readonly operation: Operation;
  /** The bytes of head and body. */
  readonly bytes: number;
}

/** Reads the requests of one connection. */
export class WireReader {
  #block: string | undefined;
  #headers: HeaderMap | undefined;

  /** The first request in the bytes; undefined when it is none that may be taken here. */
  read(bytes: Buffer): WireRequest | undefined {
    const headBytes = bytes.indexOf(headEnd);
    if (headBytes <= 0 || headBytes > wireHeadBytesMax) return undefined;
    const head = bytes.toString("latin1", 0, headBytes);
    const lineEnd = head.indexOf("\r\n");
    if (lineEnd < 0) return undefined;
    const methodEnd = head.indexOf(" ");
    const targetEnd = lineEnd - versionSuffix.length;
    if (methodEnd < 0 || targetEnd <= methodEnd || !head.startsWith(versionSuffix, targetEnd)) {
      return undefined;
    }
    const target = head.slice(methodEnd + 1, targetEnd);
    if (!targetPattern.test(target)) return undefined;
    const headers = this.#headersOf(head.slice(lineEnd + 2));
    if (headers === undefined) return undefined;
    const bodyStart = headBytes + headEnd.length;
    const source = new WireSource(head.slice(0, methodEnd), target, headers);
    const operation = hotOperation(source);
    if (operation === undefined) return undefined;
    const bodyBytes = source.declaredBytes;
    if (bodyBytes === undefined || bodyStart + bodyBytes > bytes.length) return undefined;
    source.body = bytes.subarray(bodyStart, bodyStart + bodyBytes);
    return { source, operation, bytes: bodyStart + bodyBytes };
  }

  /** Most requests of a connection have the headers of the one before. */
  #headersOf(block: string): HeaderMap | undefined {
    if (block === this.#block) return this.#headers;
    this.#block = block;
    this.#headers = parseBlock(block);
    return this.#headers;
  }
}

/** The headers by their lower-case names; undefined when one of them is for node:http to judge. */
function parseBlock(block: string): HeaderMap | undefined {
  const headers = new Map<string, string>();
  for (const line of block.split("\r\n")) {
    const match = linePattern.exec(line);
    if (match === null) return undefined;
    const name = (match[1] as string).toLowerCase();
    const value = match[2] ?? "";
    // What a header that comes twice means depends on the header.
    if (headers.has(name) || connectionHeaders.has(name)) return undefined;
    if (name === "connection" && value.toLowerCase() !== "keep-alive") return undefined;
    headers.set(name, value);
  }
  return headers.has("host") ? headers : undefined;
}

class WireSource implements Source {
  readonly method: string;
  readonly target: string;
  body: Uint8Array | undefined;
  readonly #headers: HeaderMap;

  constructor(method: string, target: string, headers: HeaderMap) {
    this.method = method;
    this.target = target;
    this.#headers = headers;
  }

  get host(): string | undefined {
    return this.#headers.get("host");
  }

  /** The length of the body; undefined when it is not told, or for none that is read here. */
  get declaredBytes(): number | undefined {
    const declared = this.#headers.get("content-length");
    if (this.method !== "PUT") return declared === undefined || declared === "0" ? 0 : undefined;
    if (declared === undefined || !lengthPattern.test(declared)) return undefined;
    const bytes = Number(declared);
    return bytes <= wireBodyBytesMax ? bytes : undefined;
  }

  header(name: string): string | undefined {
    return this.#headers.get(name);
  }

  headerNames(): Iterable<string> {
    return this.#headers.keys();
  }

  readBody(limit: BodyLimit): Uint8Array {
    const { body } = this;
    assert(body !== undefined, "http_wire: the body is at hand");
    if (body.length > limit.bytesMax) throw limit.tooLarge(body.length);
    limit.reserve(body.length);
    return new Uint8Array(body.buffer, body.byteOffset, body.length);
  }
}

/** What a reply is on the wire: one text, and a body that is too large to be joined with it. */
export interface WireText {
  readonly text: string;
  readonly body?: Uint8Array;
}

/**
 * Writes replies down. Most lines of a header are those of the reply before, at the same place: they are kept,
 * because to join their four parts again, and to flatten these for the socket, costs more than all else here.
 */
export class WireWriter {
  readonly #names: string[] = [];
  readonly #values: string[] = [];
  readonly #lines: string[] = [];

  write({ status, headers, body }: Reply, method: string, isLast: boolean): WireText {
    let text = statusLine(status);
    for (let index = 0; index < headers.length; index += 2) {
      text += this.#line(index >> 1, headers[index] as string, headers[index + 1] as string);
    }
    text += isLast ? "Connection: close\r\n\r\n" : "Connection: keep-alive\r\n\r\n";
    if (body === undefined || method === "HEAD") return { text };
    assert(body instanceof Uint8Array, "http_wire: the reply for one key is whole");
    if (body.length > joinedBytesMax) return { text, body };
    const bytes = Buffer.from(body.buffer, body.byteOffset, body.length);
    return { text: text + bytes.toString("latin1") };
  }

  #line(place: number, name: string, value: string): string {
    if (this.#values[place] === value && this.#names[place] === name) {
      return this.#lines[place] as string;
    }
    const line = `${name}: ${value}\r\n`;
    this.#names[place] = name;
    this.#values[place] = value;
    this.#lines[place] = line;
    return line;
  }
}

const statusLines = new Map<number, string>();

function statusLine(status: number): string {
  let line = statusLines.get(status);
  if (line === undefined) {
    line = `HTTP/1.1 ${status} ${statusReasons[status] ?? "Unknown"}\r\n`;
    statusLines.set(status, line);
  }
  return line;
}
