/**
 * Conformance: clients that nobody here wrote, and every runtime that the program promises.
 *
 *     npm run conformance [-- --runtime bun] [-- --only python]
 *
 * For Node 20, Node 24, Bun and Deno in turn: `quorate serve` is started under it, and every client
 * and every part of the contract is run against it. Then the same for kills and restarts, for
 * folders that go from one runtime to another, and for the embedded database. Last, every client is
 * run against one cluster of three nodes, on Node 24, Bun and Deno ("mixed"), and each of these has
 * its faults.
 *
 * A line for each group, with the failures under it; the last line is `N passed, N failed`. What the
 * machine lacks (a Python, a Go) is a failure that says so.
 *
 * @module
 */

import { rmSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { outcomesOf, runChecks, Scoreboard } from "./checks.ts";
import { bufChecks, bufProtocols } from "./client_buf.ts";
import { curlChecks, curlWays } from "./client_curl.ts";
import { grpcJsChecks } from "./client_grpc_js.ts";
import { errorCases } from "./contract_errors.ts";
import { frameChecks } from "./contract_frames.ts";
import { keyChecks } from "./contract_keys.ts";
import { rawChecks } from "./contract_raw.ts";
import { casesOf, checkAllRoutesAsked, routeCases } from "./contract_routes.ts";
import { beginSlow } from "./contract_slow.ts";
import { stateChecks } from "./contract_states.ts";
import { durabilityChecks } from "./durability.ts";
import {
  linksLast,
  mixedClusterChecks,
  startMixedCluster,
  stopMixedCluster,
} from "./mixed_cluster.ts";
import { Nodes } from "./nodes.ts";
import { endAll, run } from "./processes.ts";
import { simulatedChecks } from "./simulated.ts";
import { freshFolder, makeRunFolder, type Stand, startServer, stillAnswers } from "./stand.ts";
import {
  compiledModule,
  compileProgram,
  here,
  installRuntimes,
  lackOf,
  prepareGo,
  preparePython,
  type Runtime,
  root,
  runtimes,
} from "./tools.ts";

const clientLimitMs = 90_000;

const { values: options } = parseArgs({
  options: {
    runtime: { type: "string", multiple: true },
    only: { type: "string", multiple: true },
  },
});

const board = new Scoreboard((line) => process.stdout.write(`${line}\n`));
const runFolder = makeRunFolder();
process.on("exit", () => {
  endAll();
  rmSync(runFolder, { recursive: true, force: true });
});
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1));

const isWanted = (group: string) => options.only?.some((one) => group.includes(one)) ?? true;

/** What is made once and used under every runtime; a failure is each user's own. */
function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => {
    made ??= make();
    return made;
  };
}

const python = once(preparePython);
const go = once(prepareGo);

interface Group {
  readonly name: string;
  readonly collect: (stand: Stand) => ReturnType<typeof runChecks>;
}

function contractGroups(): Group[] {
  const asked = new Set<string>();
  return [
    {
      name: "contract routes",
      collect: (stand) => {
        const all = { name: "every route was asked", run: () => checkAllRoutesAsked(stand, asked) };
        return runChecks([...casesOf(stand, routeCases, asked), all]);
      },
    },
    {
      name: "contract errors",
      collect: (stand) => runChecks(casesOf(stand, errorCases, asked)),
    },
    { name: "contract keys", collect: (stand) => runChecks(keyChecks(stand)) },
    { name: "bad input, HTTP/1.1", collect: (stand) => runChecks(rawChecks(stand)) },
    { name: "bad input, HTTP/2 frames", collect: (stand) => runChecks(frameChecks(stand)) },
  ];
}

/** The name, beside those of the runtimes, of a cluster in which each node is of another. */
const mixed = "mixed";

/** A client, and the servers that it is sent to. */
interface ClientGroup {
  readonly name: string;
  readonly collect: (nodes: Nodes) => ReturnType<typeof runChecks>;
}

function clientGroups(): ClientGroup[] {
  return [
    ...curlWays.map((way) => ({
      name: `curl ${way[0]}`,
      collect: (nodes: Nodes) => runChecks(curlChecks(nodes, way, freshFolder(runFolder))),
    })),
    ...runtimes.map((runtime) => ({
      name: `fetch from ${runtime.name}`,
      collect: ({ origins }: Nodes) => fetchFrom(runtime, origins),
    })),
    ...bufProtocols.map((protocol) => ({
      name: `buf curl ${protocol}`,
      collect: (nodes: Nodes) => runChecks(bufChecks(nodes, protocol)),
    })),
    { name: "grpc-js", collect: (nodes) => runChecks(grpcJsChecks(nodes)) },
    {
      name: "python grpcio",
      collect: async ({ addresses }) => {
        const { command, environment } = await python();
        const words = [join(here, "python/client.py"), addresses];
        return outcomesOf(await run(command, words, { environment, limitMs: clientLimitMs }));
      },
    },
    {
      name: "go grpc-go",
      collect: async ({ addresses }) => {
        return outcomesOf(await run(await go(), [addresses], { limitMs: clientLimitMs }));
      },
    },
  ];
}

async function fetchFrom(runtime: Runtime, origins: string) {
  const words = [...runtime.scriptWords, join(here, "fetch_script.ts"), origins];
  const { command, environment } = runtime;
  const around = { folder: root, environment, limitMs: clientLimitMs };
  return outcomesOf(await run(command, [...words, `fetch-${runtime.name}`], around));
}

async function standOf(runtime: Runtime, folder: string): Promise<Stand> {
  const server = await startServer(runtime, folder);
  return { runtime, server, port: server.port, origin: server.origin };
}

/** One server, and everything that is asked of it. */
async function againstOneServer(runtime: Runtime): Promise<void> {
  const clients = clientGroups().map(
    ({ name, collect }): Group => ({ name, collect: ({ port }) => collect(new Nodes([port])) }),
  );
  const groups = [...contractGroups(), ...clients].filter(({ name }) => isWanted(name));
  const wantsSlow = isWanted("slow clients");
  if (groups.length === 0 && !wantsSlow) return;
  const folder = freshFolder(runFolder);
  const first = await standOf(runtime, folder);
  const slow = wantsSlow ? beginSlow(first) : [];
  let stand = first;
  for (const { name, collect } of groups) {
    // A server that one client has killed must not fail the checks of the next.
    if (stand.server.hasEnded) stand = await standOf(runtime, folder);
    const { server } = stand;
    await board.group(runtime.name, name, async () => {
      const outcomes = await collect(stand);
      const survives = { name: "the server outlives its clients" };
      const why = `it ended with ${server.end}: ${server.log.slice(-400)}`;
      return [...outcomes, server.hasEnded ? { ...survives, why } : survives];
    });
  }
  if (wantsSlow) await board.group(runtime.name, "slow clients", () => runChecks(slow));
  const { server } = stand;
  const after = {
    name: "it answers, stops in order, and its log has no fault of its own",
    run: async () => {
      await stillAnswers(stand);
      const code = await server.stop();
      if (code !== 0) throw new Error(`it ended with ${code}:\n${server.log.slice(-1500)}`);
      const faults = server.log.split("\n").filter((line) => /"level":"error"/.test(line));
      if (faults.length > 0) throw new Error(faults.slice(0, 5).join("\n"));
    },
  };
  await board.group(runtime.name, "the server, after all that", () => runChecks([after]));
}

/** The embedded database, and a folder that another runtime opens. */
async function embedded(runtime: Runtime, other: Runtime) {
  const folder = freshFolder(runFolder);
  const script = async (under: Runtime, mode: string) => {
    const module = under.name === "node20" ? compiledModule : join(root, "mod.ts");
    const words = [...under.scriptWords, join(here, "embedded_script.ts"), folder, module, mode];
    const { command, environment } = under;
    const ran = await run(command, words, { folder: root, environment, limitMs: clientLimitMs });
    const end = mode === "die" ? null : 0;
    const ended = { name: `the process ends by itself (${mode})` };
    const why = `code ${ran.code}${ran.late ? ", at its time limit" : ""}: ${ran.err.slice(-800)}`;
    return [...outcomesOf(ran), ran.code === end && !ran.late ? ended : { ...ended, why }];
  };
  return [
    ...(await script(runtime, "write")),
    ...(await script(runtime, "read")),
    ...(await script(other, "read")),
    ...(await script(runtime, "die")),
    ...(await script(runtime, "reopen")),
  ];
}

async function underRuntime(runtime: Runtime): Promise<void> {
  const lack = await lackOf(runtime);
  if (lack !== undefined) {
    await board.group(runtime.name, "the runtime is there", () => Promise.reject(new Error(lack)));
    return;
  }
  try {
    await againstOneServer(runtime);
  } catch (error) {
    await board.group(runtime.name, "the server starts", () => Promise.reject(error));
  }
  const index = runtimes.indexOf(runtime);
  const next = runtimes[(index + 1) % runtimes.length] as Runtime;
  const last: readonly (readonly [string, () => ReturnType<typeof runChecks>])[] = [
    ["states of the node", () => runChecks(stateChecks(runtime, runFolder))],
    ["kills and restarts", () => runChecks(durabilityChecks(runtime, next, runFolder))],
    ["embedded database", () => embedded(runtime, next)],
    ["simulator", () => runChecks(simulatedChecks(runtime))],
  ];
  for (const [name, collect] of last) {
    if (isWanted(name)) await board.group(runtime.name, name, collect);
  }
}

/**
 * One cluster, each node of another runtime: every client, with its requests spread over the three,
 * then what can happen to a node.
 */
async function againstMixedCluster(): Promise<void> {
  const clients = clientGroups().filter(({ name }) => isWanted(name));
  const faults = "faults of one node";
  const links = "links between nodes";
  if (clients.length === 0 && !isWanted(faults) && !isWanted(links)) return;
  const cluster = await startMixedCluster(freshFolder(runFolder));
  try {
    const nodes = new Nodes(cluster.members.map(({ port }) => port));
    for (const { name, collect } of clients) {
      await board.group(mixed, name, async () => {
        const before = await nodes.answered();
        const outcomes = await collect(nodes);
        const spread = { name: "each node was asked", run: () => wereAsked(nodes, before) };
        return [...outcomes, ...(await runChecks([spread]))];
      });
    }
    if (isWanted(links)) {
      const lasts = { name: "they last", limitMs: 60_000, run: () => linksLast(cluster, nodes) };
      await board.group(mixed, links, () => runChecks([lasts]));
    }
    if (isWanted(faults)) {
      await board.group(mixed, faults, () => runChecks(mixedClusterChecks(cluster)));
    }
    const stops = { name: "all stop in order", run: () => stopMixedCluster(cluster) };
    await board.group(mixed, "the nodes, after all that", () => runChecks([stops]));
  } finally {
    await cluster.end();
  }
}

/** The client's own choice of a node works, or the rest was no test of a cluster. */
async function wereAsked(nodes: Nodes, before: readonly number[]): Promise<void> {
  const counts = (await nodes.answered()).map((count, index) => count - (before[index] ?? 0));
  if (counts.some((count) => count === 0)) throw new Error(`requests by node: ${counts}`);
}

async function main(): Promise<number> {
  const known = [...runtimes.map(({ name }) => name), mixed];
  const wanted = options.runtime ?? known;
  for (const name of wanted) {
    if (!known.includes(name)) {
      process.stderr.write(
        `error: no runtime is called '${name}'; there are ${known.join(", ")}.\n`,
      );
      return 2;
    }
  }
  for (const [name, make] of [
    ["the runtimes install", installRuntimes],
    ["the program compiles", compileProgram],
  ] as const) {
    try {
      await make();
    } catch (error) {
      await board.group("all", name, () => Promise.reject(error));
    }
  }
  for (const runtime of runtimes) {
    if (wanted.includes(runtime.name)) await underRuntime(runtime);
  }
  if (wanted.includes(mixed)) {
    try {
      await againstMixedCluster();
    } catch (error) {
      await board.group(mixed, "the cluster starts", () => Promise.reject(error));
    }
  }
  if (board.passed + board.failed === 0) {
    process.stderr.write(`error: no group has '${options.only?.join("', '")}' in its name.\n`);
    return 2;
  }
  process.stdout.write(`${board.passed} passed, ${board.failed} failed\n`);
  return board.failed === 0 ? 0 : 1;
}

process.exit(await main());
