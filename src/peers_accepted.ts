/**
 * Peers accepted: a stream that another node has opened: its requests come in, and replies go out.
 *
 *     nonces -> who is it? -> requests ... -> this node leaves: the others end their streams -> ended
 *
 * Invariants
 * 1. Nothing of another cluster, of a node without the secret, or of this node itself is heard.
 * 2. Requests under way from one node are at most `underWayMax`; more are told `overloaded`.
 * 3. A reply goes out on the stream that its request came on, or not at all.
 * 4. What an earlier start of a node has opened is ended when a later one has come (I2).
 *
 * Effects: Clock, Random, Report. Source: docs/cluster.md, "Links and handshake"; rules I1 to I3.
 *
 * @module
 */

import type { AcceptedStream, Clock, Random, Report } from "./capability.ts";
import { Channel, type ChannelLimits } from "./channel.ts";
import {
  type Hello,
  handshakeMsMax,
  isLaterStart,
  lastWordsMs,
  leavingWhy,
  type Nonces,
  nonceBytes,
  parseFirst,
  parseThird,
  provenFrame,
  refusalFrame,
  secondFrame,
} from "./handshake.ts";
import {
  failureReply,
  type Message,
  type PeerReply,
  type PeerRequest,
  type ReplyFacts,
} from "./message.ts";

/** Who asks. */
export interface Asking {
  readonly hello: Hello;
  /** Milliseconds that it waits. */
  readonly timeoutMs: number;
}

export interface AcceptedPorts {
  /** What this node says of itself. */
  hello(): Omit<Hello, "remembers">;
  /** Why a node is not to be talked to; undefined: it may. */
  whyNot(other: Hello): string | undefined;
  /** A node introduces itself: how far its store had come before this start; 0: nothing is known. */
  remembers(other: Hello): number;
  /** Answers a request of another node; a rejection is told to it. */
  handle(
    request: PeerRequest,
    asking: Asking,
  ): Promise<{ readonly facts: ReplyFacts; readonly reply: PeerReply }>;
  /** What goes with a reply for which nobody was asked. */
  facts(): ReplyFacts;
}

export interface AcceptedParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly report: Report;
  readonly secret: string;
  readonly ports: AcceptedPorts;
}

export interface AcceptedEvents {
  /** It has the secret, and may talk to this node. */
  onProven(hello: Hello): void;
  /** The node says that it leaves, and is not to be asked any more. */
  onLeaving(hello: Hello): void;
  /** What was under way from it is answered. */
  onIdle(): void;
  onGone(): void;
}

/** The topic of the last words of a node that stops in order; about requests, not about keys. */
export const leavingTopic = "leaving";

const underWayMax = 8192;

/** A stream that another node has opened: its requests come in, replies go out. */
export class Accepted {
  readonly channel: Channel;
  readonly #parts: AcceptedParts;
  readonly #stream: AcceptedStream;
  readonly #events: AcceptedEvents;
  #hello: Hello | undefined;
  #nonces: Nonces | undefined;
  #underWay = 0;
  /** Whether this node leaves; then one that is not known yet is refused. */
  #isLeaving = false;
  /** Whether requests that still come are refused. */
  #isRefusing = false;

  constructor(
    parts: AcceptedParts,
    limits: ChannelLimits,
    stream: AcceptedStream,
    events: AcceptedEvents,
  ) {
    this.#parts = parts;
    this.#events = events;
    this.#stream = stream;
    const cancelLate = parts.clock.after(handshakeMsMax, () => {
      if (this.#hello === undefined) this.close();
    });
    this.channel = new Channel(
      parts.clock,
      {
        onRaw: (frame) => this.#onRaw(frame),
        onMessage: (message) => this.#onMessage(message),
        onEnd: () => {
          cancelLate();
          events.onGone();
          // The last words, a refusal, have to get out first.
          parts.clock.after(lastWordsMs, () => this.#stream.close());
        },
      },
      limits,
    );
  }

  /** Who has opened it; undefined until that is proven. */
  get nodeId(): string | undefined {
    return this.#hello?.nodeId;
  }

  /** Whether an earlier start than the one that speaks now has opened it (I2). */
  isBefore(now: Hello): boolean {
    return this.#hello !== undefined && isLaterStart(now, this.#hello);
  }

  get isIdle(): boolean {
    return this.#underWay === 0;
  }

  /** This node leaves; what is said on a stream that is open is still answered. */
  leave(): void {
    this.#isLeaving = true;
  }

  /** What still comes is refused: the node could not be told that this one leaves. */
  refuse(): void {
    this.#isRefusing = true;
  }

  /** Nothing more is heard; replies that wait go out first. */
  end(): void {
    this.channel.end();
  }

  close(): void {
    this.channel.end();
    this.#stream.close();
  }

  #onRaw(frame: Uint8Array): void {
    const { secret, random, report } = this.#parts;
    if (this.#nonces === undefined) {
      const dialing = parseFirst(frame);
      if (dialing === undefined) {
        this.close();
        return;
      }
      this.#nonces = { dialing, accepting: random.bytes(nonceBytes) };
      this.channel.sendRaw(secondFrame(secret, this.#nonces));
      return;
    }
    const hello = parseThird(secret, this.#nonces, frame, this.#parts.ports.hello());
    const why = typeof hello === "string" ? hello : this.#whyNot(hello);
    if (typeof hello === "string" || why !== undefined) {
      report.count("links_refused");
      report.log("debug", "A node was refused.", { why });
      this.channel.sendRaw(refusalFrame(why ?? ""));
      this.channel.end();
      return;
    }
    this.#hello = hello;
    const { ports } = this.#parts;
    const own = { ...ports.hello(), remembers: ports.remembers(hello) };
    this.channel.sendRaw(provenFrame(secret, "met", this.#nonces, own));
    this.channel.open();
    this.#stream.proven();
    this.#events.onProven(hello);
  }

  #whyNot(hello: Hello): string | undefined {
    return this.#isLeaving ? leavingWhy : whyNotWith(this.#parts.ports, hello);
  }

  #onMessage(message: Message): void {
    const hello = this.#hello;
    if (message.is !== "request" || hello === undefined) return;
    const { id, request, timeoutMs } = message;
    const refusal = this.#refusalOf(request);
    if (refusal !== undefined) {
      this.#reply(id, this.#parts.ports.facts(), refusal);
      return;
    }
    if (request.kind === "cold" && request.topic === leavingTopic) {
      this.#events.onLeaving(hello);
      this.#reply(id, this.#parts.ports.facts(), { kind: "said", body: {} });
      return;
    }
    this.#underWay += 1;
    const done = (facts: ReplyFacts, reply: PeerReply): void => {
      this.#reply(id, facts, reply);
      this.#underWay -= 1;
      if (this.#underWay === 0) this.#events.onIdle();
    };
    this.#parts.ports.handle(request, { hello, timeoutMs }).then(
      ({ facts, reply }) => done(facts, reply),
      (error: unknown) => done(this.#parts.ports.facts(), failureReply(error)),
    );
  }

  #refusalOf(request: PeerRequest): PeerReply | undefined {
    if (this.#isRefusing) return refusedReply(request, "not-ready", leavingWhy);
    if (this.#underWay < underWayMax) return undefined;
    const detail = `${underWayMax} requests of this node are under way already.`;
    return refusedReply(request, "overloaded", detail);
  }

  /** A reply that finds no room is not sent: whoever waits for it is not reading. */
  #reply(id: number, facts: ReplyFacts, reply: PeerReply): void {
    if (!this.channel.send({ is: "reply", id, facts, reply })) {
      this.#parts.report.count("link_replies_dropped");
    }
  }
}

function refusedReply(
  request: PeerRequest,
  reason: "not-ready" | "overloaded",
  detail: string,
): PeerReply {
  if (request.kind !== "cold") return { kind: "refused", reason, detail };
  return { kind: "failed", slug: reason, detail, outcome: "none" };
}

/** What holds for both directions. */
export function whyNotWith(ports: AcceptedPorts, other: Hello): string | undefined {
  const own = ports.hello();
  if (other.nodeId === own.nodeId && other.storeId === own.storeId) return "it is this node itself";
  if (own.clusterId !== undefined && other.clusterId !== undefined) {
    if (own.clusterId !== other.clusterId) {
      return `it belongs to the cluster ${other.clusterId}, and this node to ${own.clusterId}`;
    }
  }
  return ports.whyNot(other);
}
