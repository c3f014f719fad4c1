/**
 * Rpc body: the body of an RPC, within the bounds of the edge.
 *
 * The RPC library bounds a message too, but in its own words, without an ErrorDetail. So a message is
 * measured here, as its bytes pass by: over Connect the whole body of a call is one, over the other
 * protocols and in streams each message says its length in a head of five bytes.
 *
 *     Connect, one call     mmmmmmmmmmmmm
 *     gRPC, gRPC-Web        flags(1) length(4) mmmmm
 *     streams               flags(1) length(4) mmmmm  flags(1) length(4) mmm ...
 *
 * Invariants
 * 1. A message, expanded, has at most `readMaxBytes`; a longer one is refused by its head, unread.
 * 2. A body that does not arrive in time is refused; a stream may pause between its messages as long.
 * 3. Bodies hold at most what their budget allows, all of them together.
 *
 * Effects: timers, through the clock. Source: the protocol references of Connect and gRPC.
 *
 * @module
 */

import { Code, ConnectError } from "@connectrpc/connect";
import type { Compression } from "@connectrpc/connect/protocol";
import { compressionBrotli, compressionGzip } from "@connectrpc/connect-node";
import type { Budget } from "./admission.ts";
import { valueBytesMaxLimit } from "./api.ts";
import type { Clock } from "./capability.ts";
import { QuorateError } from "./errors.ts";
import { bodyTimedOut, smallPieceBytesMax } from "./exchange.ts";
import { connectError } from "./rpc_error.ts";

/** The largest message: the largest value that any namespace allows, and what surrounds it. */
export const readMaxBytes: number = valueBytesMaxLimit + 64 * 1024;

const frameHeadBytes = 5;
/**
 * The RPC library keeps a body as the pieces in which it came, so small ones cannot be put together as
 * `BodyBuffer` of `exchange` does: each is charged for what its object costs instead.
 */
const smallPieceCostBytes = 128;

export interface BoundedBodyOptions {
  readonly clock: Clock;
  readonly bodyTimeoutMs: number;
  readonly budget: Budget;
  /** Whether the client sends a stream of messages. */
  readonly isStream: boolean;
  /** Whether a head with its length stands before each message. */
  readonly isFramed: boolean;
  readonly requestId: string;
}

/** A request's body with the limits of the edge: of a message, in time, and of all bodies together. */
export class BoundedBody {
  readonly #options: BoundedBodyOptions;
  readonly #gauge: MessageGauge;
  /** What the budget was asked for: the two below together. */
  #bytes = 0;
  #wholeBytes = 0;
  /** What its small pieces cost beside what is in them. */
  #smallBytes = 0;

  constructor(options: BoundedBodyOptions) {
    this.#options = options;
    this.#gauge = new MessageGauge(options.isFramed);
  }

  get isStream(): boolean {
    return this.#options.isStream;
  }

  /** Gives back what the body has held. */
  end(): void {
    this.#options.budget.give(this.#bytes);
    this.#bytes = 0;
    this.#wholeBytes = 0;
    this.#smallBytes = 0;
  }

  async *over(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    const { clock, bodyTimeoutMs, requestId } = this.#options;
    let cancelTimer = () => {};
    let bytes = 0;
    const chunks = source[Symbol.asyncIterator]();
    const timeout = () =>
      new Promise<never>((_, reject) => {
        cancelTimer = clock.after(bodyTimeoutMs, () => {
          reject(connectError(bodyTimedOut(bodyTimeoutMs, bytes), requestId));
        });
      });
    let late = timeout();
    try {
      for (;;) {
        const { done, value } = await Promise.race([chunks.next(), late]);
        if (done === true) return;
        bytes += value.length;
        this.#take(value);
        yield value;
        if (!this.isStream) continue;
        // A stream lives as long as it likes; only the wait for its next piece is bounded.
        cancelTimer();
        late = timeout();
      }
    } finally {
      cancelTimer();
      late.catch(() => {});
      // What a stream has held ends with it; of other calls the message is in use still.
      if (this.isStream) this.end();
    }
  }

  #take(chunk: Uint8Array): void {
    const { budget, requestId } = this.#options;
    try {
      this.#gauge.take(chunk);
      // The messages of a stream are answered one by one: what is held is the one that goes on.
      const isMore = this.#wholeBytes > 0 && chunk.length < smallPieceBytesMax;
      const cost = isMore ? smallPieceCostBytes : 0;
      const { begunBytes } = this.#gauge;
      this.#smallBytes = this.isStream && begunBytes === 0 ? 0 : this.#smallBytes + cost;
      this.#wholeBytes = this.isStream ? begunBytes : this.#wholeBytes + chunk.length;
      const bytes = this.#wholeBytes + this.#smallBytes;
      if (bytes > this.#bytes) budget.take(bytes - this.#bytes);
      else budget.give(this.#bytes - bytes);
      this.#bytes = bytes;
    } catch (failure) {
      throw connectError(failure, requestId);
    }
  }
}

/** Measures the messages of a body as its bytes pass by. */
export class MessageGauge {
  readonly #isFramed: boolean;
  readonly #head = new Uint8Array(frameHeadBytes);
  #headBytes = 0;
  /** What is left of the message whose head was read; not framed: what is allowed still. */
  #leftBytes: number;
  /** What has come of that message, with its head (framed). */
  #begunBytes = 0;

  /** What has come of a message that is not whole (framed). */
  get begunBytes(): number {
    return this.#begunBytes;
  }

  constructor(isFramed: boolean) {
    this.#isFramed = isFramed;
    this.#leftBytes = isFramed ? 0 : readMaxBytes;
  }

  /** Throws `value-too-large` for a message above the limit. */
  take(chunk: Uint8Array): void {
    if (!this.#isFramed) {
      this.#leftBytes -= chunk.length;
      if (this.#leftBytes < 0) throw messageTooLarge("has more than that");
      return;
    }
    let offset = 0;
    while (offset < chunk.length) {
      if (this.#leftBytes > 0) {
        const passed = Math.min(this.#leftBytes, chunk.length - offset);
        this.#leftBytes -= passed;
        this.#begunBytes = this.#leftBytes === 0 ? 0 : this.#begunBytes + passed;
        offset += passed;
        continue;
      }
      this.#head[this.#headBytes] = chunk[offset] as number;
      this.#headBytes += 1;
      offset += 1;
      this.#begunBytes += 1;
      if (this.#headBytes === frameHeadBytes) this.#beginMessage();
    }
  }

  #beginMessage(): void {
    this.#headBytes = 0;
    this.#leftBytes = new DataView(this.#head.buffer).getUint32(1);
    if (this.#leftBytes === 0) this.#begunBytes = 0;
    if (this.#leftBytes > readMaxBytes) throw messageTooLarge(`has ${this.#leftBytes}`);
  }
}

/** Throws `value-too-large` where the declared length leaves no room for a message within its limit. */
export function checkDeclared(contentLength: string | undefined): void {
  const bytes = Number(contentLength ?? 0);
  if (bytes > readMaxBytes + frameHeadBytes) throw messageTooLarge(`has ${bytes}`);
}

/** gzip and brotli, whose failures say what ours say. The request's id is in the answer's header alone. */
export const acceptCompression: Compression[] = [compressionGzip, compressionBrotli].map(
  (compression) => ({
    name: compression.name,
    compress: compression.compress,
    decompress: (bytes, bytesMax) =>
      compression.decompress(bytes, bytesMax).catch((reason: unknown) => {
        throw connectError(notExpanded(ConnectError.from(reason), compression.name), "");
      }),
  }),
);

function notExpanded({ code }: ConnectError, name: string): QuorateError {
  if (code === Code.ResourceExhausted) return messageTooLarge("expands to more than that");
  return new QuorateError("invalid-request", `The message is not ${name}, as its header says.`, {
    outcome: "none",
    hint: "Compress it again, or send it as it is.",
  });
}

export function messageTooLarge(what: string, limit = readMaxBytes): QuorateError {
  return new QuorateError(
    "value-too-large",
    `A message may have ${limit} bytes; this one ${what}.`,
    { outcome: "none", limit, hint: "Store the value in pieces." },
  );
}
