/**
 * StoreHarness: a whole node on a simulated disk and table, and a workload whose truth is known.
 *
 * The clock stands still unless a test moves it, chance comes from a seed, and the disk and the
 * table can be crashed, damaged or made to fail. `Ledger` keeps what every write was and whether it
 * was acknowledged; `check` compares a node with it.
 *
 * @module
 */

import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { SimDisk } from "../sim/disk.ts";
import { SimRandom } from "../sim/random.ts";
import { utf8Bytes } from "../src/bytes.ts";
import { type Report, silentReport } from "../src/capability.ts";
import { type NodeSettings, openNode, type QuorateNode } from "../src/node.ts";
import { MemoryTableDisk, type TableImage } from "../src/table_memory.ts";

export const requestId = "test";

/** Small on purpose, so that rare paths are common. */
export const smallSettings: NodeSettings = {
  version: "0.0.0",
  runtime: "test 1",
  partitions: 4,
  segmentBytes: 64 * 1024,
  memtableBytesMax: 8 * 1024,
  diskReserveBytes: 0,
  scrubBytesPerSecond: 0,
};

export interface World {
  readonly clock: SimClock;
  readonly random: SimRandom;
  readonly disk: SimDisk;
  readonly table: MemoryTableDisk;
}

export interface WorldOptions {
  readonly seed?: number;
  readonly nowMs?: number;
  readonly disk?: SimDisk;
  readonly image?: TableImage;
  /** Notes every change of the table on the disk, so that crash states know it. */
  readonly noted?: boolean;
}

export function newWorld(options: WorldOptions = {}): World {
  const { seed = 1, nowMs, disk = new SimDisk(), image, noted = false } = options;
  const onChange = (now: TableImage): void => {
    if (noted) disk.note({ kind: "table", image: now } satisfies Note);
  };
  return {
    clock: new SimClock(nowMs),
    random: new SimRandom(seed),
    disk,
    table: new MemoryTableDisk({ onChange }, image),
  };
}

export function openIn(
  world: World,
  settings: Partial<NodeSettings> = {},
  report: Report = silentReport,
): Promise<QuorateNode> {
  const { clock, random, disk, table } = world;
  return openNode({
    clock,
    random,
    disk,
    report,
    openTable: () => table.open(),
    settings: { ...smallSettings, ...settings },
  });
}

export type Note =
  | { readonly kind: "table"; readonly image: TableImage }
  | { readonly kind: "acknowledged"; readonly key: string; readonly number: number };

/** One write of the workload: the value tells which one it was. */
export interface Attempt {
  readonly number: number;
  readonly kind: "put" | "delete";
  readonly value: Uint8Array;
}

/** What was tried and what was acknowledged, by key, in the order of the tries. */
export class Ledger {
  readonly attempts = new Map<string, Attempt[]>();
  readonly acknowledged = new Map<string, number>();
  #number = 0;

  attempt(key: string, kind: "put" | "delete", bytes: number): Attempt {
    this.#number += 1;
    const head = `${key}#${this.#number}#`;
    const value = utf8Bytes(head + "x".repeat(Math.max(0, bytes - head.length)));
    const attempt = { number: this.#number, kind, value };
    const before = this.attempts.get(key);
    if (before === undefined) this.attempts.set(key, [attempt]);
    else before.push(attempt);
    return attempt;
  }

  acknowledge(key: string, number: number): void {
    this.acknowledged.set(key, Math.max(number, this.acknowledged.get(key) ?? 0));
  }
}

/** Writes `count` times, a few at once on different keys; notes every acknowledgement. */
export async function work(
  node: QuorateNode,
  ledger: Ledger,
  options: {
    readonly random: SimRandom;
    readonly count: number;
    readonly keys: number;
    readonly bytesMax: number;
    readonly note?: (note: Note) => void;
    /** Called after each round of writes. */
    readonly after?: () => Promise<void>;
  },
): Promise<void> {
  const { random, count, keys, bytesMax, note } = options;
  let left = count;
  while (left > 0) {
    const names = new Set<string>();
    for (let index = 0; index < 1 + random.below(4); index += 1)
      names.add(`k${random.below(keys)}`);
    await Promise.all(
      [...names].map(async (key) => {
        left -= 1;
        const kind = random.below(5) === 0 ? "delete" : "put";
        const attempt = ledger.attempt(key, kind, random.below(bytesMax));
        await write(node, key, attempt);
        ledger.acknowledge(key, attempt.number);
        note?.({ kind: "acknowledged", key, number: attempt.number });
      }),
    );
    await options.after?.();
  }
}

export async function write(node: QuorateNode, key: string, attempt: Attempt): Promise<void> {
  const request = { namespace: "default", requestId, key: utf8Bytes(key) };
  if (attempt.kind === "delete") await node.delete(request);
  else {
    const { value } = attempt;
    await node.put({ ...request, value, contentType: "text/plain", meta: [] });
  }
}

export async function read(node: QuorateNode, key: string): Promise<Uint8Array | undefined> {
  const request = { namespace: "default", requestId, key: utf8Bytes(key) };
  return (await node.get(request)).record?.value;
}

/**
 * Every key holds its last acknowledged write or a later try, whole; and the lists and counters
 * agree with the reads. `acknowledged` is what had been answered at the moment in question.
 */
export async function check(
  node: QuorateNode,
  ledger: Ledger,
  acknowledged: ReadonlyMap<string, number>,
  what: string,
): Promise<void> {
  const live: string[] = [];
  for (const [key, attempts] of ledger.attempts) {
    const value = await read(node, key);
    if (value !== undefined) live.push(key);
    const least = acknowledged.get(key) ?? 0;
    const fits = attempts.some((attempt) =>
      attempt.number < least ? false : sameState(attempt, value),
    );
    const mayBeAbsent = least === 0 && value === undefined;
    assert.ok(
      fits || mayBeAbsent,
      `${what}: '${key}' holds ${shown(value)}, and write ${least} was acknowledged`,
    );
  }
  const { items } = await node.list({ namespace: "default", requestId, limit: 1000 });
  const listed = items.map((item) => new TextDecoder().decode(item.key));
  assert.equal(listed, live.sort(), `${what}: the list has what the reads have`);
  const { keys } = await node.count({ namespace: "default", requestId });
  assert.is(keys, live.length, `${what}: the counter counts what is there`);
}

function sameState(attempt: Attempt, value: Uint8Array | undefined): boolean {
  if (attempt.kind === "delete") return value === undefined;
  return value !== undefined && Buffer.compare(value, attempt.value) === 0;
}

function shown(value: Uint8Array | undefined): string {
  return value === undefined ? "nothing" : new TextDecoder().decode(value.subarray(0, 20));
}

/** What had been acknowledged, and the table's image, at a crash state. */
export function replayNotes(notes: readonly unknown[]): {
  readonly acknowledged: Map<string, number>;
  readonly image: TableImage | undefined;
} {
  const acknowledged = new Map<string, number>();
  let image: TableImage | undefined;
  for (const note of notes as readonly Note[]) {
    if (note.kind === "table") image = note.image;
    else acknowledged.set(note.key, Math.max(note.number, acknowledged.get(note.key) ?? 0));
  }
  return { acknowledged, image };
}
