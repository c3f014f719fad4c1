/**
 * Quorate: the node that this repository builds, as `npm start` starts it, on a runtime.
 *
 * Invariants
 * 1. After every load of writes the whole store is listed: as many keys as were acknowledged must
 *    hold the value of this load, and no more than could have been under way besides.
 *
 * Effects: a process, connections.
 *
 * @module
 */

import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import type { ReadableStream } from "node:stream/web";
import { type Runtime, root } from "./machine.ts";
import { Program } from "./process.ts";
import {
  expectBetween,
  type Load,
  type Operation,
  type Peer,
  type Sample,
  valueBytes,
} from "./sample.ts";
import { seeValue, wrk } from "./wrk.ts";

const batchOperations = 1_000;
const batchesAtOnce = 4;

export interface Start {
  readonly runtime: Runtime;
  readonly folder: string;
  /** What the tables call it. Default: `nameOn` of the runtime. */
  readonly label?: string;
  /** Default: n1. */
  readonly name?: string;
  /** Default: any. */
  readonly port?: number;
  readonly environment?: Readonly<Record<string, string>>;
  /** Flags of `serve` besides the name, port and folder. */
  readonly flags?: readonly string[];
  /** Flags of the runtime. */
  readonly runtimeFlags?: readonly string[];
}

/** What `npm start` gives to Node before the program's own arguments; Bun has other flags. */
function startFlags(runtime: Runtime): string[] {
  if (!runtime.name.startsWith("Node")) return [];
  const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
    scripts: { start: string };
  };
  return scripts.start.split(" ").filter((word) => /^--max-semi-space-size=/.test(word));
}

export class Quorate implements Peer {
  readonly name: string;
  readonly version: string;
  readonly program: Program;
  readonly url: string;
  /** From the start of the process to the line that says where it listens. */
  readonly openMs: number;

  private constructor({ runtime, label }: Start, program: Program, url: string) {
    this.openMs = performance.now() - program.startedMs;
    this.name = label ?? Quorate.nameOn(runtime);
    this.version = runtime.version;
    this.program = program;
    this.url = url;
  }

  static nameOn(runtime: Runtime): string {
    return `Quorate, ${runtime.name}`;
  }

  static async start(start: Start): Promise<Quorate> {
    const { runtime, folder, name = "n1", port = 0, flags = [], runtimeFlags = [] } = start;
    mkdirSync(folder, { recursive: true });
    const cli = join(root, "dist/src/cli.js");
    const program = new Program({
      command: runtime.path,
      arguments: [
        ...[...startFlags(runtime), ...runtimeFlags, cli, "serve", "--name", name],
        ...["--port", String(port), "--data-dir", folder, ...flags],
      ],
      ...(start.environment === undefined ? {} : { environment: start.environment }),
      // Its configuration is the flags alone: no file of the current folder.
      folder,
    });
    const [, url = ""] = await program.says(/listening on (http:\S+)\n/);
    return new Quorate(start, program, url);
  }

  async run(operation: Operation, load: Load): Promise<Sample> {
    const before = this.program.cpuUs;
    const loaded = await wrk(this.url, operation, load);
    const sample = { ...loaded, cpuUs: (this.program.cpuUs - before) / loaded.requests };
    if (operation === "put") {
      const marked = await this.countMarked(load);
      const most = Math.min(load.keys, sample.requests + load.connections);
      expectBetween("keys written", marked, Math.min(load.keys, sample.requests), most);
    } else await this.seeValue(load);
    return sample;
  }

  /** Throws unless a value has the length of all. */
  async seeValue({ keys }: Load): Promise<void> {
    await seeValue(this.url, keyOf(keys - 1));
  }

  /** Writes the keys below a number, in batches; those below `from` are there. */
  async fill(keys: number, from = 0): Promise<void> {
    const value = "-".repeat(valueBytes);
    let next = from;
    const worker = async (): Promise<void> => {
      while (next < keys) {
        const start = next;
        next = Math.min(keys, start + batchOperations);
        const ops = Array.from({ length: next - start }, (_, offset) => ({
          put: { key: keyOf(start + offset), value },
        }));
        await this.#batch(ops);
      }
    };
    await Promise.all(Array.from({ length: batchesAtOnce }, worker));
  }

  async #batch(ops: readonly unknown[]): Promise<void> {
    const response = await fetch(`${this.url}/v1/batch/default`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ ops }),
    });
    const text = await response.text();
    if (response.status !== 200) throw new Error(`a batch was refused: ${text}`);
    const { results } = JSON.parse(text) as { results: { status: number }[] };
    const written = results.filter(({ status }) => status < 300).length;
    expectBetween("operations of a batch that were done", written, ops.length, ops.length);
  }

  /** The number of keys, counted one by one. */
  async count(): Promise<number> {
    let keys = 0;
    await this.#list("", () => {
      keys += 1;
    });
    return keys;
  }

  /** The keys that hold the value of this load; throws unless all keys are there. */
  async countMarked({ keys, marker }: Load): Promise<number> {
    const value = marker.padEnd(valueBytes, "x");
    let marked = 0;
    let all = 0;
    await this.#list("?values=1", (item) => {
      all += 1;
      if (item.value === value) marked += 1;
    });
    expectBetween("keys", all, keys, keys);
    return marked;
  }

  /** Streams a list of everything; throws when it does not come to its end. */
  async #list(query: string, take: (item: { value?: string }) => void): Promise<void> {
    const response = await fetch(`${this.url}/v1/keys/default${query}`, {
      headers: { Accept: "application/x-ndjson" },
    });
    if (response.body === null) throw new Error(`the list has no body: ${response.status}`);
    const body = Readable.fromWeb(response.body as ReadableStream);
    let ended = false;
    for await (const line of createInterface({ input: body })) {
      const item = JSON.parse(line) as { value?: string; end?: boolean; key?: string };
      if (item.key !== undefined) take(item);
      else ended = item.end === true;
    }
    if (!ended) throw new Error("the list broke off");
  }

  freeze(): void {
    this.program.freeze();
  }

  thaw(): void {
    this.program.thaw();
  }

  async stop(): Promise<void> {
    const code = await this.program.stop();
    expectBetween(`exit code of ${this.name}`, code ?? -1, 0, 0);
  }
}

export function keyOf(index: number): string {
  return `key:${String(index).padStart(12, "0")}`;
}
