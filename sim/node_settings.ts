/**
 * Node settings: what the nodes of a world are told, as its knobs have it.
 *
 * Effects: none.
 *
 * @module
 */

import { Budget } from "../src/admission.ts";
import type { Network } from "../src/capability.ts";
import type { PeerBudgets } from "../src/node.ts";
import type { NodeClusterOptions, NodeOptions } from "../src/node_options.ts";
import type { Knobs } from "./knobs.ts";

/** What is one node's own. */
export interface OwnSettings {
  readonly name: string;
  /** Whether it is an earlier program, which speaks version 1 of the protocol alone. */
  readonly isEarlier: boolean;
  /** Whether its table is read from begin to end. */
  readonly isScrubbed: boolean;
  /** Whether an operator has accepted what it has lost. */
  readonly isLossAccepted: boolean;
}

export function nodeSettings(
  { partitions, segmentBytes, memtableBytesMax }: Knobs,
  { name, isEarlier, isScrubbed, isLossAccepted }: OwnSettings,
): NodeOptions["settings"] {
  return {
    name,
    ...(isEarlier ? { version: "0.0.0", protocolMax: 1 } : { version: "0.0.1" }),
    runtime: "sim",
    ...{ partitions, segmentBytes, memtableBytesMax },
    diskReserveBytes: 0,
    scrubBytesPerSecond: isScrubbed ? 1e9 : 0,
    ...(isLossAccepted ? { acceptDataLoss: true } : {}),
  };
}

/** Where a node is in the network. */
export interface ClusterPlace {
  readonly network: Network;
  readonly address: string;
  /** All addresses of the world. */
  readonly addresses: readonly string[];
  /** How many nodes found the cluster, itself among them; undefined: it asks to be let in. */
  readonly expect: number | undefined;
}

export function clusterOptions(
  knobs: Knobs,
  { network, address, addresses, expect }: ClusterPlace,
): NodeClusterOptions {
  const { hintAgeMaxMs, hintBytesMax, peerRequestsMax } = knobs;
  return {
    network,
    hintBytesPerSecond: knobs.hintBytesPerSecond,
    ...(hintAgeMaxMs === undefined ? {} : { hintAgeMaxMs }),
    repairPeriodMs: knobs.repairPeriodMs,
    repairPartitionsMax: knobs.repairPartitionsMax,
    repairBytesPerSecond: knobs.repairBytesPerSecond,
    watermarkPeriodMs: knobs.watermarkPeriodMs,
    requestMsMax: knobs.requestMsMax,
    ...(hintBytesMax === undefined ? {} : { hintBytesMax }),
    ...(peerRequestsMax === undefined ? {} : { budgets: budgetsOf(peerRequestsMax, knobs) }),
    settings: {
      peers: addresses,
      secret: "simulated",
      addresses: [address],
      ...(expect === undefined ? {} : { expect }),
      queueBytesMax: knobs.linkQueueBytes,
      gossip: { periodMs: knobs.gossipPeriodMs, phiSuspect: 3, phiDown: 8 },
    },
  };
}

/** A value of every request that a node takes on at once has room: requests are the bound that counts. */
function budgetsOf(requestsMax: number, { workload }: Knobs): PeerBudgets {
  const bytesMax = requestsMax * (workload.valueBytesMax + 1024);
  const budget = (): Budget => new Budget({ requestsMax, bytesMax });
  return { replication: budget(), hint: budget() };
}
