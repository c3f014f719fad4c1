/**
 * Node open: what every start does with the table and the store, alone or among others.
 *
 * Effects: those of the store. Source: rule D6.
 *
 * @module
 */

import type { Document } from "./document.ts";
import { QuorateError } from "./errors.ts";
import type { Identity } from "./identity.ts";
import type { NodeOptions, NodeSettings } from "./node_options.ts";
import { type MemberProgram, ownProgram, speaks } from "./protocol.ts";
import type { Ring } from "./ring.ts";
import { replacedHint } from "./slots.ts";
import { Store } from "./store.ts";
import type { Table } from "./table.ts";
import { tableLossHint } from "./table_file.ts";
import type { Topology } from "./topology.ts";
import { isDeleted } from "./topology_namespaces.ts";
import { isMember } from "./topology_steps.ts";

/** From this attempt on, with no orderly end in between, the table is not opened unseen (D6). */
const uncleanStartsMax = 3;

/** A damaged table can end the process: a start counts itself first, and looks after a few of these. */
export async function approachTable(
  options: NodeOptions,
  identity: Identity,
  topology?: Topology,
): Promise<void> {
  await identity.attempt();
  const { uncleanStarts } = identity;
  if (uncleanStarts < uncleanStartsMax || options.verifyTable === undefined) return;
  options.report.log("warn", "The last starts did not end in order: the table is verified first.", {
    uncleanStarts,
  });
  try {
    if (await options.verifyTable()) await identity.trusted();
  } catch (error) {
    await putAside(options, identity, topology, error);
  }
}

/** Opens the table; one that LMDB would refuse for sure is not met again and again (D6). @throws `corruption` */
export async function openNodeTable(
  options: NodeOptions,
  identity: Identity,
  topology?: Topology,
): Promise<Table> {
  try {
    return await options.openTable();
  } catch (error) {
    await putAside(options, identity, topology, error);
    return options.openTable();
  }
}

/** Puts the table's file out of the way where others hold what is in it. @throws `error` where they do not */
async function putAside(
  { setTableAside, report }: NodeOptions,
  identity: Identity,
  topology: Topology | undefined,
  error: unknown,
): Promise<void> {
  const { slug, detail } = QuorateError.from(error);
  const isElsewhere = topology !== undefined && isHeldElsewhere(topology);
  if (slug !== "corruption" || !isElsewhere || setTableAside === undefined) throw error;
  await setTableAside();
  await identity.trusted();
  report.sometimes("node: table set aside");
  report.log("error", `${detail} The file was set aside.`, {
    hint: "What the log does not have comes from the other replicas; until then this node counts for nothing. The file is in the folder aside/.",
  });
}

/** What to do about a damaged table is another thing where others hold what is in it: nobody has to give it up. */
export function tellOfOthers(error: unknown, topology: Topology): unknown {
  const { slug, detail, hint } = QuorateError.from(error);
  const isOfTable = slug === "corruption" && hint?.endsWith(tableLossHint) === true;
  if (!isOfTable || !isHeldElsewhere(topology)) return error;
  return new QuorateError("corruption", detail, {
    hint: "Start this node again, with nothing moved by hand: by the third start the file is set aside, and the other replicas fill it.",
    cause: error,
  });
}

/** Whether every record has another replica: with n = 1 an operator decides what becomes of the file. */
export function isHeldElsewhere({ members, namespaces }: Topology): boolean {
  return members.length > 1 && namespaces.every(({ policy }) => policy.n > 1);
}

/** What this node tells of its program. */
export function programOf({ version, protocolMax }: NodeSettings): MemberProgram {
  return ownProgram(version, protocolMax);
}

/** Its operator holds the program to less than what is turned on, or was promised. @throws `invalid-config` */
export function checkProtocol(protocol: number, program: MemberProgram): void {
  if (speaks(program, protocol)) return;
  throw new QuorateError(
    "invalid-config",
    `The node is held to version ${program.highest} of the protocol (protocol-max), and the cluster of this node has turned on version ${protocol} of its protocol, or was about to.`,
    { outcome: "none", hint: "Leave it out: what is turned on stays on." },
  );
}

export function openNodeStore(
  options: NodeOptions,
  identity: Identity,
  {
    document,
    ring,
    table,
  }: { readonly document: Document; readonly ring: Ring; readonly table: Table },
): Promise<Store> {
  const { clock, random, disk, report, settings } = options;
  return Store.open({
    clock,
    random,
    disk,
    report,
    table,
    ring,
    nOf: (number) =>
      document.present.namespaces.find((namespace) => namespace.number === number)?.policy.n ?? 0,
    isDeleted: (number) => isDeleted(document.present, number),
    settings,
    owner: {
      storeId: identity.storeId,
      clusterId: document.present.clusterId,
      storeIdBytes: identity.storeIdBytes,
      origin: identity.origin,
      sequence: identity.sequence,
      needsLog: identity.boot > 0 && !identity.clean,
      // With n = 1 it is so all the same; these keys are told as lost then (I4). Asked each time: others may join.
      get isOnlyCopy() {
        return document.present.members.length === 1;
      },
      wasCut: identity.isCut,
      cut: () => identity.cut(),
      renewOrigin: () => identity.renewOrigin(random),
      trusted: () => identity.trusted(),
    },
  });
}

/** I1: the folder and its document name the same store, and the number of partitions is the cluster's. */
export function checkDocument(
  topology: Topology,
  { nodeId, storeId, name }: Identity,
  partitions: number | undefined,
): void {
  const isKnown = topology.members.some((one) => one.nodeId === nodeId || one.storeId === storeId);
  if (!isKnown) throw hasLeft();
  if (!isMember(topology, { nodeId, storeId, name })) {
    throw new QuorateError(
      "wrong-data-folder",
      "The topology in the data folder names another store: files of two folders were mixed.",
      { hint: "Put back the folder as it was." },
    );
  }
  checkPartitions(topology, partitions);
}

/** A node of another number of partitions can be no member. @throws `invalid-config` */
export function checkPartitions(topology: Topology, partitions: number | undefined): void {
  if (partitions === undefined || partitions === topology.partitions) return;
  throw new QuorateError(
    "invalid-config",
    `partitions is ${partitions}, and this cluster was made with ${topology.partitions}.`,
    { hint: "The number is fixed when a cluster is made. Leave the setting out." },
  );
}

/** What a node that was taken out of its cluster has to say. */
export function hasLeft(): QuorateError {
  return new QuorateError("wrong-data-folder", "This node is no member of its cluster any more.", {
    outcome: "none",
    hint: "It can be stopped. To take it in again, start it with an empty data folder and --peers.",
  });
}

export function missingTopology(): QuorateError {
  return new QuorateError(
    "corruption",
    "The data folder was in use before, and its topology (topology.a, topology.b) is missing.",
    {
      hint: `Restore these two files from a copy: without them no key can be found. ${replacedHint}`,
    },
  );
}
