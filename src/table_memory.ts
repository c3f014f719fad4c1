/**
 * Table in memory: the same interface as LMDB's, on a modelled disk, for the simulator and tests.
 *
 * Every commit leaves an immutable state of the whole table (the tree shares what did not change).
 * The disk keeps the states that a power loss may still fall back to: the newest flushed one, and
 * every later one. That is more severe than LMDB, where a commit is durable as soon as it resolves:
 * who relies on a commit must wait for `flushed` here.
 *
 *     states   f1 f2 f3 | c4 c5 (c6 under way)      flushed() -> f1 … f5 | (c6 under way)
 *              older   ^ newest flushed
 *     a crash leaves f3, c4, c5 or c6; `rollBack` (a damaged meta page of LMDB's) leaves f2
 *
 * Invariants
 * 1. A crash leaves the newest flushed state or a later one, never part of a commit.
 * 2. A commit is visible when it resolves, not before; one that failed is never visible.
 * 3. What `get` gave is overwritten by the next call, so that a caller who keeps it is found out.
 * 4. After a failure that LMDB cannot go on from, every later commit is refused with the same error.
 *
 * Effects: none; time passes in a commit only as the `pause` handed in says.
 *
 * @module
 */

import { assert } from "./assert.ts";
import { compare, fromLatin1, latin1 } from "./bytes.ts";
import { OrderedMap } from "./ordered.ts";
import type { Table, TableChange, TableEntry, TableRange } from "./table.ts";

/** As `tableKeyBytesMax`, which only loading the native package would give; the suite holds both. */
const keyBytesMax = 1_978;

/** How many flushed states before the newest are kept for `rollBack`. */
const olderStatesMax = 8;
const pageBytes = 4_096;
/** What LMDB spends on an entry beside its key and value, about. */
const entryOverheadBytes = 16;
/** Fills what `get` gave once it is not valid any more. */
const staleByte = 0xdd;

type Tree = OrderedMap<string, Uint8Array>;

/** The whole table after a commit; immutable. */
interface State {
  readonly tree: Tree;
  readonly bytes: number;
}

/** What the disk holds at one moment; immutable, so it can be taken at every moment of a run. */
export interface TableImage {
  /** Flushed states before the newest, oldest first. */
  readonly older: readonly State[];
  /** What a power loss may leave: the newest flushed state, then each later commit in order. */
  readonly possible: readonly [State, ...State[]];
  /** How many of `possible` the running process sees; a commit under way is not among them. */
  readonly visibleCount: number;
}

/** Which of the states a power loss leaves: the flushed one, the last, or so many commits after it. */
export type TableKeep = "flushed" | "all" | number;

export interface MemoryTableOptions {
  /** Passes the time that a commit or a flush takes; by default one turn of the microtask queue. */
  readonly pause?: () => Promise<void>;
  /** Called whenever what a power loss may leave has changed. */
  readonly onChange?: (image: TableImage) => void;
}

/** How a commit fails. */
export type TableFault =
  /** The disk is full: nothing of the commit is kept, and a later one may succeed. */
  | { readonly code: "ENOSPC" }
  /**
   * No later commit succeeds. The failed one may be on the disk all the same (`leaves`), to be found
   * when the table is opened again.
   */
  | { readonly code: "EIO"; readonly leaves: "nothing" | "all" };

/** The disk below tables in memory: it outlives the tables that are opened on it. */
export class MemoryTableDisk {
  readonly #options: MemoryTableOptions;
  #image: TableImage;
  #fileBytesHighest = 0;
  /** The table that is open; what a crash leaves behind is not. */
  #table: MemoryTable | undefined;
  /** Faults by the number of the commit that meets them. */
  readonly #faults = new Map<number, TableFault>();
  #commitCount = 0;

  constructor(options: MemoryTableOptions = {}, image: TableImage = emptyImage()) {
    this.#options = options;
    this.#image = image;
  }

  /** What the disk holds now. A new disk with it is an independent copy. */
  get image(): TableImage {
    return this.#image;
  }

  /** How many commits were begun. */
  get commitCount(): number {
    return this.#commitCount;
  }

  /** Opens the table; after a crash it has exactly what the crash left. One at a time. */
  async open(): Promise<Table> {
    assert(this.#table === undefined, "table_memory: one process opens a table at a time");
    // What the last process left unflushed is read from the page cache, and may still be lost.
    this.#change({ ...this.#image, visibleCount: this.#image.possible.length });
    const table = new MemoryTable(this.#port(), this.#options.pause ?? oneTurn);
    this.#table = table;
    return table;
  }

  /** The process is killed: its table answers nothing more, and everything committed stays. */
  kill(): void {
    this.#table?.die();
    this.#table = undefined;
  }

  /** The power fails: what is not kept is gone, and the open table answers nothing more. */
  crash(options: { readonly keep: TableKeep }): void {
    this.kill();
    this.#change(imageAfterCrash(this.#image, options.keep));
  }

  /** Damage: the table will open as it was `commits` commits ago, although these were flushed. */
  rollBack(commits: number): void {
    this.kill();
    const states = [...this.#image.older, ...this.#image.possible];
    assert(commits < states.length, `table_memory: ${commits} commits are kept to roll back`);
    const left = states.slice(0, states.length - commits);
    const newest = left.pop() as State;
    this.#change({ older: left, possible: [newest], visibleCount: 1 });
  }

  /** Damage: these entries are others, or gone, in whatever state the table is opened. */
  damage(changesOf: (entries: readonly TableEntry[]) => readonly TableChange[]): void {
    this.kill();
    const newest = this.#image.possible.at(-1) as State;
    const entries = [...newest.tree.entries("")].map(([name, value]) => ({
      key: fromLatin1(name),
      value: value.slice(),
    }));
    const left = apply(newest, changesOf(entries));
    this.#change({ older: [], possible: [left], visibleCount: 1 });
  }

  /** Makes a commit fail: the `number`th from now, 1 being the next. */
  failCommit(number: number, fault: TableFault): void {
    this.#faults.set(this.#commitCount + number, fault);
  }

  #change(image: TableImage): void {
    const before = this.#image;
    this.#image = image;
    if (!sameStates(before.possible, image.possible)) this.#options.onChange?.(image);
  }

  /** What an open table may do with its disk. */
  #port(): DiskPort {
    return {
      visible: () => this.#image.possible[this.#image.visibleCount - 1] as State,
      takeFault: () => {
        this.#commitCount += 1;
        const fault = this.#faults.get(this.#commitCount);
        this.#faults.delete(this.#commitCount);
        return fault;
      },
      append: (state) => {
        const possible = [...this.#image.possible, state] as const;
        this.#change({ ...this.#image, possible: possible as unknown as TableImage["possible"] });
      },
      reveal: () => {
        this.#change({ ...this.#image, visibleCount: this.#image.possible.length });
      },
      flush: (state) => this.#change(imageAfterFlush(this.#image, state)),
      fileBytes: () => {
        const now = fileBytesOf(this.#image.possible.at(-1) as State);
        // A file of LMDB's never becomes smaller.
        this.#fileBytesHighest = Math.max(this.#fileBytesHighest, now);
        return this.#fileBytesHighest;
      },
      closed: () => {
        this.#table = undefined;
      },
    };
  }
}

/** A table's way to its disk. */
interface DiskPort {
  visible(): State;
  takeFault(): TableFault | undefined;
  append(state: State): void;
  reveal(): void;
  flush(state: State): void;
  fileBytes(): number;
  closed(): void;
}

class MemoryTable implements Table {
  readonly #disk: DiskPort;
  readonly #pause: () => Promise<void>;
  #lent: Uint8Array = new Uint8Array(0);
  #isCommitting = false;
  #isClosed = false;
  #isDead = false;
  #failure: Error | undefined;

  constructor(disk: DiskPort, pause: () => Promise<void>) {
    this.#disk = disk;
    this.#pause = pause;
  }

  get(key: Uint8Array): Uint8Array | undefined {
    this.#begin();
    assertKey(key);
    const value = this.#disk.visible().tree.get(latin1(key));
    if (value === undefined) return undefined;
    this.#lent = value.slice();
    return this.#lent;
  }

  range(range: TableRange): TableEntry[] {
    this.#begin();
    const entries: TableEntry[] = [];
    if (range.limit <= 0 || compare(range.start, range.end) >= 0) return entries;
    let bytes = 0;
    for (const [name, value] of pairsOf(this.#disk.visible().tree, range)) {
      entries.push({ key: fromLatin1(name), value: value.slice() });
      bytes += name.length + value.length;
      if (bytes >= range.bytesMax || entries.length >= range.limit) break;
    }
    return entries;
  }

  async commit(changes: readonly TableChange[]): Promise<void> {
    this.#begin();
    assert(!this.#isCommitting, "table: one commit at a time");
    if (this.#failure !== undefined) throw this.#failure;
    for (const { key } of changes) assertKey(key);
    if (changes.length === 0) return;
    const fault = this.#disk.takeFault();
    const next = apply(this.#disk.visible(), changes);
    this.#isCommitting = true;
    try {
      await this.#pause();
      this.#requireLife();
      if (fault === undefined || (fault.code === "EIO" && fault.leaves === "all")) {
        this.#disk.append(next);
      }
      await this.#pause();
      this.#requireLife();
      if (fault !== undefined) throw this.#fail(fault);
      this.#disk.reveal();
    } finally {
      this.#isCommitting = false;
    }
  }

  async flushed(): Promise<void> {
    this.#begin();
    const state = this.#disk.visible();
    await this.#pause();
    this.#requireLife();
    this.#disk.flush(state);
  }

  fileBytes(): number {
    return this.#disk.fileBytes();
  }

  async close(): Promise<void> {
    if (this.#isClosed || this.#isDead) return;
    assert(!this.#isCommitting, "table_memory: no commit is under way when it is closed");
    this.#lent.fill(staleByte);
    this.#isClosed = true;
    this.#disk.closed();
  }

  /** The process that opened it is gone. */
  die(): void {
    this.#isDead = true;
  }

  #begin(): void {
    this.#requireLife();
    assert(!this.#isClosed, "table: it is open");
    this.#lent.fill(staleByte);
  }

  #requireLife(): void {
    if (this.#isDead) throw tableError("EIO", "its process was killed");
  }

  #fail({ code }: TableFault): Error {
    const error = tableError(code, "a commit failed, as the test asked");
    if (code !== "ENOSPC") this.#failure = error;
    return error;
  }
}

function emptyImage(): TableImage {
  const tree = new OrderedMap<string, Uint8Array>(undefined, compareNames);
  return { older: [], possible: [{ tree, bytes: 0 }], visibleCount: 1 };
}

/** Strings of `latin1` in the order of their bytes. */
function compareNames(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function imageAfterCrash(image: TableImage, keep: TableKeep): TableImage {
  const { older, possible } = image;
  const last = possible.length - 1;
  const index = keep === "flushed" ? 0 : keep === "all" ? last : Math.min(keep, last);
  const passed = possible.slice(0, index);
  const left = possible[index] as State;
  // What a restarted machine reads is on its disk.
  return { older: [...older, ...passed].slice(-olderStatesMax), possible: [left], visibleCount: 1 };
}

function imageAfterFlush(image: TableImage, state: State): TableImage {
  const index = image.possible.indexOf(state);
  if (index <= 0) return image;
  const [newest, ...later] = image.possible.slice(index) as [State, ...State[]];
  return {
    older: [...image.older, ...image.possible.slice(0, index)].slice(-olderStatesMax),
    possible: [newest, ...later],
    visibleCount: image.visibleCount - index,
  };
}

function sameStates(before: readonly State[], after: readonly State[]): boolean {
  return before.length === after.length && before.every((state, at) => state === after[at]);
}

function apply(state: State, changes: readonly TableChange[]): State {
  const tree = state.tree.clone();
  let { bytes } = state;
  for (const { key, value } of changes) {
    const name = latin1(key);
    const before = tree.get(name);
    if (before !== undefined) bytes -= entryBytes(name, before);
    if (value === undefined) {
      tree.delete(name);
    } else {
      tree.set(name, value.slice());
      bytes += entryBytes(name, value);
    }
  }
  return { tree, bytes };
}

function entryBytes(name: string, value: Uint8Array): number {
  return name.length + value.length + entryOverheadBytes;
}

/** Two meta pages, and as many as the entries need. */
function fileBytesOf({ bytes }: State): number {
  return (2 + Math.ceil(bytes / pageBytes)) * pageBytes;
}

function* pairsOf(
  tree: Tree,
  { start, end, reverse }: TableRange,
): Generator<readonly [string, Uint8Array]> {
  const first = latin1(start);
  const last = latin1(end);
  if (reverse === true) {
    for (const [name, value] of tree.entriesReversed(last, undefined, true)) {
      if (name < first) return;
      yield [name, value];
    }
    return;
  }
  for (const [name, value] of tree.entries(first)) {
    if (name >= last) return;
    yield [name, value];
  }
}

function assertKey(key: Uint8Array): void {
  assert(key.length > 0 && key.length <= keyBytesMax, `table: a key has 1 to ${keyBytesMax} bytes`);
}

function tableError(code: string, message: string): Error {
  return Object.assign(new Error(`${code}: the table: ${message}`), { code });
}

async function oneTurn(): Promise<void> {
  await Promise.resolve();
}
