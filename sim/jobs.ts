/**
 * Jobs: processes that the simulator's commands run side by side. A process runs one simulation at a time
 * (`guard`), and what a seed comes to is its own alone, so that as many jobs as the machine has processors say
 * what one would say, sooner.
 *
 * Processes, not threads: a thread of Node 20 does not load what the process was told to load modules with.
 *
 * Invariants
 * 1. Answers are told in the order of the tasks, whichever job is done first.
 * 2. No task is taken before a job is free for it; when the tasks end, and when one fails, all jobs end, and they
 *    end with the process that began them.
 *
 * Effects: processes; in a job, its messages and its end.
 *
 * @module
 */

import { type ChildProcess, fork } from "node:child_process";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";

/** So many jobs unless it is said: one for each processor that this process may use. */
export const jobsDefault = availableParallelism();

interface Work<Task, Answer> {
  /** How many jobs there are at most. */
  readonly jobs: number;
  /** Asked for the next one whenever a job is free. They go as JSON, and so do the answers. */
  readonly tasks: Iterable<Task>;
  readonly onAnswer: (answer: Answer, task: Task) => void;
}

/** What a job says of a task: its answer, or the stack of what it threw. */
type Said<Answer> = { readonly answer: Answer } | { readonly error: string };

/** What a job runs: in a checkout it is TypeScript, and where it is published it is not. */
const jobModule = new URL(
  `./job${/\.\w+$/.exec(new URL(import.meta.url).pathname)?.[0]}`,
  import.meta.url,
);

/**
 * Runs the tasks, and tells their answers in their order.
 *
 * @throws Error with the stack of what a task threw; Error with the task where a job ended before it
 */
export async function runJobs<Task extends object, Answer>({
  jobs,
  tasks,
  onAnswer,
}: Work<Task, Answer>): Promise<void> {
  const remaining = tasks[Symbol.iterator]();
  const early = new Map<number, { readonly task: Task; readonly answer: Answer }>();
  const processes: ChildProcess[] = [];
  let taken = 0;
  let told = 0;
  const runOne = async (first: IteratorResult<Task>): Promise<void> => {
    const job = fork(fileURLToPath(jobModule));
    processes.push(job);
    for (let next = first; next.done !== true; next = remaining.next()) {
      const number = taken;
      taken += 1;
      early.set(number, { task: next.value, answer: await ask<Answer>(job, next.value) });
      for (let ready = early.get(told); ready !== undefined; ready = early.get(told)) {
        early.delete(told);
        told += 1;
        onAnswer(ready.answer, ready.task);
      }
    }
  };
  const runs: Promise<void>[] = [];
  try {
    while (runs.length < jobs) {
      const next = remaining.next();
      if (next.done === true) break;
      runs.push(runOne(next));
    }
    await Promise.all(runs);
  } finally {
    for (const job of processes) job.kill();
  }
}

/** In a job: answers each task with what `run` makes of it, and ends with the process that gives them. */
export function serveJob<Task, Answer>(run: (task: Task) => Promise<Answer>): void {
  process.on("message", async (task: Task) => {
    const said: Said<Answer> = await run(task).then(
      (answer) => ({ answer }),
      (error: unknown) => ({
        error: error instanceof Error ? String(error.stack) : String(error),
      }),
    );
    process.send?.(said);
  });
  process.on("disconnect", () => process.exit());
}

function ask<Answer>(job: ChildProcess, task: object): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const onSaid = (said: Said<Answer>): void => {
      settle();
      if ("answer" in said) resolve(said.answer);
      else reject(new Error(said.error));
    };
    const onError = (error: Error): void => {
      settle();
      reject(error);
    };
    const onEnd = (code: number | null, signal: string | null): void => {
      settle();
      const how = signal ?? `exit code ${code}`;
      const what = JSON.stringify(task);
      reject(new Error(`A job ended (${how}) before its task was done: ${what}. Run that alone.`));
    };
    const settle = (): void =>
      void job.off("message", onSaid).off("error", onError).off("exit", onEnd);
    job.on("message", onSaid).on("error", onError).on("exit", onEnd);
    job.send(task);
  });
}
