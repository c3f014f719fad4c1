/** The commands that change who holds what, against nodes that are made up. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { MovesAnswer, PlanAnswer, PlanRequest } from "../src/api.ts";
import { withStand } from "./cli_harness.ts";
import type { FakeApi } from "./fake_api.ts";

const test = suite("cli moves");

const idle: MovesAnswer = { epoch: 4, waiting: [], next: "nothing moves, and nobody waits" };
const fewer = "Keys of 'default' will have 2 replicas instead of 3: a quorum is 2 of them.";

/** A node that plans what `warnings` say, and what it was asked for. */
function planning(api: FakeApi, warnings: readonly string[]) {
  const asked: { plans: PlanRequest[]; applied: string[] } = { plans: [], applied: [] };
  const answer: PlanAnswer = {
    ...{ id: "5f1c09aa61e2b7d4", epoch: 3, members: [], partitions: 256, copies: 0, bytes: 0 },
    ...{ seconds: 0, warnings, next: "quorate cluster apply 5f1c09aa61e2b7d4" },
  };
  api.moves = {
    plan: async (request) => {
      asked.plans.push(request);
      return answer;
    },
    apply: async (id) => {
      asked.applied.push(id);
      return idle;
    },
    revert: async () => idle,
    moves: () => idle,
  };
  return asked;
}

test("drain carries out at once a plan that warns of nothing", () =>
  withStand(async ({ ask, edge }) => {
    const asked = planning(edge.api, []);
    const { code, out } = await ask("drain", "n2", "-o", "table");
    assert.is(code, 0);
    assert.match(out, "Nothing moves; the epoch is 4.");
    assert.equal(asked, { plans: [{ drain: ["n2"] }], applied: ["5f1c09aa61e2b7d4"] });
  }));

test("drain changes nothing where keys have fewer replicas then, and names the flag that allows it", () =>
  withStand(async ({ ask, edge }) => {
    const asked = planning(edge.api, [fewer]);
    const { code, err } = await ask("drain", "n2");
    assert.is(code, 2);
    assert.match(err, `why:   ${fewer}`);
    assert.match(err, "--fewer-copies");
    assert.equal(asked.applied, []);
  }));

test("drain --fewer-copies prints what the plan warns of, and carries it out", () =>
  withStand(async ({ ask, edge }) => {
    const asked = planning(edge.api, [fewer]);
    const { code, err } = await ask("drain", "n2", "--fewer-copies");
    assert.is(code, 0);
    assert.match(err, fewer);
    assert.equal(asked.applied, ["5f1c09aa61e2b7d4"]);
  }));

test.run();
