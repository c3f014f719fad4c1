/** What the benchmark makes of its samples: medians, promises, and what it refuses to count. */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { freePort } from "../bench/free_port.ts";
import { claimsOf, type Results, reportOf } from "../bench/report.ts";
import { byCount, expectBetween, type Figure, median, type Sample } from "../bench/sample.ts";
import { beginnings, reached, shares } from "../bench/spread.ts";
import type { Throughput } from "../bench/throughput.ts";

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

bench("bench: a cluster is held to what it is measured by, on Node 20 to less", () => {
  const own = "Quorate, Node 24, three nodes";
  const old = "Quorate, Node 20, three nodes";
  const other = "newest etcd, three nodes";
  const groupOf = (rates: Readonly<Record<string, number>>, cpuUs: number): Throughput => ({
    figures: Object.entries(rates).map(([peer, rate]) => ({ ...figure(peer, 256, rate), cpuUs })),
    failures: [],
    versions: {},
    missing: [],
  });
  const lost = "Quorate, Node 24, two of three nodes";
  const cluster = {
    put: groupOf({ [own]: 200, [old]: 150, [lost]: 159, [other]: 100 }, 60),
    get: groupOf({ [own]: 199, [old]: 100, [other]: 100 }, 1),
    one: groupOf({ [own]: 70, "Quorate, Node 24, alone": 100 }, 1),
    grpc: groupOf({ [own]: 99, [other]: 100 }, 1),
  };
  const results = { ...resultsOf({}), cluster };
  const held = claimsOf(results).map(({ claim, measured, holds }) => [claim, measured, holds]);
  const at = "256 connections";
  assert.equal(held, [
    [`quorum PUT, ${at}: at least 2 of ${other}`, "2.00", true],
    [`quorum GET, ${at}: at least 2 of ${other}`, "1.99", false],
    [`quorum PUT over gRPC, ${at}: at least 1 of ${other}`, "0.99", false],
    [`GET at one, ${at}: at least 0.7 of Quorate, Node 24, alone`, "0.70", true],
    [`PUT, one node down, ${at}: at least 0.8 of ${own}`, "0.80", false],
    [`quorum PUT, ${at}: under 60 µs of CPU`, "60 µs", false],
    [`Node 20: quorum PUT, ${at}: at least 1.5 of ${other}`, "1.50", true],
    [`Node 20: quorum GET, ${at}: at least 1 of ${other}`, "1.00", true],
    [`Node 20: quorum PUT, ${at}: under 90 µs of CPU`, "60 µs", true],
  ]);
  assert.match(reportOf(results), `| ${own} | 60 | 1 | 1 |`);
  const put = groupOf({ "Quorate, Node 24": 1 }, 7);
  assert.match(reportOf({ ...results, put }), `| ${own} |  | 60 | 1 | 1 |`);
});

bench(
  "bench: a load is shared out over nodes, and the keys that the shares reached are counted once",
  () => {
    assert.equal(shares(64, 3), [22, 21, 21]);
    assert.equal(shares(16, 3), [6, 5, 5]);
    assert.equal(beginnings(1000, 3), [0, 333, 666]);
    assert.is(reached(1000, [0, 333, 666], [10, 20, 30]), 60);
    assert.is(
      reached(1000, [0, 333, 666], [400, 20, 30]),
      430,
      "the first reaches into the second's",
    );
    assert.is(reached(1000, [0, 333, 666], [5000, 1, 1]), 1000);
  },
);

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

bench(
  "freePort(): no two of a process are given the same port, though neither listens yet",
  async () => {
    const ports: number[] = [];
    for (let index = 0; index < 600; index += 1) ports.push(await freePort());
    assert.is(new Set(ports).size, ports.length);
  },
);

bench.run();
