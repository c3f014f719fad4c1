/**
 * WAL scan: what a segment's bytes say, and what is torn, lost or whole.
 *
 * A crash may leave the last batch incomplete: nothing in it was acknowledged, and it is cut. Damage
 * to anything before is corruption: something that was acknowledged is gone from this copy. The two
 * look alike at the spot, so the judgement is made over all segments together: only what lies above
 * every mark can be torn. A batch is only written when all before it was synced, so each intact
 * batch is a mark for everything before it.
 *
 * Invariants
 * 1. `scanSegment` finds every intact batch at a block boundary, also behind unreadable blocks.
 * 2. `judge` calls a sequence lost exactly when it is above the checkpoint, at or below a mark, and
 *    in no intact batch.
 * 3. Where the header of a lost batch was readable, its partitions are named; otherwise all are. A batch
 *    that a start has cut names none: others have its sequences.
 *
 * Effects: none. Source: rules D1, D2, D5; Pillai et al., "All File Systems Are Not Created Equal"
 * (2014), for what a crash leaves behind.
 *
 * @module
 */

import {
  batchBody,
  batchBytes,
  batchPartitions,
  blockBytes,
  isZero,
  parseBatchHeader,
  parseSegmentHeader,
  type SegmentHeader,
} from "./wal_format.ts";

/** An intact batch; for a mark `count` is 0 and `first` the next sequence. */
export interface Batch {
  readonly offset: number;
  readonly first: number;
  readonly count: number;
  readonly synced: number;
  readonly ceiling: bigint;
  /** Tells a copy of a batch from another one with its sequences. */
  readonly bodyCrc: number;
}

/** A batch whose header can be believed and whose body cannot. */
export interface BadBatch {
  readonly offset: number;
  readonly first: number;
  readonly last: number;
  readonly partitions: readonly number[];
}

/** Blocks that are neither zero nor part of a batch. */
export interface Region {
  readonly offset: number;
  readonly end: number;
}

export interface SegmentScan {
  /** Undefined when the segment's own header is damaged. */
  readonly header: SegmentHeader | undefined;
  /** True for a segment that was made ready and never used. */
  readonly blank: boolean;
  readonly batches: readonly Batch[];
  readonly bad: readonly BadBatch[];
  readonly unreadable: readonly Region[];
}

/**
 * Reads a whole segment; `visit` gets the body of each intact batch, as a view of `bytes`, in the
 * order of their sequences: blocks that a disk has exchanged must not change what comes last.
 */
export function scanSegment(
  bytes: Uint8Array,
  visit: (batch: Batch, body: Uint8Array) => void,
): SegmentScan {
  const header = parseSegmentHeader(bytes);
  const intact: { readonly batch: Batch; readonly body: Uint8Array }[] = [];
  const bad: BadBatch[] = [];
  const unreadable: Region[] = [];
  let salt = header?.salt;
  let offset = blockBytes;
  if (header === undefined) passOver(bytes, 0, unreadable);
  while (offset + blockBytes <= bytes.length) {
    const found = parseBatchHeader(bytes, offset, salt);
    if (found === undefined) {
      offset = passOver(bytes, offset, unreadable);
      continue;
    }
    // Where the segment's header is damaged, the first batch that can be believed gives the salt.
    salt ??= found.salt;
    const body = batchBody(bytes, offset, found);
    const last = found.firstSequence + found.count - 1;
    if (body === undefined) {
      const partitions = batchPartitions(bytes, offset);
      bad.push({ offset, first: found.firstSequence, last, partitions });
    } else {
      const { firstSequence: first, count, syncedSequence: synced, ceiling, bodyCrc } = found;
      intact.push({ batch: { offset, first, count, synced, ceiling, bodyCrc }, body });
    }
    // Where a body is damaged, a disk may have put another batch: its blocks are looked at one by one.
    offset += body === undefined ? blockBytes : batchBytes(found.bodyBytes);
  }
  const batches = intact.map(({ batch }) => batch);
  const inOrder = [...intact].sort((a, b) => a.batch.first - b.batch.first);
  for (const { batch, body } of inOrder) visit(batch, body);
  // Every whole block was looked at above.
  const isEmpty = header === undefined && batches.length + bad.length + unreadable.length === 0;
  const blank = isEmpty && isZero(bytes.subarray(offset));
  return { header, blank, batches, bad, unreadable };
}

/** Notes a block that holds no batch header, unless it is zero; answers the next offset. */
function passOver(bytes: Uint8Array, offset: number, unreadable: Region[]): number {
  const end = offset + blockBytes;
  if (isZero(bytes.subarray(offset, end))) return end;
  const before = unreadable.at(-1);
  if (before !== undefined && before.end === offset) {
    unreadable[unreadable.length - 1] = { offset: before.offset, end };
  } else {
    unreadable.push({ offset, end });
  }
  return end;
}

/** Sequences that were acknowledged, or may have been, and are in no intact batch. */
export interface LostRange {
  readonly first: number;
  readonly last: number;
  /** Undefined: nobody can tell, so all of them. */
  readonly partitions: readonly number[] | undefined;
}

export interface Judgement {
  /** The highest sequence that is known to have been given. */
  readonly last: number;
  /** Everything up to here is known to have been synced. */
  readonly synced: number;
  /** The first sequence that the WAL still has; undefined when it has none. */
  readonly first: number | undefined;
  readonly lost: readonly LostRange[];
  /** Where the torn tail begins, in the last segment that has one; undefined when nothing is torn. */
  readonly torn: { readonly segment: number; readonly offset: number } | undefined;
  readonly ceiling: bigint;
}

/** Judges all segments, in the order of their indexes, against the checkpoint's sequence. */
export function judge(scans: readonly SegmentScan[], checkpointSequence: number): Judgement {
  let synced = checkpointSequence;
  let last = checkpointSequence;
  let ceiling = 0n;
  let first: number | undefined;
  for (const scan of scans) {
    const begins = scan.header?.firstSequence ?? scan.batches[0]?.first ?? scan.bad[0]?.first;
    if (begins !== undefined) first = Math.min(first ?? begins, begins);
    for (const batch of scan.batches) {
      synced = Math.max(synced, batch.synced);
      last = Math.max(last, batch.synced, batch.first + batch.count - 1);
      if (batch.ceiling > ceiling) ceiling = batch.ceiling;
    }
  }
  const lost = missing(scans, checkpointSequence, last);
  return { last, synced, first, lost, torn: tornTail(scans, last), ceiling };
}

/** The gaps in (after, last] that no intact batch covers. */
function missing(scans: readonly SegmentScan[], after: number, last: number): LostRange[] {
  const held = scans
    .flatMap((scan) => scan.batches)
    .filter((batch) => batch.count > 0)
    .sort((a, b) => a.first - b.first);
  const bad = notCut(scans).sort((a, b) => a.first - b.first);
  const lost: LostRange[] = [];
  let next = after + 1;
  for (const batch of held) {
    if (batch.first > next) lost.push(lostRange(next, batch.first - 1, bad));
    next = Math.max(next, batch.first + batch.count);
  }
  if (last >= next) lost.push(lostRange(next, last, bad));
  return lost;
}

/**
 * Without those that a start has cut: the segment that it began gives their sequences again, to other
 * entries, of other partitions.
 */
function notCut(scans: readonly SegmentScan[]): BadBatch[] {
  let givenAgain = Number.POSITIVE_INFINITY;
  return scans.toReversed().flatMap(({ header, batches, bad }) => {
    const own = bad.filter(({ first }) => first < givenAgain);
    const firsts = header === undefined ? [...batches, ...bad] : [];
    const begins = firsts.reduce((least, { first }) => Math.min(least, first), givenAgain);
    givenAgain = Math.min(givenAgain, header?.firstSequence ?? begins);
    return own;
  });
}

function lostRange(first: number, last: number, bad: readonly BadBatch[]): LostRange {
  const partitions = new Set<number>();
  let next = first;
  for (const batch of bad) {
    if (batch.first > next || batch.last < next) continue;
    next = batch.last + 1;
    for (const partition of batch.partitions) partitions.add(partition);
  }
  return { first, last, partitions: next > last ? [...partitions] : undefined };
}

/** What lies above every mark and is not zero: a write that was under way at the crash. */
function tornTail(
  scans: readonly SegmentScan[],
  last: number,
): { readonly segment: number; readonly offset: number } | undefined {
  for (let segment = scans.length - 1; segment >= 0; segment -= 1) {
    const scan = scans[segment] as SegmentScan;
    const whole = scan.batches.at(-1)?.offset ?? -1;
    const offsets = [
      ...scan.unreadable.filter((region) => region.offset > whole).map((region) => region.offset),
      ...scan.bad.filter((batch) => batch.first > last).map((batch) => batch.offset),
    ];
    if (offsets.length > 0) return { segment, offset: Math.min(...offsets) };
    // An older segment's tail was judged when the next one was begun.
    if (scan.batches.length > 0) return undefined;
  }
  return undefined;
}
