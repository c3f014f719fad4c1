import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { ClusterMember } from "../src/api.ts";
import { programOfOne } from "../src/protocol.ts";
import {
  clusterAnswer,
  hintsAnswer,
  hintsTold,
  loadOf,
  type MemberView,
  protocolAnswer,
} from "../src/topology_status.ts";
import { genesisOf } from "../src/topology_steps.ts";

const test = suite("topology status");

const members = ["a", "b", "c"].map((letter, index) => ({
  nodeId: letter.repeat(32),
  storeId: `${index + 1}`.repeat(32),
  name: `n${index + 1}`,
  addresses: [`10.0.0.${index + 1}:8080`],
}));
const topology = genesisOf(members, { expect: 3, partitions: 16 });
const noHints = hintsAnswer(topology.members, "n1", { tallies: [], marks: 0 }, 0);
const [first, second, third] = topology.members.map(({ nodeId }) => nodeId);
const self = { nodeId: first ?? "", load: { keys: 7, bytes: 70 } };
const programs = new Map([
  [first, { version: "1.2.3", lowest: 1, highest: 2, formats: {} }],
  [second, programOfOne(1)],
]);
const protocol = protocolAnswer(topology, ({ nodeId }) => programs.get(nodeId));

function view(change: Partial<MemberView>): MemberView {
  const nodeId = second ?? "";
  const seen = { nodeId, state: "alive", phi: 0.5, silentMs: 120.7, boot: 3, epoch: 1 } as const;
  return { ...seen, load: {}, ...change };
}

function memberOf(views: readonly MemberView[], nodeId: string | undefined): ClusterMember {
  const { members: all } = clusterAnswer(topology, { self, views, protocol, hints: noHints });
  const found = all.find((member) => member.nodeId === nodeId);
  if (found === undefined) throw new Error("the member is missing");
  return found;
}

test("clusterAnswer() has every member of the document once, in its order, heard of or not", () => {
  const views = [view({}), view({ nodeId: "f".repeat(32) })];
  const answer = clusterAnswer(topology, { self, views, protocol, hints: noHints });
  const ids = answer.members.map(({ nodeId }) => nodeId);
  assert.equal(
    ids,
    topology.members.map(({ nodeId }) => nodeId),
  );
  assert.equal([answer.node, answer.epoch, answer.partitions], ["n1", topology.epoch, 16]);
  assert.equal([...answer.voters].sort(), ["n1", "n2", "n3"]);
  const firsts = answer.members.reduce((sum, { firstCount }) => sum + firstCount, 0);
  assert.is(firsts, 16, "each partition has one first replica");
  assert.equal(
    answer.members.map(({ replicaCount }) => replicaCount),
    [16, 16, 16],
  );
});

test("clusterAnswer(): the node that answers is alive, with its own version and numbers", () => {
  const own = memberOf([], first);
  assert.equal([own.isSelf, own.state, own.phi, own.silentMs], [true, "alive", 0, 0]);
  assert.equal([own.keys, own.bytes, own.version, own.epoch], [7, 70, "1.2.3", topology.epoch]);
  assert.is(own.disk, undefined, "a load without a disk has none");
});

test("clusterAnswer(): who was never heard of is unknown, and down once the detector says so", () => {
  assert.is(memberOf([], third).state, "unknown");
  const waiting = memberOf([view({ boot: 0 })], second);
  assert.equal([waiting.state, waiting.silentMs, waiting.epoch], ["unknown", undefined, undefined]);
  assert.is(memberOf([view({ boot: 0, state: "down" })], second).state, "down");
});

test("clusterAnswer(): what was heard is told, rounded and within bounds", () => {
  const load = { keys: 5, diskFreeBytes: 1, diskTotalBytes: 2 };
  const state = "suspect";
  const phi = Number.POSITIVE_INFINITY;
  const heard = memberOf([view({ state, phi, load })], second);
  assert.equal([heard.state, heard.phi, heard.silentMs], ["suspect", 1000, 121]);
  assert.equal([heard.keys, heard.bytes], [5, undefined]);
  assert.equal(heard.disk, { freeBytes: 1, totalBytes: 2 });
});

test("protocolAnswer(): a feature waits for who is behind, and for who was never heard of", () => {
  const nameOf = (id: string | undefined) =>
    topology.members.find(({ nodeId }) => nodeId === id)?.name;
  assert.is(protocol.protocol, 1);
  assert.equal(protocol.features, [
    { name: "member-programs", since: 2, isOn: false, waitsFor: [nameOf(second), nameOf(third)] },
    { name: "joins-by-phases", since: 2, isOn: false, waitsFor: [nameOf(second), nameOf(third)] },
  ]);
  const [own, other, unheard] = [first, second, third].map((id) => memberOf([], id));
  assert.equal([own?.version, own?.speaks], ["1.2.3", { lowest: 1, highest: 2 }]);
  assert.equal([other?.version, other?.speaks], [undefined, { lowest: 1, highest: 1 }]);
  assert.equal([unheard?.version, unheard?.speaks], [undefined, undefined]);
});

test("hintsAnswer() sums up, names the members, and never tells an age below zero", () => {
  const one = { storeId: topology.members[1]?.storeId ?? "", count: 2, bytes: 300 };
  const gone = { storeId: "9".repeat(32), count: 1, bytes: 50, isDelivering: false };
  const tallies = [
    { ...one, oldestMs: 4000, isDelivering: true },
    { ...gone, oldestMs: 9000 },
  ];
  const answer = hintsAnswer(topology.members, "n1", { tallies, marks: 2 }, 5000);
  assert.equal([answer.count, answer.bytes, answer.marks], [3, 350, 2]);
  const name = topology.members[1]?.name ?? "";
  assert.equal(answer.targets, [
    { ...one, node: name, oldestAgeMs: 1000, isDelivering: true },
    { ...gone, oldestAgeMs: 0 },
  ]);
  const { members: all } = clusterAnswer(topology, { self, views: [], protocol, hints: answer });
  assert.equal(all.find(({ node }) => node === name)?.hints, { count: 2, bytes: 300 });
  const unaged = hintsAnswer(
    [],
    "n1",
    { tallies: [{ ...gone, oldestMs: undefined }], marks: 0 },
    5000,
  );
  assert.not.ok("oldestAgeMs" in (unaged.targets[0] ?? {}));
});

test("loadOf() is what clusterAnswer() reads, with a disk and without", () => {
  const disk = { freeBytes: 10, totalBytes: 20 };
  const facts = { keys: 3, bytes: 30, hints: 4 };
  const seen = memberOf([view({ load: loadOf({ ...facts, disk }) })], second);
  assert.equal([seen.keys, seen.bytes, seen.disk], [3, 30, disk]);
  const without = memberOf([view({ load: loadOf({ ...facts, disk: undefined }) })], second);
  assert.equal([without.keys, without.disk], [3, undefined]);
});

test("hintsTold() counts what others keep, but not of one that is down", () => {
  const load = loadOf({ keys: 0, bytes: 0, disk: undefined, hints: 4, marks: 1 });
  const none = { count: 0, marks: 0 };
  assert.equal(hintsTold([]), none);
  const views = [view({ load }), view({ state: "suspect", load }), view({})];
  assert.equal(hintsTold(views), { count: 8, marks: 2 });
  assert.equal(hintsTold([view({ state: "down", load })]), none);
});

test.run();
