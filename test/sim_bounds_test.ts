/**
 * Sim bounds: what holds more than it may is told, and what is full is not.
 *
 * Generated: every kind of queue, just below, at and beyond its bound, alone and among others.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { overBounds } from "../sim/bounds.ts";
import { simulate } from "../sim/simulate.ts";
import type { Queue } from "../src/node.ts";

const test = suite("sim bounds");

const sizes = { valueBytesMax: 200, namespaces: () => 10 };
/** Kind -> how much beyond the bound one more message or change may be. */
const kinds: readonly (readonly [name: string, slack: number])[] = [
  ["memtable", sizes.valueBytesMax + 1024],
  ["link 7f", 9 * 1024 + 1600],
  ["hints 7f", 0],
  ["replication requests", 0],
  ["replication bytes", 0],
  ["hint requests", 0],
  ["hint bytes", 0],
];
const bounds = [0, 1, 32, 8192, 64 * 1024 * 1024];

test("at least twenty queues that hold too much are told, each by its name", () => {
  let count = 0;
  for (const [name, slack] of kinds) {
    for (const max of bounds) {
      for (const beyond of [1, 100, 10_000]) {
        const bad: Queue = { name, max, held: max + slack + beyond };
        const others = kinds.filter(([each]) => each !== name);
        const full = others.map(([each]) => ({ name: each, held: max, max }));
        assert.equal(overBounds([...full, bad], sizes), [bad]);
        count += 1;
      }
    }
  }
  assert.ok(count >= 20);
});

test("what is empty, full, or has taken one more than it had room for is in order", () => {
  for (const [name, slack] of kinds) {
    for (const max of bounds) {
      for (const held of [0, Math.max(0, max - 1), max, max + slack]) {
        assert.equal(overBounds([{ name, held, max }], sizes), []);
      }
    }
  }
});

test("a run looks at what its nodes hold", async () => {
  const fullest = new Map<string, number>();
  for (const seed of [60, 64]) {
    for (const [kind, share] of (await simulate({ seed })).fullest) {
      fullest.set(kind, Math.max(fullest.get(kind) ?? 0, share));
    }
  }
  for (const kind of ["memtable", "link", "hints"]) {
    assert.ok((fullest.get(kind) ?? 0) > 0, kind);
  }
});

test.run();
