/**
 * Rpc network: the way to other nodes: one HTTP/2 session to each, with one stream of frames.
 *
 *     dial -> connected -> the stream -> frames both ways -> an end, whatever the reason: one onEnd
 *                \-> a ping every few seconds, sent whether or not frames go
 *
 * The session is kept here, and not by the gRPC package: its manager takes its hands off a session
 * that breaks while the stream on it is being ended, and the session's error, to which then nobody
 * listens, ends the process. A node must not die of another one that stands still.
 *
 * Invariants
 * 1. A session has a listener for its errors from its making to its end.
 * 2. A sink hears one end, the first reason, and no frame after it. `dial` itself never throws.
 * 3. Whoever does not take a connection, or answer a ping, within `answerMsMax` is gone.
 *
 * Effects: sockets; timers, through the clock. Source: RFC 9113 section 6.7; the gRPC protocol over
 * HTTP/2; gRFC A8 (keepalive).
 *
 * @module
 */

import * as http2 from "node:http2";
import { create } from "@bufbuild/protobuf";
import { ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { AssertionError } from "./assert.ts";
import type { Clock, FrameSink, FrameSource, Network, PeerStream } from "./capability.ts";
import { type LinkRequest, LinkRequestSchema, PeerService } from "./gen/quorate/peer/v1/peer_pb.ts";
import { frameBytesMax, pingPeriodMs } from "./rpc_peer.ts";
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
  const abort = new AbortController();
  let session: Session | undefined;
  let isEnded = false;
  let wake: (frame: Uint8Array | undefined) => void = () => {};
  const end = (reason: Error | undefined): void => {
    if (isEnded) return;
    isEnded = true;
    wake(undefined);
    abort.abort();
    session?.close();
    sink.onEnd(reason);
  };
  const baseUrl = urlOf(address);
  if (baseUrl === undefined) {
    clock.soon(() => end(new Error(`'${address}' is not an address of the form host:port`)));
    return { close: () => end(undefined) };
  }
  async function* frames(): AsyncGenerator<LinkRequest> {
    while (!isEnded) {
      const frame = await new Promise<Uint8Array | undefined>((resolve, reject) => {
        wake = resolve;
        void source.next().then(resolve, reject);
      });
      if (frame === undefined) return;
      yield create(LinkRequestSchema, { frame });
    }
  }
  const sessionManager = new Session(baseUrl, clock, end);
  session = sessionManager;
  const transport = createGrpcTransport({
    baseUrl,
    sessionManager,
    readMaxBytes: frameBytesMax,
    acceptCompression: [],
  });
  void (async () => {
    try {
      const client = createClient(PeerService, transport);
      for await (const { frame } of client.link(frames(), { signal: abort.signal })) {
        if (isEnded) return;
        sink.onFrame(frame);
      }
      end(undefined);
    } catch (error) {
      // A broken invariant is not the other node's: out of this promise it ends the process.
      if (error instanceof AssertionError) throw error;
      end(new Error(ConnectError.from(error).rawMessage, { cause: error }));
    }
  })();
  return { close: () => end(undefined) };
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

/** A connection for one stream, with its pings. */
class Session {
  readonly authority: string;
  readonly #clock: Clock;
  readonly #session: http2.ClientHttp2Session;
  readonly #connected: Promise<void>;
  readonly #onLost: (reason: Error) => void;
  #cancelTimer: () => void;

  constructor(authority: string, clock: Clock, onLost: (reason: Error) => void) {
    this.authority = authority;
    this.#clock = clock;
    this.#onLost = onLost;
    const session = http2.connect(authority, {
      settings: { enablePush: false, initialWindowSize: windowBytes },
    });
    this.#session = session;
    this.#cancelTimer = clock.after(answerMsMax, () => {
      onLost(new Error(`no connection within ${answerMsMax} ms`));
    });
    this.#connected = new Promise((resolve, reject) => {
      session.on("connect", () => {
        this.#cancelTimer();
        if (session.destroyed) return;
        session.setLocalWindowSize?.(windowBytes);
        this.#pingLater();
        resolve();
      });
      session.on("error", (error) => {
        reject(error);
        onLost(error);
      });
      session.on("close", () => {
        const closed = new Error("the connection was closed");
        reject(closed);
        // What the stream has to say of its end comes first.
        clock.soon(() => onLost(closed));
      });
    });
    this.#connected.catch(() => {});
  }

  async request(
    method: string,
    path: string,
    headers: http2.OutgoingHttpHeaders,
    options: Omit<http2.ClientSessionRequestOptions, "signal">,
  ): Promise<http2.ClientHttp2Stream> {
    await this.#connected;
    return this.#session.request({ ...headers, ":method": method, ":path": path }, options);
  }

  /** Pings are sent whatever is read: the other end goes by them as well. */
  notifyResponseByteRead(): void {}

  close(): void {
    this.#cancelTimer();
    if (this.#session.destroyed) return;
    // With a reason the socket is cut; without one only its half is closed, and the other end stays.
    this.#session.destroy(new Error("the stream has ended"), http2.constants.NGHTTP2_CANCEL);
  }

  #pingLater(): void {
    this.#cancelTimer = this.#clock.after(pingPeriodMs, () => this.#ping());
  }

  #ping(): void {
    if (this.#session.destroyed || this.#session.closed) return;
    this.#cancelTimer = this.#clock.after(answerMsMax, () => {
      this.#onLost(new Error(`it answered no ping for ${answerMsMax} ms`));
    });
    this.#session.ping((error) => {
      if (error !== null || this.#session.destroyed) return;
      this.#cancelTimer();
      this.#pingLater();
    });
  }
}
