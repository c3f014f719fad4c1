/**
 * What the tests of damaged folders let another process do, since a damaged page may end it.
 *
 *     fill <closed|killed> <folder>        makes a node's folder with keys in the table and in the log
 *     read <closed|killed> <folder> ...    opens damaged ones in turn; what every key gives in them
 *
 * Every answer is a line of JSON on stdout, written at once.
 */

import * as fs from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { utf8Bytes } from "../src/bytes.ts";
import { silentReport } from "../src/capability.ts";
import { QuorateError } from "../src/errors.ts";
import { openNode, type QuorateNode } from "../src/node.ts";
import { addressSpaceBytesMax, openDisk, realClock, realRandom } from "../src/runtime.ts";
import { openTable } from "../src/table.ts";
import { verifyTable } from "../src/table_verify.ts";
import { textOf } from "./real_harness.ts";

export const tableName = "table.lmdb";
export const keyCount = 300;
export const keyOf = (index: number): string => `key-${index}`;

/** Every value that was ever acknowledged for a key, the last one last. */
export function writtenFor(index: number, how: string): string[] {
  const key = keyOf(index);
  const values = [textOf(key, { number: 1, bytes: index % 7 === 0 ? 3000 : index })];
  // In the killed folder a second run had begun: what it wrote is in the log alone.
  if (how === "killed" && index % 5 === 0) values.push(textOf(key, { number: 2, bytes: index }));
  return values;
}

/** The last acknowledged value or an older one; nothing; a value of no write; or an error. */
export type Found = "last" | "old" | "absent" | `false: ${string}` | `error: ${string}`;

/** What `read` says of one folder; `opening` that nothing follows ended the process. */
export interface ReadLine {
  readonly folder: string;
  readonly step: "opening" | "refused" | "read" | "scrubbed";
  /** Of a refusal: its slug, and its message. */
  readonly slug?: string | undefined;
  readonly why?: string;
  /** By the number of the key. */
  readonly values?: readonly Found[];
  /** The keys of the list, or the slug of its error. */
  readonly list?: readonly string[] | string;
}

function say(line: unknown): void {
  const bytes = Buffer.from(`${JSON.stringify(line)}\n`);
  // A pipe takes a part when it is nearly full.
  for (let at = 0; at < bytes.length; at += fs.writeSync(1, bytes, at));
}

const requestId = "damage";
const namespace = "default";

export async function openReal(folder: string, onScrubbed: () => void): Promise<QuorateNode> {
  const disk = await openDisk(folder);
  const report = {
    ...silentReport,
    count: (name: string): void => {
      if (name === "scrub_rounds") onScrubbed();
    },
  };
  return openNode({
    clock: realClock,
    random: realRandom,
    disk,
    report,
    openTable: async () => {
      const addressSpaceBytes = await addressSpaceBytesMax();
      return openTable({ path: join(folder, tableName), disk, name: tableName, addressSpaceBytes });
    },
    verifyTable: () => verifyTable({ folder, name: tableName, report }),
    settings: {
      version: "0.0.0",
      runtime: "test",
      partitions: 16,
      segmentBytes: 256 * 1024,
      diskReserveBytes: 0,
      scrubBytesPerSecond: 1e12,
    },
  });
}

async function fill(folder: string, how: string): Promise<void> {
  for (const number of how === "killed" ? [1, 2] : [1]) {
    const node = await openReal(folder, () => {});
    for (let index = 0; index < keyCount; index += 1) {
      const value = writtenFor(index, how)[number - 1];
      if (value === undefined) continue;
      const key = utf8Bytes(keyOf(index));
      const put = { key, value: utf8Bytes(value), contentType: "text/plain", meta: [] };
      await node.put({ ...put, namespace, requestId });
    }
    if (how === "killed" && number === 2) process.kill(process.pid, "SIGKILL");
    await node.close();
  }
}

async function read(how: string, folders: readonly string[]): Promise<void> {
  // The node's timers keep no process alive.
  const alive = setInterval(() => {}, 1000);
  for (const folder of folders) {
    say({ folder, step: "opening" } satisfies ReadLine);
    let tellScrubbed: () => void = () => {};
    const scrubbed = new Promise<void>((settle) => {
      tellScrubbed = settle;
    });
    let node: QuorateNode;
    try {
      node = await openReal(folder, tellScrubbed);
    } catch (error) {
      const slug = error instanceof QuorateError ? error.slug : undefined;
      const why = error instanceof Error ? (error.stack ?? error.message) : String(error);
      say({ folder, step: "refused", slug, why } satisfies ReadLine);
      continue;
    }
    say({ folder, step: "read", ...(await readAll(node, how)) } satisfies ReadLine);
    await scrubbed;
    say({ folder, step: "scrubbed", ...(await readAll(node, how)) } satisfies ReadLine);
    await node.close();
  }
  clearInterval(alive);
}

async function readAll(node: QuorateNode, how: string): Promise<Pick<ReadLine, "values" | "list">> {
  const values: Found[] = [];
  for (let index = 0; index < keyCount; index += 1) {
    try {
      const { record } = await node.get({ key: utf8Bytes(keyOf(index)), namespace, requestId });
      values.push(foundOf(index, how, record?.value));
    } catch (error) {
      values.push(`error: ${slugOf(error)}`);
    }
  }
  try {
    const { items } = await node.list({ namespace, requestId, limit: 1000 });
    return { values, list: items.map(({ key }) => new TextDecoder().decode(key)) };
  } catch (error) {
    return { values, list: slugOf(error) };
  }
}

function foundOf(index: number, how: string, value: Uint8Array | undefined): Found {
  if (value === undefined) return "absent";
  const text = new TextDecoder().decode(value);
  const written = writtenFor(index, how);
  if (text === written.at(-1)) return "last";
  return written.includes(text) ? "old" : `false: ${text.slice(0, 60)}`;
}

function slugOf(error: unknown): string {
  return error instanceof QuorateError ? error.slug : `not ours: ${String(error)}`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [mode, how = "", ...folders] = process.argv.slice(2);
  if (mode === "fill") await fill(folders[0] ?? "", how);
  else if (mode === "read") await read(how, folders);
  else throw new Error(`there is no mode '${mode}'`);
}
