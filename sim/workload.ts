/**
 * Workload: clients that put, get, delete and list, one request at a time each, until they are told
 * to stop.
 *
 * Effects: none; requests go through `Clients`.
 *
 * @module
 */

import type { Consistency } from "../src/api.ts";
import type { Chance } from "./chance.ts";
import type { Ask, Clients } from "./client.ts";
import type { OperationKind } from "./history.ts";
import type { WorkloadKnobs } from "./knobs.ts";
import type { Place } from "./place.ts";
import type { Scheduler } from "./scheduler.ts";

const retryMsMax = 200;

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

  /** Resolves when every client has its last answer. */
  async end(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#running);
  }

  async #client(client: string, chance: Chance): Promise<void> {
    const { scheduler, knobs, places, clients } = this.#parts;
    let place = chance.pick(places);
    while (!this.#isOver) {
      await scheduler.sleep(chance.skewed(1, knobs.pauseMsMax));
      if (this.#isOver) return;
      if (chance.happens(0.3)) place = chance.pick(places);
      const { timeoutMsMin, timeoutMsMax, valueBytesMax } = knobs;
      const kind = this.#kind(chance);
      const told = await clients.ask({
        client,
        place,
        kind,
        ...this.#keeping(chance, kind),
        key: chance.happens(knobs.hotShare) ? "k0" : `k${chance.below(knobs.keys)}`,
        level: this.#level(chance),
        timeoutMs: Math.floor(chance.between(timeoutMsMin, timeoutMsMax)),
        valueBytes: chance.below(valueBytesMax),
      });
      if (told.told.kind !== "nothing" && told.told.kind !== "failed") continue;
      // Whoever gets no answer waits a little, and goes to another node.
      await scheduler.sleep(chance.between(0, retryMsMax));
      place = chance.pick(places);
    }
  }

  #kind(chance: Chance): OperationKind {
    const { putShare, deleteShare, listShare } = this.#parts.knobs;
    const at = chance.fraction();
    if (at < putShare) return "put";
    if (at < putShare + deleteShare) return "delete";
    if (at < putShare + deleteShare + listShare) return "list";
    return "get";
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
