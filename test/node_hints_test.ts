/** Whom a hint goes to, and what is made of the answers. */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { utf8Bytes } from "../src/bytes.ts";
import { silentReport } from "../src/capability.ts";
import type { Hint } from "../src/handoff.ts";
import { hlcAt } from "../src/hlc.ts";
import { NodeHints } from "../src/node_hints.ts";
import type { Member, Topology } from "../src/topology.ts";
import { withNamespace, withoutNamespace } from "../src/topology_namespaces.ts";
import { genesisOf } from "../src/topology_steps.ts";

const test = suite("node hints");
const cut = "the link is cut";

const facts = [1, 2, 3].map((number) => ({
  nodeId: `${number}`.repeat(32),
  storeId: `a${number}`.repeat(16),
  name: `n${number}`,
  addresses: [`10.0.0.${number}:80`],
}));
const three = genesisOf(facts, { expect: 3, partitions: 4 });
const [first, second, third] = three.members as [Member, Member, Member];

/** Hints of n1; each member answers with the kind that stands for it, or is cut off. */
function hintsOf(answers: Record<string, string>, topology = three, holders = three.members) {
  const asked: string[] = [];
  const answer = (name: string) => {
    asked.push(name);
    const kind = answers[name] ?? "took";
    return kind === cut ? Promise.reject(new Error(cut)) : Promise.resolve({ kind } as never);
  };
  const hints = new NodeHints({
    report: silentReport,
    self: first,
    topology: () => topology,
    writers: () => holders,
    isUp: (nodeId) => answers[nodeId] !== "down",
    ask: (nodeId) => answer(topology.members.find((one) => one.nodeId === nodeId)?.name ?? "?"),
    askOwn: () => answer("n1"),
    mark: async () => true,
  });
  return { hints, asked };
}

function hintFor(storeId: string, namespaceNumber = 0): Hint {
  const version = { hlc: hlcAt(1000), origin: 1n };
  const record = {
    ...{ version, tombstone: false, contentType: "text/plain", meta: [] },
    value: utf8Bytes("v"),
  };
  return { storeId, partition: 1, n: 3, namespaceNumber, key: utf8Bytes("k"), record };
}

test("NodeHints.deliver() asks the member that has the store, and takes what it says", async () => {
  const cases = [
    ["took", "done"],
    ["superseded", "done"],
    ["covered", "done"],
    ["later", "later"],
    ["refused", "later"],
    [cut, "away"],
  ] as const;
  for (const [said, expected] of cases) {
    const { hints, asked } = hintsOf({ n2: said });
    assert.is(await hints.deliver(hintFor(second.storeId)), expected, said);
    assert.equal(asked, ["n2"]);
  }
});

test("NodeHints.deliver() gives what is for one that holds it no more to all who do, and answers for the last of them", async () => {
  const holders = [first, second];
  const cases: readonly [Record<string, string>, string][] = [
    [{}, "done"],
    [{ n1: "refused" }, "later"],
    [{ n1: cut }, "away"],
    [{ n1: "refused", n2: cut }, "away"],
  ];
  for (const storeId of [third.storeId, "f".repeat(32)]) {
    for (const [answers, expected] of cases) {
      const { hints, asked } = hintsOf(answers, three, holders);
      assert.is(await hints.deliver(hintFor(storeId)), expected);
      assert.equal(asked, ["n1", "n2"]);
    }
    const { hints, asked } = hintsOf({ [second.nodeId]: "down" }, three, holders);
    assert.is(await hints.deliver(hintFor(storeId)), "away");
    assert.equal(asked, ["n1"], "one that is down is not asked");
  }
});

test("NodeHints.deliver() keeps what is of a namespace that is not known yet, and lets go that of a deleted one", async () => {
  const made = withNamespace(three, "logs", { n: 3 }) as Topology;
  const number = made.namespaces.find(({ name }) => name === "logs")?.number ?? 0;
  const gone = withoutNamespace(made, "logs") as Topology;
  for (const [topology, expected, count] of [
    [three, "later", 0],
    [made, "done", 1],
    [gone, "done", 0],
  ] as const) {
    const { hints, asked } = hintsOf({}, topology);
    assert.is(await hints.deliver(hintFor(second.storeId, number)), expected);
    assert.is(asked.length, count);
  }
});

test("NodeHints.isUp() takes a store that no member has for reached: what is for it goes to others", () => {
  const { hints } = hintsOf({ [first.nodeId]: "down", [second.nodeId]: "down" });
  const stores = [first, second, third].map(({ storeId }) => storeId);
  assert.equal(
    [...stores, "f".repeat(32)].map((storeId) => hints.isUp(storeId)),
    [true, false, true, true],
  );
});

test.run();
