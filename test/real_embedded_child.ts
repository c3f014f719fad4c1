/**
 * An application with a database in its own process, which is killed.
 *
 *     <folder>    opens it and does what each line of its input says, as many at once as there are
 *
 * A line `number put key bytes` or `number delete key` is answered by `number done` when it is on disk;
 * `number read` by `number {"key": value, …}` with everything that a list and single reads give.
 */

import * as fs from "node:fs";
import { createInterface } from "node:readline";
import { open } from "../mod.ts";
import { textOf } from "./real_harness.ts";

const [folder = ""] = process.argv.slice(2);
const db = await open({ dataDir: folder, diskReserveBytes: 0 });

function say(line: string): void {
  const bytes = Buffer.from(`${line}\n`);
  // A pipe takes a part when it is nearly full.
  for (let at = 0; at < bytes.length; ) at += fs.writeSync(1, bytes, at);
}

async function readAll(): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  let cursor: string | undefined;
  do {
    const { items, next } = await db.list({ limit: 100, values: true, cursor });
    for (const { key, value } of items) {
      const name = Buffer.from(key).toString();
      const text = Buffer.from(value ?? []).toString();
      if ((await db.get(name))?.text() !== text) throw new Error(`list and read differ: ${name}`);
      found[name] = text;
    }
    cursor = next;
  } while (cursor !== undefined);
  return found;
}

say("ready");
createInterface({ input: process.stdin }).on("line", async (line) => {
  const [number = "", kind, key = "", bytes] = line.split(" ");
  if (kind === "read") say(`${number} ${JSON.stringify(await readAll())}`);
  else if (kind === "delete") await db.delete(key);
  else await db.put(key, textOf(key, { number: Number(number), bytes: Number(bytes) }));
  if (kind !== "read") say(`${number} done`);
});
