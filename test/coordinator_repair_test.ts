/** The bound of the repairs that nobody waits for. */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { silentReport } from "../src/capability.ts";
import { ReadRepairs, repairsMax } from "../src/coordinator_repair.ts";

const test = suite("coordinator_repair");

test("ReadRepairs: none is begun past the bound; one that is over, failed or not, makes room", async () => {
  const repairs = new ReadRepairs(silentReport);
  const ends: { readonly well: () => void; readonly badly: (error: Error) => void }[] = [];
  const run = (): Promise<void> =>
    new Promise((well, badly) => {
      ends.push({ well, badly });
    });
  for (let count = 0; count < repairsMax; count += 1) assert.ok(repairs.begin(run));
  assert.not(repairs.begin(run));
  assert.is(ends.length, repairsMax, "what is refused is not run");
  ends[0]?.well();
  ends[1]?.badly(new Error("it was not reached"));
  for (let turn = 0; turn < 10; turn += 1) await undefined;
  assert.ok(repairs.begin(run));
  assert.ok(repairs.begin(run));
  assert.not(repairs.begin(run));
});

test.run();
