/**
 * Several nodes that agree on documents through an exchange in memory: one wins, the others are told;
 * voters that are behind, ahead, down, cut off; and the starts that voters register.
 */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { SimDisk } from "../sim/disk.ts";
import { SimRandom } from "../sim/random.ts";
import { type AgreedDocument, type AgreedMember, isFields } from "../src/agreed.ts";
import { Agreement, type Proposed } from "../src/agreement.ts";
import { Boots } from "../src/boots.ts";
import { silentReport } from "../src/capability.ts";
import { QuorateError } from "../src/errors.ts";
import { RegisterStore } from "../src/register_store.ts";
import { Slots } from "../src/slots.ts";
import { idOf, settled, TestExchange } from "./exchange_harness.ts";
import { isLong, rejectsSlug, requireSlug } from "./samples.ts";

const test = suite("agreement");

interface TestDocument extends AgreedDocument {
  readonly text: string;
}

function first(count: number): TestDocument {
  const members: AgreedMember[] = Array.from({ length: count }, (_, index) => ({
    nodeId: idOf(index),
    storeId: idOf(100 + index),
    name: `n${index}`,
    addresses: [],
  }));
  const voters = members.slice(0, 5).map(({ nodeId }) => nodeId);
  return { clusterId: "c".repeat(32), epoch: 1, members, voters, text: "first" };
}

const rules = {
  parse(raw: unknown): TestDocument {
    if (!isFields(raw) || typeof raw["text"] !== "string") {
      throw new QuorateError("invalid-request", "It is no document.");
    }
    return raw as unknown as TestDocument;
  },
  whyNotSuccessor: (before: TestDocument, next: TestDocument) =>
    next.epoch === before.epoch + 1 ? undefined : `epoch ${next.epoch} after ${before.epoch}`,
};

function says(text: string) {
  return (present: TestDocument): TestDocument => ({ ...present, epoch: present.epoch + 1, text });
}

interface TestNode {
  agreement: Agreement<TestDocument>;
  present: TestDocument | undefined;
  readonly disk: SimDisk;
  readonly adopted: TestDocument[];
}

class Cluster {
  readonly clock = new SimClock();
  readonly exchange: TestExchange;
  readonly nodes: TestNode[] = [];
  /** What was logged. */
  readonly said: { readonly line: string; readonly silent?: unknown }[] = [];
  /** What marks a vote. */
  voted = async (): Promise<void> => {};
  /** What has to be ready before a document is adopted. */
  prepare = async (): Promise<void> => {};
  readonly #random: SimRandom;

  private constructor(seed: number) {
    this.#random = new SimRandom(seed);
    this.exchange = new TestExchange(this.clock, new SimRandom(seed + 1));
  }

  static async of(count: number, seed = 1): Promise<Cluster> {
    const cluster = new Cluster(seed);
    for (let index = 0; index < count; index += 1) {
      await cluster.startNode(index, new SimDisk({ isRecorded: false }), first(count));
    }
    return cluster;
  }

  async startNode(index: number, disk: SimDisk, present: TestDocument | undefined): Promise<void> {
    const nodeId = idOf(index);
    const slots = await Slots.open(disk, "document");
    const found = slots.found === undefined ? present : rules.parse(slots.found);
    const node: TestNode = { agreement: undefined as never, present: found, disk, adopted: [] };
    let last: Promise<unknown> = Promise.resolve();
    node.agreement = new Agreement<TestDocument>({
      nodeId,
      rules,
      voter: await RegisterStore.open(disk),
      boots: await Boots.open(disk),
      clock: this.exchange.clockOf(nodeId),
      random: this.#random,
      report: { ...silentReport, log: (_, line, fields) => this.said.push({ line, ...fields }) },
      ports: {
        present: () => node.present,
        voted: () => this.voted(),
        adopt: async (document) => {
          const turn = last.then(async () => {
            if (node.present !== undefined && document.epoch <= node.present.epoch) return;
            await this.prepare();
            await slots.write(document);
            node.present = document;
            node.adopted.push(document);
          });
          last = turn.catch(() => {});
          return turn;
        },
        // A process that has died asks nobody any more.
        ask: (to, topic, body) =>
          this.nodes[index] === node
            ? this.exchange.ask(nodeId, to, topic, body)
            : new Promise(() => {}),
      },
    });
    this.nodes[index] = node;
    this.exchange.attach(nodeId, (topic, body) => node.agreement.handle(topic, body));
  }

  node(index: number): TestNode {
    const node = this.nodes[index];
    assert.ok(node);
    return node as TestNode;
  }

  kill(index: number): void {
    this.exchange.attach(idOf(index), undefined);
  }

  propose(index: number, text: string): Promise<Proposed<TestDocument>> {
    return settled(this.clock, this.node(index).agreement.propose(says(text)));
  }

  texts(): string[] {
    return this.nodes.map(({ present }) => `${present?.epoch} ${present?.text}`);
  }
}

test("Agreement: a document that is chosen is adopted, and told to all members", async () => {
  const cluster = await Cluster.of(3);
  const proposed = await cluster.propose(1, "second");
  assert.is(proposed.kind, "won");
  await cluster.clock.advance(100);
  assert.equal(cluster.texts(), ["2 second", "2 second", "2 second"]);
});

test("Agreement: when a change is answered, the members that can be reached have adopted it", async () => {
  const cluster = await Cluster.of(5);
  const changed = async (text: string): Promise<string[]> => {
    const { agreement } = cluster.node(1);
    return settled(
      cluster.clock,
      agreement.change(says(text)).then(() => cluster.texts()),
    );
  };
  assert.equal(await changed("second"), new Array(5).fill("2 second"));
  cluster.kill(4);
  assert.equal(await changed("third"), [...new Array(4).fill("3 third"), "2 second"]);
});

test("Agreement: a cluster of one agrees with itself", async () => {
  const cluster = await Cluster.of(1);
  assert.is((await cluster.propose(0, "second")).kind, "won");
  assert.is((await cluster.propose(0, "third")).kind, "won");
  assert.equal(cluster.texts(), ["3 third"]);
});

test("Agreement: two proposals of one node run one after another, and both win", async () => {
  const cluster = await Cluster.of(3);
  const { agreement } = cluster.node(0);
  const both = Promise.all([agreement.propose(says("a")), agreement.propose(says("b"))]);
  const kinds = (await settled(cluster.clock, both)).map(({ kind, document }) => [
    kind,
    document.epoch,
  ]);
  assert.equal(kinds, [
    ["won", 2],
    ["won", 3],
  ]);
});

test("Agreement: a proposal that waits for its turn has no more time than one that need not", async () => {
  const cluster = await Cluster.of(3);
  const { agreement } = cluster.node(0);
  cluster.kill(1);
  cluster.kill(2);
  const beganMs = cluster.clock.monotonicMs();
  const all = Array.from({ length: 5 }, (_, index) =>
    rejectsSlug("timeout", agreement.propose(says(`${index}`))),
  );
  await settled(cluster.clock, Promise.all(all));
  assert.ok(cluster.clock.monotonicMs() - beganMs < 15_000);
  assert.equal(cluster.node(0).adopted, []);
});

test("Agreement: a step that changes nothing asks nobody, and one that throws is heard", async () => {
  const cluster = await Cluster.of(3);
  const { agreement } = cluster.node(0);
  const unchanged = await agreement.propose(() => undefined);
  assert.is(unchanged.kind, "unchanged");
  assert.equal(cluster.exchange.sent, []);
  const failing = agreement.propose(() => {
    throw new QuorateError("invalid-request", "Not like this.");
  });
  await rejectsSlug("invalid-request", failing);
  await rejectsSlug(
    "internal",
    agreement.propose((present) => ({ ...present, epoch: 7 })),
  );
  assert.is((await cluster.propose(0, "after all")).kind, "won");
});

/** Nothing where nobody has changed anything yet, by what a node knows. */
function saysLater(text: string) {
  return (present: TestDocument): TestDocument | undefined =>
    present.text === "first" ? undefined : says(text)(present);
}

test("Agreement: T1: that there is nothing to change is told of the newest document", async () => {
  const cluster = await Cluster.of(3);
  const { agreement } = cluster.node(2);
  const same = await settled(cluster.clock, agreement.change(saysLater("again")));
  assert.equal([same.epoch, same.text], [1, "first"]);
  exchangeCut(cluster, 2);
  assert.is((await cluster.propose(0, "second")).kind, "won");
  cluster.exchange.heal();
  assert.is(cluster.node(2).present?.epoch, 1, "it has not heard of it");
  const changed = await settled(cluster.clock, agreement.change(saysLater("again")));
  assert.equal([changed.epoch, changed.text], [3, "again"]);
});

test("Agreement: who asks again and again whether there is something newer is answered in one ballot", async () => {
  const cluster = await Cluster.of(3);
  let prepares = 0;
  cluster.exchange.attach(idOf(0), (topic, body) => {
    if (JSON.stringify(body).includes('"kind":"prepare"')) prepares += 1;
    return cluster.node(0).agreement.handle(topic, body);
  });
  const { agreement } = cluster.node(2);
  for (let time = 1; time <= 5; time += 1) {
    await settled(cluster.clock, agreement.change(saysLater("again")));
    assert.is(prepares, time);
  }
  // So is the next change here, which finds what was asked in its way otherwise.
  assert.is((await cluster.propose(2, "second")).kind, "won");
  assert.is(prepares, 6);
  await settled(cluster.clock, agreement.change(says("third")));
  assert.is(prepares, 7);
});

test("Agreement: T1: nor is it told so beside a document that was chosen, and that nobody has heard of", async () => {
  const cluster = await Cluster.of(3);
  const { exchange } = cluster;
  cluster.kill(2);
  exchange.attach(idOf(1), async (topic, body) => {
    const answer = await cluster.node(1).agreement.handle(topic, body);
    if (JSON.stringify(body).includes('"kind":"accept"')) exchange.cut(idOf(0), idOf(1));
    return answer;
  });
  await rejectsSlug("timeout", cluster.propose(0, "second"));
  exchange.heal();
  exchange.attach(idOf(2), (topic, body) => cluster.node(2).agreement.handle(topic, body));
  cluster.kill(0);
  const { agreement } = cluster.node(2);
  const changed = await settled(cluster.clock, agreement.change(saysLater("again")));
  assert.equal([changed.epoch, changed.text], [3, "again"]);
});

test("Agreement: P7: without a majority nobody is told that there is nothing to change", async () => {
  const cluster = await Cluster.of(3);
  cluster.kill(0);
  cluster.kill(1);
  const { agreement } = cluster.node(2);
  const changing = settled(cluster.clock, agreement.change(saysLater("again")));
  const error = await rejectsSlug("timeout", changing);
  assert.is(error.outcome, "none");
  assert.match(error.detail, "is the newest was not found out");
});

test("Agreement: T1: of all who propose at once exactly one wins, and the others are told the new epoch", async () => {
  const seeds = isLong ? 300 : 25;
  for (let seed = 0; seed < seeds; seed += 1) {
    const cluster = await Cluster.of(3 + (seed % 3), seed);
    cluster.exchange.lossPercent = (seed % 4) * 5;
    const changes = [0, 1, 2].map((index) =>
      cluster
        .node(index)
        .agreement.change(says(`of ${index}`))
        .then(
          (document) => ({ index, document }),
          (error: unknown) => ({ index, error: error as QuorateError }),
        ),
    );
    const ends = await settled(cluster.clock, Promise.all(changes));
    const won = ends.filter((end) => "document" in end);
    assert.is(won.length, 1, `seed ${seed}`);
    const text = `of ${won[0]?.index}`;
    for (const end of ends) {
      if ("document" in end) assert.is(end.document.text, text);
      else {
        requireSlug("contention", end.error, `seed ${seed}`);
        assert.is(end.error.facts.epoch, 2);
        assert.is(end.error.outcome, "none");
      }
    }
    for (const { adopted } of cluster.nodes) {
      for (const document of adopted) assert.is(document.text, text, `seed ${seed}`);
    }
  }
});

test("Agreement: goes on with a minority of the voters down, and not without a majority", async () => {
  const cluster = await Cluster.of(3);
  cluster.kill(2);
  assert.is((await cluster.propose(0, "second")).kind, "won");
  cluster.kill(1);
  const error = await rejectsSlug("timeout", cluster.propose(0, "third"));
  assert.is(error.outcome, "none", "nobody was sent the value");
  assert.match(error.detail, /2 of 3 voters/);
  assert.is(cluster.node(0).present?.epoch, 2);
});

test("Agreement: a value that voters may have accepted is told as unknown, and is the next to be chosen", async () => {
  const cluster = await Cluster.of(3);
  // Voter 1 accepts; its answer, and all of voter 2's, are lost from then on.
  const { exchange } = cluster;
  cluster.kill(2);
  exchange.attach(idOf(1), async (topic, body) => {
    const answer = await cluster.node(1).agreement.handle(topic, body);
    const isAccept = JSON.stringify(body).includes('"kind":"accept"');
    if (isAccept) exchange.cut(idOf(0), idOf(1));
    return answer;
  });
  const error = await rejectsSlug("timeout", cluster.propose(0, "perhaps"));
  assert.is(error.outcome, "unknown");
  exchange.heal();
  exchange.attach(idOf(2), (topic, body) => cluster.node(2).agreement.handle(topic, body));
  const later = await cluster.propose(2, "another");
  assert.is(later.kind, "lost");
  assert.is(later.document.text, "perhaps");
});

test("Agreement: P7: a vote whose mark finds no room is told as unknown: it stands", async () => {
  const cluster = await Cluster.of(3);
  cluster.voted = () =>
    Promise.reject(new QuorateError("disk-full", "There is no room.", { outcome: "none" }));
  const node = cluster.nodes[0] as TestNode;
  const error = await rejectsSlug("disk-full", node.agreement.propose(says("x")));
  assert.is(error.outcome, "unknown");
});

test("Agreement: P7: a document that is chosen and cannot be adopted here is told as unknown", async () => {
  const cluster = await Cluster.of(3);
  cluster.prepare = () =>
    Promise.reject(new QuorateError("read-only", "The store has ended.", { outcome: "none" }));
  const error = await rejectsSlug(
    "read-only",
    settled(cluster.clock, cluster.node(0).agreement.propose(says("x"))),
  );
  assert.is(error.outcome, "unknown");
  cluster.prepare = async () => {};
  const other = await cluster.propose(1, "y");
  assert.is(other.document.text, "x", "it is chosen all the same");
});

test("Agreement: a voter that is behind is brought the document, and then votes", async () => {
  const cluster = await Cluster.of(3);
  exchangeCut(cluster, 2);
  assert.is((await cluster.propose(0, "second")).kind, "won");
  cluster.exchange.heal();
  cluster.kill(1);
  assert.is(cluster.node(2).present?.epoch, 1);
  assert.is((await cluster.propose(0, "third")).kind, "won");
  await cluster.clock.advance(100);
  assert.equal(cluster.texts(), ["3 third", "2 second", "3 third"]);
});

test("Agreement: who is behind takes the newer document from a voter, and has lost", async () => {
  const cluster = await Cluster.of(3);
  exchangeCut(cluster, 2);
  assert.is((await cluster.propose(0, "second")).kind, "won");
  assert.is((await cluster.propose(0, "third")).kind, "won");
  cluster.exchange.heal();
  const proposed = await cluster.propose(2, "late");
  assert.is(proposed.kind, "lost");
  assert.is(proposed.document.text, "third");
  assert.is(proposed.kind === "lost" && proposed.outcome, "none");
});

test("Agreement: voters that are started again keep their promises", async () => {
  const cluster = await Cluster.of(3);
  cluster.kill(2);
  cluster.exchange.attach(idOf(1), async (topic, body) => {
    const answer = await cluster.node(1).agreement.handle(topic, body);
    if (JSON.stringify(body).includes('"kind":"accept"')) cluster.exchange.cut(idOf(0), idOf(1));
    return answer;
  });
  await rejectsSlug("timeout", cluster.propose(0, "perhaps"));
  cluster.exchange.heal();
  await cluster.startNode(1, cluster.node(1).disk, first(3));
  await cluster.startNode(2, cluster.node(2).disk, first(3));
  cluster.kill(0);
  const later = await cluster.propose(2, "another");
  assert.is(later.kind, "lost");
  assert.is(later.document.text, "perhaps");
});

test("Agreement: T1: with losses, partitions and power losses, no epoch ever has two documents", async () => {
  let chosen = 0;
  for (let seed = 0; seed < (isLong ? 400 : 20); seed += 1) {
    const random = new SimRandom(seed);
    const count = [3, 4, 5][random.below(3)] ?? 3;
    const cluster = await Cluster.of(count, seed);
    cluster.exchange.lossPercent = random.below(30);
    const documents = new Map<number, string>();
    const note = (node: TestNode): void => {
      for (const document of node.adopted) {
        const text = documents.get(document.epoch) ?? document.text;
        assert.is(document.text, text, `seed ${seed}, epoch ${document.epoch}`);
        documents.set(document.epoch, text);
      }
    };
    const won = new Map<number, string>();
    for (let event = 0; event < 25; event += 1) {
      const index = random.below(count);
      const node = cluster.node(index);
      const chance = random.below(10);
      if (chance < 5) {
        const text = `event ${event}`;
        void node.agreement.propose(says(text)).then(
          ({ kind, document }) => {
            if (kind !== "won") return;
            assert.is(document.text, text);
            assert.not(won.has(document.epoch), `seed ${seed}: two won epoch ${document.epoch}`);
            won.set(document.epoch, text);
          },
          () => {},
        );
      } else if (chance < 8) {
        note(node);
        await cluster.startNode(index, node.disk.crash(random), first(count));
      } else if (chance < 9) exchangeCut(cluster, index);
      else cluster.exchange.heal();
      await cluster.clock.advance(random.below(300));
    }
    cluster.exchange.heal();
    // With a quiet network a document is chosen, and gossip would carry it to everyone.
    let last = await cluster.propose(0, "last");
    for (let tries = 0; last.kind === "lost" && tries < 20; tries += 1) {
      last = await cluster.propose(0, "last");
    }
    assert.is(last.kind, "won", `seed ${seed}`);
    for (const { agreement } of cluster.nodes.slice(1)) {
      await settled(cluster.clock, agreement.catchUp(idOf(0)));
    }
    for (const node of cluster.nodes) {
      note(node);
      assert.is(node.present?.epoch, cluster.node(0).present?.epoch, `seed ${seed}`);
    }
    for (const [epoch, text] of won) {
      assert.is(documents.get(epoch) ?? text, text, `seed ${seed}: epoch ${epoch} was told as won`);
    }
    chosen += documents.size;
  }
  assert.ok(chosen > 60, `${chosen} documents were chosen`);
});

test("Agreement: refused by name: a vote of a node that has none, a wrong document, another cluster", async () => {
  const cluster = await Cluster.of(6);
  const ballot = { round: 1, nodeId: idOf(0) };
  const instance = { clusterId: first(6).clusterId, epoch: 1 };
  const prepare = { ...instance, request: { kind: "prepare", ballot } };
  const stranger = cluster.node(5).agreement.handle("paxos", prepare);
  assert.match((await rejectsSlug("invalid-request", stranger)).detail, /is no voter in epoch 1/);
  const value = { ...first(6), epoch: 9 };
  const accept = { ...instance, request: { kind: "accept", ballot, value } };
  const wrong = cluster.node(0).agreement.handle("paxos", accept);
  assert.match((await rejectsSlug("invalid-request", wrong)).detail, /epoch 9 after 1/);
  const other = { ...first(6), clusterId: "d".repeat(32), epoch: 3 };
  await rejectsSlug("wrong-data-folder", cluster.node(0).agreement.learn(other));
  assert.is(cluster.node(0).present?.epoch, 1);
  await rejectsSlug("invalid-request", cluster.node(0).agreement.handle("paxos", { clusterId: 1 }));
  await rejectsSlug("invalid-request", cluster.node(0).agreement.handle("teapot", {}));
});

test("Agreement: a node in no cluster proposes nothing, and may learn a document", async () => {
  const cluster = await Cluster.of(1);
  await cluster.startNode(7, new SimDisk(), undefined);
  const { agreement } = cluster.node(7);
  await rejectsSlug("not-ready", agreement.propose(says("x")));
  assert.is((await agreement.learn(first(1))).epoch, 1);
});

test("Agreement: I2: a start is registered with a majority, and waits for one", async () => {
  const cluster = await Cluster.of(3);
  cluster.kill(1);
  cluster.kill(2);
  const { agreement } = cluster.node(0);
  const start = { nodeId: idOf(0), boot: 4, word: "a".repeat(16) };
  let isRegistered = false;
  const registering = agreement.registerStart(start).then(() => {
    isRegistered = true;
  });
  await cluster.clock.advance(65_000);
  assert.not(isRegistered);
  assert.is(cluster.said.length, 6, "every ten seconds, for as long as it lasts");
  assert.equal(cluster.said[0]?.silent, ["n1", "n2"]);
  cluster.exchange.attach(idOf(2), (topic, body) => cluster.node(2).agreement.handle(topic, body));
  await settled(cluster.clock, registering);
});

test("Agreement: I2: where the voters that a start knows are gone, any member may tell who votes now", async () => {
  const cluster = await Cluster.of(7);
  for (const gone of [0, 1, 2, 3, 4]) cluster.kill(gone);
  const newer = { ...first(7), epoch: 2, voters: [idOf(6)] };
  cluster.node(6).present = newer;
  const { agreement } = cluster.node(5);
  const start = { nodeId: idOf(5), boot: 2, word: "a".repeat(16) };
  await settled(cluster.clock, agreement.registerStart(start));
  assert.equal(cluster.node(5).adopted, [newer]);
});

test("Agreement: I2: a folder that was copied and started twice is refused, and so is an older copy", async () => {
  const cluster = await Cluster.of(3);
  const { agreement } = cluster.node(0);
  const start = { nodeId: idOf(0), boot: 4, word: "a".repeat(16) };
  await settled(cluster.clock, agreement.registerStart(start));
  await settled(cluster.clock, agreement.registerStart(start));
  const copied = agreement.registerStart({ ...start, word: "b".repeat(16) });
  const error = await rejectsSlug("data-folder-in-use", settled(cluster.clock, copied));
  assert.match(error.detail, /Start 4 of this node is registered by another process/);
  const older = agreement.registerStart({ ...start, boot: 3 });
  const said = await rejectsSlug("data-folder-in-use", settled(cluster.clock, older));
  assert.match(said.detail, /start 3 of this node, and start 4 is registered/);
  const boots = await Boots.open(cluster.node(1).disk);
  assert.is(boots.heard(idOf(0)), 4, "durably");
});

/** Cuts one node off from all others. */
function exchangeCut(cluster: Cluster, index: number): void {
  cluster.nodes.forEach((_, other) => {
    if (other !== index) cluster.exchange.cut(idOf(index), idOf(other));
  });
}

test.run();
