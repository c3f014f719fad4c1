/**
 * Words process: the nodes of the demonstration, each a process of its own.
 *
 * @module
 */

import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { differ, say } from "./words_check.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const startTimeoutMs = 60_000;

/** A node's process; it is replaced when it is killed and started again. */
export interface Server {
  readonly url: string;
  readonly process: ChildProcess;
  readonly ended: Promise<string>;
}

/** Starts a node with some words of `quorate serve`; resolves when it listens. */
export async function start(
  words: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Promise<Server> {
  const startMs = performance.now();
  const all = ["serve", ...words, "--log-level", "warn"];
  const child = spawn(process.execPath, [join(root, "dist/src/cli.js"), ...all], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, ...environment },
  });
  const ended = new Promise<string>((settle) => {
    child.on("close", (code, signal) => settle(signal ?? `exit code ${code}`));
  });
  let timer: NodeJS.Timeout | undefined;
  const listening = new Promise<string>((settle, reject) => {
    timer = setTimeout(() => reject(new Error("the node did not start in time")), startTimeoutMs);
    ended.then((how) => reject(new Error(`the node ended before it listened: ${how}`)));
    // The pipe is read on after the line: nobody may be held up by it.
    createInterface({ input: child.stdout }).on("line", (line) => {
      const url = /^listening on (http:\S+)$/.exec(line)?.[1];
      if (url !== undefined) settle(url);
    });
  });
  try {
    const url = await listening;
    say(`A node listens on ${url} after ${Math.round(performance.now() - startMs)} ms.`);
    return { url, process: child, ended };
  } catch (error) {
    child.kill("SIGKILL");
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** Stops it in order. */
export async function stop(server: Server): Promise<void> {
  const startMs = performance.now();
  server.process.kill("SIGTERM");
  const how = await server.ended;
  if (how !== "exit code 0") differ(`SIGTERM ended the node with ${how}`);
  say(`SIGTERM: stopped in order after ${Math.round(performance.now() - startMs)} ms.`);
}
