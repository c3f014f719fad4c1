/** The bytes of a change in the log and of a key in the table: read back, bounded, in order. */

import * as fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { contentTypeDefault } from "../src/api.ts";
import { compare, latin1, prefixEnd, startsWith } from "../src/bytes.ts";
import type { Hlc } from "../src/hlc.ts";
import { isIntact } from "../src/record.ts";
import { Slab } from "../src/slab.ts";
import {
  encodeForget,
  encodePut,
  forgetBytes,
  parseChange,
  parseTableKey,
  partitionRange,
  prefixRange,
  putBytes,
  tableKey,
} from "../src/store_entry.ts";
import { anyKey, bytesUpTo, runs } from "./samples.ts";

const test = suite("store_entry");

test("a change is read back from the log, its record good for its key", () => {
  const slab = new Slab();
  const property = fc.property(
    anyKey,
    fc.nat(2 ** 32 - 1),
    bytesUpTo(100),
    (key, number, value) => {
      const record = {
        version: { hlc: 5n as Hlc, origin: 6n },
        tombstone: false,
        contentType: contentTypeDefault,
        meta: [],
        value,
      };
      const put = encodePut(slab, number, key, record);
      assert.is(put.payload.length, putBytes(key, record));
      const found = parseChange(put.payload);
      assert.is(found?.namespaceNumber, number);
      assert.equal([...(found?.key ?? [])], [...key]);
      assert.ok(isIntact(found?.record as Uint8Array, number, key));
      const forget = encodeForget(slab, number, key);
      assert.is(forget.payload.length, forgetBytes(key));
      const forgotten = parseChange(forget.payload);
      assert.is(forgotten?.record, undefined);
      assert.equal([...(forgotten?.key ?? [])], [...key]);
      assert.is(forgotten?.namespaceNumber, number);
      // What was handed out before is never written to again.
      assert.ok(isIntact(put.record as Uint8Array, number, key));
    },
  );
  fc.assert(property, runs(200));
});

test("parseChange() of any bytes is a change whose parts fit, or nothing", () => {
  const property = fc.property(bytesUpTo(60), fc.integer({ min: 0, max: 3 }), (bytes, kind) => {
    const payload = Uint8Array.of(kind, ...bytes);
    const change = parseChange(payload);
    if (change === undefined) return;
    assert.ok(kind === 1 || kind === 2);
    assert.ok(change.key.length >= 1 && change.key.length <= 1024);
    assert.is(7 + change.key.length + (change.record?.length ?? 0) <= payload.length, true);
  });
  fc.assert(property, runs(500));
  assert.is(parseChange(new Uint8Array(0)), undefined);
  assert.is(parseChange(Uint8Array.of(1, 0, 0, 0, 0, 0, 0)), undefined, "no key");
  assert.is(
    parseChange(Uint8Array.of(1, 0, 0, 0, 0, 255, 255, 1)),
    undefined,
    "a length beyond it",
  );
});

test("tableKey() keeps a partition, a namespace in it and a prefix in that each in one range", () => {
  const anyPlace = fc.record({
    partition: fc.nat(1023),
    number: fc.constantFrom(0, 1, 255, 256, 2 ** 32 - 1),
    key: anyKey,
  });
  const property = fc.property(anyPlace, anyPlace, anyKey, (one, other, prefix) => {
    const [a, b] = [one, other].map(({ partition, number, key }) =>
      tableKey(partition, number, key),
    );
    const [left, right] = [a as Uint8Array, b as Uint8Array];
    assert.equal(parseTableKey(left).namespaceNumber, one.number);
    assert.equal([...parseTableKey(left).key], [...one.key]);
    const order =
      one.partition - other.partition || one.number - other.number || compare(one.key, other.key);
    assert.is(compare(left, right), Math.sign(order));
    const within = ({ start, end }: { start: Uint8Array; end: Uint8Array }): boolean =>
      compare(right, start) >= 0 && compare(right, end) < 0;
    assert.is(within(partitionRange(one.partition)), one.partition === other.partition);
    const isSame = one.partition === other.partition && one.number === other.number;
    assert.is(
      within(prefixRange(one.partition, one.number, prefix)),
      isSame && startsWith(other.key, prefix),
    );
    assert.is(within(prefixRange(one.partition, one.number, new Uint8Array(0))), isSame);
  });
  fc.assert(property, runs(500));
  assert.ok(prefixEnd(tableKey(1023, 2 ** 32 - 1, Uint8Array.of(255))) !== undefined);
  assert.is(latin1(tableKey(0x102, 0x03040506, Uint8Array.of(7))), "\x01\x02\x03\x04\x05\x06\x07");
});

test.run();
