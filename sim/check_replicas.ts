/**
 * Check replicas: whether all replicas of a key hold the same, in a world that is well again (P5).
 *
 * Effects: none. Source: docs/simulator.md, P5.
 *
 * @module
 */

import { hlcWallMs } from "../src/hlc.ts";
import type { Version } from "../src/version.ts";
import { versionText } from "../src/version.ts";
import type { Violation } from "./violation.ts";

/** What a replica said that it holds of a key. */
export interface Holding {
  readonly node: string;
  /** As in `explain`. */
  readonly status: string;
  readonly version?: Version | undefined;
  readonly tombstone?: boolean | undefined;
  readonly expiresAtMs?: number | undefined;
  /** Its watermark. */
  readonly sameBeforeMs?: number | undefined;
}

export function checkReplicas(
  key: string,
  replicas: readonly Holding[],
  when: string,
  /** The latest that any clock has ever shown. */
  nowMs = 0,
): readonly Violation[] {
  const watermarkMs = Math.max(0, ...replicas.map(({ sameBeforeMs }) => sameBeforeMs ?? 0));
  const lines = replicas.map((replica) => {
    const { node, status, version, tombstone, expiresAtMs = Number.POSITIVE_INFINITY } = replica;
    if (version === undefined) return { node, held: status };
    // Below the watermark of any of them what is deleted or over is dropped, by one before another (G5).
    const isOver = tombstone === true || expiresAtMs <= nowMs;
    if (isOver && hlcWallMs(version.hlc) < watermarkMs) return { node, held: "nothing" };
    return { node, held: versionText(version) };
  });
  if (new Set(lines.map(({ held }) => held)).size <= 1) return [];
  const detail = `${when}, the replicas of '${key}' differ: ${JSON.stringify(lines)}`;
  return [{ promise: "P5", detail }];
}
