/**
 * What every Disk does: the same tests for the machine's own and for the simulated one.
 *
 * Nothing here loses power: what a crash may leave is tested where it can be brought about.
 */

import type { Test } from "uvu";
import * as assert from "uvu/assert";
import { type Disk, systemErrorCode } from "../src/capability.ts";
import { QuorateError } from "../src/errors.ts";

export interface DiskHome {
  readonly disk: Disk;
  /** Removes everything. */
  remove(): Promise<void>;
}

/** Adds the tests to a suite of uvu; `name` is how the disk is called in their names. */
export function addDiskTests(test: Test, name: string, makeHome: () => Promise<DiskHome>): void {
  const on = (claim: string, use: (disk: Disk) => Promise<void>): void => {
    test(`${name} ${claim}`, async () => {
      const home = await makeHome();
      try {
        await use(home.disk);
      } finally {
        await home.remove();
      }
    });
  };
  addFileTests(on);
  addNameTests(on);
  addFolderTests(on);
}

type On = (claim: string, use: (disk: Disk) => Promise<void>) => void;

/** Makes a file with these bytes. */
export async function writeFile(disk: Disk, path: string, bytes: Uint8Array): Promise<void> {
  const file = await disk.open(path, "create");
  await file.write(bytes, 0);
  await file.sync();
  await file.close();
}

export async function readFile(disk: Disk, path: string): Promise<Uint8Array> {
  const file = await disk.open(path, "read");
  const bytes = new Uint8Array(await file.size());
  assert.is(await file.read(bytes, 0), bytes.length);
  await file.close();
  return bytes;
}

/** `count` bytes of which each differs from its neighbours. */
export function pattern(count: number, start = 0): Uint8Array {
  return Uint8Array.from({ length: count }, (_, at) => ((start + at) * 31) % 253);
}

export async function rejectsWith(code: string, promise: Promise<unknown>): Promise<Error> {
  try {
    await promise;
  } catch (error) {
    assert.is(systemErrorCode(error), code, String(error));
    return error as Error;
  }
  return assert.unreachable(`it should be rejected with ${code}`) as never;
}

function addFileTests(on: On): void {
  on("gives back what was written, at any position", async (disk) => {
    const file = await disk.open("a", "create");
    const expected = new Uint8Array(20_000);
    for (const [position, length] of [
      [0, 10],
      [4_090, 12],
      [8_192, 4_096],
      [19_999, 1],
      [4_095, 5_000],
      [3, 2],
    ] as const) {
      const bytes = pattern(length, position + 7);
      await file.write(bytes, position);
      expected.set(bytes, position);
    }
    const whole = new Uint8Array(20_000);
    assert.is(await file.read(whole, 0), 20_000);
    assert.ok(Buffer.from(whole).equals(expected));
    const part = new Uint8Array(5_000);
    assert.is(await file.read(part, 4_000), 5_000);
    assert.ok(Buffer.from(part).equals(expected.subarray(4_000, 9_000)));
    await file.close();
    assert.ok(Buffer.from(await readFile(disk, "a")).equals(expected));
  });
  on("grows a file as needed: a gap is zeros", async (disk) => {
    const file = await disk.open("a", "create");
    assert.is(await file.size(), 0);
    await file.write(Uint8Array.of(1), 10_000);
    assert.is(await file.size(), 10_001);
    const gap = new Uint8Array(10_000).fill(9);
    assert.is(await file.read(gap, 0), 10_000);
    assert.ok(gap.every((byte) => byte === 0));
    await file.write(Uint8Array.of(2), 5);
    assert.is(await file.size(), 10_001);
    await file.write(new Uint8Array(0), 20_000);
    assert.is(await file.size(), 10_001, "an empty write grows nothing");
    await file.close();
  });
  on("reads fewer bytes only at the end of a file", async (disk) => {
    await writeFile(disk, "a", pattern(5_000));
    const file = await disk.open("a", "read");
    const target = new Uint8Array(100).fill(0xee);
    assert.is(await file.read(target, 4_950), 50);
    assert.ok(
      target.subarray(50).every((byte) => byte === 0xee),
      "the rest is left as it was",
    );
    assert.is(await file.read(target, 5_000), 0);
    assert.is(await file.read(target, 9_999), 0);
    assert.is(await file.read(new Uint8Array(0), 0), 0);
    await file.close();
  });
  on(
    "writes the bytes as they were when write was called, and a part of a buffer",
    async (disk) => {
      const file = await disk.open("a", "create");
      const buffer = pattern(10_000);
      await file.write(buffer.subarray(3_000, 9_000), 0);
      buffer.fill(0);
      await file.sync();
      await file.close();
      assert.ok(
        Buffer.from(await readFile(disk, "a")).equals(pattern(10_000).subarray(3_000, 9_000)),
      );
    },
  );
  on("refuses writes to a file open for reading, and every call on a closed one", async (disk) => {
    await writeFile(disk, "a", pattern(10));
    const file = await disk.open("a", "read");
    await rejectsWith("EBADF", file.write(Uint8Array.of(1), 0));
    await file.close();
    await rejectsWith("EBADF", file.read(new Uint8Array(1), 0));
    await rejectsWith("EBADF", file.write(Uint8Array.of(1), 0));
    await rejectsWith("EBADF", file.sync());
    await rejectsWith("EBADF", file.size());
    await rejectsWith("EBADF", file.close());
  });
}

function addNameTests(on: On): void {
  on(
    "opens for reading and writing only what is there, and creates only what is not",
    async (disk) => {
      await rejectsWith("ENOENT", disk.open("a", "read"));
      await rejectsWith("ENOENT", disk.open("a", "write"));
      await writeFile(disk, "a", pattern(10));
      await rejectsWith("EEXIST", disk.open("a", "create"));
      const file = await disk.open("a", "write");
      await file.write(Uint8Array.of(1), 0);
      await file.close();
      assert.is((await readFile(disk, "a")).length, 10, "opening for writing keeps what is there");
      await rejectsWith("ENOENT", disk.open("missing/a", "create"));
    },
  );
  on("renames a file over another one, which an open file does not notice", async (disk) => {
    await writeFile(disk, "a", pattern(10));
    await writeFile(disk, "b", pattern(20));
    const old = await disk.open("b", "read");
    const moved = await disk.open("a", "write");
    await disk.rename("a", "b");
    assert.equal(await disk.list(""), ["b"]);
    assert.is((await readFile(disk, "b")).length, 10);
    assert.is(await old.size(), 20);
    await moved.write(Uint8Array.of(77), 0);
    assert.is((await readFile(disk, "b"))[0], 77);
    await old.close();
    await moved.close();
    await rejectsWith("ENOENT", disk.rename("a", "c"));
    await rejectsWith("ENOENT", disk.rename("b", "missing/c"));
    assert.equal(await disk.list(""), ["b"]);
  });
  on("removes a file, which one who has it open does not notice", async (disk) => {
    await writeFile(disk, "a", pattern(10));
    const file = await disk.open("a", "read");
    await disk.remove("a");
    assert.equal(await disk.list(""), []);
    assert.is(await file.read(new Uint8Array(10), 0), 10);
    await file.close();
    await rejectsWith("ENOENT", disk.remove("a"));
    await writeFile(disk, "a", pattern(3));
    assert.is((await readFile(disk, "a")).length, 3);
  });
  on("keeps a path inside the data folder", async (disk) => {
    for (const path of ["/etc/passwd", "../a", "wal/../../a"]) {
      try {
        await disk.open(path, "read");
        assert.unreachable(`it opened ${path}`);
      } catch (error) {
        assert.match(String(error), /inside the data folder/);
      }
    }
  });
}

function addFolderTests(on: On): void {
  on("lists the names of a folder, sorted, and nothing of one that is not there", async (disk) => {
    assert.equal(await disk.list("wal"), []);
    await disk.makeFolder("wal/deep");
    for (const name of ["wal/b", "wal/a", "c"]) await writeFile(disk, name, pattern(1));
    assert.equal(await disk.list(""), ["c", "wal"]);
    assert.equal(await disk.list("wal"), ["a", "b", "deep"]);
    assert.equal(await disk.list("wal/deep"), []);
    assert.equal(await disk.list("other"), []);
  });
  on("makes a folder with its parents, and again without harm", async (disk) => {
    await disk.makeFolder("a/b/c");
    await disk.makeFolder("a/b/c");
    await disk.makeFolder("a/b");
    await writeFile(disk, "a/b/c/file", pattern(1));
    assert.equal(await disk.list("a/b/c"), ["file"]);
    await rejectsWith("EEXIST", disk.makeFolder("a/b/c/file"));
  });
  on("syncs the folder itself and those below it, and none that is not there", async (disk) => {
    await disk.syncFolder("");
    await disk.makeFolder("wal");
    await disk.syncFolder("wal");
    await rejectsWith("ENOENT", disk.syncFolder("other"));
  });
  on("moves a file from one folder to another", async (disk) => {
    await disk.makeFolder("wal");
    await disk.makeFolder("aside");
    await writeFile(disk, "wal/a", pattern(4));
    await disk.rename("wal/a", "aside/b");
    assert.equal(await disk.list("wal"), []);
    assert.is((await readFile(disk, "aside/b")).length, 4);
  });
  on("says how much space is left", async (disk) => {
    const { freeBytes, totalBytes } = await disk.space();
    assert.ok(freeBytes > 0 && freeBytes <= totalBytes, `${freeBytes} of ${totalBytes}`);
  });
  on("is taken by one at a time", async (disk) => {
    const release = await disk.lock();
    try {
      const second = await disk.lock();
      await second();
      assert.unreachable("it was taken twice");
    } catch (error) {
      assert.instance(error, QuorateError);
      assert.is((error as QuorateError).slug, "data-folder-in-use");
    }
    await release();
    await release();
    const again = await disk.lock();
    await again();
  });
}
