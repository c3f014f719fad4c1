/**
 * The document that is kept twice: after any crash, and crashes after crashes, one of the two last
 * versions is read; one damaged copy costs nothing.
 */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type CallFault, SimDisk } from "../sim/disk.ts";
import { SimRandom } from "../sim/random.ts";
import { systemErrorCode } from "../src/capability.ts";
import { QuorateError } from "../src/errors.ts";
import { Slots } from "../src/slots.ts";
import { isLong } from "./samples.ts";

const test = suite("slots");

/** Large enough to be torn, and telling which one it is. */
function document(number: number): { number: number; text: string } {
  return { number, text: `${number}`.repeat(400 + 150 * (number % 3)) };
}

async function numberIn(disk: SimDisk): Promise<number> {
  const { found } = await Slots.open(disk, "s");
  if (found === undefined) return 0;
  const { number } = found as { number: number };
  assert.equal(found, document(number), "the document is whole");
  return number;
}

async function rejectsCode(work: Promise<unknown>): Promise<void> {
  const error: unknown = await work.catch((reason: unknown) => reason);
  assert.is(systemErrorCode(error), "ENOSPC");
}

async function written(last: number): Promise<SimDisk> {
  const disk = new SimDisk();
  const slots = await Slots.open(disk, "s");
  for (let number = 1; number <= last; number += 1) await slots.write(document(number));
  return disk;
}

test("Slots: nothing is found at first, then what was written last, in both copies", async () => {
  const disk = await written(0);
  assert.is(await numberIn(disk), 0);
  for (let number = 1; number <= 5; number += 1) {
    const slots = await Slots.open(disk, "s");
    await slots.write(document(number));
    assert.is(await numberIn(disk), number);
  }
  assert.equal(disk.files(), ["s.a", "s.b"]);
  assert.equal([...disk.bytesOf("s.a")], [...disk.bytesOf("s.b")]);
});

test("Slots: a power loss at any moment of a write leaves the old document or the new one", async () => {
  for (const before of [0, 1, 4]) {
    const disk = (await written(before)).crash("all");
    const slots = await Slots.open(disk, "s");
    await slots.write(document(before + 1));
    disk.note("done");
    await slots.write(document(before + 2));
    const random = new SimRandom(before);
    for (const state of disk.crashStates({ random, chancesPerMoment: 3 })) {
      const number = await numberIn(state.open());
      const least = state.notes.length > 0 ? before + 1 : before;
      assert.ok(number >= least && number <= before + 2, `${state.what}: ${number} after ${least}`);
    }
  }
});

test("Slots: a crash in the write after a crash, and one in the write after that, lose nothing", async () => {
  const random = new SimRandom(11);
  const deep = async (disk: SimDisk, least: number, crashes: number): Promise<void> => {
    const found = await numberIn(disk);
    assert.ok(found >= least, `${found} was read where ${least} was written`);
    if (crashes === 0) return;
    const slots = await Slots.open(disk, "s");
    // What was read is what the caller acts on from here: it stays, or something newer does.
    await slots.settle();
    disk.note("settled");
    await slots.write(document(found + 1));
    const statesMax = isLong ? 60 : 14;
    for (const state of disk.crashStates({ random, statesMax, chancesPerMoment: 2 })) {
      await deep(state.open(), state.notes.length > 0 ? found : least, crashes - 1);
    }
  };
  await deep((await written(3)).crash("all"), 3, 3);
});

test("D4: what a start reads from the page cache is durable before it is believed", async () => {
  const random = new SimRandom(12);
  for (let calls = 1; calls <= 16; calls += 1) {
    const disk = (await written(2)).crash("all");
    const slots = await Slots.open(disk, "s");
    const { callCount } = disk;
    // The process is killed in the middle of a write; the next one reads what the cache holds.
    void slots.write(document(3)).catch(() => {});
    while (disk.callCount < callCount + calls && calls <= 8) await undefined;
    const cached = disk.kill();
    const found = await numberIn(cached);
    const left = cached.crash("durable");
    assert.ok((await numberIn(left)) >= found, `${calls} calls: ${found} was read, then not`);
    // And the write after it does not begin with the only copy that is surely there.
    const again = await written(2).then((fresh) => fresh.crash("all"));
    const first = await Slots.open(again, "s");
    const before = again.callCount;
    void first.write(document(3)).catch(() => {});
    while (again.callCount < before + Math.min(calls, 8)) await undefined;
    const second = again.kill();
    const next = await Slots.open(second, "s");
    const { number } = next.found as { number: number };
    await next.write(document(4));
    for (const state of second.crashStates({ random, chancesPerMoment: 2 })) {
      const got = await numberIn(state.open());
      if (state.moment > 0) assert.ok(got >= number || got >= 2, `${calls}, ${state.what}: ${got}`);
    }
  }
});

test("Slots: one copy damaged in any way costs nothing, and is whole again after the next write", async () => {
  const damages: Readonly<Record<string, (disk: SimDisk, path: string) => Promise<void> | void>> = {
    "one bit flipped": (disk, path) => disk.flip(path, 100, 1),
    "its head flipped": (disk, path) => disk.flip(path, 3),
    "its length flipped": (disk, path) => disk.flip(path, 12),
    zeroed: (disk, path) => disk.zeroBlock(path, 0),
    unreadable: (disk, path) => disk.loseBlock(path, 0),
    empty: (disk, path) => disk.replace(path, new Uint8Array(0)),
    cut: (disk, path) => disk.replace(path, disk.bytesOf(path).slice(0, 300)),
    removed: (disk, path) => disk.remove(path),
    huge: (disk, path) => disk.replace(path, new Uint8Array(5 * 1024 * 1024).fill(7)),
  };
  for (const [what, damage] of Object.entries(damages)) {
    for (const path of ["s.a", "s.b"]) {
      const disk = await written(3);
      await damage(disk, path);
      assert.is(await numberIn(disk), 3, `${path} ${what}`);
      const slots = await Slots.open(disk, "s");
      const { moment } = disk;
      await slots.write(document(4));
      assert.is(await numberIn(disk), 4, `${path} ${what}`);
      const random = new SimRandom(5);
      const states = [...disk.crashStates({ random, chancesPerMoment: 2 })];
      for (const state of states.filter((one) => one.moment >= moment)) {
        const number = await numberIn(state.open());
        assert.ok(number >= 3, `${path} ${what}, then ${state.what}: ${number}`);
      }
      for (const other of ["s.a", "s.b"]) {
        const alone = new SimDisk();
        alone.replace(other, disk.bytesOf(other));
        assert.is(await numberIn(alone), 4, `${other} alone, after ${path} was ${what}`);
      }
    }
  }
});

test("Slots: what only a failed sync has written is durable once it was settled", async () => {
  for (let call = 1; call <= 8; call += 1) {
    const disk = (await written(2)).crash("all");
    const slots = await Slots.open(disk, "s");
    disk.failCall(call, { code: "EIO", writtenBytes: 10_000 });
    await slots.write(document(3)).catch(() => {});
    const restarted = disk.kill();
    const next = await Slots.open(restarted, "s");
    const { number } = next.found as { number: number };
    await next.settle();
    assert.ok((await numberIn(restarted.crash("durable"))) >= number, `call ${call}: ${number}`);
  }
});

test("Slots: two damaged copies are a refusal, and an older whole one is not passed over for nothing", async () => {
  const disk = await written(3);
  disk.flip("s.a", 100);
  disk.flip("s.b", 100);
  const error = await Slots.open(disk, "s").catch((reason: unknown) => reason);
  assert.is(QuorateError.from(error).slug, "corruption");
  assert.match(QuorateError.from(error).hint ?? "", "plan --replace", "others may hold all of it");
  const older = await written(2);
  const newer = await written(3);
  older.replace("s.b", newer.bytesOf("s.b"));
  assert.is(await numberIn(older), 3, "the higher generation counts, whichever copy it is");
});

test("Slots: first writes that fail on a full disk, one after the other, leave nothing that refuses a start", async () => {
  const disk = new SimDisk();
  const slots = await Slots.open(disk, "s");
  for (let attempt = 0; attempt < 3; attempt += 1) {
    disk.failNext("file.write", "s.", { code: "ENOSPC", writtenBytes: 100 });
    await rejectsCode(slots.write(document(1)));
  }
  assert.is(await numberIn(disk), 0);
  const again = await Slots.open(disk, "s");
  await again.write(document(1));
  assert.is(await numberIn(disk), 1);
});

test("Slots: a write that fails at any call leaves the old document or the new one, and the next succeeds", async () => {
  const ways: readonly CallFault[] = [
    { code: "EIO" },
    { code: "ENOSPC", writtenBytes: 100 },
    { code: "EIO", writtenBytes: 600 },
  ];
  for (const how of ways) {
    for (let call = 1; call <= 8; call += 1) {
      const disk = (await written(2)).crash("all");
      const slots = await Slots.open(disk, "s");
      disk.failCall(call, how);
      const isDone = await slots.write(document(3)).then(
        () => true,
        () => false,
      );
      assert.is(isDone, false, `call ${call} was reached`);
      // The same process goes on; its power fails in the middle of that.
      await slots.write(document(4)).catch(() => {});
      const random = new SimRandom(call);
      for (const state of disk.crashStates({ random, chancesPerMoment: 2 })) {
        const number = await numberIn(state.open());
        assert.ok(number >= 2, `call ${call} ${how.code}: ${state.what}: ${number}`);
      }
      assert.is(await numberIn(disk), 4);
    }
  }
});

test.run();
