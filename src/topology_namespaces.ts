/**
 * Topology namespaces: the steps that make, change and delete namespaces.
 *
 * A policy is checked as a whole, each rule with its reason. A namespace that wants more replicas
 * than any before makes the rows longer at their end: what others store stays where it is.
 *
 * Invariants
 * 1. A number is never used again, and `n` and `resolve` of a namespace stay (T8).
 * 2. A deleted namespace's number stays in `dropped` until its records are gone at all members.
 *
 * Effects: none. Source: rule T8.
 *
 * @module
 */

import {
  defaultNamespace,
  type NamespacePolicy,
  type Replicas,
  ttlSecondsMax,
  valueBytesMaxLimit,
} from "./api.ts";
import { QuorateError } from "./errors.ts";
import {
  droppedMax,
  namespacesMax,
  policyDefault,
  replicasMax,
  type Topology,
} from "./topology.ts";
import { refuseMoving, withRows } from "./topology_rows.ts";

/**
 * A namespace made, with `whenNew` for what is left out, or its policy changed; undefined when nothing
 * would change.
 */
export function withNamespace(
  topology: Topology,
  name: string,
  change: Partial<NamespacePolicy>,
  whenNew: Partial<NamespacePolicy> = {},
): Topology | undefined {
  const before = topology.namespaces.find((namespace) => namespace.name === name);
  const policy = { ...(before?.policy ?? { ...policyDefault, ...whenNew }), ...change };
  checkPolicy(name, policy);
  if (before === undefined) return withNewNamespace(topology, name, policy);
  if (policy.n !== before.policy.n) {
    throw invalid(
      `Namespace '${name}' has n = ${before.policy.n}, and n cannot be changed to ${policy.n}.`,
      "Make another namespace with the n you want, and copy the keys with export and import.",
    );
  }
  if (samePolicy(policy, before.policy)) return undefined;
  const namespaces = topology.namespaces.map((namespace) =>
    namespace.name === name ? { ...namespace, policy } : namespace,
  );
  return { ...topology, epoch: topology.epoch + 1, namespaces };
}

/** A namespace deleted, its records to be removed; undefined when there is none. */
export function withoutNamespace(topology: Topology, name: string): Topology | undefined {
  if (name === defaultNamespace) {
    throw invalid("The namespace 'default' cannot be deleted.", "Delete its keys instead.");
  }
  const gone = topology.namespaces.find((namespace) => namespace.name === name);
  if (gone === undefined) return undefined;
  if (topology.dropped.length >= droppedMax) {
    throw new QuorateError(
      "overloaded",
      `Of ${droppedMax} deleted namespaces not all members have told yet that their records are gone.`,
      {
        outcome: "none",
        hint: "Delete this one later. A member that is down has to come back, or to be removed.",
      },
    );
  }
  return {
    ...topology,
    epoch: topology.epoch + 1,
    namespaces: topology.namespaces.filter((namespace) => namespace !== gone),
    dropped: [...topology.dropped, gone.number],
  };
}

/** The records of deleted namespaces are gone; undefined where that is known already. */
export function withoutDropped(
  topology: Topology,
  numbers: readonly number[],
): Topology | undefined {
  const gone = new Set(numbers);
  const dropped = topology.dropped.filter((number) => !gone.has(number));
  if (dropped.length === topology.dropped.length) return undefined;
  return { ...topology, epoch: topology.epoch + 1, dropped };
}

/** Whether a number was a namespace's that is deleted: it is nobody's for ever. */
export function isDeleted({ namespaces, nextNamespaceNumber }: Topology, number: number): boolean {
  return number < nextNamespaceNumber && !namespaces.some((one) => one.number === number);
}

function withNewNamespace(topology: Topology, name: string, policy: NamespacePolicy): Topology {
  if (topology.namespaces.length >= namespacesMax) {
    throw invalid(
      `There are ${namespacesMax} namespaces, and no more are possible.`,
      "Delete one, or use prefixes of keys.",
    );
  }
  const number = topology.nextNamespaceNumber;
  const namespaces = [...topology.namespaces, { name, number, policy }];
  const next = { ...topology, namespaces, nextNamespaceNumber: number + 1 };
  // Who is given a weight by a move holds something when that is over: the rows have to be so long then.
  const sites = topology.move?.sites.filter(({ weight }) => weight > 0) ?? [];
  const holders = topology.members.filter(
    ({ nodeId, weight }) => weight > 0 || sites.some((site) => site.nodeId === nodeId),
  ).length;
  const wanted = Math.min(policy.n, holders);
  const rows = [...topology.replicas, ...(topology.move?.rows ?? []).map((row) => row.replicas)];
  const present = Math.min(...rows.map((row) => row.length));
  if (wanted <= present) return { ...next, epoch: topology.epoch + 1 };
  // Longer rows are other ones, and those are under way.
  refuseMoving(topology);
  // Longer rows: nobody's first n changes, and nobody has anything of the new namespace yet.
  return withRows(next, { depth: wanted, fixed: present });
}

/** Each rule with its reason; the edges have checked types only. */
function checkPolicy(name: string, policy: NamespacePolicy): void {
  const { n, r, w, resolve, ttlSeconds, valueBytesMax } = policy;
  if (!isWhole(n, 1, replicasMax)) {
    throw invalid(`n of '${name}' is ${n}.`, `n is a whole number from 1 to ${replicasMax}.`);
  }
  checkReplicas("r", r, n);
  checkReplicas("w", w, n);
  if (resolve !== "lww") {
    throw invalid(
      `resolve of '${name}' is '${resolve}', which this version does not offer.`,
      "Use 'lww': the highest version wins.",
    );
  }
  if (ttlSeconds !== undefined && !isWhole(ttlSeconds, 1, ttlSecondsMax)) {
    throw invalid(
      `ttl of '${name}' is ${ttlSeconds}.`,
      `A ttl is 1 to ${ttlSecondsMax} whole seconds.`,
    );
  }
  if (!isWhole(valueBytesMax, 1, valueBytesMaxLimit)) {
    throw invalid(
      `maxValue of '${name}' is ${valueBytesMax}.`,
      `It is 1 to ${valueBytesMaxLimit} bytes.`,
    );
  }
}

function checkReplicas(what: "r" | "w", count: Replicas, n: number): void {
  if (typeof count !== "number" || isWhole(count, 1, n)) return;
  throw new QuorateError("invalid-quorum", `${what} is ${count}, and n is ${n}.`, {
    outcome: "none",
    hint: `${what} is a whole number from 1 to n, 'quorum' or 'all'.`,
  });
}

function isWhole(value: number, min: number, max: number): boolean {
  return Number.isInteger(value) && value >= min && value <= max;
}

function samePolicy(a: NamespacePolicy, b: NamespacePolicy): boolean {
  const names = Object.keys({ ...a, ...b }) as (keyof NamespacePolicy)[];
  return names.every((name) => a[name] === b[name]);
}

function invalid(detail: string, hint: string): QuorateError {
  return new QuorateError("invalid-request", detail, { outcome: "none", hint });
}
