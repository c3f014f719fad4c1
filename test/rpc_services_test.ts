/**
 * The services beside KvService: the original kv.KVStore, called by `@grpc/grpc-js` with its own
 * proto file; health; and reflection, whose descriptors are used to make a call without any other.
 */

import { once } from "node:events";
import * as http2 from "node:http2";
import { fileURLToPath } from "node:url";
import {
  create,
  createFileRegistry,
  type DescMethodUnary,
  fromBinary,
  type MessageInitShape,
} from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Admission } from "../src/admission.ts";
import { utf8Bytes } from "../src/bytes.ts";
import {
  Health,
  HealthCheckResponse_ServingStatus as ServingStatus,
} from "../src/gen/grpc/health/v1/health_pb.ts";
import {
  ServerReflection,
  type ServerReflectionRequestSchema,
  type ServerReflectionResponse,
} from "../src/gen/grpc/reflection/v1/reflection_pb.ts";
import { ServerReflection as ServerReflectionV1Alpha } from "../src/gen/grpc/reflection/v1alpha/reflection_pb.ts";
import { eventually } from "./http_harness.ts";
import { type Harness, withServer } from "./server_harness.ts";

const services = suite("rpc services");

const protoFolder = fileURLToPath(new URL("../proto/", import.meta.url));

type Answer = Record<string, unknown>;
type Method = (
  request: Answer,
  done: (error: grpc.ServiceError | null, answer: Answer) => void,
) => void;

/** The original program's client: its proto file, loaded as it is. */
class StoreClient {
  readonly #client: grpc.Client & Readonly<Record<string, Method>>;

  constructor(port: number) {
    const definition = loadSync("kv/kv.proto", {
      includeDirs: [protoFolder],
      keepCase: true,
      longs: String,
      defaults: true,
    });
    const loaded = grpc.loadPackageDefinition(definition)["kv"] as grpc.GrpcObject;
    const Client = loaded["KVStore"] as grpc.ServiceClientConstructor;
    this.#client = new Client(
      `127.0.0.1:${port}`,
      grpc.credentials.createInsecure(),
    ) as unknown as grpc.Client & Readonly<Record<string, Method>>;
  }

  call(name: string, request: Answer): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.#client[name]?.(request, (error, answer) => (error ? reject(error) : resolve(answer)));
    });
  }

  close(): void {
    this.#client.close();
  }
}

function withStore(
  name: string,
  run: (store: StoreClient, harness: Harness) => Promise<void>,
): void {
  services(
    `kv.KVStore: ${name}`,
    withServer(async (harness) => {
      const store = new StoreClient(harness.port);
      try {
        await run(store, harness);
      } finally {
        store.close();
      }
    }),
  );
}

withStore("text comes back as it was put, and is gone when it is deleted", async (store) => {
  for (const value of ["world", "", "täst – ✓", "\ufeffmark", "a\0b"]) {
    assert.equal(await store.call("Put", { key: "\ufeffhello", value }), {});
    const found = await store.call("Get", { key: "\ufeffhello" });
    assert.equal(found, { value, found: true });
  }
  assert.equal(await store.call("Get", { key: "hello" }), { value: "", found: false });
  assert.equal(await store.call("Delete", { key: "\ufeffhello" }), {});
  assert.equal(await store.call("Get", { key: "\ufeffhello" }), { value: "", found: false });
  assert.equal(await store.call("Delete", { key: "never" }), {});
});

withStore("GetN names the nodes of a key, and Health the node and its records", async (store) => {
  await store.call("Put", { key: "k", value: "v" });
  assert.equal(await store.call("GetN", { key: "k", n: 3 }), { nodes: ["n1"] });
  assert.equal(await store.call("Health", {}), { node_name: "n1", key_count: "1" });
});

withStore(
  "a value that is not text is failed_precondition, and stays readable",
  async (store, harness) => {
    const request = { namespace: "default", requestId: "t", contentType: "a/b", meta: [] };
    await harness.api.put({ ...request, key: utf8Bytes("bin"), value: Uint8Array.of(0xff, 0xfe) });
    const error = await store.call("Get", { key: "bin" }).catch((reason: unknown) => reason);
    assert.is((error as grpc.ServiceError).code, grpc.status.FAILED_PRECONDITION);
    assert.match((error as grpc.ServiceError).details, /not valid UTF-8/);
  },
);

withStore("an empty key and a negative n are invalid_argument", async (store) => {
  for (const [name, request] of [
    ["Put", { key: "", value: "v" }],
    ["Get", { key: "" }],
    ["GetN", { key: "k", n: -1 }],
    ["GetN", { key: "k", n: 0 }],
  ] as const) {
    const error = await store.call(name, request).catch((reason: unknown) => reason);
    assert.is((error as grpc.ServiceError).code, grpc.status.INVALID_ARGUMENT, name);
  }
});

withStore("everything is in the namespace default, as text", async (store, harness) => {
  await store.call("Put", { key: "k", value: "v" });
  const { record } = await harness.api.get({
    namespace: "default",
    requestId: "t",
    key: utf8Bytes("k"),
  });
  assert.is(record?.contentType, "text/plain; charset=utf-8");
});

function withHealth(
  name: string,
  run: (client: ReturnType<typeof healthClient>, harness: Harness) => Promise<void>,
): void {
  services(
    `health: ${name}`,
    withServer(async (harness) => run(healthClient(harness), harness)),
  );
}

function healthClient({ url }: Harness) {
  return createClient(Health, createGrpcTransport({ baseUrl: url }));
}

withHealth("it serves exactly while every check of the node is ok", async (health, { api }) => {
  for (const service of ["", "quorate.v1.KvService", "kv.KVStore"]) {
    assert.is((await health.check({ service })).status, ServingStatus.SERVING);
  }
  api.checks = [
    { name: "store", ok: true },
    { name: "disk", ok: false },
  ];
  assert.is((await health.check({})).status, ServingStatus.NOT_SERVING);
  const { statuses } = await health.list({});
  assert.equal(Object.keys(statuses).sort(), ["", "kv.KVStore", "quorate.v1.KvService"]);
  assert.is(statuses["kv.KVStore"]?.status, ServingStatus.NOT_SERVING);
});

withHealth(
  "an unknown service is not_found to Check and SERVICE_UNKNOWN to Watch",
  async (health) => {
    const error = await health.check({ service: "no.Such" }).catch((reason: unknown) => reason);
    assert.is(ConnectError.from(error).code, Code.NotFound);
    for await (const { status } of health.watch({ service: "no.Such" })) {
      assert.is(status, ServingStatus.SERVICE_UNKNOWN);
      break;
    }
  },
);

withHealth(
  "Watch tells each change once, and ends when the node drains",
  async (health, harness) => {
    const seen: ServingStatus[] = [];
    let ended: unknown;
    const watched = (async () => {
      for await (const { status } of health.watch({})) seen.push(status);
    })().catch((error: unknown) => {
      ended = error;
    });
    const heard = (count: number) => eventually(() => seen.length === count);
    await heard(1);
    await harness.pass(5000);
    harness.api.checks = [{ name: "store", ok: false }];
    await harness.pass(1000);
    await heard(2);
    harness.api.checks = [{ name: "store", ok: true }];
    await harness.pass(1000);
    await heard(3);
    const drained = harness.server.drain();
    await watched;
    await drained;
    assert.equal(seen, [
      ServingStatus.SERVING,
      ServingStatus.NOT_SERVING,
      ServingStatus.SERVING,
      ServingStatus.NOT_SERVING,
    ]);
    assert.is(ConnectError.from(ended).code, Code.Unavailable);
  },
);

withHealth("Watch goes on under a deadline that no timer can wait for", async (health, harness) => {
  const stop = new AbortController();
  const seen: ServingStatus[] = [];
  let isOver = false;
  const options = { headers: { "grpc-timeout": "1000H" }, signal: stop.signal };
  const watched = (async () => {
    for await (const { status } of health.watch({}, options)) seen.push(status);
  })()
    .catch((error: unknown) => ConnectError.from(error).code)
    .finally(() => {
      isOver = true;
    });
  await eventually(() => seen.length === 1 || isOver);
  await harness.settle();
  harness.api.checks = [{ name: "store", ok: false }];
  await harness.pass(1000);
  await eventually(() => seen.length === 2 || isOver);
  assert.not.ok(isOver, "1,000 hours are not over");
  stop.abort();
  assert.is(await watched, Code.Canceled);
});

withHealth(
  "Watch says that its deadline is over, and not that all was told",
  async (_, harness) => {
    const session = http2.connect(harness.url);
    try {
      const stream = session.request({
        ...{ ":method": "POST", ":path": "/grpc.health.v1.Health/Watch" },
        ...{ "content-type": "application/grpc", te: "trailers", "grpc-timeout": "50m" },
      });
      stream.end(new Uint8Array(5));
      stream.resume();
      const [trailers] = (await once(stream, "trailers")) as [http2.IncomingHttpHeaders];
      assert.is(trailers["grpc-status"], String(Code.DeadlineExceeded));
    } finally {
      session.destroy();
    }
  },
);

const budget = { requestsMax: 100, bytesMax: 1_000_000 };
const small = new Admission({ client: budget, replication: budget, hint: budget, lagMsMax: 0 });

/** A question of so many bytes, with its head; its field is one that nobody knows. */
function grpcMessage(bytes: number): Uint8Array {
  const message = new Uint8Array(5 + bytes);
  const view = new DataView(message.buffer);
  view.setUint32(1, bytes);
  // Field 100, length-delimited, with a length of three bytes.
  message.set([0xa2, 0x06], 5);
  const length = bytes - 5;
  message.set([(length & 127) | 128, ((length >> 7) & 127) | 128, length >> 14], 7);
  return message;
}

type Question = NonNullable<
  MessageInitShape<typeof ServerReflectionRequestSchema>["messageRequest"]
>;

async function reflect(
  { url }: Harness,
  questions: readonly Question[],
): Promise<ServerReflectionResponse["messageResponse"][]> {
  const client = createClient(ServerReflection, createGrpcTransport({ baseUrl: url }));
  const answers: ServerReflectionResponse["messageResponse"][] = [];
  async function* asked() {
    for (const messageRequest of questions) yield { host: "h", messageRequest };
  }
  for await (const answer of client.serverReflectionInfo(asked())) {
    assert.is(answer.validHost, "h");
    answers.push(answer.messageResponse);
  }
  return answers;
}

const allServices = [
  "grpc.health.v1.Health",
  "grpc.reflection.v1.ServerReflection",
  "grpc.reflection.v1alpha.ServerReflection",
  "kv.KVStore",
  "quorate.v1.KvService",
];

services(
  "reflection: a message that goes on is held by the budget of all bodies, and given back",
  withServer(
    async (harness) => {
      const admission = small;
      const session = http2.connect(harness.url);
      const open = (): http2.ClientHttp2Stream => {
        const stream = session.request({
          ":method": "POST",
          ":path": "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
          "content-type": "application/grpc",
          te: "trailers",
        });
        stream.on("error", () => {});
        stream.resume();
        return stream;
      };
      const first = open();
      first.write(grpcMessage(900_000).subarray(0, 800_000));
      await eventually(() => admission.client.bytes >= 800_000);
      const second = open();
      let status: unknown;
      second.on("trailers", (trailers) => {
        status = trailers["grpc-status"];
      });
      second.on("response", (headers) => {
        status ??= headers["grpc-status"];
      });
      second.write(grpcMessage(900_000).subarray(0, 800_000));
      await eventually(() => status !== undefined);
      assert.is(Number(status), Code.Unavailable);
      first.write(grpcMessage(900_000).subarray(800_000));
      await eventually(() => admission.client.bytes === 0);
      first.write(grpcMessage(900_000).subarray(0, 800_000));
      await eventually(() => admission.client.bytes >= 800_000);
      session.on("error", () => {});
      session.destroy(new Error("cut"));
      await eventually(() => admission.client.bytes === 0);
    },
    { admission: small },
  ),
);

services(
  "reflection: v1 and v1alpha list every service",
  withServer(async (harness) => {
    const [listed] = await reflect(harness, [{ case: "listServices", value: "" }]);
    assert.is(listed?.case, "listServicesResponse");
    if (listed?.case !== "listServicesResponse") return;
    assert.equal(
      listed.value.service.map(({ name }) => name),
      allServices,
    );
    const old = createClient(
      ServerReflectionV1Alpha,
      createGrpcTransport({ baseUrl: harness.url }),
    );
    async function* asked() {
      yield { messageRequest: { case: "listServices" as const, value: "" } };
    }
    for await (const { messageResponse } of old.serverReflectionInfo(asked())) {
      assert.is(messageResponse.case, "listServicesResponse");
      if (messageResponse.case !== "listServicesResponse") return;
      assert.is(messageResponse.value.service.length, allServices.length);
    }
  }),
);

services(
  "reflection: what it sends is enough to call a method, with no file of our own",
  withServer(async (harness) => {
    const [answer] = await reflect(harness, [
      { case: "fileContainingSymbol", value: "quorate.v1.KvService" },
    ]);
    if (answer?.case !== "fileDescriptorResponse") throw new Error(String(answer?.case));
    const file = answer.value.fileDescriptorProto.map((bytes) =>
      fromBinary(FileDescriptorProtoSchema, bytes),
    );
    // A set wants what is imported before what imports it.
    const set = create(FileDescriptorSetSchema, { file: file.reverse() });
    const service = createFileRegistry(set).getService("quorate.v1.KvService");
    const method = service?.methods.find(({ name }) => name === "Info") as DescMethodUnary;
    const transport = createGrpcTransport({ baseUrl: harness.url });
    const { message } = await transport.unary(method, undefined, undefined, undefined, {});
    assert.is((message as unknown as { node: string }).node, "n1");
  }),
);

/** A symbol or a file -> the file that is sent first. */
const found: readonly (readonly [Question, string])[] = [
  [{ case: "fileByFilename", value: "kv/kv.proto" }, "kv/kv.proto"],
  [
    { case: "fileByFilename", value: "google/protobuf/struct.proto" },
    "google/protobuf/struct.proto",
  ],
  [{ case: "fileContainingSymbol", value: "kv.KVStore.GetN" }, "kv/kv.proto"],
  [{ case: "fileContainingSymbol", value: "kv.PutRequest" }, "kv/kv.proto"],
  [{ case: "fileContainingSymbol", value: "kv.PutRequest.value" }, "kv/kv.proto"],
  [{ case: "fileContainingSymbol", value: "quorate.v1.BatchResult.result" }, "quorate/v1/kv.proto"],
  [{ case: "fileContainingSymbol", value: "quorate.v1.Outcome" }, "quorate/v1/error.proto"],
  [{ case: "fileContainingSymbol", value: "quorate.v1.OUTCOME_NONE" }, "quorate/v1/error.proto"],
];

services(
  "reflection: files are found by name, and by any symbol in them",
  withServer(async (harness) => {
    const answers = await reflect(
      harness,
      found.map(([question]) => question),
    );
    for (const [index, [question, name]] of found.entries()) {
      const answer = answers[index];
      if (answer?.case !== "fileDescriptorResponse") throw new Error(JSON.stringify(question));
      const [first] = answer.value.fileDescriptorProto;
      assert.is(fromBinary(FileDescriptorProtoSchema, first ?? new Uint8Array(0)).name, name);
    }
  }),
);

services(
  "reflection: what is not there is an error answer, and the stream goes on",
  withServer(async (harness) => {
    const answers = await reflect(harness, [
      { case: "fileByFilename", value: "no/such.proto" },
      { case: "fileContainingSymbol", value: "no.Such" },
      { case: "fileContainingSymbol", value: "kv.KVStore.Nope" },
      { case: "fileContainingSymbol", value: "" },
      { case: "allExtensionNumbersOfType", value: "no.Such" },
      {
        case: "fileContainingExtension",
        value: { containingType: "kv.PutRequest", extensionNumber: 7 },
      },
      { case: undefined },
      { case: "allExtensionNumbersOfType", value: "kv.PutRequest" },
    ]);
    assert.equal(
      answers.map((answer) => (answer.case === "errorResponse" ? answer.value.errorCode : 0)),
      [5, 5, 5, 5, 5, 5, 3, 0],
    );
  }),
);

services.run();
