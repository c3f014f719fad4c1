/**
 * What the table's tests let another process do, since it is killed, limited or aborted in it.
 *
 *     commit <folder> <seed>                commits number after number, and says each that resolved
 *     fill <folder> <free bytes>            fills the table until commits fail; how they fail
 *     read <folder> <file> ...              opens damaged files in turn; what each of them gives
 *
 * Every answer is a line of JSON on stdout, written at once.
 */

import * as fs from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { SimRandom } from "../sim/random.ts";
import { utf8Bytes } from "../src/bytes.ts";
import { type DiskSpace, systemErrorCode } from "../src/capability.ts";
import { QuorateError } from "../src/errors.ts";
import { addressSpaceBytesMax, openDisk } from "../src/runtime.ts";
import { openTable, type Table, type TableChange } from "../src/table.ts";

export const tableName = "table.mdb";
const keyCount = 60;

/** Opens a table on the machine's disk. */
export async function openIn(folder: string, name: string = tableName): Promise<Table> {
  const addressSpaceBytes = await addressSpaceBytesMax();
  const disk = await openDisk(folder);
  return openTable({ path: join(folder, name), name, disk, addressSpaceBytes });
}

/** The changes of commit `number`: key `number` holds it, and some others are put or removed. */
export function changesOf(seed: number, number: number): TableChange[] {
  const random = new SimRandom(seed * 1_000_003 + number);
  const changes: TableChange[] = [{ key: utf8Bytes("number"), value: utf8Bytes(String(number)) }];
  for (let count = random.below(8); count > 0; count -= 1) {
    const key = utf8Bytes(`key ${random.below(keyCount)}`);
    const isLarge = random.below(8) === 0;
    const value = new Uint8Array(random.below(isLarge ? 30_000 : 300)).fill(random.below(256));
    changes.push({ key, value: random.below(4) === 0 ? undefined : value });
  }
  return changes;
}

/** The number of the newest commit in a table; 0 when there is none. */
export function numberIn(table: Table): number {
  const value = table.get(utf8Bytes("number"));
  return value === undefined ? 0 : Number(new TextDecoder().decode(value));
}

/** What `read` says of one file. */
export interface ReadAnswer {
  readonly file: string;
  /** How far it came: an `opening` that nothing follows ended the process. */
  readonly step: "opening" | "refused" | "read";
  readonly code?: string | undefined;
  /** Everything that the range gave, `key=bytes:first byte`. */
  readonly entries?: readonly string[];
  /** Errors of gets and ranges. */
  readonly failures?: readonly string[];
}

export interface FillAnswer {
  readonly resolved: number;
  /** The codes or slugs of the commits that failed, in order; the last is that of one that only removes. */
  readonly codes: readonly (string | undefined)[];
  /** Whether each of the resolved commits, and none of the others, can be read afterwards. */
  readonly isWhole: boolean;
}

function say(answer: unknown): void {
  fs.writeSync(1, `${JSON.stringify(answer)}\n`);
}

async function commitForEver(folder: string, seed: number): Promise<void> {
  const table = await openIn(folder);
  say(numberIn(table));
  for (let number = numberIn(table) + 1; ; number += 1) {
    await table.commit(changesOf(seed, number));
    say(number);
  }
}

async function fill(folder: string, freeBytes: number): Promise<void> {
  const disk = await openDisk(folder);
  disk.space = async (): Promise<DiskSpace> => ({ freeBytes, totalBytes: 2 ** 40 });
  const table = await openTable({ path: join(folder, tableName), name: tableName, disk });
  const name = (number: number): Uint8Array => utf8Bytes(`key ${number}`);
  const codes: (string | undefined)[] = [];
  let resolved = 0;
  for (let number = 0; codes.length < 3; number += 1) {
    try {
      await table.commit([{ key: name(number), value: new Uint8Array(9_000) }]);
      resolved += 1;
    } catch (error) {
      codes.push(error instanceof QuorateError ? error.slug : systemErrorCode(error));
    }
  }
  let isWhole = true;
  for (let number = 0; number < resolved + 3; number += 1) {
    isWhole &&= (table.get(name(number)) !== undefined) === number < resolved;
  }
  try {
    await table.commit([{ key: name(0), value: undefined }]);
    codes.push(undefined);
  } catch (error) {
    codes.push(error instanceof QuorateError ? error.slug : systemErrorCode(error));
  }
  await table.close();
  say({ resolved, codes, isWhole } satisfies FillAnswer);
}

async function readDamaged(folder: string, files: readonly string[]): Promise<void> {
  for (const file of files) {
    say({ file, step: "opening" } satisfies ReadAnswer);
    let table: Table;
    try {
      table = await openIn(folder, file);
    } catch (error) {
      const code = error instanceof QuorateError ? error.slug : systemErrorCode(error);
      say({ file, step: "refused", code } satisfies ReadAnswer);
      continue;
    }
    const failures: string[] = [];
    const entries = attempt(failures, () => shownEntries(table)) ?? [];
    for (let index = 0; index < keyCount; index += 1) {
      attempt(failures, () => table.get(utf8Bytes(`key ${index}`)));
    }
    say({ file, step: "read", entries, failures } satisfies ReadAnswer);
    await table.close();
  }
}

function attempt<Value>(failures: string[], read: () => Value): Value | undefined {
  try {
    return read();
  } catch (error) {
    failures.push(error instanceof Error ? error.message : String(error));
    return undefined;
  }
}

/** A table's entries, each in few characters. */
export function shownEntries(table: Table): string[] {
  const start = new Uint8Array(0);
  const end = new Uint8Array(100).fill(0xff);
  const entries = table.range({ start, end, limit: 10_000, bytesMax: 2 ** 30 });
  return entries.map(
    ({ key, value }) => `${Buffer.from(key).toString("latin1")}=${value.length}:${value[0] ?? ""}`,
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [mode, folder = "", ...rest] = process.argv.slice(2);
  if (mode === "commit") await commitForEver(folder, Number(rest[0]));
  else if (mode === "fill") await fill(folder, Number(rest[0]));
  else if (mode === "read") await readDamaged(folder, rest);
  else throw new Error(`there is no mode '${mode}'`);
}
