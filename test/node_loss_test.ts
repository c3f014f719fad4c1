/** What an operator is told to do about a member that has lost something: never to give up what may be nowhere else. */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { SimDisk } from "../sim/disk.ts";
import { silentReport } from "../src/capability.ts";
import { Losses } from "../src/losses.ts";
import { afterLoss, NodeLoss } from "../src/node_loss.ts";
import type { Store } from "../src/store.ts";

const test = suite("node loss");

test("I3: a member that was rolled back is emptied and replaced once it has filled, and not before", () => {
  const loss = { node: "n3", lacking: 0, rolledBack: true };
  assert.match(
    afterLoss(loss, true),
    "empty data folder, then 'quorate cluster plan --replace n3'",
  );
  for (const canVote of [true, false]) {
    const filling = afterLoss({ ...loss, lacking: 2 }, canVote);
    assert.match(filling, "keep its data folder");
    assert.not.match(filling, "empty");
  }
  assert.not.match(afterLoss({ node: "n3", lacking: 2, rolledBack: false }, true), "empty");
});

test("I3: where no majority of the voters has its vote, no replacement is advised: it could not be chosen", () => {
  const next = afterLoss({ node: "n3", lacking: 0, rolledBack: true }, false);
  assert.not.match(next, "--replace");
  assert.match(next, "quorate export");
});

test("I3: what a second node remembers while the loss is being kept is kept too: the next start is not a loss", async () => {
  const disk = new SimDisk();
  const losses = await Losses.open(disk);
  const store = { openedSequence: 10, mint: { renew: async () => {} } } as unknown as Store;
  const parts = { clock: new SimClock(), report: silentReport, losses, store, name: "n3" };
  const loss = new NodeLoss(parts);
  loss.found(100);
  loss.found(150);
  await loss.close();
  assert.not(loss.isOpen);
  assert.is(losses.base, 150);
  assert.is((await Losses.open(disk.crash("durable"))).base, 150);
});

test.run();
