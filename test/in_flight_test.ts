/** What is under way, by ascending numbers: a Map in all but its tables. */

import * as fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { InFlight } from "../src/in_flight.ts";
import { runs } from "./samples.ts";

const test = suite("in flight");

test("InFlight: takes and gives back as a Map with new numbers does, whatever the order", () => {
  const property = fc.property(
    fc.array(fc.oneof(fc.constant("add" as const), fc.nat({ max: 400 })), { maxLength: 600 }),
    (steps) => {
      const inFlight = new InFlight<{ readonly step: number }>();
      const model = new Map<number, { readonly step: number }>();
      const numbers: number[] = [];
      for (const [step, what] of steps.entries()) {
        if (what === "add") {
          const value = { step };
          const number = inFlight.add(value);
          assert.not(numbers.includes(number), "no number is given twice");
          numbers.push(number);
          model.set(number, value);
        } else {
          const number = numbers[what % Math.max(1, numbers.length)] ?? what;
          assert.is(inFlight.take(number), model.get(number));
          model.delete(number);
        }
        assert.is(inFlight.size, model.size);
      }
      assert.equal(inFlight.values(), [...model.values()]);
    },
  );
  fc.assert(property, runs(200));
});

test("InFlight: what stays long neither moves nor makes room for all that comes after it", () => {
  const inFlight = new InFlight<string>();
  const first = inFlight.add("first");
  let last = first;
  for (let round = 0; round < 100_000; round += 1) {
    const number = inFlight.add("next");
    assert.ok(number > last);
    assert.is(inFlight.take(number), "next");
    last = number;
  }
  // Each round of the ring passes over the place that is taken.
  assert.ok(last > 100_001 && last < 103_000, String(last));
  assert.equal(inFlight.values(), ["first"]);
  assert.is(inFlight.take(first), "first");
  assert.is(inFlight.take(first), undefined);
});

test("InFlight: values come in the order in which they were taken, also where numbers begin anew", () => {
  const inFlight = new InFlight<string>(2 ** 32 - 3);
  const numbers = ["a", "b", "c", "d", "e"].map((value) => inFlight.add(value));
  assert.equal(numbers, [2 ** 32 - 2, 2 ** 32 - 1, 0, 1, 2]);
  assert.equal(inFlight.values(), ["a", "b", "c", "d", "e"]);
  for (let more = 0; more < 200; more += 1) inFlight.add(String(more));
  assert.equal(inFlight.values().slice(0, 7), ["a", "b", "c", "d", "e", "0", "1"]);
  assert.is(inFlight.take(2 ** 32 - 1), "b");
  assert.is(inFlight.take(1), "d");
});

test.run();
