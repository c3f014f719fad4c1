/**
 * Members of a cluster inside an application: real folders, ports and streams.
 *
 * Three of them in one process do what three processes do; only the processor is shared.
 */

import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import * as path from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { freePort } from "../bench/free_port.ts";
import { TcpProxy } from "../chaos/proxy.ts";
import { type Database, type OpenOptions, open } from "../mod.ts";
import { silentReport } from "../src/capability.ts";
import { openMember } from "../src/member.ts";
import { openDisk, realClock, realRandom } from "../src/runtime.ts";
import { MemoryTableDisk } from "../src/table_memory.ts";
import { withFolder } from "./cli_harness.ts";
import { pause } from "./real_cluster_harness.ts";
import { rejectsSlug } from "./samples.ts";
import { smallSettings } from "./store_harness.ts";

const test = suite("member");
const clusterSecret = "0123456789abcdef";

test("three applications are one cluster: what one wrote the others have, also when one was away", () =>
  withFolder(async (folder) => {
    const ports = await Promise.all([freePort(), freePort(), freePort()]);
    const peers = ports.map((port) => `127.0.0.1:${port}`);
    const start = (index: number): Promise<Database> =>
      open({
        dataDir: path.join(folder, `n${index}`),
        name: `n${index}`,
        port: ports[index] as number,
        bootstrapExpect: 3,
        ...{ peers, clusterSecret },
        serveClients: index === 0,
      });
    const opened = await Promise.all([start(0), start(1), start(2)]);
    const at = (index: number): Database => opened[index] as Database;
    try {
      const written = await at(0).put("users/1", "Ada");
      assert.is(written.replicas, 3);
      assert.ok(written.acks >= 2, `${written.acks}`);
      assert.is((await at(1).get("users/1"))?.text(), "Ada");
      assert.is((await at(2).put("all", "3", { w: "all" })).acks, 3);
      await at(2).close();
      // Alone it would answer for all three, and forget deletes that the others have not heard of.
      const alone = open({ dataDir: path.join(folder, "n2") });
      const refusal = await rejectsSlug("wrong-data-folder", alone);
      assert.match(refusal.detail, /one of 3 members of a cluster/);
      for (let index = 0; index < 20; index += 1) await at(index % 2).put(`k${index}`, "v");
      await rejectsSlug("write-quorum-not-met", at(0).put("k", "v", { w: "all" }));
      opened[2] = await start(2);
      for (let index = 0; index < 20; index += 1) {
        assert.is((await at(2).get(`k${index}`))?.text(), "v");
      }
      await at(1).delete("users/1");
      assert.is(await at(2).get("users/1", { r: "all" }), undefined);
      const { items } = await at(2).list({ prefix: "k1" });
      assert.is(items.length, 11);
      // One of them has a port for clients, too; the others are for nodes alone.
      const info = await fetch(`http://${peers[0]}/v1/kv/default/k3`);
      assert.is(await info.text(), "v");
      assert.is((await fetch(`http://${peers[1]}/v1/kv/default/k3`)).status, 404);
    } finally {
      for (const database of opened) await database.close();
    }
  }));

test("D6: a member whose table cannot be opened starts without it, and the others fill it", () =>
  withFolder(async (folder) => {
    const ports = await Promise.all([freePort(), freePort(), freePort()]);
    const peers = ports.map((port) => `127.0.0.1:${port}`);
    const start = (port: number, index: number): Promise<Database> =>
      open({
        dataDir: path.join(folder, `n${index}`),
        name: `n${index}`,
        bootstrapExpect: 3,
        ...{ port, peers, clusterSecret },
      });
    const opened = await Promise.all(ports.map(start));
    try {
      await (opened[0] as Database).put("users/1", "Ada", { w: "all" });
      await (opened[2] as Database).close();
      const damaged = path.join(folder, "n2");
      writeFileSync(path.join(damaged, "table.lmdb"), new Uint8Array(3 * 4096).fill(7));
      const again = await start(ports[2] as number, 2);
      opened[2] = again;
      assert.equal(readdirSync(path.join(damaged, "aside")), ["table.lmdb"]);
      assert.is((await again.get("users/1", { r: "quorum" }))?.text(), "Ada");
    } finally {
      for (const database of opened) await database.close();
    }
  }));

test("P7: a member that is closed answers what the others have asked of it first", () =>
  withFolder(async (folder) => {
    const ports = await Promise.all([freePort(), freePort(), freePort()]);
    const proxy = await TcpProxy.listen(ports[2] as number);
    const reached = [ports[0], ports[1], proxy.port].map((port) => `127.0.0.1:${port}`);
    const opened = await Promise.all(
      ports.map((port, index) =>
        open({
          dataDir: path.join(folder, `n${index}`),
          name: `n${index}`,
          advertise: reached[index] as string,
          bootstrapExpect: 3,
          ...{ port, peers: reached, clusterSecret },
        }),
      ),
    );
    const [asking, closing] = [opened[0] as Database, opened[2] as Database];
    try {
      proxy.there.isHeld = true;
      const written = asking.put("k", "v", { w: "all" });
      written.catch(() => {});
      // When its own replica has it, the others have been sent it.
      while ((await asking.get("k", { r: 1 })) === undefined) await pause(10);
      const closed = closing.close();
      await pause(200);
      proxy.release();
      assert.is((await written).acks, 3);
      await closed;
    } finally {
      for (const database of opened) await database.close();
      await proxy.close();
    }
  }));

test("one that finds nobody says what it waits for, and leaves folder and port free", () =>
  withFolder(async (folder) => {
    const [port, other] = await Promise.all([freePort(), freePort()]);
    const options: OpenOptions = {
      dataDir: folder,
      peers: [`127.0.0.1:${other}`],
      bootstrapExpect: 2,
      startTimeoutMs: 300,
      ...{ port, clusterSecret },
    };
    for (let attempt = 0; attempt < 2; attempt += 1) {
      const error = await rejectsSlug("not-ready", open(options));
      assert.match(error.detail, /does not serve after 300ms/);
    }
  }));

test("a member whose end fails leaves its port free", () =>
  withFolder(async (folder) => {
    const port = await freePort();
    const openOne = async () =>
      openMember(
        { peers: [`127.0.0.1:${port}`], port, clusterSecret, bootstrapExpect: 1 },
        async () => ({
          ...{ clock: realClock, random: realRandom, report: silentReport },
          disk: await openDisk(folder),
          openTable: async () => {
            const table = await new MemoryTableDisk().open();
            table.close = () => Promise.reject(new Error("the table cannot be closed"));
            return table;
          },
          settings: smallSettings,
        }),
      );
    const member = await openOne();
    await member.close().then(
      () => assert.unreachable("its table cannot be closed"),
      (error: Error) => assert.match(error.message, "cannot be closed"),
    );
    const next = createServer();
    await new Promise<void>((resolve, reject) => {
      next.once("error", reject);
      next.listen(port, "127.0.0.1", resolve);
    });
    await new Promise((resolve) => next.close(resolve));
  }));

test("what a member is told is checked before anything is made", () =>
  withFolder(async (folder) => {
    const dataDir = path.join(folder, "data");
    const peers = ["127.0.0.1:1"];
    const port = 8080;
    const cases: readonly (readonly [Partial<OpenOptions>, RegExp])[] = [
      [{ peers }, /no port or secret/],
      [{ peers, port }, /no port or secret/],
      [{ peers: [], port, clusterSecret }, /names its peers/],
      [{ peers, port: 0, clusterSecret }, /a port on which they reach it/],
      [{ peers, port: 70_000, clusterSecret }, /port in open\(\): '70000' is above/],
      [{ peers, port, clusterSecret: "short" }, /cluster-secret in open\(\): its value/],
      [{ peers: ["nowhere"], port, clusterSecret }, /peers in open\(\): 'nowhere'/],
      [{ peers, port, clusterSecret, host: "0.0.0.0" }, /no TLS and no login/],
      [{ peers, port, clusterSecret, bootstrapExpect: 3 }, /--bootstrap-expect 3/],
      [{ peers, port, clusterSecret, startTimeoutMs: 0 }, /startTimeoutMs is 0/],
      [{ peers, port, clusterSecret, startTimeoutMs: "5000" as never }, /startTimeoutMs is '5000'/],
    ];
    for (const [options, expected] of cases) {
      const error = await rejectsSlug("invalid-config", open({ dataDir, ...options }));
      assert.match(error.detail, expected);
      assert.not.ok(existsSync(dataDir));
    }
  }));

test("one that comes back with another secret is told that this is why it does not serve", () =>
  withFolder(async (folder) => {
    const ports = await Promise.all([freePort(), freePort(), freePort()]);
    const peers = ports.map((port) => `127.0.0.1:${port}`);
    const optionsOf = (index: number): OpenOptions => ({
      dataDir: path.join(folder, `${index}`),
      name: `n${index}`,
      port: ports[index] as number,
      ...{ peers, clusterSecret, bootstrapExpect: 3 },
    });
    const opened = await Promise.all(ports.map((_, index) => open(optionsOf(index))));
    try {
      await opened[2]?.close();
      const options = { ...optionsOf(2), clusterSecret: "f".repeat(32), startTimeoutMs: 2000 };
      const error = await rejectsSlug("not-ready", open(options));
      assert.match(error.detail, "n0 (it does not have this cluster's secret, or is no node)");
    } finally {
      for (const database of opened) await database.close();
    }
  }));

test("a member is what it was told when it was opened, inherited options included", () =>
  withFolder(async (folder) => {
    const port = await freePort();
    const options = Object.assign(Object.create({ bootstrapExpect: 1 }), {
      dataDir: path.join(folder, "a"),
      peers: [`127.0.0.1:${port}`],
      startTimeoutMs: 5000,
      ...{ port, clusterSecret },
    });
    const opening = open(options);
    options.dataDir = path.join(folder, "b");
    options.peers.push("127.0.0.1:1");
    const database = await opening;
    await database.close();
    assert.equal(readdirSync(folder), ["a"]);
  }));

test.run();
