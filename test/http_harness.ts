/**
 * HttpHarness: an HTTP edge over a fake node on real sockets, and clients that send what they are told.
 *
 * A fetch client normalises paths and hides connections. These clients send a target as it is, over
 * HTTP/1.1 or HTTP/2, and give back the whole answer. The clock stands still unless a test moves it,
 * so that two edges that were asked the same answer the same to the byte.
 *
 * @module
 */

import * as http from "node:http";
import * as http2 from "node:http2";
import * as net from "node:net";
import * as assert from "uvu/assert";
import type { Clock, Random } from "../src/capability.ts";
import { silentReport } from "../src/capability.ts";
import type { HttpSettings } from "../src/exchange.ts";
import { createHttp, type HttpEdge } from "../src/http.ts";
import type { NodeRequest, NodeResponse } from "../src/http_hot.ts";
import { FakeApi } from "./fake_api.ts";

export type Protocol = "HTTP/1.1" | "HTTP/2";

export interface Ask {
  readonly method?: string;
  readonly target: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | string;
}

export interface Heard {
  readonly status: number;
  /** By lower-case name; of a repeated one, all values joined by ", ". */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
  readonly text: string;
}

/** A clock that a test moves by hand. */
export class HandClock implements Clock {
  #timers = new Map<number, { atMs: number; run: () => void }>();
  #next = 0;
  #ms = 0;
  readonly startMs = Date.UTC(2026, 0, 2, 3, 4, 5, 678);

  nowMs(): number {
    return this.startMs + this.#ms;
  }

  monotonicMs(): number {
    return this.#ms;
  }

  after(delayMs: number, run: () => void): () => void {
    const id = this.#next;
    this.#next += 1;
    this.#timers.set(id, { atMs: this.#ms + delayMs, run });
    return () => this.#timers.delete(id);
  }

  soon(run: () => void): void {
    setImmediate(run);
  }

  get timers(): number {
    return this.#timers.size;
  }

  advance(ms: number): void {
    this.#ms += ms;
    for (const [id, { atMs, run }] of this.#timers) {
      if (atMs > this.#ms) continue;
      this.#timers.delete(id);
      run();
    }
  }
}

const fixedRandom: Random = { bytes: (length) => new Uint8Array(length), u32: () => 0xabc };

export const defaultSettings: HttpSettings = {
  valueBytesMax: 1024 * 1024,
  corsOrigins: [],
  loopback: true,
  advertisedNames: [],
  bodyTimeoutMs: 5000,
  metrics: { contentType: "text/plain; version=0.0.4", text: async () => "up 1\n" },
};

export interface EdgeOptions {
  readonly hotPath?: boolean;
  readonly protocol?: Protocol;
  readonly settings?: Partial<HttpSettings>;
}

/** An edge that listens on loopback. */
export class Edge {
  readonly api: FakeApi = new FakeApi();
  readonly clock: HandClock = new HandClock();
  readonly http: HttpEdge;
  readonly protocol: Protocol;
  readonly #server: http.Server | http2.Http2Server;
  readonly #sockets = new Set<net.Socket>();
  #session: http2.ClientHttp2Session | undefined;
  #port = 0;

  private constructor(options: EdgeOptions) {
    const { hotPath = true, protocol = "HTTP/1.1", settings = {} } = options;
    this.protocol = protocol;
    this.http = createHttp(this.api, {
      ...defaultSettings,
      ...settings,
      clock: this.clock,
      random: fixedRandom,
      report: silentReport,
      hotPath,
    });
    const handle = (request: NodeRequest, response: NodeResponse) =>
      this.http.handle(request, response);
    this.#server =
      protocol === "HTTP/1.1"
        ? http.createServer((request, response) => handle(request, response))
        : http2.createServer((request, response) => handle(request, response));
    this.#server.on("connection", (socket: net.Socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
    });
  }

  static async open(options: EdgeOptions = {}): Promise<Edge> {
    const edge = new Edge(options);
    await new Promise<void>((resolve) => edge.#server.listen(0, "127.0.0.1", resolve));
    edge.#port = (edge.#server.address() as net.AddressInfo).port;
    return edge;
  }

  get port(): number {
    return this.#port;
  }

  get authority(): string {
    return `127.0.0.1:${this.#port}`;
  }

  get connections(): number {
    return this.#sockets.size;
  }

  async close(): Promise<void> {
    this.#session?.destroy();
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  ask(asked: Ask | string): Promise<Heard> {
    const ask = typeof asked === "string" ? { target: asked } : asked;
    return this.protocol === "HTTP/1.1" ? askHttp1(this.#port, ask) : this.#askHttp2(ask);
  }

  put(target: string, body: Uint8Array | string, headers: Ask["headers"] = {}): Promise<Heard> {
    return this.ask({ method: "PUT", target, body, headers });
  }

  /** A raw connection; what comes back is gathered until it ends. */
  raw(): RawConnection {
    return new RawConnection(this.#port);
  }

  session(): http2.ClientHttp2Session {
    this.#session ??= http2.connect(`http://${this.authority}`);
    return this.#session;
  }

  #askHttp2(ask: Ask): Promise<Heard> {
    return new Promise((resolve, reject) => {
      const { host, ...headers } = ask.headers ?? {};
      const stream = this.session().request(
        {
          ":method": ask.method ?? "GET",
          ":path": ask.target,
          ...(host === undefined ? {} : { ":authority": host }),
          ...headers,
        },
        { endStream: ask.body === undefined },
      );
      let head: http2.IncomingHttpHeaders = {};
      const chunks: Uint8Array[] = [];
      stream.on("response", (received) => {
        head = received;
      });
      stream.on("data", (chunk: Uint8Array) => chunks.push(chunk));
      stream.on("error", reject);
      stream.on("end", () => {
        const { ":status": status, ...rest } = head as Record<string, unknown>;
        resolve(heard(Number(status), rest, chunks));
      });
      if (ask.body !== undefined) stream.end(ask.body);
    });
  }
}

/** Bytes in, bytes out. */
export class RawConnection {
  readonly socket: net.Socket;
  #text = "";
  #watchers: (() => void)[] = [];
  #isClosed = false;

  constructor(port: number, host = "127.0.0.1") {
    this.socket = net.connect(port, host);
    this.socket.on("data", (chunk: Uint8Array) => {
      this.#text += Buffer.from(chunk).toString("latin1");
      this.#wake();
    });
    this.socket.on("error", () => {});
    this.socket.on("close", () => {
      this.#isClosed = true;
      this.#wake();
    });
  }

  get text(): string {
    return this.#text;
  }

  send(data: string | Uint8Array): void {
    this.socket.write(data);
  }

  /** Resolves when what came holds `wanted`; rejects when the connection ends before. */
  async until(wanted: string): Promise<string> {
    while (!this.#text.includes(wanted)) {
      if (this.#isClosed) throw new Error(`The connection ended after: ${this.#text}`);
      await this.#change();
    }
    return this.#text;
  }

  /** Everything, once the other side has closed. */
  async closed(): Promise<string> {
    while (!this.#isClosed) await this.#change();
    return this.#text;
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#watchers.push(resolve));
  }

  #wake(): void {
    const watchers = this.#watchers;
    this.#watchers = [];
    for (const wake of watchers) wake();
  }
}

function askHttp1(port: number, ask: Ask): Promise<Heard> {
  return new Promise((resolve, reject) => {
    const request = http.request({
      host: "127.0.0.1",
      port,
      method: ask.method ?? "GET",
      path: ask.target,
      // Without a length, Node's client sends the body of a DELETE as if it were the next request.
      headers: {
        ...(ask.body === undefined ? {} : { "content-length": Buffer.byteLength(ask.body) }),
        ...ask.headers,
      },
      agent: false,
    });
    request.on("response", (response) => {
      const chunks: Uint8Array[] = [];
      response.on("data", (chunk: Uint8Array) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => {
        const headers = { ...response.headers };
        delete headers["connection"];
        delete headers["keep-alive"];
        resolve(heard(response.statusCode ?? 0, headers, chunks));
      });
    });
    request.on("error", reject);
    request.end(ask.body);
  });
}

function heard(status: number, raw: object, chunks: Uint8Array[]): Heard {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(raw)) headers[name] = String(value);
  const joined = Buffer.concat(chunks);
  const body = new Uint8Array(joined.buffer, joined.byteOffset, joined.length);
  return { status, headers, body, text: joined.toString("utf8") };
}

/** Waits until `holds`, looking again at every turn of the event loop. */
export async function eventually(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setImmediate(resolve));
}

const ways: readonly EdgeOptions[] = [
  { hotPath: true, protocol: "HTTP/1.1" },
  { hotPath: false, protocol: "HTTP/1.1" },
  { hotPath: true, protocol: "HTTP/2" },
  { hotPath: false, protocol: "HTTP/2" },
];

/** A case that must hold on every way: through Hono and directly, over HTTP/1.1 and HTTP/2. */
export function everyWayOf(test: (name: string, run: () => Promise<void>) => void) {
  return (
    name: string,
    run: (edge: Edge) => Promise<void>,
    settings: EdgeOptions["settings"] = {},
  ): void => {
    for (const way of ways) {
      const path = way.hotPath === true ? "direct" : "Hono";
      test(`${name} [${path}, ${way.protocol}]`, async () => {
        const edge = await Edge.open({ ...way, settings });
        try {
          await run(edge);
        } finally {
          await edge.close();
        }
      });
    }
  };
}

/** The problem that was heard, which must be whole. */
export function problemIn(heard: Heard, status: number, slug: string): Record<string, unknown> {
  assert.is(heard.status, status, heard.text);
  assert.is(heard.headers["content-type"], "application/problem+json");
  assert.is(heard.headers["cache-control"], "no-store");
  const problem = JSON.parse(heard.text);
  assert.is(problem.type, `/problems/${slug}`);
  assert.is(problem.status, status);
  assert.is(problem.requestId, heard.headers["quorate-request-id"]);
  assert.ok(problem.title.length > 0 && problem.detail.length > 0 && problem.hint.length > 0);
  return problem;
}
