/**
 * CoordinatorAsk: what a read asks the replicas of its key: whom first, when another, and what of an
 * answer is believed.
 *
 * This node comes first, then the peers in the order in which they usually answer, those believed
 * down last. One that takes longer than it usually does is hedged: another is asked beside it.
 *
 * Invariants
 * 1. A record that is handed on has a good checksum (P8).
 * 2. Only answers are measured: a request that failed says nothing of how fast a peer is.
 *
 * Effects: Clock, Report; replicas and peers through ports. Source: Dean and Barroso, "The Tail at
 * Scale" (2013), for hedged requests; promise P8.
 *
 * @module
 */

import { Latencies } from "./coordinator_latency.ts";
import type { ClusterPorts, ReplicaNode, Replied } from "./coordinator_ports.ts";
import type { ReadReply, ReadRequest } from "./quorum_message.ts";
import { isIntact } from "./record.ts";

/** What the questions of one read have in common. */
type Asker = Pick<ReadRequest, "namespaceNumber" | "key" | "n" | "durability" | "requestId">;

interface Question extends Pick<ReadRequest, "epoch" | "wants" | "coverMs"> {
  readonly timeoutMs: number;
}

/** The questions of all reads of one coordinator. */
export class ReadAsks {
  readonly #ports: ClusterPorts;
  readonly #latencies = new Latencies();

  constructor(ports: ClusterPorts) {
    this.#ports = ports;
  }

  /** The replicas' numbers, the nearest first, those believed down last. */
  nearestFirst(replicas: readonly ReplicaNode[]): number[] {
    const { nodeId: own, peers } = this.#ports;
    const costs = replicas.map(({ nodeId }): number => {
      if (nodeId === own) return -1;
      return peers.isUp(nodeId) ? this.#latencies.meanMs(nodeId) : Number.MAX_VALUE;
    });
    const order = replicas.map((_, replica) => replica);
    return order.sort((a, b) => (costs[a] as number) - (costs[b] as number));
  }

  /** How long an answer of this replica is waited for before another is asked; 0: not hedged. */
  hedgeMs({ nodeId }: ReplicaNode): number {
    return nodeId === this.#ports.nodeId ? 0 : this.#latencies.hedgeMs(nodeId);
  }

  /** Asks one replica; rejects when it cannot be reached or does not answer in time. */
  async ask(
    { namespaceNumber, key, n, durability, requestId }: Asker,
    { nodeId }: ReplicaNode,
    { epoch, wants, coverMs, timeoutMs }: Question,
  ): Promise<Replied<ReadReply>> {
    const { clock, local, peers } = this.#ports;
    const request: ReadRequest = {
      kind: "read",
      epoch,
      namespaceNumber,
      n,
      key,
      wants,
      durability,
      coverMs,
      requestId,
    };
    if (nodeId === this.#ports.nodeId) return this.#believed(request, await local.read(request));
    const sentMs = clock.monotonicMs();
    const reply = await peers.read(nodeId, request, { timeoutMs });
    this.#latencies.note(nodeId, clock.monotonicMs() - sentMs);
    return this.#believed(request, reply);
  }

  #believed({ namespaceNumber, key }: ReadRequest, reply: Replied<ReadReply>): Replied<ReadReply> {
    if (reply.kind !== "found" || reply.record === undefined) return reply;
    if (isIntact(reply.record, namespaceNumber, key)) return reply;
    this.#ports.report.sometimes("coordinator: a damaged answer");
    const detail = "its answer was damaged on the way";
    return { kind: "refused", reason: "corruption", detail, from: reply.from };
  }
}
