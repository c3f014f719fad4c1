/**
 * Server places: streams that last, and have a number of places of their own.
 *
 * A request is over soon, and the budget of clients counts those under way. Two kinds of streams are not
 * over by themselves, and cost whoever opens them nothing:
 *
 * - Strangers: streams that are opened as if by other nodes, and have yet to prove it. Who has the
 *   secret of the cluster shows it in one round trip. Until then a stream is anybody's, and must not
 *   cost a node its place; so strangers have a time as well.
 * - Idle streams: those that wait for something to tell (a watch of the health) or to be asked
 *   (reflection). Among the requests, a few connections full of them would have every client refused.
 *
 * When all places are taken, a connection that has most of them gives up its oldest: a client that has
 * one stream on a connection of its own is the last to be sent away.
 *
 * Invariants
 * 1. At most `max` are open that are not being closed.
 * 2. With `sweep` a stream is closed when it is late, also where its client leaves what it was sent unread,
 *    and soon after it was answered, also where its client does not close its half.
 *
 * Effects: closes streams. Time comes as `nowMs`.
 *
 * @module
 */

import type { RpcResponse } from "./rpc.ts";
import type { Connection } from "./server_connection.ts";
import { lingerMs } from "./server_limits.ts";

interface Place {
  readonly connection: Connection;
  readonly begunMs: number;
  /** When its answer was first seen to have ended. */
  endedMs: number | undefined;
  isClosing: boolean;
}

/** The places of one kind of streams. */
export class Places {
  readonly #max: number;
  readonly #open = new Map<RpcResponse, Place>();
  /** Those that are not being closed, by connection, the oldest first. */
  readonly #staying = new Map<Connection, Set<RpcResponse>>();
  #stayingCount = 0;

  constructor(max: number) {
    this.#max = max;
  }

  /** All of them, also those that are being closed. */
  get size(): number {
    return this.#open.size;
  }

  /** Takes one more; true when another one had to make room for it. */
  add(response: RpcResponse, connection: Connection, nowMs: number): boolean {
    const isFull = this.#stayingCount >= this.#max;
    if (isFull) this.#makeRoom();
    this.#open.set(response, { connection, begunMs: nowMs, endedMs: undefined, isClosing: false });
    const own = this.#staying.get(connection) ?? new Set();
    this.#staying.set(connection, own.add(response));
    this.#stayingCount += 1;
    return isFull;
  }

  /** Whether a stream has been told to close. */
  isClosing(response: RpcResponse): boolean {
    return this.#open.get(response)?.isClosing === true;
  }

  /** It is none any more: it has proven itself, or it is gone. False when it was none. */
  remove(response: RpcResponse): boolean {
    const place = this.#open.get(response);
    if (place === undefined) return false;
    this.#leave(response, place);
    return this.#open.delete(response);
  }

  /** A connection is gone, and those on it. */
  removeAll(connection: Connection): void {
    for (const [response, place] of this.#open) {
      if (place.connection === connection) this.remove(response);
    }
  }

  /** Closes those that are late, or over: for streams whose answers are a few words (invariant 2). */
  sweep(nowMs: number, lifeMsMax: number): void {
    for (const [response, place] of this.#open) {
      if (response.writableEnded) place.endedMs ??= nowMs;
      const isLate = nowMs - place.begunMs >= lifeMsMax;
      const isOver = place.endedMs !== undefined && nowMs - place.endedMs >= lingerMs;
      if (isLate || isOver) this.#close(response, place);
    }
  }

  #makeRoom(): void {
    let most: Set<RpcResponse> = new Set();
    for (const own of this.#staying.values()) if (own.size > most.size) most = own;
    const [oldest] = most;
    const place = oldest === undefined ? undefined : this.#open.get(oldest);
    if (oldest !== undefined && place !== undefined) this.#close(oldest, place);
  }

  #close(response: RpcResponse, place: Place): void {
    if (place.isClosing) return;
    this.#leave(response, place);
    place.isClosing = true;
    response.destroy();
  }

  /** From now on it is not one of those that stay. */
  #leave(response: RpcResponse, { connection, isClosing }: Place): void {
    if (isClosing) return;
    const own = this.#staying.get(connection);
    own?.delete(response);
    if (own?.size === 0) this.#staying.delete(connection);
    this.#stayingCount -= 1;
  }
}
