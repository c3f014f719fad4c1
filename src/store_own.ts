/**
 * StoreOwn: records that a store keeps for its node, in namespaces that no client and no repair sees.
 *
 * Invariants
 * 1. What was written last is what is kept: after the clock was set back too, when versions begin again
 *    below those of before (V1).
 *
 * Effects: the store, through a port. Source: rules V1, V3.
 *
 * @module
 */

import { ownNamespaceMin } from "./api.ts";
import type { StoredRecord } from "./record.ts";
import type { Version } from "./version.ts";

/** Their numbers, once and for all: folders have records under them. */
export const ownNamespaces = {
  hints: ownNamespaceMin,
  repairMarks: ownNamespaceMin + 1,
  watermarks: ownNamespaceMin + 2,
  votes: ownNamespaceMin + 3,
} as const;

/** What is needed of the store. */
export interface OwnStore {
  readonly mint: {
    mint(): Version | Promise<Version>;
    mintAbove(version: Version): Promise<Version>;
  };
  write(write: {
    readonly namespaceNumber: number;
    readonly key: Uint8Array;
    readonly record: StoredRecord;
    readonly durability: "fsync";
    readonly isVital: boolean;
  }): Promise<
    { readonly kind: "took" } | { readonly kind: "superseded"; readonly version: Version }
  >;
}

export interface OwnRecord {
  readonly namespaceNumber: number;
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** Durable when it resolves; into the reserve of a full disk too: it is small. @throws what the store does */
export async function writeOwn(store: OwnStore, own: OwnRecord): Promise<void> {
  const { namespaceNumber, key, value } = own;
  let version = await store.mint.mint();
  for (;;) {
    const record = {
      ...{ version, tombstone: false, contentType: "application/octet-stream", meta: [] },
      value,
    };
    const write = { namespaceNumber, key, record, durability: "fsync", isVital: true } as const;
    const written = await store.write(write);
    if (written.kind === "took") return;
    version = await store.mint.mintAbove(written.version);
  }
}
