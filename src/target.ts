/**
 * Target: the raw request target, split and decoded without ever being normalised.
 *
 * A key is bytes, and a URL class is no place for bytes: it resolves `..`, keeps `%FF` as text and
 * so lets two keys share one form. The parser here works on the request line as it came, splits it
 * at the first `?`, and turns each `%XX` into one byte. What a client or proxy might have changed on
 * the way (a `.` or `..` segment) is refused in a path and welcome as `?key=` or `?key64=`.
 *
 * Invariants
 * 1. Two different targets never give the same key unless their decoded bytes are equal.
 * 2. `+` is itself in a path and a space in a query; a trailing `/` belongs to the key.
 * 3. A text of "byte letters" has one character (U+0000 to U+00FF) for each byte.
 *
 * Effects: none. Source: RFC 3986 sections 2.1 and 3.3; RFC 9112 section 3.2.
 *
 * @module
 */

import { namespacePattern } from "./api.ts";
import { checkKey } from "./api_limit.ts";
import { fromBase64url, isWellFormed, utf8Bytes } from "./bytes.ts";
import { QuorateError } from "./errors.ts";

export interface Target {
  /** Percent-encoded, from the first `/`; `*` for `OPTIONS *`. */
  readonly path: string;
  /** What follows the first `?`; undefined without one. */
  readonly query: string | undefined;
  /** The host that an absolute target names; it stands above the Host header. */
  readonly authority: string | undefined;
}

/** `/v1/kv/<namespace>[/<key>]`, still encoded. */
export interface KeyPath {
  readonly namespace: string;
  /** Undefined when nothing, not even a `/`, follows the namespace. */
  readonly key: string | undefined;
}

const keyHint =
  "Give any key at all as ?key= (percent-encoded) or ?key64= (base64url without padding).";
const textKeyHint = "Give any key at all as key64 (base64url without padding).";
const absoluteForm = /^https?:\/\/([^/?#]*)/i;
const queryParametersMax = 64;

/** Splits a request target; throws `invalid-request` for a form that no route can have. */
export function splitTarget(raw: string): Target {
  let rest = raw;
  let authority: string | undefined;
  if (raw.charCodeAt(0) !== slash) {
    if (raw === "*") return { path: raw, query: undefined, authority };
    const absolute = absoluteForm.exec(raw);
    if (absolute === null) {
      throw invalidRequest("The request target is neither a path nor an absolute http URL.");
    }
    authority = absolute[1];
    rest = raw.slice(absolute[0].length);
    if (rest.charCodeAt(0) !== slash) rest = `/${rest}`;
  }
  const mark = rest.indexOf("?");
  if (mark < 0) return { path: rest, query: undefined, authority };
  return { path: rest.slice(0, mark), query: rest.slice(mark + 1), authority };
}

/** Takes `<namespace>[/<key>]` apart, from `start` on. */
export function splitKeyPath(path: string, start: number): KeyPath {
  const end = path.indexOf("/", start);
  if (end < 0) return { namespace: path.slice(start), key: undefined };
  return { namespace: path.slice(start, end), key: path.slice(end + 1) };
}

/** A namespace's name from its path segment. */
export function parseNamespace(segment: string): string {
  const name = segment.includes("%") ? decodePercent(segment, false) : segment;
  if (name === undefined || !namespacePattern.test(name)) {
    throw invalidRequest(
      `'${printable(segment)}' cannot name a namespace.`,
      "A name has 1 to 64 of a-z, 0-9, '-' and '_'.",
    );
  }
  return name;
}

/** The key of a path; throws `invalid-key` or `key-too-long`. */
export function parsePathKey(encoded: string): Uint8Array {
  const letters = decodePercent(encoded, false);
  if (letters === undefined) throw badPercent("The key in the path");
  if (hasDotSegment(letters)) {
    throw invalidKey("The key in the path has a '.' or '..' segment, which clients remove.");
  }
  return checkedKey(bytesOfLetters(letters));
}

/** The key of `?key=`, decoded to byte letters already. */
export function parseQueryKey(letters: string): Uint8Array {
  return checkedKey(bytesOfLetters(letters));
}

/** The key of `?key64=` or of a `key64` field. */
export function parseKey64(text: string): Uint8Array {
  const key = fromBase64url(text);
  if (key === undefined) throw invalidKey("key64 is not base64url without padding.");
  return checkedKey(key);
}

/** A key that came as text, in a JSON body. */
export function parseTextKey(text: string): Uint8Array {
  // A lone surrogate has no UTF-8 form; the encoder would silently store U+FFFD for it.
  if (!isWellFormed(text)) throw invalidKey("The key holds half of a surrogate pair.", textKeyHint);
  const key = utf8Bytes(text);
  checkKey(key);
  return key;
}

/** `key` when it has 1 to 1,024 bytes. */
function checkedKey(key: Uint8Array): Uint8Array {
  if (key.length === 0) throw invalidKey("The key is empty; a key has 1 to 1,024 bytes.");
  checkKey(key);
  return key;
}

export function invalidKey(detail: string, hint: string = keyHint): QuorateError {
  return new QuorateError("invalid-key", detail, { hint });
}

/**
 * The parameters of a query, each value as byte letters. Throws `invalid-request` for a repeated
 * parameter and for a `%` without two hex digits (`invalid-key` where the value is a key).
 */
export function parseQuery(query: string | undefined): Map<string, string> {
  const parameters = new Map<string, string>();
  if (query === undefined || query === "") return parameters;
  for (const piece of query.split("&")) {
    if (piece === "") continue;
    const mark = piece.indexOf("=");
    const name = decodePercent(mark < 0 ? piece : piece.slice(0, mark), true);
    const value = mark < 0 ? "" : decodePercent(piece.slice(mark + 1), true);
    if (name === undefined) throw invalidRequest("The query has a '%' without two hex digits.");
    if (value === undefined) {
      if (name === "key") throw badPercent("The query parameter 'key'");
      throw invalidRequest(
        `The query parameter '${printable(name)}' has a '%' without two hex digits.`,
        "Write a percent sign as %25.",
      );
    }
    if (parameters.has(name)) {
      throw invalidRequest(
        `The query parameter '${printable(name)}' is given twice.`,
        "Give each parameter once.",
      );
    }
    if (parameters.size === queryParametersMax) throw invalidRequest("The query is too long.");
    parameters.set(name, value);
  }
  return parameters;
}

/** One byte for each letter. */
export function bytesOfLetters(letters: string): Uint8Array {
  const bytes = new Uint8Array(letters.length);
  for (let index = 0; index < letters.length; index += 1) bytes[index] = letters.charCodeAt(index);
  return bytes;
}

/** Byte letters of an encoded text; undefined for a `%` without two hex digits or a raw non-ASCII. */
export function decodePercent(encoded: string, plusIsSpace: boolean): string | undefined {
  let letters = "";
  let copied = 0;
  for (let index = 0; index < encoded.length; index += 1) {
    const code = encoded.charCodeAt(index);
    if (code === percent) {
      const byte = hexPair(encoded, index + 1);
      if (byte < 0) return undefined;
      letters += encoded.slice(copied, index) + String.fromCharCode(byte);
      index += 2;
      copied = index + 1;
    } else if (plusIsSpace && code === plus) {
      letters += `${encoded.slice(copied, index)} `;
      copied = index + 1;
    } else if (code < printableMin || code > printableMax) {
      // A target is ASCII; what lies above reaches us decoded in ways that differ between parsers.
      return undefined;
    }
  }
  return copied === 0 ? encoded : letters + encoded.slice(copied);
}

/** `text` for a message: cut, and what is not printable ASCII becomes `?`. */
export function printable(text: string, lengthMax = 64): string {
  const clean = text.slice(0, lengthMax).replace(/[^\x20-\x7e]/g, "?");
  return text.length > lengthMax ? `${clean}…` : clean;
}

function hasDotSegment(letters: string): boolean {
  let start = 0;
  while (start <= letters.length) {
    let end = letters.indexOf("/", start);
    if (end < 0) end = letters.length;
    const length = end - start;
    if (length === 1 && letters.charCodeAt(start) === dot) return true;
    if (length === 2 && letters.charCodeAt(start) === dot && letters.charCodeAt(start + 1) === dot)
      return true;
    start = end + 1;
  }
  return false;
}

function hexPair(text: string, index: number): number {
  const high = hexValue(text.charCodeAt(index));
  const low = hexValue(text.charCodeAt(index + 1));
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

function hexValue(code: number): number {
  if (code >= 48 && code <= 57) return code - 48;
  const lower = code | 32;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}

function badPercent(where: string): QuorateError {
  return invalidKey(`${where} has a '%' without two hex digits, or a letter that must be encoded.`);
}

function invalidRequest(detail: string, hint?: string): QuorateError {
  return new QuorateError("invalid-request", detail, hint === undefined ? {} : { hint });
}

const percent = 37;
const plus = 43;
const dot = 46;
const slash = 47;
const printableMin = 33;
const printableMax = 126;
