/**
 * Bare: servers of bare_server.mjs as a peer, which answer constant bytes and do nothing besides.
 *
 * What one of them takes for a request, the runtime takes of every server: a figure that is below it cannot
 * be reached on the same machine.
 *
 * Effects: processes, files of the folder.
 *
 * @module
 */

import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { h2load } from "./h2load.ts";
import type { Runtime } from "./machine.ts";
import { Program } from "./process.ts";
import { keyOf } from "./quorate.ts";
import { callMethod, putRequest } from "./quorate_cluster.ts";
import { byCount, type Load, type Operation, type Peer, type Sample } from "./sample.ts";
import { beginnings, spread } from "./spread.ts";
import { seeValue, wrk } from "./wrk.ts";

const script = fileURLToPath(new URL("./bare_server.mjs", import.meta.url));

export type BareKind = "socket" | "http2";

export interface BareStart {
  readonly runtime: Runtime;
  readonly kind: BareKind;
  /** How many processes share the connections. */
  readonly count: number;
  readonly folder: string;
}

interface Server {
  readonly program: Program;
  readonly url: string;
}

export class Bare implements Peer {
  readonly name: string;
  readonly version: string;
  readonly #folder: string;
  readonly #servers: readonly Server[];

  private constructor({ runtime, kind, count, folder }: BareStart, servers: readonly Server[]) {
    this.name = Bare.nameOn(runtime, kind, count);
    this.version = runtime.version;
    this.#folder = folder;
    this.#servers = servers;
  }

  static nameOn(runtime: Runtime, kind: BareKind, count: number): string {
    const what = kind === "socket" ? "bare socket" : "bare node:http2";
    return `${what}, ${runtime.name}${count === 1 ? "" : `, ${count} processes`}`;
  }

  static async start(start: BareStart): Promise<Bare> {
    const { runtime, kind, count } = start;
    const servers = await Promise.all(
      Array.from({ length: count }, async () => {
        const program = new Program({ command: runtime.path, arguments: [script, kind] });
        const [, url = ""] = await program.says(/listening on (\S+)\n/);
        return { program, url };
      }),
    );
    return new Bare(start, servers);
  }

  async run(operation: Operation, load: Load): Promise<Sample> {
    const before = this.#cpuUs;
    const begun = beginnings(load.keys, this.#servers.length);
    let requests = 0;
    const sample = await spread(load, this.#servers.length, async (part, index) => {
      const url = this.#servers[index]?.url ?? "";
      if (operation !== "put over gRPC") {
        const own = await wrk(url, operation, part, begun[index]);
        requests += own.requests;
        return own;
      }
      return byCount(part, (count) => {
        requests += count;
        const file = join(this.#folder, `bare${index}`);
        const message = putRequest(load.marker);
        return h2load({ url: `${url}${callMethod}`, file, message, keyOf }, part, count);
      });
    });
    const cpuUs = (this.#cpuUs - before) / requests;
    if (operation === "get") await seeValue(this.#servers[0]?.url ?? "", keyOf(0));
    return { ...sample, cpuUs };
  }

  get #cpuUs(): number {
    return this.#servers.reduce((sum, { program }) => sum + program.cpuUs, 0);
  }

  freeze(): void {
    for (const { program } of this.#servers) program.freeze();
  }

  thaw(): void {
    for (const { program } of this.#servers) program.thaw();
  }

  async stop(): Promise<void> {
    await Promise.all(this.#servers.map(({ program }) => program.stop()));
  }
}
