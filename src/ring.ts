/**
 * Ring: which partition a key falls in.
 *
 * The hash space is cut into P equal partitions, a power of two that is fixed when a cluster is
 * made. The top bits of XXH64(namespace number, key), seeded from the cluster's id, name the
 * partition; the next ten bits name the segment of the partition's digest. So a key's place depends
 * on nothing that changes, and two clusters spread the same keys differently.
 *
 * Invariants
 * 1. 0 <= partition < P and 0 <= segment < 1,024, from bits that do not overlap.
 * 2. The same cluster id, namespace number and key give the same place on every runtime.
 *
 * Effects: none. Source: DeCandia et al., "Dynamo" (2007), section 6.2, strategy 3.
 *
 * @module
 */

import { keyBytesMax } from "./api.ts";
import { assert } from "./assert.ts";
import { xxh64 } from "./hash.ts";

/** The most partitions a cluster may have. */
export const partitionsMax = 1024;
export const partitionsDefault = 256;
export const segmentsPerPartition = 1024;
const segmentBits = 10;
/** A longer key is hashed again sooner than it is compared. */
const comparedBytesMax = 64;

export interface Place {
  readonly partition: number;
  /** The segment of the partition's digest. */
  readonly segment: number;
  /** XXH64(namespace number, key) with the ring's seed. */
  readonly hash: bigint;
  /** The upper half of `hash`: for tables in memory, where a number costs less than a bigint. */
  readonly hashHigh: number;
}

export function isPartitionCount(count: number): boolean {
  return (
    Number.isInteger(count) && count >= 1 && count <= partitionsMax && (count & (count - 1)) === 0
  );
}

/** The ring of one cluster. */
export class Ring {
  readonly partitions: number;
  readonly #bits: number;
  readonly #seed: bigint;
  readonly #scratch = new Uint8Array(4 + keyBytesMax + 64);
  /** Who was asked for last, whose key is in the scratch: on its way a request asks several times in a row. */
  #lastLength = 0;
  #lastNamespace = 0;
  #lastPlace: Place | undefined;

  /** `clusterId` is 32 hex digits; its first 16 are the seed. */
  constructor(clusterId: string, partitions: number) {
    assert(isPartitionCount(partitions), "ring: the partitions are a power of two up to 1,024");
    assert(/^[0-9a-f]{32}$/.test(clusterId), "ring: a cluster id is 32 hex digits");
    this.partitions = partitions;
    this.#bits = 31 - Math.clz32(partitions);
    this.#seed = BigInt(`0x${clusterId.slice(0, 16)}`);
  }

  /** The numbers of all partitions. */
  all(): number[] {
    return Array.from({ length: this.partitions }, (_, partition) => partition);
  }

  place(namespaceNumber: number, key: Uint8Array): Place {
    const last = this.#lastPlace;
    if (last !== undefined && namespaceNumber === this.#lastNamespace && this.#isLast(key)) {
      return last;
    }
    const place = this.#place(namespaceNumber, key);
    this.#lastLength = key.length;
    this.#lastNamespace = namespaceNumber;
    this.#lastPlace = place;
    return place;
  }

  /** By its bytes: whoever asks may have written another key into the same array. */
  #isLast(key: Uint8Array): boolean {
    const { length } = key;
    if (length !== this.#lastLength || length > comparedBytesMax) return false;
    const scratch = this.#scratch;
    for (let index = 0; index < length; index += 1) {
      if (key[index] !== scratch[4 + index]) return false;
    }
    return true;
  }

  #place(namespaceNumber: number, key: Uint8Array): Place {
    const scratch = this.#scratch;
    scratch[0] = namespaceNumber >>> 24;
    scratch[1] = namespaceNumber >>> 16;
    scratch[2] = namespaceNumber >>> 8;
    scratch[3] = namespaceNumber;
    scratch.set(key, 4);
    const hash = xxh64(scratch.subarray(0, 4 + key.length), this.#seed);
    const top = Number(hash >> 32n);
    // A shift by 32 is a shift by 0 in JavaScript: one partition has no bits of its own.
    const partition = this.#bits === 0 ? 0 : top >>> (32 - this.#bits);
    const segment = (top >>> (32 - this.#bits - segmentBits)) & (segmentsPerPartition - 1);
    return { partition, segment, hash, hashHigh: top };
  }
}
