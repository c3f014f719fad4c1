/**
 * Server limits: how much, and for how long, one connection or all of them may hold.
 *
 * Every limit has a stated answer: what is refused is told so where it can still be told, and else
 * its connection is closed and counted.
 *
 * Effects: none.
 *
 * @module
 */

import { handshakeMsMax, lastWordsMs } from "./handshake.ts";
import { pingPeriodMs } from "./rpc_peer.ts";

export interface ServerLimits {
  /**
   * Connections at once; more are closed when they arrive. As many streams of clients may only wait (a
   * watch of the health, reflection); one more closes another.
   */
  readonly connectionsMax: number;
  /** Other requests under way at once, on all connections; more are 503 `overloaded`. */
  readonly requestsMax: number;
  /** Requests begun and waiting on one HTTP/1.1 connection (pipelining); more are 503 `overloaded`. */
  readonly pipelinedMax: number;
  /** Streams that one HTTP/2 connection may have open; more are refused by the protocol. */
  readonly streamsMax: number;
  /** From the first byte of a request's head to its last; then 408. */
  readonly headersTimeoutMs: number;
  /** A body has to arrive within this; then 408. */
  readonly bodyTimeoutMs: number;
  /** What the bodies of all requests under way may hold, HTTP and RPC together; then 503. */
  readonly bodyBytesMax: number;
  /** How long a connection may stay open without a request. Above what clients use (Go: 90 s). */
  readonly idleTimeoutMs: number;
  /** How long a client may leave what was sent to it unread; then its connection is cut. */
  readonly stallTimeoutMs: number;
  /** What all connections together may have waiting to be read by clients; past it, the largest is cut. */
  readonly outgoingBytesMax: number;
  /** How long `close` lets requests finish before it cuts them. */
  readonly closeTimeoutMs: number;
}

const limitDefaults: ServerLimits = {
  connectionsMax: 10_000,
  requestsMax: 10_000,
  pipelinedMax: 256,
  streamsMax: 256,
  headersTimeoutMs: 10_000,
  bodyTimeoutMs: 30_000,
  bodyBytesMax: 256 * 1024 * 1024,
  idleTimeoutMs: 120_000,
  stallTimeoutMs: 30_000,
  outgoingBytesMax: 256 * 1024 * 1024,
  closeTimeoutMs: 1000,
};

/** What was chosen, and the default of what was not. */
export function limitsOf(options: Partial<ServerLimits>): ServerLimits {
  const limits: { -readonly [K in keyof ServerLimits]: number } = { ...limitDefaults };
  for (const name of Object.keys(limits) as (keyof ServerLimits)[]) {
    limits[name] = options[name] ?? limits[name];
  }
  return limits;
}

/** The head of a request, all headers together. */
export const headBytesMax: number = 16 * 1024;
/**
 * So many unanswered requests on one HTTP/1.1 connection cut it. More than fit in one read of 64 KiB:
 * node:http reads no further when refusals are waiting to be sent, so only a runtime that goes on
 * reading comes here.
 */
export const pipelinedCutMax = 4096;
/** Streams of other nodes at once, once they have proven to be; more are 503 `overloaded`. Far above what a cluster has. */
export const peerStreamsMax = 4096;
/** Those among them that have not proven yet to be of a node, at once; one more closes another. */
export const strangersMax = 256;
/** How long they may take for that: a second above what the handshake gives them, and its last words. */
export const strangerMsMax: number = handshakeMsMax + lastWordsMs + 1000;
/** A node that dialed is gone when it was silent for so long: it pings all the while. */
export const peerSilenceMsMax: number = 4 * pingPeriodMs;
/** How long a half-closed connection may take to close its other half. */
export const lingerMs = 1000;
/** How often the deadlines of all connections are looked at. */
export const sweepPeriodMs = 500;

/**
 * A bucket of things that cost the server work and the client nothing: pings, settings and streams
 * that are reset before their answer. A client that is answered earns them back, so that gRPC's own
 * pings (one for each answer at most) never run out, and a flood does at once.
 */
export class FloodBucket {
  static readonly sizeMax = 1000;
  static readonly perSecond = 33;
  static readonly perAnswer = 2;
  #left = FloodBucket.sizeMax;
  #filledMs: number;

  constructor(nowMs: number) {
    this.#filledMs = nowMs;
  }

  /** Takes one; false when there are none left. */
  take(nowMs: number): boolean {
    const earned = ((nowMs - this.#filledMs) / 1000) * FloodBucket.perSecond;
    this.#filledMs = nowMs;
    this.#left = Math.min(FloodBucket.sizeMax, this.#left + earned) - 1;
    return this.#left >= 0;
  }

  earn(): void {
    this.#left = Math.min(FloodBucket.sizeMax, this.#left + FloodBucket.perAnswer);
  }
}
