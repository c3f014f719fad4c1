/**
 * HttpRepair: how far this node's replicas were compared with the others', and comparing them now.
 *
 * Effects: those of the node, through `Api`.
 *
 * @module
 */

import { z } from "@hono/zod-openapi";
import { type Exchange, type HttpContext, jsonReply, type Reply } from "./exchange.ts";
import { refuseBody } from "./http_batch.ts";
import { parameters, parseParameters } from "./schemas.ts";

const runHint =
  "Name what is to be compared in the query: POST /v1/repair?partition=3&namespace=users; without either, everything is.";

/** The JSON that is answered. */
export const repairAnswers = {
  repair: z
    .strictObject({
      node: z.string(),
      periodMs: z.int(),
      pairs: z.int(),
      visited: z.int(),
      due: z.int(),
      oldestAgeMs: z.int().optional(),
      nextMs: z.int().optional(),
      leftMs: z.int().optional(),
      running: z.array(
        z.strictObject({
          partition: z.int(),
          n: z.int(),
          node: z.string(),
          why: z.enum(["scheduled", "asked", "marked", "cut log", "watermark"]),
          ageMs: z.int(),
        }),
      ),
      markCount: z.int(),
      marks: z.array(
        z.strictObject({
          partition: z.int(),
          n: z.int(),
          storeId: z.string(),
          node: z.string().optional(),
        }),
      ),
      waiting: z.int(),
      neverSame: z.int(),
      oldestSameAgeMs: z.int().optional(),
      heldBack: z.array(z.strictObject({ partition: z.int(), n: z.int(), why: z.string() })),
      rolledBack: z.boolean(),
      lackingCount: z.int(),
      lacking: z.array(z.strictObject({ partition: z.int(), n: z.int(), why: z.string() })),
      filled: z.int(),
      whole: z.int(),
      agreed: z.int(),
      broken: z.int(),
      pushed: z.int(),
      pulled: z.int(),
    })
    .openapi("Repair"),
  repairRun: z.strictObject({ node: z.string(), pairs: z.int() }).openapi("RepairRun"),
} as const;

/** `GET /v1/repair`. */
export async function getRepair({ api }: HttpContext, exchange: Exchange): Promise<Reply> {
  parseParameters(parameters.none, exchange);
  return jsonReply(200, { ...api.repair() });
}

/** `POST /v1/repair[?partition=&namespace=]`: it is begun, and not waited for. */
export async function runRepair(context: HttpContext, exchange: Exchange): Promise<Reply> {
  const { api } = context;
  await refuseBody(context, exchange, runHint);
  const pairs = api.runRepair(parseParameters(parameters.repair, exchange));
  return jsonReply(202, { node: api.repair().node, pairs });
}
