/** Nodes that come and go while the others hold data: whole nodes, one phase after another. */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Town } from "./town.ts";

const test = suite("node moves");

test("T3: a node joins a cluster that holds data, under writes, and none of them fails or is lost", async () => {
  const town = new Town(4);
  for (const place of town.places) place.autoJoin = true;
  for (const index of [0, 1, 2]) {
    await town.start(
      index,
      3,
      town.places.slice(0, 3).map(({ address }) => address),
    );
  }
  await town.until(() => [0, 1, 2].every((index) => town.isReady(index)));
  for (let index = 0; index < 40; index += 1) await town.put(index % 3, `k${index}`, "before");
  await town.start(3, undefined);
  const isOver = (): boolean => {
    const { epoch, members } = town.at(0).ring();
    return members.length === 4 && epoch >= 6;
  };
  let written = 0;
  while (!isOver() && written < 2000) {
    await town.put(written % 3, `w${written % 50}`, `v${written}`);
    written += 1;
    await town.pass(20);
  }
  assert.ok(isOver(), `the move is over after ${written} writes`);
  await town.until(() => town.isReady(3));
  for (let index = 0; index < 40; index += 1) {
    assert.is(await town.get(3, `k${index}`, { consistency: "all" }), "before");
  }
  await town.close();
});

test.run();
