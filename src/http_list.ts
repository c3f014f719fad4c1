/**
 * HttpList: many keys over HTTP: lists and counts.
 *
 * A list is a page of JSON, or with `Accept: application/x-ndjson` everything, an item a line. The
 * stream asks for the next page only when the client has taken the one before, so a slow reader
 * holds one page and no transaction. Its last line is `{"end":true,"count":n}`; a stream without
 * that line is incomplete, and one that failed says why and is cut.
 *
 * Invariants
 * 1. The first page is there before the status is sent, so an error there has its own status.
 * 2. `key64` and `value64` stand exactly where the bytes are not valid UTF-8.
 *
 * Effects: those of the node, through `Api`.
 *
 * @module
 */

import { keyBytesMax, type ListAnswer, type ListItem, type ListRequest } from "./api.ts";
import { keyTooLong } from "./api_limit.ts";
import { AssertionError } from "./assert.ts";
import { fromBase64url, toBase64url, utf8OrUndefined } from "./bytes.ts";
import { QuorateError } from "./errors.ts";
import {
  type Exchange,
  type HttpContext,
  invalidRequest,
  jsonReply,
  listNames,
  noteFailure,
  privateNoCache,
  type Reply,
  type ReplyStream,
} from "./exchange.ts";
import { answerHeaders, readOptions } from "./http_kv.ts";
import { aboutOf, keyField, problemOf } from "./problem.ts";
import { parameters, parseParameters } from "./schemas.ts";
import { bytesOfLetters, parseNamespace } from "./target.ts";
import { versionText } from "./version.ts";

const keysPath = "/v1/keys/";
const countPath = "/v1/count/";
const ndjson = "application/x-ndjson";

/** A stream reads ahead so many items: each page looks into every partition once. */
const streamPageCount = 4000;

/** `GET /v1/keys/{namespace}`. */
export async function listKeys(context: HttpContext, exchange: Exchange): Promise<Reply> {
  const namespace = parseNamespace(exchange.path.slice(keysPath.length));
  exchange.namespace = namespace;
  const parsed = parseParameters(parameters.list, exchange);
  const range = {
    ...bound("prefix", parsed.prefix, parsed.prefix64),
    ...bound("start", parsed.start, parsed.start64),
    ...bound("end", parsed.end, parsed.end64),
  };
  const request: ListRequest = {
    ...readOptions(parsed),
    ...range,
    namespace,
    requestId: exchange.requestId,
    ...(parsed.limit === undefined ? {} : { limit: parsed.limit }),
    ...(parsed.cursor === undefined ? {} : { cursor: parsed.cursor }),
    ...(parsed.reverse === undefined ? {} : { reverse: parsed.reverse }),
    ...(parsed.values === undefined ? {} : { values: parsed.values }),
  };
  const isStream = listNames(exchange.header("accept"), ndjson);
  const paged = isStream ? { limit: streamPageCount, ...request } : request;
  const first = await context.api.list(paged);
  const headers = answerHeaders(first, "Quorate-Replies");
  headers.push("Vary", "Accept");
  if (!isStream) {
    return jsonReply(200, listBody(namespace, first), headers);
  }
  headers.push("Content-Type", ndjson, "Cache-Control", privateNoCache);
  if (exchange.method === "HEAD") return { status: 200, headers };
  return { status: 200, headers, body: streamItems(context, exchange, paged, first) };
}

/** `GET /v1/count/{namespace}`. */
export async function countKeys(context: HttpContext, exchange: Exchange): Promise<Reply> {
  const namespace = parseNamespace(exchange.path.slice(countPath.length));
  exchange.namespace = namespace;
  const parsed = parseParameters(parameters.count, exchange);
  const answer = await context.api.count({
    ...readOptions(parsed),
    ...bound("prefix", parsed.prefix, parsed.prefix64),
    namespace,
    requestId: exchange.requestId,
  });
  const { keys, bytes, exact } = answer;
  return jsonReply(200, { keys, bytes, exact }, answerHeaders(answer, "Quorate-Replies"));
}

/** `{value}` where the bytes are text, else `{value64}`. */
export function valueField(value: Uint8Array): { value: string } | { value64: string } {
  const text = utf8OrUndefined(value);
  return text === undefined ? { value64: toBase64url(value) } : { value: text };
}

export function expiresField(expiresAtMs: number | undefined): { expiresAt?: string } {
  return expiresAtMs === undefined ? {} : { expiresAt: new Date(expiresAtMs).toISOString() };
}

function listBody(namespace: string, answer: ListAnswer): Readonly<Record<string, unknown>> {
  return {
    namespace,
    items: answer.items.map(itemOf),
    ...(answer.next === undefined ? {} : { next: answer.next }),
  };
}

function itemOf(item: ListItem): Readonly<Record<string, unknown>> {
  return {
    ...keyField(item.key),
    version: versionText(item.version),
    bytes: item.bytes,
    contentType: item.contentType,
    ...expiresField(item.expiresAtMs),
    ...(item.value === undefined ? {} : valueField(item.value)),
  };
}

/** All items from the first page on; each piece is the lines of one page. */
async function* streamItems(
  context: HttpContext,
  exchange: Exchange,
  request: ListRequest,
  first: ListAnswer,
): ReplyStream {
  let page = first;
  let count = 0;
  for (;;) {
    let lines = "";
    for (const item of page.items) lines += `${JSON.stringify(itemOf(item))}\n`;
    count += page.items.length;
    if (page.next === undefined) {
      yield `${lines}{"end":true,"count":${count}}\n`;
      return;
    }
    if (lines !== "") yield lines;
    try {
      page = await context.api.list({ ...request, cursor: page.next });
    } catch (thrown) {
      if (thrown instanceof AssertionError) throw thrown;
      const error = QuorateError.from(thrown);
      noteFailure(context, exchange, error);
      yield `${JSON.stringify({ error: problemOf(error, aboutOf(exchange)) })}\n`;
      throw error;
    }
  }
}

/** One end of the range, given as letters or as base64url, or not at all. */
function bound<Name extends string>(
  name: Name,
  letters: string | undefined,
  text64: string | undefined,
): { [name in Name]?: Uint8Array } {
  if (letters === undefined && text64 === undefined) return {};
  if (letters !== undefined && text64 !== undefined) {
    throw invalidRequest(`Both ${name} and ${name}64 are given.`, "Give one of them.");
  }
  const bytes = letters === undefined ? fromBase64url(text64 ?? "") : bytesOfLetters(letters);
  if (bytes === undefined) {
    throw invalidRequest(`${name}64 is not base64url without padding.`, "Encode it again.");
  }
  if (bytes.length > keyBytesMax) throw keyTooLong(bytes.length);
  // An empty bound bounds nothing.
  if (bytes.length === 0) return {};
  return { [name]: bytes } as { [name in Name]?: Uint8Array };
}
