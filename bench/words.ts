/**
 * Words: a dictionary and an atlas go into a node that is killed half-way, and nothing may be lost.
 *
 *     npm run demo:words
 *
 * Some 275,000 English words are the keys of one namespace, in a shuffled order and in batches. The
 * documents of all countries (facts as JSON, outlines as GeoJSON and TopoJSON, flags as SVG; some
 * above a megabyte) are the keys of another, each with a PUT of its own. All of it goes over HTTP to
 * a real process. When half of the work is acknowledged the process gets SIGKILL, in the middle of
 * whatever it is doing, and is started again on the same folder. Then:
 *
 *   every value that was acknowledged before the kill is there, byte for byte
 *   every value that was not is either whole or absent, never a part of it
 *   the rest goes in, and every value is read back byte for byte, with its type
 *   lists by prefix, forwards and backwards, paged and streamed, equal a sort of the input
 *   the counts are right
 *
 * Any difference is printed, and the exit code is then 1.
 *
 * @module
 */

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const require = createRequire(import.meta.url);

const wordsNamespace = "words";
const atlasNamespace = "atlas";
const atlasValueBytesMax = 4 * 1024 * 1024;
const batchCount = 1000;
const connections = 8;
const differencesShownMax = 20;
const startTimeoutMs = 60_000;

interface Entry {
  readonly namespace: string;
  readonly key: string;
  readonly value: Buffer;
  readonly contentType: string;
}

/** A piece of work: a batch of words, or one document. */
type Job = readonly Entry[];

const differences: string[] = [];
let differenceCount = 0;

/** The node's process; it is replaced when it is killed and started again. */
interface Server {
  readonly url: string;
  readonly process: ChildProcess;
  readonly ended: Promise<string>;
}

process.exitCode = await main();

async function main(): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), "quorate-words-"));
  let server: Server | undefined;
  try {
    const entries = [...readWords(), ...readAtlas()];
    say(`The input: ${described(entries)}.`);
    const jobs = jobsOf(entries);

    server = await start(folder);
    await makeNamespaces(server.url);
    const acknowledged = new Set<Entry>();
    const killed = await loadUntilKilled(server, jobs, acknowledged);
    say(
      `Killed with SIGKILL after ${amount(acknowledged.size)} acknowledged values; ` +
        `${amount(killed.underWay)} more were under way without an answer.`,
    );

    server = await start(folder);
    await checkAfterKill(server.url, entries, acknowledged);
    await loadRest(server.url, jobs, acknowledged);
    await checkAll(server.url, entries);
    await checkLists(server.url, entries);
    await stop(server);
  } finally {
    server?.process.kill("SIGKILL");
    await server?.ended;
    rmSync(folder, { recursive: true, force: true });
  }
  for (const line of differences) say(`DIFFERENCE: ${line}`);
  say(
    differenceCount === 0
      ? "No difference: every acknowledged value was kept."
      : `${amount(differenceCount)} differences.`,
  );
  return differenceCount === 0 ? 0 : 1;
}

/** The words, and as the value of each what a small dictionary would say. */
function readWords(): Entry[] {
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
function readAtlas(): Entry[] {
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
function jobsOf(entries: readonly Entry[]): Job[] {
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

async function makeNamespaces(url: string): Promise<void> {
  await demand(`${url}/v1/namespaces/${wordsNamespace}`, putJson({}));
  await demand(`${url}/v1/namespaces/${atlasNamespace}`, putJson({ maxValue: atlasValueBytesMax }));
}

/** Sends jobs until half of the values are acknowledged, then kills the node at once. */
async function loadUntilKilled(
  server: Server,
  jobs: readonly Job[],
  acknowledged: Set<Entry>,
): Promise<{ readonly underWay: number }> {
  const half = jobs.reduce((sum, job) => sum + job.length, 0) / 2;
  const startMs = performance.now();
  let isKilled = false;
  let underWay = 0;
  await each(jobs, async (job) => {
    if (isKilled) return;
    try {
      await store(server.url, job);
    } catch (error) {
      // Whatever fails before the kill is a failure of the node.
      if (!isKilled) throw error;
      underWay += job.length;
      return;
    }
    for (const entry of job) acknowledged.add(entry);
    if (acknowledged.size < half || isKilled) return;
    isKilled = true;
    say(rate("Stored", acknowledged.size, startMs));
    server.process.kill("SIGKILL");
  });
  await server.ended;
  if (!isKilled) throw new Error("the node was never killed: there was too little to store");
  return { underWay };
}

/** Acknowledged values are there; the others are whole or absent. */
async function checkAfterKill(
  url: string,
  entries: readonly Entry[],
  acknowledged: ReadonlySet<Entry>,
): Promise<void> {
  const startMs = performance.now();
  let extra = 0;
  await readEach(url, entries, (entry, found) => {
    if (acknowledged.has(entry)) {
      if (found === undefined) differ(`${nameOf(entry)} was acknowledged, and is not there`);
      else compare(entry, found);
    } else if (found !== undefined) {
      extra += 1;
      compare(entry, found);
    }
  });
  say(rate("After the restart, compared", entries.length, startMs));
  say(
    `All ${amount(acknowledged.size)} acknowledged values were looked for; ` +
      `${amount(extra)} that were under way are there too, and were compared.`,
  );
}

async function loadRest(
  url: string,
  jobs: readonly Job[],
  acknowledged: ReadonlySet<Entry>,
): Promise<void> {
  const rest = jobs.filter((job) => !job.every((entry) => acknowledged.has(entry)));
  const startMs = performance.now();
  await each(rest, (job) => store(url, job));
  const count = rest.reduce((sum, job) => sum + job.length, 0);
  say(rate("Stored the rest:", count, startMs));
}

async function checkAll(url: string, entries: readonly Entry[]): Promise<void> {
  const startMs = performance.now();
  await readEach(url, entries, (entry, found) => {
    if (found === undefined) differ(`${nameOf(entry)} is not there`);
    else compare(entry, found);
  });
  say(rate("Read back, byte for byte,", entries.length, startMs));
}

/** Lists against a sort of the input, by bytes. */
async function checkLists(url: string, entries: readonly Entry[]): Promise<void> {
  const startMs = performance.now();
  const cases = [
    [wordsNamespace, ""],
    [wordsNamespace, "quo"],
    [wordsNamespace, "z"],
    [wordsNamespace, "no such word"],
    [atlasNamespace, ""],
    [atlasNamespace, "flags/"],
  ] as const;
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
async function readEach(
  url: string,
  entries: readonly Entry[],
  check: (entry: Entry, found: Found | undefined) => void,
): Promise<void> {
  await each(jobsOf(entries), async (job) => {
    const [only] = job;
    if (only !== undefined && only.namespace === atlasNamespace) {
      check(only, await readOne(url, only));
      return;
    }
    const ops = job.map(({ key }) => ({ get: { key } }));
    const results = await batch(url, ops);
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

async function readOne(url: string, { namespace, key }: Entry): Promise<Found | undefined> {
  const answer = await fetch(`${url}/v1/kv/${namespace}/${key}`);
  const value = Buffer.from(await answer.arrayBuffer());
  if (answer.status === 404) return undefined;
  if (answer.status !== 200) throw new Error(`GET ${key}: ${answer.status} ${value}`);
  return { value, contentType: answer.headers.get("content-type") ?? "" };
}

function compare(entry: Entry, found: Found): void {
  if (!entry.value.equals(found.value)) {
    const sizes = `${found.value.length} bytes instead of ${entry.value.length}`;
    differ(`${nameOf(entry)} has another value: ${sizes}`);
  } else if (found.contentType !== entry.contentType) {
    differ(`${nameOf(entry)} is ${found.contentType}, not ${entry.contentType}`);
  }
}

/** Stores one job; resolves when all of it was acknowledged. */
async function store(url: string, job: Job): Promise<void> {
  const [only] = job;
  if (only !== undefined && only.namespace === atlasNamespace) {
    const headers = { "content-type": only.contentType };
    const init = { method: "PUT", headers, body: new Uint8Array(only.value) };
    await demand(`${url}/v1/kv/${only.namespace}/${only.key}`, init);
    return;
  }
  const ops = job.map(({ key, value, contentType }) => ({
    put: { key, value: value.toString("utf8"), contentType },
  }));
  const results = await batch(url, ops);
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

async function batch(url: string, ops: readonly unknown[]): Promise<readonly OneResult[]> {
  const body = JSON.stringify({ ops });
  const answer = await demand(`${url}/v1/batch/${wordsNamespace}`, { method: "POST", body });
  return ((await answer.json()) as { results: OneResult[] }).results;
}

function putJson(value: unknown): RequestInit {
  return { method: "PUT", body: JSON.stringify(value) };
}

/** A request that has to succeed. */
async function demand(target: string, init: RequestInit = {}): Promise<Response> {
  const answer = await fetch(target, init);
  if (answer.ok) return answer;
  throw new Error(`${init.method ?? "GET"} ${target}: ${answer.status} ${await answer.text()}`);
}

/** Runs `work` on each item, `connections` at a time; the first failure ends it. */
async function each<Item>(
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

async function start(folder: string): Promise<Server> {
  const startMs = performance.now();
  const words = ["serve", "--port", "0", "--data-dir", join(folder, "data"), "--log-level", "warn"];
  const child = spawn(process.execPath, [join(root, "dist/src/cli.js"), ...words], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = new Promise<string>((settle) => {
    child.on("close", (code, signal) => settle(signal ?? `exit code ${code}`));
  });
  let timer: NodeJS.Timeout | undefined;
  const listening = new Promise<string>((settle, reject) => {
    timer = setTimeout(() => reject(new Error("the node did not start in time")), startTimeoutMs);
    ended.then((how) => reject(new Error(`the node ended before it listened: ${how}`)));
    // The pipe is read on after the line: nobody may be held up by it.
    createInterface({ input: child.stdout }).on("line", (line) => {
      const url = /^listening on (http:\S+)$/.exec(line)?.[1];
      if (url !== undefined) settle(url);
    });
  });
  try {
    const url = await listening;
    say(`A node listens on ${url} after ${Math.round(performance.now() - startMs)} ms.`);
    return { url, process: child, ended };
  } catch (error) {
    child.kill("SIGKILL");
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

async function stop(server: Server): Promise<void> {
  const startMs = performance.now();
  server.process.kill("SIGTERM");
  const how = await server.ended;
  if (how !== "exit code 0") differ(`SIGTERM ended the node with ${how}`);
  say(`SIGTERM: stopped in order after ${Math.round(performance.now() - startMs)} ms.`);
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

function differ(text: string): void {
  differenceCount += 1;
  if (differences.length < differencesShownMax) differences.push(text);
}

function nameOf({ namespace, key }: Entry): string {
  return `'${key}' in ${namespace}`;
}

function described(entries: readonly Entry[]): string {
  const words = entries.filter(({ namespace }) => namespace === wordsNamespace).length;
  const bytes = entries.reduce((sum, { value }) => sum + value.length, 0);
  const largest = Math.max(...entries.slice(words).map(({ value }) => value.length));
  const size = `${(bytes / 1e6).toFixed(1)} MB, the largest value ${(largest / 1e6).toFixed(2)} MB`;
  return `${amount(words)} words and ${amount(entries.length - words)} documents, ${size}`;
}

function rate(what: string, count: number, startMs: number): string {
  const seconds = (performance.now() - startMs) / 1000;
  const each = amount(Math.round(count / seconds));
  return `${what} ${amount(count)} values in ${seconds.toFixed(1)} s (${each} a second).`;
}

function amount(value: number): string {
  return value.toLocaleString("en-US");
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
