/** What an operator is told to do about a member that has lost something: never to give up what may be nowhere else. */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { afterLoss } from "../src/node_loss.ts";

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

test.run();
