/**
 * The same cases run four times: through Hono and on the direct path, over HTTP/1.1 and HTTP/2.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { toBase64url, utf8Bytes } from "../src/bytes.ts";
import { QuorateError } from "../src/errors.ts";
import { answers } from "../src/http_answers.ts";
import { type Ask, Edge, everyWayOf, problemIn } from "./http_harness.ts";

const test = suite("http");
const everyWay = everyWayOf(test);

const everyByte = Uint8Array.from({ length: 256 }, (_, byte) => byte);
const etagPattern = /^"[0-9a-f]{16}-[0-9a-f]{16}"$/;

everyWay(
  "a value comes back as it was put, with its type, its version and its length",
  async (edge) => {
    const put = await edge.put("/v1/kv/default/users/1", '{"name":"Ada"}', {
      "content-type": "application/json",
    });
    assert.is(put.status, 204);
    assert.is(put.body.length, 0);
    assert.match(put.headers["etag"] ?? "", etagPattern);
    assert.is(put.headers["quorate-acks"], "1/1");
    assert.is(put.headers["quorate-durability"], "fsync");
    assert.is(put.headers["cache-control"], "private, no-cache");
    const got = await edge.ask("/v1/kv/default/users/1");
    assert.is(got.status, 200);
    assert.is(got.text, '{"name":"Ada"}');
    const { headers } = got;
    assert.is(headers["content-type"], "application/json");
    assert.is(headers["content-length"], "14");
    assert.is(headers["etag"], put.headers["etag"]);
    assert.is(headers["last-modified"], "Tue, 14 Nov 2023 22:13:20 GMT");
    assert.is(headers["date"], "Fri, 02 Jan 2026 03:04:05 GMT");
    assert.is(headers["cache-control"], "private, no-cache");
    assert.is(headers["accept-ranges"], "none");
    assert.is(headers["x-content-type-options"], "nosniff");
    assert.is(headers["content-security-policy"], "sandbox");
    assert.is(headers["quorate-replies"], "1/1");
    assert.is(headers["quorate-consistency"], "quorum");
    assert.is(headers["quorate-node"], "n1");
    assert.is(headers["quorate-epoch"], "1");
    assert.match(headers["server-timing"] ?? "", /^total;dur=\d/);
  },
);

everyWay(
  "HEAD has the headers of the GET, its Content-Length included, and no body",
  async (edge) => {
    await edge.put("/v1/kv/default/a", "12345");
    const got = await edge.ask("/v1/kv/default/a");
    const head = await edge.ask({ method: "HEAD", target: "/v1/kv/default/a" });
    assert.is(head.status, 200);
    assert.is(head.body.length, 0);
    const ofRequest = { "quorate-request-id": "" };
    assert.equal({ ...head.headers, ...ofRequest }, { ...got.headers, ...ofRequest });
    const missing = await edge.ask({ method: "HEAD", target: "/v1/kv/default/b" });
    assert.is(missing.status, 404);
    assert.is(missing.body.length, 0);
  },
);

everyWay("binary-values-round-trip", async (edge) => {
  for (const value of [everyByte, new Uint8Array(0), new Uint8Array(300_000).fill(0xfe)]) {
    assert.is((await edge.put("/v1/kv/default/binary", value)).status, 204);
    const got = await edge.ask("/v1/kv/default/binary");
    assert.equal(got.body, value);
    assert.is(got.headers["content-length"], String(value.length));
  }
  await edge.put("/v1/kv/default/binary", everyByte);
  const seed = JSON.parse((await edge.ask("/get?key=binary")).text);
  assert.is(seed.value64, toBase64url(everyByte));
  assert.is(seed.value, undefined);
});

everyWay("put-accepts-any-content-type", async (edge) => {
  const types = [
    undefined,
    "application/x-www-form-urlencoded",
    "text/plain",
    "a/b; c=d",
    "nonsense",
  ];
  for (const type of types) {
    const headers = type === undefined ? {} : { "content-type": type };
    const body = JSON.stringify({ key: "hello", value: `world ${type}` });
    const put = await edge.ask({ method: "POST", target: "/put", body, headers });
    assert.is(put.status, 200, put.text);
    assert.ok(answers.written.parse(JSON.parse(put.text)).ok);
    const got = await edge.ask("/get?key=hello");
    const found = answers.found.parse(JSON.parse(got.text));
    assert.equal([found.key, found.value, found.found], ["hello", `world ${type}`, true]);
    assert.is(got.headers["cache-control"], "private, no-cache");
    const raw = await edge.put("/v1/kv/default/raw", "x", headers);
    assert.is(raw.status, 204);
    const stored = (await edge.ask("/v1/kv/default/raw")).headers["content-type"];
    const isDefault = type === undefined || type === "application/x-www-form-urlencoded";
    assert.is(stored, isDefault ? "application/octet-stream" : type);
  }
});

everyWay(
  "DELETE is 204 whether the key was there or not, and then the key is not found",
  async (edge) => {
    await edge.put("/v1/kv/default/a", "1");
    for (let round = 0; round < 2; round += 1) {
      const gone = await edge.ask({ method: "DELETE", target: "/v1/kv/default/a" });
      assert.is(gone.status, 204);
      assert.is(gone.headers["quorate-acks"], "1/1");
    }
    const got = await edge.ask("/v1/kv/default/a");
    const problem = problemIn(got, 404, "key-not-found");
    assert.is(problem["key"], "a");
    assert.is(problem["namespace"], "default");
    assert.is(got.headers["quorate-replies"], "1/1");
    assert.is(got.headers["quorate-node"], "n1");
  },
);

everyWay("a key is the bytes of the raw target, never a normalised path", async (edge) => {
  const same: readonly (readonly [path: string, key: Uint8Array])[] = [
    ["a%2Fb", utf8Bytes("a/b")],
    ["/a", utf8Bytes("/a")],
    ["a//b", utf8Bytes("a//b")],
    ["a/", utf8Bytes("a/")],
    ["a+b", utf8Bytes("a+b")],
    ["%25FF", utf8Bytes("%FF")],
    ["%FF", Uint8Array.of(0xff)],
    ["%00", Uint8Array.of(0)],
    ["a%00b%C3%28", Uint8Array.of(97, 0, 98, 0xc3, 0x28)],
    ["..a/...", utf8Bytes("..a/...")],
    ["a\\b", utf8Bytes("a\\b")],
    ["%41".repeat(1024), new Uint8Array(1024).fill(0x41)],
  ];
  for (const [path, key] of same) {
    assert.is((await edge.put(`/v1/kv/default/${path}`, path)).status, 204, path);
    const got = await edge.ask(`/v1/kv/default?key64=${toBase64url(key)}`);
    assert.is(got.text, path, path);
  }
  // Different keys that a URL class would make one.
  assert.is((await edge.ask("/v1/kv/default/%FF")).text, "%FF");
  assert.is((await edge.ask("/v1/kv/default/%25FF")).text, "%25FF");
  assert.is((await edge.ask("/v1/kv/default/a/b")).text, "a%2Fb");
});

everyWay(
  "a key with a dot segment is refused in a path and welcome as ?key= or ?key64=",
  async (edge) => {
    for (const path of ["..", ".", "../x", "a/../b", "%2E%2E", "%2e%2E/x", "a/%2E", ""]) {
      const heard = await edge.put(`/v1/kv/default/${path}`, "x");
      const problem = problemIn(heard, 400, "invalid-key");
      assert.match(String(problem["hint"]), "?key=");
      assert.is(problem["outcome"], "none");
    }
    assert.is((await edge.put("/v1/kv/default?key=..%2Fx", "dots")).status, 204);
    const got = await edge.ask(`/v1/kv/default?key64=${toBase64url(utf8Bytes("../x"))}`);
    assert.is(got.text, "dots");
    assert.is((await edge.ask("/v1/kv/default?key=../x")).text, "dots");
    problemIn(await edge.ask("/v1/kv/../x"), 400, "invalid-request");
    problemIn(await edge.ask("/v1/kv/%2E%2E/x"), 400, "invalid-request");
    problemIn(await edge.ask("/v1/kv/default/%zz"), 400, "invalid-key");
    problemIn(await edge.ask("/v1/kv/default?key=%4"), 400, "invalid-key");
  },
);

everyWay("exactly one of path key, key and key64 names the key", async (edge) => {
  for (const target of [
    "",
    "?",
    "?key=",
    "?key64=",
    "?key=a&key64=YQ",
    "/a?key=a",
    "/a?key64=YQ",
  ]) {
    problemIn(await edge.ask(`/v1/kv/default${target}`), 400, "invalid-key");
  }
  problemIn(await edge.ask("/v1/kv/default?key=a&key=b"), 400, "invalid-request");
  problemIn(await edge.ask("/v1/kv/default?key64=YQ=="), 400, "invalid-key");
});

everyWay("a key of 1,025 bytes is 414 with the limit", async (edge) => {
  for (const target of [`/${"x".repeat(1025)}`, `?key=${"%00".repeat(1025)}`]) {
    const problem = problemIn(await edge.put(`/v1/kv/default${target}`, "x"), 414, "key-too-long");
    assert.is(problem["limit"], 1024);
  }
});

everyWay("+ is a space in a query and itself in a path", async (edge) => {
  await edge.put("/v1/kv/default/a+b", "plus");
  await edge.put("/v1/kv/default?key=a+b", "space");
  assert.is((await edge.ask("/v1/kv/default?key=a%2Bb")).text, "plus");
  assert.is((await edge.ask("/v1/kv/default/a%20b")).text, "space");
});

everyWay("a value of the limit is taken, one byte more is 413 with the limit", async (edge) => {
  const limit = 1024 * 1024;
  const value = new Uint8Array(limit + 1).fill(7);
  assert.is((await edge.put("/v1/kv/default/big", value.subarray(0, limit))).status, 204);
  const heard = await edge.put("/v1/kv/default/big", value);
  const problem = problemIn(heard, 413, "value-too-large");
  assert.is(problem["limit"], limit);
  assert.is(problem["outcome"], "none");
  assert.is((await edge.ask("/v1/kv/default/big")).body.length, limit);
});

everyWay("the limit of a value is that of its namespace", async (edge) => {
  await edge.put("/v1/namespaces/small", '{"maxValue":10}');
  assert.is((await edge.put("/v1/kv/small/a", "0123456789")).status, 204);
  assert.is(
    problemIn(await edge.put("/v1/kv/small/a", "0123456789a"), 413, "value-too-large")["limit"],
    10,
  );
});

everyWay("metadata comes back as given, and too much of it is 431", async (edge) => {
  const meta = { "quorate-meta-owner": "Ada L.", "quorate-meta-x_1": "" };
  assert.is((await edge.put("/v1/kv/default/a", "1", meta)).status, 204);
  const { headers } = await edge.ask("/v1/kv/default/a");
  assert.is(headers["quorate-meta-owner"], "Ada L.");
  assert.is(headers["quorate-meta-x_1"], "");
  const most = { "quorate-meta-k": "v".repeat(2047) };
  assert.is((await edge.put("/v1/kv/default/a", "1", most)).status, 204);
  const more = { "quorate-meta-k": "v".repeat(2048) };
  problemIn(await edge.put("/v1/kv/default/a", "1", more), 431, "headers-too-large");
});

everyWay("a time to live is taken from the query, else the header, and told back", async (edge) => {
  const expires = (seconds: number) => new Date(1_700_000_000_000 + seconds * 1000).toISOString();
  const header = { "quorate-ttl": "60" };
  const put = await edge.put("/v1/kv/default/a", "1", header);
  assert.is(put.headers["quorate-expires"], expires(60));
  assert.is((await edge.ask("/v1/kv/default/a")).headers["quorate-expires"], expires(60));
  const both = await edge.put("/v1/kv/default/a?ttl=315360000", "1", header);
  assert.is(both.headers["quorate-expires"], expires(315_360_000));
  const cleared = await edge.put("/v1/kv/default/a", "1");
  assert.is(cleared.headers["quorate-expires"], undefined);
  for (const wrong of ["0", "-1", "1.5", "315360001", "1e3", "", "x"]) {
    problemIn(await edge.put(`/v1/kv/default/a?ttl=${wrong}`, "1"), 400, "invalid-request");
  }
});

everyWay("parameters reach the node from the query, else from their headers", async (edge) => {
  const last = () => edge.api.requests.at(-1);
  await edge.ask({
    target: "/v1/kv/default/a?consistency=one&r=all",
    headers: { "quorate-consistency": "all", "quorate-timeout": "250ms", "quorate-explain": "1" },
  });
  const { requestId: _id, key: _key, ...read } = { key: undefined, ...last() };
  assert.equal(read, {
    namespace: "default",
    consistency: "one",
    r: "all",
    timeoutMs: 250,
    explain: true,
  });
  await edge.put("/v1/kv/default/a?w=1&timeout=60s&durability=memory", "1");
  assert.is(last()?.w, 1);
  assert.is(last()?.timeoutMs, 60_000);
  assert.is(last()?.durability, "memory");
  await edge.ask({
    method: "DELETE",
    target: "/v1/kv/default/a?w=quorum",
    headers: { "quorate-durability": "memory" },
  });
  assert.is(last()?.w, "quorum");
  assert.is(last()?.durability, "memory");
  await edge.ask("/v1/kv/default/a");
  assert.equal(Object.keys(last() ?? {}).sort(), ["key", "namespace", "requestId"]);
});

everyWay(
  "a parameter that is unknown, repeated or out of range is 400 and reaches nobody",
  async (edge) => {
    const wrong: readonly (readonly [query: string, slug: string])[] = [
      ["consistncy=one", "invalid-request"],
      ["__proto__=1", "invalid-request"],
      ["w=1", "invalid-request"],
      ["consistency=two", "invalid-request"],
      ["consistency=one&consistency=all", "invalid-request"],
      ["timeout=61s", "invalid-request"],
      ["timeout=0ms", "invalid-request"],
      ["timeout=5", "invalid-request"],
      ["explain=yes", "invalid-request"],
      ["r=0", "invalid-quorum"],
      ["r=most", "invalid-quorum"],
      ["a=%zz", "invalid-request"],
    ];
    for (const [query, slug] of wrong) {
      problemIn(await edge.ask(`/v1/kv/default/a?${query}`), 400, slug);
    }
    const headers = { "quorate-timeout": "soon" };
    const byHeader = problemIn(
      await edge.ask({ target: "/v1/kv/default/a", headers }),
      400,
      "invalid-request",
    );
    assert.match(String(byHeader["detail"]), "Quorate-Timeout");
    assert.is(edge.api.requests.length, 0);
  },
);

everyWay("explain=1 adds what happened to the headers, in ASCII", async (edge) => {
  const heard = await edge.put("/v1/kv/default/a?explain=1", "1");
  assert.equal(JSON.parse(heard.headers["quorate-explain"] ?? ""), { why: "asked – für" });
  assert.is((await edge.ask("/v1/kv/default/a")).headers["quorate-explain"], undefined);
});

everyWay("explain=1 adds what happened also where the request has failed", async (edge) => {
  const explain = { replicas: [{ node: "n1", status: "no answer" }] };
  for (const slug of ["read-quorum-not-met", "timeout"] as const) {
    edge.api.failure = new QuorateError(slug, "Nobody is there.", { explain });
    const heard = await edge.ask("/v1/kv/default/a?explain=1");
    problemIn(heard, slug === "timeout" ? 504 : 503, slug);
    assert.equal(JSON.parse(heard.headers["quorate-explain"] ?? ""), explain);
  }
});

everyWay("explain is refused where many keys are asked for, and there is none", async (edge) => {
  const ops = JSON.stringify({ ops: [{ get: "a" }] });
  for (const ask of [
    { target: "/v1/keys/default?explain=1" },
    { target: "/v1/count/default?explain=1" },
    { method: "POST", target: "/v1/batch/default?explain=1", body: ops },
  ]) {
    const problem = problemIn(await edge.ask(ask), 400, "invalid-request");
    assert.match(String(problem["detail"]), "'explain' is not known on this route");
  }
});

everyWay("a request id is echoed, passed on and in errors; a bad one is refused", async (edge) => {
  const headers = { "quorate-request-id": "my id/1" };
  const heard = await edge.ask({ target: "/v1/kv/default/a", headers });
  assert.is(heard.headers["quorate-request-id"], "my id/1");
  assert.is(problemIn(heard, 404, "key-not-found")["requestId"], "my id/1");
  assert.is(edge.api.requests.at(-1)?.requestId, "my id/1");
  const bad = { "quorate-request-id": "x".repeat(65) };
  problemIn(await edge.ask({ target: "/v1/kv/default/a", headers: bad }), 400, "invalid-request");
  const made = [await edge.ask("/livez"), await edge.ask("/livez")].map(
    (one) => one.headers["quorate-request-id"] ?? "",
  );
  assert.ok(made.every((id) => id.length > 0) && made[0] !== made[1], "made when absent");
});

everyWay(
  "a write that is refused before its operation is known has an outcome too",
  async (edge) => {
    const refused: readonly (readonly [Ask, status: number, slug: string])[] = [
      [
        { target: "/v1/kv/default/a", headers: { "quorate-request-id": "é" } },
        400,
        "invalid-request",
      ],
      [{ target: "/v1/kv/default/a", headers: { host: "a@b" } }, 400, "invalid-request"],
      [
        { target: "/v1/kv/default/a", headers: { host: "evil.example" } },
        421,
        "misdirected-request",
      ],
      [{ target: "/v1/kv" }, 404, "no-such-route"],
      [{ target: "/get?key=a" }, 405, "method-not-allowed"],
    ];
    for (const [ask, status, slug] of refused) {
      const heard = await edge.ask({ ...ask, method: "PUT", body: "1" });
      assert.is(problemIn(heard, status, slug)["outcome"], "none", ask.target);
    }
  },
);

everyWay(
  "If-None-Match gives 304 on a read, If-Match 412, and on a write both are refused",
  async (edge) => {
    const put = await edge.put("/v1/kv/default/a", "1");
    const etag = put.headers["etag"] ?? "";
    const ask = (headers: Record<string, string>) =>
      edge.ask({ target: "/v1/kv/default/a", headers });
    for (const value of [etag, `W/${etag}`, `"x", ${etag}`, "*"]) {
      const heard = await ask({ "if-none-match": value });
      assert.is(heard.status, 304, value);
      assert.is(heard.headers["etag"], etag);
      assert.is(heard.body.length, 0);
    }
    assert.is((await ask({ "if-none-match": '"x"' })).status, 200);
    assert.is((await ask({ "if-match": etag })).status, 200);
    const other = await ask({ "if-match": '"x"' });
    problemIn(other, 412, "precondition-failed");
    assert.is(other.headers["etag"], etag);
    const ignored = { "if-modified-since": "Fri, 02 Jan 2026 03:04:05 GMT", range: "bytes=0-0" };
    assert.is((await ask(ignored)).status, 200);
    for (const name of ["if-match", "if-none-match"]) {
      for (const method of ["PUT", "DELETE"]) {
        const headers = { [name]: "*" };
        const heard = await edge.ask({ method, target: "/v1/kv/default/a", headers });
        assert.is(problemIn(heard, 400, "conditional-needs-strong")["outcome"], "none");
      }
    }
  },
);

everyWay("an encoded or partial body is refused", async (edge) => {
  const gzip = await edge.put("/v1/kv/default/a", "1", { "content-encoding": "gzip" });
  problemIn(gzip, 415, "unsupported-media-type");
  const identity = await edge.put("/v1/kv/default/a", "1", { "content-encoding": "identity" });
  assert.is(identity.status, 204);
  const part = await edge.put("/v1/kv/default/a", "1", { "content-range": "bytes 0-0/2" });
  problemIn(part, 400, "invalid-request");
  const long = await edge.put("/v1/kv/default/a", "1", { "content-type": `a/${"b".repeat(255)}` });
  problemIn(long, 400, "invalid-request");
});

test("a body under a transfer coding besides chunked is refused, and its bytes are no value", async () => {
  const edge = await Edge.open();
  try {
    for (const [coding, status] of [
      ["gzip, chunked", 415],
      ["chunked", 204],
    ] as const) {
      const raw = edge.raw();
      raw.send(`PUT /v1/kv/default/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n`);
      raw.send(`Transfer-Encoding: ${coding}\r\n\r\n2\r\nhi\r\n0\r\n\r\n`);
      assert.match(await raw.closed(), `HTTP/1.1 ${status} `);
      assert.is((await edge.ask("/v1/kv/default/a")).status, status === 204 ? 200 : 404);
    }
  } finally {
    await edge.close();
  }
});

everyWay("a namespace that does not exist is 404 before the body is looked at", async (edge) => {
  problemIn(await edge.put("/v1/kv/none/a", "1"), 404, "namespace-not-found");
  problemIn(await edge.ask("/v1/kv/none/a"), 404, "namespace-not-found");
  problemIn(await edge.ask("/v1/keys/none"), 404, "namespace-not-found");
});

everyWay("what the node throws becomes a problem with what is known of the write", async (edge) => {
  edge.api.failure = new QuorateError("disk-full", "Full.", {
    outcome: "none",
    retryAfterSeconds: 3,
  });
  const full = await edge.put("/v1/kv/default/a", "1");
  assert.is(problemIn(full, 507, "disk-full")["outcome"], "none");
  assert.is(full.headers["retry-after"], "3");
  edge.api.failure = new Error("surprise");
  const put = problemIn(await edge.put("/v1/kv/default/a", "1"), 500, "internal");
  assert.is(put["outcome"], "unknown");
  const got = problemIn(await edge.ask("/v1/kv/default/a"), 500, "internal");
  assert.is(got["outcome"], undefined);
  edge.api.failure = new QuorateError("corruption", "Damaged.");
  problemIn(await edge.ask("/get?key=a"), 500, "corruption");
});

test.run();
