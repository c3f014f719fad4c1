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
 *    its two versions, or a newer one; durably. (Below `discardBelow` the peer's version is the one.)
 * 2. A record is sent and taken as it is, after its checksum was verified (G1).
 * 3. At most a page of keys, and `movedMax` records under way, are held at a time.
 * 4. What all comparisons of a node move and read keeps within one rate.
 *
 * Effects: Report; the store, the peer and time through ports. Source: rules G1, D3;
 * DeCandia et al., "Dynamo" (2007), section 4.7.
 *
 * @module
 */

import { compare } from "./bytes.ts";
import type { Report } from "./capability.ts";
import { allSegments } from "./digest.ts";
import type { Hlc } from "./hlc.ts";
import { compareVersions, type Version } from "./version.ts";

/** What a walk tells of a key. */
export interface Held {
  readonly key: Uint8Array;
  readonly version: Version;
}

/** A piece of a walk: everything after `after` up to `last`, or to the end. */
export interface HeldPage {
  readonly items: readonly Held[];
  /** How far was looked; undefined: to the end. */
  readonly last: Uint8Array | undefined;
}

export interface Walk {
  readonly after: Uint8Array | undefined;
  readonly limit: number;
  /** Only keys of these segments: a bit for each, the lowest first. */
  readonly segments: Uint8Array;
  /**
   * What the peer's walk does not show is forgotten here. So the peer has to know what it should hold, still
   * when it answers; and this side shows also what may be dropped, lest it stand in the way of what the peer has.
   */
  readonly isDiscarding: boolean;
}

export interface Range {
  readonly namespaceNumber: number;
  readonly partition: number;
}

/** One side of a comparison: the store, or the peer. */
export interface RepairSide {
  /** What is among the next `limit` keys above `after`, tombstones included, with their versions. */
  walk(range: Range, walk: Walk): Promise<HeldPage>;
  /** The encoded, verified records of keys, those that are there; in any order. */
  read(range: Range, keys: readonly Uint8Array[]): Promise<readonly KeyRecord[]>;
  /** Takes records unless something newer is there; durable when it resolves. */
  take(range: Range, records: readonly KeyRecord[]): Promise<void>;
  /** Forgets keys whose versions are below a watermark; this node's side alone. */
  discard?(range: Range, keys: readonly Uint8Array[], below: Hlc): Promise<void>;
}

export interface KeyRecord {
  readonly key: Uint8Array;
  readonly record: Uint8Array;
  /** The watermark of the side that it was read from, when it has one (G6). */
  readonly under?: Hlc | undefined;
}

export interface RepairOptions {
  readonly report: Report;
  readonly store: RepairSide;
  /** Whether to go on; a node that closes, or whose peer is gone, stops in the middle. */
  readonly mayGoOn: () => boolean;
  /** Resolves when so many bytes more are within the rate. */
  readonly spend: (bytes: number) => Promise<void>;
  /**
   * This side may have lost tombstones and promises: below this watermark, which the peer has reached, it
   * forgets what the peer lacks, or has an older version of (G6). Undefined: absence deletes nothing.
   */
  readonly discardBelow?: Hlc | undefined;
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
/** What a key is reckoned at, read or not: its version, and its part of a page. */
const keyOverheadBytes = 32;

/** Compares a range with a peer's. Rejects when the peer or the store does. */
export async function compareRange(
  { report, store, mayGoOn, spend, discardBelow = 0n as Hlc }: RepairOptions,
  peer: RepairSide,
  range: Range,
  segments: Uint8Array = allSegments,
): Promise<RepairResult> {
  let keys = 0;
  let pushed = 0;
  let pulled = 0;
  let after: Uint8Array | undefined;
  for (;;) {
    if (!mayGoOn()) return { keys, pushed, pulled, isWhole: false };
    const walk = { after, limit: pageCount, segments, isDiscarding: discardBelow > 0n };
    const [ours, theirs] = await Promise.all([store.walk(range, walk), peer.walk(range, walk)]);
    const end = commonEnd(ours, theirs);
    const found = differences(until(ours, end), until(theirs, end), discardBelow);
    const { push, pull, discard } = found;
    if (discard.length > 0) {
      await store.discard?.(range, discard, discardBelow);
      report.sometimes("repair: discarded below a watermark");
    }
    keys += Math.max(until(ours, end).length, until(theirs, end).length);
    await spend(keyBytes(ours) + keyBytes(theirs));
    await move(store, peer, range, push, spend);
    await move(peer, store, range, pull, spend);
    pushed += push.length;
    pulled += pull.length;
    if (push.length > 0) report.sometimes("repair: pushed");
    if (pull.length > 0) report.sometimes("repair: pulled");
    if (end === undefined) return { keys, pushed, pulled, isWhole: true };
    after = end;
  }
}

/** How far both pages reach; undefined when both reach the end. */
function commonEnd(ours: HeldPage, theirs: HeldPage): Uint8Array | undefined {
  const ends = [ours, theirs].flatMap(({ last }) => (last === undefined ? [] : [last]));
  return ends.reduce<Uint8Array | undefined>(
    (least, end) => (least === undefined || compare(end, least) < 0 ? end : least),
    undefined,
  );
}

function until({ items }: HeldPage, end: Uint8Array | undefined): readonly Held[] {
  return end === undefined ? items : items.filter(({ key }) => compare(key, end) <= 0);
}

function keyBytes({ items }: HeldPage): number {
  return items.reduce((sum, { key }) => sum + key.length + keyOverheadBytes, 0);
}

interface Differences {
  readonly push: Uint8Array[];
  readonly pull: Uint8Array[];
  readonly discard: Uint8Array[];
}

/** The keys whose record one side lacks: merged in order. */
function differences(
  ours: readonly Held[],
  theirs: readonly Held[],
  discardBelow: Hlc,
): Differences {
  const discard: Uint8Array[] = [];
  const push: Uint8Array[] = [];
  const pull: Uint8Array[] = [];
  let own = 0;
  let other = 0;
  while (own < ours.length || other < theirs.length) {
    const a = ours[own];
    const b = theirs[other];
    const order = a === undefined ? 1 : b === undefined ? -1 : compare(a.key, b.key);
    if (order < 0) {
      const { key, version } = a as Held;
      (version.hlc < discardBelow ? discard : push).push(key);
    }
    if (order > 0) pull.push((b as Held).key);
    if (order === 0) {
      const { key, version } = a as Held;
      const newer = compareVersions(version, (b as Held).version);
      const isDiscarded = newer > 0 && version.hlc < discardBelow;
      if (isDiscarded) discard.push(key);
      else if (newer > 0) push.push(key);
      if (newer < 0 || isDiscarded) pull.push(key);
    }
    if (order <= 0) own += 1;
    if (order >= 0) other += 1;
  }
  return { push, pull, discard };
}

/** Moves the records of keys, some at a time. */
async function move(
  source: RepairSide,
  target: RepairSide,
  range: Range,
  keys: readonly Uint8Array[],
  spend: RepairOptions["spend"],
): Promise<void> {
  for (let start = 0; start < keys.length; start += movedMax) {
    const records = await source.read(range, keys.slice(start, start + movedMax));
    if (records.length > 0) await target.take(range, records);
    await spend(records.reduce((sum, { key, record }) => sum + key.length + record.length, 0));
  }
}
