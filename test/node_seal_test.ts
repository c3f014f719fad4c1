/** The seal of an epoch (T7): what begins under it, what it waits for, and what a restart remembers. */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { SimDisk } from "../sim/disk.ts";
import { systemErrorCode } from "../src/capability.ts";
import { EpochSeal } from "../src/node_seal.ts";
import { rejectsSlug } from "./samples.ts";

const test = suite("node seal");
const turnsMax = 200;

interface Sealed {
  readonly seal: EpochSeal;
  readonly clock: SimClock;
  readonly disk: SimDisk;
  readonly givenUp: number[];
}

async function opened(disk: SimDisk = new SimDisk()): Promise<Sealed> {
  const clock = new SimClock();
  const givenUp: number[] = [];
  const giveUp = (epoch: number): void => {
    givenUp.push(epoch);
  };
  const isPresent = (epoch: number): boolean => epoch === 3;
  return { seal: await EpochSeal.open({ clock, disk, isPresent, giveUp }), clock, disk, givenUp };
}

/** A write that is over when it is told so. */
function openWrite(seal: EpochSeal, epoch: number): { readonly end: () => void } {
  let end: () => void = () => {};
  const over = new Promise<void>((resolve) => {
    end = resolve;
  });
  void seal.counted(epoch, () => over);
  return { end };
}

function writesOf(disk: SimDisk): number {
  return disk.calls.filter(({ method }) => method === "file.write").length;
}

test("EpochSeal: a sealed epoch takes no write, also after a restart; the next one does", async () => {
  const { seal, disk } = await opened();
  assert.is(await seal.counted(3, async () => "written"), "written");
  await seal.seal(3);
  const { seal: restarted } = await opened(disk.crash("durable"));
  for (const one of [seal, restarted]) {
    for (const epoch of [2, 3]) {
      await rejectsSlug(
        "not-ready",
        one.counted(epoch, async () => "written"),
      );
    }
    assert.is(await one.counted(4, async () => "written"), "written");
  }
});

test("EpochSeal: it waits for the writes before it, and for none that begins under a later epoch", async () => {
  const { seal } = await opened();
  const before = openWrite(seal, 3);
  let isTold = false;
  const sealing = seal.seal(3).then(() => {
    isTold = true;
  });
  for (let turn = 0; turn < turnsMax; turn += 1) await undefined;
  // The next epoch came while it waited, and from then on there is always a write under way.
  const after = openWrite(seal, 4);
  assert.not(isTold);
  before.end();
  for (let turn = 0; turn < turnsMax; turn += 1) await undefined;
  assert.ok(isTold);
  after.end();
  await sealing;
});

test("EpochSeal: two nodes that seal the same epoch are both told when the writes under way are over", async () => {
  const { seal, disk, givenUp, clock } = await opened();
  const write = openWrite(seal, 3);
  const told: string[] = [];
  const both = ["first", "second"].map((name) => seal.seal(3).then(() => told.push(name)));
  // All that can happen without the write happens: both wait for it.
  for (let turn = 0; turn < turnsMax; turn += 1) await undefined;
  assert.ok(seal.isSealed(3));
  assert.is(writesOf(disk), 2, "both copies, once each");
  assert.equal(told, [], "the write is not over");
  write.end();
  await Promise.all(both);
  assert.equal(told.sort(), ["first", "second"]);
  assert.is(writesOf(disk), 2, "it was written for the first alone");
  await clock.advance(15_000);
  assert.equal(givenUp, [3], "it is sealed once, and given up once");
});

test("EpochSeal: a seal that could not be written seals nothing, and the next one is tried", async () => {
  const { seal, disk } = await opened();
  disk.failNext("file.write", "sealed.b", { code: "EIO" });
  const failure: unknown = await seal.seal(3).catch((error: unknown) => error);
  assert.is(systemErrorCode(failure), "EIO");
  assert.not(seal.isSealed(3));
  await seal.seal(3);
  assert.ok(seal.isSealed(3));
});

test("EpochSeal: a seal that no epoch followed is given up after a restart, and again until one follows", async () => {
  const { seal, disk } = await opened();
  await seal.seal(3);
  const { seal: restarted, clock, givenUp } = await opened(disk.crash("durable"));
  await clock.advance(15_000);
  assert.equal(givenUp, [3], "whoever admitted the node may be gone");
  await clock.advance(15_000);
  assert.equal(givenUp, [3, 3], "no majority may have been there the first time");
  restarted.close();
  await clock.advance(60_000);
  assert.equal(givenUp.length, 2);
});

test("EpochSeal: an epoch that another one has followed is not given up after a restart", async () => {
  const { seal, disk } = await opened();
  await seal.seal(2);
  const { clock, givenUp } = await opened(disk.crash("durable"));
  await clock.advance(60_000);
  assert.equal(givenUp, []);
});

test.run();
