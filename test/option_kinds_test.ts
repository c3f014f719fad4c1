import { suite } from "uvu";
import * as assert from "uvu/assert";
import { QuorateError } from "../src/errors.ts";
import * as kinds from "../src/option_kinds.ts";

const test = suite("option_kinds");

const table: kinds.OptionTable = {
  call: "put()",
  kinds: { ttlSeconds: kinds.whole(1, 3600), w: kinds.replicas, quiet: kinds.flag },
};

function refusal(given: unknown, by: kinds.OptionTable = table): QuorateError {
  try {
    kinds.checkOptions(by, given);
  } catch (error) {
    assert.instance(error, QuorateError);
    return error as QuorateError;
  }
  throw new Error("It passed.");
}

test("checkOptions() takes what the table knows, and undefined for any of it", () => {
  for (const given of [{}, { ttlSeconds: 5, w: "all", quiet: false }, { ttlSeconds: undefined }]) {
    kinds.checkOptions(table, given);
  }
});

test("checkOptions() names an option that is not known, and those that are", () => {
  const error = refusal({ ttl: 5 });
  assert.equal([error.slug, error.outcome], ["invalid-request", "none"]);
  assert.is(error.detail, "There is no option 'ttl' for put().");
  assert.match(error.hint ?? "", "Its options are ttlSeconds, w, quiet.");
  assert.is(refusal({ ttl: undefined }).detail, error.detail, "also where nothing is given for it");
  assert.match(refusal({ toString: 1 }).detail, "'toString'");
  assert.is(refusal({ ttl: 5 }, { ...table, slug: "invalid-config" }).slug, "invalid-config");
});

test("checkOptions() says what a value is, and what it has to be", () => {
  const said: readonly (readonly [given: unknown, detail: string])[] = [
    [
      { ttlSeconds: "5" },
      "ttlSeconds of put() is '5'; it has to be a whole number from 1 to 3,600.",
    ],
    [{ ttlSeconds: 0 }, "ttlSeconds of put() is 0; it has to be a whole number from 1 to 3,600."],
    [{ w: 0 }, "w of put() is 0; it has to be a whole number from 1, or one of quorum, all."],
    [{ quiet: null }, "quiet of put() is null; it has to be true or false."],
    [null, "The options of put() are null; they have to be an object."],
    ["a", "The options of put() are 'a'; they have to be an object."],
    [[1], "The options of put() are an array; they have to be an object."],
    // What they hold is in no property: it would be passed over.
    [new Map([["w", 5]]), "The options of put() are a Map; they have to be an object."],
    [
      new URLSearchParams("w=5"),
      "The options of put() are a URLSearchParams; they have to be an object.",
    ],
  ];
  for (const [given, detail] of said) assert.is(refusal(given).detail, detail);
  class Inherited {
    get ttlSeconds(): number {
      return 0;
    }
  }
  assert.match(refusal(new Inherited()).detail, "ttlSeconds of put() is 0");
});

test("a kind fits what it says", () => {
  const fits: readonly (readonly [kinds.OptionKind, readonly unknown[], readonly unknown[]])[] = [
    [kinds.text, ["a"], ["", 5, null]],
    [kinds.flag, [true, false], [0, "true"]],
    [kinds.object, [{}, new Map()], [null, [], "a"]],
    [kinds.texts, [{}, { a: "b" }, Object.create(null)], [{ a: 5 }, new Map(), new Headers(), []]],
    [kinds.textOrBytes, ["", new Uint8Array(1), Buffer.from("a")], [5, new ArrayBuffer(1), []]],
    [kinds.textOrBytes, [], [new Uint16Array(1), new DataView(new ArrayBuffer(1))]],
    [kinds.oneOf(["a", "b"]), ["a", "b"], ["c", 5]],
    [kinds.whole(0, 9), [0, 9], [-1, 10, 0.5, Number.NaN, "1"]],
    [kinds.replicas, [1, 3, "all", "quorum"], [0, "two", true]],
  ];
  for (const [kind, good, bad] of fits) {
    for (const value of good) assert.ok(kind.fits(value), `${kind.what}: ${kinds.shown(value)}`);
    for (const value of bad) assert.not(kind.fits(value), `${kind.what}: ${kinds.shown(value)}`);
  }
});

test("bytesOf() takes bytes as they are and text as UTF-8, and refuses the rest by what it is for", () => {
  const bytes = new Uint8Array([0xff]);
  assert.is(kinds.bytesOf("key", bytes), bytes, "the caller's own, not a copy");
  assert.equal(kinds.bytesOf("value", "é"), new Uint8Array([0xc3, 0xa9]));
  const said: readonly (readonly [name: kinds.BytesName, given: unknown, slug: string, RegExp])[] =
    [
      ["key", 5, "invalid-key", /^The key is 5; it has to be a string or a Uint8Array\.$/],
      ["value", [], "invalid-request", /^The value is an array; it has to be/],
      ["key", "\ud800", "invalid-key", /^The key holds half of a surrogate pair/],
      ["prefix", "\ud800", "invalid-request", /^The prefix holds half of a surrogate pair/],
    ];
  for (const [name, given, slug, detail] of said) {
    try {
      kinds.bytesOf(name, given);
    } catch (error) {
      assert.instance(error, QuorateError);
      const { slug: told, outcome, detail: text } = error as QuorateError;
      assert.equal([told, outcome], [slug, "none"]);
      assert.match(text, detail);
      continue;
    }
    assert.unreachable(`${name} passed`);
  }
});

test("copyOptions() keeps what an object says now, its own and what it inherits", () => {
  const bounds: kinds.OptionTable = {
    call: "list()",
    kinds: { prefix: kinds.textOrBytes, peers: kinds.checkedLater, limit: kinds.whole(1, 9) },
  };
  class Nine {
    get limit(): number {
      return 9;
    }
  }
  const given = Object.assign(new Nine(), { prefix: Buffer.from("a"), peers: ["a"] });
  const copy: Record<string, unknown> = { ...kinds.copyOptions(bounds, given) };
  given.prefix[0] = 0x62;
  given.peers.push("b");
  assert.equal(copy, { prefix: new Uint8Array([0x61]), peers: ["a"], limit: 9 });
  const refused = { bogus: 1, limit: 0 };
  assert.equal(kinds.copyOptions(bounds, refused), refused, "what is refused stays so");
  const map = new Map();
  assert.is(kinds.copyOptions<unknown>(bounds, map), map);
  assert.is(kinds.copyOptions<unknown>(bounds, null), null);
});

test.run();
