/**
 * Contract errors: each row of the error table that one healthy node can give, and how a write that
 * was refused leaves no trace. Rows that need another state of the node (draining, a full disk, a
 * damaged file) are in `contract_states.ts`, those that need time in `contract_slow.ts`.
 *
 * @module
 */

import assert from "node:assert/strict";
import type { Case, Step } from "./contract_routes.ts";
import type { Ask } from "./http_client.ts";

const kv = "/v1/kv/default";
const MiB = 1024 * 1024;

type Headers = NonNullable<Ask["headers"]>;

const fails = (status: number, slug: string, target: string, headers: Headers = {}): Step => ({
  ask: { target, headers },
  status,
  slug,
});

/** A write that is refused: nothing was written, and the answer says so. */
const refuses = (status: number, slug: string, asked: Ask): Step => ({
  ask: { method: "PUT", body: "x", ...asked },
  status,
  slug,
  see: ({ text }) => assert.equal(JSON.parse(text).outcome, "none", `outcome in ${text}`),
});

const nested = (levels: number) => `${'{"a":'.repeat(levels)}1${"}".repeat(levels)}`;

const invalidRequests: readonly Case[] = [
  {
    name: "400 invalid-request: parameters that are unknown, repeated or out of range",
    steps: [
      ...[
        "nope=1",
        "__proto__=1",
        "consistency=two",
        "consistency=one&consistency=all",
        "timeout=61s",
        "timeout=0ms",
        "timeout=5",
        "timeout=-1s",
        "w=1",
        "a=%zz",
        "explain=yes",
      ].map((query) => fails(400, "invalid-request", `${kv}/a?${query}`)),
      ...["ttl=0", "ttl=1.5", "ttl=315360001", "ttl=-1", "r=1"].map((query) =>
        refuses(400, "invalid-request", { target: `${kv}/a?${query}` }),
      ),
      ...["limit=0", "limit=1001", "limit=x", "reverse=maybe", "cursor=", "cursor=nonsense"].map(
        (query) => fails(400, "invalid-request", `/v1/keys/default?${query}`),
      ),
      fails(400, "invalid-request", `${kv}/a`, { "quorate-timeout": "soon" }),
      fails(400, "invalid-request", `${kv}/a`, { "quorate-request-id": "x".repeat(65) }),
      fails(400, "invalid-request", "/v1/kv/Bad%20Name/a"),
      fails(400, "invalid-request", "/v1/kv/../a"),
      fails(400, "invalid-request", `/v1/kv/${"n".repeat(65)}/a`),
    ],
  },
  {
    name: "400 invalid-request: a cursor is bound to its namespace, prefix and direction",
    steps: [
      ...["a", "b", "c"].map(
        (name): Step => ({
          ask: { method: "PUT", target: `${kv}/cursor-${name}`, body: "" },
          status: 204,
        }),
      ),
      ...["cursor=AAAA", `cursor=${"A".repeat(9000)}`].map((query) =>
        fails(400, "invalid-request", `/v1/keys/default?prefix=cursor-&${query}`),
      ),
    ],
  },
  {
    name: "400 invalid-request: JSON that is broken, deep, repeated or not what is asked for",
    steps: [
      ...[
        "",
        "{",
        "[]",
        "null",
        '{"ops":1}',
        '{"ops":[{}]}',
        '{"ops":[{"incr":"a"}]}',
        '{"ops":[],"ops":[]}',
        '{"ops":[{"put":{"key":"a","value":"1","ttl":0}}]}',
        nested(17),
        nested(100_000),
        "[".repeat(500_000),
        `{"ops":[${'{"get":"a"},'.repeat(1000)}{"get":"a"}]}`,
        '{"ops":[{"get":"\\ud800"}]}'.replace("get", "incr"),
        "\xff\xfe",
      ].map((body) => refuses(400, "invalid-request", batch(body))),
      ...["", "key=a&value=b", '{"key":"a"}', '{"key":"a","value":1}', nested(1000)].map((body) =>
        refuses(400, "invalid-request", { method: "POST", target: "/put", body }),
      ),
      refuses(400, "invalid-request", { target: "/v1/namespaces/Errors", body: "{}" }),
      ...["x", "[]", '{"n":0}', '{"w":"most"}', '{"maxValue":33554433}', '{"size":1}'].map((body) =>
        refuses(400, "invalid-request", { target: "/v1/namespaces/errors", body }),
      ),
    ],
  },
  {
    name: "400 invalid-request: bodies and content types that cannot be kept",
    steps: [
      refuses(400, "invalid-request", {
        target: `${kv}/a`,
        headers: { "content-range": "bytes 0-0/2" },
      }),
      refuses(400, "invalid-request", {
        target: `${kv}/a`,
        headers: { "content-type": `a/${"b".repeat(255)}` },
      }),
    ],
  },
];

function batch(body: string): Ask {
  return { method: "POST", target: "/v1/batch/default", body };
}

const otherErrors: readonly Case[] = [
  {
    name: "400 invalid-key, 400 invalid-quorum, 400 conditional-needs-strong",
    steps: [
      ...["", "?", "?key=", "?key64=", "?key=a&key64=YQ", "/a?key=b", "?key64=YQ==", "/%zz"].map(
        (rest) => fails(400, "invalid-key", `${kv}${rest}`),
      ),
      ...["/..", "/.", "/a/../b", "/%2E%2E", "/%2e%2e/x", "/a/%2E", "/", "/%"].map((rest) =>
        refuses(400, "invalid-key", { target: `${kv}${rest}` }),
      ),
      fails(400, "invalid-quorum", `${kv}/a?r=0`),
      fails(400, "invalid-quorum", `${kv}/a?r=most`),
      fails(400, "invalid-quorum", `${kv}/a?r=99`),
      refuses(400, "invalid-quorum", { target: `${kv}/a?w=99` }),
      ...["if-match", "if-none-match"].flatMap((name) =>
        ["PUT", "DELETE"].map((method) =>
          refuses(400, "conditional-needs-strong", {
            method,
            target: `${kv}/a`,
            headers: { [name]: "*" },
          }),
        ),
      ),
    ],
  },
  {
    name: "403 forbidden for pages of another origin, also for RPC",
    steps: [
      ...["https://evil.example", "null", "http://localhost", "http://127.0.0.1:1"].map((origin) =>
        refuses(403, "forbidden", { target: `${kv}/forbidden`, headers: { origin } }),
      ),
      fails(403, "forbidden", `${kv}/a`, { "sec-fetch-site": "cross-site" }),
      refuses(403, "forbidden", {
        method: "POST",
        target: "/put",
        body: '{"key":"forbidden","value":"x"}',
        headers: { origin: "https://evil.example", "content-type": "text/plain" },
      }),
      {
        ask: {
          method: "POST",
          target: "/kv.KVStore/Put",
          body: '{"key":"forbidden","value":"x"}',
          headers: { origin: "https://evil.example", "content-type": "application/json" },
        },
        status: 403,
        text: /permission_denied/,
      },
      fails(404, "key-not-found", `${kv}/forbidden`),
    ],
  },
  {
    name: "404 key-not-found, namespace-not-found, no-such-route; 405 with Allow",
    steps: [
      fails(404, "key-not-found", `${kv}/errors/none`),
      fails(404, "namespace-not-found", "/v1/kv/none/a"),
      fails(404, "namespace-not-found", "/v1/keys/none"),
      fails(404, "namespace-not-found", "/v1/count/none"),
      fails(404, "namespace-not-found", "/v1/namespaces/none"),
      refuses(404, "namespace-not-found", { target: "/v1/kv/none/a" }),
      ...["/", "/v1", "/v2/kv/a", "/v1/kv", "/get/x", "/problems/none", "//", "/%2e%2e"].map(
        (path) => fails(404, "no-such-route", path),
      ),
      ...[
        ["PATCH", `${kv}/a`, /GET.*PUT|PUT.*GET/],
        ["POST", `${kv}/a`, /DELETE/],
        ["PUT", "/v1/info", /GET/],
        ["GET", "/put", /POST/],
        ["DELETE", "/livez", /GET/],
      ].map(
        ([method, target, allow]): Step => ({
          ask: { method: method as string, target: target as string },
          status: 405,
          slug: "method-not-allowed",
          headers: { allow: allow as RegExp },
        }),
      ),
    ],
  },
  {
    name: "412 precondition-failed and 304 on reads",
    steps: [
      { ask: { method: "PUT", target: `${kv}/errors/etag`, body: "1" }, status: 204 },
      {
        ...fails(412, "precondition-failed", `${kv}/errors/etag`, { "if-match": '"x"' }),
        headers: { etag: /^"[0-9a-f]{16}-[0-9a-f]{16}"$/ },
      },
      {
        ask: { target: `${kv}/errors/etag`, headers: { "if-none-match": "*" } },
        status: 304,
        text: "",
        headers: { etag: /^"/ },
      },
      {
        ask: {
          target: `${kv}/errors/etag`,
          headers: { range: "bytes=0-0", "if-modified-since": "Fri, 01 Jan 2100 00:00:00 GMT" },
        },
        status: 200,
        text: "1",
      },
    ],
  },
  {
    name: "413 value-too-large with its limit; exactly 1 MiB is taken",
    steps: [
      {
        ask: { method: "PUT", target: `${kv}/errors/big`, body: new Uint8Array(MiB) },
        status: 204,
      },
      limited(413, "value-too-large", MiB, {
        target: `${kv}/errors/big`,
        body: new Uint8Array(MiB + 1),
      }),
      {
        ask: { target: `${kv}/errors/big` },
        status: 200,
        headers: { "content-length": String(MiB) },
        see: ({ body }) => assert.ok(body.equals(Buffer.alloc(MiB))),
      },
      refuses(413, "value-too-large", batch(" ".repeat(40 * MiB))),
      refuses(413, "value-too-large", {
        method: "POST",
        target: "/put",
        body: " ".repeat(8 * MiB),
      }),
    ],
  },
  {
    name: "414 key-too-long with its limit; exactly 1,024 bytes are taken",
    steps: [
      { ask: { method: "PUT", target: `${kv}/${"%00".repeat(1024)}`, body: "1" }, status: 204 },
      limited(414, "key-too-long", 1024, { target: `${kv}/${"x".repeat(1025)}` }),
      limited(414, "key-too-long", 1024, { target: `${kv}?key=${"%00".repeat(1025)}` }),
      limited(414, "key-too-long", 1024, {
        target: `${kv}?key64=${Buffer.alloc(1025).toString("base64url")}`,
      }),
      fails(414, "key-too-long", `/v1/keys/default?prefix=${"x".repeat(1025)}`),
    ],
  },
  {
    name: "415 unsupported-media-type; identity is taken",
    steps: [
      ...["gzip", "br", "deflate", "identity, gzip", "nonsense"].map((encoding) =>
        refuses(415, "unsupported-media-type", {
          target: `${kv}/errors/gzip`,
          headers: { "content-encoding": encoding },
        }),
      ),
      {
        ask: {
          method: "PUT",
          target: `${kv}/errors/gzip`,
          body: "1",
          headers: { "content-encoding": "identity" },
        },
        status: 204,
      },
    ],
  },
  {
    name: "421 misdirected-request for a Host that is not this node's",
    steps: [
      ...[
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "127.0.0.2",
        "0.0.0.0",
      ].map((host) =>
        refuses(421, "misdirected-request", { target: `${kv}/a`, headers: { host } }),
      ),
      ...["localhost", "LOCALHOST:1", "127.0.0.1:8080", "[::1]", "[::1]:9"].map(
        (host): Step => ({
          ask: { target: "/livez", headers: { host } },
          status: 200,
        }),
      ),
    ],
  },
  {
    name: "431 headers-too-large for metadata above 2 KiB",
    steps: [
      refuses(431, "headers-too-large", {
        target: `${kv}/a`,
        headers: { "quorate-meta-k": "v".repeat(2048) },
      }),
    ],
  },
  {
    name: "503 quorum-unavailable: more replicas than there are",
    steps: [
      {
        ask: { method: "PUT", target: "/v1/namespaces/three", body: '{"n":3}' },
        status: 200,
      },
      fails(503, "quorum-unavailable", "/v1/kv/three/a?r=2"),
      refuses(503, "quorum-unavailable", { target: "/v1/kv/three/a?w=3" }),
      { ask: { method: "PUT", target: "/v1/kv/three/a", body: "1" }, status: 204 },
      fails(400, "invalid-quorum", "/v1/kv/three/a?r=4"),
      { ask: { method: "DELETE", target: "/v1/namespaces/three" }, status: 204 },
    ],
  },
  {
    name: "an RPC that does not exist is unimplemented in the protocol's own form",
    steps: [
      ...["/quorate.v1.KvService/Nope", "/no.Service/Nope"].map(
        (target): Step => ({
          ask: {
            method: "POST",
            target,
            body: "",
            headers: { "content-type": "application/grpc" },
          },
          status: 200,
          headers: { "content-type": /^application\/grpc/, "grpc-status": "12" },
        }),
      ),
      {
        ask: {
          method: "POST",
          target: "/quorate.v1.KvService/Nope",
          body: "{}",
          headers: { "content-type": "application/json" },
        },
        status: 501,
        text: /"code":"unimplemented"/,
      },
    ],
  },
];

function limited(status: number, slug: string, limit: number, asked: Ask): Step {
  return {
    ...refuses(status, slug, asked),
    see: ({ text }) => {
      const problem = JSON.parse(text);
      assert.deepEqual([problem.limit, problem.outcome], [limit, "none"]);
    },
  };
}

export const errorCases: readonly Case[] = [...invalidRequests, ...otherErrors];
