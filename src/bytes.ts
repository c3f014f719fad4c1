/**
 * Bytes: small total functions on byte strings that every layer needs.
 *
 * Keys and values are bytes, never text. Where text is wanted (JSON, a terminal) the caller asks
 * with `utf8OrUndefined`, which refuses bytes that would not come back the same.
 *
 * Invariants
 * 1. `compare` is the bytewise order that LMDB, the lists and the cursors share.
 * 2. `latin1` maps bytes to a string of the same length whose order under `<` is `compare`'s:
 *    an engine keeps such a string in one byte a character and compares it with one memcmp.
 *
 * Effects: none.
 *
 * @module
 */

const utf8Strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const utf8Encoder = new TextEncoder();

export const emptyBytes: Uint8Array = new Uint8Array(0);

/** Whether UTF-8 can hold a text: it has no half of a surrogate pair, which an encoder would replace. */
export function isWellFormed(text: string): boolean {
  return !/\p{Surrogate}/u.test(text);
}

export function utf8Bytes(text: string): Uint8Array {
  return utf8Encoder.encode(text);
}

/** The text of `bytes`, or undefined when they are not valid UTF-8. */
export function utf8OrUndefined(bytes: Uint8Array): string | undefined {
  try {
    return utf8Strict.decode(bytes);
  } catch {
    return undefined;
  }
}

/** Bytewise order, shorter first when one begins with the other: -1, 0 or 1. */
export function compare(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let index = 0; index < length; index += 1) {
    const difference = (a[index] as number) - (b[index] as number);
    if (difference !== 0) return difference < 0 ? -1 : 1;
  }
  return a.length === b.length ? 0 : a.length < b.length ? -1 : 1;
}

export function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && compare(a, b) === 0;
}

export function startsWith(bytes: Uint8Array, prefix: Uint8Array): boolean {
  return bytes.length >= prefix.length && equal(bytes.subarray(0, prefix.length), prefix);
}

/** The first byte string after every one that begins with `prefix`; undefined when there is none. */
export function prefixEnd(prefix: Uint8Array): Uint8Array | undefined {
  for (let length = prefix.length; length > 0; length -= 1) {
    const last = prefix[length - 1] as number;
    if (last < 0xff) {
      const end = prefix.slice(0, length);
      end[length - 1] = last + 1;
      return end;
    }
  }
  return undefined;
}

/** The next byte string in order: `bytes` and a zero byte. */
export function successor(bytes: Uint8Array): Uint8Array {
  const next = new Uint8Array(bytes.length + 1);
  next.set(bytes);
  return next;
}

/** The bytes of a text of hex digits; undefined for an odd length or another letter. */
export function fromHex(text: string): Uint8Array | undefined {
  if (text.length % 2 !== 0 || !/^[0-9a-f]*$/.test(text)) return undefined;
  const bytes = new Uint8Array(text.length / 2);
  for (let index = 0; index < bytes.length; index += 1) {
    bytes[index] = Number.parseInt(text.slice(index * 2, index * 2 + 2), 16);
  }
  return bytes;
}

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const whole = new Uint8Array(length);
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}

/** More arguments than this in one call may be more than an engine's stack takes. */
const latin1BytesPerCallMax = 4_096;

/** One character a byte (invariant 2). */
export function latin1(bytes: Uint8Array): string {
  if (bytes.length <= latin1BytesPerCallMax) return String.fromCharCode(...bytes);
  let text = "";
  for (let start = 0; start < bytes.length; start += latin1BytesPerCallMax) {
    text += String.fromCharCode(...bytes.subarray(start, start + latin1BytesPerCallMax));
  }
  return text;
}

/** The bytes of a text that `latin1` made. */
export function fromLatin1(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let index = 0; index < text.length; index += 1) bytes[index] = text.charCodeAt(index);
  return bytes;
}

const hexDigits = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

export function toHex(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += hexDigits[byte];
  return text;
}

export function hex64(value: bigint): string {
  return value.toString(16).padStart(16, "0");
}

const base64urlLetters = utf8Bytes(
  "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
);
const noLetter = 255;
/** By the letter's code. */
const base64urlValues = new Uint8Array(128).fill(noLetter);
for (const [value, code] of base64urlLetters.entries()) base64urlValues[code] = value;

/**
 * Base64url without padding (RFC 4648 section 5). The letters are bytes until the end: a text that
 * grows letter by letter costs 32 bytes for each, which is a gigabyte for the largest value.
 */
export function toBase64url(bytes: Uint8Array): string {
  const text = new Uint8Array(Math.ceil((bytes.length * 4) / 3));
  const letter = (value: number): number => base64urlLetters[value & 63] as number;
  let offset = 0;
  for (let index = 0; index < bytes.length; index += 3) {
    const a = bytes[index] as number;
    const b = bytes[index + 1] ?? 0;
    const c = bytes[index + 2] ?? 0;
    // Past the end of the array, where there are no such bytes, nothing is written.
    text[offset] = letter(a >> 2);
    text[offset + 1] = letter((a << 4) | (b >> 4));
    text[offset + 2] = letter((b << 2) | (c >> 6));
    text[offset + 3] = letter(c);
    offset += 4;
  }
  return utf8Strict.decode(text);
}

/** The bytes of a base64url text; undefined for a wrong letter, length or non-zero spare bits. */
export function fromBase64url(text: string): Uint8Array | undefined {
  const spare = text.length % 4;
  if (spare === 1) return undefined;
  const bytes = new Uint8Array(Math.floor((text.length * 3) / 4));
  let held = 0;
  let heldBits = 0;
  let offset = 0;
  for (let index = 0; index < text.length; index += 1) {
    const value = base64urlValues[text.charCodeAt(index)] ?? noLetter;
    if (value === noLetter) return undefined;
    held = ((held << 6) | value) & 0xffff;
    heldBits += 6;
    if (heldBits >= 8) {
      heldBits -= 8;
      bytes[offset] = (held >> heldBits) & 0xff;
      offset += 1;
    }
  }
  return (held & ((1 << heldBits) - 1)) === 0 ? bytes : undefined;
}
