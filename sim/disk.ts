/**
 * SimDisk: a file system in memory that promises what `capability.ts` says, and nothing more.
 *
 * A write may be lost or torn until its file was synced, and a name until its folder was. Every call
 * is recorded, so that afterwards the states can be made in which a power loss at any moment would
 * have left the disk; each of them opens as a disk of its own.
 *
 *     const disk = new SimDisk();
 *     …                                        a store works on it, and notes what it acknowledged
 *     for (const state of disk.crashStates({})) {
 *       const after = state.open();            a new store must find what state.notes demand
 *     }
 *
 * Calls fail on request (`failCall`), the disk fills up (`totalBytes`), and blocks of files are
 * damaged (`flip`, `zeroBlock`, `swapBlocks`, `loseBlock`, `replace`).
 *
 * Invariants
 * 1. A write may be on the disk as soon as it was called, a sync has done its work only when it
 *    resolves, and it covers the writes that were called before it.
 * 2. A dead disk (its process was killed, its power lost) changes nothing any more: calls reject.
 * 3. Calls are numbered in the order in which they are made, beginning with 1; notes are not calls.
 *
 * Effects: none; time passes in a call only as the `pause` handed in says.
 *
 * @module
 */

import { assert } from "../src/assert.ts";
import type { Disk, DiskFile, DiskSpace, Random } from "../src/capability.ts";
import { QuorateError } from "../src/errors.ts";
import {
  blockBytes,
  blockCount,
  type Content,
  emptyContent,
  newBlockCount,
  read,
  unreadableBlock,
  withBlock,
  written,
} from "./disk_content.ts";
import { type CrashOptions, crashByChance, crashKeeping, crashStates } from "./disk_crash.ts";
import { type FileCalls, SimFile, systemError } from "./disk_file.ts";
import { type DiskEvent, DiskModel, folderOf } from "./disk_model.ts";

export interface SimDiskOptions {
  /** Passes the time that a call takes; by default one turn of the microtask queue. */
  readonly pause?: (call: DiskCall) => Promise<void>;
  /** The disk's size. Default 1 TiB. */
  readonly totalBytes?: number;
  /** Whether calls are kept, for `calls` and `crashStates`. Default true. */
  readonly isRecorded?: boolean;
}

/** How a call fails. */
export interface CallFault {
  /** The system's code: `EIO`, `ENOSPC` … */
  readonly code: string;
  /** Of a write: so many of its first bytes are written all the same. Default 0. */
  readonly writtenBytes?: number;
  /** Every later call fails too. Default false. */
  readonly isLasting?: boolean;
}

/** A call as it was made. */
export interface DiskCall {
  readonly method: keyof Disk | `file.${keyof DiskFile}`;
  readonly path: string;
  /** For reads and writes: where, and how many bytes. */
  readonly position?: number;
  readonly bytes?: number;
}

/** A state in which a power loss may leave the disk. */
export interface SimCrash {
  /** The moment in terms of `SimDisk.moment`. */
  readonly moment: number;
  /** What was noted before it. */
  readonly notes: readonly unknown[];
  /** What was lost, for a report. */
  readonly what: string;
  /** The disk in this state; each call gives one of its own. */
  open(): SimDisk;
}

/** What a call does, and when (invariant 1). */
interface Steps<Value> {
  readonly begin?: () => void;
  readonly end: () => Value;
  /** Instead of both, when the call is to fail. */
  readonly fail?: (fault: CallFault) => void;
}

const totalBytesDefault = 2 ** 40;

export class SimDisk implements Disk {
  readonly #options: SimDiskOptions;
  readonly #model: DiskModel;
  /** The model as it was before the first entry of the log. */
  #start: DiskModel;
  #log: DiskEvent[] = [];
  #notes: unknown[] = [];
  #calls: DiskCall[] = [];
  #callCount = 0;
  readonly #faults = new Map<number, CallFault>();
  #methodFault:
    | { readonly method: DiskCall["method"]; readonly path: string; readonly fault: CallFault }
    | undefined;
  #lastingFault: CallFault | undefined;
  #isLocked = false;
  #death: string | undefined;
  /** May be changed at any time; below what is used, every growing write fails. */
  totalBytes: number;

  constructor(options: SimDiskOptions = {}, model: DiskModel = new DiskModel()) {
    this.#options = options;
    this.#model = new DiskModel(model);
    this.#start = new DiskModel(model);
    this.totalBytes = options.totalBytes ?? totalBytesDefault;
  }

  async open(path: string, mode: "read" | "write" | "create"): Promise<DiskFile> {
    const name = plainPath(path);
    return this.#perform({ method: "open", path: name }, { end: () => this.#open(name, mode) });
  }

  async list(folder: string): Promise<string[]> {
    const name = plainPath(folder);
    return this.#perform({ method: "list", path: name }, { end: () => this.#list(name) });
  }

  async rename(source: string, target: string): Promise<void> {
    const [from, to] = [plainPath(source), plainPath(target)];
    const end = (): void => {
      this.#requireFile("rename", from);
      this.#requireFolder("rename", folderOf(to));
      if (from !== to) this.#apply({ kind: "rename", source: from, target: to });
    };
    return this.#perform({ method: "rename", path: `${from} ${to}` }, { end });
  }

  async remove(path: string): Promise<void> {
    const name = plainPath(path);
    const end = (): void => {
      this.#requireFile("remove", name);
      this.#apply({ kind: "remove", path: name });
    };
    return this.#perform({ method: "remove", path: name }, { end });
  }

  async makeFolder(folder: string): Promise<void> {
    const name = plainPath(folder);
    const end = (): void => {
      const parts = name.split("/").filter((part) => part !== "");
      for (let count = 1; count <= parts.length; count += 1) {
        const path = parts.slice(0, count).join("/");
        if (this.#model.names.has(path)) throw systemError("EEXIST", "makeFolder", path);
        if (!this.#model.folders.has(path)) this.#apply({ kind: "makeFolder", folder: path });
      }
    };
    return this.#perform({ method: "makeFolder", path: name }, { end });
  }

  async syncFolder(folder: string): Promise<void> {
    const name = plainPath(folder);
    let last = 0;
    const begin = (): void => {
      last = this.#model.counter;
    };
    const end = (): void => {
      this.#requireFolder("syncFolder", name);
      this.#apply({ kind: "syncFolder", folder: name, last });
    };
    return this.#perform({ method: "syncFolder", path: name }, { begin, end });
  }

  async space(): Promise<DiskSpace> {
    const end = (): DiskSpace => ({ freeBytes: this.#freeBytes(), totalBytes: this.totalBytes });
    return this.#perform({ method: "space", path: "" }, { end });
  }

  async lock(): Promise<() => Promise<void>> {
    await this.#perform({ method: "lock", path: "" }, { end: () => this.#lock() });
    let isHeld = true;
    return async () => {
      if (isHeld) this.#isLocked = false;
      isHeld = false;
    };
  }

  /** How many calls were made. */
  get callCount(): number {
    return this.#callCount;
  }

  get calls(): readonly DiskCall[] {
    return this.#calls;
  }

  /** How many changes and notes are recorded. */
  get moment(): number {
    return this.#log.length;
  }

  /** Marks this moment: what the states after it must hold, such as an acknowledged write. */
  note(value: unknown): void {
    this.#notes.push(value);
    this.#apply({ kind: "note" });
  }

  /** Makes a call fail: the `number`th from now, 1 being the next. */
  failCall(number: number, fault: CallFault): void {
    assert(number >= 1, "disk: the next call is number 1");
    this.#faults.set(this.#callCount + number, fault);
  }

  /** Makes the next call of a method fail, on a path that begins so. */
  failNext(method: DiskCall["method"], path: string, fault: CallFault): void {
    this.#methodFault = { method, path, fault };
  }

  /** Other files take up what there is but for so much. */
  fill(freeBytes: number): void {
    this.totalBytes = this.#usedBytes() + freeBytes;
  }

  /** No call fails any more, but for what is lost already. */
  repair(): void {
    this.#faults.clear();
    this.#methodFault = undefined;
    this.#lastingFault = undefined;
  }

  /** Another disk with the same files, as a backup has them. */
  copy(): SimDisk {
    return new SimDisk({ ...this.#options, totalBytes: this.totalBytes }, this.#model);
  }

  /** The process is killed: what it wrote stays in the page cache of the disk answered. */
  kill(): SimDisk {
    return this.#succeed("its process was killed", this.#model);
  }

  /** The power fails now: the disk answered has what was durable, all, or by chance some. */
  crash(keep: "durable" | "all" | Random): SimDisk {
    const left =
      typeof keep === "string" ? crashKeeping(this.#model, keep) : crashByChance(this.#model, keep);
    return this.#succeed("its power failed", left);
  }

  /** The states in which a power loss at any moment since the start would have left the disk. */
  *crashStates(options: CrashOptions): Generator<SimCrash> {
    const diskOptions = { ...this.#options, totalBytes: this.totalBytes };
    for (const { moment, noteCount, what, model } of crashStates(this.#start, this.#log, options)) {
      const notes = this.#notes.slice(0, noteCount);
      yield { moment, notes, what, open: () => new SimDisk(diskOptions, model) };
    }
  }

  /** All files' paths, sorted. */
  files(): string[] {
    return [...this.#model.names.keys()].sort();
  }

  /** A copy of a file's bytes, unreadable blocks as zeros. */
  bytesOf(path: string): Uint8Array {
    const content = this.#contentOf(path);
    const bytes = new Uint8Array(content.bytes);
    for (let start = 0; start < bytes.length; start += blockBytes) {
      read(content, bytes.subarray(start, start + blockBytes), start);
    }
    return bytes;
  }

  /** Replaces a file, or makes one; durable at once, as all damage below. */
  replace(path: string, bytes: Uint8Array): void {
    this.#damage(path, written(emptyContent, 0, bytes));
  }

  /** Flips the bits of `mask` in one byte. */
  flip(path: string, position: number, mask = 0xff): void {
    const content = this.#contentOf(path);
    const byte = new Uint8Array(1);
    assert(read(content, byte, position) === 1, "disk: the byte to flip is in the file");
    byte[0] = (byte[0] as number) ^ mask;
    this.#damage(path, written(content, position, byte));
  }

  zeroBlock(path: string, index: number): void {
    this.#damage(path, withBlock(this.#contentOf(path), index, undefined));
  }

  /** Reads of this block fail with EIO until it is written again. */
  loseBlock(path: string, index: number): void {
    this.#damage(path, withBlock(this.#contentOf(path), index, unreadableBlock));
  }

  /** Exchanges two blocks of a file, as a misdirected write does. */
  swapBlocks(path: string, index: number, otherIndex: number): void {
    const content = this.#contentOf(path);
    const [one, other] = [content.blocks[index], content.blocks[otherIndex]];
    this.#damage(path, withBlock(withBlock(content, index, other), otherIndex, one));
  }

  async #perform<Value>(call: DiskCall, steps: Steps<Value>): Promise<Value> {
    this.#requireLife(call.method);
    this.#callCount += 1;
    if (this.#options.isRecorded !== false) this.#calls.push(call);
    const fault =
      this.#faults.get(this.#callCount) ?? this.#takeMethodFault(call) ?? this.#lastingFault;
    if (fault?.isLasting === true) this.#lastingFault = fault;
    if (fault === undefined) steps.begin?.();
    else steps.fail?.(fault);
    await (this.#options.pause ?? oneTurn)(call);
    this.#requireLife(call.method);
    if (fault !== undefined) throw systemError(fault.code, call.method, call.path);
    return steps.end();
  }

  #takeMethodFault({ method, path }: DiskCall): CallFault | undefined {
    const meant = this.#methodFault;
    if (meant?.method !== method || !path.startsWith(meant.path)) return undefined;
    this.#methodFault = undefined;
    return meant.fault;
  }

  #apply(event: DiskEvent): void {
    this.#model.apply(event);
    if (this.#options.isRecorded !== false) this.#log.push(event);
  }

  #open(path: string, mode: "read" | "write" | "create"): DiskFile {
    let inode = this.#model.names.get(path);
    if (this.#model.folders.has(path)) throw systemError("EISDIR", "open", path);
    if (mode === "create") {
      if (inode !== undefined) throw systemError("EEXIST", "open", path);
      this.#requireFolder("open", folderOf(path));
      inode = this.#model.nextInode();
      this.#apply({ kind: "create", path, inode });
    }
    if (inode === undefined) throw systemError("ENOENT", "open", path);
    return new SimFile(this.#fileCalls(path, inode), mode !== "read");
  }

  /** What an open file may do with the disk. */
  #fileCalls(path: string, inode: number): FileCalls {
    const live = (): Content => this.#model.inode(inode).live;
    const write = (position: number, bytes: Uint8Array): void => {
      if (bytes.length > 0) this.#apply({ kind: "write", inode, position, bytes });
    };
    const sync = (last: number, state: "durable" | "doubtful"): void => {
      this.#apply({ kind: "sync", inode, last, state });
    };
    return {
      read: (target, position) => {
        const end = (): number => {
          const count = read(live(), target, position);
          if (count === "unreadable") throw systemError("EIO", "read", path);
          return count;
        };
        const bytes = target.length;
        return this.#perform({ method: "file.read", path, position, bytes }, { end });
      },
      write: (source, position) => {
        const bytes = source.slice();
        let room = bytes.length;
        const begin = (): void => {
          room = this.#roomFor(live(), position, bytes.length);
          write(position, bytes.subarray(0, room));
        };
        const end = (): void => {
          if (room < bytes.length) throw systemError("ENOSPC", "write", path);
        };
        const fail = ({ writtenBytes = 0 }: CallFault): void => {
          write(position, bytes.subarray(0, writtenBytes));
        };
        const call = { method: "file.write", path, position, bytes: bytes.length } as const;
        return this.#perform(call, { begin, end, fail });
      },
      sync: () => {
        const last = this.#model.counter;
        const end = (): void => sync(last, "durable");
        const fail = (): void => sync(last, "doubtful");
        return this.#perform({ method: "file.sync", path }, { end, fail });
      },
      size: () => this.#perform({ method: "file.size", path }, { end: () => live().bytes }),
      close: () => this.#perform({ method: "file.close", path }, { end: () => {} }),
    };
  }

  #list(folder: string): string[] {
    const inside = [...this.#model.names.keys(), ...this.#model.folders].filter(
      (path) => path !== "" && folderOf(path) === folder,
    );
    if (this.#model.names.has(folder)) throw systemError("ENOTDIR", "list", folder);
    return inside.map((path) => path.slice(folder === "" ? 0 : folder.length + 1)).sort();
  }

  #lock(): void {
    if (this.#isLocked) {
      throw new QuorateError("data-folder-in-use", "Cannot open the data folder: it is open.", {
        hint: "A test opens the folder of a simulated disk twice.",
      });
    }
    this.#isLocked = true;
  }

  #freeBytes(): number {
    return Math.max(0, this.totalBytes - this.#usedBytes());
  }

  #usedBytes(): number {
    let blocks = 0;
    for (const inode of new Set(this.#model.names.values())) {
      blocks += blockCount(this.#model.inode(inode).live);
    }
    return blocks * blockBytes;
  }

  /** How many of the first bytes of a write there is space for. */
  #roomFor(content: Content, position: number, bytes: number): number {
    const freeBlocks = Math.floor(this.#freeBytes() / blockBytes);
    if (newBlockCount(content, position, bytes) <= freeBlocks) return bytes;
    let room = 0;
    for (let end = blockBytes - (position % blockBytes); end < bytes; end += blockBytes) {
      if (newBlockCount(content, position, end) > freeBlocks) break;
      room = end;
    }
    return room;
  }

  #requireFile(method: string, path: string): void {
    if (this.#model.folders.has(path)) throw systemError("EISDIR", method, path);
    if (!this.#model.names.has(path)) throw systemError("ENOENT", method, path);
  }

  #requireFolder(method: string, folder: string): void {
    if (!this.#model.folders.has(folder)) throw systemError("ENOENT", method, folder);
  }

  #requireLife(method: string): void {
    if (this.#death !== undefined) throw systemError("EIO", method, this.#death);
  }

  #contentOf(path: string): Content {
    const content = this.#model.contentOf(plainPath(path));
    assert(content !== undefined, `disk: there is a file ${path}`);
    return content;
  }

  /** Changes a file on the disk itself. What was recorded does not lead here: it is forgotten. */
  #damage(path: string, content: Content): void {
    const name = plainPath(path);
    let inode = this.#model.names.get(name);
    if (inode === undefined) {
      inode = this.#model.nextInode();
      this.#model.names.set(name, inode);
      this.#model.durableNames.set(name, inode);
    }
    this.#model.inodes.set(inode, { base: content, writes: [], live: content });
    this.#start = new DiskModel(this.#model);
    this.#log = [];
    this.#notes = [];
    this.#calls = [];
  }

  #succeed(death: string, model: DiskModel): SimDisk {
    this.#requireLife("crash");
    this.#death = death;
    return new SimDisk({ ...this.#options, totalBytes: this.totalBytes }, model);
  }
}

/** A path without what means nothing: `./wal//` is `wal`. */
function plainPath(path: string): string {
  const parts = path.split("/").filter((part) => part !== "" && part !== ".");
  assert(
    !path.startsWith("/") && !parts.includes(".."),
    `disk: a path stays inside the data folder: ${path}`,
  );
  return parts.join("/");
}

async function oneTurn(): Promise<void> {
  await Promise.resolve();
}
