/**
 * Redis: a redis-server that syncs its log before it answers (`appendfsync always`).
 *
 * Everything else stays as redis is delivered, but for two things that would slow it down at times:
 * no snapshots, no rewriting of the log. The load is redis-benchmark: random keys of 16 bytes,
 * a number of requests instead of a time, so a short run first tells how many fill the time.
 *
 * Effects: a process, a connection.
 *
 * @module
 */

import { mkdirSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { freePort } from "./free_port.ts";
import { Program, runToEnd } from "./process.ts";
import {
  byCount,
  expectBetween,
  type Load,
  type Operation,
  type Peer,
  type Sample,
  valueBytes,
} from "./sample.ts";

const graceMs = 60_000;

export class Redis implements Peer {
  readonly name = "redis";
  readonly version: string;
  readonly #program: Program;
  readonly #port: number;

  private constructor(program: Program, port: number, version: string) {
    this.#program = program;
    this.#port = port;
    this.version = version;
  }

  static async start(parent: string, keys: number): Promise<Redis> {
    const folder = join(parent, "redis");
    mkdirSync(folder);
    const port = await freePort();
    const program = new Program({
      command: "redis-server",
      arguments: [
        ...["--port", String(port), "--bind", "127.0.0.1", "--dir", folder, "--save", ""],
        ...["--appendonly", "yes", "--appendfsync", "always"],
        ...["--auto-aof-rewrite-percentage", "0"],
      ],
    });
    const [, version = "?"] = await program.says(
      / version=([\d.]+)[\s\S]*Ready to accept connections/,
    );
    const redis = new Redis(program, port, version);
    await redis.#fill(keys);
    return redis;
  }

  run(operation: Operation, load: Load): Promise<Sample> {
    return byCount(load, (requests) => this.#benchmark(operation, load, requests));
  }

  async #benchmark(operation: Operation, load: Load, requests: number): Promise<Sample> {
    const command = operation === "put" ? "set" : "get";
    const before = await this.#calls(command);
    const { code, output } = await runToEnd(
      {
        command: "redis-benchmark",
        arguments: [
          ...["-h", "127.0.0.1", "-p", String(this.#port), "-c", String(load.connections)],
          ...["-n", String(requests), "-d", String(valueBytes), "-r", String(load.keys)],
          ...["-t", command, "--csv", "--precision", "3"],
        ],
      },
      load.seconds * 1000 + graceMs,
    );
    // "SET","20833.33","0.7","0.2","0.6","1.2","2.1","3.3": rate, avg, min, p50, p95, p99, max in ms
    const row = output.split("\n").find((line) => line.startsWith(`"${command.toUpperCase()}"`));
    const fields = row?.split(",").map((field) => Number(field.replaceAll('"', ""))) ?? [];
    const [, perSecond, , , p50Ms, , p99Ms] = fields;
    if (code !== 0 || !(perSecond !== undefined && perSecond > 0)) {
      throw new Error(`redis-benchmark failed (${code}):\n${output}`);
    }
    const after = await this.#calls(command);
    expectBetween("commands done", after.done - before.done, requests, requests);
    expectBetween("commands failed", after.failed - before.failed, 0, 0);
    return {
      requests,
      perSecond,
      ...(p50Ms === undefined ? {} : { p50Ms }),
      ...(p99Ms === undefined ? {} : { p99Ms }),
    };
  }

  async #calls(command: string): Promise<{ done: number; failed: number }> {
    const stats = await this.#ask("INFO commandstats\r\n", /\r\n\r\n$/);
    const line = new RegExp(`cmdstat_${command}:(.*)`).exec(stats)?.[1] ?? "";
    const field = (name: string): number =>
      Number(new RegExp(`${name}=(\\d+)`).exec(line)?.[1] ?? 0);
    return { done: field("calls"), failed: field("failed_calls") + field("rejected_calls") };
  }

  /** Every key once, pipelined. */
  async #fill(keys: number): Promise<void> {
    const value = "-".repeat(valueBytes);
    let text = "";
    for (let index = 0; index < keys; index += 1) {
      text += `SET key:${String(index).padStart(12, "0")} ${value}\r\n`;
    }
    const answers = await this.#ask(`${text}DBSIZE\r\n`, /:\d+\r\n$/);
    expectBetween("redis: keys at the start", Number(/:(\d+)\r\n$/.exec(answers)?.[1]), keys, keys);
  }

  /** Sends inline commands; answers what came when its end looks as it should. */
  #ask(text: string, end: RegExp): Promise<string> {
    return new Promise((fulfil, reject) => {
      let answer = "";
      const socket = connect(this.#port, "127.0.0.1", () => socket.write(text));
      socket.on("error", reject);
      socket.on("data", (chunk) => {
        answer += chunk.toString("latin1");
        if (!end.test(answer.slice(-200))) return;
        socket.destroy();
        fulfil(answer);
      });
    });
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
