/**
 * NodeAlone: what a node that is alone has to do by itself: it forgets deletes, and what has been over.
 *
 * It is the one replica of all that it has, so its rounds (`node_watermark_rounds`) agree with nobody, and
 * every watermark that its clock allows is reached. Writes are minted above it, as above all that the
 * node has: a clock that was set back would else write below a delete that is gone.
 *
 * Effects: Clock, Report; the store. Source: rules G3, G5.
 *
 * @module
 */

import { timeoutMsMax } from "./api.ts";
import type { Clock, Report } from "./capability.ts";
import { QuorateError } from "./errors.ts";
import type { Hlc } from "./hlc.ts";
import { WatermarkRounds } from "./node_watermark_rounds.ts";
import { NodeWatermarks } from "./node_watermarks.ts";
import { RepairPace } from "./repair_pace.ts";
import type { Store } from "./store.ts";
import type { Topology } from "./topology.ts";

export interface LoneParts {
  readonly clock: Clock;
  readonly report: Report;
  readonly store: Store;
  readonly topology: () => Topology;
  readonly self: { readonly nodeId: string; readonly storeId: string; readonly name: string };
}

const tickMs = 1000;
/** A round costs a walk over the partition. */
const periodMs = 3_600_000;
const bytesPerSecond = 16 * 1024 * 1024;

export class LoneWatermarks {
  readonly #clock: Clock;
  readonly #pace: RepairPace;
  readonly #rounds: WatermarkRounds;
  readonly #fences: NodeWatermarks;
  #cancel: () => void = () => {};
  #isClosed = false;

  constructor(parts: LoneParts) {
    const { clock, store } = parts;
    this.#clock = clock;
    this.#pace = new RepairPace(clock, bytesPerSecond);
    this.#fences = new NodeWatermarks(store);
    this.#rounds = new WatermarkRounds({
      ...parts,
      fences: this.#fences,
      counts: () => true,
      peers: { request: () => Promise.reject(new QuorateError("internal", "It is alone.")) },
      isUp: () => false,
      clearedAt: () => 0,
      compare: async () => true,
      spend: (bytes) => this.#pace.spend(bytes),
      limits: { periodMs, lagMs: timeoutMsMax },
    });
    this.#tickLater();
  }

  promiseOf(partition: number, n: number): Hlc {
    return this.#fences.of(partition, n).promise;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancel();
    this.#pace.end();
    await this.#rounds.close();
  }

  #tickLater(): void {
    this.#cancel = this.#clock.after(tickMs, () => {
      if (this.#isClosed) return;
      this.#rounds.tick();
      this.#tickLater();
    });
  }
}
