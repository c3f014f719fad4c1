/**
 * What only shows on the wire: bodies that are too large, never end or are cut off, and whether the
 * direct path and the path through Hono can be told apart. Timers are fired by hand.
 */
import { once } from "node:events";
import * as http2 from "node:http2";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Budget } from "../src/admission.ts";
import { AssertionError } from "../src/assert.ts";
import { type Ask, Edge, eventually, type Heard, type Protocol } from "./http_harness.ts";

const test = suite("http hot");

for (const hotPath of [true, false]) {
  const path = hotPath ? "direct" : "Hono";
  const wireTest = (name: string, run: (edge: Edge) => Promise<void>, protocol?: Protocol) =>
    test(`${name} [${path}]`, async () => {
      const edge = await Edge.open({ hotPath, ...(protocol === undefined ? {} : { protocol }) });
      try {
        await run(edge);
      } finally {
        await edge.close();
      }
    });

  wireTest(
    "a declared length over the limit is refused before any of the body comes",
    async (edge) => {
      const connection = edge.raw();
      connection.send("PUT /v1/kv/default/a HTTP/1.1\r\nHost: localhost\r\n");
      connection.send("Content-Length: 1048577\r\n\r\n");
      const text = await connection.until('"limit":1048576');
      assert.match(text, /^HTTP\/1.1 413 /);
      assert.match(text, "Connection: close");
      // The client goes on for a while; the answer was whole, and then the connection ends.
      await eventually(() => edge.clock.timers > 0);
      edge.clock.advance(1000);
      await connection.closed();
      assert.is(edge.api.requests.length, 0);
    },
  );

  wireTest("a body without a length is refused as soon as it is over the limit", async (edge) => {
    const connection = edge.raw();
    connection.send("PUT /v1/kv/default/a HTTP/1.1\r\nHost: localhost\r\n");
    connection.send("Transfer-Encoding: chunked\r\n\r\n");
    const chunk = `10000\r\n${"x".repeat(0x10000)}\r\n`;
    for (let count = 0; count < 16; count += 1) connection.send(chunk);
    connection.send("1\r\nx\r\n");
    // The last chunk that ends a body never comes.
    const text = await connection.until('"limit":1048576');
    assert.match(text, /^HTTP\/1.1 413 /);
    for (let count = 0; count < 200; count += 1) connection.send(chunk);
    await connection.closed();
    assert.is(edge.api.requests.length, 0);
  });

  wireTest("a refused body that ends soon leaves the client its answer", async (edge) => {
    const value = new Uint8Array(3 * 1024 * 1024);
    for (let round = 0; round < 5; round += 1) {
      const heard = await edge.put("/v1/kv/default/a", value);
      assert.is(heard.status, 413);
      assert.is(JSON.parse(heard.text).limit, 1024 * 1024);
    }
  });

  wireTest("a small body that nobody reads does not cost the connection", async (edge) => {
    const connection = edge.raw();
    const ask = "PUT /v1/kv/none/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello";
    connection.send(ask);
    await connection.until("namespace-not-found");
    connection.send("GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await connection.until("ok\n");
    assert.not.match(connection.text, "Connection: close");
    connection.socket.destroy();
  });

  wireTest(
    "a body that never ends is 408 after its time, and nothing was written",
    async (edge) => {
      const connection = edge.raw();
      connection.send("PUT /v1/kv/default/a HTTP/1.1\r\nHost: localhost\r\n");
      connection.send("Content-Length: 10\r\n\r\n12345");
      await eventually(() => edge.clock.timers > 0);
      edge.clock.advance(4999);
      assert.is(connection.text, "");
      edge.clock.advance(1);
      const text = await connection.until("request-timeout");
      assert.match(text, /^HTTP\/1.1 408 /);
      assert.match(text, '"outcome":"none"');
      await eventually(() => edge.clock.timers > 0);
      edge.clock.advance(1000);
      await connection.closed();
      assert.is(edge.api.requests.length, 0);
    },
  );

  wireTest("a body that is cut off is never written", async (edge) => {
    for (const length of ["Content-Length: 99", "Transfer-Encoding: chunked"]) {
      const connection = edge.raw();
      connection.send(`PUT /v1/kv/default/a HTTP/1.1\r\nHost: localhost\r\n${length}\r\n\r\n`);
      connection.send("5\r\nhello\r\n");
      await eventually(() => edge.clock.timers > 0);
      connection.socket.destroy();
      await eventually(() => edge.connections === 0 && edge.clock.timers === 0);
    }
    assert.is(edge.api.requests.length, 0);
  });

  wireTest(
    "an HTTP/2 stream that is reset in its body is never written",
    async (edge) => {
      const session = edge.session();
      const stream = session.request(
        { ":method": "PUT", ":path": "/v1/kv/default/a" },
        { endStream: false },
      );
      stream.on("error", () => {});
      stream.write("hello");
      await eventually(() => edge.clock.timers > 0);
      // Destroying with an error resets the stream without ending its body first.
      stream.destroy(new Error("gone"));
      await eventually(() => edge.clock.timers === 0);
      assert.is(edge.api.requests.length, 0);
      assert.is((await edge.ask("/livez")).status, 200);
    },
    "HTTP/2",
  );

  wireTest(
    "over HTTP/2 a body over the limit is refused and the session goes on",
    async (edge) => {
      const stream = edge
        .session()
        .request({ ":method": "PUT", ":path": "/v1/kv/default/a" }, { endStream: false });
      stream.on("error", () => {});
      const status = new Promise<number>((resolve) => {
        stream.on("response", (head) => resolve(Number(head[":status"])));
      });
      const chunk = new Uint8Array(0x10000);
      const pour = () => {
        while (!stream.destroyed && stream.write(chunk));
      };
      stream.on("drain", pour);
      stream.resume();
      pour();
      assert.is(await status, 413);
      stream.destroy();
      assert.is((await edge.ask("/livez")).status, 200);
      assert.is(edge.api.requests.length, 0);
    },
    "HTTP/2",
  );

  wireTest("a client that takes nothing of a stream is let go after a while", async (edge) => {
    const value = "v".repeat(60_000);
    for (let index = 0; index < 200; index += 1) await edge.put(`/v1/kv/default/${index}`, value);
    const connection = edge.raw();
    connection.socket.pause();
    connection.send("GET /v1/keys/default?values=1&limit=10 HTTP/1.1\r\nHost: localhost\r\n");
    connection.send("Accept: application/x-ndjson\r\n\r\n");
    const before = edge.api.requests.length;
    // The stream stops by itself when the sockets between are full.
    let pages = -1;
    while (pages !== edge.api.requests.length) {
      pages = edge.api.requests.length;
      for (let turn = 0; turn < 200; turn += 1)
        await new Promise((resolve) => setImmediate(resolve));
    }
    assert.ok(pages - before < 20, "backpressure: not every page was read");
    assert.is(edge.clock.timers, 1);
    edge.clock.advance(5000);
    await eventually(() => edge.connections === 0);
    connection.socket.destroy();
  });

  wireTest(
    "a refused HTTP/2 body that ends soon is dropped, and its stream is not reset",
    async (edge) => {
      // curl takes a reset that comes with the answer for an error of its own, and shows no answer.
      const value = new Uint8Array(3 * 1024 * 1024);
      const stream = edge.session().request({
        ":method": "PUT",
        ":path": "/v1/kv/default/a",
        "content-length": String(value.length),
      });
      let isAborted = false;
      stream.on("aborted", () => {
        isAborted = true;
      });
      stream.write(value.subarray(0, 1000));
      const chunks: Uint8Array[] = [];
      stream.on("data", (chunk: Uint8Array) => chunks.push(chunk));
      await once(stream, "end");
      assert.match(Buffer.concat(chunks).toString(), '"limit":1048576');
      stream.end(value.subarray(1000));
      await once(stream, "close");
      assert.not.ok(isAborted);
      await eventually(() => edge.clock.timers === 0);
    },
    "HTTP/2",
  );

  wireTest(
    "a refused HTTP/2 body that never ends has its stream reset, without an error",
    async (edge) => {
      const headers = {
        ":method": "PUT",
        ":path": "/v1/kv/default/a",
        "content-length": "2000000",
      };
      const stream = edge.session().request(headers);
      stream.write(new Uint8Array(1000));
      stream.resume();
      await once(stream, "end");
      await eventually(() => edge.clock.timers > 0);
      edge.clock.advance(1000);
      await once(stream, "close");
      assert.is(stream.rstCode, http2.constants.NGHTTP2_NO_ERROR);
    },
    "HTTP/2",
  );

  wireTest("a client that leaves before its answer troubles nobody", async (edge) => {
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const get = edge.api.get.bind(edge.api);
    edge.api.get = async (request) => {
      await held;
      return get(request);
    };
    const connection = edge.raw();
    connection.send("GET /v1/kv/default/a HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await eventually(() => edge.connections === 1);
    connection.socket.destroy();
    await eventually(() => edge.connections === 0);
    release();
    assert.is((await edge.ask("/livez")).status, 200);
  });

  wireTest(
    "an absolute target is served by its path, and its host is the one that counts",
    async (edge) => {
      await edge.put("/v1/kv/default/a", "1");
      const ask = async (target: string) => {
        const connection = edge.raw();
        connection.send(`GET ${target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
        return connection.closed();
      };
      assert.match(await ask("http://127.0.0.1/v1/kv/default/a"), /^HTTP\/1.1 200 /);
      assert.match(await ask("http://evil.example/v1/kv/default/a"), /^HTTP\/1.1 421 /);
      assert.match(await ask("ftp://localhost/x"), /^HTTP\/1.1 400 /);
    },
  );

  wireTest("HTTP/1.0 without a Host is served", async (edge) => {
    const connection = edge.raw();
    connection.send("GET /livez HTTP/1.0\r\n\r\n");
    assert.match(await connection.closed(), /^HTTP\/1.1 200 /);
  });
}

const etag = '"018bcfe5687b0001-000000000000abcd"';
const asks: readonly Ask[] = [
  { method: "PUT", target: "/v1/kv/default/a", body: "one", headers: { "quorate-meta-x": "y" } },
  { target: "/v1/kv/default/a" },
  { target: "/v1/kv/default/a?consistency=one&explain=1" },
  { target: "/v1/kv/default/a", headers: { "if-none-match": etag } },
  { target: "/v1/kv/default/a", headers: { "if-match": '"other"' } },
  { method: "HEAD", target: "/v1/kv/default/a" },
  { method: "HEAD", target: "/v1/kv/default/b" },
  { target: "/v1/kv/default/%00%FF//" },
  { target: "/v1/kv/default/../a" },
  { target: "/v1/kv/default?key64=YQ" },
  { target: "/v1/kv/default?key=a&key=a" },
  { target: "/v1/kv/default" },
  { target: "/v1/kv/" },
  { target: "/v1/kv//a" },
  { target: "/v1/kv?key=a" },
  { target: "/v1/kv/none/a" },
  { target: "/v1/kv/UPPER/a" },
  { target: `/v1/kv/default/${"x".repeat(1025)}` },
  { target: "/get?key=a" },
  { target: "/get?key=b" },
  { target: "/get?" },
  { target: "/get" },
  { method: "HEAD", target: "/get?key=a" },
  { method: "POST", target: "/get?key=a", body: "x" },
  { method: "POST", target: "/v1/kv/default/a", body: "x" },
  { method: "OPTIONS", target: "/v1/kv/default/a" },
  { method: "PUT", target: "/v1/kv/default/a", body: "x", headers: { "if-match": etag } },
  { method: "PUT", target: "/v1/kv/default/a", body: "x", headers: { "content-encoding": "br" } },
  { method: "PUT", target: "/v1/kv/default/a", body: "x", headers: { origin: "http://e.example" } },
  { method: "PUT", target: "/v1/kv/default/a", body: "x", headers: { host: "e.example" } },
  { method: "PUT", target: "/v1/kv/default/a", body: "x", headers: { host: "e.example/x" } },
  {
    method: "PUT",
    target: "/v1/kv/default/b?ttl=9&w=1",
    body: "",
    headers: { "quorate-ttl": "8" },
  },
  { method: "DELETE", target: "/v1/kv/default/a?w=x" },
  { method: "DELETE", target: "/v1/kv/default/a", body: "ignored" },
  { target: "/v1/kv/default/a", headers: { "quorate-request-id": "r".repeat(65) } },
];

for (const protocol of ["HTTP/1.1", "HTTP/2"] as const) {
  test(`the two paths answer the same to the last header [${protocol}]`, async () => {
    const direct = await Edge.open({ hotPath: true, protocol });
    const hono = await Edge.open({ hotPath: false, protocol });
    try {
      const essence = ({ status, headers, text }: Heard) => ({ status, headers, text });
      for (const ask of asks) {
        // HTTP/2 itself refuses an authority that is none.
        if (protocol === "HTTP/2" && ask.headers?.["host"] === "e.example/x") continue;
        const heard = essence(await direct.ask(ask));
        assert.equal(heard, essence(await hono.ask(ask)), `${ask.method ?? "GET"} ${ask.target}`);
      }
      assert.equal(direct.api.requests, hono.api.requests);
    } finally {
      await direct.close();
      await hono.close();
    }
  });
}

test("the bodies of all requests together have a bound, and past it a PUT is 503 at once", async () => {
  const edge = await Edge.open({
    settings: { bodies: new Budget({ requestsMax: 10, bytesMax: 1_500_000 }) },
  });
  try {
    const connection = edge.raw();
    connection.send("PUT /v1/kv/default/slow HTTP/1.1\r\nHost: localhost\r\n");
    connection.send("Content-Length: 1000001\r\n\r\n");
    connection.send(new Uint8Array(1_000_000));
    await eventually(() => edge.clock.timers > 0);
    const value = new Uint8Array(1_000_000);
    let refused = await edge.put("/v1/kv/default/b", value);
    // The first body may still be on its way; it is there at the latest when a second is refused.
    while (refused.status === 204) refused = await edge.put("/v1/kv/default/b", value);
    assert.is(refused.status, 503);
    assert.is(refused.headers["retry-after"], "1");
    assert.is(JSON.parse(refused.text).outcome, "none");
    assert.is((await edge.put("/v1/kv/default/c", "small")).status, 204);
    connection.send("x");
    await connection.until("204");
    connection.socket.destroy();
    assert.is((await edge.put("/v1/kv/default/b", value)).status, 204);
  } finally {
    await edge.close();
  }
});

test("a record whose type or metadata no header can carry is served without them", async () => {
  const edge = await Edge.open();
  try {
    const meta = [
      ["good", "1"],
      ["bad", "1\r\nInjected: 1"],
      ["bad name", "1"],
    ] as const;
    const about = { namespace: "default", requestId: "r", key: Uint8Array.of(97), meta };
    const contentType = "text/html\r\nInjected: 1";
    await edge.api.put({ ...about, value: Uint8Array.of(1), contentType });
    const heard = await edge.ask("/v1/kv/default/a");
    assert.is(heard.status, 200);
    assert.is(heard.headers["content-type"], "application/octet-stream");
    assert.is(heard.headers["quorate-meta-good"], "1");
    assert.is(heard.headers["quorate-meta-bad"], undefined);
    assert.is(heard.headers["injected"], undefined);
  } finally {
    await edge.close();
  }
});

test("over HTTP/2 a stream that fails is reset after its error line", async () => {
  const edge = await Edge.open({ protocol: "HTTP/2" });
  try {
    await edge.put("/v1/kv/default/a", "1");
    await edge.put("/v1/kv/default/b", "1");
    edge.api.pagesBeforeFailure = 1;
    edge.api.failure = new Error("surprise");
    const stream = edge.session().request({
      ":path": "/v1/keys/default?limit=1",
      accept: "application/x-ndjson",
    });
    let text = "";
    stream.setEncoding("utf8");
    stream.on("data", (chunk: string) => {
      text += chunk;
    });
    stream.on("error", () => {});
    await new Promise<void>((resolve) => stream.on("close", () => resolve()));
    assert.match(text, '{"error":{"type":"/problems/internal"');
    assert.is(stream.rstCode, http2.constants.NGHTTP2_INTERNAL_ERROR);
  } finally {
    await edge.close();
  }
});

test("an invariant that breaks in the middle of a list is nobody's answer: it ends the process", async () => {
  const edge = await Edge.open();
  try {
    await edge.put("/v1/kv/default/a", "1");
    await edge.put("/v1/kv/default/b", "1");
    edge.api.pagesBeforeFailure = 1;
    edge.api.failure = new AssertionError("Broken invariant: a test");
    let thrown: unknown;
    const rejected = (reason: unknown) => {
      thrown = reason;
    };
    process.once("unhandledRejection", rejected);
    const connection = edge.raw();
    connection.send("GET /v1/keys/default?limit=1 HTTP/1.1\r\nHost: localhost\r\n");
    connection.send("Accept: application/x-ndjson\r\n\r\n");
    const text = await connection.closed();
    await edge.ask("/livez");
    process.off("unhandledRejection", rejected);
    assert.not.match(text, "problems/internal");
    assert.is(thrown, edge.api.failure);
  } finally {
    await edge.close();
  }
});

test("no more pages are read for a client that left while one was read, on either protocol", async () => {
  for (const protocol of ["HTTP/1.1", "HTTP/2"] as const) {
    const edge = await Edge.open({ protocol });
    try {
      for (const key of "abcdefgh") await edge.put(`/v1/kv/default/${key}`, "1");
      const list = edge.api.list.bind(edge.api);
      let pages = 0;
      let goOn: () => void = () => {};
      edge.api.list = async (request) => {
        pages += 1;
        if (pages === 2) {
          await new Promise<void>((resolve) => {
            goOn = resolve;
          });
        }
        return list(request);
      };
      const target = "/v1/keys/default?limit=1";
      const accept = "application/x-ndjson";
      let leave: () => void;
      if (protocol === "HTTP/2") {
        const stream = edge.session().request({ ":path": target, accept });
        stream.on("error", () => {});
        stream.resume();
        leave = () => stream.close(http2.constants.NGHTTP2_CANCEL);
      } else {
        const connection = edge.raw();
        connection.send(`GET ${target} HTTP/1.1\r\nHost: localhost\r\nAccept: ${accept}\r\n\r\n`);
        leave = () => connection.socket.destroy();
      }
      await eventually(() => pages === 2);
      leave();
      for (let round = 0; round < 3; round += 1) await edge.ask("/livez");
      goOn();
      for (let round = 0; round < 3; round += 1) await edge.ask("/livez");
      assert.is(pages, 2, protocol);
    } finally {
      await edge.close();
    }
  }
});

test.run();
