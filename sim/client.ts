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

import { guardMs } from "../src/hlc.ts";
import { majority } from "../src/level.ts";
import type { QuorateNode } from "../src/node.ts";
import type { Chance } from "./chance.ts";
import type { Operation, Told } from "./history.ts";
import type { Place } from "./place.ts";
import { type Ask, failure, request, requestAll } from "./request.ts";
import type { Scheduler } from "./scheduler.ts";
import { valueText } from "./value.ts";

export const simNamespace = "sim";

/** A key of a namespace. */
export interface SimKey {
  readonly namespace: string;
  readonly key: string;
}

/** How long an answer is on its way from a node to its client. */
const answerMsMax = 0.2;
/** An answer comes so long after its deadline at most. */
const lateMsMax = 50;
const noAnswer: Told = { kind: "nothing" };

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

  /** Puts, gets and deletes in one batch, through the place and at the level of the first; each has an answer of its own. */
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
    const begunMs = scheduler.nowMs;
    return new Promise((resolve) => {
      const { touched } = wall;
      let isOver = false;
      const over = (tolds: readonly Told[]): void => {
        if (isOver) return;
        isOver = true;
        forget();
        // Whoever stood still may have taken the request when it went on.
        const takenMs = Math.max(begunMs, life?.stalledUntilMs ?? 0);
        // The node counts the time by its own clock, which may be slow: a hundredth of ten seconds is much.
        const timeMs = deadlineOf(asks[0] as Ask) / (1 + wall.drift);
        const isLate = scheduler.nowMs > takenMs + timeMs + lateMsMax;
        for (const [index, operation] of operations.entries()) {
          if (isLate && tolds[index]?.kind !== "nothing") operation.isLate = true;
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
    const value = `v${number}`;
    const operation: Operation = {
      ...{ number, client, kind, key, level },
      durability: ask.durability ?? "fsync",
      ttlMs: ask.ttlSeconds === undefined ? undefined : ask.ttlSeconds * 1000,
      clocks: { leastMs: Number.NEGATIVE_INFINITY, mostMs: Number.POSITIVE_INFINITY },
      ...(kind === "put"
        ? { value, bytes: valueText(value, ask.valueBytes ?? 0).length }
        : { value: undefined }),
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
    place.noteAcknowledged();
    if (this.#namespaceOf(operation.key) === simNamespace) place.noteWritten(operation.key);
  }
}

/** Each page of a list has the time of a request. */
function deadlineOf({ kind, timeoutMs }: Ask): number {
  return kind === "list" ? Number.POSITIVE_INFINITY : timeoutMs;
}

function shortText({ number, kind, key, node, told }: Operation): string {
  const version = "version" in told ? told.version : "";
  const value = "value" in told ? told.value : "";
  const slug = told.kind === "failed" ? `${told.slug} ${told.outcome ?? ""}` : "";
  return `#${number} ${kind} ${key} ${node}: ${told.kind} ${value}${slug} ${version}`;
}
