/**
 * Config kinds: how the text of a setting becomes a value, and a value text again.
 *
 * A setting says which kind it is (`size(1024, 4096)`, `duration(1, 60_000)`), and the kind says
 * what is allowed, in the words that the help, the documentation and an error share. Sizes carry a
 * unit because "64" has been read as bytes, KiB and MiB by three different people; durations too.
 *
 * Invariants
 * 1. `parse(show(value))` gives `value` again, for every value that `parse` can give.
 * 2. What `parse` accepts is what `allowed` says.
 *
 * Effects: none.
 *
 * @module
 */
import { grouped } from "./figures.ts";

/** A value, or why the text is not one (a clause that follows the text, in quotes). */
export type Parsed<T> = { readonly value: T } | { readonly error: string };

export interface Kind<T> {
  /** For the help: `<size>`. Empty for a switch, which takes no value as a flag. */
  readonly placeholder: string;
  /** What is allowed, in words: "a size from 1KiB to 1GiB, such as 64MiB". */
  readonly allowed: string;
  parse(text: string): Parsed<T>;
  show(value: T): string;
}

export function whole(min: number, max: number, placeholder = "<number>"): Kind<number> {
  return {
    placeholder,
    allowed: `a whole number from ${grouped(min)} to ${grouped(max)}`,
    parse: (text) =>
      /^\d{1,15}$/.test(text) ? within(Number(text), min, max, grouped) : notA("a whole number"),
    show: String,
  };
}

/** A whole number that is a power of two. */
export function powerOfTwo(min: number, max: number): Kind<number> {
  return {
    placeholder: "<number>",
    allowed: `a power of two from ${min} to ${grouped(max)}`,
    parse(text) {
      const value = /^\d{1,9}$/.test(text) ? Number(text) : 0;
      if (value < 1 || (value & (value - 1)) !== 0) return notA("a power of two");
      return within(value, min, max, grouped);
    },
    show: String,
  };
}

const sizeUnits: readonly (readonly [unit: string, bytes: number])[] = [
  ["GiB", 1024 ** 3],
  ["MiB", 1024 ** 2],
  ["KiB", 1024],
  ["GB", 1000 ** 3],
  ["MB", 1000 ** 2],
  ["KB", 1000],
  ["B", 1],
];

/** A number of bytes: `64MiB`, `1.5GiB`, `500KB`, or bytes without a unit. */
export function size(min: number, max: number): Kind<number> {
  return {
    placeholder: "<size>",
    allowed: `a size from ${showSize(min)} to ${showSize(max)}, such as 64MiB`,
    parse(text) {
      const value = parseUnits(text, sizeUnits, 1);
      return value === undefined ? notA("a size") : within(value, min, max, showSize);
    },
    show: showSize,
  };
}

/** Bytes a second: a size, with or without `/s`. */
export function rate(min: number, max: number): Kind<number> {
  const bytes = size(min, max);
  return {
    placeholder: "<size/s>",
    allowed: `bytes a second, from ${showSize(min)} to ${showSize(max)}, such as 8MiB/s`,
    parse: (text) => bytes.parse(text.replace(/\/s$/, "")),
    show: (value) => `${showSize(value)}/s`,
  };
}

const durationUnits: readonly (readonly [unit: string, ms: number])[] = [
  ["h", 3_600_000],
  ["min", 60_000],
  ["m", 60_000],
  ["s", 1000],
  ["ms", 1],
];

/** Milliseconds: `250ms`, `2s`, `1.5s`, `10min` or `10m`. */
export function duration(minMs: number, maxMs: number): Kind<number> {
  return {
    placeholder: "<time>",
    allowed: `a time from ${showDuration(minMs)} to ${showDuration(maxMs)}, such as 250ms or 2s`,
    parse(text) {
      const value = parseUnits(text, durationUnits, undefined);
      if (value !== undefined) return within(value, minMs, maxMs, showDuration);
      return /^\d+$/.test(text) ? { error: "has no unit" } : notA("a time");
    },
    show: showDuration,
  };
}

/** A switch: `--insecure`; elsewhere `true` or `false`. */
export const toggle: Kind<boolean> = {
  placeholder: "",
  allowed: "true or false",
  parse(text) {
    if (text === "true" || text === "1") return { value: true };
    if (text === "false" || text === "0") return { value: false };
    return notA("true or false");
  },
  show: String,
};

export function choice<T extends string>(...words: readonly T[]): Kind<T> {
  return {
    placeholder: `<${words.join("|")}>`,
    allowed: `one of ${words.join(", ")}`,
    parse(text) {
      const value = words.find((word) => word === text);
      return value === undefined ? { error: "is not one of these words" } : { value };
    },
    show: (value) => value,
  };
}

/** Text of one form. */
export function text(placeholder: string, allowed: string, pattern: RegExp): Kind<string> {
  return {
    placeholder,
    allowed,
    parse: (given) =>
      pattern.test(given) ? { value: given } : { error: "does not have this form" },
    show: (value) => value,
  };
}

/** `host:port`, an IPv6 address in brackets. */
export const address: Kind<string> = {
  placeholder: "<address>",
  allowed: "host:port, such as n1.example:8080 or [::1]:8080",
  parse(given) {
    const match = /^(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):(\d{1,5})$/.exec(given);
    if (match === null) return { error: "does not have this form" };
    const port = Number(match[1]);
    if (port < 1 || port > 65_535) return { error: "has no port from 1 to 65,535" };
    return { value: given };
  },
  show: (value) => value,
};

/** A way to a peer that is not the one that it advertises. */
export interface PeerRoute {
  readonly advertised: string;
  readonly used: string;
}

/** `advertised=used`, two addresses. */
export const route: Kind<PeerRoute> = {
  placeholder: "<address=address>",
  allowed: "two addresses host:port with '=' between them",
  parse(given) {
    const [advertised = "", used = "", ...more] = given.split("=");
    if (more.length > 0 || "error" in address.parse(advertised) || "error" in address.parse(used)) {
      return { error: "does not have this form" };
    }
    return { value: { advertised, used } };
  },
  show: ({ advertised, used }) => `${advertised}=${used}`,
};

/** A number of replicas, or a word for one. */
export const replicas: Kind<number | "quorum" | "all"> = {
  placeholder: "<count>",
  allowed: "a number from 1 to 100, quorum or all",
  parse(given) {
    if (given === "quorum" || given === "all") return { value: given };
    return whole(1, 100).parse(given);
  },
  show: String,
};

/** Several of one kind, with commas between them. */
export function list<T>(item: Kind<T>): Kind<readonly T[]> {
  return {
    placeholder: item.placeholder.replace(">", ",...>"),
    allowed: `${item.allowed}; several with commas between them`,
    parse(given) {
      const values: T[] = [];
      for (const part of given.split(",")) {
        const trimmed = part.trim();
        if (trimmed === "") continue;
        const parsed = item.parse(trimmed);
        if ("error" in parsed) return parsed;
        values.push(parsed.value);
      }
      return { value: values };
    },
    show: (values) => values.map((value) => item.show(value)).join(","),
  };
}

/** The same, and at least one of them: an empty one is a variable that was never filled. */
export function someOf<T>(item: Kind<T>): Kind<readonly T[]> {
  const any = list(item);
  return {
    ...any,
    parse(given) {
      const parsed = any.parse(given);
      return "value" in parsed && parsed.value.length === 0 ? { error: "names nobody" } : parsed;
    },
  };
}

/** `64MiB`, `1000B`: the largest binary unit in which the number is whole. */
export function showSize(bytes: number): string {
  for (const [unit, factor] of sizeUnits) {
    if (unit.includes("i") && bytes >= factor && bytes % factor === 0) {
      return `${bytes / factor}${unit}`;
    }
  }
  return `${bytes}B`;
}

/** `2s`, `250ms`: the largest unit in which the number is whole. */
export function showDuration(ms: number): string {
  for (const [unit, factor] of durationUnits) {
    if (ms >= factor && ms % factor === 0) return `${ms / factor}${unit}`;
  }
  return `${ms}ms`;
}

function parseUnits(
  given: string,
  units: readonly (readonly [unit: string, factor: number])[],
  bare: number | undefined,
): number | undefined {
  const match = /^(\d{1,15}(?:\.\d{1,6})?)\s?([A-Za-z]*)$/.exec(given);
  if (match === null) return undefined;
  const unit = (match[2] as string).toLowerCase();
  const factor = unit === "" ? bare : units.find(([name]) => name.toLowerCase() === unit)?.[1];
  if (factor === undefined) return undefined;
  const value = Number(match[1]) * factor;
  return Number.isSafeInteger(value) ? value : undefined;
}

function within(
  value: number,
  min: number,
  max: number,
  show: (value: number) => string,
): Parsed<number> {
  if (value < min) return { error: `is below ${show(min)}` };
  if (value > max) return { error: `is above ${show(max)}` };
  return { value };
}

function notA(what: string): { readonly error: string } {
  return { error: `is not ${what}` };
}
