/**
 * QuorumRead: when a read has its answer, and what must be made durable before it is given.
 *
 *     nothing, found(v)          -> answer v; 1 of the m = 2 holds it: write it back first
 *     found(v), found(v)         -> answer v
 *     refused, lost, …           -> failed, as soon as r cannot be reached any more
 *
 * A strict read that answered with a version which one replica alone holds could be followed by one
 * that asks the others. So the version is at m replicas before it is answered (R1), whatever the read's own
 * r, since the next read may ask fewer. Every majority has one of n-m+1 already, which is less where n is
 * even; but who leaves a set, or loses its disk, takes one along, and who is filled asks n-m+1 of the others
 * (T5, I4): what was told to a client has to come through that as an acknowledged write does.
 *
 * While a partition moves, those whom reads ask next are others (T3): the version has to be at so many
 * of these as well, whichever set is read at present.
 *
 * Invariants
 * 1. Tombstones and "nothing" are answers like any other; who does not count gives none (R4). But below
 *    the highest watermark among the answers all replicas hold the same, and some have dropped what
 *    is deleted or over: such an answer is one with "nothing" (R2). That it is over was judged by a
 *    clock all the same, which the others have to have as well before it is answered (R3).
 * 2. A replica's later answer takes the place of its earlier one.
 * 3. `toAsk` never asks for more than are left, and is 0 while enough answers are under way.
 *
 * Effects: none. Source: rules R1 to R4, L1, T3; promises P2, P3.
 *
 * @module
 */

import { assert } from "./assert.ts";
import { type Hlc, hlcAt } from "./hlc.ts";
import { majority } from "./level.ts";
import type { Lost, ReadReply } from "./quorum_message.ts";
import { compareVersions, type Version } from "./version.ts";
import { highest } from "./watermark.ts";

/** n-m+1: how many must have told that a record is over, so that every majority has one of them (R3). */
export function clocksNeeded(replicas: number): number {
  return replicas - majority(replicas) + 1;
}

export type ReadDecision =
  | { readonly kind: "wait" }
  | {
      readonly kind: "answer";
      /** The highest among the answers; undefined: none of them has anything. */
      readonly found: Extract<ReadReply, { kind: "found" }> | undefined;
      /** The replicas that answered with it, in the order of their numbers. */
      readonly holders: readonly number[];
      /** Those that answered with something older, or nothing. */
      readonly behind: readonly number[];
      /** So many more must take it before it is answered (R1); 0: it may be answered now. */
      readonly writeBack: number;
      /** So many of the other set must take it; undefined: there is none. */
      readonly writeBackOther?: number;
      /** Nothing is found because what stood highest was over at this time, in ms since 1970. */
      readonly overMs?: number;
      readonly replies: number;
    }
  | { readonly kind: "failed"; readonly replies: number };

export interface ReadQuorumOptions {
  readonly replicas: number;
  /** r. */
  readonly needed: number;
  /** Whether r is a majority. */
  readonly isStrict: boolean;
  /** While the partition moves: the other set, by numbers that go on after those of this one. */
  readonly other?: readonly number[] | undefined;
}

type Answer = Exclude<ReadReply, { kind: "refused" }>;
type Found = Extract<Answer, { kind: "found" }>;

const wait: ReadDecision = { kind: "wait" };

export class ReadQuorum {
  readonly #options: ReadQuorumOptions;
  readonly #answers: (Answer | "asked" | "none" | undefined)[];
  /** The latest clock among the replies (R3). */
  #clock: Hlc;

  constructor(options: ReadQuorumOptions, ownClock: Hlc) {
    const { replicas, needed } = options;
    assert(needed >= 1 && needed <= replicas, "quorum: 1 <= r <= replicas");
    this.#options = options;
    this.#clock = ownClock;
    this.#answers = new Array<undefined>(replicas).fill(undefined);
  }

  /** So many more replicas have to be asked for r answers to be under way. */
  get toAsk(): number {
    let underWay = 0;
    let left = 0;
    for (const answer of this.#counted()) {
      if (answer === undefined) left += 1;
      else if (answer !== "none") underWay += 1;
    }
    return Math.min(left, Math.max(0, this.#options.needed - underWay));
  }

  get replies(): number {
    return this.#counted().reduce((sum, one) => (isAnswer(one) ? sum + 1 : sum), 0);
  }

  /**
   * The answers without those that a watermark tells to be wrong: a live record below the highest one,
   * of a replica that is not so far, and that one which is so far lacks, was deleted (`overruled`).
   */
  #counted(): readonly (Answer | "asked" | "none" | undefined)[] {
    const { overruled } = this;
    if (overruled.length === 0) return this.#answers;
    return this.#answers.map((one, replica) => (overruled.includes(replica) ? "none" : one));
  }

  /** Those that hold live what was deleted below the highest watermark: they do not count (R2). */
  get overruled(): readonly number[] {
    const watermark = this.#watermark;
    if (watermark === 0n) return [];
    // A tombstone that is not dropped yet is a lack like any other.
    const lacking = this.#answers.some((one) => {
      if (!isAnswer(one) || one.watermark !== watermark) return false;
      return one.kind === "nothing" || this.#isNothing(one, watermark);
    });
    if (!lacking) return [];
    return this.#answers.flatMap((one, replica) => {
      if (!isAnswer(one) || one.kind !== "found" || one.version.hlc >= watermark) return [];
      const isBehind = (one.watermark ?? 0n) < watermark;
      return isBehind && !this.#isNothing(one, watermark) ? [replica] : [];
    });
  }

  /** Those that hold what another replica may have dropped, a delete or what is over: as good as nothing (R2). */
  get forgotten(): readonly number[] {
    const watermark = this.#watermark;
    return this.#answers.flatMap((one, replica) => {
      if (!isAnswer(one) || one.kind !== "found") return [];
      return this.#isNothing(one, watermark) ? [replica] : [];
    });
  }

  hasAsked(replica: number): boolean {
    return this.#answers[replica] !== undefined;
  }

  /** The replica was sent the read. */
  ask(replica: number): void {
    this.#answers[replica] ??= "asked";
  }

  step(
    replica: number,
    reply: ReadReply | Lost,
    counts: boolean,
    clock: Hlc | undefined,
  ): ReadDecision {
    if (clock !== undefined && clock > this.#clock) this.#clock = clock;
    const before = this.#answers[replica];
    const isUsable = reply.kind === "found" || reply.kind === "nothing";
    if (isUsable && counts) this.#answers[replica] = reply;
    // What it said before it failed stands: it was true, and it was durable.
    else if (!isAnswer(before)) this.#answers[replica] = "none";
    return this.decision;
  }

  /**
   * What it answered is of no use: it named a version whose record cannot be had. The read goes by
   * the others then, as if this one had never been reached.
   */
  drop(replica: number): ReadDecision {
    this.#answers[replica] = "none";
    return this.decision;
  }

  /** The decision by all answers so far. */
  get decision(): ReadDecision {
    const { replicas, needed, isStrict, other } = this.#options;
    const { replies } = this;
    const answers = this.#counted();
    if (replies < needed) {
      const refused = answers.reduce((sum, one) => (one === "none" ? sum + 1 : sum), 0);
      return replicas - refused < needed ? { kind: "failed", replies } : wait;
    }
    const found = this.#highest();
    const holders: number[] = [];
    const behind: number[] = [];
    for (const [replica, answer] of answers.entries()) {
      if (!isAnswer(answer)) continue;
      const holds =
        found !== undefined &&
        answer.kind === "found" &&
        compareVersions(answer.version, found.version) === 0;
      (holds ? holders : behind).push(replica);
    }
    const missing = majority(replicas) - holders.length;
    const writeBack = isStrict && found !== undefined ? Math.max(0, missing) : 0;
    const overMs = found === undefined ? this.#overMs : undefined;
    const over = overMs === undefined ? {} : { overMs };
    const answer = { kind: "answer", found, holders, behind, writeBack, replies, ...over } as const;
    if (other === undefined) return answer;
    const held = holders.filter((replica) => other.includes(replica)).length;
    const missingOther = Math.max(0, majority(other.length) - held);
    return { ...answer, writeBackOther: isStrict && found !== undefined ? missingOther : 0 };
  }

  /** The highest watermark that an answer told. */
  get #watermark(): Hlc {
    let most = 0n as Hlc;
    for (const answer of this.#answers) {
      if (isAnswer(answer)) most = highest(most, answer.watermark ?? most);
    }
    return most;
  }

  /** Whether it is nothing to a replica that has dropped what its watermark allows (R2). */
  #isNothing(answer: Found, watermark: Hlc): boolean {
    if (answer.version.hlc >= watermark) return false;
    return answer.tombstone || this.isExpired(answer.expiresAtMs);
  }

  /** Whether a record is over by the latest clock that anybody told (R3). */
  isExpired(expiresAtMs: number | undefined): boolean {
    return expiresAtMs !== undefined && this.#clock >= hlcAt(expiresAtMs);
  }

  #highest(): Found | undefined {
    const watermark = this.#watermark;
    return highestOf(this.#found().filter((one) => !this.#isNothing(one, watermark)));
  }

  #found(): readonly Found[] {
    return this.#counted().filter((one) => isAnswer(one) && one.kind === "found") as Found[];
  }

  /** When that was over which would have been found; undefined: nothing, or a tombstone. */
  get #overMs(): number | undefined {
    const most = highestOf(this.#found());
    return most?.tombstone === true ? undefined : most?.expiresAtMs;
  }
}

/** The highest version; where several have it, one with the record. */
function highestOf(found: readonly Found[]): Found | undefined {
  let most: Found | undefined;
  for (const answer of found) {
    const order = most === undefined ? 1 : compareVersions(answer.version, most.version);
    const isFuller = order === 0 && most?.record === undefined;
    if (order > 0 || isFuller) most = answer;
  }
  return most;
}

/** Counts those that took a write-back, or made their clock durable: so many are needed of so many. */
export class AckCount {
  readonly #needed: number;
  readonly #open = new Set<number>();
  #acks = 0;

  constructor(needed: number, asked: readonly number[]) {
    this.#needed = needed;
    for (const replica of asked) this.#open.add(replica);
  }

  get verdict(): "wait" | "done" | "failed" {
    if (this.#acks >= this.#needed) return "done";
    return this.#acks + this.#open.size < this.#needed ? "failed" : "wait";
  }

  step(replica: number, isAck: boolean): "wait" | "done" | "failed" {
    if (this.#open.delete(replica) && isAck) this.#acks += 1;
    return this.verdict;
  }
}

function isAnswer(one: Answer | "asked" | "none" | undefined): one is Answer {
  return typeof one === "object";
}

/** The version that an answer names. */
export function versionOf(reply: ReadReply | Lost): Version | undefined {
  return reply.kind === "found" ? reply.version : undefined;
}
