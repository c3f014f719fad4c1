/**
 * Protocol: which version two nodes use, and what is said where they have none in common.
 */
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  commonProtocol,
  features,
  formats,
  isOn,
  ownProgram,
  type ProtocolRange,
  parseProgram,
  programOfOne,
  protocolRange,
  rangeText,
  sameProgram,
  speaks,
  spokenByAll,
  whyNotTogether,
} from "../src/protocol.ts";
import { formatOfProtocol, topologyFormat, topologyFormatOfOne } from "../src/topology.ts";

const test = suite("protocol");

const range = (lowest: number, highest: number): ProtocolRange => ({ lowest, highest });
const ranges = fc
  .tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 0, max: 4 }))
  .map(([lowest, more]) => range(lowest, lowest + more));

test("commonProtocol() is the highest version that both speak, or none", () => {
  const table: readonly (readonly [ProtocolRange, ProtocolRange, number | undefined])[] = [
    [range(1, 1), range(1, 1), 1],
    [range(1, 2), range(1, 1), 1],
    [range(1, 2), range(1, 2), 2],
    [range(1, 3), range(2, 5), 3],
    [range(2, 2), range(1, 4), 2],
    [range(1, 1), range(2, 2), undefined],
    [range(3, 5), range(1, 2), undefined],
  ];
  for (const [own, other, common] of table) {
    assert.is(commonProtocol(own, other), common, `${rangeText(own)}, ${rangeText(other)}`);
    assert.is(commonProtocol(other, own), common, "both ends compute the same");
  }
});

test("commonProtocol(): both speak it, and nothing higher; where there is none, no version is spoken by both", () => {
  fc.assert(
    fc.property(ranges, ranges, (own, other) => {
      const common = commonProtocol(own, other);
      for (let version = 1; version <= 15; version += 1) {
        const isShared = speaks(own, version) && speaks(other, version);
        if (common === undefined || version > common) assert.not.ok(isShared);
        if (version === common) assert.ok(isShared);
      }
    }),
  );
});

test("whyNotTogether() names both, what each speaks, and who has to be upgraded first", () => {
  const old = { name: "n1", ...range(1, 1) };
  const next = { name: "n2", ...range(2, 3) };
  const says =
    "node 'n1' speaks version 1 of the protocol between nodes, and node 'n2' versions 2 to 3: upgrade 'n1' first";
  assert.is(whyNotTogether(next, old), says);
  assert.match(whyNotTogether(old, next) ?? "", /upgrade 'n1' first$/);
  assert.is(whyNotTogether(next, { name: "n3", ...range(3, 9) }), undefined);
});

test("a feature is on from its version; what is on stays on in every later one", () => {
  for (const { name, since } of features) {
    assert.ok(speaks(protocolRange, since), `${name} is one of this program`);
    assert.not.ok(isOn(since - 1, name));
    assert.ok(isOn(since, name) && isOn(since + 7, name));
  }
});

test("the document is in the format that all members read", () => {
  assert.equal([1, 2, 3].map(formatOfProtocol), [
    topologyFormatOfOne,
    topologyFormat,
    topologyFormat,
  ]);
});

test("ownProgram() tells what this program speaks, or as much as it is held to", () => {
  assert.equal(ownProgram("1.2.3"), { version: "1.2.3", ...protocolRange, formats });
  assert.equal(ownProgram("1.2.3", 1), { version: "1.2.3", lowest: 1, highest: 1, formats });
  assert.is(ownProgram("1.2.3", 99).highest, protocolRange.highest);
});

test("spokenByAll() is what the last of them speaks", () => {
  assert.is(spokenByAll([range(1, 2), range(1, 1), range(1, 5)]), 1);
  assert.is(spokenByAll([range(1, 9)]), protocolRange.highest, "and what this program speaks");
});

test("parseProgram() takes what a later program tells, keeps formats that it does not know, and no more", () => {
  const told = { version: "9.9", lowest: 3, highest: 7, formats: { topology: 8, "new-thing": 1 } };
  assert.equal(parseProgram({ ...told, more: 1 }), told);
  assert.ok(sameProgram(parseProgram(told), told));
  assert.not.ok(sameProgram(undefined, told));
  const wrong: readonly unknown[] = [
    ...[undefined, null, 1, "x", [], {}],
    ...[
      { ...told, version: "é" },
      { ...told, version: "x".repeat(65) },
      { ...told, lowest: 8 },
    ],
    ...[
      { ...told, lowest: 0 },
      { ...told, highest: 7.5 },
      { ...told, formats: { X: 1 } },
    ],
    ...[
      { ...told, formats: { a: "1" } },
      { ...told, formats: null },
    ],
    { ...told, formats: Object.fromEntries(Array.from({ length: 33 }, (_, at) => [`f${at}`, 1])) },
  ];
  for (const raw of wrong) assert.is(parseProgram(raw), undefined, JSON.stringify(raw));
  assert.equal(programOfOne(1), { version: "", lowest: 1, highest: 1, formats: {} });
});

test.run();
