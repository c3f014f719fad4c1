/**
 * Habits: changes of the members with what befalls one of them at the moment that a rule is for.
 *
 * A partition, a copy and a phase come together now and then by chance. A habit makes them come
 * together in every change of a run: somebody is cut off just when a copy begins, or just when it
 * has ended, and is back before or after what the rule forbids could be seen.
 *
 * Invariants
 * 1. Who was cut off is so no longer when the change is over.
 *
 * Effects: none; they act on the world that they are given.
 *
 * @module
 */

import type { MoveProgress, PlanRequest, RingMember } from "../src/api.ts";
import type { Chance } from "./chance.ts";
import type { Habit } from "./focus.ts";
import type { SimNetwork } from "./network.ts";
import type { Place } from "./place.ts";
import type { Scheduler } from "./scheduler.ts";

export interface HabitParts {
  readonly scheduler: Scheduler;
  readonly chance: Chance;
  readonly network: SimNetwork;
  readonly places: readonly Place[];
  /** What moves, as each node says it that can be asked. */
  readonly moves: () => readonly (MoveProgress | undefined)[];
  /** Has a plan made and applied, at any node but one; resolves when all have been told. */
  readonly carryOut: (request: PlanRequest, except?: Place) => Promise<void>;
  readonly isOver: () => boolean;
}

type Ring = readonly RingMember[];
type Change = (parts: HabitParts, ring: Ring) => Promise<void>;

/** In which those that join copy. */
const copyPhase = 2;
/** A phase is noticed so soon, before it is told around. */
const noticeMs = 5;
/** How long a phase is waited for. */
const waitMsMax = 8000;
/** How long one misses what is written; shorter than it takes to be called down. */
const behindMs = 1800;
/** How long one hears nothing of a move. */
const unawareMs = 4000;
/** How long one that has copied all misses what is written. */
const partialMs = 1000;
/** What is moved away has so long to be deleted, and forgotten, before it is given back. */
const goneMs = 2000;

/** One change of the members, with what a habit adds to it. */
export const changeBy: Readonly<Record<Habit, Change>> = {
  behind: leaveBehind,
  partial: keepPartial,
  unaware: keepUnaware,
  late: keepLate,
  away: sendAway,
  shrink: shrinkSets,
};

/**
 * One member is given what it does not hold, when another has missed what was written just before; a
 * third is gone after that, and can give neither of them what they lack.
 */
async function leaveBehind(parts: HabitParts, ring: Ring): Promise<void> {
  const { scheduler, chance, carryOut } = parts;
  const [last, ...others] = lastFirst(ring);
  if (last === undefined) return;
  if (last.weight > 0) return carryOut(toggled(last));
  const missing = chance.pick(others);
  const behind = placeOf(parts, missing);
  const gone = placeOf(parts, chance.pick(others.filter((each) => each !== missing)));
  const openBehind = cutOff(parts, behind);
  loseWires(parts, behind);
  await scheduler.sleep(behindMs);
  openBehind();
  await carryOut(toggled(last));
  await until(parts, hasCopied);
  const open = cutOff(parts, gone);
  await scheduler.sleep(unawareMs);
  open();
}

/** Who has copied all misses what is written until it is read, and gets its hints slowly. */
async function keepPartial(parts: HabitParts, ring: Ring): Promise<void> {
  const [last] = lastFirst(ring);
  if (last === undefined) return;
  await parts.carryOut(toggled(last));
  if (last.weight > 0) return;
  await until(parts, hasCopied);
  const joined = placeOf(parts, last);
  const open = cutOff(parts, joined);
  await parts.scheduler.sleep(partialMs);
  loseWires(parts, joined);
  open();
}

/** What one holds is moved away, and it does not hear that others are read now that all is copied. */
async function keepUnaware(parts: HabitParts, ring: Ring): Promise<void> {
  const one = parts.chance.pick(ring);
  await parts.carryOut(toggled(one));
  await until(parts, hasCopied);
  const open = cutOff(parts, placeOf(parts, one));
  await parts.scheduler.sleep(unawareMs);
  open();
}

/** What one asks by the topology of before comes when others are read already. */
async function keepLate(parts: HabitParts, ring: Ring): Promise<void> {
  const one = parts.chance.pick(ring);
  const late = placeOf(parts, parts.chance.pick(ring.filter((each) => each !== one)));
  const open = cutOff(parts, late);
  // The answer comes when all have been told, which one is not.
  const carried = parts.carryOut(toggled(one), late).catch(() => {});
  await until(parts, (move) => (move?.phase ?? 0) > copyPhase);
  open();
  await carried;
}

/** One is gone; what it holds is moved to others, and back when some of it was deleted. */
async function sendAway(parts: HabitParts, ring: Ring): Promise<void> {
  const { scheduler, chance, carryOut, moves } = parts;
  const one = chance.pick(ring);
  const { node } = one;
  const place = placeOf(parts, one);
  if (place === undefined) return;
  const open = cutOff(parts, place);
  try {
    await carryOut({ weight: [{ node, weight: 0 }] }, place);
    await wait(parts, () => moves().every((move) => move === undefined));
    await scheduler.sleep(goneMs);
    await carryOut({ weight: [{ node, weight: 100 }] }, place);
  } finally {
    open();
  }
}

/** Two are sent away together, when two of the others have missed what was written just before; or back. */
async function shrinkSets(parts: HabitParts, ring: Ring): Promise<void> {
  const { scheduler, chance, carryOut, moves } = parts;
  const gone = ring.filter(({ weight }) => weight === 0);
  if (gone.length > 0) {
    return carryOut({ weight: gone.map(({ node }) => ({ node, weight: 100 })) });
  }
  const first = chance.below(ring.length);
  const [one, other, ...stay] = [...ring.slice(first), ...ring.slice(0, first)];
  if (one === undefined || other === undefined) return;
  const behind = stay.slice(0, 2).map((member) => placeOf(parts, member));
  const opens = behind.map((place) => cutOff(parts, place));
  for (const place of behind) loseWires(parts, place);
  await scheduler.sleep(behindMs);
  for (const open of opens) open();
  await carryOut({ weight: [one, other].map(({ node }) => ({ node, weight: 0 })) });
  await wait(parts, () => moves().every((move) => move === undefined));
}

function hasCopied(move: MoveProgress | undefined): boolean {
  return move?.phase === copyPhase && move.copies.every(({ done, all }) => all > 0 && done === all);
}

function lastFirst(ring: Ring): Ring {
  return [...ring].sort((a, b) => (a.node < b.node ? 1 : -1));
}

/** All that it holds is moved away, or its share is given to it. */
function toggled({ node, weight }: RingMember): PlanRequest {
  return { weight: [{ node, weight: weight === 0 ? 100 : 0 }] };
}

function placeOf({ places }: HabitParts, { node }: RingMember): Place | undefined {
  return places.find(({ name }) => name === node);
}

function until(
  parts: HabitParts,
  isSo: (move: MoveProgress | undefined) => boolean,
): Promise<void> {
  return wait(parts, () => parts.moves().some(isSo));
}

/** Until something is so, or the time is over. */
async function wait({ scheduler, isOver }: HabitParts, isSo: () => boolean): Promise<void> {
  const endMs = scheduler.nowMs + waitMsMax;
  while (!isOver() && scheduler.nowMs < endMs && !isSo()) await scheduler.sleep(noticeMs);
}

/** Cuts one off from all the others; the answer takes it back. */
function cutOff({ network, places, isOver }: HabitParts, one: Place | undefined): () => void {
  if (isOver() || one === undefined) return () => {};
  const others = places.filter((each) => each !== one);
  const ways = others.flatMap((other) => [
    [one.address, other.address] as const,
    [other.address, one.address] as const,
  ]);
  for (const [from, to] of ways) network.block(from, to);
  return () => {
    for (const [from, to] of ways) network.unblock(from, to);
  };
}

/** What is on its way to one would come late, and leave nothing missing. */
function loseWires({ network, places }: HabitParts, one: Place | undefined): void {
  if (one !== undefined) for (const other of places) network.cut(one.address, other.address);
}
