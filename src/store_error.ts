/**
 * Store error: what a store says when it cannot do what it was asked.
 *
 * Effects: none.
 *
 * @module
 */

import { isDiskFull, systemErrorCode } from "./capability.ts";
import { QuorateError } from "./errors.ts";
import type { Spot } from "./store_index.ts";

export function lostPartition({ key, place }: Spot): QuorateError {
  return new QuorateError(
    "corruption",
    `Nothing was found, but partition ${place.partition} has lost records, and this is its only copy.`,
    {
      key,
      hint: "Restore a copy of the data folder, or take the loss as final: start with --accept-data-loss.",
    },
  );
}

/** A read that waited for a write shares its failure, but not its outcome: it wrote nothing (P7). */
export function failRead(error: unknown): never {
  if (!(error instanceof QuorateError)) throw error;
  const { outcome: _, ...facts } = error.facts;
  throw new QuorateError(error.slug, error.detail, facts);
}

export function overloaded(detail: string): QuorateError {
  return new QuorateError("overloaded", detail, {
    outcome: "none",
    retryAfterSeconds: 1,
    hint: "Repeat the request a little later.",
  });
}

/** Writes that grow the data are refused. */
export function reserveUsed(reserveBytes: number): QuorateError {
  return new QuorateError(
    "disk-full",
    `The disk has less than the reserve of ${reserveBytes} bytes left, or had no room for a checkpoint.`,
    {
      outcome: "none",
      retryAfterSeconds: 1,
      hint: "Free space on the disk; writes go on by themselves. Deleting keys makes none: a deletion is kept as a record.",
    },
  );
}

/** Whether the table's writer failed for want of space, and may succeed later. */
export function isNoSpace(error: unknown): boolean {
  return isDiskFull(error) || fullTableCodes.has(systemErrorCode(error) ?? "");
}

const fullTableCodes: ReadonlySet<string> = new Set(["MDB_MAP_FULL", "MDB_TXN_FULL"]);

export function tableFailure(error: unknown): QuorateError {
  // The table's own word for damage says more than that a write failed.
  if (error instanceof QuorateError) return error;
  const why = error instanceof Error ? error.message : String(error);
  return new QuorateError("read-only", `Writing to the table failed: ${why}`, {
    hint: "Check the disk, then start the node again: the log still has what the table lacks.",
    cause: error,
  });
}
