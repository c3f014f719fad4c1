/** Who waits to be taken in, and for how long they are known to. */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { Waiting } from "../src/cluster_waiting.ts";
import type { MemberFacts } from "../src/topology_steps.ts";

const test = suite("cluster waiting");
const waitingMax = 64;

function facts(number: number): MemberFacts {
  const nodeId = number.toString(16).padStart(32, "0");
  return { nodeId, storeId: nodeId, name: `n${number}`, addresses: [`10.0.0.1:${number}`] };
}

const isNoMember = (): boolean => false;

test("Waiting: at most 64 are known, and one of these may ask again", () => {
  const waiting = new Waiting(new SimClock());
  for (let number = 1; number <= waitingMax; number += 1) assert.ok(waiting.note(facts(number)));
  assert.not(waiting.note(facts(waitingMax + 1)));
  assert.ok(waiting.note(facts(1)));
  assert.is(waiting.list(isNoMember).length, waitingMax);
});

test("Waiting: who has not asked for a while keeps nobody out, though nobody looked at the list", async () => {
  const clock = new SimClock();
  const waiting = new Waiting(clock);
  for (let number = 1; number <= waitingMax; number += 1) waiting.note(facts(number));
  await clock.advance(20_000);
  const late = facts(waitingMax + 1);
  assert.ok(waiting.note(late));
  assert.equal(waiting.list(isNoMember), [late]);
});

test("Waiting: who was started again with another empty folder is the one of its name that waits", async () => {
  const clock = new SimClock();
  const waiting = new Waiting(clock);
  const [before, after] = [facts(1), { ...facts(2), name: "n1" }];
  waiting.note(before);
  await clock.advance(5000);
  waiting.note(after);
  assert.equal(waiting.list(isNoMember), [after], "a plan would wait for ever for the other one");
  waiting.note(before);
  assert.equal(waiting.list(isNoMember), [before, after], "there are two, and both ask");
});

test("Waiting: of two of one name that both ask, each is told of at any time", async () => {
  const clock = new SimClock();
  const waiting = new Waiting(clock);
  const [often, seldom] = [facts(1), { ...facts(2), name: "n1" }];
  // Who asks where nobody is tells the others at these seconds, see `cluster_asking`.
  const seconds = [0, 2, 4, 6, 8, 11, 13];
  for (let second = 0; second <= 13; second += 1) {
    waiting.note(often);
    assert.is(waiting.list(isNoMember).length, second === 0 ? 1 : 2, `at ${second} s`);
    if (seconds.includes(second)) waiting.note(seldom);
    await clock.advance(1000);
  }
});

test("Waiting: who asks from an address of another one takes its place, and nobody else's", () => {
  const waiting = new Waiting(new SimClock());
  const before = { ...facts(1), addresses: ["10.0.0.1:1", "[::1]:1"] };
  const other = { ...facts(2), name: before.name };
  const after = { ...facts(3), name: before.name, addresses: ["10.9.9.9:1", "[::1]:1"] };
  for (const one of [before, other, after]) assert.ok(waiting.note(one));
  assert.equal(waiting.list(isNoMember), [other, after]);
  assert.ok(waiting.note(after));
  assert.equal(waiting.list(isNoMember), [other, after]);
});

test.run();
