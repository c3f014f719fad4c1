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
import { Agreement, agreementTopics, documentTopic, voteTopic } from "./agreement.ts";
import { Boots } from "./boots.ts";
import { toHex } from "./bytes.ts";
import { askMs } from "./cluster_asking.ts";
import { ClusterEntering } from "./cluster_entering.ts";
import { FormerMembers } from "./cluster_former.ts";
import type { ClusterOptions, ServingPorts } from "./cluster_options.ts";
import { ClusterProtocol, pledgeTopic } from "./cluster_protocol.ts";
import { QuorateError } from "./errors.ts";
import { foundingTopic } from "./founding.ts";
import { memberAnswer } from "./founding_message.ts";
import { Gossip, gossipOf, gossipTopics, type PeerView } from "./gossip.ts";
import type { Hello } from "./handshake.ts";
import { joinTopics } from "./join.ts";
import type { ColdRequest, PeerReply, PeerRequest, ReplyFacts } from "./message.ts";
import { Peers } from "./peers.ts";
import { protocolTooNew, speaks } from "./protocol.ts";
import { RegisterStore } from "./register_store.ts";
import { type Life, Remembered } from "./remembered.ts";
import { memberById, protocolOf, type Topology } from "./topology.ts";
import type { MemberNews } from "./topology_advance.ts";
import { readTopology } from "./topology_parse.ts";
import type { MemberFacts } from "./topology_steps.ts";
import { whyNotSuccessor } from "./topology_successor.ts";

/** A mark for repair goes to a node that can compare. */
export const markTopic = "mark";
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
  readonly #entering: ClusterEntering;
  #gossip: Gossip | undefined;
  #serving: ServingPorts | undefined;
  /** What was told before there was a store to compare it with. */
  readonly #told = new Map<string, number>();
  #adopting: Promise<void> = Promise.resolve();
  /** Who was a member in this run, and is none any more. */
  readonly #former: FormerMembers;
  #isClosed = false;
  /** Undefined until it has entered. */
  #waitingFor: string | undefined;
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
    this.#entering = new ClusterEntering({
      options,
      peers: this.peers,
      agreement: this.agreement,
      ports: {
        ask,
        parse: parseDocument,
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
    if (this.#waitingFor === undefined) return this.#entering.waitingFor;
    return this.#isRegistering ? this.#waitingFor + this.#unreached() : this.#waitingFor;
  }

  /** The command that has this node taken in, at a member; undefined: it does not wait for that. */
  get takingIn(): string | undefined {
    return this.#entering.takingIn;
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
  enter(): Promise<boolean> {
    return this.#entering.enter();
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
    void this.#entering.findMembers(() => !this.#isRegistering);
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
    this.#entering.tellAddresses();
    this.protocol.begin();
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
    await this.#entering.admission.release(epoch).catch(() => {});
  }

  /** Says goodbye: the others ask this node nothing more, and have what they had asked. */
  leave(timeoutMs: number): Promise<void> {
    return this.peers.leave(timeoutMs);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#entering.close();
    this.#gossip?.stop();
    this.protocol.close();
    this.peers.close();
    await this.#remembered.close();
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

  /** I1, I2, T9: another store under a known name, an older start of a node, or another cluster than the one to enter. */
  #whyNot(other: Hello): string | undefined {
    const present = this.#options.document()?.present;
    const only = present === undefined ? this.#entering.clusterId : undefined;
    if (only !== undefined && other.clusterId !== undefined && other.clusterId !== only) {
      return `it belongs to the cluster ${other.clusterId}, and this node enters ${only} alone`;
    }
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
      for (const { nodeId } of gone) this.#entering.waiting.forget(nodeId);
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
      isVoid: view?.load["rolledBack"] === 1,
    };
  }

  /** Nodes that want to be members, and wait until a plan admits them. */
  get waiting(): readonly MemberFacts[] {
    return this.#entering.waiting.list((nodeId) => this.#isMember(nodeId));
  }

  /** Whether this node was a member, and is none any more. */
  get hasLeft(): boolean {
    const present = this.#options.document()?.present;
    return present !== undefined && !this.#isMember(this.#options.self.nodeId);
  }

  #facts(): ReplyFacts {
    return this.#serving?.facts() ?? noFacts;
  }

  #whenServing(): ServingPorts {
    if (this.#serving !== undefined) return this.#serving;
    throw notReady("The node is starting.");
  }

  #handle(
    request: PeerRequest,
    hello: Hello,
  ): Promise<{ readonly facts: ReplyFacts; readonly reply: PeerReply }> {
    if (request.kind === "cold") return this.#handleCold(request, hello);
    const isKnown = this.#isMember(hello.nodeId) || this.#former.has(hello.nodeId);
    const serving = this.#serving;
    if (isKnown && serving !== undefined) return serving.answer(request);
    const detail = isKnown ? "the node is starting" : "the node that asks is no member";
    const reply = { kind: "refused", reason: "not-ready", detail } as const;
    return Promise.resolve({ facts: this.#facts(), reply });
  }

  async #handleCold(
    { topic, body }: ColdRequest,
    hello: Hello,
  ): Promise<{ readonly facts: ReplyFacts; readonly reply: PeerReply }> {
    const said = await this.#say(topic, body, hello);
    return { facts: this.#facts(), reply: { kind: "said", body: said } };
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
    if (topic === documentTopic) return this.#handOut(body, hello);
    if (isOneOf(agreementTopics, topic)) return this.agreement.handle(topic, body);
    if (isOneOf(joinTopics, topic)) return this.#entering.admission.handle(topic, body);
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

  /** Who looks for the members has no gossip yet: it is told where they are now, which the document may not say. */
  async #handOut(question: unknown, { nodeId }: Hello): Promise<unknown> {
    const said = await this.agreement.handle(documentTopic, question);
    const isAsked = isFields(question) && question["wantsPlaces"] === true;
    if (!isAsked || !isFields(said) || !this.#isMember(nodeId)) return said;
    return { ...said, places: this.peers.places() };
  }

  /** A member answers a founding with its document, whether it ever founded one itself or not. */
  #sayFounding(question: unknown): unknown {
    const document = this.#options.document()?.present;
    if (document !== undefined) return memberAnswer(document, question);
    const { founding } = this.#entering;
    if (founding !== undefined) return founding.handle(question);
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
