/**
 * Option kinds: whether an object of options says only what is known, in the types that are known.
 *
 * A type checker sees this where there is one. A program without it, or one that builds its options
 * at run time, would have a mistyped `ttl` dropped in silence and its value kept for ever.
 *
 *     checkOptions({ call: "put()", kinds: { ttlSeconds: whole(1, 60) } }, { ttl: 5 })
 *       [invalid-request] There is no option 'ttl' for put().
 *       hint: Its options are ttlSeconds. ...
 *
 * Invariants
 * 1. What passes has no name beside those of the table, and each value is undefined or of its kind.
 * 2. A refusal is made before anything is done: its outcome is `none`.
 *
 * Effects: none.
 *
 * @module
 */

import { type Consistency, type Durability, namespaceForm, namespacePattern } from "./api.ts";
import { isWellFormed, utf8Bytes } from "./bytes.ts";
import { QuorateError, type Slug } from "./errors.ts";
import { grouped } from "./figures.ts";

/** What an option may be. */
export interface OptionKind {
  /** Follows "has to be". */
  readonly what: string;
  readonly fits: (value: unknown) => boolean;
}

type OptionKinds = Readonly<Record<string, OptionKind>>;

/** A kind for each option that a type has, and for no other. */
export type KindsOf<Choices> = Readonly<Record<keyof Choices, OptionKind>>;

/** The options of one call. */
export interface OptionTable {
  /** Follows "for": `put()`, `a list`. */
  readonly call: string;
  readonly kinds: OptionKinds;
  /** Default `invalid-request`. */
  readonly slug?: Slug;
}

/** @throws `invalid-request`, or the table's slug, with outcome `none` */
export function checkOptions(table: OptionTable, given: unknown): void {
  const { call, kinds } = table;
  if (!isPlain(given)) {
    throw refused(table, `The options of ${call} are ${shown(given)}; they have to be an object.`);
  }
  for (const name of Object.keys(given)) {
    if (!Object.hasOwn(kinds, name))
      throw refused(table, `There is no option '${name}' for ${call}.`);
  }
  for (const name in kinds) {
    const value = given[name];
    const kind = kinds[name];
    if (value === undefined || kind === undefined || kind.fits(value)) continue;
    throw refused(table, `${name} of ${call} is ${shown(value)}; it has to be ${kind.what}.`);
  }
}

/**
 * What an object of options says now, inherited options too: for whoever reads them later, when the
 * caller may have changed the object, or bytes in it, for another call. What is refused stays so.
 */
export function copyOptions<Given>({ kinds }: OptionTable, given: Given): Given {
  if (!isPlain(given)) return given;
  const copy: Record<string, unknown> = { ...given };
  for (const name in kinds) {
    const value = given[name];
    if (value === undefined) continue;
    if (isBytes(value)) copy[name] = new Uint8Array(value);
    else copy[name] = Array.isArray(value) ? [...value] : value;
  }
  return copy as Given;
}

/** An object whose properties are what it says. A Map, or Headers, holds what no property shows. */
function isPlain(given: unknown): given is Readonly<Record<string, unknown>> {
  return Object.prototype.toString.call(given) === "[object Object]";
}

function isObject(given: unknown): boolean {
  return typeof given === "object" && given !== null && !Array.isArray(given);
}

function refused({ kinds, slug = "invalid-request" }: OptionTable, detail: string): QuorateError {
  const names = Object.keys(kinds).join(", ");
  return new QuorateError(slug, detail, {
    outcome: "none",
    hint: `Its options are ${names}. Nothing was done: correct the option, or leave it out.`,
  });
}

const shownLengthMax = 80;

/** A value in an error: short, and told apart from the text that looks the same. */
export function shown(value: unknown): string {
  if (typeof value === "string") return `'${value.slice(0, shownLengthMax)}'`;
  if (Array.isArray(value)) return "an array";
  if (typeof value === "function") return "a function";
  if (typeof value !== "object" || value === null) return String(value);
  const kind = Object.prototype.toString.call(value).slice("[object ".length, -1);
  return kind === "Object" ? "an object" : `a ${kind}`;
}

export const text: OptionKind = {
  what: "a string that is not empty",
  fits: (value) => typeof value === "string" && value !== "",
};

export const namespace: OptionKind = {
  what: namespaceForm,
  fits: (value) => typeof value === "string" && namespacePattern.test(value),
};

export const flag: OptionKind = {
  what: "true or false",
  fits: (value) => typeof value === "boolean",
};

export const object: OptionKind = { what: "an object", fits: isObject };

export const texts: OptionKind = {
  what: "an object of strings",
  fits: (value) => isPlain(value) && Object.values(value).every((one) => typeof one === "string"),
};

/** Checked where it is used, by rules of its own. */
export const checkedLater: OptionKind = { what: "anything", fits: () => true };

export const textOrBytes: OptionKind = {
  what: "a string or a Uint8Array",
  fits: (value) => typeof value === "string" || isBytes(value),
};

export function whole(min: number, max: number): OptionKind {
  const isBounded = max < Number.MAX_SAFE_INTEGER;
  return {
    what: `a whole number from ${grouped(min)}${isBounded ? ` to ${grouped(max)}` : ""}`,
    fits: (value) => isWhole(value, min, max),
  };
}

export function oneOf(words: readonly string[]): OptionKind {
  return {
    what: `one of ${words.join(", ")}`,
    fits: (value) => typeof value === "string" && words.includes(value),
  };
}

/** How many replicas to ask. */
export const replicas: OptionKind = {
  what: "a whole number from 1, or one of quorum, all",
  fits: (value) => value === "quorum" || value === "all" || isWhole(value, 1),
};

const consistencies: readonly Consistency[] = ["one", "quorum", "all"];
export const consistency: OptionKind = oneOf(consistencies);

const durabilities: readonly Durability[] = ["fsync", "memory"];
export const durability: OptionKind = oneOf(durabilities);

/** Where a list goes on. */
export const cursor: OptionKind = {
  what: "the next of a page",
  fits: (value) => typeof value === "string",
};

function isWhole(value: unknown, min: number, max = Number.MAX_SAFE_INTEGER): boolean {
  return typeof value === "number" && Number.isInteger(value) && value >= min && value <= max;
}

/** Bytes, also those of another realm and of a Buffer, and no other view. */
function isBytes(value: unknown): value is Uint8Array {
  return Object.prototype.toString.call(value) === "[object Uint8Array]";
}

/** What bytes are given for. Of a bound there may be none, so it is no key. */
export type BytesName = "key" | "value" | "prefix" | "start" | "end";

/**
 * Bytes as they are (not a copy), text as UTF-8.
 *
 * @throws `invalid-key` for a key, else `invalid-request`, where it is neither, or text that has no UTF-8
 */
export function bytesOf(name: BytesName, given: unknown): Uint8Array {
  if (isBytes(given)) return given;
  const slug = name === "key" ? "invalid-key" : "invalid-request";
  const outcome = "none";
  if (typeof given !== "string") {
    const said = `The ${name} is ${shown(given)}; it has to be ${textOrBytes.what}.`;
    const hint = "Give text as a string, and anything else as a Uint8Array (a Buffer is one).";
    throw new QuorateError(slug, said, { outcome, hint });
  }
  // An encoder writes U+FFFD for half of a surrogate pair: two different texts would become one.
  if (isWellFormed(given)) return utf8Bytes(given);
  const said = `The ${name} holds half of a surrogate pair, which has no UTF-8.`;
  throw new QuorateError(slug, said, { outcome, hint: `Give the ${name} as bytes.` });
}
