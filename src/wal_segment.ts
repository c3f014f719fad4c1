/**
 * WAL segment: the files of the log, and how one is made ready for the writer.
 *
 * A segment has all its bytes written and synced before the writer gets it: an fdatasync that changes
 * no metadata takes half the time. It is made under another name, of zeros or of a segment that is not
 * needed any more, and gets its own name when it is whole.
 *
 *     retired 0000000007.wal -> spare -> zeros, synced -> 0000000012.wal, the folder synced
 *
 * Invariants
 * 1. A segment under its own name is all zeros but for what the writer wrote.
 * 2. A retired segment leaves its name, durably, before a byte of it is overwritten.
 * 3. Where a segment has no room, none of what is free is taken for it; but for that of a start, which is small.
 *
 * Effects: Disk, Random, Clock (to let syncs of the log pass in between). Source: rule D1.
 *
 * @module
 */

import { type Clock, type Disk, type DiskFile, knownSpace, type Random } from "./capability.ts";
import { QuorateError } from "./errors.ts";
import { alignUp } from "./wal_format.ts";

export const walFolder = "wal";
const zeroChunkBytes = 1024 * 1024;
const spareName = `${walFolder}/spare`;

/** A segment that is on the disk and may still be needed. */
export interface SegmentFile {
  readonly index: number;
  readonly name: string;
  /** The highest sequence in it. */
  readonly lastSequence: number;
}

/** A segment that waits for the writer. */
export interface PreparedSegment {
  readonly index: number;
  readonly name: string;
  readonly file: DiskFile;
  readonly bytes: number;
}

/** The segment that is written to. */
export interface ActiveSegment {
  readonly index: number;
  readonly name: string;
  readonly file: DiskFile;
  readonly salt: bigint;
  /** The bytes that are on the disk. */
  readonly bytes: number;
  offset: number;
  /** Whether a batch in it is durable: before, a power loss may leave it blank. */
  isBegun: boolean;
}

interface SegmentOptions {
  readonly disk: Disk;
  readonly clock: Clock;
}

export function segmentName(index: number): string {
  return `${walFolder}/${String(index).padStart(10, "0")}.wal`;
}

/** The index in a segment's file name; undefined for other names. */
export function segmentIndex(name: string): number | undefined {
  const match = /^(\d{10})\.wal$/.exec(name);
  return match === null ? undefined : Number(match[1]);
}

/** How a segment comes to be. */
export interface SegmentOrigin {
  /** It is made of this one, which is not needed any more. */
  readonly retired?: SegmentFile | undefined;
  /** Without asking the disk for its space: of little, only the attempt tells. */
  readonly isTried?: boolean;
}

/** A segment of zeros under its final name, all of it durable. */
export async function createSegment(
  options: SegmentOptions,
  index: number,
  bytes: number,
  { retired, isTried = false }: SegmentOrigin = {},
): Promise<PreparedSegment> {
  const { disk } = options;
  let file: DiskFile;
  if (retired === undefined) {
    await disk.remove(spareName).catch(() => {});
    file = await disk.open(spareName, "create");
  } else {
    await disk.rename(retired.name, spareName);
    await disk.syncFolder(walFolder);
    file = await disk.open(spareName, "write");
  }
  try {
    const size = await file.size();
    const whole = alignUp(Math.max(bytes, size));
    if (!isTried) await requireSpace(disk, whole - size);
    await zeroFile(options, file, 0, whole);
    const name = segmentName(index);
    await disk.rename(spareName, name);
    await disk.syncFolder(walFolder);
    return { index, name, file, bytes: whole };
  } catch (error) {
    await file.close();
    await disk.remove(spareName).catch(() => {});
    throw error;
  }
}

/** A salt of its own tells the batches of this segment from what may lie in its blocks. */
export function activate(random: Random, prepared: PreparedSegment): ActiveSegment {
  const salt = new DataView(random.bytes(8).buffer).getBigUint64(0);
  return { ...prepared, salt, offset: 0, isBegun: false };
}

/**
 * Zeros that run into the end of the disk would take the space that a checkpoint needs, again at each
 * attempt. @throws with the code ENOSPC; a disk that does not say is not taken for full
 */
export async function requireSpace(disk: Disk, bytes: number): Promise<void> {
  const space = await knownSpace(disk);
  if (space === undefined || space.freeBytes >= bytes) return;
  const said = `ENOSPC: ${space.freeBytes} bytes are free, and ${bytes} are needed for a segment`;
  throw Object.assign(new Error(said), { code: "ENOSPC" });
}

/** Writes zeros in small synced steps, so that a sync of the log never waits behind all of them. */
export async function zeroFile(
  options: SegmentOptions,
  file: DiskFile,
  from: number,
  to: number,
): Promise<void> {
  const zeros = new Uint8Array(Math.min(zeroChunkBytes, to - from));
  for (let offset = from; offset < to; offset += zeros.length) {
    await file.write(zeros.subarray(0, Math.min(zeros.length, to - offset)), offset);
    await file.sync();
    await new Promise<void>((resolve) => options.clock.soon(resolve));
  }
}

/** What a write is told that no segment has room for. */
export function noSpace(): QuorateError {
  const detail = "There is no space on the disk for another segment of the write-ahead log.";
  return new QuorateError("disk-full", detail, {
    outcome: "none",
    retryAfterSeconds: 1,
    hint: "Free space on the node's disk. Reads go on; writes resume by themselves.",
  });
}
