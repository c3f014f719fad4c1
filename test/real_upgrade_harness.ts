/**
 * RealUpgradeHarness: the program of an earlier commit beside the present one, in one cluster.
 *
 * The earlier one comes out of the history of this repository, into a folder of the test. Where there is no
 * such history (an archive, a clone without depth), the tests say so and do nothing.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import * as assert from "uvu/assert";
import { Running, type RunningOptions, root, startCli } from "./cli_process.ts";
import { pause, RealCluster } from "./real_cluster_harness.ts";
import { Client, keyPath, listAll } from "./real_harness.ts";

/** The last commit whose program speaks version 1 of the protocol alone, and tells a single number. */
export const earlierCommit = "0e813c7";

export type Kind = "earlier" | "present";

/** Why the earlier program is not to be had here; undefined: it is. */
export function whyNoHistory(): string | undefined {
  const found = spawnSync("git", ["-C", root, "cat-file", "-e", `${earlierCommit}^{commit}`]);
  if (found.error !== undefined) return "git is not on this machine";
  if (found.status === 0) return undefined;
  return `the history of this folder has no commit ${earlierCommit}: it is no clone, or not a whole one`;
}

/** The sources of the earlier program, with the packages of the present one. */
export function unpackEarlier(folder: string): string {
  const program = path.join(folder, "earlier");
  fs.mkdirSync(program);
  const archive = path.join(folder, "earlier.tar");
  const commands: readonly (readonly [string, ...string[]])[] = [
    ["git", "-C", root, "archive", "--format=tar", "-o", archive, earlierCommit],
    ["tar", "-xf", archive, "-C", program],
  ];
  for (const [command, ...words] of commands) {
    const { status, stderr } = spawnSync(command, words, { encoding: "utf8" });
    assert.is(status, 0, `${command} ${words.join(" ")}: ${stderr}`);
  }
  fs.symlinkSync(path.join(root, "node_modules"), path.join(program, "node_modules"));
  return program;
}

/** Starts the earlier `quorate` with some words. */
export function startEarlier(
  program: string,
  words: readonly string[],
  options: RunningOptions = {},
): Running {
  const cli = path.join(program, "src/cli.ts");
  return new Running(process.execPath, ["--import", "tsx", cli, ...words], {
    ...options,
    cwd: program,
  });
}

export interface FeatureAnswer {
  readonly name: string;
  readonly on: boolean;
  readonly waitsFor: readonly string[];
}

interface ClusterBody {
  readonly epoch: number;
  readonly protocol?: number;
  readonly features?: readonly FeatureAnswer[];
}

/** Three nodes, each of which runs the program that is named for it. */
export class MixedCluster {
  readonly cluster: RealCluster;
  readonly kinds: Kind[];

  private constructor(cluster: RealCluster, kinds: Kind[]) {
    this.cluster = cluster;
    this.kinds = kinds;
  }

  static async start(
    folder: string,
    kinds: readonly Kind[],
    words: readonly string[] = [],
  ): Promise<MixedCluster> {
    const program = unpackEarlier(folder);
    const present = [...kinds];
    const cluster = await RealCluster.start(path.join(folder, "data"), {
      words: kinds.map(() => words),
      launch: (given, options, index) =>
        present[index] === "earlier"
          ? startEarlier(program, given, options)
          : startCli(given, options),
    });
    return new MixedCluster(cluster, present);
  }

  /** Ends a node in order, and starts it again with the program that is named. */
  async change(index: number, kind: Kind): Promise<void> {
    await this.stop(index);
    this.kinds[index] = kind;
    this.cluster.restart(index);
    await this.cluster.ready([index]);
  }

  async stop(index: number): Promise<void> {
    const { process } = this.cluster.at(index);
    const { code } = await process.end("SIGTERM");
    assert.is(code, 0, process.err);
  }

  /** Ends a node in order, starts it with the program that is named, and answers how that ended. */
  async refused(index: number, kind: Kind): Promise<{ code: number | null; said: string }> {
    await this.stop(index);
    const before = this.kinds[index] as Kind;
    this.kinds[index] = kind;
    this.cluster.restart(index);
    const { process } = this.cluster.at(index);
    const { code } = await process.ended;
    this.kinds[index] = before;
    return { code, said: process.err };
  }

  async told(index: number): Promise<ClusterBody> {
    const response = await fetch(`${this.cluster.at(index).url}/v1/cluster`);
    return (await response.json()) as ClusterBody;
  }

  /** Resolves when each of these says that a version is on. */
  async whenOn(protocol: number, indexes: readonly number[]): Promise<void> {
    for (const index of indexes) {
      while ((await this.told(index)).protocol !== protocol) await pause(50);
    }
  }

  /** A write, a read, a list, a comparison and a hint, from one node to the others. */
  async across(from: number, to: number, name: string): Promise<void> {
    const [source, target] = [from, to].map((index) => new Client(this.cluster.at(index).url));
    if (source === undefined || target === undefined) throw new Error("two nodes are named");
    const ask = async (client: Client, method: string, at: string, body?: string) => {
      const answer = await client.ask(method, at, body);
      assert.ok(answer.status < 300, `${name}: ${method} ${at}: ${answer.status} ${answer.body}`);
      return answer.body;
    };
    const key = (suffix: string) => keyPath(`${name}-${suffix}`);
    await ask(source, "PUT", `${key("all")}?consistency=all`, "written");
    assert.is(await ask(target, "GET", `${key("all")}?consistency=all`), "written");
    await ask(source, "DELETE", `${key("all")}?consistency=all`);
    await ask(source, "PUT", `${key("kept")}?consistency=all`, "kept");
    assert.equal([...(await listAll(source))], [...(await listAll(target))], `${name}: lists`);
    await this.#hint(source, { name, to });
    const before = JSON.parse(await ask(source, "GET", "/v1/repair")) as { agreed: number };
    await ask(source, "POST", "/v1/repair");
    for (;;) {
      const { agreed } = JSON.parse(await ask(source, "GET", "/v1/repair")) as { agreed: number };
      if (agreed > before.agreed) break;
      await pause(50);
    }
    source.close();
    target.close();
  }

  /** What was written while a node was away, it has when it is back: by hints, and where they found no room. */
  async #hint(source: Client, { name, to }: { name: string; to: number }): Promise<void> {
    await this.cluster.at(to).process.end("SIGKILL");
    const keys = Array.from({ length: 30 }, (_, index) => `${name}-missed-${index}`);
    for (const [index, key] of keys.entries()) {
      const answer = await source.ask("PUT", keyPath(key), `${index}`.padStart(100 * 1024, "."));
      assert.is(answer.status, 204, answer.body);
    }
    this.cluster.restart(to);
    await this.cluster.ready([to]);
    await this.cluster.withoutHints();
    for (const key of keys) {
      while ((await this.cluster.versionsOf(key)) !== 1) await pause(50);
    }
  }
}
