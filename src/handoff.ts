/**
 * Handoff: writes kept for replicas that were away, delivered when they answer again.
 *
 * A hint is a record under the key of its target, in a namespace of the store's own: so it goes through
 * the same log as every write (often in the very batch of the coordinator's own copy), is
 * checkpointed like data, and never pins a segment. A newer write of a key takes the place of the
 * hint before it. Delivery carries the version as it is, so it may run in any order and more than once.
 *
 *     key of a hint      0 store id 16 | 16 partition u16 | 18 n u8 | 19 namespace u32 | 23 key
 *
 * Invariants
 * 1. A hint is durable when `keep` resolves, and goes only
 *    - after its target has durably answered `took`, `superseded` or `covered`; where that holds the
 *      partition no more, after all who hold it now have;
 *    - when its namespace is deleted;
 *    - when it is too old, beyond the bound, or damaged: its partition is marked first. Where its key does
 *      not even tell the partition, it is counted and told of alone.
 * 2. `bytes` and `count` of a target are never above the bounds by more than the hint being kept.
 * 3. Deliveries to one target under way are at most `underWayMax`, and no faster than the rate.
 *
 * Effects: Clock, Report; the store and the peers through ports. Source: rules H1 to H3;
 * DeCandia et al., "Dynamo" (2007), section 4.6.
 *
 * @module
 */

import { assert } from "./assert.ts";
import { fromHex, toHex } from "./bytes.ts";
import type { Clock, Report } from "./capability.ts";
import { QuorateError } from "./errors.ts";
import { hlcWallMs } from "./hlc.ts";
import { Pauses } from "./pauses.ts";
import { decodeRecord, recordBytes, recordVersion, type StoredRecord } from "./record.ts";
import { ownNamespaces } from "./store_own.ts";
import { type PieceStore, piecesOf } from "./store_pieces.ts";
import { compareVersions, type Version } from "./version.ts";

const hintNamespace = ownNamespaces.hints;

/** Whom a write is kept for, and which. */
export interface Hint {
  /** 32 hex digits: another store under the same name has no claim to it. */
  readonly storeId: string;
  readonly partition: number;
  /** The n of the namespace: which list of replicas the target is in. */
  readonly n: number;
  readonly namespaceNumber: number;
  readonly key: Uint8Array;
  readonly record: StoredRecord;
}

/** What is needed of the store. */
export interface HintStore extends PieceStore<StoredHint> {
  readonly partitions: number;
  write(write: {
    readonly namespaceNumber: number;
    readonly key: Uint8Array;
    readonly record: StoredRecord;
    readonly durability: "fsync";
    /** Called in the turn in which it is taken, unless something newer stands there. */
    readonly admit: () => void;
  }): Promise<unknown>;
  /** What is under a key, be it damaged (then without a version); undefined: nothing. */
  head(
    namespaceNumber: number,
    key: Uint8Array,
  ): { readonly bytes: number; readonly version: Version | undefined } | undefined;
  /** Answers those that were still what the scan had found, and are gone. */
  forget(items: readonly StoredHint[]): Promise<readonly StoredHint[]>;
}

/** As a scan of the store gives it. */
export interface StoredHint {
  readonly tableKey: Uint8Array;
  readonly namespaceNumber: number;
  readonly key: Uint8Array;
  readonly record: Uint8Array | undefined;
  readonly sequence: number;
}

/** What the target said of a hint. */
export type HintReply =
  /** It holds it, holds something newer, or needs it no more: durably. */
  | "done"
  /** Not now: it is kept. */
  | "later"
  /** One whom it is for cannot be reached, or does not answer in time: it is kept, and tried less and less often. */
  | "away";

export interface HintPort {
  /** Gives one hint to the store. Does not reject where that cannot be reached: the answer is `away`. */
  deliver(hint: Hint): Promise<HintReply>;
  /** Whether the store answers at present. */
  isUp(storeId: string): boolean;
  /**
   * A hint is dropped: this partition's replicas differ until they are compared. Whether that is on disk;
   * what is not is kept in memory, and tried again.
   */
  mark(partition: number, n: number, storeId: string): Promise<boolean>;
}

export interface HandoffLimits {
  /** What is kept for one target; past it, hints are dropped and their partitions marked. */
  readonly bytesMax: number;
  /** How long a hint is kept, in ms. */
  readonly ageMaxMs: number;
  /** How much is delivered to one target, in bytes a second. */
  readonly bytesPerSecond: number;
}

export interface HandoffOptions {
  readonly clock: Clock;
  readonly report: Report;
  readonly store: HintStore;
  readonly port: HintPort;
  readonly limits: HandoffLimits;
}

/** What is kept for one store. */
export interface HintStatus {
  readonly storeId: string;
  readonly count: number;
  readonly bytes: number;
  /** The stamp of the oldest one that is known, in ms since 1970; undefined when there is none. */
  readonly oldestMs: number | undefined;
  readonly isDelivering: boolean;
}

interface Target {
  count: number;
  bytes: number;
  oldestMs: number | undefined;
  delivering: Promise<void> | undefined;
  /** Whether a delivery of the walk under way was answered with `away`. */
  isAway: boolean;
  /** Not before this, after a failure. */
  notBeforeMs: number;
  retryMs: number;
  /** The same for those past their age, which go as soon as the disk has room for their marks. */
  oldNotBeforeMs: number;
  oldRetryMs: number;
}

const headerBytes = 23;
const storeIdBytes = 16;
/** So much of a key tells whom it is for, and of which partition. */
const aboutBytes = 19;
/** What a hint takes beside its record. */
const overheadBytes = 128;
const tickMs = 1000;
const retryMsMin = 1000;
const retryMsMax = 60_000;
const pieceCount = 256;
const underWayMax = 32;

/** The keeper of a node's hints. */
export class Handoff {
  readonly #options: HandoffOptions;
  readonly #targets = new Map<string, Target>();
  #cancelTick: () => void = () => {};
  #isClosed = false;
  #removing: Promise<void> = Promise.resolve();
  readonly #pauses: Pauses;

  private constructor(options: HandoffOptions) {
    this.#options = options;
    this.#pauses = new Pauses(options.clock);
  }

  /** Counts what the store holds, and begins to deliver it. */
  static open(options: HandoffOptions): Handoff {
    const handoff = new Handoff(options);
    const nameless: StoredHint[] = [];
    for (let partition = 0; partition < options.store.partitions; partition += 1) {
      for (const item of itemsOf(options.store, partition, new Uint8Array(0))) {
        if (item.key.length < aboutBytes) nameless.push(item);
        else handoff.#add(toHex(item.key.subarray(0, storeIdBytes)), item);
      }
    }
    if (nameless.length > 0) handoff.#removing = handoff.#removeNameless(nameless);
    handoff.#tickLater();
    return handoff;
  }

  /**
   * Keeps a write for a store, durably when it resolves. A hint beyond the bounds is dropped, and the
   * partition marked; that is no failure of the write.
   */
  async keep(hint: Hint): Promise<"kept" | "dropped"> {
    const { store, limits } = this.#options;
    const { record } = hint;
    const target = this.#target(hint.storeId);
    const bytes = overheadBytes + hint.key.length + recordBytes(record);
    const key = hintKey(hint);
    /** What is kept of the key, and how much more there is with this one. @throws beyond the bound */
    const change = () => {
      const present = store.head(hintNamespace, key);
      const version = present?.version;
      const replaces = version === undefined || compareVersions(version, record.version) < 0;
      const moreBytes = present === undefined ? bytes : recordBytes(record) - present.bytes;
      if (replaces && moreBytes > 0 && target.bytes + moreBytes > limits.bytesMax) {
        throw boundReached();
      }
      return { isNew: present === undefined, moreBytes: replaces ? moreBytes : 0 };
    };
    // Counted in the turn in which it is stored: while it waits, others for the key come and go.
    const admit = (): void => {
      const { isNew, moreBytes } = change();
      target.oldestMs ??= hlcWallMs(record.version.hlc);
      if (isNew) target.count += 1;
      target.bytes += moreBytes;
    };
    try {
      // Before it waits for room, too; below the bound there is nothing to look up.
      if (target.bytes + bytes > limits.bytesMax) change();
      await store.write({
        namespaceNumber: hintNamespace,
        key,
        record,
        durability: "fsync",
        admit,
      });
    } catch (error) {
      const { slug, detail } = QuorateError.from(error);
      if (slug !== "disk-full" && slug !== "overloaded") throw error;
      return this.#dropUnkept(hint, detail);
    }
    this.#options.report.count("hints_kept");
    return "kept";
  }

  /** A store answers again: what is kept for it is delivered now. */
  wake(storeId: string): void {
    const target = this.#targets.get(storeId);
    if (target === undefined) return;
    target.notBeforeMs = 0;
    target.retryMs = retryMsMin;
    this.#begin(storeId, target);
  }

  /**
   * Before this node goes: what is kept for stores that answer is delivered, for so long at most. What
   * they do not take now stays, and is delivered by the next start.
   */
  async deliverNow(timeoutMs: number): Promise<void> {
    const { clock, port } = this.#options;
    let isOver = false;
    let tellOver = (): void => {};
    const over = new Promise<void>((resolve) => {
      tellOver = resolve;
    });
    const cancel = clock.after(timeoutMs, () => {
      isOver = true;
      tellOver();
    });
    // One under way may have begun while nothing could be delivered: that is no look yet.
    const begun = [...this.#targets.values()].map(({ delivering }) => delivering);
    await Promise.race([Promise.all(begun), over]);
    let before = Number.POSITIVE_INFINITY;
    while (!isOver && !this.#isClosed) {
      const open = [...this.#targets].filter(([id, { count }]) => count > 0 && port.isUp(id));
      const left = open.reduce((sum, [, { count }]) => sum + count, 0);
      // One look that has brought nothing on its way is enough.
      if (left === 0 || left >= before) break;
      before = left;
      for (const [storeId] of open) this.wake(storeId);
      const under = open.map(([, { delivering }]) => delivering);
      await Promise.race([Promise.all(under), over]);
    }
    cancel();
  }

  status(): readonly HintStatus[] {
    return [...this.#targets]
      .filter(([, { count }]) => count > 0)
      .map(([storeId, { count, bytes, oldestMs, delivering }]) => ({
        storeId,
        count,
        bytes,
        oldestMs,
        isDelivering: delivering !== undefined,
      }));
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancelTick();
    this.#pauses.end();
    await this.#removing;
    await Promise.all([...this.#targets.values()].map(({ delivering }) => delivering));
  }

  #target(storeId: string): Target {
    let target = this.#targets.get(storeId);
    if (target === undefined) {
      target = {
        count: 0,
        bytes: 0,
        oldestMs: undefined,
        delivering: undefined,
        isAway: false,
        notBeforeMs: 0,
        retryMs: retryMsMin,
        oldNotBeforeMs: 0,
        oldRetryMs: retryMsMin,
      };
      this.#targets.set(storeId, target);
    }
    return target;
  }

  #add(storeId: string, item: StoredHint): void {
    const target = this.#target(storeId);
    target.count += 1;
    target.bytes += storedBytes(item);
    if (item.record === undefined) return;
    const ms = hlcWallMs(recordVersion(item.record).hlc);
    if (target.oldestMs === undefined || ms < target.oldestMs) target.oldestMs = ms;
  }

  #subtract(target: Target, bytes: number): void {
    target.count = Math.max(0, target.count - 1);
    target.bytes = target.count === 0 ? 0 : Math.max(0, target.bytes - bytes);
    if (target.count === 0) target.oldestMs = undefined;
  }

  async #dropUnkept(hint: Hint, why: string): Promise<"dropped"> {
    await this.#options.port.mark(hint.partition, hint.n, hint.storeId);
    this.#noteDropped(hint, why);
    return "dropped";
  }

  /** Whether its partition is marked on disk: else nobody would know of it after a crash (H2). */
  async #dropKept(item: StoredHint, why: string): Promise<boolean> {
    const about = markOf(item);
    const isMarked = await this.#options.port.mark(about.partition, about.n, about.storeId);
    if (isMarked) this.#noteDropped(about, why);
    return isMarked;
  }

  #noteDropped({ partition, storeId }: Pick<Hint, "partition" | "storeId">, why: string): void {
    const { report } = this.#options;
    report.count("hints_dropped");
    report.sometimes("handoff: hint dropped");
    report.log("warn", "A hint was dropped; the partition will be compared.", {
      partition,
      storeId,
      why,
    });
  }

  /** Of a damaged key that is too short nobody knows whom it was for; no walk would come to it. Never rejects. */
  async #removeNameless(items: readonly StoredHint[]): Promise<void> {
    try {
      for (const _ of await this.#options.store.forget(items)) this.#noteNameless();
    } catch (error) {
      const why = QuorateError.from(error).detail;
      this.#options.report.log("warn", "Hints with damaged keys stay until the next start.", {
        why,
      });
    }
  }

  #noteNameless(): void {
    const { report } = this.#options;
    report.count("hints_dropped");
    report.log("warn", "A hint was dropped: its damaged key does not tell whom it was for.", {});
  }

  #tickLater(): void {
    this.#cancelTick = this.#options.clock.after(tickMs, () => {
      if (this.#isClosed) return;
      for (const [storeId, target] of this.#targets) this.#begin(storeId, target);
      this.#tickLater();
    });
  }

  #begin(storeId: string, target: Target): void {
    const { clock, port } = this.#options;
    if (this.#isClosed || target.delivering !== undefined || target.count === 0) return;
    const nowMs = clock.monotonicMs();
    const mayDeliver = nowMs >= target.notBeforeMs && port.isUp(storeId);
    const isOld = this.#isTooOld(target.oldestMs) && nowMs >= target.oldNotBeforeMs;
    if (!isOld && !mayDeliver) return;
    target.delivering = this.#deliverAll(storeId, target, mayDeliver)
      .catch((error) => {
        this.#options.report.log("warn", "Hints could not be delivered; they are kept.", {
          storeId,
          why: QuorateError.from(error).detail,
        });
        target.notBeforeMs = clock.monotonicMs() + target.retryMs;
        target.retryMs = Math.min(retryMsMax, target.retryMs * 2);
      })
      .finally(() => {
        target.delivering = undefined;
      });
  }

  #isTooOld(stampMs: number | undefined): boolean {
    const { clock, limits } = this.#options;
    return stampMs !== undefined && stampMs + limits.ageMaxMs < clock.nowMs();
  }

  /** Walks everything that is kept for a store once; where nothing may be delivered, for what is too old. */
  async #deliverAll(storeId: string, target: Target, mayDeliver: boolean): Promise<void> {
    const { clock, store, report } = this.#options;
    const prefix = fromHex(storeId);
    assert(prefix?.length === storeIdBytes, "handoff: a store id has 32 hex digits");
    target.isAway = false;
    let oldestMs: number | undefined;
    for (let partition = 0; partition < store.partitions; partition += 1) {
      const range = { partition, namespaceNumber: hintNamespace, prefix, limit: pieceCount };
      for (const piece of piecesOf(store, range)) {
        if (this.#isClosed) return;
        const left = await this.#deliverPiece(piece, target, mayDeliver);
        for (const { record } of left) {
          const ms = record === undefined ? undefined : hlcWallMs(recordVersion(record).hlc);
          if (ms !== undefined && (oldestMs === undefined || ms < oldestMs)) oldestMs = ms;
        }
      }
    }
    // What was kept since may have been missed by the walk: it is no older than that.
    target.oldestMs = oldestMs ?? (target.count > 0 ? clock.nowMs() : undefined);
    const isOld = this.#isTooOld(oldestMs);
    target.oldNotBeforeMs = isOld ? clock.monotonicMs() + target.oldRetryMs : 0;
    target.oldRetryMs = isOld ? Math.min(retryMsMax, target.oldRetryMs * 2) : retryMsMin;
    if (target.isAway) throw notReached();
    if (!mayDeliver) return;
    target.retryMs = retryMsMin;
    report.sometimes("handoff: hints delivered");
  }

  /** Delivers a piece, some at once, paced; answers those that stay. */
  async #deliverPiece(
    piece: readonly StoredHint[],
    target: Target,
    mayDeliver: boolean,
  ): Promise<readonly StoredHint[]> {
    const { clock, store, limits } = this.#options;
    const beganMs = clock.monotonicMs();
    const left: StoredHint[] = [];
    const gone: StoredHint[] = [];
    let bytes = 0;
    for (let start = 0; start < piece.length; start += underWayMax) {
      const part = piece.slice(start, start + underWayMax);
      const fates = await Promise.all(
        part.map((item) => this.#deliverOne(item, target, mayDeliver)),
      );
      for (const [index, item] of part.entries()) (fates[index] === true ? gone : left).push(item);
      bytes += part.reduce((sum, item) => sum + storedBytes(item), 0);
      const aheadMs = beganMs + (bytes / limits.bytesPerSecond) * 1000 - clock.monotonicMs();
      if (mayDeliver && aheadMs >= 1) await this.#pauses.wait(aheadMs);
      if (this.#isClosed) break;
    }
    // Only now: each of them was durably answered. One that was replaced meanwhile stays.
    for (const item of await store.forget(gone)) this.#subtract(target, storedBytes(item));
    return left;
  }

  /** Whether the hint may go. */
  async #deliverOne(item: StoredHint, target: Target, mayDeliver: boolean): Promise<boolean> {
    const { port, report } = this.#options;
    const hint = parseHint(item);
    // Its bytes are damaged: whom it was for is told by its key, and what it held by a comparison.
    if (hint === undefined && item.key.length < aboutBytes) {
      this.#noteNameless();
      return true;
    }
    if (hint === undefined || this.#isTooOld(hlcWallMs(hint.record.version.hlc))) {
      return this.#dropKept(item, hint === undefined ? "its bytes are damaged" : "it is too old");
    }
    if (!mayDeliver) return false;
    const reply = await port.deliver(hint);
    // One that takes too long on a slow link holds up no other; one that is gone ends the walk.
    if (reply === "away" && !port.isUp(hint.storeId)) throw notReached();
    if (reply === "away") target.isAway = true;
    if (reply === "done") report.count("hints_delivered");
    else report.sometimes("handoff: hint answered later");
    return reply === "done";
  }
}

function hintKey({ storeId, partition, n, namespaceNumber, key }: Hint): Uint8Array {
  const bytes = new Uint8Array(headerBytes + key.length);
  const id = fromHex(storeId);
  assert(id?.length === storeIdBytes, "handoff: a store id has 32 hex digits");
  bytes.set(id);
  const view = new DataView(bytes.buffer);
  view.setUint16(16, partition);
  bytes[18] = n;
  view.setUint32(19, namespaceNumber);
  bytes.set(key, headerBytes);
  return bytes;
}

/** The hint that was stored; undefined when its record is damaged. */
function parseHint(item: StoredHint): Hint | undefined {
  if (item.record === undefined || item.key.length <= headerBytes) return undefined;
  const { key } = item;
  const view = new DataView(key.buffer, key.byteOffset, key.byteLength);
  return {
    ...markOf(item),
    namespaceNumber: view.getUint32(19),
    key: key.slice(headerBytes),
    // The table's bytes are overwritten by its next call.
    record: decodeRecord(item.record.slice()),
  };
}

function markOf({ key }: StoredHint): Pick<Hint, "storeId" | "partition" | "n"> {
  const view = new DataView(key.buffer, key.byteOffset, key.byteLength);
  return {
    storeId: toHex(key.subarray(0, storeIdBytes)),
    partition: view.getUint16(16),
    n: key[18] as number,
  };
}

function storedBytes({ key, record }: StoredHint): number {
  return overheadBytes + key.length - headerBytes + (record?.length ?? 0);
}

function* itemsOf(store: HintStore, partition: number, prefix: Uint8Array): Generator<StoredHint> {
  const range = { partition, namespaceNumber: hintNamespace, prefix, limit: pieceCount };
  for (const piece of piecesOf(store, range)) yield* piece;
}

function notReached(): QuorateError {
  const detail = "One whom they are for cannot be reached, or has not answered in time.";
  return new QuorateError("not-ready", detail, {});
}

function boundReached(): QuorateError {
  return new QuorateError("overloaded", "What is kept for the target has reached its bound.");
}
