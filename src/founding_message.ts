/**
 * Founding message: what nodes say to each other about who is there, and how it is read.
 *
 * Of many nodes each asks all others, again and again, and most have promised the same document. So
 * whoever asks tells the fingerprint of its own promise, and is told `same` instead of that document; and
 * whoever asks briefly is told of another promise its fingerprint alone. It asks one of those that have
 * that promise for the whole.
 *
 *     question                answer
 *     { holds?, isBrief? }    { kind: "member", document }
 *                             { kind: "empty", self, settings, promised }
 *                             { kind: "empty", self, settings, promised: null, fingerprint }
 *
 *     n1 -> n2  { isBrief: true }             n1 has promised nothing
 *     n2 -> n1  { promised: null, fingerprint: F }
 *     n1 -> n2  {}                            once for each F, whoever else has told it
 *     n2 -> n1  { promised: document }
 *     n1 -> n2  { holds: F, isBrief: true }   from here on
 *     n2 -> n1  { promised: "same" }
 *
 * Invariants
 * 1. A document that the other side has said that it holds is not told again.
 *
 * Effects: none. Source: rule T9.
 *
 * @module
 */

import {
  type AgreedDocument,
  type AgreedMember,
  type Fields,
  isAddresses,
  isCount,
  isFields,
  isId,
  nonsense,
} from "./agreed.ts";
import { toHex, utf8Bytes } from "./bytes.ts";
import { sha256 } from "./hash.ts";

/** What a node says of itself; more than these fields may be in it, and is kept. */
export type Candidate = AgreedMember & Fields;

/** What all nodes must have in common. */
export interface FoundingSettings {
  /** `--bootstrap-expect`; undefined: this node begins no cluster. */
  readonly expect: number | undefined;
  readonly partitions: number;
  /** `--cluster-id`; undefined: computed from the nodes. */
  readonly clusterId: string | undefined;
}

interface Question {
  /** The fingerprint of what the asker has promised. */
  readonly holds: string | undefined;
  /** Of a promise its fingerprint is enough. */
  readonly isBrief: boolean;
}

/** A node without a document. */
export interface Empty<Document> {
  readonly kind: "empty";
  readonly self: Candidate;
  readonly settings: FoundingSettings;
  readonly promised: Document | undefined;
  /** Of a promise that was not told yet. */
  readonly fingerprint: string | undefined;
}

/** Who is there. */
export type FoundingAnswer<Document> =
  | { readonly kind: "member"; readonly document: Document }
  | Empty<Document>;

/** In the place of a document that the other side has. */
const same = "same";

/** Asks who is there. */
export function foundingQuestion(promised: AgreedDocument | undefined, isBrief: boolean): unknown {
  const holds = promised === undefined ? {} : { holds: fingerprintOf(promised) };
  return isBrief ? { ...holds, isBrief } : holds;
}

/** What cannot be read asks for the whole. */
function parseQuestion(raw: unknown): Question {
  const { holds, isBrief } = isFields(raw) ? raw : {};
  return { holds: typeof holds === "string" ? holds : undefined, isBrief: isBrief === true };
}

/** What a member says to who asks it who is there. */
export function memberAnswer(document: AgreedDocument, question: unknown): unknown {
  return { kind: "member", document: unlessHeld(document, parseQuestion(question)) };
}

/** What a node without a document says. */
export function emptyAnswer(
  { self, settings }: Pick<Empty<unknown>, "self" | "settings">,
  promised: AgreedDocument | undefined,
  question: unknown,
): unknown {
  const empty = { kind: "empty", self, settings, promised: null };
  if (promised === undefined) return empty;
  const asked = parseQuestion(question);
  const told = unlessHeld(promised, asked);
  if (!asked.isBrief || told === same) return { ...empty, promised: told };
  return { ...empty, fingerprint: fingerprintOf(promised) };
}

/** `held` is what the question said that this node has. @throws `invalid-request` */
export function parseFoundingAnswer<Document extends AgreedDocument>(
  raw: unknown,
  held: Document | undefined,
  parse: (raw: unknown) => Document,
): FoundingAnswer<Document> {
  const answer = isFields(raw) ? raw : {};
  const documentIn = (told: unknown): Document =>
    told === same && held !== undefined ? held : parse(told);
  if (answer["kind"] === "member")
    return { kind: "member", document: documentIn(answer["document"]) };
  const self = parseCandidate(answer["self"]);
  const settings = readSettings(answer["settings"]);
  if (answer["kind"] !== "empty" || settings === undefined) throw nonsense("who it is");
  const promised = answer["promised"] === null ? undefined : documentIn(answer["promised"]);
  const told = answer["fingerprint"];
  const fingerprint = typeof told === "string" ? told : undefined;
  return { kind: "empty", self, settings, promised, fingerprint };
}

function unlessHeld(document: AgreedDocument, { holds }: Question): unknown {
  return holds === fingerprintOf(document) ? same : document;
}

const fingerprints = new WeakMap<AgreedDocument, string>();

/** Equal for equal documents. */
export function fingerprintOf(document: AgreedDocument): string {
  let known = fingerprints.get(document);
  if (known === undefined) {
    known = toHex(sha256(utf8Bytes(JSON.stringify(document))));
    fingerprints.set(document, known);
  }
  return known;
}

/** @throws `invalid-request` */
export function parseCandidate(raw: unknown): Candidate {
  const fields = isFields(raw) ? raw : {};
  const { nodeId, storeId, name, addresses } = fields;
  if (isId(nodeId) && isId(storeId) && typeof name === "string" && isAddresses(addresses)) {
    return { ...fields, nodeId, storeId, name, addresses };
  }
  throw nonsense("a description of itself");
}

function readSettings(raw: unknown): FoundingSettings | undefined {
  const { expect, partitions, clusterId } = isFields(raw) ? raw : {};
  if (!isCount(partitions) || !(expect === undefined || isCount(expect))) return undefined;
  if (!(clusterId === undefined || isId(clusterId))) return undefined;
  return { expect, partitions, clusterId };
}
