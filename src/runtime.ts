/**
 * Runtime: the real capabilities: the clock, chance and disk of the machine.
 *
 * Node, Bun and Deno all speak `node:fs`, so one file serves the three. Only its callback functions
 * are used: they take one file descriptor through a call (`fs.promises` keeps its own handle, whose
 * garbage collection closes files), and they are the same on all three.
 *
 * Invariants
 * 1. A `write` that resolves has written every byte: short writes go on where they stopped, and one
 *    that makes no progress at all is an error, not a loop.
 * 2. `sync` is fdatasync and is never tried again (the kernel has marked the pages clean).
 * 3. Every rejection is the system's own error, with its `code`.
 * 4. No path leaves the data folder.
 *
 * Effects: everything that `capability.ts` names, for real.
 *
 * @module
 */

import * as fs from "node:fs";
import { dirname, join, resolve } from "node:path";
import { setFlagsFromString } from "node:v8";
import { assert } from "./assert.ts";
import type { Clock, Disk, DiskFile, DiskSpace, Random } from "./capability.ts";
import { systemErrorCode } from "./capability.ts";
import { lockFolder } from "./folder_lock.ts";

/** The longest delay that `setTimeout` takes; it runs longer ones at once. */
const timerDelayMsMax = 2 ** 31 - 1;
/** `crypto.getRandomValues` refuses more in one call. */
const randomBytesPerCallMax = 65_536;
/** `u32` draws from the system so many numbers at a time. */
const randomPoolCount = 256;

export const realClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after(delayMs, run) {
    const dueMs = performance.now() + delayMs;
    let timer: NodeJS.Timeout | undefined;
    const arm = (): void => {
      // Timers count whole milliseconds and may fire a fraction early: then the rest is waited for.
      const leftMs = Math.max(0, Math.ceil(dueMs - performance.now()));
      timer = setTimeout(fire, Math.min(leftMs, timerDelayMsMax));
      timer.unref();
    };
    const fire = (): void => {
      if (performance.now() < dueMs) arm();
      else run();
    };
    arm();
    return () => clearTimeout(timer);
  },
  soon(run) {
    setImmediate(run);
  },
};

const randomPool = new Uint32Array(randomPoolCount);
let randomPoolLeft = 0;

export const realRandom: Random = {
  bytes(length) {
    const bytes = new Uint8Array(length);
    for (let start = 0; start < length; start += randomBytesPerCallMax) {
      crypto.getRandomValues(bytes.subarray(start, start + randomBytesPerCallMax));
    }
    return bytes;
  },
  u32() {
    if (randomPoolLeft === 0) {
      crypto.getRandomValues(randomPool);
      randomPoolLeft = randomPoolCount;
    }
    randomPoolLeft -= 1;
    return randomPool[randomPoolLeft] as number;
  },
};

/** The runtime and its version, for example `node 24.9.0`. */
export function runtimeName(): string {
  const { bun, deno, node } = process.versions as Record<string, string | undefined>;
  if (bun !== undefined) return `bun ${bun}`;
  if (deno !== undefined) return `deno ${deno}`;
  return `node ${node}`;
}

/** By how much the heap may grow over what is in use before its garbage is collected. */
const heapGrowthPercent = 50;

/**
 * Lets the garbage collector begin early. By default V8 lets a small heap grow to several times what
 * is in use, and keeps the pages that it has once had; in a server most of the difference is what
 * requests have left. Collecting earlier costs little where little is alive. For a whole process, so
 * only the program itself asks for it, never an application that embeds a node.
 */
export function keepHeapSmall(): void {
  const { bun, deno } = process.versions as Record<string, string | undefined>;
  if (bun === undefined && deno === undefined) {
    setFlagsFromString(`--heap-growing-percent=${heapGrowthPercent}`);
  }
}

/** How many bytes of addresses this process may use; undefined: no limit, or none that can be read. */
export function addressSpaceBytesMax(): Promise<number | undefined> {
  return limitNamed("Max address space");
}

/** How many descriptors this process may have; undefined: no limit, or none that can be read. */
export function descriptorsMax(): Promise<number | undefined> {
  return limitNamed("Max open files");
}

async function limitNamed(name: string): Promise<number | undefined> {
  try {
    const text = await settle<string>((done) => fs.readFile("/proc/self/limits", "utf8", done));
    const number = new RegExp(`^${name} +(\\d+)`, "m").exec(text)?.[1];
    return number === undefined ? undefined : Number(number);
  } catch {
    // Only Linux says it there.
    return undefined;
  }
}

export interface DiskOptions {
  /** Another process has taken the folder although this one holds it: stop writing at once. */
  readonly onLockLost?: (reason: string) => void;
}

/** Opens a data folder, making it (and its parents) when it is not there. */
export async function openDisk(dataFolder: string, options: DiskOptions = {}): Promise<Disk> {
  const root = resolve(dataFolder);
  await makeFolders(root);
  return new RealDisk(root, options);
}

/** Is in the root of every ext4 volume, which may be a data folder: nobody has put anything there. */
const ownOfFileSystem = "lost+found";

class RealDisk implements Disk {
  readonly #root: string;
  readonly #options: DiskOptions;

  constructor(root: string, options: DiskOptions) {
    this.#root = root;
    this.#options = options;
  }

  async open(path: string, mode: "read" | "write" | "create"): Promise<DiskFile> {
    const flags = { read: "r", write: "r+", create: "wx+" }[mode];
    const absolute = this.#absolute(path);
    const fd = await settle<number>((done) => fs.open(absolute, flags, 0o644, done));
    return new RealFile(fd);
  }

  async list(folder: string): Promise<string[]> {
    try {
      const names = await settle<string[]>((done) => fs.readdir(this.#absolute(folder), done));
      return names.filter((name) => name !== ownOfFileSystem).sort();
    } catch (error) {
      if (systemErrorCode(error) === "ENOENT") return [];
      throw error;
    }
  }

  rename(source: string, target: string): Promise<void> {
    return settleVoid((done) => fs.rename(this.#absolute(source), this.#absolute(target), done));
  }

  remove(path: string): Promise<void> {
    return settleVoid((done) => fs.unlink(this.#absolute(path), done));
  }

  makeFolder(folder: string): Promise<void> {
    return makeFolders(this.#absolute(folder));
  }

  syncFolder(folder: string): Promise<void> {
    return syncFolder(this.#absolute(folder));
  }

  async space(): Promise<DiskSpace> {
    const stats = await settle<fs.StatsFs>((done) => fs.statfs(this.#root, done));
    // bavail, not bfree: the blocks that the file system keeps for root are not ours.
    return { freeBytes: stats.bavail * stats.bsize, totalBytes: stats.blocks * stats.bsize };
  }

  lock(): Promise<() => Promise<void>> {
    const { onLockLost } = this.#options;
    return lockFolder({ folder: this.#root, clock: realClock, random: realRandom, onLockLost });
  }

  #absolute(path: string): string {
    assert(isInside(path), `runtime: a path stays inside the data folder: ${path}`);
    return join(this.#root, path);
  }
}

class RealFile implements DiskFile {
  #fd: number | undefined;
  /** The same file, on which every write is synced. */
  #syncedFd: number | undefined;

  constructor(fd: number) {
    this.#fd = fd;
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    const fd = this.#open();
    let done = 0;
    while (done < target.length) {
      const left = target.length - done;
      const got = await settle<number>((settled) =>
        fs.read(fd, target, done, left, position + done, settled),
      );
      if (got === 0) break;
      done += got;
    }
    return done;
  }

  async write(source: Uint8Array, position: number): Promise<void> {
    await writeAll(this.#open(), source, position);
  }

  /** One call where the system has O_DSYNC, so one way to another thread and back instead of two. */
  async writeSynced(source: Uint8Array, position: number): Promise<void> {
    const fd = this.#open();
    this.#syncedFd ??= await openSynced(fd);
    if (this.#syncedFd !== noSyncedFd) return writeAll(this.#syncedFd, source, position);
    await writeAll(fd, source, position);
    await this.sync();
  }

  async sync(): Promise<void> {
    const fd = this.#open();
    await settleVoid((done) => fs.fdatasync(fd, done));
  }

  async size(): Promise<number> {
    const fd = this.#open();
    return (await settle<fs.Stats>((done) => fs.fstat(fd, done))).size;
  }

  async close(): Promise<void> {
    const fd = this.#open();
    // Forgotten first: the number may belong to another file as soon as the close is under way.
    this.#fd = undefined;
    const syncedFd = this.#syncedFd;
    if (syncedFd !== undefined && syncedFd !== noSyncedFd) {
      await settleVoid((done) => fs.close(syncedFd, done));
    }
    await settleVoid((done) => fs.close(fd, done));
  }

  #open(): number {
    if (this.#fd === undefined) throw systemError("EBADF", "the file is closed");
    return this.#fd;
  }
}

async function writeAll(fd: number, source: Uint8Array, position: number): Promise<void> {
  let done = 0;
  while (done < source.length) {
    const left = source.length - done;
    const put = await settle<number>((settled) =>
      fs.write(fd, source, done, left, position + done, settled),
    );
    if (put === 0) throw systemError("EIO", `write: no progress, ${left} bytes are left`);
    done += put;
  }
}

/** No descriptor on which every write is synced could be had. */
const noSyncedFd = -1;

/**
 * Opens an open file once more, with O_DSYNC: a write then resolves when its bytes are as durable as
 * after fdatasync (POSIX, "synchronized I/O data integrity completion"; the kernel makes the same
 * calls). By its descriptor, because its name may be another one by now. `noSyncedFd` where there is
 * no such flag, no /proc, or no descriptor left: two calls do the same.
 */
async function openSynced(fd: number): Promise<number> {
  const { O_RDWR, O_DSYNC } = fs.constants;
  if (process.platform !== "linux" || O_DSYNC === undefined) return noSyncedFd;
  return settle<number>((done) => fs.open(`/proc/self/fd/${fd}`, O_RDWR | O_DSYNC, done)).catch(
    () => noSyncedFd,
  );
}

/** Whether a path of a Disk names something in the data folder (invariant 4). */
function isInside(path: string): boolean {
  return !path.startsWith("/") && !path.split("/").includes("..") && !path.includes("\0");
}

/** Makes a folder and its missing parents, each durable before the one inside it is made. */
async function makeFolders(folder: string, hasParent = false): Promise<void> {
  try {
    await settleVoid((done) => fs.mkdir(folder, done));
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === "EEXIST") return requireFolder(folder, error);
    // Where the parent is there (`/proc/x`), making it once more would go on for ever.
    if (code !== "ENOENT" || hasParent || dirname(folder) === folder) throw error;
    await makeFolders(dirname(folder));
    return makeFolders(folder, true);
  }
  try {
    await syncFolder(dirname(folder));
  } catch (error) {
    // A parent above the data folder may be one that this user can change but not open.
    if (systemErrorCode(error) !== "EACCES") throw error;
  }
}

async function requireFolder(path: string, reason: unknown): Promise<void> {
  const stats = await settle<fs.Stats>((done) => fs.stat(path, done));
  if (!stats.isDirectory()) throw reason;
}

async function syncFolder(folder: string): Promise<void> {
  // Windows has no handle on a folder that can be synced; NTFS logs its names by itself.
  if (process.platform === "win32") return;
  const fd = await settle<number>((done) => fs.open(folder, "r", done));
  try {
    await settleVoid((done) => fs.fsync(fd, done));
  } finally {
    await settleVoid((done) => fs.close(fd, done));
  }
}

function systemError(code: string, message: string): Error {
  return Object.assign(new Error(`${code}: ${message}`), { code });
}

type Done<Value> = (error: NodeJS.ErrnoException | null, value: Value) => void;

/** A call with a callback as a promise. */
function settle<Value>(call: (done: Done<Value>) => void): Promise<Value> {
  return new Promise((fulfil, reject) => {
    call((error, value) => (error ? reject(error) : fulfil(value)));
  });
}

function settleVoid(call: (done: fs.NoParamCallback) => void): Promise<void> {
  return new Promise((fulfil, reject) => {
    call((error) => (error ? reject(error) : fulfil()));
  });
}
