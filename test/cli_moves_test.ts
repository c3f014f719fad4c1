/** The commands that change who holds what, against nodes that are made up. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { MovesAnswer, PlanAnswer, PlanRequest } from "../src/api.ts";
import { type Fetch, QuorateClient } from "../src/client.ts";
import { QuorateError } from "../src/errors.ts";
import { type Stand, withStand } from "./cli_harness.ts";
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

test("the command that a plan prints asks the node that has made it", () =>
  withStand(async ({ ask, edge }) => {
    const asked = planning(edge.api, []);
    const url = `http://${edge.authority}/`;
    const words = ["cluster", "plan", "--drain", "n2", "-o", "table", "--timeout", "20s"];
    const { err } = await ask(...words, "--url", url);
    const next = /^Next: quorate (.*)$/m.exec(err)?.[1] ?? "";
    assert.is(next, `cluster apply 5f1c09aa61e2b7d4 --url ${url} --timeout 20s`);
    assert.is((await ask(...next.split(" "))).code, 0);
    assert.equal(asked.applied, ["5f1c09aa61e2b7d4"]);
    assert.match(
      (await ask(...words.slice(0, -2))).err,
      /^Next: quorate cluster apply 5f1c09aa61e2b7d4$/m,
    );
  }));

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

/** The waits that begin while `run` is under way. */
async function waitsOf(run: () => Promise<unknown>): Promise<readonly number[]> {
  const waits: number[] = [];
  const real = globalThis.setTimeout;
  const noting = (task: () => void, ms?: number) => {
    waits.push(ms ?? 0);
    return real(task, ms);
  };
  globalThis.setTimeout = Object.assign(noting, real) as typeof setTimeout;
  try {
    await run();
  } finally {
    globalThis.setTimeout = real;
  }
  return waits;
}

test("what changes members is waited for longer than a node asks the voters, unless --timeout is given", () =>
  withStand(async ({ ask, edge }: Stand) => {
    planning(edge.api, []);
    const node = 10_000;
    for (const words of [
      ["drain", "n2"],
      ["cluster", "plan", "--drain", "n2"],
      ["cluster", "apply", "5f1c09aa61e2b7d4"],
      ["cluster", "revert"],
    ]) {
      const waits = await waitsOf(() => ask(...words));
      assert.ok(Math.max(...waits) > node, `${words.join(" ")}: ${waits.join(", ")} ms`);
      const given = await waitsOf(() => ask(...words, "--timeout", "3s"));
      assert.is(Math.max(...given), 4000, words.join(" "));
    }
    const read = await waitsOf(() => ask("get", "k"));
    assert.is(Math.max(...read), 6000);
  }));

/** The error of a request whose answer never comes. */
async function lostBy(run: (client: QuorateClient) => Promise<unknown>): Promise<QuorateError> {
  const fetch: Fetch = (_, { signal }) =>
    new Promise((_resolve, reject) => {
      signal?.addEventListener("abort", () => reject(new Error("aborted")));
    });
  try {
    await run(new QuorateClient({ fetch, timeoutMs: 1 }));
  } catch (error) {
    return QuorateError.from(error);
  }
  throw new Error("it did not fail");
}

test("an answer that was lost has a hint that fits what was asked for", async () => {
  const move = await lostBy((client) => client.applyPlan("5f1c09aa61e2b7d4"));
  assert.is(move.outcome, "unknown");
  assert.match(move.hint ?? "", "quorate cluster status");
  assert.not.match(move.hint ?? "", /PUT|DELETE/);
  const space = await lostBy((client) => client.putNamespace("a", {}));
  assert.match(space.hint ?? "", "GET /v1/namespaces");
  const plan = await lostBy((client) => client.plan({ drain: ["n2"] }));
  assert.is(plan.outcome, undefined, "a plan changes nothing");
});

test.run();
