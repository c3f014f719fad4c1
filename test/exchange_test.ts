import * as v8 from "node:v8";
import * as vm from "node:vm";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { tooManyRequests } from "../src/admission.ts";
import { BodyBuffer, type BodyLimit } from "../src/exchange.ts";

const test = suite("exchange");

const limit: BodyLimit = {
  bytesMax: 64 * 1024 * 1024,
  tooLarge: () => tooManyRequests(0),
  timeoutMs: 1000,
  reserve: () => {},
};

test("BodyBuffer gives the pieces back in their order, whatever their sizes", () => {
  let state = 7;
  const next = (below: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  for (let round = 0; round < 200; round += 1) {
    const buffer = new BodyBuffer(limit, undefined);
    const pieces: Uint8Array[] = [];
    for (let count = next(30); count > 0; count -= 1) {
      const length = next([2, 100, 5000, 20_000][next(4)] ?? 0);
      pieces.push(Uint8Array.from({ length }, () => next(256)));
    }
    for (const piece of pieces) buffer.add(piece);
    assert.ok(Buffer.concat(pieces).equals(buffer.take()), `round ${round}`);
  }
});

test("BodyBuffer holds no more of a body that comes byte by byte than of any other", () => {
  v8.setFlagsFromString("--expose-gc");
  const collect = vm.runInNewContext("gc") as () => void;
  const held = (): number => {
    collect();
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    return heapUsed + arrayBuffers;
  };
  const count = 500_000;
  const source = new Uint8Array(1000);
  const before = held();
  const buffer = new BodyBuffer(limit, undefined);
  for (let index = 0; index < count; index += 1) {
    buffer.add(source.subarray(index % 1000, (index % 1000) + 1));
  }
  const bytes = held() - before;
  assert.ok(bytes < 4 * count, `${count} bytes hold ${bytes}`);
  assert.is(buffer.take().length, count);
});

test.run();
