/**
 * Mutations of repair: what replicas compare, and what becomes of what they find.
 *
 * Effects: the prototypes of the program's classes, while a mutation is on.
 *
 * @module
 */

import { PeerSide, StoreSide } from "../src/node_repair_sides.ts";
import { isTombstone } from "../src/record.ts";
import type { KeyRecord, Range } from "../src/repair.ts";
import { RepairSchedule } from "../src/repair_schedule.ts";
import { StoreIndex } from "../src/store_index.ts";
import { all, boundTable, type Method, type Mutation, method } from "./mutation.ts";

export const repairMutations: readonly Mutation[] = [
  {
    name: "no partition is compared in its turn",
    rule: "P5: replicas converge without anyone asking",
    begin: method(RepairSchedule, "begin", () => () => undefined),
  },
  {
    name: "hashes are taken for equal",
    rule: "P5, G1",
    begin: method(
      PeerSide,
      "digest",
      () =>
        async function (pair) {
          const same = await this.store.digest(pair.partition, pair.n);
          return { ...same, watermark: 0n };
        },
    ),
  },
  {
    name: "what the other side lacks is deleted",
    rule: "G1: absence deletes nothing",
    begin: method(
      StoreSide,
      "read",
      () =>
        async function ({ namespaceNumber, partition }: Range, keys: readonly Uint8Array[]) {
          for (const prefix of keys) {
            const piece = { prefix, reverse: false, limit: 1 };
            await this.store.forget(this.store.scan(partition, namespaceNumber, piece).items);
          }
          return [];
        },
    ),
  },
  {
    name: "repair moves no deletes",
    rule: "G1, P4: a delete is a record like any other",
    begin: all(method(StoreSide, "take", withoutDeletes), method(PeerSide, "take", withoutDeletes)),
  },
  {
    name: "an overwritten record stays in the sums",
    rule: "P5: the sums are those of what is held",
    begin: method(
      StoreIndex,
      "apply",
      (old) =>
        function (spot, entry, before) {
          const seen = before.kind === "record" ? { kind: "absent" } : before;
          return old.call(this, spot, entry, seen);
        },
    ),
  },
  {
    name: "a checkpoint leaves the sums out",
    rule: "P5: the sums are kept in the same commit as the records",
    table: (table) => ({
      ...boundTable(table),
      commit: (changes) =>
        table.commit(
          changes.filter(({ key }) => !(key.length === 5 && key[0] === 0xff && key[1] === 0xff)),
        ),
    }),
  },
];

function withoutDeletes(old: Method): Method {
  return function (range: Range, records: readonly KeyRecord[]) {
    return old.call(
      this,
      range,
      records.filter(({ record }) => !isTombstone(record)),
    );
  };
}
