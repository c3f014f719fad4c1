/**
 * Room in the log when many writes need it at once: more than the segment at hand can take.
 *
 * They all wait for the next segment, which one of them makes ready, once: a segment that were made
 * ready twice would stand where the one in use did. None of them is told that the disk is full while
 * it is not. After a kill everything that was acknowledged is there.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimRandom } from "../sim/random.ts";
import { type Report, silentReport } from "../src/capability.ts";
import { QuorateError } from "../src/errors.ts";
import type { QuorateNode } from "../src/node.ts";
import { check, Ledger, newWorld, openIn, type World, write } from "./store_harness.ts";

const test = suite("wal_room");
const isLong = process.env["QUORATE_LONG"] === "1";
const seeds = isLong ? 200 : 8;
const atOnce = 60;
const rounds = 6;
const settings = { memtableBytesMax: 256 * 1024 };

/** Writes to many keys at once; answers the slugs of those that were refused. */
async function writeMany(
  node: QuorateNode,
  ledger: Ledger,
  random: SimRandom,
  bytesMax: number,
): Promise<string[]> {
  const refused: string[] = [];
  const tries = Array.from({ length: atOnce }, async (_, index) => {
    // In different turns, so that some come into the middle of what others began.
    for (let turns = random.below(40); turns > 0; turns -= 1) await Promise.resolve();
    const key = `k${index}`;
    const attempt = ledger.attempt(key, "put", random.below(bytesMax));
    try {
      await write(node, key, attempt);
      ledger.acknowledge(key, attempt.number);
    } catch (error) {
      assert.instance(error, QuorateError, String(error));
      refused.push((error as QuorateError).slug);
      assert.is((error as QuorateError).outcome, "none", String(error));
    }
  });
  await Promise.all(tries);
  return refused;
}

async function checkAfterKill(world: World, ledger: Ledger, what: string): Promise<void> {
  const image = world.table.image;
  const after = newWorld({ seed: 99, disk: world.disk.kill(), image });
  const node = await openIn(after, settings);
  await check(node, ledger, ledger.acknowledged, what);
  await node.close();
}

test("wal: many writes that wait for room share one next segment, and nothing is lost", async () => {
  for (let seed = 1; seed <= seeds; seed += 1) {
    const random = new SimRandom(seed);
    const world = newWorld({ seed });
    const ledger = new Ledger();
    const complaints: string[] = [];
    const report: Report = {
      ...silentReport,
      log: (level, message, fields) => {
        if (level !== "info") complaints.push(`${message} ${JSON.stringify(fields)}`);
      },
    };
    const node = await openIn(world, settings, report);
    complaints.length = 0;
    for (let round = 0; round < rounds; round += 1) {
      const refused = await writeMany(node, ledger, random, round % 2 === 0 ? 2_000 : 30_000);
      assert.not.ok(refused.includes("disk-full"), `seed ${seed}, round ${round}`);
      assert.equal(complaints, [], `seed ${seed}, round ${round}`);
    }
    assert.ok(ledger.acknowledged.size > atOnce / 2, "most were taken");
    await checkAfterKill(world, ledger, `seed ${seed}`);
  }
});

test("wal: when the disk has room again, those that waited make no segment over each other's", async () => {
  let fullCount = 0;
  for (let seed = 1; seed <= seeds; seed += 1) {
    const random = new SimRandom(seed);
    const world = newWorld({ seed });
    const { totalBytes } = world.disk;
    const ledger = new Ledger();
    const report: Report = {
      ...silentReport,
      sometimes: (name) => {
        if (name === "wal: no space for a segment") world.disk.totalBytes = totalBytes;
      },
    };
    const node = await openIn(world, settings, report);
    for (let round = 0; round < rounds; round += 1) {
      world.disk.totalBytes = 1;
      const refused = await writeMany(node, ledger, random, 30_000);
      fullCount += refused.filter((slug) => slug === "disk-full").length;
      world.disk.totalBytes = totalBytes;
      await writeMany(node, ledger, random, 2_000);
    }
    assert.is(node.readiness().find(({ name }) => name === "store")?.ok, true, `seed ${seed}`);
    await checkAfterKill(world, ledger, `seed ${seed}`);
  }
  assert.ok(fullCount > 0, "the disk was full");
});

test.run();
