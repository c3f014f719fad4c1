/**
 * Store room: whether a change can be taken now, and the wait until it can.
 *
 * A change goes into the log and into the memtable, and takes room in both. Where one of them is full, it
 * waits for the disk: the log's next sync, a checkpoint. What frees space (deletes, namespaces that go)
 * has room in memory for longer than what grows, and is not refused on a disk that is nearly full.
 *
 *     disk low? -> refused          full? -> wait -> room? -> taken, or the next one in the queue was quicker
 *
 * Invariants
 * 1. `make` answers undefined only in the turn in which there is room.
 * 2. The active memtable takes changes up to twice `memtableBytesMax`, those that free space up to four
 *    times.
 *
 * Effects: those of the log and of the checkpoints that it waits for. Source: docs/storage.md, "A write".
 *
 * @module
 */

import { QuorateError } from "./errors.ts";
import type { Checkpointer } from "./store_checkpointer.ts";
import { overloaded, reserveUsed } from "./store_error.ts";
import type { StoreIndex } from "./store_index.ts";
import type { SpaceWatch } from "./store_space.ts";
import type { Wal } from "./wal.ts";

const growingMax = 2;
const vitalMax = 4;
const triesMax = 4;

interface RoomParts {
  readonly index: Pick<StoreIndex, "active">;
  readonly wal: Pick<Wal, "hasRoom" | "makeRoom" | "fullSegmentCount">;
  readonly checkpoints: Pick<Checkpointer, "makeRoom" | "isTableFull">;
  readonly space: Pick<SpaceWatch, "isLow">;
  readonly memtableBytesMax: number;
  readonly diskReserveBytes: number;
  /** Throws when the store has ended. */
  readonly refuseEnded: () => void;
}

/** The room of one store for changes. */
export class Room {
  readonly #parts: RoomParts;

  constructor(parts: RoomParts) {
    this.#parts = parts;
  }

  /** Whether writes that grow the data are refused for want of space. */
  get isDiskLow(): boolean {
    return this.#parts.space.isLow || this.#parts.checkpoints.isTableFull;
  }

  /** What the changes hold that are not in the table yet, beside those that a checkpoint writes. */
  get memtable(): { readonly held: number; readonly max: number } {
    const { index, memtableBytesMax } = this.#parts;
    return { held: index.active.bytes, max: vitalMax * memtableBytesMax };
  }

  /** Whether a change of so many bytes can be taken in this turn. */
  isFor(bytes: number, isVital: boolean): boolean {
    return !this.#isMemtableFull(isVital) && this.#parts.wal.hasRoom(bytes, isVital);
  }

  /**
   * Undefined when a change can be taken at once; else resolves when it could, in a later turn, so that
   * it has to be asked again. @throws `disk-full`, and rejects with `overloaded`
   */
  make(bytes: number, isVital: boolean): Promise<void> | undefined {
    const { refuseEnded, diskReserveBytes } = this.#parts;
    refuseEnded();
    if (!isVital && this.isDiskLow) throw reserveUsed(diskReserveBytes);
    return this.isFor(bytes, isVital) ? undefined : this.#wait(bytes, isVital);
  }

  /**
   * Runs what needs a segment of the log, and once more where the disk has no space for one: a checkpoint
   * frees those that are full. @throws what `run` does
   */
  async inLog(run: () => Promise<void>): Promise<void> {
    const { wal, checkpoints } = this.#parts;
    try {
      await run();
    } catch (error) {
      if (QuorateError.from(error).slug !== "disk-full" || wal.fullSegmentCount === 0) throw error;
      await checkpoints.makeRoom();
      await run();
    }
  }

  async #wait(bytes: number, isVital: boolean): Promise<void> {
    const { wal, checkpoints, refuseEnded } = this.#parts;
    for (let attempt = 0; attempt < triesMax; attempt += 1) {
      if (this.#isMemtableFull(isVital)) await checkpoints.makeRoom();
      if (!wal.hasRoom(bytes, isVital)) await this.inLog(() => wal.makeRoom(bytes, isVital));
      refuseEnded();
      if (this.isFor(bytes, isVital)) return;
    }
    throw fullOfWaiting();
  }

  #isMemtableFull(isVital: boolean): boolean {
    const { index, memtableBytesMax } = this.#parts;
    return index.active.bytes >= (isVital ? vitalMax : growingMax) * memtableBytesMax;
  }
}

export function fullOfWaiting(): ReturnType<typeof overloaded> {
  return overloaded("The log and the memtable are full of writes that wait for the disk.");
}
