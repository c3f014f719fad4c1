/**
 * Run: every test file in a process of its own, and one honest line at the end.
 *
 *     node --import tsx test/run.ts [--long] [--jobs 2] [--timeout 120] [--folder test] [pattern ...]
 *
 * uvu is small and pleasant, and says "all is well" too easily: a suite whose `before` throws, a
 * suite that nobody ran and a pattern that matches nothing all exit with 0, and nothing ever times
 * out. This runner closes those holes. A file fails when it exits with anything but 0, when its
 * counts are not equal or not there, when one of its suites is never run, when it is not done in
 * time, and when it leaves a process or a temporary file behind.
 *
 * `--long` also runs the files of `long/` and sets QUORATE_LONG=1, by which a file of the short run
 * may take a larger sample; the time allowed for a file is then an hour. A pattern is a part of a
 * file's path; several patterns are alternatives.
 *
 * Invariants
 * 1. The last line of stdout is `N passed, N failed`: tests, and one more failure for each file that
 *    failed without a failing test.
 * 2. The exit code is 0 exactly when nothing failed and something passed.
 * 3. When the runner ends, no process that a test started is left.
 *
 * Effects: processes, the temporary folder, stdout.
 *
 * @module
 */

import { type ChildProcess, spawn } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
} from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs, stripVTControlCharacters } from "node:util";

const root = resolve(fileURLToPath(import.meta.url), "../..");
const outputBytesMax = 1024 * 1024;
const fileTimeoutSeconds = 120;
const longFileTimeoutSeconds = 3600;
const leftProcessGraceMs = 1000;
const leftProcessPollMs = 50;

interface Options {
  readonly folder: string;
  readonly long: boolean;
  readonly jobs: number;
  readonly timeoutSeconds: number;
  readonly patterns: readonly string[];
}

interface FileResult {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** Why the file failed, one sentence each; empty when it passed. */
  readonly reasons: readonly string[];
  readonly output: string;
  readonly seconds: number;
}

interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly timedOut: boolean;
  readonly output: string;
}

/** The process groups that are running, by the id of their leader. */
const running = new Set<number>();

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    for (const group of running) killGroup(group);
    process.exit(1);
  });
}

process.exitCode = await main(readOptions());

function readOptions(): Options {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      long: { type: "boolean", default: false },
      jobs: { type: "string", default: "2" },
      timeout: { type: "string" },
      folder: { type: "string", default: join(root, "test") },
    },
  });
  const timeout = values.timeout ?? (values.long ? longFileTimeoutSeconds : fileTimeoutSeconds);
  return {
    folder: resolve(values.folder),
    long: values.long,
    jobs: positive(values.jobs, "--jobs"),
    timeoutSeconds: positive(String(timeout), "--timeout"),
    patterns: positionals,
  };
}

function positive(text: string, name: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new Error(`${name} is a number above 0, not '${text}'`);
  return value;
}

async function main(options: Options): Promise<number> {
  const files = testFiles(options);
  let passed = 0;
  let failed = 0;
  let skipped = 0;
  const failedFiles: string[] = [];
  if (files.length === 0) {
    process.stdout.write(`FAIL no test file matches: ${options.patterns.join(", ") || "*"}\n`);
    failed += 1;
  }
  const waiting = [...files];
  const worker = async (): Promise<void> => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      const result = await runFile(file, options);
      passed += result.passed;
      failed += result.failed;
      skipped += result.skipped;
      if (result.reasons.length > 0) failedFiles.push(shown(file));
      printFile(file, result);
    }
  };
  await Promise.all(Array.from({ length: options.jobs }, worker));
  if (skipped > 0) process.stdout.write(`${skipped} skipped\n`);
  for (const file of failedFiles.sort()) process.stdout.write(`failed file: ${file}\n`);
  process.stdout.write(`${passed} passed, ${failed} failed\n`);
  return failed === 0 && passed > 0 ? 0 : 1;
}

function testFiles(options: Options): string[] {
  const folders = [options.folder, ...(options.long ? [join(options.folder, "long")] : [])];
  const { patterns } = options;
  return folders
    .filter((folder) => existsSync(folder))
    .flatMap((folder) => readdirSync(folder).map((name) => join(folder, name)))
    .filter((path) => /_test\.m?[tj]s$/.test(path))
    .filter((path) => patterns.length === 0 || patterns.some((part) => shown(path).includes(part)))
    .sort();
}

function shown(file: string): string {
  return relative(root, file);
}

function printFile(file: string, result: FileResult): void {
  const ok = result.reasons.length === 0;
  const counts = `${result.passed} passed${result.skipped > 0 ? `, ${result.skipped} skipped` : ""}`;
  const time = `${result.seconds.toFixed(1)} s`;
  process.stdout.write(`${ok ? "ok  " : "FAIL"} ${shown(file)} (${counts}, ${time})\n`);
  if (ok) return;
  process.stdout.write(`${result.output.trimEnd()}\n`);
  for (const reason of result.reasons) process.stdout.write(`  ${shown(file)}: ${reason}\n`);
}

/** Runs one file and judges it. */
async function runFile(file: string, options: Options): Promise<FileResult> {
  const begunMs = performance.now();
  const temporary = mkdtempSync(join(tmpdir(), "quorate-test-"));
  shareCompilerCache(temporary);
  const child = spawn(process.execPath, ["--import", "tsx", file], {
    cwd: root,
    // A group of its own, so that a file that hangs is killed with everything it started.
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
    env: {
      ...process.env,
      TMPDIR: temporary,
      FORCE_COLOR: "0",
      ...(options.long ? { QUORATE_LONG: "1" } : {}),
    },
  });
  const ended = await watch(child, options.timeoutSeconds);
  const reasons: string[] = [];
  if (child.pid !== undefined && !ended.timedOut && (await leavesProcess(child.pid))) {
    reasons.push("left a process running after its end");
  }
  if (child.pid !== undefined) {
    killGroup(child.pid);
    running.delete(child.pid);
  }
  const left = ended.timedOut ? [] : leftFiles(temporary);
  if (left.length > 0) reasons.push(`left in the temporary folder: ${left.join(", ")}`);
  rmSync(temporary, { recursive: true, force: true });
  const counts = readCounts(ended.output);
  reasons.push(...judge(file, ended, counts, options.timeoutSeconds));
  const failedTests = counts === undefined ? 0 : counts.total - counts.passed;
  return {
    passed: counts?.passed ?? 0,
    failed: Math.max(failedTests, reasons.length > 0 ? 1 : 0),
    skipped: counts?.skipped ?? 0,
    reasons,
    output: ended.output,
    seconds: (performance.now() - begunMs) / 1000,
  };
}

/** tsx keeps what it has compiled below TMPDIR; without this each file would compile all again. */
function shareCompilerCache(temporary: string): void {
  const name = `tsx-${userInfo().uid}`;
  mkdirSync(join(tmpdir(), name), { recursive: true });
  symlinkSync(join(tmpdir(), name), join(temporary, name));
}

function leftFiles(temporary: string): string[] {
  return readdirSync(temporary).filter((name) => !/^(tsx-|node-compile-cache)/.test(name));
}

/** Waits for the end of a child, keeping the last part of what it says. */
function watch(child: ChildProcess, timeoutSeconds: number): Promise<Ended> {
  if (child.pid !== undefined) running.add(child.pid);
  let output = "";
  const keep = (chunk: Buffer): void => {
    output = (output + chunk.toString("utf8")).slice(-outputBytesMax);
  };
  child.stdout?.on("data", keep);
  child.stderr?.on("data", keep);
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    if (child.pid !== undefined) killGroup(child.pid);
  }, timeoutSeconds * 1000);
  return new Promise((fulfil) => {
    let drained: NodeJS.Timeout | undefined;
    const done = (code: number | null, signal: NodeJS.Signals | null): void => {
      clearTimeout(timer);
      clearTimeout(drained);
      fulfil({ code, signal, timedOut, output: stripVTControlCharacters(output) });
    };
    child.on("error", (error) => {
      output += String(error);
      done(1, null);
    });
    child.on("close", done);
    // A process left behind may hold the pipes open for ever: the file's own end decides.
    child.on("exit", (code, signal) => {
      drained = setTimeout(() => done(code, signal), leftProcessGraceMs);
    });
  });
}

/** Whether anything of a group is alive a moment after its leader has ended. */
async function leavesProcess(group: number): Promise<boolean> {
  const untilMs = performance.now() + leftProcessGraceMs;
  while (groupIsAlive(group)) {
    if (performance.now() > untilMs) return true;
    await new Promise((fulfil) => setTimeout(fulfil, leftProcessPollMs));
  }
  return false;
}

/** Whether a group has a process that runs; one that is dead and not yet collected does not. */
function groupIsAlive(group: number): boolean {
  try {
    process.kill(-group, 0);
  } catch {
    return false;
  }
  if (!existsSync("/proc/self/stat")) return true;
  return readdirSync("/proc").some((pid) => /^\d+$/.test(pid) && runsInGroup(pid, group));
}

function runsInGroup(pid: string, group: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // "pid (name) state parent group …"; the name may hold anything.
    const [state, , itsGroup] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return Number(itsGroup) === group && state !== "Z" && state !== "X";
  } catch {
    return false;
  }
}

function killGroup(group: number): void {
  try {
    process.kill(-group, "SIGKILL");
  } catch {
    // It has ended by itself.
  }
}

interface Counts {
  readonly total: number;
  readonly passed: number;
  readonly skipped: number;
}

/** uvu's closing lines; undefined when it did not get as far as printing them. */
function readCounts(output: string): Counts | undefined {
  const pattern = /^ {2}Total: +(\d+)\n {2}Passed: +(\d+)\n {2}Skipped: +(\d+)\n {2}Duration:/gm;
  const last = [...output.matchAll(pattern)].at(-1);
  if (last === undefined) return undefined;
  return { total: Number(last[1]), passed: Number(last[2]), skipped: Number(last[3]) };
}

/** Everything that is wrong with how a file ended. */
function judge(
  file: string,
  ended: Ended,
  counts: Counts | undefined,
  timeoutSeconds: number,
): string[] {
  const reasons: string[] = [];
  if (ended.timedOut) {
    const finished =
      counts === undefined ? "" : "; its tests had ended, but something kept it open";
    reasons.push(`was not done after ${timeoutSeconds} s and was killed${finished}`);
  } else if (ended.signal !== null) {
    reasons.push(`was ended by ${ended.signal}`);
  } else if (ended.code !== 0) {
    reasons.push(`exited with ${ended.code}`);
  }
  if (counts === undefined && !ended.timedOut)
    reasons.push("printed no counts: did it run a suite?");
  if (counts?.total === 0) reasons.push("has no tests");
  if (counts !== undefined && counts.passed !== counts.total) {
    reasons.push(`passed ${counts.passed} of ${counts.total} (a 'before' that throws counts none)`);
  }
  return [...reasons, ...suitesNeverRun(readFileSync(file, "utf8"))];
}

/**
 * uvu forgets a suite without `.run()`, and every test that is added after it. Both can be seen in
 * the text: each `const x = suite(…)` needs an `x.run()` below the last `x("…"`.
 */
function suitesNeverRun(source: string): string[] {
  const reasons: string[] = [];
  for (const [, name] of source.matchAll(/^\s*const (\w+) = suite(?:<.*>)?\(/gm)) {
    const lastRun = source.search(
      new RegExp(`\\b${name}\\.run\\(\\)(?![\\s\\S]*\\b${name}\\.run\\(\\))`),
    );
    const lastTest = source.search(new RegExp(`\\b${name}\\((?![\\s\\S]*\\b${name}\\()`));
    if (lastRun === -1) reasons.push(`the suite '${name}' is never run`);
    else if (lastTest > lastRun) reasons.push(`the suite '${name}' gets tests after its run()`);
  }
  return reasons;
}
