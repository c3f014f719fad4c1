/**
 * Placement row: the replicas of one partition, as indexes of members, and what a change in it costs.
 *
 * For every depth n a row has newcomers: members of its first n that were not among the first n
 * before. Each is a copy that somebody must make, for the namespaces with that n.
 *
 * Effects: none.
 *
 * @module
 */

import { assert } from "./assert.ts";

/** No replica yet. */
export const hole = -1;

/** A member comes to stand in a position. */
export interface Move {
  readonly position: number;
  readonly member: number;
  /** Where the one that stood in the position goes; the position itself: out of the row. */
  readonly landing: number;
}

export function move(row: Int32Array, { position, member, landing }: Move): void {
  row[landing] = at(row, position);
  row[position] = member;
}

/** For each depth: members of the first so many that were not among them before. */
export function newcomers(row: Int32Array, before: Int32Array): Int32Array {
  const counts = new Int32Array(row.length);
  for (let index = 0; index < row.length; index += 1) {
    const member = at(row, index);
    if (member === hole) continue;
    const was = before.indexOf(member);
    // A newcomer from its own depth on, up to the depth at which it was there already.
    const end = was === -1 ? row.length : Math.min(was, row.length);
    for (let depth = index; depth < end; depth += 1) add(counts, depth, 1);
  }
  return counts;
}

export function sum(counts: Int32Array): number {
  return counts.reduce((total, count) => total + count, 0);
}

/** An element that is there. */
export function at(array: Int32Array, index: number): number {
  const value = array[index];
  assert(value !== undefined, "placement: an index is within its array");
  return value;
}

export function add(array: Int32Array, index: number, change: number): void {
  array[index] = at(array, index) + change;
}
