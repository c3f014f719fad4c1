/**
 * Trouble: what goes wrong in a run of `quorate chaos`, and when: a list drawn before it begins.
 *
 * The names are the simulator's where the trouble is the same (`sim/trouble_list.ts`). As there, each has
 * its time, whom it meets and how long it lasts. What the nodes then do is up to real clocks: the
 * same seed draws the same list, and does not make the same run.
 *
 * Invariants
 * 1. The same seed, nodes, time and kinds give the same list.
 * 2. Every trouble that lasts is over before the time is.
 *
 * Effects: none.
 *
 * @module
 */

import type { Chance } from "../sim/chance.ts";
import type { TroubleOf } from "../sim/trouble.ts";

/** Each with what it does, for the help and the docs. */
const troubleMeanings = {
  kill: "kill -9, and started again",
  "kill all": "kill -9 of every node at once",
  restart: "stopped in order, and started again",
  stall: "stopped by SIGSTOP: there, and silent",
  isolate: "no packet to or from one node comes through, or every connection is refused",
  split: "the nodes fall into two sides",
  "cut pair": "two nodes do not reach each other",
  "one way": "what one node says does not reach another, which it hears",
  "half open": "one end of its connections is gone, and the other is not told",
  reset: "all connections of a node break",
  "slow node": "what a node says and hears is late",
  "clock jump": "a node's clock is off, by libfaketime",
  "disk full": "somebody else takes what is left of a node's disk",
} as const;

export type TroubleKind = keyof typeof troubleMeanings;

export const troubleKinds = Object.keys(troubleMeanings) as readonly TroubleKind[];

export type Trouble = TroubleOf<TroubleKind>;

const lastsMsMin = 100;
const lastsMsMax = 12_000;
/** With this in the list of `--fault` nothing goes wrong but what is done by hand. */
const noneWord = "none";

export interface DrawOptions {
  readonly nodes: number;
  readonly timeMs: number;
  readonly kinds: readonly TroubleKind[];
}

/** Draws the troubles of a run. */
export function drawTroubles(chance: Chance, options: DrawOptions): readonly Trouble[] {
  const { nodes, timeMs, kinds } = options;
  const troubles: Trouble[] = [];
  if (kinds.length === 0) return troubles;
  // Some of them often, the others not at all: what many kinds at once hide, a few may show.
  const share = chance.pick([0.3, 0.6, 1]);
  // One node meets it all, and the others go on with their majority; or any node does.
  const victim = chance.happens(0.5) ? chance.below(nodes) : undefined;
  const some = kinds
    .filter(() => chance.happens(share))
    .filter((kind) => victim === undefined || kind !== "kill all");
  const pool = some.length === 0 ? kinds : some;
  const gapMs = chance.pick([1500, 4000, 8000]);
  for (let atMs = chance.between(0, gapMs); atMs < timeMs; atMs += chance.between(0, 2 * gapMs)) {
    const kind = chance.pick(pool);
    const drawn = victim ?? chance.below(nodes);
    const one = kind === "disk full" ? nodeOfSmallDisk(nodes) : drawn;
    const other = (one + 1 + chance.below(nodes - 1)) % nodes;
    const wantedMs = Math.floor(chance.skewed(lastsMsMin, lastsMsMax));
    const lastsMs = Math.min(wantedMs, Math.floor(timeMs - atMs));
    const much = chance.fraction();
    troubles.push({ kind, atMs: Math.floor(atMs), lastsMs, one, other, much });
  }
  return troubles;
}

/** The one node with a disk that can be full: its data end with the run. */
export function nodeOfSmallDisk(nodes: number): number {
  return nodes - 1;
}

/** The kinds that `--fault` names, or why it names none. */
export function parseKinds(
  text: string,
): { readonly value: readonly TroubleKind[] } | { readonly error: string } {
  if (text.trim() === noneWord) return { value: [] };
  const value: TroubleKind[] = [];
  for (const name of text.split(",").map((part) => part.trim())) {
    const kind = troubleKinds.find((each) => each === name);
    if (kind === undefined) return { error: `'${name}' is no trouble.` };
    if (!value.includes(kind)) value.push(kind);
  }
  return { value };
}

export const kindsHint: string = `They are ${troubleKinds.join(", ")}; or ${noneWord}.`;

/** How far a way is from well. */
export interface WayState {
  /** Nothing comes through, and nobody is told. */
  readonly isHeld: boolean;
  /** Connections are refused and broken. */
  readonly isSevered: boolean;
  readonly delayMs: number;
}

export const wellWay: WayState = { isHeld: false, isSevered: false, delayMs: 0 };

/** Below this share of `much` an isolation or a split is one of which both ends are told. */
const severedShare = 0.3;
const delayMsMax = 400;

/** What one trouble makes of what `source` says to `target`. */
export function wayUnder(trouble: Trouble, source: number, target: number): WayState {
  const { kind, one, other, much } = trouble;
  const parted = (isParted: boolean): WayState =>
    isParted
      ? { ...wellWay, isHeld: much >= severedShare, isSevered: much < severedShare }
      : wellWay;
  switch (kind) {
    case "isolate":
      return parted(source === one || target === one);
    case "split":
      return parted(sideOf(trouble, source) !== sideOf(trouble, target));
    case "cut pair": {
      const isPair = (source === one && target === other) || (source === other && target === one);
      return parted(isPair);
    }
    case "one way":
      return { ...wellWay, isHeld: source === one && target === other };
    case "slow node": {
      const isMet = source === one || target === one;
      return { ...wellWay, delayMs: isMet ? Math.ceil(much * much * delayMsMax) : 0 };
    }
    default:
      return wellWay;
  }
}

/** The sum of several: the worst of each. */
export function wayUnderAll(troubles: Iterable<Trouble>, source: number, target: number): WayState {
  let sum = wellWay;
  for (const trouble of troubles) {
    const state = wayUnder(trouble, source, target);
    sum = {
      isHeld: sum.isHeld || state.isHeld,
      isSevered: sum.isSevered || state.isSevered,
      delayMs: Math.max(sum.delayMs, state.delayMs),
    };
  }
  return sum;
}

/** Every second node from some node on. */
function sideOf({ one }: Trouble, index: number): number {
  return (index + one) % 2;
}

/** A replica refuses stamps that are further ahead than 500 ms; behind, there is no such bound. */
const clockAheadMsMax = 400;
const clockFarMs = 3_600_000;

/** By how much a clock is off under a jump: mostly a little, sometimes an hour. */
export function clockOffsetMs({ much }: Trouble): number {
  if (much < 0.15) return -clockFarMs;
  if (much > 0.85) return clockFarMs;
  return Math.round((much - 0.5) * 2 * clockAheadMsMax);
}

/** One line: what goes wrong, with whom and for how long. */
export function troubleText(trouble: Trouble): string {
  const { kind, lastsMs, one, other, much } = trouble;
  const node = `n${one + 1}`;
  const peer = `n${other + 1}`;
  const during = `for ${(lastsMs / 1000).toFixed(1)} s`;
  const told = much < severedShare ? "connections refused" : "packets lost";
  switch (kind) {
    case "kill":
      return `kill -9 ${node}, back after ${(lastsMs / 1000).toFixed(1)} s`;
    case "kill all":
      return `kill -9 of all nodes, back one after the other within ${(lastsMs / 1000).toFixed(1)} s`;
    case "restart":
      return `restart ${node} in order`;
    case "stall":
      return `stall ${node} (SIGSTOP) ${during}`;
    case "isolate":
      return `isolate ${node} (${told}) ${during}`;
    case "split":
      return `split the nodes in two by every second one (${told}) ${during}`;
    case "cut pair":
      return `cut ${node} and ${peer} (${told}) ${during}`;
    case "one way":
      return `one way: what ${node} says to ${peer} is lost, ${during}`;
    case "half open":
      return `half open: the dialed end of every connection of ${node} is gone, the other is not told`;
    case "reset":
      return `reset all connections of ${node}`;
    case "slow node":
      return `slow ${node}: ${Math.ceil(much * much * delayMsMax)} ms on every way, ${during}`;
    case "clock jump":
      return `clock of ${node} off by ${clockOffsetMs(trouble)} ms ${during}`;
    case "disk full":
      return `disk of ${node} full ${during}`;
  }
}
