/**
 * NodeHarness: short words for a node's requests, and the ways in which a node ends.
 *
 * @module
 */

import type { Durability, Meta } from "../src/api.ts";
import { utf8Bytes } from "../src/bytes.ts";
import type { NodeSettings, QuorateNode } from "../src/node.ts";
import { newWorld, openIn, requestId, type World } from "./store_harness.ts";

export const common = { namespace: "default", requestId };

export interface PutChoices {
  readonly namespace?: string;
  readonly ttlSeconds?: number;
  readonly durability?: Durability;
  readonly contentType?: string;
  readonly meta?: Meta;
}

export function put(
  node: QuorateNode,
  key: string,
  value: string | Uint8Array,
  choices: PutChoices = {},
): ReturnType<QuorateNode["put"]> {
  const bytes = typeof value === "string" ? utf8Bytes(value) : value;
  return node.put({
    ...common,
    key: utf8Bytes(key),
    value: bytes,
    contentType: "text/plain",
    meta: [],
    ...choices,
  });
}

export async function get(
  node: QuorateNode,
  key: string,
  namespace = "default",
): Promise<string | undefined> {
  const { record } = await node.get({ ...common, namespace, key: utf8Bytes(key) });
  return record === undefined ? undefined : Buffer.from(record.value).toString();
}

export function remove(node: QuorateNode, key: string): ReturnType<QuorateNode["delete"]> {
  return node.delete({ ...common, key: utf8Bytes(key) });
}

export async function keysOf(node: QuorateNode, namespace = "default"): Promise<string[]> {
  const { items } = await node.list({ ...common, namespace, limit: 1000 });
  return items.map(({ key }) => Buffer.from(key).toString());
}

/** The world after a kill (`-9`), or after a power loss that leaves only what was synced. */
export function after(world: World, end: "kill" | "power loss", seed = 2): World {
  const disk = end === "kill" ? world.disk.kill() : world.disk.crash("durable");
  if (end === "kill") world.table.kill();
  else world.table.crash({ keep: "flushed" });
  const { image } = world.table;
  return newWorld({ seed, nowMs: world.clock.nowMs() + 1000, disk, image });
}

export const ends = ["close", "kill", "power loss"] as const;

/** Ends a node in one of three ways and opens the next on what is left. */
export async function reopened(
  world: World,
  node: QuorateNode,
  end: (typeof ends)[number],
  settings: Partial<NodeSettings> = {},
): Promise<{ readonly world: World; readonly node: QuorateNode }> {
  if (end === "close") {
    await node.close();
    return { world, node: await openIn(world, settings) };
  }
  const next = after(world, end);
  return { world: next, node: await openIn(next, settings) };
}
