/**
 * StoreOwn: records that a store keeps for its node, in namespaces that no client and no repair sees.
 *
 * Effects: the store, through a port.
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
  write(write: {
    readonly namespaceNumber: number;
    readonly key: Uint8Array;
    readonly record: StoredRecord;
    readonly durability: "fsync";
    readonly isVital: boolean;
  }): Promise<unknown>;
}

export interface OwnRecord {
  readonly namespaceNumber: number;
  readonly key: Uint8Array;
  readonly version: Version;
  readonly value: Uint8Array;
}

/** Durable when it resolves; into the reserve of a full disk too: it is small. @throws what the store does */
export function writeOwn(store: OwnStore, own: OwnRecord): Promise<unknown> {
  const { namespaceNumber, key, version, value } = own;
  const record = {
    ...{ version, tombstone: false, contentType: "application/octet-stream", meta: [] },
    value,
  };
  return store.write({ namespaceNumber, key, record, durability: "fsync", isVital: true });
}
