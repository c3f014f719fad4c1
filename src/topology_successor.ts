/**
 * Topology successor: what must hold between a document and its next.
 *
 * A node that is told of a chosen document, and a voter that is asked for its vote, look at it with
 * these eyes: whatever else it says, it may not break what the protocol rests on. The steps are
 * tested against it.
 *
 * Effects: none. Source: rules T1, T2, T6, T8; invariants of `topology.ts`.
 *
 * @module
 */

import type { Namespace } from "./api.ts";
import { memberAt, type Topology } from "./topology.ts";
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
  return wrongMember(before, next) ?? wrongNamespace(before, next) ?? wrongRow(before, next);
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

function idsOf(topology: Topology, partition: number): string[] {
  return (topology.replicas[partition] ?? []).map((index) => memberAt(topology, index).nodeId);
}
