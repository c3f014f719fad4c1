/**
 * Repair: one partition of one namespace, compared between this node and another, in both directions.
 *
 * Both sides are walked in the order of their keys, a page at a time. Where a key's versions differ
 * the newer record goes to the side that lacks it. A key that one side lacks says nothing about it but
 * that it lacks it: absence deletes nothing.
 *
 *     ours     a1  b3      d2  e1
 *     theirs   a1  b2  c7      e4
 *                   |   |   |   |
 *              push b3  |   |   pull e4
 *                 pull c7   push d2
 *
 * Invariants
 * 1. When `compare` resolves, every record that both sides had at its begin is on both in the newest of
 *    its two versions, or a newer one; durably.
 * 2. A record is sent and taken as it is, after its checksum was verified (G1).
 * 3. At most a page of keys, and `pushedMax` records under way, are held at a time.
 *
 * Effects: Clock, Report; the store and the peer through ports. Source: rules G1, D3;
 * DeCandia et al., "Dynamo" (2007), section 4.7.
 *
 * @module
 */

import { compare } from "./bytes.ts";
import type { Clock, Report } from "./capability.ts";
import { compareVersions, type Version } from "./version.ts";

/** What a walk tells of a key. */
export interface Held {
  readonly key: Uint8Array;
  readonly version: Version;
}

/** A piece of a walk: everything after `after` up to the last key, or to the end. */
export interface HeldPage {
  readonly items: readonly Held[];
  /** False when nothing comes after the last one. */
  readonly more: boolean;
}

export interface Range {
  readonly namespaceNumber: number;
  readonly partition: number;
}

/** One side of a comparison: the store, or the peer. */
export interface RepairSide {
  /** Up to `limit` keys above `after`, tombstones included, each with its version. */
  walk(range: Range, after: Uint8Array | undefined, limit: number): Promise<HeldPage>;
  /** The encoded, verified records of keys, those that are there; in any order. */
  read(range: Range, keys: readonly Uint8Array[]): Promise<readonly KeyRecord[]>;
  /** Takes records unless something newer is there; durable when it resolves. */
  take(range: Range, records: readonly KeyRecord[]): Promise<void>;
}

export interface KeyRecord {
  readonly key: Uint8Array;
  readonly record: Uint8Array;
}

export interface RepairOptions {
  readonly clock: Clock;
  readonly report: Report;
  readonly store: RepairSide;
  /** Whether to go on; a node that closes, or whose peer is gone, stops in the middle. */
  readonly mayGoOn: () => boolean;
  /** How much is moved, in bytes a second. */
  readonly bytesPerSecond: number;
}

export interface RepairResult {
  readonly keys: number;
  readonly pushed: number;
  readonly pulled: number;
  /** Whether it came to the end. */
  readonly isWhole: boolean;
}

const pageCount = 512;
const movedMax = 64;

/** Compares a range with a peer's. Rejects when the peer or the store does. */
export async function compareRange(
  { clock, report, store, mayGoOn, bytesPerSecond }: RepairOptions,
  peer: RepairSide,
  range: Range,
): Promise<RepairResult> {
  let keys = 0;
  let pushed = 0;
  let pulled = 0;
  let after: Uint8Array | undefined;
  const beganMs = clock.monotonicMs();
  let bytes = 0;
  for (;;) {
    if (!mayGoOn()) return { keys, pushed, pulled, isWhole: false };
    const [ours, theirs] = await Promise.all([
      store.walk(range, after, pageCount),
      peer.walk(range, after, pageCount),
    ]);
    const end = commonEnd(ours, theirs);
    const { push, pull } = differences(until(ours, end), until(theirs, end));
    keys += Math.max(until(ours, end).length, until(theirs, end).length);
    bytes += await move(store, peer, range, push);
    bytes += await move(peer, store, range, pull);
    pushed += push.length;
    pulled += pull.length;
    if (push.length > 0) report.sometimes("repair: pushed");
    if (pull.length > 0) report.sometimes("repair: pulled");
    if (end === undefined) return { keys, pushed, pulled, isWhole: true };
    after = end;
    const aheadMs = beganMs + (bytes / bytesPerSecond) * 1000 - clock.monotonicMs();
    if (aheadMs >= 1) await new Promise<void>((resolve) => clock.after(aheadMs, resolve));
  }
}

/** How far both pages reach; undefined when both reach the end. */
function commonEnd(ours: HeldPage, theirs: HeldPage): Uint8Array | undefined {
  const ends = [ours, theirs].flatMap(({ items, more }) => {
    const last = items.at(-1);
    return more && last !== undefined ? [last.key] : [];
  });
  return ends.reduce<Uint8Array | undefined>(
    (least, end) => (least === undefined || compare(end, least) < 0 ? end : least),
    undefined,
  );
}

function until({ items }: HeldPage, end: Uint8Array | undefined): readonly Held[] {
  return end === undefined ? items : items.filter(({ key }) => compare(key, end) <= 0);
}

/** The keys whose record one side lacks: merged in order. */
function differences(
  ours: readonly Held[],
  theirs: readonly Held[],
): { readonly push: Uint8Array[]; readonly pull: Uint8Array[] } {
  const push: Uint8Array[] = [];
  const pull: Uint8Array[] = [];
  let own = 0;
  let other = 0;
  while (own < ours.length || other < theirs.length) {
    const a = ours[own];
    const b = theirs[other];
    const order = a === undefined ? 1 : b === undefined ? -1 : compare(a.key, b.key);
    if (order < 0) push.push((a as Held).key);
    else if (order > 0) pull.push((b as Held).key);
    else {
      const newer = compareVersions((a as Held).version, (b as Held).version);
      if (newer > 0) push.push((a as Held).key);
      if (newer < 0) pull.push((b as Held).key);
    }
    if (order <= 0) own += 1;
    if (order >= 0) other += 1;
  }
  return { push, pull };
}

/** Moves the records of keys, some at a time; answers their bytes. */
async function move(
  source: RepairSide,
  target: RepairSide,
  range: Range,
  keys: readonly Uint8Array[],
): Promise<number> {
  let bytes = 0;
  for (let start = 0; start < keys.length; start += movedMax) {
    const records = await source.read(range, keys.slice(start, start + movedMax));
    if (records.length > 0) await target.take(range, records);
    for (const { key, record } of records) bytes += key.length + record.length;
  }
  return bytes;
}
