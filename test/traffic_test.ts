import { suite } from "uvu";
import * as assert from "uvu/assert";
import { QuorateError } from "../src/errors.ts";
import { edges, operations, Traffic } from "../src/traffic.ts";
import { withServer } from "./server_harness.ts";

const test = suite("traffic");

test("Traffic.cell() gives each edge and operation its own cell, and the same one again", () => {
  const traffic = new Traffic();
  const found = new Set<unknown>();
  for (const edge of edges) {
    for (const operation of operations) {
      const cell = traffic.cell(edge, operation);
      assert.equal([cell.edge, cell.operation], [edge, operation]);
      assert.is(traffic.cell(edge, operation), cell);
      found.add(cell);
    }
  }
  assert.is(found.size, edges.length * operations.length);
});

test("a request counts by its status, and its time in seconds; a refusal has no time", () => {
  const cell = new Traffic().cell("http", "put");
  cell.add(204, 20);
  cell.add(204, 30);
  cell.refuse(503);
  assert.equal(cell.statuses(), [
    [204, 2],
    [503, 1],
  ]);
  assert.is(cell.latency.count, 2);
  assert.ok(Math.abs(cell.latency.sum - 0.05) < 1e-9);
});

test("failures count by what went wrong and what is known of the write", () => {
  const traffic = new Traffic();
  traffic.fail("timeout", "unknown");
  traffic.fail("timeout", "unknown");
  traffic.fail("timeout", undefined);
  assert.equal(traffic.failures(), [
    { slug: "timeout", outcome: "unknown", count: 2 },
    { slug: "timeout", outcome: "not-a-write", count: 1 },
  ]);
});

test("a write that was refused before the node was asked counts as one that did nothing", async () => {
  const traffic = new Traffic();
  await withServer(
    async ({ url }) => {
      const put = `${url}/v1/kv/default/k?ttl=0`;
      assert.is((await fetch(put, { method: "PUT", body: "v" })).status, 400);
      assert.is((await fetch(`${url}/v1/kv/default/k?ttl=0`)).status, 400);
    },
    { traffic },
  )();
  assert.equal(traffic.failures(), [
    { slug: "invalid-request", outcome: "none", count: 1 },
    { slug: "invalid-request", outcome: "not-a-write", count: 1 },
  ]);
});

const batches = [
  ["v1/batch/default", { ops: [{ put: { key: "", value: "v" } }, { delete: "b" }] }],
  ["quorate.v1.KvService/Batch", { operations: [{ put: {} }, { delete: { key: "Yg==" } }] }],
] as const;
for (const [path, batch] of batches) {
  test(`each operation of a batch that fails is counted: ${path}`, async () => {
    const traffic = new Traffic();
    await withServer(
      async ({ api, url }) => {
        const error = new QuorateError("timeout", "It is late.", { outcome: "unknown" });
        api.batch = async () => [{ kind: "error", error }];
        const headers = { "content-type": "application/json" };
        const body = JSON.stringify(batch);
        const heard = await fetch(`${url}/${path}`, { method: "POST", headers, body });
        assert.is(heard.status, 200, await heard.text());
      },
      { traffic },
    )();
    assert.equal(traffic.failures(), [
      { slug: "invalid-key", outcome: "none", count: 1 },
      { slug: "timeout", outcome: "unknown", count: 1 },
    ]);
  });
}

test.run();
