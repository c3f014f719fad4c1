/**
 * The server on real sockets, over a fake node: one port, its limits, and how it stops.
 *
 * Time is handed in and stands still until a test moves it, so every deadline is exact and no test
 * waits for one.
 */

import * as http from "node:http";
import * as http2 from "node:http2";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { QuorateError } from "../src/errors.ts";
import { startServer } from "../src/server.ts";
import { eventually, RawConnection } from "./http_harness.ts";
import {
  FrameClient,
  frameTypes,
  type Harness,
  noSettings,
  preface,
  withServer,
} from "./server_harness.ts";

const server = suite("server");

const get = (target: string) => `GET ${target} HTTP/1.1\r\nHost: localhost\r\n\r\n`;
const put = (target: string, body: string) =>
  `PUT ${target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
const bodyOf = (text: string) => JSON.parse(text.slice(text.lastIndexOf("\r\n\r\n") + 4));

/** The one problem that a connection was told before it was closed. */
async function lastWords(connection: RawConnection, status: number, slug: string) {
  const text = await connection.closed();
  assert.match(text, new RegExp(`^HTTP/1.1 ${status} `));
  assert.match(text, /content-type: application\/problem\+json/i);
  assert.match(text, /connection: close/i);
  const problem = bodyOf(text);
  assert.is(problem.type, `/problems/${slug}`);
  assert.is(problem.status, status);
  assert.match(problem.requestId, /^[0-9a-f]{8}-\w+$/);
  assert.match(text, new RegExp(`quorate-request-id: ${problem.requestId}\r\n`, "i"));
  return problem;
}

server(
  "server: HTTP/1.1 and HTTP/2 share the port and the data",
  withServer(async ({ port, url }) => {
    const raw = new RawConnection(port);
    raw.send(put("/v1/kv/default/a", "hello"));
    await raw.until("204 No Content");
    const session = http2.connect(url);
    const stream = session.request({ ":path": "/v1/kv/default/a" });
    const chunks: Buffer[] = [];
    for await (const chunk of stream) chunks.push(chunk);
    assert.is(Buffer.concat(chunks).toString(), "hello");
    raw.send(get("/v1/kv/default/a"));
    assert.match(await raw.until("hello"), /200 OK/);
    session.close();
    raw.socket.destroy();
  }),
);

server(
  "server: a preface that comes byte by byte is HTTP/2, and a P alone may still be a PUT",
  withServer(async ({ port }) => {
    const client = new FrameClient(port);
    client.socket.setNoDelay(true);
    for (const letter of preface) {
      client.send(letter);
      await new Promise((resolve) => setImmediate(resolve));
    }
    client.send(noSettings);
    await client.until(frameTypes.settings);
    const raw = new RawConnection(port);
    raw.socket.setNoDelay(true);
    for (const letter of put("/v1/kv/default/b", "x").slice(0, 6)) {
      raw.send(letter);
      await new Promise((resolve) => setImmediate(resolve));
    }
    raw.send(put("/v1/kv/default/b", "x").slice(6));
    await raw.until("204 No Content");
    client.socket.destroy();
    raw.socket.destroy();
  }),
);

server(
  "server: a client that closes its half still gets its answer",
  withServer(async (harness) => {
    const { api, port } = harness;
    api.isGated = true;
    const raw = new RawConnection(port);
    raw.socket.end(put("/v1/kv/default/half", "v"));
    await eventually(() => api.waiting === 1);
    await harness.settle();
    api.release();
    assert.match(await raw.closed(), /^HTTP\/1.1 204/);
  }),
);

const broken: readonly (readonly [name: string, bytes: string, status: number, slug: string])[] = [
  ["bytes that are no HTTP", "GARBAGE\r\n\r\n", 400, "invalid-request"],
  ["a TLS handshake", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "invalid-request"],
  ["a header without a colon", "GET / HTTP/1.1\r\nHost localhost\r\n\r\n", 400, "invalid-request"],
  [
    "two different lengths",
    "PUT /v1/kv/default/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    400,
    "invalid-request",
  ],
  [
    "a length that is no number",
    "PUT /v1/kv/default/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
    400,
    "invalid-request",
  ],
  [
    "a head of 17 KiB",
    `GET / HTTP/1.1\r\nHost: localhost\r\nA: ${"a".repeat(17 * 1024)}\r\n\r\n`,
    431,
    "headers-too-large",
  ],
  [
    "a flood of small headers",
    `GET / HTTP/1.1\r\nHost: localhost\r\n${"abc:def\r\n".repeat(3000)}\r\n`,
    431,
    "headers-too-large",
  ],
  [
    "CONNECT",
    "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n",
    405,
    "method-not-allowed",
  ],
];
for (const [name, bytes, status, slug] of broken) {
  server(
    `server: ${name} is answered ${status} ${slug} with a problem, and the connection closed`,
    withServer(async ({ port }) => {
      const raw = new RawConnection(port);
      raw.socket.write(Buffer.from(bytes, "latin1"));
      await lastWords(raw, status, slug);
    }),
  );
}

server(
  "server: a request of HTTP/1.1 without a Host is 400, and one of HTTP/1.0 is served",
  withServer(async ({ port }) => {
    const raw = new RawConnection(port);
    raw.send("GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert.match(await raw.closed(), /^HTTP\/1.1 400 /);
    const old = new RawConnection(port);
    old.send("GET /livez HTTP/1.0\r\n\r\n");
    assert.match(await old.closed(), /^HTTP\/1.1 200 /);
  }),
);

for (const [form, head] of [
  ["HTTP", "PUT /v1/kv/default/a HTTP/1.1\r\nContent-Length: 1"],
  ["a routed path", "POST /put HTTP/1.1\r\nContent-Length: 1"],
  [
    "an RPC",
    "POST /quorate.v1.KvService/Put HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 1",
  ],
] as const) {
  server(
    `server: a second Host header is 400 on ${form}, also where it says the same, and nothing is done`,
    withServer(async ({ port, api }) => {
      for (const second of ["HOST: 127.0.0.1", "Host: localhost", "host: example.com"]) {
        const raw = new RawConnection(port);
        raw.send(`${head}\r\nHost: localhost\r\nConnection: close\r\n${second}\r\n\r\nv`);
        const answer = await raw.closed();
        assert.match(answer, /^HTTP\/1.1 400 /);
        assert.match(answer, /more than one Host header/);
      }
      assert.is(api.requests.length, 0);
    }),
  );
}

server(
  "server: a body that breaks its chunks is never stored, and the client hears why",
  withServer(async ({ port, api }) => {
    const raw = new RawConnection(port);
    raw.send(
      "PUT /v1/kv/default/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    raw.send("5\r\nhello\r\nZZ\r\n");
    assert.match(await raw.closed(), /^HTTP\/1.1 400 /);
    assert.is(api.requests.length, 0);
  }),
);

server(
  "server: garbage behind a write that is under way is not taken for the write's answer",
  withServer(async ({ port, api }) => {
    api.isGated = true;
    const raw = new RawConnection(port);
    raw.send(get("/livez"));
    await raw.until("ok");
    raw.send(put("/v1/kv/default/a", "v"));
    await eventually(() => api.waiting === 1);
    raw.send("GARBAGE\r\n\r\n");
    assert.is([...(await raw.closed()).matchAll(/HTTP\/1.1 /g)].length, 1);
  }),
);

server(
  "server: garbage behind a plain write waits for the write's answer, and is answered then",
  withServer(async ({ port, api }) => {
    api.isGated = true;
    const raw = new RawConnection(port);
    raw.send(put("/v1/kv/default/a", "v"));
    await eventually(() => api.waiting === 1);
    raw.send("GARBAGE\r\n\r\n");
    api.release();
    const statuses = [...(await raw.closed()).matchAll(/HTTP\/1.1 (\d+)/g)].map(
      (match) => match[1],
    );
    assert.equal(statuses, ["204", "400"]);
  }),
);

server(
  "server: 100 Continue is sent for a body that may come, and not for one that is too large",
  withServer(async ({ port }) => {
    const head = (length: number) =>
      `PUT /v1/kv/default/a HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: ${length}\r\n\r\n`;
    const raw = new RawConnection(port);
    raw.send(head(3));
    await raw.until("100 Continue");
    raw.send("abc");
    await raw.until("204 No Content");
    raw.socket.destroy();
    const large = new RawConnection(port);
    large.send(head(2 ** 40));
    const text = await large.until("value-too-large");
    assert.match(text, /^HTTP\/1.1 413 /);
    large.socket.destroy();
  }),
);

const timeouts = { headersTimeoutMs: 4000, idleTimeoutMs: 20_000, stallTimeoutMs: 10_000 };

server(
  "server: a head that trickles in is answered 408 at its deadline, however often it moves",
  withServer(async (harness) => {
    const raw = new RawConnection(harness.port);
    raw.send("GET / HTTP/1.1\r\nHost: localhost\r\n");
    await harness.settle();
    for (let ms = 0; ms < 3500; ms += 500) {
      raw.send(`X-${ms}: a\r\n`);
      await harness.pass(500);
    }
    assert.is(raw.text, "");
    await harness.pass(1000);
    await lastWords(raw, 408, "request-timeout");
  }, timeouts),
);

server(
  "server: a connection that says nothing, or half of a preface, is closed at the deadline",
  withServer(async (harness) => {
    const silent = new RawConnection(harness.port);
    const half = new RawConnection(harness.port);
    half.send("PR");
    await harness.settle();
    await harness.pass(4500);
    assert.is(await silent.closed(), "");
    await half.closed();
  }, timeouts),
);

server(
  "server: the second head of a connection has the same deadline as the first",
  withServer(async (harness) => {
    const raw = new RawConnection(harness.port);
    raw.send(get("/livez"));
    const first = await raw.until("ok");
    raw.send("GET /livez HT");
    await harness.settle();
    await harness.pass(5500);
    const text = await raw.closed();
    assert.match(text.slice(first.length), /^\s*HTTP\/1.1 408 /);
  }, timeouts),
);

server(
  "server: the beginning of a head that came with the request before has that deadline as well",
  withServer(async (harness) => {
    const raw = new RawConnection(harness.port);
    raw.send(`${get("/v1/kv/default/a")}GET /v1/kv/default/a HT`);
    const first = await raw.until("404");
    await harness.settle();
    await harness.pass(5500);
    const text = await raw.closed();
    assert.match(text.slice(first.length), / 408 /);
  }, timeouts),
);

server(
  "server: a client that takes a page of a stream slowly, and goes on taking it, gets all of it",
  withServer(async (harness) => {
    const value = "v".repeat(1024 * 1024);
    const count = 32;
    for (let index = 0; index < count; index += 1) {
      const url = `${harness.url}/v1/kv/default/slow${index}`;
      assert.is((await fetch(url, { method: "PUT", body: value })).status, 204);
    }
    const response = await new Promise<http.IncomingMessage>((resolve, reject) => {
      const url = `${harness.url}/v1/keys/default?values=true`;
      const headers = { accept: "application/x-ndjson" };
      http.get(url, { headers, agent: false }, resolve).on("error", reject);
    });
    let tail = "";
    let bytes = 0;
    for await (const piece of response) {
      tail = (tail + String(piece)).slice(-40);
      const before = bytes;
      bytes += (piece as Uint8Array).length;
      // A megabyte in ten seconds: the page as a whole takes minutes.
      if (Math.floor(before / 1024 ** 2) < Math.floor(bytes / 1024 ** 2))
        await harness.pass(10_000);
    }
    assert.match(tail, `{"end":true,"count":${count}}`);
  }),
);

server(
  "server: an idle connection lives until its idle timeout and no longer",
  withServer(async (harness) => {
    const raw = new RawConnection(harness.port);
    raw.send(get("/livez"));
    await raw.until("ok");
    await harness.pass(19_000);
    raw.send(get("/livez"));
    await eventually(() => raw.text.split("200 OK").length === 3);
    await harness.pass(22_000);
    assert.not.match(await raw.closed(), /408/);
  }, timeouts),
);

server(
  "server: an HTTP/2 connection without settings ends at the deadline, one with them may wait",
  withServer(async (harness) => {
    const mute = new FrameClient(harness.port);
    mute.send(preface);
    const settled = new FrameClient(harness.port).start();
    await settled.until(frameTypes.settings);
    await mute.until(frameTypes.settings);
    await harness.pass(5000);
    await mute.closed();
    assert.is(settled.isClosed, false);
    await harness.pass(20_000);
    await settled.closed();
  }, timeouts),
);

/** Resolves when answers have begun to fill a connection, and it takes no more of them. */
async function stalled(harness: Harness): Promise<void> {
  const { requests } = harness.api;
  await eventually(() => requests.length > 1);
  let seen: number;
  do {
    seen = requests.length;
    await harness.settle();
  } while (requests.length > seen);
  assert.ok(seen < 65, "not every answer fits into the kernel");
}

server(
  "server: a client that leaves its answers unread is cut after the stall timeout",
  withServer(async (harness) => {
    const large = "v".repeat(1024 * 1024);
    const raw = new RawConnection(harness.port);
    raw.send(put("/v1/kv/default/large", large));
    await raw.until("204 No Content");
    raw.socket.pause();
    raw.send(get("/v1/kv/default/large").repeat(64));
    await stalled(harness);
    await harness.pass(12_000);
    assert.is(harness.counts.get("connections_cut"), 1);
    raw.socket.destroy();
  }, timeouts),
);

server(
  "server: what all clients leave unread is bounded, and the one that leaves most is cut",
  withServer(
    async (harness) => {
      const large = "v".repeat(1024 * 1024);
      const raw = new RawConnection(harness.port);
      const modest = new RawConnection(harness.port);
      raw.send(put("/v1/kv/default/large", large));
      await raw.until("204 No Content");
      modest.send(get("/livez"));
      await modest.until("ok");
      raw.socket.pause();
      raw.send(get("/v1/kv/default/large").repeat(64));
      await stalled(harness);
      await harness.pass(1000);
      assert.is(harness.counts.get("connections_cut"), 1);
      modest.send(get("/livez"));
      await eventually(() => modest.text.split("200 OK").length === 3);
      raw.socket.destroy();
      modest.socket.destroy();
    },
    // One answer at most is under way on the connection, and part of it is with the kernel.
    { outgoingBytesMax: 256 * 1024 },
  ),
);

server(
  "server: connections past the limit are closed when they arrive, and the others go on",
  withServer(
    async (harness) => {
      const first = new RawConnection(harness.port);
      first.send(get("/livez"));
      await first.until("ok");
      const second = new RawConnection(harness.port);
      assert.is(await second.closed(), "");
      assert.is(harness.counts.get("connections_refused"), 1);
      first.send(get("/livez"));
      await eventually(() => first.text.split("200 OK").length === 3);
      first.socket.destroy();
    },
    { connectionsMax: 1 },
  ),
);

server(
  "server: requests past the limit are 503 overloaded with outcome none, and room comes back",
  withServer(
    async (harness) => {
      harness.api.isGated = true;
      const first = new RawConnection(harness.port);
      first.send(put("/v1/kv/default/a", "v"));
      await eventually(() => harness.api.waiting === 1);
      const second = new RawConnection(harness.port);
      second.send(put("/v1/kv/default/b", "v"));
      const text = await second.until("overloaded");
      assert.match(text, /^HTTP\/1.1 503 [\s\S]*retry-after: 1/i);
      assert.is(bodyOf(text).outcome, "none");
      harness.api.release();
      await first.until("204 No Content");
      second.send(put("/v1/kv/default/b", "v"));
      await second.until("204 No Content");
      first.socket.destroy();
      second.socket.destroy();
    },
    { requestsMax: 1 },
  ),
);

server(
  "server: a client that pipelines without end is refused past the limit, in order",
  withServer(
    async (harness) => {
      harness.api.isGated = true;
      const raw = new RawConnection(harness.port);
      raw.send(get("/livez"));
      await raw.until("ok");
      raw.send(put("/v1/kv/default/a", "v").repeat(3));
      await eventually(() => harness.counts.get("requests_refused") === 1);
      harness.api.release();
      const text = await raw.until("overloaded");
      const statuses = [...text.matchAll(/HTTP\/1.1 (\d+)/g)].map((match) => match[1]);
      assert.equal(statuses, ["200", "204", "204", "503"]);
      raw.socket.destroy();
    },
    { pipelinedMax: 2 },
  ),
);

for (const [what, rest] of [
  ["is cut short", "Content-Length: 10\r\n\r\nhello"],
  ["is no body", "Transfer-Encoding: chunked\r\n\r\nhello\r\n"],
] as const) {
  server(
    `server: P7: a delete under way, whose body ${what}, is not told to have done nothing`,
    withServer(async ({ api, port }) => {
      api.isGated = true;
      const raw = new RawConnection(port);
      raw.send(`DELETE /v1/kv/default/a HTTP/1.1\r\nHost: localhost\r\n${rest}`);
      await eventually(() => api.waiting === 1);
      raw.socket.end();
      assert.is(await raw.closed(), "", "nothing is said of what may happen yet");
      api.release();
    }),
  );
}

server("server: a host that others can reach needs to be allowed by name", async () => {
  const error = await failure({ host: "0.0.0.0", port: 0 });
  assert.is(error.slug, "invalid-config");
  assert.match(error.hint ?? "", /--insecure/);
});

server(
  "server: on loopback it answers under the address that it listens on, whichever that is",
  withServer(
    async ({ port }) => {
      const raw = new RawConnection(port, "127.0.0.2");
      raw.send(`GET /livez HTTP/1.1\r\nHost: 127.0.0.2:${port}\r\n\r\n`);
      assert.match(await raw.until("\r\n\r\n"), /200 OK/);
      raw.socket.destroy();
    },
    { host: "127.0.0.2" },
  ),
);

server(
  "server: a port that is taken is an error that says so",
  withServer(async ({ port }) => {
    const error = await failure({ port });
    assert.is(error.slug, "invalid-config");
    assert.match(error.detail, new RegExp(`127\\.0\\.0\\.1 port ${port}: another program`));
  }),
);

server("server: a host that is no address of this machine is an error that says so", async () => {
  const error = await failure({ host: "192.0.2.1", port: 0, insecure: true });
  assert.is(error.slug, "invalid-config");
  assert.match(error.detail, /192\.0\.2\.1/);
});

/** What starting a server fails with. */
async function failure(options: { host?: string; port: number; insecure?: boolean }) {
  const parts = await import("../src/runtime.ts");
  const { FakeApi } = await import("./fake_api.ts");
  const { silentReport } = await import("../src/capability.ts");
  try {
    const started = await startServer({
      api: new FakeApi(),
      clock: parts.realClock,
      random: parts.realRandom,
      report: silentReport,
      ...options,
    });
    await started.close();
  } catch (error) {
    if (error instanceof QuorateError) return error;
    throw error;
  }
  throw new Error("The server started.");
}

server.run();
