/**
 * Admission: what a node takes on at once, and what it refuses so that the rest stays fast.
 *
 * A node that takes more than it can do answers everything late, and its clients send it all again. So
 * each class of work has a budget of requests and bytes in flight; past it a request is refused at
 * once, which costs nearly nothing. Clients, replication and hints have budgets of their own: a flood
 * of clients must not keep replicas from each other, and catching up must not starve clients.
 *
 * Requests and bytes say what was taken on; the lag of the event loop says whether it is too much.
 * Lag is smoothed: one long pause (a collection of garbage, a page from disk) refuses nothing, a loop
 * that stays late does. Work between nodes is not refused for lag: it is what ends most overloads.
 *
 *     smoothed = smoothed + (measured - smoothed) / 5        25 measurements of 50 ms: 99.6 % of a step
 *
 * Invariants
 * 1. What is taken is given back: no count falls below zero.
 * 2. A refusal takes no bytes, has outcome `none`, and says when to come again.
 *
 * Effects: none; `lag.ts` measures.
 * Source: "Overload control for scaling WeChat microservices" (2018), section 4: refuse early, by load.
 *
 * @module
 */

import { assert } from "./assert.ts";
import { QuorateError } from "./errors.ts";

export const workClasses = ["client", "replication", "hint"] as const;

export interface BudgetLimits {
  /** Requests in flight. */
  readonly requestsMax: number;
  /** What their bodies may hold. */
  readonly bytesMax: number;
}

export interface AdmissionLimits {
  readonly client: BudgetLimits;
  readonly replication: BudgetLimits;
  readonly hint: BudgetLimits;
  /** The smoothed lag of the event loop above which clients are refused; 0: never. */
  readonly lagMsMax: number;
}

const retryAfterSeconds = 1;
const hint = "Wait for Retry-After and send it again.";
const smoothing = 5;

/** What one class of work has in flight. */
export class Budget {
  readonly limits: BudgetLimits;
  readonly #lagError: () => QuorateError | undefined;
  #requests = 0;
  #bytes = 0;

  constructor(limits: BudgetLimits, lagError: () => QuorateError | undefined = () => undefined) {
    this.limits = limits;
    this.#lagError = lagError;
  }

  get requests(): number {
    return this.#requests;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Why one more request is refused; undefined when there is room for it. */
  refusal(): QuorateError | undefined {
    if (this.#requests >= this.limits.requestsMax) return tooManyRequests(this.#requests);
    return this.#lagError();
  }

  /** A request is in flight. A refused one is as well, until it has its answer. */
  begin(): void {
    this.#requests += 1;
  }

  end(count = 1): void {
    this.#requests -= count;
    assert(this.#requests >= 0, "admission: a request ends once");
  }

  /** Holds bytes. Throws `overloaded` where there is no room. */
  take(bytes: number): void {
    const full = this.#full(bytes);
    if (full !== undefined) throw full;
    this.#bytes += bytes;
  }

  give(bytes: number): void {
    this.#bytes -= bytes;
    assert(this.#bytes >= 0, "admission: bytes are given back once");
  }

  /**
   * Takes on a request that holds so many bytes, until `leave`; or says why not, and takes nothing. One
   * that comes alone is taken whatever it holds: a namespace may have larger values than the settings of
   * each node foresee, and those would be refused to other nodes for ever.
   */
  admit(bytes: number): QuorateError | undefined {
    const refusal = this.refusal() ?? (this.#bytes === 0 ? undefined : this.#full(bytes));
    if (refusal !== undefined) return refusal;
    this.#requests += 1;
    this.#bytes += bytes;
    return undefined;
  }

  leave(bytes: number): void {
    this.end();
    this.give(bytes);
  }

  #full(bytes: number): QuorateError | undefined {
    if (this.#bytes + bytes <= this.limits.bytesMax) return undefined;
    return overloaded(
      `The bodies of all requests under way hold ${this.#bytes} bytes; ${this.limits.bytesMax} are allowed.`,
    );
  }
}

/** The budgets of a node. */
export class Admission {
  readonly limits: AdmissionLimits;
  readonly client: Budget;
  readonly replication: Budget;
  readonly hint: Budget;
  #lagMs = 0;

  constructor(limits: AdmissionLimits) {
    this.limits = limits;
    this.client = new Budget(limits.client, () => this.#lagRefusal());
    this.replication = new Budget(limits.replication);
    this.hint = new Budget(limits.hint);
  }

  /** How late the event loop is, smoothed. */
  get lagMs(): number {
    return this.#lagMs;
  }

  /**
   * Takes in how late a timer was. However late, one alone refuses nobody: a process that was stopped
   * for a minute and goes on is not overloaded, only late once.
   */
  observeLag(measuredMs: number): void {
    const { lagMsMax } = this.limits;
    const sampleMs = lagMsMax === 0 ? measuredMs : Math.min(measuredMs, 2 * lagMsMax);
    this.#lagMs += (sampleMs - this.#lagMs) / smoothing;
  }

  #lagRefusal(): QuorateError | undefined {
    const { lagMsMax } = this.limits;
    if (lagMsMax === 0 || this.#lagMs <= lagMsMax) return undefined;
    const lag = Math.round(this.#lagMs);
    return overloaded(`The node's event loop is ${lag} ms late; ${lagMsMax} ms are allowed.`);
  }
}

/** What is said to a request of which there are too many. */
export function tooManyRequests(requests: number): QuorateError {
  return overloaded(`${requests} requests are under way already.`);
}

function overloaded(detail: string): QuorateError {
  return new QuorateError("overloaded", detail, { outcome: "none", retryAfterSeconds, hint });
}
