/**
 * Peers: all links of a node, by node id or by address, and what comes in from other nodes.
 *
 * Each pair of nodes has two streams, one for the requests of each. Members have a link for as long
 * as they are members. Somebody who is known by an address alone (a seed, before there is a
 * cluster) has one while it is asked.
 *
 * Invariants
 * 1. There is one link to each member, and none to any other node that nobody asks.
 * 2. A node that leaves in order cuts no request: the others are told, get the replies that they wait
 *    for, and end their streams. Whoever cannot be told is refused, and waited for no longer than that.
 *
 * Effects: Clock, Random, Network, Report. Source: docs/cluster.md, "Links and handshake";
 * rules I1 to I3.
 *
 * @module
 */

import type {
  AcceptedStream,
  Clock,
  FrameSink,
  FrameSource,
  Network,
  Random,
  Report,
} from "./capability.ts";
import type { ChannelLimits } from "./channel.ts";
import { Deadlines } from "./deadlines.ts";
import { QuorateError } from "./errors.ts";
import { type Hello, protocolWith, startOf } from "./handshake.ts";
import { Link } from "./link.ts";
import { failureOf, type PeerReply, type PeerRequest, type ReplyFacts } from "./message.ts";
import { Accepted, type AcceptedPorts, leavingTopic, whyNotWith } from "./peers_accepted.ts";
import type { MemberProgram } from "./protocol.ts";
import type { ReplyFrom } from "./quorum_message.ts";

export interface PeersPorts extends AcceptedPorts {
  /** A node has answered the handshake. */
  onMet(other: Hello): void;
  /** What a node told with a reply. */
  onFacts(other: Hello, facts: ReplyFacts): void;
}

export interface PeersOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly report: Report;
  readonly network: Network;
  readonly secret: string;
  readonly ports: PeersPorts;
  readonly limits?: Partial<ChannelLimits>;
}

/** Where a node is reached. */
export type Place = Pick<Hello, "nodeId" | "addresses">;

export interface LinkStatus {
  readonly nodeId: string;
  readonly isOpen: boolean;
  readonly why: string;
  readonly queueBytes: number;
}

const queueBytesMaxDefault = 64 * 1024 * 1024;
/** A value of 32 MiB, its key and metadata. */
const messageBytesMax = 34 * 1024 * 1024;
/** How long a leaving node waits for the others to take notice. */
const noticeMsMax = 1000;
/** How often a link by address is looked at while somebody waits for it. */
const seekMs = 50;

export class Peers {
  readonly #options: PeersOptions;
  readonly #deadlines: Deadlines;
  readonly #limits: ChannelLimits;
  readonly #links = new Map<string, Link>();
  /** By node id: where `setMembers` was told last that it is reached. */
  readonly #places = new Map<string, string>();
  /** By address: who is asked before its id is known. */
  readonly #seeds = new Map<string, { readonly link: Link; users: number; other?: Hello }>();
  /** By address: the start of who was found there last. */
  readonly #foundAt = new Map<string, string>();
  readonly #accepted = new Set<Accepted>();
  /** By node id: when its links were begun; and whether one has been open since. */
  readonly #begunMs = new Map<string, number>();
  #isClosed = false;
  /** Settles when this node has left; undefined: it does not leave. */
  #left: Promise<void> | undefined;
  #tellLeft: () => void = () => {};

  constructor(options: PeersOptions) {
    this.#options = options;
    this.#deadlines = new Deadlines(options.clock);
    this.#limits = {
      queueBytesMax: options.limits?.queueBytesMax ?? queueBytesMaxDefault,
      messageBytesMax: options.limits?.messageBytesMax ?? messageBytesMax,
    };
  }

  /** Keeps a link to each of these nodes, and to no others. */
  setMembers(members: readonly Place[]): void {
    if (this.#isClosed) return;
    const wanted = new Set(members.map(({ nodeId }) => nodeId));
    for (const [nodeId, link] of this.#links) {
      if (wanted.has(nodeId)) continue;
      link.close();
      this.#links.delete(nodeId);
      this.#places.delete(nodeId);
      this.#begunMs.delete(nodeId);
    }
    for (const { nodeId, addresses } of members) {
      if (nodeId === this.#options.ports.hello().nodeId) continue;
      const place = addresses.join();
      const isMoved = this.#places.get(nodeId) !== place;
      this.#places.set(nodeId, place);
      const link = this.#links.get(nodeId);
      if (link !== undefined) {
        // Only what is new: what was told before may be older than what the node itself has told since.
        if (isMoved && addresses.length > 0) link.reach(addresses);
        continue;
      }
      this.#begunMs.set(nodeId, this.#options.clock.monotonicMs());
      this.#links.set(nodeId, this.#newLink(addresses, nodeId));
    }
  }

  /** A member is to be found elsewhere. */
  reach(nodeId: string, addresses: readonly string[]): void {
    this.#links.get(nodeId)?.reach(addresses);
  }

  /** A member that is not reached may be where it says itself that it is, or said to another one. */
  found({ nodeId, addresses }: Place): void {
    const link = this.#links.get(nodeId);
    if (link === undefined || link.isOpen || addresses.length === 0) return;
    link.reach(addresses);
  }

  /** Where the members that are reached say that they are. */
  places(): readonly Place[] {
    return [...this.#links].flatMap(([nodeId, { other }]) =>
      other === undefined ? [] : [{ nodeId, addresses: other.addresses }],
    );
  }

  isOpen(nodeId: string): boolean {
    return this.#links.get(nodeId)?.isOpen === true;
  }

  /** What a member runs; undefined while there is no open link to it. */
  programOf(nodeId: string): MemberProgram | undefined {
    return this.#links.get(nodeId)?.other?.program;
  }

  /** The version of the protocol on the open link to a member; undefined: there is none. */
  protocolWith(nodeId: string): number | undefined {
    const other = this.#links.get(nodeId)?.other;
    return other === undefined ? undefined : protocolWith(this.#options.ports.hello(), other);
  }

  /** How long this node has tried to reach one that it has no open link to, in ms. */
  seekingMs(nodeId: string): number {
    const begunMs = this.#begunMs.get(nodeId);
    return begunMs === undefined ? 0 : this.#options.clock.monotonicMs() - begunMs;
  }

  get queueBytesMax(): number {
    return this.#limits.queueBytesMax;
  }

  status(): readonly LinkStatus[] {
    return [...this.#links].map(([nodeId, { isOpen, why, queueBytes }]) => ({
      nodeId,
      isOpen,
      why,
      queueBytes,
    }));
  }

  /** Asks a member. The error's outcome is `none` when the request was certainly not sent. */
  async request(
    nodeId: string,
    request: PeerRequest,
    timeoutMs: number,
  ): Promise<PeerReply & { readonly from: ReplyFrom }> {
    const link = this.#links.get(nodeId);
    if (link === undefined) {
      throw new QuorateError("not-ready", "It is no member of the cluster.", { outcome: "none" });
    }
    const { other, facts, reply } = await link.request(request, timeoutMs);
    this.#options.ports.onFacts(other, facts);
    const { nodeId: id, storeId, boot } = other;
    return { ...reply, from: { nodeId: id, storeId, boot, ...facts } };
  }

  /** Asks a member about a topic. @throws what it threw */
  async ask(nodeId: string, topic: string, body: unknown, timeoutMs: number): Promise<unknown> {
    return bodyOf(await this.request(nodeId, { kind: "cold", topic, body }, timeoutMs));
  }

  /** Asks whoever is at an address about a topic. */
  async askAt(address: string, topic: string, body: unknown, timeoutMs: number): Promise<unknown> {
    const { clock } = this.#options;
    const dueMs = clock.monotonicMs() + timeoutMs;
    const seed = this.#seeds.get(address) ?? {
      link: this.#newLink([address], undefined),
      users: 0,
    };
    this.#seeds.set(address, seed);
    seed.users += 1;
    try {
      while (!seed.link.isOpen && clock.monotonicMs() < dueMs && !this.#isClosed) {
        await new Promise<void>((resolve) => clock.after(seekMs, resolve));
      }
      const leftMs = Math.max(1, dueMs - clock.monotonicMs());
      const { reply } = await seed.link.request({ kind: "cold", topic, body }, leftMs);
      return bodyOf(reply);
    } finally {
      seed.users -= 1;
      if (seed.users === 0) {
        this.#seeds.delete(address);
        seed.link.close();
      }
    }
  }

  /** A node has opened a stream to this one. */
  accept(stream: AcceptedStream): { readonly source: FrameSource; readonly sink: FrameSink } {
    const accepted = new Accepted(this.#options, this.#limits, stream, {
      // A node that was away and dials can be dialled: requests to it need not wait for a pause.
      onProven: (other) => {
        for (const before of this.#accepted) if (before.isBefore(other)) before.close();
        this.#links.get(other.nodeId)?.met(other);
      },
      onLeaving: (other) => this.#links.get(other.nodeId)?.leave(startOf(other)),
      onIdle: () => this.#tellLeft(),
      onGone: () => {
        this.#accepted.delete(accepted);
        this.#tellLeft();
      },
    });
    this.#accepted.add(accepted);
    if (this.#left !== undefined) accepted.leave();
    if (this.#isClosed) accepted.close();
    return { source: accepted.channel, sink: accepted.channel };
  }

  /**
   * Leaves in order: asks the others to send nothing more, and resolves when they have what they waited
   * for, or after `timeoutMs`. This node's own requests go on until `close`.
   */
  leave(timeoutMs: number): Promise<void> {
    this.#left ??= this.#leave(timeoutMs);
    return this.#left;
  }

  async #leave(timeoutMs: number): Promise<void> {
    const { clock } = this.#options;
    const dueMs = clock.monotonicMs() + timeoutMs;
    for (const accepted of this.#accepted) accepted.leave();
    const told = await this.#tellLeaving(Math.min(noticeMsMax, timeoutMs));
    const isTold = ({ nodeId }: Accepted): boolean => nodeId !== undefined && told.has(nodeId);
    for (const accepted of this.#accepted) if (!isTold(accepted)) accepted.refuse();
    // Who was told ends its stream itself, when it has the last reply.
    const isOver = (): boolean =>
      [...this.#accepted].every((accepted) => !isTold(accepted) && accepted.isIdle);
    if (!isOver()) {
      await new Promise<void>((resolve) => {
        const leftMs = Math.max(0, dueMs - clock.monotonicMs());
        const cancel = clock.after(leftMs, resolve);
        this.#tellLeft = () => {
          if (!isOver()) return;
          cancel();
          resolve();
        };
      });
    }
    for (const accepted of this.#accepted) accepted.end();
  }

  /** Tells all that this node leaves; those that have heard it. */
  async #tellLeaving(timeoutMs: number): Promise<ReadonlySet<string>> {
    const told = new Set<string>();
    const tell = async (nodeId: string): Promise<void> => {
      // Whoever is not reached, or does not know the word, has not heard it.
      await this.ask(nodeId, leavingTopic, {}, timeoutMs).then(
        () => told.add(nodeId),
        () => {},
      );
    };
    await Promise.all([...this.#links.keys()].map(tell));
    return told;
  }

  close(): void {
    this.#isClosed = true;
    for (const link of this.#links.values()) link.close();
    for (const { link } of this.#seeds.values()) link.close();
    for (const accepted of this.#accepted) accepted.close();
  }

  /** Whoever waits for a cluster asks the same addresses every second, each time over a new link. */
  #isNewAt([address = ""]: readonly string[], other: Hello): boolean {
    const start = `${other.nodeId} ${startOf(other)}`;
    if (this.#foundAt.get(address) === start) return false;
    this.#foundAt.set(address, start);
    return true;
  }

  #newLink(addresses: readonly string[], nodeId: string | undefined): Link {
    let told: string | undefined;
    const { clock, random, report, network, secret, ports } = this.#options;
    return new Link(
      {
        clock,
        random,
        report,
        network,
        secret,
        deadlines: this.#deadlines,
        limits: this.#limits,
        hello: () => ports.hello(),
        whyNot: (other) => whyNotTo(ports, nodeId, other),
        onOpen: (other) => {
          told = undefined;
          if (nodeId !== undefined) this.#begunMs.delete(nodeId);
          else this.found(other);
          if (nodeId !== undefined || this.#isNewAt(addresses, other)) {
            report.log("info", `Linked to node '${other.name}'.`, { nodeId: other.nodeId });
          }
          ports.onMet(other);
        },
        onUnfit: (why) => {
          // Once for each reason. Whoever asks an address without knowing who is there tells it itself.
          if (nodeId === undefined || this.#isClosed || why === told) return;
          told = why;
          report.log("warn", "No link to a node: what is there cannot be talked to.", {
            nodeId,
            addresses,
            why,
          });
        },
        onCut: (why, isOrderly) => {
          if (nodeId === undefined || this.#isClosed || this.#begunMs.has(nodeId)) return;
          if (isOrderly) report.log("info", "A node leaves.", { nodeId });
          else report.log("warn", "The link to a node was cut.", { nodeId, why });
          this.#begunMs.set(nodeId, clock.monotonicMs());
        },
      },
      addresses,
    );
  }
}

function whyNotTo(ports: PeersPorts, nodeId: string | undefined, other: Hello): string | undefined {
  if (nodeId !== undefined && other.nodeId !== nodeId)
    return `another node (${other.name}) is there`;
  return whyNotWith(ports, other);
}

function bodyOf(reply: PeerReply): unknown {
  if (reply.kind === "said") return reply.body;
  if (reply.kind === "failed") throw failureOf(reply);
  throw new QuorateError("internal", `A node answered a question with '${reply.kind}'.`, {});
}
