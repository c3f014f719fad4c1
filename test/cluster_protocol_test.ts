/**
 * ClusterProtocol: whole nodes of two programs, on simulated disks: the present one, and one that is held
 * to version 1, which tells and writes what the earlier program did.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimRandom } from "../sim/random.ts";
import { Identity } from "../src/identity.ts";
import { Slots } from "../src/slots.ts";
import { rejectsSlug } from "./samples.ts";
import { Town } from "./town.ts";

const test = suite("cluster protocol");

const earlier = { version: "0.0.9", protocolMax: 1 };
const later = { version: "1.0.0" };

interface Written {
  readonly format: number;
  readonly protocol?: number;
  readonly epoch: number;
  readonly members: readonly { readonly name: string; readonly program?: { version: string } }[];
}

async function documentOf(town: Town, index: number): Promise<Written> {
  const disk = town.places[index]?.disk;
  if (disk === undefined) throw new Error("there is no such place");
  return (await Slots.open(disk, "topology")).found as Written;
}

async function pledgeOf(town: Town, index: number): Promise<number> {
  const disk = town.places[index]?.disk;
  if (disk === undefined) throw new Error("there is no such place");
  return (await Identity.open(disk, new SimRandom(1), undefined)).protocol;
}

async function founded(count = 3): Promise<Town> {
  const town = new Town(count);
  for (const place of town.places) place.program = earlier;
  await town.startAll();
  return town;
}

async function restart(town: Town, index: number, program: typeof later): Promise<void> {
  const place = town.places[index];
  if (place === undefined) throw new Error("there is no such place");
  await town.done(town.at(index).close());
  town.kill(index);
  place.program = program;
  await town.start(index, 3);
  await town.until(() => town.isReady(index));
}

const onAt = (town: Town, index: number): number => town.at(index).protocol().protocol;
const waitedFor = (town: Town, index: number) => town.at(index).protocol().features[0]?.waitsFor;

test("nodes of one program begin with all that it speaks, in the first document", async () => {
  const town = new Town(3);
  for (const place of town.places) place.program = later;
  await town.startAll();
  const { format, protocol, epoch, members } = await documentOf(town, 0);
  assert.equal([format, protocol, epoch], [4, 2, 1]);
  assert.equal(
    members.map(({ program }) => program?.version),
    ["1.0.0", "1.0.0", "1.0.0"],
  );
  assert.equal(await Promise.all([0, 1, 2].map((index) => pledgeOf(town, index))), [2, 2, 2]);
  await town.pass(20_000);
  assert.is((await documentOf(town, 0)).epoch, 1, "nothing is left to agree on");
  await town.close();
});

test("one of the earlier program among the founders: all write what it reads", async () => {
  const town = new Town(3);
  for (const [index, place] of town.places.entries()) place.program = index === 1 ? earlier : later;
  await town.startAll();
  await town.pass(20_000);
  for (const index of [0, 1, 2]) {
    const document = await documentOf(town, index);
    assert.equal([document.format, document.epoch, document.protocol], [3, 1, undefined]);
    assert.ok(
      document.members.every((member) => !("program" in member)),
      "nor is more in it",
    );
    assert.is(await pledgeOf(town, index), 1);
  }
  assert.equal(waitedFor(town, 0), ["n2"]);
  await town.close();
});

test("an upgrade of one after another: it is on when the last one has come, everywhere, and in one step", async () => {
  const town = await founded();
  await town.put(0, "k", "before");
  for (const index of [0, 1]) {
    await restart(town, index, later);
    await town.pass(10_000);
    assert.is(onAt(town, index), 1);
    assert.is(await pledgeOf(town, index), 1, "nothing is promised while one is missing");
  }
  assert.equal(waitedFor(town, 0), ["n3"]);
  await restart(town, 2, later);
  await town.until(() => [0, 1, 2].every((index) => onAt(town, index) === 2));
  assert.equal(waitedFor(town, 0), []);
  for (const index of [0, 1, 2]) {
    const document = await documentOf(town, index);
    assert.equal([document.format, document.protocol, document.epoch], [4, 2, 2]);
    assert.ok(document.members.every(({ program }) => program?.version === "1.0.0"));
    assert.is(await pledgeOf(town, index), 2);
  }
  assert.is(await town.get(1, "k", { r: "all" }), "before");
  await town.close();
});

test("while it is off, a member goes back to the earlier program, and what is newer waits for it again", async () => {
  const town = await founded();
  await restart(town, 0, later);
  await restart(town, 1, later);
  await restart(town, 1, earlier);
  await restart(town, 2, later);
  await town.pass(20_000);
  assert.equal([onAt(town, 0), waitedFor(town, 0)], [1, ["n2"]]);
  await restart(town, 1, later);
  await town.until(() => [0, 1, 2].every((index) => onAt(town, index) === 2));
  await town.close();
});

test("a member that is down is waited for, whatever it spoke before", async () => {
  const town = await founded();
  await restart(town, 0, later);
  await restart(town, 1, later);
  await town.done(town.at(2).close());
  town.kill(2);
  await town.pass(20_000);
  assert.is(onAt(town, 0), 1);
  assert.is(await pledgeOf(town, 0), 1);
  await town.start(2, 3);
  await town.until(() => town.isReady(2));
  assert.equal(waitedFor(town, 0), ["n3"], "it came back as it was");
  await town.close();
});

test("what is on stays on: an earlier program is refused before it opens a table or a log", async () => {
  const town = await founded();
  for (const index of [0, 1, 2]) await restart(town, index, later);
  await town.until(() => [0, 1, 2].every((index) => onAt(town, index) === 2));
  const place = town.places[2];
  if (place === undefined) throw new Error("there is no such place");
  await town.done(town.at(2).close());
  town.kill(2);
  const before = place.disk.files().map((path) => [path, [...place.disk.bytesOf(path)].length]);
  place.program = earlier;
  await rejectsSlug("invalid-config", town.start(2, 3));
  const after = place.disk.files().map((path) => [path, [...place.disk.bytesOf(path)].length]);
  assert.equal(after, before);
  place.program = later;
  await town.start(2, 3);
  await town.until(() => town.isReady(2));
  await town.close();
});

test("a start with another program is told in the document, by the member itself", async () => {
  const town = new Town(3);
  for (const place of town.places) place.program = later;
  await town.startAll();
  await restart(town, 1, { version: "1.0.1" });
  const versions = (index: number) =>
    town
      .at(index)
      .protocol()
      .members.map(({ version }) => version ?? "");
  await town.until(() => versions(0).includes("1.0.1"));
  await town.pass(5000);
  const { epoch, members } = await documentOf(town, 0);
  assert.is(epoch, 2);
  assert.is(members.find(({ name }) => name === "n2")?.program?.version, "1.0.1");
  await town.close();
});

test("who is to join has to speak what is on, and is told so", async () => {
  const town = new Town(4);
  for (const place of town.places) place.program = later;
  for (const index of [0, 1, 2])
    await town.start(
      index,
      3,
      town.places.slice(0, 3).map(({ address }) => address),
    );
  await town.until(() => [0, 1, 2].every((index) => town.isReady(index)));
  const place = town.places[3];
  if (place === undefined) throw new Error("there is no such place");
  place.program = earlier;
  await town.start(3, undefined);
  await town.pass(12_000);
  const told =
    town
      .at(3)
      .readiness()
      .find(({ name }) => name === "cluster")?.detail ?? "";
  assert.match(
    told,
    /node 'n4' speaks version 1 of the protocol between nodes, and node 'n1' version 2: upgrade 'n4' first/,
  );
  await town.close();
});

test.run();
