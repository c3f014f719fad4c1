/**
 * Steps of voter and proposer one by one, then whole schedules drawn from a seed: messages lost,
 * doubled and reordered, voters that crash and lose what was not synced, proposers that are started
 * again and remember nothing. At most one value is ever chosen, and in a quiet network one is. Two
 * faults put in on purpose show that the schedules would find a second value.
 */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimRandom } from "../sim/random.ts";
import {
  type Accepted,
  type Ballot,
  compareBallots,
  Proposer,
  parseVoterReply,
  parseVoterRequest,
  parseVoterState,
  stepVoter,
  type VoterReply,
  type VoterRequest,
  type VoterState,
} from "../src/register.ts";
import { isLong } from "./samples.ts";

const test = suite("register");

function idOf(number: number): string {
  return number.toString(16).padStart(32, "0");
}

function ballotOf(round: number, number = 1): Ballot {
  return { round, nodeId: idOf(number) };
}

test("stepVoter: promises a higher ballot, and tells what it accepted", () => {
  const first = stepVoter({}, { kind: "prepare", ballot: ballotOf(1) });
  assert.equal(first.reply, { kind: "promised", ballot: ballotOf(1) });
  const second = stepVoter(first.state, { kind: "accept", ballot: ballotOf(1), value: "x" });
  assert.equal(second.reply, { kind: "accepted", ballot: ballotOf(1) });
  const third = stepVoter(second.state, { kind: "prepare", ballot: ballotOf(2, 0) });
  const accepted = { ballot: ballotOf(1), value: "x" };
  assert.equal(third.reply, { kind: "promised", ballot: ballotOf(2, 0), accepted });
});

test("stepVoter: refuses a lower ballot, and the same ballot a second time, with the highest", () => {
  const { state } = stepVoter({}, { kind: "prepare", ballot: ballotOf(5) });
  for (const ballot of [ballotOf(4, 9), ballotOf(5, 0), ballotOf(5)]) {
    const { state: after, reply } = stepVoter(state, { kind: "prepare", ballot });
    assert.equal(reply, { kind: "nack", ballot, promised: ballotOf(5) });
    assert.is(after, state, "nothing is to be made durable");
  }
  const low = stepVoter(state, { kind: "accept", ballot: ballotOf(4), value: "x" });
  assert.is(low.reply.kind, "nack");
  assert.is(low.state, state);
});

test("stepVoter: answers an accept that comes twice again, and changes nothing", () => {
  const request = { kind: "accept", ballot: ballotOf(3), value: "x" } as const;
  const once = stepVoter({}, request);
  const twice = stepVoter(once.state, request);
  assert.is(twice.state, once.state);
  assert.equal(twice.reply, once.reply);
});

test("Proposer: proposes the value that was accepted under the highest ballot, not its own", () => {
  const proposer = new Proposer(ballotOf(9), [idOf(1), idOf(2), idOf(3)], "own");
  const promised = (round: number, value: string): VoterReply => ({
    kind: "promised",
    ballot: ballotOf(9),
    accepted: { ballot: ballotOf(round), value },
  });
  assert.equal(proposer.step(idOf(1), promised(7, "newer")), { kind: "wait" });
  assert.equal(proposer.step(idOf(1), promised(7, "newer")), { kind: "wait" }, "told twice");
  assert.not(proposer.hasProposed);
  const request = { kind: "accept", ballot: ballotOf(9), value: "newer" };
  assert.equal(proposer.step(idOf(2), promised(3, "older")), { kind: "ask", request });
  assert.equal(proposer.step(idOf(3), promised(8, "late")), { kind: "wait" });
  assert.ok(proposer.hasProposed);
  const accepted: VoterReply = { kind: "accepted", ballot: ballotOf(9) };
  assert.equal(proposer.step(idOf(1), accepted), { kind: "wait" });
  assert.equal(proposer.step(idOf(1), accepted), { kind: "wait" });
  assert.equal(
    proposer.step(idOf(8), accepted),
    { kind: "wait" },
    "from a node that does not vote",
  );
  assert.equal(proposer.step(idOf(3), accepted), { kind: "chosen", value: "newer" });
});

test("Proposer: is beaten when no majority is left, and names the highest round", () => {
  const proposer = new Proposer(ballotOf(2), [idOf(1), idOf(2), idOf(3)], "own");
  const nack = (round: number): VoterReply => ({
    kind: "nack",
    ballot: ballotOf(2),
    promised: ballotOf(round, 2),
  });
  assert.equal(proposer.step(idOf(1), nack(4)), { kind: "wait" });
  assert.equal(proposer.step(idOf(2), nack(7)), { kind: "beaten", round: 7 });
});

test("Proposer: a refusal of its own prepare that came twice is nobody else's ballot", () => {
  const proposer = new Proposer(ballotOf(2), [idOf(1)], "own");
  const nack: VoterReply = { kind: "nack", ballot: ballotOf(2), promised: ballotOf(2) };
  assert.equal(proposer.step(idOf(1), nack), { kind: "wait" });
});

test("parseVoterRequest, parseVoterReply, parseVoterState: take what is sent, and nothing else", () => {
  const ballot = ballotOf(1);
  const accepted: Accepted = { ballot, value: { epoch: 2 } };
  const through = (value: unknown): unknown => JSON.parse(JSON.stringify(value));
  const requests: VoterRequest[] = [
    { kind: "prepare", ballot },
    { kind: "accept", ballot, value: 1 },
  ];
  for (const request of requests) assert.equal(parseVoterRequest(through(request)), request);
  const replies: VoterReply[] = [
    { kind: "promised", ballot },
    { kind: "promised", ballot, accepted },
    { kind: "accepted", ballot },
    { kind: "nack", ballot, promised: ballotOf(2) },
  ];
  for (const reply of replies) assert.equal(parseVoterReply(through(reply)), reply);
  const states: VoterState[] = [{}, { promised: ballot }, { promised: ballot, accepted }];
  for (const state of states) assert.equal(parseVoterState(through(state)), state);
  const wrong: unknown[] = [
    undefined,
    null,
    [],
    "prepare",
    { kind: "prepare" },
    { kind: "prepare", ballot: { round: -1, nodeId: idOf(1) } },
    { kind: "prepare", ballot: { round: 1, nodeId: "n1" } },
    { kind: "accept", ballot },
    { kind: "nack", ballot },
    { kind: "promised", ballot, accepted: {} },
  ];
  for (const raw of wrong) {
    assert.is(parseVoterRequest(raw), undefined, JSON.stringify(raw));
    assert.is(parseVoterReply(raw), undefined, JSON.stringify(raw));
  }
  for (const raw of [undefined, [], { promised: 1 }, { accepted: { ballot } }]) {
    assert.is(parseVoterState(raw), undefined, JSON.stringify(raw));
  }
});

/** What is done wrong on purpose. */
type Fault = "none" | "answers before it syncs" | "promises a ballot twice";

interface Envelope {
  readonly voter: number;
  readonly proposer: number;
  readonly content: { readonly request: VoterRequest } | { readonly reply: VoterReply };
}

/** A schedule: voters, proposers and what is under way between them. */
class Schedule {
  readonly #random: SimRandom;
  readonly #fault: Fault;
  readonly #voters: { durable: VoterState; volatile: VoterState; unsent: Envelope[] }[];
  readonly #proposers: { machine: Proposer | undefined; round: number }[];
  #network: Envelope[] = [];
  /** ballot -> value and the voters that hold it durably. */
  readonly #accepted = new Map<string, { value: unknown; voters: Set<number> }>();
  readonly chosen = new Set<unknown>();

  constructor(seed: number, fault: Fault) {
    this.#random = new SimRandom(seed);
    this.#fault = fault;
    const count = [1, 3, 3, 4, 5][this.#random.below(5)] ?? 3;
    this.#voters = Array.from({ length: count }, () => ({ durable: {}, volatile: {}, unsent: [] }));
    this.#proposers = Array.from({ length: 3 }, () => ({ machine: undefined, round: 0 }));
  }

  run(steps: number): void {
    for (let step = 0; step < steps; step += 1) this.#act(this.#random.below(100));
  }

  /** Nothing is lost any more, and one proposer goes on until a value is chosen. */
  quiet(): void {
    this.#network = [];
    for (let ballots = 0; this.chosen.size === 0 || ballots === 0; ballots += 1) {
      assert.ok(ballots < 60, "a value is chosen in a quiet network");
      this.#begin(0);
      while (this.#network.length > 0) {
        this.#deliver(0, true);
        this.#voters.forEach((_, voter) => void this.#sync(voter));
      }
    }
  }

  #act(chance: number): void {
    const { length } = this.#network;
    if (chance < 8) this.#begin(this.#random.below(this.#proposers.length));
    else if (chance < 11) this.#crashVoter(this.#random.below(this.#voters.length));
    else if (chance < 16) this.#forget(this.#random.below(this.#proposers.length));
    else if (chance < 40) this.#sync(this.#random.below(this.#voters.length));
    else if (length === 0) return;
    else if (chance < 46) this.#network.splice(this.#random.below(length), 1);
    else this.#deliver(this.#random.below(length), chance >= 56);
  }

  #begin(index: number): void {
    const proposer = this.#proposers[index];
    if (proposer === undefined) return;
    proposer.round = Math.max(proposer.round, proposer.machine?.roundSeen ?? 0) + 1;
    const ballot = ballotOf(proposer.round, index);
    // Each ballot has a value of its own: a proposer that was started again wants something else.
    const value = `value ${this.#random.u32()}`;
    proposer.machine = new Proposer(
      ballot,
      this.#voters.map((_, voter) => idOf(voter)),
      value,
    );
    this.#send(index, proposer.machine.begin());
  }

  #send(proposer: number, request: VoterRequest): void {
    this.#voters.forEach((_, voter) => {
      this.#network.push({ voter, proposer, content: { request } });
    });
  }

  #deliver(index: number, isOnce: boolean): void {
    const envelope = this.#network[index];
    if (envelope === undefined) return;
    if (isOnce) this.#network.splice(index, 1);
    const { voter, proposer, content } = envelope;
    if ("request" in content) this.#vote(voter, proposer, content.request);
    else this.#hear(proposer, voter, content.reply);
  }

  #vote(index: number, proposer: number, request: VoterRequest): void {
    const voter = this.#voters[index];
    if (voter === undefined) return;
    const { promised } = voter.volatile;
    const isAgain = promised !== undefined && compareBallots(request.ballot, promised) === 0;
    const before =
      this.#fault === "promises a ballot twice" && isAgain && request.kind === "prepare"
        ? { ...voter.volatile, promised: ballotOf(0, 0) }
        : voter.volatile;
    const { state, reply } = stepVoter(before, request);
    voter.volatile = state;
    const envelope = { voter: index, proposer, content: { reply } };
    if (this.#fault === "answers before it syncs") this.#network.push(envelope);
    else voter.unsent.push(envelope);
  }

  #sync(index: number): void {
    const voter = this.#voters[index];
    if (voter === undefined) return;
    voter.durable = voter.volatile;
    this.#network.push(...voter.unsent.splice(0));
    const { accepted } = voter.durable;
    if (accepted === undefined) return;
    const name = JSON.stringify([accepted.ballot, accepted.value]);
    const holders = this.#accepted.get(name) ?? { value: accepted.value, voters: new Set() };
    this.#accepted.set(name, holders);
    holders.voters.add(index);
    if (holders.voters.size * 2 > this.#voters.length) this.chosen.add(holders.value);
  }

  #crashVoter(index: number): void {
    const voter = this.#voters[index];
    if (voter === undefined) return;
    voter.volatile = voter.durable;
    voter.unsent = [];
  }

  #forget(index: number): void {
    this.#proposers[index] = { machine: undefined, round: 0 };
  }

  #hear(index: number, voter: number, reply: VoterReply): void {
    const decision = this.#proposers[index]?.machine?.step(idOf(voter), reply);
    if (decision?.kind === "ask") this.#send(index, decision.request);
    if (decision?.kind === "chosen") this.chosen.add(decision.value);
  }
}

test("register: whatever is lost, doubled, reordered or crashes, at most one value is chosen, and in quiet one is", () => {
  let contended = 0;
  for (let seed = 0; seed < (isLong ? 20_000 : 1000); seed += 1) {
    const schedule = new Schedule(seed, "none");
    schedule.run(400);
    if (schedule.chosen.size > 0) contended += 1;
    schedule.quiet();
    assert.is(schedule.chosen.size, 1, `seed ${seed}: ${[...schedule.chosen].join(", ")}`);
  }
  assert.ok(contended > 100, `${contended} seeds chose amid the faults`);
});

for (const fault of ["answers before it syncs", "promises a ballot twice"] as const) {
  test(`register: the schedules find the second value of a voter that ${fault}`, () => {
    let found = 0;
    for (let seed = 0; seed < 5000 && found === 0; seed += 1) {
      const schedule = new Schedule(seed, fault);
      schedule.run(400);
      if (schedule.chosen.size > 1) found += 1;
    }
    assert.is(found, 1, "within 5,000 seeds");
  });
}

test.run();
