/**
 * Rpc peer: streams that other nodes open to this one, over the same port as everything else.
 *
 * What is in a frame is the nodes' own business; here frames are carried, in order, as fast as the
 * other end takes them.
 *
 * Invariants
 * 1. `source.next()` is asked again only when the frame before was taken by the transport.
 * 2. Of a stream that has not proven to be a node's, no more is held than a message of a handshake.
 * 3. A stream's sink hears of its end once, with the first reason, and of no frame after it.
 *
 * Effects: the streams.
 *
 * @module
 */

import { create } from "@bufbuild/protobuf";
import { type ContextKey, createContextKey, type ServiceImpl } from "@connectrpc/connect";
import { AssertionError } from "./assert.ts";
import type { AcceptedStream, FrameSink, FrameSource, PeerStream } from "./capability.ts";
import {
  type LinkRequest,
  type LinkResponse,
  LinkResponseSchema,
  type PeerService,
} from "./gen/quorate/peer/v1/peer_pb.ts";
import { handshakeFrameBytesMax } from "./handshake.ts";
import { MessageGauge } from "./rpc_body.ts";

/** What becomes of a stream that another node has opened. */
export type AcceptPeer = (stream: AcceptedStream) => {
  readonly source: FrameSource;
  readonly sink: FrameSink;
};

/** The largest frame: far above what a channel makes, far below what hurts. */
export const frameBytesMax: number = 2 * 1024 * 1024;

/** What surrounds a frame in its message, at most: a tag and a length. */
const messageExtraBytes = 16;
/** The largest message of who has yet to prove to be a node: what a handshake needs. */
export const strangerMessageBytesMax: number = handshakeFrameBytesMax + messageExtraBytes;

/** Whoever dials sends a ping so often, whatever else it sends. */
export const pingPeriodMs: number = 5000;

/** What is called when the stream of a request is known to be a node's. */
export const provenKey: ContextKey<() => void> = createContextKey(() => {});

/**
 * The bytes of a stream as they come, a node's without any more work. It fails with `value-too-large` at
 * a stranger's message above its limit.
 */
export function boundedUntil(
  isProven: () => boolean,
  source: AsyncIterable<Uint8Array>,
): AsyncIterable<Uint8Array> {
  const gauge = new MessageGauge(true, strangerMessageBytesMax);
  const chunks = source[Symbol.asyncIterator]();
  const finish = async () => (await chunks.return?.()) ?? { done: true as const, value: undefined };
  const measured = async () => {
    const next = await chunks.next();
    if (next.done === true || isProven()) return next;
    try {
      gauge.take(next.value);
    } catch (failure) {
      await finish();
      throw failure;
    }
    return next;
  };
  const next = () => (isProven() ? chunks.next() : measured());
  return { [Symbol.asyncIterator]: () => ({ next, return: finish }) };
}

export interface PeerEdge {
  readonly implementation: ServiceImpl<typeof PeerService>;
  /** Ends every stream. */
  close(): void;
}

/** The service that carries the frames of other nodes. */
export function createPeerEdge(accept: AcceptPeer): PeerEdge {
  const open = new Set<() => void>();
  return {
    implementation: {
      link: (requests, { values }) => {
        const proven = values.get(provenKey);
        return serve(requests, (stream) => accept({ ...stream, proven }), open);
      },
    },
    close: () => {
      for (const end of open) end();
    },
  };
}

async function* serve(
  requests: AsyncIterable<LinkRequest>,
  accept: (stream: PeerStream) => ReturnType<AcceptPeer>,
  open: Set<() => void>,
): AsyncGenerator<LinkResponse> {
  let isEnded = false;
  let wake: (frame: Uint8Array | undefined) => void = () => {};
  const end = (reason?: Error): void => {
    if (isEnded) return;
    isEnded = true;
    open.delete(close);
    wake(undefined);
    sink.onEnd(reason);
  };
  const close = (): void => end();
  open.add(close);
  const { source, sink } = accept({ close });
  void hear(requests, sink, { end, isEnded: () => isEnded });
  try {
    while (!isEnded) {
      const frame = await new Promise<Uint8Array | undefined>((resolve, reject) => {
        wake = resolve;
        void source.next().then(resolve, reject);
      });
      if (frame === undefined) return;
      yield create(LinkResponseSchema, { frame });
    }
  } finally {
    end();
  }
}

interface Ending {
  readonly end: (reason?: Error) => void;
  readonly isEnded: () => boolean;
}

async function hear(
  requests: AsyncIterable<LinkRequest>,
  sink: FrameSink,
  { end, isEnded }: Ending,
): Promise<void> {
  try {
    for await (const { frame } of requests) {
      if (isEnded()) return;
      sink.onFrame(frame);
    }
    end();
  } catch (error) {
    // A broken invariant is not the other node's: out of this promise it ends the process.
    if (error instanceof AssertionError) throw error;
    end(error instanceof Error ? error : new Error(String(error)));
  }
}
