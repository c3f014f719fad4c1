/** What an operator is shown before anything moves, and which plans are refused. */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { PlanRequest } from "../src/api_moves.ts";
import { movedSetsOf, type Topology, writeSetsOf } from "../src/topology.ts";
import { whyNotAdvance } from "../src/topology_advance.ts";
import { withNextPhase, withRevert } from "../src/topology_move.ts";
import { withNamespace } from "../src/topology_namespaces.ts";
import { makePlan, type PlanFacts, planStep } from "../src/topology_plan.ts";
import { genesisOf, type MemberFacts } from "../src/topology_steps.ts";
import { whyNotSuccessor } from "../src/topology_successor.ts";
import { throwsSlug } from "./samples.ts";

const test = suite("topology plan");

function facts(number: number, name = `n${number}`): MemberFacts {
  const hex = number.toString(16);
  return {
    nodeId: `a${hex.padStart(31, "0")}`,
    storeId: `b${hex.padStart(31, "0")}`,
    name,
    addresses: [`10.0.0.${number}:8080`],
  };
}

const three = genesisOf([facts(1), facts(2), facts(3)], { expect: 3, partitions: 16 });
const known: PlanFacts = {
  waiting: [facts(4), facts(5), facts(6, "n2")],
  bytesOf: () => 1_600_000,
  bytesPerSecond: 100_000,
};

function plan(request: PlanRequest, topology: Topology = three) {
  return makePlan(topology, request, known).answer;
}

test("a plan says what each member holds before and after, what is copied, and the command", () => {
  const { members, epoch, partitions, copies, bytes, seconds, next, id, warnings } = plan({
    join: ["n4"],
  });
  assert.is(epoch, 1);
  assert.is(next, `quorate cluster apply ${id}`);
  assert.equal(
    members.map(({ node, change, partitionsBefore, partitionsAfter }) => [
      ...[node, change, partitionsBefore, partitionsAfter],
    ]),
    [
      ["n1", "stays", 16, 12],
      ["n2", "stays", 16, 12],
      ["n3", "stays", 16, 12],
      ["n4", "joins", 0, 12],
    ],
  );
  assert.equal([partitions, copies, bytes], [12, 12, 1_200_000]);
  // From two of three old replicas each, and four phases.
  assert.is(seconds, 24 + 8);
  assert.equal(warnings, []);
});

test("leave, replace, drain, weight and zone are plans; several at once are one", () => {
  const left = plan({ leave: ["n3"] });
  assert.equal(
    left.members.map(({ change }) => change),
    ["stays", "stays", "leaves"],
  );
  assert.match(left.warnings[0] ?? "", /'default' will have 2 replicas instead of 3/);
  const replaced = plan({ replace: [{ node: "n2", by: "n2" }] });
  assert.equal(
    replaced.members.map(({ node, change, partitionsAfter }) => [node, change, partitionsAfter]),
    [
      ["n1", "stays", 16],
      ["n2", "leaves", 0],
      ["n3", "stays", 16],
      ["n2", "joins", 16],
    ],
  );
  const drained = plan({ join: ["n4"], drain: ["n1"] });
  assert.is(drained.members.find(({ node }) => node === "n1")?.partitionsAfter, 0);
  const heavy = plan({ join: ["n4", "n5"], weight: [{ node: "n1", weight: 200 }] });
  const held = heavy.members.map(({ partitionsAfter }) => partitionsAfter);
  assert.ok((held[0] ?? 0) > (held[1] ?? 0));
  // With three members each holds all: another zone changes the order in a row, and copies nothing.
  assert.is(plan({ zone: [{ node: "n1", zone: "b" }] }).copies, 0);
});

test("the same wish under the same epoch has the same id, and nothing else has", () => {
  const { id } = plan({ join: ["n4"] });
  assert.is(plan({ join: ["n4"] }).id, id);
  assert.is.not(plan({ join: ["n5"] }).id, id);
  const later = withNamespace(three, "more", {}) as Topology;
  assert.is.not(plan({ join: ["n4"] }, later).id, id);
});

test("a plan is carried out under its epoch, and refused under any other", () => {
  const made = makePlan(three, { join: ["n4"] }, known);
  const next = planStep(made, three) as Topology;
  assert.is(whyNotSuccessor(three, next), undefined);
  const later = withNamespace(three, "more", {}) as Topology;
  const stale = throwsSlug("contention", () => planStep(made, later));
  assert.match(stale.message, /made for epoch 1, and the epoch is 2 now/);
  throwsSlug("contention", () => planStep(made, { ...three, clusterId: "f".repeat(32) }));
});

test("where a majority of a set is replaced, the plan says so, and the loss has to be accepted", () => {
  const single = withNamespace(three, "single", { n: 1 }) as Topology;
  const replace = [{ node: "n2", by: "n4" }];
  const refused = throwsSlug("invalid-request", () => plan({ replace }, single));
  assert.match(refused.message, /replicas of 'single' in partition \d+ so many are replaced/);
  assert.match(refused.hint ?? "", /--accept-data-loss/);
  const made = makePlan(single, { replace, acceptDataLoss: true }, known);
  let state = planStep(made, single) as Topology;
  const lost = (state.move?.rows ?? []).filter((row) => {
    return movedSetsOf(state, row, 1).old[0]?.name === "n2";
  });
  assert.ok(lost.length > 0);
  // Nobody of the old set is left to take notice of anything: the new one is asked alone.
  const isThere = ({ nodeId }: { readonly nodeId: string }) =>
    nodeId !== state.members.find(({ name }) => name === "n2")?.nodeId;
  for (let phase = 0; phase < 4; phase += 1) {
    const news = (nodeId: string) => ({
      epoch: isThere({ nodeId }) ? state.epoch : 0,
      filled: state.move?.begun ?? 0,
      dropped: 0,
      isUp: isThere({ nodeId }),
    });
    assert.is(whyNotAdvance(state, news), undefined, `phase ${phase}`);
    state = withNextPhase(state, state.move as NonNullable<Topology["move"]>) as Topology;
    for (const { partition } of lost) {
      const sets = writeSetsOf(state, partition, 1);
      assert.equal(
        sets.map((set) => set.map(({ name }) => name)),
        [["n4"]],
      );
    }
    throwsSlug("invalid-request", () => withRevert(state));
  }
});

test("who leaves beside one that is replaced is no loss: it has what it holds until that is copied", () => {
  const four = genesisOf(
    [1, 2, 3, 7].map((number) => facts(number)),
    { expect: 4, partitions: 16 },
  );
  const wish = { replace: [{ node: "n2", by: "n4" }], leave: ["n3"] };
  assert.equal(makePlan(four, wish, known).move?.lost, []);
  // Of two replicas the one that leaves may lack what the one that is lost had taken.
  const pair = withNamespace(four, "pair", { n: 2 }) as Topology;
  const refused = throwsSlug("invalid-request", () => plan(wish, pair));
  assert.match(refused.message, /replicas of 'pair' in partition \d+ so many are replaced/);
});

test("a plan that accepts a loss says of which namespaces and of how many partitions, and no other does", () => {
  const single = withNamespace(three, "single", { n: 1 }) as Topology;
  const held = single.replicas.filter((row) => single.members[row[0] as number]?.name === "n2");
  const one = { replace: [{ node: "n2", by: "n4" }], acceptDataLoss: true };
  assert.ok(held.length > 0 && held.length < 16);
  assert.equal(plan(one, single).warnings, [
    `The only copies of 'single' in ${held.length} of 16 partitions are on n2: they are given up.`,
  ]);
  const two = { replace: [...one.replace, { node: "n3", by: "n5" }], acceptDataLoss: true };
  assert.equal(plan(two).warnings, [
    "What 'default' holds in 16 of 16 partitions may be on n2, n3 alone: where it is, it is given up.",
  ]);
  assert.equal(plan({ ...one, join: ["n5"] }).warnings, []);
});

test("what cannot be is refused, with the names that there are", () => {
  const wrong: readonly (readonly [PlanRequest, RegExp])[] = [
    [{ join: ["n9"] }, /No node of the name 'n9' waits.*'n4'/],
    [{ leave: ["n9"] }, /no member 'n9'.*'n1'/],
    [{ leave: ["n1", "n2", "n3"] }, /No member would be left/],
    [{ drain: ["n1", "n2", "n3"] }, /No member would be left/],
    [{ leave: ["n1", "n1"] }, /named twice/],
    [{ leave: ["n1"], drain: ["n1"] }, /'n1' leaves in this plan, and is given a weight/],
    [
      { replace: [{ node: "n2", by: "n4" }], weight: [{ node: "n2", weight: 5 }] },
      /'n2' is replaced in this plan, and is given a weight/,
    ],
    [{ drain: ["n1"], weight: [{ node: "n1", weight: 5 }] }, /named twice/],
    [{ weight: [0, 5].map((weight) => ({ node: "n1", weight })) }, /named twice/],
    [{ zone: ["a", "b"].map((zone) => ({ node: "n1", zone })) }, /named twice/],
    [{ weight: [{ node: "n1", weight: 1.5 }] }, /weight of 'n1' is 1.5/],
    [{ weight: [{ node: "n1", weight: 100 }] }, /changes nothing/],
    [{}, /changes nothing/],
    [{ join: ["n2"] }, /name 'n2' belongs to/],
  ];
  for (const [request, said] of wrong) {
    assert.match(throwsSlug("invalid-request", () => plan(request)).message, said);
  }
});

test("two nodes of one name that wait are both named, with where they are, and neither is taken", () => {
  const waiting = [facts(4), facts(5, "n4"), facts(6)];
  for (const request of [{ join: ["n4"] }, { replace: [{ node: "n3", by: "n4" }] }]) {
    const { detail, hint } = throwsSlug("invalid-request", () =>
      makePlan(three, request, { ...known, waiting }),
    );
    assert.match(detail, /^2 nodes of the name 'n4' wait to join: /);
    for (const number of [4, 5]) {
      assert.match(detail, `${facts(number).nodeId} at 10.0.0.${number}:8080`);
    }
    assert.match(hint ?? "", /^Stop those that are not meant.* plan again/);
  }
  assert.is(makePlan(three, { join: ["n6"] }, { ...known, waiting }).answer.partitions, 12);
});

test.run();
