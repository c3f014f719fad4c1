/**
 * Words input: a dictionary and an atlas, as keys and values.
 *
 * Some 275,000 English words are the keys of one namespace, in a shuffled order and in batches. The
 * documents of all countries (facts as JSON, outlines as GeoJSON and TopoJSON, flags as SVG; some
 * above a megabyte) are the keys of another, each with a request of its own.
 *
 * @module
 */

import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(import.meta.url);

export const wordsNamespace = "words";
export const atlasNamespace = "atlas";
const batchCount = 1000;

export interface Entry {
  readonly namespace: string;
  readonly key: string;
  readonly value: Buffer;
  readonly contentType: string;
}

/** A piece of work: a batch of words, or one document. */
export type Job = readonly Entry[];

/** The words, and as the value of each what a small dictionary would say. */
export function readWords(): Entry[] {
  const words = require("an-array-of-english-words") as string[];
  return words.map((word, index) => ({
    namespace: wordsNamespace,
    key: word,
    value: Buffer.from(
      JSON.stringify({ word, number: index, backwards: [...word].reverse().join("") }),
    ),
    contentType: "application/json",
  }));
}

/** What the package knows of each country: one entry of its list, and its files. */
export function readAtlas(): Entry[] {
  const folder = join(require.resolve("world-countries/package.json"), "..");
  const countries = JSON.parse(readFileSync(join(folder, "countries.json"), "utf8")) as {
    readonly cca3: string;
  }[];
  const namespace = atlasNamespace;
  const facts = countries.map((country) => ({
    namespace,
    key: `facts/${country.cca3}.json`,
    value: Buffer.from(JSON.stringify(country, null, 2)),
    contentType: "application/json",
  }));
  const kinds = [
    [".geo.json", "outlines/", "application/geo+json"],
    [".topo.json", "topology/", "application/json"],
    [".svg", "flags/", "image/svg+xml"],
  ] as const;
  const files = readdirSync(join(folder, "data")).flatMap((name) => {
    const kind = kinds.find(([end]) => name.endsWith(end));
    if (kind === undefined) return [];
    const [, prefix, contentType] = kind;
    const value = readFileSync(join(folder, "data", name));
    return [{ namespace, key: prefix + name, value, contentType }];
  });
  return [...facts, ...files];
}

/** Batches of words and single documents, in an order that has nothing to do with the keys. */
export function jobsOf(entries: readonly Entry[]): Job[] {
  const words = shuffled(entries.filter(({ namespace }) => namespace === wordsNamespace));
  const jobs: Job[] = entries
    .filter(({ namespace }) => namespace === atlasNamespace)
    .map((entry) => [entry]);
  for (let at = 0; at < words.length; at += batchCount) {
    jobs.push(words.slice(at, at + batchCount));
  }
  return shuffled(jobs);
}

/** Fisher and Yates' shuffle with a fixed seed, so that a difference comes again. */
function shuffled<Item>(items: readonly Item[]): Item[] {
  const mixed = [...items];
  let state = 20_260_101;
  for (let last = mixed.length - 1; last > 0; last -= 1) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    const other = Math.floor((state / 2 ** 32) * (last + 1));
    [mixed[last], mixed[other]] = [mixed[other] as Item, mixed[last] as Item];
  }
  return mixed;
}

/** How much there is of them. */
export function described(entries: readonly Entry[]): string {
  const words = entries.filter(({ namespace }) => namespace === wordsNamespace).length;
  const bytes = entries.reduce((sum, { value }) => sum + value.length, 0);
  const largest = Math.max(...entries.slice(words).map(({ value }) => value.length));
  const size = `${(bytes / 1e6).toFixed(1)} MB, the largest value ${(largest / 1e6).toFixed(2)} MB`;
  return `${amount(words)} words and ${amount(entries.length - words)} documents, ${size}`;
}

/** 275000 as `275,000`. */
export function amount(value: number): string {
  return value.toLocaleString("en-US");
}
