/**
 * Server strangers: streams that are opened as if by other nodes, and have yet to prove it.
 *
 * Who has the secret of the cluster shows it in one round trip. Until then a stream is anybody's, and
 * must not cost a node its place: strangers have a budget of their own, and a time. When all places
 * are taken, the connection that has most of them gives up its oldest, so that a node, which has one
 * stream on a connection of its own, is the last to be sent away.
 *
 * Invariants
 * 1. At most `strangersMax` are open that are not being closed.
 * 2. A stranger is closed when it is late, also where its client leaves what it was sent unread, and
 *    soon after it was answered, also where its client does not close its half.
 *
 * Effects: closes streams. Time comes as `nowMs`.
 *
 * @module
 */

import type { RpcResponse } from "./rpc.ts";
import type { Connection } from "./server_connection.ts";
import { lingerMs, strangerMsMax, strangersMax } from "./server_limits.ts";

interface Stranger {
  readonly connection: Connection;
  readonly begunMs: number;
  /** When its answer was first seen to have ended. */
  endedMs: number | undefined;
  isClosing: boolean;
}

export class Strangers {
  /** The oldest first. */
  readonly #open = new Map<RpcResponse, Stranger>();
  #closing = 0;

  /** All of them, also those that are being closed. */
  get size(): number {
    return this.#open.size;
  }

  /** Takes one more; true when another one had to make room for it. */
  add(response: RpcResponse, connection: Connection, nowMs: number): boolean {
    const isFull = this.#open.size - this.#closing >= strangersMax;
    if (isFull) this.#makeRoom();
    const stranger = { connection, begunMs: nowMs, endedMs: undefined, isClosing: false };
    this.#open.set(response, stranger);
    return isFull;
  }

  /** It is none any more: it has proven itself, or it is gone. False when it was none. */
  remove(response: RpcResponse): boolean {
    if (this.#open.get(response)?.isClosing === true) this.#closing -= 1;
    return this.#open.delete(response);
  }

  /** A connection is gone, and those on it. */
  removeAll(connection: Connection): void {
    for (const [response, stranger] of this.#open) {
      if (stranger.connection === connection) this.remove(response);
    }
  }

  /** Closes those whose time is over. */
  sweep(nowMs: number): void {
    for (const [response, stranger] of this.#open) {
      if (response.writableEnded) stranger.endedMs ??= nowMs;
      const isLate = nowMs - stranger.begunMs >= strangerMsMax;
      const isOver = stranger.endedMs !== undefined && nowMs - stranger.endedMs >= lingerMs;
      if (isLate || isOver) this.#close(response, stranger);
    }
  }

  #makeRoom(): void {
    const counts = new Map<Connection, number>();
    for (const { connection, isClosing } of this.#open.values()) {
      if (!isClosing) counts.set(connection, (counts.get(connection) ?? 0) + 1);
    }
    const most = Math.max(...counts.values());
    for (const [response, stranger] of this.#open) {
      if (stranger.isClosing || counts.get(stranger.connection) !== most) continue;
      this.#close(response, stranger);
      return;
    }
  }

  #close(response: RpcResponse, stranger: Stranger): void {
    if (stranger.isClosing) return;
    stranger.isClosing = true;
    this.#closing += 1;
    response.destroy();
  }
}
