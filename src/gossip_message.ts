/**
 * Gossip message: what a heartbeat carries, and how it is read.
 *
 * A heartbeat tells of its sender, and a bounded digest tells what the sender heard of others: for
 * each the boot number, the highest heartbeat under it, and the addresses of that boot. (boot, beat)
 * only grows, so rumours that come late or twice are known as such.
 *
 * Effects: none. Source: van Renesse, Minsky and Hayden, "A gossip-style failure detection service"
 * (1998), for counters that are gossiped; rule I2.
 *
 * @module
 */

import { type Fields, isAddresses, isCount, isFields, isId, nonsense } from "./agreed.ts";

/** So many other nodes are told of in one heartbeat; the next one goes on with the next ones. */
export const rumoursMax = 64;
const loadsMax = 32;

/** What is heard of a node, from itself or from others. */
export interface Rumour {
  readonly nodeId: string;
  readonly boot: number;
  readonly beat: number;
  /** Where it is reached under this boot, the best first. */
  readonly addresses: readonly string[];
}

export interface Heartbeat extends Rumour {
  readonly kind: "heartbeat";
  readonly clusterId: string;
  readonly epoch: number;
  /** Numbers that help to choose a replica: bytes queued, writes a second ... */
  readonly load: Readonly<Record<string, number>>;
  readonly rumours: readonly Rumour[];
}

export type HeartbeatReply =
  | Heartbeat
  /** Another start of the sender, with this boot number, is known here (I2). */
  | { readonly kind: "outdated"; readonly boot: number }
  | { readonly kind: "foreign"; readonly clusterId: string };

/** Asks whether the receiver reaches a node. */
export interface Probe {
  readonly target: string;
}

export type ProbeReply =
  | { readonly kind: "reached"; readonly rumour: Rumour }
  | { readonly kind: "silent" };

/** @throws `invalid-request` */
export function parseHeartbeat(raw: unknown): Heartbeat {
  const heartbeat = isFields(raw) ? readHeartbeat(raw) : undefined;
  if (heartbeat === undefined) throw nonsense("a heartbeat");
  return heartbeat;
}

/** @throws `invalid-request` */
export function parseHeartbeatReply(raw: unknown): HeartbeatReply {
  if (isFields(raw)) {
    const { kind, boot, clusterId } = raw;
    if (kind === "outdated" && isCount(boot)) return { kind, boot };
    if (kind === "foreign" && isId(clusterId)) return { kind, clusterId };
  }
  return parseHeartbeat(raw);
}

/** @throws `invalid-request` */
export function parseProbe(raw: unknown): Probe {
  const target = isFields(raw) ? raw["target"] : undefined;
  if (!isId(target)) throw nonsense("a request to probe a node");
  return { target };
}

/** @throws `invalid-request` */
export function parseProbeReply(raw: unknown): ProbeReply {
  if (isFields(raw)) {
    if (raw["kind"] === "silent") return { kind: "silent" };
    const rumour = readRumour(raw["rumour"]);
    if (raw["kind"] === "reached" && rumour !== undefined) return { kind: "reached", rumour };
  }
  throw nonsense("an answer to a probe");
}

function readHeartbeat(raw: Fields): Heartbeat | undefined {
  const { clusterId, epoch } = raw;
  const self = readRumour(raw);
  const load = readLoad(raw["load"]);
  const list = raw["rumours"];
  if (raw["kind"] !== "heartbeat" || self === undefined || load === undefined) return undefined;
  if (!isId(clusterId) || !isCount(epoch)) return undefined;
  if (!Array.isArray(list) || list.length > rumoursMax) return undefined;
  const rumours = list.map(readRumour).filter((rumour) => rumour !== undefined);
  if (rumours.length < list.length) return undefined;
  return { ...self, kind: "heartbeat", clusterId, epoch, load, rumours };
}

function readRumour(raw: unknown): Rumour | undefined {
  if (!isFields(raw)) return undefined;
  const { nodeId, boot, beat, addresses } = raw;
  if (!isId(nodeId) || !isCount(boot) || !isCount(beat) || !isAddresses(addresses))
    return undefined;
  return { nodeId, boot, beat, addresses };
}

function readLoad(raw: unknown): Record<string, number> | undefined {
  if (!isFields(raw)) return undefined;
  const entries = Object.entries(raw);
  if (entries.length > loadsMax) return undefined;
  if (!entries.every(([, value]) => typeof value === "number")) return undefined;
  return Object.fromEntries(entries) as Record<string, number>;
}
