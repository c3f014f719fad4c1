/**
 * The comparison by sums of two real stores that write meanwhile: what is asked, what is moved, and
 * that what is equal costs one small message.
 */
import * as fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { utf8Bytes } from "../src/bytes.ts";
import { silentReport } from "../src/capability.ts";
import type { Hlc } from "../src/hlc.ts";
import { StoreSide } from "../src/node_repair_sides.ts";
import { dropBelow } from "../src/node_watermark_drop.ts";
import { NodeWatermarks } from "../src/node_watermarks.ts";
import { decodeRecord } from "../src/record.ts";
import type { KeyRecord, Range } from "../src/repair.ts";
import { compareDigests, type Pair, type Sums } from "../src/repair_digest.ts";
import type { Store } from "../src/store.ts";
import { openStore, partitions } from "./repair_harness.ts";

const test = suite("repair_digest");

/** A store's side that notes what it is asked. */
class NotedSide extends StoreSide {
  readonly asked: string[] = [];
  /** Called at every question. */
  onAsked: (what: string) => Promise<void> = async () => {};

  override async digest(pair: Pair, wants: "state" | "total" | "sums", adopt: Hlc): Promise<Sums> {
    if (wants !== "state") await this.#note(wants);
    return super.digest(pair, wants, adopt);
  }

  override async walk(...given: Parameters<StoreSide["walk"]>) {
    await this.#note("walk");
    return super.walk(...given);
  }

  /** The watermark that its records tell, where a test wants one. */
  under: Hlc | undefined;

  override async take(range: Range, records: readonly KeyRecord[]): Promise<void> {
    await this.#note(`take ${records.length}`);
    return super.take(
      range,
      records.map((record) =>
        this.under === undefined ? record : { ...record, under: this.under },
      ),
    );
  }

  async #note(what: string): Promise<void> {
    this.asked.push(what);
    await this.onAsked(what);
  }
}

async function write(store: Store, key: string, stamp: number, namespaceNumber = 0): Promise<void> {
  await store.write({
    namespaceNumber,
    key: utf8Bytes(key),
    record: {
      version: { hlc: BigInt(stamp) as Hlc, origin: 1n },
      tombstone: stamp % 3 === 0,
      contentType: "text/plain",
      meta: [],
      value: utf8Bytes(stamp % 3 === 0 ? "" : String(stamp)),
    },
    durability: "fsync",
  });
}

async function two() {
  const clock = new SimClock();
  const [here, there] = [await openStore(clock, 1), await openStore(clock, 2)];
  const state = { isSure: true };
  const fences = { here: new NodeWatermarks(here), there: new NodeWatermarks(there) };
  const store = new NotedSide({
    store: here,
    fences: fences.here,
    n: 3,
    counts: () => state.isSure,
  });
  const peer = new NotedSide({ store: there, fences: fences.there, n: 3, counts: () => true });
  const compare = async (settleMs = 500) => {
    const results = [];
    for (let partition = 0; partition < partitions; partition += 1) {
      const comparing = compareDigests(
        {
          ...{ clock, report: silentReport, store, settleMs },
          mayGoOn: () => true,
          spend: async () => {},
        },
        peer,
        { partition, n: 3 },
        [0, 2],
      );
      let isOver = false;
      void comparing.finally(() => {
        isOver = true;
      });
      while (!isOver) await clock.advance(50);
      results.push(await comparing);
    }
    return results;
  };
  const close = async (): Promise<void> => {
    await here.close();
    await there.close();
  };
  return { clock, here, there, store, peer, fences, state, compare, close };
}

const held = (store: Store): string[] =>
  Array.from({ length: partitions }, (_, partition) =>
    [0, 1, 2].flatMap((number) =>
      store
        .scan(partition, number, { prefix: utf8Bytes(""), reverse: false, limit: 1000 })
        .items.map(({ key, record }) => {
          const { version } = decodeRecord(record as Uint8Array);
          return `${number} ${new TextDecoder().decode(key)} ${version.hlc}`;
        }),
    ),
  ).flat();

test("what is equal is told by one hash, and nothing is walked", async () => {
  const { here, there, peer, compare, close } = await two();
  for (const store of [here, there]) {
    for (let index = 0; index < 50; index += 1) await write(store, `k${index}`, index + 1);
  }
  for (const result of await compare()) assert.equal([result.isWhole, result.segments], [true, 0]);
  assert.equal(new Set(peer.asked), new Set(["total"]));
  assert.is(peer.asked.length, partitions);
  await close();
});

test("G1: what differs is moved in both directions, deletes too, and nothing else is sent", async () => {
  const { here, there, store, peer, compare, close } = await two();
  for (const one of [here, there]) {
    for (let index = 0; index < 200; index += 1) await write(one, `k${index}`, index + 1);
  }
  await write(here, "k7", 300);
  await write(there, "k8", 301);
  await write(there, "only there", 302);
  const results = await compare();
  assert.is(
    results.reduce((sum, { pushed }) => sum + pushed, 0),
    1,
  );
  assert.is(
    results.reduce((sum, { pulled }) => sum + pulled, 0),
    2,
  );
  // Of 200 keys those of three segments were looked at, of about as many as there are keys.
  assert.ok(results.reduce((sum, { keys }) => sum + keys, 0) < 20);
  assert.equal(held(here), held(there));
  const taken = (side: NotedSide) => side.asked.filter((what) => what.startsWith("take"));
  assert.equal(taken(peer), ["take 1"]);
  assert.is(taken(store).length, 2);
  assert.ok((await compare()).every(({ segments }) => segments === 0));
  await close();
});

test("namespaces of another n are left alone: the other node need not have them", async () => {
  const { here, there, compare, close } = await two();
  await write(here, "of n 3", 1);
  await write(here, "of n 1", 2, 1);
  await compare();
  assert.equal(held(there), ["0 of n 3 1"]);
  assert.ok((await compare()).every(({ segments }) => segments === 0));
  await close();
});

test("a write that is under way at the comparison is not taken for a difference", async () => {
  const { clock, here, there, peer, compare, close } = await two();
  await write(here, "k1", 1);
  // The other replica has it a moment later.
  peer.onAsked = async (what) => {
    if (what === "sums") clock.after(100, () => void write(there, "k1", 1));
  };
  const results = await compare(500);
  assert.ok(results.every(({ isWhole, segments }) => isWhole && segments === 0));
  assert.not(peer.asked.includes("walk"));
  assert.ok(peer.asked.includes("sums"));
  await close();
});

const asked = { partition: 0, n: 3 };
const key = "k1";

/** Both stores with a watermark for every partition. */
async function withWatermarks(here: number, there: number) {
  const both = await two();
  for (let partition = 0; partition < partitions; partition += 1) {
    await both.fences.here.adopt(partition, 3, BigInt(here) as Hlc);
    await both.fences.there.adopt(partition, 3, BigInt(there) as Hlc);
  }
  return both;
}

test("G5: the side with the lower watermark adopts the higher one before they compare", async () => {
  for (const [low, high] of [
    [5, 50],
    [50, 5],
  ] as const) {
    const { fences, compare, close } = await withWatermarks(low, high);
    await compare();
    for (const { of } of [fences.here, fences.there].map((one) => ({ of: one.of(0, 3) }))) {
      assert.is(of.watermark, 50n);
    }
    await close();
  }
});

test("G5: a tombstone below the watermark is brought to nobody: one has dropped it, the other will", async () => {
  const { here, there, compare, close } = await withWatermarks(50, 50);
  await write(here, key, 3);
  await write(there, "above", 60);
  await compare(0);
  assert.equal(held(there), ["0 above 60"]);
  assert.is(held(here).length, 2);
  await close();
});

test("G6: what is below the watermark is pulled by who lacks it, and pushed by nobody", async () => {
  const { here, there, store, peer, compare, close } = await withWatermarks(50, 50);
  await write(here, key, 4);
  await compare(0);
  assert.equal(held(there), [], "it is for the other side to ask");
  assert.ok(peer.asked.every((what) => what === "take 1" || !what.startsWith("take")));
  await write(there, "theirs", 5);
  // The source is this very watermark's: as a peer's answers tell it.
  store.under = 50n as Hlc;
  await compare(0);
  assert.ok(held(here).includes("0 theirs 5"));
  await close();
});

test("G6: below its watermark a side takes nothing from one that is not so far", async () => {
  const { here, there, fences, compare, close } = await two();
  await write(there, key, 4);
  for (let partition = 0; partition < partitions; partition += 1) {
    await fences.here.adopt(partition, 3, 50n as Hlc);
  }
  // What it reads of the other one tells no watermark.
  await compare(0);
  assert.equal(held(here), []);
  await close();
});

test("G6: a side that may have lost something forgets below the watermark what the other lacks, then goes by it", async () => {
  const { here, there, fences, state, compare, close } = await withWatermarks(0, 50);
  state.isSure = false;
  for (const store of [here, there]) await write(store, "both", 7);
  await write(here, "brought back", 4);
  await write(here, "newer", 60);
  await write(there, "lost", 8);
  await compare(0);
  const expected = ["0 both 7", "0 lost 8", "0 newer 60"];
  assert.equal(held(here).sort(), expected);
  assert.equal(held(there).sort(), expected);
  assert.is(fences.here.of(asked.partition, asked.n).watermark, 50n);
  await close();
});

test("G1: without a watermark a side that may have lost something keeps what the other lacks", async () => {
  const { here, there, state, compare, close } = await two();
  state.isSure = false;
  await write(here, key, 4);
  await compare(0);
  assert.equal(held(there), held(here));
  assert.is(held(here).length, 1);
  await close();
});

test("promises and watermarks are durable: the store's next start goes by them", async () => {
  const { here, fences, close } = await two();
  await Promise.all([
    fences.here.promise(2, 3, 70n as Hlc),
    fences.here.adopt(2, 3, 50n as Hlc),
    fences.here.promise(2, 3, 60n as Hlc),
    fences.here.adopt(2, 1, 9n as Hlc),
  ]);
  const again = new NodeWatermarks(here);
  assert.equal(again.of(2, 3), { promise: 70n, watermark: 50n });
  assert.equal(again.kept(2, 1), { promise: 9n, watermark: 9n });
  assert.equal(again.of(1, 3), { promise: 0n, watermark: 0n });
  await close();
});

test("G5: dropBelow() removes deletes below the watermark alone, and their sums with them", async () => {
  const { here, there, compare, close } = await two();
  for (const stamp of [3, 4, 6, 60, 61]) await write(here, `k${stamp}`, stamp);
  await write(here, "of n 1", 9, 1);
  let dropped = 0;
  for (let partition = 0; partition < partitions; partition += 1) {
    const options = { store: here, partition, namespaces: [0, 2], watermark: 50n as Hlc };
    const common = { spend: async () => {}, mayGoOn: () => true };
    dropped += (await dropBelow({ ...options, ...common }))?.count ?? 0;
  }
  assert.is(dropped, 2);
  assert.equal(held(here).sort(), ["0 k4 4", "0 k60 60", "0 k61 61", "1 of n 1 9"]);
  for (const stamp of [4, 60, 61]) await write(there, `k${stamp}`, stamp);
  assert.ok(
    (await compare()).every(({ segments }) => segments === 0),
    "the sums are those of a store without",
  );
  await close();
});

test("P5: after a comparison both hold the newest of what either held at its begin", async () => {
  const ofKey = fc.record({
    key: fc.nat(30),
    number: fc.constantFrom(0, 1, 2),
    stamp: fc.integer({ min: 1, max: 9 }),
    where: fc.constantFrom("here", "there", "both"),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(ofKey, { maxLength: 40 }), async (writes) => {
      const { here, there, compare, close } = await two();
      const newest = new Map<string, number>();
      for (const { key, number, stamp, where } of writes) {
        const name = `k${key}`;
        if (where !== "there") await write(here, name, stamp, number);
        if (where !== "here") await write(there, name, stamp, number);
        if (number === 1) continue;
        const id = `${number} ${name}`;
        newest.set(id, Math.max(stamp, newest.get(id) ?? 0));
      }
      assert.ok((await compare(0)).every(({ isWhole }) => isWhole));
      const expected = [...newest].map(([id, stamp]) => `${id} ${stamp}`).sort();
      for (const store of [here, there]) {
        assert.equal(
          held(store)
            .filter((line) => !line.startsWith("1 "))
            .sort(),
          expected,
        );
      }
      await close();
    }),
    { numRuns: 40 },
  );
});

test.run();
