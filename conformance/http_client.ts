/**
 * Http client: sends a request target as it is, over HTTP/1.1 or HTTP/2, and raw bytes.
 *
 * A fetch client normalises paths and hides connections; the contract is about what is on the wire.
 *
 * @module
 */

import * as http from "node:http";
import * as http2 from "node:http2";
import * as net from "node:net";

export type Protocol = "HTTP/1.1" | "HTTP/2";
export const protocols: readonly Protocol[] = ["HTTP/1.1", "HTTP/2"];

export interface Ask {
  readonly method?: string;
  readonly target: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | string;
}

export interface Heard {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
  readonly text: string;
}

const askLimitMs = 20_000;

export function ask(port: number, protocol: Protocol, asked: Ask): Promise<Heard> {
  return protocol === "HTTP/1.1" ? askHttp1(port, asked) : askHttp2(port, asked);
}

function lateError({ method = "GET", target }: Ask): Error {
  return new Error(`no answer in ${askLimitMs} ms to ${method} ${target.slice(0, 100)}`);
}

function askHttp1(port: number, asked: Ask): Promise<Heard> {
  return new Promise((fulfil, reject) => {
    const request = http.request({
      host: "127.0.0.1",
      port,
      method: asked.method ?? "GET",
      path: asked.target,
      // Without a length, Node's client sends the body of a DELETE as if it were the next request.
      headers: {
        ...(asked.body === undefined ? {} : { "content-length": Buffer.byteLength(asked.body) }),
        ...asked.headers,
      },
      agent: false,
    });
    const timer = setTimeout(() => request.destroy(lateError(asked)), askLimitMs);
    request.on("response", (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => fulfil(heard(response.statusCode ?? 0, response.headers, chunks)));
    });
    request.on("error", reject);
    request.on("close", () => clearTimeout(timer));
    request.end(asked.body);
  });
}

function askHttp2(port: number, asked: Ask): Promise<Heard> {
  return new Promise((fulfil, reject) => {
    // Room for a large body: the default counts what waits to be sent, and refuses the answer.
    const session = http2.connect(`http://127.0.0.1:${port}`, { maxSessionMemory: 100 });
    const timer = setTimeout(() => session.destroy(lateError(asked)), askLimitMs);
    session.on("error", reject);
    session.on("close", () => {
      clearTimeout(timer);
      reject(new Error("the connection ended without an answer"));
    });
    const { host, ...headers } = asked.headers ?? {};
    const stream = session.request(
      {
        ":method": asked.method ?? "GET",
        ":path": asked.target,
        ...(host === undefined ? {} : { ":authority": host }),
        ...headers,
      },
      { endStream: asked.body === undefined },
    );
    let head: Record<string, unknown> = {};
    const chunks: Buffer[] = [];
    stream.on("response", (received) => {
      head = received;
    });
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.on("error", reject);
    stream.on("end", () => {
      const { ":status": status, ...rest } = head;
      if (status !== undefined) fulfil(heard(Number(status), rest, chunks));
      session.close();
    });
    if (asked.body !== undefined) stream.end(asked.body);
  });
}

function heard(status: number, raw: object, chunks: readonly Buffer[]): Heard {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(raw)) headers[name] = String(value);
  const body = Buffer.concat(chunks);
  return { status, headers, body, text: body.toString("utf8") };
}

const rawLimitMs = 15_000;

/** Bytes in, bytes out. */
export class RawConnection {
  readonly socket: net.Socket;
  #chunks: Buffer[] = [];
  #watchers: (() => void)[] = [];
  #closed = false;

  constructor(port: number) {
    this.socket = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    this.socket.on("data", (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.#wake();
    });
    this.socket.on("error", () => this.#end());
    this.socket.on("end", () => this.#end());
    this.socket.on("close", () => this.#end());
  }

  get bytes(): Buffer {
    if (this.#chunks.length > 1) this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0] ?? Buffer.alloc(0);
  }

  get text(): string {
    return this.bytes.toString("latin1");
  }

  /** Whether the other side has ended the connection. */
  get isClosed(): boolean {
    return this.#closed;
  }

  send(data: string | Uint8Array): void {
    if (!this.socket.destroyed) this.socket.write(data);
  }

  /** Sends, and waits until the system has taken it (or the connection is gone). */
  async sendSlowly(data: string | Uint8Array): Promise<void> {
    if (this.socket.destroyed) return;
    if (this.socket.write(data)) {
      // What has come meanwhile is read, or a reset could overtake it.
      await new Promise((settle) => setImmediate(settle));
      return;
    }
    await new Promise<void>((settle) => {
      this.socket.once("drain", settle);
      this.socket.once("close", settle);
    });
  }

  /** Resolves when `holds`; rejects at the limit, or when the connection ends before. */
  async until(holds: () => boolean, limitMs: number = rawLimitMs): Promise<void> {
    const endMs = performance.now() + limitMs;
    while (!holds()) {
      if (this.#closed) throw new Error(`the connection ended after ${this.#shown()}`);
      if (performance.now() >= endMs) throw new Error(`${limitMs} ms; came: ${this.#shown()}`);
      await this.#change(endMs);
    }
  }

  /** Everything that came, once the other side has ended it. */
  async ended(limitMs: number = rawLimitMs): Promise<string> {
    const endMs = performance.now() + limitMs;
    while (!this.#closed) {
      if (performance.now() >= endMs) {
        throw new Error(`the connection was open after ${limitMs} ms; came: ${this.#shown()}`);
      }
      await this.#change(endMs);
    }
    return this.text;
  }

  destroy(): void {
    this.socket.destroy();
  }

  #shown(): string {
    return JSON.stringify(this.text.slice(0, 300).replace(/[^\x20-\x7e\r\n]/g, "."));
  }

  #change(endMs: number): Promise<void> {
    return new Promise((settle) => {
      const timer = setTimeout(settle, Math.max(1, endMs - performance.now()));
      this.#watchers.push(() => {
        clearTimeout(timer);
        settle();
      });
    });
  }

  #end(): void {
    this.#closed = true;
    this.#wake();
  }

  #wake(): void {
    const watchers = this.#watchers;
    this.#watchers = [];
    for (const wake of watchers) wake();
  }
}
