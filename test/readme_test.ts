/**
 * Runs what the README and `docs/embedding.md` show, as it stands there.
 *
 * A `sh` block is run line by line by bash, in a folder that has what a clone has after `npm start`,
 * against a real node on a free port instead of 8080. `# → …` after a command is what it prints, in
 * which `…` stands for anything; a command without it prints nothing, so that an error never passes.
 * A `ts` block is type-checked against the built package and run; `// → …` after a `console.log` is
 * what that prints. `npm start` and `npm test` are run with a port and a pattern of their own.
 */

import { execFile } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { withFolder } from "./cli_harness.ts";
import { Running, root, withServe } from "./cli_process.ts";

const test = suite("readme");
const shownCharactersMax = 4000;
const node = process.execPath;

/** The code blocks of a document in one language, in order. */
function blocksOf(document: string, language: string): string[] {
  const text = fs.readFileSync(path.join(root, document), "utf8");
  const fence = new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, "gm");
  return [...text.matchAll(fence)].map(([, code = ""]) => code);
}

interface Command {
  readonly line: string;
  /** What it prints; `…` stands for anything. */
  readonly prints: string;
}

function commandsOf(block: string): Command[] {
  const commands: { line: string; prints: string }[] = [];
  for (const line of block.replaceAll("\\\n", "").split("\n")) {
    if (line.trim() === "") continue;
    const last = commands.at(-1);
    if (line.startsWith("# → ") && last !== undefined) last.prints = line.slice(4);
    else commands.push({ line, prints: "" });
  }
  return commands;
}

function patternOf(prints: string): RegExp {
  const parts = prints.split("…").map((part) => part.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&"));
  return new RegExp(`^${parts.join("[\\s\\S]*")}$`);
}

interface Said {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

function run(command: string, words: readonly string[], cwd: string, more = {}): Promise<Said> {
  // The program takes every QUORATE_ variable for a setting.
  const env = { ...process.env, QUORATE_LONG: undefined, NO_COLOR: "1", ...more };
  return new Promise((settle) => {
    execFile(command, [...words], { cwd, env, timeout: 100_000 }, (error, out, err) => {
      settle({ code: error === null ? 0 : Number(error.code ?? 1), out, err });
    });
  });
}

/** Builds `dist` when a source is newer, as `npm start` and `npm test` do. */
async function setUp(): Promise<void> {
  const { code, out, err } = await run(node, ["deploy/setup.mjs"], root);
  assert.is(code, 0, (out + err).slice(0, shownCharactersMax));
}

/** A folder that has what a clone has, and can be written to. */
async function withClone(use: (folder: string) => Promise<void>): Promise<void> {
  await withFolder(async (folder) => {
    for (const name of ["dist", "node_modules", "proto"]) {
      fs.symlinkSync(path.join(root, name), path.join(folder, name));
    }
    await use(folder);
  });
}

const special = ["npm start", "npm test"];

test("every command of the README does what it shows", async () => {
  await setUp();
  const blocks = blocksOf("README.md", "sh").filter((block) => !special.includes(block.trim()));
  assert.ok(blocks.length >= 5, "the blocks were found");
  await withClone((folder) =>
    withServe(path.join(folder, "served"), [], async (_, url) => {
      const { port } = new URL(url);
      for (const block of blocks) {
        const commands = commandsOf(block.replaceAll("8080", port));
        const mark = "\u0001";
        const script = commands.map(({ line }) => `${line}\nprintf '${mark}'\n`).join("");
        const words = ["-eo", "pipefail", "-c", script];
        const said = await run("bash", words, folder, { QUORATE_URL: url });
        assert.is(said.code, 0, `${script}\n${said.out}${said.err}`);
        const outputs = said.out.split(mark);
        commands.forEach(({ line, prints }, index) => {
          const output = (outputs[index] ?? "").trim();
          assert.ok(patternOf(prints).test(output), `${line}\nshows: ${prints}\nprints: ${output}`);
        });
      }
    }),
  );
});

test("the two commands stand in the README, each in a block of its own", () => {
  const blocks = blocksOf("README.md", "sh").map((block) => block.trim());
  for (const command of special) assert.ok(blocks.includes(command), command);
});

test("npm start serves a node, and Ctrl-C in its terminal stops it in order", () =>
  withFolder(async (folder) => {
    const words = ["start", "--", "--port", "0", "--data-dir", path.join(folder, "data")];
    const npm = new Running("npm", words, { detached: true });
    const group = -(npm.process.pid ?? Number.NaN);
    try {
      const url = await npm.listening();
      const put = { method: "PUT", body: "Ada" };
      assert.is((await fetch(`${url}/v1/kv/default/users/1`, put)).status, 204);
      assert.match(npm.out, `curl ${url}/v1/kv/default/users/1`);
      // A terminal sends the signal to the whole group, and npm hands its own on to the node.
      process.kill(group, "SIGINT");
      // npm ends itself by the signal that it was sent; how the node ended, its log says.
      await npm.ended;
      assert.match(npm.err, "Stopped: everything acknowledged is on disk.");
      assert.not.match(npm.err, "at once");
    } finally {
      if (npm.process.exitCode === null && npm.process.signalCode === null) {
        process.kill(group, "SIGKILL");
      }
    }
  }));

test("npm test runs the tests and says so in its last line", async () => {
  const { code, out, err } = await run("npm", ["test", "--", "test/json_test"], root);
  assert.is(code, 0, out + err);
  assert.match(out, /\n\d+ passed, 0 failed\n$/);
});

/** The lines that a program's `// → …` comments say it prints. */
function printsOf(code: string): string[] {
  return [...code.matchAll(/ \/\/ → (.*)$/gm)].map(([, prints = ""]) => prints);
}

for (const document of ["README.md", "docs/embedding.md"]) {
  test(`the programs in ${document} are typed and run`, async () => {
    await setUp();
    const blocks = blocksOf(document, "ts");
    assert.ok(blocks.length > 0, "the blocks were found");
    await withFolder((folder) =>
      withServe(path.join(folder, "served"), [], async (_, url) => {
        const modules = path.join(folder, "node_modules");
        fs.mkdirSync(modules);
        fs.symlinkSync(root, path.join(modules, "quorate"));
        fs.symlinkSync(path.join(root, "node_modules/@types"), path.join(modules, "@types"));
        fs.writeFileSync(path.join(folder, "package.json"), '{"type":"module"}');
        fs.writeFileSync(path.join(folder, "tsconfig.json"), tsconfig);
        blocks.forEach((block, index) => {
          const code = block.replaceAll("http://127.0.0.1:8080", url);
          fs.writeFileSync(path.join(folder, `example_${index}.ts`), code);
        });
        const compiler = path.join(root, "node_modules/typescript/bin/tsc");
        const checked = await run(node, [compiler, "-p", "tsconfig.json"], folder);
        assert.is(checked.code, 0, checked.out.slice(0, shownCharactersMax));
        for (const [index, block] of blocks.entries()) {
          const said = await run(node, [`example_${index}.js`], folder);
          assert.is(said.code, 0, block + said.err);
          const printed = said.out.trimEnd().split("\n");
          const shown = printsOf(block);
          assert.ok(shown.length > 0, `the example shows what it prints:\n${block}`);
          assert.is(printed.length, shown.length, said.out);
          shown.forEach((prints, at) => {
            const line = printed[at] ?? "";
            assert.ok(patternOf(prints).test(line), `shows: ${prints}\nprints: ${line}`);
          });
        }
      }),
    );
  });
}

const tsconfig = JSON.stringify({
  compilerOptions: {
    target: "es2023",
    module: "nodenext",
    lib: ["es2023", "dom", "dom.iterable"],
    types: ["node"],
    strict: true,
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
  },
  include: ["*.ts"],
});

test.run();
