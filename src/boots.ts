/**
 * Boots: which start of each node is the present one, so that a folder that was copied and started
 * twice is found out.
 *
 * A voter keeps the highest boot number of every node, with a random word for the start that brought
 * it. A node registers each start with a majority of the voters before it counts. Two copies of a
 * folder begin with the same boot number: the majority of the one meets the majority of the other in
 * a voter, and that voter refuses the second word.
 *
 *     n1 boot 7 "a3.."  -> v1 v2      registered at v1, v2
 *     n1 boot 7 "9c.."  -> v2 v3      v2: refused, boot 7 is another start's
 *
 * Invariants
 * 1. A number is durable at the voter before the voter answers `registered`.
 * 2. The number kept for a node never goes down; for one number there is one start.
 *
 * Effects: Disk. Source: rule I2.
 *
 * @module
 */

import { type Fields, isCount, isFields, isId, nonsense } from "./agreed.ts";
import type { Disk } from "./capability.ts";
import { QuorateError } from "./errors.ts";
import { Slots } from "./slots.ts";

const slotName = "boots";
const bootsFormat = 1;
/** More nodes than a cluster may have members: those that left are forgotten first. */
const bootsMax = 1000;

export interface Start {
  /** 32 hex digits. */
  readonly nodeId: string;
  readonly boot: number;
  /** 16 hex digits, drawn by the process: tells two starts of one number apart. */
  readonly word: string;
}

export type BootReply =
  | { readonly kind: "registered" }
  /** A later start, or another one of the same number, is registered. */
  | { readonly kind: "outdated"; readonly boot: number };

/** The boot numbers that this node remembers as a voter. */
export class Boots {
  readonly #slots: Slots;
  #starts: ReadonlyMap<string, Start>;
  #last: Promise<unknown> = Promise.resolve();

  private constructor(slots: Slots, starts: ReadonlyMap<string, Start>) {
    this.#slots = slots;
    this.#starts = starts;
  }

  /** @throws `wrong-data-folder`, `corruption` */
  static async open(disk: Disk): Promise<Boots> {
    const slots = await Slots.open(disk, slotName);
    if (slots.found === undefined) return new Boots(slots, new Map());
    const starts = parseKept(slots.found);
    await slots.settle();
    return new Boots(slots, new Map(starts.map((start) => [start.nodeId, start])));
  }

  /** The highest boot number of a node that is known here; 0: none. */
  heard(nodeId: string): number {
    return this.#starts.get(nodeId)?.boot ?? 0;
  }

  /** Registers a start. `isMember` tells which nodes may be forgotten when there is no room. */
  register(start: Start, isMember: (nodeId: string) => boolean): Promise<BootReply> {
    const turn = this.#last.then(() => this.#register(start, isMember));
    this.#last = turn.catch(() => {});
    return turn;
  }

  async #register(start: Start, isMember: (nodeId: string) => boolean): Promise<BootReply> {
    const known = this.#starts.get(start.nodeId);
    const isSame = known?.boot === start.boot && known.word === start.word;
    if (isSame) return { kind: "registered" };
    if (known !== undefined && known.boot >= start.boot) {
      return { kind: "outdated", boot: known.boot };
    }
    const starts = new Map(this.#starts).set(start.nodeId, start);
    for (const nodeId of starts.size > bootsMax ? starts.keys() : []) {
      if (nodeId !== start.nodeId && !isMember(nodeId)) starts.delete(nodeId);
    }
    if (starts.size > bootsMax) {
      throw new QuorateError("overloaded", `This node remembers the starts of ${bootsMax} nodes.`, {
        outcome: "none",
        hint: "Remove nodes that are gone for good from the cluster.",
      });
    }
    await this.#slots.write({ format: bootsFormat, starts: [...starts.values()] });
    this.#starts = starts;
    return { kind: "registered" };
  }
}

/** A registration as it came from a peer. @throws `invalid-request` */
export function parseStart(raw: unknown): Start {
  const start = isFields(raw) ? readStart(raw) : undefined;
  if (start === undefined) throw nonsense("a registration of its start");
  return start;
}

/** A voter's answer. @throws `invalid-request` */
export function parseBootReply(raw: unknown): BootReply {
  const reply = isFields(raw) ? raw : {};
  if (reply["kind"] === "registered") return { kind: "registered" };
  const boot = reply["boot"];
  if (reply["kind"] === "outdated" && isCount(boot)) return { kind: "outdated", boot };
  throw nonsense("an answer to a registration");
}

function readStart({ nodeId, boot, word }: Fields): Start | undefined {
  const isWord = typeof word === "string" && /^[0-9a-f]{16}$/.test(word);
  return isId(nodeId) && isCount(boot) && isWord ? { nodeId, boot, word } : undefined;
}

function parseKept(found: unknown): readonly Start[] {
  const raw = isFields(found) ? found : {};
  if (raw["format"] !== bootsFormat) {
    throw new QuorateError(
      "wrong-data-folder",
      `The boot numbers have format ${String(raw["format"])}, and this version of the program reads format ${bootsFormat}.`,
      { hint: "Use the version of Quorate that wrote it, or a newer one." },
    );
  }
  const list: readonly unknown[] = Array.isArray(raw["starts"]) ? raw["starts"] : [undefined];
  const starts = list.map((one) => (isFields(one) ? readStart(one) : undefined));
  const whole = starts.filter((start) => start !== undefined);
  if (whole.length === starts.length) return whole;
  throw new QuorateError("corruption", "The boot numbers of other nodes contradict themselves.", {
    hint: "Restore boots.a and boots.b from a copy; they were not changed.",
  });
}
