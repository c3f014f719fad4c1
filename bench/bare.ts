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
import type { Runtime } from "./machine.ts";
import { Program } from "./process.ts";
import { keyOf } from "./quorate.ts";
import { callMethod, putRequest } from "./quorate_cluster.ts";
import type { Load, Operation, Peer, Sample } from "./sample.ts";
import { type Server, Servers } from "./servers.ts";
import { beginnings } from "./spread.ts";
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

export class Bare extends Servers<Server> implements Peer {
  readonly name: string;
  readonly version: string;
  readonly #folder: string;

  private constructor({ runtime, kind, count, folder }: BareStart, servers: readonly Server[]) {
    super(servers);
    this.name = Bare.nameOn(runtime, kind, count);
    this.version = runtime.version;
    this.#folder = folder;
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
    if (operation === "put over gRPC") {
      const file = join(this.#folder, "bare");
      const call = { path: callMethod, file, message: putRequest(load.marker), keyOf };
      return (await this.call(load, call)).sample;
    }
    const begun = beginnings(load.keys, this.servers.length);
    const sample = await this.spread(load, (url, part, index) =>
      wrk(url, operation, part, begun[index]),
    );
    if (operation === "get") await seeValue(this.servers[0]?.url ?? "", keyOf(0));
    return sample;
  }
}
