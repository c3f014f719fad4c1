/**
 * Several nodes that gossip through an exchange in memory, on a clock that the test moves: who calls
 * whom down, where a node is found again, and which refusals there are.
 */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { SimRandom } from "../sim/random.ts";
import { silentReport } from "../src/capability.ts";
import {
  Gossip,
  type GossipSettings,
  gossipDefault,
  gossipOf,
  type PeerView,
} from "../src/gossip.ts";
import {
  parseHeartbeat,
  parseHeartbeatReply,
  parseProbe,
  parseProbeReply,
  rumoursMax,
} from "../src/gossip_message.ts";
import { idOf, TestExchange } from "./exchange_harness.ts";
import { rejectsSlug, throwsSlug } from "./samples.ts";

const test = suite("gossip");
const clusterId = "c".repeat(32);

interface TestNode {
  gossip: Gossip;
  epoch: number;
  readonly reached: string[];
  readonly outdated: number[];
  readonly caughtUp: string[];
}

class Cluster {
  readonly clock = new SimClock();
  readonly exchange: TestExchange;
  readonly nodes: TestNode[] = [];
  readonly count: number;
  readonly #random: SimRandom;
  readonly #settings: GossipSettings;

  constructor(count: number, seed = 1, settings = gossipDefault) {
    this.count = count;
    this.#settings = settings;
    this.#random = new SimRandom(seed);
    this.exchange = new TestExchange(this.clock, new SimRandom(seed + 1));
    for (let index = 0; index < count; index += 1) this.startNode(index, 1, `10.0.0.${index}:80`);
  }

  startNode(index: number, boot: number, address: string): TestNode {
    const nodeId = idOf(index);
    this.nodes[index]?.gossip.stop();
    const node: TestNode = {
      gossip: undefined as never,
      epoch: 1,
      reached: [],
      outdated: [],
      caughtUp: [],
    };
    node.gossip = new Gossip({
      nodeId,
      boot,
      addresses: [address],
      clock: this.exchange.clockOf(nodeId),
      random: this.#random,
      report: silentReport,
      settings: this.#settings,
      ports: {
        present: () => this.document(node.epoch),
        ask: (to, topic, body) => this.exchange.ask(nodeId, to, topic, body),
        reach: (peer, addresses, peerBoot) => {
          node.reached.push(`${peer.slice(-1)} ${addresses.join()} ${peerBoot}`);
        },
        catchUp: async (from) => {
          node.caughtUp.push(from);
          node.epoch = Math.max(...this.nodes.map(({ epoch }) => epoch));
        },
        load: () => ({ queuedBytes: index }),
        outdated: (other) => node.outdated.push(other),
      },
    });
    this.exchange.attach(nodeId, (topic, body) => node.gossip.handle(topic, body));
    this.nodes[index] = node;
    node.gossip.start();
    return node;
  }

  document(epoch: number) {
    const members = Array.from({ length: this.count }, (_, index) => ({
      nodeId: idOf(index),
      storeId: idOf(100 + index),
      name: `n${index}`,
      addresses: [`10.0.0.${index}:80`],
    }));
    return { clusterId, epoch, members, voters: [idOf(0)] };
  }

  node(index: number): TestNode {
    const node = this.nodes[index];
    assert.ok(node);
    return node as TestNode;
  }

  kill(index: number): void {
    this.node(index).gossip.stop();
    this.exchange.attach(idOf(index), undefined);
  }

  view(from: number, of: number): PeerView {
    const view = this.node(from)
      .gossip.view()
      .find(({ nodeId }) => nodeId === idOf(of));
    assert.ok(view, `node ${from} knows node ${of}`);
    return view as PeerView;
  }

  states(from: number): string {
    return this.node(from)
      .gossip.view()
      .map(({ state }) => state)
      .join(" ");
  }
}

test("gossipOf(): with a shorter period a dead node is called down earlier", async () => {
  const silenceMs = async (settings: GossipSettings): Promise<number> => {
    const cluster = new Cluster(3, 1, settings);
    await cluster.clock.advance(10_000);
    cluster.kill(2);
    let ms = 0;
    for (; cluster.view(0, 2).state !== "down" && ms < 60_000; ms += 50) {
      await cluster.clock.advance(50);
    }
    return ms;
  };
  const standard = await silenceMs(gossipOf({ periodMs: 1000, phiSuspect: 3, phiDown: 8 }));
  assert.is(standard, await silenceMs(gossipDefault));
  const quick = await silenceMs(gossipOf({ periodMs: 100, phiSuspect: 3, phiDown: 8 }));
  assert.ok(quick < standard - 500, `${quick} ms, ${standard} ms`);
  const patient = await silenceMs(gossipOf({ periodMs: 100, phiSuspect: 30, phiDown: 50 }));
  assert.ok(patient > quick, `${patient} ms`);
});

test("Gossip: nodes that hear of each other are alive, and are seen with boot, address and load", async () => {
  const cluster = new Cluster(3);
  await cluster.clock.advance(10_000);
  for (let index = 0; index < 3; index += 1) assert.is(cluster.states(index), "alive alive");
  const view = cluster.view(0, 2);
  assert.is(view.boot, 1);
  assert.equal(view.addresses, ["10.0.0.2:80"]);
  assert.equal(view.load, { queuedBytes: 2 });
  assert.ok(view.silentMs < 1500 && view.phi < 1, `${view.silentMs} ms, phi ${view.phi}`);
  assert.ok((view.directSilentMs ?? 1e9) < 1500);
  assert.is(cluster.node(0).gossip.stateOf(idOf(2)), "alive");
  assert.is(cluster.node(0).gossip.stateOf(idOf(77)), undefined, "no member");
});

test("Gossip: a node that was killed is suspect, then down, and alive again after its start", async () => {
  const cluster = new Cluster(3);
  await cluster.clock.advance(10_000);
  cluster.kill(2);
  await cluster.clock.advance(8000);
  assert.is(cluster.states(0), "alive down");
  assert.is(cluster.states(1), "alive down");
  cluster.startNode(2, 2, "10.0.0.2:80");
  await cluster.clock.advance(1200);
  assert.is(cluster.states(0), "alive alive");
  assert.is(cluster.view(0, 2).boot, 2);
});

test("Gossip: of two nodes one calls the other down without anyone to ask", async () => {
  const cluster = new Cluster(2);
  await cluster.clock.advance(10_000);
  cluster.kill(1);
  await cluster.clock.advance(8000);
  assert.is(cluster.states(0), "down");
});

test("Gossip: nobody is called down who is reached by others (A-B cut, both see C), and nobody flaps", async () => {
  const cluster = new Cluster(3);
  await cluster.clock.advance(10_000);
  cluster.exchange.cut(idOf(0), idOf(1));
  for (let second = 0; second < 30; second += 1) {
    await cluster.clock.advance(1000);
    assert.is(cluster.states(0), "alive alive", `second ${second}`);
    assert.is(cluster.states(1), "alive alive", `second ${second}`);
  }
  const { directSilentMs } = cluster.view(0, 1);
  assert.ok((directSilentMs ?? 0) > 25_000, "but that it does not speak to us is seen");
});

test("Gossip: what goes one way only is enough to know that a node lives", async () => {
  const cluster = new Cluster(2);
  await cluster.clock.advance(10_000);
  cluster.exchange.cutOneWay(idOf(0), idOf(1));
  await cluster.clock.advance(20_000);
  assert.is(cluster.states(0), "alive", "it hears the other's heartbeats");
  assert.is(cluster.states(1), "down", "it hears nothing");
});

test("Gossip: a partition of five in three and two: each side calls the other down, and only it", async () => {
  const cluster = new Cluster(5);
  await cluster.clock.advance(10_000);
  for (const a of [0, 1, 2]) for (const b of [3, 4]) cluster.exchange.cut(idOf(a), idOf(b));
  await cluster.clock.advance(15_000);
  assert.is(cluster.states(0), "alive alive down down");
  assert.is(cluster.states(4), "down down down alive");
  cluster.exchange.heal();
  await cluster.clock.advance(8000);
  assert.is(cluster.states(0), "alive alive alive alive");
  assert.is(cluster.states(4), "alive alive alive alive");
});

test("Gossip: with a fifth of all messages lost, nobody is called down in two minutes", async () => {
  const cluster = new Cluster(4);
  cluster.exchange.lossPercent = 20;
  for (let time = 0; time < 12; time += 1) {
    await cluster.clock.advance(10_000);
    for (let index = 0; index < 4; index += 1) {
      assert.not(cluster.states(index).includes("down"), `${time}: ${cluster.states(index)}`);
    }
  }
});

test("Gossip: a node whose own event loop stood still for 30 s accuses nobody, and is found again", async () => {
  const cluster = new Cluster(3);
  await cluster.clock.advance(10_000);
  cluster.exchange.hold(idOf(0));
  await cluster.clock.advance(30_000);
  assert.is(cluster.states(1), "down alive", "the others miss it");
  assert.is(cluster.states(0), "alive alive", "asked before its late tick, it accuses nobody");
  cluster.exchange.release(idOf(0));
  assert.is(cluster.states(0), "alive alive");
  for (let second = 0; second < 10; second += 1) {
    await cluster.clock.advance(1000);
    assert.is(cluster.states(0), "alive alive", `second ${second}`);
  }
  assert.is(cluster.states(1), "alive alive");
});

test("Gossip: a late tick after which nothing has come yet accuses nobody either", async () => {
  const cluster = new Cluster(3);
  await cluster.clock.advance(10_000);
  cluster.exchange.hold(idOf(0));
  // What is sent to it meanwhile is lost, and its own next heartbeat is slow to be answered.
  for (const other of [1, 2]) cluster.exchange.cut(idOf(0), idOf(other));
  await cluster.clock.advance(30_000);
  cluster.exchange.release(idOf(0));
  assert.is(cluster.states(0), "alive alive", "right after its late tick");
  cluster.exchange.heal();
  await cluster.clock.advance(2000);
  assert.is(cluster.states(0), "alive alive");
});

test("Gossip: a node that answers, and whose heartbeats stand still, is suspect and never down", async () => {
  const cluster = new Cluster(3);
  await cluster.clock.advance(10_000);
  cluster.node(1).gossip.stop();
  for (let second = 0; second < 20; second += 1) {
    await cluster.clock.advance(1000);
    assert.not(cluster.states(0).includes("down"), `second ${second}`);
  }
  assert.is(cluster.states(0), "suspect alive");
});

test("restarted-node-on-a-new-address-is-reached", async () => {
  const cluster = new Cluster(3);
  await cluster.clock.advance(5000);
  cluster.kill(2);
  await cluster.clock.advance(8000);
  // It comes back elsewhere, and at first nobody but node 1 can be spoken to.
  cluster.exchange.cut(idOf(2), idOf(0));
  cluster.startNode(2, 2, "10.9.9.9:81");
  await cluster.clock.advance(4000);
  assert.equal(cluster.node(1).reached, ["2 10.9.9.9:81 2"], "it said so itself");
  assert.equal(cluster.node(0).reached, ["2 10.9.9.9:81 2"], "node 1 has told it");
  assert.equal(cluster.view(0, 2).addresses, ["10.9.9.9:81"]);
  assert.is(cluster.view(0, 2).state, "alive");
});

test("Gossip: I2: a heartbeat of a lower boot is refused, and its sender learns that it is outdated", async () => {
  const cluster = new Cluster(3);
  await cluster.clock.advance(3000);
  const copy = cluster.node(2);
  cluster.startNode(2, 5, "10.0.0.2:80");
  await cluster.clock.advance(3000);
  assert.not(cluster.node(0).gossip.takesBoot(idOf(2), 4));
  assert.ok(cluster.node(0).gossip.takesBoot(idOf(2), 5));
  const older = {
    ...{ nodeId: idOf(2), boot: 4, beat: 9, addresses: [], kind: "heartbeat", clusterId },
    ...{ epoch: 1, load: {}, rumours: [] },
  };
  const refused = await cluster.node(0).gossip.handle("heartbeat", older);
  assert.equal(refused, { kind: "outdated", boot: 5 });
  // The copy that began earlier goes on speaking.
  copy.gossip.start();
  await cluster.clock.advance(3000);
  assert.ok(copy.outdated.includes(5), "the copy is told");
  assert.is(cluster.view(0, 2).boot, 5);
  assert.equal(cluster.node(2).outdated, [], "the later start is not");
});

test("Gossip: an old rumour, or one that comes twice, is no sign of life", async () => {
  const cluster = new Cluster(2);
  await cluster.clock.advance(5000);
  cluster.kill(1);
  const old = { nodeId: idOf(1), boot: 1, beat: 2, addresses: ["10.0.0.1:80"] };
  for (let second = 0; second < 12; second += 1) {
    await cluster.clock.advance(1000);
    const heartbeat = { ...old, kind: "heartbeat", clusterId, epoch: 1, load: {}, rumours: [old] };
    await cluster.node(0).gossip.handle("heartbeat", heartbeat);
  }
  assert.not.ok(cluster.states(0) === "alive", cluster.states(0));
});

test("Gossip: what a node tells of itself is taken also where others told of that beat before", async () => {
  const cluster = new Cluster(3);
  await cluster.clock.advance(3000);
  const { gossip } = cluster.node(0);
  const common = { kind: "heartbeat", clusterId, epoch: 1, boot: 1, addresses: [] };
  const hear = (from: number, beat: number, moveFilled: number, rumours: unknown[] = []) =>
    gossip.handle("heartbeat", {
      ...{ ...common, nodeId: idOf(from), beat, rumours },
      load: { moveFilled },
    });
  // The way through another node is the shorter one, at every beat.
  for (const beat of [50, 51, 52]) {
    await hear(1, beat, 0, [{ nodeId: idOf(2), boot: 1, beat, addresses: [] }]);
    await hear(2, beat, beat);
    assert.is(cluster.view(0, 2).load["moveFilled"], beat);
  }
  await hear(2, 51, 51);
  assert.is(cluster.view(0, 2).load["moveFilled"], 52, "late words are old ones");
});

test("Gossip: a newer epoch that is heard of leads to fetching that document, once", async () => {
  const cluster = new Cluster(3);
  await cluster.clock.advance(3000);
  cluster.node(1).epoch = 9;
  await cluster.clock.advance(1500);
  assert.is(cluster.node(0).epoch, 9);
  assert.equal(cluster.node(0).caughtUp.length, 1);
  assert.equal(cluster.node(1).caughtUp, []);
});

test("Gossip: a node of another cluster is told so, and nothing is learnt from it", async () => {
  const cluster = new Cluster(2);
  await cluster.clock.advance(3000);
  const other = "d".repeat(32);
  const raw = { nodeId: idOf(1), boot: 99, beat: 1, addresses: [] };
  const heartbeat = {
    ...raw,
    kind: "heartbeat",
    clusterId: other,
    epoch: 50,
    load: {},
    rumours: [],
  };
  assert.equal(await cluster.node(0).gossip.handle("heartbeat", heartbeat), {
    kind: "foreign",
    clusterId,
  });
  assert.is(cluster.view(0, 1).boot, 1);
  assert.equal(cluster.node(0).caughtUp, []);
});

test("Gossip: B: in a cluster of 70 a node speaks to few, and its heartbeats are bounded", async () => {
  const cluster = new Cluster(70);
  await cluster.clock.advance(2500);
  const { sent } = cluster.exchange;
  const from = sent.filter(({ from, topic }) => from === idOf(0) && topic === "heartbeat");
  assert.is(from.length % gossipDefault.peersMax, 0);
  assert.ok(from.length <= 3 * gossipDefault.peersMax, `${from.length} heartbeats`);
  const told = from.filter(({ body }) => parseHeartbeat(body).rumours.length > 0);
  const rounds = from.length / gossipDefault.peersMax;
  assert.ok(told.length <= rounds * gossipDefault.digestsMax, `${told.length} of ${from.length}`);
  assert.ok(told.length > 0);
  const answered = async (heartbeat: object): Promise<number> => {
    const own = { nodeId: idOf(1), beat: 999, addresses: [], kind: "heartbeat", clusterId };
    const body = { ...own, epoch: 1, load: {}, ...heartbeat };
    const reply = parseHeartbeatReply(await cluster.node(0).gossip.handle("heartbeat", body));
    return reply.kind === "heartbeat" ? reply.rumours.length : -1;
  };
  const rumour = { nodeId: idOf(2), boot: 1, beat: 1, addresses: [] };
  assert.is(await answered({ boot: 1, rumours: [rumour] }), rumoursMax);
  assert.is(await answered({ boot: 1, rumours: [] }), 0, "who tells nothing is told nothing");
  assert.is(
    await answered({ boot: 2, rumours: [] }),
    rumoursMax,
    "but for one that has just started",
  );
});

test("Gossip: in a cluster that is too large to speak to all, the dead are found, and only they", async () => {
  const cluster = new Cluster(24);
  await cluster.clock.advance(3000);
  for (const index of [3, 20]) cluster.kill(index);
  await cluster.clock.advance(9000);
  for (const from of [0, 12, 23]) {
    const down = cluster
      .node(from)
      .gossip.view()
      .filter(({ state }) => state === "down");
    assert.equal(
      down.map(({ nodeId }) => nodeId),
      [idOf(3), idOf(20)],
    );
  }
});

test("Gossip: a probe for a node that is no member is not carried out", async () => {
  const cluster = new Cluster(2);
  const answer = await cluster.node(0).gossip.handle("probe", { target: idOf(77) });
  assert.equal(answer, { kind: "silent" });
  assert.not.ok(cluster.exchange.sent.some(({ to }) => to === idOf(77)));
});

test("Gossip: what makes no sense is refused by name", async () => {
  const good = {
    ...{ nodeId: idOf(1), boot: 1, beat: 1, addresses: ["h:1"], kind: "heartbeat", clusterId },
    ...{ epoch: 1, load: { a: 1 }, rumours: [] as unknown[] },
  };
  assert.equal(parseHeartbeat(good), good);
  const many = Array.from({ length: rumoursMax + 1 }, () => good);
  const wrong: unknown[] = [
    undefined,
    [],
    { ...good, nodeId: "n1" },
    { ...good, boot: -1 },
    { ...good, beat: 1.5 },
    { ...good, addresses: ["h:1", 5] },
    { ...good, addresses: Array.from({ length: 9 }, () => "h:1") },
    { ...good, load: { a: "1" } },
    { ...good, rumours: [{}] },
    { ...good, rumours: many },
  ];
  for (const raw of wrong)
    throwsSlug("invalid-request", () => parseHeartbeat(raw), JSON.stringify(raw));
  throwsSlug("invalid-request", () => parseProbe({ target: "x" }));
  throwsSlug("invalid-request", () => parseProbeReply({ kind: "reached" }));
  const cluster = new Cluster(1);
  await rejectsSlug("invalid-request", cluster.node(0).gossip.handle("heartbeat", {}));
});

test.run();
