/**
 * Streams that have places of their own on a port: those that only wait, over real connections. (Those of
 * nodes that have proven nothing are in `rpc_network_test`.)
 */
import * as http2 from "node:http2";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { eventually, RawConnection } from "./http_harness.ts";
import { type Harness, withServer } from "./server_harness.ts";

const places = suite("server places");

const watchPath = "/grpc.health.v1.Health/Watch";
const reflectionPath = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
/** A Watch of everything: an empty message, whose frame is its head alone. */
const emptyMessage = Buffer.alloc(5);

/** Streams on a connection of their own; a watch has begun when it has told the first state. */
class Waiting {
  readonly session: http2.ClientHttp2Session;
  begun = 0;
  readonly closed: number[] = [];
  #count = 0;

  constructor({ url }: Harness) {
    this.session = http2.connect(url);
    this.session.on("error", () => {});
  }

  async open(path: string, count: number): Promise<this> {
    for (let opened = 0; opened < count; opened += 1) {
      const index = this.#count;
      this.#count += 1;
      const headers = { ":method": "POST", ":path": path, "content-type": "application/grpc" };
      const stream = this.session.request({ ...headers, te: "trailers" });
      stream.on("error", () => {});
      stream.on("close", () => this.closed.push(index));
      stream.once("data", () => {
        this.begun += 1;
      });
      // A question about the names of all services: field 7, empty.
      if (path === watchPath) stream.end(emptyMessage);
      else stream.write(Buffer.of(0, 0, 0, 0, 2, 0x3a, 0));
    }
    await eventually(() => this.begun === this.#count);
    return this;
  }

  end(): void {
    this.session.destroy();
  }
}

/** Asks something else, on a connection that is closed after it. */
async function statusOf({ port }: Harness): Promise<string | undefined> {
  const raw = new RawConnection(port);
  raw.send("GET /v1/info HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  return /^HTTP\/1\.1 (\d+)/.exec(await raw.closed())?.[1];
}

for (const [what, path] of [
  ["watch the health", watchPath],
  ["ask for reflection, and leave their streams open", reflectionPath],
] as const) {
  places(
    `streams that ${what} take no request's place, and one of their own each connection has`,
    withServer(
      async (harness) => {
        const many = await new Waiting(harness).open(path, 4);
        const one = await new Waiting(harness).open(path, 1);
        assert.is(await statusOf(harness), "200", "more of them than there may be requests");
        await eventually(() => many.closed.length === 1);
        assert.equal([many.closed, one.closed], [[0], []], "the oldest of whoever has the most");
        await many.open(path, 3);
        await eventually(() => many.closed.length === 4);
        assert.equal([many.closed, one.closed], [[0, 1, 2, 3], []]);
        many.end();
        while (harness.server.connections > 1) await harness.pass(500);
        await one.open(path, 2);
        assert.equal(one.closed, [], "the places of a connection that is gone are free");
        one.end();
      },
      { requestsMax: 2, connectionsMax: 4 },
    ),
  );
}

places(
  "a drain waits for the streams of watchers to end",
  withServer(async (harness) => {
    const watching = await new Waiting(harness).open(watchPath, 2);
    await harness.server.drain();
    await eventually(() => watching.closed.length === 2);
    watching.end();
  }),
);

places(
  "a connection with requests behind a watch, which would never have their turn, is cut (HTTP/1.1)",
  withServer(async (harness) => {
    const raw = new RawConnection(harness.port);
    const head = `POST ${watchPath} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/connect+json\r\n`;
    const message = "\0\0\0\0\x02{}";
    raw.send(`${head}Content-Length: ${message.length}\r\n\r\n${message}`);
    await raw.until("SERVING");
    assert.is(harness.counts.get("connections_cut"), undefined);
    raw.send("GET /v1/info HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await raw.closed();
    assert.is(harness.counts.get("connections_cut"), 1);
    assert.is(await statusOf(harness), "200");
  }),
);

places.run();
