/**
 * RpcFrames: the frames of a link as messages of gRPC on one HTTP/2 stream, without the RPC library.
 *
 *     message   flags u8 = 0 | length u32 | 0x0a, length of the frame (varint), frame
 *
 * Nodes say thousands of frames a second to each other, most of them of one or two requests. The
 * library's pipeline of iterators took more of a node's time for these than all that they ask for. What
 * goes over the wire is the same, and who uses a gRPC library at the other end cannot tell.
 *
 * Invariants
 * 1. A frame is asked of a source only when the stream has room: what is held is one and its buffer.
 * 2. Nothing is allocated for a message above the limit, nor for the first byte behind one that failed.
 *
 * Effects: the stream. Source: the protocol reference of gRPC over HTTP/2, "Length-Prefixed-Message".
 *
 * @module
 */

import { fromBinary } from "@bufbuild/protobuf";
import type { FrameSource } from "./capability.ts";
import { QuorateError } from "./errors.ts";
import { LinkRequestSchema } from "./gen/quorate/peer/v1/peer_pb.ts";
import { messageTooLarge } from "./rpc_body.ts";

/** The path of the stream. */
export const linkPath = "/quorate.peer.v1.PeerService/Link";
export const linkContentType = "application/grpc+proto";

/** The largest message: a frame far above what a channel makes, far below what hurts. */
export const frameBytesMax: number = 2 * 1024 * 1024;

const headBytes = 5;
/** Field 1, with a length before it: of LinkRequest and LinkResponse alike. */
const frameTag = 0x0a;
const varintBytesMax = 5;

/** A frame as it goes over the wire. */
export function messageOf(frame: Uint8Array): Uint8Array {
  const { length } = frame;
  const lengthBytes = varintBytes(length);
  const message = new Uint8Array(headBytes + 1 + lengthBytes + length);
  new DataView(message.buffer).setUint32(1, 1 + lengthBytes + length);
  message[headBytes] = frameTag;
  let at = headBytes + 1;
  let rest = length;
  for (; rest > 0x7f; rest >>>= 7) {
    message[at] = (rest & 0x7f) | 0x80;
    at += 1;
  }
  message[at] = rest;
  message.set(frame, at + 1);
  return message;
}

function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest > 0x7f; rest >>>= 7) bytes += 1;
  return bytes;
}

/** Puts frames together from the pieces in which a stream brings them. */
export class FrameReader {
  readonly #bytesMax: () => number;
  readonly #onFrame: (frame: Uint8Array) => void;
  readonly #head = new Uint8Array(headBytes);
  #headBytes = 0;
  /** The message whose head was read. */
  #message: Uint8Array | undefined;
  #messageBytes = 0;

  /** `bytesMax` is asked for each message. */
  constructor(bytesMax: () => number, onFrame: (frame: Uint8Array) => void) {
    this.#bytesMax = bytesMax;
    this.#onFrame = onFrame;
  }

  /**
   * Gives the frames that are whole with these bytes. What cannot be read is answered; then nothing
   * behind it can be, and no more may be given.
   */
  take(bytes: Uint8Array): QuorateError | undefined {
    let at = 0;
    while (at < bytes.length || this.#isWhole) {
      if (this.#message === undefined) {
        this.#head[this.#headBytes] = bytes[at] as number;
        this.#headBytes += 1;
        at += 1;
        const failure = this.#headBytes < headBytes ? undefined : this.#begin();
        if (failure !== undefined) return failure;
      } else if (!this.#isWhole) {
        const end = Math.min(bytes.length, at + this.#message.length - this.#messageBytes);
        this.#message.set(bytes.subarray(at, end), this.#messageBytes);
        this.#messageBytes += end - at;
        at = end;
      } else {
        const frame = frameIn(this.#message);
        this.#message = undefined;
        if (frame instanceof QuorateError) return frame;
        this.#onFrame(frame);
      }
    }
    return undefined;
  }

  /** No more bytes come: a message that has begun is told. */
  finish(): QuorateError | undefined {
    const isBetween = this.#headBytes === 0 && this.#message === undefined;
    return isBetween ? undefined : unreadable("It is cut short.");
  }

  get #isWhole(): boolean {
    return this.#message !== undefined && this.#messageBytes === this.#message.length;
  }

  #begin(): QuorateError | undefined {
    const length = new DataView(this.#head.buffer).getUint32(1);
    if (this.#head[0] !== 0)
      return unreadable("It is compressed, or ends a stream of another protocol.");
    const bytesMax = this.#bytesMax();
    if (length > bytesMax) return messageTooLarge(`has ${length}`, bytesMax);
    this.#headBytes = 0;
    this.#message = new Uint8Array(length);
    this.#messageBytes = 0;
    return undefined;
  }
}

function frameIn(message: Uint8Array): Uint8Array | QuorateError {
  if (message[0] === frameTag) {
    let length = 0;
    let at = 1;
    for (; at <= varintBytesMax; at += 1) {
      const byte = message[at] ?? 0;
      length += (byte & 0x7f) * 2 ** (7 * (at - 1));
      if (byte < 0x80) break;
    }
    // What a node sends: this field, and nothing else.
    if (at + 1 + length === message.length) return message.subarray(at + 1);
  }
  try {
    return fromBinary(LinkRequestSchema, message).frame;
  } catch (failure) {
    return unreadable(failure instanceof Error ? failure.message : String(failure));
  }
}

function unreadable(why: string): QuorateError {
  return new QuorateError("invalid-request", `A message of the stream cannot be read. ${why}`, {
    outcome: "none",
    hint: "Use the PeerService of this version, without compression.",
  });
}

/** What is used of a stream, or of the answer to a request. */
export interface FrameOutput {
  write(bytes: Uint8Array): boolean;
  once(event: "drain", listener: () => void): unknown;
}

/**
 * Sends frames as the stream takes them, until the source has no more, which `onDone` hears, or `isOver`. A
 * source that fails has broken an invariant: out of its promise that ends the process.
 */
export function sendFrames(
  source: FrameSource,
  output: FrameOutput,
  isOver: () => boolean,
  onDone: () => void,
): void {
  const ask = (): void => {
    if (!isOver()) void source.next().then(send);
  };
  const send = (frame: Uint8Array | undefined): void => {
    if (isOver()) return;
    if (frame === undefined) onDone();
    else if (output.write(messageOf(frame))) ask();
    else output.once("drain", ask);
  };
  ask();
}
