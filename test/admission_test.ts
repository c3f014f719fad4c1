/**
 * Budgets as formulas, and the whole way of a refusal through a server whose clock a test moves.
 */
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Admission, type AdmissionLimits, Budget } from "../src/admission.ts";
import { QuorateError } from "../src/errors.ts";
import { lagPeriodMs, watchLag } from "../src/lag.ts";
import { HandClock } from "./http_harness.ts";
import { withServer } from "./server_harness.ts";

const test = suite("admission");

const limits: AdmissionLimits = {
  client: { requestsMax: 2, bytesMax: 100 },
  replication: { requestsMax: 2, bytesMax: 100 },
  hint: { requestsMax: 1, bytesMax: 10 },
  lagMsMax: 200,
};

function thrownBy(run: () => void): QuorateError {
  try {
    run();
  } catch (error) {
    return QuorateError.from(error);
  }
  throw new Error("nothing was thrown");
}

test("Budget.refusal() refuses the request past the last one, until one has ended", () => {
  const budget = new Budget(limits.client);
  budget.begin();
  assert.is(budget.refusal(), undefined);
  budget.begin();
  const refusal = budget.refusal();
  assert.is(refusal?.slug, "overloaded");
  assert.is(refusal?.outcome, "none");
  assert.is(refusal?.facts.retryAfterSeconds, 1);
  budget.end();
  assert.is(budget.refusal(), undefined);
});

test("Budget.take() holds bytes up to the limit, and a refusal takes none", () => {
  const budget = new Budget(limits.client);
  budget.take(60);
  assert.is(thrownBy(() => budget.take(41)).slug, "overloaded");
  assert.is(budget.bytes, 60);
  budget.take(40);
  budget.give(100);
  assert.is(budget.bytes, 0);
});

test("Budget.admit() takes a request with its bytes, or neither of them", () => {
  const budget = new Budget(limits.client);
  assert.is(budget.admit(60), undefined);
  assert.is(budget.admit(41)?.slug, "overloaded");
  assert.equal([budget.requests, budget.bytes], [1, 60]);
  assert.is(budget.admit(40), undefined);
  assert.match(budget.admit(0)?.detail ?? "", /2 requests/);
  assert.equal([budget.requests, budget.bytes], [2, 100]);
  budget.leave(60);
  budget.leave(40);
  assert.equal([budget.requests, budget.bytes], [0, 0]);
});

test("Budget.admit() takes a request that comes alone, however much it holds", () => {
  const budget = new Budget(limits.client);
  assert.is(budget.admit(101), undefined);
  assert.is(budget.admit(1)?.slug, "overloaded");
  budget.leave(101);
  assert.is(budget.admit(1), undefined);
  assert.is(budget.admit(101)?.slug, "overloaded", "it waits until the others are done");
  budget.leave(1);
  assert.equal([budget.requests, budget.bytes], [0, 0]);
});

test("a budget never holds more than its limit, and all that was taken can be given back", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(50)), (asked) => {
      const budget = new Budget(limits.client);
      const taken: number[] = [];
      for (const bytes of asked) {
        try {
          budget.take(bytes);
          taken.push(bytes);
        } catch (error) {
          assert.is(QuorateError.from(error).slug, "overloaded");
        }
        assert.ok(budget.bytes <= 100);
      }
      for (const bytes of taken) budget.give(bytes);
      assert.is(budget.bytes, 0);
    }),
  );
});

test("what is given back twice is a broken invariant", () => {
  const budget = new Budget(limits.client);
  assert.throws(() => budget.end(), /ends once/);
  assert.throws(() => budget.give(1), /given back once/);
});

test("each class of work has a budget of its own", () => {
  const admission = new Admission(limits);
  admission.hint.begin();
  assert.is(admission.hint.refusal()?.slug, "overloaded");
  assert.is(admission.client.refusal(), undefined);
  assert.is(admission.replication.refusal(), undefined);
});

test("one pause refuses nobody; a loop that stays late refuses clients, and replication never", () => {
  const admission = new Admission(limits);
  // A process that was stopped for ten minutes and goes on.
  admission.observeLag(600_000);
  assert.is(admission.client.refusal(), undefined, "80 ms, smoothed");
  for (let count = 0; count < 4; count += 1) admission.observeLag(900);
  assert.match(admission.client.refusal()?.detail ?? "", "ms late; 200 ms are allowed");
  assert.is(admission.replication.refusal(), undefined);
  assert.is(admission.hint.refusal(), undefined);
  for (let count = 0; count < 3; count += 1) admission.observeLag(0);
  assert.is(admission.client.refusal(), undefined, "it is over");
  const never = new Admission({ ...limits, lagMsMax: 0 });
  never.observeLag(1_000_000);
  assert.is(never.client.refusal(), undefined);
});

test("watchLag() tells how late each timer was, until it is stopped", () => {
  const clock = new HandClock();
  const heard: number[] = [];
  const stop = watchLag(clock, (lateMs) => heard.push(lateMs));
  clock.advance(lagPeriodMs);
  clock.advance(lagPeriodMs + 70);
  assert.equal(heard, [0, 70]);
  stop();
  clock.advance(1000);
  assert.equal(heard, [0, 70]);
  assert.is(clock.timers, 0);
});

const late = new Admission(limits);

test(
  "a server refuses with 503 and Retry-After while the loop is late, over HTTP and over RPC",
  withServer(
    async ({ url, api }) => {
      const get = () => fetch(`${url}/v1/kv/default/k`);
      assert.is((await get()).status, 404);
      for (let count = 0; count < 20; count += 1) late.observeLag(1000);
      const asked = api.requests.length;
      const refused = await get();
      assert.is(refused.status, 503);
      assert.is(refused.headers.get("retry-after"), "1");
      const problem = (await refused.json()) as { readonly type: string; requestId: string };
      assert.is(problem.type, "/problems/overloaded");
      assert.is(problem.requestId, refused.headers.get("quorate-request-id"));
      const rpc = await fetch(`${url}/kv.KVStore/Get`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: '{"key":"k"}',
      });
      assert.is(rpc.status, 503);
      assert.is(((await rpc.json()) as { readonly code: string }).code, "unavailable");
      assert.is(api.requests.length, asked, "the node was not asked");
      for (let count = 0; count < 20; count += 1) late.observeLag(0);
      assert.is((await get()).status, 404);
      assert.is(late.client.requests, 0);
    },
    { admission: late },
  ),
);

test.run();
