/**
 * Node seal: the epoch under which a node takes no write any more, because another one joins.
 *
 * Who admits a node has every member seal the present epoch. From then on no write begins under it,
 * and the seal is told when those that had begun are over: what the store then says of itself stands
 * until the next epoch, which ends the seal. One that no next epoch follows is given up after a while.
 *
 *     write, write    seal e -> durable -> refused from here on -> both over -> told
 *
 * Invariants
 * 1. A sealed epoch takes no write, also after a restart.
 * 2. `seal` resolves when every write that was counted before is over, for all who asked.
 * 3. The sealed epoch only grows, and one is written at a time, however many ask.
 *
 * Effects: Clock, Disk. Source: rule T7.
 *
 * @module
 */

import type { Clock, Disk } from "./capability.ts";
import { QuorateError } from "./errors.ts";
import { Slots } from "./slots.ts";

/** A seal that no next epoch followed is given up. */
const sealMsMax = 15_000;
const sealSlot = "sealed";

interface SealParts {
  readonly clock: Clock;
  readonly disk: Disk;
  /** No next epoch may have followed: the one that was sealed has to be ended. */
  readonly giveUp: (epoch: number) => void;
}

/** The seal of one node. */
export class EpochSeal {
  readonly #parts: SealParts;
  readonly #slots: Slots;
  #sealedEpoch: number;
  #writing: Promise<void> = Promise.resolve();
  #writesUnderWay = 0;
  #whenIdle: (() => void)[] = [];

  private constructor(parts: SealParts, slots: Slots, sealedEpoch: number) {
    this.#parts = parts;
    this.#slots = slots;
    this.#sealedEpoch = sealedEpoch;
  }

  /** Reads what was sealed before. @throws `corruption` */
  static async open(parts: SealParts): Promise<EpochSeal> {
    const slots = await Slots.open(parts.disk, sealSlot);
    if (slots.found !== undefined) await slots.settle();
    const epoch = (slots.found as { epoch?: unknown } | undefined)?.epoch;
    return new EpochSeal(parts, slots, typeof epoch === "number" ? epoch : 0);
  }

  isSealed(epoch: number): boolean {
    return epoch <= this.#sealedEpoch;
  }

  /** Runs a write under the present epoch, counted so that a seal waits for it. @throws `not-ready` */
  async counted<Value>(presentEpoch: number, run: () => Promise<Value>): Promise<Value> {
    if (this.isSealed(presentEpoch)) throw joining();
    this.#writesUnderWay += 1;
    try {
      return await run();
    } finally {
      this.#writesUnderWay -= 1;
      if (this.#writesUnderWay === 0) this.#tellIdle();
    }
  }

  /** No write under this epoch any more, durably; then those under way come to their end. */
  async seal(epoch: number): Promise<void> {
    // Two nodes may be admitting at once: the slots have one writer at a time.
    this.#writing = this.#writing.catch(() => {}).then(() => this.#keep(epoch));
    await this.#writing;
    while (this.#writesUnderWay > 0) {
      await new Promise<void>((resolve) => this.#whenIdle.push(resolve));
    }
  }

  async #keep(epoch: number): Promise<void> {
    if (this.isSealed(epoch)) return;
    await this.#slots.write({ epoch });
    this.#sealedEpoch = epoch;
    this.#parts.clock.after(sealMsMax, () => this.#parts.giveUp(epoch));
  }

  #tellIdle(): void {
    const waiting = this.#whenIdle;
    this.#whenIdle = [];
    for (const resolve of waiting) resolve();
  }
}

function joining(): QuorateError {
  return new QuorateError("not-ready", "A node is joining the cluster; writes wait for it.", {
    outcome: "none",
    retryAfterSeconds: 1,
    hint: "Send it again in a moment.",
  });
}
