/**
 * Channel: one end of a stream between two nodes: messages become frames, and frames messages.
 *
 * Messages are encoded when they are given, and everything that is there when the stream has room
 * for a frame goes out in it: the operations of one turn of the event loop travel together. A message
 * that is large travels in pieces, one a frame, so that those behind it do not wait for it; where these fill
 * frames without an end, the two take turns.
 *
 *     frame     message*     message = length u32, bytes
 *                            piece   = length u32 with the top bit set, group u32, last u8, bytes
 *
 * Until the two ends know each other, frames are raw: the handshake's business.
 *
 * Invariants
 * 1. Where `queueBytesMax` wait to be sent, no message is taken: what waits is less than that and one.
 * 2. What is put together of pieces is at most `messageBytesMax`, of at most `groupsMax` messages with
 *    `groupBytesMax` in all, which is the same at all nodes, however much each lets wait to be sent. Who sends
 *    begins no more than that, so the rest waits whole for its turn; and no more than `queueBytesMax`, by which
 *    an older program goes at both ends: one with the same settings is understood, and understands.
 * 3. A frame that is none ends the channel: nothing after it could be understood.
 *
 * Effects: Clock; the stream asks for frames and gives them. Source: docs/cluster.md, "Links and handshake".
 *
 * @module
 */

import { assert } from "./assert.ts";
import type { Clock, FrameSink, FrameSource } from "./capability.ts";
import { decodeMessage, encodeMessage, type Message } from "./message.ts";
import { ByteWriter } from "./message_bytes.ts";

export interface ChannelEvents {
  onRaw(frame: Uint8Array): void;
  onMessage(message: Message): void;
  /** Called once; nothing is sent or heard any more. */
  onEnd(reason: Error | undefined): void;
}

export interface ChannelLimits {
  readonly queueBytesMax: number;
  readonly messageBytesMax: number;
}

const pieceBytes = 64 * 1024;
/** All but the last of a message: pieces that hold next to nothing would cost more than they count. */
const pieceBytesMin = 1024;
const frameBytesMax = 256 * 1024;
const pieceFlag = 0x8000_0000;
/** Messages that are put together at the same time, and the bytes of all of them. */
const groupsMax = 256;
const groupBytesMax = 64 * 1024 * 1024;

interface Large {
  readonly bytes: Uint8Array;
  readonly group: number;
  sent: number;
}

interface Group {
  readonly pieces: Uint8Array[];
  bytes: number;
}

export class Channel implements FrameSource, FrameSink {
  readonly #clock: Clock;
  readonly #events: ChannelEvents;
  readonly #limits: ChannelLimits;
  /** Frames that are full, or raw. */
  #frames: Uint8Array[] = [];
  #frameBytes = 0;
  readonly #writer = new ByteWriter();
  /** Large messages of which nothing has gone out. */
  #large: Large[] = [];
  /** Those that go out, a piece of each in turn. */
  #begun: Large[] = [];
  /** The whole lengths of these. */
  #begunBytes = 0;
  /** What is left to send of both. */
  #largeBytes = 0;
  #lastGroup = 0;
  /** A full frame was the last to go. */
  #isPieceDue = false;
  readonly #groups = new Map<number, Group>();
  #groupBytes = 0;
  #waiting: ((frame: Uint8Array | undefined) => void) | undefined;
  #isDue = false;
  #isOpen = false;
  #isEnded = false;

  constructor(clock: Clock, events: ChannelEvents, limits: ChannelLimits) {
    assert(limits.messageBytesMax <= groupBytesMax, "channel: each message can be put together");
    this.#clock = clock;
    this.#events = events;
    this.#limits = limits;
  }

  /** Bytes that wait to be sent. */
  get queueBytes(): number {
    return this.#frameBytes + this.#writer.length + this.#largeBytes;
  }

  get isEnded(): boolean {
    return this.#isEnded;
  }

  /** The handshake is over: what comes now are messages. */
  open(): void {
    this.#isOpen = true;
  }

  sendRaw(frame: Uint8Array): void {
    if (this.#isEnded) return;
    this.#frames.push(frame);
    this.#frameBytes += frame.length;
    this.#wake();
  }

  /** False when the queue is full, or the stream has ended: then nothing of it is sent. */
  send(message: Message): boolean {
    if (this.#isEnded || this.queueBytes >= this.#limits.queueBytesMax) return false;
    const writer = this.#writer;
    const start = writer.length;
    writer.u32(0);
    encodeMessage(message, writer);
    const bytes = writer.length - start - 4;
    if (bytes > pieceBytes) this.#sendLarge(writer.cut(start).subarray(4));
    else {
      writer.patchU32(start, bytes);
      if (writer.length >= frameBytesMax) this.#cutFrame();
    }
    this.#wake();
    return true;
  }

  /** The end of the stream, once what was given is on its way. */
  end(reason?: Error): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#groups.clear();
    if (this.#waiting !== undefined) this.#wake();
    this.#events.onEnd(reason);
  }

  next(): Promise<Uint8Array | undefined> {
    return new Promise((resolve) => {
      this.#waiting = resolve;
      if (this.queueBytes > 0 || this.#isEnded) this.#wake();
    });
  }

  onFrame(frame: Uint8Array): void {
    if (this.#isEnded) return;
    if (!this.#isOpen) {
      this.#events.onRaw(frame);
      return;
    }
    if (!this.#read(frame)) this.end(new Error("a frame could not be read"));
  }

  onEnd(reason: Error | undefined): void {
    this.end(reason);
  }

  #sendLarge(bytes: Uint8Array): void {
    this.#lastGroup = (this.#lastGroup + 1) >>> 0;
    this.#large.push({ bytes, group: this.#lastGroup, sent: 0 });
    this.#largeBytes += bytes.length;
  }

  #cutFrame(): void {
    const frame = this.#writer.take();
    this.#frames.push(frame);
    this.#frameBytes += frame.length;
  }

  /** What becomes ready in this turn joins the frame. */
  #wake(): void {
    if (this.#waiting === undefined || this.#isDue) return;
    this.#isDue = true;
    this.#clock.soon(() => {
      this.#isDue = false;
      const waiting = this.#waiting;
      if (waiting === undefined) return;
      const frame = this.#takeFrame();
      if (frame === undefined && !this.#isEnded) return;
      this.#waiting = undefined;
      waiting(frame);
    });
  }

  #takeFrame(): Uint8Array | undefined {
    this.#beginLarge();
    // In turn with full frames: where these never end, large messages would never go out.
    const first = this.#isPieceDue && this.#begun.length > 0 ? undefined : this.#frames.shift();
    this.#isPieceDue = first !== undefined;
    if (first !== undefined) {
      this.#frameBytes -= first.length;
      return first;
    }
    // Nothing passes the frames that are full but a piece.
    const writer = this.#frames.length > 0 ? new ByteWriter() : this.#writer;
    const large = this.#begun.shift();
    if (large !== undefined) this.#writePiece(large, writer);
    return writer.length === 0 ? undefined : writer.take();
  }

  /** Begins as many as the other end puts together at the same time; one is never too many. */
  #beginLarge(): void {
    for (let next = this.#large[0]; next !== undefined; next = this.#large[0]) {
      const bytes = this.#begunBytes + next.bytes.length;
      const bytesMax = Math.min(groupBytesMax, this.#limits.queueBytesMax);
      const isRoom = this.#begun.length < groupsMax && bytes <= bytesMax;
      if (this.#begun.length > 0 && !isRoom) return;
      this.#large.shift();
      this.#begun.push(next);
      this.#begunBytes = bytes;
    }
  }

  /** One piece of the large message that waits longest; it then waits behind the others. */
  #writePiece(large: Large, writer: ByteWriter): void {
    const end = Math.min(large.sent + pieceBytes, large.bytes.length);
    const piece = large.bytes.subarray(large.sent, end);
    const isLast = end === large.bytes.length;
    writer.u32((pieceFlag | (5 + piece.length)) >>> 0);
    writer.u32(large.group);
    writer.u8(isLast ? 1 : 0);
    writer.rest(piece);
    large.sent = end;
    this.#largeBytes -= piece.length;
    if (isLast) this.#begunBytes -= large.bytes.length;
    else this.#begun.push(large);
  }

  /** Whether the whole frame could be read. */
  #read(frame: Uint8Array): boolean {
    const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
    let at = 0;
    while (at < frame.length) {
      if (at + 4 > frame.length) return false;
      const word = view.getUint32(at);
      const isPiece = (word & pieceFlag) !== 0;
      const length = word & ~pieceFlag;
      const start = at + 4;
      at = start + length;
      if (at > frame.length) return false;
      const bytes = frame.subarray(start, at);
      if (!(isPiece ? this.#readPiece(bytes) : this.#readMessage(bytes))) return false;
      if (this.#isEnded) return true;
    }
    return true;
  }

  #readMessage(bytes: Uint8Array): boolean {
    const message = decodeMessage(bytes);
    if (message === undefined) return false;
    this.#events.onMessage(message);
    return true;
  }

  #readPiece(bytes: Uint8Array): boolean {
    if (bytes.length < 5 + (bytes[4] === 0 ? pieceBytesMin : 0)) return false;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const id = view.getUint32(0);
    const group = this.#groups.get(id) ?? { pieces: [], bytes: 0 };
    // Not a view: it would keep the whole frame until the last piece has come.
    const piece = bytes.slice(5);
    group.pieces.push(piece);
    group.bytes += piece.length;
    this.#groupBytes += piece.length;
    const { messageBytesMax, queueBytesMax } = this.#limits;
    const bytesMax = Math.max(groupBytesMax, queueBytesMax);
    if (group.bytes > messageBytesMax || this.#groupBytes > bytesMax) return false;
    if (bytes[4] === 0) {
      this.#groups.set(id, group);
      return this.#groups.size <= groupsMax;
    }
    this.#groups.delete(id);
    this.#groupBytes -= group.bytes;
    const whole = new Uint8Array(group.bytes);
    let at = 0;
    for (const part of group.pieces) {
      whole.set(part, at);
      at += part.length;
    }
    return this.#readMessage(whole);
  }
}
