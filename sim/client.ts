/**
 * SimClient: sends requests to nodes of the simulated world, and writes down what becomes of them.
 *
 * Invariants
 * 1. Every operation is in the history from its beginning, so that one without an answer is there too.
 * 2. A value is written once: it tells which write a read has seen.
 *
 * Effects: none; requests reach the node in an event of its process.
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
  WriteAnswer,
} from "../src/api.ts";
import { utf8Bytes } from "../src/bytes.ts";
import { QuorateError } from "../src/errors.ts";
import { guardMs } from "../src/hlc.ts";
import { majority } from "../src/level.ts";
import type { QuorateNode } from "../src/node.ts";
import { versionText } from "../src/version.ts";
import type { Chance } from "./chance.ts";
import type { KeyRange, ListedKey, Operation, OperationKind, Told } from "./history.ts";
import type { Place } from "./place.ts";
import type { Scheduler } from "./scheduler.ts";

export const simNamespace = "sim";

/** A key of a namespace. */
export interface SimKey {
  readonly namespace: string;
  readonly key: string;
}

/** How long an answer is on its way from a node to its client. */
const answerMsMax = 0.2;
/** The most keys of a page, and the most pages of a list. */
const keysMax = 1000;
const pagesMax = 100;
const noAnswer: Told = { kind: "nothing" };

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

export interface ClientsWorld {
  /** How many replicas a key has. */
  readonly replicas: number;
  readonly places: readonly Place[];
  /** Whether replicas may move: then L1 promises less. */
  readonly isMoving: boolean;
  /** The namespace of a key. Default: `simNamespace`, of all of them. */
  readonly namespaceOf?: (key: string) => string;
}

export class Clients {
  readonly history: Operation[] = [];
  readonly #scheduler: Scheduler;
  readonly #chance: Chance;
  /** How many replicas a key has. */
  readonly #replicas: number;
  readonly #places: readonly Place[];
  readonly #isMoving: boolean;
  readonly #namespaceOf: (key: string) => string;

  constructor(scheduler: Scheduler, chance: Chance, world: ClientsWorld) {
    this.#isMoving = world.isMoving;
    this.#namespaceOf = world.namespaceOf ?? (() => simNamespace);
    this.#scheduler = scheduler;
    this.#chance = chance;
    this.#replicas = world.replicas;
    this.#places = world.places;
  }

  /** Whether no two clocks have ever been further apart than the guard. */
  get areClocksClose(): boolean {
    const all = this.#places.map(({ wall }) => wall.ahead());
    const most = Math.max(...all.map(({ mostMs }) => mostMs));
    return most - Math.min(...all.map(({ leastMs }) => leastMs)) <= guardMs;
  }

  /** The latest that any clock may ever have said. */
  get #latestMs(): number {
    const ahead = this.#places.map(({ wall }) => wall.ahead().mostMs);
    return this.#scheduler.nowMs + Math.max(...ahead);
  }

  /** Resolves when the client is answered, or its node is gone. */
  async ask(ask: Ask): Promise<Operation> {
    const [operation] = await this.#ask([ask], async (node, [only]) => [
      await request(node, only as Operation, { ...ask, namespace: this.#namespaceOf(ask.key) }),
    ]);
    return operation as Operation;
  }

  /** Several requests of one kind of place and level, in one batch; each has an answer of its own. */
  batch(asks: readonly Ask[]): Promise<readonly Operation[]> {
    const namespace = this.#namespaceOf(asks[0]?.key ?? "");
    return this.#ask(asks, (node, operations) => requestAll(node, operations, asks, namespace));
  }

  #ask(
    asks: readonly Ask[],
    run: (node: QuorateNode, operations: readonly Operation[]) => Promise<readonly Told[]>,
  ): Promise<readonly Operation[]> {
    const scheduler = this.#scheduler;
    const { place } = asks[0] as Ask;
    const operations = asks.map((ask) => this.#begin(ask));
    const { life, node, wall } = place;
    return new Promise((resolve) => {
      const { touched } = wall;
      let isOver = false;
      const over = (tolds: readonly Told[]): void => {
        if (isOver) return;
        isOver = true;
        forget();
        for (const [index, operation] of operations.entries()) {
          this.#end(place, operation, tolds[index] ?? noAnswer);
          // Of a clock that was set meanwhile, nothing is known.
          if (wall.touched !== touched) operation.clocks.leastMs = Number.NEGATIVE_INFINITY;
        }
        resolve(operations);
      };
      const all = (told: Told): readonly Told[] => operations.map(() => told);
      if (node === undefined) {
        // Nobody listens: certainly nothing was written.
        scheduler.after(1, () => over(all({ kind: "failed", slug: "not-ready", outcome: "none" })));
      }
      const forget = life?.onDeath(() => over(all(noAnswer))) ?? (() => {});
      if (node === undefined) return;
      // Answers of one moment reach their clients in an order that the seed decides, not the runtime.
      const wayMs = this.#chance.between(0, answerMsMax);
      const back = (tolds: readonly Told[]): void => {
        scheduler.after(wayMs, () => over(tolds));
      };
      const begin = (): void => {
        for (const { clocks } of operations) clocks.leastMs = wall.nowMs();
        run(node, operations).then(back, (error) => back(all(failure(error))));
      };
      scheduler.after(0, begin, life);
    });
  }

  #begin(ask: Ask): Operation {
    const { place, kind, key, level, client, range } = ask;
    const number = this.history.length + 1;
    const operation: Operation = {
      ...{ number, client, kind, key, level },
      durability: ask.durability ?? "fsync",
      ttlMs: ask.ttlSeconds === undefined ? undefined : ask.ttlSeconds * 1000,
      clocks: { leastMs: Number.NEGATIVE_INFINITY, mostMs: Number.POSITIVE_INFINITY },
      value: kind === "put" ? `v${number}` : undefined,
      needed: { one: 1, quorum: majority(this.#replicas), all: this.#replicas }[level],
      replicas: this.#replicas,
      ...(this.#isMoving ? { isMoving: true } : {}),
      ...(range === undefined ? {} : { range }),
      node: place.name,
      begun: this.#scheduler.tick(),
      ended: undefined,
      told: noAnswer,
    };
    this.history.push(operation);
    return operation;
  }

  #end(place: Place, operation: Operation, told: Told): void {
    const scheduler = this.#scheduler;
    operation.told = told;
    operation.clocks.mostMs = this.#latestMs;
    if (told.kind !== "nothing") operation.ended = scheduler.tick();
    scheduler.trace(shortText(operation));
    if (told.kind !== "written") return;
    place.hasAcknowledged();
    if (this.#namespaceOf(operation.key) === simNamespace) place.hasWritten(operation.key);
  }
}

async function request(
  node: QuorateNode,
  operation: Operation,
  ask: Ask & { readonly namespace: string },
): Promise<Told> {
  const { namespace, level, timeoutMs, kind, valueBytes = 0, ttlSeconds } = ask;
  const common = {
    namespace,
    requestId: `#${operation.number}`,
    consistency: level,
    timeoutMs,
  };
  const key = utf8Bytes(operation.key);
  const kept = ask.durability === undefined ? {} : { durability: ask.durability };
  switch (kind) {
    case "put": {
      const value = writtenValue(operation, valueBytes);
      const put = { ...common, ...kept, key, value, contentType: "text/plain", meta: [] };
      const living = ttlSeconds === undefined ? put : { ...put, ttlSeconds };
      return written(await node.put(living));
    }
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

/** Puts, gets and deletes, each with an answer of its own. */
async function requestAll(
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

function batched(operation: Operation, { valueBytes = 0, ttlSeconds }: Ask): BatchOperation {
  const key = utf8Bytes(operation.key);
  if (operation.kind !== "put") return { kind: operation.kind === "get" ? "get" : "delete", key };
  const value = writtenValue(operation, valueBytes);
  const put = { kind: "put", key, value, contentType: "text/plain", meta: [] } as const;
  return ttlSeconds === undefined ? put : { ...put, ttlSeconds };
}

function toldOf(result: BatchResult): Told {
  if (result.kind === "error") return failure(result.error);
  return result.kind === "get" ? seen(result.answer) : written(result.answer);
}

/** Which write it is, and then what makes it long. */
function writtenValue({ value }: Operation, bytes: number): Uint8Array {
  return utf8Bytes(`${value}|`.padEnd(bytes, "."));
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
    const text = new TextDecoder().decode(record.value);
    const end = text.indexOf("|");
    return {
      kind: "found",
      version: versionText(record.version),
      value: text.slice(0, Math.max(0, end)),
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

function expiry(expiresAtMs: number | undefined): { readonly expiresAtMs?: number } {
  return expiresAtMs === undefined ? {} : { expiresAtMs };
}

function failure(error: unknown): Told {
  const { slug, outcome } = QuorateError.from(error);
  return { kind: "failed", slug, outcome };
}

function shortText({ number, kind, key, node, told }: Operation): string {
  const version = "version" in told ? told.version : "";
  const value = "value" in told ? told.value : "";
  const slug = told.kind === "failed" ? `${told.slug} ${told.outcome ?? ""}` : "";
  return `#${number} ${kind} ${key} ${node}: ${told.kind} ${value}${slug} ${version}`;
}
