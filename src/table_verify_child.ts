/**
 * Table verify child: the process in which `table_verify` reads a table from end to end.
 *
 *     <runtime> table_verify_child <data folder> <name of the table>
 *
 * It goes the ways that the store goes: it walks over every entry, looks each up by its key, checks
 * every record's checksum, and commits (the same description of the table again, twice), since a
 * commit reads the list of free pages, which no walk does. It says how far it is on the standard output.
 *
 * Effects: the table's file; the standard streams; ends the process.
 *
 * @module
 */

import * as fs from "node:fs";
import { join } from "node:path";
import { equal } from "./bytes.ts";
import { isIntact } from "./record.ts";
import { addressSpaceBytesMax, openDisk } from "./runtime.ts";
import { parseTableKey, storedKeyBytesMax, tableKeyHeaderBytes } from "./store_entry.ts";
import { decodeMeta, decodePartitionMeta, metaKey } from "./store_meta.ts";
import { openTable, type Table, type TableEntry, tableKeyBytesMax } from "./table.ts";
import type { VerifyLine } from "./table_verify.ts";

const pieceBytes = 1024 * 1024;
const pieceEntriesMax = 10_000;
const sayEveryMs = 1000;

/** Written at once: a line that waits in a buffer would be lost with the process. */
function say(line: VerifyLine): void {
  fs.writeSync(1, `${JSON.stringify(line)}\n`);
}

async function verify(folder: string, name: string): Promise<void> {
  say({ step: "begun" });
  const disk = await openDisk(folder);
  const addressSpaceBytes = await addressSpaceBytesMax();
  const table = await openTable({ path: join(folder, name), disk, name, addressSpaceBytes });
  const { records, damagedCount } = await walk(table);
  await commitAgain(table);
  await table.close();
  say({ step: "done", records, damagedCount });
}

async function walk(table: Table): Promise<{ records: number; damagedCount: number }> {
  let records = 0;
  let damagedCount = 0;
  let saidMs = performance.now();
  let start = Uint8Array.of(0);
  const end = new Uint8Array(tableKeyBytesMax).fill(0xff);
  for (;;) {
    const piece = { start, end, limit: pieceEntriesMax, bytesMax: pieceBytes };
    const entries = table.range(piece);
    const last = entries.at(-1);
    if (last === undefined) return { records, damagedCount };
    for (const entry of entries) if (!isWhole(table, entry)) damagedCount += 1;
    records += entries.length;
    start = Uint8Array.of(...last.key, 0);
    if (performance.now() - saidMs >= sayEveryMs) {
      saidMs = performance.now();
      say({ step: "reading", records });
    }
    // The end of the input is heard between two pieces.
    await new Promise<void>((settle) => setImmediate(settle));
  }
}

function isWhole(table: Table, { key, value }: TableEntry): boolean {
  const found = table.get(key);
  if (found === undefined || !equal(found, value)) return false;
  // No partition has the number 0xFFFF: these describe the table and its partitions.
  if (key[0] === 0xff && key[1] === 0xff) {
    return equal(key, metaKey)
      ? decodeMeta(value) !== undefined
      : decodePartitionMeta(value) !== undefined;
  }
  if (key.length <= tableKeyHeaderBytes) return false;
  const entry = parseTableKey(key);
  return entry.key.length <= storedKeyBytesMax && isIntact(value, entry.namespaceNumber, entry.key);
}

async function commitAgain(table: Table): Promise<void> {
  const value = table.get(metaKey)?.slice();
  if (value === undefined || decodeMeta(value) === undefined) return;
  for (let round = 1; round <= 2; round += 1) await table.commit([{ key: metaKey, value }]);
}

const [folder = "", name = ""] = process.argv.slice(2);
// The parent holds the other end, and never writes: the end of it is the end of the parent.
process.stdin.on("end", () => process.exit(1)).resume();
try {
  await verify(folder, name);
  process.exit(0);
} catch (error) {
  say({ step: "failed", why: error instanceof Error ? error.message : String(error) });
  process.exit(1);
}
