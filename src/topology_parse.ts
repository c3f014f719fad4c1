/**
 * Topology parse: a document from a disk or from another node, believed only when it holds together.
 *
 * Everything is checked before anything is used: kinds, lengths, and what the parts say of each
 * other. Format 1, which the first version wrote for a node on its own, is read as a cluster of one;
 * it is written in format 3 at its next change, as is one of format 2, which knew no moves. Format 3 stays
 * what it is, for members that know no other, until the cluster turns on a version that has another one.
 *
 * Invariants
 * 1. `readTopology(JSON of x)` is x, and holds the invariants of `topology.ts`.
 * 2. No list is walked before its length is known to be within its limit.
 * 3. Fields that are not known are left out of what is answered, as they were by every program before.
 *    So whatever is added comes with a format of its own: a member that does not know it must not lose it.
 *
 * Effects: none. Source: King, "Parse, don't validate" (2019).
 *
 * @module
 */

import { type Namespace, namespacePattern, ttlSecondsMax, valueBytesMaxLimit } from "./api.ts";
import { QuorateError } from "./errors.ts";
import { isVersion, parseProgram, protocolRange, protocolTooNew, speaks } from "./protocol.ts";
import { isPartitionCount } from "./ring.ts";
import {
  addressesMax,
  droppedMax,
  formatOfProtocol,
  largestN,
  type Member,
  membersMax,
  namespacesMax,
  replicasMax,
  type Topology,
  type TopologyMove,
  topologyFormat,
  topologyFormatOfOne,
  votersMax,
  weightMax,
} from "./topology.ts";
import { memberIn, memberOf } from "./topology_steps.ts";

/** The document of a node on its own, as the first version wrote it. */
const formatOfOne = 1;
/** The same as the newest one, but that nothing moves. */
const formatWithoutMoves = 2;
const idPattern = /^[0-9a-f]{32}$/;
const namePattern = /^[^\p{C}]{1,64}$/u;
const placePattern = /^[^\p{C}]{1,255}$/u;
const addressPattern = /^(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):(\d{1,5})$/;
const urlPattern = /^https?:\/\/[\x21-\x7e]{1,255}$/;

type Fields = Readonly<Record<string, unknown>>;

/** The document in parsed JSON, or why it is none. */
export function readTopology(
  raw: unknown,
): { readonly value: Topology } | { readonly error: string } {
  if (!isFields(raw)) return { error: "it is not an object" };
  const document = inOwnFormat(raw);
  if (document === undefined || !isFormat(document["format"])) {
    return { error: "its format is not known" };
  }
  const error =
    faultOf(document) ??
    faultOfProtocol(document) ??
    faultOfMove(document as unknown as Topology) ??
    faultOfRows(document as unknown as Topology);
  return error === undefined ? { value: copyOf(document as unknown as Topology) } : { error };
}

/** The document in the data folder. @throws `wrong-data-folder`, `corruption` */
export function parseTopology(raw: unknown): Topology {
  const format = isFields(raw) ? raw["format"] : undefined;
  if (format !== formatOfOne && format !== formatWithoutMoves && !isFormat(format)) {
    throw new QuorateError(
      "wrong-data-folder",
      `The topology has format ${JSON.stringify(format)}, and this version of the program reads formats ${formatOfOne} to ${topologyFormat}.`,
      { hint: "Use the version of Quorate that wrote it, or a newer one." },
    );
  }
  const read = readTopology(raw);
  if ("value" in read) return read.value;
  const { protocol } = raw as Fields;
  if (isVersion(protocol) && protocol > protocolRange.highest) throw protocolTooNew(protocol);
  throw new QuorateError(
    "corruption",
    `The topology in the data folder contradicts itself: ${read.error}.`,
    { hint: "Restore topology.a and topology.b from a copy; they were not changed." },
  );
}

function isFormat(format: unknown): boolean {
  return format === topologyFormatOfOne || format === topologyFormat;
}

/** A format that is not written any more becomes the one after. */
function inOwnFormat(raw: Fields): Fields | undefined {
  if (raw["format"] === formatOfOne) return clusterOfOne(raw);
  if (raw["format"] !== formatWithoutMoves) return raw;
  return { ...raw, format: topologyFormatOfOne, move: undefined };
}

/** A document of format 1 with what is the same in every cluster of one. */
function clusterOfOne(raw: Fields): Fields | undefined {
  const { members, partitions } = raw;
  if (!isList(members, 1) || !isFields(members[0]) || !isCount(partitions))
    return { ...raw, format: topologyFormatOfOne };
  const { nodeId, storeId, name } = members[0] as unknown as Member;
  const each = <Value>(value: Value) => Array.from({ length: partitions }, () => value);
  return {
    ...raw,
    format: topologyFormatOfOne,
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
  for (const field of ["nodeId", "storeId"] as const) {
    if (hasDoubles(members.map((member) => member[field]))) return `two members have one ${field}`;
  }
  if (members.every(({ weight }) => weight === 0)) return "all members have weight 0";
  if (!isList(voters, votersMax) || voters.length === 0 || hasDoubles(voters)) {
    return "its voters are no list of different nodes";
  }
  const ids = new Set<unknown>(members.map(({ nodeId }) => nodeId));
  if (!voters.every((voter) => ids.has(voter))) return "a voter is no member";
  if (!isWhole(nextNamespaceNumber, 1, 0xffffffff)) return "its next namespace has no number";
  return faultOfNamespaces(namespaces, dropped, nextNamespaceNumber);
}

/** A document says what every member speaks exactly where that is turned on. */
function faultOfProtocol(document: Fields): string | undefined {
  if (document["format"] === topologyFormatOfOne) return undefined;
  const { protocol } = document;
  if (!isVersion(protocol) || formatOfProtocol(protocol) !== document["format"]) {
    return "its version of the protocol is none of its format";
  }
  if (protocol > protocolRange.highest)
    return `it has turned on version ${protocol} of the protocol`;
  for (const { program } of document["members"] as readonly Fields[]) {
    const told = parseProgram(program);
    if (told === undefined || !speaks(told, protocol)) {
      return "a member does not speak its version of the protocol";
    }
  }
  return undefined;
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

/** The move of a document whose members are as they should be; its rows have their places after. */
function faultOfMove({ move, members, epoch, partitions }: Topology): string | undefined {
  const ids = new Set(members.map(({ nodeId }) => nodeId));
  const isNodes = (raw: unknown): boolean =>
    isList(raw, membersMax) && !hasDoubles(raw) && raw.every((id) => ids.has(id as string));
  if (move !== undefined) {
    if (!isFields(move) || !isWhole(move.phase, 0, 4) || typeof move.isReverting !== "boolean") {
      return "its move has no phase";
    }
    if (!isEpoch(move.begun) || !isEpoch(move.since)) return "its move began in no epoch";
    if (move.begun > move.since || move.since > epoch) return "its move is of a later epoch";
    if (!isNodes(move.joining) || !isNodes(move.leaving) || !isNodes(move.lost))
      return "who moves is no member";
    if (!isList(move.sites, membersMax) || !move.sites.every(isSite)) return "its sites are none";
    if (!isList(move.rows, partitions)) return "its move has no rows";
    // Who holds nothing comes, and as a voter leaves, by phases too.
    const isOfNobody = move.joining.length + move.leaving.length === 0;
    if (move.rows.length === 0 && isOfNobody) return "nothing is moved";
  }
  const leaving = move?.leaving ?? [];
  const staying = members.filter(({ nodeId }) => !leaving.includes(nodeId));
  return hasDoubles(staying.map(({ name }) => name)) ? "two members have one name" : undefined;
}

function isSite(raw: unknown): boolean {
  if (!isFields(raw)) return false;
  return (
    isText(raw["nodeId"], idPattern) &&
    isText(raw["zone"], placePattern) &&
    isWhole(raw["weight"], 0, weightMax)
  );
}

/** The rows of a document whose other parts are as they should be. */
function faultOfRows(document: Topology): string | undefined {
  const { partitions, replicas, changed, joined } = document;
  for (const list of [replicas, changed, joined]) {
    if (!isList(list, partitions) || list.length !== partitions)
      return "a partition has no replicas";
  }
  const lengthMin = Math.min(holdersMin(document), largestN(document.namespaces));
  for (let partition = 0; partition < partitions; partition += 1) {
    const since: unknown = changed[partition];
    if (!isEpoch(since) || since > document.epoch) {
      return `partition ${partition} changed in no epoch up to this one`;
    }
    const error = faultOfRow(document, lengthMin, {
      partition,
      replicas: replicas[partition],
      joined: joined[partition],
      until: since,
    });
    if (error !== undefined) return error;
  }
  let last = -1;
  for (const row of (document.move?.rows ?? []) as readonly unknown[]) {
    if (!isFields(row) || !isWhole(row["partition"], last + 1, partitions - 1)) {
      return "what is moved is no list of partitions";
    }
    const { partition } = row;
    last = partition;
    const error = faultOfRow(document, lengthMin, { ...row, partition, until: document.epoch });
    if (error !== undefined) return error;
  }
  return undefined;
}

/** How many members can hold something, before a move and after it: the fewer of the two. */
function holdersMin({ members, move }: Topology): number {
  const weights = new Map(move?.sites.map(({ nodeId, weight }) => [nodeId, weight]));
  const before = members.filter(
    ({ nodeId, weight }) => weight > 0 && move?.joining.includes(nodeId) !== true,
  );
  const after = members.filter(
    ({ nodeId, weight }) =>
      (weights.get(nodeId) ?? weight) > 0 && move?.leaving.includes(nodeId) !== true,
  );
  return Math.min(before.length, after.length);
}

function faultOfRow(
  { members }: Topology,
  lengthMin: number,
  row: {
    readonly partition: number;
    readonly replicas?: unknown;
    readonly joined?: unknown;
    readonly until: number;
  },
): string | undefined {
  const { partition, replicas, joined, until } = row;
  if (
    !isList(replicas, replicasMax) ||
    replicas.length < Math.max(1, lengthMin) ||
    hasDoubles(replicas)
  ) {
    return `partition ${partition} has not as many different replicas as it should`;
  }
  if (!replicas.every((index) => isWhole(index, 0, members.length - 1))) {
    return `a replica of partition ${partition} is no member`;
  }
  if (isJoined(joined, replicas.length, until)) return undefined;
  return `the replicas of partition ${partition} joined in no epochs up to its last change`;
}

/** Who is among the first n is among the first n + 1 as well: since the same epoch or an older one. */
function isJoined(joined: unknown, length: number, changed: number): boolean {
  if (!isList(joined, length) || joined.length !== length) return false;
  return joined.every((epochs, position) => {
    if (!isList(epochs, replicasMax - position) || epochs.length < length - position) return false;
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
    isWhole(raw["weight"], 0, weightMax)
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

/** The known fields alone, and none of a later format. */
function copyOf(document: Topology): Topology {
  const { format, protocol, ...rest } = document;
  const isOfOne = format === topologyFormatOfOne || protocol === undefined;
  const own: Topology = isOfOne ? { format, ...rest } : document;
  return {
    format,
    ...(isOfOne ? {} : { protocol }),
    clusterId: document.clusterId,
    epoch: document.epoch,
    partitions: document.partitions,
    members: document.members.map((member) => memberIn(own, member)),
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
    ...(document.move === undefined ? {} : { move: moveOf(document.move) }),
  };
}

function moveOf(move: TopologyMove): TopologyMove {
  const { begun, phase, since, isReverting, joining, leaving, lost, sites, rows } = move;
  return {
    begun,
    phase,
    since,
    isReverting,
    joining,
    leaving,
    lost,
    sites: sites.map(({ nodeId, zone, weight }) => ({ nodeId, zone, weight })),
    rows: rows.map(({ partition, replicas, joined }) => ({ partition, replicas, joined })),
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
