/** What an operator is told to do next while something moves. */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { QuorateError } from "../src/errors.ts";
import { NodePlans, type NodePlansParts } from "../src/node_plans.ts";
import type { Topology, TopologyMove } from "../src/topology.ts";
import type { MemberNews } from "../src/topology_advance.ts";
import { withNextPhase, withRevert } from "../src/topology_move.ts";
import { withNamespace } from "../src/topology_namespaces.ts";
import { makePlan, planStep } from "../src/topology_plan.ts";
import { genesisOf, type MemberFacts } from "../src/topology_steps.ts";
import { rejectsSlug } from "./samples.ts";

const test = suite("node plans");

function facts(number: number, disk = "b"): MemberFacts {
  return {
    nodeId: `${disk}a${String(number).padStart(30, "0")}`,
    storeId: `${disk}b${String(number).padStart(30, "0")}`,
    name: `n${number}`,
    addresses: [`10.0.0.${number}:8080`],
  };
}

const three = genesisOf([facts(1), facts(2), facts(3)], { expect: 3, partitions: 16 });
const known = { waiting: [facts(4)], bytesOf: () => 0, bytesPerSecond: 1 };
const joining = planStep(makePlan(three, { join: ["n4"] }, known), three) as Topology;

function partsOf(topology: () => Topology, cluster: object): NodePlansParts {
  return {
    topology,
    ownNodeId: facts(1).nodeId,
    cluster: { view: () => [], viewOf: () => undefined, newsOf: () => unheard, ...cluster },
    moves: {
      ...{ load: {}, bytesPerSecond: 1 },
      get ownNews(): MemberNews {
        return { epoch: topology().epoch, filled: 0, dropped: 0, isUp: true };
      },
    },
    ownLoss: () => ({}),
    ownBytes: () => 0,
  } as unknown as NodePlansParts;
}

const unheard: MemberNews = { epoch: 0, filled: 0, dropped: 0, isUp: true };

/** What n1 answers while `down` are away and `waiting` have asked to join. */
function nextOf(topology: Topology, down: readonly string[], waiting: readonly MemberFacts[]) {
  const newsOf = (nodeId: string): MemberNews => ({
    ...{ epoch: topology.epoch, filled: 0, dropped: 0 },
    isUp: !topology.members.some(
      (member) => member.nodeId === nodeId && down.includes(member.name),
    ),
  });
  const { move, next } = new NodePlans(partsOf(() => topology, { waiting, newsOf })).moves();
  return { waitsFor: move?.waitsFor, next };
}

test("a move that waits for a member whose disk was lost says how it gets out of there", () => {
  const { waitsFor, next } = nextOf(joining, ["n4"], [facts(4, "c")]);
  assert.is(waitsFor, "n4 has to be up");
  assert.match(next, "n4 waits with another disk");
  assert.match(next, "quorate cluster revert");
  // Taken back, the move has left no member of that name.
  assert.match(next, /quorate cluster plan --join n4$/);
});

test("a move in which a member is replaced, whose disk is lost too, is begun again as a replacement", () => {
  const again = { waiting: [facts(3, "c")], bytesOf: () => 0, bytesPerSecond: 1 };
  const wish = { replace: [{ node: "n3", by: "n3" }] };
  const replacing = planStep(makePlan(three, wish, again), three) as Topology;
  const { next } = nextOf(replacing, ["n3"], [facts(3, "d")]);
  assert.match(next, /quorate cluster revert.* quorate cluster plan --replace n3$/);
});

test("who waits beside a move is no reason to take it back", () => {
  const usual = /^quorate cluster status --watch, or quorate cluster revert to take it back$/;
  assert.match(nextOf(joining, ["n4"], []).next, usual);
  assert.match(nextOf(joining, ["n4"], [facts(5)]).next, usual);
  assert.match(nextOf(joining, [], [facts(4, "c")]).next, usual);
});

test("what comes next names 'revert' where it is taken, and nowhere else", () => {
  const single = withNamespace(three, "single", { n: 1 }) as Topology;
  const losing = makePlan(
    single,
    { replace: [{ node: "n2", by: "n4" }], acceptDataLoss: true },
    known,
  );
  const begun: readonly [string, Topology][] = [
    ["a join", joining],
    ["an accepted loss", planStep(losing, single) as Topology],
  ];
  for (const [what, first] of begun) {
    let topology: Topology | undefined = first;
    while (topology?.move !== undefined) {
      const state: Topology = topology;
      const isTaken = canRevert(state);
      for (const waiting of [[], [facts(4, "c")]]) {
        const { next } = nextOf(state, ["n4"], waiting);
        assert.is(
          /cluster revert/.test(next),
          isTaken,
          `${what}, phase ${state.move?.phase}: ${next}`,
        );
        if (!isTaken) assert.is(next, "quorate cluster status --watch");
      }
      topology = withNextPhase(state, topology.move);
    }
  }
  assert.is(canRevert(begun[1]?.[1] as Topology), true, "in phase 0 nothing is given up yet");
});

function canRevert(topology: Topology): boolean {
  try {
    return withRevert(topology) !== undefined;
  } catch {
    return false;
  }
}

test("a plan that is applied again is refused with the epoch in which it began, also by who asks at once", async () => {
  let topology: Topology = three;
  let last: Promise<Topology> = Promise.resolve(topology);
  const parts = partsOf(() => topology, {
    waiting: [facts(4)],
    agreement: {
      // One after another, as the agreement does it.
      change(step: (present: Topology) => Topology | undefined): Promise<Topology> {
        const turn = last.then(() => {
          topology = step(topology) ?? topology;
          return topology;
        });
        last = turn.catch(() => topology);
        return turn;
      },
    },
  });
  const plans = new NodePlans(parts);
  const { id, epoch } = await plans.plan({ join: ["n4"] });
  const first = plans.apply(id);
  const second = plans.apply(id);
  assert.is((await first).move?.begun, epoch + 1);
  for (const again of [second, plans.apply(id)]) {
    const { detail } = await rejectsSlug("invalid-request", again);
    assert.is(detail, `The plan '${id}' was applied already: it began in epoch ${epoch + 1}.`);
  }
  const never = await rejectsSlug("invalid-request", plans.apply("0".repeat(16)));
  assert.match(never.detail, "has made no plan");
});

/** Begins the plan, as the agreement does whose answer is lost. */
function lostAnswer(): QuorateError {
  return new QuorateError("timeout", "Not chosen in 10000 ms.", { outcome: "unknown" });
}

test("a plan whose choice was not known is refused as applied where the topology has it, in any phase", async () => {
  let topology: Topology = three;
  let chosen: Topology | undefined;
  const parts = partsOf(() => topology, {
    waiting: [facts(4)],
    agreement: {
      async change(step: (present: Topology) => Topology | undefined): Promise<Topology> {
        chosen = step(topology);
        throw lostAnswer();
      },
    },
  });
  const began = `it began in epoch ${three.epoch + 1}.`;
  const later = withNextPhase(joining, joining.move as TopologyMove) as Topology;
  for (const heard of [joining, later]) {
    topology = three;
    const plans = new NodePlans(parts);
    const { id } = await plans.plan({ join: ["n4"] });
    assert.is((await rejectsSlug("timeout", plans.apply(id))).outcome, "unknown");
    assert.is(chosen?.move?.begun, joining.move?.begun);
    topology = heard;
    for (let time = 0; time < 2; time += 1)
      assert.match((await rejectsSlug("invalid-request", plans.apply(id))).detail, began);
  }
});

test("a plan whose choice was not known is answered where the topology has it by then", async () => {
  let topology: Topology = three;
  const parts = partsOf(() => topology, {
    waiting: [facts(4)],
    agreement: {
      async change(step: (present: Topology) => Topology | undefined): Promise<Topology> {
        topology = step(topology) as Topology;
        throw lostAnswer();
      },
    },
  });
  const plans = new NodePlans(parts);
  const { id, epoch } = await plans.plan({ join: ["n4"] });
  assert.is((await plans.apply(id)).move?.begun, epoch + 1);
  await rejectsSlug("invalid-request", plans.apply(id));
});

test("a plan that lost against another one of its epoch is no applied one", async () => {
  let topology: Topology = three;
  const parts = partsOf(() => topology, {
    waiting: [facts(4), facts(5)],
    agreement: {
      change: async (step: (present: Topology) => Topology | undefined) => step(topology),
    },
  });
  const plans = new NodePlans(parts);
  const { id } = await plans.plan({ join: ["n5"] });
  const { id: other } = await plans.plan({ join: ["n4"], drain: ["n1"] });
  for (let state: Topology | undefined = joining; state?.move !== undefined; ) {
    topology = state;
    for (const lost of [id, other]) await rejectsSlug("contention", plans.apply(lost));
    state = withNextPhase(state, state.move);
  }
});

test("T1: that nothing moves is told of the newest topology, which this node may not have heard of", async () => {
  let topology: Topology = three;
  let newest: Topology = joining;
  const parts = partsOf(() => topology, {
    waiting: [],
    agreement: {
      // Where nothing is to be changed the voters are asked, as the agreement does it.
      async change(step: (present: Topology) => Topology | undefined): Promise<Topology> {
        topology = step(topology) ?? step(newest) ?? newest;
        return topology;
      },
    },
  });
  const { move, epoch } = await new NodePlans(parts).revert();
  assert.is(move, undefined, "in the first phase all is as it was");
  assert.is(epoch, joining.epoch + 1);
  newest = topology;
  assert.match(
    (await rejectsSlug("invalid-request", new NodePlans(parts).revert())).detail,
    "Nothing moves",
  );
});

test.run();
