/**
 * Traffic: what the edges were asked, and how it ended, in numbers.
 *
 * Every request adds to one cell, that of its edge and operation: its status, and the time it took.
 * All cells exist from the start and an edge finds its own once, so counting a request is two
 * additions, without an object made for it. Whoever shows the numbers reads them when asked.
 *
 * Invariants
 * 1. The numbers only grow.
 * 2. Their names come from closed lists: edges, operations, statuses, slugs and outcomes. No text of a
 *    client (a key, a path, a namespace) is ever one.
 *
 * Effects: none.
 *
 * @module
 */

import type { Outcome, Slug } from "./errors.ts";
import { Histogram, latencyBounds } from "./histogram.ts";

export const edges = ["http", "rpc"] as const;
export type Edge = (typeof edges)[number];

export const operations = [
  "get",
  "put",
  "delete",
  "list",
  "count",
  "batch",
  "namespace",
  "node",
  "other",
] as const;
export type OperationName = (typeof operations)[number];

const statusMin = 100;
const statusMax = 599;

/** The requests of one edge for one operation. */
export class TrafficCell {
  readonly edge: Edge;
  readonly operation: OperationName;
  readonly latency: Histogram = new Histogram(latencyBounds);
  readonly #statuses = new Float64Array(statusMax - statusMin + 1);

  constructor(edge: Edge, operation: OperationName) {
    this.edge = edge;
    this.operation = operation;
  }

  /** Counts a request that was answered after `tookMs`. */
  add(status: number, tookMs: number): void {
    this.refuse(status);
    this.latency.observe(tookMs / 1000);
  }

  /** Counts a request that was answered before anything was done for it: it has no latency. */
  refuse(status: number): void {
    const index = status - statusMin;
    this.#statuses[index] = (this.#statuses[index] ?? 0) + 1;
  }

  /** The statuses that were answered, with how often. */
  statuses(): readonly (readonly [status: number, count: number])[] {
    return Array.from(this.#statuses)
      .map((count, index) => [index + statusMin, count] as const)
      .filter(([, count]) => count > 0);
  }
}

export interface Failures {
  readonly slug: Slug;
  readonly outcome: Outcome | "not-a-write";
  readonly count: number;
}

export class Traffic {
  readonly cells: readonly TrafficCell[] = edges.flatMap((edge) =>
    operations.map((operation) => new TrafficCell(edge, operation)),
  );
  readonly #failures = new Map<string, Failures>();

  /** The cell of an edge's operation; to be found once, not for each request. */
  cell(edge: Edge, operation: OperationName): TrafficCell {
    const index = edges.indexOf(edge) * operations.length + operations.indexOf(operation);
    return this.cells[index] as TrafficCell;
  }

  /** A request, or one operation of a batch, failed. */
  fail(slug: Slug, outcome: Outcome | undefined): void {
    const known = outcome ?? "not-a-write";
    const name = `${slug} ${known}`;
    const count = (this.#failures.get(name)?.count ?? 0) + 1;
    this.#failures.set(name, { slug, outcome: known, count });
  }

  failures(): readonly Failures[] {
    return [...this.#failures.values()];
  }
}
