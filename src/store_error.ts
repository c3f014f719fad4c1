/**
 * Store error: what a store says when it cannot do what it was asked.
 *
 * Effects: none.
 *
 * @module
 */

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

export function overloaded(detail: string): QuorateError {
  return new QuorateError("overloaded", detail, { outcome: "none", retryAfterSeconds: 1 });
}

export function tableFailure(error: unknown): QuorateError {
  const why = error instanceof Error ? error.message : String(error);
  return new QuorateError("read-only", `Writing to the table failed: ${why}`, {
    hint: "Check the disk, then start the node again: the log still has what the table lacks.",
    cause: error,
  });
}
