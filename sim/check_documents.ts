/**
 * Check documents: whether the document on which a cluster agrees is one, and keeps its word.
 *
 *   P6  nodes that have a document of an epoch have the same one, and no node goes back to an older
 *   P6  a namespace whose making was acknowledged is there in the end, on every node, unless somebody has
 *       asked that it be deleted; and one whose deletion was acknowledged is not
 *   P7  one that was told not to be made is not, and one that was told not to be deleted is
 *   P6  the changes can have happened one after another, each between its request and its answer: the
 *       numbers that namespaces were given, and the policy that many changed at a time (T1)
 *
 * Effects: none. Source: rules T1, T2, T8.
 *
 * @module
 */

import {
  findUnordered,
  numbers,
  type RegisterCall,
  register,
  type Timed,
  withoutUnread,
} from "./linearizability.ts";
import type { Promised, Violation } from "./violation.ts";

/** A namespace that was asked for, or its end, or a setting of one that all change. */
export interface Change {
  readonly kind: "make" | "drop" | "set";
  /** Of a make: a name that no other has. Of a drop: that of one. Of a set: the value, as a text that no other has. */
  readonly what: string;
  readonly node: string;
  readonly begun: number;
  ended: number | undefined;
  /** `none`: nothing was changed, as it was told. */
  result: "open" | "done" | "none" | "unknown";
}

/** A document, as a node had it. */
export interface SeenDocument {
  readonly node: string;
  readonly epoch: number;
  readonly namespaces: readonly { readonly name: string; readonly number: number }[];
  /** The setting that is changed. */
  readonly setting: string;
  /** How many deleted namespaces are not forgotten yet. */
  readonly deleted: number;
  /** All else that it says, as a text: the members, what they hold, and the policies. */
  readonly rest?: string;
}

export interface DocumentHistory {
  readonly changes: readonly Change[];
  /** In the order in which they were seen. */
  readonly seen: readonly SeenDocument[];
  /** What every node has in the end, and the tick at which that was looked at. */
  readonly final: readonly SeenDocument[];
  readonly finalTick: number;
  /** The setting before the first change. */
  readonly settingFirst: string;
}

export function checkDocuments(history: DocumentHistory): Violation[] {
  return [
    ...checkEpochs([...history.seen, ...history.final]),
    ...checkKept(history),
    ...checkNumbers(history),
    ...checkSetting(history),
  ];
}

/** T1: one document for an epoch. T2: what was known stays known. */
function checkEpochs(seen: readonly SeenDocument[]): Violation[] {
  const found: Violation[] = [];
  const byEpoch = new Map<number, { readonly text: string; readonly node: string }>();
  const highest = new Map<string, number>();
  for (const { node, epoch, namespaces, setting, deleted, rest } of seen) {
    const names = namespaces.map(({ name, number }) => [name, number]);
    const text = JSON.stringify([setting, deleted, names, rest]);
    const before = byEpoch.get(epoch);
    if (before === undefined) byEpoch.set(epoch, { text, node });
    else if (before.text !== text) {
      const what = `two documents of epoch ${epoch}: ${before.node}: ${before.text}; ${node}: ${text}`;
      found.push({ promise: "P6", detail: what });
    }
    const known = highest.get(node) ?? 0;
    if (epoch < known) {
      found.push({ promise: "P6", detail: `${node} went from epoch ${known} back to ${epoch}` });
    }
    highest.set(node, Math.max(known, epoch));
  }
  return found;
}

function checkKept({ changes, final }: DocumentHistory): Violation[] {
  const found: Violation[] = [];
  for (const { node, namespaces } of final) {
    const names = new Set(namespaces.map(({ name }) => name));
    for (const make of changes) {
      const { kind, what, result } = make;
      if (kind !== "make") continue;
      const drops = changes.filter((change) => change.kind === "drop" && change.what === what);
      if (result === "none" && names.has(what)) {
        found.push(broken("P7", `namespace '${what}' was told not to be made, and ${node} has it`));
      }
      if (result !== "done") continue;
      if (names.has(what)) {
        if (drops.some((drop) => drop.result === "done" && isAfter(drop, make))) {
          found.push(broken("P6", `namespace '${what}' was deleted, and ${node} has it`));
        }
      } else if (drops.length === 0) {
        found.push(broken("P6", `namespace '${what}' was made, and ${node} does not have it`));
      } else if (drops.every((drop) => drop.result === "none")) {
        const told = `namespace '${what}' was told not to be deleted, and ${node} does not have it`;
        found.push(broken("P7", told));
      }
    }
  }
  return found;
}

function isAfter(later: Change, earlier: Change): boolean {
  return earlier.ended !== undefined && earlier.ended < later.begun;
}

/** Namespaces are given their numbers one after another: whoever came later has a higher one. */
function checkNumbers({ changes, seen, final }: DocumentHistory): Violation[] {
  const given = new Map(
    [...seen, ...final].flatMap(({ namespaces }) =>
      namespaces.map(({ name, number }) => [name, number] as const),
    ),
  );
  // One that was deleted at once was seen by nobody, and left its number out.
  if (changes.some(({ kind }) => kind === "drop")) closeRanks(given);
  const calls: Timed<number>[] = [];
  for (const { kind, what, begun, ended, result } of changes) {
    const call = given.get(what);
    if (kind !== "make" || call === undefined) continue;
    calls.push({ call, begun, ended: result === "done" ? ended : undefined });
  }
  if (calls.length === 0) return [];
  const first = Math.min(...calls.map(({ call }) => call));
  return unordered("the numbers of namespaces", findUnordered(numbers(first), calls));
}

/** Numbers without those that are nobody's, in the same order. */
function closeRanks(given: Map<string, number>): void {
  const present = [...new Set(given.values())].sort((a, b) => a - b);
  for (const [name, number] of given) given.set(name, present.indexOf(number));
}

/** Everybody sets one value: in the end it is one after which no other was set. */
function checkSetting({ changes, final, finalTick, settingFirst }: DocumentHistory): Violation[] {
  const calls: Timed<RegisterCall>[] = changes
    .filter(({ kind, result }) => kind === "set" && result !== "none")
    .map(({ what: value, begun, ended, result }) => ({
      call: { kind: "write", value },
      begun,
      ended: result === "done" ? ended : undefined,
    }));
  for (const { setting: value } of final) {
    calls.push({ call: { kind: "read", value }, begun: finalTick, ended: finalTick });
  }
  const found = findUnordered(register(settingFirst), withoutUnread(calls));
  return unordered("the changes of a setting", found);
}

function unordered(
  what: string,
  found:
    | { readonly ordered: readonly Timed<unknown>[]; readonly left: readonly unknown[] }
    | undefined,
): Violation[] {
  if (found === undefined) return [];
  const { ordered, left } = found;
  const told = `${JSON.stringify(ordered.slice(-5))}, and then ${JSON.stringify(left.slice(0, 5))}`;
  return [broken("P6", `${what} have no order: ${told}`)];
}

function broken(promise: Promised, detail: string): Violation {
  return { promise, detail };
}
