/**
 * Fetch script: the HTTP API and Connect through nothing but `fetch`, on Node, Bun and Deno alike.
 *
 * Usage: fetch_script.ts http://HOST:PORT,... NAME. Each request goes to the next of the nodes n1, n2
 * and so on at these addresses. `NAME` begins every key, so that clients do not meet.
 * Prints a line for each check ("ok name", "not ok name: why") and "done N" at the end.
 *
 * @module
 */

import assert from "node:assert/strict";
import process from "node:process";

const [addresses = "", client = ""] = process.argv.slice(2);
const origins = addresses.split(",");
const names = origins.map((_, index) => `n${index + 1}`);
let turn = 0;
const everyByte = Uint8Array.from({ length: 256 }, (_, byte) => byte);
const MiB = 1024 * 1024;
const fetchLimitMs = 10_000;

type Init = RequestInit & { duplex?: "half" };

const checks: [name: string, run: () => Promise<void>][] = [];

function check(name: string, run: () => Promise<void>): void {
  checks.push([name, run]);
}

function ask(path: string, init: Init = {}): Promise<Response> {
  turn += 1;
  return fetch(`${origins[turn % origins.length]}${path}`, {
    signal: AbortSignal.timeout(fetchLimitMs),
    ...init,
  });
}

/** The answer's JSON, whose shape the check knows. */
// biome-ignore lint/suspicious/noExplicitAny: JSON of a contract that is checked field by field.
async function json(answer: Response | Promise<Response>): Promise<any> {
  return (await answer).json();
}

async function put(path: string, body: BodyInit, init: Init = {}): Promise<Response> {
  const answer = await ask(path, { method: "PUT", body, ...init });
  assert.equal(answer.status, 204, await answer.text());
  return answer;
}

async function bytesOf(answer: Response): Promise<Uint8Array> {
  return new Uint8Array(await answer.arrayBuffer());
}

function base64url(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64url");
}

async function problem(answer: Response, status: number, slug: string): Promise<void> {
  const text = await answer.text();
  assert.equal(answer.status, status, text);
  assert.equal(answer.headers.get("content-type"), "application/problem+json");
  assert.equal(JSON.parse(text).type, `/problems/${slug}`);
}

const kv = "/v1/kv/default";

check("put, get, HEAD and delete", async () => {
  const path = `${kv}/${client}/a`;
  const written = await put(path, '{"a":1}', { headers: { "content-type": "application/json" } });
  const read = await ask(path);
  assert.equal(read.status, 200);
  assert.equal(await read.text(), '{"a":1}');
  assert.equal(read.headers.get("content-type"), "application/json");
  assert.equal(read.headers.get("etag"), written.headers.get("etag"));
  const head = await ask(path, { method: "HEAD" });
  assert.equal(head.status, 200);
  assert.equal(head.headers.get("content-length"), "7");
  assert.equal(await head.text(), "");
  const fresh = await ask(path, { headers: { "if-none-match": read.headers.get("etag") ?? "" } });
  assert.equal(fresh.status, 304);
  await fresh.text();
  for (let round = 0; round < 2; round += 1) {
    assert.equal((await ask(path, { method: "DELETE" })).status, 204);
  }
  await problem(await ask(path), 404, "key-not-found");
});

check("binary keys and values", async () => {
  const name = new TextEncoder().encode(`${client}\0`);
  const keys = [everyByte, Uint8Array.of(0xff), Uint8Array.of(0), new Uint8Array(900).fill(0xfe)];
  for (const key of keys) {
    const own = base64url(Uint8Array.from([...name, ...key]));
    await put(`${kv}?key64=${own}`, everyByte);
    assert.deepEqual(await bytesOf(await ask(`${kv}?key64=${own}`)), everyByte);
  }
  const encoded = `${kv}?key=${client}%2F..%2F%00%25`;
  await put(encoded, "dots");
  assert.equal(await (await ask(encoded)).text(), "dots");
});

check("values from 0 bytes to 1 MiB", async () => {
  for (const length of [0, 1, 65_535, 65_536, MiB]) {
    const value = new Uint8Array(length).fill(length % 251);
    await put(`${kv}/${client}/size`, value);
    const read = await ask(`${kv}/${client}/size`);
    assert.equal(read.headers.get("content-length"), String(length));
    assert.deepEqual(await bytesOf(read), value);
  }
  const over = await ask(`${kv}/${client}/size`, { method: "PUT", body: new Uint8Array(MiB + 1) });
  await problem(over, 413, "value-too-large");
});

check("a body that is a stream", async () => {
  const pieces = ["one ", "two ", "three"].map((text) => new TextEncoder().encode(text));
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      const piece = pieces.shift();
      if (piece === undefined) controller.close();
      else controller.enqueue(piece);
    },
  });
  await put(`${kv}/${client}/stream`, body, { duplex: "half" });
  assert.equal(await (await ask(`${kv}/${client}/stream`)).text(), "one two three");
});

check("metadata, time to live, request id", async () => {
  const headers = {
    "quorate-meta-owner": "Ada",
    "quorate-ttl": "60",
    "quorate-request-id": "my-id",
  };
  const written = await put(`${kv}/${client}/meta`, "1", { headers });
  assert.equal(written.headers.get("quorate-request-id"), "my-id");
  const read = await ask(`${kv}/${client}/meta`);
  await read.text();
  assert.equal(read.headers.get("quorate-meta-owner"), "Ada");
  assert.equal(read.headers.get("quorate-expires"), written.headers.get("quorate-expires"));
  assert.ok(Date.parse(read.headers.get("quorate-expires") ?? "") > 0);
});

check("lists in pages, reversed, with values and as NDJSON", async () => {
  const names = Array.from(
    { length: 25 },
    (_, n) => `${client}-list/${String(n).padStart(2, "0")}`,
  );
  await Promise.all(names.map((name) => put(`${kv}/${name}`, `value of ${name}`)));
  const seen: string[] = [];
  let query = `?prefix=${client}-list/&limit=10&values=1`;
  for (let page = 0; page < 4; page += 1) {
    const { items, next } = await json(ask(`/v1/keys/default${query}`));
    for (const { key, value } of items) {
      assert.equal(value, `value of ${key}`);
      seen.push(key);
    }
    if (next === undefined) break;
    query = `?prefix=${client}-list/&limit=10&values=1&cursor=${encodeURIComponent(next)}`;
  }
  assert.deepEqual(seen, names);
  const range = `start=${client}-list/05&end=${client}-list/08&reverse=1`;
  const { items } = await json(ask(`/v1/keys/default?${range}`));
  assert.deepEqual(
    items.map((item: { key: string }) => item.key),
    names.slice(5, 8).reverse(),
  );
  const stream = await ask(`/v1/keys/default?prefix=${client}-list/`, {
    headers: { accept: "application/x-ndjson" },
  });
  const lines = (await stream.text()).trim().split("\n");
  assert.equal(lines.length, 26);
  assert.deepEqual(JSON.parse(lines[25] ?? ""), { end: true, count: 25 });
  const count = await json(ask(`/v1/count/default?prefix=${client}-list/`));
  const bytes = names.reduce((sum, name) => sum + `value of ${name}`.length, 0);
  assert.deepEqual(count, { keys: 25, bytes, exact: true });
});

check("a batch", async () => {
  const key = `${client}/batch`;
  const ops = [
    { put: { key, value: "1", contentType: "text/plain" } },
    { get: { key } },
    { put: { key: "x".repeat(1025), value: "" } },
    { delete: key },
    { get: key },
  ];
  const body = JSON.stringify({ ops });
  const { results } = await json(ask("/v1/batch/default", { method: "POST", body }));
  const statuses = results.map((result: { status: number }) => result.status);
  assert.deepEqual(statuses, [204, 200, 414, 204, 404]);
  assert.equal(results[1].value, "1");
});

check("namespaces", async () => {
  const path = `/v1/namespaces/${client}-own`;
  const made = await json(ask(path, { method: "PUT", body: '{"maxValue":3}' }));
  assert.equal(made.maxValue, 3);
  assert.deepEqual(await json(ask(path)), made);
  await put(`/v1/kv/${client}-own/a`, "123");
  const over = await ask(`/v1/kv/${client}-own/a`, { method: "PUT", body: "1234" });
  await problem(over, 413, "value-too-large");
  const { namespaces } = await json(ask("/v1/namespaces"));
  assert.ok(namespaces.some((one: { name: string }) => one.name === `${client}-own`));
  assert.equal((await ask(path, { method: "DELETE" })).status, 204);
  await problem(await ask(`/v1/kv/${client}-own/a`), 404, "namespace-not-found");
});

check("the original routes", async () => {
  const key = `${client}-hello`;
  const body = JSON.stringify({ key, value: "wörld" });
  assert.equal((await json(ask("/put", { method: "POST", body }))).ok, true);
  const read = await json(ask(`/get?key=${key}`));
  assert.deepEqual([read.key, read.value, read.found], [key, "wörld", true]);
  assert.equal((await json(ask(`/delete?key=${key}`, { method: "DELETE" }))).ok, true);
  const missing = await ask(`/get?key=${key}`);
  assert.equal(missing.status, 404);
  assert.equal((await json(missing)).found, false);
  const health = await json(ask("/health"));
  assert.equal(health.status, "ok");
  assert.ok(names.includes(health.node), health.node);
});

check("errors", async () => {
  await problem(await ask("/nowhere"), 404, "no-such-route");
  await problem(await ask("/get", { method: "PATCH" }), 405, "method-not-allowed");
  await problem(await ask(`${kv}/a?nope=1`), 400, "invalid-request");
  await problem(await ask(`${kv}/${"x".repeat(1025)}`), 414, "key-too-long");
  await problem(await ask(`${kv}?key64=*`), 400, "invalid-key");
  await problem(await ask(`${kv}/a?r=99`), 400, "invalid-quorum");
  const most = await ask(`${kv}/none?r=2`);
  if (names.length === 1) await problem(most, 503, "quorum-unavailable");
  else await problem(most, 404, "key-not-found");
  const encoded = { method: "PUT", body: "1", headers: { "content-encoding": "gzip" } };
  await problem(await ask(`${kv}/a`, encoded), 415, "unsupported-media-type");
});

check("operations and deadlines", async () => {
  assert.equal(await (await ask("/livez")).text(), "ok\n");
  assert.equal((await ask("/readyz?verbose")).status, 200);
  assert.equal((await json(ask("/openapi.json"))).openapi, "3.1.0");
  const { node } = await json(ask("/v1/info"));
  assert.ok(names.includes(node), node);
  for (const timeout of ["60s", "1000ms"]) await put(`${kv}/${client}/t?timeout=${timeout}`, "1");
  await problem(await ask(`${kv}/${client}/t?timeout=61s`), 400, "invalid-request");
  const aborted = new AbortController();
  const asked = ask(`${kv}/${client}/t`, { signal: aborted.signal });
  aborted.abort();
  await assert.rejects(asked, { name: "AbortError" });
});

check("two hundred at once", async () => {
  const names = Array.from({ length: 200 }, (_, n) => `${kv}/${client}-many/${n}`);
  await Promise.all(names.map((name) => put(name, name)));
  const read = await Promise.all(names.map(async (name) => (await ask(name)).text()));
  assert.deepEqual(read, names);
});

/** A Connect call with JSON. */
function rpc(method: string, message: unknown, headers: Record<string, string> = {}) {
  return ask(`/${method}`, {
    method: "POST",
    body: JSON.stringify(message),
    headers: { "content-type": "application/json", "connect-protocol-version": "1", ...headers },
  });
}

check("Connect with JSON: KvService", async () => {
  const key = Buffer.from(`${client}/connect`).toString("base64");
  const value = Buffer.from(everyByte).toString("base64");
  const written = await json(rpc("quorate.v1.KvService/Put", { key, value }));
  assert.equal(written.durability, "DURABILITY_FSYNC");
  const read = await json(rpc("quorate.v1.KvService/Get", { key }));
  assert.equal(read.record.value, value);
  assert.deepEqual(read.record.version, written.version);
  const prefix = Buffer.from(`${client}/connect`).toString("base64");
  const { items } = await json(rpc("quorate.v1.KvService/List", { prefix }));
  assert.equal(items[0].key, key);
  const count = await json(rpc("quorate.v1.KvService/Count", { prefix }));
  assert.deepEqual([count.keys, count.bytes], ["1", "256"]);
  await json(rpc("quorate.v1.KvService/Delete", { key }));
  const missing = await rpc("quorate.v1.KvService/Get", { key }, { "quorate-request-id": "fetch" });
  assert.equal(missing.status, 404);
  const error = await json(missing);
  assert.equal(error.code, "not_found");
  assert.equal(error.details[0].type, "quorate.v1.ErrorDetail");
  const detail = Buffer.from(error.details[0].value, "base64").toString("latin1");
  assert.ok(detail.includes("key-not-found") && detail.includes("fetch"));
});

check("Connect with GET for what has no side effects", async () => {
  const key = Buffer.from(`${client}/get`).toString("base64");
  await json(rpc("quorate.v1.KvService/Put", { key, value: "YQ==" }));
  const message = encodeURIComponent(JSON.stringify({ key }));
  const query = `connect=v1&encoding=json&message=${message}`;
  const read = await json(ask(`/quorate.v1.KvService/Get?${query}`));
  assert.equal(read.record.value, "YQ==");
});

check("Connect with JSON: kv.KVStore, health, errors and deadlines", async () => {
  const key = `${client}-connect`;
  await json(rpc("kv.KVStore/Put", { key, value: "wörld" }));
  const read = await json(rpc("kv.KVStore/Get", { key }));
  assert.deepEqual(read, { value: "wörld", found: true });
  const { nodes } = await json(rpc("kv.KVStore/GetN", { key, n: names.length }));
  assert.deepEqual([...nodes].sort(), names);
  await json(rpc("kv.KVStore/Delete", { key }));
  assert.deepEqual(await json(rpc("kv.KVStore/Get", { key })), {});
  const health = await json(rpc("grpc.health.v1.Health/Check", {}));
  assert.equal(health.status, "SERVING");
  const codes: [string, unknown, Record<string, string>, number, string][] = [
    ["quorate.v1.KvService/Get", {}, {}, 400, "invalid_argument"],
    ["quorate.v1.KvService/Get", { nope: 1 }, {}, 400, "invalid_argument"],
    ["quorate.v1.KvService/Nope", {}, {}, 501, "unimplemented"],
    ["kv.KVStore/Get", { key }, { "connect-timeout-ms": "x" }, 400, "invalid_argument"],
    ["kv.KVStore/Get", { key }, { "connect-timeout-ms": "0" }, 504, "deadline_exceeded"],
  ];
  for (const [method, message, headers, status, code] of codes) {
    const answer = await rpc(method, message, headers);
    const text = await answer.text();
    assert.equal(answer.status, status, `${method} ${JSON.stringify(headers)}: ${text}`);
    assert.equal(JSON.parse(text).code, code);
  }
});

for (const [name, run] of checks) {
  try {
    await run();
    console.log(`ok ${name}`);
  } catch (error) {
    const { message, stack = "" } = error as Error;
    const line = stack.match(/fetch_script\.ts:(\d+)/)?.[1];
    const why = message.replace(/\s+/g, " ").slice(0, 600);
    console.log(`not ok ${name}: ${why} (fetch_script.ts:${line})`);
  }
}
console.log(`done ${checks.length}`);
process.exit(0);
