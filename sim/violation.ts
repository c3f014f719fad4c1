/**
 * Violation: a promise that a history breaks, and the operations that show it.
 *
 * Effects: none.
 *
 * @module
 */

import { type Operation, operationText } from "./history.ts";

export type Promised =
  | "P1"
  | "P2"
  | "P3"
  | "P4"
  | "P5"
  | "P6"
  | "P7"
  | "P8"
  | "L1"
  | "R3"
  | "bound"
  | "other";

export interface Violation {
  readonly promise: Promised;
  readonly detail: string;
}

export function violation(
  promise: Promised,
  what: string,
  ...operations: readonly Operation[]
): Violation {
  return { promise, detail: [`${what}:`, ...operations.map(operationText)].join("\n    ") };
}
