/**
 * Node seal: the epoch under which a node takes no write any more, because another one joins.
 *
 * Who admits a node has every member seal the present epoch. From then on no write begins under it,
 * and the seal is told when those that had begun are over: what the store then says of itself stands
 * until the next epoch, which ends the seal. One that no next epoch follows is given up after a while, and
 * again until one does: who sealed it may be gone, or no majority be there to agree on the next one.
 *
 *     write, write    seal e -> durable -> refused from here on -> both over -> told
 *
 * Invariants
 * 1. A sealed epoch takes no write, also after a restart.
 * 2. `seal` resolves when every write that began under that epoch, or an earlier one, is over, for all who asked.
 * 3. The sealed epoch only grows, and one is written at a time, however many ask.
 * 4. A sealed epoch that is the present one is going to be given up, also after a restart.
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
  /** Whether no next epoch has followed yet. */
  readonly isPresent: (epoch: number) => boolean;
  /** The epoch that was sealed has to be ended. */
  readonly giveUp: (epoch: number) => void;
}

/** The writes under way that began under one epoch. */
interface EpochWrites {
  readonly epoch: number;
  count: number;
}

/** The seal of one node. */
export class EpochSeal {
  readonly #parts: SealParts;
  readonly #slots: Slots;
  #sealedEpoch: number;
  #writing: Promise<void> = Promise.resolve();
  /** Of each epoch under which writes are under way, and of the last one. */
  readonly #underWay: EpochWrites[] = [];
  #tellOver: (() => void)[] = [];
  #cancel: () => void = () => {};
  #isClosed = false;

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
    const seal = new EpochSeal(parts, slots, typeof epoch === "number" ? epoch : 0);
    // Who admits the node, and every other member, may have been started again as well.
    seal.#giveUpLater();
    return seal;
  }

  close(): void {
    this.#isClosed = true;
    this.#cancel();
  }

  isSealed(epoch: number): boolean {
    return epoch <= this.#sealedEpoch;
  }

  /** Runs a write under the present epoch, counted so that a seal waits for it. @throws `not-ready` */
  async counted<Value>(presentEpoch: number, run: () => Promise<Value>): Promise<Value> {
    if (this.isSealed(presentEpoch)) throw joining();
    const writes = this.#writesOf(presentEpoch);
    writes.count += 1;
    try {
      return await run();
    } finally {
      writes.count -= 1;
      if (writes.count === 0 && this.#tellOver.length > 0) {
        for (const tell of this.#tellOver.splice(0)) tell();
      }
    }
  }

  #writesOf(epoch: number): EpochWrites {
    const last = this.#underWay.at(-1);
    if (last?.epoch === epoch) return last;
    const writes = { epoch, count: 0 };
    const open = this.#underWay.filter(({ count }) => count > 0);
    this.#underWay.splice(0, this.#underWay.length, ...open, writes);
    return writes;
  }

  /** Whether writes are under way that began under this epoch or an earlier one. */
  #hasWrites(upTo: number): boolean {
    return this.#underWay.some(({ epoch, count }) => epoch <= upTo && count > 0);
  }

  /** No write under this epoch any more, durably; then those under way come to their end. */
  async seal(epoch: number): Promise<void> {
    // Two nodes may be admitting at once: the slots have one writer at a time.
    this.#writing = this.#writing.catch(() => {}).then(() => this.#keep(epoch));
    await this.#writing;
    // Of a later epoch, which may come meanwhile, there may always be some.
    while (this.#hasWrites(epoch)) {
      await new Promise<void>((resolve) => {
        this.#tellOver.push(resolve);
      });
    }
  }

  async #keep(epoch: number): Promise<void> {
    if (this.isSealed(epoch)) return;
    await this.#slots.write({ epoch });
    this.#sealedEpoch = epoch;
    this.#giveUpLater();
  }

  #giveUpLater(): void {
    const { clock, isPresent, giveUp } = this.#parts;
    const epoch = this.#sealedEpoch;
    this.#cancel();
    if (this.#isClosed || !isPresent(epoch)) return;
    this.#cancel = clock.after(sealMsMax, () => {
      if (!isPresent(epoch)) return;
      giveUp(epoch);
      this.#giveUpLater();
    });
  }
}

function joining(): QuorateError {
  return new QuorateError("not-ready", "A node is joining the cluster; writes wait for it.", {
    outcome: "none",
    retryAfterSeconds: 1,
    hint: "Send it again in a moment.",
  });
}
