/**
 * Capability: the only ways in which an effect reaches the world.
 *
 * Time, chance, files and reports are handed to every effect by whoever composes the node. The
 * program hands in the real ones (`runtime.ts`); the simulator hands in its own, and the same code
 * then runs on virtual time, from one seed, on disks that tear and lie. That is why no effect may
 * name `Date.now`, `setTimeout`, `Math.random` or `node:fs`.
 *
 * Invariants
 * 1. Paths given to a Disk are relative to the data folder, with `/` between parts.
 * 2. A Disk promises only what a file system does: a write may be lost or torn until `sync` of its
 *    file has resolved, and a created, renamed or removed name until `syncFolder` has.
 * 3. A rejected `write` or `sync` says nothing about which bytes are on the disk.
 *
 * Effects: none (types only).
 *
 * @module
 */

export interface Clock {
  /** The wall clock, in whole milliseconds since 1970. It may jump either way. */
  nowMs(): number;
  /** A clock that only goes forward, in milliseconds with a fraction, from an arbitrary start. */
  monotonicMs(): number;
  /** Runs `run` once, at least `delayMs` from now; the answer cancels it. Does not keep a process alive. */
  after(delayMs: number, run: () => void): () => void;
  /** Runs `run` once when what is ready in this turn of the event loop has run. */
  soon(run: () => void): void;
}

export interface Random {
  /** `length` unpredictable bytes. */
  bytes(length: number): Uint8Array;
  /** A whole number, 0 to 2^32 - 1. */
  u32(): number;
}

/** An open file. Positions and lengths are bytes. */
export interface DiskFile {
  /** Fills `target` from `position`; answers the bytes read, fewer only at the end of the file. */
  read(target: Uint8Array, position: number): Promise<number>;
  /** Writes all of `source` at `position`, or rejects. The file grows as needed. */
  write(source: Uint8Array, position: number): Promise<void>;
  /**
   * Writes all of `source` at `position`, durable when it resolves: a `write` and a `sync` of these
   * bytes in one. It says nothing about what other writes have put into the file.
   */
  writeSynced(source: Uint8Array, position: number): Promise<void>;
  /** fdatasync: what was written to this file before is durable when it resolves. */
  sync(): Promise<void>;
  size(): Promise<number>;
  close(): Promise<void>;
}

export interface DiskSpace {
  readonly freeBytes: number;
  readonly totalBytes: number;
}

/** The data folder of one node. Every method rejects with the system's error, its `code` kept. */
export interface Disk {
  /**
   * Opens a file. `create` makes a new, empty one and rejects with EEXIST when the name is taken;
   * `write` and `read` reject with ENOENT when it is not there.
   */
  open(path: string, mode: "read" | "write" | "create"): Promise<DiskFile>;
  /** The names in a folder, sorted; empty when the folder is not there. */
  list(folder: string): Promise<string[]>;
  /** Replaces `target` if it is there, atomically. Durable after `syncFolder` of the folder. */
  rename(source: string, target: string): Promise<void>;
  remove(path: string): Promise<void>;
  /** Makes a folder and its parents, and syncs the folders that changed. */
  makeFolder(folder: string): Promise<void>;
  syncFolder(folder: string): Promise<void>;
  /** What the file system below the data folder has left. */
  space(): Promise<DiskSpace>;
  /**
   * Takes the folder for this process until the answer is called; rejects with a `QuorateError`
   * `data-folder-in-use` that names the holder. A holder that died has left nothing behind.
   */
  lock(): Promise<() => Promise<void>>;
}

/** What one end of a stream between two nodes wants to say, asked for when there is room to say it. */
export interface FrameSource {
  /** The next frame, as soon as there is one; undefined: the stream is to end. Called one at a time. */
  next(): Promise<Uint8Array | undefined>;
}

/** What one end of a stream hears. */
export interface FrameSink {
  /** A frame, in the order in which the other end gave them. */
  onFrame(frame: Uint8Array): void;
  /** The stream has ended, for this reason; called once, and nothing is heard after it. */
  onEnd(reason: Error | undefined): void;
}

/** A stream of frames between two nodes, both ways. A frame may be lost only with all after it. */
export interface PeerStream {
  /** Ends the stream; `onEnd` follows unless it was called before. */
  close(): void;
}

/** A stream that somebody has opened to this node. */
export interface AcceptedStream extends PeerStream {
  /** Who opened it is a node that may: it is kept from here on. Before, it has little time. */
  proven(): void;
}

/** The way to other nodes. How they reach this one is the edges' business. */
export interface Network {
  /**
   * Opens a stream to an address (`host:port`). It begins at once: that nobody is there is told by
   * `onEnd`.
   */
  dial(address: string, source: FrameSource, sink: FrameSink): PeerStream;
}

export type LogLevel = "debug" | "info" | "warn" | "error";

/** Where logs and counters go. A sink must not throw and must not wait. */
export interface Report {
  log(level: LogLevel, message: string, fields?: Readonly<Record<string, unknown>>): void;
  /** Adds to a counter. */
  count(name: string, by?: number): void;
  /** Records one observation (milliseconds, bytes: the name's last word is the unit). */
  observe(name: string, value: number): void;
  /** A rare path was taken; a long simulation that misses a mark has failed. */
  sometimes(name: string): void;
}

/** Drops everything; for tests and for embedding without a log. */
export const silentReport: Report = {
  log: () => {},
  count: () => {},
  observe: () => {},
  sometimes: () => {},
};

/** Whether a disk had no room, or the user's share of it was used up. */
export function isDiskFull(error: unknown): boolean {
  const code = systemErrorCode(error);
  return code === "ENOSPC" || code === "EDQUOT";
}

/** The space of a disk; undefined where it does not say: some file systems tell a size of nothing. */
export async function knownSpace(disk: Pick<Disk, "space">): Promise<DiskSpace | undefined> {
  const space = await disk.space().catch(() => undefined);
  return space === undefined || space.totalBytes === 0 ? undefined : space;
}

/** The system's error code (`ENOSPC`, `EIO` …) of an unknown error, or undefined. */
export function systemErrorCode(error: unknown): string | undefined {
  if (typeof error !== "object" || error === null) return undefined;
  const code: unknown = (error as { code?: unknown }).code;
  return typeof code === "string" ? code : undefined;
}
