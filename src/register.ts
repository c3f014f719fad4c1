/**
 * Register: one value, written once, chosen by a majority of voters (single-decree Paxos).
 *
 * The instance named (cluster, e) chooses the document that follows document e. A proposer asks the
 * voters to promise its ballot; a majority of promises tells it which value it must propose: the one
 * accepted under the highest ballot, or its own where none was. A majority that accepts it chooses it. One
 * that has no value of its own only asks: where none was accepted it proposes nothing.
 *
 *     prepare(3,n1) ->  voter: promised (3,n1), accepted (1,n2) "x"
 *                   <-  promised, accepted (1,n2) "x"
 *     accept(3,n1) "x" -> ...            not n1's own value: "x" may be chosen already
 *
 * A voter promises a ballot only above what it promised before, never the same again. So a proposer
 * that was started again, or a second copy of it, cannot use one ballot for two values: the
 * majority of the second prepare would meet the majority of the first.
 *
 * Invariants
 * 1. A voter's promise never goes back, and it accepts nothing below it.
 * 2. Under one ballot at most one value is proposed.
 * 3. Once a value is chosen, every later ballot proposes that value. (So at most one is ever chosen.)
 *
 * Effects: none. Whoever holds a voter's state makes it durable BEFORE the reply is sent.
 * Source: Lamport, "Paxos made simple" (2001), section 2.2 (P2c); rule T1.
 *
 * @module
 */

import { isCount, isFields, isId } from "./agreed.ts";
import { assert, unreachable } from "./assert.ts";

export interface Ballot {
  readonly round: number;
  readonly nodeId: string;
}

/** What a voter holds of one instance; it is durable before anything of it is told. */
export interface VoterState {
  readonly promised?: Ballot;
  readonly accepted?: Accepted;
}

export interface Accepted {
  readonly ballot: Ballot;
  readonly value: unknown;
}

export type VoterRequest =
  | { readonly kind: "prepare"; readonly ballot: Ballot }
  | { readonly kind: "accept"; readonly ballot: Ballot; readonly value: unknown };

export type VoterReply =
  | { readonly kind: "promised"; readonly ballot: Ballot; readonly accepted?: Accepted }
  | { readonly kind: "accepted"; readonly ballot: Ballot }
  /** `promised`: the highest ballot that the voter knows. */
  | { readonly kind: "nack"; readonly ballot: Ballot; readonly promised: Ballot };

export type ProposerDecision =
  | { readonly kind: "wait" }
  /** Send this to all voters. */
  | { readonly kind: "ask"; readonly request: VoterRequest }
  | { readonly kind: "chosen"; readonly value: unknown }
  /** Nothing was chosen when the voters were asked; only where nothing is proposed. */
  | { readonly kind: "open" }
  /** Another ballot is ahead: begin again above `round`, after a random while. */
  | { readonly kind: "beaten"; readonly round: number };

export function compareBallots(a: Ballot, b: Ballot): number {
  if (a.round !== b.round) return a.round - b.round;
  if (a.nodeId === b.nodeId) return 0;
  return a.nodeId < b.nodeId ? -1 : 1;
}

/** One step of a voter. When `state` is another object than before, it has to be made durable. */
export function stepVoter(
  state: VoterState,
  request: VoterRequest,
): { readonly state: VoterState; readonly reply: VoterReply } {
  const { ballot } = request;
  const { promised, accepted } = state;
  const order = promised === undefined ? 1 : compareBallots(ballot, promised);
  const nack = (): VoterReply => ({ kind: "nack", ballot, promised: promised ?? ballot });
  switch (request.kind) {
    case "prepare":
      // The same ballot again is refused as well: see the header.
      if (order <= 0) return { state, reply: nack() };
      return {
        state: { ...state, promised: ballot },
        reply: { kind: "promised", ballot, ...(accepted === undefined ? {} : { accepted }) },
      };
    case "accept":
      if (order < 0) return { state, reply: nack() };
      // A resend: under one ballot there is one value, so nothing changes.
      if (accepted !== undefined && compareBallots(accepted.ballot, ballot) === 0) {
        return { state, reply: { kind: "accepted", ballot } };
      }
      return {
        state: { promised: ballot, accepted: { ballot, value: request.value } },
        reply: { kind: "accepted", ballot },
      };
    default:
      return unreachable(request);
  }
}

/** One ballot of one proposer, from its prepare to its end. */
export class Proposer {
  readonly #ballot: Ballot;
  readonly #voters: ReadonlySet<string>;
  readonly #own: unknown;
  readonly #promises = new Set<string>();
  readonly #accepts = new Set<string>();
  readonly #refusals = new Set<string>();
  #highest: Accepted | undefined;
  /** What is proposed; undefined while promises are awaited. */
  #proposal: VoterRequest | undefined;
  #roundSeen: number;

  /** Without a value it asks: what voters had accepted is chosen first, and nothing else. */
  constructor(ballot: Ballot, voters: readonly string[], value?: unknown) {
    assert(voters.length > 0, "register: there are voters");
    this.#ballot = ballot;
    this.#voters = new Set(voters);
    this.#own = value;
    this.#roundSeen = ballot.round;
  }

  /** What every voter is asked first. */
  begin(): VoterRequest {
    return { kind: "prepare", ballot: this.#ballot };
  }

  /** Whether a value was sent to voters: from then on it may be chosen at any time. */
  get hasProposed(): boolean {
    return this.#proposal !== undefined;
  }

  /** Takes a voter's reply; replies may come twice, late and in any order. */
  step(voter: string, reply: VoterReply): ProposerDecision {
    if (!this.#voters.has(voter)) return { kind: "wait" };
    if (compareBallots(reply.ballot, this.#ballot) !== 0) return { kind: "wait" };
    switch (reply.kind) {
      case "promised":
        return this.#promised(voter, reply.accepted);
      case "accepted":
        return this.#accepted(voter);
      case "nack":
        return this.#refused(voter, reply.promised);
      default:
        return unreachable(reply);
    }
  }

  #promised(voter: string, accepted: Accepted | undefined): ProposerDecision {
    // Those that come after the majority change nothing: the value stands (invariant 2).
    if (this.#proposal !== undefined) return { kind: "wait" };
    this.#promises.add(voter);
    if (accepted !== undefined && isAbove(accepted, this.#highest)) this.#highest = accepted;
    if (this.#promises.size < this.#majority) return { kind: "wait" };
    const value = this.#highest === undefined ? this.#own : this.#highest.value;
    // A majority has accepted nothing, and takes nothing of an older ballot any more.
    if (value === undefined) return { kind: "open" };
    this.#proposal = { kind: "accept", ballot: this.#ballot, value };
    return { kind: "ask", request: this.#proposal };
  }

  #accepted(voter: string): ProposerDecision {
    if (this.#proposal?.kind !== "accept") return { kind: "wait" };
    this.#accepts.add(voter);
    if (this.#accepts.size < this.#majority) return { kind: "wait" };
    return { kind: "chosen", value: this.#proposal.value };
  }

  #refused(voter: string, promised: Ballot): ProposerDecision {
    // A voter that got our prepare twice refuses the second: that is no other proposer.
    if (compareBallots(promised, this.#ballot) <= 0) return { kind: "wait" };
    this.#refusals.add(voter);
    this.#roundSeen = Math.max(this.#roundSeen, promised.round);
    if (this.#voters.size - this.#refusals.size >= this.#majority) return { kind: "wait" };
    return { kind: "beaten", round: this.#roundSeen };
  }

  get #majority(): number {
    return Math.floor(this.#voters.size / 2) + 1;
  }

  /** The highest round that was heard of. */
  get roundSeen(): number {
    return this.#roundSeen;
  }
}

function isAbove(accepted: Accepted, other: Accepted | undefined): boolean {
  return other === undefined || compareBallots(accepted.ballot, other.ballot) > 0;
}

/** A request as it came from a peer; undefined when it is none. */
export function parseVoterRequest(raw: unknown): VoterRequest | undefined {
  if (!isFields(raw)) return undefined;
  const ballot = parseBallot(raw["ballot"]);
  if (ballot === undefined) return undefined;
  if (raw["kind"] === "prepare") return { kind: "prepare", ballot };
  if (raw["kind"] !== "accept" || raw["value"] === undefined) return undefined;
  return { kind: "accept", ballot, value: raw["value"] };
}

/** A reply as it came from a peer; undefined when it is none. */
export function parseVoterReply(raw: unknown): VoterReply | undefined {
  if (!isFields(raw)) return undefined;
  const ballot = parseBallot(raw["ballot"]);
  if (ballot === undefined) return undefined;
  if (raw["kind"] === "accepted") return { kind: "accepted", ballot };
  if (raw["kind"] === "nack") {
    const promised = parseBallot(raw["promised"]);
    return promised === undefined ? undefined : { kind: "nack", ballot, promised };
  }
  if (raw["kind"] !== "promised") return undefined;
  if (raw["accepted"] === undefined) return { kind: "promised", ballot };
  const accepted = parseAccepted(raw["accepted"]);
  return accepted === undefined ? undefined : { kind: "promised", ballot, accepted };
}

/** A voter's state as it was kept; undefined when it is none. */
export function parseVoterState(raw: unknown): VoterState | undefined {
  if (!isFields(raw)) return undefined;
  const promised = raw["promised"] === undefined ? undefined : parseBallot(raw["promised"]);
  const accepted = raw["accepted"] === undefined ? undefined : parseAccepted(raw["accepted"]);
  if ((raw["promised"] === undefined) !== (promised === undefined)) return undefined;
  if ((raw["accepted"] === undefined) !== (accepted === undefined)) return undefined;
  return {
    ...(promised === undefined ? {} : { promised }),
    ...(accepted === undefined ? {} : { accepted }),
  };
}

function parseAccepted(raw: unknown): Accepted | undefined {
  if (!isFields(raw) || raw["value"] === undefined) return undefined;
  const ballot = parseBallot(raw["ballot"]);
  return ballot === undefined ? undefined : { ballot, value: raw["value"] };
}

function parseBallot(raw: unknown): Ballot | undefined {
  if (!isFields(raw)) return undefined;
  const { round, nodeId } = raw;
  return isCount(round) && isId(nodeId) ? { round, nodeId } : undefined;
}
