import { suite } from "uvu";
import * as assert from "uvu/assert";
import { utf8Bytes } from "../src/bytes.ts";
import { QuorateError } from "../src/errors.ts";
import { depthMax, parseJson } from "../src/json.ts";

const parse = (text: string) => parseJson(utf8Bytes(text));

function refusal(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof QuorateError && error.slug === "invalid-request") return error.detail;
    throw error;
  }
  throw new Error("It was accepted.");
}

const test = suite("json");

test("parseJson() gives what JSON.parse gives for text within the bounds", () => {
  const texts = [
    '{"key":"a","value":"b"}',
    '[1,-2.5e3,true,null,"\\u0041\\n"]',
    '{"a":{"x":1},"b":{"x":2},"c":["a","a","b"]}',
    '{"a":"a","b":"\\"a\\":\\\\"}',
    ' {"" : {} }\n',
    '"text with { [ and \\" inside"',
  ];
  for (const text of texts) assert.equal(parse(text), JSON.parse(text), text);
});

test("parseJson() refuses nesting beyond its bound before it builds anything", () => {
  assert.ok(parse(`${"[".repeat(depthMax)}${"]".repeat(depthMax)}`));
  assert.match(
    refusal(() => parse("[".repeat(depthMax + 1))),
    "deeper",
  );
  assert.match(
    refusal(() => parse('{"a":'.repeat(1_000_000))),
    "deeper",
  );
  assert.ok(parse(`[${"[[]],".repeat(1000)}[]]`), "width is not depth");
});

test("parseJson() refuses an object that repeats a name, however it is spelt", () => {
  assert.match(
    refusal(() => parse('{"key":"a","key":"b"}')),
    "'key' twice",
  );
  assert.match(
    refusal(() => parse('{"key":"a","k\\u0065y":"b"}')),
    "'key' twice",
  );
  assert.match(
    refusal(() => parse('{"a":{"b":1,"c":[],"b":2}}')),
    "'b' twice",
  );
});

test("parseJson() refuses what is not UTF-8, not JSON, or nothing", () => {
  assert.match(
    refusal(() => parseJson(Uint8Array.of(0x22, 0xff, 0x22))),
    "UTF-8",
  );
  for (const text of ["", "  ", "{", '{"a"}', '"', '"\\', "{}}", "nul", "[1,]", "\ufeff{}"]) {
    assert.ok(refusal(() => parse(text)).length > 0, text);
  }
});

test.run();
