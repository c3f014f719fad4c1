/**
 * Server load: what is under way on a port, by kind, and what is refused for it.
 *
 *     client    a request, which is over soon          the budget of clients; past it refused
 *     idle      a client's stream that only waits      a place for each connection; past it the oldest goes
 *     peer      a stream of another node               `peerStreamsMax`; past it refused
 *               until it has proven to be that         `strangersMax`; past it the oldest goes
 *
 * Other nodes are not refused for what clients do: their streams are what ends an overload. Nor is who
 * watches the health: a node that has too much to do is to be able to say so.
 *
 * Invariants
 * 1. What has begun ends once, whether it was answered or its connection is gone.
 *
 * Effects: closes streams that give up their places. Time comes as `nowMs`.
 *
 * @module
 */

import { type Budget, tooManyRequests } from "./admission.ts";
import type { QuorateError } from "./errors.ts";
import type { RpcResponse } from "./rpc.ts";
import type { Connection, ExchangeCounts, ExchangeKind } from "./server_connection.ts";
import { peerStreamsMax, strangerMsMax, strangersMax } from "./server_limits.ts";
import { Places } from "./server_places.ts";

/** Where an answer goes. */
interface Way {
  readonly response: RpcResponse;
  readonly connection: Connection;
}

/** What is under way on one port. */
export class ServerLoad {
  /** What clients have in flight. */
  readonly clients: Budget;
  /** Streams of other nodes that are open. */
  #peerStreams = 0;
  /** Those among them that have yet to prove that. */
  readonly #strangers = new Places(strangersMax);
  /** Streams of clients that only wait: for a change, or for a question. */
  readonly #idle: Places;

  /** One idle stream for each connection: who has no more than that is never sent away. */
  constructor(clients: Budget, connectionsMax: number) {
    this.clients = clients;
    this.#idle = new Places(connectionsMax);
  }

  get peerStreams(): number {
    return this.#peerStreams;
  }

  /** Whether clients wait for anything. */
  get isOfClients(): boolean {
    return this.clients.requests > 0 || this.#idle.size > 0;
  }

  /** Why one more of a kind is refused; undefined when there is room for it. */
  refusal(kind: ExchangeKind): QuorateError | undefined {
    if (kind === "client") return this.clients.refusal();
    if (kind === "idle") return undefined;
    const proven = this.#peerStreams - this.#strangers.size;
    return proven < peerStreamsMax ? undefined : tooManyRequests(proven);
  }

  /** One more of a kind, a refused one too; true when another one had to make room for it. */
  begin(kind: ExchangeKind, { response, connection }: Way, nowMs: number): boolean {
    if (kind === "client") {
      this.clients.begin();
      return false;
    }
    if (kind === "peer") this.#peerStreams += 1;
    const places = kind === "peer" ? this.#strangers : this.#idle;
    return places.add(response, connection, nowMs);
  }

  /** A stream has proven to be of another node. */
  proven(response: RpcResponse): void {
    this.#strangers.remove(response);
  }

  /** An answer is over. True when it was a stream that proved nothing, or that had to make room. */
  end({ response, connection }: Way, nowMs: number): boolean {
    const isStranger = this.#strangers.remove(response);
    const wasSentAway = this.#idle.isClosing(response);
    this.#idle.remove(response);
    this.#endCounted(connection.end(response, nowMs));
    return isStranger || wasSentAway;
  }

  /** A connection is gone. Answers that were never begun have no "close" of their own on every runtime. */
  forget(connection: Connection): void {
    this.#strangers.removeAll(connection);
    this.#idle.removeAll(connection);
    this.#endCounted(connection.forget());
  }

  /** Closes what is late. */
  sweep(nowMs: number): void {
    this.#strangers.sweep(nowMs, strangerMsMax);
  }

  #endCounted({ clients, peers }: ExchangeCounts): void {
    this.clients.end(clients);
    this.#peerStreams -= peers;
  }
}
