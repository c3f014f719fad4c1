/**
 * The log on a simulated disk: what its promise says is durable is there after any crash, in order.
 *
 * The disk's calls are looked at for group commit and for silence after a failure; a gate holds them
 * where a test needs something to be under way. What the log holds is read back by `recoverWal`.
 */

import * as fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { SimDisk } from "../sim/disk.ts";
import { SimRandom } from "../sim/random.ts";
import { valueBytesMaxLimit } from "../src/api.ts";
import { type Disk, silentReport } from "../src/capability.ts";
import { settings } from "../src/config_table.ts";
import { QuorateError } from "../src/errors.ts";
import { Wal, type WalOptions, type WalStart } from "../src/wal.ts";
import type { WalEntry } from "../src/wal_format.ts";
import { type Recovery, recoverWal, removeBlank, segmentFileBytesMax } from "../src/wal_open.ts";
import { segmentIndex, segmentName, walFolder } from "../src/wal_segment.ts";
import { isLong, rejectsSlug, runs, throwsSlug } from "./samples.ts";

const test = suite("wal");
const storeId = new Uint8Array(16).fill(5);
const segmentBytes = 64 * 1024;

interface Home {
  readonly disk: SimDisk;
  readonly clock: SimClock;
  readonly wal: Wal;
  /** What `onEnd` was told. */
  readonly ends: QuorateError[];
}

const fresh: WalStart = { nextSequence: 1, nextIndex: 1, segments: [], tail: [] };

async function begin(
  disk: SimDisk,
  start: WalStart = fresh,
  options: Partial<WalOptions> = {},
): Promise<Home> {
  await disk.makeFolder(walFolder);
  const clock = new SimClock();
  const ends: QuorateError[] = [];
  const wal = await Wal.begin(
    {
      disk,
      clock,
      random: new SimRandom(start.nextIndex),
      report: silentReport,
      storeId,
      segmentBytes,
      ceiling: () => 0n,
      onEnd: (error) => ends.push(error),
      ...options,
    },
    start,
  );
  return { disk, clock, wal, ends };
}

/** An entry whose bytes tell which one it is. */
function entry(number: number, bytes = 16): WalEntry {
  const payload = new Uint8Array(Math.max(4, bytes)).fill(number & 0xff);
  new DataView(payload.buffer).setUint32(0, number);
  return { partition: number % 7, payload };
}

function numberOf({ payload }: WalEntry): number {
  return new DataView(payload.buffer, payload.byteOffset).getUint32(0);
}

interface Found {
  readonly recovery: Recovery;
  /** Sequence and number of each entry, in the order in which they were handed on. */
  readonly entries: readonly (readonly [sequence: number, number: number])[];
}

async function readBack(disk: Disk, checkpointSequence = 0): Promise<Found> {
  const entries: (readonly [number, number])[] = [];
  const recovery = await recoverWal({
    disk,
    report: silentReport,
    storeId,
    checkpointSequence,
    apply: (found, sequence) => {
      const number = numberOf(found);
      assert.equal([...found.payload], [...entry(number, found.payload.length).payload]);
      entries.push([sequence, number]);
    },
  });
  return { recovery, entries };
}

function upTo(last: number, first = 1): (readonly [number, number])[] {
  return Array.from({ length: last - first + 1 }, (_, at) => [first + at, first + at] as const);
}

/** Holds all calls of a disk while it is shut. */
class Gate {
  #shut: Promise<void> | undefined;
  #open: () => void = () => {};

  readonly pause = async (): Promise<void> => {
    await this.#shut;
  };

  shut(): void {
    this.#shut = new Promise((resolve) => {
      this.#open = resolve;
    });
  }

  open(): void {
    this.#shut = undefined;
    this.#open();
  }
}

async function turns(count = 200): Promise<void> {
  for (let turn = 0; turn < count; turn += 1) await undefined;
}

/** What was done to segments since the call `from`; a segment is opened under the spare's name. */
function segmentCalls(disk: SimDisk, from: number): string[] {
  return disk.calls
    .slice(from)
    .filter((call) => call.path === `${walFolder}/spare`)
    .map((call) => call.method.replace("file.", ""));
}

/** The next segment is made ready in the background; afterwards the disk is quiet. */
async function settled(home: Home): Promise<Home> {
  await turns(3000);
  return home;
}

test("Wal: entries of one turn go out in one write and one sync, those that come meanwhile in the next", async () => {
  const gate = new Gate();
  const { disk, wal } = await settled(await begin(new SimDisk({ pause: gate.pause })));
  const before = disk.calls.length;
  gate.shut();
  const one = [entry(1), entry(2)].map((each) => wal.append(each));
  await turns();
  const two = [entry(3), entry(4), entry(5)].map((each) => wal.append(each));
  await turns();
  assert.equal(segmentCalls(disk, before), ["write"], "the second batch waits");
  assert.equal(
    [...one, ...two].map(({ sequence }) => sequence),
    [1, 2, 3, 4, 5],
  );
  assert.is(one[0]?.synced, one[1]?.synced, "those of a batch share one promise");
  assert.is.not(one[0]?.synced, two[0]?.synced);
  gate.open();
  await two[2]?.synced;
  assert.equal(segmentCalls(disk, before), ["write", "sync", "write", "sync"]);
  assert.is(wal.syncedSequence, 5);
  await wal.close();
  assert.equal((await readBack(disk)).entries, upTo(5));
});

test("Wal: `synced` resolves only after the sync, also for whoever asks later by sequence", async () => {
  const gate = new Gate();
  const { disk, wal } = await begin(new SimDisk({ pause: gate.pause }));
  gate.shut();
  let resolvedCount = 0;
  const count = (): void => {
    resolvedCount += 1;
  };
  void wal.append(entry(1)).synced.then(count);
  await turns();
  void wal.append(entry(2)).synced.then(count);
  void wal.whenSynced(1).then(count);
  void wal.whenSynced(2).then(count);
  await turns();
  assert.is(resolvedCount, 0);
  assert.is(wal.syncedSequence, 0);
  await assertDurable(disk, 0);
  gate.open();
  await wal.whenSynced(2);
  await turns();
  assert.is(resolvedCount, 4);
  await wal.whenSynced(1);
  await assertDurable(disk, 2);
});

/** A power loss now would leave at least so many entries. */
async function assertDurable(disk: SimDisk, count: number): Promise<void> {
  const { moment } = disk;
  for (const state of disk.crashStates({})) {
    if (state.moment < moment) continue;
    const { entries } = await readBack(await copyOf(state.open()));
    assert.equal(entries.slice(0, count), upTo(count), state.what);
  }
}

/** The same files on a disk that nothing holds. */
async function copyOf(disk: SimDisk): Promise<SimDisk> {
  const copy = new SimDisk({ isRecorded: false });
  await copy.makeFolder(walFolder);
  for (const path of disk.files()) copy.replace(path, disk.bytesOf(path));
  return copy;
}

test("Wal: whenever an entry was acknowledged, every crash after that leaves it, and a prefix of the rest", async () => {
  const disk = new SimDisk();
  const { wal, clock } = await begin(disk);
  const random = new SimRandom(3);
  let number = 0;
  for (let round = 0; round < 40; round += 1) {
    const appended = Array.from({ length: 1 + random.below(4) }, () => {
      number += 1;
      return wal.append(entry(number, random.below(2500)));
    });
    await Promise.all(appended.map(({ synced }) => synced));
    disk.note(number);
    if (random.below(4) === 0) await clock.advance(150);
    if (!wal.hasRoom(4 * 2500, false)) await wal.makeRoom(4 * 2500, false);
  }
  await wal.close();
  const statesMax = isLong ? 20_000 : 400;
  for (const state of disk.crashStates({ random, statesMax, chancesPerMoment: 1 })) {
    const { entries, recovery } = await readBack(state.open());
    const acknowledged = (state.notes.at(-1) ?? 0) as number;
    assert.ok(entries.length >= acknowledged, `${state.what}: ${entries.length}`);
    assert.equal(entries, upTo(entries.length), state.what);
    assert.equal(recovery.lost, [], state.what);
  }
});

test("Wal: goes on in the next segment, and what is read back is whole and in order", async () => {
  const { disk, wal } = await begin(new SimDisk());
  for (let number = 1; number <= 200; number += 1) {
    if (!wal.hasRoom(3000, false)) await wal.makeRoom(3000, false);
    const { synced } = wal.append(entry(number, 3000));
    if (number % 3 === 0) await synced;
  }
  await wal.close();
  const { entries, recovery } = await readBack(disk);
  assert.equal(entries, upTo(200));
  assert.ok(recovery.segments.length > 5, `${recovery.segments.length} segments`);
  assert.is(recovery.torn, undefined);
  assert.is(recovery.synced, 200, "the last mark says that all was synced");
  assert.is(recovery.tail.length, 0);
  for (const [at, { lastSequence }] of recovery.segments.entries()) {
    const next = recovery.segments[at + 1];
    assert.ok(next === undefined || lastSequence <= next.lastSequence);
  }
});

test("Wal: a retired segment leaves its name before it is overwritten, and is used again", async () => {
  const { disk, wal } = await begin(new SimDisk());
  let number = 0;
  const fill = async (segments: number): Promise<void> => {
    const until = number + segments * 16;
    while (number < until) {
      number += 1;
      if (!wal.hasRoom(3900, false)) await wal.makeRoom(3900, false);
      await wal.append(entry(number, 3900)).synced;
    }
  };
  await fill(6);
  wal.release(wal.syncedSequence - 40);
  await fill(6);
  const released = wal.syncedSequence - 40;
  wal.release(released);
  await fill(6);
  const reused = disk.calls.filter(
    ({ method, path }) => method === "rename" && /\.wal wal\/spare$/.test(path),
  );
  assert.ok(reused.length >= 1, "a retired segment was used again");
  // Under its own name nothing is opened to be written; the new name is durable before it is opened.
  assert.not.ok(disk.calls.some(({ method, path }) => method === "open" && path.endsWith(".wal")));
  for (const rename of reused) {
    const touching = disk.calls
      .slice(disk.calls.indexOf(rename) + 1)
      .filter(({ method, path }) => method === "syncFolder" || path === `${walFolder}/spare`)
      .filter(({ method }) => method === "syncFolder" || method === "open");
    assert.is(touching[0]?.method, "syncFolder");
  }
  await wal.close();
  const { entries, recovery } = await readBack(disk, released);
  assert.equal(entries, upTo(number, released + 1), "nothing of the old bytes is read");
  assert.equal(recovery.lost, []);
  assert.ok(recovery.segments.length < 30, "what was released is gone");
});

test("Wal: an entry larger than a segment gets a segment of its own size", async () => {
  const { disk, wal } = await begin(new SimDisk());
  await wal.append(entry(1)).synced;
  assert.is(wal.hasRoom(300_000, false), false);
  await wal.makeRoom(300_000, false);
  await wal.append(entry(2, 300_000)).synced;
  await wal.append(entry(3)).synced;
  await wal.close();
  assert.equal((await readBack(disk)).entries, upTo(3));
});

test("Wal: a segment of any length that a setting asks for is read back", async () => {
  const disk = new SimDisk({ isRecorded: false });
  const { wal } = await begin(disk);
  await wal.append(entry(1)).synced;
  await wal.close();
  // As one that was made ready for --segment-bytes 300MiB.
  const bytes = new Uint8Array(300 * 1024 * 1024);
  bytes.set(disk.bytesOf(segmentName(1)));
  disk.replace(segmentName(1), bytes);
  assert.equal((await readBack(disk)).entries, upTo(1));
  const largest = 1024 * 1024 * 1024;
  assert.equal(settings.segmentBytes.kind.parse("1GiB"), { value: largest });
  assert.ok("error" in settings.segmentBytes.kind.parse("1025MiB"));
  assert.ok(largest + 4 * valueBytesMaxLimit <= segmentFileBytesMax);
});

test("Wal: on a full disk it goes on in whichever segment that is not needed any more is long enough", async () => {
  const { disk, wal } = await begin(new SimDisk());
  await wal.append(entry(1)).synced;
  await wal.makeRoom(300_000, true);
  await wal.append(entry(2, 300_000)).synced;
  await turns(3000);
  disk.fill(0);
  let number = 2;
  while (wal.hasRoom(20_000, true)) {
    number += 1;
    await wal.append(entry(number, 20_000)).synced;
  }
  assert.is(wal.fullSegmentCount, 2);
  const before = await rejectsSlug("disk-full", wal.makeRoom(250_000, true));
  assert.is(before.outcome, "none");
  wal.release(wal.syncedSequence);
  await wal.makeRoom(250_000, true);
  assert.ok(wal.hasRoom(250_000, true));
  await wal.append(entry(number + 1, 250_000)).synced;
  await wal.close();
  assert.equal((await readBack(disk, number)).entries, [[number + 1, number + 1]]);
});

test("Wal: a segment for which there is no space takes none of what is left: a checkpoint needs that", async () => {
  let freeLeast = Number.POSITIVE_INFINITY;
  let look = (): void => {};
  const disk = new SimDisk({ pause: async () => look() });
  const { wal } = await settled(await begin(disk));
  let number = 0;
  disk.fill(segmentBytes / 2);
  const free = (await disk.space()).freeBytes;
  look = () => {
    const used = disk.files().reduce((sum, path) => sum + disk.bytesOf(path).length, 0);
    freeLeast = Math.min(freeLeast, disk.totalBytes - used);
  };
  while (wal.hasRoom(20_000, true)) {
    number += 1;
    await wal.append(entry(number, 20_000)).synced;
  }
  await rejectsSlug("disk-full", wal.makeRoom(20_000, true));
  assert.ok(freeLeast >= free - 4096, `${freeLeast} of ${free} bytes were left`);
  look = () => {};
  await wal.close();
});

/** A disk that takes what is written, whatever it says of its space. */
function saying(freeBytes: number, totalBytes: number): SimDisk {
  const disk = new SimDisk();
  disk.space = async () => ({ freeBytes, totalBytes });
  return disk;
}

test("Wal: it begins where the disk says that nothing is free, and takes the little that it needs", async () => {
  // The file system may keep some for root, or others may give some back in this moment.
  const { disk, wal } = await begin(saying(0, 1024 * 1024 * 1024));
  assert.is(wal.ended, undefined);
  assert.ok(!wal.hasRoom(1, false));
  await rejectsSlug("disk-full", wal.makeRoom(1, true));
  await wal.close();
  assert.equal((await readBack(disk)).entries, []);
});

test("Wal: a disk that does not say how large it is, is not taken for full", async () => {
  const { disk, wal } = await begin(saying(0, 0));
  for (let number = 1; number <= 20; number += 1) {
    if (!wal.hasRoom(20_000, true)) await wal.makeRoom(20_000, true);
    await wal.append(entry(number, 20_000)).synced;
  }
  await wal.close();
  assert.equal((await readBack(disk)).entries, upTo(20));
});

test("Wal: what was taken when there was room is written, however full the disk is", async () => {
  const anyStep = fc.oneof(
    { weight: 6, arbitrary: fc.record({ kind: fc.constant("append"), bytes: fc.nat(9000) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("wait"), bytes: fc.nat(60) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("idle"), bytes: fc.nat(1500) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("release"), bytes: fc.nat(20) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("flush"), bytes: fc.constant(0) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("space"), bytes: fc.nat(4) }) },
  );
  let refusedCount = 0;
  const property = fc.asyncProperty(
    fc.array(anyStep, { maxLength: 120, size: "max" }),
    async (steps) => {
      const disk = new SimDisk({ totalBytes: 3 * segmentBytes, isRecorded: false });
      const { wal, clock, ends } = await begin(disk);
      let number = 0;
      let released = 0;
      const waits: Promise<unknown>[] = [];
      const take = async (bytes: number): Promise<void> => {
        try {
          // A caller checks in the turn in which it appends.
          while (!wal.hasRoom(bytes, false)) await wal.makeRoom(bytes, false);
        } catch (error) {
          assert.instance(error, QuorateError, String(error));
          assert.ok(["disk-full", "overloaded"].includes((error as QuorateError).slug));
          assert.is((error as QuorateError).outcome, "none");
          refusedCount += 1;
          return;
        }
        number += 1;
        await wal.append(entry(number, bytes)).synced;
      };
      for (const { kind, bytes } of steps) {
        if (kind === "append") waits.push(take(bytes));
        else if (kind === "wait") await turns(bytes);
        else if (kind === "idle") await clock.advance(bytes);
        else if (kind === "flush") waits.push(wal.flush().catch(() => {}));
        else if (kind === "space") disk.totalBytes = (2 + bytes) * segmentBytes;
        else {
          released = Math.max(released, wal.syncedSequence - bytes);
          wal.release(released);
        }
      }
      await Promise.all(waits);
      await wal.close();
      assert.equal(ends, [], "the log did not end");
      const { entries, recovery } = await readBack(disk, released);
      assert.equal(entries, upTo(number, released + 1));
      assert.equal(recovery.lost, []);
    },
  );
  // Not shrunk: a shorter history meets other spaces, and the seed replays this one.
  await fc.assert(property, { ...runs(150), endOnFailure: true });
  assert.ok(refusedCount > 0, "the disk was full now and then");
});

test("Wal: a failed write or sync ends it: every wait is `unknown`, later calls `none`, the disk is left alone", async () => {
  for (const method of ["write", "sync"] as const) {
    const gate = new Gate();
    const { disk, wal, ends } = await settled(await begin(new SimDisk({ pause: gate.pause })));
    await wal.append(entry(1)).synced;
    disk.failCall(method === "write" ? 1 : 2, { code: "EIO" });
    gate.shut();
    const writing = wal.append(entry(2)).synced;
    await turns();
    const queued = wal.append(entry(3)).synced;
    const asked = [2, 3].map((sequence) => wal.whenSynced(sequence));
    const flushed = wal.flush();
    const outcomes = Promise.all(
      [writing, queued, flushed, ...asked].map(async (wait) => {
        return (await rejectsSlug("read-only", wait, method)).outcome;
      }),
    );
    gate.open();
    assert.equal(await outcomes, ["unknown", "unknown", "unknown", "unknown", "unknown"]);
    assert.is(ends.length, 1, "whoever must know is told once");
    assert.is(wal.ended, ends[0]);
    assert.is(wal.syncedSequence, 1);
    const { callCount } = disk;
    assert.is(throwsSlug("read-only", () => wal.append(entry(4))).outcome, "none");
    assert.is((await rejectsSlug("read-only", wal.flush())).outcome, "none");
    await rejectsSlug("read-only", wal.makeRoom(10_000_000, true));
    await wal.whenSynced(1);
    await wal.close();
    const after = segmentCalls(disk, callCount).filter((call) => call !== "close");
    assert.equal(after, [], "nothing is written or synced again");
  }
});

test("D1: after an idle moment a mark says that all was synced, and only one", async () => {
  const { disk, wal, clock } = await begin(new SimDisk());
  await wal.append(entry(1)).synced;
  const unmarked = await readBack(disk.crash("durable"));
  assert.is(unmarked.recovery.synced, 0);
  assert.equal(unmarked.recovery.tail.map(numberOf), [1], "no mark covers it yet");
  const again = await begin(new SimDisk());
  await again.wal.append(entry(1)).synced;
  await again.clock.advance(1000);
  const marked = await readBack(again.disk.crash("durable"));
  assert.is(marked.recovery.synced, 1);
  assert.equal(marked.recovery.tail, []);
  const third = await begin(new SimDisk());
  await third.wal.append(entry(1)).synced;
  await third.clock.advance(1000);
  await turns(3000);
  const { callCount } = third.disk;
  await third.clock.advance(60_000);
  assert.is(third.disk.callCount, callCount, "an idle log writes nothing");
  void clock;
});

test("V1: a ceiling counts as durable no longer than the log has the batch that carries it", async () => {
  let ceiling = 70n;
  const { disk, wal } = await begin(new SimDisk(), fresh, { ceiling: () => ceiling });
  await wal.append(entry(1)).synced;
  // The wall clock was set back, and what was written before comes into the table.
  ceiling = 30n;
  for (let number = 2; wal.fullSegmentCount < 3; number += 1) {
    while (!wal.hasRoom(9000, true)) await wal.makeRoom(9000, true);
    await wal.append(entry(number, 9000)).synced;
  }
  const { lastSequence } = wal;
  wal.release(lastSequence);
  for (let number = 1; wal.fullSegmentCount < 3; number += 1) {
    while (!wal.hasRoom(9000, true)) await wal.makeRoom(9000, true);
    await wal.append(entry(number, 9000)).synced;
  }
  const { recovery } = await readBack(disk.crash("durable"), lastSequence);
  assert.ok(wal.syncedCeiling <= recovery.ceiling, `${wal.syncedCeiling} of ${recovery.ceiling}`);
  await wal.close();
});

test("V1: a flush makes the ceiling of that moment durable", async () => {
  let ceiling = 10n;
  const { disk, wal } = await begin(new SimDisk(), fresh, { ceiling: () => ceiling });
  assert.is(wal.syncedCeiling, 10n, "the first batch carries one");
  ceiling = 70n;
  await wal.flush();
  assert.is(wal.syncedCeiling, 70n);
  ceiling = 30n;
  await wal.append(entry(1)).synced;
  assert.is(wal.syncedCeiling, 30n, "of the newest batch alone it is known that it stays");
  assert.is((await readBack(disk.crash("durable"))).recovery.ceiling, 70n);
});

test("D4: a tail that no mark covers is written again under its old sequences before anything else", async () => {
  const first = await begin(new SimDisk());
  await Promise.all([1, 2, 3].map((number) => first.wal.append(entry(number, 3000)).synced));
  await turns(3000);
  const disk = first.disk.crash("durable");
  const { recovery } = await readBack(disk);
  assert.equal(recovery.tail.map(numberOf), [1, 2, 3]);
  const { wal } = await begin(disk, { ...recovery, nextSequence: recovery.last + 1 });
  assert.is(wal.lastSequence, 3);
  assert.is(wal.syncedSequence, 3);
  const names = (await disk.list(walFolder)).filter((name) => segmentIndex(name) !== undefined);
  const newest = disk.crash("durable");
  await newest.remove(`${walFolder}/${names[0]}`);
  const alone = await readBack(newest);
  assert.equal(alone.entries, upTo(3), "the new segment alone has the tail");
});

test("D2: power that fails while unused segments are removed leaves no trace of one that is missing", async () => {
  const first = await begin(new SimDisk());
  await first.wal.append(entry(1)).synced;
  await first.wal.close();
  const disk = first.disk.crash("durable");
  for (const index of [3, 4]) {
    const file = await disk.open(segmentName(index), "create");
    await file.write(new Uint8Array(segmentBytes), 0);
    await file.sync();
    await file.close();
  }
  await disk.syncFolder(walFolder);
  const restarted = disk.crash("durable");
  await removeBlank(restarted, (await readBack(restarted)).recovery.blank);
  let states = 0;
  for (const state of restarted.crashStates({ random: new SimRandom(1), chancesPerMoment: 30 })) {
    const { recovery, entries } = await readBack(state.open());
    assert.equal(recovery.missing, []);
    assert.equal(entries, upTo(1));
    states += 1;
  }
  assert.ok(states > 3, `${states} states`);
});

/** A log whose newest segment is blank on the disk: the sync of its first batch is held. */
async function rolling(): Promise<Home & { readonly gate: Gate; readonly last: number }> {
  const gate = new Gate();
  let isNextHeld = false;
  const disk = new SimDisk({
    pause: async ({ method }) => {
      await undefined;
      if (method !== "file.sync" || !isNextHeld) return;
      isNextHeld = false;
      await gate.pause();
    },
  });
  const home = await begin(disk);
  const { wal } = home;
  let last = 0;
  while (wal.fullSegmentCount === 0) {
    gate.open();
    await turns(3000);
    if (!wal.hasRoom(3900, true)) await wal.makeRoom(3900, true);
    await turns(3000);
    gate.shut();
    isNextHeld = true;
    last = wal.syncedSequence;
    wal.append(entry(last + 1, 3900)).synced.catch(() => {});
    await turns();
  }
  return { ...home, gate, last };
}

test("D2: a segment is not given up while the next one has nothing durable yet", async () => {
  const { disk, wal, last } = await rolling();
  wal.release(last);
  // Where there is no other, the next one is made of what was given up.
  void wal.makeRoom(3900, true);
  await turns(3000);
  const { recovery } = await readBack(disk.crash("durable"), last);
  assert.ok(recovery.segments.length > 0, "the log is gone");
});

test("D2: and is given up when that has", async () => {
  const { wal, gate, last } = await rolling();
  gate.open();
  await turns(3000);
  wal.release(last);
  assert.is(wal.fullSegmentCount, 0);
  await wal.close();
});

test("Wal: a start goes on with the next sequence, and after it with that of the next start", async () => {
  let disk = new SimDisk();
  let start = fresh;
  for (let number = 1; number <= 12; number += 1) {
    const { wal, clock } = await begin(disk, start);
    assert.is(wal.append(entry(number)).sequence, number);
    if (number % 3 === 0) await wal.close();
    else {
      await wal.flush();
      await clock.advance(number % 3 === 1 ? 500 : 0);
    }
    disk = number % 2 === 0 ? disk.crash("durable") : disk.kill();
    const { recovery, entries } = await readBack(disk);
    // A tail that was written again stands twice; its second coming is skipped by its sequence.
    assert.equal([...new Map(entries)], upTo(number));
    start = { ...recovery, nextSequence: recovery.last + 1 };
  }
});

test("Wal: close writes what is queued and a last mark, once; then it takes nothing", async () => {
  const { disk, wal } = await begin(new SimDisk());
  const { synced } = wal.append(entry(1));
  await Promise.all([wal.close(), synced]);
  await wal.close();
  assert.is(throwsSlug("draining", () => wal.append(entry(2))).outcome, "none");
  await rejectsSlug("draining", wal.flush());
  const { recovery, entries } = await readBack(disk.crash("durable"));
  assert.equal(entries, upTo(1));
  assert.is(recovery.synced, 1);
  assert.equal(recovery.tail, []);
});

test("Wal: two who wait for room at once never make a segment twice", async () => {
  // Space comes back while both wait behind a segment that could not be made.
  for (let turnCount = 0; turnCount < 60; turnCount += 1) {
    const disk = new SimDisk({ isRecorded: false });
    const { wal, ends } = await begin(disk);
    let number = 0;
    const append = async (): Promise<void> => {
      number += 1;
      await wal.append(entry(number, 3000)).synced;
    };
    while (number < 40) {
      if (!wal.hasRoom(3000, false)) await wal.makeRoom(3000, false);
      await append();
    }
    disk.totalBytes = 0;
    while (wal.hasRoom(3000, false)) await append();
    await turns(3000);
    const waits = [1, 2, 3].map(() => wal.makeRoom(100_000, false).catch(() => {}));
    await turns(turnCount);
    wal.release(number - 20);
    disk.totalBytes = 2 ** 30;
    await Promise.all(waits);
    for (let more = 0; more < 30; more += 1) {
      while (!wal.hasRoom(3000, false)) await wal.makeRoom(3000, false);
      await append();
    }
    await wal.close();
    assert.equal(ends, []);
    const { entries } = await readBack(disk, number - 45);
    assert.equal(entries, upTo(number, number - 44), `after ${turnCount} turns`);
  }
});

test.run();
