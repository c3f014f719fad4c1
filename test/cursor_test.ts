/** The opaque texts with which lists go on: read back, and refused where they are another's. */

import * as fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { compare } from "../src/bytes.ts";
import { makeCursor, parseCursor } from "../src/cursor.ts";
import { anyKey, runs } from "./samples.ts";

const test = suite("cursor");
const anyScope = fc.record({
  namespaceNumber: fc.nat(2 ** 32 - 1),
  prefix: fc.oneof(fc.constant(new Uint8Array(0)), anyKey),
  reverse: fc.boolean(),
});

test("parseCursor() gives the last key to the list that made it, and nothing to any other", () => {
  const property = fc.property(anyScope, anyScope, anyKey, (scope, other, lastKey) => {
    const text = makeCursor(scope, lastKey);
    assert.match(text, /^[A-Za-z0-9_-]+$/, "it goes into an address as it is");
    assert.equal([...(parseCursor(scope, text) ?? [])], [...lastKey]);
    const wrong = [
      { ...scope, reverse: !scope.reverse },
      { ...scope, namespaceNumber: scope.namespaceNumber ^ 1 },
      { ...scope, prefix: Uint8Array.of(...scope.prefix, 0) },
    ];
    for (const one of wrong) assert.is(parseCursor(one, text), undefined);
    const isSame =
      other.namespaceNumber === scope.namespaceNumber &&
      other.reverse === scope.reverse &&
      compare(other.prefix, scope.prefix) === 0;
    assert.is(parseCursor(other, text) !== undefined, isSame);
  });
  fc.assert(property, runs(200));
});

test("parseCursor() refuses arbitrary texts, changed letters and what is too long, and never throws", () => {
  const property = fc.property(
    anyScope,
    anyKey,
    fc.string(),
    fc.nat(),
    (scope, lastKey, text, at) => {
      assert.is(parseCursor(scope, text), undefined);
      const cursor = makeCursor(scope, lastKey);
      const place = at % cursor.length;
      const letter = cursor[place] === "A" ? "B" : "A";
      const changed = cursor.slice(0, place) + letter + cursor.slice(place + 1);
      assert.is(parseCursor(scope, changed), undefined);
      assert.is(parseCursor(scope, cursor + cursor), undefined);
    },
  );
  fc.assert(property, runs(200));
  const scope = { namespaceNumber: 0, prefix: new Uint8Array(0), reverse: false };
  assert.is(parseCursor(scope, "A".repeat(1_000_000)), undefined);
  const longest = new Uint8Array(1024).fill(7);
  assert.is(parseCursor(scope, makeCursor(scope, longest))?.length, 1024);
});

test.run();
