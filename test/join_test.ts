/**
 * T7 and I1: an empty node that asks a member to join, and every refusal by name.
 */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { SimDisk } from "../sim/disk.ts";
import { SimRandom } from "../sim/random.ts";
import { type AgreedDocument, isFields } from "../src/agreed.ts";
import { Agreement } from "../src/agreement.ts";
import { Boots } from "../src/boots.ts";
import { silentReport } from "../src/capability.ts";
import { QuorateError } from "../src/errors.ts";
import { type Candidate, parseCandidate } from "../src/founding_message.ts";
import { Admission, type Asked, type JoinSeal, joinAt, joinTopics } from "../src/join.ts";
import { RegisterStore } from "../src/register_store.ts";
import { idOf, settled, TestExchange } from "./exchange_harness.ts";
import { rejectsSlug } from "./samples.ts";

const test = suite("join");

function candidate(index: number, change: Partial<Candidate> = {}): Candidate {
  const addresses = [`host:${index}`];
  return {
    nodeId: idOf(index),
    storeId: idOf(16 + index),
    name: `n${index}`,
    addresses,
    ...change,
  };
}

function first(count: number): AgreedDocument {
  const members = Array.from({ length: count }, (_, index) => candidate(index));
  const voters = members.map(({ nodeId }) => nodeId);
  return { clusterId: "c".repeat(32), epoch: 1, members, voters };
}

const rules = {
  parse(raw: unknown): AgreedDocument {
    if (isFields(raw) && Array.isArray(raw["members"])) return raw as unknown as AgreedDocument;
    throw new QuorateError("invalid-request", "It is no document.");
  },
  whyNotSuccessor: (before: AgreedDocument, next: AgreedDocument) =>
    next.epoch === before.epoch + 1 ? undefined : "its epoch is wrong",
};

/** As `topology_steps` does it. */
function withMember(document: AgreedDocument, facts: Candidate, seals: readonly JoinSeal[]) {
  const { nodeId, storeId, name } = facts;
  const refuse = (detail: string) =>
    new QuorateError("invalid-request", detail, { hint: "Replace it." });
  for (const member of document.members) {
    if (member.nodeId === nodeId && member.storeId === storeId) return undefined;
    if (member.nodeId === nodeId) throw refuse(`The node ${name} is known with another store.`);
    if (member.name === name) throw refuse(`The name '${name}' is taken.`);
    const seal = seals.find((one) => one.nodeId === member.nodeId);
    if (seal?.epoch !== document.epoch) throw new QuorateError("contention", "Not sealed.");
    if (seal.records > 0) throw refuse(`The cluster holds records (${seal.records}).`);
  }
  const { clusterId, voters, epoch } = document;
  return { clusterId, epoch: epoch + 1, members: [...document.members, facts], voters };
}

interface TestNode {
  agreement: Agreement<AgreedDocument>;
  present: AgreedDocument | undefined;
  records: number;
  readonly sealed: number[];
  /** Runs when it is asked to seal. */
  onSeal: () => void;
}

class Cluster {
  readonly clock = new SimClock();
  readonly exchange = new TestExchange(this.clock, new SimRandom(2));
  readonly nodes: TestNode[] = [];

  static async of(count: number): Promise<Cluster> {
    const cluster = new Cluster();
    for (let index = 0; index < count; index += 1) await cluster.#start(index, first(count));
    return cluster;
  }

  async #start(index: number, present: AgreedDocument): Promise<void> {
    const nodeId = idOf(index);
    const disk = new SimDisk();
    const node: TestNode = {
      agreement: undefined as never,
      present,
      records: 0,
      sealed: [],
      onSeal: () => {},
    };
    const ask = (to: string, topic: string, body: unknown) =>
      this.exchange.ask(nodeId, to, topic, body);
    node.agreement = new Agreement<AgreedDocument>({
      nodeId,
      rules,
      voter: await RegisterStore.open(disk),
      boots: await Boots.open(disk),
      clock: this.clock,
      random: new SimRandom(index),
      report: silentReport,
      ports: {
        present: () => node.present,
        adopt: async (document) => {
          if (document.epoch > (node.present?.epoch ?? 0)) node.present = document;
        },
        ask,
      },
    });
    const admission = new Admission<AgreedDocument, Candidate>({
      nodeId,
      storeId: idOf(16 + index),
      ports: {
        present: () => node.present,
        ask,
        propose: (step) => node.agreement.propose(step),
        parseFacts: parseCandidate,
        withMember,
        records: async () => node.records,
        seal: async (epoch) => {
          node.sealed.push(epoch);
          node.onSeal();
        },
      },
    });
    const topics: readonly string[] = joinTopics;
    this.exchange.attach(nodeId, (topic, body) =>
      topics.includes(topic) ? admission.handle(topic, body) : node.agreement.handle(topic, body),
    );
    this.nodes[index] = node;
  }

  /** One that is no member, and holds no document. */
  async startEmpty(index: number): Promise<void> {
    await this.#start(index, first(1));
    this.node(index).present = undefined;
  }

  node(index: number): TestNode {
    return this.nodes[index] as TestNode;
  }

  join(
    facts: Candidate,
    at = 0,
    onRefused: (said: string, error: QuorateError) => void = () => {},
    /** Whom it asks: one after another. */
    turns: readonly number[] = [at],
  ): Promise<AgreedDocument | undefined> {
    let turn = 0;
    const parts = {
      facts,
      parse: rules.parse,
      adopt: async (document: AgreedDocument) => {
        const index = Number.parseInt(facts.nodeId, 16);
        if (this.nodes[index] === undefined) await this.#start(index, document);
      },
      ask: async (topic: string, body: unknown): Promise<Asked> => {
        const number = turns[turn % turns.length] as number;
        turn += 1;
        const found = `host:${number}`;
        try {
          return {
            at: found,
            reply: await this.exchange.ask(facts.nodeId, idOf(number), topic, body),
          };
        } catch (error) {
          return { at: found, error };
        }
      },
      takingIn: "quorate cluster plan --join it",
      clock: this.clock,
      report: silentReport,
      onRefused,
    };
    return settled(
      this.clock,
      joinAt(parts, () => this.clock.monotonicMs() > 40_000),
    );
  }
}

test("join: T7: an empty node becomes a member after every member has sealed the epoch", async () => {
  const cluster = await Cluster.of(3);
  const document = await cluster.join(candidate(3));
  assert.is(document?.epoch, 2);
  assert.equal(
    document?.members.map(({ name }) => name),
    ["n0", "n1", "n2", "n3"],
  );
  for (const { sealed } of cluster.nodes.slice(0, 3)) assert.equal(sealed, [1]);
});

test("join: a node that is a member already is handed the document, and nothing is sealed", async () => {
  const cluster = await Cluster.of(3);
  assert.is((await cluster.join(candidate(1)))?.epoch, 1);
  for (const { sealed } of cluster.nodes) assert.equal(sealed, []);
});

test("join: two nodes that ask at two members at once both become members", async () => {
  const cluster = await Cluster.of(3);
  await Promise.all([cluster.join(candidate(3), 0), cluster.join(candidate(4), 1)]);
  await cluster.clock.advance(1000);
  const names = cluster
    .node(2)
    .present?.members.map(({ name }) => name)
    .sort();
  assert.equal(names, ["n0", "n1", "n2", "n3", "n4"]);
});

test("join: T7: refused when the cluster holds records, and nobody is sealed", async () => {
  const cluster = await Cluster.of(3);
  cluster.node(1).records = 5;
  const error = await rejectsSlug("invalid-request", cluster.join(candidate(3)));
  assert.match(error.detail, /holds records \(5\)/);
  assert.is(error.hint, "Replace it.");
  for (const { sealed } of cluster.nodes) assert.equal(sealed, []);
  assert.is(cluster.node(0).present?.epoch, 1);
});

test("join: T7: a record that came in before the seal refuses the join, and an epoch ends the seal", async () => {
  const cluster = await Cluster.of(3);
  const late = cluster.node(2);
  late.onSeal = () => {
    late.records = 1;
  };
  await rejectsSlug("invalid-request", cluster.join(candidate(3)));
  await cluster.clock.advance(1000);
  for (const { present } of cluster.nodes) {
    assert.is(present?.epoch, 2, "above the one that was sealed");
    assert.is(present?.members.length, 3);
  }
});

test("join: I1: refused for a name that is taken, before anything is asked", async () => {
  const cluster = await Cluster.of(3);
  const error = await rejectsSlug("invalid-request", cluster.join(candidate(3, { name: "n1" })));
  assert.match(error.detail, /The name 'n1' is taken/);
  assert.not.ok(cluster.exchange.sent.some(({ topic }) => topic === "seal"));
});

test("join: I1: refused for an unknown store under a known id", async () => {
  const cluster = await Cluster.of(3);
  const empty = candidate(1, { storeId: idOf(99) });
  const error = await rejectsSlug("invalid-request", cluster.join(empty));
  assert.match(error.detail, /known with another store/);
});

test("join: waits while a member is away, and goes on when it is back", async () => {
  const cluster = await Cluster.of(3);
  cluster.exchange.cut(idOf(0), idOf(2));
  const handler = cluster.exchange;
  // No link at all, as after a crash: questions are rejected at once.
  const back = cluster.node(2);
  handler.attach(idOf(2), undefined);
  handler.heal();
  const joining = cluster.join(candidate(3));
  cluster.clock.after(8000, () => {
    assert.is(cluster.node(0).present?.epoch, 1);
    assert.equal(cluster.node(0).sealed, [], "writes go on meanwhile");
    handler.attach(idOf(2), async (topic, body) => {
      if (topic !== "seal") return back.agreement.handle(topic, body);
      return { kind: "sealed", nodeId: idOf(2), storeId: idOf(18), epoch: 1, records: 0 };
    });
  });
  assert.is((await joining)?.members.length, 4);
});

test("join: what a member says counts before what those say that wait themselves, and each is named", async () => {
  const cluster = await Cluster.of(2);
  await cluster.startEmpty(7);
  cluster.exchange.attach(idOf(1), undefined);
  const why: string[] = [];
  const facts = candidate(3);
  await cluster.join(facts, 0, (said) => why.push(said), [7, 9, 0, 7, 9, 7]);
  assert.match(why[0] ?? "", /^host:7 says: This node is in no cluster yet/);
  assert.match(why[1] ?? "", /^Nobody answers at host:9: ./);
  const said =
    "host:0 says: A node is taken in at once only while all members answer, and 'n1' does not. An operator's plan takes this node in: quorate cluster plan --join it, at a member.";
  assert.ok(why.length > 8);
  for (const one of why.slice(2)) assert.is(one, said);
});

test("join: a member whose disk fails its seal is waited for, and says what failed", async () => {
  const cluster = await Cluster.of(3);
  const failing = cluster.node(1);
  failing.onSeal = () => {
    failing.onSeal = () => {};
    throw Object.assign(new Error("EIO: syncFolder"), { code: "EIO" });
  };
  const why: string[] = [];
  const document = await cluster.join(candidate(3), 0, (said) => why.push(said));
  assert.is(document?.members.length, 4);
  assert.match(why.join("\n"), /host:0 says: Epoch 1 could not be sealed on the disk.*EIO/);
});

test("join: a change of the topology meanwhile makes it begin again upon the new one", async () => {
  const cluster = await Cluster.of(3);
  let isFirst = true;
  cluster.node(1).onSeal = () => {
    if (!isFirst) return;
    isFirst = false;
    void cluster.node(1).agreement.propose((present) => ({ ...present, epoch: present.epoch + 1 }));
  };
  const document = await cluster.join(candidate(3));
  assert.is(document?.members.length, 4);
  assert.ok((document?.epoch ?? 0) >= 3, `epoch ${document?.epoch}`);
  assert.equal(cluster.node(0).sealed.length >= 2, true, "each epoch is sealed anew");
});

test("join: a seal of another epoch or cluster is refused, and so is nonsense", async () => {
  const cluster = await Cluster.of(1);
  const ask = (body: unknown) =>
    settled(cluster.clock, cluster.exchange.ask(idOf(9), idOf(0), "seal", body));
  const { clusterId } = first(1);
  const slug = async (body: unknown) => ((await ask(body)) as { slug?: string }).slug;
  assert.is(await slug({ clusterId, epoch: 2, isSealing: true }), "contention");
  assert.is(await slug({ clusterId: idOf(1), epoch: 1, isSealing: true }), "contention");
  assert.is(await slug({}), "invalid-request");
  assert.is(await slug({ clusterId, epoch: 1, isSealing: true }), undefined);
  assert.equal(cluster.node(0).sealed, [1]);
});

test.run();
