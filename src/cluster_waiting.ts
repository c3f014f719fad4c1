/**
 * Cluster waiting: nodes that have asked this one to be members, and wait until a plan takes them in.
 *
 * Invariants
 * 1. Who has not asked for a while waits no more, and at most `waitingMax` are known.
 * 2. Of two of one name, one that is silent while the other asks is not told of.
 * 3. No two of them have an address in common: who is reached there is who asked last. A node that is started
 *    again with an empty folder is another one, and a plan that took in the one before would wait for ever.
 *
 * Effects: Clock. Source: rules T3, I1.
 *
 * @module
 */

import type { Clock } from "./capability.ts";
import { toldGapMsMax } from "./cluster_asking.ts";
import type { MemberFacts } from "./topology_steps.ts";

/**
 * A node that wants to join tells so at most `toldGapMsMax` apart, whomever it asks and however long that takes
 * (`askInTurn`): with this it may be unheard twice. Longer, and who was stopped would stay in the list.
 */
const waitingMsMax = 10_000;
/** What a link may take more, or less, than the time before. */
const marginMs = 2000;
/** Who has not asked for so long may have been started again with another empty folder, as another node. */
const silentMs = toldGapMsMax + marginMs;
const waitingMax = 64;

export class Waiting {
  readonly #clock: Clock;
  readonly #waiting = new Map<string, { readonly facts: MemberFacts; readonly heardMs: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A node has asked; false: too many wait already. */
  note(facts: MemberFacts): boolean {
    // A node that is started again and again with an empty folder is another one each time.
    this.#forgetLate(() => false);
    this.#forgetAt(facts);
    if (this.#waiting.size >= waitingMax && !this.#waiting.has(facts.nodeId)) return false;
    this.#waiting.set(facts.nodeId, { facts, heardMs: this.#clock.monotonicMs() });
    return true;
  }

  /** What one has asked before it was a member is no wish to be one again. */
  forget(nodeId: string): void {
    this.#waiting.delete(nodeId);
  }

  /** Those that have asked of late and are no members. */
  list(isMember: (nodeId: string) => boolean): readonly MemberFacts[] {
    this.#forgetLate(isMember);
    const silentSinceMs = this.#clock.monotonicMs() - silentMs;
    const all = [...this.#waiting.values()];
    return all
      .filter(
        ({ facts: { name }, heardMs }) =>
          heardMs > silentSinceMs ||
          !all.some((other) => other.facts.name === name && other.heardMs > heardMs),
      )
      .map(({ facts }) => facts);
  }

  /** Another one was reached where this one is now: it is gone. */
  #forgetAt({ nodeId, addresses = [] }: MemberFacts): void {
    for (const { facts } of this.#waiting.values()) {
      const isThere = facts.addresses?.some((address) => addresses.includes(address));
      if (isThere && facts.nodeId !== nodeId) this.#waiting.delete(facts.nodeId);
    }
  }

  #forgetLate(isMember: (nodeId: string) => boolean): void {
    const nowMs = this.#clock.monotonicMs();
    for (const [nodeId, { heardMs }] of this.#waiting) {
      if (nowMs - heardMs > waitingMsMax || isMember(nodeId)) this.#waiting.delete(nodeId);
    }
  }
}
