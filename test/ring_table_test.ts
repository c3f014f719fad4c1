/** How even the load is: the table in the documentation, computed again. */

import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { classicImbalance, imbalanceOf, nodeCounts, ringDocument, ringPath } from "./ring_table.ts";

const test = suite("ring table");

test("ring-imbalance-below-1.05-at-10-nodes", () => {
  const { first, three } = imbalanceOf(10, 256);
  assert.ok(first < 1.05, `${first} by the first replica`);
  assert.ok(three < 1.05, `${three} by the first three`);
});

test("the load is nearer to even than on a ring of 150 virtual nodes, from 3 to 100 nodes", () => {
  for (const nodes of nodeCounts) {
    const own = imbalanceOf(nodes, 1024);
    const classic = classicImbalance(nodes);
    assert.ok(own.first < classic.first, `${own.first} against ${classic.first} at ${nodes}`);
    // With three nodes and n = 3 every node has everything, on either.
    assert.ok(
      nodes === 3 || own.three < classic.three,
      `${own.three} against ${classic.three} at ${nodes}`,
    );
  }
});

test("docs/ring.md has the table as it is computed", () => {
  assert.is(ringDocument(), readFileSync(ringPath, "utf8"));
});

test.run();
