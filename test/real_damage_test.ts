/**
 * Folders of real nodes, damaged block by block while no process has them open.
 *
 * Every 4 KiB block of every file is flipped, loses one bit, is zeroed or changes places with the
 * next one; each result is opened by a process that reads every key and waits for a round of the
 * scrub. Required is that
 *
 * - no value is ever served that was not written for its key;
 * - a key whose last value is gone answers `corruption`, at the latest when the scrub has been there;
 * - a folder that is refused is refused with a reason;
 * - a page at which LMDB ends the process does so twice, and then the start is refused (D6).
 *
 * What a single copy cannot tell is allowed: the newest batch of a log that a kill has cut may be
 * lost without a mark, since it cannot be told from a torn write (docs/storage.md).
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimRandom } from "../sim/random.ts";
import { withFolder } from "./cli_harness.ts";
import { Running } from "./cli_process.ts";
import { keyCount, keyOf, type ReadLine, tableName } from "./real_damage_child.ts";
import { scriptCommand } from "./script_command.ts";

const test = suite("real_damage");
const isLong = process.env["QUORATE_LONG"] === "1";
// The short run takes the same damages every time; the long one takes all, in a new order.
const seed = Number(process.env["TEST_SEED"] ?? (isLong ? Math.floor(Math.random() * 2 ** 31) : 1));
console.log(`seed ${seed}: TEST_SEED=${seed} has the same choices`);
const blockBytes = 4096;
const casesPerChild = 20;
const silenceMs = 20_000;
const kinds = ["flipped", "bit", "zeroed", "swapped"] as const;
type Kind = (typeof kinds)[number];

const script = fileURLToPath(new URL("real_damage_child.ts", import.meta.url));

function child(words: readonly string[]): Running {
  const [file, ...rest] = scriptCommand(script, words);
  return new Running(file, rest);
}

/** A node's folder, with keys in its table, and in its log when it was killed. */
async function makeFolder(folder: string, how: "closed" | "killed"): Promise<void> {
  const running = child(["fill", how, folder]);
  const { code, signal } = await running.ended;
  assert.is(how === "closed" ? code : signal, how === "closed" ? 0 : "SIGKILL", running.err);
  fs.rmSync(path.join(folder, "LOCK"), { force: true });
}

interface Damage {
  /** The file within the folder. */
  readonly file: string;
  readonly block: number;
  readonly kind: Kind;
}

/** Every damage that a folder can get, in the order of its files. */
function damagesOf(folder: string): Damage[] {
  const names = fs.readdirSync(folder, { recursive: true }).map(String).sort();
  return names.flatMap((file) => {
    const stat = fs.statSync(path.join(folder, file));
    if (!stat.isFile() || file.endsWith("-lock")) return [];
    const blocks = Math.ceil(stat.size / blockBytes);
    const bytes = fs.readFileSync(path.join(folder, file));
    return Array.from({ length: blocks }, (_, block) => block).flatMap((block) =>
      kinds.flatMap((kind) => (changes(bytes, block, kind) ? [{ file, block, kind }] : [])),
    );
  });
}

/** Zeroing zeros, or changing places with an equal block, is no damage. */
function changes(bytes: Buffer, block: number, kind: Kind): boolean {
  const own = bytes.subarray(block * blockBytes, (block + 1) * blockBytes);
  if (kind === "zeroed") return own.some((byte) => byte !== 0);
  if (kind !== "swapped") return true;
  const next = bytes.subarray((block + 1) * blockBytes, (block + 2) * blockBytes);
  return next.length === blockBytes && !own.equals(next);
}

function damage(folder: string, { file, block, kind }: Damage, random: SimRandom): void {
  const name = path.join(folder, file);
  const bytes = fs.readFileSync(name);
  const from = block * blockBytes;
  const to = Math.min(from + blockBytes, bytes.length);
  if (kind === "zeroed") bytes.fill(0, from, to);
  else if (kind === "bit") {
    const at = from + random.below(to - from);
    bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8));
  } else if (kind === "flipped") {
    for (let at = from; at < to; at += 97) bytes[at] = ~(bytes[at] ?? 0);
  } else {
    const own = Buffer.from(bytes.subarray(from, to));
    bytes.copyWithin(from, to, to + blockBytes);
    own.copy(bytes, to);
  }
  fs.writeFileSync(name, bytes);
}

/** Some of the table's, fewer of the log's, one of every other file; every kind of both. */
function sample(all: readonly Damage[], random: SimRandom): Damage[] {
  if (isLong) return [...all];
  const inLog = all.filter(({ file }) => file.startsWith("wal"));
  const others = new Map(all.map((one) => [one.file, one]));
  for (const { file } of [...inTable(all), ...inLog]) others.delete(file);
  return [
    ...someOfEach(inTable(all), 2, random),
    ...someOfEach(inLog, 1, random),
    ...others.values(),
  ];
}

function inTable(all: readonly Damage[]): Damage[] {
  return all.filter(({ file }) => file === tableName);
}

function someOfEach(all: readonly Damage[], count: number, random: SimRandom): Damage[] {
  return kinds.flatMap((wanted) => {
    const those = all.filter(({ kind }) => kind === wanted);
    return Array.from({ length: count }, () => those[random.below(those.length)]).flatMap((one) =>
      one === undefined ? [] : [one],
    );
  });
}

interface Case {
  readonly folder: string;
  readonly damage: Damage;
  readonly what: string;
  readonly lines: ReadLine[];
}

/** Waits for the process, and ends one that has said nothing for long: damage can make LMDB loop. */
async function endOrStop(running: Running): Promise<Awaited<Running["ended"]>> {
  let saidBytes = -1;
  const watch = setInterval(() => {
    if (running.out.length === saidBytes) running.process.kill("SIGKILL");
    saidBytes = running.out.length;
  }, silenceMs);
  try {
    return await running.ended;
  } finally {
    clearInterval(watch);
  }
}

/** Opens the folders one after another; a process that dies of one is followed by another. */
async function readCases(cases: readonly Case[], how: string): Promise<number> {
  let waiting = [...cases];
  let deaths = 0;
  while (waiting.length > 0) {
    const running = child(["read", how, ...waiting.map(({ folder }) => folder)]);
    const { code, signal } = await endOrStop(running);
    const lines = running.out
      .trim()
      .split("\n")
      .filter((line) => line !== "");
    for (const text of lines) {
      const line = JSON.parse(text) as ReadLine;
      waiting.find(({ folder }) => folder === line.folder)?.lines.push(line);
    }
    const begun = waiting.filter((one) => one.lines.length > 0);
    const last = begun.at(-1);
    assert.ok(last, `${code} ${signal} ${running.err}`);
    waiting = waiting.filter((one) => one.lines.length === 0);
    if (code === 0) continue;
    const what = `${last?.what}: exit ${code}, ${signal}: ${running.err}`;
    assert.is(last?.damage.file, tableName, what);
    // SIGKILL is ours: LMDB went round in a circle of pages.
    assert.match(String(signal), /^SIG(ABRT|SEGV|BUS|TRAP|FPE|ILL|KILL)$/, what);
    deaths += 1;
  }
  return deaths;
}

type Tally = Record<string, number>;

function isMarked(tally: Tally): boolean {
  return (tally["marked"] ?? 0) > 0;
}

function judge(one: Case, how: string, tally: Tally): void {
  const { what, lines } = one;
  const count = (name: string): void => {
    tally[name] = (tally[name] ?? 0) + 1;
  };
  const last = lines.at(-1);
  if (last?.step === "refused") {
    assert.match(String(last.slug), /^(corruption|wrong-data-folder)$/, `${what}: ${last.why}`);
    assert.ok(String(last.why).length > 40, what);
    count("refused");
    return;
  }
  for (const line of lines) if (line.step !== "opening") judgeLine(one, line, how);
  if (last?.step !== "scrubbed") count("died");
  else if (last.values?.includes("error: corruption") === true) count("marked");
  else count("whole");
}

function judgeLine({ what, damage }: Case, line: ReadLine, how: string): void {
  const isScrubbed = line.step === "scrubbed";
  const where = `${what}, ${line.step}`;
  assert.is(line.values?.length, keyCount, where);
  for (const [index, found] of (line.values ?? []).entries()) {
    const key = `${where}, '${keyOf(index)}': ${found}`;
    if (found === "absent") {
      assert.not.ok(isScrubbed, `${key}, and nothing is said of a loss`);
      assert.is(damage.file, tableName, `${key}, before the scrub`);
    } else if (found === "old") {
      assert.ok(mayBeOld(damage, how), key);
    } else {
      assert.match(found, /^(last|error: corruption)$/, key);
    }
  }
  const isAll = Array.isArray(line.list) && line.list.length === keyCount;
  if (isScrubbed) assert.ok(isAll || line.list === "corruption", `${where}: ${line.list}`);
}

/** A batch of the log that is gone leaves what the table has: served with a good checksum (I4). */
function mayBeOld({ file }: Damage, how: string): boolean {
  return how === "killed" && file.startsWith("wal");
}

for (const how of ["closed", "killed"] as const) {
  test(`P8: a folder that was ${how}, with any block damaged, serves nothing false and hides no loss`, () =>
    withFolder(async (parent) => {
      const random = new SimRandom(seed);
      const whole = path.join(parent, "whole");
      await makeFolder(whole, how);
      const tally: Tally = {};
      const all = damagesOf(whole);
      const damages = sample(all, random);
      for (let from = 0, count = 0; from < damages.length; from += count) {
        const batch = damages.slice(from, from + casesPerChild);
        count = batch.length;
        const cases = batch.map((one, index): Case => {
          const folder = path.join(parent, `case-${from + index}`);
          fs.cpSync(whole, folder, { recursive: true });
          damage(folder, one, random);
          const what = `seed ${seed}, ${how}, ${one.kind} block ${one.block} of ${one.file}`;
          return { folder, damage: one, what, lines: [] };
        });
        await readCases(cases, how);
        for (const one of cases) {
          judge(one, how, tally);
          fs.rmSync(one.folder, { recursive: true });
        }
        // Most blocks of a table are no longer used: a small sample may have met none that is.
        if (from + count < damages.length || isMarked(tally) || damages.length > 80) continue;
        damages.push(...someOfEach(inTable(all), 5, random));
      }
      console.log(`${how}: ${damages.length} damaged folders: ${JSON.stringify(tally)}`);
      assert.ok((tally["whole"] ?? 0) > 0 && isMarked(tally), JSON.stringify(tally));
    }));
}

test.run();
