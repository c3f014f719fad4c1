/**
 * Node plans: the plans that this node has made, and the one that is carried out.
 *
 * Plans are kept in memory, for the one who asked to look at and to apply by id; the latest few. Of those that
 * were applied the id and the epoch are kept: whoever has lost the answer, and applies again, is told so. Where it
 * is the answer of the voters that was lost, the document tells whether the plan has begun.
 *
 * Invariants
 * 1. A plan is applied under the epoch for which it was made, and under no other.
 *
 * Effects: the agreement and the heartbeats of others, through the cluster. Source: rules T1, T3.
 *
 * @module
 */

import type { MoveProgress, MovesAnswer, MovesApi, PlanAnswer, PlanRequest } from "./api_moves.ts";
import type { Cluster } from "./cluster.ts";
import { QuorateError } from "./errors.ts";
import { majority } from "./level.ts";
import { afterLoss } from "./node_loss.ts";
import type { NodeMoves } from "./node_moves.ts";
import type { Topology, TopologyMove } from "./topology.ts";
import { copies, type MemberNews, whyNotAdvance } from "./topology_advance.ts";
import { whyNotRevert, withRevert } from "./topology_move.ts";
import { hasBegun, makePlan, type Plan, planStep, takingIn, waitingNode } from "./topology_plan.ts";

export interface NodePlansParts {
  readonly topology: () => Topology;
  readonly ownNodeId: string;
  readonly cluster: Pick<Cluster, "agreement" | "waiting" | "view" | "viewOf" | "newsOf">;
  readonly moves: Pick<NodeMoves, "load" | "ownNews" | "bytesPerSecond">;
  /** What this node tells of what it has lost. */
  readonly ownLoss: () => Readonly<Record<string, number>>;
  /** What this node holds, in bytes. */
  readonly ownBytes: () => number;
}

const plansMax = 16;
const appliedMax = 16;
const whileMoving = "quorate cluster status --watch";

const doing: Readonly<Record<TopologyMove["phase"], string>> = {
  0: "those who come to hold something get ready",
  1: "writes go to the old and the new replicas",
  2: "the new replicas copy what the old ones hold",
  3: "reads go to the new replicas",
  4: "the old replicas drop what they do not hold any more",
};

export class NodePlans implements MovesApi {
  readonly #parts: NodePlansParts;
  readonly #plans = new Map<string, Plan>();
  /** By the id of a plan, the epoch in which it began. */
  readonly #applied = new Map<string, number>();

  constructor(parts: NodePlansParts) {
    this.#parts = parts;
  }

  async plan(request: PlanRequest): Promise<PlanAnswer> {
    const { topology, cluster, ownNodeId, ownBytes, moves } = this.#parts;
    const told = new Map(cluster.view().map(({ nodeId, load }) => [nodeId, load["bytes"]]));
    const plan = makePlan(topology(), request, {
      waiting: cluster.waiting,
      bytesOf: (nodeId) => (nodeId === ownNodeId ? ownBytes() : told.get(nodeId)),
      bytesPerSecond: moves.bytesPerSecond,
    });
    this.#plans.delete(plan.answer.id);
    this.#plans.set(plan.answer.id, plan);
    const [oldest] = this.#plans.keys();
    if (this.#plans.size > plansMax && oldest !== undefined) this.#plans.delete(oldest);
    return plan.answer;
  }

  async apply(id: string): Promise<MovesAnswer> {
    const { topology, cluster } = this.#parts;
    const plan = this.#plans.get(id);
    if (plan === undefined) {
      this.#refuseApplied(id);
      throw new QuorateError("invalid-request", `This node has made no plan '${id}'.`, {
        outcome: "none",
        hint: "A plan is applied at the node that made it, before that is started again. Plan again.",
      });
    }
    this.#refuseBegun(plan);
    try {
      await cluster.agreement.change((present) => planStep(plan, present));
    } catch (error) {
      // Of the one that began it nobody could say so: by the topology that there is now, it did.
      const isOwn = QuorateError.from(error).outcome === "unknown" && hasBegun(plan, topology());
      // Asked twice at once, the second finds the epoch of the first.
      if (!isOwn) this.#refuseBegun(plan);
      if (!isOwn) throw error;
    }
    this.#noteApplied(plan);
    return this.#answer(topology());
  }

  #noteApplied({ answer: { id, epoch } }: Plan): void {
    this.#plans.delete(id);
    this.#applied.set(id, epoch + 1);
    const [oldest] = this.#applied.keys();
    if (this.#applied.size > appliedMax && oldest !== undefined) this.#applied.delete(oldest);
  }

  /** Where the answer of the voters was lost, the topology tells what came of it (T1). */
  #refuseBegun(plan: Plan): void {
    if (hasBegun(plan, this.#parts.topology())) this.#noteApplied(plan);
    this.#refuseApplied(plan.answer.id);
  }

  /** An error, and no answer as the first time: since then it may be over, or have been taken back. */
  #refuseApplied(id: string): void {
    const epoch = this.#applied.get(id);
    if (epoch === undefined) return;
    throw new QuorateError(
      "invalid-request",
      `The plan '${id}' was applied already: it began in epoch ${epoch}.`,
      { outcome: "none", epoch, hint: "quorate cluster status says how far it is." },
    );
  }

  async revert(): Promise<MovesAnswer> {
    const { cluster, topology } = this.#parts;
    let isMoving = true;
    const document = await cluster.agreement.change((present) => {
      isMoving = present.move !== undefined;
      // That nothing moves is told of the newest topology (T1): this node may not have heard of a move.
      return isMoving ? withRevert(present) : undefined;
    });
    // Where that holds of the newest one, this is the refusal.
    if (!isMoving) withRevert(document);
    return this.#answer(topology());
  }

  moves(): MovesAnswer {
    return this.#answer(this.#parts.topology());
  }

  #answer(topology: Topology): MovesAnswer {
    const { move, epoch } = topology;
    const waiting = this.#parts.cluster.waiting.map(waitingNode);
    const found = this.#losses(topology);
    const losses = found.length === 0 ? {} : { losses: found };
    if (move !== undefined) {
      const progress = this.#progress(topology, move);
      const { waitsFor } = progress;
      const next = this.#afterMove(topology, { move, waitsFor }, waiting);
      return { epoch, move: progress, ...losses, waiting, next };
    }
    const [first] = waiting;
    const next =
      first === undefined ? "nothing moves, and nobody waits" : takingIn(topology, first.node);
    return { epoch, ...losses, waiting, next };
  }

  /**
   * A member that has lost its disk comes back as a node that waits, and a move may wait for the member. To take
   * the move back is named only where it is not refused.
   */
  #afterMove(
    { members }: Topology,
    { move, waitsFor }: { readonly move: TopologyMove; readonly waitsFor: string | undefined },
    waiting: MovesAnswer["waiting"],
  ): string {
    if (move.isReverting || whyNotRevert(move) !== undefined) return whileMoving;
    const isAway = (name: string): boolean =>
      members.some((member) => member.name === name && !this.#newsOf(member.nodeId).isUp);
    const lost = waiting.find(({ node }) => isAway(node))?.node;
    if (waitsFor === undefined || lost === undefined) {
      return `${whileMoving}, or quorate cluster revert to take it back`;
    }
    // Who came with the move is no member then.
    const before = members.filter(({ nodeId }) => !move.joining.includes(nodeId));
    return `${lost} waits with another disk than the member of that name has: if the move waits for it, quorate cluster revert, and when that is done ${takingIn({ members: before }, lost)}`;
  }

  /** What members tell of what they have lost. */
  #losses({ members, voters }: Topology): NonNullable<MovesAnswer["losses"]> {
    const told = members.map(({ nodeId, name }) => {
      const load = nodeId === this.#parts.ownNodeId ? this.#parts.ownLoss() : this.#loadOf(nodeId);
      const { lacking = 0, rolledBack = 0 } = load;
      return { nodeId, loss: { node: name, lacking, rolledBack: rolledBack === 1 } };
    });
    const isVoid = new Set(told.filter(({ loss }) => loss.rolledBack).map(({ nodeId }) => nodeId));
    const left = voters.filter((nodeId) => !isVoid.has(nodeId)).length;
    const canVote = left >= majority(voters.length);
    return told
      .filter(({ loss }) => loss.rolledBack || loss.lacking > 0)
      .map(({ loss }) => ({ ...loss, next: afterLoss(loss, canVote) }));
  }

  #progress(topology: Topology, move: TopologyMove): MoveProgress {
    const { begun, phase, isReverting, rows } = move;
    const nameOf = (id: string): string =>
      topology.members.find(({ nodeId }) => nodeId === id)?.name ?? id;
    const waitsFor = whyNotAdvance(topology, (nodeId) => this.#newsOf(nodeId));
    const copying = topology.members.filter(({ nodeId }) =>
      rows.some((row) => copies(topology, row, nodeId)),
    );
    return {
      begun,
      phase,
      doing: isReverting ? "it is taken back" : doing[phase],
      isReverting,
      joining: move.joining.map(nameOf),
      leaving: move.leaving.map(nameOf),
      partitions: rows.length,
      ...(waitsFor === undefined ? {} : { waitsFor }),
      copies: copying.map(({ nodeId, name }) => {
        const load = this.#loadOf(nodeId);
        return { node: name, done: load["moveDone"] ?? 0, all: load["moveAll"] ?? 0 };
      }),
    };
  }

  #loadOf(nodeId: string): Readonly<Record<string, number>> {
    const { ownNodeId, moves, cluster } = this.#parts;
    if (nodeId === ownNodeId) return moves.load;
    return cluster.viewOf(nodeId)?.load ?? {};
  }

  #newsOf(nodeId: string): MemberNews {
    const { ownNodeId, cluster, moves } = this.#parts;
    return nodeId === ownNodeId ? moves.ownNews : cluster.newsOf(nodeId);
  }
}
