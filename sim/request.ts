/**
 * Request: what a client asks of a node, and what it is told.
 *
 *     ask -> the node's own call -> answer, or the error that it is refused with -> `Told`
 *
 * Effects: none; calls the node, in an event of its process.
 *
 * @module
 */

import type {
  BatchOperation,
  BatchResult,
  Consistency,
  Durability,
  GetAnswer,
  ListRequest,
  LiveRecord,
  WriteAnswer,
} from "../src/api.ts";
import { utf8Bytes } from "../src/bytes.ts";
import { QuorateError } from "../src/errors.ts";
import type { QuorateNode } from "../src/node.ts";
import { versionText } from "../src/version.ts";
import type { KeyRange, ListedKey, Operation, OperationKind, Told } from "./history.ts";
import type { Place } from "./place.ts";
import { nameOf, valueText, valueType } from "./value.ts";

/** The most keys of a page, and the most pages of a list. */
const keysMax = 1000;
const pagesMax = 100;

export interface Ask {
  readonly client: string;
  readonly place: Place;
  readonly kind: OperationKind;
  readonly key: string;
  readonly level: Consistency;
  readonly timeoutMs: number;
  /** Of a put: how long the value is at least. */
  readonly valueBytes?: number;
  /** Of a write; what is left out is `fsync`. */
  readonly durability?: Durability;
  /** Of a put: how long it lives, in seconds. */
  readonly ttlSeconds?: number;
  /** Of a list: what is left out is all keys. */
  readonly range?: KeyRange;
  /** Of a list: how many keys a page has. */
  readonly limit?: number;
}

/** One request by itself. */
export async function request(
  node: QuorateNode,
  operation: Operation,
  ask: Ask & { readonly namespace: string },
): Promise<Told> {
  const { namespace, level, timeoutMs, kind } = ask;
  const common = {
    namespace,
    requestId: `#${operation.number}`,
    consistency: level,
    timeoutMs,
  };
  const key = utf8Bytes(operation.key);
  const kept = ask.durability === undefined ? {} : { durability: ask.durability };
  switch (kind) {
    case "put":
      return written(await node.put({ ...common, ...kept, ...putOf(operation, ask) }));
    case "delete":
      return written(await node.delete({ ...common, ...kept, key }));
    case "get":
      return seen(await node.get({ ...common, key, explain: true }));
    case "count": {
      // With a prefix it is a walk, and exact.
      const { keys } = await node.count({ ...common, prefix: utf8Bytes("k") });
      return { kind: "counted", keys };
    }
    case "list":
      return listed(node, common, ask);
  }
}

type Common = Pick<ListRequest, "namespace" | "requestId" | "consistency" | "timeoutMs">;

/** Page after page, each with the time of a request. */
async function listed(
  node: QuorateNode,
  common: Common,
  { range, limit = keysMax }: Ask,
): Promise<Told> {
  const { start, end, isReverse = false } = range ?? {};
  const request = {
    ...common,
    ...{ limit, reverse: isReverse },
    ...(start === undefined ? {} : { start: utf8Bytes(start) }),
    ...(end === undefined ? {} : { end: utf8Bytes(end) }),
  };
  const items: ListedKey[] = [];
  let cursor: string | undefined;
  for (let pages = 0; pages < pagesMax; pages += 1) {
    const answer = await node.list({ ...request, ...(cursor === undefined ? {} : { cursor }) });
    for (const { key, version, expiresAtMs } of answer.items) {
      const named = { key: new TextDecoder().decode(key), version: versionText(version) };
      items.push({ ...named, ...expiry(expiresAtMs) });
    }
    cursor = answer.next;
    if (cursor === undefined) return { kind: "listed", items, isWhole: true };
  }
  return { kind: "listed", items, isWhole: false };
}

/** Puts, gets and deletes in one batch, each with an answer of its own. */
export async function requestAll(
  node: QuorateNode,
  operations: readonly Operation[],
  asks: readonly Ask[],
  namespace: string,
): Promise<readonly Told[]> {
  const { level, timeoutMs, durability } = asks[0] as Ask;
  const results = await node.batch({
    namespace,
    requestId: `#${operations[0]?.number}`,
    consistency: level,
    timeoutMs,
    explain: true,
    ...(durability === undefined ? {} : { durability }),
    operations: operations.map((operation, index) => batched(operation, asks[index] as Ask)),
  });
  return results.map((result) => toldOf(result));
}

function batched(operation: Operation, ask: Ask): BatchOperation {
  if (operation.kind === "put") return { kind: "put", ...putOf(operation, ask) };
  return { kind: operation.kind === "get" ? "get" : "delete", key: utf8Bytes(operation.key) };
}

function toldOf(result: BatchResult): Told {
  if (result.kind === "error") return failure(result.error);
  return result.kind === "get" ? seen(result.answer) : written(result.answer);
}

/** Its value tells which write it is, and is then as long as was asked. */
function putOf({ key, value }: Operation, { valueBytes = 0, ttlSeconds }: Ask) {
  return {
    key: utf8Bytes(key),
    value: utf8Bytes(valueText(value ?? "", valueBytes)),
    ...{ contentType: valueType, meta: [] },
    ...(ttlSeconds === undefined ? {} : { ttlSeconds }),
  };
}

function written({ version, expiresAtMs }: WriteAnswer): Told {
  return { kind: "written", version: versionText(version), ...expiry(expiresAtMs) };
}

/** What an explained answer tells of a replica. */
interface Explained {
  readonly version?: string;
  readonly ignored?: string;
}

function seen({ record, explain }: GetAnswer): Told {
  if (record !== undefined) {
    return {
      kind: "found",
      version: versionText(record.version),
      ...{ value: writtenIn(record), bytes: record.value.length },
      ...expiry(record.expiresAtMs),
    };
  }
  const { replicas } = explain as { replicas: readonly Explained[] };
  const named = replicas
    .filter(({ ignored }) => ignored === undefined)
    .map(({ version }) => version)
    .filter((version) => version !== undefined && version !== "nothing")
    .sort();
  return { kind: "absent", named: named.at(-1) };
}

function writtenIn({ value, contentType, meta }: LiveRecord): string {
  return nameOf(new TextDecoder().decode(value), [contentType, ...meta].join(" "));
}

function expiry(expiresAtMs: number | undefined): { readonly expiresAtMs?: number } {
  return expiresAtMs === undefined ? {} : { expiresAtMs };
}

/** What a client is told by an error. */
export function failure(error: unknown): Told {
  const { slug, outcome } = QuorateError.from(error);
  return { kind: "failed", slug, outcome };
}
