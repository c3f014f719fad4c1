/**
 * NodeWatermarkRound: one round that raises the watermark of a partition, led by one of its replicas.
 *
 * The steps and their order are the core's (`watermark`); here they are carried out: durable before
 * told, and given up at the first thing that is not as it has to be. What was promised stays: the
 * next round asks for a later time.
 *
 * Invariants
 * 1. The watermark is adopted only after every replica has confirmed, this one first.
 * 2. A topology that has changed meanwhile ends the round (G4).
 *
 * Effects: the replicas through ports; Report. Source: rules G2 to G4.
 *
 * @module
 */

import type { Report } from "./capability.ts";
import { QuorateError } from "./errors.ts";
import type { Hlc } from "./hlc.ts";
import { isConfirmed, planRound, type ReplicaState, type RoundPlan } from "./watermark.ts";

/** One replica of the partition, this node's own among them. */
export interface RoundReplica {
  readonly name: string;
  /** Adopts a watermark, then makes a promise, both durably, then tells; 0n: nothing to adopt or promise. */
  ask(adopt: Hlc, promise: Hlc): Promise<ReplicaState>;
}

export interface RoundOptions {
  readonly report: Report;
  readonly own: RoundReplica;
  readonly others: readonly RoundReplica[];
  /** Compares with one of the others, in both directions; whether it came to its end. */
  readonly compare: (other: RoundReplica) => Promise<boolean>;
  /** The longest deadline of a request (G3). */
  readonly lagMs: number;
  /** Whether the replicas are still those of the begin, and the node goes on. */
  readonly mayGoOn: () => boolean;
}

export type RoundResult = { readonly raised: Hlc } | { readonly why: string };

const none = 0n as Hlc;
/** The first comparison gets what any has, the second gives it to all. */
const passes = 2;

type States = { readonly states: readonly ReplicaState[] } | { readonly why: string };

export class WatermarkRound {
  readonly #options: RoundOptions;

  constructor(options: RoundOptions) {
    this.#options = options;
  }

  async run(): Promise<RoundResult> {
    const { own, others, report, lagMs, mayGoOn } = this.#options;
    const before = await this.ask(none, none);
    if ("why" in before) return before;
    const plan = planRound(before.states, lagMs);
    if ("why" in plan) return plan;
    report.sometimes("watermark: round begun");
    const fenced = await this.fence(plan);
    if ("why" in fenced) return fenced;
    const why = await this.#compareAll();
    if (why !== undefined) return { why };
    const after = await this.confirm(plan);
    if ("why" in after) return after;
    if (!mayGoOn()) return { why: "the topology has changed" };
    if (!isConfirmed(before.states, after.states, plan)) {
      report.sometimes("watermark: round given up");
      return { why: "a replica does not stand by its promise any more" };
    }
    await own.ask(plan.stamp, none);
    // Who does not hear of it now hears of it at the next comparison (G5).
    await Promise.allSettled(others.map((other) => other.ask(plan.stamp, none)));
    report.sometimes("watermark: raised");
    return { raised: plan.stamp };
  }

  /**
   * Every replica adopts the highest watermark, and promises (G2 (1), G5). This one first: what the others
   * alone had promised it would not know of, and would lead no later round for.
   */
  async fence({ adopt, stamp }: RoundPlan): Promise<States> {
    const { own, others } = this.#options;
    const first = await this.ask(adopt, stamp, [own]);
    return "why" in first ? first : this.ask(adopt, stamp, others);
  }

  /** Every replica stands by its promise (G2 (3)); compared with the begin by the caller. */
  confirm(_plan: RoundPlan): Promise<States> {
    return this.ask(none, none);
  }

  /** Asks them, by default all; what one of them lacks to take part is why there is no round. */
  async ask(
    adopt: Hlc,
    promise: Hlc,
    replicas: readonly RoundReplica[] = [this.#options.own, ...this.#options.others],
  ): Promise<States> {
    const asked = await Promise.allSettled(replicas.map((replica) => replica.ask(adopt, promise)));
    const states: ReplicaState[] = [];
    for (const [index, told] of asked.entries()) {
      const name = replicas[index]?.name ?? "";
      if (told.status === "rejected") {
        return { why: `${name} does not take part: ${QuorateError.from(told.reason).detail}` };
      }
      if (!told.value.counts) return { why: `${name} does not count, or has lost records` };
      if (told.value.promise < promise) return { why: `${name} has not promised` };
      states.push(told.value);
    }
    return { states };
  }

  /** G2 (2): until all hold the same below T; undefined: they do. */
  async #compareAll(): Promise<string | undefined> {
    const { others, compare, mayGoOn, report } = this.#options;
    for (let pass = 0; pass < passes; pass += 1) {
      for (const other of others) {
        if (!mayGoOn()) return "the topology has changed";
        if (await compare(other)) continue;
        report.sometimes("watermark: round given up");
        return `the comparison with ${other.name} was broken off`;
      }
    }
    return undefined;
  }
}
