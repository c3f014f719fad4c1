/**
 * Real faults: three real processes with a proxy on every way between them, under load at quorum.
 *
 * One fault at a time befalls them and is healed. Whatever it was: who has a majority serves, and
 * fails nothing; who has none says so, and says truly what became of a write; what clients saw could
 * be (`history.ts`); and afterwards all replicas of all keys hold the same.
 */
import { existsSync, symlinkSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { timeoutMsDefault } from "../src/api.ts";
import { withFolder } from "./cli_harness.ts";
import { RealClients, type RealClientsOptions } from "./real_clients.ts";
import { pause, RealCluster, type RealClusterOptions } from "./real_cluster_harness.ts";
import { obstacle, takeTheRest, withSmallDisk } from "./small_disk.ts";

const test = suite("real faults");
const isLong = process.env["QUORATE_LONG"] === "1";
function long(name: string, run: () => Promise<void>): void {
  if (isLong) test(name, run);
}

interface Scene {
  readonly cluster: RealCluster;
  readonly clients: RealClients;
}

type Options = RealClusterOptions & Partial<RealClientsOptions>;

/** Longer than any link and any detector bears silence: pings are answered within 5 s, each 5 s. */
const silenceMs = 15_000;
const stopMs = 10_000;
/** Debian's, as `apt-get install faketime` puts it. */
const fakeTimeLibraries = ["x86_64", "aarch64"].map(
  (machine) => `/usr/lib/${machine}-linux-gnu/faketime/libfaketimeMT.so.1`,
);

/** A fault among three nodes under load, and what must hold after any of them. */
function underLoad(fault: (scene: Scene) => Promise<void>, options: Options = {}) {
  return (): Promise<void> => withFolder((folder) => runUnderLoad(folder, fault, options));
}

async function runUnderLoad(
  folder: string,
  fault: (scene: Scene) => Promise<void>,
  options: Options,
): Promise<void> {
  const cluster = await RealCluster.start(folder, { isProxied: true, ...options });
  const clients = new RealClients(cluster, { nodes: [0, 1, 2], ...options });
  try {
    await clients.more(50, [0, 1]);
    await fault({ cluster, clients });
    await clients.stop();
    if (isLong) console.log(clients.summary());
    await clients.checkEverywhere();
  } finally {
    await cluster.end();
    await clients.stop();
  }
}

/** Every answer of who has no majority: 503, or 504 at the deadline, and what became of a write. */
function areTold(clients: RealClients, node: number): void {
  for (const { kind, status, outcome, slug, beganMs, endedMs } of clients.failuresOf([node])) {
    const isLate = endedMs - beganMs >= timeoutMsDefault;
    assert.ok(status === 503 || (status === 504 && isLate), `${status} ${slug}`);
    if (kind === "write") assert.ok(outcome !== undefined, slug);
  }
}

/** Who was called suspect or down by a node, by node id, as its log has it. */
function accusedBy(cluster: RealCluster, index: number): readonly string[] {
  const { err } = cluster.at(index).process;
  const lines = err.split("\n").filter((line) => line.includes("as seen from here"));
  return lines.filter((line) => !line.includes("A node is alive"));
}

test(
  "P2 P3 P7: one is parted from both: they serve, it says 503, and they are one again",
  underLoad(async ({ cluster, clients }) => {
    for (const proxy of cluster.ways.of(2)) proxy.sever();
    await clients.more(100, [0, 1]);
    await clients.moreFailures(5, 2);
    cluster.ways.heal();
    await clients.more(50, [0, 1, 2]);
    assert.equal(clients.failuresOf([0, 1]), []);
    areTold(clients, 2);
  }),
);

const cuts: Readonly<Record<string, (cluster: RealCluster) => void>> = {
  "no packet comes through to one of three, nor from it": ({ ways }) => {
    ways.part(2, 0);
    ways.part(2, 1);
  },
  "one of three is heard by nobody, and hears": ({ ways }) => {
    ways.cut(2, 0);
    ways.cut(2, 1);
  },
  "one of three hears nobody, and is heard": ({ ways }) => {
    ways.cut(0, 2);
    ways.cut(1, 2);
  },
};

for (const [name, cut] of Object.entries(cuts)) {
  long(
    `P2 P3 P6 P7: ${name}: the others serve, it says 503, and they are one again`,
    underLoad(async ({ cluster, clients }) => {
      cut(cluster);
      await pause(silenceMs);
      await clients.more(200, [0, 1]);
      await clients.moreFailures(20, 2);
      cluster.ways.heal();
      await clients.more(100, [0, 1, 2]);
      assert.equal(clients.failuresOf([0, 1]), []);
      areTold(clients, 2);
    }),
  );
}

long(
  "P2 P3 P6: two of three do not hear each other, the third hears both: all serve, nobody is down",
  underLoad(async ({ cluster, clients }) => {
    cluster.ways.part(0, 1);
    await pause(silenceMs);
    await clients.more(200, [0, 1, 2]);
    cluster.ways.heal();
    await clients.more(100, [0, 1, 2]);
    assert.equal(clients.failures, []);
    const down = [0, 1, 2].flatMap((index) =>
      accusedBy(cluster, index).filter((line) => line.includes("is down")),
    );
    assert.equal(down, []);
  }),
);

long(
  "P2 P3: one of three is cut off without a word to the others: nothing fails through them",
  underLoad(async ({ cluster, clients }) => {
    for (const proxy of cluster.ways.of(2)) proxy.halfOpen();
    await pause(silenceMs);
    await clients.more(100, [0, 1, 2]);
    assert.equal(clients.failuresOf([0, 1]), []);
    areTold(clients, 2);
  }),
);

long(
  "P2 P3: one of three is far more slowly reached: nothing fails, through it neither",
  underLoad(async ({ cluster, clients }) => {
    cluster.ways.delay(2, 50);
    await pause(silenceMs);
    await clients.more(500, [0, 1]);
    await clients.more(50, [2]);
    cluster.ways.heal();
    await clients.more(100, [0, 1, 2]);
    assert.equal(clients.failures, []);
  }),
);

long(
  "P2 P3 P6: one of three is stopped for ten seconds: the others serve, and it accuses nobody",
  underLoad(async ({ cluster, clients }) => {
    const { process } = cluster.at(2).process;
    process.kill("SIGSTOP");
    await pause(stopMs);
    await clients.more(200, [0, 1]);
    process.kill("SIGCONT");
    await clients.more(100, [0, 1, 2]);
    assert.equal(clients.failuresOf([0, 1]), []);
    areTold(clients, 2);
    assert.equal(accusedBy(cluster, 2), []);
  }),
);

for (const index of [0, 1, 2]) {
  const others = [0, 1, 2].filter((other) => other !== index);
  long(
    `P1 P7: n${index + 1} is killed at W=2: nothing fails but what it had under way`,
    underLoad(async ({ cluster, clients }) => {
      for (const node of others) clients.longestMs(node);
      await clients.more(200, others);
      const before = others.map((node) => clients.longestMs(node));
      await cluster.at(index).process.end("SIGKILL");
      await clients.more(500, others);
      const after = others.map((node) => clients.longestMs(node));
      console.log(
        `the longest request through the others: ${before} ms, after the kill ${after} ms`,
      );
      cluster.restart(index);
      await cluster.ready([index]);
      await clients.more(100, [0, 1, 2]);
      assert.equal(clients.failuresOf(others), []);
      // Whoever asked it was cut off, found nobody there, or came while it started.
      for (const { status } of clients.failuresOf([index])) assert.ok([0, 503].includes(status));
    }),
  );
}

/** What makes a process believe in another time, for its wall clock alone; undefined: not here. */
function clockOff(offset: string): Readonly<Record<string, string>> | undefined {
  const library = fakeTimeLibraries.find((path) => existsSync(path));
  if (library === undefined) return undefined;
  return { LD_PRELOAD: library, FAKETIME: offset, FAKETIME_DONT_FAKE_MONOTONIC: "1" };
}

function withClock(offset: string, fault: (scene: Scene) => Promise<void>, isRoaming: boolean) {
  return async (): Promise<void> => {
    const environment = clockOff(offset);
    assert.ok(environment !== undefined, "libfaketime is needed (apt-get install faketime)");
    const environments = [{}, {}, environment ?? {}];
    const believing = async (scene: Scene): Promise<void> => {
      const { headers } = await fetch(`${scene.cluster.at(2).url}/livez`);
      const offMs = Math.abs(Date.parse(headers.get("date") ?? "") - Date.now());
      assert.ok(offMs > 3_500_000, "the process believes in another time");
      await fault(scene);
    };
    await underLoad(believing, { environments, isRoaming })();
  };
}

long(
  "quorum-read-returns-newest-under-skewed-clocks: the clock of one of three is an hour behind",
  withClock(
    "-3600s",
    async ({ clients }) => {
      await clients.more(500, [0, 1, 2]);
      assert.equal(clients.failures, []);
    },
    true,
  ),
);

long(
  "P2 P3 P7: the clock of one of three is an hour ahead: the others refuse its stamps, and serve",
  withClock(
    "+3600s",
    async ({ clients }) => {
      await clients.more(500, [0, 1]);
      await clients.moreFailures(20, 2);
      assert.equal(clients.failuresOf([0, 1]), []);
      areTold(clients, 2);
      const kinds = new Set(clients.failuresOf([2]).map(({ kind }) => kind));
      assert.equal([...kinds], ["write"]);
    },
    false,
  ),
);

long("P1 P3: the disk of one of three is full: nothing fails, and it catches up", async () => {
  assert.is(obstacle(), undefined);
  const sizes = ["--max-value", "64KiB", "--memtable-bytes", "1MiB", "--disk-reserve", "4MiB"];
  await withSmallDisk((small) =>
    withFolder(async (folder) => {
      symlinkSync(small, join(folder, "n3"));
      const fault = async ({ clients }: Scene): Promise<void> => {
        const file = takeTheRest(small, "of-somebody-else");
        await clients.more(300, [0, 1, 2]);
        unlinkSync(file);
        await clients.more(100, [0, 1, 2]);
        assert.equal(clients.failures, []);
      };
      await runUnderLoad(folder, fault, { words: [sizes, sizes, sizes] });
    }),
  );
});

test.run();
