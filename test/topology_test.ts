/** The cluster's document: its legal steps, its policies, and how a node keeps it. */

import * as fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimDisk } from "../sim/disk.ts";
import type { NamespacePolicy } from "../src/api.ts";
import { Document } from "../src/document.ts";
import { QuorateError } from "../src/errors.ts";
import { levelOf, majority } from "../src/level.ts";
import {
  droppedMax,
  isSamePair,
  namespacesMax,
  policyDefault,
  replicasMax,
  type Topology,
} from "../src/topology.ts";
import { withNamespace, withoutDropped, withoutNamespace } from "../src/topology_namespaces.ts";
import { parseTopology } from "../src/topology_parse.ts";
import { genesis, memberOf } from "../src/topology_steps.ts";
import { whyNotSuccessor } from "../src/topology_successor.ts";
import { rejectsSlug, runs, throwsSlug } from "./samples.ts";

const test = suite("topology");
const member = { nodeId: "1".repeat(32), storeId: "2".repeat(32), name: "n1" };
const first = genesis("3".repeat(32), 8, member);

function step(topology: Topology, name: string, policy: Partial<NamespacePolicy> = {}): Topology {
  return withNamespace(topology, name, policy) as Topology;
}

test("genesis() is a cluster of one, with `default` under number 0", () => {
  assert.is(first.epoch, 1);
  assert.equal(first.members, [memberOf(member)]);
  assert.equal(first.namespaces, [{ name: "default", number: 0, policy: policyDefault }]);
  assert.equal(parseTopology(JSON.parse(JSON.stringify(first))), first);
});

test("T8: along any steps the epoch goes up by one, numbers are never used again, and the text form holds", () => {
  const anyChange = fc.record({
    kind: fc.constantFrom("make", "make", "drop", "purged"),
    name: fc.constantFrom("a", "b", "c", "default"),
    ttlSeconds: fc.integer({ min: 1, max: 100 }),
  });
  const property = fc.property(fc.array(anyChange, { maxLength: 30, size: "max" }), (changes) => {
    let present = first;
    const names = new Map<number, string>([[0, "default"]]);
    for (const { kind, name, ttlSeconds } of changes) {
      let next: Topology | undefined;
      if (kind === "make") next = withNamespace(present, name, { ttlSeconds });
      else if (kind === "purged") next = withoutDropped(present, present.dropped.slice(0, 1));
      else if (name !== "default") next = withoutNamespace(present, name);
      if (next === undefined) continue;
      assert.is(next.epoch, present.epoch + 1);
      assert.is(whyNotSuccessor(present, next), undefined);
      assert.is(next.clusterId, present.clusterId);
      assert.is(next.partitions, present.partitions);
      for (const namespace of next.namespaces) {
        assert.is(names.get(namespace.number) ?? namespace.name, namespace.name);
        names.set(namespace.number, namespace.name);
        assert.not.ok(next.dropped.includes(namespace.number));
      }
      assert.ok(next.namespaces.some(({ number }) => number === 0));
      assert.equal(parseTopology(JSON.parse(JSON.stringify(next))), next);
      present = next;
    }
  });
  fc.assert(property, runs(150));
});

test("isSamePair() minds the replicas of the partition and new namespaces of its n, and nothing else", () => {
  const before = step(step(first, "a"), "one", { n: 1, r: 1, w: 1 });
  const pair = { partition: 2, n: 3 };
  const moved = (partition: number): Topology => ({
    ...before,
    changed: before.changed.map((epoch, index) => (index === partition ? before.epoch + 1 : epoch)),
  });
  const other = { ...memberOf(member), storeId: "9".repeat(32) };
  const table: readonly [string, Topology, boolean][] = [
    ["the same", before, true],
    ["a namespace of another n", step(before, "two", { n: 1, r: 1, w: 1 }), true],
    ["a namespace of this n", step(before, "b"), false],
    ["a policy", step(before, "a", { ttlSeconds: 7 }), true],
    ["a namespace less", withoutNamespace(before, "a") as Topology, true],
    ["one that was made again", step(withoutNamespace(before, "a") as Topology, "a"), false],
    ["a move elsewhere", moved(3), true],
    ["a move of the partition", moved(2), false],
    ["another store", { ...before, members: [other] }, false],
  ];
  for (const [what, later, is] of table) assert.is(isSamePair(before, later, pair), is, what);
});

test("a step that changes nothing is none, and the document before it is never touched", () => {
  const frozen = JSON.stringify(first);
  const cars = step(first, "cars", { ttlSeconds: 5 });
  assert.is(withNamespace(cars, "cars", {}), undefined);
  assert.is(withNamespace(cars, "cars", { ttlSeconds: 5 }), undefined);
  assert.is(withNamespace(cars, "cars", {}, { valueBytesMax: 1 }), undefined, "it is not new");
  const changed = step(cars, "cars", { valueBytesMax: 10 });
  assert.is(changed.namespaces[1]?.policy.ttlSeconds, 5, "what is left out keeps its value");
  assert.is(changed.namespaces[1]?.number, 1);
  assert.is(withoutNamespace(first, "cars"), undefined);
  assert.is(JSON.stringify(first), frozen);
});

test("a policy that cannot be is refused, with its name and what is allowed", () => {
  const wrong: readonly (readonly [
    Partial<NamespacePolicy>,
    "invalid-request" | "invalid-quorum",
  ])[] = [
    [{ n: 0 }, "invalid-request"],
    [{ n: 1.5 }, "invalid-request"],
    [{ n: replicasMax + 1 }, "invalid-request"],
    [{ r: 0 }, "invalid-quorum"],
    [{ r: 4 }, "invalid-quorum"],
    [{ n: 5, w: 6 }, "invalid-quorum"],
    [{ w: 1.5 }, "invalid-quorum"],
    [{ resolve: "siblings" }, "invalid-request"],
    [{ ttlSeconds: 0 }, "invalid-request"],
    [{ ttlSeconds: 315_360_001 }, "invalid-request"],
    [{ valueBytesMax: 0 }, "invalid-request"],
    [{ valueBytesMax: 32 * 1024 * 1024 + 1 }, "invalid-request"],
  ];
  for (const [policy, slug] of wrong) {
    const what = JSON.stringify(policy);
    const error = throwsSlug(slug, () => withNamespace(first, "cars", policy), what);
    assert.is(error.outcome, "none", what);
    assert.ok(error.hint !== undefined, what);
    if (policy.n === undefined)
      throwsSlug(slug, () => withNamespace(first, "default", policy), what);
  }
  const cars = step(first, "cars", { n: 5, r: 5, w: 1, valueBytesMax: 32 * 1024 * 1024 });
  throwsSlug("invalid-request", () => withNamespace(cars, "cars", { n: 3, r: 1 }), "n is fixed");
  throwsSlug("invalid-request", () => withoutNamespace(first, "default"));
});

test("there are at most so many namespaces, and a deleted one makes room", () => {
  let full = first;
  for (let number = 1; number < namespacesMax; number += 1) full = step(full, `n${number}`);
  throwsSlug("invalid-request", () => withNamespace(full, "one-more", {}));
  assert.ok(step(full, "n1", { ttlSeconds: 1 }) !== undefined, "those that are there still change");
  const room = withoutNamespace(full, "n5") as Topology;
  assert.is(step(room, "one-more").namespaces.at(-1)?.number, namespacesMax);
});

test("there are at most so many deleted namespaces whose records are still there", () => {
  const dropped = Array.from({ length: droppedMax }, (_, index) => index + 1);
  const full = { ...step(first, "cars"), dropped, nextNamespaceNumber: droppedMax + 2 };
  const cars = {
    ...full,
    namespaces: full.namespaces.map((one) =>
      one.number === 1 ? { ...one, number: droppedMax + 1 } : one,
    ),
  };
  assert.is(throwsSlug("overloaded", () => withoutNamespace(cars, "cars")).outcome, "none");
  const room = withoutDropped(cars, [7]) as Topology;
  assert.is(withoutNamespace(room, "cars")?.dropped.length, droppedMax);
});

test("parseTopology() refuses what contradicts itself or has another format, and throws nothing else", () => {
  const text = JSON.stringify(step(first, "cars"));
  const changes: readonly ((raw: Record<string, unknown>) => void)[] = [
    (raw) => delete raw["clusterId"],
    (raw) => delete raw["members"],
    (raw) => delete raw["namespaces"],
    (raw) => delete raw["dropped"],
    (raw) => delete raw["nextNamespaceNumber"],
    (raw) => Object.assign(raw, { partitions: 3 }),
    (raw) => Object.assign(raw, { epoch: 1.5 }),
    (raw) => Object.assign(raw, { nextNamespaceNumber: 1 }),
    (raw) => Object.assign(raw, { dropped: [5] }),
    (raw) => Object.assign(raw, { namespaces: [] }),
    (raw) => Object.assign(raw, { namespaces: [null] }),
    (raw) => Object.assign(raw, { namespaces: first.namespaces.concat(first.namespaces) }),
  ];
  for (const change of changes) {
    const raw = JSON.parse(text);
    change(raw);
    throwsSlug("corruption", () => parseTopology(raw), change.toString());
  }
  for (const raw of [null, undefined, 1, "x", [], {}, { ...first, format: 5 }]) {
    throwsSlug("wrong-data-folder", () => parseTopology(raw), JSON.stringify(raw));
  }
  const property = fc.property(
    fc.jsonValue(),
    fc.constantFrom(...Object.keys(first)),
    (value, field) => {
      try {
        parseTopology({ ...JSON.parse(text), [field]: value });
      } catch (error) {
        assert.instance(error, QuorateError, String(error));
      }
    },
  );
  fc.assert(property, runs(300));
});

test("L1: what a request asks, by word or number, against what there is", () => {
  // kind, asked, n, members: needed and name, or the slug.
  const rows: readonly (readonly [
    "r" | "w",
    Parameters<typeof levelOf>[1],
    number,
    number,
    readonly [number, string] | "invalid-quorum" | "quorum-unavailable",
  ])[] = [
    ["r", {}, 3, 1, [1, "quorum"]],
    ["w", {}, 3, 1, [1, "quorum"]],
    ["r", {}, 3, 3, [2, "quorum"]],
    ["w", {}, 3, 5, [2, "quorum"]],
    ["r", { consistency: "one" }, 3, 3, [1, "one"]],
    ["w", { consistency: "one" }, 3, 3, [1, "eventual"]],
    ["w", { consistency: "one" }, 3, 1, [1, "one"]],
    ["r", { consistency: "all" }, 3, 3, [3, "all"]],
    ["w", { consistency: "all" }, 5, 2, [2, "all"]],
    ["r", { consistency: "quorum" }, 4, 4, [3, "quorum"]],
    ["w", { w: 2 }, 4, 4, [2, "eventual"]],
    ["w", { w: 3 }, 4, 4, [3, "quorum"]],
    ["r", { r: 3 }, 3, 3, [3, "quorum"]],
    ["r", { r: "all" }, 3, 3, [3, "quorum"]],
    // A number is meant as it stands; it goes before the word.
    ["r", { r: 1, consistency: "all" }, 3, 3, [1, "one"]],
    ["w", { r: 1, consistency: "all" }, 3, 3, [3, "all"]],
    ["r", { r: 4 }, 3, 5, "invalid-quorum"],
    ["w", { w: 0 }, 3, 3, "invalid-quorum"],
    ["r", { r: 2 }, 3, 1, "quorum-unavailable"],
    ["w", { w: 3 }, 3, 2, "quorum-unavailable"],
  ];
  for (const [kind, asked, n, members, expected] of rows) {
    const what = `${kind} ${JSON.stringify(asked)} of ${n} among ${members}`;
    const policy = { ...policyDefault, n };
    if (typeof expected === "string") {
      const error = throwsSlug(expected, () => levelOf(kind, asked, policy, members), what);
      assert.is(error.outcome, kind === "w" ? "none" : undefined, what);
      continue;
    }
    const { needed, replicas, consistency } = levelOf(kind, asked, policy, members);
    assert.equal([needed, consistency], expected, what);
    assert.is(replicas, Math.min(n, members), what);
  }
});

test("L1: a majority and another one always meet, and the needed are never more than there are", () => {
  const property = fc.property(
    fc.integer({ min: 1, max: replicasMax }),
    fc.integer({ min: 1, max: 20 }),
    fc.constantFrom("one" as const, "quorum" as const, "all" as const, undefined),
    (n, members, consistency) => {
      const policy = { ...policyDefault, n };
      const asked = consistency === undefined ? {} : { consistency };
      const read = levelOf("r", asked, policy, members);
      const write = levelOf("w", asked, policy, members);
      assert.is(read.needed, write.needed);
      assert.ok(read.needed >= 1 && read.needed <= read.replicas);
      assert.ok(2 * majority(read.replicas) > read.replicas);
      assert.is(write.consistency === "eventual", 2 * write.needed <= write.replicas);
    },
  );
  fc.assert(property, runs(200));
});

test("Document: changes run one after another, each durable before it is the present one", async () => {
  const disk = new SimDisk();
  const document = await Document.open(disk, () => first);
  const changes = Array.from({ length: 8 }, (_, number) =>
    document.change((present) => step(present, `n${number}`)),
  );
  const epochs = (await Promise.all(changes)).map(({ epoch }) => epoch);
  assert.equal(epochs, [2, 3, 4, 5, 6, 7, 8, 9]);
  const left = await Document.open(disk.crash("durable"), () => {
    throw new Error("there is a document");
  });
  assert.equal(left.present, document.present);
});

test("D4, T2: a document that a start has read is durable before it is the present one", async () => {
  for (let call = 1; call <= 6; call += 1) {
    const disk = new SimDisk();
    const document = await Document.open(disk, () => first);
    // The change is in the page cache, and its sync failed; then the process is killed.
    disk.failCall(call, { code: "EIO", writtenBytes: 100_000 });
    await document.change((present) => step(present, "a")).catch(() => {});
    const restarted = disk.kill();
    const { present } = await Document.open(restarted, () => first);
    const left = await Document.open(restarted.crash("durable"), () => first);
    assert.equal(left.present, present, `call ${call}`);
  }
});

test("Document: a change that fails leaves the present one, and the next goes on from there", async () => {
  const disk = new SimDisk();
  const document = await Document.open(disk, () => first);
  disk.failCall(2, { code: "EIO" });
  const failing = document.change((present) => step(present, "a"));
  const refused = document.change(() => {
    throw new QuorateError("invalid-request", "no");
  });
  const next = document.change((present) => step(present, "b"));
  let failure: unknown;
  await failing.catch((error: unknown) => {
    failure = error;
  });
  assert.match(String(failure), /EIO/);
  await rejectsSlug("invalid-request", refused);
  assert.is((await next).epoch, 2);
  assert.equal(
    document.present.namespaces.map(({ name }) => name),
    ["default", "b"],
  );
  assert.is(await document.change(() => undefined), document.present);
});

test.run();
