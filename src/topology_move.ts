/**
 * Topology move: how replicas come to stand elsewhere, one document after another (T3).
 *
 *     withMove   -> 0 -> 1 write to both -> 2 copying -> 3 reads from the new -> 4 dropping -> over
 *     withRevert    |    1 <------------- 2 <---------- 3
 *                   `----`-> as it was before
 *
 * In phase 0 nothing is otherwise yet, but that those who come are members: writes need them from phase
 * 1 on, and votes at the end, so they have to be up first, those as well that come to hold nothing.
 *
 * Members that join are in the document from phase 0, those that leave until the last one, and
 * weights and zones are what they will be when it is over. One move is under way at a time, of as
 * many members as one likes. Who may take the next step, and when, is in `topology_advance.ts` (T4).
 *
 * The last document is chosen without those that leave: from phase 4 on the voters are those that
 * there are at the end. Who leaves may be stopped as soon as it knows the last document, and nobody
 * has to ask it any more for what was chosen: a majority of the voters took part in that.
 *
 * Invariants
 * 1. Each step's epoch is one above the document's, and `isSuccessor` holds of it.
 * 2. A partition whose row stays as it is has no part in the move.
 * 3. A step that is not the next one of the move that was meant is none: undefined.
 * 4. Who leaves is no voter of the document before the one without it.
 *
 * Effects: none. Source: rules T2, T3, T6; invariants of `placement.ts` for what has to move.
 *
 * @module
 */

import { assert } from "./assert.ts";
import { QuorateError } from "./errors.ts";
import { isOn } from "./protocol.ts";
import {
  largestN,
  type Member,
  type MovedSite,
  type MovePhase,
  type MovingRow,
  memberAt,
  membersMax,
  protocolOf,
  type Topology,
  type TopologyMove,
} from "./topology.ts";
import { chooseVoters, nextJoined, placed, refuseMoving, sameRow } from "./topology_rows.ts";
import { type MemberFacts, memberIn, refuseBehind, refuseKnown } from "./topology_steps.ts";

/** What an operator wants to be otherwise. */
export interface MoveChange {
  readonly join: readonly MemberFacts[];
  /** Node ids. */
  readonly leave: readonly string[];
  /** Who comes in the place of a member that leaves; both are in the lists above as well. */
  readonly replace: readonly { readonly nodeId: string; readonly by: string }[];
  readonly sites: readonly MovedSite[];
  /** Who is replaced is lost for good, with what only it held. */
  readonly isLossAccepted?: boolean;
}

/** The first phase of a move, or the whole of it where nothing has to wait; undefined: nothing changes. */
export function withMove(topology: Topology, change: MoveChange): Topology | undefined {
  refuseMoving(topology);
  for (const facts of change.join) refuseBehind(topology, facts);
  const joining = change.join.map((facts) => memberIn(topology, facts));
  const all = [...topology.members];
  for (const member of joining) {
    const staying = all.filter(({ nodeId }) => !change.leave.includes(nodeId));
    refuseKnown([...staying, ...all.filter((one) => !staying.includes(one)).map(unnamed)], member);
    all.push(member);
  }
  // Those that leave are members until it is over.
  if (all.length > membersMax) {
    throw invalid(
      `A cluster has at most ${membersMax} members, and ${all.length} would be in this move.`,
      topology.members.length < membersMax
        ? "Take in fewer at once."
        : "Let another member leave first.",
    );
  }
  const after = membersAfter(all, change);
  if (!after.some(({ weight }) => weight > 0)) {
    throw invalid(
      "No member would be left that holds anything.",
      "Keep at least one member of a weight above 0.",
    );
  }
  const isSame = joining.length === 0 && change.leave.length === 0;
  if (isSame && change.sites.every((site) => isSite(topology, site))) return undefined;
  const epoch = topology.epoch + 1;
  const rows = movingRows({ ...topology, members: all }, after, change, epoch);
  const began: Topology = {
    ...topology,
    epoch,
    members: all,
    move: {
      ...{ begun: epoch, phase: 0, since: epoch, isReverting: false },
      joining: joining.map(({ nodeId }) => nodeId),
      leaving: change.leave,
      lost: change.isLossAccepted === true ? change.replace.map(({ nodeId }) => nodeId) : [],
      sites: change.sites,
      rows,
    },
  };
  const isVoting = change.leave.some((nodeId) => topology.voters.includes(nodeId));
  // Who comes may be a voter then, and may be gone: that it is up has to be seen before it counts as one.
  const isComing = joining.length > 0 && isOn(protocolOf(topology), "joins-by-phases");
  return rows.length > 0 || isVoting || isComing ? began : ended(began, epoch);
}

/** The next phase of the move that was begun at an epoch, from the phase that began at another one. */
export function withNextPhase(
  topology: Topology,
  { begun, since }: Pick<TopologyMove, "begun" | "since">,
): Topology | undefined {
  const { move } = topology;
  if (move === undefined || move.begun !== begun || move.since !== since) return undefined;
  const epoch = topology.epoch + 1;
  if (move.isReverting) {
    return move.phase === 1 ? undone(topology, epoch) : atPhase(topology, 1, true);
  }
  return move.phase === 4
    ? ended(topology, epoch)
    : atPhase(topology, (move.phase + 1) as MovePhase, false);
}

/** The first step back; the others follow by `withNextPhase`. @throws `invalid-request` */
export function withRevert(topology: Topology): Topology | undefined {
  const { move } = topology;
  if (move === undefined) {
    throw invalid("Nothing moves at present.", "quorate cluster plan says what could.");
  }
  if (move.isReverting) return undefined;
  const refused = whyNotRevert(move);
  if (refused !== undefined) throw refused;
  if (move.phase === 0) return undone(topology, topology.epoch + 1);
  return atPhase(topology, move.phase === 3 ? 2 : 1, true);
}

/** Why a move goes on to its end, whoever wants it back; undefined: it can be taken back. */
export function whyNotRevert({
  lost,
  phase,
}: Pick<TopologyMove, "lost" | "phase">): QuorateError | undefined {
  // In phase 0 all is as it was. From phase 1 on writes may be in the new sets alone.
  if (lost.length > 0 && phase > 0) {
    return invalid(
      "The move takes the place of a member that is lost, so it cannot be taken back.",
      "Wait for its end: quorate cluster status.",
    );
  }
  if (phase < 4) return undefined;
  return invalid(
    "The old replicas are being dropped already, so the move cannot be taken back.",
    "Wait for its end, then plan the opposite change.",
  );
}

/** Who votes from phase 4 on (T1). */
export function votersAtEnd(
  { members, voters }: Topology,
  { leaving, sites }: Pick<TopologyMove, "leaving" | "sites">,
): string[] {
  return chooseVoters(membersAfter(members, { leave: leaving, sites }), voters);
}

/** The members when all is over. */
function membersAfter(
  members: readonly Member[],
  { leave, sites }: Pick<MoveChange, "leave" | "sites">,
): Member[] {
  const found = new Map(sites.map((site) => [site.nodeId, site]));
  return members
    .filter(({ nodeId }) => !leave.includes(nodeId))
    .map((member) => {
      const site = found.get(member.nodeId);
      return site === undefined ? member : { ...member, zone: site.zone, weight: site.weight };
    });
}

/** The rows that will be others. */
function movingRows(
  topology: Topology,
  after: readonly Member[],
  { replace }: MoveChange,
  epoch: number,
): MovingRow[] {
  const { members, partitions, namespaces, joined } = topology;
  const by = new Map(replace.map((one) => [one.nodeId, one.by]));
  const present = topology.replicas.map((row) =>
    row.map((index) => memberAt(topology, index).nodeId),
  );
  const rows = placed(after, {
    partitions,
    depth: largestN(namespaces),
    // Who replaces another one stands where that one stood.
    before: present.map((row) => row.map((nodeId) => by.get(nodeId) ?? nodeId)),
  });
  const numbers = new Map(members.map(({ nodeId }, index) => [nodeId, index]));
  return rows.flatMap((next, partition): MovingRow[] => {
    const before = present[partition] ?? [];
    if (sameRow(next, before)) return [];
    return [
      {
        partition,
        replicas: next.map((nodeId) => numbers.get(nodeId) as number),
        joined: nextJoined(next, before, joined[partition] ?? [], epoch),
      },
    ];
  });
}

function atPhase(topology: Topology, phase: MovePhase, isReverting: boolean): Topology {
  const move = topology.move as TopologyMove;
  const epoch = topology.epoch + 1;
  // Where reads come from changes between 2 and 3; where writes go to, into 1 and into 4.
  const isSwapped = move.phase >= 3 !== phase >= 3;
  const next = isSwapped ? swapped(topology) : topology;
  const rows = next.move?.rows ?? [];
  const isChanged = isSwapped || phase === 4 || move.phase === 0;
  return {
    ...next,
    epoch,
    voters: phase === 4 ? votersAtEnd(topology, move) : topology.voters,
    changed: isChanged ? raised(topology.changed, rows, epoch) : topology.changed,
    move: { ...move, rows, phase, isReverting, since: epoch },
  };
}

/** The two rows of each partition that moves change places. */
function swapped(topology: Topology): Topology {
  const move = topology.move as TopologyMove;
  const replicas = [...topology.replicas];
  const joined = [...topology.joined];
  const rows = move.rows.map((row): MovingRow => {
    const { partition } = row;
    const other = {
      partition,
      replicas: replicas[partition] as readonly number[],
      joined: joined[partition] as readonly (readonly number[])[],
    };
    replicas[partition] = row.replicas;
    joined[partition] = row.joined;
    return other;
  });
  return { ...topology, replicas, joined, move: { ...move, rows } };
}

/** All is where it was to come. */
function ended(topology: Topology, epoch: number): Topology {
  const move = topology.move as TopologyMove;
  const members = membersAfter(topology.members, { leave: move.leaving, sites: move.sites });
  return without({ ...topology, epoch }, members);
}

/** All is as it was before. */
function undone(topology: Topology, epoch: number): Topology {
  const move = topology.move as TopologyMove;
  const members = topology.members.filter(({ nodeId }) => !move.joining.includes(nodeId));
  const changed = raised(topology.changed, move.rows, epoch);
  return without({ ...topology, epoch, changed }, members);
}

/** Without a move, with these members. */
function without({ move: _, ...topology }: Topology, members: readonly Member[]): Topology {
  const numbers = new Map(members.map(({ nodeId }, index) => [nodeId, index]));
  return {
    ...topology,
    members,
    voters: chooseVoters(members, topology.voters),
    replicas: topology.replicas.map((row) =>
      row.map((index) => {
        const number = numbers.get(memberAt(topology, index).nodeId);
        assert(number !== undefined, "topology: who leaves holds nothing any more");
        return number;
      }),
    ),
  };
}

function raised(
  changed: readonly number[],
  rows: readonly MovingRow[],
  epoch: number,
): readonly number[] {
  const next = [...changed];
  for (const { partition } of rows) next[partition] = epoch;
  return next;
}

function isSite({ members }: Topology, { nodeId, zone, weight }: MovedSite): boolean {
  const member = members.find((one) => one.nodeId === nodeId);
  assert(member !== undefined, "topology: who gets another weight or zone is a member");
  return member.zone === zone && member.weight === weight;
}

/** A member that leaves gives its name to whoever comes, never its node id or store (I1). */
function unnamed(member: Member): Member {
  return { ...member, name: "" };
}

function invalid(detail: string, hint: string): QuorateError {
  return new QuorateError("invalid-request", detail, { outcome: "none", hint });
}
