/**
 * Final: what every node is asked in the end, when nothing goes wrong any more.
 *
 * In a world that is well each node takes a write, and gives every key: through one node from all its
 * replicas, through the others from a quorum. What is refused is asked again, as long as a link that was away
 * may take; then that is a finding.
 *
 * Effects: none; requests go through `Clients`.
 *
 * @module
 */

import type { Clients } from "./client.ts";
import type { Operation } from "./history.ts";
import type { Place } from "./place.ts";
import type { Ask } from "./request.ts";
import type { Scheduler } from "./scheduler.ts";

export interface FinalAsksParts {
  readonly scheduler: Scheduler;
  /** Those that are asked: they serve, and hold all that they should. */
  readonly whole: () => readonly Place[];
  /** Whether these are all members, so that all replicas can be asked for. */
  readonly isWhole: () => boolean;
  readonly onFinding: (detail: string) => void;
}

const timeoutMs = 5000;
const againMs = 1000;
/** A link that was long away is tried again after 7.5 s at most. */
const triesMax = 12;

export class FinalAsks {
  readonly #parts: FinalAsksParts;

  constructor(parts: FinalAsksParts) {
    this.#parts = parts;
  }

  /** Through every node. */
  async write(clients: Clients, key: string): Promise<void> {
    for (const place of this.#parts.whole()) {
      await this.#ask(clients, { place, key, level: "quorum", kind: "put" });
    }
  }

  /** Every key through every node; answers what all replicas were asked for. */
  async read(clients: Clients, keys: readonly string[]): Promise<readonly Operation[]> {
    const { whole, isWhole } = this.#parts;
    const finals: Operation[] = [];
    for (const key of keys) {
      for (const [index, place] of whole().entries()) {
        const level = index === 0 && isWhole() ? "all" : "quorum";
        const read = await this.#ask(clients, { place, key, level, kind: "get" });
        if (read !== undefined && level === "all") finals.push(read);
      }
    }
    return finals;
  }

  /** Undefined: it never came to an answer. */
  async #ask(
    clients: Clients,
    of: Pick<Ask, "place" | "key" | "level" | "kind">,
  ): Promise<Operation | undefined> {
    const { scheduler, onFinding } = this.#parts;
    let last: Operation | undefined;
    for (let tried = 0; tried < triesMax; tried += 1) {
      last = await clients.ask({ ...of, client: "final", timeoutMs });
      if (last.told.kind !== "failed" && last.told.kind !== "nothing") return last;
      await scheduler.sleep(againMs);
    }
    const { kind, key, level, place } = of;
    const told = JSON.stringify(last?.told);
    onFinding(`no ${kind} of '${key}' at ${level} through ${place.name}: ${told}`);
    return undefined;
  }
}
