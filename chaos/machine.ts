/**
 * Machine: what of a node's machine can be troubled from outside its process: its disk and its clock.
 *
 * A small file system of its own (a tmpfs) lets a disk be full without filling anybody else's: it
 * takes root and Linux. A clock that is off takes libfaketime, which reads a file for the offset.
 *
 * Invariants
 * 1. `close` leaves no file system mounted.
 *
 * Effects: files, mounts, programs `mount` and `umount`.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";

/** Debian's, as `apt-get install faketime` puts it. */
const fakeTimeLibraries = ["x86_64", "aarch64"].map(
  (machine) => `/usr/lib/${machine}-linux-gnu/faketime/libfaketimeMT.so.1`,
);
const sharedMemory = "/dev/shm";
const diskSize = "96m";
const ballastFile = "of-somebody-else";

/** The disk of one node. */
export class SmallDisk {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** The disk, or why there can be none. */
  static mount(folder: string): SmallDisk | string {
    fs.mkdirSync(folder, { recursive: true });
    const why = run("mount", ["-t", "tmpfs", "-o", `size=${diskSize}`, "tmpfs", folder]);
    return why === undefined ? new SmallDisk(folder) : why;
  }

  /** Takes away what a run that was killed has left mounted, if it has. */
  static release(folder: string): void {
    run("umount", [folder]);
  }

  /** Takes every byte that it has left. */
  fill(): void {
    const fd = fs.openSync(path.join(this.#folder, ballastFile), "w");
    try {
      for (const bytes of [Buffer.alloc(65_536, 1), Buffer.alloc(4096, 1)]) writeAll(fd, bytes);
    } finally {
      fs.closeSync(fd);
    }
  }

  free(): void {
    fs.rmSync(path.join(this.#folder, ballastFile), { force: true });
  }

  /** Why it is still mounted; undefined when it is not. */
  close(): string | undefined {
    return run("umount", [this.#folder]);
  }
}

function writeAll(fd: number, bytes: Buffer): void {
  try {
    for (;;) fs.writeSync(fd, bytes);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
  }
}

/** The clock of one node's process, as libfaketime makes it. */
export class FakeClock {
  readonly environment: Readonly<Record<string, string>>;
  readonly #file: string;

  private constructor(library: string, file: string) {
    this.#file = file;
    this.environment = {
      LD_PRELOAD: library,
      FAKETIME_TIMESTAMP_FILE: file,
      FAKETIME_CACHE_DURATION: "1",
      // Node measures durations by it, and they stay what they are.
      FAKETIME_DONT_FAKE_MONOTONIC: "1",
    };
    this.set(0);
  }

  /** The clock, or why there can be none. */
  static at(file: string): FakeClock | string {
    const library = fakeTimeLibraries.find((each) => fs.existsSync(each));
    if (library === undefined) return "libfaketime is not installed (apt-get install faketime)";
    return new FakeClock(library, file);
  }

  /**
   * What libfaketime keeps for a process that was killed. It refuses to start the next process that
   * happens to get the same id while this is there.
   */
  static forget(pid: number | undefined): void {
    if (pid === undefined) return;
    for (const name of [`faketime_shm_${pid}`, `sem.faketime_sem_${pid}`]) {
      fs.rmSync(path.join(sharedMemory, name), { force: true });
    }
  }

  /** It is read anew within a second. */
  set(offsetMs: number): void {
    const text = `${offsetMs < 0 ? "-" : "+"}${(Math.abs(offsetMs) / 1000).toFixed(3)}s\n`;
    const fresh = `${this.#file}.new`;
    fs.writeFileSync(fresh, text);
    fs.renameSync(fresh, this.#file);
  }
}

function run(command: string, words: readonly string[]): string | undefined {
  const { status, stderr, error } = spawnSync(command, words, { encoding: "utf8" });
  if (status === 0) return undefined;
  const [first = ""] = (error?.message ?? stderr).trim().split("\n");
  return first.startsWith(`${command}: `) ? first : `${command}: ${first}`;
}
