/**
 * Workload: clients that put, get, delete and list at all levels through all nodes, one request at a
 * time each, and a look now and then at what was acknowledged.
 *
 * Effects: requests, timers.
 *
 * @module
 */

import { setTimeout as sleep } from "node:timers/promises";
import type { Chance } from "../sim/chance.ts";
import type { Consistency } from "../src/api.ts";
import type { ChaosClients, ChaosKind } from "./client.ts";
import { type Chapter, heldBy, type Ledger, readableOf } from "./ledger.ts";

const clientsPerNode = 2;
const pauseMsMax = 60;
const retryMsMax = 200;
const timeoutMsMin = 300;
const timeoutMsMax = 4000;
const valueBytesMax = 2048;
const lookTimeoutMs = 1500;
const lookersMax = 4;

export interface WorkloadParts {
  readonly chance: Chance;
  readonly clients: ChaosClients;
  readonly ledger: Ledger;
  readonly nodes: number;
}

/** What one look has found: acknowledged writes by whether they are there. */
export interface Look {
  readonly asked: number;
  readonly readable: number;
  /** Of keys that no node answered for. */
  readonly unanswered: number;
}

export class Workload {
  readonly #parts: WorkloadParts;
  readonly #running: readonly Promise<void>[];
  #isOver = false;

  /** Begins at once. */
  constructor(parts: WorkloadParts) {
    this.#parts = parts;
    this.#running = Array.from({ length: parts.nodes * clientsPerNode }, (_, index) =>
      this.#client(`c${index + 1}`, parts.chance.fork()),
    );
  }

  /** Resolves when every client has its last answer. */
  async end(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#running);
  }

  /**
   * Reads what was acknowledged at quorum or all in the present chapter, at quorum, by the first node
   * that answers. What was acknowledged at one may be on its way for a while.
   */
  async look(): Promise<Look> {
    const { ledger } = this.#parts;
    const chapter = ledger.current;
    const waiting = [...chapter.acknowledged("strict")];
    const sum = { asked: 0, readable: 0, unanswered: 0 };
    const looker = async (client: string): Promise<void> => {
      for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
        const [key, versions] = next;
        sum.asked += versions.length;
        const held = await this.#lookAt(client, chapter, key);
        if (held === "unanswered") sum.unanswered += versions.length;
        else sum.readable += readableOf(versions, held);
      }
    };
    await Promise.all(Array.from({ length: lookersMax }, (_, index) => looker(`l${index + 1}`)));
    return sum;
  }

  async #lookAt(
    client: string,
    chapter: Chapter,
    key: string,
  ): Promise<string | undefined | "unanswered"> {
    const { clients, nodes, ledger } = this.#parts;
    for (let node = 0; node < nodes; node += 1) {
      const timeoutMs = lookTimeoutMs;
      const ask = { client, node, kind: "get", key, level: "quorum", timeoutMs } as const;
      const read = await clients.ask(ask, chapter);
      ledger.count(read);
      if (read.told.kind === "found" || read.told.kind === "absent") return heldBy(read);
    }
    return "unanswered";
  }

  async #client(client: string, chance: Chance): Promise<void> {
    const { clients, ledger, nodes } = this.#parts;
    let node = chance.below(nodes);
    while (!this.#isOver) {
      await sleep(chance.skewed(1, pauseMsMax));
      if (this.#isOver) return;
      if (chance.happens(0.3)) node = chance.below(nodes);
      const chapter = ledger.current;
      const kind = kindOf(chance);
      const operation = await clients.ask(
        {
          ...{ client, node, kind },
          key: kind === "list" ? chapter.prefix : chance.pick(chapter.keys),
          level: levelOf(chance),
          timeoutMs: Math.floor(chance.between(timeoutMsMin, timeoutMsMax)),
          valueBytes: chance.below(valueBytesMax),
        },
        chapter,
      );
      ledger.count(operation);
      if (operation.told.kind !== "nothing" && operation.told.kind !== "failed") continue;
      // Whoever gets no answer waits a little, and goes to another node.
      await sleep(chance.between(0, retryMsMax));
      node = chance.below(nodes);
    }
  }
}

function kindOf(chance: Chance): ChaosKind {
  const at = chance.fraction();
  if (at < 0.45) return "put";
  if (at < 0.55) return "delete";
  return at < 0.6 ? "list" : "get";
}

function levelOf(chance: Chance): Consistency {
  const at = chance.fraction();
  if (at < 0.2) return "one";
  return at < 0.35 ? "all" : "quorum";
}
