/**
 * Real fill: a real process whose disk went back in time, or was damaged, gets its data back by itself.
 *
 * The folder of a node is put back to a copy that was taken while it was stopped, after the others have
 * gone on; bytes of records in a table's file are flipped, or whole pages of it are zeros. Nobody does anything more than to start
 * the process, as a supervisor would.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { MovesAnswer, NodeInfo, RepairAnswer } from "../../src/api.ts";
import { quorate, withFolder } from "../cli_harness.ts";
import { pause, RealCluster, Writers } from "../real_cluster_harness.ts";

const test = suite("real fill");
const words = ["--gossip-period", "200ms", "--partitions", "16", "--repair-period", "1h"];
const victim = 2;

async function ask<Answer>(cluster: RealCluster, node: number, route: string): Promise<Answer> {
  const response = await fetch(`${cluster.at(node).url}${route}`);
  return (await response.json()) as Answer;
}

/** Starts it again whenever it ends, until it serves: as whoever looks after the process does. */
async function supervised(cluster: RealCluster, node: number): Promise<number> {
  for (let starts = 1; ; starts += 1) {
    cluster.restart(node);
    const served = cluster.ready([node]).then(
      () => true,
      () => false,
    );
    if (await served) return starts;
    assert.ok(starts < 5, cluster.at(node).process.err);
  }
}

async function everywhere(cluster: RealCluster, writers: Writers): Promise<void> {
  for (const node of [0, 1, 2]) await writers.check(cluster, node, "?consistency=all");
}

test("I4: a node whose folder was put back to an older copy fills by itself; its vote stays void, and it says how to get it back", () =>
  withFolder(async (folder) => {
    const cluster = await RealCluster.start(folder, { words: Array(3).fill(words) });
    try {
      const { folder: own } = cluster.at(victim);
      const first = new Writers(cluster, [0, 1], "a");
      await first.more(200);
      await first.stop();
      await cluster.at(victim).process.end("SIGTERM");
      fs.cpSync(own, `${own}-copy`, { recursive: true });
      cluster.restart(victim);
      await cluster.ready([victim]);
      const second = new Writers(cluster, [0, 1], "b");
      await second.more(300);
      await second.stop();
      await cluster.withoutHints();
      // What was heard of a store is kept a moment later.
      await pause(3000);
      await cluster.at(victim).process.end("SIGTERM");
      fs.rmSync(own, { recursive: true });
      fs.renameSync(`${own}-copy`, own);
      assert.ok((await supervised(cluster, victim)) <= 3);
      await everywhere(cluster, first);
      await everywhere(cluster, second);
      const repair = await ask<RepairAnswer>(cluster, victim, "/v1/repair");
      assert.ok(repair.rolledBack && repair.filled >= 16, JSON.stringify(repair));
      assert.is(repair.lackingCount, 0);
      const ready = await fetch(`${cluster.at(victim).url}/readyz?verbose`);
      assert.match(await ready.text(), /vote.*void.*cluster plan --replace n3/);
      // Every member tells of it.
      await pause(1000);
      const { url } = cluster.at(0);
      const status = await quorate(["cluster", "status", "--url", url, "--output", "json"]);
      const { losses } = JSON.parse(status.out) as MovesAnswer;
      assert.is(losses?.length, 1, status.out);
      assert.match(losses?.[0]?.next ?? "", "cluster plan --replace n3");
      // It goes on where it was, and has lost nothing a second time.
      await cluster.at(victim).process.end("SIGTERM");
      await supervised(cluster, victim);
      const again = await ask<RepairAnswer>(cluster, victim, "/v1/repair");
      assert.equal([again.rolledBack, again.lackingCount, again.filled], [true, 0, 0]);
      await everywhere(cluster, second);
    } finally {
      await cluster.end();
    }
  }));

test("I4, P8: a node with damaged records in its table's file fills these partitions by itself", () =>
  withFolder(async (folder) => {
    const cluster = await RealCluster.start(folder, { words: Array(3).fill(words) });
    try {
      const writers = new Writers(cluster, [0, 1]);
      const { url, folder: own } = cluster.at(victim);
      const marker = "a value that can be found in a file ";
      for (let number = 0; number < 40; number += 1) {
        const body = `${marker}${number} `.padEnd(200, "x");
        const answer = await fetch(`${url}/v1/kv/default/long-${number}?consistency=all`, {
          ...{ method: "PUT", body },
        });
        assert.is(answer.status, 204);
      }
      await writers.more(100);
      await cluster.at(victim).process.end("SIGTERM");
      const file = path.join(own, "table.lmdb");
      const bytes = fs.readFileSync(file);
      let count = 0;
      for (let at = bytes.indexOf(marker); at !== -1; at = bytes.indexOf(marker, at + 1)) {
        bytes[at + 5] = (bytes[at + 5] ?? 0) ^ 0x10;
        count += 1;
      }
      assert.ok(count >= 40, `${count} were found`);
      fs.writeFileSync(file, bytes);
      await writers.more(100);
      cluster.restart(victim);
      await cluster.ready([victim]);
      for (;;) {
        const { damagedPartitions } = await ask<NodeInfo>(cluster, victim, "/v1/info");
        const { filled, lackingCount } = await ask<RepairAnswer>(cluster, victim, "/v1/repair");
        if (filled > 0 && lackingCount === 0 && damagedPartitions.length === 0) break;
        await pause(100);
      }
      await writers.stop();
      await everywhere(cluster, writers);
      for (let number = 0; number < 40; number += 1) {
        const key = `/v1/kv/default/long-${number}?consistency=all`;
        const answer = await fetch(`${url}${key}`);
        assert.match(await answer.text(), new RegExp(`^${marker}${number} x+$`));
      }
      // The next start, whose scrub reads all of it, finds nothing.
      await cluster.at(victim).process.end("SIGTERM");
      cluster.restart(victim);
      await cluster.ready([victim]);
      await pause(3000);
      const { damagedPartitions } = await ask<NodeInfo>(cluster, victim, "/v1/info");
      assert.equal(damagedPartitions, []);
    } finally {
      await cluster.end();
    }
  }));

test("D6, I4: a table's file in which every third page is zeros is set aside by the third start that it ends, and all is filled", () =>
  withFolder(async (folder) => {
    const cluster = await RealCluster.start(folder, { words: Array(3).fill(words) });
    try {
      const { url, folder: own } = cluster.at(victim);
      const textOf = (number: number): string => `value ${number} `.padEnd(20_000, "x");
      // More than the log keeps.
      for (let first = 0; first < 600; first += 20) {
        const puts = Array.from({ length: 20 }, (_, at) =>
          fetch(`${url}/v1/kv/default/long-${(first + at) % 100}?consistency=all`, {
            ...{ method: "PUT", body: textOf(first + at) },
          }),
        );
        for (const { status } of await Promise.all(puts)) assert.is(status, 204);
      }
      await cluster.at(victim).process.end("SIGTERM");
      const file = path.join(own, "table.lmdb");
      const bytes = fs.readFileSync(file);
      for (let page = 4; page * 4096 < bytes.length; page += 3) {
        bytes.fill(0, page * 4096, (page + 1) * 4096);
      }
      fs.writeFileSync(file, bytes);
      // Which pages a start reads depends on where they lie: most end at once, some only in the scrub.
      let starts = await supervised(cluster, victim);
      const readAll = async (): Promise<boolean> => {
        for (let number = 500; number < 600; number += 1) {
          const route = `/v1/kv/default/long-${number % 100}?consistency=all`;
          const answer = await fetch(`${url}${route}`);
          if (answer.status !== 200) return false;
          assert.is(await answer.text(), textOf(number));
        }
        return true;
      };
      for (;;) {
        const filled = await ask<RepairAnswer>(cluster, victim, "/v1/repair").then(
          (repair) => repair.lackingCount === 0 && repair.filled > 0,
          () => undefined,
        );
        if (filled === undefined) starts += await supervised(cluster, victim);
        else if (filled && (await readAll())) break;
        await pause(100);
      }
      assert.ok(starts <= 3, `${starts} starts`);
      const aside = path.join(own, "aside");
      const kept = fs.existsSync(aside) ? fs.readdirSync(aside) : [];
      assert.equal(kept, starts === 3 ? ["table.lmdb"] : []);
    } finally {
      await cluster.end();
    }
  }));

test.run();
