/** What becomes of a table's file that cannot be opened, and how long damage in it is remembered. */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { SimDisk } from "../sim/disk.ts";
import { SimRandom } from "../sim/random.ts";
import { utf8Bytes } from "../src/bytes.ts";
import { silentReport } from "../src/capability.ts";
import { Document } from "../src/document.ts";
import { QuorateError } from "../src/errors.ts";
import type { Hlc } from "../src/hlc.ts";
import { Identity } from "../src/identity.ts";
import { missingTopology, openNodeStore, openNodeTable, tellOfOthers } from "../src/node_open.ts";
import type { NodeOptions } from "../src/node_options.ts";
import { Ring } from "../src/ring.ts";
import type { Store } from "../src/store.ts";
import { tableLossHint } from "../src/table_file.ts";
import { MemoryTableDisk } from "../src/table_memory.ts";
import { genesis, genesisOf, type MemberFacts } from "../src/topology_steps.ts";
import { rejectsSlug } from "./samples.ts";
import { smallSettings } from "./store_harness.ts";

const test = suite("node open");

const members = [1, 2, 3].map((number) => ({
  nodeId: `a${number}`.padEnd(32, "0"),
  storeId: `b${number}`.padEnd(32, "0"),
  name: `n${number}`,
  addresses: [`10.0.0.${number}:8080`],
}));
const three = genesisOf(members, { expect: 3, partitions: 16 });

/** A node whose table's file cannot be opened before it is out of the way. */
function damaged(): { readonly options: NodeOptions; readonly asideCount: () => number } {
  const table = new MemoryTableDisk({});
  let asideCount = 0;
  const options: NodeOptions = {
    ...{ clock: new SimClock(), random: new SimRandom(1), disk: new SimDisk() },
    ...{ report: silentReport, settings: smallSettings },
    openTable: async () => {
      if (asideCount > 0) return table.open();
      throw new QuorateError("corruption", "The table's file ends too early.");
    },
    setTableAside: async () => {
      asideCount += 1;
    },
  };
  return { options, asideCount: () => asideCount };
}

test("D6: a file that cannot be opened is set aside at once where others hold what is in it", async () => {
  const { options, asideCount } = damaged();
  const identity = await Identity.open(options.disk, options.random, "n1");
  const table = await openNodeTable(options, identity, three);
  assert.is(asideCount(), 1);
  await table.close();
});

test("D6: it stays where it is, and the start is refused, where this is the only copy", async () => {
  const { options, asideCount } = damaged();
  const identity = await Identity.open(options.disk, options.random, "n1");
  const alone = { ...three, members: three.members.slice(0, 1) };
  await rejectsSlug("corruption", openNodeTable(options, identity, alone));
  const namespaces = three.namespaces.map((one) => ({ ...one, policy: { ...one.policy, n: 1 } }));
  await rejectsSlug("corruption", openNodeTable(options, identity, { ...three, namespaces }));
  await rejectsSlug("corruption", openNodeTable(options, identity));
  assert.is(asideCount(), 0);
});

test("D6: where others hold what is in a damaged table, nobody is told to give it up", () => {
  const hint = `Restore a copy of the data folder. ${tableLossHint}`;
  const ofTable = new QuorateError("corruption", "The table's file is damaged.", { hint });
  const told = QuorateError.from(tellOfOthers(ofTable, three));
  assert.match(told.hint ?? "", "Start this node again");
  assert.is(told.detail, ofTable.detail);
  const alone = { ...three, members: three.members.slice(0, 1) };
  assert.is(tellOfOthers(ofTable, alone), ofTable);
  const other = new QuorateError("corruption", "The identity is damaged.", { hint: "Restore it." });
  assert.is(tellOfOthers(other, three), other);
});

test("who has lost its topology is told what to do where others hold what it held", () => {
  assert.match(missingTopology().hint ?? "", "plan --replace");
});

test("I4: a write over a damaged record marks its partition once others have joined a node that began alone", async () => {
  const { options } = damaged();
  const { random, disk } = options;
  const table = new MemoryTableDisk({});
  const identity = await Identity.open(disk, random, "n1");
  const alone = genesis(three.clusterId, three.partitions, members[0] as MemberFacts);
  const document = await Document.open(disk, () => alone);
  const ring = new Ring(three.clusterId, three.partitions);
  const open = async (): Promise<Store> =>
    openNodeStore(options, identity, { document, ring, table: await table.open() });
  const key = utf8Bytes("k");
  const write = (store: Store, stamp: bigint): Promise<unknown> =>
    store.write({
      ...{ namespaceNumber: 0, key, durability: "fsync" },
      record: {
        version: { hlc: stamp as Hlc, origin: 1n },
        ...{ tombstone: false, contentType: "text/plain", meta: [], value: utf8Bytes("v") },
      },
    });
  const first = await open();
  await write(first, 5n);
  await first.close();
  table.damage((entries) =>
    entries
      .filter(({ key: own }) => own[0] !== 0xff)
      .map(({ key: own, value }) => ({ key: own, value: value.map((byte) => byte ^ 1) })),
  );
  const store = await open();
  assert.equal(store.damagedPartitions, []);
  await document.adopt({ ...three, epoch: alone.epoch + 1 });
  await write(store, 3n);
  assert.equal(store.damagedPartitions, [ring.place(0, key).partition]);
  await store.close();
});

test("D6: an orderly end does not forget that damage was met in the table", async () => {
  const disk = new SimDisk();
  const identity = await Identity.open(disk, new SimRandom(1), "n1");
  for (const starts of [1, 2, 3]) {
    await identity.attempt();
    await identity.end(0, false);
    assert.is(identity.uncleanStarts, starts);
  }
  await identity.end(0);
  assert.is(identity.uncleanStarts, 0);
});

test.run();
