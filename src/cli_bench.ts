/**
 * Cli bench: a closed loop of requests, and how long they took.
 *
 * Each connection sends its next request when the one before was answered, as an application does
 * that waits. A closed loop slows down with the node it measures: what it shows is the throughput
 * at this number of connections, and latencies that say nothing about load beyond it. The generator
 * runs on the same cores when the node is on the same machine.
 *
 * It uses node:http rather than the client: fetch costs several times the request itself, and the
 * figure would be the client's.
 *
 * Effects: the network, the clock, chance; listens to signals.
 *
 * @module
 */

import * as http from "node:http";
import * as https from "node:https";
import { createHistogram, type RecordableHistogram } from "node:perf_hooks";
import type { Invocation } from "./cli_commands.ts";
import { clientOf } from "./cli_data.ts";
import type { Io } from "./cli_io.ts";
import { documentText, formatOf, tableText } from "./cli_output.ts";
import { Progress } from "./cli_progress.ts";
import { StopSignals } from "./cli_signals.ts";
import type { QuorateClient } from "./client.ts";
import type { Config } from "./config_table.ts";
import { exitCode, QuorateError } from "./errors.ts";
import { grouped } from "./figures.ts";

interface Plan {
  readonly connections: number;
  readonly durationMs: number;
  /** Undefined: as many as the duration allows. */
  readonly count: number | undefined;
  readonly valueBytes: number;
  readonly keys: number;
  /** Of a hundred requests, how many read. */
  readonly gets: number;
  readonly prefix: string;
  readonly cleanup: boolean;
}

type Kind = "put" | "get";

interface Measured {
  readonly seconds: number;
  readonly histograms: Readonly<Record<Kind, RecordableHistogram>>;
  readonly errors: ReadonlyMap<string, number>;
}

const batchMax = 500;

/** `quorate bench`. */
export async function bench({ config, options }: Invocation, io: Io): Promise<number> {
  const plan = planOf(options);
  const { runtime, node } = await clientOf(config).info();
  io.note(`${node} at ${config.url} (${runtime}), ${plan.connections} connections`);
  const signals = new StopSignals((_, line) => io.note(io.paint("dim", line)));
  try {
    const atOnce = signals.second.then(() => exitCode.failed);
    return await Promise.race([measure(config, plan, io, signals.first), atOnce]);
  } finally {
    signals.end();
  }
}

/** Ends early when `stop` resolves; the keys are deleted then, too. */
async function measure(config: Config, plan: Plan, io: Io, stop: Promise<void>): Promise<number> {
  const client = clientOf(config);
  const stopped: Stopped = { isStopped: false };
  void stop.then(() => {
    stopped.isStopped = true;
  });
  try {
    if (plan.gets > 0) await writeAll(client, plan, stopped);
    const measured = await new Loop(config, plan, io, stopped).run();
    await printMeasured(config, io, measured);
    return measured.errors.size === 0 ? exitCode.done : exitCode.failed;
  } finally {
    if (plan.cleanup) await deleteAll(client, plan).catch((error) => noteLeft(io, plan, error));
  }
}

/** Whether it was told to stop. */
interface Stopped {
  isStopped: boolean;
}

/** What was measured stands, and what ended it is told, whether or not the keys could be deleted. */
function noteLeft(io: Io, { prefix }: Plan, error: unknown): void {
  const why = QuorateError.from(error).detail;
  io.note(io.paint("yellow", `The keys under ${prefix} are still there: ${why}`));
}

function planOf(options: Readonly<Record<string, unknown>>): Plan {
  const number = (name: string, standard: number) => Number(options[name] ?? standard);
  const count = options["count"] as number | undefined;
  return {
    connections: number("connections", 16),
    durationMs: count === undefined ? number("duration", 10_000) : Number.POSITIVE_INFINITY,
    count,
    valueBytes: number("value-size", 256),
    keys: number("keys", 10_000),
    gets: number("gets", 50),
    prefix: String(options["prefix"] ?? "quorate-bench/"),
    cleanup: options["cleanup"] !== "no",
  };
}

function keyOf(plan: Plan, index: number): string {
  return `${plan.prefix}${String(index).padStart(8, "0")}`;
}

/** Every key once, so that no read misses. */
async function writeAll(client: QuorateClient, plan: Plan, stopped: Stopped): Promise<void> {
  const value = randomValue(plan.valueBytes);
  const group = Math.max(1, Math.min(batchMax, Math.floor((4 * 1024 ** 2) / (value.length + 64))));
  for (let start = 0; start < plan.keys && !stopped.isStopped; start += group) {
    const puts = indexes(start, Math.min(plan.keys, start + group)).map((index) => {
      return { kind: "put", key: keyOf(plan, index), value } as const;
    });
    await runBatch(client, puts);
  }
}

async function deleteAll(client: QuorateClient, plan: Plan): Promise<void> {
  for (let start = 0; start < plan.keys; start += batchMax) {
    const deletes = indexes(start, Math.min(plan.keys, start + batchMax)).map((index) => {
      return { kind: "delete", key: keyOf(plan, index) } as const;
    });
    await runBatch(client, deletes);
  }
}

async function runBatch(
  client: QuorateClient,
  operations: Parameters<QuorateClient["batch"]>[0],
): Promise<void> {
  for (const result of await client.batch(operations)) {
    if (result.kind === "error") throw result.error;
  }
}

function indexes(start: number, end: number): number[] {
  return Array.from({ length: end - start }, (_, offset) => start + offset);
}

/** Bytes that do not compress, and are the same in every run. */
function randomValue(length: number): Uint8Array {
  let state = 0x2545f491;
  return Uint8Array.from({ length }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state >>> 24;
  });
}

/** The connections and what they measure. */
class Loop {
  readonly #plan: Plan;
  readonly #stopped: Stopped;
  readonly #progress: Progress;
  readonly #request: typeof http.request;
  readonly #agent: http.Agent;
  readonly #base: URL;
  readonly #queries: Readonly<Record<Kind, string>>;
  readonly #value: Uint8Array;
  readonly #timeoutMs: number;
  readonly #errors = new Map<string, number>();
  readonly #histograms = { put: createHistogram(), get: createHistogram() };
  #begun = 0;
  #done = 0;

  constructor(config: Config, plan: Plan, io: Io, stopped: Stopped) {
    this.#plan = plan;
    this.#stopped = stopped;
    this.#progress = new Progress(io, "requests");
    this.#base = new URL(`${config.url.replace(/\/+$/, "")}/v1/kv/${config.namespace}/`);
    const module = this.#base.protocol === "https:" ? https : http;
    this.#request = module.request;
    this.#agent = new module.Agent({ keepAlive: true, maxSockets: plan.connections });
    this.#queries = queriesOf(config);
    this.#value = randomValue(plan.valueBytes);
    this.#timeoutMs = config.timeoutMs;
  }

  async run(): Promise<Measured> {
    const startedMs = performance.now();
    const endsMs = startedMs + this.#plan.durationMs;
    const { connections } = this.#plan;
    await Promise.all(Array.from({ length: connections }, () => this.#connection(endsMs)));
    const seconds = (performance.now() - startedMs) / 1000;
    this.#agent.destroy();
    this.#progress.clear();
    return { seconds, histograms: this.#histograms, errors: this.#errors };
  }

  async #connection(endsMs: number): Promise<void> {
    const { keys, gets, count = Number.POSITIVE_INFINITY, durationMs } = this.#plan;
    while (this.#begun < count && performance.now() < endsMs && !this.#stopped.isStopped) {
      this.#begun += 1;
      const kind: Kind = Math.random() * 100 < gets ? "get" : "put";
      const key = keyOf(this.#plan, Math.floor(Math.random() * keys));
      const startedMs = performance.now();
      const failure = await this.#ask(kind, key);
      const microseconds = Math.max(1, Math.round((performance.now() - startedMs) * 1000));
      if (failure === undefined) this.#histograms[kind].record(microseconds);
      else this.#errors.set(failure, (this.#errors.get(failure) ?? 0) + 1);
      this.#done += 1;
      const part = Number.isFinite(count)
        ? this.#done / count
        : 1 - (endsMs - performance.now()) / durationMs;
      this.#progress.update(this.#done, part);
    }
  }

  /** One request; answers the slug of what failed. */
  #ask(kind: Kind, key: string): Promise<string | undefined> {
    return new Promise((resolve) => {
      const request = this.#request(
        {
          agent: this.#agent,
          host: this.#base.hostname.replace(/^\[|\]$/g, ""),
          port: this.#base.port,
          path: `${this.#base.pathname}${key}${this.#queries[kind]}`,
          method: kind === "put" ? "PUT" : "GET",
          headers: kind === "put" ? { "Content-Length": this.#value.length } : {},
          timeout: this.#timeoutMs + 1000,
        },
        (response) => {
          if ((response.statusCode ?? 500) < 300) {
            response.on("end", () => resolve(undefined));
            response.on("error", () => resolve("unreachable"));
            response.resume();
          } else resolve(slugOf(response));
        },
      );
      request.on("timeout", () => request.destroy(new QuorateError("timeout", "No answer.")));
      request.on("error", (error) => {
        resolve(error instanceof QuorateError ? error.slug : "unreachable");
      });
      request.end(kind === "put" ? this.#value : undefined);
    });
  }
}

function queriesOf(config: Config): Readonly<Record<Kind, string>> {
  const { consistency, r, w, durability, timeoutMs } = config;
  const text = (query: Readonly<Record<string, string | number | undefined>>): string => {
    const parts = Object.entries(query).filter(([, value]) => value !== undefined);
    return `?${parts.map(([name, value]) => `${name}=${value}`).join("&")}`;
  };
  const timeout = `${timeoutMs}ms`;
  return {
    get: text({ timeout, consistency, r }),
    put: text({ timeout, consistency, w, durability }),
  };
}

async function slugOf(response: http.IncomingMessage): Promise<string> {
  const chunks: Uint8Array[] = [];
  try {
    for await (const chunk of response) chunks.push(chunk);
    const problem: unknown = JSON.parse(Buffer.concat(chunks).toString());
    const { type } = problem as { type?: unknown };
    return String(type).replace(/^.*\//, "");
  } catch {
    return `status ${response.statusCode}`;
  }
}

async function printMeasured(config: Config, io: Io, measured: Measured): Promise<void> {
  const { seconds, histograms, errors } = measured;
  const format = formatOf(config, io, "table", "raw");
  const kinds = (["put", "get"] as const).filter((kind) => histograms[kind].count > 0);
  const failed = [...errors.values()].reduce((sum, count) => sum + count, 0);
  if (format === "table" || format === "raw") {
    const shown = format === "table" ? grouped : String;
    const rows = kinds.map((kind) => [kind, ...figures(histograms[kind], seconds, shown)]);
    const head = ["request", "count", "a second", "p50 ms", "p99 ms", "p99.9 ms", "max ms"];
    if (format === "table") await io.write(await tableText(head, rows));
    else await io.write(`${[head, ...rows].map((row) => row.join("\t")).join("\n")}\n`);
    for (const [slug, count] of errors) await io.write(`${slug}: ${shown(count)}\n`);
    return;
  }
  const byKind = kinds.map((kind) => {
    const { count } = histograms[kind];
    const [p50, p99, p999, max] = latenciesMs(histograms[kind]);
    const perSecond = Math.round(count / seconds);
    return [kind, { count, perSecond, p50Ms: p50, p99Ms: p99, p999Ms: p999, maxMs: max }];
  });
  const all = {
    seconds,
    ...Object.fromEntries(byKind),
    failed,
    errors: Object.fromEntries(errors),
  };
  await io.write(documentText(format, all));
}

function figures(
  histogram: RecordableHistogram,
  seconds: number,
  shown: (count: number) => string,
): string[] {
  const perSecond = shown(Math.round(histogram.count / seconds));
  const latencies = latenciesMs(histogram).map((ms) => ms.toFixed(2));
  return [shown(histogram.count), perSecond, ...latencies];
}

function latenciesMs(histogram: RecordableHistogram): readonly number[] {
  const microseconds = [50, 99, 99.9].map((percent) => histogram.percentile(percent));
  return [...microseconds, histogram.max].map((value) => value / 1000);
}
