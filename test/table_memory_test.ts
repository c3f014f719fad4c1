/**
 * The table in memory does what every table does, and its disk loses what a disk may lose: after a
 * crash it holds the flushed commits, and of the later ones the first so many.
 */

import * as fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { utf8Bytes } from "../src/bytes.ts";
import { systemErrorCode } from "../src/capability.ts";
import type { Table, TableChange } from "../src/table.ts";
import { MemoryTableDisk, type TableImage } from "../src/table_memory.ts";
import { addTableTests, allOf, key, rejects, type TableHome } from "./table_suite.ts";

const test = suite("table_memory");

async function memoryHome(): Promise<TableHome> {
  const disk = new MemoryTableDisk();
  return { open: () => disk.open(), remove: async () => {} };
}

function put(name: string, value: string): TableChange {
  return { key: key(name), value: utf8Bytes(value) };
}

/** The number in `n`, and whether every other key of its commit is there too. */
function numberIn(table: Table): number {
  const entries = allOf(table).map((entry) => Buffer.from(entry.value).toString());
  const numbers = new Set(entries);
  assert.ok(numbers.size <= 1, `parts of several commits: ${entries.join(", ")}`);
  return Number(entries[0] ?? 0);
}

/** Commits 1, 2, … `count`, each of which replaces two keys. */
async function commitNumbers(table: Table, from: number, to: number): Promise<void> {
  for (let number = from; number <= to; number += 1) {
    await table.commit([put("n", String(number)), put("m", String(number))]);
  }
}

addTableTests(test, "table_memory", memoryHome);

test("table_memory.crash() keeps what was flushed, and of the rest the first so many", async () => {
  for (const [keep, expected] of [
    ["flushed", 3],
    [0, 3],
    [1, 4],
    [2, 5],
    ["all", 5],
    [99, 5],
  ] as const) {
    const disk = new MemoryTableDisk();
    const table = await disk.open();
    await commitNumbers(table, 1, 3);
    await table.flushed();
    await commitNumbers(table, 4, 5);
    assert.is(numberIn(table), 5);
    disk.crash({ keep });
    const after = await disk.open();
    assert.is(numberIn(after), expected, `keep ${keep}`);
    disk.crash({ keep: "flushed" });
    assert.is(numberIn(await disk.open()), expected, "a second crash loses nothing more");
  }
});

test("table_memory.crash() in the middle of a commit leaves it whole or not at all", async () => {
  let release = (): void => {};
  const disk = new MemoryTableDisk({
    pause: () => new Promise((fulfil) => (release = fulfil)),
  });
  const table = await disk.open();
  const lost = table.commit([put("n", "1"), put("m", "1")]);
  assert.is(disk.image.possible.length, 1, "nothing is on the disk yet");
  release();
  await Promise.resolve();
  assert.is(disk.image.possible.length, 2, "it may be on the disk now");
  assert.equal(allOf(table), [], "and is not visible");
  const before = disk.image;
  disk.crash({ keep: "all" });
  assert.is(numberIn(await disk.open()), 1);
  release();
  await rejects(lost, /killed/);
  const other = new MemoryTableDisk({}, before);
  other.crash({ keep: "flushed" });
  assert.is(numberIn(await other.open()), 0);
});

test("table_memory: a killed process loses nothing, and what it left may still be lost", async () => {
  const disk = new MemoryTableDisk();
  const table = await disk.open();
  await commitNumbers(table, 1, 2);
  disk.kill();
  assert.throws(() => table.get(key("n")), /killed/);
  await rejects(table.commit([put("n", "9")]), /killed/);
  const next = await disk.open();
  assert.is(numberIn(next), 2);
  disk.crash({ keep: 1 });
  assert.is(numberIn(await disk.open()), 1);
});

test("table_memory.rollBack() undoes flushed commits, as a damaged meta page does", async () => {
  const disk = new MemoryTableDisk();
  const table = await disk.open();
  await commitNumbers(table, 1, 4);
  await table.flushed();
  disk.rollBack(1);
  assert.is(numberIn(await disk.open()), 3);
  disk.rollBack(2);
  const rolled = await disk.open();
  assert.is(numberIn(rolled), 1);
  await commitNumbers(rolled, 7, 7);
  assert.is(numberIn(rolled), 7);
});

test("table_memory: after ENOSPC the next commit may succeed", async () => {
  const disk = new MemoryTableDisk();
  const table = await disk.open();
  await commitNumbers(table, 1, 1);
  disk.failCommit(2, { code: "ENOSPC" });
  await commitNumbers(table, 2, 2);
  const error = await rejects(commitNumbers(table, 3, 3), /ENOSPC/);
  assert.is(systemErrorCode(error), "ENOSPC");
  assert.is(numberIn(table), 2);
  await commitNumbers(table, 4, 4);
  assert.is(numberIn(table), 4);
});

for (const [leaves, expected] of [
  ["nothing", 1],
  ["all", 2],
] as const) {
  test(`table_memory: after EIO no commit succeeds; opened again it has ${leaves} of the failed one`, async () => {
    const disk = new MemoryTableDisk();
    const table = await disk.open();
    await commitNumbers(table, 1, 1);
    disk.failCommit(1, { code: "EIO", leaves });
    const first = await rejects(commitNumbers(table, 2, 2), /EIO/);
    assert.is(await rejects(commitNumbers(table, 3, 3), /EIO/), first);
    await table.flushed();
    assert.is(numberIn(table), 1);
    await table.close();
    assert.is(numberIn(await disk.open()), expected);
  });
}

test("table_memory: what get gave is not valid after the next call", async () => {
  const disk = new MemoryTableDisk();
  const table = await disk.open();
  await table.commit([put("a", "1"), put("b", "2")]);
  const view = table.get(key("a")) as Uint8Array;
  assert.equal([...view], [...utf8Bytes("1")]);
  table.get(key("b"));
  assert.equal([...view], [0xdd]);
});

test("table_memory: an image is what the disk held then, whatever comes after", async () => {
  const images: TableImage[] = [];
  const disk = new MemoryTableDisk({ onChange: (image) => images.push(image) });
  const table = await disk.open();
  await commitNumbers(table, 1, 2);
  await table.flushed();
  await commitNumbers(table, 3, 3);
  assert.equal(
    images.map((image) => image.possible.length),
    [2, 3, 1, 2],
  );
  const found: number[][] = [];
  for (const image of images) {
    found.push([]);
    for (let keep = 0; keep < image.possible.length; keep += 1) {
      const copy = new MemoryTableDisk({}, image);
      copy.crash({ keep });
      const after = await copy.open();
      found.at(-1)?.push(numberIn(after));
      await commitNumbers(after, 100, 100);
    }
  }
  assert.equal(found, [[0, 1], [0, 1, 2], [2], [2, 3]]);
  assert.is(numberIn(table), 3);
});

test("table_memory: whatever is committed, flushed and crashed, what was flushed stays", async () => {
  const anyStep = fc.oneof(
    fc.constant("commit" as const),
    fc.constant("flush" as const),
    fc.record({ keep: fc.nat({ max: 4 }) }),
  );
  const runs = fc.asyncProperty(fc.array(anyStep, { maxLength: 30 }), async (steps) => {
    const disk = new MemoryTableDisk();
    let table = await disk.open();
    let flushed = 0;
    let committed = 0;
    for (const step of steps) {
      if (step === "commit") {
        committed += 1;
        await commitNumbers(table, committed, committed);
      } else if (step === "flush") {
        await table.flushed();
        flushed = committed;
      } else {
        disk.crash(step);
        table = await disk.open();
        flushed = Math.min(flushed + step.keep, committed);
        committed = flushed;
      }
      assert.is(numberIn(table), committed);
    }
  });
  await fc.assert(runs);
});

test.run();
