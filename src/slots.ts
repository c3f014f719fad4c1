/**
 * Slots: a small document that is kept twice, so that neither a crash nor one bad block loses it.
 *
 * Two files, `<name>.a` and `<name>.b`, hold the same document with a generation number, under a
 * checksum (`checked_json`).
 * A write goes to one file, is synced, then goes to the other and is synced; it is done after both.
 * It begins with the copy that the write before ended with: odd generations with a, even ones with b.
 *
 *     a: generation 7     a: generation 7     a: generation 7     a: 8
 *     b: generation 7     b: torn             b: 8                b: 8
 *        before              crash -> 7          crash -> 8          done
 *
 * A copy may be read back from the page cache and not be on the disk: its sync did not come, or
 * failed. The order tells which one is: of two equal ones the first was synced before the second
 * was begun, and below a newer copy the older one was. That one is written last.
 *
 * Invariants
 * 1. At every instant at least one file holds a whole document, once the first write has resolved.
 * 2. After a crash during a write, the document read is the one before or the new one; also when
 *    there was such a crash, or a failed write, before that one.
 * 3. A damaged or missing copy is written again from the other at the next write.
 *
 * Effects: Disk. Source: promise P8; Gray and Reuter, "Transaction Processing" (1993), section 3.7,
 * for stable storage out of two unstable copies.
 *
 * @module
 */

import type { Disk, DiskFile } from "./capability.ts";
import { systemErrorCode } from "./capability.ts";
import { decodeChecked, encodeChecked } from "./checked_json.ts";
import { QuorateError } from "./errors.ts";

/** The largest file of a slot that is read. */
const slotBytesMax = 4 * 1024 * 1024;

/** What comes next for a node whose folder cannot be read, where others hold what it held. */
export const replacedHint =
  "Where other nodes hold what this one held, that is not needed: start it with an empty data folder and --peers, then 'quorate cluster plan --replace' it.";

type Copy =
  | { readonly kind: "absent" }
  | { readonly kind: "damaged" }
  | { readonly kind: "whole"; readonly generation: number; readonly document: unknown };

type Suffix = "a" | "b";

/** One document. One writer at a time (the caller's duty). */
export class Slots {
  readonly #disk: Disk;
  readonly #name: string;
  #generation: number;
  /** The copy that is surely on the disk, whole: it is written last. */
  #kept: Suffix | undefined;
  /** What was read at the opening; undefined when there was none. */
  readonly found: unknown;
  #isSettled: boolean;

  private constructor(disk: Disk, name: string, { a, b }: Readonly<Record<Suffix, Copy>>) {
    this.#disk = disk;
    this.#name = name;
    const newest = generationOf(b) > generationOf(a) ? b : a;
    this.found = newest.kind === "whole" ? newest.document : undefined;
    this.#generation = generationOf(newest);
    this.#isSettled = generationOf(a) === generationOf(b);
    if (a.kind === "whole" && b.kind === "whole") {
      const older = generationOf(a) < generationOf(b) ? "a" : "b";
      this.#kept = this.#isSettled ? "b" : older;
    } else if (newest.kind === "whole") this.#kept = newest === a ? "a" : "b";
    // None is whole: what a first write has left is written over, not the copy beside it.
    else if (b.kind === "damaged") this.#kept = "a";
  }

  /** Reads the document. @throws `corruption` when there are copies and none is whole */
  static async open(disk: Disk, name: string): Promise<Slots> {
    const a = await readCopy(disk, `${name}.a`);
    const b = await readCopy(disk, `${name}.b`);
    // One damaged copy beside none is a first write that a crash cut short: nothing depends on it.
    if (a.kind === "damaged" && b.kind === "damaged") {
      throw new QuorateError(
        "corruption",
        `Both copies of '${name}' in the data folder are damaged.`,
        {
          hint: `Restore the data folder from a copy; the damaged files were not changed. ${replacedHint}`,
        },
      );
    }
    return new Slots(disk, name, { a, b });
  }

  /** Makes both copies what was found, durably: to be called before anyone relies on it (D4). */
  async settle(): Promise<void> {
    if (!this.#isSettled) await this.write(this.found);
  }

  /** Resolves when both copies are durable. After a rejection either document may be read back. */
  async write(document: unknown): Promise<void> {
    // Counted first: a write that failed half-way must not share its number with the next one.
    this.#generation += 1;
    const bytes = encodeChecked({ generation: this.#generation, document });
    // As long as none is surely there, always the same: two first writes that fail, on a disk that is
    // full, must not leave two damaged copies.
    const first = this.#kept === "a" ? "b" : "a";
    await writeCopy(this.#disk, `${this.#name}.${first}`, bytes);
    this.#kept = first;
    await writeCopy(this.#disk, `${this.#name}.${first === "a" ? "b" : "a"}`, bytes);
    this.#isSettled = true;
  }
}

function generationOf(copy: Copy): number {
  return copy.kind === "whole" ? copy.generation : 0;
}

async function readCopy(disk: Disk, path: string): Promise<Copy> {
  let file: DiskFile;
  try {
    file = await disk.open(path, "write");
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return { kind: "absent" };
    throw error;
  }
  try {
    const bytes = new Uint8Array(Math.min(await file.size(), slotBytesMax));
    const read = await file.read(bytes, 0);
    const copy = parseCopy(decodeChecked(bytes.subarray(0, read)));
    // A process that was killed may have left it in the page cache alone.
    if (copy.kind === "whole") await file.sync();
    return copy;
  } catch (error) {
    if (systemErrorCode(error) === "EIO") return { kind: "damaged" };
    throw error;
  } finally {
    await file.close();
  }
}

function parseCopy(envelope: unknown): Copy {
  if (typeof envelope !== "object" || envelope === null) return { kind: "damaged" };
  const { generation, document } = envelope as { generation?: unknown; document?: unknown };
  if (typeof generation !== "number" || document === undefined) return { kind: "damaged" };
  return { kind: "whole", generation, document };
}

async function writeCopy(disk: Disk, path: string, bytes: Uint8Array): Promise<void> {
  let file: DiskFile;
  let isNew = false;
  try {
    file = await disk.open(path, "write");
  } catch (error) {
    if (systemErrorCode(error) !== "ENOENT") throw error;
    file = await disk.open(path, "create");
    isNew = true;
  }
  try {
    await file.write(bytes, 0);
    await file.sync();
  } finally {
    await file.close();
  }
  if (isNew) await disk.syncFolder("");
}
