/**
 * Topology status: what a client or an operator is told of the members, what they speak, and the hints for them.
 *
 * The document says who is a member and who holds what; what a node has heard of the others is put
 * beside it. A member that was never heard of is `unknown`, not `alive`: its detector still waits for
 * a first word, which is no sign of life.
 *
 * Invariants
 * 1. Every member of the document is in the answer once, in its order, heard of or not.
 * 2. The node that answers is `alive` in its own answer.
 *
 * Effects: none.
 *
 * @module
 */

import type {
  ClusterAnswer,
  ClusterMember,
  HintsAnswer,
  MemberState,
  ProtocolAnswer,
} from "./api.ts";
import { features, isOn, type MemberProgram } from "./protocol.ts";
import { type Member, protocolOf, sharesOf, type Topology } from "./topology.ts";
import { placeOf } from "./topology_answer.ts";

/** What a node tells the others of itself, in numbers; a name that is missing is not known. */
export type Load = Readonly<Record<string, number>>;

/** What a load is made of. */
export interface LoadFacts {
  /** Live records, and the bytes of their values. */
  readonly keys: number;
  readonly bytes: number;
  readonly disk: { readonly freeBytes: number; readonly totalBytes: number } | undefined;
  /** All hints that the node keeps. */
  readonly hints: number;
  /** Marks of hints that were given up. */
  readonly marks?: number;
  /** Partitions without data, and whether the store was rolled back. */
  readonly lacking?: number;
  readonly isRolledBack?: boolean;
}

/** What was heard of another member. */
export interface MemberView {
  readonly nodeId: string;
  readonly state: Exclude<MemberState, "unknown">;
  readonly phi: number;
  readonly silentMs: number;
  /** 0: not heard of since this node's start. */
  readonly boot: number;
  readonly epoch: number;
  readonly load: Load;
}

/** The node that answers. */
export interface SelfView {
  readonly nodeId: string;
  readonly load: Load;
}

/** What is kept for one store, as its keeper counts it. */
export interface HintTally {
  readonly storeId: string;
  readonly count: number;
  readonly bytes: number;
  /** The stamp of the oldest one, in ms since 1970. */
  readonly oldestMs: number | undefined;
  readonly isDelivering: boolean;
}

export interface StatusFacts {
  readonly self: SelfView;
  readonly views: readonly MemberView[];
  readonly protocol: ProtocolAnswer;
  readonly hints: HintsAnswer;
}

const phiShownMax = 1000;

/** The members, and what this node knows of each. */
export function clusterAnswer(
  topology: Topology,
  { self, views, protocol, hints }: StatusFacts,
): ClusterAnswer {
  const { clusterId, epoch, partitions, members, voters } = topology;
  const shares = sharesOf(topology);
  const viewById = new Map(views.map((view) => [view.nodeId, view]));
  const ofStore = new Map(hints.targets.map((target) => [target.storeId, target]));
  return {
    node: hints.node,
    clusterId,
    epoch,
    partitions,
    voters: members.filter(({ nodeId }) => voters.includes(nodeId)).map(({ name }) => name),
    protocol: protocol.protocol,
    features: protocol.features,
    members: members.map((member, index): ClusterMember => {
      const isSelf = member.nodeId === self.nodeId;
      const { first, all } = shares[index] ?? { first: 0, all: 0 };
      const { node: _, ...speech } = protocol.members[index] ?? { node: member.name };
      const { count, bytes } = ofStore.get(member.storeId) ?? { count: 0, bytes: 0 };
      return {
        ...placeOf(member),
        storeId: member.storeId,
        isVoter: voters.includes(member.nodeId),
        isSelf,
        firstCount: first,
        replicaCount: all,
        ...(isSelf ? selfFacts(self, epoch) : viewFacts(viewById.get(member.nodeId))),
        ...speech,
        hints: { count, bytes },
      };
    }),
  };
}

/**
 * What the members speak. `programOf` is what each runs, as far as it is known: one that was met, but tells
 * nothing of its program, has no version.
 */
export function protocolAnswer(
  topology: Topology,
  programOf: (member: Member) => MemberProgram | undefined,
): ProtocolAnswer {
  const protocol = protocolOf(topology);
  const told = topology.members.map((member) => ({
    node: member.name,
    program: programOf(member),
  }));
  return {
    protocol,
    members: told.map(({ node, program }) => {
      if (program === undefined) return { node };
      const { version, lowest, highest } = program;
      return { node, ...(version === "" ? {} : { version }), speaks: { lowest, highest } };
    }),
    features: features.map(({ name, since }) => {
      const isTurnedOn = isOn(protocol, name);
      const open = told.filter(({ program }) => program === undefined || program.highest < since);
      const waitsFor = isTurnedOn ? [] : open.map(({ node }) => node);
      return { name, since, isOn: isTurnedOn, waitsFor };
    }),
  };
}

/** What this node keeps for others, with the names of those who are members. */
export function hintsAnswer(
  members: readonly Pick<Member, "storeId" | "name">[],
  node: string,
  { tallies, marks }: { readonly tallies: readonly HintTally[]; readonly marks: number },
  nowMs: number,
): HintsAnswer {
  const names = new Map(members.map(({ storeId, name }) => [storeId, name]));
  const targets = tallies.map(({ storeId, count, bytes, oldestMs, isDelivering }) => {
    const name = names.get(storeId);
    return {
      storeId,
      ...(name === undefined ? {} : { node: name }),
      count,
      bytes,
      // A clock that was set back would make an age negative.
      ...(oldestMs === undefined ? {} : { oldestAgeMs: Math.max(0, nowMs - oldestMs) }),
      isDelivering,
    };
  });
  return {
    node,
    count: targets.reduce((sum, { count }) => sum + count, 0),
    bytes: targets.reduce((sum, { bytes }) => sum + bytes, 0),
    marks,
    targets,
  };
}

type Seen = Pick<
  ClusterMember,
  "state" | "phi" | "silentMs" | "epoch" | "keys" | "bytes" | "disk" | "lacking" | "rolledBack"
>;

function selfFacts({ load }: SelfView, epoch: number): Seen {
  return { state: "alive", phi: 0, silentMs: 0, epoch, ...loadFacts(load) };
}

function viewFacts(view: MemberView | undefined): Seen {
  if (view === undefined) return { state: "unknown", phi: 0 };
  const { state, boot, epoch, load } = view;
  const phi = Math.min(phiShownMax, view.phi);
  if (boot === 0) return { state: state === "alive" ? "unknown" : state, phi };
  const silentMs = Math.round(view.silentMs);
  return { state, phi, silentMs, epoch, ...loadFacts(load) };
}

/** What a node tells of itself, under the names by which others know it. */
export function loadOf(facts: LoadFacts): Load {
  const { keys, bytes, disk, hints, marks = 0, lacking = 0, isRolledBack = false } = facts;
  const lost = {
    ...(marks > 0 ? { marks } : {}),
    ...(lacking > 0 ? { lacking } : {}),
    ...(isRolledBack ? { rolledBack: 1 } : {}),
  };
  const told = { keys, bytes, hints, ...lost };
  if (disk === undefined) return told;
  return { ...told, diskFreeBytes: disk.freeBytes, diskTotalBytes: disk.totalBytes };
}

/**
 * The hints and marks that others keep, as they told last; one that is down keeps them, and cannot
 * deliver.
 */
export function hintsTold(
  views: readonly Pick<MemberView, "state" | "load">[],
): Pick<HintsAnswer, "count" | "marks"> {
  const heard = views.filter(({ state }) => state !== "down");
  const sumOf = (name: string): number =>
    heard.reduce((sum, { load }) => sum + (load[name] ?? 0), 0);
  return { count: sumOf("hints"), marks: sumOf("marks") };
}

function loadFacts(
  load: Load,
): Pick<ClusterMember, "keys" | "bytes" | "disk" | "lacking" | "rolledBack"> {
  const lacking = load["lacking"];
  const keys = load["keys"];
  const bytes = load["bytes"];
  const freeBytes = load["diskFreeBytes"];
  const totalBytes = load["diskTotalBytes"];
  return {
    ...(keys === undefined ? {} : { keys }),
    ...(bytes === undefined ? {} : { bytes }),
    ...(lacking === undefined ? {} : { lacking }),
    ...(load["rolledBack"] === 1 ? { rolledBack: true } : {}),
    ...(freeBytes === undefined || totalBytes === undefined
      ? {}
      : { disk: { freeBytes, totalBytes } }),
  };
}
