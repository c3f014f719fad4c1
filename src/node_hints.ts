/**
 * NodeHints: whom a hint goes to, and what is made of the answer.
 *
 * A hint is for a store. While the member that has it is among those who take the writes of the partition, it
 * goes there. Once that member has moved away, or its store was replaced, it goes to all who hold the
 * partition now: none of them needs it less than another.
 *
 *     hint for s3, partition 7      s3 is n3's, and n3 holds 7   -> n3
 *                                   n3 holds 7 no more           -> n1, n2, n4, who do
 *                                   its namespace is deleted     -> nobody: done
 *
 * Invariants
 * 1. `done` is answered only when all whom it goes to have durably answered that they have it, or need it no
 *    more, or when its namespace is deleted.
 * 2. One that is away holds up neither the others nor what is kept for other partitions.
 *
 * Effects: those of the ports. Source: rules H1 to H3.
 *
 * @module
 */

import type { Report } from "./capability.ts";
import type { Hint, HintPort, HintReply } from "./handoff.ts";
import type { PeerReply } from "./message.ts";
import type { WriteRequest } from "./quorum_message.ts";
import { encodeRecord, recordBytes } from "./record.ts";
import type { Member, Topology } from "./topology.ts";
import { isDeleted } from "./topology_namespaces.ts";

export interface NodeHintsPorts {
  readonly report: Pick<Report, "sometimes">;
  readonly self: { readonly nodeId: string; readonly storeId: string };
  topology(): Topology;
  /** Who takes the writes of a partition, in a move those of both rows. */
  writers(partition: number, n: number): readonly Member[];
  isUp(nodeId: string): boolean;
  /** Asks another member. @throws where it cannot be reached, or does not answer in time */
  ask(nodeId: string, request: WriteRequest, timeoutMs: number): Promise<Answered>;
  /** Asks this node's own replica. */
  askOwn(request: WriteRequest): Promise<Answered>;
  readonly mark: HintPort["mark"];
}

interface Answered {
  readonly kind: PeerReply["kind"];
}

const hintTimeoutMs = 5000;

export class NodeHints implements HintPort {
  readonly mark: HintPort["mark"];
  readonly #ports: NodeHintsPorts;

  constructor(ports: NodeHintsPorts) {
    this.#ports = ports;
    this.mark = ports.mark;
  }

  isUp(storeId: string): boolean {
    const { isUp, self } = this.#ports;
    if (storeId === self.storeId) return true;
    const member = this.#memberOf(storeId);
    // What is kept for one that is gone goes to those who hold the partition now.
    return member === undefined || isUp(member.nodeId);
  }

  async deliver(hint: Hint): Promise<HintReply> {
    const { topology, writers, report } = this.#ports;
    const present = topology();
    const member = this.#memberOf(hint.storeId);
    const { namespaceNumber, partition, n } = hint;
    // Nobody waits for it any more.
    if (isDeleted(present, namespaceNumber)) return "done";
    // A start may have lost the document that has it, and learns it again.
    if (!present.namespaces.some(({ number }) => number === namespaceNumber)) return "later";
    const holders = writers(partition, n);
    if (member !== undefined && holders.some(({ nodeId }) => nodeId === member.nodeId)) {
      return this.#deliverTo(member, hint);
    }
    // It moved, or its store was replaced: whoever holds the partition now gets it.
    report.sometimes("hint: to those who hold it now");
    // One that is away holds up neither the others nor what is kept for other partitions.
    const replies = await Promise.all(
      holders.map((holder) => (this.isUp(holder.storeId) ? this.#deliverTo(holder, hint) : "away")),
    );
    if (replies.includes("away")) return "away";
    return replies.every((reply) => reply === "done") ? "done" : "later";
  }

  async #deliverTo({ nodeId }: Member, hint: Hint): Promise<HintReply> {
    const { topology, self, ask, askOwn } = this.#ports;
    const { namespaceNumber, key, n, record } = hint;
    const bytes = new Uint8Array(recordBytes(record));
    encodeRecord(record, { namespaceNumber, key }, bytes, 0);
    const request = {
      kind: "write",
      epoch: topology().epoch,
      namespaceNumber,
      n,
      key,
      record: bytes,
      durability: "fsync",
      source: "hint",
      requestId: "hint",
    } as const;
    // Its own replica did not take it either, while it waited to be told what others remember of it.
    const asked = nodeId === self.nodeId ? askOwn(request) : ask(nodeId, request, hintTimeoutMs);
    const reply = await asked.catch(() => undefined);
    switch (reply?.kind) {
      case undefined:
        return "away";
      case "took":
      case "superseded":
      case "covered":
        return "done";
      default:
        return "later";
    }
  }

  #memberOf(storeId: string): Member | undefined {
    return this.#ports.topology().members.find((member) => member.storeId === storeId);
  }
}
