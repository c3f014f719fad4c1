/**
 * Mixed cluster: one cluster whose three nodes are each of another runtime.
 *
 * What `test/real_cluster_test.ts` does to one node of a cluster of Node is done here to each
 * runtime in turn, on one cluster: so each of them is the one that is killed, the one that keeps the
 * hints for the killed one, and the one that coordinates meanwhile.
 *
 * @module
 */

import assert from "node:assert/strict";
import { Running } from "../test/cli_process.ts";
import { type Launch, pause, RealCluster } from "../test/real_cluster_harness.ts";
import {
  allKilled,
  coordinatorKilled,
  drained,
  killed,
  type Scenario,
  stopped,
} from "../test/real_cluster_scenarios.ts";
import type { Check } from "./checks.ts";
import { type Ask, ask, type Protocol, protocols } from "./http_client.ts";
import type { Nodes } from "./nodes.ts";
import { endWithRun } from "./processes.ts";
import { type Runtime, root, runtimes } from "./tools.ts";

const scenarioLimitMs = 90_000;
const levels = ["one", "quorum", "all"] as const;

/** The runtime of each node, n1 first. */
export const mixedRuntimes: readonly Runtime[] = runtimes.filter(({ name }) => name !== "node20");

/** Resolves when all three serve. */
export function startMixedCluster(folder: string): Promise<RealCluster> {
  const launch: Launch = (words, { environment }, index) => {
    const runtime = mixedRuntimes[index];
    assert.ok(runtime !== undefined, `there is a runtime for n${index + 1}`);
    const node = new Running(runtime.command, [...runtime.cliWords, ...words], {
      cwd: root,
      environment: { ...environment, ...runtime.environment },
    });
    endWithRun(node.process);
    return node;
  };
  return RealCluster.start(folder, { launch });
}

/** Longer than a node may be silent: by then one that is not heard would be called gone. */
const quietMs = 25_000;

/** A link between nodes of any two runtimes lasts, with requests on it and without. */
export async function linksLast(cluster: RealCluster, nodes: Nodes): Promise<void> {
  const stateOf = async () => ({
    cut: await nodes.cut(),
    lost: cluster.members.map(
      ({ process }) => process.err.match(/The link to a node was cut/g)?.length ?? 0,
    ),
  });
  const before = await stateOf();
  await pause(quietMs);
  assert.deepEqual(await stateOf(), before);
}

export function mixedClusterChecks(cluster: RealCluster): Check[] {
  const everyVictim = [killed, coordinatorKilled, stopped, drained].flatMap((scenario) =>
    mixedRuntimes.map(({ name }, victim) => scenarioCheck(cluster, scenario, { name, victim })),
  );
  return [
    ...levels.map((level) => ({
      name: `what each node writes at ${level} is read through each`,
      run: () => writeAndReadThroughEach(cluster, level),
    })),
    { name: "a list through each node is the same", run: () => listThroughEach(cluster) },
    ...everyVictim,
    scenarioCheck(cluster, allKilled, { name: "all", victim: 0 }),
  ];
}

function scenarioCheck(
  cluster: RealCluster,
  { name, run }: Scenario,
  of: { readonly name: string; readonly victim: number },
): Check {
  return {
    name: `${of.name}: ${name}`,
    limitMs: scenarioLimitMs,
    run: () => run(cluster, of.victim, `${name.replace(/\W+/g, "-")}-${of.name}-`),
  };
}

/** Asks the node of an index, over one protocol after the other. */
async function askNode(cluster: RealCluster, index: number, asked: Ask) {
  const protocol = protocols[index % protocols.length] as Protocol;
  return ask(cluster.at(index).port, protocol, asked);
}

async function writeAndReadThroughEach(
  cluster: RealCluster,
  level: (typeof levels)[number],
): Promise<void> {
  const indexes = [...cluster.members.keys()];
  // With r + w > n a read sees the write: at one, all must have taken it.
  const write = level === "one" ? "all" : level === "all" ? "one" : "quorum";
  for (const writer of indexes) {
    const target = `/v1/kv/default/${level}-${writer}`;
    const body = `at ${level} by n${writer + 1}`;
    const put = { method: "PUT", target: `${target}?consistency=${write}`, body };
    const written = await askNode(cluster, writer, put);
    assert.equal(written.status, 204, written.text);
    for (const reader of indexes) {
      const read = await askNode(cluster, reader, { target: `${target}?consistency=${level}` });
      assert.equal(read.text, body, `read through n${reader + 1}`);
    }
    const gone = { method: "DELETE", target: `${target}?consistency=${write}` };
    assert.equal((await askNode(cluster, (writer + 1) % 3, gone)).status, 204);
    for (const reader of indexes) {
      const read = await askNode(cluster, reader, { target: `${target}?consistency=${level}` });
      assert.equal(read.status, 404, `read through n${reader + 1}: ${read.text}`);
    }
  }
}

async function listThroughEach(cluster: RealCluster): Promise<void> {
  const names = Array.from({ length: 60 }, (_, n) => `list/${String(n).padStart(2, "0")}`);
  for (const [n, name] of names.entries()) {
    const put = { method: "PUT", target: `/v1/kv/default/${name}`, body: name };
    assert.equal((await askNode(cluster, n % 3, put)).status, 204);
  }
  const seen: string[] = [];
  let query = "?prefix=list/&limit=7&values=1";
  // Each page through another node: a cursor is good at all of them.
  for (let page = 0; page < names.length; page += 1) {
    const { text } = await askNode(cluster, page % 3, { target: `/v1/keys/default${query}` });
    const { items, next } = JSON.parse(text) as {
      items: { key: string; value: string }[];
      next?: string;
    };
    for (const { key, value } of items) {
      assert.equal(value, key);
      seen.push(key);
    }
    if (next === undefined) break;
    query = `?prefix=list/&limit=7&values=1&cursor=${encodeURIComponent(next)}`;
  }
  assert.deepEqual(seen, names);
}

/** An end in order, of all three at once; answers what is wrong with it. */
export async function stopMixedCluster(cluster: RealCluster): Promise<void> {
  const ends = await Promise.all(cluster.members.map(({ process }) => process.end("SIGTERM")));
  for (const [index, { code }] of ends.entries()) {
    const { name } = mixedRuntimes[index] as Runtime;
    const { err } = cluster.at(index).process;
    assert.equal(code, 0, `${name}: ${err.slice(-1500)}`);
    const faults = err.split("\n").filter((line) => /"level":"error"/.test(line));
    assert.deepEqual(faults.slice(0, 5), [], `the log of ${name}`);
  }
}
