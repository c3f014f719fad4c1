/**
 * Throughput: synced PUTs and GETs a second, of Quorate and of what it is compared with, servers that do as
 * little as one can among them (`bare`, `hono`).
 *
 * Effects: processes, files of the folder.
 *
 * @module
 */

import { join } from "node:path";
import { Bare } from "./bare.ts";
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

/** The systems of a measurement, and what became of those that are not among them. */
export class Cast {
  readonly #group: string;
  readonly #note: (line: string) => void;
  readonly #peers: Peer[] = [];
  readonly #missing: string[] = [];
  readonly #failures: string[] = [];

  constructor(group: string, note: (line: string) => void) {
    this.#group = group;
    this.#note = note;
  }

  /** Starts a system, unless something that it needs is lacking. */
  async add(name: string, lack: string | undefined, start: () => Promise<Peer>): Promise<void> {
    if (lack !== undefined) {
      this.#missing.push(`${this.#group}, ${name}: ${lack}`);
      return;
    }
    try {
      this.#note(`${this.#group}: starting ${name}`);
      const peer = await start();
      // It is not to work while the next one is filled.
      peer.freeze();
      this.#peers.push(peer);
    } catch (error) {
      this.#failures.push(`${this.#group}: ${name} did not start: ${(error as Error).message}`);
    }
  }

  /** Measures those that `takes` chooses. What was lacking is told with the first measurement. */
  async measure(
    operation: Operation,
    plan: Plan,
    takes: (peer: Peer) => boolean = () => true,
  ): Promise<Throughput> {
    const peers = this.#peers.filter(takes);
    const measured = await interleave(operation, peers, plan, this.#note);
    return {
      figures: measured.figures,
      failures: [...this.#failures.splice(0), ...measured.failures],
      versions: Object.fromEntries(peers.map(({ name, version }) => [name, version])),
      missing: this.#missing.splice(0),
    };
  }

  /** Stops everyone; answers what went wrong with it. */
  async stop(): Promise<string[]> {
    const failures: string[] = [];
    for (const peer of this.#peers) {
      await peer.stop().catch((error) => failures.push((error as Error).message));
    }
    return failures;
  }
}

/** Starts everyone, measures, stops everyone. */
export async function measureThroughput(
  operation: "put" | "get",
  runtimes: Runtimes,
  plan: Plan,
  folder: string,
  note: (line: string) => void,
): Promise<Throughput> {
  const cast = new Cast(operation, note);
  const failures: string[] = [];
  try {
    for (const runtime of runtimes.all) {
      await cast.add(Quorate.nameOn(runtime), undefined, async () => {
        const peer = await Quorate.start({ runtime, folder: join(folder, runtime.name) });
        await peer.fill(plan.keys);
        return peer;
      });
    }
    await cast.add("etcd", lacks("etcd", "h2load"), () =>
      Etcd.start({ folder: join(folder, "etcd"), keys: plan.keys }),
    );
    if (operation === "put") {
      const lack = lacks("redis-server", "redis-benchmark");
      await cast.add("redis", lack, () => Redis.start(folder, plan.keys));
    } else {
      for (const runtime of runtimes.all) {
        await cast.add(BareHono.nameOn(runtime), undefined, () => BareHono.start(runtime));
      }
    }
    for (const kind of operation === "put" ? (["log", "socket"] as const) : (["socket"] as const)) {
      const bare = { runtime: runtimes.main, kind, count: 1, folder };
      await cast.add(Bare.nameOn(runtimes.main, kind, 1), undefined, () => Bare.start(bare));
    }
    const throughput = await cast.measure(operation, plan);
    failures.push(...throughput.failures);
    return { ...throughput, failures };
  } finally {
    failures.push(...(await cast.stop()));
  }
}
