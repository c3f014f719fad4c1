/**
 * Rpc network: the way to other nodes: one HTTP/2 session to each, with one stream of frames.
 *
 *     dial -> connected -> the stream -> frames both ways -> an end, whatever the reason: one onEnd
 *                \-> a ping every few seconds, sent whether or not frames go
 *
 * The session and its stream are kept here, and not by the gRPC package: its manager takes its hands off
 * a session that breaks while the stream on it is being ended, and the session's error, to which then nobody
 * listens, ends the process. A node must not die of another one that stands still. For the stream see
 * `rpc_frames`.
 *
 * Invariants
 * 1. A session, and a stream, has a listener for its errors from its making to its end.
 * 2. A sink hears one end, the first reason, and no frame after it. `dial` itself never throws.
 * 3. Whoever does not take a connection, or answer a ping, within `answerMsMax` is gone.
 *
 * Effects: sockets; timers, through the clock. Source: RFC 9113 section 6.7; the gRPC protocol over
 * HTTP/2; gRFC A8 (keepalive).
 *
 * @module
 */

import * as http2 from "node:http2";
import { ConnectError } from "@connectrpc/connect";
import { validateResponse, validateTrailer } from "@connectrpc/connect/protocol-grpc";
import type { Clock, FrameSink, FrameSource, Network, PeerStream } from "./capability.ts";
import { FrameReader, frameBytesMax, linkContentType, linkPath, sendFrames } from "./rpc_frames.ts";
import { pingPeriodMs } from "./rpc_peer.ts";
import { realClock } from "./runtime.ts";

/** How long another node may take to accept a connection, and to answer a ping. */
const answerMsMax = 5000;
/** What may be under way on a stream unread. HTTP/2's own 64 KiB let a far node be 1 MB/s at 60 ms. */
const windowBytes = 1024 * 1024;

/** The network as the operating system gives it. */
export const realNetwork: Network = networkOver(realClock);

/** The same, with the time that `clock` tells. */
export function networkOver(clock: Clock): Network {
  return { dial: (address, source, sink) => dial(clock, address, { source, sink }) };
}

/** Another way to some of the addresses, which stay the names of those nodes. */
export function routed(
  network: Network,
  routes: readonly { readonly advertised: string; readonly used: string }[],
): Network {
  if (routes.length === 0) return network;
  const ways = new Map(routes.map(({ advertised, used }) => [advertised, used]));
  return {
    dial: (address, source, sink) => network.dial(ways.get(address) ?? address, source, sink),
  };
}

/** One end of a stream. */
interface End {
  readonly source: FrameSource;
  readonly sink: FrameSink;
}

function dial(clock: Clock, address: string, { source, sink }: End): PeerStream {
  let session: Session | undefined;
  let isEnded = false;
  const end = (reason: Error | undefined): void => {
    if (isEnded) return;
    isEnded = true;
    session?.close();
    sink.onEnd(reason);
  };
  const close = (): void => end(undefined);
  const baseUrl = urlOf(address);
  if (baseUrl === undefined) {
    clock.soon(() => end(new Error(`'${address}' is not an address of the form host:port`)));
  } else {
    session = new Session(baseUrl, clock, {
      onStream: (stream) => carry(stream, { source, sink }, end, () => isEnded),
      onLost: end,
    });
  }
  return { close };
}

/** Frames both ways, until the stream ends. */
function carry(
  stream: http2.ClientHttp2Stream,
  { source, sink }: End,
  end: (reason: Error | undefined) => void,
  isEnded: () => boolean,
): void {
  const fail = (failure: Error | undefined): void => {
    if (failure !== undefined) end(failure);
  };
  const reader = new FrameReader(
    () => frameBytesMax,
    (frame) => {
      if (!isEnded()) sink.onFrame(frame);
    },
  );
  let trailers: http2.IncomingHttpHeaders | undefined;
  stream.on("response", (headers) => fail(whyRefused(headers)));
  stream.on("data", (chunk: Uint8Array) => {
    if (!isEnded()) fail(reader.take(chunk));
  });
  stream.on("trailers", (headers) => {
    trailers = headers;
  });
  stream.on("end", () => end(whyEnded(trailers) ?? reader.finish()));
  stream.on("error", end);
  stream.on("close", () => end(new Error("the stream was closed")));
  sendFrames(source, stream, isEnded, () => stream.end());
}

/** Why an answer is no stream of frames; undefined: it has begun as one. */
function whyRefused(
  headers: http2.IncomingHttpHeaders & http2.IncomingHttpStatusHeader,
): Error | undefined {
  return failureIn(() => {
    const { headerError } = validateResponse(headers[":status"] ?? 0, webHeaders(headers));
    if (headerError !== undefined) throw headerError;
  });
}

/** Why a stream has ended; undefined: the other end had no more to say. A node that was killed says nothing. */
function whyEnded(trailers: http2.IncomingHttpHeaders | undefined): Error | undefined {
  if (trailers === undefined) return new Error("the connection was closed");
  return failureIn(() => validateTrailer(webHeaders(trailers), new Headers()));
}

function failureIn(check: () => void): Error | undefined {
  try {
    check();
    return undefined;
  } catch (error) {
    return new Error(ConnectError.from(error).rawMessage, { cause: error });
  }
}

function webHeaders(headers: http2.IncomingHttpHeaders): Headers {
  const found = new Headers();
  for (const name of ["content-type", "grpc-status", "grpc-message"]) {
    const value = headers[name];
    if (typeof value === "string") found.set(name, value);
  }
  return found;
}

/** Where a node is reached; undefined for what names no host, or more than one. */
function urlOf(address: string): string | undefined {
  try {
    const { origin, href } = new URL(`http://${address}`);
    return href === `${origin}/` ? origin : undefined;
  } catch {
    return undefined;
  }
}

interface SessionEvents {
  /** The node is there: the stream on which frames go. */
  onStream(stream: http2.ClientHttp2Stream): void;
  onLost(reason: Error): void;
}

/** A connection for one stream, with its pings. */
class Session {
  readonly #clock: Clock;
  readonly #session: http2.ClientHttp2Session;
  readonly #events: SessionEvents;
  #stream: http2.ClientHttp2Stream | undefined;
  #cancelTimer: () => void;

  constructor(authority: string, clock: Clock, events: SessionEvents) {
    this.#clock = clock;
    this.#events = events;
    const session = http2.connect(authority, {
      settings: { enablePush: false, initialWindowSize: windowBytes },
    });
    this.#session = session;
    this.#cancelTimer = clock.after(answerMsMax, () => {
      events.onLost(new Error(`no connection within ${answerMsMax} ms`));
    });
    session.on("connect", () => this.#begin());
    session.on("error", (error) => events.onLost(error));
    session.on("close", () => {
      // What the stream has to say of its end comes first.
      clock.soon(() => events.onLost(new Error("the connection was closed")));
    });
  }

  #begin(): void {
    const session = this.#session;
    this.#cancelTimer();
    if (session.destroyed) return;
    session.setLocalWindowSize?.(windowBytes);
    this.#pingLater();
    const headers = { "content-type": linkContentType, te: "trailers" };
    this.#stream = session.request({ ":method": "POST", ":path": linkPath, ...headers });
    this.#events.onStream(this.#stream);
  }

  close(): void {
    this.#cancelTimer();
    if (this.#session.destroyed) return;
    this.#stream?.close(http2.constants.NGHTTP2_CANCEL);
    // With a reason the socket is cut; without one only its half is closed, and the other end stays.
    this.#session.destroy(new Error("the stream has ended"), http2.constants.NGHTTP2_CANCEL);
  }

  #pingLater(): void {
    this.#cancelTimer = this.#clock.after(pingPeriodMs, () => this.#ping());
  }

  #ping(): void {
    if (this.#session.destroyed || this.#session.closed) return;
    this.#cancelTimer = this.#clock.after(answerMsMax, () => {
      this.#events.onLost(new Error(`it answered no ping for ${answerMsMax} ms`));
    });
    this.#session.ping((error) => {
      if (error !== null || this.#session.destroyed) return;
      this.#cancelTimer();
      this.#pingLater();
    });
  }
}
