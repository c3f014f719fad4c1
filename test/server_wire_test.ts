/**
 * Plain requests served from their bytes: nobody can tell them from those that node:http parsed.
 *
 * Two connections to one server are told the same bytes. On one of them a request that is not plain
 * came first, so node:http has it; the other is read from its bytes as long as they are plain. What
 * they answer is compared to the last header, but for what differs from request to request.
 */
import * as fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { WireReader } from "../src/http_wire.ts";
import { RawConnection } from "./http_harness.ts";
import { type Harness, withServer } from "./server_harness.ts";

const wire = suite("server wire");

const last = "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/** The answers on a connection that node:http has, and on one that it has not, yet. */
async function both({ port }: Harness, pieces: readonly string[]): Promise<[string, string]> {
  const parsed = new RawConnection(port);
  parsed.send("GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
  await parsed.until("ok\n");
  const before = parsed.text.length;
  const plain = new RawConnection(port);
  const texts: string[] = [];
  for (const connection of [parsed, plain]) {
    for (const piece of [...pieces, last]) {
      connection.send(piece);
      await new Promise((resolve) => setImmediate(resolve));
    }
    texts.push(await connection.closed());
  }
  return [essence((texts[0] as string).slice(before)), essence(texts[1] as string)];
}

/** Header lines sorted, and without what differs between two equal requests. */
function essence(text: string): string {
  return text
    .replace(/"requestId":"[^"]*"/g, "")
    .replace(
      /Content-Length: \d+(?=[\s\S]*?problem\+json)|(?<=problem\+json\r\n)Content-Length: \d+/g,
      "",
    )
    .replace(/^(Date|Quorate-Request-Id|Server-Timing|ETag|Last-Modified): .*\r\n/gim, "")
    .split("\r\n")
    .sort()
    .join("\n");
}

const kv = "/v1/kv/default/a";
const put = (headers: string, body: string, target = kv) =>
  `PUT ${target} HTTP/1.1\r\n${headers}\r\n\r\n${body}`;
const ask = (method: string, target: string, headers = "Host: localhost") =>
  `${method} ${target} HTTP/1.1\r\n${headers}\r\n\r\n`;

const plain: readonly (readonly [name: string, requests: string])[] = [
  ["a put and a get", put("Host: localhost\r\nContent-Length: 3", "one") + ask("GET", kv)],
  [
    "metadata, a content type and a ttl",
    put(
      "Host: localhost\r\nContent-Type: text/x; a=b\r\nQuorate-Meta-X: y z\r\nQuorate-TTL: 60\r\nContent-Length: 0",
      "",
    ) + ask("GET", kv),
  ],
  ["a head", ask("HEAD", kv) + ask("HEAD", "/v1/kv/default/none")],
  [
    "a missing key, a key that is none, a namespace that is none",
    ask("GET", "/v1/kv/default/none") +
      ask("GET", "/v1/kv/default/../a") +
      ask("GET", "/v1/kv/none/a") +
      ask("GET", "/v1/kv/UP/a"),
  ],
  ["a delete twice", ask("DELETE", kv) + ask("DELETE", kv)],
  ["the seed's get", ask("GET", "/get?key=a") + ask("GET", "/get?key=none")],
  ["no Host, an empty Host, another Host", ask("GET", kv, "Accept: */*")],
  ["another Host", ask("GET", kv, "Host: e.example")],
  ["an empty Host", ask("GET", kv, "Host:")],
  ["a page of another origin", ask("DELETE", kv, "Host: localhost\r\nOrigin: http://e.example")],
  ["a version that is the client's", ask("GET", kv, "Host: localhost\r\nIf-None-Match: *")],
  ["conditions on a write", put("Host: localhost\r\nIf-Match: *\r\nContent-Length: 1", "x")],
  ["an encoded body", put("Host: localhost\r\nContent-Encoding: br\r\nContent-Length: 1", "x")],
  ["spaces around values", ask("GET", kv, "Host:   localhost  \r\nquorate-consistency:\tone\t")],
  ["a header twice", ask("GET", kv, "Host: localhost\r\nQuorate-R: 1\r\nQuorate-R: 1")],
  ["keep-alive said aloud", ask("GET", kv, "Host: localhost\r\nConnection: Keep-Alive")],
  ["a body on a GET", `${ask("GET", kv, "Host: localhost\r\nContent-Length: 3")}abc`],
  ["a chunked put", put("Host: localhost\r\nTransfer-Encoding: chunked", "3\r\nabc\r\n0\r\n\r\n")],
  ["100 Continue", put("Host: localhost\r\nExpect: 100-continue\r\nContent-Length: 3", "abc")],
  [
    "a value of 60,000 bytes",
    put("Host: localhost\r\nContent-Length: 60000", "v".repeat(60_000)) + ask("GET", kv),
  ],
  ["HTTP/1.0", `GET ${kv} HTTP/1.0\r\nHost: localhost\r\n\r\n`],
  ["a long head", ask("GET", kv, `Host: localhost\r\nX: ${"x".repeat(9000)}`)],
  ["too long a head", ask("GET", kv, `Host: localhost\r\nX: ${"x".repeat(20_000)}`)],
  ["a length that is none", put("Host: localhost\r\nContent-Length: +3", "abc")],
  ["two lengths", put("Host: localhost\r\nContent-Length: 3\r\nContent-Length: 4", "abcd")],
  [
    "a length and chunks",
    put("Host: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
  ],
  ["a folded header", ask("GET", kv, "Host: localhost\r\nX: a\r\n b")],
  ["a space before the colon", ask("GET", kv, "Host: localhost\r\nX : a")],
  ["a header without a name", ask("GET", kv, "Host: localhost\r\n: a")],
  ["a header without a colon", ask("GET", kv, "Host: localhost\r\nX")],
  ["a bare line feed", ask("GET", kv, "Host: localhost\nX: a")],
  ["a bare carriage return", ask("GET", kv, "Host: localhost\r\nX: a\rb")],
  ["a zero byte in a value", ask("GET", kv, "Host: localhost\r\nX: a\0b")],
  ["two spaces in the request line", `GET  ${kv} HTTP/1.1\r\nHost: localhost\r\n\r\n`],
  ["a space in the target", ask("GET", "/v1/kv/default/a b")],
  ["an upgrade", ask("GET", kv, "Host: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c")],
  ["a method in lower case", ask("get", kv)],
  ["an empty line first", `\r\n${ask("GET", kv)}`],
];
for (const [name, requests] of plain) {
  wire(
    `wire: ${name}: answered as by node:http`,
    withServer(async (harness) => {
      const [parsed, other] = await both(harness, [requests]);
      assert.is(other, parsed);
    }),
  );
}

wire(
  "wire: however the bytes are cut into pieces, the answers are those of node:http",
  withServer(async (harness) => {
    const requests =
      put("Host: localhost\r\nContent-Length: 3", "one") + ask("GET", kv) + ask("DELETE", kv);
    const cuts = fc.uniqueArray(fc.integer({ min: 1, max: requests.length - 1 }), { maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(cuts, async (given) => {
        const at = [0, ...given.sort((a, b) => a - b), requests.length];
        const pieces = at.slice(1).map((end, index) => requests.slice(at[index], end));
        const [parsed, other] = await both(harness, pieces);
        assert.is(other, parsed);
      }),
      { numRuns: 60 },
    );
  }),
);

wire(
  "wire: whatever byte of a request is another, the answer is that of node:http",
  withServer(async (harness) => {
    const request = put("Host: localhost\r\nContent-Length: 3\r\nX-A: b", "one");
    const head = request.indexOf("\r\n\r\n");
    const change = fc.record({
      at: fc.integer({ min: 0, max: head + 3 }),
      letter: fc.constantFrom(
        "\0",
        "\t",
        "\n",
        "\r",
        " ",
        ":",
        ",",
        "0",
        "9",
        "\x7f",
        "\x80",
        "é",
        '"',
        "a",
        "%",
      ),
    });
    await fc.assert(
      fc.asyncProperty(change, async ({ at, letter }) => {
        // A body that is longer than it was said to be is no request: whether the client hears so
        // depends on whether the answer before it is under way still.
        fc.pre(!(letter === "0" && at === request.indexOf("3\r\n")));
        const bytes = request.slice(0, at) + letter + request.slice(at + 1);
        // Both would wait for a body of 93 bytes, by a clock that stands still.
        fc.pre(!/Content-Length:\d\d/.test(bytes));
        const [parsed, other] = await both(harness, [bytes]);
        assert.is(other, parsed);
      }),
      { numRuns: 150 },
    );
  }),
);

wire(
  "server wire: a header of nothing but spaces costs no more time than others of its length",
  () => {
    const blank = " ".repeat(8000);
    const heads = [`X: ${blank}\x7f`, `X: a${blank}\x7f`, `X: ${"a ".repeat(4000)}\x7f`];
    const beganMs = performance.now();
    for (let round = 0; round < 20; round += 1) {
      for (const line of heads) {
        const head = `GET ${kv} HTTP/1.1\r\nHost: localhost\r\n${line}\r\n\r\n`;
        assert.is(new WireReader().read(Buffer.from(head, "latin1")), undefined);
      }
    }
    // With steps that go by the square of the length it takes more than half a second.
    const tookMs = performance.now() - beganMs;
    assert.ok(tookMs < 250, `${tookMs} ms`);
  },
);

for (const [way, first] of [
  ["its bytes", ""],
  ["node:http", "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"],
] as const) {
  wire(
    `server wire: a write on a connection that was closed for idling is not begun, read by ${way}`,
    withServer(async (harness) => {
      const connection = new RawConnection(harness.port);
      const put = (key: string) =>
        `PUT /v1/kv/default/${key} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nv`;
      connection.send(first + put("a"));
      await connection.until("204 No Content");
      await harness.settle();
      await harness.pass(119_500);
      // Our half is closed, and the client has not heard of it yet.
      harness.hand.advance(500);
      connection.send(put("b"));
      await harness.settle();
      await harness.pass(2000);
      await connection.closed();
      assert.is(harness.api.requests.length, 1, "nobody could be told of the second");
    }),
  );
}

wire.run();
