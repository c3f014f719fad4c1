/**
 * Jobs: processes that the simulator's commands run side by side. A process runs one simulation at a time
 * (`guard`), and what a seed comes to is its own alone, so that as many jobs as the machine has processors say
 * what one would say, sooner.
 *
 * Processes, not threads: a thread of Node 20 does not load what the process was told to load modules with.
 *
 * Invariants
 * 1. What tasks say is told in their order, whichever job is done first: of the first one that is not done as it
 *    comes, of the others when it is their turn. Where the work fails, what was said by then is told as well.
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
  /** Hears the lines that tasks print on their way. */
  readonly onLine: (line: string) => void;
  readonly onAnswer: (answer: Answer, task: Task) => void;
}

/** What a job says of a task: lines, and at its end the answer, or the stack of what it threw. */
type Said<Answer> =
  | { readonly line: string }
  | { readonly answer: Answer }
  | { readonly error: string };

/** A task that was taken, and what it has said that is not told yet. */
interface Turn {
  readonly waiting: (() => void)[];
  isDone: boolean;
}

/** What a job runs: in a checkout it is TypeScript, and where it is published it is not. */
const jobModule = new URL(
  `./job${/\.\w+$/.exec(new URL(import.meta.url).pathname)?.[0]}`,
  import.meta.url,
);

/**
 * Runs the tasks, and tells what they print and answer in their order.
 *
 * @throws Error with the stack of what a task threw; Error with the task where a job ended before it
 */
export async function runJobs<Task extends object, Answer>({
  jobs,
  tasks,
  onLine,
  onAnswer,
}: Work<Task, Answer>): Promise<void> {
  const remaining = tasks[Symbol.iterator]();
  const processes: ChildProcess[] = [];
  const turns: Turn[] = [];
  const tellReady = (): void => {
    for (let [turn] = turns; turn !== undefined; [turn] = turns) {
      for (const tell of turn.waiting.splice(0)) tell();
      if (!turn.isDone) return;
      turns.shift();
    }
  };
  const runOne = async (first: IteratorResult<Task>): Promise<void> => {
    const job = fork(fileURLToPath(jobModule));
    processes.push(job);
    for (let next = first; next.done !== true; next = remaining.next()) {
      const task = next.value;
      const turn: Turn = { waiting: [], isDone: false };
      turns.push(turn);
      const answer = await ask<Answer>(job, task, (line) => {
        turn.waiting.push(() => onLine(line));
        tellReady();
      });
      turn.waiting.push(() => onAnswer(answer, task));
      turn.isDone = true;
      tellReady();
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
    for (const { waiting } of turns) for (const tell of waiting.splice(0)) tell();
  }
}

/** In a job: answers each task with what `run` makes of it, and ends with the process that gives them. */
export function serveJob<Task, Answer>(
  run: (task: Task, print: (line: string) => void) => Promise<Answer>,
): void {
  const say = (said: Said<Answer>): void => void process.send?.(said);
  process.on("message", (task: Task) => {
    run(task, (line) => say({ line })).then(
      (answer) => say({ answer }),
      (error: unknown) =>
        say({ error: error instanceof Error ? String(error.stack) : String(error) }),
    );
  });
  process.on("disconnect", () => process.exit());
}

function ask<Answer>(
  job: ChildProcess,
  task: object,
  onLine: (line: string) => void,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const onSaid = (said: Said<Answer>): void => {
      if ("line" in said) {
        onLine(said.line);
        return;
      }
      settle();
      if ("answer" in said) resolve(said.answer);
      else reject(new Error(said.error));
    };
    const onError = (error: Error): void => {
      settle();
      reject(error);
    };
    const onEnd = (code: number | null, signal: string | null): void => {
      if (job.connected) {
        // What it said last is still on its way.
        job.once("disconnect", () => onEnd(code, signal));
        return;
      }
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
