/**
 * Node purge: removes the records of deleted namespaces, and takes their numbers out of the topology when
 * all members have.
 *
 *     deleted                     the number is in `dropped`; the store takes nothing for it any more
 *     a walk here found nothing   told to the others: up to which document nothing is left (`load`)
 *     all members have told       a voter proposes the document without the number
 *
 * A number is never given again, so what a store that was rolled back brings along under an old one is
 * nobody's: it is found by what the store has counted, and removed as well.
 *
 * Invariants
 * 1. What is told for a document was found by walks that began after the store was closed to its deleted
 *    namespaces, and stays true: nothing comes in for them.
 * 2. A number is taken out only when every member has told so of the present document, those that are
 *    away included.
 *
 * Effects: Clock, Report; the store, and the topology through a port. Source: rule T8.
 *
 * @module
 */

import type { Clock, Report } from "./capability.ts";
import { QuorateError } from "./errors.ts";
import type { Store } from "./store.ts";
import { removeAll } from "./store_pieces.ts";
import { droppedMax, type Topology } from "./topology.ts";
import { isDeleted, withoutDropped } from "./topology_namespaces.ts";

export interface NodePurgeParts {
  readonly clock: Clock;
  readonly report: Report;
  readonly store: Store;
  readonly topology: () => Topology;
  readonly ownNodeId: string;
  /** Up to which document another member has told that nothing is left; 0: nothing was told. */
  readonly purgedAt: (nodeId: string) => number;
  readonly propose: (step: (present: Topology) => Topology | undefined) => Promise<unknown>;
}

/** A removal that found no room goes on after so long. */
const retryMs = 60_000;
/** The others tell with their heartbeats. */
const lookMs = 1000;
/**
 * A document is left alone for so long before numbers are taken out of the next: somebody who makes and
 * deletes namespaces is not disturbed. While replicas move it is left alone, too. Where half of the room is
 * used it is done at once.
 */
const quietMs = 30_000;

export class NodePurge {
  readonly #parts: NodePurgeParts;
  #purging: Promise<void> = Promise.resolve();
  /** Numbers whose removal was begun, and those of which nothing is left. */
  readonly #begun = new Set<number>();
  readonly #done = new Set<number>();
  /** The document that is waited with, and since when. */
  #seen: { readonly topology: Topology; readonly sinceMs: number } | undefined;
  #proposing: Promise<unknown> | undefined;
  #isLooking = false;
  #isClosed = false;

  constructor(parts: NodePurgeParts) {
    this.#parts = parts;
  }

  /** What the others are told. */
  get load(): Readonly<Record<string, number>> {
    const { epoch, dropped } = this.#parts.topology();
    return dropped.every((number) => this.#done.has(number)) ? { purged: epoch } : {};
  }

  /** Begins to remove what the present document calls deleted. */
  follow(): void {
    const { topology, store } = this.#parts;
    const present = topology();
    const held = store.namespaceNumbers().filter((number) => isDeleted(present, number));
    for (const number of new Set([...present.dropped, ...held])) {
      if (this.#begun.has(number)) continue;
      this.#begun.add(number);
      this.#purgeLater(number);
    }
    if (present.dropped.length > 0) this.#look();
  }

  /** Begins nothing more, and breaks off a walk; what is left goes on at the next start. */
  end(): void {
    this.#isClosed = true;
  }

  /** Waits for what is under way, which may be a proposal that nobody answers. */
  async close(): Promise<void> {
    this.end();
    await this.#purging;
    await this.#proposing;
  }

  get #isOver(): boolean {
    return this.#isClosed || this.#parts.store.failure !== undefined;
  }

  /** Removes the records of a deleted namespace in the background; a start goes on with it. */
  #purgeLater(number: number): void {
    if (this.#isClosed) return;
    this.#purging = this.#purging
      .then(() => this.#purge(number))
      .catch((error: unknown) => {
        const why = QuorateError.from(error).detail;
        const { clock, report } = this.#parts;
        report.log("warn", "A deleted namespace is not wholly removed yet.", { why });
        if (!this.#isOver) clock.after(retryMs, () => this.#purgeLater(number));
      });
  }

  async #purge(number: number): Promise<void> {
    const { report, topology } = this.#parts;
    // What is written over while it is walked stays for another walk: until one finds nothing.
    while (await this.#purgeOnce(number)) report.sometimes("node: purged");
    if (this.#isOver) return;
    if (topology().dropped.includes(number)) this.#done.add(number);
    // A copy that is brought back later may have it again.
    else this.#begun.delete(number);
    // Alone it waits for nobody.
    if (topology().members.length === 1) this.#proposeDue();
  }

  /** Whether something was found; gives up when the node closes. */
  async #purgeOnce(namespaceNumber: number): Promise<boolean> {
    const { store, topology } = this.#parts;
    let found = false;
    for (let partition = 0; partition < topology().partitions; partition += 1) {
      const range = { partition, namespaceNumber };
      if (await removeAll(store, range, () => this.#isOver)) found = true;
      if (this.#isOver) return false;
    }
    return found;
  }

  #look(): void {
    if (this.#isLooking || this.#isOver) return;
    this.#isLooking = true;
    this.#parts.clock.after(lookMs, () => {
      this.#isLooking = false;
      if (this.#isOver) return;
      this.#proposeDue();
      if (this.#parts.topology().dropped.length > 0) this.#look();
    });
  }

  /** Any voter that sees that it may; the first one before the others. */
  #proposeDue(): void {
    const { clock, report, topology, ownNodeId, propose } = this.#parts;
    const present = topology();
    const nowMs = clock.monotonicMs();
    if (this.#seen?.topology !== present) this.#seen = { topology: present, sinceMs: nowMs };
    const place = present.voters.indexOf(ownNodeId);
    if (place === -1 || this.#proposing !== undefined || !this.#isGoneEverywhere(present)) return;
    const isAlone = present.members.length === 1;
    const isUrgent = 2 * present.dropped.length >= droppedMax;
    // What is copied, and dropped, goes by a document: a new one has them look again at what there is to do.
    if (present.move !== undefined && !isUrgent) return;
    const waitMs = isAlone || isUrgent ? 0 : quietMs;
    if (!isAlone && nowMs - this.#seen.sinceMs < waitMs + 2 * place * lookMs) return;
    report.sometimes("node: a deleted namespace is forgotten");
    this.#proposing = propose((later) => withoutDropped(later, present.dropped))
      .catch((error: unknown) => {
        const why = QuorateError.from(error).detail;
        report.log("debug", "That deleted namespaces are gone was not agreed on.", { why });
      })
      .finally(() => {
        this.#proposing = undefined;
        this.#seen = undefined;
        if (isAlone && !this.#isOver && topology().dropped.length > 0) this.#look();
      });
  }

  #isGoneEverywhere({ epoch, dropped, members }: Topology): boolean {
    const { ownNodeId, purgedAt } = this.#parts;
    if (dropped.length === 0 || this.load["purged"] !== epoch) return false;
    return members.every(({ nodeId }) => nodeId === ownNodeId || purgedAt(nodeId) >= epoch);
  }
}
