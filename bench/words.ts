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

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  checkAll,
  checkLists,
  compare,
  conclude,
  differ,
  each,
  makeNamespaces,
  nameOf,
  rate,
  readEach,
  say,
  someLists,
  store,
  wholeWords,
} from "./words_check.ts";
import {
  amount,
  described,
  type Entry,
  type Job,
  jobsOf,
  readAtlas,
  readWords,
} from "./words_input.ts";
import { type Server, start, stop } from "./words_process.ts";

process.exitCode = await main();

async function main(): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), "quorate-words-"));
  const words = ["--port", "0", "--data-dir", join(folder, "data")];
  let server: Server | undefined;
  try {
    const entries = [...readWords(), ...readAtlas()];
    say(`The input: ${described(entries)}.`);
    const jobs = jobsOf(entries);

    server = await start(words);
    await makeNamespaces(server.url);
    const acknowledged = new Set<Entry>();
    const killed = await loadUntilKilled(server, jobs, acknowledged);
    say(
      `Killed with SIGKILL after ${amount(acknowledged.size)} acknowledged values; ` +
        `${amount(killed.underWay)} more were under way without an answer.`,
    );

    server = await start(words);
    const { url } = server;
    await checkAfterKill(url, entries, acknowledged);
    await loadRest(url, jobs, acknowledged);
    await checkAll(() => url, entries, "consistency=quorum");
    await checkLists(url, entries, [wholeWords, ...someLists]);
    await stop(server);
  } finally {
    server?.process.kill("SIGKILL");
    await server?.ended;
    rmSync(folder, { recursive: true, force: true });
  }
  return conclude();
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
  await readEach(
    () => url,
    entries,
    "consistency=quorum",
    (entry, found) => {
      if (acknowledged.has(entry)) {
        if (found === undefined) differ(`${nameOf(entry)} was acknowledged, and is not there`);
        else compare(entry, found);
      } else if (found !== undefined) {
        extra += 1;
        compare(entry, found);
      }
    },
  );
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
