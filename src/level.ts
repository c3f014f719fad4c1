/**
 * Level: how many replicas a request needs, and what it is called.
 *
 * A request names a level (`one`, `quorum`, `all`) or a number; what it leaves out comes from the
 * namespace. Words count the effective n, the replicas that are there: all members that hold something,
 * while these are fewer than the policy asks for. A number is meant as it stands.
 *
 * Invariants
 * 1. 1 <= needed <= effective n.
 * 2. A number above the policy's n is the client's error; one above the effective n is the cluster's.
 *
 * Effects: none. Source: rule L1.
 *
 * @module
 */

import type { Consistency, NamespacePolicy, Replicas, RequestOptions } from "./api.ts";
import { QuorateError } from "./errors.ts";

export interface Level {
  readonly needed: number;
  /** The effective n. */
  readonly replicas: number;
  /** What the answer says; `eventual` for a write by no more than half of them. */
  readonly consistency: Consistency | "eventual";
  /** The word that was asked for: it means another number in a set of another size. */
  readonly word?: "quorum" | "all";
}

/** How many of a set of replicas a level needs; while replicas move, sets have sizes of their own. */
export function neededOf(level: Pick<Level, "needed" | "word">, replicas: number): number {
  return Math.min(
    replicas,
    level.word === undefined ? level.needed : countOf(level.word, replicas),
  );
}

/** A number is meant as it stands: fewer replicas than that cannot meet it. */
export function isEnough(level: Pick<Level, "needed" | "word">, replicas: number): boolean {
  return level.word !== undefined || level.needed <= replicas;
}

export function majority(replicas: number): number {
  return Math.floor(replicas / 2) + 1;
}

/** n-m+1: of so many replicas every majority has one, so one of them has what any quorum took. */
export function quorumSources(replicas: number): number {
  return replicas - majority(replicas) + 1;
}

/** The level of a read (`r`) or write (`w`) of keys that have so many replicas, or n where that is less. */
export function levelOf(
  kind: "r" | "w",
  request: Pick<RequestOptions, "consistency" | "r" | "w">,
  policy: NamespacePolicy,
  present: number,
): Level {
  const asked: Replicas = request[kind] ?? wordOf(request.consistency) ?? policy[kind];
  const replicas = Math.min(policy.n, present);
  const needed = countOf(asked, replicas);
  const facts = kind === "w" ? ({ outcome: "none", needed } as const) : { needed };
  if (typeof asked === "number" && (needed > policy.n || needed < 1)) {
    throw new QuorateError(
      "invalid-quorum",
      `${kind} is ${asked}, and each key of this namespace has ${policy.n} replicas.`,
      { ...facts, hint: `Ask for 1 to ${policy.n}, 'quorum' or 'all'.` },
    );
  }
  if (needed > replicas) {
    throw new QuorateError(
      "quorum-unavailable",
      `${kind} is ${asked}, and each key has ${replicas === 1 ? "one replica" : `${replicas} replicas`} in this cluster.`,
      { ...facts, acks: replicas, hint: "Ask for fewer, or add nodes to the cluster." },
    );
  }
  const consistency = nameOf(kind, needed, replicas, request.consistency);
  const level = { needed, replicas, consistency };
  return typeof asked === "number" ? level : { ...level, word: asked };
}

function wordOf(consistency: Consistency | undefined): Replicas | undefined {
  return consistency === "one" ? 1 : consistency;
}

function countOf(asked: Replicas, replicas: number): number {
  if (asked === "all") return replicas;
  return asked === "quorum" ? majority(replicas) : asked;
}

function nameOf(
  kind: "r" | "w",
  needed: number,
  replicas: number,
  asked: Consistency | undefined,
): Consistency | "eventual" {
  if (kind === "w" && needed <= replicas / 2) return "eventual";
  if (asked !== undefined && needed === countOf(wordOf(asked) as Replicas, replicas)) return asked;
  if (needed >= majority(replicas)) return "quorum";
  return "one";
}
