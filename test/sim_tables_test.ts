/**
 * Sim tables: what lies on the disks of closed nodes, as it should be and with one thing wrong.
 *
 * Three nodes hold the same three keys in tables that are made by hand, with the sums of what they hold.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { checkTables, type LeftTable } from "../sim/check_tables.ts";
import { utf8Bytes } from "../src/bytes.ts";
import { emptySummary } from "../src/digest.ts";
import { hlcAt } from "../src/hlc.ts";
import { encodeRecord, recordBytes, type StoredRecord } from "../src/record.ts";
import { Ring } from "../src/ring.ts";
import { tableKey } from "../src/store_entry.ts";
import { encodePartitionMeta, partitionMetaKey } from "../src/store_meta.ts";
import { addRecord } from "../src/store_recover.ts";
import { MemoryTableDisk } from "../src/table_memory.ts";

const test = suite("sim tables");

const ring = new Ring("00".repeat(16), 1);
const names = ["n1", "n2", "n3"];
const namespaceNumber = 1;
const deletedNamespace = 2;
const nOf = (namespace: number): number => (namespace === namespaceNumber ? 3 : 0);
const world = { ring, nOf, replicasOf: () => names, nowMs: 5000 };

interface Row {
  readonly namespaceNumber: number;
  readonly key: string;
  readonly value: string;
}

const rows: readonly Row[] = ["a", "b", "c"].map((key) => ({ namespaceNumber, key, value: "v" }));

function recordOf(row: Row): Uint8Array {
  const record: StoredRecord = {
    ...{ version: { hlc: hlcAt(1000), origin: 1n }, tombstone: false },
    ...{ contentType: "", meta: [], value: utf8Bytes(row.value) },
  };
  const bytes = new Uint8Array(recordBytes(record));
  encodeRecord(record, { ...row, key: utf8Bytes(row.key) }, bytes, 0);
  return bytes;
}

/** What a node has left; its sums are those of `summed`, which is what it holds unless it is said. */
async function left(
  node: string,
  held: readonly Row[] = rows,
  { summed = held, isMember = true, damage = (bytes: Uint8Array) => bytes } = {},
): Promise<LeftTable> {
  const table = await new MemoryTableDisk().open();
  const keyOf = ({ namespaceNumber: number, key }: Row): Uint8Array =>
    tableKey(0, number, utf8Bytes(key));
  const summary = emptySummary();
  for (const row of summed) {
    addRecord(summary, { ring, nOf }, 0, { key: keyOf(row), value: recordOf(row) });
  }
  await table.commit([
    ...held.map((row) => ({ key: keyOf(row), value: damage(recordOf(row)) })),
    {
      key: partitionMetaKey(0),
      value: encodePartitionMeta({ sequence: 1, summary, isUnsummed: false }),
    },
  ]);
  return { node, isMember, table };
}

async function found(third: LeftTable): Promise<readonly string[]> {
  const tables = [await left("n1"), await left("n2"), third];
  return checkTables(tables, world).map(({ promise, detail }) => `${promise} ${detail}`);
}

test("P5: tables that hold the same, and the sums of it, are in order", async () => {
  assert.equal(await found(await left("n3")), []);
});

test("P5: a key that one replica lacks, or has other bytes of, is told with who lacks it", async () => {
  const [missing = ""] = await found(await left("n3", rows.slice(1)));
  assert.match(missing, /^P5 .*the replicas of '1 3 a' differ in their bytes; n3 lacks it$/);
  const other = rows.map((row) => (row.key === "b" ? { ...row, value: "w" } : row));
  const [differing = ""] = await found(await left("n3", other));
  assert.match(differing, /the replicas of '1 3 b' differ in their bytes; none lacks it$/);
});

test("P5: sums that are not those of what is held are told", async () => {
  const stale = await found(await left("n3", rows, { summed: rows.slice(1) }));
  assert.equal(stale, ["P5 on the disks, the sums of n3 for partition 0, n 3, are not its own"]);
});

test("P5: a record that is damaged is told, and not in the sums", async () => {
  const damage = (bytes: Uint8Array): Uint8Array =>
    bytes.map((byte, at) => (at === bytes.length - 1 ? byte ^ 1 : byte));
  const told = await found(await left("n3", rows, { damage }));
  assert.is(told.filter((line) => line.includes("n3 holds a damaged record")).length, rows.length);
});

test("T8: what is left of a deleted namespace is told of a member, and of nobody else", async () => {
  const more = [...rows, { namespaceNumber: deletedNamespace, key: "d", value: "v" }];
  const told = await found(await left("n3", more));
  assert.ok(
    told.some((line) => line.includes("n3 holds a record of namespace 2, which is deleted")),
  );
  const former = await found(await left("n3", more, { isMember: false }));
  assert.not.ok(
    former.some((line) => line.includes("which is deleted")),
    former.join("\n"),
  );
});

test.run();
