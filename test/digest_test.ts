/** Laws of the sums over a partition, and of the documents that carry them under checksums. */

import * as fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { decodeChecked, encodeChecked } from "../src/checked_json.ts";
import {
  add,
  copySummary,
  decodeSummary,
  differingSegments,
  digestOf,
  droppable,
  type Element,
  emptySummary,
  encodeSummary,
  remove,
  type Summary,
  sameSummary,
} from "../src/digest.ts";
import type { Hlc } from "../src/hlc.ts";
import {
  decodeMeta,
  decodePartitionMeta,
  encodeMeta,
  encodePartitionMeta,
  metaKey,
  partitionMetaKey,
} from "../src/store_meta.ts";
import { bytesUpTo, runs } from "./samples.ts";
import { encodeUnsplit } from "./summary_format1.ts";

const test = suite("digest");
const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const anyElement: fc.Arbitrary<Element> = fc
  .record({
    namespaceNumber: fc.nat(3),
    segment: fc.nat(1023),
    keyHash: u64,
    hlc: u64,
    origin: u64,
    tombstone: fc.boolean(),
    isMortal: fc.boolean(),
    valueBytes: fc.nat(1000),
  })
  .map(({ hlc, origin, ...rest }) => ({
    ...rest,
    n: nOf(rest.namespaceNumber),
    version: { hlc: hlc as Hlc, origin },
  }));

/** Two namespaces have the same n; of one it is not known. */
function nOf(namespaceNumber: number): number {
  return [3, 1, 3, 0][namespaceNumber] as number;
}

function summaryOf(elements: readonly Element[]): Summary {
  const summary = emptySummary();
  for (const element of elements) add(summary, element);
  return summary;
}

/** Sums by their definition, in numbers of any size. */
function sumsOf(summary: Summary): bigint[] {
  return [0, 1, 3].flatMap((n) => {
    const { sums } = digestOf(summary, n);
    const view = new DataView(sums.buffer);
    return Array.from({ length: 1024 }, (_, segment) => view.getBigUint64(segment * 8));
  });
}

test("add() and remove() cancel out, in any order, and the sums are mod 2^64", () => {
  const property = fc.property(
    fc.array(anyElement, { maxLength: 30 }),
    anyElement,
    (elements, one) => {
      const whole = summaryOf(elements);
      const shuffled = [...elements].reverse();
      assert.ok(sameSummary(whole, summaryOf(shuffled)), "order does not matter");
      const alone = sumsOf(summaryOf([one]));
      const before = sumsOf(whole);
      const copy = copySummary(whole);
      add(copy, one);
      assert.not.ok(sameSummary(whole, copy), "what is there more is seen");
      assert.equal(
        sumsOf(copy),
        before.map((sum, segment) => (sum + (alone[segment] as bigint)) % 2n ** 64n),
      );
      assert.is(copy.records, elements.length + 1);
      remove(copy, one);
      assert.ok(sameSummary(whole, copy));
      assert.equal(sumsOf(whole), before, "a copy is a copy");
      for (const element of shuffled) remove(copy, element);
      assert.ok(sameSummary(copy, emptySummary()));
      for (const { keys, bytes } of copy.tallies.values()) assert.equal([keys, bytes], [0, 0]);
    },
  );
  fc.assert(property, runs(100));
});

test("a record that is there twice, with another version, or as a tombstone is told apart", () => {
  const property = fc.property(anyElement, (element) => {
    const one = summaryOf([element]);
    const { version } = element;
    const others: Element[][] = [
      [element, element],
      [],
      [{ ...element, version: { ...version, hlc: (version.hlc ^ 1n) as Hlc } }],
      [{ ...element, version: { ...version, origin: version.origin ^ 1n } }],
      [{ ...element, tombstone: !element.tombstone }],
      [{ ...element, keyHash: element.keyHash ^ 1n }],
      [{ ...element, segment: element.segment ^ 1 }],
    ];
    for (const [at, other] of others.entries()) {
      assert.not.ok(sameSummary(one, summaryOf(other)), `case ${at}`);
    }
  });
  fc.assert(property, runs(50));
});

test("a namespace of which nothing is left is not counted any more", () => {
  const property = fc.property(anyElement, (element) => {
    const summary = summaryOf([element]);
    assert.is(summary.tallies.size, 1);
    remove(summary, element);
    assert.is(summary.tallies.size, 0);
    assert.ok(sameSummary(summary, emptySummary()));
  });
  fc.assert(property, runs(50));
});

test("tallies count live records and their bytes by namespace", () => {
  const property = fc.property(fc.array(anyElement, { maxLength: 30 }), (elements) => {
    const summary = summaryOf(elements);
    for (const number of [0, 1, 2, 3]) {
      const live = elements.filter((one) => one.namespaceNumber === number && !one.tombstone);
      const { keys = 0, bytes = 0, deleted = 0, mortal = 0 } = summary.tallies.get(number) ?? {};
      const all = elements.filter((one) => one.namespaceNumber === number);
      assert.is(deleted, all.length - live.length);
      assert.is(mortal, live.filter(({ isMortal }) => isMortal).length);
      assert.is(keys, live.length);
      assert.is(
        bytes,
        live.reduce((sum, one) => sum + one.valueBytes, 0),
      );
    }
  });
  fc.assert(property, runs(100));
});

test("namespaces of one n are summed together, and apart from those of another", () => {
  const property = fc.property(fc.array(anyElement, { maxLength: 30 }), (elements) => {
    const whole = summaryOf(elements);
    for (const n of [0, 1, 3]) {
      const alone = summaryOf(elements.filter((one) => one.n === n));
      assert.equal(digestOf(whole, n), digestOf(alone, n));
      assert.is(
        digestOf(whole, n).total,
        digestOf(decodeSummary(encodeSummary(whole)) as Summary, n).total,
      );
    }
  });
  fc.assert(property, runs(50));
});

test("a namespace stays under the n of its first record, whoever forgets it later", () => {
  const property = fc.property(
    fc.array(anyElement, { minLength: 1, maxLength: 20 }),
    (elements) => {
      const summary = summaryOf(elements);
      const found = decodeSummary(encodeSummary(summary)) as Summary;
      for (const element of elements) remove(found, { ...element, n: 0 });
      for (const n of [0, 1, 3]) {
        assert.equal(digestOf(found, n), digestOf(emptySummary(), n));
      }
    },
  );
  fc.assert(property, runs(50));
});

test("droppable() counts deletes and what lives for a time, of one n", () => {
  const property = fc.property(fc.array(anyElement, { maxLength: 30 }), (elements) => {
    const summary = summaryOf(elements);
    for (const n of [0, 1, 3]) {
      const some = elements.filter((one) => one.n === n);
      assert.equal(droppable(summary, n), {
        deleted: some.filter(({ tombstone }) => tombstone).length,
        mortal: some.filter(({ tombstone, isMortal }) => isMortal && !tombstone).length,
      });
    }
  });
  fc.assert(property, runs(50));
});

test("differingSegments() names the segments of what one side alone has", () => {
  const property = fc.property(
    fc.array(anyElement, { maxLength: 20 }),
    fc.uniqueArray(
      anyElement.filter(({ n }) => n === 3),
      {
        maxLength: 5,
        selector: ({ segment }) => segment,
      },
    ),
    (both, more) => {
      const [one, other] = [summaryOf(both), summaryOf([...both, ...more])].map(
        (summary) => digestOf(summary, 3).sums,
      );
      const expected = more.map(({ segment }) => segment).sort((a, b) => a - b);
      const found = differingSegments(one as Uint8Array, other as Uint8Array);
      assert.equal(
        [...found].sort((a, b) => a - b),
        expected,
      );
    },
  );
  fc.assert(property, runs(50));
});

test("a summary of format 1 is read, says that it is not parted by n, and compares as a whole", () => {
  const property = fc.property(fc.array(anyElement, { maxLength: 30 }), (elements) => {
    const summary = summaryOf(elements);
    const found = decodeSummary(encodeUnsplit(summary)) as Summary;
    assert.not(found.isSplit);
    assert.ok(sameSummary(found, summary));
    const counts = ({ tallies }: Summary) =>
      [...tallies].map(([number, { keys, bytes }]) => [number, keys, bytes]).sort();
    assert.equal(counts(found), counts(summary));
    assert.is(decodeSummary(encodeUnsplit(summary).subarray(1)), undefined);
    const damaged = encodeUnsplit(summary);
    damaged[damaged.length - 1] = (damaged[damaged.length - 1] as number) ^ 1;
    assert.is(decodeSummary(damaged), undefined);
  });
  fc.assert(property, runs(50));
});

test("a summary is read back as it was, and refused with any flipped bit, cut or made longer", () => {
  const property = fc.property(
    fc.array(anyElement, { maxLength: 20 }),
    fc.nat(),
    fc.nat(2 ** 48),
    (elements, chance, sequence) => {
      const summary = summaryOf(elements);
      const bytes = encodeSummary(summary);
      const found = decodeSummary(bytes) as Summary;
      assert.ok(sameSummary(found, summary));
      assert.equal([...found.tallies].sort(), [...summary.tallies].sort());
      assert.equal(encodeSummary(found), bytes);
      const isUnsummed = chance % 2 === 1;
      const meta = encodePartitionMeta({ sequence, summary, isUnsummed });
      assert.is(decodePartitionMeta(meta)?.sequence, sequence);
      assert.is(decodePartitionMeta(meta)?.isUnsummed, isUnsummed);
      for (const [whole, decode] of [
        [bytes, decodeSummary],
        [meta, decodePartitionMeta],
      ] as const) {
        const damaged = whole.slice();
        const bit = chance % (damaged.length * 8);
        damaged[bit >> 3] = (damaged[bit >> 3] as number) ^ (1 << (bit & 7));
        assert.is(decode(damaged), undefined, `bit ${bit}`);
        assert.is(decode(whole.subarray(0, chance % whole.length)), undefined);
        assert.is(decode(Uint8Array.of(...whole, 0)), undefined);
      }
    },
  );
  fc.assert(property, runs(60));
});

test("every bit of a partition's sequence and of a summary's head is under a checksum", () => {
  const one = { namespaceNumber: 0, segment: 3, keyHash: 7n, tombstone: false, isMortal: false };
  const summary = summaryOf([
    { ...one, valueBytes: 9, n: 3, version: { hlc: 1n as Hlc, origin: 2n } },
  ]);
  const meta = encodePartitionMeta({ sequence: 77, summary, isUnsummed: true });
  for (let bit = 0; bit < 40 * 8; bit += 1) {
    const damaged = meta.slice();
    damaged[bit >> 3] = (damaged[bit >> 3] as number) ^ (1 << (bit & 7));
    assert.is(decodePartitionMeta(damaged), undefined, `bit ${bit}`);
  }
});

test("arbitrary bytes are neither a summary nor a checked document, and nothing throws", () => {
  const property = fc.property(bytesUpTo(200), (bytes) => {
    assert.is(decodeSummary(bytes), undefined);
    assert.is(decodePartitionMeta(bytes), undefined);
    assert.is(decodeMeta(bytes), undefined);
    assert.is(decodeChecked(bytes), undefined);
  });
  fc.assert(property, runs(300));
});

test("decodeChecked(encodeChecked(x)) equals x, also when other bytes follow; damage and cuts are refused", () => {
  const property = fc.property(fc.jsonValue(), bytesUpTo(20), fc.nat(), (value, rest, chance) => {
    const document = JSON.parse(JSON.stringify(value));
    const checked = encodeChecked(document);
    assert.equal(decodeChecked(checked), document);
    assert.equal(decodeChecked(Uint8Array.of(...checked, ...rest)), document);
    assert.is(decodeChecked(checked.subarray(0, chance % checked.length)), undefined);
    const bit = chance % (checked.length * 8);
    const damaged = checked.slice();
    damaged[bit >> 3] = (damaged[bit >> 3] as number) ^ (1 << (bit & 7));
    assert.is(decodeChecked(damaged), undefined, `bit ${bit}`);
  });
  fc.assert(property, runs(200));
});

test("corrupt-length-allocates-nothing: a length beyond the bytes is refused as it is", () => {
  const checked = encodeChecked({ a: 1 });
  for (const length of [0, 1, 2 ** 31, 2 ** 32 - 1]) {
    const damaged = checked.slice();
    new DataView(damaged.buffer).setUint32(12, length);
    assert.is(decodeChecked(damaged), undefined);
  }
});

test("the table's own description is read back, each round of it has other bytes, its keys come last", () => {
  const meta = {
    format: 1,
    storeId: "a".repeat(32),
    clusterId: "b".repeat(32),
    sequence: 12,
    ceiling: 0xffffffffffffffffn as Hlc,
    damaged: [1, 3],
    healed: [19],
    written: [0, 1, 3, 9],
  };
  const [one, two] = [encodeMeta(meta, 1), encodeMeta(meta, 2)];
  assert.equal(decodeMeta(one), meta);
  assert.equal(decodeMeta(two), meta);
  assert.is.not(Buffer.compare(one, two), 0);
  assert.ok(Buffer.compare(metaKey, Uint8Array.of(3, 255, 255, 255, 255, 255)) > 0);
  assert.ok(Buffer.compare(partitionMetaKey(0), metaKey) > 0);
  assert.ok(Buffer.compare(partitionMetaKey(1023), partitionMetaKey(255)) > 0);
});

test.run();
