/**
 * Link: the way of this node's requests to one other node.
 *
 *     idle -> dialing -> handshake -> open -> (cut) -> waiting, longer each time -> dialing ...
 *                                      \-> leaving: the last replies come in -> (ended) -> waiting ...
 *
 * One long-lived stream carries the requests there and their replies back. While it is not open a
 * request is refused at once: whoever waits for several nodes must not wait for one that is away.
 *
 * Invariants
 * 1. A request settles once: with its reply, at its deadline, or when the stream ends. Its error has
 *    outcome `none` exactly when it was certainly not sent.
 * 2. Between two attempts lies a pause that doubles up to `pauseMsMax`, with chance in it, so that nodes
 *    that lost each other together do not come back together. It ends when the other has come by itself, and
 *    begins anew when a stream has lasted; one that is cut as soon as it is open is an attempt that failed.
 * 3. A node that leaves is sent nothing more, and its stream ends when it owes no reply.
 *
 * Effects: Clock, Random, Network, Report. Source: docs/cluster.md, "Links and handshake".
 *
 * @module
 */

import type { Clock, Network, PeerStream, Random, Report } from "./capability.ts";
import { Channel, type ChannelLimits } from "./channel.ts";
import type { Deadlines } from "./deadlines.ts";
import { QuorateError } from "./errors.ts";
import {
  firstFrame,
  type Hello,
  handshakeMsMax,
  isLaterStart,
  leavingWhy,
  type Nonces,
  nonceBytes,
  parseFourth,
  parseSecond,
  provenFrame,
  startOf,
} from "./handshake.ts";
import { InFlight } from "./in_flight.ts";
import type { Message, PeerReply, PeerRequest, ReplyFacts } from "./message.ts";

export interface LinkParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly report: Report;
  readonly network: Network;
  readonly deadlines: Deadlines;
  readonly secret: string;
  readonly limits: ChannelLimits;
  readonly hello: () => Hello;
  /** Why the node at the other end is not to be talked to; undefined: it may. */
  readonly whyNot: (other: Hello) => string | undefined;
  /** The other end is known, and requests go to it from now on. */
  readonly onOpen: (other: Hello) => void;
  /** `isOrderly`: the node has said before that it leaves. */
  readonly onCut: (why: string, isOrderly: boolean) => void;
  /** Somebody is there, and it cannot be talked to: an operator has to see to it. */
  readonly onUnfit: (why: string) => void;
}

export interface LinkReply {
  readonly other: Hello;
  readonly facts: ReplyFacts;
  readonly reply: PeerReply;
}

interface Pending {
  resolve(reply: LinkReply): void;
  reject(error: QuorateError): void;
  /** Ends the wait for its deadline, once that has begun. */
  finish: () => void;
}

const pauseMsMin = 100;
const pauseMsMax = 5000;
/** A stream that was open for so long has done well: the next pause is the shortest again. */
const steadyMs = 1000;
/** Deadlines are rounded up to these: waits of the same length share a timer. */
const longStepMs = 100;
const shortStepMs = 10;

export class Link {
  readonly #parts: LinkParts;
  /** In the order in which they are tried. */
  #addresses: readonly string[];
  #attempt = 0;
  /** The one of the last attempt. */
  #dialled: string | undefined;
  #stream: PeerStream | undefined;
  #channel: Channel | undefined;
  #other: Hello | undefined;
  /** Since when it is open, or was. */
  #openMs = 0;
  /** The start of the node to which the last stream was cut as soon as it was open; undefined: none was. */
  #unsteady: string | undefined;
  #pauseMs = pauseMsMin;
  #cancelPause: () => void = () => {};
  #isClosed = false;
  /** The start of the node that has said that it leaves. */
  #leaving: string | undefined;
  #pending = new InFlight<Pending>();
  #why = "it was not tried yet";
  #refusal: QuorateError | undefined;

  constructor(parts: LinkParts, addresses: readonly string[]) {
    this.#parts = parts;
    this.#addresses = addresses;
    this.#dial();
  }

  /** Whether requests are taken. */
  get isOpen(): boolean {
    return this.#other !== undefined && !this.#isLeaving;
  }

  /** Who is at the other end; undefined while it is not open. */
  get other(): Hello | undefined {
    return this.isOpen ? this.#other : undefined;
  }

  get queueBytes(): number {
    return this.#channel?.queueBytes ?? 0;
  }

  /** Why it is not open. */
  get why(): string {
    return this.#isLeaving ? leavingWhy : this.#why;
  }

  /** Where the node may be reached from now on; another place is tried at once. */
  reach(addresses: readonly string[]): void {
    const isSame =
      addresses.length === this.#addresses.length &&
      addresses.every((address, index) => address === this.#addresses[index]);
    if (isSame) return;
    this.#addresses = addresses;
    this.#attempt = 0;
    // Where nobody is any more an attempt may hang for seconds.
    const isElsewhere = this.#dialled === undefined || !addresses.includes(this.#dialled);
    if (this.#other === undefined && isElsewhere) {
      this.#channel?.end(new Error("it is reached elsewhere"));
    }
    this.#hurry();
  }

  /**
   * The node has come by itself, and so is there, at the places that it tells: the next attempt is made
   * now, or as soon as the one under way is over. A stream to an earlier start of it leads nowhere, however
   * open it looks: the machine or the way to it may have vanished without a word.
   */
  met(other: Hello): void {
    if (this.#isClosed) return;
    const isUnsteady = this.#other === undefined && this.#unsteady === startOf(other);
    if (this.#other !== undefined && isLaterStart(other, this.#other)) {
      this.#parts.report.sometimes("link: redialled to a later start");
      this.#channel?.end(new Error("the node was started again"));
    }
    if (!this.isOpen && other.addresses.length > 0) this.reach(other.addresses);
    // It is not for want of it that there is no stream, and two that hurried each other would never pause.
    if (!isUnsteady) this.#hurry();
  }

  /** The node, in this start of it, wants no more requests. */
  leave(start: string): void {
    this.#leaving = start;
    this.#endIfLeft();
  }

  request(request: PeerRequest, timeoutMs: number): Promise<LinkReply> {
    return new Promise((resolve, reject) => {
      const channel = this.#channel;
      if (channel === undefined || !this.isOpen) {
        reject(this.#notOpen());
        return;
      }
      const pending: Pending = { resolve, reject, finish: ignore };
      const id = this.#pending.add(pending);
      if (!channel.send({ is: "request", id, timeoutMs, request })) {
        this.#pending.take(id);
        const detail = `${channel.queueBytes} bytes wait to be sent to it.`;
        reject(new QuorateError("overloaded", detail, { outcome: "none" }));
        return;
      }
      pending.finish = this.#parts.deadlines.start(patienceOf(timeoutMs), () => {
        this.#pending.take(id);
        this.#endIfLeft();
        const detail = `It did not answer within ${Math.round(timeoutMs)} ms.`;
        reject(new QuorateError("timeout", detail, { outcome: "unknown" }));
      });
    });
  }

  /** One for all whom it meets: while a node is down, every write would trace a stack of its own. */
  #notOpen(): QuorateError {
    const detail = `No link: ${this.why}.`;
    if (this.#refusal?.detail !== detail) {
      this.#refusal = new QuorateError("not-ready", detail, { outcome: "none" });
    }
    return this.#refusal;
  }

  close(): void {
    this.#isClosed = true;
    this.#cancelPause();
    this.#channel?.end();
    this.#stream?.close();
  }

  #dial(): void {
    const address = this.#addresses[this.#attempt % Math.max(1, this.#addresses.length)];
    if (this.#isClosed) return;
    if (address === undefined) {
      this.#why = "no address of it is known";
      this.#dialLater();
      return;
    }
    const { clock, random, network, limits } = this.#parts;
    this.#attempt += 1;
    this.#dialled = address;
    const nonce = random.bytes(nonceBytes);
    let nonces: Nonces | undefined;
    const cancelLate = clock.after(handshakeMsMax, () =>
      channel.end(new Error("it did not introduce itself in time")),
    );
    const channel = new Channel(
      clock,
      {
        onRaw: (frame) => {
          if (nonces === undefined) nonces = this.#second(channel, nonce, frame);
          else if (this.#fourth(channel, nonces, frame)) cancelLate();
        },
        onMessage: (message) => this.#onMessage(message),
        onEnd: (reason) => {
          cancelLate();
          this.#onEnd(channel, reason);
        },
      },
      limits,
    );
    this.#channel = channel;
    channel.sendRaw(firstFrame(nonce));
    const stream = network.dial(address, channel, channel);
    if (this.#channel === channel) this.#stream = stream;
    else stream.close();
  }

  /** Whoever is there has the secret: now it may know who asks. */
  #second(channel: Channel, nonce: Uint8Array, frame: Uint8Array): Nonces | undefined {
    const { secret, hello } = this.#parts;
    const nonces = parseSecond(secret, nonce, frame);
    if (nonces === undefined) {
      this.#unfit(channel, "it does not have this cluster's secret, or is no node");
      return undefined;
    }
    channel.sendRaw(provenFrame(secret, "dial", nonces, hello()));
    return nonces;
  }

  /** Whether the handshake is over. */
  #fourth(channel: Channel, nonces: Nonces, frame: Uint8Array): boolean {
    const other = parseFourth(this.#parts.secret, nonces, frame, this.#parts.hello());
    const why = typeof other === "string" ? other : this.#parts.whyNot(other);
    if (typeof other === "string" || why !== undefined) {
      this.#unfit(channel, why ?? "");
      return false;
    }
    channel.open();
    this.#other = other;
    this.#openMs = this.#parts.clock.monotonicMs();
    this.#why = "";
    this.#parts.onOpen(other);
    this.#endIfLeft();
    return true;
  }

  #unfit(channel: Channel, why: string): void {
    if (!why.endsWith(leavingWhy)) this.#parts.onUnfit(why);
    channel.end(new Error(why));
  }

  #onMessage(message: Message): void {
    const other = this.#other;
    if (message.is !== "reply" || other === undefined) return;
    const pending = this.#pending.take(message.id);
    // Its deadline has passed.
    if (pending === undefined) return;
    pending.finish();
    pending.resolve({ other, facts: message.facts, reply: message.reply });
    this.#endIfLeft();
  }

  get #isLeaving(): boolean {
    if (this.#leaving === undefined || this.#other === undefined) return false;
    return startOf(this.#other) === this.#leaving;
  }

  /** Whoever waits between two attempts makes the next one now; after one that is under way no long pause follows. */
  #hurry(): void {
    this.#pauseMs = pauseMsMin;
    if (this.#isClosed || this.#channel !== undefined) return;
    this.#cancelPause();
    this.#dial();
  }

  /** Nothing is owed any more: the node that leaves waits for this end. */
  #endIfLeft(): void {
    if (this.#isLeaving && this.#pending.size === 0) this.#channel?.end(new Error(leavingWhy));
  }

  #onEnd(channel: Channel, reason: Error | undefined): void {
    if (this.#channel !== channel) return;
    this.#why = reason?.message ?? "it ended the connection";
    const before = this.#other;
    const wasOpen = before !== undefined;
    const isOrderly = this.#isLeaving && this.#pending.size === 0;
    this.#channel = undefined;
    this.#other = undefined;
    const stream = this.#stream;
    this.#stream = undefined;
    stream?.close();
    const pending = this.#pending.values();
    this.#pending = new InFlight();
    for (const { finish, reject } of pending) {
      finish();
      const detail = `The connection was lost: ${this.#why}.`;
      reject(new QuorateError("unreachable", detail, { outcome: "unknown" }));
    }
    const isSteady = this.#parts.clock.monotonicMs() - this.#openMs >= steadyMs;
    if (wasOpen && isSteady) this.#pauseMs = pauseMsMin;
    this.#unsteady = wasOpen && !isSteady ? startOf(before) : undefined;
    if (wasOpen && !isOrderly) this.#parts.report.count("links_cut");
    this.#parts.onCut(this.#why, isOrderly);
    this.#dialLater();
  }

  #dialLater(): void {
    if (this.#isClosed) return;
    const { clock, random } = this.#parts;
    const delayMs = this.#pauseMs * (0.5 + random.u32() / 2 ** 32);
    this.#pauseMs = Math.min(pauseMsMax, this.#pauseMs * 2);
    this.#cancelPause = clock.after(delayMs, () => this.#dial());
  }
}

/** What is left of a client's time is another fraction for each request; whoever asks has it exact. */
function patienceOf(timeoutMs: number): number {
  const stepMs = timeoutMs > 10 * longStepMs ? longStepMs : shortStepMs;
  return Math.ceil(timeoutMs / stepMs) * stepMs;
}

/** The end of a wait that is yet to begin: one for all requests. */
function ignore(): void {}
