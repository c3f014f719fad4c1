/**
 * HttpMoves: plans for other members, weights and zones, and how far the one under way is.
 *
 * Effects: those of the node, through `Api`.
 *
 * @module
 */

import { z } from "@hono/zod-openapi";
import type { MovesAnswer, MovesApi } from "./api.ts";
import { QuorateError } from "./errors.ts";
import { type Exchange, type HttpContext, jsonReply, type Reply } from "./exchange.ts";
import { readJson, refuseBody } from "./http_batch.ts";
import { refuseConditions } from "./http_kv.ts";
import { parameters, parseBody, parseParameters } from "./schemas.ts";

const planBytesMax = 64 * 1024;
const planBody = { bytesMax: planBytesMax, example: '{"join":["n4"]}' };
const applyBody = { bytesMax: planBytesMax, example: '{"id":"0123456789abcdef"}' };
const namesMax = 300;
const revertHint = "Send none: there is one move at most. GET /v1/cluster/plan tells which it is.";

const name = z.string().min(1).max(64);
const names = z.array(name).max(namesMax).optional();

/** The JSON that is sent. */
export const moveBodies = {
  plan: z
    .strictObject({
      join: names,
      leave: names,
      replace: z
        .array(z.strictObject({ node: name, by: name }))
        .max(namesMax)
        .optional(),
      acceptDataLoss: z.boolean().optional(),
      drain: names,
      weight: z
        .array(z.strictObject({ node: name, weight: z.int().min(0).max(1000) }))
        .max(namesMax)
        .optional(),
      zone: z
        .array(z.strictObject({ node: name, zone: name }))
        .max(namesMax)
        .optional(),
    })
    .openapi("PlanRequest"),
  apply: z.strictObject({ id: z.string().regex(/^[0-9a-f]{16}$/) }).openapi("ApplyRequest"),
} as const;

/** The JSON that is answered. */
export const moveAnswers = {
  plan: z
    .strictObject({
      id: z.string(),
      epoch: z.int(),
      members: z.array(
        z.strictObject({
          node: z.string(),
          nodeId: z.string(),
          change: z.enum(["stays", "joins", "leaves"]),
          partitionsBefore: z.int(),
          partitionsAfter: z.int(),
          bytesBefore: z.int().optional(),
          bytesAfter: z.int().optional(),
        }),
      ),
      partitions: z.int(),
      copies: z.int(),
      bytes: z.int(),
      seconds: z.int(),
      warnings: z.array(z.string()),
      next: z.string(),
    })
    .openapi("Plan"),
  moves: z
    .strictObject({
      epoch: z.int(),
      move: z
        .strictObject({
          begun: z.int(),
          phase: z.int(),
          doing: z.string(),
          reverting: z.boolean(),
          joining: z.array(z.string()),
          leaving: z.array(z.string()),
          partitions: z.int(),
          waitsFor: z.string().optional(),
          copies: z.array(z.strictObject({ node: z.string(), done: z.int(), all: z.int() })),
        })
        .optional(),
      losses: z
        .array(
          z.strictObject({
            node: z.string(),
            lacking: z.int(),
            rolledBack: z.boolean(),
            next: z.string(),
          }),
        )
        .optional(),
      waiting: z.array(
        z.strictObject({
          node: z.string(),
          nodeId: z.string(),
          addresses: z.array(z.string()),
        }),
      ),
      next: z.string(),
    })
    .openapi("Moves"),
} as const;

/** `POST /v1/cluster/plan`: says what would move, and changes nothing. */
export async function makePlan(context: HttpContext, exchange: Exchange): Promise<Reply> {
  parseParameters(parameters.none, exchange);
  const body = parseBody(moveBodies.plan, await readJson(context, exchange, planBody));
  return jsonReply(200, await movesOf(context).plan(body));
}

/** `POST /v1/cluster/apply`. */
export async function applyPlan(context: HttpContext, exchange: Exchange): Promise<Reply> {
  parseParameters(parameters.none, exchange);
  refuseConditions(exchange);
  const { id } = parseBody(moveBodies.apply, await readJson(context, exchange, applyBody));
  exchange.sent = true;
  return jsonReply(200, movesBody(await movesOf(context).apply(id)));
}

/** `POST /v1/cluster/revert`. */
export async function revertMove(context: HttpContext, exchange: Exchange): Promise<Reply> {
  parseParameters(parameters.none, exchange);
  refuseConditions(exchange);
  await refuseBody(context, exchange, revertHint);
  exchange.sent = true;
  return jsonReply(200, movesBody(await movesOf(context).revert()));
}

/** `GET /v1/cluster/plan`: what moves, and how far it is. */
export function getMoves(context: HttpContext, exchange: Exchange): Reply {
  parseParameters(parameters.none, exchange);
  return jsonReply(200, movesBody(movesOf(context).moves()));
}

function movesOf({ api }: HttpContext): MovesApi {
  if (api.moves !== undefined) return api.moves;
  throw new QuorateError("invalid-request", "This node is alone: it has no members to change.", {
    outcome: "none",
    hint: "Start it with an address for other nodes, then others can join it.",
  });
}

function movesBody({ move, ...answer }: MovesAnswer): Readonly<Record<string, unknown>> {
  if (move === undefined) return answer;
  const { isReverting, ...rest } = move;
  return { ...answer, move: { ...rest, reverting: isReverting } };
}
