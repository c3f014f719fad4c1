/**
 * Real cluster: three real processes under load, and what is done to one of them, or to all.
 *
 * The scenarios are those of `real_cluster_scenarios.ts`, each on a cluster of its own. The same run
 * in `conformance/` on a cluster whose nodes are of different runtimes.
 */
import { suite } from "uvu";
import { withFolder } from "./cli_harness.ts";
import { RealCluster } from "./real_cluster_harness.ts";
import {
  allKilled,
  coordinatorKilled,
  drained,
  killed,
  type Scenario,
  stopped,
} from "./real_cluster_scenarios.ts";

const test = suite("real cluster");

function see({ name, run }: Scenario, victim: number): void {
  test(name, () =>
    withFolder(async (folder) => {
      const cluster = await RealCluster.start(folder);
      try {
        await run(cluster, victim);
      } finally {
        await cluster.end();
      }
    }),
  );
}

see(killed, 2);
see(allKilled, 0);
// Starting three processes takes its time: the short run kills one of them, and all.
if (process.env["QUORATE_LONG"] === "1") {
  see(stopped, 2);
  see(coordinatorKilled, 0);
  see(drained, 2);
}

test.run();
