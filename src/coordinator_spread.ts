/**
 * CoordinatorSpread: brings a record that some replica holds to others, and waits for enough of them.
 *
 * Effects: replicas and peers through ports. Source: rules R1, W4 (versions are carried as they are).
 *
 * @module
 */

import type { ClusterPorts, Replied } from "./coordinator_ports.ts";
import type { WriteReply, WriteRequest } from "./quorum_message.ts";
import { AckCount } from "./quorum_read.ts";

/** Asks all of them; resolves when so many have said yes, rejects when that cannot be any more. */
export function acked(options: {
  readonly needed: number;
  readonly asked: readonly number[];
  readonly ask: (replica: number) => Promise<boolean>;
  readonly error: () => Error;
}): Promise<void> {
  const { needed, asked, ask, error } = options;
  return new Promise((resolve, reject) => {
    const acks = new AckCount(needed, asked);
    const step = (replica: number, isAck: boolean): void => {
      const verdict = acks.step(replica, isAck);
      if (verdict === "done") resolve();
      if (verdict === "failed") reject(error());
    };
    if (acks.verdict === "failed") reject(error());
    for (const replica of asked) {
      ask(replica).then(
        (isAck) => step(replica, isAck),
        () => step(replica, false),
      );
    }
  });
}

/** Sends a record that was read from a replica to a node, durably. */
export function sendHeld(
  ports: Pick<ClusterPorts, "nodeId" | "local" | "peers">,
  {
    namespaceNumber,
    key,
    n,
    requestId,
  }: Pick<WriteRequest, "namespaceNumber" | "key" | "n" | "requestId">,
  nodeId: string,
  held: {
    readonly record: Uint8Array;
    readonly source: "write-back" | "repair";
    readonly epoch: number;
    readonly timeoutMs: number;
  },
): Promise<Replied<WriteReply>> {
  const { record, source, epoch, timeoutMs } = held;
  const request: WriteRequest = {
    kind: "write",
    epoch,
    namespaceNumber,
    n,
    key,
    record,
    durability: "fsync",
    source,
    requestId,
  };
  // The bytes came from a replica: they are checked wherever they go.
  if (nodeId === ports.nodeId) return ports.local.write(request, false);
  return ports.peers.write(nodeId, request, { timeoutMs });
}
