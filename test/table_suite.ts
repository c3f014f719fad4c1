/**
 * What every table does: the same tests for LMDB and for the table in memory.
 *
 * A `TableHome` is a place that outlives the tables opened on it, so that closing and opening again
 * can be tested without knowing what lies below.
 */

import * as fc from "fast-check";
import type { Test } from "uvu";
import * as assert from "uvu/assert";
import { compare, equal, utf8Bytes } from "../src/bytes.ts";
import type { Table, TableChange, TableEntry, TableRange } from "../src/table.ts";

export interface TableHome {
  open(): Promise<Table>;
  /** Removes everything. */
  remove(): Promise<void>;
}

const keyBytesMax = 1_978;
/** A commit of this size spans many pages and, in LMDB, overflow pages. */
const largeValueBytes = 1_048_576;

export function key(text: string): Uint8Array {
  return utf8Bytes(text);
}

/** Everything in a table. */
export function allOf(table: Table): TableEntry[] {
  return table.range({ ...whole, limit: 1_000_000, bytesMax: Number.MAX_SAFE_INTEGER });
}

const whole = { start: new Uint8Array(0), end: new Uint8Array(keyBytesMax).fill(0xff) };

function put(name: string, value: string): TableChange {
  return { key: key(name), value: utf8Bytes(value) };
}

function shown(entries: readonly TableEntry[]): string[] {
  return entries.map((entry) => `${textOf(entry.key)}=${textOf(entry.value)}`);
}

function textOf(bytes: Uint8Array | undefined): string | undefined {
  return bytes === undefined ? undefined : new TextDecoder().decode(bytes);
}

function names(table: Table, range: Partial<TableRange>): string[] {
  const entries = table.range({ ...whole, limit: 1_000, bytesMax: 1_000_000, ...range });
  return entries.map((entry) => textOf(entry.key) as string);
}

/** Runs `use` on a new table, and removes it. */
export async function withTable(
  makeHome: () => Promise<TableHome>,
  use: (table: Table, home: TableHome) => Promise<void>,
): Promise<void> {
  const home = await makeHome();
  const table = await home.open();
  try {
    await use(table, home);
  } finally {
    await table.close();
    await home.remove();
  }
}

/** Adds the tests to a suite of uvu; `name` is how the table is called in their names. */
export function addTableTests(test: Test, name: string, makeHome: () => Promise<TableHome>): void {
  const on = (claim: string, use: (table: Table, home: TableHome) => Promise<void>): void => {
    test(`${name} ${claim}`, () => withTable(makeHome, use));
  };
  addReadTests(on);
  addCommitTests(on);
  addRangeTests(on);
  test(`${name} does what a sorted map does, whatever the commands`, () =>
    behavesLikeMap(makeHome));
}

type On = (claim: string, use: (table: Table, home: TableHome) => Promise<void>) => void;

function addReadTests(on: On): void {
  on("has nothing at first", async (table) => {
    assert.is(table.get(key("a")), undefined);
    assert.equal(allOf(table), []);
  });
  on("gives what was committed, byte for byte, empty values too", async (table) => {
    const every = Uint8Array.from({ length: 256 }, (_, byte) => byte);
    await table.commit([
      { key: every, value: every },
      { key: key("empty"), value: new Uint8Array(0) },
    ]);
    assert.equal([...(table.get(every) ?? [])], [...every]);
    assert.is(table.get(key("empty"))?.length, 0);
    assert.is(table.get(key("absent")), undefined);
  });
  on("gives a plain view that covers the value and nothing else", async (table) => {
    await table.commit([
      put("a", "12345"),
      { key: key("b"), value: new Uint8Array(40_000).fill(7) },
    ]);
    for (const name of ["a", "b"]) {
      const view = table.get(key(name)) as Uint8Array;
      assert.is(view.byteLength, view.length);
      assert.is(Object.getPrototypeOf(view), Uint8Array.prototype);
      assert.equal(view.slice(), new Uint8Array(view));
    }
  });
  on("does not keep the buffers that were committed", async (table) => {
    const name = key("a");
    const value = utf8Bytes("before");
    const committed = table.commit([{ key: name, value }]);
    await committed;
    name.fill(0);
    value.fill(0);
    assert.equal(shown(allOf(table)), ["a=before"]);
  });
  on(
    "gives a range's entries to the receiver: later calls and commits leave them",
    async (table) => {
      await table.commit([put("a", "1"), { key: key("b"), value: new Uint8Array(50_000).fill(1) }]);
      const [small, large] = allOf(table) as [TableEntry, TableEntry];
      for (let round = 0; round < 5; round += 1) {
        await table.commit([put("a", "x".repeat(50)), put("b", "y".repeat(50_000))]);
        table.get(key("a"));
        allOf(table);
      }
      assert.is(textOf(small.value), "1");
      assert.ok(large.value.every((byte) => byte === 1));
    },
  );
}

function addCommitTests(on: On): void {
  on("applies all changes of a commit in their order", async (table) => {
    await table.commit([
      put("a", "1"),
      put("b", "1"),
      put("a", "2"),
      { key: key("b"), value: undefined },
    ]);
    assert.equal(shown(allOf(table)), ["a=2"]);
    await table.commit([
      { key: key("a"), value: undefined },
      { key: key("never"), value: undefined },
    ]);
    assert.equal(shown(allOf(table)), []);
  });
  on("takes an empty commit", async (table) => {
    await table.commit([]);
    await table.flushed();
    assert.equal(allOf(table), []);
  });
  on("shows a commit as a whole or not at all while it is under way", async (table) => {
    for (let round = 1; round <= 20; round += 1) {
      let isDone = false;
      const value = String(round);
      const changes = Array.from({ length: 200 }, (_, at) => put(`k${at}`, value));
      const committed = table.commit(changes).then(() => {
        isDone = true;
      });
      while (!isDone) {
        const seen = new Set(allOf(table).map((entry) => textOf(entry.value)));
        assert.ok(seen.size <= 1, `round ${round}: ${[...seen].join(" and ")}`);
        await Promise.race([committed, new Promise((turn) => setImmediate(turn))]);
      }
      assert.is(textOf(table.get(key("k199"))), value);
    }
  });
  on("refuses a second commit while one is under way, and completes the first", async (table) => {
    const first = table.commit([put("a", "1")]);
    await rejects(table.commit([put("b", "1")]), /one commit at a time/);
    await first;
    assert.equal(shown(allOf(table)), ["a=1"]);
  });
  on("takes keys of 1 and 1,978 bytes, and none of 0 and 1,979", async (table) => {
    const longest = new Uint8Array(keyBytesMax).fill(0xff);
    await table.commit([
      { key: Uint8Array.of(0), value: Uint8Array.of(1) },
      { key: longest, value: Uint8Array.of(2) },
    ]);
    assert.is(table.get(Uint8Array.of(0))?.[0], 1);
    assert.is(table.get(longest)?.[0], 2);
    for (const bytes of [0, keyBytesMax + 1]) {
      const wrong = { key: new Uint8Array(bytes), value: Uint8Array.of(3) };
      await rejects(table.commit([put("with", "it"), wrong]), /1 to 1978 bytes/);
      assert.throws(() => table.get(wrong.key), /1 to 1978 bytes/);
    }
    assert.is(table.get(key("with")), undefined, "nothing of a refused commit is there");
  });
  on("keeps large values, and everything when it is opened again", async (table, home) => {
    const value = Uint8Array.from({ length: largeValueBytes }, (_, at) => (at * 31) % 251);
    await table.commit([{ key: key("large"), value }, put("small", "1")]);
    await table.flushed();
    await table.close();
    const again = await home.open();
    try {
      assert.ok(equal(again.get(key("large")) as Uint8Array, value));
      assert.is(textOf(again.get(key("small"))), "1");
      assert.ok(again.fileBytes() >= largeValueBytes);
    } finally {
      await again.close();
    }
  });
  on("closes twice, and refuses commits after that", async (table) => {
    await table.commit([put("a", "1")]);
    await table.close();
    await table.close();
    await rejects(table.commit([put("b", "1")]), /open/);
  });
}

function addRangeTests(on: On): void {
  const filled = (claim: string, use: (table: Table) => void): void => {
    on(claim, async (table) => {
      await table.commit(["b", "a", "c", "ab", "d"].map((name) => put(name, name)));
      use(table);
    });
  };
  filled("lists in bytewise order, start inclusive, end exclusive", (table) => {
    assert.equal(names(table, {}), ["a", "ab", "b", "c", "d"]);
    assert.equal(names(table, { start: key("ab"), end: key("c") }), ["ab", "b"]);
    assert.equal(names(table, { start: key("aa"), end: key("cc") }), ["ab", "b", "c"]);
  });
  filled("lists downwards over the same range", (table) => {
    assert.equal(names(table, { reverse: true }), ["d", "c", "b", "ab", "a"]);
    assert.equal(names(table, { start: key("ab"), end: key("c"), reverse: true }), ["b", "ab"]);
    assert.equal(names(table, { start: key("aa"), end: key("cc"), reverse: true }), [
      "c",
      "b",
      "ab",
    ]);
  });
  filled("lists nothing where the range is empty or backwards", (table) => {
    for (const reverse of [false, true]) {
      assert.equal(names(table, { start: key("b"), end: key("b"), reverse }), []);
      assert.equal(names(table, { start: key("c"), end: key("a"), reverse }), []);
      assert.equal(names(table, { start: key("x"), end: key("z"), reverse }), []);
      assert.equal(names(table, { limit: 0, reverse }), []);
    }
  });
  filled("ends a range at its limit", (table) => {
    assert.equal(names(table, { limit: 2 }), ["a", "ab"]);
    assert.equal(names(table, { limit: 2, reverse: true }), ["d", "c"]);
  });
  filled("ends a range after the entry that reaches its bytes", (table) => {
    assert.equal(names(table, { bytesMax: 1 }), ["a"]);
    assert.equal(names(table, { bytesMax: 3 }), ["a", "ab"]);
    assert.equal(names(table, { bytesMax: 6 }), ["a", "ab"]);
    assert.equal(names(table, { bytesMax: 7 }), ["a", "ab", "b"]);
  });
  on(
    "orders bytes above 0x7f after those below, and a prefix before what it begins",
    async (table) => {
      const keys = [[0], [0, 0], [0x7f], [0x7f, 0xff], [0x80], [0xff], [0xff, 0]].map((bytes) =>
        Uint8Array.from(bytes),
      );
      await table.commit([...keys].reverse().map((name) => ({ key: name, value: name })));
      assert.equal(
        allOf(table).map((entry) => [...entry.key]),
        keys.map((name) => [...name]),
      );
    },
  );
}

/** What one command of the differential test does. */
export type TableCommand =
  | { readonly kind: "commit"; readonly changes: readonly TableChange[] }
  | { readonly kind: "range"; readonly range: TableRange }
  | { readonly kind: "get"; readonly key: Uint8Array }
  | { readonly kind: "reopen" };

// Few keys, so that commands meet; long ones and large values, so that pages split and join.
const anyKey = fc.oneof(
  { weight: 8, arbitrary: fc.uint8Array({ minLength: 1, maxLength: 2, max: 3 }) },
  { weight: 1, arbitrary: fc.uint8Array({ minLength: 1, maxLength: 40 }) },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.integer({ min: 1_000, max: keyBytesMax }), fc.nat({ max: 255 }))
      .map(([bytes, byte]) => new Uint8Array(bytes).fill(byte)),
  },
);
const anyValue = fc.oneof(
  { weight: 6, arbitrary: fc.uint8Array({ maxLength: 20 }) },
  {
    weight: 2,
    arbitrary: fc
      .tuple(fc.integer({ min: 500, max: 20_000 }), fc.nat({ max: 255 }))
      .map(([bytes, byte]) => new Uint8Array(bytes).fill(byte)),
  },
);
const anyChange = fc.record({
  key: anyKey,
  value: fc.option(anyValue, { nil: undefined, freq: 4 }),
});
const anyRange = fc.record({
  start: fc.oneof(anyKey, fc.constant(new Uint8Array(0))),
  end: anyKey,
  reverse: fc.boolean(),
  limit: fc.integer({ min: 0, max: 12 }),
  bytesMax: fc.integer({ min: 1, max: 30_000 }),
});

export const anyCommand: fc.Arbitrary<TableCommand> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant("commit" as const),
      changes: fc.array(anyChange, { maxLength: 12 }),
    }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("range" as const), range: anyRange }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("get" as const), key: anyKey }) },
  { weight: 1, arbitrary: fc.constant({ kind: "reopen" as const }) },
);

/** The simplest thing that a table could be: an array that is searched and sorted. */
class Model {
  entries: TableEntry[] = [];

  commit(changes: readonly TableChange[]): void {
    for (const { key: name, value } of changes) {
      this.entries = this.entries.filter((entry) => !equal(entry.key, name));
      if (value !== undefined) this.entries.push({ key: name, value });
    }
    this.entries.sort((a, b) => compare(a.key, b.key));
  }

  get(name: Uint8Array): Uint8Array | undefined {
    return this.entries.find((entry) => equal(entry.key, name))?.value;
  }

  range({ start, end, reverse, limit, bytesMax }: TableRange): TableEntry[] {
    const within = this.entries.filter(
      (entry) => compare(entry.key, start) >= 0 && compare(entry.key, end) < 0,
    );
    if (reverse === true) within.reverse();
    const taken: TableEntry[] = [];
    let bytes = 0;
    for (const entry of within) {
      if (taken.length >= limit || bytes >= bytesMax) break;
      taken.push(entry);
      bytes += entry.key.length + entry.value.length;
    }
    return taken;
  }
}

async function behavesLikeMap(makeHome: () => Promise<TableHome>): Promise<void> {
  const runs = fc.asyncProperty(fc.array(anyCommand, { maxLength: 40 }), async (commands) => {
    const home = await makeHome();
    const model = new Model();
    let table = await home.open();
    try {
      for (const command of commands) {
        if (command.kind === "reopen") {
          await table.close();
          table = await home.open();
        } else {
          await step(table, model, command);
        }
      }
      assert.equal(plain(allOf(table)), plain(model.entries));
    } finally {
      await table.close();
      await home.remove();
    }
  });
  await fc.assert(runs, { numRuns: process.env["QUORATE_LONG"] === "1" ? 2_000 : 60 });
}

async function step(table: Table, model: Model, command: TableCommand): Promise<void> {
  switch (command.kind) {
    case "commit":
      await table.commit(command.changes);
      model.commit(command.changes);
      return;
    case "range":
      assert.equal(plain(table.range(command.range)), plain(model.range(command.range)));
      return;
    case "get": {
      const found = table.get(command.key);
      const expected = model.get(command.key);
      assert.is(found === undefined, expected === undefined);
      if (found !== undefined) assert.ok(equal(found, expected as Uint8Array));
      return;
    }
    case "reopen":
      return;
  }
}

/** For comparison: what two runtimes print alike. */
function plain(entries: readonly TableEntry[]): string[] {
  return entries.map(
    (entry) =>
      `${Buffer.from(entry.key).toString("hex")}=${Buffer.from(entry.value).toString("hex")}`,
  );
}

export async function rejects(promise: Promise<unknown>, said: RegExp): Promise<Error> {
  try {
    await promise;
  } catch (error) {
    assert.instance(error, Error);
    assert.match((error as Error).message, said);
    return error as Error;
  }
  return assert.unreachable(`it should be rejected with ${said}`) as never;
}
