/**
 * Client cluster: what a node tells of the cluster, as it comes over the wire.
 *
 * Invariants
 * 1. What a node has not heard is left out, never 0.
 *
 * Effects: none.
 *
 * @module
 */

import type { MemberState } from "./api.ts";
import { type Fields, isObject, keyIn, textIn } from "./client_fetch.ts";
import { malformed, msOf, type ReplicaInfo, replicaInfo, textsIn } from "./client_shapes.ts";

/** A member as one node sees it. */
export interface MemberInfo extends ReplicaInfo {
  readonly storeId: string;
  readonly state: MemberState;
  /** Whether it is the node that answers. */
  readonly self: boolean;
  readonly voter: boolean;
  /** The suspicion that it is down. */
  readonly phi: number;
  /** Milliseconds since it was last heard of. */
  readonly silentMs?: number;
  readonly epoch?: number;
  /** Partitions of which it is the first replica, and of which it is any. */
  readonly primaries: number;
  readonly replicas: number;
  readonly keys?: number;
  readonly bytes?: number;
  readonly disk?: { readonly freeBytes: number; readonly totalBytes: number };
  readonly version?: string;
  /** The versions of the protocol between nodes that it speaks. */
  readonly speaks?: { readonly lowest: number; readonly highest: number };
  /** Partitions in which it has no data yet, and whether its store was rolled back. */
  readonly lacking?: number;
  readonly rolledBack?: boolean;
  /** What the node that answers keeps for it. */
  readonly hints: { readonly count: number; readonly bytes: number };
}

/** Something that the cluster does from a version of the protocol on. */
export interface FeatureInfo {
  readonly name: string;
  readonly since: number;
  readonly on: boolean;
  /** Names of members that do not speak that version, or were not heard of. */
  readonly waitsFor: readonly string[];
}

export interface ClusterInfo {
  /** The node that answers. */
  readonly node: string;
  readonly clusterId: string;
  readonly epoch: number;
  readonly partitions: number;
  /** Names. */
  readonly voters: readonly string[];
  /** The version of the protocol between nodes that is turned on; undefined: the node knows none. */
  readonly protocol?: number;
  readonly features?: readonly FeatureInfo[];
  readonly members: readonly MemberInfo[];
}

export interface HintTargetInfo {
  readonly storeId: string;
  /** Left out when it is no member any more. */
  readonly node?: string;
  readonly count: number;
  readonly bytes: number;
  readonly oldestAgeMs?: number;
  readonly delivering: boolean;
}

/** The writes that a node keeps for others. */
export interface HintsInfo {
  /** The node that answers. */
  readonly node: string;
  readonly count: number;
  readonly bytes: number;
  /**
   * Pairs of a partition and another replica that are to be compared first: their hints were given up, or a
   * read met a record that a watermark overrules.
   */
  readonly marks: number;
  readonly targets: readonly HintTargetInfo[];
}

/** A partition that is being compared with another replica. */
export interface RunningComparisonInfo {
  readonly partition: number;
  readonly n: number;
  readonly node: string;
  /** For example `scheduled`, `asked`, `marked`. */
  readonly why: string;
  readonly ageMs: number;
}

/** How far a node has compared its partitions with the other replicas. */
export interface RepairInfo {
  /** The node that answers. */
  readonly node: string;
  readonly periodMs: number;
  /** Pairs of a partition and another replica: all, those of the last period, those that wait. */
  readonly pairs: number;
  readonly visited: number;
  readonly due: number;
  readonly oldestAgeMs?: number;
  readonly nextMs?: number;
  readonly leftMs?: number;
  readonly running: readonly RunningComparisonInfo[];
  readonly markCount: number;
  readonly marks: readonly {
    readonly partition: number;
    readonly n: number;
    readonly storeId: string;
    readonly node?: string;
  }[];
  /** Partitions in which something waits to be dropped: all, and those never known to be the same. */
  readonly waiting: number;
  readonly neverSame: number;
  readonly oldestSameAgeMs?: number;
  readonly heldBack: readonly {
    readonly partition: number;
    readonly n: number;
    readonly why: string;
  }[];
  /** Whether the store was rolled back; its partitions without data, and how many were filled. */
  readonly rolledBack: boolean;
  readonly lackingCount: number;
  readonly lacking: readonly {
    readonly partition: number;
    readonly n: number;
    readonly why: string;
  }[];
  readonly filled: number;
  /** Comparisons since the node's start, and the records that they moved. */
  readonly whole: number;
  readonly agreed: number;
  readonly broken: number;
  readonly pushed: number;
  readonly pulled: number;
}

/** What one replica of a key said. */
export interface ExplainedReplica {
  readonly node: string;
  /** For example `found`, `nothing`, `no answer`. */
  readonly status: string;
  readonly version?: string;
  /** Whether what it holds is a deletion. */
  readonly tombstone?: boolean;
  readonly expiresAtMs?: number;
  /** The length of the value. */
  readonly bytes?: number;
  readonly tookMs?: number;
  readonly error?: string;
  /** False when the node that answers believes it to be down. */
  readonly up?: boolean;
  /** False when it lacks data: what it says is nothing to a read or a write. */
  readonly counts?: boolean;
  /** The epoch that it knows. */
  readonly epoch?: number;
  /** What was written before this is the same on all replicas, as far as this one knows. */
  readonly sameBeforeMs?: number;
}

/** Where a key lives, and what each of its replicas holds. */
export interface ExplainInfo {
  readonly namespace: string;
  readonly key: Uint8Array;
  readonly partition: number;
  readonly epoch: number;
  /** How many replicas it has; undefined: the node does not tell. */
  readonly n?: number;
  /** In order. */
  readonly replicas: readonly ExplainedReplica[];
}

const states: readonly MemberState[] = ["alive", "suspect", "down", "unknown"];

export function clusterInfo(body: Fields): ClusterInfo {
  const { voters, features, members } = body;
  if (!Array.isArray(members)) return malformed("no members");
  return {
    node: textIn(body, "node") ?? malformed("no node"),
    clusterId: textIn(body, "clusterId") ?? malformed("no clusterId"),
    epoch: Number(body.epoch),
    partitions: Number(body.partitions),
    voters: textsIn(voters),
    ...numberField(body, "protocol"),
    ...(Array.isArray(features) ? { features: features.filter(isObject).map(featureInfo) } : {}),
    members: members.filter(isObject).map(memberInfo),
  };
}

export function hintsInfo(body: Fields): HintsInfo {
  const { targets } = body;
  if (!Array.isArray(targets)) return malformed("no targets");
  return {
    node: textIn(body, "node") ?? malformed("no node"),
    count: Number(body.count),
    bytes: Number(body.bytes),
    // A node of an earlier version tells none.
    marks: Number(body.marks ?? 0),
    targets: targets.filter(isObject).map((target) => ({
      storeId: textIn(target, "storeId") ?? malformed("a target without a store"),
      ...textField(target, "node"),
      count: Number(target.count),
      bytes: Number(target.bytes),
      ...numberField(target, "oldestAgeMs"),
      delivering: target.delivering === true,
    })),
  };
}

export function repairInfo(body: Fields): RepairInfo {
  const { running, marks, heldBack } = body;
  if (!Array.isArray(running) || !Array.isArray(marks)) return malformed("no comparisons");
  const held = Array.isArray(heldBack) ? heldBack.filter(isObject) : [];
  const lacking = Array.isArray(body.lacking) ? body.lacking.filter(isObject) : [];
  return {
    node: textIn(body, "node") ?? malformed("no node"),
    ...numbersIn(body, ["periodMs", "pairs", "visited", "due"]),
    ...numberField(body, "oldestAgeMs"),
    ...numberField(body, "nextMs"),
    ...numberField(body, "leftMs"),
    running: running.filter(isObject).map((one) => ({
      ...numbersIn(one, ["partition", "n", "ageMs"]),
      node: textIn(one, "node") ?? malformed("a comparison without a node"),
      why: textIn(one, "why") ?? "",
    })),
    ...numbersIn(body, ["waiting", "neverSame"]),
    ...numberField(body, "oldestSameAgeMs"),
    heldBack: held.map((one) => ({
      ...numbersIn(one, ["partition", "n"]),
      why: textIn(one, "why") ?? "",
    })),
    // A node of an older version fills nothing.
    rolledBack: body.rolledBack === true,
    lackingCount: Number(body.lackingCount ?? 0),
    lacking: lacking.map((one) => ({
      ...numbersIn(one, ["partition", "n"]),
      why: textIn(one, "why") ?? "",
    })),
    filled: Number(body.filled ?? 0),
    ...numbersIn(body, ["markCount", "whole", "agreed", "broken", "pushed", "pulled"]),
    marks: marks.filter(isObject).map((mark) => ({
      ...numbersIn(mark, ["partition", "n"]),
      storeId: textIn(mark, "storeId") ?? malformed("a mark without a store"),
      ...textField(mark, "node"),
    })),
  };
}

function numbersIn<Name extends string>(
  fields: Fields,
  names: readonly Name[],
): { readonly [N in Name]: number } {
  const entries = names.map((name) => [name, Number(fields[name] ?? malformed(`no ${name}`))]);
  return Object.fromEntries(entries) as { readonly [N in Name]: number };
}

export function explainInfo(body: Fields): ExplainInfo {
  const { replicas } = body;
  if (!Array.isArray(replicas)) return malformed("no replicas");
  return {
    namespace: textIn(body, "namespace") ?? malformed("no namespace"),
    key: keyIn(body) ?? malformed("no key"),
    partition: Number(body.partition),
    epoch: Number(body.epoch),
    ...numberField(body, "n"),
    replicas: replicas.filter(isObject).map(explainedReplica),
  };
}

function featureInfo(feature: Fields): FeatureInfo {
  return {
    name: textIn(feature, "name") ?? malformed("a feature without a name"),
    since: Number(feature.since),
    on: feature.on === true,
    waitsFor: textsIn(feature.waitsFor),
  };
}

function memberInfo(member: Fields): MemberInfo {
  const { hints, disk, speaks } = member;
  return {
    ...replicaInfo(member),
    storeId: textIn(member, "storeId") ?? "",
    // A newer node may know a state that this client does not.
    state: states.find((state) => state === member.state) ?? "unknown",
    self: member.self === true,
    voter: member.voter === true,
    phi: Number(member.phi),
    ...numberField(member, "silentMs"),
    ...numberField(member, "epoch"),
    primaries: Number(member.primaries),
    replicas: Number(member.replicas),
    ...numberField(member, "keys"),
    ...numberField(member, "bytes"),
    ...(isObject(disk)
      ? { disk: { freeBytes: Number(disk.freeBytes), totalBytes: Number(disk.totalBytes) } }
      : {}),
    ...textField(member, "version"),
    ...(isObject(speaks)
      ? { speaks: { lowest: Number(speaks.lowest), highest: Number(speaks.highest) } }
      : {}),
    ...numberField(member, "lacking"),
    ...(member.rolledBack === true ? { rolledBack: true } : {}),
    hints: isObject(hints)
      ? { count: Number(hints.count), bytes: Number(hints.bytes) }
      : malformed("a member without hints"),
  };
}

function explainedReplica(replica: Fields): ExplainedReplica {
  const expiresAtMs = msOf(replica.expiresAt);
  const sameBeforeMs = msOf(replica.sameBefore);
  return {
    node: textIn(replica, "node") ?? malformed("a replica without a name"),
    status: textIn(replica, "status") ?? malformed("a replica without a status"),
    ...textField(replica, "version"),
    ...booleanField(replica, "tombstone"),
    ...(expiresAtMs === undefined ? {} : { expiresAtMs }),
    ...numberField(replica, "bytes"),
    ...numberField(replica, "tookMs"),
    ...textField(replica, "error"),
    ...booleanField(replica, "up"),
    ...booleanField(replica, "counts"),
    ...numberField(replica, "epoch"),
    ...(sameBeforeMs === undefined ? {} : { sameBeforeMs }),
  };
}

/** A field that may be missing, as an object to spread. */
function textField<Name extends string>(
  fields: Fields,
  name: Name,
): { readonly [N in Name]?: string } {
  const value = textIn(fields, name);
  return (value === undefined ? {} : { [name]: value }) as { readonly [N in Name]?: string };
}

function numberField<Name extends string>(
  fields: Fields,
  name: Name,
): { readonly [N in Name]?: number } {
  const value = fields[name];
  const has = typeof value === "number";
  return (has ? { [name]: value } : {}) as { readonly [N in Name]?: number };
}

function booleanField<Name extends string>(
  fields: Fields,
  name: Name,
): { readonly [N in Name]?: boolean } {
  const value = fields[name];
  const has = typeof value === "boolean";
  return (has ? { [name]: value } : {}) as { readonly [N in Name]?: boolean };
}
