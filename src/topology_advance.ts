/**
 * Topology advance: when a move may go on to its next phase, from what its members have told.
 *
 *     0 -> 1   whoever comes is up, and knows of it, and a majority of those that vote from phase 4 on is up,
 *              with votes that count
 *     1 -> 2   m of each set, old and new, know phase 1
 *     2 -> 3   the same of phase 2, and every replica that joins a set has copied it to the end, and m of each
 *              set that becomes smaller have
 *     3 -> 4   the same of phase 3, and of those that vote the same as at the begin
 *     4 -> end m of each new set know phase 4, and who has something to drop, and is up, has dropped it
 *     back     3 -> 2 at once, 2 -> 1 when m of each new set know that reads come from the old ones again, the
 *              rest at once
 *
 * Who goes by any phase below 3, on or back, or by what was before, reads from the old sets and needs its
 * quorum there for each write: these agree with each other, whoever knows what. On the way back only the
 * new sets have to take notice, and only of the end of phase 3: no one else is read. So a lost disk of an
 * old set, which never takes notice, does not keep a move from being taken back.
 *
 * Invariants
 * 1. What a member has told stays true: an epoch it knows durably, a copy that is synced.
 * 2. A member that is down never holds up a phase by itself, where the rest of each of its sets is a majority
 *    (with n = 1 or 2 it is none), unless it is one that has to come or to be filled.
 *
 * Effects: none. Source: rules T1, T4 to T6.
 *
 * @module
 */

import { majority } from "./level.ts";
import {
  isIn,
  isLostSet,
  type Member,
  type MovingRow,
  movedSetsOf,
  sizesInUse,
  type Topology,
  type TopologyMove,
} from "./topology.ts";
import { votersAtEnd } from "./topology_move.ts";

/** What a member has told. */
export interface MemberNews {
  /** The newest document that it has durably; 0: nothing was heard of it. */
  readonly epoch: number;
  /** The move of which it has copied all that it has to; 0: none. */
  readonly filled: number;
  /** The move after which it has dropped all that it had to. */
  readonly dropped: number;
  readonly isUp: boolean;
  /** Its store was rolled back: whatever it is asked, its vote does not count (I3). */
  readonly isVoid?: boolean;
}

export type NewsOf = (nodeId: string) => MemberNews;

/** What the next phase waits for, in words; undefined: it may begin (T4). */
export function whyNotAdvance(topology: Topology, newsOf: NewsOf): string | undefined {
  const { move } = topology;
  if (move === undefined) return "nothing moves";
  // Before anything is copied as well: from phase 1 on not every move can be taken back.
  if (move.phase === 0) return notUp(topology, newsOf) ?? unvoted(topology, move, newsOf);
  const isKnown = ({ nodeId }: Member): boolean => newsOf(nodeId).epoch >= move.since;
  for (const row of move.rows) {
    for (const n of sizesInUse(topology)) {
      const sets = movedSetsOf(topology, row, n);
      for (const set of affectedSets(move, sets)) {
        // Who is lost takes notice of nothing; an operator has answered for that.
        if (isLostSet(topology, set)) continue;
        const count = set.filter(isKnown).length;
        if (count >= majority(set.length)) continue;
        const silent = set.filter((member) => !isKnown(member));
        return `partition ${row.partition} waits for ${namesOf(silent)} to take notice of phase ${move.phase}`;
      }
    }
  }
  if (move.isReverting) return undefined;
  if (move.phase === 2) return unfilled(topology, newsOf);
  if (move.phase === 3) return unvoted(topology, move, newsOf);
  return move.phase === 4 ? undropped(topology, newsOf) : undefined;
}

/** Those that have to take notice of a phase before the next one begins (T4). */
function affectedSets(
  { phase, isReverting }: TopologyMove,
  sets: { readonly old: readonly Member[]; readonly new: readonly Member[] },
): readonly (readonly Member[])[] {
  // In phase 1 and before the move all read the old sets, and need a quorum there: nobody can be wrong.
  if (isReverting) return phase === 2 ? [sets.new] : [];
  // At the very end those that go are not asked any more.
  return phase === 4 ? [sets.new] : [sets.old, sets.new];
}

/** A set of replicas that is written to has to be there, and so has who will be a member, and perhaps a voter. */
function notUp(topology: Topology, newsOf: NewsOf): string | undefined {
  const { move } = topology;
  const open = topology.members.filter(({ nodeId }) => {
    const { isUp, epoch } = newsOf(nodeId);
    const isThere = isUp && epoch >= (move?.since ?? 0);
    if (isThere) return false;
    const isComing = move?.joining.includes(nodeId);
    return isComing || move?.rows.some((row) => joins(topology, row, nodeId));
  });
  if (open.length === 0) return undefined;
  const away = open.filter(({ nodeId }) => !newsOf(nodeId).isUp);
  if (away.length > 0) return say(away, "has to be up", "have to be up");
  return say(open, "has to hear of the move", "have to hear of the move");
}

/** T5. */
function unfilled(topology: Topology, newsOf: NewsOf): string | undefined {
  const { move } = topology;
  const open = topology.members.filter(
    ({ nodeId }) =>
      newsOf(nodeId).filled !== move?.begun &&
      move?.rows.some((row) => joins(topology, row, nodeId)),
  );
  if (open.length === 0) return unmerged(topology, newsOf);
  const away = open.filter(({ nodeId }) => !newsOf(nodeId).isUp);
  if (away.length > 0) {
    return `${say(away, "has to be up, to copy what it", "have to be up, to copy what they")} will hold`;
  }
  return say(open, "copies what it will hold", "copy what they will hold");
}

/** T5: where a set becomes smaller, a majority of the new one has to have what the old one took. */
function unmerged(topology: Topology, newsOf: NewsOf): string | undefined {
  const { move } = topology;
  for (const row of move?.rows ?? []) {
    for (const n of sizesInUse(topology)) {
      const sets = movedSetsOf(topology, row, n);
      if (sets.new.length >= sets.old.length) continue;
      const open = sets.new.filter(({ nodeId }) => newsOf(nodeId).filled !== move?.begun);
      if (sets.new.length - open.length >= majority(sets.new.length)) continue;
      return say(open, "copies what it may lack", "copy what they may lack");
    }
  }
  return undefined;
}

/** T1: where those who vote from phase 4 on are no majority, there is no document after that one. */
function unvoted(topology: Topology, move: TopologyMove, newsOf: NewsOf): string | undefined {
  const voters = votersAtEnd(topology, move);
  const open = topology.members.filter(({ nodeId }) => {
    const { isUp, isVoid = false } = newsOf(nodeId);
    return voters.includes(nodeId) && (!isUp || isVoid);
  });
  if (voters.length - open.length >= majority(voters.length)) return undefined;
  const needed = `${majority(voters.length)} of the ${voters.length} voters that there will be`;
  return `${needed} ${voters.length === 1 ? "has" : "have"} to be up, with a vote that counts: not ${namesOf(open)}`;
}

/** T6; who is away drops what it has when it comes back, before it takes anything again. */
function undropped(topology: Topology, newsOf: NewsOf): string | undefined {
  const { move } = topology;
  const open = topology.members.filter(({ nodeId }) => {
    const { isUp, dropped } = newsOf(nodeId);
    return (
      isUp && dropped !== move?.begun && move?.rows.some((row) => leaves(topology, row, nodeId))
    );
  });
  return open.length === 0
    ? undefined
    : say(open, "drops what it does not hold any more", "drop what they do not hold any more");
}

/** Whether a member comes into a set of a row, for a namespace that there is. */
export function joins(topology: Topology, row: MovingRow, nodeId: string): boolean {
  return sizesInUse(topology).some((n) => {
    const sets = movedSetsOf(topology, row, n);
    return isIn(sets.new, nodeId) && !isIn(sets.old, nodeId);
  });
}

/** Whether a member has to copy a row, for a namespace that there is. */
export function copies(topology: Topology, row: MovingRow, nodeId: string): boolean {
  return sizesInUse(topology).some((n) => hasToCopy(movedSetsOf(topology, row, n), nodeId));
}

/**
 * T5: who comes into a set, and who stays in one that becomes smaller: of m old replicas that took a write, so
 * few may stay that the quorum of the new ones misses them.
 */
export function hasToCopy(
  sets: { readonly old: readonly Member[]; readonly new: readonly Member[] },
  nodeId: string,
): boolean {
  if (!isIn(sets.new, nodeId)) return false;
  return !isIn(sets.old, nodeId) || sets.new.length < sets.old.length;
}

function leaves(topology: Topology, row: MovingRow, nodeId: string): boolean {
  return sizesInUse(topology).some((n) => {
    const sets = movedSetsOf(topology, row, n);
    return isIn(sets.old, nodeId) && !isIn(sets.new, nodeId);
  });
}

function say(members: readonly Member[], one: string, several: string): string {
  return `${namesOf(members)} ${members.length === 1 ? one : several}`;
}

function namesOf(members: readonly Member[]): string {
  return members.map(({ name }) => name).join(", ");
}
