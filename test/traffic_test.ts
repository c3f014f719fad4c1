import { suite } from "uvu";
import * as assert from "uvu/assert";
import { edges, operations, Traffic } from "../src/traffic.ts";

const test = suite("traffic");

test("Traffic.cell() gives each edge and operation its own cell, and the same one again", () => {
  const traffic = new Traffic();
  const found = new Set<unknown>();
  for (const edge of edges) {
    for (const operation of operations) {
      const cell = traffic.cell(edge, operation);
      assert.equal([cell.edge, cell.operation], [edge, operation]);
      assert.is(traffic.cell(edge, operation), cell);
      found.add(cell);
    }
  }
  assert.is(found.size, edges.length * operations.length);
});

test("a request counts by its status, and its time in seconds; a refusal has no time", () => {
  const cell = new Traffic().cell("http", "put");
  cell.add(204, 20);
  cell.add(204, 30);
  cell.refuse(503);
  assert.equal(cell.statuses(), [
    [204, 2],
    [503, 1],
  ]);
  assert.is(cell.latency.count, 2);
  assert.ok(Math.abs(cell.latency.sum - 0.05) < 1e-9);
});

test("failures count by what went wrong and what is known of the write", () => {
  const traffic = new Traffic();
  traffic.fail("timeout", "unknown");
  traffic.fail("timeout", "unknown");
  traffic.fail("timeout", undefined);
  assert.equal(traffic.failures(), [
    { slug: "timeout", outcome: "unknown", count: 2 },
    { slug: "timeout", outcome: "not-a-write", count: 1 },
  ]);
});

test.run();
