/**
 * The runner is fed test files that are bad in every way that uvu itself forgives. One run takes
 * them all; each test then reads what the runner said of one file.
 */

import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";

const runner = fileURLToPath(new URL("./run.ts", import.meta.url));
const uvuHref = import.meta.resolve("uvu");

interface Ran {
  readonly code: number | null;
  readonly output: string;
  readonly lastLine: string;
}

/** Runs the runner over a folder with these files. */
async function runOver(files: Record<string, string>, args: string[] = []): Promise<Ran> {
  const folder = mkdtempSync(join(tmpdir(), "run-test-"));
  try {
    for (const [name, body] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, name)), { recursive: true });
      writeFileSync(join(folder, name), `import { suite } from "${uvuHref}"; ${body}`);
    }
    return await run(["--import", "tsx", runner, "--folder", folder, ...args]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function run(args: string[]): Promise<Ran> {
  const child = spawn(process.execPath, args, {
    cwd: join(dirname(runner), ".."),
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => {
    output += chunk.toString("utf8");
  });
  return new Promise((fulfil) => {
    child.on("close", (code) => {
      fulfil({ code, output, lastLine: output.trimEnd().split("\n").at(-1) ?? "" });
    });
  });
}

// `s` is never declared at the start of a line here: the runner reads this file's text too.
const good = `const s = suite("good"); s("holds", () => {}); s("holds too", () => {}); s.run();`;
const declare = "const";

/** File -> what it does, how many of its tests pass, how many failures it counts, what is said. */
const bad: Record<string, { body: string; passed: number; failed: number; says: RegExp }> = {
  "failing test": {
    body: `const s = suite("a"); s("x", () => {}); s("y", () => { throw new Error("the reason"); }); s.run();`,
    passed: 1,
    failed: 1,
    says: /the reason/,
  },
  "suite whose before throws": {
    body: `const s = suite("a"); s.before(() => { throw new Error("no"); }); s("x", () => {}); s("y", () => {}); s.run();`,
    passed: 0,
    failed: 2,
    says: /passed 0 of 2/,
  },
  "file whose only suite is never run": {
    body: `const s = suite("a"); s("x", () => {});`,
    passed: 0,
    failed: 1,
    says: /printed no counts/,
  },
  "file in which one of two suites is never run": {
    body: `${good}\n${declare} other = suite("other"); other("x", () => {});`,
    passed: 2,
    failed: 1,
    says: /the suite 'other' is never run/,
  },
  "file that adds a test after its run()": {
    body: `\n${declare} s = suite("a"); s("x", () => {}); s.run(); s("y", () => {});`,
    passed: 1,
    failed: 1,
    says: /gets tests after its run\(\)/,
  },
  "file without tests": {
    body: `const s = suite("a"); s.run();`,
    passed: 0,
    failed: 1,
    says: /has no tests/,
  },
  "file that hangs": {
    body: `setInterval(() => {}, 1000); const s = suite("a"); s("x", () => new Promise(() => {})); s.run();`,
    passed: 0,
    failed: 1,
    says: /: was not done after 5 s and was killed$/m,
  },
  "file that does not end when its tests have": {
    body: `setInterval(() => {}, 1000); ${good}`,
    passed: 2,
    failed: 1,
    says: /its tests had ended, but something kept it open/,
  },
  "test that waits for what never comes": {
    body: `const s = suite("a"); s("x", () => new Promise(() => {})); s.run();`,
    passed: 0,
    failed: 1,
    says: /exited with 1/,
  },
  "file that crashes after its tests": {
    body: `${good} process.on("exit", () => process.abort());`,
    passed: 2,
    failed: 1,
    says: /was ended by SIGABRT/,
  },
  "file that cannot be loaded": {
    body: `import "./not_there.ts";`,
    passed: 0,
    failed: 1,
    says: /exited with 1/,
  },
  "file that leaves a process behind": {
    body: `import { spawn } from "node:child_process";
      const left = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"], { stdio: "ignore" });
      left.unref(); console.log("left=" + left.pid); ${good}`,
    passed: 2,
    failed: 1,
    says: /left a process running/,
  },
  "file that leaves a temporary file": {
    body: `import { mkdtempSync } from "node:fs"; import { tmpdir } from "node:os";
      mkdtempSync(tmpdir() + "/forgotten-"); ${good}`,
    passed: 2,
    failed: 1,
    says: /left in the temporary folder: forgotten-/,
  },
};

function fileName(what: string): string {
  return `${what.replace(/\W+/g, "_")}_test.ts`;
}

let all: Ran;

/** What the runner printed about one file: from its line to the next file's. */
function said(what: string): string {
  const sections = all.output.split(/^(?=ok {2} |FAIL )/m);
  return sections.find((section) => section.split("\n")[0]?.includes(fileName(what))) ?? "";
}

const runs = suite("run");

runs.before(async () => {
  const files = Object.entries(bad).map(([what, { body }]) => [fileName(what), body] as const);
  const args = ["--timeout", "5", "--jobs", "3"];
  all = await runOver({ ...Object.fromEntries(files), "good_test.ts": good }, args);
});

for (const [what, { passed, says }] of Object.entries(bad)) {
  runs(`run fails a ${what}`, () => {
    const section = said(what);
    assert.match(section, /^FAIL /);
    assert.match(section.split("\n")[0] ?? "", `(${passed} passed`);
    assert.match(section, says);
    assert.match(all.output, new RegExp(`^failed file: .*${fileName(what)}$`, "m"));
  });
}

runs("run counts every test, and each file that failed without a failing test", () => {
  const rows = Object.values(bad);
  const passed = 2 + rows.reduce((sum, row) => sum + row.passed, 0);
  const failed = rows.reduce((sum, row) => sum + row.failed, 0);
  assert.is(all.lastLine, `${passed} passed, ${failed} failed`);
  assert.is(all.code, 1);
});

runs("run passes the good file between the bad ones", () => {
  assert.match(all.output, /^ok .*good_test\.ts \(2 passed/m);
});

runs("run ends the process that a file left behind", () => {
  const pid = /left=(\d+)/.exec(all.output)?.[1];
  assert.ok(pid);
  const stat = `/proc/${pid}/stat`;
  // Dead and waiting to be collected is ended, too.
  assert.ok(!existsSync(stat) || / [ZX] /.test(readFileSync(stat, "utf8")));
});

runs("run passes when all is well", async () => {
  const { code, lastLine } = await runOver({ "good_test.ts": good });
  assert.is(lastLine, "2 passed, 0 failed");
  assert.is(code, 0);
});

runs("run fails when a pattern matches nothing", async () => {
  const { code, output, lastLine } = await runOver({ "good_test.ts": good }, ["no-such-file"]);
  assert.is(lastLine, "0 passed, 1 failed");
  assert.match(output, "no test file matches: no-such-file");
  assert.is(code, 1);
});

runs("run takes the files that a pattern names, and no others", async () => {
  const files = { "good_test.ts": good, "bad_test.ts": `throw new Error("not asked for");` };
  const { code, lastLine } = await runOver(files, ["/good"]);
  assert.is(lastLine, "2 passed, 0 failed");
  assert.is(code, 0);
});

runs("run --long adds the folder long and tells the files", async () => {
  const asksLong = `const s = suite("l"); s("is told", () => { if (process.env.QUORATE_LONG !== "1") throw new Error("not told"); }); s.run();`;
  const files = { "good_test.ts": good, "long/all_test.ts": asksLong };
  assert.is((await runOver(files)).lastLine, "2 passed, 0 failed");
  assert.is((await runOver(files, ["--long"])).lastLine, "3 passed, 0 failed");
});

runs.run();
