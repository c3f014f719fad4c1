/**
 * Table: the ordered index on disk in which a record lives after a checkpoint.
 *
 * @module
 */

/** One key with its value; both belong to the receiver. */
export interface TableEntry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

export interface TableRange {
  /** Inclusive. */
  readonly start: Uint8Array;
  /** Exclusive. */
  readonly end: Uint8Array;
  /** From the end downwards. */
  readonly reverse?: boolean;
  /** At most so many entries. */
  readonly limit: number;
  /** Stops after the entry with which keys and values reach so many bytes. */
  readonly bytesMax: number;
}

export interface TableChange {
  readonly key: Uint8Array;
  /** Undefined removes the key. */
  readonly value: Uint8Array | undefined;
}

/**
 * An ordered map from bytes to bytes that commits atomically.
 *
 * 1. A commit is visible as a whole when it resolves, and never in part.
 * 2. After a crash the table holds all commits up to some one, and at least those before the last
 *    `flushed` that resolved.
 * 3. Keys are 1 to 1,978 bytes, in bytewise order.
 * 4. No read stays open: each call sees the newest commit that has resolved.
 */
export interface Table {
  /** A view that is valid until the next call on this table; undefined when the key is absent. */
  get(key: Uint8Array): Uint8Array | undefined;
  /** The entries of a range, copied. */
  range(range: TableRange): TableEntry[];
  /** Applies all changes in one commit. At most one commit is under way at a time (the caller's duty). */
  commit(changes: readonly TableChange[]): Promise<void>;
  /** Resolves when every commit that had resolved is durable. */
  flushed(): Promise<void>;
  /** The bytes that the table takes on disk. */
  fileBytes(): number;
  close(): Promise<void>;
}
