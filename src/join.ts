/**
 * Join: how an empty node becomes a member of a cluster that holds nothing yet.
 *
 * A watermark counts as a record: below it something was deleted, and who joins at once begins without one.
 *
 * The node asks a member at an address. That member checks what can be refused at once (a name that
 * is taken, an unknown store under a known id), asks all members whether they hold records, then has
 * them seal the present epoch (they take no write under it any more) and say so again, and proposes
 * the document with one member more. The next epoch ends the seal, whether it brought the node or not.
 *
 *     empty -> n1: join      n1 -> all: records?  0 0 0
 *                            n1 -> all: seal e    sealed, 0 0 0
 *                            n1: propose e+1      chosen -> empty: joined, document e+1
 *
 * Invariants
 * 1. Nothing is sealed before every member has said that it holds no record.
 * 2. The document is proposed upon exactly the epoch that was sealed (T7).
 * 3. A seal whose join failed is ended by an epoch that changes nothing else.
 *
 * Effects: Clock; nodes are asked through ports. Source: rules T7, I1.
 *
 * @module
 */

import {
  type AgreedDocument,
  type AskNode,
  isCount,
  isFields,
  isId,
  nonsense,
  refusalOf,
} from "./agreed.ts";
import type { Clock, Report } from "./capability.ts";
import { isSlug, QuorateError, type Slug } from "./errors.ts";

export const joinTopics = ["join", "waiting", "seal"] as const;

/** What a member says of its store under an epoch. */
export interface JoinSeal {
  readonly nodeId: string;
  readonly storeId: string;
  readonly epoch: number;
  /** Those in the log and deleted ones included. */
  readonly records: number;
}

export interface JoinPorts<Document extends AgreedDocument, Facts> {
  present(): Document | undefined;
  readonly ask: AskNode;
  /** As `Agreement.propose`. */
  propose(
    step: (present: Document) => Document | undefined,
  ): Promise<{ readonly kind: "won" | "unchanged" | "lost"; readonly document: Document }>;
  /** @throws when the facts are none */
  parseFacts(raw: unknown): Facts;
  /** The next document; undefined when it is a member. @throws the refusal */
  withMember(document: Document, facts: Facts, seals: readonly JoinSeal[]): Document | undefined;
  /** A node cannot be a member yet, and will ask again. */
  waits?(facts: Facts): void;
  /** The command by which an operator has it taken in, as things are now. */
  takingIn?(document: Document, facts: Facts): string;
  /** How many records this node's store holds. */
  records(): Promise<number>;
  /** Takes no write under this epoch any more, durably; resolves when those under way have ended. */
  seal(epoch: number): Promise<void>;
}

export interface JoinParts<Document extends AgreedDocument, Facts> {
  readonly nodeId: string;
  readonly storeId: string;
  readonly ports: JoinPorts<Document, Facts>;
}

const triesMax = 4;

/** The member's side. */
export class Admission<Document extends AgreedDocument, Facts> {
  readonly #parts: JoinParts<Document, Facts>;
  #last: Promise<unknown> = Promise.resolve();

  constructor(parts: JoinParts<Document, Facts>) {
    this.#parts = parts;
  }

  /** Answers another node on one of `joinTopics`. */
  async handle(topic: string, body: unknown): Promise<unknown> {
    let asking: Facts | undefined;
    try {
      if (topic === "seal") return await this.#seal(body);
      const facts = this.#parts.ports.parseFacts(body);
      asking = facts;
      if (topic === "waiting") {
        this.#parts.ports.waits?.(facts);
        return {};
      }
      // One after another: each join seals an epoch, and two would end each other's.
      const turn = this.#last.then(() => this.#admit(facts));
      this.#last = turn.catch(() => {});
      return { kind: "joined", document: await turn.catch((error) => this.#refused(facts, error)) };
    } catch (error) {
      // Of those that are asked some may wait to be taken in themselves: they know nothing of what is in the way.
      const isMember = this.#isMember;
      const takingIn = isMember && asking !== undefined ? this.#takingIn(asking) : {};
      return { ...refusalOf(error), isMember, ...takingIn };
    }
  }

  #takingIn(facts: Facts): { readonly takingIn?: string } {
    const { ports } = this.#parts;
    const present = ports.present();
    if (present === undefined || ports.takingIn === undefined) return {};
    return { takingIn: ports.takingIn(present, facts) };
  }

  get #isMember(): boolean {
    const { ports, nodeId } = this.#parts;
    return ports.present()?.members.some((one) => one.nodeId === nodeId) === true;
  }

  /** What will go away by itself, or when a plan has come, is waited for. */
  #refused(facts: Facts, error: unknown): never {
    if (passing.includes(QuorateError.from(error).slug)) this.#parts.ports.waits?.(facts);
    throw error;
  }

  /** Ends the seal of an epoch, should it still be the present one. */
  async release(epoch: number): Promise<void> {
    await this.#parts.ports.propose((present) =>
      present.epoch === epoch ? { ...present, epoch: epoch + 1 } : undefined,
    );
  }

  async #admit(facts: Facts): Promise<Document> {
    for (let tries = 0; tries < triesMax; tries += 1) {
      const present = this.#present();
      // What can be refused without asking anyone is refused before anything is sealed.
      if (this.#withMember(present, facts, emptySeals(present)) === undefined) return present;
      this.#withMember(present, facts, await this.#collect(present, false));
      const document = await this.#admitOnce(present, facts);
      if (document !== undefined) return document;
    }
    throw busy(`The topology changed ${triesMax} times while a node was joining.`);
  }

  /** Undefined when another change came first. */
  async #admitOnce(present: Document, facts: Facts): Promise<Document | undefined> {
    try {
      const seals = await this.#collect(present, true);
      const proposed = await this.#parts.ports.propose((document) => {
        if (document.epoch !== present.epoch)
          throw busy("Another change of the topology came first.");
        return this.#withMember(document, facts, seals);
      });
      return proposed.kind === "lost" ? undefined : proposed.document;
    } catch (error) {
      await this.release(present.epoch).catch(() => {});
      const isOvertaken = QuorateError.from(error).slug === "contention";
      if (isOvertaken && this.#present().epoch > present.epoch) return undefined;
      throw error;
    }
  }

  #withMember(document: Document, facts: Facts, seals: readonly JoinSeal[]): Document | undefined {
    return this.#parts.ports.withMember(document, facts, seals);
  }

  /** What every member says; all must. */
  async #collect(present: Document, isSealing: boolean): Promise<readonly JoinSeal[]> {
    const body = { clusterId: present.clusterId, epoch: present.epoch, isSealing };
    return Promise.all(
      present.members.map(async ({ nodeId, name }) => {
        const isOwn = nodeId === this.#parts.nodeId;
        let raw: unknown;
        try {
          raw = isOwn ? await this.#seal(body) : await this.#parts.ports.ask(nodeId, "seal", body);
        } catch (error) {
          throw new QuorateError(
            "not-ready",
            `A node is taken in at once only while all members answer, and '${name}' does not.`,
            { outcome: "none", hint: "Bring it back, then try again.", cause: error },
          );
        }
        return parseSeal(raw);
      }),
    );
  }

  async #seal(body: unknown): Promise<JoinSeal> {
    const { clusterId, epoch, isSealing } = isFields(body) ? body : {};
    if (!isId(clusterId) || !isCount(epoch)) throw nonsense("a request to seal an epoch");
    const present = this.#present();
    if (present.clusterId !== clusterId || present.epoch !== epoch) {
      throw busy(`The epoch is ${present.epoch} here, and ${epoch} was to be sealed.`);
    }
    const { ports, nodeId, storeId } = this.#parts;
    // A store that holds something is not sealed: the join fails anyway, and writes must go on.
    let records = await ports.records();
    if (isSealing === true && records === 0) {
      await ports.seal(epoch).catch((error) => failSeal(epoch, error));
      records = await ports.records();
    }
    return { nodeId, storeId, epoch, records };
  }

  #present(): Document {
    const present = this.#parts.ports.present();
    if (present !== undefined) return present;
    throw new QuorateError(
      "not-ready",
      "This node is in no cluster yet, so none can be joined at it.",
      {
        outcome: "none",
        hint: "Ask a member of the cluster.",
      },
    );
  }
}

export interface JoinerParts<Document extends AgreedDocument> {
  /** What this node says of itself. */
  readonly facts: unknown;
  readonly parse: (raw: unknown) => Document;
  readonly adopt: (document: Document) => Promise<void>;
  /** Asks whoever's turn it is. */
  readonly ask: (topic: string, body: unknown) => Promise<Asked>;
  /** The command by which an operator has this node taken in, where no member says another one. */
  readonly takingIn: string;
  readonly clock: Clock;
  readonly report: Report;
  /** Told why it has to wait, and by whom, in a sentence or two, and the command of now, where a member says it. */
  readonly onRefused?: (said: string, error: QuorateError, takingIn?: string) => void;
}

/** Who was asked, and what became of it. */
export type Asked =
  | { readonly at: string; readonly reply: unknown }
  | { readonly at: string; readonly error: unknown };

interface Refused {
  readonly at: string;
  readonly error: QuorateError;
  /** `no`: it waits itself, or nobody answers there. */
  readonly isMember: boolean;
  /** By a member that tells it: others may have joined, or left, since this node began to ask. */
  readonly takingIn?: string | undefined;
}

/** Who is not taken in asks again after so long. */
export const joinRetryMs = 1000;
const sayMs = 10_000;
/** What a member has said counts for so long, whatever those say that are none: it is asked again by then. */
const memberSaidMs = 60_000;

/**
 * These go away by themselves, or are a trouble of the member that was asked (its disk, a fault in it): the
 * next answer may be another one. All others are an operator's business.
 */
const passing: readonly Slug[] = [
  "contention",
  "not-ready",
  "timeout",
  "overloaded",
  "unreachable",
  "read-only",
  "disk-full",
  "internal",
];

/**
 * The empty node's side: asks until it is a member; undefined when `isEnded`.
 *
 * @throws what the member refused it with
 */
export async function joinAt<Document extends AgreedDocument>(
  parts: JoinerParts<Document>,
  isEnded: () => boolean,
): Promise<Document | undefined> {
  const { clock, report } = parts;
  let saidMs = clock.monotonicMs();
  let said = "";
  let memberMs = Number.NEGATIVE_INFINITY;
  while (!isEnded()) {
    const answer = await askOnce(parts);
    if (!("error" in answer)) {
      await parts.adopt(answer);
      return answer;
    }
    if (!passing.includes(answer.error.slug)) throw answer.error;
    const nowMs = clock.monotonicMs();
    if (answer.isMember) memberMs = nowMs;
    if (answer.isMember || nowMs - memberMs > memberSaidMs) said = saidBy(answer, parts.takingIn);
    parts.onRefused?.(said, answer.error, answer.takingIn);
    if (nowMs - saidMs >= sayMs) {
      saidMs = nowMs;
      report.log("warn", `Not ready: waiting to join. ${said}`, {});
    }
    await new Promise<void>((resolve) => void clock.after(joinRetryMs, resolve));
  }
  return undefined;
}

async function askOnce<Document extends AgreedDocument>({
  ask,
  facts,
  parse,
}: JoinerParts<Document>): Promise<Document | Refused> {
  const asked = await ask("join", facts);
  const { at } = asked;
  if ("error" in asked) {
    const { error: cause } = asked;
    const { detail } = QuorateError.from(cause);
    const error = new QuorateError("unreachable", detail, { cause });
    return { at, error, isMember: false };
  }
  const answer = isFields(asked.reply) ? asked.reply : {};
  // A member of an earlier version does not say that it is one.
  const isMember = answer["isMember"] !== false;
  const told = answer["takingIn"];
  const takingIn = typeof told === "string" ? told : undefined;
  try {
    if (answer["kind"] === "joined") return parse(answer["document"]);
    const error = refusalFrom(answer) ?? nonsense("an answer to a join");
    return { at, error, isMember, takingIn };
  } catch (error) {
    return { at, error: QuorateError.from(error), isMember };
  }
}

/** Why a node has to wait: in the words of whoever said it, and with what an operator can do about it. */
function saidBy({ at, error, isMember, takingIn: told }: Refused, takingIn: string): string {
  if (error.slug === "unreachable" && !isMember) return `Nobody answers at ${at}: ${error.detail}`;
  const said = `${at} says: ${error.detail}`;
  const canPlan = isMember && error.slug === "not-ready";
  return canPlan
    ? `${said} An operator's plan takes this node in: ${told ?? takingIn}, at a member.`
    : said;
}

function parseSeal(raw: unknown): JoinSeal {
  const { nodeId, storeId, epoch, records } = isFields(raw) ? raw : {};
  if (isId(nodeId) && isId(storeId) && isCount(epoch) && isCount(records)) {
    return { nodeId, storeId, epoch, records };
  }
  throw refusalFrom(raw) ?? nonsense("an answer to a seal");
}

/** The error in a refusal that came over the wire; undefined when it is none. */
function refusalFrom(raw: unknown): QuorateError | undefined {
  const { kind, slug, detail, hint } = isFields(raw) ? raw : {};
  if (kind !== "refused" || typeof slug !== "string" || typeof detail !== "string")
    return undefined;
  if (!isSlug(slug)) return undefined;
  const facts = typeof hint === "string" ? { hint } : {};
  return new QuorateError(slug, detail, { outcome: "none", ...facts });
}

function emptySeals({ members, epoch }: AgreedDocument): readonly JoinSeal[] {
  return members.map(({ nodeId, storeId }) => ({ nodeId, storeId, epoch, records: 0 }));
}

/** A disk that fails is told as one: the node that joins can do nothing about it. */
function failSeal(epoch: number, error: unknown): never {
  if (error instanceof QuorateError) throw error;
  const why = error instanceof Error ? error.message : String(error);
  throw new QuorateError("read-only", `Epoch ${epoch} could not be sealed on the disk: ${why}`, {
    outcome: "none",
    hint: "Check the disk of the member that was asked.",
    cause: error,
  });
}

function busy(detail: string): QuorateError {
  return new QuorateError("contention", detail, { outcome: "none", hint: "Try again." });
}
