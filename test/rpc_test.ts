import { once } from "node:events";
import * as http2 from "node:http2";
import { type Client, Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import type { Compression } from "@connectrpc/connect/protocol";
import {
  compressionGzip,
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
} from "@connectrpc/connect-node";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Budget } from "../src/admission.ts";
import { utf8Bytes } from "../src/bytes.ts";
import { QuorateError, type Slug, slugTable } from "../src/errors.ts";
import { type ErrorDetail, ErrorDetailSchema, Outcome } from "../src/gen/quorate/v1/error_pb.ts";
import { Consistency, KvService, MemberState } from "../src/gen/quorate/v1/kv_pb.ts";
import { BoundedBody, MessageGauge, readMaxBytes } from "../src/rpc_body.ts";
import { eventually, HandClock, RawConnection } from "./http_harness.ts";
import { type Harness, withServer } from "./server_harness.ts";

const rpc = suite("rpc");

const text = (bytes: Uint8Array | undefined) => Buffer.from(bytes ?? []).toString();

type Kv = Client<typeof KvService>;

/** A client of node:http2 counts what it has yet to send, and past 10 MB hears no answer any more. */
const nodeOptions = { maxSessionMemory: 64 };

const transports: Readonly<Record<string, (baseUrl: string) => Transport>> = {
  "Connect, HTTP/1.1": (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "1.1" }),
  "Connect, HTTP/2": (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "2" }),
  "Connect with JSON and GET": (baseUrl) =>
    createConnectTransport({
      baseUrl,
      httpVersion: "1.1",
      useBinaryFormat: false,
      useHttpGet: true,
    }),
  gRPC: (baseUrl) => createGrpcTransport({ baseUrl, nodeOptions }),
  "gRPC-Web, HTTP/1.1": (baseUrl) => createGrpcWebTransport({ baseUrl, httpVersion: "1.1" }),
  "gRPC-Web, HTTP/2": (baseUrl) =>
    createGrpcWebTransport({ baseUrl, httpVersion: "2", nodeOptions }),
};

/** Clients that compress what they send. */
const compressing: Readonly<Record<string, (baseUrl: string, by: Compression) => Transport>> = {
  Connect: (baseUrl, sendCompression) =>
    createConnectTransport({ baseUrl, httpVersion: "1.1", sendCompression }),
  gRPC: (baseUrl, sendCompression) => createGrpcTransport({ baseUrl, sendCompression }),
};

/** What the server gives a namespace that is made without a limit; another one than the default's. */
const serverValueBytesMax = 2 * 1024 * 1024;

/** A test that must hold over every protocol. */
function everywhere(name: string, run: (kv: Kv, harness: Harness) => Promise<void>): void {
  for (const [protocol, make] of Object.entries(transports)) {
    rpc(
      `rpc: ${name} [${protocol}]`,
      withServer(async (harness) => run(createClient(KvService, make(harness.url)), harness), {
        valueBytesMax: serverValueBytesMax,
      }),
    );
  }
}

/** What a call fails with, and its ErrorDetail. */
async function failureOf(
  call: Promise<unknown>,
): Promise<{ error: ConnectError; detail: ErrorDetail }> {
  const error = await call.then(
    () => undefined,
    (reason: unknown) => ConnectError.from(reason),
  );
  assert.ok(error instanceof ConnectError, "the call fails");
  const [detail] = error.findDetails(ErrorDetailSchema);
  assert.ok(detail !== undefined, `an ErrorDetail comes with: ${error.message}`);
  return { error, detail };
}

everywhere("a record comes back with all that was put with it", async (kv) => {
  const key = Uint8Array.of(0, 255, 47, 46, 46);
  const value = Uint8Array.from({ length: 256 }, (_, index) => index);
  const put = await kv.put({
    key,
    value,
    contentType: "image/png",
    meta: [{ name: "owner", value: "ada" }],
    ttlSeconds: 60,
    options: { consistency: Consistency.ALL },
  });
  assert.is(put.answer?.consistency, Consistency.ALL);
  const { record, answer } = await kv.get({ key, options: { explain: true } });
  assert.equal(Buffer.from(record?.value ?? []), Buffer.from(value));
  assert.is(record?.contentType, "image/png");
  assert.equal(
    record?.meta.map((entry) => [entry.name, entry.value]),
    [["owner", "ada"]],
  );
  assert.is(record?.version?.hlc, put.version?.hlc);
  assert.is(record?.expiresAtMs, put.expiresAtMs);
  assert.is(answer?.node, "n1");
  assert.is(answer?.explain?.kind.case, "structValue");
});

everywhere("an absent key is not_found with an ErrorDetail", async (kv) => {
  const key = utf8Bytes("absent");
  const headers = { "quorate-request-id": "trace-7" };
  const { error, detail } = await failureOf(kv.get({ key }, { headers }));
  assert.is(error.code, Code.NotFound);
  assert.is(detail.slug, "key-not-found");
  assert.is(text(detail.key), "absent");
  assert.is(detail.namespace, "default");
  assert.is(detail.requestId, "trace-7");
  assert.is(detail.status, 404);
  assert.match(detail.hint, "never written", "what to do next, as a problem document says it");
  assert.is(error.metadata.get("quorate-request-id"), "trace-7");
});

everywhere("lists page through keys in order, and count counts them", async (kv) => {
  for (const name of ["a", "b", "c", "d"]) {
    await kv.put({ key: utf8Bytes(name), value: utf8Bytes(name.repeat(3)) });
  }
  const first = await kv.list({ limit: 3, values: true });
  assert.equal(
    first.items.map(({ key, value }) => [text(key), text(value)]),
    [
      ["a", "aaa"],
      ["b", "bbb"],
      ["c", "ccc"],
    ],
  );
  const second = await kv.list({ limit: 3, cursor: first.next });
  assert.equal(second.items.map(({ key }) => text(key)).join(), "d");
  assert.is(second.next, "");
  const back = await kv.list({ reverse: true, start: utf8Bytes("b"), end: utf8Bytes("d") });
  assert.is(back.items.map(({ key }) => text(key)).join(), "c,b");
  assert.is((await kv.count({})).keys, 4n);
});

everywhere("a batch answers each operation, and a wrong one fails alone", async (kv) => {
  const { results } = await kv.batch({
    operations: [
      { operation: { case: "put", value: { key: utf8Bytes("k"), value: utf8Bytes("v") } } },
      { operation: { case: "get", value: { key: new Uint8Array(0) } } },
      { operation: { case: "get", value: { key: utf8Bytes("k") } } },
      { operation: { case: "delete", value: { key: utf8Bytes("k") } } },
      { operation: { case: "get", value: { key: utf8Bytes("k") } } },
    ],
  });
  assert.equal(
    results.map(({ result }) => result.case),
    ["put", "error", "get", "delete", "get"],
  );
  assert.is(results[1]?.result.case === "error" && results[1].result.value.slug, "invalid-key");
  assert.is(results[2]?.result.case === "get" && text(results[2].result.value.record?.value), "v");
  assert.is(results[4]?.result.case === "get" && results[4].result.value.record, undefined);
});

everywhere(
  "a namespace that is made without a limit of its values has the server's",
  async (kv) => {
    const made = await kv.putNamespace({ name: "images", policy: {} });
    assert.is(made.namespace?.policy?.valueBytesMax, serverValueBytesMax);
    await kv.putNamespace({ name: "images", policy: { valueBytesMax: 10 } });
    const changed = await kv.putNamespace({ name: "images", policy: { ttlSeconds: 60 } });
    assert.is(changed.namespace?.policy?.valueBytesMax, 10);
  },
);

everywhere("namespaces are made, read, listed and deleted", async (kv) => {
  await kv.putNamespace({ name: "images", policy: { ttlSeconds: 60, valueBytesMax: 10 } });
  const { namespace } = await kv.getNamespace({ name: "images" });
  assert.is(namespace?.policy?.ttlSeconds, 60);
  assert.is(namespace?.policy?.r?.replicas.value, Consistency.QUORUM);
  const { namespaces } = await kv.listNamespaces({});
  assert.is(namespaces.map(({ name }) => name).join(), "default,images");
  const put = kv.put({ namespace: "images", key: utf8Bytes("k"), value: new Uint8Array(11) });
  const { error, detail } = await failureOf(put);
  assert.is(error.code, Code.ResourceExhausted);
  assert.is(detail.slug, "value-too-large");
  assert.is(detail.limit, 10n);
  assert.is(detail.outcome, Outcome.NONE);
  await kv.deleteNamespace({ name: "images" });
  const gone = await failureOf(kv.getNamespace({ name: "images" }));
  assert.is(gone.detail.slug, "namespace-not-found");
  assert.is((await kv.info({})).node, "n1");
});

everywhere("a key is explained: what each replica holds, and why one did not say", async (kv) => {
  const { namespace, partition, epoch, n, replicas } = await kv.explain({ key: utf8Bytes("k") });
  assert.equal([namespace, partition, epoch, n], ["default", 3, 7n, 2]);
  const [found, lost] = replicas;
  assert.equal([found?.node, found?.status, found?.up, found?.counts], ["n1", "found", true, true]);
  assert.equal([found?.version?.hlc, found?.version?.origin], [1n, 2n]);
  assert.equal([found?.tombstone, found?.expiresAtMs, found?.epoch], [false, 1000n, 7n]);
  assert.equal([found?.tookMs, found?.error], [0.25, ""]);
  assert.equal(
    [lost?.node, lost?.status, lost?.up, lost?.error],
    [...["n2", "not reached", false, "No link."]],
  );
  assert.equal([lost?.version, lost?.counts, lost?.epoch], [undefined, undefined, undefined]);
  const empty = await failureOf(kv.explain({ key: new Uint8Array(0) }));
  assert.is(empty.detail.slug, "invalid-key");
});

everywhere("the ring tells the members, and with a key where that lives", async (kv) => {
  const { clusterId, epoch, partitions, members, place } = await kv.ring({});
  assert.equal([clusterId, epoch, partitions, place], ["c", 1n, 256, undefined]);
  const [member] = members;
  assert.equal([member?.place?.node, member?.host, member?.voter], ["n1", "h1", true]);
  assert.equal([member?.primaries, member?.replicas, member?.weight], [256, 256, 100]);
  await kv.putNamespace({ name: "images", policy: { n: 2 } });
  const found = await kv.ring({ namespace: "images", key: utf8Bytes("k/1") });
  assert.equal([found.place?.namespace, found.place?.n], ["images", 2]);
  assert.is(found.place?.partition, 3, "the made-up node takes the length of a key for it");
  assert.equal(found.place?.replicas[0]?.addresses, ["10.0.0.1:8080"]);
  assert.is(found.place?.replicas[0]?.clientUrl, "http://10.0.0.1:8080");
  const long = await failureOf(kv.ring({ key: new Uint8Array(1025) }));
  assert.is(long.detail.slug, "key-too-long");
  const none = await failureOf(kv.ring({ namespace: "none", key: utf8Bytes("k") }));
  assert.is(none.detail.slug, "namespace-not-found");
});

everywhere("the cluster tells each member's state, and nothing that was not heard", async (kv) => {
  const { node, epoch, voters, members } = await kv.cluster({});
  assert.equal([node, epoch, voters], ["n1", 3n, ["n1", "n2"]]);
  const { ALIVE, DOWN, UNKNOWN } = MemberState;
  assert.equal(
    members.map(({ place, state, silentMs }) => [place?.node, state, silentMs]),
    [
      ["n1", ALIVE, 0n],
      ["n2", DOWN, 61_000n],
      ["n3", UNKNOWN, undefined],
    ],
  );
  assert.equal([members[0]?.diskTotalBytes, members[1]?.keys], [4n * 1024n ** 3n, undefined]);
});

everywhere("the hints are told, and a wait for none ends by its deadline", async (kv, { api }) => {
  assert.is((await kv.hints({ wait: true }, { timeoutMs: 30_000 })).count, 0n);
  const waited = api.waits.at(-1) ?? 0;
  assert.ok(waited > 20_000 && waited <= 30_000, String(waited));
  api.hintTargets = [{ storeId: "s-2", count: 2, bytes: 300, isDelivering: true }];
  try {
    const { count, targets } = await kv.hints({});
    assert.is(count, 2n);
    const [target] = targets;
    assert.equal([target?.storeId, target?.node, target?.bytes], ["s-2", "", 300n]);
    assert.equal([target?.oldestAgeMs, target?.delivering], [undefined, true]);
    const late = await failureOf(kv.hints({ wait: true }));
    assert.is(late.detail.slug, "timeout");
  } finally {
    api.hintTargets = [];
  }
});

everywhere(
  "the client's deadline reaches the node, and one that is too long is cut",
  async (kv, { api }) => {
    await kv.put({ key: utf8Bytes("k") }, { timeoutMs: 30_000 });
    const given = api.requests.at(-1)?.timeoutMs ?? 0;
    assert.ok(given > 20_000 && given <= 30_000, String(given));
    await kv.put({ key: utf8Bytes("k") }, { timeoutMs: 3_600_000 });
    assert.is(api.requests.at(-1)?.timeoutMs, 60_000);
    await kv.put({ key: utf8Bytes("k") });
    assert.is(api.requests.at(-1)?.timeoutMs, undefined);
  },
);

everywhere("a value of 1 MiB passes, one byte more is refused with the limit", async (kv) => {
  const key = utf8Bytes("large");
  await kv.put({ key, value: new Uint8Array(1024 * 1024).fill(7) });
  const { record } = await kv.get({ key });
  assert.is(record?.value.length, 1024 * 1024);
  const { detail } = await failureOf(kv.put({ key, value: new Uint8Array(1024 * 1024 + 1) }));
  assert.is(detail.slug, "value-too-large");
  assert.is(detail.limit, BigInt(1024 * 1024));
});

const codeOf: Readonly<Record<string, Code>> = {
  invalid_argument: Code.InvalidArgument,
  failed_precondition: Code.FailedPrecondition,
  unauthenticated: Code.Unauthenticated,
  permission_denied: Code.PermissionDenied,
  not_found: Code.NotFound,
  unimplemented: Code.Unimplemented,
  aborted: Code.Aborted,
  resource_exhausted: Code.ResourceExhausted,
  internal: Code.Internal,
  data_loss: Code.DataLoss,
  unavailable: Code.Unavailable,
  deadline_exceeded: Code.DeadlineExceeded,
};

everywhere("every slug of the node leaves with its code and all its facts", async (kv, { api }) => {
  for (const slug of Object.keys(slugTable) as Slug[]) {
    api.failure = new QuorateError(slug, "It said: no – never.", {
      outcome: "partial",
      hint: "Wait.",
      needed: 2,
      acks: 1,
      epoch: 9,
      replicas: [{ node: "n2", status: "down", reason: "no answer" }],
    });
    const { error, detail } = await failureOf(kv.put({ key: utf8Bytes("k") }));
    assert.is(error.code, codeOf[slugTable[slug].connect], slug);
    assert.is(error.rawMessage, `[${slug}] It said: no – never.`);
    assert.is(detail.slug, slug);
    assert.is(detail.status, slugTable[slug].status);
    assert.is(detail.outcome, Outcome.PARTIAL);
    assert.equal([detail.needed, detail.acks, detail.epoch], [2, 1, 9n]);
    assert.is(detail.replicas[0]?.reason, "no answer");
  }
});

everywhere("an error that nobody foresaw is internal, and tells no stack", async (kv, { api }) => {
  api.failure = new TypeError("x is not a function");
  const { error, detail } = await failureOf(kv.get({ key: utf8Bytes("k") }));
  assert.is(error.code, Code.Internal);
  assert.is(detail.slug, "internal");
  assert.is(detail.outcome, Outcome.UNSPECIFIED);
  assert.not.match(error.message, /\n/);
  const key = utf8Bytes("k");
  // The node was asked already: what became of the write nobody can say.
  for (const call of [() => kv.put({ key }), () => kv.delete({ key })]) {
    assert.is((await failureOf(call())).detail.outcome, Outcome.UNKNOWN);
  }
  const operations = [
    { operation: { case: "delete" as const, value: { key } } },
    { operation: { case: "get" as const, value: { key } } },
  ];
  assert.is((await failureOf(kv.batch({ operations }))).detail.outcome, Outcome.UNKNOWN);
  api.batch = async () => operations.map(() => ({ kind: "error", error: new TypeError("x") }));
  const { results } = await kv.batch({ operations });
  const outcomes = results.map(({ result }) => result.case === "error" && result.value.outcome);
  assert.equal(outcomes, [Outcome.UNKNOWN, Outcome.UNSPECIFIED]);
});

rpc(
  "rpc: a request in no form of its protocol is told so, never with an empty answer",
  withServer(async ({ url }) => {
    const get = `${url}/quorate.v1.KvService/Get`;
    const web = { method: "POST", headers: { "content-type": "application/grpc-web-text" } };
    for (const [target, init] of [
      [get, {}],
      [`${get}?connect=v1&message=%7B%7D`, {}],
      [`${get}?encoding=xml&message=%7B%7D`, {}],
      [get, { ...web, body: "AAAAAAA=" }],
    ] as const) {
      const answer = await fetch(target, init);
      const said = `${await answer.text()} ${answer.headers.get("grpc-message")}`;
      assert.match(said, "unsupported-media-type", target);
    }
  }),
);

/** A request that is not valid -> the slug of its refusal. */
const invalid: readonly (readonly [
  name: string,
  call: (kv: Kv) => Promise<unknown>,
  slug: Slug,
])[] = [
  ["an empty key", (kv) => kv.put({}), "invalid-key"],
  ["a key of 1,025 bytes", (kv) => kv.get({ key: new Uint8Array(1025) }), "key-too-long"],
  [
    "a namespace in capitals",
    (kv) => kv.get({ namespace: "A", key: utf8Bytes("k") }),
    "invalid-request",
  ],
  ["a ttl of 0", (kv) => kv.put({ key: utf8Bytes("k"), ttlSeconds: 0 }), "invalid-request"],
  [
    "r of 0",
    (kv) =>
      kv.get({ key: utf8Bytes("k"), options: { r: { replicas: { case: "count", value: 0 } } } }),
    "invalid-quorum",
  ],
  ["a limit of 1,001", (kv) => kv.list({ limit: 1001 }), "invalid-request"],
  [
    "a content type that a header would change",
    (kv) => kv.put({ key: utf8Bytes("k"), contentType: " text/plain" }),
    "invalid-request",
  ],
  [
    "a content type with a line break",
    (kv) => kv.put({ key: utf8Bytes("k"), contentType: "a\r\nb: c" }),
    "invalid-request",
  ],
  [
    "metadata of 2,049 bytes",
    (kv) => kv.put({ key: utf8Bytes("k"), meta: [{ name: "a", value: "b".repeat(2048) }] }),
    "invalid-request",
  ],
  [
    "1,001 operations",
    (kv) =>
      kv.batch({
        operations: Array.from({ length: 1001 }, () => ({
          operation: { case: "get" as const, value: { key: utf8Bytes("k") } },
        })),
      }),
    "invalid-request",
  ],
];
for (const [name, call, slug] of invalid) {
  rpc(
    `rpc: ${name} is refused as ${slug}, and the node is not asked`,
    withServer(async ({ url, api }) => {
      const kv = createClient(KvService, createGrpcTransport({ baseUrl: url }));
      const { detail } = await failureOf(call(kv));
      assert.is(detail.slug, slug);
      assert.is(api.requests.length, 0);
    }),
  );
}

rpc(
  "rpc: JSON with a field that the RPC does not have is refused by its name, and the node is not asked",
  withServer(async ({ url, api }) => {
    const key = "aGVsbG8=";
    const json = { "content-type": "application/json" };
    const calls: readonly (readonly [path: string, message: object, name: string])[] = [
      ["kv.KVStore/Put", { key: "typo", vlaue: "x" }, "vlaue"],
      ["quorate.v1.KvService/Put", { key, value: key, ttlSecs: 5 }, "ttlSecs"],
      ["quorate.v1.KvService/Put", { key, options: { durabilty: "MEMORY" } }, "durabilty"],
      ["quorate.v1.KvService/Batch", { operations: [{ put: { key, ttl: 5 } }] }, "ttl"],
    ];
    for (const [path, message, name] of calls) {
      const body = JSON.stringify(message);
      const answer = await fetch(`${url}/${path}`, { method: "POST", headers: json, body });
      const said = (await answer.json()) as { code: string; message: string };
      assert.equal([answer.status, said.code], [400, "invalid_argument"], body);
      assert.match(said.message, `key "${name}" is unknown`);
    }
    const message = encodeURIComponent(JSON.stringify({ key, nmespace: "images" }));
    const query = `connect=v1&encoding=json&message=${message}`;
    const got = await fetch(`${url}/quorate.v1.KvService/Get?${query}`);
    assert.match(await got.text(), 'key \\"nmespace\\" is unknown');
    const text = Buffer.from(JSON.stringify({ key: "typo", vlaue: "x" }));
    const head = Buffer.from([0, 0, 0, 0, text.length]);
    const web = await fetch(`${url}/kv.KVStore/Put`, {
      method: "POST",
      headers: { "content-type": "application/grpc-web+json" },
      body: Buffer.concat([head, text]),
    });
    assert.is(
      web.headers.get("grpc-status") ?? /grpc-status: (\d+)/.exec(await web.text())?.[1],
      "3",
    );
    assert.is(api.requests.length, 0);
  }),
);

rpc(
  "rpc: a content type is the same in any case of its letters",
  withServer(async ({ url }) => {
    const ask = (method: string, type: string, body: string) =>
      fetch(`${url}/quorate.v1.KvService/${method}`, {
        method: "POST",
        headers: { "content-type": type },
        body,
      });
    const put = await ask("Put", "Application/JSON", '{"key":"aGVsbG8=","value":"d29ybGQ="}');
    assert.is(put.status, 200, await put.text());
    const unknown = await ask("Nothing", "Application/gRPC", "");
    assert.is(unknown.status, 200, "a client of gRPC hears it in its own form");
    assert.is(unknown.headers.get("grpc-status"), String(Code.Unimplemented));
    const elsewhere = await fetch(`${url}/other.Service/Get`, {
      method: "POST",
      headers: { "content-type": "Application/gRPC" },
    });
    assert.is(elsewhere.headers.get("grpc-status"), String(Code.Unimplemented));
  }),
);

rpc(
  "rpc: a call over HTTP/1.0 need not name a host",
  withServer(async ({ port, counts }) => {
    const raw = new RawConnection(port);
    const head = "POST /kv.KVStore/GetN HTTP/1.0\r\nContent-Type: application/json\r\n";
    raw.send(`${head}Content-Length: 17\r\n\r\n{"key":"k","n":1}`);
    assert.match(await raw.closed(), /^HTTP\/1\.1 200 [\s\S]*\{"nodes":\["n1"\]\}$/);
    assert.is(counts.get("rpc_answers_cut"), undefined);
  }),
);

for (const host of ["localhost:99999", "localhost:65536"]) {
  rpc(
    `rpc: a host that no URL can have (${host}) is refused in words, however the call comes`,
    withServer(async ({ port, url, counts }) => {
      const raw = new RawConnection(port);
      raw.send(
        `POST /kv.KVStore/Get HTTP/1.1\r\nHost: ${host}\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{"key":"k"}`,
      );
      assert.match(await raw.until('"invalid_argument"'), /^HTTP\/1\.1 400 /);
      raw.socket.destroy();
      const session = http2.connect(url);
      try {
        // The first is answered without the router, the second through it.
        for (const path of ["/kv.KVStore/Get", "/kv.KVStore/Health"]) {
          const stream = session.request({
            ...{ ":method": "POST", ":path": path, ":authority": host },
            ...{ "content-type": "application/grpc", te: "trailers" },
          });
          stream.end(new Uint8Array(5));
          const [headers] = (await once(stream, "response")) as [http2.IncomingHttpHeaders];
          assert.is(headers["grpc-status"], String(Code.InvalidArgument), path);
        }
      } finally {
        session.destroy();
      }
      assert.is(counts.get("rpc_answers_cut"), undefined);
    }),
  );
}

everywhere("a message that is too large is refused with an ErrorDetail", async (kv, { api }) => {
  const put = kv.put({ key: utf8Bytes("k"), value: new Uint8Array(readMaxBytes) });
  const { error, detail } = await failureOf(put);
  assert.is(error.code, Code.ResourceExhausted);
  assert.is(detail.slug, "value-too-large");
  assert.is(detail.limit, BigInt(readMaxBytes));
  assert.is(detail.outcome, Outcome.NONE);
  assert.is(api.requests.length, 0);
});

for (const [protocol, make] of Object.entries(compressing)) {
  rpc(
    `rpc: a message that expands to too much, or is not compressed at all, says why [${protocol}]`,
    withServer(async ({ url, api }) => {
      const put = (compression: Compression) =>
        createClient(KvService, make(url, compression)).put({
          key: utf8Bytes("k"),
          value: new Uint8Array(readMaxBytes),
        });
      const large = await failureOf(put(compressionGzip));
      assert.is(large.error.code, Code.ResourceExhausted);
      assert.is(large.detail.slug, "value-too-large");
      assert.is(large.detail.limit, BigInt(readMaxBytes));
      const lie = await failureOf(
        put({ ...compressionGzip, compress: async () => new Uint8Array(9).fill(1) }),
      );
      assert.is(lie.error.code, Code.InvalidArgument);
      assert.is(lie.detail.slug, "invalid-request");
      assert.is(api.requests.length, 0);
    }),
  );
}

rpc("rpc: a gauge measures each message, however the bytes are cut", () => {
  const head = (length: number) => [
    0,
    length >>> 24,
    (length >>> 16) & 255,
    (length >>> 8) & 255,
    length & 255,
  ];
  const fits = [...head(3), 1, 2, 3, ...head(0), ...head(1), 9];
  for (const size of [1, 2, 5, 7, 100]) {
    const gauge = new MessageGauge(true);
    const take = (bytes: readonly number[]) => {
      for (let from = 0; from < bytes.length; from += size) {
        gauge.take(Uint8Array.from(bytes.slice(from, from + size)));
      }
    };
    take(fits);
    assert.throws(() => take(head(readMaxBytes + 1)), /has 33619969/);
  }
});

for (const isStream of [false, true]) {
  const what = isStream ? "stream" : "body";
  rpc(`rpc: a ${what} that comes in small pieces counts with what the pieces cost`, async () => {
    const budget = new Budget({ requestsMax: 1, bytesMax: 1_000_000 });
    const common = { clock: new HandClock(), bodyTimeoutMs: 1000, budget, requestId: "t" };
    const body = new BoundedBody({ ...common, isStream, isFramed: true });
    async function* pieces() {
      yield Uint8Array.of(0, 0, 0, 3, 232);
      for (let count = 0; count < 1000; count += 1) yield new Uint8Array(1);
    }
    let mostBytes = 0;
    for await (const _ of body.over(pieces())) mostBytes = Math.max(mostBytes, budget.bytes);
    assert.ok(mostBytes > 100_000, `${mostBytes} bytes were counted at most`);
    body.end();
    assert.is(budget.bytes, 0);
  });
}

rpc(
  "rpc: the bodies of all calls together are bounded, and room comes back",
  withServer(
    async (harness) => {
      const head = `POST /quorate.v1.KvService/Put HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/proto\r\n`;
      const waiting = new RawConnection(harness.port);
      waiting.send(`${head}Content-Length: 90\r\n\r\n${"a".repeat(80)}`);
      await harness.settle();
      const kv = createClient(KvService, createGrpcTransport({ baseUrl: harness.url }));
      const put = () => kv.put({ key: utf8Bytes("k"), value: new Uint8Array(50) });
      const { detail } = await failureOf(put());
      assert.is(detail.slug, "overloaded");
      waiting.socket.destroy();
      await eventually(() => waiting.socket.destroyed);
      await harness.settle();
      await put();
    },
    { bodyBytesMax: 100 },
  ),
);

rpc(
  "rpc: a client that goes away in the middle of its call leaves the others alone",
  withServer(async (harness) => {
    harness.api.isGated = true;
    const kv = createClient(KvService, createGrpcTransport({ baseUrl: harness.url }));
    const cancel = new AbortController();
    const call = kv.put({ key: utf8Bytes("k") }, { signal: cancel.signal });
    await eventually(() => harness.api.waiting === 1);
    cancel.abort();
    assert.is(ConnectError.from(await call.catch((error: unknown) => error)).code, Code.Canceled);
    harness.api.release();
    await kv.put({ key: utf8Bytes("other") });
  }),
);

rpc.run();
