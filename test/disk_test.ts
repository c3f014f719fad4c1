/**
 * The simulated disk does what every disk does, and loses what a disk may lose.
 *
 * The crash states are checked in two ways: by hand for small histories, where every state can be
 * named, and against a second, independent statement of what may survive (each byte of a file is one
 * that was written there since it was last durable, or the durable one) for histories by chance.
 */

import * as fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimDisk } from "../sim/disk.ts";
import { SimRandom } from "../sim/random.ts";
import { addDiskTests, pattern, readFile, rejectsWith, writeFile } from "./disk_suite.ts";

const test = suite("disk");

addDiskTests(test, "SimDisk", async () => ({ disk: new SimDisk(), remove: async () => {} }));

/** The names and texts of all files, as one line. */
function shown(disk: SimDisk): string {
  return disk
    .files()
    .map((path) => `${path}=${Buffer.from(disk.bytesOf(path)).toString("latin1")}`)
    .join(" ");
}

/** What the states at the last moment hold, each once, sorted. */
function lastStates(disk: SimDisk): string[] {
  const states = [...disk.crashStates({})].filter((state) => state.moment === disk.moment);
  return [...new Set(states.map((state) => shown(state.open())))].sort();
}

const text = (words: string): Uint8Array => Buffer.from(words, "latin1");

test("SimDisk: a name is lost until its folder is synced, bytes until their file is", async () => {
  const disk = new SimDisk();
  const file = await disk.open("a", "create");
  await file.write(text("x"), 0);
  disk.note("here");
  assert.equal(lastStates(disk), ["", "a=", "a=\0", "a=x"]);
  await file.sync();
  disk.note("here");
  assert.equal(lastStates(disk), ["", "a=x"]);
  await disk.syncFolder("");
  disk.note("here");
  assert.equal(lastStates(disk), ["a=x"]);
});

test("SimDisk: syncing the folder first leaves a file that may be empty", async () => {
  const disk = new SimDisk();
  const file = await disk.open("a", "create");
  await file.write(text("x"), 0);
  await disk.syncFolder("");
  disk.note("here");
  assert.equal(lastStates(disk), ["a=", "a=\0", "a=x"]);
});

test("SimDisk: a rename is kept or lost as a whole, in any order with others", async () => {
  const disk = new SimDisk();
  await writeFile(disk, "a", text("new"));
  await writeFile(disk, "b", text("old"));
  await disk.syncFolder("");
  await disk.rename("a", "b");
  disk.note("here");
  assert.equal(lastStates(disk), ["a=new b=old", "b=new"]);
  await writeFile(disk, "c", text("c"));
  disk.note("here");
  assert.equal(lastStates(disk), ["a=new b=old", "a=new b=old c=c", "b=new", "b=new c=c"]);
});

test("SimDisk: a removed file may be back after a crash, with its bytes", async () => {
  const disk = new SimDisk();
  await writeFile(disk, "a", text("x"));
  await disk.syncFolder("");
  await disk.remove("a");
  disk.note("here");
  assert.equal(lastStates(disk), ["", "a=x"]);
  await disk.syncFolder("");
  disk.note("here");
  assert.equal(lastStates(disk), [""]);
});

test("SimDisk: a move between folders is durable when both are synced", async () => {
  const disk = new SimDisk();
  await disk.makeFolder("one");
  await disk.makeFolder("two");
  await writeFile(disk, "one/a", text("x"));
  await disk.syncFolder("one");
  await disk.rename("one/a", "two/a");
  await disk.syncFolder("two");
  disk.note("here");
  assert.equal(lastStates(disk), ["one/a=x", "two/a=x"]);
  await disk.syncFolder("one");
  disk.note("here");
  assert.equal(lastStates(disk), ["two/a=x"]);
});

test("SimDisk: a sync covers what was written before it was called, and is done when it resolves", async () => {
  const disk = new SimDisk();
  await writeFile(disk, "a", text("00"));
  await disk.syncFolder("");
  const file = await disk.open("a", "write");
  const first = file.write(text("1"), 0);
  const synced = file.sync();
  const second = file.write(text("2"), 1);
  disk.note("under way");
  const underWay = lastStates(disk);
  assert.equal(underWay, ["a=00", "a=02", "a=10", "a=12"]);
  await Promise.all([first, synced, second]);
  disk.note("done");
  assert.equal(lastStates(disk), ["a=10", "a=12"]);
});

test("SimDisk: a write is torn at sectors and blocks, and its parts come in any order", async () => {
  const disk = new SimDisk();
  await writeFile(disk, "a", new Uint8Array(8_192));
  await disk.syncFolder("");
  const file = await disk.open("a", "write");
  await file.write(new Uint8Array(8_000).fill(1), 100);
  disk.note("here");
  const kept = new Set<string>();
  for (const state of disk.crashStates({ random: new SimRandom(1), chancesPerMoment: 50 })) {
    if (state.moment !== disk.moment) continue;
    const bytes = state.open().bytesOf("a");
    assert.is(bytes.length, 8_192);
    let marks = "";
    for (let sector = 0; sector < 16; sector += 1) {
      const from = Math.max(100, sector * 512);
      const part = bytes.subarray(from, Math.min(8_100, (sector + 1) * 512));
      assert.ok(
        part.every((byte) => byte === part[0]),
        "a sector is whole",
      );
      marks += part[0] === 1 ? "#" : ".";
    }
    assert.ok(bytes.subarray(0, 100).every((byte) => byte === 0));
    kept.add(marks);
  }
  for (const expected of [
    "................",
    "################",
    "#...............",
    "###############.",
    ".###############",
    "########........",
    "........########",
    "###.############",
    ".....#..........",
  ]) {
    assert.ok(kept.has(expected), expected);
  }
  assert.ok(kept.size > 60 && kept.size < 150, `${kept.size} ways to tear it`);
});

test("SimDisk: writes that wait for one sync are lost and kept in any order", async () => {
  const disk = new SimDisk();
  await writeFile(disk, "a", text("000"));
  await disk.syncFolder("");
  const file = await disk.open("a", "write");
  for (const position of [0, 1, 2]) await file.write(text("1"), position);
  disk.note("here");
  assert.equal(lastStates(disk), [
    "a=000",
    "a=001",
    "a=010",
    "a=011",
    "a=100",
    "a=101",
    "a=110",
    "a=111",
  ]);
});

test("SimDisk: a failed sync leaves what later reads show and no later sync saves", async () => {
  const disk = new SimDisk();
  await writeFile(disk, "a", text("0000"));
  await disk.syncFolder("");
  const file = await disk.open("a", "write");
  await file.write(text("1"), 0);
  disk.failCall(1, { code: "EIO" });
  await rejectsWith("EIO", file.sync());
  assert.is(Buffer.from(await readFile(disk, "a")).toString(), "1000");
  await file.sync();
  await file.write(text("2"), 3);
  await file.sync();
  disk.note("here");
  assert.equal(lastStates(disk), ["a=0002", "a=1002"]);
  const killed = disk.kill();
  assert.is(shown(killed), "a=1002", "the page cache still shows it");
  assert.is(shown(killed.crash("durable")), "a=0002");
});

test("SimDisk: an older doubtful write never comes out on top of a newer durable one", async () => {
  const disk = new SimDisk();
  await writeFile(disk, "a", text("0"));
  await disk.syncFolder("");
  const file = await disk.open("a", "write");
  await file.write(text("1"), 0);
  disk.failCall(1, { code: "EIO" });
  await rejectsWith("EIO", file.sync());
  await file.write(text("2"), 0);
  await file.sync();
  disk.note("here");
  assert.equal(lastStates(disk), ["a=2"]);
});

test("SimDisk: states have the notes that were made before them", async () => {
  const disk = new SimDisk();
  await writeFile(disk, "a", text("0"));
  await disk.syncFolder("");
  const file = await disk.open("a", "write");
  for (const round of [1, 2, 3]) {
    await file.write(text(String(round)), 0);
    await file.sync();
    disk.note(round);
  }
  const seen: string[] = [];
  for (const state of disk.crashStates({})) {
    const acknowledged = Number(state.notes.at(-1) ?? 0);
    const found = shown(state.open());
    if (acknowledged > 0) {
      assert.ok(found === `a=${acknowledged}` || found === `a=${acknowledged + 1}`, found);
    }
    seen.push(`${acknowledged}:${found}`);
  }
  assert.is(new Set(seen).size, seen.length, "no state is given twice");
  for (const state of ["0:", "0:a=0", "0:a=1", "1:a=1", "1:a=2", "2:a=3", "3:a=3"]) {
    assert.ok(seen.includes(state), state);
  }
});

test("SimDisk: a sample is of the size asked for, spread over all moments, and the same again", async () => {
  const disk = new SimDisk();
  const file = await disk.open("a", "create");
  await disk.syncFolder("");
  for (let round = 0; round < 40; round += 1) {
    await file.write(pattern(3_000, round), round * 3_000);
    await file.sync();
  }
  const sample = (seed: number): string[] =>
    [...disk.crashStates({ random: new SimRandom(seed), statesMax: 200, chancesPerMoment: 3 })].map(
      (state) => `${state.moment} ${state.what}`,
    );
  const all = [...disk.crashStates({})];
  assert.ok(all.length > 600, `${all.length} states`);
  const first = sample(1);
  assert.ok(first.length > 100 && first.length <= 200, `${first.length} states`);
  assert.equal(sample(1), first);
  assert.not.equal(sample(2), first);
  const moments = first.map((line) => Number(line.split(" ")[0]));
  assert.ok(Math.min(...moments) < disk.moment / 5 && Math.max(...moments) > (disk.moment * 4) / 5);
});

test("SimDisk: each opened state is a disk of its own", async () => {
  const disk = new SimDisk();
  await writeFile(disk, "a", pattern(9_000));
  await disk.syncFolder("");
  disk.note("here");
  const state = [...disk.crashStates({})].at(-1);
  assert.ok(state !== undefined);
  const one = state.open();
  const file = await one.open("a", "write");
  await file.write(text("changed"), 5_000);
  await file.sync();
  assert.ok(Buffer.from(state.open().bytesOf("a")).equals(pattern(9_000)));
  assert.ok(Buffer.from(disk.bytesOf("a")).equals(pattern(9_000)));
  assert.is(Buffer.from(one.bytesOf("a").subarray(5_000, 5_007)).toString(), "changed");
  const again = [...one.crashStates({})];
  assert.ok(again.length > 1, "and can lose its power again");
});

/** What a call of the property below does. */
const anyCall = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("write" as const),
      position: fc.nat({ max: 3_000 }),
      bytes: fc.integer({ min: 1, max: 2_000 }),
    }),
  },
  { weight: 2, arbitrary: fc.constant({ kind: "sync" as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: "failed sync" as const }) },
);

test("SimDisk: after a crash each byte is the durable one or one written there since", async () => {
  const runs = fc.asyncProperty(
    fc.array(anyCall, { maxLength: 12 }),
    fc.nat(),
    async (calls, seed) => {
      const disk = new SimDisk();
      const file = await disk.open("a", "create");
      await disk.syncFolder("");
      // For each byte: what it may be. The first is the durable one.
      const possible: number[][] = Array.from({ length: 5_000 }, () => [0]);
      const dirty = new Set<number>();
      let round = 0;
      for (const call of calls) {
        round += 1;
        if (call.kind === "write") {
          await file.write(new Uint8Array(call.bytes).fill(round), call.position);
          for (let at = call.position; at < call.position + call.bytes; at += 1) {
            possible[at]?.push(round);
            dirty.add(at);
          }
        } else if (call.kind === "sync") {
          await file.sync();
          for (const at of dirty) possible[at] = [possible[at]?.at(-1) as number];
          dirty.clear();
        } else {
          disk.failCall(1, { code: "EIO" });
          await rejectsWith("EIO", file.sync());
          dirty.clear();
        }
      }
      disk.note("here");
      const random = new SimRandom(seed);
      for (const state of disk.crashStates({ random, chancesPerMoment: 20 })) {
        if (state.moment !== disk.moment) continue;
        for (const [at, byte] of state.open().bytesOf("a").entries()) {
          assert.ok(possible[at]?.includes(byte), `byte ${at} is ${byte}: ${state.what}`);
        }
      }
      const byChance = disk.crash(random);
      for (const [at, byte] of byChance.bytesOf("a").entries())
        assert.ok(possible[at]?.includes(byte));
    },
  );
  await fc.assert(runs, { numRuns: 40 });
});

test("SimDisk.failCall() makes exactly that call fail, whatever it is", async () => {
  const run = async (disk: SimDisk): Promise<void> => {
    const release = await disk.lock();
    await disk.makeFolder("wal");
    await writeFile(disk, "wal/a", pattern(10));
    await disk.syncFolder("wal");
    await disk.rename("wal/a", "wal/b");
    await readFile(disk, "wal/b");
    await disk.list("wal");
    await disk.space();
    await disk.remove("wal/b");
    await release();
  };
  const whole = new SimDisk();
  await run(whole);
  assert.is(whole.callCount, whole.calls.length);
  assert.ok(whole.callCount >= 14, `${whole.callCount} calls`);
  for (let number = 1; number <= whole.callCount; number += 1) {
    const disk = new SimDisk();
    disk.failCall(number, { code: "EIO" });
    const error = await rejectsWith("EIO", run(disk));
    assert.is(disk.callCount, number);
    assert.match(
      error.message,
      (whole.calls[number - 1]?.method ?? "none").split(".").at(-1) ?? "",
    );
  }
});

test("SimDisk: a failed write may have written a part, and a lasting fault goes on", async () => {
  const disk = new SimDisk();
  const file = await disk.open("a", "create");
  await file.write(text("0000"), 0);
  disk.failCall(1, { code: "ENOSPC", writtenBytes: 2 });
  await rejectsWith("ENOSPC", file.write(text("1111"), 0));
  assert.is(shown(disk), "a=1100");
  await file.write(text("2"), 3);
  disk.failCall(2, { code: "EIO", isLasting: true });
  await file.sync();
  await rejectsWith("EIO", file.sync());
  await rejectsWith("EIO", disk.list(""));
  await rejectsWith("EIO", file.write(text("3"), 0));
  assert.is(shown(disk), "a=1102");
});

test("SimDisk: a full disk refuses what needs new blocks, writes what fits, and recovers", async () => {
  const disk = new SimDisk({ totalBytes: 4 * 4_096 });
  const file = await disk.open("a", "create");
  await file.write(pattern(8_192), 0);
  assert.equal(await disk.space(), { freeBytes: 8_192, totalBytes: 16_384 });
  await rejectsWith("ENOSPC", file.write(pattern(20_000), 8_000));
  assert.is(await file.size(), 16_384);
  assert.equal(await disk.space(), { freeBytes: 0, totalBytes: 16_384 });
  await file.write(text("over"), 100);
  const other = await disk.open("b", "create");
  await rejectsWith("ENOSPC", other.write(text("x"), 0));
  assert.is(await other.size(), 0);
  await disk.remove("a");
  await other.write(text("x"), 0);
  disk.totalBytes = 4_096;
  await rejectsWith("ENOSPC", other.write(text("x"), 5_000));
  disk.totalBytes = 8_192;
  await other.write(text("x"), 5_000);
});

test("SimDisk: what belongs to a dead process or a lost power changes nothing any more", async () => {
  const disk = new SimDisk();
  const file = await disk.open("a", "create");
  const release = await disk.lock();
  const underWay = file.write(text("x"), 0);
  const next = disk.kill();
  await rejectsWith("EIO", underWay);
  await rejectsWith("EIO", disk.remove("a"));
  await rejectsWith("EIO", file.write(text("y"), 0));
  await release();
  assert.is(shown(next), "a=x", "a write that was called may be done");
  const lock = await next.lock();
  await lock();
  assert.is(shown(next.crash("all")), "a=x");
  const bare = new SimDisk();
  await bare.open("a", "create");
  assert.is(shown(bare.crash("durable")), "");
});

test("SimDisk: blocks are flipped, zeroed, swapped, made unreadable and replaced", async () => {
  const disk = new SimDisk();
  await writeFile(disk, "a", pattern(10_000));
  disk.flip("a", 5_000, 0x01);
  const flipped = disk.bytesOf("a");
  assert.is(flipped[5_000], (pattern(10_000)[5_000] as number) ^ 1);
  disk.flip("a", 5_000, 0x01);
  assert.ok(Buffer.from(disk.bytesOf("a")).equals(pattern(10_000)));
  disk.swapBlocks("a", 0, 1);
  assert.ok(
    Buffer.from(disk.bytesOf("a").subarray(0, 4_096)).equals(pattern(8_192).subarray(4_096)),
  );
  disk.zeroBlock("a", 1);
  assert.ok(
    disk
      .bytesOf("a")
      .subarray(4_096, 8_192)
      .every((byte) => byte === 0),
  );
  assert.is(disk.bytesOf("a").length, 10_000);
  disk.loseBlock("a", 2);
  const file = await disk.open("a", "write");
  await rejectsWith("EIO", file.read(new Uint8Array(10), 9_000));
  assert.is(await file.read(new Uint8Array(8_192), 0), 8_192);
  await file.write(pattern(1_808), 8_192);
  assert.is(await file.read(new Uint8Array(10), 9_000), 10);
  disk.replace("new", text("made"));
  assert.is(Buffer.from(await readFile(disk, "new")).toString(), "made");
  assert.is(shown(disk.crash("durable")).includes("new=made"), true, "damage is durable");
});

test.run();
