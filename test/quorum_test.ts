/**
 * The machines of writes and reads: tables of answers and what they lead to, and a model cluster in
 * which the promises are checked on what clients saw. The model has to catch each mutant, which
 * switches one rule off, within a stated number of seeds; so it is known to see what it looks for.
 */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Hlc, hlcAt } from "../src/hlc.ts";
import { majority } from "../src/level.ts";
import { WriteQuorum } from "../src/quorum.ts";
import type { Lost, ReadReply, RefusalReason, WriteReply } from "../src/quorum_message.ts";
import { AckCount, clocksNeeded, ReadQuorum } from "../src/quorum_read.ts";
import type { Version } from "../src/version.ts";
import { Model, type Mutant } from "./quorum_model.ts";
import { isLong } from "./samples.ts";

const test = suite("quorum");

const version = (stamp: number, origin = 1n): Version => ({ hlc: hlcAt(stamp), origin });
const took: WriteReply = { kind: "took" };
const superseded = (stamp: number): WriteReply => ({ kind: "superseded", version: version(stamp) });
const refused = (reason: RefusalReason): WriteReply & ReadReply => ({
  kind: "refused",
  reason,
  detail: "",
});
const lost: Lost = { kind: "lost", mayHold: true, detail: "" };
const unsent: Lost = { kind: "lost", mayHold: false, detail: "" };

function writing(replicas: number, needed: number): WriteQuorum {
  return new WriteQuorum({ replicas, needed, isStrict: needed > replicas / 2 });
}

test("W3: a write is done when w replicas took it, and not before", () => {
  for (const [replicas, needed] of [
    [1, 1],
    [3, 1],
    [3, 2],
    [3, 3],
    [5, 3],
    [4, 3],
  ] as const) {
    const quorum = writing(replicas, needed);
    for (let replica = 0; replica < needed; replica += 1) {
      const decision = quorum.step(replica, 0, took, true);
      assert.is(
        decision.kind,
        replica + 1 === needed ? "done" : "wait",
        `${replica + 1} of ${needed}`,
      );
    }
  }
});

test("W3: the second version is minted once w have answered, above all that they named", () => {
  const quorum = writing(3, 2);
  assert.is(quorum.step(0, 0, superseded(7), true).kind, "wait", "one answer is not two");
  const again = quorum.step(1, 0, superseded(9), true);
  assert.equal(again, { kind: "again", above: version(9) });
  assert.is(quorum.step(2, 0, took, true).kind, "wait", "while it is minted, nothing is decided");
  quorum.second();
  assert.is(quorum.step(0, 1, took, true).kind, "wait");
  assert.equal(quorum.step(1, 1, superseded(30), true), { kind: "done", acks: 2 });
});

test("W3: a late took of the first version does not count once the second was sent", () => {
  const quorum = writing(3, 2);
  quorum.step(0, 0, superseded(7), true);
  quorum.step(1, 0, took, true);
  quorum.second();
  quorum.step(1, 1, took, true);
  assert.is(quorum.step(2, 0, took, true).kind, "wait");
  assert.is(quorum.step(2, 1, took, true).kind, "done");
});

test("W3: a refusal below a promise is an answer that names its stamp; there is no third version", () => {
  const quorum = writing(3, 2);
  quorum.step(0, 0, { kind: "later", stamp: hlcAt(50) }, true);
  const again = quorum.step(1, 0, superseded(9), true);
  assert.equal(again, { kind: "again", above: { hlc: hlcAt(50), origin: 0n } });
  quorum.second();
  quorum.step(0, 1, { kind: "later", stamp: hlcAt(90) }, true);
  const failed = quorum.step(1, 1, { kind: "later", stamp: hlcAt(90) }, true);
  assert.equal(failed, {
    kind: "failed",
    slug: "write-quorum-not-met",
    outcome: "unknown",
    acks: 0,
  });
});

test("an answer that comes twice is counted once", () => {
  const quorum = writing(3, 2);
  quorum.step(0, 0, took, true);
  assert.is(quorum.step(0, 0, took, true).kind, "wait");
  assert.is(quorum.step(0, 0, superseded(9), true).kind, "wait");
});

test("I4: who does not count adds to no strict write, and its version is still minted above", () => {
  const quorum = writing(3, 2);
  quorum.step(0, 0, took, false);
  assert.is(quorum.step(1, 0, took, true).kind, "wait");
  assert.is(quorum.step(2, 0, refused("overloaded"), true).kind, "failed");
  assert.is(quorum.outcome, "partial");
  const named = writing(3, 2);
  named.step(0, 0, superseded(99), false);
  named.step(1, 0, superseded(9), true);
  assert.equal(named.step(2, 0, took, true), { kind: "again", above: version(99) });
  assert.is(writing(3, 1).step(0, 0, took, false).kind, "done", "w = 1 promises nothing (L1)");
});

test("W5, P7: what cannot succeed fails at once, with what is known", () => {
  type Row = readonly [
    replies: readonly (WriteReply | Lost)[],
    outcome: string,
    slug: string,
    hints: readonly number[],
  ];
  const table: readonly Row[] = [
    [[unsent, unsent], "unknown", "write-quorum-not-met", [0, 1, 2]],
    // The third said so after the decision: the client was told what was known.
    [[unsent, unsent, unsent], "unknown", "write-quorum-not-met", []],
    [[took, unsent, lost], "partial", "write-quorum-not-met", [1, 2]],
    [[lost, lost], "unknown", "write-quorum-not-met", [0, 1, 2]],
    [[superseded(9), lost, lost], "unknown", "write-quorum-not-met", [1, 2]],
    [
      [{ ...refused("failed"), mayHold: true }, unsent],
      "unknown",
      "write-quorum-not-met",
      [0, 1, 2],
    ],
  ];
  for (const [replies, outcome, slug, hints] of table) {
    const quorum = writing(3, 2);
    for (const [replica, reply] of replies.entries()) quorum.step(replica, 0, reply, true);
    const { decision } = quorum;
    assert.is(decision.kind, "failed", JSON.stringify(replies.map(({ kind }) => kind)));
    if (decision.kind !== "failed") throw new Error("unreachable");
    assert.is(decision.outcome, outcome);
    assert.is(decision.slug, slug);
    assert.equal(quorum.hints, hints);
  }
});

test("P7: when all have refused, the outcome becomes none, no hint is kept, and the one reason is told", () => {
  for (const [reasons, slug] of [
    [["disk-full", "disk-full", "disk-full"], "disk-full"],
    [["overloaded", "overloaded", "overloaded"], "overloaded"],
    [["clock-skew", "clock-skew", "clock-skew"], "write-quorum-not-met"],
    [["disk-full", "overloaded", "disk-full"], "write-quorum-not-met"],
  ] as const) {
    const quorum = writing(3, 3);
    const quorumOfOne = writing(1, 1);
    for (const [replica, reason] of reasons.entries()) {
      quorum.step(replica, 0, refused(reason), true);
    }
    assert.is(quorum.outcome, "none");
    assert.equal(quorum.hints, []);
    const alone = quorumOfOne.step(0, 0, refused(reasons[0]), true);
    if (alone.kind !== "failed") throw new Error("it has failed");
    assert.is(alone.outcome, "none");
    if (reasons[0] === reasons[1]) assert.is(alone.slug, slug);
  }
});

test("P7: at the deadline silence is unknown, one acknowledgement partial", () => {
  const silent = writing(3, 2);
  assert.equal(silent.expire(), { kind: "failed", slug: "timeout", outcome: "unknown", acks: 0 });
  const one = writing(3, 2);
  one.step(1, 0, took, true);
  assert.equal(one.expire(), { kind: "failed", slug: "timeout", outcome: "partial", acks: 1 });
  assert.equal(one.hints, [0, 2]);
});

test("H1: a hint is needed for all who did not answer the last version, also after success", () => {
  const quorum = writing(3, 2);
  quorum.step(0, 0, superseded(7), true);
  quorum.step(1, 0, took, true);
  quorum.second();
  quorum.step(0, 1, took, true);
  quorum.step(1, 1, superseded(99), true);
  assert.equal(quorum.hints, [2]);
  quorum.step(2, 0, took, true);
  assert.equal(quorum.hints, [2], "it took the first version, not the last");
  quorum.step(2, 1, took, true);
  assert.equal(quorum.hints, []);
  assert.ok(quorum.isComplete);
});

test("T2: a round sent again under a newer topology counts no answer of before", () => {
  const quorum = writing(3, 2);
  quorum.step(0, 0, took, true);
  quorum.restart({ replicas: 3, needed: 2, isStrict: true });
  assert.is(quorum.step(1, 1, took, true).kind, "wait");
  assert.is(quorum.step(2, 0, took, true).kind, "wait");
  assert.is(quorum.step(2, 1, took, true).kind, "done");
  const refusedAfter = writing(3, 2);
  refusedAfter.step(0, 0, took, true);
  refusedAfter.restart({ replicas: 1, needed: 1, isStrict: true });
  const failed = refusedAfter.step(0, 1, refused("not-ready"), true);
  assert.is(failed.kind === "failed" && failed.outcome, "partial", "the first round left it there");
});

function reading(replicas: number, needed: number): ReadQuorum {
  const quorum = new ReadQuorum(
    { replicas, needed, isStrict: needed > replicas / 2 },
    hlcAt(0) as Hlc,
  );
  for (let replica = 0; replica < replicas; replica += 1) quorum.ask(replica);
  return quorum;
}
const found = (stamp: number): ReadReply => ({
  kind: "found",
  version: version(stamp),
  tombstone: false,
});
const nothing: ReadReply = { kind: "nothing" };

test("R1: what a strict read answers is at m replicas first, whatever its own r", () => {
  const table = [
    [2, 2, [nothing, found(5)], 1],
    [2, 2, [found(5), found(5)], 0],
    [3, 2, [found(5), found(5)], 0],
    [3, 2, [found(5), found(4)], 1],
    [3, 2, [nothing, found(5)], 1],
    [3, 2, [nothing, nothing], 0],
    [3, 3, [found(5), found(4), nothing], 1],
    [4, 3, [found(5), nothing, nothing], 2],
    [4, 3, [found(5), found(5), nothing], 1],
    [5, 3, [found(5), nothing, nothing], 2],
    [5, 5, [found(5), found(5), nothing, nothing, nothing], 1],
    [3, 1, [found(5)], 0],
    [1, 1, [found(5)], 0],
  ] as const;
  for (const [replicas, needed, replies, writeBack] of table) {
    const quorum = reading(replicas, needed);
    for (const [replica, reply] of replies.entries()) quorum.step(replica, reply, true, undefined);
    const { decision } = quorum;
    if (decision.kind !== "answer") throw new Error(`no answer for ${needed} of ${replicas}`);
    assert.is(decision.writeBack, writeBack, `${needed} of ${replicas}`);
  }
});

test("R1: what a read has answered is found after one left: by who is filled, and by every majority", () => {
  for (let n = 1; n <= 9; n += 1) {
    const holders = majority(n);
    // T5, I4: who is filled asks n-m+1 of those that were there.
    assert.ok(holders + (n - majority(n) + 1) > n);
    if (n > 1) assert.ok(holders - 1 + majority(n - 1) > n - 1, `n = ${n}`);
  }
});

test("R3: every majority has one of n-m+1", () => {
  assert.equal([1, 2, 3, 4, 5, 6].map(clocksNeeded), [1, 1, 2, 2, 3, 3]);
  for (let n = 1; n <= 9; n += 1) assert.ok(clocksNeeded(n) + majority(n) > n);
});

test("R4: refusals and answers that do not count are no answers; fewer than r left fails at once", () => {
  const quorum = reading(3, 2);
  assert.is(quorum.step(0, found(9), false, undefined).kind, "wait");
  assert.is(quorum.step(1, refused("not-ready"), true, undefined).kind, "failed");
  const hedged = new ReadQuorum({ replicas: 3, needed: 2, isStrict: true }, hlcAt(0));
  assert.is(hedged.toAsk, 2);
  hedged.ask(0);
  hedged.ask(1);
  assert.is(hedged.toAsk, 0);
  hedged.step(1, lost, false, undefined);
  assert.is(hedged.toAsk, 1, "another is asked in its place");
});

test("R2: a live record below a watermark does not count beside a tombstone there, dropped or not, nor its older value", () => {
  const mark = { watermark: hlcAt(9) };
  for (const deleted of [nothing, { ...found(7), tombstone: true } as ReadReply]) {
    const quorum = reading(3, 2);
    quorum.step(0, { ...deleted, ...mark }, true, undefined);
    const decision = quorum.step(1, found(5), true, undefined);
    assert.is(decision.kind, "wait", "the one that is behind does not count");
    assert.equal(quorum.overruled, [1]);
    const decided = quorum.step(2, { ...nothing, ...mark }, true, undefined);
    assert.ok(decided.kind === "answer" && decided.found === undefined);
  }
  const live = reading(3, 2);
  live.step(0, { ...found(7), ...mark }, true, undefined);
  live.step(1, found(5), true, undefined);
  assert.equal(live.overruled, []);
});

test("R3: expiry is judged by the latest clock among the reader's own and the replies'", () => {
  const quorum = reading(3, 2);
  assert.not.ok(quorum.isExpired(100));
  quorum.step(0, found(1), true, hlcAt(99));
  assert.not.ok(quorum.isExpired(100));
  quorum.step(1, refused("not-ready"), false, hlcAt(100));
  assert.ok(quorum.isExpired(100));
  assert.not.ok(quorum.isExpired(undefined));
});

test("R2, R3: what is over below a watermark is nothing, and by when it was over is told", () => {
  const read = (answers: readonly ReadReply[], clockMs: number) => {
    const quorum = reading(3, 2);
    for (const [replica, reply] of answers.entries()) quorum.step(replica, reply, true, undefined);
    const decision = quorum.step(2, refused("not-ready"), false, hlcAt(clockMs));
    if (decision.kind !== "answer") throw new Error("two have answered");
    return [decision.found?.version.hlc, decision.overMs];
  };
  type Found = Extract<ReadReply, { kind: "found" }>;
  const watermark = hlcAt(50);
  const mortal = { ...(found(1) as Found), expiresAtMs: 100, watermark };
  const gone = { ...nothing, watermark };
  assert.equal(read([mortal, mortal], 99), [mortal.version.hlc, undefined]);
  assert.equal(read([mortal, mortal], 100), [undefined, 100]);
  assert.equal(read([mortal, gone], 100), [undefined, 100]);
  assert.equal(read([gone, gone], 100), [undefined, undefined]);
  const deleted = { ...(found(2) as Found), tombstone: true, watermark };
  assert.equal(read([mortal, deleted], 100), [undefined, undefined]);
});

test("R2: what is over below a watermark did not count, also of one that answered before it was so far; above, it is the answer", () => {
  const watermark = hlcAt(50);
  for (const [version, clockMs, told] of [
    [1, 100, [0, 1]],
    [1, 99, [1]],
    [60, 100, [1]],
  ] as const) {
    const quorum = reading(3, 2);
    const mortal = { ...found(version), expiresAtMs: 100 } as ReadReply;
    quorum.step(0, mortal, true, undefined);
    const deleted = { ...found(2), tombstone: true, watermark } as ReadReply;
    quorum.step(1, deleted, true, hlcAt(clockMs));
    assert.equal(quorum.forgotten, told, `version ${version} at ${clockMs}`);
  }
});

test("AckCount tells success and failure as soon as they are certain", () => {
  const acks = new AckCount(2, [0, 1, 2]);
  assert.is(acks.step(0, true), "wait");
  assert.is(acks.step(0, true), "wait", "one counts once");
  assert.is(acks.step(1, false), "wait");
  assert.is(acks.step(2, false), "failed");
  assert.is(new AckCount(0, []).verdict, "done");
  assert.is(new AckCount(1, []).verdict, "failed");
});

function firstFound(mutant: Mutant, seedsMax: number): string | undefined {
  for (let seed = 1; seed <= seedsMax; seed += 1) {
    const model = new Model(seed, mutant);
    model.run();
    const [one] = model.found;
    if (one !== undefined) return `seed ${seed}, ${one.promise}: ${one.what}`;
  }
  return undefined;
}

test("P2, P3, P7: hold in the model, on every seed, and its rare paths are taken", () => {
  const marks = new Set<string>();
  for (let seed = 1; seed <= (isLong ? 50_000 : 600); seed += 1) {
    const model = new Model(seed, "none");
    model.run();
    assert.equal(model.found, [], `seed ${seed}`);
    for (const mark of model.marks.keys()) marks.add(mark);
  }
  const expected = "clock skew,failed none,failed partial,failed unknown,hint,minted by V3,read";
  const rest = "second version,wiped,write,write timeout,write-back";
  assert.is([...marks].sort().join(), `${expected},${rest}`);
});

const seedsToCatch: readonly (readonly [Exclude<Mutant, "none">, number])[] = [
  ["mint at the first superseded", 300],
  ["count a late took of the first version", 1000],
  ["no write-back", 100],
  ["write back for r of all: n-r+1", 300],
  ["a hint is an acknowledgement", 20],
  ["count who does not count", 1000],
  ["answer before the sync", 2000],
  ["superseded is success at once", 20],
  ["a lost message was never there", 100],
  ["no second version", 20],
  ["hints after outcome none", 200],
];

for (const [mutant, seedsMax] of seedsToCatch) {
  test(`the model catches '${mutant}' within ${seedsMax} seeds`, () => {
    assert.ok(firstFound(mutant, seedsMax) !== undefined);
  });
}

test.run();
