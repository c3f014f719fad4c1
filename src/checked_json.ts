/**
 * Checked JSON: a small JSON document under a checksum.
 *
 * What a folder says about itself (who it belongs to, up to where its table reaches) is read once at
 * a start and written rarely. JSON keeps it readable with a pager; the envelope tells a whole
 * document from a torn or damaged one before a byte of it is believed.
 *
 *     0 magic "QSEAL1\n\0" 8 | 8 crc32 u32 | 12 length u32 | 16 JSON
 *
 * Invariants
 * 1. `decodeChecked(encodeChecked(x))` equals x, also when other bytes follow.
 * 2. `decodeChecked` never throws and allocates nothing by a length that it read.
 *
 * Effects: none.
 *
 * @module
 */

import { utf8Bytes, utf8OrUndefined } from "./bytes.ts";
import { crc32 } from "./hash.ts";

const magic = utf8Bytes("QSEAL1\n\0");
const headerBytes = 16;

export function encodeChecked(document: unknown): Uint8Array {
  const text = utf8Bytes(JSON.stringify(document));
  const bytes = new Uint8Array(headerBytes + text.length);
  bytes.set(magic);
  bytes.set(text, headerBytes);
  const view = new DataView(bytes.buffer);
  view.setUint32(12, text.length);
  view.setUint32(8, crc32(bytes.subarray(12)));
  return bytes;
}

/** The document; undefined when the bytes are not a whole one. */
export function decodeChecked(bytes: Uint8Array): unknown {
  if (bytes.length < headerBytes) return undefined;
  if (!magic.every((byte, at) => bytes[at] === byte)) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = headerBytes + view.getUint32(12);
  if (end > bytes.length || view.getUint32(8) !== crc32(bytes.subarray(12, end))) return undefined;
  const text = utf8OrUndefined(bytes.subarray(headerBytes, end));
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
