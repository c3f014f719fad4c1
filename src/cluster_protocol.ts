/**
 * ClusterProtocol: how a cluster turns on a version of its protocol that all its members have come to speak.
 *
 * Each node tells its versions in the handshake. When a voter has links to all other members, and the least
 * of what they speak lies above what is on, it asks each of them for a promise: that no program which
 * lacks that version will ever open its data folder. Only when all have promised, durably, is the version
 * proposed as a next document, with what each member runs. So nobody can come back with an earlier
 * program, not even one that is stopped in the same moment: it is refused at its start.
 *
 *     n1 (voter)  links: n2 1-2, n3 1-2         all speak 2, and 1 is on
 *                 pledge 2 -> n1, n2, n3        each writes it into its folder, and tells its program
 *                 propose e+1: version 2 on     chosen: the document has format 4, and all programs
 *
 * Voters look one after another, so that they do not get in each other's way. From then on a member that
 * starts with another program says so in the document.
 *
 * Invariants
 * 1. A version is proposed only when every member of the document before has promised it.
 * 2. A promise is durable before it is told, and is never taken back.
 * 3. The question is put only on links that speak the version it is about: others do not know it.
 *
 * Effects: Clock, Report; members are asked through ports. Source: docs/upgrading.md; rule T1, and T7 for
 * promises that come before a document.
 *
 * @module
 */

import { type AskNode, isFields, isId, nonsense } from "./agreed.ts";
import type { ProtocolAnswer } from "./api.ts";
import type { Clock, Report } from "./capability.ts";
import { QuorateError } from "./errors.ts";
import {
  isVersion,
  type MemberProgram,
  parseProgram,
  programOfOne,
  speaks,
  spokenByAll,
} from "./protocol.ts";
import { protocolOf, type Topology } from "./topology.ts";
import { protocolAnswer } from "./topology_status.ts";
import { withProgram, withProtocol } from "./topology_steps.ts";

export const pledgeTopic = "pledge";

export interface ProtocolPorts {
  present(): Topology | undefined;
  readonly ask: AskNode;
  /** What a member runs, and the version on the link to it; undefined while there is none. */
  programOf(nodeId: string): MemberProgram | undefined;
  protocolWith(nodeId: string): number | undefined;
  /** Makes the promise durable in this node's folder. */
  pledge(protocol: number): Promise<void>;
  propose(step: (present: Topology) => Topology | undefined): Promise<unknown>;
}

export interface ProtocolParts {
  readonly nodeId: string;
  readonly program: MemberProgram;
  readonly ports: ProtocolPorts;
  readonly clock: Clock;
  readonly report: Report;
}

const lookMs = 1000;
/** The second voter waits for so many looks longer than the first, and so on. */
const looksPerVoter = 3;

export class ClusterProtocol {
  readonly #parts: ProtocolParts;
  #cancel: () => void = () => {};
  #isClosed = false;
  /** Looks in a row at which all spoke more than what is on. */
  #agreeingCount = 0;

  constructor(parts: ProtocolParts) {
    this.#parts = parts;
  }

  /** Looks at once, and again for as long as there may be something to turn on, or to tell. */
  begin(): void {
    void this.#look();
  }

  close(): void {
    this.#isClosed = true;
    this.#cancel();
  }

  /** What is on, what the members speak, and who is waited for. */
  answer(): ProtocolAnswer {
    const { ports, nodeId, program } = this.#parts;
    const present = ports.present();
    if (present === undefined)
      throw new QuorateError("not-ready", "This node is in no cluster yet.");
    return protocolAnswer(present, (member) =>
      member.nodeId === nodeId ? program : (ports.programOf(member.nodeId) ?? member.program),
    );
  }

  /** Answers a member that asks for the promise. @throws `invalid-request` for a version not spoken here */
  async handle(body: unknown): Promise<unknown> {
    const { clusterId, protocol } = isFields(body) ? body : {};
    if (!isId(clusterId) || !isVersion(protocol)) throw nonsense("a request for a promise");
    const { ports, program } = this.#parts;
    if (ports.present()?.clusterId !== clusterId || !speaks(program, protocol)) {
      throw new QuorateError(
        "invalid-request",
        `This node speaks versions ${program.lowest} to ${program.highest} of the protocol, and ${protocol} was to be promised.`,
        {
          outcome: "none",
          hint: "Start it with the version of Quorate that the other members run.",
        },
      );
    }
    await ports.pledge(protocol);
    return { kind: "pledged", protocol, program };
  }

  async #look(): Promise<void> {
    try {
      await this.#turnOn();
      await this.#tellOwn();
    } catch (error) {
      const why = QuorateError.from(error).detail;
      this.#parts.report.log("debug", "A version of the protocol is not turned on yet.", { why });
    }
    if (this.#isClosed || !this.#isOpen) return;
    this.#cancel = this.#parts.clock.after(lookMs, () => void this.#look());
  }

  /** Whether there may be something to do. */
  get #isOpen(): boolean {
    const present = this.#parts.ports.present();
    if (present === undefined) return true;
    const { program } = this.#parts;
    return protocolOf(present) < program.highest || this.#isUntold(present);
  }

  /** Whether the document says that this member runs another program. */
  #isUntold(topology: Topology): boolean {
    const { nodeId, program } = this.#parts;
    return withProgram(topology, nodeId, program) !== undefined;
  }

  async #tellOwn(): Promise<void> {
    const { ports, nodeId, program } = this.#parts;
    const present = ports.present();
    if (present === undefined || !this.#isUntold(present)) return;
    await ports.propose((topology) => withProgram(topology, nodeId, program));
  }

  async #turnOn(): Promise<void> {
    const { ports, nodeId, program, report } = this.#parts;
    const present = ports.present();
    const rank = present?.voters.indexOf(nodeId) ?? -1;
    if (present === undefined || rank === -1) return;
    // A member that cannot be asked may have come back with an earlier program.
    const protocol = spokenByAll([
      program,
      ...present.members.flatMap((member) =>
        member.nodeId === nodeId ? [] : [ports.programOf(member.nodeId) ?? programOfOne(1)],
      ),
    ]);
    if (protocol <= protocolOf(present)) {
      this.#agreeingCount = 0;
      return;
    }
    this.#agreeingCount += 1;
    if (this.#agreeingCount <= rank * looksPerVoter) return;
    const programs = await this.#pledges(present, protocol);
    await ports.propose((topology) => withProtocol(topology, protocol, programs));
    const on = ports.present();
    if (on === undefined || protocolOf(on) < protocol) return;
    report.sometimes("cluster: a version was turned on");
    report.log("info", "All members speak a newer version of the protocol: it is turned on.", {
      protocol,
      epoch: on.epoch,
    });
  }

  /** What each member runs, once it has promised. @throws when one does not */
  async #pledges(
    { clusterId, members }: Topology,
    protocol: number,
  ): Promise<ReadonlyMap<string, MemberProgram>> {
    const { ports, nodeId: own } = this.#parts;
    const body = { clusterId, protocol };
    const pledges = members.map(async ({ nodeId, name }): Promise<[string, MemberProgram]> => {
      if (nodeId !== own && (ports.protocolWith(nodeId) ?? 1) < protocol) {
        throw new QuorateError("not-ready", `The link to '${name}' does not speak it.`);
      }
      const raw = await (nodeId === own ? this.handle(body) : ports.ask(nodeId, pledgeTopic, body));
      const told = isFields(raw) ? parseProgram(raw["program"]) : undefined;
      if (told === undefined || !isFields(raw) || raw["protocol"] !== protocol) {
        throw nonsense("an answer to a request for a promise");
      }
      return [nodeId, told];
    });
    return new Map(await Promise.all(pledges));
  }
}
