/** Nodes that wait to be taken in, as whole nodes: what they and the members tell of it. */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimDisk } from "../sim/disk.ts";
import type { MovesApi } from "../src/api.ts";
import { MemoryTableDisk } from "../src/table_memory.ts";
import { rejectsSlug } from "./samples.ts";
import { type Place, Town } from "./town.ts";

const test = suite("node waiting");

function wipe(town: Town, index: number): void {
  town.kill(index);
  const place = town.places[index] as Place;
  place.disk = new SimDisk();
  place.table = new MemoryTableDisk({});
}

function waitingNames(town: Town, index: number): string[] {
  const { waiting } = town.at(index).moves?.moves() ?? { waiting: [] };
  return waiting.map(({ node }) => node).sort();
}

function waitsFor(town: Town, index: number): string {
  const checks = town.at(index).readiness();
  return checks.find(({ name }) => name === "cluster")?.detail ?? "";
}

test("two nodes that wait say what a member has said, and the command that takes each of them in", async () => {
  const town = await Town.ofThree(4);
  await town.put(0, "k", "v");
  wipe(town, 2);
  await town.start(2, undefined);
  await town.start(3, undefined);
  const wish = ["--replace n3", "--join n4"];
  const said = (index: number): boolean =>
    waitsFor(town, index).includes(`quorate cluster plan ${wish[index - 2]}, at a member`);
  await town.until(() => said(2) && said(3));
  for (let second = 0; second < 60; second += 1) {
    await town.pass(1000);
    for (const index of [0, 1]) assert.equal(waitingNames(town, index), ["n3", "n4"]);
    for (const index of [2, 3]) {
      assert.match(waitsFor(town, index), /take this node in\. 10\.0\.0\.[12]:80 says: /);
      assert.not.match(waitsFor(town, index), "in no cluster yet");
    }
  }
  const { hint } = await rejectsSlug("not-ready", town.put(3, "k", "w"));
  assert.match(hint ?? "", "quorate cluster plan --join n4, at a member");
  await town.close();
});

test("a node that waits stays in the list while the member it comes for is gone", async () => {
  const town = await Town.ofThree(4);
  await town.put(0, "k", "v");
  town.kill(2);
  await town.start(3, undefined);
  await town.until(() => waitingNames(town, 0).length === 1 && waitingNames(town, 1).length === 1);
  for (let second = 0; second < 90; second += 1) {
    await town.pass(1000);
    for (const index of [0, 1]) assert.equal(waitingNames(town, index), ["n4"]);
  }
  await town.close();
});

test("I1: who came and went while a node waited is not told of by that one as if it still waited", async () => {
  const town = await Town.ofThree(5);
  await town.put(0, "k", "v");
  for (const index of [4, 3]) await town.start(index, undefined);
  const plans = town.at(0).moves as MovesApi;
  const isIn = (index: number): boolean => !waitsFor(town, index).includes("take this node in");
  const join = async (name: string, index: number): Promise<void> => {
    await town.until(() => waitingNames(town, 0).includes(name));
    const { id } = await town.done(plans.plan({ join: [name] }));
    await town.done(plans.apply(id));
    await town.until(() => isIn(index));
  };
  await join("n4", 3);
  await town.done(plans.revert());
  await town.until(() => plans.moves().move === undefined);
  town.kill(3);
  await join("n5", 4);
  for (const index of [0, 1, 2, 4]) assert.equal(waitingNames(town, index), [], `n${index + 1}`);
  await town.close();
});

test("a node of another number of partitions ends when it has found the cluster, and never waits", async () => {
  const town = await Town.ofThree(4);
  await town.put(0, "k", "v");
  const { partitions } = town.at(0).ring();
  const place = town.places[3] as Place;
  place.partitions = 2 * partitions;
  const node = await town.start(3, undefined);
  const error = await town.done(node.ended);
  assert.is(error.slug, "invalid-config");
  const said = `partitions is ${2 * partitions}, and this cluster was made with ${partitions}.`;
  assert.is(error.detail, said);
  await town.pass(5000);
  assert.equal(waitingNames(town, 0), []);
  await town.close();
});

test.run();
