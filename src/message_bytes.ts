/**
 * MessageBytes: a buffer that is written to its end, and one that is read without believing it.
 *
 * Invariants
 * 1. A reader that is asked for more than there is gives zeros and is broken from then on; so a
 *    decoder asks once, at its end.
 * 2. A text of JSON that is none breaks the reader.
 *
 * Effects: none.
 *
 * @module
 */

import { assert } from "./assert.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });
const bytesAtFirst = 4096;
const empty = new Uint8Array(0);

export class ByteWriter {
  #bytes: Uint8Array;
  #view: DataView;
  #length = 0;

  constructor() {
    this.#bytes = new Uint8Array(bytesAtFirst);
    this.#view = new DataView(this.#bytes.buffer);
  }

  get length(): number {
    return this.#length;
  }

  /** What was written; the writer begins again with a buffer of its own. */
  take(): Uint8Array {
    const written = this.#bytes.subarray(0, this.#length);
    this.#bytes = new Uint8Array(Math.max(bytesAtFirst, Math.min(this.#length, 256 * 1024)));
    this.#view = new DataView(this.#bytes.buffer);
    this.#length = 0;
    return written;
  }

  /** Writes over what was written before. */
  patchU32(at: number, value: number): void {
    this.#view.setUint32(at, value);
  }

  /** Cuts what was written at `length` and after it; answers a copy. */
  cut(length: number): Uint8Array {
    const rest = this.#bytes.slice(length, this.#length);
    this.#length = length;
    return rest;
  }

  u8(value: number): void {
    this.#room(1);
    this.#bytes[this.#length] = value;
    this.#length += 1;
  }

  u32(value: number): void {
    this.#room(4);
    this.#view.setUint32(this.#length, value);
    this.#length += 4;
  }

  u48(value: number): void {
    this.#room(6);
    this.#view.setUint16(this.#length, Math.floor(value / 0x1_0000_0000));
    this.#view.setUint32(this.#length + 2, value % 0x1_0000_0000);
    this.#length += 6;
  }

  u64(value: bigint): void {
    this.#room(8);
    this.#view.setBigUint64(this.#length, value);
    this.#length += 8;
  }

  /** Up to 65,535 bytes, after their length. */
  short(bytes: Uint8Array): void {
    assert(bytes.length <= 0xffff, "message: a short field has a short length");
    this.#room(2 + bytes.length);
    this.#view.setUint16(this.#length, bytes.length);
    this.#bytes.set(bytes, this.#length + 2);
    this.#length += 2 + bytes.length;
  }

  text(text: string): void {
    // Nearly all of them are a few letters of ASCII: a request id, a content type, a topic.
    const { length } = text;
    this.#room(2 + length);
    const at = this.#length + 2;
    for (let index = 0; index < length; index += 1) {
      const code = text.charCodeAt(index);
      if (code > 0x7f) {
        this.short(encoder.encode(text));
        return;
      }
      this.#bytes[at + index] = code;
    }
    assert(length <= 0xffff, "message: a text has a short length");
    this.#view.setUint16(this.#length, length);
    this.#length = at + length;
  }

  /** The last field: its length is the message's. */
  rest(bytes: Uint8Array): void {
    this.#room(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** The last field, as JSON. */
  json(value: unknown): void {
    this.rest(encoder.encode(JSON.stringify(value ?? null)));
  }

  #room(bytes: number): void {
    const needed = this.#length + bytes;
    if (needed <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(needed, 2 * this.#bytes.length));
    larger.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = larger;
    this.#view = new DataView(larger.buffer);
  }
}

export class ByteReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;
  #isBroken = false;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get isBroken(): boolean {
    return this.#isBroken;
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  u8(): number {
    const at = this.#take(1);
    return at < 0 ? 0 : (this.#bytes[at] as number);
  }

  u16(): number {
    const at = this.#take(2);
    return at < 0 ? 0 : this.#view.getUint16(at);
  }

  u32(): number {
    const at = this.#take(4);
    return at < 0 ? 0 : this.#view.getUint32(at);
  }

  u48(): number {
    const at = this.#take(6);
    if (at < 0) return 0;
    return this.#view.getUint16(at) * 0x1_0000_0000 + this.#view.getUint32(at + 2);
  }

  u64(): bigint {
    const at = this.#take(8);
    return at < 0 ? 0n : this.#view.getBigUint64(at);
  }

  short(): Uint8Array {
    return this.bytes(this.u16());
  }

  bytes(length: number): Uint8Array {
    const at = this.#take(length);
    return at < 0 ? empty : this.#bytes.subarray(at, at + length);
  }

  rest(): Uint8Array {
    return this.bytes(this.left);
  }

  text(): string {
    const bytes = this.short();
    if (bytes.length > 32) return this.#decode(bytes);
    let text = "";
    for (let index = 0; index < bytes.length; index += 1) {
      const byte = bytes[index] as number;
      if (byte > 0x7f) return this.#decode(bytes);
      text += String.fromCharCode(byte);
    }
    return text;
  }

  /** The last field, as JSON. */
  json(): unknown {
    const text = this.#decode(this.rest());
    if (this.#isBroken) return undefined;
    try {
      return JSON.parse(text);
    } catch {
      this.#isBroken = true;
      return undefined;
    }
  }

  /** The last field, as a JSON object; an empty one where it is none. */
  fields(): Readonly<Record<string, unknown>> {
    const value = this.json();
    const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
    if (!isObject) this.#isBroken = true;
    return isObject ? (value as Record<string, unknown>) : {};
  }

  #decode(bytes: Uint8Array): string {
    try {
      return decoder.decode(bytes);
    } catch {
      this.#isBroken = true;
      return "";
    }
  }

  #take(length: number): number {
    const at = this.#at;
    if (this.#isBroken || at + length > this.#bytes.length) {
      this.#isBroken = true;
      return -1;
    }
    this.#at = at + length;
    return at;
  }
}
