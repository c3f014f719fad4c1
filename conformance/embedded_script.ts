/**
 * Embedded script: the database inside an application's own process, on Node, Bun and Deno alike.
 *
 * Usage: embedded_script.ts FOLDER MODULE write|read|die. `write` fills the folder and checks it,
 * `read` opens what another process (perhaps of another runtime) has written, `die` writes and ends
 * without closing. Prints a line for each check ("ok name", "not ok name: why") and "done N".
 *
 * @module
 */

import assert from "node:assert/strict";
import process from "node:process";
import { pathToFileURL } from "node:url";

const [dataDir = "", module = "", mode = ""] = process.argv.slice(2);
const { open, QuorateError } = (await import(
  pathToFileURL(module).href
)) as typeof import("../mod.ts");

const everyByte = Uint8Array.from({ length: 256 }, (_, byte) => byte);
const many = 500;
const large = new Uint8Array(1024 * 1024).fill(0xfe);
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

type Database = Awaited<ReturnType<typeof open>>;
type Checks = readonly (readonly [name: string, run: (db: Database) => Promise<void>])[];

async function fails(slug: string, run: () => Promise<unknown>): Promise<void> {
  try {
    await run();
  } catch (error) {
    assert.ok(error instanceof QuorateError, String(error));
    assert.equal(error.slug, slug);
    return;
  }
  assert.fail(`it did not fail with ${slug}`);
}

const write: Checks = [
  [
    "put, get and delete",
    async (db) => {
      const written = await db.put("users/1", '{"name":"Ada"}', {
        contentType: "application/json",
      });
      assert.equal(written.durability, "fsync");
      const record = await db.get("users/1");
      assert.equal(record?.text(), '{"name":"Ada"}');
      assert.equal(record?.contentType, "application/json");
      await db.put("users/2", "gone");
      await db.delete("users/2");
      assert.equal(await db.get("users/2"), undefined);
    },
  ],
  [
    "binary keys and values, up to 1 MiB",
    async (db) => {
      await db.put(everyByte, everyByte);
      assert.deepEqual(new Uint8Array((await db.get(everyByte))?.value ?? []), everyByte);
      await db.put("large", large);
      assert.equal((await db.get("large"))?.value.length, large.length);
      await db.put("empty", "");
      assert.equal((await db.get("empty"))?.value.length, 0);
    },
  ],
  [
    "many at once",
    async (db) => {
      const names = Array.from({ length: many }, (_, n) => `many/${String(n).padStart(4, "0")}`);
      await Promise.all(names.map((name) => db.put(name, `value of ${name}`)));
      const read = await Promise.all(names.map((name) => db.get(name)));
      assert.deepEqual(
        read.map((record) => record?.text()),
        names.map((name) => `value of ${name}`),
      );
    },
  ],
  [
    "errors",
    async (db) => {
      await fails("invalid-key", () => db.put("", "x"));
      await fails("key-too-long", () => db.put("x".repeat(1025), "x"));
      await fails("value-too-large", () => db.put("big", new Uint8Array(1024 * 1024 + 1)));
      await fails("data-folder-in-use", () => open({ dataDir }));
    },
  ],
];

const read: Checks = [
  [
    "everything is there again",
    async (db) => {
      assert.equal((await db.get("users/1"))?.text(), '{"name":"Ada"}');
      assert.equal(await db.get("users/2"), undefined);
      assert.deepEqual(new Uint8Array((await db.get(everyByte))?.value ?? []), everyByte);
      assert.deepEqual(new Uint8Array((await db.get("large"))?.value ?? []), large);
      assert.equal((await db.get("empty"))?.value.length, 0);
    },
  ],
  [
    "lists in pages, in order",
    async (db) => {
      const seen: string[] = [];
      let cursor: string | undefined;
      for (let pages = 0; pages < many; pages += 1) {
        const choices = { prefix: "many/", limit: 100, values: true };
        const page = await db.list(cursor === undefined ? choices : { ...choices, cursor });
        for (const { key, value } of page.items) {
          seen.push(text(key));
          assert.equal(text(value ?? new Uint8Array()), `value of ${text(key)}`);
        }
        cursor = page.next;
        if (cursor === undefined) break;
      }
      assert.equal(seen.length, many);
      assert.deepEqual(seen, [...seen].sort());
    },
  ],
];

const died: Checks = [
  ["a put before a death without close", async (db) => void (await db.put("died", "1"))],
];
const reopened: Checks = [
  [
    "what was acknowledged before the death is there",
    async (db) => assert.equal((await db.get("died"))?.text(), "1"),
  ],
];

const modes: Readonly<Record<string, Checks>> = { write, read, die: died, reopen: reopened };
const checks = modes[mode] ?? [];
let count = 0;

async function see(name: string, run: () => Promise<void>): Promise<void> {
  count += 1;
  try {
    await run();
    console.log(`ok ${name}`);
  } catch (error) {
    console.log(
      `not ok ${name}: ${String((error as Error).stack)
        .replace(/\s+/g, " ")
        .slice(0, 600)}`,
    );
  }
}

const opened: Database[] = [];
await see("open", async () => void opened.push(await open({ dataDir })));
const [db] = opened;
if (db !== undefined) {
  for (const [name, run] of checks) await see(name, () => run(db));
  if (mode !== "die") {
    await see("close, twice", async () => {
      await db.close();
      await db.close();
    });
  }
}
console.log(`done ${count}`);
// A process that has closed its database ends by itself; one that dies does not wait.
if (mode === "die") process.kill(process.pid, "SIGKILL");
