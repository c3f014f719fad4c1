/**
 * A real file system that fills up: a small tmpfs, mounted for the test.
 *
 * First the writers reach the reserve, then a file of somebody else takes all the rest. Writes that
 * grow are refused with 507 and outcome `none`, while reads and deletes go on; a process that was killed
 * starts on the full disk; and when there is room again, writes go on without anybody's help.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimRandom } from "../sim/random.ts";
import { type Running, startCli } from "./cli_process.ts";
import { type Answer, Client, checkAll, keyPath, Ledger, textOf } from "./real_harness.ts";
import { enlarge, obstacle, takeTheRest, withSmallDisk } from "./small_disk.ts";

const test = suite("real_full");
const isLong = process.env["QUORATE_LONG"] === "1";
const seed = Number(process.env["TEST_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
console.log(`seed ${seed}: TEST_SEED=${seed} has the same choices`);
const rounds = isLong ? 5 : 1;
const sizes =
  "--max-value 64KiB --segment-bytes 1MiB --memtable-bytes 1MiB --disk-reserve 4MiB --scrub-rate 0";
const writers = 8;
const deletes = 15;
/** A start needs a little: for the lock of the folder, and a short segment of the log. */
const startSize = "25m";
const roomySize = "48m";

async function withServer(
  folder: string,
  use: (client: Client, server: Running) => Promise<void>,
): Promise<void> {
  const words = ["serve", "--port", "0", "--data-dir", path.join(folder, "data")];
  const server = startCli([...words, ...sizes.split(" ")]);
  const client = new Client(await server.listening());
  try {
    await use(client, server);
  } finally {
    client.close();
    await server.end("SIGKILL");
  }
}

function assertFull({ status, body }: Answer): void {
  assert.is(status, 507, body);
  const said = JSON.parse(body) as { type: string; outcome: string; hint: string };
  assert.is(said.type, "/problems/disk-full");
  assert.is(said.outcome, "none");
  assert.match(said.hint, /[Ff]ree space/);
}

interface World {
  readonly ledger: Ledger;
  readonly random: SimRandom;
  /** Keys that hold a value. */
  readonly live: string[];
  next: number;
}

async function put({ ledger, random, live }: World, client: Client, key: string): Promise<Answer> {
  const attempt = ledger.begin(key, "put", random.below(40_000));
  const answer = await client.ask("PUT", keyPath(key), textOf(key, attempt));
  if (answer.status === 204) {
    ledger.acknowledge(attempt);
    live.push(key);
  } else {
    assertFull(answer);
    ledger.refuse(key, attempt);
  }
  return answer;
}

/** New keys by several writers, until each of them was told that the disk is full. */
async function fillUp(world: World, client: Client): Promise<void> {
  const write = async (): Promise<void> => {
    for (;;) {
      world.next += 1;
      if ((await put(world, client, `k${world.next}`)).status !== 204) return;
    }
  };
  await Promise.all(Array.from({ length: writers }, write));
}

async function readsAndDeletesGoOn(world: World, client: Client): Promise<void> {
  assertFull(await put(world, client, "refused"));
  for (let count = 0; count < deletes; count += 1) {
    const [key = ""] = world.live.splice(world.random.below(world.live.length), 1);
    assert.is((await client.ask("GET", keyPath(key))).status, 200, key);
    const attempt = world.ledger.begin(key, "delete", 0);
    const { status, body } = await client.ask("DELETE", keyPath(key));
    assert.is(status, 204, body);
    world.ledger.acknowledge(attempt);
  }
  const ready = await client.ask("GET", "/readyz?verbose");
  assert.is(ready.status, 200, ready.body);
}

/** Without a single byte the folder cannot even be locked: it says so, and nothing is changed. */
async function refusesToStart(folder: string): Promise<void> {
  const rest = takeTheRest(folder, "the-last-bytes");
  const data = path.join(folder, "data");
  const server = startCli(["serve", "--port", "0", "--data-dir", data, ...sizes.split(" ")]);
  const { code } = await server.ended;
  assert.is(code, 1, server.err);
  assert.match(server.err, "(disk-full)");
  assert.match(server.err, /^hint: .*Free some space/m);
  fs.rmSync(rest);
}

/** Asks again until it is taken: the node looks at the disk every second. */
async function putUntilTaken(world: World, client: Client): Promise<void> {
  for (;;) if ((await put(world, client, "again")).status === 204) return;
}

async function fillAndFree(round: number): Promise<void> {
  await withSmallDisk(async (folder) => {
    const random = new SimRandom(seed + round);
    const world: World = { ledger: new Ledger(), random, live: [], next: 0 };
    const what = `seed ${seed}, round ${round}`;
    let file = "";
    await withServer(folder, async (client) => {
      await fillUp(world, client);
      assert.ok(world.live.length > 50, `${world.live.length} keys`);
      await readsAndDeletesGoOn(world, client);
      file = takeTheRest(folder, "of-somebody-else");
      await readsAndDeletesGoOn(world, client);
    });
    world.ledger.endAll();
    await refusesToStart(folder);
    enlarge(folder, startSize);
    await withServer(folder, async (client) => {
      await checkAll(client, world.ledger, `${what}, started on the full disk`);
      assertFull(await put(world, client, "refused"));
      fs.rmSync(file);
      enlarge(folder, roomySize);
      await putUntilTaken(world, client);
      await checkAll(client, world.ledger, `${what}, with room again`);
    });
  });
}

const why = obstacle();
const name = "P1: on a full disk growing writes get 507, the rest goes on, and it clears by itself";
const run = async (): Promise<void> => {
  // A long run without it would prove less than it says.
  assert.is(why, undefined);
  for (let round = 1; round <= rounds; round += 1) await fillAndFree(round);
};
if (why === undefined || isLong) test(name, run);
else test.skip(`${name} (${why})`, run);

test.run();
