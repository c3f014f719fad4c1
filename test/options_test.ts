import { suite } from "uvu";
import * as assert from "uvu/assert";
import { QuorateError } from "../src/errors.ts";
import * as options from "../src/options.ts";

const test = suite("options");

const table: options.OptionTable = {
  call: "put()",
  kinds: { ttlSeconds: options.whole(1, 3600), w: options.replicas, quiet: options.flag },
};

function refusal(given: unknown, by: options.OptionTable = table): QuorateError {
  try {
    options.checkOptions(by, given);
  } catch (error) {
    assert.instance(error, QuorateError);
    return error as QuorateError;
  }
  throw new Error("It passed.");
}

test("checkOptions() takes what the table knows, and undefined for any of it", () => {
  for (const given of [{}, { ttlSeconds: 5, w: "all", quiet: false }, { ttlSeconds: undefined }]) {
    options.checkOptions(table, given);
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
  const fits: readonly (readonly [options.OptionKind, readonly unknown[], readonly unknown[]])[] = [
    [options.text, ["a"], ["", 5, null]],
    [options.flag, [true, false], [0, "true"]],
    [options.object, [{}], [null, [], "a"]],
    [options.textOrBytes, ["", new Uint8Array(1), Buffer.from("a")], [5, new ArrayBuffer(1), []]],
    [options.textOrBytes, [], [new Uint16Array(1), new DataView(new ArrayBuffer(1))]],
    [options.oneOf(["a", "b"]), ["a", "b"], ["c", 5]],
    [options.whole(0, 9), [0, 9], [-1, 10, 0.5, Number.NaN, "1"]],
    [options.replicas, [1, 3, "all", "quorum"], [0, "two", true]],
  ];
  for (const [kind, good, bad] of fits) {
    for (const value of good) assert.ok(kind.fits(value), `${kind.what}: ${options.shown(value)}`);
    for (const value of bad) assert.not(kind.fits(value), `${kind.what}: ${options.shown(value)}`);
  }
});

test.run();
