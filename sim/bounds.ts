/**
 * Bounds: whether what a node holds stays below what it says it may hold.
 *
 * Links, hints, budgets and the memtable are looked at between events (`simulate`), so that a burst is seen
 * too, and not only what is left of it. A message or a change is taken where there is room, however little:
 * so one may be beyond the bound, and no more than one.
 *
 * Effects: none. Source: docs/simulator.md, "What is checked".
 *
 * @module
 */

import type { Queue } from "../src/node.ts";
import type { Place } from "./place.ts";
import type { Violation } from "./violation.ts";

/** What is beside the value in a change: key, metadata, version. In a message: or a whole document. */
const besideBytes = 1024;
const documentBytes = 8 * 1024;
const namespaceBytes = 160;

/** What makes one message or change large. */
export interface Sizes {
  readonly valueBytesMax: number;
  /** How many namespaces a document has at most. */
  readonly namespaces: () => number;
}

/** Those that hold more than they may. */
export function overBounds(queues: readonly Queue[], sizes: Sizes): readonly Queue[] {
  // Few hold more than their bound at all: only of those the slack is worked out, which asks nodes.
  return queues
    .filter(({ held, max }) => held > max)
    .filter((queue) => queue.held > queue.max + slackOf(queue, sizes));
}

/** Hints and budgets are counted before they are taken; the others have taken one when they are full. */
function slackOf({ name }: Queue, { valueBytesMax, namespaces }: Sizes): number {
  if (name === "memtable") return valueBytesMax + besideBytes;
  if (!name.startsWith("link ")) return 0;
  return Math.max(valueBytesMax, documentBytes + namespaces() * namespaceBytes) + besideBytes;
}

export class Bounds {
  readonly #places: readonly Place[];
  readonly #valueBytesMax: number;
  /** The highest that was seen of each kind, as a share of what it may be. */
  readonly highest = new Map<string, number>();

  constructor(places: readonly Place[], valueBytesMax: number) {
    this.#places = places;
    this.#valueBytesMax = valueBytesMax;
  }

  /** What is over its bound at this moment. */
  look(): readonly Violation[] {
    const found: Violation[] = [];
    const namespaces = (): number => {
      const ready = this.#places.filter(({ isReady }) => isReady);
      return Math.max(0, ...ready.map(({ node }) => node?.namespaces().length ?? 0));
    };
    const sizes = { valueBytesMax: this.#valueBytesMax, namespaces };
    for (const { name: node, node: running } of this.#places) {
      if (running === undefined) continue;
      const queues = running.queues();
      for (const { name, held, max } of overBounds(queues, sizes)) {
        found.push({
          promise: "bound",
          detail: `${node} holds ${held} of ${name}, at most ${max}`,
        });
      }
      for (const { name, held, max } of queues) {
        const kind = kindOf(name);
        this.highest.set(kind, Math.max(this.highest.get(kind) ?? 0, held / max));
      }
    }
    return found;
  }
}

/** Links and hints are named after whom they lead to. */
function kindOf(name: string): string {
  const end = name.indexOf(" ");
  const first = end === -1 ? name : name.slice(0, end);
  return first === "link" || first === "hints" ? first : name;
}
