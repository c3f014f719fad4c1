/**
 * Topology steps: how a cluster begins, and how one document makes the next.
 *
 * Each step is a function of the document alone, so that whoever proposes the next one, and whoever
 * looks at it, comes to the same. A step that would change nothing answers undefined. Steps say
 * what the next document would be; that it is chosen, by the voters of the one before, is the
 * business of others (T1).
 *
 * A cluster begins as one node (T10), or as E nodes that all compute the same first document from
 * what each says of itself (T9). A member joins at once only while nothing is stored: each member
 * has promised to take no more writes under the present epoch, and then found that it holds no
 * record (T7). So nobody can write to the old replicas any more, and the new ones lack nothing.
 *
 * Invariants
 * 1. A step's epoch is one above the document's that it came from, and `isSuccessor` holds of it.
 * 2. The same members and settings, in any order, give the same genesis.
 *
 * Effects: none. Source: rules T1, T6, T7, T8, T9, T10.
 *
 * @module
 */

import { defaultNamespace } from "./api.ts";
import { assert } from "./assert.ts";
import { utf8Bytes } from "./bytes.ts";
import { QuorateError } from "./errors.ts";
import { xxh64 } from "./hash.ts";
import {
  isOn,
  type MemberProgram,
  parseProgram,
  programOfOne,
  rangeText,
  sameProgram,
  speaks,
  spokenByAll,
} from "./protocol.ts";
import {
  formatOfProtocol,
  largestN,
  type Member,
  membersMax,
  policyDefault,
  protocolOf,
  type Topology,
  topologyFormatOfOne,
  weightDefault,
  zoneDefault,
} from "./topology.ts";
import { refuseMoving, withRows } from "./topology_rows.ts";

/** What is said of a member; the rest has a default. */
export type MemberFacts = Pick<Member, "nodeId" | "storeId" | "name"> & Partial<Member>;

/** What all nodes of a genesis must have in common. */
export interface GenesisSettings {
  /** `--bootstrap-expect`. */
  readonly expect: number;
  readonly partitions: number;
}

/** What a member said under T7, after it had made its promise durable. */
export interface Seal {
  readonly nodeId: string;
  readonly storeId: string;
  /** It takes no write under this epoch any more. */
  readonly epoch: number;
  /** Records that it holds, deleted ones and those in its log included. */
  readonly records: number;
}

/** A whole member: its host is that of its first address, else its name. */
export function memberOf(facts: MemberFacts): Member {
  const { nodeId, storeId, name, addresses = [], clientUrl } = facts;
  const address = addresses[0];
  const program = parseProgram(facts.program);
  return {
    nodeId,
    storeId,
    name,
    addresses,
    ...(clientUrl === undefined ? {} : { clientUrl }),
    zone: facts.zone ?? zoneDefault,
    host: facts.host ?? (address === undefined ? name : address.slice(0, address.lastIndexOf(":"))),
    weight: facts.weight ?? weightDefault,
    ...(program === undefined ? {} : { program }),
  };
}

/** A member as a document has it: what it runs is part of it where that is turned on. */
export function memberIn(topology: Topology, facts: MemberFacts): Member {
  const { program: _, ...member } = memberOf(facts);
  return isOn(protocolOf(topology), "member-programs") ? memberOf(facts) : member;
}

/** The first document of a cluster of one (T10). */
export function genesis(clusterId: string, partitions: number, facts: MemberFacts): Topology {
  return firstDocument(clusterId, partitions, [memberOf(facts)]);
}

/** The first document of E nodes (T9); `members` in any order, each as it describes itself. */
export function genesisOf(members: readonly MemberFacts[], settings: GenesisSettings): Topology {
  const { expect, partitions } = settings;
  assert(members.length === expect, "topology: a genesis is of as many nodes as are expected");
  const sorted = members
    .map(memberOf)
    .sort((a, b) => order(a.nodeId, b.nodeId) || order(a.storeId, b.storeId));
  for (const [index, member] of sorted.entries()) refuseKnown(sorted.slice(0, index), member);
  // The ids are random, so what two clusters have in common does not give them one id.
  const text = JSON.stringify([
    "quorate genesis",
    partitions,
    expect,
    sorted.map(({ nodeId, storeId }) => [nodeId, storeId]),
  ]);
  const half = (seed: bigint) => xxh64(utf8Bytes(text), seed).toString(16).padStart(16, "0");
  return firstDocument(half(1n) + half(2n), partitions, sorted);
}

/**
 * A member added to a cluster that holds no records (T7); undefined when it is one already.
 *
 * @throws `contention` when a member has not sealed this epoch, `invalid-request` for a cluster that
 * holds records, a name that is taken, or a known node with another store
 */
export function withMember(
  topology: Topology,
  facts: MemberFacts,
  seals: readonly Seal[],
): Topology | undefined {
  const member = memberIn(topology, facts);
  if (isMember(topology, member)) return undefined;
  refuseMoving(topology);
  refuseKnown(topology.members, member);
  refuseBehind(topology, facts);
  if (topology.members.length >= membersMax) {
    throw invalid(`A cluster has at most ${membersMax} members.`, "Start another cluster.");
  }
  for (const present of topology.members) checkSeal(topology, present, seals);
  const members = [...topology.members, member];
  return withRows(topology, { members, depth: largestN(topology.namespaces) });
}

/** Whether a node is a member with the store that it presents. @throws as `withMember` */
export function isMember(topology: Topology, { nodeId, storeId }: MemberFacts): boolean {
  return topology.members.some((one) => one.nodeId === nodeId && one.storeId === storeId);
}

/** A member that is reached elsewhere now; undefined when nothing changed. Moves no data. */
export function withAddresses(
  topology: Topology,
  nodeId: string,
  reached: Pick<MemberFacts, "addresses" | "clientUrl" | "host">,
): Topology | undefined {
  const before = topology.members.find((member) => member.nodeId === nodeId);
  assert(before !== undefined, "topology: who changes its addresses is a member");
  const { clientUrl: _, host: __, ...kept } = before;
  const after = memberIn(topology, { ...kept, ...reached });
  if (JSON.stringify(after) === JSON.stringify(before)) return undefined;
  const members = topology.members.map((member) => (member === before ? after : member));
  return { ...topology, epoch: topology.epoch + 1, members };
}

/** A member that runs another program now; undefined: it does not, or that is not told there. */
export function withProgram(
  topology: Topology,
  nodeId: string,
  program: MemberProgram,
): Topology | undefined {
  const before = topology.members.find((member) => member.nodeId === nodeId);
  if (before === undefined || sameProgram(before.program, program)) return undefined;
  if (!isOn(protocolOf(topology), "member-programs")) return undefined;
  const members = topology.members.map((one) => (one === before ? { ...one, program } : one));
  return { ...topology, epoch: topology.epoch + 1, members };
}

/**
 * A version of the protocol is turned on: every member has promised to run no program without it. Undefined
 * when it is on, or a member has not told what it runs.
 */
export function withProtocol(
  topology: Topology,
  protocol: number,
  programs: ReadonlyMap<string, MemberProgram>,
): Topology | undefined {
  if (protocolOf(topology) >= protocol) return undefined;
  const told = topology.members.map(({ nodeId }) => programs.get(nodeId));
  if (told.some((program) => program === undefined || !speaks(program, protocol))) return undefined;
  const next = {
    ...topology,
    epoch: topology.epoch + 1,
    format: formatOfProtocol(protocol),
    protocol,
  };
  const members = topology.members.map((member, index) =>
    memberIn(next, { ...member, program: told[index] as MemberProgram }),
  );
  return { ...next, members };
}

/** Whoever joins speaks what is turned on. @throws `invalid-request` */
export function refuseBehind(topology: Topology, { name, program }: MemberFacts): void {
  const protocol = protocolOf(topology);
  const told = parseProgram(program) ?? programOfOne(1);
  if (speaks(told, protocol)) return;
  throw invalid(
    `The cluster has turned on version ${protocol} of its protocol, and '${name}' speaks ${rangeText(told)}.`,
    `Start '${name}' with the version of Quorate that the members run.`,
  );
}

function firstDocument(clusterId: string, partitions: number, given: readonly Member[]): Topology {
  // Whoever tells nothing of its program speaks the first version alone.
  const protocol = spokenByAll(given.map(({ program }) => program ?? programOfOne(1)));
  const format = formatOfProtocol(protocol);
  const namespaces = [{ name: defaultNamespace, number: 0, policy: policyDefault }];
  const none: Topology = {
    format,
    ...(format === topologyFormatOfOne ? {} : { protocol }),
    clusterId,
    epoch: 0,
    partitions,
    members: given,
    voters: [],
    replicas: [],
    changed: [],
    joined: [],
    namespaces,
    nextNamespaceNumber: 1,
    dropped: [],
  };
  const members = given.map((member) => memberIn(none, member));
  return withRows(none, { members, depth: largestN(namespaces) });
}

/** A name and a store belong to one node, and a node has one store. */
export function refuseKnown(members: readonly Member[], { nodeId, storeId, name }: Member): void {
  for (const known of members) {
    if (known.nodeId === nodeId) {
      throw invalid(
        `Node '${known.name}' (${nodeId}) is a member with the store ${known.storeId}, and presents the store ${storeId}.`,
        `Start it with its own data folder. If that is lost, start it with an empty one, which makes another node of it, and replace '${known.name}' with quorate cluster plan --replace.`,
      );
    }
    if (known.name === name) {
      throw invalid(
        `The name '${name}' belongs to the member ${known.nodeId}, and ${nodeId} asks to join under it.`,
        `Give each node a name of its own (--name). If this is '${name}' with a new data folder, replace the member: quorate cluster plan --replace ${name}.`,
      );
    }
    if (known.storeId === storeId) {
      throw invalid(
        `The store ${storeId} belongs to the member '${known.name}', and ${nodeId} presents it as well.`,
        "A data folder was copied. Start this node with an empty one.",
      );
    }
  }
}

/** T7: without its promise a member may take a write that the new replicas never see. */
function checkSeal(topology: Topology, member: Member, seals: readonly Seal[]): void {
  const seal = seals.find((one) => one.nodeId === member.nodeId && one.storeId === member.storeId);
  if (seal === undefined || seal.epoch !== topology.epoch) {
    const said = seal === undefined ? "nothing" : `epoch ${seal.epoch}`;
    throw new QuorateError(
      "contention",
      `Member '${member.name}' has to seal epoch ${topology.epoch}, and has sealed ${said}.`,
      { outcome: "none", hint: "All members have to be up while nodes join. Ask again." },
    );
  }
  if (seal.records === 0) return;
  throw new QuorateError(
    "not-ready",
    `Member '${member.name}' holds ${seal.records} records, so a node joins when a plan takes it in.`,
    {
      outcome: "none",
      hint: "quorate cluster plan --join NAME shows what would move; quorate cluster apply does it.",
    },
  );
}

function order(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

function invalid(detail: string, hint: string): QuorateError {
  return new QuorateError("invalid-request", detail, { outcome: "none", hint });
}
