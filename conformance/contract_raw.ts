/**
 * Contract raw: bytes on a socket that no HTTP client would send.
 *
 * Each row says what is sent and what may come back. After each the server must still take a write
 * and give it back on a new connection. What was cut short or refused must not have been written.
 *
 * @module
 */

import assert from "node:assert/strict";
import type { Check } from "./checks.ts";
import { ask, RawConnection } from "./http_client.ts";
import { type Stand, stillAnswers } from "./stand.ts";

interface Row {
  readonly name: string;
  readonly send: string | Buffer;
  /** The statuses that may come; "closed" for an end without one, "open" for no end so far. */
  readonly answers: readonly (number | "closed" | "open")[];
}

const end = "\r\n\r\n";
const host = "Host: localhost\r\n";
const key = "/v1/kv/default/raw";
const put = (headers: string, body = "") => `PUT ${key} HTTP/1.1\r\n${host}${headers}\r\n${body}`;
const get = (headers = "") => `GET /livez HTTP/1.1\r\n${host}${headers}\r\n`;
const get2 = (line: string) => `${line}\r\n${host}\r\n`;

/** Broken HTTP/1.1: 400 as a problem document, then the connection ends. */
const broken: readonly (readonly [name: string, send: string | Buffer])[] = [
  ["a line that is not HTTP", `NONSENSE${end}`],
  ["a request line without a version", `GET /livez${end}`],
  ["a version of the future", `GET /livez HTTP/9.9\r\n${host}\r\n`],
  ["binary noise", Buffer.from(Uint8Array.from({ length: 512 }, (_, n) => (n * 167 + 13) % 256))],
  ["a TLS hello", Buffer.from("16030100c8010000c40303", "hex")],
  ["a NUL in the request line", get2("GET /li\0vez HTTP/1.1")],
  ["a space in the target", get2("GET /li vez HTTP/1.1")],
  ["a line break in a header value", get("X: a\rb\r\n")],
  ["a NUL in a header value", get("X: a\0b\r\n")],
  ["a header without a colon", get("Nonsense\r\n")],
  ["a space before the colon", get("X : a\r\n")],
  ["an empty header name", get(": a\r\n")],
  ["no Host", `GET /livez HTTP/1.1\r\nConnection: close${end}`],
  ["an empty Host", `GET /livez HTTP/1.1\r\nHost:\r\nConnection: close${end}`],
  ["a Host that is none", `GET /livez HTTP/1.1\r\nHost: a b\r\nConnection: close${end}`],
  ["two lengths that differ", put("Content-Length: 1\r\nContent-Length: 2\r\n", "ab")],
  ["a negative length", put("Content-Length: -1\r\n")],
  ["a length that is no number", put("Content-Length: 1x\r\n", "a")],
  ["a length beyond 2^64", put("Content-Length: 99999999999999999999999\r\n")],
  [
    "a length and chunks",
    put("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", `0${end}GET /smuggled`),
  ],
  ["a chunk size that is no number", put("Transfer-Encoding: chunked\r\n", "zz\r\n")],
  ["a chunk larger than it says", put("Transfer-Encoding: chunked\r\n", "1\r\nab\r\n0\r\n\r\n")],
  ["a chunk size beyond 2^64", put("Transfer-Encoding: chunked\r\n", `${"f".repeat(17)}\r\n`)],
  ["a transfer encoding that nobody knows", put("Transfer-Encoding: gzip\r\n", "x")],
];

const endLimitMs = 5000;
const piecewiseRounds = 10;
const piecewiseCount = 30;
const openLimitMs = 500;
const flood = "x".repeat(20 * 1024);

const rows: readonly Row[] = [
  ...broken.map(([name, send]): Row => ({ name, send, answers: [400] })),
  { name: "a head of 20 KiB in one header", send: get(`X: ${flood}\r\n`), answers: [431] },
  { name: "ten thousand headers", send: get("a: b\r\n".repeat(10_000)), answers: [431] },
  { name: "a target of 20 KiB", send: get2(`GET /${flood} HTTP/1.1`), answers: [431] },
  { name: "a header name of 20 KiB", send: get(`${flood}: a\r\n`), answers: [431] },
  { name: "a method of 20 KiB", send: flood, answers: [400, 431] },
  { name: "a method that nobody knows", send: get2("FROB /livez HTTP/1.1"), answers: [400, 405] },
  { name: "CONNECT", send: get2("CONNECT localhost:80 HTTP/1.1"), answers: [405] },
  {
    name: "half of an HTTP/2 preface",
    send: "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
    answers: ["closed"],
  },
  {
    name: "trailing chunk metadata without an end",
    send: put("Transfer-Encoding: chunked\r\n", `1;${"x".repeat(40_000)}`),
    // Node's parser has a limit for it; elsewhere the time for a body ends it.
    answers: [400, 413, 431, "open"],
  },
];

export function rawChecks(stand: Stand): Check[] {
  return [
    ...rows.map((row) => ({ name: row.name, run: () => seeRow(stand, row) })),
    ...wellFormed.map(([name, see]) => ({ name, run: () => withRaw(stand, see) })),
  ];
}

async function withRaw(
  stand: Stand,
  see: (raw: RawConnection, stand: Stand) => Promise<void>,
): Promise<void> {
  const raw = new RawConnection(stand.port);
  try {
    await see(raw, stand);
  } finally {
    raw.destroy();
  }
  await stillAnswers(stand);
}

function seeRow(stand: Stand, row: Row): Promise<void> {
  return withRaw(stand, async (raw) => {
    raw.send(row.send);
    const limitMs = row.answers.includes("open") ? openLimitMs : endLimitMs;
    const text = await raw.ended(limitMs).catch((error: unknown) => {
      if (row.answers.includes("open")) return raw.text;
      throw error;
    });
    // HTTP/2 says why in a frame.
    const status = Number(text.match(/^HTTP\/1\.1 (\d{3}) /)?.[1] ?? 0);
    const said = status !== 0 ? status : raw.isClosed ? "closed" : "open";
    assert.ok(row.answers.includes(said), `${said}: ${JSON.stringify(text.slice(0, 300))}`);
    if (status !== 0) seeProblem(text, status);
    const kept = await ask(stand.port, "HTTP/1.1", { target: key });
    assert.equal(kept.status, 404, "nothing was written");
  });
}

/** A whole problem document, and after it nothing (a second answer would be a smuggled one's). */
function seeProblem(text: string, status: number): void {
  const [head = "", ...rest] = text.split(end);
  assert.match(head, /^content-type: application\/problem\+json$/im);
  assert.match(head, /^connection: close$/im);
  const length = Number(head.match(/^content-length: (\d+)$/im)?.[1]);
  const body = rest.join(end);
  assert.equal(body.length, length);
  assert.equal(JSON.parse(Buffer.from(body, "latin1").toString()).status, status);
}

const has = (raw: RawConnection, text: string) => () => raw.text.includes(text);

async function absent({ port }: Stand): Promise<void> {
  const kept = await ask(port, "HTTP/1.1", { target: key });
  assert.equal(kept.status, 404, `what was not whole was written: ${kept.text}`);
}

const wellFormed: readonly (readonly [
  name: string,
  see: (raw: RawConnection, stand: Stand) => Promise<void>,
])[] = [
  [
    "a hundred requests in one write are answered in order",
    async (raw) => {
      const names = Array.from({ length: 100 }, (_, n) => `id-${n};`);
      raw.send(names.map((name) => get(`Quorate-Request-Id: ${name}\r\n`)).join(""));
      await raw.until(() => raw.text.split("ok\n").length === 101);
      const ids = [...raw.text.matchAll(/quorate-request-id: (\S+)/gi)].map((match) => match[1]);
      assert.deepEqual(ids, names);
    },
  ],
  [
    "a request one byte at a time",
    async (raw) => {
      for (const letter of get()) {
        raw.send(letter);
        await new Promise((settle) => setImmediate(settle));
      }
      await raw.until(has(raw, "ok\n"));
    },
  ],
  [
    "HTTP/1.0 is answered, and the connection ends",
    async (raw) => {
      raw.send(`GET /livez HTTP/1.0${end}`);
      assert.match(await raw.ended(), /^HTTP\/1\.[01] 200 [\s\S]*ok\n/);
    },
  ],
  [
    "a client that closes its half after the request gets its answer",
    async (raw) => {
      raw.socket.end(get("Connection: close\r\n"));
      assert.match(await raw.ended(), /200 [\s\S]*ok\n/);
    },
  ],
  [
    "Expect: 100-continue is continued for a body that is welcome",
    async (raw) => {
      raw.send(put("Content-Length: 2\r\nExpect: 100-continue\r\n"));
      await raw.until(has(raw, "100 Continue\r\n\r\n"));
      raw.send("ok");
      await raw.until(has(raw, " 204 "));
      const gone = `DELETE ${key} HTTP/1.1\r\n${host}\r\n`;
      raw.send(gone);
      await raw.until(() => raw.text.split(" 204 ").length === 3);
    },
  ],
  [
    "a body whose pieces come one by one, after a plain request",
    async (_raw, stand) => {
      // What is behind the head arrives while the connection changes hands: the order must hold.
      const piecewise = async () => {
        const raw = new RawConnection(stand.port);
        raw.socket.setNoDelay();
        raw.send(`GET ${key}-pieces HTTP/1.1\r\n${host}\r\n`);
        await raw.until(has(raw, end));
        const head = `PUT ${key}-pieces HTTP/1.1\r\n${host}Transfer-Encoding: chunked${end}`;
        for (const piece of [
          `${head}4\r\none `,
          "\r\n4\r\ntwo ",
          "\r\n5\r\nthree",
          `\r\n0${end}`,
        ]) {
          raw.send(piece);
          await new Promise((settle) => setImmediate(settle));
        }
        await raw.until(() => /HTTP\/1\.1 [\s\S]*HTTP\/1\.1 /.test(raw.text));
        assert.match(raw.text, /HTTP\/1\.1 [\s\S]*HTTP\/1\.1 204 /);
        raw.destroy();
      };
      for (let round = 0; round < piecewiseRounds; round += 1) {
        await Promise.all(Array.from({ length: piecewiseCount }, piecewise));
      }
      const kept = await ask(stand.port, "HTTP/1.1", { target: `${key}-pieces` });
      assert.equal(kept.text, "one two three");
    },
  ],
  [
    "an upgrade is ignored",
    async (raw) => {
      raw.send(get("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AA==\r\n"));
      await raw.until(has(raw, "ok\n"));
      assert.match(raw.text, /^HTTP\/1\.1 200 /);
    },
  ],
  [
    "a target with a scheme and a host is the path in it",
    async (raw) => {
      raw.send(`GET http://localhost/livez HTTP/1.1\r\n${host}\r\n`);
      await raw.until(has(raw, "ok\n"));
    },
  ],
  [
    "a body that is cut short is not a value",
    async (raw, stand) => {
      raw.socket.end(put("Content-Length: 10\r\n", "half"));
      // Nothing more can come: the time for a body is not waited for.
      assert.match(await raw.ended(), /^HTTP\/1\.1 400 |^$/);
      await absent(stand);
    },
  ],
  [
    "a chunked body that is cut short is not a value",
    async (raw, stand) => {
      raw.socket.end(put("Transfer-Encoding: chunked\r\n", "4\r\nhalf\r\n"));
      // Nothing more can come: the time for a body is not waited for.
      assert.match(await raw.ended(), /^HTTP\/1\.1 400 |^$/);
      await absent(stand);
    },
  ],
  [
    "a connection that is reset in the middle of a body",
    async (raw, stand) => {
      raw.send(put("Content-Length: 10\r\n", "half"));
      await raw.sendSlowly("");
      raw.socket.resetAndDestroy();
      await absent(stand);
    },
  ],
  [
    "a body of more than is allowed, in endless chunks, is stopped",
    async (raw, stand) => {
      raw.send(put("Transfer-Encoding: chunked\r\n"));
      const chunk = `10000\r\n${"x".repeat(0x10000)}\r\n`;
      for (let count = 0; count < 1000 && !raw.isClosed; count += 1) await raw.sendSlowly(chunk);
      assert.match(await raw.ended(), /^HTTP\/1\.1 413 [\s\S]*value-too-large/);
      await absent(stand);
    },
  ],
  [
    "a head that never ends is stopped",
    async (raw) => {
      raw.send(`GET /livez HTTP/1.1\r\n${host}`);
      for (let count = 0; count < 10_000 && !raw.isClosed; count += 1) {
        await raw.sendSlowly("X: y\r\n".repeat(100));
      }
      assert.match(await raw.ended(), /^HTTP\/1\.1 431 |^$/);
    },
  ],
  [
    "two hundred connections that say nothing and leave",
    async (_raw, { port }) => {
      const raws = Array.from({ length: 200 }, () => new RawConnection(port));
      for (const [index, one] of raws.entries()) {
        if (index % 2 === 0) one.destroy();
        else one.socket.resetAndDestroy();
      }
    },
  ],
];
