/**
 * Words cluster: the dictionary and the atlas go into three nodes, and one after the other goes away.
 *
 *     node --import tsx bench/words_cluster.ts        after npm run setup; part of npm run demo:words
 *
 *     0             half            three quarters                    all
 *     |--- n1 n2 n3 ---|-- n1 n2 -------|-- n3 is back, n2 restarts ---|--- hints go, all read at `all`
 *                   n3: SIGKILL       n3: started   n2: SIGTERM, started
 *
 * The requests go to the nodes in turn. What n3 had under way when it was killed is sent again, to
 * another node; nothing else may fail but by n2's saying that it stops. In the end every value is
 * read at the level `all`, through every node in turn, byte for byte, and lists are compared with a
 * sort of the input. Any difference is printed, and the exit code is then 1.
 *
 * @module
 */

import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "./free_port.ts";
import {
  checkAll,
  checkLists,
  conclude,
  demand,
  differ,
  each,
  makeNamespaces,
  rate,
  say,
  someLists,
  store,
} from "./words_check.ts";
import {
  amount,
  atlasNamespace,
  described,
  type Job,
  jobsOf,
  readAtlas,
  readWords,
} from "./words_input.ts";
import { type Server, start, stop } from "./words_process.ts";

const names = ["n1", "n2", "n3"] as const;
const readyPollMs = 50;
const hintsTimeoutMs = 120_000;

process.exitCode = await main();

/** A node, while it is up; a request that breaks off after `goesAway` was set is no difference. */
interface Place {
  readonly name: string;
  readonly words: readonly string[];
  server: Server | undefined;
  goesAway: boolean;
}

async function main(): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), "quorate-words-"));
  const environment = { QUORATE_CLUSTER_SECRET: randomBytes(32).toString("hex") };
  const places = await planned(folder);
  const startPlace = async (place: Place): Promise<void> => {
    place.server = await start(place.words, environment);
    await untilReady(place);
    place.goesAway = false;
  };
  try {
    const entries = [...readWords(), ...readAtlas()];
    say(`The input, for three nodes: ${described(entries)}.`);
    for (const place of places) place.server = await start(place.words, environment);
    await Promise.all(places.map(untilReady));
    for (const place of places) place.goesAway = false;
    await makeNamespaces(urlOf(places[0]));
    await Promise.all(places.map(untilNamespaces));
    await load(places, jobsOf(entries), startPlace);
    await untilNoHints(places);
    await checkAll(inTurn(places), entries, "consistency=all");
    // A page comes from all partitions, at a quorum of each: of all words it would take minutes.
    await checkLists(urlOf(places[2]), entries, someLists);
    for (const { server } of places) if (server !== undefined) await stop(server);
  } finally {
    for (const { server } of places) {
      server?.process.kill("SIGKILL");
      await server?.ended;
    }
    rmSync(folder, { recursive: true, force: true });
  }
  return conclude();
}

/** The three, with ports that were free a moment ago. */
async function planned(folder: string): Promise<readonly [Place, Place, Place]> {
  const ports = await Promise.all([freePort(), freePort(), freePort()]);
  const peers = ports.map((port) => `127.0.0.1:${port}`).join(",");
  const place = (index: 0 | 1 | 2): Place => {
    const name = names[index];
    const own = ["--name", name, "--port", `${ports[index]}`, "--data-dir", join(folder, name)];
    const words = [...own, "--peers", peers, "--bootstrap-expect", "3"];
    return { name, words, server: undefined, goesAway: true };
  };
  return [place(0), place(1), place(2)];
}

/** All jobs, by the nodes in turn, while the second and the third go away and come back. */
async function load(
  places: readonly [Place, Place, Place],
  jobs: readonly Job[],
  startPlace: (place: Place) => Promise<void>,
): Promise<void> {
  const [, second, third] = places;
  const total = jobs.reduce((sum, job) => sum + job.length, 0);
  const startMs = performance.now();
  const next = placesInTurn(places);
  const underWay = new Set<Promise<void>>();
  let stored = 0;
  let again = 0;
  const kill = async (): Promise<void> => {
    third.goesAway = true;
    const { server } = third;
    server?.process.kill("SIGKILL");
    await server?.ended;
    say(`${third.name} was killed with SIGKILL after ${amount(stored)} values.`);
  };
  const restart = async (): Promise<void> => {
    await startPlace(third);
    say(`${third.name} serves again after ${amount(stored)} values.`);
    // What was sent before that has only the two others to count on.
    await Promise.allSettled(underWay);
    second.goesAway = true;
    if (second.server !== undefined) await stop(second.server);
    await startPlace(second);
    say(`${second.name} was restarted in order, and serves after ${amount(stored)} values.`);
  };
  const changes: [share: number, change: () => Promise<void>][] = [
    [0.5, kill],
    [0.75, restart],
  ];
  const changing: Promise<void>[] = [];
  const storeAll = (): Promise<void> =>
    each(jobs, async (job) => {
      for (;;) {
        const place = next();
        const storing = store(urlOf(place), job);
        underWay.add(storing);
        try {
          await storing;
          break;
        } catch (error) {
          if (!place.goesAway) throw error;
          again += 1;
        } finally {
          underWay.delete(storing);
        }
      }
      stored += job.length;
      const [due] = changes;
      if (due === undefined || stored < total * due[0]) return;
      changes.shift();
      const change = due[1]();
      // It is looked at when the load is over.
      change.catch(() => {});
      changing.push(change);
    });
  try {
    await storeAll();
  } finally {
    // No process may be started once the others are ended.
    await Promise.allSettled(changing);
  }
  await Promise.all(changing);
  if (changes.length > 0) differ("the load was over before the nodes had gone away");
  say(rate("Stored", stored, startMs));
  say(`${amount(again)} requests of nodes that went away were sent again, and no other failed.`);
}

/** The nodes that are meant to serve, one after the other. */
function placesInTurn(places: readonly Place[]): () => Place {
  let turn = 0;
  return () => {
    const serving = places.filter(({ goesAway }) => !goesAway);
    const place = serving[turn % serving.length];
    if (place === undefined) throw new Error("no node is meant to serve");
    turn += 1;
    return place;
  };
}

function inTurn(places: readonly Place[]): () => string {
  const next = placesInTurn(places);
  return () => urlOf(next());
}

function urlOf({ name, server }: Place): string {
  if (server === undefined) throw new Error(`${name} was not started`);
  return server.url;
}

async function untilReady(place: Place): Promise<void> {
  let how: string | undefined;
  void place.server?.ended.then((ended) => {
    how = ended;
  });
  while ((await fetch(`${urlOf(place)}/readyz`)).status !== 200) {
    if (how !== undefined) throw new Error(`${place.name} ended before it was ready: ${how}`);
    await pause(readyPollMs);
  }
}

/** A namespace that was made by one node is known to the others a moment later. */
async function untilNamespaces(place: Place): Promise<void> {
  const target = `${urlOf(place)}/v1/namespaces/${atlasNamespace}`;
  while ((await fetch(target)).status !== 200) await pause(readyPollMs);
}

async function untilNoHints(places: readonly Place[]): Promise<void> {
  const startMs = performance.now();
  for (const place of places) {
    for (;;) {
      const answer = await demand(`${urlOf(place)}/v1/hints`);
      const { count } = (await answer.json()) as { count: number };
      if (count === 0) break;
      if (performance.now() - startMs > hintsTimeoutMs) {
        differ(`${place.name} still keeps ${count} hints`);
        return;
      }
      await pause(readyPollMs);
    }
  }
  say(`No hint is left after ${Math.round(performance.now() - startMs)} ms.`);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
