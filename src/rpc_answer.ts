/**
 * Rpc answer: the answers of `Api` as protobuf messages, field by field.
 *
 * Effects: none.
 *
 * @module
 */

import { create, fromJson, type JsonValue, type MessageInitShape } from "@bufbuild/protobuf";
import { ValueSchema } from "@bufbuild/protobuf/wkt";
import type * as api from "./api.ts";
import { unreachable } from "./assert.ts";
import { QuorateError } from "./errors.ts";
import * as proto from "./gen/quorate/v1/kv_pb.ts";
import { errorDetail } from "./rpc_error.ts";
import type { Version } from "./version.ts";

const consistencyNumbers = {
  one: proto.Consistency.ONE,
  quorum: proto.Consistency.QUORUM,
  all: proto.Consistency.ALL,
  eventual: proto.Consistency.EVENTUAL,
} as const;

const durabilityNumbers = {
  fsync: proto.Durability.FSYNC,
  memory: proto.Durability.MEMORY,
} as const;

function versionMessage({ hlc, origin }: Version): proto.Version {
  return create(proto.VersionSchema, { hlc, origin });
}

function answerMessage(answer: api.Answer): proto.Answer {
  return create(proto.AnswerSchema, {
    node: answer.node,
    epoch: BigInt(answer.epoch),
    consistency: consistencyNumbers[answer.consistency],
    replies: answer.replies,
    replicas: answer.replicas,
    ...(answer.explain !== undefined && {
      explain: fromJson(ValueSchema, answer.explain as JsonValue),
    }),
  });
}

function expiry(at: { readonly expiresAtMs?: number }): { expiresAtMs?: bigint } {
  return at.expiresAtMs === undefined ? {} : { expiresAtMs: BigInt(at.expiresAtMs) };
}

export function getMessage(answer: api.GetAnswer): proto.GetResponse {
  const { record } = answer;
  return create(proto.GetResponseSchema, {
    answer: answerMessage(answer),
    ...(record !== undefined && {
      record: create(proto.RecordSchema, {
        value: record.value,
        version: versionMessage(record.version),
        contentType: record.contentType,
        meta: record.meta.map(([name, value]) => ({ name, value })),
        ...expiry(record),
      }),
    }),
  });
}

export function putMessage(answer: api.WriteAnswer): proto.PutResponse {
  return create(proto.PutResponseSchema, {
    version: versionMessage(answer.version),
    durability: durabilityNumbers[answer.durability],
    answer: answerMessage(answer),
    ...expiry(answer),
  });
}

export function deleteMessage(answer: api.WriteAnswer): proto.DeleteResponse {
  return create(proto.DeleteResponseSchema, {
    version: versionMessage(answer.version),
    durability: durabilityNumbers[answer.durability],
    answer: answerMessage(answer),
  });
}

export function listMessage(answer: api.ListAnswer): proto.ListResponse {
  return create(proto.ListResponseSchema, {
    items: answer.items.map((item) => ({
      key: item.key,
      version: versionMessage(item.version),
      bytes: BigInt(item.bytes),
      contentType: item.contentType,
      ...expiry(item),
      ...(item.value !== undefined && { value: item.value }),
    })),
    next: answer.next ?? "",
    answer: answerMessage(answer),
  });
}

export function countMessage(answer: api.CountAnswer): proto.CountResponse {
  return create(proto.CountResponseSchema, {
    keys: BigInt(answer.keys),
    bytes: BigInt(answer.bytes),
    exact: answer.exact,
    answer: answerMessage(answer),
  });
}

/** The result of the operation on `key`; its error carries the request's id. */
export function resultMessage(
  key: Uint8Array,
  result: api.BatchResult,
  requestId: string,
): proto.BatchResult {
  return create(proto.BatchResultSchema, { key, result: resultChoice(result, requestId) });
}

type ResultChoice = proto.BatchResult["result"];

function resultChoice(result: api.BatchResult, requestId: string): ResultChoice {
  switch (result.kind) {
    case "get":
      return { case: "get", value: getMessage(result.answer) };
    case "put":
      return { case: "put", value: putMessage(result.answer) };
    case "delete":
      return { case: "delete", value: deleteMessage(result.answer) };
    case "error":
      return { case: "error", value: errorDetail(QuorateError.from(result.error), requestId) };
    default:
      return unreachable(result);
  }
}

function replicasInit(value: api.Replicas): MessageInitShape<typeof proto.ReplicasSchema> {
  if (typeof value === "number") return { replicas: { case: "count", value } };
  return { replicas: { case: "level", value: consistencyNumbers[value] } };
}

export function namespaceMessage({ name, number, policy }: api.Namespace): proto.Namespace {
  return create(proto.NamespaceSchema, {
    name,
    number,
    policy: {
      n: policy.n,
      r: replicasInit(policy.r),
      w: replicasInit(policy.w),
      resolve: policy.resolve === "lww" ? proto.Resolve.LWW : proto.Resolve.SIBLINGS,
      valueBytesMax: policy.valueBytesMax,
      durability: durabilityNumbers[policy.durability],
      ...(policy.ttlSeconds !== undefined && { ttlSeconds: policy.ttlSeconds }),
    },
  });
}

export function ringMessage(ring: api.RingAnswer, place?: api.KeyPlace): proto.RingResponse {
  return create(proto.RingResponseSchema, {
    clusterId: ring.clusterId,
    epoch: BigInt(ring.epoch),
    partitions: ring.partitions,
    members: ring.members.map((member) => ({
      place: placeInit(member),
      host: member.host,
      weight: member.weight,
      voter: member.isVoter,
      primaries: member.firstCount,
      replicas: member.replicaCount,
    })),
    ...(place !== undefined && {
      place: { ...place, replicas: place.replicas.map(placeInit) },
    }),
  });
}

function placeInit(place: api.NodePlace): MessageInitShape<typeof proto.NodePlaceSchema> {
  const { node, nodeId, zone, addresses, clientUrl = "" } = place;
  return { node, nodeId, zone, addresses: [...addresses], clientUrl };
}

const stateNumbers: Readonly<Record<api.MemberState, proto.MemberState>> = {
  alive: proto.MemberState.ALIVE,
  suspect: proto.MemberState.SUSPECT,
  down: proto.MemberState.DOWN,
  unknown: proto.MemberState.UNKNOWN,
};

export function clusterMessage(cluster: api.ClusterAnswer): proto.ClusterResponse {
  return create(proto.ClusterResponseSchema, {
    node: cluster.node,
    clusterId: cluster.clusterId,
    epoch: BigInt(cluster.epoch),
    partitions: cluster.partitions,
    voters: [...cluster.voters],
    members: cluster.members.map(memberInit),
    protocol: cluster.protocol,
    features: cluster.features.map(({ name, since, isOn, waitsFor }) => ({
      ...{ name, since, on: isOn },
      waitsFor: [...waitsFor],
    })),
  });
}

function memberInit(member: api.ClusterMember): MessageInitShape<typeof proto.ClusterMemberSchema> {
  const { silentMs, epoch, keys, bytes, disk, speaks, hints } = member;
  return {
    place: placeInit(member),
    storeId: member.storeId,
    voter: member.isVoter,
    self: member.isSelf,
    state: stateNumbers[member.state],
    phi: member.phi,
    primaries: member.firstCount,
    replicas: member.replicaCount,
    version: member.version ?? "",
    hintCount: BigInt(hints.count),
    hintBytes: BigInt(hints.bytes),
    ...(speaks !== undefined && {
      protocolLowest: speaks.lowest,
      protocolHighest: speaks.highest,
    }),
    ...(silentMs !== undefined && { silentMs: BigInt(silentMs) }),
    ...(epoch !== undefined && { epoch: BigInt(epoch) }),
    ...(keys !== undefined && { keys: BigInt(keys) }),
    ...(bytes !== undefined && { bytes: BigInt(bytes) }),
    ...(disk !== undefined && {
      diskFreeBytes: BigInt(disk.freeBytes),
      diskTotalBytes: BigInt(disk.totalBytes),
    }),
  };
}

export function explainMessage(
  namespace: string,
  explained: api.ExplainAnswer,
): proto.ExplainResponse {
  const { partition, epoch, n, replicas } = explained;
  return create(proto.ExplainResponseSchema, {
    ...{ namespace, partition, n, epoch: BigInt(epoch) },
    replicas: replicas.map((replica) => ({
      node: replica.node,
      status: replica.status,
      tombstone: replica.tombstone === true,
      up: replica.up,
      tookMs: replica.tookMs,
      error: replica.reason ?? "",
      ...expiry(replica),
      ...(replica.version !== undefined && { version: versionMessage(replica.version) }),
      ...(replica.counts !== undefined && { counts: replica.counts }),
      ...(replica.epoch !== undefined && { epoch: BigInt(replica.epoch) }),
    })),
  });
}

export function hintsMessage(hints: api.HintsAnswer): proto.HintsResponse {
  return create(proto.HintsResponseSchema, {
    node: hints.node,
    count: BigInt(hints.count),
    bytes: BigInt(hints.bytes),
    marks: BigInt(hints.marks),
    targets: hints.targets.map(
      ({ storeId, node = "", count, bytes, oldestAgeMs, isDelivering }) => ({
        storeId,
        node,
        count: BigInt(count),
        bytes: BigInt(bytes),
        delivering: isDelivering,
        ...(oldestAgeMs !== undefined && { oldestAgeMs: BigInt(oldestAgeMs) }),
      }),
    ),
  });
}

export function infoMessage(info: api.NodeInfo): proto.InfoResponse {
  return create(proto.InfoResponseSchema, {
    node: info.node,
    version: info.version,
    runtime: info.runtime,
    clusterId: info.clusterId,
    nodeId: info.nodeId,
    storeId: info.storeId,
    boot: BigInt(info.boot),
    epoch: BigInt(info.epoch),
    partitions: info.partitions,
    startedAtMs: BigInt(info.startedAtMs),
    keys: BigInt(info.keys),
    bytes: BigInt(info.bytes),
    diskFreeBytes: BigInt(info.disk.freeBytes),
    diskTotalBytes: BigInt(info.disk.totalBytes),
    damagedPartitions: [...info.damagedPartitions],
  });
}
