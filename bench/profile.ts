/**
 * Profile: what takes the time of the server's main thread, under PUTs and under GETs.
 *
 * The node runs under V8's sampling profiler (`node --cpu-prof`), which writes its file when the
 * process ends. The shares are of the time in which the thread did something. What other threads do
 * (fdatasync, the writes of the index) is not in it: the main thread does not wait for them.
 *
 * Effects: processes, files of the folder.
 *
 * @module
 */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Runtime } from "./machine.ts";
import { Quorate } from "./quorate.ts";
import type { Load, Operation } from "./sample.ts";

const connections = 64;
const rowsMax = 15;
const intervalMicroseconds = 500;
const marginMs = 100;

export interface Share {
  readonly what: string;
  /** Of the time that the thread was busy, 0 to 1. */
  readonly share: number;
}

export interface ProfileTable {
  readonly operation: Operation;
  readonly perSecond: number;
  /** The part of the wall clock in which the main thread was busy. */
  readonly busy: number;
  readonly areas: readonly Share[];
  readonly functions: readonly Share[];
}

/** The parts of a .cpuprofile that are read here. */
interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: {
      readonly functionName: string;
      readonly url: string;
      readonly lineNumber: number;
    };
  }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

type Frame = CpuProfile["nodes"][number]["callFrame"];

export async function measureProfile(
  runtime: Runtime,
  plan: { readonly keys: number; readonly seconds: number },
  folder: string,
): Promise<ProfileTable[]> {
  const tables: ProfileTable[] = [];
  for (const operation of ["put", "get"] as const) {
    const profiles = join(folder, `profile-${operation}`);
    const interval = `--cpu-prof-interval=${intervalMicroseconds}`;
    const node = await Quorate.start({
      runtime,
      folder: join(folder, `data-${operation}`),
      runtimeFlags: ["--cpu-prof", `--cpu-prof-dir=${profiles}`, interval],
    });
    let perSecond: number;
    let loadFromMs: number;
    try {
      await node.fill(plan.keys);
      const load: Load = { ...plan, connections, marker: "profile;" };
      loadFromMs = performance.now() - node.program.startedMs;
      perSecond = (await node.run(operation, load)).perSecond;
    } finally {
      await node.stop();
    }
    const [name] = readdirSync(profiles).filter((file) => file.endsWith(".cpuprofile"));
    if (name === undefined) throw new Error("the runtime wrote no profile");
    const profile = JSON.parse(readFileSync(join(profiles, name), "utf8")) as CpuProfile;
    tables.push({ operation, perSecond, ...shares(profile, loadFromMs, plan.seconds) });
  }
  return tables;
}

/** Counts what was sampled during the load: the start and the filling are not what is asked. */
function shares(
  profile: CpuProfile,
  loadFromMs: number,
  seconds: number,
): Pick<ProfileTable, "busy" | "areas" | "functions"> {
  // The profile begins some 20 ms after the process; a tenth of a second is left out at both ends.
  const from = (loadFromMs + marginMs) * 1000;
  const to = (loadFromMs + seconds * 1000 - marginMs) * 1000;

  const frames = new Map(profile.nodes.map(({ id, callFrame }) => [id, callFrame]));
  const areas = new Map<string, number>();
  const functions = new Map<string, number>();
  let at = 0;
  let all = 0;
  let busy = 0;
  for (const [index, id] of profile.samples.entries()) {
    const microseconds = profile.timeDeltas[index] ?? 0;
    const frame = frames.get(id);
    at += microseconds;
    if (at < from || at > to) continue;
    all += microseconds;
    if (frame === undefined || frame.functionName === "(idle)") continue;
    busy += microseconds;
    const area = areaOf(frame);
    areas.set(area, (areas.get(area) ?? 0) + microseconds);
    const called = functionOf(frame, area);
    functions.set(called, (functions.get(called) ?? 0) + microseconds);
  }
  const top = (times: ReadonlyMap<string, number>): Share[] =>
    [...times]
      .sort(([, a], [, b]) => b - a)
      .slice(0, rowsMax)
      .map(([what, microseconds]) => ({ what, share: microseconds / busy }));
  return { busy: busy / all, areas: top(areas), functions: top(functions) };
}

/** A module of Quorate, a package, a module of the runtime, or what V8 calls its own. */
function areaOf({ functionName, url }: Frame): string {
  if (url === "") return functionName.startsWith("(") ? functionName : "native code of the runtime";
  const inPackage = /\/node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(url)?.[1];
  if (inPackage !== undefined) return inPackage;
  if (url.startsWith("node:")) return url.replace(/^(node:(?:internal\/)?[^/]+).*/, "$1");
  return /\/(src\/[^/]+?)\.[jt]s$/.exec(url)?.[1] ?? url.split("/").at(-1) ?? url;
}

function functionOf({ functionName, lineNumber, url }: Frame, area: string): string {
  if (functionName.startsWith("(")) return functionName;
  const name = functionName === "" ? `anonymous, line ${lineNumber + 1}` : functionName;
  return url === "" ? `${name} (native)` : `${name} (${area})`;
}
