/**
 * HttpCluster: who lives, and what is kept for whom, as this node sees it.
 *
 * Effects: those of the node, through `Api`.
 *
 * @module
 */

import { z } from "@hono/zod-openapi";
import { type HintsAnswer, timeoutMsDefault } from "./api.ts";
import { QuorateError } from "./errors.ts";
import { type Exchange, type HttpContext, jsonReply, type Reply } from "./exchange.ts";
import { parseKey, readOptions } from "./http_kv.ts";
import { keyField } from "./problem.ts";
import { parameters, parseParameters } from "./schemas.ts";
import { versionText } from "./version.ts";

const explainPath = "/v1/explain/";

/** Who a node is, and where it is reached. */
export const placeAnswer = {
  node: z.string(),
  nodeId: z.string(),
  zone: z.string(),
  addresses: z.array(z.string()),
  clientUrl: z.string().optional(),
};

/** The JSON that is answered. */
export const clusterAnswers = {
  cluster: z
    .strictObject({
      node: z.string(),
      clusterId: z.string(),
      epoch: z.int(),
      partitions: z.int(),
      voters: z.array(z.string()),
      protocol: z.int(),
      features: z.array(
        z.strictObject({
          name: z.string(),
          since: z.int(),
          on: z.boolean(),
          waitsFor: z.array(z.string()),
        }),
      ),
      members: z.array(
        z.strictObject({
          ...placeAnswer,
          storeId: z.string(),
          voter: z.boolean(),
          self: z.boolean(),
          state: z.enum(["alive", "suspect", "down", "unknown"]),
          phi: z.number(),
          silentMs: z.int().optional(),
          epoch: z.int().optional(),
          primaries: z.int(),
          replicas: z.int(),
          keys: z.int().optional(),
          bytes: z.int().optional(),
          disk: z.strictObject({ freeBytes: z.number(), totalBytes: z.number() }).optional(),
          version: z.string().optional(),
          speaks: z.strictObject({ lowest: z.int(), highest: z.int() }).optional(),
          lacking: z.int().optional(),
          rolledBack: z.boolean().optional(),
          hints: z.strictObject({ count: z.int(), bytes: z.int() }),
        }),
      ),
    })
    .openapi("Cluster"),
  explain: z
    .strictObject({
      namespace: z.string(),
      key: z.string().optional(),
      key64: z.string().optional(),
      partition: z.int(),
      epoch: z.int(),
      n: z.int(),
      replicas: z.array(
        z.strictObject({
          node: z.string(),
          status: z.string(),
          version: z.string().optional(),
          tombstone: z.boolean().optional(),
          expiresAt: z.iso.datetime().optional(),
          counts: z.boolean().optional(),
          up: z.boolean().optional(),
          epoch: z.int().optional(),
          tookMs: z.number().optional(),
          error: z.string().optional(),
          sameBefore: z.iso.datetime().optional(),
        }),
      ),
    })
    .openapi("Explanation"),
  hints: z
    .strictObject({
      node: z.string(),
      count: z.int(),
      bytes: z.int(),
      marks: z.int(),
      targets: z.array(
        z.strictObject({
          storeId: z.string(),
          node: z.string().optional(),
          count: z.int(),
          bytes: z.int(),
          oldestAgeMs: z.int().optional(),
          delivering: z.boolean(),
        }),
      ),
    })
    .openapi("Hints"),
} as const;

/** `GET /v1/explain/{namespace}/{key}`. */
export async function explainKey(context: HttpContext, exchange: Exchange): Promise<Reply> {
  const asked = parseKey(exchange, explainPath);
  const options = readOptions(parseParameters(parameters.getKey, exchange));
  const request = { ...options, ...asked, requestId: exchange.requestId };
  const { partition, epoch, n, replicas } = await context.api.explain(request);
  return jsonReply(200, {
    namespace: asked.namespace,
    ...keyField(asked.key),
    partition,
    epoch,
    n,
    replicas: replicas.map(({ reason, version, expiresAtMs, sameBeforeMs, ...replica }) => ({
      ...replica,
      ...(version === undefined ? {} : { version: versionText(version) }),
      ...(expiresAtMs === undefined ? {} : { expiresAt: new Date(expiresAtMs).toISOString() }),
      ...(reason === undefined ? {} : { error: reason }),
      ...(sameBeforeMs === undefined ? {} : { sameBefore: new Date(sameBeforeMs).toISOString() }),
    })),
  });
}

/** `GET /v1/cluster`. */
export async function getCluster(context: HttpContext, exchange: Exchange): Promise<Reply> {
  parseParameters(parameters.none, exchange);
  const { members, features, ...cluster } = await context.api.cluster();
  return jsonReply(200, {
    ...cluster,
    features: features.map(({ isOn, ...feature }) => ({ ...feature, on: isOn })),
    members: members.map(({ isVoter, isSelf, firstCount, replicaCount, ...member }) => ({
      ...member,
      voter: isVoter,
      self: isSelf,
      primaries: firstCount,
      replicas: replicaCount,
    })),
  });
}

/** `GET /v1/hints[?wait=1&timeout=]`. */
export async function getHints(context: HttpContext, exchange: Exchange): Promise<Reply> {
  const { wait, timeout } = parseParameters(parameters.hints, exchange);
  const { api } = context;
  if (wait === true) {
    return jsonReply(200, hintsBody(await api.whenNoHints(timeout ?? timeoutMsDefault)));
  }
  // The header may stand on any request; in the query it would be taken for a wait.
  if (!exchange.parameters.has("timeout")) return jsonReply(200, hintsBody(api.hints()));
  throw new QuorateError(
    "invalid-request",
    "The query parameter 'timeout' is given without 'wait'.",
    {
      hint: "GET /v1/hints?wait=1&timeout=30s waits until no hints and no marks are left.",
    },
  );
}

function hintsBody({ targets, ...hints }: HintsAnswer): Readonly<Record<string, unknown>> {
  return {
    ...hints,
    targets: targets.map(({ isDelivering, ...target }) => ({
      ...target,
      delivering: isDelivering,
    })),
  };
}
