/**
 * CoordinatorScan: pieces of a partition's keys as r of its replicas hold them, for lists and counts.
 *
 * Invariants
 * 1. A piece is merged from r replicas that count, or the list fails: none of an acknowledged write's
 *    keys is left out because one replica missed it.
 * 2. Where one page has a key live that another lacks, all are asked once more, and a delete that was met
 *    stays one: it may have been dropped between the moments at which the two were read (R2).
 * 3. A replica that takes longer than it usually does is not waited for where another can answer, and
 *    is asked last for the rest of the list.
 *
 * What a list leaves out as expired is judged by the latest clock among the own one and those of
 * the replies, so that it shows nothing which a strict read has called over. It stays so on this node
 * alone, where such a read has n-m+1 replicas agree (R3): a list of another node may show it until the
 * clocks of those that it asks have come so far, at most the guard where clocks are in order. Watermarks
 * are not looked at (R2): below one all that count hold the same, at any one moment, and who knows that
 * it has lost something gives no page.
 *
 * Effects: Clock; replicas and peers through ports. Source: rules L1, R2 to R4, T2.
 *
 * @module
 */

import type { Clock } from "./capability.ts";
import type { Latencies } from "./coordinator_latency.ts";
import {
  errorLines,
  lackingHint,
  lacksData,
  lostOf,
  type ReplicaNode,
  type ReplicaNote,
  type Replied,
} from "./coordinator_ports.ts";
import type { Deadlines } from "./deadlines.ts";
import { QuorateError } from "./errors.ts";
import { type Hlc, hlcWallMs } from "./hlc.ts";
import { isEnough, neededOf } from "./level.ts";
import type { Lost, ScanEntry, ScanReply, ScanRequest } from "./quorum_message.ts";
import { deletesOf, isUneven, mergePages, type ScanPage } from "./quorum_scan.ts";
import type { ScanPiece } from "./scan.ts";

/** What is needed of the other parts. */
export interface ScanPorts {
  readonly clock: Clock;
  readonly deadlines: Deadlines;
  /** Of pieces of lists, which take longer than reads of a key. */
  readonly latencies: Latencies;
  readonly nodeId: string;
  readonly partitions: number;
  tableKey(partition: number, namespaceNumber: number, key: Uint8Array): Uint8Array;
  /** The first n of the partition's list, by the document of now. */
  replicasOf(
    partition: number,
    n: number,
  ): { readonly epoch: number; readonly replicas: readonly ReplicaNode[] };
  readonly local: { scan(request: ScanRequest): Promise<Replied<ScanReply>> };
  readonly peers: {
    scan(
      nodeId: string,
      request: ScanRequest,
      options: { readonly timeoutMs: number },
    ): Promise<Replied<ScanReply>>;
    isUp(nodeId: string): boolean;
  };
  readonly learn: (document: unknown) => Promise<void>;
  /** From now on this node judges no expiry by an earlier time (R3). */
  readonly observeMs: (judgedMs: number) => void;
}

/** A message to a peer that goes alone costs several times what one among others does. */
const readsAtOnce = 32;

/** A move has four phases, so a piece may meet the beginning of each. */
const asksAgainMax = 4;

/** One list or count: what it asks of every partition. */
export interface ScanJob {
  readonly n: number;
  /** r. */
  readonly needed: number;
  readonly word?: "quorum" | "all";
  readonly timeoutMs: number;
  readonly requestId: string;
}

/** Reads pieces from the replicas of each partition, as a store gives them of its own. */
export class ClusterScan {
  readonly readsAtOnce = readsAtOnce;
  readonly #ports: ScanPorts;
  readonly #job: ScanJob;
  /** Another was asked in their place: one wait is enough for a list of many pieces. */
  readonly #late = new Set<string>();
  #isWeak = false;

  constructor(ports: ScanPorts, job: ScanJob) {
    this.#ports = ports;
    this.#job = job;
  }

  get isWeak(): boolean {
    return this.#isWeak;
  }

  get partitions(): number {
    return this.#ports.partitions;
  }

  tableKey(partition: number, namespaceNumber: number, key: Uint8Array): Uint8Array {
    return this.#ports.tableKey(partition, namespaceNumber, key);
  }

  /** @throws `read-quorum-not-met` */
  async scan(
    partition: number,
    namespaceNumber: number,
    piece: ScanPiece,
  ): Promise<{
    readonly items: readonly ShownItem[];
    readonly more: boolean;
    readonly last: Uint8Array | undefined;
    readonly isDamaged: boolean;
  }> {
    const pages = await this.#heard(partition, namespaceNumber, piece);
    let merged = mergePages(pages, piece.reverse);
    if (isUneven(pages, merged)) {
      // Whoever is asked after a delete was dropped has had it; and a delete that was met stays one.
      const again = await this.#heard(partition, namespaceNumber, piece);
      merged = mergePages([...again, deletesOf(merged)], piece.reverse);
    }
    const { entries, more, last } = merged;
    return { items: entries.map(shownItem), more, last, isDamaged: false };
  }

  /** r pages, asked for again under the newer document where that is why some are missing (T2). */
  async #heard(
    partition: number,
    namespaceNumber: number,
    piece: ScanPiece,
  ): Promise<readonly ScanPage[]> {
    let asked = await this.#pages(partition, namespaceNumber, piece);
    for (let again = 0; again < asksAgainMax; again += 1) {
      if (asked.pages.length >= asked.needed || asked.document === undefined) break;
      // Where it cannot be kept, they refuse once more, and that is what is told.
      await this.#ports.learn(asked.document).catch(() => {});
      asked = await this.#pages(partition, namespaceNumber, piece);
    }
    if (asked.pages.length < asked.needed) throw this.#notMet(partition, asked);
    this.#observe(asked);
    return asked.pages;
  }

  /** R3: what is over by the clock of one that answered is over by this node's: a read may have said so. */
  #observe({ pages, clockHlc }: Asked): void {
    const clockMs = hlcWallMs(clockHlc);
    let overMs = 0;
    for (const { entries } of pages) {
      for (const { tombstone, expiresAtMs = 0 } of entries) {
        if (!tombstone && expiresAtMs <= clockMs) overMs = Math.max(overMs, expiresAtMs);
      }
    }
    if (overMs > 0) this.#ports.observeMs(overMs);
  }

  /** r pages, the nearest replicas' first, and under what document they were asked. */
  async #pages(partition: number, namespaceNumber: number, piece: ScanPiece): Promise<Asked> {
    const { n, requestId } = this.#job;
    const { epoch, replicas } = this.#ports.replicasOf(partition, n);
    const isMet = isEnough(this.#job, replicas.length);
    // L1: of fewer than were asked for there is no list.
    const needed = isMet ? neededOf(this.#job, replicas.length) : this.#job.needed;
    if (2 * needed <= replicas.length) this.#isWeak = true;
    const place = { epoch, partition, namespaceNumber, n, requestId };
    const request: ScanRequest = { kind: "scan", ...place, ...piece };
    const order = this.#nearestFirst(replicas);
    const read = new OnePiece({
      ports: this.#ports,
      needed,
      order,
      ask: (nodeId) => this.#ask(nodeId, request),
      onLate: (nodeId) => this.#late.add(nodeId),
    });
    await read.done;
    const notes = replicas
      .filter(({ nodeId }) => read.lacking.has(nodeId))
      .map(({ name }) => ({ node: name, status: "page", ignored: lacksData }));
    const { pages, document, clockHlc } = read;
    return { pages, needed, document, notes, clockHlc };
  }

  #nearestFirst(replicas: readonly ReplicaNode[]): string[] {
    const { nodeId: own, peers } = this.#ports;
    const cost = (nodeId: string): number => {
      if (nodeId === own) return 0;
      if (!peers.isUp(nodeId)) return 3;
      return this.#late.has(nodeId) ? 2 : 1;
    };
    return replicas.map(({ nodeId }) => nodeId).sort((a, b) => cost(a) - cost(b));
  }

  async #ask(nodeId: string, request: ScanRequest): Promise<Replied<ScanReply> | Lost> {
    const { nodeId: own, local, peers, clock, latencies } = this.#ports;
    const { timeoutMs } = this.#job;
    try {
      if (nodeId === own) return await local.scan(request);
      const sentMs = clock.monotonicMs();
      const reply = await peers.scan(nodeId, request, { timeoutMs });
      latencies.note(nodeId, clock.monotonicMs() - sentMs);
      return reply;
    } catch (error) {
      return lostOf(error);
    }
  }

  #notMet(partition: number, { pages, notes }: Asked): QuorateError {
    const { needed } = this.#job;
    const acks = pages.length;
    const away = "Repeat the request. 'quorate status' tells which nodes are down.";
    const fewer = "Repeat the request, or ask for fewer replicas: consistency=one.";
    const hint = lackingHint(notes) ?? (needed === 1 ? away : fewer);
    const replicas = notes.length === 0 ? {} : { replicas: errorLines(notes) };
    return new QuorateError(
      "read-quorum-not-met",
      `${acks} of ${needed} replicas of partition ${partition} answered: a list or count would leave keys out.`,
      { acks, needed, ...replicas, hint },
    );
  }
}

/** What the replicas of a partition have said. */
interface Asked {
  readonly pages: readonly ScanPage[];
  readonly needed: number;
  /** A newer one than that by which they were asked. */
  readonly document: unknown;
  /** Those whose answer did not count. */
  readonly notes: readonly ReplicaNote[];
  /** The latest clock of those whose pages these are. */
  readonly clockHlc: Hlc;
}

interface PieceParts {
  readonly ports: Pick<ScanPorts, "nodeId" | "deadlines" | "latencies">;
  readonly needed: number;
  /** Who is asked first. */
  readonly order: readonly string[];
  readonly ask: (nodeId: string) => Promise<Replied<ScanReply> | Lost>;
  readonly onLate: (nodeId: string) => void;
}

/** One piece, asked of as many as are needed, and of others where these fail or are late. */
class OnePiece {
  readonly done: Promise<void>;
  readonly pages: ScanPage[] = [];
  /** A newer one, from whoever has refused this one's epoch. */
  document: unknown;
  /** The latest of those whose pages these are. */
  clockHlc = 0n as Hlc;
  /** Those that have answered without data. */
  readonly lacking = new Set<string>();
  readonly #parts: PieceParts;
  readonly #waiting: string[];
  readonly #unanswered = new Set<string>();
  #cancelHedge: () => void = () => {};
  #finish: () => void = () => {};
  #isOver = false;

  constructor(parts: PieceParts) {
    this.#parts = parts;
    this.#waiting = [...parts.order];
    this.done = new Promise((resolve) => {
      this.#finish = resolve;
    });
    this.#askMore(parts.needed);
  }

  #askMore(count: number): void {
    const asked = this.#waiting.splice(0, count);
    for (const nodeId of asked) this.#unanswered.add(nodeId);
    for (const nodeId of asked) {
      void this.#parts.ask(nodeId).then((reply) => this.#told(nodeId, reply));
    }
    this.#armHedge();
  }

  #armHedge(): void {
    this.#cancelHedge();
    if (this.#waiting.length === 0) return;
    const { nodeId: own, deadlines, latencies } = this.#parts.ports;
    const others = [...this.#unanswered].filter((nodeId) => nodeId !== own);
    if (others.length === 0) return;
    const waitMs = Math.max(...others.map((nodeId) => latencies.hedgeMs(nodeId)));
    this.#cancelHedge = deadlines.start(waitMs, () => {
      for (const nodeId of others) if (this.#unanswered.has(nodeId)) this.#parts.onLate(nodeId);
      this.#askMore(1);
    });
  }

  #told(nodeId: string, reply: Replied<ScanReply> | Lost): void {
    if (this.#isOver) return;
    this.#unanswered.delete(nodeId);
    if (reply.kind === "refused" && reply.document !== undefined) this.document = reply.document;
    if (reply.kind === "page" && reply.from.counts) {
      this.pages.push(reply);
      if (reply.from.clockHlc > this.clockHlc) this.clockHlc = reply.from.clockHlc;
    } else if (reply.kind === "page") this.lacking.add(nodeId);
    const missing = this.#parts.needed - this.pages.length;
    const unanswered = this.#unanswered.size;
    if (missing === 0 || unanswered + this.#waiting.length < missing) {
      this.#isOver = true;
      this.#cancelHedge();
      this.#finish();
    } else if (unanswered < missing) this.#askMore(missing - unanswered);
  }
}

/** A key as a list shows it: without its value. */
export interface ShownItem {
  readonly key: Uint8Array;
  readonly record: undefined;
  readonly sequence: number;
  readonly shown: ScanEntry;
}

function shownItem(shown: ScanEntry): ShownItem {
  // 0: whoever answered has synced it.
  return { key: shown.key, record: undefined, sequence: 0, shown };
}
