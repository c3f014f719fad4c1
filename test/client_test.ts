/**
 * The client against the real HTTP edge over a fake node, and against servers that misbehave.
 */
import * as http from "node:http";
import * as net from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { toHex, utf8Bytes } from "../src/bytes.ts";
import { type BatchOperation, type ListEntry, QuorateClient } from "../src/client.ts";
import { QuorateError, type Slug } from "../src/errors.ts";
import { Edge } from "./http_harness.ts";

const test = suite("client");

async function withEdge(run: (client: QuorateClient, edge: Edge) => Promise<void>): Promise<void> {
  const edge = await Edge.open();
  try {
    await run(new QuorateClient({ url: `http://${edge.authority}` }), edge);
  } finally {
    await edge.close();
  }
}

/** A server that answers every request by `respond`. */
async function withServer(
  respond: http.RequestListener,
  run: (client: QuorateClient, server: http.Server) => Promise<void>,
): Promise<void> {
  const server = http.createServer(respond);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as net.AddressInfo;
  try {
    await run(new QuorateClient({ url: `http://127.0.0.1:${port}` }), server);
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

async function failureOf(run: () => Promise<unknown>, slug: Slug): Promise<QuorateError> {
  try {
    await run();
  } catch (error) {
    assert.instance(error, QuorateError);
    assert.is((error as QuorateError).slug, slug, String(error));
    return error as QuorateError;
  }
  throw new Error("It succeeded.");
}

async function all<T>(source: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of source) items.push(item);
  return items;
}

const strangeKeys: readonly Uint8Array[] = [
  "plain",
  "users/1",
  "a b+c%2Fd?e#f&g=h",
  "..",
  "a/../b",
  "./a",
  "a/.",
  "//",
  "/lead",
  "trail/",
  "a//b",
  "%2E%2E",
  "%FF",
  "back\\slash",
  "nul\0inside",
  "line\nbreak",
  "ünïcödé/日本語/🦊",
  "\ufeffbom",
  "x".repeat(1024),
]
  .map(utf8Bytes)
  .concat([new Uint8Array([0xff, 0xfe]), new Uint8Array([0]), new Uint8Array([0x2e, 0xff])]);

test("a value comes back byte for byte under every key, however strange", () =>
  withEdge(async (client, edge) => {
    for (const key of strangeKeys) await client.put(key, key);
    for (const key of strangeKeys) {
      const record = await client.get(key);
      assert.is(toHex(record?.value ?? new Uint8Array()), toHex(key));
    }
    assert.is((await client.count()).keys, strangeKeys.length, "no two keys were taken for one");
    for (const key of strangeKeys) await client.delete(key);
    assert.is((await client.count()).keys, 0);
    assert.is(
      edge.api.requests.every(({ namespace }) => namespace === "default"),
      true,
    );
  }));

test("a record has its content type, metadata, version and expiry", () =>
  withEdge(async (client) => {
    const meta = Object.fromEntries([
      ["__proto__", "b"],
      ["owner", "ada"],
    ]);
    const choices = { contentType: "application/json", meta, ttlSeconds: 60 };
    const written = await client.put("k", '{"a":1}', choices);
    const record = await client.get("k");
    assert.equal(record?.json(), { a: 1 });
    assert.is(record?.contentType, "application/json");
    assert.equal(Object.entries(record?.meta ?? {}), Object.entries(meta));
    assert.is(record?.version, written.version);
    assert.is(record?.expiresAtMs, 1_700_000_060_000);
    assert.is(written.expiresAtMs, 1_700_000_060_000);
    assert.is(`${written.acks}/${written.replicas}`, "1/1");
    assert.is(written.durability, "fsync");
    assert.is(written.node, "n1");
  }));

test("text is stored as text/plain, and bytes as octets, unless a type is named", () =>
  withEdge(async (client) => {
    await client.put("text", "é");
    await client.put("bytes", new Uint8Array([0, 255]));
    assert.is((await client.get("text"))?.contentType, "text/plain; charset=utf-8");
    assert.is((await client.get("text"))?.text(), "é");
    assert.is((await client.get("bytes"))?.contentType, "application/octet-stream");
  }));

test("a missing key is undefined, a missing namespace an error", () =>
  withEdge(async (client) => {
    assert.is(await client.get("nothing"), undefined);
    await failureOf(() => client.get("k", { namespace: "nope" }), "namespace-not-found");
  }));

test("every choice reaches the node, the request's before the client's own", () =>
  withEdge(async (_, edge) => {
    const url = `http://${edge.authority}/`;
    const own = { url, timeoutMs: 2000, r: "all", w: 1, durability: "memory" } as const;
    const client = new QuorateClient(own);
    await client.put("k", "v", { durability: "fsync" });
    const { w, durability, timeoutMs } = edge.api.requests.at(-1) ?? {};
    assert.equal([w, durability, timeoutMs], [1, "fsync", 2000]);
    await client.get("k", { r: 1, timeoutMs: 60_000 });
    assert.is(edge.api.requests.at(-1)?.r, 1);
    assert.is(edge.api.requests.at(-1)?.timeoutMs, 60_000);
    await client.delete("k");
    assert.is(edge.api.requests.at(-1)?.durability, "memory");
    await all(client.list());
    assert.is(edge.api.requests.at(-1)?.r, "all");
  }));

test("a consistency that a request names stands above the r and w of the client", () =>
  withEdge(async (_, edge) => {
    const client = new QuorateClient({ url: `http://${edge.authority}`, r: 1, w: 1 });
    await client.put("k", "v", { consistency: "all" });
    assert.equal(
      [edge.api.requests.at(-1)?.consistency, edge.api.requests.at(-1)?.w],
      ["all", undefined],
    );
    await client.get("k", { consistency: "all" });
    assert.equal(
      [edge.api.requests.at(-1)?.consistency, edge.api.requests.at(-1)?.r],
      ["all", undefined],
    );
    await client.put("k", "v", { consistency: "all", w: 2 });
    assert.is(edge.api.requests.at(-1)?.w, 2, "its own stands, as the node reads it");
    await client.get("k");
    assert.is(edge.api.requests.at(-1)?.r, 1);
  }));

test("a list goes through all pages, and the stream gives the same", () =>
  withEdge(async (client) => {
    const keys = Array.from({ length: 25 }, (_, index) => `k/${String(index).padStart(2, "0")}`);
    for (const key of keys) await client.put(key, key);
    const names = (entries: readonly ListEntry[]) =>
      entries.map(({ key }) => new TextDecoder().decode(key));
    assert.equal(names(await all(client.list({ pageSize: 7 }))), keys);
    assert.equal(names(await all(client.stream({ pageSize: 7 }))), keys);
    const reversed = await all(client.list({ pageSize: 7, reverse: true, values: true }));
    assert.equal(names(reversed), keys.toReversed());
    assert.equal(
      reversed.map(({ value }) => new TextDecoder().decode(value)),
      keys.toReversed(),
    );
    assert.equal(names(await all(client.list({ start: "k/03", end: "k/06" }))), keys.slice(3, 6));
    assert.equal(names(await all(client.list({ prefix: "k/2" }))), keys.slice(20));
    assert.equal(names(await all(client.list({ prefix: new Uint8Array([0xff]) }))), []);
    const page = await client.listPage({ pageSize: 10 });
    assert.is(page.entries.length, 10);
    const rest = await all(client.list({ pageSize: 10, cursor: page.next }));
    assert.equal(names(rest), keys.slice(10));
    assert.equal(await client.count({ prefix: "k/1" }), { keys: 10, bytes: 40, exact: true });
  }));

test("a caller who stops half-way leaves no connection busy", () =>
  withEdge(async (client) => {
    for (let index = 0; index < 10; index += 1) await client.put(`k${index}`, "v");
    for await (const entry of client.stream({ pageSize: 1 })) {
      assert.is(new TextDecoder().decode(entry.key), "k0");
      break;
    }
    assert.is((await client.count()).keys, 10);
  }));

test("a stream that fails half-way throws the node's error", () =>
  withEdge(async (client, edge) => {
    for (let index = 0; index < 10; index += 1) await client.put(`k${index}`, "v");
    edge.api.pagesBeforeFailure = 2;
    edge.api.failure = new QuorateError("corruption", "Partition 7 is damaged.");
    const seen: ListEntry[] = [];
    const error = await failureOf(async () => {
      for await (const entry of client.stream({ pageSize: 3 })) seen.push(entry);
    }, "corruption");
    assert.is(error.detail, "Partition 7 is damaged.");
    assert.is(seen.length, 6);
  }));

test("a caller that takes its time with a streamed list is not timed out", () =>
  withEdge(async (client) => {
    for (const key of ["a", "b", "c"]) await client.put(key, "v");
    const realSetTimeout = globalThis.setTimeout;
    const armed = new Set<unknown>();
    const realClearTimeout = globalThis.clearTimeout;
    // 4,321 and the client's grace of a second: no other timer has this delay.
    const isDeadline = (delayMs: number | undefined): boolean => delayMs === 5321;
    globalThis.setTimeout = ((run: () => void, delayMs?: number) => {
      const timer = realSetTimeout(run, delayMs);
      if (isDeadline(delayMs)) armed.add(timer);
      return timer;
    }) as typeof setTimeout;
    globalThis.clearTimeout = ((timer: NodeJS.Timeout) => {
      armed.delete(timer);
      realClearTimeout(timer);
    }) as typeof clearTimeout;
    try {
      let seen = 0;
      for await (const _ of client.stream({ pageSize: 1, timeoutMs: 4321 })) {
        seen += 1;
        assert.is(armed.size, 0, "the deadline does not run while the caller works");
      }
      assert.is(seen, 3);
    } finally {
      globalThis.setTimeout = realSetTimeout;
      globalThis.clearTimeout = realClearTimeout;
    }
  }));

test("a stream without its end line is incomplete, never a shorter list", () =>
  withServer(
    (_, response) => {
      const version = `${"0".repeat(16)}-${"0".repeat(16)}`;
      response.end(`${JSON.stringify({ key: "a", version, bytes: 1, contentType: "x" })}\n`);
    },
    async (client) => {
      const error = await failureOf(() => all(client.stream()), "unreachable");
      assert.match(error.detail, /incomplete/);
    },
  ));

test("a stream takes a large value as fast as it comes, in however many pieces", async () => {
  const version = `${"0".repeat(16)}-${"0".repeat(16)}`;
  const value = "v".repeat(8 * 1024 * 1024);
  const item = (key: string) =>
    JSON.stringify({ key, version, bytes: value.length, contentType: "x", value });
  const text = `${item("a")}\n${item("b")}\n{"end":true,"count":2}\n`;
  const pieceLength = 1000;
  let start = 0;
  const body = () =>
    new ReadableStream<Uint8Array>({
      pull(controller) {
        if (start >= text.length) return controller.close();
        controller.enqueue(Buffer.from(text.slice(start, start + pieceLength)));
        start += pieceLength;
      },
    });
  const client = new QuorateClient({ fetch: async () => new Response(body()) });
  const beganMs = performance.now();
  const entries = await all(client.stream({ values: true }));
  assert.equal(
    entries.map(({ key, value }) => [Buffer.from(key).toString(), value?.length]),
    [
      ["a", value.length],
      ["b", value.length],
    ],
  );
  // Each piece looked at once takes a tenth of a second; with all before it, a minute.
  assert.ok(performance.now() - beganMs < 10_000, `${performance.now() - beganMs} ms`);
});

test("an export has the values and the metadata of all records", () =>
  withEdge(async (_, edge) => {
    const urls: string[] = [];
    const client = new QuorateClient({
      url: `http://${edge.authority}`,
      fetch: (url, init) => {
        urls.push(`${init.method} ${new URL(url).pathname}`);
        return fetch(url, init);
      },
    });
    const big = new Uint8Array(1024 * 1024).fill(7);
    for (let index = 0; index < 8; index += 1) await client.put(`big/${index}`, big);
    await client.put("small", "s", { meta: { a: "b" }, contentType: "text/x" });
    urls.length = 0;
    const records = await all(client.export());
    assert.is(records.length, 9);
    assert.ok(records.slice(0, 8).every(({ value }) => value.length === big.length));
    assert.equal(records[8]?.meta, { a: "b" });
    assert.is(records[8]?.contentType, "text/x");
    // One list, and the values in groups of at most 4 MiB.
    const groups = Array.from({ length: 3 }, () => "POST /v1/batch/default");
    assert.equal(urls, ["GET /v1/keys/default", ...groups]);
  }));

test("a batch answers each operation in order, and an operation that fails fails alone", () =>
  withEdge(async (client) => {
    const results = await client.batch([
      { kind: "put", key: "a", value: "1", meta: { x: "y z" }, ttlSeconds: 5 },
      { kind: "get", key: "a" },
      { kind: "get", key: "missing" },
      { kind: "put", key: "x".repeat(1025), value: "" },
      { kind: "put", key: new Uint8Array([255]), value: new Uint8Array([0, 255]) },
      { kind: "get", key: new Uint8Array([255]) },
      { kind: "delete", key: "a" },
    ]);
    assert.equal(
      results.map(({ kind }) => kind),
      ["put", "get", "get", "error", "put", "get", "delete"],
    );
    const [, got, missing, failed, , binary] = results;
    assert.ok(got?.kind === "get" && missing?.kind === "get" && binary?.kind === "get");
    assert.is(got.record?.text(), "1");
    assert.equal(got.record?.meta, { x: "y z" });
    assert.is(missing.record, undefined);
    assert.equal([...(binary.record?.value ?? [])], [0, 255]);
    assert.ok(failed?.kind === "error");
    assert.is(failed.error.slug, "key-too-long");
  }));

test("namespaces are made, read, changed and deleted", () =>
  withEdge(async (client) => {
    await client.putNamespace("logs", { ttlSeconds: 60, valueBytesMax: 1024 });
    const changed = await client.putNamespace("logs", { durability: "memory" });
    assert.is(changed.policy.ttlSeconds, 60);
    assert.is(changed.policy.valueBytesMax, 1024);
    assert.is(changed.policy.durability, "memory");
    const names = async () => (await client.namespaces()).map(({ name }) => name);
    assert.equal(await names(), ["default", "logs"]);
    await client.put("k", "v", { namespace: "logs" });
    assert.is(await client.get("k"), undefined);
    await client.deleteNamespace("logs");
    assert.equal(await names(), ["default"]);
  }));

test("info tells who the node is", () =>
  withEdge(async (client) => {
    const info = await client.info();
    assert.is(info.node, "n1");
    assert.is(info.partitions, 256);
    assert.ok(info.startedAtMs > 0);
  }));

test("ring tells the members, and where a key lives, whatever its bytes", () =>
  withEdge(async (client) => {
    const ring = await client.ring();
    assert.equal([ring.clusterId, ring.epoch, ring.partitions], ["c", 1, 256]);
    const [member] = ring.members;
    assert.equal([member?.node, member?.zone, member?.host], ["n1", "z1", "h1"]);
    assert.equal([member?.voter, member?.primaries, member?.replicas], [true, 256, 256]);
    assert.equal(member?.addresses, ["10.0.0.1:8080"]);
    assert.is(ring.place, undefined);
    const { place } = await client.ring("a/..");
    assert.is(place?.partition, 4, "the made-up node takes the length of a key for its partition");
    assert.is(place?.replicas[0]?.clientUrl, "http://10.0.0.1:8080");
    assert.is((await client.ring(Uint8Array.of(0xff, 0))).place?.partition, 2);
    await client.putNamespace("logs", { n: 2 });
    const logs = await client.ring("k", { namespace: "logs" });
    assert.equal([logs.place?.namespace, logs.place?.n], ["logs", 2]);
  }));

test("cluster and hints tell what the node knows, and leave out what it has not heard", () =>
  withEdge(async (client, edge) => {
    const { node, epoch, voters, members } = await client.cluster();
    assert.equal([node, epoch, voters], ["n1", 3, ["n1", "n2"]]);
    const [first, second, third] = members;
    assert.equal([first?.state, first?.self, first?.voter], ["alive", true, true]);
    assert.equal(first?.disk, { freeBytes: 1024 ** 3, totalBytes: 4 * 1024 ** 3 });
    assert.equal([second?.state, second?.phi, second?.silentMs], ["down", 9.25, 61_000]);
    assert.equal([second?.keys, third?.silentMs, third?.epoch], [undefined, undefined, undefined]);
    assert.equal(await client.hints(), { node: "n1", count: 0, bytes: 0, marks: 0, targets: [] });
    edge.api.hintTargets = [{ storeId: "s-2", count: 2, bytes: 30, isDelivering: true }];
    const { count, targets } = await client.hints();
    assert.equal(
      [count, targets],
      [2, [{ storeId: "s-2", count: 2, bytes: 30, delivering: true }]],
    );
  }));

test("repair tells how far the node is, and runRepair says what to compare now", () =>
  withEdge(async (client, edge) => {
    assert.equal(await client.repair(), edge.api.repairState);
    assert.equal(await client.runRepair(), { node: "n1", pairs: 512 });
    assert.equal(await client.runRepair({ partition: 3 }), { node: "n1", pairs: 2 });
    assert.equal(edge.api.repairsAsked, [{}, { partition: 3 }]);
  }));

test("a problem becomes the error that the node threw, with all that it knows", () =>
  withEdge(async (client, edge) => {
    edge.api.failure = new QuorateError("write-quorum-not-met", "1 of 2 acks in 500 ms.", {
      outcome: "partial",
      hint: "Try again.",
      needed: 2,
      acks: 1,
      epoch: 7,
      replicas: [{ node: "n2", status: "down", reason: "timeout" }],
    });
    const error = await failureOf(() => client.put("k", "v"), "write-quorum-not-met");
    assert.is(error.detail, "1 of 2 acks in 500 ms.");
    const { outcome, hint, needed, acks, epoch, replicas, requestId, key } = error.facts;
    assert.equal([outcome, hint, needed, acks, epoch], ["partial", "Try again.", 2, 1, 7]);
    assert.equal(replicas, [{ node: "n2", status: "down", reason: "timeout" }]);
    assert.ok((requestId ?? "").length > 0);
    assert.equal(key, utf8Bytes("k"));
    assert.is(error.exitCode, 5);
    edge.api.failure = new QuorateError("overloaded", "Busy.", {
      outcome: "none",
      retryAfterSeconds: 2,
    });
    const busy = await failureOf(() => client.put("k", "v"), "overloaded");
    assert.is(busy.facts.retryAfterSeconds, 2);
  }));

test("a refused connection is unreachable, and a write then surely did not happen", async () => {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  const client = new QuorateClient({ url: `http://127.0.0.1:${port}` });
  const write = await failureOf(() => client.put("k", "v"), "unreachable");
  assert.is(write.outcome, "none");
  assert.match(write.detail, new RegExp(`127\\.0\\.0\\.1:${port}.*ECONNREFUSED`));
  assert.is(write.exitCode, 1);
  const read = await failureOf(() => client.get("k"), "unreachable");
  assert.is(read.outcome, undefined);
});

test("a write whose node ends before its answer is unknown, also where the runtime sends it again", async () => {
  let requests = 0;
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    let text = "";
    socket.on("data", (chunk: Uint8Array) => {
      text += Buffer.from(chunk).toString("latin1");
      if (!text.endsWith("\r\n\r\nvalue")) return;
      text = "";
      requests += 1;
      // The first is answered, and its connection kept; at the second the node ends.
      if (requests === 1) socket.write("HTTP/1.1 204 No Content\r\nQuorate-Acks: 1/1\r\n\r\n");
      else {
        server.close();
        for (const one of sockets) one.destroy();
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as net.AddressInfo;
  const client = new QuorateClient({ url: `http://127.0.0.1:${port}` });
  await client.put("k", "value");
  const failure = await failureOf(() => client.put("k", "value"), "unreachable");
  assert.is(failure.outcome, "unknown");
  assert.is(requests, 2);
});

test("a connection that is cut before the answer leaves a write's outcome unknown", () =>
  withServer(
    (request) => {
      request.socket.destroy();
    },
    async (client) => {
      const error = await failureOf(() => client.put("k", "v"), "unreachable");
      assert.is(error.outcome, "unknown");
      assert.is(error.exitCode, 5);
    },
  ));

test("a node that does not answer in time is a timeout, of a write with unknown outcome", () =>
  withServer(
    () => {},
    async (client) => {
      const write = failureOf(() => client.put("k", "v", { timeoutMs: 1 }), "timeout");
      const read = failureOf(() => client.get("k", { timeoutMs: 1 }), "timeout");
      assert.is((await write).outcome, "unknown");
      assert.is((await read).outcome, undefined);
    },
  ));

test("a body that stops half-way is a timeout too", () =>
  withServer(
    (_, response) => {
      response.writeHead(200, { ETag: `"${"0".repeat(16)}-${"0".repeat(16)}"` });
      response.write("half");
    },
    async (client) => {
      await failureOf(() => client.get("k", { timeoutMs: 1 }), "timeout");
    },
  ));

test("an answer that is not a node's is unreachable, not a value", () =>
  withServer(
    (request, response) => {
      response.statusCode = request.method === "GET" ? 200 : 502;
      response.end("<html>Welcome to the proxy</html>");
    },
    async (client) => {
      await failureOf(() => client.get("k"), "unreachable");
      await failureOf(() => client.info(), "unreachable");
      const write = await failureOf(() => client.put("k", "v"), "unreachable");
      assert.match(write.detail, /502/);
      assert.is(write.outcome, "unknown");
    },
  ));

test("the caller's own signal ends a request, with its own reason", () =>
  withServer(
    () => {},
    async (client) => {
      const controller = new AbortController();
      const pending = client.get("k", { signal: controller.signal });
      const reason = new Error("not needed any more");
      controller.abort(reason);
      try {
        await pending;
        assert.unreachable();
      } catch (error) {
        assert.is(error, reason);
      }
    },
  ));

test("a namespace that a URL would take for a way up is refused before anything is sent", () =>
  withEdge(async (client, edge) => {
    await client.putNamespace("prod");
    for (const namespace of ["..", ".", "a/b", "A", "a".repeat(65)]) {
      for (const call of [
        () => client.delete("namespaces/prod", { namespace }),
        () => client.put("k", "v", { namespace }),
        () => client.explain("k", { namespace }),
        () => client.count({ namespace }),
        () => client.putNamespace(namespace),
        () => client.deleteNamespace(namespace),
        async () => new QuorateClient({ namespace }),
      ]) {
        const error = await failureOf(call, "invalid-request");
        assert.is(error.outcome, "none");
      }
    }
    assert.equal(
      (await client.namespaces()).map(({ name }) => name),
      ["default", "prod"],
    );
    assert.is(edge.api.requests.length, 0);
  }));

test("what no header or key can carry is refused before anything is sent", () =>
  withEdge(async (client, edge) => {
    const bad: readonly (() => Promise<unknown>)[] = [
      () => client.put("k", "v", { meta: { Upper: "x" } }),
      () => client.put("k", "v", { meta: { a: "é" } }),
      () => client.put("k", "v", { meta: { a: " cut " } }),
      () => client.put("k", "v", { contentType: "text/\n" }),
      () => client.put("k", "\ud800"),
    ];
    for (const run of bad) {
      assert.is((await failureOf(run, "invalid-request")).outcome, "none");
    }
    await failureOf(() => client.get("\udc00"), "invalid-key");
    await failureOf(() => client.put("", "v"), "invalid-key");
    assert.is(edge.api.requests.length, 0);
  }));

test("an option that a call does not have, or a value of another type, is refused before anything is sent", () =>
  withEdge(async (client, edge) => {
    // As a program without a type checker would call it.
    const loose = client as unknown as Record<string, (...given: unknown[]) => unknown>;
    const calls: readonly (readonly [name: string, given: readonly unknown[], said: RegExp])[] = [
      ["put", ["x", 5], /The value is 5; it has to be a string or a Uint8Array/],
      ["put", ["x", { a: 1 }], /The value is an object/],
      ["put", ["x", "x", { ttl: 5 }], /no option 'ttl' for put\(\)/],
      ["put", ["x", "x", { ttlSeconds: "5" }], /ttlSeconds of put\(\) is '5'/],
      ["put", ["x", "x", { meta: { a: 5 } }], /meta of put\(\) is an object; .* of strings/],
      ["put", ["x", "x", { signal: 5 }], /signal of put\(\) is 5; it has to be an AbortSignal/],
      ["put", ["x", "x", { signal: { aborted: false } }], /signal of put\(\) is an object/],
      ["put", ["x", "x", null], /options of put\(\) are null/],
      ["get", ["x", { w: 2 }], /no option 'w' for get\(\)/],
      ["delete", ["x", { durability: "disk" }], /durability of delete\(\) is 'disk'/],
      ["listPage", [{ limit: -1 }], /no option 'limit' for a list/],
      ["listPage", [{ pageSize: -1 }], /pageSize of a list is -1; .* from 1 to 1,000/],
      ["count", [{ prefx: "a" }], /no option 'prefx' for count\(\)/],
      ["batch", [[], { ttlSeconds: 5 }], /no option 'ttlSeconds' for batch\(\)/],
      [
        "batch",
        [[{ kind: "put", key: "x", value: "x", ttl: 5 }]],
        /no option 'ttl' for a put of a batch/,
      ],
      [
        "batch",
        [[{ kind: "get", key: "x", value: "x" }]],
        /no option 'value' for a get of a batch/,
      ],
      ["batch", [[{ kind: "incr", key: "x" }]], /kind of an operation of a batch is 'incr'/],
      ["batch", [[null]], /kind of an operation of a batch is null/],
      ["putNamespace", ["images", { ttl: 5 }], /no option 'ttl' for the policy of a namespace/],
      ["info", [{ timeout: 5 }], /no option 'timeout' for this call/],
      ["ring", ["x", null], /options of this call are null/],
      ["explain", ["x", { r: 1 }], /no option 'r' for this call/],
    ];
    for (const [name, given, said] of calls) {
      const error = await failureOf(async () => loose[name]?.(...given), "invalid-request");
      assert.match(error.detail, said);
      assert.is(error.outcome, "none");
      assert.ok(error.hint !== undefined);
    }
    for (const name of ["list", "stream", "export"]) {
      const run = () => all(loose[name]?.({ limit: -1 }) as AsyncIterable<unknown>);
      assert.match((await failureOf(run, "invalid-request")).hint ?? "", /pageSize/);
    }
    await failureOf(() => client.get(5 as unknown as string), "invalid-key");
    assert.is(edge.api.requests.length, 0);
  }));

test("a client is refused with options that it does not have, or a URL that is none", async () => {
  const cases: readonly (readonly [unknown, RegExp])[] = [
    [{ url: "nope" }, /url of QuorateClient is 'nope'; it has to be an http or https URL/],
    [{ url: "localhost:8080" }, /url of QuorateClient is 'localhost:8080'/],
    [{ url: "http://a/?b" }, /url of/],
    [{ url: new URL("http://a") }, /url of QuorateClient is a URL/],
    [{ uri: "http://a" }, /no option 'uri' for QuorateClient/],
    [{ timeoutMs: 0 }, /timeoutMs of QuorateClient is 0/],
    [{ headers: { a: 5 } }, /headers of/],
    [
      { headers: new Headers({ authorization: "secret" }) },
      /headers of QuorateClient is a Headers/,
    ],
    [{ fetch: "fetch" }, /fetch of QuorateClient is 'fetch'; it has to be a function/],
    ["http://a", /The options of QuorateClient are 'http:\/\/a'/],
  ];
  for (const [options, said] of cases) {
    const make = async () => new QuorateClient(options as { url: string });
    assert.match((await failureOf(make, "invalid-request")).detail, said);
  }
  new QuorateClient({ url: "https://a.example:8080/base/", headers: { a: "b" }, r: undefined });
});

test("what a call is given is taken at once: it may be used again while the call is under way", () =>
  withEdge(async (client, edge) => {
    const key = utf8Bytes("k1");
    const value = utf8Bytes("v1");
    const written = client.put(key, value);
    key[1] = value[1] = 0x32;
    await written;
    key[1] = 0x31;
    const record = await client.get(key);
    key[1] = 0x32;
    assert.is(record?.text(), "v1");
    assert.is(toHex(record?.key ?? key), toHex(utf8Bytes("k1")));

    const operations: BatchOperation[] = [
      { kind: "put", key: "k3", value: "v3" },
      { kind: "get", key: "k1" },
    ];
    const answered = client.batch(operations);
    operations.length = 0;
    assert.equal(
      (await answered).map(({ kind }) => kind),
      ["put", "get"],
    );

    const prefix = utf8Bytes("k1");
    for (const name of ["list", "stream", "export"] as const) {
      const choices = { prefix, pageSize: 1 };
      const source = client[name](choices);
      choices.prefix = utf8Bytes("k3");
      prefix[1] = 0x33;
      const found = await all<{ readonly key: Uint8Array }>(source);
      prefix[1] = 0x31;
      assert.equal(
        found.map((one) => toHex(one.key)),
        [toHex(utf8Bytes("k1"))],
        name,
      );
    }

    const options = { url: `http://${edge.authority}`, consistency: "all" as "all" | "one" };
    const strict = new QuorateClient(options);
    options.consistency = "one";
    await strict.put("k4", "v4");
    assert.is(edge.api.requests.at(-1)?.consistency, "all");

    const headers = { "quorate-meta-a": "b" };
    const own = new QuorateClient({ url: `http://${edge.authority}`, headers });
    headers["quorate-meta-a"] = "c";
    await own.put("k5", "v5");
    assert.equal((await own.get("k5"))?.meta, { a: "b" });
  }));

test("an option that an object inherits is one for every call", () =>
  withEdge(async (client) => {
    for (const key of ["a/1", "a/2", "b/1"]) await client.put(key, "v");
    class Choices {
      get prefix(): string {
        return "a/";
      }
      get pageSize(): number {
        return 1;
      }
    }
    for (const name of ["list", "stream", "export"] as const) {
      assert.is((await all<unknown>(client[name](new Choices()))).length, 2, name);
    }
  }));

test("a header that a call needs stands above the client's own, in whatever case that is written", () =>
  withEdge(async (_, edge) => {
    const url = `http://${edge.authority}`;
    for (const name of ["content-type", "Content-Type"]) {
      const client = new QuorateClient({ url, headers: { [name]: "x/y", "quorate-meta-a": "b" } });
      await client.put("k", "v");
      const record = await client.get("k");
      assert.is(record?.contentType, "text/plain; charset=utf-8", name);
      assert.equal(record?.meta, { a: "b" });
    }
  }));

test("a request that the runtime cannot send was surely not sent", async () => {
  for (const headers of [{ "a b": "c" }, { a: "b\nc" }, { a: "\u20ac" }] as Record<
    string,
    string
  >[]) {
    const client = new QuorateClient({ headers });
    const write = await failureOf(() => client.put("k", "v"), "invalid-request");
    assert.is(write.outcome, "none");
    assert.match(write.hint ?? "", /headers of the client/);
    assert.is((await failureOf(() => client.get("k"), "invalid-request")).outcome, undefined);
  }
});

test("P7: a write that another fetch than the runtime's has sent may have taken place, whatever that took", async () => {
  const sent: string[] = [];
  const lost = async (url: string): Promise<Response> => {
    // As one does that makes a header of the password, which the runtime's own refuses.
    sent.push(url);
    throw new TypeError("terminated");
  };
  const client = new QuorateClient({ url: "http://user:secret@127.0.0.1:1", fetch: lost });
  const write = await failureOf(() => client.put("k", "v"), "unreachable");
  assert.is(sent.length, 1);
  assert.is(write.outcome, "unknown");
});

test("an answer that lacks what it must have is no success: a write may or may not have taken place", () => {
  const answers: readonly (readonly [status: number, body: string])[] = [
    [200, "<html>Welcome</html>"],
    [200, "{}"],
    [204, ""],
  ];
  let next: (typeof answers)[number] = [200, ""];
  return withServer(
    (_request, response) => {
      const [status, body] = next;
      response.writeHead(status).end(body);
    },
    async (client) => {
      for (next of answers) {
        for (const write of [
          () => client.put("k", "v"),
          () => client.delete("k"),
          () => client.batch([{ kind: "put", key: "k", value: "v" }]),
          () => client.putNamespace("n"),
          () => client.deleteNamespace("n"),
          () => client.applyPlan("p"),
          () => client.revertMove(),
        ]) {
          assert.is((await failureOf(write, "unreachable")).outcome, "unknown", String(write));
        }
        for (const read of [
          () => client.listPage(),
          () => client.count(),
          () => client.namespaces(),
          () => client.runRepair(),
          () => client.batch([{ kind: "get", key: "k" }]),
        ]) {
          assert.is((await failureOf(read, "unreachable")).outcome, undefined, String(read));
        }
      }
    },
  );
});

test.run();
