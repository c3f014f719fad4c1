/**
 * Words check: what the demonstration asks of nodes over HTTP, and every difference that it finds.
 *
 * Whoever is asked is given as a function, so that the nodes of a cluster can be asked in turn.
 *
 * @module
 */

import {
  amount,
  atlasNamespace,
  type Entry,
  type Job,
  jobsOf,
  wordsNamespace,
} from "./words_input.ts";

const atlasValueBytesMax = 4 * 1024 * 1024;
const connections = 8;
/** On a machine that is busy with other things, the default would fail what is only slow. */
const timeout = "timeout=60s";
const differencesShownMax = 20;

const differences: string[] = [];
let differenceCount = 0;

/** The URL of the node that the next request goes to. */
export type Target = () => string;

/** How reads ask, beside the key: `consistency=all`. */
export type Level = "consistency=quorum" | "consistency=all";

export async function makeNamespaces(url: string): Promise<void> {
  await demand(`${url}/v1/namespaces/${wordsNamespace}`, putJson({}));
  await demand(`${url}/v1/namespaces/${atlasNamespace}`, putJson({ maxValue: atlasValueBytesMax }));
}

/** Every value is there, byte for byte. */
export async function checkAll(
  target: Target,
  entries: readonly Entry[],
  level: Level,
): Promise<void> {
  const startMs = performance.now();
  await readEach(target, entries, level, (entry, found) => {
    if (found === undefined) differ(`${nameOf(entry)} is not there`);
    else compare(entry, found);
  });
  say(rate("Read back, byte for byte,", entries.length, startMs));
}

export const wholeWords = [wordsNamespace, ""] as const;
export const someLists = [
  [wordsNamespace, "quo"],
  [wordsNamespace, "un"],
  [wordsNamespace, "z"],
  [wordsNamespace, "no such word"],
  [atlasNamespace, ""],
  [atlasNamespace, "flags/"],
] as const;

/** Lists of a namespace and a prefix, against a sort of the input by bytes. */
export async function checkLists(
  url: string,
  entries: readonly Entry[],
  cases: readonly (readonly [namespace: string, prefix: string])[],
): Promise<void> {
  const startMs = performance.now();
  for (const [namespace, prefix] of cases) {
    const expected = entries
      .filter((entry) => entry.namespace === namespace && entry.key.startsWith(prefix))
      .map(({ key }) => key)
      .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    const what = `the list of '${prefix}' in ${namespace}`;
    sameKeys(`${what}, streamed`, await streamedList(url, namespace, prefix), expected);
    sameKeys(`${what}, in pages`, await pagedList(url, namespace, prefix, false), expected);
    const backwards = await pagedList(url, namespace, prefix, true);
    sameKeys(`${what}, backwards`, backwards.reverse(), expected);
    const target = `${url}/v1/count/${namespace}?prefix=${encodeURIComponent(prefix)}`;
    const { keys } = (await (await demand(target)).json()) as { keys: number };
    if (keys !== expected.length) {
      differ(`the count of '${prefix}' in ${namespace} is ${keys}, not ${expected.length}`);
    }
  }
  const took = ((performance.now() - startMs) / 1000).toFixed(1);
  say(`${cases.length} lists, three ways each, and their counts, compared with a sort: ${took} s.`);
}

async function streamedList(url: string, namespace: string, prefix: string): Promise<string[]> {
  const target = `${url}/v1/keys/${namespace}?prefix=${encodeURIComponent(prefix)}&limit=1000`;
  const answer = await demand(target, { headers: { accept: "application/x-ndjson" } });
  const lines = (await answer.text()).trimEnd().split("\n");
  const end = JSON.parse(lines.pop() ?? "{}") as { end?: boolean; count?: number };
  if (end.end !== true || end.count !== lines.length) {
    differ(`${target}: the stream has ${lines.length} items and ends with ${JSON.stringify(end)}`);
  }
  return lines.map((line) => (JSON.parse(line) as { key: string }).key);
}

async function pagedList(
  url: string,
  namespace: string,
  prefix: string,
  reverse: boolean,
): Promise<string[]> {
  const query = new URLSearchParams({ prefix, limit: "1000", ...(reverse && { reverse: "1" }) });
  const keys: string[] = [];
  for (;;) {
    const answer = await demand(`${url}/v1/keys/${namespace}?${query}`);
    const page = (await answer.json()) as { items: { key: string }[]; next?: string };
    keys.push(...page.items.map(({ key }) => key));
    if (page.next === undefined) return keys;
    query.set("cursor", page.next);
  }
}

/** Hands every entry to `check` with what the node has for it: words by batches, documents by GET. */
export async function readEach(
  target: Target,
  entries: readonly Entry[],
  level: Level,
  check: (entry: Entry, found: Found | undefined) => void,
): Promise<void> {
  await each(jobsOf(entries), async (job) => {
    const [only] = job;
    if (only !== undefined && only.namespace === atlasNamespace) {
      check(only, await readOne(target(), only, level));
      return;
    }
    const ops = job.map(({ key }) => ({ get: { key } }));
    const results = await batch(target(), ops, level);
    job.forEach((entry, index) => {
      const { status, value, contentType } = results[index] ?? { status: 0 };
      if (status !== 200 && status !== 404) {
        differ(`${nameOf(entry)} could not be read: ${JSON.stringify(results[index])}`);
      } else if (status === 404) check(entry, undefined);
      else check(entry, { value: Buffer.from(value ?? ""), contentType: contentType ?? "" });
    });
  });
}

interface Found {
  readonly value: Buffer;
  readonly contentType: string;
}

async function readOne(
  url: string,
  { namespace, key }: Entry,
  level: Level,
): Promise<Found | undefined> {
  const answer = await fetch(`${url}/v1/kv/${namespace}/${key}?${level}&${timeout}`);
  const value = Buffer.from(await answer.arrayBuffer());
  if (answer.status === 404) return undefined;
  if (answer.status !== 200) throw new Error(`GET ${key}: ${answer.status} ${value}`);
  return { value, contentType: answer.headers.get("content-type") ?? "" };
}

export function compare(entry: Entry, found: Found): void {
  if (!entry.value.equals(found.value)) {
    const sizes = `${found.value.length} bytes instead of ${entry.value.length}`;
    differ(`${nameOf(entry)} has another value: ${sizes}`);
  } else if (found.contentType !== entry.contentType) {
    differ(`${nameOf(entry)} is ${found.contentType}, not ${entry.contentType}`);
  }
}

/** Stores one job; resolves when all of it was acknowledged. */
export async function store(url: string, job: Job): Promise<void> {
  const [only] = job;
  if (only !== undefined && only.namespace === atlasNamespace) {
    const headers = { "content-type": only.contentType };
    const init = { method: "PUT", headers, body: new Uint8Array(only.value) };
    await demand(`${url}/v1/kv/${only.namespace}/${only.key}?${timeout}`, init);
    return;
  }
  const ops = job.map(({ key, value, contentType }) => ({
    put: { key, value: value.toString("utf8"), contentType },
  }));
  const results = await batch(url, ops, "consistency=quorum");
  const failed = results.find(({ status }) => status !== 204);
  if (failed !== undefined || results.length !== job.length) {
    throw new Error(`a batch was not stored: ${JSON.stringify(failed ?? results.length)}`);
  }
}

interface OneResult {
  readonly status: number;
  readonly value?: string;
  readonly contentType?: string;
}

async function batch(
  url: string,
  ops: readonly unknown[],
  level: Level,
): Promise<readonly OneResult[]> {
  const body = JSON.stringify({ ops });
  const path = `/v1/batch/${wordsNamespace}?${level}&${timeout}`;
  const answer = await demand(`${url}${path}`, { method: "POST", body });
  return ((await answer.json()) as { results: OneResult[] }).results;
}

function putJson(value: unknown): RequestInit {
  return { method: "PUT", body: JSON.stringify(value) };
}

/** A request that has to succeed. */
export async function demand(target: string, init: RequestInit = {}): Promise<Response> {
  const answer = await fetch(target, init);
  if (answer.ok) return answer;
  throw new Error(`${init.method ?? "GET"} ${target}: ${answer.status} ${await answer.text()}`);
}

/** Runs `work` on each item, `connections` at a time; the first failure ends it. */
export async function each<Item>(
  items: readonly Item[],
  work: (item: Item) => Promise<void>,
): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < items.length) {
      const item = items[next] as Item;
      next += 1;
      await work(item);
    }
  };
  await Promise.all(Array.from({ length: connections }, worker));
}

function sameKeys(what: string, actual: readonly string[], expected: readonly string[]): void {
  const at = expected.findIndex((key, index) => key !== actual[index]);
  if (at < 0 && actual.length === expected.length) return;
  const place = at < 0 ? expected.length : at;
  differ(
    `${what} has ${actual.length} keys instead of ${expected.length}; ` +
      `number ${place} is '${actual[place]}' instead of '${expected[place]}'`,
  );
}

export function differ(text: string): void {
  differenceCount += 1;
  if (differences.length < differencesShownMax) differences.push(text);
}

export function nameOf({ namespace, key }: Entry): string {
  return `'${key}' in ${namespace}`;
}

export function rate(what: string, count: number, startMs: number): string {
  const seconds = (performance.now() - startMs) / 1000;
  const each = amount(Math.round(count / seconds));
  return `${what} ${amount(count)} values in ${seconds.toFixed(1)} s (${each} a second).`;
}

/** Prints the differences; the exit code. */
export function conclude(): number {
  for (const line of differences) say(`DIFFERENCE: ${line}`);
  say(
    differenceCount === 0
      ? "No difference: every acknowledged value was kept."
      : `${amount(differenceCount)} differences.`,
  );
  return differenceCount === 0 ? 0 : 1;
}

export function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
