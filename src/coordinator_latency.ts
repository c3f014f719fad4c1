/**
 * CoordinatorLatency: how soon each replica answers, as measured.
 *
 * Mean and mean deviation are moved by each answer, as TCP does for its timeout. Mean plus four
 * deviations is about what nine in ten answers or more stay below; a read that waits longer asks another
 * replica as well.
 *
 * Invariants
 * 1. A hedge waits at least `hedgeMinMs` and at most `hedgeMaxMs`.
 * 2. `hedgeMs` has few different values, so that many reads share a timer.
 *
 * Effects: none. Source: Jacobson, "Congestion Avoidance and Control" (1988), appendix A; Dean and
 * Barroso, "The Tail at Scale" (2013).
 *
 * @module
 */

export const hedgeMinMs = 2;
export const hedgeMaxMs = 1024;
/** Before anything was measured. */
const hedgeFirstMs = 64;

interface Measured {
  meanMs: number;
  deviationMs: number;
}

export class Latencies {
  readonly #measured = new Map<string, Measured>();

  /** An answer came after so long. */
  note(nodeId: string, tookMs: number): void {
    const measured = this.#measured.get(nodeId);
    if (measured === undefined) {
      this.#measured.set(nodeId, { meanMs: tookMs, deviationMs: tookMs / 2 });
      return;
    }
    const error = tookMs - measured.meanMs;
    measured.meanMs += error / 8;
    measured.deviationMs += (Math.abs(error) - measured.deviationMs) / 4;
  }

  /** For ordering: 0 for a node of which nothing is known, so that it is tried. */
  meanMs(nodeId: string): number {
    return this.#measured.get(nodeId)?.meanMs ?? 0;
  }

  /** How long a read waits for this replica before it asks another: a power of two. */
  hedgeMs(nodeId: string): number {
    const measured = this.#measured.get(nodeId);
    const due = measured === undefined ? hedgeFirstMs : measured.meanMs + 4 * measured.deviationMs;
    let rounded = hedgeMinMs;
    while (rounded < due && rounded < hedgeMaxMs) rounded *= 2;
    return rounded;
  }
}
