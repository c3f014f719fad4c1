/**
 * Topology parse: a document from a disk or from another node, believed only when it holds together.
 *
 * Everything is checked before anything is used: kinds, lengths, and what the parts say of each
 * other. Format 1, which the first version wrote for a node on its own, is read as a cluster of one;
 * it is written as format 2 at its next change.
 *
 * Invariants
 * 1. `readTopology(JSON of x)` is x, and holds the invariants of `topology.ts`.
 * 2. No list is walked before its length is known to be within its limit.
 * 3. Fields that are not known are left out of what is answered.
 *
 * Effects: none. Source: style "edges parse, cores trust".
 *
 * @module
 */

import { type Namespace, ttlSecondsMax, valueBytesMaxLimit } from "./api.ts";
import { QuorateError } from "./errors.ts";
import { isPartitionCount } from "./ring.ts";
import {
  addressesMax,
  droppedMax,
  largestN,
  type Member,
  membersMax,
  namespacesMax,
  replicasMax,
  type Topology,
  topologyFormat,
  votersMax,
  weightMax,
} from "./topology.ts";
import { memberOf } from "./topology_steps.ts";

/** The document of a node on its own, as the first version wrote it. */
const formatOfOne = 1;
const idPattern = /^[0-9a-f]{32}$/;
const namePattern = /^[^\p{C}]{1,64}$/u;
const placePattern = /^[^\p{C}]{1,255}$/u;
const addressPattern = /^(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):(\d{1,5})$/;
const urlPattern = /^https?:\/\/[\x21-\x7e]{1,255}$/;
const namespacePattern = /^[a-z0-9_-]{1,64}$/;

type Fields = Readonly<Record<string, unknown>>;

/** The document in parsed JSON, or why it is none. */
export function readTopology(
  raw: unknown,
): { readonly value: Topology } | { readonly error: string } {
  if (!isFields(raw)) return { error: "it is not an object" };
  const document = raw["format"] === formatOfOne ? clusterOfOne(raw) : raw;
  if (document?.["format"] !== topologyFormat) return { error: "its format is not known" };
  const error = faultOf(document) ?? faultOfRows(document as unknown as Topology);
  return error === undefined ? { value: copyOf(document as unknown as Topology) } : { error };
}

/** The document in the data folder. @throws `wrong-data-folder`, `corruption` */
export function parseTopology(raw: unknown): Topology {
  const format = isFields(raw) ? raw["format"] : undefined;
  if (format !== formatOfOne && format !== topologyFormat) {
    throw new QuorateError(
      "wrong-data-folder",
      `The topology has format ${JSON.stringify(format)}, and this version of the program reads formats ${formatOfOne} and ${topologyFormat}.`,
      { hint: "Use the version of Quorate that wrote it, or a newer one." },
    );
  }
  const read = readTopology(raw);
  if ("value" in read) return read.value;
  throw new QuorateError(
    "corruption",
    `The topology in the data folder contradicts itself: ${read.error}.`,
    { hint: "Restore topology.a and topology.b from a copy; they were not changed." },
  );
}

/** A document of format 1 with what is the same in every cluster of one. */
function clusterOfOne(raw: Fields): Fields | undefined {
  const { members, partitions } = raw;
  if (!isList(members, 1) || !isFields(members[0]) || !isCount(partitions))
    return { ...raw, format: 2 };
  const { nodeId, storeId, name } = members[0] as unknown as Member;
  const each = <Value>(value: Value) => Array.from({ length: partitions }, () => value);
  return {
    ...raw,
    format: topologyFormat,
    members: [memberOf({ nodeId, storeId, name, host: "localhost" })],
    voters: [nodeId],
    replicas: each([0]),
    changed: each(1),
    joined: each([[1]]),
  };
}

/** Everything but the rows. */
function faultOf(document: Fields): string | undefined {
  const { members, voters, namespaces, dropped, nextNamespaceNumber } = document;
  if (!isText(document["clusterId"], idPattern)) return "its cluster id is not 32 hex digits";
  if (!isEpoch(document["epoch"])) return "its epoch is not a number from 1";
  if (!isCount(document["partitions"])) return "its partitions are not a power of two up to 1,024";
  if (!isList(members, membersMax) || members.length === 0) return "its members are no list";
  if (!members.every(isMember)) return "a member is not as it should be";
  if (members.length > 1 && members.some(({ addresses }) => addresses.length === 0)) {
    return "a member has no address";
  }
  for (const field of ["nodeId", "storeId", "name"] as const) {
    if (hasDoubles(members.map((member) => member[field]))) return `two members have one ${field}`;
  }
  if (!isList(voters, votersMax) || voters.length === 0 || hasDoubles(voters)) {
    return "its voters are no list of different nodes";
  }
  const ids = new Set<unknown>(members.map(({ nodeId }) => nodeId));
  if (!voters.every((voter) => ids.has(voter))) return "a voter is no member";
  if (!isWhole(nextNamespaceNumber, 1, 0xffffffff)) return "its next namespace has no number";
  return faultOfNamespaces(namespaces, dropped, nextNamespaceNumber);
}

function faultOfNamespaces(
  namespaces: unknown,
  dropped: unknown,
  next: number,
): string | undefined {
  if (!isList(namespaces, namespacesMax)) return "its namespaces are no list";
  if (!namespaces.every(isNamespace)) return "a namespace is not as it should be";
  if (!isList(dropped, droppedMax)) return "its deleted namespaces are no list";
  if (hasDoubles(namespaces.map(({ name }) => name))) return "two namespaces have one name";
  const numbers = [...namespaces.map(({ number }) => number), ...dropped];
  if (hasDoubles(numbers)) return "two namespaces have one number";
  if (!numbers.every((number) => isWhole(number, 0, next - 1))) {
    return "a namespace's number is not below the next one";
  }
  if (namespaces.some(({ name, number }) => name === "default" && number === 0)) return undefined;
  return "the namespace 'default' is missing";
}

/** The rows of a document whose other parts are as they should be. */
function faultOfRows(document: Topology): string | undefined {
  const { partitions, members, namespaces, replicas, changed, joined } = document;
  for (const list of [replicas, changed, joined]) {
    if (!isList(list, partitions) || list.length !== partitions)
      return "a partition has no replicas";
  }
  const lengthMin = Math.min(members.length, largestN(namespaces));
  for (let partition = 0; partition < partitions; partition += 1) {
    const row: unknown = replicas[partition];
    if (!isList(row, replicasMax) || row.length < lengthMin || hasDoubles(row)) {
      return `partition ${partition} has not as many different replicas as it should`;
    }
    if (!row.every((index) => isWhole(index, 0, members.length - 1))) {
      return `a replica of partition ${partition} is no member`;
    }
    const since: unknown = changed[partition];
    if (!isEpoch(since) || since > document.epoch) {
      return `partition ${partition} changed in no epoch up to this one`;
    }
    if (!isJoined(joined[partition], row.length, since)) {
      return `the replicas of partition ${partition} joined in no epochs up to its last change`;
    }
  }
  return undefined;
}

/** Who is among the first n is among the first n + 1 as well: since the same epoch or an older one. */
function isJoined(joined: unknown, length: number, changed: number): boolean {
  if (!isList(joined, length) || joined.length !== length) return false;
  return joined.every((epochs, position) => {
    if (!isList(epochs, length - position) || epochs.length !== length - position) return false;
    return epochs.every(
      (epoch, index) => isEpoch(epoch) && epoch <= ((epochs[index - 1] as number) ?? changed),
    );
  });
}

function isMember(raw: unknown): raw is Member {
  if (!isFields(raw)) return false;
  const { addresses, clientUrl } = raw;
  return (
    isText(raw["nodeId"], idPattern) &&
    isText(raw["storeId"], idPattern) &&
    isMemberName(raw["name"]) &&
    isList(addresses, addressesMax) &&
    addresses.every(isAddress) &&
    (clientUrl === undefined || isText(clientUrl, urlPattern)) &&
    isText(raw["zone"], placePattern) &&
    isText(raw["host"], placePattern) &&
    isWhole(raw["weight"], 1, weightMax)
  );
}

/** 1 to 64 printable characters: a name stands in headers and logs. */
export function isMemberName(raw: unknown): raw is string {
  return isText(raw, namePattern);
}

/** `host:port`, an IPv6 address in brackets. */
export function isAddress(raw: unknown): raw is string {
  const port = typeof raw === "string" ? addressPattern.exec(raw)?.[1] : undefined;
  return port !== undefined && isWhole(Number(port), 1, 65_535);
}

function isNamespace(raw: unknown): raw is Namespace {
  if (!isFields(raw)) return false;
  const { number, policy } = raw;
  if (!isText(raw["name"], namespacePattern) || !isWhole(number, 0, 0xffffffff)) return false;
  if (!isFields(policy)) return false;
  const { n, r, w, ttlSeconds } = policy;
  return (
    isWhole(n, 1, replicasMax) &&
    isReplicas(r, n) &&
    isReplicas(w, n) &&
    policy["resolve"] === "lww" &&
    (ttlSeconds === undefined || isWhole(ttlSeconds, 1, ttlSecondsMax)) &&
    isWhole(policy["valueBytesMax"], 1, valueBytesMaxLimit) &&
    (policy["durability"] === "fsync" || policy["durability"] === "memory")
  );
}

function isReplicas(raw: unknown, n: number): boolean {
  return raw === "quorum" || raw === "all" || isWhole(raw, 1, n);
}

/** The known fields alone. */
function copyOf(document: Topology): Topology {
  return {
    format: document.format,
    clusterId: document.clusterId,
    epoch: document.epoch,
    partitions: document.partitions,
    members: document.members.map(memberOf),
    voters: document.voters,
    replicas: document.replicas,
    changed: document.changed,
    joined: document.joined,
    namespaces: document.namespaces.map(({ name, number, policy }) => ({
      name,
      number,
      policy: {
        n: policy.n,
        r: policy.r,
        w: policy.w,
        resolve: policy.resolve,
        ...(policy.ttlSeconds === undefined ? {} : { ttlSeconds: policy.ttlSeconds }),
        valueBytesMax: policy.valueBytesMax,
        durability: policy.durability,
      },
    })),
    nextNamespaceNumber: document.nextNamespaceNumber,
    dropped: document.dropped,
  };
}

function isFields(raw: unknown): raw is Fields {
  return typeof raw === "object" && raw !== null && !Array.isArray(raw);
}

function isList(raw: unknown, lengthMax: number): raw is readonly unknown[] {
  return Array.isArray(raw) && raw.length <= lengthMax;
}

function isText(raw: unknown, pattern: RegExp): raw is string {
  return typeof raw === "string" && pattern.test(raw);
}

function isWhole(raw: unknown, min: number, max: number): raw is number {
  return typeof raw === "number" && Number.isInteger(raw) && raw >= min && raw <= max;
}

function isEpoch(raw: unknown): raw is number {
  return isWhole(raw, 1, Number.MAX_SAFE_INTEGER);
}

function isCount(raw: unknown): raw is number {
  return typeof raw === "number" && isPartitionCount(raw);
}

function hasDoubles(list: readonly unknown[]): boolean {
  return new Set(list).size !== list.length;
}
