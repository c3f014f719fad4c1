/**
 * Config rules: whether the values of the settings fit together.
 *
 * A rule names the settings that break it, why they do not fit, and the nearest value that would.
 *
 * Invariants
 * 1. `validate` passes only settings whose limits fit together; it is the one place that knows how.
 * 2. The defaults pass.
 *
 * Effects: none.
 *
 * @module
 */

import { showSize } from "./config_kinds.ts";
import type { Config } from "./config_shape.ts";
import { QuorateError } from "./errors.ts";

/** Checks the relations between settings. Throws `invalid-config` for the first that does not hold. */
export function validate(config: Config): void {
  for (const rule of [...nodeRules, ...clusterRules]) {
    const broken = rule(config);
    if (broken === undefined) continue;
    throw new QuorateError("invalid-config", broken.detail, { hint: broken.hint });
  }
}

/** Whether only programs on this machine reach an address. */
export function isLoopback(host: string): boolean {
  return (
    host === "localhost" || host === "::1" || host === "[::1]" || /^127(\.\d{1,3}){3}$/.test(host)
  );
}

/** Whether an address means every one of this machine, and so is none to connect to. */
export function isEveryAddress(host: string): boolean {
  return host === "0.0.0.0" || host === "::" || host === "[::]";
}

type Rule = (config: Config) => { readonly detail: string; readonly hint: string } | undefined;

const nodeRules: readonly Rule[] = [
  ({ host, insecure }) =>
    isLoopback(host) || insecure
      ? undefined
      : {
          detail: `--host ${host} can be reached from other machines, and this version has no TLS and no login: whoever reaches the port could read and change everything.`,
          hint: "Listen on 127.0.0.1, or add --insecure where a firewall or a proxy with TLS and login stands in front.",
        },
  // A batch of the log holds a value whole, with its header, and never spans two segments.
  ({ segmentBytes, valueBytesMax }) =>
    segmentBytes >= 2 * valueBytesMax
      ? undefined
      : {
          detail: `--segment-bytes ${showSize(segmentBytes)} is too small for --max-value ${showSize(valueBytesMax)}: a segment has to hold two of the largest values.`,
          hint: `Use --segment-bytes ${showSize(2 * valueBytesMax)} or more, or a smaller --max-value.`,
        },
  ({ memtableBytesMax, valueBytesMax }) =>
    memtableBytesMax >= valueBytesMax
      ? undefined
      : {
          detail: `--memtable-bytes ${showSize(memtableBytesMax)} is below --max-value ${showSize(valueBytesMax)}: every large value would begin a checkpoint of its own.`,
          hint: `Use --memtable-bytes ${showSize(valueBytesMax)} or more, or a smaller --max-value.`,
        },
  ({ diskReserveBytes, segmentBytes, memtableBytesMax }) =>
    diskReserveBytes >= segmentBytes + 2 * memtableBytesMax
      ? undefined
      : {
          detail: `--disk-reserve ${showSize(diskReserveBytes)} is too small: when the disk is full, deletes and checkpoints need one segment (${showSize(segmentBytes)}) and twice --memtable-bytes (${showSize(memtableBytesMax)}).`,
          hint: `Use --disk-reserve ${showSize(segmentBytes + 2 * memtableBytesMax)} or more, or smaller segments and memtable.`,
        },
];

/** The largest body of a request, a batch of base64 in JSON, with room for what surrounds it. */
const bodyBytesNeeded = 17 * 1024 * 1024;

const clusterRules: readonly Rule[] = [
  ({ requestBytesMax, valueBytesMax }) => {
    const needed = Math.max(bodyBytesNeeded, valueBytesMax);
    if (requestBytesMax >= needed) return undefined;
    return tooSmall("--max-request-bytes", requestBytesMax, needed, "the largest request");
  },
  ({ linkQueueBytesMax, valueBytesMax }) =>
    linkQueueBytesMax >= 2 * valueBytesMax
      ? undefined
      : tooSmall("--link-queue-bytes", linkQueueBytesMax, 2 * valueBytesMax, "two values"),
  ({ replicationBytesMax, valueBytesMax }) =>
    replicationBytesMax >= 2 * valueBytesMax
      ? undefined
      : tooSmall("--max-replication-bytes", replicationBytesMax, 2 * valueBytesMax, "two values"),
  ({ hintBytesMax, valueBytesMax }) =>
    hintBytesMax >= 2 * valueBytesMax
      ? undefined
      : tooSmall("--hint-bytes", hintBytesMax, 2 * valueBytesMax, "two values"),
  ({ phiSuspect, phiDown }) =>
    phiDown > phiSuspect
      ? undefined
      : {
          detail: `--phi-down ${phiDown} is not above --phi-suspect ${phiSuspect}: a peer would be down before it is suspected.`,
          hint: `Use --phi-down ${phiSuspect + 1} or more, or a smaller --phi-suspect.`,
        },
  ({ bootstrapExpect, peers }) =>
    bootstrapExpect === undefined || bootstrapExpect <= peers.length + 1
      ? undefined
      : {
          detail: `--bootstrap-expect ${bootstrapExpect} waits for more nodes than --peers (${peers.length}) and this one are.`,
          hint: `Name the others in --peers, or use --bootstrap-expect ${peers.length + 1}.`,
        },
  ({ clusterSecret, clusterSecretFile }) =>
    clusterSecret === undefined || clusterSecretFile === undefined
      ? undefined
      : {
          detail: "--cluster-secret and --cluster-secret-file are both given.",
          hint: "Leave one of them out.",
        },
  ({ peers, clusterSecret, clusterSecretFile }) =>
    peers.length === 0 || clusterSecret !== undefined || clusterSecretFile !== undefined
      ? undefined
      : {
          detail:
            "--peers needs a --cluster-secret: without one, whoever reaches the port could join.",
          hint: "Set QUORATE_CLUSTER_SECRET or --cluster-secret-file, the same on all nodes (openssl rand -hex 32).",
        },
  // Others would look for it on their own machine, and a cluster that they found so has no links.
  ({ peers, host, advertisedPeerAddress, advertisedAddresses }) =>
    !isEveryAddress(host) ||
    advertisedPeerAddress !== undefined ||
    advertisedAddresses.length > 0 ||
    peers.every((peer) => isLoopback(peer.replace(/:\d+$/, "")))
      ? undefined
      : {
          detail: `--host ${host} is no address to connect to, and --peers are on other machines: they would not find this node.`,
          hint: "Say where others reach this one: --advertise-address n1.example:8080.",
        },
  ({ peerRoutes }) => {
    const named = peerRoutes.map(({ advertised }) => advertised);
    const twice = named.find((one, index) => named.indexOf(one) < index);
    if (twice === undefined) return undefined;
    return {
      detail: `--peer-route names two ways to ${twice}.`,
      hint: "Leave one of them out.",
    };
  },
  ({ gossipPort, port }) =>
    gossipPort === undefined || gossipPort !== port
      ? undefined
      : {
          detail: `--gossip-port ${gossipPort} is the --port: one port cannot be listened on twice.`,
          hint: "Leave --gossip-port out to have all traffic on one port, or choose another.",
        },
];

function tooSmall(flag: string, bytes: number, needed: number, holds: string) {
  return {
    detail: `${flag} ${showSize(bytes)} is too small: it has to hold ${holds}.`,
    hint: `Use ${flag} ${showSize(needed)} or more.`,
  };
}
