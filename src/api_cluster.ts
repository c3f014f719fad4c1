/**
 * ApiCluster: what a node tells of the cluster: who holds what, who lives, what is kept for whom.
 *
 * Two of these answers differ from node to node. The ring comes from the topology, which all agree on;
 * states, silences and hints are what the node that answers has seen itself, and another may see it
 * otherwise. What a node has not heard is left out: a member without `keys` has not told them.
 *
 * Effects: none (types only).
 *
 * @module
 */

/** A node, and where it is. */
export interface NodePlace {
  /** Its name. */
  readonly node: string;
  readonly nodeId: string;
  readonly zone: string;
  /** `host:port` for traffic between nodes. */
  readonly addresses: readonly string[];
  /** Where clients reach it, when it says so. */
  readonly clientUrl?: string;
}

export interface RingMember extends NodePlace {
  readonly host: string;
  readonly weight: number;
  /** Whether it is one of those that choose the next topology. */
  readonly isVoter: boolean;
  /** Partitions of which it is the first replica, and of which it is any. */
  readonly firstCount: number;
  readonly replicaCount: number;
  /** Its part of all replicas, 0 to 1. */
  readonly share: number;
}

export interface RingAnswer {
  readonly clusterId: string;
  readonly epoch: number;
  readonly partitions: number;
  readonly members: readonly RingMember[];
}

/** Where a key lives. */
export interface KeyPlace {
  readonly namespace: string;
  readonly partition: number;
  /** As the namespace's policy has it; there are fewer replicas while there are fewer members. */
  readonly n: number;
  /** In order. */
  readonly replicas: readonly NodePlace[];
}

/** `unknown`: not heard of since the node that answers was started. */
export type MemberState = "alive" | "suspect" | "down" | "unknown";

/** A member as one node sees it. */
export interface ClusterMember extends NodePlace {
  readonly storeId: string;
  /** Whether it is one of those that choose the next topology. */
  readonly isVoter: boolean;
  /** Whether it is the node that answers. */
  readonly isSelf: boolean;
  readonly state: MemberState;
  /** The suspicion that it is down: -log10 of the chance that it is only late; at most 1,000. */
  readonly phi: number;
  /** Milliseconds since it was last heard of, through others too. */
  readonly silentMs?: number;
  /** The epoch of the topology that it has. */
  readonly epoch?: number;
  /** Partitions of which it is the first replica, and of which it is any. */
  readonly firstCount: number;
  readonly replicaCount: number;
  /** Live records on it, and the bytes of their values. */
  readonly keys?: number;
  readonly bytes?: number;
  readonly disk?: { readonly freeBytes: number; readonly totalBytes: number };
  /** The version of its program. */
  readonly version?: string;
  /** The versions of the protocol between nodes that it speaks. */
  readonly speaks?: { readonly lowest: number; readonly highest: number };
  /** Partitions in which it has no data, and counts for nothing until it has filled them. */
  readonly lacking?: number;
  /** Its store was rolled back: its vote is void. */
  readonly rolledBack?: boolean;
  /** What the node that answers keeps for it. */
  readonly hints: { readonly count: number; readonly bytes: number };
}

/** Versions of the protocol between nodes that a member speaks, and the version of its program. */
export interface MemberSpeech {
  readonly node: string;
  /** Undefined: it has not told, as programs did that spoke version 1 alone. */
  readonly version?: string;
  /** Undefined: it was not heard of, and nothing is on record. */
  readonly speaks?: { readonly lowest: number; readonly highest: number };
}

/** Something that the cluster does from a version of the protocol on. */
export interface FeatureState {
  readonly name: string;
  readonly since: number;
  readonly isOn: boolean;
  /** Names of members that do not speak that version, or were not heard of. */
  readonly waitsFor: readonly string[];
}

/** What the members have in common. */
export interface ProtocolAnswer {
  /** The version that is turned on. */
  readonly protocol: number;
  /** In the order of the document. */
  readonly members: readonly MemberSpeech[];
  readonly features: readonly FeatureState[];
}

export interface ClusterAnswer {
  /** The name of the node that answers. */
  readonly node: string;
  readonly clusterId: string;
  readonly epoch: number;
  readonly partitions: number;
  /** Names of the members that choose the next topology. */
  readonly voters: readonly string[];
  /** The version of the protocol between nodes that is turned on. */
  readonly protocol: number;
  readonly features: readonly FeatureState[];
  readonly members: readonly ClusterMember[];
}

/** What is kept for one store. */
export interface HintTarget {
  readonly storeId: string;
  /** Its name; left out when it is no member any more. */
  readonly node?: string;
  readonly count: number;
  readonly bytes: number;
  /** The age of the oldest one that is known. */
  readonly oldestAgeMs?: number;
  readonly isDelivering: boolean;
}

/** The writes that one node keeps for others. */
export interface HintsAnswer {
  /** The name of the node that answers. */
  readonly node: string;
  readonly count: number;
  readonly bytes: number;
  /**
   * Pairs of a partition and another replica that are to be compared first: their hints were given up, or a
   * read met a record that a watermark overrules.
   */
  readonly marks: number;
  readonly targets: readonly HintTarget[];
}

/** A partition that is being compared with another replica. */
export interface RunningComparison {
  readonly partition: number;
  /** Of the namespaces that are compared. */
  readonly n: number;
  /** The name of the other replica. */
  readonly node: string;
  readonly why: "scheduled" | "asked" | "marked" | "cut log" | "watermark";
  /** How long it has run. */
  readonly ageMs: number;
}

/** A partition whose replicas are known to differ, because a write for one of them was given up. */
export interface RepairMark {
  readonly partition: number;
  readonly n: number;
  readonly storeId: string;
  /** The name of the node that lacks something; left out when it is no member any more. */
  readonly node?: string;
}

/** How one node keeps its partitions and those of the other replicas the same. */
export interface RepairAnswer {
  /** The name of the node that answers. */
  readonly node: string;
  /** Each pair of a partition and another replica of it is compared once in so long. */
  readonly periodMs: number;
  readonly pairs: number;
  /** Pairs that were compared to the end within the last period. */
  readonly visited: number;
  /** Pairs that wait to be compared now. */
  readonly due: number;
  /** The age of the oldest of each pair's last comparisons; left out when there was none. */
  readonly oldestAgeMs?: number;
  /** In how long the next pair is due; 0 while some are. Left out when there are no pairs. */
  readonly nextMs?: number;
  /** How long what is due and marked takes, by what a comparison took so far. */
  readonly leftMs?: number;
  readonly running: readonly RunningComparison[];
  readonly markCount: number;
  /** The first 100. */
  readonly marks: readonly RepairMark[];
  /**
   * Partitions in which deletes, or records that live for a time, wait to be dropped, for the namespaces
   * of one n; of these, the ones that were never known to be the same on all replicas. The others were
   * last so long ago: what is older is dropped.
   */
  readonly waiting: number;
  readonly neverSame: number;
  readonly oldestSameAgeMs?: number;
  /** The first 100 that this node leads whose last round failed, and why. */
  readonly heldBack: readonly {
    readonly partition: number;
    readonly n: number;
    readonly why: string;
  }[];
  /** Whether the store was rolled back: its vote is void until another takes its place. */
  readonly rolledBack: boolean;
  /** Partitions without data, for the namespaces of one n: they count for nothing until they are filled. */
  readonly lackingCount: number;
  /** The first 100, and why they are not filled yet. */
  readonly lacking: readonly {
    readonly partition: number;
    readonly n: number;
    readonly why: string;
  }[];
  /** Since the node's start: partitions that were filled, */
  readonly filled: number;
  /** comparisons that came to their end, those of them that found no difference, */
  readonly whole: number;
  readonly agreed: number;
  /** comparisons that were broken off, */
  readonly broken: number;
  /** and records that were sent to others, and got from them. */
  readonly pushed: number;
  readonly pulled: number;
}

/** What is to be compared now; what is left out stands for all. */
export interface RepairRequest {
  readonly partition?: number | undefined;
  /** Its name. */
  readonly namespace?: string | undefined;
}
