/**
 * Check: whether a history keeps the promises.
 *
 * The rules, each for one key, "before" meaning that the one had ended when the other began:
 *
 *   P2  a strict read returns no older version than a strict write that was acknowledged before,
 *       and a strict write has a newer one than whatever was written or read before
 *   P3  nor than a strict read that returned before
 *   P4  and finds nothing only where a delete is named that is newer than these
 *   P7  what was answered with outcome `none` is never read
 *   P8  what is read was written, under this key, and a version has one value
 *   P1  at the end, read from all replicas, nothing that was ever acknowledged is missing
 *   L1  a weak read sees what all replicas took before
 *   R3  what lives for a time is not read when that is over, and not called over before
 *
 * A list is a read of every key of its range, and a count tells how many of them are there. What is answered
 * is answered by its deadline (`other`: no promise has a letter for it).
 *
 * Invariants
 * 1. A history that the protocol allows passes: a write without a success may appear at any time
 *    after its beginning, over newer ones, or never, unless its outcome was `none`.
 * 2. One that asked for `memory` may be gone once a process has died.
 *
 * Effects: none. Source: docs/simulator.md, "What is checked"; rules L1, L2, W3.
 *
 * @module
 */

import { checkOrder, clockSlackMs, isStrict, isWrite, mayBeGone } from "./check_order.ts";
import { type Circumstances, calm, type History, type Operation, type Told } from "./history.ts";
import { type Violation, violation } from "./violation.ts";

export type { Promised, Violation } from "./violation.ts";

/** `final` are reads at `all` after everything was well again. */
export function checkHistory(
  history: History,
  final: History = [],
  around: Circumstances = calm,
): Violation[] {
  const byKey = new Map<string, Operation[]>();
  for (const operation of history) {
    if (operation.kind === "list" || operation.kind === "count") continue;
    const before = byKey.get(operation.key);
    if (before === undefined) byKey.set(operation.key, [operation]);
    else before.push(operation);
  }
  const found: Violation[] = [];
  const writers = writersOf(history);
  for (const [key, operations] of byKey) {
    const looks = looksOf(history, key);
    found.push(...checkValues(operations), ...checkOrder([...operations, ...looks], around));
    found.push(...checkNamed([...operations, ...looks], writers));
  }
  found.push(
    ...checkVersions(history),
    ...checkExpired(history),
    ...checkDeadlines(history),
    ...checkFinal(byKey, final, around),
    ...checkLists(history, byKey),
    ...checkCounts(history, byKey, around),
  );
  return found;
}

/** P7 and P8: what is read was written, is whole, and was not denied. */
function checkValues(operations: readonly Operation[]): Violation[] {
  const writes = new Map<string, Operation>();
  for (const operation of operations) {
    if (operation.kind === "put") writes.set(operation.value ?? "", operation);
  }
  const found: Violation[] = [];
  for (const read of operations) {
    if (read.told.kind !== "found") continue;
    const write = writes.get(read.told.value);
    if (write === undefined || (read.ended ?? 0) < write.begun) {
      found.push(violation("P8", "a value that nobody had written was read", read));
    } else if (write.told.kind === "failed" && write.told.outcome === "none") {
      found.push(
        violation("P7", "a write that was told to have done nothing is read", write, read),
      );
    } else if (read.told.bytes !== write.bytes) {
      found.push(violation("P8", "a value is not as long as it was written", write, read));
    } else if (!isLifeOf(write, read.told.expiresAtMs)) {
      found.push(violation("P8", "a value has another life than it was given", write, read));
    }
  }
  return found;
}

/** Whether a value that ends at a time can be what a write made. */
function isLifeOf({ ttlMs, clocks }: Operation, expiresAtMs: number | undefined): boolean {
  if (ttlMs === undefined || expiresAtMs === undefined) return ttlMs === expiresAtMs;
  const beganMs = expiresAtMs - ttlMs;
  return beganMs >= clocks.leastMs && beganMs <= clocks.mostMs + clockSlackMs;
}

/** P8: no version stands for two values. */
function checkVersions(history: History): Violation[] {
  const seen = new Map<string, { readonly what: string; readonly by: Operation }>();
  const found: Violation[] = [];
  for (const by of history) {
    const { told, key, value } = by;
    if (told.kind !== "found" && told.kind !== "written") continue;
    const written = told.kind === "found" ? told.value : (value ?? "deleted");
    const what = `${key} ${written} ${told.expiresAtMs}`;
    const before = seen.get(told.version);
    if (before === undefined) seen.set(told.version, { what, by });
    else if (before.what !== what) {
      found.push(violation("P8", "one version stands for two writes", before.by, by));
    }
  }
  return found;
}

/** The write of each version that is known. */
function writersOf(history: History): ReadonlyMap<string, Operation> {
  const values = new Map<string, Operation>();
  const writers = new Map<string, Operation>();
  for (const operation of history) {
    if (operation.kind === "put") values.set(operation.value ?? "", operation);
    if (operation.told.kind === "written") writers.set(operation.told.version, operation);
  }
  for (const { told } of history) {
    const write = told.kind === "found" ? values.get(told.value) : undefined;
    if (write !== undefined && told.kind === "found") writers.set(told.version, write);
  }
  return writers;
}

/** What lists tell of one key: a read of it, which does not say the value. */
function looksOf(history: History, key: string): Operation[] {
  const looks: Operation[] = [];
  for (const list of history) {
    if (list.told.kind !== "listed" || !isInRange(list, key)) continue;
    const { items, isWhole } = list.told;
    const item = items.find((each) => each.key === key);
    if (item === undefined && !isWhole) continue;
    const told: Told =
      item === undefined
        ? { kind: "absent", named: undefined }
        : { ...item, kind: "found", value: "(listed)" };
    looks.push({ ...list, key, told });
  }
  return looks;
}

/** P4 and P8: a version stands for what was written by it, where something is listed and where nothing is found. */
function checkNamed(
  operations: readonly Operation[],
  writers: ReadonlyMap<string, Operation>,
): Violation[] {
  const found: Violation[] = [];
  for (const read of operations) {
    const { told, kind, key } = read;
    const isListed = kind === "list" && told.kind === "found";
    const version = isListed ? told.version : told.kind === "absent" ? told.named : undefined;
    const write = version === undefined ? undefined : writers.get(version);
    if (write === undefined) continue;
    if (write.key !== key) {
      found.push(violation("P8", "a version is told of another key", write, read));
    } else if (isListed && write.kind === "delete") {
      found.push(violation("P4", "a deleted key is listed", write, read));
    }
  }
  return found;
}

/** R3: what was over before it was asked for is not read, by the clock of the node that was asked. */
function checkExpired(history: History): Violation[] {
  const found: Violation[] = [];
  for (const read of history) {
    const { told, clocks } = read;
    const seen = told.kind === "found" ? [told] : told.kind === "listed" ? told.items : [];
    if (
      seen.some(({ expiresAtMs }) => expiresAtMs !== undefined && expiresAtMs <= clocks.leastMs)
    ) {
      found.push(violation("R3", "a value is read that is over", read));
    }
  }
  return found;
}

/** No answer is late, as the client that noted it has judged. */
function checkDeadlines(history: History): Violation[] {
  return history
    .filter(({ isLate }) => isLate === true)
    .map((late) => violation("other", "an answer came long after its deadline", late));
}

/** P1: whatever was acknowledged, at any level, is there in the end, or something newer. */
function checkFinal(
  byKey: ReadonlyMap<string, readonly Operation[]>,
  final: History,
  around: Circumstances,
): Violation[] {
  const found: Violation[] = [];
  for (const read of final) {
    const written = (byKey.get(read.key) ?? []).filter(
      (operation) =>
        isWrite(operation) && operation.told.kind === "written" && isKept(operation, read, around),
    );
    for (const write of written) {
      const version = write.told.kind === "written" ? write.told.version : "";
      const { told } = read;
      const held =
        told.kind === "found" ? told.version : told.kind === "absent" ? told.named : undefined;
      if (told.kind !== "found" && told.kind !== "absent") continue;
      const isUnnamed = told.kind === "absent" && told.named === undefined;
      if (isUnnamed && mayBeGone(byKey.get(read.key) ?? [], version, read)) continue;
      if (held === undefined || held < version) {
        found.push(violation("P1", "an acknowledged write is lost", write, read));
        break;
      }
    }
  }
  return found;
}

/**
 * Whether what was acknowledged has to be there: a death takes what was in memory alone, and the loss of a
 * disk what fewer than a majority had taken.
 */
function isKept(write: Operation, read: Operation, { deaths, losses }: Circumstances): boolean {
  const ended = read.ended ?? Number.POSITIVE_INFINITY;
  const isMeanwhile = (tick: number): boolean => tick > write.begun && tick < ended;
  if (!isStrict(write) && losses.some(isMeanwhile)) return false;
  return write.durability === "fsync" || !deaths.some(isMeanwhile);
}

/** What is listed is in order, of the range, and has been written; `checkOrder` says what may be left out. */
function checkLists(
  history: History,
  byKey: ReadonlyMap<string, readonly Operation[]>,
): Violation[] {
  const found: Violation[] = [];
  for (const list of history) {
    if (list.kind !== "list" || list.told.kind !== "listed") continue;
    const { items } = list.told;
    const keys = items.map(({ key }) => key);
    if (list.range?.isReverse === true) keys.reverse();
    if (keys.some((key, index) => index > 0 && (keys[index - 1] ?? "") >= key)) {
      found.push(violation("P8", "a list is not in order, or names a key twice", list));
    }
    if (keys.some((key) => !isInRange(list, key))) {
      found.push(violation("P8", "a list names a key that is not of its range", list));
    }
    const ended = list.ended ?? Number.POSITIVE_INFINITY;
    const isPut = ({ kind, begun }: Operation): boolean => kind === "put" && begun < ended;
    if (keys.some((key) => byKey.get(key)?.some(isPut) !== true)) {
      found.push(violation("P8", "a list names a key that nobody had written", list));
    }
  }
  return found;
}

function isInRange({ range }: Operation, key: string): boolean {
  return (
    (range?.start === undefined || key >= range.start) &&
    (range?.end === undefined || key < range.end)
  );
}

/** Every key that was there throughout is counted, and none that nobody can have written, or that is deleted. */
function checkCounts(
  history: History,
  byKey: ReadonlyMap<string, readonly Operation[]>,
  around: Circumstances,
): Violation[] {
  const found: Violation[] = [];
  for (const count of history) {
    if (count.kind !== "count" || count.told.kind !== "counted") continue;
    const { keys } = count.told;
    const ended = count.ended ?? Number.POSITIVE_INFINITY;
    const all = [...byKey.values()];
    const most = all.filter((operations) =>
      operations.some(({ kind, begun }) => kind === "put" && begun < ended),
    );
    if (keys > most.length) {
      found.push(violation("P8", "more keys are counted than ever were", count));
    }
    if (!isStrict(count)) continue;
    if (keys > most.filter((one) => !isDeleted(one, count, around)).length) {
      found.push(violation("P4", "a deleted key is counted", count));
    }
    const least = all.filter((one) => isThere(one, count, around));
    if (keys < least.length) found.push(violation("P2", "a count misses a key", count));
  }
  return found;
}

/** Whether a key was there when a count began, and nothing explains that it is not counted. */
function isThere(
  operations: readonly Operation[],
  count: Operation,
  around: Circumstances,
): boolean {
  const least = newestBefore(operations, count, around);
  // Not there: a delete explains it, or an end of its life, of a write whose own end need not be known.
  return least !== undefined && !mayBeGone(operations, versionOf(least), count);
}

/** Whether a key was deleted when a count began, and nobody can have written it since. */
function isDeleted(
  operations: readonly Operation[],
  count: Operation,
  around: Circumstances,
): boolean {
  const newest = newestBefore(operations, count, around);
  if (newest?.kind !== "delete") return false;
  const ended = count.ended ?? Number.POSITIVE_INFINITY;
  return operations.every(
    ({ kind, begun, told }) =>
      kind !== "put" ||
      begun > ended ||
      (told.kind === "written" && told.version < versionOf(newest)) ||
      (told.kind === "failed" && told.outcome === "none"),
  );
}

/** The newest strict write that was acknowledged before something began. */
function newestBefore(
  operations: readonly Operation[],
  later: Operation,
  around: Circumstances,
): Operation | undefined {
  return operations
    .filter((write) => isWrite(write) && isStrict(write) && write.told.kind === "written")
    .filter((write) => write.ended !== undefined && write.ended < later.begun)
    .filter((write) => isKept(write, later, around))
    .reduce<Operation | undefined>(
      (most, write) => (versionOf(write) > versionOf(most) ? write : most),
      undefined,
    );
}

function versionOf(write: Operation | undefined): string {
  return write?.told.kind === "written" ? write.told.version : "";
}
