/**
 * Topology: the document on which a cluster agrees.
 *
 * It names the cluster, its members, the voters that choose the next document, the namespaces with
 * their policies, and for each partition its replicas in order. Every change makes a whole next
 * document with the next epoch (`topology_steps.ts`); nothing is changed in place.
 *
 *     replicas  [2, 0, 1]                members 2, 0 and 1, by their place in `members`
 *     changed   7                        these or their order are so since epoch 7
 *     joined    [[7, 7, 7],              member 2 is among the first 1, 2 and 3 since epoch 7
 *                [3, 3],                 member 0 among the first 2 and 3 since epoch 3
 *                [5]]                    member 1 among the first 3 since epoch 5
 *
 * A namespace with n replicas uses the first n of a row, so "joined" has a meaning for each n apart:
 * a member that comes to the front of a row joins the sets of the small n only. What a member keeps
 * of a set under an older join is no data (T6). The last epoch of a list is that of all larger n.
 *
 * While replicas move, a partition that is concerned has two rows: `replicas` has the one that is
 * read, and `move` the other one, with its own "joined".
 *
 *     phase              0 come up   1 write to both   2 copy   3 read from the new   4 drop
 *     row in `replicas`  old         old               old      new                   new
 *     row in `move`      new         new               new      old                   old
 *     a write needs      the old     both              both     both                  the new
 *
 * Invariants
 * 1. A row has as many replicas as the largest n in use, or all members that take part while there
 *    are fewer; it may be longer, never shorter. No member is in it twice.
 * 2. Node ids and store ids of members are unique, names of those that stay; voters are members.
 * 3. A namespace's number is never used again (T8); `default` is number 0 and always there.
 *
 * Effects: none. Source: rules T1, T2, T3, T6, T8.
 *
 * @module
 */

import type { Namespace, NamespacePolicy } from "./api.ts";
import { assert } from "./assert.ts";
import { formats, isOn, type MemberProgram } from "./protocol.ts";

/** Format 3 is that of version 1 of the protocol: it says nothing of programs and of versions. */
export const topologyFormat: number = formats.topology;
export const topologyFormatOfOne = 3;
export const membersMax = 300;
export const votersMax = 5;
export const namespacesMax = 1000;
/** Deleted namespaces whose records are not known to be gone at all members. */
export const droppedMax = 1000;
/** The most replicas that a namespace may ask for. */
export const replicasMax = 9;
export const addressesMax = 8;
export const weightMax = 1000;
export const weightDefault = 100;
export const zoneDefault = "default";

export interface Member {
  /** 32 hex digits each. */
  readonly nodeId: string;
  readonly storeId: string;
  readonly name: string;
  /** `host:port` for traffic between nodes, the best first. Empty: only in a cluster of one. */
  readonly addresses: readonly string[];
  /** Where clients reach it, for example `http://10.0.0.7:8080`. */
  readonly clientUrl?: string;
  /** Members that may fail together; replicas are spread over zones, then over hosts. */
  readonly zone: string;
  readonly host: string;
  /** 0 to 1,000: a member of weight 200 holds twice what one of 100 does, one of 0 nothing. */
  readonly weight: number;
  /** What it runs, as it told; only where `member-programs` is on. */
  readonly program?: MemberProgram;
}

export type MovePhase = 0 | 1 | 2 | 3 | 4;

/** A partition that moves. */
export interface MovingRow {
  readonly partition: number;
  /** The row that is not in `replicas`: the new one until reads move, then the old one. */
  readonly replicas: readonly number[];
  readonly joined: readonly (readonly number[])[];
}

/** What a member is told to be when a move has come to its end. */
export interface MovedSite {
  readonly nodeId: string;
  readonly zone: string;
  readonly weight: number;
}

/** A move of replicas that is under way (T3). */
export interface TopologyMove {
  /** The epoch of its beginning: by it a move is named. */
  readonly begun: number;
  readonly phase: MovePhase;
  /** The epoch at which this phase began (T4). */
  readonly since: number;
  /** It goes back: to phase 1, and then to what was before. */
  readonly isReverting: boolean;
  /** Members that are there since this move; they go when it is taken back. */
  readonly joining: readonly string[];
  /** Members that go when it is over. */
  readonly leaving: readonly string[];
  /** Of those that leave: lost for good, with what only they held, as an operator has said. */
  readonly lost: readonly string[];
  /** Weights and zones that are so when it is over. */
  readonly sites: readonly MovedSite[];
  /** By partition, ascending. */
  readonly rows: readonly MovingRow[];
}

export interface Topology {
  readonly format: number;
  /** The version of the protocol that is turned on; undefined: 1. It never goes back. */
  readonly protocol?: number;
  /** 32 hex digits; the ring is seeded from it. */
  readonly clusterId: string;
  readonly epoch: number;
  readonly partitions: number;
  readonly members: readonly Member[];
  /** Up to five node ids: they choose the next document (T1). */
  readonly voters: readonly string[];
  /** For each partition: indexes of members. */
  readonly replicas: readonly (readonly number[])[];
  /** For each partition: the epoch of its last change (T2). */
  readonly changed: readonly number[];
  /** For each partition and replica: the epochs at which it joined, see the header (T6). */
  readonly joined: readonly (readonly (readonly number[])[])[];
  readonly namespaces: readonly Namespace[];
  readonly nextNamespaceNumber: number;
  /** Numbers of deleted namespaces whose records are not known to be gone at all members. */
  readonly dropped: readonly number[];
  readonly move?: TopologyMove;
}

export const policyDefault: NamespacePolicy = {
  n: 3,
  r: "quorum",
  w: "quorum",
  resolve: "lww",
  valueBytesMax: 1024 * 1024,
  durability: "fsync",
};

/** The version of the protocol that is turned on in a cluster. */
export function protocolOf({ protocol }: Topology): number {
  return protocol ?? 1;
}

/** The format of a document in which a version is turned on. */
export function formatOfProtocol(version: number): number {
  return isOn(version, "member-programs") ? topologyFormat : topologyFormatOfOne;
}

/** The replicas that a namespace with n = `n` reads of a partition, in order. */
export function replicasOf(topology: Topology, partition: number, n: number): readonly Member[] {
  const read = membersOf(topology, rowOf(topology, partition), n);
  if (!isTwofold(topology) || !isLostSet(topology, read)) return read;
  // Nobody can say any more what it held: the new set begins with what the others have.
  const other = otherRowOf(topology, partition);
  return other === undefined ? read : membersOf(topology, other.replicas, n);
}

/**
 * How many replicas each key of a namespace with n = `n` has: fewer than n where fewer members hold
 * something. All rows that are read have the same length, and a change of it moves them all.
 */
export function replicaCount(topology: Topology, n: number): number {
  return Math.min(n, rowOf(topology, 0).length);
}

/** Those of a set that are not lost for good with what they held, as an operator has said. */
export function notLost({ move }: Topology, set: readonly Member[]): readonly Member[] {
  const lost = move?.lost ?? [];
  return set.filter(({ nodeId }) => !lost.includes(nodeId));
}

/** Whether so many of a set are lost that the rest is no majority of it. */
export function isLostSet(topology: Topology, set: readonly Member[]): boolean {
  if (topology.move === undefined || topology.move.lost.length === 0) return false;
  return 2 * notLost(topology, set).length <= set.length;
}

/**
 * Whom a set that is lost has left, while the new one begins with what they hold: nobody reads or writes the set
 * any more, and it is copied from them.
 */
export function leftOf(topology: Topology, partition: number, n: number): readonly Member[] {
  if (!isTwofold(topology) || topology.move?.lost.length === 0) return [];
  const row = otherRowOf(topology, partition);
  if (row === undefined) return [];
  const { old } = movedSetsOf(topology, row, n);
  return isLostSet(topology, old) ? notLost(topology, old) : [];
}

/**
 * The sets of replicas in each of which a write needs its quorum (T3): one, or while the partition
 * moves that which is read and the other one.
 */
export function writeSetsOf(
  topology: Topology,
  partition: number,
  n: number,
): readonly (readonly Member[])[] {
  const read = replicasOf(topology, partition, n);
  const other = isTwofold(topology) ? otherRowOf(topology, partition) : undefined;
  if (other === undefined) return [read];
  const set = membersOf(topology, other.replicas, n);
  return sameMembers(read, set) || isLostSet(topology, set) ? [read] : [read, set];
}

/** Whether writes go to two sets where something moves. */
function isTwofold({ move }: Topology): boolean {
  return move !== undefined && move.phase >= 1 && move.phase <= 3;
}

/** The other row of a partition that moves; undefined for one that does not. */
export function otherRowOf(topology: Topology, partition: number): MovingRow | undefined {
  const rows = topology.move?.rows ?? [];
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((rows[middle] as MovingRow).partition < partition) low = middle + 1;
    else high = middle;
  }
  const found = rows[low];
  return found?.partition === partition ? found : undefined;
}

/** The old and the new set of a partition that moves, for a namespace with n = `n`. */
export function movedSetsOf(
  topology: Topology,
  row: MovingRow,
  n: number,
): { readonly old: readonly Member[]; readonly new: readonly Member[] } {
  const read = membersOf(topology, rowOf(topology, row.partition), n);
  const other = membersOf(topology, row.replicas, n);
  const isMoved = (topology.move?.phase ?? 1) >= 3;
  return isMoved ? { old: other, new: read } : { old: read, new: other };
}

/** Since which epoch a node is a replica of a partition for n; undefined: it is none that counts. */
export function joinedAt(
  topology: Topology,
  partition: number,
  n: number,
  nodeId: string,
): number | undefined {
  const row = rowOf(topology, partition);
  const read = joinedIn(topology, row, topology.joined[partition] ?? [], { n, nodeId });
  if (read !== undefined || !isTwofold(topology)) return read;
  const other = otherRowOf(topology, partition);
  if (other === undefined) return undefined;
  return joinedIn(topology, other.replicas, other.joined, { n, nodeId });
}

function joinedIn(
  topology: Topology,
  row: readonly number[],
  joined: readonly (readonly number[])[],
  { n, nodeId }: { readonly n: number; readonly nodeId: string },
): number | undefined {
  const depth = Math.min(n, row.length);
  const position = row.findIndex((index) => memberAt(topology, index).nodeId === nodeId);
  if (position === -1 || position >= depth) return undefined;
  return sinceIn(joined[position] ?? [], position, n);
}

/** What the list of a replica says for n: its last epoch is that of every larger n as well. */
export function sinceIn(
  epochs: readonly number[],
  position: number,
  n: number,
): number | undefined {
  return epochs[Math.min(n - 1 - position, epochs.length - 1)];
}

function membersOf(topology: Topology, row: readonly number[], n: number): readonly Member[] {
  return row.slice(0, n).map((index) => memberAt(topology, index));
}

export function sameMembers(a: readonly Member[], b: readonly Member[]): boolean {
  return a.length === b.length && a.every((member) => b.includes(member));
}

export function memberById(topology: Topology, nodeId: string): Member | undefined {
  return topology.members.find((member) => member.nodeId === nodeId);
}

/** A partition as the namespaces of one n see it, as one number: in memory, and in a data folder. */
export function pairNumber(partition: number, n: number): number {
  return partition * 16 + n;
}

/** What `pairNumber` has made a number of. */
export function pairOf(number: number): { readonly partition: number; readonly n: number } {
  return { partition: Math.floor(number / 16), n: number % 16 };
}

/** Whether a node is one of these members. */
export function isIn(members: readonly Member[], nodeId: string): boolean {
  return members.some((member) => member.nodeId === nodeId);
}

/** The n of the namespaces, each once. */
export function sizesInUse({ namespaces }: Topology): readonly number[] {
  return [...new Set(namespaces.map(({ policy }) => policy.n))];
}

/** The numbers of the namespaces that have one n. */
export function numbersOf({ namespaces }: Topology, n: number): readonly number[] {
  return namespaces.filter(({ policy }) => policy.n === n).map(({ number }) => number);
}

/**
 * Whether who has begun to compare a partition by one document may go on by a later one: its replicas are
 * the same, and were so all the time (T2), and no namespace has come that would be left out.
 */
export function isSamePair(
  before: Topology,
  later: Topology,
  { partition, n }: { readonly partition: number; readonly n: number },
): boolean {
  if (later.changed[partition] !== before.changed[partition]) return false;
  const stores = replicasOf(before, partition, n).map(({ storeId }) => storeId);
  const replicas = replicasOf(later, partition, n);
  const known = new Set(numbersOf(before, n));
  return (
    replicas.length === stores.length &&
    replicas.every(({ storeId }, place) => storeId === stores[place]) &&
    numbersOf(later, n).every((number) => known.has(number))
  );
}

/** The largest n of the namespaces: so long are the rows, where there are so many members. */
export function largestN(namespaces: readonly Namespace[]): number {
  return namespaces.reduce((most, { policy }) => Math.max(most, policy.n), 1);
}

/** What a member holds of the ring. */
export interface Share {
  /** Partitions whose first replica it is. */
  readonly first: number;
  /** Partitions in whose rows it is. */
  readonly all: number;
}

/** The share of each member, in the order of the document. */
export function sharesOf(topology: Topology): readonly Share[] {
  const shares = topology.members.map(() => ({ first: 0, all: 0 }));
  for (const row of topology.replicas) {
    row.forEach((index, position) => {
      const share = shares[index];
      assert(share !== undefined, "topology: a replica is a member");
      share.all += 1;
      if (position === 0) share.first += 1;
    });
  }
  return shares;
}

function rowOf(topology: Topology, partition: number): readonly number[] {
  const row = topology.replicas[partition];
  assert(row !== undefined, "topology: a partition has a row");
  return row;
}

export function memberAt(topology: Topology, index: number): Member {
  const member = topology.members[index];
  assert(member !== undefined, "topology: a replica is a member");
  return member;
}
