/** How the server stops: what is under way is answered, what comes late is told, and nothing hangs. */

import * as http2 from "node:http2";
import * as net from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { eventually, RawConnection } from "./http_harness.ts";
import { withServer } from "./server_harness.ts";

const server = suite("server, stopping");

const get = (target: string) => `GET ${target} HTTP/1.1\r\nHost: localhost\r\n\r\n`;
const put = (target: string, body: string) =>
  `PUT ${target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${body.length}\r\n\r\n${body}`;

server(
  "server drain: what is under way is answered, idle connections end, new ones are refused",
  withServer(async (harness) => {
    harness.api.isGated = true;
    const idle = new RawConnection(harness.port);
    idle.send(get("/livez"));
    await idle.until("ok");
    const busy = new RawConnection(harness.port);
    busy.send(put("/v1/kv/default/a", "v"));
    await eventually(() => harness.api.waiting === 1);
    const { port } = harness;
    let isDrained = false;
    const drained = harness.server.drain().then(() => {
      isDrained = true;
    });
    await idle.closed();
    assert.is(await connectError(port), "ECONNREFUSED");
    assert.is(isDrained, false);
    harness.api.release();
    assert.match(await busy.closed(), /^HTTP\/1.1 204 No Content\r\n[\s\S]*connection: close/i);
    await drained;
  }),
);

server(
  "server drain: an HTTP/2 client gets GOAWAY, and its open streams their answers",
  withServer(async (harness) => {
    harness.api.isGated = true;
    const session = http2.connect(harness.url);
    let goaway: number | undefined;
    session.on("goaway", (code: number) => {
      goaway = code;
    });
    const stream = session.request({ ":method": "PUT", ":path": "/v1/kv/default/a" });
    stream.end("v");
    await eventually(() => harness.api.waiting === 1);
    const drained = harness.server.drain();
    await eventually(() => goaway === 0);
    const status = new Promise((resolve) => {
      stream.on("response", (headers) => resolve(headers[":status"]));
    });
    stream.resume();
    harness.api.release();
    assert.is(await status, 204);
    await drained;
    session.destroy();
  }),
);

/** What has begun before the drain -> what its client hears, in the form that it reads. */
const lateRequests: readonly (readonly [name: string, bytes: string, heard: RegExp])[] = [
  [
    "a read",
    get("/v1/kv/default/a"),
    /^HTTP\/1.1 503 [\s\S]*retry-after: 1[\s\S]*connection: close[\s\S]*problems\/draining/i,
  ],
  [
    "a write",
    put("/v1/kv/default/a", "v"),
    /^HTTP\/1.1 503 [\s\S]*problems\/draining[\s\S]*"outcome":"none"/,
  ],
  [
    "a call over Connect",
    "POST /quorate.v1.KvService/Get HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    /^HTTP\/1.1 503 [\s\S]*"code":"unavailable"[\s\S]*"slug":"draining"/,
  ],
  [
    "a call over gRPC-Web",
    "POST /quorate.v1.KvService/Get HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/grpc-web+proto\r\nContent-Length: 0\r\n\r\n",
    /^HTTP\/1.1 200 [\s\S]*grpc-status: 14/,
  ],
];
for (const [name, bytes, heard] of lateRequests) {
  server(
    `server drain: ${name} whose head was half there is refused as draining, and never carried out`,
    withServer(async (harness) => {
      const raw = new RawConnection(harness.port);
      raw.send(bytes.slice(0, 10));
      await harness.settle();
      let isDrained = false;
      const drained = harness.server.drain().then(() => {
        isDrained = true;
      });
      await new Promise((resolve) => setImmediate(resolve));
      assert.is(isDrained, false);
      raw.send(bytes.slice(10));
      assert.match(await raw.closed(), heard);
      await drained;
      assert.is(harness.api.requests.length, 0);
    }),
  );
}

server(
  "server drain: a head that never ends is not waited for",
  withServer(async (harness) => {
    const raw = new RawConnection(harness.port);
    raw.send("GET / HTTP/1.1\r\n");
    await harness.settle();
    const drained = harness.server.drain();
    await harness.pass(1500);
    await drained;
    await raw.closed();
  }),
);

server(
  "server close: what does not end in time is cut",
  withServer(
    async (harness) => {
      harness.api.isGated = true;
      const busy = new RawConnection(harness.port);
      busy.send(put("/v1/kv/default/a", "v"));
      await eventually(() => harness.api.waiting === 1);
      let isClosed = false;
      const closed = harness.server.close().then(() => {
        isClosed = true;
      });
      await harness.pass(2500);
      assert.is(isClosed, false);
      await harness.pass(1000);
      await closed;
      assert.is(await busy.closed(), "");
    },
    { closeTimeoutMs: 3000 },
  ),
);

function connectError(port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = net.connect(port, "127.0.0.1");
    socket.on("connect", () => {
      socket.destroy();
      resolve("");
    });
    socket.on("error", (error: { code?: string }) => resolve(error.code ?? "?"));
  });
}

server.run();
