/**
 * Document: the present topology of this node, durable before anyone acts on it.
 *
 * Changes run one after another. In a cluster of one the node itself decides on the next document;
 * it is on the disk, twice, before it becomes the present one.
 *
 * Invariants
 * 1. `present` is durable, and its epoch never goes back.
 * 2. A change that fails leaves `present` as it was.
 *
 * Effects: Disk. Source: rules T2 (durable before known), T10.
 *
 * @module
 */

import type { Disk } from "./capability.ts";
import { Slots } from "./slots.ts";
import { parseTopology, type Topology } from "./topology.ts";

const slotName = "topology";

/** The keeper of the topology. */
export class Document {
  readonly #slots: Slots;
  #present: Topology;
  #last: Promise<unknown> = Promise.resolve();

  private constructor(slots: Slots, present: Topology) {
    this.#slots = slots;
    this.#present = present;
  }

  /** Reads the document, or makes the first one with `genesis`. */
  static async open(disk: Disk, genesis: () => Topology): Promise<Document> {
    const slots = await Slots.open(disk, slotName);
    if (slots.found !== undefined) {
      const present = parseTopology(slots.found);
      await slots.settle();
      return new Document(slots, present);
    }
    const first = genesis();
    await slots.write(first);
    return new Document(slots, first);
  }

  get present(): Topology {
    return this.#present;
  }

  /** Takes a step from the then present document; `step` answers undefined when there is none. */
  change(step: (present: Topology) => Topology | undefined): Promise<Topology> {
    const turn = this.#last.then(async () => {
      const next = step(this.#present);
      if (next !== undefined) {
        await this.#slots.write(next);
        this.#present = next;
      }
      return this.#present;
    });
    this.#last = turn.catch(() => {});
    return turn;
  }
}
