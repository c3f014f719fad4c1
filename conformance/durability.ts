/**
 * Durability: what was acknowledged is there after a kill, under every runtime, and a folder that
 * one runtime wrote is opened by another.
 *
 * The writers never stop before the kill, so that it falls into the middle of something. A write
 * without an answer may be there or not, but whole: each value tells which one it is.
 *
 * @module
 */

import assert from "node:assert/strict";
import * as http from "node:http";
import type { Check } from "./checks.ts";
import { ask } from "./http_client.ts";
import type { ServerProcess } from "./processes.ts";
import { freshFolder, serveToEnd, startServer } from "./stand.ts";
import type { Runtime } from "./tools.ts";

const writers = 16;
const keysPerWriter = 40;
const writeMs = 1000;
const rounds = 2;
const restartLimitMs = 60_000;

/** The number of the last acknowledged write of each key; and of the last one that was sent. */
interface Ledger {
  readonly acknowledged: Map<string, number>;
  readonly sent: Map<string, number>;
  readonly deleted: Set<string>;
}

const valueFor = (key: string, number: number) => `${key}=${number};${"v".repeat(number % 3000)}`;

export function durabilityChecks(runtime: Runtime, other: Runtime, parent: string): Check[] {
  return [
    {
      name: `acknowledged writes outlive ${rounds} kills`,
      limitMs: restartLimitMs * rounds,
      run: () => killed(runtime, freshFolder(parent)),
    },
    {
      name: "an orderly stop ends with 0, and loses nothing",
      limitMs: restartLimitMs,
      run: () => stopped(runtime, freshFolder(parent)),
    },
    {
      name: "a folder in use is refused",
      limitMs: restartLimitMs,
      run: () => inUse(runtime, freshFolder(parent)),
    },
    {
      name: `the folder goes to ${other.name} after a kill, and back after a stop`,
      limitMs: restartLimitMs,
      run: () => handedOver(runtime, other, freshFolder(parent)),
    },
  ];
}

function newLedger(): Ledger {
  return { acknowledged: new Map(), sent: new Map(), deleted: new Set() };
}

/** Writes as fast as answers come, until the server is gone. */
async function writeUntilGone(port: number, ledger: Ledger): Promise<void> {
  const agent = new http.Agent({ keepAlive: true, maxSockets: writers });
  const write = (key: string, number: number) =>
    new Promise<boolean>((settle) => {
      const request = http.request({
        host: "127.0.0.1",
        port,
        method: "PUT",
        path: `/v1/kv/default/${key}`,
        agent,
      });
      request.on("error", () => settle(false));
      request.on("response", (response) => {
        response.resume();
        response.on("error", () => {});
        settle(response.statusCode === 204);
      });
      request.end(valueFor(key, number));
    });
  const writer = async (name: string) => {
    for (let turn = 0; ; turn += 1) {
      const key = `${name}-${turn % keysPerWriter}`;
      const number = (ledger.sent.get(key) ?? 0) + 1;
      ledger.sent.set(key, number);
      if (!(await write(key, number))) return;
      ledger.acknowledged.set(key, number);
    }
  };
  await Promise.all(Array.from({ length: writers }, (_, n) => writer(`w${n}`)));
  agent.destroy();
}

async function seeLedger(port: number, ledger: Ledger): Promise<void> {
  assert.ok(ledger.acknowledged.size > 0, "something was acknowledged");
  const seen = new Map<string, string>();
  let query = "?prefix=w&limit=1000&values=1";
  for (let pages = 0; pages < 1000; pages += 1) {
    const { text } = await ask(port, "HTTP/1.1", { target: `/v1/keys/default${query}` });
    const { items, next } = JSON.parse(text);
    for (const { key, value } of items) seen.set(key, value);
    if (next === undefined) break;
    query = `?prefix=w&limit=1000&values=1&cursor=${encodeURIComponent(next)}`;
  }
  for (const [key, number] of ledger.sent) {
    const least = ledger.acknowledged.get(key) ?? 0;
    const value = seen.get(key);
    if (value === undefined) assert.equal(least, 0, `${key} is lost, ${least} was acknowledged`);
    else {
      const kept = Number(value.match(/=(\d+);/)?.[1]);
      assert.ok(kept >= least && kept <= number, `${key} is ${kept}, of ${least} to ${number}`);
      assert.equal(value, valueFor(key, kept), `${key} is whole`);
    }
  }
  for (const key of seen.keys()) assert.ok(ledger.sent.has(key), `${key} was never written`);
}

async function writeAndKill(server: ServerProcess, ledger: Ledger): Promise<void> {
  const writing = writeUntilGone(server.port, ledger);
  await new Promise((settle) => setTimeout(settle, writeMs));
  await server.kill();
  await writing;
}

async function killed(runtime: Runtime, folder: string): Promise<void> {
  const ledger = newLedger();
  for (let round = 0; round < rounds; round += 1) {
    const server = await startServer(runtime, folder);
    if (round > 0) await seeLedger(server.port, ledger);
    await writeAndKill(server, ledger);
  }
  const server = await startServer(runtime, folder);
  await seeLedger(server.port, ledger);
  assert.equal(await server.stop(), 0, server.log.slice(-1000));
}

async function stopped(runtime: Runtime, folder: string): Promise<void> {
  const ledger = newLedger();
  const server = await startServer(runtime, folder);
  const writing = writeUntilGone(server.port, ledger);
  await new Promise((settle) => setTimeout(settle, writeMs));
  assert.equal(await server.stop(), 0, server.log.slice(-1000));
  await writing;
  const again = await startServer(runtime, folder);
  await seeLedger(again.port, ledger);
  const gone = await ask(again.port, "HTTP/2", { method: "DELETE", target: "/v1/kv/default/w0-0" });
  assert.equal(gone.status, 204);
  await again.kill();
  const last = await startServer(runtime, folder);
  const missing = await ask(last.port, "HTTP/2", { target: "/v1/kv/default/w0-0" });
  assert.equal(missing.status, 404, "a deleted key stays deleted");
  assert.equal(await last.stop(), 0);
}

async function inUse(runtime: Runtime, folder: string): Promise<void> {
  const server = await startServer(runtime, folder);
  const second = await serveToEnd(runtime, folder);
  assert.equal(second.late, false, "the second one ends by itself");
  assert.notEqual(second.code, 0);
  assert.match(second.err, /in use|data-folder-in-use/);
  assert.equal((await ask(server.port, "HTTP/1.1", { target: "/livez" })).status, 200);
  assert.equal(await server.stop(), 0);
}

async function handedOver(runtime: Runtime, other: Runtime, folder: string): Promise<void> {
  const ledger = newLedger();
  await writeAndKill(await startServer(runtime, folder), ledger);
  const second = await startServer(other, folder);
  await seeLedger(second.port, ledger);
  const key = "from-the-other";
  const put = { method: "PUT", target: `/v1/kv/default/${key}`, body: other.name };
  assert.equal((await ask(second.port, "HTTP/1.1", put)).status, 204);
  assert.equal(await second.stop(), 0, second.log.slice(-1000));
  const third = await startServer(runtime, folder);
  await seeLedger(third.port, ledger);
  const read = await ask(third.port, "HTTP/1.1", { target: `/v1/kv/default/${key}` });
  assert.equal(read.text, other.name);
  assert.equal(await third.stop(), 0);
}
