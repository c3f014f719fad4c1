/**
 * What a store does with a partition that lost records, when others have them: its sums are made true
 * while it is written to, and the marks go n by n.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { SimDisk } from "../sim/disk.ts";
import { SimRandom } from "../sim/random.ts";
import { equal, utf8Bytes } from "../src/bytes.ts";
import { silentReport } from "../src/capability.ts";
import type { Hlc } from "../src/hlc.ts";
import { RepairMarks } from "../src/node_repair_marks.ts";
import { Ring } from "../src/ring.ts";
import { Store } from "../src/store.ts";
import { tablePartition } from "../src/store_entry.ts";
import { partitionMetaKey } from "../src/store_meta.ts";
import type { StoreSettings } from "../src/store_open.ts";
import { ownNamespaces } from "../src/store_own.ts";
import type { TableChange } from "../src/table.ts";
import { MemoryTableDisk } from "../src/table_memory.ts";
import { throwsSlug } from "./samples.ts";
import { smallSettings } from "./store_harness.ts";

const test = suite("store recount");
const clusterId = "c".repeat(32);
const ring = new Ring(clusterId, 4);
const [wide, alone] = [0, 1];

function stand(ownRing = ring, change: { isOnlyCopy?: boolean; settings?: StoreSettings } = {}) {
  const { isOnlyCopy = false, settings } = change;
  const [disk, table, clock] = [new SimDisk(), new MemoryTableDisk(), new SimClock()];
  const open = async (): Promise<Store> =>
    Store.open({
      ...{ clock, disk, ring: ownRing, report: silentReport, random: new SimRandom(1) },
      table: await table.open(),
      nOf: (namespaceNumber) => (namespaceNumber === alone ? 1 : 3),
      settings: { ...smallSettings, ...settings },
      owner: {
        ...{ storeId: "a".repeat(32), clusterId, storeIdBytes: new Uint8Array(16).fill(1) },
        ...{ origin: 1n, sequence: 0, needsLog: false, isOnlyCopy },
        renewOrigin: async () => 1n,
        trusted: async () => {},
      },
    });
  return { disk, table, clock, open };
}

async function write(store: Store, namespaceNumber: number, name: string, stamp: number) {
  await store.write({
    ...{ namespaceNumber, key: utf8Bytes(name), durability: "fsync" },
    record: {
      version: { hlc: BigInt(stamp) as Hlc, origin: 1n },
      ...{ tombstone: false, contentType: "text/plain", meta: [], value: utf8Bytes(name) },
    },
  });
}

/** Names of keys that are all in one partition. */
const partition = 2;
const names = Array.from({ length: 3000 }, (_, number) => `k${number}`)
  .filter((name) => ring.place(wide, utf8Bytes(name)).partition === partition)
  .slice(0, 600);
const free = { spend: async () => {}, mayGoOn: () => true };

/** A store in whose table some records are damaged, and others gone without a word. */
async function damaged() {
  const world = stand();
  const first = await world.open();
  for (const [at, name] of names.entries()) await write(first, wide, name, at + 1);
  await first.close();
  world.table.damage((entries) =>
    entries
      .filter(({ key }) => key[0] !== 0xff)
      .flatMap(({ key, value }, at): TableChange[] => {
        if (at % 10 === 0) return [{ key, value: undefined }];
        value[value.length - 1] = (value[value.length - 1] ?? 0) ^ 1;
        return at % 10 === 1 ? [{ key, value }] : [];
      }),
  );
  return { ...world, store: await world.open() };
}

test("D6: after a recount the sums are those of what is there, though it was written to meanwhile", async () => {
  const { store, open } = await damaged();
  let count = 0;
  const whole = await store.recount(partition, {
    mayGoOn: () => true,
    spend: async () => {
      // What the walk has passed, what it has not met yet, and what was lost.
      for (const at of [0, 1, 2, 590, 591, 592]) {
        count += 1;
        await write(store, wide, names[at] as string, 10_000 + count);
      }
    },
  });
  assert.ok(whole && count > 0, `${count} writes while it walked`);
  const { total } = await store.digest(partition, 3);
  const fresh = await stand().open();
  const { items } = store.scan(partition, wide, {
    prefix: utf8Bytes(""),
    reverse: false,
    limit: 1000,
  });
  for (const { key, record } of items) {
    assert.ok(record !== undefined, "nothing damaged is left");
    await fresh.writeEncoded({
      ...{ namespaceNumber: wide, key, record: record as Uint8Array },
      ...{ durability: "fsync", isVital: false },
    });
  }
  assert.is((await fresh.digest(partition, 3)).total, total);
  await store.checkpoint();
  await store.close();
  const again = await open();
  assert.is((await again.digest(partition, 3)).total, total, "they are kept");
  await again.close();
  await fresh.close();
});

test("a recount that is broken off changes nothing", async () => {
  const { store } = await damaged();
  const before = await store.digest(partition, 3);
  assert.is(await store.recount(partition, { ...free, mayGoOn: () => false }), false);
  assert.is((await store.digest(partition, 3)).total, before.total);
  await store.close();
});

test("all that a recount reads is spent, to the last piece", async () => {
  const { store } = await damaged();
  const read = store.scan(partition, wide, { prefix: utf8Bytes(""), reverse: false, limit: 1000 });
  const bytes = read.items.reduce((sum, { record }) => sum + (record?.length ?? 0), 0);
  let spent = 0;
  const spend = async (more: number): Promise<void> => {
    spent += more;
  };
  assert.ok(await store.recount(partition, { spend, mayGoOn: () => true }));
  assert.is(spent, bytes);
  await store.close();
});

test("I4: the mark of a damage goes for one n and then for all, durably; more damage brings it back", async () => {
  const { store, open } = await damaged();
  store.scan(partition, wide, { prefix: utf8Bytes(""), reverse: false, limit: 1000 });
  assert.ok(store.isDamaged(partition, 3) && store.isDamaged(partition, 1));
  await store.recount(partition, free);
  const damages = store.damagesOf(partition);
  assert.ok(store.heal(partition, { ns: [3], damages, isWhole: false }));
  assert.equal([store.isDamaged(partition, 3), store.isDamaged(partition, 1)], [false, true]);
  await store.close();
  const next = await open();
  assert.equal([next.isDamaged(partition, 3), next.isDamaged(partition, 1)], [false, true]);
  assert.not.ok(next.heal(partition, { ns: [1], damages: damages + 1, isWhole: true }));
  const again = next.damagesOf(partition);
  assert.ok(next.heal(partition, { ns: [1], damages: again, isWhole: true }));
  assert.equal(next.damagedPartitions, []);
  await next.close();
  const last = await open();
  assert.equal(last.damagedPartitions, []);
  await last.close();
});

/** Records of two namespaces in one partition, of which one is lost for one n alone; and damage to the other's. */
async function lostForOne(change: (entry: TableChange) => TableChange | undefined) {
  const world = stand();
  const first = await world.open();
  for (const [at, name] of names.slice(0, 20).entries()) await write(first, wide, name, at + 1);
  const others = Array.from({ length: 200 }, (_, number) => `a${number}`).filter(
    (name) => ring.place(alone, utf8Bytes(name)).partition === partition,
  );
  for (const [at, name] of others.entries()) await write(first, alone, name, at + 1);
  await first.close();
  world.table.damage((entries) => {
    const own = entries.filter(({ key }) => tablePartition(key) === partition && key[5] === alone);
    const damage = own[3] && change(own[3]);
    return damage === undefined ? [] : [damage];
  });
  const store = await world.open();
  store.markLost(partition, [3], "a promise of it may be lost");
  return { ...world, store };
}

test("P8, D6: what is counted anew for one n marks what it finds to be lost of another", async () => {
  const flipped = await lostForOne(({ key, value = new Uint8Array(0) }) => {
    value[value.length - 1] = (value[value.length - 1] ?? 0) ^ 1;
    return { key, value };
  });
  const vanished = await lostForOne(({ key }) => ({ key, value: undefined }));
  const whole = await lostForOne(() => undefined);
  for (const { store, isLost, said } of [
    { ...flipped, isLost: true, said: "a record that is damaged" },
    { ...vanished, isLost: true, said: "one that is gone without a word" },
    { ...whole, isLost: false, said: "nothing" },
  ]) {
    assert.is(store.isDamaged(partition, 1), false, "nobody knows of it before");
    assert.ok(await store.recount(partition, free));
    assert.is(store.isDamaged(partition, 1), isLost, said);
    assert.is(store.isDamaged(partition, 3), true);
    await store.close();
  }
});

test("what was written over a damaged record since a scan stays, when what the scan found is removed", async () => {
  const { store } = await damaged();
  const piece = { prefix: utf8Bytes(""), reverse: false, limit: 1000 };
  const found = store
    .scan(partition, wide, piece)
    .items.filter(({ record }) => record === undefined);
  const [first, second] = found.map(({ key }) => Buffer.from(key).toString());
  await write(store, wide, first as string, 5000);
  assert.is((await store.forget(found)).length, found.length - 1);
  const after = store
    .scan(partition, wide, piece)
    .items.map(({ key }) => Buffer.from(key).toString());
  assert.equal([after.includes(first as string), after.includes(second as string)], [true, false]);
  await store.close();
});

test("I4: a write over a damaged record marks its partition: it cannot be known what it should supersede", async () => {
  const { store } = await damaged();
  const spoiled = names.filter((each) => store.head(wide, utf8Bytes(each))?.bytes === 0);
  assert.ok(spoiled.length > 1);
  assert.equal(store.damagedPartitions, []);
  await write(store, wide, spoiled[0] as string, 1);
  assert.equal(store.damagedPartitions, [partition]);
  throwsSlug("corruption", () => store.get(wide, utf8Bytes(spoiled[1] as string), "fsync"));
  await store.close();
});

/** A key of partition 0, at which a scrub of a byte a millisecond stands still first. */
const ahead = Array.from({ length: 100 }, (_, number) => `a${number}`).find(
  (name) => ring.place(wide, utf8Bytes(name)).partition === 0,
) as string;
const dayMs = 24 * 3600 * 1000;

test("D6: a scrub that has counted a partition anew does not find it damaged the next day", async () => {
  const settings = { scrubBytesPerSecond: 1000 };
  const { open, table, clock } = stand(ring, { isOnlyCopy: true, settings });
  const first = await open();
  await write(first, wide, ahead, 1);
  for (const [at, name] of names.slice(0, 3).entries()) await write(first, wide, name, at + 1);
  await first.close();
  table.damage((entries) =>
    entries
      .filter(({ key }) => tablePartition(key) === partition)
      .slice(0, 1)
      .map(({ key, value }): TableChange => {
        value[value.length - 1] = (value[value.length - 1] ?? 0) ^ 1;
        return { key, value };
      }),
  );
  const store = await open();
  for (const [at, name] of names.slice(0, 3).entries()) await write(store, wide, name, at + 10);
  await store.checkpoint();
  await clock.advance(60_000);
  assert.equal(store.damagedPartitions, []);
  await clock.advance(2 * dayMs);
  assert.equal(store.damagedPartitions, [], "nothing was written since, and nothing was lost");
  await store.close();
});

test("D6: a scrub does not compare with the sums of before a recount", async () => {
  const { open, table, clock } = stand(ring, { settings: { scrubBytesPerSecond: 100_000 } });
  const first = await open();
  for (const [at, name] of names.entries()) await write(first, wide, name, at + 1);
  await first.close();
  table.damage((entries) =>
    entries
      .filter(({ key }) => tablePartition(key) === partition)
      .slice(0, 1)
      .map(({ key }) => ({ key, value: undefined })),
  );
  const store = await open();
  store.markLost(partition, [3], "a record is gone");
  await store.recount(partition, free);
  const damages = store.damagesOf(partition);
  assert.ok(store.heal(partition, { ns: [3], damages, isWhole: true }));
  // The disk is full for a while, so that the table keeps the sums of before.
  for (let commit = 1; commit <= 30; commit += 1) table.failCommit(commit, { code: "ENOSPC" });
  await clock.advance(10_000);
  assert.is(store.damagesOf(partition), damages);
  await clock.advance(10 * 60_000);
  assert.is(store.damagesOf(partition), damages);
  assert.equal(store.damagedPartitions, []);
  await store.close();
});

test("H2: a mark for repair whose bytes are damaged is known by its key, and written anew", async () => {
  const { open, table } = stand();
  const first = await open();
  const mark = { storeId: "b".repeat(32), partition, n: 3 };
  new RepairMarks(first, silentReport).add(mark);
  await first.whenSynced(first.lastSequence);
  await first.close();
  table.damage((entries) =>
    entries
      .filter(({ key }) => key[0] !== 0xff)
      .map(({ key, value }) => ({ key, value: value.map((byte) => byte ^ 1) })),
  );
  const next = await open();
  const marks = new RepairMarks(next, silentReport);
  assert.equal(marks.all(), [mark]);
  await marks.keepRest();
  await next.close();
  const last = await open();
  const own = { prefix: utf8Bytes(""), reverse: false, limit: 10 };
  const items = Array.from(ring.all()).flatMap(
    (each) => last.scan(each, ownNamespaces.repairMarks, own).items,
  );
  assert.equal([items.length, items[0]?.record !== undefined], [1, true]);
  await last.close();
});

/** All that the table has, and which of it lies where its key does not belong. */
function namesIn(store: Store, of: number): string[] {
  const piece = { prefix: utf8Bytes(""), reverse: false, limit: 1000 };
  return store.scan(of, wide, piece).items.map(({ key }) => Buffer.from(key).toString());
}

test("D6: a recount removes what has a damaged key, or stands in another partition, and nothing else", async () => {
  const { open, table } = stand();
  const first = await open();
  for (const [at, name] of names.slice(0, 9).entries()) await write(first, wide, name, at + 1);
  await first.close();
  const other = partition + 1;
  table.damage((entries) =>
    entries
      .filter(({ key }) => key[0] !== 0xff)
      .slice(0, 2)
      .flatMap(({ key, value }, at): TableChange[] => {
        const changed = key.slice();
        // The last byte of the one's key, the partition of the other's.
        if (at === 0) changed[changed.length - 1] = (changed[changed.length - 1] ?? 0) ^ 0x40;
        else changed[1] = other;
        return [
          { key, value: undefined },
          { key: changed, value },
        ];
      }),
  );
  const store = await open();
  const sound = names.slice(0, 9).sort().slice(2);
  const [, misplaced = ""] = names.slice(0, 9).sort();
  for (const each of [partition, other]) {
    assert.ok(await store.recount(each, free));
    // What the other replicas give back.
    if (each === partition) await write(store, wide, misplaced, names.indexOf(misplaced) + 1);
  }
  assert.equal(namesIn(store, partition), [misplaced, ...sound].sort());
  assert.equal(namesIn(store, other), []);
  assert.ok(await store.recount(partition, free));
  const damages = store.damagesOf(partition);
  assert.equal(namesIn(store, partition), [misplaced, ...sound].sort());
  assert.is(store.damagesOf(partition), damages, "nothing damaged is met again");
  await store.close();
  const again = await open();
  assert.equal(namesIn(again, partition), [misplaced, ...sound].sort());
  assert.equal(namesIn(again, other), []);
  await again.close();
});

/** A store whose table fails from the commit with this number on, which is then opened again. */
async function afterFailure(
  { store, table, open }: Awaited<ReturnType<typeof damaged>>,
  number: number,
  run: () => Promise<unknown>,
): Promise<Store> {
  table.failCommit(number, { code: "EIO", leaves: "nothing" });
  await run().catch(() => {});
  await store.close();
  return open();
}

test("P9: a loss is known after a crash that came before its mark, although its traces were removed", async () => {
  const piece = { prefix: utf8Bytes(""), reverse: false, limit: 1000 };
  for (const number of [1, 2, 3]) {
    const recounted = await damaged();
    const again = await afterFailure(recounted, number, async () => {
      recounted.store.scan(partition, wide, piece);
      await recounted.store.recount(partition, free);
      await recounted.store.checkpoint();
    });
    assert.ok(again.isDamaged(partition, 3), `removed, commit ${number}`);
    await again.close();
    const overwritten = await damaged();
    const spoiled = names.find(
      (each) => overwritten.store.head(wide, utf8Bytes(each))?.bytes === 0,
    );
    const next = await afterFailure(overwritten, number, async () => {
      await write(overwritten.store, wide, spoiled ?? "", 1);
      await overwritten.store.checkpoint();
    });
    assert.ok(next.isDamaged(partition, 3), `written over, commit ${number}`);
    await next.close();
  }
});

test("P9: a summary that is lost is not forgotten by a start that ends before it was marked", async () => {
  for (const number of [1, 2, 3, 4]) {
    const { clock, open, table } = stand();
    const first = await open();
    for (const [at, name] of names.slice(0, 10).entries()) await write(first, wide, name, at + 1);
    await first.close();
    const second = await open();
    await write(second, wide, names[10] as string, 20);
    // It ends without a word when it is at rest: what it makes ready would stand in the way of the next one.
    await clock.advance(1000);
    table.damage((entries) =>
      entries
        .filter(
          ({ key }) => tablePartition(key) === partition || equal(key, partitionMetaKey(partition)),
        )
        .slice(-3)
        .map(({ key }) => ({ key, value: undefined })),
    );
    table.failCommit(number, { code: "EIO", leaves: "nothing" });
    const third = await open().catch(() => undefined);
    if (third === undefined) table.kill();
    else await third.close();
    const last = await open();
    assert.ok(last.isDamaged(partition, 3), `commit ${number}`);
    await last.close();
  }
});

test("D6: keys of the table that are too short for a namespace are removed by a recount, and hold up no read", async () => {
  const { open, table } = stand();
  const first = await open();
  for (const [at, name] of names.slice(0, 9).entries()) await write(first, wide, name, at + 1);
  await first.close();
  const lengths = [2, 3, 4, 5, 6];
  table.damage((entries) =>
    entries
      .filter(({ key }) => key[0] !== 0xff)
      .slice(0, lengths.length)
      .flatMap(({ key, value }, at): TableChange[] => [
        { key, value: undefined },
        { key: key.slice(0, lengths[at]), value },
      ]),
  );
  const store = await open();
  assert.ok(await store.recount(partition, free));
  const sound = names.slice(0, 9).sort().slice(lengths.length);
  assert.equal(namesIn(store, partition), sound);
  await store.close();
  assert.equal(shortKeys(table), []);
});

/** Keys of the table that name no namespace and key; those of its own description aside. */
function shortKeys({ image }: MemoryTableDisk): string[] {
  const [newest] = image.possible.slice(-1);
  return [...(newest?.tree.entries("") ?? [])]
    .map(([name]) => name)
    .filter((name) => name.length < 7 && !name.startsWith("\xff"));
}

test("D6: a key of one byte, which stands between two partitions, is removed too", async () => {
  const wideRing = new Ring(clusterId, 256);
  const { open, table } = stand(wideRing);
  const first = await open();
  await first.close();
  table.damage(() => [{ key: Uint8Array.of(1), value: utf8Bytes("x") }]);
  const store = await open();
  assert.ok(await store.recount(255, free));
  await store.checkpoint();
  assert.is(store.failure, undefined);
  await store.close();
  assert.equal(shortKeys(table), []);
});

test("H2, D6: a mark for repair whose key is damaged tells nothing, and a recount removes it", async () => {
  const { open, table } = stand();
  const first = await open();
  const marks = [1, 2, 3, 4].map((digit) => ({ storeId: `${digit}`.repeat(32), partition, n: 3 }));
  for (const mark of marks) new RepairMarks(first, silentReport).add(mark);
  await first.whenSynced(first.lastSequence);
  await first.close();
  table.damage((entries) =>
    entries
      .filter(({ key }) => key[0] !== 0xff)
      .flatMap(({ key, value }): TableChange[] => {
        const changed = key.slice();
        // The partition that it is about.
        changed[6 + 16] = 0x7f;
        return [
          { key, value: undefined },
          { key: changed, value },
        ];
      }),
  );
  const next = await open();
  assert.equal(new RepairMarks(next, silentReport).all(), []);
  const own = { prefix: utf8Bytes(""), reverse: false, limit: 10 };
  for (const each of ring.all()) await next.recount(each, free);
  const left = Array.from(ring.all()).flatMap(
    (each) => next.scan(each, ownNamespaces.repairMarks, own).items,
  );
  // One may by chance lie where its key, damaged as it is, belongs.
  assert.ok(left.length < marks.length, `${left.length}`);
  await next.close();
});

test.run();
