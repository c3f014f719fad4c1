/**
 * Placement: which members hold each partition, in which order.
 *
 * Column after column, every row gets its next replica: the one from before where it may stay, else
 * whoever holds least for its weight. Then the column is balanced: as long as rows can be handed
 * from a member to one that holds less, over others in between where the spread leaves no direct
 * way, they are handed along the shortest such chain. What is made least is the sum of
 * load^2 / weight over the members, counted up to the column: a convex cost, for which no improving
 * chain means the least possible (given the columns before). So every beginning of the rows is
 * balanced, not only the whole: a namespace with n = 1 uses the first replica alone.
 *
 * A replica that changes is replaced where it stood, so one change in a row is one copy at every
 * depth behind it, and what moves when a member joins is what the new member then holds.
 *
 * Invariants
 * 1. Every row is spread (`placement_spread.ts`), but for one whose fixed beginning is not, and names no member twice.
 * 2. At each depth, no row can be handed on so that the loads get nearer to the weights.
 * 3. When one member joins, each row gains at most one newcomer at each depth.
 * 4. The same request gives the same rows on every runtime: whole numbers only.
 *
 * Effects: none. Source: DeCandia et al., "Dynamo" (2007), section 6.2, strategy 3; Ahuja, Magnanti
 * and Orlin, "Network Flows" (1993), section 14.3, for the optimality of convex-cost cycles.
 *
 * @module
 */

import { assert } from "./assert.ts";
import { Draft, type PlacementRequest } from "./placement_draft.ts";
import { add, at, hole } from "./placement_row.ts";

export type { PlacementRequest } from "./placement_draft.ts";
export type { Site } from "./placement_spread.ts";

/** For each partition its replicas in order, as indexes of the members. */
export function place(request: PlacementRequest): number[][] {
  assert(request.members.length > 0, "placement: there is a member");
  const draft = new Draft(request);
  // What has to change comes first: a change by choice in the same row could be one too many.
  for (let position = 0; position < draft.depth && request.before.length > 0; position += 1) {
    fillColumn(draft, position, request.fixed ?? 0);
  }
  draft.loads.fill(0);
  for (let position = 0; position < draft.depth; position += 1) {
    fillColumn(draft, position, request.fixed ?? 0);
    if (position >= (request.fixed ?? 0)) balance(draft, position);
  }
  return draft.rows.map((row) => [...row]);
}

/** Gives each row its replica at a position, and counts it into the loads. */
function fillColumn(draft: Draft, position: number, fixed: number): void {
  const open: number[] = [];
  for (let partition = 0; partition < draft.rows.length; partition += 1) {
    const isHole = at(draft.row(partition), position) === hole;
    const stays = !isHole && (position < fixed || draft.soundLength(partition) > position);
    if (stays) draft.count(partition, position);
    else open.push(partition);
  }
  for (const partition of open) {
    draft.open(partition, position);
    draft.fill(partition, position);
    draft.count(partition, position);
  }
}

/** Hands rows on until no chain of members improves the loads. */
function balance(draft: Draft, position: number): void {
  const ways = new Ways(draft, position);
  // A member without a chain is left alone until a whole round has found one for somebody else.
  for (let found = true; found; ) {
    found = false;
    const stuck = new Set<number>();
    for (;;) {
      const source = heaviest(draft, stuck);
      if (source === undefined) break;
      const chain = ways.chainFrom(source);
      if (chain === undefined) stuck.add(source);
      else {
        ways.follow(chain);
        found = true;
      }
    }
  }
}

/** Who holds most for its weight, of those that are not stuck; undefined when nobody could gain. */
function heaviest(draft: Draft, stuck: ReadonlySet<number>): number | undefined {
  let most: number | undefined;
  let lightest = 0;
  for (let member = 0; member < draft.memberCount; member += 1) {
    if (draft.compareTakes(member, lightest) < 0) lightest = member;
    if (stuck.has(member)) continue;
    if (most === undefined || draft.compareGives(member, most) > 0) most = member;
  }
  return most !== undefined && draft.improves(most, lightest) ? most : undefined;
}

/** Between which members rows can be handed on in one column: found out when it is asked. */
class Ways {
  readonly #draft: Draft;
  readonly #position: number;
  /** Of each member that was asked about: how many of its rows each other one could take. */
  readonly #taken = new Map<number, Int32Array>();

  constructor(draft: Draft, position: number) {
    this.#draft = draft;
    this.#position = position;
  }

  /** The shortest chain to a member that may gain a row, to the lightest of these; breadth first. */
  chainFrom(source: number): readonly number[] | undefined {
    const from = new Int32Array(this.#draft.memberCount).fill(-1);
    from[source] = source;
    for (let edge: readonly number[] = [source]; edge.length > 0; ) {
      const reached = edge.flatMap((member) => this.#reach(member, from));
      const gaining = reached.filter((target) => this.#draft.improves(source, target));
      if (gaining.length > 0) {
        const lightest = gaining.reduce((best, target) =>
          this.#draft.compareTakes(target, best) < 0 ? target : best,
        );
        return chainTo(lightest, from);
      }
      edge = reached;
    }
    return undefined;
  }

  /** Hands one row on along each link of the chain. */
  follow(chain: readonly number[]): void {
    for (let link = chain.length - 1; link > 0; link -= 1) {
      const source = chain[link - 1] as number;
      const target = chain[link] as number;
      const partition = this.#cheapest(source, target);
      this.#note(partition, -1);
      this.#draft.put(partition, this.#position, target);
      this.#note(partition, 1);
      add(this.#draft.loads, source, -1);
      add(this.#draft.loads, target, 1);
    }
  }

  /** Whom a member can hand a row to and who was not reached before. */
  #reach(member: number, from: Int32Array): number[] {
    const reached: number[] = [];
    const taken = this.#takenFrom(member);
    for (let target = 0; target < taken.length; target += 1) {
      if (at(from, target) !== -1 || at(taken, target) === 0) continue;
      from[target] = member;
      reached.push(target);
    }
    return reached;
  }

  #takenFrom(member: number): Int32Array {
    const known = this.#taken.get(member);
    if (known !== undefined) return known;
    const taken = new Int32Array(this.#draft.memberCount);
    this.#taken.set(member, taken);
    for (const partition of this.#rowsOf(member)) this.#note(partition, 1);
    return taken;
  }

  /** The row that can go from one to the other with the least copying. */
  #cheapest(source: number, target: number): number {
    let best:
      | { readonly partition: number; readonly cost: number; readonly shuffle: number }
      | undefined;
    for (const partition of this.#rowsOf(source)) {
      let isPossible = false;
      this.#draft.forEachTarget(partition, this.#position, (member) => {
        if (member === target) isPossible = true;
      });
      if (!isPossible) continue;
      const cost = this.#draft.costOf(partition, this.#position, target);
      const shuffle = this.#draft.shuffle(partition, this.#position, target);
      const isBetter =
        best === undefined || cost < best.cost || (cost === best.cost && shuffle < best.shuffle);
      if (isBetter) best = { partition, cost, shuffle };
    }
    assert(best !== undefined, "placement: a way has a row");
    return best.partition;
  }

  /** The partitions whose replica in this column a member is. */
  #rowsOf(member: number): number[] {
    const found: number[] = [];
    for (let partition = 0; partition < this.#draft.rows.length; partition += 1) {
      if (at(this.#draft.row(partition), this.#position) === member) found.push(partition);
    }
    return found;
  }

  /** Adds or takes away what the row of a partition allows. */
  #note(partition: number, change: 1 | -1): void {
    const taken = this.#taken.get(at(this.#draft.row(partition), this.#position));
    if (taken === undefined) return;
    this.#draft.forEachTarget(partition, this.#position, (target) => add(taken, target, change));
  }
}

function chainTo(end: number, from: Int32Array): readonly number[] {
  const chain = [end];
  for (let member = end; at(from, member) !== member; ) {
    member = at(from, member);
    chain.unshift(member);
  }
  return chain;
}
