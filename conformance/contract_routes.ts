/**
 * Contract routes: every route that one node has, and what it answers when all is well.
 *
 * A case is a list of steps, each a request and what must come back; every case runs over HTTP/1.1
 * and over HTTP/2. That no route is left out is a check of its own, against `/openapi.json`.
 *
 * @module
 */

import assert from "node:assert/strict";
import type { Check } from "./checks.ts";
import { type Ask, ask, type Heard, protocols } from "./http_client.ts";
import { problemIn, type Stand } from "./stand.ts";

export interface Step {
  readonly ask: Ask;
  readonly status: number;
  /** For errors. */
  readonly slug?: string;
  readonly headers?: Readonly<Record<string, string | RegExp | undefined>>;
  readonly text?: string | RegExp;
  readonly json?: unknown;
  readonly see?: (heard: Heard) => void;
}

export interface Case {
  readonly name: string;
  readonly steps: readonly Step[];
}

/** A node alone can carry out nothing of the sort, and says why. */
function refused(target: string, body: object): Step {
  const asked = { method: "POST", target, body: JSON.stringify(body) };
  return { ask: asked, status: 400, slug: "invalid-request" };
}

/** The checks of some cases, and a record of every route that they asked. */
export function casesOf(stand: Stand, cases: readonly Case[], asked: Set<string>): Check[] {
  return protocols.flatMap((protocol) =>
    cases.map(({ name, steps }) => ({
      name: `${name} [${protocol}]`,
      run: async () => {
        for (const step of steps) {
          asked.add(`${step.ask.method ?? "GET"} ${step.ask.target.split("?")[0]}`);
          const heard = await ask(stand.port, protocol, step.ask);
          seeStep(step, heard);
        }
      },
    })),
  );
}

function seeStep(step: Step, heard: Heard): void {
  const { method = "GET", target } = step.ask;
  const what = `${method} ${target.slice(0, 200)}`;
  assert.equal(heard.status, step.status, `${what}: ${heard.text.slice(0, 500)}`);
  if (step.slug !== undefined && method !== "HEAD") problemIn(heard, step.status, step.slug);
  for (const [name, wanted] of Object.entries(step.headers ?? {})) {
    const value = heard.headers[name];
    if (wanted instanceof RegExp) assert.match(value ?? "", wanted, `${what}: ${name}`);
    else assert.equal(value, wanted, `${what}: ${name}`);
  }
  if (step.text instanceof RegExp) assert.match(heard.text, step.text, what);
  else if (step.text !== undefined) assert.equal(heard.text, step.text, what);
  if (step.json !== undefined) assert.deepEqual(JSON.parse(heard.text), step.json, what);
  step.see?.(heard);
}

const kv = "/v1/kv/default";
const etag = /^"[0-9a-f]{16}-[0-9a-f]{16}"$/;
const dataHeaders = {
  "cache-control": "private, no-cache",
  "quorate-node": "n1",
  "quorate-epoch": /^[1-9]\d*$/,
  "quorate-consistency": "quorum",
  "quorate-request-id": /./,
  "server-timing": /./,
};
const readHeaders = {
  ...dataHeaders,
  etag,
  "last-modified": / GMT$/,
  "accept-ranges": "none",
  "x-content-type-options": "nosniff",
  "content-security-policy": "sandbox",
  "quorate-replies": "1/1",
};
const writeHeaders = { ...dataHeaders, "quorate-acks": "1/1", "quorate-durability": "fsync" };

const put = (target: string, body = "", headers: Ask["headers"] = {}): Step => ({
  ask: { method: "PUT", target, body, headers },
  status: 204,
});
const get = (target: string, text: string): Step => ({ ask: { target }, status: 200, text });
const remove = (target: string): Step => ({ ask: { method: "DELETE", target }, status: 204 });
const missing = (target: string): Step => ({ ask: { target }, status: 404, slug: "key-not-found" });
const post = (target: string, body: unknown, json?: (value: Parsed) => void): Step => ({
  ask: { method: "POST", target, body: JSON.stringify(body) },
  status: 200,
  see: (heard) => json?.(JSON.parse(heard.text)),
});
const read = (target: string, json: (value: Parsed) => void): Step => ({
  ask: { target },
  status: 200,
  headers: { "content-type": "application/json" },
  see: (heard) => json(JSON.parse(heard.text)),
});

// biome-ignore lint/suspicious/noExplicitAny: JSON of a contract that is checked field by field.
type Parsed = any;

const keyCases: readonly Case[] = [
  {
    name: "a value, by path: put, get, head, delete",
    steps: [
      {
        ...put(`${kv}/routes/a`, '{"a":1}', { "content-type": "application/json" }),
        headers: { ...writeHeaders, etag },
        text: "",
      },
      {
        ...get(`${kv}/routes/a`, '{"a":1}'),
        headers: { ...readHeaders, "content-type": "application/json", "content-length": "7" },
      },
      {
        ask: { method: "HEAD", target: `${kv}/routes/a` },
        status: 200,
        text: "",
        headers: { ...readHeaders, "content-type": "application/json", "content-length": "7" },
      },
      { ...remove(`${kv}/routes/a`), headers: { ...writeHeaders, etag: undefined }, text: "" },
      remove(`${kv}/routes/a`),
      { ...missing(`${kv}/routes/a`), headers: { "quorate-replies": "1/1" } },
      { ask: { method: "HEAD", target: `${kv}/routes/a` }, status: 404, text: "" },
    ],
  },
  {
    name: "a value, by ?key= and ?key64=: put, get, head, delete",
    steps: [
      put(`${kv}?key=routes%2F..%2Fb+c`, "by key"),
      get(`${kv}?key64=${Buffer.from("routes/../b c").toString("base64url")}`, "by key"),
      { ask: { method: "HEAD", target: `${kv}?key=routes/../b+c` }, status: 200, text: "" },
      remove(`${kv}?key=routes/../b+c`),
      missing(`${kv}?key=routes/../b+c`),
    ],
  },
  {
    name: "content type, metadata and time to live come back",
    steps: [
      {
        ...put(`${kv}/routes/m?ttl=3600`, "1", { "quorate-meta-owner": "Ada L." }),
        headers: { "quorate-expires": /^\d{4}-\d\d-\d\dT.*Z$/ },
      },
      {
        ...get(`${kv}/routes/m`, "1"),
        headers: {
          "content-type": "application/octet-stream",
          "quorate-meta-owner": "Ada L.",
          "quorate-expires": /^\d{4}-/,
        },
      },
      put(`${kv}/routes/m`, "2"),
      {
        ...get(`${kv}/routes/m`, "2"),
        headers: { "quorate-expires": undefined, "quorate-meta-owner": undefined },
      },
    ],
  },
  {
    name: "parameters of reads and writes",
    steps: [
      {
        ...put(`${kv}/routes/p?w=all&durability=memory&timeout=2s&explain=1`, "1"),
        headers: { "quorate-durability": "memory", "quorate-explain": /^\{/ },
      },
      {
        ...get(`${kv}/routes/p?consistency=one&timeout=250ms`, "1"),
        headers: { "quorate-consistency": "one" },
      },
      {
        ask: {
          target: `${kv}/routes/p`,
          headers: { "quorate-consistency": "all", "quorate-request-id": "my id" },
        },
        status: 200,
        headers: { "quorate-consistency": "all", "quorate-request-id": "my id" },
      },
    ],
  },
];

const manyCases: readonly Case[] = [
  {
    name: "lists, counts and NDJSON",
    steps: [
      ...["a", "b", "c"].map((name) => put(`${kv}/routes-list/${name}`, name)),
      put(`${kv}?key=routes-list%2F%FF`, "ff"),
      read(
        "/v1/keys/default?prefix=routes-list/&limit=2&values=1",
        ({ items, next, namespace }) => {
          assert.equal(namespace, "default");
          assert.deepEqual(
            items.map((item: Parsed) => [item.key, item.value, item.bytes]),
            [
              ["routes-list/a", "a", 1],
              ["routes-list/b", "b", 1],
            ],
          );
          assert.match(items[0].version, /^[0-9a-f]{16}-[0-9a-f]{16}$/);
          assert.equal(items[0].contentType, "application/octet-stream");
          assert.equal(typeof next, "string");
        },
      ),
      read("/v1/keys/default?prefix=routes-list/&reverse=1&limit=1", ({ items }) => {
        assert.equal(
          items[0].key64,
          Buffer.from("routes-list/\xff", "latin1").toString("base64url"),
        );
      }),
      read("/v1/keys/default?start=routes-list/b&end=routes-list/c", ({ items, next }) => {
        assert.equal(items.length, 1);
        assert.equal(next, undefined);
      }),
      read("/v1/count/default?prefix=routes-list/", (value) => {
        assert.deepEqual(value, { keys: 4, bytes: 5, exact: true });
      }),
      read("/v1/count/default", ({ keys, exact }) => {
        assert.ok(keys >= 4);
        assert.equal(exact, false);
      }),
      {
        ask: {
          target: "/v1/keys/default?prefix=routes-list/",
          headers: { accept: "application/x-ndjson" },
        },
        status: 200,
        headers: { "content-type": "application/x-ndjson" },
        text: /^(?:\{"key.*\}\n){4}\{"end":true,"count":4\}\n$/,
      },
    ],
  },
  {
    name: "a batch, in order",
    steps: [
      post(
        "/v1/batch/default",
        {
          ops: [
            { put: { key: "routes/b", value: "1", contentType: "text/plain" } },
            { get: { key: "routes/b" } },
            { delete: { key: "routes/b" } },
            { get: "routes/b" },
          ],
        },
        ({ results }) => {
          assert.deepEqual(
            results.map((one: Parsed) => [one.op, one.status]),
            [
              ["put", 204],
              ["get", 200],
              ["delete", 204],
              ["get", 404],
            ],
          );
          assert.equal(results[1].value, "1");
          assert.equal(results[3].error.type, "/problems/key-not-found");
        },
      ),
    ],
  },
  {
    name: "a namespace: made, read, changed, listed, deleted",
    steps: [
      {
        ask: { method: "PUT", target: "/v1/namespaces/routes", body: '{"ttl":60,"maxValue":4}' },
        status: 200,
        see: ({ text }) => {
          const { name, ttl, maxValue, n } = JSON.parse(text);
          assert.deepEqual([name, ttl, maxValue, n >= 1], ["routes", 60, 4, true]);
        },
      },
      { ...put("/v1/kv/routes/a", "1234"), headers: { "quorate-expires": /^\d{4}-/ } },
      {
        ask: { method: "PUT", target: "/v1/kv/routes/a", body: "12345" },
        status: 413,
        slug: "value-too-large",
      },
      read("/v1/namespaces/routes", ({ maxValue }) => assert.equal(maxValue, 4)),
      read("/v1/namespaces", ({ namespaces }) => {
        const names = namespaces.map((one: Parsed) => one.name);
        assert.ok(names.includes("default") && names.includes("routes"));
      }),
      remove("/v1/namespaces/routes"),
      remove("/v1/namespaces/routes"),
      { ask: { target: "/v1/kv/routes/a" }, status: 404, slug: "namespace-not-found" },
    ],
  },
];

const otherCases: readonly Case[] = [
  {
    name: "the original routes",
    steps: [
      post("/put", { key: "routes-hello", value: "wörld" }, ({ ok, key }) => {
        assert.deepEqual([ok, key], [true, "routes-hello"]);
      }),
      read("/get?key=routes-hello", ({ key, value, found }) => {
        assert.deepEqual([key, value, found], ["routes-hello", "wörld", true]);
      }),
      { ask: { method: "POST", target: "/delete?key=routes-hello" }, status: 200 },
      {
        ask: { target: "/get?key=routes-hello" },
        status: 404,
        slug: "key-not-found",
        see: ({ text }) => assert.equal(JSON.parse(text).found, false),
      },
      {
        ask: { method: "DELETE", target: "/delete", body: '{"key":"routes-hello"}' },
        status: 200,
        text: /"ok":true/,
      },
      read("/health", ({ node, keys, status }) => {
        assert.deepEqual([node, typeof keys, status], ["n1", "number", "ok"]);
      }),
    ],
  },
  {
    name: "the cluster: ring, members, hints, where a key lives",
    steps: [
      read("/v1/ring", ({ members }) => assert.equal(members.length, 1)),
      read("/v1/cluster", ({ members }) => assert.equal(members[0].state, "alive")),
      read("/v1/hints", ({ count }) => assert.equal(count, 0)),
      read("/v1/explain/default/nobody", ({ n, replicas }) => {
        assert.deepEqual([n, replicas.length], [1, 1]);
      }),
      read("/v1/explain/default?key=nobody", ({ key }) => assert.equal(key, "nobody")),
      { ask: { target: "/metrics" }, status: 200, text: /^quorate_keys /m },
    ],
  },
  {
    name: "moves and repair: what there is to do, and what there is not",
    steps: [
      read("/v1/cluster/plan", ({ epoch, waiting, move }) => {
        assert.ok(epoch >= 1);
        assert.deepEqual([waiting, move], [[], undefined]);
      }),
      refused("/v1/cluster/plan", { join: ["nobody"] }),
      refused("/v1/cluster/apply", { id: "0123456789abcdef" }),
      refused("/v1/cluster/revert", {}),
      read("/v1/repair", ({ pairs, marks }) => assert.deepEqual([pairs, marks], [0, []])),
      { ask: { method: "POST", target: "/v1/repair", body: "{}" }, status: 202 },
    ],
  },
  {
    name: "operations: livez, readyz, info, openapi, problem pages, OPTIONS",
    steps: [
      get("/livez", "ok\n"),
      { ask: { target: "/readyz" }, status: 200 },
      { ask: { target: "/readyz?verbose" }, status: 200, text: /^\[\+\]\S+ ok$/m },
      read("/v1/info", (info) => {
        assert.equal(info.node, "n1");
        assert.equal(info.partitions, 256);
        assert.deepEqual(info.damagedPartitions, []);
        assert.ok(info.disk.freeBytes > 0);
      }),
      read("/openapi.json", ({ openapi }) => assert.equal(openapi, "3.1.0")),
      { ask: { target: "/problems/key-not-found" }, status: 200, text: /key-not-found/ },
      {
        ask: { target: "/problems/timeout", headers: { accept: "text/html" } },
        status: 200,
        headers: { "content-type": /^text\/html/ },
      },
      {
        ask: { method: "OPTIONS", target: `${kv}/a` },
        status: 204,
        headers: { allow: /PUT/, "access-control-allow-origin": undefined },
      },
    ],
  },
];

export const routeCases: readonly Case[] = [...keyCases, ...manyCases, ...otherCases];

/** Every route of the document was asked, by a method that it has. */
export async function checkAllRoutesAsked(
  stand: Pick<Stand, "port">,
  asked: ReadonlySet<string>,
): Promise<void> {
  const heard = await ask(stand.port, "HTTP/1.1", { target: "/openapi.json" });
  const { paths } = JSON.parse(heard.text) as { paths: Record<string, object> };
  const left: string[] = [];
  for (const [path, methods] of Object.entries(paths)) {
    const pattern = path
      .replaceAll(".", "\\.")
      .replace("{key}", ".+")
      .replaceAll(/\{\w+\}/g, "[^/]+");
    for (const method of Object.keys(methods)) {
      const wanted = new RegExp(`^${method.toUpperCase()} ${pattern}$`);
      if (![...asked].some((one) => wanted.test(one))) left.push(`${method} ${path}`);
    }
  }
  assert.ok(Object.keys(paths).length > 10);
  assert.deepEqual(left, []);
}
