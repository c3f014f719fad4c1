/**
 * Table file: whether LMDB can open the table's file, found out before it is asked.
 *
 * The package ends the process (it frees its environment twice) when LMDB refuses a file that it has
 * begun to open. So the two meta pages are looked at here first, as LMDB will look at them: damage
 * becomes an error that says what to do. What lies behind the meta pages is not checked, save that it
 * is there: reading behind the file's end would end the process (SIGBUS). The headers of pages have no
 * checksums, and the records' own are checked by who reads them.
 *
 *     page 0   meta   magic, format, page size, roots, last page, transaction n
 *     page 1   meta   the same of transaction n - 1 (or n + 1: they take turns)
 *
 * Invariants
 * 1. A file that a crash at any moment may leave is not called damaged: either page is the older one,
 *    and until the first commit has synced them both may be missing or zeros.
 * 2. A file that LMDB would refuse for its meta pages is not called usable.
 * 3. A file shorter than its newest meta page says is damaged only if a page in use is missing: pages
 *    that a commit took and gave back are never written, and may well be the last ones.
 *
 * Effects: Disk. Source: LMDB's mdb.c as the package carries it, `mdb_env_read_header`, data format 2.
 *
 * @module
 */

import type { Disk } from "./capability.ts";
import { systemErrorCode } from "./capability.ts";

const headerBytes = 24;
const metaBytes = 144;
/** The least that LMDB reads of a file's first page. */
const pageBytesMin = 512;
const pageBytesMax = 65_536;
/** The page size with which `table.ts` makes a file. */
export const pageBytesNew = 4_096;
const magic = 0xbeefc0de;
const format = 2;
const metaFlag = 0x08;
const branchFlag = 0x01;
const leafFlag = 0x02;
/** Of a node: its value lies in pages of its own. */
const longFlag = 0x01;
/** Of a node before its key. */
const nodeBytes = 8;
const noRoot = 0xffff_ffff_ffff_ffffn;

/** What is left to do where there is no copy of a damaged table. */
export const tableLossHint =
  "Without one, move the table's file away and start with --accept-data-loss: what the log still has is kept, and the rest is lost.";

/** What is read of a meta page. */
interface Meta {
  readonly isMeta: boolean;
  readonly magic: number;
  readonly format: number;
  readonly pageBytes: number;
  /** Of the free list and of the data; `noRoot` when empty. */
  readonly roots: readonly bigint[];
  /** The highest page that was ever taken. */
  readonly lastPage: bigint;
  readonly transaction: bigint;
}

/**
 * What is to be done with the file `name`: it can be opened (or made), nothing was ever committed to
 * it and it must make room for a new one, or it is damaged, and this is how.
 */
export type TableFileState = "usable" | "void" | { readonly damage: string };

export async function tableFileState(disk: Disk, name: string): Promise<TableFileState> {
  const head = await readHead(disk, name);
  if (head === undefined || head.fileBytes === 0) return "usable";
  const first = parseMeta(head.bytes, 0);
  const isFirstZero = isZero(head.bytes.subarray(0, pageBytesNew));
  if (isFirstZero) {
    // A power loss before the first commit may leave any of the two pages as zeros.
    const transaction = parseMeta(head.bytes, pageBytesNew)?.transaction ?? 0n;
    return transaction === 0n ? "void" : { damage: "its first page is empty" };
  }
  if (first === undefined) return { damage: `it ends after ${head.fileBytes} bytes` };
  const damage = metaDamage(first);
  if (damage !== undefined) return { damage: `its first page ${damage}` };
  const second = parseMeta(head.bytes, first.pageBytes);
  if (second !== undefined) return pairState(disk, name, [first, second], head.fileBytes);
  if (first.transaction === 0n) return "void";
  return { damage: `it ends after ${head.fileBytes} bytes, before its second page` };
}

/** LMDB goes by the page with the higher transaction, whatever else it says. */
async function pairState(
  disk: Disk,
  name: string,
  [first, second]: readonly [Meta, Meta],
  fileBytes: number,
): Promise<TableFileState> {
  const isSecond = second.transaction > first.transaction;
  // Its magic is not asked for: a commit does not write it, so that a page which a power loss left
  // as zeros has none for ever, and LMDB goes by it all the same.
  if (isSecond && second.pageBytes !== first.pageBytes) {
    return { damage: "its first two pages name different page sizes" };
  }
  const newest = isSecond ? second : first;
  const state = rootState(newest, fileBytes);
  const usedBytes = (newest.lastPage + 1n) * BigInt(newest.pageBytes);
  if (state !== "usable" || BigInt(fileBytes) >= usedBytes) return state;
  const lost = await lostPage(disk, name, newest, fileBytes);
  if (lost === undefined) return "usable";
  const damage = `it ends after ${fileBytes} of ${usedBytes} bytes, and page ${lost} is missing`;
  return { damage };
}

/** A page that the trees of the data and of the free list use, and that the file does not have. */
async function lostPage(
  disk: Disk,
  name: string,
  { roots, pageBytes }: Meta,
  fileBytes: number,
): Promise<bigint | undefined> {
  const pageCount = BigInt(Math.floor(fileBytes / pageBytes));
  const file = await disk.open(name, "read");
  try {
    const waiting = roots.filter((root) => root !== noRoot);
    // A damaged page may point to one above it.
    const seen = new Set<bigint>();
    const page = new Uint8Array(pageBytes);
    for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
      if (at >= pageCount) return at;
      if (seen.has(at)) continue;
      seen.add(at);
      await file.read(page, Number(at) * pageBytes);
      const { below, valueEnds } = linksOf(page);
      const lost = valueEnds.find((end) => end >= pageCount);
      if (lost !== undefined) return lost;
      waiting.push(...below);
    }
    return undefined;
  } finally {
    await file.close();
  }
}

/** What a page points to: the pages of its tree below it, and the last pages of long values. */
function linksOf(page: Uint8Array): { readonly below: bigint[]; readonly valueEnds: bigint[] } {
  const view = new DataView(page.buffer, page.byteOffset, page.length);
  const flags = view.getUint16(18, true);
  const below: bigint[] = [];
  const valueEnds: bigint[] = [];
  const nodeCount = Math.min(view.getUint16(20, true), page.length - headerBytes) >> 1;
  for (let index = 0; index < nodeCount; index += 1) {
    const node = headerBytes + view.getUint16(headerBytes + 2 * index, true);
    if (node + nodeBytes > page.length) continue;
    if ((flags & branchFlag) !== 0) {
      // 48 bits: two words of the low half, and the flags' place for the high one.
      below.push(view.getBigUint64(node, true) & 0xffff_ffff_ffffn);
    } else if ((flags & leafFlag) !== 0 && (view.getUint16(node + 4, true) & longFlag) !== 0) {
      const value = node + nodeBytes + view.getUint16(node + 6, true);
      if (value + 24 > page.length) continue;
      const pages = view.getBigUint64(value + 16, true);
      valueEnds.push(view.getBigUint64(value, true) + (pages === 0n ? 0n : pages - 1n));
    }
  }
  return { below, valueEnds };
}

/** The first bytes of the file: both meta pages; undefined when there is no file. */
async function readHead(
  disk: Disk,
  name: string,
): Promise<{ readonly bytes: Uint8Array; readonly fileBytes: number } | undefined> {
  try {
    const file = await disk.open(name, "read");
    try {
      const target = new Uint8Array(pageBytesMax + headerBytes + metaBytes);
      const count = await file.read(target, 0);
      return { bytes: target.subarray(0, count), fileBytes: await file.size() };
    } finally {
      await file.close();
    }
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

function parseMeta(bytes: Uint8Array, start: number): Meta | undefined {
  if (bytes.length < start + headerBytes + metaBytes) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset + start);
  const meta = headerBytes;
  return {
    isMeta: (view.getUint16(18, true) & metaFlag) !== 0,
    magic: view.getUint32(meta, true),
    format: view.getUint32(meta + 4, true) & 0xffff,
    pageBytes: view.getUint32(meta + 24, true),
    roots: [view.getBigUint64(meta + 64, true), view.getBigUint64(meta + 112, true)],
    lastPage: view.getBigUint64(meta + 120, true),
    transaction: view.getBigUint64(meta + 128, true),
  };
}

function metaDamage({
  isMeta,
  magic: found,
  format: version,
  pageBytes,
}: Meta): string | undefined {
  if (!isMeta || found !== magic) return "is not that of a table";
  if (version !== format) return `names format ${version}, where ${format} can be read`;
  const isPower = (pageBytes & (pageBytes - 1)) === 0;
  if (!isPower || pageBytes < pageBytesMin || pageBytes > pageBytesMax) {
    return `names a page size of ${pageBytes} bytes`;
  }
  return undefined;
}

/** A root outside the file would end the process at the first read. */
function rootState({ roots, pageBytes }: Meta, fileBytes: number): TableFileState {
  const pageCount = BigInt(Math.floor(fileBytes / pageBytes));
  const lost = roots.find((root) => root !== noRoot && root >= pageCount);
  if (lost === undefined) return "usable";
  return { damage: `it has ${pageCount} pages, and its data begins at page ${lost}` };
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}
