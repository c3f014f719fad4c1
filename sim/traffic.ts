/**
 * Traffic: how many bytes the nodes of a simulated world send each other, and for what.
 *
 * It listens where a node dials: every frame of a stream, either way, passes there. A question counts
 * under its topic, and its answer too.
 *
 * Effects: none.
 *
 * @module
 */

import type { FrameSink, FrameSource, Network } from "../src/capability.ts";
import { decodeMessage, type Message } from "../src/message.ts";

export interface Share {
  readonly bytes: number;
  readonly messages: number;
}

/** A length with this bit is one of a piece of a large message. */
const pieceFlag = 0x8000_0000;
const lengthBytes = 4;

export class Traffic {
  readonly #shares = new Map<string, Share>();

  /** By topic, since the last `clear`. */
  get shares(): ReadonlyMap<string, Share> {
    return this.#shares;
  }

  clear(): void {
    this.#shares.clear();
  }

  /** The same network, listened to. */
  heard(network: Network): Network {
    return {
      dial: (address, source, sink) => {
        const asked: readonly [Asked, Asked] = [new Map(), new Map()];
        const hearing: FrameSource = {
          next: async () => {
            const frame = await source.next();
            if (frame !== undefined) this.#count(frame, asked[0], asked[1]);
            return frame;
          },
        };
        const hearingSink: FrameSink = {
          onFrame: (frame) => {
            this.#count(frame, asked[1], asked[0]);
            sink.onFrame(frame);
          },
          onEnd: (reason) => sink.onEnd(reason),
        };
        return network.dial(address, hearing, hearingSink);
      },
    };
  }

  /** `asked`: questions of this side that are open; `answered`: those of the other. */
  #count(frame: Uint8Array, asked: Asked, answered: Asked): void {
    const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
    let at = 0;
    while (at + lengthBytes <= frame.length) {
      const length = view.getUint32(at);
      const end = at + lengthBytes + (length & ~pieceFlag);
      if (end > frame.length) break;
      const isPiece = (length & pieceFlag) !== 0;
      const message = isPiece ? undefined : decodeMessage(frame.subarray(at + lengthBytes, end));
      this.#add(topicOf(message, asked, answered) ?? "large", end - at);
      at = end;
    }
    // Before two ends know each other, frames are not made of messages.
    if (at < frame.length) this.#add("handshake", frame.length - at);
  }

  #add(topic: string, bytes: number): void {
    const { bytes: before = 0, messages = 0 } = this.#shares.get(topic) ?? {};
    this.#shares.set(topic, { bytes: before + bytes, messages: messages + 1 });
  }
}

type Asked = Map<number, string>;

function topicOf(message: Message | undefined, asked: Asked, answered: Asked): string | undefined {
  if (message === undefined) return undefined;
  if (message.is === "reply") {
    const topic = answered.get(message.id);
    answered.delete(message.id);
    return topic;
  }
  const { request } = message;
  const topic = request.kind === "cold" ? request.topic : request.kind;
  asked.set(message.id, topic);
  return topic;
}
