/**
 * Topology: the document on which a cluster agrees, and its legal next steps.
 *
 * It names the cluster, its members, its namespaces with their policies, and the number of
 * partitions. Every change makes a whole next document with the next epoch; nothing is changed in
 * place. A node that starts alone makes a cluster of one, with an id and a number of partitions that
 * stay for ever (T10).
 *
 * Invariants
 * 1. Each step's epoch is one above the document's that it came from.
 * 2. A namespace's number is never used again (T8); `default` is number 0 and always there.
 * 3. `parseTopology(JSON of x)` equals x, and refuses what breaks invariant 2.
 *
 * Effects: none. Source: rules T8, T10.
 *
 * @module
 */

import {
  defaultNamespace,
  type Namespace,
  type NamespacePolicy,
  type Replicas,
  ttlSecondsMax,
  valueBytesMaxLimit,
} from "./api.ts";
import { QuorateError } from "./errors.ts";
import { isPartitionCount } from "./ring.ts";

export const topologyFormat = 1;
export const namespacesMax = 1000;
/** The most replicas that a namespace may ask for. */
export const replicasMax = 9;

export interface Member {
  /** 32 hex digits each. */
  readonly nodeId: string;
  readonly storeId: string;
  readonly name: string;
}

export interface Topology {
  readonly format: number;
  /** 32 hex digits; the ring is seeded from it. */
  readonly clusterId: string;
  readonly epoch: number;
  readonly partitions: number;
  readonly members: readonly Member[];
  readonly namespaces: readonly Namespace[];
  readonly nextNamespaceNumber: number;
  /** Numbers of deleted namespaces whose records are still being removed. */
  readonly dropped: readonly number[];
}

export const policyDefault: NamespacePolicy = {
  n: 3,
  r: "quorum",
  w: "quorum",
  resolve: "lww",
  valueBytesMax: 1024 * 1024,
  durability: "fsync",
};

/** The first document of a cluster of one. */
export function genesis(clusterId: string, partitions: number, member: Member): Topology {
  return {
    format: topologyFormat,
    clusterId,
    epoch: 1,
    partitions,
    members: [member],
    namespaces: [{ name: defaultNamespace, number: 0, policy: policyDefault }],
    nextNamespaceNumber: 1,
    dropped: [],
  };
}

/** A namespace made, or its policy changed; undefined when nothing would change. */
export function withNamespace(
  topology: Topology,
  name: string,
  change: Partial<NamespacePolicy>,
): Topology | undefined {
  const before = topology.namespaces.find((namespace) => namespace.name === name);
  const policy = { ...(before?.policy ?? policyDefault), ...change };
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
  return {
    ...topology,
    epoch: topology.epoch + 1,
    namespaces: topology.namespaces.filter((namespace) => namespace !== gone),
    dropped: [...topology.dropped, gone.number],
  };
}

/** The records of a deleted namespace are gone. */
export function withoutDropped(topology: Topology, number: number): Topology {
  const dropped = topology.dropped.filter((other) => other !== number);
  return { ...topology, epoch: topology.epoch + 1, dropped };
}

/** The document in parsed JSON. @throws `wrong-data-folder`, `corruption` */
export function parseTopology(raw: unknown): Topology {
  const document = raw as Topology;
  if (document?.format !== topologyFormat) {
    throw new QuorateError(
      "wrong-data-folder",
      `The topology has format ${String(document?.format)}, and this version of the program reads format ${topologyFormat}.`,
      { hint: "Use the version of Quorate that wrote it, or a newer one." },
    );
  }
  const numbers = Array.isArray(document.namespaces)
    ? document.namespaces.map((namespace) => namespace?.number)
    : [];
  const fits =
    /^[0-9a-f]{32}$/.test(document.clusterId) &&
    Number.isSafeInteger(document.epoch) &&
    isPartitionCount(document.partitions) &&
    Array.isArray(document.members) &&
    Array.isArray(document.dropped) &&
    numbers.includes(0) &&
    new Set(numbers).size === numbers.length &&
    [...numbers, ...document.dropped].every((number) => number < document.nextNamespaceNumber);
  if (fits) return document;
  throw new QuorateError("corruption", "The topology in the data folder contradicts itself.", {
    hint: "Restore topology.a and topology.b from a copy; they were not changed.",
  });
}

function withNewNamespace(topology: Topology, name: string, policy: NamespacePolicy): Topology {
  if (topology.namespaces.length >= namespacesMax) {
    throw invalid(
      `There are ${namespacesMax} namespaces, and no more are possible.`,
      "Delete one, or use prefixes of keys.",
    );
  }
  const number = topology.nextNamespaceNumber;
  return {
    ...topology,
    epoch: topology.epoch + 1,
    namespaces: [...topology.namespaces, { name, number, policy }],
    nextNamespaceNumber: number + 1,
  };
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
