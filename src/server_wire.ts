/**
 * Server wire: a connection of plain one-key requests, from their bytes to their answers.
 *
 *     bytes -> a whole request? -> its operation -> one write -> the next request
 *                    \-- no: the connection, with all bytes not yet consumed, goes to node:http
 *
 * It serves a connection of HTTP/1.1 until the first request that is not of the shape which
 * `http_wire` takes. What comes then is for node:http, and the connection stays there.
 *
 * Invariants
 * 1. One request at a time: the next is looked at when the one before it is answered and its answer
 *    is on its way (RFC 9112 section 9.3.2), so a client that does not read is not served on.
 * 2. A connection is handed on only between two requests, with every byte that was not consumed, and
 *    with its end where that was seen.
 * 3. What a client sent before it closed its half is answered before ours is closed.
 *
 * Effects: the socket.
 *
 * @module
 */

import type { Socket } from "node:net";
import type { Clock } from "./capability.ts";
import type { Operation, Reply, Source } from "./exchange.ts";
import { WireReader, WireWriter } from "./http_wire.ts";

export interface WireEvents {
  /** Whether a request may be taken; else node:http has it, and refuses it. */
  mayTake(): boolean;
  /** Runs an operation; rejects only for a broken invariant. */
  run(source: Source, operation: Operation): Promise<Reply>;
  onBegin(): void;
  /** The request is answered, or its client is gone. */
  onEnd(): void;
  /** What comes next is for node:http. */
  onOther(): void;
}

/**
 * Answers that became ready in one turn of the event loop, written one right after the other. A write
 * to a client that sleeps wakes it, which can cost more than the request did; a client that is still
 * at the answers before is awake.
 */
export class WireOutbox {
  /** One for all connections: the replies of all have most lines of their headers in common. */
  readonly writer = new WireWriter();
  readonly #clock: Clock;
  #writes: (() => void)[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  add(write: () => void): void {
    this.#writes.push(write);
    if (this.#writes.length === 1) this.#clock.soon(() => this.#flush());
  }

  #flush(): void {
    const writes = this.#writes;
    this.#writes = [];
    for (const write of writes) write();
  }
}

export class ServerWire {
  readonly #socket: Socket;
  readonly #outbox: WireOutbox;
  readonly #events: WireEvents;
  readonly #reader = new WireReader();
  /** Bytes that were not consumed. */
  #pending: Buffer | undefined;
  #isBusy = false;
  /** The answer under way, or else the next one, is the last. */
  #isLast = false;
  #isEnded = false;

  constructor(socket: Socket, outbox: WireOutbox, events: WireEvents) {
    this.#socket = socket;
    this.#outbox = outbox;
    this.#events = events;
    socket.on("data", this.#onData);
    socket.on("end", this.#onEnd);
  }

  /** Whether a request is under way, or its answer not wholly with the system. */
  get isBusy(): boolean {
    return this.#isBusy;
  }

  /** Whether the client waits for something: an answer that is under way, or one behind it. */
  get isAwaited(): boolean {
    return this.#isBusy || this.#pending !== undefined;
  }

  /** What has come of requests that are yet to begin. */
  get pendingBytes(): number {
    return this.#pending?.length ?? 0;
  }

  /** The answer under way, if nothing waits behind it, tells that it is the last. */
  announceClose(): void {
    this.#isLast = true;
  }

  readonly #onData = (chunk: Buffer): void => {
    const { length } = this.#pending ?? "";
    this.#pending = this.#pending === undefined ? chunk : Buffer.concat([this.#pending, chunk]);
    if (!this.#isBusy) this.#next();
    // Nothing more is read meanwhile. The end may be told all the same: on a paused socket too.
    else if (length === 0) this.#socket.pause();
  };

  readonly #onEnd = (): void => {
    this.#isEnded = true;
    if (!this.#isBusy) this.#socket.end();
  };

  #next(): void {
    const pending = this.#pending;
    if (pending === undefined) return;
    if (!this.#socket.writable) {
      // Our half is closed: nobody could be told of it, so it is not begun.
      this.#pending = undefined;
      return;
    }
    const request = this.#events.mayTake() ? this.#reader.read(pending) : undefined;
    if (request === undefined) {
      this.#handOn(pending);
      return;
    }
    const { source, operation, bytes } = request;
    this.#pending = bytes < pending.length ? pending.subarray(bytes) : undefined;
    this.#isBusy = true;
    if (this.#pending !== undefined) this.#socket.pause();
    this.#events.onBegin();
    // A rejection is a broken invariant: left unhandled on purpose, it ends the process.
    void this.#events
      .run(source, operation)
      .then((reply) => this.#outbox.add(() => this.#answer(source, reply)));
  }

  #answer(source: Source, reply: Reply): void {
    const socket = this.#socket;
    if (socket.destroyed) return;
    const isLast = this.#isLast && this.#pending === undefined;
    const { text, body } = this.#outbox.writer.write(reply, source.method, isLast);
    let isTaken: boolean;
    if (body === undefined) isTaken = socket.write(text, "latin1");
    else {
      socket.cork();
      socket.write(text, "latin1");
      isTaken = socket.write(body);
      socket.uncork();
    }
    if (isLast) this.#end();
    else if (isTaken) this.#done();
    else socket.once("drain", () => this.#done());
  }

  /** The answer that was written is the last one. */
  #end(): void {
    this.#isBusy = false;
    this.#socket.end();
    this.#events.onEnd();
  }

  #done(): void {
    this.#isBusy = false;
    this.#events.onEnd();
    const socket = this.#socket;
    if (socket.destroyed) return;
    if (this.#pending !== undefined) {
      this.#next();
      if (!this.#isBusy || this.#pending === undefined) socket.resume();
    } else if (this.#isEnded) socket.end();
  }

  /**
   * The bytes are given to the parser in the same turn: it reads the connection itself from then on,
   * and on some runtimes bytes put back (`unshift`) would come after those that arrive meanwhile.
   */
  #handOn(pending: Buffer): void {
    const socket = this.#socket;
    socket.off("data", this.#onData);
    socket.off("end", this.#onEnd);
    this.#pending = undefined;
    const pieces = [pending];
    for (let piece = socket.read(); piece !== null; piece = socket.read()) pieces.push(piece);
    this.#events.onOther();
    // As one: the parser may pause the connection, and takes nothing while it is paused.
    socket.emit("data", pieces.length === 1 ? pending : Buffer.concat(pieces));
    // It was told while an answer was under way, and is told once; the parser has to know as well.
    if (this.#isEnded) socket.emit("end");
    socket.resume();
  }
}
