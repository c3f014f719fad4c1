/**
 * Real moves: real processes come and go under load: three nodes become five, and three again, of
 * which two are others than at the beginning. No request fails, and nothing acknowledged is lost.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { MovesAnswer } from "../../src/api.ts";
import { quorate, withFolder } from "../cli_harness.ts";
import { pause, RealCluster, Writers } from "../real_cluster_harness.ts";

const test = suite("real moves");

async function run(cluster: RealCluster, node: number, ...words: string[]): Promise<string> {
  const { url } = cluster.at(node);
  const { code, out, err } = await quorate([...words, "--url", url, "--output", "json"]);
  assert.is(code, 0, err);
  return out;
}

async function moves(cluster: RealCluster, node: number): Promise<MovesAnswer> {
  return JSON.parse(await run(cluster, node, "cluster", "status")) as MovesAnswer;
}

/** Plans and applies on the command line, and waits for the end. */
async function change(cluster: RealCluster, node: number, ...words: string[]): Promise<void> {
  const { id } = JSON.parse(await run(cluster, node, "cluster", "plan", ...words)) as {
    readonly id: string;
  };
  await run(cluster, node, "cluster", "apply", id);
  while ((await moves(cluster, node)).move !== undefined) await pause(200);
}

/** Reads keys that are written meanwhile, and keeps what goes wrong. */
class Readers {
  readonly failures: string[] = [];
  count = 0;
  #isStopping = false;
  readonly #running: Promise<void>;

  constructor(cluster: RealCluster, nodes: readonly number[], writers: Writers) {
    this.#running = Promise.all(nodes.map((node) => this.#read(cluster, node, writers))).then(
      () => {},
    );
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    await this.#running;
  }

  async #read(cluster: RealCluster, node: number, writers: Writers): Promise<void> {
    const { url } = cluster.at(node);
    while (!this.#isStopping) {
      for (const [key, least] of [...writers.acknowledged]) {
        if (this.#isStopping) return;
        const response = await fetch(`${url}/v1/kv/default/${key}`);
        const text = await response.text();
        this.count += 1;
        if (response.status !== 200) this.failures.push(`${key}: ${response.status} ${text}`);
        else if (Number(text) < least) this.failures.push(`${key}: ${text} after ${least}`);
      }
      await pause(5);
    }
  }
}

/** Starting five processes takes its time: the short run lets one come, and nobody go. */
const isLong = process.env["QUORATE_LONG"] === "1";
const course = isLong ? "three nodes become five and three again" : "three nodes become four";

test(`P6: ${course} under load: no request fails, nothing is lost`, () =>
  withFolder(async (folder) => {
    // Phases pass with the heartbeats, and every partition is compared: few of both are enough here.
    const words = ["--gossip-period", "200ms", "--partitions", "32"];
    const cluster = await RealCluster.start(folder, { words: Array(5).fill(words) });
    try {
      const first = new Writers(cluster, [0, 1, 2], "a");
      await first.more(200);
      const firstReaders = new Readers(cluster, [1, 2], first);
      const names = isLong ? ["n4", "n5"] : ["n4"];
      const added: number[] = [];
      for (const _ of names) added.push(await cluster.add(folder));
      while ((await moves(cluster, 0)).waiting.length < names.length) await pause(200);
      await change(cluster, 0, ...names.flatMap((name) => ["--join", name]));
      await cluster.ready(added);
      await first.more(100);
      await first.stop();
      await firstReaders.stop();
      assert.equal([first.failures, firstReaders.failures], [[], []]);
      for (const node of added) await first.check(cluster, node, "?consistency=all");
      if (!isLong) return;

      const second = new Writers(cluster, [2, 3, 4], "b");
      const secondReaders = new Readers(cluster, [3, 4], first);
      await second.more(100);
      await change(cluster, 3, "--leave", "n1", "--leave", "n2");
      await second.more(100);
      await Promise.all([0, 1].map((index) => cluster.at(index).process.end("SIGTERM")));
      await second.more(100);
      await second.stop();
      await secondReaders.stop();
      assert.equal([second.failures, secondReaders.failures], [[], []]);
      assert.ok(firstReaders.count > 0 && secondReaders.count > 0);
      for (const writers of [first, second]) {
        for (const node of [2, 3, 4]) await writers.check(cluster, node, "?consistency=all");
      }
    } finally {
      await cluster.end();
    }
  }));

test.run();
