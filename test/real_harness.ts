/**
 * RealHarness: writers that never stop, and the truth about what they were told.
 *
 * A `Ledger` keeps every try to write a key with the moment at which it began and, if it did, was
 * answered. Moments are counted, not measured. What a key may hold then follows from this alone:
 *
 *     try a |-----------|                 a may be what the key holds,
 *     try b        |----------| acked     b too (they overlap),
 *     try c                       |--…    and c, which was never answered;
 *     try d |--| acked                    not d: b began after it was over.
 *
 * A process's death ends all its tries. After it, what a read has shown is a fact as well: the next
 * rounds may not fall behind it, so one folder can be killed again and again.
 *
 * Every value begins with `key#number#`, and the rest of it follows from these two.
 *
 * @module
 */

import * as http from "node:http";
import * as assert from "uvu/assert";
import type { SimRandom } from "../sim/random.ts";

/** One write of one key. */
export interface Try {
  readonly kind: "put" | "delete";
  readonly number: number;
  readonly bytes: number;
  readonly begun: number;
  /** When it was over; infinite while it is under way. */
  ended: number;
  isAcknowledged: boolean;
}

const nothing: Try = {
  kind: "delete",
  number: 0,
  bytes: 0,
  begun: 0,
  ended: 0,
  isAcknowledged: true,
};

export class Ledger {
  readonly #tries = new Map<string, Try[]>();
  #moment = 0;
  #number = 0;
  acknowledgedCount = 0;

  get keys(): string[] {
    return [...this.#tries.keys()];
  }

  begin(key: string, kind: Try["kind"], bytes: number): Try {
    this.#number += 1;
    const begun = this.#tick();
    const number = this.#number;
    const ended = Number.POSITIVE_INFINITY;
    const attempt: Try = { kind, number, bytes, begun, ended, isAcknowledged: false };
    const before = this.#tries.get(key);
    if (before === undefined) this.#tries.set(key, [nothing, attempt]);
    else before.push(attempt);
    return attempt;
  }

  acknowledge(attempt: Try): void {
    attempt.ended = this.#tick();
    attempt.isAcknowledged = true;
    this.acknowledgedCount += 1;
  }

  /** The server said that nothing was written, and nothing will be. */
  refuse(key: string, attempt: Try): void {
    const tries = this.#tries.get(key) ?? [];
    this.#tries.set(
      key,
      tries.filter((one) => one !== attempt),
    );
  }

  /** The process that had the tries is gone: none of them can still come in. */
  endAll(): void {
    const moment = this.#tick();
    for (const tries of this.#tries.values()) {
      for (const one of tries) one.ended = Math.min(one.ended, moment);
    }
  }

  /** The try that `found` is of; an error when the key may not hold it. From now on it is a fact. */
  settle(key: string, found: string | undefined, what: string): void {
    const tries = this.#tries.get(key) ?? [nothing];
    const fits = tries.find((one) => this.#may(tries, one) && isValueOf(key, one, found));
    assert.ok(fits, `${what}: '${key}' holds ${shown(found)}, but ${this.#told(tries)}`);
    if (fits === undefined) return;
    const moment = this.#tick();
    this.#tries.set(key, [{ ...fits, begun: moment, ended: moment, isAcknowledged: true }]);
  }

  /** Whether a value is one that was once written for this key, be it overwritten since. */
  wasWritten(key: string, found: string): boolean {
    return (this.#tries.get(key) ?? []).some((one) => isValueOf(key, one, found));
  }

  #may(tries: readonly Try[], one: Try): boolean {
    return !tries.some((other) => other.isAcknowledged && other.begun > one.ended);
  }

  #told(tries: readonly Try[]): string {
    const may = tries.filter((one) => this.#may(tries, one));
    return `may hold ${may.map((one) => (one.kind === "put" ? `write ${one.number}` : "nothing")).join(", ")}`;
  }

  #tick(): number {
    this.#moment += 1;
    return this.#moment;
  }
}

export function textOf(key: string, { number, bytes }: Pick<Try, "number" | "bytes">): string {
  const head = `${key}#${number}#`;
  return head + head.repeat(Math.ceil(bytes / head.length)).slice(0, bytes);
}

function isValueOf(key: string, one: Try, found: string | undefined): boolean {
  if (one.kind === "delete") return found === undefined;
  return found === textOf(key, one);
}

function shown(value: string | undefined): string {
  return value === undefined ? "nothing" : `${value.length} bytes, '${value.slice(0, 30)}'`;
}

export interface Answer {
  readonly status: number;
  readonly body: string;
}

/** A client with connections that stay open. */
export class Client {
  readonly #url: URL;
  readonly #agent = new http.Agent({ keepAlive: true, maxSockets: 64 });

  constructor(url: string) {
    this.#url = new URL(url);
  }

  /**
   * Rejects when the connection breaks, or the answer is not whole. With `missingBytes` that much of
   * the body is announced and never sent.
   */
  ask(method: string, path: string, body?: string, missingBytes = 0): Promise<Answer> {
    return new Promise((fulfil, reject) => {
      const { hostname, port } = this.#url;
      const bytes = Buffer.byteLength(body ?? "") + missingBytes;
      const headers = bytes > 0 || body !== undefined ? { "content-length": bytes } : {};
      const options = { hostname, port, method, path, headers, agent: this.#agent };
      const request = http.request(options, (response) => {
        let text = "";
        response.setEncoding("utf8");
        response.on("data", (chunk: string) => {
          text += chunk;
        });
        response.on("error", reject);
        response.on("close", () => {
          if (response.complete) fulfil({ status: response.statusCode ?? 0, body: text });
          else reject(new Error("the answer was cut"));
        });
      });
      request.on("error", (error: NodeJS.ErrnoException) => {
        const isKept = request.reusedSocket && error.code === "ECONNRESET";
        reject(isKept ? new Error(keptConnectionClosed) : error);
      });
      if (missingBytes === 0) request.end(body);
      else request.flushHeaders();
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}

/** A server may close a connection that it kept, just as a request goes out on it: ask again (RFC 9112, 9.3.1). */
export const keptConnectionClosed = "the kept connection was closed";

export const keyPath = (key: string): string => `/v1/kv/default/${key}`;

export interface Workload {
  readonly client: Client;
  readonly ledger: Ledger;
  readonly random: SimRandom;
  readonly writers: number;
  /** Keys of each writer alone; there are some more that all of them write. */
  readonly keysPerWriter: number;
  readonly valueBytesMax: number;
  /** Called after each acknowledged request. */
  readonly onAcknowledged?: () => void;
  /** An answer that is no success: true when it is as it should be, and the writer goes on. */
  readonly onRefused?: (answer: Answer) => boolean;
}

/** Writes at full speed until the connection breaks; answers how many requests broke off. */
export async function writeUntilCut(workload: Workload): Promise<number> {
  const cuts = await Promise.all(
    Array.from({ length: workload.writers }, (_, writer) => writeAs(workload, writer)),
  );
  return cuts.filter((isCut) => isCut).length;
}

const sharedKeys = 6;

/** One writer, one request after the other; true when a request of it broke off. */
async function writeAs(workload: Workload, writer: number): Promise<boolean> {
  const { random, keysPerWriter } = workload;
  for (;;) {
    const pick = (): string =>
      random.below(8) === 0
        ? `shared-${random.below(sharedKeys)}`
        : `w${writer}-${random.below(keysPerWriter)}`;
    const isBatch = random.below(10) === 0;
    const keys = isBatch ? new Set([pick(), pick(), pick(), pick()]) : new Set([pick()]);
    try {
      if (!(await (isBatch ? writeBatch : writeOne)(workload, [...keys]))) return false;
    } catch (error) {
      if (error instanceof Error && !("code" in error && error.code === "ERR_ASSERTION")) {
        return true;
      }
      throw error;
    }
  }
}

function beginTry({ ledger, random, valueBytesMax }: Workload, key: string): Try {
  if (random.below(6) === 0) return ledger.begin(key, "delete", 0);
  const isLarge = random.below(16) === 0;
  return ledger.begin(key, "put", random.below(isLarge ? valueBytesMax : 400));
}

/** False when the writer is done: it was refused, and that is as it should be. */
async function writeOne(workload: Workload, [key = ""]: readonly string[]): Promise<boolean> {
  const { client, ledger } = workload;
  const attempt = beginTry(workload, key);
  const answer =
    attempt.kind === "delete"
      ? await client.ask("DELETE", keyPath(key))
      : await client.ask("PUT", keyPath(key), textOf(key, attempt));
  if (answer.status !== 204) return refused(workload, [[key, attempt]], answer);
  ledger.acknowledge(attempt);
  workload.onAcknowledged?.();
  return true;
}

async function writeBatch(workload: Workload, keys: readonly string[]): Promise<boolean> {
  const { client, ledger } = workload;
  const tries = keys.map((key): [string, Try] => [key, beginTry(workload, key)]);
  const ops = tries.map(([key, one]) =>
    one.kind === "delete" ? { delete: { key } } : { put: { key, value: textOf(key, one) } },
  );
  const answer = await client.ask("POST", "/v1/batch/default", JSON.stringify({ ops }));
  if (answer.status !== 200) return refused(workload, tries, answer);
  const { results } = JSON.parse(answer.body) as { results: readonly BatchLine[] };
  assert.is(results.length, tries.length, answer.body);
  for (const [index, [key, one]] of tries.entries()) {
    const line = results[index] as BatchLine;
    if (line.status < 300) ledger.acknowledge(one);
    else if (
      !refused(workload, [[key, one]], { status: line.status, body: JSON.stringify(line.error) })
    )
      return false;
  }
  workload.onAcknowledged?.();
  return true;
}

interface BatchLine {
  readonly status: number;
  readonly error?: unknown;
}

function refused(
  { ledger, onRefused }: Workload,
  tries: readonly (readonly [string, Try])[],
  answer: Answer,
): boolean {
  const said = answer.body === "" ? undefined : (JSON.parse(answer.body) as { outcome?: string });
  if (said?.outcome === "none") for (const [key, one] of tries) ledger.refuse(key, one);
  const isExpected = onRefused?.(answer);
  assert.ok(isExpected !== undefined, `a write was refused: ${answer.status} ${answer.body}`);
  return isExpected === true;
}

/** Every key holds what it may; and the list and the counter say the same as the reads. */
export async function checkAll(client: Client, ledger: Ledger, what: string): Promise<void> {
  const live = new Map<string, string>();
  for (const key of ledger.keys) {
    const { status, body } = await client.ask("GET", keyPath(key));
    assert.ok(status === 200 || status === 404, `${what}: GET ${key}: ${status} ${body}`);
    const found = status === 200 ? body : undefined;
    ledger.settle(key, found, what);
    if (found !== undefined) live.set(key, found);
  }
  const listed = await listAll(client);
  assert.equal(
    [...listed.keys()],
    [...live.keys()].sort(),
    `${what}: the list has what reads have`,
  );
  for (const [key, value] of listed)
    assert.is(value, live.get(key), `${what}: list and read agree`);
  const info = JSON.parse((await client.ask("GET", "/v1/info")).body) as { keys: number };
  assert.is(info.keys, live.size, `${what}: the counter counts what is there`);
}

/** All keys with their values, page by page. */
export async function listAll(client: Client): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  let cursor = "";
  do {
    const path = `/v1/keys/default?limit=100&values=1${cursor === "" ? "" : `&cursor=${cursor}`}`;
    const { status, body } = await client.ask("GET", path);
    assert.is(status, 200, body);
    const page = JSON.parse(body) as {
      items: readonly { key: string; value: string }[];
      next?: string;
    };
    for (const { key, value } of page.items) found.set(key, value);
    cursor = page.next ?? "";
  } while (cursor !== "");
  return found;
}
