/**
 * Place: a machine in the simulated world: its disk, its table, its clock, and the node on it.
 *
 * The node is the real one; only what it reaches the world through is simulated. A process is killed
 * (what it wrote is in the page cache), or the power fails (what was not synced is lost in part, as
 * chance has it), and the next process begins with what is left.
 *
 * Invariants
 * 1. One process at a time works on the disk and on the table.
 * 2. A node that ends by itself, or does not start, has met a fault of its disk; else it is a finding.
 *
 * Effects: none; time passes in the scheduler.
 *
 * @module
 */

import type { LogLevel, Report } from "../src/capability.ts";
import { QuorateError } from "../src/errors.ts";
import { openNode, type QuorateNode } from "../src/node.ts";
import type { NodeOptions } from "../src/node_options.ts";
import { MemoryTableDisk, type TableImage } from "../src/table_memory.ts";
import type { Chance } from "./chance.ts";
import { type DiskCall, SimDisk } from "./disk.ts";
import type { Knobs } from "./knobs.ts";
import type { Mutation } from "./mutation.ts";
import type { SimNetwork } from "./network.ts";
import { SimProcess } from "./node_process.ts";
import { clusterOptions, nodeSettings } from "./node_settings.ts";
import type { Scheduler } from "./scheduler.ts";
import { WallClock } from "./wall_clock.ts";

/** Wall clocks begin here: 14 November 2023. */
export const worldStartMs = 1_700_000_000_000;
/** Whoever looks after the machine starts a process again after so long. */
const restartMs = 500;

export interface PlaceParts {
  readonly scheduler: Scheduler;
  readonly network: SimNetwork;
  readonly chance: Chance;
  readonly knobs: Knobs;
  readonly index: number;
  /** All addresses of the world. */
  readonly addresses: readonly string[];
  /** So many places found the cluster, the first ones. */
  readonly founders: number;
  /** What the node is told instead of the truth, when a rule is to be broken. */
  readonly mutation: Pick<Mutation, "disk" | "table"> | undefined;
  readonly onSometimes: (name: string) => void;
  /** A process died that was not closed: what was in memory alone is gone. */
  readonly onDeath: () => void;
  /** Its disk lost what was on it, or part of that. */
  readonly onLoss: () => void;
  /** A node has ended because it is no member any more. */
  readonly onLeft: (place: Place) => void;
  /** A node did what no fault explains. */
  readonly onFinding: (detail: string) => void;
}

/** No call of a disk takes longer, as an operating system gives up one that does: a slow one may meet a slow disk. */
const callMsMax = 30_000;
/** A write that was answered so soon after some was minted a second time may be that one. */
const secondMsMax = 40;
/** What was logged last: a record or two. */
const tailBytes = 160;

export class Place {
  readonly name: string;
  readonly address: string;
  readonly wall: WallClock;
  readonly #parts: PlaceParts;
  readonly #chance: Chance;
  #disk: SimDisk;
  #table: MemoryTableDisk;
  #isTableDamaged = false;
  #isPutBack = false;
  #backup: { readonly disk: SimDisk; readonly image: TableImage } | undefined;
  /** Since when a client has been told of a write by it which the copy does not have. */
  #backupLacksSinceMs: number | undefined;
  #life: SimProcess | undefined;
  #node: QuorateNode | undefined;
  /** How many times as long the disk takes. */
  diskFactor = 1;
  /** Whether a call of its disk has failed, or is to fail. */
  isFaulty = false;
  /** Whether it is to be started again when it ends. */
  isKept = true;
  starts = 0;
  /** Whether anybody wants it to run. */
  isWanted: boolean;
  /** How many disks it had before this one. */
  disks = 0;
  /** Its disk is a new one, which is not in the place of the old one yet. */
  isReplaced = false;
  /** Its disk may have lost what it had acknowledged: until it has filled it counts for nothing. */
  hasLost = false;
  /** What is left of its disk was refused by a start, which said why. */
  #isRefused = false;
  /** Whether its table is read from begin to end. */
  #isScrubbed = false;
  #inSync: (() => void) | undefined;
  #afterWrite: ((key: string) => void) | undefined;
  /** Whether it waits for the answer to a write that was minted twice. */
  #isForSecond = false;
  /** The process that has found out that its disk was rolled back. */
  #toldRolledBackIn: SimProcess | undefined;
  #secondAtMs = Number.NEGATIVE_INFINITY;

  constructor(parts: PlaceParts) {
    const { scheduler, knobs, index, addresses, chance } = parts;
    this.#parts = parts;
    this.#chance = chance;
    this.name = `n${index + 1}`;
    this.address = addresses[index] as string;
    this.isWanted = index < parts.founders;
    const { aheadMs, drift } = knobs.clocks[index] ?? { aheadMs: 0, drift: 0 };
    this.wall = new WallClock(scheduler, worldStartMs + aheadMs, drift);
    this.#disk = this.#newDisk();
    this.#table = this.#newTable();
  }

  get disk(): SimDisk {
    return this.#disk;
  }

  get table(): MemoryTableDisk {
    return this.#table;
  }

  get life(): SimProcess | undefined {
    return this.#life;
  }

  get node(): QuorateNode | undefined {
    return this.#node;
  }

  /** Whether it has been told what others remember of its store. */
  get isTold(): boolean {
    const check = this.#node?.readiness().find(({ name }) => name === "replica");
    // Not by its words: that it was rolled back it says for long after, and of an earlier time.
    return check !== undefined && (check.ok || this.#toldRolledBackIn === this.#life);
  }

  get isReady(): boolean {
    return this.#node?.readiness().every(({ ok }) => ok) === true;
  }

  /** What it waits for, in words. */
  get waitsFor(): string {
    if (this.#life === undefined) return "down";
    if (this.#node === undefined) return "opening";
    const open = this.#node.readiness().filter(({ ok }) => !ok);
    return open.map(({ name, detail }) => `${name}: ${detail ?? ""}`).join("; ");
  }

  /** An operator takes what it has for all that there is: it is started so, once. */
  acceptLoss(): void {
    this.kill();
    this.#parts.scheduler.trace(`${this.name}: its loss is accepted`);
    this.start(true);
  }

  start(isLossAccepted = false): void {
    if (!this.isWanted) return;
    // Also one that runs: it may be about to end, by a fault that it has met before.
    this.isKept = true;
    if (this.#life !== undefined) return;
    const { scheduler, network } = this.#parts;
    this.starts += 1;
    const life = new SimProcess(scheduler, this.wall);
    this.#life = life;
    scheduler.trace(`${this.name} starts`);
    openNode(this.#options(life, isLossAccepted)).then(
      (node) => {
        this.#node = node;
        if (node.accept !== undefined) network.listen(this.address, node.accept, life);
        void node.ended.then((error) => this.#ended(life, error));
      },
      (error) => this.#ended(life, error),
    );
  }

  /** The node of a start: the real one, but for what it reaches the world through. */
  #options(life: SimProcess, isLossAccepted: boolean): NodeOptions {
    const { network, knobs, addresses, mutation, founders, index } = this.#parts;
    const { name, address } = this;
    // A new disk founds nothing: it asks to be let in.
    const expect = index < founders && this.disks === 0 ? founders : undefined;
    const own = { name, isEarlier: this.#isEarlier, isScrubbed: this.#isScrubbed, isLossAccepted };
    return {
      clock: life,
      random: this.#chance.fork(),
      disk: mutation?.disk?.(this.#disk) ?? this.#disk,
      report: this.#report(),
      openTable: async () => {
        const table = await this.#table.open();
        return mutation?.table?.(table) ?? table;
      },
      settings: nodeSettings(knobs, own),
      cluster: clusterOptions(knobs, {
        network: network.from(address, life),
        ...{ address, addresses, expect },
      }),
    };
  }

  /** Whether this start is of an earlier program; on its first disk, for whoever joins speaks what is on. */
  get #isEarlier(): boolean {
    const { knobs, index } = this.#parts;
    if (this.disks > 0) return false;
    const isFirst = this.starts <= (knobs.earlierStarts[index] ?? 0);
    // A disk that was put back has forgotten that there is no way back, and the others refuse an earlier program.
    return isFirst || (this.starts === knobs.backAtStart[index] && !this.#isPutBack);
  }

  /** The process is killed; what it wrote stays, synced or not. */
  kill(): void {
    this.#die("kill");
  }

  /** The power fails; of what was not synced, chance keeps some. */
  powerLoss(): void {
    this.#die("power loss");
  }

  /** In the middle of the next sync, when what is being synced is on its way. */
  inNextSync(run: () => void): void {
    this.#inSync = run;
  }

  /**
   * As soon as a client has been told by this node that its write of a key is there; `again` waits for one
   * that was minted a second time just before.
   */
  afterNextWrite(run: (key: string) => void, which: "any" | "again" = "any"): void {
    this.#afterWrite = run;
    this.#isForSecond = which === "again";
  }

  /** A client has been told that something was written, whatever it was. */
  noteAcknowledged(): void {
    if (this.#backup !== undefined) this.#backupLacksSinceMs ??= this.#parts.scheduler.nowMs;
  }

  /** A client has been told that its write of this key is there. */
  noteWritten(key: string): void {
    const { scheduler } = this.#parts;
    const run = this.#afterWrite;
    if (run === undefined) return;
    if (this.#isForSecond && scheduler.nowMs - this.#secondAtMs > secondMsMax) return;
    this.#afterWrite = undefined;
    scheduler.after(0, () => run(key));
  }

  /** Keeps a copy of its disk, as a backup of the running machine does. */
  backUp(): void {
    this.#backup = { disk: this.#disk.copy(), image: this.#table.image };
    this.#backupLacksSinceMs = undefined;
  }

  /** Whether what the copy lacks was acknowledged so long ago that others have heard of it, if anything was. */
  isBackupKnown(heardMs: number): boolean {
    const sinceMs = this.#backupLacksSinceMs;
    return sinceMs === undefined || this.#parts.scheduler.nowMs - sinceMs > heardMs;
  }

  /** Its disk is put back to the copy. */
  rollBack(): void {
    const backup = this.#backup;
    if (backup === undefined) return;
    this.kill();
    this.#disk = backup.disk.copy();
    this.#table = this.#newTable(backup.image);
    this.#isPutBack = true;
    this.#lose("is rolled back");
  }

  /** The table opens as it was a commit ago, as LMDB's does when its last meta page is damaged. */
  tableRollBack(): void {
    this.kill();
    const { older, possible } = this.#table.image;
    // There are two such pages: once both are damaged, nothing is left.
    if (this.#isTableDamaged || older.length + possible.length < 2) return;
    this.#isTableDamaged = true;
    this.#table.rollBack(1);
  }

  /** A bit of some file is another one: `much`, 0 to 1, tells of which; or one of what was logged last. */
  flip(much: number | "tail"): void {
    // What is above the last byte that was written is zeros, and zeros are no damage there.
    const endOf = (path: string): number =>
      this.#disk.bytesOf(path).findLastIndex((byte) => byte !== 0) + 1;
    const files = this.#disk.files().filter((path) => endOf(path) > 0);
    const isInTail = much === "tail";
    const path = isInTail
      ? files.findLast((each) => each.startsWith("wal/"))
      : files[Math.floor(much * files.length)];
    if (path === undefined) return;
    const end = endOf(path);
    const position = isInTail
      ? end - 1 - this.#chance.below(Math.min(end, tailBytes))
      : this.#chance.below(end);
    this.#disk.flip(path, position, 1 << this.#chance.below(8));
    this.#lose(`has a bit flipped in ${path} at ${position}`);
  }

  /** A bit of some records in its table is another one; a scrub finds out. */
  damageTable(share: number): void {
    this.kill();
    let count = 0;
    this.#table.damage((entries) =>
      entries
        .filter(({ key }) => key[0] !== 0xff && this.#chance.happens(share))
        .map(({ key, value }) => {
          count += 1;
          const at = this.#chance.below(value.length);
          value[at] = (value[at] ?? 0) ^ (1 << this.#chance.below(8));
          return { key, value };
        }),
    );
    this.#isScrubbed = true;
    if (count > 0) this.#lose(`has ${count} records of its table damaged`);
  }

  /** Whether its disk explains that the node ends, or does not start. */
  get mayEnd(): boolean {
    // One that has lost something may refuse to start, or end when it finds out.
    return this.isFaulty || this.hasLost;
  }

  /** Whether it has to serve in the end, and to hold what the others hold. */
  get mustServe(): boolean {
    // It is started again and again: as long as such a start has not opened the disk it may be refused too.
    const isRefused = this.#isRefused && !this.#isOpen;
    return !this.hasLost || !(this.isReplaced || isRefused);
  }

  /** Whether its process has opened all that is on its disk. */
  get #isOpen(): boolean {
    return this.#node?.readiness().some(({ name }) => name === "replica") === true;
  }

  /** The disk is gone; an empty one is there. */
  wipe(): void {
    this.kill();
    this.#disk = this.#newDisk();
    this.#table = this.#newTable();
    this.disks += 1;
    this.#backup = undefined;
    this.#isTableDamaged = false;
    this.#isRefused = false;
    this.isFaulty = false;
    this.#lose("gets a new disk");
    this.isReplaced = true;
  }

  /** It has left: it is stopped, and its disk is emptied. */
  retire(): void {
    this.isWanted = false;
    this.wipe();
    this.becomeWhole();
  }

  /** From now on its disk has all that it should have. */
  becomeWhole(): void {
    this.isReplaced = false;
    this.hasLost = false;
    this.#parts.scheduler.trace(`${this.name} is whole`);
  }

  #newDisk(): SimDisk {
    return new SimDisk({ isRecorded: false, pause: (call) => this.#diskPause(call) });
  }

  #lose(how: string): void {
    this.#parts.onLoss();
    this.hasLost = true;
    this.#parts.scheduler.trace(`${this.name} ${how}`);
  }

  /** Its disk and its clock are well again, and it runs. */
  heal(): void {
    this.diskFactor = 1;
    this.#inSync = undefined;
    this.#afterWrite = undefined;
    this.#disk.totalBytes = 2 ** 40;
    this.#disk.repair();
    this.wall.correct(worldStartMs);
    this.start();
  }

  /** An orderly end. */
  async close(): Promise<void> {
    const node = this.#node;
    const life = this.#life;
    if (node === undefined || life === undefined) return;
    let isClosed = true;
    try {
      await node.close();
    } catch (error) {
      isClosed = false;
      const { detail } = QuorateError.from(error);
      if (!this.mayEnd) this.#parts.onFinding(`${this.name} could not be closed: ${detail}`);
    }
    if (life !== this.#life) return;
    this.#parts.scheduler.trace(`${this.name} is closed`);
    this.#die("kill", isClosed);
  }

  #die(how: "kill" | "power loss", isClosed = false): void {
    if (this.#life === undefined) return;
    this.#parts.scheduler.trace(`${this.name}: ${how}`);
    if (!isClosed) this.#parts.onDeath();
    this.#leave(how);
    if (how === "kill") this.#disk = this.#disk.kill();
    else this.#disk = this.#disk.crash(this.#chance.fork());
    if (how === "kill") this.#table.kill();
    else this.#table.crash({ keep: this.#chance.below(3) });
  }

  #leave(how: "kill" | "power loss"): void {
    this.#life?.kill();
    this.#life = undefined;
    this.#node = undefined;
    this.#parts.network.gone(this.address, how);
  }

  #ended(life: SimProcess, error: unknown): void {
    if (life !== this.#life) return;
    const { slug, detail } = QuorateError.from(error);
    this.#parts.scheduler.trace(`${this.name} ended: ${slug}: ${detail}`);
    if (detail.includes("no member of its cluster")) {
      // It was away when it was taken out: its next start says so, and ends.
      this.#parts.onLeft(this);
      return;
    }
    this.#isRefused = slug === "corruption" || slug === "wrong-data-folder";
    // Its folder has promised: the next start is of the later program again.
    const hasPromised = this.#isEarlier && slug === "invalid-config";
    if (!this.mayEnd && !hasPromised) {
      this.#parts.onFinding(`${this.name} ended by itself: [${slug}] ${detail}`);
    }
    // The process exits when what is ready has run.
    this.#parts.scheduler.after(0, () => {
      if (life !== this.#life) return;
      this.kill();
      this.#parts.scheduler.after(restartMs, () => {
        if (this.isKept) this.start();
      });
    });
  }

  #newTable(image?: TableImage): MemoryTableDisk {
    const { scheduler, knobs } = this.#parts;
    const pause = (): Promise<void> =>
      scheduler.sleep(this.#diskMs(knobs.disk.syncMs / 2), this.#life);
    return new MemoryTableDisk({ pause }, image);
  }

  #diskPause(call: DiskCall): Promise<void> {
    const { callMs, syncMs } = this.#parts.knobs.disk;
    const isSync = call.method === "file.sync" || call.method === "syncFolder";
    const ms = this.#diskMs(isSync ? syncMs : callMs);
    const { scheduler } = this.#parts;
    const run = this.#inSync;
    if (isSync && run !== undefined) {
      this.#inSync = undefined;
      scheduler.after(ms * this.#chance.fraction(), run);
    }
    return scheduler.sleep(ms, this.#life);
  }

  #diskMs(meanMs: number): number {
    const { slowShare, slowFactor } = this.#parts.knobs.disk;
    let ms = this.#chance.between(meanMs * 0.5, meanMs * 1.5) * this.diskFactor;
    if (slowShare > 0 && this.#chance.happens(slowShare)) ms *= this.#chance.between(1, slowFactor);
    return Math.min(ms, callMsMax);
  }

  #report(): Report {
    const { scheduler, onSometimes } = this.#parts;
    const log = (level: LogLevel, message: string, fields?: object): void => {
      if (
        level === "info" ||
        (level === "debug" && !message.includes("copy was") && !message.includes("part of a move"))
      )
        return;
      if (scheduler.onTrace === undefined) return;
      scheduler.onTrace(`${this.name} ${level}: ${message} ${JSON.stringify(fields ?? {})}`);
    };
    const sometimes = (name: string): void => {
      if (name === "coordinator: second version") this.#secondAtMs = scheduler.nowMs;
      if (name === "node: rolled back") this.#toldRolledBackIn = this.#life;
      onSometimes(name);
    };
    return { log, count: () => {}, observe: () => {}, sometimes };
  }
}
