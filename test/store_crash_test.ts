/**
 * Every state in which a power loss may leave the disk, one after another.
 *
 * A node works on a simulated disk that records every call. For each moment and each way in which
 * unsynced writes and names may be lost, kept, torn or reordered there, and for each state that the
 * table may have fallen back to, a new node is opened: acknowledged writes are there, others whole or
 * absent, lists and counters agree, and it takes writes again. `npm test` takes a fixed sample of the
 * states, the long run at least 100,000.
 */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimRandom } from "../sim/random.ts";
import type { TableImage } from "../src/table_memory.ts";
import {
  check,
  Ledger,
  newWorld,
  openIn,
  read,
  replayNotes,
  work,
  write,
} from "./store_harness.ts";

const isLong = process.env["QUORATE_LONG"] === "1";
const statesWanted = isLong ? 100_000 : 1500;
const statesPerSeed = isLong ? 4000 : 500;

const crash = suite("store crash");

interface Count {
  states: number;
}

/** One workload, and a node opened on every state that is taken of it. */
async function enumerate(seed: number, statesMax: number, count: Count): Promise<void> {
  const world = newWorld({ seed, noted: true });
  const ledger = new Ledger();
  const random = new SimRandom(seed);
  const knobs = { count: 40 + random.below(60), keys: 2 + random.below(12) };
  const bytesMax = [40, 700, 6000][random.below(3)] as number;
  const restarts = random.below(3);
  for (let start = 0; start <= restarts; start += 1) {
    const node = await openIn(world);
    await work(node, ledger, {
      random,
      ...knobs,
      bytesMax,
      note: (note) => world.disk.note(note),
      after: () => world.clock.advance(random.below(150)),
    });
    await node.close();
  }
  for (const state of world.disk.crashStates({
    random: new SimRandom(seed),
    statesMax,
    chancesPerMoment: 2,
  })) {
    const { acknowledged, image } = replayNotes(state.notes);
    const keep = image === undefined ? 0 : random.below(image.possible.length);
    const what = `seed ${seed}, moment ${state.moment}, ${state.what}, table ${keep}`;
    const after = newWorld({
      seed: seed + 1,
      nowMs: world.clock.nowMs() + 1000,
      disk: state.open(),
      ...(image === undefined ? {} : { image: fallenBack(image, keep) }),
    });
    const node = await openIn(after).catch((error: unknown) => {
      throw new Error(`${what}: it does not open: ${String(error)}`);
    });
    await check(node, ledger, acknowledged, what);
    await takesWrites(node, what);
    count.states += 1;
  }
}

/** What is left of the table when the first `keep` commits after the flushed one survive. */
function fallenBack(image: TableImage, keep: number): TableImage {
  const possible = image.possible.slice(0, keep + 1) as unknown as TableImage["possible"];
  return { ...image, possible, visibleCount: possible.length };
}

async function takesWrites(node: Awaited<ReturnType<typeof openIn>>, what: string): Promise<void> {
  const attempt = new Ledger().attempt("afterwards", "put", 50);
  await write(node, "afterwards", attempt);
  assert.equal(await read(node, "afterwards"), attempt.value, what);
  await node.close();
}

crash(
  "P1, P8: after a power loss at any moment, what was acknowledged is there and the rest whole or absent",
  async () => {
    const count: Count = { states: 0 };
    for (let seed = 1; count.states < statesWanted; seed += 1) {
      await enumerate(seed, statesPerSeed, count);
    }
    console.log(`${count.states} states`);
    assert.ok(count.states >= statesWanted);
  },
);

crash.run();
