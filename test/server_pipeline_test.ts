/**
 * Pipelining over HTTP/1.1: what one connection asks for is done in the order in which it was asked.
 *
 * The pairs are sent in one write. Each second request could be done without waiting for anything,
 * and each first one has a body to be read, so a server that begins both at once swaps them.
 */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { eventually, RawConnection } from "./http_harness.ts";
import { withServer } from "./server_harness.ts";

const pipeline = suite("server pipeline");

const target = "/v1/kv/default/p1";
const host = "Host: localhost\r\n";
const json = "Content-Type: application/json\r\n";
const ask = (method: string, path: string) => `${method} ${path} HTTP/1.1\r\n${host}\r\n`;
const send = (method: string, path: string, body: string, headers = "") =>
  `${method} ${path} HTTP/1.1\r\n${host}${headers}Content-Length: ${body.length}\r\n\r\n${body}`;
const sendChunked = (method: string, path: string, body: string) =>
  `${method} ${path} HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
const put = send("PUT", target, "x");
const get = ask("GET", target);
const remove = ask("DELETE", target);
/** A mark that the connection is done with all before it. */
const last = `GET /livez HTTP/1.1\r\n${host}Connection: close\r\n\r\n`;
const batch = JSON.stringify({ ops: [{ put: { key: "p1", value: "x" } }] });

/** The status of every answer, in order. */
const statusesIn = (text: string): number[] =>
  [...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map((match) => Number(match[1]));

const pairs: readonly (readonly [name: string, requests: string, statuses: readonly number[]])[] = [
  ["a put and a delete", put + remove, [204, 204, 404]],
  ["a chunked put and a delete", sendChunked("PUT", target, "x") + remove, [204, 204, 404]],
  [
    "a put and a delete of the seed's routes",
    send("POST", "/put", '{"key":"p1","value":"x"}', json) +
      send("DELETE", "/delete", '{"key":"p1"}', json),
    [200, 200, 404],
  ],
  [
    "a batch and a delete",
    send("POST", "/v1/batch/default", batch, json) + remove,
    [200, 204, 404],
  ],
  ["a put and a get", put + get, [204, 200, 200]],
  ["a delete between two puts", put + remove + put, [204, 204, 204, 200]],
];
for (const [name, requests, statuses] of pairs) {
  pipeline(
    `pipeline: ${name} in one write are done one after the other`,
    withServer(async ({ port }) => {
      const raw = new RawConnection(port);
      raw.send(requests + last);
      const heard = statusesIn(await raw.closed()).slice(0, -1);
      // What is left is asked for later, on another connection.
      const other = new RawConnection(port);
      other.send(get + last);
      const [left] = statusesIn(await other.closed());
      assert.equal([...heard, left], statuses);
    }),
  );
}

pipeline(
  "pipeline: a request begins only when the one before it is answered, on its own connection only",
  withServer(async (harness) => {
    const { api, port } = harness;
    api.isGated = true;
    const raw = new RawConnection(port);
    raw.send(put + remove + get + last);
    await eventually(() => api.waiting === 1);
    await harness.settle();
    assert.is(raw.text, "");
    assert.is(api.requests.length, 0);
    api.release();
    assert.equal(statusesIn(await raw.closed()), [204, 204, 404, 200]);
  }),
);

pipeline(
  "pipeline: what waits behind an answer that ends the connection is not done",
  withServer(async ({ port }) => {
    const keeper = new RawConnection(port);
    keeper.send(put);
    await keeper.until("204");
    const raw = new RawConnection(port);
    // Refused for its length, and its body left unread: the answer says that it is the last.
    const long = 2 * 1024 * 1024;
    raw.send(send("PUT", "/v1/kv/default/p2", "x".repeat(long)) + remove);
    const text = await raw.closed();
    assert.equal(statusesIn(text), [413]);
    keeper.send(get);
    await keeper.until("200 OK");
    keeper.socket.destroy();
  }),
);

pipeline(
  "pipeline: what waits is not done when the client has gone",
  withServer(async (harness) => {
    const { api, port } = harness;
    api.isGated = true;
    const raw = new RawConnection(port);
    raw.send(put + remove);
    await eventually(() => api.waiting === 1);
    raw.socket.resetAndDestroy();
    await raw.closed();
    await harness.settle();
    api.release();
    const other = new RawConnection(port);
    other.send(get);
    await other.until("200 OK");
    other.socket.destroy();
  }),
);

pipeline(
  "pipeline: a drain answers what is under way, and tells what waits behind it",
  withServer(async (harness) => {
    const { api, port } = harness;
    api.isGated = true;
    const raw = new RawConnection(port);
    raw.send(ask("GET", "/livez"));
    await raw.until("ok");
    raw.send(put + remove + remove);
    await eventually(() => api.waiting === 1);
    await harness.settle();
    const drained = harness.server.drain();
    api.release();
    const text = await raw.closed();
    assert.equal(statusesIn(text), [200, 204, 503, 503]);
    assert.is([...text.matchAll(/connection: close/gi)].length, 1);
    await drained;
  }),
);

pipeline(
  "pipeline: a drain answers a plain write, and does nothing of what waits behind it",
  withServer(async (harness) => {
    const { api, port } = harness;
    api.isGated = true;
    const raw = new RawConnection(port);
    raw.send(put + remove + remove);
    await eventually(() => api.waiting === 1);
    await harness.settle();
    const drained = harness.server.drain();
    api.release();
    const text = await raw.closed();
    // The first refusal says that it is the last answer: the client knows that no more was done.
    assert.equal(statusesIn(text), [204, 503]);
    assert.is([...text.matchAll(/connection: close/gi)].length, 1);
    await drained;
    assert.is(api.requests.length, 1);
  }),
);

pipeline(
  "pipeline: a close cuts a connection on which requests wait",
  withServer(async (harness) => {
    const { api, port } = harness;
    api.isGated = true;
    const raw = new RawConnection(port);
    raw.send(put + remove);
    await eventually(() => api.waiting === 1);
    const closed = harness.server.close();
    await harness.pass(2000);
    await closed;
    assert.is(await raw.closed(), "");
  }),
);

pipeline(
  "pipeline: a client that never stops asking is refused, and then not read from or cut",
  withServer(async (harness) => {
    const { api, counts, port } = harness;
    api.isGated = true;
    const raw = new RawConnection(port);
    raw.send(ask("GET", "/livez"));
    await raw.until("ok");
    raw.send(put);
    await eventually(() => api.waiting === 1);
    const flood = ask("GET", "/livez").repeat(100_000);
    raw.send(flood);
    await eventually(() => (counts.get("requests_refused") ?? 0) > 0);
    for (let round = 0; round < 10; round += 1) await harness.settle();
    assert.ok((counts.get("requests_refused") ?? 0) < 10_000, "refusals are bounded");
    raw.socket.destroy();
    await raw.closed();
  }),
);

pipeline(
  "pipeline: plain requests are taken one by one, and what comes behind one under way is not read",
  withServer(async (harness) => {
    const { api, port } = harness;
    api.isGated = true;
    const raw = new RawConnection(port);
    raw.send(put);
    await eventually(() => api.waiting === 1);
    raw.send(get.repeat(500_000));
    for (let round = 0; round < 10; round += 1) await harness.settle();
    // What the system takes for a receiver who does not read, and no more.
    assert.ok(raw.socket.writableLength > 0, "the flood stops");
    assert.is(api.waiting, 1);
    api.release();
    await raw.until("200 OK");
    raw.socket.destroy();
    await raw.closed();
  }),
);

for (const [name, second, statuses] of [
  ["a get", get, [204, 200]],
  ["a put of a seed route", send("POST", "/put", '{"key":"p2","value":"x"}', json), [204, 200]],
  ["a put that is not whole", put.slice(0, -1), [204, 400]],
  ["a get, a list and a get", get + ask("GET", "/v1/keys/default") + get, [204, 200, 200, 200]],
] as const) {
  pipeline(
    `pipeline: a client that closes its half behind a put and ${name} gets every answer`,
    withServer(async (harness) => {
      harness.api.isGated = true;
      const raw = new RawConnection(harness.port);
      raw.socket.end(put + second);
      await eventually(() => harness.api.waiting === 1);
      // The end of the client's half comes while its first request is under way.
      await new Promise((resolve) => setTimeout(resolve, 50));
      harness.api.release();
      assert.equal(statusesIn(await raw.closed()), [...statuses]);
      await eventually(() => harness.server.connections === 0);
    }),
  );
}

pipeline.run();
