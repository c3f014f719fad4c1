/**
 * A fresh clone: what a stranger meets, with nothing installed and nothing built.
 *
 * The commit that is checked out is cloned into an empty folder; there `npm test` has to install,
 * compile and pass (one test file stands for all), and `npm start` to serve three nodes.
 */

import { type ChildProcess, execFile, spawn } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { withFolder } from "./cli_harness.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const timeoutMs = 110_000;
const test = suite("clone");

function run(command: string, words: readonly string[], cwd: string): Promise<string> {
  return new Promise((settle, reject) => {
    execFile(command, [...words], { cwd, timeout: timeoutMs }, (error, out, err) => {
      if (error === null) settle(out);
      else reject(new Error(`${command} ${words.join(" ")}: ${error.message}\n${out}\n${err}`));
    });
  });
}

/** The URLs of the nodes that are ready, when all are. */
function ready(child: ChildProcess): Promise<string[]> {
  return new Promise((settle, reject) => {
    let said = "";
    let log = "";
    child.stdout?.on("data", (chunk: Buffer) => {
      said += chunk.toString();
      if (!said.includes("Ctrl-C stops all")) return;
      settle([...said.matchAll(/^ {2}n\d {2}(http:\S+) /gm)].map(([, url = ""]) => url));
    });
    child.stderr?.on("data", (chunk: Buffer) => {
      log += chunk.toString();
    });
    child.on("exit", (code) => reject(new Error(`npm start ended with ${code}: ${said}${log}`)));
  });
}

test("clean-clone-builds-and-tests", () =>
  withFolder(async (folder) => {
    const clone = path.join(folder, "clone");
    await run("git", ["clone", "--quiet", "--no-hardlinks", root, clone], folder);
    assert.is(fs.existsSync(path.join(clone, "node_modules")), false);
    const out = await run("npm", ["test", "--", "test/json_test"], clone);
    assert.match(out, /\n\d+ passed, 0 failed\n$/);
    const words = ["start", "--", "--port", "0", "--data-dir", path.join(folder, "data")];
    const child = spawn("npm", words, { cwd: clone, detached: true });
    const ended = new Promise((settle) => child.on("close", settle));
    try {
      const urls = await ready(child);
      assert.is(urls.length, 3);
      for (const url of urls) assert.is((await fetch(`${url}/readyz`)).status, 200);
    } finally {
      process.kill(-(child.pid ?? Number.NaN), "SIGINT");
      await ended;
    }
  }));

test.run();
