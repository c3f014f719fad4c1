/**
 * Throughput: synced PUTs and GETs a second, of Quorate and of what it is compared with.
 *
 * Effects: processes, files of the folder.
 *
 * @module
 */

import { join } from "node:path";
import { Etcd } from "./etcd.ts";
import { BareHono } from "./hono.ts";
import { lacks, type Runtimes } from "./machine.ts";
import { Quorate } from "./quorate.ts";
import { Redis } from "./redis.ts";
import { interleave, type Measured, type Operation, type Peer, type Plan } from "./sample.ts";

export interface Throughput extends Measured {
  /** Peer -> the version that was measured. */
  readonly versions: Readonly<Record<string, string>>;
  /** What could not be had, a sentence each. */
  readonly missing: readonly string[];
}

/** Starts everyone, measures, stops everyone. */
export async function measureThroughput(
  operation: Operation,
  runtimes: Runtimes,
  plan: Plan,
  folder: string,
  note: (line: string) => void,
): Promise<Throughput> {
  const peers: Peer[] = [];
  const missing: string[] = [];
  const failures: string[] = [];
  const add = async (name: string, lack: string | undefined, start: () => Promise<Peer>) => {
    if (lack !== undefined) {
      missing.push(`${operation}, ${name}: ${lack}`);
      return;
    }
    try {
      note(`${operation}: starting ${name}`);
      const peer = await start();
      // It is not to work while the next one is filled.
      peer.freeze();
      peers.push(peer);
    } catch (error) {
      failures.push(`${operation}: ${name} did not start: ${(error as Error).message}`);
    }
  };
  try {
    for (const runtime of runtimes.all) {
      await add(Quorate.nameOn(runtime), undefined, async () => {
        const peer = await Quorate.start({ runtime, folder: join(folder, runtime.name) });
        await peer.fill(plan.keys);
        return peer;
      });
    }
    await add("etcd", lacks("etcd", "h2load"), () => Etcd.start(folder, plan.keys));
    if (operation === "put") {
      const lack = lacks("redis-server", "redis-benchmark");
      await add("redis", lack, () => Redis.start(folder, plan.keys));
    } else {
      for (const runtime of runtimes.all) {
        await add(BareHono.nameOn(runtime), undefined, () => BareHono.start(runtime));
      }
    }
    const measured = await interleave(operation, peers, plan, note);
    const versions = Object.fromEntries(peers.map(({ name, version }) => [name, version]));
    failures.push(...measured.failures);
    return { figures: measured.figures, failures, versions, missing };
  } finally {
    for (const peer of peers) {
      await peer.stop().catch((error) => failures.push((error as Error).message));
    }
  }
}
