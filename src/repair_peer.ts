/**
 * RepairPeer: asks another replica for what is compared or copied, patiently and not too much at once.
 *
 * A comparison asks for many records at a time, and the other node takes on only so many requests
 * beside its clients'. What it refuses for that reason is asked again a little later; else a node with
 * a small budget could never be copied from.
 *
 * Invariants
 * 1. At most `requestsMax` are under way.
 * 2. Where `mustCount` asks for it, an answer of a node that cannot know what it should hold is not
 *    believed (R4).
 *
 * Effects: Clock, and the peers. Source: rules T5, R4.
 *
 * @module
 */

import type { Clock } from "./capability.ts";
import { QuorateError } from "./errors.ts";
import type { Peers } from "./peers.ts";

const requestsMax = 8;
const triesMax = 40;
const pauseMs = 25;

/** Asks a node. */
export type Ask = Pick<Peers, "request">["request"];

export class RepairPeer {
  readonly #clock: Clock;
  readonly #peers: Pick<Peers, "request">;
  readonly #mustCount: boolean;
  #underWay = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(
    clock: Clock,
    peers: Pick<Peers, "request">,
    { mustCount }: { readonly mustCount: boolean },
  ) {
    this.#clock = clock;
    this.#peers = peers;
    this.#mustCount = mustCount;
  }

  readonly request: Ask = async (nodeId, request, timeoutMs) => {
    while (this.#underWay >= requestsMax) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    this.#underWay += 1;
    try {
      for (let tries = 1; ; tries += 1) {
        const reply = await this.#peers.request(nodeId, request, timeoutMs);
        const isBusy = reply.kind === "refused" && reply.reason === "overloaded";
        if (isBusy && tries < triesMax) {
          await new Promise<void>((resolve) => void this.#clock.after(pauseMs, resolve));
          continue;
        }
        if (!this.#mustCount || reply.from.counts || request.kind === "write") return reply;
        throw new QuorateError(
          "not-ready",
          "The other replica does not know what it should hold.",
          {},
        );
      }
    } finally {
      this.#underWay -= 1;
      this.#waiting.shift()?.();
    }
  };
}
