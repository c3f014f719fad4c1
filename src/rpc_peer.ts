/**
 * Rpc peer: streams that other nodes open to this one, over the same port as everything else.
 *
 * What is in a frame is the nodes' own business; here frames are carried, in order, as fast as the
 * other end takes them. A stream is one call of gRPC over HTTP/2, not compressed, and of no other form: the
 * frames of nodes need nothing of what the RPC library does for clients (`rpc_frames`).
 *
 * Invariants
 * 1. Of a stream that has not proven to be a node's, no more is held than a message of a handshake.
 * 2. A stream's sink hears of its end once, with the first reason, and of no frame after it.
 *
 * Effects: the streams.
 *
 * @module
 */

import type { AcceptedStream, FrameSink, FrameSource } from "./capability.ts";
import { QuorateError } from "./errors.ts";
import { handshakeFrameBytesMax } from "./handshake.ts";
import { methodNotAllowed } from "./problem.ts";
import { connectError, trailersOf } from "./rpc_error.ts";
import {
  type FrameOutput,
  FrameReader,
  frameBytesMax,
  linkContentType,
  linkPath,
  sendFrames,
} from "./rpc_frames.ts";
import { headerOf, type RefusedRequest } from "./rpc_refuse.ts";

/** What becomes of a stream that another node has opened. */
export type AcceptPeer = (stream: AcceptedStream) => {
  readonly source: FrameSource;
  readonly sink: FrameSink;
};

/** What surrounds a frame in its message, at most: a tag and a length. */
const messageExtraBytes = 16;
/** The largest message of who has yet to prove to be a node: what a handshake needs. */
export const strangerMessageBytesMax: number = handshakeFrameBytesMax + messageExtraBytes;

/** Whoever dials sends a ping so often, whatever else it sends. */
export const pingPeriodMs: number = 5000;

/** What is used of an Http2ServerRequest. */
export interface PeerRequestStream extends RefusedRequest {
  readonly aborted: boolean;
  on(event: "data", listener: (chunk: Uint8Array) => void): unknown;
  on(event: "end" | "close" | "error", listener: () => void): unknown;
}

/** What is used of an Http2ServerResponse. */
export interface PeerResponseStream extends FrameOutput {
  readonly writableEnded: boolean;
  writeHead(status: number, headers: Record<string, string>): unknown;
  addTrailers(trailers: Record<string, string>): unknown;
  end(): unknown;
}

/** A stream that is to be taken. */
export interface OpenedStream {
  readonly request: PeerRequestStream;
  readonly response: PeerResponseStream;
  readonly requestId: string;
  /** It has proven to be of a node. */
  readonly onProven: () => void;
}

/** Takes the streams of other nodes. */
export class PeerEdge {
  readonly #accept: AcceptPeer;
  readonly #open = new Set<() => void>();

  constructor(accept: AcceptPeer) {
    this.#accept = accept;
  }

  /** Carries the frames of a stream until it ends. @throws QuorateError for what is no such stream */
  handle(stream: OpenedStream): void {
    checkOpened(stream.request);
    const { request, response } = stream;
    let accepted: ReturnType<AcceptPeer> | undefined;
    let isEnded = false;
    let isProven = false;
    const leave = (failure: Error | undefined, isThere: boolean): void => {
      if (isEnded) return;
      isEnded = true;
      this.#open.delete(close);
      // How the call went is told to who is there to be told.
      if (isThere) finish(stream, failure);
      accepted?.sink.onEnd(failure);
    };
    const end = (failure?: Error): void => leave(failure, true);
    const cut = (): void => leave(new Error("the connection was lost"), false);
    const close = (): void => end();
    const proven = (): void => {
      isProven = true;
      stream.onProven();
    };
    this.#open.add(close);
    response.writeHead(200, { "content-type": linkContentType });
    accepted = this.#accept({ close, proven });
    const { source, sink } = accepted;
    // Whoever closes takes none at all.
    if (isEnded) sink.onEnd(undefined);
    const bytesMax = () => (isProven ? frameBytesMax : strangerMessageBytesMax);
    const reader = new FrameReader(bytesMax, (frame) => {
      if (!isEnded) sink.onFrame(frame);
    });
    request.on("data", (chunk) => {
      // What comes after the end is let go: it would keep the connection waiting.
      const failure = isEnded ? undefined : reader.take(chunk);
      if (failure !== undefined) end(failure);
    });
    // A stream that was reset ends as if its body were whole.
    request.on("end", () => (request.aborted ? cut() : end(reader.finish())));
    request.on("close", cut);
    request.on("error", cut);
    sendFrames(source, response, () => isEnded, close);
  }

  /** Ends every stream. */
  close(): void {
    for (const end of this.#open) end();
  }
}

/** The status of the call, which is its last word. */
function finish({ response, requestId }: OpenedStream, failure: Error | undefined): void {
  if (response.writableEnded) return;
  const error = failure === undefined ? undefined : connectError(failure, requestId);
  response.addTrailers(trailersOf(error));
  response.end();
}

function checkOpened(request: RefusedRequest): void {
  const { method } = request;
  if (method !== "POST") throw methodNotAllowed(method ?? "", linkPath, "POST, OPTIONS");
  const type = headerOf(request, "content-type") ?? "";
  const encoding = headerOf(request, "grpc-encoding") ?? "identity";
  const isFit = type === "application/grpc" || type === linkContentType;
  if (request.httpVersionMajor >= 2 && isFit && encoding === "identity") return;
  const form = `HTTP/${request.httpVersionMajor}, '${type.slice(0, 80)}', compression '${encoding.slice(0, 80)}'`;
  throw new QuorateError("unsupported-media-type", `${linkPath} does not take ${form}.`, {
    outcome: "none",
    hint: "It is for nodes, over gRPC on HTTP/2 and not compressed. Clients use quorate.v1.KvService.",
  });
}
