/**
 * Opening: how long a start takes after a kill, with a full segment of the log to replay.
 *
 * A node takes writes until its log holds 64 MiB that no checkpoint has moved to the index: its
 * memtable is set larger than that, so it is the most that a log of one full segment can hold. Then
 * it is killed. Every start begins with a fresh copy of that folder, and its time is from the start
 * of the process to the line `listening on`. The files are in the page cache, as after the crash of
 * a process, not of a machine.
 *
 * Effects: processes, files of the folder.
 *
 * @module
 */

import { cpSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Runtime, Runtimes } from "./machine.ts";
import { runToEnd } from "./process.ts";
import { Quorate } from "./quorate.ts";
import { expectBetween, type Journal, median } from "./sample.ts";

const logBytesFull = 64 * 1024 ** 2;
const flags = [
  ...["--memtable-bytes", "256MiB", "--segment-bytes", "64MiB", "--disk-reserve", "1GiB"],
  ...["--log-level", "warn"],
];
const blockBytes = 4096;
const moreRecords = 100;

export interface Opening {
  readonly peer: string;
  readonly milliseconds: number;
  readonly lowest: number;
  readonly highest: number;
  /** The start on an empty folder: what of it is not the replay. */
  readonly emptyMilliseconds: number;
}

export interface Openings {
  readonly records: number;
  readonly logBytes: number;
  readonly rows: readonly Opening[];
}

export interface OpeningPlan {
  readonly rounds: number;
  /** A first part, from which the number of records for a full log is told. */
  readonly firstRecords: number;
  readonly logBytes: number;
}

export const openingPlan: Readonly<Record<"full" | "smoke", OpeningPlan>> = {
  full: { rounds: 7, firstRecords: 50_000, logBytes: logBytesFull },
  smoke: { rounds: 1, firstRecords: 1_000, logBytes: 1024 ** 2 },
};

export async function measureOpening(
  { main, all }: Runtimes,
  plan: OpeningPlan,
  folder: string,
  { note, fail }: Journal,
): Promise<Openings> {
  const filled = join(folder, "filled");
  const records = await fillLog(main, plan, filled);
  const logBytes = usedLogBytes(filled);
  note(`open: ${records} records, ${logBytes} bytes of log`);
  const times = new Map<Runtime, { full: number[]; empty: number[] }>();
  for (const runtime of all) times.set(runtime, { full: [], empty: [] });
  for (let round = 0; round < plan.rounds; round += 1) {
    for (const [runtime, { full, empty }] of times) {
      const copy = join(folder, "copy");
      try {
        cpSync(filled, copy, { recursive: true });
        full.push(await openOnce(runtime, copy, records));
        rmSync(copy, { recursive: true });
        empty.push(await openOnce(runtime, copy, 0));
      } catch (error) {
        times.delete(runtime);
        fail(`open, ${runtime.name}: ${(error as Error).message}`);
        continue;
      } finally {
        rmSync(copy, { recursive: true, force: true });
      }
      note(`open, round ${round + 1}, ${runtime.name}: ${Math.round(full.at(-1) ?? 0)} ms`);
    }
  }
  const rows = [...times].map(([runtime, { full, empty }]) => ({
    peer: Quorate.nameOn(runtime),
    milliseconds: median(full),
    lowest: Math.min(...full),
    highest: Math.max(...full),
    emptyMilliseconds: median(empty),
  }));
  return { records, logBytes, rows };
}

/** Fills the log of a new folder and kills the node; answers the number of records. */
async function fillLog(runtime: Runtime, plan: OpeningPlan, folder: string): Promise<number> {
  const node = await Quorate.start({ runtime, folder, flags });
  let records = plan.firstRecords;
  await node.fill(records);
  for (let used = usedLogBytes(folder); used < plan.logBytes; used = usedLogBytes(folder)) {
    // As many more as are missing, by the size of those before, and a few besides.
    const more = Math.ceil(records * (plan.logBytes / used - 1)) + moreRecords;
    await node.fill(records + more, records);
    records += more;
  }
  await node.program.kill();
  // What a checkpoint has moved to the index would not be replayed.
  expectBetween("bytes in the index", indexBytes(folder), 0, plan.logBytes / 4);
  return records;
}

function indexBytes(folder: string): number {
  return readdirSync(folder)
    .filter((name) => name.endsWith(".lmdb"))
    .reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
}

/** The blocks of the log that are not zeros: segments are written with zeros ahead of their use. */
function usedLogBytes(folder: string): number {
  const zeros = Buffer.alloc(blockBytes);
  let used = 0;
  for (const name of readdirSync(join(folder, "wal"))) {
    const bytes = readFileSync(join(folder, "wal", name));
    for (let at = 0; at < bytes.length; at += blockBytes) {
      const block = bytes.subarray(at, at + blockBytes);
      if (!block.equals(zeros.subarray(0, block.length))) used += block.length;
    }
  }
  return used;
}

async function openOnce(runtime: Runtime, folder: string, records: number): Promise<number> {
  // The copy is written now, not while the node reads it.
  await runToEnd({ command: "sync", arguments: [] }, 60_000);
  const node = await Quorate.start({ runtime, folder, flags });
  try {
    const { openMs } = node;
    expectBetween("records after the start", await node.count(), records, records);
    return openMs;
  } finally {
    await node.program.kill();
  }
}
