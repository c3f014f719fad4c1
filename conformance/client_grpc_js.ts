/**
 * Client grpc-js: the original program's client, with `proto/` loaded as it runs.
 *
 * @module
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import type { Check } from "./checks.ts";
import type { Nodes } from "./nodes.ts";
import { root } from "./tools.ts";

const everyByte = Buffer.from(Uint8Array.from({ length: 256 }, (_, byte) => byte));
const MiB = 1024 * 1024;
const callLimitMs = 10_000;

type Message = Readonly<Record<string, unknown>>;
// biome-ignore lint/suspicious/noExplicitAny: a dynamic client has no types.
type Answer = any;

/** A service's methods, found by their names. */
class DynamicClient {
  readonly #client: grpc.Client;

  constructor(file: string, service: string, { addresses }: Nodes) {
    const definition = loadSync(file, {
      includeDirs: [join(root, "proto")],
      keepCase: true,
      longs: String,
      enums: String,
      oneofs: true,
    });
    let found: unknown = grpc.loadPackageDefinition(definition);
    for (const part of service.split(".")) found = (found as Record<string, unknown>)[part];
    const Client = found as grpc.ServiceClientConstructor;
    this.#client = new Client(`ipv4:${addresses}`, grpc.credentials.createInsecure(), {
      "grpc.service_config": JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
      "grpc.max_receive_message_length": 8 * MiB,
    });
  }

  call(
    method: string,
    message: Message,
    metadata: grpc.Metadata = new grpc.Metadata(),
    limitMs: number = callLimitMs,
  ): Promise<Answer> {
    const methods = this.#client as unknown as Record<string, (...all: unknown[]) => void>;
    const options = { deadline: Date.now() + limitMs };
    return new Promise((fulfil, reject) => {
      methods[method]?.call(
        this.#client,
        message,
        metadata,
        options,
        (error: grpc.ServiceError | null, answer: unknown) =>
          error === null ? fulfil(answer) : reject(error),
      );
    });
  }

  async fails(code: grpc.status, slug: string | undefined, ...asked: Parameters<this["call"]>) {
    const [method, message, metadata, limitMs] = asked;
    try {
      await this.call(method, message, metadata, limitMs);
    } catch (error) {
      const failure = error as grpc.ServiceError;
      assert.equal(failure.code, code, failure.message);
      if (slug !== undefined) assert.equal(slugOf(failure), slug);
      return;
    }
    assert.fail(`${method} succeeded`);
  }

  close(): void {
    this.#client.close();
  }
}

/** Field `wanted` of a protobuf message, when it is bytes. */
function field(message: Uint8Array, wanted: number): Uint8Array | undefined {
  const reader = new BinaryReader(message);
  while (reader.pos < reader.len) {
    const [number, type] = reader.tag();
    if (number === wanted && type === WireType.LengthDelimited) return reader.bytes();
    reader.skip(type, number);
  }
  return undefined;
}

/** google.rpc.Status: details = 3, each an Any with value = 2; ErrorDetail: slug = 1. */
function slugOf(failure: grpc.ServiceError): string | undefined {
  const [status] = failure.metadata.get("grpc-status-details-bin");
  assert.ok(status instanceof Buffer, "grpc-status-details-bin is there");
  const detail = field(field(status, 3) ?? new Uint8Array(), 2);
  const slug = field(detail ?? new Uint8Array(), 1);
  return slug === undefined ? undefined : Buffer.from(slug).toString("utf8");
}

/** The client chooses a node for each request by itself. */
export function grpcJsChecks(nodes: Nodes): Check[] {
  const proto = (path: string) => join(root, "proto", path);
  return [
    ...originalChecks(new DynamicClient(proto("kv/kv.proto"), "kv.KVStore", nodes), nodes.names),
    ...serviceChecks(
      new DynamicClient(proto("quorate/v1/kv.proto"), "quorate.v1.KvService", nodes),
    ),
    ...healthChecks(
      new DynamicClient(proto("grpc/health/v1/health.proto"), "grpc.health.v1.Health", nodes),
    ),
  ];
}

function originalChecks(store: DynamicClient, names: readonly string[]): Check[] {
  return [
    {
      name: "kv.KVStore: put, get, delete, GetN and Health",
      run: async () => {
        assert.deepEqual(await store.call("Put", { key: "js-hello", value: "wörld" }), {});
        const read = await store.call("Get", { key: "js-hello" });
        assert.deepEqual([read.value, read.found], ["wörld", true]);
        const { nodes } = await store.call("GetN", { key: "js-hello", n: 3 });
        assert.deepEqual([...nodes].sort(), names);
        const health = await store.call("Health", {});
        assert.ok(names.includes(health.node_name), health.node_name);
        assert.ok(Number(health.key_count) > 0);
        for (let round = 0; round < 2; round += 1) {
          assert.deepEqual(await store.call("Delete", { key: "js-hello" }), {});
        }
        const missing = await store.call("Get", { key: "js-hello" });
        assert.deepEqual([missing.value ?? "", missing.found ?? false], ["", false]);
      },
    },
    {
      name: "kv.KVStore: text of every kind, and its limits",
      run: async () => {
        for (const text of ["\u{feff}bom", "\0", "é".repeat(512), "🙂/../x"]) {
          await store.call("Put", { key: text, value: text });
          assert.equal((await store.call("Get", { key: text })).value, text);
        }
        const invalid = grpc.status.INVALID_ARGUMENT;
        await store.fails(invalid, "invalid-key", "Put", { key: "", value: "" });
        await store.fails(invalid, "key-too-long", "Get", { key: "x".repeat(1025) });
        const big = { key: "js-big", value: "v".repeat(MiB + 1) };
        await store.fails(grpc.status.RESOURCE_EXHAUSTED, "value-too-large", "Put", big);
      },
    },
    {
      name: "kv.KVStore: five hundred at once, and a deadline that is over",
      run: async () => {
        const names = Array.from({ length: 500 }, (_, n) => `js-many/${n}`);
        await Promise.all(names.map((key) => store.call("Put", { key, value: key })));
        const read = await Promise.all(names.map((key) => store.call("Get", { key })));
        assert.deepEqual(
          read.map((one) => one.value),
          names,
        );
        const over: Parameters<DynamicClient["call"]> = ["Get", { key: "a" }, undefined, -1];
        await store.fails(grpc.status.DEADLINE_EXCEEDED, undefined, ...over);
        store.close();
      },
    },
  ];
}

function serviceChecks(store: DynamicClient): Check[] {
  return [
    {
      name: "KvService: binary keys and values, list, count, batch",
      run: async () => {
        for (const key of [everyByte, Buffer.of(0xff), Buffer.alloc(1024, 7)]) {
          await store.call("Put", { key, value: everyByte });
          const { record } = await store.call("Get", { key });
          assert.ok(everyByte.equals(record.value));
        }
        const large = Buffer.alloc(MiB, 0xfe);
        await store.call("Put", { key: Buffer.from("js/large"), value: large });
        const { record } = await store.call("Get", { key: Buffer.from("js/large") });
        assert.ok(large.equals(record.value));
        const prefix = Buffer.from("js/large");
        const { items } = await store.call("List", { prefix });
        assert.equal(items[0].bytes, String(MiB));
        assert.equal((await store.call("Count", { prefix })).keys, "1");
        const key = Buffer.from("js/batch");
        const operations = [
          { put: { key, value: everyByte } },
          { get: { key } },
          { delete: { key } },
        ];
        const { results } = await store.call("Batch", { operations });
        assert.deepEqual(
          results.map((one: Answer) => one.result),
          ["put", "get", "delete"],
        );
      },
    },
    {
      name: "KvService: errors carry an ErrorDetail",
      run: async () => {
        const { NOT_FOUND, INVALID_ARGUMENT } = grpc.status;
        await store.fails(NOT_FOUND, "key-not-found", "Get", { key: Buffer.from("js/none") });
        await store.fails(INVALID_ARGUMENT, "invalid-key", "Get", {});
        const none = { namespace: "none", key: Buffer.from("a") };
        await store.fails(NOT_FOUND, "namespace-not-found", "Put", none);
        store.close();
      },
    },
  ];
}

function healthChecks(health: DynamicClient): Check[] {
  return [
    {
      name: "health: serving, and not found for another service",
      run: async () => {
        assert.equal((await health.call("Check", {})).status, "SERVING");
        await health.fails(grpc.status.NOT_FOUND, undefined, "Check", { service: "no.Service" });
        health.close();
      },
    },
  ];
}
