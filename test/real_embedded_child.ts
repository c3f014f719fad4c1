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
import { systemErrorCode } from "../src/capability.ts";
import { textOf } from "./real_harness.ts";

const [folder = ""] = process.argv.slice(2);
const db = await open({ dataDir: folder, diskReserveBytes: 0 });

/** On a machine that is busy with other tests, a default deadline would fail what is only slow. */
const timeoutMs = 60_000;
const pause = new Int32Array(new SharedArrayBuffer(4));

function say(line: string): void {
  const bytes = Buffer.from(`${line}\n`);
  // A pipe takes a part when it is nearly full, and none when it is full and does not wait itself.
  for (let at = 0; at < bytes.length; ) {
    try {
      at += fs.writeSync(1, bytes, at);
    } catch (error) {
      if (systemErrorCode(error) !== "EAGAIN") throw error;
      Atomics.wait(pause, 0, 0, 1);
    }
  }
}

async function readAll(): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  let cursor: string | undefined;
  do {
    const { items, next } = await db.list({ limit: 100, values: true, cursor, timeoutMs });
    for (const { key, value } of items) {
      const name = Buffer.from(key).toString();
      const text = Buffer.from(value ?? []).toString();
      if ((await db.get(name, { timeoutMs }))?.text() !== text)
        throw new Error(`list and read differ: ${name}`);
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
  else if (kind === "delete") await db.delete(key, { timeoutMs });
  else
    await db.put(key, textOf(key, { number: Number(number), bytes: Number(bytes) }), { timeoutMs });
  if (kind !== "read") say(`${number} done`);
});
