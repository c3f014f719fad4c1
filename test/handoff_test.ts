/**
 * Handoff: hints over a real store on a simulated disk, and a target that answers as it is told.
 */
import * as fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { SimDisk } from "../sim/disk.ts";
import { SimRandom } from "../sim/random.ts";
import { fromHex, utf8Bytes } from "../src/bytes.ts";
import { type Report, silentReport } from "../src/capability.ts";
import { Handoff, type HandoffLimits, type Hint, type HintReply } from "../src/handoff.ts";
import { type Hlc, hlcAt } from "../src/hlc.ts";
import type { StoredRecord } from "../src/record.ts";
import { Ring } from "../src/ring.ts";
import { Store } from "../src/store.ts";
import { ownNamespaces } from "../src/store_own.ts";
import type { TableChange } from "../src/table.ts";
import { MemoryTableDisk } from "../src/table_memory.ts";

const test = suite("handoff");

const storeId = "11".repeat(16);
const clusterId = "22".repeat(16);
const away = "aa".repeat(16);
const other = "bb".repeat(16);
const limits: HandoffLimits = {
  bytesMax: 1024 * 1024,
  ageMaxMs: 3_600_000,
  bytesPerSecond: 1024 * 1024 * 1024,
};

/** A target: what it took, in order, and what it says. */
class Target {
  readonly took: Hint[] = [];
  readonly marks: number[] = [];
  readonly up = new Set<string>();
  answer: (hint: Hint) => Promise<HintReply> = async () => "done";

  isUp = (id: string): boolean => this.up.has(id);
  /** Whether the disk has room for a mark. */
  hasRoom = true;
  mark = async (partition: number): Promise<boolean> => {
    if (this.hasRoom) this.marks.push(partition);
    return this.hasRoom;
  };
  deliver = async (hint: Hint): Promise<HintReply> => {
    const reply = await this.answer(hint);
    if (reply === "done") this.took.push(hint);
    return reply;
  };
}

const allKeys = { prefix: new Uint8Array(0), reverse: false, limit: 100 };

interface World {
  readonly clock: SimClock;
  readonly disk: SimDisk;
  readonly table: MemoryTableDisk;
}

const newWorld = (): World => ({
  clock: new SimClock(),
  disk: new SimDisk(),
  table: new MemoryTableDisk({}),
});

async function openStore({ clock, disk, table }: World): Promise<Store> {
  return Store.open({
    clock,
    random: new SimRandom(1),
    disk,
    report: silentReport,
    table: await table.open(),
    ring: new Ring(clusterId, 4),
    settings: { segmentBytes: 64 * 1024, memtableBytesMax: 8 * 1024, scrubBytesPerSecond: 0 },
    owner: {
      storeId,
      clusterId,
      storeIdBytes: fromHex(storeId) as Uint8Array,
      origin: 7n,
      sequence: 0,
      needsLog: false,
      renewOrigin: async () => 8n,
      trusted: async () => {},
    },
  });
}

function openHandoff(
  world: World,
  store: Store,
  port: Target,
  change: Partial<HandoffLimits> = {},
  report: Report = silentReport,
) {
  const { clock } = world;
  return Handoff.open({
    clock,
    report,
    store,
    port,
    limits: { ...limits, ...change },
  });
}

function hintOf(key: string, stamp = 1, change: Partial<Hint> = {}): Hint {
  const record: StoredRecord = {
    version: { hlc: (hlcAt(1_700_000_000_000) + BigInt(stamp)) as Hlc, origin: 9n },
    tombstone: false,
    contentType: "text/plain",
    meta: [["a", "b"]],
    value: utf8Bytes(`${key}#${stamp}`),
  };
  const about = { storeId: away, partition: 3, n: 3, namespaceNumber: 5 };
  return { ...about, key: utf8Bytes(key), record, ...change };
}

const shown = (hint: Hint): string =>
  `${new TextDecoder().decode(hint.key)} ${hint.record.version.hlc}`;

test("a hint is delivered as it was given, and goes when its target has taken it", async () => {
  const world = newWorld();
  const store = await openStore(world);
  const target = new Target();
  const handoff = openHandoff(world, store, target);
  const tombstone = { ...hintOf("b").record, tombstone: true, value: new Uint8Array(0) };
  const hints = [hintOf("a"), hintOf("b", 2, { record: tombstone })];
  for (const hint of hints) assert.is(await handoff.keep(hint), "kept");
  assert.is(handoff.status()[0]?.count, 2);
  target.up.add(away);
  handoff.wake(away);
  await world.clock.advance(500);
  const byKey = [...target.took].sort((a, b) => (shown(a) < shown(b) ? -1 : 1));
  assert.equal(byKey, hints);
  assert.equal(handoff.status(), []);
  assert.is(store.tally().keys, 0);
  await handoff.close();
  await store.close();
});

test("a hint of another store, or for one that is down, stays", async () => {
  const world = newWorld();
  const store = await openStore(world);
  const target = new Target();
  const handoff = openHandoff(world, store, target);
  await handoff.keep(hintOf("a"));
  await handoff.keep(hintOf("a", 1, { storeId: other }));
  target.up.add(other);
  await world.clock.advance(5000);
  assert.equal(
    target.took.map((hint) => hint.storeId),
    [other],
  );
  assert.equal(
    handoff.status().map((status) => status.storeId),
    [away],
  );
  await handoff.close();
  await store.close();
});

test("a newer write of a key takes the place of the hint before it", async () => {
  const world = newWorld();
  const store = await openStore(world);
  const target = new Target();
  const handoff = openHandoff(world, store, target);
  for (const stamp of [1, 3, 2]) await handoff.keep(hintOf("a", stamp));
  assert.is(handoff.status()[0]?.count, 1);
  target.up.add(away);
  await world.clock.advance(2000);
  assert.equal(target.took.map(shown), [shown(hintOf("a", 3))]);
  await handoff.close();
  await store.close();
});

test("hint-survives-coordinator-crash", async () => {
  const world = newWorld();
  const first = await openStore(world);
  const before = openHandoff(world, first, new Target());
  for (let index = 0; index < 50; index += 1) await before.keep(hintOf(`k${index}`));
  world.table.crash({ keep: "flushed" });
  const after: World = { ...world, disk: world.disk.crash("durable") };
  const store = await openStore(after);
  const target = new Target();
  const handoff = openHandoff(after, store, target);
  assert.is(handoff.status()[0]?.count, 50);
  target.up.add(away);
  await after.clock.advance(5000);
  assert.is(target.took.length, 50);
  assert.equal(handoff.status(), []);
  await handoff.close();
  await store.close();
});

test("hint-replay-error-loses-no-hint", async () => {
  const world = newWorld();
  const store = await openStore(world);
  const target = new Target();
  const handoff = openHandoff(world, store, target);
  for (let index = 0; index < 40; index += 1) await handoff.keep(hintOf(`k${index}`));
  let calls = 0;
  target.answer = async () => {
    calls += 1;
    if (calls === 17) throw new Error("the connection is cut");
    return calls % 2 === 0 ? "later" : "done";
  };
  target.up.add(away);
  await world.clock.advance(1500);
  const kept = handoff.status()[0]?.count ?? 0;
  assert.ok(kept > 0, "those that were answered later, and those of the failed piece");
  target.answer = async () => "done";
  await world.clock.advance(120_000);
  assert.equal(handoff.status(), []);
  assert.is(new Set(target.took.map(shown)).size, 40);
  await handoff.close();
  await store.close();
});

test("hint-limit-marks-range-for-repair", async () => {
  const world = newWorld();
  const store = await openStore(world);
  const target = new Target();
  const handoff = openHandoff(world, store, target, { bytesMax: 1000 });
  const fates: string[] = [];
  for (let index = 0; index < 10; index += 1) {
    fates.push(await handoff.keep(hintOf(`k${index}`, 1, { partition: index })));
  }
  const kept = fates.filter((fate) => fate === "kept").length;
  assert.ok(kept > 0 && kept < 10);
  assert.equal(target.marks, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].slice(kept));
  assert.ok((handoff.status()[0]?.bytes ?? 0) <= 1000);
  await handoff.close();
  await store.close();
});

/** A store that has room again a moment later, and then for all that wait. */
function whoseWritesWait(store: Store): Store {
  const write: Store["write"] = async (change) => {
    await Promise.resolve();
    return store.write(change);
  };
  return new Proxy(store, {
    get: (of, name) => {
      if (name === "write") return write;
      const value: unknown = Reflect.get(of, name, of);
      return typeof value === "function" ? value.bind(of) : value;
    },
  });
}

test("the bound holds for hints too that wait for room in the store at the same time", async () => {
  const world = newWorld();
  const store = await openStore(world);
  const handoff = openHandoff(world, whoseWritesWait(store), new Target(), { bytesMax: 1000 });
  const fates = await Promise.all(
    Array.from({ length: 10 }, (_, index) => handoff.keep(hintOf(`k${index}`))),
  );
  const kept = fates.filter((fate) => fate === "kept").length;
  assert.ok(kept > 0 && kept < 10, `${kept}`);
  assert.ok((handoff.status()[0]?.bytes ?? 0) <= 1000);
  assert.is(handoff.status()[0]?.count, kept);
  await handoff.close();
  await store.close();
});

test("the bound holds where hints that wait are larger than those that they take the place of", async () => {
  const world = newWorld();
  const store = await openStore(world);
  const target = new Target();
  const handoff = openHandoff(world, whoseWritesWait(store), target, { bytesMax: 2000 });
  const keys = ["a", "b", "c", "d"];
  for (const key of keys) assert.is(await handoff.keep(hintOf(key)), "kept");
  const larger = keys.map((key) => {
    const hint = hintOf(key, 2);
    return { ...hint, record: { ...hint.record, value: new Uint8Array(500) } };
  });
  const fates = await Promise.all(larger.map((hint) => handoff.keep(hint)));
  assert.ok(fates.includes("kept") && fates.includes("dropped"), `${fates}`);
  assert.ok((handoff.status()[0]?.bytes ?? 0) <= 2000);
  assert.is(target.marks.length, fates.filter((fate) => fate === "dropped").length);
  await handoff.close();
  await store.close();
});

test("a hint that takes the place of one as large is kept, however near the bound is", async () => {
  const world = newWorld();
  const store = await openStore(world);
  const target = new Target();
  const handoff = openHandoff(world, store, target, { bytesMax: 300 });
  for (const stamp of [1, 2, 3]) assert.is(await handoff.keep(hintOf("a", stamp)), "kept");
  assert.is(await handoff.keep(hintOf("b")), "dropped");
  target.up.add(away);
  await world.clock.advance(2000);
  assert.equal(target.took.map(shown), [shown(hintOf("a", 3))]);
  await handoff.close();
  await store.close();
});

test("a hint past its age is dropped, its partition is marked, and its target need not be up", async () => {
  const world = newWorld();
  const store = await openStore(world);
  const target = new Target();
  const handoff = openHandoff(world, store, target, { ageMaxMs: 60_000 });
  await handoff.keep(hintOf("a"));
  await world.clock.advance(59_000);
  assert.is(handoff.status()[0]?.count, 1);
  await world.clock.advance(5000);
  assert.equal(handoff.status(), []);
  assert.equal([target.marks, target.took], [[3], []]);
  await handoff.close();
  await store.close();
});

test("H2: a hint past its age stays while the disk has no room for the mark of it", async () => {
  const world = newWorld();
  const store = await openStore(world);
  const target = new Target();
  target.hasRoom = false;
  const handoff = openHandoff(world, store, target, { ageMaxMs: 60_000 });
  await handoff.keep(hintOf("a"));
  await world.clock.advance(70_000);
  assert.is(handoff.status()[0]?.count, 1);
  target.hasRoom = true;
  await world.clock.advance(20_000);
  assert.equal([handoff.status(), target.marks], [[], [3]]);
  await handoff.close();
  await store.close();
});

test("a hint past its age that has to stay leaves the others to be tried less and less often", async () => {
  const world = newWorld();
  const store = await openStore(world);
  const target = new Target();
  target.up.add(away);
  target.hasRoom = false;
  let tries = 0;
  target.answer = async () => {
    tries += 1;
    return "away";
  };
  let marks = 0;
  const { mark } = target;
  target.mark = (partition) => {
    marks += 1;
    return mark(partition);
  };
  const handoff = openHandoff(world, store, target, { ageMaxMs: 60_000 });
  await handoff.keep(hintOf("old"));
  await world.clock.advance(59_500);
  const now = BigInt(hlcAt(world.clock.nowMs()) - hlcAt(1_700_000_000_000));
  await handoff.keep(hintOf("new", Number(now)));
  tries = 0;
  await world.clock.advance(31_500);
  assert.ok(tries <= 2, `the next tries are up to a minute apart: ${tries}`);
  assert.is(marks, 5, "after 1, 2, 4, 8 and 16 seconds");
  target.hasRoom = true;
  target.answer = async () => "done";
  handoff.wake(away);
  await world.clock.advance(1000);
  assert.equal([handoff.status(), target.marks.length, target.took.length], [[], 1, 1]);
  await handoff.close();
  await store.close();
});

test("what is written for a key while its hint is delivered is not lost with it", async () => {
  const world = newWorld();
  const store = await openStore(world);
  const target = new Target();
  const handoff = openHandoff(world, store, target);
  await handoff.keep(hintOf("a", 1));
  let isSecondKept = false;
  target.answer = async () => {
    if (!isSecondKept) {
      isSecondKept = true;
      await handoff.keep(hintOf("a", 2));
    }
    return "done";
  };
  target.up.add(away);
  await world.clock.advance(10_000);
  assert.equal(target.took.map(shown), [shown(hintOf("a", 1)), shown(hintOf("a", 2))]);
  assert.equal(handoff.status(), []);
  await handoff.close();
  await store.close();
});

test("two writes of a key that are kept at once are one hint, and none is left when it is delivered", async () => {
  const world = newWorld();
  const store = await openStore(world);
  const target = new Target();
  const handoff = openHandoff(world, store, target);
  await Promise.all([handoff.keep(hintOf("a", 1)), handoff.keep(hintOf("a", 22))]);
  const alone = openHandoff(world, store, new Target());
  assert.equal(handoff.status(), alone.status());
  await alone.close();
  target.up.add(away);
  await world.clock.advance(10_000);
  assert.equal(target.took.map(shown), [shown(hintOf("a", 22))]);
  assert.equal(handoff.status(), []);
  await handoff.close();
  await store.close();
});

test("a write that is kept while the hint before it is forgotten is counted, and delivered", async () => {
  const world = newWorld();
  const store = await openStore(world);
  const target = new Target();
  let isSecondKept = false;
  const handoff = Handoff.open({
    clock: world.clock,
    report: silentReport,
    store: {
      partitions: store.partitions,
      write: (write) => store.write(write),
      head: (namespaceNumber, key) => store.head(namespaceNumber, key),
      scan: (partition, namespaceNumber, piece) => store.scan(partition, namespaceNumber, piece),
      forget: async (items) => {
        const forgotten = store.forget(items);
        if (!isSecondKept) {
          isSecondKept = true;
          await handoff.keep(hintOf("a", 2));
        }
        return forgotten;
      },
    },
    port: target,
    limits,
  });
  await handoff.keep(hintOf("a", 1));
  target.up.add(away);
  await world.clock.advance(10_000);
  assert.equal(target.took.map(shown), [shown(hintOf("a", 1)), shown(hintOf("a", 2))]);
  assert.equal(handoff.status(), []);
  await handoff.close();
  await store.close();
});

test("delivery keeps to its rate", async () => {
  const world = newWorld();
  const store = await openStore(world);
  const target = new Target();
  const handoff = openHandoff(world, store, target, { bytesPerSecond: 10_000 });
  for (let index = 0; index < 400; index += 1) await handoff.keep(hintOf(`k${index}`));
  const { bytes } = handoff.status()[0] ?? { bytes: 0 };
  target.up.add(away);
  handoff.wake(away);
  await world.clock.advance(2000);
  assert.ok(target.took.length > 0 && target.took.length < 400);
  await world.clock.advance((bytes / 10_000) * 1000);
  assert.is(target.took.length, 400);
  await handoff.close();
  await store.close();
});

test("a close does not wait until a rate allows the next one, and what was not delivered is kept", async () => {
  const world = newWorld();
  const store = await openStore(world);
  const target = new Target();
  const handoff = openHandoff(world, store, target, { bytesPerSecond: 1 });
  for (let index = 0; index < 100; index += 1) await handoff.keep(hintOf(`k${index}`));
  target.up.add(away);
  handoff.wake(away);
  await world.clock.advance(5000);
  const delivered = target.took.length;
  assert.ok(delivered > 0 && delivered < 100);
  let isClosed = false;
  const closing = handoff.close().then(() => {
    isClosed = true;
  });
  for (let step = 0; step < 20 && !isClosed; step += 1) await world.clock.advance(50);
  assert.ok(isClosed, "a rate of a byte a second is no reason to stay");
  await closing;
  assert.is(target.took.length, delivered);
  assert.is(handoff.status()[0]?.count, 100 - delivered);
  await store.close();
});

test("whatever is kept, restarted and answered, every last hint of a key is delivered", async () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant("keep" as const), key: fc.integer({ min: 0, max: 5 }) }),
    fc.record({
      kind: fc.constantFrom("crash" as const, "deliver" as const, "fail" as const),
      key: fc.constant(0),
    }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
      let world = newWorld();
      let store = await openStore(world);
      const target = new Target();
      let handoff = openHandoff(world, store, target);
      const last = new Map<string, Hint>();
      for (const [index, { kind, key }] of steps.entries()) {
        if (kind === "keep") {
          const hint = hintOf(`k${key}`, index + 1);
          await handoff.keep(hint);
          last.set(`k${key}`, hint);
        } else if (kind === "crash") {
          world.table.crash({ keep: "flushed" });
          world = { ...world, disk: world.disk.crash("durable") };
          store = await openStore(world);
          handoff = openHandoff(world, store, target);
        } else {
          target.answer = async () => {
            if (kind === "fail") throw new Error("cut");
            return "done";
          };
          target.up.add(away);
          await world.clock.advance(1100);
          target.up.delete(away);
        }
      }
      target.answer = async () => "done";
      target.up.add(away);
      await world.clock.advance(200_000);
      assert.equal(handoff.status(), []);
      const took = new Set(target.took.map(shown));
      for (const hint of last.values()) assert.ok(took.has(shown(hint)), shown(hint));
      await handoff.close();
      await store.close();
    }),
    { numRuns: 25 },
  );
});

test("hints of one key that are kept at the same time count as the one that stays", async () => {
  const world = newWorld();
  const store = await openStore(world);
  const target = new Target();
  const handoff = openHandoff(world, store, target);
  const keeping = [1, 2, 3].map((stamp) => handoff.keep(hintOf("k", stamp)));
  await Promise.all(keeping);
  assert.equal(
    handoff.status().map(({ count }) => count),
    [1],
  );
  target.up.add(away);
  // One more comes in while the last is being delivered.
  target.answer = async () => {
    target.answer = async () => "done";
    await handoff.keep(hintOf("k", 4));
    return "done";
  };
  handoff.wake(away);
  await world.clock.advance(5000);
  assert.equal(handoff.status(), []);
  assert.equal(target.took.map(shown).at(-1), shown(hintOf("k", 4)));
  await handoff.close();
  await store.close();
});

test("before its node goes, what targets take is delivered at once, and what they do not take stays", async () => {
  const world = newWorld();
  const store = await openStore(world);
  const target = new Target();
  const handoff = openHandoff(world, store, target);
  for (let index = 0; index < 40; index += 1) {
    await handoff.keep(hintOf(`k${index}`, index + 1));
    await handoff.keep({ ...hintOf(`k${index}`, index + 1), storeId: other });
  }
  target.up.add(away);
  target.up.add(other);
  target.answer = async (hint) => (hint.storeId === other ? "later" : "done");
  // The clock stands still: nothing waits for a tick.
  await handoff.deliverNow(5000);
  assert.is(target.took.length, 40);
  assert.equal(
    handoff.status().map(({ storeId: id, count }) => [id, count]),
    [[other, 40]],
  );
  await handoff.close();
  await store.close();
});

test("before its node goes, what is kept is delivered also where the walk under way delivers nothing", async () => {
  const world = newWorld();
  const store = await openStore(world);
  const target = new Target();
  target.up.add(away);
  target.answer = async () => "away";
  const handoff = openHandoff(world, store, target, { ageMaxMs: 60_000 });
  await handoff.keep(hintOf("old"));
  await world.clock.advance(50_000);
  const now = BigInt(hlcAt(world.clock.nowMs()) - hlcAt(1_700_000_000_000));
  await handoff.keep(hintOf("new", Number(now)));
  const marks: ((isKept: boolean) => void)[] = [];
  target.mark = () =>
    marks.length > 0
      ? Promise.resolve(false)
      : new Promise((resolve) => {
          marks.push(resolve);
        });
  // The walk of what is too old begins, and waits for the disk.
  await world.clock.advance(12_000);
  target.answer = async () => "done";
  const ending = handoff.deliverNow(5000);
  marks[0]?.(false);
  // The clock stands still: nothing waits for a tick.
  await ending;
  assert.equal(target.took.map(shown), [shown(hintOf("new", Number(now)))]);
  await handoff.close();
  await store.close();
});

test("a target that does not answer holds up the end of its node for so long, and no longer", async () => {
  const world = newWorld();
  const store = await openStore(world);
  const target = new Target();
  const handoff = openHandoff(world, store, target);
  await handoff.keep(hintOf("k", 1));
  target.up.add(away);
  let answer: (reply: HintReply) => void = () => {};
  target.answer = () =>
    new Promise((resolve) => {
      answer = resolve;
    });
  let isOver = false;
  const going = handoff.deliverNow(5000).then(() => {
    isOver = true;
  });
  await world.clock.advance(4900);
  assert.is(isOver, false);
  await world.clock.advance(200);
  await going;
  answer("later");
  await handoff.close();
  await store.close();
});

test("one that cannot be reached holds up no other hint, and is tried less and less often", async () => {
  const world = newWorld();
  const store = await openStore(world);
  const target = new Target();
  let tries = 0;
  target.answer = async ({ key }) => {
    if (new TextDecoder().decode(key) !== "held up") return "done";
    tries += 1;
    return tries > 5 ? "done" : "away";
  };
  const handoff = openHandoff(world, store, target);
  for (const key of ["a", "held up", "z"]) await handoff.keep(hintOf(key));
  target.up.add(away);
  await world.clock.advance(1500);
  assert.is(handoff.status()[0]?.count, 1);
  await world.clock.advance(8000);
  assert.is(tries, 4, "after 1, 2 and 4 seconds");
  handoff.wake(away);
  handoff.wake(away);
  await world.clock.advance(60_000);
  assert.equal(handoff.status(), []);
  await handoff.close();
  await store.close();
});

test("H1: a hint whose key is damaged goes, and holds up no other", async () => {
  const world = newWorld();
  const first = await openStore(world);
  const keeper = openHandoff(world, first, new Target());
  for (const key of ["a", "b", "c", "d"]) await keeper.keep(hintOf(key));
  await keeper.close();
  await first.close();
  let at = 0;
  world.table.damage((entries) =>
    entries
      .filter(({ key }) => key[0] !== 0xff)
      .flatMap(({ key, value }): TableChange[] => {
        at += 1;
        if (at > 3) return [];
        const changed = at === 1 ? key.slice() : key.slice(0, at === 2 ? 6 + 17 : 6 + 4);
        // The partition that it is about; the others are cut in the middle of it.
        if (at === 1) changed[6 + 16] = 0x7f;
        return [
          { key, value: undefined },
          { key: changed, value },
        ];
      }),
  );
  const store = await openStore(world);
  const target = new Target();
  target.up.add(away);
  const handoff = openHandoff(world, store, target);
  await world.clock.advance(5000);
  assert.is(target.took.length, 1);
  assert.equal(
    handoff.status().map(({ count }) => count),
    handoff.status().map(() => 0),
  );
  await handoff.close();
  await store.close();
});

test("H1: a hint whose damaged key tells nobody is removed, counted and told of", async () => {
  const world = newWorld();
  const first = await openStore(world);
  const keeper = openHandoff(world, first, new Target());
  for (const key of ["a", "b", "c", "d"]) await keeper.keep(hintOf(key));
  await keeper.close();
  await first.close();
  // The first byte, all but one of the store's id, and all but one of what a mark is made of; one is whole.
  const lengths = [1, 15, 18];
  world.table.damage((entries) =>
    entries
      .filter(({ key }) => key[0] !== 0xff)
      .flatMap(({ key, value }): TableChange[] => {
        const length = lengths.shift();
        if (length === undefined) return [];
        return [
          { key, value: undefined },
          { key: key.slice(0, 6 + length), value },
        ];
      }),
  );
  const store = await openStore(world);
  const counted: string[] = [];
  const told: string[] = [];
  const report: Report = {
    ...silentReport,
    count: (name) => void counted.push(name),
    log: (_, message) => void told.push(message),
  };
  const target = new Target();
  const handoff = openHandoff(world, store, target, {}, report);
  await world.clock.advance(2000);
  const left = [0, 1, 2, 3].flatMap(
    (partition) => store.scan(partition, ownNamespaces.hints, allKeys).items,
  );
  assert.is(left.length, 1);
  assert.equal(counted, new Array(3).fill("hints_dropped"));
  assert.is(told.filter((message) => /damaged key/.test(message)).length, 3);
  target.up.add(away);
  await world.clock.advance(2000);
  assert.equal([handoff.status(), target.took.length, target.marks], [[], 1, []]);
  await handoff.close();
  await store.close();
});

test("H1: one that its target never answers in time holds up no other hint", async () => {
  const world = newWorld();
  const store = await openStore(world);
  const target = new Target();
  const keys = Array.from({ length: 600 }, (_, index) => `k${1000 + index}`);
  const slow = keys[3] as string;
  target.answer = async ({ key }) => {
    if (new TextDecoder().decode(key) === slow) return "away";
    return "done";
  };
  const handoff = openHandoff(world, store, target);
  for (const key of keys) await handoff.keep(hintOf(key));
  target.up.add(away);
  await world.clock.advance(3000);
  assert.is(handoff.status()[0]?.count, 1);
  assert.is(target.took.length, keys.length - 1);
  await handoff.close();
  await store.close();
});

test("a target that is found to be gone is not asked for the rest of what is kept for it", async () => {
  const world = newWorld();
  const store = await openStore(world);
  const target = new Target();
  let asked = 0;
  target.answer = async () => {
    asked += 1;
    target.up.delete(away);
    return "away";
  };
  const handoff = openHandoff(world, store, target);
  for (let index = 0; index < 100; index += 1) await handoff.keep(hintOf(`k${index}`));
  target.up.add(away);
  await world.clock.advance(1500);
  assert.ok(asked <= 32);
  assert.is(handoff.status()[0]?.count, 100);
  await handoff.close();
  await store.close();
});

test.run();
