/**
 * Workload: clients that put, get, delete, list and count, alone or in batches, one request at a time
 * each, until they are told to stop.
 *
 * Effects: none; requests go through `Clients`.
 *
 * @module
 */

import type { Consistency } from "../src/api.ts";
import type { Chance } from "./chance.ts";
import type { Clients } from "./client.ts";
import type { Operation, OperationKind } from "./history.ts";
import type { WorkloadKnobs } from "./knobs.ts";
import type { Place } from "./place.ts";
import type { Ask } from "./request.ts";
import type { Scheduler } from "./scheduler.ts";

const retryMsMax = 200;
/** A client that reads back what it wrote does so so often, and pauses so long in between. */
const readBacksMax = 12;
const readBackMsMax = 40;
/** So many operations a batch has at most. */
const batchOperationsMax = 6;
/** How many of the lists are counts instead; how many begin, or end, at some key, and go backwards. */
const countShare = 0.2;
const startShare = 0.3;
const endShare = 0.2;
const reverseShare = 0.3;

/** What a client reads back, and how often it still will. */
interface ReadBack {
  readonly key: string;
  readonly left: number;
}
const noReadBack: ReadBack = { key: "", left: 0 };

export interface WorkloadParts {
  readonly scheduler: Scheduler;
  readonly chance: Chance;
  readonly knobs: WorkloadKnobs;
  readonly places: readonly Place[];
  readonly clients: Clients;
}

export class Workload {
  readonly #parts: WorkloadParts;
  #running: Promise<void>[] = [];
  #isOver = false;

  constructor(parts: WorkloadParts) {
    this.#parts = parts;
  }

  get keys(): readonly string[] {
    return Array.from({ length: this.#parts.knobs.keys }, (_, index) => `k${index}`);
  }

  begin(): void {
    const { knobs, chance } = this.#parts;
    this.#running = Array.from({ length: knobs.clients }, (_, index) =>
      this.#client(`c${index + 1}`, chance.fork()),
    );
  }

  /** One more client reads a key, or each of them, through one node, now. */
  readNow(place: Place, key?: string): void {
    const { clients, knobs } = this.#parts;
    if (this.#isOver) return;
    const timeoutMs = knobs.timeoutMsMin;
    for (const each of key === undefined ? this.keys : [key]) {
      const ask: Ask = {
        client: "reader",
        place,
        kind: "get",
        key: each,
        level: "quorum",
        timeoutMs,
      };
      const read = clients.ask(ask).then(() => {});
      this.#running.push(read);
    }
  }

  /** Resolves when every client has its last answer. */
  async end(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#running);
  }

  async #client(client: string, chance: Chance): Promise<void> {
    const { scheduler, knobs, places, clients } = this.#parts;
    let place = chance.pick(places);
    let back = noReadBack;
    while (!this.#isOver) {
      await scheduler.sleep(chance.skewed(1, back.left > 0 ? readBackMsMax : knobs.pauseMsMax));
      if (this.#isOver) return;
      if (back.left > 0 || chance.happens(0.3)) place = chance.pick(places);
      const { timeoutMsMin, timeoutMsMax, valueBytesMax } = knobs;
      const kind = back.left > 0 ? "get" : this.#kind(chance);
      const drawn = chance.happens(knobs.hotShare) ? "k0" : `k${chance.below(knobs.keys)}`;
      const ask: Ask = {
        ...{ client, place, kind },
        ...this.#keeping(chance, kind),
        ...this.#listing(chance, kind),
        key: back.left > 0 ? back.key : drawn,
        level: back.left > 0 ? "quorum" : this.#level(chance),
        timeoutMs: Math.floor(chance.between(timeoutMsMin, timeoutMsMax)),
        valueBytes: chance.below(valueBytesMax),
      };
      const isBatch = back.left <= 0 && chance.happens(knobs.batchShare);
      const told = isBatch ? await this.#batch(chance, ask) : await clients.ask(ask);
      back = { ...back, left: back.left - 1 };
      if (told.told.kind === "written" && chance.happens(knobs.readBackShare)) {
        back = { key: told.key, left: chance.whole(1, readBacksMax) };
      }
      if (told.told.kind !== "nothing" && told.told.kind !== "failed") continue;
      // Whoever gets no answer waits a little, and goes to another node.
      await scheduler.sleep(chance.between(0, retryMsMax));
      place = chance.pick(places);
    }
  }

  /** Some operations in one batch, with the place, level and durability of one; answers the first of them. */
  async #batch(chance: Chance, ask: Ask): Promise<Operation> {
    const { clients, knobs } = this.#parts;
    const { client, place, level, timeoutMs, durability } = ask;
    const shared = { client, place, level, timeoutMs, ...(durability && { durability }) };
    const asks = Array.from({ length: chance.whole(1, batchOperationsMax) }, (): Ask => {
      const kind = this.#kind(chance);
      const { ttlSeconds } = this.#keeping(chance, kind);
      return {
        ...shared,
        kind: kind === "list" || kind === "count" ? "get" : kind,
        key: `k${chance.below(knobs.keys)}`,
        valueBytes: chance.below(knobs.valueBytesMax),
        ...(ttlSeconds === undefined ? {} : { ttlSeconds }),
      };
    });
    const [operation] = await clients.batch(asks);
    return operation as Operation;
  }

  #kind(chance: Chance): OperationKind {
    const { putShare, deleteShare, listShare } = this.#parts.knobs;
    const at = chance.fraction();
    if (at < putShare) return "put";
    if (at < putShare + deleteShare) return "delete";
    if (at < putShare + deleteShare + listShare) {
      return chance.happens(1 - countShare) ? "list" : "count";
    }
    return "get";
  }

  /** Some lists are of a part of the keys, and some go backwards. */
  #listing(chance: Chance, kind: OperationKind): Pick<Ask, "range" | "limit"> {
    if (kind !== "list") return {};
    const { keys, pageKeys } = this.#parts.knobs;
    const start = chance.happens(startShare) ? `k${chance.below(keys)}` : undefined;
    const end = chance.happens(endShare) ? `k${chance.below(keys)}` : undefined;
    const isOrdered = start === undefined || end === undefined || start < end;
    const range = {
      ...(start === undefined ? {} : { start }),
      ...(end === undefined || !isOrdered ? {} : { end }),
      isReverse: chance.happens(reverseShare),
    };
    return { range, limit: pageKeys };
  }

  /** How long a write is to live, and how durable it is when it is answered. */
  #keeping(chance: Chance, kind: OperationKind): Pick<Ask, "durability" | "ttlSeconds"> {
    const { memoryShare, ttlShare, ttlSeconds } = this.#parts.knobs;
    if (kind !== "put" && kind !== "delete") return {};
    const isInMemory = memoryShare > 0 && chance.happens(memoryShare);
    const isMortal = kind === "put" && ttlShare > 0 && chance.happens(ttlShare);
    return {
      ...(isInMemory ? { durability: "memory" } : {}),
      ...(isMortal ? { ttlSeconds: chance.pick(ttlSeconds) } : {}),
    };
  }

  #level(chance: Chance): Consistency {
    const { weakShare, allShare } = this.#parts.knobs;
    const at = chance.fraction();
    if (at < weakShare) return "one";
    return at < weakShare + allShare ? "all" : "quorum";
  }
}
