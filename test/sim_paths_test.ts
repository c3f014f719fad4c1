/**
 * Sim paths: the list of rare paths is that of the sources, and a long run fails where one is not met; and what
 * the simulator's command refuses to run.
 */
import { readdirSync, readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { simOptions } from "../sim/choices.ts";
import { runSim, SimUsage } from "../sim/command.ts";
import { pathLines, rarePaths, unmetPaths } from "../sim/rare_paths.ts";
import { simulate } from "../sim/simulate.ts";
import { commands } from "../src/cli_commands.ts";

const test = suite("sim paths");

const source = new URL("../src/", import.meta.url);

/** The names in every `sometimes(…)`: of one that chooses between two, both. */
function marksOf(text: string): string[] {
  return [...text.matchAll(/\.sometimes\(([\s\S]*?)\);/g)].flatMap(([, words = ""]) =>
    [...words.matchAll(/"([^"]+)"/g)].map(([, name = ""]) => name),
  );
}

test("marks are found, also where one of two is chosen", () => {
  const text = `a.sometimes("one");\nreport.sometimes(\n  is ? "two: b" : "three",\n);\nx("four");`;
  assert.equal(marksOf(text), ["one", "two: b", "three"]);
});

test("every mark of the sources is in the list, and nothing else is", () => {
  const marks = readdirSync(source)
    .filter((name) => name.endsWith(".ts"))
    .flatMap((name) => marksOf(readFileSync(new URL(name, source), "utf8")));
  assert.equal(Object.keys(rarePaths), [...new Set(marks)].sort());
});

test("a path that can be met and was not is told; one that cannot be is not asked for", () => {
  const all = new Map(Object.keys(rarePaths).map((path) => [path, 1]));
  assert.equal(unmetPaths(all), []);
  for (const [path, why] of Object.entries(rarePaths)) {
    const met = new Map([...all].filter(([name]) => name !== path));
    assert.equal(unmetPaths(met), why === undefined ? [path] : []);
    assert.ok(pathLines(met).some((line) => line.trim().startsWith(`0  ${path}`)));
  }
});

test("a nightly run fails for the paths that it did not meet, by name", async () => {
  const lines: string[] = [];
  const choices = { nightly: true, seed: "60", seeds: "1" };
  assert.is(await runSim(choices, (line) => void lines.push(line)), 1);
  const unmet = lines.filter((line) => line.startsWith("FAIL: "));
  assert.ok(
    unmet.includes("FAIL: no seed met 'cluster: a version was turned on'"),
    lines.join("\n"),
  );
  assert.is(lines.at(-1), `1 passed, ${unmet.length} failed`);
});

test("both commands of the simulator have the same options, with the same forms", () => {
  const row = commands.find(({ name }) => name === "sim");
  const shown = row?.options.map(({ name, kind }) => [name, kind?.placeholder]);
  assert.equal(
    shown,
    simOptions.map(([name, form]) => [name, form]),
  );
});

/** Why a run is refused; fails where it is not. */
async function refusalOf(run: Promise<unknown>): Promise<Error> {
  const error = await run.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  assert.instance(error, Error);
  return error as Error;
}

test("what cannot be run is refused before anything runs, with what there is", async () => {
  for (const [choices, why] of [
    [{ seed: "x" }, /--seed is a whole number, not 'x'/],
    [{ time: "1" }, /--time is a duration such as 30s or 10m, not '1'/],
    [{ fault: "no" }, /--fault takes none, or some of: kill, .*; not 'no'/],
    [
      { focus: "nothing" },
      /--focus takes no 'nothing', but one of:\n {2}one key: all write and read one key/,
    ],
    [{ moves: "some" }, /--moves takes many or none, not 'some'/],
    [
      { mutation: "nope" },
      /--mutation takes no 'nope', but one of:\n[\s\S]*\n {2}no hints are kept: /,
    ],
    [{ seeds: "0" }, /--seeds 0 would run nothing/],
    [{ jobs: "0" }, /--jobs 0 would run nothing/],
    [{ jobs: "many" }, /--jobs is a whole number, not 'many'/],
    [{ replay: true, jobs: "2" }, /--replay runs one seed, and tells it as it goes/],
    [{ replay: true, seeds: "3" }, /--replay runs one seed, that of --seed: leave out --seeds/],
  ] as const) {
    const error = await refusalOf(runSim(choices, assert.unreachable));
    assert.instance(error, SimUsage);
    assert.match(error.message, why);
  }
});

test("a focus beside troubles or moves of one's own is refused, as a command and as a call", async () => {
  for (const other of [
    { fault: "kill" },
    { fault: "none" },
    { moves: "none" },
    { moves: "many" },
  ]) {
    const error = await refusalOf(runSim({ focus: "one key", ...other }, assert.unreachable));
    assert.instance(error, SimUsage);
    assert.match(error.message, /leave out --fault and --moves/);
  }
  for (const other of [{ only: [] }, { moves: "none" }] as const) {
    const error = await refusalOf(simulate({ seed: 1, focus: "one key", ...other }));
    assert.match(error.message, /leave out `only` and `moves`/);
  }
});

test.run();
