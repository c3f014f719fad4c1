/** Seeds that run side by side come to what they come to one after another. */

import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { SimChoices } from "../sim/choices.ts";
import { runSim } from "../sim/command.ts";
import type { Hunted } from "../sim/hunt.ts";
import type { HuntTask, SeedTask } from "../sim/job.ts";
import { runJobs } from "../sim/jobs.ts";

const test = suite("sim_jobs");

/** Its worlds are the quickest. */
const focus = "one key";

async function told(choices: SimChoices): Promise<{ code: number; lines: readonly string[] }> {
  const lines: string[] = [];
  const code = await runSim(choices, (line) => void lines.push(line));
  return { code, lines };
}

test("two jobs tell the same as one, in the order of the seeds", async () => {
  const choices = { seed: "11", seeds: "3", focus, hashes: true };
  const one = await told({ ...choices, jobs: "1" });
  assert.equal(
    one.lines.map((line) => line.split(" ")[0]),
    ["11", "12", "13"],
  );
  assert.equal(await told({ ...choices, jobs: "2" }), one);
});

test("what a seed breaks in a job is told, with what runs it again, and all are counted", async () => {
  const mutation = "the last to arrive wins";
  const choices = { seed: "1", seeds: "2", focus, mutation, "no-shrink": true, jobs: "2" };
  const { code, lines } = await told(choices);
  assert.is(code, 1);
  for (const seed of [1, 2]) {
    const again = `again: npm run sim -- --seed ${seed} --focus "${focus}" --mutation "${mutation}" --replay`;
    assert.ok(lines.includes(`\nseed ${seed} breaks a promise:`), lines.join("\n"));
    assert.ok(lines.includes(again), lines.join("\n"));
  }
  assert.match(lines.at(-6) ?? "", /^2 seeds, 2 failed, /);
  assert.is(lines.at(-1), "0 passed, 2 failed");
});

test("jobs keep to the time that is given, and one seed runs in any case", async () => {
  const { code, lines } = await told({ seed: "11", time: "0s", focus, hashes: true, jobs: "2" });
  assert.is(code, 0);
  assert.is(lines.length, 1);
});

const range = { first: 1, count: 1 };
const task = (name: string): HuntTask => ({ kind: "hunt", name, range });

test("a task that throws ends the work, with its reason", async () => {
  const tasks = [task("there is no such rule"), task("the last to arrive wins")];
  const error = await runJobs<HuntTask, Hunted>({ jobs: 2, tasks, onAnswer: () => {} }).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.match(String(error), /there is no mutation 'there is no such rule'/);
});

test("options that a job cannot read are told, as what a task throws", async () => {
  const schedule = "there is no such file";
  const tasks: readonly SeedTask[] = [{ kind: "seed", seed: 1, choices: { schedule } }];
  const error = await runJobs({ jobs: 1, tasks, onAnswer: assert.unreachable }).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.match(
    String(error),
    /--schedule takes a file with a schedule, and 'there is no such file'/,
  );
});

test("a job ends when the process that began it is gone", async () => {
  const job = fork(fileURLToPath(new URL("../sim/job.ts", import.meta.url)));
  const ended = once(job, "exit");
  job.send(task("there is no such rule"));
  const [said] = await once(job, "message");
  assert.match(said.error, /there is no mutation/);
  job.disconnect();
  assert.is((await ended)[0], 0);
});

test.run();
