/**
 * I2 at the voter: what it has answered about starts is remembered after a power loss at any moment.
 */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimDisk } from "../sim/disk.ts";
import { SimRandom } from "../sim/random.ts";
import { Boots, parseBootReply, parseStart } from "../src/boots.ts";
import { idOf } from "./exchange_harness.ts";
import { rejectsSlug, throwsSlug } from "./samples.ts";

const test = suite("boots");

function start(node: number, boot: number, letter = "a") {
  return { nodeId: idOf(node), boot, word: letter.repeat(16) };
}

const isMember = (): boolean => true;

test("Boots: I2: registers higher starts, repeats of the same one, and refuses all others", async () => {
  const boots = await Boots.open(new SimDisk());
  assert.is(boots.heard(idOf(1)), 0);
  assert.equal(await boots.register(start(1, 3), isMember), { kind: "registered" });
  assert.equal(await boots.register(start(1, 3), isMember), { kind: "registered" });
  assert.equal(await boots.register(start(1, 3, "b"), isMember), { kind: "outdated", boot: 3 });
  assert.equal(await boots.register(start(1, 2), isMember), { kind: "outdated", boot: 3 });
  assert.equal(await boots.register(start(1, 5), isMember), { kind: "registered" });
  assert.equal(await boots.register(start(1, 3), isMember), { kind: "outdated", boot: 5 });
  assert.equal(await boots.register(start(2, 1), isMember), { kind: "registered" });
  assert.is(boots.heard(idOf(1)), 5);
});

test("Boots: of two starts of one number at once exactly one is registered", async () => {
  const boots = await Boots.open(new SimDisk());
  const both = ["a", "b"].map((letter) => boots.register(start(1, 3, letter), isMember));
  const kinds = (await Promise.all(both)).map(({ kind }) => kind);
  assert.equal(kinds, ["registered", "outdated"]);
});

test("Boots: what was answered is remembered after a power loss at any moment", async () => {
  const disk = new SimDisk();
  const boots = await Boots.open(disk);
  for (const boot of [1, 2, 3]) {
    await boots.register(start(1, boot), isMember);
    disk.note(boot);
  }
  let last = 0;
  for (const state of disk.crashStates({ random: new SimRandom(1), chancesPerMoment: 3 })) {
    const again = await Boots.open(state.open());
    const answered = state.notes.length;
    assert.ok(again.heard(idOf(1)) >= answered, `${state.what}: ${again.heard(idOf(1))}`);
    if (answered < 3) continue;
    last += 1;
    const copy = await again.register(start(1, 3, "b"), isMember);
    assert.equal(copy, { kind: "outdated", boot: 3 });
  }
  assert.ok(last > 0);
});

test("Boots: B: there is room for 1,000 nodes; those that left go first, and members never", async () => {
  const disk = new SimDisk({ isRecorded: false });
  const boots = await Boots.open(disk);
  for (let node = 1; node <= 1000; node += 1) await boots.register(start(node, 1), isMember);
  await rejectsSlug("overloaded", boots.register(start(1001, 1), isMember));
  const left = (nodeId: string): boolean => nodeId !== idOf(7);
  assert.is((await boots.register(start(1001, 1), left)).kind, "registered");
  assert.is(boots.heard(idOf(7)), 0);
  assert.is(boots.heard(idOf(8)), 1);
});

test("Boots: a start or an answer that makes no sense is refused", () => {
  assert.equal(parseStart(start(1, 2)), start(1, 2));
  for (const raw of [undefined, {}, { ...start(1, 2), word: "x" }, { ...start(1, 2), boot: -1 }]) {
    throwsSlug("invalid-request", () => parseStart(raw));
  }
  assert.equal(parseBootReply({ kind: "outdated", boot: 2 }), { kind: "outdated", boot: 2 });
  for (const raw of [undefined, {}, { kind: "outdated" }]) {
    throwsSlug("invalid-request", () => parseBootReply(raw));
  }
});

test.run();
