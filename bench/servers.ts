/**
 * Servers: a peer of several processes, whose load is shared out evenly over all of them, and which are timed,
 * frozen, thawed and stopped as one.
 *
 * Effects: those of the programs, and of the load.
 *
 * @module
 */

import { h2load } from "./h2load.ts";
import type { Program } from "./process.ts";
import { byCount, type Load, type Sample } from "./sample.ts";
import { spread } from "./spread.ts";

export interface Server {
  readonly program: Program;
  readonly url: string;
}

/** A unary call over gRPC, the same for all servers. */
export interface Call {
  /** The path of the method. */
  readonly path: string;
  /** Begins the names of the files that hold the bodies. */
  readonly file: string;
  /** The message with the key `keyOf(0)` in it; every key has the same length. */
  readonly message: Uint8Array;
  readonly keyOf: (index: number) => string;
}

/** The processes of one peer. */
export abstract class Servers<One extends Server> {
  /** Those that serve. */
  protected servers: readonly One[];

  constructor(servers: readonly One[]) {
    this.servers = servers;
  }

  /** Runs a load in parts, one for each server. */
  protected async spread(
    load: Load,
    run: (url: string, part: Load, index: number) => Promise<Sample>,
  ): Promise<Sample> {
    const beforeUs = this.#cpuUs;
    const sample = await spread(load, this.servers.length, (part, index) =>
      run(this.servers[index]?.url ?? "", part, index),
    );
    return { ...sample, cpuUs: (this.#cpuUs - beforeUs) / sample.requests };
  }

  /** Calls all servers over gRPC; `requests` has those of the sample, and those that told how many fill the time. */
  protected async call(
    load: Load,
    { path, file, message, keyOf }: Call,
  ): Promise<{ readonly sample: Sample; readonly requests: number }> {
    const beforeUs = this.#cpuUs;
    let requests = 0;
    const sample = await spread(load, this.servers.length, (part, index) =>
      byCount(part, (count) => {
        requests += count;
        const url = `${this.servers[index]?.url}${path}`;
        return h2load({ url, file: `${file}${index}`, message, keyOf }, part, count);
      }),
    );
    return { sample: { ...sample, cpuUs: (this.#cpuUs - beforeUs) / requests }, requests };
  }

  /** What all of them have used of the processors. */
  get #cpuUs(): number {
    return this.servers.reduce((sum, { program }) => sum + program.cpuUs, 0);
  }

  freeze(): void {
    for (const { program } of this.servers) program.freeze();
  }

  thaw(): void {
    for (const { program } of this.servers) program.thaw();
  }

  async stop(): Promise<void> {
    await Promise.all(this.servers.map(({ program }) => program.stop()));
  }
}
