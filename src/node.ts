/**
 * Node: one Quorate node, composed of its parts.
 *
 * It has no protocol of its own: it opens the folder, gives every part the capabilities and ports
 * that it needs, and closes them in the reverse order. It knows no edge, so that the simulator can
 * run it as it is.
 *
 *     lock the folder -> identity -> topology -> count the attempt -> table -> store -> serve
 *
 * Invariants
 * 1. Nothing in the folder is touched without its lock.
 * 2. A start that fails closes what it opened and releases the folder.
 * 3. `clean` is written only after everything acknowledged is in the table.
 *
 * Effects: composes those of its parts. Source: rules T10, I1, I2.
 *
 * @module
 */

import { toHex } from "./bytes.ts";
import { isDiskFull } from "./capability.ts";
import { Document } from "./document.ts";
import { QuorateError } from "./errors.ts";
import { Identity } from "./identity.ts";
import { LoneWatermarks } from "./node_alone.ts";
import { openClusterNode } from "./node_cluster.ts";
import {
  approachTable,
  checkDocument,
  checkProtocol,
  missingTopology,
  openNodeStore,
  programOf,
} from "./node_open.ts";
import type { NodeOptions, QuorateNode } from "./node_options.ts";
import { RunningNode } from "./node_running.ts";
import { isPartitionCount, partitionsDefault, partitionsMax, Ring } from "./ring.ts";
import type { Store } from "./store.ts";
import type { Table } from "./table.ts";
import { protocolOf } from "./topology.ts";
import { isMemberName } from "./topology_parse.ts";
import { genesis, withProgram, withProtocol } from "./topology_steps.ts";

export type {
  NodeClusterOptions,
  NodeOptions,
  NodeSettings,
  PeerAccept,
  PeerBudgets,
  Queue,
  QuorateNode,
} from "./node_options.ts";
export { leaveMsMax } from "./node_options.ts";

/** Opens a node on its data folder; rejects with a `QuorateError` that says why it cannot. */
export async function openNode(options: NodeOptions): Promise<QuorateNode> {
  try {
    return await openLocked(options);
  } catch (error) {
    if (!isDiskFull(error)) throw error;
    throw new QuorateError("disk-full", "The disk has no room for what a start has to write.", {
      outcome: "none",
      hint: "Free some space (a few MiB will do) and start again; everything acknowledged is kept.",
      cause: error,
    });
  }
}

async function openLocked(options: NodeOptions): Promise<QuorateNode> {
  const { name } = options.settings;
  if (name !== undefined && !isMemberName(name)) {
    throw new QuorateError("invalid-config", `name is ${JSON.stringify(name)}.`, {
      hint: "A name has 1 to 64 printable characters.",
    });
  }
  checkPartitions(options.settings.partitions);
  const unlock = await options.disk.lock();
  if (options.cluster !== undefined) return openClusterNode(options, options.cluster, unlock);
  let table: Table | undefined;
  let store: Store | undefined;
  try {
    const identity = await Identity.open(options.disk, options.random, options.settings.name);
    const document = await openDocument(options, identity);
    const ring = new Ring(document.present.clusterId, document.present.partitions);
    await approachTable(options, identity);
    table = await options.openTable();
    store = await openNodeStore(options, identity, { document, ring, table });
    await identity.begin(store.lastSequence);
    const { clock, report } = options;
    const alone = new LoneWatermarks({
      ...{ clock, report, store, self: identity },
      topology: () => document.present,
    });
    return new RunningNode({ options, identity, document, ring, store, unlock, alone });
  } catch (error) {
    // The store closes its table; one that did not open left it to us.
    await (store ?? table)?.close().catch(() => {});
    await unlock();
    throw error;
  }
}

/** The topology of the folder; a node without one makes a cluster of one (T10). */
async function openDocument(options: NodeOptions, identity: Identity): Promise<Document> {
  const { disk, random, report, settings } = options;
  const { nodeId, storeId, name } = identity;
  const program = programOf(settings);
  checkProtocol(identity.protocol, program);
  const document = await Document.open(disk, () => {
    if (identity.boot > 0) throw missingTopology();
    const clusterId = toHex(random.bytes(16));
    report.log("warn", "No cluster was named: this node makes a cluster of one.", { clusterId });
    const partitions = settings.partitions ?? partitionsDefault;
    return genesis(clusterId, partitions, { nodeId, storeId, name, program });
  });
  checkDocument(document.present, identity, settings.partitions);
  checkProtocol(protocolOf(document.present), program);
  const memberCount = document.present.members.length;
  if (memberCount > 1) throw isOfCluster(memberCount);
  // Alone, it is all members, and what it speaks is on.
  await identity.pledge(program.highest);
  const programs = new Map([[nodeId, program]]);
  await document.change(
    (present) =>
      withProtocol(present, program.highest, programs) ?? withProgram(present, nodeId, program),
  );
  return document;
}

/** Alone it would answer for all replicas, and raise a watermark that the others have not agreed to. */
function isOfCluster(memberCount: number): QuorateError {
  return new QuorateError(
    "wrong-data-folder",
    `The data folder is that of one of ${memberCount} members of a cluster, and this node is to be alone.`,
    {
      outcome: "none",
      hint: "Open it as the member that it is, with peers, port and clusterSecret, or read through another member.",
    },
  );
}

function checkPartitions(partitions: number | undefined): void {
  if (partitions === undefined || isPartitionCount(partitions)) return;
  throw new QuorateError("invalid-config", `partitions is ${partitions}.`, {
    hint: `It is a power of two from 1 to ${partitionsMax}.`,
  });
}
