/**
 * Memory: what a node with a million keys holds, and how fast it then answers.
 *
 * RssAnon is read from /proc while the GETs run, every quarter of a second; the figure is the
 * highest. It leaves out the pages of the index that are mapped from its file: the kernel can take
 * those back at any time.
 *
 * Effects: processes, files of the folder.
 *
 * @module
 */

import { join } from "node:path";
import { type Runtime, type Runtimes, rssAnonBytes } from "./machine.ts";
import { Quorate } from "./quorate.ts";
import { expectBetween, type Journal, median, type Sample } from "./sample.ts";

const connections = 64;
const everyMs = 250;

export interface MemoryRow {
  readonly peer: string;
  readonly keys: number;
  /** How long the keys took, in batches of 1,000. */
  readonly loadSeconds: number;
  readonly rssAnonBytes: number;
  readonly getsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

export interface MemoryPlan {
  readonly keys: number;
  readonly seconds: number;
  readonly rounds: number;
}

export const memoryPlan: Readonly<Record<"full" | "smoke", MemoryPlan>> = {
  full: { keys: 1_000_000, seconds: 5, rounds: 5 },
  smoke: { keys: 10_000, seconds: 1, rounds: 1 },
};

export async function measureMemory(
  { all }: Runtimes,
  plan: MemoryPlan,
  folder: string,
  { note, fail }: Journal,
): Promise<MemoryRow[]> {
  const rows: MemoryRow[] = [];
  for (const runtime of all) {
    try {
      const row = await measureOne(runtime, plan, join(folder, runtime.name));
      rows.push(row);
      note(`memory, ${runtime.name}: ${Math.round(row.rssAnonBytes / 1e6)} MB`);
    } catch (error) {
      fail(`memory, ${runtime.name}: ${(error as Error).message}`);
    }
  }
  return rows;
}

async function measureOne(runtime: Runtime, plan: MemoryPlan, folder: string): Promise<MemoryRow> {
  const node = await Quorate.start({ runtime, folder });
  try {
    return await measureNode(node, plan);
  } finally {
    await node.stop();
  }
}

async function measureNode(node: Quorate, plan: MemoryPlan): Promise<MemoryRow> {
  const startedMs = performance.now();
  await node.fill(plan.keys);
  const loadSeconds = (performance.now() - startedMs) / 1000;
  expectBetween("keys", await node.count(), plan.keys, plan.keys);
  let highest = 0;
  const look = (): void => {
    highest = Math.max(highest, rssAnonBytes(node.program.pid));
  };
  const timer = setInterval(look, everyMs);
  const samples: Sample[] = [];
  try {
    for (let round = 0; round < plan.rounds; round += 1) {
      samples.push(await node.run("get", { ...plan, connections, marker: "" }));
    }
    look();
  } finally {
    clearInterval(timer);
  }
  return {
    peer: node.name,
    keys: plan.keys,
    loadSeconds,
    rssAnonBytes: highest,
    getsPerSecond: median(samples.map(({ perSecond }) => perSecond)),
    p50Ms: median(samples.map(({ p50Ms = 0 }) => p50Ms)),
    p99Ms: median(samples.map(({ p99Ms = 0 }) => p99Ms)),
  };
}
