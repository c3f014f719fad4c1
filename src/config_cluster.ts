/**
 * Config cluster: the rows of the table of settings that only a cluster of nodes needs.
 *
 * Effects: none.
 *
 * @module
 */

import * as kinds from "./config_kinds.ts";
import type { Config, Setting } from "./config_shape.ts";
import { protocolRange } from "./protocol.ts";

const KiB = 1024;
const MiB = 1024 * KiB;
const GiB = 1024 * MiB;

const cluster = { scope: "serve", group: "Cluster" } as const;

type ClusterField =
  | "peers"
  | "bootstrapExpect"
  | "autoJoin"
  | "protocolMax"
  | "clusterSecret"
  | "clusterSecretFile"
  | "gossipPort"
  | "advertisedPeerAddress"
  | "peerRoutes"
  | "zone"
  | "hostId"
  | "weight"
  | "gossipPeriodMs"
  | "phiSuspect"
  | "phiDown"
  | "linkQueueBytesMax"
  | "replicationRequestsMax"
  | "replicationBytesMax"
  | "hintBytesMax"
  | "hintAgeMsMax"
  | "hintBytesPerSecond"
  | "hintRequestsMax"
  | "repairPeriodMs"
  | "repairPartitionsMax"
  | "repairBytesPerSecond"
  | "moveBytesPerSecond";

export const clusterSettings: { readonly [K in ClusterField]: Setting<Config[K]> } = {
  peers: {
    flag: "peers",
    ...cluster,
    kind: kinds.someOf(kinds.address),
    default: [],
    defaultText: "none",
    meaning: "Members of the cluster to join, or those that begin it; this node may be among them.",
    formula: "Three of them are enough: the others are learned from these.",
    tradeOff: "More names find the cluster when several of them are down.",
  },
  bootstrapExpect: {
    flag: "bootstrap-expect",
    ...cluster,
    kind: kinds.whole(1, 99),
    default: undefined,
    defaultText: "none: joins a cluster that exists",
    meaning:
      "How many nodes begin a new cluster together; a data folder with a cluster ignores it.",
    formula: "The same on each of them, and at most --peers and this node.",
    tradeOff:
      "More spread the first copies at once; a new cluster waits until all of them are there.",
  },
  autoJoin: {
    flag: "auto-join",
    ...cluster,
    kind: kinds.toggle,
    default: false,
    meaning:
      "Takes in nodes that ask this one to join, at once: without it, one that asks waits until a plan admits it where something is stored.",
    formula: "On every member that may be asked.",
    tradeOff:
      "On lets a cluster grow by starting nodes; each of them moves data, and nobody looks at it first.",
  },
  protocolMax: {
    flag: "protocol-max",
    ...cluster,
    kind: kinds.whole(1, protocolRange.highest),
    default: undefined,
    defaultText: "the newest that the program speaks",
    meaning: "The highest version of the protocol between nodes that this one speaks.",
    formula: "Not below what is turned on: quorate status tells it.",
    tradeOff:
      "Holding one member to the version that is on keeps the way back to the earlier program open; what is newer stays off everywhere.",
  },
  clusterSecret: {
    flag: "cluster-secret",
    ...cluster,
    kind: kinds.text("<secret>", "16 to 256 printable characters", /^[\x21-\x7e]{16,256}$/),
    default: undefined,
    defaultText: "none",
    meaning: "What nodes prove to each other that they know; the same on all of them.",
    formula: "For example: openssl rand -hex 32.",
    tradeOff: "A flag can be read in the list of processes: give the variable or the file.",
    secret: true,
  },
  clusterSecretFile: {
    flag: "cluster-secret-file",
    ...cluster,
    kind: kinds.text("<file>", "the path of a file", /^[^\0]+$/),
    default: undefined,
    defaultText: "none",
    meaning: "The file whose first line is the --cluster-secret; give one of the two.",
    tradeOff:
      "Readable by the node's user alone, it shows up in no environment and no process list.",
  },
  gossipPort: {
    flag: "gossip-port",
    ...cluster,
    kind: kinds.whole(1, 65_535, "<port>"),
    default: undefined,
    defaultText: "the --port",
    meaning: "A second port, for traffic between nodes alone.",
    formula: "Another than --port. --peers then name this one.",
    tradeOff: "A firewall can keep clients from it; it is one more port to open between nodes.",
  },
  advertisedPeerAddress: {
    flag: "advertise-address",
    ...cluster,
    kind: kinds.address,
    default: undefined,
    defaultText: "the first --advertise-ip, else --host, with --gossip-port or --port",
    meaning: "Where other nodes reach this one.",
    formula:
      "Needed when --host is 0.0.0.0 or ::, which is no address to connect to, and --peers are elsewhere; clients are told it then, too, unless there is an --advertise-ip.",
    tradeOff: "A name outlives a change of address; it has to resolve on every node.",
  },
  peerRoutes: {
    flag: "peer-route",
    ...cluster,
    kind: kinds.list(kinds.route),
    default: [],
    defaultText: "none: each node is reached where it says",
    meaning: "Where this node reaches others for which the address that they advertise is no way.",
    formula: "For each of them advertised=used, such as n2.example:8080=127.0.0.1:9002.",
    tradeOff:
      "It crosses a tunnel, a forwarded port or a proxy that only this node knows; when the other's address changes, this has to follow.",
  },
  zone: {
    flag: "zone",
    ...cluster,
    kind: kinds.text("<name>", "1 to 64 of a-z, 0-9, '-', '_' and '.'", /^[a-z0-9._-]{1,64}$/),
    default: "default",
    meaning: "What fails together with this node, such as a rack or a data centre.",
    formula: "Copies of a key lie in as many zones as there are; use n zones or more for n copies.",
    tradeOff: "More zones survive the loss of one; writes wait for the way between them.",
  },
  hostId: {
    flag: "host-id",
    ...cluster,
    kind: kinds.text("<name>", "1 to 64 of a-z, 0-9, '-', '_' and '.'", /^[a-z0-9._-]{1,64}$/),
    default: undefined,
    defaultText: "none: each node is a machine of its own",
    meaning:
      "The machine that the node runs on: copies of a key never share one while others exist.",
    tradeOff: "Naming it protects against the loss of a machine that runs several nodes.",
  },
  weight: {
    flag: "weight",
    ...cluster,
    kind: kinds.whole(1, 1000),
    default: 100,
    meaning: "How much of the data this node takes, beside the others.",
    formula: "Its share is about weight / sum of all weights, while each copy finds another node.",
    tradeOff: "More fills a larger disk; it takes as much more of the requests.",
  },
  gossipPeriodMs: {
    flag: "gossip-period",
    ...cluster,
    kind: kinds.duration(50, 10_000),
    default: 1000,
    meaning: "How often a node tells the others that it lives, and what it knows.",
    formula: "A change reaches all of N nodes in about log2(N) periods.",
    tradeOff: "Shorter notices failures earlier; it costs messages, and false alarms on slow ways.",
  },
  phiSuspect: {
    flag: "phi-suspect",
    ...cluster,
    kind: kinds.whole(1, 50),
    default: 3,
    meaning: "The suspicion (phi) from which a peer is shown as suspect.",
    formula: "phi = -log10 of the chance that the peer is only late: 3 is 1 in 1,000.",
    tradeOff: "Lower goes around a slow peer earlier; higher bears more jitter.",
  },
  phiDown: {
    flag: "phi-down",
    ...cluster,
    kind: kinds.whole(1, 50),
    default: 8,
    meaning: "The suspicion (phi) from which a peer counts as down, and is asked last for reads.",
    formula: "Above --phi-suspect.",
    tradeOff: "Lower goes around a slow peer earlier; higher bears longer pauses.",
  },
  linkQueueBytesMax: {
    flag: "link-queue-bytes",
    ...cluster,
    kind: kinds.size(MiB, GiB),
    default: 64 * MiB,
    meaning: "What may wait to be sent to one peer; more is overloaded at once.",
    formula: "At least twice --max-value. Memory taken: up to this for each peer.",
    tradeOff: "More rides out a peer's pause; a peer that stays slow is noticed later.",
  },
  replicationRequestsMax: {
    flag: "max-replication-requests",
    ...cluster,
    kind: kinds.whole(1, 1_000_000),
    default: 20_000,
    meaning: "Requests of other nodes under way at once; more are refused to them.",
    formula: "At least --max-requests: each write of a client comes to every replica.",
    tradeOff: "Less protects a slow replica; writes then need the other ones.",
  },
  replicationBytesMax: {
    flag: "max-replication-bytes",
    ...cluster,
    kind: kinds.size(MiB, 64 * GiB),
    default: 256 * MiB,
    meaning: "What the requests of other nodes under way may hold.",
    formula: "At least twice --max-value. One larger value is taken where it comes alone.",
    tradeOff: "It is a budget of its own, so that clients cannot keep replicas from each other.",
  },
  hintBytesMax: {
    flag: "hint-bytes",
    ...cluster,
    kind: kinds.size(MiB, 1024 * GiB),
    default: GiB,
    meaning: "What is kept on disk for one node that cannot be reached; then repair has to do it.",
    formula: "Bytes written a second times the seconds of an outage: 1GiB is 18 min at 1MB/s.",
    tradeOff: "More bridges longer outages without repair; it takes room on the disk.",
  },
  hintAgeMsMax: {
    flag: "hint-age",
    ...cluster,
    kind: kinds.duration(60_000, 7 * 24 * 3_600_000),
    default: 3 * 3_600_000,
    meaning: "How long a hint is kept; then repair has to do it.",
    tradeOff: "Longer bridges longer outages; a node that never returns is paid for as long.",
  },
  moveBytesPerSecond: {
    flag: "move-bytes-per-second",
    ...cluster,
    kind: kinds.size(64 * 1024, 64 * GiB),
    default: 32 * MiB,
    meaning: "How fast this node copies what it comes to hold, and hands on what it holds no more.",
    formula: "Below what its disk and the others' links take beside the load.",
    tradeOff: "More ends a move sooner; less leaves more for requests meanwhile.",
  },
  hintBytesPerSecond: {
    flag: "hint-rate",
    ...cluster,
    kind: kinds.rate(64 * KiB, 10 * GiB),
    default: 8 * MiB,
    meaning: "How fast hints are sent to one node that is back.",
    formula: "A full --hint-bytes takes hint-bytes / hint-rate: 1GiB at 8MiB/s is 128 s.",
    tradeOff: "Faster heals earlier and takes from the requests of both nodes.",
  },
  hintRequestsMax: {
    flag: "max-hint-requests",
    ...cluster,
    kind: kinds.whole(1, 100_000),
    default: 64,
    meaning: "Hints and repaired records of other nodes being taken in at once.",
    tradeOff: "A budget of its own, so that catching up does not starve clients.",
  },
  repairPeriodMs: {
    flag: "repair-period",
    ...cluster,
    kind: kinds.duration(1000, 24 * 3_600_000),
    default: 10 * 60_000,
    meaning: "How often each partition is compared with each of its other replicas.",
    formula: "A node of 3 with 256 partitions compares 512 times in it: 10min is about 1 a second.",
    tradeOff: "Shorter finds earlier what nobody knew to be missing; each comparison is a message.",
  },
  repairPartitionsMax: {
    flag: "repair-partitions",
    ...cluster,
    kind: kinds.whole(1, 64),
    default: 2,
    meaning: "How many partitions a node compares at a time.",
    tradeOff: "More catches up earlier after a long outage, within --repair-rate.",
  },
  repairBytesPerSecond: {
    flag: "repair-rate",
    ...cluster,
    kind: kinds.rate(64 * KiB, 10 * GiB),
    default: 16 * MiB,
    meaning: "How much all comparisons of a node move, keys that they only look at included.",
    formula: "1 GiB that a replica lacks takes 1GiB / repair-rate: at 16MiB/s 64 s.",
    tradeOff: "Faster heals earlier and takes from the requests of both nodes.",
  },
};
