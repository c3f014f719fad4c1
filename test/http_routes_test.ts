/**
 * Everything but single keys: lists, counts, batches, namespaces, the original routes, health, and
 * the document that describes them. Asked over HTTP/1.1, through Hono where nothing else is said.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { toBase64url, utf8Bytes } from "../src/bytes.ts";
import { QuorateError, slugTable } from "../src/errors.ts";
import { answers } from "../src/http_answers.ts";
import { headerMeanings } from "../src/http_headers.ts";
import { type Ask, Edge, type EdgeOptions, type Heard } from "./http_harness.ts";

const test = suite("http routes");

function withEdge(name: string, run: (edge: Edge) => Promise<void>, options: EdgeOptions = {}) {
  test(name, async () => {
    const edge = await Edge.open(options);
    try {
      await run(edge);
    } finally {
      await edge.close();
    }
  });
}

function slugIn(heard: Heard): string {
  assert.is(heard.headers["content-type"], "application/problem+json", heard.text);
  const { type, status } = JSON.parse(heard.text);
  assert.is(status, heard.status);
  return type.slice("/problems/".length);
}

const post = (edge: Edge, target: string, body: unknown) =>
  edge.ask({
    method: "POST",
    target,
    body: typeof body === "string" ? body : JSON.stringify(body),
  });

async function fill(edge: Edge, keys: readonly string[]): Promise<void> {
  for (const key of keys) await edge.put(`/v1/kv/default/${key}`, `value of ${key}`);
}

async function listed(edge: Edge, query: string) {
  const heard = await edge.ask(`/v1/keys/default${query}`);
  assert.is(heard.status, 200, heard.text);
  return answers.list.parse(JSON.parse(heard.text));
}

const lines = (text: string) =>
  text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));

withEdge("a list is in bytewise order, within its bounds, in either direction", async (edge) => {
  await fill(edge, ["b", "a", "a/2", "a/1", "%FF", "B"]);
  const names = async (query: string) =>
    (await listed(edge, query)).items.map((item) => item.key ?? `64:${item.key64}`);
  assert.equal(await names(""), ["B", "a", "a/1", "a/2", "b", "64:_w"]);
  assert.equal(await names("?prefix=a/"), ["a/1", "a/2"]);
  assert.equal(await names("?prefix="), await names(""));
  assert.equal(await names("?start=a/1&end=b"), ["a/1", "a/2"]);
  assert.equal(await names(`?start64=${toBase64url(utf8Bytes("b"))}`), ["b", "64:_w"]);
  assert.equal(await names("?prefix64=_w"), ["64:_w"]);
  assert.equal(await names("?prefix=a&reverse=1"), ["a/2", "a/1", "a"]);
});

withEdge("a cursor goes on where the page before ended", async (edge) => {
  await fill(edge, ["a", "b", "c", "d", "e"]);
  const seen: string[] = [];
  let query = "?limit=2";
  for (;;) {
    const page = await listed(edge, query);
    assert.ok(page.items.length <= 2);
    seen.push(...page.items.map((item) => item.key ?? ""));
    if (page.next === undefined) break;
    query = `?limit=2&cursor=${encodeURIComponent(page.next)}`;
  }
  assert.equal(seen, ["a", "b", "c", "d", "e"]);
});

withEdge(
  "items carry version, length, type and expiry, and their value when asked",
  async (edge) => {
    const put = await edge.put("/v1/kv/default/a?ttl=60", "text", { "content-type": "text/plain" });
    await edge.put("/v1/kv/default/b", Uint8Array.of(0xff));
    const { items } = await listed(edge, "?values=1");
    assert.equal(items[0], {
      key: "a",
      version: (put.headers["etag"] ?? "").slice(1, -1),
      bytes: 4,
      contentType: "text/plain",
      expiresAt: put.headers["quorate-expires"],
      value: "text",
    });
    assert.is(items[1]?.value64, "_w");
    assert.is(items[1]?.value, undefined);
  },
);

withEdge("a list with a wrong parameter is 400", async (edge) => {
  const wrong = [
    "limit=0",
    "limit=1001",
    "limit=x",
    "cursor=",
    "reverse=maybe",
    "start64=*",
    "key=a",
  ];
  for (const query of [...wrong, "prefix=a&prefix64=YQ", "prefix=%", "w=1"]) {
    assert.is(slugIn(await edge.ask(`/v1/keys/default?${query}`)), "invalid-request", query);
  }
  assert.is(slugIn(await edge.ask(`/v1/keys/default?prefix=${"x".repeat(1025)}`)), "key-too-long");
});

for (const protocol of ["HTTP/1.1", "HTTP/2"] as const) {
  withEdge(
    `NDJSON streams every page and ends with a count [${protocol}]`,
    async (edge) => {
      await fill(edge, ["a", "b", "c", "d", "e"]);
      const heard = await edge.ask({
        target: "/v1/keys/default?limit=2&values=1",
        headers: { accept: "text/html, application/x-ndjson;q=1" },
      });
      assert.is(heard.status, 200);
      assert.is(heard.headers["content-type"], "application/x-ndjson");
      const all = lines(heard.text);
      assert.equal(
        all.slice(0, 5).map((item) => item.value),
        ["value of a", "value of b", "value of c", "value of d", "value of e"],
      );
      assert.equal(all.slice(5), [{ end: true, count: 5 }]);
    },
    { protocol },
  );
}

withEdge(
  "NDJSON of nothing is its end line; an error before the first page has its status",
  async (edge) => {
    const headers = { accept: "application/x-ndjson" };
    const empty = await edge.ask({ target: "/v1/keys/default", headers });
    assert.is(empty.text, '{"end":true,"count":0}\n');
    assert.is(slugIn(await edge.ask({ target: "/v1/keys/none", headers })), "namespace-not-found");
  },
);

withEdge("NDJSON that fails says why in its last line, and the connection is cut", async (edge) => {
  await fill(edge, ["a", "b", "c"]);
  edge.api.pagesBeforeFailure = 2;
  edge.api.failure = new QuorateError("read-quorum-not-met", "Too few.");
  const connection = edge.raw();
  connection.send("GET /v1/keys/default?limit=1 HTTP/1.1\r\nHost: localhost\r\n");
  connection.send("Accept: application/x-ndjson\r\n\r\n");
  const text = await connection.closed();
  assert.match(text, "200 OK");
  assert.match(text, '"key":"b"');
  assert.match(text, '{"error":{"type":"/problems/read-quorum-not-met"');
  assert.not.match(text, '"key":"c"');
  assert.not.match(text, '"end":true');
  assert.not.match(text, "\r\n0\r\n\r\n");
});

withEdge("a count has keys, bytes and whether it is exact", async (edge) => {
  await fill(edge, ["a", "b", "bc"]);
  const count = async (query: string) =>
    answers.count.parse(JSON.parse((await edge.ask(`/v1/count/default${query}`)).text));
  assert.equal(await count(""), { keys: 3, bytes: 31, exact: false });
  assert.equal(await count("?prefix=b"), { keys: 2, bytes: 21, exact: true });
  assert.is(slugIn(await edge.ask("/v1/count/default?limit=1")), "invalid-request");
});

withEdge(
  "a batch answers every operation in order, each with a status of its own",
  async (edge) => {
    const heard = await post(edge, "/v1/batch/default", {
      ops: [
        { put: { key: "a", value: "1", contentType: "text/plain", meta: { by: "me" }, ttl: 60 } },
        { get: { key: "a" } },
        { get: "missing" },
        { put: { key64: "_w", value64: "_w" } },
        { get: { key64: "_w" } },
        { put: { key: "x".repeat(1025), value: "1" } },
        { put: { key: "big", value: "v".repeat(1024 * 1024 + 1) } },
        { delete: { key: "a" } },
        { get: { key: "a" } },
      ],
    });
    assert.is(heard.status, 200, heard.text);
    const { results } = answers.batch.parse(JSON.parse(heard.text));
    assert.equal(
      results.map((one) => one.status),
      [204, 200, 404, 204, 200, 414, 413, 204, 404],
    );
    assert.equal(
      results.map((one) => one.op),
      ["put", "get", "get", "put", "get", "put", "put", "delete", "get"],
    );
    const read = results[1];
    assert.equal([read?.key, read?.value, read?.contentType], ["a", "1", "text/plain"]);
    assert.equal(read?.meta, { by: "me" });
    assert.is(results[4]?.value64, "_w");
    assert.is(results[2]?.error?.["type"], "/problems/key-not-found");
    assert.is(results[5]?.error?.["outcome"], "none");
  },
);

withEdge(
  "metadata in JSON comes back as it was given, whatever its names, or is refused",
  async (edge) => {
    const meta = '{"__proto__":"p","constructor":"c","a":"a b"}';
    const put = `{"key":"a","value":"1","meta":${meta}}`;
    const isThere = async () => {
      const { headers } = await edge.ask("/v1/kv/default/a");
      const [proto, builder] = ["__proto__", "constructor"];
      assert.is(headers[`quorate-meta-${proto}`], "p");
      assert.is(headers[`quorate-meta-${builder}`], "c");
      assert.is(headers["quorate-meta-a"], "a b");
      assert.ok((await edge.ask("/get?key=a")).text.includes(`"meta":${meta}`));
      await edge.ask({ method: "DELETE", target: "/v1/kv/default/a" });
    };
    assert.is((await post(edge, "/put", put)).status, 200);
    await isThere();
    assert.is((await post(edge, "/v1/batch/default", `{"ops":[{"put":${put}}]}`)).status, 200);
    await isThere();
    // A header would lose the spaces, and a GET would give back another text.
    for (const wrong of ['{"a":" b"}', '{"a":"b "}', '{"a":"\\n"}', '{"A":"b"}', '{"a":1}', "[]"]) {
      const heard = await post(edge, "/put", `{"key":"a","value":"1","meta":${wrong}}`);
      assert.is(slugIn(heard), "invalid-request", wrong);
      assert.ok(JSON.parse(heard.text).detail.includes("'meta"), heard.text);
    }
    assert.is((await edge.ask("/v1/kv/default/a")).status, 404);
  },
);

withEdge("a content type in JSON that a header would change is refused", async (edge) => {
  for (const wrong of [" text/plain", "text/plain ", " ", "", "a\\n"]) {
    const put = `{"key":"a","value":"1","contentType":"${wrong}"}`;
    assert.is(slugIn(await post(edge, "/put", put)), "invalid-request", `'${wrong}'`);
    const batch = await post(edge, "/v1/batch/default", `{"ops":[{"put":${put}}]}`);
    assert.is(slugIn(batch), "invalid-request", `'${wrong}'`);
  }
  assert.is((await edge.ask("/v1/kv/default/a")).status, 404);
  await post(edge, "/put", '{"key":"a","value":"1","contentType":"a b"}');
  assert.is((await edge.ask("/v1/kv/default/a")).headers["content-type"], "a b");
});

withEdge("a batch whose envelope is not valid is refused as a whole", async (edge) => {
  const wrong: unknown[] = [
    "",
    "[]",
    "{}",
    '{"ops":1}',
    '{"ops":[{}]}',
    '{"ops":[{"get":"a","delete":"a"}]}',
    '{"ops":[{"incr":"a"}]}',
    '{"ops":[{"get":{"key":"a","x":1}}]}',
    '{"ops":[{"put":{"key":"a","value":1}}]}',
    '{"ops":[],"ops":[]}',
    '{"ops":[{"put":{"key":"a","value":"1","ttl":0}}]}',
    { ops: Array.from({ length: 1001 }, () => ({ get: "a" })) },
  ];
  for (const body of wrong) {
    assert.is(slugIn(await post(edge, "/v1/batch/default", body)), "invalid-request");
  }
  assert.is(edge.api.requests.length, 0);
  assert.is((await post(edge, "/v1/batch/default", { ops: [] })).text, '{"results":[]}\n');
});

withEdge("a namespace is made, read, changed, listed and deleted", async (edge) => {
  assert.is(slugIn(await edge.ask("/v1/namespaces/users")), "namespace-not-found");
  const made = await edge.put("/v1/namespaces/users", '{"ttl":60,"w":"all"}');
  assert.is(made.status, 200, made.text);
  const policy = answers.namespace.parse(JSON.parse(made.text));
  assert.equal(
    [policy.name, policy.ttl, policy.w, policy.maxValue],
    ["users", 60, "all", 1024 * 1024],
  );
  const changed = await edge.put("/v1/namespaces/users", '{"maxValue":5,"durability":"memory"}');
  assert.equal(answers.namespace.parse(JSON.parse(changed.text)), {
    ...policy,
    maxValue: 5,
    durability: "memory",
  });
  assert.is((await edge.ask("/v1/namespaces/users")).text, changed.text);
  const all = JSON.parse((await edge.ask("/v1/namespaces")).text).namespaces;
  assert.equal(
    all.map((one: { name: string }) => one.name),
    ["default", "users"],
  );
  for (let round = 0; round < 2; round += 1) {
    const gone = await edge.ask({ method: "DELETE", target: "/v1/namespaces/users" });
    assert.is(gone.status, 204);
  }
  assert.is(slugIn(await edge.ask("/v1/keys/users")), "namespace-not-found");
});

withEdge("a policy that is not valid is refused", async (edge) => {
  for (const body of [
    '{"n":0}',
    '{"w":"most"}',
    '{"maxValue":33554433}',
    '{"size":1}',
    "[]",
    "x",
  ]) {
    assert.is(slugIn(await edge.put("/v1/namespaces/users", body)), "invalid-request", body);
  }
  assert.is(slugIn(await edge.put("/v1/namespaces/Users", "{}")), "invalid-request");
});

withEdge("the original lines work: put, get, delete in both forms, health", async (edge) => {
  const put = await post(edge, "/put", { key: "hello", value: "wörld" });
  const written = answers.written.parse(JSON.parse(put.text));
  assert.equal([put.status, written.ok, written.key], [200, true, "hello"]);
  assert.is(JSON.parse((await edge.ask("/get?key=hello")).text).value, "wörld");
  const health = answers.health.parse(JSON.parse((await edge.ask("/health")).text));
  assert.equal(health, { node: "n1", keys: 1, status: "ok" });
  const byQuery = await edge.ask({ method: "DELETE", target: "/delete?key=hello" });
  assert.is(answers.written.parse(JSON.parse(byQuery.text)).key, "hello");
  const missing = await edge.ask("/get?key=hello");
  assert.is(slugIn(missing), "key-not-found");
  assert.is(JSON.parse(missing.text).found, false);
  for (const method of ["POST", "DELETE"]) {
    await post(edge, "/put", { key: "hello", value: "" });
    const byBody = await edge.ask({ method, target: "/delete", body: '{"key":"hello"}' });
    assert.is(byBody.status, 200, byBody.text);
    assert.is((await edge.ask("/get?key=hello")).status, 404);
  }
});

withEdge(
  "a delete whose query and body name two keys is refused, and deletes neither",
  async (edge) => {
    for (const method of ["POST", "DELETE"]) {
      const ask = (query: string, body: string) =>
        edge.ask({ method, target: `/delete?${query}`, body });
      for (const [query, body] of [
        ["key=a", '{"key":"b"}'],
        ["key64=YQ", '{"key64":"Yg"}'],
        ["key=a", '{"key":"a","more":1}'],
        ["key=a", "key=a"],
        ["key=a", "{}"],
      ] as const) {
        const heard = await ask(query, body);
        assert.is(heard.status, 400, `${query} ${body}`);
        assert.is(JSON.parse(heard.text).outcome, "none");
      }
      assert.is(edge.api.requests.length, 0);
      assert.is(slugIn(await ask("key=a", '{"key":"b"}')), "invalid-request");
      assert.is(slugIn(await ask("key=a", " ".repeat(65 * 1024))), "value-too-large");
      // The same key named twice contradicts nothing, and no body at all is the usual case.
      assert.is((await ask("key=a", '{"key64":"YQ"}')).status, 200);
      assert.is((await ask("key=a", "")).status, 200);
      edge.api.requests.length = 0;
    }
  },
);

withEdge("the original routes refuse what they cannot mean", async (edge) => {
  const wrong: readonly (readonly [body: string, slug: string])[] = [
    ["", "invalid-request"],
    ["key=hello&value=world", "invalid-request"],
    ['{"key":"a"}', "invalid-request"],
    ['{"value":"a"}', "invalid-key"],
    ['{"key":"","value":"a"}', "invalid-key"],
    ['{"key":"a","value":1}', "invalid-request"],
    ['{"key":"a","value":"1","key":"b"}', "invalid-request"],
    ['{"key":"a","value":"\\ud800"}', "invalid-request"],
    ['{"key":"\\udfff","value":"a"}', "invalid-key"],
    [JSON.stringify({ key: "a", value: "v".repeat(1024 * 1024 + 1) }), "value-too-large"],
    [" ".repeat(7 * 1024 * 1024), "value-too-large"],
  ];
  for (const [body, slug] of wrong) {
    const heard = await post(edge, "/put", body);
    assert.is(slugIn(heard), slug, body.slice(0, 80));
    assert.is(JSON.parse(heard.text).outcome, "none");
  }
  assert.is(slugIn(await edge.ask("/get")), "invalid-key");
  assert.is(slugIn(await edge.ask({ method: "POST", target: "/delete" })), "invalid-request");
  assert.is(edge.api.requests.length, 0);
});

withEdge(
  "a condition is refused on every write, where it would be passed over else",
  async (edge) => {
    const writes: readonly Ask[] = [
      { method: "POST", target: "/put", body: '{"key":"a","value":"1"}' },
      { method: "POST", target: "/delete?key=a" },
      { method: "DELETE", target: "/delete?key=a" },
      { method: "POST", target: "/v1/batch/default", body: '{"ops":[{"delete":"a"}]}' },
      { method: "PUT", target: "/v1/namespaces/default", body: "{}" },
      { method: "DELETE", target: "/v1/namespaces/other" },
      { method: "POST", target: "/v1/cluster/apply", body: '{"id":"0123456789abcdef"}' },
      { method: "POST", target: "/v1/cluster/revert" },
    ];
    await fill(edge, ["a"]);
    for (const ask of writes) {
      for (const name of ["if-match", "if-none-match", "if-unmodified-since"]) {
        const heard = await edge.ask({ ...ask, headers: { [name]: "*" } });
        assert.is(slugIn(heard), "conditional-needs-strong", `${ask.target} ${name}`);
        assert.is(JSON.parse(heard.text).outcome, "none");
      }
    }
    assert.is((await edge.ask("/v1/kv/default/a")).text, "value of a");
  },
);

withEdge("liveness always answers, readiness says what it waits for", async (edge) => {
  assert.is((await edge.ask("/livez")).text, "ok\n");
  assert.is((await edge.ask("/readyz")).text, "ok\n");
  assert.is((await edge.ask("/readyz?verbose")).text, "[+]store ok\nready\n");
  edge.api.checks = [
    { name: "store", ok: true },
    { name: "serving", ok: false, detail: "draining" },
  ];
  assert.is((await edge.ask("/livez")).status, 200);
  const waiting = await edge.ask("/readyz");
  assert.is(slugIn(waiting), "not-ready");
  assert.match(JSON.parse(waiting.text).detail, "serving (draining)");
  const verbose = await edge.ask("/readyz?verbose");
  assert.is(verbose.status, 503);
  assert.is(verbose.text, "[+]store ok\n[-]serving failed: draining\nnot ready\n");
  assert.is(JSON.parse((await edge.ask("/health")).text).status, "not ready");
});

withEdge("information is what the schema says", async (edge) => {
  const heard = await edge.ask("/v1/info");
  const info = answers.info.parse(JSON.parse(heard.text));
  assert.is(info.startedAt, "2023-11-14T22:13:20.000Z");
  assert.is(heard.headers["cache-control"], "private, no-cache");
});

withEdge("the ring tells the members, and with a key where that lives", async (edge) => {
  const ring = async (query: string) => {
    const heard = await edge.ask(`/v1/ring${query}`);
    assert.is(heard.status, 200, heard.text);
    return answers.ring.parse(JSON.parse(heard.text));
  };
  const { members, place, ...rest } = await ring("");
  assert.equal(rest, { clusterId: "c", epoch: 1, partitions: 256 });
  assert.is(place, undefined);
  const where = {
    node: "n1",
    nodeId: "n",
    zone: "z1",
    addresses: ["10.0.0.1:8080"],
    clientUrl: "http://10.0.0.1:8080",
  };
  const held = { primaries: 256, replicas: 256, share: 1 };
  assert.equal(members, [{ ...where, host: "h1", weight: 100, voter: true, ...held }]);
  // The made-up node takes the length of a key for its partition.
  const found = { namespace: "default", n: 1, replicas: [where] };
  assert.equal((await ring("?key=a/%C3%A9")).place, { ...found, partition: 4 });
  assert.equal((await ring("?key64=_w")).place, { ...found, partition: 1 });
  await edge.api.putNamespace("cars", { n: 3 });
  const cars = await ring("?key=k&namespace=cars");
  assert.equal(cars.place, { ...found, namespace: "cars", n: 3, partition: 1 });
  const wrong: readonly (readonly [query: string, slug: string])[] = [
    ["key=", "invalid-key"],
    ["key=a&key64=YQ", "invalid-key"],
    ["key64=*", "invalid-key"],
    ["namespace=cars", "invalid-key"],
    ["key=k&namespace=No", "invalid-request"],
    ["key=k&namespace=none", "namespace-not-found"],
    [`key=${"x".repeat(1025)}`, "key-too-long"],
    ["r=1", "invalid-request"],
  ];
  for (const [query, slug] of wrong) {
    assert.is(slugIn(await edge.ask(`/v1/ring?${query}`)), slug, query);
  }
});

withEdge("the cluster is what the schema says, without what was not heard", async (edge) => {
  const heard = await edge.ask("/v1/cluster");
  assert.is(heard.status, 200, heard.text);
  const { members, ...rest } = answers.cluster.parse(JSON.parse(heard.text));
  const voters = ["n1", "n2"];
  const features = [{ name: "member-programs", since: 2, on: false, waitsFor: ["n2", "n3"] }];
  const seen = { node: "n1", clusterId: "c", epoch: 3, partitions: 256, voters };
  assert.equal(rest, { ...seen, protocol: 1, features });
  assert.equal(
    members.map(({ node, state, self, voter, phi }) => [node, state, self, voter, phi]),
    [
      ["n1", "alive", true, true, 0],
      ["n2", "down", false, true, 9.25],
      ["n3", "unknown", false, false, 0],
    ],
  );
  assert.equal([members[0]?.primaries, members[0]?.replicas], [256, 256]);
  assert.not.ok("keys" in (members[1] ?? {}));
  assert.is(slugIn(await edge.ask("/v1/cluster?r=1")), "invalid-request");
});

withEdge(
  "the hints tell for whom, and a wait ends when none are left or with 504",
  async (edge) => {
    const hints = async (query: string) => {
      const heard = await edge.ask(`/v1/hints${query}`);
      assert.is(heard.status, 200, heard.text);
      return answers.hints.parse(JSON.parse(heard.text));
    };
    const none = { node: "n1", count: 0, bytes: 0, marks: 0, targets: [] };
    assert.equal(await hints(""), none);
    assert.equal(await hints("?wait=1"), none);
    assert.equal(await hints("?wait=1&timeout=250ms"), none);
    assert.equal(edge.api.waits, [5000, 250]);
    const target = { storeId: "s-2", node: "n2", count: 2, bytes: 300, oldestAgeMs: 5 };
    edge.api.hintTargets = [{ ...target, isDelivering: true }];
    assert.equal((await hints("?wait=0")).targets, [{ ...target, delivering: true }]);
    const waited = await edge.ask("/v1/hints?wait=1");
    assert.equal([waited.status, slugIn(waited)], [504, "timeout"]);
    assert.is(slugIn(await edge.ask("/v1/hints?timeout=1s")), "invalid-request");
    assert.is(slugIn(await edge.ask("/v1/hints?wait=1&timeout=61s")), "invalid-request");
    const headers = { "quorate-timeout": "1s" };
    assert.is((await edge.ask({ target: "/v1/hints", headers })).status, 200);
  },
);

withEdge(
  "repair tells what runs and what is marked, and is run for all, a partition or a namespace",
  async (edge) => {
    const heard = await edge.ask("/v1/repair");
    assert.is(heard.status, 200, heard.text);
    assert.equal(answers.repair.parse(JSON.parse(heard.text)), edge.api.repairState);
    const run = async (query: string) => {
      const { status, text } = await edge.ask({ method: "POST", target: `/v1/repair${query}` });
      assert.is(status, 202, text);
      return answers.repairRun.parse(JSON.parse(text));
    };
    assert.equal(await run(""), { node: "n1", pairs: 512 });
    assert.equal(await run("?partition=0"), { node: "n1", pairs: 2 });
    assert.equal(await run("?partition=7&namespace=default"), { node: "n1", pairs: 2 });
    assert.equal(edge.api.repairsAsked, [
      {},
      { partition: 0 },
      { partition: 7, namespace: "default" },
    ]);
    for (const wrong of ["?partition=1024", "?partition=x", "?partitions=1", "?partition="]) {
      const refused = await edge.ask({ method: "POST", target: `/v1/repair${wrong}` });
      assert.equal([refused.status, slugIn(refused)], [400, "invalid-request"], wrong);
    }
    assert.is(slugIn(await edge.ask("/v1/repair?partition=1")), "invalid-request");
  },
);

withEdge("a body that is no JSON is told what this route takes", async (edge) => {
  for (const [method, target, example] of [
    ["POST", "/put", '{"key":"hello","value":"world"}'],
    ["POST", "/delete", '{"key":"hello"}'],
    ["POST", "/v1/batch/default", '{"ops":[{"get":"hello"}]}'],
    ["PUT", "/v1/namespaces/users", '{"n":3,"w":"quorum"}'],
    ["POST", "/v1/cluster/plan", '{"join":["n4"]}'],
    ["POST", "/v1/cluster/apply", '{"id":"0123456789abcdef"}'],
  ] as const) {
    const refused = await edge.ask({ method, target, body: utf8Bytes('{"a":') });
    assert.is(slugIn(refused), "invalid-request", target);
    assert.is(
      JSON.parse(refused.text).hint,
      `Send one JSON object in UTF-8, for example ${example}.`,
    );
    // What is told to be an example is taken.
    const taken = await edge.ask({ method, target, body: utf8Bytes(example) });
    assert.not.match(taken.text, "The JSON body");
    assert.not.match(taken.text, "of the JSON body");
  }
});

withEdge("a key that cannot be is told what can be done where it was given", async (edge) => {
  const hintOf = async (body: unknown) =>
    JSON.parse((await post(edge, "/v1/batch/default", body)).text).results[0].error.hint;
  const half = await hintOf('{"ops":[{"get":"\\ud800"}]}');
  assert.match(half, "key64");
  assert.not.match(half, "?key", "a batch has no query");
  assert.is(await hintOf({ ops: [{ get: "" }] }), "Give the key at least one byte.");
});

withEdge(
  "what takes no body refuses one that asks for something, and does nothing",
  async (edge) => {
    const post = (target: string, body: string) =>
      edge.ask({ method: "POST", target, body: utf8Bytes(body) });
    for (const target of ["/v1/repair", "/v1/cluster/revert"]) {
      for (const body of ['{"partition":3}', "partition=3", "null", " "]) {
        const refused = await post(target, body);
        assert.equal([refused.status, slugIn(refused)], [400, "invalid-request"], body);
        assert.match(refused.text, `POST ${target} takes no body`);
      }
    }
    assert.equal(edge.api.repairsAsked, []);
    assert.is((await post("/v1/repair", "{}")).status, 202);
    assert.equal(edge.api.repairsAsked, [{}]);
  },
);

withEdge("every slug has its page, as text and as HTML", async (edge) => {
  for (const [slug, { about, title }] of Object.entries(slugTable)) {
    const plain = await edge.ask(`/problems/${slug}`);
    assert.is(plain.status, 200);
    assert.match(plain.text, about);
    const headers = { accept: "text/html,*/*;q=0.8" };
    const page = await edge.ask({ target: `/problems/${slug}`, headers });
    assert.match(page.headers["content-type"] ?? "", "text/html");
    assert.match(page.text, title.replaceAll("'", "'"));
  }
  assert.is(slugIn(await edge.ask("/problems/nonsense")), "no-such-route");
});

withEdge("/openapi.json has exactly the routes that are served", async (edge) => {
  const heard = await edge.ask("/openapi.json");
  assert.is(heard.status, 200);
  const document = JSON.parse(heard.text);
  assert.is(document.openapi, "3.1.0");
  assert.is(document.info.version, "0.0.1");
  const described = new Set<string>();
  for (const [path, methods] of Object.entries(document.paths as Record<string, object>)) {
    for (const method of Object.keys(methods)) described.add(`${method} ${path}`);
  }
  // Hono's own table: HEAD goes by GET there, ALL is the 405 of a path.
  const served = new Set<string>();
  for (const { method, path } of edge.http.app.routes) {
    const template = path.replace(":key{.*}", "{key}").replaceAll(/:(\w+)/g, "{$1}");
    if (method !== "ALL") served.add(`${method.toLowerCase()} ${template}`);
  }
  for (const route of described) {
    if (route.startsWith("head ")) assert.ok(served.has(route.replace("head ", "get ")), route);
  }
  const withoutHead = [...described].filter((route) => !route.startsWith("head "));
  assert.equal(withoutHead.sort(), [...served].sort());
  for (const route of described) {
    const [method = "", template = ""] = route.split(" ");
    const target = template.replace("{namespace}", "default").replace("{key}", "k");
    const asked = target.replace("{slug}", "internal");
    const answer = await edge.ask({ method: method.toUpperCase(), target: asked });
    assert.not.equal([404, "no-such-route"], [answer.status, answer.text && slugOrNone(answer)]);
    assert.is.not(answer.status, 405, route);
  }
});

function slugOrNone(heard: Heard): string | undefined {
  return heard.headers["content-type"] === "application/problem+json" ? slugIn(heard) : undefined;
}

withEdge("the document's parameters are those that are checked", async (edge) => {
  const document = JSON.parse((await edge.ask("/openapi.json")).text);
  const names = (method: string, path: string) =>
    document.paths[path][method].parameters.map((one: { name: string }) => one.name).sort();
  assert.equal(names("put", "/v1/kv/{namespace}"), [
    "consistency",
    "durability",
    "explain",
    "key",
    "key64",
    "namespace",
    "timeout",
    "ttl",
    "w",
  ]);
  for (const name of names("get", "/v1/keys/{namespace}")) {
    if (name === "namespace") continue;
    const heard = await edge.ask(`/v1/keys/default?${name}=*`);
    const isUnknown = heard.status === 400 && heard.text.includes("is not known on this route");
    assert.not.ok(isUnknown, name);
  }
});

type Described = Readonly<Record<string, { readonly required: boolean }>>;
/** Of the body, and of the connection. */
const notDescribed = [
  ...["content-type", "content-length", "connection", "keep-alive", "transfer-encoding"],
];

test("/openapi.json describes the headers that are sent, and all of them are met", async () => {
  const origin = "https://app.example";
  const edge = await Edge.open({ settings: { corsOrigins: [origin] } });
  try {
    const { paths } = JSON.parse((await edge.ask("/openapi.json")).text);
    const met = new Set<string>();
    const ask = async (method: string, path: string, more: Partial<Ask> = {}) => {
      const plain = path.replace("{namespace}", "default").replace("{key}", "k");
      const target = `${plain.replace("{slug}", "internal")}${more.target ?? ""}`;
      const heard = await edge.ask({ ...more, method: method.toUpperCase(), target });
      const { responses } = paths[path][method];
      const response = responses[heard.status] ?? responses.default;
      const type = heard.headers["content-type"]?.split(";")[0];
      const isTold = response.content === undefined || type === undefined;
      const where = `${method} ${target} ${heard.status}`;
      if (!isTold) assert.ok(type in response.content || "*/*" in response.content, where);
      const described = new Map(
        Object.entries(response.headers as Described).map(([name, of]) => [name.toLowerCase(), of]),
      );
      for (const name of Object.keys(heard.headers)) {
        if (notDescribed.includes(name) || name.startsWith("quorate-meta-")) continue;
        assert.ok(described.has(name), `${where}: ${name} is sent`);
        met.add(name);
      }
      for (const [name, { required }] of described) {
        if (required) assert.ok(name in heard.headers, `${where}: ${name} is always there`);
      }
      return heard;
    };
    const key = "/v1/kv/{namespace}/{key}";
    const body = '{"ops":[{"get":"k"}]}';
    const headers = { "quorate-meta-a": "b" };
    const put = await ask("put", key, { target: "?ttl=60&explain=1", body: "v", headers });
    const etag = put.headers["etag"] ?? "";
    await ask("get", key, { target: "?explain=1", headers: { origin } });
    await ask("get", key, { headers: { "if-none-match": etag } });
    await ask("get", key, { headers: { "if-match": '"other"' } });
    await ask("get", "/get", { target: "?key=k&explain=1" });
    await ask("post", "/put", { target: "?explain=1", body: '{"key":"k","value":"v"}' });
    await ask("delete", "/delete", { target: "?key=k&explain=1" });
    await ask("post", "/v1/batch/{namespace}", { body });
    const accept = { accept: "application/x-ndjson" };
    await ask("get", "/v1/keys/{namespace}", { headers: accept });
    await ask("get", "/readyz", { target: "?verbose" });
    edge.api.checks = [{ name: "serving", ok: false, detail: "draining" }];
    await ask("get", "/readyz", { target: "?verbose" });
    await ask("get", "/readyz");
    for (const [path, methods] of Object.entries(paths as Record<string, object>)) {
      for (const method of Object.keys(methods)) await ask(method, path);
    }
    const facts = { retryAfterSeconds: 1, explain: {} };
    edge.api.failure = new QuorateError("read-quorum-not-met", "Nobody is there.", facts);
    await ask("get", key, { target: "?explain=1" });
    assert.equal(
      [...met].sort(),
      Object.keys(headerMeanings)
        .map((name) => name.toLowerCase())
        .sort(),
    );
  } finally {
    await edge.close();
  }
});

withEdge("the application also answers fetch-style requests, without a socket", async (edge) => {
  const { app } = edge.http;
  const put = await app.request("/v1/kv/default/a%2Fb", { method: "PUT", body: "1" });
  assert.is(put.status, 204);
  const got = await app.request("/v1/kv/default?key=a/b");
  assert.is(await got.text(), "1");
  assert.is(got.headers.get("etag"), put.headers.get("etag"));
  const big = await app.request("/v1/kv/default/big", {
    method: "PUT",
    body: new Uint8Array(1024 * 1024 + 1),
  });
  assert.is(big.status, 413);
  const stream = await app.request("/v1/keys/default", {
    headers: { accept: "application/x-ndjson" },
  });
  assert.match(await stream.text(), '{"end":true,"count":1}');
  assert.is((await app.request("/nope")).status, 404);
});

withEdge(
  "what a change of a namespace leaves out stays, also at a node that has not heard of it yet",
  async (edge) => {
    await edge.put("/v1/namespaces/cars", '{"maxValue":5000000}');
    edge.api.namespaces = () => [];
    const changed = await edge.put("/v1/namespaces/cars", '{"ttl":60}');
    assert.is(changed.status, 200, changed.text);
    const { maxValue, ttl } = JSON.parse(changed.text);
    assert.equal([maxValue, ttl], [5_000_000, 60]);
  },
);

test.run();
