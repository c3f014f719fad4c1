/**
 * Check tables: whether what lies on the disks of closed nodes is the same, byte by byte, whether each
 * store's sums are those of what it holds (P5), and whether nothing is left of what was deleted (T8).
 *
 * `explain` tells versions; this looks at the bytes. A version has one value, so replicas that agree
 * about it agree about these too, unless a record was damaged, encoded otherwise, or a sum went wrong.
 *
 * Effects: none. Source: docs/simulator.md, P5; rules G5 and T8.
 *
 * @module
 */

import { ownNamespaceMin } from "../src/api.ts";
import { equal } from "../src/bytes.ts";
import { digestOf, emptySummary, type Summary } from "../src/digest.ts";
import { guardMs, type Hlc } from "../src/hlc.ts";
import { headOf } from "../src/node_watermark_drop.ts";
import { decodeFence, watermarkNamespace } from "../src/node_watermarks.ts";
import type { Ring } from "../src/ring.ts";
import { parseTableKey, partitionRange, prefixRange } from "../src/store_entry.ts";
import { decodePartitionMeta, partitionMetaKey } from "../src/store_meta.ts";
import { addRecord } from "../src/store_recover.ts";
import type { Table } from "../src/table.ts";
import { highest, isDroppable } from "../src/watermark.ts";
import type { Violation } from "./violation.ts";

/** What one node left on its disk. */
export interface LeftTable {
  readonly node: string;
  /** Whether it is one of the cluster's now. */
  readonly isMember: boolean;
  readonly table: Pick<Table, "get" | "range">;
}

export interface TablesWorld {
  readonly ring: Ring;
  /** The n of a namespace; 0: it is none. */
  readonly nOf: (namespaceNumber: number) => number;
  /** The names of a key's replicas; undefined: it was not waited for that they hold the same of it. */
  readonly replicasOf: (namespaceNumber: number, key: string) => readonly string[] | undefined;
  /** The latest that any clock has ever shown. */
  readonly nowMs: number;
}

/** A key, and what each node has of it. */
interface Held {
  readonly replicas: readonly string[];
  readonly holders: Map<string, Uint8Array>;
}

const entriesMax = 1_000_000;
const bytesMax = 2 ** 40;

export function checkTables(tables: readonly LeftTable[], world: TablesWorld): Violation[] {
  const watermarks = watermarksOf(tables, world.ring);
  return world.ring.all().flatMap((partition) => {
    const held = new Map<string, Held>();
    const found = tables.flatMap((left) =>
      checkTable(left, partition, { ...world, watermarks, held }),
    );
    return [...found, ...checkHeld(held, tables)];
  });
}

interface Walk extends TablesWorld {
  /** By partition and n. */
  readonly watermarks: ReadonlyMap<string, Hlc>;
  /** Takes what all replicas have to hold the same. */
  readonly held: Map<string, Held>;
}

/** What a node has of a partition is whole, is in its sums, and is of no deleted namespace. */
function checkTable(left: LeftTable, partition: number, walk: Walk): Violation[] {
  const { node, isMember, table } = left;
  const found: Violation[] = [];
  const summary = emptySummary();
  const range = { ...partitionRange(partition), limit: entriesMax, bytesMax };
  for (const { key: tableKey, value } of table.range(range)) {
    if (!addRecord(summary, walk, partition, { key: tableKey, value })) {
      found.push(broken(`the table of ${node} holds a damaged record of partition ${partition}`));
    }
    const { namespaceNumber, key } = parseTableKey(tableKey);
    const n = walk.nOf(namespaceNumber);
    if (n > 0) hold(node, { partition, namespaceNumber, n, key, value }, walk);
    else if (isMember && namespaceNumber < ownNamespaceMin) {
      const what = `the table of ${node} holds a record of namespace ${namespaceNumber}, which is deleted`;
      found.push(broken(what));
    }
  }
  return [...found, ...checkSums(left, partition, summary)];
}

interface LeftRecord {
  readonly partition: number;
  readonly namespaceNumber: number;
  readonly n: number;
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** Notes what a node has of a key, where all its replicas have to hold the same. */
function hold(
  node: string,
  record: LeftRecord,
  { watermarks, nowMs, replicasOf, held }: Walk,
): void {
  const { partition, namespaceNumber, n, value } = record;
  // What is deleted or over below a watermark is dropped by one before another (G5).
  const watermark = watermarks.get(`${partition} ${n}`) ?? (0n as Hlc);
  if (isDroppable(headOf(value), watermark, nowMs + guardMs)) return;
  const key = Buffer.from(record.key).toString();
  const replicas = replicasOf(namespaceNumber, key);
  if (replicas === undefined) return;
  const name = `${namespaceNumber} ${n} ${key}`;
  const one = held.get(name) ?? { replicas, holders: new Map() };
  one.holders.set(node, value);
  held.set(name, one);
}

/** Whether the sums that a node has written for a partition are those of what it holds. */
function checkSums({ node, table }: LeftTable, partition: number, summary: Summary): Violation[] {
  const meta = table.get(partitionMetaKey(partition));
  const written = (meta && decodePartitionMeta(meta)?.summary) ?? emptySummary();
  return [...new Set([...summary.sums.keys(), ...written.sums.keys()])]
    .filter((n) => digestOf(summary, n).total !== digestOf(written, n).total)
    .map((n) => broken(`the sums of ${node} for partition ${partition}, n ${n}, are not its own`));
}

/** Whether all replicas of each key have the same bytes. */
function checkHeld(held: ReadonlyMap<string, Held>, tables: readonly LeftTable[]): Violation[] {
  const found: Violation[] = [];
  for (const [name, { replicas, holders }] of held) {
    const bytes = tables
      .filter(({ node }) => replicas.includes(node))
      .map(({ node }) => holders.get(node));
    const [first] = bytes;
    if (bytes.every((one) => one !== undefined && first !== undefined && equal(one, first)))
      continue;
    const lacks = replicas.filter((node) => !holders.has(node)).join(", ") || "none";
    found.push(broken(`the replicas of '${name}' differ in their bytes; ${lacks} lacks it`));
  }
  return found;
}

/** By partition and n: the highest that any of them has. */
function watermarksOf(tables: readonly LeftTable[], ring: Ring): Map<string, Hlc> {
  const watermarks = new Map<string, Hlc>();
  for (const partition of ring.all()) {
    for (const { table } of tables) {
      const { start, end } = prefixRange(partition, watermarkNamespace, new Uint8Array(0));
      for (const { key, value } of table.range({ start, end, limit: entriesMax, bytesMax })) {
        const one = decodeFence(parseTableKey(key).key, value);
        if (one === undefined) continue;
        const name = `${one.partition} ${one.n}`;
        watermarks.set(name, highest(watermarks.get(name) ?? (0n as Hlc), one.fence.watermark));
      }
    }
  }
  return watermarks;
}

function broken(detail: string): Violation {
  return { promise: "P5", detail: `on the disks, ${detail}` };
}
