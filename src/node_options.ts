/**
 * Node options: what a node is made of, and what it is to its maker.
 *
 * Effects: none (types, and a limit).
 *
 * @module
 */

import type { Budget } from "./admission.ts";
import type { Api, ProtocolAnswer } from "./api.ts";
import type {
  AcceptedStream,
  Clock,
  Disk,
  FrameSink,
  FrameSource,
  Network,
  Random,
  Report,
} from "./capability.ts";
import type { ClusterSettings } from "./cluster_options.ts";
import type { QuorateError } from "./errors.ts";
import type { Table } from "./table.ts";

/** What becomes of a stream that another node has opened. */
export type PeerAccept = (stream: AcceptedStream) => {
  readonly source: FrameSource;
  readonly sink: FrameSink;
};

export interface NodeOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly disk: Disk;
  readonly report: Report;
  /** Opens the table in the data folder; called once, after the folder is locked. */
  readonly openTable: () => Promise<Table>;
  /**
   * Reads the whole table where it can do no harm, in another process: called before `openTable` when
   * the last starts did not end in order. Answers whether it is as it should be; rejects with
   * `corruption` when opening it would end this process.
   */
  readonly verifyTable?: () => Promise<boolean>;
  /** Puts a table that cannot be opened out of the way, where other replicas hold what is in it (D6). */
  readonly setTableAside?: () => Promise<void>;
  readonly settings: NodeSettings;
  /** The other nodes; undefined: there are none, and there never will be. */
  readonly cluster?: NodeClusterOptions;
}

/** How a node takes part in a cluster. */
export interface NodeClusterOptions {
  readonly network: Network;
  readonly settings: ClusterSettings;
  /** What is kept for one node that is away, in bytes. Default 1 GiB. */
  readonly hintBytesMax?: number;
  /** How long it is kept, in ms. Default 3 hours. */
  readonly hintAgeMaxMs?: number;
  /** How fast it is delivered, in bytes a second. Default 8 MiB. */
  readonly hintBytesPerSecond?: number;
  /** Each partition is compared with each of its other replicas once in so long. Default 10 min. */
  readonly repairPeriodMs?: number;
  /** How many partitions are compared at a time. Default 2. */
  readonly repairPartitionsMax?: number;
  /** How much comparisons read and move, in bytes a second. Default 16 MiB. */
  readonly repairBytesPerSecond?: number;
  /** How often a partition's watermark is raised, in ms. Default: six times repairPeriodMs. */
  readonly watermarkPeriodMs?: number;
  /** The longest deadline of a request, in ms. Default 60,000: the longest that the API takes. */
  readonly requestMsMax?: number;
  /** How fast it copies while replicas move, in bytes a second. Default 32 MiB. */
  readonly moveBytesPerSecond?: number;
  /** What is taken on of other nodes' requests at once; undefined: no bound but the links'. */
  readonly budgets?: PeerBudgets;
}

/** Catching up (hints and repair) has a budget of its own, so that it does not starve writes. */
export interface PeerBudgets {
  readonly replication: Budget;
  readonly hint: Budget;
}

export interface NodeSettings {
  /** The node's name, 1 to 64 of a-z, 0-9, `-`, `_`, `.`; undefined: as at the first start, or `n1`. */
  readonly name?: string;
  /** A power of two up to 1,024; fixed at the first start. Default 256. */
  readonly partitions?: number;
  /** The version of the program, for `/v1/info`. */
  readonly version: string;
  /** The highest version of the protocol that it speaks. Default: the newest that the program knows. */
  readonly protocolMax?: number | undefined;
  /** For example `node 24.9.0`. */
  readonly runtime: string;
  /** A WAL segment's size. Default 64 MiB. */
  readonly segmentBytes?: number;
  /** A checkpoint begins when the memtable holds so much. Default 16 MiB. */
  readonly memtableBytesMax?: number;
  /** Below so much free space, growing writes are refused. Default 256 MiB. */
  readonly diskReserveBytes?: number;
  /** How fast the scrub reads, in bytes a second. Default 8 MiB; 0 switches it off. */
  readonly scrubBytesPerSecond?: number;
  /** Serves what can still be read of a damaged folder, where it would refuse to start. */
  readonly acceptDataLoss?: boolean;
}

/** How long a node that is closed lets the others have their last answers, in ms. */
export const leaveMsMax = 5000;

/** The way from this node to another member, as it is at this moment. */
export interface PeerLink {
  /** The member's name. */
  readonly peer: string;
  /** The suspicion that it is down (phi-accrual), 0 to 1,000. */
  readonly phi: number;
  /** What waits to be sent to it. */
  readonly queueBytes: number;
}

/** Something that is bounded. */
export interface Queue {
  /** For example `memtable`, `link <node id>`, `hints <store id>`. */
  readonly name: string;
  /** Bytes or requests. */
  readonly held: number;
  readonly max: number;
}

/** A running node. */
export interface QuorateNode extends Api {
  readonly name: string;
  /** Settles (never rejects) when the store has ended by itself, with the reason. */
  readonly ended: Promise<QuorateError>;
  /** Resolves when it serves. @throws why it cannot */
  started(): Promise<void>;
  /** Takes a stream that another node has opened; undefined on a node that is in no cluster. */
  readonly accept?: PeerAccept | undefined;
  /** What the members speak. @throws `not-ready` while the node starts */
  protocol(): ProtocolAnswer;
  /** To every other member; none while the node is alone or starts. */
  peerLinks(): readonly PeerLink[];
  /** What it holds at the moment of everything that could grow, and how much it may be. */
  queues(): readonly Queue[];
  /** Not ready from now on; what is under way goes on. */
  drain(): void;
  /**
   * The other nodes ask it nothing more, and get what they have asked, within `timeoutMs`. Its own requests
   * go on. `close` does it too, for a node that did not.
   */
  leave(timeoutMs: number): Promise<void>;
  /** Waits for what is under way, checkpoints, releases the folder. Idempotent. */
  close(): Promise<void>;
}
