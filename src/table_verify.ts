/**
 * Table verify: reads a whole table in another process, which a damaged page may end.
 *
 * LMDB has no checksums over its pages, and ends the process (an assertion of its own, or a pointer
 * into nowhere) on some that are damaged. A supervisor would start it again, into the same page, for
 * ever. So after a few starts that did not end in order the table is first read by a child: when the
 * child does not come to the end, this start is refused, quickly and with the file's name; or, where other
 * replicas hold what is in the file, it is set aside, and the start goes on without it.
 *
 *     child:  "begun"  (read, read, …)  "reading" every second  "done: n records, m damaged"
 *     parent: done -> go on;  begun, and then dead or silent -> refuse;  never begun -> go on, unverified
 *
 * A record whose checksum is wrong ends nothing: the store serves the others, and says so of this one.
 *
 * Invariants
 * 1. Whatever the file holds, it ends this process neither by a crash nor by waiting for ever.
 * 2. A child never outlives its parent: it ends when its input does.
 * 3. A child that could not even begin (a bundled program, no leave to run one) refuses nothing.
 *
 * Effects: a process, and through it the table's file. Source: rule D6.
 *
 * @module
 */

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, rename } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Report } from "./capability.ts";
import { QuorateError } from "./errors.ts";
import { tableLossHint } from "./table_file.ts";

/** A child that says nothing for so long runs in a circle that a damaged page has made. */
const silenceMsMax = 60_000;
/** So much of what a child complains of is kept. */
const complaintBytesMax = 2_000;

export interface VerifyOptions {
  /** The data folder on the machine, and the table's name in it. */
  readonly folder: string;
  readonly name: string;
  readonly report: Report;
}

/** What the child says, a line of JSON each. */
export type VerifyLine =
  | { readonly step: "begun" }
  | { readonly step: "reading"; readonly records: number }
  | { readonly step: "done"; readonly records: number; readonly damagedCount: number }
  | { readonly step: "failed"; readonly why: string };

/** Puts the table's file into `aside/`, in the place of one that was put there before. */
export async function setTableAside({
  folder,
  name,
}: Pick<VerifyOptions, "folder" | "name">): Promise<void> {
  await mkdir(join(folder, "aside"), { recursive: true });
  await rename(join(folder, name), join(folder, "aside", name));
}

/**
 * Whether the table was read to its end and every record is whole.
 *
 * @throws `corruption` when it cannot be read to its end
 */
export async function verifyTable(options: VerifyOptions): Promise<boolean> {
  const { folder, name, report } = options;
  const path = join(folder, name);
  if (!existsSync(path)) return true;
  const { lines, end } = await readInChild(folder, name);
  const last = lines.at(-1);
  if (last === undefined) {
    report.log("warn", "The table could not be verified: no process could be started for it.", {
      why: end,
    });
    return false;
  }
  if (last.step === "failed") throw unreadable(path, last.why);
  if (last.step !== "done") throw unreadable(path, end);
  if (last.damagedCount === 0) return true;
  report.log("error", "Some records of the table are damaged; the others are served.", {
    records: last.records,
    damaged: last.damagedCount,
  });
  return false;
}

function unreadable(path: string, why: string): QuorateError {
  const detail = `The table's file '${path}' is damaged, and reading it ends the program: ${why}.`;
  return new QuorateError("corruption", detail, {
    hint: `Restore a copy of the data folder. ${tableLossHint}`,
  });
}

interface Said {
  readonly lines: readonly VerifyLine[];
  /** How it ended, for a person. */
  readonly end: string;
}

async function readInChild(folder: string, name: string): Promise<Said> {
  const [file, ...words] = childCommand([folder, name]);
  let child: ChildProcess;
  try {
    child = spawn(file, words, {
      stdio: ["pipe", "pipe", "pipe"],
      // In an Electron application `execPath` is the application, unless it is told.
      env: { ...process.env, ELECTRON_RUN_AS_NODE: "1" },
    });
  } catch (error) {
    return { lines: [], end: String(error) };
  }
  return watch(child);
}

function watch(child: ChildProcess): Promise<Said> {
  const lines: VerifyLine[] = [];
  let text = "";
  let complaint = "";
  let silence: NodeJS.Timeout | undefined;
  let isSilent = false;
  const listen = (): void => {
    clearTimeout(silence);
    silence = setTimeout(() => {
      isSilent = true;
      child.kill("SIGKILL");
    }, silenceMsMax);
  };
  listen();
  child.stdin?.on("error", () => {});
  child.stdout?.setEncoding("utf8").on("data", (chunk: string) => {
    listen();
    text += chunk;
    const parts = text.split("\n");
    text = parts.pop() ?? "";
    for (const line of parts) lines.push(...parseLine(line));
    // Only the last one counts.
    lines.splice(0, lines.length - 1);
  });
  child.stderr?.setEncoding("utf8").on("data", (chunk: string) => {
    complaint = (complaint + chunk).slice(0, complaintBytesMax);
  });
  return new Promise((settle) => {
    const done = (end: string): void => {
      clearTimeout(silence);
      settle({ lines, end });
    };
    child.on("error", (error) => done(error.message));
    child.on("close", (code, signal) => {
      const how = signal === null ? `exit code ${code}` : `${signal}`;
      const said = complaint.trim().split("\n")[0] ?? "";
      if (isSilent) done(`it runs in a circle (nothing for ${silenceMsMax / 1000} s)`);
      else done(said === "" ? how : `${how}, ${said}`);
    });
  });
}

function parseLine(line: string): VerifyLine[] {
  try {
    return [JSON.parse(line) as VerifyLine];
  } catch {
    return [];
  }
}

/** How this runtime runs the child's script, which stands beside this one and has its ending. */
function childCommand(words: readonly string[]): [string, ...string[]] {
  const { url } = import.meta;
  const isSource = url.endsWith(".ts");
  const script = fileURLToPath(new URL(`./table_verify_child.${isSource ? "ts" : "js"}`, url));
  const { bun, deno } = process.versions as Record<string, string | undefined>;
  if (deno !== undefined) return [process.execPath, "run", "-A", script, ...words];
  if (bun !== undefined || !isSource) return [process.execPath, script, ...words];
  return [process.execPath, ...loaderOptions(process.execArgv), script, ...words];
}

/** What makes Node read TypeScript; its other options (`-e`, `--inspect`) are the parent's own. */
export function loaderOptions(options: readonly string[]): string[] {
  const kept: string[] = [];
  for (const [index, option] of options.entries()) {
    const name = option.split("=")[0] ?? "";
    if (name === "--experimental-strip-types") kept.push(option);
    if (!/^(--import|--require|-r|--loader|--experimental-loader)$/.test(name)) continue;
    kept.push(option);
    const next = options[index + 1];
    if (!option.includes("=") && next !== undefined) kept.push(next);
  }
  return kept;
}
