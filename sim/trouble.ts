/**
 * Trouble: what befalls nodes, when and for how long; of whatever kinds there are.
 *
 * @module
 */

export interface TroubleOf<Kind extends string> {
  readonly kind: Kind;
  readonly atMs: number;
  readonly lastsMs: number;
  /** Indexes of nodes: the one it meets, and another. */
  readonly one: number;
  readonly other: number;
  /** What else the kind needs, 0 to 1. */
  readonly much: number;
}
