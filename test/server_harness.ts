/**
 * ServerHarness: a whole server over a fake node, and clients that send HTTP/2 frames as bytes.
 *
 * A well-behaved HTTP/2 client cannot flood, leave a header block open or break a frame. The frames
 * here are written by hand (RFC 9113), with header blocks of HPACK literals (RFC 7541).
 *
 * @module
 */

import * as net from "node:net";
import type { DeleteRequest, PutRequest, WriteAnswer } from "../src/api.ts";
import { type Clock, type Report, silentReport } from "../src/capability.ts";
import { realRandom } from "../src/runtime.ts";
import { type Server, type ServerOptions, startServer } from "../src/server.ts";
import { FakeApi } from "./fake_api.ts";
import { HandClock, RawConnection } from "./http_harness.ts";

/** A node whose writes wait until a test lets them go. */
export class GatedApi extends FakeApi {
  #waiting: (() => void)[] = [];
  isGated = false;

  override async put(request: PutRequest): Promise<WriteAnswer> {
    await this.#gate();
    return super.put(request);
  }

  override async delete(request: DeleteRequest): Promise<WriteAnswer> {
    await this.#gate();
    return super.delete(request);
  }

  async #gate(): Promise<void> {
    if (this.isGated) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** Writes that wait. */
  get waiting(): number {
    return this.#waiting.length;
  }

  release(): void {
    this.isGated = false;
    for (const go of this.#waiting.splice(0)) go();
  }
}

export class Harness {
  readonly api: GatedApi = new GatedApi();
  readonly hand: HandClock = new HandClock();
  readonly counts = new Map<string, number>();
  #server: Server | undefined;

  static async open(options: Partial<ServerOptions> = {}): Promise<Harness> {
    const harness = new Harness();
    const report: Report = {
      ...silentReport,
      count: (name, by = 1) => harness.counts.set(name, (harness.counts.get(name) ?? 0) + by),
    };
    const clock: Clock = harness.hand;
    harness.#server = await startServer({
      api: harness.api,
      clock,
      random: realRandom,
      report,
      port: 0,
      ...options,
    });
    return harness;
  }

  get server(): Server {
    if (this.#server === undefined) throw new Error("The harness is not open.");
    return this.#server;
  }

  get port(): number {
    return this.server.port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Moves the clock in steps, so that the server looks at its deadlines as often as it would. */
  async pass(ms: number): Promise<void> {
    const stepMs = 500;
    for (let left = ms; left > 0; left -= stepMs) {
      this.hand.advance(Math.min(stepMs, left));
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Two rounds with other connections: what was sent before has then arrived. */
  async settle(): Promise<void> {
    for (let round = 0; round < 2; round += 1) {
      const other = new RawConnection(this.port);
      other.send("GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
      await other.closed();
    }
  }

  async close(): Promise<void> {
    this.api.release();
    const closed = this.server.close();
    await this.pass(2000);
    await closed;
  }
}

/** Runs a test with a server of its own. */
export function withServer(
  run: (harness: Harness) => Promise<void>,
  options: Partial<ServerOptions> = {},
): () => Promise<void> {
  return async () => {
    const harness = await Harness.open(options);
    try {
      await run(harness);
    } finally {
      await harness.close();
    }
  };
}

export const frameTypes = {
  data: 0,
  headers: 1,
  reset: 3,
  settings: 4,
  ping: 6,
  goaway: 7,
  continuation: 9,
} as const;

export const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
export const flags = { endStream: 1, ack: 1, endHeaders: 4 } as const;

export function frame(type: number, flag: number, stream: number, payload: Uint8Array): Buffer {
  const bytes = Buffer.alloc(9 + payload.length);
  bytes.writeUIntBE(payload.length, 0, 3);
  bytes[3] = type;
  bytes[4] = flag;
  bytes.writeUInt32BE(stream, 5);
  bytes.set(payload, 9);
  return bytes;
}

export const noSettings: Buffer = frame(frameTypes.settings, 0, 0, new Uint8Array(0));

/** A header block of literals that are not indexed. */
export function headerBlock(headers: Readonly<Record<string, string>>): Buffer {
  const parts: Buffer[] = [];
  for (const [name, value] of Object.entries(headers)) {
    parts.push(Buffer.of(0), hpackText(name), hpackText(value));
  }
  return Buffer.concat(parts);
}

function hpackText(text: string): Buffer {
  const bytes = Buffer.from(text);
  const length: number[] = [];
  if (bytes.length < 127) length.push(bytes.length);
  else {
    length.push(127);
    let rest = bytes.length - 127;
    for (; rest >= 128; rest = Math.floor(rest / 128)) length.push((rest % 128) + 128);
    length.push(rest);
  }
  return Buffer.concat([Buffer.from(length), bytes]);
}

export function getHeaders(path: string): Buffer {
  return headerBlock({
    ":method": "GET",
    ":scheme": "http",
    ":authority": "localhost",
    ":path": path,
  });
}

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

/** An HTTP/2 client that sends what it is told, and gathers the frames that come. */
export class FrameClient {
  readonly socket: net.Socket;
  readonly frames: Frame[] = [];
  isClosed = false;
  #held: Buffer = Buffer.alloc(0);
  #watchers: (() => void)[] = [];

  constructor(port: number) {
    this.socket = net.connect(port, "127.0.0.1");
    this.socket.on("data", (chunk: Buffer) => this.#take(chunk));
    this.socket.on("error", () => {});
    this.socket.on("close", () => {
      this.isClosed = true;
      this.#wake();
    });
  }

  /** Preface and settings. */
  start(): this {
    this.send(preface);
    this.send(noSettings);
    return this;
  }

  send(data: string | Uint8Array): void {
    this.socket.write(data);
  }

  /** The first frame of a type; rejects when the connection ends without one. */
  async until(type: number): Promise<Frame> {
    for (;;) {
      const found = this.frames.find((each) => each.type === type);
      if (found !== undefined) return found;
      if (this.isClosed) throw new Error(`The connection ended without a frame of type ${type}.`);
      await this.#change();
    }
  }

  async closed(): Promise<void> {
    while (!this.isClosed) await this.#change();
  }

  #take(chunk: Buffer): void {
    this.#held = Buffer.concat([this.#held, chunk]);
    while (this.#held.length >= 9) {
      const length = this.#held.readUIntBE(0, 3);
      if (this.#held.length < 9 + length) break;
      this.frames.push({
        type: this.#held[3] ?? 0,
        flags: this.#held[4] ?? 0,
        stream: this.#held.readUInt32BE(5),
        payload: this.#held.subarray(9, 9 + length),
      });
      this.#held = this.#held.subarray(9 + length);
    }
    this.#wake();
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#watchers.push(resolve));
  }

  #wake(): void {
    for (const wake of this.#watchers.splice(0)) wake();
  }
}
