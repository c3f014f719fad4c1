/**
 * Watermark: the decisions of a round, and a round over replicas in memory that fail in every place.
 */
import * as fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { silentReport } from "../src/capability.ts";
import { guardMs, type Hlc, hlcAt } from "../src/hlc.ts";
import { type RoundReplica, WatermarkRound } from "../src/node_watermark_round.ts";
import {
  adopted,
  type Fence,
  isConfirmed,
  isDroppable,
  noFence,
  planRound,
  promised,
  type ReplicaState,
} from "../src/watermark.ts";

const test = suite("watermark");
const startMs = 1_700_000_000_000;
const lagMs = 1000;
const u32 = fc.nat(2 ** 31);
const stamp = u32.map((ms) => hlcAt(ms));

function stateOf(more: Partial<ReplicaState> = {}): ReplicaState {
  return { ...noFence, storeId: "a", boot: 1, counts: true, clockMs: startMs, ...more };
}

test("a fence never goes back, and its promise is never below its watermark", () => {
  const steps = fc.array(fc.tuple(fc.boolean(), stamp), { maxLength: 20 });
  fc.assert(
    fc.property(steps, (all) => {
      let fence: Fence = noFence;
      for (const [isPromise, to] of all) {
        const next = isPromise ? promised(fence, to) : adopted(fence, to);
        assert.ok(next.promise >= fence.promise && next.watermark >= fence.watermark);
        assert.ok(next.promise >= next.watermark);
        assert.ok((isPromise ? next.promise : next.watermark) >= to);
        fence = next;
      }
    }),
  );
});

test("G3: T is below every replica's clock by the guard and the longest deadline", () => {
  const clocks = fc.array(u32, { minLength: 1, maxLength: 5 });
  fc.assert(
    fc.property(clocks, fc.nat(10_000), (all, lag) => {
      const plan = planRound(
        all.map((ms) => stateOf({ clockMs: startMs + ms })),
        lag,
      );
      if ("why" in plan) throw new Error(plan.why);
      assert.is(plan.stamp, hlcAt(startMs + Math.min(...all) - guardMs - lag));
    }),
  );
});

test("a round has no T where a replica does not count, or where the watermark is as late already", () => {
  const has = (...states: readonly ReplicaState[]) => "stamp" in planRound(states, lagMs);
  assert.ok(has(stateOf(), stateOf()));
  assert.not(has(stateOf(), stateOf({ counts: false })));
  assert.not(has(stateOf({ clockMs: 100 })));
  const latest = hlcAt(startMs - guardMs - lagMs);
  assert.not(has(stateOf(), stateOf({ watermark: latest })));
  const plan = planRound([stateOf(), stateOf({ watermark: (latest - 1n) as Hlc })], lagMs);
  assert.equal(plan, { stamp: latest, adopt: latest - 1n });
});

test("G2: a round reaches a promise that clocks left behind when they were set back: its hints go then", async () => {
  const promise = hlcAt(startMs + 3_600_000);
  const ahead = stateOf({ promise });
  assert.equal(planRound([ahead, stateOf()], lagMs), { stamp: promise, adopt: 0n });
  const { all, run } = round();
  (all[2] as FakeReplica).fence = { promise, watermark: 0n as Hlc };
  assert.equal(await run(), { raised: promise });
  for (const { fence } of all) assert.equal(fence, { promise, watermark: promise });
  const reached = stateOf({ promise, watermark: promise });
  assert.not("stamp" in planRound([reached, reached], lagMs), "until the clocks are there");
});

test("G2: a confirmation is of the same store and start, which counts, and stands by its promise", () => {
  const plan = { stamp: hlcAt(startMs), adopt: 0n as Hlc };
  const before = [stateOf(), stateOf({ storeId: "b" })];
  const good = before.map((state) => ({ ...state, promise: plan.stamp }));
  assert.ok(isConfirmed(before, good, plan));
  const later = { promise: hlcAt(startMs + 1) };
  assert.ok(
    isConfirmed(
      before,
      [{ ...(good[0] as ReplicaState), ...later }, good[1] as ReplicaState],
      plan,
    ),
  );
  for (const wrong of [
    { storeId: "c" },
    { boot: 2 },
    { counts: false },
    { promise: (plan.stamp - 1n) as Hlc },
  ]) {
    assert.not(
      isConfirmed(
        before,
        [good[0] as ReplicaState, { ...(good[1] as ReplicaState), ...wrong }],
        plan,
      ),
    );
  }
  assert.not(isConfirmed(before, good.slice(1), plan), "one is missing");
});

test("G5: what is deleted below the watermark is droppable, what is over a guard after its end, and nothing else", () => {
  const watermark = hlcAt(startMs);
  const below = { version: { hlc: (watermark - 1n) as Hlc, origin: 1n }, tombstone: false };
  const at = { version: { hlc: watermark, origin: 1n }, tombstone: false };
  const nowMs = startMs + 3_600_000_000;
  assert.ok(isDroppable({ ...below, tombstone: true }, watermark, 0));
  assert.not(isDroppable({ ...at, tombstone: true }, watermark, nowMs), "however old it is");
  assert.not(isDroppable(below, watermark, nowMs), "it lives");
  assert.ok(isDroppable({ ...below, expiresAtMs: nowMs - guardMs }, watermark, nowMs));
  assert.not(isDroppable({ ...below, expiresAtMs: nowMs - guardMs + 1 }, watermark, nowMs));
  assert.not(isDroppable({ ...at, expiresAtMs: 1 }, watermark, nowMs));
});

/** A replica in memory that notes what it is asked, and fails when it is told to. */
class FakeReplica implements RoundReplica {
  readonly name: string;
  fence: Fence = noFence;
  counts = true;
  isGone = false;
  storeId: string;
  readonly asked: string[];

  constructor(name: string, asked: string[]) {
    this.name = name;
    this.storeId = name;
    this.asked = asked;
  }

  async ask(adopt: Hlc, promise: Hlc): Promise<ReplicaState> {
    if (this.isGone) throw new Error("it is gone");
    this.asked.push(
      `${this.name} ${adopt === 0n ? (promise === 0n ? "tell" : "promise") : "adopt"}`,
    );
    this.fence = promised(adopted(this.fence, adopt), promise);
    const { name: _name, fence, counts, storeId } = this;
    return { ...fence, counts, storeId, boot: 1, clockMs: startMs };
  }
}

function round(
  onCompare: (pass: number, other: FakeReplica, all: readonly FakeReplica[]) => boolean = () =>
    true,
) {
  const asked: string[] = [];
  const all = ["n1", "n2", "n3"].map((name) => new FakeReplica(name, asked));
  const [own, ...others] = all as [FakeReplica, ...FakeReplica[]];
  let compared = 0;
  const state = { mayGoOn: true };
  const run = () =>
    new WatermarkRound({
      ...{ report: silentReport, own, others, lagMs, mayGoOn: () => state.mayGoOn },
      compare: async (other) => {
        asked.push(`compare ${other.name}`);
        compared += 1;
        return onCompare(Math.ceil(compared / 2), other as FakeReplica, all);
      },
    }).run();
  return { all, asked, state, run };
}

test("G2: a round tells, promises, compares twice with each, confirms, and then adopts, its leader first", async () => {
  const { all, asked, run } = round();
  const result = await run();
  const raised = hlcAt(startMs - guardMs - lagMs);
  assert.equal(result, { raised });
  const each = (what: string) => ["n1", "n2", "n3"].map((name) => `${name} ${what}`);
  assert.equal(asked, [
    ...each("tell"),
    ...each("promise"),
    ...["compare n2", "compare n3", "compare n2", "compare n3"],
    ...each("tell"),
    ...each("adopt"),
  ]);
  for (const { fence } of all) assert.equal(fence, { promise: raised, watermark: raised });
});

test("G4: a round that anything befalls raises nothing, and its promises stay", async () => {
  const befalls: readonly ((one: FakeReplica, all: readonly FakeReplica[]) => void)[] = [
    (one) => {
      one.isGone = true;
    },
    (one) => {
      one.counts = false;
    },
    (one) => {
      one.storeId = "another";
    },
    (one) => {
      one.fence = noFence;
    },
  ];
  for (const befall of befalls) {
    for (const pass of [1, 2]) {
      for (const at of [0, 1, 2]) {
        const { all, run } = round((now, _other, replicas) => {
          if (now === pass) befall(replicas[at] as FakeReplica, replicas);
          return true;
        });
        assert.ok("why" in (await run()));
        for (const { fence } of all) assert.is(fence.watermark, 0n);
      }
    }
  }
  const { all, run } = round((pass) => pass < 2);
  assert.match(((await run()) as { why: string }).why, "broken off");
  const promise = hlcAt(startMs - guardMs - lagMs);
  for (const { fence } of all) assert.equal(fence, { promise, watermark: 0n });
  const changed = round((_pass, _other) => true);
  changed.state.mayGoOn = false;
  assert.equal(await changed.run(), { why: "the topology has changed" });
});

test("G2: where its leader cannot keep its promise nobody else makes one: it would lead no round for that", async () => {
  const { all, run } = round();
  const [own] = all as [FakeReplica];
  const { ask } = own;
  own.ask = async (adopt, promise) => {
    if (promise > 0n) throw new Error("its disk is full");
    return ask.call(own, adopt, promise);
  };
  assert.match(((await run()) as { why: string }).why, "n1 does not take part");
  for (const { fence } of all) assert.equal(fence, noFence);
});

test("G5: before they compare all adopt the highest watermark that one of them has", async () => {
  const { all, asked, run } = round();
  const watermark = hlcAt(startMs - 5000);
  (all[1] as FakeReplica).fence = { promise: watermark, watermark };
  assert.ok("raised" in (await run()));
  assert.equal(asked.slice(3, 6), ["n1 adopt", "n2 adopt", "n3 adopt"]);
});

test.run();
