/**
 * Heal: what it takes until replicas that differ are the same again, and what it costs while they do not.
 *
 * Five nodes with the default limits of repair. One of them is away while some keys are written anew; what is
 * kept for it reaches its bound first, so that comparisons have to bring them.
 *
 *     fill -> compare all, idle -> compare all, under writes -> one away, keys change -> back: until they are there
 *
 * Effects: processes, files of the folder, connections.
 *
 * @module
 */

import { randomUUID } from "node:crypto";
import { join } from "node:path";
import type { RepairAnswer } from "../src/api.ts";
import { segmentsPerPartition } from "../src/ring.ts";
import { freePort } from "./free_port.ts";
import type { Runtime } from "./machine.ts";
import { pause, until } from "./process.ts";
import { keyOf, Quorate } from "./quorate.ts";
import { expectBetween, valueBytes } from "./sample.ts";

export interface HealPlan {
  readonly keys: number;
  /** How many of them differ on one node. */
  readonly differing: number;
  readonly writesPerSecond: number;
  readonly writeSeconds: number;
}

export const healPlan: Readonly<Record<"full" | "smoke", HealPlan>> = {
  full: { keys: 1_000_000, differing: 10_000, writesPerSecond: 2000, writeSeconds: 30 },
  smoke: { keys: 2000, differing: 200, writesPerSecond: 100, writeSeconds: 2 },
};

export interface Healing extends HealPlan {
  /** From the moment that the node serves again until every key is there that it missed. */
  readonly healMs: number;
  /** Records that comparisons brought; hints brought the rest. */
  readonly byRepair: number;
  /** What comparing all pairs once costs a node, and what that is of one core in a period. */
  readonly compareCpuMs: number;
  readonly compareShare: number;
  /** Under writes: of the segments that were compared, those that differed for no reason but that. */
  readonly falseShare: number;
  readonly writesPerSecond: number;
}

const nodeCount = 5;
const hintBytesMax = 2 * 1024 * 1024;
const fillerBytes = 64 * 1024;
const readsAtOnce = 16;

export async function measureHealing(
  runtime: Runtime,
  plan: HealPlan,
  folder: string,
  note: (line: string) => void,
): Promise<Healing> {
  const cluster = await HealingCluster.start(runtime, folder);
  try {
    await cluster.first.fill(plan.keys);
    note(`heal: ${plan.keys} keys are there`);
    await cluster.quiet();
    const idle = await cluster.compareAll();
    note(`heal: comparing all takes a node ${Math.round(idle.cpuMs)} ms of its processor`);
    const writing = await cluster.compareUnderWrites(plan);
    note(`heal: under writes ${writing.falseShare} of the segments differ`);
    const healed = await cluster.heal(plan);
    note(`heal: ${plan.differing} keys were there after ${Math.round(healed.healMs)} ms`);
    return {
      ...plan,
      ...healed,
      compareCpuMs: idle.cpuMs,
      compareShare: idle.cpuMs / idle.periodMs,
      ...writing,
    };
  } finally {
    await cluster.stop();
  }
}

class HealingCluster {
  readonly #runtime: Runtime;
  readonly #folder: string;
  readonly #ports: readonly number[];
  readonly #environment = { QUORATE_CLUSTER_SECRET: randomUUID() };
  #nodes: readonly Quorate[] = [];

  private constructor(runtime: Runtime, folder: string, ports: readonly number[]) {
    this.#runtime = runtime;
    this.#folder = folder;
    this.#ports = ports;
  }

  static async start(runtime: Runtime, folder: string): Promise<HealingCluster> {
    const ports: number[] = [];
    for (let node = 0; node < nodeCount; node += 1) ports.push(await freePort());
    const cluster = new HealingCluster(runtime, folder, ports);
    cluster.#nodes = await Promise.all(ports.map((_, index) => cluster.#startNode(index)));
    await until("all serve", async () => (await cluster.#ready()) === nodeCount);
    return cluster;
  }

  get first(): Quorate {
    return this.#nodes[0] as Quorate;
  }

  async stop(): Promise<void> {
    for (const { program } of this.#nodes) await program.kill();
  }

  /** Resolves when nothing is kept for anybody, and nothing is due to be compared. */
  async quiet(): Promise<void> {
    await until("no hints are left", async () => {
      const answers = await this.#all<{ readonly count: number }>("/v1/hints");
      return answers.every(({ count }) => count === 0);
    });
    await until("nothing is to be compared", async () => {
      const answers = await this.#repairs();
      return answers.every(({ due, running, markCount }) => due + running.length + markCount === 0);
    });
  }

  /** Every node compares all that it has, once, while nothing else is done. */
  async compareAll(): Promise<{ readonly cpuMs: number; readonly periodMs: number }> {
    const idleMs = 10_000;
    const beforeIdle = this.#cpuMs;
    await pause(idleMs);
    const idleShare = (this.#cpuMs - beforeIdle) / idleMs;
    const before = this.#cpuMs;
    const begunMs = performance.now();
    await this.#askAll();
    await this.quiet();
    const tookMs = performance.now() - begunMs;
    const cpuMs = (this.#cpuMs - before - idleShare * tookMs) / nodeCount;
    const [{ periodMs = 0 } = {}] = await this.#repairs();
    return { cpuMs: Math.max(0, cpuMs), periodMs };
  }

  async compareUnderWrites({
    keys,
    writesPerSecond,
    writeSeconds,
  }: HealPlan): Promise<{ readonly falseShare: number; readonly writesPerSecond: number }> {
    const before = await this.#compared();
    const endMs = performance.now() + writeSeconds * 1000;
    const value = "w".repeat(valueBytes);
    let written = 0;
    const beganMs = performance.now();
    const write = async (): Promise<void> => {
      while (performance.now() < endMs) {
        const dueMs = beganMs + (written * 1000) / writesPerSecond;
        const index = written;
        written += 1;
        const waitMs = dueMs - performance.now();
        if (waitMs > 0) await pause(waitMs);
        await this.#put(keyOf((index * 7919) % keys), value, index % nodeCount);
      }
    };
    const compare = async (): Promise<void> => {
      while (performance.now() < endMs) {
        await this.#askAll();
        await pause(500);
      }
    };
    await Promise.all([...Array.from({ length: 2 * readsAtOnce }, write), compare()]);
    const tookMs = performance.now() - beganMs;
    await this.quiet();
    const after = await this.#compared();
    const segments = (after.whole - before.whole) * segmentsPerPartition;
    expectBetween("segments compared", segments, 1, Number.MAX_SAFE_INTEGER);
    return {
      falseShare: (after.differing - before.differing) / segments,
      writesPerSecond: (written * 1000) / tookMs,
    };
  }

  async heal({ differing }: HealPlan): Promise<{ healMs: number; byRepair: number }> {
    const last = nodeCount - 1;
    await (this.#nodes[last] as Quorate).program.kill();
    const filler = "f".repeat(fillerBytes);
    // Three of five replicas: not every key is one of the node that is away.
    for (let at = 0; at * fillerBytes < 4 * hintBytesMax; at += 1)
      await this.#put(`filler:${at}`, filler, 0);
    const value = "d".repeat(valueBytes);
    await this.#eachKey(differing, (key) => this.#put(key, value, 0));
    const pushedBefore = await this.#pushed(last);
    const node = await this.#startNode(last);
    this.#nodes = [...this.#nodes.slice(0, last), node];
    await until("it serves again", async () => (await this.#ready()) === nodeCount);
    const begunMs = performance.now();
    await until("all has come", async () => (await this.#unequal(differing)) === 0);
    const healMs = performance.now() - begunMs;
    await this.quiet();
    return { healMs, byRepair: await this.#brought(last, pushedBefore) };
  }

  /** How many of the first keys differ between their replicas; the first that does ends it. */
  async #unequal(keys: number): Promise<number> {
    let unequal = 0;
    await this.#eachKey(keys, async (key) => {
      if (unequal > 0) return;
      const response = await fetch(`${this.first.url}/v1/explain/default/${key}`);
      const { replicas } = (await response.json()) as {
        readonly replicas: readonly { readonly status: string; readonly version?: string }[];
      };
      if (new Set(replicas.map(({ status, version }) => version ?? status)).size > 1) unequal += 1;
    });
    return unequal;
  }

  async #eachKey(keys: number, run: (key: string) => Promise<void>): Promise<void> {
    let next = 0;
    const worker = async (): Promise<void> => {
      while (next < keys) {
        const key = keyOf(next);
        next += 1;
        await run(key);
      }
    };
    await Promise.all(Array.from({ length: readsAtOnce }, worker));
  }

  async #put(key: string, body: string, node: number): Promise<void> {
    const { url } = this.#nodes[node] as Quorate;
    const response = await fetch(`${url}/v1/kv/default/${key}`, { method: "PUT", body });
    const said = await response.text();
    if (response.status !== 204) throw new Error(`a write was refused: ${said}`);
  }

  async #askAll(): Promise<void> {
    for (const { url } of this.#nodes) {
      const response = await fetch(`${url}/v1/repair`, { method: "POST" });
      await response.arrayBuffer();
    }
  }

  /** Records that comparisons of the others have sent, and of this node, since its start, got. */
  async #brought(node: number, pushedBefore: number): Promise<number> {
    const own = (await this.#repairs())[node];
    return (own?.pulled ?? 0) + (await this.#pushed(node)) - pushedBefore;
  }

  async #pushed(butBy: number): Promise<number> {
    const others = this.#nodes.filter((_, node) => node !== butBy);
    const repairs = await this.#all<RepairAnswer>("/v1/repair", others);
    return repairs.reduce((total, { pushed }) => total + pushed, 0);
  }

  /** Over all nodes: comparisons that came to their end, and segments that differed. */
  async #compared(): Promise<{ whole: number; differing: number }> {
    const repairs = await this.#repairs();
    let differing = 0;
    for (const { url } of this.#nodes) {
      const text = await (await fetch(`${url}/metrics`)).text();
      differing += Number(/^quorate_repair_segments_total (\d+)/m.exec(text)?.[1] ?? 0);
    }
    return { whole: repairs.reduce((total, { whole }) => total + whole, 0), differing };
  }

  #repairs(): Promise<RepairAnswer[]> {
    return this.#all<RepairAnswer>("/v1/repair");
  }

  #all<Answer>(path: string, nodes = this.#nodes): Promise<Answer[]> {
    return Promise.all(
      nodes.map(async ({ url }) => (await (await fetch(url + path)).json()) as Answer),
    );
  }

  async #ready(): Promise<number> {
    const answers = await Promise.all(
      this.#nodes.map(async ({ url }) => {
        const response = await fetch(`${url}/readyz`).catch(() => undefined);
        await response?.arrayBuffer();
        return response?.status === 200;
      }),
    );
    return answers.filter((isReady) => isReady).length;
  }

  get #cpuMs(): number {
    return this.#nodes.reduce((sum, { program }) => sum + program.cpuUs / 1000, 0);
  }

  #startNode(index: number): Promise<Quorate> {
    const peers = this.#ports.map((port) => `127.0.0.1:${port}`).join(",");
    const name = `n${index + 1}`;
    return Quorate.start({
      runtime: this.#runtime,
      folder: join(this.#folder, name),
      name,
      port: this.#ports[index] as number,
      environment: this.#environment,
      flags: [
        ...["--peers", peers, "--bootstrap-expect", String(nodeCount)],
        ...["--hint-bytes", "2MiB"],
      ],
    });
  }
}
