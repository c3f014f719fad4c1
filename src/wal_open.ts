/**
 * WAL open: reads the log back after a start, and says what it holds, lacks and cut.
 *
 * Segments are read one at a time, in the order of their indexes. Entries above the checkpoint are
 * handed on as they are met, in order; the judgement over torn and lost comes when all were seen.
 *
 * Invariants
 * 1. An entry is handed on only from a batch whose header and body have good checksums; a copy of a batch is
 *    not, but another one with the same sequences is: a process that stood still, and lost the folder
 *    meanwhile, may have written to its segment when the next one had begun its own.
 * 2. `recoverWal` changes nothing on the disk, except that a torn tail is copied to `aside/` and unfinished
 *    spare segments are removed. So a loss is found by every start until its marks are durable.
 * 3. Memory: one segment's bytes, and a copy of each batch from which an entry was handed on.
 *
 * Effects: Disk, Report. Source: rules D2, D4, D5.
 *
 * @module
 */

import { emptyBytes } from "./bytes.ts";
import { type Disk, type DiskFile, type Report, systemErrorCode } from "./capability.ts";
import { QuorateError } from "./errors.ts";
import { Slab } from "./slab.ts";
import { blockBytes, bodyEntries, visitEntries, type WalEntry } from "./wal_format.ts";
import { type Batch, type Judgement, judge, type SegmentScan, scanSegment } from "./wal_scan.ts";
import { type SegmentFile, segmentIndex, segmentName, walFolder } from "./wal_segment.ts";

const asideFolder = "aside";
const tornPrefix = "torn-";
/** The most torn tails that are kept aside; the oldest go. */
const asideFilesMax = 16;
/** The largest segment file that is read: the largest that a setting asks for (1 GiB), with room for entries. */
export const segmentFileBytesMax: number = 1536 * 1024 * 1024;
/** Stands for what cannot be read; not zero, which would look like a block that was never written. */
const unreadableByte = 0xff;

export interface RecoveryOptions {
  readonly disk: Disk;
  readonly report: Report;
  /** 16 bytes; a segment of another store is refused. */
  readonly storeId: Uint8Array;
  /** Up to here the table has everything. */
  readonly checkpointSequence: number;
  /** Gets every entry above the checkpoint, once; its payload is not written to again. */
  readonly apply: (entry: WalEntry, sequence: number) => void;
}

export interface Recovery extends Judgement {
  readonly segments: readonly SegmentFile[];
  readonly nextIndex: number;
  /** The entries above every mark: they may lie in the page cache alone (D4). */
  readonly tail: readonly WalEntry[];
  /** Entries handed to `apply`. */
  readonly applied: number;
  /** Segments that are gone or were cut, a sentence each: nobody can tell what was in them. */
  readonly missing: readonly string[];
  /** Segments that were made ready and never used: for `removeBlank`, when what is missing is marked. */
  readonly blank: readonly { readonly name: string }[];
  /** Blocks of the torn end that could not be read: for `eraseUnread`, before the log goes on behind them. */
  readonly unread: readonly BlockPlace[];
}

/** A segment's file that is shorter than its header says. */
interface ShortFile {
  /** Its place among the segments. */
  readonly at: number;
  readonly name: string;
  readonly bytes: number;
}

interface BlockPlace {
  readonly name: string;
  readonly offset: number;
}

interface BatchBody {
  readonly batch: Batch;
  readonly body: Uint8Array;
}

/** Reads all segments. Rejects with `wrong-data-folder` when one belongs to another store. */
export async function recoverWal(options: RecoveryOptions): Promise<Recovery> {
  const { disk, checkpointSequence } = options;
  const names = await disk.list(walFolder);
  const scans: SegmentScan[] = [];
  const files: { readonly index: number; readonly name: string }[] = [];
  const short: ShortFile[] = [];
  const unread: BlockPlace[] = [];
  /** By their first sequence: what tells the batches that were handed on. */
  const given = new Map<number, number>();
  const slab = new Slab();
  let buffer = emptyBytes;
  let applied = 0;
  let newest: BatchBody | undefined;
  for (const name of names) {
    const path = `${walFolder}/${name}`;
    const index = segmentIndex(name);
    if (index === undefined) {
      await disk.remove(path);
      continue;
    }
    const bytes = await readFile(disk, path, { buffer, unread });
    if (bytes.buffer !== buffer.buffer) buffer = bytes;
    const scan = scanSegment(bytes, (batch, body) => {
      const last = batch.first + batch.count - 1;
      if (batch.count === 0 || last <= checkpointSequence) return;
      // The buffer is used again; one copy of a batch costs less than one of each entry.
      const copy = slab.copy(body);
      // The tail that no mark covered stands twice in the log after the next start (D4).
      const isTwice = given.get(batch.first) === batch.bodyCrc;
      given.set(batch.first, batch.bodyCrc);
      visitEntries(copy, (entry, at) => {
        if (isTwice || batch.first + at <= checkpointSequence) return;
        options.apply(entry, batch.first + at);
        applied += 1;
      });
      const newestFirst = newest?.batch.first ?? 0;
      if (batch.first >= newestFirst) newest = { batch, body: copy };
    });
    refuseOtherStore(scan, options.storeId, path);
    scans.push(scan);
    files.push({ index, name: path });
    if (bytes.length < (scan.header?.bytes ?? 0)) {
      short.push({ at: scans.length - 1, name: path, bytes: bytes.length });
    }
  }
  const judgement = judge(scans, checkpointSequence);
  const { torn } = judgement;
  if (torn !== undefined) {
    const file = files[torn.segment] as { readonly name: string };
    await keepAside(options, file.name, torn.offset);
  }
  const blank = files.filter((_, at) => scans[at]?.blank === true);
  const used = files.filter((_, at) => scans[at]?.blank !== true);
  const nextIndex = (used.at(-1)?.index ?? 0) + 1;
  const missing = [
    ...short
      .filter(({ at }) => !isCovered(scans, at, checkpointSequence))
      .map(({ name, bytes }) => `The log's segment '${name}' was cut: it has ${bytes} bytes.`),
    ...missingBefore(
      blank.filter(({ index }) => index >= nextIndex),
      files,
    ),
  ];
  return {
    ...judgement,
    segments: used.map((file) => {
      // What was cut was given again, or will be: the segment is not needed for it.
      const lastSequence = Math.min(lastOf(scans, files, file.index), judgement.last);
      return { ...file, lastSequence };
    }),
    nextIndex,
    tail: unmarkedTail(newest, judgement),
    applied,
    missing,
    blank,
    unread: torn === undefined ? [] : behind(unread, files[torn.segment]?.name, torn.offset),
  };
}

/** Those blocks of one segment that lie at an offset, or behind it. */
function behind(
  blocks: readonly BlockPlace[],
  segment: string | undefined,
  from: number,
): readonly BlockPlace[] {
  return blocks.filter(({ name, offset }) => name === segment && offset >= from);
}

/** Whether the table has all of a segment: the next one begins at or below where the table ends. */
function isCovered(scans: readonly SegmentScan[], at: number, checkpointSequence: number): boolean {
  const next = scans.slice(at + 1).find((scan) => scan.header !== undefined)?.header;
  return next !== undefined && next.firstSequence <= checkpointSequence + 1;
}

/**
 * The writer makes its own. The last one goes first, and durably: one that is left without the one before
 * it would tell of a loss.
 */
export async function removeBlank(
  disk: Disk,
  files: readonly { readonly name: string }[],
): Promise<void> {
  for (const [at, { name }] of files.toReversed().entries()) {
    if (at > 0) await disk.syncFolder(walFolder);
    await disk.remove(name);
  }
}

/**
 * What was cut because it could not be read must not come back as it was: the sequences in it are given again,
 * and it would be taken for what has them. @throws what the disk does
 */
export async function eraseUnread(disk: Disk, blocks: readonly BlockPlace[]): Promise<void> {
  for (const { name, offset } of blocks) {
    const file = await disk.open(name, "write");
    try {
      await file.write(new Uint8Array(blockBytes), offset);
      await file.sync();
    } finally {
      await file.close();
    }
  }
}

/**
 * A segment is only made ready while the one before it is in use: an unused one behind all others, without
 * the one before it, tells that the newest segment of the log is gone. (One among them was in use as
 * well: its batches were not durable, were copied by the next start, and went with the power.)
 */
function missingBefore(
  blank: readonly { readonly index: number }[],
  files: readonly { readonly index: number }[],
): string[] {
  return blank
    .filter(({ index }) => index > 1 && !files.some((file) => file.index === index - 1))
    .map(({ index }) => `The log's segment '${segmentName(index - 1)}', its newest, is missing.`);
}

/** The bytes of a whole file, in `buffer` where it is large enough; `unread` gets the blocks that it lacks. */
async function readFile(
  disk: Disk,
  path: string,
  { buffer, unread }: { readonly buffer: Uint8Array; readonly unread: BlockPlace[] },
): Promise<Uint8Array> {
  const file = await disk.open(path, "read");
  try {
    const size = await file.size();
    if (size > segmentFileBytesMax) {
      throw new QuorateError(
        "corruption",
        `The file '${path}' has ${size} bytes; no segment has more than ${segmentFileBytesMax}.`,
        { hint: "The file was not written by Quorate. Restore the data folder from a backup." },
      );
    }
    const bytes = size <= buffer.length ? buffer.subarray(0, size) : new Uint8Array(size);
    const read = await readBytes(file, bytes, (offset) => unread.push({ name: path, offset }));
    return bytes.subarray(0, read);
  } finally {
    await file.close();
  }
}

/**
 * Fills `bytes` from the file's begin; answers how many it has. Blocks that the disk cannot read are as good as
 * damaged ones: what is in the others is believed, and a start is not refused for ever.
 * @throws EIO where none can be read
 */
async function readBytes(
  file: DiskFile,
  bytes: Uint8Array,
  onUnread: (offset: number) => void,
): Promise<number> {
  try {
    return await file.read(bytes, 0);
  } catch (error) {
    if (systemErrorCode(error) !== "EIO") throw error;
    let whole = 0;
    let read = 0;
    for (let at = 0; at < bytes.length; at += blockBytes) {
      const block = bytes.subarray(at, at + blockBytes);
      const count = await file.read(block, at).catch((why: unknown) => {
        if (systemErrorCode(why) !== "EIO") throw why;
      });
      if (count !== undefined) whole += 1;
      else {
        block.fill(unreadableByte);
        onUnread(at);
      }
      read = at + (count ?? block.length);
    }
    if (whole === 0) throw error;
    return read;
  }
}

function refuseOtherStore(scan: SegmentScan, storeId: Uint8Array, path: string): void {
  const { header } = scan;
  if (header === undefined || header.storeId.every((byte, at) => byte === storeId[at])) return;
  throw new QuorateError(
    "wrong-data-folder",
    `The log segment '${path}' was written by another store than the folder's identity names.`,
    { hint: "Files of two data folders were mixed. Put back the folder as it was." },
  );
}

/** The highest sequence in a segment; a later segment's first says it where nothing else does. */
function lastOf(
  scans: readonly SegmentScan[],
  files: readonly { readonly index: number }[],
  index: number,
): number {
  const at = files.findIndex((file) => file.index === index);
  const scan = scans[at] as SegmentScan;
  let last = (scan.header?.firstSequence ?? 1) - 1;
  for (const batch of scan.batches) last = Math.max(last, batch.first + batch.count - 1);
  for (const batch of scan.bad) last = Math.max(last, batch.last);
  return last;
}

function unmarkedTail(newest: BatchBody | undefined, judgement: Judgement): readonly WalEntry[] {
  if (newest === undefined) return [];
  return newest.batch.first > judgement.synced ? bodyEntries(newest.body) : [];
}

/** Copies a torn tail to a file of its own before the segment is used again (D2). */
async function keepAside(options: RecoveryOptions, name: string, offset: number): Promise<void> {
  const { disk, report } = options;
  const whole = await readFile(disk, name, { buffer: emptyBytes, unread: [] });
  const bytes = whole.subarray(offset);
  report.sometimes("wal: torn tail cut");
  report.log(
    "warn",
    "The log's last write was not complete; it was never acknowledged and is cut.",
    {
      segment: name,
      offset,
    },
  );
  try {
    await disk.makeFolder(asideFolder);
    const index = segmentIndex(name.slice(walFolder.length + 1)) ?? 0;
    const target = `${asideFolder}/${tornPrefix}${String(index).padStart(10, "0")}-${offset}`;
    await disk.remove(target).catch(() => {});
    const file = await disk.open(target, "create");
    await file.write(trimZeros(bytes), 0);
    await file.close();
    // A table that was set aside is there as well, and stays.
    const kept = (await disk.list(asideFolder)).filter((one) => one.startsWith(tornPrefix));
    for (const old of kept.slice(0, Math.max(0, kept.length - asideFilesMax))) {
      await disk.remove(`${asideFolder}/${old}`);
    }
  } catch (error) {
    // The copy serves an inquiry; a full disk must not keep the store from opening.
    report.log("warn", "The torn tail could not be kept aside.", { why: String(error) });
  }
}

function trimZeros(bytes: Uint8Array): Uint8Array {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end -= 1;
  return bytes.subarray(0, end);
}
