/**
 * Cli protocol: what each member runs, what is turned on, and who is waited for, in lines.
 *
 * Effects: none.
 *
 * @module
 */

import { shown } from "./cli_output.ts";
import type { ClusterInfo, MemberInfo } from "./client.ts";

/** `0.1.0 (1-2)`: a member's program, and the versions of the protocol that it speaks; empty: unknown. */
export function programText({ version, speaks }: MemberInfo): string {
  if (speaks === undefined) return version === undefined ? "" : shown(version);
  const { lowest, highest } = speaks;
  const range = lowest === highest ? `${highest}` : `${lowest}-${highest}`;
  return version === undefined ? `older (${range})` : `${shown(version)} (${range})`;
}

/** What is on, and a line for each feature that waits; none from a node that knows of no versions. */
export function protocolLines({ protocol, features = [] }: ClusterInfo): readonly string[] {
  if (protocol === undefined) return [];
  const waiting = features.filter(({ on }) => !on);
  return [
    `Version ${protocol} of the protocol between nodes is on.`,
    ...waiting.map(({ name, since, waitsFor }) =>
      waitsFor.length === 0
        ? `${shown(name)} (version ${since}) is about to be turned on: all members speak it.`
        : `${shown(name)} (version ${since}) waits for ${waitsFor.map(shown).join(", ")} to speak it.`,
    ),
  ];
}
