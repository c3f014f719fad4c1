/**
 * Members: operators who add nodes, take them out, put new disks in the place of lost ones, and change
 * weights, while everything else goes wrong.
 *
 * They look at what the nodes tell, make a plan at one of them, and apply it, at once or too late; now
 * and then they take it back. Who has left is stopped and gets an empty disk, and may come again. Where a
 * drop waits for one that has lost the only copy, they accept that loss.
 *
 * Invariants
 * 1. There are never fewer members that hold something than at the beginning, but by a habit.
 * 2. A disk is taken away only where no other one has lost anything.
 *
 * Effects: none; requests reach the nodes in events of their processes.
 *
 * @module
 */

import type { MovesAnswer, MovesApi, PlanRequest, RingAnswer, RingMember } from "../src/api.ts";
import type { QuorateNode } from "../src/node.ts";
import type { Chance } from "./chance.ts";
import type { Habit } from "./focus.ts";
import { changeBy, type HabitParts } from "./habits.ts";
import type { SimNetwork } from "./network.ts";
import { answerOf } from "./node_process.ts";
import type { Place } from "./place.ts";
import type { Scheduler } from "./scheduler.ts";

export interface MembersParts {
  readonly scheduler: Scheduler;
  readonly chance: Chance;
  readonly places: readonly Place[];
  /** So many found the cluster; the others may come later. */
  readonly founders: number;
  /** How many replicas a key has. */
  readonly replicas: number;
  /** How long lies between two changes, on average; undefined: there are none. */
  readonly gapMs: number | undefined;
  readonly network: SimNetwork;
  /** What befalls members in every change, so that its moment is common. */
  readonly habit: Habit | undefined;
}

/** What the nodes tell is looked at so often. */
const lookMs = 200;
/** How long a node that is to join is waited for. */
const waitMsMax = 8000;
/** How long one that was let in may take to come up. */
const comeMsMax = 30_000;
/** How often as many come, or leave, at once as may. */
const severalShare = 0.4;

export class Members {
  readonly #parts: MembersParts;
  /** Changes that were begun. */
  begun = 0;
  #isOver = false;
  /** Somebody still waits for an answer. */
  #isBusy = false;
  /** Since when a move waits for what may never come; undefined: none does. */
  #stuckSinceMs: number | undefined;

  constructor(parts: MembersParts) {
    this.#parts = parts;
  }

  begin(): void {
    if (this.#parts.gapMs === undefined) return;
    void this.#make(this.#parts.gapMs);
    void this.#tidy();
  }

  /** Nobody asks for another change; what is under way goes on. */
  stop(): void {
    this.#isOver = true;
  }

  /** The places that are members by the newest document that any node has; all that run, before. */
  get places(): readonly Place[] {
    const { places } = this.#parts;
    const ring = this.#ring();
    if (ring === undefined) return places.filter(({ isWanted }) => isWanted);
    return places.filter(({ name }) => ring.some(({ node }) => node === name));
  }

  /** Whether nothing moves any more, and nobody is about to begin it. */
  get isStill(): boolean {
    return !this.#isBusy && !this.#isMoving;
  }

  /** What moves, as all see it that can be asked. */
  get #moves(): readonly MovesAnswer["move"][] {
    return this.#nodes.map((node) => movesOf(node)?.move);
  }

  get #isMoving(): boolean {
    return this.#moves.some((move) => move !== undefined);
  }

  /** Whether a place is a member that was one before whatever moves. */
  isSettled(place: Place): boolean {
    if (place.isReplaced) return false;
    const isNamed = (answer: MovesAnswer | undefined): boolean =>
      answer?.move?.joining.includes(place.name) === true;
    if (this.#nodes.some((node) => isNamed(movesOf(node)))) return false;
    return this.#ring()?.some(({ node }) => node === place.name) !== false;
  }

  /** The nodes of places that have lost nothing and answer. */
  get #nodes(): readonly QuorateNode[] {
    return this.#parts.places.flatMap(({ node, hasLost }) =>
      node !== undefined && !hasLost && ringOf(node) !== undefined ? [node] : [],
    );
  }

  /** The members by the newest document that any node has. */
  #ring(): readonly RingMember[] | undefined {
    return this.#newest?.members;
  }

  get #newest(): RingAnswer | undefined {
    let newest: RingAnswer | undefined;
    for (const node of this.#nodes) {
      const ring = ringOf(node);
      if (ring !== undefined && ring.epoch > (newest?.epoch ?? 0)) newest = ring;
    }
    return newest;
  }

  /** Whether a disk is gone, or what it alone had: a move may wait for that, and an operator decides (I4). */
  get #isDataGone(): boolean {
    return this.#parts.places.some(
      ({ node, hasLost, isReplaced }) =>
        isReplaced || (hasLost && node !== undefined && hasUnfilledLoss(node)),
    );
  }

  /** Whether a place serves by the newest document, so that it has a part in what that one says. */
  #isPresent({ node, isReady }: Place): boolean {
    const newest = this.#newest;
    return isReady && newest !== undefined && node !== undefined && isAt(node, newest);
  }

  /** A place has said that it is no member any more. */
  left(place: Place): void {
    // Where its coming was taken back, the member is again one whose disk is lost: so too when nobody can say.
    const isMember = this.#ring()?.some(({ node }) => node === place.name) !== false;
    if (place.isReplaced && isMember) place.wipe();
    else place.retire();
  }

  async #make(gapMs: number): Promise<void> {
    const { scheduler, chance } = this.#parts;
    while (!this.#isOver) {
      await scheduler.sleep(chance.between(0, 2 * gapMs));
      if (this.#isOver) return;
      this.#isBusy = true;
      await this.#change().catch((error: unknown) => {
        scheduler.trace(`members: ${error instanceof Error ? error.message : String(error)}`);
      });
      this.#isBusy = false;
    }
  }

  async #change(): Promise<void> {
    const { chance, places, habit } = this.#parts;
    const ring = this.#ring();
    if (ring === undefined) return;
    if (this.#isMoving) {
      if (habit === undefined && chance.happens(0.15)) await this.#revert();
      return;
    }
    if (habit !== undefined) return changeBy[habit](this.#habitParts, ring);
    const lost = places.find(({ hasLost, name }) => {
      return hasLost && ring.some(({ node }) => node === name);
    });
    if (lost !== undefined) return this.#replace(lost, ring);
    const at = chance.fraction();
    if (at < 0.2) return this.#weigh(ring);
    if (at < 0.35) return this.#replace(chance.pick(places), ring);
    const holders = ring.filter(({ weight }) => weight > 0).length;
    const tooMany = holders - this.#parts.founders;
    const isLeaving = tooMany > 0 && chance.happens(0.6);
    const leave = isLeaving ? this.#some(ring, tooMany).map(({ node }) => node) : [];
    const spares = places.filter(({ name }) => ring.every(({ node }) => node !== name));
    const isJoining = spares.length > 0 && (leave.length === 0 || chance.happens(0.4));
    const join: string[] = [];
    for (const spare of isJoining ? this.#some(spares, spares.length) : []) {
      if (!(await this.#waits(spare))) return;
      join.push(spare.name);
    }
    if (join.length + leave.length > 0) await this.#carryOut({ join, leave });
  }

  /** One of them, or more, at most so many. */
  #some<One>(of: readonly One[], most: number): readonly One[] {
    const { chance } = this.#parts;
    const first = chance.below(of.length);
    const count = chance.happens(severalShare) ? most : 1;
    return [...of.slice(first), ...of.slice(0, first)].slice(0, count);
  }

  get #habitParts(): HabitParts {
    const { scheduler, chance, network, places } = this.#parts;
    return {
      ...{ scheduler, chance, network, places },
      moves: () => this.#moves,
      carryOut: (request, except) => this.#carryOut(request, except),
      isOver: () => this.#isOver,
    };
  }

  /** Another weight; none at all where enough others hold something. */
  async #weigh(ring: readonly RingMember[]): Promise<void> {
    const { chance, founders } = this.#parts;
    const { node } = chance.pick(ring);
    const holders = ring.filter((member) => member.weight > 0 && member.node !== node).length;
    const weight = chance.pick([50, 100, 300, ...(holders >= founders ? [0] : [])]);
    await this.#carryOut({ weight: [{ node, weight }] });
  }

  /** A member's disk is gone, and another one comes in its place. */
  async #replace(place: Place, ring: readonly RingMember[]): Promise<void> {
    const { places, replicas } = this.#parts;
    const mayLose = replicas >= 3 && places.every((each) => each === place || !each.hasLost);
    if (!mayLose || ring.every(({ node }) => node !== place.name)) return;
    // One that waits already is not given yet another disk.
    if (!place.isReplaced) place.wipe();
    if (!(await this.#waits(place))) return;
    await this.#carryOut({
      replace: [{ node: place.name, by: place.name }],
      acceptDataLoss: true,
    });
  }

  /** Starts a node that is to join, until somebody knows that it waits. */
  async #waits(place: Place): Promise<boolean> {
    const { scheduler } = this.#parts;
    place.isWanted = true;
    place.start();
    const endMs = scheduler.nowMs + waitMsMax;
    while (scheduler.nowMs < endMs) {
      if (this.#nodes.some((node) => isWaitingAt(node, place.name))) return true;
      await scheduler.sleep(lookMs);
    }
    return false;
  }

  async #carryOut(request: PlanRequest, except?: Place): Promise<void> {
    const { scheduler, chance } = this.#parts;
    const names = [...(request.join ?? []), ...(request.replace ?? []).map(({ by }) => by)];
    const nodes = this.#nodes.filter(
      (node) => node !== except?.node && names.every((name) => isWaitingAt(node, name)),
    );
    if (nodes.length === 0) return;
    const { moves } = chance.pick(nodes);
    if (moves === undefined) return;
    const { id } = await this.#ask((api) => api.plan(request), moves);
    // What was planned may be carried out long after it was looked at.
    if (chance.happens(0.3)) await scheduler.sleep(chance.between(0, 3000));
    if (this.#isOver) return;
    scheduler.trace(`members: apply ${JSON.stringify(request)}`);
    await this.#ask((api) => api.apply(id), moves);
    this.begun += 1;
    scheduler.trace("members: applied");
  }

  async #revert(): Promise<void> {
    const nodes = this.#nodes;
    if (nodes.length === 0) return;
    const { moves } = this.#parts.chance.pick(nodes);
    if (moves === undefined) return;
    this.#parts.scheduler.trace("members: revert");
    await this.#ask((api) => api.revert(), moves);
  }

  /** The answer; of a node that dies meanwhile there is none. */
  async #ask<Answer>(ask: (api: MovesApi) => Promise<Answer>, api: MovesApi): Promise<Answer> {
    const { places, scheduler } = this.#parts;
    const life = places.find(({ node }) => node?.moves === api)?.life;
    if (life === undefined) throw new Error("the node is gone");
    const inTurn = (): Promise<Answer> =>
      new Promise((resolve, reject) => {
        scheduler.after(0, () => ask(api).then(resolve, reject), life);
      });
    return answerOf(life, inTurn);
  }

  /**
   * Takes back a move that waits too long, or accepts what it waits for; stops whoever is no member any more, and
   * notes whose new disk is in its place.
   */
  async #tidy(): Promise<void> {
    const { scheduler, places } = this.#parts;
    for (;;) {
      await scheduler.sleep(lookMs);
      const moves = this.#moves;
      await this.#endIfStuck(moves);
      const isStill = moves.every((move) => move === undefined);
      for (const place of places) {
        if (place.isReplaced && isStill && this.#isPresent(place)) place.becomeWhole();
        if (
          place.node
            ?.readiness()
            .some(({ detail }) => detail?.startsWith("it is no member of the cluster") === true)
        )
          this.left(place);
      }
    }
  }

  /** A node that was to come and does not would be waited for without an end; so would what nobody has. */
  async #endIfStuck(moves: readonly MovesAnswer["move"][]): Promise<void> {
    const { scheduler, places } = this.#parts;
    const { nowMs } = scheduler;
    const isWaiting = moves.some(
      (move) => move?.phase === 0 || (move?.isReverting === false && this.#isDataGone),
    );
    this.#stuckSinceMs = isWaiting ? (this.#stuckSinceMs ?? nowMs) : undefined;
    if (this.#stuckSinceMs === undefined || nowMs - this.#stuckSinceMs <= comeMsMax) return;
    this.#stuckSinceMs = undefined;
    const alone = moves.some(isDropping) ? places.find(hasLostOnlyCopies) : undefined;
    if (alone === undefined) await this.#revert().catch(() => {});
    else alone.acceptLoss();
  }
}

function ringOf(node: QuorateNode) {
  try {
    return node.ring();
  } catch {
    return undefined;
  }
}

function isAt(node: QuorateNode, { epoch }: RingAnswer): boolean {
  return ringOf(node)?.epoch === epoch;
}

function movesOf(node: QuorateNode): MovesAnswer | undefined {
  try {
    return node.moves?.moves();
  } catch {
    return undefined;
  }
}

/**
 * Whether a node tells of damage, or of a partition with n = 1 that has no data. Of what was damaged and has
 * a replica elsewhere nothing is told any more once that is filled.
 */
function hasUnfilledLoss(node: QuorateNode): boolean {
  try {
    const isDamaged = node
      .readiness()
      .some(({ name, detail }) => name === "data" && detail !== undefined);
    return isDamaged || node.repair().lacking.some(({ n }) => n === 1);
  } catch {
    return false;
  }
}

/** Whether a move waits for a drop: from there it cannot be taken back. */
export function isDropping(move: MovesAnswer["move"]): boolean {
  return move?.phase === 4 && move.waitsFor?.includes(" drop") === true;
}

/**
 * Whether what a node has lost, and that is not filled, is by its own words what it alone had: who drops gives it
 * what is left of that when an operator has accepted the loss, and not before (I4, T6).
 */
export function hasLostOnlyCopies({
  node,
  hasLost,
  isReplaced,
}: Pick<Place, "hasLost" | "isReplaced"> & {
  readonly node: Pick<QuorateNode, "readiness" | "repair"> | undefined;
}): boolean {
  if (node === undefined || !hasLost || isReplaced) return false;
  try {
    // What is damaged, and others could still fill, would be taken for all that there is as well.
    if (node.readiness().some(({ name, detail }) => name === "data" && detail !== undefined)) {
      return false;
    }
    const { lacking, lackingCount } = node.repair();
    return lackingCount > 0 && lacking.every(({ why }) => why.startsWith("nobody else has"));
  } catch {
    return false;
  }
}

function isWaitingAt(node: QuorateNode, name: string): boolean {
  return movesOf(node)?.waiting.some((one) => one.node === name) === true;
}
