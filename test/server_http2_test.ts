/**
 * HTTP/2 as no client speaks it: floods, endless headers, broken frames. Each ends its own connection
 * and nothing else. Frames are written by hand, and time stands still unless a test moves it.
 */

import * as http2 from "node:http2";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { eventually, RawConnection } from "./http_harness.ts";
import {
  type Frame,
  FrameClient,
  flags,
  frame,
  frameTypes,
  getHeaders,
  headerBlock,
  withServer,
} from "./server_harness.ts";

const server = suite("server, HTTP/2");

const timeouts = { headersTimeoutMs: 4000, idleTimeoutMs: 20_000, stallTimeoutMs: 10_000 };
const get = (target: string) => `GET ${target} HTTP/1.1\r\nHost: localhost\r\n\r\n`;

/** Frames that cost the server work -> a flood of them, sent at once. */
const floods: readonly (readonly [name: string, make: (index: number) => Uint8Array])[] = [
  ["pings", () => frame(frameTypes.ping, 0, 0, Buffer.alloc(8))],
  ["settings", () => frame(frameTypes.settings, 0, 0, Buffer.from([0, 3, 0, 0, 0, 9]))],
  [
    "streams that are reset at once",
    (index) => {
      const stream = 2 * index + 1;
      const open = flags.endHeaders | flags.endStream;
      return Buffer.concat([
        frame(frameTypes.headers, open, stream, getHeaders("/v1/kv/default/a")),
        frame(frameTypes.reset, 0, stream, Buffer.from([0, 0, 0, 8])),
      ]);
    },
  ],
];
for (const [name, make] of floods) {
  server(
    `server: a flood of ${name} ends its connection, and the others go on`,
    withServer(async (harness) => {
      const good = new RawConnection(harness.port);
      good.send(get("/livez"));
      await good.until("ok");
      const client = new FrameClient(harness.port).start();
      await client.until(frameTypes.settings);
      for (let batch = 0; batch < 20 && !client.isClosed; batch += 1) {
        const parts = Array.from({ length: 200 }, (_, index) => make(batch * 200 + index));
        client.send(Buffer.concat(parts));
        await new Promise((resolve) => setImmediate(resolve));
      }
      await client.closed();
      good.send(get("/livez"));
      await eventually(() => good.text.split("200 OK").length === 3);
      good.socket.destroy();
    }),
  );
}

server(
  "server: pings between answers, as gRPC sends them, are no flood",
  withServer(async ({ port }) => {
    const client = new FrameClient(port).start();
    const rounds = 1500;
    for (let index = 0; index < rounds; index += 1) {
      const stream = 2 * index + 1;
      const open = flags.endHeaders | flags.endStream;
      client.send(frame(frameTypes.headers, open, stream, getHeaders("/livez")));
      client.send(frame(frameTypes.ping, 0, 0, Buffer.alloc(8)));
      const answered = () =>
        client.isClosed ||
        client.frames.some((each) => each.stream === stream && (each.flags & 1) === 1);
      await eventually(answered);
      assert.is(client.isClosed, false, `the connection ended after ${index} rounds`);
      client.frames.length = 0;
    }
    client.socket.destroy();
  }),
);

server(
  "server: a client that leaves in the middle of a stream is forgotten, and a stop does not wait for it",
  withServer(async (harness) => {
    const client = new FrameClient(harness.port).start();
    await client.until(frameTypes.settings);
    const put = headerBlock({
      ":method": "PUT",
      ":scheme": "http",
      ":authority": "localhost",
      ":path": "/v1/kv/default/a",
    });
    client.send(frame(frameTypes.headers, flags.endHeaders, 1, put));
    client.send(frame(frameTypes.data, 0, 1, Buffer.from("half")));
    await harness.settle();
    assert.is(harness.server.connections, 1);
    client.socket.end();
    await harness.settle();
    await harness.pass(2000);
    await client.closed();
    await eventually(() => harness.server.connections === 0);
    assert.is(harness.counts.get("connections_cut"), undefined, "it went by itself");
    await harness.server.drain();
    assert.is(harness.api.waiting, 0);
  }),
);

server(
  "server: a header block without end, or past 16 KiB, does not take memory or the server",
  withServer(async (harness) => {
    const endless = new FrameClient(harness.port).start();
    await endless.until(frameTypes.settings);
    endless.send(frame(frameTypes.headers, 0, 1, getHeaders("/livez")));
    const more = headerBlock({ "x-filler": "a".repeat(8000) });
    for (let index = 0; index < 400 && !endless.isClosed; index += 1) {
      endless.send(frame(frameTypes.continuation, 0, 1, more));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await endless.closed();
    const good = new RawConnection(harness.port);
    good.send(get("/livez"));
    await good.until("ok");
    good.socket.destroy();
  }),
);

const brokenFrames: readonly (readonly [name: string, bytes: Uint8Array])[] = [
  ["a frame that is larger than allowed", frame(frameTypes.data, 0, 1, Buffer.alloc(20_000))],
  ["data on a stream that was never opened", frame(frameTypes.data, 0, 1, Buffer.from("x"))],
  ["a ping of seven bytes", frame(frameTypes.ping, 0, 0, Buffer.alloc(7))],
  ["headers on stream 0", frame(frameTypes.headers, flags.endHeaders, 0, getHeaders("/"))],
  ["a header block that is no HPACK", frame(frameTypes.headers, 5, 1, Buffer.alloc(9, 0xff))],
];
for (const [name, bytes] of brokenFrames) {
  server(
    `server: ${name} is answered with an error of HTTP/2, and its connection ends in time`,
    withServer(async (harness) => {
      const client = new FrameClient(harness.port).start();
      await client.until(frameTypes.settings);
      client.send(bytes);
      const isError = ({ type }: Frame) => type === frameTypes.goaway || type === frameTypes.reset;
      await eventually(() => client.frames.some(isError));
      // Some runtimes leave it to the client to close after a GOAWAY; no client is waited for long.
      await harness.pass(25_000);
      await client.closed();
      const good = new RawConnection(harness.port);
      good.send(get("/livez"));
      await good.until("ok");
      good.socket.destroy();
    }, timeouts),
  );
}

server(
  "server: what node:http2 would answer by itself, without a body, is answered as any request",
  withServer(async ({ url, api }) => {
    const ask = (headers: http2.OutgoingHttpHeaders, body?: string) =>
      new Promise<{ readonly status: number; readonly text: string }>((resolve, reject) => {
        const session = http2.connect(url);
        session.on("error", reject);
        const stream = session.request(headers, { endStream: body === undefined });
        let status = 0;
        let text = "";
        stream.on("response", (head) => {
          status = Number(head[":status"]);
        });
        stream.on("data", (chunk: Buffer) => {
          text += chunk.toString();
        });
        stream.on("error", reject);
        stream.on("close", () => {
          session.destroy();
          resolve({ status, text });
        });
        if (body !== undefined) stream.end(body);
      });
    // An expectation that nobody knows is not met, and does no harm, as over HTTP/1.1.
    const path = "/v1/kv/default/expected";
    const put = await ask({ ":method": "PUT", ":path": path, expect: "coffee" }, "v");
    assert.is(put.status, 204, put.text);
    assert.is(api.requests.length, 1);
    const tunnel = await ask({ ":method": "CONNECT", ":authority": "localhost:1" });
    assert.is(tunnel.status, 405);
    assert.is(JSON.parse(tunnel.text).type, "/problems/method-not-allowed");
  }),
);

server.run();
