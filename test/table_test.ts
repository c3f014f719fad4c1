/**
 * The table on LMDB: what every table does; then processes that are killed while they commit, a
 * file that may not grow, and a file that was damaged.
 *
 * A killed process's table must equal the table in memory after the same commits, up to some one:
 * not below the last that had resolved, and whole.
 */

import { type ChildProcess, spawn } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimRandom } from "../sim/random.ts";
import { QuorateError } from "../src/errors.ts";
import type { Table } from "../src/table.ts";
import { MemoryTableDisk } from "../src/table_memory.ts";
import { scriptCommand } from "./script_command.ts";
import {
  changesOf,
  type FillAnswer,
  numberIn,
  openIn,
  type ReadAnswer,
  shownEntries,
  tableName,
} from "./table_child.ts";
import { addTableTests, allOf, key, type TableHome } from "./table_suite.ts";

const test = suite("table");
const isLong = process.env["QUORATE_LONG"] === "1";
const killRounds = isLong ? 100 : 5;
const pageBytes = 4_096;

async function lmdbHome(): Promise<TableHome> {
  const folder = fs.mkdtempSync(join(tmpdir(), "table-"));
  return {
    open: () => openIn(folder),
    remove: async () => fs.rmSync(folder, { recursive: true }),
  };
}

async function withFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = fs.mkdtempSync(join(tmpdir(), "table-"));
  try {
    await use(folder);
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}

const childScript = fileURLToPath(new URL("table_child.ts", import.meta.url));

/** The child, and what it says; `prefix` is what a shell does before it. */
function startChild(args: readonly string[], prefix?: string): ChildProcess {
  const command = scriptCommand(childScript, args);
  const [file, ...rest] =
    prefix === undefined ? command : ["sh", "-c", `${prefix}; exec "$@"`, "sh", ...command];
  return spawn(file as string, rest, { stdio: ["ignore", "pipe", "pipe"] });
}

interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly lines: readonly string[];
  readonly stderr: string;
}

/** Waits for a child's end; `onLine` may end it. */
async function ended(child: ChildProcess, onLine?: (line: string) => void): Promise<Ended> {
  const lines: string[] = [];
  let stderr = "";
  child.stderr?.on("data", (chunk) => {
    stderr += String(chunk);
  });
  if (child.stdout !== null) {
    createInterface({ input: child.stdout }).on("line", (line) => {
      lines.push(line);
      onLine?.(line);
    });
  }
  const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((fulfil) => {
    child.on("close", (...how) => fulfil(how));
  });
  return { code, signal, lines, stderr };
}

addTableTests(test, "table", lmdbHome);

test("table: after kill -9 it is the model after some commit, at least the last that resolved", () =>
  withFolder(async (folder) => {
    const seed = Math.floor(Math.random() * 1_000);
    const random = new SimRandom(seed);
    const model = await new MemoryTableDisk().open();
    let committed = 0;
    for (let round = 1; round <= killRounds; round += 1) {
      const killAfter = 1 + random.below(60);
      const child = startChild(["commit", folder, String(seed)]);
      let heard = 0;
      const { signal, lines, stderr } = await ended(child, () => {
        heard += 1;
        // At once, or a little later in the middle of whatever it does then.
        if (heard === killAfter) setTimeout(() => child.kill("SIGKILL"), random.below(4));
      });
      assert.is(signal, "SIGKILL", `seed ${seed}: ${stderr}`);
      assert.is(Number(lines[0]), committed, `seed ${seed}: it found what the last round had left`);
      const resolved = Number(lines.at(-1));
      const table = await openIn(folder);
      const found = numberIn(table);
      assert.ok(found >= resolved, `seed ${seed}: ${resolved} had resolved, ${found} is there`);
      for (committed += 1; committed <= found; committed += 1) {
        await model.commit(changesOf(seed, committed));
      }
      committed = found;
      assertEqualTables(table, model, `seed ${seed}, round ${round}`);
      await table.close();
    }
    assert.ok(committed >= killRounds, "it did commit");
  }));

function assertEqualTables(table: Table, model: Table, what: string): void {
  const [found, expected] = [allOf(table), allOf(model)];
  assert.is(found.length, expected.length, what);
  for (const [index, entry] of expected.entries()) {
    const other = found[index];
    assert.ok(other !== undefined && Buffer.from(other.key).equals(entry.key), what);
    assert.ok(Buffer.from(other.value).equals(entry.value), what);
  }
}

// 401 blocks of 512 bytes are no whole pages: LMDB meets a short write, and says EIO.
const limited = "ulimit -f 401";
const needsLimits =
  process.platform === "win32" ? "there is no ulimit to make a write fail with" : undefined;

const onLimited = needsLimits === undefined ? test : test.skip;

onLimited("table: a short write on a disk that is not full ends all commits; reads go on", () =>
  withFolder(async (folder) => {
    const { code, lines, stderr } = await ended(startChild(["fill", folder, "1e9"], limited));
    assert.is(code, 0, stderr);
    const { resolved, codes, isWhole } = JSON.parse(lines[0] ?? "") as FillAnswer;
    assert.equal(codes, ["EIO", "EIO", "EIO", "EIO"]);
    assert.ok(resolved > 5 && isWhole, lines[0] ?? "");
    assert.not.match(stderr, /at .*write\.js/, "the package prints nothing of its own");
  }),
);

onLimited(
  "table: where the very first commit fails on a disk that is not full, the file is said to be damaged, or the disk",
  () =>
    withFolder(async (folder) => {
      await makeTable(folder);
      // Less than the file has: a list of free pages that is damaged leads to such a place too.
      const tiny = startChild(["fill", folder, "1e9"], "ulimit -f 8");
      const { code, lines, stderr } = await ended(tiny);
      assert.is(code, 0, stderr);
      const { resolved, codes } = JSON.parse(lines[0] ?? "") as FillAnswer;
      assert.equal(
        [resolved, ...codes],
        [0, "corruption", "corruption", "corruption", "corruption"],
      );
    }),
);

onLimited("table: a short write on a full disk is ENOSPC, and what removes goes on", () =>
  withFolder(async (folder) => {
    const { code, lines, stderr } = await ended(startChild(["fill", folder, "0"], limited));
    assert.is(code, 0, stderr);
    const { resolved, codes, isWhole } = JSON.parse(lines[0] ?? "") as FillAnswer;
    assert.equal(codes, ["ENOSPC", "ENOSPC", "ENOSPC", null]);
    assert.ok(resolved > 5 && isWhole, lines[0] ?? "");
    const table = await openIn(folder);
    assert.is(table.get(key("key 0")), undefined);
    assert.is(allOf(table).length, resolved - 1, "opened again, it has all the others");
    await table.close();
  }),
);

onLimited("table: where addresses are limited it takes a smaller map, and works", () =>
  withFolder(async (folder) => {
    await makeTable(folder);
    const child = startChild(["read", folder, tableName], "ulimit -v 67108864");
    const { code, signal, lines, stderr } = await ended(child);
    assert.is(code, 0, `${signal} ${stderr}`);
    assert.is((JSON.parse(lines[1] ?? "") as ReadAnswer).step, "read");
  }),
);

/** A closed table of some 40 pages, and its entries after the last commit and the one before. */
async function makeTable(
  folder: string,
  name: string = tableName,
): Promise<{ last: string[]; before: string[] }> {
  const table = await openIn(folder, name);
  let before: string[] = [];
  for (let number = 1; number <= 30; number += 1) {
    before = shownEntries(table);
    await table.commit(changesOf(7, number));
  }
  const last = shownEntries(table);
  await table.close();
  return { last, before };
}

test("table: a file that is not LMDB's is refused as corruption, and left as it is", () =>
  withFolder(async (folder) => {
    const path = join(folder, tableName);
    await makeTable(folder);
    const whole = fs.readFileSync(path);
    const first = (change: (head: Buffer) => void): Buffer => {
      const bytes = Buffer.from(whole);
      change(bytes);
      return bytes;
    };
    for (const bytes of [
      Buffer.from("text"),
      Buffer.alloc(20_000, 0x41),
      first((head) => head.fill(0x55, 0, 2 * pageBytes)),
      first((head) => head.fill(0, 0, pageBytes)),
      // Both pages as of another format, and with a page size that is none.
      first((head) => [0, 1].map((page) => head.writeUInt32LE(9, page * pageBytes + 28))),
      first((head) => [0, 1].map((page) => head.writeUInt32LE(5_000, page * pageBytes + 48))),
      first((head) => head.fill(0xff, pageBytes, 2 * pageBytes)),
      whole.subarray(0, 100),
      whole.subarray(0, pageBytes + 100),
      whole.subarray(0, 2 * pageBytes),
    ]) {
      fs.rmSync(`${path}-lock`, { force: true });
      fs.writeFileSync(path, bytes);
      try {
        await (await openIn(folder)).close();
        assert.unreachable("it opened");
      } catch (error) {
        assert.instance(error, QuorateError, String(error));
        assert.is((error as QuorateError).slug, "corruption", String(error));
        assert.match((error as QuorateError).detail, path);
      }
      assert.ok(fs.readFileSync(path).equals(bytes));
    }
  }));

test("table: a file to which nothing was committed when the power failed makes room for a new one", () =>
  withFolder(async (folder) => {
    const path = join(folder, tableName);
    await (await openIn(folder)).close();
    const fresh = fs.readFileSync(path);
    const secondOnly = Buffer.from(fresh).fill(0, 0, pageBytes);
    for (const bytes of [
      fresh,
      fresh.subarray(0, 0),
      fresh.subarray(0, pageBytes),
      fresh.subarray(0, pageBytes + 512),
      Buffer.from(fresh).fill(0, pageBytes),
      secondOnly,
      Buffer.concat([secondOnly, Buffer.alloc(pageBytes, 7)]),
      Buffer.alloc(100),
      Buffer.alloc(2 * pageBytes),
      Buffer.alloc(5 * pageBytes),
    ]) {
      fs.rmSync(`${path}-lock`);
      fs.writeFileSync(path, bytes);
      const table = await openIn(folder);
      assert.equal(allOf(table), []);
      await table.commit([{ key: key("a"), value: key("1") }]);
      await table.close();
      const again = await openIn(folder);
      assert.is(allOf(again).length, 1);
      await again.close();
    }
    assert.ok(fs.readFileSync(`${path}.void`).equals(Buffer.alloc(5 * pageBytes)), "it is kept");
  }));

test("table: its lock's file may hold anything: it is made anew by who opens it alone", () =>
  withFolder(async (folder) => {
    const { last } = await makeTable(folder);
    for (const bytes of [Buffer.alloc(8_192, 0x41), Buffer.alloc(8_192), Buffer.from("text")]) {
      fs.writeFileSync(join(folder, `${tableName}-lock`), bytes);
      const table = await openIn(folder);
      assert.equal(shownEntries(table), last);
      await table.close();
    }
  }));

test("table: with one meta page damaged it is as after the last commit or the one before", () =>
  withFolder(async (folder) => {
    const path = join(folder, tableName);
    const { last, before } = await makeTable(folder);
    const whole = fs.readFileSync(path);
    const found: string[] = [];
    const numbers = [0, 1].map((page) =>
      whole.readBigUInt64LE(page * pageBytes + transactionOffset),
    );
    assert.equal(numbers.sort(), [29n, 30n], "the pages of the last two commits");
    for (const page of [0, 1]) {
      const bytes = Buffer.from(whole);
      bytes.writeBigUInt64LE(0n, page * pageBytes + transactionOffset);
      fs.writeFileSync(path, bytes);
      const table = await openIn(folder);
      const entries = shownEntries(table).join();
      assert.ok(entries === last.join() || entries === before.join());
      found.push(entries === last.join() ? "last" : "before");
      await table.close();
    }
    assert.equal(found.sort(), ["before", "last"], "this is why two commits must cover a segment");
  }));

/** Where in a meta page the number of its transaction is, and of the highest page ever taken. */
const transactionOffset = 152;
const lastPageOffset = 144;

test("table: a file that was cut is refused with both sizes, wherever the cut is", () =>
  withFolder(async (folder) => {
    const path = join(folder, tableName);
    const table = await openIn(folder);
    // Long values last: what is cut first are their pages, which no tree page lies behind.
    for (let number = 0; number < 8; number += 1) {
      const value = new Uint8Array(number < 4 ? 1_000 : 40_000).fill(number);
      await table.commit([{ key: key(`key ${number}`), value }]);
    }
    await table.close();
    const whole = fs.readFileSync(path);
    assert.is(whole.length, (newestLastPage(whole) + 1) * pageBytes);
    const files: string[] = [];
    for (let pages = whole.length / pageBytes - 1; pages >= 2; pages -= 1) {
      const file = `cut-${pages}.mdb`;
      fs.writeFileSync(join(folder, file), whole.subarray(0, pages * pageBytes));
      files.push(file);
    }
    const { code, signal, lines } = await ended(startChild(["read", folder, ...files]));
    assert.is(code, 0, `${signal} after ${lines.at(-1)}`);
    const answers = lines.map((line) => JSON.parse(line) as ReadAnswer);
    const refusals = answers.filter(({ step }) => step === "refused").length;
    for (const answer of answers.filter(({ step }) => step === "read")) {
      assert.is(answer.entries?.length, 8, answer.file);
      assert.equal(answer.failures, [], answer.file);
    }
    assert.ok(refusals > 10);
    fs.writeFileSync(path, whole.subarray(0, whole.length - 12 * pageBytes));
    const error = await openIn(folder).then(undefined, (fault: unknown) => fault);
    assert.instance(error, QuorateError);
    const { slug, message } = error as QuorateError;
    assert.is(slug, "corruption");
    const bytes = whole.length - 12 * pageBytes;
    assert.ok(
      message.includes(path) && message.includes(`${bytes} of ${whole.length} bytes`),
      message,
    );
  }));

test("table: a file without pages at its end that no commit ever wrote is whole", () =>
  withFolder(async (folder) => {
    const path = join(folder, tableName);
    const table = await openIn(folder);
    const some = (size: number, step: number, from: number) =>
      Array.from({ length: 1_000 / step }, (_, index) => ({
        key: key(`key ${String(index * step + from).padStart(4, "0")}`),
        value: new Uint8Array(size),
      }));
    await table.commit(some(500, 1, 0));
    for (let from = 0; from < 20; from += 1) await table.commit(some(400, 20, from));
    // Room for the long value is taken at the end, and given back before anything is written there.
    await table.commit([
      { key: key("long"), value: new Uint8Array(400_000) },
      { key: key("long"), value: undefined },
    ]);
    await table.close();
    const bytes = fs.readFileSync(path);
    assert.ok(bytes.length < (newestLastPage(bytes) + 1) * pageBytes, "it is shorter than it says");
    const again = await openIn(folder);
    assert.is(allOf(again).length, 1_000);
    await again.close();
  }));

/** By the meta page of the last commit. */
function newestLastPage(bytes: Buffer): number {
  const [first, second] = [0, pageBytes].map((start) => ({
    transaction: bytes.readBigUInt64LE(start + transactionOffset),
    lastPage: Number(bytes.readBigUInt64LE(start + lastPageOffset)),
  }));
  assert.ok(first && second);
  const isSecond = (second?.transaction ?? 0n) > (first?.transaction ?? 0n);
  return (isSecond ? second?.lastPage : first?.lastPage) ?? 0;
}

test("table: damage anywhere ends in an answer, an error or the process's death, never a hang", () =>
  withFolder(async (folder) => {
    const { last } = await makeTable(folder, "whole.mdb");
    const files = writeDamaged(folder);
    const tally = { answers: 0, refusals: 0, failures: 0, deaths: 0, changed: 0 };
    let waiting = files;
    while (waiting.length > 0) {
      const { code, signal, lines } = await ended(startChild(["read", folder, ...waiting]));
      const answers = lines.map((line) => JSON.parse(line) as ReadAnswer);
      const opened = answers.filter((answer) => answer.step === "opening");
      for (const answer of answers) {
        if (answer.step === "refused") {
          assert.ok(answer.code !== undefined, `${answer.file}: the refusal has a code`);
          tally.refusals += 1;
        } else if (answer.step === "read") {
          tally.answers += 1;
          if ((answer.failures ?? []).length > 0) tally.failures += 1;
          else if (answer.entries?.join() !== last.join()) tally.changed += 1;
        }
      }
      waiting = waiting.slice(opened.length);
      if (code === 0) {
        assert.is(waiting.length, 0);
      } else {
        // LMDB's own assertion, or the memory that a damaged page points to.
        assert.match(String(signal), /^SIG(ABRT|SEGV|BUS|TRAP|FPE|ILL)$/, `exit ${code}`);
        assert.ok(opened.length > 0, "it died of a file");
        tally.deaths += 1;
      }
    }
    console.log(`${files.length} damaged files: ${JSON.stringify(tally)}`);
    assert.ok(tally.answers > 0);
  }));

/** Copies of the table, each with one page of its data zeroed, turned over or exchanged. */
function writeDamaged(folder: string): string[] {
  const whole = fs.readFileSync(join(folder, "whole.mdb"));
  const pageCount = Math.floor(whole.length / pageBytes);
  const files: string[] = [];
  for (let page = 2; page < pageCount; page += isLong ? 1 : 5) {
    const start = page * pageBytes;
    const other = (2 + ((page + 1) % (pageCount - 2))) * pageBytes;
    for (const kind of ["zeroed", "flipped", "exchanged"] as const) {
      const bytes = Buffer.from(whole);
      if (kind === "zeroed") bytes.fill(0, start, start + pageBytes);
      else if (kind === "flipped") {
        for (let at = start; at < start + pageBytes; at += 97) bytes[at] = ~(bytes[at] ?? 0);
      } else {
        whole.copy(bytes, start, other, other + pageBytes);
        whole.copy(bytes, other, start, start + pageBytes);
      }
      const file = `${kind}-${page}.mdb`;
      fs.writeFileSync(join(folder, file), bytes);
      files.push(file);
    }
  }
  return files;
}

test.run();
