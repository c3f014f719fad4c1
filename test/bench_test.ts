/** What the benchmark makes of its samples: medians, promises, and what it refuses to count. */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { claimsOf, type Results, reportOf } from "../bench/report.ts";
import { byCount, expectBetween, type Figure, median, type Sample } from "../bench/sample.ts";

const runtime = { name: "Node 24", version: "24.0.0", path: "node" };

function figure(peer: string, connections: number, perSecond: number): Figure {
  return { peer, connections, perSecond, lowest: perSecond, highest: perSecond };
}

/** A run with these PUTs a second, at 16, 64 and 256 connections. */
function resultsOf(puts: Readonly<Record<string, readonly number[]>>): Results {
  const figures = Object.entries(puts).flatMap(([peer, rates]) =>
    rates.map((rate, index) => figure(peer, [16, 64, 256][index] ?? 0, rate)),
  );
  return {
    date: "2026-01-01",
    smoke: false,
    machine: { processor: "p", cores: 2, memoryGiB: 8, kernel: "6", fileSystem: "ext4" },
    main: runtime,
    plan: { rounds: 1, seconds: 1, warmUpSeconds: 0, keys: 1000 },
    put: { figures, failures: [], versions: { etcd: "3.4.0" }, missing: [] },
  };
}

const bench = suite("bench");

bench(
  "bench: the median of an even number of samples is the middle of the two in the middle",
  () => {
    assert.is(median([9, 1, 5]), 5);
    assert.is(median([9, 1, 5, 7]), 6);
    assert.throws(() => median([]), /no samples/);
  },
);

bench("bench: a promise holds at its bound and not below it", () => {
  const results = resultsOf({
    "Quorate, Node 24": [20, 20, 19],
    etcd: [10, 10, 10],
    redis: [1000, 40, 39],
  });
  const held = claimsOf(results).map(({ claim, measured, holds }) => [claim, measured, holds]);
  assert.equal(held, [
    ["PUT, 16 connections: at least 2 of etcd", "2.00", true],
    ["PUT, 64 connections: at least 2 of etcd", "2.00", true],
    ["PUT, 256 connections: at least 2 of etcd", "1.90", false],
    ["PUT, 64 connections: at least 0.5 of redis", "0.50", true],
    ["PUT, 256 connections: at least 0.5 of redis", "0.49", false],
  ]);
});

bench("bench: nothing is claimed against a system that was not measured", () => {
  assert.equal(claimsOf(resultsOf({ "Quorate, Node 24": [20, 20, 20] })), []);
  assert.equal(claimsOf(resultsOf({ "Quorate, Bun": [20, 20, 20], etcd: [1, 1, 1] })), []);
});

bench("bench: the table divides the main runtime by each row", () => {
  const report = reportOf(resultsOf({ "Quorate, Node 24": [3000, 1, 1], etcd: [1500, 1, 1] }));
  assert.match(report, "| etcd (3.4.0) | 1,500 | 2.00 |  |");
  assert.not.match(report, "smoke run");
});

bench("bench: a count that is not as expected ends the turn, and says both numbers", () => {
  expectBetween("revisions", 5, 5, 6);
  expectBetween("revisions", 6, 5, 6);
  assert.throws(() => expectBetween("revisions", 4, 5, 6), "revisions: 4, expected 5 to 6");
  assert.throws(() => expectBetween("failed", 1, 0, 0), "failed: 1, expected 0");
});

bench("bench: a generator that counts requests gets as many as fill the time", async () => {
  const asked: number[] = [];
  const run = async (requests: number): Promise<Sample> => {
    asked.push(requests);
    return { requests, perSecond: 10_000 };
  };
  const sample = await byCount({ connections: 16, seconds: 3, keys: 10, marker: "" }, run);
  assert.is(asked.length, 2);
  assert.is(sample.requests, 30_000);
});

bench.run();
