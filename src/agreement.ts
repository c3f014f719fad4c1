/**
 * Agreement: how a cluster comes to its next topology document.
 *
 * Whoever wants a change computes the next document from the present one with a step, and proposes
 * it to the voters that the present one names (`register`). One document is chosen. It is adopted
 * durably here, and then told to all members; gossip carries it to those that were away.
 *
 *     propose(step)   present e -> next e+1 -> prepare, accept at the voters of e
 *       ours chosen     -> adopt, tell everyone, { kind: "won" }
 *       another chosen  -> adopt that one,       { kind: "lost" }: the caller decides anew
 *     change(step)    the same for a client; where nothing is to be changed the voters of e are asked whether
 *                     e is the newest first (T1)
 *
 * A voter that is behind is given the document; one that is ahead makes us take its. Proposers that
 * meet begin again after a random while that grows, so that one of them gets through.
 *
 * Invariants
 * 1. Only a chosen document is adopted, told or handed out, and epochs only go up.
 * 2. A document is durable here before it is told to anyone (T2).
 * 3. The proposals of this node run one after another.
 * 4. `outcome` is `none` only when no voter was sent our value.
 *
 * Effects: Clock, Random; nodes are asked through a port, the voter's disk is `register_store`'s.
 * Source: rules T1, T2, I2; Lamport, "Paxos made simple" (2001).
 *
 * @module
 */

import {
  type AgreedDocument,
  type AskNode,
  type DocumentRules,
  isCount,
  isFields,
  isId,
  nonsense,
  sameDocument,
} from "./agreed.ts";
import { type BootReply, type Boots, parseBootReply, parseStart, type Start } from "./boots.ts";
import type { Clock, Random, Report } from "./capability.ts";
import { QuorateError } from "./errors.ts";
import { majority } from "./level.ts";
import {
  Proposer,
  type ProposerDecision,
  parseVoterReply,
  parseVoterRequest,
  type VoterRequest,
} from "./register.ts";
import type { RegisterStore, StoreReply } from "./register_store.ts";

/** A question to a voter. */
export const voteTopic = "paxos";
/** A question for a document above an epoch. */
export const documentTopic = "document";
/** What nodes ask each other for here. */
export const agreementTopics = [voteTopic, documentTopic, "learn", "boot"] as const;

/** How often a start that waits for voters says so. */
const sayMs = 10_000;

export interface AgreementPorts<Document extends AgreedDocument> {
  /** The durable document; undefined while this node is in no cluster. */
  present(): Document | undefined;
  /** Makes a chosen document the present one, durably; one that is not newer changes nothing. */
  adopt(document: Document): Promise<void>;
  readonly ask: AskNode;
  /** Why this node's vote is void (I3); undefined: it counts. */
  whyNoVote?(): string | undefined;
  /** A vote was given: makes it show in the sequence by which a rolled back store is known (I3). */
  voted?(): Promise<void>;
}

export interface AgreementSettings {
  /** How long a proposal may take. */
  readonly deadlineMs: number;
  /** How long the voters' answers to one question are waited for. */
  readonly answerMs: number;
  /** The random pause before another try: 0 to this, doubled with each, up to the most. */
  readonly pauseMs: number;
  readonly pauseMsMax: number;
}

const agreementDefault = {
  deadlineMs: 10_000,
  answerMs: 2000,
  pauseMs: 50,
  pauseMsMax: 2000,
};

export type Proposed<Document> =
  /** The document is chosen, durable here, and what was proposed. */
  | { readonly kind: "won"; readonly document: Document }
  /** The step found nothing to change. */
  | { readonly kind: "unchanged"; readonly document: Document }
  /** Another document was chosen. `outcome`: whether ours may have been one in between. */
  | {
      readonly kind: "lost";
      readonly document: Document;
      readonly outcome: "none" | "unknown";
    };

export interface AgreementParts<Document extends AgreedDocument> {
  readonly nodeId: string;
  readonly rules: DocumentRules<Document>;
  readonly ports: AgreementPorts<Document>;
  readonly voter: RegisterStore;
  readonly boots: Boots;
  readonly clock: Clock;
  readonly random: Random;
  readonly report: Report;
  readonly settings?: AgreementSettings;
}

/** One proposal on its way; without a document of its own it asks whether there is a newer one. */
interface Attempt<Document> {
  readonly base: Document;
  readonly next: Document | undefined;
  readonly endMs: number;
  hasProposed: boolean;
}

export class Agreement<Document extends AgreedDocument> {
  readonly #parts: AgreementParts<Document>;
  readonly #settings: AgreementSettings;
  #last: Promise<unknown> = Promise.resolve();
  /** Resolves when the members have heard of what this node had chosen last, or do not answer. */
  #told: Promise<unknown> = Promise.resolve();
  /** The highest ballot that this node knows of in the instance of an epoch: one begins above it at once. */
  #tried = { epoch: 0, round: 0 };

  constructor(parts: AgreementParts<Document>) {
    this.#parts = parts;
    this.#settings = parts.settings ?? agreementDefault;
  }

  /**
   * Proposes what `step` makes of the present document. Its deadline counts from here: one that waits
   * too long for its turn behind others is not begun.
   *
   * @throws `timeout` with what is known, `not-ready` in no cluster, and what `step` throws
   */
  propose(step: (present: Document) => Document | undefined): Promise<Proposed<Document>> {
    return this.#inTurn((endMs) => this.#propose(step, endMs));
  }

  /**
   * The same for a client, which may go on at any other member: those that answer have adopted the
   * document by then. That there is nothing to change is told of the newest document there is (T1): this
   * node may not have heard of it yet. @throws `contention` with the new epoch when another document won
   */
  async change(step: (present: Document) => Document | undefined): Promise<Document> {
    const proposed = await this.#inTurn((endMs) => this.#proposeToNewest(step, endMs));
    if (proposed.kind !== "lost") {
      await this.#told;
      return proposed.document;
    }
    const { document, outcome } = proposed;
    throw new QuorateError(
      "contention",
      `Another change of the topology came first; the epoch is ${document.epoch} now.`,
      {
        outcome,
        epoch: document.epoch,
        hint: "Look at the topology, and ask for the change again.",
      },
    );
  }

  /** Takes a chosen document that a member handed out; answers the present one after that. */
  async learn(raw: unknown): Promise<Document> {
    const document = this.#parts.rules.parse(raw);
    const present = this.#parts.ports.present();
    if (present !== undefined && present.clusterId !== document.clusterId) {
      throw foreignCluster(present, document);
    }
    if (present === undefined || document.epoch > present.epoch) {
      await this.#parts.ports.adopt(document);
      this.#parts.report.sometimes("agreement learned a document");
    }
    return this.#parts.ports.present() ?? document;
  }

  /** Takes the document of a node that told a newer epoch. */
  async catchUp(nodeId: string): Promise<void> {
    const epoch = this.#parts.ports.present()?.epoch ?? 0;
    const reply = await this.#askInTime(nodeId, documentTopic, { above: epoch });
    if (isFields(reply) && isFields(reply["document"])) await this.learn(reply["document"]);
  }

  /**
   * Takes the document of a node that does not know this one as a member; or, where ours is the newer
   * one, gives it that: all whom it knows may be gone.
   */
  async reconcile(nodeId: string): Promise<void> {
    const { ports } = this.#parts;
    const before = ports.present();
    await this.catchUp(nodeId);
    const present = ports.present();
    if (present === undefined || present !== before) return;
    await this.#askInTime(nodeId, "learn", present);
  }

  /** Answers another node on one of `agreementTopics`. */
  async handle(topic: string, body: unknown): Promise<unknown> {
    switch (topic) {
      case voteTopic:
        return this.#vote(body);
      case documentTopic:
        return this.#handOut(body);
      case "learn":
        return { epoch: (await this.learn(body)).epoch };
      case "boot":
        return this.#registered(parseStart(body));
      default:
        throw nonsense(`the topic '${topic}'`);
    }
  }

  /**
   * Registers this start with a majority of the voters (I2); tries until it has, or `isEnded`.
   *
   * @throws `data-folder-in-use` when a later start, or a copy of the folder, is registered
   */
  async registerStart(start: Start, isEnded: () => boolean = () => false): Promise<void> {
    const { clock, report, ports, nodeId } = this.#parts;
    let saidMs = clock.monotonicMs();
    for (let attempt = 0; !isEnded(); attempt += 1) {
      const present = ports.present();
      let silent: readonly string[] = [];
      if (present !== undefined) {
        silent = await this.#registerOnce(start, present.voters);
        if (present.voters.length - silent.length >= majority(present.voters.length)) return;
        // The voters may be others by now, and this node no member: any member may know.
        const ids = present.members.map((member) => member.nodeId);
        const known = [...new Set([...present.voters, ...ids])];
        const one = known[attempt % known.length];
        if (one !== undefined && one !== nodeId) await this.catchUp(one).catch(() => {});
        if (this.#isGone) throw gone(ports.present()?.epoch ?? 0);
      }
      if (clock.monotonicMs() - saidMs >= sayMs) {
        saidMs = clock.monotonicMs();
        const nameOf = (id: string): string =>
          present?.members.find((member) => member.nodeId === id)?.name ?? id;
        report.log("warn", "Not ready: a majority of the voters has to register this start.", {
          boot: start.boot,
          voters: present?.voters.map(nameOf) ?? [],
          silent: silent.map(nameOf),
        });
      }
      await this.#pause(attempt);
    }
  }

  /** Whether the present document does not name this node. */
  get #isGone(): boolean {
    const members = this.#parts.ports.present()?.members;
    return members?.some(({ nodeId }) => nodeId === this.#parts.nodeId) === false;
  }

  /** The voters that did not answer. */
  async #registerOnce(start: Start, voters: readonly string[]): Promise<readonly string[]> {
    const asks = voters.map(async (voter) => {
      if (voter === this.#parts.nodeId) return this.#registered(start);
      return parseBootReply(await this.#askInTime(voter, "boot", start));
    });
    const replies = await Promise.allSettled(asks);
    for (const reply of replies) {
      if (reply.status === "rejected") continue;
      if (reply.value.kind === "outdated") throw startedTwice(start, reply.value.boot);
    }
    return voters.filter((_, index) => replies[index]?.status === "rejected");
  }

  #registered(start: Start): Promise<BootReply> {
    const isMember = (nodeId: string): boolean =>
      this.#parts.ports.present()?.members.some((member) => member.nodeId === nodeId) ?? false;
    return this.#parts.boots.register(start, isMember);
  }

  #inTurn(run: (endMs: number) => Promise<Proposed<Document>>): Promise<Proposed<Document>> {
    const endMs = this.#parts.clock.monotonicMs() + this.#settings.deadlineMs;
    const turn = this.#last.then(() => run(endMs));
    this.#last = turn.catch(() => {});
    return turn;
  }

  async #proposeToNewest(
    step: (present: Document) => Document | undefined,
    endMs: number,
  ): Promise<Proposed<Document>> {
    for (;;) {
      const proposed = await this.#propose(step, endMs);
      if (proposed.kind !== "unchanged") return proposed;
      const base = proposed.document;
      const asked = await this.#choose({ base, next: undefined, endMs, hasProposed: false });
      if (asked.kind === "unchanged") return asked;
    }
  }

  async #propose(
    step: (present: Document) => Document | undefined,
    endMs: number,
  ): Promise<Proposed<Document>> {
    const { ports, rules } = this.#parts;
    const base = ports.present();
    if (base === undefined) {
      throw new QuorateError("not-ready", "This node is in no cluster yet.", {
        outcome: "none",
        hint: "GET /readyz?verbose says what it waits for.",
      });
    }
    const made = step(base);
    if (made === undefined) return { kind: "unchanged", document: base };
    // As the others will read it, so that it can be compared with what they choose.
    const next = rules.parse(JSON.parse(JSON.stringify(made)));
    const why = rules.whyNotSuccessor(base, next);
    if (why !== undefined)
      throw new QuorateError("internal", `The next topology is wrong: ${why}.`);
    return this.#choose({ base, next, endMs, hasProposed: false });
  }

  async #choose(attempt: Attempt<Document>): Promise<Proposed<Document>> {
    const { ports, nodeId, clock, report } = this.#parts;
    const { base, next, endMs } = attempt;
    let round = this.#tried.epoch === base.epoch ? this.#tried.round : 0;
    for (let ballots = 0; ; ballots += 1) {
      const present = ports.present() ?? base;
      if (present.epoch > base.epoch) return verdict(attempt, present);
      if (clock.monotonicMs() >= endMs) {
        const whyNoVote = base.voters.includes(nodeId) ? ports.whyNoVote?.() : undefined;
        throw outOfTime(attempt, this.#settings.deadlineMs, whyNoVote);
      }
      const proposer = new Proposer({ round: round + 1, nodeId }, base.voters, next);
      const decided = await this.#ballot(attempt, proposer);
      round = Math.max(round + 1, proposer.roundSeen);
      this.#tried = { epoch: base.epoch, round };
      if (decided?.kind === "open") return { kind: "unchanged", document: base };
      if (decided?.kind === "chosen") {
        const document = this.#parts.rules.parse(decided.value);
        // It is chosen, whatever this node meets: others may hear of it by the next proposal.
        await ports.adopt(document).catch((error: unknown) => {
          throw next === undefined ? error : untold(error);
        });
        this.#told = this.#tell(base, document);
        return verdict(attempt, document);
      }
      report.sometimes("agreement began another ballot");
      await this.#pause(ballots);
    }
  }

  /** One ballot, until it is decided or nobody answers any more. */
  async #ballot(
    attempt: Attempt<Document>,
    proposer: Proposer,
  ): Promise<ProposerDecision | undefined> {
    let request: VoterRequest | undefined = proposer.begin();
    while (request !== undefined) {
      if (proposer.hasProposed && attempt.next !== undefined) attempt.hasProposed = true;
      const decision = await this.#askVoters(attempt.base, proposer, request);
      if (decision.kind === "chosen" || decision.kind === "open") return decision;
      request = decision.kind === "ask" ? decision.request : undefined;
    }
    return undefined;
  }

  /** Asks all voters at once; resolves with the first decision, or `wait` when all have answered. */
  #askVoters(base: Document, proposer: Proposer, request: VoterRequest): Promise<ProposerDecision> {
    const instance = { clusterId: base.clusterId, epoch: base.epoch };
    return new Promise((resolve, reject) => {
      let open = base.voters.length;
      const askOne = async (voter: string): Promise<void> => {
        const body = { ...instance, request };
        try {
          const isOwn = voter === this.#parts.nodeId;
          if (isOwn && this.#parts.ports.whyNoVote?.() !== undefined) {
            this.#parts.report.sometimes("agreement: own vote is void");
          } else {
            const raw = isOwn
              ? await this.#vote(body)
              : await this.#askInTime(voter, voteTopic, body);
            const reply = parseVoterReply(raw);
            if (reply === undefined) await this.#level(voter, base, raw);
            else {
              const decision = proposer.step(voter, reply);
              if (decision.kind !== "wait") resolve(decision);
            }
          }
        } catch (error) {
          // Our own disk has failed: that is no silence of a voter.
          if (voter === this.#parts.nodeId) reject(error);
          this.#parts.report.count("agreement_voters_silent");
        }
        open -= 1;
        if (open === 0) resolve({ kind: "wait" });
      };
      // Its own first: what the others are sent then tells a sequence that its vote is in (I3).
      const { nodeId } = this.#parts;
      const own = base.voters.includes(nodeId) ? askOne(nodeId) : Promise.resolve();
      void own.then(() => {
        for (const voter of base.voters) if (voter !== nodeId) void askOne(voter);
      });
    });
  }

  /** Brings a voter that is behind our document, or takes that of one that is ahead. */
  async #level(voter: string, base: Document, raw: unknown): Promise<void> {
    const reply = isFields(raw) ? raw : {};
    if (reply["kind"] === "behind") await this.#askInTime(voter, "learn", base);
    else if (reply["kind"] === "closed" && voter !== this.#parts.nodeId) await this.catchUp(voter);
  }

  async #vote(body: unknown): Promise<StoreReply> {
    const raw = isFields(body) ? body : {};
    const { clusterId, epoch } = raw;
    const request = parseVoterRequest(raw["request"]);
    if (!isId(clusterId) || !isCount(epoch) || request === undefined) {
      throw nonsense("a proposal of a topology");
    }
    const { ports, voter, rules, nodeId } = this.#parts;
    const whyNoVote = ports.whyNoVote?.();
    if (whyNoVote !== undefined) throw voidVote(whyNoVote);
    const present = ports.present();
    if (present?.epoch === epoch && !present.voters.includes(nodeId)) {
      throw refused(`node ${nodeId} is no voter in epoch ${epoch}`);
    }
    if (present?.epoch === epoch && request.kind === "accept") {
      const why = rules.whyNotSuccessor(present, rules.parse(request.value));
      if (why !== undefined) throw refused(why);
    }
    const reply = await voter.answer({ clusterId, epoch }, request, () => ports.present());
    if (reply.kind === "promised" || reply.kind === "accepted") {
      // The vote stands, whatever its mark meets: what is proposed may still be chosen.
      await ports.voted?.().catch((error: unknown) => {
        throw untold(error);
      });
    }
    return reply;
  }

  /** Our document, to a node that holds an older one. */
  #handOut(body: unknown): { readonly document: Document | null } {
    const above = isFields(body) && isCount(body["above"]) ? body["above"] : 0;
    const present = this.#parts.ports.present();
    return { document: present !== undefined && present.epoch > above ? present : null };
  }

  /** Tells all members; never rejects. Gossip reaches those that miss it. */
  async #tell(base: Document, document: Document): Promise<void> {
    // Who is no member any more has to know it.
    const gone = base.members.filter(
      ({ nodeId }) => !document.members.some((member) => member.nodeId === nodeId),
    );
    const others = [...document.members, ...gone].filter(
      ({ nodeId }) => nodeId !== this.#parts.nodeId,
    );
    const tellOne = async (nodeId: string): Promise<void> => {
      try {
        await this.#askInTime(nodeId, "learn", document);
      } catch {
        this.#parts.report.count("agreement_members_not_told");
      }
    };
    await Promise.all(others.map(({ nodeId }) => tellOne(nodeId)));
  }

  /** An answer in `answerMs`, or a rejection, whatever the port does. */
  #askInTime(nodeId: string, topic: string, body: unknown): Promise<unknown> {
    const { clock, ports } = this.#parts;
    return new Promise((resolve, reject) => {
      const { answerMs } = this.#settings;
      const cancel = clock.after(answerMs, () => {
        reject(new QuorateError("timeout", `Node ${nodeId} did not answer in ${answerMs} ms.`));
      });
      ports.ask(nodeId, topic, body).then(resolve, reject).finally(cancel);
    });
  }

  #pause(attempts: number): Promise<void> {
    const { clock, random } = this.#parts;
    const { pauseMs, pauseMsMax } = this.#settings;
    let mostMs = pauseMs;
    for (let time = 0; time < attempts && mostMs < pauseMsMax; time += 1) mostMs *= 2;
    const delayMs = (Math.min(mostMs, pauseMsMax) * random.u32()) / 2 ** 32;
    return new Promise((resolve) => void clock.after(delayMs, resolve));
  }
}

/** Whether ours won, seen from a chosen document that came after its base. */
function verdict<Document extends AgreedDocument>(
  { base, next, hasProposed }: Attempt<Document>,
  document: Document,
): Proposed<Document> {
  if (next === undefined) return { kind: "lost", document, outcome: "none" };
  if (document.epoch === base.epoch + 1) {
    if (sameDocument(document, next)) return { kind: "won", document };
    return { kind: "lost", document, outcome: "none" };
  }
  // The one in between is not known here: it was ours, or not.
  return { kind: "lost", document, outcome: hasProposed ? "unknown" : "none" };
}

function outOfTime(
  { base, next, hasProposed }: Attempt<AgreedDocument>,
  deadlineMs: number,
  whyNoVote: string | undefined,
): QuorateError {
  const needed = majority(base.voters.length);
  const own = whyNoVote === undefined ? "" : ` This node does not vote: ${whyNoVote}.`;
  const what =
    next === undefined
      ? `Whether the topology of epoch ${base.epoch} is the newest was not found out`
      : `The topology after epoch ${base.epoch} was not chosen`;
  return new QuorateError(
    "timeout",
    `${what} in ${deadlineMs} ms: ${needed} of ${base.voters.length} voters have to answer.${own}`,
    {
      outcome: hasProposed ? "unknown" : "none",
      needed,
      epoch: base.epoch,
      hint: "Bring the voters back (quorate cluster status names those whose vote is void), or ask for fewer changes at once; look at the topology, and ask again.",
    },
  );
}

function startedTwice({ boot }: Start, registered: number): QuorateError {
  const what =
    registered === boot
      ? `Start ${boot} of this node is registered by another process`
      : `This is start ${boot} of this node, and start ${registered} is registered`;
  return new QuorateError(
    "data-folder-in-use",
    `${what}: the data folder was copied, or an old copy was brought back.`,
    {
      hint: "Stop the other copy, and keep the newer folder. Where this one is all that is left, start it until it is taken: each start counts on. It fills what it lacks from the others.",
    },
  );
}

function foreignCluster(present: AgreedDocument, other: AgreedDocument): QuorateError {
  return new QuorateError(
    "wrong-data-folder",
    `A topology of the cluster ${other.clusterId} came to a node of ${present.clusterId}.`,
    { outcome: "none", hint: "Give each cluster peers of its own." },
  );
}

function gone(epoch: number): QuorateError {
  return new QuorateError(
    "wrong-data-folder",
    `This node is no member of its cluster any more, since epoch ${epoch} at the latest.`,
    {
      hint: "It can be stopped. To take it in again, start it with an empty data folder and --peers.",
    },
  );
}

/** Whatever it says of an outcome: the document may be chosen. */
function untold(error: unknown): QuorateError {
  const { slug, detail } = QuorateError.from(error);
  return new QuorateError(slug, detail, { outcome: "unknown", cause: error });
}

function voidVote(why: string): QuorateError {
  return new QuorateError("not-ready", `This node does not vote: ${why}.`, { outcome: "none" });
}

function refused(why: string): QuorateError {
  return new QuorateError("invalid-request", `The proposal of a topology is refused: ${why}.`, {
    outcome: "none",
    hint: "Run the same version of Quorate on all nodes.",
  });
}
