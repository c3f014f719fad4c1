/**
 * Register store: what this node has promised and accepted as a voter, durable before it is told.
 *
 * Only one instance is open at a time: the one that chooses the document after the present one (T1).
 * A voter that is behind says so, one that is ahead says that the instance is closed; both name
 * their epoch, and the proposer brings or takes the document. When the next document is chosen and
 * durable here, the instance before is forgotten with the next promise: nobody can open it again.
 *
 * Invariants
 * 1. What a reply tells is on the disk, twice, before the reply is given.
 * 2. The state kept is of one instance, and is never used for another.
 * 3. Requests are answered one after another.
 *
 * Effects: Disk. Source: rule T1; Lamport, "Paxos made simple" (2001), section 2.2: "stable storage
 * ... is used to maintain the information that the acceptor must remember".
 *
 * @module
 */

import { isCount, isFields, isId } from "./agreed.ts";
import type { Disk } from "./capability.ts";
import { QuorateError } from "./errors.ts";
import type { VoterState } from "./register.ts";
import { parseVoterState, stepVoter, type VoterReply, type VoterRequest } from "./register.ts";
import { Slots } from "./slots.ts";

const slotName = "register";
const registerFormat = 1;

/** The instance that chooses the document after `epoch`. */
export interface Instance {
  readonly clusterId: string;
  readonly epoch: number;
}

export type StoreReply =
  | VoterReply
  /** This voter does not hold document `instance.epoch` yet; it holds `epoch`. */
  | { readonly kind: "behind"; readonly epoch: number }
  /** The next document is chosen, and this voter holds `epoch`. */
  | { readonly kind: "closed"; readonly epoch: number };

interface Kept {
  readonly instance: Instance;
  readonly state: VoterState;
}

/** The voter of this node. */
export class RegisterStore {
  readonly #slots: Slots;
  #kept: Kept | undefined;
  #last: Promise<unknown> = Promise.resolve();

  private constructor(slots: Slots, kept: Kept | undefined) {
    this.#slots = slots;
    this.#kept = kept;
  }

  /** @throws `wrong-data-folder`, `corruption` */
  static async open(disk: Disk): Promise<RegisterStore> {
    const slots = await Slots.open(disk, slotName);
    if (slots.found === undefined) return new RegisterStore(slots, undefined);
    const kept = parseKept(slots.found);
    await slots.settle();
    return new RegisterStore(slots, kept);
  }

  /** Answers a proposer. `present` is the durable document when the request's turn comes. */
  answer(
    instance: Instance,
    request: VoterRequest,
    present: () => Instance | undefined,
  ): Promise<StoreReply> {
    const turn = this.#last.then(() => this.#answer(instance, request, present()));
    this.#last = turn.catch(() => {});
    return turn;
  }

  async #answer(
    instance: Instance,
    request: VoterRequest,
    present: Instance | undefined,
  ): Promise<StoreReply> {
    if (present !== undefined && present.clusterId !== instance.clusterId) {
      throw new QuorateError(
        "wrong-data-folder",
        `A node asked for a vote in the cluster ${instance.clusterId}, and this one is of ${present.clusterId}.`,
        { outcome: "none", hint: "Give each cluster peers of its own." },
      );
    }
    if (present === undefined || present.epoch < instance.epoch) {
      return { kind: "behind", epoch: present?.epoch ?? 0 };
    }
    if (present.epoch > instance.epoch) return { kind: "closed", epoch: present.epoch };
    const before = this.#stateOf(instance);
    const { state, reply } = stepVoter(before, request);
    if (state !== before) {
      const kept: Kept = { instance, state };
      await this.#slots.write({ format: registerFormat, ...kept });
      this.#kept = kept;
    }
    return reply;
  }

  #stateOf({ clusterId, epoch }: Instance): VoterState {
    const kept = this.#kept;
    const isOpen = kept?.instance.clusterId === clusterId && kept.instance.epoch === epoch;
    return isOpen ? kept.state : {};
  }
}

function parseKept(found: unknown): Kept {
  const raw = isFields(found) ? found : {};
  if (raw["format"] !== registerFormat) {
    throw new QuorateError(
      "wrong-data-folder",
      `What this node promised as a voter has format ${String(raw["format"])}, and this version of the program reads format ${registerFormat}.`,
      { hint: "Use the version of Quorate that wrote it, or a newer one." },
    );
  }
  const instance = isFields(raw["instance"]) ? raw["instance"] : {};
  const { clusterId, epoch } = instance;
  const state = parseVoterState(raw["state"]);
  if (isId(clusterId) && isCount(epoch) && state !== undefined) {
    return { instance: { clusterId, epoch }, state };
  }
  throw new QuorateError("corruption", "What this node promised as a voter contradicts itself.", {
    hint: "Restore register.a and register.b from a copy; they were not changed. Without them its vote could choose a second document.",
  });
}
