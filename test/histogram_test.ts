import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { countBounds, Histogram, latencyBounds } from "../src/histogram.ts";

const test = suite("histogram");

test("Histogram.observe() counts a value at a bound below it, and one above all in the last", () => {
  const histogram = new Histogram([1, 2, 5]);
  for (const value of [0, 1, 1.5, 2, 5, 6, 1000]) histogram.observe(value);
  assert.equal(histogram.cumulative(), [2, 4, 5]);
  assert.is(histogram.count, 7);
  assert.is(histogram.sum, 1015.5);
});

test("Histogram.cumulative() says for each bound how many values are at or below it", () => {
  const value = fc.double({ min: 0, max: 100, noNaN: true });
  fc.assert(
    fc.property(fc.array(value), (values) => {
      const histogram = new Histogram(latencyBounds);
      for (const one of values) histogram.observe(one);
      const expected = latencyBounds.map((bound) => values.filter((one) => one <= bound).length);
      assert.equal(histogram.cumulative(), expected);
      assert.is(histogram.count, values.length);
    }),
  );
});

test("bounds that do not ascend are a broken invariant", () => {
  assert.throws(() => new Histogram([1, 1]), /bounds ascend/);
  for (const bounds of [latencyBounds, countBounds]) assert.ok(new Histogram(bounds));
});

test.run();
