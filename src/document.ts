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

import { assert } from "./assert.ts";
import type { Disk } from "./capability.ts";
import { Slots } from "./slots.ts";
import type { Topology } from "./topology.ts";
import { parseTopology } from "./topology_parse.ts";
import { whyNotSuccessor } from "./topology_successor.ts";

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

  /** The document that is there; undefined in a folder that has none yet. */
  static async find(disk: Disk): Promise<Document | undefined> {
    const slots = await Slots.open(disk, slotName);
    if (slots.found === undefined) return undefined;
    const present = parseTopology(slots.found);
    await slots.settle();
    return new Document(slots, present);
  }

  /** Makes the first document of a folder durable. */
  static async create(disk: Disk, first: Topology): Promise<Document> {
    const slots = await Slots.open(disk, slotName);
    await slots.write(first);
    return new Document(slots, first);
  }

  /**
   * Makes a document that was chosen elsewhere the present one; false when it is not newer. Between
   * the two may lie others that this node never saw.
   */
  adopt(chosen: Topology): Promise<boolean> {
    const turn = this.#last.then(async () => {
      if (chosen.epoch <= this.#present.epoch) return false;
      assert(chosen.clusterId === this.#present.clusterId, "document: one cluster has it");
      await this.#slots.write(chosen);
      this.#present = chosen;
      return true;
    });
    this.#last = turn.catch(() => {});
    return turn;
  }

  get present(): Topology {
    return this.#present;
  }

  /** Takes a step from the then present document; `step` answers undefined when there is none. */
  change(step: (present: Topology) => Topology | undefined): Promise<Topology> {
    const turn = this.#last.then(async () => {
      const next = step(this.#present);
      if (next !== undefined) {
        const fault = whyNotSuccessor(this.#present, next);
        assert(fault === undefined, `document: a step leads to a successor (${fault})`);
        await this.#slots.write(next);
        this.#present = next;
      }
      return this.#present;
    });
    this.#last = turn.catch(() => {});
    return turn;
  }
}
