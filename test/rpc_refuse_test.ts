/**
 * What no client of a library would send to the RPC edge: unknown RPCs, broken messages, wrong content
 * types, bodies that do not end. Each is answered in the form of its protocol, and nothing else breaks.
 */

import * as http2 from "node:http2";
import { gzipSync } from "node:zlib";
import { Code } from "@connectrpc/connect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { RawConnection } from "./http_harness.ts";
import { type Harness, withServer } from "./server_harness.ts";

const rpc = suite("rpc refusals");

/** The bytes of a POST over HTTP/1.1. */
function post(path: string, type: string, body: Uint8Array | string, more = ""): Buffer {
  const bytes = Buffer.from(body);
  const head = `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: ${type}\r\n${more}Content-Length: ${bytes.length}\r\n\r\n`;
  return Buffer.concat([Buffer.from(head), bytes]);
}

/** Sends bytes, and gathers the answer until the server has nothing more to say. */
async function exchange(harness: Harness, bytes: Uint8Array): Promise<string> {
  const raw = new RawConnection(harness.port);
  raw.send(bytes);
  await raw.until("\r\n\r\n");
  // What belongs to the answer has come when a second request is answered behind it.
  raw.send("GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  const all = await raw.closed();
  return all.slice(0, all.lastIndexOf("HTTP/1.1 200 OK"));
}

/** An unknown RPC as each protocol asks for it -> the answer in that protocol's form. */
const unknownRpcs: readonly (readonly [path: string, type: string, answer: RegExp])[] = [
  [
    "/no.Such/Method",
    "application/grpc",
    /^HTTP\/1.1 200 [\s\S]*application\/grpc\r\n[\s\S]*grpc-status: 12/,
  ],
  ["/kv.KVStore/Nope", "application/grpc+proto", /^HTTP\/1.1 200 [\s\S]*grpc-status: 12/],
  [
    "/no.Such/Method",
    "application/grpc-web+proto",
    /^HTTP\/1.1 200 [\s\S]*grpc-web\r\n[\s\S]*grpc-status: 12/,
  ],
  [
    "/no.Such/Method",
    "application/connect+proto",
    /^HTTP\/1.1 200 [\s\S]*connect\+json[\s\S]*"code":"unimplemented"/,
  ],
  [
    "/quorate.v1.KvService/Nope",
    "application/json",
    /^HTTP\/1.1 501 [\s\S]*"code":"unimplemented"/,
  ],
  [
    "/quorate.v1.KvService/Nope",
    "application/proto",
    /^HTTP\/1.1 501 [\s\S]*"code":"unimplemented"/,
  ],
  ["/no.Such/Method", "application/json", /^HTTP\/1.1 404 [\s\S]*\/problems\/no-such-route/],
];
for (const [path, type, answer] of unknownRpcs) {
  rpc(
    `rpc: the unknown RPC ${path} is unimplemented as ${type} says it`,
    withServer(async (harness) => {
      assert.match(await exchange(harness, post(path, type, "")), answer);
    }),
  );
}

const getPath = "/quorate.v1.KvService/Get";
const putPath = "/quorate.v1.KvService/Put";
const grpcFrame = (flag: number, length: number, body: Uint8Array) => {
  const head = Buffer.alloc(5);
  head[0] = flag;
  head.writeUInt32BE(length, 1);
  return Buffer.concat([head, body]);
};
const grpc = "application/grpc";

/** Bytes in a gRPC call that are no message -> the codes that may be heard. */
const brokenCalls: readonly (readonly [name: string, body: Uint8Array, codes: readonly Code[]])[] =
  [
    ["no message at all", Buffer.alloc(0), [Code.Unimplemented, Code.Internal]],
    ["half of a message's head", Buffer.alloc(3), [Code.InvalidArgument, Code.Internal]],
    [
      "a message that is cut short",
      grpcFrame(0, 100, Buffer.alloc(10)),
      [Code.InvalidArgument, Code.Internal],
    ],
    ["a length of 4 GiB", grpcFrame(0, 0xffff_ffff, Buffer.alloc(10)), [Code.ResourceExhausted]],
    [
      "bytes that are no protobuf",
      grpcFrame(0, 10, Buffer.alloc(10, 0xff)),
      [Code.InvalidArgument, Code.Internal],
    ],
    [
      "a compressed message without an encoding",
      grpcFrame(1, 10, Buffer.alloc(10, 1)),
      [Code.InvalidArgument, Code.Internal],
    ],
    [
      "two messages for a call of one",
      Buffer.concat([grpcFrame(0, 0, Buffer.alloc(0)), grpcFrame(0, 0, Buffer.alloc(0))]),
      [Code.InvalidArgument, Code.Unimplemented],
    ],
  ];
for (const [name, body, codes] of brokenCalls) {
  rpc(
    `rpc: ${name} in a gRPC call is refused with a status, and the connection goes on`,
    withServer(async ({ url, api }) => {
      const session = http2.connect(url);
      const call = { ":method": "POST", ":path": putPath, "content-type": grpc };
      const code = await grpcStatus(session.request(call), body);
      assert.ok(codes.includes(code), `grpc-status ${code}`);
      const unknown = await grpcStatus(
        session.request({ ...call, "grpc-encoding": "lzma" }),
        grpcFrame(1, 4, Buffer.alloc(4)),
      );
      assert.is(unknown, Code.Unimplemented);
      assert.is(api.requests.length, 0);
      session.destroy();
    }),
  );
}

/** The status that ends a call, in its trailers or, where there is no answer, in its headers. */
function grpcStatus(stream: http2.ClientHttp2Stream, body: Uint8Array): Promise<Code> {
  return new Promise((resolve, reject) => {
    let status: unknown;
    const look = (headers: http2.IncomingHttpHeaders) => {
      status ??= headers["grpc-status"];
    };
    stream.on("response", look);
    stream.on("trailers", look);
    stream.on("error", reject);
    stream.on("close", () => resolve(Number(status)));
    stream.resume();
    stream.end(body);
  });
}

/** Bytes that are no message -> what is heard. The node is never asked, and nothing breaks. */
const brokenMessages: readonly (readonly [name: string, bytes: Buffer, heard: RegExp])[] = [
  [
    "JSON that is none",
    post(putPath, "application/json", "{"),
    /^HTTP\/1.1 400 [\s\S]*invalid_argument/,
  ],
  [
    "JSON that is nested without end",
    post(putPath, "application/json", "[".repeat(200_000)),
    /^HTTP\/1.1 400 [\s\S]*invalid_argument/,
  ],
  [
    "gzip that expands past the limit",
    post(
      putPath,
      "application/proto",
      gzipSync(Buffer.alloc(40 * 1024 * 1024)),
      "Content-Encoding: gzip\r\n",
    ),
    /^HTTP\/1.1 429 [\s\S]*resource_exhausted/,
  ],
  [
    "a deadline that is no number",
    post(putPath, "application/json", "{}", "Connect-Timeout-Ms: soon\r\n"),
    /^HTTP\/1.1 400 [\s\S]*invalid_argument/,
  ],
  [
    "a content type of no protocol",
    post(putPath, "text/plain", "{}"),
    /^HTTP\/1.1 415 [\s\S]*problem\+json[\s\S]*unsupported-media-type/,
  ],
  [
    "GET on a call that writes",
    Buffer.from(`GET ${putPath} HTTP/1.1\r\nHost: localhost\r\n\r\n`),
    /^HTTP\/1.1 (?:405|501) [\s\S]*method-not-allowed/,
  ],
  [
    "a name that is not the node's",
    Buffer.from(`POST ${getPath} HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n`),
    /^HTTP\/1.1 421 [\s\S]*misdirected-request/,
  ],
  [
    "a page of another origin",
    post(getPath, "application/json", "{}", "Origin: https://evil.example\r\n"),
    /^HTTP\/1.1 403 [\s\S]*permission_denied/,
  ],
  [
    "no Host",
    Buffer.from(
      `POST ${getPath} HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}`,
    ),
    /^HTTP\/1.1 400 [\s\S]*invalid_argument/,
  ],
];
for (const [name, bytes, heard] of brokenMessages) {
  rpc(
    `rpc: ${name} is refused in words, and the connection goes on`,
    withServer(async (harness) => {
      assert.match(await exchange(harness, bytes), heard);
      assert.is(harness.api.requests.length, 0);
    }),
  );
}

rpc(
  "rpc: a length above the limit is refused before the body is read",
  withServer(async ({ port }) => {
    const raw = new RawConnection(port);
    const head = `POST ${putPath} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/proto\r\n`;
    raw.send(`${head}Content-Length: ${64 * 1024 * 1024}\r\n\r\n`);
    assert.match(await raw.until("resource_exhausted"), /^HTTP\/1.1 429 /);
    raw.socket.destroy();
  }),
);

rpc(
  "rpc: a body that does not arrive in time is a request-timeout",
  withServer(
    async (harness) => {
      const raw = new RawConnection(harness.port);
      const head = `POST ${putPath} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/proto\r\n`;
      raw.send(`${head}Content-Length: 100\r\n\r\nabc`);
      await harness.settle();
      await harness.pass(3500);
      assert.match(await raw.until("request-timeout"), /^HTTP\/1.1 504 [\s\S]*deadline_exceeded/);
      raw.socket.destroy();
    },
    { bodyTimeoutMs: 3000 },
  ),
);

rpc(
  "rpc: compressed requests are read",
  withServer(async (harness) => {
    const body = gzipSync(JSON.stringify({ key: "aw==", value: "dg==" }));
    const bytes = post(putPath, "application/json", body, "Content-Encoding: gzip\r\n");
    assert.match(await exchange(harness, bytes), /^HTTP\/1.1 200 /);
    assert.is(harness.api.requests.length, 1);
  }),
);

rpc(
  "rpc: a request id is made when there is none, and when the one given cannot be used",
  withServer(async (harness) => {
    for (const given of ["", `Quorate-Request-Id: ${"x".repeat(65)}\r\n`]) {
      const answer = await exchange(
        harness,
        post(getPath, "application/json", '{"key":"aw=="}', given),
      );
      const id = /quorate-request-id: (\S+)/i.exec(answer)?.[1] ?? "";
      assert.match(id, /^[0-9a-f]{8}-\w+$/);
      assert.match(answer, new RegExp(`"requestId":"${id}"`));
      assert.is(harness.api.requests.at(-1)?.requestId, id);
    }
  }),
);

rpc(
  "rpc: pages of a listed origin may call, and their preflight says so",
  withServer(
    async (harness) => {
      const origin = "Origin: https://app.example\r\n";
      const answer = await exchange(
        harness,
        post(getPath, "application/json", '{"key":"aw=="}', origin),
      );
      assert.match(answer, /access-control-allow-origin: https:\/\/app\.example/i);
      const preflight = `OPTIONS ${getPath} HTTP/1.1\r\nHost: localhost\r\n${origin}Access-Control-Request-Headers: connect-protocol-version\r\n\r\n`;
      const allowed = await exchange(harness, Buffer.from(preflight));
      assert.match(allowed, /^HTTP\/1.1 204 /);
      assert.match(allowed, /access-control-allow-headers: connect-protocol-version/i);
    },
    { corsOrigins: ["https://app.example"] },
  ),
);

rpc.run();
