/**
 * Convergence: whether all replicas come to hold the same, in a world that is well again (P5).
 *
 *     hints delivered -> (H1: hints alone, where they have to be enough) -> repair -> all the same
 *
 * Nobody reads meanwhile: what a read would mend has to be mended without it. What the replicas hold is
 * asked of one node, by `explain`.
 *
 * Invariants
 * 1. Each wait ends: with what was waited for, or with what differs still.
 *
 * Effects: none; requests reach the nodes. Source: docs/simulator.md, P5; rule H1.
 *
 * @module
 */

import type { ExplainedReplica } from "../src/api.ts";
import { utf8Bytes } from "../src/bytes.ts";
import type { QuorateNode } from "../src/node.ts";
import { versionText } from "../src/version.ts";
import { checkReplicas } from "./check_replicas.ts";
import type { SimKey } from "./client.ts";
import { type Knobs, repairNeverMs } from "./knobs.ts";
import { answerOf } from "./node_process.ts";
import type { Place } from "./place.ts";
import type { Scheduler } from "./scheduler.ts";
import type { Violation } from "./violation.ts";

export interface ConvergenceParts {
  readonly scheduler: Scheduler;
  readonly knobs: Knobs;
  readonly places: readonly Place[];
  /** The places that are members now. */
  readonly members: () => readonly Place[];
  readonly keys: () => readonly SimKey[];
  /** Whether nobody died and nothing was dropped, so that hints alone have to have brought everything. */
  readonly areHintsEnough: () => boolean;
  /**
   * Whether a version is among what they have to have brought to all. Who joins copies from n-m+1 of those that held
   * the partition (T5), so that it may lack what no quorum had: nobody has a hint of that for it.
   */
  readonly isBroughtByHints: (version: string) => boolean;
}

/** What comparisons take beside their turns: at the slowest rate that is drawn. */
const repairMsMax = 120_000;
/** Hints that were handed over are taken in within so long. */
const takenMs = 2000;
const lookMs = 1000;
/** A link that was long away is tried again after 7.5 s at most. */
const hintTries = 12;

export class Convergence {
  readonly #parts: ConvergenceParts;

  constructor(parts: ConvergenceParts) {
    this.#parts = parts;
  }

  /**
   * Those who have to serve and to hold all: also who was rolled back or damaged, for it fills (I4). Not one
   * whose disk is empty or refused: that waits for an operator.
   */
  get whole(): readonly Place[] {
    return this.#parts.members().filter(({ mustServe }) => mustServe);
  }

  /** The latest that any clock has ever shown. */
  get latestMs(): number {
    return Math.max(...this.#parts.places.map(({ wall }) => wall.latestMs));
  }

  /** Whether all are ready and keep no hint that they could get rid of. */
  get isWithoutHints(): boolean {
    return this.whole.every(({ node, isReady }) => isReady && !this.#hasHints(node));
  }

  /** What each place keeps for others, in words. */
  get hintsText(): string {
    return this.#parts.places.map((place) => `${place.name}: ${hintsText(place)}`).join(", ");
  }

  /** G2, G4: a hint below a promise waits for the watermark, and one that has lost its data holds it back. */
  get areHintsHeldBack(): boolean {
    const isHeldBack = ({ node }: Place): boolean => (node?.repair().heldBack.length ?? 0) > 0;
    return this.whole.length < this.#parts.members().length && this.whole.some(isHeldBack);
  }

  /** P5: what differs still when whatever was missed, by whatever fault, should have come to all. */
  async differing(when: string): Promise<readonly Violation[]> {
    const { scheduler, knobs } = this.#parts;
    const { repairPeriodMs } = knobs;
    const isAsked = repairPeriodMs === repairNeverMs;
    if (isAsked) {
      const missing = await this.#missedByHints();
      if (missing.length > 0) return missing;
      for (const { node } of this.whole) node?.runRepair({});
    }
    const periodMs = isAsked ? 0 : repairPeriodMs;
    const endMs = scheduler.nowMs + 3 * periodMs + repairMsMax;
    for (;;) {
      const differing = await this.#differingNow(when);
      if (differing.length === 0 || scheduler.nowMs > endMs) return differing;
      await scheduler.sleep(Math.max(lookMs, periodMs / 4));
    }
  }

  /** H1: where nobody died and nothing was dropped, hints alone have brought everything. */
  async #missedByHints(): Promise<readonly Violation[]> {
    const { scheduler, areHintsEnough, isBroughtByHints } = this.#parts;
    if (!areHintsEnough()) return [];
    await scheduler.sleep(takenMs);
    for (let tried = 1; ; tried += 1) {
      const found = await this.#differingNow("when all hints are delivered", isBroughtByHints);
      // A link may still be on its way.
      if (found.length === 0 || tried === hintTries) return found;
      await scheduler.sleep(lookMs);
    }
  }

  /** @param isMeant whether replicas may not differ by the newest version that one of them holds */
  async #differingNow(
    when: string,
    isMeant: (version: string) => boolean = () => true,
  ): Promise<readonly Violation[]> {
    const { places, keys } = this.#parts;
    const lost = new Set(places.filter((one) => !one.mustServe).map(({ name }) => name));
    const found: Violation[] = [];
    for (const key of keys()) {
      const explained = await this.#explained(key);
      if (typeof explained === "string") {
        const what = `'${key.key}' cannot be explained ${when}: ${explained}`;
        found.push({ promise: "P5", detail: what });
        continue;
      }
      const replicas = explained.filter(({ node }) => !lost.has(node));
      const held = replicas.flatMap(({ version }) => (version ? [versionText(version)] : []));
      // As text they sort as they do.
      if (!isMeant(held.sort().at(-1) ?? "")) continue;
      found.push(...checkReplicas(key.key, replicas, when, this.latestMs));
    }
    return found;
  }

  /** What the replicas of a key hold; or why the node that is asked does not say. */
  async #explained({ namespace, key }: SimKey): Promise<readonly ExplainedReplica[] | string> {
    const { node, life } = this.whole[0] ?? {};
    if (node === undefined || life === undefined) return "nobody serves";
    const request = { namespace, requestId: "compare", key: utf8Bytes(key) };
    try {
      // A failed call of its disk may come to light long after all was healed.
      return (await answerOf(life, () => node.explain(request))).replicas;
    } catch (error) {
      return String(error);
    }
  }

  /**
   * Those for one that has lost its data are not counted: it may take none. Nor, as long as there is
   * one, those for a store that is no member any more, or holds no more what they are for: they go to
   * all who hold the partition now.
   */
  #hasHints(node: QuorateNode | undefined): boolean {
    const members = this.#parts.members();
    const lost = members.filter((one) => !one.mustServe).map(({ name }) => name);
    const mayTake = (name: string | undefined): boolean => {
      if (lost.length === 0) return true;
      return name !== undefined && !lost.includes(name) && this.#holdsAll(name, node);
    };
    return node?.hints().targets.some(({ node: name }) => mayTake(name)) !== false;
  }

  /** Whether no partition has moved away from a member, as far as a node knows. */
  #holdsAll(name: string, node: QuorateNode | undefined): boolean {
    const { knobs, keys } = this.#parts;
    if (knobs.memberGapMs === undefined) return true;
    return keys().every(({ namespace, key }) => {
      const replicas = node?.place(namespace, utf8Bytes(key)).replicas;
      return replicas?.some((replica) => replica.node === name) === true;
    });
  }
}

/** What a place keeps for others, in words; one that waits to be taken in tells nothing. */
function hintsText({ node, waitsFor }: Place): string {
  try {
    const { count, targets } = node?.hints() ?? { count: 0, targets: [] };
    return `${count} ${JSON.stringify(targets)}`;
  } catch {
    return waitsFor;
  }
}
