/**
 * TroubleList: what can go wrong in a run, and the lists that a seed draws of it.
 *
 * Each trouble has its time, its kind, whom it meets and how long it lasts. As a list it can be
 * printed, run again, and shortened until only what matters is left. `nemesis` makes them come true.
 *
 * Invariants
 * 1. The same chance draws the same list.
 *
 * Effects: none.
 *
 * @module
 */

import type { Chance } from "./chance.ts";
import type { TroubleOf } from "./trouble.ts";

export const troubleKinds = [
  "kill",
  "power loss",
  "power loss in a sync",
  "kill all",
  "power loss of all",
  "restart",
  "isolate",
  "split",
  "cut pair",
  "one way",
  "reset",
  "stall",
  "slow node",
  "slow disk",
  "clock jump",
  "clock stop",
  "disk fault",
  "sync fault",
  "disk full",
  "table at the commit before",
  "bit flip",
  "roll back",
  "table damage",
] as const;
export type TroubleKind = (typeof troubleKinds)[number];

export type Trouble = TroubleOf<TroubleKind>;

/** What a list of troubles goes by. */
export interface TroubleScope {
  readonly nodes: number;
  readonly safetyMs: number;
}

/** Below this share of `much`, another node misses what comes between a copy and its way back. */
export const missedShare = 0.7;
/** In so many runs something in a table is damaged. */
const tableDamageShare = 0.1;

const deadly: readonly TroubleKind[] = [
  "kill",
  "power loss",
  "power loss in a sync",
  "kill all",
  "power loss of all",
  "disk fault",
  "sync fault",
  "disk full",
  "table at the commit before",
  "bit flip",
  "roll back",
  "table damage",
];

/** Draws the troubles of a run: some kinds of them, some often and some seldom. */
export function drawTroubles(
  chance: Chance,
  scope: TroubleScope,
  only: readonly TroubleKind[] = troubleKinds,
): Trouble[] {
  const calm = chance.happens(0.05);
  // Without a death all that is missed is kept as a hint.
  const common = only.filter((kind) => kind !== "table damage");
  const pool = chance.happens(0.25) ? common.filter((kind) => !isDeadly(kind)) : common;
  const share = chance.pick([0.15, 0.5]);
  const kinds = pool.filter(() => chance.happens(share));
  const gapMs = chance.pick([200, 600, 2000]);
  if (calm || kinds.length === 0) return [];
  const troubles = drawList(chance, { ...scope, kinds, gapMs, lastsMsMax: 8000 });
  // Drawn last, so that it changes nothing else of a seed.
  if (pool.length < common.length || !only.includes("table damage")) return troubles;
  return [...troubles, ...drawTableDamage(chance, scope)];
}

/** One after another of these kinds, `gapMs` apart on average. */
export function drawList(
  chance: Chance,
  { nodes, safetyMs, kinds, gapMs, lastsMsMax }: ListOptions,
): Trouble[] {
  const troubles: Trouble[] = [];
  for (let atMs = chance.between(0, gapMs); atMs < safetyMs; ) {
    const one = chance.below(nodes);
    const kind = chance.pick(kinds);
    const lastsMs = Math.floor(chance.skewed(20, lastsMsMax));
    const other = nodes === 1 ? 0 : (one + 1 + chance.below(nodes - 1)) % nodes;
    troubles.push({ kind, atMs: Math.floor(atMs), lastsMs, one, other, much: chance.fraction() });
    atMs += chance.between(0, 2 * gapMs);
  }
  return troubles;
}

interface ListOptions extends TroubleScope {
  readonly kinds: readonly TroubleKind[];
  readonly gapMs: number;
  readonly lastsMsMax: number;
}

function drawTableDamage(chance: Chance, { nodes, safetyMs }: TroubleScope): Trouble[] {
  if (!chance.happens(tableDamageShare)) return [];
  const one = chance.below(nodes);
  const atMs = Math.floor(chance.between(safetyMs / 4, safetyMs));
  const lastsMs = Math.floor(chance.skewed(20, 8000));
  const rest = { one, other: (one + 1) % nodes, much: chance.fraction() };
  return [{ kind: "table damage", atMs, lastsMs, ...rest }];
}

/** Whether a coordinator may die with a write under way, or fail to keep a hint. */
export function isDeadly(kind: TroubleKind): boolean {
  return deadly.includes(kind);
}

/** One line, for a report. */
export function troubleText({ kind, atMs, lastsMs, one, other, much }: Trouble): string {
  const second = ["cut pair", "one way", "reset"].includes(kind) ? `, n${other + 1}` : "";
  return `${atMs} ms: ${kind} n${one + 1}${second} for ${lastsMs} ms (${much.toFixed(2)})`;
}
