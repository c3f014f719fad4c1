/**
 * ClusterOptions: what a node brings to its cluster: its settings, its capabilities, and what its store does for
 * others.
 *
 * Effects: none (types only).
 *
 * @module
 */

import type { Clock, Disk, Network, Random, Report } from "./capability.ts";
import type { Document } from "./document.ts";
import type { QuorateError } from "./errors.ts";
import type { GossipChoices } from "./gossip.ts";
import type { PeerReply, PeerRequest, ReplyFacts } from "./message.ts";
import type { MemberProgram } from "./protocol.ts";
import type { Topology } from "./topology.ts";

/** How a node takes part in a cluster. */
export interface ClusterSettings {
  /** Where others are to be found, `host:port`; this node's own address may be among them. */
  readonly peers: readonly string[];
  /** How many nodes begin a new cluster together; undefined: this one begins none. */
  readonly expect?: number | undefined;
  readonly clusterId?: string | undefined;
  /** What all nodes of the cluster know; empty: nothing is asked for. */
  readonly secret: string;
  /** Where this node is reached by others, `host:port`. */
  readonly addresses: readonly string[];
  readonly clientUrl?: string | undefined;
  readonly zone?: string | undefined;
  readonly host?: string | undefined;
  readonly weight?: number | undefined;
  readonly queueBytesMax?: number | undefined;
  /** Takes in nodes that ask to join, without a plan; also where something is stored. */
  readonly autoJoin?: boolean | undefined;
  readonly gossip?: GossipChoices | undefined;
}

export interface ClusterOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly disk: Disk;
  readonly report: Report;
  readonly network: Network;
  readonly settings: ClusterSettings;
  readonly partitions: number;
  readonly self: { readonly nodeId: string; readonly storeId: string; readonly name: string };
  readonly boot: () => number;
  /** What this node tells of its program. */
  readonly program: MemberProgram;
  /** Promises, durably, to run no program that does not speak a version of the protocol. */
  readonly pledge: (protocol: number) => Promise<void>;
  /** Undefined while the node has no document. */
  readonly document: () => Document | undefined;
  /** Before this node asks to join. @throws why it can be no member, whoever would take it in */
  readonly checkJoin: (topology: Topology) => void;
  /** The first document of this folder: makes it durable. */
  readonly create: (topology: Topology) => Promise<void>;
  /** A newer document is the present one. */
  readonly onDocument: (topology: Topology) => void;
  /** Another process serves a copy of this folder (I2). */
  readonly onOutdated: (error: QuorateError) => void;
}

/** What the node's store does for others, once it is open. */
export interface ServingPorts {
  answer(request: PeerRequest): Promise<{ readonly facts: ReplyFacts; readonly reply: PeerReply }>;
  facts(): ReplyFacts;
  /** A node has answered the handshake; what it remembers of this store (I3). */
  told(nodeId: string, remembered: number): void;
  /** All records, of the log and deleted ones too. */
  records(): Promise<number>;
  seal(epoch: number): Promise<void>;
  /** Another node hands on a mark for repair. */
  mark(body: unknown): Promise<unknown>;
  /** Before a document becomes the present one. */
  prepare(next: Topology): Promise<void>;
  load(): Readonly<Record<string, number>>;
  /** Why this store's vote is void (I3); undefined: it counts. */
  whyNoVote(): string | undefined;
  /** Raises the store's sequence, durably, so that a vote that is forgotten is missed (I3). */
  voted(): Promise<void>;
}
