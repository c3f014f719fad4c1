/** Laws of versions: a total order, and a text form that sorts as they do. */

import * as fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Hlc } from "../src/hlc.ts";
import { compareVersions, type Version, versionText } from "../src/version.ts";
import { runs } from "./samples.ts";

const test = suite("version");
const u64 = fc.oneof(
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  fc.constantFrom(0n, 1n, 2n ** 64n - 1n),
);
const anyVersion: fc.Arbitrary<Version> = fc
  .record({ hlc: u64, origin: u64 })
  .map(({ hlc, origin }) => ({ hlc: hlc as Hlc, origin }));

test("compareVersions() is a total order: antisymmetric, transitive, and equal only for the same write", () => {
  const property = fc.property(anyVersion, anyVersion, anyVersion, (a, b, c) => {
    assert.is(compareVersions(a, a), 0);
    assert.is(compareVersions(a, b) + compareVersions(b, a), 0);
    assert.is(compareVersions(a, b) === 0, a.hlc === b.hlc && a.origin === b.origin);
    const [low, middle, high] = [a, b, c].sort(compareVersions) as [Version, Version, Version];
    assert.ok(compareVersions(low, middle) <= 0 && compareVersions(middle, high) <= 0);
    assert.ok(compareVersions(low, high) <= 0);
  });
  fc.assert(property, runs(500));
});

test("the stamp decides before the origin", () => {
  const property = fc.property(anyVersion, anyVersion, (a, b) => {
    if (a.hlc === b.hlc) return;
    assert.is(compareVersions(a, b), a.hlc < b.hlc ? -1 : 1);
  });
  fc.assert(property, runs(200));
});

test("versionText() has one form, and sorts as the versions do", () => {
  const property = fc.property(anyVersion, anyVersion, (a, b) => {
    const [one, other] = [versionText(a), versionText(b)];
    assert.match(one, /^[0-9a-f]{16}-[0-9a-f]{16}$/);
    assert.is(one < other ? -1 : one > other ? 1 : 0, compareVersions(a, b));
  });
  fc.assert(property, runs(500));
});

test.run();
