/**
 * Table file: whether LMDB can open the table's file, found out before it is asked.
 *
 * The package ends the process (it frees its environment twice) when LMDB refuses a file that it has
 * begun to open. So the two meta pages are looked at here first, as LMDB will look at them: damage
 * becomes an error that says what to do. What lies behind the meta pages is not checked; the headers
 * of pages have no checksums, and the records' own are checked by who reads them.
 *
 *     page 0   meta   magic, format, page size, roots, last page, transaction n
 *     page 1   meta   the same of transaction n - 1 (or n + 1: they take turns)
 *
 * Invariants
 * 1. A file that a crash at any moment may leave passes: a new one, and either page being the older.
 * 2. A file that LMDB would refuse for its meta pages does not pass.
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
const magic = 0xbeefc0de;
const format = 2;
const metaFlag = 0x08;
const noRoot = 0xffff_ffff_ffff_ffffn;

/** What is read of a meta page. */
interface Meta {
  readonly isMeta: boolean;
  readonly magic: number;
  readonly format: number;
  readonly pageBytes: number;
  /** Of the free list and of the data; `noRoot` when empty. */
  readonly roots: readonly bigint[];
  readonly transaction: bigint;
}

/** Why LMDB cannot open the file `name`; undefined when it can, or will make a new one. */
export async function tableFileDamage(disk: Disk, name: string): Promise<string | undefined> {
  const head = await readHead(disk, name);
  if (head === undefined || head.fileBytes === 0) return undefined;
  const first = parseMeta(head.bytes, 0);
  if (first === undefined) return `it ends after ${head.fileBytes} bytes, inside its first page`;
  const wrong = metaDamage(first);
  if (wrong !== undefined) return `its first page ${wrong}`;
  const second = parseMeta(head.bytes, first.pageBytes);
  if (second === undefined) return `it ends after ${head.fileBytes} bytes, before its second page`;
  if (second.transaction <= first.transaction) return rootDamage(first, head.fileBytes);
  const wrongSecond = metaDamage(second);
  if (wrongSecond !== undefined) return `its second page ${wrongSecond}`;
  if (second.pageBytes !== first.pageBytes) return "its first two pages name different page sizes";
  return rootDamage(second, head.fileBytes);
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
function rootDamage({ roots, pageBytes }: Meta, fileBytes: number): string | undefined {
  const pageCount = BigInt(Math.floor(fileBytes / pageBytes));
  const lost = roots.find((root) => root !== noRoot && root >= pageCount);
  return lost === undefined
    ? undefined
    : `it has ${pageCount} pages, and its data begins at page ${lost}: its end is missing`;
}
