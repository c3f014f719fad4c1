/**
 * Handshake: two nodes prove that they share a secret, then say who they are.
 *
 *     dialing   nonce A                                          ->
 *            <- nonce B, HMAC(secret, "accept" A B)              accepting
 *               HMAC(secret, "dial" A B words), words            ->
 *            <- HMAC(secret, "met" A B words), words             or a refusal
 *
 * The secret itself is never sent. Nothing that a node says of itself is parsed before its proof was
 * checked; a cluster without a secret proves the empty one, and so does not talk to one that has one.
 *
 * Each tells the versions of the protocol that it speaks, and both use the highest in common (`protocol`).
 * Programs that spoke one version alone told that number as `protocol`, and look at no other field: so it
 * is the lowest one, and the rest stands beside it.
 *
 * Invariants
 * 1. `parseHello` takes what `helloBytes` makes, and refuses everything of another shape.
 * 2. A proof is for this pair of nonces, this direction and these words: it serves nobody else.
 *
 * Effects: none. Source: RFC 2104 (HMAC); rules I1 to I3, T9;
 * docs/cluster.md, "Links and handshake".
 *
 * @module
 */

import { type Fields, isAddresses, isCount, isFields, isId } from "./agreed.ts";
import { concat, equal, utf8Bytes } from "./bytes.ts";
import { hmacSha256 } from "./hash.ts";
import {
  commonProtocol,
  isVersion,
  type MemberProgram,
  parseProgram,
  programOfOne,
  type Speaker,
  whyNotTogether,
} from "./protocol.ts";

/** How long both give it, from the opening of the stream. */
export const handshakeMsMax = 5000;
/** How long a stream that is over stays open for the last words, a refusal. */
export const lastWordsMs = 1000;

/** What a node says of itself. */
export interface Hello {
  /** The lowest version that it speaks to others now: that of its cluster, or its program's. */
  readonly protocol: number;
  readonly program: MemberProgram;
  /** Undefined while it belongs to none. */
  readonly clusterId: string | undefined;
  readonly nodeId: string;
  readonly storeId: string;
  readonly boot: number;
  /** Drawn by the process: tells its start from every other one. */
  readonly start?: string | undefined;
  readonly epoch: number;
  readonly name: string;
  /** Where it may be reached. */
  readonly addresses: readonly string[];
  /**
   * The highest synced sequence of the other's store that it remembers from before the other's
   * present start (I3); from who accepts.
   */
  readonly remembers?: number | undefined;
}

/** As much of that as decides on the version that two use. */
export type Introduction = Pick<Hello, "name" | "protocol" | "program">;
type Told = Pick<Hello, "protocol" | "program"> & { readonly name: unknown };

/** Tells one start of a node from another; where the process does not name its own, by the boot. */
export function startOf({ start, boot }: Hello): string {
  return start ?? `boot ${boot}`;
}

/** Whether who speaks now is a later start of the store that `before` was (I2). */
export function isLaterStart(now: Hello, before: Hello): boolean {
  if (now.storeId !== before.storeId || startOf(now) === startOf(before)) return false;
  // Until it has counted this start, a process names the boot of the one before.
  return now.boot >= before.boot;
}

export const nonceBytes = 16;
const proofBytes = 32;
const magic = utf8Bytes("quorate\n");
const wordsBytesMax = 64 * 1024;
/** No frame of a handshake has more. */
export const handshakeFrameBytesMax: number = proofBytes + wordsBytesMax;
const refusedMark = 0;
const metMark = 1;

export type Direction = "accept" | "dial" | "met";

/** The two nonces of one handshake. */
export interface Nonces {
  readonly dialing: Uint8Array;
  readonly accepting: Uint8Array;
}

function proof(
  secret: string,
  direction: Direction,
  nonces: Nonces,
  words: Uint8Array,
): Uint8Array {
  const { dialing, accepting } = nonces;
  return hmacSha256(secret, concat([utf8Bytes(direction), dialing, accepting, words]));
}

/** Constant in time: how much of a proof was right must not show. */
function isSameProof(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let index = 0; index < a.length; index += 1) {
    difference |= (a[index] as number) ^ (b[index] as number);
  }
  return difference === 0;
}

/** The first frame of who dials. */
export function firstFrame(nonce: Uint8Array): Uint8Array {
  return concat([magic, nonce]);
}

/** The nonce in a first frame; undefined for anything else. */
export function parseFirst(frame: Uint8Array): Uint8Array | undefined {
  if (frame.length !== magic.length + nonceBytes) return undefined;
  if (!equal(frame.subarray(0, magic.length), magic)) return undefined;
  return frame.slice(magic.length);
}

/** The answer of who accepts. */
export function secondFrame(secret: string, nonces: Nonces): Uint8Array {
  return concat([nonces.accepting, proof(secret, "accept", nonces, new Uint8Array(0))]);
}

/** The other's nonce, when it has the secret; undefined when it has not. */
export function parseSecond(
  secret: string,
  dialing: Uint8Array,
  frame: Uint8Array,
): Nonces | undefined {
  if (frame.length !== nonceBytes + proofBytes) return undefined;
  const nonces = { dialing, accepting: frame.slice(0, nonceBytes) };
  const own = proof(secret, "accept", nonces, new Uint8Array(0));
  return isSameProof(own, frame.subarray(nonceBytes)) ? nonces : undefined;
}

/** Words with their proof. */
export function provenFrame(
  secret: string,
  direction: "dial" | "met",
  nonces: Nonces,
  hello: Hello,
): Uint8Array {
  const words = utf8Bytes(JSON.stringify(hello));
  const mark = direction === "met" ? Uint8Array.of(metMark) : new Uint8Array(0);
  return concat([mark, proof(secret, direction, nonces, words), words]);
}

/** A refusal by who accepts, in place of its words. */
export function refusalFrame(detail: string): Uint8Array {
  return concat([Uint8Array.of(refusedMark), utf8Bytes(detail)]);
}

/** The words of who dials; a text that says what is wrong with them. */
export function parseThird(
  secret: string,
  nonces: Nonces,
  frame: Uint8Array,
  own: Introduction,
): Hello | string {
  return parseProven(secret, { direction: "dial", own }, nonces, frame);
}

/** What a node that stops in order says; it is no fault, and passes. */
export const leavingWhy = "it is stopping";

/** The words of who accepts; a text: why it refuses, or what is wrong. */
export function parseFourth(
  secret: string,
  nonces: Nonces,
  frame: Uint8Array,
  own: Introduction,
): Hello | string {
  if (frame[0] !== metMark) {
    const said = new TextDecoder().decode(frame.subarray(1, 1001));
    return `it refuses: ${said}`;
  }
  return parseProven(secret, { direction: "met", own }, nonces, frame.subarray(1));
}

function parseProven(
  secret: string,
  { direction, own }: { readonly direction: "dial" | "met"; readonly own: Introduction },
  nonces: Nonces,
  frame: Uint8Array,
): Hello | string {
  if (frame.length < proofBytes || frame.length > handshakeFrameBytesMax) {
    return "it does not speak as a node does";
  }
  const words = frame.subarray(proofBytes);
  if (!isSameProof(proof(secret, direction, nonces, words), frame.subarray(0, proofBytes))) {
    return "it does not have this cluster's secret";
  }
  return parseHello(words, own);
}

function parseHello(words: Uint8Array, own: Introduction): Hello | string {
  let raw: unknown;
  try {
    raw = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(words));
  } catch {
    return "what it says of itself is no JSON";
  }
  if (!isFields(raw)) return "what it says of itself is no object";
  const { protocol, clusterId, nodeId, storeId, boot, start, epoch, name, addresses, remembers } =
    raw;
  const program = programIn(raw);
  if (!isVersion(protocol) || program === undefined) {
    return "it does not tell which versions of the protocol between nodes it speaks";
  }
  // Before the rest is looked at: other versions may say other things.
  const whyNot = whyNotTogether(speakerOf(own), speakerOf({ name, protocol, program }));
  if (whyNot !== undefined) return whyNot;
  const isWhole =
    (clusterId === undefined || isId(clusterId)) &&
    isId(nodeId) &&
    isId(storeId) &&
    isCount(boot) &&
    (start === undefined || (typeof start === "string" && start.length <= 64)) &&
    isCount(epoch) &&
    typeof name === "string" &&
    name.length <= nameLengthMax &&
    isAddresses(addresses) &&
    (remembers === undefined || isCount(remembers));
  if (!isWhole) return "what it says of itself is not whole";
  const told = { protocol, program, clusterId, nodeId, storeId, boot, start, epoch };
  return { ...told, name, addresses, remembers };
}

/** Undefined: it makes no sense. */
function programIn({ protocol, program }: Fields): MemberProgram | undefined {
  if (program !== undefined) return parseProgram(program);
  return isVersion(protocol) ? programOfOne(protocol) : undefined;
}

const nameLengthMax = 64;

/** A node and what it speaks now. */
function speakerOf({ name, protocol, program }: Told): Speaker {
  const isName = typeof name === "string" && name.length <= nameLengthMax;
  return { name: isName ? name : "?", lowest: protocol, highest: program.highest };
}

/** The version that this node uses with one that it has met. */
export function protocolWith(own: Introduction, other: Introduction): number {
  return commonProtocol(speakerOf(own), speakerOf(other)) ?? own.protocol;
}
