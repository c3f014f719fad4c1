/**
 * Stand: one server of one runtime, and what the checks ask of every one.
 *
 * @module
 */

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Ask, ask, type Heard, type Protocol } from "./http_client.ts";
import { type Ran, run, ServerProcess } from "./processes.ts";
import { type Runtime, root } from "./tools.ts";

export interface Stand {
  readonly runtime: Runtime;
  readonly server: ServerProcess;
  readonly port: number;
  readonly origin: string;
}

/** A folder for everything of one run. */
export function makeRunFolder(): string {
  return mkdtempSync(join(tmpdir(), "quorate-conformance-"));
}

let folders = 0;

/** A new folder inside `parent`. */
export function freshFolder(parent: string): string {
  folders += 1;
  const folder = join(parent, `f${folders}`);
  mkdirSync(folder);
  return folder;
}

function serveWords(runtime: Runtime, dataFolder: string, more: readonly string[]): string[] {
  const fixed = ["serve", "--name", "n1", "--port", "0", "--data-dir", dataFolder];
  return [...runtime.cliWords, ...fixed, ...more];
}

/** `quorate serve` under a runtime. */
export function startServer(
  runtime: Runtime,
  dataFolder: string,
  more: readonly string[] = [],
): Promise<ServerProcess> {
  const { command, environment } = runtime;
  const words = serveWords(runtime, dataFolder, more);
  return ServerProcess.start(command, words, { folder: root, environment });
}

/** `quorate serve` that is expected to end by itself. */
export function serveToEnd(
  runtime: Runtime,
  dataFolder: string,
  more: readonly string[] = [],
): Promise<Ran> {
  const { command, environment } = runtime;
  return run(command, serveWords(runtime, dataFolder, more), { folder: root, environment });
}

/** The problem that was heard, which must be whole. */
export function problemIn(heard: Heard, status: number, slug: string): Record<string, unknown> {
  assert.equal(heard.status, status, heard.text.slice(0, 500));
  assert.equal(heard.headers["content-type"], "application/problem+json");
  assert.equal(heard.headers["cache-control"], "no-store");
  const problem = JSON.parse(heard.text);
  assert.equal(problem.type, `/problems/${slug}`);
  assert.equal(problem.status, status);
  assert.equal(problem.requestId, heard.headers["quorate-request-id"]);
  for (const field of ["title", "detail", "hint"]) {
    assert.ok(typeof problem[field] === "string" && problem[field].length > 0, `${field} is empty`);
  }
  return problem;
}

let probes = 0;

/** The server takes a write and gives it back, on a new connection of either protocol. */
export async function stillAnswers({ port, server }: Stand): Promise<void> {
  assert.ok(!server.hasEnded, `the server has ended (${server.end}): ${server.log.slice(-500)}`);
  probes += 1;
  const protocol: Protocol = probes % 2 === 0 ? "HTTP/1.1" : "HTTP/2";
  const target = "/v1/kv/default/probe";
  const put: Ask = { method: "PUT", target, body: `probe ${probes}` };
  const written = await ask(port, protocol, put);
  assert.equal(written.status, 204, `after that the server said ${written.text}`);
  assert.equal((await ask(port, protocol, { target })).text, `probe ${probes}`);
}
