/** The keys of all partitions in one order, read from several partitions at once. */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { utf8Bytes } from "../src/bytes.ts";
import type { Hlc } from "../src/hlc.ts";
import { type ScanSource, scanAll } from "../src/scan.ts";

const test = suite("scan");
const partitions = 64;
const pieceCount = 512;

/** Partitions full of keys, which come in a later turn, as from other nodes. */
function source(): ScanSource {
  const shown = {
    version: { hlc: 1n as Hlc, origin: 1n },
    tombstone: false,
    contentType: "text/plain",
    valueBytes: 1,
  } as const;
  return {
    partitions,
    readsAtOnce: 32,
    tableKey: (_, __, key) => key,
    scan: async (partition) => {
      const items = Array.from({ length: pieceCount }, (_, index) => {
        const key = utf8Bytes(`${String(index).padStart(3, "0")}-${partition}`);
        return { key, record: undefined, sequence: 0, shown: { ...shown, key, tableKey: key } };
      });
      return { items, more: false, last: undefined, isDamaged: false };
    },
  };
}

test("scanAll() lets others pass, and asks whether it is over, however many partitions are read at once", async () => {
  let asked = 0;
  const plan = {
    namespaceNumber: 0,
    prefix: new Uint8Array(0),
    reverse: false,
    pieceCount,
    isLive: () => true,
    isOver: () => {
      asked += 1;
      return false;
    },
  };
  const names: string[] = [];
  for await (const { name } of scanAll(source(), plan, new SimClock())) names.push(name);
  assert.is(names.length, partitions * pieceCount);
  assert.equal(names, [...names].sort());
  // A record is 1, a piece 64 more, and 2,048 of them are done between two turns.
  assert.ok(asked >= Math.floor((partitions * (pieceCount + 64)) / (2048 + pieceCount + 64)));
});

test.run();
