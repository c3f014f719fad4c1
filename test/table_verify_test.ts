/**
 * The table read in another process, and the starts that ask for it: a page at which LMDB ends the
 * process is met by two starts, and the third one refuses.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { keyBytesMax } from "../src/api.ts";
import { silentReport } from "../src/capability.ts";
import { QuorateError } from "../src/errors.ts";
import type { Hlc } from "../src/hlc.ts";
import { encodeRecord, recordBytes } from "../src/record.ts";
import { openDisk } from "../src/runtime.ts";
import { tableKey } from "../src/store_entry.ts";
import { ownNamespaces } from "../src/store_own.ts";
import { openTable } from "../src/table.ts";
import { loaderOptions, verifyTable } from "../src/table_verify.ts";
import { withFolder } from "./cli_harness.ts";
import { type Ended, Running, startCli } from "./cli_process.ts";
import { keyCount, tableName } from "./real_damage_child.ts";
import { Client } from "./real_harness.ts";
import { scriptCommand } from "./script_command.ts";

const test = suite("table_verify");
const pageBytes = 4096;
/** Where in a meta page the number of its transaction and the root of its data are. */
const transactionAt = 152;
const rootAt = 136;
/** Where in a page the size of its list of keys is, and what that is with a single key. */
const usedBytesAt = 20;
const oneKeyBytes = 2;

/** A node's folder that was closed in order. */
async function makeFolder(folder: string): Promise<void> {
  const script = fileURLToPath(new URL("real_damage_child.ts", import.meta.url));
  const [file, ...words] = scriptCommand(script, ["fill", "closed", folder]);
  const running = new Running(file, words);
  assert.is((await running.ended).code, 0, running.err);
}

/** Leaves one way to go at the page from which every look-up begins: LMDB ends the process there. */
function damageRoot(folder: string): void {
  const file = path.join(folder, tableName);
  const bytes = fs.readFileSync(file);
  const [first, second] = [0, 1].map((page) => ({
    transaction: bytes.readBigUInt64LE(page * pageBytes + transactionAt),
    root: Number(bytes.readBigUInt64LE(page * pageBytes + rootAt)),
  }));
  assert.ok(first !== undefined && second !== undefined);
  const { root } = first.transaction > second.transaction ? first : second;
  bytes.writeUInt16LE(oneKeyBytes, root * pageBytes + usedBytesAt);
  fs.writeFileSync(file, bytes);
}

function verify(folder: string): Promise<boolean> {
  return verifyTable({ folder, name: tableName, report: silentReport });
}

async function refusal(folder: string): Promise<QuorateError> {
  try {
    await verify(folder);
  } catch (error) {
    assert.instance(error, QuorateError, String(error));
    assert.is((error as QuorateError).slug, "corruption");
    return error as QuorateError;
  }
  return assert.unreachable("it was not refused") as never;
}

test("verifyTable() reads a whole table to its end, and finds nothing in a folder without one", () =>
  withFolder(async (folder) => {
    assert.is(await verify(folder), true);
    await makeFolder(folder);
    assert.is(await verify(folder), true);
    assert.is(await verify(folder), true, "it left the table as it was");
  }));

test("verifyTable() tells damaged records, and refuses nothing for them", () =>
  withFolder(async (folder) => {
    await makeFolder(folder);
    const disk = await openDisk(folder);
    const file = path.join(folder, tableName);
    const table = await openTable({ path: file, disk, name: tableName });
    const key = tableKey(3, 1, Buffer.from("a key"));
    await table.commit([{ key, value: Buffer.from("no record") }]);
    await table.close();
    const said: unknown[] = [];
    const log = (_: string, message: string, fields?: unknown): void => {
      said.push([message, fields]);
    };
    const report = { ...silentReport, log };
    assert.is(await verifyTable({ folder, name: tableName, report }), false);
    // The description, a summary for each of the 16 partitions, and the one too many.
    const counts = { records: keyCount + 1 + 16 + 1, damaged: 1 };
    assert.equal(said, [["Some records of the table are damaged; the others are served.", counts]]);
  }));

test("verifyTable() takes a hint for a key of the greatest length for what it is", () =>
  withFolder(async (folder) => {
    await makeFolder(folder);
    const disk = await openDisk(folder);
    const file = path.join(folder, tableName);
    const table = await openTable({ path: file, disk, name: tableName });
    const namespaceNumber = ownNamespaces.hints;
    const key = new Uint8Array(keyBytesMax + 23).fill(7);
    const record = {
      version: { hlc: 1n as Hlc, origin: 1n },
      ...{ tombstone: false, contentType: "text/plain", meta: [], value: new Uint8Array(3) },
    };
    const value = new Uint8Array(recordBytes(record));
    encodeRecord(record, { namespaceNumber, key }, value, 0);
    await table.commit([{ key: tableKey(3, namespaceNumber, key), value }]);
    await table.close();
    assert.is(await verify(folder), true);
  }));

test("verifyTable() refuses a table at which LMDB ends the process, and one that is none", () =>
  withFolder(async (folder) => {
    await makeFolder(folder);
    damageRoot(folder);
    const fatal = await refusal(folder);
    assert.match(fatal.detail, path.join(folder, tableName));
    assert.match(fatal.detail, /reading it ends the program: SIG[A-Z]+/);
    assert.match(fatal.hint ?? "", "--accept-data-loss");
    fs.writeFileSync(path.join(folder, tableName), Buffer.alloc(3 * pageBytes, 7));
    assert.match((await refusal(folder)).detail, "is not that of a table");
  }));

test("verifyTable() hands on what makes Node read TypeScript, and nothing else", () => {
  for (const [given, kept] of [
    ["--import tsx", "--import tsx"],
    ["--inspect --import=tsx -e code", "--import=tsx"],
    ["--require a.cjs --import b.mjs --eval code", "--require a.cjs --import b.mjs"],
    ["--experimental-strip-types --test", "--experimental-strip-types"],
    ["--max-old-space-size=100", ""],
  ] as const) {
    assert.is(loaderOptions(given.split(" ")).join(" "), kept);
  }
});

const words = ["serve", "--port", "0", "--scrub-rate", "0", "--data-dir"];

async function diesOf(running: Running): Promise<Ended> {
  const ended = await running.ended;
  assert.match(String(ended.signal), /^SIG(ABRT|SEGV|BUS|TRAP|FPE|ILL)$/, running.err);
  return ended;
}

test("D6: a table that ends the process does so twice; then the start is refused, and says what to do", () =>
  withFolder(async (folder) => {
    await makeFolder(folder);
    damageRoot(folder);
    await diesOf(startCli([...words, folder]));
    await diesOf(startCli([...words, folder]));
    for (let start = 3; start <= 4; start += 1) {
      const refused = startCli([...words, folder]);
      assert.is((await refused.ended).code, 1, refused.err);
      assert.is(refused.out, "");
      assert.match(refused.err, "(corruption)");
      assert.match(refused.err, path.join(folder, tableName));
      assert.match(refused.err, /^hint: .*Restore a copy .* --accept-data-loss/m);
      assert.not.ok(fs.existsSync(path.join(folder, "LOCK")), "the folder is free");
    }
    // As the hint says.
    fs.renameSync(path.join(folder, tableName), path.join(folder, "table.away"));
    const next = startCli([...words, folder, "--accept-data-loss"]);
    try {
      const client = new Client(await next.listening());
      assert.is((await client.ask("PUT", "/v1/kv/default/new", "value")).status, 204);
      assert.is((await client.ask("GET", "/v1/kv/default/new")).body, "value");
      assert.is((await client.ask("GET", "/v1/keys/default")).status, 200);
      client.close();
    } finally {
      await next.end("SIGKILL");
    }
  }));

test("D6: after kills the third start verifies a table in order, and serves", () =>
  withFolder(async (folder) => {
    for (let start = 1; start <= 4; start += 1) {
      const running = startCli([...words, folder]);
      try {
        const client = new Client(await running.listening());
        if (start > 1) assert.is((await client.ask("GET", "/v1/kv/default/a")).body, "kept");
        else assert.is((await client.ask("PUT", "/v1/kv/default/a", "kept")).status, 204);
        client.close();
        // The count begins anew after it.
        assert.is(running.err.includes("the table is verified first"), start === 3, running.err);
      } finally {
        await running.end("SIGKILL");
      }
    }
  }));

test.run();
