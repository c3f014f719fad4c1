/**
 * Pages of keys on a whole node: put together they are the sorted keys of the range, and a key that
 * is there throughout is listed exactly once while others come and go between the pages.
 */

import * as fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimDisk } from "../sim/disk.ts";
import { type ListItem, type ListRequest, listPageBytesMax } from "../src/api.ts";
import { compare, latin1, startsWith, utf8Bytes } from "../src/bytes.ts";
import type { QuorateNode } from "../src/node.ts";
import { anyKey, rejectsSlug, runs } from "./samples.ts";
import { newWorld, openIn, requestId } from "./store_harness.ts";

const test = suite("listing");
const common = { namespace: "default", requestId };

function put(
  node: QuorateNode,
  key: Uint8Array,
  value: Uint8Array,
): ReturnType<QuorateNode["put"]> {
  return node.put({ ...common, key, value, contentType: "text/plain", meta: [] });
}

/** All items of a list, page by page; `between` runs after each page. */
async function pagesOf(
  node: QuorateNode,
  request: Omit<ListRequest, "namespace" | "requestId">,
  between: () => Promise<void> = async () => {},
): Promise<ListItem[]> {
  const items: ListItem[] = [];
  let cursor: string | undefined;
  do {
    const page = await node.list({
      ...common,
      ...request,
      ...(cursor === undefined ? {} : { cursor }),
    });
    assert.ok(page.items.length <= (request.limit ?? 100));
    assert.ok(page.next === undefined || page.items.length > 0, "a page with a next has items");
    items.push(...page.items);
    cursor = page.next;
    await between();
  } while (cursor !== undefined);
  return items;
}

const anyRange = fc.record(
  {
    prefix: fc.oneof(
      fc.constant(new Uint8Array(0)),
      anyKey.map((key) => key.slice(0, 1)),
    ),
    start: anyKey,
    end: anyKey,
    reverse: fc.boolean(),
    values: fc.boolean(),
  },
  { requiredKeys: [] },
);

interface Range {
  readonly prefix?: Uint8Array;
  readonly start?: Uint8Array;
  readonly end?: Uint8Array;
}

function isWithin(key: Uint8Array, { prefix, start, end }: Range): boolean {
  if (prefix !== undefined && !startsWith(key, prefix)) return false;
  if (start !== undefined && compare(key, start) < 0) return false;
  return end === undefined || compare(key, end) < 0;
}

test("Listing: the pages of any range are its sorted keys, with their values, in either direction", async () => {
  const property = fc.asyncProperty(
    fc.array(anyKey, { maxLength: 40 }),
    fc.array(anyKey, { maxLength: 8 }),
    anyRange,
    fc.integer({ min: 1, max: 12 }),
    async (keys, deleted, range, limit) => {
      const node = await openIn(newWorld());
      const held = new Map<string, Uint8Array>();
      await Promise.all(
        keys.map(async (key, at) => {
          await put(node, key, Uint8Array.of(at));
          held.set(latin1(key), key);
        }),
      );
      for (const key of deleted) {
        await node.delete({ ...common, key });
        held.delete(latin1(key));
      }
      const expected = [...held.values()].filter((key) => isWithin(key, range)).sort(compare);
      if (range.reverse) expected.reverse();
      const items = await pagesOf(node, { ...range, limit });
      assert.equal(
        items.map(({ key }) => latin1(key)),
        expected.map(latin1),
      );
      for (const { key, value, version, bytes } of items) {
        const { record } = await node.get({ ...common, key });
        assert.equal(version, record?.version);
        assert.is(bytes, 1);
        assert.equal(value, range.values ? record?.value : undefined);
      }
      const { prefix = new Uint8Array(0) } = range;
      const count = await node.count({ ...common, prefix });
      const counted = [...held.values()].filter((key) => startsWith(key, prefix)).length;
      assert.is(count.keys, counted);
      assert.is(count.bytes, counted);
      assert.ok(count.exact);
      await node.close();
    },
  );
  await fc.assert(property, runs(60));
});

test("Listing: a key that is there throughout is listed exactly once while others are written and deleted", async () => {
  const property = fc.asyncProperty(
    fc.uniqueArray(anyKey, { minLength: 1, maxLength: 30, selector: latin1 }),
    fc.array(fc.array(fc.tuple(anyKey, fc.boolean()), { maxLength: 12 }), {
      minLength: 1,
      maxLength: 5,
    }),
    anyRange,
    fc.integer({ min: 1, max: 5 }),
    async (keys, changes, range, limit) => {
      const world = newWorld();
      const node = await openIn(world, { memtableBytesMax: 2048 });
      const stable = new Set(keys.map(latin1));
      for (const key of keys) await put(node, key, utf8Bytes("stable"));
      let round = 0;
      const items = await pagesOf(node, { ...range, limit }, async () => {
        const all = (changes[round % changes.length] ?? []).map(async ([key, isPut]) => {
          // A stable key may be written again, which changes nothing about its being there.
          if (isPut) await put(node, key, utf8Bytes(`${round}`));
          else if (!stable.has(latin1(key))) await node.delete({ ...common, key });
        });
        await Promise.all(all);
        round += 1;
        if (round % 3 === 0) await world.clock.advance(10);
      });
      const names = items.map(({ key }) => latin1(key));
      const sorted = [...new Set(names)].sort((a, b) => (a < b ? -1 : 1));
      if (range.reverse) sorted.reverse();
      assert.equal(names, sorted, "in order, each once");
      const expected = keys.filter((key) => isWithin(key, range)).map(latin1);
      for (const name of expected) assert.ok(names.includes(name), "a stable key is listed");
      assert.ok(items.every(({ key }) => isWithin(key, range)));
      await node.close();
    },
  );
  await fc.assert(property, runs(60));
});

test("Listing: a page ends at 4 MiB, and holds at least one item however large it is", async () => {
  const node = await openIn(newWorld(), { memtableBytesMax: 64 * 1024 * 1024 });
  await node.putNamespace("large", { valueBytesMax: 6 * 1024 * 1024 });
  const sizes = [1_500_000, 1_500_000, 1_500_000, 5_000_000, 10, 20];
  for (const [at, size] of sizes.entries()) {
    await node.put({
      ...common,
      namespace: "large",
      key: Uint8Array.of(at),
      value: new Uint8Array(size),
      contentType: "text/plain",
      meta: [],
    });
  }
  const counts: number[] = [];
  let cursor: string | undefined;
  do {
    const request = { ...common, namespace: "large", values: true };
    const page = await node.list(cursor === undefined ? request : { ...request, cursor });
    const bytes = page.items.reduce((sum, { value }) => sum + (value?.length ?? 0), 0);
    assert.ok(bytes <= listPageBytesMax || page.items.length === 1);
    counts.push(page.items.length);
    cursor = page.next;
  } while (cursor !== undefined);
  assert.equal(counts, [2, 1, 1, 2]);
  // Without their values all of them are one page.
  assert.is((await node.list({ ...common, namespace: "large" })).items.length, 6);
  await node.close();
});

test("Listing: a cursor is good for the list that it came from, and for no other", async () => {
  const node = await openIn(newWorld());
  await node.putNamespace("other", {});
  for (const key of ["a1", "a2", "a3"]) await put(node, utf8Bytes(key), utf8Bytes("v"));
  const prefix = utf8Bytes("a");
  const { next } = await node.list({ ...common, prefix, limit: 1 });
  const cursor = next as string;
  assert.is((await node.list({ ...common, prefix, cursor, limit: 1 })).items.length, 1);
  for (const wrong of [
    { prefix: utf8Bytes("a1") },
    { reverse: true },
    { namespace: "other" },
    { cursor: `${cursor}A` },
    { cursor: cursor.slice(0, -1) },
    { cursor: "" },
    { cursor: "%" },
    { cursor: "A".repeat(100_000) },
  ]) {
    const request = { ...common, prefix, cursor, ...wrong };
    await rejectsSlug("invalid-request", node.list(request), JSON.stringify(wrong));
  }
  // The key that it names may be gone: it is a place, not a key.
  await node.delete({ ...common, key: utf8Bytes("a1") });
  const { items } = await node.list({ ...common, prefix, cursor });
  assert.equal(
    items.map(({ key }) => latin1(key)),
    ["a2", "a3"],
  );
  await node.close();
});

test("W2: a page names no version before it is synced", async () => {
  let gate: Promise<void> = Promise.resolve();
  const world = newWorld({ disk: new SimDisk({ pause: () => gate }) });
  const node = await openIn(world);
  await put(node, utf8Bytes("a"), utf8Bytes("v"));
  let open: () => void = () => {};
  gate = new Promise((resolve) => {
    open = resolve;
  });
  const writing = put(node, utf8Bytes("b"), utf8Bytes("v"));
  for (let turn = 0; turn < 50; turn += 1) await undefined;
  let isListed = false;
  const listing = node.list(common).then((page) => {
    isListed = true;
    return page;
  });
  for (let turn = 0; turn < 500; turn += 1) await undefined;
  assert.is(isListed, false);
  gate = Promise.resolve();
  open();
  assert.is((await listing).items.length, 2);
  await writing;
  await node.close();
});

test.run();
