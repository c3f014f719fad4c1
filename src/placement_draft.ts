/**
 * Placement draft: the rows while they are being placed, and what may be changed in them.
 *
 * A draft begins with the rows from before; a member that has left is a hole. It knows who holds how
 * much up to the column that is being placed, which change keeps a row spread, and which one would
 * move more than a step should. For every depth n it counts the newcomers of a row: members of its
 * first n that were not among the first n before. Each is a copy that somebody must make, for the
 * namespaces with that n.
 *
 * Invariants
 * 1. A change never makes the spread beginning of a row shorter.
 * 2. A change by choice lets a row have at no depth more newcomers than its holes, or one, or as many
 *    as members have joined.
 *
 * Effects: none.
 *
 * @module
 */

import { assert } from "./assert.ts";
import { add, at, hole, type Move, move, newcomers, sum } from "./placement_row.ts";
import { type Site, Spread } from "./placement_spread.ts";

/** The members, the rows before, and what is wanted. */
export interface PlacementRequest {
  /** In the order of the document; the rows that come back are indexes of them. */
  readonly members: readonly Site[];
  readonly partitions: number;
  /** Replicas in a row; all members while there are fewer. */
  readonly depth: number;
  /** The rows before, by node id; none at the first placement. */
  readonly before: readonly (readonly string[])[];
  /** So many replicas at the beginning of each row stay as they are; default none. */
  readonly fixed?: number;
}

/** The rows, and who holds how much. */
export class Draft {
  readonly memberCount: number;
  readonly depth: number;
  readonly weights: Int32Array;
  readonly rows: readonly Int32Array[];
  /** Of each member: the rows that have it up to the column that is being placed. */
  readonly loads: Int32Array;
  readonly #before: readonly Int32Array[];
  /** Of each row: members that were in it and have no place at present. */
  readonly #spare: readonly Set<number>[];
  readonly #spread: Spread;
  readonly #salts: Int32Array;
  readonly #trial: Int32Array;
  readonly #isJoining: readonly boolean[];
  /** How many newcomers a row may have by choice. */
  readonly #newcomersMax: number;

  constructor({ members, partitions, depth, before }: PlacementRequest) {
    assert(before.length === 0 || before.length === partitions, "placement: a row a partition");
    this.memberCount = members.length;
    this.depth = Math.min(depth, members.length);
    this.weights = Int32Array.from(members, ({ weight }) => weight);
    this.#trial = new Int32Array(this.depth);
    this.loads = new Int32Array(members.length);
    this.#spread = new Spread(members);
    this.#salts = Int32Array.from(members, ({ nodeId }) => saltOf(nodeId));
    const numbers = new Map(members.map(({ nodeId }, number) => [nodeId, number]));
    this.#before = before.map((row) => Int32Array.from(row, (id) => numbers.get(id) ?? hole));
    const known = new Set(before.flat());
    this.#isJoining = members.map(({ nodeId }) => before.length > 0 && !known.has(nodeId));
    this.#newcomersMax = Math.max(1, this.#isJoining.filter((isJoining) => isJoining).length);
    this.rows = Array.from({ length: partitions }, (_, partition) => {
      const row = new Int32Array(this.depth).fill(hole);
      row.set((this.#before[partition] ?? new Int32Array(0)).subarray(0, this.depth));
      return row;
    });
    this.#spare = this.rows.map((_, partition) => {
      const beyond = this.#before[partition]?.subarray(this.depth) ?? [];
      return new Set([...beyond].filter((member) => member !== hole));
    });
  }

  row(partition: number): Int32Array {
    const row = this.rows[partition];
    assert(row !== undefined, "placement: a partition has a row");
    return row;
  }

  /** How long the beginning of a row is that is whole and spread. */
  soundLength(partition: number): number {
    return this.#spread.soundLength(this.row(partition));
  }

  /** Takes away what stands at a position: it may come back elsewhere in the row. */
  open(partition: number, position: number): void {
    const row = this.row(partition);
    const member = at(row, position);
    if (member === hole) return;
    this.#spare[partition]?.add(member);
    row[position] = hole;
  }

  /**
   * Fills the hole at a position. Best is what leaves most of the row as it stands; then somebody who
   * was in the row; then whoever holds least for its weight. Behind a fixed beginning that is not spread, as
   * members have come to share a host since, nothing is: there anybody does.
   */
  fill(partition: number, position: number): void {
    const row = this.row(partition);
    const isSpread = this.#spread.soundLength(row) === position;
    let best:
      | { readonly member: number; readonly sound: number; readonly isKnown: boolean }
      | undefined;
    for (let member = 0; member < this.memberCount; member += 1) {
      const from = row.indexOf(member);
      if (from !== -1 && from < position) continue;
      const sound = this.#soundWith(row, position, member);
      if (isSpread && sound <= position) continue;
      const isKnown = from !== -1 || this.#spare[partition]?.has(member) === true;
      const order =
        best === undefined
          ? 1
          : sound - best.sound ||
            Number(isKnown) - Number(best.isKnown) ||
            this.compareTakes(best.member, member) ||
            this.shuffle(partition, position, best.member) -
              this.shuffle(partition, position, member);
      if (order > 0) best = { member, sound, isKnown };
    }
    assert(best !== undefined, "placement: a row shorter than the members can be continued");
    const from = row.indexOf(best.member);
    if (from !== -1) row[from] = hole;
    row[position] = best.member;
    this.#spare[partition]?.delete(best.member);
  }

  /** Counts the column of a position into the loads. */
  count(partition: number, position: number): void {
    add(this.loads, at(this.row(partition), position), 1);
  }

  /**
   * Puts a member in a position. Who stood there leaves the row; or, where the spread wants it, comes
   * to stand further behind, in the place of the member itself or of another one that leaves.
   */
  put(partition: number, position: number, member: number): void {
    const landing = this.#landing(partition, position, member);
    assert(landing !== undefined, "placement: what is put is a target");
    move(this.row(partition), { position, member, landing });
  }

  /** Calls `take` with each member that a `put` may place: as spread, and no more moved than should be. */
  forEachTarget(partition: number, position: number, take: (member: number) => void): void {
    const row = this.row(partition);
    const before = this.#before[partition];
    const most = this.#newcomersMaxOf(partition);
    // What is true of one stranger to the row in a zone is true of all on hosts that it has not.
    const zones = new Map<number, boolean>();
    for (let member = 0; member < this.memberCount; member += 1) {
      const from = row.indexOf(member);
      if (from !== -1 && from <= position) continue;
      const isStranger =
        from === -1 && before?.includes(member) !== true && !this.#isJoining[member];
      const zone = isStranger ? this.#spread.zoneOfFreeHost(row, member) : undefined;
      const known = zone === undefined ? undefined : zones.get(zone);
      const isTarget = known ?? this.#isTarget({ partition, position, member }, most);
      if (zone !== undefined) zones.set(zone, isTarget);
      if (isTarget) take(member);
    }
  }

  /** How much more has to be copied after a `put`, over all depths. */
  costOf(partition: number, position: number, member: number): number {
    const before = this.#before[partition];
    const landing = this.#landing(partition, position, member);
    if (before === undefined || landing === undefined) return 0;
    const earlier = sum(newcomers(this.row(partition), before));
    return sum(newcomers(this.#tried(partition, { position, member, landing }), before)) - earlier;
  }

  /**
   * What one more row costs a member: how much the sum of load^2 / weight grows. Compared as
   * products of whole numbers, so that nothing is ever rounded.
   */
  compareTakes(a: number, b: number): number {
    const takeA = (2 * at(this.loads, a) + 1) * at(this.weights, b);
    return takeA - (2 * at(this.loads, b) + 1) * at(this.weights, a);
  }

  /** By how much the cost of a member falls when it gives a row away, compared likewise. */
  compareGives(a: number, b: number): number {
    const giveA = (2 * at(this.loads, a) - 1) * at(this.weights, b);
    return giveA - (2 * at(this.loads, b) - 1) * at(this.weights, a);
  }

  /** Whether the sum of load^2 / weight falls when `source` gives a row to `target`. */
  improves(source: number, target: number): boolean {
    const gain = (2 * at(this.loads, source) - 1) * at(this.weights, target);
    return gain > (2 * at(this.loads, target) + 1) * at(this.weights, source);
  }

  /** A number by which equals are told apart, so that any two members share rows about as often. */
  shuffle(partition: number, position: number, member: number): number {
    return mixed(at(this.#salts, member) ^ Math.imul(partition * 16 + position + 1, 0x9e3779b1));
  }

  #isTarget(
    {
      partition,
      position,
      member,
    }: { readonly partition: number } & Pick<Move, "position" | "member">,
    most: Int32Array | undefined,
  ): boolean {
    const landing = this.#landing(partition, position, member);
    const before = this.#before[partition];
    if (landing === undefined || before === undefined || most === undefined) {
      return landing !== undefined;
    }
    const counts = newcomers(this.#tried(partition, { position, member, landing }), before);
    return counts.every((count, index) => count <= at(most, index));
  }

  /** At each depth, how many newcomers the row may have after a change by choice. */
  #newcomersMaxOf(partition: number): Int32Array | undefined {
    const before = this.#before[partition];
    if (before === undefined) return undefined;
    const most = newcomers(this.row(partition), before);
    let holes = 0;
    for (let index = 0; index < most.length; index += 1) {
      if ((before[index] ?? hole) === hole) holes += 1;
      most[index] = Math.max(at(most, index), holes, this.#newcomersMax);
    }
    return most;
  }

  /** Where the member that stands in a position lands, so that the row stays as spread as it is. */
  #landing(partition: number, position: number, member: number): number | undefined {
    const row = this.row(partition);
    const sound = this.#spread.soundLength(row);
    const from = row.indexOf(member);
    if (from !== -1 && from < position) return undefined;
    const begin = from === -1 ? position : from;
    // Pushing a third member out is for those that have to get rows from somewhere.
    const end = from === -1 && this.#isJoining[member] === true ? row.length : begin + 1;
    for (let landing = begin; landing < end; landing += 1) {
      if (at(row, landing) === hole) break;
      const tried = this.#tried(partition, { position, member, landing });
      if (this.#spread.soundLength(tried) >= sound) return landing;
    }
    return undefined;
  }

  /** The row after a move; good until the next call. */
  #tried(partition: number, change: Move): Int32Array {
    this.#trial.set(this.row(partition));
    move(this.#trial, change);
    return this.#trial;
  }

  #soundWith(row: Int32Array, position: number, member: number): number {
    const from = row.indexOf(member);
    if (from !== -1) row[from] = hole;
    row[position] = member;
    const length = this.#spread.soundLength(row);
    row[position] = hole;
    if (from !== -1) row[from] = member;
    return length;
  }
}

/** FNV-1a over the characters, then mixed. */
function saltOf(id: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < id.length; index += 1) {
    hash = Math.imul(hash ^ id.charCodeAt(index), 0x01000193);
  }
  return mixed(hash);
}

/** The finaliser of MurmurHash3: each bit of the input changes half of those of the output. */
function mixed(given: number): number {
  let hash = given;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
