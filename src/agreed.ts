/**
 * Agreed: what the agreement on the topology needs of a document, and how nodes ask each other.
 *
 * The agreement treats a document as a value: it has the cluster's id, an epoch, members and voters,
 * and comes with functions that parse and compare it. What else is in it is none of its business.
 *
 * Effects: none (types, and the parsing of what peers say). Source: rules T1, I1.
 *
 * @module
 */

import { QuorateError, type Slug } from "./errors.ts";

/** A member as far as the agreement looks at it. */
export interface AgreedMember {
  /** 32 hex digits each. */
  readonly nodeId: string;
  readonly storeId: string;
  readonly name: string;
  /** `host:port` for traffic between nodes. */
  readonly addresses: readonly string[];
}

export interface AgreedDocument {
  readonly clusterId: string;
  readonly epoch: number;
  readonly members: readonly AgreedMember[];
  /** Node ids: they choose the next document (T1). */
  readonly voters: readonly string[];
}

/** What is known of a kind of document. */
export interface DocumentRules<Document extends AgreedDocument> {
  /** The document in parsed JSON. @throws when it is none */
  parse(raw: unknown): Document;
  /** Why `next` may not follow `before`; undefined when it may. */
  whyNotSuccessor(before: Document, next: Document): string | undefined;
}

/** Asks a node (by its id) about a topic; the answer is parsed JSON. Rejects with a QuorateError. */
export type AskNode = (nodeId: string, topic: string, body: unknown) => Promise<unknown>;

export type Fields = Readonly<Record<string, unknown>>;

export function isFields(raw: unknown): raw is Fields {
  return typeof raw === "object" && raw !== null && !Array.isArray(raw);
}

/** A node's or a store's id. */
export function isId(raw: unknown): raw is string {
  return typeof raw === "string" && /^[0-9a-f]{32}$/.test(raw);
}

/** A whole number from 0 that JSON carries exactly. */
export function isCount(raw: unknown): raw is number {
  return Number.isSafeInteger(raw) && (raw as number) >= 0;
}

export const addressesMax = 8;

export function isAddresses(raw: unknown): raw is readonly string[] {
  return (
    Array.isArray(raw) &&
    raw.length <= addressesMax &&
    raw.every((one) => typeof one === "string" && one.length >= 3 && one.length <= 300)
  );
}

/** What a peer said makes no sense: it runs another version, or is no node at all. */
export function nonsense(what: string): QuorateError {
  return new QuorateError("invalid-request", `A node sent ${what} that cannot be read.`, {
    outcome: "none",
    hint: "Run the same version of Quorate on all nodes.",
  });
}

/** Two documents say the same. Both were parsed, so equal ones have their fields in one order. */
export function sameDocument(a: AgreedDocument, b: AgreedDocument): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}

/** A refusal as it travels; `slug` is one of the errors' table. */
export interface Refusal {
  readonly kind: "refused";
  readonly slug: Slug;
  readonly detail: string;
  readonly hint?: string;
}

export function refusalOf(error: unknown): Refusal {
  const { slug, detail, hint } = QuorateError.from(error);
  return { kind: "refused", slug, detail, ...(hint === undefined ? {} : { hint }) };
}
