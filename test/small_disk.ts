/**
 * SmallDisk: a real file system that is soon full, a tmpfs that is mounted for a test.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import * as assert from "uvu/assert";

const diskSize = "24m";

function mount(folder: string): string | undefined {
  const words = ["-t", "tmpfs", "-o", `size=${diskSize}`, "tmpfs", folder];
  const { status, stderr, error } = spawnSync("mount", words, { encoding: "utf8" });
  if (status === 0) return undefined;
  return `cannot mount a tmpfs: ${error?.message ?? stderr.trim()}`;
}

function unmount(folder: string): void {
  const { status, stderr } = spawnSync("umount", [folder], { encoding: "utf8" });
  assert.is(status, 0, stderr);
}

/** Why there can be no small file system here; undefined when there can. */
export function obstacle(): string | undefined {
  const folder = fs.mkdtempSync(path.join(tmpdir(), "quorate-full-"));
  try {
    const why = mount(folder);
    if (why === undefined) unmount(folder);
    return why;
  } finally {
    fs.rmdirSync(folder);
  }
}

/** Mounts one for as long as `use` takes. */
export async function withSmallDisk(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = fs.mkdtempSync(path.join(tmpdir(), "quorate-full-"));
  assert.is(mount(folder), undefined);
  try {
    await use(folder);
  } finally {
    unmount(folder);
    fs.rmdirSync(folder);
  }
}

/** Takes every byte that the file system has left. */
export function takeTheRest(folder: string, name: string): string {
  const file = path.join(folder, name);
  const fd = fs.openSync(file, "w");
  try {
    for (const bytes of [Buffer.alloc(65_536, 1), Buffer.alloc(4096, 1)]) {
      try {
        for (;;) fs.writeSync(fd, bytes);
      } catch (error) {
        assert.is((error as NodeJS.ErrnoException).code, "ENOSPC");
      }
    }
  } finally {
    fs.closeSync(fd);
  }
  return file;
}

/** Gives it more room. */
export function enlarge(folder: string, size: string): void {
  const words = ["-o", `remount,size=${size}`, folder];
  const { status, stderr } = spawnSync("mount", words, { encoding: "utf8" });
  assert.is(status, 0, stderr);
}
