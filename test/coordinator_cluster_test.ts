/**
 * The coordinator among several nodes, on real stores and a network that the test cuts: who is asked,
 * what is answered, what is repaired, and what is known when it fails. The tests that are named like
 * the faults of the first program say which one in their names.
 */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { utf8Bytes } from "../src/bytes.ts";
import { QuorateError } from "../src/errors.ts";
import { type Hlc, hlcAt, hlcWallMs } from "../src/hlc.ts";
import type { StoredRecord } from "../src/record.ts";
import { compareVersions, versionText } from "../src/version.ts";
import { Cluster, type ClusterNode } from "./cluster_harness.ts";
import { rejectsSlug } from "./samples.ts";

const test = suite("coordinator_cluster");
const startMs = 1_700_000_000_000;

function recordAt(stampMs: number, value: string, more: Partial<StoredRecord> = {}): StoredRecord {
  return {
    version: { hlc: hlcAt(stampMs), origin: 77n },
    tombstone: false,
    contentType: "text/plain",
    meta: [],
    value: utf8Bytes(value),
    ...more,
  };
}

const toText = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

/** Lets everything that waits for no timer happen. */
async function turns(count = 200): Promise<void> {
  for (let turn = 0; turn < count; turn += 1) await undefined;
}

test("client-request-is-replicated: one put is on all three nodes, and any of them reads it", async () => {
  const cluster = await Cluster.open(3);
  const answer = await cluster.node("n1").put("k", "v");
  assert.is(answer.replies, 2, "w of the default policy");
  assert.is(answer.replicas, 3);
  await turns();
  for (const node of cluster.nodes) {
    assert.is(await node.held("k"), "v", node.name);
    assert.is(await node.value("k"), "v", node.name);
  }
  assert.equal(cluster.node("n1").hints, []);
  await cluster.close();
});

test("single-node-accepts-writes: a cluster of one, with cluster ports, asks its own store alone", async () => {
  const cluster = await Cluster.open(1);
  const node = cluster.node("n1");
  await node.put("k", "v");
  assert.is(await node.value("k"), "v");
  assert.equal(node.asked, []);
  await cluster.close();
});

test("a node that is no replica of the key coordinates all the same", async () => {
  const cluster = await Cluster.open(4);
  await cluster.node("n4").put("k", "v");
  await turns();
  assert.is(await cluster.node("n4").held("k"), undefined);
  assert.is(await cluster.node("n4").value("k"), "v");
  assert.is(await cluster.node("n3").held("k"), "v");
  await cluster.close();
});

test("quorum-read-returns-newest-under-skewed-clocks: writes in turn by nodes whose clocks differ", async () => {
  const cluster = await Cluster.open(3, [400, -400, 0]);
  let before: Awaited<ReturnType<(typeof cluster.nodes)[0]["put"]>> | undefined;
  for (let number = 0; number < 12; number += 1) {
    const node = cluster.nodes[number % 3];
    // A clock 800 ms behind another's refuses its stamps (V2): two of three are enough.
    const answer = await node?.put("k", `v${number}`);
    assert.ok(answer);
    if (before !== undefined) {
      assert.is(compareVersions(answer.version, before.version), 1, `write ${number}`);
    }
    before = answer;
    for (const reader of cluster.nodes) assert.is(await reader.value("k"), `v${number}`);
  }
  await cluster.close();
});

test("local-miss-does-not-hide-a-value: a node that missed the write reads it from the others, and is repaired", async () => {
  const cluster = await Cluster.open(3);
  cluster.cut("n3");
  await cluster.node("n1").put("k", "v");
  cluster.heal();
  assert.is(await cluster.node("n3").held("k"), undefined);
  assert.is(await cluster.node("n3").value("k"), "v");
  assert.is(
    await cluster.node("n3").value("k", { consistency: "one" }),
    "v",
    "it was written back",
  );
  await cluster.close();
});

test("quorum-read-fails-fast-when-all-have-failed: no deadline is waited for", async () => {
  const cluster = await Cluster.open(3);
  const node = cluster.node("n1");
  await node.put("k", "v");
  cluster.cut("n1");
  const error = await rejectsSlug("read-quorum-not-met", node.get("k"));
  assert.is(error.facts.acks, 1);
  assert.is(error.facts.needed, 2);
  assert.equal(
    error.facts.replicas?.map(({ node: name, status }) => `${name} ${status}`),
    ["n1 found", "n2 not reached", "n3 not reached"],
  );
  assert.is(await node.value("k", { consistency: "one" }), "v");
  await cluster.close();
});

test("a replica that names a newer version and is gone before its record is fetched: the third answers in its place", async () => {
  const cluster = await Cluster.open(3);
  const node = cluster.node("n1");
  await node.put("k", "v");
  await turns();
  // A write that reached n2 alone.
  cluster.cut("n2");
  await rejectsSlug("write-quorum-not-met", cluster.node("n2").put("k", "w"));
  cluster.heal();
  cluster.damage = (to, reply) => {
    if (to === "n2") cluster.link("n1", "n2", "no link");
    return reply;
  };
  node.asked.length = 0;
  assert.is(await node.value("k"), "v");
  assert.equal(node.asked, ["n1 record", "n2 version", "n2 record", "n3 record"]);
  cluster.link("n1", "n3", "no link");
  cluster.link("n1", "n2", "ok");
  await rejectsSlug("read-quorum-not-met", node.get("k"));
  cluster.heal();
  cluster.damage = (_, reply) => reply;
  assert.is(await node.value("k"), "w", "and what was partial may appear later");
  await cluster.close();
});

test("W5, P7: a write that cannot reach w fails when its own disk has answered: it says partial, and hints are kept", async () => {
  const cluster = await Cluster.open(3);
  cluster.cut("n1");
  const node = cluster.node("n1");
  const error = await rejectsSlug("write-quorum-not-met", node.put("k", "v"));
  assert.equal([error.outcome, error.facts.acks, error.facts.needed], ["partial", 1, 2]);
  assert.equal(
    error.facts.replicas?.map(({ node: name, status }) => `${name} ${status}`),
    ["n1 took", "n2 not reached", "n3 not reached"],
  );
  assert.is(await node.held("k"), "v");
  await turns();
  assert.equal(node.hints.map(({ storeId }) => storeId).sort(), [
    cluster.node("n2").storeId,
    cluster.node("n3").storeId,
  ]);
  await cluster.close();
});

test("P7: a write that reaches nobody and that its own replica refuses is none, and keeps no hint", async () => {
  const cluster = await Cluster.open(3);
  cluster.cut("n1");
  const node = cluster.node("n1");
  node.state.notReady = "it waits";
  const error = await rejectsSlug("write-quorum-not-met", node.put("k", "v"));
  assert.is(error.outcome, "none");
  await turns();
  assert.equal(node.hints, []);
  await cluster.close();
});

test("P7: a write whose second version cannot be minted, and that nobody took, is none, and keeps no hint", async () => {
  const cluster = await Cluster.open(3);
  for (const name of ["n1", "n2"]) {
    await cluster.node(name).plant("k", recordAt(startMs + 100, "newer"));
  }
  cluster.node("n3").state.notReady = "it waits";
  const node = cluster.node("n1");
  node.store.mint.mintAbove = async () => {
    await turns();
    throw new Error("the disk");
  };
  const error = await rejectsSlug("internal", node.put("k", "v"));
  assert.is(error.outcome, "none");
  await turns();
  assert.equal(node.hints, []);
  await cluster.close();
});

test("P7: a write whose stamp cannot be covered was sent to no other replica: it is none, and keeps no hint", async () => {
  const cluster = await Cluster.open(4);
  const node = cluster.node("n4");
  node.covering.push(Promise.reject(new QuorateError("disk-full", "It is full.", {})));
  const error = await rejectsSlug("disk-full", node.put("k", "v"));
  assert.equal(node.asked, []);
  assert.is(error.outcome, "none");
  await turns();
  assert.equal(node.hints, []);
  // What the own replica has taken is there all the same.
  const own = cluster.node("n1");
  const fails = turns().then(() => Promise.reject(new Error("the disk")));
  own.covering.push(fails);
  const partial = await rejectsSlug("internal", own.put("k", "v"));
  assert.is(partial.outcome, "partial");
  await turns();
  assert.is(own.hints.length, 2);
  await cluster.close();
});

test("W5, P7: an own disk that stands still is not waited for until the deadline: unknown, and hints for all", async () => {
  const cluster = await Cluster.open(3);
  cluster.cut("n1");
  const node = cluster.node("n1");
  node.replica.write = () => new Promise(() => {});
  const failed = rejectsSlug("write-quorum-not-met", node.put("k", "v", { timeoutMs: 5000 }));
  await turns();
  await node.wall.advance(250);
  assert.is((await failed).outcome, "unknown");
  await node.wall.advance(5000);
  assert.is(node.hints.length, 3);
  await cluster.close();
});

test("P7: a coordinator without a replica of its own that reaches nobody says none, and keeps no hint", async () => {
  const cluster = await Cluster.open(4);
  cluster.cut("n4");
  const node = cluster.node("n4");
  const error = await rejectsSlug("write-quorum-not-met", node.put("k", "v"));
  assert.is(error.outcome, "none");
  await turns();
  assert.equal(node.hints, []);
  await cluster.close();
});

test("P7: silence until the deadline is unknown, or partial where one acknowledged it", async () => {
  const cluster = await Cluster.open(4);
  for (const name of ["n1", "n2", "n3"]) cluster.link("n4", name, "silent");
  const unknown = rejectsSlug("timeout", cluster.node("n4").put("k", "v", { timeoutMs: 100 }));
  await turns();
  await cluster.node("n4").wall.advance(100);
  assert.is((await unknown).outcome, "unknown");
  assert.is(cluster.node("n4").hints.length, 3);
  cluster.link("n1", "n2", "silent");
  cluster.link("n1", "n3", "silent");
  const partial = rejectsSlug("timeout", cluster.node("n1").put("k", "v", { timeoutMs: 100 }));
  await turns();
  await cluster.node("n1").wall.advance(100);
  assert.is((await partial).outcome, "partial");
  assert.is(cluster.node("n1").hints.length, 2);
  await cluster.close();
});

test("H1: after success, the replica that stayed silent gets a hint at the deadline, one without a link at once", async () => {
  const cluster = await Cluster.open(3);
  const node = cluster.node("n1");
  cluster.link("n1", "n3", "silent");
  const answer = await node.put("k", "v", { timeoutMs: 1000 });
  await cluster.advance(999);
  assert.equal(node.hints, []);
  await cluster.advance(1);
  assert.is(node.hints.length, 1);
  assert.is(node.hints[0]?.storeId, cluster.node("n3").storeId);
  assert.equal(node.hints[0]?.record.version, answer.version);
  cluster.link("n1", "n3", "no link");
  await node.delete("k");
  await turns();
  assert.is(node.hints.length, 2);
  assert.ok(node.hints[1]?.record.tombstone, "deletes are hinted as well");
  await cluster.close();
});

test("explain on a write tells what each replica said, and for whom a hint is kept", async () => {
  const cluster = await Cluster.open(3);
  cluster.link("n1", "n3", "no link");
  const { explain } = await cluster.node("n1").put("k", "v", { explain: true });
  const { hints, versions, replicas } = explain as {
    hints: string[];
    versions: number;
    replicas: { node: string; status: string }[];
  };
  assert.equal(hints, ["n3"]);
  assert.is(versions, 1);
  assert.equal(
    replicas.map(({ node, status }) => `${node} ${status}`),
    ["n1 took", "n2 took", "n3 not reached"],
  );
  await cluster.close();
});

test("H1: settle keeps hints for what is under way, so that a node can close", async () => {
  const cluster = await Cluster.open(3);
  cluster.link("n1", "n3", "silent");
  await cluster.node("n1").put("k", "v");
  await cluster.node("n1").coordinator.settle();
  assert.is(cluster.node("n1").hints.length, 1);
  await cluster.close();
});

test("W3: a write below what is there is minted again above it, and read back", async () => {
  const cluster = await Cluster.open(3);
  for (const node of cluster.nodes) await node.plant("k", recordAt(startMs + 3_600_000, "future"));
  const answer = await cluster.node("n1").put("k", "v", { explain: true });
  assert.ok(hlcWallMs(answer.version.hlc) >= startMs + 3_600_000);
  assert.is((answer.explain as { versions: number }).versions, 2);
  assert.is(await cluster.node("n2").value("k"), "v");
  await cluster.close();
});

test("G2: a write below a promise is minted above it", async () => {
  const cluster = await Cluster.open(3);
  const promise = hlcAt(startMs + 100);
  for (const { state } of cluster.nodes) state.fence = { promise, watermark: 0n as Hlc };
  const answer = await cluster.node("n1").put("k", "v");
  assert.ok(answer.version.hlc > promise);
  assert.is(await cluster.node("n3").value("k"), "v");
  await cluster.close();
});

test("V2: stamps of a clock far ahead are refused, with the reason for every replica", async () => {
  const cluster = await Cluster.open(4, [0, 0, 0, 5000]);
  const error = await rejectsSlug("write-quorum-not-met", cluster.node("n4").put("k", "v"));
  assert.is(error.outcome, "none");
  const reasons = error.facts.replicas?.map(({ reason }) => reason?.slice(0, 10));
  assert.ok(
    reasons?.every((reason) => reason === "clock-skew"),
    JSON.stringify(reasons),
  );
  await cluster.close();
});

test("R1: a version that one replica alone holds is written back before it is answered", async () => {
  const cluster = await Cluster.open(3);
  await cluster.node("n1").plant("k", recordAt(startMs, "alone"));
  assert.is(await cluster.node("n1").value("k"), "alone");
  const holders = await Promise.all(cluster.nodes.map((node) => node.held("k")));
  assert.ok(holders.filter((held) => held === "alone").length >= 2, JSON.stringify(holders));
  await cluster.close();
});

test("R1: where it cannot be written back, the read fails rather than go back later", async () => {
  const cluster = await Cluster.open(3);
  await cluster.node("n1").plant("k", recordAt(startMs, "alone"));
  const watermark = hlcAt(startMs + 100);
  for (const node of cluster.nodes) node.state.fence = { promise: watermark, watermark };
  const error = await rejectsSlug("read-quorum-not-met", cluster.node("n1").get("k"));
  assert.match(error.detail, "too few could be given");
  await cluster.close();
});

test("R2: a live record below a watermark that its replica has not reached, and others lack, is not read, and its partition is marked", async () => {
  const cluster = await Cluster.open(3);
  await cluster.node("n1").plant("k", recordAt(startMs, "deleted long ago"));
  const watermark = hlcAt(startMs + 100);
  for (const name of ["n2", "n3"]) {
    cluster.node(name).state.fence = { promise: watermark, watermark };
  }
  for (const node of cluster.nodes) assert.is(await node.value("k"), undefined, node.name);
  assert.is(await cluster.node("n2").held("k"), undefined, "nor is it brought back");
  const { storeId } = cluster.node("n1");
  for (const node of cluster.nodes) {
    assert.ok(
      node.suspected.every((each) => each === storeId),
      node.name,
    );
  }
  assert.ok(cluster.node("n1").suspected.length > 0);
  await cluster.close();
});

test("R2: a tombstone below a watermark that another replica has reached is one with nothing", async () => {
  const cluster = await Cluster.open(3);
  const tombstone = { ...recordAt(startMs, ""), tombstone: true };
  await cluster.node("n1").plant("k", tombstone);
  const watermark = hlcAt(startMs + 100);
  for (const name of ["n2", "n3"]) {
    cluster.node(name).state.fence = { promise: watermark, watermark };
  }
  // Without it the read would have to write the tombstone back, which those who dropped it refuse.
  for (const node of cluster.nodes) assert.is(await node.value("k"), undefined, node.name);
  await cluster.close();
});

test("the value comes from one replica, only versions from the others; what is newer elsewhere is fetched", async () => {
  const cluster = await Cluster.open(3);
  const node = cluster.node("n1");
  await node.put("k", "old");
  await turns();
  node.asked.length = 0;
  assert.is(await node.value("k"), "old");
  assert.equal(node.asked, ["n1 record", "n2 version"]);
  await cluster.node("n2").plant("k", recordAt(startMs + 50, "newer"));
  await cluster.node("n3").plant("k", recordAt(startMs + 50, "newer"));
  node.asked.length = 0;
  assert.is(await node.value("k"), "newer");
  assert.equal(node.asked.slice(0, 3), ["n1 record", "n2 version", "n2 record"]);
  await turns();
  assert.is(await node.held("k"), "newer", "repaired");
  await cluster.close();
});

test("an explained read names what it was decided by, also what a fetch was the first to meet", async () => {
  const cluster = await Cluster.open(3);
  for (const name of ["n2", "n3"]) {
    await cluster.node(name).plant("k", recordAt(startMs, "deleted since"));
  }
  const tombstone = { ...recordAt(startMs + 50, ""), tombstone: true };
  // n2 tells its version; by the time it is asked for the value, there is none any more.
  let planted: Promise<unknown> | undefined;
  cluster.damage = (to, reply) => {
    if (to === "n2") planted ??= cluster.node("n2").plant("k", tombstone);
    return reply;
  };
  const node = cluster.node("n1");
  const { record, explain } = await node.get("k", { explain: true });
  assert.is(record, undefined);
  const told = explain as { replicas: readonly { node: string; version?: string }[] };
  const ofDelete = versionText(tombstone.version);
  assert.is(told.replicas.find((each) => each.node === "n2")?.version, ofDelete);
  await planted;
  await cluster.close();
});

test("an explained read says of an answer that it did not go by why it did not", async () => {
  const cluster = await Cluster.open(3);
  const tombstone = { ...recordAt(startMs, ""), tombstone: true };
  await cluster.node("n1").plant("dropped", tombstone);
  await cluster.node("n1").plant("brought back", recordAt(startMs, "deleted long ago"));
  await cluster.node("n1").plant("over", recordAt(startMs, "over", { expiresAtMs: startMs }));
  const watermark = hlcAt(startMs + 100);
  for (const name of ["n2", "n3"])
    cluster.node(name).state.fence = { promise: watermark, watermark };
  for (const [key, why] of [
    ["dropped", "the delete is below the watermark and counts as nothing"],
    ["over", "the record is over, below the watermark and counts as nothing"],
    ["brought back", "the record was deleted below a watermark that this replica does not have"],
  ] as const) {
    const { record, explain } = await cluster.node("n1").get(key, { explain: true });
    assert.is(record, undefined);
    const told = explain as { replicas: readonly { node: string; ignored?: string }[] };
    const ignored = told.replicas.flatMap((each) => (each.ignored === undefined ? [] : [each]));
    assert.equal(
      ignored.map(({ node, ignored: reason }) => [node, reason]),
      [["n1", why]],
    );
  }
  await cluster.close();
});

test("P4: a delete is repaired too, although its versions alone were enough for the answer", async () => {
  const cluster = await Cluster.open(3);
  const node = cluster.node("n1");
  await node.plant("k", recordAt(startMs, "deleted since"));
  const tombstone = { ...recordAt(startMs + 50, ""), tombstone: true };
  for (const name of ["n2", "n3"]) await cluster.node(name).plant("k", tombstone);
  assert.is(await node.value("k", { consistency: "all" }), undefined);
  await turns();
  assert.is(await node.held("k"), "(deleted)");
  await cluster.close();
});

test("what was read behind is repaired in the background when the answer does not depend on it", async () => {
  const cluster = await Cluster.open(3);
  for (const name of ["n1", "n2"]) await cluster.node(name).plant("k", recordAt(startMs, "v"));
  const answer = await cluster.node("n1").get("k", { consistency: "all", explain: true });
  assert.is(answer.replies, 3);
  assert.equal((answer.explain as { repairs: string[] }).repairs, ["n3"]);
  await turns();
  assert.is(await cluster.node("n3").held("k"), "v");
  await cluster.close();
});

test("a slow replica is hedged: another is asked, and the answer does not wait for it", async () => {
  const cluster = await Cluster.open(3);
  const node = cluster.node("n1");
  await node.put("k", "v");
  await turns();
  cluster.link("n1", "n2", "silent");
  const answer = node.get("k", { explain: true });
  await turns();
  node.asked.length = 0;
  await node.wall.advance(64);
  assert.equal(node.asked, ["n3 record"]);
  const { record, explain } = await answer;
  assert.is(Buffer.from(record?.value ?? []).toString(), "v");
  assert.is((explain as { hedges: number }).hedges, 1);
  await cluster.close();
});

test("a replica believed to be down is asked last for reads, and gets every write", async () => {
  const cluster = await Cluster.open(3);
  cluster.node("n2").state.isUp = false;
  const node = cluster.node("n1");
  await node.put("k", "v");
  await turns();
  assert.is(await cluster.node("n2").held("k"), "v");
  node.asked.length = 0;
  await node.get("k");
  assert.equal(node.asked, ["n1 record", "n3 version"]);
  await cluster.close();
});

test("R4, I4: a replica without data takes writes and counts for nothing", async () => {
  const cluster = await Cluster.open(3);
  cluster.node("n1").state.counts = false;
  const node = cluster.node("n1");
  const answer = await node.put("k", "v");
  assert.is(answer.replies, 2);
  cluster.link("n1", "n3", "no link");
  const error = await rejectsSlug("write-quorum-not-met", node.put("k", "w"));
  assert.is(error.outcome, "partial");
  assert.is(error.facts.acks, 1);
  await rejectsSlug("read-quorum-not-met", node.get("k"));
  cluster.heal();
  assert.is(await node.value("k"), "w", "and what was partial may appear later");
  await cluster.close();
});

test("an explained read says of a replica that what it holds is a deletion", async () => {
  for (const count of [1, 3]) {
    const cluster = await Cluster.open(count);
    const node = cluster.node("n1");
    await node.put("k", "v");
    type Told = { replicas: readonly { version?: string; tombstone?: boolean }[] };
    const firstOf = async () => {
      const { record, explain } = await node.get("k", { explain: true });
      const { version = "", tombstone } = (explain as Told).replicas[0] ?? {};
      assert.match(version, /^[0-9a-f]{16}-[0-9a-f]{16}$/);
      return [record === undefined, tombstone];
    };
    assert.equal(await firstOf(), [false, undefined]);
    await node.delete("k");
    assert.equal(await firstOf(), [true, true]);
    await cluster.close();
  }
});

const lacks = "the replica lacks data and does not count";

test("R4: an explained read and write say of a replica that lacks data that it does not count", async () => {
  const cluster = await Cluster.open(3);
  cluster.node("n2").state.counts = false;
  const node = cluster.node("n1");
  const written = await node.put("k", "v", { w: 2, explain: true });
  await turns();
  const read = await node.get("k", { r: 2, explain: true });
  type Told = { replicas: readonly { node: string; ignored?: string }[] };
  for (const explain of [written.explain, read.explain]) {
    const told = (explain as Told).replicas.find(({ node: name }) => name === "n2");
    assert.is(told?.ignored, lacks);
  }
  await cluster.close();
});

test("R4: where nobody's data count, errors say so of each replica, and name what helps", async () => {
  const cluster = await Cluster.open(3);
  for (const { state } of cluster.nodes) state.counts = false;
  const node = cluster.node("n1");
  const write = await rejectsSlug("write-quorum-not-met", node.put("k", "v"));
  assert.equal(write.facts.replicas?.[0], { node: "n1", status: "took", reason: lacks });
  assert.match(write.hint ?? "", "'quorate repair --url …'");
  const options = { consistency: "one", explain: true } as const;
  const read = await rejectsSlug("read-quorum-not-met", node.get("k", options));
  assert.equal(read.facts.replicas?.[0], { node: "n1", status: "found", reason: lacks });
  assert.match(read.hint ?? "", "'quorate repair --url …'");
  assert.not.match(read.hint ?? "", "consistency=one", "that was asked for already");
  const { replicas } = read.facts.explain as { replicas: readonly { ignored?: string }[] };
  assert.is(replicas[0]?.ignored, lacks, "what was asked for stands in the error as well");
  const quorum = await rejectsSlug("read-quorum-not-met", node.get("k"));
  assert.match(quorum.hint ?? "", "consistency=one");
  await cluster.close();
});

test("a read of one replica that is away does not advise to ask for one", async () => {
  const cluster = await Cluster.open(4);
  for (const name of ["n1", "n2", "n3"]) cluster.cut(name);
  const away = cluster.node("n4").get("k", { consistency: "one", explain: true });
  const { hint = "", facts } = await rejectsSlug("read-quorum-not-met", away);
  assert.not.match(hint, "consistency=one");
  assert.match(hint, "quorate status");
  assert.ok(facts.explain !== undefined);
  await cluster.close();
});

test("P1: of three members two hold the keys: a write that asks for three is refused", async () => {
  const cluster = await Cluster.open(3);
  for (const { state } of cluster.nodes) state.replicas = ["n1", "n2"];
  const node = cluster.node("n1");
  const refused = await rejectsSlug("quorum-unavailable", node.put("k", "v", { w: 3 }));
  assert.is(refused.outcome, "none");
  assert.is(refused.facts.acks, 2, "so many replicas there are");
  await rejectsSlug("quorum-unavailable", node.get("k", { r: 3 }));
  await rejectsSlug("quorum-unavailable", node.keys({ r: 3 }));
  assert.is(await node.held("k"), undefined);
  const { replies, replicas } = await node.put("k", "v", { w: "all" });
  assert.equal([replies, replicas], [2, 2]);
  await cluster.close();
});

test("P1, T6: what goes on at a node that has left asks the one member that there is, not its own store", async () => {
  const cluster = await Cluster.open(2);
  for (const { state } of cluster.nodes)
    Object.assign(state, { members: ["n1"], replicas: ["n1"] });
  const [stays, left] = [cluster.node("n1"), cluster.node("n2")];
  await left.put("k", "v");
  assert.equal([await stays.held("k"), await left.held("k")], ["v", undefined]);
  await stays.put("k", "w");
  assert.is(await left.value("k"), "w");
  assert.equal(await left.keys(), ["k"]);
  assert.equal(
    left.asked.filter((line) => line.startsWith("n2")),
    [],
  );
  await cluster.close();
});

test("T2: a list whose newer document cannot be kept here fails as a read does", async () => {
  const cluster = await Cluster.open(3);
  for (const name of ["n2", "n3"]) {
    Object.assign(cluster.node(name).state, { epoch: 2, changedAt: 2 });
  }
  const node = cluster.node("n1");
  node.learn = () => {
    throw new Error("ENOSPC");
  };
  await rejectsSlug("read-quorum-not-met", node.get("k"));
  await rejectsSlug("read-quorum-not-met", node.keys());
  await cluster.close();
});

test("L1, T3: a write that is no majority of the set to come is told as eventual", async () => {
  const cluster = await Cluster.open(3);
  for (const { state } of cluster.nodes) {
    Object.assign(state, { replicas: ["n1"], other: ["n1", "n2", "n3"] });
  }
  const node = cluster.node("n1");
  assert.is((await node.put("k", "v")).consistency, "quorum");
  cluster.cut("n1");
  const { consistency } = await node.put("k", "w", { consistency: "one" });
  assert.is(consistency, "eventual", "two of three do not have it");
  const { facts, detail } = await rejectsSlug("write-quorum-not-met", node.put("k", "x"));
  assert.equal([facts.acks, facts.needed], [1, 2]);
  assert.match(detail, "1 of 2 replicas");
  await cluster.close();
});

test("P7, T2: a second version that all refuse under a newer topology is told as not written", async () => {
  const cluster = await Cluster.open(3);
  const node = cluster.node("n1");
  for (const { name } of cluster.nodes) {
    await cluster.node(name).plant("k", recordAt(startMs + 100, "of a clock ahead"));
  }
  cluster.link("n1", "n3", "no link");
  cluster.damage = (_, reply) => {
    // Both have named what stands above the first version, and before the second is minted:
    for (const { state } of cluster.nodes) {
      Object.assign(state, { epoch: 2, changedAt: 2, notReady: "it is starting" });
    }
    return reply;
  };
  const error = await rejectsSlug("write-quorum-not-met", node.put("k", "v"));
  assert.equal(
    error.facts.replicas?.map(({ status }) => status),
    ["refused", "refused", "not reached"],
  );
  assert.is(error.outcome, "none");
  assert.equal(node.hints, []);
  await cluster.close();
});

test("P1, T2: a write that asks for three is not sent again where keys have two replicas by now", async () => {
  const cluster = await Cluster.open(3);
  for (const name of ["n2", "n3"]) {
    Object.assign(cluster.node(name).state, { epoch: 2, changedAt: 2, replicas: ["n1", "n2"] });
  }
  const error = await rejectsSlug(
    "write-quorum-not-met",
    cluster.node("n1").put("k", "v", { w: 3 }),
  );
  assert.is.not(error.outcome, "none", "n1 may hold it");
  await cluster.close();
});

test("T2, P8: a replica that was damaged under an older topology is none of those under the newer one", async () => {
  const cluster = await Cluster.open(3);
  const node = cluster.node("n1");
  await node.put("k", "v");
  await turns();
  for (const name of ["n2", "n3"]) {
    Object.assign(cluster.node(name).state, { epoch: 2, changedAt: 2, replicas: ["n1"] });
  }
  cluster.damage = (to, reply) =>
    to === "n2" ? { ...reply, kind: "refused", reason: "corruption", detail: "damaged" } : reply;
  const { record, epoch } = await node.get("k", { consistency: "quorum" });
  assert.equal([toText(record?.value ?? new Uint8Array(0)), epoch], ["v", 2]);
  await cluster.close();
});

test("R3, T3: that a key is over is told to the set to come as well, or the read fails", async () => {
  const cluster = await Cluster.open(3, [400, 0, 0]);
  for (const { state } of cluster.nodes) {
    // Below a watermark nothing is written back that is over.
    const watermark = hlcAt(startMs + 1);
    const fence = { promise: watermark, watermark };
    Object.assign(state, { replicas: ["n1"], other: cluster.names, fence });
  }
  const record = recordAt(startMs, "short", { expiresAtMs: startMs + 200 });
  for (const node of cluster.nodes) await node.plant("k", record);
  cluster.cut("n1");
  const node = cluster.node("n1");
  // One is a majority of those that are read, and none of the others: these would show the key again.
  await rejectsSlug("read-quorum-not-met", node.get("k", { r: 1 }));
  cluster.heal();
  assert.is(await node.value("k", { r: 1 }), undefined);
  for (const { state } of cluster.nodes) {
    Object.assign(state, { epoch: 2, changedAt: 2, replicas: cluster.names, other: undefined });
  }
  cluster.cut("n1");
  assert.is(await cluster.node("n2").value("k"), undefined);
  await cluster.close();
});

test("L1, T2: a read or list for two is answered by no fewer where keys have one replica by now", async () => {
  const cluster = await Cluster.open(3);
  const node = cluster.node("n1");
  for (const ask of [() => node.get("k", { r: 2 }), () => node.keys({ r: 2 })]) {
    for (const { state } of cluster.nodes) {
      Object.assign(state, { epoch: 2, changedAt: 2, replicas: ["n2"] });
    }
    Object.assign(node.state, { epoch: 1, changedAt: 1, replicas: ["n2", "n3"] });
    await rejectsSlug("read-quorum-not-met", ask());
  }
  await cluster.close();
});

test("L1, T2: a read or list of one replica is none of a quorum where keys have three by now", async () => {
  const cluster = await Cluster.open(3);
  const node = cluster.node("n1");
  const get = async (r: number): Promise<unknown> => (await node.get("k", { r })).consistency;
  const list = async (r: number): Promise<unknown> =>
    (await node.listing.list({ namespace: "default", requestId: "test", r })).consistency;
  for (const ask of [get, list]) {
    for (const { state } of cluster.nodes) {
      Object.assign(state, { epoch: 2, changedAt: 2, replicas: cluster.names });
    }
    Object.assign(node.state, { epoch: 1, changedAt: 1, replicas: ["n2"] });
    assert.is(await ask(1), "one");
    assert.is(await ask(2), "quorum");
  }
  await cluster.close();
});

test("T2: refused with a newer epoch, a write and a read are sent once more under the newer document", async () => {
  for (const kind of ["put", "get"] as const) {
    const cluster = await Cluster.open(4);
    await cluster.node("n1").put("k", "v");
    await turns();
    // n1 and n4 have not heard that n4 took the place of n1.
    const newer = { epoch: 2, replicas: ["n4", "n2", "n3"] };
    for (const name of ["n2", "n3"]) cluster.node(name).learn(newer);
    const node = cluster.node("n1");
    if (kind === "put") {
      const answer = await node.put("k", "w");
      assert.is(answer.epoch, 2);
      await turns();
      assert.is(await cluster.node("n4").held("k"), "w", "n4 learned the document first");
    } else {
      const answer = await node.get("k");
      assert.is(answer.epoch, 2);
      assert.is(Buffer.from(answer.record?.value ?? []).toString(), "v");
    }
    assert.equal(node.state.replicas, newer.replicas);
    await cluster.close();
  }
});

test("W3: the others are not sent a first version whose stamp is covered when the second is on its way", async () => {
  const cluster = await Cluster.open(3);
  const node = cluster.node("n1");
  await node.plant("k", recordAt(startMs + 100, "newer"));
  let cover: () => void = () => {};
  node.covering.push(
    new Promise((resolve) => {
      cover = resolve;
    }),
  );
  const written = node.put("k", "v");
  for (const each of cluster.nodes) each.learn({ epoch: 2, replicas: ["n1", "n2"] });
  await turns();
  cover();
  const answer = await written;
  await turns();
  assert.is(answer.epoch, 2);
  assert.equal(cluster.node("n3").asked, []);
  assert.is(await cluster.node("n2").held("k"), "v");
  await cluster.close();
});

test("T2: a read whose version has to be written back is asked again when the topology moves on in between", async () => {
  const cluster = await Cluster.open(4);
  await cluster.node("n2").plant("k", recordAt(startMs, "alone"));
  const newer = { epoch: 2, replicas: ["n1", "n2", "n4"] };
  cluster.damage = (_, reply) => {
    // The answer of the one that holds it is on its way, and everybody hears of another document.
    for (const node of cluster.nodes) node.learn(newer);
    return reply;
  };
  cluster.link("n1", "n3", "no link");
  const answer = await cluster.node("n1").get("k");
  assert.is(Buffer.from(answer.record?.value ?? []).toString(), "alone");
  assert.is(answer.epoch, 2);
  assert.is(await cluster.node("n3").held("k"), undefined);
  await cluster.close();
});

test("P8: a damaged answer is not believed; another replica gives the value", async () => {
  const cluster = await Cluster.open(3);
  await cluster.node("n1").put("k", "v");
  await turns();
  let damaged = ["n1", "n3"];
  cluster.damage = (to, reply) => {
    const found = reply as { record?: Uint8Array };
    if (!damaged.includes(to) || found.record === undefined) return reply;
    const record = found.record.slice();
    record[record.length - 1] = (record[record.length - 1] as number) ^ 1;
    return { ...reply, record };
  };
  const node = cluster.node("n2");
  node.state.counts = false;
  await rejectsSlug("read-quorum-not-met", node.get("k"));
  damaged = ["n3"];
  cluster.node("n3").state.isUp = false;
  await rejectsSlug("read-quorum-not-met", node.get("k", { consistency: "all" }));
  node.state.counts = true;
  assert.is(await node.value("k", { consistency: "all" }), "v");
  await cluster.close();
});

test("R3: expired is answered once n-m+1 replicas durably have that clock, and then by all of them", async () => {
  const cluster = await Cluster.open(3, [300, 0, 0]);
  await cluster.node("n2").put("k", "v", { ttlSeconds: 10 });
  await turns();
  await cluster.advance(9_900);
  cluster.cut("n1");
  assert.is(await cluster.node("n2").value("k"), "v");
  // n1's clock is 300 ms ahead: for it, and for who has heard it, the key is over.
  cluster.heal();
  assert.is(await cluster.node("n1").value("k"), undefined);
  for (const node of cluster.nodes) assert.is(await node.value("k"), undefined, node.name);
  await cluster.close();
});

test("R3: what is over below a watermark is answered on the same terms", async () => {
  const cluster = await Cluster.open(3, [300, 0, 0]);
  await cluster.node("n2").put("k", "v", { ttlSeconds: 10 });
  await turns();
  await cluster.advance(9_900);
  const watermark = hlcAt(startMs + 9_000);
  for (const node of cluster.nodes) node.state.fence = { promise: watermark, watermark };
  assert.is(await cluster.node("n1").value("k"), undefined);
  // The others do not see n1's clock any more.
  cluster.cut("n1");
  assert.is(await cluster.node("n2").value("k"), undefined);
  assert.is(await cluster.node("n3").value("k"), undefined);
  await cluster.close();
});

test("deleted keys stay deleted where a replica missed the delete", async () => {
  const cluster = await Cluster.open(3);
  await cluster.node("n1").put("k", "v");
  await turns();
  cluster.cut("n3");
  await cluster.node("n1").delete("k");
  cluster.heal();
  for (const node of cluster.nodes) assert.is(await node.value("k"), undefined, node.name);
  assert.is(await cluster.node("n3").held("k"), "(deleted)");
  await cluster.close();
});

test("explain answers at its deadline, also where the own disk stands still", async () => {
  for (const count of [1, 3]) {
    const cluster = await Cluster.open(count);
    const node = cluster.node("n1");
    await node.put("k", "v");
    node.replica.read = () => new Promise(() => {});
    node.store.get = () => new Promise(() => {});
    const request = { namespace: "default", requestId: "test", key: utf8Bytes("k") };
    let told: readonly string[] = [];
    node.coordinator.explain({ ...request, timeoutMs: 1000 }, 0).then(
      ({ replicas }) => {
        told = replicas.map(({ status }) => status);
      },
      (error) => {
        told = [error.slug];
      },
    );
    await turns();
    await node.wall.advance(999);
    assert.equal(told, [], "not before");
    await node.wall.advance(1);
    await turns();
    assert.equal(told, count === 1 ? ["timeout"] : ["no answer", "found", "found"]);
    await cluster.close();
  }
});

test("explain tells what every replica holds, and who cannot be reached", async () => {
  const cluster = await Cluster.open(3);
  cluster.cut("n3");
  await cluster.node("n1").put("k", "v");
  const request = { namespace: "default", requestId: "test", key: utf8Bytes("k") };
  const told = await cluster.node("n1").coordinator.explain(request, 5);
  assert.equal(
    told.replicas.map(({ node, status }) => `${node} ${status}`),
    ["n1 found", "n2 found", "n3 not reached"],
  );
  assert.equal(told.replicas[0]?.version, told.replicas[1]?.version);
  await cluster.close();
});

test("a list reads its values at the level that the list was asked for", async () => {
  const cluster = await Cluster.open(3);
  const [first] = cluster.nodes;
  await first?.put("k", "v");
  await turns();
  cluster.cut("n1");
  assert.equal(await first?.keys({ consistency: "one", values: true }), ["k"]);
  assert.equal(await first?.keys({ r: 1, values: true }), ["k"]);
  await rejectsSlug("read-quorum-not-met", first?.keys({ values: true }) ?? Promise.resolve());
  await cluster.close();
});

test("R4: a list that fails because nobody's data count says so, and does not advise to ask for one", async () => {
  const cluster = await Cluster.open(3);
  const node = cluster.node("n1");
  await node.put("k", "v");
  await turns();
  for (const { state } of cluster.nodes) state.counts = false;
  const failing = node.keys({ consistency: "one" });
  const { hint = "", facts } = await rejectsSlug("read-quorum-not-met", failing);
  assert.is(facts.replicas?.length, 3);
  assert.is(facts.replicas?.[0]?.reason, lacks);
  assert.match(hint, "'quorate repair --url …'");
  assert.not.match(hint, "consistency=one");
  await cluster.close();
});

test("H1: an array that is used again once its write is answered does not change the hint of it", async () => {
  const cluster = await Cluster.open(3);
  const node = cluster.node("n1");
  const key = utf8Bytes("k1");
  const value = utf8Bytes("v1");
  cluster.link("n1", "n3", "silent");
  await node.put("", "", { key, value });
  key[1] = value[1] = 0x32;
  await cluster.advance(10_000);
  assert.equal(
    node.hints.map((hint) => [toText(hint.key), toText(hint.record.value)]),
    [["k1", "v1"]],
  );
  await cluster.close();
});

/** Until what it answers is called, a node's own store has no room for what it is to take. */
function holdWrites({ replica }: ClusterNode): () => void {
  let takeOn = (): void => {};
  const asked = new Promise<void>((resolve) => {
    takeOn = resolve;
  });
  const write = replica.write.bind(replica);
  replica.write = async (...given) => {
    await asked;
    return write(...given);
  };
  return takeOn;
}

test("P1: an array that is used again while its write waits for room on one replica stays one write", async () => {
  const cluster = await Cluster.open(3);
  const node = cluster.node("n1");
  const key = utf8Bytes("k1");
  // Two others are enough meanwhile.
  const takeOn = holdWrites(node);
  await node.put("", "v1", { key });
  key[1] = 0x32;
  takeOn();
  await turns();
  assert.is(await node.held("k1"), "v1");
  assert.is(await node.held("k2"), undefined);
  await cluster.close();
});

test("R3: a list shows nothing that a strict read through the same node has called over", async () => {
  // It holds no replica, and its clock is behind theirs.
  const cluster = await Cluster.open(4, [300, 300, 300, 0]);
  const node = cluster.node("n4");
  const over = recordAt(startMs, "over", { expiresAtMs: startMs + 200 });
  for (const each of cluster.nodes) await each.plant("k", over);
  const after = recordAt(startMs, "lives", { expiresAtMs: startMs + 450 });
  for (const each of cluster.nodes) await each.plant("l", after);
  assert.is(await node.value("k"), undefined);
  assert.equal(await node.keys(), ["l"]);
  assert.equal(await node.keys({ consistency: "all" }), ["l"]);
  await cluster.close();
});

test("an array that is used again once its read is answered does not change what the read repairs", async () => {
  for (const tombstone of [false, true]) {
    const cluster = await Cluster.open(3);
    const node = cluster.node("n1");
    await node.plant("k1", recordAt(1, "v1"));
    for (const name of ["n2", "n3"]) {
      await cluster.node(name).plant("k1", recordAt(2, tombstone ? "" : "v2", { tombstone }));
    }
    const key = utf8Bytes("k1");
    const takeOn = holdWrites(node);
    await node.get("", { key, consistency: "all" });
    key[1] = 0x32;
    takeOn();
    await turns();
    assert.is(await node.held("k1"), tombstone ? "(deleted)" : "v2");
    assert.is(await node.held("k2"), undefined);
    await cluster.close();
  }
});

test.run();
