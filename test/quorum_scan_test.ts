/**
 * Merging pieces of a partition: laws on random replicas, and lists and counts of a whole cluster in
 * which some replicas missed some writes.
 */

import * as fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { compare, utf8Bytes } from "../src/bytes.ts";
import { ClusterScan, type ScanPorts } from "../src/coordinator_scan.ts";
import { hlcAt } from "../src/hlc.ts";
import type { ScanEntry } from "../src/quorum_message.ts";
import { mergePages, type ScanPage } from "../src/quorum_scan.ts";
import type { ScanPiece } from "../src/scan.ts";
import { Cluster } from "./cluster_harness.ts";
import { rejectsSlug, runs } from "./samples.ts";

const test = suite("quorum_scan");

/** Lets everything that is ready run. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const entry = (key: number, stamp: number): ScanEntry => ({
  tableKey: Uint8Array.of(key),
  key: Uint8Array.of(key),
  version: { hlc: hlcAt(stamp), origin: 1n },
  tombstone: stamp % 3 === 0,
  contentType: "text/plain",
  valueBytes: stamp,
});

/** A replica: which version it has of each key. */
const anyReplica = fc.dictionary(
  fc.integer({ min: 0, max: 20 }).map(String),
  fc.integer({ min: 1, max: 5 }),
);

function pageOf(held: Record<string, number>, limit: number, reverse: boolean): ScanPage {
  const all = Object.entries(held)
    .map(([key, stamp]) => entry(Number(key), stamp))
    .sort((a, b) => compare(a.key, b.key) * (reverse ? -1 : 1));
  const entries = all.slice(0, limit);
  return {
    kind: "page",
    entries,
    more: all.length > limit,
    last: entries[entries.length - 1]?.tableKey,
  };
}

const shape = ({ entries, more, last }: ScanPage): unknown => [
  entries.map(({ key, valueBytes }) => [key[0], valueBytes]),
  more,
  more ? last?.[0] : undefined,
];

test("a merged piece has the highest version of every key up to where all were heard, and no more", () => {
  const property = fc.property(
    fc.array(anyReplica, { minLength: 1, maxLength: 4 }),
    fc.integer({ min: 1, max: 8 }),
    fc.boolean(),
    (replicas, limit, reverse) => {
      const pages = replicas.map((held) => pageOf(held, limit, reverse));
      const merged = mergePages(pages, reverse);
      const expected = new Map<number, number>();
      for (const held of replicas) {
        for (const [key, stamp] of Object.entries(held)) {
          expected.set(Number(key), Math.max(stamp, expected.get(Number(key)) ?? 0));
        }
      }
      const end = merged.more ? (merged.last?.[0] as number) : undefined;
      const within = [...expected]
        .filter(([key]) => end === undefined || (reverse ? key >= end : key <= end))
        .sort(([a], [b]) => (reverse ? b - a : a - b));
      assert.equal(
        merged.entries.map(({ key, valueBytes }) => [key[0], valueBytes]),
        within,
      );
      // It goes on: the end lies at or past the first key.
      if (merged.more) assert.ok(merged.entries.length > 0);
    },
  );
  fc.assert(property, runs(500));
});

test("merging commutes and is idempotent", () => {
  const property = fc.property(anyReplica, anyReplica, fc.boolean(), (one, other, reverse) => {
    const a = pageOf(one, 4, reverse);
    const b = pageOf(other, 4, reverse);
    assert.equal(shape(mergePages([a, b], reverse)), shape(mergePages([b, a], reverse)));
    assert.equal(shape(mergePages([a, a], reverse)), shape(a));
  });
  fc.assert(property, runs(300));
});

test("a list and a count have every key of the cluster once, though no replica has all", async () => {
  const cluster = await Cluster.open(3);
  const expected: string[] = [];
  for (let number = 0; number < 60; number += 1) {
    const away = cluster.names[number % 3] as string;
    const writer = cluster.names[(number + 1) % 3] as string;
    cluster.cut(away);
    const key = `k${String(number).padStart(2, "0")}`;
    await cluster.node(writer).put(key, `value ${number}`);
    if (number % 4 === 0) await cluster.node(writer).delete(key);
    else expected.push(key);
    cluster.heal();
  }
  for (const node of cluster.nodes) {
    assert.equal(await node.keys({ limit: 1000 }), expected, node.name);
    assert.equal(await node.keys({ limit: 1000, reverse: true }), expected.toReversed());
    assert.equal(await node.keys({ prefix: utf8Bytes("k1"), limit: 5 }), [
      "k10",
      "k11",
      "k13",
      "k14",
      "k15",
    ]);
    const count = await node.listing.count({ namespace: "default", requestId: "test" });
    assert.is(count.keys, expected.length);
    assert.is(count.exact, true);
    assert.is(count.replies, 2);
  }
  const { items } = await cluster.node("n3").listing.list({
    namespace: "default",
    requestId: "test",
    values: true,
    limit: 2,
  });
  assert.equal(
    items.map(({ value }) => Buffer.from(value ?? []).toString()),
    ["value 1", "value 2"],
  );
  await cluster.close();
});

/** Two replicas that answer with these pages, in turn, and what is learned of them. */
function twoThatAnswer(
  answers: readonly (ScanPage | { readonly kind: "refused"; readonly document: unknown })[],
) {
  const left = [...answers];
  const learned: unknown[] = [];
  const scan = async () => ({ ...left.shift(), from: { counts: true } });
  const ports = {
    ...{ nodeId: "n1", partitions: 1, local: { scan }, peers: { scan, isUp: () => true } },
    ...{ clock: { monotonicMs: () => 0 }, deadlines: { start: () => () => {} } },
    latencies: { note: () => {}, hedgeMs: () => 1 },
    replicasOf: () => ({ epoch: 1, replicas: ["n1", "n2"].map((nodeId) => ({ nodeId })) }),
    learn: async (document: unknown) => {
      learned.push(document);
    },
  } as unknown as ScanPorts;
  const job = { n: 2, needed: 2, timeoutMs: 1000, requestId: "test" };
  const piece = { limit: 9, reverse: false, prefix: new Uint8Array(0) } as unknown as ScanPiece;
  const scanned = async () => {
    const { items, more, last } = await new ClusterScan(ports, job).scan(0, 1, piece);
    assert.is(left.length, 0, "all are asked for");
    return { items: items.map((item) => [item.key[0], item.shown.tombstone]), more, last };
  };
  return { scanned, learned };
}

const wholePage = (...entries: readonly ScanEntry[]): ScanPage => {
  return { kind: "page", entries, more: false, last: undefined };
};

test("R2: a key that one page has live, and a later one lacks, is asked for again: its delete may be dropped", async () => {
  const page = wholePage;
  const shown = async (...rounds: readonly (readonly ScanPage[])[]): Promise<unknown> =>
    (await twoThatAnswer(rounds.flat()).scanned()).items;
  assert.equal(await shown([page(entry(1, 2)), page(entry(1, 2))]), [[1, false]]);
  assert.equal(await shown([page(entry(1, 2)), page()], [page(), page()]), []);
  assert.equal(await shown([page(entry(1, 2)), page()], [page(entry(1, 2)), page()]), [[1, false]]);
  // Dropped by one while the other is asked for the second time.
  const first = [page(entry(1, 2), entry(2, 2)), page(entry(1, 3))];
  assert.equal(await shown(first, [page(entry(1, 2)), page()]), [[1, true]]);
});

test("R2: what was asked for again ends where it did the first time: past that it would be asked for once", async () => {
  const upTo = (...entries: readonly ScanEntry[]): ScanPage => {
    return { ...wholePage(...entries), more: true, last: entries.at(-1)?.tableKey };
  };
  // The delete of 1 is dropped meanwhile, so that pages of the same length come to 2, whose delete is dropped next.
  const first = [upTo(entry(1, 2)), upTo(entry(3, 2))];
  const second = [upTo(entry(2, 2)), upTo(entry(3, 2))];
  const { items, more, last } = await twoThatAnswer([...first, ...second]).scanned();
  assert.equal([items, more, last?.[0]], [[], true, 1]);
});

test("T2: a list that asks for a piece again goes on under a newer document, as the first time", async () => {
  const uneven = [wholePage(entry(1, 2)), wholePage()];
  const refused = { kind: "refused", document: "newer" } as const;
  const pages = [wholePage(entry(1, 2)), wholePage(entry(1, 2))];
  const { scanned, learned } = twoThatAnswer([...uneven, refused, refused, ...pages]);
  assert.equal((await scanned()).items, [[1, false]]);
  assert.equal(learned, ["newer"]);
});

test("a list that cannot hear r replicas of a partition fails, and one asks whoever is there", async () => {
  const cluster = await Cluster.open(3);
  await cluster.node("n1").put("k", "v");
  cluster.cut("n1");
  await rejectsSlug("read-quorum-not-met", cluster.node("n1").keys());
  assert.equal(await cluster.node("n1").keys({ consistency: "one" }), ["k"]);
  cluster.heal();
  cluster.node("n2").state.counts = false;
  assert.equal(await cluster.node("n1").keys(), ["k"], "the third is asked in its place");
  await cluster.close();
});

test("the values of a list are read at the level of the list", async () => {
  const cluster = await Cluster.open(3);
  await cluster.node("n1").put("k", "v");
  cluster.cut("n1");
  const asked = { namespace: "default", requestId: "test", values: true } as const;
  const { listing } = cluster.node("n1");
  for (const level of [{ consistency: "one" }, { r: 1 }] as const) {
    const { items } = await listing.list({ ...asked, ...level });
    assert.equal(
      items.map(({ value }) => Buffer.from(value ?? []).toString()),
      ["v"],
    );
  }
  cluster.heal();
  cluster.node("n1").asked.length = 0;
  await listing.list({ ...asked, consistency: "all" });
  const reads = cluster.node("n1").asked.filter((line) => !line.endsWith("scan"));
  assert.is(reads.length, 3, reads.join());
  await cluster.close();
});

test("a list does not wait for a replica that is late where another can answer", async () => {
  const cluster = await Cluster.open(3);
  const n1 = cluster.node("n1");
  await n1.put("k", "v");
  cluster.cut("n2", "silent");
  n1.asked.length = 0;
  let keys: readonly string[] | undefined;
  let count: number | undefined;
  const both = async (): Promise<void> => {
    keys = await n1.keys();
    count = (await n1.listing.count({ namespace: "default", requestId: "test" })).keys;
  };
  const work = both();
  // Far below the time that a request has.
  for (let step = 0; step < 20 && count === undefined; step += 1) {
    await settled();
    await cluster.advance(64);
  }
  assert.equal(keys, ["k"]);
  assert.is(count, 1);
  await work;
  await cluster.close();
});

test("T2: a list refused with a newer epoch goes on under the newer document", async () => {
  const cluster = await Cluster.open(4);
  await cluster.node("n1").put("k", "v");
  const newer = { epoch: 2, replicas: ["n4", "n2", "n3"] };
  for (const name of ["n2", "n3"]) cluster.node(name).learn(newer);
  assert.equal(await cluster.node("n1").keys(), ["k"]);
  assert.is(cluster.node("n1").state.epoch, 2);
  await cluster.close();
});

test.run();
