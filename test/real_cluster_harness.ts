/**
 * RealClusterHarness: three processes that are one cluster, and writers that never stop.
 *
 * Each writer owns its keys and counts up in them, so the truth of a key is two numbers: the last
 * that was acknowledged and the last that was tried. What is read later lies between them.
 *
 * @module
 */

import * as path from "node:path";
import * as assert from "uvu/assert";
import { freePort } from "../bench/free_port.ts";
import { Ways } from "../chaos/proxy.ts";
import { type Running, type RunningOptions, startCli } from "./cli_process.ts";

/** Starts `quorate` with these words, as the node of this index. */
export type Launch = (words: readonly string[], options: RunningOptions, index: number) => Running;

export interface Member {
  readonly name: string;
  readonly port: number;
  readonly folder: string;
  readonly url: string;
  process: Running;
}

interface Explained {
  readonly replicas: readonly { readonly status: string; readonly version?: string }[];
}

export interface RealClusterOptions {
  /** Default: the program as the tests run it. */
  readonly launch?: Launch;
  /** Every node reaches every other one through a proxy of its own. */
  readonly isProxied?: boolean;
  /** What a process is given beside its settings. */
  readonly environments?: readonly Readonly<Record<string, string>>[];
  /** More words for each process. */
  readonly words?: readonly (readonly string[])[];
}

export class RealCluster {
  readonly members: Member[] = [];
  readonly #ports: number[];
  readonly #ways: Ways | undefined;
  readonly #options: RealClusterOptions;

  private constructor(ports: number[], ways: Ways | undefined, options: RealClusterOptions) {
    this.#ports = ports;
    this.#ways = ways;
    this.#options = options;
  }

  /** Resolves when all three serve. */
  static async start(folder: string, options: RealClusterOptions = {}): Promise<RealCluster> {
    const ports = await Promise.all([freePort(), freePort(), freePort()]);
    const ways = options.isProxied === true ? await Ways.between(ports) : undefined;
    const cluster = new RealCluster(ports, ways, options);
    for (const [index, port] of ports.entries()) {
      const name = `n${index + 1}`;
      const own = path.join(folder, name);
      const url = `http://127.0.0.1:${port}`;
      const process = cluster.#run(index, own);
      cluster.members.push({ name, port, folder: own, url, process });
    }
    try {
      await cluster.ready();
    } catch (error) {
      await cluster.end();
      throw error;
    }
    return cluster;
  }

  /** Starts one more, which asks to join; resolves with its index. */
  async add(folder: string): Promise<number> {
    const index = this.members.length;
    const port = await freePort();
    this.#ports.push(port);
    const name = `n${index + 1}`;
    const own = path.join(folder, name);
    const process = this.#run(index, own, []);
    this.members.push({ name, port, folder: own, url: `http://127.0.0.1:${port}`, process });
    return index;
  }

  get ways(): Ways {
    assert.ok(this.#ways !== undefined, "the cluster has proxies");
    return this.#ways as Ways;
  }

  at(index: number): Member {
    return this.members[index] as Member;
  }

  restart(index: number): void {
    const member = this.at(index);
    member.process = this.#run(index, member.folder);
  }

  /** Resolves when these (all, unless they are named) serve. */
  async ready(indexes: readonly number[] = [0, 1, 2]): Promise<void> {
    for (const index of indexes) {
      const { url, process } = this.at(index);
      let hasEnded = false;
      void process.ended.then(() => {
        hasEnded = true;
      });
      while (!(await isReady(url))) {
        assert.not.ok(hasEnded, `n${index + 1} goes on:\n${process.err}`);
        await pause(50);
      }
    }
  }

  /** Resolves when no node keeps hints for another. */
  async withoutHints(): Promise<void> {
    for (const { url } of this.members) {
      for (;;) {
        const response = await fetch(`${url}/v1/hints`);
        const { count } = (await response.json()) as { count: number };
        if (count === 0) break;
        await pause(50);
      }
    }
  }

  /** How many different versions the replicas of a key hold. */
  async versionsOf(key: string): Promise<number> {
    const response = await fetch(`${this.at(0).url}/v1/explain/default/${key}`);
    const { replicas } = (await response.json()) as Explained;
    return new Set(replicas.map(({ status, version }) => version ?? status)).size;
  }

  async end(): Promise<void> {
    for (const { process } of this.members) process.process.kill("SIGCONT");
    await Promise.all(this.members.map(({ process }) => process.end("SIGKILL")));
    await this.#ways?.close();
  }

  #run(index: number, folder: string, begin = ["--bootstrap-expect", "3"]): Running {
    const { environments = [], words = [], launch = startCli } = this.#options;
    const peers = this.#ports.map((port) => `127.0.0.1:${port}`);
    const routes = peers
      .map((peer, other) => [other, peer] as const)
      .filter(([other]) => this.#ways !== undefined && other !== index)
      .map(([other, peer]) => `${peer}=127.0.0.1:${this.ways.at(index, other).port}`);
    return launch(
      [
        ...["serve", "--name", `n${index + 1}`, "--port", String(this.#ports[index])],
        ...["--data-dir", folder, "--peers", peers.join(","), ...begin],
        ...["--segment-bytes", "2MiB", ...routes.flatMap((route) => ["--peer-route", route])],
        ...(words[index] ?? []),
      ],
      {
        environment: {
          QUORATE_CLUSTER_SECRET: "a-secret-of-the-tests-0123456789",
          ...environments[index],
        },
      },
      index,
    );
  }
}

const writersPerNode = 3;

/** Writers that go on until they are told to stop. */
export class Writers {
  readonly acknowledged = new Map<string, number>();
  readonly tried = new Map<string, number>();
  /** What was not acknowledged, by the index of the node that was asked. */
  readonly failures: { readonly node: number; readonly status: number; readonly text: string }[] =
    [];
  /** The longest that one acknowledged write took, in ms. */
  slowestMs = 0;
  #isStopping = false;
  readonly #name: string;
  readonly #running: Promise<void>[];

  /** `name` begins their keys: writers of one cluster share none. */
  constructor(cluster: RealCluster, nodes: readonly number[], name = "w") {
    this.#name = name;
    this.#running = nodes.flatMap((node) =>
      Array.from({ length: writersPerNode }, (_, writer) => this.#write(cluster, node, writer)),
    );
  }

  get count(): number {
    let sum = 0;
    for (const number of this.acknowledged.values()) sum += number;
    return sum;
  }

  /** Resolves when so many more were acknowledged. */
  async more(count: number): Promise<void> {
    const least = this.count + count;
    while (this.count < least) await pause(10);
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    await Promise.all(this.#running);
  }

  async #write(cluster: RealCluster, node: number, writer: number): Promise<void> {
    const { url } = cluster.at(node);
    for (let number = 1; !this.#isStopping; number += 1) {
      const key = `${this.#name}${node}-${writer}-${number % 8}`;
      const value = String(number);
      this.tried.set(key, number);
      const beganMs = performance.now();
      const failure = await put(`${url}/v1/kv/default/${key}`, value);
      if (failure === undefined) {
        this.acknowledged.set(key, number);
        this.slowestMs = Math.max(this.slowestMs, performance.now() - beganMs);
      } else {
        this.failures.push({ node, ...failure });
        await pause(20);
      }
    }
  }

  /** Every key, read from a node, holds the last acknowledged number or a later try. */
  async check(cluster: RealCluster, node: number, query: string): Promise<void> {
    const { url } = cluster.at(node);
    await Promise.all(
      [...this.tried].map(async ([key, tried]) => {
        const response = await fetch(`${url}/v1/kv/default/${key}${query}`);
        const text = await response.text();
        const least = this.acknowledged.get(key) ?? 0;
        if (response.status === 404 && least === 0) return;
        assert.is(response.status, 200, `${key}: ${text}`);
        const held = Number(text);
        assert.ok(held >= least && held <= tried, `${key}: ${least} <= ${held} <= ${tried}`);
      }),
    );
  }
}

async function put(
  url: string,
  body: string,
): Promise<{ readonly status: number; readonly text: string } | undefined> {
  try {
    const response = await fetch(url, { method: "PUT", body });
    const text = await response.text();
    return response.status === 204 ? undefined : { status: response.status, text };
  } catch (error) {
    return { status: 0, text: String(error) };
  }
}

export async function isReady(url: string): Promise<boolean> {
  try {
    const response = await fetch(`${url}/readyz`);
    await response.arrayBuffer();
    return response.status === 200;
  } catch {
    return false;
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
