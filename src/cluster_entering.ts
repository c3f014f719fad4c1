/**
 * ClusterEntering: how a node comes to be a member, and stays one that is found.
 *
 * A node without a document founds a cluster with others, or asks one to take it in. A member is asked so: it
 * answers, tells the others' plans who waits, and takes in who may come at once. One that is started again looks
 * for the members of now, and says in the topology where it is reached.
 *
 *     no document ---> founding (T9) ---> all have one document
 *                          `--> a member answers ---> join: ask in turn until the document has this node
 *     a document  ---> findMembers while its start is registered ---> tellAddresses
 *
 * Invariants
 * 1. A document is made durable (`create`) before this node is told to have entered.
 * 2. A node is taken in at once only into a cluster that holds no record (T7), and with `autoJoin` by a move;
 *    any other waits.
 * 3. A node that was given a cluster's id, or has promised to found one, asks no other to take it in.
 * 4. What this node tells of itself is proposed again until the topology has it.
 *
 * Effects: Clock; nodes are asked through the peers, changes go through the agreement. Source: rules T3, T7, T9, I1.
 *
 * @module
 */

import type { AskNode } from "./agreed.ts";
import type { Agreement } from "./agreement.ts";
import { askInTurn, askMs, newsAt } from "./cluster_asking.ts";
import type { ClusterOptions } from "./cluster_options.ts";
import { Waiting } from "./cluster_waiting.ts";
import { QuorateError } from "./errors.ts";
import { Founding } from "./founding.ts";
import { type Candidate, parseCandidate } from "./founding_message.ts";
import { Admission, type JoinSeal, joinAt } from "./join.ts";
import type { Peers } from "./peers.ts";
import { memberById, type Topology } from "./topology.ts";
import { withMove } from "./topology_move.ts";
import { takingIn } from "./topology_plan.ts";
import {
  genesisOf,
  isMember,
  type MemberFacts,
  withAddresses,
  withMember,
} from "./topology_steps.ts";

export interface EnteringParts {
  readonly options: ClusterOptions;
  readonly peers: Pick<Peers, "askAt" | "status" | "found">;
  readonly agreement: Pick<Agreement<Topology>, "propose" | "learn">;
  readonly ports: {
    readonly ask: AskNode;
    /** @throws `invalid-request` for what is no document */
    parse(raw: unknown): Topology;
    /** All records that this node holds. @throws `not-ready` */
    records(): Promise<number>;
    seal(epoch: number): Promise<void>;
  };
}

/** How often the addresses of `--peers` are asked while a start waits to be registered. */
const findMs = 1000;
/** A new address that is not in the topology yet is proposed again after so long. */
const tellMs = 3000;

export class ClusterEntering {
  readonly admission: Admission<Topology, MemberFacts>;
  /** Those that have asked this node. */
  readonly waiting: Waiting;
  readonly #parts: EnteringParts;
  #founding: Founding<Topology> | undefined;
  #waitingFor = "The node is starting.";
  #takingIn: string | undefined;
  #clusterId: string | undefined;
  #cancelTelling: () => void = () => {};
  #isClosed = false;

  constructor(parts: EnteringParts) {
    const { options, agreement, ports } = parts;
    this.#parts = parts;
    this.waiting = new Waiting(options.clock);
    this.admission = new Admission<Topology, MemberFacts>({
      nodeId: options.self.nodeId,
      storeId: options.self.storeId,
      ports: {
        present: () => options.document()?.present,
        ask: ports.ask,
        propose: (step) => agreement.propose(step),
        parseFacts: (raw) => parseCandidate(raw) as MemberFacts,
        withMember: (document, facts, seals) => nextWith(document, facts, seals),
        waits: (facts) => this.#waits(facts),
        takingIn: (document, { name }) => takingIn(document, name),
        records: () => ports.records(),
        seal: (epoch) => ports.seal(epoch),
      },
    });
  }

  /** What a node that has not entered waits for. */
  get waitingFor(): string {
    return this.#founding?.waitingFor ?? this.#waitingFor;
  }

  /** The command that has this node taken in, at a member; undefined: it does not wait for that. */
  get takingIn(): string | undefined {
    return this.#takingIn;
  }

  /** Once it is found: the one cluster that this node may enter; undefined: any that is at the same places. */
  get clusterId(): string | undefined {
    return this.#clusterId;
  }

  /** While this node founds a cluster with others: what answers them. */
  get founding(): Pick<Founding<Topology>, "handle"> | undefined {
    return this.#founding;
  }

  /** Comes to a document in which this node is a member; false when the node is closed before. */
  async enter(): Promise<boolean> {
    const { options, peers, ports } = this.#parts;
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
        parse: ports.parse,
        genesisOf: (nodes, { expect, partitions, clusterId }) => {
          const document = genesisOf(nodes as readonly MemberFacts[], {
            expect: expect ?? nodes.length,
            partitions,
          });
          return clusterId === undefined ? document : { ...document, clusterId };
        },
      },
      ask: (address, topic, body) => peers.askAt(address, topic, body, askMs),
      present: () => options.document()?.present,
      adopt: (document) => options.create(document),
      clock: options.clock,
      disk: options.disk,
      report: options.report,
    });
    const found = await this.#founding.run(() => this.#isClosed);
    if (found === undefined) return false;
    // What it waited for until now is there.
    this.#clusterId = this.#founding.clusterId;
    this.#founding = undefined;
    if (found.kind === "join") await this.#join(found.address, found.document);
    return !this.#isClosed;
  }

  async #join(address: string, document: Topology): Promise<void> {
    const { options, peers, ports } = this.#parts;
    const { clock, report, create, checkJoin, self } = options;
    const named = this.#namedPeers;
    // Once it is a member, a move waits for it: what its own settings rule out is found out before.
    checkJoin(document);
    const waits = "The cluster has to take this node in.";
    this.#waitingFor = waits;
    this.#takingIn = takingIn(document, self.name);
    await joinAt<Topology>(
      {
        facts: this.#candidate(),
        parse: ports.parse,
        adopt: create,
        ask: askInTurn(peers, { address, document, named }, { clock, timeoutMs: askMs }),
        takingIn: this.#takingIn,
        clock,
        report,
        onRefused: (said, _error, command) => {
          this.#waitingFor = `${waits} ${said}`;
          this.#takingIn = command ?? this.#takingIn;
        },
      },
      () => this.#isClosed,
    );
    this.#takingIn = undefined;
  }

  /** `--peers`, without its own address. */
  get #namedPeers(): readonly string[] {
    const { peers, addresses } = this.#parts.options.settings;
    return peers.filter((address) => !addresses.includes(address));
  }

  #candidate(): Candidate {
    const { self, settings, program } = this.#parts.options;
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

  /** T9: where members are not reached, `--peers` may name one that is, and knows where they are. */
  async findMembers(isOver: () => boolean): Promise<void> {
    const { options, peers, agreement } = this.#parts;
    const { clock, document } = options;
    const others = this.#namedPeers;
    while (!isOver() && !this.#isClosed) {
      const isAway = peers.status().some(({ isOpen }) => !isOpen);
      const epoch = document()?.present.epoch ?? 0;
      for (const news of isAway ? await newsAt(peers, others, epoch, askMs) : []) {
        if (news.document !== undefined) await agreement.learn(news.document).catch(() => {});
        for (const place of news.places) peers.found(place);
      }
      await new Promise<void>((resolve) => clock.after(findMs, resolve));
    }
  }

  /** A member that is reached elsewhere now, or runs on another host, says so in the topology. */
  tellAddresses(): void {
    const { self, settings, document, report, clock } = this.#parts.options;
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
    this.#parts.agreement
      .propose(step)
      .catch((error: unknown) => {
        const why = QuorateError.from(error).detail;
        report.log("warn", "The new address of this node is not in the topology yet.", { why });
      })
      .finally(() => {
        // Another change may have come first, or too few of the voters have answered.
        if (!this.#isClosed) this.#cancelTelling = clock.after(tellMs, () => this.tellAddresses());
      });
  }

  close(): void {
    this.#isClosed = true;
    this.#cancelTelling();
  }

  #waits(facts: MemberFacts): void {
    const { settings, report, document } = this.#parts.options;
    const present = document()?.present;
    // Without a document this node would not see that the other comes and goes: whoever still waits asks again.
    if (present === undefined || !this.waiting.note(facts)) return;
    if (settings.autoJoin !== true || present.move !== undefined) return;
    if (present.members.some(({ name }) => name === facts.name)) return;
    const change = { join: [facts], leave: [], replace: [], sites: [] };
    this.#parts.agreement
      .propose((base) =>
        isMember(base, facts) || base.move !== undefined ? undefined : withMove(base, change),
      )
      .catch((error: unknown) => {
        const why = QuorateError.from(error).detail;
        report.log("warn", `'${facts.name}' could not be taken in yet.`, { why });
      });
  }
}

/** The next document with a member more; one that cannot be in it at once is told that it waits. */
function nextWith(document: Topology, facts: MemberFacts, seals: readonly JoinSeal[]) {
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
