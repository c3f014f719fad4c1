/**
 * Protocol: which versions of the protocol between nodes this program speaks, and what each brings.
 *
 * One number stands for all that nodes have to have in common: the messages of a link, the topology
 * document, and what is in a data folder. A program speaks a range of versions. Two nodes use the highest
 * that both speak; a cluster uses the one that is **turned on** in its document, and a feature is on from
 * the version that brought it. A version is turned on when every member speaks it, and never off again.
 *
 *     version  document  folder  what it brings
 *     1        3         1       all before there were versions to choose from
 *     2        4         2       `member-programs`: the document says which program each member runs;
 *                                `joins-by-phases`: who comes and holds nothing yet is seen to be up first
 *
 * To change what nodes say or write: raise `protocolRange.highest`, give the change a row in `features`, and
 * ask `isOn(version, "its-name")` before the new form is said or written. To stop speaking an old one:
 * raise `lowest`, in a release after the one that could speak both.
 *
 * Invariants
 * 1. `commonProtocol` is symmetric, and both ends compute the same.
 * 2. A refusal names both nodes, what each speaks, and which of them to upgrade first.
 *
 * Effects: none. Source: docs/cluster.md, "Links and handshake"; docs/upgrading.md.
 *
 * @module
 */

import { QuorateError } from "./errors.ts";

/** Versions that a program speaks, or a node; both ends are included. */
export interface ProtocolRange {
  readonly lowest: number;
  readonly highest: number;
}

/** What this program speaks. */
export const protocolRange: ProtocolRange = { lowest: 1, highest: 2 };

/** The newest format of everything that outlives a process, or that nodes hand to each other. */
export const formats = {
  /** The data folder as a whole (`identity`). */
  folder: 2,
  /** The topology document. */
  topology: 4,
  record: 1,
  /** The write-ahead log's segments. */
  log: 1,
  /** The table's own record of itself. */
  table: 1,
} as const;

/** What a cluster does from a version on. */
export interface Feature {
  readonly name: string;
  readonly since: number;
}

/** All that is waited for, or was. */
export const features = [
  // The document of format 4; before, what a member runs is known from its link alone.
  { name: "member-programs", since: 2 },
  // A move of no partition, in which somebody joins; before, such a join was over at once.
  { name: "joins-by-phases", since: 2 },
] as const satisfies readonly Feature[];

export type FeatureName = (typeof features)[number]["name"];

/** Whether a feature is on in a cluster, or on a link, of a version. */
export function isOn(version: number, name: FeatureName): boolean {
  return features.some((feature) => feature.name === name && feature.since <= version);
}

/** What a member runs, as it told. */
export interface MemberProgram extends ProtocolRange {
  /** Of the program, for people; empty: it did not tell. */
  readonly version: string;
  /** By the name of what is written: the newest format that it reads. */
  readonly formats: Readonly<Record<string, number>>;
}

/** One that tells a single number, as programs did that spoke one version alone. */
export function programOfOne(protocol: number): MemberProgram {
  return { version: "", lowest: protocol, highest: protocol, formats: {} };
}

/** This program, at most at a version that its operator holds it to. */
export function ownProgram(version: string, protocolMax = protocolRange.highest): MemberProgram {
  const highest = Math.min(protocolRange.highest, protocolMax);
  return { version, lowest: Math.min(protocolRange.lowest, highest), highest, formats };
}

export function speaks({ lowest, highest }: ProtocolRange, version: number): boolean {
  return lowest <= version && version <= highest;
}

/** The version that two use between them; undefined: they have none in common. */
export function commonProtocol(own: ProtocolRange, other: ProtocolRange): number | undefined {
  const highest = Math.min(own.highest, other.highest);
  return highest >= Math.max(own.lowest, other.lowest) ? highest : undefined;
}

/** A node as a refusal names it. */
export interface Speaker extends ProtocolRange {
  readonly name: string;
}

/** Why two nodes cannot talk, and what to do about it; undefined: they can. */
export function whyNotTogether(own: Speaker, other: Speaker): string | undefined {
  if (commonProtocol(own, other) !== undefined) return undefined;
  const behind = own.highest < other.lowest ? own : other;
  return `node '${other.name}' speaks ${rangeText(other)} of the protocol between nodes, and node '${own.name}' ${rangeText(own)}: upgrade '${behind.name}' first`;
}

/** For people: `version 1`, `versions 1 to 2`. */
export function rangeText({ lowest, highest }: ProtocolRange): string {
  return lowest === highest ? `version ${lowest}` : `versions ${lowest} to ${highest}`;
}

/** A data folder whose cluster uses what this program does not know: it is refused before it is touched. */
export function protocolTooNew(version: number, own: ProtocolRange = protocolRange): QuorateError {
  return new QuorateError(
    "wrong-data-folder",
    `The cluster of this node has turned on version ${version} of its protocol, or was about to, and this program speaks ${rangeText(own)}.`,
    { outcome: "none", hint: "Start it with the version of Quorate that the other members run." },
  );
}

/** The highest version that all of these speak, and this program. */
export function spokenByAll(programs: readonly ProtocolRange[]): number {
  return programs.reduce((least, { highest }) => Math.min(least, highest), protocolRange.highest);
}

const formatsMax = 32;
const versionPattern = /^[\x20-\x7e]{0,64}$/;
const formatPattern = /^[a-z][a-z0-9-]{0,31}$/;

/** What a node told of its program; undefined when it makes no sense. Formats not known here are kept. */
export function parseProgram(raw: unknown): MemberProgram | undefined {
  if (typeof raw !== "object" || raw === null) return undefined;
  const { version, lowest, highest, formats: told } = raw as Record<string, unknown>;
  if (typeof version !== "string" || !versionPattern.test(version)) return undefined;
  if (!isVersion(lowest) || !isVersion(highest) || lowest > highest) return undefined;
  if (typeof told !== "object" || told === null) return undefined;
  const entries = Object.entries(told);
  if (entries.length > formatsMax) return undefined;
  if (!entries.every(([name, format]) => formatPattern.test(name) && isVersion(format))) {
    return undefined;
  }
  return { version, lowest, highest, formats: Object.fromEntries(entries) };
}

/** A number of a version or of a format. */
export function isVersion(raw: unknown): raw is number {
  return typeof raw === "number" && Number.isSafeInteger(raw) && raw >= 1;
}

/** Two told the same. */
export function sameProgram(a: MemberProgram | undefined, b: MemberProgram): boolean {
  return a !== undefined && JSON.stringify(a) === JSON.stringify(b);
}
