/**
 * Client buf: `buf curl` over Connect, gRPC and gRPC-Web, with the schema from `proto/` and with the
 * schema that the server tells by reflection.
 *
 * @module
 */

import assert from "node:assert/strict";
import type { Check } from "./checks.ts";
import type { Nodes } from "./nodes.ts";
import type { Ran } from "./processes.ts";
import { buf } from "./tools.ts";

export type BufProtocol = "connect" | "grpc" | "grpcweb";
export const bufProtocols: readonly BufProtocol[] = ["connect", "grpc", "grpcweb"];

/** The exit code of buf for a gRPC code. */
const exitOf = (code: number) => code << 3;
const invalidArgument = exitOf(3);
const notFound = exitOf(5);
const failedPrecondition = exitOf(9);
const unimplemented = exitOf(12);

const every = Buffer.from(Uint8Array.from({ length: 256 }, (_, byte) => byte)).toString("base64");
const base64 = (text: string) => Buffer.from(text).toString("base64");

/** The slug of the ErrorDetail in what buf prints of an error: field 1, so its first text. */
function detailOf(printed: string): string {
  const error = JSON.parse(printed);
  assert.equal(error.details[0].type, "quorate.v1.ErrorDetail");
  const bytes = Buffer.from(error.details[0].value, "base64");
  return bytes.subarray(2, 2 + (bytes[1] ?? 0)).toString("latin1");
}

/** Each request goes to the next node. */
export function bufChecks(nodes: Nodes, protocol: BufProtocol): Check[] {
  const fixed = ["curl", "--protocol", protocol];

  /** A call, by the schema in `proto/` unless `words` say otherwise. */
  async function call(
    method: string,
    message: unknown,
    words: readonly string[] = ["--schema", "proto"],
  ): Promise<Ran> {
    return buf([...fixed, ...words, "-d", JSON.stringify(message), `${nodes.next()}/${method}`]);
  }

  // biome-ignore lint/suspicious/noExplicitAny: JSON of a contract that is checked field by field.
  async function answer(...asked: Parameters<typeof call>): Promise<any> {
    const ran = await call(...asked);
    assert.equal(ran.code, 0, ran.err);
    return JSON.parse(ran.out);
  }

  async function fails(exit: number, slug: string, ...asked: Parameters<typeof call>) {
    const ran = await call(...asked);
    assert.equal(ran.code, exit, `${ran.out}${ran.err}`);
    if (slug !== "") assert.equal(detailOf(ran.err), slug);
  }

  const key = base64(`buf/${protocol}`);
  const service = "quorate.v1.KvService";
  return [
    {
      name: "put, get, list, count, delete with binary keys and values",
      run: async () => {
        for (const name of [key, base64("\0"), every]) {
          await answer(`${service}/Put`, { key: name, value: every });
          assert.equal((await answer(`${service}/Get`, { key: name })).record.value, every);
        }
        const { items } = await answer(`${service}/List`, { prefix: key, values: true });
        assert.deepEqual([items[0].key, items[0].value], [key, every]);
        const count = await answer(`${service}/Count`, { prefix: key });
        assert.deepEqual([count.keys, count.bytes, count.exact], ["1", "256", true]);
        await answer(`${service}/Delete`, { key });
        await fails(notFound, "key-not-found", `${service}/Get`, { key });
      },
    },
    {
      name: "a batch, namespaces and info",
      run: async () => {
        const operations = [
          { put: { key, value: "YQ==" } },
          { get: { key } },
          { get: { key: "" } },
        ];
        const { results } = await answer(`${service}/Batch`, { operations });
        assert.equal(results[1].get.record.value, "YQ==");
        assert.equal(results[2].error.slug, "invalid-key");
        const name = `buf-${protocol}`;
        await answer(`${service}/PutNamespace`, { name, policy: { valueBytesMax: 5 } });
        const { namespace } = await answer(`${service}/GetNamespace`, { name });
        assert.equal(namespace.policy.valueBytesMax, 5);
        await answer(`${service}/DeleteNamespace`, { name });
        const { node } = await answer(`${service}/Info`, {});
        assert.ok(nodes.names.includes(node), node);
      },
    },
    {
      name: "errors carry their code and an ErrorDetail",
      run: async () => {
        await fails(invalidArgument, "invalid-key", `${service}/Get`, {});
        const long = { key: base64("x".repeat(1025)) };
        await fails(invalidArgument, "key-too-long", `${service}/Put`, long);
        const none = { key, namespace: "none" };
        await fails(notFound, "namespace-not-found", `${service}/Get`, none);
      },
    },
    {
      name: "kv.KVStore and health",
      run: async () => {
        const hello = `buf-${protocol}`;
        await answer("kv.KVStore/Put", { key: hello, value: "wörld" });
        const read = await answer("kv.KVStore/Get", { key: hello });
        assert.deepEqual(read, { value: "wörld", found: true });
        await answer("kv.KVStore/Delete", { key: hello });
        assert.deepEqual(await answer("kv.KVStore/Get", { key: hello }), {});
        const { nodeName } = await answer("kv.KVStore/Health", {});
        assert.ok(nodes.names.includes(nodeName), nodeName);
        await answer(`${service}/Put`, { key: base64(hello), value: "//4=" });
        await fails(failedPrecondition, "", "kv.KVStore/Get", { key: hello });
        assert.equal((await answer("grpc.health.v1.Health/Check", {})).status, "SERVING");
      },
    },
    ...["grpc-v1", "grpc-v1alpha"].map((reflection) => reflectionCheck(nodes, fixed, reflection)),
    {
      name: "a method that the server does not have is unimplemented",
      run: async () => {
        const ran = await call("grpc.reflection.v1.ServerReflection/Nope", {}, [
          "--schema",
          "proto",
        ]);
        assert.notEqual(ran.code, 0);
        const unknown = await buf([
          ...fixed,
          "--http2-prior-knowledge",
          "--schema",
          "conformance/other.proto",
          `${nodes.next()}/conformance.Other/Nope`,
        ]);
        assert.equal(unknown.code, unimplemented, unknown.err);
      },
    },
  ];
}

function reflectionCheck(nodes: Nodes, fixed: readonly string[], reflection: string): Check {
  const words = [...fixed, "--http2-prior-knowledge", "--reflect-protocol", reflection];
  return {
    name: `the schema by reflection (${reflection})`,
    run: async () => {
      const listed = await buf([...words, "--list-services", nodes.next()]);
      assert.equal(listed.code, 0, listed.err);
      for (const name of ["quorate.v1.KvService", "kv.KVStore", "grpc.health.v1.Health"]) {
        assert.ok(listed.out.split("\n").includes(name), `${name} in ${listed.out}`);
      }
      const message = JSON.stringify({ key: every, value: every });
      const put = await buf([...words, "-d", message, `${nodes.next()}/quorate.v1.KvService/Put`]);
      assert.equal(put.code, 0, put.err);
      assert.equal(JSON.parse(put.out).durability, "DURABILITY_FSYNC");
    },
  };
}
