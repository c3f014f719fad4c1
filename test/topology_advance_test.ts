/** T4 to T6 as a table: when the next phase of a move may begin, and what it waits for. */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ownProgram } from "../src/protocol.ts";
import type { Topology } from "../src/topology.ts";
import { type MemberNews, whyNotAdvance } from "../src/topology_advance.ts";
import { type MoveChange, withMove, withNextPhase, withRevert } from "../src/topology_move.ts";
import { genesisOf, type MemberFacts } from "../src/topology_steps.ts";

const test = suite("topology advance");

function facts(number: number): MemberFacts {
  const nodeId = `${number}`.repeat(32);
  const addresses = [`10.0.0.${number}:80`];
  return { nodeId, storeId: `a${number}`.repeat(16), name: `n${number}`, addresses };
}

const three = genesisOf([1, 2, 3].map(facts), { expect: 3, partitions: 4 });
const change = { join: [facts(4)], leave: [], replace: [], sites: [] };

/** The move at a phase, from its beginning. */
function at(phase: number, wanted: MoveChange = change): Topology {
  let state = withMove(three, wanted) as Topology;
  while (state.move?.phase !== phase) {
    state = withNextPhase(state, state.move as NonNullable<Topology["move"]>) as Topology;
  }
  return state;
}

type Told = Partial<MemberNews>;

/** What is waited for, where n1 to n4 have told this; what is left out is as it should be. */
function waits(state: Topology, told: Readonly<Record<string, Told>>): string | undefined {
  const begun = state.move?.begun ?? 0;
  const all = { epoch: state.epoch, filled: begun, dropped: begun, isUp: true };
  return whyNotAdvance(state, (nodeId) => {
    const name = state.members.find((member) => member.nodeId === nodeId)?.name ?? "";
    return { ...all, ...told[name] };
  });
}

const old: Told = { epoch: 1 };

test("0 to 1: whoever comes to hold something is up and knows; the others are not asked", () => {
  assert.match(waits(at(0), { n4: { isUp: false } }) ?? "", /n4 has to be up/);
  assert.is(waits(at(0), { n4: old }), "n4 has to hear of the move", "it is up");
  assert.is(waits(at(0), { n1: old, n2: { isUp: false } }), undefined);
});

test("T4: who comes and holds nothing yet has to be up too: it may be a voter at the end", () => {
  const speaking = (number: number) => ({ ...facts(number), program: ownProgram("") });
  const all = genesisOf([1, 2, 3, 4, 5, 6].map(speaking), { expect: 6, partitions: 1 });
  const state = withMove(all, { ...change, join: [speaking(7)] }) as Topology;
  assert.equal(state.move?.rows, [], "the replicas of one partition stand elsewhere");
  assert.is(waits(state, { n7: { isUp: false } }), "n7 has to be up");
  assert.is(waits(state, { n7: old }), "n7 has to hear of the move");
  assert.is(waits(state, { n1: old, n2: { isUp: false } }), undefined);
  // It can be taken back, where the node has gone since it asked.
  assert.equal(withRevert(state)?.members, all.members);
});

test("U2: where a program may not know of such a move, who comes and holds nothing is a member at once", () => {
  const all = genesisOf([1, 2, 3, 4, 5, 6].map(facts), { expect: 6, partitions: 1 });
  const next = withMove(all, { ...change, join: [facts(7)] });
  assert.is(next?.move, undefined);
  assert.is(next?.members.at(-1)?.name, "n7");
});

test("T4: m of the old and m of the new set have to know the phase, one that is away is not waited for", () => {
  for (const phase of [1, 2, 3]) {
    const state = at(phase);
    assert.is(waits(state, {}), undefined);
    for (const one of ["n1", "n2", "n3", "n4"]) {
      assert.is(
        waits(state, { [one]: old }),
        undefined,
        `${one} alone does not know phase ${phase}`,
      );
    }
    assert.match(waits(state, { n1: old, n2: old, n3: old }) ?? "", /take notice of phase/);
    // Every partition that moves has n4 in its new set: with one more of it there is no majority.
    const two = ["n1", "n2", "n3"].map((one) => waits(state, { [one]: old, n4: old }));
    assert.ok(two.some((why) => why !== undefined));
  }
});

test("T4: what was known of an older phase does not count", () => {
  const state = at(2);
  const before: Told = { epoch: (state.move?.since ?? 0) - 1 };
  assert.match(waits(state, { n1: before, n2: before }) ?? "", /phase 2/);
});

test("T5: reads move when every joining replica has copied all, by this move, and not before", () => {
  assert.match(waits(at(2), { n4: { filled: 0 } }) ?? "", /n4 copies/);
  assert.match(waits(at(2), { n4: { filled: 1 } }) ?? "", /n4 copies/);
  assert.match(waits(at(2), { n4: { filled: 0, isUp: false } }) ?? "", /n4 has to be up, to copy/);
  assert.is(waits(at(2), { n1: { filled: 0 } }), undefined);
});

test("T6: at the end who is up has dropped; who is away drops later", () => {
  assert.match(waits(at(4), { n1: { dropped: 0 } }) ?? "", /n1 drops/);
  assert.is(waits(at(4), { n1: { dropped: 0, isUp: false } }), undefined);
  assert.is(waits(at(4), { n4: { dropped: 0 } }), undefined);
});

test("T1: who leaves hands its vote to a majority that can vote, or stays", () => {
  const [one, , three] = [1, 2, 3].map((number) => facts(number).nodeId) as [
    string,
    string,
    string,
  ];
  const [two] = genesisOf([1, 2].map(facts), { expect: 2, partitions: 4 }).voters;
  assert.is(two, one, "of two the first one votes alone");
  const leaving = { ...change, join: [], leave: [three] };
  const why = "1 of the 1 voters that there will be has to be up, with a vote that counts: not n1";
  for (const told of [{ isUp: false }, { isVoid: true }] as const) {
    // In between what was begun goes on; it waits before there is no way back.
    for (const phase of [0, 1, 2, 3]) {
      assert.is(waits(at(phase, leaving), { n1: told }), phase % 3 === 0 ? why : undefined);
    }
    assert.is(waits(at(3), { n1: told }), undefined, "of three one may be away");
    assert.match(waits(at(3), { n1: told, n2: told }) ?? "", /^2 of the 3 voters .* not n1, n2$/);
  }
  assert.is(waits(at(3, leaving), { n2: { isUp: false }, n3: { isVoid: true } }), undefined);
});

test("T4: back from phase 3 the new sets have to know that they are read no more; the old ones are not asked", () => {
  const replacing = {
    ...change,
    leave: [facts(1).nodeId],
    replace: [{ nodeId: facts(1).nodeId, by: facts(4).nodeId }],
  };
  const two = withRevert(at(3, replacing)) as Topology;
  assert.is(two.move?.phase, 2);
  assert.match(waits(two, { n2: old, n4: old }) ?? "", /phase 2/);
  assert.is(waits(two, { n4: { filled: 0 } }), undefined, "nothing is copied any more");
  assert.is(waits(two, { n1: old, n2: old }), undefined, "n3 and n4 of the new sets know");
});

test("T4: back from where the old sets are read nobody has to take notice, so that a lost disk holds up nothing", () => {
  const one = withRevert(at(2)) as Topology;
  assert.is(one.move?.phase, 1);
  assert.is(waits(one, { n1: old, n2: old, n3: old, n4: old }), undefined);
});

test("of several that are waited for it is said that they have to, and those that are up are not called away", () => {
  const two = { ...change, join: [facts(4), facts(5)] };
  const away: Told = { isUp: false };
  assert.is(waits(at(0, two), { n4: away, n5: away }), "n4, n5 have to be up");
  assert.is(waits(at(0, two), { n4: old, n5: away }), "n5 has to be up");
  assert.is(waits(at(0, two), { n4: old, n5: old }), "n4, n5 have to hear of the move");
  const filling: Told = { filled: 0 };
  assert.is(waits(at(2, two), { n4: filling, n5: filling }), "n4, n5 copy what they will hold");
});

test("without a move there is nothing to wait for, and nothing to begin", () => {
  assert.is(waits(three, {}), "nothing moves");
});

test.run();
