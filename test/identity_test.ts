/** Who a folder belongs to: drawn once, kept through every start, durable before it is relied on. */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimDisk } from "../sim/disk.ts";
import { SimRandom } from "../sim/random.ts";
import { encodeChecked } from "../src/checked_json.ts";
import { Identity } from "../src/identity.ts";
import { Slots } from "../src/slots.ts";
import { rejectsSlug } from "./samples.ts";

const test = suite("identity");

function open(disk: SimDisk, name?: string, seed = 1): Promise<Identity> {
  return Identity.open(disk, new SimRandom(seed), name);
}

function idsOf(identity: Identity): readonly unknown[] {
  return [identity.nodeId, identity.storeId, identity.origin, identity.name];
}

test("Identity: a new folder is given ids of its own, which every later start finds", async () => {
  const disk = new SimDisk();
  const first = await open(disk, "ada");
  for (const id of [first.nodeId, first.storeId]) assert.match(id, /^[0-9a-f]{32}$/);
  assert.is.not(first.nodeId, first.storeId);
  assert.is(Buffer.from(first.storeIdBytes).toString("hex"), first.storeId);
  assert.equal([first.boot, first.clean, first.sequence], [0, false, 0]);
  const second = await open(disk, undefined, 2);
  assert.equal(idsOf(second), idsOf(first));
  assert.is((await open(new SimDisk())).name, "n1");
  const other = await open(new SimDisk(), "ada", 3);
  assert.is.not(other.storeId, first.storeId);
  assert.is.not(other.origin, first.origin);
});

test("I2: starts are counted, and `clean` is true exactly between an orderly end and the next start", async () => {
  const disk = new SimDisk();
  for (let boot = 1; boot <= 4; boot += 1) {
    const identity = await open(disk);
    assert.is(identity.boot, boot - 1);
    assert.is(identity.clean, boot % 2 === 1 && boot > 1);
    await identity.begin(boot * 10);
    assert.equal([identity.boot, identity.clean, identity.sequence], [boot, false, boot * 10]);
    assert.is((await open(disk)).clean, false);
    if (boot % 2 === 0) await identity.end(boot * 10 + 5);
  }
  const last = await open(disk);
  assert.equal([last.boot, last.clean, last.sequence], [4, true, 45]);
});

test("Identity: whatever a call has changed is durable when it resolves", async () => {
  const disk = new SimDisk();
  const identity = await open(disk);
  await identity.begin(7);
  disk.note(() => identity.boot === 1);
  const before = identity.origin;
  const origin = await identity.renewOrigin(new SimRandom(5));
  assert.is.not(origin, before);
  assert.is(identity.origin, origin);
  disk.note(origin);
  await identity.end(9);
  disk.note("end");
  for (const state of disk.crashStates({ random: new SimRandom(1), chancesPerMoment: 2 })) {
    if (state.notes.length === 0) continue;
    const left = await open(state.open());
    assert.equal([left.nodeId, left.storeId], [identity.nodeId, identity.storeId], state.what);
    assert.ok(left.boot >= 1, state.what);
    if (state.notes.length >= 2) assert.is(left.origin, origin, state.what);
    if (state.notes.length >= 3) assert.equal([left.clean, left.sequence], [true, 9], state.what);
  }
});

test("V1: an origin that could not be written is not used", async () => {
  const disk = new SimDisk();
  const identity = await open(disk);
  const before = identity.origin;
  disk.failCall(2, { code: "EIO" });
  let failure: unknown;
  await identity.renewOrigin(new SimRandom(5)).catch((error: unknown) => {
    failure = error;
  });
  assert.match(String(failure), /EIO/);
  assert.is(identity.origin, before);
});

test("D4: an identity that a start has read is durable before it is relied on", async () => {
  for (let call = 1; call <= 6; call += 1) {
    const disk = new SimDisk();
    const identity = await open(disk);
    disk.failCall(call, { code: "EIO", writtenBytes: 100_000 });
    await identity.renewOrigin(new SimRandom(5)).catch(() => {});
    const restarted = disk.kill();
    const ids = idsOf(await open(restarted));
    assert.equal(idsOf(await open(restarted.crash("durable"))), ids, `call ${call}`);
  }
});

test("Identity: another name, another format and parts that are no identity's are refused by slug", async () => {
  const disk = new SimDisk();
  await open(disk, "ada");
  const bytes = [...disk.bytesOf("identity.a")];
  await rejectsSlug("wrong-data-folder", open(disk, "bob"));
  assert.equal([...disk.bytesOf("identity.a")], bytes);
  const { found } = await Slots.open(disk, "identity");
  const facts = found as Record<string, unknown>;
  for (const [change, slug] of [
    [{ format: 3 }, "wrong-data-folder"],
    [{ format: 2, protocol: 99 }, "wrong-data-folder"],
    [{ format: 2 }, "corruption"],
    [{ format: 1, protocol: 2 }, "corruption"],
    [{ format: undefined }, "wrong-data-folder"],
    [{ storeId: "x" }, "corruption"],
    [{ nodeId: 5 }, "corruption"],
    [{ origin: "0".repeat(15) }, "corruption"],
    [{ boot: -0.5 }, "corruption"],
    [{ name: null }, "corruption"],
    [{ clean: 1 }, "corruption"],
    [{ isCut: 1 }, "corruption"],
  ] as const) {
    const other = new SimDisk();
    const checked = encodeChecked({ generation: 1, document: { ...facts, ...change } });
    for (const suffix of ["a", "b"]) other.replace(`identity.${suffix}`, checked);
    await rejectsSlug(slug, open(other), JSON.stringify(change));
    assert.equal([...other.bytesOf("identity.a")], [...checked], "it is left as it was");
  }
});

test("D3: that the log was cut is known to every start, also after an orderly end, until it was compared", async () => {
  const disk = new SimDisk();
  const identity = await open(disk);
  await identity.compared();
  assert.not(identity.isCut);
  await identity.cut();
  await identity.begin(3);
  await identity.end(3);
  assert.ok((await open(disk.copy().crash("durable"))).isCut);
  const next = await open(disk);
  await next.cut();
  await next.compared();
  assert.not((await open(disk.crash("durable"))).isCut);
});

test("U3: a promise is durable before it is told, in every crash, and never taken back", async () => {
  const disk = new SimDisk();
  const identity = await open(disk, "ada");
  assert.is(identity.protocol, 1);
  const format = async (of: SimDisk) =>
    ((await Slots.open(of, "identity")).found as { format: number }).format;
  assert.is(await format(disk), 1, "until then the first program goes on with it");
  await identity.pledge(2);
  for (const keep of ["durable", "all"] as const) {
    const after = disk.copy().crash(keep);
    const again = await open(after, "ada");
    assert.equal([again.protocol, again.nodeId, await format(after)], [2, identity.nodeId, 2]);
    await again.pledge(1);
    await again.begin(7);
    assert.is((await open(after)).protocol, 2);
  }
});

test("Identity: a folder without one is taken only when it is empty, but for a lock and a first try", async () => {
  const tried = new SimDisk();
  tried.replace("LOCK", Uint8Array.of(1));
  tried.replace("identity.a", Uint8Array.of(1, 2, 3));
  assert.is((await open(tried)).name, "n1");
  for (const path of ["table.lmdb", "notes.txt", "wal/0000000001.wal", "topology.a"]) {
    const disk = new SimDisk();
    const folder = path.includes("/") ? path.slice(0, path.indexOf("/")) : undefined;
    if (folder !== undefined) await disk.makeFolder(folder);
    disk.replace(path, Uint8Array.of(1));
    await rejectsSlug("wrong-data-folder", open(disk), path);
  }
});

test.run();
