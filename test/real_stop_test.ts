/**
 * Real stop: one of three real processes is told to stop, or vanishes and comes back, under load.
 *
 * The ways between them are proxies. What is held on one of them is under way for as long as a test
 * wants it to be: so it is no matter of luck whether a stop meets it.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { withFolder } from "./cli_harness.ts";
import { RealClients } from "./real_clients.ts";
import { pause, RealCluster } from "./real_cluster_harness.ts";
import { type Answer, Client, keyPath } from "./real_harness.ts";

const test = suite("real stop");
const isLong = process.env["QUORATE_LONG"] === "1";
const pauseMs = 20;

/** What an error says of a write. */
interface Said {
  readonly outcome: string;
  readonly replicas: readonly { readonly node: string; readonly status: string }[];
}

function withCluster(run: (cluster: RealCluster) => Promise<void>): () => Promise<void> {
  return () =>
    withFolder(async (folder) => {
      const cluster = await RealCluster.start(folder, { isProxied: true });
      try {
        await run(cluster);
      } finally {
        await cluster.end();
      }
    });
}

/** Writes to all replicas through a node, and waits until its own has it: then the others are sent it. */
async function beginWrite(client: Client, key: string): Promise<{ answer: Promise<Answer> }> {
  const answer = client.ask("PUT", `${keyPath(key)}?consistency=all`, key);
  answer.catch(() => {});
  for (;;) {
    const { status } = await client.ask("GET", `${keyPath(key)}?consistency=one`);
    if (status === 200) return { answer };
    await pause(pauseMs);
  }
}

/** Resolves when a process takes no connections any more. */
async function whenDeaf(url: string): Promise<void> {
  for (;;) {
    const isHeard = await fetch(`${url}/livez`).then(
      () => true,
      () => false,
    );
    if (!isHeard) return;
    await pause(pauseMs);
  }
}

test(
  "P7: SIGTERM: what others had asked of the node is answered, and what its own clients had",
  withCluster(async (cluster) => {
    const [asking, stopping] = [0, 2];
    const clients = cluster.members.map(({ url }) => new Client(url));
    const at = (index: number): Client => clients[index] as Client;
    const { ways } = cluster;
    ways.at(asking, stopping).there.isHeld = true;
    const ofOther = await beginWrite(at(asking), "of-other");
    ways.at(stopping, asking).there.isHeld = true;
    const ofOwn = await beginWrite(at(stopping), "of-own");
    const { process } = cluster.at(stopping);
    process.process.kill("SIGTERM");
    await whenDeaf(cluster.at(stopping).url);
    // Its client is answered first, and then it takes leave of the others.
    ways.at(stopping, asking).release();
    const own = await ofOwn.answer;
    assert.is(own.status, 204, own.body);
    await pause(10 * pauseMs);
    ways.at(asking, stopping).release();
    const other = await ofOther.answer;
    assert.is(other.status, 204, other.body);
    assert.is((await process.ended).code, 0);
    const late = await at(asking).ask("PUT", `${keyPath("late")}?consistency=all`, "v");
    const { outcome, replicas } = JSON.parse(late.body) as Said;
    assert.equal([late.status, outcome], [503, "partial"]);
    assert.is(replicas.find(({ node }) => node === "n3")?.status, "not reached");
    for (const client of clients) client.close();
  }),
);

if (isLong) {
  for (const index of [0, 1, 2]) {
    const others = [0, 1, 2].filter((other) => other !== index);
    test(
      `P1 P7: n${index + 1} is told to stop under load: no request through the others fails, and none is cut`,
      withCluster(async (cluster) => {
        const clients = new RealClients(cluster, { nodes: [0, 1, 2] });
        try {
          for (let round = 0; round < 3; round += 1) {
            await clients.more(100, [0, 1, 2]);
            const { code } = await cluster.at(index).process.end("SIGTERM");
            assert.is(code, 0);
            await clients.more(100, others);
            cluster.restart(index);
            await cluster.ready([index]);
          }
          await clients.more(100, [0, 1, 2]);
        } finally {
          await clients.stop();
        }
        console.log(clients.summary());
        assert.equal(clients.failuresOf(others), []);
        for (const { status, outcome, slug, kind } of clients.failuresOf([index])) {
          // It found nobody, or was refused before anything was sent; no answer broke off.
          assert.not.match(slug, "cut");
          if (status !== 0 && kind === "write") assert.is(outcome, "none", slug);
        }
        await clients.checkEverywhere();
      }),
    );
  }

  test(
    "a machine that vanished and came back is reached at once by links that still look open",
    withCluster(async (cluster) => {
      const client = new Client(cluster.at(0).url);
      for (const other of [0, 1]) cluster.ways.at(other, 2).halfOpen();
      await cluster.at(2).process.end("SIGKILL");
      cluster.restart(2);
      await cluster.ready([2]);
      const { status, body } = await client.ask("PUT", `${keyPath("k")}?consistency=all`, "v");
      assert.is(status, 204, body);
      client.close();
    }),
  );
}

test.run();
