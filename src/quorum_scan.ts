/**
 * QuorumScan: one piece of a partition's keys, merged from several replicas' pieces of it.
 *
 *     A: a1 c3 | more         B: a2 b1 c3 d1 | end        -> a2 b1 c3, and more past c
 *
 * Replicas hold different keys until they are repaired, so pieces of the same length end at different
 * keys. The merged piece ends where the first of them does: past that, not all have been heard. Pages that
 * are uneven, one with a live key that another lacks, may be of before and after its delete was dropped.
 *
 * Invariants
 * 1. Each key comes once, with the highest version that any page has of it (tombstones as others).
 * 2. No key past the end of a page that has more is in the result.
 * 3. Merging commutes, and merging a page with itself changes nothing.
 *
 * Effects: none. Source: rules L1, R2.
 *
 * @module
 */

import { compare, latin1 } from "./bytes.ts";
import type { ScanEntry, ScanReply } from "./quorum_message.ts";
import { compareVersions } from "./version.ts";

export type ScanPage = Extract<ScanReply, { kind: "page" }>;

export function mergePages(pages: readonly ScanPage[], reverse: boolean): ScanPage {
  const order = (a: Uint8Array, b: Uint8Array): number => (reverse ? compare(b, a) : compare(a, b));
  let end: Uint8Array | undefined;
  for (const { more, last } of pages) {
    if (!more || last === undefined) continue;
    if (end === undefined || order(last, end) < 0) end = last;
  }
  const all = pages.flatMap(({ entries }) => entries);
  const heard = all.filter(({ tableKey }) => end === undefined || order(tableKey, end) <= 0);
  // The highest version of a key first.
  heard.sort((a, b) => order(a.tableKey, b.tableKey) || compareVersions(b.version, a.version));
  const entries: ScanEntry[] = [];
  for (const entry of heard) {
    const before = entries[entries.length - 1];
    if (before === undefined || order(before.tableKey, entry.tableKey) !== 0) entries.push(entry);
  }
  const last = end ?? entries[entries.length - 1]?.tableKey;
  return { kind: "page", entries, more: end !== undefined, last };
}

/**
 * Whether one of the pages that were merged has a key live that another lacks: it may have been deleted, and the
 * delete dropped below a watermark, between the moments at which the two were read (R2).
 */
export function isUneven(pages: readonly ScanPage[], { entries }: ScanPage): boolean {
  if (pages.length < 2) return false;
  const live = entries.filter(({ tombstone }) => !tombstone);
  const keys = pages.map((page) => new Set(page.entries.map(({ tableKey }) => latin1(tableKey))));
  return live.some(({ tableKey }) => keys.some((held) => !held.has(latin1(tableKey))));
}

/** The deletes among what was merged, as a page that ends where that did: past it nothing was looked at. */
export function deletesOf(merged: ScanPage): ScanPage {
  return { ...merged, entries: merged.entries.filter(({ tombstone }) => tombstone) };
}
