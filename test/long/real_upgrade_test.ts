/**
 * Real upgrade: the program of an earlier commit and the present one, in one cluster, on the same data.
 *
 * Three real processes of the earlier one are upgraded one after another, under load. The long run also
 * has every mixture of the two, with each of them asking and being asked, and goes back while it may.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { withFolder } from "../cli_harness.ts";
import { RealClients } from "../real_clients.ts";
import { type Kind, MixedCluster, whyNoHistory } from "../real_upgrade_harness.ts";

const why = whyNoHistory();
if (why !== undefined) console.log(`skipped: ${why}`);
const test = suite("real upgrade");
const isLong = process.env["QUORATE_LONG"] === "1";
const all = [0, 1, 2];

function withMixed(
  kinds: readonly Kind[],
  run: (mixed: MixedCluster) => Promise<void>,
  words: readonly string[] = [],
): () => Promise<void> {
  return () =>
    why !== undefined
      ? Promise.resolve()
      : withFolder(async (folder) => {
          const mixed = await MixedCluster.start(folder, kinds, words);
          try {
            await run(mixed);
          } finally {
            await mixed.cluster.end();
          }
        });
}

test(
  "P1 P2 P7: three nodes are upgraded one after another: no request fails, and the new version is turned on at the end",
  withMixed(["earlier", "earlier", "earlier"], async (mixed) => {
    const { cluster } = mixed;
    const clients = new RealClients(cluster, { nodes: all, isRetrying: true });
    try {
      await clients.more(50, all);
      for (const index of all) {
        await mixed.change(index, "present");
        await clients.more(50, all);
        if (index === 2) continue;
        const { protocol, features } = await mixed.told(index);
        assert.is(protocol, 1, "what n3 does not speak is off");
        assert.ok(features?.[0]?.waitsFor.includes("n3"), JSON.stringify(features));
      }
      await mixed.whenOn(2, all);
      await clients.more(50, all);
    } finally {
      await clients.stop();
    }
    console.log(clients.summary());
    assert.is(clients.failures.length, 0, clients.summary());
    await clients.checkEverywhere();
    const { code, said } = await mixed.refused(1, "earlier");
    assert.is.not(code, 0);
    assert.match(said, /The data folder has format 2/);
    assert.match(said, /Use the version of Quorate that wrote it, or a newer one/);
    cluster.restart(1);
    await cluster.ready([1]);
    await mixed.across(1, 0, "after");
  }),
);

if (isLong) {
  const mixtures: readonly (readonly Kind[])[] = [
    ["present", "earlier", "earlier"],
    ["earlier", "present", "present"],
    ["earlier", "present", "earlier"],
  ];
  for (const kinds of mixtures) {
    const name = kinds.map((kind) => kind[0]).join("");
    test(
      `${kinds.join(", ")}: each asks each other: a write, a list, a comparison, a hint, and what hints had no room for`,
      withMixed(
        kinds,
        async (mixed) => {
          for (const from of all) {
            for (const to of all.filter((other) => other !== from)) {
              if (kinds[from] !== kinds[to]) await mixed.across(from, to, `${name}${from}${to}`);
            }
          }
          for (const index of all.filter((one) => kinds[one] === "present")) {
            assert.is((await mixed.told(index)).protocol, 1);
          }
        },
        // Less than what is missed, so that some of it is left to repair.
        ["--hint-bytes", "2MiB"],
      ),
    );
  }

  test(
    "P1: a node goes back to the earlier program while another one has not left it, with what it was given meanwhile",
    withMixed(["earlier", "earlier", "earlier"], async (mixed) => {
      const clients = new RealClients(mixed.cluster, { nodes: all, isRetrying: true });
      try {
        await clients.more(50, all);
        await mixed.change(0, "present");
        await mixed.change(1, "present");
        await clients.more(50, all);
        await mixed.change(1, "earlier");
        await clients.more(50, all);
        await mixed.change(0, "earlier");
        await clients.more(50, all);
      } finally {
        await clients.stop();
      }
      assert.is(clients.failures.length, 0, clients.summary());
      await clients.checkEverywhere();
      for (const index of all) await mixed.change(index, "present");
      await mixed.whenOn(2, all);
      await mixed.across(2, 0, "later");
    }),
  );
}

test.run();
