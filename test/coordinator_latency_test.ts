/** How long a read waits for a replica before it asks another: a table of measurements. */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { hedgeMaxMs, hedgeMinMs, Latencies } from "../src/coordinator_latency.ts";

const test = suite("coordinator_latency");

test("a hedge waits for a power of two above the mean and four deviations, within its bounds", () => {
  const table = [
    [[], 64],
    [[0.2], hedgeMinMs],
    [Array.from({ length: 50 }, () => 10), 16],
    [Array.from({ length: 50 }, (_, index) => (index % 2 === 0 ? 5 : 15)), 32],
    [[60_000], hedgeMaxMs],
  ] as const;
  for (const [tookMs, expected] of table) {
    const latencies = new Latencies();
    for (const one of tookMs) latencies.note("n", one);
    assert.is(
      latencies.hedgeMs("n"),
      expected,
      `${tookMs.length} answers, the last ${tookMs.at(-1)}`,
    );
  }
});

test("an answer that is once slow moves the mean by an eighth, and an unknown node comes first", () => {
  const latencies = new Latencies();
  latencies.note("a", 8);
  latencies.note("a", 16);
  assert.is(latencies.meanMs("a"), 9);
  assert.is(latencies.meanMs("unknown"), 0);
});

test.run();
