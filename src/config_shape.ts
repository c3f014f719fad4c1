/**
 * Config shape: the fields of `Config`, and what a row of the table of settings says about one.
 *
 * Effects: none.
 *
 * @module
 */

import type { Consistency, Durability, Replicas } from "./api.ts";
import type { LogLevel } from "./capability.ts";
import type { Kind, PeerRoute } from "./config_kinds.ts";

export type LogFormat = "auto" | "text" | "json";
export type OutputFormat = "table" | "json" | "yaml" | "raw";

/** Every setting, with its value. What it means stands in its row of `settings`. */
export interface Config {
  readonly configFile: string | undefined;

  readonly name: string | undefined;
  readonly port: number;
  readonly host: string;
  readonly insecure: boolean;
  readonly advertisedAddresses: readonly string[];
  readonly corsOrigins: readonly string[];
  readonly connectionsMax: number;
  readonly requestsMax: number;
  readonly requestBytesMax: number;
  readonly loopLagMsMax: number;
  readonly shutdownTimeoutMs: number;

  readonly dataFolder: string;
  readonly clusterId: string | undefined;
  readonly partitions: number;
  readonly valueBytesMax: number;
  readonly segmentBytes: number;
  readonly memtableBytesMax: number;
  readonly diskReserveBytes: number;
  readonly scrubBytesPerSecond: number;
  readonly acceptDataLoss: boolean;

  readonly peers: readonly string[];
  readonly bootstrapExpect: number | undefined;
  readonly autoJoin: boolean;
  readonly protocolMax: number | undefined;
  readonly clusterSecret: string | undefined;
  readonly clusterSecretFile: string | undefined;
  readonly gossipPort: number | undefined;
  readonly advertisedPeerAddress: string | undefined;
  readonly peerRoutes: readonly PeerRoute[];
  readonly zone: string;
  readonly hostId: string | undefined;
  readonly weight: number;
  readonly gossipPeriodMs: number;
  readonly phiSuspect: number;
  readonly phiDown: number;
  readonly linkQueueBytesMax: number;
  readonly replicationRequestsMax: number;
  readonly replicationBytesMax: number;
  readonly hintBytesMax: number;
  readonly hintAgeMsMax: number;
  readonly hintBytesPerSecond: number;
  readonly repairPeriodMs: number;
  readonly repairPartitionsMax: number;
  readonly repairBytesPerSecond: number;
  readonly moveBytesPerSecond: number;
  readonly hintRequestsMax: number;

  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;

  readonly url: string;
  readonly namespace: string;
  readonly timeoutMs: number;
  readonly consistency: Consistency | undefined;
  readonly r: Replicas | undefined;
  readonly w: Replicas | undefined;
  readonly durability: Durability | undefined;
  readonly output: OutputFormat | undefined;
}

/** Who reads a setting: `serve`, the commands that talk to a node, or both. */
export type Scope = "serve" | "data" | "both";

export interface Setting<T> {
  /** Without dashes; the variable and the file key are made of it. */
  readonly flag: string;
  /** A one-letter flag. */
  readonly short?: string;
  readonly scope: Scope;
  /** The heading under which help and documentation show it. */
  readonly group: string;
  readonly kind: Kind<Exclude<T, undefined>>;
  readonly default: T;
  /** What the default is, in words, where the value does not tell it. */
  readonly defaultText?: string;
  /** One sentence; the help shows it. */
  readonly meaning: string;
  readonly formula?: string;
  /** What raising it (or switching it on) buys and costs. */
  readonly tradeOff?: string;
  /** It is never shown: not by `config show`, not in an error. */
  readonly secret?: true;
  /** It cannot stand in the config file (it names the file). */
  readonly outsideFile?: true;
}

export type SettingTable = { readonly [K in keyof Config]: Setting<Config[K]> };
