/** Seeds that run side by side come to what they come to one after another. */

import { type ChildProcess, fork } from "node:child_process";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { SimChoices } from "../sim/choices.ts";
import { runSim } from "../sim/command.ts";
import type { Hunted } from "../sim/hunt.ts";
import type { HuntTask, SeedTask } from "../sim/job.ts";
import { runJobs } from "../sim/jobs.ts";
import type { Outcome } from "../sim/outcome.ts";

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

function rejection(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
}

/** What `run` is rejected with, and the processes that it began: told of when there is one more. */
async function endOf(
  run: () => Promise<unknown>,
  onBegun: (jobs: readonly ChildProcess[]) => void,
): Promise<{ readonly error: unknown; readonly jobs: readonly ChildProcess[] }> {
  const jobs: ChildProcess[] = [];
  const onProcess = (begun: unknown): void => {
    jobs.push((begun as { readonly process: ChildProcess }).process);
    onBegun(jobs);
  };
  subscribe("child_process", onProcess);
  try {
    return { error: await rejection(run()), jobs };
  } finally {
    unsubscribe("child_process", onProcess);
  }
}

async function allEnd(jobs: readonly ChildProcess[]): Promise<void> {
  for (const job of jobs) {
    if (job.exitCode === null && job.signalCode === null) await once(job, "exit");
  }
}

test("what a seed breaks is told before it is made short, also where its job is killed meanwhile", async () => {
  const mutation = "the last to arrive wins";
  const lines: string[] = [];
  let running: readonly ChildProcess[] = [];
  const print = (line: string): void => {
    lines.push(line);
    if (line.startsWith("  [")) running[0]?.kill("SIGKILL");
  };
  const { error, jobs } = await endOf(
    () => runSim({ seed: "1", seeds: "2", focus, mutation, jobs: "2" }, print),
    (begun) => {
      running = begun;
    },
  );
  assert.match(
    String(error),
    /A job ended \(SIGKILL\) before its task was done: {"kind":"seed","seed":1,/,
  );
  assert.is(lines[0], "\nseed 1 breaks a promise:");
  assert.match(lines[1] ?? "", /^ {2}\[P\d\] /);
  assert.not.ok(lines.some((line) => line.startsWith("again:")));
  await allEnd(jobs);
});

test("where a job is killed in the middle of its task, what the others have answered is told, and all end", async () => {
  const choices = { focus, hashes: true };
  const tasks: readonly SeedTask[] = [
    // It is made short for longer than the other one takes.
    { kind: "seed", seed: 1, choices: { focus, mutation: "the last to arrive wins" } },
    { kind: "seed", seed: 2, choices },
  ];
  const answered: number[] = [];
  const { error, jobs } = await endOf(
    () =>
      runJobs<SeedTask, Outcome>({
        jobs: 2,
        tasks,
        onLine: () => {},
        onAnswer: ({ seed }) => void answered.push(seed),
      }),
    ([first, second]) => second?.once("message", () => first?.kill("SIGKILL")),
  );
  assert.match(
    String(error),
    /A job ended \(SIGKILL\) before its task was done: {"kind":"seed","seed":1,/,
  );
  assert.equal(answered, [2]);
  await allEnd(jobs);
});

const range = { first: 1, count: 1 };
const task = (name: string): HuntTask => ({ kind: "hunt", name, range });

test("a task that throws ends the work, with its reason", async () => {
  const tasks = [task("there is no such rule"), task("the last to arrive wins")];
  const error = await rejection(
    runJobs<HuntTask, Hunted>({ jobs: 2, tasks, onLine: () => {}, onAnswer: () => {} }),
  );
  assert.match(String(error), /there is no mutation 'there is no such rule'/);
});

test("options that a job cannot read are told, as what a task throws", async () => {
  const schedule = "there is no such file";
  const tasks: readonly SeedTask[] = [{ kind: "seed", seed: 1, choices: { schedule } }];
  const error = await rejection(
    runJobs({ jobs: 1, tasks, onLine: assert.unreachable, onAnswer: assert.unreachable }),
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
