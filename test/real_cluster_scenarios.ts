/**
 * RealClusterScenarios: what is done to one of three real processes under load, or to all of them.
 *
 * After each fault every acknowledged write is read at `all`, the hints are waited for, and all
 * replicas of every key must hold the same version. A scenario leaves the cluster as it found it,
 * with all three nodes serving, so that several can follow each other.
 *
 * @module
 */

import * as assert from "uvu/assert";
import { type RealCluster, Writers } from "./real_cluster_harness.ts";

export interface Scenario {
  readonly name: string;
  /** `victim` is the index of the node that it happens to. */
  readonly run: (cluster: RealCluster, victim: number, keys?: string) => Promise<void>;
}

const nodes = [0, 1, 2];

/** P1, P5: all that was acknowledged is there, and everywhere the same. */
async function converged(cluster: RealCluster, writers: Writers): Promise<void> {
  await cluster.withoutHints();
  for (const node of nodes) await writers.check(cluster, node, "?consistency=all");
  const keys = [...writers.tried.keys()];
  const counts = await Promise.all(keys.map((key) => cluster.versionsOf(key)));
  assert.equal(
    keys.filter((_, index) => counts[index] !== 1),
    [],
    "every key is the same on all replicas",
  );
}

function othersThan(victim: number): number[] {
  return nodes.filter((node) => node !== victim);
}

export const killed: Scenario = {
  name: "P1 P6: one of three is killed: no write through the others fails, and it catches up",
  run: async (cluster, victim, keys) => {
    const writers = new Writers(cluster, othersThan(victim), keys);
    await writers.more(100);
    await cluster.at(victim).process.end("SIGKILL");
    await writers.more(200);
    cluster.restart(victim);
    await cluster.ready([victim]);
    await writers.more(100);
    await writers.stop();
    assert.equal(writers.failures, []);
    await converged(cluster, writers);
  },
};

export const stopped: Scenario = {
  name: "one of three is stopped and goes on: the others serve, and nothing is lost",
  run: async (cluster, victim, keys) => {
    const writers = new Writers(cluster, othersThan(victim), keys);
    await writers.more(100);
    const { process } = cluster.at(victim);
    process.process.kill("SIGSTOP");
    await writers.more(200);
    process.process.kill("SIGCONT");
    await writers.more(100);
    await writers.stop();
    assert.equal(writers.failures, []);
    await converged(cluster, writers);
  },
};

export const coordinatorKilled: Scenario = {
  name: "P7: a coordinator is killed under load: what it acknowledged is there, what it did not is told",
  run: async (cluster, victim, keys) => {
    const writers = new Writers(cluster, nodes, keys);
    await writers.more(300);
    await cluster.at(victim).process.end("SIGKILL");
    await writers.more(100);
    cluster.restart(victim);
    await cluster.ready([victim]);
    await writers.more(300);
    await writers.stop();
    assert.equal(
      writers.failures.filter(({ node }) => node !== victim),
      [],
    );
    // What the dead coordinator left without a hint is mended by the read at `all`.
    for (const node of nodes) await writers.check(cluster, node, "?consistency=all");
    await converged(cluster, writers);
  },
};

export const allKilled: Scenario = {
  name: "P1: all three are killed at once: every acknowledged write is there after the restart",
  run: async (cluster, _victim, keys) => {
    const writers = new Writers(cluster, nodes, keys);
    await writers.more(200);
    await Promise.all(cluster.members.map(({ process }) => process.end("SIGKILL")));
    for (const index of nodes) cluster.restart(index);
    await cluster.ready();
    await writers.more(100);
    await writers.stop();
    for (const node of nodes) await writers.check(cluster, node, "?consistency=quorum");
    await converged(cluster, writers);
  },
};

export const drained: Scenario = {
  name: "drain-has-zero-failed-requests: a node that is told to stop fails no write through the others",
  run: async (cluster, victim, keys) => {
    const writers = new Writers(cluster, othersThan(victim), keys);
    await writers.more(100);
    const { code } = await cluster.at(victim).process.end("SIGTERM");
    assert.is(code, 0);
    await writers.more(100);
    cluster.restart(victim);
    await cluster.ready([victim]);
    await writers.stop();
    assert.equal(writers.failures, []);
    await converged(cluster, writers);
  },
};
