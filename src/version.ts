/**
 * Version: which write of a key is newer.
 *
 * A version is `(hlc, origin)`: a hybrid logical clock stamp and the random 64-bit number of the
 * store that minted it. It is minted once, so two different writes never share one, and comparing
 * needs nobody's help: first the stamp, then the origin. It is also a dot in the sense of dotted
 * version vectors.
 *
 * Invariants
 * 1. `compareVersions` is a total order; equal means the same write.
 * 2. The text form sorts as the versions do, and is the strong ETag of the record without quotes.
 *
 * Effects: none. Source: rule V1; Kulkarni et al., "Logical Physical Clocks" (2014), section 3;
 * Preguiça et al., "Dotted Version Vectors" (2010).
 *
 * @module
 */

import { hex64 } from "./bytes.ts";
import type { Hlc } from "./hlc.ts";

/** The number under which a store mints, drawn at random. */
export type Origin = bigint;

export interface Version {
  readonly hlc: Hlc;
  readonly origin: Origin;
}

/** -1 when `a` is older, 1 when it is newer, 0 when both are the same write. */
export function compareVersions(a: Version, b: Version): number {
  if (a.hlc !== b.hlc) return a.hlc < b.hlc ? -1 : 1;
  if (a.origin !== b.origin) return a.origin < b.origin ? -1 : 1;
  return 0;
}

/** `<hlc, 16 hex>-<origin, 16 hex>`. */
export function versionText(version: Version): string {
  return `${hex64(version.hlc)}-${hex64(version.origin)}`;
}
