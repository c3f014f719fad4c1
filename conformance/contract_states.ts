/**
 * Contract states: rows of the error table that need a node in another state than healthy: full,
 * damaged, draining, overloaded, or with a folder that is not its own.
 *
 * Each check has a server of its own.
 *
 * @module
 */

import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Check } from "./checks.ts";
import { type Ask, ask, RawConnection } from "./http_client.ts";
import type { ServerProcess } from "./processes.ts";
import { freshFolder, problemIn, serveToEnd, startServer } from "./stand.ts";
import type { Runtime } from "./tools.ts";

const kv = "/v1/kv/default";
const MiB = 1024 * 1024;
const stateLimitMs = 60_000;

type Run = (runtime: Runtime, folder: string) => Promise<void>;

const states: readonly (readonly [name: string, run: Run])[] = [
  ["507 disk-full: growing writes are refused, reads and deletes go on", diskFull],
  ["500 corruption: a flipped byte is found and never served", flippedByte],
  ["503 draining: what was accepted is finished, nothing new is", draining],
  ["503 overloaded: bodies that together are too large, and later they fit", overloaded],
  ["504 timeout: a walk that is longer than its time", timedOut],
  ["a time to live ends", expiry],
  ["a data folder of another cluster, and settings that are wrong, end the start", wrongStart],
];

export function stateChecks(runtime: Runtime, parent: string): Check[] {
  return states.map(([name, run]) => ({
    name,
    limitMs: stateLimitMs,
    run: () => run(runtime, freshFolder(parent)),
  }));
}

const put = (key: string, body: string | Uint8Array): Ask => ({
  method: "PUT",
  target: `${kv}/${key}`,
  body,
});

async function must(server: ServerProcess, status: number, asked: Ask): Promise<string> {
  const heard = await ask(server.port, "HTTP/1.1", asked);
  assert.equal(heard.status, status, `${asked.target}: ${heard.text.slice(0, 400)}`);
  return heard.text;
}

async function diskFull(runtime: Runtime, folder: string): Promise<void> {
  const before = await startServer(runtime, folder);
  await must(before, 204, put("there", "1"));
  await must(before, 204, put("gone", "1"));
  assert.equal(await before.stop(), 0);
  const full = await startServer(runtime, folder, ["--disk-reserve", "1024GiB"]);
  for (const protocol of ["HTTP/1.1", "HTTP/2"] as const) {
    const heard = await ask(full.port, protocol, put("more", "x".repeat(1000)));
    assert.equal(problemIn(heard, 507, "disk-full")["outcome"], "none");
  }
  assert.equal(await must(full, 200, { target: `${kv}/there` }), "1");
  await must(full, 204, { method: "DELETE", target: `${kv}/gone` });
  await must(full, 404, { target: `${kv}/gone` });
  await must(full, 404, { target: `${kv}/more` });
  const rpc = await ask(full.port, "HTTP/1.1", {
    method: "POST",
    target: "/kv.KVStore/Put",
    body: JSON.stringify({ key: "more", value: "x".repeat(1000) }),
    headers: { "content-type": "application/json" },
  });
  assert.match(rpc.text, /"code":"resource_exhausted"/);
  assert.equal(await full.stop(), 0, full.log.slice(-1000));
  const after = await startServer(runtime, folder);
  await must(after, 204, put("more", "2"));
  assert.equal(await after.stop(), 0);
}

async function flippedByte(runtime: Runtime, folder: string): Promise<void> {
  const before = await startServer(runtime, folder);
  const value = "a value that is looked for in the table's file; ".repeat(50);
  await must(before, 204, put("damaged", value));
  await must(before, 204, put("whole", "1"));
  assert.equal(await before.stop(), 0);
  assert.ok(flip(join(folder, "table.lmdb"), value.slice(0, 200)), "the value is in the table");
  for (const name of readdirSync(join(folder, "wal"))) {
    flip(join(folder, "wal", name), value.slice(0, 200));
  }
  const after = await startServer(runtime, folder);
  for (const protocol of ["HTTP/1.1", "HTTP/2"] as const) {
    const heard = await ask(after.port, protocol, { target: `${kv}/damaged` });
    problemIn(heard, 500, "corruption");
    assert.ok(!heard.text.includes("looked for"));
  }
  const rpc = await ask(after.port, "HTTP/1.1", {
    method: "POST",
    target: "/kv.KVStore/Get",
    body: '{"key":"damaged"}',
    headers: { "content-type": "application/json" },
  });
  assert.match(rpc.text, /"code":"data_loss"/);
  assert.equal(await must(after, 200, { target: `${kv}/whole` }), "1");
  await must(after, 204, put("damaged", "new"));
  assert.equal(await must(after, 200, { target: `${kv}/damaged` }), "new");
  assert.equal(await after.stop(), 0, after.log.slice(-1000));
}

/** Flips a bit in the middle of each place where `text` is in a file. */
function flip(file: string, text: string): boolean {
  const bytes = readFileSync(file);
  let found = false;
  for (let at = bytes.indexOf(text); at >= 0; at = bytes.indexOf(text, at + 1)) {
    const middle = at + text.length / 2;
    bytes[middle] = (bytes[middle] ?? 0) ^ 1;
    found = true;
  }
  if (found) writeFileSync(file, bytes);
  return found;
}

async function draining(runtime: Runtime, folder: string): Promise<void> {
  const server = await startServer(runtime, folder);
  const slow = new RawConnection(server.port);
  const idle = new RawConnection(server.port);
  try {
    const host = "Host: localhost\r\n";
    slow.send(`PUT ${kv}/slow HTTP/1.1\r\n${host}Content-Length: 4\r\n\r\nsl`);
    idle.send(`GET /readyz HTTP/1.1\r\n${host}\r\n`);
    await idle.until(() => idle.text.includes("ok\n"));
    server.signal("SIGTERM");
    await idle.ended();
    await assert.rejects(ask(server.port, "HTTP/1.1", { target: "/livez" }), "nothing new");
    // The signal falls into the middle of this body; the request was accepted, so it is finished.
    slow.send("ow");
    await slow.until(() => slow.text.includes(" 204 "));
    await slow.ended();
    assert.equal(await server.exited(), 0, server.log.slice(-1000));
  } finally {
    slow.destroy();
    idle.destroy();
  }
  const after = await startServer(runtime, folder);
  assert.equal(await must(after, 200, { target: `${kv}/slow` }), "slow");
  assert.equal(await after.stop(), 0);
}

/** More than the 256 MiB that all bodies together may hold. */
const bodyCount = 280;

async function overloaded(runtime: Runtime, folder: string): Promise<void> {
  const server = await startServer(runtime, folder);
  const raws: RawConnection[] = [];
  try {
    const head = `PUT ${kv}/many HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${MiB}\r\n\r\n`;
    const most = Buffer.alloc(MiB - 1);
    for (let n = 0; n < bodyCount; n += 1) {
      const raw = new RawConnection(server.port);
      raws.push(raw);
      raw.send(head);
      await raw.sendSlowly(most);
    }
    const isRefused = (raw: RawConnection) => /^HTTP\/1\.1 503 [\s\S]*overloaded/.test(raw.text);
    const endMs = performance.now() + 15_000;
    while (!raws.some(isRefused) && performance.now() < endMs) {
      await new Promise((settle) => setTimeout(settle, 20));
    }
    const refused = raws.find(isRefused);
    assert.ok(refused !== undefined, "none of them was refused");
    assert.match(refused.text, /^retry-after: \d+$/im);
    assert.match(refused.text, /"outcome":"none"/);
    await must(server, 200, { target: "/livez" });
  } finally {
    for (const raw of raws) raw.destroy();
  }
  const endMs = performance.now() + 15_000;
  for (;;) {
    const heard = await ask(server.port, "HTTP/1.1", put("later", new Uint8Array(MiB)));
    if (heard.status === 204) break;
    problemIn(heard, 503, "overloaded");
    assert.ok(performance.now() < endMs, "it stayed overloaded");
  }
  await must(server, 404, { target: `${kv}/many` });
  assert.equal(await server.stop(), 0);
}

async function timedOut(runtime: Runtime, folder: string): Promise<void> {
  const server = await startServer(runtime, folder);
  for (let batch = 0; batch < 20; batch += 1) {
    const ops = Array.from({ length: 1000 }, (_, n) => ({
      put: { key: `walk/${batch}/${n}`, value: "v" },
    }));
    const body = JSON.stringify({ ops });
    await must(server, 200, { method: "POST", target: "/v1/batch/default", body });
  }
  const counted = await must(server, 200, { target: "/v1/count/default?prefix=walk/" });
  assert.equal(JSON.parse(counted).keys, 20_000);
  const heard = await ask(server.port, "HTTP/1.1", {
    target: "/v1/count/default?prefix=walk/&timeout=1ms",
  });
  problemIn(heard, 504, "timeout");
  const rpc = await ask(server.port, "HTTP/1.1", {
    method: "POST",
    target: "/quorate.v1.KvService/Count",
    body: JSON.stringify({ prefix: Buffer.from("walk/").toString("base64") }),
    headers: { "content-type": "application/json", "connect-timeout-ms": "1" },
  });
  assert.match(rpc.text, /"code":"deadline_exceeded"/);
  assert.equal(await server.stop(), 0);
}

async function expiry(runtime: Runtime, folder: string): Promise<void> {
  const server = await startServer(runtime, folder);
  await must(server, 204, { ...put("soon", "1"), headers: { "quorate-ttl": "1" } });
  const endMs = performance.now() + 10_000;
  for (;;) {
    const heard = await ask(server.port, "HTTP/1.1", { target: `${kv}/soon` });
    if (heard.status === 404) break;
    assert.equal(heard.text, "1");
    assert.ok(performance.now() < endMs, "it never ended");
    await new Promise((settle) => setTimeout(settle, 50));
  }
  assert.equal(JSON.parse(await must(server, 200, { target: "/v1/keys/default" })).items.length, 0);
  assert.equal(await server.stop(), 0);
}

async function wrongStart(runtime: Runtime, folder: string): Promise<void> {
  const server = await startServer(runtime, folder);
  await must(server, 204, put("a", "1"));
  assert.equal(await server.stop(), 0);
  const wrong: readonly (readonly [words: string[], said: RegExp])[] = [
    [["--partitions", "64"], /wrong-data-folder|partitions/],
    [["--host", "0.0.0.0"], /--insecure/],
    [["--max-value", "nonsense"], /--max-value/],
    [["--no-such-flag"], /no-such-flag/],
    [["--peers", "127.0.0.1:1"], /needs a --cluster-secret/],
  ];
  for (const [words, said] of wrong) {
    const ran = await serveToEnd(runtime, folder, words);
    assert.equal(ran.late, false, `serve ${words.join(" ")} ends`);
    assert.notEqual(ran.code, 0, `serve ${words.join(" ")}`);
    assert.match(ran.err, said);
    assert.doesNotMatch(ran.err, /\n\s+at /, "no stack trace");
  }
  const after = await startServer(runtime, folder);
  assert.equal(await must(after, 200, { target: `${kv}/a` }), "1");
  assert.equal(await after.stop(), 0);
}
