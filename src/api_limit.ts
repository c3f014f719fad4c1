/**
 * ApiLimit: what a key or value beyond its bounds is told, the same on every edge.
 *
 * Effects: none.
 *
 * @module
 */

import { keyBytesMax } from "./api.ts";
import { type Outcome, QuorateError } from "./errors.ts";
import { grouped } from "./figures.ts";

/** Of a write `none`: it was refused before anything was done. */
interface Known {
  readonly outcome?: Outcome;
}

/** @throws `invalid-key`, `key-too-long` */
export function checkKey(key: Uint8Array, known: Known = {}): void {
  if (key.length === 0) {
    throw new QuorateError("invalid-key", "The key is empty; a key has 1 to 1,024 bytes.", {
      ...known,
      hint: "Give the key at least one byte.",
    });
  }
  if (key.length > keyBytesMax) throw keyTooLong(key.length, known);
}

export function keyTooLong(bytes: number, known: Known = {}): QuorateError {
  return new QuorateError(
    "key-too-long",
    `The key has ${grouped(bytes)} bytes; ${grouped(keyBytesMax)} are allowed.`,
    { ...known, limit: keyBytesMax, hint: "Use a shorter key, or a hash of this one." },
  );
}

/** `bytes` undefined: more than `limit`, and nobody counted how many. */
export function valueTooLarge(bytes: number | undefined, limit: number): QuorateError {
  const size = bytes === undefined ? "more" : `${grouped(bytes)} bytes`;
  return new QuorateError(
    "value-too-large",
    `The value has ${size}; ${grouped(limit)} bytes are allowed.`,
    {
      outcome: "none",
      limit,
      hint: "Raise the namespace's maxValue (at most 32 MiB), or store the value in pieces.",
    },
  );
}
