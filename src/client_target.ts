/**
 * Client target: the path and the query of a request.
 *
 * A key travels in the path where that is safe, so that a log or a cache shows what was asked for; where
 * a URL class, a proxy or a log would change it, it travels as `key64`, which nothing normalises.
 *
 *     users/1   /v1/kv/default/users/1
 *     a/../b    /v1/kv/default?key64=YS8uLi9i
 *
 * Invariants
 * 1. The key that arrives is the key that was given, byte for byte.
 *
 * Effects: none.
 *
 * @module
 */

import { toBase64url, utf8OrUndefined } from "./bytes.ts";
import { checkNamespace, type Key, type ListChoices } from "./client_options.ts";
import { bytesField } from "./client_shapes.ts";
import type { BytesName } from "./option_kinds.ts";

export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

/** Where a request goes: `/v1/<route>/<namespace><tail>`. */
export interface Target {
  readonly route: "kv" | "keys" | "count" | "batch";
  readonly tail?: string;
  readonly query?: Query;
}

/** What a URL class, a proxy or a server before the node might change or cut in a path. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not be in a path.
const unsafeInPath = /(?:^|\/)\.{1,2}(?:\/|$)|^\/|\/\/|\/$|[\0-\x1f\x7f\\]/;

/** The route of a key: in the path where nothing on the way would change it, else as key64. */
export function keyTarget(key: Uint8Array): Target {
  const text = utf8OrUndefined(key);
  if (text === undefined || text === "" || unsafeInPath.test(text)) {
    return { route: "kv", query: { key64: toBase64url(key) } };
  }
  return { route: "kv", tail: `/${text.split("/").map(encodeURIComponent).join("/")}` };
}

export function rangeQuery(name: BytesName, bound: Key | undefined): Query {
  if (bound === undefined || bound.length === 0) return {};
  return bytesField(name, bound);
}

export function listQuery(choices: ListChoices): Query {
  return {
    ...rangeQuery("prefix", choices.prefix),
    ...rangeQuery("start", choices.start),
    ...rangeQuery("end", choices.end),
    limit: choices.pageSize,
    cursor: choices.cursor,
    reverse: choices.reverse,
    values: choices.values,
  };
}

export function queryText(query: Query = {}): string {
  const parts: string[] = [];
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined) parts.push(`${name}=${encodeURIComponent(value)}`);
  }
  return parts.length === 0 ? "" : `?${parts.join("&")}`;
}

/** @throws `invalid-request` */
export function namespacePath(name: string): string {
  checkNamespace(name);
  return `/v1/namespaces/${encodeURIComponent(name)}`;
}
