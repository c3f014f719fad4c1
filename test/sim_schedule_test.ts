/** What a failure tells can be kept in a file, and run again as it was. */

import * as fs from "node:fs";
import * as os from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { runSim, SimUsage } from "../sim/command.ts";
import { parseSchedule, scheduleText } from "../sim/schedule.ts";
import type { Trouble } from "../sim/trouble_list.ts";

const test = suite("sim_schedule");

const kill: Trouble = { kind: "kill", atMs: 1585.25, lastsMs: 6322, one: 1, other: 0, much: 0.5 };

test("a schedule comes back from its text", () => {
  for (const schedule of [
    { seed: 7, troubles: [] },
    {
      seed: 5,
      mutation: "no hints are kept",
      troubles: [kill, { ...kill, kind: "one way" as const }],
    },
  ]) {
    assert.equal(parseSchedule(scheduleText(schedule)), schedule);
  }
});

test("a text that is none is refused, and says what is wrong with it", () => {
  const bad: readonly (readonly [string, RegExp])[] = [
    ["", /not JSON/],
    ["[]", /the schedule is an object/],
    [`{"troubles":[]}`, /'seed' is a number/],
    [`{"seed":-1,"troubles":[]}`, /'seed' is a number/],
    [`{"seed":1}`, /'troubles' is a list/],
    [`{"seed":1,"mutation":3,"troubles":[]}`, /'mutation' is a name/],
    [`{"seed":1,"troubles":[1]}`, /trouble 1 is an object/],
    [scheduleText({ seed: 1, troubles: [kill] }).replace("kill", "hail"), /'kind' of trouble 1/],
    [`{"seed":1,"troubles":[{"kind":"kill"}]}`, /'atMs' of trouble 1/],
  ];
  for (const [text, why] of bad) assert.throws(() => parseSchedule(text), why, text);
});

/** Of the lines `  [P2] …`: each promise once. */
function promisesIn(lines: readonly string[]): string[] {
  const named = lines.flatMap((line) => /^ {2}\[(\w+)\] /.exec(line)?.[1] ?? []);
  return [...new Set(named)].sort();
}

test("the file of a failure breaks the same promise again, with the troubles in it alone", async () => {
  const folder = fs.mkdtempSync(join(os.tmpdir(), "quorate-schedule-"));
  try {
    const file = join(folder, "kept.json");
    const told: string[] = [];
    const mutation = "the last to arrive wins";
    assert.is(
      await runSim(
        { seed: "1", seeds: "1", mutation, "no-shrink": true },
        (line) => void told.push(line),
      ),
      1,
    );
    const text = told.find((line) => line.startsWith(`{"seed":`)) ?? "";
    fs.writeFileSync(file, text);
    const again: string[] = [];
    const code = await runSim(
      { schedule: file, "no-shrink": true },
      (line) => void again.push(line),
    );
    assert.is(code, 1, again.join("\n"));
    assert.equal(
      again.filter((line) => /^ {2}\d+ ms: /.test(line)).length,
      parseSchedule(text).troubles.length,
    );
    assert.ok(again.includes("\nseed 1 breaks a promise:"), again.join("\n"));
    assert.equal(promisesIn(again), promisesIn(told));
    // By the seed alone another run would come of it: one with the troubles that it draws.
    const isBySeed = (line: string): boolean => line.startsWith("again: ");
    assert.ok(told.some(isBySeed) && !again.some(isBySeed), again.join("\n"));
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
});

test("hashes are printed for the time that is given, and a promise that breaks is in the exit code", async () => {
  const mutation = "the last to arrive wins";
  for (const [choices, code] of [
    [{ time: "0s" }, 0],
    [{ seeds: "1", mutation }, 1],
  ] as const) {
    const told: string[] = [];
    assert.is(
      await runSim({ seed: "1", hashes: true, ...choices }, (line) => told.push(line)),
      code,
    );
    assert.is(told.length, 1);
    assert.match(told[0] ?? "", /^1 [0-9a-f]{16}$/);
  }
});

test("what a schedule says itself, or a replay does not do, is refused beside it", async () => {
  const folder = fs.mkdtempSync(join(os.tmpdir(), "quorate-schedule-"));
  try {
    const schedule = join(folder, "kept.json");
    fs.writeFileSync(schedule, scheduleText({ seed: 1, troubles: [] }));
    for (const choices of [
      { schedule, seed: "2" },
      { schedule, seeds: "2" },
      { schedule, fault: "kill" },
      { schedule, mutation: "no hints are kept" },
      { replay: true, hashes: true },
    ]) {
      const error = await runSim(choices, () => {}).catch((reason: unknown) => reason);
      assert.instance(error, SimUsage, JSON.stringify(choices));
    }
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
});

test("a file that is not there, or holds something else, is told by name", async () => {
  const error = await runSim({ schedule: "/nowhere/kept.json" }, () => {}).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.instance(error, SimUsage);
  assert.match((error as Error).message, /'\/nowhere\/kept\.json' has none: ENOENT/);
});

test.run();
