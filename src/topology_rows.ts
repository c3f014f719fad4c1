/**
 * Topology rows: the replicas of every partition in a next document, and who votes on it.
 *
 * The rows come from `placement.ts`; here they become part of the document, with the epoch at which
 * each was last changed (T2) and the epochs at which its replicas joined (T6).
 *
 * Invariants
 * 1. A row that is as before keeps its epochs; a changed one, and whoever joined a set, has the next.
 *
 * Effects: none. Source: rules T1, T2, T6.
 *
 * @module
 */

import { QuorateError } from "./errors.ts";
import { type PlacementRequest, place } from "./placement.ts";
import {
  type Member,
  memberAt,
  replicasMax,
  sinceIn,
  type Topology,
  votersMax,
} from "./topology.ts";

/** A next document with other members or longer rows; what is fixed of the rows stays. */
export function withRows(
  topology: Topology,
  change: {
    readonly members?: readonly Member[];
    readonly depth: number;
    readonly fixed?: number;
  },
): Topology {
  const members = change.members ?? topology.members;
  const epoch = topology.epoch + 1;
  const before = topology.replicas.map((row) =>
    row.map((index) => memberAt(topology, index).nodeId),
  );
  const rows = placed(members, {
    partitions: topology.partitions,
    depth: change.depth,
    before,
    fixed: change.fixed ?? 0,
  });
  const numbers = new Map(members.map(({ nodeId }, index) => [nodeId, index]));
  const replicas = rows.map((row) => row.map((nodeId) => numbers.get(nodeId) as number));
  return {
    ...topology,
    epoch,
    members,
    voters: change.members === undefined ? topology.voters : chooseVoters(members, topology.voters),
    replicas,
    changed: rows.map((row, partition) =>
      sameRow(row, before[partition] ?? []) ? (topology.changed[partition] ?? epoch) : epoch,
    ),
    joined: rows.map((row, partition) =>
      nextJoined(row, before[partition] ?? [], topology.joined[partition] ?? [], epoch),
    ),
  };
}

/** The rows, as node ids, of those members that hold something: of a weight above 0. */
export function placed(
  members: readonly Member[],
  request: Omit<PlacementRequest, "members">,
): string[][] {
  const holders = members.filter(({ weight }) => weight > 0);
  return place({ ...request, members: holders }).map((row) =>
    row.map((index) => (holders[index] as Member).nodeId),
  );
}

/** @throws `contention` while replicas move */
export function refuseMoving({ move, epoch }: Topology): void {
  if (move === undefined) return;
  throw new QuorateError(
    "contention",
    `Replicas are being moved since epoch ${move.begun} (phase ${move.phase}, of 0 to 4).`,
    {
      outcome: "none",
      epoch,
      hint: "Wait for its end (quorate cluster status), or take it back with quorate cluster revert.",
    },
  );
}

/**
 * The epochs at which the replicas of a row joined, from those of the row before, for each n: a list
 * says nothing new of an n that is beyond its end.
 */
export function nextJoined(
  row: readonly string[],
  before: readonly string[],
  joined: readonly (readonly number[])[],
  epoch: number,
): number[][] {
  return row.map((nodeId, position) => {
    const was = before.indexOf(nodeId);
    const sinceOf = (n: number): number => {
      if (was === -1 || was >= Math.min(n, before.length)) return epoch;
      return sinceIn(joined[was] ?? [], was, n) ?? epoch;
    };
    const epochs = Array.from({ length: replicasMax - position }, (_, index) =>
      sinceOf(position + 1 + index),
    );
    // A row that became shorter has more to say than its own length: who left it had a larger n.
    while (epochs.length > row.length - position && epochs.at(-1) === epochs.at(-2)) epochs.pop();
    return epochs;
  });
}

export function sameRow(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((nodeId, position) => nodeId === b[position]);
}

/**
 * Up to five voters, an odd number, over as many zones and hosts as can be; who was one stays where
 * that makes no difference.
 */
export function chooseVoters(members: readonly Member[], present: readonly string[]): string[] {
  const most = Math.min(votersMax, members.length);
  const chosen: Member[] = [];
  while (chosen.length < most - ((most + 1) % 2)) {
    const rest = members.filter((member) => !chosen.includes(member));
    const rank = ({ zone, host, nodeId }: Member): number => {
      const inZone = chosen.filter((other) => other.zone === zone);
      const onHost = inZone.filter((other) => other.host === host);
      return (inZone.length * 8 + onHost.length) * 2 + (present.includes(nodeId) ? 0 : 1);
    };
    // Of equals the first in the document.
    chosen.push(rest.reduce((best, member) => (rank(member) < rank(best) ? member : best)));
  }
  return chosen.map(({ nodeId }) => nodeId);
}
