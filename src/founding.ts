/**
 * Founding: how nodes without a document find their cluster, or begin one together.
 *
 * A node asks the addresses of `--peers` who is there. One that belongs to a cluster ends the
 * search: whoever is named in its document is a member, others ask to join. Where all are empty and
 * `--bootstrap-expect E` is given, E nodes begin a cluster together: each computes the first
 * document from what the E say of themselves, and promises it, durably and once. A document that
 * all E have promised is chosen: no other can be, because nobody promises twice.
 *
 *     n1, n2, n3 up       each reaches 3 of 3, computes the same document, promises it
 *     n1 sees 3 promises  chosen: n1 adopts it, and answers as a member from now on
 *     n2, n3              see a member, are named in its document, adopt it
 *
 * Whatever is in the way (too few, too many, unlike settings, another promise) is said every 10 s
 * with the names, and the search goes on: the operator puts it right on one node, and the others
 * need not be started again.
 *
 * What they ask and answer is in `founding_message`.
 *
 * Invariants
 * 1. A promise is durable before it is told, and is never changed.
 * 2. A document is adopted only when all that it names have promised it, or a member hands it out.
 * 3. A node that promised to found one cluster enters no other one.
 *
 * Effects: Clock, Disk; peers are asked by address through a port. Source: rule T9.
 *
 * @module
 */

import { type AgreedDocument, type AgreedMember, isFields, sameDocument } from "./agreed.ts";
import { assert } from "./assert.ts";
import type { Clock, Disk, Report } from "./capability.ts";
import { QuorateError } from "./errors.ts";
import {
  type Candidate,
  type Empty,
  emptyAnswer,
  type FoundingAnswer,
  type FoundingSettings,
  fingerprintOf,
  foundingQuestion,
  memberAnswer,
  parseFoundingAnswer,
} from "./founding_message.ts";
import { Slots } from "./slots.ts";

const slotName = "founding";
const foundingFormat = 1;

export const foundingTopic = "founding";

export interface FoundingRules<Document extends AgreedDocument> {
  /** @throws when it is no document */
  parse(raw: unknown): Document;
  /** The same document for the same nodes in any order. @throws when these cannot be together */
  genesisOf(nodes: readonly Candidate[], settings: FoundingSettings): Document;
}

export interface FoundingParts<Document extends AgreedDocument> {
  readonly self: Candidate;
  readonly settings: FoundingSettings;
  /** `--peers`; this node's own address may be among them. */
  readonly peers: readonly string[];
  readonly rules: FoundingRules<Document>;
  /** Asks whoever is at an address; rejects when nobody answers in time. */
  readonly ask: (address: string, topic: string, body: unknown) => Promise<unknown>;
  /** The durable document of this node, once there is one. */
  readonly present: () => Document | undefined;
  readonly adopt: (document: Document) => Promise<void>;
  readonly clock: Clock;
  readonly disk: Disk;
  readonly report: Report;
}

export type Found<Document> =
  /** This node is a member, and holds the document. */
  | { readonly kind: "member"; readonly document: Document }
  /** There is a cluster, and this node is not in it: it has to ask at this address to join. */
  | { readonly kind: "join"; readonly address: string; readonly document: Document };

/** Between two looks at the peers: short while something new is heard, then twice as long each time. */
const roundMsMin = 50;
const roundMsMax = 1000;
const sayMs = 10_000;

type Answer<Document> =
  | { readonly kind: "silent"; readonly why: string }
  | FoundingAnswer<Document>;

interface Heard<Document> {
  readonly address: string;
  readonly answer: Answer<Document>;
}

export class Founding<Document extends AgreedDocument> {
  readonly #parts: FoundingParts<Document>;
  readonly #slots: Slots;
  #promised: Document | undefined;
  #waitingFor = "No peer was asked yet.";

  private constructor(
    parts: FoundingParts<Document>,
    slots: Slots,
    promised: Document | undefined,
  ) {
    this.#parts = parts;
    this.#slots = slots;
    this.#promised = promised;
  }

  static async open<Document extends AgreedDocument>(
    parts: FoundingParts<Document>,
  ): Promise<Founding<Document>> {
    const slots = await Slots.open(parts.disk, slotName);
    if (slots.found === undefined) return new Founding(parts, slots, undefined);
    const raw = isFields(slots.found) ? slots.found : {};
    if (raw["format"] !== foundingFormat) {
      throw new QuorateError(
        "wrong-data-folder",
        `The promise to found a cluster has format ${String(raw["format"])}, and this version of the program reads format ${foundingFormat}.`,
        { hint: "Use the version of Quorate that wrote it, or a newer one." },
      );
    }
    const promised = parts.rules.parse(raw["promised"]);
    await slots.settle();
    return new Founding(parts, slots, promised);
  }

  /** What is missing, in one sentence, for `/readyz` and the log. */
  get waitingFor(): string {
    return this.#waitingFor;
  }

  /** The one cluster that this node may enter; undefined: any. */
  get clusterId(): string | undefined {
    return this.#promised?.clusterId ?? this.#parts.settings.clusterId;
  }

  /** Searches until there is a cluster; undefined when `isEnded` says that the node is closing. */
  async run(isEnded: () => boolean): Promise<Found<Document> | undefined> {
    const { clock, report } = this.#parts;
    let saidMs = clock.monotonicMs();
    let roundMs = roundMsMin;
    while (!isEnded()) {
      const found = await this.#round();
      if (typeof found !== "string") return found;
      roundMs = found === this.#waitingFor ? Math.min(roundMsMax, 2 * roundMs) : roundMsMin;
      this.#waitingFor = found;
      if (clock.monotonicMs() - saidMs >= sayMs) {
        saidMs = clock.monotonicMs();
        report.log("warn", `Not ready: ${found}`, { peers: this.#parts.peers });
      }
      await new Promise<void>((resolve) => void clock.after(roundMs, resolve));
    }
    return undefined;
  }

  /** Answers a node that asks who is here. */
  handle(question: unknown): unknown {
    const { self, settings, present } = this.#parts;
    const document = present();
    if (document !== undefined) return memberAnswer(document, question);
    return emptyAnswer({ self, settings }, this.#promised, question);
  }

  /** One look at all peers: the end of the search, or what is missing. */
  async #round(): Promise<Found<Document> | string> {
    const document = this.#parts.present();
    if (document !== undefined) return { kind: "member", document };
    const { peers, self } = this.#parts;
    const others = peers.filter((address) => !self.addresses.includes(address));
    const heard = await this.#withPromises(
      await Promise.all(
        others.map(async (address) => ({ address, answer: await this.#ask(address, true) })),
      ),
    );
    for (const { address, answer } of heard) {
      if (answer.kind === "member") return this.#meet(address, answer.document);
    }
    const { expect } = this.#parts.settings;
    if (expect === undefined) {
      // What a peer is that has not answered, nobody knows: it may have another secret.
      const silent = silentOf(heard);
      const known = silent === undefined ? "belongs to" : "has answered as one of";
      return `none of the peers (${peers.join(", ")}) ${known} a cluster. ${silent ?? ""} Start one that does, or give all of them --bootstrap-expect.`.replace(
        "  ",
        " ",
      );
    }
    return this.#begin(expect, heard);
  }

  /** Each promise that is known by its fingerprint alone is fetched once; as a rule all have promised the same. */
  async #withPromises(heard: readonly Heard<Document>[]): Promise<readonly Heard<Document>[]> {
    const known = new Map<string, Document>();
    for (const { address, answer } of heard) {
      const fingerprint = answer.kind === "empty" ? answer.fingerprint : undefined;
      if (fingerprint === undefined || known.has(fingerprint)) continue;
      const again = await this.#ask(address, false);
      if (again.kind !== "empty" || again.promised === undefined) continue;
      known.set(fingerprintOf(again.promised), again.promised);
    }
    return heard.map(({ address, answer }) => {
      if (answer.kind !== "empty" || answer.fingerprint === undefined) return { address, answer };
      const promised = known.get(answer.fingerprint);
      if (promised !== undefined) return { address, answer: { ...answer, promised } };
      const why = "its promise could not be had";
      return { address, answer: { kind: "silent", why } as const };
    });
  }

  /** Who is there; `isBrief`: of a promise its fingerprint is enough. */
  async #ask(address: string, isBrief: boolean): Promise<Answer<Document>> {
    const { ask, rules } = this.#parts;
    const promised = this.#promised;
    try {
      const raw = await ask(address, foundingTopic, foundingQuestion(promised, isBrief));
      return parseFoundingAnswer(raw, promised, (told) => rules.parse(told));
    } catch (error) {
      this.#parts.report.log("debug", "A peer gave no answer.", { address, error });
      return { kind: "silent", why: QuorateError.from(error).detail };
    }
  }

  /** There is a cluster. */
  async #meet(address: string, document: Document): Promise<Found<Document> | string> {
    const { self, adopt } = this.#parts;
    const other = this.clusterId ?? document.clusterId;
    if (other !== document.clusterId) {
      const why =
        this.#promised === undefined ? "was started with --cluster-id" : "has promised to found";
      return `${address} belongs to the cluster ${document.clusterId}, and this node ${why} ${other}. Correct --peers, or start with an empty data folder.`;
    }
    const isNamed = document.members.some(
      ({ nodeId, storeId }) => nodeId === self.nodeId && storeId === self.storeId,
    );
    if (!isNamed) return { kind: "join", address, document };
    await adopt(document);
    return { kind: "member", document };
  }

  /** All are empty: E of them, and the same E everywhere, begin a cluster. */
  async #begin(
    expect: number,
    heard: readonly Heard<Document>[],
  ): Promise<Found<Document> | string> {
    const { self, settings, rules, adopt, report } = this.#parts;
    const nodes = new Map<string, Empty<Document>>();
    for (const { answer } of heard) {
      if (answer.kind === "empty") nodes.set(answer.self.nodeId, answer);
    }
    // Its own address may be among the peers, or not.
    const own = { promised: this.#promised, fingerprint: undefined };
    nodes.set(self.nodeId, { kind: "empty", self, settings, ...own });
    const all = [...nodes.values()];
    const wrong = unlikeSettings(settings, all) ?? wrongNumber(expect, all, heard);
    if (wrong !== undefined) return wrong;
    const proposal = this.#promised ?? promiseOf(all) ?? firstDocument(rules, all, settings);
    if (typeof proposal === "string") return proposal;
    if (!isOf(proposal, all)) {
      return `this node has promised to found the cluster ${proposal.clusterId} with ${namesOf(proposal.members)}, and reaches ${namesOf(all.map((one) => one.self))}. Bring those back, or start with empty data folders.`;
    }
    await this.#promise(proposal);
    const missing = all.filter(
      (one) => one.self.nodeId !== self.nodeId && one.promised === undefined,
    );
    const other = all.find(
      ({ self: { nodeId }, promised }) =>
        nodeId !== self.nodeId && promised !== undefined && !sameDocument(promised, proposal),
    );
    if (other !== undefined) {
      return `${other.self.name} has promised another first topology than this node (an address, a name or a zone was changed since). Start both with empty data folders.`;
    }
    if (missing.length > 0)
      return `waiting for the promise of ${namesOf(missing.map((one) => one.self))}.`;
    await adopt(proposal);
    report.log("info", "The cluster is founded.", { cluster: proposal.clusterId, nodes: expect });
    return { kind: "member", document: proposal };
  }

  async #promise(document: Document): Promise<void> {
    if (this.#promised !== undefined) {
      assert(sameDocument(this.#promised, document), "founding: a promise is never changed");
      return;
    }
    await this.#slots.write({ format: foundingFormat, promised: document });
    this.#promised = document;
  }
}

const settingFlags = {
  expect: "--bootstrap-expect",
  partitions: "--partitions",
  clusterId: "--cluster-id",
} as const;

/** Names each setting that differs, and where. */
function unlikeSettings(
  own: FoundingSettings,
  nodes: readonly Empty<AgreedDocument>[],
): string | undefined {
  const unlike: string[] = [];
  for (const { self, settings } of nodes) {
    for (const name of ["expect", "partitions", "clusterId"] as const) {
      if (settings[name] === own[name]) continue;
      const shown = (value: unknown): string => (value === undefined ? "none" : String(value));
      unlike.push(
        `${self.name} has ${settingFlags[name]} ${shown(settings[name])}, and this node ${shown(own[name])}`,
      );
    }
  }
  if (unlike.length === 0) return undefined;
  return `${unlike.join("; ")}. Start all with the same settings.`;
}

function wrongNumber(
  expect: number,
  nodes: readonly Empty<AgreedDocument>[],
  heard: readonly Heard<AgreedDocument>[],
): string | undefined {
  if (nodes.length === expect) return undefined;
  const names = namesOf(nodes.map((one) => one.self));
  if (nodes.length > expect) {
    return `--bootstrap-expect is ${expect}, and ${nodes.length} nodes are here: ${names}. That is ${nodes.length - expect} too many: correct --peers or --bootstrap-expect.`;
  }
  const missing = silentOf(heard) ?? "All peers have answered: --peers names too few.";
  return `--bootstrap-expect is ${expect}, and ${nodes.length} ${nodes.length === 1 ? "node is" : "nodes are"} here: ${names}. ${missing}`;
}

/** Who has not answered, and why; undefined: all have. */
function silentOf(heard: readonly Heard<AgreedDocument>[]): string | undefined {
  const silent = heard.flatMap(({ address, answer }) =>
    answer.kind === "silent" ? [`${address} (${answer.why.replace(/\.$/, "")})`] : [],
  );
  return silent.length === 0 ? undefined : `No answer came from ${silent.join(", ")}.`;
}

/** A promise of one of them: what it says stands, should an address have changed since. */
function promiseOf<Document extends AgreedDocument>(
  nodes: readonly Empty<Document>[],
): Document | undefined {
  const promises = nodes.map(({ promised }) => promised).filter((one) => one !== undefined);
  return promises.find((one) => isOf(one, nodes));
}

/** The document, as others will read it; or why there is none. */
function firstDocument<Document extends AgreedDocument>(
  rules: FoundingRules<Document>,
  nodes: readonly Empty<Document>[],
  settings: FoundingSettings,
): Document | string {
  try {
    const document = rules.genesisOf(
      nodes.map((one) => one.self),
      settings,
    );
    return rules.parse(JSON.parse(JSON.stringify(document)));
  } catch (error) {
    const { detail, hint } = QuorateError.from(error);
    return hint === undefined ? detail : `${detail} ${hint}`;
  }
}

/** Whether a document is of exactly these nodes, with these stores. */
function isOf(document: AgreedDocument, nodes: readonly Empty<AgreedDocument>[]): boolean {
  const pairs = (members: readonly AgreedMember[]): string =>
    members
      .map(({ nodeId, storeId }) => nodeId + storeId)
      .sort()
      .join();
  return pairs(document.members) === pairs(nodes.map((one) => one.self));
}

function namesOf(members: readonly AgreedMember[]): string {
  return members
    .map(({ name }) => name)
    .sort()
    .join(", ");
}
