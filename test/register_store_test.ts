/**
 * What a voter has told is found after a power loss at any moment; and which instance is open.
 */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimDisk } from "../sim/disk.ts";
import { SimRandom } from "../sim/random.ts";
import { RegisterStore } from "../src/register_store.ts";
import { rejectsSlug } from "./samples.ts";

const test = suite("register_store");

const clusterId = "c".repeat(32);
const nodeId = "1".repeat(32);

function at(epoch: number): { readonly clusterId: string; readonly epoch: number } {
  return { clusterId, epoch };
}

function prepare(round: number) {
  return { kind: "prepare", ballot: { round, nodeId } } as const;
}

function accept(round: number, value: string) {
  return { kind: "accept", ballot: { round, nodeId }, value } as const;
}

test("RegisterStore: what was answered is remembered after a power loss at any moment", async () => {
  const disk = new SimDisk();
  const store = await RegisterStore.open(disk);
  await store.answer(at(4), prepare(1), () => at(4));
  disk.note("promised 1");
  await store.answer(at(4), accept(1, "x"), () => at(4));
  disk.note("accepted x");
  await store.answer(at(4), prepare(5), () => at(4));
  disk.note("promised 5");
  let last = 0;
  for (const state of disk.crashStates({ random: new SimRandom(1), chancesPerMoment: 3 })) {
    const again = await RegisterStore.open(state.open());
    const reply = await again.answer(at(4), prepare(3), () => at(4));
    const count = state.notes.length;
    if (count === 3) {
      last += 1;
      assert.is(reply.kind, "nack", state.what);
      const above = await again.answer(at(4), prepare(6), () => at(4));
      assert.is((above as { accepted?: { value: unknown } }).accepted?.value, "x", state.what);
    } else if (count === 2 && reply.kind === "promised") {
      assert.is(reply.accepted?.value, "x", state.what);
    } else if (count === 1) {
      const low = await RegisterStore.open(state.open());
      assert.is((await low.answer(at(4), prepare(0), () => at(4))).kind, "nack", state.what);
    }
  }
  assert.ok(last > 0);
});

test("RegisterStore: T1: an instance opens only where its document is held, and closes with the next", async () => {
  const store = await RegisterStore.open(new SimDisk());
  assert.equal(await store.answer(at(4), prepare(1), () => undefined), {
    kind: "behind",
    epoch: 0,
  });
  assert.equal(await store.answer(at(4), prepare(1), () => at(3)), { kind: "behind", epoch: 3 });
  assert.is((await store.answer(at(4), prepare(1), () => at(4))).kind, "promised");
  assert.is((await store.answer(at(4), accept(1, "x"), () => at(4))).kind, "accepted");
  assert.equal(await store.answer(at(4), prepare(2), () => at(5)), { kind: "closed", epoch: 5 });
  assert.equal(
    await store.answer(at(5), prepare(1), () => at(5)),
    { kind: "promised", ballot: prepare(1).ballot },
    "nothing of the instance before is left in it",
  );
});

test("RegisterStore: keeps one instance, so that its files stay as small", async () => {
  const disk = new SimDisk();
  const store = await RegisterStore.open(disk);
  const sizes: number[] = [];
  for (let epoch = 1; epoch <= 20; epoch += 1) {
    await store.answer(at(epoch), accept(1, "x".repeat(1000)), () => at(epoch));
    sizes.push(disk.bytesOf("register.a").length);
  }
  assert.ok(Math.max(...sizes) < 1500, `${Math.max(...sizes)} bytes`);
});

test("RegisterStore: refuses a vote in another cluster", async () => {
  const store = await RegisterStore.open(new SimDisk());
  const other = { clusterId: "d".repeat(32), epoch: 4 };
  await rejectsSlug(
    "wrong-data-folder",
    store.answer(at(4), prepare(1), () => other),
  );
});

test("RegisterStore: answers nothing whose write failed, and two at once one after the other", async () => {
  const disk = new SimDisk();
  const store = await RegisterStore.open(disk);
  disk.failCall(2, { code: "EIO" });
  const failed = await store
    .answer(at(4), prepare(1), () => at(4))
    .then(
      () => "answered",
      () => "rejected",
    );
  assert.is(failed, "rejected");
  const [one, two] = await Promise.all([
    store.answer(at(4), prepare(2), () => at(4)),
    store.answer(at(4), prepare(2), () => at(4)),
  ]);
  assert.is(one?.kind, "promised");
  assert.is(two?.kind, "nack");
});

test.run();
