/**
 * Server goaway: an HTTP/2 connection from which the client's GOAWAY frames are taken out.
 *
 * On Deno (2.9.5 and 2.9.6 at least) a process that serves HTTP/2 dies when a client says GOAWAY,
 * which every client does that closes: nghttp2 then walks streams whose memory is gone, and ends in
 * SIGABRT or SIGSEGV. Nothing in JavaScript can catch that. What GOAWAY tells a server (no streams
 * that it opens by itself will be taken) does not matter to one that opens none, and the end of the
 * connection comes all the same: so on Deno the frame never reaches nghttp2.
 *
 * Invariants
 * 1. Every other byte passes as it came, in order; what is held back is at most a frame's head.
 * 2. When either side ends or is destroyed, so is the other.
 *
 * Effects: the socket. Source: RFC 9113 sections 3.4, 4.1 and 6.8; denoland/deno issue 36788.
 *
 * @module
 */

import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import { runtimeName } from "./runtime.ts";

const prefaceBytes = 24;
const headBytes = 9;
const goawayKind = 7;
/** A longer frame than we have allowed is for the parser to refuse. */
const frameBytesMax = 16 * 1024;

/**
 * What HTTP/2 is to be spoken on: the socket itself wherever that is safe. `onEnd` is called when a
 * client without its GOAWAY has closed its half, and all that it sent was read.
 */
export function http2Socket(socket: Socket, onEnd: () => void): Duplex {
  if (!runtimeName().startsWith("deno")) return socket;
  return new WithoutGoaway(socket).on("end", onEnd);
}

/** Takes the GOAWAY frames out of a client's bytes. */
export class GoawayFilter {
  readonly #head = Buffer.alloc(headBytes);
  #headLength = 0;
  /** What is left of the preface or of the present frame's payload. */
  #left = prefaceBytes;
  #isDropping = false;

  /** The parts of `chunk` that pass. */
  take(chunk: Uint8Array): Buffer {
    const passed: Uint8Array[] = [];
    for (let at = 0; at < chunk.length; ) {
      const end = Math.min(chunk.length, at + (this.#left || headBytes - this.#headLength));
      const part = chunk.subarray(at, end);
      at = end;
      if (this.#left > 0) {
        this.#left -= part.length;
        if (!this.#isDropping) passed.push(part);
      } else {
        this.#head.set(part, this.#headLength);
        this.#headLength += part.length;
        if (this.#headLength === headBytes) this.#beginFrame(passed);
      }
    }
    return Buffer.concat(passed);
  }

  #beginFrame(passed: Uint8Array[]): void {
    this.#left = this.#head.readUIntBE(0, 3);
    this.#isDropping = this.#head[3] === goawayKind && this.#left <= frameBytesMax;
    if (!this.#isDropping) passed.push(Buffer.from(this.#head));
    this.#headLength = 0;
  }
}

class WithoutGoaway extends Duplex {
  readonly #socket: Socket;
  readonly #filter = new GoawayFilter();

  constructor(socket: Socket) {
    super();
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => {
      const passed = this.#filter.take(chunk);
      if (passed.length > 0 && !this.push(passed)) socket.pause();
    });
    socket.on("end", () => this.push(null));
    socket.on("close", () => this.destroy());
  }

  override _read(): void {
    this.#socket.resume();
  }

  override _write(
    chunk: Uint8Array,
    _encoding: string,
    done: (error?: Error | null) => void,
  ): void {
    this.#socket.write(chunk, done);
  }

  override _final(done: () => void): void {
    this.#socket.end(done);
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#socket.destroy();
    done(error);
  }
}
