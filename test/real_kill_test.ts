/**
 * Real processes that are killed or told to stop at random moments under writers that never pause.
 *
 * One folder is kept through all rounds. After each the process is started again, and every key must
 * hold its last acknowledged write or a later try, whole; lists and counters must agree with reads.
 * A failure prints the seed; what the scheduler did meanwhile cannot be had again.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimRandom } from "../sim/random.ts";
import { withFolder } from "./cli_harness.ts";
import { type Running, startCli } from "./cli_process.ts";
import { type Answer, Client, checkAll, Ledger, writeUntilCut } from "./real_harness.ts";

const test = suite("real_kill");
const isLong = process.env["QUORATE_LONG"] === "1";
const killRounds = isLong ? 100 : 5;
const stopRounds = isLong ? 10 : 2;
const seed = Number(process.env["TEST_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
console.log(`seed ${seed}: TEST_SEED=${seed} has the same choices`);

const small = "--max-value 32KiB --memtable-bytes 64KiB --segment-bytes 64KiB";
/** Small ones are hit in the middle of checkpoints and rolls, the default one in group commits. */
const sizes: readonly (readonly string[])[] = [
  [],
  small.split(" "),
  "--max-value 64KiB --memtable-bytes 128KiB --segment-bytes 1MiB".split(" "),
];
const valueBytesMax = 30 * 1024;

/** A server on the folder, and a client for it. */
async function start(
  folder: string,
  words: readonly string[],
): Promise<{ server: Running; client: Client }> {
  const server = startCli(["serve", "--port", "0", "--data-dir", folder, ...words]);
  const url = await server.listening();
  return { server, client: new Client(url) };
}

async function end({ server, client }: { server: Running; client: Client }): Promise<void> {
  client.close();
  await server.end("SIGKILL");
}

test("kill -9 under full load loses nothing acknowledged, round after round on one folder", () =>
  withFolder(async (folder) => {
    const random = new SimRandom(seed);
    const ledger = new Ledger();
    let cuts = 0;
    for (let round = 1; round <= killRounds; round += 1) {
      const what = `seed ${seed}, round ${round}`;
      const running = await start(folder, sizes[round % sizes.length] ?? []);
      try {
        await checkAll(running.client, ledger, what);
        const killAfter = 1 + random.below(round % 2 === 0 ? 60 : 2500);
        const delayMs = random.below(4);
        let heard = 0;
        const onAcknowledged = (): void => {
          heard += 1;
          // At once, or a little later in the middle of whatever it does then.
          if (heard === killAfter)
            setTimeout(() => running.server.process.kill("SIGKILL"), delayMs);
        };
        const { client } = running;
        const load = { client, ledger, random, valueBytesMax, onAcknowledged };
        cuts += await writeUntilCut({ ...load, writers: 12, keysPerWriter: 15 });
        assert.is((await running.server.ended).signal, "SIGKILL", what);
        ledger.endAll();
      } finally {
        await end(running);
      }
    }
    const last = await start(folder, []);
    try {
      await checkAll(last.client, ledger, `seed ${seed}, after the last round`);
    } finally {
      await end(last);
    }
    assert.ok(ledger.acknowledgedCount > killRounds, "something was acknowledged");
    assert.ok(cuts > 0, "a kill came into the middle of requests");
    console.log(`${killRounds} kills, ${ledger.acknowledgedCount} acknowledged, ${cuts} cut`);
  }));

/** What a stopping node may say to a write: that it is stopping. */
function isDraining({ status, body }: Answer): boolean {
  assert.is(status, 503, body);
  assert.match(body, /draining|not-ready/);
  return false;
}

test("SIGTERM under full load answers or refuses what is in flight, and exits 0", () =>
  withFolder(async (folder) => {
    const random = new SimRandom(seed + 1);
    const ledger = new Ledger();
    for (let round = 1; round <= stopRounds; round += 1) {
      const what = `seed ${seed}, stop ${round}`;
      const running = await start(folder, sizes[round % sizes.length] ?? []);
      try {
        await checkAll(running.client, ledger, what);
        const stopAfter = 1 + random.below(1500);
        let heard = 0;
        const onAcknowledged = (): void => {
          heard += 1;
          if (heard === stopAfter) running.server.process.kill("SIGTERM");
        };
        const { client } = running;
        const load = {
          client,
          ledger,
          random,
          valueBytesMax,
          onAcknowledged,
          onRefused: isDraining,
        };
        await writeUntilCut({ ...load, writers: 12, keysPerWriter: 15 });
        const { code, signal } = await running.server.ended;
        assert.is(code, 0, `${what}: ${signal} ${running.server.err}`);
        assert.not.ok(fs.existsSync(path.join(folder, "LOCK")), `${what}: the folder is free`);
        ledger.endAll();
      } finally {
        await end(running);
      }
    }
    const last = await start(folder, []);
    try {
      await checkAll(last.client, ledger, `seed ${seed}, after the last stop`);
    } finally {
      await end(last);
    }
  }));

test("a second signal under full load stops at once, with nothing acknowledged lost", () =>
  withFolder(async (folder) => {
    const random = new SimRandom(seed + 2);
    const ledger = new Ledger();
    const running = await start(folder, sizes[1] ?? []);
    try {
      const { server, client } = running;
      const stopAfter = 1 + random.below(600);
      let heard = 0;
      let again: NodeJS.Timeout | undefined;
      const onAcknowledged = (): void => {
        heard += 1;
        if (heard !== stopAfter) return;
        // The first ones count as one key press; the first after 250 ms is the second. One that comes while the
        // process exits would end it as a signal does.
        again = setInterval(() => {
          if (!server.err.includes("SIGTERM again")) server.process.kill("SIGTERM");
        }, 100);
      };
      // A request that never ends keeps the first signal's stop waiting for the second one.
      const held = client.ask("PUT", "/v1/kv/default/held?timeout=60s", undefined, 4);
      const load = { client, ledger, random, valueBytesMax, onAcknowledged, onRefused: isDraining };
      await writeUntilCut({ ...load, writers: 12, keysPerWriter: 15 });
      await held.catch(() => {});
      const { code } = await server.ended;
      clearInterval(again);
      assert.is(code, 1, server.err);
      assert.match(server.err, "SIGTERM again: stopping at once");
      ledger.endAll();
    } finally {
      await end(running);
    }
    const next = await start(folder, []);
    try {
      await checkAll(next.client, ledger, `seed ${seed}`);
    } finally {
      await end(next);
    }
  }));

test("a second process on a folder under load is refused and named, and harms nothing", () =>
  withFolder(async (folder) => {
    const random = new SimRandom(seed + 3);
    const ledger = new Ledger();
    const running = await start(folder, []);
    try {
      const { server, client } = running;
      let begin: () => void = () => {};
      const begun = new Promise<void>((fulfil) => {
        begin = fulfil;
      });
      const load = { client, ledger, random, valueBytesMax, onAcknowledged: () => begin() };
      const written = writeUntilCut({ ...load, writers: 4, keysPerWriter: 15 });
      await begun;
      const second = startCli(["serve", "--port", "0", "--data-dir", folder]);
      const { code } = await second.ended;
      assert.is(code, 1, second.err);
      assert.is(second.out, "");
      assert.match(second.err, "(data-folder-in-use)");
      assert.match(second.err, `process ${server.process.pid}`);
      assert.is((await client.ask("GET", "/livez")).status, 200);
      server.process.kill("SIGKILL");
      await written;
      await server.ended;
      ledger.endAll();
    } finally {
      await end(running);
    }
    const next = await start(folder, []);
    try {
      await checkAll(next.client, ledger, `seed ${seed}`);
    } finally {
      await end(next);
    }
  }));

test.run();
