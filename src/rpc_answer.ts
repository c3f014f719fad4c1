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
