/**
 * Cluster: this node among the others: who they are, whether they live, and what they agree on.
 *
 * It composes the links, gossip, the agreement on the topology and on the protocol, the founding of a
 * cluster and the admission of members, and leads their questions to the part that has the topic. It knows no keys:
 * writes and reads of other nodes go to the replica, once there is one.
 *
 *     links up -> a document? --no--> found one together (T9), or ask to join
 *              -> register this start (I2) -> gossip -> the node serves
 *
 * Invariants
 * 1. A document is durable before it is the present one, and its epoch never goes back.
 * 2. Who is no member is heard on the topics of founding, joining and the agreement alone.
 *
 * Effects: those of its parts. Source: rules T1, T7, T9, I1, I2, I3.
 *
 * @module
 */

import { isCount, isFields } from "./agreed.ts";
import { Agreement, agreementTopics, voteTopic } from "./agreement.ts";
import { Boots } from "./boots.ts";
import { toHex } from "./bytes.ts";
import { askInTurn, askMs, documentsAt } from "./cluster_asking.ts";
import { FormerMembers } from "./cluster_former.ts";
import type { ClusterOptions, ServingPorts } from "./cluster_options.ts";
import { ClusterProtocol, pledgeTopic } from "./cluster_protocol.ts";
import { Waiting } from "./cluster_waiting.ts";
import { QuorateError } from "./errors.ts";
import { Founding, foundingTopic } from "./founding.ts";
import { type Candidate, memberAnswer, parseCandidate } from "./founding_message.ts";
import { Gossip, gossipOf, gossipTopics, type PeerView } from "./gossip.ts";
import type { Hello } from "./handshake.ts";
import { Admission, type JoinSeal, joinAt, joinTopics } from "./join.ts";
import type { PeerReply, PeerRequest, ReplyFacts } from "./message.ts";
import { Peers } from "./peers.ts";
import { protocolTooNew, speaks } from "./protocol.ts";
import { RegisterStore } from "./register_store.ts";
import { type Life, Remembered } from "./remembered.ts";
import { memberById, protocolOf, type Topology } from "./topology.ts";
import type { MemberNews } from "./topology_advance.ts";
import { withMove } from "./topology_move.ts";
import { readTopology } from "./topology_parse.ts";
import { takingIn } from "./topology_plan.ts";
import {
  genesisOf,
  isMember,
  type MemberFacts,
  withAddresses,
  withMember,
} from "./topology_steps.ts";
import { whyNotSuccessor } from "./topology_successor.ts";

/** A mark for repair goes to a node that can compare. */
export const markTopic = "mark";
/** How often the addresses of `--peers` are asked while a start waits to be registered. */
const findMs = 1000;
/** A new address that is not in the topology yet is proposed again after so long. */
const tellMs = 3000;
const noFacts: ReplyFacts = {
  epoch: 0,
  syncedSequence: 0,
  clockHlc: 0n as ReplyFacts["clockHlc"],
  counts: false,
};

export class Cluster {
  readonly peers: Peers;
  readonly agreement: Agreement<Topology>;
  readonly protocol: ClusterProtocol;
  readonly #options: ClusterOptions;
  readonly #remembered: Remembered;
  /** Tells this start from every other, of the same boot number too (I2). */
  readonly #start: string;
  readonly #boots: Boots;
  #cancelTelling: () => void = () => {};
  readonly #admission: Admission<Topology, MemberFacts>;
  #founding: Founding<Topology> | undefined;
  #gossip: Gossip | undefined;
  #serving: ServingPorts | undefined;
  /** What was told before there was a store to compare it with. */
  readonly #told = new Map<string, number>();
  readonly #waiting: Waiting;
  #adopting: Promise<void> = Promise.resolve();
  /** Who was a member in this run, and is none any more. */
  readonly #former: FormerMembers;
  #isClosed = false;
  #waitingFor = "The node is starting.";
  #takingIn: string | undefined;
  #isRegistering = false;

  private constructor(
    options: ClusterOptions,
    kept: {
      readonly voter: RegisterStore;
      readonly boots: Boots;
      readonly remembered: Remembered;
    },
  ) {
    this.#options = options;
    const { clock, random, report, network, settings, self } = options;
    this.#boots = kept.boots;
    this.#remembered = kept.remembered;
    this.#start = toHex(random.bytes(8));
    this.#waiting = new Waiting(clock);
    this.peers = new Peers({
      clock,
      random,
      report,
      network,
      secret: settings.secret,
      limits: settings.queueBytesMax === undefined ? {} : { queueBytesMax: settings.queueBytesMax },
      ports: {
        hello: () => this.#hello(),
        whyNot: (other) => this.#whyNot(other),
        remembers: (other) => this.#remembered.meet(other.storeId, lifeOf(other)),
        onMet: (other) => this.#onMet(other),
        onFacts: (other, { syncedSequence }) =>
          this.#remembered.note(other.storeId, lifeOf(other), syncedSequence),
        handle: (request, { hello }) => this.#handle(request, hello),
        facts: () => this.#facts(),
      },
    });
    const present = (): Topology | undefined => options.document()?.present;
    this.#former = new FormerMembers(clock, (former) => {
      if (!this.#isClosed) this.peers.setMembers([...(present()?.members ?? []), ...former]);
    });
    const ask = (nodeId: string, topic: string, body: unknown) =>
      this.peers.ask(nodeId, topic, this.#withSequence(topic, body), askMs);
    this.agreement = new Agreement<Topology>({
      nodeId: self.nodeId,
      rules: { parse: parseDocument, whyNotSuccessor },
      ports: {
        present,
        adopt: (document) => this.#adopt(document),
        ask,
        // Before its store is open, a node cannot know whether it was rolled back.
        whyNoVote: () =>
          this.#serving === undefined ? "it is starting" : this.#serving.whyNoVote(),
        voted: async () => this.#serving?.voted(),
      },
      voter: kept.voter,
      boots: kept.boots,
      clock,
      random,
      report,
    });
    this.protocol = new ClusterProtocol({
      nodeId: self.nodeId,
      program: options.program,
      ports: {
        present,
        ask,
        programOf: (nodeId) => this.peers.programOf(nodeId),
        protocolWith: (nodeId) => this.peers.protocolWith(nodeId),
        pledge: options.pledge,
        propose: (step) => this.agreement.propose(step),
      },
      clock,
      report,
    });
    this.#admission = new Admission<Topology, MemberFacts>({
      nodeId: self.nodeId,
      storeId: self.storeId,
      ports: {
        present,
        ask,
        propose: (step) => this.agreement.propose(step),
        parseFacts: (raw) => parseCandidate(raw) as MemberFacts,
        withMember: (document, facts, seals) => this.#withMember(document, facts, seals),
        waits: (facts) => this.#waits(facts),
        records: () => this.#whenServing().records(),
        seal: (epoch) => this.#whenServing().seal(epoch),
      },
    });
  }

  static async open(options: ClusterOptions): Promise<Cluster> {
    const { disk, clock } = options;
    const isMembers = (id: string): boolean =>
      options.document()?.present.members.some(({ storeId }) => storeId === id) === true;
    return new Cluster(options, {
      voter: await RegisterStore.open(disk),
      boots: await Boots.open(disk),
      remembered: await Remembered.open(disk, clock, isMembers),
    });
  }

  /** What a node that is not ready waits for. */
  get waitingFor(): string {
    if (this.#founding !== undefined) return this.#founding.waitingFor;
    return this.#isRegistering ? this.#waitingFor + this.#unreached() : this.#waitingFor;
  }

  /** The command that has this node taken in, at a member; undefined: it does not wait for that. */
  get takingIn(): string | undefined {
    return this.#takingIn;
  }

  /** Which members have no link, and why. */
  #unreached(): string {
    const members = this.#options.document()?.present.members ?? [];
    const nameOf = (id: string): string => members.find((one) => one.nodeId === id)?.name ?? id;
    const closed = this.peers.status().filter(({ isOpen }) => !isOpen);
    if (closed.length === 0) return "";
    return ` Not reached: ${closed.map(({ nodeId, why }) => `${nameOf(nodeId)} (${why})`).join(", ")}.`;
  }

  /** Comes to a document in which this node is a member; false when the node is closed before. */
  async enter(): Promise<boolean> {
    const options = this.#options;
    if (options.document() !== undefined) return true;
    this.#founding = await Founding.open<Topology>({
      self: this.#candidate(),
      settings: {
        expect: options.settings.expect,
        partitions: options.partitions,
        clusterId: options.settings.clusterId,
      },
      peers: options.settings.peers,
      rules: {
        parse: parseDocument,
        genesisOf: (nodes, { expect, partitions, clusterId }) => {
          const document = genesisOf(nodes as readonly MemberFacts[], {
            expect: expect ?? nodes.length,
            partitions,
          });
          return clusterId === undefined ? document : { ...document, clusterId };
        },
      },
      ask: (address, topic, body) => this.peers.askAt(address, topic, body, askMs),
      present: () => options.document()?.present,
      adopt: (document) => options.create(document),
      clock: options.clock,
      disk: options.disk,
      report: options.report,
    });
    const found = await this.#founding.run(() => this.#isClosed);
    if (found === undefined) return false;
    // What it waited for until now is there.
    this.#founding = undefined;
    if (found.kind === "join") await this.#join(found.address, found.document);
    return !this.#isClosed;
  }

  /** Registers this start, then takes part: from now on the others are talked to. */
  async begin(serving: ServingPorts): Promise<void> {
    const { document, self, boot, random, clock, report, settings } = this.#options;
    this.#serving = serving;
    for (const [nodeId, remembered] of this.#told) serving.told(nodeId, remembered);
    const present = document()?.present;
    if (present === undefined) throw new QuorateError("internal", "There is no document.");
    this.peers.setMembers(present.members);
    this.#waitingFor = "A majority of the voters has to register this start.";
    this.#isRegistering = true;
    void this.#findMembers();
    await this.agreement.registerStart(
      { nodeId: self.nodeId, boot: boot(), word: this.#start },
      () => this.#isClosed,
    );
    this.#isRegistering = false;
    if (this.#isClosed) return;
    this.#gossip = new Gossip({
      nodeId: self.nodeId,
      boot: boot(),
      addresses: settings.addresses,
      ports: {
        present: () => document()?.present,
        ask: (nodeId, topic, body) => this.#askMember(nodeId, topic, body),
        reach: (nodeId, addresses) => this.peers.reach(nodeId, addresses),
        catchUp: (nodeId) => this.agreement.catchUp(nodeId),
        load: () => serving.load(),
        outdated: (newer) => this.#options.onOutdated(startedTwice(newer)),
      },
      clock,
      random,
      report,
      bootHeard: (nodeId) => this.#boots.heard(nodeId),
      ...(settings.gossip === undefined ? {} : { settings: gossipOf(settings.gossip) }),
    });
    this.#gossip.start();
    this.#waitingFor = "";
    this.#tellAddresses();
    this.protocol.begin();
  }

  /** T9: where members are not reached, `--peers` may name one that is, and knows the newest document. */
  async #findMembers(): Promise<void> {
    const { clock, settings, document } = this.#options;
    const others = settings.peers.filter((address) => !settings.addresses.includes(address));
    while (this.#isRegistering && !this.#isClosed) {
      const isAway = this.peers.status().some(({ isOpen }) => !isOpen);
      const epoch = document()?.present.epoch ?? 0;
      for (const found of isAway ? await documentsAt(this.peers, others, epoch, askMs) : []) {
        await this.agreement.learn(found).catch(() => {});
      }
      await new Promise<void>((resolve) => clock.after(findMs, resolve));
    }
  }

  /** Asks a member; one that does not know this node as a member has another document. */
  async #askMember(nodeId: string, topic: string, body: unknown): Promise<unknown> {
    try {
      return await this.peers.ask(nodeId, topic, body, askMs);
    } catch (error) {
      if (QuorateError.from(error).slug === "forbidden") {
        await this.agreement.reconcile(nodeId).catch(() => {});
      }
      throw error;
    }
  }

  /** A member that is reached elsewhere now, or runs on another host, says so in the topology. */
  #tellAddresses(): void {
    const { self, settings, document, report, clock } = this.#options;
    const { addresses, clientUrl, host } = settings;
    const step = (present: Topology): Topology | undefined =>
      memberById(present, self.nodeId) === undefined
        ? undefined
        : withAddresses(present, self.nodeId, {
            addresses,
            ...(clientUrl === undefined ? {} : { clientUrl }),
            ...(host === undefined ? {} : { host }),
          });
    const present = document()?.present;
    if (present === undefined || addresses.length === 0 || this.#isClosed) return;
    if (step(present) === undefined) return;
    this.agreement
      .propose(step)
      .catch((error: unknown) => {
        const why = QuorateError.from(error).detail;
        report.log("warn", "The new address of this node is not in the topology yet.", { why });
      })
      .finally(() => {
        // Another change may have come first, or too few of the voters have answered.
        if (!this.#isClosed) this.#cancelTelling = clock.after(tellMs, () => this.#tellAddresses());
      });
  }

  /** What is known of the other members. */
  view(): readonly PeerView[] {
    return this.#gossip?.view() ?? [];
  }

  /** One other member, as gossip sees it; of this node and of those that are none, nothing. */
  viewOf(nodeId: string): PeerView | undefined {
    return this.#gossip?.viewOf(nodeId);
  }

  /** Whether a node is to be asked first: its link is open, and it is not believed to be down. */
  isUp(nodeId: string): boolean {
    return this.peers.isOpen(nodeId) && this.#gossip?.stateOf(nodeId) !== "down";
  }

  /** Learns of at least this epoch from whoever has it. */
  async learnEpoch(epoch: number): Promise<void> {
    for (const { nodeId, epoch: other } of this.view()) {
      if (other < epoch) continue;
      await this.agreement.catchUp(nodeId).catch(() => {});
      if ((this.#options.document()?.present.epoch ?? 0) >= epoch) return;
    }
    for (const { nodeId, isOpen } of this.peers.status()) {
      if (!isOpen) continue;
      await this.agreement.catchUp(nodeId).catch(() => {});
      if ((this.#options.document()?.present.epoch ?? 0) >= epoch) return;
    }
  }

  /** Gives up a seal that no next epoch followed (T7). */
  async release(epoch: number): Promise<void> {
    await this.#admission.release(epoch).catch(() => {});
  }

  /** Says goodbye: the others ask this node nothing more, and have what they had asked. */
  leave(timeoutMs: number): Promise<void> {
    return this.peers.leave(timeoutMs);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancelTelling();
    this.#gossip?.stop();
    this.protocol.close();
    this.peers.close();
    await this.#remembered.close();
  }

  async #join(address: string, document: Topology): Promise<void> {
    const { clock, report, create, checkJoin } = this.#options;
    // Once it is a member, a move waits for it: what its own settings rule out is found out before.
    checkJoin(document);
    const waits = "The cluster has to take this node in.";
    this.#waitingFor = waits;
    this.#takingIn = takingIn(document, this.#options.self.name);
    await joinAt<Topology>(
      {
        facts: this.#candidate(),
        parse: parseDocument,
        adopt: create,
        ask: askInTurn(this.peers, { address, document }, { clock, timeoutMs: askMs }),
        takingIn: this.#takingIn,
        clock,
        report,
        onRefused: (said) => {
          this.#waitingFor = `${waits} ${said}`;
        },
      },
      () => this.#isClosed,
    );
    this.#takingIn = undefined;
  }

  #candidate(): Candidate {
    const { self, settings, program } = this.#options;
    const { addresses, clientUrl, zone, host, weight } = settings;
    return {
      ...self,
      addresses,
      program,
      ...(clientUrl === undefined ? {} : { clientUrl }),
      ...(zone === undefined ? {} : { zone }),
      ...(host === undefined ? {} : { host }),
      ...(weight === undefined ? {} : { weight }),
    };
  }

  #hello(): Omit<Hello, "remembers"> {
    const { self, settings, boot, document, program } = this.#options;
    const present = document()?.present;
    return {
      ...self,
      protocol: Math.max(program.lowest, present === undefined ? 1 : protocolOf(present)),
      program,
      clusterId: present?.clusterId,
      boot: boot(),
      start: this.#start,
      epoch: present?.epoch ?? 0,
      addresses: settings.addresses,
    };
  }

  /** I1, I2: another store under a known name, or an older start of a node. */
  #whyNot(other: Hello): string | undefined {
    const present = this.#options.document()?.present;
    const member = present === undefined ? undefined : memberById(present, other.nodeId);
    if (member !== undefined && member.storeId !== other.storeId) {
      return `node '${other.name}' comes with another store than the cluster knows: its folder was lost, or is another one`;
    }
    if (this.#gossip?.takesBoot(other.nodeId, other.boot) === false) {
      return `a later start of node '${other.name}' is known`;
    }
    return undefined;
  }

  #onMet(other: Hello): void {
    const { nodeId, storeId, remembers } = other;
    this.#remembered.meet(storeId, lifeOf(other));
    if (remembers === undefined) return;
    if (this.#serving === undefined) this.#told.set(nodeId, remembers);
    else this.#serving.told(nodeId, remembers);
  }

  async #adopt(topology: Topology): Promise<void> {
    const document = this.#options.document();
    if (document === undefined) {
      throw notReady("This node is in no cluster yet.");
    }
    // One after another: what one brings is made ready under the one before.
    const turn = this.#adopting.then(async () => {
      if (topology.epoch <= document.present.epoch) return;
      const { program, pledge } = this.#options;
      const protocol = protocolOf(topology);
      if (!speaks(program, protocol)) throw protocolTooNew(protocol, program);
      await pledge(protocol);
      await this.#serving?.prepare(topology);
      const before = document.present;
      if (!(await document.adopt(topology))) return;
      const gone = this.#former.follow(before, topology);
      for (const { nodeId } of gone) this.#waiting.forget(nodeId);
      this.#options.onDocument(topology);
    });
    this.#adopting = turn.catch(() => {});
    await turn;
  }

  /** What a member has told of itself, as far as a move needs it (T4). */
  newsOf(nodeId: string): MemberNews {
    const view = this.viewOf(nodeId);
    return {
      epoch: view?.epoch ?? 0,
      filled: view?.load["moveFilled"] ?? 0,
      dropped: view?.load["moveDropped"] ?? 0,
      isUp: this.isUp(nodeId),
    };
  }

  /** Nodes that want to be members, and wait until a plan admits them. */
  get waiting(): readonly MemberFacts[] {
    return this.#waiting.list((nodeId) => this.#isMember(nodeId));
  }

  /** Whether this node was a member, and is none any more. */
  get hasLeft(): boolean {
    const present = this.#options.document()?.present;
    return present !== undefined && !this.#isMember(this.#options.self.nodeId);
  }

  #waits(facts: MemberFacts): void {
    const { settings, report } = this.#options;
    if (!this.#waiting.note(facts)) return;
    const present = this.#options.document()?.present;
    if (settings.autoJoin !== true || present === undefined || present.move !== undefined) return;
    if (present.members.some(({ name }) => name === facts.name)) return;
    const change = { join: [facts], leave: [], replace: [], sites: [] };
    this.agreement
      .propose((document) =>
        isMember(document, facts) || document.move !== undefined
          ? undefined
          : withMove(document, change),
      )
      .catch((error: unknown) => {
        const why = QuorateError.from(error).detail;
        report.log("warn", `'${facts.name}' could not be taken in yet.`, { why });
      });
  }

  /** The next document with a member more; one that cannot be in it at once is told that it waits. */
  #withMember(document: Topology, facts: MemberFacts, seals: readonly JoinSeal[]) {
    const other = document.members.find(({ name }) => name === facts.name);
    const isTaken = other !== undefined && other.nodeId !== facts.nodeId;
    const isKnown = document.members.some(
      ({ nodeId, storeId }) => nodeId === facts.nodeId || storeId === facts.storeId,
    );
    if (!isTaken || isKnown) return withMember(document, facts, seals);
    throw new QuorateError(
      "not-ready",
      `The name '${facts.name}' belongs to the member ${other.nodeId}, which this node may replace.`,
      {
        outcome: "none",
        hint: `If '${facts.name}' is lost for good: quorate cluster plan --replace ${facts.name}. If not, give this node a name of its own (--name).`,
      },
    );
  }

  #facts(): ReplyFacts {
    return this.#serving?.facts() ?? noFacts;
  }

  #whenServing(): ServingPorts {
    if (this.#serving !== undefined) return this.#serving;
    throw notReady("The node is starting.");
  }

  async #handle(
    request: PeerRequest,
    hello: Hello,
  ): Promise<{ readonly facts: ReplyFacts; readonly reply: PeerReply }> {
    if (request.kind === "cold") {
      const body = await this.#say(request.topic, request.body, hello);
      return { facts: this.#facts(), reply: { kind: "said", body } };
    }
    if (!this.#isMember(hello.nodeId) && !this.#former.has(hello.nodeId)) {
      const detail = "the node that asks is no member";
      return { facts: this.#facts(), reply: { kind: "refused", reason: "not-ready", detail } };
    }
    const serving = this.#serving;
    if (serving !== undefined) return serving.answer(request);
    const detail = "the node is starting";
    return { facts: this.#facts(), reply: { kind: "refused", reason: "not-ready", detail } };
  }

  /** A proposal tells the sequence of its proposer, whose own vote no reply tells of (I3). */
  #withSequence(topic: string, body: unknown): unknown {
    if (topic !== voteTopic || !isFields(body)) return body;
    return { ...body, sequence: this.#facts().syncedSequence };
  }

  async #say(topic: string, body: unknown, hello: Hello): Promise<unknown> {
    if (topic === voteTopic && isFields(body) && isCount(body["sequence"])) {
      this.#remembered.note(hello.storeId, lifeOf(hello), body["sequence"]);
    }
    if (topic === foundingTopic) return this.#sayFounding(body);
    if (isOneOf(agreementTopics, topic)) return this.agreement.handle(topic, body);
    if (isOneOf(joinTopics, topic)) return this.#admission.handle(topic, body);
    if (!this.#isMember(hello.nodeId)) {
      throw new QuorateError("forbidden", "The node that asks is no member of this cluster.", {
        outcome: "none",
        hint: "Start it with --peers of this cluster, so that it asks to join, before it asks for more.",
      });
    }
    if (topic === pledgeTopic) return this.protocol.handle(body);
    if (topic === markTopic) return this.#whenServing().mark(body);
    if (isOneOf(gossipTopics, topic)) {
      if (this.#gossip !== undefined) return this.#gossip.handle(topic, body);
      throw notReady("The node is starting.");
    }
    throw new QuorateError("invalid-request", `There is no topic '${topic.slice(0, 64)}'.`, {
      outcome: "none",
      hint: "Run the same version of Quorate on all nodes.",
    });
  }

  /** A member answers a founding with its document, whether it ever founded one itself or not. */
  #sayFounding(question: unknown): unknown {
    const document = this.#options.document()?.present;
    if (document !== undefined) return memberAnswer(document, question);
    if (this.#founding !== undefined) return this.#founding.handle(question);
    throw notReady("The node is starting.");
  }

  #isMember(nodeId: string): boolean {
    const present = this.#options.document()?.present;
    return present !== undefined && memberById(present, nodeId) !== undefined;
  }
}

function isOneOf(topics: readonly string[], topic: string): boolean {
  return topics.includes(topic);
}

/** @throws `invalid-request` for what is no document */
function parseDocument(raw: unknown): Topology {
  const read = readTopology(isFields(raw) ? raw : undefined);
  if ("value" in read) return read.value;
  throw new QuorateError("invalid-request", `A node sent no topology: ${read.error}`, {
    outcome: "none",
    hint: "Run the same version of Quorate on all nodes.",
  });
}

function lifeOf({ boot, start = "" }: Hello): Life {
  return { boot, start };
}

function startedTwice(boot: number): QuorateError {
  return new QuorateError(
    "data-folder-in-use",
    `Another process serves a copy of this data folder, or a later start of it (boot ${boot}).`,
    { hint: "Stop one of the two; a copied folder needs 'replace' to become a node of its own." },
  );
}

function notReady(detail: string): QuorateError {
  return new QuorateError("not-ready", detail, {
    outcome: "none",
    hint: "Repeat the request: /readyz?verbose of that node says what it waits for.",
  });
}
