/**
 * Bare: servers of bare_server.mjs and bare_log.mjs as a peer, which answer constant bytes: those of the log
 * when what they were sent is on as many disks as a quorum needs, the others at once.
 *
 * What one of them takes for a request, the runtime takes of every server that does as much: a figure that is
 * below it cannot be reached on the same machine.
 *
 * Effects: processes, files of the folder.
 *
 * @module
 */

import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { freePort } from "./free_port.ts";
import type { Runtime } from "./machine.ts";
import { Program } from "./process.ts";
import { keyOf } from "./quorate.ts";
import { callMethod, putRequest } from "./quorate_cluster.ts";
import type { Load, Operation, Peer, Sample } from "./sample.ts";
import { type Server, Servers } from "./servers.ts";
import { beginnings } from "./spread.ts";
import { seeValue, wrk } from "./wrk.ts";

const script = fileURLToPath(new URL("./bare_server.mjs", import.meta.url));
const logScript = fileURLToPath(new URL("./bare_log.mjs", import.meta.url));

/** What its rows are called. */
const names = { socket: "bare socket", http2: "bare node:http2", log: "bare log" } as const;

type BareKind = keyof typeof names;

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
    return `${names[kind]}, ${runtime.name}${count === 1 ? "" : `, ${count} processes`}`;
  }

  static async start(start: BareStart): Promise<Bare> {
    const servers = (await argumentsOf(start)).map(async (words) => {
      const program = new Program({ command: start.runtime.path, arguments: words });
      const [, url = ""] = await program.says(/listening on (\S+)\n/);
      return { program, url };
    });
    return new Bare(start, await Promise.all(servers));
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

/** The arguments of each process. */
async function argumentsOf({ kind, count, folder }: BareStart): Promise<readonly string[][]> {
  if (kind !== "log") return Array.from({ length: count }, () => [script, kind]);
  // Where the others reach each.
  const ports = await Promise.all(Array.from({ length: count }, freePort));
  return ports.map((port, index) => [
    logScript,
    join(folder, `bare-log-${count}-${index}`),
    ...[port, ...ports.filter((other) => other !== port)].map(String),
  ]);
}
