/**
 * Samples: what the property tests share: how many runs they make, how bytes are drawn, and which
 * error they expect.
 *
 * A property that fails prints its seed and the smallest case that was found.
 *
 * @module
 */

import * as fc from "fast-check";
import * as assert from "uvu/assert";
import { QuorateError, type Slug } from "../src/errors.ts";

export const isLong = process.env["QUORATE_LONG"] === "1";

/** So many runs in the short run, twenty times as many in the long one. */
export function runs(short: number): {
  readonly numRuns: number;
  readonly includeErrorInReport: boolean;
} {
  return { numRuns: isLong ? short * 20 : short, includeErrorInReport: true };
}

export function bytesUpTo(length: number): fc.Arbitrary<Uint8Array> {
  return fc.uint8Array({ maxLength: length }).map((bytes) => new Uint8Array(bytes));
}

/** Keys that often share their beginnings, and hold the bytes at the ends of the range. */
export const anyKey: fc.Arbitrary<Uint8Array> = fc.oneof(
  fc
    .array(fc.constantFrom(0, 1, 0x61, 0x62, 0xfe, 0xff), { minLength: 1, maxLength: 4 })
    .map((bytes) => Uint8Array.from(bytes)),
  fc.uint8Array({ minLength: 1, maxLength: 40 }).map((bytes) => new Uint8Array(bytes)),
);

/** The error of this slug that a call throws. */
export function throwsSlug(slug: Slug, run: () => unknown, what = "it"): QuorateError {
  let thrown: unknown;
  try {
    run();
  } catch (error) {
    thrown = error;
  }
  return requireSlug(slug, thrown, what);
}

/** The error of this slug with which a promise rejects. */
export async function rejectsSlug(
  slug: Slug,
  promise: Promise<unknown>,
  what = "it",
): Promise<QuorateError> {
  const thrown = await promise.then(
    () => undefined,
    (error: unknown) => error ?? new Error("rejected with nothing"),
  );
  return requireSlug(slug, thrown, what);
}

export function requireSlug(slug: Slug, thrown: unknown, what: string): QuorateError {
  if (thrown === undefined) throw new Error(`${what} should have failed with ${slug}`);
  assert.instance(thrown, QuorateError, `${what}: ${String(thrown)}`);
  assert.is((thrown as QuorateError).slug, slug, `${what}: ${String(thrown)}`);
  return thrown as QuorateError;
}
