/**
 * RpcHot: unary gRPC calls for one key, answered without the router.
 *
 * Nearly all gRPC traffic is one shape: one message that is not compressed, whole in the first piece
 * of the body, and nothing behind it. Such a call needs none of the router's pipeline of iterators, which
 * is there for streams, compression and other codecs. The messages, their codec and the methods are
 * the router's own; whatever is not exactly this shape goes to it, with the bytes that were read.
 *
 *     POST /quorate.v1.KvService/Get, application/grpc
 *       first piece: flags 0, length, message, no byte more -> end of the body -> the method
 *                          \-- no                                 \-- no: the router
 *
 * Invariants
 * 1. A client cannot tell which of the two has answered.
 * 2. A method begins when its body has ended: a second message must not find the first one done.
 *
 * Effects: the node's, through the methods; the sockets behind the requests; timers, through the clock.
 * Source: the protocol reference of gRPC over HTTP/2.
 *
 * @module
 */

import {
  create,
  type DescMessage,
  fromBinary,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import type { ConnectError } from "@connectrpc/connect";
import { compressionNegotiate } from "@connectrpc/connect/protocol";
import type { Budget } from "./admission.ts";
import type { Clock, Report } from "./capability.ts";
import { bodyTimedOut } from "./exchange.ts";
import { acceptCompression } from "./rpc_body.ts";
import { connectError, trailersOf } from "./rpc_error.ts";
import { headerOf, type RefusedRequest } from "./rpc_refuse.ts";
import type { UnaryCall } from "./rpc_service.ts";

/** What is used of an Http2ServerRequest. */
export interface HotRequest extends RefusedRequest {
  readonly aborted: boolean;
  on(event: "data", listener: (chunk: Uint8Array) => void): unknown;
  on(event: "end" | "close" | "error", listener: () => void): unknown;
  off(event: "data", listener: (chunk: Uint8Array) => void): unknown;
  off(event: "end" | "close", listener: () => void): unknown;
  pause(): unknown;
}

/** What is used of an Http2ServerResponse. */
export interface HotResponse {
  readonly writableEnded: boolean;
  writeHead(status: number, headers: Record<string, string>): unknown;
  addTrailers(trailers: Record<string, string>): unknown;
  end(): unknown;
  end(body: Uint8Array): unknown;
}

export interface HotOptions {
  readonly clock: Clock;
  readonly report: Report;
  readonly bodyTimeoutMs: number;
  readonly budget: Budget;
}

/** The bytes that were read of a body that is for the router. */
export interface BodyBegun {
  readonly pieces: readonly Uint8Array[];
  readonly isEnded: boolean;
}

const frameHeadBytes = 5;
const contentType = "application/grpc+proto";
const timeoutPattern = /^(\d{1,8})([HMSmun])$/;
const unitMs: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1000,
  m: 1,
  u: 1e-3,
  n: 1e-6,
};

export class HotCalls {
  readonly #options: HotOptions;
  readonly #calls: ReadonlyMap<string, UnaryCall>;
  /** Most clients send the same value again and again. */
  #accepted: string | undefined;
  #encoding: string | undefined;

  constructor(options: HotOptions, calls: readonly UnaryCall[]) {
    this.#options = options;
    this.#calls = new Map(calls.map((call) => [call.path, call]));
  }

  /** The call of a request that may be answered here; its path, method and type were checked. */
  find(request: RefusedRequest, path: string): UnaryCall | undefined {
    if (request.httpVersionMajor < 2 || request.method !== "POST") return undefined;
    const { headers } = request;
    const type = headers["content-type"];
    if (type !== "application/grpc" && type !== contentType) return undefined;
    const encoding = headers["grpc-encoding"];
    if (encoding !== undefined && encoding !== "identity") return undefined;
    const timeout = headers["grpc-timeout"];
    if (timeout !== undefined && !timeoutPattern.test(String(timeout))) return undefined;
    return this.#calls.get(path);
  }

  /** Answers a call, or gives it to `other` with what was read of its body. */
  handle(
    call: UnaryCall,
    request: HotRequest,
    response: HotResponse,
    requestId: string,
    other: (begun: BodyBegun) => void,
  ): void {
    const { clock, bodyTimeoutMs, report } = this.#options;
    const beganMs = clock.monotonicMs();
    let first: Uint8Array | undefined;
    const stop = (): void => {
      finish();
      request.off("data", onData);
      request.off("end", onEnd);
      request.off("close", onCut);
    };
    const giveUp = (pieces: readonly Uint8Array[], isEnded: boolean): void => {
      stop();
      if (!isEnded) request.pause();
      other({ pieces, isEnded });
    };
    const onData = (chunk: Uint8Array): void => {
      if (first !== undefined) giveUp([first, chunk], false);
      else if (isOneMessage(chunk)) first = chunk;
      else giveUp([chunk], false);
    };
    const onEnd = (): void => {
      // A stream that was reset ends as if its body were whole.
      if (request.aborted) {
        onCut();
        return;
      }
      const message = first === undefined ? undefined : messageIn(call, first);
      if (first === undefined || message === undefined) {
        giveUp(first === undefined ? [] : [first], true);
        return;
      }
      stop();
      const timeoutMs = timeoutOf(request);
      const leftMs =
        timeoutMs === undefined ? undefined : timeoutMs - (clock.monotonicMs() - beganMs);
      void this.#run(call, message, { request, response, requestId, leftMs, bytes: first.length });
    };
    const onCut = (): void => {
      stop();
      report.count("rpc_answers_cut");
    };
    const finish = clock.after(bodyTimeoutMs, () => {
      stop();
      request.resume();
      const late = bodyTimedOut(bodyTimeoutMs, first?.length ?? 0);
      this.#fail(request, response, connectError(late, requestId));
    });
    request.on("error", ignore);
    request.on("close", onCut);
    request.on("end", onEnd);
    request.on("data", onData);
  }

  async #run(call: UnaryCall, message: MessageShape<DescMessage>, asked: Asked): Promise<void> {
    const { request, response, requestId, leftMs, bytes } = asked;
    const { budget, report } = this.#options;
    let isHeld = false;
    try {
      budget.take(bytes);
      isHeld = true;
      const { output } = call.method;
      const answer = await call.run(message, { requestId, timeoutMs: leftMs });
      if (isGone(request, response)) report.count("rpc_answers_cut");
      else this.#send(request, response, frameOf(toBinary(output, create(output, answer))));
    } catch (failure) {
      // An assertion passes, and ends the process.
      const error = connectError(failure, requestId);
      if (isGone(request, response)) report.count("rpc_answers_cut");
      else this.#fail(request, response, error);
    } finally {
      if (isHeld) budget.give(bytes);
    }
  }

  #send(request: HotRequest, response: HotResponse, frame: Uint8Array): void {
    response.writeHead(200, this.#headersFor(request));
    response.addTrailers({ "grpc-status": "0" });
    response.end(frame);
  }

  #fail(request: HotRequest, response: HotResponse, error: ConnectError): void {
    response.writeHead(200, this.#headersFor(request));
    response.addTrailers(trailersOf(error));
    response.end();
  }

  /** Nothing is compressed, but the router names what it would do it with. */
  #headersFor(request: HotRequest): Record<string, string> {
    const accepted = headerOf(request, "grpc-accept-encoding");
    if (accepted !== this.#accepted) {
      this.#accepted = accepted;
      const name = "grpc-accept-encoding";
      const { response } = compressionNegotiate(acceptCompression, null, accepted ?? null, name);
      this.#encoding = response?.name;
    }
    const headers: Record<string, string> = { "content-type": contentType };
    if (this.#encoding !== undefined) headers["grpc-encoding"] = this.#encoding;
    return headers;
  }
}

interface Asked {
  readonly request: HotRequest;
  readonly response: HotResponse;
  readonly requestId: string;
  readonly leftMs: number | undefined;
  readonly bytes: number;
}

/** Whether a piece of a body is one whole message that is not compressed, and nothing else. */
function isOneMessage(chunk: Uint8Array): boolean {
  if (chunk.length < frameHeadBytes || chunk[0] !== 0) return false;
  const length = new DataView(chunk.buffer, chunk.byteOffset, frameHeadBytes).getUint32(1);
  return length === chunk.length - frameHeadBytes;
}

/** Undefined for bytes that are no such message: the router has the words for it. */
function messageIn(call: UnaryCall, chunk: Uint8Array): MessageShape<DescMessage> | undefined {
  try {
    return fromBinary(call.method.input, chunk.subarray(frameHeadBytes));
  } catch {
    return undefined;
  }
}

function frameOf(message: Uint8Array): Uint8Array {
  const frame = new Uint8Array(frameHeadBytes + message.length);
  new DataView(frame.buffer).setUint32(1, message.length);
  frame.set(message, frameHeadBytes);
  return frame;
}

function timeoutOf(request: HotRequest): number | undefined {
  return grpcTimeoutMs(headerOf(request, "grpc-timeout"));
}

/** What `grpc-timeout` says, in milliseconds; undefined for what is no such time. */
export function grpcTimeoutMs(text: string | null | undefined): number | undefined {
  const match = timeoutPattern.exec(text ?? "");
  return match === null ? undefined : Number(match[1]) * (unitMs[match[2] as string] as number);
}

/** The client is gone, or its stream was reset: which the request tells, and the response does not. */
function isGone(request: HotRequest, response: HotResponse): boolean {
  return request.aborted || response.writableEnded;
}

/** Not made anew for each request: what it was made in would stay as long as the stream. */
function ignore(): void {}
