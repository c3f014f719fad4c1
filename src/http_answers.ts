/**
 * HttpAnswers: the JSON that is answered over HTTP, as schemas.
 *
 * They describe answers in the OpenAPI document, and tests hold every answer against them; a node does
 * not check its own answers as it sends them.
 *
 * Invariants
 * 1. An answer has the fields of its schema and no other.
 *
 * Effects: none.
 *
 * @module
 */

import { z } from "@hono/zod-openapi";
import { clusterAnswers, placeAnswer } from "./http_cluster.ts";
import { moveAnswers } from "./http_moves.ts";
import { repairAnswers } from "./http_repair.ts";

const version = z.string().regex(/^[0-9a-f]{16}-[0-9a-f]{16}$/);
const key = { key: z.string().optional(), key64: z.string().optional() };
const value = { value: z.string().optional(), value64: z.string().optional() };
const expiresAt = z.iso.datetime().optional();
const meta = z.record(z.string(), z.string()).optional();

/** The JSON that is answered. */
export const answers = {
  ...clusterAnswers,
  ...repairAnswers,
  ...moveAnswers,
  list: z
    .strictObject({
      namespace: z.string(),
      items: z.array(
        z.strictObject({
          ...key,
          version,
          bytes: z.int(),
          contentType: z.string(),
          expiresAt,
          ...value,
        }),
      ),
      next: z.string().optional(),
    })
    .openapi("List"),
  count: z.strictObject({ keys: z.int(), bytes: z.int(), exact: z.boolean() }).openapi("Count"),
  batch: z
    .strictObject({
      results: z.array(
        z.strictObject({
          op: z.enum(["get", "put", "delete"]),
          ...key,
          status: z.int(),
          version: version.optional(),
          contentType: z.string().optional(),
          meta,
          expiresAt,
          ...value,
          error: z.record(z.string(), z.unknown()).optional(),
        }),
      ),
    })
    .openapi("BatchResults"),
  namespace: z
    .strictObject({
      name: z.string(),
      number: z.int(),
      n: z.int(),
      r: z.union([z.int(), z.enum(["quorum", "all"])]),
      w: z.union([z.int(), z.enum(["quorum", "all"])]),
      resolve: z.enum(["lww", "siblings"]),
      ttl: z.int().optional(),
      maxValue: z.int(),
      durability: z.enum(["fsync", "memory"]),
    })
    .openapi("Namespace"),
  info: z
    .strictObject({
      node: z.string(),
      version: z.string(),
      runtime: z.string(),
      clusterId: z.string(),
      nodeId: z.string(),
      storeId: z.string(),
      boot: z.int(),
      epoch: z.int(),
      partitions: z.int(),
      startedAt: z.iso.datetime(),
      keys: z.int(),
      bytes: z.int(),
      disk: z.strictObject({ freeBytes: z.number(), totalBytes: z.number() }),
      damagedPartitions: z.array(z.int()),
    })
    .openapi("Info"),
  ring: z
    .strictObject({
      clusterId: z.string(),
      epoch: z.int(),
      partitions: z.int(),
      members: z.array(
        z.strictObject({
          ...placeAnswer,
          host: z.string(),
          weight: z.int(),
          voter: z.boolean(),
          primaries: z.int(),
          replicas: z.int(),
          share: z.number(),
        }),
      ),
      place: z
        .strictObject({
          namespace: z.string(),
          partition: z.int(),
          n: z.int(),
          replicas: z.array(z.strictObject(placeAnswer)),
        })
        .optional(),
    })
    .openapi("Ring"),
  written: z
    .strictObject({
      ok: z.literal(true),
      ...key,
      version,
      acks: z.int(),
      replicas: z.int(),
      consistency: z.string(),
      durability: z.enum(["fsync", "memory"]),
      node: z.string(),
      expiresAt,
    })
    .openapi("Written"),
  found: z
    .strictObject({
      ...key,
      ...value,
      found: z.literal(true),
      version,
      contentType: z.string(),
      meta,
      expiresAt,
    })
    .openapi("Found"),
  health: z.strictObject({ node: z.string(), keys: z.int(), status: z.string() }).openapi("Health"),
} as const;
