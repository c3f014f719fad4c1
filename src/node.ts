/**
 * Node: one Quorate node, composed of its parts.
 *
 * @module
 */

import type { Api } from "./api.ts";
import type { Clock, Disk, Random, Report } from "./capability.ts";
import type { QuorateError } from "./errors.ts";
import type { Table } from "./table.ts";

export interface NodeOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly disk: Disk;
  readonly report: Report;
  /** Opens the table in the data folder; called once, after the folder is locked. */
  readonly openTable: () => Promise<Table>;
  readonly settings: NodeSettings;
}

export interface NodeSettings {
  /** The node's name, 1 to 64 of a-z, 0-9, `-`, `_`, `.`; undefined: as at the first start, or `n1`. */
  readonly name?: string;
  /** A power of two up to 1,024; fixed at the first start. Default 256. */
  readonly partitions?: number;
  /** The version of the program, for `/v1/info`. */
  readonly version: string;
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

/** A running node. */
export interface QuorateNode extends Api {
  readonly name: string;
  /** Settles (never rejects) when the store has ended by itself, with the reason. */
  readonly ended: Promise<QuorateError>;
  /** Not ready from now on; what is under way goes on. */
  drain(): void;
  /** Waits for what is under way, checkpoints, releases the folder. Idempotent. */
  close(): Promise<void>;
}

/** Opens a node on its data folder; rejects with a `QuorateError` that says why it cannot. */
export declare function openNode(options: NodeOptions): Promise<QuorateNode>;
