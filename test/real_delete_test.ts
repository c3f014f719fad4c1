/**
 * Real delete: what was deleted while a process was away stays deleted when it is back, although no hint
 * tells it so: the bound on hints was reached before.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { withFolder } from "./cli_harness.ts";
import { pause, RealCluster } from "./real_cluster_harness.ts";

const test = suite("real delete");

const isLong = process.env["QUORATE_LONG"] === "1";
const keyCount = isLong ? 2000 : 100;
const fillerBytes = 64 * 1024;
const hintBytesMax = 2 * 1024 * 1024;

interface Explained {
  readonly replicas: readonly { readonly node: string; readonly tombstone?: boolean }[];
}

function deletedKey(at: number): string {
  return `deleted-${at}`;
}

async function ask(url: string, method: string, body?: string): Promise<number> {
  const response = await fetch(url, body === undefined ? { method } : { method, body });
  await response.arrayBuffer();
  return response.status;
}

/** Of which of the deleted keys the third node still holds a value. */
async function heldByThird(cluster: RealCluster): Promise<readonly string[]> {
  const held: string[] = [];
  for (let at = 0; at < keyCount; at += 1) {
    const response = await fetch(`${cluster.at(0).url}/v1/explain/default/${deletedKey(at)}`);
    const { replicas } = (await response.json()) as Explained;
    if (replicas.find(({ node }) => node === "n3")?.tombstone !== true) held.push(deletedKey(at));
  }
  return held;
}

test("delete-while-replica-down-does-not-resurrect, though no hint brings it", () =>
  withFolder(async (folder) => {
    const words = ["--hint-bytes", "2MiB", "--repair-period", "2s", "--partitions", "8"];
    const cluster = await RealCluster.start(folder, {
      words: Array(3).fill([...words, "--gossip-period", "200ms"]),
    });
    try {
      const urlOf = (node: number, key: string, query = ""): string =>
        `${cluster.at(node).url}/v1/kv/default/${key}${query}`;
      for (let at = 0; at < keyCount; at += 1)
        assert.is(await ask(urlOf(0, deletedKey(at), "?consistency=all"), "PUT", "old"), 204);
      await cluster.at(2).process.end("SIGKILL");
      const filler = "x".repeat(fillerBytes);
      for (let at = 0; at * fillerBytes < 2 * hintBytesMax; at += 1)
        assert.is(await ask(urlOf(0, `filler-${at}`), "PUT", filler), 204);
      for (let at = 0; at < keyCount; at += 1)
        assert.is(await ask(urlOf(0, deletedKey(at)), "DELETE"), 204);
      cluster.restart(2);
      await cluster.ready();
      while ((await heldByThird(cluster)).length > 0) await pause(200);
      for (const node of [0, 1, 2]) {
        for (let at = 0; at < keyCount; at += 1)
          assert.is(await ask(urlOf(node, deletedKey(at), "?consistency=one"), "GET"), 404);
      }
    } finally {
      await cluster.end();
    }
  }));

test.run();
