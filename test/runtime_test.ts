/** The machine's own clock, chance and disk. What every disk does is in the shared suite. */

import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  addressSpaceBytesMax,
  descriptorsMax,
  openDisk,
  realClock,
  realRandom,
  runtimeName,
} from "../src/runtime.ts";
import { addDiskTests, pattern, readFile, rejectsWith, writeFile } from "./disk_suite.ts";

const test = suite("runtime");

async function withFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = fs.mkdtempSync(join(tmpdir(), "runtime-"));
  try {
    await use(folder);
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}

addDiskTests(test, "RealDisk", async () => {
  const folder = fs.mkdtempSync(join(tmpdir(), "runtime-"));
  return {
    disk: await openDisk(folder),
    remove: async () => fs.rmSync(folder, { recursive: true }),
  };
});

test("openDisk() makes the folder and its parents, and opens one that is there", () =>
  withFolder(async (folder) => {
    const path = join(folder, "a", "b", "data");
    const disk = await openDisk(path);
    await writeFile(disk, "file", pattern(10));
    const again = await openDisk(path);
    assert.equal(await again.list(""), ["file"]);
    assert.ok(Buffer.from(await readFile(again, "file")).equals(pattern(10)));
  }));

test("openDisk() rejects where the system makes no folder although its parent is there", async () => {
  // It answers ENOENT, as for a missing parent: making that one again and again would never end.
  if (process.platform === "linux") await rejectsWith("ENOENT", openDisk("/proc/quorate/data"));
});

test("writeSynced() writes on a descriptor of its own that syncs, also after a rename", () =>
  withFolder(async (folder) => {
    if (process.platform !== "linux") return;
    const disk = await openDisk(folder);
    const file = await disk.open("spare", "create");
    await disk.rename("spare", "named");
    await file.writeSynced(pattern(10), 0);
    const flags = fs
      .readdirSync("/proc/self/fd")
      .filter((fd) => linkOf(`/proc/self/fd/${fd}`) === join(fs.realpathSync(folder), "named"))
      .map((fd) => /^flags:\s+([0-7]+)$/m.exec(fs.readFileSync(`/proc/self/fdinfo/${fd}`, "utf8")))
      .map((match) => Number.parseInt(match?.[1] ?? "0", 8) & fs.constants.O_DSYNC);
    assert.equal(flags.sort(), [0, fs.constants.O_DSYNC]);
    await file.close();
    assert.ok(Buffer.from(await readFile(disk, "named")).equals(pattern(10)));
  }));

test("openDisk() rejects with the system's code where a file stands in the way", () =>
  withFolder(async (folder) => {
    fs.writeFileSync(join(folder, "file"), "");
    await rejectsWith("EEXIST", openDisk(join(folder, "file")));
    await rejectsWith("ENOTDIR", openDisk(join(folder, "file", "data")));
  }));

test("RealDisk reads and writes many megabytes in one call, and many files at a time", () =>
  withFolder(async (folder) => {
    const disk = await openDisk(folder);
    const bytes = new Uint8Array(16 * 1024 * 1024).map((_, at) => (at * 7) % 251);
    await writeFile(disk, "large", bytes);
    assert.ok(Buffer.from(await readFile(disk, "large")).equals(bytes));
    const names = Array.from({ length: 50 }, (_, at) => `f${at}`);
    await Promise.all(names.map((name, at) => writeFile(disk, name, pattern(1_000, at))));
    for (const [at, name] of names.entries()) {
      assert.ok(Buffer.from(await readFile(disk, name)).equals(pattern(1_000, at)));
    }
  }));

test("RealDisk leaves no descriptor open, whatever happened to the files", () =>
  withFolder(async (folder) => {
    const disk = await openDisk(folder);
    const openCount = (): number =>
      fs.existsSync("/proc/self/fd")
        ? fs
            .readdirSync("/proc/self/fd")
            .filter((fd) => linkOf(`/proc/self/fd/${fd}`).startsWith(folder)).length
        : 0;
    await writeFile(disk, "a", pattern(10));
    await rejectsWith("EEXIST", disk.open("a", "create"));
    await disk.makeFolder("wal");
    await disk.syncFolder("wal");
    await rejectsWith("ENOENT", disk.syncFolder("other"));
    const release = await disk.lock();
    await release();
    assert.is(openCount(), 0);
  }));

function linkOf(path: string): string {
  try {
    return fs.readlinkSync(path);
  } catch {
    return "";
  }
}

test("RealDisk.space() says what a user of the file system may use", () =>
  withFolder(async (folder) => {
    const disk = await openDisk(folder);
    const { freeBytes, totalBytes } = await disk.space();
    const stats = fs.statfsSync(folder);
    assert.is(totalBytes, stats.blocks * stats.bsize);
    assert.ok(freeBytes <= stats.bfree * stats.bsize + 64 * 1024 * 1024);
  }));

test("realClock: the wall clock is in whole milliseconds, the monotonic one never goes back", () => {
  assert.ok(Number.isSafeInteger(realClock.nowMs()));
  assert.ok(realClock.nowMs() > 1_700_000_000_000);
  let before = realClock.monotonicMs();
  for (let round = 0; round < 10_000; round += 1) {
    const now = realClock.monotonicMs();
    assert.ok(now >= before);
    before = now;
  }
});

test("realClock.after() never fires early, nor after it was cancelled", async () => {
  const early: number[] = [];
  let cancelled = 0;
  await Promise.all(
    [0, 0.2, 1, 1.5, 3.7, 10].map(
      (delayMs) =>
        new Promise<void>((fulfil) => {
          const beganMs = realClock.monotonicMs();
          realClock.after(delayMs, () => {
            early.push(Math.min(0, realClock.monotonicMs() - beganMs - delayMs));
            fulfil();
          });
          realClock.after(delayMs, () => {
            cancelled += 1;
          })();
          // The timers keep no process alive; this test has nothing else that would.
          const keep = setInterval(() => {}, 1_000);
          realClock.after(delayMs + 1, () => clearInterval(keep));
        }),
    ),
  );
  assert.equal(early, [0, 0, 0, 0, 0, 0]);
  assert.is(cancelled, 0);
});

test("realClock.after() takes delays beyond what a timer holds, and does not run them at once", async () => {
  let ran = 0;
  const cancel = realClock.after(2 ** 31 + 5, () => {
    ran += 1;
  });
  for (let turn = 0; turn < 10; turn += 1) await new Promise<void>((next) => setTimeout(next, 0));
  assert.is(ran, 0);
  cancel();
});

test("realClock.soon() runs after what is ready in this turn", async () => {
  const ran: string[] = [];
  await new Promise<void>((fulfil) => {
    realClock.soon(() => {
      ran.push("soon");
      fulfil();
    });
    void Promise.resolve().then(() => ran.push("promise"));
    ran.push("now");
  });
  assert.equal(ran, ["now", "promise", "soon"]);
});

test("realRandom gives bytes and numbers of any count, spread evenly, never the same twice", () => {
  for (const length of [0, 1, 16, 65_536, 200_000]) {
    assert.is(realRandom.bytes(length).length, length);
  }
  const bytes = realRandom.bytes(200_000);
  assert.is(new Set(bytes.subarray(150_000)).size, 256, "the last part too");
  const numbers = Array.from({ length: 2_000 }, () => realRandom.u32());
  assert.ok(numbers.every((number) => Number.isInteger(number) && number >= 0 && number < 2 ** 32));
  assert.ok(new Set(numbers).size > 1_990);
  assert.ok(numbers.some((number) => number >= 2 ** 31));
});

test("runtimeName() names this runtime and its version", () => {
  assert.match(runtimeName(), /^(node|bun|deno) \d+\.\d+/);
});

test("descriptorsMax() is undefined or a number of files that this process may open", async () => {
  const count = await descriptorsMax();
  assert.is(count !== undefined, process.platform === "linux");
  assert.ok(count === undefined || count > 10);
});

test("addressSpaceBytesMax() is undefined or a number of bytes in which this process fits", async () => {
  const bytes = await addressSpaceBytesMax();
  assert.ok(bytes === undefined || bytes > process.memoryUsage().rss);
});

test.run();
