/**
 * Table: the ordered index on disk in which a record lives after a checkpoint.
 *
 * The interface has two implementations: LMDB here, and an ordered map with a modelled disk in
 * `table_memory.ts` for the simulator, since LMDB is native. One conformance suite holds both.
 *
 * LMDB runs in its plain mode: a commit writes its pages, syncs them, then writes and syncs one of
 * two meta pages in turn (through a descriptor with O_DSYNC). `overlappingSync`, the package's
 * default, is off: with it a commit counts as done before it is synced, a failed sync is reported to
 * nobody, and opening after a crash steps back a commit. A commit runs on a thread of its own, so that waiting for the disk stalls no
 * request; it is durable when it resolves. `noSync` and `useWritemap` would trade safety away.
 *
 * LMDB's pages have no checksums. Damage behind the meta pages is not found here: keys may be gone
 * without an error, values and keys be wrong, a call may throw, and the package may end the process.
 * A damaged meta page opens the table as it was one commit before. What is read from here is only to
 * be believed with the record's own checksum, and its absence only with the checkpoint's counts.
 *
 * Invariants
 * 1. All changes of a commit are in one transaction of LMDB: they are queued as one batch, and
 *    nothing here begins a synchronous transaction, which alone could commit a batch half-way.
 * 2. No read transaction outlives its turn of the event loop: a range is read to its end in one
 *    call, and the package resets its transaction when a commit resolves and after every turn.
 * 3. No answer points into mapped pages: a page that is used again would change under its reader.
 * 4. After a failure that LMDB cannot go on from, every later commit is refused with the same error.
 *
 * Effects: the table's file, through the native package (the only module that knows it).
 *
 * @module
 */

import { open } from "lmdb";
import { assert } from "./assert.ts";
import { compare } from "./bytes.ts";
import { type Disk, knownSpace, systemErrorCode } from "./capability.ts";
import { QuorateError } from "./errors.ts";
import { pageBytesNew, tableFileState, tableLossHint } from "./table_file.ts";

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

/** The longest key that LMDB takes with pages of 4 KiB. */
export const tableKeyBytesMax = 1_978;

/**
 * How much address space is reserved for the file's map. It is no memory: only pages that are read
 * take some, and the kernel takes these back. A file that outgrows it is mapped again at twice the
 * size. A map that the system refuses ends the process (see `table_file.ts`), so this is a size for
 * which there is room also where processes have 39 bits of addresses, as on small ARM machines.
 */
const mapBytesDefault = 2 ** 37;
const mapBytesMin = 2 ** 30;
/** Where the process may use only so much address space, the map gets this share of it. */
const mapFraction = 1 / 8;

export interface TableOptions {
  /** The table's file on the machine; another of the same name with `-lock` stands beside it. */
  readonly path: string;
  /** The data folder, in which it has the name `name`. */
  readonly disk: Disk;
  readonly name: string;
  /** How much address space the process may use (`ulimit -v`); undefined: as much as there is. */
  readonly addressSpaceBytes?: number | undefined;
}

/** Below so much free space an EIO of LMDB is taken for a full disk: it says so of a short write. */
const fullBelowBytes = 1_048_576;

/**
 * Opens the table, making its file when it is not there. The name of a new file is durable only
 * after its folder was synced, which is the caller's part.
 *
 * @throws `corruption` when the file is not one that LMDB can open
 */
export async function openTable(options: TableOptions): Promise<Table> {
  const { disk, name } = options;
  const state = await tableFileState(disk, name);
  if (typeof state === "object") throw corruption(options, state.damage);
  // Kept all the same: should it have been damage, the store finds that it is behind its log.
  if (state === "void") await disk.rename(name, `${name}.void`);
  try {
    return new LmdbTable(openStore(options), options);
  } catch (error) {
    const failure = lmdbFailure(error);
    if (!damageCodes.has(systemErrorCode(failure) ?? "")) throw failure;
    throw corruption(options, failure.message, failure);
  }
}

function mapBytes({ addressSpaceBytes }: TableOptions): number {
  let bytes = mapBytesDefault;
  while (addressSpaceBytes !== undefined && bytes > addressSpaceBytes * mapFraction) bytes /= 2;
  return Math.max(bytes, mapBytesMin);
}

function openStore(options: TableOptions): Store {
  return open({
    path: options.path,
    mapSize: mapBytes(options),
    noSubdir: true,
    maxDbs: 1,
    pageSize: pageBytesNew,
    keyEncoding: "binary",
    encoding: "binary",
    compression: false,
    cache: false,
    overlappingSync: false,
    eventTurnBatching: false,
    remapChunks: false,
  }) as unknown as Store;
}

/** The part of the package's database that is used here, some of it undocumented. */
interface Store {
  readonly env: {
    info(): { readonly lastPageNumber: number };
    stat(): { readonly pageSize: number };
    startWriting(address: number, onStatus: (status: number) => unknown): void;
  };
  getBinaryFast(key: Uint8Array): SharedBytes | undefined;
  getRange(options: {
    readonly start: Uint8Array;
    readonly end: Uint8Array;
    readonly limit: number;
    readonly reverse?: boolean;
    readonly exclusiveStart?: boolean;
    readonly inclusiveEnd?: boolean;
  }): Iterable<{ readonly key: Uint8Array; readonly value: Uint8Array }>;
  put(key: Uint8Array, value: Uint8Array): unknown;
  remove(key: Uint8Array): unknown;
  resetReadTxn(): void;
  batch(run: () => void): Promise<boolean>;
  close(): Promise<void>;
}

/** The package's own buffer, in which each value is placed (`isGlobal`), or a view of mapped pages. */
interface SharedBytes extends Uint8Array {
  readonly isGlobal?: boolean;
}

class LmdbTable implements Table {
  readonly #store: Store;
  readonly #options: TableOptions;
  /** Rejects the commit under way, if there is one. */
  #rejectCommit: ((error: Error) => void) | undefined;
  #commitUnderWay: Promise<void> | undefined;
  /** Why no commit is possible any more. */
  #failure: Error | undefined;
  #hasCommitted = false;
  /** LMDB's writer could not even begin and holds its lock for ever: closing would wait for it. */
  #isStuck = false;
  #closed: Promise<void> | undefined;

  constructor(store: Store, options: TableOptions) {
    this.#store = store;
    this.#options = options;
    this.#watchStatus();
  }

  get(key: Uint8Array): Uint8Array | undefined {
    assertKey(key);
    const bytes = this.#read(() => this.#store.getBinaryFast(key));
    if (bytes === undefined) return undefined;
    // `length` is the value's, while `byteLength` is the whole buffer's: only a new view is sound.
    const view = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
    return bytes.isGlobal === true ? view : view.slice();
  }

  range(range: TableRange): TableEntry[] {
    const { start, end, limit } = range;
    if (limit <= 0 || compare(start, end) >= 0) return [];
    return this.#read(() => this.#entries(range));
  }

  #entries(range: TableRange): TableEntry[] {
    const { limit, bytesMax } = range;
    const entries: TableEntry[] = [];
    let bytes = 0;
    let before: Uint8Array | undefined;
    // Leaving the loop early closes the cursor (invariant 2).
    for (const { key, value } of this.#store.getRange(rangeOptions(range))) {
      // A walk goes on after the last key it got: one that went back would never end.
      if (!isNext(before, key, range))
        throw tableError("MDB_CORRUPTED", "its keys are in no order");
      before = plainBytes(key);
      entries.push({ key: before, value: plainBytes(value) });
      bytes += key.length + value.length;
      if (bytes >= bytesMax || entries.length >= limit) break;
    }
    return entries;
  }

  /** Damage that LMDB notices is told as such. */
  #read<Value>(read: () => Value): Value {
    try {
      return read();
    } catch (error) {
      const failure = lmdbFailure(error);
      const code = systemErrorCode(failure) ?? "";
      if (!isDamage(code)) throw failure;
      // LMDB answers nothing more in a transaction that met damage: the next read begins another.
      this.#store.resetReadTxn();
      throw damaged(this.#options, failure);
    }
  }

  async commit(changes: readonly TableChange[]): Promise<void> {
    assert(this.#commitUnderWay === undefined, "table: one commit at a time");
    assert(this.#closed === undefined, "table: it is open");
    if (this.#failure !== undefined) throw this.#failure;
    // Checked before the first is queued: a batch cannot be taken back.
    for (const { key } of changes) assertKey(key);
    if (changes.length === 0) return;
    this.#commitUnderWay = this.#write(changes);
    try {
      await this.#commitUnderWay;
      this.#hasCommitted = true;
    } catch (error) {
      throw await this.#judge(error as Error);
    } finally {
      this.#commitUnderWay = undefined;
      this.#rejectCommit = undefined;
    }
  }

  async flushed(): Promise<void> {
    // Nothing to wait for: a commit that has resolved was synced.
  }

  fileBytes(): number {
    return (this.#store.env.info().lastPageNumber + 1) * this.#store.env.stat().pageSize;
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    await this.#commitUnderWay?.catch(() => {});
    if (!this.#isStuck) await this.#store.close();
  }

  #write(changes: readonly TableChange[]): Promise<void> {
    return new Promise((fulfil, reject) => {
      this.#rejectCommit = reject;
      this.#isStuck = true;
      const written = this.#store.batch(() => {
        for (const { key, value } of changes) {
          if (value === undefined) this.#store.remove(key);
          else this.#store.put(key, value);
        }
      });
      // The package's own rejection has no code; the status has, and it is heard just after this.
      written.then(
        () => {
          this.#isStuck = false;
          fulfil();
        },
        () => {
          this.#isStuck = false;
        },
      );
    });
  }

  /**
   * Sees the status with which LMDB's writer ends. The package keeps it to itself, and when even
   * the transaction's begin failed it never settles its promise.
   */
  #watchStatus(): void {
    const { env } = this.#store;
    const startWriting = env.startWriting.bind(env);
    const watched: Store["env"]["startWriting"] = (address, onStatus) =>
      startWriting(address, (status) => {
        // 0 to 2 are the package's own: done, visible, a callback is asked for.
        const isFailure = status < 0 || status > 2;
        // Told of a failure, the package would print it, and reject a promise that it hands out only
        // as a field of another error: an unhandled rejection, which ends the process.
        const answer = onStatus(isFailure ? statusVisible : status);
        if (isFailure) this.#rejectCommit?.(statusError(status));
        return answer;
      });
    // Defined, not assigned: the native object's methods are read-only.
    Object.defineProperty(env, "startWriting", { value: watched });
  }

  /** What the caller hears of a failed commit; decides whether another one may be tried. */
  async #judge(error: Error): Promise<Error> {
    const code = systemErrorCode(error) ?? "";
    if (recoverableCodes.has(code)) return error;
    if (fullDiskCodes.has(code) && !this.#isStuck && (await this.#isDiskFull())) {
      return tableError("ENOSPC", "the disk filled up in the middle of a write");
    }
    if (isDamage(code)) this.#failure = damaged(this.#options, error);
    // A damaged list of free pages leads anywhere, and the system says of the write what it likes.
    else this.#failure = this.#hasCommitted ? error : unwritable(this.#options, error);
    return this.#failure;
  }

  async #isDiskFull(): Promise<boolean> {
    const space = await knownSpace(this.#options.disk);
    return space !== undefined && space.freeBytes < fullBelowBytes;
  }
}

/** With this status the package settles the writes that are done, and does nothing else. */
const statusVisible = 1;

/** After these LMDB has rolled the commit back and stands where it stood. */
const recoverableCodes: ReadonlySet<string> = new Set([
  "ENOSPC",
  "EDQUOT",
  "MDB_MAP_FULL",
  "MDB_TXN_FULL",
]);

/** What LMDB also says when the disk is full: after a short write, and after pages spilled early. */
const fullDiskCodes: ReadonlySet<string> = new Set(["EIO", "MDB_BAD_TXN"]);

/** The numbers with which LMDB and the system name errors. */
const codeNames: ReadonlyMap<number, string> = new Map([
  [5, "EIO"],
  [12, "ENOMEM"],
  [13, "EACCES"],
  [27, "EFBIG"],
  [28, "ENOSPC"],
  [69, "EDQUOT"],
  [122, "EDQUOT"],
  [-30_797, "MDB_PAGE_NOTFOUND"],
  [-30_796, "MDB_CORRUPTED"],
  [-30_795, "MDB_PANIC"],
  [-30_794, "MDB_VERSION_MISMATCH"],
  [-30_793, "MDB_INVALID"],
  [-30_792, "MDB_MAP_FULL"],
  [-30_788, "MDB_TXN_FULL"],
  [-30_787, "MDB_CURSOR_FULL"],
  [-30_786, "MDB_PAGE_FULL"],
  [-30_785, "MDB_MAP_RESIZED"],
  [-30_782, "MDB_BAD_TXN"],
]);

/** With these the file is not, or no longer, one that LMDB can use. */
const damageCodes: ReadonlySet<string> = new Set([
  "MDB_PAGE_NOTFOUND",
  "MDB_CORRUPTED",
  "MDB_PANIC",
  "MDB_VERSION_MISMATCH",
  "MDB_INVALID",
  // Pages that lead in a circle: no tree is so deep.
  "MDB_CURSOR_FULL",
]);

/** Also for a transaction that was refused after it had met damage. */
function isDamage(code: string): boolean {
  return damageCodes.has(code) || code === "MDB_BAD_TXN";
}

function tableError(code: string, message: string): Error {
  return Object.assign(new Error(`${code}: the table: ${message}`), { code });
}

function statusError(status: number): Error {
  return tableError(codeNames.get(status) ?? `LMDB_${status}`, "a commit failed");
}

/** The package's errors carry a number; ours carry its name. */
function lmdbFailure(error: unknown): Error {
  const { code } = error as { code?: unknown };
  const message = error instanceof Error ? error.message : String(error);
  if (typeof code !== "number") return error instanceof Error ? error : new Error(message);
  const failure = tableError(codeNames.get(code) ?? `LMDB_${code}`, message);
  failure.cause = error;
  return failure;
}

function corruption({ path }: TableOptions, why: string, cause?: Error): QuorateError {
  return new QuorateError("corruption", `The table's file '${path}' cannot be opened: ${why}.`, {
    hint: `Restore a copy of the data folder. ${tableLossHint}`,
    cause,
  });
}

/** Damage that a read has met. */
function damaged({ path }: TableOptions, cause: Error): QuorateError {
  return new QuorateError(
    "corruption",
    `The table's file '${path}' is damaged: ${cause.message}.`,
    {
      hint: `Restore a copy of the data folder. ${tableLossHint}`,
      cause,
    },
  );
}

/** The very first commit since it was opened failed. */
function unwritable({ path }: TableOptions, cause: Error): QuorateError {
  return new QuorateError(
    "corruption",
    `The table's file '${path}' cannot be written: ${cause.message}. It is damaged, or its disk fails.`,
    {
      hint: `See what the system's log says of the disk. Else restore a copy of the data folder. ${tableLossHint}`,
      cause,
    },
  );
}

/** Whether a key may follow the one before it in a range. */
function isNext(before: Uint8Array | undefined, key: Uint8Array, range: TableRange): boolean {
  const { start, end, reverse } = range;
  if (compare(key, start) < 0 || compare(key, end) >= 0) return false;
  return before === undefined || compare(before, key) * (reverse === true ? -1 : 1) < 0;
}

function assertKey(key: Uint8Array): void {
  assert(
    key.length > 0 && key.length <= tableKeyBytesMax,
    `table: a key has 1 to ${tableKeyBytesMax} bytes`,
  );
}

/** Our range in the package's terms: downwards it begins at `end`, exclusive, and ends at `start`. */
function rangeOptions({
  start,
  end,
  limit,
  reverse,
}: TableRange): Parameters<Store["getRange"]>[0] {
  return reverse === true
    ? { start: end, end: start, limit, reverse: true, exclusiveStart: true, inclusiveEnd: true }
    : { start, end, limit };
}

/** The package's copies are Buffers, whose `slice` does not copy: theirs is a surprise, not ours. */
function plainBytes(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
}
