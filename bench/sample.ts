/**
 * Sample: one measurement, and how several of them become one figure.
 *
 * A machine wanders: its disk and its processors are faster in one minute than in the next. So no
 * system is measured at one stretch. In every round each system has its turn at each number of
 * connections, the order of the systems turns by one from round to round, and the figure is the
 * median over the rounds.
 *
 * @module
 */

import { runToEnd } from "./process.ts";

export const valueBytes = 256;
/** So many of each connection tell how many fill the time. */
const probeRequestsEach = 10;
export const connectionLevels = [16, 64, 256] as const;

/** What is asked of a peer in one turn. */
export interface Load {
  readonly connections: number;
  readonly seconds: number;
  /** The number of keys; all of them are there before. A power of ten. */
  readonly keys: number;
  /** Begins every value that is written in this turn, and no other value. */
  readonly marker: string;
}

/** What one turn showed. */
export interface Sample {
  readonly requests: number;
  readonly perSecond: number;
  readonly p50Ms?: number;
  readonly p99Ms?: number;
  /** What the servers together used of the processors for one request, in microseconds. */
  readonly cpuUs?: number;
}

/** `get one` asks for `consistency=one`; each of the others for what is the default of a server. */
export type Operation = "put" | "get" | "get one" | "put over gRPC";

/** A system that is measured. */
export interface Peer {
  readonly name: string;
  readonly version: string;
  /** Runs a load, and checks that every answer was a success; throws when one was not. */
  run(operation: Operation, load: Load): Promise<Sample>;
  freeze(): void;
  thaw(): void;
  /** After `thaw`: resolves when it serves as before, where that takes a while. */
  settle?(): Promise<void>;
  stop(): Promise<void>;
}

export interface Plan {
  readonly rounds: number;
  readonly seconds: number;
  readonly warmUpSeconds: number;
  readonly keys: number;
  /** Numbers of connections; default: all that the tables have. */
  readonly levels?: readonly number[];
}

/** The median figures of one peer at one number of connections. */
export interface Figure {
  readonly peer: string;
  readonly connections: number;
  readonly perSecond: number;
  readonly lowest: number;
  readonly highest: number;
  readonly p50Ms?: number;
  readonly p99Ms?: number;
  readonly cpuUs?: number;
}

/** Where a measurement tells how it goes on, and what of it failed. */
export interface Journal {
  note(line: string): void;
  fail(sentence: string): void;
}

export interface Measured {
  readonly figures: readonly Figure[];
  /** One sentence for each peer that failed; it has no figures. */
  readonly failures: readonly string[];
}

/** Measures all peers at all levels, interleaved. A peer that fails is left out from there on. */
export async function interleave(
  operation: Operation,
  peers: readonly Peer[],
  plan: Plan,
  note: (line: string) => void,
): Promise<Measured> {
  const samples = new Map<string, Sample[]>();
  const levels = plan.levels ?? connectionLevels;
  const failures = new Map<Peer, string>();
  const take = async (peer: Peer, load: Load): Promise<Sample | undefined> => {
    if (failures.has(peer)) return undefined;
    try {
      return await turn(peer, operation, load);
    } catch (error) {
      const where = `${operation} to ${peer.name} at ${load.connections} connections`;
      const failure = `${where}: ${(error as Error).message}`;
      note(`FAILED ${failure}`);
      failures.set(peer, failure);
      return undefined;
    }
  };
  for (const peer of peers) peer.freeze();
  for (const peer of plan.warmUpSeconds > 0 ? peers : []) {
    await take(peer, { ...plan, seconds: plan.warmUpSeconds, connections: 64, marker: "warm-up;" });
  }
  for (let round = 0; round < plan.rounds; round += 1) {
    const order = [...peers.slice(round % peers.length), ...peers.slice(0, round % peers.length)];
    for (const connections of levels) {
      for (const peer of order) {
        const marker = `${operation}-${round}-${connections};`;
        const sample = await take(peer, { ...plan, connections, marker });
        if (sample === undefined) continue;
        const id = `${peer.name} ${connections}`;
        samples.set(id, [...(samples.get(id) ?? []), sample]);
        const rate = Math.round(sample.perSecond).toLocaleString("en");
        note(
          `${operation}, round ${round + 1}, ${connections} connections, ${peer.name}: ${rate}/s`,
        );
      }
    }
  }
  const figures = peers
    .filter((peer) => !failures.has(peer))
    .flatMap(({ name }) =>
      levels.map((connections) =>
        figureOf(name, connections, samples.get(`${name} ${connections}`) ?? []),
      ),
    );
  return { figures, failures: [...failures.values()] };
}

async function turn(peer: Peer, operation: Operation, load: Load): Promise<Sample> {
  // What the one before left in the page cache is written now, not in this one's time.
  await runToEnd({ command: "sync", arguments: [] }, 60_000);
  peer.thaw();
  try {
    await peer.settle?.();
    return await peer.run(operation, load);
  } finally {
    peer.freeze();
  }
}

/** For generators that take a number of requests: a short run first, then as many as fill the time. */
export async function byCount(
  load: Load,
  run: (requests: number) => Promise<Sample>,
): Promise<Sample> {
  const requests = load.connections * probeRequestsEach;
  const probe = await run(requests);
  return run(Math.max(requests, Math.ceil(probe.perSecond * load.seconds)));
}

function figureOf(peer: string, connections: number, samples: readonly Sample[]): Figure {
  const rates = samples.map((sample) => sample.perSecond);
  const medians = (["p50Ms", "p99Ms", "cpuUs"] as const).flatMap((name) => {
    const values = samples.map((sample) => sample[name]).filter((value) => value !== undefined);
    return values.length === 0 ? [] : [[name, median(values)]];
  });
  return {
    peer,
    connections,
    perSecond: median(rates),
    lowest: Math.min(...rates),
    highest: Math.max(...rates),
    ...Object.fromEntries(medians),
  };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle];
  if (upper === undefined) throw new Error("no samples");
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? upper) + upper) / 2;
}

/** Fails the turn when more was refused than nothing, or done than was asked. */
export function expectBetween(what: string, actual: number, least: number, most: number): void {
  if (actual >= least && actual <= most) return;
  throw new Error(`${what}: ${actual}, expected ${least === most ? least : `${least} to ${most}`}`);
}
