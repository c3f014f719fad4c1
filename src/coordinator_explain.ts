/**
 * CoordinatorExplain: where a key lives, and what every replica of it holds now.
 *
 * Invariants
 * 1. Nothing is written or repaired by it, and a replica that does not answer in time is told as such.
 *
 * Effects: Clock; replicas and peers through ports.
 *
 * @module
 */

import type { ExplainAnswer, ExplainedReplica } from "./api.ts";
import {
  type ClusterPorts,
  lostOf,
  noteReply,
  type ReplicaNote,
  rounded,
} from "./coordinator_ports.ts";
import type { ReadJob } from "./coordinator_read.ts";
import { QuorateError } from "./errors.ts";
import { hlcWallMs } from "./hlc.ts";
import type { ReadReply, ReadRequest } from "./quorum_message.ts";

type Found = Extract<ReadReply, { kind: "found" }>;

/** Asks every replica for its version, itself too. */
export async function explainKey(
  ports: ClusterPorts,
  job: Omit<ReadJob, "level">,
): Promise<ExplainAnswer> {
  const { namespaceNumber, key, n, timeoutMs, durability, requestId } = job;
  const place = ports.place(namespaceNumber, key, n);
  const request: ReadRequest = {
    kind: "read",
    epoch: place.epoch,
    namespaceNumber,
    n,
    key,
    wants: "version",
    durability,
    coverMs: 0,
    requestId,
  };
  // The own disk too: it has no link that would end the wait.
  const late = (): QuorateError =>
    new QuorateError("timeout", `It did not answer within ${timeoutMs} ms.`, {});
  const replicas = await Promise.all(
    place.replicas.map(async ({ nodeId, name }): Promise<ExplainedReplica> => {
      const note: ReplicaNote = { node: name, status: "asked" };
      const beganMs = ports.clock.monotonicMs();
      const isOwn = nodeId === ports.nodeId;
      const asked = isOwn
        ? ports.local.read(request)
        : ports.peers.read(nodeId, request, { timeoutMs });
      const reply = await ports.deadlines.within(timeoutMs, asked, late).catch(lostOf);
      noteReply(note, reply);
      const { status, reason } = note;
      const said = {
        node: name,
        status,
        tookMs: rounded(ports.clock.monotonicMs() - beganMs),
        up: isOwn || ports.peers.isUp(nodeId),
        ...(reason === undefined ? {} : { reason }),
      };
      if (!("from" in reply)) return said;
      const held = reply.kind === "found" ? factsOf(reply) : {};
      const isHeard = reply.kind === "found" || reply.kind === "nothing";
      const watermark = isHeard ? reply.watermark : undefined;
      const same = watermark === undefined ? {} : { sameBeforeMs: hlcWallMs(watermark) };
      return { ...said, counts: reply.from.counts, epoch: reply.from.epoch, ...held, ...same };
    }),
  );
  return { partition: place.partition, epoch: place.epoch, n: place.replicas.length, replicas };
}

/** What a line says of a version that a replica holds. */
export function factsOf({
  version,
  tombstone,
  expiresAtMs,
}: Pick<Found, "version" | "tombstone" | "expiresAtMs">): Partial<ExplainedReplica> {
  const facts = { version, tombstone };
  return expiresAtMs === undefined ? facts : { ...facts, expiresAtMs };
}
