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

/** So many of these are needed. */
export interface AckSet {
  readonly needed: number;
  readonly of: readonly number[];
}

/** Asks all of them; resolves when enough of each set have said yes, rejects when that cannot be. */
export function acked(options: {
  readonly sets: readonly AckSet[];
  readonly ask: (replica: number) => Promise<boolean>;
  readonly error: () => Error;
}): Promise<void> {
  const { sets, ask, error } = options;
  const asked = [...new Set(sets.flatMap(({ of }) => of))];
  return new Promise((resolve, reject) => {
    const counts = sets.map(({ needed, of }) => new AckCount(needed, of));
    const look = (): void => {
      if (counts.every(({ verdict }) => verdict === "done")) resolve();
      if (counts.some(({ verdict }) => verdict === "failed")) reject(error());
    };
    const step = (replica: number, isAck: boolean): void => {
      for (const count of counts) count.step(replica, isAck);
      look();
    };
    look();
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
