/**
 * NodeLoss: what a node does when it hears that its store was rolled back.
 *
 * From that moment it has no data; it is kept, and tried again where the disk does not take it. Versions
 * go on under a new origin: under the old one it may have minted what it does not know of any more.
 *
 * Effects: Clock, Report; the disk and the mint. Source: rules I3, I4, V1; promise P9.
 *
 * @module
 */

import type { Clock, Report } from "./capability.ts";
import { QuorateError } from "./errors.ts";
import type { Losses } from "./losses.ts";
import type { Store } from "./store.ts";

export interface NodeLossParts {
  readonly clock: Clock;
  readonly report: Report;
  readonly losses: Losses;
  readonly store: Store;
  readonly name: string;
}

const retryMs = 1000;

/** What gives a node whose store was rolled back its vote again. */
export function readmission(name: string): string {
  return `start it with an empty data folder, then 'quorate cluster plan --replace ${name}'`;
}

/** What a member tells of what it has lost. */
export interface Loss {
  readonly node: string;
  /** So many of its partitions have no data yet. */
  readonly lacking: number;
  readonly rolledBack: boolean;
}

/** What comes next for such a member. `canVote`: a majority of the voters has its vote still. */
export function afterLoss({ node, lacking, rolledBack }: Loss, canVote: boolean): string {
  if (lacking > 0) {
    const fills = `it does so by itself where enough others have data; 'quorate repair --url' at ${node} says what it waits for`;
    // What it holds may be nowhere else.
    return rolledBack ? `${fills}; until then keep its data folder` : fills;
  }
  if (canVote) return `${readmission(node)}, gives it its vote again`;
  return "so many votes are void that members and namespaces can be changed no more; keys are served as before: 'quorate export', and import that into a new cluster";
}

export class NodeLoss {
  readonly #parts: NodeLossParts;
  #isFound = false;
  /** It is known, and not on the disk yet. */
  #isOpen = false;
  /** The most that a node remembers. */
  #heard = 0;
  #cancel: () => void = () => {};
  #isClosed = false;
  #keeping: Promise<unknown> = Promise.resolve();

  constructor(parts: NodeLossParts) {
    this.#parts = parts;
  }

  /** Whether a loss is known that is not kept yet: nothing has data until it is. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** A node remembers so much of this store, which is more than it opened with. */
  found(heard: number): void {
    const { report, store, losses, name } = this.#parts;
    this.#heard = Math.max(this.#heard, heard);
    if (this.#isFound) {
      // Of the same loss: what is filled since stays.
      this.#keep(() => losses.hear(this.#heard));
      return;
    }
    this.#isFound = true;
    this.#isOpen = true;
    report.sometimes("node: rolled back");
    report.log(
      "error",
      "This store has been rolled back: another node remembers more of it than it has.",
      {
        ...{ opened: store.openedSequence, heard },
        hint: `It fills by itself from the other replicas, and counts for nothing until then. Its vote stays void until it is replaced, once it has filled: ${readmission(name)}.`,
      },
    );
    this.#keep(async () => {
      await store.mint.renew();
      // By now another node may have told that it remembers more.
      await losses.recognise(this.#heard);
      this.#isOpen = false;
    });
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancel();
    await this.#keeping;
  }

  #keep(run: () => Promise<void>): void {
    const keeping = run().catch((error: unknown) => {
      const { report, clock } = this.#parts;
      const why = QuorateError.from(error).detail;
      report.log("error", "That this store was rolled back could not be kept.", { why });
      if (!this.#isClosed) this.#cancel = clock.after(retryMs, () => this.#keep(run));
    });
    this.#keeping = Promise.all([this.#keeping, keeping]);
  }
}
