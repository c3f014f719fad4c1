/**
 * ClusterFormer: who was a member a moment ago. They have requests under way, and have to be told of the document
 * without them: for a while they are reached as before.
 *
 * Invariants
 * 1. At most `formerMax` are kept, the last ones, each for `formerMs`; a member is none of them.
 *
 * Effects: Clock. Source: rule T4.
 *
 * @module
 */

import type { Clock } from "./capability.ts";
import { isIn, type Member, type Topology } from "./topology.ts";

const formerMax = 64;
const formerMs = 60_000;

export class FormerMembers {
  readonly #clock: Clock;
  readonly #reach: (former: readonly Member[]) => void;
  #former: readonly Member[] = [];

  /** `reach`: from now on these are reached beside the members. */
  constructor(clock: Clock, reach: (former: readonly Member[]) => void) {
    this.#clock = clock;
    this.#reach = reach;
  }

  has(nodeId: string): boolean {
    return isIn(this.#former, nodeId);
  }

  /** A document takes the place of the one before; answers who is no member any more. */
  follow(before: Topology, { members }: Topology): readonly Member[] {
    const gone = before.members.filter(({ nodeId }) => !isIn(members, nodeId));
    const all = [...gone, ...this.#former].filter(({ nodeId }) => !isIn(members, nodeId));
    this.#former = all.slice(0, formerMax);
    this.#reach(this.#former);
    if (gone.length > 0) {
      this.#clock.after(formerMs, () => {
        this.#former = this.#former.filter((one) => !gone.includes(one));
        this.#reach(this.#former);
      });
    }
    return gone;
  }
}
