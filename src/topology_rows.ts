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

import { place } from "./placement.ts";
import { type Member, memberAt, type Topology, votersMax } from "./topology.ts";

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
  const replicas = place({
    members,
    partitions: topology.partitions,
    depth: change.depth,
    before,
    fixed: change.fixed ?? 0,
  });
  const rows = replicas.map((row) => row.map((index) => (members[index] as Member).nodeId));
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

/**
 * The epochs at which the replicas of a row joined, from those of the row before. Where the row
 * before was shorter than a depth, all of it was the set of that depth.
 */
export function nextJoined(
  row: readonly string[],
  before: readonly string[],
  joined: readonly (readonly number[])[],
  epoch: number,
): number[][] {
  return row.map((nodeId, position) => {
    const was = before.indexOf(nodeId);
    return Array.from({ length: row.length - position }, (_, index) => {
      const depth = Math.min(position + 1 + index, before.length);
      return was === -1 || was >= depth ? epoch : (joined[was]?.[depth - 1 - was] ?? epoch);
    });
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
