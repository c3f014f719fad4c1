import * as fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { equal, toBase64url, utf8Bytes } from "../src/bytes.ts";
import { QuorateError, type Slug } from "../src/errors.ts";
import {
  bytesOfLetters,
  decodePercent,
  parseKey64,
  parseNamespace,
  parsePathKey,
  parseQuery,
  parseQueryKey,
  parseTextKey,
  splitKeyPath,
  splitTarget,
} from "../src/target.ts";

function slugOf(run: () => unknown): Slug {
  try {
    run();
  } catch (error) {
    if (error instanceof QuorateError) return error.slug;
    throw error;
  }
  throw new Error("It was accepted.");
}

const encodeAll = (bytes: Uint8Array) =>
  [...bytes].map((byte) => `%${byte.toString(16).padStart(2, "0")}`).join("");

const test = suite("target");

test("splitTarget() splits at the first question mark and normalises nothing", () => {
  const rows: [string, string, string | undefined][] = [
    ["/v1/kv/a/b", "/v1/kv/a/b", undefined],
    ["/a?b?c", "/a", "b?c"],
    ["/a?", "/a", ""],
    ["//a//../%2E%2E/", "//a//../%2E%2E/", undefined],
    ["/a#b?c", "/a#b", "c"],
    ["*", "*", undefined],
  ];
  for (const [raw, path, query] of rows) {
    assert.equal(splitTarget(raw), { path, query, authority: undefined });
  }
});

test("splitTarget() takes an absolute target apart without resolving its path", () => {
  assert.equal(splitTarget("http://h:1/../x?y"), { path: "/../x", query: "y", authority: "h:1" });
  assert.equal(splitTarget("HTTP://h?y"), { path: "/", query: "y", authority: "h" });
  assert.is(
    slugOf(() => splitTarget("ftp://h/x")),
    "invalid-request",
  );
  assert.is(
    slugOf(() => splitTarget("")),
    "invalid-request",
  );
});

test("splitKeyPath() gives the key everything after the namespace, slashes included", () => {
  const rows: [string, string, string | undefined][] = [
    ["/v1/kv/ns", "ns", undefined],
    ["/v1/kv/ns/", "ns", ""],
    ["/v1/kv/ns/a/b/", "ns", "a/b/"],
    ["/v1/kv/ns//a", "ns", "/a"],
    ["/v1/kv/../x", "..", "x"],
  ];
  for (const [path, namespace, key] of rows) {
    assert.equal(splitKeyPath(path, 7), { namespace, key });
  }
});

test("parseNamespace() takes 1 to 64 of its letters, encoded or not, and nothing else", () => {
  assert.is(parseNamespace("a-b_9"), "a-b_9");
  assert.is(parseNamespace("%61b"), "ab");
  assert.is(parseNamespace("x".repeat(64)), "x".repeat(64));
  for (const wrong of ["", "A", "..", ".", "%2e%2e", "a.b", "é", "%", "x".repeat(65), "a%00"]) {
    assert.is(
      slugOf(() => parseNamespace(wrong)),
      "invalid-request",
      wrong,
    );
  }
});

test("a key in a path is its bytes: %XX is one byte, + is itself, a trailing slash belongs to it", () => {
  const rows: [string, Uint8Array][] = [
    ["a", utf8Bytes("a")],
    ["a+b", utf8Bytes("a+b")],
    ["a%2Bb", utf8Bytes("a+b")],
    ["a/", utf8Bytes("a/")],
    ["/", utf8Bytes("/")],
    ["//a", utf8Bytes("//a")],
    ["%FF", Uint8Array.of(0xff)],
    ["%25FF", utf8Bytes("%FF")],
    ["%00%fF", Uint8Array.of(0, 0xff)],
    ["%C3%A9", utf8Bytes("é")],
    ["...", utf8Bytes("...")],
    ["a..b/.c", utf8Bytes("a..b/.c")],
    ["a\\b#c", utf8Bytes("a\\b#c")],
  ];
  for (const [encoded, key] of rows) assert.equal(parsePathKey(encoded), key, encoded);
});

test("a key in a path is refused when a client could have changed it, or when it is malformed", () => {
  const wrong = ["", ".", "..", "a/..", "../a", "a/./b", "%2E%2E", "%2e", "a/%2E./b", "a%2F..%2Fb"];
  for (const encoded of [...wrong, "%", "%4", "%zz", "a%", "%g0", "é", "a b"]) {
    assert.is(
      slugOf(() => parsePathKey(encoded)),
      "invalid-key",
      encoded,
    );
  }
});

test("a key has 1,024 bytes at most, counted after decoding", () => {
  assert.is(parsePathKey("%41".repeat(1024)).length, 1024);
  assert.is(
    slugOf(() => parsePathKey("%41".repeat(1025))),
    "key-too-long",
  );
  assert.is(parseQueryKey("x".repeat(1024)).length, 1024);
  assert.is(
    slugOf(() => parseQueryKey("x".repeat(1025))),
    "key-too-long",
  );
  assert.is(
    slugOf(() => parseKey64(toBase64url(new Uint8Array(1025)))),
    "key-too-long",
  );
  assert.is(
    slugOf(() => parseTextKey("é".repeat(513))),
    "key-too-long",
  );
});

test("?key= and ?key64= take any key at all, dot segments and NUL included", () => {
  assert.equal(parseQueryKey(".."), utf8Bytes(".."));
  assert.equal(parseQueryKey("\x00\xff"), Uint8Array.of(0, 0xff));
  assert.equal(parseKey64("_w"), Uint8Array.of(0xff));
  for (const wrong of ["", "=", "_w==", "a", "_x"]) {
    assert.is(
      slugOf(() => parseKey64(wrong)),
      "invalid-key",
      wrong,
    );
  }
  assert.is(
    slugOf(() => parseQueryKey("")),
    "invalid-key",
  );
});

test("a text key with half a surrogate pair is refused instead of stored as another key", () => {
  assert.is(
    slugOf(() => parseTextKey("a\ud800")),
    "invalid-key",
  );
  assert.equal(parseTextKey("😀"), utf8Bytes("😀"));
});

test("parseQuery() decodes names and values, with + as a space", () => {
  assert.equal(
    [...parseQuery("a=b+c&%64=%2B&e&f=&&g=h=i")],
    [
      ["a", "b c"],
      ["d", "+"],
      ["e", ""],
      ["f", ""],
      ["g", "h=i"],
    ],
  );
  assert.is(parseQuery(undefined).size, 0);
  assert.is(parseQuery("").size, 0);
});

test("parseQuery() refuses what is repeated, malformed or endless", () => {
  assert.is(
    slugOf(() => parseQuery("a=1&a=2")),
    "invalid-request",
  );
  assert.is(
    slugOf(() => parseQuery("a=1&%61=2")),
    "invalid-request",
  );
  assert.is(
    slugOf(() => parseQuery("key=%")),
    "invalid-key",
  );
  assert.is(
    slugOf(() => parseQuery("a=%")),
    "invalid-request",
  );
  assert.is(
    slugOf(() => parseQuery("%=a")),
    "invalid-request",
  );
  const many = Array.from({ length: 65 }, (_, index) => `p${index}`).join("&");
  assert.is(
    slugOf(() => parseQuery(many)),
    "invalid-request",
  );
});

test("every key comes back from its percent-encoded query form, and two keys never from one", () => {
  const keys = fc.uint8Array({ minLength: 1, maxLength: 40 });
  fc.assert(
    fc.property(keys, keys, (a, b) => {
      const back = parseQueryKey(parseQuery(`key=${encodeAll(a)}`).get("key") ?? "");
      const sameForm = encodeAll(a) === encodeAll(b);
      return equal(back, a) && sameForm === equal(a, b);
    }),
  );
});

test("decodePercent() never gives what its bytes are not, whatever the text", () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 30 }), (text) => {
      const letters = decodePercent(text, false);
      if (letters === undefined) return true;
      const byteTextBack = [...bytesOfLetters(letters)]
        .map((byte) => String.fromCharCode(byte))
        .join("");
      return byteTextBack === letters && letters.length <= text.length;
    }),
  );
});

test.run();
