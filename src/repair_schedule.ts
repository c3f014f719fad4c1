/**
 * RepairSchedule: which partition a node compares with which other replica, and when.
 *
 * Every partition that the node has, for each n in use, is visited with each of its other replicas once in
 * a period. The first visits are spread over a period by chance, so that the nodes of a cluster that
 * was started at once do not all compare at once. What an operator asks for comes first, then
 * what is due longest.
 *
 *     asked ------------------+
 *     due, the oldest first --+--> begin --> end: whole -> due again after a period
 *                                            else  -> due again after `retryMs`
 *
 * Invariants
 * 1. A visit is under way or it waits; a partition is visited with one replica at a time.
 * 2. A pair whose other node cannot be reached holds up no other pair.
 * 3. There is one entry for each pair that the topology gives, and none besides.
 *
 * Effects: none; time and chance are arguments. Source: docs/cluster.md, "What is compared, and when".
 *
 * @module
 */

import type { Random } from "./capability.ts";

/** A partition of the namespaces of one n, and the other replica. */
export interface Visit {
  readonly partition: number;
  readonly n: number;
  readonly nodeId: string;
}

interface Entry {
  readonly visit: Visit;
  dueMs: number;
  /** When the last visit that came to its end began; undefined: there was none yet. */
  lastMs: number | undefined;
  isAsked: boolean;
  isUnderWay: boolean;
}

export interface ScheduleLimits {
  readonly periodMs: number;
  /** How long after a visit that was broken off the next one is tried. */
  readonly retryMs: number;
}

/** All pairs, and how far their visits are. */
export interface ScheduleStatus {
  readonly pairs: number;
  /** Pairs that wait to be visited now, asked for or not. */
  readonly due: number;
  /** Of these, the ones that an operator asked for. */
  readonly asked: number;
  /** Pairs that were visited within the last period. */
  readonly visited: number;
  /** The begin of the visit that is longest ago, of those that had one. */
  readonly oldestMs: number | undefined;
  /** When the next one is due; undefined: there are no pairs. */
  readonly nextMs: number | undefined;
}

export class RepairSchedule {
  readonly #limits: ScheduleLimits;
  readonly #entries = new Map<string, Entry>();

  constructor(limits: ScheduleLimits) {
    this.#limits = limits;
  }

  /** The pairs that there are now; what is known of the others is forgotten. */
  set(visits: readonly Visit[], nowMs: number, random: Pick<Random, "u32">): void {
    const wanted = new Set(visits.map(nameOf));
    for (const name of this.#entries.keys()) {
      if (!wanted.has(name)) this.#entries.delete(name);
    }
    for (const visit of visits) {
      if (this.#entries.has(nameOf(visit))) continue;
      const dueMs = nowMs + (random.u32() / 2 ** 32) * this.#limits.periodMs;
      const fresh = { dueMs, lastMs: undefined, isAsked: false, isUnderWay: false };
      this.#entries.set(nameOf(visit), { visit, ...fresh });
    }
  }

  /** Makes pairs due now; answers how many. */
  ask(isWanted: (visit: Visit) => boolean): number {
    let count = 0;
    for (const entry of this.#entries.values()) {
      if (!isWanted(entry.visit)) continue;
      entry.isAsked = true;
      count += 1;
    }
    return count;
  }

  /** The next visit that is due and possible, which is under way from now on; undefined: none is. */
  begin(
    nowMs: number,
    isPossible: (visit: Visit) => boolean,
  ): { readonly visit: Visit; readonly wasAsked: boolean } | undefined {
    let first: Entry | undefined;
    const busy = new Set<number>();
    for (const { visit, isUnderWay } of this.#entries.values()) {
      if (isUnderWay) busy.add(visit.partition);
    }
    for (const entry of this.#entries.values()) {
      if (!isDue(entry, nowMs) || busy.has(entry.visit.partition)) continue;
      if (first !== undefined && !isBefore(entry, first)) continue;
      if (isPossible(entry.visit)) first = entry;
    }
    if (first === undefined) return undefined;
    const { visit, isAsked: wasAsked } = first;
    first.isUnderWay = true;
    first.isAsked = false;
    return { visit, wasAsked };
  }

  /** A visit has ended: `isWhole` when it came to its end. */
  end(visit: Visit, beganMs: number, nowMs: number, isWhole: boolean): void {
    const entry = this.#entries.get(nameOf(visit));
    if (entry === undefined) return;
    entry.isUnderWay = false;
    const { periodMs, retryMs } = this.#limits;
    entry.dueMs = isWhole ? beganMs + periodMs : nowMs + retryMs;
    if (isWhole) entry.lastMs = beganMs;
  }

  status(nowMs: number): ScheduleStatus {
    const entries = [...this.#entries.values()];
    const due = entries.filter((entry) => isDue(entry, nowMs));
    const begins = entries.flatMap(({ lastMs }) => (lastMs === undefined ? [] : [lastMs]));
    const { periodMs } = this.#limits;
    return {
      pairs: entries.length,
      due: due.length,
      asked: due.filter(({ isAsked }) => isAsked).length,
      visited: begins.filter((beganMs) => nowMs - beganMs <= periodMs).length,
      oldestMs: least(begins),
      nextMs: least(entries.map(({ dueMs }) => dueMs)),
    };
  }
}

function isDue({ isAsked, isUnderWay, dueMs }: Entry, nowMs: number): boolean {
  return !isUnderWay && (isAsked || dueMs <= nowMs);
}

function isBefore(one: Entry, other: Entry): boolean {
  if (one.isAsked !== other.isAsked) return one.isAsked;
  return one.dueMs < other.dueMs;
}

function least(numbers: readonly number[]): number | undefined {
  return numbers.reduce<number | undefined>(
    (least, number) => (least === undefined || number < least ? number : least),
    undefined,
  );
}

function nameOf({ partition, n, nodeId }: Visit): string {
  return `${partition} ${n} ${nodeId}`;
}
