/**
 * CoordinatorPorts: what a coordinator in a cluster needs of the other parts.
 *
 * Effects: none (types, and the words that both kinds of request say of a replica).
 *
 * @module
 */

import type { Clock, Report } from "./capability.ts";
import type { Deadlines } from "./deadlines.ts";
import { QuorateError, type ReplicaLine } from "./errors.ts";
import type { Hlc } from "./hlc.ts";
import type {
  Lost,
  ReadReply,
  ReadRequest,
  ReplyFrom,
  WriteReply,
  WriteRequest,
} from "./quorum_message.ts";
import type { StoredRecord } from "./record.ts";
import { type Version, versionText } from "./version.ts";

export interface ReplicaNode {
  readonly nodeId: string;
  readonly storeId: string;
  readonly name: string;
}

/** Where a key lives, by one document. */
export interface KeyPlace {
  readonly epoch: number;
  readonly partition: number;
  /** The first n of the partition's list: those that are read. */
  readonly replicas: readonly ReplicaNode[];
  /** While the partition moves: the other set, in which a write needs its quorum too (T3). */
  readonly other?: readonly ReplicaNode[] | undefined;
}

/** All that are sent a write: those that are read, then the rest of the other set. */
export function writersOf({ replicas, other }: KeyPlace): readonly ReplicaNode[] {
  if (other === undefined) return replicas;
  const rest = other.filter(({ nodeId }) => !replicas.some((one) => one.nodeId === nodeId));
  return [...replicas, ...rest];
}

/** The other set, by the numbers of `writersOf`. */
export function otherSetOf(place: KeyPlace): readonly number[] | undefined {
  const { other } = place;
  if (other === undefined) return undefined;
  return writersOf(place).flatMap(({ nodeId }, number) =>
    other.some((one) => one.nodeId === nodeId) ? [number] : [],
  );
}

export type Replied<Reply> = Reply & { readonly from: ReplyFrom };

/** This node's own replica. */
export interface LocalPort {
  write(request: WriteRequest, isOwn: boolean): Promise<Replied<WriteReply>>;
  read(request: ReadRequest): Promise<Replied<ReadReply>>;
  /** Undefined when the store's ceiling is durably above a stamp; else resolves when it is (V1). */
  coverStamp(stamp: Hlc): Promise<void> | undefined;
}

/** The others. A rejection's `outcome` is `none` when the request was certainly not sent. */
export interface PeerPort {
  write(
    nodeId: string,
    request: WriteRequest,
    options: { readonly timeoutMs: number },
  ): Promise<Replied<WriteReply>>;
  read(
    nodeId: string,
    request: ReadRequest,
    options: { readonly timeoutMs: number },
  ): Promise<Replied<ReadReply>>;
  /** False when it is believed to be down: it is asked last for reads, and writes go to it all the same. */
  isUp(nodeId: string): boolean;
}

/** A write kept for a replica that has not answered it. */
export interface KeptHint {
  readonly storeId: string;
  readonly partition: number;
  readonly n: number;
  readonly namespaceNumber: number;
  readonly key: Uint8Array;
  readonly record: StoredRecord;
}

export interface HintKeeper {
  /** Durable when it resolves. */
  keep(hint: KeptHint): Promise<void>;
  /** A store holds live what was deleted below a watermark of others: it is compared soon (R2). */
  suspect(partition: number, n: number, storeId: string): void;
}

export interface MintPort {
  mint(): Version | Promise<Version>;
  mintAbove(version: Version): Promise<Version>;
  nowMs(): number;
}

export interface ClusterPorts {
  readonly clock: Clock;
  readonly report: Report;
  readonly deadlines: Deadlines;
  readonly nodeId: string;
  readonly mint: MintPort;
  readonly local: LocalPort;
  readonly peers: PeerPort;
  readonly hints: HintKeeper;
  /** Where a key of a namespace with n replicas lives, by the document of now. */
  readonly place: (namespaceNumber: number, key: Uint8Array, n: number) => KeyPlace;
  /** Makes a document that a replica handed out durable here, if it is newer. */
  readonly learn: (document: unknown) => Promise<void>;
}

/** What one replica did, for `explain` and for errors. */
export interface ReplicaNote {
  readonly node: string;
  status: string;
  reason?: string;
  version?: string;
  /** What it holds is a deletion. */
  tombstone?: true;
  tookMs?: number;
  /** Why its answer did not count. */
  ignored?: string;
}

/** Of a replica without data: it takes writes and answers, and counts for nothing until it is filled (R4). */
export const lacksData = "the replica lacks data and does not count";

/** A rejected request, as the machines are told of it. */
export function lostOf(thrown: unknown): Lost {
  const { detail, outcome } = QuorateError.from(thrown);
  return { kind: "lost", mayHold: outcome !== "none", detail };
}

/** Puts what a replica said into its line; `counts` is false for one that lacks data. */
export function noteReply(
  note: ReplicaNote,
  reply: WriteReply | ReadReply | Lost,
  counts = true,
): void {
  note.status = reply.kind;
  const isAnswer = reply.kind !== "refused" && reply.kind !== "lost";
  if (isAnswer && !counts) note.ignored = lacksData;
  if (reply.kind === "found" || reply.kind === "superseded") {
    note.version = versionText(reply.version);
    delete note.tombstone;
    if (reply.kind === "found" && reply.tombstone) note.tombstone = true;
  }
  if (reply.kind === "refused") note.reason = `${reply.reason}: ${reply.detail}`;
  if (reply.kind === "lost") {
    note.status = reply.mayHold ? "no answer" : "not reached";
    note.reason = reply.detail;
  }
}

/** The lines of an error: why a replica failed, or why what it answered did not count. */
export function errorLines(notes: readonly ReplicaNote[]): readonly ReplicaLine[] {
  return notes.map(({ node, status, reason, ignored }) => {
    const why = reason ?? ignored;
    return why === undefined ? { node, status } : { node, status, reason: why };
  });
}

/** What helps where replicas lack data; undefined where none does. */
export function lackingHint(notes: readonly ReplicaNote[]): string | undefined {
  const nodes = notes.filter(({ ignored }) => ignored === lacksData).map(({ node }) => node);
  if (nodes.length === 0) return undefined;
  const [who, counts, asked] =
    nodes.length === 1
      ? [nodes.join(), "counts", "that node"]
      : [nodes.join(" and "), "count", "each of these nodes"];
  return `${who} ${counts} again when the data that were lost are back: 'quorate repair --url …' at ${asked} says what that waits for.`;
}

export function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
