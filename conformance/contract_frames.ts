/**
 * Contract frames: HTTP/2 that no client would send.
 *
 * Frames are written by hand, headers as HPACK literals. Each row says what is sent after the
 * preface and what must follow: the connection ends (with a GOAWAY or without), the stream is reset,
 * or a normal answer. After each the server must still take a write and give it back.
 *
 * @module
 */

import assert from "node:assert/strict";
import { once } from "node:events";
import * as http2 from "node:http2";
import type { Check } from "./checks.ts";
import { ask, RawConnection } from "./http_client.ts";
import { type Stand, stillAnswers } from "./stand.ts";

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const kind = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  push: 5,
  ping: 6,
  goaway: 7,
  window: 8,
  continuation: 9,
} as const;
const endStream = 1;
const endHeaders = 4;

export function frame(type: number, flags: number, stream: number, payload: Uint8Array): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

const u32 = (value: number) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};
const none = Buffer.alloc(0);
const settings = frame(kind.settings, 0, 0, none);

/** Header fields as literals without indexing and without Huffman. */
export function hpack(fields: readonly (readonly [name: string, value: string])[]): Buffer {
  return Buffer.concat(
    fields.flatMap(([name, value]) => [Buffer.of(0), hpackText(name), hpackText(value)]),
  );
}

function hpackText(text: string): Buffer {
  const bytes = Buffer.from(text, "latin1");
  if (bytes.length < 127) return Buffer.concat([Buffer.of(bytes.length), bytes]);
  const length = [127];
  let rest = bytes.length - 127;
  for (; rest >= 128; rest = rest >> 7) length.push((rest & 127) | 128);
  return Buffer.concat([Buffer.from([...length, rest]), bytes]);
}

type Fields = readonly (readonly [string, string])[];

const request = (method: string, path: string, more: Fields = []): Fields => [
  [":method", method],
  [":scheme", "http"],
  [":authority", "localhost"],
  [":path", path],
  ...more,
];

export function headers(stream: number, fields: Fields, flags: number = endStream): Buffer {
  return frame(kind.headers, endHeaders | flags, stream, hpack(fields));
}

const getLive = (stream: number) => headers(stream, request("GET", "/livez"));
const putKey = "/v1/kv/default/frames";
const putHead = (more: Fields = [], stream = 1) => headers(stream, request("PUT", putKey, more), 0);

interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

/** The whole frames that have come. */
export function framesIn(bytes: Buffer): Frame[] {
  const frames: Frame[] = [];
  for (let at = 0; at + 9 <= bytes.length; ) {
    const end = at + 9 + bytes.readUIntBE(at, 3);
    if (end > bytes.length) break;
    const [type = 0, flags = 0] = [bytes[at + 3], bytes[at + 4]];
    const stream = bytes.readUInt32BE(at + 5) & 0x7fffffff;
    frames.push({ type, flags, stream, payload: bytes.subarray(at + 9, end) });
    at = end;
  }
  return frames;
}

/** `survives`: whatever comes, or nothing; where runtimes differ, or nothing has to be said. */
type After = "ends" | "reset" | "answered" | "survives";

interface Row {
  readonly name: string;
  readonly send: readonly Uint8Array[];
  /** `ends`: a GOAWAY or the end of the connection; `reset`: that, or of stream 1. */
  readonly after: After;
}

const repeat = (count: number, one: Uint8Array) => Buffer.concat(Array(count).fill(one));

const resets = (count: number) =>
  Buffer.concat(
    Array.from({ length: count }, (_, n) =>
      Buffer.concat([getLive(2 * n + 1), frame(kind.reset, 0, 2 * n + 1, u32(8))]),
    ),
  );

const big = "x".repeat(4000);
/** One indexed header of 4,000 bytes, then a thousand references to it, a byte each. */
const bomb = Buffer.concat([
  hpack(request("GET", "/livez")),
  Buffer.of(0x40),
  hpackText("x-bomb"),
  hpackText(big),
  Buffer.alloc(4000, 0x80 | 62),
]);

const endless = Buffer.concat([
  frame(kind.headers, 0, 1, hpack(request("GET", "/livez"))),
  repeat(2000, frame(kind.continuation, 0, 1, hpack([["x-endless", big]]))),
]);

const protocolErrors: readonly Row[] = [
  ["HEADERS on stream 0", headers(0, request("GET", "/livez"))],
  ["HEADERS on an even stream", getLive(2)],
  ["DATA on stream 0", frame(kind.data, 0, 0, Buffer.from("x"))],
  ["CONTINUATION without HEADERS", frame(kind.continuation, endHeaders, 1, none)],
  [
    "another frame in the middle of a head",
    Buffer.concat([frame(kind.headers, 0, 1, none), frame(kind.ping, 0, 0, Buffer.alloc(8))]),
  ],
  ["PUSH_PROMISE from a client", frame(kind.push, endHeaders, 1, u32(2))],
  ["SETTINGS of a wrong length", frame(kind.settings, 0, 0, Buffer.alloc(5))],
  ["SETTINGS on a stream", frame(kind.settings, 0, 1, none)],
  ["SETTINGS: an answer with a payload", frame(kind.settings, 1, 0, Buffer.alloc(6))],
  [
    "SETTINGS: a frame size that is too small",
    frame(kind.settings, 0, 0, Buffer.from("000500000001", "hex")),
  ],
  [
    "SETTINGS: a window beyond 2^31",
    frame(kind.settings, 0, 0, Buffer.from("0004ffffffff", "hex")),
  ],
  ["PING of a wrong length", frame(kind.ping, 0, 0, Buffer.alloc(7))],
  ["PING on a stream", frame(kind.ping, 0, 1, Buffer.alloc(8))],
  ["WINDOW_UPDATE of 0 for the connection", frame(kind.window, 0, 0, u32(0))],
  [
    "WINDOW_UPDATE beyond 2^31 for the connection",
    repeat(2, frame(kind.window, 0, 0, u32(0x7fffffff))),
  ],
  ["RST_STREAM of a stream that is not open", frame(kind.reset, 0, 1, u32(8))],
  ["HPACK that is noise", frame(kind.headers, endHeaders | endStream, 1, Buffer.alloc(64, 0xff))],
  ["a padding longer than its frame", frame(kind.data, 8, 1, Buffer.of(255, 1))],
  [
    "a frame that says it has 16 MiB",
    Buffer.concat([Buffer.from("ffffff000000000001", "hex"), Buffer.alloc(65_536)]),
  ],
].map(([name, send]) => ({ name: name as string, send: [send as Buffer], after: "ends" }));

const streamErrors: readonly Row[] = [
  ["DATA on a stream that is not open", frame(kind.data, endStream, 1, Buffer.from("x"))],
  [
    "no :path",
    headers(1, [
      [":method", "GET"],
      [":scheme", "http"],
    ]),
  ],
  ["two :path", headers(1, request("GET", "/livez", [[":path", "/get"]]))],
  ["a pseudo header that nobody knows", headers(1, request("GET", "/livez", [[":x", "1"]]))],
  ["a name in capitals", headers(1, request("GET", "/livez", [["X-Upper", "1"]]))],
  ["a header of the connection", headers(1, request("GET", "/livez", [["connection", "close"]]))],
  [
    "a length that the body does not have",
    Buffer.concat([
      putHead([["content-length", "5"]]),
      frame(kind.data, endStream, 1, Buffer.from("xy")),
    ]),
  ],
  ["a head that is a bomb (16 MB from 8 KB)", frame(kind.headers, endHeaders | endStream, 1, bomb)],
  ["a head of 8 MB in endless CONTINUATIONs", endless],
].map(([name, send]) => ({ name: name as string, send: [send as Buffer], after: "reset" }));

const floods: readonly Row[] = [
  ["a stream number that goes back", [getLive(5), getLive(3)], "survives"],
  [
    "a line break in a value",
    [headers(1, request("GET", "/livez", [["x", "a\r\nb"]]))],
    "survives",
  ],
  [
    "a stream that depends on itself",
    [frame(kind.priority, 0, 1, Buffer.from("0000000110", "hex"))],
    "survives",
  ],
  [
    "a body that is reset half-way",
    [putHead(), frame(kind.data, 0, 1, Buffer.from("half")), frame(kind.reset, 0, 1, u32(8))],
    "survives",
  ],
  ["rapid reset: 20,000 requests, each taken back", [resets(20_000)], "ends"],
  ["100,000 PINGs", [repeat(100_000, frame(kind.ping, 0, 0, Buffer.alloc(8)))], "ends"],
  ["50,000 SETTINGS", [repeat(50_000, settings)], "ends"],
  [
    "one SETTINGS with 2,000 entries",
    [frame(kind.settings, 0, 0, repeat(2000, Buffer.from("00030000007f", "hex")))],
    "ends",
  ],
  [
    "20,000 PRIORITYs",
    [repeat(20_000, frame(kind.priority, 0, 1, Buffer.from("0000000010", "hex")))],
    "survives",
  ],
  [
    "50,000 empty DATA frames",
    [putHead(), repeat(50_000, frame(kind.data, 0, 1, none))],
    "survives",
  ],
  [
    "20,000 frames of a kind that nobody knows",
    [repeat(20_000, frame(99, 0, 0, Buffer.alloc(8)))],
    "survives",
  ],
  [
    "5,000 requests at once",
    [Buffer.concat(Array.from({ length: 5000 }, (_, n) => getLive(2 * n + 1)))],
    "survives",
  ],
].map(([name, send, after]) => ({ name, send, after }) as Row);

const normal: readonly Row[] = [
  {
    name: "a frame of a kind that nobody knows is passed over",
    send: [frame(99, 0, 0, Buffer.alloc(8)), getLive(1)],
    after: "answered",
  },
  { name: "a head in pieces", send: [inPieces()], after: "answered" },
  { name: "a padded head", send: [padded()], after: "answered" },
];

/** Four frames; many more are refused by some, because a flood of them is an attack. */
function inPieces(): Buffer {
  const block = hpack(request("GET", "/livez"));
  return Buffer.concat([
    frame(kind.headers, endStream, 1, block.subarray(0, 1)),
    frame(kind.continuation, 0, 1, none),
    frame(kind.continuation, 0, 1, block.subarray(1, 20)),
    frame(kind.continuation, endHeaders, 1, block.subarray(20)),
  ]);
}

function padded(): Buffer {
  const payload = Buffer.concat([
    Buffer.of(100),
    hpack(request("GET", "/livez")),
    Buffer.alloc(100),
  ]);
  return frame(kind.headers, endHeaders | endStream | 8, 1, payload);
}

/** How much of a flood is written before looking whether the connection has ended. */
const pieceBytes = 64 * 1024;
const endLimitMs = 5000;

export function frameChecks(stand: Stand): Check[] {
  const rows = [...normal, ...protocolErrors, ...streamErrors, ...floods];
  return [
    ...rows.map((row) => ({ name: row.name, run: () => seeRow(stand, row) })),
    { name: "a wrong preface ends the connection", run: () => seeWrongPreface(stand) },
    { name: "a refused request that has ended is not reset", run: () => seeNoReset(stand) },
    { name: "a client that closes after many requests", run: () => seeGoodbye(stand) },
    { name: "clients that never read do not hold up the others", run: () => seeUnread(stand) },
  ];
}

async function seeRow(stand: Stand, row: Row): Promise<void> {
  const raw = new RawConnection(stand.port);
  try {
    raw.send(Buffer.concat([Buffer.from(preface), settings]));
    for (const send of row.send) {
      for (let at = 0; at < send.length && !raw.isClosed; at += pieceBytes) {
        await raw.sendSlowly(send.subarray(at, at + pieceBytes));
      }
    }
    await seeAfter(raw, row.after);
    if (row.after === "survives") await stillAnswers(stand);
  } finally {
    raw.destroy();
  }
  await stillAnswers(stand);
  const kept = await ask(stand.port, "HTTP/1.1", { target: putKey });
  assert.equal(kept.status, 404, `what was not whole was written: ${kept.text}`);
}

async function seeAfter(raw: RawConnection, after: After): Promise<void> {
  const came = (holds: (one: Frame) => boolean) => raw.isClosed || framesIn(raw.bytes).some(holds);
  const isGoaway = ({ type }: Frame) => type === kind.goaway;
  if (after === "survives") return;
  if (after === "answered") {
    // 0x88 is ":status: 200" in the static table.
    await raw.until(() =>
      framesIn(raw.bytes).some(({ type, payload }) => type === kind.headers && payload[0] === 0x88),
    );
    return;
  }
  try {
    if (after === "ends") await raw.until(() => came(isGoaway), endLimitMs);
    else await raw.until(() => came((one) => isGoaway(one) || endsStream(one)), endLimitMs);
  } catch (error) {
    // An end of the connection is what may come as well.
    if (!raw.isClosed) throw error;
  }
  const said = framesIn(raw.bytes).find(({ type }) => type === kind.headers);
  assert.ok(said?.payload[0] !== 0x88 || after === "ends", "it was not answered with 200");
}

/** A reset, or a whole answer that is an error. */
function endsStream({ type, flags, stream }: Frame): boolean {
  if (stream !== 1) return false;
  return (
    type === kind.reset || ((type === kind.headers || type === kind.data) && (flags & 1) === 1)
  );
}

async function seeWrongPreface(stand: Stand): Promise<void> {
  const raw = new RawConnection(stand.port);
  try {
    raw.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\rX");
    raw.send(Buffer.alloc(100));
    await raw.ended();
  } finally {
    raw.destroy();
  }
  await stillAnswers(stand);
}

/** An answer that comes together with a reset is no answer for curl, though both sides had ended. */
async function seeNoReset(stand: Stand): Promise<void> {
  const raw = new RawConnection(stand.port);
  const asks: readonly Fields[] = [
    request("DELETE", "/v1/kv/none/a"),
    request("PATCH", putKey),
    request("PUT", putKey, [["if-match", "*"]]),
  ];
  try {
    raw.send(Buffer.concat([Buffer.from(preface), settings]));
    for (const [index, fields] of asks.entries()) {
      const stream = 2 * index + 1;
      raw.send(headers(stream, fields));
      const ended = (one: Frame) => one.stream === stream && (one.flags & endStream) === endStream;
      await raw.until(() => framesIn(raw.bytes).some(ended));
    }
    // What would come after the last answer comes before the answer to a ping.
    raw.send(frame(kind.ping, 0, 0, Buffer.alloc(8)));
    await raw.until(() => framesIn(raw.bytes).some(({ type }) => type === kind.ping));
    const resets = framesIn(raw.bytes).filter(({ type }) => type === kind.reset);
    assert.equal(resets.length, 0, "a stream was reset");
  } finally {
    raw.destroy();
  }
}

const goodbyeCount = 600;

/** What every client of HTTP/2 does when it closes: GOAWAY, after many requests. */
async function seeGoodbye(stand: Stand): Promise<void> {
  const session = http2.connect(stand.origin);
  session.on("error", () => {});
  try {
    const answers = Array.from({ length: goodbyeCount }, () => {
      const stream = session.request({ ":path": "/livez" });
      stream.resume();
      return once(stream, "close");
    });
    await Promise.all(answers);
    session.close();
    await once(session, "close");
  } finally {
    session.destroy();
  }
  await stillAnswers(stand);
}

const unreadCount = 100;

/** Streams with a window of 0: their answers of 1 MiB can never be sent. */
async function seeUnread(stand: Stand): Promise<void> {
  const target = "/v1/kv/default/unread";
  const put = { method: "PUT", target, body: new Uint8Array(1024 * 1024) };
  assert.equal((await ask(stand.port, "HTTP/1.1", put)).status, 204);
  const raw = new RawConnection(stand.port);
  try {
    const noWindow = frame(kind.settings, 0, 0, Buffer.from("000400000000", "hex"));
    raw.send(Buffer.concat([Buffer.from(preface), noWindow]));
    for (let n = 0; n < unreadCount; n += 1) raw.send(headers(2 * n + 1, request("GET", target)));
    // Past what a session may hold, streams are refused.
    await raw.until(() => framesIn(raw.bytes).some(({ type }) => type === kind.headers));
    for (let round = 0; round < 10; round += 1) await stillAnswers(stand);
  } finally {
    raw.destroy();
  }
  await stillAnswers(stand);
}
