/** How replicas come to stand elsewhere: every epoch of every move, forwards and back (T2, T3, T6). */

import * as fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ownProgram } from "../src/protocol.ts";
import {
  joinedAt,
  type Member,
  memberAt,
  membersMax,
  movedSetsOf,
  replicasOf,
  type Topology,
  writeSetsOf,
} from "../src/topology.ts";
import { type MoveChange, withMove, withNextPhase, withRevert } from "../src/topology_move.ts";
import { withNamespace } from "../src/topology_namespaces.ts";
import { readTopology } from "../src/topology_parse.ts";
import { genesisOf, type MemberFacts, withAddresses, withMember } from "../src/topology_steps.ts";
import { whyNotSuccessor } from "../src/topology_successor.ts";
import { runs, throwsSlug } from "./samples.ts";

const test = suite("topology move");
const partitions = 16;

function facts(number: number): MemberFacts {
  const hex = number.toString(16);
  return {
    nodeId: `a${hex.padStart(31, "0")}`,
    storeId: `b${hex.padStart(31, "0")}`,
    name: `n${number}`,
    addresses: [`10.0.0.${number}:8080`],
    zone: `z${number % 3}`,
  };
}

function cluster(count: number): Topology {
  const members = Array.from({ length: count }, (_, index) => facts(index + 1));
  return genesisOf(members, { expect: count, partitions });
}

const nothing: MoveChange = { join: [], leave: [], replace: [], sites: [] };

function begun(topology: Topology, change: Partial<MoveChange>): Topology {
  return step(topology, withMove(topology, { ...nothing, ...change }));
}

function forward(topology: Topology): Topology {
  assert.ok(topology.move !== undefined);
  return step(topology, withNextPhase(topology, topology.move));
}

/** What every step has to be: a successor, and the same after a journey. */
function step(before: Topology, next: Topology | undefined): Topology {
  if (next === undefined) throw new Error("there is a step");
  assert.is(whyNotSuccessor(before, next), undefined);
  assert.equal(readTopology(JSON.parse(JSON.stringify(next))), { value: next });
  return next;
}

function toEnd(topology: Topology): Topology[] {
  const all = [topology];
  for (let last = topology; last.move !== undefined; ) {
    last = forward(last);
    all.push(last);
  }
  return all;
}

function ids(members: readonly { readonly nodeId: string }[]): string {
  return members
    .map(({ nodeId }) => nodeId)
    .sort()
    .join();
}

/** T3: whatever is written by one is read by the other, if both keep to strict quorums. */
function assertMeet(a: Topology, b: Topology): void {
  for (let partition = 0; partition < partitions; partition += 1) {
    for (const n of [1, 2, 3, 5]) {
      for (const [write, read] of [
        [a, b],
        [b, a],
        [a, a],
      ] as const) {
        const sets = writeSetsOf(write, partition, n).map(ids);
        const readers = ids(replicasOf(read, partition, n));
        assert.ok(sets.includes(readers), `partition ${partition}, n = ${n}: ${readers}`);
      }
    }
  }
}

const changes = fc.record({
  count: fc.integer({ min: 1, max: 6 }),
  joinCount: fc.integer({ min: 0, max: 2 }),
  leave: fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 2 }),
  isReplacing: fc.boolean(),
  weights: fc.array(fc.tuple(fc.integer({ min: 0, max: 5 }), fc.constantFrom(0, 50, 300)), {
    maxLength: 2,
  }),
  backFrom: fc.constantFrom(undefined, 0, 1, 2, 3),
});

test("T2, T3, T6: every epoch of every move is read and written so that quorums meet, on and back", () => {
  const property = fc.property(changes, (drawn) => {
    const first = cluster(drawn.count);
    const gone = new Set(drawn.leave.map((index) => first.members[index]?.nodeId));
    gone.delete(undefined);
    const leave = [...gone] as string[];
    const join = Array.from({ length: drawn.joinCount }, (_, index) => facts(20 + index));
    const [left] = leave;
    const [comer] = join;
    const isReplacing = drawn.isReplacing && left !== undefined && comer !== undefined;
    const replace = isReplacing ? [{ nodeId: left, by: comer.nodeId }] : [];
    const weights = new Map(drawn.weights);
    const sites = first.members.flatMap(({ nodeId, zone }, index) => {
      const weight = weights.get(index);
      return weight === undefined || gone.has(nodeId) ? [] : [{ nodeId, zone, weight }];
    });
    const isHeld =
      join.length > 0 ||
      first.members.some(({ nodeId, weight }, index) => {
        return !gone.has(nodeId) && (weights.get(index) ?? weight) > 0;
      });
    if (!isHeld) {
      const change = { join, leave, replace, sites };
      throwsSlug("invalid-request", () => withMove(first, change));
      return;
    }
    const one = withMove(first, { join, leave, replace, sites });
    if (one === undefined) return;
    step(first, one);
    if (one.move === undefined) return;
    const states = toEnd(one);
    const path = [first, ...states];
    for (const [index, state] of path.entries()) {
      const next = path[index + 1];
      if (next !== undefined) assertMeet(state, next);
      assertRows(first, state);
    }
    const last = states.at(-1) as Topology;
    assert.equal(
      last.members.map(({ nodeId }) => nodeId).sort(),
      [...first.members, ...join]
        .map(({ nodeId }) => nodeId)
        .filter((nodeId) => !gone.has(nodeId))
        .sort(),
    );
    if (drawn.backFrom !== undefined) assertBack(path.slice(0, drawn.backFrom + 2));
  });
  fc.assert(property, runs(150));
});

/** Only rows that the move names change, and they say when (T2), and when each member joined (T6). */
function assertRows(first: Topology, state: Topology): void {
  const moving = new Set(state.move?.rows.map(({ partition }) => partition));
  for (let partition = 0; partition < partitions; partition += 1) {
    if (state.move !== undefined && !moving.has(partition)) {
      assert.is(state.changed[partition], first.changed[partition]);
      assert.equal(state.replicas[partition], first.replicas[partition]);
    }
    for (const member of writeSetsOf(state, partition, 3).flat()) {
      const since = joinedAt(state, partition, 3, member.nodeId);
      assert.ok(since !== undefined && since <= state.epoch);
      const before = joinedAt(first, partition, 3, member.nodeId);
      if (before !== undefined) assert.is(since, before, "who stays keeps its join");
      else assert.ok(since > first.epoch, "who comes has a newer one");
    }
  }
}

/** Back from the last of these, the first of which was before. */
function assertBack(path: readonly Topology[]): void {
  const first = path[0] as Topology;
  const from = path.at(-1) as Topology;
  let state = step(from, withRevert(from));
  assertMeet(from, state);
  // T4: all that read from the old sets agree with each other, for on the way back nobody asks who knows them.
  const old = [...path.slice(0, 4), state];
  if (state.move !== undefined) assert.is(withRevert(state), undefined);
  while (state.move !== undefined) {
    const next = forward(state);
    assertMeet(state, next);
    old.push(next);
    state = next;
  }
  for (const [index, one] of old.entries()) {
    for (const other of old.slice(index + 1)) assertMeet(one, other);
  }
  assert.equal(state.members, first.members);
  assert.equal(state.replicas, first.replicas);
  assert.equal(state.joined, first.joined);
}

test("T2: a partition that moves changes when writes, reads and drops do, and not for the copy", () => {
  const states = toEnd(begun(cluster(3), { join: [facts(9)] }));
  const partition = states[0]?.move?.rows[0]?.partition as number;
  const epochs = states.map(({ epoch }) => epoch);
  assert.equal(
    states.map(({ changed }) => changed[partition]),
    [1, epochs[1], epochs[1], epochs[3], epochs[4], epochs[4]],
  );
});

test("a member that joins takes rows, and nobody else does", () => {
  const { move } = begun(cluster(4), { join: [facts(9)] });
  const state = begun(cluster(4), { join: [facts(9)] });
  for (const row of move?.rows ?? []) {
    const sets = movedSetsOf(state, row, 3);
    const come = sets.new.filter((member) => !sets.old.includes(member));
    assert.ok(come.every(({ name }) => name === "n9"));
  }
  assert.ok((move?.rows.length ?? 0) < partitions);
});

test("I1: a replacement stands exactly where the lost member stood, under its name", () => {
  const first = cluster(5);
  const lost = first.members[2] as (typeof first.members)[number];
  const fresh = { ...facts(9), name: lost.name, zone: lost.zone };
  const change = {
    join: [fresh],
    leave: [lost.nodeId],
    replace: [{ nodeId: lost.nodeId, by: fresh.nodeId }],
  };
  const states = toEnd(begun(first, change));
  const last = states.at(-1) as Topology;
  for (let partition = 0; partition < partitions; partition += 1) {
    const expected = (first.replicas[partition] ?? []).map((index) => {
      const { nodeId } = memberAt(first, index);
      return nodeId === lost.nodeId ? fresh.nodeId : nodeId;
    });
    assert.equal(
      (last.replicas[partition] ?? []).map((index) => memberAt(last, index).nodeId),
      expected,
    );
  }
  assert.is(last.members.filter(({ name }) => name === lost.name).length, 1);
});

test("a member of weight 0 holds nothing, and stays a member", () => {
  const first = cluster(4);
  const { nodeId, zone } = first.members[1] as (typeof first.members)[number];
  const last = toEnd(begun(first, { sites: [{ nodeId, zone, weight: 0 }] })).at(-1) as Topology;
  assert.is(last.members.find((one) => one.nodeId === nodeId)?.weight, 0);
  assert.not.ok(last.replicas.flat().some((index) => memberAt(last, index).nodeId === nodeId));
});

test("T4: who comes and holds nothing yet goes through documents that can be read, on and back", () => {
  const speaking = (number: number) => ({ ...facts(number), program: ownProgram("") });
  const first = genesisOf([1, 2, 3].map(speaking), { expect: 3, partitions });
  const states = toEnd(begun(first, { join: [{ ...speaking(9), weight: 0 }] }));
  assert.is(states.length, 6);
  assert.equal(states[0]?.move?.rows, []);
  assert.is(states.at(-1)?.members.at(-1)?.name, "n9");
  for (const from of [1, 2, 3, 4]) assertBack([first, ...states.slice(0, from)]);
});

test("T1: who leaves has no vote on the document without it, and nothing changes of the voters then", () => {
  const property = fc.property(
    fc.integer({ min: 2, max: 8 }),
    fc.array(fc.integer({ min: 0, max: 7 }), { minLength: 1, maxLength: 4 }),
    fc.integer({ min: 0, max: 2 }),
    (count, leaving, joinCount) => {
      const first = cluster(count);
      const gone = new Set(leaving.map((index) => first.members[index]?.nodeId));
      gone.delete(undefined);
      if (gone.size === count || gone.size === 0) return;
      const join = Array.from({ length: joinCount }, (_, index) => facts(20 + index));
      const states = toEnd(begun(first, { leave: [...gone] as string[], join }));
      const [before, last] = states.slice(-2) as [Topology, Topology];
      assert.is(before.move?.phase, 4);
      assert.not.ok(
        before.voters.some((voter) => gone.has(voter)),
        before.voters.join(),
      );
      assert.equal(last.voters, before.voters);
    },
  );
  fc.assert(property, runs(300));
});

test("T1: a voter that holds nothing leaves by phases too; another one at once", () => {
  const first = cluster(4);
  const voterIds = first.voters;
  for (const { nodeId, zone } of first.members) {
    const empty = toEnd(begun(first, { sites: [{ nodeId, zone, weight: 0 }] })).at(-1) as Topology;
    const states = toEnd(begun(empty, { leave: [nodeId] }));
    assert.is(states.length, voterIds.includes(nodeId) ? 6 : 1);
    assert.not.ok(states.at(-1)?.members.some((member) => member.nodeId === nodeId));
  }
});

test("one move at a time: nothing else that changes rows may begin, and what does not may", () => {
  const moving = begun(cluster(3), { join: [facts(9)] });
  throwsSlug("contention", () => withMove(moving, { ...nothing, join: [facts(10)] }));
  throwsSlug("contention", () => withMember(moving, facts(10), []));
  throwsSlug("contention", () => withNamespace(moving, "wide", { n: 4 }));
  step(moving, withNamespace(moving, "narrow", { n: 2 }));
  const [member] = moving.members;
  step(moving, withAddresses(moving, member?.nodeId ?? "", { addresses: ["other:1"] }));
});

test("T8: a namespace that comes while a member is given a weight has the replicas that there are at the end", () => {
  const first = cluster(4);
  const { nodeId, zone } = first.members[3] as (typeof first.members)[number];
  const drained = toEnd(begun(first, { sites: [{ nodeId, zone, weight: 0 }] })).at(-1) as Topology;
  const moving = begun(drained, { sites: [{ nodeId, zone, weight: 100 }] });
  // By the members of now three replicas would be enough for it, and the document of the end would be none.
  throwsSlug("contention", () => withNamespace(moving, "wide", { n: 4 }));
  const narrow = step(moving, withNamespace(moving, "narrow", { n: 2 }));
  const over = toEnd(narrow).at(-1) as Topology;
  const wide = step(over, withNamespace(over, "wide", { n: 4 }));
  assert.ok(wide.replicas.every(({ length }) => length === 4));
});

test("a namespace of more replicas can be made also where members have come to share a host", () => {
  const members = [1, 2, 3, 4, 5].map((number) => ({ ...facts(number), zone: "z" }));
  const first = genesisOf(members, { expect: 5, partitions });
  const [one, two] = first.members as [Member, Member];
  const moved = step(first, withAddresses(first, two.nodeId, { ...two, host: one.host }));
  const wide = step(moved, withNamespace(moved, "wide", { n: 5 }));
  assert.ok(wide.replicas.every((row) => new Set(row).size === 5));
  for (const [partition, row] of wide.replicas.entries()) {
    assert.equal(row.slice(0, 3), first.replicas[partition]);
  }
});

test("a move of more members than a cluster may have is refused, those that leave counted as well", () => {
  const most = cluster(membersMax);
  const [gone] = most.members as [Member];
  const replace = [{ nodeId: gone.nodeId, by: facts(999).nodeId }];
  const change = { ...nothing, join: [{ ...facts(999), name: gone.name }], leave: [gone.nodeId] };
  const refused = throwsSlug("invalid-request", () => withMove(most, { ...change, replace }));
  assert.match(refused.message, /at most 300 members, and 301 would be in this move/);
  begun(cluster(membersMax - 1), { ...change, replace });
});

test("a step that was meant for another phase, or another move, is none", () => {
  const moving = begun(cluster(3), { join: [facts(9)] });
  const { begun: began, since } = moving.move as NonNullable<Topology["move"]>;
  assert.is(withNextPhase(moving, { begun: began, since: since + 1 }), undefined);
  assert.is(withNextPhase(moving, { begun: began - 1, since }), undefined);
  const next = forward(moving);
  assert.is(withNextPhase(next, { begun: began, since }), undefined);
});

test("T6: what is being dropped cannot be taken back, and without a move there is nothing to take back", () => {
  const states = toEnd(begun(cluster(3), { join: [facts(9)] }));
  throwsSlug("invalid-request", () => withRevert(states[4] as Topology));
  throwsSlug("invalid-request", () => withRevert(states.at(-1) as Topology));
});

test("T3: a document that skips a phase, or changes what moves, follows none", () => {
  const first = cluster(3);
  const zero = begun(first, { join: [facts(9)] });
  const one = forward(zero);
  const two = forward(one);
  const three = forward(two);
  const at = (epoch: number, topology: Topology): Topology => ({ ...topology, epoch });
  assert.match(whyNotSuccessor(one, at(one.epoch + 1, three)) ?? "", /phase|since|began/);
  assert.match(whyNotSuccessor(first, at(first.epoch + 1, two)) ?? "", /began|middle/);
  const { move: _, ...over } = two;
  assert.match(whyNotSuccessor(two, at(two.epoch + 1, over)) ?? "", /ends in phase 2/);
  const move = three.move as NonNullable<Topology["move"]>;
  const other = { ...three, move: { ...move, rows: move.rows.slice(1) } };
  assert.match(whyNotSuccessor(two, other) ?? "", /move|row/);
  const kept = { ...three, changed: two.changed };
  assert.match(whyNotSuccessor(two, kept) ?? "", /when its replicas changed/);
});

test.run();
