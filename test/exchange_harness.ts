/**
 * An exchange in memory between nodes: questions and answers take time, are lost, held while a node
 * stands still, and cut where the test says so. Everything goes through JSON, as on the wire.
 *
 * @module
 */

import type { SimClock } from "../sim/clock.ts";
import type { SimRandom } from "../sim/random.ts";
import type { Clock } from "../src/capability.ts";
import { QuorateError } from "../src/errors.ts";

export type Handler = (topic: string, body: unknown) => Promise<unknown>;

export function idOf(number: number): string {
  return number.toString(16).padStart(32, "0");
}

export class TestExchange {
  readonly clock: SimClock;
  readonly #random: SimRandom;
  readonly #handlers = new Map<string, Handler>();
  readonly #cuts = new Set<string>();
  /** Nodes that stand still, and what waits for them. */
  readonly #held = new Map<string, (() => void)[]>();
  /** Of a hundred messages, so many are lost. */
  lossPercent = 0;
  delayMsMax = 5;
  readonly sent: {
    readonly from: string;
    readonly to: string;
    readonly topic: string;
    readonly body: unknown;
  }[] = [];

  constructor(clock: SimClock, random: SimRandom) {
    this.clock = clock;
    this.#random = random;
  }

  attach(nodeId: string, handler: Handler | undefined): void {
    if (handler === undefined) this.#handlers.delete(nodeId);
    else this.#handlers.set(nodeId, handler);
  }

  /** What `from` sends no longer reaches `to`. */
  cutOneWay(from: string, to: string): void {
    this.#cuts.add(`${from}>${to}`);
  }

  cut(a: string, b: string): void {
    this.cutOneWay(a, b);
    this.cutOneWay(b, a);
  }

  heal(): void {
    this.#cuts.clear();
    this.lossPercent = 0;
  }

  /** The event loop of a node stands still: nothing reaches it, and its timers do not run. */
  hold(nodeId: string): void {
    this.#held.set(nodeId, []);
  }

  release(nodeId: string): void {
    const waiting = this.#held.get(nodeId) ?? [];
    this.#held.delete(nodeId);
    for (const run of waiting) run();
  }

  clockOf(nodeId: string): Clock {
    const { clock } = this;
    return {
      nowMs: () => clock.nowMs(),
      monotonicMs: () => clock.monotonicMs(),
      after: (delayMs, run) => {
        let isCancelled = false;
        const guarded = (): void => {
          if (!isCancelled) run();
        };
        const cancel = clock.after(delayMs, () => this.#run(nodeId, guarded));
        return () => {
          isCancelled = true;
          cancel();
        };
      },
      soon: (run) => clock.soon(run),
    };
  }

  ask(from: string, to: string, topic: string, body: unknown): Promise<unknown> {
    this.sent.push({ from, to, topic, body });
    return new Promise((resolve, reject) => {
      this.#carry(from, to, async () => {
        const handler = this.#handlers.get(to);
        if (handler === undefined) {
          reject(new QuorateError("not-ready", `There is no link to ${to}.`, { outcome: "none" }));
          return;
        }
        try {
          const answer = throughJson(await handler(topic, throughJson(body)));
          this.#carry(to, from, () => resolve(answer));
        } catch (error) {
          this.#carry(to, from, () => reject(error));
        }
      });
    });
  }

  #carry(from: string, to: string, arrive: () => void): void {
    if (this.#random.below(100) < this.lossPercent) return;
    this.clock.after(this.#random.below(this.delayMsMax + 1), () => {
      if (!this.#cuts.has(`${from}>${to}`)) this.#run(to, arrive);
    });
  }

  #run(nodeId: string, run: () => void): void {
    const waiting = this.#held.get(nodeId);
    if (waiting === undefined) run();
    else waiting.push(run);
  }
}

function throughJson(value: unknown): unknown {
  return value === undefined ? undefined : JSON.parse(JSON.stringify(value));
}

/** Passes time until a promise is settled; a promise that never is fails the test. */
export async function settled<Value>(
  clock: SimClock,
  promise: Promise<Value>,
  mostMs = 60_000,
): Promise<Value> {
  let isOver = false;
  const over = promise.finally(() => {
    isOver = true;
  });
  over.catch(() => {});
  for (let passedMs = 0; passedMs < mostMs; passedMs += 10) {
    await clock.advance(10);
    for (let turn = 0; turn < 200; turn += 1) await undefined;
    if (isOver) return over;
  }
  throw new Error(`Nothing came of it in ${mostMs} ms of virtual time.`);
}
