/**
 * The embedded database: what goes in comes out, its bytes are its own, and input that no type
 * checker has seen is refused before it reaches the store.
 */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimRandom } from "../sim/random.ts";
import { Database, type ListChoices, type PutChoices } from "../src/database.ts";
import type { Slug } from "../src/errors.ts";
import { rejectsSlug } from "./samples.ts";
import { newWorld, openIn, type World } from "./store_harness.ts";

const test = suite("database");

async function opened(world: World = newWorld()): Promise<Database> {
  return new Database(await openIn(world), new SimRandom(9));
}

test("Database: text and bytes are one; a record has all that was put, and text() and json() of it", async () => {
  const world = newWorld();
  const db = await opened(world);
  const written = await db.put("users/ä", '{"name":"Ada"}', {
    contentType: "application/json",
    meta: { b: "2", a: "1" },
    ttlSeconds: 60,
  });
  const record = await db.get(Uint8Array.from(Buffer.from("users/ä")));
  assert.is(record?.text(), '{"name":"Ada"}');
  assert.equal(record?.json(), { name: "Ada" });
  assert.is(record?.contentType, "application/json");
  assert.equal(record?.meta, { a: "1", b: "2" });
  assert.is(record?.version, written.version);
  assert.is(record?.expiresAtMs, written.expiresAtMs);
  assert.is(written.durability, "fsync");
  assert.is(await db.get("users/"), undefined);
  const deleted = await db.delete("users/ä");
  assert.ok(deleted.version > written.version, "versions sort as texts");
  assert.is(await db.get("users/ä"), undefined);
  await db.put("bom", "\ufefftext");
  assert.is((await db.get("bom"))?.text(), "\ufefftext");
  await db.close();
});

test("Database: bytes handed in are copied at once, those of a Buffer too; bytes handed out are the caller's", async () => {
  const db = await opened();
  for (const make of [
    (text: string) => Uint8Array.from(Buffer.from(text)),
    (text: string) => Buffer.from(text),
    (text: string) => Buffer.from(`..${text}..`).subarray(2, 2 + text.length),
  ]) {
    const [key, value] = [make("key"), make("value")];
    const putting = db.put(key, value);
    key.fill(0x78);
    value.fill(0x78);
    await putting;
    const first = await db.get("key");
    assert.is(first?.text(), "value");
    first?.value.fill(0);
    assert.is((await db.get("key"))?.text(), "value", "what the caller did to its copy is its own");
    const asked = make("key");
    const getting = db.get(asked);
    const deleting = db.delete(asked);
    asked.fill(0x78);
    await Promise.all([getting, deleting]);
    assert.is(await db.get("key"), undefined);
    const prefix = make("k");
    await db.put("kept", "v");
    const listing = db.list({ prefix, values: true });
    prefix.fill(0x78);
    const { items } = await listing;
    assert.is(items.length, 1);
    items[0]?.value?.fill(0);
    items[0]?.key.fill(0x78);
    assert.is((await db.get("kept"))?.text(), "v");
    await db.delete("kept");
  }
  await db.close();
});

test("Database: a list goes on with its cursor, in bounds, reversed, with values or without", async () => {
  const db = await opened();
  for (const key of ["a/1", "a/2", "a/3", "b/1"]) await db.put(key, key);
  const names: string[] = [];
  let cursor: string | undefined;
  do {
    const page = await db.list({ prefix: "a/", limit: 2, reverse: true, values: true, cursor });
    for (const { key, value, bytes } of page.items) {
      names.push(Buffer.from(key).toString());
      assert.equal([...(value ?? [])], [...key]);
      assert.is(bytes, 3);
    }
    cursor = page.next;
  } while (cursor !== undefined);
  assert.equal(names, ["a/3", "a/2", "a/1"]);
  const { items } = await db.list({ start: "a/2", end: "b/1" });
  assert.equal(
    items.map(({ key, value }) => [Buffer.from(key).toString(), value]),
    [
      ["a/2", undefined],
      ["a/3", undefined],
    ],
  );
  await db.close();
});

test("Database: a key or value that cannot be is refused with its slug, and nothing is written", async () => {
  const db = await opened();
  const keys: readonly (readonly [unknown, Slug])[] = [
    ["", "invalid-key"],
    [new Uint8Array(0), "invalid-key"],
    ["k".repeat(1025), "key-too-long"],
    ["ä".repeat(513), "key-too-long"],
    [new Uint8Array(1025), "key-too-long"],
    ["\ud800", "invalid-key"],
    [undefined, "invalid-key"],
    [null, "invalid-key"],
    [5, "invalid-key"],
    [{}, "invalid-key"],
    [[1, 2], "invalid-key"],
    [new ArrayBuffer(3), "invalid-key"],
    [new Uint16Array(3), "invalid-key"],
  ];
  for (const [key, slug] of keys) {
    const what = `key ${String(key).slice(0, 10)} ${typeof key}`;
    for (const call of [
      () => db.put(key as string, "v"),
      () => db.get(key as string),
      () => db.delete(key as string),
    ]) {
      assert.is((await rejectsSlug(slug, call(), what)).outcome, "none", what);
    }
  }
  const values: readonly (readonly [unknown, Slug])[] = [
    ["\udc00x", "invalid-request"],
    [new Uint8Array(1024 * 1024 + 1), "value-too-large"],
    [undefined, "invalid-request"],
    [null, "invalid-request"],
    [5, "invalid-request"],
    [{ a: 1 }, "invalid-request"],
    [[1, 2], "invalid-request"],
    [new ArrayBuffer(3), "invalid-request"],
    [new Float64Array(3), "invalid-request"],
    [new DataView(new ArrayBuffer(2)), "invalid-request"],
  ];
  for (const [value, slug] of values) {
    const what = `value ${String(value).slice(0, 10)} ${typeof value}`;
    assert.is((await rejectsSlug(slug, db.put("k", value as string), what)).outcome, "none", what);
  }
  assert.equal((await db.list()).items, []);
  await db.put(new Uint8Array(1024).fill(1), new Uint8Array(1024 * 1024));
  await db.put("e", "");
  assert.is((await db.get("e"))?.value.length, 0);
  await db.close();
});

test("Database: choices that cannot be are refused, rather than taken for something weaker", async () => {
  const db = await opened();
  const wrong: readonly (readonly [unknown, Slug])[] = [
    [{ ttlSeconds: 0 }, "invalid-request"],
    [{ ttlSeconds: 1.5 }, "invalid-request"],
    [{ ttlSeconds: 315_360_001 }, "invalid-request"],
    [{ ttlSeconds: "60" }, "invalid-request"],
    [{ timeoutMs: 0 }, "invalid-request"],
    [{ timeoutMs: 60_001 }, "invalid-request"],
    [{ timeoutMs: Number.NaN }, "invalid-request"],
    [{ contentType: "" }, "invalid-request"],
    [{ contentType: "a".repeat(257) }, "invalid-request"],
    [{ contentType: "text/plain\n" }, "invalid-request"],
    [{ contentType: " " }, "invalid-request"],
    [{ contentType: "text/plain " }, "invalid-request"],
    [{ contentType: "täxt" }, "invalid-request"],
    [{ contentType: 5 }, "invalid-request"],
    [{ durability: "disk" }, "invalid-request"],
    [{ durability: true }, "invalid-request"],
    [{ consistency: "two" }, "invalid-request"],
    [{ consistency: 2 }, "invalid-request"],
    [{ namespace: "none" }, "namespace-not-found"],
    [{ meta: { Upper: "v" } }, "invalid-request"],
    [{ meta: { "": "v" } }, "invalid-request"],
    [{ meta: { "a b": "v" } }, "invalid-request"],
    [{ meta: { a: "line\nbreak" } }, "invalid-request"],
    [{ meta: { a: " padded" } }, "invalid-request"],
    [{ meta: { a: 5 } }, "invalid-request"],
    [{ meta: { a: null } }, "invalid-request"],
    [{ meta: { a: "x".repeat(2048) } }, "invalid-request"],
    [{ meta: new Map([["a", "1"]]) }, "invalid-request"],
  ];
  for (const [choices, slug] of wrong) {
    const what = JSON.stringify(choices).slice(0, 60);
    await rejectsSlug(slug, db.put("k", "v", choices as PutChoices), what);
  }
  for (const choices of [{ durability: "disk" }, { consistency: "two" }] as unknown[]) {
    await rejectsSlug("invalid-request", db.delete("k", choices as PutChoices));
  }
  await rejectsSlug("invalid-request", db.get("k", { consistency: "two" as "one" }));
  const lists: unknown[] = [
    { limit: 0 },
    { limit: 1001 },
    { limit: 1.5 },
    { cursor: "nonsense" },
    { cursor: 5 },
    { prefix: "p".repeat(1025) },
    { prefix: 5 },
    { start: new ArrayBuffer(2) },
    { end: {} },
    { consistency: "two" },
  ];
  for (const choices of lists) {
    const what = JSON.stringify(choices).slice(0, 60);
    await rejectsSlug("invalid-request", db.list(choices as ListChoices), what);
  }
  await rejectsSlug("invalid-request", db.list({ prefix: "\ud800" }));
  assert.equal((await db.list()).items, []);
  await db.put("k", "v", { meta: { a: "x".repeat(2047) }, contentType: "a".repeat(256) });
  await db.put("k", "v", { durability: "memory", consistency: "all" });
  await db.close();
});

test("Database: an option that a call does not have is refused by its name, and nothing is done", async () => {
  const db = await opened();
  const calls: readonly (readonly [() => Promise<unknown>, RegExp])[] = [
    [() => db.put("x", "x", { ttl: 5 } as PutChoices), /no option 'ttl' for put\(\)/],
    [() => db.get("x", { timeout: 5 } as PutChoices), /no option 'timeout' for get\(\)/],
    [
      () => db.delete("x", { ttlSeconds: 5 } as PutChoices),
      /no option 'ttlSeconds' for delete\(\)/,
    ],
    [() => db.list({ prefx: "a" } as ListChoices), /no option 'prefx' for list\(\)/],
    [() => db.list({ reverse: "no" } as object), /reverse of list\(\) is 'no'; it has to be true/],
    [() => db.list("a" as ListChoices), /options of list\(\) are 'a'/],
    [() => db.put("x", "x", null as unknown as PutChoices), /options of put\(\) are null/],
    [() => db.get("x", { namespace: 5 } as object), /namespace of get\(\) is 5/],
  ];
  for (const [call, said] of calls) {
    const error = await rejectsSlug("invalid-request", call());
    assert.match(error.detail, said);
    assert.is(error.outcome, "none");
    assert.match(error.hint ?? "", /Its options are namespace, .*timeoutMs/);
  }
  assert.equal((await db.list()).items, []);
  await db.close();
});

test("Database: close is idempotent, what was put is there at the next opening, calls in between are `draining`", async () => {
  const world = newWorld();
  const db = await opened(world);
  const putting = db.put("k", "v");
  await Promise.all([db.close(), db.close(), putting]);
  await rejectsSlug("draining", db.put("k", "w"));
  await rejectsSlug("draining", db.get("k"));
  await rejectsSlug("draining", db.list());
  const again = await opened(world);
  assert.is((await again.get("k"))?.text(), "v");
  await again.close();
});

test.run();
