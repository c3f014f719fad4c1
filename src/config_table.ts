/**
 * Config table: every setting of the program, described once.
 *
 * A row gives a setting its flag, and with it the environment variable (`--max-value`,
 * `QUORATE_MAX_VALUE`) and the key in the config file (`max-value`); its kind, its default, and the
 * words for it: what it means, the formula where there is one, and what raising it buys and costs.
 * The command line, `--help`, `config show`, the checks and `docs/configuration.md` are all made from
 * these rows, so that none of them can say something else.
 *
 * Invariants
 * 1. Every field of `Config` has exactly one row (the compiler checks it), and every flag one row.
 * 2. A default is written here and nowhere else.
 *
 * Effects: none.
 *
 * @module
 */

import type { Consistency, Durability } from "./api.ts";
import {
  namespaceForm,
  namespacePattern,
  timeoutMsDefault,
  timeoutMsMax,
  valueBytesMaxLimit,
} from "./api.ts";
import type { LogLevel } from "./capability.ts";
import { clusterSettings } from "./config_cluster.ts";
import * as kinds from "./config_kinds.ts";
import type { Config, LogFormat, OutputFormat, SettingTable } from "./config_shape.ts";

export type { Config, LogFormat, OutputFormat, Scope, Setting } from "./config_shape.ts";

const KiB = 1024;
const MiB = 1024 * KiB;
const GiB = 1024 * MiB;

const identity = { scope: "serve", group: "Node and network" } as const;
const storage = { scope: "serve", group: "Data and storage" } as const;
const logging = { scope: "serve", group: "Log" } as const;
const request = { scope: "data", group: "Requests" } as const;

export const settings: SettingTable = {
  configFile: {
    flag: "config",
    scope: "both",
    group: "Config file",
    kind: kinds.text("<file>", "the path of a TOML file", /^[^\0]+$/),
    default: undefined,
    defaultText: "quorate.toml, when the current folder has one",
    meaning: "The TOML file with settings; its keys are the flags without their dashes.",
    outsideFile: true,
  },
  name: {
    flag: "name",
    ...identity,
    kind: kinds.text("<name>", "1 to 64 of a-z, 0-9, '-', '_' and '.'", /^[a-z0-9._-]{1,64}$/),
    default: undefined,
    defaultText: "the name of the first start, or n1",
    meaning: "The node's name, in answers, logs and errors.",
  },
  port: {
    flag: "port",
    ...identity,
    kind: kinds.whole(0, 65_535, "<port>"),
    default: 8080,
    meaning: "The one port for HTTP, Connect and gRPC; 0 takes any free one.",
  },
  host: {
    flag: "host",
    ...identity,
    kind: kinds.text("<address>", "an address or a host name", /^[A-Za-z0-9.:_[\]-]{1,255}$/),
    default: "127.0.0.1",
    meaning: "The address to listen on; any but loopback needs --insecure.",
    tradeOff: "Another address lets other machines in, and there is no TLS and no login yet.",
  },
  insecure: {
    flag: "insecure",
    ...identity,
    kind: kinds.toggle,
    default: false,
    meaning: "Allows a --host that other machines can reach, without TLS or login.",
    tradeOff: "Whoever reaches the port can read and change everything.",
  },
  advertisedAddresses: {
    flag: "advertise-ip",
    ...identity,
    kind: kinds.list(
      kinds.text("<address>", "an address or a host name", /^[A-Za-z0-9.:_[\]-]{1,255}$/),
    ),
    default: [],
    defaultText: "none",
    meaning: "Names under which clients reach this node, besides localhost.",
    tradeOff:
      "On loopback a request for any other name than these and the node's addresses is refused, so that no web page gets in.",
  },
  corsOrigins: {
    flag: "cors-origin",
    ...identity,
    kind: kinds.list(
      kinds.text("<origin>", "an origin such as https://app.example", /^https?:\/\/[^\s/]+$/),
    ),
    default: [],
    defaultText: "none",
    meaning: "Origins whose web pages may use this node.",
    tradeOff: "A page of a listed origin can do whatever a local program can.",
  },
  connectionsMax: {
    flag: "max-connections",
    ...identity,
    kind: kinds.whole(1, 1_000_000),
    default: 10_000,
    meaning: "Connections at once; more are closed when they arrive.",
    formula:
      "Below the limit on open files (ulimit -n) by 100: where Linux says less, `serve` allows fewer, with a warning.",
    tradeOff: "An idle connection costs about 10 KiB and a descriptor.",
  },
  requestsMax: {
    flag: "max-requests",
    ...identity,
    kind: kinds.whole(1, 1_000_000),
    default: 10_000,
    meaning: "Requests of clients under way at once; more get 503 overloaded.",
    formula: "Requests a second times the seconds that a slow one takes: 20,000/s for 0.5 s.",
    tradeOff: "More ride out a burst; when it lasts, all of them wait longer.",
  },
  requestBytesMax: {
    flag: "max-request-bytes",
    ...identity,
    kind: kinds.size(MiB, 64 * GiB),
    default: 256 * MiB,
    meaning: "What the bodies of all requests under way may hold; more get 503 overloaded.",
    formula: "At least 17MiB (a whole batch) and --max-value. Memory taken: about twice as much.",
    tradeOff: "More takes many large writes at once; it is memory that nothing else can use.",
  },
  loopLagMsMax: {
    flag: "max-loop-lag",
    ...identity,
    kind: kinds.duration(0, 60_000),
    default: 1000,
    meaning: "How late the event loop may be before clients get 503 overloaded; 0ms never refuses.",
    formula: "Smoothed over about 5 measurements, 50ms apart; below half of the clients' timeout.",
    tradeOff: "Lower keeps accepted requests fast; a slow or shared machine then refuses more.",
  },
  shutdownTimeoutMs: {
    flag: "shutdown-timeout",
    ...identity,
    kind: kinds.duration(0, 600_000),
    default: 15_000,
    meaning: "How long a stopping node lets accepted requests finish.",
    formula: "Above the longest timeout that clients use, below what the service manager allows.",
    tradeOff: "Longer spares slow requests a cut connection; a stop takes as long at worst.",
  },
  dataFolder: {
    flag: "data-dir",
    ...storage,
    kind: kinds.text("<folder>", "the path of a folder", /^[^\0]+$/),
    default: ".quorate/data",
    meaning: "The folder with the node's data; it is made when it is not there.",
  },
  clusterId: {
    flag: "cluster-id",
    ...storage,
    kind: kinds.text(
      "<id>",
      "an id as /v1/info shows it: 1 to 64 of a-z, 0-9 and '-'",
      /^[a-z0-9-]{1,64}$/,
    ),
    default: undefined,
    defaultText: "whatever the folder says",
    meaning: "The cluster that the data folder has to belong to; an empty folder is refused.",
    tradeOff: "A lost or unmounted data folder stops the start instead of beginning empty.",
  },
  partitions: {
    flag: "partitions",
    ...storage,
    kind: kinds.powerOfTwo(1, 1024),
    default: 256,
    meaning: "Parts of the hash space; fixed at the first start of a data folder.",
    formula: "At least 10 for each node that the cluster may ever have.",
    tradeOff: "More spread load more evenly over many nodes; each costs memory and repair work.",
  },
  valueBytesMax: {
    flag: "max-value",
    ...storage,
    kind: kinds.size(1, valueBytesMaxLimit),
    default: MiB,
    meaning:
      "The largest value of a namespace that is made without a maxValue of its own; " +
      "'default' begins with 1MiB, and PUT /v1/namespaces/default changes it.",
    formula: "At most --memtable-bytes, and half of --segment-bytes.",
    tradeOff: "Larger values cost memory for each request that carries one, and delay small ones.",
  },
  segmentBytes: {
    flag: "segment-bytes",
    ...storage,
    kind: kinds.size(64 * KiB, GiB),
    default: 64 * MiB,
    meaning: "The size of a segment of the write-ahead log.",
    formula: "At least twice --max-value.",
    tradeOff: "Larger ones roll less often; a start after a crash replays up to two of them.",
  },
  memtableBytesMax: {
    flag: "memtable-bytes",
    ...storage,
    kind: kinds.size(64 * KiB, 4 * GiB),
    default: 16 * MiB,
    meaning: "Written data kept in memory before a checkpoint moves it to the index.",
    formula: "Memory taken by it: up to twice as much while a checkpoint runs.",
    tradeOff: "Larger saves writes of keys that change often; a restart replays more.",
  },
  diskReserveBytes: {
    flag: "disk-reserve",
    ...storage,
    kind: kinds.size(0, 1024 * GiB),
    default: 256 * MiB,
    meaning: "Free space below which writes that grow the data get 507 disk-full.",
    formula: "At least --segment-bytes plus twice --memtable-bytes.",
    tradeOff: "It is what deletes, checkpoints and repair live on when the disk is full.",
  },
  scrubBytesPerSecond: {
    flag: "scrub-rate",
    ...storage,
    kind: kinds.rate(0, 10 * GiB),
    default: 8 * MiB,
    meaning: "How fast all data is read again and checked in the background; 0 switches it off.",
    formula: "A full round takes the data's size divided by it: 100 GiB at 8MiB/s take 3.6 hours.",
    tradeOff: "Faster finds damage earlier and takes reads away from requests.",
  },
  acceptDataLoss: {
    flag: "accept-data-loss",
    ...storage,
    kind: kinds.toggle,
    default: false,
    meaning:
      "Serves what can still be read of a damaged data folder, where it would not start; in a cluster, takes what a replica without data holds for all that there is.",
    tradeOff: "What is lost is gone for good, acknowledged writes included. Copy the folder first.",
  },
  ...clusterSettings,
  logLevel: {
    flag: "log-level",
    ...logging,
    kind: kinds.choice<LogLevel>("debug", "info", "warn", "error"),
    default: "info",
    meaning: "The least important lines to log.",
    tradeOff: "debug writes several lines a request, which costs more than the request.",
  },
  logFormat: {
    flag: "log-format",
    ...logging,
    kind: kinds.choice<LogFormat>("auto", "text", "json"),
    default: "auto",
    meaning: "Lines for people or for programs; auto is text on a terminal and JSON elsewhere.",
  },
  url: {
    flag: "url",
    ...request,
    kind: kinds.text("<url>", "an http or https URL", /^https?:\/\/[^\s?#]+$/),
    default: "http://127.0.0.1:8080",
    meaning: "The node to ask; any node serves any request.",
  },
  namespace: {
    flag: "namespace",
    short: "n",
    ...request,
    kind: kinds.text("<name>", namespaceForm, namespacePattern),
    default: "default",
    meaning: "The namespace of the keys.",
  },
  timeoutMs: {
    flag: "timeout",
    ...request,
    kind: kinds.duration(1, timeoutMsMax),
    default: timeoutMsDefault,
    meaning: "How long one request may take. Unless it is given, what changes members has 15s.",
    tradeOff: "A longer one waits out slow replicas; a failure is known later.",
  },
  consistency: {
    flag: "consistency",
    ...request,
    kind: kinds.choice<Consistency>("one", "quorum", "all"),
    default: undefined,
    defaultText: "as the namespace says",
    meaning: "How many replicas have to answer.",
    tradeOff: "quorum reads see the newest acknowledged write; one is faster and may not.",
  },
  r: {
    flag: "r",
    ...request,
    kind: kinds.replicas,
    default: undefined,
    defaultText: "as the namespace says",
    meaning:
      "How many replicas a read waits for. It stands above the consistency, unless that is given nearer.",
  },
  w: {
    flag: "w",
    ...request,
    kind: kinds.replicas,
    default: undefined,
    defaultText: "as the namespace says",
    meaning:
      "How many replicas a write waits for. It stands above the consistency, unless that is given nearer.",
  },
  durability: {
    flag: "durability",
    ...request,
    kind: kinds.choice<Durability>("fsync", "memory"),
    default: undefined,
    defaultText: "as the namespace says",
    meaning: "Whether a write is answered when it is on disk, or in memory.",
    tradeOff: "memory is faster, and a crash can lose what was acknowledged.",
  },
  output: {
    flag: "output",
    short: "o",
    ...request,
    kind: kinds.choice<OutputFormat>("table", "json", "yaml", "raw"),
    default: undefined,
    defaultText: "table on a terminal, else the plainest form of the data",
    meaning: "The form in which data is printed.",
  },
};

/** The names of all settings, in the order of the documentation. */
export const settingNames = Object.keys(settings) as readonly (keyof Config)[];

/** `--max-value` of `max-value`, `-r` of `r`. */
export function dashed(flag: string): string {
  return flag.length === 1 ? `-${flag}` : `--${flag}`;
}

/** `QUORATE_MAX_VALUE` of `max-value`. */
export function variableOf(flag: string): string {
  return `QUORATE_${flag.toUpperCase().replaceAll("-", "_")}`;
}
