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
 * of a set under an older join is no data (T6).
 *
 * Invariants
 * 1. A row has as many replicas as the largest n in use, or all members while there are fewer;
 *    it may be longer, never shorter. No member is in it twice.
 * 2. Node ids, store ids and names of members are unique; voters are members.
 * 3. A namespace's number is never used again (T8); `default` is number 0 and always there.
 *
 * Effects: none. Source: rules T1, T2, T6, T8.
 *
 * @module
 */

import type { Namespace, NamespacePolicy } from "./api.ts";
import { assert } from "./assert.ts";

export const topologyFormat = 2;
export const membersMax = 300;
export const votersMax = 5;
export const namespacesMax = 1000;
/** Deleted namespaces whose records are still being removed. */
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
  /** 1 to 1,000: a member of weight 200 holds twice what one of 100 does. */
  readonly weight: number;
}

export interface Topology {
  readonly format: number;
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
  /** Numbers of deleted namespaces whose records are still being removed. */
  readonly dropped: readonly number[];
}

export const policyDefault: NamespacePolicy = {
  n: 3,
  r: "quorum",
  w: "quorum",
  resolve: "lww",
  valueBytesMax: 1024 * 1024,
  durability: "fsync",
};

/** The replicas that a namespace with n = `n` has of a partition, in order. */
export function replicasOf(topology: Topology, partition: number, n: number): readonly Member[] {
  return rowOf(topology, partition)
    .slice(0, n)
    .map((index) => memberAt(topology, index));
}

/** Since which epoch a node is among the first `n` replicas of a partition; undefined: it is not. */
export function joinedAt(
  topology: Topology,
  partition: number,
  n: number,
  nodeId: string,
): number | undefined {
  const row = rowOf(topology, partition);
  const depth = Math.min(n, row.length);
  const position = row.findIndex((index) => memberAt(topology, index).nodeId === nodeId);
  if (position === -1 || position >= depth) return undefined;
  return topology.joined[partition]?.[position]?.[depth - 1 - position];
}

export function memberById(topology: Topology, nodeId: string): Member | undefined {
  return topology.members.find((member) => member.nodeId === nodeId);
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
