/**
 * Quorum: when a write has succeeded, when it is minted again, and what is known when it fails.
 *
 * A machine for one client's write. It is told what every replica answered and says what to do:
 *
 *     round 1   took, took                  -> done
 *               took, superseded(v)         -> again: mint above v, send to all   (w = 2 of 3)
 *     round 2   took, superseded(u)         -> done: it was taken, or something newer stands there
 *     any       refused, lost               -> failed, as soon as w cannot be reached any more
 *
 * Only answers to the round under way count. The second version is minted once w replicas have
 * answered, not before: else it could be minted below an acknowledged write that the others hold.
 * A `took` of the first version that comes after the second was sent counts for nothing: another
 * reader may have seen the second at w replicas already, and the first is older.
 *
 * A round may be sent again under a newer topology (T2): same version, no answer of before counts.
 *
 * While a partition moves there are two sets of replicas, which may share some (T3). Then each of
 * them has to give its w answers: to succeed, and before a second version is minted.
 *
 * Invariants
 * 1. At most two versions are ever sent (W3).
 * 2. A replica answers a round once; what comes twice is ignored.
 * 3. The decision `done` or `failed` is the last one; answers after it change only who needs a hint.
 * 4. The outcome is `none` only when no replica can hold either version (P7).
 *
 * Effects: none. Source: rules W1 to W5, H1, I4, T3, V3; promise P7.
 *
 * @module
 */

import { assert } from "./assert.ts";
import type { Outcome, Slug } from "./errors.ts";
import type { Lost, RefusalReason, WriteReply } from "./quorum_message.ts";
import { compareVersions, type Version } from "./version.ts";

export type WriteDecision =
  | { readonly kind: "wait" }
  | { readonly kind: "done"; readonly acks: number }
  /** Mint a version above this one, and call `second`. */
  | { readonly kind: "again"; readonly above: Version }
  | WriteFailure;

export interface WriteFailure {
  readonly kind: "failed";
  readonly slug: Slug;
  readonly outcome: Outcome;
  readonly acks: number;
}

/** Replicas of which so many have to take a write, or hold a version. */
export interface QuorumSet {
  readonly members: readonly number[];
  readonly needed: number;
  readonly isStrict: boolean;
}

export interface WriteQuorumOptions {
  /** How many replicas are sent the write. */
  readonly replicas: number;
  /** The sets in each of which it needs its quorum (T3); by default one: all. */
  readonly sets?: readonly QuorumSet[] | undefined;
  /** w. */
  readonly needed: number;
  /** Whether w is a majority: then replicas that do not count are not counted (I4). */
  readonly isStrict: boolean;
}

/** What a replica said in one round; `open` until it has. */
type Said = "open" | "took" | "passed" | "covered" | "later" | "refused" | "unsent" | "lost";

interface Round {
  readonly isSecond: boolean;
  readonly said: Said[];
  readonly counts: boolean[];
}

const wait: WriteDecision = { kind: "wait" };

export class WriteQuorum {
  #replicas: number;
  #sets: readonly QuorumSet[];
  readonly #rounds: Round[] = [];
  readonly #refusals = new Set<RefusalReason>();
  #highest: Version | undefined;
  #isMinting = false;
  #last: WriteDecision = wait;

  constructor(options: WriteQuorumOptions) {
    this.#replicas = options.replicas;
    this.#sets = setsOf(options);
    this.#open(false);
  }

  /** The number of the round under way: answers name the round that they answer. */
  get round(): number {
    return this.#rounds.length - 1;
  }

  /** Whether the second version was sent. */
  get isSecond(): boolean {
    return this.#round.isSecond;
  }

  /** Whether a second version was asked for, and is not there yet. */
  get isMinting(): boolean {
    return this.#isMinting;
  }

  /** How many replicas acknowledged the last version. */
  get acks(): number {
    let least = this.#replicas;
    for (const set of this.#sets) least = Math.min(least, this.#acksOf(set));
    return least;
  }

  /** Whether every replica has answered the round under way. */
  get isComplete(): boolean {
    return !this.#isMinting && !this.#round.said.includes("open");
  }

  get decision(): WriteDecision {
    return this.#last;
  }

  /** One replica's answer to one round. */
  step(replica: number, round: number, reply: WriteReply | Lost, counts: boolean): WriteDecision {
    const asked = this.#rounds[round];
    assert(asked !== undefined, "quorum: an answer names a round that was sent");
    if (asked.said[replica] !== "open") return this.#last;
    asked.said[replica] = saidOf(reply);
    asked.counts[replica] = counts;
    if (reply.kind === "refused") this.#refusals.add(reply.reason);
    // Named by replicas that do not count as well: to mint above too much harms nobody.
    if (reply.kind === "superseded") this.#name(reply.version);
    if (reply.kind === "later") this.#name({ hlc: reply.stamp, origin: 0n });
    if (round !== this.round || this.#isOver) return this.#last;
    return this.#decide();
  }

  /**
   * The second version was minted, above what `again` named: the next round is its, with the replicas of a
   * newer topology where these are given.
   */
  second(options?: WriteQuorumOptions): void {
    assert(this.#isMinting, "quorum: a second version is minted when it was asked for (W3)");
    assert(!this.#isOver, "quorum: nothing is sent after the end");
    this.#isMinting = false;
    if (options !== undefined) this.#ask(options);
    this.#open(true);
    this.#last = wait;
  }

  /** The same version goes to the replicas of a newer topology. */
  restart(options: WriteQuorumOptions): void {
    const { isSecond } = this.#round;
    assert(!this.#isMinting, "quorum: a round is sent before it is sent again");
    this.#ask(options);
    this.#open(isSecond);
    this.#last = wait;
  }

  /** The time is over: what is known now. */
  expire(): WriteDecision {
    if (!this.#isOver) this.#last = this.#failure("timeout");
    return this.#last;
  }

  /** P7, as of now. */
  get outcome(): Outcome {
    const { isSecond } = this.#round;
    const all = this.#rounds.flatMap(({ said }) => said);
    if (all.includes("took")) return "partial";
    if (isSecond && this.#round.said.includes("passed")) return "partial";
    return all.includes("open") || all.includes("lost") ? "unknown" : "none";
  }

  /** The replicas that have not answered the last version in a way that it may be forgotten (H1). */
  get hints(): readonly number[] {
    const { said } = this.#round;
    if (said.every(mayForget)) return [];
    if (this.#last.kind === "failed" && this.outcome === "none") return [];
    return said.flatMap((one, replica) => (mayForget(one) ? [] : [replica]));
  }

  get #round(): Round {
    return this.#rounds[this.#rounds.length - 1] as Round;
  }

  get #isOver(): boolean {
    return this.#last.kind === "done" || this.#last.kind === "failed";
  }

  /** What those of before have refused is no reason any more. */
  #ask(options: WriteQuorumOptions): void {
    this.#replicas = options.replicas;
    this.#sets = setsOf(options);
    this.#refusals.clear();
  }

  #open(isSecond: boolean): void {
    const said = new Array<Said>(this.#replicas).fill("open");
    this.#rounds.push({ isSecond, said, counts: new Array<boolean>(this.#replicas).fill(false) });
  }

  #name(version: Version): void {
    const highest = this.#highest;
    if (highest === undefined || compareVersions(version, highest) > 0) this.#highest = version;
  }

  #isAck(said: Said): boolean {
    return said === "took" || (said === "passed" && this.#round.isSecond);
  }

  #acksOf({ members, isStrict }: QuorumSet): number {
    const { said, counts } = this.#round;
    let acks = 0;
    for (const replica of members) {
      if (isStrict && counts[replica] !== true) continue;
      if (this.#isAck(said[replica] as Said)) acks += 1;
    }
    return acks;
  }

  #decide(): WriteDecision {
    if (this.#isMinting) return wait;
    const { isSecond, said, counts } = this.#round;
    let isDone = true;
    let isAnswered = true;
    let isLost = false;
    for (const { members, needed, isStrict } of this.#sets) {
      let acks = 0;
      let answers = 0;
      let open = 0;
      for (const replica of members) {
        const one = said[replica] as Said;
        if (one === "open") open += 1;
        if (isStrict && counts[replica] !== true) continue;
        if (this.#isAck(one)) acks += 1;
        if (isAnswer(one)) answers += 1;
      }
      const answered = isSecond ? acks : answers;
      if (acks < needed) isDone = false;
      if (answered < needed) isAnswered = false;
      if (answered + open < needed) isLost = true;
    }
    if (isDone) {
      this.#last = { kind: "done", acks: this.acks };
      return this.#last;
    }
    if (!isSecond && isAnswered) {
      const above = this.#highest;
      assert(above !== undefined, "quorum: who did not take it named what stands above it");
      this.#isMinting = true;
      return { kind: "again", above };
    }
    if (isLost) this.#last = this.#failure(this.#slug());
    return this.#last;
  }

  /** The common reason when there is just one, for which the client can do something. */
  #slug(): Slug {
    const [reason, ...others] = this.#refusals;
    if (this.outcome !== "none" || others.length > 0) return "write-quorum-not-met";
    if (reason === "disk-full" || reason === "overloaded" || reason === "read-only") return reason;
    return "write-quorum-not-met";
  }

  #failure(slug: Slug): WriteFailure {
    return { kind: "failed", slug, outcome: this.outcome, acks: this.acks };
  }
}

function setsOf({ replicas, sets, needed, isStrict }: WriteQuorumOptions): readonly QuorumSet[] {
  const found = sets ?? [{ members: firstNumbers(replicas), needed, isStrict }];
  for (const { members, needed: least } of found) {
    assert(least >= 1 && least <= members.length, "quorum: 1 <= w <= replicas");
  }
  return found;
}

/** By how many there are; every write asks for one of a few. */
const numbers: (readonly number[])[] = [];

/** 0, 1 and so on, so many. */
function firstNumbers(count: number): readonly number[] {
  numbers[count] ??= Array.from({ length: count }, (_, number) => number);
  return numbers[count];
}

/** H1: it has the version, or something newer, durably, and so needs no hint. */
function mayForget(said: Said): boolean {
  return said === "took" || said === "passed" || said === "covered";
}

/** A refusal below a promise names a stamp and is an answer; `covered` names none (W3). */
function isAnswer(said: Said): boolean {
  return said === "took" || said === "passed" || said === "later";
}

function saidOf(reply: WriteReply | Lost): Said {
  if (reply.kind === "superseded") return "passed";
  if (reply.kind === "lost") return reply.mayHold ? "lost" : "unsent";
  if (reply.kind === "refused" && reply.mayHold === true) return "lost";
  return reply.kind;
}
