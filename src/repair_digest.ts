/**
 * RepairDigest: finds out in few messages what two replicas of a partition hold differently.
 *
 *     the watermarks           the lower side adopts the higher one (G5)
 *     one hash over all sums   equal -> done: one small message each way
 *     the sums                 which segments differ?
 *     a moment later, again    which of them still do? the others were writes under way
 *     keys and versions        of these segments, and the newer records (`repair`)
 *
 * Invariants
 * 1. `agreed` means that each side durably held, at some moment since the begin, all that the other
 *    one held at the begin, or newer.
 * 2. Nothing is changed but through `compareRange`.
 *
 * Effects: Clock, Report; the store and the peer through ports. Source: docs/cluster.md, "What is compared,
 * and when"; rule G1.
 *
 * @module
 */

import type { Clock } from "./capability.ts";
import { differingSegments, digestBytes, segmentBits } from "./digest.ts";
import type { Hlc } from "./hlc.ts";
import { compareRange, type RepairOptions, type RepairSide } from "./repair.ts";

/** A side that keeps sums. */
export interface DigestSide extends RepairSide {
  /**
   * What it holds of the partition for the namespaces of one n, once that is durable. Before, it adopts
   * a watermark that the other side has reached (G5), unless it may have lost something; 0n: none.
   */
  digest(pair: Pair, wants: "state" | "total" | "sums", adopt: Hlc): Promise<Sums>;
}

/** This node's side. */
export interface OwnSide extends DigestSide {
  /** It has what the other side has, and nothing else, below a watermark that this one has reached. */
  filled(pair: Pair, watermark: Hlc): Promise<void>;
}

/** A partition as the rules mean it: its replicas are the first n of its row. */
export interface Pair {
  readonly partition: number;
  readonly n: number;
}

export interface Sums {
  readonly watermark: Hlc;
  readonly total: bigint;
  /** When they were asked for: as in `Digest`. */
  readonly sums?: Uint8Array | undefined;
}

export interface DigestOptions extends Omit<RepairOptions, "discardBelow"> {
  readonly clock: Clock;
  readonly store: OwnSide;
  /** How long writes under way have to arrive; 0: every difference is looked at. */
  readonly settleMs: number;
}

export interface DigestResult {
  /** Segments whose keys were compared; 0: the sums agreed, at once or a moment later. */
  readonly segments: number;
  readonly keys: number;
  readonly pushed: number;
  readonly pulled: number;
  /** Whether it came to the end. */
  readonly isWhole: boolean;
}

const none = 0n as Hlc;
const agreed: DigestResult = { segments: 0, keys: 0, pushed: 0, pulled: 0, isWhole: true };

/** Compares the namespaces of one n in a partition. Rejects when the peer or the store does. */
export async function compareDigests(
  options: DigestOptions,
  peer: DigestSide,
  pair: Pair,
  namespaces: readonly number[],
): Promise<DigestResult> {
  const { store } = options;
  const { watermark } = await store.digest(pair, "state", none);
  // The peer's first: what it held then has to be here when this side is looked at.
  const theirs = await peer.digest(pair, "total", watermark);
  const ours = await store.digest(pair, "total", theirs.watermark);
  // This side may have lost something, and did not adopt it: it gets what it lacks first (G6).
  const isBehind = ours.watermark < theirs.watermark;
  const result =
    theirs.total === ours.total
      ? agreed
      : await compareSums(options, peer, pair, {
          namespaces,
          discardBelow: isBehind ? theirs.watermark : undefined,
        });
  if (isBehind && result.isWhole) await store.filled(pair, theirs.watermark);
  return result;
}

async function compareSums(
  options: DigestOptions,
  peer: DigestSide,
  pair: Pair,
  {
    namespaces,
    discardBelow,
  }: { readonly namespaces: readonly number[]; readonly discardBelow: Hlc | undefined },
): Promise<DigestResult> {
  const { clock, report, store, mayGoOn, spend, settleMs } = options;
  let segments = await differing(store, peer, pair);
  if (segments.size > 0 && settleMs > 0) {
    await new Promise<void>((resolve) => clock.after(settleMs, resolve));
    if (!mayGoOn()) return { ...agreed, isWhole: false };
    await spend(2 * digestBytes);
    const still = await differing(store, peer, pair);
    segments = new Set([...segments].filter((segment) => still.has(segment)));
  }
  if (segments.size === 0) {
    report.sometimes("repair: only writes under way differed");
    return agreed;
  }
  const result = { segments: segments.size, keys: 0, pushed: 0, pulled: 0 };
  const bits = segmentBits(segments);
  for (const namespaceNumber of namespaces) {
    const range = { namespaceNumber, partition: pair.partition };
    const { keys, pushed, pulled, isWhole } = await compareRange(
      { ...options, discardBelow },
      peer,
      range,
      bits,
    );
    result.keys += keys;
    result.pushed += pushed;
    result.pulled += pulled;
    if (!isWhole) return { ...result, isWhole: false };
  }
  return { ...result, isWhole: true };
}

async function differing(store: DigestSide, peer: DigestSide, pair: Pair): Promise<Set<number>> {
  const { sums: theirs } = await peer.digest(pair, "sums", none);
  const { sums: ours } = await store.digest(pair, "sums", none);
  return theirs === undefined || ours === undefined ? new Set() : differingSegments(ours, theirs);
}
