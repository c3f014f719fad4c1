/**
 * Move: what clients notice while replicas move: three nodes under load become five.
 *
 * Every request is one of a closed loop: half of them write, half read, at quorum, through the three nodes that were
 * there before. The load is the same before and during the move.
 *
 * Effects: processes, files of the folder, connections.
 *
 * @module
 */

import { randomUUID } from "node:crypto";
import { join } from "node:path";
import type { MovesAnswer } from "../src/api.ts";
import { freePort } from "./free_port.ts";
import type { Runtime } from "./machine.ts";
import { pause, until } from "./process.ts";
import { keyOf, Quorate } from "./quorate.ts";
import { expectBetween, valueBytes } from "./sample.ts";

export interface MovePlan {
  readonly keys: number;
  readonly connections: number;
  /** How long the load is measured before. */
  readonly seconds: number;
}

export const movePlan: Readonly<Record<"full" | "smoke", MovePlan>> = {
  full: { keys: 200_000, connections: 8, seconds: 15 },
  smoke: { keys: 1000, connections: 4, seconds: 2 },
};

export interface LoadFigures {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

export interface Moving extends MovePlan {
  readonly before: LoadFigures;
  readonly during: LoadFigures;
  readonly moveSeconds: number;
}

const founders = 3;
const nodesAfter = 5;

export async function measureMoving(
  runtime: Runtime,
  plan: MovePlan,
  folder: string,
  note: (line: string) => void,
): Promise<Moving> {
  const ports: number[] = [];
  for (let node = 0; node < nodesAfter; node += 1) ports.push(await freePort());
  const environment = { QUORATE_CLUSTER_SECRET: randomUUID() };
  const peers = ports.map((port) => `127.0.0.1:${port}`).join(",");
  const start = (index: number): Promise<Quorate> => {
    const name = `n${index + 1}`;
    const founding = index < founders ? ["--bootstrap-expect", String(founders)] : [];
    const own = { runtime, folder: join(folder, name), name, port: ports[index] as number };
    return Quorate.start({ ...own, environment, flags: ["--peers", peers, ...founding] });
  };
  const nodes = await Promise.all([0, 1, 2].map(start));
  try {
    const [first] = nodes as [Quorate, ...Quorate[]];
    for (const { url } of nodes)
      await until("all serve", async () => (await fetch(`${url}/readyz`)).status === 200);
    await first.fill(plan.keys);
    const load = new Load(nodes.slice(0, founders), plan);
    const before = await load.figures(plan.seconds * 1000);
    note(`move: p99 ${before.p99Ms.toFixed(1)} ms before`);
    for (let index = founders; index < nodesAfter; index += 1) nodes.push(await start(index));
    const moves = (): Promise<MovesAnswer> => ask<MovesAnswer>(`${first.url}/v1/cluster/plan`);
    await until("both wait", async () => (await moves()).waiting.length === nodesAfter - founders);
    const { id } = await ask<{ readonly id: string }>(`${first.url}/v1/cluster/plan`, {
      join: ["n4", "n5"],
    });
    const begunMs = performance.now();
    await ask(`${first.url}/v1/cluster/apply`, { id });
    const during = await load.figures(undefined, async () => (await moves()).move === undefined);
    const moveSeconds = (performance.now() - begunMs) / 1000;
    note(`move: p99 ${during.p99Ms.toFixed(1)} ms during ${moveSeconds.toFixed(1)} s`);
    const cluster = await ask<{
      readonly members: readonly { readonly node: string; readonly replicas: number }[];
    }>(`${first.url}/v1/cluster`);
    const replicasMoved = cluster.members
      .filter(({ node }) => node === "n4" || node === "n5")
      .reduce((sum, { replicas }) => sum + replicas, 0);
    expectBetween("replicas that moved", replicasMoved, 1, Number.MAX_SAFE_INTEGER);
    return { ...plan, before, during, moveSeconds };
  } finally {
    for (const { program } of nodes) await program.kill();
  }
}

/** Requests that go on one after another on each connection; one that fails ends the measurement. */
class Load {
  readonly #nodes: readonly Quorate[];
  readonly #plan: MovePlan;
  #next = 0;

  constructor(nodes: readonly Quorate[], plan: MovePlan) {
    this.#nodes = nodes;
    this.#plan = plan;
  }

  /** For so long, or until `isOver` says so. */
  async figures(
    forMs: number | undefined,
    isOver: () => Promise<boolean> = async () => false,
  ): Promise<LoadFigures> {
    const tookMs: number[] = [];
    const beganMs = performance.now();
    let isDone = false;
    const look = async (): Promise<void> => {
      while (!isDone) {
        await pause(100);
        const isLate = forMs !== undefined && performance.now() - beganMs >= forMs;
        isDone ||= isLate || (await isOver());
      }
    };
    const work = async (): Promise<void> => {
      while (!isDone) {
        const sentMs = performance.now();
        await this.#request();
        tookMs.push(performance.now() - sentMs);
      }
    };
    const works = Array.from({ length: this.#plan.connections }, work).map((each) =>
      each.finally(() => {
        isDone = true;
      }),
    );
    await Promise.all([look(), ...works]);
    const seconds = (performance.now() - beganMs) / 1000;
    tookMs.sort((a, b) => a - b);
    const at = (share: number): number => tookMs[Math.floor(tookMs.length * share)] ?? 0;
    return { perSecond: tookMs.length / seconds, p50Ms: at(0.5), p99Ms: at(0.99) };
  }

  async #request(): Promise<void> {
    const number = this.#next;
    this.#next += 1;
    const { url } = this.#nodes[number % this.#nodes.length] as Quorate;
    const key = keyOf((number * 7919) % this.#plan.keys);
    const isWrite = number % 2 === 0;
    const response = await fetch(`${url}/v1/kv/default/${key}`, {
      ...(isWrite ? { method: "PUT", body: "m".repeat(valueBytes) } : {}),
    });
    const text = await response.text();
    if (response.status !== (isWrite ? 204 : 200)) {
      throw new Error(`a request failed while replicas moved: ${response.status} ${text}`);
    }
  }
}

async function ask<Answer>(url: string, body?: unknown): Promise<Answer> {
  const response = await fetch(url, {
    ...(body === undefined
      ? {}
      : {
          method: "POST",
          headers: { "Content-Type": "application/json" },
          body: JSON.stringify(body),
        }),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${url}: ${response.status} ${text}`);
  return JSON.parse(text) as Answer;
}
