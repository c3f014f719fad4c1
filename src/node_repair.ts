/**
 * Node repair: which ranges this node compares with which others, and when.
 *
 * After a start whose log was cut every partition is compared with its other replicas before its
 * reads count (D3). A partition for which a hint was dropped is compared with the store that the
 * hint was for (H2), or with all its other replicas where it was for this node's own; such a mark is
 * kept durably until that was done.
 *
 *     mark  key: store id 16 | partition u16 | n u8      in a namespace of the store's own
 *
 * Invariants
 * 1. One range is compared at a time.
 * 2. A mark goes only after a comparison that began after it was made last came to its end.
 * 3. A range that cannot be compared holds up no other one.
 *
 * Effects: Clock, Report; the store and the peers. Source: rules D3, G1, H2.
 *
 * @module
 */

import { ownNamespaceMin } from "./api.ts";
import { concat, emptyBytes, fromHex, successor, toHex } from "./bytes.ts";
import type { Clock, Report } from "./capability.ts";
import { QuorateError } from "./errors.ts";
import type { Peers } from "./peers.ts";
import { isIntact, recordVersion, type StoredRecord } from "./record.ts";
import {
  compareRange,
  type HeldPage,
  type KeyRecord,
  type Range,
  type RepairSide,
} from "./repair.ts";
import type { Standings } from "./standing.ts";
import type { Store } from "./store.ts";
import { replicasOf, type Topology, writeSetsOf } from "./topology.ts";

export interface RepairRoundsParts {
  readonly clock: Clock;
  readonly report: Report;
  readonly store: Store;
  readonly standings: Standings;
  readonly topology: () => Topology;
  readonly ownNodeId: string;
  readonly peers: Pick<Peers, "request">;
  readonly isUp: (nodeId: string) => boolean;
}

interface Mark {
  readonly storeId: string;
  readonly partition: number;
  readonly n: number;
}

const markNamespace = ownNamespaceMin + 1;
const tickMs = 250;
const askMs = 5000;
const bytesPerSecond = 32 * 1024 * 1024;
const marksPiece = 256;

export class RepairRounds {
  readonly #parts: RepairRoundsParts;
  readonly #marks = new Map<string, Mark>();
  /** Marks that are in memory alone: the disk had no room for them. */
  readonly #unkept = new Set<string>();
  /** Marks that were made again since their comparison began. */
  readonly #renewed = new Set<string>();
  #cancel: () => void = () => {};
  #running: Promise<void> | undefined;
  #isClosed = false;

  constructor(parts: RepairRoundsParts) {
    this.#parts = parts;
    for (const mark of storedMarks(parts.store)) this.#marks.set(nameOf(mark), mark);
  }

  begin(): void {
    this.#tickLater();
  }

  /** Whether every partition's answers count; asks each of them, so that they rise. */
  isWhole(): boolean {
    const { standings, topology } = this.#parts;
    if (standings.isWhole) return true;
    for (let partition = 0; partition < topology().partitions; partition += 1) {
      standings.of(partition);
    }
    return standings.isWhole;
  }

  /** A partition's replicas differ in something that nobody keeps any more. */
  mark(partition: number, n: number, storeId: string): void {
    const mark = { partition, n, storeId };
    const name = nameOf(mark);
    if (this.#marks.has(name)) {
      this.#renewed.add(name);
      return;
    }
    this.#marks.set(name, mark);
    void this.#keep(mark).catch((error: unknown) => {
      this.#unkept.add(name);
      const why = QuorateError.from(error).detail;
      this.#parts.report.log("warn", "A mark for repair is not on disk yet.", { partition, why });
    });
  }

  /** Durable when it resolves. @throws what the store does */
  async #keep(mark: Mark): Promise<void> {
    const { store } = this.#parts;
    const version = await store.mint.mint();
    await store.write({
      namespaceNumber: markNamespace,
      key: markKey(mark),
      record: { ...emptyRecord, version },
      durability: "fsync",
      // It is small, and made where a hint found no room.
      isVital: true,
    });
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancel();
    await this.#running;
  }

  #tickLater(): void {
    this.#cancel = this.#parts.clock.after(tickMs, () => {
      if (this.#isClosed) return;
      this.#running = this.#round()
        .catch((error: unknown) => {
          const why = QuorateError.from(error).detail;
          this.#parts.report.log("debug", "A round of comparisons was broken off.", { why });
        })
        .finally(() => {
          if (!this.#isClosed) this.#tickLater();
        });
    });
  }

  async #round(): Promise<void> {
    if (!this.isWhole()) await this.#catchUp();
    await this.#keepRest().catch(() => {});
    for (const mark of [...this.#marks.values()]) {
      if (this.#isClosed) return;
      await this.#repairMarked(mark);
    }
  }

  /** Tries again what found no room. */
  async #keepRest(): Promise<void> {
    for (const name of [...this.#unkept]) {
      const mark = this.#marks.get(name);
      if (mark !== undefined) await this.#keep(mark);
      this.#unkept.delete(name);
    }
  }

  /** D3: what was cut may have been acknowledged: the others have it. */
  async #catchUp(): Promise<void> {
    const { standings, topology, isUp, report } = this.#parts;
    for (let partition = 0; partition < topology().partitions; partition += 1) {
      for (const nodeId of standings.toCompare(partition)) {
        if (this.#isClosed) return;
        if (!isUp(nodeId)) continue;
        if (await this.#compare(partition, nodeId)) standings.compare(partition, nodeId);
      }
    }
    if (this.isWhole()) report.sometimes("repair: caught up after a cut");
  }

  async #repairMarked(mark: Mark): Promise<void> {
    const { topology, isUp, store, ownNodeId } = this.#parts;
    const { partition, n } = mark;
    const member = topology().members.find(({ storeId }) => storeId === mark.storeId);
    // Only a replica can compare; on another node the mark stays, so that it is known.
    const replicas = replicasOf(topology(), partition, n);
    if (!replicas.some(({ nodeId }) => nodeId === ownNodeId)) return;
    const isOwn = member?.nodeId === ownNodeId;
    // What this node lacks would be pulled into the reserve of its disk.
    if (isOwn && store.isDiskLow) return;
    const others = isOwn ? replicas.filter(({ nodeId }) => nodeId !== ownNodeId) : [member];
    const name = nameOf(mark);
    this.#renewed.delete(name);
    for (const other of others) {
      // A store that is no member any more is compared with nothing.
      if (other === undefined) continue;
      if (!isUp(other.nodeId) || !(await this.#compare(partition, other.nodeId, n))) return;
    }
    // Something else was missed meanwhile: it is compared once more.
    if (this.#renewed.has(name)) return;
    this.#marks.delete(name);
    const kept = { reverse: false, limit: 1, prefix: markKey(mark) };
    for (let partition = 0; partition < store.partitions; partition += 1) {
      await store.forget(store.scan(partition, markNamespace, kept).items);
    }
  }

  /** Compares a partition with a node; whether it came to the end. */
  async #compare(partition: number, nodeId: string, n?: number): Promise<boolean> {
    try {
      return await this.#compareNamespaces(partition, nodeId, n);
    } catch (error) {
      const why = QuorateError.from(error).detail;
      this.#parts.report.log("debug", "A comparison was broken off.", { partition, nodeId, why });
      return false;
    }
  }

  /** All namespaces of one n, or of any. Rejects when the node or the store does. */
  async #compareNamespaces(
    partition: number,
    nodeId: string,
    n: number | undefined,
  ): Promise<boolean> {
    const { clock, report, topology, ownNodeId, store } = this.#parts;
    const { namespaces, epoch } = topology();
    for (const { number: namespaceNumber, policy } of namespaces) {
      if (n !== undefined && policy.n !== n) continue;
      const sets = writeSetsOf(topology(), partition, policy.n);
      const nodes = sets.flat().map((member) => member.nodeId);
      // Both must hold it.
      if (!nodes.includes(ownNodeId) || !nodes.includes(nodeId)) continue;
      const peer = new PeerSide(this.#parts, { nodeId, n: policy.n, epoch });
      const result = await compareRange(
        {
          clock,
          report,
          store: new StoreSide(store),
          mayGoOn: () => !this.#isClosed,
          bytesPerSecond,
        },
        peer,
        { namespaceNumber, partition },
      );
      if (!result.isWhole) return false;
    }
    return true;
  }
}

/** This node's side. */
export class StoreSide implements RepairSide {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  async walk(
    { namespaceNumber, partition }: Range,
    after: Uint8Array | undefined,
    limit: number,
  ): Promise<HeldPage> {
    const from =
      after === undefined
        ? undefined
        : successor(this.#store.tableKey(partition, namespaceNumber, after));
    const piece = { prefix: emptyBytes, from, reverse: false, limit };
    const { items, more } = this.#store.scan(partition, namespaceNumber, piece);
    const whole = items.flatMap(({ key, record }) =>
      record === undefined ? [] : [{ key, version: recordVersion(record) }],
    );
    return { items: whole, more };
  }

  async read({ namespaceNumber }: Range, keys: readonly Uint8Array[]): Promise<KeyRecord[]> {
    const found: KeyRecord[] = [];
    for (const key of keys) {
      const options = { wants: "record", durability: "fsync" } as const;
      const record = await this.#store.getEncoded(namespaceNumber, key, options);
      if (record !== undefined) found.push({ key, record });
    }
    return found;
  }

  async take({ namespaceNumber }: Range, records: readonly KeyRecord[]): Promise<void> {
    await Promise.all(
      records.map(({ key, record }) =>
        this.#store.writeEncoded({
          namespaceNumber,
          key,
          record,
          durability: "fsync",
          isVital: true,
        }),
      ),
    );
  }
}

/** Another node's side. */
export class PeerSide implements RepairSide {
  readonly #peers: RepairRoundsParts["peers"];
  readonly #store: Store;
  readonly #nodeId: string;
  readonly #common: { readonly epoch: number; readonly n: number; readonly requestId: string };

  constructor(
    { peers, store }: Pick<RepairRoundsParts, "peers" | "store">,
    { nodeId, n, epoch }: { readonly nodeId: string; readonly n: number; readonly epoch: number },
  ) {
    this.#peers = peers;
    this.#store = store;
    this.#nodeId = nodeId;
    this.#common = { epoch, n, requestId: "repair" };
  }

  async walk(range: Range, after: Uint8Array | undefined, limit: number): Promise<HeldPage> {
    const { namespaceNumber, partition } = range;
    const from =
      after === undefined
        ? {}
        : { from: successor(this.#store.tableKey(partition, namespaceNumber, after)) };
    const common = { ...this.#common, ...range, prefix: emptyBytes, reverse: false, limit };
    const reply = await this.#peers.request(
      this.#nodeId,
      { kind: "scan", ...common, ...from },
      askMs,
    );
    if (reply.kind !== "page") throw notNow(reply.kind);
    return {
      items: reply.entries.map(({ key, version }) => ({ key: key.slice(), version })),
      more: reply.more,
    };
  }

  async read({ namespaceNumber }: Range, keys: readonly Uint8Array[]): Promise<KeyRecord[]> {
    const read = { namespaceNumber, wants: "record", durability: "fsync", coverMs: 0 } as const;
    const replies = await Promise.all(
      keys.map((key) =>
        this.#peers.request(this.#nodeId, { kind: "read", ...this.#common, ...read, key }, askMs),
      ),
    );
    const found: KeyRecord[] = [];
    for (const [index, reply] of replies.entries()) {
      const key = keys[index] as Uint8Array;
      if (reply.kind === "nothing") continue;
      if (reply.kind !== "found" || reply.record === undefined) throw notNow(reply.kind);
      // G1: what a wire or a disk damaged is taken from nobody.
      if (!isIntact(reply.record, namespaceNumber, key)) throw notNow("damaged bytes");
      found.push({ key, record: reply.record });
    }
    return found;
  }

  async take({ namespaceNumber }: Range, records: readonly KeyRecord[]): Promise<void> {
    const write = { namespaceNumber, durability: "fsync", source: "repair" } as const;
    const replies = await Promise.all(
      records.map((record) =>
        this.#peers.request(
          this.#nodeId,
          { kind: "write", ...this.#common, ...write, ...record },
          askMs,
        ),
      ),
    );
    for (const { kind } of replies) {
      if (kind !== "took" && kind !== "superseded" && kind !== "covered") throw notNow(kind);
    }
  }
}

function notNow(kind: string): QuorateError {
  return new QuorateError("not-ready", `A node answered a comparison with '${kind}'.`, {});
}

const emptyRecord: Omit<StoredRecord, "version"> = {
  tombstone: false,
  contentType: "application/octet-stream",
  meta: [],
  value: emptyBytes,
};

function nameOf({ storeId, partition, n }: Mark): string {
  return `${storeId} ${partition} ${n}`;
}

function markKey({ storeId, partition, n }: Mark): Uint8Array {
  const id = fromHex(storeId) ?? emptyBytes;
  return concat([id, Uint8Array.of(partition >> 8, partition & 0xff, n)]);
}

function storedMarks(store: Store): Mark[] {
  const marks: Mark[] = [];
  for (let partition = 0; partition < store.partitions; partition += 1) {
    let from: Uint8Array | undefined;
    for (let more = true; more; ) {
      const piece = { prefix: emptyBytes, from, reverse: false, limit: marksPiece };
      const found = store.scan(partition, markNamespace, piece);
      for (const { key } of found.items) {
        if (key.length !== 19) continue;
        marks.push({
          storeId: toHex(key.subarray(0, 16)),
          partition: ((key[16] as number) << 8) | (key[17] as number),
          n: key[18] as number,
        });
      }
      more = found.more && found.last !== undefined;
      if (found.last !== undefined) from = successor(found.last);
    }
  }
  return marks;
}
