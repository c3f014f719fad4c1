import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Ring } from "../src/ring.ts";
import { StoreIndex } from "../src/store_index.ts";
import { MemoryTableDisk } from "../src/table_memory.ts";
import { replicasMax } from "../src/topology.ts";

const test = suite("store_index");
const everyN = Array.from({ length: replicasMax + 1 }, (_, n) => n);

async function emptyIndex(): Promise<StoreIndex> {
  return new StoreIndex(new Ring("00".repeat(16), 2), await new MemoryTableDisk().open());
}

const lostIn = (index: StoreIndex, partition: number) =>
  everyN.filter((n) => index.isDamaged(partition, n));

test("damage() of some n leaves the others as they were: whole, or lost", async () => {
  const index = await emptyIndex();
  assert.is(index.damage(1, [3]), true);
  assert.equal(lostIn(index, 1), [3]);
  assert.is(index.damage(1, [2]), true, "it was not known of these");
  assert.equal(lostIn(index, 1), [2, 3]);
  assert.is(index.damage(1, [2, 3]), false);
  assert.equal([lostIn(index, 1), lostIn(index, 0)], [[2, 3], []]);
  assert.is(index.damagesOf(1), 3, "whatever fills it begins again each time");
});

test("damage() of no n in particular loses all of a partition, also what was healed", async () => {
  const index = await emptyIndex();
  assert.is(index.damage(0), true);
  assert.equal(lostIn(index, 0), everyN);
  assert.is(index.damage(0), false);
  index.heal(0, { ns: [1, 3], damages: index.damagesOf(0), isWhole: false });
  assert.equal(
    lostIn(index, 0),
    everyN.filter((n) => n !== 1 && n !== 3),
  );
  assert.is(index.damage(0), true);
  assert.equal(lostIn(index, 0), everyN);
});

test("damage() after all of a partition was healed begins with nothing lost", async () => {
  const index = await emptyIndex();
  index.damage(0);
  index.heal(0, { ns: everyN, damages: index.damagesOf(0), isWhole: true });
  assert.equal([lostIn(index, 0), index.damaged.size, index.healed.size], [[], 0, 0]);
  index.damage(0, [5]);
  assert.equal(lostIn(index, 0), [5]);
});

test.run();
