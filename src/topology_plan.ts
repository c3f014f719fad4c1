/**
 * Topology plan: what would move if members, weights or zones were others.
 *
 * A plan is worked out from the document and from who waits, and changes nothing. Its id comes from the
 * document that would follow: the same wish under the same epoch has the same id, and nothing else.
 * Sizes are estimates, from what the members have told: all replicas of partitions are taken to be
 * equally large, and the slowest copier sets the time.
 *
 * Invariants
 * 1. The same document, wish and waiting nodes give the same id; another epoch gives another one.
 * 2. A plan has begun only where the document, or the move in it, is the one that the plan makes.
 *
 * Effects: none. Source: rules T3, I1.
 *
 * @module
 */

import type { PlanAnswer, PlanMember, PlanRequest } from "./api_moves.ts";
import { utf8Bytes } from "./bytes.ts";
import { QuorateError } from "./errors.ts";
import { xxh64 } from "./hash.ts";
import { majority } from "./level.ts";
import {
  isLostSet,
  type Member,
  type MovedSite,
  movedSetsOf,
  notLost,
  sharesOf,
  type Topology,
  type TopologyMove,
  weightMax,
} from "./topology.ts";
import { type MoveChange, withMove, withNextPhase } from "./topology_move.ts";
import { isMemberName } from "./topology_parse.ts";
import { type MemberFacts, memberOf } from "./topology_steps.ts";

/** What is known beside the document. */
export interface PlanFacts {
  readonly waiting: readonly MemberFacts[];
  /** The bytes that a member says it holds; undefined: it has not told. */
  readonly bytesOf: (nodeId: string) => number | undefined;
  /** How fast a node copies, in bytes a second. */
  readonly bytesPerSecond: number;
}

export interface Plan {
  readonly answer: PlanAnswer;
  readonly change: MoveChange;
  /** As it begins; undefined: all of it is done at once. */
  readonly move: TopologyMove | undefined;
}

/** A phase is known to all after about two rounds of gossip. */
const phaseSeconds = 2;

/** @throws `invalid-request` for what cannot be, `contention` while something moves */
export function makePlan(topology: Topology, request: PlanRequest, facts: PlanFacts): Plan {
  const change = changeOf(topology, request, facts.waiting);
  const next = withMove(topology, change);
  if (next !== undefined) refuseLoss(next, change);
  if (next === undefined) {
    throw invalid("The plan changes nothing.", "quorate cluster plan --help lists what can be.");
  }
  const end = endOf(next);
  const { copies, most } = copiesOf(topology, end);
  const size = sizeOf(topology, facts);
  const sources = 1 + Math.floor((topology.replicas[0]?.length ?? 1) / 2);
  const seconds = (most * size * sources) / facts.bytesPerSecond + 4 * phaseSeconds;
  const id = planId(next);
  const answer = {
    id,
    epoch: topology.epoch,
    members: membersOf(topology, end, facts, size),
    partitions: next.move?.rows.length ?? 0,
    copies,
    bytes: Math.round(copies * size),
    seconds: Math.ceil(seconds),
    warnings: [...warningsOf(topology, end), ...lossesOf(next)],
    next: `quorate cluster apply ${id}`,
  };
  return { answer, change, move: next.move };
}

/** The step of a plan, for the agreement. @throws `contention` for another epoch */
export function planStep({ answer, change }: Plan, topology: Topology): Topology | undefined {
  const { id, epoch } = answer;
  const next = topology.epoch === epoch ? withMove(topology, change) : undefined;
  if (next !== undefined && planId(next) === id) return next;
  throw new QuorateError(
    "contention",
    `The plan ${id} was made for epoch ${epoch}, and the epoch is ${topology.epoch} now.`,
    { outcome: "none", epoch: topology.epoch, hint: "Plan again, and look at what it says now." },
  );
}

/**
 * Whether a document is the one that the plan makes, or has the move in it that began so. False also where that
 * is over, or began otherwise: another plan of the same epoch may have won.
 */
export function hasBegun({ answer, move }: Plan, topology: Topology): boolean {
  if (topology.epoch === answer.epoch + 1) return planId(topology) === answer.id;
  if (move === undefined || topology.move?.begun !== move.begun) return false;
  return beginOf(move, topology.replicas) === beginOf(topology.move, topology.replicas);
}

/** What a move has from its first phase to its last one. */
function beginOf(move: TopologyMove, replicas: Topology["replicas"]): string {
  const { joining, leaving, lost, sites, phase } = move;
  const rows = move.rows.map((row) => [
    row.partition,
    // From phase 3 on the new row is the one that is read.
    phase >= 3 ? replicas[row.partition] : row.replicas,
  ]);
  return JSON.stringify([joining, leaving, lost, sites, rows]);
}

function planId(next: Topology): string {
  return xxh64(utf8Bytes(JSON.stringify(next)), 0n)
    .toString(16)
    .padStart(16, "0");
}

/** Names become nodes. */
function changeOf(
  topology: Topology,
  request: PlanRequest,
  waiting: readonly MemberFacts[],
): MoveChange {
  const { join = [], leave = [], replace = [] } = request;
  const joining = [...join, ...replace.map(({ by }) => by)].map((name) => waits(waiting, name));
  const leaving = [...leave, ...replace.map(({ node }) => node)].map(
    (name) => memberNamed(topology, name).nodeId,
  );
  refuseDoubles(joining.map(({ name }) => name));
  refuseDoubles(leaving);
  const sites = sitesOf(topology, request);
  const gone = sites.find(({ nodeId }) => leaving.includes(nodeId));
  if (gone !== undefined) refuseGone(topology, request, gone.nodeId);
  return {
    join: joining,
    leave: leaving,
    replace: replace.map(({ node, by }) => ({
      nodeId: memberNamed(topology, node).nodeId,
      by: waits(waiting, by).nodeId,
    })),
    sites,
    isLossAccepted: request.acceptDataLoss === true,
  };
}

/** Who is no member when all is over can be given nothing. @throws `invalid-request` */
function refuseGone({ members }: Topology, { replace = [] }: PlanRequest, nodeId: string): never {
  const name = members.find((member) => member.nodeId === nodeId)?.name ?? nodeId;
  const by = replace.find(({ node }) => node === name)?.by;
  if (by === undefined) {
    throw invalid(
      `'${name}' leaves in this plan, and is given a weight or a zone in it.`,
      "Leave one of the two out.",
    );
  }
  throw invalid(
    `'${name}' is replaced in this plan, and is given a weight or a zone in it.`,
    `Start '${by}' with the weight and the zone that it is to have, or plan them when the move is over.`,
  );
}

/** Where a majority of a set is replaced, what it held may be nowhere else. */
function refuseLoss(next: Topology, { isLossAccepted, replace }: MoveChange): void {
  if (next.move === undefined || isLossAccepted === true || replace.length === 0) return;
  // Who leaves in the same plan still has what it holds, and is copied from.
  const replaced = new Set(replace.map(({ nodeId }) => nodeId));
  for (const { name, policy } of next.namespaces) {
    for (const row of next.move.rows) {
      const { old } = movedSetsOf(next, row, policy.n);
      const left = old.filter(({ nodeId }) => !replaced.has(nodeId)).length;
      if (2 * left > old.length) continue;
      throw invalid(
        `Of the replicas of '${name}' in partition ${row.partition} so many are replaced that what they held may be nowhere else.`,
        "If they are lost for good, plan again with --accept-data-loss; if they still run, let them leave instead.",
      );
    }
  }
}

function sitesOf(topology: Topology, { drain = [], weight = [], zone = [] }: PlanRequest) {
  refuseDoubles([...drain, ...weight.map(({ node }) => node)]);
  refuseDoubles(zone.map(({ node }) => node));
  const sites = new Map<string, MovedSite>();
  const change = (name: string, to: Partial<MovedSite>): void => {
    const { nodeId, zone: zoneNow, weight: weightNow } = memberNamed(topology, name);
    const before = sites.get(nodeId) ?? { nodeId, zone: zoneNow, weight: weightNow };
    sites.set(nodeId, { ...before, ...to });
  };
  for (const name of drain) change(name, { weight: 0 });
  for (const one of weight) {
    if (!Number.isInteger(one.weight) || one.weight < 0 || one.weight > weightMax) {
      throw invalid(
        `The weight of '${one.node}' is ${one.weight}.`,
        `A weight is a whole number from 0 to ${weightMax}; 100 is usual, 0 holds nothing.`,
      );
    }
    change(one.node, { weight: one.weight });
  }
  for (const one of zone) {
    if (!isMemberName(one.zone)) {
      throw invalid(`The zone of '${one.node}' is no zone.`, "It is 1 to 64 printable characters.");
    }
    change(one.node, { zone: one.zone });
  }
  return [...sites.values()];
}

function waits(waiting: readonly MemberFacts[], name: string): MemberFacts {
  const [found, ...more] = waiting.filter((facts) => facts.name === name);
  if (found !== undefined && more.length === 0) return found;
  if (found !== undefined) {
    // Which of them is meant, and whether all of them still run, only an operator knows.
    const all = [found, ...more].map(
      (one) => `${one.nodeId} at ${(one.addresses ?? []).join(", ")}`,
    );
    throw invalid(
      `${all.length} nodes of the name '${name}' wait to join: ${all.join("; ")}.`,
      "Stop those that are not meant, or give each a name of its own (--name); 10 seconds later, plan again.",
    );
  }
  const names = waiting.map((facts) => `'${facts.name}'`).join(", ");
  throw invalid(
    `No node of the name '${name}' waits to join. ${names === "" ? "None does." : `There is ${names}.`}`,
    "Start it with --peers of this cluster and an empty data folder, then plan again.",
  );
}

function memberNamed({ members }: Topology, name: string): Member {
  const found = members.find((member) => member.name === name);
  if (found !== undefined) return found;
  throw invalid(
    `There is no member '${name}'. There are ${members.map((member) => `'${member.name}'`).join(", ")}.`,
    "quorate status lists the members.",
  );
}

function refuseDoubles(names: readonly string[]): void {
  if (new Set(names).size === names.length) return;
  throw invalid("A node is named twice in the plan.", "Name each node once.");
}

/** The document when the move is over. */
function endOf(next: Topology): Topology {
  let last = next;
  while (last.move !== undefined) last = withNextPhase(last, last.move) as Topology;
  return last;
}

/** How many replicas of partitions come to a member that had none of it, in all and at most. */
function copiesOf(
  before: Topology,
  after: Topology,
): { readonly copies: number; readonly most: number } {
  const counts = new Map<string, number>();
  let copies = 0;
  for (let partition = 0; partition < before.partitions; partition += 1) {
    const held = new Set(idsOf(before, partition));
    for (const nodeId of idsOf(after, partition)) {
      if (held.has(nodeId)) continue;
      copies += 1;
      counts.set(nodeId, (counts.get(nodeId) ?? 0) + 1);
    }
  }
  return { copies, most: Math.max(0, ...counts.values()) };
}

function idsOf({ members, replicas }: Topology, partition: number): string[] {
  return (replicas[partition] ?? []).map((index) => (members[index] as Member).nodeId);
}

/** The bytes of one replica of a partition, on average over those who have told. */
function sizeOf(topology: Topology, { bytesOf }: PlanFacts): number {
  const shares = sharesOf(topology);
  let bytes = 0;
  let count = 0;
  for (const [index, { nodeId }] of topology.members.entries()) {
    const told = bytesOf(nodeId);
    if (told === undefined) continue;
    bytes += told;
    count += shares[index]?.all ?? 0;
  }
  return count === 0 ? 0 : bytes / count;
}

function membersOf(
  before: Topology,
  after: Topology,
  { bytesOf }: PlanFacts,
  size: number,
): readonly PlanMember[] {
  const sharesBefore = sharesOf(before);
  const sharesAfter = sharesOf(after);
  const all = [
    ...before.members,
    ...after.members.filter(({ nodeId }) => !before.members.some((one) => one.nodeId === nodeId)),
  ];
  return all.map(({ nodeId, name }): PlanMember => {
    const was = before.members.findIndex((one) => one.nodeId === nodeId);
    const is = after.members.findIndex((one) => one.nodeId === nodeId);
    const partitionsAfter = sharesAfter[is]?.all ?? 0;
    const bytes = was === -1 ? 0 : bytesOf(nodeId);
    return {
      node: name,
      nodeId,
      change: was === -1 ? "joins" : is === -1 ? "leaves" : "stays",
      partitionsBefore: sharesBefore[was]?.all ?? 0,
      partitionsAfter,
      ...(bytes === undefined ? {} : { bytesBefore: bytes }),
      bytesAfter: Math.round(partitionsAfter * size),
    };
  });
}

function warningsOf(before: Topology, after: Topology): readonly string[] {
  const length = (topology: Topology): number => topology.replicas[0]?.length ?? 0;
  const warnings: string[] = [];
  for (const { name, policy } of after.namespaces) {
    const now = Math.min(policy.n, length(after));
    if (now >= Math.min(policy.n, length(before))) continue;
    warnings.push(
      `Keys of '${name}' will have ${now} replicas instead of ${Math.min(policy.n, length(before))}: a quorum is ${majority(now)} of them.`,
    );
  }
  return warnings;
}

/** What is given up with those that are replaced, as an operator has accepted it. */
function lossesOf(next: Topology): readonly string[] {
  const { lost = [], rows = [] } = next.move ?? {};
  const names = next.members.filter(({ nodeId }) => lost.includes(nodeId)).map(({ name }) => name);
  const on = names.join(", ");
  return next.namespaces.flatMap(({ name, policy }) => {
    const sets = rows.map((row) => movedSetsOf(next, row, policy.n).old);
    const given = sets.filter((set) => isLostSet(next, set));
    const whole = given.filter((set) => notLost(next, set).length === 0).length;
    const part = given.length - whole;
    const of = (count: number): string => `in ${count} of ${next.partitions} partitions`;
    return [
      ...(whole === 0
        ? []
        : [`The only copies of '${name}' ${of(whole)} are on ${on}: they are given up.`]),
      ...(part === 0
        ? []
        : [`What '${name}' holds ${of(part)} may be on ${on} alone: where it is, it is given up.`]),
    ];
  });
}

function invalid(detail: string, hint: string): QuorateError {
  return new QuorateError("invalid-request", detail, { outcome: "none", hint });
}

/** The command that takes in a node that waits: under a member's name it can only be in its place (I1). */
export function takingIn({ members }: Pick<Topology, "members">, name: string): string {
  const wish = members.some((member) => member.name === name) ? "--replace" : "--join";
  return `quorate cluster plan ${wish} ${name}`;
}

/** A node that waits, as it is told of. */
export function waitingNode(facts: MemberFacts) {
  const { name, nodeId, addresses } = memberOf(facts);
  return { node: name, nodeId, addresses };
}
