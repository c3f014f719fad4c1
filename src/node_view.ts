/**
 * Node view: a topology as one node's replica and coordinator look at it.
 *
 * What they ask for at every request (who holds this partition?) is worked out once.
 *
 * Effects: none. Source: rules T2, T3, T5, W1.
 *
 * @module
 */

import type { KeyPlace } from "./coordinator_ports.ts";
import type { ReplicaTopology } from "./replica.ts";
import type { Ring } from "./ring.ts";
import {
  leftOf,
  type Member,
  pairNumber,
  replicasOf,
  sizesInUse,
  type Topology,
  writeSetsOf,
} from "./topology.ts";

export class TopologyView implements ReplicaTopology {
  readonly topology: Topology;
  readonly #ring: Ring;
  readonly #ownNodeId: string;
  /** By partition and n. */
  readonly #replicas = new Map<number, readonly Member[]>();
  readonly #otherSets = new Map<number, readonly Member[] | undefined>();
  readonly #others = new Map<number, readonly string[]>();
  /** By partition and n: whether this node is a replica of it for reads, and for writes. */
  readonly #isReader = new Map<number, boolean>();
  readonly #isWriter = new Map<number, boolean>();

  constructor(topology: Topology, ring: Ring, ownNodeId: string) {
    this.topology = topology;
    this.#ring = ring;
    this.#ownNodeId = ownNodeId;
  }

  get epoch(): number {
    return this.topology.epoch;
  }

  partitionOf(namespaceNumber: number, key: Uint8Array): number {
    return this.#ring.place(namespaceNumber, key).partition;
  }

  changedAt(partition: number): number {
    return this.topology.changed[partition] ?? 0;
  }

  /**
   * Whether this node is read, or written, for a partition: while that moves, others are written too, and what
   * is left of a set that is lost is compared with by those who copy it, in both directions.
   */
  isReplica(partition: number, n: number, use: "read" | "write"): boolean {
    const known = use === "read" ? this.#isReader : this.#isWriter;
    const at = pairNumber(partition, n);
    let isOne = known.get(at);
    if (isOne === undefined) {
      isOne = this.#isReplica(partition, n, use);
      known.set(at, isOne);
    }
    return isOne;
  }

  #isReplica(partition: number, n: number, use: "read" | "write"): boolean {
    const isOwn = ({ nodeId }: Member): boolean => nodeId === this.#ownNodeId;
    if (this.members(partition, n).some(isOwn)) return true;
    if (use === "write" && this.#otherSet(partition, n)?.some(isOwn) === true) return true;
    return leftOf(this.topology, partition, n).some(isOwn);
  }

  document(): unknown {
    return this.topology;
  }

  members(partition: number, n: number): readonly Member[] {
    const at = pairNumber(partition, n);
    let members = this.#replicas.get(at);
    if (members === undefined) {
      members = replicasOf(this.topology, partition, n);
      this.#replicas.set(at, members);
    }
    return members;
  }

  place(namespaceNumber: number, key: Uint8Array, n: number): KeyPlace {
    const partition = this.partitionOf(namespaceNumber, key);
    const place = { epoch: this.epoch, partition, replicas: this.members(partition, n) };
    const other = this.#otherSet(partition, n);
    return other === undefined ? place : { ...place, other };
  }

  /** All that a write goes to. */
  writers(partition: number, n: number): readonly Member[] {
    const read = this.members(partition, n);
    const rest = this.#otherSet(partition, n)?.filter((member) => !read.includes(member)) ?? [];
    return [...read, ...rest];
  }

  /** The second set of a partition that moves (T3). */
  #otherSet(partition: number, n: number): readonly Member[] | undefined {
    const { topology } = this;
    if (topology.move === undefined) return undefined;
    const at = pairNumber(partition, n);
    if (!this.#otherSets.has(at)) this.#otherSets.set(at, writeSetsOf(topology, partition, n)[1]);
    return this.#otherSets.get(at);
  }

  replicasOf(partition: number, n: number) {
    return { epoch: this.epoch, replicas: this.members(partition, n) };
  }

  /** The other replicas of a partition, of any namespace; none where this node has no part in it. */
  othersOf(partition: number): readonly string[] {
    let others = this.#others.get(partition);
    if (others === undefined) {
      const all = this.members(partition, 15).map(({ nodeId }) => nodeId);
      others = this.isReplica(partition, 15, "write")
        ? all.filter((nodeId) => nodeId !== this.#ownNodeId)
        : [];
      this.#others.set(partition, others);
    }
    return others;
  }

  /** The other replicas of a partition for each n in use of which this node is one, where there are others. */
  othersByN(partition: number): ReadonlyMap<number, readonly string[]> {
    const found = new Map<number, readonly string[]>();
    for (const n of sizesInUse(this.topology)) {
      if (!this.isReplica(partition, n, "write")) continue;
      const nodeIds = this.members(partition, n).map(({ nodeId }) => nodeId);
      const others = nodeIds.filter((nodeId) => nodeId !== this.#ownNodeId);
      if (others.length > 0) found.set(n, others);
    }
    return found;
  }
}
