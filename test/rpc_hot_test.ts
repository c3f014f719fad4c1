/**
 * Unary gRPC calls, once without the router and once through it: status, headers, trailers and bytes
 * must be the same, whatever is sent.
 */

import * as http2 from "node:http2";
import { create, toBinary } from "@bufbuild/protobuf";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { utf8Bytes } from "../src/bytes.ts";
import * as kv from "../src/gen/kv/kv_pb.ts";
import * as proto from "../src/gen/quorate/v1/kv_pb.ts";
import type { ServerOptions } from "../src/server.ts";
import { eventually } from "./http_harness.ts";
import { Harness } from "./server_harness.ts";

const test = suite("rpc hot");

interface Call {
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** DATA frames, each written in a turn of its own. */
  readonly pieces: readonly Uint8Array[];
}

function framed(message: Uint8Array, flags = 0, length = message.length): Uint8Array {
  const frame = new Uint8Array(5 + message.length);
  frame[0] = flags;
  new DataView(frame.buffer).setUint32(1, length);
  frame.set(message, 5);
  return frame;
}

const service = "/quorate.v1.KvService";
const store = "/kv.KVStore";
const key = utf8Bytes("k");
const put = framed(
  toBinary(
    proto.PutRequestSchema,
    create(proto.PutRequestSchema, {
      key,
      value: Uint8Array.of(0xff, 0, 1),
      contentType: "a/b",
      options: { explain: true },
    }),
  ),
);
const get = framed(toBinary(proto.GetRequestSchema, create(proto.GetRequestSchema, { key })));
const other = framed(
  toBinary(
    proto.GetRequestSchema,
    create(proto.GetRequestSchema, { key: utf8Bytes("none"), namespace: "nowhere" }),
  ),
);
const noKey = framed(new Uint8Array(0));
const textPut = framed(
  toBinary(kv.PutRequestSchema, create(kv.PutRequestSchema, { key: "t", value: "v" })),
);
const textGet = framed(toBinary(kv.GetRequestSchema, create(kv.GetRequestSchema, { key: "t" })));
const binaryGet = framed(toBinary(kv.GetRequestSchema, create(kv.GetRequestSchema, { key: "k" })));
const large = framed(
  toBinary(
    proto.PutRequestSchema,
    create(proto.PutRequestSchema, { key, value: new Uint8Array(300_000).fill(7) }),
  ),
);
const nothing = new Uint8Array(0);

/** In this order, on one store. */
const calls: Readonly<Record<string, Call>> = {
  "a key that is not there": { path: `${service}/Get`, pieces: [get] },
  "a put": { path: `${service}/Put`, pieces: [put] },
  "a get": { path: `${service}/Get`, pieces: [get] },
  "a get that accepts gzip": {
    path: `${service}/Get`,
    headers: { "grpc-accept-encoding": "identity, gzip" },
    pieces: [get],
  },
  "a get that accepts nothing known": {
    path: `${service}/Get`,
    headers: { "grpc-accept-encoding": "zstd" },
    pieces: [get],
  },
  "a get with the longer content type": {
    path: `${service}/Get`,
    headers: { "content-type": "application/grpc+proto" },
    pieces: [get],
  },
  "a get as JSON": {
    path: `${service}/Get`,
    headers: { "content-type": "application/grpc+json" },
    pieces: [framed(utf8Bytes('{"key":"aw=="}'))],
  },
  "a get with a deadline": {
    path: `${service}/Get`,
    headers: { "grpc-timeout": "2S" },
    pieces: [get],
  },
  "a deadline that is over": {
    path: `${service}/Get`,
    headers: { "grpc-timeout": "0n" },
    pieces: [get],
  },
  "a deadline that is none": {
    path: `${service}/Get`,
    headers: { "grpc-timeout": "soon" },
    pieces: [get],
  },
  "an encoding that nobody knows": {
    path: `${service}/Get`,
    headers: { "grpc-encoding": "zstd" },
    pieces: [get],
  },
  "identity as encoding": {
    path: `${service}/Get`,
    headers: { "grpc-encoding": "identity" },
    pieces: [get],
  },
  "a namespace that is not there": { path: `${service}/Get`, pieces: [other] },
  "an empty message": { path: `${service}/Get`, pieces: [noKey] },
  "no message": { path: `${service}/Get`, pieces: [] },
  "half of a head": { path: `${service}/Get`, pieces: [get.slice(0, 3)] },
  "a message that is cut short": { path: `${service}/Get`, pieces: [get.slice(0, -1)] },
  "a message in pieces": {
    path: `${service}/Get`,
    pieces: [get.slice(0, 2), get.slice(2, 6), get.slice(6)],
  },
  "an empty frame behind it": { path: `${service}/Get`, pieces: [get, nothing] },
  "two messages": { path: `${service}/Put`, pieces: [put, put] },
  "two messages in one piece": { path: `${service}/Put`, pieces: [Buffer.concat([put, put])] },
  "a byte too many": { path: `${service}/Get`, pieces: [Buffer.concat([get, Uint8Array.of(1)])] },
  "bytes that are no message": {
    path: `${service}/Get`,
    pieces: [framed(Uint8Array.of(0xff, 0xff, 0xff))],
  },
  "a message that says it is compressed": {
    path: `${service}/Get`,
    pieces: [framed(get.slice(5), 1)],
  },
  "a length beyond the limit": {
    path: `${service}/Get`,
    pieces: [framed(get.slice(5), 0, 0xffff_ffff)],
  },
  "a large value": { path: `${service}/Put`, pieces: [large] },
  "a put of the original service": { path: `${store}/Put`, pieces: [textPut] },
  "a get of the original service": { path: `${store}/Get`, pieces: [textGet] },
  "a value that is no text": { path: `${store}/Get`, pieces: [binaryGet] },
  "a delete of the original service": { path: `${store}/Delete`, pieces: [textGet] },
  "a delete": { path: `${service}/Delete`, pieces: [get] },
  "a host that is not ours": {
    path: `${service}/Get`,
    headers: { ":authority": "evil.example" },
    pieces: [get],
  },
};

interface Heard {
  readonly head: Readonly<Record<string, unknown>>;
  readonly trailers: Readonly<Record<string, unknown>>;
  readonly body: string;
}

function call(session: http2.ClientHttp2Session, asked: Call): Promise<Heard> {
  return new Promise((resolve, reject) => {
    const stream = session.request({
      ":method": "POST",
      ":path": asked.path,
      "content-type": "application/grpc",
      te: "trailers",
      "quorate-request-id": "r-1",
      ...asked.headers,
    });
    const chunks: Buffer[] = [];
    let head: Heard["head"] = {};
    let trailers: Heard["trailers"] = {};
    stream.on("response", ({ date: _, ...headers }) => {
      head = { ...headers };
    });
    stream.on("trailers", (headers) => {
      trailers = { ...headers };
    });
    stream.on("data", (chunk) => chunks.push(chunk));
    stream.on("end", () => {
      resolve({ head, trailers, body: Buffer.concat(chunks).toString("hex") });
    });
    stream.on("error", reject);
    void (async () => {
      for (const piece of asked.pieces) {
        stream.write(piece);
        await new Promise((settle) => setTimeout(settle, 2));
      }
      stream.end();
    })();
  });
}

async function heard(options: Partial<ServerOptions>): Promise<Record<string, Heard>> {
  const harness = await Harness.open(options);
  const session = http2.connect(harness.url);
  try {
    const all: Record<string, Heard> = {};
    for (const [name, asked] of Object.entries(calls)) all[name] = await call(session, asked);
    return all;
  } finally {
    session.close();
    await harness.close();
  }
}

test("each call is answered in the same way without the router and through it", async () => {
  const hot = await heard({});
  const routed = await heard({ hotRpc: false });
  for (const name of Object.keys(calls)) assert.equal(hot[name], routed[name], name);
  const statuses = Object.values(hot).map(({ trailers, head }) =>
    Number(trailers["grpc-status"] ?? head["grpc-status"]),
  );
  assert.ok(new Set(statuses).size > 6, "there are successes and failures of many kinds");
});

test("a body that does not end is refused at its deadline, in both ways", async () => {
  const said: Heard[] = [];
  for (const hotRpc of [true, false]) {
    const harness = await Harness.open({ hotRpc });
    const session = http2.connect(harness.url);
    const stream = session.request({
      ":method": "POST",
      ":path": `${service}/Get`,
      "content-type": "application/grpc",
      "quorate-request-id": "r-1",
    });
    let trailers: Heard["trailers"] = {};
    stream.on("trailers", (headers) => {
      trailers = { ...headers };
    });
    stream.write(get);
    await harness.settle();
    await harness.pass(31_000);
    stream.resume();
    await new Promise((settle) => stream.on("end", settle));
    said.push({ head: {}, trailers, body: "" });
    stream.close();
    session.close();
    await harness.close();
  }
  assert.is(said[0]?.trailers["grpc-status"], "4");
  assert.equal(said[0], said[1]);
});

test("a client that is gone before its answer is counted, in both ways", async () => {
  for (const hotRpc of [true, false]) {
    const harness = await Harness.open({ hotRpc });
    harness.api.isGated = true;
    const session = http2.connect(harness.url);
    const stream = session.request({
      ":method": "POST",
      ":path": `${service}/Put`,
      "content-type": "application/grpc",
    });
    stream.on("error", () => {});
    stream.end(put);
    await eventually(() => harness.api.waiting === 1);
    stream.close(http2.constants.NGHTTP2_CANCEL);
    await harness.settle();
    harness.api.release();
    await harness.settle();
    assert.is(harness.counts.get("rpc_answers_cut"), 1, `hotRpc: ${hotRpc}`);
    session.close();
    await harness.close();
  }
});

test("a client that is gone before its body has ended is forgotten", async () => {
  const harness = await Harness.open();
  const session = http2.connect(harness.url);
  session.on("error", () => {});
  const stream = session.request({
    ":method": "POST",
    ":path": `${service}/Put`,
    "content-type": "application/grpc",
  });
  stream.on("error", () => {});
  stream.write(put);
  await harness.settle();
  stream.destroy(new Error("gone"));
  await harness.settle();
  assert.is(harness.api.requests.length, 0, "the node was not asked");
  assert.is(harness.counts.get("rpc_answers_cut"), 1);
  session.close();
  await harness.close();
});

test.run();
