/**
 * Topology successor: what must hold between a document and its next.
 *
 * A node that is told of a chosen document, and a voter that is asked for its vote, look at it with
 * these eyes: whatever else it says, it may not break what the protocol rests on. The steps are
 * tested against it.
 *
 * Effects: none. Source: rules T1, T2, T3, T6, T8; invariants of `topology.ts`.
 *
 * @module
 */

import type { Namespace } from "./api.ts";
import {
  isIn,
  type MovingRow,
  memberAt,
  otherRowOf,
  protocolOf,
  type Topology,
} from "./topology.ts";
import { nextJoined, sameRow } from "./topology_rows.ts";

/** Whether `next` may follow `before`; both are documents that were parsed. */
export function isSuccessor(before: Topology, next: Topology): boolean {
  return whyNotSuccessor(before, next) === undefined;
}

/** The first reason why `next` may not follow `before`; undefined when it may. */
export function whyNotSuccessor(before: Topology, next: Topology): string | undefined {
  if (next.clusterId !== before.clusterId) return "it is of another cluster";
  if (next.partitions !== before.partitions) return "it has another number of partitions";
  if (next.epoch !== before.epoch + 1) {
    return `its epoch is ${next.epoch}, and ${before.epoch + 1} comes after ${before.epoch}`;
  }
  if (protocolOf(next) < protocolOf(before)) return "it turns off what all members speak";
  return (
    wrongMember(before, next) ??
    wrongNamespace(before, next) ??
    wrongMove(before, next) ??
    (before.move === undefined && next.move === undefined
      ? wrongRow(before, next)
      : wrongMovedRow(before, next))
  );
}

/** A node keeps its store and a store its node: a new disk comes as a new node (I1). */
function wrongMember(before: Topology, next: Topology): string | undefined {
  for (const { nodeId, storeId } of before.members) {
    const same = next.members.find((one) => one.nodeId === nodeId || one.storeId === storeId);
    if (same === undefined) continue;
    if (same.nodeId !== nodeId) return `the store ${storeId} changed its node`;
    if (same.storeId !== storeId) return `the node ${nodeId} changed its store`;
  }
  return undefined;
}

/** T8. */
function wrongNamespace(before: Topology, next: Topology): string | undefined {
  const known = new Map(before.namespaces.map((namespace) => [namespace.number, namespace]));
  if (next.nextNamespaceNumber < before.nextNamespaceNumber) return "numbers would be used again";
  for (const namespace of next.namespaces) {
    const { number, name } = namespace;
    const same = known.get(number);
    if (same === undefined && number < before.nextNamespaceNumber) {
      return `the namespace '${name}' has the number ${number}, which was used before`;
    }
    if (same !== undefined && !keepsPolicy(same, namespace)) {
      return `the namespace '${same.name}' changed its name, n or resolve`;
    }
    known.delete(number);
  }
  for (const number of known.keys()) {
    if (!next.dropped.includes(number)) return `the namespace ${number} is gone, and not dropped`;
  }
  const dropped = new Set([...before.dropped, ...known.keys()]);
  const never = next.dropped.find((number) => !dropped.has(number));
  return never === undefined
    ? undefined
    : `the number ${never} is dropped, and no namespace had it`;
}

function keepsPolicy(before: Namespace, next: Namespace): boolean {
  return (
    before.name === next.name &&
    before.policy.n === next.policy.n &&
    before.policy.resolve === next.policy.resolve
  );
}

/** T2, T6: a changed row says so, and who stayed in a set keeps the epoch at which it joined. */
function wrongRow(before: Topology, next: Topology): string | undefined {
  for (let partition = 0; partition < next.partitions; partition += 1) {
    const earlier = idsOf(before, partition);
    const later = idsOf(next, partition);
    const isSame = sameRow(earlier, later);
    const changed = isSame ? before.changed[partition] : next.epoch;
    if (next.changed[partition] !== changed) {
      return `the row of partition ${partition} ${isSame ? "did not change" : "changed"}, and says otherwise`;
    }
    const joined = nextJoined(later, earlier, before.joined[partition] ?? [], next.epoch);
    if (JSON.stringify(next.joined[partition]) !== JSON.stringify(joined)) {
      return `the row of partition ${partition} does not say when its replicas joined`;
    }
  }
  return undefined;
}

/** T3: one move at a time, one phase after another, and only what it says comes and goes. */
function wrongMove(before: Topology, next: Topology): string | undefined {
  const earlier = before.move;
  const later = next.move;
  const came = next.members.filter(({ nodeId }) => !isIn(before.members, nodeId));
  const gone = before.members.filter(({ nodeId }) => !isIn(next.members, nodeId));
  if (earlier === undefined && later === undefined) return undefined;
  if (earlier === undefined && later !== undefined) {
    if (later.begun !== next.epoch || later.since !== next.epoch) return "its move began before it";
    if (later.phase !== 0 || later.isReverting) return "its move begins in the middle";
    if (gone.length > 0 || !sameIds(came, later.joining)) return "others join than it says";
    return undefined;
  }
  if (earlier !== undefined && later === undefined) {
    const isEnd = earlier.phase === 4 && !earlier.isReverting;
    const isUndone = earlier.phase === 0 || (earlier.phase === 1 && earlier.isReverting);
    if (!isEnd && !isUndone) return `its move ends in phase ${earlier.phase}`;
    if (came.length > 0) return "members join with the end of a move";
    return sameIds(gone, isEnd ? earlier.leaving : earlier.joining)
      ? undefined
      : "others leave than its move said";
  }
  if (earlier === undefined || later === undefined) return undefined;
  if (later.begun !== earlier.begun) return "another move begins before the one under way is over";
  if (came.length > 0 || gone.length > 0) return "members come or go in the middle of a move";
  const said = (move: typeof earlier): string =>
    JSON.stringify([move.joining, move.leaving, move.lost, move.sites]);
  if (said(earlier) !== said(later)) return "its move became another one";
  const isSame = later.phase === earlier.phase && later.isReverting === earlier.isReverting;
  if (later.since !== (isSame ? earlier.since : next.epoch)) return "its phase began elsewhere";
  if (isSame) return undefined;
  const isForward = !later.isReverting && later.phase === earlier.phase + 1;
  const isBack =
    later.isReverting &&
    (earlier.phase === 3
      ? later.phase === 2
      : earlier.phase !== 4 &&
        earlier.phase !== 0 &&
        later.phase === 1 &&
        !(earlier.isReverting && earlier.phase === 1));
  return isForward || isBack
    ? undefined
    : `its move goes from phase ${earlier.phase} to ${later.phase}`;
}

/** T2, T3, T6: of the two rows of each partition one is read; nothing else changes. */
function wrongMovedRow(before: Topology, next: Topology): string | undefined {
  const earlier = before.move;
  const later = next.move;
  const isPhase = later?.phase !== earlier?.phase || later?.isReverting !== earlier?.isReverting;
  const wasRead = (earlier?.phase ?? 1) >= 3;
  // An end leaves the row that is read.
  const isRead = later === undefined ? wasRead : later.phase >= 3;
  const isSwapped = wasRead !== isRead;
  const isEnd = later === undefined && earlier?.phase === 4;
  const isChanged =
    earlier !== undefined &&
    isPhase &&
    !isEnd &&
    (isSwapped || later === undefined || later.phase === 4 || earlier.phase === 0);
  for (let partition = 0; partition < next.partitions; partition += 1) {
    const was = otherRowOf(before, partition);
    const is = otherRowOf(next, partition);
    const old: Row = { ids: idsOf(before, partition), joined: before.joined[partition] };
    const present: Row = { ids: idsOf(next, partition), joined: next.joined[partition] };
    const other = earlier === undefined ? undefined : rowOf(before, was);
    const hasMoved = is !== undefined || was !== undefined;
    if (
      earlier !== undefined &&
      later !== undefined &&
      (is === undefined) !== (was === undefined)
    ) {
      return `partition ${partition} came into the move or left it`;
    }
    if (!isSameRow(present, isSwapped && other !== undefined ? other : old)) {
      return `the row of partition ${partition} is not the one that its phase reads`;
    }
    const changed = hasMoved && isChanged ? next.epoch : before.changed[partition];
    if (next.changed[partition] !== changed) {
      return `partition ${partition} does not say when its replicas changed`;
    }
    const kept = rowOf(next, is);
    if (kept === undefined) continue;
    if (earlier === undefined) {
      const joined = nextJoined(kept.ids, old.ids, before.joined[partition] ?? [], next.epoch);
      if (sameRow(kept.ids, old.ids)) return `partition ${partition} moves to where it is`;
      if (JSON.stringify(kept.joined) !== JSON.stringify(joined)) {
        return `the new row of partition ${partition} does not say when its replicas joined`;
      }
    } else if (!isSameRow(kept, isSwapped ? old : (other as Row))) {
      return `the other row of partition ${partition} changed`;
    }
  }
  return undefined;
}

interface Row {
  readonly ids: readonly string[];
  readonly joined: readonly (readonly number[])[] | undefined;
}

function rowOf(topology: Topology, row: MovingRow | undefined): Row | undefined {
  if (row === undefined) return undefined;
  const ids = row.replicas.map((index) => memberAt(topology, index).nodeId);
  return { ids, joined: row.joined };
}

function isSameRow(a: Row, b: Row): boolean {
  return sameRow(a.ids, b.ids) && JSON.stringify(a.joined) === JSON.stringify(b.joined);
}

function sameIds(members: readonly { readonly nodeId: string }[], ids: readonly string[]): boolean {
  return members.length === ids.length && members.every(({ nodeId }) => ids.includes(nodeId));
}

function idsOf(topology: Topology, partition: number): string[] {
  return (topology.replicas[partition] ?? []).map((index) => memberAt(topology, index).nodeId);
}
