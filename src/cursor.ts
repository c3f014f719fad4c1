/**
 * Cursor: where a list goes on, as an opaque text.
 *
 *     0 format u8 | 1 crc32 of (namespace number, prefix, direction, last key) u32 | 5 last key
 *
 * Invariants
 * 1. `parseCursor` accepts a cursor only for the list that it came from: namespace, prefix, direction.
 *
 * Effects: none.
 *
 * @module
 */

import { keyBytesMax } from "./api.ts";
import { fromBase64url, toBase64url } from "./bytes.ts";
import { crc32 } from "./hash.ts";

const cursorFormat = 1;
const headerBytes = 5;

/** The list that a cursor belongs to. */
export interface CursorScope {
  readonly namespaceNumber: number;
  readonly prefix: Uint8Array;
  readonly reverse: boolean;
}

export function makeCursor(scope: CursorScope, lastKey: Uint8Array): string {
  const bytes = new Uint8Array(headerBytes + lastKey.length);
  bytes[0] = cursorFormat;
  bytes.set(lastKey, headerBytes);
  new DataView(bytes.buffer).setUint32(1, binding(scope, lastKey));
  return toBase64url(bytes);
}

/** The last key of the page before; undefined for a text that is no cursor of this list. */
export function parseCursor(scope: CursorScope, text: string): Uint8Array | undefined {
  if (text.length > 2 * (keyBytesMax + headerBytes)) return undefined;
  const bytes = fromBase64url(text);
  if (bytes === undefined || bytes.length <= headerBytes || bytes[0] !== cursorFormat) {
    return undefined;
  }
  const lastKey = bytes.subarray(headerBytes);
  const stored = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(1);
  return stored === binding(scope, lastKey) ? lastKey : undefined;
}

function binding({ namespaceNumber, prefix, reverse }: CursorScope, lastKey: Uint8Array): number {
  const head = new Uint8Array(7);
  const view = new DataView(head.buffer);
  view.setUint32(0, namespaceNumber);
  view.setUint16(4, prefix.length);
  head[6] = reverse ? 1 : 0;
  return crc32(lastKey, crc32(prefix, crc32(head)));
}
