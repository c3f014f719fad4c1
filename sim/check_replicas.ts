/**
 * Check replicas: whether all replicas of a key hold the same, in a world that is well again (P5).
 *
 * Effects: none. Source: design, P5.
 *
 * @module
 */

import type { Version } from "../src/version.ts";
import { versionText } from "../src/version.ts";
import type { Violation } from "./violation.ts";

/** What a replica said that it holds of a key. */
export interface Holding {
  readonly node: string;
  /** As in `explain`. */
  readonly status: string;
  readonly version?: Version | undefined;
}

export function checkReplicas(
  key: string,
  replicas: readonly Holding[],
  when: string,
): readonly Violation[] {
  const lines = replicas.map(({ node, status, version }) => ({
    node,
    held: version === undefined ? status : versionText(version),
  }));
  if (new Set(lines.map(({ held }) => held)).size <= 1) return [];
  const detail = `${when}, the replicas of '${key}' differ: ${JSON.stringify(lines)}`;
  return [{ promise: "P5", detail }];
}
