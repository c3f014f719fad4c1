/**
 * Draw: what a seed draws before its run begins: the knobs of a world, and the troubles in it.
 *
 * Invariants
 * 1. The same chance and options draw the same.
 * 2. What is drawn after it does not depend on whether troubles were given.
 *
 * Effects: none.
 *
 * @module
 */

import type { Chance } from "./chance.ts";
import { type Focus, type FocusName, focuses } from "./focus.ts";
import { drawKnobs, type Knobs, type WorkloadKind, workloadOf } from "./knobs.ts";
import { drawTroubles, type Trouble, type TroubleKind } from "./trouble_list.ts";

export interface DrawOptions {
  /** Instead of those that the seed draws. */
  readonly troubles?: readonly Trouble[];
  /** Only these are drawn; not beside `focus`, which draws its own. */
  readonly only?: readonly TroubleKind[];
  /**
   * `many`: a world whose members come and go, and the run lasts until at least three changes were begun;
   * `none`: one whose members stay. Default: as the seed draws it. Not beside `focus`, which says that itself.
   */
  readonly moves?: "many" | "none";
  /** What the clients do. Default: as the seed draws it. */
  readonly workload?: WorkloadKind;
  /** A world in which one kind of moment is common. Default: as the seed draws it. */
  readonly focus?: FocusName;
}

/** What is drawn before a run begins. */
export interface Drawn {
  readonly knobs: Knobs;
  readonly troubles: readonly Trouble[];
  readonly focus: Focus | undefined;
}

export function draw(chance: Chance, options: DrawOptions): Drawn {
  const focus: Focus | undefined = options.focus === undefined ? undefined : focuses[options.focus];
  const world = drawKnobsOf(chance.fork(), options.moves ?? focus?.moves);
  const focused = focus?.knobs(world) ?? world;
  const knobs = { ...focused, workload: workloadOf(focused.workload, options.workload) };
  const { nodes, spares, safetyMs } = knobs;
  const scope = { nodes: nodes + spares, safetyMs };
  // In any case (invariant 2).
  const drawn =
    focus?.troubles(chance.fork(), scope) ?? drawTroubles(chance.fork(), scope, options.only);
  return { knobs, troubles: options.troubles ?? drawn, focus };
}

/** The first knobs that a seed draws of a kind. */
function drawKnobsOf(chance: Chance, moves: DrawOptions["moves"]): Knobs {
  if (moves === undefined) return drawKnobs(chance);
  for (;;) {
    const knobs = drawKnobs(chance.fork());
    const isMoving = knobs.memberGapMs !== undefined && knobs.nodes >= 3;
    if (moves === "many" ? isMoving : knobs.memberGapMs === undefined) return knobs;
  }
}
