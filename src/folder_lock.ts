/**
 * Folder lock: at most one process works in a data folder, and a dead one never blocks the next.
 *
 * Node has no flock, so the lock is a file, `LOCK`, that says who holds it. It appears whole or not
 * at all: it is written under another name and then linked. What it says lets the next process judge
 * the holder:
 *
 *   same boot, same pid namespace     the process table knows: pid and start time, at once
 *   another container or machine      the holder touches the file every 2 s; one that nobody has
 *                                     touched during 6 s of watching is stale
 *
 * A stale file is removed by one process only: the one that made the mark named after its text. Who
 * finds the mark waits for what comes in the lock's place.
 *
 *   A, B: judge X stale      A: marks X, removes X, links A      B: X is marked; sees A: alive, refused
 *
 * Without it B could remove A's lock, having judged X. A mark whose maker died is removed after six
 * seconds; only who stood still for so long between its last look at X and the removal could then
 * remove another's lock, and that one finds out at its next touch.
 *
 * Invariants
 * 1. A holder that lives (same machine and namespace) keeps the lock, even when it is stopped.
 * 2. A holder looks at every touch whether `LOCK` is still its own, and reports when it is not.
 * 3. Only the holder's own file is removed on release.
 *
 * Effects: files of the folder, `/proc`, and a timer of the Clock handed in.
 *
 * @module
 */

import * as fs from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { toHex, utf8Bytes } from "./bytes.ts";
import type { Clock, Random } from "./capability.ts";
import { systemErrorCode } from "./capability.ts";
import { QuorateError } from "./errors.ts";
import { crc32 } from "./hash.ts";

/** The name of the lock's file in the data folder. */
export const lockName = "LOCK";

/** The holder touches the file so often. */
const touchEveryMs = 2_000;
/** A file that stays untouched for so long (three touches) belongs to nobody. */
const staleAfterMs = 6_000;
/** How often a file is looked at while it is watched. */
const watchEveryMs = 200;
/** So many locks may be found stale, or be lost to others, before the attempt is given up. */
const attemptsMax = 20;
/** What a process that died while it took the lock left behind is removed after so long. */
const leftoverAfterMs = 60_000;

export interface FolderLockOptions {
  readonly folder: string;
  readonly clock: Clock;
  readonly random: Random;
  /** The lock has been taken by another although this process holds it. */
  readonly onLockLost?: ((reason: string) => void) | undefined;
}

/** What the file says about its holder. Absent fields are not known on the holder's system. */
interface Holder {
  readonly pid: number;
  /** When the process started, in clock ticks since the boot: pids are used again, these are not. */
  readonly startTicks?: string | undefined;
  readonly bootId?: string | undefined;
  readonly pidNamespace?: string | undefined;
  readonly host: string;
  readonly token: string;
}

/** The lock's file as it was seen at one moment. */
interface Sighting {
  /** Undefined when the text is not a holder's (a file system that lost its end in a crash). */
  readonly holder: Holder | undefined;
  readonly text: string;
  readonly touchedMs: number;
}

/** Locks that this process holds; they tell its own from those of an earlier one with its pid. */
const heldTokens = new Set<string>();

/** Takes the folder; the answer gives it back. @throws `data-folder-in-use` */
export async function lockFolder(options: FolderLockOptions): Promise<() => Promise<void>> {
  const { folder, random } = options;
  const self: Holder = { ...(await describeSelf()), token: toHex(random.bytes(12)) };
  const path = join(folder, lockName);
  for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
    if (await place(path, self)) {
      heldTokens.add(self.token);
      await removeLeftovers(folder, path);
      return keep(path, self, options);
    }
    const seen = await sight(path);
    if (seen === undefined) continue;
    if (await isAlive(path, seen, self, options.clock)) throw inUse(folder, seen.holder, self);
    await removeStale(path, seen, options.clock);
  }
  throw inUse(folder, (await sight(path))?.holder, self);
}

/** Puts the whole file in place; false when there is one already. */
async function place(path: string, self: Holder): Promise<boolean> {
  const text = `${JSON.stringify(self)}\n`;
  const draft = `${path}.${self.token}`;
  try {
    await fs.writeFile(draft, text, { flag: "w", flush: true });
    await fs.link(draft, path);
    return true;
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === "EEXIST") return false;
    // Some file systems (exFAT, SMB) have no links: there the file can be seen empty for a moment.
    if (code === "EPERM" || code === "ENOTSUP" || code === "EOPNOTSUPP" || code === "ENOSYS") {
      return placeWithoutLink(path, text);
    }
    throw error;
  } finally {
    await fs.rm(draft, { force: true });
  }
}

async function placeWithoutLink(path: string, text: string): Promise<boolean> {
  try {
    await fs.writeFile(path, text, { flag: "wx", flush: true });
    return true;
  } catch (error) {
    if (systemErrorCode(error) === "EEXIST") return false;
    throw error;
  }
}

async function sight(path: string): Promise<Sighting | undefined> {
  try {
    const text = await fs.readFile(path, "utf8");
    const { mtimeMs } = await fs.stat(path);
    return { holder: parseHolder(text), text, touchedMs: mtimeMs };
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

function parseHolder(text: string): Holder | undefined {
  try {
    const raw: unknown = JSON.parse(text);
    if (typeof raw !== "object" || raw === null) return undefined;
    const { pid, startTicks, bootId, pidNamespace, host, token } = raw as Record<string, unknown>;
    if (typeof pid !== "number" || !Number.isSafeInteger(pid) || pid <= 0) return undefined;
    if (typeof host !== "string" || typeof token !== "string") return undefined;
    const optional = (value: unknown) => (typeof value === "string" ? value : undefined);
    return {
      pid,
      startTicks: optional(startTicks),
      bootId: optional(bootId),
      pidNamespace: optional(pidNamespace),
      host,
      token,
    };
  } catch {
    return undefined;
  }
}

async function isAlive(path: string, seen: Sighting, self: Holder, clock: Clock): Promise<boolean> {
  const { holder } = seen;
  if (holder === undefined || !sharesProcesses(holder, self)) {
    return isTouched(path, seen, clock);
  }
  if (heldTokens.has(holder.token)) return true;
  if (holder.startTicks !== undefined) {
    return (await startTicksOf(String(holder.pid))) === holder.startTicks;
  }
  // Without start times our own pid in a lock that is not ours is that of an earlier process.
  return holder.pid !== self.pid && hasProcess(holder.pid);
}

/** Whether the holder's pid means something in this process's table. */
function sharesProcesses(holder: Holder, self: Holder): boolean {
  return (
    holder.bootId === self.bootId &&
    holder.pidNamespace === self.pidNamespace &&
    (self.bootId !== undefined || holder.host === self.host)
  );
}

/** Watches the file: true as soon as it changes, false when it stays as it is long enough. */
async function isTouched(path: string, seen: Sighting, clock: Clock): Promise<boolean> {
  const endMs = clock.monotonicMs() + staleAfterMs;
  while (clock.monotonicMs() < endMs) {
    // Not the Clock's timer: it does not keep the process alive, and nothing else may be running.
    await new Promise((wake) => setTimeout(wake, watchEveryMs));
    const now = await sight(path);
    if (now === undefined) return false;
    if (now.text !== seen.text || now.touchedMs !== seen.touchedMs) return true;
  }
  return false;
}

/** Removes the stale file, unless another process is about to: then waits for that. */
async function removeStale(path: string, judged: Sighting, clock: Clock): Promise<void> {
  const mark = `${path}.stale.${crc32(utf8Bytes(judged.text)).toString(16)}`;
  try {
    await fs.writeFile(mark, "", { flag: "wx" });
  } catch (error) {
    if (systemErrorCode(error) !== "EEXIST") throw error;
    const isChanged = await isTouched(path, judged, clock);
    // Nothing came of it: its maker has died in between, or its lock had the same text as this one.
    if (!isChanged) await fs.rm(mark, { force: true });
    return;
  }
  const now = await sight(path);
  if (now !== undefined && now.text === judged.text && now.touchedMs === judged.touchedMs) {
    await fs.rm(path, { force: true });
  }
}

/** Touches the file, and looks whether it is still ours, until the answer is called. */
function keep(path: string, self: Holder, options: FolderLockOptions): () => Promise<void> {
  let cancel: (() => void) | undefined;
  let isHeld = true;
  let touching: Promise<void> = Promise.resolve();
  const touch = async (): Promise<void> => {
    const holder = (await sight(path))?.holder;
    if (!isHeld) return;
    if (holder?.token !== self.token) {
      isHeld = false;
      heldTokens.delete(self.token);
      options.onLockLost?.(lostReason(path, holder));
      return;
    }
    // A whole millisecond apart from any touch before it, so that a watcher always sees a change.
    const now = new Date(options.clock.nowMs());
    await fs.utimes(path, now, now);
  };
  const arm = (): void => {
    cancel = options.clock.after(touchEveryMs, () => {
      // A disk that cannot be read for a moment is not a lost lock: the next touch decides.
      touching = touch()
        .catch(() => {})
        .then(() => {
          if (isHeld) arm();
        });
    });
  };
  arm();
  return async () => {
    if (!isHeld) return;
    isHeld = false;
    cancel?.();
    await touching;
    heldTokens.delete(self.token);
    if ((await sight(path))?.holder?.token === self.token) await fs.rm(path, { force: true });
  };
}

function lostReason(path: string, holder: Holder | undefined): string {
  return holder === undefined
    ? `The lock ${path} was removed while this process held it.`
    : `The lock ${path} was taken by process ${holder.pid} on '${holder.host}' while this process held it.`;
}

function inUse(folder: string, holder: Holder | undefined, self: Holder): QuorateError {
  const isOwn = holder !== undefined && isOfThisProcess(holder, self);
  const elsewhere =
    holder === undefined ? "another process" : `process ${holder.pid} on host '${holder.host}'`;
  const who = isOwn ? `this process itself (${holder.pid})` : elsewhere;
  const another = "choose another folder with --data-dir (dataDir of open())";
  return new QuorateError(
    "data-folder-in-use",
    `Cannot open the data folder '${folder}': ${who} has it open.`,
    {
      hint: isOwn
        ? `Use what it was opened as before, close() that first, or ${another}.`
        : `Stop that process, or ${another}. If no such process exists any more, remove '${join(folder, lockName)}'.`,
    },
  );
}

/** In a container nearly every program is process 1: a pid alone says nothing. */
function isOfThisProcess(holder: Holder, self: Holder): boolean {
  if (heldTokens.has(holder.token)) return true;
  // A second copy of this module in the same process has tokens of its own.
  const isSame = holder.pid === self.pid && holder.startTicks === self.startTicks;
  return isSame && sharesProcesses(holder, self);
}

async function removeLeftovers(folder: string, path: string): Promise<void> {
  const now = (await sight(path))?.touchedMs;
  if (now === undefined) return;
  for (const name of await fs.readdir(folder)) {
    if (!name.startsWith(`${lockName}.`)) continue;
    const left = await sight(join(folder, name));
    if (left !== undefined && left.touchedMs < now - leftoverAfterMs) {
      await fs.rm(join(folder, name), { force: true });
    }
  }
}

async function describeSelf(): Promise<Omit<Holder, "token">> {
  return {
    pid: process.pid,
    startTicks: await startTicksOf("self"),
    bootId: (await textOrUndefined("/proc/sys/kernel/random/boot_id"))?.trim(),
    pidNamespace: await fs.readlink("/proc/self/ns/pid").catch(() => undefined),
    host: hostname(),
  };
}

/** Field 22 of `/proc/<pid>/stat`; undefined when there is no such process, or only its remains. */
async function startTicksOf(pid: string): Promise<string | undefined> {
  const text = await textOrUndefined(`/proc/${pid}/stat`);
  // The second field is the program's name in brackets and may hold spaces and brackets itself.
  const fields = text?.slice(text.lastIndexOf(")") + 2).split(" ");
  const state = fields?.[0];
  // A zombie runs no more: its parent has just not asked for its exit code yet.
  return state === "Z" || state === "X" ? undefined : fields?.[19];
}

async function textOrUndefined(path: string): Promise<string | undefined> {
  return fs.readFile(path, "utf8").catch(() => undefined);
}

function hasProcess(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: it is there, and belongs to another user.
    return systemErrorCode(error) === "EPERM";
  }
}
