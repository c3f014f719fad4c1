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

import type { Consistency, Durability, GetAnswer } from "../src/api.ts";
import { utf8Bytes } from "../src/bytes.ts";
import { QuorateError } from "../src/errors.ts";
import { guardMs } from "../src/hlc.ts";
import { majority } from "../src/level.ts";
import type { QuorateNode } from "../src/node.ts";
import { versionText } from "../src/version.ts";
import type { Chance } from "./chance.ts";
import type { Operation, OperationKind, Told } from "./history.ts";
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
  ask(ask: Ask): Promise<Operation> {
    const scheduler = this.#scheduler;
    const { place, kind, key, level, client } = ask;
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
      node: place.name,
      begun: scheduler.tick(),
      ended: undefined,
      told: { kind: "nothing" },
    };
    this.history.push(operation);
    const { life, node, wall } = place;
    const { clocks } = operation;
    const namespace = this.#namespaceOf(key);
    return new Promise((resolve) => {
      const { touched } = wall;
      let isOver = false;
      const over = (told: Told): void => {
        if (isOver) return;
        isOver = true;
        forget();
        operation.told = told;
        clocks.mostMs = this.#latestMs;
        // Of one that was set meanwhile, nothing is known.
        if (wall.touched !== touched) clocks.leastMs = Number.NEGATIVE_INFINITY;
        if (told.kind !== "nothing") operation.ended = scheduler.tick();
        scheduler.trace(shortText(operation));
        if (told.kind === "written") {
          place.hasAcknowledged();
          if (namespace === simNamespace) place.hasWritten(key);
        }
        resolve(operation);
      };
      if (node === undefined) {
        // Nobody listens: certainly nothing was written.
        scheduler.after(1, () => over({ kind: "failed", slug: "not-ready", outcome: "none" }));
      }
      const forget = life?.onDeath(() => over({ kind: "nothing" })) ?? (() => {});
      if (node === undefined) return;
      // Answers of one moment reach their clients in an order that the seed decides, not the runtime.
      const wayMs = this.#chance.between(0, answerMsMax);
      const back = (told: Told): void => {
        scheduler.after(wayMs, () => over(told));
      };
      const begin = (): void => {
        clocks.leastMs = wall.nowMs();
        request(node, operation, { ...ask, namespace }).then(back, (error) => back(failure(error)));
      };
      scheduler.after(0, begin, life);
    });
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
      const text = `${operation.value}|`;
      const value = utf8Bytes(text.padEnd(valueBytes, "."));
      const put = { ...common, ...kept, key, value, contentType: "text/plain", meta: [] };
      const living = ttlSeconds === undefined ? put : { ...put, ttlSeconds };
      const { version, expiresAtMs } = await node.put(living);
      return { kind: "written", version: versionText(version), ...expiry(expiresAtMs) };
    }
    case "delete": {
      const { version } = await node.delete({ ...common, ...kept, key });
      return { kind: "written", version: versionText(version) };
    }
    case "get":
      return seen(await node.get({ ...common, key, explain: true }));
    case "list": {
      const answer = await node.list({ ...common, limit: 1000 });
      const items = answer.items.map((item) => ({
        key: new TextDecoder().decode(item.key),
        version: versionText(item.version),
        ...expiry(item.expiresAtMs),
      }));
      return { kind: "listed", items, isWhole: answer.next === undefined };
    }
  }
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
