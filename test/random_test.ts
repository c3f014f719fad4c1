import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimRandom } from "../sim/random.ts";

const test = suite("random");

const draw = (random: SimRandom, count: number): number[] =>
  Array.from({ length: count }, () => random.u32());

test("SimRandom: a seed gives the same numbers for ever: replays of old seeds rely on it", () => {
  assert.equal(
    draw(new SimRandom(0), 4),
    [1_789_933_344, 44_971_166, 2_521_387_044, 3_848_737_593],
  );
  assert.equal(
    draw(new SimRandom(1), 4),
    [393_288_148, 2_174_103_013, 3_814_759_091, 2_092_745_082],
  );
  assert.equal([...new SimRandom(1).bytes(6)], [212, 25, 113, 23, 229, 45]);
});

test("SimRandom: near seeds, and seeds beyond 32 bits, give numbers in range that differ", () => {
  const seen = new Set<number>();
  for (let seed = 0; seed < 1_000; seed += 1) {
    for (const number of draw(new SimRandom(seed), 4)) {
      assert.ok(Number.isInteger(number) && number >= 0 && number < 2 ** 32);
      seen.add(number);
    }
  }
  assert.ok(seen.size > 3_990, `${seen.size} of 4,000`);
});

test("SimRandom.below() is even, and below its bound", () => {
  const random = new SimRandom(7);
  const counts = new Array<number>(10).fill(0);
  for (let round = 0; round < 20_000; round += 1) {
    const number = random.below(10);
    counts[number] = (counts[number] ?? Number.NaN) + 1;
  }
  for (const count of counts) assert.ok(count > 1_800 && count < 2_200, counts.join(" "));
});

test("SimRandom.bytes() gives as many as asked, evenly spread", () => {
  const random = new SimRandom(3);
  for (const length of [0, 1, 3, 4, 5, 1_000]) assert.is(random.bytes(length).length, length);
  const seen = new Set(random.bytes(10_000));
  assert.is(seen.size, 256);
});

test.run();
