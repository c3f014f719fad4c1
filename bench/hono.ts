/**
 * Hono: the bare server of hono_server.mjs as a peer, for reads.
 *
 * Effects: a process.
 *
 * @module
 */

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Runtime } from "./machine.ts";
import { Program } from "./process.ts";
import type { Load, Operation, Peer, Sample } from "./sample.ts";
import { seeValue, wrk } from "./wrk.ts";

const script = fileURLToPath(new URL("./hono_server.mjs", import.meta.url));
const manifest = new URL("../node_modules/hono/package.json", import.meta.url);

export class BareHono implements Peer {
  readonly name: string;
  readonly version: string;
  readonly #program: Program;
  readonly #url: string;

  private constructor(name: string, version: string, program: Program, url: string) {
    this.name = name;
    this.version = version;
    this.#program = program;
    this.#url = url;
  }

  static nameOn(runtime: Runtime): string {
    return `bare Hono, ${runtime.name}`;
  }

  static async start(runtime: Runtime): Promise<BareHono> {
    const program = new Program({ command: runtime.path, arguments: [script] });
    const [, url = ""] = await program.says(/listening on (\S+)\n/);
    const { version } = JSON.parse(readFileSync(manifest, "utf8")) as { version: string };
    return new BareHono(BareHono.nameOn(runtime), version, program, url);
  }

  async run(operation: Operation, load: Load): Promise<Sample> {
    await seeValue(this.#url, "key:0");
    return wrk(this.#url, operation, load);
  }

  freeze(): void {
    this.#program.freeze();
  }

  thaw(): void {
    this.#program.thaw();
  }

  async stop(): Promise<void> {
    await this.#program.stop();
  }
}
