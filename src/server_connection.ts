/**
 * Server connection: one TCP connection, from its first byte to its end.
 *
 *     peek --"PRI "--> http2        the preface of HTTP/2; with anything else it is HTTP/1.1
 *       \--anything--> wire         plain requests for one key, as long as there are no others
 *                        \------> http1
 *
 * The first bytes are read, looked at and put back; then the connection is handed to node:http2 or to
 * the wire, from there to node:http once, and no byte of it passes through here again. Those enforce no deadline on a
 * connection that they did not accept themselves, on Bun none at all. So the deadlines are kept
 * here, from what every runtime tells: the bytes read and written so far, and the requests under way.
 *
 * Invariants
 * 1. A connection ends: without a whole request in time, without a request for long, or with a
 *    client that does not read what it asked for.
 * 2. A text is only written to a connection on which no answer is expected or begun.
 * 3. A stream of another node may be still for as long as its connection is not: it brings pings.
 * 4. Over HTTP/1.1 a request begins when all before it are answered, because a client may rely on
 *    their order (RFC 9112 section 9.3.2).
 *
 * Effects: the socket. Time comes as `nowMs`.
 *
 * @module
 */

import type { Http2Session } from "node:http2";
import type { Socket } from "node:net";
import type { QuorateError } from "./errors.ts";
import type { RequestIds } from "./exchange.ts";
import type { RpcRequest, RpcResponse } from "./rpc.ts";
import { FloodBucket, lingerMs, peerSilenceMsMax, type ServerLimits } from "./server_limits.ts";
import { headersTimedOut, parserError, rawProblem } from "./server_problem.ts";
import type { ServerWire } from "./server_wire.ts";

const http2Preface = "PRI ";
const http2EnhanceYourCalm = 11;

type Protocol = "unknown" | "http1" | "http2";

/**
 * A request of a client, which is over soon; a stream of one that only waits (`server_places`); or a
 * stream of another node, which lives as long as both do.
 */
export type ExchangeKind = "client" | "idle" | "peer";

/** A request under way. */
interface Exchange {
  readonly request: RpcRequest;
  readonly response: RpcResponse;
  /** When its answer was first seen whole and unsent; undefined: not yet. */
  answeredMs: number | undefined;
  readonly kind: ExchangeKind;
  /** Whether it has yet to begin, because those before it are not answered (HTTP/1.1). */
  isWaiting: boolean;
}

/** So many requests, by who sent them; idle streams are counted by their places. */
export interface ExchangeCounts {
  readonly clients: number;
  readonly peers: number;
}

export class Connection {
  readonly socket: Socket;
  readonly floods: FloodBucket;
  protocol: Protocol = "unknown";
  session: Http2Session | undefined;
  /** What serves the connection until it goes to node:http. */
  wire: ServerWire | undefined;
  /** Whether an HTTP/2 client has sent its settings. */
  isSettled = false;
  /** Whether the connection is to be ended for a flood. */
  isFlooding = false;
  readonly #limits: ServerLimits;
  readonly #ids: RequestIds;
  /** In the order in which they came. A Map would keep them alive when they are over (`in_flight.ts`). */
  #exchanges: Exchange[] = [];
  readonly #acceptedMs: number;
  /** Requests that were begun on this connection. */
  #begun = 0;
  /** When the last request ended, or the connection began. */
  #idleMs: number;
  #idleBytesRead = 0;
  /** When bytes of an unfinished head were first seen. */
  #headMs: number | undefined;
  #bytesHeard = 0;
  /** When bytes were last seen to have come, while requests were under way. */
  #heardMs: number;
  #bytesWritten = 0;
  #progressMs: number;
  /** When we closed our half, or a client of HTTP/2 closed its own. */
  #endedMs: number | undefined;
  /** Whether a client of HTTP/2 has closed its half: what ends then is not cut by us. */
  #hasLeft = false;

  constructor(socket: Socket, limits: ServerLimits, ids: RequestIds, nowMs: number) {
    this.socket = socket;
    this.#limits = limits;
    this.#ids = ids;
    this.#acceptedMs = nowMs;
    this.#idleMs = nowMs;
    this.#progressMs = nowMs;
    this.#heardMs = nowMs;
    this.floods = new FloodBucket(nowMs);
  }

  get requests(): number {
    return this.#exchanges.length + (this.wire?.isAwaited === true ? 1 : 0);
  }

  /** A request was taken from the wire. */
  beginWire(): void {
    this.#begun += 1;
    this.#headMs = undefined;
  }

  /** A request of the wire is answered. */
  endWire(nowMs: number): void {
    this.#idleMs = nowMs;
    // The beginning of a head may have come with the request before: its time counts, too.
    this.#idleBytesRead = this.socket.bytesRead - (this.wire?.pendingBytes ?? 0);
  }

  /** Calls `found` once, when the first bytes have told the protocol; they are then put back. */
  peek(found: (protocol: "http1" | "http2") => void): void {
    const { socket } = this;
    let held: Buffer | undefined;
    const onReadable = () => {
      const chunk: Buffer | null = socket.read();
      if (chunk === null) return;
      held = held === undefined ? chunk : Buffer.concat([held, chunk]);
      const begin = held.toString("latin1", 0, http2Preface.length);
      const isPreface = http2Preface.startsWith(begin);
      if (isPreface && begin.length < http2Preface.length) return;
      socket.off("readable", onReadable);
      socket.off("end", onEnd);
      socket.unshift(held);
      this.protocol = isPreface ? "http2" : "http1";
      found(this.protocol);
    };
    // With our half left open, nobody else would close it.
    const onEnd = () => socket.destroy();
    socket.on("readable", onReadable);
    socket.on("end", onEnd);
  }

  begin(request: RpcRequest, response: RpcResponse, kind: ExchangeKind = "client"): void {
    this.#begun += 1;
    this.#headMs = undefined;
    const exchange = { request, response, kind, answeredMs: undefined, isWaiting: false };
    this.#exchanges.push(exchange);
  }

  /** Has a request that was just taken wait for those before it; false when there are none. */
  mustWait(response: RpcResponse): boolean {
    if (this.#exchanges.length < 2 || this.protocol !== "http1") return false;
    const exchange = this.#exchanges[this.#indexOf(response)];
    if (exchange === undefined) return false;
    exchange.isWaiting = true;
    // Nobody listens to it yet, and on some runtimes an error without a listener ends the process.
    exchange.request.on("error", ignore);
    response.on("error", ignore);
    return true;
  }

  /** The request whose turn has come, once; none when its answer could not be sent any more. */
  takeNext(): readonly [request: RpcRequest, response: RpcResponse] | undefined {
    const [first] = this.#exchanges;
    if (first === undefined || !this.socket.writable || !first.isWaiting) return undefined;
    first.isWaiting = false;
    return [first.request, first.response];
  }

  /** -1: it is over. */
  #indexOf(response: RpcResponse): number {
    return this.#exchanges.findIndex((exchange) => exchange.response === response);
  }

  /** A request is over: answered, or cut. It counts once. */
  end(response: RpcResponse, nowMs: number): ExchangeCounts {
    // -1 becomes an index past the end, from which nothing is taken.
    const [exchange] = this.#exchanges.splice(this.#indexOf(response) >>> 0, 1);
    if (exchange === undefined) return { clients: 0, peers: 0 };
    if (this.#exchanges.length === 0) {
      this.#idleMs = nowMs;
      this.#idleBytesRead = this.socket.bytesRead;
    }
    return { clients: exchange.kind === "client" ? 1 : 0, peers: exchange.kind === "peer" ? 1 : 0 };
  }

  /** The connection is gone, and with it so many requests that were under way. */
  forget(): ExchangeCounts {
    const kinds = this.#exchanges.map(({ kind }) => kind);
    const peers = kinds.filter((kind) => kind === "peer").length;
    const asked = kinds.filter((kind) => kind === "client").length;
    const clients = asked + (this.wire?.isBusy === true ? 1 : 0);
    this.#exchanges = [];
    this.wire = undefined;
    return { clients, peers };
  }

  /** Answers that are not begun will say that the connection ends with them. */
  announceClose(): void {
    if (this.protocol === "http2") {
      // GOAWAY: streams that are open finish, and a client takes new requests elsewhere.
      if (this.session?.closed === false) this.session.close();
      return;
    }
    this.wire?.announceClose();
    let waiting = this.#exchanges.length;
    for (const { request, response } of this.#exchanges) {
      waiting -= 1;
      // The first answer that says so is the last: requests that wait behind it would be lost.
      if (waiting > 0) continue;
      // While a body is still coming, the connection must outlive its answer: it would be reset.
      if (!("shouldKeepAlive" in response) || response.headersSent || !hasArrived(request))
        continue;
      response.shouldKeepAlive = false;
    }
  }

  /** Whether the head of a request has arrived in part (HTTP/1.1). */
  get isBeginning(): boolean {
    if (this.protocol === "http2" || this.requests > 0 || this.#endedMs !== undefined) {
      return false;
    }
    return this.socket.bytesRead !== this.#idleBytesRead;
  }

  /** Whether another node has a stream on it. */
  get isOfPeer(): boolean {
    return this.#has("peer");
  }

  /** Whether requests wait for a stream that may never end (HTTP/1.1). */
  get isStuck(): boolean {
    return this.protocol === "http1" && this.#exchanges.length > 1 && this.#has("idle");
  }

  /** Whether our half is closed, so that no answer could be sent any more (HTTP/1.1). */
  get isClosed(): boolean {
    return this.protocol === "http1" && !this.socket.writable;
  }

  #has(wanted: ExchangeKind): boolean {
    return this.#exchanges.some(({ kind }) => kind === wanted);
  }

  /**
   * Closes our half once nothing is under way, and the rest in a bounded time. Another node is told on
   * its stream: after a GOAWAY it would send no pings, and on some runtimes end the stream at once.
   */
  endWhenIdle(nowMs: number): void {
    if (this.isOfPeer) return;
    this.announceClose();
    if (this.requests > 0 || this.#endedMs !== undefined) return;
    this.#endedMs = nowMs;
    if (this.protocol !== "http2") this.socket.end();
  }

  /**
   * The client has closed its half. Over HTTP/1.1 a request that it left unfinished never comes, and is
   * not waited for: on some runtimes node:http goes on waiting. Over HTTP/2 the client has left: what
   * is nearly done may finish, but a stream without an end (a watch) would stay for ever.
   */
  endOfClient(nowMs: number): void {
    if (this.protocol === "http2") {
      this.announceClose();
      this.#endedMs ??= nowMs;
      this.#hasLeft = true;
      return;
    }
    const isUnfinished = this.#exchanges.some(({ request }) => !request.complete);
    if (isUnfinished) this.refuse(parserError({ code: "HPE_INVALID_EOF_STATE" }), nowMs);
  }

  /** Last words to an HTTP/1.1 client whose bytes were no request. */
  refuse(failure: QuorateError, nowMs: number): void {
    if (this.#endedMs !== undefined || this.socket.destroyed) return;
    // An answer that is begun, or that an earlier request waits for, would be garbled or mistaken.
    // And a DELETE, which waits for no body, may do what was asked: no word of ours is true of it (P7).
    const isAnswering = this.#exchanges.some(
      ({ request, response }) =>
        response.headersSent || request.complete || request.method === "DELETE",
    );
    if (isAnswering || !this.socket.writable) {
      this.cut();
      return;
    }
    this.#endedMs = nowMs;
    this.socket.end(rawProblem(failure, this.#ids.next()));
  }

  /** Ends a connection that floods, with the reason where the protocol has one. */
  endFlood(): void {
    if (this.session?.destroyed === false) this.session.goaway(http2EnhanceYourCalm);
    this.cut();
  }

  cut(): void {
    if (this.session?.destroyed === false) this.session.destroy();
    this.socket.destroy();
  }

  /** What waits to be read by the client. */
  get outgoingBytes(): number {
    // A connection that was cut is told to be closed a little later, and is not to be cut again.
    if (this.socket.destroyed) return 0;
    let bytes = 0;
    for (const { response } of this.#exchanges) bytes += response.writableLength;
    // Over HTTP/1.1 the answer whose turn it is has it in the socket, and counts it as its own.
    return Math.max(bytes, this.socket.writableLength);
  }

  /** Looks at every deadline; called now and again. True when a client was cut that was there still. */
  sweep(nowMs: number): boolean {
    if (this.#endedMs !== undefined) {
      if (nowMs - this.#endedMs < lingerMs) return false;
      this.cut();
      return !this.#hasLeft;
    }
    if (this.requests > 0) return this.#sweepBusy(nowMs);
    if (this.#isHeadLate(nowMs)) this.#endLateHead(nowMs);
    else if (nowMs - this.#idleMs >= this.#limits.idleTimeoutMs) this.endWhenIdle(nowMs);
    return false;
  }

  /** A client that has an answer to read, and reads nothing for long. */
  #sweepBusy(nowMs: number): boolean {
    const { stallTimeoutMs } = this.#limits;
    const { bytesWritten } = this.socket;
    const isMoving = bytesWritten !== this.#bytesWritten;
    if (isMoving || this.outgoingBytes === 0) {
      this.#bytesWritten = bytesWritten;
      this.#progressMs = nowMs;
    }
    if (nowMs - this.#progressMs >= stallTimeoutMs || this.#isPeerGone(nowMs)) {
      this.cut();
      return true;
    }
    if (this.protocol === "http2") this.#sweepStreams(nowMs);
    return false;
  }

  /** The other end gave a sign of life that is no request: on Bun its bytes are not counted (HTTP/2). */
  hear(nowMs: number): void {
    this.#heardMs = nowMs;
  }

  /** A node that vanished (its machine, or the way to it) never says so; it is only silent. */
  #isPeerGone(nowMs: number): boolean {
    const { bytesRead } = this.socket;
    if (bytesRead !== this.#bytesHeard) {
      this.#bytesHeard = bytesRead;
      this.#heardMs = nowMs;
    }
    return nowMs - this.#heardMs >= peerSilenceMsMax && this.isOfPeer;
  }

  /** On HTTP/2 a connection may move while the answer of one stream is left unread. */
  #sweepStreams(nowMs: number): void {
    // A copy: whoever is ended here may be taken out of them at once.
    for (const exchange of [...this.#exchanges]) {
      const { response } = exchange;
      if (!response.writableEnded) continue;
      exchange.answeredMs ??= nowMs;
      if (nowMs - exchange.answeredMs < streamStallFactor * this.#limits.stallTimeoutMs) continue;
      response.destroy();
    }
  }

  /** No request is under way: has one been begun, and when? */
  #isHeadLate(nowMs: number): boolean {
    const { headersTimeoutMs } = this.#limits;
    const isFirst = this.#begun === 0;
    // An HTTP/2 client may connect long before its first request; a session is enough from it.
    if (isFirst && this.protocol !== "http2") return nowMs - this.#acceptedMs >= headersTimeoutMs;
    if (this.protocol === "http2") {
      return !this.isSettled && nowMs - this.#acceptedMs >= headersTimeoutMs;
    }
    if (this.socket.bytesRead === this.#idleBytesRead) return false;
    this.#headMs ??= nowMs;
    return nowMs - this.#headMs >= headersTimeoutMs;
  }

  #endLateHead(nowMs: number): void {
    const saidNothing = this.socket.bytesRead === 0;
    if (this.protocol === "http2" || saidNothing) this.cut();
    else this.refuse(headersTimedOut(this.#limits.headersTimeoutMs), nowMs);
  }
}

/** Whether nothing more of a request is to come; told by its head, because its end is told later. */
function hasArrived(request: RpcRequest): boolean {
  if (request.complete) return true;
  const { headers } = request;
  return headers["transfer-encoding"] === undefined && Number(headers["content-length"] ?? 0) === 0;
}

const ignore = (): void => {};

/** An answer on a stream may take so many stall timeouts while the connection as a whole moves. */
const streamStallFactor = 10;
