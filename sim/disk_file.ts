/**
 * SimFile: a file of a simulated disk while it is open, for reading or for writing too.
 *
 * Invariants
 * 1. A file that is closed, or open for reading, is not written to: such calls reject with EBADF.
 *
 * Effects: those of the calls that it is given.
 *
 * @module
 */

import type { DiskFile } from "../src/capability.ts";

/** What the disk does for a file: a synced write is two of these, so that a crash may come between. */
export type FileCalls = Omit<DiskFile, "writeSynced">;

export class SimFile implements DiskFile {
  readonly #calls: FileCalls;
  readonly #isWritable: boolean;
  #isOpen = true;

  constructor(calls: FileCalls, isWritable: boolean) {
    this.#calls = calls;
    this.#isWritable = isWritable;
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    this.#requireOpen("read");
    return this.#calls.read(target, position);
  }

  async write(source: Uint8Array, position: number): Promise<void> {
    this.#requireOpen("write");
    if (!this.#isWritable) throw systemError("EBADF", "write", "the file is open for reading");
    return this.#calls.write(source, position);
  }

  async writeSynced(source: Uint8Array, position: number): Promise<void> {
    await this.write(source, position);
    await this.sync();
  }

  async sync(): Promise<void> {
    this.#requireOpen("sync");
    return this.#calls.sync();
  }

  async size(): Promise<number> {
    this.#requireOpen("size");
    return this.#calls.size();
  }

  async close(): Promise<void> {
    this.#requireOpen("close");
    this.#isOpen = false;
    return this.#calls.close();
  }

  #requireOpen(method: string): void {
    if (!this.#isOpen) throw systemError("EBADF", method, "the file is closed");
  }
}

/** An error as the system has it: `ENOENT: open: wal/spare`. */
export function systemError(code: string, method: string, what: string): Error {
  return Object.assign(new Error(`${code}: ${method}: ${what}`), { code });
}
