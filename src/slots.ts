/**
 * Slots: a small document that is kept twice, so that neither a crash nor one bad block loses it.
 *
 * Two files, `<name>.a` and `<name>.b`, hold the same sealed document with a generation number.
 * A write goes to one file, is synced, then goes to the other and is synced; it is done after both.
 *
 *     a: generation 7     a: torn          a: 8             a: 8
 *     b: generation 7     b: 7             b: torn          b: 8
 *        before              crash -> 7       crash -> 8       done
 *
 * Invariants
 * 1. At every instant at least one file holds a whole document, once the first write has resolved.
 * 2. After a crash during a write, the document read is the one before or the new one.
 * 3. A damaged or missing copy is written again from the other at the next write.
 *
 * Effects: Disk. Source: promise P8; Gray and Reuter, "Transaction Processing" (1993), section 3.7,
 * for stable storage out of two unstable copies.
 *
 * @module
 */

import type { Disk, DiskFile } from "./capability.ts";
import { systemErrorCode } from "./capability.ts";
import { QuorateError } from "./errors.ts";
import { seal, unseal } from "./sealed.ts";

/** The largest file of a slot that is read. */
const slotBytesMax = 4 * 1024 * 1024;

type Copy =
  | { readonly kind: "absent" }
  | { readonly kind: "damaged" }
  | { readonly kind: "whole"; readonly generation: number; readonly document: unknown };

/** One document. One writer at a time (the caller's duty). */
export class Slots {
  readonly #disk: Disk;
  readonly #name: string;
  #generation: number;
  /** What was read at the opening; undefined when there was none. */
  readonly found: unknown;

  private constructor(disk: Disk, name: string, generation: number, found: unknown) {
    this.#disk = disk;
    this.#name = name;
    this.#generation = generation;
    this.found = found;
  }

  /** Reads the document. @throws `corruption` when there are copies and none is whole */
  static async open(disk: Disk, name: string): Promise<Slots> {
    const copies = [await readCopy(disk, `${name}.a`), await readCopy(disk, `${name}.b`)];
    const whole = copies
      .flatMap((copy) => (copy.kind === "whole" ? [copy] : []))
      .sort((a, b) => b.generation - a.generation)[0];
    // One damaged copy beside none is a first write that a crash cut short: nothing depends on it.
    const isLost = copies.every((copy) => copy.kind === "damaged");
    if (whole === undefined && isLost) {
      throw new QuorateError(
        "corruption",
        `Both copies of '${name}' in the data folder are damaged.`,
        { hint: "Restore the data folder from a copy; the damaged files were not changed." },
      );
    }
    return new Slots(disk, name, whole?.generation ?? 0, whole?.document);
  }

  /** Resolves when both copies are durable. After a rejection either document may be read back. */
  async write(document: unknown): Promise<void> {
    // Counted first: a write that failed half-way must not share its number with the next one.
    this.#generation += 1;
    const bytes = seal({ generation: this.#generation, document });
    for (const suffix of ["a", "b"]) await writeCopy(this.#disk, `${this.#name}.${suffix}`, bytes);
  }
}

async function readCopy(disk: Disk, path: string): Promise<Copy> {
  let file: DiskFile;
  try {
    file = await disk.open(path, "read");
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return { kind: "absent" };
    throw error;
  }
  try {
    const bytes = new Uint8Array(Math.min(await file.size(), slotBytesMax));
    const read = await file.read(bytes, 0);
    return parseCopy(unseal(bytes.subarray(0, read)));
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
