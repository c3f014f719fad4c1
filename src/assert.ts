/**
 * Assert: what must be true whatever the input, the disk or a peer does.
 *
 * An assertion names a programmer's error, never an operating one: corrupt bytes, nonsense from a
 * peer and bad requests are `QuorateError`s. Only `cli.ts` catches an assertion; everywhere else it
 * ends the process, because going on with a broken invariant is how a store loses data.
 *
 * Effects: none.
 *
 * @module
 */

export class AssertionError extends Error {
  override readonly name = "AssertionError";
}

/** Throws when `condition` is false; `claim` reads "module: what holds". */
export function assert(condition: boolean, claim: string): asserts condition {
  if (!condition) throw new AssertionError(`Broken invariant: ${claim}`);
}

/** Ends a switch over a union: the compiler proves that it cannot be reached. */
export function unreachable(value: never): never {
  throw new AssertionError(`Unreachable: ${String(value)}`);
}
