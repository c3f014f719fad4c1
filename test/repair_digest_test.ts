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

  override async take(range: Range, records: readonly KeyRecord[]): Promise<void> {
    await this.#note(`take ${records.length}`);
    return super.take(range, records);
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
