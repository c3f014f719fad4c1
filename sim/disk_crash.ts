/**
 * Disk crash: the states in which a power loss may leave a disk.
 *
 * At a moment, some writes and some changes of names are not durable yet. The disk may have done any
 * of them, in any order, and a write in part. All combinations are far too many; these are taken:
 *
 *   names     none, all, each prefix, each one lost, each one alone kept
 *   data      none, all, and files that have grown but hold zeros, each with all those names;
 *             each write lost, each alone kept
 *   one write torn at every sector of 512 bytes (of 4 KiB past the ends of a long one), its head or
 *             its tail kept; each of its sectors lost, each alone kept
 *   by chance several at once: names, writes and sectors, each with its own throw
 *
 * The moments are the ends of all calls that changed something, and the notes between them: the log
 * is played again from the start, and at each entry the states are made.
 *
 * Invariants
 * 1. What was durable at the moment is in every state of it.
 * 2. No state is given twice with the same notes before it.
 * 3. The same log, options and chance give the same states in the same order.
 *
 * Effects: none. Source: Pillai et al., "All File Systems Are Not Created Equal" (2014), section 3,
 * for the states; Knuth, The Art of Computer Programming, 3.4.2, algorithm S, for the sample.
 *
 * @module
 */

import { assert } from "../src/assert.ts";
import type { Random } from "../src/capability.ts";
import { type Content, grown, written } from "./disk_content.ts";
import {
  changeNames,
  type DiskEvent,
  DiskModel,
  type Inode,
  type NameChange,
  type Write,
} from "./disk_model.ts";

export interface CrashOptions {
  /** Needed for a sample and for states by chance. */
  readonly random?: Random;
  /** At most so many states, spread evenly over all of them; without it all. */
  readonly statesMax?: number;
  /** States by chance at each moment. Default 0. */
  readonly chancesPerMoment?: number;
}

/** A state, before anything is made of it. */
export interface CrashState {
  /** How many entries of the log had happened. */
  readonly moment: number;
  /** How many of these were notes. */
  readonly noteCount: number;
  /** What was lost, for a report. */
  readonly what: string;
  readonly model: DiskModel;
}

const sectorBytes = 512;
const pageBytes = 4_096;
/** A longer write is torn at every sector only so close to its ends. */
const sectorsNearEnds = 16;

/** What becomes of one write. */
type Fate = "lost" | "kept" | "zeros" | readonly (readonly [from: number, to: number])[];

/** Which changes of names and which writes survive; indexes count what is not durable. */
interface Survival {
  readonly what: string;
  readonly keepsName: (index: number) => boolean;
  readonly fateOf: (index: number, write: Write) => Fate;
}

/** What is not durable at a moment. */
interface Open {
  readonly names: readonly NameChange[];
  readonly writes: readonly Write[];
}

/** All states, or a sample of them, that a power loss during the log could have left. */
export function* crashStates(
  start: DiskModel,
  log: readonly DiskEvent[],
  options: CrashOptions,
): Generator<CrashState> {
  const { random, statesMax } = options;
  let left = 0;
  let needed = Number.POSITIVE_INFINITY;
  if (statesMax !== undefined) {
    for (const { open } of momentsOf(start, log)) left += countOf(survivals(open, options));
    needed = statesMax;
  }
  const seen = new Set<string>();
  for (const { model, moment, noteCount, open } of momentsOf(start, log)) {
    for (const survival of survivals(open, options)) {
      if (needed < left && !isChosen(required(random), needed, left)) {
        left -= 1;
        continue;
      }
      left -= 1;
      needed -= 1;
      const state = stateOf(model, survival);
      const identity = `${noteCount}:${state.fingerprint()}`;
      if (seen.has(identity)) continue;
      seen.add(identity);
      yield { moment, noteCount, what: survival.what, model: state };
    }
  }
}

/** One state at random of what a power loss may leave now. */
export function crashByChance(model: DiskModel, random: Random): DiskModel {
  return stateOf(model, byChance(random));
}

/** The state in which all or nothing of what is not durable has survived. */
export function crashKeeping(model: DiskModel, keep: "durable" | "all"): DiskModel {
  return stateOf(model, allOrNothing(keep === "all", keep));
}

/** Every entry of the log after which a power loss may leave something new. */
function* momentsOf(
  start: DiskModel,
  log: readonly DiskEvent[],
): Generator<{ model: DiskModel; moment: number; noteCount: number; open: Open }> {
  const model = new DiskModel(start);
  let noteCount = 0;
  yield { model, moment: 0, noteCount, open: openOf(model) };
  for (const [index, event] of log.entries()) {
    model.apply(event);
    if (event.kind === "note") noteCount += 1;
    yield { model, moment: index + 1, noteCount, open: openOf(model) };
  }
}

function openOf(model: DiskModel): Open {
  const writes: Write[] = [];
  for (const inode of reachable(model)) {
    for (const write of model.inode(inode).writes)
      if (write.state !== "durable") writes.push(write);
  }
  return { names: model.nameChanges.filter(isOpen), writes: writes.sort(inOrder) };
}

function isOpen(change: NameChange): boolean {
  return change.folders.length > 0;
}

function inOrder(a: Write, b: Write): number {
  return a.number - b.number;
}

/** The inodes to which some name may lead after a crash. */
function reachable(model: DiskModel): Set<number> {
  const inodes = new Set(model.durableNames.values());
  for (const { set } of model.nameChanges) if (set !== undefined) inodes.add(set.inode);
  return inodes;
}

function* survivals(open: Open, options: CrashOptions): Generator<Survival> {
  const { names, writes } = open;
  for (const [namesWhat, keepsName] of nameChoices(names.length)) {
    yield { what: `${namesWhat}, no data`, keepsName, fateOf: () => "lost" };
    if (writes.length === 0) continue;
    yield { what: `${namesWhat}, all data`, keepsName, fateOf: () => "kept" };
    yield { what: `${namesWhat}, zeros for data`, keepsName, fateOf: () => "zeros" };
  }
  const keepsName = () => true;
  for (let one = 0; one < writes.length; one += 1) {
    const lost = (index: number): Fate => (index === one ? "lost" : "kept");
    yield { what: `write ${one} lost`, keepsName, fateOf: lost };
    const alone = (index: number): Fate => (index === one ? "kept" : "lost");
    yield { what: `write ${one} alone kept`, keepsName, fateOf: alone };
    for (const [what, ranges] of tears(writes[one] as Write)) {
      const fateOf = (index: number): Fate =>
        index < one ? "kept" : index === one ? ranges : "lost";
      yield { what: `write ${one} ${what}`, keepsName, fateOf };
    }
  }
  if (writes.length + names.length === 0) return;
  for (let count = 0; count < (options.chancesPerMoment ?? 0); count += 1) {
    yield byChance(required(options.random));
  }
}

type NameChoice = readonly [what: string, keeps: (index: number) => boolean];

function* nameChoices(count: number): Generator<NameChoice> {
  yield ["all names", () => true];
  if (count === 0) return;
  yield ["no names", () => false];
  for (let prefix = 1; prefix < count; prefix += 1) {
    yield [`the first ${prefix} names`, (index) => index < prefix];
  }
  if (count === 1) return;
  for (let one = 0; one < count; one += 1) {
    yield [`name ${one} lost`, (index) => index !== one];
    yield [`name ${one} alone kept`, (index) => index === one];
  }
}

type Ranges = readonly (readonly [from: number, to: number])[];

/** The ways in which one write may be done in part. */
function* tears(write: Write): Generator<readonly [what: string, ranges: Ranges]> {
  const { length } = write.bytes;
  const cuts = cutsOf(write);
  for (const cut of cuts) {
    yield [`torn, its first ${cut} bytes kept`, [[0, cut]]];
    yield [`torn, all but its first ${cut} bytes kept`, [[cut, length]]];
  }
  const edges = [0, ...cuts, length];
  for (let index = 1; index + 2 < edges.length; index += 1) {
    const from = edges[index] as number;
    const to = edges[index + 1] as number;
    yield [
      `torn, bytes ${from} to ${to} lost`,
      [
        [0, from],
        [to, length],
      ],
    ];
    yield [`torn, bytes ${from} to ${to} alone kept`, [[from, to]]];
  }
}

/** Where a write may be torn: at the sectors of the file, not of the write. */
function cutsOf({ position, bytes }: Write): number[] {
  const cuts: number[] = [];
  const nearEnds = sectorsNearEnds * sectorBytes;
  const first = sectorBytes - (position % sectorBytes);
  for (let cut = first; cut < bytes.length; cut += sectorBytes) {
    const isNearEnd = cut <= nearEnds || cut >= bytes.length - nearEnds;
    if (isNearEnd || (position + cut) % pageBytes === 0) cuts.push(cut);
  }
  return cuts;
}

function byChance(random: Random): Survival {
  const names = new Map<number, boolean>();
  const isLikely = random.u32() % 2 === 0;
  return {
    what: "by chance",
    keepsName: (index) => {
      const keeps = names.get(index) ?? (random.u32() % 4 === 0) !== isLikely;
      names.set(index, keeps);
      return keeps;
    },
    fateOf: (_, write) => {
      const fate = random.u32() % 4;
      if (fate < 3) return (["lost", "kept", "zeros"] as const)[fate] as Fate;
      const edges = [0, ...cutsOf(write), write.bytes.length];
      const ranges: (readonly [number, number])[] = [];
      for (let index = 0; index + 1 < edges.length; index += 1) {
        if (random.u32() % 2 === 0) continue;
        ranges.push([edges[index] as number, edges[index + 1] as number]);
      }
      return ranges;
    },
  };
}

function allOrNothing(keeps: boolean, what: string): Survival {
  return { what, keepsName: () => keeps, fateOf: () => (keeps ? "kept" : "lost") };
}

/** The disk as it is found after the power is back. */
function stateOf(model: DiskModel, survival: Survival): DiskModel {
  const names = new Map(model.durableNames);
  let openCount = 0;
  for (const change of model.nameChanges) {
    if (!isOpen(change)) changeNames(names, change);
    else if (survival.keepsName(openCount++)) changeNames(names, change);
  }
  const indexes = new Map(openOf(model).writes.map((write, index) => [write.number, index]));
  const fateOf = (write: Write): Fate =>
    write.state === "durable"
      ? "kept"
      : survival.fateOf(indexes.get(write.number) as number, write);
  const contents = new Map<number, Content>();
  const files: [string, Content][] = [];
  for (const [path, number] of [...names].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const content = contents.get(number) ?? contentAfter(model.inode(number), fateOf);
    contents.set(number, content);
    files.push([path, content]);
  }
  return DiskModel.of(files, model.folders);
}

function contentAfter({ base, writes, live }: Inode, fateOf: (write: Write) => Fate): Content {
  const fates = writes.map(fateOf);
  // The same bytes as the live content: its blocks, and their known hashes, can be shared.
  if (fates.every((fate) => fate === "kept")) return live;
  let content = base;
  for (const [index, { position, bytes }] of writes.entries()) {
    const fate = fates[index] as Fate;
    if (fate === "lost") continue;
    if (fate === "kept") content = written(content, position, bytes);
    else if (fate === "zeros") content = grown(content, position + bytes.length);
    else {
      for (const [from, to] of fate) {
        content = written(content, position + from, bytes.subarray(from, to));
      }
    }
  }
  return content;
}

function countOf(items: Iterable<unknown>): number {
  let count = 0;
  for (const _ of items) count += 1;
  return count;
}

/** Whether the next of `left` is one of the `needed` that are still to be chosen. */
function isChosen(random: Random, needed: number, left: number): boolean {
  return (random.u32() / 2 ** 32) * left < needed;
}

function required(random: Random | undefined): Random {
  assert(random !== undefined, "disk: a sample and states by chance need a Random");
  return random;
}
